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

#define FIELD(type, member, capacity)                                                              \
	{                                                                                          \
		type, offsetof(struct event, member), capacity                                     \
	}
#define CAPACITY(member, unit) (sizeof(((struct event *)0)->member) / sizeof(unit))
#define TEXT(member)           FIELD(FIELD_TEXT, member, CAPACITY(member, char))
#define FLAG(member)           FIELD(FIELD_FLAG, member, 1)
#define U32(member)            FIELD(FIELD_U32, member, 1)
#define U64(member)            FIELD(FIELD_U64, member, 1)
#define U64_ARRAY(member)      FIELD(FIELD_U64_ARRAY, member, CAPACITY(member, uint64_t))
#define PROC                   U32(proc.tgid), U64(proc.start_ns)
#define TICK                                                                                       \
	U64(tick.wall_ns), U64(tick.interval_ns), U64(tick.self_rss_bytes), U64(tick.self_cpu_ns), \
		U64(tick.now_ns)

#define FIELDS_MAX 12

/* Each list ends with FIELD_END. */
static const struct field layouts[EVENT_KINDS][FIELDS_MAX + 1] = {
	[EVENT_STREAM] = {TEXT(stream.host), TEXT(stream.detail), FLAG(stream.routes),
		U64(stream.page_bytes), U64(stream.page_seed)},
	[EVENT_NOTE] = {TEXT(note.text)},
	[EVENT_START] = {TICK},
	[EVENT_PROCESS] = {PROC, TEXT(process.comm), TEXT(process.exe)},
	[EVENT_COUNTERS] = {PROC, U64_ARRAY(counters.delta), U64(counters.open)},
	[EVENT_ROUTE] = {PROC, TEXT(route.text), U64(route.requests), U64(route.hash)},
	[EVENT_MEMORY] = {PROC, U64(memory.rss_bytes), U64(memory.anon_bytes),
		U64(memory.lazyfree_bytes), U64(memory.swap_bytes), U64(memory.faults),
		U64(memory.file_bytes), U64(memory.rss_error_bytes)},
	[EVENT_EXITED] = {PROC},
	[EVENT_LOSS] = {U64_ARRAY(loss.lost)},
	[EVENT_TICK] = {TICK},
	[EVENT_PAGE] = {PROC, U32(page.kind), U32(page.place), U32(page.flags), U32(page.tid),
		U32(page.to_tid), U64(page.page), U64(page.pages), U64(page.set), U64(page.to),
		U64(page.at_ns)},
	[EVENT_RESIDENT] = {PROC, U64(resident.began_ns), U64(resident.from), U64(resident.to),
		U64_ARRAY(resident.runs)},
	[EVENT_LEVEL] = {PROC, U64(level.level)},
};

#define VARINT_BYTES 10 /* of 64 bits */
#define HEAD_BYTES   3  /* kind, and a length that two varint bytes hold */
#define PROC_BYTES   (5 + VARINT_BYTES)

_Static_assert(EVENT_ENCODED_BYTES < 1 << 14, "the length fits two varint bytes");
_Static_assert(
	HEAD_BYTES + PROC_BYTES + 2 + (PS_COUNTERS + 1) * VARINT_BYTES <= EVENT_ENCODED_BYTES,
	"COUNTERS fits");
_Static_assert(
	HEAD_BYTES + PROC_BYTES + 1 + PS_COMM_BYTES + 2 + EVENT_EXE_BYTES <= EVENT_ENCODED_BYTES,
	"PROCESS fits");
_Static_assert(
	HEAD_BYTES + PROC_BYTES + 2 + PS_ROUTE_BYTES + 2 * VARINT_BYTES <= EVENT_ENCODED_BYTES,
	"ROUTE fits");
_Static_assert(
	HEAD_BYTES + PROC_BYTES + 2 + (3 + 2 * EVENT_RUNS) * VARINT_BYTES <= EVENT_ENCODED_BYTES,
	"RESIDENT fits");
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

static uint8_t *put_field(uint8_t *out, const struct event *event, const struct field *field)
{
	const void *member = (const char *)event + field->offset;

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

int event_encode(const struct event *event, uint8_t out[EVENT_ENCODED_BYTES], size_t *ret_length)
{
	uint8_t body[EVENT_ENCODED_BYTES], *body_end = body, *end = out;
	const struct field *field;

	if (!kind_is_known(event->kind))
		return -EINVAL;
	for (field = layouts[event->kind]; field->type != FIELD_END; field++)
		body_end = put_field(body_end, event, field);
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

static int take_field(struct input *input, struct event *event, const struct field *field)
{
	void *member = (char *)event + field->offset;
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

int event_decode(const uint8_t *bytes, size_t length, struct event *ret_event, size_t *ret_used)
{
	struct input input = {bytes, length}, body;
	const struct field *field;
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
	body = (struct input){input.next, body_length};
	for (field = layouts[kind]; !err && field->type != FIELD_END; field++)
		err = take_field(&body, &event, field);
	if (err || body.left > 0)
		return -EBADMSG;
	memcpy(ret_event, &event, sizeof(event));
	*ret_used = (size_t)(body.next - bytes);
	return 0;
}
