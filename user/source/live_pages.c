/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Pages in the live source: orders page records and passes so that what is told of an interval adds
 * up, and bounds both. Owns the records that wait for the next interval, and when which process is
 * looked at. Called by live.c.
 */
#include "live_state.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define BURST     10000 /* page records of a process from one look at the ring to the next */
#define MAX_LEVEL 24
#define MAX_HELD  65536 /* page records that wait; beyond, they do not */

static void level_set(struct live *live, struct seen_process *process, uint32_t level)
{
	struct event event = {.kind = EVENT_LEVEL, .proc = process->key, .level = {level}};

	if (level > MAX_LEVEL || level == process->level)
		return;
	process->level = level;
	probes_set_level(live->probes, &process->key, level);
	live_emit(live, &event);
}

/* A process that is counted; if it is not known yet, it was admitted a moment ago. */
static struct seen_process *process_meet(struct live *live, const struct ps_proc_key *key)
{
	struct seen_process *process = live_process_find(live, key);
	struct ps_proc counted;

	if (process || probes_read_process(live->probes, key, &counted))
		return process;
	process = live_process_see(live, key);
	if (process)
		live_process_identify(live, process, &counted);
	return process;
}

static void emit_page(struct live *live, const struct ps_page_record *record)
{
	struct event event = {.kind = EVENT_PAGE, .proc = record->proc, .page = record->page};

	live_emit(live, &event);
}

/*
 * Did it happen after the process's memory was read for the interval that ends? Then its pages are
 * the next interval's: else the interval's pages would not add up to its growth.
 */
static bool record_is_late(const struct seen_process *process, const struct ps_page_record *record)
{
	return process->holding ||
	       (process->measured_ns && record->page.at_ns > process->measured_ns);
}

/* What the reading may have seen, though its record waits; a single page stands for its sample. */
static void record_doubt(struct seen_process *process, const struct ps_page *page)
{
	uint64_t bytes = page->pages * (uint64_t)sysconf(_SC_PAGESIZE);

	if (page->at_ns <= process->measured_to_ns &&
		(page->kind == PS_PAGE_TOUCHED || page->kind == PS_PAGE_DROPPED))
		process->unsure_bytes += page->pages == 1 ? bytes << process->level : bytes;
}

/* False: there is no room, and the record cannot wait. */
static bool record_hold(
	struct live *live, struct seen_process *process, const struct ps_page_record *record)
{
	if (live->held_count == live->held_room) {
		size_t room = live->held_room ? 2 * live->held_room : 256;
		struct ps_page_record *held;

		if (room > MAX_HELD)
			return false;
		held = reallocarray(live->held, room, sizeof(*held));
		if (!held)
			return false;
		live->held = held;
		live->held_room = room;
	}
	process->holding = true;
	record_doubt(process, &record->page);
	live->held[live->held_count++] = *record;
	return true;
}

/* Too many at once: a part of the pages has to do. */
static void burst_bound(struct live *live, struct seen_process *process)
{
	if (process->burst_look != live->looks) {
		process->burst_look = live->looks;
		process->burst = 0;
	}
	if (++process->burst == BURST)
		level_set(live, process, process->level + 1);
}

int pages_record(void *context, const struct ps_page_record *record)
{
	struct live *live = context;
	struct seen_process *process = process_meet(live, &record->proc);

	if (!process || !process->selected || process->exited)
		return live->error;
	burst_bound(live, process);
	if (!record_is_late(process, record) || !record_hold(live, process, record))
		emit_page(live, record);
	return live->error;
}

void pages_release(struct live *live)
{
	struct seen_process *process, *next;

	HASH_ITER (hh, live->processes, process, next) {
		process->measured_ns = 0;
		process->holding = false;
	}
	for (size_t i = 0; i < live->held_count; i++)
		if (live_process_find(live, &live->held[i].proc))
			emit_page(live, &live->held[i]);
	live->held_count = 0;
}

int pages_drain(struct live *live)
{
	live->looks++;
	return probes_pages(live->probes);
}

static void pass_failed(struct live *live, int error)
{
	if (live->unreadable || error == -ESRCH)
		return;
	live->unreadable = true;
	live_note(live, "some process's page tables cannot be read: which of "
			"its pages are kept is not known");
}

/* Sample so that what is there can be tracked. */
static void pass_bound(struct live *live, struct seen_process *process)
{
	uint64_t bound = event_page_bound(live->options.max_pages, HASH_COUNT(live->processes));
	uint32_t level = process->level;

	while (process->pages_found >> level > bound)
		level++;
	level_set(live, process, level);
}

/*
 * Memory, with the records made until it was read. What came or went meanwhile may be in it or not:
 * an error of both intervals' changes. What cannot have been seen because there is less is none.
 */
static void memory_measure(struct live *live, struct seen_process *process, uint64_t freed_bytes)
{
	uint64_t unsure_bytes = process->unsure_bytes;
	struct event event;
	int error;

	process->measured_ns = clock_ns(CLOCK_MONOTONIC);
	error = live_process_memory(live, process, freed_bytes, &event);
	process->measured_to_ns = clock_ns(CLOCK_MONOTONIC);
	process->unsure_bytes = 0;
	if (!live->error)
		live->error = pages_drain(live);
	if (error)
		return;
	unsure_bytes += process->unsure_bytes;
	if (event.memory.rss_bytes != EVENT_UNKNOWN && unsure_bytes > 2 * event.memory.rss_bytes)
		unsure_bytes = 2 * event.memory.rss_bytes;
	if (event.memory.rss_error_bytes != EVENT_UNKNOWN)
		event.memory.rss_error_bytes += unsure_bytes;
	live_emit(live, &event);
}

/*
 * Look up what is there, then read what happened before and meanwhile, and only then tell what was
 * there: so that no page is there, or gone, for no reason.
 */
static void process_pass(struct live *live, struct seen_process *process, uint64_t freed_bytes)
{
	uint64_t began_ns = clock_ns(CLOCK_MONOTONIC), next = 0;
	uint64_t share_ns = live_part_ns(live) / HASH_COUNT(live->processes);
	int error;

	/* Measured already in this interval: what waits happened before this time. */
	if (process->holding)
		pages_release(live);
	error = passes_look(
		live->passes, &process->key, process->pass_from, began_ns + share_ns, &next);
	memory_measure(live, process, freed_bytes);
	live->passes_due.made++;
	live->passes_due.spent_ns += process->measured_to_ns - began_ns;
	if (error) {
		pass_failed(live, error);
		process->pass_from = 0;
		return;
	}
	if (process->pass_from == 0)
		process->pages_found = 0;
	process->pages_found += passes_found(live->passes);
	process->pass_from = next == UINT64_MAX ? 0 : next;
	pass_bound(live, process);
	if (!live->error)
		live->error = passes_deliver(live->passes, live->deliver, live->context);
}

/*
 * Where there are too many processes for the time that passes may take, they take turns; one that
 * is new is looked at in any case.
 */
static bool pass_is_due(const struct live *live, const struct seen_process *process)
{
	uint64_t count = HASH_COUNT(live->processes);
	uint64_t behind = (live->passes_due.index + count - live->passes_due.first % count) % count;

	return !process->tracked || behind < live->passes_due.allowed;
}

/* As many passes as fit, if they take as long as those of this interval took. */
void pages_schedule(struct live *live)
{
	uint64_t room_ns = live_part_ns(live);
	uint64_t made = live->passes_due.made, spent_ns = live->passes_due.spent_ns;

	live->passes_due.first += live->passes_due.allowed;
	if (made && spent_ns)
		live->passes_due.allowed = room_ns * made / spent_ns + 1;
	live->passes_due.made = live->passes_due.spent_ns = live->passes_due.index = 0;
}

void pages_measure(struct live *live, struct seen_process *process, uint64_t freed_bytes)
{
	if (!live->passes || !pass_is_due(live, process)) {
		memory_measure(live, process, freed_bytes);
		return;
	}
	if (!process->tracked)
		level_set(live, process, live->options.level);
	process->tracked = true;
	process_pass(live, process, freed_bytes);
}
