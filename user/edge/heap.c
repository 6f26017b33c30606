/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The names and the empty value of what is known of allocators and heaps; detection and the walkers
 * fill it in. Called by them and by whatever shows heaps.
 */
#include "pagestay/edge/heap.h"

#include <stdlib.h>
#include <string.h>

const char *const allocator_names[ALLOCATOR_NAMES] = {
	[ALLOCATOR_UNKNOWN] = "unknown",
	[ALLOCATOR_GLIBC] = "glibc",
	[ALLOCATOR_JEMALLOC] = "jemalloc",
	[ALLOCATOR_TCMALLOC] = "tcmalloc",
	[ALLOCATOR_MIMALLOC] = "mimalloc",
	[ALLOCATOR_MUSL] = "musl",
	[ALLOCATOR_GO] = "go",
	[ALLOCATOR_JVM] = "jvm",
	[ALLOCATOR_V8] = "v8",
	[ALLOCATOR_CPYTHON] = "cpython",
};

const char *const heap_owner_names[HEAP_OWNERS] = {
	[HEAP_OWNER_APPLICATION] = "application",
	[HEAP_OWNER_TCACHE] = "tcache",
	[HEAP_OWNER_FASTBIN] = "fastbin",
};

const unsigned heap_unpin_chunks[HEAP_UNPINS] = {1, 4, 16, 64, 256, 1024, 4096};

void heap_unknown(struct heap *ret_heap)
{
	/* All bytes one: HEAP_UNKNOWN in every number. */
	memset(ret_heap, 0xff, sizeof(*ret_heap));
	ret_heap->allocator = ALLOCATOR_UNKNOWN;
	ret_heap->pin_count = 0;
	memset(ret_heap->pins, 0, sizeof(ret_heap->pins));
	ret_heap->huge_mode = HEAP_HUGE_UNKNOWN;
}

struct heap *heap_copy(const struct heap *heap)
{
	struct heap *copy = malloc(sizeof(*copy));

	if (copy)
		*copy = *heap;
	return copy;
}

struct allocators *allocators_copy(const struct allocators *allocators)
{
	struct allocators *copy = malloc(sizeof(*copy));

	if (copy)
		*copy = *allocators;
	return copy;
}
