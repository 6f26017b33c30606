/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Rotating files: days and sizes, compression, expiry, and what fails: disks, clocks, neighbours.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "directory.h"
#include "pagestay/edge/rotate.h"
#include "seeded.h"

#define S    1000000000ull
#define HOUR (3600 * S)
#define DAY  (24 * HOUR)
#define NOON 1767355200ull /* 2026-01-02 12:00:00 UTC */

#define TODAY "pagestay-2026-01-02.jsonl"

/* What the disk does. */
static int sync_error;
static int directory_error; /* of directories alone */
static unsigned syncs;
static const char *refused;  /* a file that another owns */
static uint64_t free_blocks; /* 0: as it is */

int openat(int fd, const char *name, int flags, ...)
{
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = va_arg(arguments, mode_t);
	va_end(arguments);
	if (refused && strcmp(name, refused) == 0) {
		errno = EACCES;
		return -1;
	}
	return (int)syscall(SYS_openat, fd, name, flags, mode);
}

int fstatvfs(int fd, struct statvfs *disk)
{
	*disk = (struct statvfs){.f_frsize = 1, .f_bavail = free_blocks ? free_blocks : UINT32_MAX};
	return 0;
}

int fsync(int fd);
int fsync(int fd)
{
	struct stat stat;
	int error = sync_error;

	syncs++;
	if (!error && fstat(fd, &stat) == 0 && S_ISDIR(stat.st_mode))
		error = directory_error;
	errno = error;
	return error ? -1 : (int)syscall(SYS_fsync, fd);
}

struct world {
	char directory[64];
	uint64_t wall_ns;
	struct rotate_options options;
	struct rotate *rotate;
	unsigned said;
	char last[512];
};

static uint64_t wall(void *context)
{
	return ((struct world *)context)->wall_ns;
}

static void say(void *context, const char *text)
{
	struct world *world = context;

	world->said++;
	(void)snprintf(world->last, sizeof(world->last), "%s", text);
}

static void zone(const char *name)
{
	assert_int_equal(setenv("TZ", name, 1), 0);
	tzset();
}

static void open_writer(struct world *world)
{
	struct diag diag = {};

	assert_int_equal(rotate_new(&world->options, &world->rotate, &diag), 0);
}

static void world_init(struct world *world, enum rotate_kind kind)
{
	*world = (struct world){.wall_ns = NOON * S};
	(void)strcpy(world->directory, "/tmp/pagestay-rotate-XXXXXX");
	assert_non_null(mkdtemp(world->directory));
	world->options = (struct rotate_options){
		.directory = world->directory,
		.kind = kind,
		.wall_ns = wall,
		.say = say,
		.context = world,
	};
	zone("UTC");
	sync_error = directory_error = 0;
	refused = NULL;
	free_blocks = 0;
}

static void world_deinit(struct world *world)
{
	rotate_free(world->rotate);
	directory_remove(world->directory);
}

static const struct rotate_counters *counters(const struct world *world)
{
	return rotate_counters(world->rotate);
}

static int append(struct world *world, const char *text)
{
	return rotate_append(world->rotate, text, strlen(text), false);
}

/* A line in an interval of its own. */
static void put(struct world *world, const char *text)
{
	assert_int_equal(append(world, text), 0);
	rotate_sync(world->rotate);
}

static int record(struct world *world, const char *bytes, bool begins)
{
	int error = rotate_append(world->rotate, bytes, strlen(bytes), begins);

	rotate_sync(world->rotate);
	return error;
}

static void work(struct world *world)
{
	unsigned steps = 0;

	while (rotate_work(world->rotate))
		assert_true(++steps < 10000);
}

static void limit_files(rlim_t bytes)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static const char *path_of(const struct world *world, const char *name)
{
	static char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s", world->directory, name);
	return path;
}

static bool is_there(const struct world *world, const char *name)
{
	struct stat stat;

	return lstat(path_of(world, name), &stat) == 0;
}

static void make(const struct world *world, const char *name, const char *content, size_t length)
{
	FILE *file = fopen(path_of(world, name), "w");

	assert_non_null(file);
	assert_int_equal(fwrite(content, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
}

/* gzread reads what is not compressed as it is. */
static void assert_content(const struct world *world, const char *name, const char *expected)
{
	gzFile file = gzopen(path_of(world, name), "re");
	char content[4096] = {};
	int length;

	if (!file)
		fail_msg("%s is not there", name);
	length = gzread(file, content, sizeof(content) - 1);
	assert_int_equal(gzclose(file), Z_OK);
	assert_int_equal(length, strlen(expected));
	assert_string_equal(content, expected);
}

static unsigned count_files(const struct world *world)
{
	DIR *entries = opendir(world->directory);
	const struct dirent *entry;
	unsigned count = 0;

	assert_non_null(entries);
	while ((entry = readdir(entries)))
		count += strncmp(entry->d_name, "pagestay-2", 10) == 0;
	(void)closedir(entries);
	return count;
}

/*
 * Days and sizes.
 */

static void midnight_begins_a_file(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	open_writer(&world);
	put(&world, "a\n");
	world.wall_ns = (NOON + 12 * 3600) * S - 1;
	put(&world, "b\n");
	world.wall_ns++;
	put(&world, "c\n");
	assert_content(&world, TODAY, "a\nb\n");
	assert_content(&world, "pagestay-2026-01-03.jsonl", "c\n");
	assert_int_equal(count_files(&world), 2);
	world_deinit(&world);
}

static void dates_are_local(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	zone("Pacific/Kiritimati");
	open_writer(&world);
	put(&world, "a\n");
	assert_content(&world, "pagestay-2026-01-03.jsonl", "a\n");
	world_deinit(&world);
}

/* By the host, while we run: nobody calls tzset for us. */
static void a_change_of_the_zone_is_seen(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	open_writer(&world);
	put(&world, "a\n");
	assert_int_equal(setenv("TZ", "Pacific/Kiritimati", 1), 0);
	put(&world, "b\n");
	assert_content(&world, TODAY, "a\n");
	assert_content(&world, "pagestay-2026-01-03.jsonl", "b\n");
	world_deinit(&world);
}

/* Hour by hour over a day and its neighbours: which files there are, and how many lines in each. */
static void count_hours(const char *name, uint64_t from_s, const char *file, int expected)
{
	struct world world;
	gzFile lines;
	char line[8];
	int count = 0;

	world_init(&world, ROTATE_LINES);
	zone(name);
	world.wall_ns = from_s * S;
	open_writer(&world);
	for (int i = 0; i < 72; i++) {
		put(&world, "x\n");
		world.wall_ns += HOUR;
	}
	lines = gzopen(path_of(&world, file), "re");
	if (!lines)
		fail_msg("%s: no %s", name, file);
	while (gzgets(lines, line, sizeof(line)))
		count++;
	(void)gzclose(lines);
	if (count != expected)
		fail_msg("%s: %d lines, not %d", file, count, expected);
	world_deinit(&world);
}

static void a_day_of_23_or_25_hours_is_one_file(void **unused)
{
	/* Clocks go forward at 2:00 and back at 3:00; in Brazil back at midnight to 23:00. */
	count_hours("Europe/Berlin", 1774656000, "pagestay-2026-03-29.jsonl", 23);
	count_hours("Europe/Berlin", 1792796400, "pagestay-2026-10-25.jsonl", 25);
	count_hours("America/Sao_Paulo", 1518796800, "pagestay-2018-02-17.jsonl", 25);
	/* The day that was left out. */
	count_hours("Pacific/Apia", 1325167200, "pagestay-2011-12-31.jsonl", 24);
}

static void a_full_file_is_followed_by_the_next_number(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	world.options.rotate_bytes = 4;
	open_writer(&world);
	put(&world, "a\n");
	put(&world, "b\n");
	put(&world, "c\n");
	put(&world, "longer than a file\n");
	put(&world, "d\n");
	assert_content(&world, TODAY, "a\nb\n");
	assert_content(&world, TODAY ".1", "c\n");
	assert_content(&world, TODAY ".2", "longer than a file\n");
	assert_content(&world, TODAY ".3", "d\n");
	assert_int_equal(counters(&world)->files_begun, 4);
	assert_int_equal(counters(&world)->synced, 5);
	world_deinit(&world);
}

static void a_restart_goes_on_in_the_days_last_file(void **unused)
{
	struct world world;
	struct stat stat_of;

	world_init(&world, ROTATE_LINES);
	world.options.rotate_bytes = 4;
	open_writer(&world);
	put(&world, "a\n");
	put(&world, "b\n");
	put(&world, "c\n");
	rotate_free(world.rotate);
	open_writer(&world);
	put(&world, "d\n");
	assert_content(&world, TODAY ".1", "c\nd\n");
	rotate_free(world.rotate);
	open_writer(&world);
	put(&world, "e\n");
	assert_content(&world, TODAY ".2", "e\n");
	rotate_free(world.rotate);
	open_writer(&world);
	put(&world, "long\n");
	assert_content(&world, TODAY ".3", "long\n");
	assert_int_equal(stat(path_of(&world, TODAY), &stat_of), 0);
	assert_int_equal(stat_of.st_mode & 07777, 0640);
	world_deinit(&world);
}

/*
 * Compression.
 */

static void ended_files_are_compressed(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	world.options.rotate_bytes = 4;
	open_writer(&world);
	put(&world, "a\n");
	put(&world, "b\n");
	put(&world, "c\n");
	work(&world);
	assert_content(&world, TODAY ".gz", "a\nb\n");
	assert_false(is_there(&world, TODAY));
	assert_content(&world, TODAY ".1", "c\n");
	world.wall_ns += DAY;
	put(&world, "d\n");
	work(&world);
	assert_content(&world, TODAY ".1.gz", "c\n");
	assert_int_equal(counters(&world)->files_compressed, 2);
	assert_int_equal(count_files(&world), 3);
	world_deinit(&world);
}

static void the_umask_keeps_no_group_from_reading(void **unused)
{
	static const char *const names[] = {TODAY ".gz", TODAY ".1"};
	const mode_t before = umask(077);
	struct world world;
	struct stat stat;

	world_init(&world, ROTATE_LINES);
	world.options.rotate_bytes = 2;
	open_writer(&world);
	put(&world, "a\n");
	put(&world, "b\n");
	work(&world);
	(void)umask(before);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(lstat(path_of(&world, names[i]), &stat), 0);
		assert_int_equal(stat.st_mode & 07777, 0640);
	}
	world_deinit(&world);
}

/* Broken off before the rename, after it, and with a torn line. */
static void a_compression_that_broke_off_starts_again(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	make(&world, "pagestay-2026-01-01.jsonl", "a\nb", 3);
	make(&world, "pagestay-2026-01-01.jsonl.gz.tmp", "half", 4);
	make(&world, "pagestay-2026-01-01.jsonl.1", "c\n", 2);
	make(&world, "pagestay-2026-01-01.jsonl.1.gz", "whole", 5);
	open_writer(&world);
	put(&world, "d\n");
	work(&world);
	assert_content(&world, "pagestay-2026-01-01.jsonl.gz", "a\n");
	assert_content(&world, "pagestay-2026-01-01.jsonl.1.gz", "c\n");
	assert_content(&world, TODAY, "d\n");
	assert_int_equal(count_files(&world), 3);
	world_deinit(&world);
}

static void compression_takes_many_small_steps(void **unused)
{
	const size_t length = 4 << 20;
	char *bytes = malloc(length);
	struct world world;
	unsigned steps = 0;

	assert_non_null(bytes);
	for (size_t i = 0; i < length; i++)
		bytes[i] = (char)(i % 100 == 99 ? '\n' : 'a' + i * 7919 % 26);
	bytes[length - 1] = '\n';
	world_init(&world, ROTATE_LINES);
	make(&world, "pagestay-2026-01-01.jsonl", bytes, length);
	open_writer(&world);
	put(&world, "d\n");
	while (rotate_work(world.rotate)) {
		if (++steps == 3)
			assert_true(is_there(&world, "pagestay-2026-01-01.jsonl.gz.tmp"));
	}
	assert_in_range(steps, length / 262144, length / 262144 + 3);
	/* Broken off by the end of the writer: what was there is there. */
	world.wall_ns += DAY;
	put(&world, "e\n");
	assert_true(rotate_work(world.rotate));
	assert_true(is_there(&world, TODAY ".gz.tmp"));
	rotate_free(world.rotate);
	assert_false(is_there(&world, TODAY ".gz.tmp"));
	assert_content(&world, TODAY, "d\n");
	open_writer(&world);
	work(&world);
	free(bytes);
	world_deinit(&world);
}

static void a_disk_that_is_full_leaves_the_plain_file(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	make(&world, "pagestay-2026-01-01.jsonl", "a\n", 2);
	open_writer(&world);
	put(&world, "d\n");
	sync_error = ENOSPC;
	work(&world);
	assert_content(&world, "pagestay-2026-01-01.jsonl", "a\n");
	assert_int_equal(count_files(&world), 2);
	sync_error = 0;
	world.wall_ns += 61 * S;
	put(&world, "e\n");
	work(&world);
	assert_content(&world, "pagestay-2026-01-01.jsonl.gz", "a\n");
	assert_int_equal(counters(&world)->dropped, 0);
	world_deinit(&world);
}

/* Lines that do not compress. */
static void make_noise(const struct world *world, const char *name, size_t length)
{
	struct seeded seeded = {.state = 1};
	char *bytes = malloc(length);

	assert_non_null(bytes);
	for (size_t i = 0; i < length; i++)
		bytes[i] = (char)('0' + seeded_below(&seeded, 64));
	bytes[length - 1] = '\n';
	make(world, name, bytes, length);
	free(bytes);
}

static void a_disk_that_fills_during_a_compression_stops_no_other(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	make_noise(&world, "pagestay-2026-01-01.jsonl", 1 << 20);
	make(&world, "pagestay-2026-01-01.jsonl.1", "a\n", 2);
	open_writer(&world);
	put(&world, "b\n");
	limit_files(300000);
	for (int i = 0; i < 3; i++) {
		work(&world);
		world.wall_ns += 61 * S;
		rotate_sync(world.rotate);
	}
	limit_files(RLIM_INFINITY);
	assert_true(is_there(&world, "pagestay-2026-01-01.jsonl"));
	assert_false(is_there(&world, "pagestay-2026-01-01.jsonl.gz.tmp"));
	assert_content(&world, "pagestay-2026-01-01.jsonl.1.gz", "a\n");
	assert_int_equal(world.said, 1);
	assert_non_null(
		strstr(world.last, "/pagestay-2026-01-01.jsonl: cannot compress: File too large"));
	work(&world);
	assert_true(is_there(&world, "pagestay-2026-01-01.jsonl.gz"));
	assert_false(is_there(&world, "pagestay-2026-01-01.jsonl"));
	world_deinit(&world);
}

static void a_disk_without_room_is_left_as_it_is(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	make_noise(&world, "pagestay-2026-01-01.jsonl", 400000);
	make_noise(&world, "pagestay-2026-01-01.jsonl.1", 200000);
	open_writer(&world);
	put(&world, "b\n");
	free_blocks = 99999;
	while (rotate_work(world.rotate))
		assert_false(is_there(&world, "pagestay-2026-01-01.jsonl.gz.tmp"));
	assert_true(is_there(&world, "pagestay-2026-01-01.jsonl"));
	assert_true(is_there(&world, "pagestay-2026-01-01.jsonl.1.gz"));
	assert_int_equal(world.said, 1);
	assert_non_null(strstr(world.last, "cannot compress: No space left on device"));
	world_deinit(&world);
}

/* Some network file systems have none to sync. */
static void a_directory_need_not_be_one_to_sync(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	make(&world, "pagestay-2026-01-01.jsonl", "a\n", 2);
	directory_error = EINVAL;
	open_writer(&world);
	put(&world, "b\n");
	work(&world);
	assert_content(&world, "pagestay-2026-01-01.jsonl.gz", "a\n");
	assert_false(is_there(&world, "pagestay-2026-01-01.jsonl"));
	assert_int_equal(world.said, 0);
	world_deinit(&world);
}

/*
 * Expiry.
 */

static void only_names_of_ours_expire(void **unused)
{
	static const char *const others[] = {"pagestay-2020-01-01.jsonl.0",
		"pagestay-2020-01-01.jsonl.01", "pagestay-2020-01-01.jsonl.gz.1",
		"pagestay-2020-01-01.jsonl.1.gz.gz", "pagestay-2020-02-30.jsonl",
		"pagestay-2020-1-01.jsonl", "pagestay- 2020-01-01.jsonl",
		"pagestay-2020-01-01.json", "pagestay-2020-01-01.jsonl ", "pagestay-2020-01-01",
		"pagestay-2020-01-01.psr.gz", "pagestay-2020-01-01.psr.gz.tmp",
		"pagestay-2020-01-01.psr.gz.tmp~", "pagestay-+020-01-01.jsonl",
		"xpagestay-2020-01-01.jsonl", "pagestay-2020-01-01.jsonl.9999999",
		"events-2020-01-01.jsonl"};
	static const char *const ours[] = {"pagestay-2020-01-01.jsonl",
		"pagestay-2020-02-29.jsonl.12", "pagestay-2020-01-01.jsonl.999999.gz",
		"pagestay-2020-01-01.psr", "pagestay-2020-01-01.psr.1",
		"pagestay-2020-01-03.jsonl.gz.tmp"};
	const size_t other_count = sizeof(others) / sizeof(others[0]);
	struct world world;

	world_init(&world, ROTATE_LINES);
	world.options.keep_days = 14;
	for (size_t i = 0; i < other_count; i++)
		make(&world, others[i], "a\n", 2);
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		make(&world, ours[i], "a\n", 2);
	assert_int_equal(symlink("/etc/passwd", path_of(&world, "pagestay-2020-05-01.jsonl")), 0);
	assert_int_equal(mkdir(path_of(&world, "pagestay-2020-05-02.jsonl"), 0700), 0);
	open_writer(&world);
	for (int i = 0; i < 4; i++, world.wall_ns += HOUR / 2)
		put(&world, "d\n");
	for (size_t i = 0; i < other_count; i++)
		if (!is_there(&world, others[i]))
			fail_msg("%s is gone", others[i]);
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (is_there(&world, ours[i]))
			fail_msg("%s is there", ours[i]);
	assert_true(is_there(&world, "pagestay-2020-05-01.jsonl"));
	assert_true(is_there(&world, "pagestay-2020-05-02.jsonl"));
	work(&world);
	assert_true(is_there(&world, "pagestay-2020-05-01.jsonl"));
	assert_int_equal(counters(&world)->files_expired, sizeof(ours) / sizeof(ours[0]));
	world_deinit(&world);
}

static void age_counts_in_days(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	world.options.keep_days = 2;
	make(&world, "pagestay-2025-12-30.jsonl.gz", "a", 1);
	make(&world, "pagestay-2025-12-31.jsonl.gz", "a", 1);
	make(&world, "pagestay-2026-07-01.jsonl.gz", "a", 1);
	open_writer(&world);
	for (int i = 0; i < 4; i++, world.wall_ns += HOUR / 2)
		put(&world, "d\n");
	assert_false(is_there(&world, "pagestay-2025-12-30.jsonl.gz"));
	assert_true(is_there(&world, "pagestay-2025-12-31.jsonl.gz"));
	assert_true(is_there(&world, "pagestay-2026-07-01.jsonl.gz"));
	world_deinit(&world);
}

/* No report comes in between, and none is made in an instant. */
static void an_interval_of_an_hour_is_no_jump(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	world.options.keep_days = 2;
	make(&world, "pagestay-2025-12-30.jsonl.gz", "a", 1);
	open_writer(&world);
	for (int i = 0; i < 3; i++, world.wall_ns += HOUR + S)
		put(&world, "d\n");
	assert_false(is_there(&world, "pagestay-2025-12-30.jsonl.gz"));
	world_deinit(&world);
}

static void a_clock_that_jumps_ahead_expires_nothing_at_once(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	world.options.keep_days = 2;
	open_writer(&world);
	for (int i = 0; i < 4; i++, world.wall_ns += HOUR / 2)
		put(&world, "a\n");
	world.wall_ns += 4000 * DAY;
	for (int i = 0; i < 59; i++, world.wall_ns += 60 * S)
		put(&world, "b\n");
	assert_content(&world, TODAY, "a\na\na\na\n");
	assert_int_equal(counters(&world)->files_expired, 0);
	world.wall_ns += 60 * S;
	put(&world, "b\n");
	assert_false(is_there(&world, TODAY));
	world_deinit(&world);
}

static void a_step_back_does_not_return_to_a_day_that_has_ended(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	open_writer(&world);
	world.wall_ns = (NOON + 12 * 3600) * S;
	put(&world, "a\n");
	world.wall_ns -= 2 * S;
	put(&world, "b\n");
	assert_content(&world, "pagestay-2026-01-03.jsonl", "a\nb\n");
	world.wall_ns -= 3 * HOUR;
	put(&world, "c\n");
	world.wall_ns -= DAY;
	put(&world, "d\n");
	rotate_free(world.rotate);
	open_writer(&world);
	put(&world, "e\n");
	assert_content(&world, "pagestay-2026-01-03.jsonl", "a\nb\nc\nd\ne\n");
	assert_int_equal(count_files(&world), 1);
	/* A clock that was wrong for longer does not name files for ever. */
	world.wall_ns -= DAY;
	put(&world, "f\n");
	assert_content(&world, "pagestay-2025-12-31.jsonl", "f\n");
	world.wall_ns += 2 * DAY;
	put(&world, "g\n");
	assert_content(&world, "pagestay-2026-01-03.jsonl", "a\nb\nc\nd\ne\ng\n");
	world_deinit(&world);
}

static void a_day_that_goes_on_after_a_step_back_does_not_expire(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	world.options.keep_bytes = 10;
	make(&world, TODAY ".gz", "aaaa", 4);
	make(&world, "pagestay-2026-01-03.jsonl.gz", "aaaa", 4);
	make(&world, "pagestay-2026-01-05.jsonl.gz", "aaaa", 4);
	open_writer(&world);
	rotate_sync(world.rotate);
	assert_false(is_there(&world, "pagestay-2026-01-05.jsonl.gz"));
	put(&world, "b\n");
	assert_content(&world, "pagestay-2026-01-03.jsonl.1", "b\n");
	assert_int_equal(append(&world, "c\n"), -EDQUOT);
	assert_int_equal(count_files(&world), 3);
	world_deinit(&world);
}

static void the_oldest_go_when_there_are_too_many_bytes(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	world.options.keep_bytes = 10;
	make(&world, "pagestay-2025-12-30.psr", "aaaa", 4);
	make(&world, "pagestay-2025-12-31.jsonl.gz", "aaaa", 4);
	make(&world, "pagestay-2025-12-31.jsonl.10.gz", "a", 1);
	make(&world, "pagestay-2025-12-31.jsonl.9.gz", "a", 1);
	open_writer(&world);
	put(&world, "dd\n");
	assert_false(is_there(&world, "pagestay-2025-12-30.psr"));
	assert_true(is_there(&world, "pagestay-2025-12-31.jsonl.gz"));
	assert_int_equal(counters(&world)->bytes_kept, 9);
	put(&world, "dddd\n");
	assert_false(is_there(&world, "pagestay-2025-12-31.jsonl.gz"));
	assert_true(is_there(&world, "pagestay-2025-12-31.jsonl.9.gz"));
	assert_int_equal(counters(&world)->bytes_kept, 10);
	put(&world, "d\n");
	assert_false(is_there(&world, "pagestay-2025-12-31.jsonl.9.gz"));
	assert_false(is_there(&world, "pagestay-2025-12-31.jsonl.10.gz"));
	assert_int_equal(world.said, 0);
	world_deinit(&world);
}

static void a_file_is_a_quarter_of_what_is_kept_at_most(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	world.options.keep_bytes = 16;
	world.options.rotate_bytes = 100;
	open_writer(&world);
	for (int i = 0; i < 3; i++)
		put(&world, "a\n");
	assert_content(&world, TODAY, "a\na\n");
	assert_content(&world, TODAY ".1", "a\n");
	world_deinit(&world);
	world_init(&world, ROTATE_RECORDINGS);
	world.options.keep_bytes = 16;
	open_writer(&world);
	assert_int_equal(record(&world, "aaa", true), 0);
	assert_false(rotate_is_due(world.rotate));
	assert_int_equal(record(&world, "a", false), 0);
	assert_true(rotate_is_due(world.rotate));
	world_deinit(&world);
}

/* As text that can be compressed: what is kept of a day is many times what may be kept of it. */
static void a_full_day_goes_on_when_its_files_are_compressed(void **unused)
{
	struct world world;
	char line[1001];
	unsigned written = 0;

	memset(line, 'a', sizeof(line));
	(void)strcpy(line + 998, "a\n");
	world_init(&world, ROTATE_LINES);
	world.options.keep_bytes = 10000;
	open_writer(&world);
	for (int i = 0; i < 100; i++) {
		written += append(&world, line) == 0;
		rotate_sync(world.rotate);
		assert_in_range(counters(&world)->bytes_kept, 1, 10000);
		work(&world);
	}
	assert_in_range(written, 90, 100);
	/* The same where nothing is compressed in between, also over a restart. */
	for (int i = 0; i < 20; i++) {
		(void)append(&world, line);
		rotate_sync(world.rotate);
	}
	assert_int_equal(append(&world, line), -EDQUOT);
	rotate_free(world.rotate);
	open_writer(&world);
	assert_int_equal(append(&world, line), 0);
	rotate_sync(world.rotate);
	work(&world);
	assert_int_equal(append(&world, line), 0);
	world_deinit(&world);
}

/* Today's are never removed, and yet there is a bound. */
static void a_day_that_is_too_much_alone_pauses(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	world.options.keep_bytes = 40;
	world.options.rotate_bytes = 2;
	make(&world, TODAY ".gz", "compressed, and all that is kept....", 36);
	open_writer(&world);
	rotate_sync(world.rotate);
	for (int i = 0; i < 2; i++)
		put(&world, "a\n");
	for (int i = 0; i < 3; i++) {
		assert_int_equal(append(&world, "b\n"), -EDQUOT);
		rotate_sync(world.rotate);
		/* Such short ones only grow by it. */
		work(&world);
	}
	assert_int_equal(world.said, 1);
	assert_non_null(strstr(world.last, "today's files alone are as much as may be kept"));
	world.wall_ns += DAY;
	put(&world, "c\n");
	assert_int_equal(world.said, 2);
	assert_non_null(strstr(world.last, "written again; dropped meanwhile: 3"));
	assert_content(&world, "pagestay-2026-01-03.jsonl", "c\n");
	world_deinit(&world);
}

/*
 * Failures.
 */

static void check_cut(const char *content, size_t length, const char *expected, unsigned said)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	make(&world, TODAY, content, length);
	open_writer(&world);
	put(&world, "z\n");
	assert_content(&world, TODAY, expected);
	assert_int_equal(world.said, said);
	world_deinit(&world);
}

static void a_torn_end_is_cut_off(void **unused)
{
	static char chunks[200000];

	check_cut("a\nb\n", 4, "a\nb\nz\n", 0);
	check_cut("a\nb", 3, "a\nz\n", 1);
	check_cut("ab", 2, "z\n", 1);
	check_cut("", 0, "z\n", 0);
	/* What a power loss leaves. */
	check_cut("a\nb\0\0\0", 6, "a\nz\n", 1);
	check_cut("a\nb\0\0\nc\n", 8, "a\nz\n", 1);
	memset(chunks, 'x', sizeof(chunks));
	memcpy(chunks, "a\n", 2);
	check_cut(chunks, sizeof(chunks), "a\nz\n", 1);
	memset(chunks + 2, 0, sizeof(chunks) - 2);
	check_cut(chunks, sizeof(chunks), "a\nz\n", 1);
}

/* A zero far before a whole end: a page of a long append that did not reach the disk. */
static void zeros_are_found_in_a_whole_append(void **unused)
{
	const size_t length = ROTATE_APPEND_BYTES;
	char *bytes = malloc(length);

	assert_non_null(bytes);
	memset(bytes, 'x', length);
	memcpy(bytes, "a\n", 2);
	bytes[2] = '\0';
	bytes[length - 1] = '\n';
	check_cut(bytes, length, "a\nz\n", 1);
	free(bytes);
}

static void a_short_write_is_taken_back(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	open_writer(&world);
	put(&world, "one\n");
	limit_files(10);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(append(&world, "longer\n"), -EFBIG);
		assert_int_equal(append(&world, "not tried\n"), -EAGAIN);
		assert_content(&world, TODAY, "one\n");
		rotate_sync(world.rotate);
	}
	assert_int_equal(world.said, 1);
	assert_non_null(strstr(world.last, "/" TODAY ": cannot write: File too large"));
	assert_true(counters(&world)->paused);
	limit_files(RLIM_INFINITY);
	put(&world, "two\n");
	assert_int_equal(world.said, 2);
	assert_non_null(strstr(world.last, "written again; dropped meanwhile: 6"));
	assert_content(&world, TODAY, "one\ntwo\n");
	assert_int_equal(counters(&world)->dropped, 6);
	assert_int_equal(counters(&world)->appended, 2);
	assert_int_equal(counters(&world)->synced, 2);
	assert_false(counters(&world)->paused);
	world_deinit(&world);
}

static void what_cannot_be_synced_is_taken_back(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	open_writer(&world);
	put(&world, "one\n");
	sync_error = EIO;
	assert_int_equal(append(&world, "two\n"), 0);
	assert_int_equal(append(&world, "three\n"), 0);
	rotate_sync(world.rotate);
	assert_content(&world, TODAY, "one\n");
	assert_int_equal(counters(&world)->dropped, 2);
	assert_int_equal(counters(&world)->appended, 1);
	sync_error = 0;
	put(&world, "four\n");
	assert_content(&world, TODAY, "one\nfour\n");
	assert_int_equal(world.said, 2);
	assert_non_null(strstr(world.last, "dropped meanwhile: 2"));
	world_deinit(&world);
}

static void an_interval_is_synced_once(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	open_writer(&world);
	put(&world, "one\n");
	syncs = 0;
	assert_int_equal(append(&world, "two\n"), 0);
	assert_int_equal(append(&world, "three\n"), 0);
	assert_int_equal(counters(&world)->synced, 1);
	rotate_sync(world.rotate);
	rotate_sync(world.rotate);
	assert_int_equal(syncs, 1);
	assert_int_equal(counters(&world)->synced, 3);
	world_deinit(&world);
}

static void a_directory_may_go_and_come_back(void **unused)
{
	struct world world;
	char aside[128];

	world_init(&world, ROTATE_LINES);
	(void)snprintf(aside, sizeof(aside), "%s-aside", world.directory);
	open_writer(&world);
	put(&world, "one\n");
	assert_int_equal(rename(world.directory, aside), 0);
	assert_int_equal(append(&world, "two\n"), -ENOENT);
	rotate_sync(world.rotate);
	assert_int_equal(append(&world, "three\n"), -ENOENT);
	rotate_sync(world.rotate);
	assert_int_equal(world.said, 1);
	assert_int_equal(mkdir(world.directory, 0755), 0);
	put(&world, "four\n");
	assert_content(&world, TODAY, "four\n");
	assert_int_equal(world.said, 2);
	/* Replaced by another: nothing is lost. */
	directory_remove(aside);
	assert_int_equal(rename(world.directory, aside), 0);
	assert_int_equal(mkdir(world.directory, 0755), 0);
	put(&world, "five\n");
	assert_content(&world, TODAY, "five\n");
	assert_int_equal(world.said, 2);
	assert_int_equal(counters(&world)->dropped, 2);
	directory_remove(aside);
	world_deinit(&world);
}

static void a_file_may_be_removed(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	open_writer(&world);
	put(&world, "one\n");
	assert_int_equal(unlink(path_of(&world, TODAY)), 0);
	put(&world, "two\n");
	assert_content(&world, TODAY, "two\n");
	assert_int_equal(rename(path_of(&world, TODAY), "/tmp/pagestay-rotate-moved"), 0);
	put(&world, "three\n");
	assert_content(&world, TODAY, "three\n");
	assert_int_equal(unlink("/tmp/pagestay-rotate-moved"), 0);
	assert_int_equal(world.said, 0);
	world_deinit(&world);
}

static void a_file_of_another_owner_is_left_alone(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	make(&world, TODAY, "another's\n", 10);
	refused = TODAY;
	open_writer(&world);
	put(&world, "one\n");
	work(&world);
	put(&world, "two\n");
	assert_content(&world, TODAY ".1", "one\ntwo\n");
	assert_int_equal(world.said, 1);
	assert_non_null(strstr(world.last, TODAY ": cannot compress: Permission denied"));
	rotate_free(world.rotate);
	open_writer(&world);
	put(&world, "three\n");
	assert_content(&world, TODAY ".1", "one\ntwo\nthree\n");
	assert_content(&world, TODAY, "another's\n");
	world_deinit(&world);
}

static void a_name_that_is_no_file_is_left_alone(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	assert_int_equal(symlink("/etc/passwd", path_of(&world, TODAY)), 0);
	assert_int_equal(mkdir(path_of(&world, TODAY ".1"), 0700), 0);
	open_writer(&world);
	put(&world, "one\n");
	assert_content(&world, TODAY ".2", "one\n");
	world_deinit(&world);
}

static void a_start_without_a_directory_is_a_pause(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_LINES);
	assert_int_equal(rmdir(world.directory), 0);
	open_writer(&world);
	assert_int_equal(world.said, 1);
	assert_int_equal(append(&world, "one\n"), -ENOENT);
	rotate_sync(world.rotate);
	assert_int_equal(mkdir(world.directory, 0755), 0);
	put(&world, "two\n");
	assert_content(&world, TODAY, "two\n");
	assert_int_equal(world.said, 2);
	world_deinit(&world);
}

static void there_is_one_writer_of_each_kind(void **unused)
{
	struct world world, other;
	struct rotate *second = NULL;
	struct diag diag = {};

	world_init(&world, ROTATE_LINES);
	open_writer(&world);
	assert_int_equal(rotate_new(&world.options, &second, &diag), -EBUSY);
	assert_null(second);
	assert_non_null(strstr(diag.text, "another pagestay writes there"));
	other = world;
	other.options.kind = ROTATE_RECORDINGS;
	open_writer(&other);
	rotate_free(other.rotate);
	/* A lock that is removed is taken anew. */
	assert_int_equal(unlink(path_of(&world, "pagestay-jsonl.lock")), 0);
	put(&world, "one\n");
	assert_int_equal(rotate_new(&world.options, &second, &diag), -EBUSY);
	world_deinit(&world);
}

static void a_directory_must_have_an_absolute_path(void **unused)
{
	struct rotate_options options = {.directory = "relative"};
	struct rotate *rotate = NULL;
	struct diag diag = {};

	assert_int_equal(rotate_new(&options, &rotate, &diag), -EINVAL);
	assert_null(rotate);
}

/*
 * Recordings.
 */

static void recordings_begin_when_told(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_RECORDINGS);
	world.options.rotate_bytes = 4;
	make(&world, "pagestay-2026-01-02.psr", "old", 3);
	open_writer(&world);
	assert_true(rotate_is_due(world.rotate));
	assert_int_equal(record(&world, "a", false), -ESTALE);
	assert_int_equal(world.said, 0);
	assert_int_equal(record(&world, "aa", true), 0);
	assert_false(rotate_is_due(world.rotate));
	assert_int_equal(record(&world, "bb", false), 0);
	assert_true(rotate_is_due(world.rotate));
	assert_int_equal(record(&world, "end", false), 0);
	assert_int_equal(record(&world, "c", true), 0);
	assert_false(rotate_is_due(world.rotate));
	world.wall_ns += DAY;
	assert_true(rotate_is_due(world.rotate));
	assert_int_equal(record(&world, "d", false), 0);
	assert_int_equal(record(&world, "e", true), 0);
	assert_content(&world, "pagestay-2026-01-02.psr", "old");
	assert_content(&world, "pagestay-2026-01-02.psr.1", "aabbend");
	assert_content(&world, "pagestay-2026-01-02.psr.2", "cd");
	assert_content(&world, "pagestay-2026-01-03.psr", "e");
	assert_false(rotate_work(world.rotate));
	world_deinit(&world);
}

static void a_recording_that_broke_off_is_not_gone_on_with(void **unused)
{
	struct world world;

	world_init(&world, ROTATE_RECORDINGS);
	open_writer(&world);
	assert_int_equal(record(&world, "aaaa", true), 0);
	limit_files(6);
	assert_int_equal(record(&world, "bbbb", false), -EFBIG);
	assert_true(rotate_is_due(world.rotate));
	assert_int_equal(record(&world, "cccccccc", true), -EFBIG);
	limit_files(RLIM_INFINITY);
	assert_int_equal(record(&world, "dddd", false), -ESTALE);
	assert_int_equal(count_files(&world), 1);
	assert_int_equal(record(&world, "eeee", true), 0);
	assert_content(&world, "pagestay-2026-01-02.psr", "aaaa");
	assert_content(&world, "pagestay-2026-01-02.psr.1", "eeee");
	assert_int_equal(world.said, 2);
	assert_int_equal(counters(&world)->dropped, 3);
	assert_int_equal(counters(&world)->files_begun, 2);
	world_deinit(&world);
}

static void names_are_of_the_first_file(void **unused)
{
	char name[ROTATE_NAME_BYTES];

	zone("UTC");
	assert_int_equal(rotate_name_at(ROTATE_LINES, NOON * S, name), 0);
	assert_string_equal(name, TODAY);
	assert_int_equal(rotate_name_at(ROTATE_RECORDINGS, 0, name), 0);
	assert_string_equal(name, "pagestay-1970-01-01.psr");
}

/* Ours, day by day, and the C library's. */
static void days_are_those_of_the_calendar(void **unused)
{
	char name[ROTATE_NAME_BYTES], expected[ROTATE_NAME_BYTES];

	zone("UTC");
	for (time_t day = 0; day < 365 * 400; day++) {
		time_t seconds = day * 86400;
		struct tm tm;

		assert_non_null(gmtime_r(&seconds, &tm));
		(void)strftime(expected, sizeof(expected), "pagestay-%Y-%m-%d.jsonl", &tm);
		assert_int_equal(rotate_name_at(ROTATE_LINES, (uint64_t)seconds * S, name), 0);
		assert_string_equal(name, expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(midnight_begins_a_file),
		cmocka_unit_test(dates_are_local),
		cmocka_unit_test(a_change_of_the_zone_is_seen),
		cmocka_unit_test(a_day_of_23_or_25_hours_is_one_file),
		cmocka_unit_test(a_full_file_is_followed_by_the_next_number),
		cmocka_unit_test(a_restart_goes_on_in_the_days_last_file),
		cmocka_unit_test(ended_files_are_compressed),
		cmocka_unit_test(the_umask_keeps_no_group_from_reading),
		cmocka_unit_test(a_compression_that_broke_off_starts_again),
		cmocka_unit_test(compression_takes_many_small_steps),
		cmocka_unit_test(a_disk_that_is_full_leaves_the_plain_file),
		cmocka_unit_test(a_disk_that_fills_during_a_compression_stops_no_other),
		cmocka_unit_test(a_disk_without_room_is_left_as_it_is),
		cmocka_unit_test(a_directory_need_not_be_one_to_sync),
		cmocka_unit_test(only_names_of_ours_expire),
		cmocka_unit_test(age_counts_in_days),
		cmocka_unit_test(an_interval_of_an_hour_is_no_jump),
		cmocka_unit_test(a_clock_that_jumps_ahead_expires_nothing_at_once),
		cmocka_unit_test(a_step_back_does_not_return_to_a_day_that_has_ended),
		cmocka_unit_test(a_day_that_goes_on_after_a_step_back_does_not_expire),
		cmocka_unit_test(the_oldest_go_when_there_are_too_many_bytes),
		cmocka_unit_test(a_file_is_a_quarter_of_what_is_kept_at_most),
		cmocka_unit_test(a_full_day_goes_on_when_its_files_are_compressed),
		cmocka_unit_test(a_day_that_is_too_much_alone_pauses),
		cmocka_unit_test(a_torn_end_is_cut_off),
		cmocka_unit_test(zeros_are_found_in_a_whole_append),
		cmocka_unit_test(a_short_write_is_taken_back),
		cmocka_unit_test(what_cannot_be_synced_is_taken_back),
		cmocka_unit_test(an_interval_is_synced_once),
		cmocka_unit_test(a_directory_may_go_and_come_back),
		cmocka_unit_test(a_file_may_be_removed),
		cmocka_unit_test(a_file_of_another_owner_is_left_alone),
		cmocka_unit_test(a_name_that_is_no_file_is_left_alone),
		cmocka_unit_test(a_start_without_a_directory_is_a_pause),
		cmocka_unit_test(there_is_one_writer_of_each_kind),
		cmocka_unit_test(a_directory_must_have_an_absolute_path),
		cmocka_unit_test(recordings_begin_when_told),
		cmocka_unit_test(a_recording_that_broke_off_is_not_gone_on_with),
		cmocka_unit_test(names_are_of_the_first_file),
		cmocka_unit_test(days_are_those_of_the_calendar),
	};

	(void)signal(SIGXFSZ, SIG_IGN);
	return cmocka_run_group_tests_name("rotate", tests, NULL, NULL);
}
