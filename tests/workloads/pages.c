/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * pages SHAPE [SCALE]: a server that knows of each anonymous page which request touched it, and
 * when and how it was given back.
 *
 * A forked child is the client; it asks what the server orders through a pipe, so that the server
 * alone decides what happens when. The shape says what a request does, how it is served, and what
 * becomes of its pages: those of GET /drop are given back, so is the tail half of those of GET
 * /half, and those of GET /keep stay. SCALE multiplies the pages of a request.
 *
 * Four steps, each on a word of the runner and each answered with "done" and the truth so far: "go"
 * serves the requests, "later" gives back, "last" is what the shape says, and "show" serves each
 * route once more without touching anything, so that all have a row in the report. A server that
 * execs or forks does so at "later", and what it says then is of the new image or of the child; one
 * that exits says nothing more.
 *
 * The truth is a list of touches: pages that became resident together, by whom, and what became of
 * them; all numbers are sums over it, made when they are said. All steps run once before "ready",
 * so that between "go" and "done" the server faults on the pages of the list only; "unplanned" is
 * what its fault count says beyond that.
 */
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "net.h"
#include "workload.h"

#define KEEP_REQUESTS 7
#define HALF_REQUESTS 1 /* one: what brk gives back must be at its end */
#define DROP_REQUESTS 5
#define KEEP_PAGES    31
#define HALF_PAGES    97
#define DROP_PAGES    17
#define PIPE_PAGES    5 /* fit into a pipe */
#define REUSED_PAGES  13
#define SCALE_MAX     1000

#define CONNECTIONS  2
#define REQUESTS_MAX 64
#define TOUCHES_MAX  128
#define BLOCKS_MAX   65536
#define HUGE_BYTES   (2u << 20)

enum route { KEEP, DROP, HALF, ROUTES };

static const char *const route_names[ROUTES] = {"keep", "drop", "half"};

/* Between which of its calls a request's work is done, and by whom. */
enum manner {
	INSIDE,     /* receive, work, send */
	FRESH,      /* receive into fresh pages, send */
	TAIL,       /* receive, send, work, send */
	AFTER,      /* receive, send, work */
	BESIDE,     /* another thread works while nothing is open */
	EXECUTOR,   /* receive, another thread works, send */
	HAND_OFF,   /* receive, another thread works and sends */
	TWO_OPEN,   /* receive on two connections, work, send on both */
	GIVES_BACK, /* receive, work, give back, send: nothing is left for "later" */
};

/* How pages are given back. */
enum leaving { UNMAP, DONTNEED, MAP_OVER, SHRINK, FREE, PAGE_OUT, MOVE, TRIM };

struct shape {
	const char *name;
	void (*work)(size_t pages);
	enum manner manner;
	enum leaving leaving;
	size_t folio_pages;  /* in huge pages of this size */
	void (*later)(void); /* NULL: gives back */
	void (*last)(void);
	bool at_once; /* all steps at "go" */
};

static const struct shape *shape;
static size_t page_bytes;
static size_t scale = 1;

/* --- the truth --- */

enum by { BY_REQUEST, BY_OVERLAPPING, BY_BACKGROUND };
enum state { HERE, GONE, SWAPPED, LAZY };
enum trait { IS_BY_KERNEL = 1, IS_COPIED = 2, IS_HUGE = 4, IS_FOLLOWED = 8 };

struct request {
	enum route route;
	uint64_t ended_ns;
};

struct touch {
	char *at;
	size_t pages;
	enum by by;
	enum route route; /* whose policy applies, whoever touched it */
	size_t request;   /* of BY_REQUEST */
	unsigned traits;
	enum state state;
	uint64_t left_ns; /* when it was given back; 0: never */
};

static struct request requests[REQUESTS_MAX];
static size_t request_count;
static struct touch touches[TOUCHES_MAX];
static size_t touch_count;
static long planned, unplanned;
/* Of the request that is served now. */
static enum by toucher;
static unsigned toucher_traits;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static long own_faults(void)
{
	struct rusage resources;

	if (getrusage(RUSAGE_SELF, &resources) != 0)
		die("getrusage");
	return resources.ru_minflt + resources.ru_majflt;
}

static void note(char *at, size_t pages, unsigned traits)
{
	if (touch_count == TOUCHES_MAX)
		die("too many touches");
	touches[touch_count++] = (struct touch){
		.at = at,
		.pages = pages,
		.by = toucher,
		.route = requests[request_count - 1].route,
		.request = request_count - 1,
		.traits = traits | toucher_traits,
	};
}

struct sums {
	size_t requests, exclusive, overlapping, background, kept, background_kept, swapped,
		lazyfree, copied, kernel, huge, followed, kept_1s, aged_10s, kept_10s;
};

static bool is_kept_at(const struct touch *touch, uint64_t age_s)
{
	return touch->left_ns == 0 ||
	       touch->left_ns > requests[touch->request].ended_ns + age_s * 1000000000;
}

/* Adds the pages of a touch to the sums. */
static void add_up(struct sums *sums, const struct touch *touch)
{
	size_t pages = touch->pages;
	bool is_here = touch->state == HERE;

	sums->copied += touch->traits & IS_COPIED ? pages : 0;
	sums->kernel += touch->traits & IS_BY_KERNEL ? pages : 0;
	sums->huge += touch->traits & IS_HUGE ? pages : 0;
	sums->followed += touch->traits & IS_FOLLOWED ? pages : 0;
	if (touch->by == BY_BACKGROUND) {
		sums->background += pages;
		sums->background_kept += is_here ? pages : 0;
		return;
	}
	sums->kept += is_here ? pages : 0;
	sums->swapped += touch->state == SWAPPED ? pages : 0;
	sums->lazyfree += touch->state == LAZY ? pages : 0;
	sums->exclusive += touch->by == BY_REQUEST ? pages : 0;
	sums->overlapping += touch->by == BY_OVERLAPPING ? pages : 0;
	/* What is in swap has no part in the curve. */
	sums->aged_10s += touch->state == SWAPPED ? 0 : pages;
	sums->kept_1s += is_kept_at(touch, 1) ? pages : 0;
	sums->kept_10s += is_kept_at(touch, 10) ? pages : 0;
}

/* The resident anonymous pages of this process. */
static size_t anonymous_pages(void)
{
	static char text[4096];
	int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	const char *line;

	if (length < 0)
		die("/proc/self/smaps_rollup");
	close(fd);
	text[length] = '\0';
	line = strstr(text, "\nAnonymous:");
	if (!line)
		die("/proc/self/smaps_rollup");
	return strtoul(line + strlen("\nAnonymous:"), NULL, 10) * 1024 / page_bytes;
}

static void say_truth(const char *word)
{
	static char text[WORKLOAD_LINE_BYTES];
	int used = snprintf(text, sizeof(text), "%s pid=%d unplanned=%ld anonymous=%zu", word,
		(int)getpid(), unplanned, anonymous_pages());

	for (int route = 0; route <= ROUTES; route++) {
		struct sums sums = {0};

		for (size_t i = 0; i < request_count; i++)
			sums.requests += route == ROUTES || (int)requests[i].route == route;
		for (size_t i = 0; i < touch_count; i++)
			if (route == ROUTES ||
				(touches[i].by == BY_REQUEST && (int)touches[i].route == route))
				add_up(&sums, &touches[i]);
#define SAY(field)                                                                                 \
	used += snprintf(text + used, sizeof(text) - (size_t)used, " %s." #field "=%zu",           \
		route == ROUTES ? "all" : route_names[route], sums.field)
		SAY(requests);
		SAY(exclusive);
		SAY(overlapping);
		SAY(background);
		SAY(kept);
		SAY(background_kept);
		SAY(swapped);
		SAY(lazyfree);
		SAY(copied);
		SAY(kernel);
		SAY(huge);
		SAY(followed);
		SAY(kept_1s);
		SAY(aged_10s);
		SAY(kept_10s);
#undef SAY
	}
	say("%s", text);
}

/* --- the client --- */

struct order {
	uint32_t connection, route;
	uint64_t bytes; /* of the request; the least that it needs if less */
};

static const char answer_text[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#define ANSWER_BYTES      (sizeof(answer_text) - 1)
#define ANSWER_HEAD_BYTES (ANSWER_BYTES - 2)

static void send_all(int fd, const char *bytes, size_t count)
{
	for (size_t sent = 0; sent < count;) {
		ssize_t n = send(fd, bytes + sent, count - sent, MSG_NOSIGNAL);

		if (n <= 0)
			die("send");
		sent += (size_t)n;
	}
}

/* The rest of a long request is a body of spaces. */
static void ask(int fd, const struct order *order)
{
	char text[128], body[4096];
	size_t bytes = order->bytes < sizeof(text) ? sizeof(text) : order->bytes;
	int head = snprintf(text, sizeof(text),
		"GET /%s HTTP/1.1\r\nHost: pages\r\nContent-Length: %zu\r\n\r\n",
		route_names[order->route], bytes - sizeof(text));

	memset(text + head, ' ', sizeof(text) - (size_t)head);
	memset(body, ' ', sizeof(body));
	send_all(fd, text, sizeof(text));
	for (size_t left = bytes - sizeof(text); left > 0;) {
		size_t part = left < sizeof(body) ? left : sizeof(body);

		send_all(fd, body, part);
		left -= part;
	}
}

static void run_client(const struct net_address *server, int orders)
{
	char answer[ANSWER_BYTES];
	bool is_asked[CONNECTIONS] = {0};
	int fds[CONNECTIONS];
	struct order order;

	for (int i = 0; i < CONNECTIONS; i++)
		fds[i] = net_connect(server);
	while (read(orders, &order, sizeof(order)) == sizeof(order)) {
		int fd = fds[order.connection];

		if (is_asked[order.connection] &&
			recv(fd, answer, ANSWER_BYTES, MSG_WAITALL) != ANSWER_BYTES)
			die("answer");
		ask(fd, &order);
		is_asked[order.connection] = true;
	}
	_exit(0);
}

static int orders_fd;
static int connections[CONNECTIONS];

static void start_client(void)
{
	char text[NET_ADDRESS_BYTES];
	int listen_fd = net_listen("tcp4", false, text);
	struct net_address address = net_parse(text);
	pid_t parent = getpid(), child;
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
		run_client(&address, orders[0]);
	}
	close(orders[0]);
	orders_fd = orders[1];
	for (int i = 0; i < CONNECTIONS; i++) {
		connections[i] = accept(listen_fd, NULL, NULL);
		if (connections[i] < 0)
			die("accept");
	}
}

/* --- another thread --- */

static int jobs[2], jobs_done[2];
static void (*job)(size_t pages);
static size_t job_pages;

static void *worker_thread(void *argument)
{
	char byte;

	(void)argument;
	while (read(jobs[0], &byte, 1) == 1) {
		job(job_pages);
		if (write(jobs_done[1], &byte, 1) != 1)
			die("write");
	}
	return NULL;
}

static void run_elsewhere(void (*function)(size_t pages), size_t pages)
{
	char byte = 0;

	job = function;
	job_pages = pages;
	if (write(jobs[1], &byte, 1) != 1 || read(jobs_done[0], &byte, 1) != 1)
		die("worker");
}

static void work_nothing(size_t pages)
{
	(void)pages;
}

static void start_worker(void)
{
	pthread_t thread;

	if (pipe(jobs) != 0 || pipe(jobs_done) != 0)
		die("pipe");
	errno = pthread_create(&thread, NULL, worker_thread, NULL);
	if (errno != 0)
		die("pthread_create");
	/* It has all that it needs once it has answered. */
	run_elsewhere(work_nothing, 0);
}

/* --- works: what a request does --- */

static char *fresh(size_t bytes)
{
	char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		die("mmap");
	return at;
}

static void write_pages(char *at, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		((volatile char *)at)[i * page_bytes] = 1;
	planned += (long)pages;
}

static void work_touch(size_t pages)
{
	char *at = fresh(pages * page_bytes);

	write_pages(at, pages);
	note(at, pages, 0);
}

static void work_brk(size_t pages)
{
	char *at = sbrk((intptr_t)(pages * page_bytes));

	if (at == (char *)-1)
		die("sbrk");
	write_pages(at, pages);
	note(at, pages, 0);
}

/* Reading makes no page, writing then makes one. */
static void work_zero(size_t pages)
{
	char *at = fresh(2 * pages * page_bytes);

	for (size_t i = 0; i < 2 * pages; i++)
		(void)((volatile char *)at)[i * page_bytes];
	planned += 2 * (long)pages;
	write_pages(at, pages);
	note(at, pages, 0);
}

/* The kernel touches the pages: some from a device, some from a pipe. */
static void work_read(size_t pages)
{
	static char bytes[PIPE_PAGES * 65536];
	size_t piped = PIPE_PAGES * page_bytes, read_bytes = pages * page_bytes - piped;
	char *at = fresh(pages * page_bytes);
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	int ends[2];

	if (zero < 0 || pipe2(ends, O_CLOEXEC) != 0)
		die("/dev/zero");
	if (read(zero, at, read_bytes) != (ssize_t)read_bytes ||
		write(ends[1], bytes, piped) != (ssize_t)piped ||
		read(ends[0], at + read_bytes, piped) != (ssize_t)piped)
		die("read");
	close(zero);
	close(ends[0]);
	close(ends[1]);
	planned += (long)pages;
	note(at, pages, IS_BY_KERNEL);
}

static void work_populate(size_t pages)
{
	char *at = mmap(NULL, pages * page_bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (at == MAP_FAILED)
		die("mmap");
	planned += (long)pages;
	note(at, pages, IS_BY_KERNEL);
}

/* One write makes a whole folio resident, where the kernel has one. */
static void work_huge(size_t pages)
{
	size_t folio_bytes = shape->folio_pages * page_bytes;
	size_t folios = folio_bytes == HUGE_BYTES ? 1 : 3;
	size_t bytes = folios * folio_bytes;
	char *at = fresh(bytes + folio_bytes);
	long before = own_faults(), faults;

	(void)pages;
	at += (folio_bytes - (uintptr_t)at % folio_bytes) % folio_bytes;
	if (madvise(at, bytes, MADV_HUGEPAGE) != 0) {
		say("unsupported MADV_HUGEPAGE: %s", strerror(errno));
		_exit(0);
	}
	for (size_t i = 0; i < bytes; i += page_bytes)
		((volatile char *)at)[i] = 1;
	faults = own_faults() - before;
	planned += faults;
	/* The kernel must not fill up by itself what is given back in part. */
	if (madvise(at, bytes, MADV_NOHUGEPAGE) != 0)
		die("MADV_NOHUGEPAGE");
	note(at, bytes / page_bytes, faults == (long)folios ? IS_HUGE : 0);
}

/* Pages that were resident before a child began to share them. */
static char *shared;
static size_t shared_pages;
static pid_t sharer;

static void share_pages(void)
{
	/* Once before "ready", once counted, and those that are written when nobody shares. */
	size_t pages = 2 * (KEEP_REQUESTS * KEEP_PAGES + HALF_REQUESTS * HALF_PAGES +
				   DROP_REQUESTS * DROP_PAGES) +
		       REUSED_PAGES;
	pid_t parent = getpid();

	shared = fresh(pages * page_bytes);
	write_pages(shared, pages);
	sharer = fork();
	if (sharer < 0)
		die("fork");
	if (sharer == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (getppid() == parent)
			pause();
		_exit(0);
	}
}

static void work_copy(size_t pages)
{
	char *at = shared + shared_pages * page_bytes;

	shared_pages += pages;
	write_pages(at, pages);
	note(at, pages, IS_COPIED);
}

/* Pages that nobody else shares any longer become writable where they are: no page is touched. */
static void work_reuse(size_t pages)
{
	write_pages(shared + shared_pages * page_bytes, pages);
}

/* Blocks of mixed sizes over malloc. Few stay, but one of them lies above all others. */
static void work_malloc(size_t pages)
{
	static const size_t sizes[] = {1900, 7000, 24000, 500, 14000, 200000, 3000};
	static void *blocks[BLOCKS_MAX];
	size_t used = 0, count = 0;

	while (used < pages * page_bytes && count < BLOCKS_MAX) {
		size_t bytes = sizes[count % (sizeof(sizes) / sizeof(sizes[0]))];

		blocks[count] = malloc(bytes);
		if (!blocks[count])
			die("malloc");
		memset(blocks[count], 1, bytes);
		used += bytes;
		count++;
	}
	if (!malloc(600))
		die("malloc");
	for (size_t i = 0; i < count; i++)
		if (i % 98 != 97)
			free(blocks[i]);
}

/* --- giving back --- */

/* What became of pages that were paged out: the kernel may leave some. */
static bool is_swapped(const struct touch *touch)
{
	uint64_t entries[1024];
	size_t bytes = touch->pages * sizeof(entries[0]);
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool is_all = bytes <= sizeof(entries);

	if (fd < 0 || !is_all ||
		pread(fd, entries, bytes, (off_t)((uintptr_t)touch->at / page_bytes * 8)) !=
			(ssize_t)bytes)
		die("/proc/self/pagemap");
	close(fd);
	for (size_t i = 0; i < touch->pages; i++)
		is_all = is_all && entries[i] >> 62 & 1;
	return is_all;
}

static void page_out(struct touch *touch)
{
	for (int i = 0; i < 100 && touch->state != SWAPPED; i++) {
		if (madvise(touch->at, touch->pages * page_bytes, MADV_PAGEOUT) != 0)
			die("MADV_PAGEOUT");
		touch->state = is_swapped(touch) ? SWAPPED : HERE;
	}
	if (touch->state != SWAPPED) {
		say("unsupported no swap");
		_exit(0);
	}
}

static void leave(struct touch *touch, enum leaving leaving)
{
	size_t bytes = touch->pages * page_bytes;
	bool is_done = true;

	touch->left_ns = now_ns();
	touch->state = GONE;
	switch (leaving) {
	case UNMAP:
		is_done = munmap(touch->at, bytes) == 0;
		break;
	case DONTNEED:
		is_done = madvise(touch->at, bytes, MADV_DONTNEED) == 0;
		break;
	case MAP_OVER:
		is_done = mmap(touch->at, bytes, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == touch->at;
		break;
	case SHRINK:
		is_done = sbrk(-(intptr_t)bytes) == touch->at + bytes;
		break;
	case FREE:
		is_done = madvise(touch->at, bytes, MADV_FREE) == 0;
		touch->state = LAZY;
		break;
	case PAGE_OUT:
		touch->state = HERE;
		page_out(touch);
		break;
	case MOVE:
		touch->at = mremap(
			touch->at, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, fresh(bytes));
		is_done = touch->at != MAP_FAILED;
		touch->left_ns = 0;
		touch->state = HERE;
		break;
	case TRIM:
		break;
	}
	if (!is_done)
		die("leave");
}

/* The tail of a touch becomes one of its own. */
static struct touch *split(struct touch *touch, size_t pages)
{
	struct touch *tail = &touches[touch_count++];

	if (touch_count > TOUCHES_MAX)
		die("too many touches");
	*tail = *touch;
	touch->pages -= pages;
	tail->pages = pages;
	tail->at += touch->pages * page_bytes;
	return tail;
}

/* The latest first, as brk needs it. */
static void leave_from(size_t first, enum leaving leaving)
{
	for (size_t i = touch_count; i-- > first;) {
		struct touch *touch = &touches[i];

		if (touch->state == HERE && touch->route == HALF)
			leave(split(touch, touch->pages / 2), leaving);
		if (touch->state == HERE && touch->route == DROP)
			leave(touch, leaving);
	}
}

/* --- serving --- */

static void order(int connection, enum route route, size_t bytes)
{
	struct order text = {
		.connection = (uint32_t)connection, .route = (uint32_t)route, .bytes = bytes};

	if (write(orders_fd, &text, sizeof(text)) != sizeof(text))
		die("order");
	if (request_count == REQUESTS_MAX)
		die("too many requests");
	requests[request_count++] = (struct request){.route = route};
}

static void receive(int connection)
{
	char text[128];

	if (recv(connections[connection], text, sizeof(text), MSG_WAITALL) != sizeof(text))
		die("recv");
}

/* The kernel touches the pages before the request is received, and while the rest comes in. */
static void receive_fresh(enum route route, size_t pages)
{
	size_t bytes = pages * page_bytes;
	char *at = fresh(bytes);

	for (size_t used = 0; used < bytes;) {
		ssize_t n = route == DROP ? read(connections[0], at + used, bytes - used)
					  : recv(connections[0], at + used, bytes - used,
						    route == KEEP ? MSG_WAITALL : 0);

		if (n <= 0)
			die("receive");
		used += (size_t)n;
	}
	planned += (long)pages;
	note(at, pages, IS_BY_KERNEL);
}

static void answer(int connection)
{
	send_all(connections[connection], answer_text, ANSWER_BYTES);
}

static void work_and_answer(size_t pages)
{
	shape->work(pages);
	answer(0);
}

static void serve_as(enum manner manner, enum route route, void (*work)(size_t pages), size_t pages)
{
	size_t first_request = request_count, first_touch = touch_count;

	toucher = manner == TWO_OPEN                                          ? BY_OVERLAPPING
		  : manner == AFTER || manner == BESIDE || manner == EXECUTOR ? BY_BACKGROUND
									      : BY_REQUEST;
	toucher_traits = manner == HAND_OFF ? IS_FOLLOWED : 0;
	order(0, route, manner == FRESH ? pages * page_bytes : 0);
	if (manner == BESIDE)
		run_elsewhere(work, pages);
	if (manner == FRESH)
		receive_fresh(route, pages);
	else
		receive(0);
	switch (manner) {
	case INSIDE:
		work(pages);
		answer(0);
		break;
	case FRESH:
	case BESIDE:
		answer(0);
		break;
	case TAIL:
		send_all(connections[0], answer_text, ANSWER_HEAD_BYTES);
		work(pages);
		send_all(connections[0], answer_text + ANSWER_HEAD_BYTES,
			ANSWER_BYTES - ANSWER_HEAD_BYTES);
		break;
	case AFTER:
		answer(0);
		work(pages);
		break;
	case EXECUTOR:
		run_elsewhere(work, pages);
		answer(0);
		break;
	case HAND_OFF:
		run_elsewhere(work_and_answer, pages);
		break;
	case TWO_OPEN:
		order(1, route, 0);
		receive(1);
		work(pages);
		answer(0);
		answer(1);
		break;
	case GIVES_BACK:
		work(pages);
		leave_from(first_touch, shape->leaving);
		answer(0);
		break;
	}
	for (size_t i = first_request; i < request_count; i++)
		requests[i].ended_ns = now_ns();
}

static void serve(enum route route, size_t pages)
{
	serve_as(shape->manner, route, shape->work, pages * scale);
}

/* What was given back is touched again, by another request than the first time. */
static void work_again(size_t pages)
{
	size_t count = touch_count;

	(void)pages;
	for (size_t i = 0; i < count; i++) {
		struct touch *touch = &touches[i];
		size_t bytes = touch->pages * page_bytes;

		if (touch->state != GONE && touch->state != SWAPPED)
			continue;
		if (shape->leaving == UNMAP &&
			mmap(touch->at, bytes, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
				0) != touch->at)
			die("mmap");
		if (shape->leaving == SHRINK && touch->at >= (char *)sbrk(0) &&
			brk(touch->at + bytes) != 0)
			die("brk");
		write_pages(touch->at, touch->pages);
		note(touch->at, touch->pages, 0);
		touch->state = GONE;
	}
}

/* --- steps --- */

static void serve_all(void)
{
	for (int i = 0; i < KEEP_REQUESTS; i++)
		serve(KEEP, KEEP_PAGES);
	for (int i = 0; i < HALF_REQUESTS; i++)
		serve(HALF, HALF_PAGES);
	for (int i = 0; i < DROP_REQUESTS; i++)
		serve(DROP, DROP_PAGES);
}

static void give_back(void)
{
	if (shape->leaving == TRIM)
		(void)malloc_trim(0);
	else if (shape->manner != GIVES_BACK)
		leave_from(0, shape->leaving);
}

static void touch_again(void)
{
	serve_as(INSIDE, KEEP, work_again, 0);
}

static void unmap_moved(void)
{
	leave_from(0, UNMAP);
}

static void reuse(void)
{
	if (kill(sharer, SIGKILL) != 0 || waitpid(sharer, NULL, 0) != sharer)
		die("sharer");
	serve_as(INSIDE, KEEP, work_reuse, REUSED_PAGES);
}

static void show(void)
{
	for (int route = 0; route < ROUTES; route++)
		serve_as(INSIDE, (enum route)route, work_nothing, 0);
}

static void run_step(void (*step)(void))
{
	long faults = own_faults();
	long planned_before = planned;

	step();
	unplanned += own_faults() - faults - (planned - planned_before);
}

static void run_all_steps(void)
{
	serve_all();
	give_back();
	/* A child that is gone shares nothing when it counts. */
	if (shape->last && shape->last != reuse)
		shape->last();
}

static void forget_touches(void)
{
	for (size_t i = 0; i < touch_count; i++) {
		if (shape->leaving != SHRINK)
			(void)munmap(touches[i].at, touches[i].pages * page_bytes);
		else if (i == 0 && brk(touches[i].at) != 0)
			die("brk");
	}
	touch_count = request_count = 0;
	planned = unplanned = 0;
}

/* --- lives --- */

static char own_path[4096];

static void exec_anew(void)
{
	char texts[CONNECTIONS + 1][16];

	for (int i = 0; i < CONNECTIONS; i++)
		(void)sprintf(texts[i], "%d", connections[i]);
	(void)sprintf(texts[CONNECTIONS], "%d", orders_fd);
	execl(own_path, own_path, shape->name, "1", texts[0], texts[1], texts[2], NULL);
	die("exec");
}

static void leave_quietly(void)
{
	_exit(0);
}

/* The child serves on, on the connections that its parent accepted. */
static void serve_in_child(void)
{
	int alive[2];
	char byte;
	pid_t child;

	if (pipe(alive) != 0)
		die("pipe");
	child = fork();
	if (child < 0)
		die("fork");
	if (child > 0) {
		await("end");
		_exit(0);
	}
	close(alive[1]);
	touch_count = request_count = 0;
	planned = unplanned = 0;
	run_step(serve_all);
	say_truth("done");
	(void)!read(alive[0], &byte, 1);
	_exit(0);
}

/* --- the program --- */

static const struct shape shapes[] = {
	{.name = "later", .work = work_touch},
	{.name = "inside", .work = work_touch, .manner = GIVES_BACK},
	{.name = "dontneed", .work = work_touch, .leaving = DONTNEED, .last = touch_again},
	{.name = "inside-dontneed",
		.work = work_touch,
		.manner = GIVES_BACK,
		.leaving = DONTNEED,
		.last = touch_again},
	{.name = "map-over", .work = work_touch, .leaving = MAP_OVER, .last = touch_again},
	{.name = "retouch",
		.work = work_touch,
		.leaving = UNMAP,
		.last = touch_again,
		.at_once = true},
	{.name = "brk", .work = work_brk, .leaving = SHRINK, .last = touch_again},
	{.name = "remap", .work = work_touch, .leaving = MOVE, .last = unmap_moved},
	{.name = "remap-at-once",
		.work = work_touch,
		.leaving = MOVE,
		.last = unmap_moved,
		.at_once = true},
	{.name = "lazyfree", .work = work_touch, .leaving = FREE},
	{.name = "zero", .work = work_zero},
	{.name = "read", .work = work_read},
	{.name = "receive", .manner = FRESH},
	{.name = "populate", .work = work_populate},
	{.name = "copy", .work = work_copy, .last = reuse},
	{.name = "huge", .work = work_huge, .folio_pages = 512},
	{.name = "huge-dontneed", .work = work_huge, .leaving = DONTNEED, .folio_pages = 512},
	{.name = "folio", .work = work_huge, .folio_pages = 16},
	{.name = "swap", .work = work_touch, .leaving = PAGE_OUT},
	{.name = "swap-again", .work = work_touch, .leaving = PAGE_OUT, .last = touch_again},
	{.name = "tail", .work = work_touch, .manner = TAIL},
	{.name = "after", .work = work_touch, .manner = AFTER},
	{.name = "background", .work = work_touch, .manner = BESIDE},
	{.name = "executor", .work = work_touch, .manner = EXECUTOR},
	{.name = "hand-off", .work = work_touch, .manner = HAND_OFF},
	{.name = "two-open", .work = work_touch, .manner = TWO_OPEN},
	{.name = "malloc", .work = work_malloc, .leaving = TRIM},
	{.name = "churn", .work = work_malloc},
	{.name = "exec", .work = work_touch, .later = exec_anew},
	{.name = "fork", .work = work_touch, .later = serve_in_child},
	{.name = "exit", .work = work_touch, .later = leave_quietly},
};

#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static void usage(void)
{
	fprintf(stderr, "usage: pages SHAPE [SCALE], SHAPE one of:");
	for (size_t i = 0; i < SHAPES; i++)
		fprintf(stderr, " %s", shapes[i].name);
	fprintf(stderr, "\n");
	exit(2);
}

/* Steps may use more of the stack than what came before. */
__attribute__((noinline)) static void warm_up_stack(void)
{
	volatile char bytes[32768];

	for (size_t i = 0; i < sizeof(bytes); i += 512)
		bytes[i] = 1;
}

/* Everything up to "ready". */
static void set_up(void)
{
	size_t wanted_scale = scale;
	intptr_t over = (intptr_t)((uintptr_t)sbrk(0) % page_bytes);

	if (over > 0 && sbrk((intptr_t)page_bytes - over) == (void *)-1)
		die("sbrk");
	/* A huge page would be one fault for all. */
	if (shape->folio_pages == 0 && prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0)
		die("PR_SET_THP_DISABLE");
	start_client();
	warm_up_stack();
	start_worker();
	if (shape->work == work_copy)
		share_pages();
	/* What malloc has once, it does not ask for again. */
	if (shape->work == work_malloc)
		scale = 0;
	run_all_steps();
	scale = wanted_scale;
	if (shape->folio_pages > 0 && !(touches[0].traits & IS_HUGE)) {
		say("unsupported no folios of %zu pages", shape->folio_pages);
		_exit(0);
	}
	forget_touches();
}

static void run_steps(void)
{
	const struct {
		const char *word;
		void (*run)(void);
	} steps[] = {
		{"go", shape->at_once ? run_all_steps : serve_all},
		{"later", shape->at_once ? NULL
			  : shape->later ? shape->later
					 : give_back},
		{"last", shape->at_once ? NULL : shape->last},
		{"show", show},
	};

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		await(steps[i].word);
		if (steps[i].run)
			run_step(steps[i].run);
		say_truth("done");
	}
	await("end");
}

static void take_over(char **fds)
{
	for (int i = 0; i < CONNECTIONS; i++)
		connections[i] = atoi(fds[i]);
	orders_fd = atoi(fds[CONNECTIONS]);
	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0)
		die("PR_SET_THP_DISABLE");
	warm_up_stack();
	run_step(serve_all);
	say_truth("done");
	await("end");
}

int main(int argc, char **argv)
{
	for (size_t i = 0; i < SHAPES && argc >= 2; i++)
		if (strcmp(shapes[i].name, argv[1]) == 0)
			shape = &shapes[i];
	if (argc >= 3)
		scale = strtoul(argv[2], NULL, 10);
	if (!shape || scale == 0 || scale > SCALE_MAX ||
		readlink("/proc/self/exe", own_path, sizeof(own_path) - 1) < 0)
		usage();
	page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	if (argc == 3 + CONNECTIONS + 1) {
		take_over(argv + 3);
		return 0;
	}
	set_up();
	say_truth("ready");
	run_steps();
	return 0;
}
