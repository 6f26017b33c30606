/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * X-rays beside the event loop: a thread of its own looks into one process after the other, so that
 * the walk of a large heap delays neither page records nor an interval.
 */
#ifndef PAGESTAY_SOURCE_HEAPS_H
#define PAGESTAY_SOURCE_HEAPS_H

#include "pagestay/edge/xray.h"

#define HEAPS_ASKED_MAX 4096

struct heaps;

/* What came of one request. */
struct heaps_result {
	struct ps_proc_key key;
	int error; /* 0, or the -errno of xray_process */
	struct xray_result xray;
};

/* `procfs` is borrowed until heaps_free says true. */
int heaps_new(const struct procfs *procfs, struct heaps **ret_heaps);

/*
 * Breaks off the look into a process that is under way. False: it does not return in half a second,
 * and goes on with everything that it has, also with what was lent; the caller is about to end.
 * Takes NULL.
 */
bool heaps_free(struct heaps *heaps);

/*
 * Asks for a process's allocators, and for its heap if `walk`, which may take walk_ns at most. 0 or
 * -errno: no memory, or no thread; -EAGAIN: HEAPS_ASKED_MAX wait already.
 */
int heaps_ask(struct heaps *heaps, const struct ps_proc_key *key, bool walk, uint64_t walk_ns);

/* Takes the oldest result, which the caller frees; NULL: none is there. */
struct heaps_result *heaps_take(struct heaps *heaps);

/* Waits until a result is there or CLOCK_MONOTONIC reaches deadline_ns. False: nothing to come. */
bool heaps_wait(struct heaps *heaps, uint64_t deadline_ns);

/* The look under way took ten seconds longer than its walk may: a file system hangs. */
bool heaps_hang(struct heaps *heaps, uint64_t now_ns);

#endif
