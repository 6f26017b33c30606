/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The sources that need no kernel: how far each drain goes, and what a bad recording gives. */
#include "recordings.h"

#include "pagestay/source/replay.h"
#include "pagestay/source/synthetic.h"

#define EVENTS_MAX 300
#define PATH_BYTES 64

/* What a drain delivered, compared with what was expected next. */
struct receiver {
	const struct event *expected;
	size_t expected_count;
	size_t count;
	size_t fail_at; /* refuse the event of this number, counted from 1 */
};

static int receive(void *context, const struct event *event)
{
	struct receiver *receiver = context;

	assert_true(receiver->count < receiver->expected_count);
	assert_true(events_are_equal(event, &receiver->expected[receiver->count]));
	receiver->count++;
	return receiver->count == receiver->fail_at ? -ENOSPC : 0;
}

/* A recording at a path, as long as the descriptor is open. */
struct placed {
	int fd;
	char path[PATH_BYTES];
};

static struct placed place_bytes(const struct bytes *bytes)
{
	struct placed placed = {.fd = file_in_memory(bytes->at, bytes->length)};

	(void)snprintf(placed.path, sizeof(placed.path), "/proc/self/fd/%d", placed.fd);
	return placed;
}

static struct placed place_events(const struct event *events, size_t count)
{
	struct bytes bytes = record(events, count);
	struct placed placed = place_bytes(&bytes);

	free(bytes.at);
	return placed;
}

static struct source *open_placed(const struct placed *placed)
{
	struct source *source = NULL;
	struct diag diag = {};

	assert_int_equal(source_replay_open(placed->path, &source, &diag), 0);
	assert_string_equal(diag.text, "");
	return source;
}

static size_t events_of_kinds(const enum event_kind *kinds, struct event *events)
{
	uint64_t random = 21;
	size_t count = 0;

	for (; kinds[count]; count++)
		event_random(&random, kinds[count], &events[count]);
	return count;
}

static const enum event_kind usual[] = {EVENT_STREAM, EVENT_NOTE, EVENT_NOTE, EVENT_PROCESS,
	EVENT_LEVEL, EVENT_RESIDENT, EVENT_START, EVENT_COUNTERS, EVENT_TICK, EVENT_TICK,
	EVENT_PAGE, EVENT_NOTE, EVENT_EXITED, EVENT_ROUTE, EVENT_TICK, 0};

static void assert_drains_by_boundary(
	struct source *source, const struct event *events, size_t count)
{
	struct receiver receiver = {.expected = events, .expected_count = count};
	struct diag diag = {};

	assert_int_equal(source_drain(source, SOURCE_NOW, receive, &receiver, &diag), 1);
	assert_int_equal(receiver.count, 0);
	assert_int_equal(source_drain(source, SOURCE_START, receive, &receiver, &diag), 1);
	assert_int_equal(receiver.count, 7);
	assert_int_equal(source_drain(source, SOURCE_NOW, receive, &receiver, &diag), 1);
	assert_int_equal(receiver.count, 7);
	assert_int_equal(source_drain(source, SOURCE_TICK, receive, &receiver, &diag), 1);
	assert_int_equal(receiver.count, 9);
	assert_int_equal(source_drain(source, SOURCE_TICK, receive, &receiver, &diag), 1);
	assert_int_equal(receiver.count, 10);
	assert_int_equal(source_drain(source, SOURCE_TICK, receive, &receiver, &diag), 1);
	assert_int_equal(receiver.count, 15);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(source_drain(source, SOURCE_TICK, receive, &receiver, &diag), 0);
		assert_int_equal(receiver.count, 15);
	}
	assert_string_equal(diag.text, "");
}

static void replay_drains_by_boundary(void **state)
{
	struct event events[EVENTS_MAX];
	size_t count = events_of_kinds(usual, events);
	struct placed placed = place_events(events, count);
	struct source *source = open_placed(&placed);

	assert_string_equal(source->ops->name, "replay");
	assert_drains_by_boundary(source, events, count);
	source_close(source);
	(void)close(placed.fd);
}

static void synthetic_drains_by_boundary(void **state)
{
	struct event events[EVENTS_MAX];
	size_t count = events_of_kinds(usual, events);
	struct source *source = NULL;

	assert_int_equal(source_synthetic_new(events, count, &source), 0);
	assert_string_equal(source->ops->name, "synthetic");
	assert_drains_by_boundary(source, events, count);
	source_close(source);
}

/* The consumer's error ends the drain without words of the source's own; the next goes on. */
static void assert_error_of_deliver_is_returned(
	struct source *source, const struct event *events, size_t count)
{
	struct receiver receiver = {.expected = events, .expected_count = count, .fail_at = 3};
	struct diag diag = {};

	assert_int_equal(source_drain(source, SOURCE_START, receive, &receiver, &diag), -ENOSPC);
	assert_int_equal(receiver.count, 3);
	assert_string_equal(diag.text, "");
	assert_int_equal(source_drain(source, SOURCE_START, receive, &receiver, &diag), 1);
	assert_int_equal(receiver.count, 7);
	source_close(source);
}

static void error_of_deliver_is_returned(void **state)
{
	struct event events[EVENTS_MAX];
	size_t count = events_of_kinds(usual, events);
	struct placed placed = place_events(events, count);
	struct source *synthetic = NULL;

	assert_error_of_deliver_is_returned(open_placed(&placed), events, count);
	assert_int_equal(source_synthetic_new(events, count, &synthetic), 0);
	assert_error_of_deliver_is_returned(synthetic, events, count);
	(void)close(placed.fd);
}

/* Drains to the end or the damage; how many events came. */
static size_t drain_all(const struct placed *placed, const struct event *events, size_t count,
	int *ret_result, struct diag *diag)
{
	struct receiver receiver = {.expected = events, .expected_count = count};
	struct source *source = NULL;
	struct diag again = {};
	size_t seen;
	int result = source_replay_open(placed->path, &source, diag);

	if (!result)
		result = source_drain(source, SOURCE_START, receive, &receiver, diag);
	while (result > 0)
		result = source_drain(source, SOURCE_TICK, receive, &receiver, diag);
	seen = receiver.count;
	if (source)
		assert_int_equal(
			source_drain(source, SOURCE_TICK, receive, &receiver, &again), result);
	assert_int_equal(receiver.count, seen);
	source_close(source);
	if (result < 0)
		assert_int_equal(strncmp(diag->text, placed->path, strlen(placed->path)), 0);
	*ret_result = result;
	return seen;
}

static void random_streams_replay(void **state)
{
	static struct event events[EVENTS_MAX];
	uint64_t random = 22;

	for (int i = 0; i < 200; i++) {
		size_t count = stream_random(&random, events, EVENTS_MAX);
		struct placed placed = place_events(events, count);
		struct diag diag = {};
		int result;

		assert_int_equal(drain_all(&placed, events, count, &result, &diag), count);
		assert_int_equal(result, 0);
		(void)close(placed.fd);
	}
}

static int record_event(void *context, const struct event *event)
{
	return recording_write(context, event);
}

static void recording_of_a_replay_is_the_same_bytes(void **state)
{
	struct event events[EVENTS_MAX];
	size_t count = events_of_kinds(usual, events);
	struct bytes original = record(events, count), copy;
	struct placed placed = place_bytes(&original);
	struct source *source = open_placed(&placed);
	struct recording_writer *writer = NULL;
	struct diag diag = {};
	int fd = file_in_memory(NULL, 0), result;

	assert_int_equal(recording_writer_new(fdopen(dup(fd), "w"), &writer, &diag), 0);
	do {
		result = source_drain(source, SOURCE_TICK, record_event, writer, &diag);
	} while (result > 0);
	assert_int_equal(result, 0);
	assert_int_equal(recording_writer_close(writer), 0);
	source_close(source);
	copy = file_content(fd);
	assert_int_equal(copy.length, original.length);
	assert_memory_equal(copy.at, original.at, copy.length);
	free(copy.at);
	free(original.at);
	(void)close(placed.fd);
	(void)close(fd);
}

/* A stream in this order gives so many events, and then damage with these words. */
struct disorder {
	enum event_kind kinds[8];
	size_t sound;
	const char *words;
};

static void streams_out_of_order_are_damaged(void **state)
{
	static const char order[] = "where the order does not allow it";
	static const struct disorder disorders[] = {
		{{0}, 0, "before its START"},
		{{EVENT_START}, 0, order},
		{{EVENT_NOTE, EVENT_STREAM}, 0, order},
		{{EVENT_TICK}, 0, order},
		{{EVENT_STREAM}, 1, "before its START"},
		{{EVENT_STREAM, EVENT_COUNTERS}, 2, "before its START"},
		{{EVENT_STREAM, EVENT_STREAM, EVENT_START}, 1, order},
		{{EVENT_STREAM, EVENT_TICK}, 1, order},
		{{EVENT_STREAM, EVENT_NOTE}, 2, "before its START"},
		{{EVENT_STREAM, EVENT_NOTE, EVENT_STREAM, EVENT_START}, 2, order},
		{{EVENT_STREAM, EVENT_PROCESS, EVENT_NOTE}, 3, "before its START"},
		{{EVENT_STREAM, EVENT_PROCESS, EVENT_NOTE, EVENT_TICK}, 3, order},
		{{EVENT_STREAM, EVENT_PAGE, EVENT_STREAM, EVENT_START}, 2, order},
		{{EVENT_STREAM, EVENT_RESIDENT, EVENT_TICK}, 2, order},
		{{EVENT_STREAM, EVENT_START, EVENT_START}, 2, order},
		{{EVENT_STREAM, EVENT_START, EVENT_TICK, EVENT_START}, 3, order},
		{{EVENT_STREAM, EVENT_START, EVENT_NOTE, EVENT_START}, 3, order},
		{{EVENT_STREAM, EVENT_START, EVENT_NOTE, EVENT_NOTE}, 4, "inside an interval"},
		{{EVENT_STREAM, EVENT_START, EVENT_TICK, EVENT_NOTE}, 4, "inside an interval"},
		{{EVENT_STREAM, EVENT_START, EVENT_STREAM, EVENT_TICK}, 2, order},
		{{EVENT_STREAM, EVENT_START, EVENT_LOSS}, 3, "inside an interval"},
		{{EVENT_STREAM, EVENT_START, EVENT_PAGE}, 3, "inside an interval"},
		{{EVENT_STREAM, EVENT_START, EVENT_RESIDENT}, 3, "inside an interval"},
		{{EVENT_STREAM, EVENT_START, EVENT_LEVEL}, 3, "inside an interval"},
		{{EVENT_STREAM, EVENT_START, EVENT_TICK, EVENT_EXITED}, 4, "inside an interval"},
	};

	for (size_t i = 0; i < sizeof(disorders) / sizeof(disorders[0]); i++) {
		struct event events[EVENTS_MAX];
		size_t count = events_of_kinds(disorders[i].kinds, events);
		struct placed placed = place_events(events, count);
		struct diag diag = {};
		int result;

		assert_int_equal(
			drain_all(&placed, events, count, &result, &diag), disorders[i].sound);
		assert_int_equal(result, -EBADMSG);
		assert_non_null(strstr(diag.text, " at byte "));
		if (!strstr(diag.text, disorders[i].words))
			fail_msg("`%s` does not say `%s`", diag.text, disorders[i].words);
		(void)close(placed.fd);
	}
}

static void assert_replays(const enum event_kind *kinds)
{
	struct event events[EVENTS_MAX];
	size_t count = events_of_kinds(kinds, events);
	struct placed placed = place_events(events, count);
	struct diag diag = {};
	int result;

	assert_int_equal(drain_all(&placed, events, count, &result, &diag), count);
	assert_int_equal(result, 0);
	(void)close(placed.fd);
}

/* What is there already may be anything of an interval, and both in any order. */
static void any_kind_may_follow_any_before_and_after_start(void **state)
{
	for (size_t i = 0; i < EVENT_KINDS_ANYWHERE; i++) {
		for (size_t k = 0; k < EVENT_KINDS_ANYWHERE; k++) {
			const enum event_kind one = event_kinds_anywhere[i];
			const enum event_kind other = event_kinds_anywhere[k];
			const enum event_kind before[] = {
				EVENT_STREAM, one, other, EVENT_START, EVENT_TICK, 0};
			const enum event_kind after[] = {
				EVENT_STREAM, EVENT_START, one, other, EVENT_TICK, 0};

			assert_replays(before);
			assert_replays(after);
		}
	}
}

static void recording_without_its_end_is_cut_short_after_its_intervals(void **state)
{
	struct event events[EVENTS_MAX];
	size_t count = events_of_kinds(usual, events);
	struct bytes bytes = record(events, count);
	struct placed placed;
	struct diag diag = {};
	int result;

	bytes.length -= BLOCK_HEADER_BYTES;
	placed = place_bytes(&bytes);
	assert_int_equal(drain_all(&placed, events, count, &result, &diag), count);
	assert_int_equal(result, -EBADMSG);
	assert_non_null(strstr(diag.text, "cut short at byte"));
	free(bytes.at);
	(void)close(placed.fd);
}

static void damage_names_the_path_and_the_byte(void **state)
{
	const struct bytes foreign = {(uint8_t *)"not one", 7};
	struct placed placed = place_bytes(&foreign);
	struct source *source = NULL;
	struct diag diag = {};
	char expected[PATH_BYTES + 64];

	(void)snprintf(expected, sizeof(expected), "%s: not a pagestay recording", placed.path);
	assert_int_equal(source_replay_open(placed.path, &source, &diag), -EBADMSG);
	assert_null(source);
	assert_int_equal(strncmp(diag.text, expected, strlen(expected)), 0);
	assert_non_null(strstr(diag.text, "byte 0"));
	(void)close(placed.fd);
}

static void assert_open_fails(const char *path, int expected, const char *words)
{
	struct source *source = NULL;
	struct diag diag = {};

	assert_int_equal(source_replay_open(path, &source, &diag), expected);
	assert_null(source);
	if (!strstr(diag.text, words))
		fail_msg("`%s` does not say `%s`", diag.text, words);
}

static void path_that_cannot_be_opened_or_read_is_named(void **state)
{
	char long_path[2000];

	assert_open_fails(
		"/nonexistent/a.psr", -ENOENT, "/nonexistent/a.psr: cannot open: No such");
	assert_open_fails("/", -EISDIR, "/: cannot read at byte 0: Is a directory");
	assert_open_fails("", -ENOENT, ": cannot open: No such");
	assert_open_fails("/dev/null", -EBADMSG, "/dev/null: not a pagestay recording: empty");
	assert_open_fails("/no\x1b[2J\n", -ENOENT, "/no\\x1b[2J\\x0a: cannot open");
	/* however long the path, the cause is told */
	memset(long_path, 'x', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = 0;
	assert_open_fails(long_path, -ENAMETOOLONG, "~: cannot open: File name too long");
}

static void null_is_closed(void **state)
{
	source_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replay_drains_by_boundary),
		cmocka_unit_test(synthetic_drains_by_boundary),
		cmocka_unit_test(error_of_deliver_is_returned),
		cmocka_unit_test(random_streams_replay),
		cmocka_unit_test(recording_of_a_replay_is_the_same_bytes),
		cmocka_unit_test(streams_out_of_order_are_damaged),
		cmocka_unit_test(any_kind_may_follow_any_before_and_after_start),
		cmocka_unit_test(recording_without_its_end_is_cut_short_after_its_intervals),
		cmocka_unit_test(damage_names_the_path_and_the_byte),
		cmocka_unit_test(path_that_cannot_be_opened_or_read_is_named),
		cmocka_unit_test(null_is_closed),
	};

	return cmocka_run_group_tests_name("replay", tests, NULL, NULL);
}
