/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns what one look at a process found, between looking and delivering: in between the live source
 * reads the page records that were made before and during the look. Bounded by MAX_RUNS: a look
 * that finds more ends there, and the next one goes on.
 */
#include "pagestay/base/clock.h"
#include "pagestay/source/passes.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define MAX_RUNS 1000000 /* 16 MB */

struct run {
	uint64_t page;
	uint64_t length; /* twice the pages, plus 1 if they are in swap */
};

struct passes {
	struct residency *residency;
	struct ps_proc_key key;
	uint64_t began_ns, from, next, found;
	struct run *runs;
	size_t count, room;
};

int passes_new(const struct procfs *procfs, struct passes **ret_passes)
{
	struct passes *passes = calloc(1, sizeof(*passes));
	int error = passes ? residency_new(procfs, &passes->residency) : -ENOMEM;

	if (error) {
		free(passes);
		return error;
	}
	*ret_passes = passes;
	return 0;
}

void passes_free(struct passes *passes)
{
	if (!passes)
		return;
	residency_free(passes->residency);
	free(passes->runs);
	free(passes);
}

static int keep_run(void *context, uint64_t page, uint64_t pages, bool swapped)
{
	struct passes *passes = context;

	if (passes->count == MAX_RUNS) {
		passes->next = page;
		return -E2BIG;
	}
	if (passes->count == passes->room) {
		size_t room = passes->room ? 2 * passes->room : 1024;
		struct run *runs = reallocarray(passes->runs, room, sizeof(*runs));

		if (!runs)
			return -ENOMEM;
		passes->runs = runs;
		passes->room = room;
	}
	passes->runs[passes->count++] = (struct run){page, 2 * pages + swapped};
	passes->found += pages;
	return 0;
}

int passes_look(struct passes *passes, const struct ps_proc_key *key, uint64_t from,
	uint64_t deadline_ns, uint64_t *ret_next)
{
	uint64_t next = UINT64_MAX;
	int error;

	passes->key = *key;
	passes->began_ns = clock_ns(CLOCK_MONOTONIC);
	passes->from = from;
	passes->count = 0;
	passes->found = 0;
	error = residency_walk(passes->residency, key, from, deadline_ns, keep_run, passes, &next);
	if (error && error != -E2BIG)
		return error;
	if (!error)
		passes->next = next;
	*ret_next = passes->next;
	return 0;
}

uint64_t passes_found(const struct passes *passes)
{
	return passes->found;
}

int passes_deliver(struct passes *passes, event_fn deliver, void *context)
{
	uint64_t at = passes->from;
	size_t next = 0;
	int error;

	do {
		struct event event = {.kind = EVENT_RESIDENT, .proc = passes->key};
		struct event_resident *resident = &event.resident;

		resident->began_ns = passes->began_ns;
		resident->from = at;
		for (size_t i = 0; i < EVENT_RUNS && next < passes->count; i++, next++) {
			const struct run *run = &passes->runs[next];

			resident->runs[2 * i] = run->page - at;
			resident->runs[2 * i + 1] = run->length;
			at = run->page + (run->length >> 1);
		}
		if (next == passes->count)
			at = passes->next;
		resident->to = at;
		error = deliver(context, &event);
	} while (!error && next < passes->count);
	return error;
}
