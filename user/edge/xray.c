/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The x-ray of one process: tells its allocators, then walks each heap that can be walked, and adds
 * what /proc knows. Owns the caches of what is known of files, and nothing of any process. Called
 * by the live source and by the command xray.
 */
#include "pagestay/edge/xray.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pagestay/base/cleanup.h"
#include "pagestay/edge/allocator.h"
#include "pagestay/base/clock.h"
#include "pagestay/edge/jemalloc.h"

struct xray {
	const struct procfs *procfs;
	struct allocator_cache *allocators;
	struct jemalloc_cache *jemalloc;
	atomic_bool cancelled;
};

static void cleanup_target(struct target **target)
{
	target_close(*target);
}

int xray_new(const struct procfs *procfs, struct xray **ret_xray)
{
	struct xray *xray = calloc(1, sizeof(*xray));
	int error = xray ? allocator_cache_new(&xray->allocators) : -ENOMEM;

	if (!error)
		error = jemalloc_cache_new(&xray->jemalloc);
	if (error) {
		xray_free(xray);
		return error;
	}
	xray->procfs = procfs;
	*ret_xray = xray;
	return 0;
}

void xray_free(struct xray *xray)
{
	if (!xray)
		return;
	jemalloc_cache_free(xray->jemalloc);
	allocator_cache_free(xray->allocators);
	free(xray);
}

void xray_cancel(struct xray *xray)
{
	atomic_store(&xray->cancelled, true);
}

uint64_t xray_file_reads(const struct xray *xray)
{
	return allocator_cache_reads(xray->allocators);
}

/* 0 where there is no such symbol: the walk finds it by itself. */
static uint64_t symbol_or_0(struct xray *xray, struct target *target,
	const struct allocator *allocator, const char *symbol)
{
	uint64_t address = 0;

	(void)allocator_symbol(xray->allocators, target, allocator, symbol, &address);
	return address;
}

static int walk_glibc(struct xray *xray, struct target *target, const struct allocator *allocator,
	uint64_t deadline_ns, struct heap *heap, struct xray_remarks *remarks)
{
	int error = glibc_heap_walk(target, symbol_or_0(xray, target, allocator, "main_arena"),
		symbol_or_0(xray, target, allocator, "mp_"), deadline_ns, heap, &remarks->damage);

	if (error == -ENODATA)
		(void)snprintf(remarks->unread, sizeof(remarks->unread),
			"no layout of glibc's malloc that is known validates in this process");
	else if (error == -ETIME)
		(void)snprintf(remarks->unread, sizeof(remarks->unread),
			"the time was not enough for the whole heap");
	return error == -ETIME ? 0 : error;
}

static int read_jemalloc(struct xray *xray, struct target *target,
	const struct allocator *allocator, struct heap *heap, struct xray_remarks *remarks)
{
	struct diag diag = {};
	int error = jemalloc_read(xray->jemalloc, target, allocator, heap, &diag);

	if (error == -ENOTSUP)
		(void)snprintf(remarks->unread, sizeof(remarks->unread), "jemalloc: %.200s",
			diag.text[0] ? diag.text : "its counters cannot be read");
	return error;
}

/* -ENODATA or -ENOTSUP: nothing of this allocator's heap can be read. */
static int walk_heap(struct xray *xray, struct target *target, const struct allocator *allocator,
	uint64_t deadline_ns, struct heap *heap, struct xray_remarks *remarks)
{
	switch (allocator->name) {
	case ALLOCATOR_GLIBC:
		return walk_glibc(xray, target, allocator, deadline_ns, heap, remarks);
	case ALLOCATOR_JEMALLOC:
		return read_jemalloc(xray, target, allocator, heap, remarks);
	default:
		return -ENOTSUP;
	}
}

/* The first in the list whose heap could be read is whose heap it is. */
static int walk_heaps(struct xray *xray, struct target *target, const struct allocators *allocators,
	uint64_t deadline_ns, struct heap *heap, struct xray_remarks *remarks)
{
	for (unsigned i = 0; i < allocators->count; i++) {
		const struct allocator *allocator = &allocators->list[i];
		int error = walk_heap(xray, target, allocator, deadline_ns, heap, remarks);

		if (!error && heap->allocator == ALLOCATOR_UNKNOWN)
			heap->allocator = allocator->name;
		if (error && error != -ENOTSUP && error != -ENODATA)
			return error;
	}
	if (heap->allocator == ALLOCATOR_UNKNOWN && !remarks->unread[0])
		(void)snprintf(remarks->unread, sizeof(remarks->unread),
			"the heap of %s cannot be read from outside: what the kernel sees is all "
			"there is",
			allocator_names[allocators->list[0].name]);
	return 0;
}

static int look_into(struct xray *xray, struct target *target, bool walk, uint64_t deadline_ns,
	struct xray_result *result)
{
	int error =
		allocators_detect(xray->allocators, target, &result->allocators, &result->settled);

	if (error || !walk)
		return error;
	error = walk_heaps(
		xray, target, &result->allocators, deadline_ns, &result->heap, &result->remarks);
	return error ? error : procfs_heap(xray->procfs, target_key(target), &result->heap);
}

int xray_process(struct xray *xray, const struct ps_proc_key *key, bool walk, uint64_t deadline_ns,
	struct xray_result *ret_result, struct diag *diag)
{
	_cleanup_(cleanup_target) struct target *target = NULL;
	struct xray_result result = {.walked = walk};
	uint64_t began_ns = clock_ns(CLOCK_MONOTONIC);
	int error = target_open(xray->procfs, key, &target, diag);

	if (error)
		return error;
	target_cancel_by(target, &xray->cancelled);
	heap_unknown(&result.heap);
	error = look_into(xray, target, walk, deadline_ns, &result);
	if (error)
		return error;
	if (walk)
		result.heap.walk_ns = clock_ns(CLOCK_MONOTONIC) - began_ns;
	*ret_result = result;
	return 0;
}
