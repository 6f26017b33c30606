/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Heaps of the workload `heap`, walked from outside. On a quiet one every sum must be what malloc
 * itself says, to the byte, the forecast of a trim must be what a trim does, to the page, and the
 * walk must leave nothing behind.
 *
 * HEAP_COMMAND is what runs the workload, in words, with another libc for instance; without it, it
 * is the workload next to this test. tests/xray uses that.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "pagestay/edge/glibc_heap.h"

#define WORDS_MAX 16
#define NEVER_NS  UINT64_MAX

struct fixture {
	struct procfs procfs;
	char workload[512]; /* words */
	uint64_t page_bytes;
};

/* A running workload. */
struct child {
	pid_t pid;
	FILE *commands, *answers;
	struct ps_proc_key key;
	struct target *target;
};

/*
 * The workload.
 */

/* The words of the command, a shape and its arguments. */
static void run_workload(const struct fixture *fixture, const char *arguments)
{
	static char text[1024];
	char *words[WORDS_MAX + 1] = {}, *rest = text;
	size_t count = 0;

	(void)snprintf(text, sizeof(text), "%s %s", fixture->workload, arguments);
	for (char *word; count < WORDS_MAX && (word = strsep(&rest, " ")) != NULL;)
		if (*word)
			words[count++] = word;
	/* NAME=value first, as of env. */
	count = 0;
	while (words[count] && strchr(words[count], '='))
		(void)putenv(words[count++]);
	(void)execv(words[count], words + count);
	_exit(127);
}

static struct ps_proc_key key_of(const struct fixture *fixture, pid_t pid)
{
	unsigned long long ticks = 0;
	char path[64], line[1024] = {};
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof(line), file));
	assert_int_equal(fclose(file), 0);
	assert_int_equal(sscanf(strrchr(line, ')') + 2,
				 "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
				 "%*d %*d %*d %llu",
				 &ticks),
		1);
	return (struct ps_proc_key){
		.tgid = pid, .start_ns = ticks * (1000000000 / fixture->procfs.clock_ticks)};
}

/* The number behind `name` in the answer. */
static uint64_t number(const char *answer, const char *name)
{
	const char *at = strstr(answer, name);

	if (!at)
		fail_msg("no %s in: %s", name, answer);
	return strtoull(at + strlen(name), NULL, 10);
}

static void read_answer(struct child *child, const char *word, char *answer, size_t bytes)
{
	if (!fgets(answer, (int)bytes, child->answers))
		fail_msg("the workload ended");
	if (strncmp(answer, word, strlen(word)) != 0)
		fail_msg("expected %s, got: %s", word, answer);
}

static void ask(struct child *child, const char *command, char *answer, size_t bytes)
{
	assert_true(fprintf(child->commands, "%s\n", command) > 0);
	assert_int_equal(fflush(child->commands), 0);
	read_answer(child, command, answer, bytes);
}

static struct child child_start(const struct fixture *fixture, const char *arguments)
{
	struct child child = {};
	struct diag diag = {};
	char answer[256];
	int in[2], out[2];

	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	child.pid = fork();
	assert_true(child.pid >= 0);
	if (child.pid == 0) {
		(void)dup2(in[0], STDIN_FILENO);
		(void)dup2(out[1], STDOUT_FILENO);
		(void)close(in[1]);
		(void)close(out[0]);
		run_workload(fixture, arguments);
	}
	(void)close(in[0]);
	(void)close(out[1]);
	child.commands = fdopen(in[1], "w");
	child.answers = fdopen(out[0], "r");
	assert_true(child.commands && child.answers);
	read_answer(&child, "ready", answer, sizeof(answer));
	child.key = key_of(fixture, child.pid);
	if (target_open(&fixture->procfs, &child.key, &child.target, &diag))
		fail_msg("%s", diag.text);
	return child;
}

static void child_end(struct child *child)
{
	target_close(child->target);
	(void)kill(child->pid, SIGKILL);
	assert_int_equal(waitpid(child->pid, NULL, 0), child->pid);
	(void)fclose(child->commands);
	(void)fclose(child->answers);
}

/* What threads were about to do, which is to sleep, is done by then. */
static void settle(void)
{
	(void)usleep(50000);
}

static uint64_t rollup_kilobytes(const struct child *child, const char *name)
{
	unsigned long long kilobytes = 0;
	char path[64], line[256];
	bool seen = false;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", child->pid);
	file = fopen(path, "re");
	assert_non_null(file);
	while (!seen && fgets(line, sizeof(line), file))
		seen = strncmp(line, name, strlen(name)) == 0 &&
		       sscanf(line + strlen(name), ": %llu kB", &kilobytes) == 1;
	assert_int_equal(fclose(file), 0);
	assert_true(seen);
	return kilobytes;
}

static uint64_t faults_of(const struct child *child)
{
	unsigned long long minor = 0, major = 0;
	char path[64], line[1024] = {};
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", child->pid);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof(line), file));
	assert_int_equal(fclose(file), 0);
	assert_int_equal(sscanf(strrchr(line, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %llu %*u %llu",
				 &minor, &major),
		2);
	return minor + major;
}

/*
 * Walks.
 */

static uint64_t now_ns(void)
{
	struct timespec now;

	assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static int walk(const struct child *child, struct heap *heap, struct glibc_heap_damage *damage)
{
	const uint64_t started_ns = now_ns();
	int error;

	assert_int_equal(target_refresh(child->target), 0);
	heap_unknown(heap);
	error = glibc_heap_walk(child->target, 0, 0, NEVER_NS, heap, damage);
	if (getenv("HEAP_VERBOSE"))
		print_message("  %.3f s, %" PRIu64 " MB read of %" PRIu64 " MB\n",
			(double)(now_ns() - started_ns) / 1e9, heap->read_bytes >> 20,
			heap->system_bytes >> 20);
	return error;
}

static void expect_sums(const struct heap *heap, const char *truth)
{
	assert_int_equal(heap->allocator, ALLOCATOR_GLIBC);
	assert_int_equal(heap->lost_segments, 0);
	assert_int_equal(heap->lost_bytes, 0);
	assert_int_equal(heap->system_bytes, number(truth, "system="));
	assert_int_equal(heap->mmapped_bytes, number(truth, "mmapped="));
	assert_int_equal(heap->held_free_bytes, number(truth, "free="));
	assert_int_equal(heap->fastbin_bytes, number(truth, "fast="));
	assert_int_equal(heap->live_bytes + heap->cached_bytes - heap->mmapped_bytes,
		number(truth, "used="));
	assert_true(heap->held_free_resident_bytes <= heap->held_free_bytes);
	assert_true(heap->trimmable_bytes <= heap->held_free_resident_bytes);
	assert_int_equal(
		heap->page_pinned_bytes, heap->held_free_resident_bytes - heap->trimmable_bytes);
}

/* Walks it, compares all that can be compared, and trims it. */
static void expect_shape(
	const struct fixture *fixture, const char *arguments, struct heap *ret_heap)
{
	struct child child = child_start(fixture, arguments);
	struct glibc_heap_damage damage = {};
	char truth[256], trim[256];
	uint64_t anonymous, faults;

	settle();
	ask(&child, "truth", truth, sizeof(truth));
	settle();
	anonymous = rollup_kilobytes(&child, "Rss");
	faults = faults_of(&child);
	assert_int_equal(walk(&child, ret_heap, &damage), 0);
	if (damage.address)
		fail_msg("at 0x%" PRIx64 ": %s", damage.address, damage.text);
	assert_int_equal(rollup_kilobytes(&child, "Rss"), anonymous);
	assert_int_equal(faults_of(&child), faults);
	expect_sums(ret_heap, truth);
	ask(&child, "trim", trim, sizeof(trim));
	assert_int_equal(number(trim, "before=") - number(trim, "after="),
		ret_heap->trimmable_bytes / fixture->page_bytes);
	child_end(&child);
}

static void one_arena_equals_mallinfo(void **state)
{
	struct heap heap;

	expect_shape(*state, "mixed 1 32", &heap);
	assert_int_equal(heap.arenas, 1);
	assert_int_equal(heap.segments, 1);
	assert_true(heap.cached_bytes > 0);
	assert_true(heap.trimmable_bytes > 0);
	assert_true(heap.page_pinned_bytes > 0);
}

static void many_arenas_equal_mallinfo(void **state)
{
	struct heap heap;

	expect_shape(*state, "mixed 8 4 7", &heap);
	assert_true(heap.arenas > 2);
	assert_true(heap.segments >= heap.arenas);
	assert_true(heap.pin_count > 2);
	for (unsigned i = 1; i < heap.pin_count; i++)
		assert_true(heap.pins[i - 1].below_bytes >= heap.pins[i].below_bytes);
}

static void many_heaps_of_an_arena_equal_mallinfo(void **state)
{
	struct heap heap;

	expect_shape(*state, "mixed 2 50 3", &heap);
	assert_true(heap.segments >= heap.arenas + 2);
}

static void a_heap_without_anything_equals_mallinfo(void **state)
{
	struct heap heap;

	expect_shape(*state, "nothing", &heap);
	assert_int_equal(heap.arenas, 1);
}

static void long_fastbins_equal_mallinfo(void **state)
{
	struct heap heap;

	expect_shape(*state, "small 1 40", &heap);
	assert_true(heap.held_free_bytes > 10 << 20);
}

static void thresholds_are_read(void **state)
{
	const struct fixture *fixture = *state;
	struct heap heap;

	expect_shape(fixture, "pinned", &heap);
	assert_int_equal(heap.trim_threshold_bytes, 128 << 10);
	assert_int_equal(heap.mmap_threshold_bytes, 128 << 10);
	assert_int_equal(heap.top_pad_bytes, 128 << 10);
	assert_int_equal(heap.thresholds_dynamic, 1);
	assert_int_equal(heap.arena_max, 0);
	expect_shape(fixture, "mixed 1 4", &heap);
	assert_true(heap.mmap_threshold_bytes >= 1 << 20);
	assert_int_equal(heap.trim_threshold_bytes, 2 * heap.mmap_threshold_bytes);
	assert_int_equal(heap.thresholds_dynamic, 1);
}

/* With NAME=value in its environment. */
static struct fixture with_settings(const struct fixture *fixture, const char *settings)
{
	struct fixture with = *fixture;

	(void)snprintf(
		with.workload, sizeof(with.workload), "%s %.380s", settings, fixture->workload);
	return with;
}

static void settings_are_read(void **state)
{
	const struct fixture fixture = with_settings(*state,
		"MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=70000 MALLOC_MMAP_THRESHOLD_=900000 "
		"MALLOC_TOP_PAD_=8192");
	struct heap heap;

	expect_shape(&fixture, "mixed 4 8", &heap);
	assert_int_equal(heap.arenas, 1);
	assert_int_equal(heap.arena_max, 1);
	assert_int_equal(heap.trim_threshold_bytes, 70000);
	assert_int_equal(heap.mmap_threshold_bytes, 900000);
	assert_int_equal(heap.top_pad_bytes, 8192);
	assert_int_equal(heap.thresholds_dynamic, 0);
}

static void a_pin_holds_what_lies_below(void **state)
{
	struct heap heap;

	expect_shape(*state, "pinned 1 16", &heap);
	assert_int_equal(heap.pin_count, 1);
	assert_int_equal(heap.pins[0].owner, HEAP_OWNER_APPLICATION);
	assert_int_equal(heap.pins[0].size_bytes, 1008);
	assert_true(heap.pins[0].below_bytes > 14 << 20);
	assert_true(heap.trimmable_bytes > 14 << 20);
	/* Freeing the one chunk gives all back, but what malloc keeps for the next growth. */
	assert_true(heap.unpin_bytes[0] > 14 << 20);
	assert_int_equal(heap.unpin_bytes[HEAP_UNPINS - 1] >= heap.unpin_bytes[0], 1);
}

static void a_tcache_can_be_the_pin(void **state)
{
	struct heap heap;

	expect_shape(*state, "cached 1 16", &heap);
	assert_int_equal(heap.pin_count, 1);
	assert_int_equal(heap.pins[0].owner, HEAP_OWNER_TCACHE);
}

static void a_hoarded_top_can_be_trimmed_in_the_main_arena_only(void **state)
{
	const struct fixture fixture = with_settings(*state, "MALLOC_TRIM_THRESHOLD_=1000000000");
	struct heap heap;

	expect_shape(&fixture, "hoarded 1 16", &heap);
	assert_true(heap.top_resident_bytes > 15 << 20);
	assert_true(heap.trimmable_top_bytes > 15 << 20);
	expect_shape(&fixture, "hoarded 2 16", &heap);
	assert_true(heap.top_resident_bytes > 30 << 20);
	assert_in_range(heap.trimmable_bytes, 0, 1 << 20);
	assert_true(heap.page_pinned_bytes > 30 << 20);
}

static void memory_of_another_sbrk_is_passed_over(void **state)
{
	struct heap heap;

	expect_shape(*state, "sbrk 1 8", &heap);
}

static void what_brk_did_not_give_is_lost(void **state)
{
	const struct fixture *fixture = *state;
	struct child child = child_start(fixture, "blocked 1 8");
	struct glibc_heap_damage damage = {};
	struct heap heap;
	char truth[256];

	settle();
	ask(&child, "truth", truth, sizeof(truth));
	assert_int_equal(walk(&child, &heap, &damage), 0);
	assert_int_equal(heap.lost_segments, 1);
	assert_int_not_equal(damage.address, 0);
	assert_int_equal(heap.system_bytes, number(truth, "system="));
	assert_int_equal(heap.live_bytes + heap.cached_bytes - heap.mmapped_bytes +
				 heap.held_free_bytes + heap.lost_bytes,
		heap.system_bytes);
	child_end(&child);
}

/* Whether it lies between the least and the greatest of three, give or take. */
static bool is_between(uint64_t sum, const uint64_t truths[3], unsigned percent)
{
	uint64_t least = truths[0], most = truths[0];

	for (unsigned i = 1; i < 3; i++) {
		least = truths[i] < least ? truths[i] : least;
		most = truths[i] > most ? truths[i] : most;
	}
	return sum >= least / 100 * (100 - percent) && sum <= most / 100 * (100 + percent);
}

/*
 * Walks a heap that changes meanwhile. Its sum must be one of that time: of what malloc itself said
 * before, in the middle (its own field, as it was read) and after. True: to a percent, and nothing
 * was lost. Never is it off by more than five.
 */
static bool sum_holds(struct child *child, uint64_t ret_truths[3])
{
	struct glibc_heap_damage damage = {};
	struct heap heap;
	char truth[256];
	uint64_t sum;

	ask(child, "truth", truth, sizeof(truth));
	ret_truths[0] = number(truth, "system=");
	assert_int_equal(walk(child, &heap, &damage), 0);
	assert_int_equal(heap.lost_segments != 0, damage.address != 0);
	ret_truths[1] = heap.system_bytes;
	ask(child, "truth", truth, sizeof(truth));
	ret_truths[2] = number(truth, "system=");
	sum = heap.live_bytes + heap.cached_bytes - heap.mmapped_bytes + heap.held_free_bytes +
	      heap.lost_bytes;
	assert_true(is_between(sum, ret_truths, 5));
	return !heap.lost_segments && is_between(sum, ret_truths, 1);
}

static void sums_hold_while_all_threads_allocate(void **state)
{
	struct child child = child_start(*state, "churn 4 6");
	uint64_t truths[3];
	unsigned hold = 0;

	for (unsigned i = 0; i < 12; i++)
		hold += sum_holds(&child, truths);
	print_message("%u of 12 hold to a percent\n", hold);
	assert_in_range(hold, 9, 12);
	child_end(&child);
}

/*
 * A process for each walk: a walk takes longer the larger the heap is, and the heap grows by more
 * the longer it takes.
 */
static void sums_hold_while_a_heap_grows(void **state)
{
	unsigned hold = 0, grown = 0;

	for (unsigned i = 0; i < 10; i++) {
		struct child child = child_start(*state, "grow 2 1000");
		uint64_t truths[3];

		settle();
		hold += sum_holds(&child, truths);
		grown += truths[2] > truths[0];
		child_end(&child);
	}
	print_message("%u of 10 hold to a percent, %u grew\n", hold, grown);
	assert_in_range(hold, 7, 10);
	assert_in_range(grown, 5, 10);
}

#define BREATHS 50u

#define FAST_WALKS 20u
#define FAST_MOVED (256 * 1024) /* what the shape takes and gives back all the time, and more */

/* What is free must not be taken for live; where a list cannot be followed, it is lost. */
static void fastbins_that_change_are_followed_or_lost(void **state)
{
	const struct fixture *fixture = *state;
	struct child child = child_start(fixture, "fast 1 24");
	unsigned followed = 0;

	for (unsigned i = 0; i < FAST_WALKS; i++) {
		struct glibc_heap_damage damage = {};
		struct heap heap;
		int64_t sum;

		assert_int_equal(walk(&child, &heap, &damage), 0);
		assert_in_range(heap.live_bytes, 0, 1 << 20);
		if (heap.lost_segments) {
			assert_int_not_equal(damage.address, 0);
			assert_true(heap.lost_bytes > 20 << 20);
			continue;
		}
		/* From 2.43 on there are no fastbins: it is free all the same. */
		sum = heap.live_bytes + heap.cached_bytes + heap.held_free_bytes;
		assert_in_range(sum, heap.system_bytes / 100 * 99 - FAST_MOVED,
			heap.system_bytes / 100 * 101 + FAST_MOVED);
		followed++;
	}
	print_message("%u of %u were followed\n", followed, FAST_WALKS);
	assert_in_range(followed, 1, FAST_WALKS);
	child_end(&child);
}

static uint64_t distance(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

/* The sum and what malloc says that it has are of one moment, though it all goes now and then. */
static void a_heap_that_is_trimmed_is_of_one_moment(void **state)
{
	const struct timespec pause = {.tv_nsec = 7000000};
	struct child child = child_start(*state, "breathe 1 24");
	unsigned hold = 0;

	for (unsigned i = 0; i < BREATHS; i++) {
		struct glibc_heap_damage damage = {};
		struct heap heap;
		uint64_t sum;

		assert_int_equal(walk(&child, &heap, &damage), 0);
		sum = heap.live_bytes + heap.cached_bytes + heap.held_free_bytes + heap.lost_bytes;
		hold += distance(sum, heap.system_bytes) <= heap.system_bytes / 100 + 256 * 1024;
		(void)nanosleep(&pause, NULL);
	}
	print_message("%u of %u hold to a percent\n", hold, BREATHS);
	assert_in_range(hold, BREATHS - 2, BREATHS);
	child_end(&child);
}

static void a_bin_that_is_half_changed_is_a_bin(void **state)
{
	const struct fixture *fixture = *state;
	struct child child = child_start(fixture, "nothing");
	struct glibc_heap_damage damage = {};
	struct heap heap;
	char answer[256];

	ask(&child, "halfway", answer, sizeof(answer));
	assert_int_equal(walk(&child, &heap, &damage), 0);
	assert_int_equal(damage.address, 0);
	assert_int_equal(heap.lost_segments, 0);
	child_end(&child);
}

static void a_broken_chunk_ends_a_segment(void **state)
{
	const struct fixture *fixture = *state;
	struct child child = child_start(fixture, "mixed 1 8");
	struct glibc_heap_damage damage = {};
	struct heap heap, whole;
	char answer[256];

	assert_int_equal(walk(&child, &whole, &damage), 0);
	assert_int_equal(damage.address, 0);
	ask(&child, "corrupt", answer, sizeof(answer));
	assert_int_equal(walk(&child, &heap, &damage), 0);
	assert_int_equal(damage.address, number(answer, "address="));
	assert_non_null(strstr(damage.text, "0x414141"));
	assert_int_equal(heap.lost_segments, 1);
	assert_true(heap.lost_bytes > 0);
	assert_true(heap.live_bytes > heap.mmapped_bytes);
	assert_int_equal(heap.system_bytes, whole.system_bytes);
	assert_int_equal(heap.live_bytes + heap.cached_bytes - heap.mmapped_bytes +
				 heap.held_free_bytes + heap.lost_bytes,
		heap.system_bytes);
	child_end(&child);
}

static void the_deadline_ends_a_walk(void **state)
{
	const struct fixture *fixture = *state;
	struct child child = child_start(fixture, "mixed 4 8");
	struct heap heap;

	heap_unknown(&heap);
	assert_int_equal(glibc_heap_walk(child.target, 0, 0, 1, &heap, NULL), -ETIME);
	child_end(&child);
}

static void an_exec_during_a_walk_ends_it(void **state)
{
	const struct fixture *fixture = *state;
	struct child child = child_start(fixture, "churn 2 8");
	struct heap heap;
	int error = 0;

	assert_true(fprintf(child.commands, "leave\n") > 0);
	assert_int_equal(fflush(child.commands), 0);
	for (unsigned i = 0; i < 1000 && error == 0; i++) {
		heap_unknown(&heap);
		error = glibc_heap_walk(child.target, 0, 0, NEVER_NS, &heap, NULL);
	}
	assert_int_equal(error, -ESRCH);
	assert_int_equal(heap.allocator, ALLOCATOR_UNKNOWN);
	child_end(&child);
}

static void find_workload(struct fixture *fixture)
{
	const char *command = getenv("HEAP_COMMAND");
	char path[256];
	ssize_t length;

	if (command) {
		(void)snprintf(fixture->workload, sizeof(fixture->workload), "%s", command);
		return;
	}
	length = readlink("/proc/self/exe", path, sizeof(path) - 1);
	assert_true(length > 0);
	path[length] = '\0';
	*strrchr(path, '/') = '\0';
	(void)snprintf(fixture->workload, sizeof(fixture->workload), "%s/../workloads/heap", path);
}

static int setup(void **state)
{
	static struct fixture fixture;

	assert_int_equal(procfs_open("/proc", &fixture.procfs), 0);
	fixture.page_bytes = sysconf(_SC_PAGESIZE);
	find_workload(&fixture);
	(void)signal(SIGPIPE, SIG_IGN);
	*state = &fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	procfs_close(&fixture->procfs);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_heap_without_anything_equals_mallinfo),
		cmocka_unit_test(one_arena_equals_mallinfo),
		cmocka_unit_test(many_arenas_equal_mallinfo),
		cmocka_unit_test(many_heaps_of_an_arena_equal_mallinfo),
		cmocka_unit_test(long_fastbins_equal_mallinfo),
		cmocka_unit_test(thresholds_are_read),
		cmocka_unit_test(settings_are_read),
		cmocka_unit_test(a_pin_holds_what_lies_below),
		cmocka_unit_test(a_tcache_can_be_the_pin),
		cmocka_unit_test(a_hoarded_top_can_be_trimmed_in_the_main_arena_only),
		cmocka_unit_test(memory_of_another_sbrk_is_passed_over),
		cmocka_unit_test(what_brk_did_not_give_is_lost),
		cmocka_unit_test(sums_hold_while_all_threads_allocate),
		cmocka_unit_test(sums_hold_while_a_heap_grows),
		cmocka_unit_test(fastbins_that_change_are_followed_or_lost),
		cmocka_unit_test(a_heap_that_is_trimmed_is_of_one_moment),
		cmocka_unit_test(a_bin_that_is_half_changed_is_a_bin),
		cmocka_unit_test(a_broken_chunk_ends_a_segment),
		cmocka_unit_test(the_deadline_ends_a_walk),
		cmocka_unit_test(an_exec_during_a_walk_ends_it),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
