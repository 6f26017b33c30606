/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * shapes SHAPE | shapes --client PORT RATE SECONDS CONNECTIONS: small HTTP/1.1 servers whose memory
 * is labelled by construction, for verdicts, and the client that paces their traffic.
 *
 * What a server's requests do with memory is one row of `shapes`; nothing else in it allocates
 * while it serves. Connections are served one at a time by each worker, the first by the first
 * worker and so on; with no workers the main thread serves. On SIGUSR1 it gives back what its
 * allocator can be asked to (malloc_trim(0), or jemalloc's purge), and says how much anonymous
 * memory there was before and after: what a forecast is compared with. It listens on 127.0.0.1
 * only, and ends by itself after LIFE_S.
 *
 * Built with -DALLOCATE=... -DRELEASE=..., it takes its memory from another allocator than
 * malloc's.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#include "workload.h"

#ifndef ALLOCATE
#define ALLOCATE malloc
#define RELEASE  free
#else
void *ALLOCATE(size_t bytes);
void RELEASE(void *memory);
#endif

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define LIFE_S        300
#define WORKERS_MAX   15
#define REQUEST_BYTES 4096
#define LAZY_BYTES    (64u << 20)
#define HUGE_BYTES    (2u << 20)
#define STACK_BYTES   (256u << 10)

/* jemalloc's control and its number for all arenas, where jemalloc is. */
int mallctl(const char *name, void *old, size_t *old_bytes, void *new, size_t new_bytes)
	__attribute__((weak));
#define JEMALLOC_PURGE "arena.4096.purge"

#ifdef __GLIBC__
void *__libc_malloc(size_t bytes); /* glibc's own, whatever `malloc` is */
#endif

/*
 * Requests of each worker are counted from 0. Those of a burst hold what they allocate until its
 * last request is answered; the others free it at once.
 */
struct shape {
	const char *name;
	unsigned workers;
	size_t chunk_bytes;
	unsigned calm_chunks;    /* of a request outside bursts */
	unsigned burst_chunks;   /* of a request in a burst */
	unsigned burst_begin;    /* the request that the first burst begins with */
	unsigned burst_requests; /* so long is a burst; 0: there are none */
	unsigned bursts;         /* so many there are */
	unsigned period;         /* requests from one burst's beginning to the next one's */
	unsigned stagger; /* so many requests later do each worker's bursts begin than the last's */
	/* After so many chunks of a burst a small block is allocated and kept for good, until there
	 * are `keep_most`. */
	unsigned keep_every, keep_most;
	size_t kept_bytes;
	size_t leak_bytes; /* a request */
	/* A cache of so many entries, of which each request replaces some, the oldest first. */
	unsigned cache_entries, cache_replaced;
	size_t cache_entry_bytes;
	void *(*leak)(size_t bytes); /* NULL: ALLOCATE */
	void (*begin)(void);
	void (*after_burst)(void);
};

/* A block, in a list of what is freed together. */
struct block {
	struct block *next;
};

struct worker {
	pthread_t thread;
	int inbox[2];
	unsigned requests;
	unsigned burst_chunks;
	unsigned kept;
	struct block *held;
	struct block **cache;
	unsigned cache_at;
};

static const struct shape *shape;
static struct worker workers[WORKERS_MAX + 1];

static struct block *touched(void *memory, size_t bytes)
{
	if (!memory)
		die("no memory");
	memset(memory, 'm', bytes);
	return memory;
}

static void release_all(struct block **list)
{
	while (*list) {
		struct block *next = (*list)->next;

		RELEASE(*list);
		*list = next;
	}
}

/*
 * What a request does.
 */

static void keep_some(struct worker *worker)
{
	if (!shape->keep_every || worker->kept == shape->keep_most ||
		worker->burst_chunks % shape->keep_every != 0)
		return;
	worker->kept++;
	(void)touched(ALLOCATE(shape->kept_bytes), shape->kept_bytes);
}

static void allocate(struct worker *worker, unsigned chunks, bool in_burst)
{
	for (unsigned i = 0; i < chunks; i++) {
		struct block *block = touched(ALLOCATE(shape->chunk_bytes), shape->chunk_bytes);

		block->next = worker->held;
		worker->held = block;
		if (!in_burst)
			continue;
		worker->burst_chunks++;
		keep_some(worker);
	}
}

static void replace_cached(struct worker *worker)
{
	for (unsigned i = 0; i < shape->cache_replaced; i++) {
		struct block **entry = &worker->cache[worker->cache_at++ % shape->cache_entries];

		RELEASE(*entry);
		*entry = touched(ALLOCATE(shape->cache_entry_bytes), shape->cache_entry_bytes);
	}
}

static bool is_in_burst(const struct worker *worker, unsigned *ret_at)
{
	unsigned begin = shape->burst_begin + shape->stagger * (unsigned)(worker - workers);
	unsigned since = worker->requests - begin;
	unsigned period = shape->period ? shape->period : 1;

	*ret_at = since % period;
	return shape->burst_requests && worker->requests >= begin &&
	       since / period < shape->bursts && *ret_at < shape->burst_requests;
}

static void work(struct worker *worker)
{
	unsigned at;
	bool in_burst = is_in_burst(worker, &at);

	worker->requests++;
	allocate(worker, in_burst ? shape->burst_chunks : shape->calm_chunks, in_burst);
	if (shape->leak_bytes)
		(void)touched((shape->leak ? shape->leak : ALLOCATE)(shape->leak_bytes),
			shape->leak_bytes);
	replace_cached(worker);
	if (in_burst && at + 1 < shape->burst_requests)
		return;
	release_all(&worker->held);
	if (in_burst && shape->after_burst)
		shape->after_burst();
}

/*
 * What shapes do besides.
 */

/* One value of smaps_rollup, in bytes. */
static size_t memory_now(const char *name)
{
	char text[4096];
	int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	const char *line;

	if (length < 0)
		die("smaps_rollup");
	(void)close(fd);
	text[length] = '\0';
	line = strstr(text, name);
	return line ? strtoul(line + strlen(name), NULL, 10) * 1024 : 0;
}

static void give_back(void)
{
#ifdef __GLIBC__
	(void)malloc_trim(0);
#endif
	if (mallctl)
		(void)mallctl(JEMALLOC_PURGE, NULL, NULL, NULL, 0);
}

static void trim_late(void)
{
#ifdef __GLIBC__
	(void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
}

static void map_large(void)
{
#ifdef __GLIBC__
	(void)mallopt(M_MMAP_THRESHOLD, 128 << 10);
#endif
}

/* What khugepaged does in its own time, done at once, to every anonymous mapping that is writable.
 */
static void collapse_all(void)
{
	static char text[1 << 16];
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t length;

	if (fd < 0)
		die("maps");
	while (used + 1 < sizeof(text) &&
		(length = read(fd, text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)length;
	(void)close(fd);
	text[used] = '\0';
	for (char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		unsigned long from, to, inode;
		char access[5];

		if (sscanf(line, "%lx-%lx %4s %*s %*s %lu", &from, &to, access, &inode) != 4 ||
			inode || strcmp(access, "rw-p") != 0)
			continue;
		from = (from + HUGE_BYTES - 1) & -(unsigned long)HUGE_BYTES;
		for (; from + HUGE_BYTES <= to; from += HUGE_BYTES)
			(void)madvise((void *)from, HUGE_BYTES, MADV_COLLAPSE);
	}
}

static void give_back_and_collapse(void)
{
	give_back();
	collapse_all();
}

/* A pool of the program's own, used and given back lazily. */
static void use_lazily(void)
{
	static char *pool;

	if (!pool)
		pool = mmap(NULL, LAZY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);
	if (pool == MAP_FAILED)
		die("mmap");
	memset(pool, 'p', LAZY_BYTES);
	if (madvise(pool, LAZY_BYTES, MADV_FREE) != 0)
		die("MADV_FREE");
}

static void *leak_of_library(size_t bytes)
{
#ifdef __GLIBC__
	return __libc_malloc(bytes);
#else
	return malloc(bytes);
#endif
}

static void *map_pages(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

/* So many requests a second are asked for, so that request 200 is five seconds after the first. */
#define FOREVER 1000000u

/* 60 MB of chunks that neither tcaches nor fastbins take, over 40 requests: one second. */
#define BURST .chunk_bytes = 2000, .calm_chunks = 10, .burst_chunks = 750, .burst_requests = 40
#define ONCE  BURST, .burst_begin = 20, .bursts = 1, .period = FOREVER
#define LATE  BURST, .burst_begin = 480, .bursts = 1, .period = FOREVER

static const struct shape shapes[] = {
	/* Every worker has an arena with a peak of its own, 5 MB. */
	{.name = "rotating",
		.workers = 15,
		.chunk_bytes = 2000,
		.burst_chunks = 2500,
		.burst_requests = 1,
		.bursts = FOREVER,
		.keep_every = 100,
		.keep_most = 25,
		.kept_bytes = 64},
	/* The same, one worker after the other, the last of them after half a minute. */
	{.name = "fanning-out",
		.workers = 15,
		.chunk_bytes = 2000,
		.calm_chunks = 10,
		.burst_chunks = 2500,
		.burst_requests = 1,
		.bursts = FOREVER,
		.stagger = 5,
		.keep_every = 100,
		.keep_most = 25,
		.kept_bytes = 64},
	/* One live block on top of what a burst left free. */
	{.name = "pinned-top", ONCE, .keep_every = 750 * 40, .keep_most = 1, .kept_bytes = 64},
	/* Live blocks every 128 KB. */
	{.name = "interior",
		.workers = 1,
		ONCE,
		.keep_every = 64,
		.keep_most = 468,
		.kept_bytes = 64},
	/* The same, freed by the last request before a pause of a client of 520. */
	{.name = "late-interior",
		.workers = 1,
		LATE,
		.keep_every = 64,
		.keep_most = 468,
		.kept_bytes = 64},
	{.name = "late", .workers = 1, LATE},
	/* Blocks that tcaches and fastbins take, and larger ones live every 128 KB. */
	{.name = "small-blocks",
		.workers = 1,
		.chunk_bytes = 88,
		.calm_chunks = 100,
		.burst_chunks = 15600,
		.burst_begin = 20,
		.burst_requests = 40,
		.bursts = 1,
		.period = FOREVER,
		.keep_every = 1365,
		.keep_most = 457,
		.kept_bytes = 200},
	/* Bodies of 12 MB: the first burst is mapped, and the second comes from the heap. */
	{.name = "bodies",
		.chunk_bytes = 12u << 20,
		.burst_chunks = 1,
		.burst_begin = 10,
		.burst_requests = 5,
		.bursts = 2,
		.period = 20,
		.keep_every = 1,
		.keep_most = 20,
		.kept_bytes = 64},
	/* No free block is a whole page. */
	{.name = "page-pinned",
		.chunk_bytes = 1600,
		.calm_chunks = 10,
		.burst_chunks = 938,
		.burst_begin = 20,
		.burst_requests = 40,
		.bursts = 1,
		.period = FOREVER,
		.keep_every = 2,
		.keep_most = FOREVER,
		.kept_bytes = 64},
	/* One block in eight of a size class is kept: no slab of any allocator empties. */
	{.name = "sparse",
		.chunk_bytes = 1600,
		.calm_chunks = 10,
		.burst_chunks = 938,
		.burst_begin = 20,
		.burst_requests = 40,
		.bursts = 1,
		.period = FOREVER,
		.keep_every = 8,
		.keep_most = FOREVER,
		.kept_bytes = 1600},
	{.name = "hoarded-top", ONCE, .begin = trim_late},
	{.name = "hoarded-arenas",
		.workers = 8,
		.chunk_bytes = 2000,
		.calm_chunks = 10,
		.burst_chunks = 2000,
		.burst_begin = 5,
		.burst_requests = 2,
		.bursts = 1,
		.period = FOREVER,
		.begin = trim_late},
	/* 1 MB, and 80 KB, a second. */
	{.name = "leak", .workers = 2, .chunk_bytes = 2000, .calm_chunks = 50, .leak_bytes = 25000},
	{.name = "slow-leak",
		.workers = 2,
		.chunk_bytes = 2000,
		.calm_chunks = 50,
		.leak_bytes = 2000},
	{.name = "leak-and-interior",
		.workers = 1,
		ONCE,
		.keep_every = 64,
		.keep_most = 468,
		.kept_bytes = 64,
		.leak_bytes = 25000},
	{.name = "library-leak",
		.workers = 2,
		.chunk_bytes = 2000,
		.calm_chunks = 50,
		.leak_bytes = 25000,
		.leak = leak_of_library},
	{.name = "mapped-leak",
		.workers = 2,
		.chunk_bytes = 2000,
		.calm_chunks = 50,
		.leak_bytes = 24576,
		.leak = map_pages},
	/* 30 MB: full after 2 seconds; full after 15; and never while it is watched. */
	{.name = "cache-full",
		.chunk_bytes = 2000,
		.calm_chunks = 50,
		.cache_entries = 15000,
		.cache_replaced = 200,
		.cache_entry_bytes = 2000},
	{.name = "cache-filled",
		.chunk_bytes = 2000,
		.calm_chunks = 50,
		.cache_entries = 15000,
		.cache_replaced = 25,
		.cache_entry_bytes = 2000},
	{.name = "cache-filling",
		.chunk_bytes = 2000,
		.calm_chunks = 50,
		.cache_entries = 150000,
		.cache_replaced = 20,
		.cache_entry_bytes = 2000},
	{.name = "steady", .workers = 2, .chunk_bytes = 2000, .calm_chunks = 100},
	/* Blocks that are mappings of their own. */
	{.name = "mapped",
		.workers = 2,
		.chunk_bytes = 4u << 20,
		.calm_chunks = 1,
		.burst_chunks = 1,
		.burst_begin = 20,
		.burst_requests = 10,
		.bursts = FOREVER,
		.period = 40,
		.begin = map_large},
	/* A burst every 8 seconds, which nothing pins. */
	{.name = "waves", BURST, .burst_begin = 20, .bursts = FOREVER, .period = 320},
	{.name = "trimmed",
		.workers = 1,
		BURST,
		.burst_begin = 20,
		.bursts = FOREVER,
		.period = 320,
		.keep_every = 64,
		.keep_most = 468,
		.kept_bytes = 64,
		.after_burst = give_back},
	{.name = "lazy",
		.chunk_bytes = 2000,
		.calm_chunks = 10,
		.burst_begin = 20,
		.burst_requests = 1,
		.bursts = FOREVER,
		.period = 200,
		.after_burst = use_lazily},
	/* What was returned comes back as huge pages. */
	{.name = "refilled",
		.workers = 1,
		BURST,
		.burst_begin = 20,
		.bursts = FOREVER,
		.period = 200,
		.keep_every = 64,
		.keep_most = 468,
		.kept_bytes = 64,
		.after_burst = give_back_and_collapse},
};

/*
 * The server.
 */

static int listen_on_loopback(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, 64) != 0 ||
		getsockname(fd, (struct sockaddr *)&address, &length) != 0)
		die("listen");
	say("listening on 127.0.0.1:%u for %u connections", ntohs(address.sin_port),
		shape->workers ? shape->workers : 1);
	return fd;
}

/* Reads the head of one request; false when there is no more. */
static bool receive_request(int fd)
{
	char bytes[REQUEST_BYTES];
	size_t used = 0;

	do {
		ssize_t length = recv(fd, bytes + used, sizeof(bytes) - 1 - used, 0);

		if (length <= 0)
			return false;
		used += (size_t)length;
		bytes[used] = '\0';
	} while (!strstr(bytes, "\r\n\r\n") && used + 1 < sizeof(bytes));
	return true;
}

static void serve(struct worker *worker, int fd)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";

	while (receive_request(fd)) {
		work(worker);
		if (send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL) < 0)
			break;
	}
	(void)close(fd);
}

static void *run_worker(void *argument)
{
	struct worker *worker = argument;
	int fd;

	while (read(worker->inbox[0], &fd, sizeof(fd)) == sizeof(fd))
		serve(worker, fd);
	return NULL;
}

static void *run_signals(void *argument)
{
	int number;

	while (sigwait(argument, &number) == 0) {
		size_t before = memory_now("Anonymous:"), after;

		give_back();
		after = memory_now("Anonymous:");
		say("gave back %zu of %zu", before > after ? before - after : 0, before);
	}
	return NULL;
}

/* With a stack that says nothing about the heap. */
static void start_thread(pthread_t *thread, void *(*run)(void *), void *argument)
{
	pthread_attr_t attributes;

	if (pthread_attr_init(&attributes) != 0 ||
		pthread_attr_setstacksize(&attributes, STACK_BYTES) != 0 ||
		pthread_create(thread, &attributes, run, argument) != 0)
		die("pthread_create");
	(void)pthread_attr_destroy(&attributes);
}

static void start_workers(void)
{
	for (unsigned i = 0; i <= shape->workers; i++) {
		workers[i].cache = calloc(shape->cache_entries + 1, sizeof(workers[i].cache[0]));
		if (!workers[i].cache)
			die("no memory");
		if (i == shape->workers)
			break;
		if (pipe(workers[i].inbox) != 0)
			die("pipe");
		start_thread(&workers[i].thread, run_worker, &workers[i]);
	}
}

static void run_server(void)
{
	static sigset_t signals;
	pthread_t thread;
	int fd, listener;

	(void)alarm(LIFE_S);
	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGUSR1);
	(void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
	if (shape->begin)
		shape->begin();
	start_thread(&thread, run_signals, &signals);
	start_workers();
	listener = listen_on_loopback();
	for (unsigned next = 0; (fd = accept(listener, NULL, NULL)) >= 0; next++) {
		if (!shape->workers)
			serve(&workers[0], fd);
		else if (write(workers[next % shape->workers].inbox[1], &fd, sizeof(fd)) < 0)
			die("write");
	}
	die("accept");
}

/*
 * The client.
 */

static int connect_to(unsigned port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		die("connect");
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

/* Receives one answer, of which the header at least must fit. */
static bool receive_answer(int fd)
{
	char bytes[REQUEST_BYTES];
	const char *body = NULL, *length_at;
	size_t used = 0, wanted = 0;

	while (!body || used < wanted) {
		ssize_t length = recv(fd, body ? bytes : bytes + used,
			body ? sizeof(bytes) : sizeof(bytes) - 1 - used, 0);

		if (length <= 0)
			return false;
		used += (size_t)length;
		if (body)
			continue;
		bytes[used] = '\0';
		body = strstr(bytes, "\r\n\r\n");
		length_at = strcasestr(bytes, "\nContent-Length: ");
		if (body)
			wanted = (size_t)(body + 4 - bytes) +
				 (length_at ? strtoul(length_at + 17, NULL, 10) : 0);
	}
	return true;
}

static void exchange(int fd)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

	if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0 || !receive_answer(fd))
		die("the server is gone");
}

/* Request I leaves at its time or, if answers are late, as soon as it can: none is left out. */
static void run_client(unsigned port, unsigned rate, unsigned seconds, unsigned connections)
{
	struct timespec at;
	int fds[WORKERS_MAX];

	for (unsigned i = 0; i < connections; i++)
		fds[i] = connect_to(port);
	(void)clock_gettime(CLOCK_MONOTONIC, &at);
	for (unsigned i = 0; i < rate * seconds; i++) {
		exchange(fds[i % connections]);
		at.tv_nsec += 1000000000 / (long)rate;
		if (at.tv_nsec >= 1000000000) {
			at.tv_nsec -= 1000000000;
			at.tv_sec++;
		}
		(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
	}
}

static unsigned number(const char *text, unsigned most)
{
	unsigned long value = strtoul(text, NULL, 10);

	if (value < 1 || value > most) {
		errno = EINVAL;
		die("'%s'", text);
	}
	return (unsigned)value;
}

int main(int argc, char **argv)
{
	if (argc == 6 && strcmp(argv[1], "--client") == 0) {
		run_client(number(argv[2], 65535), number(argv[3], 1000), number(argv[4], LIFE_S),
			number(argv[5], WORKERS_MAX));
		return 0;
	}
	for (size_t i = 0; argc == 2 && i < sizeof(shapes) / sizeof(shapes[0]); i++)
		if (strcmp(shapes[i].name, argv[1]) == 0)
			shape = &shapes[i];
	if (!shape) {
		fprintf(stderr,
			"usage: shapes SHAPE\n"
			"       shapes --client PORT RATE SECONDS CONNECTIONS\nSHAPE one of:");
		for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
			fprintf(stderr, " %s", shapes[i].name);
		fprintf(stderr, "\n");
		return 2;
	}
	run_server();
}
