/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Events for tests: extremes, and random ones from a seed. What a kind does not use is zero, so
 * that two equal events are equal byte for byte.
 */
#ifndef PAGESTAY_TESTS_EVENTS_H
#define PAGESTAY_TESTS_EVENTS_H

#include <string.h>

#include "pagestay/edge/codec.h"

/* splitmix64 */
static inline uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static inline uint64_t random_below(uint64_t *state, uint64_t bound)
{
	return random_next(state) % bound;
}

/* Mostly small, sometimes at the edge of a varint's length, sometimes the largest. */
static inline uint64_t random_number(uint64_t *state)
{
	uint64_t choice = random_below(state, 8);

	if (choice < 4)
		return 0;
	if (choice == 4)
		return UINT64_MAX;
	if (choice == 5)
		return (1ull << random_below(state, 64)) - random_below(state, 2);
	return random_next(state) >> random_below(state, 64);
}

static inline void random_text(uint64_t *state, char *text, size_t capacity)
{
	size_t length = random_below(state, capacity);

	for (size_t i = 0; i < length; i++)
		text[i] = (char)(1 + random_below(state, 255));
}

static inline void event_numbers_random(uint64_t *state, uint64_t *numbers, size_t count)
{
	for (size_t i = 0; i < count; i++)
		numbers[i] = random_number(state);
}

/* Any numbers; what the kernel says is only some of them. */
static inline struct ps_page page_random(uint64_t *state)
{
	return (struct ps_page){
		.kind = (uint32_t)random_number(state),
		.place = (uint32_t)random_number(state),
		.flags = (uint32_t)random_number(state),
		.tid = (uint32_t)random_number(state),
		.to_tid = (uint32_t)random_number(state),
		.page = random_number(state),
		.pages = random_number(state),
		.set = random_number(state),
		.to = random_number(state),
		.at_ns = random_number(state),
	};
}

static inline bool event_has_proc(enum event_kind kind)
{
	return kind == EVENT_PROCESS || kind == EVENT_COUNTERS || kind == EVENT_ROUTE ||
	       kind == EVENT_MEMORY || kind == EVENT_EXITED || kind == EVENT_PAGE ||
	       kind == EVENT_RESIDENT || kind == EVENT_LEVEL || kind == EVENT_ALLOCATORS ||
	       kind == EVENT_HEAP;
}

static inline void allocators_random(uint64_t *state, struct allocators *allocators)
{
	allocators->count = random_number(state);
	for (int i = 0; i < ALLOCATORS; i++) {
		struct allocator *allocator = &allocators->list[i];

		allocator->name = (uint32_t)random_number(state);
		allocator->is_static = random_below(state, 2);
		random_text(state, allocator->version, sizeof(allocator->version));
		random_text(state, allocator->object, sizeof(allocator->object));
		random_text(state, allocator->prefix, sizeof(allocator->prefix));
		random_text(state, allocator->evidence, sizeof(allocator->evidence));
	}
	random_text(state, allocators->settings, sizeof(allocators->settings));
}

/* Every number of it, with what pads it left at 0. */
static inline void heap_random(uint64_t *state, struct heap *heap)
{
	event_numbers_random(state, (uint64_t *)heap, sizeof(*heap) / sizeof(uint64_t));
	heap->allocator = (uint32_t)random_number(state);
	memset((char *)&heap->allocator + sizeof(heap->allocator), 0,
		offsetof(struct heap, walk_ns) - sizeof(heap->allocator));
	heap->pin_count = (uint32_t)random_number(state);
	memset(heap->pins, 0, sizeof(heap->pins));
	memset((char *)&heap->pin_count + sizeof(heap->pin_count), 0,
		offsetof(struct heap, pins) - offsetof(struct heap, pin_count) -
			sizeof(heap->pin_count));
	for (int i = 0; i < HEAP_PINS; i++) {
		heap->pins[i].address = random_number(state);
		heap->pins[i].size_bytes = random_number(state);
		heap->pins[i].segment = random_number(state);
		heap->pins[i].below_bytes = random_number(state);
		heap->pins[i].owner = (uint32_t)random_number(state);
	}
	heap->huge_mode = (uint32_t)random_number(state);
	memset((char *)&heap->huge_mode + sizeof(heap->huge_mode), 0,
		sizeof(*heap) - offsetof(struct heap, huge_mode) - sizeof(heap->huge_mode));
}

/* What events point to: some that are made once, so that nobody has to free them. */
static inline const struct event_room *random_room(uint64_t *state)
{
	static struct event_room rooms[32];
	static bool made;
	uint64_t seed = 99;

	for (size_t i = 0; !made && i < sizeof(rooms) / sizeof(rooms[0]); i++) {
		allocators_random(&seed, &rooms[i].allocators);
		heap_random(&seed, &rooms[i].heap);
	}
	made = true;
	return &rooms[random_below(state, sizeof(rooms) / sizeof(rooms[0]))];
}

/* By what they hold, not by where it is. */
static inline bool events_are_equal(const struct event *a, const struct event *b)
{
	if (a->kind != b->kind || memcmp(&a->proc, &b->proc, sizeof(a->proc)) != 0)
		return false;
	switch (a->kind) {
	case EVENT_ALLOCATORS:
		return memcmp(a->allocators, b->allocators, sizeof(*a->allocators)) == 0;
	case EVENT_HEAP:
		return memcmp(a->heap, b->heap, sizeof(*a->heap)) == 0;
	default:
		return memcmp(a, b, sizeof(*a)) == 0;
	}
}

static inline void event_random(uint64_t *state, enum event_kind kind, struct event *event)
{
	memset(event, 0, sizeof(*event));
	event->kind = kind;
	if (event_has_proc(kind)) {
		event->proc.tgid = (uint32_t)random_number(state);
		event->proc.start_ns = random_number(state);
	}
	switch (kind) {
	case EVENT_STREAM:
		random_text(state, event->stream.host, sizeof(event->stream.host));
		random_text(state, event->stream.detail, sizeof(event->stream.detail));
		event->stream.routes = random_below(state, 2);
		event->stream.page_bytes = random_number(state);
		event->stream.page_seed = random_number(state);
		break;
	case EVENT_NOTE:
		random_text(state, event->note.text, sizeof(event->note.text));
		break;
	case EVENT_PROCESS:
		random_text(state, event->process.comm, sizeof(event->process.comm));
		random_text(state, event->process.exe, sizeof(event->process.exe));
		random_text(state, event->process.cgroup, sizeof(event->process.cgroup));
		break;
	case EVENT_COUNTERS:
		event_numbers_random(state, event->counters.delta, PS_COUNTERS);
		event->counters.open = random_number(state);
		break;
	case EVENT_ROUTE:
		random_text(state, event->route.text, sizeof(event->route.text));
		event->route.requests = random_number(state);
		event->route.hash = random_number(state);
		break;
	case EVENT_MEMORY:
		event_numbers_random(state, (uint64_t *)&event->memory,
			sizeof(event->memory) / sizeof(uint64_t));
		break;
	case EVENT_LOSS:
		event_numbers_random(state, event->loss.lost, PS_LOSSES);
		break;
	case EVENT_START:
	case EVENT_TICK:
		event_numbers_random(
			state, (uint64_t *)&event->tick, sizeof(event->tick) / sizeof(uint64_t));
		break;
	case EVENT_PAGE:
		event->page = page_random(state);
		break;
	case EVENT_RESIDENT:
		event_numbers_random(state, (uint64_t *)&event->resident,
			random_below(state, sizeof(event->resident) / sizeof(uint64_t) + 1));
		break;
	case EVENT_LEVEL:
		event->level.level = random_number(state);
		break;
	case EVENT_ALLOCATORS:
		event->allocators = &random_room(state)->allocators;
		break;
	case EVENT_HEAP:
		event->heap = &random_room(state)->heap;
		break;
	default:
		break;
	}
}

static inline const struct event_room *largest_room(void)
{
	static struct event_room room;
	struct allocators *allocators = &room.allocators;
	struct heap *heap = &room.heap;

	allocators->count = UINT32_MAX;
	for (int i = 0; i < ALLOCATORS; i++) {
		struct allocator *allocator = &allocators->list[i];

		memset(allocator, 0, sizeof(*allocator));
		allocator->name = UINT32_MAX;
		allocator->is_static = true;
		memset(allocator->version, 0xff, sizeof(allocator->version) - 1);
		memset(allocator->object, 0xff, sizeof(allocator->object) - 1);
		memset(allocator->prefix, 0xff, sizeof(allocator->prefix) - 1);
		memset(allocator->evidence, 0xff, sizeof(allocator->evidence) - 1);
	}
	memset(allocators->settings, 0xff, sizeof(allocators->settings) - 1);
	memset(heap, 0xff, sizeof(*heap));
	memset((char *)&heap->allocator + sizeof(heap->allocator), 0,
		offsetof(struct heap, walk_ns) - sizeof(heap->allocator));
	memset((char *)&heap->pin_count + sizeof(heap->pin_count), 0,
		offsetof(struct heap, pins) - offsetof(struct heap, pin_count) -
			sizeof(heap->pin_count));
	for (int i = 0; i < HEAP_PINS; i++) {
		memset(&heap->pins[i], 0, sizeof(heap->pins[i]));
		heap->pins[i].address = heap->pins[i].size_bytes = UINT64_MAX;
		heap->pins[i].segment = heap->pins[i].below_bytes = UINT64_MAX;
		heap->pins[i].owner = UINT32_MAX;
	}
	memset((char *)&heap->huge_mode + sizeof(heap->huge_mode), 0,
		sizeof(*heap) - offsetof(struct heap, huge_mode) - sizeof(heap->huge_mode));
	return &room;
}

/* Nothing but the kind. */
static inline void event_smallest(enum event_kind kind, struct event *event)
{
	static const struct event_room room;

	memset(event, 0, sizeof(*event));
	event->kind = kind;
	if (kind == EVENT_ALLOCATORS)
		event->allocators = &room.allocators;
	if (kind == EVENT_HEAP)
		event->heap = &room.heap;
}

/* The largest of everything: its encoding is the longest of its kind. */
static inline void event_largest(enum event_kind kind, struct event *event)
{
	memset(event, 0, sizeof(*event));
	event->kind = kind;
	if (event_has_proc(kind)) {
		event->proc.tgid = UINT32_MAX;
		event->proc.start_ns = UINT64_MAX;
	}
	switch (kind) {
	case EVENT_STREAM:
		memset(event->stream.host, 0xff, sizeof(event->stream.host) - 1);
		memset(event->stream.detail, 0xff, sizeof(event->stream.detail) - 1);
		event->stream.routes = 1;
		event->stream.page_bytes = event->stream.page_seed = UINT64_MAX;
		break;
	case EVENT_NOTE:
		memset(event->note.text, 0xff, sizeof(event->note.text) - 1);
		break;
	case EVENT_PROCESS:
		memset(event->process.comm, 0xff, sizeof(event->process.comm) - 1);
		memset(event->process.exe, 0xff, sizeof(event->process.exe) - 1);
		memset(event->process.cgroup, 0xff, sizeof(event->process.cgroup) - 1);
		break;
	case EVENT_COUNTERS:
		memset(&event->counters, 0xff, sizeof(event->counters));
		break;
	case EVENT_ROUTE:
		memset(event->route.text, 0xff, sizeof(event->route.text) - 1);
		event->route.requests = event->route.hash = UINT64_MAX;
		break;
	case EVENT_MEMORY:
		memset(&event->memory, 0xff, sizeof(event->memory));
		break;
	case EVENT_LOSS:
		memset(&event->loss, 0xff, sizeof(event->loss));
		break;
	case EVENT_START:
	case EVENT_TICK:
		memset(&event->tick, 0xff, sizeof(event->tick));
		break;
	case EVENT_PAGE:
		memset(&event->page, 0xff, sizeof(event->page));
		event->page.pad0 = 0;
		break;
	case EVENT_RESIDENT:
		memset(&event->resident, 0xff, sizeof(event->resident));
		break;
	case EVENT_LEVEL:
		event->level.level = UINT64_MAX;
		break;
	case EVENT_ALLOCATORS:
		event->allocators = &largest_room()->allocators;
		break;
	case EVENT_HEAP:
		event->heap = &largest_room()->heap;
		break;
	default:
		break;
	}
}

/* What may come anywhere but before STREAM. */
static const enum event_kind event_kinds_anywhere[] = {EVENT_NOTE, EVENT_PROCESS, EVENT_COUNTERS,
	EVENT_ROUTE, EVENT_MEMORY, EVENT_EXITED, EVENT_LOSS, EVENT_PAGE, EVENT_RESIDENT,
	EVENT_LEVEL, EVENT_ALLOCATORS, EVENT_HEAP};

#define EVENT_KINDS_ANYWHERE (sizeof(event_kinds_anywhere) / sizeof(event_kinds_anywhere[0]))

/* STREAM, START and TICK are the others. */
_Static_assert(EVENT_KINDS_ANYWHERE + 3 == EVENT_KINDS - EVENT_STREAM, "every kind is told");

/* A stream in the order that event.h tells: at most `max` (at least 4) events, how many. */
static inline size_t stream_random(uint64_t *state, struct event *events, size_t max)
{
	size_t count = 4 + random_below(state, max - 3);
	size_t start = 1 + random_below(state, count / 2);

	event_random(state, EVENT_STREAM, &events[0]);
	for (size_t i = 1; i < count; i++) {
		enum event_kind kind =
			event_kinds_anywhere[random_below(state, EVENT_KINDS_ANYWHERE)];

		if (i == start)
			kind = EVENT_START;
		else if (i == count - 1 || (i > start && random_below(state, 8) == 0))
			kind = EVENT_TICK;
		event_random(state, kind, &events[i]);
	}
	return count;
}

#endif
