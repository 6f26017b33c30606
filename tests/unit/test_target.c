/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The memory of children that wait, read from outside: bytes that are there, pages that are not and
 * stay so, files that are mapped, and memory that goes away.
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

#include "pagestay/edge/target.h"

#define AREA_PAGES 8

/* What a child has, at the same addresses as its parent. */
struct fixture {
	struct procfs procfs;
	size_t page_bytes;
	char *area;       /* AREA_PAGES; the child writes to the even ones */
	char *unreadable; /* a page that the child wrote to and then closed */
	char *file;       /* a page of the file below */
	char file_path[32];
	int pipe_fd; /* a byte makes the child go on */
	pid_t child;
};

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

/* Of the mapping of the child that begins at `from`: the rest of it may still be on its way. */
static uint64_t resident_bytes(pid_t pid, uintptr_t from)
{
	unsigned long long begin, kilobytes = 0;
	bool is_ours = false, seen = false;
	char path[64], line[256];
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	file = fopen(path, "re");
	assert_non_null(file);
	while (!seen && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%llx-", &begin) == 1 && strchr(line, '-'))
			is_ours = begin == from;
		seen = is_ours && sscanf(line, "Rss: %llu kB", &kilobytes) == 1;
	}
	assert_int_equal(fclose(file), 0);
	assert_true(seen);
	return kilobytes * 1024;
}

static char byte_of(const struct fixture *fixture, size_t offset)
{
	return (char)(1 + offset % 251);
}

static void child_prepare(const struct fixture *fixture)
{
	for (size_t page = 0; page < AREA_PAGES; page += 2)
		for (size_t i = 0; i < fixture->page_bytes; i++)
			fixture->area[page * fixture->page_bytes + i] =
				byte_of(fixture, page * fixture->page_bytes + i);
	fixture->unreadable[0] = 1;
	(void)mprotect(fixture->unreadable, fixture->page_bytes, PROT_NONE);
}

/* Waits for a byte, then becomes another program, or ends. */
static void child_run(const struct fixture *fixture, int ready_fd, int go_fd, bool execs)
{
	char byte;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	child_prepare(fixture);
	if (write(ready_fd, "", 1) != 1 || read(go_fd, &byte, 1) != 1)
		_exit(1);
	if (execs)
		(void)execl("/bin/sleep", "sleep", "60", NULL);
	_exit(0);
}

static void child_start(struct fixture *fixture, bool execs)
{
	int ready[2], go[2];
	char byte;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	fixture->child = fork();
	assert_true(fixture->child >= 0);
	if (fixture->child == 0)
		child_run(fixture, ready[1], go[0], execs);
	(void)close(ready[1]);
	(void)close(go[0]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	(void)close(ready[0]);
	fixture->pipe_fd = go[1];
}

static void child_end(struct fixture *fixture)
{
	assert_int_equal(kill(fixture->child, SIGKILL), 0);
	assert_int_equal(waitpid(fixture->child, NULL, 0), fixture->child);
	(void)close(fixture->pipe_fd);
}

static void map_file(struct fixture *fixture)
{
	int fd;

	(void)strcpy(fixture->file_path, "/tmp/test_target.XXXXXX");
	fd = mkostemp(fixture->file_path, O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, fixture->page_bytes), 0);
	assert_int_equal(write(fd, "mapped", 6), 6);
	fixture->file = mmap(NULL, fixture->page_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(fixture->file, MAP_FAILED);
	(void)close(fd);
}

static void *map_area(size_t bytes)
{
	void *area = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(area, MAP_FAILED);
	return area;
}

static int setup(void **state)
{
	static struct fixture fixture;
	char *area;

	assert_int_equal(procfs_open("/proc", &fixture.procfs), 0);
	fixture.page_bytes = sysconf(_SC_PAGESIZE);
	/* Nothing merges with it. */
	area = map_area((AREA_PAGES + 4) * fixture.page_bytes);
	assert_int_equal(mprotect(area, fixture.page_bytes, PROT_NONE), 0);
	fixture.area = area + fixture.page_bytes;
	area = fixture.area + AREA_PAGES * fixture.page_bytes;
	assert_int_equal(mprotect(area, fixture.page_bytes, PROT_NONE), 0);
	fixture.unreadable = area + fixture.page_bytes;
	map_file(&fixture);
	*state = &fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	(void)unlink(fixture->file_path);
	procfs_close(&fixture->procfs);
	return 0;
}

static struct target *open_child(struct fixture *fixture)
{
	const struct ps_proc_key key = key_of(fixture, fixture->child);
	struct target *target = NULL;
	struct diag diag = {};
	int error = target_open(&fixture->procfs, &key, &target, &diag);

	if (error)
		fail_msg("target_open: %d, %s", error, diag.text);
	assert_memory_equal(target_key(target), &key, sizeof(key));
	return target;
}

static void mappings_are_as_maps_tells_them(void **state)
{
	struct fixture *fixture = *state;
	const struct target_map *map, *maps;
	struct target *target;
	struct stat status;
	size_t count;

	child_start(fixture, false);
	target = open_child(fixture);
	assert_int_equal(target_page_bytes(target), fixture->page_bytes);
	map = target_map_at(target, (uintptr_t)fixture->area + 1);
	assert_non_null(map);
	assert_int_equal(map->from, (uintptr_t)fixture->area);
	assert_int_equal(map->to - map->from, AREA_PAGES * fixture->page_bytes);
	assert_true(map->readable && map->writable && !map->executable && !map->shared);
	assert_int_equal(map->inode, 0);
	assert_string_equal(map->path, "");
	map = target_map_at(target, (uintptr_t)fixture->file);
	assert_non_null(map);
	assert_int_equal(stat(fixture->file_path, &status), 0);
	assert_int_equal(map->inode, status.st_ino);
	assert_int_equal(map->device, status.st_dev);
	assert_string_equal(map->path, fixture->file_path);
	assert_true(map->readable && !map->writable);
	assert_null(target_map_at(target, 0));
	assert_null(target_map_at(target, UINT64_MAX));
	maps = target_maps(target, &count);
	for (size_t i = 1; i < count; i++)
		assert_true(maps[i - 1].to <= maps[i].from);
	target_close(target);
	child_end(fixture);
}

static void bytes_of_present_pages_are_read(void **state)
{
	struct fixture *fixture = *state;
	const uintptr_t area = (uintptr_t)fixture->area;
	struct target *target;
	char bytes[64];

	child_start(fixture, false);
	target = open_child(fixture);
	assert_int_equal(target_read(target, area + 2 * fixture->page_bytes + 5, bytes, 64), 0);
	for (size_t i = 0; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], byte_of(fixture, 2 * fixture->page_bytes + 5 + i));
	target_close(target);
	child_end(fixture);
}

static void absent_pages_are_not_read_and_stay_absent(void **state)
{
	struct fixture *fixture = *state;
	const uintptr_t area = (uintptr_t)fixture->area;
	const uint64_t resident = AREA_PAGES / 2 * fixture->page_bytes;
	uint8_t present[AREA_PAGES];
	struct target *target;
	char bytes[64];

	child_start(fixture, false);
	target = open_child(fixture);
	assert_int_equal(resident_bytes(fixture->child, area), resident);
	assert_int_equal(
		target_read(target, area + fixture->page_bytes, bytes, sizeof(bytes)), -ENODATA);
	/* One of two pages is enough, whichever. */
	assert_int_equal(target_read(target, area + fixture->page_bytes - 8, bytes, 16), -ENODATA);
	assert_int_equal(
		target_read(target, area + 2 * fixture->page_bytes - 8, bytes, 16), -ENODATA);
	assert_int_equal(target_present(target, area, AREA_PAGES, present), 0);
	for (size_t i = 0; i < AREA_PAGES; i++)
		assert_int_equal(present[i], i % 2 == 0);
	assert_int_equal(resident_bytes(fixture->child, area), resident);
	target_close(target);
	child_end(fixture);
}

static void what_is_not_readable_is_refused(void **state)
{
	struct fixture *fixture = *state;
	const uintptr_t area = (uintptr_t)fixture->area;
	uint8_t present[2];
	struct target *target;
	char bytes[16];

	child_start(fixture, false);
	target = open_child(fixture);
	assert_int_equal(target_read(target, 0, bytes, 16), -EFAULT);
	assert_int_equal(target_read(target, (uintptr_t)fixture->unreadable, bytes, 16), -EFAULT);
	assert_int_equal(target_read(target, area - 8, bytes, 16), -EFAULT);
	assert_int_equal(target_read(target, UINT64_MAX - 4, bytes, 16), -EFAULT);
	assert_int_equal(target_read(target, INT64_MAX, bytes, 16), -EFAULT);
	assert_int_equal(target_read(target, area, bytes, 0), 0);
	assert_int_equal(target_present(target, area + 1, 1, present), -EINVAL);
	assert_int_equal(target_present(target, 1ull << 62, 2, present), 0);
	assert_int_equal(present[0] + present[1], 0);
	target_close(target);
	child_end(fixture);
}

static void mapped_files_open_also_when_deleted(void **state)
{
	struct fixture *fixture = *state;
	const struct target_map *map;
	struct target *target;
	char bytes[6];
	int fd = -1;

	child_start(fixture, false);
	target = open_child(fixture);
	map = target_map_at(target, (uintptr_t)fixture->file);
	assert_int_equal(target_open_file(target, map, &fd), 0);
	assert_int_equal(pread(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	assert_memory_equal(bytes, "mapped", sizeof(bytes));
	(void)close(fd);
	assert_int_equal(
		target_open_file(target, target_map_at(target, (uintptr_t)fixture->area), &fd),
		-ENOENT);
	assert_int_equal(unlink(fixture->file_path), 0);
	assert_int_equal(target_refresh(target), 0);
	map = target_map_at(target, (uintptr_t)fixture->file);
	if (target_open_file(target, map, &fd) == -ENOENT) {
		print_message("not tried: deleted files, which take CAP_CHECKPOINT_RESTORE\n");
	} else {
		assert_int_equal(pread(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
		assert_memory_equal(bytes, "mapped", sizeof(bytes));
		(void)close(fd);
	}
	target_close(target);
	child_end(fixture);
}

static void expect_gone(struct fixture *fixture, struct target *target)
{
	const uintptr_t area = (uintptr_t)fixture->area;
	const struct target_map *map = target_map_at(target, (uintptr_t)fixture->file);
	uint8_t present[1];
	char bytes[16];
	int fd = -1;

	assert_int_equal(target_read(target, area, bytes, sizeof(bytes)), -ESRCH);
	assert_int_equal(target_present(target, area, 1, present), -ESRCH);
	assert_int_equal(target_open_file(target, map, &fd), -ESRCH);
	assert_int_equal(target_refresh(target), -ESRCH);
}

static void an_exec_ends_the_memory(void **state)
{
	struct fixture *fixture = *state;
	struct target *target;
	char path[64], exe[64] = {};

	child_start(fixture, true);
	target = open_child(fixture);
	assert_int_equal(write(fixture->pipe_fd, "", 1), 1);
	(void)snprintf(path, sizeof(path), "/proc/%d/comm", fixture->child);
	for (int tries = 0; tries < 2000 && strncmp(exe, "sleep", 5) != 0; tries++) {
		FILE *file = fopen(path, "re");

		assert_non_null(file);
		assert_non_null(fgets(exe, sizeof(exe), file));
		assert_int_equal(fclose(file), 0);
		(void)usleep(1000);
	}
	assert_memory_equal(exe, "sleep", 5);
	expect_gone(fixture, target);
	target_close(target);
	child_end(fixture);
}

static void an_exit_ends_the_memory(void **state)
{
	struct fixture *fixture = *state;
	struct ps_proc_key other = key_of(fixture, getpid());
	struct target *target;
	struct ps_proc_key key;
	struct diag diag = {};
	siginfo_t info;

	child_start(fixture, false);
	key = key_of(fixture, fixture->child);
	target = open_child(fixture);
	assert_int_equal(write(fixture->pipe_fd, "", 1), 1);
	assert_int_equal(waitid(P_PID, fixture->child, &info, WEXITED | WNOWAIT), 0);
	expect_gone(fixture, target);
	target_close(target);
	/* A zombie has no memory, and what was waited for is no process. */
	assert_int_equal(target_open(&fixture->procfs, &key, &target, &diag), -ENODATA);
	assert_int_equal(waitpid(fixture->child, NULL, 0), fixture->child);
	assert_int_equal(target_open(&fixture->procfs, &key, &target, &diag), -ESRCH);
	other.start_ns -= 1000000000;
	assert_int_equal(target_open(&fixture->procfs, &other, &target, &diag), -ESRCH);
	(void)close(fixture->pipe_fd);
}

/*
 * A process of a forged /proc, whose files say what no kernel would.
 */

static void write_file(const char *directory, const char *name, const void *bytes, size_t length)
{
	char path[128];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/7/%s", directory, name);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
}

static int open_forged(const char *maps, const uint32_t *words, size_t words_bytes)
{
	static const char *const names[] = {"stat", "maps", "auxv", "mem", "pagemap"};
	static const char stat_line[] =
		"7 (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 100 0 0 0 0 0 0 0 0\n";
	const struct ps_proc_key key = {
		.tgid = 7, .start_ns = 100 * (1000000000ull / sysconf(_SC_CLK_TCK))};
	char directory[] = "/tmp/test_target.XXXXXX", path[128];
	struct target *target = NULL;
	struct procfs procfs;
	struct diag diag = {};
	int error;

	assert_non_null(mkdtemp(directory));
	(void)snprintf(path, sizeof(path), "%s/7", directory);
	assert_int_equal(mkdir(path, 0700), 0);
	write_file(directory, "stat", stat_line, sizeof(stat_line) - 1);
	write_file(directory, "maps", maps, strlen(maps));
	write_file(directory, "auxv", words, words_bytes);
	write_file(directory, "mem", "", 0);
	write_file(directory, "pagemap", "", 0);
	assert_int_equal(procfs_open(directory, &procfs), 0);
	error = target_open(&procfs, &key, &target, &diag);
	assert_true(error == 0 || diag.text[0] != '\0');
	target_close(target);
	procfs_close(&procfs);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/7/%s", directory, names[i]);
		assert_int_equal(unlink(path), 0);
	}
	(void)snprintf(path, sizeof(path), "%s/7", directory);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(directory), 0);
	return error;
}

/* AT_PAGESZ, 4096, AT_NULL, 0: in words of eight bytes, and of four. */
static const uint32_t wide_words[] = {6, 0, 4096, 0, 0, 0, 0, 0};
static const uint32_t narrow_words[] = {6, 4096, 0, 0};

static void a_32_bit_process_is_not_supported(void **state)
{
	static const char maps[] = "10000-20000 rw-p 00000000 00:00 0\n";

	(void)state;
	assert_int_equal(open_forged(maps, wide_words, sizeof(wide_words)), 0);
	assert_int_equal(open_forged(maps, narrow_words, sizeof(narrow_words)), -ENOTSUP);
	assert_int_equal(open_forged(maps, wide_words, 0), -ENODATA);
}

static void forged_maps_are_refused(void **state)
{
	static const char *const forged[] = {"20000-10000 rw-p 0 00:00 0\n", "10000-20000 rw\n",
		"-10000-20000 rw-p 0 00:00 0\n", "10001-20000 rw-p 0 00:00 0\n",
		"10000-1ffffffffffffffff rw-p 0 00:00 0\n", "10000-20000 rw-p z 00:00 0\n", "\n"};

	(void)state;
	for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++)
		assert_int_equal(open_forged(forged[i], wide_words, sizeof(wide_words)), -EINVAL);
	assert_int_equal(open_forged("", wide_words, sizeof(wide_words)), -ENODATA);
}

static void too_many_mappings_are_refused(void **state)
{
	const size_t count = 262145, line_bytes = 48;
	char *maps = malloc(count * line_bytes), *end = maps;

	(void)state;
	assert_non_null(maps);
	for (size_t i = 1; i < count; i++)
		end += snprintf(
			end, line_bytes, "%zx-%zx rw-p 0 00:00 0\n", i << 16, (i + 1) << 16);
	assert_int_equal(open_forged(maps, wide_words, sizeof(wide_words)), 0);
	(void)snprintf(end, line_bytes, "%zx-%zx rw-p 0 00:00 0\n", count << 16, (count + 1) << 16);
	assert_int_equal(open_forged(maps, wide_words, sizeof(wide_words)), -E2BIG);
	free(maps);
}

static void too_long_paths_are_refused(void **state)
{
	const size_t count = 5000, path_bytes = 16000;
	char *maps = malloc(count * (path_bytes + 64)), *end = maps;

	(void)state;
	assert_non_null(maps);
	for (size_t i = 1; i < count; i++) {
		end += sprintf(end, "%zx-%zx rw-p 0 00:00 1 /%04zu", i << 16, (i + 1) << 16, i);
		end = (char *)memset(end, 'x', path_bytes) + path_bytes;
		*end++ = '\n';
	}
	*end = '\0';
	assert_int_equal(open_forged(maps, wide_words, sizeof(wide_words)), -E2BIG);
	free(maps);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mappings_are_as_maps_tells_them),
		cmocka_unit_test(bytes_of_present_pages_are_read),
		cmocka_unit_test(absent_pages_are_not_read_and_stay_absent),
		cmocka_unit_test(what_is_not_readable_is_refused),
		cmocka_unit_test(mapped_files_open_also_when_deleted),
		cmocka_unit_test(an_exec_ends_the_memory),
		cmocka_unit_test(an_exit_ends_the_memory),
		cmocka_unit_test(a_32_bit_process_is_not_supported),
		cmocka_unit_test(forged_maps_are_refused),
		cmocka_unit_test(too_many_mappings_are_refused),
		cmocka_unit_test(too_long_paths_are_refused),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
