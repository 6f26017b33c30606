/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the file that is appended to. Up to `good_bytes` it holds whole appends, up to
 * `synced_bytes` they are on the disk. Whatever fails, the file is cut back to one of the two
 * before anything else is written to it, so it never has a torn line but at its end, and there only
 * if the writer was killed. Directory, file and lock are looked at before each append: what
 * somebody replaced is opened again. Called by the sinks' file thread.
 */
#include "rotate_state.h"
#include "pagestay/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOOK_NS     (60 * NS_PER_S)          /* how often the directory is looked through */
#define JUMP_NS     (2 * ROTATE_NS_PER_HOUR) /* more is no interval, and no small step back */
#define CHUNK_BYTES 65536
#define SAID_BYTES  (PATH_MAX + 256)
#define LOCK_MODE   0600

static const char *const lock_names[ROTATE_KINDS] = {"pagestay-jsonl.lock", "pagestay-psr.lock"};

void rotate_say(const struct rotate *rotate, const char *format, ...)
{
	char text[SAID_BYTES];
	va_list arguments;

	if (!rotate->options.say)
		return;
	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	rotate->options.say(rotate->options.context, text);
}

/*
 * Time.
 */

static uint64_t wall_now_ns(const struct rotate *rotate)
{
	return rotate->options.wall_ns ? rotate->options.wall_ns(rotate->options.context)
				       : clock_ns(CLOCK_REALTIME);
}

/* A small step back is waited out: it does not return to a day that has ended. */
static void look_at_clock(struct rotate *rotate)
{
	uint64_t now_ns = wall_now_ns(rotate), before_ns = rotate->wall_ns;
	bool has_stepped = now_ns < before_ns;
	uint64_t step_ns = has_stepped ? before_ns - now_ns : now_ns - before_ns;

	if (step_ns > JUMP_NS) {
		rotate->steady_ns = now_ns;
		rotate->looked_ns = 0;
	} else if (has_stepped) {
		return;
	}
	rotate->wall_ns = now_ns;
}

/*
 * Pauses.
 */

static const char *words(const struct rotate *rotate, int error)
{
	if (error == -EBUSY)
		return "another pagestay writes there";
	if (rotate->is_full && error == -EDQUOT)
		return "today's files alone are as much as may be kept";
	return strerror(-error);
}

static void pause_for(struct rotate *rotate, int error)
{
	char name[ROTATE_NAME_BYTES] = "";

	if (!rotate->counters.paused) {
		if (rotate->is_about_file)
			rotate_name_put(&rotate->name, name);
		rotate->dropped_before = rotate->counters.dropped;
		rotate_say(rotate,
			"%s%s%s: cannot write: %s; what comes is dropped until it works again",
			rotate->directory, name[0] ? "/" : "", name, words(rotate, error));
	}
	rotate->counters.paused = true;
}

static void go_on(struct rotate *rotate)
{
	if (!rotate->counters.paused)
		return;
	rotate->counters.paused = false;
	rotate_say(rotate, "%s: written again; dropped meanwhile: %llu", rotate->directory,
		(unsigned long long)(rotate->counters.dropped - rotate->dropped_before));
}

/*
 * Directory and lock.
 */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

/* Appends that are not known to be on the disk, and whose file is no longer ours or to be trusted.
 */
static void take_back(struct rotate *rotate)
{
	rotate->counters.dropped += rotate->unsynced;
	rotate->counters.appended -= rotate->unsynced;
	rotate->unsynced = 0;
}

static void close_file(struct rotate *rotate)
{
	take_back(rotate);
	rotate->good_bytes = rotate->synced_bytes = 0;
	close_fd(&rotate->fd);
	rotate->may_compress = true;
}

static void close_directory(struct rotate *rotate)
{
	rotate_gzip_stop(rotate);
	close_file(rotate);
	close_fd(&rotate->lock_fd);
	close_fd(&rotate->directory_fd);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Is the open descriptor what the name says? */
static bool is_at(int directory_fd, const char *name, int fd)
{
	struct stat named, open;

	return fd >= 0 && fstatat(directory_fd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	       fstat(fd, &open) == 0 && is_same(&named, &open);
}

static bool is_directory_there(const struct rotate *rotate)
{
	struct stat named, open;

	return rotate->directory_fd >= 0 && stat(rotate->directory, &named) == 0 &&
	       fstat(rotate->directory_fd, &open) == 0 && is_same(&named, &open) &&
	       is_at(rotate->directory_fd, lock_names[rotate->options.kind], rotate->lock_fd);
}

static int open_lock(struct rotate *rotate)
{
	rotate->lock_fd = openat(rotate->directory_fd, lock_names[rotate->options.kind],
		O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, LOCK_MODE);
	if (rotate->lock_fd < 0)
		return -errno;
	if (flock(rotate->lock_fd, LOCK_EX | LOCK_NB))
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	return 0;
}

static int open_directory(struct rotate *rotate)
{
	int error = 0;

	if (is_directory_there(rotate))
		return 0;
	close_directory(rotate);
	rotate->looked_ns = 0;
	rotate->directory_fd = open(rotate->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (rotate->directory_fd < 0)
		return -errno;
	error = open_lock(rotate);
	if (error)
		close_directory(rotate);
	return error;
}

/*
 * Files.
 */

/* The length of the whole lines before `end`. */
static int find_line(int fd, uint64_t end, uint64_t *ret_bytes)
{
	char bytes[CHUNK_BYTES];

	*ret_bytes = 0;
	while (end) {
		size_t length = end < sizeof(bytes) ? (size_t)end : sizeof(bytes);
		ssize_t got = pread(fd, bytes, length, (off_t)(end - length));
		const char *last;

		if (got < 0 || (size_t)got != length)
			return got < 0 ? -errno : -EIO;
		end -= length;
		last = memrchr(bytes, '\n', length);
		if (last) {
			*ret_bytes = end + (uint64_t)(last - bytes) + 1;
			return 0;
		}
	}
	return 0;
}

/*
 * Where the first zero of the file's end is; its length if there is none. No line has one; power
 * loss leaves them in what was not synced, which is one append or a queue that holds less.
 */
static int find_zero(int fd, uint64_t end, uint64_t *ret_at)
{
	uint64_t from = end > ROTATE_APPEND_BYTES ? end - ROTATE_APPEND_BYTES : 0;
	char bytes[CHUNK_BYTES];

	*ret_at = end;
	while (from < end) {
		ssize_t got = pread(fd, bytes, sizeof(bytes), (off_t)from);
		const char *zero;

		if (got <= 0)
			return got < 0 ? -errno : -EIO;
		zero = memchr(bytes, '\0', (size_t)got);
		if (zero) {
			*ret_at = from + (uint64_t)(zero - bytes);
			return 0;
		}
		from += (uint64_t)got;
	}
	return 0;
}

int rotate_cut(struct rotate *rotate, int fd, const char *name, uint64_t *ret_bytes)
{
	struct stat stat;
	uint64_t bytes, sound = 0, line = 0;
	int error;

	if (fstat(fd, &stat))
		return -errno;
	if (!S_ISREG(stat.st_mode))
		return -EINVAL;
	bytes = (uint64_t)stat.st_size;
	error = find_zero(fd, bytes, &sound);
	if (!error)
		error = find_line(fd, sound, &line);
	if (error)
		return error;
	if (line < bytes) {
		if (ftruncate(fd, (off_t)line) || fsync(fd))
			return -errno;
		rotate_say(rotate, "%s/%s: a torn end of %llu bytes was cut off", rotate->directory,
			name, (unsigned long long)(bytes - line));
	}
	*ret_bytes = line;
	return 0;
}

/* A file's bytes. Of what is kept it is a part, so that ended ones can make room. 0: no limit. */
static uint64_t file_most(const struct rotate *rotate)
{
	const uint64_t most = rotate->options.rotate_bytes;
	const uint64_t quarter = rotate->options.keep_bytes / 4;

	return quarter && (!most || quarter < most) ? quarter : most;
}

static bool would_pass(const struct rotate *rotate, uint64_t bytes, size_t length)
{
	const uint64_t most = file_most(rotate);

	return most && bytes && bytes + length > most;
}

static int next_number(struct rotate *rotate)
{
	if (rotate->name.number == ROTATE_NUMBER_MAX)
		return -EOVERFLOW;
	rotate->name.number++;
	return 0;
}

/*
 * Sets the name to write to: the last file's of the newest day that is not over if it goes on, else
 * the next.
 */
static int choose_name(struct rotate *rotate, int64_t today, size_t length, bool *ret_exists)
{
	struct rotate_name name = {.day = today, .kind = rotate->options.kind};
	struct rotate_list list = {};
	bool is_taken = false, goes_on = false;
	int error = rotate_list(rotate->directory_fd, &list);

	if (error)
		return error;
	for (size_t i = 0; i < list.count; i++) {
		const struct rotate_file *file = &list.files[i];

		if (!rotate_is_current(file->name.day, today) || file->name.kind != name.kind)
			continue;
		is_taken = true;
		name.day = file->name.day;
		name.number = file->name.number;
		goes_on = name.kind == ROTATE_LINES && file->name.form == ROTATE_PLAIN &&
			  file->is_regular && !would_pass(rotate, file->bytes, length);
	}
	free(list.files);
	rotate->name = name;
	*ret_exists = goes_on;
	return is_taken && !goes_on ? next_number(rotate) : 0;
}

static int open_name(struct rotate *rotate, bool exists)
{
	char name[ROTATE_NAME_BYTES];

	rotate->is_about_file = true;
	rotate_name_put(&rotate->name, name);
	rotate->fd = openat(rotate->directory_fd, name,
		O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC |
			(exists ? 0 : O_CREAT | O_EXCL),
		ROTATE_MODE);
	return rotate->fd < 0 ? -errno : 0;
}

static int open_file(struct rotate *rotate, int64_t today, size_t length)
{
	char name[ROTATE_NAME_BYTES];
	bool exists = false;
	int error = choose_name(rotate, today, length, &exists);

	if (error)
		return error;
	error = open_name(rotate, exists);
	/* Another owner's, of a run as another user. */
	if (exists && (error == -EACCES || error == -EPERM)) {
		exists = false;
		error = next_number(rotate);
		if (!error)
			error = open_name(rotate, exists);
	}
	if (error)
		return error;
	rotate_name_put(&rotate->name, name);
	rotate->good_bytes = rotate->synced_bytes = 0;
	if (exists)
		error = rotate_cut(rotate, rotate->fd, name, &rotate->good_bytes);
	else
		(void)fchmod(rotate->fd, ROTATE_MODE);
	if (error) {
		close_file(rotate);
		return error;
	}
	rotate->synced_bytes = rotate->good_bytes;
	rotate->is_entry_unsynced = true;
	rotate->counters.files_begun += !exists;
	rotate->looked_ns = 0;
	return 0;
}

/* A file of a recording that could not even begin leaves nothing behind. */
static void remove_empty(struct rotate *rotate)
{
	char name[ROTATE_NAME_BYTES];

	rotate_name_put(&rotate->name, name);
	if (rotate->good_bytes || !is_at(rotate->directory_fd, name, rotate->fd) ||
		unlinkat(rotate->directory_fd, name, 0))
		return;
	rotate->counters.files_begun--;
}

/* Cuts off what is behind the last whole append. */
static int restore(struct rotate *rotate)
{
	struct stat stat;

	if (fstat(rotate->fd, &stat))
		return -errno;
	if ((uint64_t)stat.st_size > rotate->good_bytes &&
		ftruncate(rotate->fd, (off_t)rotate->good_bytes))
		return -errno;
	return 0;
}

static int sync_descriptors(struct rotate *rotate)
{
	int error = fsync(rotate->fd) ? -errno : 0;

	if (!error && rotate->is_entry_unsynced)
		error = file_sync_directory(rotate->directory_fd);
	if (!error)
		rotate->is_entry_unsynced = false;
	return error;
}

/*
 * After a failure nobody knows which pages reached the disk, and the kernel does not write them
 * again: what was not acknowledged is taken back.
 */
static int sync_file(struct rotate *rotate)
{
	int error;

	if (rotate->fd < 0 || !rotate->unsynced)
		return 0;
	error = sync_descriptors(rotate);
	if (error) {
		rotate->is_about_file = true;
		pause_for(rotate, error);
		take_back(rotate);
		rotate->good_bytes = rotate->synced_bytes;
		(void)restore(rotate);
	} else {
		rotate->counters.synced += rotate->unsynced;
		rotate->synced_bytes = rotate->good_bytes;
	}
	rotate->unsynced = 0;
	return error;
}

/* Without it a file is as good but for saying that it was cut: failure is no matter. */
static void put_end(struct rotate *rotate)
{
	if (rotate->fd < 0 || !rotate->good_bytes || !rotate->options.end_bytes)
		return;
	if (file_write_all(rotate->fd, rotate->options.end, rotate->options.end_bytes))
		(void)restore(rotate);
	else
		(void)fsync(rotate->fd);
}

static int end_file(struct rotate *rotate)
{
	int error = sync_file(rotate);

	if (error)
		return error;
	put_end(rotate);
	close_file(rotate);
	return 0;
}

static bool is_day_over(const struct rotate *rotate)
{
	int64_t today;

	return rotate_day(rotate->wall_ns, &today) == 0 &&
	       !rotate_is_current(rotate->name.day, today);
}

/*
 * Appending.
 */

/*
 * With this append what is kept must be no more than may be. Where it would be, the open file ends:
 * compressed, it leaves room.
 */
static int make_room(struct rotate *rotate, size_t length)
{
	const uint64_t most = rotate->options.keep_bytes;
	int error = 0;

	if (!most || rotate->counters.bytes_kept + length <= most) {
		rotate->is_full = false;
		return 0;
	}
	rotate_keep(rotate, length);
	if (!rotate->is_full)
		return 0;
	rotate->may_compress = true;
	if (rotate->options.kind == ROTATE_LINES && rotate->good_bytes)
		error = end_file(rotate);
	return error ? error : -EDQUOT;
}

/* An open file in its place, restored, with room for an append. */
static int ready(struct rotate *rotate, size_t length, bool begins)
{
	char name[ROTATE_NAME_BYTES];
	int64_t today = 0;
	int error;

	rotate->is_about_file = false;
	error = open_directory(rotate);
	if (!error)
		error = rotate_day(rotate->wall_ns, &today);
	if (error)
		return error;
	rotate_name_put(&rotate->name, name);
	if (rotate->fd >= 0 && !is_at(rotate->directory_fd, name, rotate->fd))
		close_file(rotate);
	if (rotate->fd >= 0 &&
		(begins || (rotate->options.kind == ROTATE_LINES &&
				   (is_day_over(rotate) ||
					   would_pass(rotate, rotate->good_bytes, length)))))
		error = end_file(rotate);
	if (!error)
		error = make_room(rotate, length);
	if (error)
		return error;
	rotate->is_about_file = rotate->fd >= 0;
	if (rotate->fd >= 0)
		return restore(rotate);
	return rotate->options.kind == ROTATE_RECORDINGS && !begins
		       ? -ESTALE
		       : open_file(rotate, today, length);
}

static int put(struct rotate *rotate, const char *bytes, size_t length)
{
	int error = file_write_all(rotate->fd, bytes, length);

	if (error)
		return error;
	rotate->good_bytes += length;
	rotate->unsynced++;
	rotate->counters.appended++;
	rotate->counters.bytes_kept += length;
	return 0;
}

/* A recording is whole or has broken off: there is nothing to go on with. */
static void put_back(struct rotate *rotate)
{
	if (rotate->fd < 0)
		return;
	(void)restore(rotate);
	if (rotate->options.kind != ROTATE_RECORDINGS)
		return;
	remove_empty(rotate);
	(void)end_file(rotate);
	if (rotate->fd >= 0)
		close_file(rotate);
}

int rotate_append(struct rotate *rotate, const char *bytes, size_t length, bool begins)
{
	int error = -EAGAIN;

	if (!rotate->counters.paused || rotate->attempt != ROTATE_FAILED) {
		look_at_clock(rotate);
		error = ready(rotate, length, begins);
		if (!error)
			error = put(rotate, bytes, length);
		rotate->attempt = error ? ROTATE_FAILED : ROTATE_WORKED;
		if (!error)
			return 0;
		/* That one is known already, and said. */
		if (error != -ESTALE)
			pause_for(rotate, error);
		put_back(rotate);
	}
	rotate->counters.dropped++;
	return error;
}

bool rotate_is_due(struct rotate *rotate)
{
	const uint64_t most = file_most(rotate);

	look_at_clock(rotate);
	return rotate->fd < 0 || (most && rotate->good_bytes >= most) || is_day_over(rotate);
}

void rotate_sync(struct rotate *rotate)
{
	int error = sync_file(rotate);

	if (error)
		put_back(rotate);
	else if (rotate->attempt == ROTATE_WORKED)
		go_on(rotate);
	rotate->attempt = ROTATE_UNTRIED;
	look_at_clock(rotate);
	if (rotate->looked_ns && rotate->wall_ns - rotate->looked_ns < LOOK_NS)
		return;
	rotate_keep(rotate, 0);
	rotate->may_compress = true;
}

bool rotate_work(struct rotate *rotate)
{
	if (rotate->options.kind != ROTATE_LINES || (!rotate->gzip && !rotate->may_compress))
		return false;
	rotate->may_compress = rotate_gzip_step(rotate);
	return rotate->may_compress;
}

const struct rotate_counters *rotate_counters(const struct rotate *rotate)
{
	return &rotate->counters;
}

void rotate_limit(
	struct rotate *rotate, uint64_t rotate_bytes, uint64_t keep_bytes, unsigned keep_days)
{
	rotate->options.rotate_bytes = rotate_bytes;
	rotate->options.keep_bytes = keep_bytes;
	rotate->options.keep_days = keep_days;
}

/*
 * Life.
 */

int rotate_new(const struct rotate_options *options, struct rotate **ret_rotate, struct diag *diag)
{
	struct rotate *rotate;
	int error;

	if (options->directory[0] != '/' || strlen(options->directory) >= sizeof(rotate->directory))
		return diag_set(diag, -EINVAL, "%.60s: not the absolute path of a directory",
			options->directory);
	rotate = calloc(1, sizeof(*rotate));
	if (!rotate)
		return diag_set(diag, -ENOMEM, "out of memory");
	rotate->options = *options;
	(void)snprintf(rotate->directory, sizeof(rotate->directory), "%s", options->directory);
	rotate->directory_fd = rotate->lock_fd = rotate->fd = -1;
	rotate->may_compress = true;
	rotate->told = rotate->failed = ROTATE_NO_NAME;
	look_at_clock(rotate);
	error = open_directory(rotate);
	if (error == -EBUSY) {
		(void)diag_set(diag, error, "%s: %s", rotate->directory, words(rotate, error));
		rotate_free(rotate);
		return error;
	}
	if (error)
		pause_for(rotate, error);
	*ret_rotate = rotate;
	return 0;
}

void rotate_free(struct rotate *rotate)
{
	if (!rotate)
		return;
	(void)end_file(rotate);
	close_directory(rotate);
	free(rotate);
}
