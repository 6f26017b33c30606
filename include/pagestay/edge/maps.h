/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The lines of /proc/PID/maps, one by one, in a buffer of a fixed size.
 */
#ifndef PAGESTAY_EDGE_MAPS_H
#define PAGESTAY_EDGE_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAPS_BYTES 16384 /* of a line that is longer, and so its path, the rest is passed over */

struct maps_reader {
	int fd; /* borrowed */
	size_t taken, filled;
	bool ended;
	bool cut; /* what follows is the rest of a line already taken */
	char buffer[MAPS_BYTES + 1];
};

struct maps_line {
	uint64_t from, to; /* addresses; multiples of the page size */
	char protection[5];
	uint64_t offset;
	uint64_t device, inode; /* as stat gives them */
	const char *path;       /* in the reader's buffer: until the next line is read */
};

/* Goes on from where the descriptor is. */
void maps_begin(struct maps_reader *reader, int fd);

/*
 * The next line; `to` is 0 at the end. -EINVAL: it is no line of maps. Mappings that change while
 * maps is read may be told twice, in part.
 */
int maps_next(struct maps_reader *reader, uint64_t page_bytes, struct maps_line *ret_line);

/* An empty maps is that of a memory which nobody uses any more. */
bool maps_are_gone(int fd);

#endif
