/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Survival curves: examples, then many requests against sums that are worked out one by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "pagestay/core/curve.h"
#include "seeded.h"

#define MS 1000000ull
#define S  (1000 * MS)

static struct sampled pages(int64_t count)
{
	return (struct sampled){count, (double)count};
}

static uint64_t add(struct curve *curve, uint64_t end_ns, int64_t touched)
{
	uint64_t slot_ns = 0;

	assert_int_equal(curve_add(curve, end_ns, pages(touched), &slot_ns), 0);
	return slot_ns;
}

/* Where the end names the request. */
static void die(struct curve *curve, uint64_t end_ns, uint64_t at_ns, int64_t count)
{
	curve_die(curve, end_ns, end_ns, at_ns, pages(count));
}

static int age_of(unsigned age_s)
{
	for (int i = 0; i < CURVE_AGES; i++)
		if (curve_ages_s[i] == age_s)
			return i;
	fail();
	return 0;
}

static void assert_at(const struct curve *curve, unsigned age_s, int64_t touched, int64_t kept)
{
	int age = age_of(age_s);

	assert_int_equal(curve->sums.touched[age].pages, touched);
	assert_int_equal(curve->sums.kept[age].pages, kept);
	assert_true(curve->sums.touched[age].squares == (double)touched);
	assert_true(curve->sums.kept[age].squares == (double)kept);
}

static int setup(void **state)
{
	static struct curve curve;

	curve = (struct curve){};
	*state = &curve;
	return 0;
}

static int teardown(void **state)
{
	curve_deinit(*state);
	return 0;
}

/*
 * Ages.
 */

static void pages_count_at_an_age_when_they_have_it(void **state)
{
	struct curve *curve = *state;

	add(curve, 100 * S, 10);
	curve_advance(curve, 101 * S - 1);
	assert_at(curve, 1, 0, 0);
	curve_advance(curve, 101 * S);
	assert_at(curve, 1, 10, 10);
	assert_at(curve, 2, 0, 0);
	curve_advance(curve, 160 * S);
	assert_at(curve, 60, 10, 10);
	assert_at(curve, 120, 0, 0);
	curve_advance(curve, 3700 * S);
	assert_at(curve, 3600, 10, 10);
	assert_at(curve, 1, 10, 10);
	assert_int_equal(curve->count, 0);
}

static void page_is_kept_at_the_ages_that_it_reached(void **state)
{
	struct curve *curve = *state;

	add(curve, 100 * S, 10);
	die(curve, 100 * S, 99 * S, 1);
	die(curve, 100 * S, 101 * S - 1, 1);
	die(curve, 100 * S, 101 * S, 1);
	die(curve, 100 * S, 130 * S, 1);
	curve_advance(curve, 4000 * S);
	assert_at(curve, 1, 10, 8);
	assert_at(curve, 2, 10, 7);
	assert_at(curve, 20, 10, 7);
	assert_at(curve, 30, 10, 7);
	assert_at(curve, 60, 10, 6);
	assert_at(curve, 3600, 10, 6);
}

static void what_dies_later_changes_no_age_that_was_counted(void **state)
{
	struct curve *curve = *state;

	add(curve, 100 * S, 10);
	curve_advance(curve, 102 * S);
	die(curve, 100 * S, 103 * S, 4);
	curve_advance(curve, 110 * S);
	assert_at(curve, 1, 10, 10);
	assert_at(curve, 2, 10, 10);
	assert_at(curve, 5, 10, 6);
	die(curve, 100 * S, 103 * S, -3);
	curve_advance(curve, 120 * S);
	assert_at(curve, 5, 10, 6);
	assert_at(curve, 20, 10, 9);
}

static void requests_end_at_different_times(void **state)
{
	struct curve *curve = *state;

	add(curve, 100 * S, 10);
	add(curve, 105 * S, 20);
	die(curve, 105 * S, 106500 * MS, 5);
	curve_advance(curve, 107 * S);
	assert_at(curve, 1, 30, 30);
	assert_at(curve, 2, 30, 25);
	assert_at(curve, 5, 10, 10);
	curve_advance(curve, 115 * S);
	assert_at(curve, 10, 30, 25);
}

static void requests_that_end_together_share_a_slot_and_wait_for_the_youngest(void **state)
{
	struct curve *curve = *state;

	add(curve, 100 * S, 1);
	add(curve, 100 * S + 400 * MS, 2);
	add(curve, 100 * S + 499 * MS, 4);
	assert_int_equal(curve->count, 1);
	curve_advance(curve, 101 * S + 498 * MS);
	assert_at(curve, 1, 0, 0);
	curve_advance(curve, 101 * S + 499 * MS);
	assert_at(curve, 1, 7, 7);
	add(curve, 100 * S + 500 * MS, 8);
	assert_int_equal(curve->count, 2);
	/* The age is of the page's own request. */
	die(curve, 100 * S, 102 * S + 100 * MS, 1);
	curve_advance(curve, 110 * S);
	assert_at(curve, 2, 15, 15);
	assert_at(curve, 5, 15, 14);
}

static void end_that_is_told_late_is_named_by_the_time_that_it_is_given(void **state)
{
	struct curve *curve = *state;
	uint64_t late;

	add(curve, 100 * S, 10);
	late = add(curve, 99 * S, 5);
	curve_die(curve, late, 99 * S, 104500 * MS, pages(5));
	curve_advance(curve, 110 * S);
	assert_at(curve, 5, 15, 15);
	assert_at(curve, 10, 15, 10);
	/* The slot is at an age already: another one, and no younger. */
	late = add(curve, 99 * S, 3);
	curve_die(curve, late, 99 * S, 99500 * MS, pages(3));
	curve_advance(curve, 111 * S);
	assert_at(curve, 1, 18, 15);
}

static void pages_set_aside_are_in_neither_number_and_freed_ones_not_kept(void **state)
{
	struct curve *curve = *state;

	add(curve, 100 * S, 10);
	curve_set_aside(curve, 100 * S, pages(3), pages(2));
	curve_advance(curve, 101 * S);
	assert_at(curve, 1, 7, 5);
	curve_set_aside(curve, 100 * S, pages(-3), pages(-2));
	curve_advance(curve, 110 * S);
	assert_at(curve, 10, 10, 10);
}

static void touches_may_be_added_and_taken(void **state)
{
	struct curve *curve = *state;

	add(curve, 100 * S, 10);
	curve_touch(curve, 100 * S, pages(5));
	curve_touch(curve, 100 * S, pages(-2));
	curve_advance(curve, 101 * S);
	assert_at(curve, 1, 13, 13);
}

static void request_that_is_over_is_passed_over(void **state)
{
	struct curve *curve = *state;

	add(curve, 100 * S, 10);
	add(curve, 4000 * S, 10);
	curve_advance(curve, 4001 * S);
	assert_int_equal(curve->count, 1);
	die(curve, 100 * S, 101 * S, 5);
	curve_set_aside(curve, 100 * S, pages(5), pages(5));
	curve_touch(curve, 100 * S, pages(5));
	curve_advance(curve, 9000 * S);
	assert_at(curve, 3600, 20, 20);
}

/*
 * Many requests.
 */

struct request {
	uint64_t end_ns, slot_ns, died_ns;
	int64_t touched, died;
};

/* Requests spread over a time, with deaths at ages that need not be told in order. */
static void many_requests(struct curve *curve, uint64_t seed, struct request *requests,
	size_t count, uint64_t every_ns)
{
	struct seeded seeded = {seed};

	for (size_t i = 0; i < count; i++) {
		struct request *request = &requests[i];
		uint64_t now_ns = 1000 * S + i * every_ns;

		request->end_ns = now_ns - seeded_below(&seeded, 300) * MS;
		request->touched = 1 + (int64_t)seeded_below(&seeded, 100);
		request->died = (int64_t)seeded_below(&seeded, request->touched + 1);
		request->died_ns = request->end_ns + seeded_below(&seeded, 100) * S / 10;
		request->slot_ns = add(curve, request->end_ns, request->touched);
		curve_die(curve, request->slot_ns, request->end_ns, request->died_ns,
			pages(request->died));
		if (i % 16 == 15)
			curve_advance(curve, now_ns);
	}
}

static int64_t kept_of(const struct request *requests, size_t count, unsigned age_s)
{
	int64_t kept = 0;

	for (size_t i = 0; i < count; i++)
		kept += requests[i].touched - (requests[i].died_ns < requests[i].end_ns + age_s * S
							      ? requests[i].died
							      : 0);
	return kept;
}

static int64_t touched_of(const struct request *requests, size_t count)
{
	int64_t touched = 0;

	for (size_t i = 0; i < count; i++)
		touched += requests[i].touched;
	return touched;
}

#define MANY 3000

static void slots_are_bounded_and_their_sums_right(void **state)
{
	static struct request requests[MANY];
	static const uint64_t every_ns[] = {10 * MS, 700 * MS, 5 * S};

	for (size_t i = 0; i < sizeof(every_ns) / sizeof(every_ns[0]); i++) {
		struct curve curve = {};

		many_requests(&curve, i, requests, MANY, every_ns[i]);
		assert_in_range(curve.count, 1, 64);
		curve_advance(&curve, 100000 * S);
		for (int age = 0; age < CURVE_AGES; age++)
			assert_at(&curve, curve_ages_s[age], touched_of(requests, MANY),
				kept_of(requests, MANY, curve_ages_s[age]));
		curve_deinit(&curve);
	}
}

static void merging_slots_delays_an_age_but_little(void **state)
{
	static struct request requests[MANY];
	struct curve *curve = *state;
	const uint64_t now_ns = 1000 * S + MANY * S;
	int64_t due = 0;

	many_requests(curve, 1, requests, MANY, S);
	curve_advance(curve, now_ns);
	for (size_t i = 0; i < MANY; i++)
		due += now_ns - requests[i].end_ns >= 600 * S ? requests[i].touched : 0;
	assert_true(curve->sums.touched[age_of(600)].pages <= due);
	assert_true(curve->sums.touched[age_of(600)].pages >= due * 9 / 10);
}

/* Two curves: the same sums as one, and what dies after the fold is found. */
static void folded_curve_goes_on(uint64_t seed, uint64_t every_ns)
{
	static struct request left[MANY], right[MANY];
	struct curve curve = {}, other = {};
	const size_t count = 200;

	many_requests(&curve, 2 * seed, left, count, every_ns);
	many_requests(&other, 2 * seed + 1, right, count, every_ns);
	curve_advance(&curve, 1000 * S + count * every_ns);
	curve_advance(&other, 1000 * S + count * every_ns);
	assert_int_equal(curve_fold(&curve, &other), 0);
	assert_int_equal(other.count, 0);
	assert_in_range(curve.count, 1, 64);
	for (size_t i = 1; i < curve.count; i++)
		assert_true(curve.slots[i - 1].until_ns <= curve.slots[i].until_ns);
	for (size_t i = 0; i < count; i++) {
		curve_die(&curve, left[i].slot_ns, left[i].end_ns, left[i].end_ns + 3000 * S,
			pages(left[i].touched - left[i].died));
		curve_die(&curve, right[i].slot_ns, right[i].end_ns, right[i].end_ns + 3000 * S,
			pages(right[i].touched - right[i].died));
	}
	curve_advance(&curve, 100000 * S);
	for (int age = 0; age < CURVE_AGES; age++)
		assert_int_equal(curve.sums.touched[age].pages,
			touched_of(left, count) + touched_of(right, count));
	assert_int_equal(curve.sums.kept[age_of(1800)].pages,
		kept_of(left, count, 1800) + kept_of(right, count, 1800));
	assert_int_equal(curve.sums.kept[age_of(3600)].pages, 0);
	curve_deinit(&curve);
}

static void folding_keeps_sums_and_what_dies_later_is_found(void **state)
{
	for (uint64_t seed = 0; seed < 50; seed++) {
		folded_curve_goes_on(seed, 20 * MS);
		folded_curve_goes_on(seed, 400 * MS);
		folded_curve_goes_on(seed, 1900 * MS);
	}
}

static void folding_slots_inside_one_another_loses_none(void **state)
{
	struct curve *curve = *state;
	struct curve other = {};

	/* From 100 to 100.4, and from 100.2 to 100.3. */
	add(curve, 100 * S, 1);
	add(curve, 100 * S + 400 * MS, 2);
	add(&other, 100 * S + 200 * MS, 4);
	add(&other, 100 * S + 300 * MS, 8);
	assert_int_equal(curve_fold(&other, curve), 0);
	die(&other, 100 * S, 103 * S, 1);
	die(&other, 100 * S + 300 * MS, 103 * S, 8);
	curve_advance(&other, 200 * S);
	assert_at(&other, 1, 15, 15);
	assert_at(&other, 5, 15, 6);
	curve_deinit(&other);
}

static void folding_nothing_is_nothing(void **state)
{
	struct curve *curve = *state;
	struct curve other = {};

	assert_int_equal(curve_fold(curve, &other), 0);
	assert_int_equal(curve->count, 0);
	add(curve, 100 * S, 10);
	assert_int_equal(curve_fold(curve, &other), 0);
	curve_advance(curve, 200 * S);
	assert_at(curve, 60, 10, 10);
}

static void forged_times_do_no_harm(void **state)
{
	static const uint64_t times[] = {0, 1, S, 500 * MS, 1ull << 63, UINT64_MAX - 1, UINT64_MAX};
	const size_t count = sizeof(times) / sizeof(times[0]);
	struct seeded seeded = {9};
	struct curve *curve = *state;
	struct curve other = {};

	for (int i = 0; i < 5000; i++) {
		uint64_t slot_ns = add(curve, times[seeded_below(&seeded, count)], 1);

		add(&other, times[seeded_below(&seeded, count)] - seeded_below(&seeded, 3), 1);
		curve_die(curve, slot_ns, times[seeded_below(&seeded, count)],
			times[seeded_below(&seeded, count)], pages(1));
		curve_set_aside(curve, times[seeded_below(&seeded, count)], pages(1), pages(-1));
		if (i % 3 == 0)
			curve_advance(curve, times[seeded_below(&seeded, count)]);
		if (i % 100 == 0)
			assert_int_equal(curve_fold(curve, &other), 0);
		assert_true(curve->count <= 64);
	}
	curve_deinit(&other);
}

/*
 * Half-life.
 */

static double half_life(const struct curve_sums *sums, double *ret_over_s)
{
	double half_life_s;

	curve_half_life(sums, &half_life_s, ret_over_s);
	return half_life_s;
}

static struct curve_sums exponential(double half_life_s, unsigned until_s)
{
	struct curve_sums sums = {};

	for (int i = 0; i < CURVE_AGES && curve_ages_s[i] <= until_s; i++) {
		sums.touched[i] = pages(1000000000);
		sums.kept[i] = pages((int64_t)(1e9 * exp2(-(double)curve_ages_s[i] / half_life_s)));
	}
	return sums;
}

static void half_life_of_an_exponential_is_its_own(void **state)
{
	static const double known_s[] = {0.2, 0.5, 1, 1.5, 7, 10, 45, 100, 1000, 3000, 3600};

	for (size_t i = 0; i < sizeof(known_s) / sizeof(known_s[0]); i++) {
		const struct curve_sums sums = exponential(known_s[i], 3600);
		double over_s, half_life_s = half_life(&sums, &over_s);

		assert_true(fabs(half_life_s / known_s[i] - 1) < 1e-4);
		assert_true(isnan(over_s));
	}
}

static void half_life_that_is_not_reached_is_over_the_greatest_age(void **state)
{
	struct curve_sums sums = exponential(1000, 600);
	double over_s;

	assert_true(isnan(half_life(&sums, &over_s)));
	assert_true(over_s == 600);
	sums = exponential(1e9, 3600);
	assert_true(isnan(half_life(&sums, &over_s)));
	assert_true(over_s == 3600);
}

static void half_life_of_nothing_is_not_known(void **state)
{
	const struct curve_sums sums = {};
	double over_s;

	assert_true(isnan(half_life(&sums, &over_s)));
	assert_true(isnan(over_s));
}

static void half_life_of_what_all_went_lies_between_the_ages(void **state)
{
	struct curve_sums sums = exponential(1e9, 10);
	double over_s, half_life_s;

	for (int i = age_of(20); i < CURVE_AGES; i++)
		sums.touched[i] = pages(1000);
	half_life_s = half_life(&sums, &over_s);
	assert_true(half_life_s > 10 && half_life_s < 20);
	assert_true(isnan(over_s));
	sums = (struct curve_sums){.touched = {pages(10)}};
	assert_true(half_life(&sums, &over_s) == 0.5);
}

static void half_life_passes_over_ages_of_which_nothing_is_known(void **state)
{
	struct curve_sums sums = exponential(100, 3600);
	double over_s;

	sums.touched[age_of(60)] = pages(0);
	sums.kept[age_of(60)] = pages(0);
	assert_true(fabs(half_life(&sums, &over_s) - 100) < 0.01);
}

static void half_life_bears_more_kept_than_touched_and_less_than_none(void **state)
{
	struct curve_sums sums = exponential(100, 3600);
	double over_s, half_life_s;

	sums.kept[0] = pages(2000000000);
	sums.kept[CURVE_AGES - 1] = pages(-5);
	half_life_s = half_life(&sums, &over_s);
	assert_true(fabs(half_life_s - 100) < 0.01);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			pages_count_at_an_age_when_they_have_it, setup, teardown),
		cmocka_unit_test_setup_teardown(
			page_is_kept_at_the_ages_that_it_reached, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_dies_later_changes_no_age_that_was_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(requests_end_at_different_times, setup, teardown),
		cmocka_unit_test_setup_teardown(
			requests_that_end_together_share_a_slot_and_wait_for_the_youngest, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			end_that_is_told_late_is_named_by_the_time_that_it_is_given, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			pages_set_aside_are_in_neither_number_and_freed_ones_not_kept, setup,
			teardown),
		cmocka_unit_test_setup_teardown(touches_may_be_added_and_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(
			request_that_is_over_is_passed_over, setup, teardown),
		cmocka_unit_test_setup_teardown(
			slots_are_bounded_and_their_sums_right, setup, teardown),
		cmocka_unit_test_setup_teardown(
			merging_slots_delays_an_age_but_little, setup, teardown),
		cmocka_unit_test_setup_teardown(
			folding_keeps_sums_and_what_dies_later_is_found, setup, teardown),
		cmocka_unit_test_setup_teardown(
			folding_slots_inside_one_another_loses_none, setup, teardown),
		cmocka_unit_test_setup_teardown(folding_nothing_is_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(forged_times_do_no_harm, setup, teardown),
		cmocka_unit_test_setup_teardown(
			half_life_of_an_exponential_is_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(
			half_life_that_is_not_reached_is_over_the_greatest_age, setup, teardown),
		cmocka_unit_test_setup_teardown(half_life_of_nothing_is_not_known, setup, teardown),
		cmocka_unit_test_setup_teardown(
			half_life_of_what_all_went_lies_between_the_ages, setup, teardown),
		cmocka_unit_test_setup_teardown(
			half_life_passes_over_ages_of_which_nothing_is_known, setup, teardown),
		cmocka_unit_test_setup_teardown(
			half_life_bears_more_kept_than_touched_and_less_than_none, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
