/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns how an event is laid out in bytes: one table of fields for each kind serves both
 * directions. Decoding trusts nothing: it stays inside the bytes given and accepts only what
 * encoding produces, so that decoding and encoding again gives the same bytes. Pure; called by the
 * recording format and by tests.
 */
#include "pagestay/edge/codec.h"

#include <errno.h>
#include <string.h>

enum field_type {
	FIELD_END = 0,
	FIELD_TEXT, /* char[capacity], terminated */
	FIELD_FLAG, /* uint8_t, 0 or 1 */
	FIELD_U32,
	FIELD_U64,
	FIELD_U64_ARRAY, /* uint64_t[capacity] */
};

struct field {
	enum field_type type;
	size_t offset;
	size_t capacity;
};

#define FIELD(type, of, member, capacity)                                                          \
	{                                                                                          \
		type, offsetof(struct of, member), capacity                                        \
	}
#define CAPACITY(of, member, unit) (sizeof(((struct of *)0)->member) / sizeof(unit))
#define TEXT(of, member)           FIELD(FIELD_TEXT, of, member, CAPACITY(of, member, char))
#define FLAG(of, member)           FIELD(FIELD_FLAG, of, member, 1)
#define U32(of, member)            FIELD(FIELD_U32, of, member, 1)
#define U64(of, member)            FIELD(FIELD_U64, of, member, 1)
#define U64_ARRAY(of, member)      FIELD(FIELD_U64_ARRAY, of, member, CAPACITY(of, member, uint64_t))

/* Each list ends with FIELD_END. */
static const struct field proc_fields[] = {U32(event, proc.tgid), U64(event, proc.start_ns), {}};
static const struct field stream_fields[] = {TEXT(event, stream.host), TEXT(event, stream.detail),
	FLAG(event, stream.routes), U64(event, stream.page_bytes), U64(event, stream.page_seed),
	{}};
static const struct field note_fields[] = {TEXT(event, note.text), {}};
static const struct field tick_fields[] = {U64(event, tick.wall_ns), U64(event, tick.interval_ns),
	U64(event, tick.self_rss_bytes), U64(event, tick.self_cpu_ns), U64(event, tick.now_ns),
	U64(event, tick.self_bpf_ns), U64(event, tick.self_bpf_runs), {}};
static const struct field process_fields[] = {
	TEXT(event, process.comm), TEXT(event, process.exe), TEXT(event, process.cgroup), {}};
static const struct field counters_fields[] = {
	U64_ARRAY(event, counters.delta), U64(event, counters.open), {}};
static const struct field route_fields[] = {
	TEXT(event, route.text), U64(event, route.requests), U64(event, route.hash), {}};
static const struct field memory_fields[] = {U64(event, memory.rss_bytes),
	U64(event, memory.anon_bytes), U64(event, memory.lazyfree_bytes),
	U64(event, memory.swap_bytes), U64(event, memory.faults), U64(event, memory.file_bytes),
	U64(event, memory.rss_error_bytes), U64(event, memory.cpu_ns), {}};
static const struct field no_fields[] = {{}};
static const struct field loss_fields[] = {U64_ARRAY(event, loss.lost), {}};
static const struct field page_fields[] = {U32(event, page.kind), U32(event, page.place),
	U32(event, page.flags), U32(event, page.tid), U32(event, page.to_tid),
	U64(event, page.page), U64(event, page.pages), U64(event, page.set), U64(event, page.to),
	U64(event, page.at_ns), {}};
static const struct field resident_fields[] = {U64(event, resident.began_ns),
	U64(event, resident.from), U64(event, resident.to), U64_ARRAY(event, resident.runs), {}};
static const struct field level_fields[] = {U64(event, level.level), {}};

#define ALLOCATOR(i)                                                                               \
	U32(allocators, list[i].name), FLAG(allocators, list[i].is_static),                        \
		TEXT(allocators, list[i].version), TEXT(allocators, list[i].object),               \
		TEXT(allocators, list[i].prefix), TEXT(allocators, list[i].evidence)

static const struct field allocators_fields[] = {U32(allocators, count), ALLOCATOR(0), ALLOCATOR(1),
	ALLOCATOR(2), ALLOCATOR(3), ALLOCATOR(4), ALLOCATOR(5), TEXT(allocators, settings), {}};

_Static_assert(ALLOCATORS == 6, "each has its fields");

#define PIN(i)                                                                                     \
	U64(heap, pins[i].address), U64(heap, pins[i].size_bytes), U64(heap, pins[i].segment),     \
		U64(heap, pins[i].below_bytes), U32(heap, pins[i].owner)

static const struct field heap_fields[] = {U32(heap, allocator), U64(heap, walk_ns),
	U64(heap, read_bytes), U64(heap, system_bytes), U64(heap, mmapped_bytes),
	U64(heap, live_bytes), U64(heap, cached_bytes), U64(heap, held_free_bytes),
	U64(heap, fastbin_bytes), U64(heap, top_bytes), U64(heap, held_free_resident_bytes),
	U64(heap, top_resident_bytes), U64(heap, trimmable_bytes), U64(heap, trimmable_top_bytes),
	U64(heap, page_pinned_bytes), U64(heap, arenas), U64(heap, segments),
	U64(heap, lost_segments), U64(heap, lost_bytes), U64(heap, trim_threshold_bytes),
	U64(heap, mmap_threshold_bytes), U64(heap, top_pad_bytes), U64(heap, thresholds_dynamic),
	U64(heap, arena_max), U32(heap, pin_count), PIN(0), PIN(1), PIN(2), PIN(3), PIN(4), PIN(5),
	PIN(6), PIN(7), U64_ARRAY(heap, unpin_bytes), U64(heap, active_bytes),
	U64(heap, dirty_bytes), U64(heap, muzzy_bytes), U64(heap, dirty_decay_ms),
	U64(heap, muzzy_decay_ms), U64(heap, background_thread), U64(heap, anon_bytes),
	U64(heap, huge_bytes), U64(heap, lazyfree_bytes), U64(heap, threads),
	U64(heap, purging_threads), U32(heap, huge_mode), {}};

_Static_assert(HEAP_PINS == 8, "each has its fields");

/* What a kind's fields are of: the event itself, or what it points to. */
enum part { PART_EVENT, PART_ALLOCATORS, PART_HEAP };

static const struct layout {
	bool proc; /* proc_fields come first */
	enum part part;
	const struct field *fields;
} layouts[EVENT_KINDS] = {
	[EVENT_STREAM] = {false, PART_EVENT, stream_fields},
	[EVENT_NOTE] = {false, PART_EVENT, note_fields},
	[EVENT_START] = {false, PART_EVENT, tick_fields},
	[EVENT_PROCESS] = {true, PART_EVENT, process_fields},
	[EVENT_COUNTERS] = {true, PART_EVENT, counters_fields},
	[EVENT_ROUTE] = {true, PART_EVENT, route_fields},
	[EVENT_MEMORY] = {true, PART_EVENT, memory_fields},
	[EVENT_EXITED] = {true, PART_EVENT, no_fields},
	[EVENT_LOSS] = {false, PART_EVENT, loss_fields},
	[EVENT_TICK] = {false, PART_EVENT, tick_fields},
	[EVENT_PAGE] = {true, PART_EVENT, page_fields},
	[EVENT_RESIDENT] = {true, PART_EVENT, resident_fields},
	[EVENT_LEVEL] = {true, PART_EVENT, level_fields},
	[EVENT_ALLOCATORS] = {true, PART_ALLOCATORS, allocators_fields},
	[EVENT_HEAP] = {true, PART_HEAP, heap_fields},
};

#define VARINT_BYTES 10 /* of 64 bits */
#define HEAD_BYTES   3  /* kind, and a length that two varint bytes hold */
#define PROC_BYTES   (5 + VARINT_BYTES)

_Static_assert(EVENT_ENCODED_BYTES < 1 << 14, "the length fits two varint bytes");
_Static_assert(
	HEAD_BYTES + PROC_BYTES + 2 + (PS_COUNTERS + 1) * VARINT_BYTES <= EVENT_ENCODED_BYTES,
	"COUNTERS fits");
_Static_assert(HEAD_BYTES + PROC_BYTES + 1 + PS_COMM_BYTES + 2 + EVENT_EXE_BYTES + 2 +
			       EVENT_CGROUP_BYTES <=
		       EVENT_ENCODED_BYTES,
	"PROCESS fits");
_Static_assert(
	HEAD_BYTES + PROC_BYTES + 2 + PS_ROUTE_BYTES + 2 * VARINT_BYTES <= EVENT_ENCODED_BYTES,
	"ROUTE fits");
_Static_assert(
	HEAD_BYTES + PROC_BYTES + 2 + (3 + 2 * EVENT_RUNS) * VARINT_BYTES <= EVENT_ENCODED_BYTES,
	"RESIDENT fits");
_Static_assert(HEAD_BYTES + PROC_BYTES + 1 +
			       ALLOCATORS * (1 + 1 + 1 + ALLOCATOR_VERSION_BYTES + 1 +
						    ALLOCATOR_OBJECT_BYTES + 1 + 16 + 2 +
						    ALLOCATOR_EVIDENCE_BYTES) +
			       2 + ALLOCATOR_SETTINGS_BYTES <=
		       EVENT_ENCODED_BYTES,
	"ALLOCATORS fits");
_Static_assert(
	HEAD_BYTES + PROC_BYTES + sizeof(struct heap) / 8 * VARINT_BYTES <= EVENT_ENCODED_BYTES,
	"HEAP fits");
_Static_assert(HEAD_BYTES + 2 + EVENT_NOTE_BYTES <= EVENT_ENCODED_BYTES, "NOTE fits");
_Static_assert(HEAD_BYTES + 2 + EVENT_HOST_BYTES + 1 + EVENT_DETAIL_BYTES + 1 + 2 * VARINT_BYTES <=
		       EVENT_ENCODED_BYTES,
	"STREAM fits");

static uint8_t *put_varint(uint8_t *out, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		*out++ = (uint8_t)(value | 0x80);
	*out++ = (uint8_t)value;
	return out;
}

static uint8_t *put_text(uint8_t *out, const char *text, size_t capacity)
{
	size_t length = strnlen(text, capacity - 1);

	out = put_varint(out, length);
	memcpy(out, text, length);
	return out + length;
}

static uint8_t *put_array(uint8_t *out, const uint64_t *numbers, size_t capacity)
{
	size_t count = capacity;

	while (count > 0 && numbers[count - 1] == 0)
		count--;
	out = put_varint(out, count);
	for (size_t i = 0; i < count; i++)
		out = put_varint(out, numbers[i]);
	return out;
}

static uint8_t *put_field(uint8_t *out, const void *part, const struct field *field)
{
	const void *member = (const char *)part + field->offset;

	switch (field->type) {
	case FIELD_TEXT:
		return put_text(out, member, field->capacity);
	case FIELD_FLAG:
		return put_varint(out, *(const uint8_t *)member != 0);
	case FIELD_U32:
		return put_varint(out, *(const uint32_t *)member);
	case FIELD_U64:
		return put_varint(out, *(const uint64_t *)member);
	case FIELD_U64_ARRAY:
		return put_array(out, member, field->capacity);
	case FIELD_END:
		break;
	}
	return out;
}

static bool kind_is_known(unsigned kind)
{
	return kind >= EVENT_STREAM && kind < EVENT_KINDS;
}

static uint8_t *put_fields(uint8_t *out, const void *part, const struct field *field)
{
	for (; field->type != FIELD_END; field++)
		out = put_field(out, part, field);
	return out;
}

static const void *part_of(const struct event *event, enum part part)
{
	switch (part) {
	case PART_ALLOCATORS:
		return event->allocators;
	case PART_HEAP:
		return event->heap;
	case PART_EVENT:
		break;
	}
	return event;
}

int event_encode(const struct event *event, uint8_t out[EVENT_ENCODED_BYTES], size_t *ret_length)
{
	uint8_t body[EVENT_ENCODED_BYTES], *body_end = body, *end = out;
	const struct layout *layout;

	if (!kind_is_known(event->kind))
		return -EINVAL;
	layout = &layouts[event->kind];
	if (layout->proc)
		body_end = put_fields(body_end, event, proc_fields);
	body_end = put_fields(body_end, part_of(event, layout->part), layout->fields);
	*end++ = (uint8_t)event->kind;
	end = put_varint(end, (uint64_t)(body_end - body));
	memcpy(end, body, (size_t)(body_end - body));
	end += body_end - body;
	*ret_length = (size_t)(end - out);
	return 0;
}

/* The bytes not yet decoded. */
struct input {
	const uint8_t *next;
	size_t left;
};

static int take_varint(struct input *input, uint64_t max, uint64_t *ret_value)
{
	uint64_t value = 0;

	for (size_t i = 0; i < input->left && i < VARINT_BYTES; i++) {
		uint8_t byte = input->next[i];

		/* The tenth byte has room for one bit; a last byte of 0 was not needed. */
		if ((i == VARINT_BYTES - 1 && byte > 1) || (i > 0 && byte == 0))
			return -EBADMSG;
		value |= (uint64_t)(byte & 0x7f) << (7 * i);
		if (byte & 0x80)
			continue;
		if (value > max)
			return -EBADMSG;
		input->next += i + 1;
		input->left -= i + 1;
		*ret_value = value;
		return 0;
	}
	return -EBADMSG;
}

static int take_text(struct input *input, char *text, size_t capacity)
{
	uint64_t length;
	int err = take_varint(input, capacity - 1, &length);

	if (err)
		return err;
	if (length > input->left || memchr(input->next, 0, length))
		return -EBADMSG;
	memcpy(text, input->next, length);
	text[length] = 0;
	input->next += length;
	input->left -= length;
	return 0;
}

static int take_array(struct input *input, uint64_t *numbers, size_t capacity)
{
	uint64_t count;
	int err = take_varint(input, capacity, &count);

	for (size_t i = 0; !err && i < count; i++)
		err = take_varint(input, UINT64_MAX, &numbers[i]);
	if (!err && count > 0 && numbers[count - 1] == 0)
		return -EBADMSG;
	return err;
}

static int take_field(struct input *input, void *part, const struct field *field)
{
	void *member = (char *)part + field->offset;
	uint64_t value = 0;
	int err;

	switch (field->type) {
	case FIELD_TEXT:
		return take_text(input, member, field->capacity);
	case FIELD_FLAG:
		err = take_varint(input, 1, &value);
		*(uint8_t *)member = (uint8_t)value;
		return err;
	case FIELD_U32:
		err = take_varint(input, UINT32_MAX, &value);
		*(uint32_t *)member = (uint32_t)value;
		return err;
	case FIELD_U64:
		return take_varint(input, UINT64_MAX, member);
	case FIELD_U64_ARRAY:
		return take_array(input, member, field->capacity);
	case FIELD_END:
		break;
	}
	return -EBADMSG;
}

static int take_fields(struct input *input, void *part, const struct field *field)
{
	int err = 0;

	for (; !err && field->type != FIELD_END; field++)
		err = take_field(input, part, field);
	return err;
}

/* Points the event to its part in the room, emptied. */
static void *part_in(struct event_room *room, enum part part, struct event *event)
{
	switch (part) {
	case PART_ALLOCATORS:
		memset(&room->allocators, 0, sizeof(room->allocators));
		event->allocators = &room->allocators;
		return &room->allocators;
	case PART_HEAP:
		memset(&room->heap, 0, sizeof(room->heap));
		event->heap = &room->heap;
		return &room->heap;
	case PART_EVENT:
		break;
	}
	return event;
}

int event_decode(const uint8_t *bytes, size_t length, struct event_room *room,
	struct event *ret_event, size_t *ret_used)
{
	struct input input = {bytes, length}, body;
	const struct layout *layout;
	struct event event;
	uint64_t kind = 0, body_length = 0;
	int err;

	err = take_varint(&input, EVENT_KINDS - 1, &kind);
	if (!err)
		err = take_varint(&input, EVENT_ENCODED_BYTES, &body_length);
	if (err || !kind_is_known((unsigned)kind) || body_length > input.left)
		return -EBADMSG;

	memset(&event, 0, sizeof(event));
	event.kind = (enum event_kind)kind;
	layout = &layouts[kind];
	body = (struct input){input.next, body_length};
	if (layout->proc)
		err = take_fields(&body, &event, proc_fields);
	if (!err)
		err = take_fields(&body, part_in(room, layout->part, &event), layout->fields);
	if (err || body.left > 0)
		return -EBADMSG;
	memcpy(ret_event, &event, sizeof(event));
	*ret_used = (size_t)(body.next - bytes);
	return 0;
}
