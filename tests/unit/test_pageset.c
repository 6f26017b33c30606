/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The set of tracked pages against a sorted array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "pagestay/core/pageset.h"
#include "seeded.h"

static int setup(void **state)
{
	static struct pageset set;

	set = (struct pageset){};
	*state = &set;
	return 0;
}

static int teardown(void **state)
{
	pageset_deinit(*state);
	return 0;
}

static void add(struct pageset *set, uint64_t number, uint32_t window)
{
	const struct page zero = {};
	struct page *page = pageset_add(set, number);

	assert_non_null(page);
	assert_memory_equal(page, &zero, sizeof(zero));
	page->window = window;
}

static void empty_set_has_no_page(void **state)
{
	const struct pageset *set = *state;
	uint64_t number = 0;

	assert_null(pageset_get(set, 0));
	assert_null(pageset_get(set, UINT64_MAX));
	assert_null(pageset_next(set, &number));
	pageset_remove(*state, 7);
	assert_int_equal(set->count, 0);
}

static void page_is_found_until_it_is_removed(void **state)
{
	struct pageset *set = *state;

	add(set, 7, 42);
	assert_int_equal(set->count, 1);
	assert_int_equal(pageset_get(set, 7)->window, 42);
	assert_null(pageset_get(set, 6));
	assert_null(pageset_get(set, 8));
	pageset_remove(set, 7);
	assert_null(pageset_get(set, 7));
	assert_int_equal(set->count, 0);
	add(set, 7, 43);
	assert_int_equal(pageset_get(set, 7)->window, 43);
}

static void numbers_may_be_any(void **state)
{
	struct pageset *set = *state;
	uint64_t number = 0;

	add(set, UINT64_MAX, 3);
	add(set, 0, 1);
	add(set, 1ull << 63, 2);
	assert_int_equal(pageset_next(set, &number)->window, 1);
	assert_true(number == 0);
	number = 1;
	assert_int_equal(pageset_next(set, &number)->window, 2);
	assert_true(number == 1ull << 63);
	number++;
	assert_int_equal(pageset_next(set, &number)->window, 3);
	assert_true(number == UINT64_MAX);
	pageset_remove(set, UINT64_MAX);
	assert_null(pageset_next(set, &number));
}

/*
 * A sorted array of numbers and what belongs to each.
 */

#define MODEL_ROOM 600

struct model {
	uint64_t numbers[MODEL_ROOM];
	uint32_t windows[MODEL_ROOM];
	size_t count;
};

/* Where the number is or would be. */
static size_t model_at(const struct model *model, uint64_t number)
{
	size_t at = 0;

	while (at < model->count && model->numbers[at] < number)
		at++;
	return at;
}

static bool model_has(const struct model *model, size_t at, uint64_t number)
{
	return at < model->count && model->numbers[at] == number;
}

static void model_insert(struct model *model, size_t at, uint64_t number, uint32_t window)
{
	size_t behind = model->count - at;

	memmove(&model->numbers[at + 1], &model->numbers[at], behind * sizeof(uint64_t));
	memmove(&model->windows[at + 1], &model->windows[at], behind * sizeof(uint32_t));
	model->numbers[at] = number;
	model->windows[at] = window;
	model->count++;
}

static void model_remove(struct model *model, size_t at)
{
	size_t behind = --model->count - at;

	memmove(&model->numbers[at], &model->numbers[at + 1], behind * sizeof(uint64_t));
	memmove(&model->windows[at], &model->windows[at + 1], behind * sizeof(uint32_t));
}

static void compare_all(const struct pageset *set, const struct model *model)
{
	uint64_t number = 0;

	assert_int_equal(set->count, model->count);
	for (size_t i = 0; i < model->count; i++, number++) {
		const struct page *page = pageset_next(set, &number);

		assert_non_null(page);
		assert_true(number == model->numbers[i]);
		assert_int_equal(page->window, model->windows[i]);
	}
	if (number)
		assert_null(pageset_next(set, &number));
}

/* Dense, sparse, and at both ends. */
static uint64_t random_number(struct seeded *seeded)
{
	switch (seeded_below(seeded, 5)) {
	case 0:
		return seeded_below(seeded, 20);
	case 1:
		return UINT64_MAX - seeded_below(seeded, 20);
	case 2:
		return 0x7f0000000 + seeded_below(seeded, 300);
	case 3:
		return seeded_below(seeded, 100) << 40;
	default:
		return 0x555550000 + 512 * seeded_below(seeded, 50);
	}
}

static void random_step(struct seeded *seeded, struct pageset *set, struct model *model)
{
	uint64_t number = random_number(seeded), next = number;
	size_t at = model_at(model, number);
	const struct page *page = pageset_get(set, number);
	bool has = model_has(model, at, number);

	assert_int_equal(page != NULL, has);
	if (page)
		assert_int_equal(page->window, model->windows[at]);
	page = pageset_next(set, &next);
	assert_int_equal(page != NULL, at < model->count);
	if (page)
		assert_true(next == model->numbers[at]);
	if (has && seeded_once_in(seeded, 2)) {
		pageset_remove(set, number);
		model_remove(model, at);
	} else if (!has && model->count < MODEL_ROOM) {
		uint32_t window = (uint32_t)seeded_next(seeded);

		add(set, number, window);
		model_insert(model, at, number, window);
	}
}

static void random_steps_agree_with_a_sorted_array(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		static struct model model;
		struct seeded seeded = {seed};
		struct pageset set = {};

		model.count = 0;
		for (int i = 0; i < 4000; i++) {
			random_step(&seeded, &set, &model);
			if (i % 100 == 0)
				compare_all(&set, &model);
		}
		compare_all(&set, &model);
		pageset_deinit(&set);
		assert_int_equal(set.count, 0);
	}
}

static void pages_may_be_removed_while_they_are_walked(void **state)
{
	struct pageset *set = *state;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < 5000; i++)
		add(set, 3 * i, (uint32_t)i);
	for (uint64_t at = 0; pageset_next(set, &at); at++) {
		sum += at;
		if (at % 2)
			pageset_remove(set, at);
	}
	assert_int_equal(sum, 3ull * 5000 * 4999 / 2);
	assert_int_equal(set->count, 2500);
	for (uint64_t at = 0; pageset_next(set, &at); at++)
		assert_int_equal(at % 6, 0);
}

static void room_of_removed_pages_is_used_again(void **state)
{
	struct pageset *set = *state;

	for (int round = 0; round < 50; round++) {
		for (uint64_t i = 0; i < 200; i++)
			add(set, 1000 * round + i, (uint32_t)i);
		for (uint64_t i = 0; i < 200; i++)
			pageset_remove(set, 1000 * round + i);
	}
	assert_true(set->room <= 256);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(empty_set_has_no_page, setup, teardown),
		cmocka_unit_test_setup_teardown(page_is_found_until_it_is_removed, setup, teardown),
		cmocka_unit_test_setup_teardown(numbers_may_be_any, setup, teardown),
		cmocka_unit_test_setup_teardown(
			random_steps_agree_with_a_sorted_array, setup, teardown),
		cmocka_unit_test_setup_teardown(
			pages_may_be_removed_while_they_are_walked, setup, teardown),
		cmocka_unit_test_setup_teardown(
			room_of_removed_pages_is_used_again, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
