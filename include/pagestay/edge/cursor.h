/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How far a follower has read: a file and a byte offset in it, kept in a small file of its own that
 * survives power loss. Saved after what was read has been dealt with, so that what is read twice
 * after a crash is at most what came since the last save.
 */
#ifndef PAGESTAY_EDGE_CURSOR_H
#define PAGESTAY_EDGE_CURSOR_H

#include <stdint.h>
#include <sys/stat.h>

#include "pagestay/base/diag.h"

#define CURSOR_NAME_BYTES 256

struct cursor {
	char name[CURSOR_NAME_BYTES]; /* of the file that is followed, without directories */
	uint64_t inode;               /* of that file; 0: not opened yet */
	uint64_t device;              /* 0: not known. Not saved: it changes over reboots */
	uint64_t offset;              /* of the first byte that was not read */
};

/*
 * 0, or 1 where there is no cursor or what is there is none: then the result is the beginning of
 * the file `first`, and `diag` says which of the two it is. -errno: it is there and cannot be read.
 */
int cursor_load(const char *path, const char *first, struct cursor *ret_cursor, struct diag *diag);

/*
 * Replaces the file at `path`, through PATH.tmp: after a power loss it is the old one or the new
 * one. 0 or -errno; -EINVAL: the name is empty, or holds a slash, a blank or what is not printable.
 */
int cursor_save(const char *path, const struct cursor *cursor);

/*
 * Where to read on in the file of the cursor's name as it is now: the offset, or 0 if it is another
 * file by now or has become shorter.
 */
uint64_t cursor_offset_in(const struct cursor *cursor, const struct stat *file);

#endif
