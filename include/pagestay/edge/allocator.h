/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which memory allocators a process uses, told from outside.
 *
 * The best sign is where the GOT slots of `malloc` in the mapped objects point: it sees through
 * LD_PRELOAD and through libraries that are loaded and not used. Then symbols, then marker strings
 * for what is static and stripped. What is known of a file is kept by its identity, so that many
 * processes of one program cost one reading. Nothing is faulted in for the process.
 */
#ifndef PAGESTAY_EDGE_ALLOCATOR_H
#define PAGESTAY_EDGE_ALLOCATOR_H

#include "pagestay/edge/heap.h"
#include "pagestay/edge/target.h"

struct allocator_cache; /* what is known of up to 512 files; the oldest is forgotten */

int allocator_cache_new(struct allocator_cache **ret_cache);
void allocator_cache_free(struct allocator_cache *cache);

/* How many files were read: tests and doctors want to know. */
uint64_t allocator_cache_reads(const struct allocator_cache *cache);

/*
 * 0, also when nothing was found; -ESRCH, or another -errno. `*ret_settled` is false while the
 * process is still so young that the answer may change (its libraries are not all bound yet), and
 * while its files have more to read than one call reads: then the next goes on. Up to 256 files
 * with code are looked at, from the highest address down. The mappings are the target's last look.
 */
int allocators_detect(struct allocator_cache *cache, struct target *target,
	struct allocators *ret_allocators, bool *ret_settled);

/*
 * Where code or data of an allocator is: for the walkers. `symbol` in the object that `name` was
 * found in; -ENOENT if the object is stripped of it, or not to be had. Reads the file each time.
 */
int allocator_symbol(struct allocator_cache *cache, struct target *target,
	const struct allocator *allocator, const char *symbol, uint64_t *ret_address);

#endif
