/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A follower's cursor: what is saved is loaded, what is damaged is told, and a crash leaves one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pagestay/edge/cursor.h"

#define TODAY "pagestay-2026-01-02.jsonl"

static char directory[64], path[128];

/* In which order the disk is asked: a file's sync, the rename, a directory's sync. */
static char order[16];
static int rename_error;

int fsync(int fd);
int fsync(int fd)
{
	struct stat stat;

	assert_int_equal(fstat(fd, &stat), 0);
	if (strlen(order) < sizeof(order) - 1)
		(void)strcat(order, S_ISDIR(stat.st_mode) ? "d" : "f");
	return (int)syscall(SYS_fsync, fd);
}

int rename(const char *from, const char *to)
{
	if (strlen(order) < sizeof(order) - 1)
		(void)strcat(order, "r");
	errno = rename_error;
	return rename_error ? -1 : (int)syscall(SYS_renameat2, -100, from, -100, to, 0);
}

static int set_up(void **state)
{
	(void)strcpy(directory, "/tmp/pagestay-cursor-XXXXXX");
	assert_non_null(mkdtemp(directory));
	(void)snprintf(path, sizeof(path), "%s/cursor", directory);
	order[0] = '\0';
	rename_error = 0;
	return 0;
}

static int tear_down(void **state)
{
	char temporary[160];

	(void)snprintf(temporary, sizeof(temporary), "%s.tmp", path);
	(void)unlink(path);
	(void)unlink(temporary);
	return rmdir(directory);
}

static struct cursor some(uint64_t offset)
{
	struct cursor cursor = {.name = TODAY ".3", .device = 42, .inode = 7, .offset = offset};

	return cursor;
}

static void write_file(const char *bytes, size_t length)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
}

static size_t read_file(char *bytes, size_t room)
{
	FILE *file = fopen(path, "r");
	size_t length;

	assert_non_null(file);
	length = fread(bytes, 1, room, file);
	(void)fclose(file);
	return length;
}

static void assert_start(const char *words)
{
	struct cursor cursor = some(1);
	struct diag diag = {};

	assert_int_equal(cursor_load(path, TODAY, &cursor, &diag), 1);
	assert_string_equal(cursor.name, TODAY);
	assert_int_equal(cursor.device, 0);
	assert_int_equal(cursor.inode, 0);
	assert_int_equal(cursor.offset, 0);
	if (!strstr(diag.text, words))
		fail_msg("%s", diag.text);
}

static void what_is_saved_is_loaded(void **state)
{
	const struct cursor saved = {.name = TODAY, .inode = UINT64_MAX, .offset = UINT64_MAX};
	struct cursor cursor = {};
	struct diag diag = {};

	assert_int_equal(cursor_save(path, &saved), 0);
	assert_int_equal(cursor_load(path, "other", &cursor, &diag), 0);
	assert_memory_equal(&cursor, &saved, sizeof(cursor));
	assert_string_equal(diag.text, "");
}

static void the_file_is_synced_before_it_is_renamed(void **state)
{
	const struct cursor cursor = some(5);

	assert_int_equal(cursor_save(path, &cursor), 0);
	assert_string_equal(order, "frd");
}

static void a_save_that_fails_leaves_the_old_one(void **state)
{
	struct cursor cursor = some(5), next = some(6);
	struct diag diag = {};
	char temporary[160];

	assert_int_equal(cursor_save(path, &cursor), 0);
	rename_error = EROFS;
	assert_int_equal(cursor_save(path, &next), -EROFS);
	(void)snprintf(temporary, sizeof(temporary), "%s.tmp", path);
	assert_int_equal(access(temporary, F_OK), -1);
	assert_int_equal(cursor_load(path, TODAY, &cursor, &diag), 0);
	assert_int_equal(cursor.offset, 5);
}

static void no_cursor_is_todays_beginning(void **state)
{
	assert_start("there is no cursor yet; reading from the beginning of " TODAY);
}

/* Each byte changed, each length cut, and something behind. */
static void a_damaged_cursor_is_todays_beginning(void **state)
{
	const struct cursor cursor = some(123456);
	char bytes[512];
	size_t length;

	assert_int_equal(cursor_save(path, &cursor), 0);
	length = read_file(bytes, sizeof(bytes) - 1);
	assert_in_range(length, 40, 200);
	for (size_t i = 0; i < length; i++) {
		bytes[i] ^= 1;
		write_file(bytes, length);
		assert_start("the cursor is damaged");
		bytes[i] ^= 1;
		write_file(bytes, i);
		assert_start("the cursor is damaged");
	}
	bytes[length] = '\n';
	write_file(bytes, length + 1);
	assert_start("the cursor is damaged");
	bytes[length] = '\0';
	write_file(bytes, length + 1);
	assert_start("the cursor is damaged");
	memset(bytes, 'x', sizeof(bytes));
	write_file(bytes, sizeof(bytes));
	assert_start("the cursor is damaged");
}

static void what_cannot_be_read_is_an_error(void **state)
{
	struct cursor cursor = some(9);
	struct diag diag = {};

	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_int_equal(cursor_load(path, TODAY, &cursor, &diag), -ELOOP);
	assert_int_equal(cursor.offset, 9);
	assert_non_null(strstr(diag.text, "cannot read the cursor"));
}

static void names_with_blanks_are_refused(void **state)
{
	static const char *const names[] = {"", "a b", "a\n", "../a", "\x80"};
	struct cursor cursor = {};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)strcpy(cursor.name, names[i]);
		assert_int_equal(cursor_save(path, &cursor), -EINVAL);
	}
	memset(cursor.name, 'a', sizeof(cursor.name));
	assert_int_equal(cursor_save(path, &cursor), -EINVAL);
	assert_int_equal(access(path, F_OK), -1);
}

static void the_offset_is_of_one_file(void **state)
{
	const struct cursor cursor = some(100);
	struct stat file = {.st_dev = 42, .st_ino = 7, .st_size = 100};

	assert_int_equal(cursor_offset_in(&cursor, &file), 100);
	file.st_size = 99;
	assert_int_equal(cursor_offset_in(&cursor, &file), 0);
	file.st_size = 200;
	assert_int_equal(cursor_offset_in(&cursor, &file), 100);
	file.st_ino = 8;
	assert_int_equal(cursor_offset_in(&cursor, &file), 0);
	file.st_ino = 7;
	file.st_dev = 1;
	assert_int_equal(cursor_offset_in(&cursor, &file), 0);
}

/* They change over reboots. */
static void no_device_is_saved(void **state)
{
	const struct cursor saved = some(100);
	const struct stat file = {.st_dev = 1, .st_ino = 7, .st_size = 100};
	struct cursor cursor = {};
	struct diag diag = {};

	assert_int_equal(cursor_save(path, &saved), 0);
	assert_int_equal(cursor_load(path, TODAY, &cursor, &diag), 0);
	assert_int_equal(cursor_offset_in(&cursor, &file), 100);
}

/* A child saves rising offsets and tells each that was saved; whenever it is killed, one is there.
 */
static void a_kill_leaves_a_cursor(void **state)
{
	uint64_t told = 0;

	for (int round = 0; round < 20; round++) {
		struct cursor cursor = {};
		struct diag diag = {};
		uint64_t offset;
		int pipes[2];
		pid_t child;

		assert_int_equal(pipe(pipes), 0);
		child = fork();
		assert_true(child >= 0);
		for (cursor = some(told); child == 0;) {
			cursor.offset++;
			if (cursor_save(path, &cursor) ||
				write(pipes[1], &cursor.offset, sizeof(cursor.offset)) < 0)
				_exit(1);
		}
		(void)close(pipes[1]);
		for (int i = 0; i < 1 + round; i++)
			if (read(pipes[0], &offset, sizeof(offset)) == sizeof(offset))
				told = offset;
		(void)usleep((useconds_t)(37 * round));
		(void)kill(child, SIGKILL);
		(void)waitpid(child, NULL, 0);
		while (read(pipes[0], &offset, sizeof(offset)) == sizeof(offset))
			told = offset;
		(void)close(pipes[0]);
		assert_int_equal(cursor_load(path, TODAY, &cursor, &diag), 0);
		assert_in_range(cursor.offset, told, told + 1);
	}
	assert_true(told >= 200);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_is_saved_is_loaded),
		TEST(the_file_is_synced_before_it_is_renamed),
		TEST(a_save_that_fails_leaves_the_old_one),
		TEST(no_cursor_is_todays_beginning),
		TEST(a_damaged_cursor_is_todays_beginning),
		TEST(what_cannot_be_read_is_an_error),
		TEST(names_with_blanks_are_refused),
		TEST(the_offset_is_of_one_file),
		TEST(no_device_is_saved),
		TEST(a_kill_leaves_a_cursor),
	};

	return cmocka_run_group_tests_name("cursor", tests, NULL, NULL);
}
