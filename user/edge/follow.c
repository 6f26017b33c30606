/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the file that is followed. The cursor has the name of the file as it is while it is written
 * to; its compressed form has the same bytes at the same offsets. Called by the command follow.
 */
#include "pagestay/edge/follow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "pagestay/base/cleanup.h"
#include "pagestay/edge/cursor.h"
#include "rotate_state.h"

#define ROOM_BYTES (64u << 10)
#define SAID_BYTES 256

struct follower {
	struct follow_options options;
	struct cursor cursor;
	struct cursor kept;      /* as last saved; empty: not yet */
	struct rotate_name name; /* the cursor's */
	int fd;                  /* of the file as it is written; -1: not open */
	gzFile gzip;             /* of its compressed form; NULL: not open */
	bool has_ended;          /* the file did, before it was last read to its end */
	bool is_read_out;        /* the compressed form, to its end or to where it is damaged */
	char *buffer;
	size_t room;
	size_t lines; /* of the buffer: what was handed out */
	size_t rest;  /* of the compressed form: what was read behind these */
	size_t torn;  /* what is there behind the last whole line, as last read */
};

__attribute__((format(printf, 2, 3))) static void say(
	const struct follower *follower, const char *format, ...)
{
	char text[SAID_BYTES];
	va_list arguments;

	if (!follower->options.say)
		return;
	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	follower->options.say(follower->options.context, text);
}

static uint64_t wall_now_ns(const struct follower *follower)
{
	const struct follow_options *options = &follower->options;

	return options->wall_ns ? options->wall_ns(options->context) : clock_ns(CLOCK_REALTIME);
}

static bool is_open(const struct follower *follower)
{
	return follower->fd >= 0 || follower->gzip;
}

static void close_file(struct follower *follower)
{
	if (follower->fd >= 0)
		(void)close(follower->fd);
	follower->fd = -1;
	if (follower->gzip)
		(void)gzclose(follower->gzip);
	follower->gzip = NULL;
	follower->has_ended = follower->is_read_out = false;
	follower->rest = follower->torn = 0;
}

static ssize_t read_plain(int fd, char *to, size_t room, uint64_t offset)
{
	ssize_t got;

	do
		got = pread(fd, to, room, (off_t)offset);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

/*
 * Which file.
 */

static bool has_lines(const struct rotate_file *file)
{
	return file->is_regular && file->name.kind == ROTATE_LINES &&
	       file->name.form != ROTATE_GZIP_PART;
}

/* Of a day to which the writer does not go on. Where today has no date, none is. */
static bool is_far_ahead(const struct follower *follower, const struct rotate_name *name)
{
	int64_t today;

	return rotate_day(wall_now_ns(follower), &today) == 0 &&
	       rotate_is_far_ahead(name->day, today);
}

/*
 * The oldest file that is not older than the cursor's, or that is newer; none that is far ahead.
 * 1: there is one.
 */
static int find(
	const struct follower *follower, int directory_fd, bool newer, struct rotate_name *ret_name)
{
	struct rotate_list list;
	int error = rotate_list(directory_fd, &list);
	int found = 0;

	for (size_t i = 0; !error && !found && i < list.count; i++) {
		struct rotate_name name = list.files[i].name;
		int order;

		if (!has_lines(&list.files[i]))
			continue;
		*ret_name = name;
		name.form = ROTATE_PLAIN;
		order = rotate_name_compare(&name, &follower->name);
		found = (newer ? order > 0 : order >= 0) && !is_far_ahead(follower, &name);
	}
	if (!error)
		free(list.files);
	return error ? error : found;
}

/* The older of two: a list can miss, under both names, what is compressed while it is read. */
static int find_surely(
	const struct follower *follower, int directory_fd, bool newer, struct rotate_name *ret_name)
{
	struct rotate_name first = {}, second = {};
	int found = find(follower, directory_fd, newer, &first);
	int again = found < 0 ? found : find(follower, directory_fd, newer, &second);

	if (again < 0)
		return again;
	if (again && (!found || rotate_name_compare(&second, &first) < 0))
		*ret_name = second;
	else if (found)
		*ret_name = first;
	return found || again;
}

/* The cursor at the beginning of a file that it was not in. */
static void move_to(struct follower *follower, const struct rotate_name *name)
{
	follower->name = *name;
	follower->name.form = ROTATE_PLAIN;
	follower->cursor = (struct cursor){};
	rotate_name_put(&follower->name, follower->cursor.name);
}

static int open_gzip(struct follower *follower, int fd)
{
	follower->gzip = gzdopen(fd, "r");
	if (follower->gzip)
		return 0;
	(void)close(fd);
	return -ENOMEM;
}

static void go_on_from(struct follower *follower, uint64_t offset)
{
	if (offset < follower->cursor.offset)
		say(follower, "%s: another file, or shorter than it was: read from its beginning",
			follower->cursor.name);
	follower->cursor.offset = offset;
}

/*
 * To where the cursor stands in the plain form, if a line begins there: after a power loss the
 * writer may have gone on from before it. 0 or -errno.
 */
static int go_on(struct follower *follower, const struct stat *stat)
{
	uint64_t offset = cursor_offset_in(&follower->cursor, stat);
	char before = '\n';
	ssize_t got = offset ? read_plain(follower->fd, &before, 1, offset - 1) : 0;

	if (got < 0)
		return (int)got;
	go_on_from(follower, before == '\n' ? offset : 0);
	return 0;
}

/* The same in the compressed form. What is damaged before that is told when it is read. */
static void go_on_gzip(struct follower *follower)
{
	const uint64_t offset = follower->cursor.offset;
	char before = '\n';
	int got = 1, error = Z_OK;

	if (!offset || gzdirect(follower->gzip))
		return;
	if (gzseek(follower->gzip, (z_off_t)(offset - 1), SEEK_SET) >= 0)
		got = gzread(follower->gzip, &before, 1);
	(void)gzerror(follower->gzip, &error);
	if (error == Z_OK && (got == 0 || before != '\n'))
		go_on_from(follower, 0);
}

/* Opens the file in the form that was found. 1: done. 0: it has gone meanwhile. */
static int open_form(struct follower *follower, int directory_fd, const struct rotate_name *name)
{
	char text[ROTATE_NAME_BYTES];
	struct stat stat;
	int fd, error;

	rotate_name_put(name, text);
	fd = openat(directory_fd, text, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &stat)) {
		error = -errno;
		(void)close(fd);
		return error;
	}
	if (name->form == ROTATE_PLAIN) {
		follower->fd = fd;
		error = go_on(follower, &stat);
	} else {
		error = open_gzip(follower, fd);
		if (!error)
			go_on_gzip(follower);
	}
	if (error) {
		close_file(follower);
		return error;
	}
	follower->cursor.device = stat.st_dev;
	follower->cursor.inode = stat.st_ino;
	return 1;
}

/* Numbers have no gaps but where files have gone. */
static bool is_apart(const struct rotate_name *from, const struct rotate_name *to)
{
	return to->number > (to->day == from->day ? from->number + 1 : 0);
}

/* The cursor's file, or the next one. 1: one is open. 0: there is none. */
static int open_file(struct follower *follower, bool newer)
{
	const struct rotate_name from = follower->name;
	const bool goes_on = newer;
	_cleanup_(cleanup_close) int directory_fd =
		open(follower->options.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct rotate_name name = {};
	int found;

	if (directory_fd < 0)
		return errno == ENOENT ? 0 : -errno;
	do {
		found = find_surely(follower, directory_fd, newer, &name);
		if (found <= 0)
			return found;
		close_file(follower);
		if (name.day != follower->name.day || name.number != follower->name.number) {
			if (!newer && follower->cursor.inode)
				say(follower,
					"%s has gone; what was not read of it, if anything, is "
					"missed",
					follower->cursor.name);
			move_to(follower, &name);
		}
		newer = false;
		found = open_form(follower, directory_fd, &name);
	} while (!found);
	if (goes_on && is_apart(&from, &follower->name))
		say(follower, "%s: files before it have gone; what they had is missed",
			follower->cursor.name);
	return found;
}

static bool is_file_of(const struct cursor *cursor, const struct stat *now)
{
	return now->st_dev == cursor->device && now->st_ino == cursor->inode;
}

/* By another file. When there is none, it may be compressed. */
static bool is_replaced(const struct follower *follower, int directory_fd)
{
	const struct cursor *cursor = &follower->cursor;
	struct stat now;

	return follower->fd >= 0 &&
	       fstatat(directory_fd, cursor->name, &now, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(now.st_mode) && !is_file_of(cursor, &now);
}

static bool is_as_it_was(const struct follower *follower, int directory_fd)
{
	const struct cursor *cursor = &follower->cursor;
	struct stat now;

	return fstatat(directory_fd, cursor->name, &now, AT_SYMLINK_NOFOLLOW) == 0 &&
	       is_file_of(cursor, &now) && (uint64_t)now.st_size >= cursor->offset;
}

/*
 * Nothing more in the file at this moment. 1: it may be worth another look. 0: not now. The file is
 * read once more after a newer one was seen: what was written before that began is there by then.
 */
static int look_around(struct follower *follower)
{
	_cleanup_(cleanup_close) int directory_fd =
		open(follower->options.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct rotate_name name;
	int found;

	if (directory_fd < 0)
		return errno == ENOENT ? 0 : -errno;
	found = find(follower, directory_fd, true, &name);
	if (found < 0)
		return found;
	if (is_replaced(follower, directory_fd))
		return open_file(follower, false);
	if (found && !follower->has_ended) {
		follower->has_ended = true;
		return 1;
	}
	if (found) {
		if (follower->torn)
			say(follower, "%s: %zu bytes without a line's end passed over",
				follower->cursor.name, follower->torn);
		return open_file(follower, true);
	}
	follower->has_ended = false;
	if (follower->gzip || is_as_it_was(follower, directory_fd))
		return 0;
	return open_file(follower, false);
}

/*
 * Lines.
 */

/*
 * It does not change. What is damaged ends where the damage begins. zlib would read what is not
 * compressed as it is, and takes an end that comes too early for one.
 */
static ssize_t read_gzip(struct follower *follower, char *to, size_t room, uint64_t offset)
{
	int got = -1, error = Z_OK;

	if (!gzdirect(follower->gzip) &&
		(gztell(follower->gzip) == (z_off_t)offset ||
			gzseek(follower->gzip, (z_off_t)offset, SEEK_SET) == (z_off_t)offset))
		got = gzread(follower->gzip, to, (unsigned)room);
	(void)gzerror(follower->gzip, &error);
	follower->is_read_out = got <= 0;
	if (got < 0 || (!got && error != Z_OK))
		say(follower, "%s.gz is damaged behind byte %llu; the rest is missed",
			follower->cursor.name, (unsigned long long)offset);
	return got < 0 ? 0 : got;
}

static int grow(struct follower *follower)
{
	size_t room = follower->room ? 2 * follower->room : ROOM_BYTES;
	char *buffer = room > FOLLOW_LINE_BYTES ? NULL : realloc(follower->buffer, room);

	if (!buffer)
		return room > FOLLOW_LINE_BYTES ? -EMSGSIZE : -ENOMEM;
	follower->buffer = buffer;
	follower->room = room;
	return 0;
}

static ssize_t read_some(struct follower *follower, char *to, size_t room, uint64_t offset)
{
	return follower->gzip ? read_gzip(follower, to, room, offset)
			      : read_plain(follower->fd, to, room, offset);
}

/* To go back in what is compressed is to read all of it again. */
static size_t take_rest(struct follower *follower)
{
	size_t rest = follower->rest;

	if (rest)
		memmove(follower->buffer, follower->buffer + follower->lines, rest);
	follower->rest = 0;
	return rest;
}

/* Whole lines from the cursor on, into the buffer. Returns their bytes. */
static ssize_t read_lines(struct follower *follower)
{
	size_t length;

	if (follower->is_read_out)
		return 0;
	length = take_rest(follower);
	for (;;) {
		int error = length == follower->room ? grow(follower) : 0;
		char *to = follower->buffer + length;
		const char *end;
		ssize_t got;

		if (error)
			return error;
		got = read_some(
			follower, to, follower->room - length, follower->cursor.offset + length);
		if (got < 0)
			return got;
		end = memrchr(to, '\n', (size_t)got);
		length += (size_t)got;
		if (end) {
			follower->lines = (size_t)(end + 1 - follower->buffer);
			follower->rest = follower->gzip ? length - follower->lines : 0;
			return (ssize_t)follower->lines;
		}
		if (!got) {
			follower->torn = length;
			return 0;
		}
	}
}

/*
 * To the day of the newest file where that is before today: the writer's zone may be another.
 * 1: there is a file that is not far ahead.
 */
static int go_back(int directory_fd, struct rotate_name *name)
{
	const int64_t today = name->day;
	struct rotate_list list;
	int error = rotate_list(directory_fd, &list);
	int found = 0;

	for (size_t i = error ? 0 : list.count; i && !found; i--) {
		const struct rotate_file *file = &list.files[i - 1];

		found = has_lines(file) && !rotate_is_far_ahead(file->name.day, today);
		if (found && file->name.day < today)
			name->day = file->name.day;
	}
	if (!error)
		free(list.files);
	return error ? error : found;
}

/* Without a cursor. 1: there is a file that is not far ahead. 0: there is none yet. */
static int find_first(const struct follower *follower, int directory_fd,
	struct rotate_name *ret_name, struct diag *diag)
{
	struct rotate_name name = {.kind = ROTATE_LINES};
	int error = rotate_day(wall_now_ns(follower), &name.day);
	int found;

	if (error)
		return diag_set(diag, error, "today has no date that a file can have");
	found = go_back(directory_fd, &name);
	if (found < 0)
		return diag_set(diag, found, "cannot list the files: %s", strerror(-found));
	*ret_name = name;
	return found;
}

/*
 * The clock was far ahead when the cursor's file was begun, and the writer went back to today. Or
 * the clock is far behind now: then there is mostly nothing to go to, and the cursor stays.
 */
static int leave_day_ahead(struct follower *follower)
{
	_cleanup_(cleanup_close) int directory_fd =
		open(follower->options.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char left[ROTATE_NAME_BYTES];
	struct rotate_name name = {};
	struct diag words = {};
	int found;

	if (directory_fd < 0)
		return errno == ENOENT ? 0 : -errno;
	found = find_first(follower, directory_fd, &name, &words);
	if (found <= 0)
		return found;
	close_file(follower);
	rotate_name_put(&follower->name, left);
	move_to(follower, &name);
	say(follower,
		"%s is more than two days ahead, and is read again when it is not; reading from "
		"the beginning of %s; what was not read of days before, if anything, is missed",
		left, follower->cursor.name);
	return 0;
}

/* The cursor's file is open: 1. 0: there is none now. */
static int be_open(struct follower *follower)
{
	int error = is_far_ahead(follower, &follower->name) ? leave_day_ahead(follower) : 0;

	if (error)
		return error;
	return is_open(follower) ? 1 : open_file(follower, false);
}

int follower_read(
	struct follower *follower, const char **ret_lines, size_t *ret_length, struct diag *diag)
{
	for (;;) {
		int open = be_open(follower);
		ssize_t length = open > 0 ? read_lines(follower) : open;

		if (length > 0) {
			follower->cursor.offset += (uint64_t)length;
			*ret_lines = follower->buffer;
			*ret_length = (size_t)length;
			return 1;
		}
		if (length == 0 && open > 0)
			length = look_around(follower);
		if (length < 0)
			return diag_set(diag, (int)length, "%s/%s at byte %llu: %s",
				follower->options.directory, follower->cursor.name,
				(unsigned long long)follower->cursor.offset,
				strerror((int)-length));
		if (!length)
			return 0;
	}
}

int follower_keep(struct follower *follower, struct diag *diag)
{
	const struct cursor *cursor = &follower->cursor;
	int error;

	if (!follower->options.cursor || memcmp(cursor, &follower->kept, sizeof(*cursor)) == 0)
		return 0;
	error = cursor_save(follower->options.cursor, cursor);
	if (error)
		return diag_set(diag, error, "%s: cannot write the cursor: %s",
			follower->options.cursor, strerror(-error));
	follower->kept = *cursor;
	return 0;
}

/* Where to begin. */
static int load(struct follower *follower, int directory_fd, struct diag *diag)
{
	struct cursor *cursor = &follower->cursor;
	char first[ROTATE_NAME_BYTES];
	struct rotate_name name = {};
	struct diag words = {};
	int error = find_first(follower, directory_fd, &name, diag);

	if (error < 0)
		return error;
	error = 0;
	rotate_name_put(&name, first);
	(void)snprintf(cursor->name, sizeof(cursor->name), "%s", first);
	if (follower->options.cursor)
		error = cursor_load(follower->options.cursor, first, cursor, &words);
	if (error < 0)
		return diag_set(diag, error, "%s", words.text);
	if (error > 0)
		say(follower, "%s", words.text);
	if (!rotate_name_get(cursor->name, &follower->name) ||
		follower->name.kind != ROTATE_LINES || follower->name.form != ROTATE_PLAIN)
		return diag_set(diag, -EBADMSG, "%s: the cursor is of another kind of file",
			follower->options.cursor);
	return 0;
}

static int open_follower(const struct follow_options *options, int directory_fd,
	struct follower **ret_follower, struct diag *diag)
{
	struct follower *follower = calloc(1, sizeof(*follower));
	int error;

	if (!follower)
		return diag_set(diag, -ENOMEM, "out of memory");
	follower->options = *options;
	follower->fd = -1;
	error = load(follower, directory_fd, diag);
	if (error) {
		follower_close(follower);
		return error;
	}
	*ret_follower = follower;
	return 0;
}

int follower_open(
	const struct follow_options *options, struct follower **ret_follower, struct diag *diag)
{
	_cleanup_(cleanup_close) int fd =
		open(options->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return diag_set(
			diag, -errno, "cannot open %s: %s", options->directory, strerror(errno));
	return open_follower(options, fd, ret_follower, diag);
}

void follower_close(struct follower *follower)
{
	if (!follower)
		return;
	close_file(follower);
	free(follower->buffer);
	free(follower);
}
