/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * jemalloc's page counters in a live process, read from outside.
 *
 * Where the library is a file, the very file that the process maps is loaded in a sandboxed child
 * of ours, counters there are moved through mallctl, and the offsets that moved with them are read
 * in the target. What is known of a file is kept by its identity. jemalloc 5.2 and 5.3 were tried.
 */
#ifndef PAGESTAY_EDGE_JEMALLOC_H
#define PAGESTAY_EDGE_JEMALLOC_H

#include "pagestay/edge/heap.h"
#include "pagestay/edge/target.h"

/* The one argument by which a program that links this becomes the child. */
#define JEMALLOC_CALIBRATE_OPTION "--calibrate-jemalloc"

/*
 * main must call this, and do nothing before, if its first argument is that option. What it finds
 * as descriptor 0 is loaded and run, so it gives up everything first. Does not return.
 */
int jemalloc_calibrate_main(int argc, char **argv) __attribute__((noreturn));

struct jemalloc_cache; /* of files, failures too; bounded, the one not used for longest goes */

int jemalloc_cache_new(struct jemalloc_cache **ret_cache);
void jemalloc_cache_free(struct jemalloc_cache *cache); /* takes NULL */

/* How many files were calibrated, with success or without. */
uint64_t jemalloc_cache_calibrations(const struct jemalloc_cache *cache);

/*
 * Fills jemalloc's part of *ret_heap, `allocator` and `read_bytes`; what cannot be told stays
 * HEAP_UNKNOWN. `allocator` is the entry of the process's list. Sums are over all arenas; a decay
 * time is the one that most arenas have (jemalloc gives the arena of huge allocations its own). The
 * mappings are those of the last look, unless they do not fit what is read: then it looks again.
 *
 * The first time for a file takes some 20 ms, and as many as 3,000 for one that does not answer. Of
 * files that are not root's, none is tried any more when eight have not answered.
 *
 * 0; -ENOTSUP: nothing can be read of this one (static, another libc, a calibration that failed;
 * `diag` says why); -ENODATA: pages with counters are not in memory; -ESRCH; another -errno.
 */
int jemalloc_read(struct jemalloc_cache *cache, struct target *target,
	const struct allocator *allocator, struct heap *ret_heap, struct diag *diag);

#endif
