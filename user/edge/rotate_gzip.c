/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the compression of files that have ended, one at a time, in steps. The plain file is there
 * until its compressed one is on the disk under its name; what broke off before starts over, and
 * replaces what the first try left. A failure is tried again after the directory was next looked
 * through: there may be no room yet. Called by rotate.c.
 */
#include "rotate_state.h"
#include "pagestay/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <zlib.h>

#define STEP_BYTES 262144
#define ROOM_SHARE 4         /* of a file: what compressed reports take is less */
#define GZIP_BITS  (15 + 16) /* zlib's way to ask for gzip's format */

struct rotate_gzip {
	struct rotate_name name;
	char from[ROTATE_NAME_BYTES], part[ROTATE_NAME_BYTES], to[ROTATE_NAME_BYTES];
	int in, out; /* -1: not open */
	bool has_stream;
	z_stream stream;
	uint8_t plain[STEP_BYTES], packed[STEP_BYTES];
};

static void gzip_free(struct rotate_gzip *gzip)
{
	if (gzip->has_stream)
		(void)deflateEnd(&gzip->stream);
	if (gzip->in >= 0)
		(void)close(gzip->in);
	if (gzip->out >= 0)
		(void)close(gzip->out);
	free(gzip);
}

static void name_as(const struct rotate_name *name, enum rotate_form form, char *ret_text)
{
	struct rotate_name other = *name;

	other.form = form;
	rotate_name_put(&other, ret_text);
}

/* Removes only what is a file: nothing else of that name is ours. */
static void part_remove(const struct rotate *rotate, const struct rotate_gzip *gzip)
{
	struct stat stat;

	if (fstatat(rotate->directory_fd, gzip->part, &stat, AT_SYMLINK_NOFOLLOW) == 0 &&
		S_ISREG(stat.st_mode))
		(void)unlinkat(rotate->directory_fd, gzip->part, 0);
}

/* Not begun where the last room of a full disk would go to what cannot be finished. */
static int look_for_room(int fd, uint64_t bytes)
{
	struct statvfs disk;

	if (fstatvfs(fd, &disk))
		return -errno;
	return (uint64_t)disk.f_bavail * disk.f_frsize < bytes / ROOM_SHARE ? -ENOSPC : 0;
}

static int gzip_open(struct rotate *rotate, struct rotate_gzip *gzip)
{
	const int flags = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	uint64_t bytes;
	int error;

	gzip->in = openat(rotate->directory_fd, gzip->from, O_RDWR | flags);
	if (gzip->in < 0)
		return -errno;
	/* The day's last file of one who was killed. */
	error = rotate_cut(rotate, gzip->in, gzip->from, &bytes);
	if (error)
		return error;
	part_remove(rotate, gzip);
	error = look_for_room(gzip->in, bytes);
	if (error)
		return error;
	gzip->out = openat(
		rotate->directory_fd, gzip->part, O_WRONLY | O_CREAT | O_EXCL | flags, ROTATE_MODE);
	if (gzip->out < 0)
		return -errno;
	(void)fchmod(gzip->out, ROTATE_MODE);
	if (deflateInit2(&gzip->stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_BITS, 8,
		    Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	gzip->has_stream = true;
	return 0;
}

static bool is_plain(const struct rotate_file *file)
{
	return file->is_regular && file->name.kind == ROTATE_LINES &&
	       file->name.form == ROTATE_PLAIN;
}

/*
 * The file that is written to; without an open one, that which may yet be gone on with, but where
 * there is no room to. NULL: there is none.
 */
static const struct rotate_file *find_last(
	const struct rotate *rotate, const struct rotate_list *list, int64_t today)
{
	const struct rotate_file *last = NULL;

	for (size_t i = 0; i < list->count; i++) {
		const struct rotate_file *file = &list->files[i];
		bool is_it = rotate->fd < 0
				     ? !rotate->is_full && rotate_is_current(file->name.day, today)
				     : rotate_name_compare(&file->name, &rotate->name) == 0;

		if (is_plain(file) && is_it)
			last = file;
	}
	return last;
}

static bool find_ended(const struct rotate *rotate, struct rotate_name *ret_name)
{
	struct rotate_list list = {};
	const struct rotate_file *last;
	bool found = false;
	int64_t today;

	if (rotate->directory_fd < 0 || rotate_day(rotate->wall_ns, &today) ||
		rotate_list(rotate->directory_fd, &list))
		return false;
	last = find_last(rotate, &list, today);
	for (size_t i = 0; i < list.count && !found; i++) {
		const struct rotate_file *file = &list.files[i];

		found = is_plain(file) && file != last &&
			rotate_name_compare(&file->name, &rotate->failed) > 0;
		if (found)
			*ret_name = file->name;
	}
	free(list.files);
	return found;
}

/* The next one's turn; this one's comes again when the directory was looked through. */
static void fail(struct rotate *rotate, const struct rotate_name *name, int error)
{
	char text[ROTATE_NAME_BYTES];

	rotate_gzip_stop(rotate);
	rotate->failed = *name;
	/* It may have expired meanwhile. */
	if (error == -ENOENT || rotate_name_compare(name, &rotate->told) <= 0)
		return;
	rotate->told = *name;
	rotate_name_put(name, text);
	rotate_say(rotate, "%s/%s: cannot compress: %s", rotate->directory, text, strerror(-error));
}

static bool gzip_begin(struct rotate *rotate)
{
	struct rotate_gzip *gzip;
	struct rotate_name name = {};
	int error;

	if (!find_ended(rotate, &name))
		return false;
	gzip = calloc(1, sizeof(*gzip));
	if (!gzip)
		return false;
	gzip->in = gzip->out = -1;
	gzip->name = name;
	name_as(&name, ROTATE_PLAIN, gzip->from);
	name_as(&name, ROTATE_GZIP_PART, gzip->part);
	name_as(&name, ROTATE_GZIP, gzip->to);
	rotate->gzip = gzip;
	error = gzip_open(rotate, gzip);
	if (error)
		fail(rotate, &name, error);
	return true;
}

void rotate_gzip_stop(struct rotate *rotate)
{
	struct rotate_gzip *gzip = rotate->gzip;

	if (!gzip)
		return;
	if (gzip->out >= 0)
		part_remove(rotate, gzip);
	gzip_free(gzip);
	rotate->gzip = NULL;
}

static int pack(struct rotate_gzip *gzip, size_t length)
{
	int error = 0;

	gzip->stream.next_in = gzip->plain;
	gzip->stream.avail_in = (uInt)length;
	do {
		gzip->stream.next_out = gzip->packed;
		gzip->stream.avail_out = STEP_BYTES;
		if (deflate(&gzip->stream, length ? Z_NO_FLUSH : Z_FINISH) == Z_STREAM_ERROR)
			return -EIO;
		error = file_write_all(
			gzip->out, gzip->packed, STEP_BYTES - gzip->stream.avail_out);
	} while (!error && gzip->stream.avail_out == 0);
	return error;
}

static int gzip_finish(struct rotate *rotate, struct rotate_gzip *gzip)
{
	const int directory_fd = rotate->directory_fd;
	int error;

	if (fsync(gzip->out) || renameat(directory_fd, gzip->part, directory_fd, gzip->to))
		return -errno;
	error = file_sync_directory(directory_fd);
	if (error)
		return error;
	/* It may have expired meanwhile. */
	if (unlinkat(directory_fd, gzip->from, 0) && errno != ENOENT)
		return -errno;
	rotate->counters.files_compressed++;
	rotate->looked_ns = 0; /* there are fewer bytes now */
	return 0;
}

/* 1: there is more. 0: done. */
static int gzip_go_on(struct rotate *rotate, struct rotate_gzip *gzip)
{
	ssize_t length = read(gzip->in, gzip->plain, STEP_BYTES);
	int error;

	if (length < 0)
		return errno == EINTR ? 1 : -errno;
	error = pack(gzip, (size_t)length);
	if (error)
		return error;
	if (length == 0)
		return gzip_finish(rotate, gzip);
	return 1;
}

bool rotate_gzip_step(struct rotate *rotate)
{
	struct rotate_name name;
	int result;

	if (!rotate->gzip)
		return gzip_begin(rotate);
	name = rotate->gzip->name;
	result = gzip_go_on(rotate, rotate->gzip);
	if (result < 0)
		fail(rotate, &name, result);
	else if (result == 0)
		rotate_gzip_stop(rotate);
	return true;
}
