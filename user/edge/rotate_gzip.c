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
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define STEP_BYTES 262144
#define GZIP_BITS  (15 + 16) /* zlib's way to ask for gzip's format */

struct rotate_gzip {
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
	gzip->out = openat(
		rotate->directory_fd, gzip->part, O_WRONLY | O_CREAT | O_EXCL | flags, ROTATE_MODE);
	if (gzip->out < 0)
		return -errno;
	(void)fchmod(gzip->out, ROTATE_MODE);
	if (deflateInit2(&gzip->stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_BITS, 8,
		    Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	gzip->has_stream = true;
	rotate->counters.compressing_bytes = bytes;
	return 0;
}

/* An ended file; without an open one, today's last may yet be gone on with. */
static bool is_ended(const struct rotate *rotate, const struct rotate_file *file, int64_t today)
{
	if (!file->is_regular || file->name.kind != ROTATE_LINES || file->name.form != ROTATE_PLAIN)
		return false;
	return rotate->fd < 0 ? file->name.day != today
			      : rotate_name_compare(&file->name, &rotate->name) != 0;
}

static bool find_ended(const struct rotate *rotate, struct rotate_name *ret_name)
{
	struct rotate_list list = {};
	bool found = false;
	int64_t today;

	if (rotate->directory_fd < 0 || rotate_day(rotate->wall_ns, &today) ||
		rotate_list(rotate->directory_fd, &list))
		return false;
	for (size_t i = 0; i < list.count && !found; i++) {
		found = is_ended(rotate, &list.files[i], today);
		if (found)
			*ret_name = list.files[i].name;
	}
	free(list.files);
	return found;
}

static bool gzip_begin(struct rotate *rotate)
{
	struct rotate_gzip *gzip;
	struct rotate_name name = {};

	if (!find_ended(rotate, &name))
		return false;
	gzip = calloc(1, sizeof(*gzip));
	if (!gzip)
		return false;
	gzip->in = gzip->out = -1;
	name_as(&name, ROTATE_PLAIN, gzip->from);
	name_as(&name, ROTATE_GZIP_PART, gzip->part);
	name_as(&name, ROTATE_GZIP, gzip->to);
	rotate->gzip = gzip;
	if (gzip_open(rotate, gzip) == 0)
		return true;
	rotate_gzip_stop(rotate);
	return false;
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
	rotate->counters.compressing_bytes = 0;
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
	if (unlinkat(directory_fd, gzip->from, 0))
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
	if (rotate->counters.compressing_bytes > (uint64_t)length)
		rotate->counters.compressing_bytes -= (uint64_t)length;
	return 1;
}

bool rotate_gzip_step(struct rotate *rotate)
{
	int result;

	if (!rotate->gzip)
		return gzip_begin(rotate);
	result = gzip_go_on(rotate, rotate->gzip);
	if (result > 0)
		return true;
	rotate_gzip_stop(rotate);
	return result == 0;
}
