/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Recordings, replayed through the tracker and both sinks, against texts that somebody read:
 * tests/recordings/NAME.psr gives tests/golden/NAME.txt and NAME.json. With UPDATE_GOLDEN=1 the
 * hostile recordings are made anew too, from the events in this file; the others are made by the
 * programs tests/recordings/record-*. Runs in the project's root.
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
		.max_pages = 327680};
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

static void servers_that_keep_and_give_back_pages(void **state)
{
	assert_replays_as_golden("page-servers", 0);
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

#define HOSTILE_EVENTS 512
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

/*
 * Page events that no kernel sends: ranges as large as numbers are, requests that never end, or end
 * without having begun, adoption in a circle, passes that find more than there is. What can be told
 * of pages is limited for each interval, so nothing here takes longer than a real recording does.
 */

#define PAGE_NUMBER 0x7f0000000ull

static void put_page(struct script *script, struct ps_page page)
{
	struct event *event = next(script, EVENT_PAGE, 1);

	event->page = page;
	event->page.tid = event->page.tid ? event->page.tid : 7;
}

static void put_range(
	struct script *script, enum ps_page_kind kind, uint64_t page, uint64_t pages, uint64_t to)
{
	put_page(script, (struct ps_page){.kind = kind,
				 .place = PS_IN_WINDOW,
				 .page = page,
				 .pages = pages,
				 .set = 1,
				 .to = to,
				 .at_ns = SECOND_NS});
}

static void put_every_range(struct script *script, uint64_t page, uint64_t pages)
{
	for (int kind = 0; kind <= PS_PAGE_KINDS; kind++) {
		put_range(script, kind, page, pages, page + pages / 2);
		put_range(script, kind, page, pages, 0);
	}
}

static void put_set(struct script *script, enum ps_place place, uint64_t set, uint64_t page)
{
	put_page(script, (struct ps_page){.kind = PS_PAGE_TOUCHED,
				 .place = place,
				 .page = page,
				 .pages = 1,
				 .set = set,
				 .at_ns = SECOND_NS});
}

static void put_adopted(struct script *script, enum ps_place place, uint64_t set, uint64_t to)
{
	put_page(script, (struct ps_page){.kind = PS_PAGE_ADOPTED,
				 .place = place,
				 .set = set,
				 .to_tid = 7,
				 .to = to,
				 .at_ns = SECOND_NS});
}

static void put_ended(struct script *script, uint64_t set, uint64_t route, uint64_t at_ns)
{
	put_page(script,
		(struct ps_page){.kind = PS_PAGE_ENDED, .set = set, .to = route, .at_ns = at_ns});
}

static void put_windows(struct script *script)
{
	static const enum ps_place places[] = {0, PS_IN_WINDOW, PS_OVERLAPPING, PS_BACKGROUND,
		PS_IN_TAIL, PS_IN_RECEIVE, PS_IN_WORKER, PS_PLACES, UINT32_MAX};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		put_set(script, places[i], UINT64_MAX, PAGE_NUMBER + 2 * i);
		put_set(script, places[i], 5, PAGE_NUMBER + 2 * i + 1);
		put_adopted(script, places[i], 5, 5);
		put_adopted(script, places[i], 5, UINT64_MAX);
		put_adopted(script, places[i], UINT64_MAX, 5);
	}
	put_ended(script, 5, 1, UINT64_MAX);
	put_ended(script, 5, 1, SECOND_NS);
	put_ended(script, 6, UINT64_MAX, 0);
	put_ended(script, UINT64_MAX, UINT64_MAX, 0);
}

static struct event_resident *put_resident(struct script *script, uint64_t from, uint64_t to)
{
	struct event_resident *resident = &next(script, EVENT_RESIDENT, 1)->resident;

	*resident = (struct event_resident){.began_ns = 2 * SECOND_NS, .from = from, .to = to};
	return resident;
}

static void put_passes(struct script *script)
{
	struct event_resident *resident = put_resident(script, 0, EVENT_UNKNOWN);

	for (int i = 0; i < 2 * EVENT_RUNS; i++)
		resident->runs[i] = UINT64_MAX;
	/* Runs that lead past the last page, and half a run. */
	resident = put_resident(script, UINT64_MAX - 8, EVENT_UNKNOWN);
	resident->runs[1] = 2 * 16;
	resident->runs[2] = 16;
	resident = put_resident(script, PAGE_NUMBER, 0);
	resident->runs[0] = 1;
	resident->runs[1] = UINT64_MAX - 1;
	/* Behind its own end, and the same again and again; in swap. */
	resident = put_resident(script, PAGE_NUMBER, PAGE_NUMBER);
	for (int i = 0; i < EVENT_RUNS; i++)
		resident->runs[2 * i + 1] = 2 * 3 + 1;
	resident = put_resident(script, 0, EVENT_UNKNOWN);
	resident->runs[0] = PAGE_NUMBER;
	resident->runs[1] = 2 * 100;
	resident->began_ns = UINT64_MAX;
	(void)put_resident(script, EVENT_UNKNOWN, 0);
	(void)put_resident(script, 0, EVENT_UNKNOWN);
}

static void put_level(struct script *script, uint64_t level)
{
	next(script, EVENT_LEVEL, 1)->level.level = level;
}

static void put_page_tick(struct script *script, uint64_t now_ns)
{
	put_tick(script, WALL_NS, SECOND_NS);
	script->events[script->count - 1].tick.now_ns = now_ns;
}

static void hostile_pages_script(struct script *script)
{
	struct event_stream *stream;

	memset(script, 0, sizeof(*script));
	stream = &next(script, EVENT_STREAM, 0)->stream;
	(void)snprintf(stream->host, sizeof(stream->host), "forged");
	(void)snprintf(stream->detail, sizeof(stream->detail), "pages");
	stream->routes = 1;
	stream->page_bytes = 1ull << 62;
	stream->page_seed = UINT64_MAX;
	put_process(script, 1, "forger", "");
	put_level(script, 0);
	put_every_range(script, 0, UINT64_MAX);
	next(script, EVENT_START, 0)->tick.wall_ns = WALL_NS;
	put_every_range(script, UINT64_MAX, UINT64_MAX);
	put_every_range(script, 1ull << 63, 1ull << 63);
	put_windows(script);
	put_memory(script, 1, INT64_MAX, 1);
	put_counters(script, 1, 9);
	put_page_tick(script, 3 * SECOND_NS);
	put_passes(script);
	put_memory(script, 1, 1, UINT64_MAX);
	put_route(script, 1, "GET /forged", 3);
	script->events[script->count - 1].route.hash = 1;
	put_page_tick(script, UINT64_MAX);
	/* A change of RSS that does not fit into a number. */
	put_windows(script);
	put_passes(script);
	put_memory(script, 1, (uint64_t)INT64_MAX + 1, 0);
	put_page_tick(script, 4 * SECOND_NS);
	/* Many more than may be tracked. */
	put_range(script, PS_PAGE_TOUCHED, PAGE_NUMBER, 1 << 20, 0);
	put_every_range(script, PAGE_NUMBER, 1 << 10);
	put_page_tick(script, 0);
	put_level(script, 1ull << 63);
	put_level(script, 3);
	put_windows(script);
	put_passes(script);
	put_page_tick(script, 5 * SECOND_NS);
	(void)next(script, EVENT_EXITED, 1);
	put_windows(script);
	put_page_tick(script, 6 * SECOND_NS);
}

static int expect_event(void *context, const struct event *event)
{
	struct script *rest = context;

	assert_true(rest->count < HOSTILE_EVENTS);
	assert_true(events_are_equal(event, &rest->events[rest->count]));
	rest->count++;
	return 0;
}

/* The recording holds these events, and replays as somebody read. */
static void assert_script(struct script *script, const char *name)
{
	size_t count = script->count;
	char path[PATH_BYTES];

	(void)snprintf(path, sizeof(path), "tests/recordings/%s.psr", name);
	if (golden_update()) {
		struct bytes bytes = record(script->events, count);

		golden_write(path, bytes.at, bytes.length);
		free(bytes.at);
	}
	script->count = 0;
	assert_int_equal(replay(path, expect_event, script), 0);
	assert_int_equal(script->count, count);
	assert_replays_as_golden(name, 0);
}

static void hostile_bytes_and_numbers(void **state)
{
	static struct script script;

	hostile_script(&script);
	assert_script(&script, "hostile");
}

static void hostile_page_events(void **state)
{
	static struct script script;

	hostile_pages_script(&script);
	assert_script(&script, "hostile-pages");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nginx_under_a_few_requests),
		cmocka_unit_test(cut_recording_gives_what_is_before_the_cut),
		cmocka_unit_test(servers_that_keep_and_give_back_pages),
		cmocka_unit_test(hostile_bytes_and_numbers),
		cmocka_unit_test(hostile_page_events),
	};

	return cmocka_run_group_tests_name("golden", tests, NULL, NULL);
}
