/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Recordings, replayed through the tracker and both sinks, against texts that somebody read:
 * tests/recordings/NAME.psr gives tests/golden/NAME.txt and NAME.json. With UPDATE_GOLDEN=1 the
 * hostile recording is made anew too, from the events in this file; the others are made by
 * tests/recordings/record-servers. Runs in the project's root.
 */
#include "golden.h"
#include "recordings.h"

#include "pagestay/core/track.h"
#include "pagestay/sink/sink.h"
#include "pagestay/source/replay.h"

#define PATH_BYTES 128

/* What one sink writes of one recording, as `pagestay replay` does. */
struct rendering {
	struct track *track;
	struct sink *sink;
};

static int ignore_event(void *context, const struct event *event)
{
	return 0;
}

static int render_event(void *context, const struct event *event)
{
	struct rendering *rendering = context;
	int result = track_event(rendering->track, event);

	return result > 0 ? sink_write(rendering->sink, track_report(rendering->track)) : result;
}

/* Every event to `deliver`. 0, or -EBADMSG at the damage. */
static int replay(const char *path, event_fn deliver, void *context)
{
	struct source *source = NULL;
	struct diag diag = {};
	int result = source_replay_open(path, &source, &diag);

	assert_int_equal(result, 0);
	do
		result = source_drain(source, SOURCE_TICK, deliver, context, &diag);
	while (result > 0);
	source_close(source);
	return result;
}

static char *render(
	const char *path, struct sink *(*sink_new)(const struct sink_options *), int damage)
{
	const struct track_options track = {.source = "replay",
		.top = 10,
		.max_processes = 8192,
		.max_routes = 8192,
		.max_pages = 262144};
	struct rendering rendering = {};
	char *bytes = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&bytes, &length);
	const struct sink_options sink = {.out = out, .columns = 80, .top = 10};

	assert_int_equal(track_new(&track, &rendering.track), 0);
	rendering.sink = sink_new(&sink);
	assert_non_null(rendering.sink);
	if (damage)
		track_damaged(rendering.track);
	assert_int_equal(replay(path, render_event, &rendering), damage);
	assert_int_equal(sink_close(rendering.sink), 0);
	track_free(rendering.track);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(strlen(bytes), length);
	return bytes;
}

static void assert_replays_as_golden(const char *name, int damage)
{
	char path[PATH_BYTES], text[64], json[64];

	(void)snprintf(path, sizeof(path), "tests/recordings/%s.psr", name);
	(void)snprintf(text, sizeof(text), "%s.txt", name);
	(void)snprintf(json, sizeof(json), "%s.json", name);
	assert_int_equal(replay(path, ignore_event, NULL), damage);
	assert_golden(text, render(path, sink_text_new, damage));
	assert_golden(json, render(path, sink_json_new, damage));
}

static void nginx_under_a_few_requests(void **state)
{
	assert_replays_as_golden("servers", 0);
}

static void cut_recording_gives_what_is_before_the_cut(void **state)
{
	size_t whole_bytes, cut_bytes;
	char *whole = golden_read("tests/recordings/servers.psr", &whole_bytes);
	char *cut = golden_read("tests/recordings/cut.psr", &cut_bytes);

	assert_int_equal(cut_bytes, whole_bytes / 2);
	assert_memory_equal(cut, whole, cut_bytes);
	free(whole);
	free(cut);
	assert_replays_as_golden("cut", -EBADMSG);
}

/*
 * A recording that somebody forged, or whose servers are in bad company: texts of any bytes, the
 * largest numbers, exits, losses, notes, a clock that was set back.
 */

#define HOSTILE_EVENTS 64
#define SECOND_NS      1000000000ull
/* 2026-01-02T03:04:05.678Z */
#define WALL_NS 1767323045678000000ull

struct script {
	struct event events[HOSTILE_EVENTS];
	size_t count;
};

static struct event *next(struct script *script, enum event_kind kind, uint32_t tgid)
{
	struct event *event = &script->events[script->count++];

	assert_true(script->count <= HOSTILE_EVENTS);
	event->kind = kind;
	event->proc.tgid = tgid;
	if (tgid)
		event->proc.start_ns = tgid * SECOND_NS;
	return event;
}

static void put_note(struct script *script, const char *text)
{
	struct event *event = next(script, EVENT_NOTE, 0);

	(void)snprintf(event->note.text, sizeof(event->note.text), "%s", text);
}

static void put_process(struct script *script, uint32_t tgid, const char *comm, const char *exe)
{
	struct event *event = next(script, EVENT_PROCESS, tgid);

	(void)snprintf(event->process.comm, sizeof(event->process.comm), "%s", comm);
	(void)snprintf(event->process.exe, sizeof(event->process.exe), "%s", exe);
}

static void put_memory(struct script *script, uint32_t tgid, uint64_t rss_bytes, uint64_t faults)
{
	next(script, EVENT_MEMORY, tgid)->memory = (struct event_memory){
		.rss_bytes = rss_bytes,
		.anon_bytes = rss_bytes,
		.lazyfree_bytes = EVENT_UNKNOWN,
		.faults = faults,
	};
}

static void put_route(struct script *script, uint32_t tgid, const char *text, uint64_t requests)
{
	struct event *event = next(script, EVENT_ROUTE, tgid);

	(void)snprintf(event->route.text, sizeof(event->route.text), "%s", text);
	event->route.requests = requests;
}

/* Every counter, and what is open. */
static void put_counters(struct script *script, uint32_t tgid, uint64_t each)
{
	struct event_counters *counters = &next(script, EVENT_COUNTERS, tgid)->counters;

	for (int i = 0; i < PS_COUNTERS; i++)
		counters->delta[i] = each;
	counters->open = each;
}

static void put_tick(struct script *script, uint64_t wall_ns, uint64_t interval_ns)
{
	next(script, EVENT_TICK, 0)->tick = (struct event_tick){
		.wall_ns = wall_ns,
		.interval_ns = interval_ns,
		.self_rss_bytes = 12 << 20,
		.self_cpu_ns = SECOND_NS,
	};
}

static void put_beginning(struct script *script)
{
	struct event_stream *stream = &next(script, EVENT_STREAM, 0)->stream;

	(void)snprintf(stream->host, sizeof(stream->host), "\x1b]0;web\x07\xff\xe2\x80\xae");
	(void)snprintf(stream->detail, sizeof(stream->detail), "requests");
	stream->routes = 1;
	put_note(script, "a note\nof two lines, \x1b[31mred\x1b[0m, and \xc2\x9b"
			 "31m in eight bits");
	put_note(script, "a note as long as a note can be, which is longer than a line of eighty "
			 "columns, so that it has to be wrapped somewhere; what is behind that "
			 "length was cut");
	put_process(script, 1, "\x1b[2J\xff\\\"</script", "/srv/\xff\xfe/\n\xe2\x80\xae\"exe\\");
	put_counters(script, 1, 3);
	put_memory(script, 1, 1 << 20, 100);
	next(script, EVENT_START, 0)->tick.wall_ns = WALL_NS;
}

static void put_largest_numbers(struct script *script)
{
	put_counters(script, 1, INT64_MAX);
	put_memory(script, 1, INT64_MAX, INT64_MAX);
	put_counters(script, 2, UINT64_MAX);
	put_memory(script, 2, UINT64_MAX, UINT64_MAX);
	put_counters(script, 3, UINT64_MAX - 1);
	put_memory(script, 3, UINT64_MAX - 1, UINT64_MAX - 1);
	put_counters(script, UINT32_MAX, (uint64_t)INT64_MAX + 1);
	put_memory(script, UINT32_MAX, (uint64_t)INT64_MAX + 1, 0);
	put_process(script, UINT32_MAX, "\n\n\n", "");
	put_tick(script, WALL_NS + SECOND_NS, SECOND_NS);
}

static void put_hostile_routes(struct script *script)
{
	static const char *const routes[] = {
		"GET /\x1b]0;owned\x07",
		"GET /\xc3\xa9/\xff/\xe2\x80\xaexcod.exe",
		"GET /a\"b\\c?secret=1",
		"GET http://evil.example/absolute",
		"GET /../../../../../../../../../../../../../../../../../../../../../../../../etc/"
		"passwd-and-on",
		"GET /\nother",
		"\x16\x03\x01 binary",
		"other",
		"-",
		"",
		"DELETE /<script>alert(1)</script>",
		"OPTIONS *",
		"GET /twelfth",
		"GET /thirteenth",
	};

	put_process(script, 4, "php-fpm: pool w", "/usr/sbin/php-fpm (deleted)");
	put_counters(script, 4, 200);
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
		put_route(script, 4, routes[i], 20 - i);
	put_route(script, 2, "GET /largest", UINT64_MAX);
	put_route(script, 2, "GET /large?x", INT64_MAX);
	put_tick(script, 0, 0);
}

/* Losses; processes that exit, one of them counted on, one never heard of before. */
static void put_end(struct script *script)
{
	struct event_loss *loss = &next(script, EVENT_LOSS, 0)->loss;

	loss->lost[PS_LOST_EVENTS] = 12;
	loss->lost[PS_LOST_MAP_FULL] = UINT64_MAX;
	(void)next(script, EVENT_EXITED, 1);
	put_counters(script, 1, 5);
	put_memory(script, 1, 4096, 0);
	(void)next(script, EVENT_EXITED, 5);
	put_memory(script, 4, 0, 7);
	put_tick(script, UINT64_MAX, UINT64_MAX);
	put_tick(script, WALL_NS, SECOND_NS);
}

static void hostile_script(struct script *script)
{
	memset(script, 0, sizeof(*script));
	put_beginning(script);
	put_largest_numbers(script);
	put_hostile_routes(script);
	put_end(script);
}

static int expect_event(void *context, const struct event *event)
{
	struct script *rest = context;

	assert_true(rest->count < HOSTILE_EVENTS);
	assert_memory_equal(event, &rest->events[rest->count], sizeof(*event));
	rest->count++;
	return 0;
}

static void hostile_bytes_and_numbers(void **state)
{
	static const char path[] = "tests/recordings/hostile.psr";
	struct script script;
	size_t count;

	hostile_script(&script);
	count = script.count;
	if (golden_update()) {
		struct bytes bytes = record(script.events, count);

		golden_write(path, bytes.at, bytes.length);
		free(bytes.at);
	}
	script.count = 0;
	assert_int_equal(replay(path, expect_event, &script), 0);
	assert_int_equal(script.count, count);
	assert_replays_as_golden("hostile", 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nginx_under_a_few_requests),
		cmocka_unit_test(cut_recording_gives_what_is_before_the_cut),
		cmocka_unit_test(hostile_bytes_and_numbers),
	};

	return cmocka_run_group_tests_name("golden", tests, NULL, NULL);
}
