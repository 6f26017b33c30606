/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the loop around write(2) for files that take all of it or fail (not for files that others
 * append to, where a short write must be told), and the rule of what a directory's sync may say.
 */
#include "pagestay/base/file.h"

#include <errno.h>
#include <unistd.h>

int file_write_all(int fd, const void *bytes, size_t length)
{
	const char *next = bytes;

	while (length) {
		ssize_t written = write(fd, next, length);

		if (written < 0 && errno != EINTR)
			return -errno;
		if (written > 0) {
			next += written;
			length -= (size_t)written;
		}
	}
	return 0;
}

/* Not every file system has directories to sync. */
int file_sync_directory(int fd)
{
	return fsync(fd) && errno != EINVAL ? -errno : 0;
}
