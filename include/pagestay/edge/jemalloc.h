/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * jemalloc's page counters in a live process, read from outside.
 *
 * Where the library is a file, the very file that the process maps is loaded in a sandboxed child
 * of ours, counters there are moved through mallctl, and the offsets that moved with them are read
 * in the target. What is known of a file is kept by its identity.
 */
#ifndef PAGESTAY_EDGE_JEMALLOC_H
#define PAGESTAY_EDGE_JEMALLOC_H

#include "pagestay/edge/heap.h"

struct jemalloc_cache;

int jemalloc_cache_new(struct jemalloc_cache **ret_cache);
void jemalloc_cache_free(struct jemalloc_cache *cache);

/*
 * Fills jemalloc's part of *ret_heap; what cannot be told stays HEAP_UNKNOWN. `allocator` is the
 * entry of the process's list. 0; -ENOTSUP: nothing can be read of this one (static, another libc,
 * a calibration that failed; `diag` says why); -ESRCH; another -errno.
 */
int jemalloc_read(struct jemalloc_cache *cache, struct target *target,
	const struct allocator *allocator, struct heap *ret_heap, struct diag *diag);

#endif
