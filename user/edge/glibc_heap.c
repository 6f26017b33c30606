/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Walks the arenas of a glibc heap one after another, adds their segments up, and works out what
 * free() would give back by itself if what is live at the top of the segments were freed, by the
 * rules of malloc's own trimming. All memory is the walk's own and goes with it. Called by whatever
 * x-rays a process.
 */
#include "glibc_heap_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pagestay/base/cleanup.h"
#include "pagestay/base/clock.h"

#define HEAP_BYTES (64ull << 20)
#define TRIES      6         /* to find the arenas of a process that runs */
#define PAUSE_NS   NS_PER_MS /* before the second; twice as long before each next */
#define CONSOLIDATION_BYTES                                                                        \
	65536u /* what free() must make in one piece before it looks at the top */

static void walk_free(struct walk **walk)
{
	if (!*walk)
		return;
	memory_deinit(&(*walk)->memory);
	free((*walk)->arenas);
	free((*walk)->segments);
	free((*walk)->fast);
	free((*walk)->links);
	free((*walk)->tcaches);
	free(*walk);
}

static int walk_new(struct target *target, uint64_t deadline_ns, struct walk **ret_walk)
{
	_cleanup_(walk_free) struct walk *walk = calloc(1, sizeof(*walk));
	int error;

	if (!walk)
		return -ENOMEM;
	error = memory_init(&walk->memory, target, deadline_ns);
	if (error)
		return error;
	walk->arenas = calloc(ARENAS_MAX, sizeof(*walk->arenas));
	if (!walk->arenas)
		return -ENOMEM;
	*ret_walk = TAKE(walk);
	return 0;
}

/*
 * What goes back by itself.
 */

/* Of a top that begins at a boundary: what shrinking the segment gives back. */
static uint64_t shrink_bytes(
	struct walk *walk, const struct segment *segment, const struct unpinned *unpinned)
{
	const struct parameters *parameters = &walk->parameters;
	const uint64_t page_bytes = walk->memory.page_bytes;
	const uint64_t top_bytes = segment->to - unpinned->boundary;
	uint64_t spare_bytes, kept_pages;

	if (top_bytes < parameters->trim_threshold_bytes || top_bytes < CONSOLIDATION_BYTES ||
		top_bytes - CHUNK_MIN - 1 <= parameters->top_pad_bytes)
		return 0;
	if (segment->is_main && !segment->is_at_break)
		return 0;
	spare_bytes = align_down(
		top_bytes - CHUNK_MIN - 1 - parameters->top_pad_bytes, segment->page_bytes);
	walk->memory.is_huge = segment->is_huge;
	kept_pages =
		memory_resident_pages(&walk->memory, unpinned->boundary, segment->to - spare_bytes);
	walk->memory.error = 0;
	return kept_pages < unpinned->pages_above
		       ? (unpinned->pages_above - kept_pages) * page_bytes
		       : 0;
}

/* A heap without anything in it is unmapped if the one before has room to go on. */
static bool goes_away(const struct walk *walk, const struct segment *segment,
	const struct segment *previous, unsigned i)
{
	const uint64_t room = previous->from + HEAP_BYTES - previous->unpinned[i].boundary;

	return segment->unpinned[i].boundary == segment->first && !previous->is_lost &&
	       room >= walk->parameters.top_pad_bytes + CHUNK_MIN + segment->page_bytes;
}

static uint64_t unpin_arena(struct walk *walk, unsigned i)
{
	uint64_t bytes = 0;

	for (size_t place = 0; place < walk->segment_count; place++) {
		const struct segment *segment = &walk->segments[place];

		if (segment->is_lost)
			break;
		if (place + 1 < walk->segment_count && !segment->is_main &&
			goes_away(walk, segment, segment + 1, i)) {
			bytes += segment->resident_pages * walk->memory.page_bytes;
			continue;
		}
		bytes += shrink_bytes(walk, segment, &segment->unpinned[i]);
		break;
	}
	return bytes;
}

/*
 * Adding up.
 */

static void add_pin(struct heap *heap, const struct heap_pin *pin)
{
	unsigned place = heap->pin_count;

	if (!pin->address || !pin->below_bytes)
		return;
	while (place > 0 && heap->pins[place - 1].below_bytes < pin->below_bytes)
		place--;
	if (place == HEAP_PINS)
		return;
	if (heap->pin_count < HEAP_PINS)
		heap->pin_count++;
	memmove(&heap->pins[place + 1], &heap->pins[place],
		(heap->pin_count - place - 1) * sizeof(*pin));
	heap->pins[place] = *pin;
}

static void add_segment(struct heap *heap, const struct segment *segment, uint64_t page_bytes)
{
	heap->segments++;
	heap->live_bytes += segment->used_bytes;
	heap->held_free_bytes += segment->free_bytes;
	heap->fastbin_bytes += segment->fast_bytes;
	heap->top_bytes += segment->top_bytes;
	heap->held_free_resident_bytes += segment->free_resident_bytes;
	heap->top_resident_bytes += segment->top_resident_bytes;
	heap->trimmable_bytes += segment->trimmable_pages * page_bytes;
	heap->trimmable_top_bytes += segment->trimmable_top_pages * page_bytes;
	heap->lost_segments += segment->is_lost;
	heap->lost_bytes += segment->lost_bytes;
	add_pin(heap, &segment->pin);
}

/* From the top downwards. A segment that went away meanwhile is none. */
static int walk_segments(struct walk *walk)
{
	size_t kept = 0;
	int error = 0;

	for (size_t i = 0; i < walk->segment_count; i++) {
		struct segment segment = walk->segments[i];

		if (error == 0) {
			error = walk_segment(walk, &segment);
		} else {
			segment.is_lost = true;
			segment.lost_bytes = segment.to - segment.from;
		}
		if (error == -ENODATA)
			error = 0;
		else
			walk->segments[kept++] = segment;
		if (error && error != -ETIME)
			return error;
	}
	walk->segment_count = kept;
	return error;
}

/* All of an arena that there is no time for. */
static int lose_arena(struct walk *walk)
{
	for (size_t i = 0; i < walk->segment_count; i++) {
		walk->segments[i].is_lost = true;
		walk->segments[i].lost_bytes = walk->segments[i].to - walk->segments[i].from;
	}
	return -ETIME;
}

/* The first damage is the one that is told. */
static void damage_arena(struct walk *walk, const char *why)
{
	struct glibc_heap_damage *damage = &walk->damage;

	if (damage->address)
		return;
	damage->address = walk->arena;
	(void)snprintf(damage->text, sizeof(damage->text), "%s", why);
}

/* Without them, free chunks would count as live. */
static int lose_lists(struct walk *walk, int why)
{
	damage_arena(walk, why == -E2BIG
				   ? "this arena has more chunks in fastbins than are followed"
				   : "this arena's fastbins change faster than they are followed");
	(void)lose_arena(walk);
	return 0;
}

/* What its heaps do not say makes an arena a lost segment. */
static void lose_unknown_arena(struct walk *walk, struct heap *heap, uint64_t system_bytes)
{
	damage_arena(walk, "this arena's heaps cannot be found");
	walk->segment_count = 0;
	heap->segments++;
	heap->lost_segments++;
	heap->lost_bytes += system_bytes;
}

/* The main arena may have memory at several places: what is lost is what was not found of it all.
 */
static void bound_loss(struct walk *walk, uint64_t system_bytes)
{
	for (size_t i = 0; i < walk->segment_count; i++) {
		struct segment *segment = &walk->segments[i];
		const uint64_t found_bytes = segment->used_bytes + segment->free_bytes;

		if (segment->is_main && segment->is_lost)
			segment->lost_bytes =
				system_bytes > found_bytes ? system_bytes - found_bytes : 0;
	}
}

static uint64_t distance(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

/* The arena may have grown or been trimmed meanwhile: of what it had before and what it has now,
 * what was walked. */
static int agree(struct walk *walk, uint64_t *system_bytes)
{
	uint64_t walked = 0, now;
	int error = arena_system_bytes(walk, walk->arena, &now);

	for (size_t i = 0; i < walk->segment_count; i++) {
		const struct segment *segment = &walk->segments[i];

		walked += segment->used_bytes + segment->free_bytes + segment->lost_bytes;
	}
	if (!error && distance(now, walked) < distance(*system_bytes, walked))
		*system_bytes = now;
	return error;
}

static int walk_arena(struct walk *walk, struct heap *heap, bool in_time)
{
	uint64_t system_bytes = 0;
	int error = arena_system_bytes(walk, walk->arena, &system_bytes);

	if (!error)
		error = find_segments(walk);
	if (error == -ENODATA || error == -EFAULT) {
		lose_unknown_arena(walk, heap, system_bytes);
		error = 0;
	}
	if (!error && in_time)
		error = list_fastbins(walk);
	if (!error && in_time)
		error = walk_segments(walk);
	else if (!error || error == -ETIME)
		error = lose_arena(walk);
	else if (error == -EAGAIN || error == -E2BIG)
		error = lose_lists(walk, error);
	if (!error)
		error = agree(walk, &system_bytes);
	if (error && error != -ETIME)
		return error;
	bound_loss(walk, system_bytes);
	for (size_t i = 0; i < walk->segment_count; i++)
		add_segment(heap, &walk->segments[i], walk->memory.page_bytes);
	for (unsigned i = 0; i < HEAP_UNPINS; i++)
		heap->unpin_bytes[i] += unpin_arena(walk, i);
	heap->system_bytes += system_bytes;
	heap->arenas++;
	return error;
}

static int walk_arenas(struct walk *walk, struct heap *heap)
{
	bool in_time = true;

	for (size_t i = 0; i < walk->arena_count; i++) {
		int error;

		walk->arena = walk->arenas[i];
		error = walk_arena(walk, heap, in_time);
		if (error && error != -ETIME)
			return error;
		in_time = in_time && !error;
	}
	return in_time ? 0 : -ETIME;
}

static int add_caches(struct walk *walk, struct heap *heap)
{
	uint64_t bytes = 0;
	int error = follow_tcaches(walk, heap->pins, heap->pin_count, &bytes);

	/* While a process runs, what it cached may be freed by the time that caches are looked at.
	 */
	if (bytes > heap->live_bytes)
		bytes = heap->live_bytes;
	heap->cached_bytes = bytes;
	heap->live_bytes -= bytes;
	return error;
}

static void add_parameters(const struct parameters *parameters, struct heap *heap)
{
	heap->mmapped_bytes = parameters->mmapped_bytes;
	heap->live_bytes += parameters->mmapped_bytes;
	heap->trim_threshold_bytes = parameters->trim_threshold_bytes;
	heap->mmap_threshold_bytes = parameters->mmap_threshold_bytes;
	heap->top_pad_bytes = parameters->top_pad_bytes;
	heap->thresholds_dynamic = !parameters->thresholds_fixed;
	heap->arena_max = parameters->arena_max;
}

static void clear_sums(struct heap *heap)
{
	heap->allocator = ALLOCATOR_GLIBC;
	heap->system_bytes = heap->live_bytes = heap->held_free_bytes = heap->fastbin_bytes = 0;
	heap->top_bytes = heap->held_free_resident_bytes = heap->top_resident_bytes = 0;
	heap->trimmable_bytes = heap->trimmable_top_bytes = 0;
	heap->arenas = heap->segments = heap->lost_segments = heap->lost_bytes = 0;
	heap->pin_count = 0;
	memset(heap->unpin_bytes, 0, sizeof(heap->unpin_bytes));
}

/* What a thread that was interrupted left halfway is sound again when it has gone on. */
static int walk_begin(struct target *target, uint64_t main_arena, uint64_t mp, uint64_t deadline_ns,
	struct walk **ret_walk)
{
	for (unsigned tries = 1;; tries++) {
		struct walk *walk = NULL;
		int error = walk_new(target, deadline_ns, &walk);

		if (!error)
			error = find_arenas(walk, main_arena, mp);
		if (!error) {
			*ret_walk = walk;
			return 0;
		}
		walk_free(&walk);
		if (error != -ENODATA || tries == TRIES)
			return error;
		clock_pause(PAUSE_NS << (tries - 1));
		error = target_refresh(target);
		if (error)
			return error;
	}
}

int glibc_heap_walk(struct target *target, uint64_t main_arena, uint64_t mp, uint64_t deadline_ns,
	struct heap *ret_heap, struct glibc_heap_damage *ret_damage)
{
	_cleanup_(walk_free) struct walk *walk = NULL;
	struct heap heap = *ret_heap;
	int error, late;

	error = walk_begin(target, main_arena, mp, deadline_ns, &walk);
	if (error)
		return error;
	clear_sums(&heap);
	late = walk_arenas(walk, &heap);
	if (late && late != -ETIME)
		return late;
	error = add_caches(walk, &heap);
	if (error && error != -ETIME)
		return error;
	add_parameters(&walk->parameters, &heap);
	heap.page_pinned_bytes = heap.held_free_resident_bytes > heap.trimmable_bytes
					 ? heap.held_free_resident_bytes - heap.trimmable_bytes
					 : 0;
	heap.read_bytes = walk->memory.read_bytes;
	/* Values that a memory gave while it went away may be anything. */
	error = target_refresh(target);
	if (error)
		return error;
	*ret_heap = heap;
	if (ret_damage)
		*ret_damage = walk->damage;
	return late;
}
