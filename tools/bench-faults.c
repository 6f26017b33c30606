/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * bench-faults: processes in which page tracking has most to do, for tools/bench.
 *
 *   bench-faults serve PORT PAGES     one thread answers HTTP/1.1 on loopback; each request maps,
 *                                     touches and unmaps PAGES pages
 *   bench-faults storm THREADS MIB    THREADS threads that do nothing but map, touch and unmap MIB
 *   bench-faults hold MIB             touches MIB, prints `ready`; then, for each line N on
 *                                     standard input, times pairs of mmap and munmap for N seconds
 *                                     and prints their median, 999th permille and maximum in ns
 *
 * Each page is a base page: huge ones are switched off. The first two run until they are killed,
 * `hold` until its input ends. A request is taken to come in one piece, as wrk sends it.
 */
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS_A_SECOND 1000000000ull
#define EVENTS      64
#define MAX_THREADS 64
#define MAX_PAIRS   1000000
#define PAIR_GAP_NS 200000 /* seldom enough that the pairs' own records cost little */

static size_t page_bytes;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_A_SECOND + now.tv_nsec;
}

static char *map(size_t bytes)
{
	char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		die("mmap");
	return at;
}

static void unmap(char *at, size_t bytes)
{
	if (munmap(at, bytes) != 0)
		die("munmap");
}

static void touch(char *at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += page_bytes)
		*(volatile char *)(at + i) = 1;
}

static void touch_fresh(size_t bytes)
{
	char *at = map(bytes);

	touch(at, bytes);
	unmap(at, bytes);
}

static void watch_for_input(int epoll, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		die("epoll_ctl");
}

static int listen_on(uint16_t port)
{
	const struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) != 0)
		die("socket");
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
		listen(fd, 128) != 0)
		die("listen");
	return fd;
}

/* False when the connection is over. */
static bool answer(int fd, size_t bytes)
{
	static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
	char request[2048];

	if (recv(fd, request, sizeof(request), 0) <= 0)
		return false;
	touch_fresh(bytes);
	return send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL) == sizeof(text) - 1;
}

static void serve(uint16_t port, size_t bytes)
{
	int listener = listen_on(port);
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll < 0)
		die("epoll_create1");
	watch_for_input(epoll, listener);
	for (;;) {
		struct epoll_event events[EVENTS];
		int count = epoll_wait(epoll, events, EVENTS, -1);

		if (count < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < count; i++) {
			int fd = events[i].data.fd;

			if (fd != listener) {
				if (!answer(fd, bytes))
					(void)close(fd);
				continue;
			}
			fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
			if (fd >= 0)
				watch_for_input(epoll, fd);
		}
	}
}

static void *storm_thread(void *bytes)
{
	for (;;)
		touch_fresh(*(size_t *)bytes);
	return NULL;
}

static void storm(unsigned threads, size_t bytes)
{
	pthread_t thread;

	for (unsigned i = 1; i < threads; i++)
		if (pthread_create(&thread, NULL, storm_thread, &bytes) != 0)
			die("pthread_create");
	(void)storm_thread(&bytes);
}

static int by_size(const void *a, const void *b)
{
	const uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

static void time_pairs(uint32_t *pairs_ns, unsigned seconds)
{
	const struct timespec gap = {.tv_nsec = PAIR_GAP_NS};
	const uint64_t end_ns = now_ns() + seconds * NS_A_SECOND;
	size_t count = 0;

	while (count == 0 || (count < MAX_PAIRS && now_ns() < end_ns)) {
		const uint64_t began_ns = now_ns();

		unmap(map(page_bytes), page_bytes);
		pairs_ns[count++] = now_ns() - began_ns;
		(void)nanosleep(&gap, NULL);
	}
	qsort(pairs_ns, count, sizeof(*pairs_ns), by_size);
	printf("%u %u %u\n", pairs_ns[count / 2], pairs_ns[(count - 1) * 999 / 1000],
		pairs_ns[count - 1]);
}

static void hold(size_t bytes)
{
	uint32_t *pairs_ns = malloc(MAX_PAIRS * sizeof(*pairs_ns));
	char line[32];

	if (!pairs_ns)
		die("malloc");
	touch(map(bytes), bytes);
	printf("ready\n");
	while (fgets(line, sizeof(line), stdin))
		time_pairs(pairs_ns, strtoul(line, NULL, 10));
	free(pairs_ns);
}

static unsigned long number(const char *word, unsigned long most)
{
	char *end;
	unsigned long value = strtoul(word, &end, 10);

	if (*word < '0' || *word > '9' || *end || value == 0 || value > most) {
		fprintf(stderr, "bench-faults: '%s' is not a number from 1 to %lu\n", word, most);
		exit(2);
	}
	return value;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	page_bytes = sysconf(_SC_PAGESIZE);
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0)
		die("PR_SET_THP_DISABLE");
	if (strcmp(what, "serve") == 0 && argc == 4) {
		serve(number(argv[2], UINT16_MAX), number(argv[3], 1 << 20) * page_bytes);
	} else if (strcmp(what, "storm") == 0 && argc == 4) {
		storm(number(argv[2], MAX_THREADS), number(argv[3], 1 << 20) << 20);
	} else if (strcmp(what, "hold") == 0 && argc == 3) {
		hold(number(argv[2], 1 << 20) << 20);
	} else {
		fprintf(stderr, "usage: bench-faults serve PORT PAGES | storm THREADS MIB | "
				"hold MIB\n");
		return 2;
	}
	return 0;
}
