/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * jemalloc read from outside: what a workload counts by its own jemalloc is what we read in it, to
 * the page; and files that hurt whoever loads them do not hurt us. The libraries to try are those
 * in PAGESTAY_JEMALLOC (paths, colons between), or the one that is installed. A library that needs
 * its own C library has that beside it, with its loader as ld.so.
 *
 *   test_jemalloc --libraries           only what has to do with those
 *   test_jemalloc --read PID OBJECT     prints what is read of any process
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../user/edge/jemalloc_state.h"
#include "pagestay/edge/jemalloc.h"

#define LIBRARIES     8
#define ATTEMPTS      10
#define WORK_ROUNDS   100
#define MOMENTS       25
#define MEGABYTE      (1u << 20)
#define PAGE_BYTES    4096u /* jemalloc's, of the libraries that are tried */
#define LIMIT_MS      3500  /* of a calibration, whatever the file does */
#define CHILD_LIMIT_S 30

#define SKIP(...)                                                                                  \
	do {                                                                                       \
		print_message("skipped: " __VA_ARGS__);                                            \
		print_message("\n");                                                               \
		skip();                                                                            \
	} while (0)

struct fixture {
	struct procfs procfs;
	struct jemalloc_cache *cache;
	char scratch[64];
	char workloads[PATH_MAX];
	char library[LIBRARIES][PATH_MAX];
	size_t libraries;
	uid_t user; /* that processes run as; 0: the test's own */
};

/* A process that runs a workload. */
struct process {
	pid_t pid;
	FILE *to, *from;
	struct target *target;
};

/* As the workload tells them: bytes, pages, pages, milliseconds. */
struct numbers {
	uint64_t active, dirty, muzzy;
	int64_t dirty_decay, muzzy_decay;
	uint64_t background;
};

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ull + now.tv_nsec / 1000000;
}

/*
 * Processes.
 */

/* Ends in the child: by its own loader if the library has one beside it. */
static void exec_workload(const char *workload, const char *argument, const char *library)
{
	char loader[PATH_MAX + 8], directory[PATH_MAX];

	if (!library) {
		(void)execl(workload, workload, argument, NULL);
		_exit(127);
	}
	(void)snprintf(directory, sizeof(directory), "%s", library);
	(void)snprintf(loader, sizeof(loader), "%s/ld.so", dirname(directory));
	if (access(loader, X_OK) == 0)
		(void)execl(loader, loader, "--library-path", directory, "--preload", library,
			workload, argument, NULL);
	(void)setenv("LD_PRELOAD", library, 1);
	(void)execl(workload, workload, argument, NULL);
	_exit(127);
}

static bool read_line(const struct process *process, char *ret_line, size_t bytes)
{
	return fgets(ret_line, bytes, process->from) != NULL;
}

/* `settings` are jemalloc's, or NULL. */
static struct process start(const struct fixture *fixture, const char *workload,
	const char *argument, const char *library, const char *settings)
{
	struct process process = {};
	struct ps_proc_key key;
	struct diag diag = {};
	int to[2], from[2];
	char line[256];

	assert_int_equal(pipe2(to, O_CLOEXEC), 0);
	assert_int_equal(pipe2(from, O_CLOEXEC), 0);
	process.pid = fork();
	assert_true(process.pid >= 0);
	if (process.pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)alarm(CHILD_LIMIT_S);
		(void)dup2(to[0], 0);
		(void)dup2(from[1], 1);
		if (settings)
			(void)setenv("MALLOC_CONF", settings, 1);
		if (fixture->user && setuid(fixture->user) < 0)
			_exit(126);
		exec_workload(workload, argument, library);
	}
	(void)close(to[0]);
	(void)close(from[1]);
	process.to = fdopen(to[1], "w");
	process.from = fdopen(from[0], "r");
	assert_non_null(process.to);
	assert_non_null(process.from);
	assert_true(read_line(&process, line, sizeof(line)));
	assert_string_equal(line, "ready\n");
	assert_int_equal(procfs_find(&fixture->procfs, process.pid, &key), 0);
	if (target_open(&fixture->procfs, &key, &process.target, &diag))
		fail_msg("%s", diag.text);
	return process;
}

static struct process start_library(
	const struct fixture *fixture, size_t library, const char *threads, const char *settings)
{
	char workload[PATH_MAX + 16];

	(void)snprintf(workload, sizeof(workload), "%s/jemalloc", fixture->workloads);
	return start(fixture, workload, threads, fixture->library[library], settings);
}

static void end(struct process *process)
{
	target_close(process->target);
	(void)fclose(process->to);
	(void)fclose(process->from);
	(void)kill(process->pid, SIGKILL);
	assert_int_equal(waitpid(process->pid, NULL, 0), process->pid);
}

static void order(const struct process *process, const char *command, char *ret_line, size_t bytes)
{
	(void)fprintf(process->to, "%s\n", command);
	assert_int_equal(fflush(process->to), 0);
	assert_true(read_line(process, ret_line, bytes));
}

static void obey(const struct process *process, const char *command, const char *answer)
{
	char line[256];

	order(process, command, line, sizeof(line));
	assert_string_equal(line, answer);
}

static struct numbers ask(const struct process *process)
{
	struct numbers numbers = {};
	char line[256];

	order(process, "numbers", line, sizeof(line));
	assert_int_equal(
		sscanf(line,
			"numbers active=%" SCNu64 " dirty=%" SCNu64 " muzzy=%" SCNu64
			" dirty_decay=%" SCNd64 " muzzy_decay=%" SCNd64 " background=%" SCNu64,
			&numbers.active, &numbers.dirty, &numbers.muzzy, &numbers.dirty_decay,
			&numbers.muzzy_decay, &numbers.background),
		6);
	return numbers;
}

/* A number of /proc/PID/status, in bytes; 0 if it is not there. */
static uint64_t status_bytes(pid_t pid, const char *name)
{
	char path[64], line[256];
	unsigned long long kilobytes = 0;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		if (strncmp(line, name, strlen(name)) == 0)
			(void)sscanf(line + strlen(name), ": %llu", &kilobytes);
	(void)fclose(file);
	return kilobytes * 1024;
}

/* The process's minor and major faults so far. */
static uint64_t fault_count(pid_t pid)
{
	unsigned long long minor = 0, major = 0;
	char path[64], line[1024] = {};
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof(line), file));
	(void)fclose(file);
	assert_int_equal(sscanf(strrchr(line, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %llu %*u %llu",
				 &minor, &major),
		2);
	return minor + major;
}

/*
 * Reading.
 */

static struct allocator allocator_of(const char *path)
{
	struct allocator allocator = {.name = ALLOCATOR_JEMALLOC};
	const char *name = strrchr(path, '/');

	(void)snprintf(allocator.object, sizeof(allocator.object), "%.63s", name ? name + 1 : path);
	return allocator;
}

static int read_heap(const struct fixture *fixture, const struct process *process,
	const char *library, struct heap *ret_heap, struct diag *diag)
{
	const struct allocator allocator = allocator_of(library);

	heap_unknown(ret_heap);
	diag->text[0] = '\0';
	return jemalloc_read(fixture->cache, process->target, &allocator, ret_heap, diag);
}

static uint64_t decay_of(int64_t decay_ms)
{
	return decay_ms < 0 ? HEAP_DECAY_NEVER : (uint64_t)decay_ms;
}

/*
 * Reads while the process's own numbers are the same before and after; a background thread may
 * purge in between, so that is tried again.
 */
static struct heap read_equal(const struct fixture *fixture, const struct process *process,
	size_t library, struct numbers *ret_numbers)
{
	struct numbers before, after;
	struct diag diag;
	struct heap heap;

	for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++) {
		before = ask(process);
		if (read_heap(fixture, process, fixture->library[library], &heap, &diag))
			fail_msg("%s", diag.text);
		after = ask(process);
		if (memcmp(&before, &after, sizeof(before)) == 0)
			break;
	}
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(heap.allocator, ALLOCATOR_JEMALLOC);
	assert_int_equal(heap.active_bytes, after.active);
	assert_int_equal(heap.dirty_bytes, after.dirty * PAGE_BYTES);
	assert_int_equal(heap.muzzy_bytes, after.muzzy * PAGE_BYTES);
	assert_int_equal(heap.background_thread, after.background);
	assert_int_equal(heap.dirty_decay_ms, decay_of(after.dirty_decay));
	assert_int_equal(heap.muzzy_decay_ms, decay_of(after.muzzy_decay));
	*ret_numbers = after;
	return heap;
}

/* Grows, shrinks and grows; the numbers must be equal each time, and there must be some. */
static struct heap follow_plan(const struct fixture *fixture, size_t library, const char *threads,
	const char *settings, struct numbers *ret_numbers)
{
	struct process process = start_library(fixture, library, threads, settings);
	struct numbers start, numbers;
	struct heap heap;

	(void)read_equal(fixture, &process, library, &start);
	obey(&process, "grow 137", "grown\n");
	(void)read_equal(fixture, &process, library, &numbers);
	assert_true(numbers.active > start.active + 20 * MEGABYTE);
	obey(&process, "shrink 61", "shrunk\n");
	(void)read_equal(fixture, &process, library, &numbers);
	obey(&process, "grow 29", "grown\n");
	obey(&process, "shrink 50", "shrunk\n");
	heap = read_equal(fixture, &process, library, ret_numbers);
	end(&process);
	return heap;
}

#define FOR_EACH_LIBRARY(fixture, i)                                                               \
	for (size_t i = ((fixture)->libraries                                                      \
				 ? 0                                                               \
				 : (print_message("skipped: no libjemalloc.so.2\n"), skip(), 0));  \
		i < (fixture)->libraries; i++)

static void counts_of_many_arenas_are_the_process_s_own(void **state)
{
	const struct fixture *fixture = *state;
	struct numbers numbers;

	FOR_EACH_LIBRARY(fixture, i)
	{
		(void)follow_plan(fixture, i, "12", NULL, &numbers);
		assert_true(numbers.dirty > 0);
		(void)follow_plan(fixture, i, "12", "narenas:300", &numbers);
		assert_true(numbers.dirty > 0);
	}
}

static void counts_of_one_arena_are_the_process_s_own(void **state)
{
	const struct fixture *fixture = *state;
	struct numbers numbers;

	FOR_EACH_LIBRARY(fixture, i)
	(void)follow_plan(fixture, i, "4", "narenas:1", &numbers);
}

static void arenas_beyond_a_page_of_the_table_are_counted(void **state)
{
	const struct fixture *fixture = *state;
	struct numbers numbers;

	/* The 64 threads have the first arenas; the other pages of the table stay untouched. */
	FOR_EACH_LIBRARY(fixture, i)
	(void)follow_plan(fixture, i, "64", "narenas:1500", &numbers);
}

static void pages_that_never_decay_are_dirty(void **state)
{
	const struct fixture *fixture = *state;
	struct numbers numbers;

	FOR_EACH_LIBRARY(fixture, i)
	{
		const struct heap heap = follow_plan(
			fixture, i, "4", "dirty_decay_ms:-1,muzzy_decay_ms:-1", &numbers);

		assert_int_equal(heap.dirty_decay_ms, HEAP_DECAY_NEVER);
		assert_int_equal(heap.muzzy_decay_ms, HEAP_DECAY_NEVER);
		assert_true(heap.dirty_bytes > 5 * MEGABYTE);
		assert_int_equal(heap.muzzy_bytes, 0);
	}
}

static void pages_given_back_lazily_are_muzzy(void **state)
{
	const struct fixture *fixture = *state;

	FOR_EACH_LIBRARY(fixture, i)
	{
		struct process process = start_library(
			fixture, i, "4", "dirty_decay_ms:100000,muzzy_decay_ms:10000");
		struct numbers numbers;
		struct heap heap;

		obey(&process, "grow 137", "grown\n");
		obey(&process, "shrink 61", "shrunk\n");
		heap = read_equal(fixture, &process, i, &numbers);
		assert_true(heap.dirty_bytes > 10 * MEGABYTE);
		assert_int_equal(heap.muzzy_bytes, 0);
		/* What is dirty becomes muzzy at once. */
		obey(&process, "decay 0", "set\n");
		heap = read_equal(fixture, &process, i, &numbers);
		assert_int_equal(heap.dirty_bytes, 0);
		assert_true(heap.muzzy_bytes > 10 * MEGABYTE);
		assert_int_equal(heap.dirty_decay_ms, 0);
		assert_int_equal(heap.muzzy_decay_ms, 10000);
		end(&process);
	}
}

static void the_background_thread_is_seen(void **state)
{
	const struct fixture *fixture = *state;
	struct numbers numbers;

	FOR_EACH_LIBRARY(fixture, i)
	{
		assert_int_equal(follow_plan(fixture, i, "6", "background_thread:true", &numbers)
					 .background_thread,
			1);
		assert_int_equal(follow_plan(fixture, i, "6", "background_thread:false", &numbers)
					 .background_thread,
			0);
	}
}

/* Calibration knows none of them; the counters stay where they are. */
static void settings_of_the_process_change_no_offset(void **state)
{
	static const char *const settings[] = {"percpu_arena:percpu", "tcache:false",
		"oversize_threshold:65536", "retain:false", "dss:primary",
		"thp:always,metadata_thp:always",
		/* Of 5.3; older ones complain and go on. */
		"hpa:true", "san_guard_large:1"};
	const struct fixture *fixture = *state;
	struct numbers numbers;

	FOR_EACH_LIBRARY(fixture, i)
	for (size_t k = 0; k < sizeof(settings) / sizeof(settings[0]); k++)
		(void)follow_plan(fixture, i, "5", settings[k], &numbers);
}

/*
 * One moment of a decay. RSS is read a little later, has the allocator's own pages as well, and
 * lacks those of active ones that nobody can write to (5.3.1 pads large blocks with whole pages).
 */
static uint64_t read_decaying(
	const struct fixture *fixture, const struct process *process, size_t library)
{
	struct numbers numbers;
	const struct heap heap = read_equal(fixture, process, library, &numbers);
	const uint64_t resident = status_bytes(process->pid, "RssAnon");
	const uint64_t told = heap.active_bytes + heap.dirty_bytes;

	print_message("%" PRIu64 " MB = %" PRIu64 " + %" PRIu64 "\n", resident / MEGABYTE,
		heap.active_bytes / MEGABYTE, heap.dirty_bytes / MEGABYTE);
	assert_in_range(resident, told - told / 20, told + told / 50 + 2 * MEGABYTE);
	return heap.dirty_bytes;
}

/* The background thread wakes when it likes, so this ends when enough has gone. */
static void resident_memory_is_active_and_dirty_through_a_decay(void **state)
{
	const struct fixture *fixture = *state;

	FOR_EACH_LIBRARY(fixture, i)
	{
		struct process process = start_library(
			fixture, i, "8", "dirty_decay_ms:2000,background_thread:true");
		uint64_t first_dirty, dirty;
		unsigned moment = 0;

		obey(&process, "grow 300", "grown\n");
		obey(&process, "shrink 60", "shrunk\n");
		first_dirty = dirty = read_decaying(fixture, &process, i);
		assert_true(first_dirty > 40 * MEGABYTE);
		for (; dirty > first_dirty / 3 && moment < MOMENTS; moment++) {
			(void)usleep(400000);
			dirty = read_decaying(fixture, &process, i);
		}
		assert_true(dirty <= first_dirty / 3);
		end(&process);
	}
}

/* What is read meanwhile is of no one moment, but it must be possible. */
static void a_process_at_work_can_be_read(void **state)
{
	const struct fixture *fixture = *state;

	FOR_EACH_LIBRARY(fixture, i)
	{
		struct process process = start_library(fixture, i, "8", NULL);
		uint64_t least = UINT64_MAX, most = 0;
		struct diag diag;
		struct heap heap;
		char line[64];

		for (unsigned round = 0; round < WORK_ROUNDS; round++)
			(void)fprintf(process.to, "grow 200\nshrink 90\n");
		assert_int_equal(fflush(process.to), 0);
		for (unsigned round = 0; round < WORK_ROUNDS * 4; round++) {
			if (read_heap(fixture, &process, fixture->library[i], &heap, &diag))
				fail_msg("%s", diag.text);
			if (heap.active_bytes < least)
				least = heap.active_bytes;
			if (heap.active_bytes > most)
				most = heap.active_bytes;
		}
		assert_true(most > least + 20 * MEGABYTE);
		for (unsigned round = 0; round < 2 * WORK_ROUNDS; round++)
			assert_true(read_line(&process, line, sizeof(line)));
		end(&process);
	}
}

static void reading_changes_nothing_in_the_process(void **state)
{
	const struct fixture *fixture = *state;

	FOR_EACH_LIBRARY(fixture, i)
	{
		struct process process = start_library(fixture, i, "8", NULL);
		uint64_t faults, resident;
		struct diag diag;
		struct heap heap;

		obey(&process, "grow 50", "grown\n");
		(void)usleep(50000);
		faults = fault_count(process.pid);
		resident = status_bytes(process.pid, "VmRSS");
		for (unsigned round = 0; round < 100; round++)
			assert_int_equal(
				read_heap(fixture, &process, fixture->library[i], &heap, &diag), 0);
		assert_int_equal(fault_count(process.pid), faults);
		assert_int_equal(status_bytes(process.pid, "VmRSS"), resident);
		assert_in_range(heap.read_bytes, 100, 100000);
		end(&process);
	}
}

/*
 * The cache.
 */

static void copy_file(const char *from, const char *to)
{
	char buffer[65536];
	FILE *source = fopen(from, "re");
	FILE *target = fopen(to, "we");
	size_t got;

	assert_non_null(source);
	assert_non_null(target);
	while ((got = fread(buffer, 1, sizeof(buffer), source)) > 0)
		assert_int_equal(fwrite(buffer, 1, got, target), got);
	assert_int_equal(fclose(target), 0);
	(void)fclose(source);
	assert_int_equal(chmod(to, 0755), 0);
}

static void a_file_is_calibrated_once(void **state)
{
	struct fixture *fixture = *state;
	struct process first, second;
	struct diag diag;
	struct heap heap;
	uint64_t before;
	char path[128];

	if (!fixture->libraries)
		SKIP("no libjemalloc.so.2");
	(void)snprintf(path, sizeof(path), "%s/libjemalloc.so.2", fixture->scratch);
	copy_file(fixture->library[0], path);
	(void)snprintf(fixture->library[LIBRARIES - 1], PATH_MAX, "%s", path);
	before = jemalloc_cache_calibrations(fixture->cache);
	first = start_library(fixture, LIBRARIES - 1, "1", NULL);
	second = start_library(fixture, LIBRARIES - 1, "2", NULL);
	assert_int_equal(read_heap(fixture, &first, path, &heap, &diag), 0);
	assert_int_equal(read_heap(fixture, &second, path, &heap, &diag), 0);
	assert_int_equal(jemalloc_cache_calibrations(fixture->cache), before + 1);
	/* Another file by its times. */
	assert_int_equal(utimensat(AT_FDCWD, path, NULL, 0), 0);
	assert_int_equal(read_heap(fixture, &first, path, &heap, &diag), 0);
	assert_int_equal(jemalloc_cache_calibrations(fixture->cache), before + 2);
	/* Deleted, but mapped still. */
	assert_int_equal(unlink(path), 0);
	if (geteuid() == 0)
		assert_int_equal(read_heap(fixture, &first, path, &heap, &diag), 0);
	end(&first);
	end(&second);
}

/*
 * What is refused.
 */

static void assert_refused(const struct fixture *fixture, const struct process *process,
	const struct allocator *allocator, const char *words)
{
	struct diag diag = {};
	struct heap heap, untouched;

	heap_unknown(&heap);
	heap_unknown(&untouched);
	assert_int_equal(
		jemalloc_read(fixture->cache, process->target, allocator, &heap, &diag), -ENOTSUP);
	assert_memory_equal(&heap, &untouched, sizeof(heap));
	if (!strstr(diag.text, words))
		fail_msg("expected '%s' in '%s'", words, diag.text);
}

/* A copy of the hostile file with another letter, and the path that it is to create. */
static void make_hostile(
	const struct fixture *fixture, char how, char ret_path[128], char ret_victim[96])
{
	static const char behaves[] = "jemalloc_hostile behaves: ";
	static const char creates[] = "jemalloc_hostile creates: ";
	static char bytes[4 * MEGABYTE];
	char source[PATH_MAX + 32];
	char *place;
	FILE *file;
	size_t got;

	(void)snprintf(source, sizeof(source), "%s/jemalloc_hostile", fixture->workloads);
	(void)snprintf(ret_path, 128, "%s/hostile_%c", fixture->scratch, how);
	(void)snprintf(ret_victim, 96, "%s/victim_%c", fixture->scratch, how);
	file = fopen(source, "re");
	assert_non_null(file);
	got = fread(bytes, 1, sizeof(bytes), file);
	(void)fclose(file);
	assert_in_range(got, 1, sizeof(bytes) - 1);
	place = memmem(bytes, got, behaves, sizeof(behaves) - 1);
	assert_non_null(place);
	place[sizeof(behaves) - 1] = how;
	place = memmem(bytes, got, creates, sizeof(creates) - 1);
	assert_non_null(place);
	(void)snprintf(place, 128, "%s", ret_victim);
	file = fopen(ret_path, "we");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, got, file), got);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(ret_path, 0755), 0);
}

static struct jemalloc_layout calibrate(const char *path)
{
	struct jemalloc_layout layout = {};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const uint64_t start_ms = now_ms();
	struct stat status;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &status), 0);
	assert_int_equal(jemalloc_calibrate(fd, status.st_size, &layout), 0);
	assert_in_range(now_ms() - start_ms, 0, LIMIT_MS);
	(void)close(fd);
	return layout;
}

static void what_is_no_jemalloc_is_told(void **state)
{
	const struct fixture *fixture = *state;
	char path[128], victim[96];

	make_hostile(fixture, 'n', path, victim);
	assert_int_equal(calibrate(path).outcome, JEMALLOC_NO_CONTROL);
	assert_int_equal(calibrate("/proc/self/comm").outcome, JEMALLOC_UNLOADABLE);
}

static void a_hostile_file_ends_in_bounded_time(void **state)
{
	static const struct {
		char how;
		enum jemalloc_outcome outcome;
	} cases[] = {
		{'c', JEMALLOC_SILENT},
		{'l', JEMALLOC_SILENT},
		{'s', JEMALLOC_SILENT},
		{'g', JEMALLOC_NONSENSE},
		{'w', JEMALLOC_NONSENSE},
		{'o', JEMALLOC_NONSENSE},
	};
	const struct fixture *fixture = *state;
	char path[128], victim[96];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		make_hostile(fixture, cases[i].how, path, victim);
		assert_int_equal(calibrate(path).outcome, cases[i].outcome);
	}
	/* Nobody is left. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
	assert_int_equal(errno, ECHILD);
}

static void a_hostile_file_cannot_get_out(void **state)
{
	const struct fixture *fixture = *state;
	struct jemalloc_layout layout;
	char path[128], victim[96];

	make_hostile(fixture, 'e', path, victim);
	layout = calibrate(path);
	/* It ran, and tried all ways. */
	assert_int_equal(layout.outcome, JEMALLOC_CALIBRATED);
	assert_int_equal(layout.arenas_address, 8 * 16);
	assert_int_equal(layout.arena_count_address, 0);
	assert_int_equal(access(victim, F_OK), -1);
}

static void failures_are_remembered_and_lies_do_not_validate(void **state)
{
	const struct fixture *fixture = *state;
	const uint64_t before = jemalloc_cache_calibrations(fixture->cache);
	char path[128], victim[96];
	struct allocator allocator;
	struct process process;
	uint64_t start_ms;

	make_hostile(fixture, 's', path, victim);
	process = start(fixture, path, "wait", NULL, NULL);
	allocator = allocator_of(path);
	assert_refused(fixture, &process, &allocator, "ended or hung");
	start_ms = now_ms();
	for (unsigned i = 0; i < 100; i++)
		assert_refused(fixture, &process, &allocator, "ended or hung");
	assert_in_range(now_ms() - start_ms, 0, 1000);
	assert_int_equal(jemalloc_cache_calibrations(fixture->cache), before + 1);
	end(&process);

	make_hostile(fixture, 'v', path, victim);
	process = start(fixture, path, "wait", NULL, NULL);
	allocator = allocator_of(path);
	assert_refused(fixture, &process, &allocator, "does not validate");
	end(&process);
}

/* They would cost three seconds each. The files are the process's user's, so they may be tried. */
static void a_user_s_silent_files_are_not_tried_without_end(void **state)
{
	static const unsigned tried = 8;
	struct fixture *fixture = *state;
	struct allocator allocator;
	char path[128], victim[96];
	struct process process;
	uint64_t before;

	if (geteuid() != 0)
		SKIP("it takes root to start processes of another user");
	make_hostile(fixture, 'c', path, victim);
	assert_int_equal(chown(path, 4711, 4711), 0);
	fixture->user = 4711;
	process = start(fixture, path, "wait", NULL, NULL);
	fixture->user = 0;
	allocator = allocator_of(path);
	before = jemalloc_cache_calibrations(fixture->cache);
	for (unsigned i = 0; i < tried; i++) {
		/* Another file by its times. */
		assert_int_equal(utimensat(AT_FDCWD, path, NULL, 0), 0);
		(void)usleep(20000);
		assert_refused(fixture, &process, &allocator, "cannot be read: it ended or hung");
	}
	assert_int_equal(utimensat(AT_FDCWD, path, NULL, 0), 0);
	assert_refused(fixture, &process, &allocator, "too many other files");
	assert_int_equal(jemalloc_cache_calibrations(fixture->cache), before + tried);
	end(&process);
}

static void other_kinds_of_files_are_refused(void **state)
{
	struct fixture *fixture = *state;
	struct allocator allocator;
	struct process process;
	char path[128];

	if (!fixture->libraries)
		SKIP("no libjemalloc.so.2");
	(void)snprintf(path, sizeof(path), "%s/libother.so", fixture->scratch);
	copy_file(fixture->library[0], path);
	assert_int_equal(truncate(path, 65 * MEGABYTE), 0);
	(void)snprintf(fixture->library[LIBRARIES - 1], PATH_MAX, "%s", path);
	process = start_library(fixture, LIBRARIES - 1, "1", NULL);
	allocator = allocator_of(path);
	assert_refused(fixture, &process, &allocator, "at most 64 MB");
	if (geteuid() == 0) {
		assert_int_equal(truncate(path, 63 * MEGABYTE), 0);
		assert_int_equal(chown(path, 4711, 4711), 0);
		assert_refused(fixture, &process, &allocator, "another user (4711)");
	}
	allocator.is_static = true;
	assert_refused(fixture, &process, &allocator, "statically");
	allocator = allocator_of("libnone.so");
	assert_refused(fixture, &process, &allocator, "not mapped");
	end(&process);
}

/*
 * The child, seen from outside while it hangs.
 */

/* The child of this one, which is not reaped meanwhile. 0: none yet. */
static pid_t only_child(pid_t pid)
{
	char path[64], text[64] = {};
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	(void)!fgets(text, sizeof(text), file);
	(void)fclose(file);
	return strtol(text, NULL, 10);
}

static bool status_has(pid_t pid, const char *line)
{
	char path[64], text[256];
	bool has = false;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	while (file && fgets(text, sizeof(text), file))
		has |= strcmp(text, line) == 0;
	if (file)
		(void)fclose(file);
	return has;
}

/* Of the lowest; the program that calibrates has no more open itself. */
static unsigned count_descriptors(pid_t pid)
{
	unsigned count = 0;
	char path[64];
	struct stat status;

	for (unsigned fd = 0; fd < 256; fd++) {
		(void)snprintf(path, sizeof(path), "/proc/%d/fd/%u", pid, fd);
		count += lstat(path, &status) == 0;
	}
	return count;
}

static bool shares_namespace(pid_t pid, const char *name)
{
	char path[64], own[64] = {}, other[64] = {};

	(void)snprintf(path, sizeof(path), "/proc/self/ns/%s", name);
	assert_true(readlink(path, own, sizeof(own) - 1) > 0);
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, name);
	assert_true(readlink(path, other, sizeof(other) - 1) > 0);
	return strcmp(own, other) == 0;
}

static bool file_is(pid_t pid, const char *name, const char *expected)
{
	char path[64], text[64] = {};
	FILE *file;
	size_t got;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	file = fopen(path, "re");
	if (!file)
		return false;
	got = fread(text, 1, sizeof(text) - 1, file);
	(void)fclose(file);
	return got == strlen(expected) && memcmp(text, expected, got) == 0;
}

static void assert_confined(pid_t pid)
{
	static const char *const namespaces[] = {"net", "ipc", "mnt", "pid", "uts"};

	assert_true(status_has(pid, "CapEff:\t0000000000000000\n"));
	assert_true(status_has(pid, "CapPrm:\t0000000000000000\n"));
	assert_true(status_has(pid, "CapInh:\t0000000000000000\n"));
	assert_true(status_has(pid, "NoNewPrivs:\t1\n"));
	assert_true(file_is(pid, "oom_score_adj", "1000\n"));
	if (geteuid() != 0)
		return;
	assert_int_equal(count_descriptors(pid), 2);
	assert_true(file_is(pid, "environ", ""));
	assert_true(status_has(pid, "Uid:\t65534\t65534\t65534\t65534\n"));
	assert_true(status_has(pid, "Gid:\t65534\t65534\t65534\t65534\n"));
	assert_true(status_has(pid, "Groups:\t \n"));
	assert_true(status_has(pid, "CapBnd:\t0000000000000000\n"));
	for (size_t i = 0; i < sizeof(namespaces) / sizeof(namespaces[0]); i++)
		assert_false(shares_namespace(pid, namespaces[i]));
}

static void the_child_has_given_up_everything(void **state)
{
	const struct fixture *fixture = *state;
	char path[128], victim[96];
	pid_t caller, child = 0;
	int status;

	make_hostile(fixture, 's', path, victim);
	caller = fork();
	assert_true(caller >= 0);
	if (caller == 0)
		_exit(calibrate(path).outcome == JEMALLOC_SILENT ? 0 : 1);
	for (unsigned tries = 0; tries < 200; tries++) {
		child = only_child(caller);
		if (child && status_has(child, "Seccomp:\t2\n"))
			break;
		(void)usleep(10000);
	}
	assert_true(child > 0);
	assert_true(status_has(child, "Seccomp:\t2\n"));
	assert_confined(child);
	assert_int_equal(waitpid(caller, &status, 0), caller);
	assert_int_equal(status, 0);
	assert_int_equal(kill(child, 0), -1);
}

/*
 * The fixture.
 */

static void find_libraries(struct fixture *fixture)
{
	static const char *const installed[] = {"/usr/lib/x86_64-linux-gnu",
		"/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"};
	const char *list = getenv("PAGESTAY_JEMALLOC");
	char path[PATH_MAX];

	while (list && *list && fixture->libraries < LIBRARIES - 1) {
		const size_t length = strcspn(list, ":");

		(void)snprintf(fixture->library[fixture->libraries++], PATH_MAX, "%.*s",
			(int)length, list);
		list += length + (list[length] == ':');
	}
	for (size_t i = 0; !fixture->libraries && i < sizeof(installed) / sizeof(installed[0]);
		i++) {
		(void)snprintf(path, sizeof(path), "%s/libjemalloc.so.2", installed[i]);
		if (access(path, R_OK) == 0)
			(void)snprintf(
				fixture->library[fixture->libraries++], PATH_MAX, "%s", path);
	}
}

static int set_up(void **state)
{
	static struct fixture fixture;
	char program[PATH_MAX] = {};

	fixture = (struct fixture){};
	if (readlink("/proc/self/exe", program, sizeof(program) - 1) < 0 ||
		procfs_open("/proc", &fixture.procfs) || jemalloc_cache_new(&fixture.cache))
		return -1;
	(void)snprintf(fixture.workloads, sizeof(fixture.workloads), "%.4000s/../workloads",
		dirname(program));
	(void)snprintf(fixture.scratch, sizeof(fixture.scratch), "/tmp/test_jemalloc.XXXXXX");
	if (!mkdtemp(fixture.scratch) || chmod(fixture.scratch, 0755) < 0)
		return -1;
	(void)signal(SIGPIPE, SIG_IGN);
	find_libraries(&fixture);
	*state = &fixture;
	return 0;
}

/* Of copies that are preloaded, the C library is the machine's. */
static int set_up_installed(void **state)
{
	(void)unsetenv("PAGESTAY_JEMALLOC");
	return set_up(state);
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;
	char pattern[80];
	glob_t files = {};

	(void)snprintf(pattern, sizeof(pattern), "%s/*", fixture->scratch);
	if (glob(pattern, 0, NULL, &files) == 0)
		for (size_t i = 0; i < files.gl_pathc; i++)
			(void)unlink(files.gl_pathv[i]);
	globfree(&files);
	(void)rmdir(fixture->scratch);
	jemalloc_cache_free(fixture->cache);
	procfs_close(&fixture->procfs);
	return 0;
}

static uint64_t now_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000ull + now.tv_nsec / 1000;
}

/* Twice, to tell what calibration costs and what a reading does. */
static int read_and_print(uint32_t pid, const char *object)
{
	const struct allocator allocator = allocator_of(object);
	struct jemalloc_cache *cache = NULL;
	struct target *target = NULL;
	struct procfs procfs;
	struct ps_proc_key key;
	struct diag diag = {};
	struct heap heap;
	uint64_t times_us[3];
	int error = procfs_open("/proc", &procfs);

	if (!error)
		error = procfs_find(&procfs, pid, &key);
	if (!error)
		error = jemalloc_cache_new(&cache);
	if (!error)
		error = target_open(&procfs, &key, &target, &diag);
	for (unsigned i = 0; !error && i < 2; i++) {
		heap_unknown(&heap);
		times_us[i] = now_us();
		error = jemalloc_read(cache, target, &allocator, &heap, &diag);
		times_us[i + 1] = now_us();
	}
	if (error)
		(void)printf("error=%d %s\n", -error, diag.text);
	else
		(void)printf("active=%" PRIu64 " dirty=%" PRIu64 " muzzy=%" PRIu64
			     " dirty_decay=%" PRId64 " muzzy_decay=%" PRId64 " background=%" PRId64
			     " first_us=%" PRIu64 " again_us=%" PRIu64 "\n",
			heap.active_bytes, heap.dirty_bytes, heap.muzzy_bytes,
			(int64_t)heap.dirty_decay_ms, (int64_t)heap.muzzy_decay_ms,
			(int64_t)heap.background_thread, times_us[1] - times_us[0],
			times_us[2] - times_us[1]);
	target_close(target);
	jemalloc_cache_free(cache);
	return error ? 1 : 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest libraries[] = {
		cmocka_unit_test(counts_of_many_arenas_are_the_process_s_own),
		cmocka_unit_test(counts_of_one_arena_are_the_process_s_own),
		cmocka_unit_test(arenas_beyond_a_page_of_the_table_are_counted),
		cmocka_unit_test(pages_that_never_decay_are_dirty),
		cmocka_unit_test(pages_given_back_lazily_are_muzzy),
		cmocka_unit_test(the_background_thread_is_seen),
		cmocka_unit_test(settings_of_the_process_change_no_offset),
		cmocka_unit_test(resident_memory_is_active_and_dirty_through_a_decay),
		cmocka_unit_test(a_process_at_work_can_be_read),
		cmocka_unit_test(reading_changes_nothing_in_the_process),
	};
	const struct CMUnitTest files[] = {
		cmocka_unit_test(a_file_is_calibrated_once),
		cmocka_unit_test(other_kinds_of_files_are_refused),
		cmocka_unit_test(a_user_s_silent_files_are_not_tried_without_end),
		cmocka_unit_test(what_is_no_jemalloc_is_told),
		cmocka_unit_test(a_hostile_file_ends_in_bounded_time),
		cmocka_unit_test(a_hostile_file_cannot_get_out),
		cmocka_unit_test(failures_are_remembered_and_lies_do_not_validate),
		cmocka_unit_test(the_child_has_given_up_everything),
	};
	int failed;

	if (argc > 1 && strcmp(argv[1], JEMALLOC_CALIBRATE_OPTION) == 0)
		jemalloc_calibrate_main(argc, argv);
	if (argc == 4 && strcmp(argv[1], "--read") == 0)
		return read_and_print(strtoul(argv[2], NULL, 10), argv[3]);
	failed = cmocka_run_group_tests(libraries, set_up, tear_down);
	if (argc > 1 && strcmp(argv[1], "--libraries") == 0)
		return failed;
	return failed + cmocka_run_group_tests(files, set_up_installed, tear_down);
}
