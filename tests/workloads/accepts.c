/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * accepts WAY FAMILY: accepts an exactly known number of connections in one way, and gives some of
 * them up.
 *
 * A forked child is the client. Connections come one after the other; on each, one byte is asked
 * and one answered, so each is one request. Then the child closes the first of them, the parent
 * sees their end and closes its side, and the others stay open until "end". With --server-closes
 * the parent closes first and the child keeps its side open.
 */
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "net.h"
#include "workload.h"

#define CONNECTIONS 29
#define GIVEN_UP    12
#define FAILURES    41

/* A connection is a descriptor, or an index into the ring's own table when `is_direct`. */
static int connections[CONNECTIONS];
static bool is_direct;
static bool server_closes_first;
static int listen_fd;
static struct io_uring ring;
static bool is_multishot;

/* --- io_uring --- */

static void prepare_ring(void)
{
	int error = io_uring_queue_init(64, &ring, 0);

	if (error == 0 && is_direct)
		error = io_uring_register_files_sparse(&ring, CONNECTIONS + 1);
	if (error != 0) {
		say("unsupported io_uring: %s", strerror(-error));
		_exit(0);
	}
}

static int ring_wait(unsigned *ret_flags)
{
	struct io_uring_cqe *cqe;
	int result;

	do {
		result = io_uring_submit_and_wait(&ring, 1);
	} while (result == -EINTR);
	if (result < 0 || io_uring_peek_cqe(&ring, &cqe) != 0) {
		errno = -result;
		die("io_uring_submit_and_wait");
	}
	result = cqe->res;
	*ret_flags = cqe->flags;
	io_uring_cqe_seen(&ring, cqe);
	if (result < 0) {
		errno = -result;
		die("io_uring");
	}
	return result;
}

static int ring_run(void)
{
	unsigned flags;

	return ring_wait(&flags);
}

static int accept_by_ring(void)
{
	static bool is_armed;
	unsigned flags;
	int result;

	if (!is_armed) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

		if (is_multishot && is_direct)
			io_uring_prep_multishot_accept_direct(sqe, listen_fd, NULL, NULL, 0);
		else if (is_multishot)
			io_uring_prep_multishot_accept(sqe, listen_fd, NULL, NULL, 0);
		else if (is_direct)
			io_uring_prep_accept_direct(
				sqe, listen_fd, NULL, NULL, 0, IORING_FILE_INDEX_ALLOC - 1);
		else
			io_uring_prep_accept(sqe, listen_fd, NULL, NULL, SOCK_CLOEXEC);
	}
	result = ring_wait(&flags);
	is_armed = flags & IORING_CQE_F_MORE;
	return result;
}

/* --- accepting otherwise --- */

static int accept_plainly(void)
{
	return accept(listen_fd, NULL, NULL);
}

static int accept_with_flags(void)
{
	return accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
}

static void fail_with_eagain(void)
{
	if (fcntl(listen_fd, F_SETFL, O_NONBLOCK) != 0)
		die("fcntl");
	for (int i = 0; i < FAILURES; i++)
		if (accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC) != -1 || errno != EAGAIN)
			die("accept that must fail");
	if (fcntl(listen_fd, F_SETFL, 0) != 0)
		die("fcntl");
}

/* Not a listening socket, not a socket, no descriptor. */
static void fail_with_wrong_descriptors(void)
{
	int idle = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	for (int i = 0; i < FAILURES; i++)
		if (accept4(idle, NULL, NULL, 0) != -1 || accept(STDIN_FILENO, NULL, NULL) != -1 ||
			accept(-1, NULL, NULL) != -1)
			die("accept that must fail");
	close(idle);
}

/* A connection that waits while there is no descriptor for it, and is accepted after all. */
static void fail_with_emfile(void)
{
	struct rlimit limit, none;
	struct pollfd wait = {.fd = listen_fd, .events = POLLIN};

	if (poll(&wait, 1, -1) != 1 || getrlimit(RLIMIT_NOFILE, &limit) != 0)
		die("poll");
	none = limit;
	none.rlim_cur = 3;
	if (setrlimit(RLIMIT_NOFILE, &none) != 0)
		die("setrlimit");
	for (int i = 0; i < FAILURES; i++)
		if (accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC) != -1 || errno != EMFILE)
			die("accept that must fail");
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		die("setrlimit");
}

static void fail_never(void)
{
}

static const struct {
	const char *name;
	int (*accept)(void);
	void (*fail_before_first)(void); /* before the client connects */
	void (*fail_when_pending)(void); /* when its first connection waits */
	bool uses_ring, is_multishot, is_direct;
} ways[] = {
	{"accept", accept_plainly, fail_never, fail_never, false, false, false},
	{"accept4", accept_with_flags, fail_never, fail_never, false, false, false},
	{"eagain", accept_with_flags, fail_with_eagain, fail_never, false, false, false},
	{"wrong", accept_plainly, fail_with_wrong_descriptors, fail_never, false, false, false},
	{"emfile", accept_with_flags, fail_never, fail_with_emfile, false, false, false},
	{"uring", accept_by_ring, fail_never, fail_never, true, false, false},
	{"uring-multishot", accept_by_ring, fail_never, fail_never, true, true, false},
	{"uring-direct", accept_by_ring, fail_never, fail_never, true, false, true},
	{"uring-multishot-direct", accept_by_ring, fail_never, fail_never, true, true, true},
};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* --- one connection of the parent --- */

static int receive_byte(int connection, char *ret_byte)
{
	struct io_uring_sqe *sqe;

	if (!is_direct)
		return (int)recv(connection, ret_byte, 1, 0);
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_recv(sqe, connection, ret_byte, 1, 0);
	sqe->flags |= IOSQE_FIXED_FILE;
	return ring_run();
}

static int send_byte(int connection, char byte)
{
	struct io_uring_sqe *sqe;

	if (!is_direct)
		return (int)send(connection, &byte, 1, MSG_NOSIGNAL);
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_send(sqe, connection, &byte, 1, MSG_NOSIGNAL);
	sqe->flags |= IOSQE_FIXED_FILE;
	return ring_run();
}

static void close_connection(int connection)
{
	struct io_uring_sqe *sqe;

	if (!is_direct) {
		close(connection);
		return;
	}
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_close_direct(sqe, (unsigned)connection);
	(void)ring_run();
}

/* --- the client child --- */

static void wait_for_byte(int fd)
{
	char byte;

	if (read(fd, &byte, 1) != 1)
		_exit(0);
}

/*
 * Asks on every connection, then gives the first of them up, or sees the parent do so. Only when
 * the end of a connection has arrived here has the parent's side really been closed: io_uring may
 * put a descriptor late.
 */
static void run_client(const struct net_address *server, int orders, int results)
{
	int fds[CONNECTIONS];
	char byte = 'q';

	wait_for_byte(orders);
	for (int i = 0; i < CONNECTIONS; i++) {
		fds[i] = net_connect(server);
		if (send(fds[i], &byte, 1, 0) != 1 || recv(fds[i], &byte, 1, 0) != 1)
			die("exchange");
	}
	wait_for_byte(orders);
	for (int i = 0; i < GIVEN_UP && !server_closes_first; i++)
		if (shutdown(fds[i], SHUT_WR) != 0)
			die("shutdown");
	for (int i = 0; i < GIVEN_UP; i++) {
		if (recv(fds[i], &byte, 1, 0) != 0)
			die("end of connection");
		if (!server_closes_first)
			close(fds[i]);
	}
	if (write(results, &byte, 1) != 1)
		die("write");
	wait_for_byte(orders);
	_exit(0);
}

/* The client child, as its parent sees it. */
struct client {
	int orders, results;
};

static struct client start_client(const struct net_address *server)
{
	pid_t parent = getpid();
	pid_t child;
	int orders[2], results[2];

	if (pipe(orders) != 0 || pipe(results) != 0)
		die("pipe");
	child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(0);
		close(orders[1]);
		close(listen_fd);
		run_client(server, orders[0], results[1]);
	}
	close(orders[0]);
	close(results[1]);
	return (struct client){.orders = orders[1], .results = results[0]};
}

static void order(const struct client *client)
{
	if (write(client->orders, "o", 1) != 1)
		die("client");
}

static void serve(size_t way, const struct client *client)
{
	char byte;

	ways[way].fail_before_first();
	order(client);
	for (int i = 0; i < CONNECTIONS; i++) {
		if (i == 0)
			ways[way].fail_when_pending();
		connections[i] = ways[way].accept();
		if (connections[i] < 0)
			die("accept");
		if (receive_byte(connections[i], &byte) != 1 ||
			send_byte(connections[i], byte) != 1)
			die("exchange");
	}
	order(client);
	for (int i = 0; i < GIVEN_UP; i++) {
		if (!server_closes_first && receive_byte(connections[i], &byte) != 0)
			die("end of connection");
		close_connection(connections[i]);
	}
	wait_for_byte(client->results);
}

int main(int argc, char **argv)
{
	char text[NET_ADDRESS_BYTES];
	struct net_address address;
	size_t way = 0;
	struct client client;

	while (argc >= 3 && way < WAYS && strcmp(ways[way].name, argv[1]) != 0)
		way++;
	if (argc < 3 || way == WAYS) {
		fprintf(stderr, "usage: accepts WAY tcp4|tcp6|unix|abstract [--server-closes], WAY "
				"one of:");
		for (size_t i = 0; i < WAYS; i++)
			fprintf(stderr, " %s", ways[i].name);
		fprintf(stderr, "\n");
		return 2;
	}
	server_closes_first = argc == 4 && strcmp(argv[3], "--server-closes") == 0;
	is_multishot = ways[way].is_multishot;
	is_direct = ways[way].is_direct;
	listen_fd = net_listen(argv[2], false, text);
	address = net_parse(text);
	client = start_client(&address);
	if (ways[way].uses_ring)
		prepare_ring();
	say("ready pid=%d address=%s", (int)getpid(), text);
	await("go");
	serve(way, &client);
	say("done accepts=%d opened=%d closed=%d open=%d requests=%d", CONNECTIONS, CONNECTIONS,
		GIVEN_UP, CONNECTIONS - GIVEN_UP, CONNECTIONS);
	await("end");
	net_forget(text);
	return 0;
}
