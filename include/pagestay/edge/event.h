/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Events: the only thing that passes from a source to the core, live or from a recording.
 *
 * A stream is: STREAM, then what is there already, closed by one START, then intervals, each closed
 * by one TICK. What is there already and an interval are NOTE, PROCESS, COUNTERS, ROUTE, MEMORY,
 * EXITED, LOSS, PAGE, RESIDENT, LEVEL, ALLOCATORS and HEAP in any order. Counters are what happened
 * since the event before for the same process. Nothing per request and nothing per call is an
 * event, but for what happened to pages at the detail level `pages`.
 *
 * A pass looks up which anonymous pages of a process are resident. Its RESIDENT events cover the
 * address space in ascending order, and come behind every PAGE that happened before it began.
 */
#ifndef PAGESTAY_EDGE_EVENT_H
#define PAGESTAY_EDGE_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "pagestay/abi.h"
#include "pagestay/edge/heap.h"

#define EVENT_HOST_BYTES   65 /* HOST_NAME_MAX + 1 */
#define EVENT_DETAIL_BYTES 16
#define EVENT_NOTE_BYTES   160
#define EVENT_EXE_BYTES    256
#define EVENT_CGROUP_BYTES 256
#define EVENT_RUNS         64
#define EVENT_UNKNOWN      UINT64_MAX /* a value that could not be read; a report says null */

/* The order is the recording format's: append only. */
enum event_kind {
	EVENT_STREAM = 1,
	EVENT_NOTE,
	EVENT_START,
	EVENT_PROCESS,
	EVENT_COUNTERS,
	EVENT_ROUTE,
	EVENT_MEMORY,
	EVENT_EXITED,
	EVENT_LOSS,
	EVENT_TICK,
	EVENT_PAGE,
	EVENT_RESIDENT,
	EVENT_LEVEL,
	EVENT_ALLOCATORS,
	EVENT_HEAP,
	EVENT_KINDS, /* one past the last */
};

/* Where the events come from. `detail` is a detail level of the command line. */
struct event_stream {
	char host[EVENT_HOST_BYTES];
	char detail[EVENT_DETAIL_BYTES];
	uint8_t routes; /* routes are counted */
	uint64_t page_bytes;
	uint64_t page_seed; /* of ps_page_sampled */
};

/* Something that this kernel or these privileges could not give, in one sentence. */
struct event_note {
	char text[EVENT_NOTE_BYTES];
};

/* A process that is counted, or a change of what it calls itself. Any bytes, terminated. */
struct event_process {
	char comm[PS_COMM_BYTES];
	char exe[EVENT_EXE_BYTES];       /* empty: unknown */
	char cgroup[EVENT_CGROUP_BYTES]; /* its path, as the host sees it; empty: unknown */
};

/* What a process did, and how many connections it has open now. */
struct event_counters {
	uint64_t delta[PS_COUNTERS];
	uint64_t open;
};

/* Requests of one route of a process; routes that found the kernel's map full are not here. */
struct event_route {
	char text[PS_ROUTE_BYTES]; /* terminated; method and raw path, or `-` */
	uint64_t requests;
	uint64_t hash; /* by which page records name it */
};

/* From /proc, as of now; each may be EVENT_UNKNOWN. */
struct event_memory {
	uint64_t rss_bytes;
	uint64_t anon_bytes;
	uint64_t lazyfree_bytes;
	uint64_t swap_bytes;
	uint64_t faults;          /* minor and major, all threads, since the process began */
	uint64_t file_bytes;      /* resident pages of files and shared memory */
	uint64_t rss_error_bytes; /* how much the kernel's RSS may be off */
	uint64_t cpu_ns;          /* user and system time, since the process began */
};

/* What was lost since the last one, indexed by enum ps_loss. */
struct event_loss {
	uint64_t lost[PS_LOSSES];
};

/* The beginning or the end of an interval. */
struct event_tick {
	uint64_t wall_ns;     /* since the epoch */
	uint64_t interval_ns; /* since START or the TICK before, by a monotonic clock; START: 0 */
	uint64_t self_rss_bytes; /* of the observer */
	uint64_t self_cpu_ns;    /* of the observer, since it began */
	uint64_t now_ns;         /* CLOCK_MONOTONIC, as page records have it */
	/* Of its BPF programs, since they were loaded, while the kernel kept account of it;
	 * EVENT_UNKNOWN: it does not now. */
	uint64_t self_bpf_ns, self_bpf_runs;
};

/*
 * Of a pass that began at `began_ns`: the anonymous pages in [from, to) that are resident or in
 * swap, in runs[0..2*count): pages to skip since the last run's end or `from`, then twice the
 * run's length, plus 1 if it is in swap. Zero pages and pages of files are not in a run.
 */
struct event_resident {
	uint64_t began_ns;
	uint64_t from, to; /* page numbers; `to` is EVENT_UNKNOWN behind the last page */
	uint64_t runs[2 * EVENT_RUNS];
};

/*
 * How many pages of a process may be tracked where there are so many processes: `max_pages`, and of
 * all together about four times that. Source and core keep to it alike.
 */
static inline uint64_t event_page_bound(uint64_t max_pages, uint64_t processes)
{
	uint64_t share = processes ? 4 * max_pages / processes : max_pages;

	return share > max_pages ? max_pages : share < 64 ? 64 : share;
}

/* From now on one page in 2^level is in page records. Never falls. */
struct event_level {
	uint64_t level;
};

struct event {
	enum event_kind kind;
	struct ps_proc_key proc; /* of all but STREAM, NOTE, START, LOSS, TICK */
	union {
		struct event_stream stream;
		struct event_note note;
		struct event_process process;
		struct event_counters counters;
		struct event_route route;
		struct event_memory memory;
		struct event_loss loss;
		struct event_tick tick; /* START and TICK */
		struct ps_page page;
		struct event_resident resident;
		struct event_level level;
		const struct allocators *allocators; /* whenever they are not as they were */
		const struct heap *heap;             /* an x-ray */
	};
};

/* Takes an event; it and what it points to is the caller's again when this returns. 0 or -errno,
 * which ends the drain. */
typedef int (*event_fn)(void *context, const struct event *event);

#endif
