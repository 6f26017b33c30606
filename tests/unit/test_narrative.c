/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The day's summary: of a fixed size, told once a day whatever the clock does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "pagestay/core/narrative.h"
#include "seeded.h"
#include "warden_world.h"

struct day {
	struct world world;
	struct narrative narrative;
	unsigned told[16];
	unsigned count;
	struct narrative last;
};

static int tell(void *context, const struct narrative *narrative)
{
	struct day *day = context;

	assert_true(day->count < 16);
	day->told[day->count++] = narrative->day;
	day->last = *narrative;
	return 0;
}

static struct day *day_new(void)
{
	struct day *day = calloc(1, sizeof(*day));

	assert_non_null(day);
	world_init(&day->world);
	world_process_init(&day->world, 0, "nginx.service", "nginx");
	world_set(&day->world, 0, VERDICT_STEADY, 10, 0);
	day->world.report.process_count = 1;
	narrative_init(&day->narrative);
	return day;
}

static void fold(struct day *day, unsigned date)
{
	assert_int_equal(narrative_fold(&day->narrative, &day->world.report, date, tell, day), 0);
	world_tick(&day->world);
}

static void a_day_is_told_by_the_first_report_of_the_next(void **state)
{
	struct day *day = day_new();

	for (int i = 0; i < 5; i++)
		fold(day, 20260102);
	narrative_count(&day->narrative, HAPPENING_OPENED, 0);
	narrative_count(&day->narrative, HAPPENING_OPENED, 0);
	narrative_count(&day->narrative, HAPPENING_CLOSED, 1);
	narrative_count(&day->narrative, HAPPENING_RESTARTED, 7);
	narrative_count(&day->narrative, HAPPENING_CHANGED, 0);
	assert_int_equal(day->count, 0);
	fold(day, 20260103);
	assert_int_equal(day->count, 1);
	assert_int_equal(day->told[0], 20260102);
	assert_int_equal(day->last.reports, 5);
	assert_int_equal(day->last.requests, 50);
	assert_int_equal(day->last.returned_bytes, 5 * 4096);
	assert_int_equal(day->last.opened, 2);
	assert_int_equal(day->last.closed, 1);
	assert_int_equal(day->last.restarted, 8);
	assert_int_equal(day->last.observed_ns, 50 * WORLD_S);
	assert_int_equal(day->last.from_wall_ns, WORLD_WALL_NS);
	assert_int_equal(day->last.to_wall_ns, WORLD_WALL_NS + 40 * WORLD_S);
	assert_string_equal(day->last.worst_subject, "nginx");
	assert_int_equal(day->last.worst_rss_bytes, 42 * WORLD_MIB);
	assert_int_equal(day->narrative.reports, 1);
	assert_int_equal(day->narrative.opened, 0);
	free(day);
}

static void no_day_is_told_twice(void **state)
{
	struct day *day = day_new();

	fold(day, 20260102);
	fold(day, 20260103);
	fold(day, 20260102); /* the clock was set back over midnight */
	fold(day, 20260102);
	fold(day, 20260103);
	assert_int_equal(day->count, 1);
	fold(day, 20260104);
	assert_int_equal(day->count, 2);
	assert_int_equal(day->told[1], 20260103);
	assert_int_equal(day->last.reports, 4);
	free(day);
}

static void a_month_ends_like_a_day(void **state)
{
	static const unsigned ends[][2] = {
		{20260131, 20260201}, {20261231, 20270101}, {20240229, 20240301}};

	for (size_t i = 0; i < 3; i++) {
		struct day *day = day_new();

		fold(day, ends[i][0]);
		fold(day, ends[i][1]);
		fold(day, ends[i][0]);
		fold(day, ends[i][1]);
		assert_int_equal(day->count, 1);
		free(day);
	}
}

static void a_wrong_clock_hides_no_later_day(void **state)
{
	struct day *day = day_new();

	fold(day, 20260102);
	fold(day, 20990704);
	assert_int_equal(day->count, 1);
	fold(day, 20260102); /* and right again */
	fold(day, 20260103);
	fold(day, 20260104);
	fold(day, 20260105);
	assert_int_equal(day->count, 3);
	assert_int_equal(day->told[1], 20260103);
	assert_int_equal(day->told[2], 20260104);
	free(day);
}

/* Wrong by a month or a year, on a first: no day before it is taken for the one before. */
static void a_wrong_clock_on_a_first_hides_no_later_day(void **state)
{
	static const unsigned wrong[] = {20260301, 20260201, 20270101};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct day *day = day_new();

		fold(day, wrong[i]);
		for (unsigned date = 20260102; date <= 20260106; date++)
			fold(day, date);
		assert_int_equal(day->count, 4);
		assert_int_equal(day->told[0], 20260102);
		assert_int_equal(day->told[3], 20260105);
		free(day);
	}
}

/* Two beyond the places, each of three processes, all day. */
static void services_without_a_place_are_counted_once(void **state)
{
	enum { SERVICES = NARRATIVE_SERVICES + 2, PROCESSES = 3 * SERVICES };
	struct day *day = day_new();

	for (size_t i = 0; i < PROCESSES; i++) {
		char comm[16];

		(void)snprintf(comm, sizeof(comm), "s%u", (unsigned)(i % SERVICES));
		world_process_init(&day->world, i, "", comm);
		world_set(&day->world, i, VERDICT_STEADY, 100 - i % 50, 0);
	}
	day->world.report.process_count = PROCESSES;
	for (unsigned i = 0; i < 100; i++)
		fold(day, 20260102);
	assert_int_equal(day->narrative.left_out, 2);
	day->world.report.process_count = 1;
	fold(day, 20260102);
	assert_int_equal(day->narrative.left_out, 2);
	free(day);
}

static void what_an_earlier_run_told_is_not_told_again(void **state)
{
	struct day *day = day_new();

	fold(day, 20260102);
	narrative_told(&day->narrative, 20260102);
	fold(day, 20260103);
	assert_int_equal(day->count, 0);
	fold(day, 20260104);
	assert_int_equal(day->count, 1);
	assert_int_equal(day->last.reports, 1);
	free(day);
}

static void what_matters_most_stays(void **state)
{
	const struct narrative_service *top[NARRATIVE_TOP];
	struct day *day = day_new();
	struct seeded seeded = {7};

	day->world.report.process_count = WORLD_PROCESSES;
	for (size_t i = 0; i < WORLD_PROCESSES; i++) {
		char comm[16];

		(void)snprintf(comm, sizeof(comm), "s%zu", i);
		world_process_init(&day->world, i, "", comm);
		world_set(&day->world, i, VERDICT_STEADY, seeded_below(&seeded, 50), 0);
	}
	for (size_t i = 0; i < NARRATIVE_TOP; i++)
		world_set(&day->world, 60 * i + 30, VERDICT_STEADY, 1000 - i, 0);
	for (int i = 0; i < 3; i++)
		fold(day, 20260102);
	assert_int_equal(narrative_top(&day->narrative, top), NARRATIVE_TOP);
	assert_int_equal(day->narrative.left_out, WORLD_PROCESSES - NARRATIVE_SERVICES);
	for (size_t i = 1; i < NARRATIVE_TOP; i++)
		assert_true(top[i]->kept_bytes <= top[i - 1]->kept_bytes);
	assert_int_equal(top[0]->kept_bytes, 1000 * WORLD_MIB);
	assert_int_equal(top[9]->kept_bytes, 991 * WORLD_MIB);
	assert_int_equal(day->narrative.requests, 3 * 10 * WORLD_PROCESSES);
	free(day);
}

static void processes_of_a_service_are_summed(void **state)
{
	const struct narrative_service *top[NARRATIVE_TOP];
	struct day *day = day_new();

	for (size_t i = 0; i < 8; i++) {
		world_process_init(&day->world, i, "nginx.service", "nginx");
		world_set(&day->world, i, VERDICT_STEADY, 10, 0);
	}
	day->world.rows[7].exited = true;
	day->world.report.process_count = 8;
	fold(day, 20260102);
	assert_int_equal(narrative_top(&day->narrative, top), 1);
	assert_int_equal(top[0]->kept_bytes, 70 * WORLD_MIB);
	assert_int_equal(top[0]->peak_rss_bytes, 7 * 42 * WORLD_MIB);
	assert_int_equal(top[0]->requests, 80);
	free(day);
}

static void unknown_and_forged_numbers_do_no_harm(void **state)
{
	const struct narrative_service *top[NARRATIVE_TOP];
	struct day *day = day_new();
	struct report_process *row = &day->world.rows[0];

	row->rss_bytes = REPORT_UNKNOWN;
	for (int i = 0; i < PS_COUNTERS; i++)
		row->counters[i] = REPORT_UNKNOWN;
	row->heap = NULL;
	row->retention.kept.value = UINT64_MAX - 1;
	fold(day, 20260102);
	assert_int_equal(narrative_top(&day->narrative, top), 1);
	assert_int_equal(top[0]->kept_bytes, 0);
	for (int i = 0; i < PS_COUNTERS; i++)
		row->counters[i] = UINT64_MAX - 1;
	fold(day, 20260102);
	fold(day, 20260102);
	assert_int_equal(day->narrative.requests, UINT64_MAX - 1);
	free(day);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_day_is_told_by_the_first_report_of_the_next),
		cmocka_unit_test(no_day_is_told_twice),
		cmocka_unit_test(a_month_ends_like_a_day),
		cmocka_unit_test(a_wrong_clock_hides_no_later_day),
		cmocka_unit_test(a_wrong_clock_on_a_first_hides_no_later_day),
		cmocka_unit_test(services_without_a_place_are_counted_once),
		cmocka_unit_test(what_an_earlier_run_told_is_not_told_again),
		cmocka_unit_test(what_matters_most_stays),
		cmocka_unit_test(processes_of_a_service_are_summed),
		cmocka_unit_test(unknown_and_forged_numbers_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
