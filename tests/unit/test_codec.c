/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Events as bytes: what goes in comes out, one event has one encoding, and no bytes do harm. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "events.h"
#include "pagestay/edge/codec.h"

#define ROUNDS 20000

static void assert_round_trip(const struct event *event)
{
	uint8_t bytes[EVENT_ENCODED_BYTES];
	struct event decoded;
	struct event_room room;
	size_t length, used;

	assert_int_equal(event_encode(event, bytes, &length), 0);
	assert_true(length <= sizeof(bytes));
	assert_int_equal(event_decode(bytes, length, &room, &decoded, &used), 0);
	assert_int_equal(used, length);
	assert_true(events_are_equal(&decoded, event));
}

/* Bytes of their own on the heap, so that a sanitizer sees a read behind them. */
static int decode_exactly(
	const uint8_t *bytes, size_t length, struct event *ret_event, size_t *ret_used)
{
	static struct event_room room;
	uint8_t *exact = malloc(length + !length);
	int error;

	assert_non_null(exact);
	memcpy(exact, bytes, length);
	error = event_decode(exact, length, &room, ret_event, ret_used);
	free(exact);
	return error;
}

#define assert_refused(...)                                                                        \
	do {                                                                                       \
		const uint8_t bytes_[] = {__VA_ARGS__};                                            \
		struct event event_;                                                               \
		size_t used_;                                                                      \
		assert_int_equal(                                                                  \
			decode_exactly(bytes_, sizeof(bytes_), &event_, &used_), -EBADMSG);        \
	} while (0)

#define assert_encoding(event, ...)                                                                \
	do {                                                                                       \
		const uint8_t bytes_[] = {__VA_ARGS__};                                            \
		uint8_t encoded_[EVENT_ENCODED_BYTES];                                             \
		size_t length_;                                                                    \
		assert_int_equal(event_encode(event, encoded_, &length_), 0);                      \
		assert_int_equal(length_, sizeof(bytes_));                                         \
		assert_memory_equal(encoded_, bytes_, length_);                                    \
		assert_round_trip(event);                                                          \
	} while (0)

static void smallest_of_every_kind_round_trips(void **state)
{
	for (int kind = EVENT_STREAM; kind < EVENT_KINDS; kind++) {
		struct event event;

		event_smallest((enum event_kind)kind, &event);
		assert_round_trip(&event);
	}
}

static void largest_of_every_kind_round_trips(void **state)
{
	for (int kind = EVENT_STREAM; kind < EVENT_KINDS; kind++) {
		struct event event;

		event_largest((enum event_kind)kind, &event);
		assert_round_trip(&event);
	}
}

static void random_events_round_trip(void **state)
{
	uint64_t random = 1;

	for (int i = 0; i < ROUNDS; i++) {
		struct event event;

		event_random(
			&random, (enum event_kind)(EVENT_STREAM + i % (EVENT_KINDS - 1)), &event);
		assert_round_trip(&event);
	}
}

/* Recordings that people keep depend on these bytes. */
static void encoding_is_fixed(void **state)
{
	struct event event;

	memset(&event, 0, sizeof(event));
	event.kind = EVENT_STREAM;
	strcpy(event.stream.host, "db1");
	strcpy(event.stream.detail, "ledger");
	event.stream.routes = 1;
	event.stream.page_bytes = 4096;
	event.stream.page_seed = 5;
	assert_encoding(
		&event, 1, 15, 3, 'd', 'b', '1', 6, 'l', 'e', 'd', 'g', 'e', 'r', 1, 0x80, 0x20, 5);

	memset(&event, 0, sizeof(event));
	event.kind = EVENT_COUNTERS;
	event.proc.tgid = 300;
	event.proc.start_ns = 127;
	event.counters.delta[PS_BRK_GROW_BYTES] = 4096;
	event.counters.delta[PS_BRK_FAILED] = 1;
	event.counters.open = 128;
	assert_encoding(&event, 5, 11, 0xac, 2, 0x7f, 4, 0, 0x80, 0x20, 0, 1, 0x80, 1);

	memset(&event, 0, sizeof(event));
	event.kind = EVENT_EXITED;
	event.proc.tgid = UINT32_MAX;
	event.proc.start_ns = UINT64_MAX;
	assert_encoding(&event, 8, 15, 0xff, 0xff, 0xff, 0xff, 0x0f, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 1);

	memset(&event, 0, sizeof(event));
	event.kind = EVENT_LOSS;
	assert_encoding(&event, 9, 1, 0);
	event.loss.lost[PS_LOST_PAGES] = 3;
	assert_encoding(&event, 9, 4, 3, 0, 0, 3);
	event.loss.lost[PS_LOST_RUNS] = 4;
	assert_encoding(&event, 9, 5, 4, 0, 0, 3, 4);
}

static struct event of_process(enum event_kind kind)
{
	struct event event;

	memset(&event, 0, sizeof(event));
	event.kind = kind;
	event.proc.tgid = 1;
	event.proc.start_ns = 2;
	return event;
}

static void encoding_of_pages_is_fixed(void **state)
{
	struct event event = of_process(EVENT_ROUTE);

	strcpy(event.route.text, "-");
	event.route.requests = 3;
	event.route.hash = 4;
	assert_encoding(&event, 6, 6, 1, 2, 1, '-', 3, 4);

	event = of_process(EVENT_MEMORY);
	event.memory = (struct event_memory){3, 4, 5, 6, 7, 8, 9, 10};
	assert_encoding(&event, 7, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10);

	event = of_process(EVENT_TICK);
	event.proc = (struct ps_proc_key){};
	event.tick = (struct event_tick){1, 2, 3, 4, 5, 6, 7};
	assert_encoding(&event, 10, 7, 1, 2, 3, 4, 5, 6, 7);

	event = of_process(EVENT_PAGE);
	event.page = (struct ps_page){3, 4, 5, 6, 7, 0, 8, 9, 10, 11, 128};
	assert_encoding(&event, 11, 13, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x80, 1);

	event = of_process(EVENT_RESIDENT);
	event.resident.began_ns = 3;
	event.resident.from = 4;
	event.resident.to = EVENT_UNKNOWN;
	event.resident.runs[1] = 6;
	event.resident.runs[2] = 7;
	event.resident.runs[3] = 9;
	assert_encoding(&event, 12, 19, 1, 2, 3, 4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 1, 4, 0, 6, 7, 9);

	event = of_process(EVENT_LEVEL);
	event.level.level = 16;
	assert_encoding(&event, 13, 3, 1, 2, 16);
}

static void text_without_terminator_loses_its_last_byte(void **state)
{
	uint8_t bytes[EVENT_ENCODED_BYTES];
	struct event event, decoded;
	struct event_room room;
	size_t length, used;

	event_largest(EVENT_ROUTE, &event);
	memset(event.route.text, 'x', sizeof(event.route.text));
	assert_int_equal(event_encode(&event, bytes, &length), 0);
	assert_int_equal(event_decode(bytes, length, &room, &decoded, &used), 0);
	assert_int_equal(strlen(decoded.route.text), sizeof(event.route.text) - 1);
}

static void unknown_kinds_are_refused(void **state)
{
	uint8_t bytes[EVENT_ENCODED_BYTES];
	struct event event;
	size_t length;

	memset(&event, 0, sizeof(event));
	assert_int_equal(event_encode(&event, bytes, &length), -EINVAL);
	event.kind = EVENT_KINDS;
	assert_int_equal(event_encode(&event, bytes, &length), -EINVAL);
	assert_refused(0, 0);
	assert_refused(EVENT_KINDS, 0);
	assert_refused(0xff, 1, 0);
}

static void malformed_events_are_refused(void **state)
{
	struct event event;
	size_t used;

	assert_int_equal(decode_exactly((const uint8_t *)"", 0, &event, &used), -EBADMSG);
	assert_refused(EVENT_EXITED);
	/* fewer and more bytes than the fields need */
	assert_refused(EVENT_EXITED, 1, 5);
	assert_refused(EVENT_EXITED, 3, 5, 6, 0);
	/* a longer event than there are bytes */
	assert_refused(EVENT_EXITED, 3, 5, 6);
	assert_refused(EVENT_EXITED, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 5, 6);
	/* a number in more bytes than it needs, of more than 64 bits, of more than 32, without end
	 */
	assert_refused(EVENT_EXITED, 3, 0x85, 0, 6);
	assert_refused(
		EVENT_EXITED, 11, 5, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2);
	assert_refused(EVENT_EXITED, 6, 0xff, 0xff, 0xff, 0xff, 0x1f, 6);
	assert_refused(
		EVENT_EXITED, 12, 5, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1);
	/* texts: longer than the event, with a zero inside */
	assert_refused(EVENT_NOTE, 2, 2, 'a');
	assert_refused(EVENT_NOTE, 4, 3, 'a', 0, 'b');
	/* a flag of 2 */
	assert_refused(EVENT_STREAM, 5, 0, 0, 2, 0, 0);
	/* arrays: more than there can be, a zero at the end */
	assert_refused(EVENT_LOSS, 6, 5, 1, 1, 1, 1, 1);
	assert_refused(EVENT_LOSS, 3, 2, 1, 0);
}

static void malformed_pages_are_refused(void **state)
{
	/* a field too few, one too many, and as the first version had it */
	assert_refused(EVENT_PAGE, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
	assert_refused(EVENT_PAGE, 13, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13);
	assert_refused(EVENT_LEVEL, 2, 1, 2);
	assert_refused(EVENT_LEVEL, 4, 1, 2, 3, 4);
	assert_refused(EVENT_STREAM, 3, 0, 0, 1);
	assert_refused(EVENT_ROUTE, 5, 1, 2, 1, '-', 3);
	assert_refused(EVENT_MEMORY, 7, 1, 2, 3, 4, 5, 6, 7);
	assert_refused(EVENT_TICK, 5, 1, 2, 3, 4, 5);
	/* a kind of page record, and a thread, of more than 32 bits */
	assert_refused(
		EVENT_PAGE, 16, 1, 2, 0xff, 0xff, 0xff, 0xff, 0x1f, 4, 5, 6, 7, 8, 9, 10, 11, 12);
	assert_refused(
		EVENT_PAGE, 16, 1, 2, 3, 4, 5, 6, 0xff, 0xff, 0xff, 0xff, 0x1f, 8, 9, 10, 11, 12);
	/* a level of more than 64 bits, in more bytes than it needs */
	assert_refused(
		EVENT_LEVEL, 12, 1, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2);
	assert_refused(EVENT_LEVEL, 4, 1, 2, 0x83, 0);
	/* runs: fewer than told, the last number of them 0, more than an event holds */
	assert_refused(EVENT_RESIDENT, 7, 1, 2, 3, 4, 5, 2, 6);
	assert_refused(EVENT_RESIDENT, 8, 1, 2, 3, 4, 5, 2, 6, 0);
	assert_refused(EVENT_RESIDENT, 6, 1, 2, 3, 4, 5, 2);
}

static void runs_as_many_as_fit_are_taken(void **state)
{
	uint8_t bytes[11 + 2 * EVENT_RUNS] = {EVENT_RESIDENT, (7 + 2 * EVENT_RUNS) % 128 + 128, 1,
		1, 2, 3, 4, 5, 2 * EVENT_RUNS % 128 + 128, 2 * EVENT_RUNS / 128};
	struct event event;
	size_t used;

	_Static_assert(2 * EVENT_RUNS >= 128 && 2 * EVENT_RUNS < 249, "lengths of two bytes");
	memset(bytes + 10, 6, sizeof(bytes) - 10);
	assert_int_equal(decode_exactly(bytes, sizeof(bytes) - 1, &event, &used), 0);
	assert_int_equal(used, sizeof(bytes) - 1);
	assert_int_equal(event.resident.runs[2 * EVENT_RUNS - 1], 6);
	/* half a run more, with the byte for it */
	bytes[1]++;
	bytes[8]++;
	assert_int_equal(decode_exactly(bytes, sizeof(bytes), &event, &used), -EBADMSG);
}

static void text_as_long_as_its_field_is_refused(void **state)
{
	uint8_t bytes[5 + EVENT_NOTE_BYTES] = {
		EVENT_NOTE, (2 + EVENT_NOTE_BYTES) % 128 + 128, 1, EVENT_NOTE_BYTES % 128 + 128, 1};
	struct event event;
	size_t used;

	_Static_assert(EVENT_NOTE_BYTES > 128 && EVENT_NOTE_BYTES < 254, "lengths of two bytes");
	memset(bytes + 5, 'x', EVENT_NOTE_BYTES);
	assert_int_equal(decode_exactly(bytes, sizeof(bytes), &event, &used), -EBADMSG);
	/* one byte fewer fits */
	bytes[1]--;
	bytes[3]--;
	assert_int_equal(decode_exactly(bytes, sizeof(bytes) - 1, &event, &used), 0);
	assert_int_equal(strlen(event.note.text), EVENT_NOTE_BYTES - 1);
}

static void every_truncation_is_refused(void **state)
{
	uint64_t random = 2;

	for (int i = 0; i < 200; i++) {
		uint8_t bytes[EVENT_ENCODED_BYTES];
		struct event event;
		size_t length, used;

		event_random(
			&random, (enum event_kind)(EVENT_STREAM + i % (EVENT_KINDS - 1)), &event);
		assert_int_equal(event_encode(&event, bytes, &length), 0);
		for (size_t cut = 0; cut < length; cut++)
			assert_int_equal(decode_exactly(bytes, cut, &event, &used), -EBADMSG);
	}
}

/* Whatever is accepted is the one encoding of the event that it gives. */
static void assert_canonical(const uint8_t *bytes, size_t length)
{
	uint8_t again[EVENT_ENCODED_BYTES];
	struct event event;
	size_t used = 0, again_length;

	if (decode_exactly(bytes, length, &event, &used))
		return;
	assert_true(used <= length);
	assert_int_equal(event_encode(&event, again, &again_length), 0);
	assert_int_equal(again_length, used);
	assert_memory_equal(again, bytes, used);
}

static void garbage_is_refused_or_canonical(void **state)
{
	uint64_t random = 3;

	for (int i = 0; i < ROUNDS; i++) {
		uint8_t bytes[64];
		size_t length = random_below(&random, sizeof(bytes) + 1);

		for (size_t at = 0; at < length; at++)
			bytes[at] = (uint8_t)random_next(&random);
		if (length > 1) {
			bytes[0] %= EVENT_KINDS + 1;
			bytes[1] = (uint8_t)(length - random_below(&random, 3));
		}
		assert_canonical(bytes, length);
	}
}

static void damaged_encodings_are_refused_or_canonical(void **state)
{
	uint64_t random = 4;

	for (int i = 0; i < ROUNDS; i++) {
		uint8_t bytes[EVENT_ENCODED_BYTES];
		struct event event;
		size_t length;

		event_random(
			&random, (enum event_kind)(EVENT_STREAM + i % (EVENT_KINDS - 1)), &event);
		assert_int_equal(event_encode(&event, bytes, &length), 0);
		for (uint64_t n = 1 + random_below(&random, 4); n > 0; n--)
			bytes[random_below(&random, length)] ^= 1u << random_below(&random, 8);
		assert_canonical(bytes, length);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(smallest_of_every_kind_round_trips),
		cmocka_unit_test(largest_of_every_kind_round_trips),
		cmocka_unit_test(random_events_round_trip),
		cmocka_unit_test(encoding_is_fixed),
		cmocka_unit_test(encoding_of_pages_is_fixed),
		cmocka_unit_test(text_without_terminator_loses_its_last_byte),
		cmocka_unit_test(unknown_kinds_are_refused),
		cmocka_unit_test(malformed_events_are_refused),
		cmocka_unit_test(malformed_pages_are_refused),
		cmocka_unit_test(runs_as_many_as_fit_are_taken),
		cmocka_unit_test(text_as_long_as_its_field_is_refused),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(garbage_is_refused_or_canonical),
		cmocka_unit_test(damaged_encodings_are_refused_or_canonical),
	};

	return cmocka_run_group_tests_name("codec", tests, NULL, NULL);
}
