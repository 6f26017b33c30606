/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * faults SHAPE: a server that touches an exactly known number of fresh pages inside, between and
 * beside its requests.
 *
 * A forked child is the client. Each round it asks one byte on every connection and then reads
 * every answer; what the server does in between is the shape. All code and data that a round uses
 * is warmed up before "ready", on connections of their own, so that between "go" and "done" the
 * serving threads fault on the fresh pages only; "unplanned" is what their own fault counts say
 * beyond that.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "net.h"
#include "workload.h"

#define WARM_ROUNDS     3
#define ROUNDS          13
#define FIRST_PAGES     31
#define MORE_PAGES      17
#define HELD_PAGES      211
#define BESIDE_PAGES    47
#define CONNECTIONS_MAX 3

static size_t page_bytes;
static bool keeps_pages;
static bool is_counted; /* "go" was said */

/* Makes `pages` fresh anonymous pages resident, one fault each. */
static void touch(size_t pages)
{
	char *at = mmap(NULL, pages * page_bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		die("mmap");
	for (size_t i = 0; i < pages; i++)
		((volatile char *)at)[i * page_bytes] = 1;
	if (!keeps_pages && munmap(at, pages * page_bytes) != 0)
		die("munmap");
}

static void receive(int fd)
{
	char byte;

	if (recv(fd, &byte, 1, 0) != 1)
		die("recv");
}

static void answer(int fd)
{
	if (send(fd, "a", 1, MSG_NOSIGNAL) != 1)
		die("send");
}

/* --- a thread that works beside the requests --- */

static int beside_go[2], beside_done[2];

static void *beside_thread(void *argument)
{
	char byte;

	(void)argument;
	while (read(beside_go[0], &byte, 1) == 1) {
		touch(BESIDE_PAGES);
		if (write(beside_done[1], &byte, 1) != 1)
			die("write");
	}
	return NULL;
}

static void touch_beside(void)
{
	char byte = 0;

	if (write(beside_go[1], &byte, 1) != 1 || read(beside_done[0], &byte, 1) != 1)
		die("beside");
}

/* --- shapes: what the server does in one round --- */

static void round_touch(const int *fds)
{
	receive(fds[0]);
	touch(FIRST_PAGES);
	answer(fds[0]);
}

static void round_after(const int *fds)
{
	receive(fds[0]);
	touch(FIRST_PAGES);
	answer(fds[0]);
	touch(MORE_PAGES);
}

static void round_between_sends(const int *fds)
{
	receive(fds[0]);
	touch(FIRST_PAGES);
	answer(fds[0]);
	touch(MORE_PAGES);
	answer(fds[0]);
}

static void round_two_open(const int *fds)
{
	receive(fds[0]);
	receive(fds[1]);
	touch(FIRST_PAGES);
	answer(fds[0]);
	answer(fds[1]);
}

/* One request alone, then both open. */
static void round_one_then_two_open(const int *fds)
{
	receive(fds[0]);
	touch(MORE_PAGES);
	receive(fds[1]);
	touch(FIRST_PAGES);
	answer(fds[1]);
	answer(fds[0]);
}

/* Both open, then one answered while the other still has work. */
static void round_two_then_one_open(const int *fds)
{
	receive(fds[0]);
	receive(fds[1]);
	touch(FIRST_PAGES);
	answer(fds[1]);
	touch(MORE_PAGES);
	answer(fds[0]);
}

/* Once, in the counted rounds, the request stays open until the runner says so. */
static void round_held(const int *fds)
{
	static bool was_held;

	receive(fds[0]);
	touch(HELD_PAGES);
	if (is_counted && !was_held) {
		was_held = true;
		say("held");
		await("release");
	}
	answer(fds[0]);
}

static void round_beside(const int *fds)
{
	receive(fds[0]);
	touch_beside();
	answer(fds[0]);
}

struct shape {
	const char *name;
	void (*round)(const int *fds);
	int connections;
	int answer_bytes;
	bool keeps_pages;
	bool has_threads; /* each connection has a thread of its own */
	/* pages a round, for all connections together; a round's pages that may be in either are in
	 * `open` */
	int in_requests, overlapping, background, open;
};

static const struct shape shapes[] = {
	{"touch", round_touch, 1, 1, false, false, FIRST_PAGES, 0, 0, 0},
	{"keep", round_touch, 1, 1, true, false, FIRST_PAGES, 0, 0, 0},
	{"threads", round_touch, 3, 1, false, true, 3 * FIRST_PAGES, 0, 0, 0},
	{"after", round_after, 1, 1, false, false, FIRST_PAGES, 0, MORE_PAGES, 0},
	{"between-sends", round_between_sends, 1, 2, false, false, FIRST_PAGES + MORE_PAGES, 0, 0,
		0},
	{"two-open", round_two_open, 2, 1, false, false, 0, FIRST_PAGES, 0, 0},
	{"one-then-two-open", round_one_then_two_open, 2, 1, false, false, MORE_PAGES, FIRST_PAGES,
		0, 0},
	{"two-then-one-open", round_two_then_one_open, 2, 1, false, false, 0, FIRST_PAGES, 0,
		MORE_PAGES},
	{"held", round_held, 1, 1, false, false, HELD_PAGES, 0, 0, 0},
	{"beside", round_beside, 1, 1, false, false, 0, 0, BESIDE_PAGES, 0},
};

#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static const struct shape *shape;

/* --- serving --- */

/* One thread's share: its connections, its part of the rounds, and its faults while it ran them. */
struct share {
	int fds[CONNECTIONS_MAX];
	int rounds;
	long faults;
	int go[2], done[2];
};

static long own_faults(void)
{
	struct rusage resources;

	if (getrusage(RUSAGE_THREAD, &resources) != 0)
		die("getrusage");
	return resources.ru_minflt;
}

static void run_share(struct share *share)
{
	long before = own_faults();

	for (int i = 0; i < share->rounds; i++)
		shape->round(share->fds);
	share->faults = own_faults() - before;
}

static void *share_thread(void *argument)
{
	struct share *share = argument;
	char byte;

	while (read(share->go[0], &byte, 1) == 1) {
		run_share(share);
		if (write(share->done[1], &byte, 1) != 1)
			die("write");
	}
	return NULL;
}

static void start_thread(void *(*function)(void *), void *argument)
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, function, argument);
	if (errno != 0)
		die("pthread_create");
}

static struct share shares[CONNECTIONS_MAX];

static void start_threads(void)
{
	if (pipe(beside_go) != 0 || pipe(beside_done) != 0)
		die("pipe");
	start_thread(beside_thread, NULL);
	for (int i = 0; shape->has_threads && i < shape->connections; i++) {
		if (pipe(shares[i].go) != 0 || pipe(shares[i].done) != 0)
			die("pipe");
		start_thread(share_thread, &shares[i]);
	}
}

/* Takes the connections of one phase, runs its rounds, and returns the serving threads' faults. */
static long serve(int listen_fd, int rounds)
{
	long faults = 0;
	int fds[CONNECTIONS_MAX] = {0};
	char byte = 0;

	for (int i = 0; i < shape->connections; i++) {
		fds[i] = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fds[i] < 0)
			die("accept");
	}
	if (shape->has_threads) {
		for (int i = 0; i < shape->connections; i++) {
			shares[i].fds[0] = fds[i];
			shares[i].rounds = rounds;
			if (write(shares[i].go[1], &byte, 1) != 1)
				die("write");
		}
		for (int i = 0; i < shape->connections; i++) {
			if (read(shares[i].done[0], &byte, 1) != 1)
				die("read");
			faults += shares[i].faults;
		}
	} else {
		memcpy(shares[0].fds, fds, sizeof(fds));
		shares[0].rounds = rounds;
		run_share(&shares[0]);
		faults = shares[0].faults;
	}
	for (int i = 0; i < shape->connections; i++)
		close(fds[i]);
	return faults;
}

/* --- the client child --- */

static void ask(const struct net_address *server, int rounds)
{
	int fds[CONNECTIONS_MAX] = {0};
	char bytes[4];

	for (int i = 0; i < shape->connections; i++)
		fds[i] = net_connect(server);
	for (int round = 0; round < rounds; round++) {
		for (int i = 0; i < shape->connections; i++)
			if (send(fds[i], "q", 1, MSG_NOSIGNAL) != 1)
				die("ask");
		for (int i = 0; i < shape->connections; i++)
			if (recv(fds[i], bytes, (size_t)shape->answer_bytes, MSG_WAITALL) !=
				shape->answer_bytes)
				die("answer");
	}
	for (int i = 0; i < shape->connections; i++) {
		(void)recv(fds[i], bytes, 1, 0);
		close(fds[i]);
	}
}

static void run_client(const struct net_address *server, int orders)
{
	char byte;

	ask(server, WARM_ROUNDS);
	if (read(orders, &byte, 1) == 1)
		ask(server, ROUNDS);
	(void)!read(orders, &byte, 1);
	_exit(0);
}

static int start_client(const struct net_address *server)
{
	pid_t parent = getpid();
	pid_t child;
	int orders[2];

	if (pipe(orders) != 0)
		die("pipe");
	child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(0);
		close(orders[1]);
		run_client(server, orders[0]);
	}
	close(orders[0]);
	return orders[1];
}

static void usage(void)
{
	fprintf(stderr, "usage: faults SHAPE, SHAPE one of:");
	for (size_t i = 0; i < SHAPES; i++)
		fprintf(stderr, " %s", shapes[i].name);
	fprintf(stderr, "\n");
	exit(2);
}

int main(int argc, char **argv)
{
	char text[NET_ADDRESS_BYTES];
	struct net_address address;
	int listen_fd, orders;
	long faults, planned;

	for (size_t i = 0; i < SHAPES && argc == 2; i++)
		if (strcmp(shapes[i].name, argv[1]) == 0)
			shape = &shapes[i];
	if (!shape)
		usage();
	keeps_pages = shape->keeps_pages;
	page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	/* A huge page would be one fault for all. */
	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0)
		die("PR_SET_THP_DISABLE");
	listen_fd = net_listen("tcp4", false, text);
	address = net_parse(text);
	orders = start_client(&address);
	start_threads();
	(void)serve(listen_fd, WARM_ROUNDS);
	say("ready pid=%d address=%s warm=%d", (int)getpid(), text, WARM_ROUNDS);
	await("go");
	is_counted = true;
	if (write(orders, "o", 1) != 1)
		die("write");
	faults = serve(listen_fd, ROUNDS);
	planned = ROUNDS * (shape->in_requests + shape->overlapping + shape->open +
				   (shape->round == round_beside ? 0 : shape->background));
	say("done requests=%d in_requests=%d overlapping=%d background=%d open=%d unplanned=%ld",
		ROUNDS * shape->connections, ROUNDS * shape->in_requests,
		ROUNDS * shape->overlapping, ROUNDS * shape->background, ROUNDS * shape->open,
		faults - planned);
	await("end");
	return 0;
}
