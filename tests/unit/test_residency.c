/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Residency of real pages: of the test itself, of children that wait, and by both methods, which
 * must find the same. What this machine cannot do is skipped, with the reason.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pagestay/edge/residency.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define NEVER_NS    UINT64_MAX
#define RUNS_MAX    200000
#define METHODS     2
#define HUGE_BYTES  (2u << 20)
#define BARRIER     2 /* pages without access around an area: nothing merges with it */
#define END_OF_AREA (-ECANCELED)

struct run {
	uint64_t page;
	uint64_t pages;
	bool swapped;
};

/* Runs within [start, end); static, so that finding pages makes none. */
struct found {
	struct run runs[RUNS_MAX];
	size_t count;
	uint64_t calls;
	uint64_t start;
	uint64_t end;
	uint64_t last_end;
	bool last_swapped;
};

struct fixture {
	struct procfs procfs;
	struct residency *residency[METHODS];
	size_t methods;
	struct ps_proc_key self;
	struct found *found;
	uint64_t page_bytes;
};

#define SKIP(...)                                                                                  \
	do {                                                                                       \
		print_message("skipped: " __VA_ARGS__);                                            \
		print_message("\n");                                                               \
		skip();                                                                            \
	} while (0)

/*
 * Processes.
 */

static uint64_t start_ticks(const char *pid)
{
	unsigned long long ticks = 0;
	char path[64], line[1024] = {};
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%s/stat", pid);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof(line), file));
	assert_int_equal(fclose(file), 0);
	assert_int_equal(sscanf(strrchr(line, ')') + 2,
				 "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
				 "%*d %*d %*d %llu",
				 &ticks),
		1);
	return ticks;
}

static struct ps_proc_key key_of(const struct fixture *fixture, pid_t pid)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%d", pid);
	return (struct ps_proc_key){.tgid = pid,
		.start_ns = start_ticks(text) * (1000000000 / fixture->procfs.clock_ticks)};
}

/* A child that calls `prepare`, says so, and waits to be killed. */
static pid_t child_start(void (*prepare)(void *), void *context)
{
	int pipes[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		prepare(context);
		if (write(pipes[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	(void)close(pipes[1]);
	assert_int_equal(read(pipes[0], &byte, 1), 1);
	(void)close(pipes[0]);
	return pid;
}

static void child_end(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static uint64_t status_pages(const struct fixture *fixture, pid_t pid, const char *name)
{
	char path[64], line[256];
	unsigned long long kilobytes = 0;
	bool seen = false;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	assert_non_null(file);
	while (!seen && fgets(line, sizeof(line), file))
		seen = strncmp(line, name, strlen(name)) == 0 &&
		       sscanf(line + strlen(name), ": %llu kB", &kilobytes) == 1;
	assert_int_equal(fclose(file), 0);
	assert_true(seen);
	return kilobytes * 1024 / fixture->page_bytes;
}

/*
 * What is found.
 */

/* Every run is checked to ascend, and not to go on from the one before. */
static int collect(void *context, uint64_t page, uint64_t pages, bool swapped)
{
	struct found *found = context;
	uint64_t end = page + pages;

	found->calls++;
	assert_true(pages > 0);
	assert_true(page >= found->last_end);
	if (found->last_end)
		assert_true(page > found->last_end || swapped != found->last_swapped);
	found->last_end = end;
	found->last_swapped = swapped;
	if (page >= found->end)
		return END_OF_AREA;
	if (page < found->start)
		page = found->start;
	if (end > found->end)
		end = found->end;
	if (page >= end)
		return 0;
	assert_true(found->count < RUNS_MAX);
	found->runs[found->count++] = (struct run){page, end - page, swapped};
	return 0;
}

static void found_reset(struct found *found, uint64_t start, uint64_t end)
{
	found->count = 0;
	found->calls = 0;
	found->last_end = 0;
	found->start = start;
	found->end = end;
}

static uint64_t found_pages(const struct found *found, bool swapped)
{
	uint64_t pages = 0;

	for (size_t i = 0; i < found->count; i++)
		if (found->runs[i].swapped == swapped)
			pages += found->runs[i].pages;
	return pages;
}

/* What is in [area, area + pages) of a process, by one method. */
static const struct found *look_up(struct fixture *fixture, size_t method,
	const struct ps_proc_key *key, const void *area, uint64_t pages)
{
	uint64_t start = (uintptr_t)area / fixture->page_bytes, next = 7;
	int error;

	found_reset(fixture->found, start, start + pages);
	error = residency_walk(
		fixture->residency[method], key, start, NEVER_NS, collect, fixture->found, &next);
	if (error)
		assert_int_equal(error, END_OF_AREA);
	assert_true(next == (error ? 7 : UINT64_MAX));
	return fixture->found;
}

/*
 * `expected` is what each page should be: `#` resident, `s` swapped, anything else neither. By each
 * method, as runs at their addresses.
 */
static void assert_pages_of(struct fixture *fixture, const struct ps_proc_key *key,
	const void *area, const char *expected)
{
	const uint64_t start = (uintptr_t)area / fixture->page_bytes;
	const size_t pages = strlen(expected);

	for (size_t method = 0; method < fixture->methods; method++) {
		const struct found *found = look_up(fixture, method, key, area, pages);
		size_t run = 0;

		for (size_t i = 0; i < pages;) {
			size_t length = strspn(expected + i, (char[]){expected[i], '\0'});

			if (expected[i] == '#' || expected[i] == 's') {
				assert_true(run < found->count);
				assert_int_equal(found->runs[run].page - start, i);
				assert_int_equal(found->runs[run].pages, length);
				assert_int_equal(found->runs[run].swapped, expected[i] == 's');
				run++;
			}
			i += length;
		}
		assert_int_equal(run, found->count);
	}
}

static void assert_pages(struct fixture *fixture, const void *area, const char *expected)
{
	assert_pages_of(fixture, &fixture->self, area, expected);
}

/*
 * Memory to look at.
 */

/* Pages of their own, apart from every other mapping, aligned to `alignment`. */
static char *area_new(const struct fixture *fixture, size_t pages, size_t alignment)
{
	const size_t page_bytes = fixture->page_bytes;
	const size_t bytes = pages * page_bytes + alignment + 2 * BARRIER * page_bytes;
	char *barrier =
		mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *area;

	assert_ptr_not_equal(barrier, MAP_FAILED);
	area = barrier + BARRIER * page_bytes;
	area += (alignment - (uintptr_t)area % alignment) % alignment;
	assert_int_equal(mprotect(area, pages * page_bytes, PROT_READ | PROT_WRITE), 0);
	(void)madvise(area, pages * page_bytes, MADV_NOHUGEPAGE);
	return area;
}

/* Leaves the barrier, which is empty. */
static void area_free(const struct fixture *fixture, char *area, size_t pages)
{
	assert_int_equal(munmap(area, pages * fixture->page_bytes), 0);
}

static void map_over(const struct fixture *fixture, char *area, size_t pages, int flags, int fd)
{
	assert_ptr_equal(mmap(area, pages * fixture->page_bytes, PROT_READ | PROT_WRITE,
				 flags | MAP_FIXED, fd, 0),
		area);
}

static void touch(const struct fixture *fixture, char *area, size_t first, size_t pages)
{
	for (size_t i = first; i < first + pages; i++)
		*(volatile char *)(area + i * fixture->page_bytes) = 1;
}

static void read_pages(const struct fixture *fixture, const char *area, size_t first, size_t pages)
{
	for (size_t i = first; i < first + pages; i++)
		(void)*(const volatile char *)(area + i * fixture->page_bytes);
}

static int file_new(const struct fixture *fixture, size_t pages)
{
	char path[] = "/tmp/pagestay-residency-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);
	const size_t bytes = pages * fixture->page_bytes;
	char *text = malloc(bytes);

	assert_true(fd >= 0);
	assert_non_null(text);
	assert_int_equal(unlink(path), 0);
	memset(text, 'f', bytes);
	assert_int_equal(write(fd, text, bytes), bytes);
	free(text);
	return fd;
}

static int setup(void **state)
{
	static struct found found;
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	assert_non_null(fixture);
	fixture->found = &found;
	fixture->page_bytes = sysconf(_SC_PAGESIZE);
	assert_int_equal(procfs_open("/proc", &fixture->procfs), 0);
	fixture->self = key_of(fixture, getpid());
	assert_int_equal(residency_new(&fixture->procfs, &fixture->residency[0]), 0);
	fixture->methods = 1;
	if (residency_method(fixture->residency[0]) == RESIDENCY_SCAN) {
		assert_int_equal(residency_new(&fixture->procfs, &fixture->residency[1]), 0);
		residency_use_pagemap(fixture->residency[1]);
		assert_int_equal(residency_method(fixture->residency[1]), RESIDENCY_PAGEMAP);
		fixture->methods = 2;
	}
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	for (size_t i = 0; i < fixture->methods; i++)
		residency_free(fixture->residency[i]);
	procfs_close(&fixture->procfs);
	free(fixture);
	return 0;
}

/*
 * Which pages count.
 */

static void written_pages_are_resident(void **state)
{
	struct fixture *fixture = *state;
	char *area = area_new(fixture, 12, 1);

	assert_pages(fixture, area, "............");
	touch(fixture, area, 0, 3);
	touch(fixture, area, 5, 1);
	touch(fixture, area, 7, 2);
	touch(fixture, area, 11, 1);
	assert_pages(fixture, area, "###..#.##..#");
	touch(fixture, area, 0, 12);
	assert_pages(fixture, area, "############");
	area_free(fixture, area, 12);
}

/* Runs go on over the border of two mappings. */
static void protection_does_not_matter(void **state)
{
	struct fixture *fixture = *state;
	char *area = area_new(fixture, 8, 1);

	touch(fixture, area, 1, 6);
	assert_int_equal(
		mprotect(area + 2 * fixture->page_bytes, fixture->page_bytes, PROT_NONE), 0);
	assert_int_equal(
		mprotect(area + 4 * fixture->page_bytes, fixture->page_bytes, PROT_READ), 0);
	assert_pages(fixture, area, ".######.");
	area_free(fixture, area, 8);
}

static void zero_page_does_not_count_until_written(void **state)
{
	struct fixture *fixture = *state;
	char *area = area_new(fixture, 6, 1);

	if (geteuid() != 0)
		SKIP("only root sees which page is the zero page");
	read_pages(fixture, area, 0, 5);
	touch(fixture, area, 3, 1);
	assert_pages(fixture, area, "...#..");
	touch(fixture, area, 4, 1);
	assert_pages(fixture, area, "...##.");
	area_free(fixture, area, 6);
}

static void pages_of_a_file_count_once_copied(void **state)
{
	struct fixture *fixture = *state;
	char *area = area_new(fixture, 8, 1);
	int fd = file_new(fixture, 8);

	map_over(fixture, area, 8, MAP_PRIVATE, fd);
	read_pages(fixture, area, 0, 8);
	assert_pages(fixture, area, "........");
	touch(fixture, area, 2, 3);
	assert_pages(fixture, area, "..###...");
	area_free(fixture, area, 8);
	(void)close(fd);
}

/* Line ends are escaped in maps, to four characters each: a line of some 80,000. */
static void path_of_any_length_is_passed_over(void **state)
{
	struct fixture *fixture = *state;
	char *area = area_new(fixture, 8, 1), name[256] = "", root[] = "/tmp/pagestay-XXXXXX";
	const size_t depth = 80;
	int directory, up, fd;

	memset(name, '\n', 255);
	assert_non_null(mkdtemp(root));
	directory = open(root, O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < depth; i++) {
		assert_int_equal(mkdirat(directory, name, 0700), 0);
		up = directory;
		directory = openat(up, name, O_DIRECTORY | O_CLOEXEC);
		assert_true(directory >= 0);
		(void)close(up);
	}
	fd = openat(directory, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4 * fixture->page_bytes), 0);
	map_over(fixture, area + 2 * fixture->page_bytes, 4, MAP_PRIVATE, fd);
	read_pages(fixture, area, 2, 4);
	touch(fixture, area, 0, 1);
	touch(fixture, area, 4, 1);
	touch(fixture, area, 7, 1);
	assert_pages(fixture, area, "#...#..#");
	area_free(fixture, area, 8);
	(void)close(fd);
	assert_int_equal(unlinkat(directory, "file", 0), 0);
	for (size_t i = 0; i < depth; i++) {
		up = openat(directory, "..", O_DIRECTORY | O_CLOEXEC);
		assert_true(up >= 0);
		assert_int_equal(unlinkat(up, name, AT_REMOVEDIR), 0);
		(void)close(directory);
		directory = up;
	}
	(void)close(directory);
	assert_int_equal(rmdir(root), 0);
}

static void shared_pages_do_not_count(void **state)
{
	struct fixture *fixture = *state;
	char *area = area_new(fixture, 12, 1);
	int fd = file_new(fixture, 4), memory = memfd_create("residency", MFD_CLOEXEC);

	assert_true(memory >= 0);
	assert_int_equal(ftruncate(memory, 4 * fixture->page_bytes), 0);
	map_over(fixture, area, 4, MAP_SHARED | MAP_ANONYMOUS, -1);
	map_over(fixture, area + 4 * fixture->page_bytes, 4, MAP_SHARED, fd);
	map_over(fixture, area + 8 * fixture->page_bytes, 4, MAP_SHARED, memory);
	touch(fixture, area, 0, 12);
	assert_pages(fixture, area, "............");
	map_over(fixture, area + 8 * fixture->page_bytes, 4, MAP_PRIVATE, memory);
	read_pages(fixture, area, 8, 4);
	assert_pages(fixture, area, "............");
	touch(fixture, area, 9, 1);
	assert_pages(fixture, area, ".........#..");
	area_free(fixture, area, 12);
	(void)close(fd);
	(void)close(memory);
}

static void guard_pages_do_not_count(void **state)
{
	struct fixture *fixture = *state;
	char *area = area_new(fixture, 6, 1);

	touch(fixture, area, 0, 6);
	if (madvise(area + fixture->page_bytes, 2 * fixture->page_bytes, MADV_GUARD_INSTALL) < 0)
		SKIP("no guard pages: %s", strerror(errno));
	assert_pages(fixture, area, "#..###");
	area_free(fixture, area, 6);
}

static void private_hugetlb_pages_do_not_count(void **state)
{
	struct fixture *fixture = *state;
	const size_t pages = HUGE_BYTES / fixture->page_bytes;
	char *area = area_new(fixture, 2 * pages, HUGE_BYTES), *huge;
	int memory;

	huge = mmap(area, HUGE_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_HUGETLB, -1, 0);
	if (huge == MAP_FAILED)
		SKIP("no hugetlb pages: %s", strerror(errno));
	touch(fixture, area, 0, pages + 1);
	for (size_t method = 0; method < fixture->methods; method++) {
		const struct found *found =
			look_up(fixture, method, &fixture->self, area, 2 * pages);

		assert_int_equal(found->count, 1);
		assert_int_equal(found->runs[0].pages, 1);
	}
	area_free(fixture, area, pages);
	memory = memfd_create("residency", MFD_CLOEXEC | MFD_HUGETLB);
	assert_true(memory >= 0);
	assert_int_equal(ftruncate(memory, HUGE_BYTES), 0);
	map_over(fixture, area, pages, MAP_PRIVATE, memory);
	touch(fixture, area, 0, 1);
	for (size_t method = 0; method < fixture->methods; method++)
		assert_int_equal(
			look_up(fixture, method, &fixture->self, area, 2 * pages)->count, 1);
	area_free(fixture, area, 2 * pages);
	(void)close(memory);
}

/*
 * What becomes of pages.
 */

static void dropped_pages_are_gone(void **state)
{
	struct fixture *fixture = *state;
	const size_t page_bytes = fixture->page_bytes;
	char *area = area_new(fixture, 10, 1);

	touch(fixture, area, 0, 10);
	assert_int_equal(madvise(area + 2 * page_bytes, 3 * page_bytes, MADV_DONTNEED), 0);
	assert_pages(fixture, area, "##...#####");
	assert_int_equal(munmap(area + 7 * page_bytes, 2 * page_bytes), 0);
	assert_pages(fixture, area, "##...##..#");
	touch(fixture, area, 3, 1);
	assert_pages(fixture, area, "##.#.##..#");
	area_free(fixture, area, 10);
	assert_pages(fixture, area, "..........");
}

/* Until the kernel takes it. */
static void lazily_freed_page_is_resident(void **state)
{
	struct fixture *fixture = *state;
	char *area = area_new(fixture, 4, 1);

	touch(fixture, area, 0, 4);
	assert_int_equal(madvise(area, 2 * fixture->page_bytes, MADV_FREE), 0);
	assert_pages(fixture, area, "####");
	area_free(fixture, area, 4);
}

static void moved_pages_are_found_where_they_are(void **state)
{
	struct fixture *fixture = *state;
	char *area = area_new(fixture, 4, 1), *other = area_new(fixture, 4, 1);

	touch(fixture, area, 1, 2);
	assert_ptr_equal(mremap(area, 4 * fixture->page_bytes, 4 * fixture->page_bytes,
				 MREMAP_MAYMOVE | MREMAP_FIXED, other),
		other);
	assert_pages(fixture, area, "....");
	assert_pages(fixture, other, ".##.");
	area_free(fixture, other, 4);
}

static void swapped_pages_are_told_apart(void **state)
{
	struct fixture *fixture = *state;
	char *area = area_new(fixture, 8, 1);
	FILE *swaps = fopen("/proc/swaps", "re");
	char line[256];

	if (!swaps || !fgets(line, sizeof(line), swaps) || !fgets(line, sizeof(line), swaps)) {
		if (swaps)
			(void)fclose(swaps);
		SKIP("no swap is on");
	}
	(void)fclose(swaps);
	touch(fixture, area, 0, 8);
	assert_int_equal(
		madvise(area + 2 * fixture->page_bytes, 4 * fixture->page_bytes, MADV_PAGEOUT), 0);
	assert_pages(fixture, area, "##ssss##");
	touch(fixture, area, 3, 1);
	/* Reading one back may bring its neighbours, and leaves those in swap's cache. */
	for (size_t method = 0; method < fixture->methods; method++) {
		const struct found *found = look_up(fixture, method, &fixture->self, area, 8);

		assert_int_equal(found_pages(found, false) + found_pages(found, true), 8);
		assert_in_range(found_pages(found, true), 0, 3);
	}
	area_free(fixture, area, 8);
}

static void huge_page_counts_as_its_base_pages(void **state)
{
	struct fixture *fixture = *state;
	const size_t pages = HUGE_BYTES / fixture->page_bytes;
	char *area = area_new(fixture, 2 * pages, HUGE_BYTES);
	const char *const huge = area;

	if (madvise(area, 2 * (size_t)HUGE_BYTES, MADV_HUGEPAGE) < 0)
		SKIP("no huge pages: %s", strerror(errno));
	touch(fixture, area, 3, 1);
	if (look_up(fixture, 0, &fixture->self, huge, 2 * pages)->runs[0].pages != pages)
		SKIP("the kernel gave no huge page");
	for (size_t method = 0; method < fixture->methods; method++) {
		const struct found *found =
			look_up(fixture, method, &fixture->self, huge, 2 * pages);

		assert_int_equal(found->count, 1);
		assert_int_equal(found->runs[0].page, (uintptr_t)huge / fixture->page_bytes);
		assert_int_equal(found->runs[0].pages, pages);
	}
	/* The huge zero page, next to it. */
	read_pages(fixture, area, pages, 1);
	for (size_t method = 0; method < fixture->methods; method++)
		assert_int_equal(
			found_pages(
				look_up(fixture, method, &fixture->self, huge, 2 * pages), false),
			pages);
	assert_int_equal(
		madvise(area + fixture->page_bytes, fixture->page_bytes, MADV_DONTNEED), 0);
	for (size_t method = 0; method < fixture->methods; method++) {
		const struct found *found =
			look_up(fixture, method, &fixture->self, huge, 2 * pages);

		assert_int_equal(found->count, 2);
		assert_int_equal(found->runs[0].pages, 1);
		assert_int_equal(found->runs[1].pages, pages - 2);
	}
	area_free(fixture, area, 2 * pages);
}

/*
 * Other processes.
 */

struct inherited {
	const struct fixture *fixture;
	char *area;
};

static void write_one_page(void *context)
{
	const struct inherited *inherited = context;

	touch(inherited->fixture, inherited->area, 2, 1);
	touch(inherited->fixture, inherited->area, 7, 1);
}

static void pages_shared_after_fork_count_for_both(void **state)
{
	struct fixture *fixture = *state;
	struct inherited inherited = {fixture, area_new(fixture, 8, 1)};
	struct ps_proc_key key;
	pid_t pid;

	touch(fixture, inherited.area, 1, 4);
	pid = child_start(write_one_page, &inherited);
	key = key_of(fixture, pid);
	assert_pages(fixture, inherited.area, ".####...");
	assert_pages_of(fixture, &key, inherited.area, ".####..#");
	child_end(pid);
	assert_pages(fixture, inherited.area, ".####...");
	area_free(fixture, inherited.area, 8);
}

/* Every other page, more runs than one call returns; half of the rest is the zero page. */
static void touch_many(void *context)
{
	const struct inherited *inherited = context;

	for (size_t i = 0; i < 8192; i += 2)
		touch(inherited->fixture, inherited->area, i, 1);
	read_pages(inherited->fixture, inherited->area, 0, 4096);
}

static void skip_if_shadowed(void)
{
#ifdef __SANITIZE_ADDRESS__
	SKIP("the address sanitizer maps terabytes, which pagemap gives page by page");
#endif
}

static void sum_is_what_the_kernel_accounts(void **state)
{
	struct fixture *fixture = *state;
	struct inherited inherited = {fixture, area_new(fixture, 8192, 1)};
	uint64_t sums[METHODS] = {}, accounted;
	struct ps_proc_key key;
	pid_t pid;

	skip_if_shadowed();
	pid = child_start(touch_many, &inherited);
	key = key_of(fixture, pid);
	accounted = status_pages(fixture, pid, "RssAnon") + status_pages(fixture, pid, "VmSwap");
	for (size_t method = 0; method < fixture->methods; method++) {
		uint64_t next;

		found_reset(fixture->found, 0, UINT64_MAX);
		assert_int_equal(residency_walk(fixture->residency[method], &key, 0, NEVER_NS,
					 collect, fixture->found, &next),
			0);
		assert_true(next == UINT64_MAX);
		sums[method] =
			found_pages(fixture->found, false) + found_pages(fixture->found, true);
		assert_true(fixture->found->count >= 4096);
	}
	for (size_t method = 1; method < fixture->methods; method++)
		assert_int_equal(sums[method], sums[0]);
	/* The kernel's sum may lag by a batch for each CPU. */
	assert_in_range(sums[0], accounted - 256, accounted + 256);
	child_end(pid);
	area_free(fixture, inherited.area, 8192);
}

static void nothing(void *context)
{
}

static void assert_not_found(struct fixture *fixture, const struct ps_proc_key *key)
{
	for (size_t method = 0; method < fixture->methods; method++) {
		uint64_t next = 7;

		found_reset(fixture->found, 0, UINT64_MAX);
		assert_int_equal(residency_walk(fixture->residency[method], key, 0, NEVER_NS,
					 collect, fixture->found, &next),
			-ESRCH);
		assert_int_equal(next, 7);
		assert_int_equal(fixture->found->calls, 0);
	}
}

static void process_of_another_start_time_is_not_found(void **state)
{
	struct fixture *fixture = *state;
	struct ps_proc_key key = fixture->self;

	key.start_ns += 1000000000 / fixture->procfs.clock_ticks;
	assert_not_found(fixture, &key);
}

static void process_that_is_gone_is_not_found(void **state)
{
	struct fixture *fixture = *state;
	pid_t pid = child_start(nothing, NULL);
	struct ps_proc_key key = key_of(fixture, pid);
	siginfo_t info;

	assert_int_equal(kill(pid, SIGKILL), 0);
	/* Still there, without its memory. */
	assert_int_equal(waitid(P_PID, pid, &info, WEXITED | WNOWAIT), 0);
	assert_not_found(fixture, &key);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_not_found(fixture, &key);
}

static int kill_child(void *context, uint64_t page, uint64_t pages, bool swapped)
{
	pid_t *pid = context;

	if (*pid)
		child_end(*pid);
	*pid = 0;
	return 0;
}

static void process_that_goes_meanwhile_is_not_found(void **state)
{
	struct fixture *fixture = *state;

	for (size_t method = 0; method < fixture->methods; method++) {
		struct inherited inherited = {fixture, area_new(fixture, 8192, 1)};
		pid_t pid = child_start(touch_many, &inherited);
		struct ps_proc_key key = key_of(fixture, pid);
		uint64_t next = 7;

		assert_int_equal(residency_walk(fixture->residency[method], &key,
					 (uintptr_t)inherited.area / fixture->page_bytes, NEVER_NS,
					 kill_child, &pid, &next),
			-ESRCH);
		assert_int_equal(pid, 0);
		assert_int_equal(next, 7);
		area_free(fixture, inherited.area, 8192);
	}
}

static int forbidden(struct fixture *fixture, size_t method, const struct ps_proc_key *key)
{
	uint64_t next;
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		int error;

		if (setgid(65534) || setuid(65534))
			_exit(1);
		error = residency_walk(fixture->residency[method], key, 0, NEVER_NS, collect,
			fixture->found, &next);
		_exit(error == -EACCES || error == -EPERM ? 0 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void exec_a_waiter(int signal)
{
	execl("/bin/sleep", "sleep", "1000", NULL);
	_exit(1);
}

static void exec_when_told(void *context)
{
	touch_many(context);
	(void)signal(SIGUSR1, exec_a_waiter);
}

static int exec_child(void *context, uint64_t page, uint64_t pages, bool swapped)
{
	const pid_t *pid = context;
	char path[64], comm[32] = {};

	(void)snprintf(path, sizeof(path), "/proc/%d/comm", *pid);
	assert_int_equal(kill(*pid, SIGUSR1), 0);
	while (strcmp(comm, "sleep\n") != 0) {
		FILE *file = fopen(path, "re");

		assert_non_null(file);
		assert_non_null(fgets(comm, sizeof(comm), file));
		assert_int_equal(fclose(file), 0);
	}
	return 0;
}

static void memory_that_exec_replaced_is_gone(void **state)
{
	struct fixture *fixture = *state;

	for (size_t method = 0; method < fixture->methods; method++) {
		struct inherited inherited = {fixture, area_new(fixture, 8192, 1)};
		pid_t pid = child_start(exec_when_told, &inherited);
		struct ps_proc_key key = key_of(fixture, pid);
		uint64_t next = 7;

		assert_int_equal(residency_walk(fixture->residency[method], &key,
					 (uintptr_t)inherited.area / fixture->page_bytes, NEVER_NS,
					 exec_child, &pid, &next),
			-ESRCH);
		assert_int_equal(next, 7);
		child_end(pid);
		area_free(fixture, inherited.area, 8192);
	}
}

static void process_of_another_user_may_not_be_read(void **state)
{
	struct fixture *fixture = *state;
	pid_t pid;
	struct ps_proc_key key;

	if (geteuid() != 0)
		SKIP("only root can become another user");
	pid = child_start(nothing, NULL);
	key = key_of(fixture, pid);
	for (size_t method = 0; method < fixture->methods; method++)
		assert_int_equal(forbidden(fixture, method, &key), 0);
	child_end(pid);
}

/*
 * What a walk costs, and where it stops.
 */

/* How many walks of one step each it takes from `area` to its end. */
static size_t steps_over(struct fixture *fixture, size_t method, const void *area, uint64_t pages)
{
	uint64_t from = (uintptr_t)area / fixture->page_bytes;
	const uint64_t end = from + pages;
	size_t steps = 0;

	found_reset(fixture->found, from, end);
	while (from < end) {
		uint64_t next;
		int error = residency_walk(fixture->residency[method], &fixture->self, from, 0,
			collect, fixture->found, &next);

		steps++;
		if (error == END_OF_AREA)
			break;
		assert_int_equal(error, 0);
		assert_true(next > from);
		from = next;
		/* A run may be cut in two where a walk stopped. */
		fixture->found->last_end = 0;
	}
	return steps;
}

static void reservation_costs_next_to_nothing(void **state)
{
	const size_t bytes = (size_t)1 << 40;
	struct fixture *fixture = *state;
	const uint64_t pages = bytes / fixture->page_bytes;
	char *area =
		mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (area == MAP_FAILED)
		SKIP("no terabyte to reserve: %s", strerror(errno));
	for (size_t method = 0; method < fixture->methods; method++) {
		assert_in_range(steps_over(fixture, method, area, pages), 1, 20);
		assert_int_equal(fixture->found->count, 0);
	}
	assert_int_equal(munmap(area, bytes), 0);
}

/* Pages at both ends and in the middle of much that is mapped and empty. */
static void few_pages_far_apart_are_found(void **state)
{
	const size_t bytes = (size_t)8 << 30;
	struct fixture *fixture = *state;
	const size_t pages = bytes / fixture->page_bytes;
	const size_t touched[] = {0, 1, pages / 3, pages / 2, pages - 1};
	char *area = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (area == MAP_FAILED)
		SKIP("no address space: %s", strerror(errno));
	(void)madvise(area, bytes, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < sizeof(touched) / sizeof(touched[0]); i++)
		touch(fixture, area, touched[i], 1);
	for (size_t method = 0; method < fixture->methods; method++) {
		const struct found *found = look_up(fixture, method, &fixture->self, area, pages);
		const uint64_t start = (uintptr_t)area / fixture->page_bytes;

		assert_int_equal(found->count, 4);
		assert_int_equal(found->runs[0].pages, 2);
		for (size_t i = 1; i < 4; i++) {
			assert_int_equal(found->runs[i].page - start, touched[i + 1]);
			assert_int_equal(found->runs[i].pages, 1);
		}
	}
	assert_int_equal(munmap(area, bytes), 0);
}

/* More runs than one call returns, more memory than one step takes. */
static void runs_do_not_depend_on_the_steps(void **state)
{
	struct fixture *fixture = *state;
	const size_t fragments = 5000, block = (160u << 20) / fixture->page_bytes;
	const size_t pages = 2 * fragments + block;
	char *area = area_new(fixture, pages, 1);

	for (size_t i = 0; i < fragments; i++)
		touch(fixture, area, 2 * i, 1);
	touch(fixture, area, 2 * fragments, block);
	for (size_t method = 0; method < fixture->methods; method++) {
		const struct found *found = look_up(fixture, method, &fixture->self, area, pages);
		const uint64_t start = (uintptr_t)area / fixture->page_bytes;

		assert_int_equal(found->count, fragments + 1);
		for (size_t i = 0; i < fragments; i++) {
			assert_int_equal(found->runs[i].page - start, 2 * i);
			assert_int_equal(found->runs[i].pages, 1);
		}
		assert_int_equal(found->runs[fragments].pages, block);
	}
	area_free(fixture, area, pages);
}

static void late_walk_makes_one_step_and_goes_on_from_there(void **state)
{
	struct fixture *fixture = *state;
	const size_t fragments = 6000, block = (160u << 20) / fixture->page_bytes;
	const size_t pages = 2 * fragments + block;
	char *area = area_new(fixture, pages, 1);
	const uint64_t start = (uintptr_t)area / fixture->page_bytes;

	for (size_t i = 0; i < fragments; i++)
		touch(fixture, area, 2 * i, 1);
	touch(fixture, area, 2 * fragments, block);
	for (size_t method = 0; method < fixture->methods; method++) {
		const struct found *found = fixture->found;

		assert_in_range(steps_over(fixture, method, area, pages), 3, 100);
		assert_int_equal(found_pages(found, false), fragments + block);
		for (size_t i = 1; i < found->count; i++)
			assert_true(found->runs[i].page >=
				    found->runs[i - 1].page + found->runs[i - 1].pages);
		for (size_t i = 0; i < fragments; i++)
			assert_int_equal(found->runs[i].page - start, 2 * i);
	}
	area_free(fixture, area, pages);
}

static void walk_begins_at_the_page_asked_for(void **state)
{
	struct fixture *fixture = *state;
	char *area = area_new(fixture, 8, 1);

	touch(fixture, area, 0, 8);
	assert_pages(fixture, area + 3 * fixture->page_bytes, "#####");
	for (size_t method = 0; method < fixture->methods; method++) {
		const struct found *found = look_up(fixture, method, &fixture->self,
			area + 3 * fixture->page_bytes, UINT32_MAX);

		assert_int_equal(found->runs[0].page, (uintptr_t)area / fixture->page_bytes + 3);
		assert_int_equal(found->runs[0].pages, 5);
	}
	area_free(fixture, area, 8);
}

static void walk_from_the_end_finds_nothing(void **state)
{
	struct fixture *fixture = *state;

	for (size_t method = 0; method < fixture->methods; method++) {
		uint64_t next;

		found_reset(fixture->found, 0, UINT64_MAX);
		assert_int_equal(residency_walk(fixture->residency[method], &fixture->self,
					 UINT64_MAX, NEVER_NS, collect, fixture->found, &next),
			0);
		assert_true(next == UINT64_MAX);
		assert_int_equal(fixture->found->calls, 0);
	}
}

static int refuse(void *context, uint64_t page, uint64_t pages, bool swapped)
{
	size_t *calls = context;

	(*calls)++;
	return -ENOBUFS;
}

static void error_of_the_callback_ends_the_walk(void **state)
{
	struct fixture *fixture = *state;
	char *area = area_new(fixture, 8, 1);

	touch(fixture, area, 0, 1);
	touch(fixture, area, 2, 1);
	for (size_t method = 0; method < fixture->methods; method++) {
		uint64_t next = 7;
		size_t calls = 0;

		assert_int_equal(residency_walk(fixture->residency[method], &fixture->self,
					 (uintptr_t)area / fixture->page_bytes, NEVER_NS, refuse,
					 &calls, &next),
			-ENOBUFS);
		assert_int_equal(calls, 1);
		assert_int_equal(next, 7);
	}
	area_free(fixture, area, 8);
}

static void freeing_none_is_harmless(void **state)
{
	residency_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(written_pages_are_resident),
		TEST(protection_does_not_matter),
		TEST(zero_page_does_not_count_until_written),
		TEST(pages_of_a_file_count_once_copied),
		TEST(path_of_any_length_is_passed_over),
		TEST(shared_pages_do_not_count),
		TEST(guard_pages_do_not_count),
		TEST(private_hugetlb_pages_do_not_count),
		TEST(dropped_pages_are_gone),
		TEST(lazily_freed_page_is_resident),
		TEST(moved_pages_are_found_where_they_are),
		TEST(swapped_pages_are_told_apart),
		TEST(huge_page_counts_as_its_base_pages),
		TEST(pages_shared_after_fork_count_for_both),
		TEST(sum_is_what_the_kernel_accounts),
		TEST(process_of_another_start_time_is_not_found),
		TEST(process_that_is_gone_is_not_found),
		TEST(process_that_goes_meanwhile_is_not_found),
		TEST(memory_that_exec_replaced_is_gone),
		TEST(process_of_another_user_may_not_be_read),
		TEST(reservation_costs_next_to_nothing),
		TEST(few_pages_far_apart_are_found),
		TEST(runs_do_not_depend_on_the_steps),
		TEST(late_walk_makes_one_step_and_goes_on_from_there),
		TEST(walk_begins_at_the_page_asked_for),
		TEST(walk_from_the_end_finds_nothing),
		TEST(error_of_the_callback_ends_the_walk),
		cmocka_unit_test(freeing_none_is_harmless),
#undef TEST
	};

	return cmocka_run_group_tests_name("residency", tests, NULL, NULL);
}
