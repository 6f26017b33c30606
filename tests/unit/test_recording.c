/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Recordings: the same events come back, and no damage goes unnoticed or does harm. */
#include "recordings.h"

#include <fcntl.h>
#include <signal.h>

#define SAMPLE_MAX 64
#define STREAM_MAX 300
#define STREAMS    200

/* A small stream with every kind in it; short texts and few runs keep the number of its bits small.
 */
static size_t sample(struct event *events)
{
	static const enum event_kind kinds[] = {EVENT_STREAM, EVENT_NOTE, EVENT_PROCESS,
		EVENT_COUNTERS, EVENT_MEMORY, EVENT_LEVEL, EVENT_START, EVENT_COUNTERS, EVENT_PAGE,
		EVENT_NOTE, EVENT_ROUTE, EVENT_TICK, EVENT_PROCESS, EVENT_EXITED, EVENT_RESIDENT,
		EVENT_LOSS, EVENT_MEMORY, EVENT_TICK, EVENT_TICK};
	uint64_t random = 11;
	size_t count = sizeof(kinds) / sizeof(kinds[0]);

	for (size_t i = 0; i < count; i++) {
		event_random(&random, kinds[i], &events[i]);
		if (kinds[i] == EVENT_NOTE)
			strncpy(events[i].note.text, "no io_uring", EVENT_NOTE_BYTES);
		if (kinds[i] == EVENT_PROCESS)
			strncpy(events[i].process.exe, "/usr/sbin/nginx", EVENT_EXE_BYTES);
		if (kinds[i] == EVENT_RESIDENT)
			memset(&events[i].resident.runs[4], 0,
				sizeof(events[i].resident.runs) - 4 * sizeof(uint64_t));
	}
	return count;
}

struct outcome {
	size_t count; /* of events that were read and equal to the expected */
	int result;   /* what ended the reading: 0 or -errno */
	struct diag diag;
};

static FILE *open_bytes(const uint8_t *bytes, size_t length)
{
	FILE *file = length ? fmemopen((void *)bytes, length, "r") : fopen("/dev/null", "r");

	assert_non_null(file);
	return file;
}

/*
 * Reads all that there is, comparing each event with the expected ones (`expected` NULL: with
 * nothing), and once more behind the end.
 */
static struct outcome read_file(FILE *file, const struct event *expected, size_t expected_count)
{
	struct outcome outcome = {};
	struct recording_reader *reader = NULL;
	struct diag again = {};
	struct event event;

	outcome.result = recording_reader_new(file, &reader, &outcome.diag);
	if (outcome.result) {
		assert_null(reader);
		assert_true(outcome.diag.text[0]);
		return outcome;
	}
	while ((outcome.result = recording_read(reader, &event, &outcome.diag)) > 0) {
		if (expected) {
			assert_true(outcome.count < expected_count);
			assert_true(events_are_equal(&event, &expected[outcome.count]));
		}
		outcome.count++;
	}
	assert_int_equal(recording_read(reader, &event, &again), outcome.result);
	assert_string_equal(again.text, outcome.diag.text);
	assert_int_equal(outcome.result != 0, outcome.diag.text[0] != 0);
	recording_reader_free(reader);
	return outcome;
}

static struct outcome read_bytes(
	const uint8_t *bytes, size_t length, const struct event *expected, size_t expected_count)
{
	return read_file(open_bytes(bytes, length), expected, expected_count);
}

/* Reads to an -EBADMSG whose message holds `words`; how many events came before it. */
static size_t assert_damaged(
	const struct bytes *bytes, const struct event *expected, size_t count, const char *words)
{
	struct outcome outcome = read_bytes(bytes->at, bytes->length, expected, count);

	assert_int_equal(outcome.result, -EBADMSG);
	if (!strstr(outcome.diag.text, words))
		fail_msg("`%s` does not say `%s`", outcome.diag.text, words);
	return outcome.count;
}

static void assert_round_trip(const struct event *events, size_t count)
{
	struct bytes bytes = record(events, count);
	struct outcome outcome = read_bytes(bytes.at, bytes.length, events, count);

	assert_int_equal(outcome.result, 0);
	assert_int_equal(outcome.count, count);
	free(bytes.at);
}

/* How many of the events are in whole blocks of the first `length` bytes. */
static size_t events_in_whole_blocks(
	const struct bytes *bytes, size_t length, const struct event *events, size_t count)
{
	size_t at = FILE_HEADER_BYTES, seen = 0;

	while (at + BLOCK_HEADER_BYTES <= length) {
		at += BLOCK_HEADER_BYTES + get_little_endian(bytes->at + at + 8);
		if (at > length || seen == count)
			break;
		while (events[seen].kind != EVENT_START && events[seen].kind != EVENT_TICK)
			seen++;
		seen++;
	}
	return seen;
}

static void sample_round_trips(void **state)
{
	struct event events[SAMPLE_MAX];

	assert_round_trip(events, sample(events));
}

static void extremes_round_trip(void **state)
{
	struct event events[2 * EVENT_KINDS];
	size_t count = 0;

	for (int kind = EVENT_STREAM; kind < EVENT_KINDS; kind++) {
		event_smallest((enum event_kind)kind, &events[count++]);
		event_largest((enum event_kind)kind, &events[count++]);
	}
	assert_round_trip(events, count);
}

static void nothing_round_trips(void **state)
{
	assert_round_trip(NULL, 0);
}

static void events_without_a_closing_tick_round_trip(void **state)
{
	struct event events[SAMPLE_MAX];
	size_t count = sample(events);

	assert_round_trip(events, count - 3);
}

static void random_streams_round_trip_as_the_same_bytes(void **state)
{
	static struct event events[STREAM_MAX];
	uint64_t random = 12;

	for (int i = 0; i < STREAMS; i++) {
		size_t count = stream_random(&random, events, STREAM_MAX);
		struct bytes first = record(events, count), second = record(events, count);

		assert_round_trip(events, count);
		assert_int_equal(first.length, second.length);
		assert_memory_equal(first.at, second.at, first.length);
		free(first.at);
		free(second.at);
	}
}

/* Random texts do not compress, so this also fills the compressed side. */
static void interval_of_more_than_a_block_takes_several(void **state)
{
	size_t count = 10000;
	struct event *events = calloc(count, sizeof(*events));
	uint64_t random = 13;
	struct bytes bytes;

	assert_non_null(events);
	event_random(&random, EVENT_STREAM, &events[0]);
	for (size_t i = 1; i < count - 1; i++)
		event_random(&random, EVENT_PROCESS, &events[i]);
	event_random(&random, EVENT_START, &events[count - 1]);
	bytes = record(events, count);
	assert_true(bytes.length > RECORDING_BLOCK_BYTES);
	assert_round_trip(events, count);
	free(bytes.at);
	free(events);
}

static void layout_is_fixed(void **state)
{
	static const uint8_t header[] = {
		0x89, 'P', 'S', 'R', '\r', '\n', 0x1a, '\n', 4, 0, 0, 0, 0x15, 0xfe, 0x68, 0xa8};
	uint8_t encoded[EVENT_ENCODED_BYTES];
	struct bytes expected = {}, bytes;
	struct event event;
	size_t length;

	event_largest(EVENT_START, &event);
	assert_int_equal(event_encode(&event, encoded, &length), 0);
	append_file_header(&expected, RECORDING_VERSION);
	append_events(&expected, encoded, length);
	append_end(&expected);
	bytes = record(&event, 1);
	assert_memory_equal(bytes.at, header, sizeof(header));
	assert_int_equal(bytes.length, expected.length);
	assert_memory_equal(bytes.at, expected.at, bytes.length);
	free(bytes.at);
	free(expected.at);
}

static void every_truncation_gives_the_whole_blocks_before_it(void **state)
{
	struct event events[SAMPLE_MAX];
	size_t count = sample(events);
	struct bytes bytes = record(events, count);

	for (size_t length = 0; length < bytes.length; length++) {
		struct outcome outcome = read_bytes(bytes.at, length, events, count);
		char offset[32];

		(void)snprintf(offset, sizeof(offset), "byte %zu", length);
		assert_int_equal(outcome.result, -EBADMSG);
		assert_int_equal(
			outcome.count, events_in_whole_blocks(&bytes, length, events, count));
		if (length == 0)
			assert_non_null(strstr(outcome.diag.text, "empty"));
		else
			assert_non_null(strstr(outcome.diag.text, offset));
	}
	free(bytes.at);
}

static void every_flipped_bit_is_damage(void **state)
{
	struct event events[SAMPLE_MAX];
	size_t count = sample(events);
	struct bytes bytes = record(events, count);

	for (size_t at = 0; at < bytes.length; at++) {
		for (int bit = 0; bit < 8; bit++) {
			struct outcome outcome;

			bytes.at[at] ^= 1u << bit;
			outcome = read_bytes(bytes.at, bytes.length, events, count);
			bytes.at[at] ^= 1u << bit;
			assert_int_equal(outcome.result, -EBADMSG);
			assert_non_null(strstr(outcome.diag.text, "byte "));
			assert_int_equal(
				outcome.count, events_in_whole_blocks(&bytes, at, events, count));
		}
	}
	free(bytes.at);
}

static void every_overwritten_byte_run_is_damage(void **state)
{
	struct event events[SAMPLE_MAX];
	size_t count = sample(events);
	struct bytes bytes = record(events, count);
	uint64_t random = 14;

	for (int i = 0; i < 2000; i++) {
		size_t at = random_below(&random, bytes.length);
		size_t length = 1 + random_below(&random, bytes.length - at);
		uint8_t *damaged = malloc(bytes.length);
		struct outcome outcome;

		assert_non_null(damaged);
		memcpy(damaged, bytes.at, bytes.length);
		for (size_t n = 0; n < length; n++)
			damaged[at + n] = (uint8_t)random_next(&random);
		outcome = read_bytes(damaged, bytes.length, events, count);
		if (memcmp(damaged, bytes.at, bytes.length) == 0)
			assert_int_equal(outcome.result, 0);
		else
			assert_int_equal(outcome.result, -EBADMSG);
		free(damaged);
	}
	free(bytes.at);
}

static void garbage_is_refused(void **state)
{
	uint64_t random = 15;

	for (int i = 0; i < 2000; i++) {
		struct bytes bytes = {};
		uint8_t garbage[256] = {};
		size_t length = random_below(&random, sizeof(garbage));

		for (size_t at = 0; at < length; at++)
			garbage[at] = (uint8_t)random_next(&random);
		if (i % 3 > 0)
			append_file_header(&bytes, RECORDING_VERSION);
		if (i % 3 > 1)
			bytes_append(&bytes, "PSRB", 4);
		bytes_append(&bytes, garbage, length);
		assert_int_equal(assert_damaged(&bytes, NULL, 0, ""), 0);
		free(bytes.at);
	}
}

/* Checksums keep accidents out, not people: what is behind them must stand garbage too. */
static void garbage_with_right_checksums_is_refused(void **state)
{
	uint64_t random = 16;

	for (int i = 0; i < 2000; i++) {
		struct bytes bytes = {};
		uint8_t garbage[256] = {};
		size_t length = 1 + random_below(&random, sizeof(garbage) - 1);

		for (size_t at = 0; at < length; at++)
			garbage[at] = (uint8_t)random_next(&random);
		append_file_header(&bytes, RECORDING_VERSION);
		if (i % 2)
			append_events(&bytes, garbage, length);
		else
			append_block(&bytes, random_below(&random, 2 * RECORDING_BLOCK_BYTES),
				garbage, length);
		append_end(&bytes);
		assert_int_equal(assert_damaged(&bytes, NULL, 0, "damaged at byte 16"), 0);
		free(bytes.at);
	}
}

/* An event of a block whose checksums are right is not valid: none of the block is given. */
static void block_with_a_bad_event_is_given_not_at_all(void **state)
{
	struct event events[SAMPLE_MAX];
	uint8_t encoded[8 * EVENT_ENCODED_BYTES];
	size_t count = sample(events), length = 0;
	struct bytes bytes = {};

	append_file_header(&bytes, RECORDING_VERSION);
	for (size_t i = 0; i < 6; i++) {
		size_t one;

		assert_int_equal(event_encode(&events[i], encoded + length, &one), 0);
		length += one;
	}
	append_events(&bytes, encoded, length);
	memcpy(encoded + length, (const uint8_t[]){EVENT_KINDS, 0}, 2);
	append_events(&bytes, encoded, length + 2);
	append_end(&bytes);
	assert_int_equal(assert_damaged(&bytes, events, count, "holds no valid event at byte"), 6);
	free(bytes.at);
}

static void block_that_lies_about_its_lengths_is_refused(void **state)
{
	static uint8_t zeros[2 * RECORDING_BLOCK_BYTES];
	uint8_t compressed[64 << 10];
	static const size_t lies[] = {
		1, 99, 101, RECORDING_BLOCK_BYTES, RECORDING_BLOCK_BYTES + 1, UINT32_MAX};
	uLongf length;

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct bytes bytes = {};

		length = sizeof(compressed);
		assert_int_equal(compress(compressed, &length, zeros, 100), Z_OK);
		append_file_header(&bytes, RECORDING_VERSION);
		append_block(&bytes, lies[i], compressed, length);
		assert_int_equal(assert_damaged(&bytes, NULL, 0, "damaged at byte 16"), 0);
		free(bytes.at);
	}

	/* far more than it says, and far more than is allowed */
	struct bytes bomb = {};

	length = sizeof(compressed);
	assert_int_equal(compress(compressed, &length, zeros, sizeof(zeros)), Z_OK);
	append_file_header(&bomb, RECORDING_VERSION);
	append_block(&bomb, RECORDING_BLOCK_BYTES, compressed, length);
	assert_int_equal(assert_damaged(&bomb, NULL, 0, "does not decompress"), 0);
	free(bomb.at);
}

static void block_with_bytes_behind_its_stream_is_refused(void **state)
{
	static const uint8_t event[] = {EVENT_EXITED, 2, 1, 1};
	struct bytes bytes = {};
	uint8_t compressed[64] = {};
	uLongf length = sizeof(compressed);

	assert_int_equal(compress(compressed, &length, event, sizeof(event)), Z_OK);
	append_file_header(&bytes, RECORDING_VERSION);
	append_block(&bytes, sizeof(event), compressed, length + 3);
	assert_int_equal(assert_damaged(&bytes, NULL, 0, "not as long as it says"), 0);
	free(bytes.at);
}

static void block_with_one_length_is_refused(void **state)
{
	struct bytes bytes = {}, other = {};

	append_file_header(&bytes, RECORDING_VERSION);
	append_block(&bytes, 0, (const uint8_t *)"xyz", 3);
	assert_int_equal(assert_damaged(&bytes, NULL, 0, "only one of its two lengths"), 0);
	append_file_header(&other, RECORDING_VERSION);
	append_block(&other, 3, (const uint8_t *)"", 0);
	assert_int_equal(assert_damaged(&other, NULL, 0, "only one of its two lengths"), 0);
	free(bytes.at);
	free(other.at);
}

static void lengths_beyond_the_bounds_are_refused_before_reading(void **state)
{
	uint8_t head[BLOCK_HEADER_BYTES] = "PSRB";
	struct bytes bytes = {};

	put_little_endian(head + 4, 100);
	put_little_endian(head + 8, UINT32_MAX);
	put_little_endian(head + 16, crc32(0, head, 16));
	append_file_header(&bytes, RECORDING_VERSION);
	bytes_append(&bytes, head, sizeof(head));
	assert_int_equal(assert_damaged(&bytes, NULL, 0, "longer than a block may be"), 0);
	free(bytes.at);
}

static void foreign_files_are_named_so(void **state)
{
	static const char *const foreign[] = {"\x7f"
					      "ELF\2\1\1",
		"{\"schema\":\"pagestay.report/1\"}\n", "P", "\x89PNG\r\n\x1a\n", "PSRB"};

	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
		const struct bytes bytes = {(uint8_t *)foreign[i], strlen(foreign[i])};

		assert_damaged(&bytes, NULL, 0, "not a pagestay recording");
	}
}

static void empty_file_is_named_so(void **state)
{
	const struct bytes bytes = {};

	assert_damaged(&bytes, NULL, 0, "empty");
}

static void directory_is_an_error(void **state)
{
	struct outcome outcome = read_file(fopen("/", "r"), NULL, 0);

	assert_int_equal(outcome.result, -EISDIR);
	assert_non_null(strstr(outcome.diag.text, strerror(EISDIR)));
}

static void newer_version_is_named_so(void **state)
{
	static const size_t newer[] = {RECORDING_VERSION + 1, 7, UINT32_MAX};

	for (size_t i = 0; i < sizeof(newer) / sizeof(newer[0]); i++) {
		struct bytes bytes = {};
		char words[128];

		append_file_header(&bytes, newer[i]);
		(void)snprintf(words, sizeof(words),
			"newer pagestay: version %zu at byte 8, and this pagestay reads up to "
			"version %d",
			newer[i], RECORDING_VERSION);
		assert_int_equal(assert_damaged(&bytes, NULL, 0, words), 0);
		free(bytes.at);
	}
}

/* An old recording's events would be taken for others, so not even a sound one is read. */
static void older_version_is_named_so(void **state)
{
	static const uint8_t events[] = {EVENT_STREAM, 3, 0, 0, 0, EVENT_START, 4, 0, 0, 0, 0};

	for (size_t version = 0; version < RECORDING_VERSION; version++) {
		struct bytes bytes = {};
		char words[128];

		append_file_header(&bytes, version);
		append_events(&bytes, events, sizeof(events));
		append_end(&bytes);
		(void)snprintf(words, sizeof(words),
			"made by an older pagestay: version %zu at byte 8, and this pagestay "
			"reads version %d",
			version, RECORDING_VERSION);
		assert_int_equal(assert_damaged(&bytes, NULL, 0, words), 0);
		free(bytes.at);
	}
}

static void bytes_behind_the_end_are_damage_after_all_events(void **state)
{
	struct event events[SAMPLE_MAX];
	size_t count = sample(events), once;
	struct bytes bytes = record(events, count), second;

	once = bytes.length;
	bytes_append(&bytes, "\n", 1);
	assert_int_equal(
		assert_damaged(&bytes, events, count, "follows the recording's end"), count);
	/* one recording behind another */
	bytes.length = once;
	second = record(events, count);
	bytes_append(&bytes, second.at, second.length);
	assert_int_equal(
		assert_damaged(&bytes, events, count, "follows the recording's end"), count);
	free(second.at);
	free(bytes.at);
}

/* A recorder that is killed has handed every interval that it closed to the kernel. */
static void unclosed_recording_holds_every_closed_interval(void **state)
{
	struct event events[SAMPLE_MAX];
	size_t count = sample(events);
	int fd = file_in_memory(NULL, 0);
	struct recording_writer *writer = NULL;
	struct diag diag = {};

	assert_int_equal(recording_writer_new(fdopen(dup(fd), "w"), &writer, &diag), 0);
	for (size_t i = 0; i < count; i++) {
		struct bytes bytes;

		assert_int_equal(recording_write(writer, &events[i]), 0);
		if (events[i].kind != EVENT_START && events[i].kind != EVENT_TICK)
			continue;
		bytes = file_content(fd);
		assert_int_equal(assert_damaged(&bytes, events, count, "between blocks"), i + 1);
		free(bytes.at);
	}
	assert_int_equal(recording_writer_close(writer), 0);
	(void)close(fd);
}

static void full_disk_is_reported_when_the_recording_begins(void **state)
{
	struct recording_writer *writer = NULL;
	struct diag diag = {};

	assert_int_equal(recording_writer_new(fopen("/dev/full", "w"), &writer, &diag), -ENOSPC);
	assert_null(writer);
	assert_non_null(strstr(diag.text, strerror(ENOSPC)));
}

/* A writer on a disk that has become full since. */
static struct recording_writer *writer_on_full_disk(void)
{
	int fd = file_in_memory(NULL, 0), full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	struct recording_writer *writer = NULL;
	struct diag diag = {};

	assert_int_equal(recording_writer_new(fdopen(fd, "w"), &writer, &diag), 0);
	assert_int_equal(dup2(full, fd), fd);
	(void)close(full);
	return writer;
}

static void full_disk_is_reported_by_the_write_and_from_then_on(void **state)
{
	struct recording_writer *writer = writer_on_full_disk();
	struct event event;

	event_largest(EVENT_COUNTERS, &event);
	assert_int_equal(recording_write(writer, &event), 0);
	event_largest(EVENT_TICK, &event);
	assert_int_equal(recording_write(writer, &event), -ENOSPC);
	assert_int_equal(recording_write(writer, &event), -ENOSPC);
	assert_int_equal(recording_writer_close(writer), -ENOSPC);
}

static void full_disk_is_reported_by_the_close(void **state)
{
	assert_int_equal(recording_writer_close(writer_on_full_disk()), -ENOSPC);
}

static void closed_pipe_is_reported(void **state)
{
	struct recording_writer *writer = NULL;
	struct diag diag = {};
	struct event event;
	int ends[2];

	(void)signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(recording_writer_new(fdopen(ends[1], "w"), &writer, &diag), 0);
	(void)close(ends[0]);
	event_largest(EVENT_START, &event);
	assert_int_equal(recording_write(writer, &event), -EPIPE);
	assert_int_equal(recording_writer_close(writer), -EPIPE);
}

static void pipe_carries_a_recording(void **state)
{
	struct event events[SAMPLE_MAX];
	size_t count = sample(events);
	struct recording_writer *writer = NULL;
	struct outcome outcome;
	struct diag diag = {};
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(recording_writer_new(fdopen(ends[1], "w"), &writer, &diag), 0);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(recording_write(writer, &events[i]), 0);
	assert_int_equal(recording_writer_close(writer), 0);
	outcome = read_file(fdopen(ends[0], "r"), events, count);
	assert_int_equal(outcome.result, 0);
	assert_int_equal(outcome.count, count);
}

static void unknown_kind_is_not_written(void **state)
{
	struct event events[SAMPLE_MAX], unknown = {.kind = EVENT_KINDS};
	size_t count = sample(events);
	int fd = file_in_memory(NULL, 0);
	struct recording_writer *writer = NULL;
	struct diag diag = {};
	struct bytes with, without = record(events, count);

	assert_int_equal(recording_writer_new(fdopen(dup(fd), "w"), &writer, &diag), 0);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(recording_write(writer, &unknown), -EINVAL);
		assert_int_equal(recording_write(writer, &events[i]), 0);
	}
	assert_int_equal(recording_writer_close(writer), 0);
	with = file_content(fd);
	assert_int_equal(with.length, without.length);
	assert_memory_equal(with.at, without.at, with.length);
	free(with.at);
	free(without.at);
	(void)close(fd);
}

static void null_is_taken(void **state)
{
	assert_int_equal(recording_writer_close(NULL), 0);
	recording_reader_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sample_round_trips),
		cmocka_unit_test(extremes_round_trip),
		cmocka_unit_test(nothing_round_trips),
		cmocka_unit_test(events_without_a_closing_tick_round_trip),
		cmocka_unit_test(random_streams_round_trip_as_the_same_bytes),
		cmocka_unit_test(interval_of_more_than_a_block_takes_several),
		cmocka_unit_test(layout_is_fixed),
		cmocka_unit_test(every_truncation_gives_the_whole_blocks_before_it),
		cmocka_unit_test(every_flipped_bit_is_damage),
		cmocka_unit_test(every_overwritten_byte_run_is_damage),
		cmocka_unit_test(garbage_is_refused),
		cmocka_unit_test(garbage_with_right_checksums_is_refused),
		cmocka_unit_test(block_with_a_bad_event_is_given_not_at_all),
		cmocka_unit_test(block_that_lies_about_its_lengths_is_refused),
		cmocka_unit_test(block_with_bytes_behind_its_stream_is_refused),
		cmocka_unit_test(block_with_one_length_is_refused),
		cmocka_unit_test(lengths_beyond_the_bounds_are_refused_before_reading),
		cmocka_unit_test(foreign_files_are_named_so),
		cmocka_unit_test(empty_file_is_named_so),
		cmocka_unit_test(directory_is_an_error),
		cmocka_unit_test(newer_version_is_named_so),
		cmocka_unit_test(older_version_is_named_so),
		cmocka_unit_test(bytes_behind_the_end_are_damage_after_all_events),
		cmocka_unit_test(unclosed_recording_holds_every_closed_interval),
		cmocka_unit_test(full_disk_is_reported_when_the_recording_begins),
		cmocka_unit_test(full_disk_is_reported_by_the_write_and_from_then_on),
		cmocka_unit_test(full_disk_is_reported_by_the_close),
		cmocka_unit_test(closed_pipe_is_reported),
		cmocka_unit_test(pipe_carries_a_recording),
		cmocka_unit_test(unknown_kind_is_not_written),
		cmocka_unit_test(null_is_taken),
	};

	return cmocka_run_group_tests_name("recording", tests, NULL, NULL);
}
