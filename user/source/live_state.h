/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the two halves of the live source share: live.c counts and orders the stream, live_pages.c
 * has what concerns single pages, live_heaps.c allocators and heaps. Nobody else includes this.
 */
#ifndef PAGESTAY_SOURCE_LIVE_STATE_H
#define PAGESTAY_SOURCE_LIVE_STATE_H

#include <time.h>

#include "pagestay/base/table.h"
#include "pagestay/edge/procfs.h"
#include "pagestay/source/heaps.h"
#include "pagestay/source/live.h"
#include "pagestay/source/pace.h"
#include "pagestay/source/passes.h"
#include "pagestay/base/clock.h"
#include "pagestay/source/probes.h"

/* A process of the map `procs`, and what was delivered of it. */
struct seen_process {
	struct ps_proc_key key;
	uint64_t delivered[PS_COUNTERS];
	struct event_process identity;
	bool selected;
	bool reselect; /* selection changed since */
	bool exited;   /* delivered as such; forgotten at the next tick */
	bool lazyfree; /* lazily freed bytes are worth a walk of its page tables */
	bool tracked;  /* its first pass was made */
	uint32_t level;
	uint32_t burst;       /* page records in the look at the ring under way, or the last */
	uint64_t burst_look;  /* which look that was */
	uint64_t pass_from;   /* where the next look goes on */
	uint64_t pages_found; /* by the looks of the pass under way */
	uint64_t measured_ns; /* when its memory was read for the interval that ends; 0: not yet */
	uint64_t measured_to_ns; /* when that reading was over */
	uint64_t unsure_bytes;   /* that came or went while it was read: they are in it or not */
	bool holding;            /* a record of it waits, and so all that follow */
	bool settled;            /* its allocators were told for good */
	bool looked_into;        /* asked for and not yet answered */
	unsigned looks;          /* at its allocators */
	unsigned walks;          /* of its heap */
	uint64_t walk_after_ns;  /* no x-ray before: walks take a part of the time and no more */
	UT_hash_handle hh;
};

/* A route of the map `routes`, and what was delivered of it. */
struct seen_route {
	struct ps_route_key key;
	uint64_t delivered;
	UT_hash_handle hh;
};

struct live {
	struct source source;
	struct probes *probes;
	struct procfs procfs;
	struct passes *passes; /* NULL: pages are not tracked */
	struct heaps *heaps;
	struct live_options options;
	struct seen_process *processes;
	struct seen_route *routes;
	uint64_t lost[PS_LOSSES]; /* as delivered */
	struct probes_runs runs;  /* at the interval's end */
	uint64_t tick_ns;         /* CLOCK_MONOTONIC of the last START or TICK */
	event_fn deliver;         /* of the drain under way, with its context and first error */
	void *context;
	int error;
	struct pace pace;            /* of x-rays */
	bool opaque;                 /* told that some process's heap cannot be x-rayed */
	bool hanging;                /* told that a look into one does not return */
	bool unreadable;             /* told that some process's pages cannot be looked up */
	struct ps_page_record *held; /* what happened after memory was read, in order */
	size_t held_count, held_room;
	uint64_t looks; /* at the ring of page records */
	struct {
		uint64_t allowed; /* passes of this interval: more would take too long */
		uint64_t first;   /* whose turn it is, in the order of the map */
		uint64_t index;   /* of the process that is being accounted */
		uint64_t made, spent_ns;
	} passes_due;
};

static inline bool live_is_ending(const struct live *live)
{
	return live->options.is_ending && live->options.is_ending();
}

/*
 * What passes may take of an interval, and what is waited for x-rays: a quarter. The loop hears its
 * watchdog in between, so of a long interval a second each; nothing, when somebody asks to end.
 */
static inline uint64_t live_part_ns(const struct live *live)
{
	uint64_t part_ns = live->options.interval_ns / 4;

	if (live_is_ending(live))
		return 0;
	return part_ns < NS_PER_S ? part_ns : NS_PER_S;
}

static inline void live_emit(struct live *live, const struct event *event)
{
	if (!live->error)
		live->error = live->deliver(live->context, event);
}

static inline struct seen_process *live_process_find(
	struct live *live, const struct ps_proc_key *key)
{
	struct seen_process *process;

	HASH_FIND(hh, live->processes, key, sizeof(*key), process);
	return process;
}

/* Of live.c. */
void live_note(struct live *live, const char *text);
struct seen_process *live_process_see(struct live *live, const struct ps_proc_key *key);
void live_process_identify(
	struct live *live, struct seen_process *process, const struct ps_proc *counted);
int live_process_memory(struct live *live, struct seen_process *process, uint64_t freed_bytes,
	struct event *ret_event);

/* Of live_pages.c. A probes_page_fn. */
int pages_record(void *context, const struct ps_page_record *record);

/* Read the page records. 0 or -errno. */
int pages_drain(struct live *live);

/* A new interval: what waited for it is its beginning. */
void pages_release(struct live *live);

/* How a process is now: its memory, and its pages where they are tracked. */
void pages_measure(struct live *live, struct seen_process *process, uint64_t freed_bytes);

/* The interval's passes are made: plan the next one's. */
void pages_schedule(struct live *live);

/* Of live_heaps.c: tell allocators and, with `walk`, heaps; until the interval's share is over. */
void heaps_measure(struct live *live, bool walk);

#endif
