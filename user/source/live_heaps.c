/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Allocators and heaps in the live stream: asks the x-ray's thread at each interval's end, waits
 * for a part of the interval, and delivers what came of it, whichever interval it was asked in.
 * Called by live.c only.
 */
#include "live_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_STEP_NS (10 * NS_PER_MS) /* page records are read in between */
#define LOOKS        10               /* for allocators that are not settled */
#define WALK_MIN_NS  NS_PER_S         /* a walk may take an interval, and this at least */
#define WALK_MAX_NS  (10 * NS_PER_S)  /* and this at most */

static bool is_due(const struct seen_process *process, bool walk, uint64_t now_ns)
{
	if (process->looked_into || process->exited || !process->selected)
		return false;
	return (!process->settled && process->looks < LOOKS) ||
	       (walk && now_ns >= process->walk_after_ns);
}

static void ask(struct live *live, bool walk)
{
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	uint64_t walk_ns = live->options.interval_ns;
	struct seen_process *process, *next;

	walk_ns = walk_ns < WALK_MIN_NS ? WALK_MIN_NS : walk_ns;
	walk_ns = walk_ns > WALK_MAX_NS ? WALK_MAX_NS : walk_ns;
	HASH_ITER (hh, live->processes, process, next) {
		int error = 0;

		if (!is_due(process, walk, now_ns))
			continue;
		error = heaps_ask(live->heaps, &process->key,
			walk && now_ns >= process->walk_after_ns, walk_ns);
		process->looked_into = !error;
		if (!error)
			continue;
		/* The others are asked about in the next interval. */
		if (error != -EAGAIN)
			live->error = error;
		return;
	}
}

/* A file system that hangs holds up whoever reads a file that a process maps. Once. */
static void note_hanging(struct live *live)
{
	live->hanging = true;
	live_note(live, "a look into a process does not return: allocators and heaps of the others "
			"wait for it");
}

/* Once: which process it was matters less than that heaps may be unknown. */
static void note_opaque(struct live *live, const struct seen_process *process, int error)
{
	char text[EVENT_NOTE_BYTES];

	if (live->opaque || error == -ESRCH)
		return;
	live->opaque = true;
	(void)snprintf(text, sizeof(text),
		"the memory of process %u, perhaps of others, cannot be read: %s",
		process->key.tgid, strerror(-error));
	live_note(live, text);
}

static void deliver(
	struct live *live, struct seen_process *process, const struct heaps_result *result)
{
	struct event event = {.kind = EVENT_ALLOCATORS, .proc = process->key};
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);

	process->looked_into = false;
	process->looks += !process->settled;
	if (result->error) {
		note_opaque(live, process, result->error);
		return;
	}
	if (!process->settled) {
		event.allocators = &result->xray.allocators;
		live_emit(live, &event);
	}
	process->settled = process->settled || result->xray.settled;
	if (!result->xray.walked)
		return;
	process->walks++;
	process->walk_after_ns =
		now_ns + pace_rest_ns(&live->pace, process->walks, result->xray.heap.walk_ns,
				 now_ns, live->options.xray_ns, live->options.interval_ns);
	event.kind = EVENT_HEAP;
	event.heap = &result->xray.heap;
	live_emit(live, &event);
}

static void take(struct live *live)
{
	struct heaps_result *result;

	while ((result = heaps_take(live->heaps))) {
		struct seen_process *process = live_process_find(live, &result->key);

		if (process && process->selected && !process->exited)
			deliver(live, process, result);
		else if (process)
			process->looked_into = false;
		free(result);
	}
}

void heaps_measure(struct live *live, bool walk)
{
	uint64_t deadline_ns = clock_ns(CLOCK_MONOTONIC) + live_part_ns(live);
	uint64_t now_ns;

	ask(live, walk);
	do {
		now_ns = clock_ns(CLOCK_MONOTONIC);
		take(live);
		if (!live->error)
			live->error = pages_drain(live);
	} while (!live->error && now_ns < deadline_ns && !live_is_ending(live) &&
		 !heaps_hang(live->heaps, now_ns) &&
		 heaps_wait(live->heaps, now_ns + WAIT_STEP_NS));
	take(live);
	if (!live->hanging && heaps_hang(live->heaps, now_ns))
		note_hanging(live);
}
