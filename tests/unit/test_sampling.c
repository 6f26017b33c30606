/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What sampling says of all pages, against a history whose truth is known: routes that keep pages,
 * that touch the same ones again and again, that give them back at known ages, that have them
 * swapped or freed lazily. The tracker is told of one page in 2^level, with many seeds: intervals
 * must hold the truth as often as they claim, and values must not lean to one side.
 *
 * Run by hand with a number of seeds as its argument, it prints each figure's coverage.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pagestay/core/track.h"

#define NS_PER_MS  1000000ull
#define STEP_MS    500
#define TICK_MS    20000
#define BUSY_MS    40000  /* requests come before */
#define LAST_MS    120000 /* all of them are older then than any age that is looked at */
#define PAGE_BYTES 4096
#define NEVER      INT32_MAX

/*
 * The history. What a request of a route does with one range of pages is alike for all of them, so
 * the truth is known by ranges.
 */

enum fate {
	STAYS,
	DROPPED,
	SWAPPED,
	FREED,
};

struct part {
	uint64_t base;   /* the first page of the first range */
	unsigned pages;  /* of a range */
	unsigned ranges; /* request n touches range n % ranges */
	enum fate fate;
	int drop_ms; /* DROPPED: after the request's end */
};

#define PARTS 3
#define FRESH 1000000 /* ranges: each request touches one of its own */

static const struct {
	const char *text;
	int every_ms;
	struct part parts[PARTS];
} routes[] = {
	{"GET /keep", 1000, {{0x10000, 1000, FRESH, STAYS, 0}}},
	{"GET /again", 3000, {{0x1000000, 9000, 2, STAYS, 0}}},
	{"GET /drop", 2000,
		{{0x2000000, 700, FRESH, DROPPED, 500}, {0x2100000, 700, FRESH, DROPPED, 5000},
			{0x2200000, 1000, FRESH, DROPPED, 30000}}},
	{"POST /aside", 2000,
		{{0x3000000, 700, FRESH, SWAPPED, 0}, {0x3100000, 700, FRESH, FREED, 0},
			{0x3200000, 1000, FRESH, STAYS, 0}}},
	{"GET /mixed", 2000,
		{{0x4000000, 1500, FRESH, STAYS, 0}, {0x4100000, 6000, 2, DROPPED, 500},
			{0x4200000, 600, FRESH, DROPPED, 20000}}},
};

#define ROUTES (sizeof(routes) / sizeof(routes[0]))

/* One request's touches of one range. */
struct touch {
	unsigned route, request;
	uint64_t page, pages;
	int at_ms, died_ms; /* the request ends as soon as it has touched */
	enum fate fate;
};

#define MAX_TOUCHES 1000

static struct touch touches[MAX_TOUCHES];
static size_t touch_count;

static void touch_add(unsigned route, unsigned request, const struct part *part, int at_ms)
{
	struct touch touch = {
		.route = route,
		.request = request,
		.page = part->base + (uint64_t)(request % part->ranges) * part->pages,
		.pages = part->pages,
		.at_ms = at_ms,
		.died_ms = part->fate == DROPPED ? at_ms + part->drop_ms : NEVER,
		.fate = part->fate,
	};

	for (size_t i = 0; i < touch_count; i++)
		if (touches[i].page == touch.page && touches[i].died_ms > at_ms)
			touches[i].died_ms = at_ms;
	assert_true(touch_count < MAX_TOUCHES);
	touches[touch_count++] = touch;
}

static void history_make(void)
{
	touch_count = 0;
	for (int at_ms = STEP_MS; at_ms < BUSY_MS; at_ms += STEP_MS)
		for (unsigned i = 0; i < ROUTES; i++)
			for (int j = 0; at_ms % routes[i].every_ms == 0 && j < PARTS; j++)
				if (routes[i].parts[j].pages)
					touch_add(i, at_ms / routes[i].every_ms,
						&routes[i].parts[j], at_ms);
}

/*
 * Telling it to a tracker.
 */

#define PID 7

static int feed(struct track *track, struct event event)
{
	event.proc = (struct ps_proc_key){.tgid = PID, .start_ns = 1};
	return track_event(track, &event);
}

static void feed_page(struct track *track, enum ps_page_kind kind, const struct touch *touch)
{
	struct event event = {.kind = EVENT_PAGE,
		.page = {.kind = kind,
			.place = PS_IN_WINDOW,
			.tid = touch->route + 1,
			.page = touch->page,
			.pages = touch->pages,
			.set = (uint64_t)touch->at_ms * NS_PER_MS}};

	event.page.at_ns =
		(uint64_t)(kind == PS_PAGE_DROPPED ? touch->died_ms : touch->at_ms) * NS_PER_MS;
	if (kind == PS_PAGE_ENDED)
		event.page.to = touch->route + 1;
	assert_int_equal(feed(track, event), 0);
}

static void feed_touches(struct track *track, int now_ms)
{
	for (size_t i = 0; i < touch_count; i++)
		if (touches[i].died_ms == now_ms && touches[i].fate == DROPPED)
			feed_page(track, PS_PAGE_DROPPED, &touches[i]);
	for (size_t i = 0; i < touch_count; i++) {
		if (touches[i].at_ms != now_ms)
			continue;
		feed_page(track, PS_PAGE_TOUCHED, &touches[i]);
		if (touches[i].fate == FREED)
			feed_page(track, PS_PAGE_FREED, &touches[i]);
		if (i + 1 == touch_count || touches[i + 1].route != touches[i].route ||
			touches[i + 1].at_ms != now_ms)
			feed_page(track, PS_PAGE_ENDED, &touches[i]);
	}
}

static bool is_there(const struct touch *touch, int now_ms)
{
	return touch->at_ms <= now_ms && touch->died_ms > now_ms;
}

static int by_page(const void *a, const void *b)
{
	const struct touch *left = *(struct touch *const *)a, *right = *(struct touch *const *)b;

	return (left->page > right->page) - (left->page < right->page);
}

/* A pass: what is there, in ascending order. */
static void feed_pass(struct track *track, int now_ms)
{
	static const struct touch *there[MAX_TOUCHES];
	size_t count = 0;
	uint64_t at = 0;

	for (size_t i = 0; i < touch_count; i++)
		if (is_there(&touches[i], now_ms))
			there[count++] = &touches[i];
	qsort(there, count, sizeof(there[0]), by_page);
	for (size_t i = 0; i <= count; i += EVENT_RUNS) {
		struct event event = {.kind = EVENT_RESIDENT,
			.resident = {.began_ns = now_ms * NS_PER_MS, .from = at}};

		for (size_t j = 0; j < EVENT_RUNS && i + j < count; j++) {
			const struct touch *touch = there[i + j];

			event.resident.runs[2 * j] = touch->page - at;
			event.resident.runs[2 * j + 1] =
				2 * touch->pages + (touch->fate == SWAPPED);
			at = touch->page + touch->pages;
		}
		event.resident.to = i + EVENT_RUNS > count ? UINT64_MAX : at;
		assert_int_equal(feed(track, event), 0);
	}
}

/* And always one more that touches nothing: a route without requests is not in the report. */
static uint64_t requests_between(unsigned route, int from_ms, int until_ms)
{
	int every_ms = routes[route].every_ms;
	int last_ms = until_ms < BUSY_MS ? until_ms : BUSY_MS - STEP_MS;

	return last_ms < from_ms ? 1 : last_ms / every_ms - from_ms / every_ms + 1;
}

static const struct report *feed_tick(struct track *track, int now_ms)
{
	struct event counters = {.kind = EVENT_COUNTERS};
	struct event memory = {.kind = EVENT_MEMORY};
	struct event tick = {.kind = EVENT_TICK,
		.tick = {.now_ns = now_ms * NS_PER_MS, .interval_ns = TICK_MS * NS_PER_MS}};

	feed_pass(track, now_ms);
	for (size_t i = 0; i < ROUTES; i++) {
		struct event route = {.kind = EVENT_ROUTE, .route = {.hash = i + 1}};

		route.route.requests = requests_between(i, now_ms - TICK_MS, now_ms);
		(void)snprintf(route.route.text, sizeof(route.route.text), "%s", routes[i].text);
		assert_int_equal(feed(track, route), 0);
		counters.counters.delta[PS_REQUESTS] += route.route.requests;
		counters.counters.delta[PS_REQUESTS_ROUTED] += route.route.requests;
	}
	for (size_t i = 0; i < touch_count; i++)
		if (touches[i].fate == FREED && is_there(&touches[i], now_ms))
			memory.memory.lazyfree_bytes += touches[i].pages * PAGE_BYTES;
	assert_int_equal(feed(track, counters), 0);
	assert_int_equal(feed(track, memory), 0);
	assert_int_equal(feed(track, tick), 1);
	return track_report(track);
}

/*
 * Figures: of the process, then of each route.
 */

enum figure_kind {
	TOUCHED,
	KEPT,
	SURVIVAL_1,
	SURVIVAL_10,
	SURVIVAL_60,
	KINDS,
};

static const char *const kind_names[] = {"touched", "kept", "at 1 s", "at 10 s", "at 60 s"};

#define SCOPES  (1 + ROUTES)
#define FIGURES (SCOPES * KINDS)

struct interval {
	double value, low, high;
};

static const char *scope_name(size_t scope)
{
	return scope ? routes[scope - 1].text : "process";
}

static bool is_of(const struct touch *touch, size_t scope)
{
	return scope == 0 || touch->route == scope - 1;
}

/* Touched pages are those of the first interval. */
static bool is_touched_then(const struct touch *touch)
{
	return touch->at_ms <= TICK_MS;
}

static double truth_of(size_t scope, enum figure_kind kind)
{
	static const int ages_ms[] = {1000, 10000, 60000};
	double all = 0, kept = 0;

	for (size_t i = 0; i < touch_count; i++) {
		const struct touch *touch = &touches[i];

		if (!is_of(touch, scope))
			continue;
		if (kind == TOUCHED) {
			kept += is_touched_then(touch) ? touch->pages : 0;
		} else if (kind == KEPT) {
			if (touch->died_ms == NEVER && touch->fate == STAYS)
				kept += touch->pages;
		} else if (touch->fate != SWAPPED) {
			all += touch->pages;
			if (touch->fate != FREED &&
				touch->died_ms - touch->at_ms >= ages_ms[kind - SURVIVAL_1])
				kept += touch->pages;
		}
	}
	return kind < SURVIVAL_1 ? kept : kept / all;
}

static const struct report_retention *retention_of(const struct report *report, size_t scope)
{
	const struct report_process *process = &report->processes[0];

	assert_int_equal(report->process_count, 1);
	if (scope == 0)
		return &process->retention;
	for (size_t i = 0; i < process->route_count; i++)
		if (strcmp(process->routes[i].text, routes[scope - 1].text) == 0)
			return &process->routes[i].retention;
	fail_msg("no route %s", routes[scope - 1].text);
	return NULL;
}

static struct interval pages_figure(const struct report_pages *pages)
{
	return (struct interval){pages->value, pages->low, pages->high};
}

static void figures_read(const struct report *report, bool last, struct interval *ret_figures)
{
	for (size_t scope = 0; scope < SCOPES; scope++) {
		const struct report_retention *retention = retention_of(report, scope);
		struct interval *figures = &ret_figures[scope * KINDS];

		if (!last) {
			figures[TOUCHED] = pages_figure(&retention->touched);
			continue;
		}
		figures[KEPT] = pages_figure(&retention->kept);
		for (int i = 0; i < 3; i++)
			figures[SURVIVAL_1 + i] = (struct interval){retention->survival[i].ratio,
				retention->survival[i].low, retention->survival[i].high};
	}
}

struct sampling {
	uint64_t level; /* 0..; from the beginning */
	unsigned max_pages;
};

/* Plays the history once. Returns the ratio that it ended with. */
static double play(const struct sampling *sampling, uint64_t seed, struct interval *ret_figures)
{
	const struct track_options options = {.source = "test",
		.max_processes = 1,
		.max_routes = 100,
		.max_pages = sampling->max_pages};
	struct event stream = {.kind = EVENT_STREAM,
		.stream = {.detail = "pages",
			.routes = 1,
			.page_bytes = PAGE_BYTES,
			.page_seed = seed}};
	struct event start = {.kind = EVENT_START};
	struct event level = {.kind = EVENT_LEVEL, .level = {sampling->level}};
	struct track *track = NULL;
	double ratio = 0;

	assert_int_equal(track_new(&options, &track), 0);
	assert_int_equal(track_event(track, &stream), 0);
	if (sampling->level)
		assert_int_equal(feed(track, level), 0);
	assert_int_equal(track_event(track, &start), 0);
	for (int now_ms = STEP_MS; now_ms <= LAST_MS; now_ms += STEP_MS) {
		feed_touches(track, now_ms);
		if (now_ms % TICK_MS == 0) {
			const struct report *report = feed_tick(track, now_ms);

			ratio = report->processes[0].sample_ratio;
			if (now_ms == TICK_MS || now_ms == LAST_MS)
				figures_read(report, now_ms == LAST_MS, ret_figures);
		}
	}
	track_free(track);
	return ratio;
}

/*
 * What many seeds add up to.
 */

struct coverage {
	double truth, sum, squares;
	unsigned held;
};

/*
 * At least 93 of 100 must hold. With 100 seeds, one of so many figures would miss that by chance
 * alone, so there are more.
 */
static unsigned seeds = 300;
static bool verbose;

static void coverage_take(struct coverage *coverage, const struct interval *figures)
{
	for (size_t i = 0; i < FIGURES; i++) {
		double truth = coverage[i].truth;

		assert_true(figures[i].low <= figures[i].value);
		assert_true(figures[i].value <= figures[i].high);
		coverage[i].held += figures[i].low <= truth && truth <= figures[i].high;
		coverage[i].sum += figures[i].value - truth;
		coverage[i].squares += (figures[i].value - truth) * (figures[i].value - truth);
	}
}

static double spread_of(const struct coverage *coverage)
{
	double mean = coverage->sum / seeds;

	return sqrt(fmax(coverage->squares / seeds - mean * mean, 0));
}

/* In standard errors of the mean. */
static double lean_of(const struct coverage *coverage)
{
	double spread = spread_of(coverage);

	return spread > 0 ? coverage->sum / sqrt(seeds) / spread : coverage->sum;
}

/* A share of one estimate in another leans a little, as such shares do: not so that it matters. */
static bool is_upright(const struct coverage *coverage, enum figure_kind kind)
{
	double mean = coverage->sum / seeds;

	return fabs(lean_of(coverage)) <= 3 ||
	       (kind >= SURVIVAL_1 && fabs(mean) <= spread_of(coverage) / 10);
}

static void coverage_judge(const struct coverage *coverage)
{
	unsigned bad = 0;

	for (size_t i = 0; i < FIGURES; i++) {
		double held = (double)coverage[i].held / seeds, lean = lean_of(&coverage[i]);
		bool good = held >= 0.93 && is_upright(&coverage[i], i % KINDS);

		bad += !good;
		if (verbose || !good)
			print_message("%-12s %-8s truth %10.4f held %.4f lean %+.2f sd %.4f\n",
				scope_name(i / KINDS), kind_names[i % KINDS], coverage[i].truth,
				held, lean, spread_of(&coverage[i]));
	}
	assert_int_equal(bad, 0);
}

static void intervals_hold_the_truth(const struct sampling *sampling)
{
	struct coverage coverage[FIGURES] = {};

	for (size_t i = 0; i < FIGURES; i++)
		coverage[i].truth = truth_of(i / KINDS, i % KINDS);
	for (uint64_t seed = 1; seed <= seeds; seed++) {
		struct interval figures[FIGURES];

		assert_true(play(sampling, seed * 0x9e3779b97f4a7c15ull, figures) < 1);
		coverage_take(coverage, figures);
	}
	coverage_judge(coverage);
}

static void every_figure_is_exact_with_every_page(void **state)
{
	const struct sampling sampling = {0, 10000000};
	struct interval figures[FIGURES];

	assert_true(play(&sampling, 1, figures) == 1);
	for (size_t i = 0; i < FIGURES; i++) {
		double truth = truth_of(i / KINDS, i % KINDS);

		if (fabs(figures[i].value - truth) > 1e-12)
			fail_msg("%s %s: %f, not %f", scope_name(i / KINDS), kind_names[i % KINDS],
				figures[i].value, truth);
		assert_true(figures[i].low == figures[i].value);
		assert_true(figures[i].high == figures[i].value);
	}
}

static void intervals_hold_the_truth_at_one_page_in_16(void **state)
{
	intervals_hold_the_truth(&(struct sampling){4, 10000000});
}

static void intervals_hold_the_truth_at_one_page_in_256(void **state)
{
	intervals_hold_the_truth(&(struct sampling){8, 10000000});
}

static void intervals_hold_the_truth_where_the_cap_raises_the_level(void **state)
{
	intervals_hold_the_truth(&(struct sampling){0, 15000});
}

static void intervals_hold_the_truth_where_the_cap_raises_it_further(void **state)
{
	intervals_hold_the_truth(&(struct sampling){3, 2000});
}

static int setup(void **state)
{
	history_make();
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_figure_is_exact_with_every_page),
		cmocka_unit_test(intervals_hold_the_truth_at_one_page_in_16),
		cmocka_unit_test(intervals_hold_the_truth_at_one_page_in_256),
		cmocka_unit_test(intervals_hold_the_truth_where_the_cap_raises_the_level),
		cmocka_unit_test(intervals_hold_the_truth_where_the_cap_raises_it_further),
	};

	if (argc > 1) {
		seeds = strtoul(argv[1], NULL, 10);
		verbose = true;
	}
	return cmocka_run_group_tests(tests, setup, NULL);
}
