/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reading /proc, from a directory of the test's own with one process in it, and once from the real
 * one about the test itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pagestay/base/clock.h"
#include "pagestay/edge/procfs.h"

#define PID         4711
#define START_TICKS 8589934597ull

struct fake {
	char root[64];
	struct procfs procfs;
	struct ps_proc_key key;
};

/*
 * The fake.
 */

/* Writes a file of the root, given as `4711/stat`. */
static void put_bytes(const struct fake *fake, const char *name, const char *bytes, size_t length)
{
	char path[128];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/%s", fake->root, name);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
}

static void put(const struct fake *fake, const char *name, const char *text)
{
	put_bytes(fake, name, text, strlen(text));
}

static void drop(const struct fake *fake, const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", fake->root, name);
	assert_int_equal(unlink(path), 0);
}

static void put_directory(const struct fake *fake, const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", fake->root, name);
	assert_int_equal(mkdir(path, 0700), 0);
}

static void put_exe(const struct fake *fake, const char *target)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%d/exe", fake->root, PID);
	(void)unlink(path);
	assert_int_equal(symlink(target, path), 0);
}

/* A stat line as the kernel writes it; the numbers that are read are the caller's texts. */
static void put_stat(const struct fake *fake, const char *comm, const char *minor,
	const char *major, const char *start)
{
	char line[1024];

	(void)snprintf(line, sizeof(line),
		"%d (%s) S 1 4711 4711 0 -1 4194560 %s 99 %s 98 11 12 13 14 20 0 3 0 %s 170000 300 "
		"18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
		PID, comm, minor, major, start);
	put(fake, "4711/stat", line);
}

static const char status_text[] = "Name:\tserver\n"
				  "Umask:\t0022\n"
				  "State:\tS (sleeping)\n"
				  "VmPeak:\t    2000 kB\n"
				  "VmHWM:\t     900 kB\n"
				  "VmRSS:\t     800 kB\n"
				  "RssAnon:\t     500 kB\n"
				  "RssFile:\t     300 kB\n"
				  "VmSwap:\t      40 kB\n"
				  "Threads:\t3\n";

static const char rollup_text[] = "00400000-7fff0000 ---p 00000000 00:00 0       [rollup]\n"
				  "Rss:                 800 kB\n"
				  "LazyFree:             60 kB\n"
				  "AnonHugePages:         0 kB\n";

static int setup(void **state)
{
	struct fake *fake = calloc(1, sizeof(*fake));
	char start[32];

	assert_non_null(fake);
	(void)snprintf(fake->root, sizeof(fake->root), "/tmp/pagestay-procfs-XXXXXX");
	assert_non_null(mkdtemp(fake->root));
	put_directory(fake, "4711");
	put_directory(fake, "self");
	(void)snprintf(start, sizeof(start), "%llu", START_TICKS);
	put_stat(fake, "server", "100", "23", start);
	put(fake, "4711/comm", "server\n");
	put(fake, "4711/status", status_text);
	put(fake, "4711/smaps_rollup", rollup_text);
	put_exe(fake, "/usr/sbin/server");
	assert_int_equal(procfs_open(fake->root, &fake->procfs), 0);
	/* Any time within the tick. */
	fake->key = (struct ps_proc_key){.tgid = PID,
		.start_ns = START_TICKS * (1000000000 / fake->procfs.clock_ticks) + 4321};
	*state = fake;
	return 0;
}

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *walk)
{
	return remove(path);
}

static int teardown(void **state)
{
	struct fake *fake = *state;

	procfs_close(&fake->procfs);
	assert_int_equal(nftw(fake->root, remove_one, 4, FTW_DEPTH | FTW_PHYS), 0);
	free(fake);
	return 0;
}

/*
 * What is asked of it. A failed call leaves its result alone.
 */

static struct event_process identity_of(const struct fake *fake)
{
	struct event_process process;

	memset(&process, 'x', sizeof(process));
	assert_int_equal(procfs_process(&fake->procfs, &fake->key, &process), 0);
	return process;
}

static struct event_memory memory_of(const struct fake *fake, bool lazyfree)
{
	struct event_memory memory;

	memset(&memory, 'x', sizeof(memory));
	assert_int_equal(procfs_memory(&fake->procfs, &fake->key, lazyfree, &memory), 0);
	return memory;
}

static void assert_process_fails(const struct fake *fake, int error)
{
	struct event_process process = {.comm = "untouched"};

	assert_int_equal(procfs_process(&fake->procfs, &fake->key, &process), error);
	assert_string_equal(process.comm, "untouched");
}

static void assert_memory_fails(const struct fake *fake, int error)
{
	struct event_memory memory = {.rss_bytes = 17};

	assert_int_equal(procfs_memory(&fake->procfs, &fake->key, true, &memory), error);
	assert_int_equal(memory.rss_bytes, 17);
}

/*
 * Who a process is.
 */

static void process_is_comm_and_exe(void **state)
{
	struct event_process process = identity_of(*state);

	assert_string_equal(process.comm, "server");
	assert_string_equal(process.exe, "/usr/sbin/server");
}

/* Whoever names a process may try to look like the fields that follow. */
static void comm_may_hold_anything(void **state)
{
	static const char *const comms[] = {"a b", "(sd-pam)", ") R 1 2 3", "a) S 1", "))((", " ",
		"new\nline", "\n", "\x1b[2J\xff", "VmRSS: 1 kB", "fifteen bytes !"};
	const struct fake *fake = *state;
	char line[32], start[32];

	(void)snprintf(start, sizeof(start), "%llu", START_TICKS);
	for (size_t i = 0; i < sizeof(comms) / sizeof(comms[0]); i++) {
		put_stat(fake, comms[i], "100", "23", start);
		(void)snprintf(line, sizeof(line), "%s\n", comms[i]);
		put(fake, "4711/comm", line);
		assert_string_equal(identity_of(fake).comm, comms[i]);
		assert_int_equal(memory_of(fake, false).faults, 123);
	}
}

static void comm_may_be_empty_or_without_line_end(void **state)
{
	put(*state, "4711/comm", "");
	assert_string_equal(identity_of(*state).comm, "");
	put(*state, "4711/comm", "\n");
	assert_string_equal(identity_of(*state).comm, "");
	put(*state, "4711/comm", "bare");
	assert_string_equal(identity_of(*state).comm, "bare");
}

static void long_comm_is_cut(void **state)
{
	put(*state, "4711/comm", "kworker/u8:2-events_unbound\n");
	assert_string_equal(identity_of(*state).comm, "kworker/u8:2-ev");
	put(*state, "4711/comm", "sixteen bytes ok");
	assert_string_equal(identity_of(*state).comm, "sixteen bytes o");
}

static void group_is_of_the_unified_hierarchy_or_systemds(void **state)
{
	char text[EVENT_CGROUP_BYTES + 100];

	assert_string_equal(identity_of(*state).cgroup, "");
	put(*state, "4711/cgroup", "0::/system.slice/web.service\n");
	assert_string_equal(identity_of(*state).cgroup, "/system.slice/web.service");
	put(*state, "4711/cgroup", "8:pids:/x\n1:name=systemd:/user.slice\n0::/a b:c\n");
	assert_string_equal(identity_of(*state).cgroup, "/a b:c");
	put(*state, "4711/cgroup", "8:pids:/x\n1:name=systemd:/user.slice\n");
	assert_string_equal(identity_of(*state).cgroup, "/user.slice");
	put(*state, "4711/cgroup", "8:pids:/x\n");
	assert_string_equal(identity_of(*state).cgroup, "");
	/* A part of a path is another group's. */
	memset(text, 'g', sizeof(text) - 1);
	memcpy(text, "0::/", 4);
	text[sizeof(text) - 1] = '\0';
	put(*state, "4711/cgroup", text);
	assert_string_equal(identity_of(*state).cgroup, "");
}

static void heap_is_what_smaps_and_tasks_tell(void **state)
{
	const struct fake *fake = *state;
	struct heap heap;

	heap_unknown(&heap);
	assert_int_equal(procfs_heap(&fake->procfs, &fake->key, &heap), 0);
	assert_true(heap.anon_bytes == HEAP_UNKNOWN);
	assert_int_equal(heap.huge_bytes, 0);
	assert_int_equal(heap.lazyfree_bytes, 60 * 1024);
	assert_int_equal(heap.threads, 3);
	assert_true(heap.purging_threads == HEAP_UNKNOWN);
	put_directory(fake, "4711/task");
	put_directory(fake, "4711/task/4711");
	put_directory(fake, "4711/task/4712");
	put_directory(fake, "4711/task/4713");
	put(fake, "4711/task/4711/comm", "server\n");
	put(fake, "4711/task/4712/comm", "jemalloc_bg_thd\n");
	put(fake, "4711/task/4713/comm", "jemalloc_bg_thd2\n");
	assert_int_equal(procfs_heap(&fake->procfs, &fake->key, &heap), 0);
	assert_int_equal(heap.purging_threads, 1);
}

static void pid_is_found_with_its_start_time(void **state)
{
	const struct fake *fake = *state;
	struct ps_proc_key key;

	assert_int_equal(procfs_find(&fake->procfs, PID, &key), 0);
	assert_int_equal(key.tgid, PID);
	assert_int_equal(key.start_ns, fake->key.start_ns - 4321);
	assert_int_equal(procfs_find(&fake->procfs, PID + 1, &key), -ESRCH);
}

static void unreadable_exe_is_empty(void **state)
{
	drop(*state, "4711/exe");
	assert_string_equal(identity_of(*state).exe, "");
}

static void long_exe_is_cut(void **state)
{
	char target[EVENT_EXE_BYTES + 100] = "/";
	struct event_process process;

	memset(target + 1, 'e', sizeof(target) - 2);
	put_exe(*state, target);
	process = identity_of(*state);
	assert_int_equal(strlen(process.exe), EVENT_EXE_BYTES - 1);
	assert_memory_equal(process.exe, target, EVENT_EXE_BYTES - 1);
}

/*
 * Which process it is.
 */

static void pid_of_another_start_time_is_another_process(void **state)
{
	struct fake *fake = *state;
	const uint64_t tick_ns = 1000000000 / fake->procfs.clock_ticks;

	fake->key.start_ns += tick_ns;
	assert_process_fails(fake, -ESRCH);
	assert_memory_fails(fake, -ESRCH);
	fake->key.start_ns -= 2 * tick_ns;
	assert_process_fails(fake, -ESRCH);
	assert_memory_fails(fake, -ESRCH);
}

static void any_time_within_the_tick_is_the_same_process(void **state)
{
	struct fake *fake = *state;
	const uint64_t tick_ns = 1000000000 / fake->procfs.clock_ticks;

	fake->key.start_ns = START_TICKS * tick_ns;
	(void)identity_of(fake);
	fake->key.start_ns += tick_ns - 1;
	(void)identity_of(fake);
}

static void process_that_is_gone_is_not_found(void **state)
{
	struct fake *fake = *state;

	fake->key.tgid = PID + 1;
	assert_process_fails(fake, -ESRCH);
	assert_memory_fails(fake, -ESRCH);
}

static void process_that_goes_meanwhile_is_not_found(void **state)
{
	drop(*state, "4711/comm");
	drop(*state, "4711/status");
	assert_process_fails(*state, -ESRCH);
	assert_memory_fails(*state, -ESRCH);
}

static void unreadable_file_is_its_own_error(void **state)
{
	drop(*state, "4711/comm");
	put_directory(*state, "4711/comm");
	assert_process_fails(*state, -EISDIR);
}

static void stat_without_a_start_time_is_invalid(void **state)
{
	static const char *const starts[] = {
		"", "x", "-1", "1x", "18446744073709551616", "99999999999999999999999999"};
	static const char *const lines[] = {"", "\n", "4711", "4711 (server)", "4711 (server) ",
		"4711 (server)S 1 2", "4711 (server S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18",
		"4711 (server) S 1 4711 4711 0 -1 4194560 100 99 23 98 11 12 13 14 20 0 3"};

	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
		put_stat(*state, "server", "100", "23", starts[i]);
		assert_process_fails(*state, -EINVAL);
		assert_memory_fails(*state, -EINVAL);
	}
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		put(*state, "4711/stat", lines[i]);
		assert_process_fails(*state, -EINVAL);
		assert_memory_fails(*state, -EINVAL);
	}
}

/* The first digits of a start time may be another one. */
static void start_time_that_was_cut_is_invalid(void **state)
{
	struct fake *fake = *state;
	char line[256];

	(void)snprintf(line, sizeof(line),
		"%d (server) S 1 4711 4711 0 -1 4194560 100 99 23 98 11 12 13 14 20 0 3 0 %llu",
		PID, START_TICKS);
	put(fake, "4711/stat", line);
	assert_process_fails(fake, -EINVAL);
}

/*
 * Memory.
 */

static void memory_is_in_bytes(void **state)
{
	struct event_memory memory = memory_of(*state, true);

	assert_int_equal(memory.rss_bytes, 800 * 1024);
	assert_int_equal(memory.anon_bytes, 500 * 1024);
	assert_int_equal(memory.swap_bytes, 40 * 1024);
	assert_int_equal(memory.lazyfree_bytes, 60 * 1024);
	assert_int_equal(memory.faults, 123);
}

static void lazily_freed_bytes_are_read_only_when_asked_for(void **state)
{
	assert_true(memory_of(*state, false).lazyfree_bytes == EVENT_UNKNOWN);
}

static void lazily_freed_bytes_may_be_unknown(void **state)
{
	put(*state, "4711/smaps_rollup", "Rss:                 800 kB\n");
	assert_true(memory_of(*state, true).lazyfree_bytes == EVENT_UNKNOWN);
	put(*state, "4711/smaps_rollup", "");
	assert_true(memory_of(*state, true).lazyfree_bytes == EVENT_UNKNOWN);
	drop(*state, "4711/smaps_rollup");
	assert_true(memory_of(*state, true).lazyfree_bytes == EVENT_UNKNOWN);
	assert_int_equal(memory_of(*state, true).rss_bytes, 800 * 1024);
}

/* A zombie has no memory, and says nothing about it. */
static void memory_that_is_not_told_is_unknown(void **state)
{
	struct event_memory memory;

	put(*state, "4711/status", "Name:\tserver\nState:\tZ (zombie)\nThreads:\t1\n");
	memory = memory_of(*state, false);
	assert_true(memory.rss_bytes == EVENT_UNKNOWN);
	assert_true(memory.anon_bytes == EVENT_UNKNOWN);
	assert_true(memory.swap_bytes == EVENT_UNKNOWN);
	assert_int_equal(memory.faults, 123);
	put(*state, "4711/status", "");
	assert_true(memory_of(*state, false).rss_bytes == EVENT_UNKNOWN);
}

static void memory_of_none_is_zero_and_known(void **state)
{
	put(*state, "4711/status", "VmRSS:\t       0 kB\nRssAnon:\t       0 kB\n");
	assert_int_equal(memory_of(*state, false).rss_bytes, 0);
	assert_int_equal(memory_of(*state, false).anon_bytes, 0);
}

static void only_whole_names_at_a_line_begin_count(void **state)
{
	put(*state, "4711/status",
		"Name:\tVmRSS: 1 kB\nXVmRSS:\t2 kB\n VmRSS:\t3 kB\nVmRSSX:\t4 kB\n\n\n"
		"VmRSS:\t5 kB\nVmRSS:\t6 kB\n");
	assert_int_equal(memory_of(*state, false).rss_bytes, 5 * 1024);
}

static void numbers_that_are_none_are_unknown(void **state)
{
	static const char *const values[] = {"", "\n", " kB\n", "x kB\n", "-1 kB\n", "1x kB\n",
		"18014398509481984 kB\n", "18446744073709551616 kB\n",
		"99999999999999999999999 kB\n"};
	char status[128];

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		(void)snprintf(status, sizeof(status), "VmRSS:\t%s", values[i]);
		put(*state, "4711/status", status);
		assert_true(memory_of(*state, false).rss_bytes == EVENT_UNKNOWN);
	}
}

static void largest_number_that_fits_is_known(void **state)
{
	put(*state, "4711/status", "VmRSS:\t18014398509481983 kB\n");
	assert_true(memory_of(*state, false).rss_bytes == UINT64_MAX - 1023);
}

static void fault_counts_that_are_none_are_unknown(void **state)
{
	static const char *const counts[] = {"", "x", "-1", "1x", "18446744073709551616"};
	char start[32];

	(void)snprintf(start, sizeof(start), "%llu", START_TICKS);
	for (size_t i = 1; i < sizeof(counts) / sizeof(counts[0]); i++) {
		put_stat(*state, "server", counts[i], "23", start);
		assert_true(memory_of(*state, false).faults == EVENT_UNKNOWN);
		put_stat(*state, "server", "100", counts[i], start);
		assert_true(memory_of(*state, false).faults == EVENT_UNKNOWN);
	}
}

/* The file is cut where the buffer ends, perhaps inside a number; a part of a number is none. */
static void number_that_was_cut_is_unknown(void **state)
{
	static char status[3 * 8192];

	for (size_t cut = 1; cut < 20; cut++) {
		size_t groups = 8191 - cut;
		int length;
		uint64_t rss_bytes;

		memset(status, '1', groups);
		memcpy(status, "Groups:", 7);
		length = snprintf(
			status + groups, sizeof(status) - groups, "\nVmRSS:\t 12345678 kB\n");
		put_bytes(*state, "4711/status", status, groups + length);
		rss_bytes = memory_of(*state, false).rss_bytes;
		assert_true(rss_bytes == (cut < 18 ? EVENT_UNKNOWN : 12345678 * 1024ull));
	}
}

/*
 * The observer itself, and the root.
 */

static void own_memory_is_the_second_number_of_statm(void **state)
{
	const struct fake *fake = *state;

	put(fake, "self/statm", "1000 300 200 1 0 50 0\n");
	assert_int_equal(
		procfs_self_rss_bytes(&fake->procfs), 300 * (uint64_t)sysconf(_SC_PAGESIZE));
}

static void the_account_of_programs_is_kept_or_not(void **state)
{
	static const struct {
		const char *text;
		bool accounts;
	} examples[] = {
		{"0\n", false}, {"1\n", true}, {"2\n", true}, {"", false}, {"yes\n", false}};
	const struct fake *fake = *state;

	assert_false(procfs_accounts_bpf(&fake->procfs));
	put_directory(fake, "sys");
	put_directory(fake, "sys/kernel");
	for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
		put(fake, "sys/kernel/bpf_stats_enabled", examples[i].text);
		assert_true(procfs_accounts_bpf(&fake->procfs) == examples[i].accounts);
	}
}

static void own_memory_may_be_unknown(void **state)
{
	static const char *const texts[] = {"", "\n", "1000", "1000 \n", "1000 x 200\n",
		"1000 -3 200\n", "1000 99999999999999999999999 2\n"};
	const struct fake *fake = *state;

	assert_true(procfs_self_rss_bytes(&fake->procfs) == EVENT_UNKNOWN);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		put(fake, "self/statm", texts[i]);
		assert_true(procfs_self_rss_bytes(&fake->procfs) == EVENT_UNKNOWN);
	}
}

static void missing_root_is_an_error(void **state)
{
	struct procfs procfs = {.fd = -7};

	assert_int_equal(procfs_open("/nonexistent/proc", &procfs), -ENOENT);
	assert_int_equal(procfs_open("/dev/null", &procfs), -ENOTDIR);
	assert_int_equal(procfs.fd, -7);
}

static void closing_twice_is_harmless(void **state)
{
	struct procfs procfs;

	assert_int_equal(procfs_open("/", &procfs), 0);
	procfs_close(&procfs);
	assert_int_equal(procfs.fd, -1);
	procfs_close(&procfs);
}

/*
 * The real /proc.
 */

static uint64_t own_start_ticks(void)
{
	unsigned long long ticks = 0;
	char line[1024] = {};
	FILE *file = fopen("/proc/self/stat", "re");

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

static void real_proc_tells_of_the_test_itself(void **state)
{
	const size_t bytes = 16u << 20;
	struct event_memory before, after;
	struct event_process process;
	char exe[EVENT_EXE_BYTES] = {};
	struct ps_proc_key key;
	struct procfs procfs;
	char *pages;

	assert_int_equal(procfs_open("/proc", &procfs), 0);
	key = (struct ps_proc_key){.tgid = getpid(),
		.start_ns = own_start_ticks() * (1000000000 / procfs.clock_ticks)};
	assert_int_equal(procfs_process(&procfs, &key, &process), 0);
	assert_string_equal(process.comm, "test_procfs");
	assert_true(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	assert_string_equal(process.exe, exe);

	assert_int_equal(procfs_memory(&procfs, &key, true, &before), 0);
	assert_in_range(before.anon_bytes, 1, before.rss_bytes);
	pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(pages, MAP_FAILED);
	memset(pages, 1, bytes);
	/* The kernel adds its counts up loosely, so half of what was done must be seen. */
	assert_int_equal(procfs_memory(&procfs, &key, true, &after), 0);
	assert_true(after.rss_bytes >= before.rss_bytes + bytes / 2);
	assert_true(after.anon_bytes >= before.anon_bytes + bytes / 2);
	assert_true(after.faults > before.faults);
	assert_true(procfs_self_rss_bytes(&procfs) >= bytes / 2);
	assert_int_equal(madvise(pages, bytes, MADV_FREE), 0);
	assert_int_equal(procfs_memory(&procfs, &key, true, &after), 0);
	assert_true(after.lazyfree_bytes != EVENT_UNKNOWN);
	assert_true(after.lazyfree_bytes >= bytes / 2);
	assert_int_equal(munmap(pages, bytes), 0);

	key.start_ns = 0;
	assert_int_equal(procfs_memory(&procfs, &key, true, &after), -ESRCH);
	procfs_close(&procfs);
}

/* The child that jemalloc is calibrated in, for example. */
static void own_processor_time_includes_children(void **state)
{
	uint64_t before_ns = clock_cpu_ns();
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		while (clock_ns(CLOCK_PROCESS_CPUTIME_ID) < 50 * NS_PER_MS)
			;
		_exit(0);
	}
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_true(clock_cpu_ns() - before_ns >= 40 * NS_PER_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(process_is_comm_and_exe),
		TEST(comm_may_hold_anything),
		TEST(comm_may_be_empty_or_without_line_end),
		TEST(long_comm_is_cut),
		TEST(group_is_of_the_unified_hierarchy_or_systemds),
		TEST(heap_is_what_smaps_and_tasks_tell),
		TEST(pid_is_found_with_its_start_time),
		TEST(unreadable_exe_is_empty),
		TEST(long_exe_is_cut),
		TEST(pid_of_another_start_time_is_another_process),
		TEST(any_time_within_the_tick_is_the_same_process),
		TEST(process_that_is_gone_is_not_found),
		TEST(process_that_goes_meanwhile_is_not_found),
		TEST(unreadable_file_is_its_own_error),
		TEST(stat_without_a_start_time_is_invalid),
		TEST(start_time_that_was_cut_is_invalid),
		TEST(memory_is_in_bytes),
		TEST(lazily_freed_bytes_are_read_only_when_asked_for),
		TEST(lazily_freed_bytes_may_be_unknown),
		TEST(memory_that_is_not_told_is_unknown),
		TEST(memory_of_none_is_zero_and_known),
		TEST(only_whole_names_at_a_line_begin_count),
		TEST(numbers_that_are_none_are_unknown),
		TEST(largest_number_that_fits_is_known),
		TEST(fault_counts_that_are_none_are_unknown),
		TEST(number_that_was_cut_is_unknown),
		TEST(own_memory_is_the_second_number_of_statm),
		TEST(the_account_of_programs_is_kept_or_not),
		TEST(own_memory_may_be_unknown),
		cmocka_unit_test(missing_root_is_an_error),
		cmocka_unit_test(closing_twice_is_harmless),
		cmocka_unit_test(real_proc_tells_of_the_test_itself),
		cmocka_unit_test(own_processor_time_includes_children),
#undef TEST
	};

	return cmocka_run_group_tests_name("procfs", tests, NULL, NULL);
}
