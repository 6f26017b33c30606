/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Passes: looking up which pages of a process are there, as RESIDENT events, within bounds.
 */
#ifndef PAGESTAY_SOURCE_PASSES_H
#define PAGESTAY_SOURCE_PASSES_H

#include "pagestay/edge/residency.h"
#include "pagestay/source/source.h"

struct passes;

/* `procfs` must outlive it. 0 or -errno. */
int passes_new(const struct procfs *procfs, struct passes **ret_passes);
void passes_free(struct passes *passes); /* takes NULL */

/*
 * Look up a process's pages from number `from` on, until the end or until `deadline_ns` (of
 * CLOCK_MONOTONIC), and keep what was found. Sets where it ended; UINT64_MAX: at the end. The error
 * is residency_walk's.
 */
int passes_look(struct passes *passes, const struct ps_proc_key *key, uint64_t from,
	uint64_t deadline_ns, uint64_t *ret_next);

/* How many pages the last look found. */
uint64_t passes_found(const struct passes *passes);

/* Deliver what the last look found, as events that cover what it looked at. */
int passes_deliver(struct passes *passes, event_fn deliver, void *context);

#endif
