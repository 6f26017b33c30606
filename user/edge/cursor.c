/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the file of a follower's cursor: one line, `pagestay-cursor/2 NAME INODE OFFSET CRC`.
 * It is taken only if it is exactly what we would write. Called by followers.
 */
#include "pagestay/edge/cursor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "pagestay/base/cleanup.h"
#include "pagestay/base/file.h"

#define LINE_BYTES (CURSOR_NAME_BYTES + 128)
#define FILE_MODE  0640
#define MAGIC      "pagestay-cursor/2 "

static bool name_is_sound(const char *name)
{
	for (const char *byte = name; *byte; byte++)
		if (*byte <= ' ' || *byte > '~' || *byte == '/')
			return false;
	return name[0] != '\0';
}

static size_t put(const struct cursor *cursor, char line[LINE_BYTES])
{
	int length = snprintf(line, LINE_BYTES, MAGIC "%s %" PRIu64 " %" PRIu64 " ", cursor->name,
		cursor->inode, cursor->offset);
	unsigned long check = crc32_z(0, (const unsigned char *)line, (size_t)length);

	return (size_t)length +
	       (size_t)snprintf(line + length, LINE_BYTES - (size_t)length, "%08lx\n", check);
}

/* What stands there is checked by writing it again. */
static uint64_t take_number(const char **text)
{
	char *end;
	uint64_t value = strtoull(*text, &end, 10);

	*text = end;
	return value;
}

static bool get(const char *line, struct cursor *ret_cursor)
{
	const char *whole = line;
	const size_t head = strlen(MAGIC);
	struct cursor cursor = {};
	char again[LINE_BYTES];
	size_t length;

	if (strncmp(line, MAGIC, head) != 0)
		return false;
	line += head;
	length = strcspn(line, " ");
	if (length >= sizeof(cursor.name))
		return false;
	memcpy(cursor.name, line, length);
	if (!name_is_sound(cursor.name))
		return false;
	line += length;
	cursor.inode = take_number(&line);
	cursor.offset = take_number(&line);
	(void)put(&cursor, again);
	if (strcmp(whole, again) != 0)
		return false;
	*ret_cursor = cursor;
	return true;
}

static int read_line(const char *path, char line[LINE_BYTES])
{
	_cleanup_(cleanup_close) int fd =
		open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	ssize_t length;

	if (fd < 0)
		return -errno;
	length = read(fd, line, LINE_BYTES - 1);
	if (length < 0)
		return -errno;
	line[length] = '\0';
	/* A zero ends the line early, and then it is not what was written. */
	return strlen(line) == (size_t)length ? 0 : -EBADMSG;
}

int cursor_load(const char *path, const char *first, struct cursor *ret_cursor, struct diag *diag)
{
	struct cursor cursor = {};
	char line[LINE_BYTES];
	int error = read_line(path, line);

	if (error && error != -ENOENT && error != -EBADMSG)
		return diag_set(
			diag, error, "%s: cannot read the cursor: %s", path, strerror(-error));
	if (!error && get(line, ret_cursor))
		return 0;
	if (!name_is_sound(first) || strlen(first) >= sizeof(cursor.name))
		return diag_set(diag, -EINVAL, "%.60s: no name that a cursor can hold", first);
	(void)snprintf(cursor.name, sizeof(cursor.name), "%s", first);
	*ret_cursor = cursor;
	return diag_set(diag, 1, "%s: %s; reading from the beginning of %s", path,
		error == -ENOENT ? "there is no cursor yet" : "the cursor is damaged", first);
}

static int write_new(const char *path, const char *line, size_t length)
{
	_cleanup_(cleanup_close) int fd = -1;
	ssize_t written;

	(void)unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
	if (fd < 0)
		return -errno;
	written = write(fd, line, length);
	if (written < 0)
		return -errno;
	if ((size_t)written != length)
		return -ENOSPC;
	return fsync(fd) ? -errno : 0;
}

/* The name is on the disk when its directory is. */
static int sync_directory(const char *path)
{
	_cleanup_(cleanup_close) int fd = -1;
	const char *slash = strrchr(path, '/');
	char directory[PATH_MAX];
	size_t length = slash ? (size_t)(slash - path) : 0;

	if (!slash)
		(void)snprintf(directory, sizeof(directory), ".");
	else
		(void)snprintf(
			directory, sizeof(directory), "%.*s", length ? (int)length : 1, path);
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return file_sync_directory(fd);
}

int cursor_save(const char *path, const struct cursor *cursor)
{
	char line[LINE_BYTES], temporary[PATH_MAX];
	size_t length;
	int error;

	if (!memchr(cursor->name, '\0', sizeof(cursor->name)) || !name_is_sound(cursor->name))
		return -EINVAL;
	if (strlen(path) + sizeof(".tmp") > sizeof(temporary))
		return -ENAMETOOLONG;
	(void)snprintf(temporary, sizeof(temporary), "%s.tmp", path);
	length = put(cursor, line);
	error = write_new(temporary, line, length);
	if (!error && rename(temporary, path))
		error = -errno;
	if (error)
		(void)unlink(temporary);
	return error ? error : sync_directory(path);
}

uint64_t cursor_offset_in(const struct cursor *cursor, const struct stat *file)
{
	if ((cursor->device && cursor->device != file->st_dev) || cursor->inode != file->st_ino ||
		cursor->offset > (uint64_t)file->st_size)
		return 0;
	return cursor->offset;
}
