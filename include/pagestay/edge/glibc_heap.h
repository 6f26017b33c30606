/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The heap of a live process on glibc's malloc, walked from outside (glibc 2.31 to 2.43 were
 * tried).
 *
 * Layouts are not told by version: an arena is what validates as one. Reads only pages that are
 * present. Races with the running process are detected (a size that is no size, a footer that
 * disagrees, a header that is gone), and the walk goes on from the last sound chunk, a bounded
 * number of times; a segment that still cannot be walked to its end is lost from there on, and
 * counted.
 */
#ifndef PAGESTAY_EDGE_GLIBC_HEAP_H
#define PAGESTAY_EDGE_GLIBC_HEAP_H

#include "pagestay/edge/heap.h"
#include "pagestay/edge/target.h"

/* Where the walk had to stop, for the user. */
struct glibc_heap_damage {
	uint64_t address; /* of the chunk; 0: nothing was damaged */
	char text[96];    /* what was wrong with it */
};

/*
 * Fills the part of *ret_heap that is glibc's; the rest is untouched. `main_arena` and `mp` are
 * addresses if symbols gave them, or 0. 0; -ENODATA: no layout validates, nothing is filled;
 * -ETIME: deadline_ns (CLOCK_MONOTONIC) came first, what was not walked is lost_segments; -ESRCH;
 * another -errno. ret_damage may be NULL.
 */
int glibc_heap_walk(struct target *target, uint64_t main_arena, uint64_t mp, uint64_t deadline_ns,
	struct heap *ret_heap, struct glibc_heap_damage *ret_damage);

#endif
