/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The tracker, driven by events: examples first, then random streams against a model that keeps
 * every event and works each report out anew from the whole stream.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pagestay/core/track.h"
#include "seeded.h"

#define UNKNOWN EVENT_UNKNOWN

/*
 * Events, short enough to read a test as a stream.
 */

static struct ps_proc_key process_key(unsigned pid)
{
	return (struct ps_proc_key){.tgid = pid, .start_ns = 9000 - pid};
}

static void feed(struct track *track, const struct event *event)
{
	assert_int_equal(track_event(track, event), 0);
}

static void feed_stream(struct track *track, bool routes)
{
	struct event event = {.kind = EVENT_STREAM,
		.stream = {.host = "example", .detail = "requests", .routes = routes}};

	feed(track, &event);
}

static void feed_note(struct track *track, const char *text)
{
	struct event event = {.kind = EVENT_NOTE};

	(void)snprintf(event.note.text, sizeof(event.note.text), "%s", text);
	feed(track, &event);
}

static void feed_start(struct track *track)
{
	struct event event = {.kind = EVENT_START, .tick = {.self_cpu_ns = 500}};

	feed(track, &event);
}

static void feed_process(struct track *track, unsigned pid, const char *comm, const char *exe)
{
	struct event event = {.kind = EVENT_PROCESS, .proc = process_key(pid)};

	(void)snprintf(event.process.comm, sizeof(event.process.comm), "%s", comm);
	(void)snprintf(event.process.exe, sizeof(event.process.exe), "%s", exe);
	feed(track, &event);
}

static void feed_counter(struct track *track, unsigned pid, enum ps_counter what, uint64_t delta)
{
	struct event event = {.kind = EVENT_COUNTERS, .proc = process_key(pid)};

	event.counters.delta[what] = delta;
	feed(track, &event);
}

static void feed_connections(struct track *track, unsigned pid, uint64_t opened, uint64_t open)
{
	struct event event = {
		.kind = EVENT_COUNTERS, .proc = process_key(pid), .counters = {.open = open}};

	event.counters.delta[PS_CONNECTIONS_OPENED] = opened;
	feed(track, &event);
}

static void feed_memory(
	struct track *track, unsigned pid, uint64_t rss_bytes, uint64_t anon_bytes, uint64_t faults)
{
	struct event event = {.kind = EVENT_MEMORY,
		.proc = process_key(pid),
		.memory = {.rss_bytes = rss_bytes,
			.anon_bytes = anon_bytes,
			.lazyfree_bytes = 7,
			.swap_bytes = 9,
			.faults = faults}};

	feed(track, &event);
}

static void feed_route(struct track *track, unsigned pid, const char *text, uint64_t requests)
{
	struct event event = {
		.kind = EVENT_ROUTE, .proc = process_key(pid), .route = {.requests = requests}};

	(void)snprintf(event.route.text, sizeof(event.route.text), "%s", text);
	feed(track, &event);
}

static void feed_exit(struct track *track, unsigned pid)
{
	struct event event = {.kind = EVENT_EXITED, .proc = process_key(pid)};

	feed(track, &event);
}

static void feed_loss(struct track *track, uint64_t events, uint64_t map_full)
{
	struct event event = {.kind = EVENT_LOSS, .loss = {.lost = {events, map_full}}};

	feed(track, &event);
}

static const struct report *tick(struct track *track)
{
	struct event event = {.kind = EVENT_TICK,
		.tick = {.wall_ns = 11,
			.interval_ns = 22,
			.self_rss_bytes = 33,
			.self_cpu_ns = 540}};
	const struct report *report;

	assert_int_equal(track_event(track, &event), 1);
	report = track_report(track);
	assert_non_null(report);
	return report;
}

/* The report's row of a process; NULL if it has none. Fails if it has two. */
static const struct report_process *row_of(const struct report *report, unsigned pid)
{
	const struct report_process *found = NULL;

	for (size_t i = 0; i < report->process_count; i++) {
		if (report->processes[i].key.tgid != pid)
			continue;
		assert_null(found);
		found = &report->processes[i];
	}
	return found;
}

static const struct report_process *tick_row(struct track *track, unsigned pid)
{
	const struct report_process *row = row_of(tick(track), pid);

	assert_non_null(row);
	return row;
}

static void assert_route(
	const struct report_process *row, size_t index, const char *text, uint64_t requests)
{
	assert_true(index < row->route_count);
	assert_string_equal(row->routes[index].text, text);
	assert_int_equal(row->routes[index].requests, requests);
}

/*
 * A tracker for each test, with roomy caps. `begin` is a stream up to START with nothing in it.
 */

static struct track *new_tracker(unsigned top, unsigned max_processes, unsigned max_routes)
{
	const struct track_options options = {.source = "test",
		.top = top,
		.max_processes = max_processes,
		.max_routes = max_routes};
	struct track *track = NULL;

	assert_int_equal(track_new(&options, &track), 0);
	return track;
}

static int setup(void **state)
{
	*state = new_tracker(3, 100, 100);
	return 0;
}

static int teardown(void **state)
{
	track_free(*state);
	return 0;
}

static struct track *begin(void **state)
{
	struct track *track = *state;

	feed_stream(track, true);
	feed_start(track);
	return track;
}

/*
 * Reports and intervals.
 */

static void there_is_no_report_before_the_first_tick(void **state)
{
	struct track *track = begin(state);

	feed_counter(track, 1, PS_REQUESTS, 1);
	assert_null(track_report(track));
}

static void report_tells_of_stream_and_tick(void **state)
{
	const struct report *report = tick(begin(state));

	assert_string_equal(report->host, "example");
	assert_string_equal(report->detail, "requests");
	assert_string_equal(report->source, "test");
	assert_true(report->routes);
	assert_true(report->complete);
	assert_int_equal(report->wall_ns, 11);
	assert_int_equal(report->interval_ns, 22);
	assert_int_equal(report->self_rss_bytes, 33);
	assert_int_equal(report->process_count, 0);
	assert_int_equal(report->note_count, 0);
}

static void own_cpu_time_is_of_the_interval(void **state)
{
	struct track *track = begin(state);

	assert_int_equal(tick(track)->self_cpu_ns, 40);
	assert_int_equal(tick(track)->self_cpu_ns, 0);
}

/* The account is kept from the second interval on, and not in the fourth. */
static void the_programs_time_is_of_intervals_that_are_accounted_whole(void **state)
{
	static const struct {
		uint64_t now_ns, interval_ns;
	} steps[] = {
		{EVENT_UNKNOWN, REPORT_UNKNOWN},
		{700, REPORT_UNKNOWN},
		{760, 60},
		{EVENT_UNKNOWN, REPORT_UNKNOWN},
		{760, REPORT_UNKNOWN},
		{760, 0},
		{10, REPORT_UNKNOWN},
	};
	struct track *track = begin(state);

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		struct event event = {.kind = EVENT_TICK,
			.tick = {.self_bpf_ns = steps[i].now_ns, .self_bpf_runs = steps[i].now_ns}};

		assert_int_equal(track_event(track, &event), 1);
		assert_true(track_report(track)->self_bpf_ns == steps[i].interval_ns);
		assert_true(track_report(track)->self_bpf_runs == steps[i].interval_ns);
	}
}

static void interval_sums_its_counters(void **state)
{
	struct track *track = begin(state);
	const struct report_process *row;

	feed_counter(track, 1, PS_REQUESTS, 5);
	feed_counter(track, 2, PS_REQUESTS, 100);
	feed_counter(track, 1, PS_REQUESTS, 8);
	feed_counter(track, 1, PS_BRK_GROW_BYTES, 4096);
	row = tick_row(track, 1);
	assert_int_equal(row->counters[PS_REQUESTS], 13);
	assert_int_equal(row->counters[PS_BRK_GROW_BYTES], 4096);
	assert_int_equal(row->counters[PS_ACCEPTS], 0);
}

static void interval_starts_over_after_its_report(void **state)
{
	struct track *track = begin(state);

	feed_counter(track, 1, PS_REQUESTS, 5);
	(void)tick(track);
	feed_counter(track, 1, PS_REQUESTS, 2);
	assert_int_equal(tick_row(track, 1)->counters[PS_REQUESTS], 2);
	assert_int_equal(tick_row(track, 1)->counters[PS_REQUESTS], 0);
}

static void quiet_process_stays_in_the_report(void **state)
{
	struct track *track = begin(state);

	feed_process(track, 1, "server", "/usr/sbin/server");
	for (int i = 0; i < 3; i++) {
		const struct report_process *row = tick_row(track, 1);

		assert_string_equal(row->comm, "server");
		assert_string_equal(row->exe, "/usr/sbin/server");
		assert_false(row->exited);
	}
}

static void process_may_call_itself_something_else(void **state)
{
	struct track *track = begin(state);

	feed_process(track, 1, "master", "/a");
	(void)tick(track);
	feed_process(track, 1, "worker", "");
	assert_string_equal(tick_row(track, 1)->comm, "worker");
	assert_null(row_of(track_report(track), 1)->exe);
}

static void reused_pid_is_another_process(void **state)
{
	struct track *track = begin(state);
	struct event event = {.kind = EVENT_COUNTERS, .proc = {.tgid = 1, .start_ns = 1}};
	const struct report *report;

	event.counters.delta[PS_REQUESTS] = 3;
	feed(track, &event);
	event.proc.start_ns = 2;
	event.counters.delta[PS_REQUESTS] = 4;
	feed(track, &event);
	report = tick(track);
	assert_int_equal(report->process_count, 2);
	assert_int_equal(report->processes[0].key.start_ns, 1);
	assert_int_equal(report->processes[0].counters[PS_REQUESTS], 3);
	assert_int_equal(report->processes[1].key.start_ns, 2);
	assert_int_equal(report->processes[1].counters[PS_REQUESTS], 4);
}

static void notes_are_told_in_every_report(void **state)
{
	struct track *track = *state;

	feed_stream(track, false);
	feed_note(track, "no hook on receives");
	feed_note(track, "no io_uring");
	feed_start(track);
	for (int i = 0; i < 2; i++) {
		const struct report *report = tick(track);

		assert_int_equal(report->note_count, 2);
		assert_string_equal(report->notes[0], "no hook on receives");
		assert_string_equal(report->notes[1], "no io_uring");
	}
}

static void endless_notes_are_bounded(void **state)
{
	struct track *track = *state;

	for (int i = 0; i < 1000; i++)
		feed_note(track, "again");
	feed_start(track);
	assert_int_equal(tick(track)->note_count, 16);
}

/*
 * Memory.
 */

static void memory_at_start_is_the_baseline(void **state)
{
	struct track *track = *state;
	const struct report_process *row;

	feed_stream(track, false);
	feed_memory(track, 1, 1000, 400, 0);
	feed_start(track);
	feed_memory(track, 1, 1500, 300, 0);
	row = tick_row(track, 1);
	assert_int_equal(row->rss_bytes, 1500);
	assert_int_equal(row->rss_delta_bytes, 500);
	assert_int_equal(row->anon_bytes, 300);
	assert_int_equal(row->anon_delta_bytes, -100);
	assert_int_equal(row->lazyfree_bytes, 7);
	assert_int_equal(row->swap_bytes, 9);
}

static void memory_changes_since_the_report_before(void **state)
{
	struct track *track = begin(state);

	feed_memory(track, 1, 1000, 100, 0);
	feed_memory(track, 1, 1100, 110, 0);
	assert_int_equal(tick_row(track, 1)->rss_delta_bytes, 100);
	feed_memory(track, 1, 1010, 170, 0);
	assert_int_equal(tick_row(track, 1)->rss_delta_bytes, -90);
	assert_int_equal(row_of(track_report(track), 1)->anon_delta_bytes, 60);
	assert_int_equal(tick_row(track, 1)->rss_delta_bytes, 0);
}

static void new_process_has_not_grown_by_its_first_reading(void **state)
{
	struct track *track = begin(state);

	feed_memory(track, 1, 1000, 100, 0);
	assert_int_equal(tick_row(track, 1)->rss_delta_bytes, 0);
	assert_int_equal(row_of(track_report(track), 1)->rss_bytes, 1000);
}

static void memory_nobody_could_read_is_unknown(void **state)
{
	struct track *track = begin(state);
	const struct report_process *row;

	feed_counter(track, 1, PS_REQUESTS, 1);
	row = tick_row(track, 1);
	assert_true(row->rss_bytes == REPORT_UNKNOWN);
	assert_true(row->anon_bytes == REPORT_UNKNOWN);
	assert_true(row->lazyfree_bytes == REPORT_UNKNOWN);
	assert_true(row->swap_bytes == REPORT_UNKNOWN);
	assert_true(row->faults_background == REPORT_UNKNOWN);
	assert_true(row->rss_delta_bytes == REPORT_DELTA_UNKNOWN);
	assert_true(row->anon_delta_bytes == REPORT_DELTA_UNKNOWN);
}

static void memory_that_becomes_unreadable_has_no_growth(void **state)
{
	struct track *track = begin(state);

	feed_memory(track, 1, 1000, 100, 5);
	(void)tick(track);
	feed_memory(track, 1, UNKNOWN, UNKNOWN, UNKNOWN);
	assert_true(tick_row(track, 1)->rss_delta_bytes == REPORT_DELTA_UNKNOWN);
	assert_true(row_of(track_report(track), 1)->faults_background == REPORT_UNKNOWN);
	feed_memory(track, 1, 1200, 100, 9);
	assert_int_equal(tick_row(track, 1)->rss_delta_bytes, 0);
	assert_int_equal(row_of(track_report(track), 1)->faults_background, 4);
}

/*
 * Connections.
 */

static void open_connections_at_start_were_opened_by_nobody(void **state)
{
	struct track *track = *state;
	const struct report_process *row;

	feed_stream(track, false);
	feed_connections(track, 1, 0, 10);
	feed_start(track);
	feed_connections(track, 1, 0, 7);
	row = tick_row(track, 1);
	assert_int_equal(row->open, 7);
	assert_int_equal(row->counters[PS_CONNECTIONS_OPENED], 0);
	assert_int_equal(row->closed, 3);
}

static void what_was_opened_and_is_not_open_was_closed(void **state)
{
	struct track *track = begin(state);
	const struct report_process *row;

	feed_connections(track, 1, 5, 0);
	feed_connections(track, 1, 6, 4);
	row = tick_row(track, 1);
	assert_int_equal(row->counters[PS_CONNECTIONS_OPENED], 11);
	assert_int_equal(row->open, 4);
	assert_int_equal(row->closed, 7);
	feed_connections(track, 1, 0, 0);
	assert_int_equal(tick_row(track, 1)->closed, 4);
	assert_int_equal(tick_row(track, 1)->closed, 0);
}

/* The open ones are counted at one instant, the opened ones read at another. */
static void connection_open_before_it_was_opened_settles(void **state)
{
	struct track *track = begin(state);

	feed_connections(track, 1, 2, 3);
	assert_int_equal(tick_row(track, 1)->closed, 0);
	feed_connections(track, 1, 1, 1);
	assert_int_equal(tick_row(track, 1)->closed, 2);
}

static void closed_connections_never_come_back(void **state)
{
	struct track *track = begin(state);

	feed_connections(track, 1, 4, 1);
	assert_int_equal(tick_row(track, 1)->closed, 3);
	feed_connections(track, 1, 0, 2);
	assert_int_equal(tick_row(track, 1)->closed, 0);
	feed_connections(track, 1, 0, 0);
	assert_int_equal(tick_row(track, 1)->closed, 1);
}

/*
 * Background faults.
 */

static void faults_that_no_request_explains_are_background(void **state)
{
	struct track *track = *state;

	feed_stream(track, false);
	feed_memory(track, 1, 0, 0, 1000);
	feed_start(track);
	feed_counter(track, 1, PS_FAULTS_IN_REQUESTS, 30);
	feed_counter(track, 1, PS_FAULTS_OVERLAPPING, 20);
	feed_memory(track, 1, 0, 0, 1060);
	assert_int_equal(tick_row(track, 1)->faults_background, 10);
	feed_memory(track, 1, 0, 0, 1065);
	assert_int_equal(tick_row(track, 1)->faults_background, 5);
}

static void faults_before_the_first_reading_are_not_background(void **state)
{
	struct track *track = begin(state);

	feed_counter(track, 1, PS_FAULTS_IN_REQUESTS, 700);
	feed_memory(track, 1, 0, 0, 100000);
	assert_int_equal(tick_row(track, 1)->faults_background, 0);
	feed_counter(track, 1, PS_FAULTS_IN_REQUESTS, 1);
	feed_memory(track, 1, 0, 0, 100003);
	assert_int_equal(tick_row(track, 1)->faults_background, 2);
}

/* Windows may be read ahead of the total; what is too much now is missing from the next one. */
static void background_faults_settle_and_never_shrink(void **state)
{
	struct track *track = begin(state);

	feed_memory(track, 1, 0, 0, 100);
	feed_counter(track, 1, PS_FAULTS_IN_REQUESTS, 50);
	feed_memory(track, 1, 0, 0, 130);
	assert_int_equal(tick_row(track, 1)->faults_background, 0);
	feed_memory(track, 1, 0, 0, 157);
	assert_int_equal(tick_row(track, 1)->faults_background, 7);
	feed_counter(track, 1, PS_FAULTS_OVERLAPPING, 4);
	assert_int_equal(tick_row(track, 1)->faults_background, 0);
	feed_memory(track, 1, 0, 0, 164);
	assert_int_equal(tick_row(track, 1)->faults_background, 3);
}

/*
 * Processes that end.
 */

static void exited_process_appears_once_and_vanishes(void **state)
{
	struct track *track = begin(state);
	const struct report_process *row;

	feed_process(track, 1, "brief", "/bin/brief");
	feed_memory(track, 1, 1000, 100, 5);
	(void)tick(track);
	feed_counter(track, 1, PS_REQUESTS, 3);
	feed_connections(track, 1, 3, 2);
	feed_exit(track, 1);
	row = tick_row(track, 1);
	assert_true(row->exited);
	assert_string_equal(row->comm, "brief");
	assert_int_equal(row->counters[PS_REQUESTS], 3);
	assert_int_equal(row->open, 0);
	assert_int_equal(row->closed, 3);
	assert_true(row->rss_bytes == REPORT_UNKNOWN);
	assert_true(row->rss_delta_bytes == REPORT_DELTA_UNKNOWN);
	assert_true(row->faults_background == REPORT_UNKNOWN);
	assert_null(row_of(tick(track), 1));
	assert_int_equal(track_report(track)->process_count, 0);
}

static void exited_process_has_nothing_open_whatever_comes_first(void **state)
{
	struct track *track = begin(state);
	const struct report_process *row;

	feed_exit(track, 1);
	feed_connections(track, 1, 3, 2);
	feed_memory(track, 1, 1000, 100, 5);
	row = tick_row(track, 1);
	assert_true(row->exited);
	assert_int_equal(row->open, 0);
	assert_int_equal(row->closed, 3);
	assert_true(row->rss_bytes == REPORT_UNKNOWN);
	assert_null(row_of(tick(track), 1));
}

static void process_that_exited_before_start_is_in_the_first_report(void **state)
{
	struct track *track = *state;

	feed_stream(track, false);
	feed_connections(track, 1, 0, 2);
	feed_exit(track, 1);
	feed_start(track);
	assert_true(tick_row(track, 1)->exited);
	assert_null(row_of(tick(track), 1));
}

/*
 * Routes.
 */

static void top_routes_are_listed_and_the_rest_is_other(void **state)
{
	struct track *track = begin(state);
	const struct report_process *row;

	feed_counter(track, 1, PS_REQUESTS_ROUTED, 100);
	feed_route(track, 1, "GET /c", 20);
	feed_route(track, 1, "GET /d", 15);
	feed_route(track, 1, "GET /a", 40);
	feed_route(track, 1, "GET /b", 20);
	feed_route(track, 1, "-", 5);
	row = tick_row(track, 1);
	assert_int_equal(row->route_count, 4);
	assert_route(row, 0, "GET /a", 40);
	assert_route(row, 1, "GET /b", 20);
	assert_route(row, 2, "GET /c", 20);
	assert_route(row, 3, "other", 20);
}

static void all_routes_are_listed_without_a_top(void **state)
{
	struct track *track = new_tracker(0, 10, 100);
	const struct report_process *row;
	char text[PS_ROUTE_BYTES];

	feed_stream(track, true);
	feed_start(track);
	feed_counter(track, 1, PS_REQUESTS_ROUTED, 50 * 51 / 2);
	for (unsigned i = 1; i <= 50; i++) {
		(void)snprintf(text, sizeof(text), "GET /%u", i);
		feed_route(track, 1, text, i);
	}
	row = tick_row(track, 1);
	assert_int_equal(row->route_count, 50);
	assert_route(row, 0, "GET /50", 50);
	assert_route(row, 49, "GET /1", 1);
	track_free(track);
}

static void routes_of_one_name_are_one_route(void **state)
{
	struct track *track = begin(state);
	const struct report_process *row;

	feed_counter(track, 1, PS_REQUESTS_ROUTED, 6);
	feed_route(track, 1, "GET http://host/x", 1);
	feed_route(track, 1, "GET /x?query", 2);
	feed_route(track, 1, "GET /x", 3);
	row = tick_row(track, 1);
	assert_int_equal(row->route_count, 1);
	assert_route(row, 0, "GET /x", 6);
}

static void routes_are_of_one_process_and_one_interval(void **state)
{
	struct track *track = begin(state);

	feed_counter(track, 1, PS_REQUESTS_ROUTED, 1);
	feed_counter(track, 2, PS_REQUESTS_ROUTED, 2);
	feed_route(track, 1, "GET /", 1);
	feed_route(track, 2, "GET /", 2);
	assert_route(tick_row(track, 1), 0, "GET /", 1);
	assert_route(row_of(track_report(track), 2), 0, "GET /", 2);
	assert_int_equal(tick_row(track, 1)->route_count, 0);
}

static void requests_without_a_route_are_other(void **state)
{
	struct track *track = begin(state);
	const struct report_process *row;

	feed_counter(track, 1, PS_REQUESTS_ROUTED, 10);
	feed_route(track, 1, "GET /", 4);
	row = tick_row(track, 1);
	assert_int_equal(row->route_count, 2);
	assert_route(row, 0, "GET /", 4);
	assert_route(row, 1, "other", 6);
	assert_int_equal(tick_row(track, 1)->route_count, 0);
}

/* Routes are read after the counters, so they may be of requests that were not counted yet. */
static void routes_ahead_of_requests_are_balanced_later(void **state)
{
	struct track *track = begin(state);
	const struct report_process *row;

	feed_counter(track, 1, PS_REQUESTS_ROUTED, 10);
	feed_route(track, 1, "GET /", 13);
	row = tick_row(track, 1);
	assert_int_equal(row->route_count, 1);
	assert_route(row, 0, "GET /", 13);
	feed_counter(track, 1, PS_REQUESTS_ROUTED, 5);
	feed_route(track, 1, "GET /", 1);
	row = tick_row(track, 1);
	assert_int_equal(row->route_count, 2);
	assert_route(row, 0, "GET /", 1);
	assert_route(row, 1, "other", 1);
}

static void routes_are_left_out_when_the_stream_has_none(void **state)
{
	struct track *track = *state;

	feed_stream(track, false);
	feed_start(track);
	feed_counter(track, 1, PS_REQUESTS_ROUTED, 10);
	feed_route(track, 1, "GET /", 10);
	assert_int_equal(tick_row(track, 1)->route_count, 0);
	assert_false(track_report(track)->routes);
}

/*
 * Bounds and losses.
 */

static void routes_beyond_the_cap_are_other(void **state)
{
	struct track *track = new_tracker(0, 10, 2);
	const struct report_process *row;

	feed_stream(track, true);
	feed_start(track);
	feed_counter(track, 1, PS_REQUESTS_ROUTED, 31);
	feed_route(track, 1, "GET /1", 1);
	feed_route(track, 1, "GET /2", 2);
	feed_route(track, 1, "GET /3", 4);
	feed_route(track, 1, "GET /4", 8);
	feed_route(track, 1, "GET /1", 16);
	row = tick_row(track, 1);
	assert_int_equal(row->route_count, 3);
	assert_route(row, 0, "GET /1", 17);
	assert_route(row, 1, "GET /2", 2);
	assert_route(row, 2, "other", 12);
	assert_true(track_report(track)->complete);
	track_free(track);
}

static void processes_beyond_the_cap_are_lost(void **state)
{
	struct track *track = new_tracker(3, 2, 10);
	const struct report *report;

	feed_stream(track, true);
	feed_start(track);
	for (unsigned pid = 1; pid <= 3; pid++)
		feed_counter(track, pid, PS_REQUESTS, pid);
	report = tick(track);
	assert_int_equal(report->process_count, 2);
	assert_non_null(row_of(report, 1));
	assert_non_null(row_of(report, 2));
	assert_int_equal(report->lost[PS_LOST_MAP_FULL], 1);
	assert_false(report->complete);
	feed_exit(track, 2);
	(void)tick(track);
	feed_counter(track, 3, PS_REQUESTS, 5);
	report = tick(track);
	assert_int_equal(row_of(report, 3)->counters[PS_REQUESTS], 5);
	assert_int_equal(report->lost[PS_LOST_MAP_FULL], 0);
	assert_true(report->complete);
	track_free(track);
}

static void losses_are_of_their_interval(void **state)
{
	struct track *track = begin(state);
	const struct report *report;

	feed_loss(track, 2, 0);
	feed_loss(track, 1, 5);
	report = tick(track);
	assert_int_equal(report->lost[PS_LOST_EVENTS], 3);
	assert_int_equal(report->lost[PS_LOST_MAP_FULL], 5);
	assert_false(report->complete);
	report = tick(track);
	assert_int_equal(report->lost[PS_LOST_EVENTS], 0);
	assert_true(report->complete);
}

static void loss_before_start_is_in_the_first_report(void **state)
{
	struct track *track = *state;

	feed_stream(track, false);
	feed_loss(track, 0, 4);
	feed_start(track);
	assert_int_equal(tick(track)->lost[PS_LOST_MAP_FULL], 4);
}

static void damaged_stream_is_never_complete_again(void **state)
{
	struct track *track = begin(state);

	assert_true(tick(track)->complete);
	track_damaged(track);
	assert_false(tick(track)->complete);
	assert_false(tick(track)->complete);
}

static void freeing_no_tracker_is_allowed(void **state)
{
	track_free(NULL);
}

/* Events may come from a forged recording: sums wrap, nothing else happens. */
static void extreme_numbers_do_no_harm(void **state)
{
	static const uint64_t extremes[] = {
		0, 1, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX - 1, UINT64_MAX};
	const size_t count = sizeof(extremes) / sizeof(extremes[0]);
	struct track *track = begin(state);
	struct event event = {.proc = {UINT64_MAX, UINT32_MAX, UINT32_MAX}};

	for (size_t i = 0; i < count * count * count; i++) {
		uint64_t a = extremes[i % count], b = extremes[i / count % count],
			 c = extremes[i / count / count];

		event.kind = EVENT_COUNTERS;
		for (int k = 0; k < PS_COUNTERS; k++)
			event.counters.delta[k] = a;
		event.counters.open = b;
		feed(track, &event);
		event.kind = EVENT_MEMORY;
		event.memory = (struct event_memory){a, b, c, a, b, c, a, b};
		feed(track, &event);
		event.kind = EVENT_ROUTE;
		event.route = (struct event_route){"GET /", c, a};
		feed(track, &event);
		event.kind = EVENT_LOSS;
		event.loss = (struct event_loss){{a, b}};
		feed(track, &event);
		event.kind = EVENT_TICK;
		event.tick = (struct event_tick){a, b, c, a, b, c, a};
		assert_int_equal(track_event(track, &event), 1);
		assert_int_equal(track_report(track)->process_count, 1);
	}
}

static void growing_processes_come_first(void **state)
{
	static const struct {
		unsigned pid;
		uint64_t before, now;
	} processes[] = {
		{1, 100, 100},
		{2, 100, 900},
		{3, 0, 800},
		{4, 900, 100},
		{5, 500, 500},
		{7, UNKNOWN, UNKNOWN},
		{6, UNKNOWN, UNKNOWN},
		{9, 40, 40},
		{8, 40, 40},
	};
	static const unsigned expected[] = {2, 3, 5, 1, 8, 9, 4, 6, 7};
	const size_t count = sizeof(expected) / sizeof(expected[0]);
	struct track *track = *state;
	const struct report *report;

	feed_stream(track, false);
	for (size_t i = 0; i < count; i++)
		feed_memory(track, processes[i].pid, 0, processes[i].before, 0);
	feed_start(track);
	for (size_t i = 0; i < count; i++)
		feed_memory(track, processes[i].pid, 0, processes[i].now, 0);
	report = tick(track);
	assert_int_equal(report->process_count, count);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(report->processes[i].key.tgid, expected[i]);
}

/*
 * The model. It keeps the events as they came, and answers every question about an interval by
 * reading them all again from the beginning. An interval's events lie in [from, to); what came
 * before START belongs to the first.
 */

#define MODEL_EVENTS    4000
#define MODEL_PIDS      6
#define MODEL_PROCESSES 4
#define MODEL_ROUTES    5
#define MODEL_TOP       2

struct model {
	struct event events[MODEL_EVENTS];
	size_t count;
	size_t start; /* index of START */
	size_t from;  /* of the interval under way */
};

/* Whether the cap let the event in: the processes known when it came are those before it. */
static bool model_taken(const struct model *model, size_t index)
{
	bool known[MODEL_PIDS] = {}, leaving[MODEL_PIDS] = {};
	size_t held = 0;

	for (size_t i = 0; i <= index; i++) {
		const struct event *event = &model->events[i];
		unsigned pid = event->proc.tgid;

		if (event->kind == EVENT_TICK) {
			for (pid = 0; pid < MODEL_PIDS; pid++) {
				held -= leaving[pid];
				known[pid] = known[pid] && !leaving[pid];
				leaving[pid] = false;
			}
		}
		if (event->kind < EVENT_PROCESS || event->kind > EVENT_EXITED)
			continue;
		if (!known[pid] && held == MODEL_PROCESSES) {
			if (i == index)
				return false;
			continue;
		}
		held += !known[pid];
		known[pid] = true;
		leaving[pid] = leaving[pid] || event->kind == EVENT_EXITED;
	}
	return true;
}

/* Removes what the cap kept out, so that the questions below need not ask. */
static uint64_t model_refuse(struct model *model, struct event *event)
{
	model->events[model->count++] = *event;
	if (event->kind < EVENT_PROCESS || event->kind > EVENT_EXITED ||
		model_taken(model, model->count - 1))
		return 0;
	model->count--;
	return 1;
}

/* Where the process's present life begins: behind the TICK of the interval in which it exited. */
static size_t model_birth(const struct model *model, unsigned pid)
{
	size_t birth = 0;
	bool leaving = false;

	for (size_t i = 0; i < model->from; i++) {
		const struct event *event = &model->events[i];

		if (event->kind == EVENT_EXITED && event->proc.tgid == pid)
			leaving = true;
		if (event->kind == EVENT_TICK && leaving) {
			birth = i + 1;
			leaving = false;
		}
	}
	return birth;
}

/* The next event of a kind and process at or after `at`; the end if there is none. */
static size_t model_next(
	const struct model *model, size_t at, size_t end, unsigned pid, enum event_kind kind)
{
	while (at < end && (model->events[at].kind != kind || model->events[at].proc.tgid != pid))
		at++;
	return at;
}

#define MODEL_EACH(at, model, from, end, pid, kind)                                                \
	for (size_t at = model_next(model, from, end, pid, kind); at < (end);                      \
		at = model_next(model, at + 1, end, pid, kind))

static uint64_t model_sum(
	const struct model *model, size_t from, size_t end, unsigned pid, enum ps_counter what)
{
	uint64_t sum = 0;

	MODEL_EACH(i, model, from, end, pid, EVENT_COUNTERS)
	sum += model->events[i].counters.delta[what];
	return sum;
}

static bool model_exited(const struct model *model, size_t from, size_t end, unsigned pid)
{
	return model_next(model, from, end, pid, EVENT_EXITED) < end;
}

static bool model_seen(const struct model *model, size_t from, size_t end, unsigned pid)
{
	for (size_t i = from; i < end; i++)
		if (model->events[i].kind >= EVENT_PROCESS &&
			model->events[i].kind <= EVENT_EXITED && model->events[i].proc.tgid == pid)
			return true;
	return false;
}

/* Connections open after the events up to `end`. */
static int64_t model_open(const struct model *model, size_t birth, size_t end, unsigned pid)
{
	int64_t open = 0;

	if (model_exited(model, birth, end, pid))
		return 0;
	MODEL_EACH(i, model, birth, end, pid, EVENT_COUNTERS)
	open = model->events[i].counters.open;
	return open;
}

/* Connections opened so far and no longer open. */
static int64_t model_gone(const struct model *model, size_t birth, size_t end, unsigned pid)
{
	int64_t gone = 0;

	MODEL_EACH(i, model, birth, end, pid, EVENT_COUNTERS)
	{
		if (i < model->start)
			gone = model->events[i].counters.open;
		else
			gone += model->events[i].counters.delta[PS_CONNECTIONS_OPENED];
	}
	return gone - model_open(model, birth, end, pid);
}

/* Faults since the first reading that no window explains; -1 if that is not known. */
static int64_t model_unexplained(const struct model *model, size_t birth, size_t end, unsigned pid)
{
	size_t first = birth, last = end;

	while (first < end && (model->events[first].kind != EVENT_MEMORY ||
				      model->events[first].proc.tgid != pid ||
				      model->events[first].memory.faults == UNKNOWN))
		first++;
	MODEL_EACH(i, model, first, end, pid, EVENT_MEMORY)
	last = i;
	if (last == end || model->events[last].memory.faults == UNKNOWN ||
		model_exited(model, birth, end, pid))
		return -1;
	return model->events[last].memory.faults - model->events[first].memory.faults -
	       model_sum(model, first, end, pid, PS_FAULTS_IN_REQUESTS) -
	       model_sum(model, first, end, pid, PS_FAULTS_OVERLAPPING);
}

typedef int64_t (*model_total)(const struct model *, size_t birth, size_t end, unsigned pid);

/* The most that a total has reached at the TICKs so far, without the one under way. */
static int64_t model_highest(
	const struct model *model, size_t birth, unsigned pid, model_total total_of)
{
	int64_t highest = 0;

	for (size_t i = birth; i < model->from; i++) {
		int64_t total;

		if (model->events[i].kind != EVENT_TICK)
			continue;
		total = total_of(model, birth, i, pid);
		highest = total > highest ? total : highest;
	}
	return highest;
}

static uint64_t model_growth(
	const struct model *model, size_t birth, unsigned pid, model_total total_of)
{
	int64_t highest = model_highest(model, birth, pid, total_of);
	int64_t total = total_of(model, birth, model->count, pid);

	return total > highest ? total - highest : 0;
}

/* Memory at the interval's end and before it: the reading before the interval, or its first. */
static bool model_memory(const struct model *model, size_t birth, unsigned pid,
	struct event_memory *ret_before, struct event_memory *ret_now)
{
	size_t before = model->count, now = model->count;

	MODEL_EACH(i, model, birth, model->count, pid, EVENT_MEMORY)
	{
		if (i < model->from || before == model->count ||
			model->events[before].memory.rss_bytes == UNKNOWN)
			before = i;
		now = i;
	}
	if (now == model->count)
		return false;
	*ret_before = model->events[before].memory;
	*ret_now = model->events[now].memory;
	return true;
}

static const char *const route_texts[MODEL_ROUTES] = {"GET /a", "GET /b", "GET /c", "POST /a", "-"};

static uint64_t model_route(
	const struct model *model, size_t from, size_t end, unsigned pid, const char *text)
{
	uint64_t requests = 0;

	MODEL_EACH(i, model, from, end, pid, EVENT_ROUTE)
	if (strcmp(model->events[i].route.text, text) == 0)
		requests += model->events[i].route.requests;
	return requests;
}

static uint64_t model_all_routes(const struct model *model, size_t from, size_t end, unsigned pid)
{
	uint64_t requests = 0;

	for (int i = 0; i < MODEL_ROUTES; i++)
		requests += model_route(model, from, end, pid, route_texts[i]);
	return requests;
}

/* Requests that were routed and that no listed route and no `other` so far has named. */
static int64_t model_unnamed(const struct model *model, size_t birth, size_t end, unsigned pid)
{
	return model_sum(model, birth, end, pid, PS_REQUESTS_ROUTED) -
	       model_all_routes(model, birth, end, pid);
}

/*
 * Comparing.
 */

static void check(bool agrees, uint64_t seed, unsigned pid, const char *what)
{
	if (!agrees)
		fail_msg("seed %lu, process %u: %s", (unsigned long)seed, pid, what);
}

static int64_t difference(uint64_t before, uint64_t now)
{
	return before == UNKNOWN || now == UNKNOWN ? REPORT_DELTA_UNKNOWN : (int64_t)(now - before);
}

static void compare_memory(const struct model *model, const struct report_process *row,
	size_t birth, unsigned pid, uint64_t seed)
{
	struct event_memory before = {
		UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN};
	struct event_memory now = before;

	if (!row->exited)
		(void)model_memory(model, birth, pid, &before, &now);
	check(row->rss_bytes == now.rss_bytes, seed, pid, "rss");
	check(row->anon_bytes == now.anon_bytes, seed, pid, "anon");
	check(row->lazyfree_bytes == now.lazyfree_bytes, seed, pid, "lazyfree");
	check(row->swap_bytes == now.swap_bytes, seed, pid, "swap");
	check(row->rss_delta_bytes == difference(before.rss_bytes, now.rss_bytes), seed, pid,
		"growth of rss");
	check(row->anon_delta_bytes == difference(before.anon_bytes, now.anon_bytes), seed, pid,
		"growth of anon");
}

static void compare_routes(const struct model *model, const struct report_process *row,
	size_t birth, unsigned pid, uint64_t seed)
{
	uint64_t listed = 0, total = model_growth(model, birth, pid, model_unnamed) +
				     model_all_routes(model, model->from, model->count, pid);
	size_t count = row->route_count;
	bool other = count && strcmp(row->routes[count - 1].text, "other") == 0;

	check(count - other <= MODEL_TOP, seed, pid, "more routes than the top");
	for (size_t i = 0; i < count; i++) {
		listed += row->routes[i].requests;
		if (i == count - 1 && other)
			break;
		check(row->routes[i].requests == model_route(model, model->from, model->count, pid,
							 row->routes[i].text),
			seed, pid, row->routes[i].text);
		check(!i || row->routes[i - 1].requests >= row->routes[i].requests, seed, pid,
			"order of routes");
	}
	for (int k = 0; k < MODEL_ROUTES; k++) {
		uint64_t requests =
			model_route(model, model->from, model->count, pid, route_texts[k]);
		bool shown = !requests;

		for (size_t i = 0; i < count; i++)
			shown = shown || row->routes[i].requests >= requests;
		check(shown || count - other == MODEL_TOP, seed, pid, "a route is missing");
	}
	check(listed == total, seed, pid, "sum of routes");
}

static void compare_row(
	const struct model *model, const struct report_process *row, unsigned pid, uint64_t seed)
{
	size_t birth = model_birth(model, pid);
	int64_t unexplained = model_unexplained(model, birth, model->count, pid);

	check(row->exited == model_exited(model, birth, model->count, pid), seed, pid, "exited");
	for (int i = 0; i < PS_COUNTERS; i++)
		check(row->counters[i] == model_sum(model, model->from, model->count, pid, i), seed,
			pid, "counters");
	check(row->open == (uint64_t)model_open(model, birth, model->count, pid), seed, pid,
		"open");
	check(row->closed == model_growth(model, birth, pid, model_gone), seed, pid, "closed");
	compare_memory(model, row, birth, pid, seed);
	compare_routes(model, row, birth, pid, seed);
	if (row->faults_background == REPORT_UNKNOWN)
		check(unexplained < 0, seed, pid, "background is known");
	else
		check(row->faults_background == model_growth(model, birth, pid, model_unexplained),
			seed, pid, "background");
}

static bool comes_before(const struct report_process *a, const struct report_process *b)
{
	bool a_known = a->anon_bytes != REPORT_UNKNOWN, b_known = b->anon_bytes != REPORT_UNKNOWN;

	if (a->anon_delta_bytes != b->anon_delta_bytes)
		return a->anon_delta_bytes > b->anon_delta_bytes;
	if (a_known != b_known)
		return a_known;
	if (a_known && a->anon_bytes != b->anon_bytes)
		return a->anon_bytes > b->anon_bytes;
	return a->key.tgid < b->key.tgid;
}

static void compare(
	const struct model *model, const struct report *report, uint64_t refused, uint64_t seed)
{
	size_t rows = 0;

	for (unsigned pid = 0; pid < MODEL_PIDS; pid++) {
		const struct report_process *row = row_of(report, pid);
		bool expected = model_seen(model, model_birth(model, pid), model->count, pid);

		check(expected == (row != NULL), seed, pid, "is in the report");
		if (!row)
			continue;
		rows++;
		compare_row(model, row, pid, seed);
	}
	check(report->process_count == rows, seed, 0, "count of processes");
	check(report->lost[PS_LOST_MAP_FULL] == refused, seed, 0, "loss");
	check(report->complete == !refused, seed, 0, "complete");
	for (size_t i = 1; i < report->process_count; i++)
		check(comes_before(&report->processes[i - 1], &report->processes[i]), seed, 0,
			"order of processes");
}

/*
 * Random streams.
 */

static uint64_t random_bytes(struct seeded *seeded)
{
	return 4096 * seeded_below(seeded, seeded_once_in(seeded, 2) ? 4 : 1000);
}

static void random_counters(struct seeded *seeded, struct event_counters *counters)
{
	for (int i = 0; i < PS_COUNTERS; i++)
		counters->delta[i] = seeded_once_in(seeded, 3) ? seeded_below(seeded, 20) : 0;
	/* A sum may wrap; what is subtracted from other readings stays possible. */
	if (seeded_once_in(seeded, 5))
		counters->delta[PS_MMAP_BYTES] = UINT64_MAX - seeded_below(seeded, 3);
	counters->open = seeded_below(seeded, 30);
}

static struct event random_event(struct seeded *seeded)
{
	static const enum event_kind kinds[] = {EVENT_PROCESS, EVENT_COUNTERS, EVENT_COUNTERS,
		EVENT_COUNTERS, EVENT_ROUTE, EVENT_ROUTE, EVENT_ROUTE, EVENT_MEMORY, EVENT_MEMORY,
		EVENT_MEMORY};
	struct event event = {
		.kind = seeded_once_in(seeded, 40)
				? EVENT_EXITED
				: kinds[seeded_below(seeded, sizeof(kinds) / sizeof(kinds[0]))],
		.proc = process_key(seeded_below(seeded, MODEL_PIDS)),
	};

	if (event.kind == EVENT_COUNTERS) {
		random_counters(seeded, &event.counters);
	} else if (event.kind == EVENT_ROUTE) {
		event.route.requests = seeded_below(seeded, 12);
		(void)snprintf(event.route.text, sizeof(event.route.text), "%s",
			route_texts[seeded_below(seeded, MODEL_ROUTES)]);
	} else if (event.kind == EVENT_MEMORY && seeded_once_in(seeded, 10)) {
		event.memory = (struct event_memory){
			UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN};
	} else if (event.kind == EVENT_MEMORY) {
		event.memory = (struct event_memory){random_bytes(seeded), random_bytes(seeded),
			seeded_once_in(seeded, 2) ? UNKNOWN : random_bytes(seeded),
			random_bytes(seeded), 1000 + seeded_below(seeded, 500),
			random_bytes(seeded), random_bytes(seeded), random_bytes(seeded)};
	}
	return event;
}

static uint64_t play(struct track *track, struct model *model, struct seeded *seeded)
{
	uint64_t refused = 0;

	for (uint64_t left = seeded_below(seeded, 40); left; left--) {
		struct event event = random_event(seeded);

		feed(track, &event);
		refused += model_refuse(model, &event);
	}
	return refused;
}

static void play_stream(uint64_t seed)
{
	struct track *track = new_tracker(MODEL_TOP, MODEL_PROCESSES, MODEL_ROUTES);
	struct model *model = calloc(1, sizeof(*model));
	struct seeded seeded = {seed};
	struct event event = {.kind = EVENT_START};
	uint64_t refused;

	assert_non_null(model);
	feed_stream(track, true);
	refused = play(track, model, &seeded);
	feed(track, &event);
	model->start = model->count;
	(void)model_refuse(model, &event);
	event.kind = EVENT_TICK;
	for (int interval = 0; interval < 12; interval++) {
		refused += play(track, model, &seeded);
		compare(model, tick(track), refused, seed);
		(void)model_refuse(model, &event);
		model->from = model->count;
		refused = 0;
	}
	free(model);
	track_free(track);
}

static void random_streams_agree_with_the_model(void **state)
{
	for (uint64_t seed = 1; seed <= 400; seed++)
		play_stream(seed);
}

/* Whatever the order in which they were read: at the end the routes name every routed request. */
static void routes_and_routed_requests_agree_in_total(void **state)
{
	for (uint64_t seed = 1; seed <= 200; seed++) {
		struct track *track = new_tracker(1, 2, 3);
		struct seeded seeded = {seed};
		uint64_t routed = 0, pending = 0, listed = 0;

		feed_stream(track, true);
		feed_start(track);
		for (int interval = 0; interval < 30; interval++) {
			uint64_t fresh = interval == 29 ? 0 : seeded_below(&seeded, 9);
			const struct report_process *row;

			feed_counter(track, 1, PS_REQUESTS_ROUTED, pending + fresh);
			routed += pending + fresh;
			pending = interval == 29 ? 0 : seeded_below(&seeded, 5);
			for (uint64_t left = fresh + pending; left; left--)
				feed_route(track, 1, route_texts[seeded_below(&seeded, 5)], 1);
			row = tick_row(track, 1);
			for (size_t i = 0; i < row->route_count; i++)
				listed += row->routes[i].requests;
		}
		check(listed == routed, seed, 1, "sum of routes over the stream");
		track_free(track);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(there_is_no_report_before_the_first_tick),
		TEST(report_tells_of_stream_and_tick),
		TEST(own_cpu_time_is_of_the_interval),
		TEST(the_programs_time_is_of_intervals_that_are_accounted_whole),
		TEST(interval_sums_its_counters),
		TEST(interval_starts_over_after_its_report),
		TEST(quiet_process_stays_in_the_report),
		TEST(process_may_call_itself_something_else),
		TEST(reused_pid_is_another_process),
		TEST(notes_are_told_in_every_report),
		TEST(endless_notes_are_bounded),
		TEST(memory_at_start_is_the_baseline),
		TEST(memory_changes_since_the_report_before),
		TEST(new_process_has_not_grown_by_its_first_reading),
		TEST(memory_nobody_could_read_is_unknown),
		TEST(memory_that_becomes_unreadable_has_no_growth),
		TEST(open_connections_at_start_were_opened_by_nobody),
		TEST(what_was_opened_and_is_not_open_was_closed),
		TEST(connection_open_before_it_was_opened_settles),
		TEST(closed_connections_never_come_back),
		TEST(faults_that_no_request_explains_are_background),
		TEST(faults_before_the_first_reading_are_not_background),
		TEST(background_faults_settle_and_never_shrink),
		TEST(exited_process_appears_once_and_vanishes),
		TEST(exited_process_has_nothing_open_whatever_comes_first),
		TEST(process_that_exited_before_start_is_in_the_first_report),
		TEST(top_routes_are_listed_and_the_rest_is_other),
		TEST(all_routes_are_listed_without_a_top),
		TEST(routes_of_one_name_are_one_route),
		TEST(routes_are_of_one_process_and_one_interval),
		TEST(requests_without_a_route_are_other),
		TEST(routes_ahead_of_requests_are_balanced_later),
		TEST(routes_are_left_out_when_the_stream_has_none),
		TEST(routes_beyond_the_cap_are_other),
		TEST(processes_beyond_the_cap_are_lost),
		TEST(losses_are_of_their_interval),
		TEST(loss_before_start_is_in_the_first_report),
		TEST(damaged_stream_is_never_complete_again),
		TEST(freeing_no_tracker_is_allowed),
		TEST(extreme_numbers_do_no_harm),
		TEST(growing_processes_come_first),
		TEST(random_streams_agree_with_the_model),
		TEST(routes_and_routed_requests_agree_in_total),
#undef TEST
	};

	return cmocka_run_group_tests_name("track", tests, NULL, NULL);
}
