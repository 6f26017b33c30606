/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The tracker: what is known of each process over the stream.
 *
 * A process is kept from its first event to the end of the interval in which it exited, so that
 * each appears once more, marked. Everything in `interval` starts over at each TICK; everything
 * else lasts. Events are not trusted: they may come from a damaged or forged recording, so tables
 * are capped and sums may wrap, but nothing can be indexed or allocated by a value from an event.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pagestay/core/route.h"
#include "track_state.h"

#define MAX_PAGE_ROUTES 1024         /* of one process, whose pages are told apart */
#define MAX_STEPS       (1ull << 30) /* of an interval: terabytes of pages, or some seconds */
#define MAX_PAGE_BYTES  (1ull << 16)

int track_new(const struct track_options *options, struct track **ret_track)
{
	struct track *track = calloc(1, sizeof(*track));

	if (!track)
		return -ENOMEM;
	track->options = *options;
	track->steps = MAX_STEPS;
	*ret_track = track;
	return 0;
}

static void routes_clear(struct tracked_process *process)
{
	struct tracked_route *route, *next;

	HASH_ITER (hh, process->interval.routes, route, next) {
		HASH_DEL(process->interval.routes, route);
		free(route);
	}
}

static void process_free(struct track *track, struct tracked_process *process)
{
	HASH_DEL(track->processes, process);
	routes_clear(process);
	retention_free(process->retention);
	free(process->allocators);
	free(process->heap);
	free(process);
}

void track_free(struct track *track)
{
	struct tracked_process *process, *next;

	if (!track)
		return;
	HASH_ITER (hh, track->processes, process, next)
		process_free(track, process);
	free(track->rows);
	free(track->routes);
	free(track->route_rows);
	free(track);
}

void track_damaged(struct track *track)
{
	track->damaged = true;
}

const struct report *track_report(const struct track *track)
{
	return track->reported ? &track->report : NULL;
}

/*
 * Folding events.
 */

/* The process of an event, new if need be. NULL: the cap is reached, or *ret_error is -ENOMEM. */
static struct tracked_process *process_get(
	struct track *track, const struct ps_proc_key *key, int *ret_error)
{
	struct tracked_process *process;

	HASH_FIND(hh, track->processes, key, sizeof(*key), process);
	if (process)
		return process;
	if (HASH_COUNT(track->processes) >= track->options.max_processes) {
		track->lost[PS_LOST_MAP_FULL]++;
		return NULL;
	}
	process = calloc(1, sizeof(*process));
	if (!process) {
		*ret_error = -ENOMEM;
		return NULL;
	}
	process->key = *key;
	process->faults_base = EVENT_UNKNOWN;
	memset(&process->memory, 0xff, sizeof(process->memory)); /* EVENT_UNKNOWN */
	process->interval.before = process->memory;
	history_init(&process->history);
	HASH_ADD(hh, track->processes, key, sizeof(process->key), process);
	if (table_has(process))
		return process;
	free(process);
	*ret_error = -ENOMEM;
	return NULL;
}

static void fold_counters(
	struct track *track, struct tracked_process *process, const struct event_counters *counters)
{
	for (int i = 0; i < PS_COUNTERS; i++)
		process->interval.counters[i] += counters->delta[i];
	process->opened_total += counters->delta[PS_CONNECTIONS_OPENED];
	process->attributed_total +=
		counters->delta[PS_FAULTS_IN_REQUESTS] + counters->delta[PS_FAULTS_OVERLAPPING];
	/* What is open when the stream begins was opened by nobody that we saw. */
	if (!track->started)
		process->opened_total = counters->open;
	process->open = process->exited ? 0 : counters->open;
}

static void fold_memory(struct tracked_process *process, const struct event_memory *memory)
{
	process->memory = *memory;
	if (process->interval.before.rss_bytes == EVENT_UNKNOWN)
		process->interval.before = *memory;
	if (process->faults_base == EVENT_UNKNOWN && memory->faults != EVENT_UNKNOWN) {
		process->faults_base = memory->faults;
		process->attributed_total = 0;
	}
}

static int fold_route(
	struct track *track, struct tracked_process *process, const struct event_route *event)
{
	struct tracked_route *route;
	char text[PS_ROUTE_BYTES] = {};

	route_normalise(event->text, text);
	if (process->retention &&
		retention_route(process->retention, event->hash, text, event->requests))
		return -ENOMEM;
	HASH_FIND_STR(process->interval.routes, text, route);
	if (!route) {
		/* Beyond the cap a request is one of `other`, as in the kernel. */
		if (HASH_COUNT(process->interval.routes) >= track->options.max_routes)
			return 0;
		route = calloc(1, sizeof(*route));
		if (!route)
			return -ENOMEM;
		memcpy(route->text, text, sizeof(text));
		HASH_ADD_STR(process->interval.routes, text, route);
		if (!table_has(route)) {
			free(route);
			return -ENOMEM;
		}
	}
	route->requests += event->requests;
	return 0;
}

static bool tracks_pages(const struct track *track)
{
	return strcmp(track->stream.detail, "pages") == 0;
}

static int retention_open(struct track *track, struct tracked_process *process)
{
	const struct retention_options options = {
		.page_seed = track->stream.page_seed,
		.max_pages =
			event_page_bound(track->options.max_pages, HASH_COUNT(track->processes)),
		.max_routes = MAX_PAGE_ROUTES,
		.steps = &track->steps,
	};

	if (process->retention || !tracks_pages(track))
		return 0;
	process->retention = retention_new(&options);
	return process->retention ? 0 : -ENOMEM;
}

static int fold_page_event(struct tracked_process *process, const struct event *event)
{
	if (!process->retention)
		return 0;
	switch (event->kind) {
	case EVENT_PAGE:
		return retention_page(process->retention, &event->page);
	case EVENT_RESIDENT:
		return retention_resident(process->retention, &event->resident);
	default:
		return retention_level(process->retention, event->level.level);
	}
}

/* Numbers by which something is indexed are made sound here. */
static int fold_allocators(struct tracked_process *process, const struct allocators *event)
{
	struct allocators *allocators = allocators_copy(event);

	if (!allocators)
		return -ENOMEM;
	free(process->allocators);
	process->allocators = allocators;
	if (allocators->count > ALLOCATORS)
		allocators->count = ALLOCATORS;
	for (unsigned i = 0; i < ALLOCATORS; i++)
		if ((unsigned)allocators->list[i].name >= ALLOCATOR_NAMES)
			allocators->list[i].name = ALLOCATOR_UNKNOWN;
	return 0;
}

static int fold_heap(struct tracked_process *process, const struct heap *event)
{
	struct heap *heap = heap_copy(event);

	if (!heap)
		return -ENOMEM;
	free(process->heap);
	process->heap = heap;
	if ((unsigned)heap->allocator >= ALLOCATOR_NAMES)
		heap->allocator = ALLOCATOR_UNKNOWN;
	if ((unsigned)heap->huge_mode > HEAP_HUGE_ALWAYS)
		heap->huge_mode = HEAP_HUGE_UNKNOWN;
	if (heap->pin_count > HEAP_PINS)
		heap->pin_count = HEAP_PINS;
	for (unsigned i = 0; i < HEAP_PINS; i++)
		if ((unsigned)heap->pins[i].owner >= HEAP_OWNERS)
			heap->pins[i].owner = HEAP_OWNER_APPLICATION;
	process->heap_age_ns = 0;
	return 0;
}

static int fold_process_event(struct track *track, const struct event *event)
{
	int error = 0;
	struct tracked_process *process = process_get(track, &event->proc, &error);

	if (!process)
		return error;
	error = retention_open(track, process);
	if (error)
		return error;
	switch (event->kind) {
	case EVENT_PAGE:
	case EVENT_RESIDENT:
	case EVENT_LEVEL:
		return fold_page_event(process, event);
	case EVENT_PROCESS:
		process->identity = event->process;
		cgroup_unit(event->process.cgroup, process->unit);
		cgroup_container(event->process.cgroup, process->container);
		return 0;
	case EVENT_COUNTERS:
		fold_counters(track, process, &event->counters);
		return 0;
	case EVENT_MEMORY:
		fold_memory(process, &event->memory);
		return 0;
	case EVENT_ROUTE:
		return fold_route(track, process, &event->route);
	case EVENT_ALLOCATORS:
		return fold_allocators(process, event->allocators);
	case EVENT_HEAP:
		return fold_heap(process, event->heap);
	default:
		process->exited = true;
		process->open = 0;
		return 0;
	}
}

static void fold_note(struct track *track, const struct event_note *note)
{
	if (track->note_count == MAX_NOTES)
		return;
	memcpy(track->notes[track->note_count], note->text, sizeof(note->text));
	track->note_texts[track->note_count] = track->notes[track->note_count];
	track->note_count++;
}

/* The interval's counts start over; processes that exited in it are forgotten. */
static void begin_interval(struct track *track)
{
	struct tracked_process *process, *next;

	track->reported = false;
	track->steps = MAX_STEPS;
	memset(track->lost, 0, sizeof(track->lost));
	HASH_ITER (hh, track->processes, process, next) {
		if (process->exited) {
			process_free(track, process);
			continue;
		}
		routes_clear(process);
		memset(process->interval.counters, 0, sizeof(process->interval.counters));
		process->interval.before = process->memory;
		if (process->retention)
			retention_begin(process->retention);
	}
}

/* What is there already is the first interval's beginning. */
static void begin_tracking(struct track *track)
{
	struct tracked_process *process, *next;

	HASH_ITER (hh, track->processes, process, next)
		if (process->retention)
			retention_begin(process->retention);
}

int track_event(struct track *track, const struct event *event)
{
	if (track->reported)
		begin_interval(track);
	switch (event->kind) {
	case EVENT_STREAM:
		track->stream = event->stream;
		if (track->stream.page_bytes > MAX_PAGE_BYTES)
			track->stream.page_bytes = MAX_PAGE_BYTES;
		return 0;
	case EVENT_NOTE:
		fold_note(track, &event->note);
		return 0;
	case EVENT_START:
		track->started = true;
		begin_tracking(track);
		track->before = event->tick;
		return 0;
	case EVENT_LOSS:
		for (int i = 0; i < PS_LOSSES; i++)
			track->lost[i] += event->loss.lost[i];
		return 0;
	case EVENT_TICK:
		return track_make_report(track, &event->tick);
	default:
		return fold_process_event(track, event);
	}
}
