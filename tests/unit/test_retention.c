/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whose each page is and what became of it: examples first, then random histories against a model
 * that remembers every touch and works each number out anew from all of them.
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

#include "pagestay/core/pageset.h"
#include "pagestay/core/retention.h"
#include "seeded.h"

#define MS      1000000ull
#define UNKNOWN REPORT_UNKNOWN
#define ALL     UINT64_MAX
#define PAGE    0x1000ull /* a page number to begin with */
#define BYTES   4096
#define HASH    77 /* of the one route that most examples need */
#define ROUTE   "GET /a"
#define MANY    (1u << 20)

/*
 * Events, short enough to read a test as a history. Times are milliseconds.
 */

static void feed(struct retention *retention, struct ps_page event)
{
	assert_int_equal(retention_page(retention, &event), 0);
}

static void touch_at(struct retention *retention, enum ps_place place, uint32_t tid, uint64_t set,
	uint64_t page, uint64_t pages, uint64_t at_ms)
{
	feed(retention, (struct ps_page){.kind = PS_PAGE_TOUCHED,
				.place = place,
				.tid = tid,
				.set = set,
				.page = page,
				.pages = pages,
				.at_ns = at_ms * MS});
}

/* By a request of thread 1. */
static void touch(struct retention *retention, uint64_t request, uint64_t page, uint64_t pages,
	uint64_t at_ms)
{
	touch_at(retention, PS_IN_WINDOW, 1, request, page, pages, at_ms);
}

static void touch_outside(
	struct retention *retention, uint64_t page, uint64_t pages, uint64_t at_ms)
{
	touch_at(retention, PS_BACKGROUND, 9, 0, page, pages, at_ms);
}

static void range_is(struct retention *retention, enum ps_page_kind kind, uint64_t page,
	uint64_t pages, uint64_t at_ms)
{
	feed(retention,
		(struct ps_page){.kind = kind, .page = page, .pages = pages, .at_ns = at_ms * MS});
}

static void drop(struct retention *retention, uint64_t page, uint64_t pages, uint64_t at_ms)
{
	range_is(retention, PS_PAGE_DROPPED, page, pages, at_ms);
}

static void free_lazily(struct retention *retention, uint64_t page, uint64_t pages, uint64_t at_ms)
{
	range_is(retention, PS_PAGE_FREED, page, pages, at_ms);
}

static void move(struct retention *retention, uint64_t page, uint64_t pages, uint64_t to)
{
	feed(retention,
		(struct ps_page){.kind = PS_PAGE_MOVED, .page = page, .pages = pages, .to = to});
}

static void end_request_of(
	struct retention *retention, uint32_t tid, uint64_t request, uint64_t hash, uint64_t at_ms)
{
	feed(retention, (struct ps_page){.kind = PS_PAGE_ENDED,
				.tid = tid,
				.set = request,
				.to = hash,
				.at_ns = at_ms * MS});
}

static void end_request(struct retention *retention, uint64_t request, uint64_t at_ms)
{
	end_request_of(retention, 1, request, HASH, at_ms);
}

static void adopt(struct retention *retention, enum ps_place place, uint32_t tid, uint64_t set,
	uint64_t request)
{
	feed(retention, (struct ps_page){.kind = PS_PAGE_ADOPTED,
				.place = place,
				.tid = tid,
				.set = set,
				.to_tid = 1,
				.to = request});
}

/* What a pass found; the last one has no pages. */
struct found {
	uint64_t page, pages;
	bool swapped;
};

static void pass_over(struct retention *retention, uint64_t began_ms, uint64_t from, uint64_t to,
	const struct found *found)
{
	struct event_resident event = {.began_ns = began_ms * MS, .from = from, .to = to};
	uint64_t at = from;

	for (int i = 0; found[i].pages; i++) {
		assert_true(i < EVENT_RUNS);
		event.runs[2 * i] = found[i].page - at;
		event.runs[2 * i + 1] = 2 * found[i].pages + found[i].swapped;
		at = found[i].page + found[i].pages;
	}
	assert_int_equal(retention_resident(retention, &event), 0);
}

#define PASS(retention, began_ms, ...)                                                             \
	pass_over(retention, began_ms, 0, ALL, (const struct found[]){__VA_ARGS__, {0, 0, false}})

static void pass_finds_nothing(struct retention *retention, uint64_t began_ms)
{
	pass_over(retention, began_ms, 0, ALL, &(const struct found){0, 0, false});
}

static struct retention *new_retention(size_t max_pages, size_t max_routes)
{
	const struct retention_options options = {
		.page_seed = 0x243f6a8885a308d3, .max_pages = max_pages, .max_routes = max_routes};
	struct retention *retention = retention_new(&options);

	assert_non_null(retention);
	return retention;
}

static int setup(void **state)
{
	*state = new_retention(MANY, 100);
	return 0;
}

static int teardown(void **state)
{
	retention_free(*state);
	return 0;
}

/* A pass found nothing that was there before, and an interval begins. */
static struct retention *begin(void **state)
{
	struct retention *retention = *state;

	pass_finds_nothing(retention, 1);
	retention_end(retention, 1 * MS, 0);
	retention_begin(retention);
	assert_int_equal(retention_route(retention, HASH, ROUTE, 1), 0);
	return retention;
}

/* An interval ends and the next one begins. */
static void next_interval(struct retention *retention, uint64_t now_ms)
{
	retention_end(retention, now_ms * MS, 0);
	retention_begin(retention);
}

/*
 * What is known.
 */

static struct tally process_tally(const struct retention *retention)
{
	struct tally tally;

	retention_requests(retention, &tally);
	return tally;
}

/* NULL: of all that have no name. */
static struct tally tally_named(const struct retention *retention, const char *text)
{
	size_t count = retention_route_count(retention);
	struct retention_route *routes = calloc(count, sizeof(*routes));
	struct tally tally = {};

	assert_non_null(routes);
	retention_routes(retention, routes);
	for (size_t i = 0; i < count; i++)
		if (text && routes[i].text ? strcmp(text, routes[i].text) == 0
					   : text == routes[i].text)
			tally_add(&tally, &routes[i].tally);
	free(routes);
	return tally;
}

static struct tally route_tally(const struct retention *retention)
{
	return tally_named(retention, ROUTE);
}

static struct report_retention report_of(
	const struct retention *retention, const struct tally *tally, uint64_t kernel_freed_pages)
{
	struct report_retention report;

	retention_report(retention, tally, 1, kernel_freed_pages, BYTES, &report);
	return report;
}

static struct report_retention process_report(const struct retention *retention)
{
	const struct tally tally = process_tally(retention);

	return report_of(retention, &tally, UNKNOWN);
}

static struct report_attribution attribution_of(const struct retention *retention)
{
	struct report_attribution attribution;

	retention_attribution(retention, 1, &attribution);
	return attribution;
}

static struct report_growth growth_of(const struct retention *retention)
{
	struct report_growth growth;

	retention_growth(retention, BYTES, &growth);
	return growth;
}

/* Of the route, by the index of report_ages_s. */
static void assert_survival(
	const struct retention *retention, int age, uint64_t touched, uint64_t kept)
{
	const struct tally tally = route_tally(retention);
	const struct report_retention report = report_of(retention, &tally, UNKNOWN);

	assert_int_equal(report.survival[age].touched_pages, touched);
	assert_int_equal(report.survival[age].kept_pages, kept);
	if (touched)
		assert_true(report.survival[age].ratio == (double)kept / (double)touched);
	else
		assert_true(isnan(report.survival[age].ratio));
}

enum { AGE_1, AGE_10, AGE_60, AGE_600, AGE_3600 };

/*
 * Who has a page.
 */

static void page_of_a_request_is_kept_until_a_pass_misses_it(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 2, 1000);
	end_request(retention, 1, 1100);
	assert_int_equal(route_tally(retention).touched.pages, 2);
	assert_int_equal(route_tally(retention).resident, 2);
	PASS(retention, 2000, {PAGE, 2, false});
	assert_int_equal(route_tally(retention).resident, 2);
	PASS(retention, 3000, {PAGE + 1, 1, false});
	assert_int_equal(route_tally(retention).resident, 1);
	assert_int_equal(route_tally(retention).touched.pages, 2);
}

static void page_given_back_and_touched_again_is_the_new_touchers(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 1, 1000);
	end_request(retention, 1, 1100);
	drop(retention, PAGE, 1, 1200);
	assert_int_equal(route_tally(retention).resident, 0);
	touch_outside(retention, PAGE, 1, 1300);
	PASS(retention, 2000, {PAGE, 1, false});
	assert_int_equal(route_tally(retention).resident, 0);
	assert_int_equal(route_tally(retention).touched.pages, 1);
	assert_int_equal(attribution_of(retention).background_kept_pages, 1);
}

static void page_touched_again_without_a_word_is_the_new_touchers(void **state)
{
	struct retention *retention = begin(state);

	touch_outside(retention, PAGE, 1, 1000);
	touch(retention, 1, PAGE, 1, 1500);
	end_request(retention, 1, 1600);
	assert_int_equal(route_tally(retention).resident, 1);
	PASS(retention, 2000, {PAGE, 1, false});
	assert_int_equal(attribution_of(retention).background_kept_pages, 0);
	assert_int_equal(attribution_of(retention).background, 1);
	assert_int_equal(attribution_of(retention).exclusive, 1);
}

static void request_under_way_has_its_pages_in_the_process_only(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 3, 1000);
	assert_int_equal(process_tally(retention).resident, 3);
	assert_int_equal(process_tally(retention).touched.pages, 3);
	assert_int_equal(route_tally(retention).resident, 0);
	end_request(retention, 1, 1100);
	assert_int_equal(process_tally(retention).resident, 3);
	assert_int_equal(process_tally(retention).touched.pages, 3);
	assert_int_equal(route_tally(retention).resident, 3);
}

static void route_that_is_named_after_its_requests_end_has_their_pages(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 3, 1000);
	end_request_of(retention, 1, 1, 1234, 1100);
	assert_int_equal(tally_named(retention, NULL).resident, 3);
	assert_int_equal(retention_route(retention, 1234, "POST /late", 1), 0);
	assert_int_equal(tally_named(retention, NULL).resident, 0);
	assert_int_equal(tally_named(retention, "POST /late").resident, 3);
	assert_int_equal(tally_named(retention, "POST /late").requests, 1);
}

static void requests_of_threads_are_told_apart_by_thread_and_time(void **state)
{
	struct retention *retention = begin(state);

	touch_at(retention, PS_IN_WINDOW, 1, 500, PAGE, 1, 1000);
	touch_at(retention, PS_IN_WINDOW, 2, 500, PAGE + 1, 2, 1000);
	touch_at(retention, PS_IN_WINDOW, 2, 501, PAGE + 3, 4, 1000);
	end_request_of(retention, 2, 500, HASH, 1100);
	assert_int_equal(route_tally(retention).resident, 2);
	end_request_of(retention, 1, 501, HASH, 1100);
	assert_int_equal(route_tally(retention).resident, 2);
}

static void touched_pages_are_of_the_interval_and_kept_ones_stay(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 2, 1000);
	end_request(retention, 1, 1100);
	next_interval(retention, 2000);
	assert_int_equal(route_tally(retention).touched.pages, 0);
	assert_int_equal(process_tally(retention).touched.pages, 0);
	assert_int_equal(route_tally(retention).resident, 2);
}

static void pages_of_the_first_pass_are_earlier_and_later_ones_unexplained(void **state)
{
	struct retention *retention = *state;

	PASS(retention, 100, {PAGE, 5, false});
	next_interval(retention, 200);
	PASS(retention, 1000, {PAGE, 3, false}, {PAGE + 100, 7, false});
	assert_int_equal(growth_of(retention).earlier_bytes, -2 * BYTES);
	assert_int_equal(growth_of(retention).requests_bytes, 0);
	assert_int_equal(growth_of(retention).background_bytes, 0);
	assert_true(retention_growth_known(retention));
}

static void first_pass_is_complete_only_in_order(void **state)
{
	struct retention *retention = *state;
	const struct found none = {0, 0, false};

	pass_over(retention, 100, 0, 1000, &none);
	pass_over(retention, 100, 2000, ALL, &none);
	next_interval(retention, 200);
	assert_false(retention_growth_known(retention));
	pass_over(retention, 300, 0, 1000, &none);
	pass_over(retention, 300, 1000, 2000, &none);
	next_interval(retention, 400);
	assert_false(retention_growth_known(retention));
	pass_over(retention, 500, 2000, ALL, &none);
	assert_false(retention_growth_known(retention));
	assert_int_equal(process_report(retention).growth_bytes, REPORT_DELTA_UNKNOWN);
	next_interval(retention, 600);
	assert_true(retention_growth_known(retention));
	assert_int_equal(process_report(retention).growth_bytes, 0);
}

static void nothing_is_known_to_be_kept_before_the_first_pass(void **state)
{
	struct retention *retention = *state;

	touch(retention, 1, PAGE, 2, 1000);
	assert_int_equal(process_report(retention).touched.value, 2);
	assert_true(process_report(retention).kept.value == UNKNOWN);
	assert_true(attribution_of(retention).background_kept_pages == UNKNOWN);
	PASS(retention, 2000, {PAGE, 2, false});
	assert_int_equal(process_report(retention).kept.value, 2);
	assert_int_equal(attribution_of(retention).background_kept_pages, 0);
}

/*
 * Passes and records that cross.
 */

static void pass_that_began_before_a_touch_does_not_drop_the_page(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 1, 1000);
	pass_finds_nothing(retention, 990);
	assert_int_equal(process_tally(retention).resident, 1);
	/* The record may have been late, too. */
	pass_finds_nothing(retention, 1010);
	assert_int_equal(process_tally(retention).resident, 1);
	pass_finds_nothing(retention, 1100);
	assert_int_equal(process_tally(retention).resident, 0);
}

static void pass_that_began_before_a_drop_does_not_revive_the_page(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 1, 1000);
	drop(retention, PAGE, 1, 2000);
	PASS(retention, 1990, {PAGE, 1, false});
	assert_int_equal(process_tally(retention).resident, 0);
}

static void page_that_is_still_there_was_not_dropped(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 4, 1000);
	end_request(retention, 1, 1100);
	drop(retention, PAGE, 4, 1400);
	assert_int_equal(route_tally(retention).resident, 0);
	PASS(retention, 2000, {PAGE, 3, false});
	assert_int_equal(route_tally(retention).resident, 3);
	retention_end(retention, 5000 * MS, 1);
	assert_survival(retention, AGE_1, 4, 3);
}

static void page_that_was_dropped_in_an_open_request_may_be_there_still(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 4, 1000);
	drop(retention, PAGE, 4, 1050);
	PASS(retention, 1500, {PAGE, 3, false});
	end_request(retention, 1, 1600);
	retention_end(retention, 5000 * MS, 1);
	assert_int_equal(route_tally(retention).resident, 3);
	assert_survival(retention, AGE_1, 4, 3);
}

static void page_of_a_month_ago_is_not_taken_for_a_new_one(void **state)
{
	struct retention *retention = begin(state);
	const uint64_t month_ms = 30ull * 24 * 3600 * 1000;

	touch(retention, 1, PAGE, 1, 1000);
	for (uint64_t at_ms = 2000; at_ms < month_ms; at_ms += month_ms / 10)
		PASS(retention, at_ms, {PAGE, 1, false});
	assert_int_equal(process_tally(retention).resident, 1);
	pass_finds_nothing(retention, month_ms);
	assert_int_equal(process_tally(retention).resident, 0);
}

/*
 * Survival.
 */

static void survival_is_exact_for_drops_at_any_age(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 100, 900);
	end_request(retention, 1, 1000);
	drop(retention, PAGE, 10, 1500);
	drop(retention, PAGE + 10, 20, 6000);
	retention_end(retention, 10000 * MS, 1);
	assert_survival(retention, AGE_1, 100, 90);
	assert_survival(retention, AGE_10, 0, 0);
	retention_begin(retention);
	drop(retention, PAGE + 30, 30, 121000);
	retention_end(retention, 200000 * MS, 1);
	assert_survival(retention, AGE_1, 100, 90);
	assert_survival(retention, AGE_10, 100, 70);
	assert_survival(retention, AGE_60, 100, 70);
	retention_begin(retention);
	retention_end(retention, 700000 * MS, 1);
	assert_survival(retention, AGE_600, 100, 40);
	assert_survival(retention, AGE_3600, 0, 0);
}

static void page_dropped_inside_its_request_is_kept_at_no_age(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 10, 1000);
	drop(retention, PAGE, 4, 1050);
	end_request(retention, 1, 9000);
	retention_end(retention, 100000 * MS, 1);
	assert_survival(retention, AGE_1, 10, 6);
	assert_survival(retention, AGE_60, 10, 6);
}

static void end_that_is_told_late_does_not_make_pages_die_young(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 10, 1000);
	drop(retention, PAGE, 1, 1050);
	drop(retention, PAGE + 1, 2, 6000);
	drop(retention, PAGE + 3, 3, 13000);
	end_request(retention, 1, 1100);
	retention_end(retention, 100000 * MS, 1);
	assert_survival(retention, AGE_1, 10, 9);
	assert_survival(retention, AGE_10, 10, 7);
	assert_survival(retention, AGE_60, 10, 4);
}

static void many_drops_inside_a_request_are_all_counted(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 100, 1000);
	for (uint64_t i = 0; i < 50; i++)
		drop(retention, PAGE + i, 1, 1100 + 10 * i);
	end_request(retention, 1, 2000);
	retention_end(retention, 100000 * MS, 1);
	assert_survival(retention, AGE_1, 100, 50);
}

static void page_touched_again_ends_the_life_of_the_one_before(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 10, 900);
	end_request(retention, 1, 1000);
	touch(retention, 2, PAGE, 10, 6000);
	end_request(retention, 2, 6100);
	retention_end(retention, 100000 * MS, 2);
	assert_survival(retention, AGE_1, 20, 20);
	assert_survival(retention, AGE_10, 20, 10);
	assert_int_equal(route_tally(retention).resident, 10);
}

static void swapped_page_is_neither_touched_nor_kept_at_an_age(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 10, 1000);
	end_request(retention, 1, 1100);
	PASS(retention, 5000, {PAGE, 4, true}, {PAGE + 4, 6, false});
	retention_end(retention, 5000 * MS, 1);
	assert_survival(retention, AGE_1, 6, 6);
	assert_int_equal(route_tally(retention).swapped, 4);
	assert_int_equal(route_tally(retention).resident, 6);
	assert_int_equal(process_report(retention).swapped_pages, 4);
	assert_int_equal(process_report(retention).kept.value, 6);
	retention_begin(retention);
	PASS(retention, 12000, {PAGE, 10, false});
	retention_end(retention, 12000 * MS, 1);
	assert_survival(retention, AGE_10, 10, 10);
	assert_int_equal(route_tally(retention).swapped, 0);
}

static void page_that_was_swapped_before_its_request_ended_is_set_aside_too(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 10, 1000);
	PASS(retention, 1500, {PAGE, 4, true}, {PAGE + 4, 6, false});
	end_request(retention, 1, 2000);
	retention_end(retention, 5000 * MS, 1);
	assert_survival(retention, AGE_1, 6, 6);
}

static void page_swapped_and_touched_again_is_the_new_touchers(void **state)
{
	struct retention *retention = begin(state);

	touch_outside(retention, PAGE, 1, 1000);
	PASS(retention, 2000, {PAGE, 1, true});
	touch(retention, 1, PAGE, 1, 3000);
	end_request(retention, 1, 3100);
	assert_int_equal(route_tally(retention).resident, 1);
	assert_int_equal(route_tally(retention).swapped, 0);
	PASS(retention, 4000, {PAGE, 1, false});
	assert_int_equal(attribution_of(retention).background_kept_pages, 0);
}

static void swapped_page_that_is_given_back_is_gone(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 3, 1000);
	end_request(retention, 1, 1100);
	PASS(retention, 2000, {PAGE, 3, true});
	drop(retention, PAGE, 2, 2500);
	assert_int_equal(route_tally(retention).swapped, 1);
	pass_finds_nothing(retention, 3000);
	assert_int_equal(route_tally(retention).swapped, 0);
}

static void lazily_freed_page_is_resident_but_not_kept(void **state)
{
	struct retention *retention = begin(state);
	struct tally tally;
	struct report_retention report;

	touch(retention, 1, PAGE, 10, 1000);
	end_request(retention, 1, 1100);
	free_lazily(retention, PAGE, 4, 1200);
	PASS(retention, 2000, {PAGE, 10, false});
	retention_end(retention, 5000 * MS, 1);
	tally = route_tally(retention);
	report = report_of(retention, &tally, 4);
	assert_int_equal(report.lazyfree_pages, 4);
	assert_int_equal(report.kept.value, 6);
	assert_int_equal(tally.growth, 10);
	assert_survival(retention, AGE_1, 10, 6);
}

static void lazily_freed_pages_that_the_kernel_does_not_count_were_written_again(void **state)
{
	struct retention *retention = begin(state);
	struct tally tally;
	struct report_retention report;

	touch(retention, 1, PAGE, 10, 1000);
	end_request(retention, 1, 1100);
	touch_outside(retention, PAGE + 10, 10, 1000);
	free_lazily(retention, PAGE, 20, 1200);
	PASS(retention, 2000, {PAGE, 20, false});
	tally = route_tally(retention);
	report = report_of(retention, &tally, 10);
	assert_int_equal(report.lazyfree_pages, 5);
	assert_int_equal(report.kept.value, 5);
	assert_int_equal(report.kept.low, 5);
	assert_int_equal(report.kept.high, 5);
	report = report_of(retention, &tally, 30);
	assert_int_equal(report.lazyfree_pages, 10);
	assert_int_equal(report.kept.value, 0);
}

static void lazily_freed_page_that_the_kernel_took_is_gone(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 10, 1000);
	end_request(retention, 1, 1100);
	free_lazily(retention, PAGE, 10, 1200);
	PASS(retention, 12000, {PAGE, 3, false});
	assert_int_equal(route_tally(retention).freed, 3);
	retention_end(retention, 100000 * MS, 1);
	assert_survival(retention, AGE_1, 10, 7);
	assert_survival(retention, AGE_60, 10, 0);
}

/* As of the end of its 134 ms. */
static void pages_of_overlapping_requests_age_from_the_touch(void **state)
{
	struct retention *retention = begin(state);
	struct report_retention report;

	touch_at(retention, PS_OVERLAPPING, 1, 0, PAGE, 10, 1000);
	touch_at(retention, PS_OVERLAPPING, 2, 0, PAGE + 10, 10, 1001);
	drop(retention, PAGE, 5, 1500);
	drop(retention, PAGE + 15, 5, 8000);
	retention_end(retention, 20000 * MS, 1);
	report = process_report(retention);
	assert_int_equal(report.survival[AGE_1].touched_pages, 20);
	assert_int_equal(report.survival[AGE_1].kept_pages, 15);
	assert_int_equal(report.survival[AGE_10].kept_pages, 10);
	assert_int_equal(attribution_of(retention).overlapping, 20);
	assert_int_equal(route_tally(retention).resident, 0);
	assert_int_equal(process_tally(retention).resident, 10);
}

/*
 * Moves, copies, new images.
 */

static void moved_pages_keep_their_owner_and_age(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 10, 1000);
	end_request(retention, 1, 1100);
	touch_outside(retention, PAGE + 1000, 10, 1000);
	move(retention, PAGE, 10, PAGE + 1005);
	assert_int_equal(route_tally(retention).resident, 10);
	PASS(retention, 2000, {PAGE + 1000, 15, false});
	assert_int_equal(route_tally(retention).resident, 10);
	assert_int_equal(attribution_of(retention).background_kept_pages, 5);
	drop(retention, PAGE + 1005, 4, 7000);
	retention_end(retention, 100000 * MS, 1);
	assert_survival(retention, AGE_1, 10, 10);
	assert_survival(retention, AGE_60, 10, 6);
}

static void move_onto_itself_is_ignored(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 10, 1000);
	move(retention, PAGE, 10, PAGE + 5);
	move(retention, PAGE, 10, PAGE - 5);
	move(retention, PAGE, UINT64_MAX, 0);
	PASS(retention, 2000, {PAGE, 10, false});
	assert_int_equal(process_tally(retention).resident, 10);
}

static void touch_page_of(struct retention *retention, enum ps_page_kind kind, uint32_t flags,
	uint64_t request, uint64_t at_ms)
{
	feed(retention, (struct ps_page){.kind = kind,
				.flags = flags,
				.place = PS_IN_WINDOW,
				.tid = 1,
				.set = request,
				.page = PAGE,
				.pages = 1,
				.at_ns = at_ms * MS});
}

static void copy_on_write_is_a_copy_and_no_growth(void **state)
{
	struct retention *retention = *state;

	PASS(retention, 1, {PAGE, 10, false});
	next_interval(retention, 1);
	touch_page_of(retention, PS_PAGE_COPIED, PS_PAGE_PRESENT, 1, 1000);
	PASS(retention, 2000, {PAGE, 10, false});
	assert_int_equal(attribution_of(retention).copied_pages, 1);
	assert_int_equal(attribution_of(retention).exclusive, 1);
	assert_int_equal(growth_of(retention).requests_bytes, BYTES);
	assert_int_equal(growth_of(retention).earlier_bytes, -BYTES);
}

static void copy_that_grew_is_no_copy(void **state)
{
	struct retention *retention = begin(state);

	touch_page_of(retention, PS_PAGE_COPIED, PS_PAGE_PRESENT, 1, 1000);
	touch_page_of(retention, PS_PAGE_TOUCHED, PS_PAGE_PRESENT, 1, 1000);
	PASS(retention, 2000, {PAGE, 1, false});
	assert_int_equal(attribution_of(retention).copied_pages, 0);
	assert_int_equal(attribution_of(retention).exclusive, 1);
	assert_int_equal(process_tally(retention).touched.pages, 1);
	assert_int_equal(process_tally(retention).resident, 1);
}

static void copy_of_a_known_page_is_found_without_being_told(void **state)
{
	struct retention *retention = begin(state);

	touch_page_of(retention, PS_PAGE_TOUCHED, PS_PAGE_PRESENT, 1, 1000);
	assert_int_equal(attribution_of(retention).copied_pages, 0);
	touch_page_of(retention, PS_PAGE_TOUCHED, PS_PAGE_PRESENT, 2, 1500);
	assert_int_equal(attribution_of(retention).copied_pages, 1);
	assert_int_equal(attribution_of(retention).exclusive, 2);
	assert_int_equal(process_tally(retention).resident, 1);
}

static void new_program_image_drops_everything(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 10, 900);
	end_request(retention, 1, 1000);
	touch_outside(retention, PAGE + 20, 10, 900);
	range_is(retention, PS_PAGE_EXECED, 0, 0, 6000);
	assert_int_equal(route_tally(retention).resident, 0);
	assert_false(retention_growth_known(retention));
	/* What the new image has is earlier than what we know of. */
	PASS(retention, 7000, {PAGE + 500, 3, false});
	retention_end(retention, 100000 * MS, 1);
	assert_survival(retention, AGE_1, 10, 10);
	assert_survival(retention, AGE_10, 10, 0);
	assert_int_equal(attribution_of(retention).background_kept_pages, 0);
	retention_begin(retention);
	pass_finds_nothing(retention, 101000);
	assert_int_equal(growth_of(retention).earlier_bytes, -3 * BYTES);
}

static void kernels_and_huge_pages_are_told(void **state)
{
	struct retention *retention = begin(state);

	touch_at(retention, PS_IN_WINDOW, 1, 1, PAGE, 512, 1000);
	feed(retention, (struct ps_page){.kind = PS_PAGE_TOUCHED,
				.flags = PS_PAGE_BY_KERNEL,
				.place = PS_IN_WINDOW,
				.set = 1,
				.tid = 1,
				.page = PAGE + 600,
				.pages = 1,
				.at_ns = 1000 * MS});
	assert_int_equal(attribution_of(retention).huge_pages, 512);
	assert_int_equal(attribution_of(retention).kernel_pages, 1);
	assert_int_equal(attribution_of(retention).exclusive, 513);
}

/*
 * Adoption.
 */

static void tail_is_its_requests_when_more_is_sent(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 10, 1000);
	touch_at(retention, PS_IN_TAIL, 1, 1, PAGE + 10, 5, 1100);
	assert_int_equal(attribution_of(retention).background, 5);
	adopt(retention, PS_IN_TAIL, 1, 1, 1);
	end_request(retention, 1, 1200);
	assert_int_equal(attribution_of(retention).background, 0);
	assert_int_equal(attribution_of(retention).exclusive, 15);
	assert_int_equal(attribution_of(retention).followed_pages, 0);
	assert_int_equal(route_tally(retention).resident, 15);
	drop(retention, PAGE, 15, 1500);
	retention_end(retention, 5000 * MS, 1);
	assert_survival(retention, AGE_1, 15, 0);
}

static void tail_behind_the_last_send_is_background(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, PAGE, 10, 1000);
	touch_at(retention, PS_IN_TAIL, 1, 1, PAGE + 10, 5, 1100);
	end_request(retention, 1, 1050);
	assert_int_equal(route_tally(retention).resident, 10);
	assert_int_equal(attribution_of(retention).background, 5);
}

static void tail_that_lost_pages_already_is_adopted_with_its_losses(void **state)
{
	struct retention *retention = begin(state);

	touch_at(retention, PS_IN_TAIL, 1, 1, PAGE, 10, 1000);
	drop(retention, PAGE, 4, 1050);
	adopt(retention, PS_IN_TAIL, 1, 1, 1);
	end_request(retention, 1, 1100);
	retention_end(retention, 5000 * MS, 1);
	assert_int_equal(route_tally(retention).touched.pages, 10);
	assert_int_equal(route_tally(retention).resident, 6);
	assert_survival(retention, AGE_1, 10, 6);
}

static void what_the_kernel_touched_to_receive_is_the_requests(void **state)
{
	struct retention *retention = begin(state);

	touch_at(retention, PS_IN_RECEIVE, 1, 0xabc, PAGE, 2, 1000);
	adopt(retention, PS_IN_RECEIVE, 1, 0xabc, 1);
	touch(retention, 1, PAGE + 5, 1, 1100);
	end_request(retention, 1, 1200);
	assert_int_equal(route_tally(retention).resident, 3);
	assert_int_equal(attribution_of(retention).exclusive, 3);
}

static void worker_is_followed_to_the_request_that_it_answers(void **state)
{
	struct retention *retention = begin(state);

	touch_at(retention, PS_IN_WORKER, 5, 7, PAGE, 8, 1000);
	adopt(retention, PS_IN_WORKER, 5, 7, 900 * MS);
	end_request(retention, 900 * MS, 1200);
	assert_int_equal(route_tally(retention).resident, 8);
	assert_int_equal(attribution_of(retention).followed_pages, 8);
	assert_int_equal(attribution_of(retention).exclusive, 8);
}

static void worker_that_touched_before_the_receive_is_not_followed(void **state)
{
	struct retention *retention = begin(state);

	touch_at(retention, PS_IN_WORKER, 5, 7, PAGE, 1, 800);
	touch_at(retention, PS_IN_WORKER, 5, 7, PAGE + 1, 7, 1000);
	adopt(retention, PS_IN_WORKER, 5, 7, 900 * MS);
	end_request(retention, 900 * MS, 1200);
	assert_int_equal(route_tally(retention).resident, 0);
	assert_int_equal(attribution_of(retention).followed_pages, 0);
	assert_int_equal(attribution_of(retention).background, 8);
}

static void adoption_in_a_later_interval_is_no_negative_number(void **state)
{
	struct retention *retention = begin(state);

	touch_at(retention, PS_IN_TAIL, 1, 1, PAGE, 5, 1000);
	assert_int_equal(attribution_of(retention).background, 5);
	next_interval(retention, 2000);
	adopt(retention, PS_IN_TAIL, 1, 1, 1);
	touch_outside(retention, PAGE + 100, 2, 2100);
	assert_int_equal(attribution_of(retention).background, 0);
	assert_int_equal(attribution_of(retention).exclusive, 5);
	next_interval(retention, 3000);
	touch_outside(retention, PAGE + 200, 4, 3100);
	assert_int_equal(attribution_of(retention).background, 1);
}

static void adoption_of_nothing_is_ignored(void **state)
{
	struct retention *retention = begin(state);

	touch_outside(retention, PAGE, 5, 1000);
	adopt(retention, PS_BACKGROUND, 9, 0, 1);
	adopt(retention, PS_IN_WINDOW, 1, 1, 1);
	adopt(retention, PS_IN_TAIL, 1, 1, 1);
	adopt(retention, PS_PLACES, 0, HASH, 1);
	end_request(retention, 1, 1200);
	assert_int_equal(route_tally(retention).resident, 0);
	assert_int_equal(attribution_of(retention).background, 5);
}

/*
 * Bounds.
 */

static void windows_that_never_end_are_bounded_and_keep_their_sums(void **state)
{
	struct retention *retention = begin(state);
	const uint64_t requests = 40000;

	for (uint64_t i = 0; i < requests; i++)
		touch(retention, i + 1, PAGE + i, 1, 1000 + i / 100);
	assert_int_equal(process_tally(retention).resident, requests);
	assert_int_equal(process_tally(retention).touched.pages, requests);
	assert_true(tally_named(retention, NULL).resident >= requests - 17000);
	assert_true(tally_named(retention, NULL).resident < requests);
}

static void routes_beyond_the_cap_become_other_and_keep_their_sums(void **state)
{
	struct retention *retention = new_retention(MANY, 8);
	struct tally tally;

	pass_finds_nothing(retention, 1);
	next_interval(retention, 1);
	for (uint64_t i = 1; i <= 100; i++) {
		char text[32];

		(void)snprintf(text, sizeof(text), "GET /%u", (unsigned)i);
		touch(retention, i, PAGE + 100 * i, 10, 1000 + i);
		end_request_of(retention, 1, i, i, 1000 + i);
		drop(retention, PAGE + 100 * i, 3, 7000 + i);
		assert_int_equal(retention_route(retention, i, text, 1), 0);
		assert_true(retention_route_count(retention) <= 9);
	}
	retention_end(retention, 100000 * MS, 100);
	tally = process_tally(retention);
	assert_int_equal(tally.touched.pages, 1000);
	assert_int_equal(tally.resident, 700);
	assert_int_equal(tally.growth, 700);
	assert_int_equal(process_report(retention).survival[AGE_1].kept_pages, 1000);
	assert_int_equal(process_report(retention).survival[AGE_60].touched_pages, 1000);
	assert_int_equal(process_report(retention).survival[AGE_60].kept_pages, 700);
	/* Pages of a folded route still go, for `other`. */
	assert_true(tally_named(retention, NULL).resident > 350);
	drop(retention, PAGE, 100000, 100500);
	assert_int_equal(process_tally(retention).resident, 0);
	assert_int_equal(tally_named(retention, NULL).resident, 0);
	retention_free(*state);
	*state = retention;
}

static void folding_a_route_does_not_look_like_growth(void **state)
{
	struct retention *retention = new_retention(MANY, 8);

	pass_finds_nothing(retention, 1);
	for (uint64_t i = 1; i <= 8; i++) {
		touch(retention, i, PAGE + 100 * i, 10, 1000);
		end_request_of(retention, 1, i, i, 1000);
	}
	next_interval(retention, 2000);
	assert_int_equal(process_tally(retention).growth, 0);
	assert_int_equal(retention_route(retention, 9, "GET /9", 1), 0);
	assert_int_equal(tally_named(retention, "GET /9").growth, 0);
	assert_int_equal(process_tally(retention).growth, 0);
	drop(retention, PAGE, 10000, 2100);
	assert_int_equal(process_tally(retention).growth, -80);
	retention_free(*state);
	*state = retention;
}

static void routes_that_keep_the_most_are_not_folded(void **state)
{
	struct retention *retention = new_retention(MANY, 8);

	pass_finds_nothing(retention, 1);
	touch(retention, 500, PAGE, 50, 1000);
	end_request(retention, 500, 1000);
	for (uint64_t i = 1; i <= 100; i++)
		assert_int_equal(retention_route(retention, i, "GET /none", 1), 0);
	assert_int_equal(retention_route(retention, HASH, ROUTE, 1), 0);
	assert_int_equal(route_tally(retention).resident, 50);
	retention_free(*state);
	*state = retention;
}

static void told_level_halves_what_is_tracked_and_not_what_it_stands_for(void **state)
{
	struct retention *retention = begin(state);
	struct report_retention report;

	touch(retention, 1, PAGE, 100000, 1000);
	end_request(retention, 1, 1100);
	touch_outside(retention, PAGE + 200000, 100000, 1000);
	assert_true(retention_sample_ratio(retention) == 1);
	assert_int_equal(retention_level(retention, 3), 0);
	assert_true(retention_sample_ratio(retention) == 0.125);
	assert_int_equal(retention_level(retention, 1), 0);
	assert_true(retention_sample_ratio(retention) == 0.125);
	report = process_report(retention);
	assert_true(report.kept.low < 100000 && report.kept.high > 100000);
	assert_in_range(report.kept.value, 95000, 105000);
	assert_int_equal(report.kept.value % 8, 0);
	/* Counted before: known. */
	assert_int_equal(report.touched.value, 100000);
	assert_int_equal(growth_of(retention).requests_bytes, 100000 * BYTES);
	assert_int_equal(growth_of(retention).background_bytes, 100000 * BYTES);
	PASS(retention, 2000, {PAGE, 100000, false}, {PAGE + 200000, 100000, false});
	assert_int_equal(growth_of(retention).requests_bytes, 100000 * BYTES);
	assert_int_equal(growth_of(retention).background_bytes, 100000 * BYTES);
}

static void what_all_went_leaves_nothing_kept_at_any_level(void **state)
{
	struct retention *retention = begin(state);
	struct tally tally;

	touch(retention, 1, PAGE, 10000, 1000);
	end_request(retention, 1, 1100);
	touch(retention, 2, PAGE + 20000, 10000, 1000);
	assert_int_equal(retention_level(retention, 5), 0);
	drop(retention, PAGE, 10000, 3000);
	drop(retention, PAGE + 20000, 10000, 1050);
	end_request(retention, 2, 1100);
	retention_end(retention, 100000 * MS, 2);
	tally = route_tally(retention);
	assert_int_equal(tally.resident, 0);
	assert_in_range(
		report_of(retention, &tally, UNKNOWN).survival[AGE_10].touched_pages, 16000, 24000);
	assert_int_equal(report_of(retention, &tally, UNKNOWN).survival[AGE_10].kept_pages, 0);
}

static void pages_beyond_the_cap_raise_the_level(void **state)
{
	struct retention *retention = new_retention(1000, 10);
	struct report_retention report;

	pass_finds_nothing(retention, 1);
	next_interval(retention, 1);
	for (uint64_t i = 0; i < 100; i++) {
		touch(retention, i + 1, PAGE + 1000 * i, 1000, 1000 + i);
		end_request(retention, i + 1, 1001 + i);
	}
	report = process_report(retention);
	assert_true(retention_sample_ratio(retention) <= 1.0 / 128);
	assert_true(retention_sample_ratio(retention) >= 1.0 / 256);
	assert_true(report.kept.low < 100000 && report.kept.high > 100000);
	assert_true(report.touched.low < 100000 && report.touched.high > 100000);
	retention_free(*state);
	*state = retention;
}

static void pages_found_by_a_pass_raise_the_level_too(void **state)
{
	struct retention *retention = new_retention(1000, 10);

	PASS(retention, 1, {PAGE, 100000, false});
	assert_true(retention_sample_ratio(retention) <= 1.0 / 64);
	next_interval(retention, 1);
	drop(retention, PAGE, 100000, 1000);
	pass_finds_nothing(retention, 2000);
	assert_in_range(-growth_of(retention).earlier_bytes / BYTES, 80000, 120000);
	retention_free(*state);
	*state = retention;
}

/* A moved page is sampled by a number that it no longer has. */
static void moved_pages_stand_for_as_many_at_every_level(void **state)
{
	struct retention *retention = begin(state);
	const uint64_t pages = 200000, to = 0x1000000;

	assert_int_equal(retention_level(retention, 1), 0);
	touch(retention, 1, PAGE, pages, 1000);
	end_request(retention, 1, 1100);
	move(retention, PAGE, pages, to);
	for (uint64_t level = 2; level <= 5; level++) {
		assert_int_equal(retention_level(retention, level), 0);
		assert_in_range(
			route_tally(retention).resident, pages - pages / 20, pages + pages / 20);
	}
	PASS(retention, 2000, {to, pages, false});
	assert_in_range(route_tally(retention).resident, pages - pages / 20, pages + pages / 20);
	/* Given back, and touched again by others: no moved page is left. */
	drop(retention, to, pages, 3000);
	touch_outside(retention, to, pages, 3100);
	PASS(retention, 4000, {to, pages, false});
	assert_int_equal(route_tally(retention).resident, 0);
}

static void forged_events_do_no_harm(void **state)
{
	static const uint64_t numbers[] = {
		0, 1, 1ull << 27, 1ull << 52, UINT64_MAX - 1, UINT64_MAX};
	const size_t count = sizeof(numbers) / sizeof(numbers[0]);
	struct retention *retention = begin(state);
	struct seeded seeded = {3};

	for (int i = 0; i < 20000; i++) {
		struct ps_page event = {
			.kind = seeded_below(&seeded, PS_PAGE_KINDS + 2),
			.place = seeded_below(&seeded, PS_PLACES + 2),
			.flags = seeded_below(&seeded, 4),
			.tid = seeded_below(&seeded, 3),
			.to_tid = seeded_below(&seeded, 3),
			.page = numbers[seeded_below(&seeded, count)],
			.pages = numbers[seeded_below(&seeded, count)],
			.set = numbers[seeded_below(&seeded, count)],
			.to = numbers[seeded_below(&seeded, count)],
			.at_ns = numbers[seeded_below(&seeded, count)],
		};
		struct event_resident pass = {
			.began_ns = numbers[seeded_below(&seeded, count)],
			.from = numbers[seeded_below(&seeded, count)],
			.to = numbers[seeded_below(&seeded, count)],
		};

		/* Some ranges are small enough to be walked. */
		if (event.pages == 1ull << 27)
			event.pages = seeded_below(&seeded, 100);
		for (int j = 0; j < 8; j++)
			pass.runs[j] = numbers[seeded_below(&seeded, count)];
		for (int j = 1; j < 8; j += 2)
			if (pass.runs[j] == 1ull << 27)
				pass.runs[j] = seeded_below(&seeded, 100);
		feed(retention, event);
		if (i % 8 == 0)
			assert_int_equal(retention_resident(retention, &pass), 0);
		if (i % 100 == 0)
			next_interval(retention, numbers[seeded_below(&seeded, count)] / MS);
		if (i % 2000 == 0)
			assert_int_equal(retention_level(retention, i / 2000), 0);
		(void)process_report(retention);
		(void)growth_of(retention);
	}
}

static void range_that_no_machine_has_is_passed_over(void **state)
{
	struct retention *retention = begin(state);

	touch(retention, 1, 0, UINT64_MAX, 1000);
	touch(retention, 1, 1000, 1ull << 40, 1000);
	assert_int_equal(process_tally(retention).touched.pages, 0);
	touch(retention, 1, PAGE, 1, 1000);
	assert_int_equal(process_tally(retention).touched.pages, 1);
}

static void parts_of_growth_add_up_to_what_is_resident(void **state)
{
	struct retention *retention = *state;
	struct report_growth growth;

	PASS(retention, 1, {PAGE, 10, false});
	next_interval(retention, 1);
	touch(retention, 1, PAGE + 100, 20, 1000);
	end_request(retention, 1, 1100);
	touch_at(retention, PS_OVERLAPPING, 2, 0, PAGE + 200, 5, 1000);
	touch_outside(retention, PAGE + 300, 7, 1000);
	free_lazily(retention, PAGE + 300, 7, 1100);
	drop(retention, PAGE, 4, 1200);
	PASS(retention, 2000, {PAGE + 4, 6, false}, {PAGE + 100, 20, false}, {PAGE + 200, 5, false},
		{PAGE + 300, 7, false}, {PAGE + 400, 3, false});
	growth = growth_of(retention);
	assert_int_equal(growth.requests_bytes, 25 * BYTES);
	assert_int_equal(growth.background_bytes, 7 * BYTES);
	assert_int_equal(growth.earlier_bytes, -4 * BYTES);
	assert_int_equal(growth.error_bytes, 0);
}

/*
 * Random histories against a model: few pages, windows and routes, every kind of event. The model
 * keeps every touch and every window, and counts anew whenever it is asked. Times are multiples of
 * 100 ms, drops lie between them and passes begin a little later, so that no time is at an edge.
 */

#define MODEL_PAGES   24
#define MODEL_TOUCHES 4000
#define MODEL_WINDOWS 2000
#define MODEL_SLOTS   400
#define MODEL_ROUTES  4
#define NAMED_ROUTES  3 /* of them; the last one is never named */
#define NOBODY        (-1)

enum owner {
	BY_ROUTE, /* and NAMED_ROUTES more */
	BY_OPEN = BY_ROUTE + MODEL_ROUTES,
	BY_OVERLAPPING,
	BY_BACKGROUND,
	BY_EARLIER,
	BY_UNEXPLAINED,
	OWNERS,
};

struct model_window {
	enum ps_place place;
	uint32_t tid;
	uint64_t set;
	enum owner owner;
	bool findable, over;
	int leader; /* NOBODY */
	uint64_t first_ns, end_ns;
	int slot; /* of its owner's curve; NOBODY */
	int ended_in;
};

struct model_touch {
	int window;
	int interval; /* in which it happened; NOBODY: it was found */
	enum page_state state;
	uint64_t changed_ns; /* when touched, or gone */
	bool copied_told;
};

struct model_slot {
	enum owner owner;
	uint64_t from_ns, until_ns;
	int entered; /* how many ages */
};

static struct model {
	struct model_touch touches[MODEL_TOUCHES];
	int touch_count;
	struct model_window windows[MODEL_WINDOWS];
	int window_count;
	struct model_slot slots[MODEL_SLOTS];
	int slot_count;
	int pages[MODEL_PAGES]; /* the last touch that is remembered; NOBODY */
	struct curve_sums curves[OWNERS];
	uint64_t requests[MODEL_ROUTES];
	int64_t before[OWNERS];
	int64_t exclusive, overlapping, background, copied; /* carried */
	uint64_t followed, kernel, huge;
	int interval;
	bool looked_up, looked_up_before;
	uint64_t passed_to;
} model;

static void model_reset(void)
{
	memset(&model, 0, sizeof(model));
	for (int i = 0; i < MODEL_PAGES; i++)
		model.pages[i] = NOBODY;
}

static struct model_window *model_leader(int window)
{
	while (model.windows[window].leader != NOBODY)
		window = model.windows[window].leader;
	return &model.windows[window];
}

static struct model_window *model_window_of(const struct model_touch *touch)
{
	return model_leader(touch->window);
}

static int model_find(enum ps_place place, uint32_t tid, uint64_t set)
{
	for (int i = 0; i < model.window_count; i++) {
		const struct model_window *window = &model.windows[i];

		if (window->findable && window->place == place && window->tid == tid &&
			window->set == set)
			return i;
	}
	return NOBODY;
}

static int model_get(enum ps_place place, uint32_t tid, uint64_t set, enum owner owner)
{
	int found = model_find(place, tid, set);

	if (found != NOBODY)
		return found;
	assert_true(model.window_count < MODEL_WINDOWS);
	model.windows[model.window_count] = (struct model_window){.place = place,
		.tid = tid,
		.set = set,
		.owner = owner,
		.findable = true,
		.leader = NOBODY,
		.slot = NOBODY};
	return model.window_count++;
}

/* As curve.h tells: requests that end within half a second share a slot that has no age yet. */
static int model_slot_for(enum owner owner, uint64_t end_ns)
{
	int last = NOBODY;

	for (int i = 0; i < model.slot_count; i++)
		if (model.slots[i].owner == owner)
			last = i;
	if (last != NOBODY && !model.slots[last].entered &&
		end_ns < model.slots[last].from_ns + 500 * MS) {
		if (end_ns > model.slots[last].until_ns)
			model.slots[last].until_ns = end_ns;
		return last;
	}
	if (last != NOBODY && end_ns <= model.slots[last].until_ns)
		end_ns = model.slots[last].until_ns + 1;
	assert_true(model.slot_count < MODEL_SLOTS);
	model.slots[model.slot_count] = (struct model_slot){owner, end_ns, end_ns, 0};
	return model.slot_count++;
}

static void model_end_window(struct model_window *window, enum owner owner, uint64_t end_ns)
{
	window->owner = owner;
	window->over = true;
	window->findable = false;
	window->end_ns = end_ns;
	window->ended_in = model.interval;
	window->slot = model_slot_for(owner, end_ns);
}

static int model_window_for(const struct ps_page *event)
{
	uint64_t set = event->at_ns >> 27;
	int window;

	switch (event->place) {
	case PS_IN_WINDOW:
		return model_get(PS_IN_WINDOW, event->tid, event->set, BY_OPEN);
	case PS_OVERLAPPING:
		window = model_get(PS_OVERLAPPING, 0, set, BY_OVERLAPPING);
		if (!model.windows[window].over) {
			model_end_window(&model.windows[window], BY_OVERLAPPING, (set + 1) << 27);
			model.windows[window].findable = true;
		}
		return window;
	case PS_BACKGROUND:
		return model_get(PS_BACKGROUND, 0, 0, BY_BACKGROUND);
	default:
		return model_get(event->place, event->tid, event->set, BY_BACKGROUND);
	}
}

static struct model_touch *model_at(uint64_t page)
{
	return page >= PAGE && page < PAGE + MODEL_PAGES && model.pages[page - PAGE] != NOBODY
		       ? &model.touches[model.pages[page - PAGE]]
		       : NULL;
}

static bool model_is_there(const struct model_touch *touch)
{
	return touch && touch->state != PAGE_GONE;
}

static void model_die(struct model_touch *touch, uint64_t at_ns)
{
	touch->state = PAGE_GONE;
	touch->changed_ns = at_ns;
}

static void model_put(uint64_t page, struct model_touch touch)
{
	assert_true(model.touch_count < MODEL_TOUCHES);
	model.pages[page - PAGE] = model.touch_count;
	model.touches[model.touch_count++] = touch;
}

static void model_touch_page(uint64_t page, int window, const struct ps_page *event)
{
	struct model_touch *touch = model_at(page);
	bool there = model_is_there(touch), told = event->kind == PS_PAGE_COPIED;
	bool copy = told || (there && (event->flags & PS_PAGE_PRESENT));

	if (copy && !told && touch->copied_told && model_window_of(touch) == model_leader(window)) {
		touch->copied_told = false;
		model.copied--;
		return;
	}
	if (there)
		model_die(touch, event->at_ns);
	model_put(page,
		(struct model_touch){window, model.interval, PAGE_RESIDENT, event->at_ns, told});
	model.copied += copy;
	if (event->place == PS_IN_WINDOW)
		model.exclusive++;
	else if (event->place == PS_OVERLAPPING)
		model.overlapping++;
	else
		model.background++;
	model.kernel += event->flags & PS_PAGE_BY_KERNEL ? 1 : 0;
	model.huge += event->pages > 1 && !(event->flags & PS_PAGE_BY_KERNEL);
}

static void model_adopt(const struct ps_page *event)
{
	int found = model_find(event->place, event->tid, event->set), leader;
	struct model_window *window;

	if (found == NOBODY || event->place < PS_IN_TAIL || event->place > PS_IN_WORKER)
		return;
	window = &model.windows[found];
	window->findable = false;
	if (event->place == PS_IN_WORKER && window->first_ns < event->to)
		return;
	leader = model_get(PS_IN_WINDOW, event->to_tid, event->to, BY_OPEN);
	window->leader = leader;
	for (int i = 0; i < model.touch_count; i++) {
		if (model.touches[i].window != found || model.touches[i].interval == NOBODY)
			continue;
		model.background--;
		model.exclusive++;
		model.followed += event->place == PS_IN_WORKER;
	}
}

static void model_move(const struct ps_page *event)
{
	int64_t by = (int64_t)(event->to - event->page);

	if ((uint64_t)llabs(by) < event->pages)
		return;
	for (uint64_t i = 0; i < event->pages; i++)
		if (model_is_there(model_at(event->to + i)))
			model_die(model_at(event->to + i), event->at_ns);
	for (uint64_t i = 0; i < event->pages; i++) {
		if (!model_is_there(model_at(event->page + i)))
			continue;
		model.pages[event->to + i - PAGE] = model.pages[event->page + i - PAGE];
		model.pages[event->page + i - PAGE] = NOBODY;
	}
}

static void model_page(const struct ps_page *event)
{
	int window = NOBODY;

	switch (event->kind) {
	case PS_PAGE_TOUCHED:
	case PS_PAGE_COPIED:
		window = model_window_for(event);
		if (!model.windows[window].first_ns)
			model.windows[window].first_ns = event->at_ns;
		for (uint64_t i = 0; i < event->pages; i++)
			model_touch_page(event->page + i, window, event);
		break;
	case PS_PAGE_DROPPED:
		for (uint64_t i = 0; i < event->pages; i++)
			if (model_is_there(model_at(event->page + i)))
				model_die(model_at(event->page + i), event->at_ns);
		break;
	case PS_PAGE_FREED:
		for (uint64_t i = 0; i < event->pages; i++)
			if (model_at(event->page + i) &&
				model_at(event->page + i)->state == PAGE_RESIDENT)
				model_at(event->page + i)->state = PAGE_FREED;
		break;
	case PS_PAGE_MOVED:
		model_move(event);
		break;
	case PS_PAGE_ENDED:
		window = model_find(PS_IN_WINDOW, event->tid, event->set);
		if (window != NOBODY)
			model_end_window(
				&model.windows[window], BY_ROUTE + event->to - HASH, event->at_ns);
		break;
	case PS_PAGE_ADOPTED:
		model_adopt(event);
		break;
	default:
		for (uint64_t page = PAGE; page < PAGE + MODEL_PAGES; page++)
			if (model_is_there(model_at(page)))
				model_die(model_at(page), event->at_ns);
		model.looked_up = false;
		model.passed_to = 0;
	}
}

enum seen {
	ABSENT,
	PRESENT,
	IN_SWAP,
};

static void model_look(uint64_t page, enum seen seen, uint64_t began_ns)
{
	struct model_touch *touch = model_at(page);
	bool fresh = touch && touch->changed_ns + 50 * MS >= began_ns;
	enum owner owner = model.looked_up ? BY_UNEXPLAINED : BY_EARLIER;

	if (seen == ABSENT) {
		if (fresh)
			return;
		if (model_is_there(touch))
			model_die(touch, began_ns);
		model.pages[page - PAGE] = NOBODY;
		return;
	}
	if (!touch) {
		model_put(page,
			(struct model_touch){model_get(PS_PLACES, 0, owner, owner), NOBODY,
				seen == IN_SWAP ? PAGE_SWAPPED : PAGE_RESIDENT, began_ns, false});
		return;
	}
	if (touch->state == PAGE_GONE) {
		if (fresh)
			return;
		touch->state = PAGE_RESIDENT;
	}
	if (seen == IN_SWAP)
		touch->state = PAGE_SWAPPED;
	else if (touch->state == PAGE_SWAPPED)
		touch->state = PAGE_RESIDENT;
	if (!fresh)
		touch->changed_ns = 0;
}

static int64_t model_count(enum owner owner, enum page_state state)
{
	int64_t count = 0;

	for (int i = 0; i < model.touch_count; i++)
		count += model.touches[i].state == state &&
			 model_window_of(&model.touches[i])->owner == owner;
	return count;
}

static int64_t model_resident(enum owner owner)
{
	return model_count(owner, PAGE_RESIDENT) + model_count(owner, PAGE_FREED);
}

/* A route's touched pages are those of requests that ended in the interval. */
static int64_t model_touched(enum owner owner)
{
	int64_t count = 0;

	for (int i = 0; i < model.touch_count; i++) {
		const struct model_window *window = model_window_of(&model.touches[i]);

		count += model.touches[i].interval != NOBODY && window->owner == owner &&
			 window->ended_in == model.interval;
	}
	return count;
}

static void model_enter(int slot, int age)
{
	const uint64_t age_ns = curve_ages_s[age] * 1000 * MS;
	struct curve_sums *sums = &model.curves[model.slots[slot].owner];

	for (int i = 0; i < model.touch_count; i++) {
		const struct model_touch *touch = &model.touches[i];
		const struct model_window *window = model_window_of(touch);

		if (window->slot != slot || touch->interval == NOBODY ||
			touch->state == PAGE_SWAPPED)
			continue;
		sums->touched[age].pages++;
		if (touch->state == PAGE_RESIDENT ||
			(touch->state == PAGE_GONE && touch->changed_ns >= window->end_ns + age_ns))
			sums->kept[age].pages++;
	}
}

static void model_end_interval(uint64_t now_ns)
{
	for (int i = 0; i < model.window_count; i++)
		if (model.windows[i].place == PS_OVERLAPPING && model.windows[i].end_ns < now_ns)
			model.windows[i].findable = false;
	for (int i = 0; i < model.slot_count; i++) {
		struct model_slot *slot = &model.slots[i];

		while (slot->entered < CURVE_AGES &&
			now_ns >= slot->until_ns + curve_ages_s[slot->entered] * 1000 * MS)
			model_enter(i, slot->entered++);
	}
}

static int64_t below_0(int64_t count)
{
	return count < 0 ? count : 0;
}

static int64_t above_0(int64_t count)
{
	return count > 0 ? count : 0;
}

static void model_begin_interval(void)
{
	for (int i = 0; i < OWNERS; i++)
		model.before[i] = model_resident(i);
	model.exclusive = below_0(model.exclusive);
	model.overlapping = below_0(model.overlapping);
	model.background = below_0(model.background);
	model.copied = below_0(model.copied);
	model.followed = model.kernel = model.huge = 0;
	model.looked_up_before = model.looked_up;
	model.interval++;
}

/*
 * Both sides.
 */

static void compare_tally(enum owner owner, const struct tally *tally, const char *what)
{
	const struct curve_sums *curve = &model.curves[owner];

	if ((int64_t)tally->resident != model_count(owner, PAGE_RESIDENT) ||
		(int64_t)tally->freed != model_count(owner, PAGE_FREED) ||
		(int64_t)tally->swapped != model_count(owner, PAGE_SWAPPED) ||
		tally->touched.pages != model_touched(owner) ||
		tally->growth != model_resident(owner) - model.before[owner])
		fail_msg("%s: %d resident %d freed %d swapped %d touched %d growth, not "
			 "%d %d %d %d %d",
			what, (int)tally->resident, (int)tally->freed, (int)tally->swapped,
			(int)tally->touched.pages, (int)tally->growth,
			(int)model_count(owner, PAGE_RESIDENT), (int)model_count(owner, PAGE_FREED),
			(int)model_count(owner, PAGE_SWAPPED), (int)model_touched(owner),
			(int)(model_resident(owner) - model.before[owner]));
	for (int i = 0; i < CURVE_AGES; i++)
		if (tally->curve.touched[i].pages != curve->touched[i].pages ||
			tally->curve.kept[i].pages != curve->kept[i].pages)
			fail_msg("%s at %u s: %d of %d kept, not %d of %d", what, curve_ages_s[i],
				(int)tally->curve.kept[i].pages, (int)tally->curve.touched[i].pages,
				(int)curve->kept[i].pages, (int)curve->touched[i].pages);
}

static void model_route_text(int route, char *text, size_t capacity)
{
	(void)snprintf(text, capacity, "GET /%d", route);
}

static void compare_process(const struct retention *retention)
{
	const struct tally tally = process_tally(retention);
	const struct report_retention report = report_of(retention, &tally, UNKNOWN);
	int64_t resident = 0, growth = 0, kept_1 = 0;

	for (int i = 0; i <= BY_OVERLAPPING; i++) {
		resident += model_count(i, PAGE_RESIDENT);
		growth += model_resident(i) - model.before[i];
		kept_1 += model.curves[i].kept[0].pages;
	}
	assert_int_equal(tally.resident, resident);
	assert_int_equal(tally.growth, growth);
	assert_int_equal(
		tally.touched.pages, above_0(model.exclusive) + above_0(model.overlapping));
	assert_int_equal(report.survival[AGE_1].kept_pages, kept_1);
	if (!model.looked_up)
		return;
	assert_int_equal(report.kept.value, resident);
	assert_int_equal(report.kept.low, resident);
	assert_int_equal(report.kept.high, resident);
}

static void compare_rest(const struct retention *retention)
{
	const struct report_attribution attribution = attribution_of(retention);
	const struct report_growth growth = growth_of(retention);

	assert_int_equal(attribution.exclusive, above_0(model.exclusive));
	assert_int_equal(attribution.overlapping, above_0(model.overlapping));
	assert_int_equal(attribution.background, above_0(model.background));
	assert_int_equal(attribution.copied_pages, above_0(model.copied));
	assert_int_equal(attribution.followed_pages, model.followed);
	assert_int_equal(attribution.kernel_pages, model.kernel);
	assert_int_equal(attribution.huge_pages, model.huge);
	if (model.looked_up)
		assert_int_equal(attribution.background_kept_pages,
			model_count(BY_BACKGROUND, PAGE_RESIDENT));
	assert_int_equal(growth.background_bytes,
		(model_resident(BY_BACKGROUND) - model.before[BY_BACKGROUND]) * BYTES);
	assert_int_equal(growth.earlier_bytes,
		(model_resident(BY_EARLIER) - model.before[BY_EARLIER]) * BYTES);
	assert_int_equal(growth.error_bytes, 0);
	assert_int_equal(
		retention_growth_known(retention), model.looked_up && model.looked_up_before);
}

static void compare(const struct retention *retention)
{
	for (int i = 0; i < MODEL_ROUTES; i++) {
		char text[32];
		struct tally tally;

		model_route_text(i, text, sizeof(text));
		tally = tally_named(retention, i < NAMED_ROUTES ? text : NULL);
		compare_tally(BY_ROUTE + i, &tally, text);
		assert_int_equal(tally.requests, i < NAMED_ROUTES ? model.requests[i] : 0);
	}
	compare_process(retention);
	compare_rest(retention);
}

static void both_page(struct retention *retention, const struct ps_page *event)
{
	feed(retention, *event);
	model_page(event);
}

/* Mostly what the model takes to be there, sometimes anything. */
static enum seen seen_at(struct seeded *seeded, uint64_t page)
{
	const struct model_touch *touch = model_at(page);

	if (seeded_once_in(seeded, 6))
		return seeded_below(seeded, 3);
	if (!model_is_there(touch))
		return ABSENT;
	return touch->state == PAGE_SWAPPED ? IN_SWAP : PRESENT;
}

static void both_look(struct retention *retention, struct seeded *seeded, uint64_t from,
	uint64_t to, uint64_t at_ns)
{
	struct found found[MODEL_PAGES + 1] = {};
	enum seen seen[MODEL_PAGES] = {};
	int count = 0;

	for (uint64_t page = PAGE; page < PAGE + MODEL_PAGES; page++)
		if (page >= from && page < to)
			seen[page - PAGE] = seen_at(seeded, page);
	for (uint64_t page = PAGE; page < PAGE + MODEL_PAGES; page++) {
		if (page < from || page >= to)
			continue;
		model_look(page, seen[page - PAGE], at_ns);
		if (seen[page - PAGE] != ABSENT)
			found[count++] = (struct found){page, 1, seen[page - PAGE] == IN_SWAP};
	}
	pass_over(retention, at_ns / MS, from, to, found);
	if (from == 0)
		model.passed_to = 0;
	if (from == model.passed_to)
		model.passed_to = to;
	if (model.passed_to == ALL) {
		model.looked_up = true;
		model.passed_to = 0;
	}
}

/* In one or two parts, or only one of the two. */
static void both_pass(struct retention *retention, struct seeded *seeded, uint64_t at_ns)
{
	uint64_t middle = PAGE + seeded_below(seeded, MODEL_PAGES);

	if (seeded_below(seeded, 3)) {
		both_look(retention, seeded, 0, ALL, at_ns);
		return;
	}
	if (!seeded_once_in(seeded, 8))
		both_look(retention, seeded, 0, middle, at_ns);
	if (!seeded_once_in(seeded, 8))
		both_look(retention, seeded, middle, ALL, at_ns);
}

static void random_range(struct seeded *seeded, struct ps_page *event)
{
	uint64_t from = seeded_below(seeded, MODEL_PAGES);
	uint64_t most = MODEL_PAGES - from < 8 ? MODEL_PAGES - from : 8;

	event->page = PAGE + from;
	event->pages = 1 + seeded_below(seeded, most);
}

static void random_touch(struct retention *retention, struct seeded *seeded, uint64_t now_ns)
{
	struct ps_page event = {
		.kind = seeded_once_in(seeded, 5) ? PS_PAGE_COPIED : PS_PAGE_TOUCHED,
		.place = PS_IN_WINDOW + seeded_below(seeded, PS_PLACES - PS_IN_WINDOW),
		.flags = seeded_below(seeded, 4),
		.tid = 1 + seeded_below(seeded, 2),
		.set = 1 + seeded_below(seeded, 3),
		.at_ns = now_ns,
	};

	random_range(seeded, &event);
	if (seeded_once_in(seeded, 2))
		event.place = PS_IN_WINDOW;
	both_page(retention, &event);
}

static void random_move(struct retention *retention, struct seeded *seeded, uint64_t now_ns)
{
	struct ps_page event = {.kind = PS_PAGE_MOVED, .at_ns = now_ns - 50 * MS};

	random_range(seeded, &event);
	event.to = PAGE + seeded_below(seeded, MODEL_PAGES - event.pages + 1);
	both_page(retention, &event);
}

static void random_step(struct retention *retention, struct seeded *seeded, uint64_t now_ns)
{
	struct ps_page event = {
		.tid = 1 + seeded_below(seeded, 2),
		.set = 1 + seeded_below(seeded, 3),
		.at_ns = now_ns,
	};

	switch (seeded_below(seeded, 20)) {
	case 0:
	case 1:
	case 2:
		event.kind = PS_PAGE_ENDED;
		event.to = HASH + seeded_below(seeded, MODEL_ROUTES);
		event.at_ns -= 100 * MS * seeded_below(seeded, 5);
		both_page(retention, &event);
		break;
	case 3:
	case 4:
		event.kind = PS_PAGE_ADOPTED;
		event.place = PS_IN_TAIL + seeded_below(seeded, 3);
		event.to_tid = 1 + seeded_below(seeded, 2);
		event.to = seeded_once_in(seeded, 4) ? now_ns : 1 + seeded_below(seeded, 3);
		both_page(retention, &event);
		break;
	case 5:
	case 6:
	case 7:
		event.kind = seeded_once_in(seeded, 3) ? PS_PAGE_FREED : PS_PAGE_DROPPED;
		event.at_ns -= 50 * MS;
		random_range(seeded, &event);
		both_page(retention, &event);
		break;
	case 8:
		random_move(retention, seeded, now_ns);
		break;
	case 9:
		both_pass(retention, seeded, now_ns + 20 * MS);
		break;
	case 10:
		event.kind = PS_PAGE_EXECED;
		event.at_ns -= 50 * MS;
		if (seeded_once_in(seeded, 10))
			both_page(retention, &event);
		break;
	default:
		random_touch(retention, seeded, now_ns);
	}
}

static void random_routes(struct retention *retention, struct seeded *seeded)
{
	for (int i = 0; i < NAMED_ROUTES; i++) {
		char text[32];
		uint64_t requests = seeded_below(seeded, 3);

		model_route_text(i, text, sizeof(text));
		assert_int_equal(retention_route(retention, HASH + i, text, requests), 0);
		model.requests[i] += requests;
	}
}

static void random_history(uint64_t seed)
{
	struct retention *retention = new_retention(MANY, 100);
	struct seeded seeded = {seed};
	uint64_t now_ns = 100000 * MS;

	model_reset();
	retention_begin(retention);
	model_begin_interval();
	for (int interval = 0; interval < 10; interval++) {
		int steps = 1 + seeded_below(&seeded, 30);

		for (int i = 0; i < steps; i++) {
			now_ns += 100 * MS * seeded_below(&seeded, 6);
			if (seeded_once_in(&seeded, 50))
				now_ns += 30000 * MS;
			random_step(retention, &seeded, now_ns);
		}
		random_routes(retention, &seeded);
		if (seeded_below(&seeded, 4))
			both_pass(retention, &seeded, now_ns + 20 * MS);
		now_ns += 100 * MS;
		retention_end(retention, now_ns, 1);
		model_end_interval(now_ns);
		compare(retention);
		retention_begin(retention);
		model_begin_interval();
	}
	retention_free(retention);
}

static void random_histories_agree_with_the_model(void **state)
{
	for (uint64_t seed = 1; seed <= 3000; seed++)
		random_history(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			page_of_a_request_is_kept_until_a_pass_misses_it, setup, teardown),
		cmocka_unit_test_setup_teardown(
			page_given_back_and_touched_again_is_the_new_touchers, setup, teardown),
		cmocka_unit_test_setup_teardown(
			page_touched_again_without_a_word_is_the_new_touchers, setup, teardown),
		cmocka_unit_test_setup_teardown(
			request_under_way_has_its_pages_in_the_process_only, setup, teardown),
		cmocka_unit_test_setup_teardown(
			route_that_is_named_after_its_requests_end_has_their_pages, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			requests_of_threads_are_told_apart_by_thread_and_time, setup, teardown),
		cmocka_unit_test_setup_teardown(
			touched_pages_are_of_the_interval_and_kept_ones_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(
			pages_of_the_first_pass_are_earlier_and_later_ones_unexplained, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			first_pass_is_complete_only_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(
			nothing_is_known_to_be_kept_before_the_first_pass, setup, teardown),
		cmocka_unit_test_setup_teardown(
			pass_that_began_before_a_touch_does_not_drop_the_page, setup, teardown),
		cmocka_unit_test_setup_teardown(
			pass_that_began_before_a_drop_does_not_revive_the_page, setup, teardown),
		cmocka_unit_test_setup_teardown(
			page_that_is_still_there_was_not_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(
			page_that_was_dropped_in_an_open_request_may_be_there_still, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			page_of_a_month_ago_is_not_taken_for_a_new_one, setup, teardown),
		cmocka_unit_test_setup_teardown(
			survival_is_exact_for_drops_at_any_age, setup, teardown),
		cmocka_unit_test_setup_teardown(
			page_dropped_inside_its_request_is_kept_at_no_age, setup, teardown),
		cmocka_unit_test_setup_teardown(
			end_that_is_told_late_does_not_make_pages_die_young, setup, teardown),
		cmocka_unit_test_setup_teardown(
			many_drops_inside_a_request_are_all_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(
			page_touched_again_ends_the_life_of_the_one_before, setup, teardown),
		cmocka_unit_test_setup_teardown(
			swapped_page_is_neither_touched_nor_kept_at_an_age, setup, teardown),
		cmocka_unit_test_setup_teardown(
			page_that_was_swapped_before_its_request_ended_is_set_aside_too, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			page_swapped_and_touched_again_is_the_new_touchers, setup, teardown),
		cmocka_unit_test_setup_teardown(
			swapped_page_that_is_given_back_is_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(
			lazily_freed_page_is_resident_but_not_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(
			lazily_freed_pages_that_the_kernel_does_not_count_were_written_again, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			lazily_freed_page_that_the_kernel_took_is_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(
			pages_of_overlapping_requests_age_from_the_touch, setup, teardown),
		cmocka_unit_test_setup_teardown(
			moved_pages_keep_their_owner_and_age, setup, teardown),
		cmocka_unit_test_setup_teardown(move_onto_itself_is_ignored, setup, teardown),
		cmocka_unit_test_setup_teardown(
			copy_on_write_is_a_copy_and_no_growth, setup, teardown),
		cmocka_unit_test_setup_teardown(copy_that_grew_is_no_copy, setup, teardown),
		cmocka_unit_test_setup_teardown(
			copy_of_a_known_page_is_found_without_being_told, setup, teardown),
		cmocka_unit_test_setup_teardown(
			new_program_image_drops_everything, setup, teardown),
		cmocka_unit_test_setup_teardown(kernels_and_huge_pages_are_told, setup, teardown),
		cmocka_unit_test_setup_teardown(
			tail_is_its_requests_when_more_is_sent, setup, teardown),
		cmocka_unit_test_setup_teardown(
			tail_behind_the_last_send_is_background, setup, teardown),
		cmocka_unit_test_setup_teardown(
			tail_that_lost_pages_already_is_adopted_with_its_losses, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_the_kernel_touched_to_receive_is_the_requests, setup, teardown),
		cmocka_unit_test_setup_teardown(
			worker_is_followed_to_the_request_that_it_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(
			worker_that_touched_before_the_receive_is_not_followed, setup, teardown),
		cmocka_unit_test_setup_teardown(
			adoption_in_a_later_interval_is_no_negative_number, setup, teardown),
		cmocka_unit_test_setup_teardown(adoption_of_nothing_is_ignored, setup, teardown),
		cmocka_unit_test_setup_teardown(
			windows_that_never_end_are_bounded_and_keep_their_sums, setup, teardown),
		cmocka_unit_test_setup_teardown(
			routes_beyond_the_cap_become_other_and_keep_their_sums, setup, teardown),
		cmocka_unit_test_setup_teardown(
			folding_a_route_does_not_look_like_growth, setup, teardown),
		cmocka_unit_test_setup_teardown(
			routes_that_keep_the_most_are_not_folded, setup, teardown),
		cmocka_unit_test_setup_teardown(
			told_level_halves_what_is_tracked_and_not_what_it_stands_for, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			what_all_went_leaves_nothing_kept_at_any_level, setup, teardown),
		cmocka_unit_test_setup_teardown(
			pages_beyond_the_cap_raise_the_level, setup, teardown),
		cmocka_unit_test_setup_teardown(
			pages_found_by_a_pass_raise_the_level_too, setup, teardown),
		cmocka_unit_test_setup_teardown(
			moved_pages_stand_for_as_many_at_every_level, setup, teardown),
		cmocka_unit_test_setup_teardown(forged_events_do_no_harm, setup, teardown),
		cmocka_unit_test_setup_teardown(
			range_that_no_machine_has_is_passed_over, setup, teardown),
		cmocka_unit_test_setup_teardown(
			parts_of_growth_add_up_to_what_is_resident, setup, teardown),
		cmocka_unit_test(random_histories_agree_with_the_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
