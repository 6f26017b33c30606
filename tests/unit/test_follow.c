/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A follower of rotating files: which lines come, once and in order, whatever becomes of the files;
 * what cannot come is said. At the end random histories of the real writer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "directory.h"
#include "pagestay/edge/cursor.h"
#include "pagestay/edge/follow.h"
#include "pagestay/edge/rotate.h"
#include "seeded.h"

#define S    1000000000ull
#define HOUR (3600 * S)
#define DAY  (24 * HOUR)
#define NOON 1767355200ull /* 2026-01-02 12:00:00 UTC */

#define YESTERDAY "pagestay-2026-01-01.jsonl"
#define TODAY     "pagestay-2026-01-02.jsonl"
#define TOMORROW  "pagestay-2026-01-03.jsonl"

#define MIB ((size_t)1 << 20)

struct world {
	char root[64], directory[80], cursor[80];
	struct follow_options options;
	struct follower *follower;
	uint64_t wall_ns;
	char *text; /* what came since it was last asserted */
	size_t length;
	unsigned said, said_damaged;
	char last[512];
};

static struct world world;

/*
 * What happens while the follower looks around: a file is stated for the `after`th time from now
 * on, and something happens before or behind that.
 */
static struct {
	const char *name;
	unsigned after;
	bool is_before;
	void (*happens)(void);
} meanwhile;

static unsigned syncs;

int fsync(int fd);
int fsync(int fd)
{
	syncs++;
	return 0;
}

int fstatat(int fd, const char *restrict name, struct stat *restrict stat, int flags)
{
	bool is_now = meanwhile.name && strcmp(name, meanwhile.name) == 0 && --meanwhile.after == 0;
	int result;

	if (is_now)
		meanwhile.name = NULL;
	if (is_now && meanwhile.is_before)
		meanwhile.happens();
	result = (int)syscall(SYS_newfstatat, fd, name, stat, flags);
	if (is_now && !meanwhile.is_before)
		meanwhile.happens();
	return result;
}

static uint64_t world_wall(void *unused)
{
	return world.wall_ns;
}

static void say(void *unused, const char *text)
{
	world.said++;
	world.said_damaged += strstr(text, ".gz is damaged behind byte ") != NULL;
	(void)snprintf(world.last, sizeof(world.last), "%s", text);
}

static const char *path_of(const char *name)
{
	static char paths[2][256];
	static unsigned turn;
	char *path = paths[turn++ % 2];

	(void)snprintf(path, sizeof(paths[0]), "%s/%s", world.directory, name);
	return path;
}

/*
 * Files.
 */

static void put(const char *name, const char *mode, const char *bytes, size_t length)
{
	FILE *file = fopen(path_of(name), mode);

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
}

static void make(const char *name, const char *text)
{
	put(name, "w", text, strlen(text));
}

static void append(const char *name, const char *text)
{
	put(name, "a", text, strlen(text));
}

static void make_gzip(const char *name, const char *bytes, size_t length)
{
	gzFile file = gzopen(path_of(name), "wb1");

	assert_non_null(file);
	assert_int_equal(gzwrite(file, bytes, (unsigned)length), length);
	assert_int_equal(gzclose(file), Z_OK);
}

static void make_gzip_text(const char *name, const char *text)
{
	make_gzip(name, text, strlen(text));
}

/* As the writer does. */
static void compress_file(const char *name)
{
	static char bytes[8 * MIB];
	char packed[128];
	FILE *file = fopen(path_of(name), "r");
	size_t length;

	assert_non_null(file);
	length = fread(bytes, 1, sizeof(bytes), file);
	assert_int_equal(fclose(file), 0);
	(void)snprintf(packed, sizeof(packed), "%s.gz", name);
	make_gzip(packed, bytes, length);
	assert_int_equal(unlink(path_of(name)), 0);
}

/*
 * The follower.
 */

static void point_cursor_at(const char *name)
{
	struct cursor cursor = {};

	(void)snprintf(cursor.name, sizeof(cursor.name), "%s", name);
	assert_int_equal(cursor_save(world.cursor, &cursor), 0);
}

static int set_up(void **unused)
{
	world = (struct world){.wall_ns = NOON * S};
	meanwhile.name = NULL;
	(void)strcpy(world.root, "/tmp/pagestay-follow-XXXXXX");
	assert_non_null(mkdtemp(world.root));
	(void)snprintf(world.directory, sizeof(world.directory), "%s/files", world.root);
	(void)snprintf(world.cursor, sizeof(world.cursor), "%s/cursor", world.root);
	assert_int_equal(mkdir(world.directory, 0755), 0);
	world.options = (struct follow_options){.directory = world.directory,
		.cursor = world.cursor,
		.wall_ns = world_wall,
		.say = say};
	assert_int_equal(setenv("TZ", "UTC", 1), 0);
	tzset();
	point_cursor_at(TODAY);
	return 0;
}

static int tear_down(void **unused)
{
	follower_close(world.follower);
	free(world.text);
	directory_remove(world.root);
	return 0;
}

static void start(void)
{
	struct diag diag = {};

	if (follower_open(&world.options, &world.follower, &diag))
		fail_msg("%s", diag.text);
}

static void stop(void)
{
	follower_close(world.follower);
	world.follower = NULL;
}

static void keep(void)
{
	struct diag diag = {};

	if (follower_keep(world.follower, &diag))
		fail_msg("%s", diag.text);
}

/* One call. False: there is nothing now. */
static bool read_once(void)
{
	struct diag diag = {};
	const char *lines = NULL;
	size_t length = 0;
	int got = follower_read(world.follower, &lines, &length, &diag);

	if (got < 0)
		fail_msg("%s", diag.text);
	if (!got)
		return false;
	assert_true(length > 0);
	assert_int_equal(lines[length - 1], '\n');
	world.text = realloc(world.text, world.length + length);
	assert_non_null(world.text);
	memcpy(world.text + world.length, lines, length);
	world.length += length;
	return true;
}

static void read_all(void)
{
	unsigned calls = 0;

	while (read_once())
		assert_true(++calls < 100000);
}

static void assert_came(const char *bytes, size_t length)
{
	if (world.length != length || (length && memcmp(world.text, bytes, length) != 0))
		fail_msg("%zu bytes came: %.*s, not %zu", world.length,
			(int)(world.length < 200 ? world.length : 200),
			world.text ? world.text : "", length);
	world.length = 0;
}

static void assert_reads(const char *expected)
{
	read_all();
	assert_came(expected, strlen(expected));
}

static void assert_said(unsigned times, const char *words)
{
	if (world.said != times)
		fail_msg("said %u times, not %u; at last: %s", world.said, times, world.last);
	if (!strstr(world.last, words))
		fail_msg("%s", world.last);
}

static void assert_cannot_open(int error, const char *words)
{
	struct diag diag = {};

	assert_int_equal(follower_open(&world.options, &world.follower, &diag), error);
	assert_null(world.follower);
	if (!strstr(diag.text, words))
		fail_msg("%s", diag.text);
}

static void assert_cannot_read(int error, const char *words)
{
	struct diag diag = {};
	const char *lines = NULL;
	size_t length = 0;

	assert_int_equal(follower_read(world.follower, &lines, &length, &diag), error);
	assert_null(lines);
	if (!strstr(diag.text, words))
		fail_msg("%s", diag.text);
}

/*
 * Lines and files.
 */

static void a_line_without_its_end_waits(void **unused)
{
	make(TODAY, "a\nb");
	start();
	assert_reads("a\n");
	append(TODAY, "c");
	assert_reads("");
	append(TODAY, "\n");
	assert_reads("bc\n");
	assert_reads("");
	append(TODAY, "\n\nd\ne");
	assert_reads("\n\nd\n");
	assert_said(0, "");
}

static void nothing_is_waited_for(void **unused)
{
	start();
	assert_reads("");
	make(YESTERDAY, "older\n");
	assert_reads("");
	make(TODAY, "");
	assert_reads("");
	append(TODAY, "a\n");
	assert_reads("a\n");
	assert_said(0, "");
}

static void files_come_by_day_and_number(void **unused)
{
	make(YESTERDAY, "older\n");
	make_gzip_text(YESTERDAY ".5.gz", "older\n");
	make(TOMORROW, "6\n");
	make(TODAY ".10", "4\n");
	make_gzip_text(TODAY ".11.gz", "5\n");
	make_gzip_text(TODAY ".2.gz", "2\n");
	make_gzip_text(TODAY ".gz", "0\n1\n");
	make(TODAY ".9", "3\n");
	make("pagestay-2027-01-01.jsonl.3", "7\n");
	world.wall_ns += 364 * DAY;
	start();
	assert_reads("0\n1\n2\n3\n4\n5\n6\n7\n");
	append("pagestay-2027-01-01.jsonl.3", "8\n");
	assert_reads("8\n");
	/* Of which day each has gone. */
	assert_said(3, "pagestay-2027-01-01.jsonl.3: files before it have gone");
}

static void files_that_have_gone_unread_are_said(void **unused)
{
	make(TODAY, "a\n");
	start();
	assert_reads("a\n");
	make(TODAY ".1", "b\n");
	assert_reads("b\n");
	assert_said(0, "");
	make(TODAY ".3", "d\n");
	assert_reads("d\n");
	assert_said(1, TODAY ".3: files before it have gone; what they had is missed");
	make(TOMORROW ".2", "f\n");
	make(TOMORROW ".3", "g\n");
	assert_reads("f\ng\n");
	assert_said(2, TOMORROW ".2: files before it have gone");
	world.wall_ns += DAY;
	make("pagestay-2026-01-05.jsonl", "h\n");
	assert_reads("h\n");
	assert_said(2, "");
}

static void the_plain_form_goes_before_the_compressed_one(void **unused)
{
	make(TODAY, "a\n");
	make(TODAY ".gz", "half");
	make(TODAY ".1", "b\n");
	make_gzip_text(TODAY ".1.gz", "b\n");
	make(TODAY ".2", "c\n");
	start();
	assert_reads("a\nb\nc\n");
	assert_said(0, "");
}

static void only_files_of_lines_are_read(void **unused)
{
	static const char *const others[] = {TODAY ".gz.tmp", TODAY ".2.gz.tmp", TODAY ".01",
		TODAY "~", "pagestay-2026-01-02.psr", "pagestay-2026-01-02.psr.1",
		"pagestay-2026-01-02.psr.gz", "pagestay-2026-01-02.json", "pagestay-jsonl.lock",
		"pagestay-psr.lock", "xpagestay-2026-01-02.jsonl", "events.jsonl"};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		make(others[i], "other\n");
	assert_int_equal(symlink("/etc/passwd", path_of(TODAY)), 0);
	assert_int_equal(symlink(path_of("events.jsonl"), path_of(TODAY ".3.gz")), 0);
	assert_int_equal(mkdir(path_of(TODAY ".4"), 0755), 0);
	assert_int_equal(mkfifo(path_of(TODAY ".5"), 0644), 0);
	start();
	assert_reads("");
	make(TODAY ".6", "a\n");
	make(TOMORROW, "b\n");
	assert_reads("a\nb\n");
	assert_said(0, "");
}

static void replace_today(void)
{
	assert_int_equal(unlink(path_of(TODAY)), 0);
	assert_int_equal(symlink("/etc/passwd", path_of(TODAY)), 0);
}

/* Behind the second of the two looks that find it. */
static void a_file_that_becomes_a_symlink_is_not_read(void **unused)
{
	make(TODAY, "a\n");
	make(TODAY ".1", "b\n");
	meanwhile.name = TODAY;
	meanwhile.after = 2;
	meanwhile.is_before = false;
	meanwhile.happens = replace_today;
	start();
	assert_cannot_read(-ELOOP, "/" TODAY " at byte 0: Too many levels of symbolic links");
	assert_reads("b\n");
}

/*
 * Ends.
 */

static void what_came_last_is_not_missed(void **unused)
{
	make(TODAY, "a\n");
	start();
	assert_reads("a\n");
	append(TODAY, "b\n");
	make(TODAY ".1", "c\n");
	assert_reads("b\nc\n");
	append(TODAY ".1", "d\n");
	make(TOMORROW, "e\n");
	make(TOMORROW ".1", "f\n");
	assert_reads("d\ne\nf\n");
	assert_said(0, "");
}

/* While the directory is listed: the file's end was seen before, and the newer file is seen now. */
static void end_today(void)
{
	append(TODAY, "b\n");
	assert_int_equal(rmdir(path_of(TODAY ".1")), 0);
	make(TODAY ".1", "c\n");
}

static void what_comes_between_two_looks_is_not_missed(void **unused)
{
	for (unsigned after = 1; after <= 6; after++) {
		make(TODAY, "a\n");
		assert_int_equal(mkdir(path_of(TODAY ".1"), 0755), 0);
		meanwhile.name = TODAY ".1";
		meanwhile.after = after;
		meanwhile.is_before = true;
		meanwhile.happens = end_today;
		start();
		for (int i = 0; i < 6; i++)
			read_all();
		assert_came("a\nb\nc\n", 6);
		stop();
		assert_int_equal(unlink(path_of(TODAY ".1")), 0);
	}
	assert_said(0, "");
}

static void a_torn_end_is_passed_over(void **unused)
{
	make(TODAY, "a\ntorn");
	make_gzip_text(TODAY ".1.gz", "b\ntorn again");
	start();
	assert_reads("a\nb\n");
	assert_said(1, TODAY ": 4 bytes without a line's end passed over");
	make(TODAY ".2", "c\n");
	assert_reads("c\n");
	assert_said(2, TODAY ".1: 10 bytes without a line's end passed over");
	assert_reads("");
	assert_said(2, "");
}

static void a_torn_end_that_is_cut_off_does_not_come(void **unused)
{
	make(TODAY, "a\nto");
	start();
	assert_reads("a\n");
	make(TODAY ".aside", "");
	assert_int_equal(truncate(path_of(TODAY), 2), 0);
	assert_reads("");
	append(TODAY, "b\n");
	assert_reads("b\n");
	assert_said(0, "");
}

/*
 * Compression.
 */

static void a_file_may_be_compressed_between_reads(void **unused)
{
	make(TODAY, "a\n");
	start();
	assert_reads("a\n");
	append(TODAY, "b\n");
	compress_file(TODAY);
	assert_reads("b\n");
	assert_reads("");
	make(TODAY ".1", "c\n");
	assert_reads("c\n");
	append(TODAY ".1", "d\n");
	compress_file(TODAY ".1");
	make(TOMORROW, "e\n");
	compress_file(TOMORROW);
	assert_reads("d\ne\n");
	assert_said(0, "");
}

static void a_file_may_be_compressed_between_runs(void **unused)
{
	make(TODAY, "a\n");
	start();
	assert_reads("a\n");
	keep();
	stop();
	append(TODAY, "b\n");
	compress_file(TODAY);
	start();
	assert_reads("b\n");
	keep();
	stop();
	start();
	assert_reads("");
	make(TODAY ".1", "c\n");
	compress_file(TODAY ".1");
	make(TODAY ".2", "d\n");
	assert_reads("c\nd\n");
	assert_said(0, "");
}

static void compress_next(void)
{
	compress_file(TODAY ".1");
}

/* A list that was begun before does not have the compressed form, and finds the plain one gone. */
static void compress_next_at(unsigned after, bool is_before)
{
	make(TODAY, "a\n");
	make(TODAY ".1", "b\n");
	make(TODAY ".2", "c\n");
	meanwhile.name = TODAY ".1";
	meanwhile.after = after;
	meanwhile.is_before = is_before;
	meanwhile.happens = compress_next;
	start();
	read_all();
	stop();
	if (meanwhile.name)
		compress_next();
	meanwhile.name = NULL;
	assert_int_equal(unlink(path_of(TODAY ".1.gz")), 0);
}

static void a_file_may_be_compressed_while_it_is_looked_for(void **unused)
{
	for (unsigned after = 1; after <= 8; after++) {
		point_cursor_at(TODAY);
		compress_next_at(after, true);
		assert_came("a\nb\nc\n", 6);
		compress_next_at(after, false);
		assert_came("a\nb\nc\n", 6);
		point_cursor_at(TODAY ".1");
		compress_next_at(after, true);
		assert_came("b\nc\n", 4);
		compress_next_at(after, false);
		assert_came("b\nc\n", 4);
	}
	assert_said(0, "");
}

/* Lines that do not compress well. */
static char *make_noise(size_t length)
{
	struct seeded seeded = {.state = 1};
	char *bytes = malloc(length);

	assert_non_null(bytes);
	for (size_t i = 0; i < length; i++)
		bytes[i] = seeded_once_in(&seeded, 100) ? '\n'
							: (char)(' ' + seeded_below(&seeded, 95));
	bytes[length - 1] = '\n';
	return bytes;
}

static size_t bytes_read_by_us(void)
{
	FILE *file = fopen("/proc/self/io", "r");
	size_t bytes = 0;

	assert_non_null(file);
	assert_int_equal(fscanf(file, "rchar: %zu", &bytes), 1);
	(void)fclose(file);
	return bytes;
}

static void a_compressed_file_is_read_through_once(void **unused)
{
	const size_t length = 4 * MIB;
	char *bytes = make_noise(length);
	size_t before;

	make_gzip(TODAY ".gz", bytes, length);
	start();
	before = bytes_read_by_us();
	read_all();
	assert_in_range(bytes_read_by_us() - before, length / 2, 2 * length);
	assert_came(bytes, length);
	free(bytes);
}

static void any_line_of_a_compressed_file_can_be_gone_on_from(void **unused)
{
	const size_t length = MIB;
	char *bytes = make_noise(length);
	unsigned runs = 0;

	make_gzip(TODAY ".gz", bytes, length);
	for (bool more = true; more; runs++) {
		start();
		more = read_once();
		keep();
		stop();
	}
	assert_came(bytes, length);
	assert_true(runs > 10);
	free(bytes);
}

/*
 * Damage.
 */

/* The first file is damaged, the second is sound. */
static void check_damaged(const char *sound, size_t length, size_t least)
{
	make(TODAY ".1", "next\n");
	world.said_damaged = 0;
	point_cursor_at(TODAY);
	start();
	read_all();
	assert_true(world.length >= least + 5);
	assert_true(world.length <= length + 5);
	assert_memory_equal(world.text, sound, world.length - 5);
	assert_memory_equal(world.text + world.length - 5, "next\n", 5);
	assert_int_equal(world.said_damaged, 1);
	world.length = 0;
	assert_reads("");
	stop();
}

static size_t size_of(const char *name)
{
	struct stat file;

	assert_int_equal(stat(path_of(name), &file), 0);
	return (size_t)file.st_size;
}

static void change_byte(const char *name, size_t at)
{
	FILE *file = fopen(path_of(name), "r+");
	int byte;

	assert_non_null(file);
	assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
	byte = fgetc(file);
	assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
	assert_int_equal(fputc(byte ^ 0x10, file), byte ^ 0x10);
	assert_int_equal(fclose(file), 0);
}

static void a_compressed_file_that_is_cut_short_is_said(void **unused)
{
	const size_t length = MIB;
	char *bytes = make_noise(length);
	size_t packed;

	make_gzip(TODAY ".gz", bytes, length);
	packed = size_of(TODAY ".gz");
	for (int part = 9; part >= 0; part--) {
		assert_int_equal(truncate(path_of(TODAY ".gz"), (off_t)(packed * part / 10)), 0);
		check_damaged(bytes, length, part ? length * (part - 1) / 10 : 0);
	}
	make_gzip_text(TODAY ".gz", "a\nb\n");
	assert_int_equal(truncate(path_of(TODAY ".gz"), (off_t)size_of(TODAY ".gz") - 4), 0);
	check_damaged("a\nb\n", 4, 0);
	free(bytes);
}

static void a_compressed_file_that_is_changed_is_said(void **unused)
{
	const size_t length = MIB;
	char *bytes = make_noise(length);
	size_t packed;

	make_gzip(TODAY ".gz", bytes, length);
	packed = size_of(TODAY ".gz");
	/* Its magic, its method, something in the middle, its checksum. */
	for (size_t at = 0; at < 3; at++) {
		change_byte(TODAY ".gz", at);
		check_damaged(bytes, length, 0);
		assert_said(at + 1, TODAY ".gz is damaged behind byte 0; the rest is missed");
		change_byte(TODAY ".gz", at);
	}
	change_byte(TODAY ".gz", packed - 6);
	check_damaged(bytes, length, length - 2 * 65536);
	free(bytes);
}

static void what_is_not_compressed_is_no_compressed_file(void **unused)
{
	make(TODAY ".gz", "plain\n");
	check_damaged("", 0, 0);
	assert_said(1, TODAY ".gz is damaged behind byte 0; the rest is missed");
	make(TODAY ".gz", "");
	check_damaged("", 0, 0);
	assert_said(2, TODAY ".gz is damaged behind byte 0; the rest is missed");
	make_gzip_text(TODAY ".gz", "");
	world.said = 0;
	point_cursor_at(TODAY);
	start();
	assert_reads("next\n");
	assert_said(0, "");
}

/* Also while nothing newer is there. */
static void damage_is_said_once(void **unused)
{
	make(TODAY ".gz", "plain\n");
	start();
	for (int i = 0; i < 3; i++)
		assert_reads("");
	make(TOMORROW, "a\n");
	assert_reads("a\n");
	assert_said(1, TODAY ".gz is damaged");
}

/*
 * What goes away.
 */

static void a_file_that_has_expired_is_said(void **unused)
{
	make(TODAY, "a\n");
	start();
	assert_reads("a\n");
	keep();
	stop();
	assert_int_equal(unlink(path_of(TODAY)), 0);
	start();
	assert_reads("");
	assert_said(0, "");
	make(TODAY ".4", "c\n");
	make(TODAY ".3", "b\n");
	assert_reads("b\nc\n");
	assert_said(1, TODAY " has gone; what was not read of it, if anything, is missed");
}

static void what_was_read_may_expire(void **unused)
{
	make(TODAY, "a\n");
	start();
	assert_reads("a\n");
	append(TODAY, "b\n");
	assert_int_equal(unlink(path_of(TODAY)), 0);
	assert_reads("b\n");
	assert_reads("");
	make(TODAY ".1", "c\n");
	assert_reads("c\n");
	assert_said(0, "");
}

static void a_shortened_file_is_read_from_its_beginning(void **unused)
{
	make(TODAY, "one\ntwo\n");
	start();
	assert_reads("one\ntwo\n");
	keep();
	make(TODAY, "a\n");
	assert_reads("a\n");
	assert_said(1, TODAY ": another file, or shorter than it was: read from its beginning");
	assert_reads("");
	stop();
	start();
	assert_reads("a\n");
	assert_said(2, "read from its beginning");
}

/* A power loss took the end that was read, and others' lines came. */
static void a_file_without_a_line_at_the_cursor_is_read_from_its_beginning(void **unused)
{
	make(TODAY, "one\ntwo\n");
	start();
	assert_reads("one\ntwo\n");
	keep();
	stop();
	make(TODAY, "one\nthree\nfour\n");
	start();
	assert_reads("one\nthree\nfour\n");
	assert_said(1, TODAY ": another file, or shorter than it was: read from its beginning");
}

/* It was compressed since. */
static void the_same_holds_in_a_compressed_file(void **unused)
{
	make(TODAY, "one\ntwo\n");
	start();
	assert_reads("one\ntwo\n");
	keep();
	stop();
	make(TODAY, "one\nthree\nfour\n");
	compress_file(TODAY);
	start();
	assert_reads("one\nthree\nfour\n");
	assert_said(1, TODAY ": another file, or shorter than it was: read from its beginning");
	keep();
	stop();
	make_gzip_text(TODAY ".gz", "short\n");
	start();
	assert_reads("short\n");
	assert_said(2, TODAY ": another file, or shorter than it was: read from its beginning");
	keep();
	stop();
	start();
	assert_reads("");
	stop();
	/* Damage before the cursor is damage. */
	assert_int_equal(truncate(path_of(TODAY ".gz"), 12), 0);
	start();
	assert_reads("");
	assert_said(3, TODAY ".gz is damaged behind byte 6; the rest is missed");
}

/* Another directory under the same name. */
static void replace_directory(const char *text)
{
	char aside[128];

	(void)snprintf(aside, sizeof(aside), "%s-aside", world.directory);
	assert_int_equal(rename(world.directory, aside), 0);
	assert_int_equal(mkdir(world.directory, 0755), 0);
	make(TODAY, text);
	directory_remove(aside);
}

static void a_replaced_directory_is_read_from_its_beginning(void **unused)
{
	make(TODAY, "a\n");
	start();
	assert_reads("a\n");
	keep();
	replace_directory("longer than the one before\n");
	assert_reads("longer than the one before\n");
	assert_said(1, TODAY ": another file, or shorter than it was: read from its beginning");
	keep();
	stop();
	replace_directory("even longer than the one before\n");
	start();
	assert_reads("even longer than the one before\n");
	assert_said(2, "read from its beginning");
}

static void a_replaced_directory_may_have_newer_files(void **unused)
{
	make(TODAY, "a\n");
	start();
	assert_reads("a\n");
	replace_directory("b\n");
	make(TODAY ".1", "c\n");
	assert_reads("b\nc\n");
	assert_said(1, TODAY ": another file");
}

static void a_directory_may_go_and_come_back(void **unused)
{
	char aside[128];

	(void)snprintf(aside, sizeof(aside), "%s-aside", world.directory);
	make(TODAY, "a\n");
	start();
	assert_reads("a\n");
	assert_int_equal(rename(world.directory, aside), 0);
	assert_reads("");
	assert_reads("");
	assert_int_equal(rename(aside, world.directory), 0);
	append(TODAY, "b\n");
	assert_reads("b\n");
	assert_int_equal(rename(world.directory, aside), 0);
	assert_reads("");
	assert_int_equal(mkdir(world.directory, 0755), 0);
	assert_reads("");
	make(TOMORROW, "c\n");
	assert_reads("c\n");
	assert_said(0, "");
}

static void an_empty_directory_may_go_and_come_back(void **unused)
{
	start();
	assert_reads("");
	assert_int_equal(rmdir(world.directory), 0);
	assert_reads("");
	keep();
	assert_int_equal(mkdir(world.directory, 0755), 0);
	make(TODAY, "a\n");
	assert_reads("a\n");
}

static void a_directory_must_be_there_at_first(void **unused)
{
	char missing[128];

	(void)snprintf(missing, sizeof(missing), "%s/missing", world.root);
	world.options.directory = missing;
	assert_cannot_open(-ENOENT, "/missing: No such file or directory");
	world.options.directory = world.cursor;
	assert_cannot_open(-ENOTDIR, "/cursor: Not a directory");
}

/*
 * The cursor.
 */

static void no_cursor_is_todays_first_file(void **unused)
{
	struct timespec now;
	char today[ROTATE_NAME_BYTES], before[ROTATE_NAME_BYTES];
	uint64_t now_ns;

	assert_int_equal(clock_gettime(CLOCK_REALTIME, &now), 0);
	now_ns = (uint64_t)now.tv_sec * S;
	assert_int_equal(rotate_name_at(ROTATE_LINES, now_ns, today), 0);
	assert_int_equal(rotate_name_at(ROTATE_LINES, now_ns - DAY, before), 0);
	make(before, "before\n");
	make(today, "a\n");
	world.options.wall_ns = NULL;
	world.options.cursor = NULL;
	start();
	assert_reads("a\n");
	keep();
	stop();
	start();
	assert_reads("a\n");
	assert_said(0, "");
	stop();
	world.options.cursor = world.cursor;
	assert_int_equal(unlink(world.cursor), 0);
	start();
	assert_said(1, "there is no cursor yet; reading from the beginning of ");
	assert_reads("a\n");
	keep();
	stop();
	start();
	assert_reads("");
	assert_said(1, "");
}

/* The writer's zone may be another. */
static void no_cursor_and_nothing_of_today_is_the_newest_day(void **unused)
{
	make("pagestay-2000-01-01.jsonl", "a\n");
	make("pagestay-2000-01-02.jsonl.1", "b\n");
	make("pagestay-2000-01-02.jsonl.2", "c\n");
	make("pagestay-2000-01-03.psr", "recording");
	world.options.cursor = NULL;
	start();
	assert_reads("b\nc\n");
	stop();
	world.options.cursor = world.cursor;
	assert_int_equal(unlink(world.cursor), 0);
	start();
	assert_said(1, "there is no cursor yet; reading from the beginning of pagestay-2000-01-02");
	assert_reads("b\nc\n");
}

/*
 * Days ahead: the clock was wrong for a moment.
 */

#define THREE_AHEAD "pagestay-2026-01-05.jsonl"
#define FAR_AHEAD   "pagestay-2026-01-12.jsonl"

static void a_file_far_ahead_waits_for_its_day(void **unused)
{
	make(TODAY, "a\n");
	make_gzip_text(FAR_AHEAD ".gz", "far\n");
	make(THREE_AHEAD, "three\n");
	world.options.cursor = NULL;
	start();
	assert_reads("a\n");
	append(TODAY, "b\n");
	make(TODAY ".1", "c\n");
	assert_reads("b\nc\n");
	stop();
	/* Also where there is nothing of today. */
	compress_file(TODAY);
	compress_file(TODAY ".1");
	world.wall_ns += 12 * HOUR - S;
	start();
	assert_reads("a\nb\nc\n");
	world.wall_ns += S;
	assert_reads("three\n");
	world.wall_ns += 7 * DAY - S;
	assert_reads("");
	world.wall_ns += S;
	assert_reads("far\n");
	assert_said(0, "");
}

static void a_cursor_far_ahead_goes_back_to_today(void **unused)
{
	make(YESTERDAY, "older\n");
	make(TODAY, "a\n");
	make_gzip_text(FAR_AHEAD ".gz", "far\n");
	point_cursor_at(FAR_AHEAD);
	start();
	assert_reads("a\n");
	assert_said(1, FAR_AHEAD " is more than two days ahead, and is read again when it is not; "
				 "reading from the beginning of " TODAY
				 "; what was not read of days before, if anything, is missed");
	append(TODAY, "b\n");
	assert_reads("b\n");
	keep();
	stop();
	start();
	append(TODAY, "c\n");
	assert_reads("c\n");
	assert_said(1, "");
	stop();
	/* The file may have gone, and there may be none of today. */
	assert_int_equal(unlink(path_of(FAR_AHEAD ".gz")), 0);
	assert_int_equal(unlink(path_of(TODAY)), 0);
	point_cursor_at(FAR_AHEAD);
	start();
	assert_reads("older\n");
	assert_said(2, "reading from the beginning of " YESTERDAY ";");
}

static void a_cursor_far_ahead_stays_while_there_is_nothing_else(void **unused)
{
	make(FAR_AHEAD, "far\n");
	world.wall_ns += 10 * DAY;
	point_cursor_at(FAR_AHEAD);
	start();
	assert_reads("far\n");
	keep();
	stop();
	world.wall_ns = 0;
	start();
	assert_reads("");
	keep();
	stop();
	world.wall_ns = NOON * S + 10 * DAY;
	start();
	append(FAR_AHEAD, "more\n");
	assert_reads("more\n");
	keep();
	assert_said(0, "");
	stop();
	world.wall_ns = NOON * S;
	start();
	assert_reads("");
	make(TODAY, "a\n");
	assert_reads("a\n");
	assert_said(1, FAR_AHEAD " is more than two days ahead");
}

static void a_clock_may_be_corrected_while_it_is_followed(void **unused)
{
	make(TODAY, "a\n");
	start();
	assert_reads("a\n");
	world.wall_ns += 10 * DAY;
	make(FAR_AHEAD, "far\n");
	assert_reads("far\n");
	assert_said(0, "");
	world.wall_ns -= 10 * DAY;
	append(TODAY, "b\n");
	assert_reads("a\nb\n");
	assert_said(1, FAR_AHEAD " is more than two days ahead");
	append(TODAY, "c\n");
	assert_reads("c\n");
	world.wall_ns += 8 * DAY;
	append(FAR_AHEAD, "near\n");
	assert_reads("far\nnear\n");
	world.wall_ns += 4 * DAY;
	make("pagestay-2026-01-14.jsonl", "d\n");
	assert_reads("d\n");
	assert_said(1, "");
}

static void correct_clock(void)
{
	world.wall_ns -= 10 * DAY;
}

/* A newer file that does not count any more ended nothing. */
static void a_clock_may_be_corrected_between_two_looks(void **unused)
{
	for (unsigned after = 1; after <= 5; after++) {
		point_cursor_at(TODAY);
		make(TODAY, "a\n");
		make(FAR_AHEAD, "far\n");
		world.wall_ns += 10 * DAY;
		meanwhile.name = FAR_AHEAD;
		meanwhile.after = after;
		meanwhile.is_before = true;
		meanwhile.happens = correct_clock;
		start();
		assert_reads("a\n");
		assert_null(meanwhile.name);
		assert_int_equal(mkdir(path_of(TODAY ".1"), 0755), 0);
		meanwhile.name = TODAY ".1";
		meanwhile.after = 1;
		meanwhile.happens = end_today;
		assert_reads("b\nc\n");
		stop();
		assert_int_equal(unlink(path_of(TODAY ".1")), 0);
	}
	assert_said(0, "");
}

static void write_line(struct rotate *rotate, const char *line)
{
	assert_int_equal(rotate_append(rotate, line, strlen(line), false), 0);
	rotate_sync(rotate);
}

/* Reader and writer mean the same days. */
static void who_writes_is_followed_back(void **unused)
{
	for (unsigned days = 1; days <= 4; days++) {
		const struct rotate_options options = {
			.directory = world.directory, .kind = ROTATE_LINES, .wall_ns = world_wall};
		struct rotate *rotate = NULL;
		struct diag diag = {};

		world.said = 0;
		point_cursor_at(TODAY);
		assert_int_equal(rotate_new(&options, &rotate, &diag), 0);
		write_line(rotate, "a\n");
		start();
		assert_reads("a\n");
		world.wall_ns += days * DAY;
		write_line(rotate, "ahead\n");
		assert_reads("ahead\n");
		world.wall_ns -= days * DAY;
		write_line(rotate, "b\n");
		assert_reads(days > 2 ? "a\nb\n" : "b\n");
		assert_said(days > 2 ? 1 : 0, "");
		stop();
		rotate_free(rotate);
		directory_remove(world.directory);
		assert_int_equal(mkdir(world.directory, 0755), 0);
	}
}

static void what_was_not_kept_comes_again(void **unused)
{
	make(TODAY, "a\n");
	start();
	assert_reads("a\n");
	stop();
	start();
	assert_reads("a\n");
	keep();
	append(TODAY, "b\n");
	make(TODAY ".1", "c\n");
	assert_reads("b\nc\n");
	stop();
	start();
	assert_reads("b\nc\n");
	assert_said(0, "");
}

static void a_cursor_that_stands_still_is_written_once(void **unused)
{
	make(TODAY, "a\n");
	start();
	keep();
	assert_reads("a\n");
	keep();
	syncs = 0;
	for (int i = 0; i < 3; i++) {
		assert_reads("");
		keep();
	}
	assert_int_equal(syncs, 0);
	append(TODAY, "b\n");
	assert_reads("b\n");
	keep();
	assert_true(syncs > 0);
}

static void a_damaged_cursor_is_said(void **unused)
{
	FILE *file = fopen(world.cursor, "a");

	assert_non_null(file);
	assert_int_equal(fputs("x", file) < 0, 0);
	assert_int_equal(fclose(file), 0);
	make(TODAY, "a\n");
	start();
	assert_said(1, "the cursor is damaged; reading from the beginning of " TODAY);
	assert_reads("a\n");
}

/* What is wrong later is not covered by what was said at the beginning. */
static void a_missing_cursor_covers_no_error(void **unused)
{
	struct diag diag = {};

	assert_int_equal(unlink(world.cursor), 0);
	assert_int_equal(follower_open(&world.options, &world.follower, &diag), 0);
	assert_string_equal(diag.text, "");
	assert_said(1, "there is no cursor yet");
}

static void a_cursor_of_no_file_of_lines_is_refused(void **unused)
{
	static const char *const names[] = {
		"pagestay-2026-01-02.psr", TODAY ".gz", TODAY ".gz.tmp", "events.jsonl"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		point_cursor_at(names[i]);
		assert_cannot_open(-EBADMSG, "/cursor: the cursor is of another kind of file");
	}
	world.options.cursor = world.directory;
	assert_cannot_open(-EISDIR, "/files: cannot read the cursor: Is a directory");
}

static void a_cursor_that_cannot_be_written_is_an_error(void **unused)
{
	char elsewhere[128];
	struct diag diag = {};

	(void)snprintf(elsewhere, sizeof(elsewhere), "%s/missing/cursor", world.root);
	world.options.cursor = elsewhere;
	start();
	assert_int_equal(follower_keep(world.follower, &diag), -ENOENT);
	assert_non_null(strstr(diag.text, "/missing/cursor: cannot write the cursor: No such"));
}

/*
 * Long lines.
 */

static void a_long_line_comes_whole(void **unused)
{
	static const size_t lengths[] = {65534, 65535, 65536, 65537, 131072, 3 * MIB, 5};
	char *bytes = malloc(4 * MIB);
	size_t length = 0;

	assert_non_null(bytes);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		memset(bytes + length, 'a' + (int)i, lengths[i]);
		length += lengths[i];
		bytes[length - 1] = '\n';
	}
	put(TODAY, "w", bytes, length);
	start();
	read_all();
	assert_came(bytes, length);
	stop();
	compress_file(TODAY);
	start();
	read_all();
	assert_came(bytes, length);
	free(bytes);
}

static void a_line_that_is_too_long_is_an_error(void **unused)
{
	make(TODAY, "a\n");
	assert_int_equal(truncate(path_of(TODAY), FOLLOW_LINE_BYTES + 2), 0);
	append(TODAY, "\n");
	start();
	assert_true(read_once());
	assert_came("a\n", 2);
	assert_cannot_read(-EMSGSIZE, "/" TODAY " at byte 2: Message too long");
	assert_cannot_read(-EMSGSIZE, "Message too long");
}

static void the_longest_line_comes(void **unused)
{
	make(TODAY, "");
	assert_int_equal(truncate(path_of(TODAY), FOLLOW_LINE_BYTES - 1), 0);
	append(TODAY, "\na\n");
	start();
	read_all();
	assert_int_equal(world.length, FOLLOW_LINE_BYTES + 2);
	assert_memory_equal(world.text + FOLLOW_LINE_BYTES - 1, "\na\n", 3);
}

/*
 * Histories. Each line is known by its number; what must come next is known at any time.
 */

#define LINE_MOST 3000
#define STEPS     600

struct history {
	struct seeded seeded;
	struct rotate_options options;
	struct rotate *rotate;
	uint64_t wall_ns, latest_ns;
	unsigned written, next, kept; /* lines */
	unsigned set_back, restarts, torn, repeated, compressed, gone_on;
	bool is_always_kept;
};

static uint64_t wall(void *context)
{
	return ((struct history *)context)->wall_ns;
}

/* The same for the same number. */
static size_t make_line(unsigned number, char line[LINE_MOST])
{
	struct seeded seeded = {.state = number};
	size_t length = (size_t)snprintf(line, LINE_MOST, "%u ", number);
	size_t more = seeded_below(&seeded, seeded_once_in(&seeded, 50) ? 2900 : 120);

	while (more--)
		line[length++] = (char)('a' + seeded_below(&seeded, 26));
	line[length++] = '\n';
	return length;
}

static void open_writer(struct history *history)
{
	struct diag diag = {};

	if (rotate_new(&history->options, &history->rotate, &diag))
		fail_msg("%s", diag.text);
}

static void write_lines(struct history *history)
{
	char line[LINE_MOST];

	for (uint64_t more = seeded_below(&history->seeded, 30); more; more--) {
		size_t length = make_line(history->written++, line);

		assert_int_equal(rotate_append(history->rotate, line, length, false), 0);
	}
	if (!seeded_once_in(&history->seeded, 4))
		rotate_sync(history->rotate);
}

/* As far as the writer does not follow it, from the latest time that was. */
static void set_clock_back(struct history *history)
{
	uint64_t earliest_ns = history->latest_ns - 47 * HOUR;

	history->wall_ns -= seeded_below(&history->seeded, 40 * HOUR);
	if (history->wall_ns < earliest_ns)
		history->wall_ns = earliest_ns;
	history->set_back++;
}

static void pass_time(struct history *history)
{
	if (history->wall_ns > history->latest_ns)
		history->latest_ns = history->wall_ns;
	if (seeded_once_in(&history->seeded, 10))
		return set_clock_back(history);
	history->wall_ns += seeded_below(
		&history->seeded, seeded_once_in(&history->seeded, 8) ? 40 * HOUR : HOUR);
}

static void compress_some(struct history *history)
{
	uint64_t most =
		seeded_once_in(&history->seeded, 2) ? 1000 : seeded_below(&history->seeded, 6);

	while (most-- && rotate_work(history->rotate))
		;
}

/* What a writer that was killed leaves at the end of its file, if that is there. */
static void tear(struct history *history)
{
	struct dirent **entries;
	int count = scandir(world.directory, &entries, NULL, versionsort);
	const char *last = NULL;

	assert_true(count >= 0);
	for (int i = 0; i < count; i++)
		if (strstr(entries[i]->d_name, ".jsonl") && !strstr(entries[i]->d_name, ".gz"))
			last = entries[i]->d_name;
	if (last) {
		append(last, "99999 to");
		history->torn++;
	}
	for (int i = 0; i < count; i++)
		free(entries[i]);
	free(entries);
}

static void restart_writer(struct history *history)
{
	history->compressed += (unsigned)rotate_counters(history->rotate)->files_compressed;
	rotate_free(history->rotate);
	history->restarts++;
	if (seeded_once_in(&history->seeded, 2))
		tear(history);
	open_writer(history);
}

/* All that came is what had to come next. */
static void check_lines(struct history *history)
{
	char line[LINE_MOST];

	for (size_t at = 0; at < world.length;) {
		size_t length = make_line(history->next, line);

		if (world.length - at < length || memcmp(world.text + at, line, length) != 0)
			fail_msg("line %u of %u should come, and there is: %.40s", history->next,
				history->written, world.text + at);
		history->next++;
		at += length;
	}
	world.length = 0;
}

static void read_lines(struct history *history)
{
	if (seeded_once_in(&history->seeded, 2))
		read_all();
	else
		(void)read_once();
	check_lines(history);
}

static void keep_cursor(struct history *history)
{
	keep();
	history->kept = history->next;
}

static void restart_follower(struct history *history)
{
	if (history->is_always_kept || seeded_once_in(&history->seeded, 2))
		keep_cursor(history);
	stop();
	history->repeated += history->next - history->kept;
	history->gone_on += history->next > 0;
	history->next = history->kept;
	start();
}

static void step(struct history *history)
{
	switch (seeded_below(&history->seeded, 10)) {
	case 0:
	case 1:
	case 2:
		return write_lines(history);
	case 3:
		return pass_time(history);
	case 4:
		return compress_some(history);
	case 5:
	case 6:
		return read_lines(history);
	case 7:
		return keep_cursor(history);
	case 8:
		return restart_follower(history);
	default:
		if (seeded_once_in(&history->seeded, 4))
			restart_writer(history);
	}
}

static void live_through(uint64_t seed, bool is_always_kept)
{
	struct history history = {
		.seeded = {seed}, .wall_ns = NOON * S + 2 * DAY, .is_always_kept = is_always_kept};

	history.options = (struct rotate_options){.directory = world.directory,
		.kind = ROTATE_LINES,
		.rotate_bytes = 2000 + seeded_below(&history.seeded, 100000),
		.wall_ns = wall,
		.context = &history};
	open_writer(&history);
	world.options.wall_ns = wall;
	world.options.context = &history;
	start();
	for (int i = 0; i < STEPS; i++)
		step(&history);
	rotate_sync(history.rotate);
	read_all();
	check_lines(&history);
	if (history.next != history.written)
		fail_msg("seed %u: %u lines came of %u", (unsigned)seed, history.next,
			history.written);
	restart_writer(&history);
	rotate_free(history.rotate);
	assert_true(history.written > 1000);
	assert_true(history.restarts > 1 && history.torn > 0 && history.gone_on > 10);
	assert_true(history.compressed > 0 && history.set_back > 0);
	assert_int_equal(history.repeated > 0, !is_always_kept);
}

/* What is said is of torn ends; nothing else is wrong. */
static void say_of_history(void *unused, const char *text)
{
	if (!strstr(text, " bytes without a line's end passed over"))
		fail_msg("%s", text);
}

static void live_through_many(bool is_always_kept)
{
	world.options.say = say_of_history;
	for (uint64_t seed = 1; seed <= 12; seed++) {
		live_through(seed, is_always_kept);
		stop();
		directory_remove(world.directory);
		assert_int_equal(mkdir(world.directory, 0755), 0);
		point_cursor_at(TODAY);
	}
}

static void every_line_comes_once_if_all_is_kept(void **unused)
{
	live_through_many(true);
}

static void only_what_was_not_kept_comes_again(void **unused)
{
	live_through_many(false);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_line_without_its_end_waits),
		TEST(nothing_is_waited_for),
		TEST(files_come_by_day_and_number),
		TEST(files_that_have_gone_unread_are_said),
		TEST(the_plain_form_goes_before_the_compressed_one),
		TEST(only_files_of_lines_are_read),
		TEST(a_file_that_becomes_a_symlink_is_not_read),
		TEST(what_came_last_is_not_missed),
		TEST(what_comes_between_two_looks_is_not_missed),
		TEST(a_torn_end_is_passed_over),
		TEST(a_torn_end_that_is_cut_off_does_not_come),
		TEST(a_file_may_be_compressed_between_reads),
		TEST(a_file_may_be_compressed_between_runs),
		TEST(a_file_may_be_compressed_while_it_is_looked_for),
		TEST(a_compressed_file_is_read_through_once),
		TEST(any_line_of_a_compressed_file_can_be_gone_on_from),
		TEST(a_compressed_file_that_is_cut_short_is_said),
		TEST(a_compressed_file_that_is_changed_is_said),
		TEST(what_is_not_compressed_is_no_compressed_file),
		TEST(damage_is_said_once),
		TEST(a_file_that_has_expired_is_said),
		TEST(what_was_read_may_expire),
		TEST(a_shortened_file_is_read_from_its_beginning),
		TEST(a_file_without_a_line_at_the_cursor_is_read_from_its_beginning),
		TEST(the_same_holds_in_a_compressed_file),
		TEST(a_replaced_directory_is_read_from_its_beginning),
		TEST(a_replaced_directory_may_have_newer_files),
		TEST(a_directory_may_go_and_come_back),
		TEST(an_empty_directory_may_go_and_come_back),
		TEST(a_directory_must_be_there_at_first),
		TEST(no_cursor_is_todays_first_file),
		TEST(no_cursor_and_nothing_of_today_is_the_newest_day),
		TEST(a_file_far_ahead_waits_for_its_day),
		TEST(a_cursor_far_ahead_goes_back_to_today),
		TEST(a_cursor_far_ahead_stays_while_there_is_nothing_else),
		TEST(a_clock_may_be_corrected_while_it_is_followed),
		TEST(a_clock_may_be_corrected_between_two_looks),
		TEST(who_writes_is_followed_back),
		TEST(what_was_not_kept_comes_again),
		TEST(a_cursor_that_stands_still_is_written_once),
		TEST(a_damaged_cursor_is_said),
		TEST(a_missing_cursor_covers_no_error),
		TEST(a_cursor_of_no_file_of_lines_is_refused),
		TEST(a_cursor_that_cannot_be_written_is_an_error),
		TEST(a_long_line_comes_whole),
		TEST(a_line_that_is_too_long_is_an_error),
		TEST(the_longest_line_comes),
		TEST(every_line_comes_once_if_all_is_kept),
		TEST(only_what_was_not_kept_comes_again),
	};

	return cmocka_run_group_tests_name("follow", tests, NULL, NULL);
}
