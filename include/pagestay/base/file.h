/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Descriptors of files.
 */
#ifndef PAGESTAY_BASE_FILE_H
#define PAGESTAY_BASE_FILE_H

#include <stddef.h>

/* Goes on after short writes and interruptions. 0 or -errno; some of it may be written then. */
int file_write_all(int fd, const void *bytes, size_t length);

/* What was made, renamed or removed in the directory reaches the disk. 0 or -errno. */
int file_sync_directory(int fd);

#endif
