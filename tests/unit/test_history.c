/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Histories: sums, idleness, and which samples stay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "pagestay/core/history.h"

#define S   1000000000ull
#define MIB (1ull << 20)

struct world {
	struct history history;
	struct report_process process;
	struct heap heap;
};

static void process_unknown(struct report_process *process)
{
	memset(process, 0xff, sizeof(*process)); /* REPORT_UNKNOWN in every number */
	process->comm = "server";
	process->exe = NULL;
	process->exited = false;
	process->routes = NULL;
	process->route_count = 0;
	process->allocators = NULL;
	process->heap = NULL;
	process->history = NULL;
	process->growth = (struct report_growth){REPORT_DELTA_UNKNOWN, REPORT_DELTA_UNKNOWN,
		REPORT_DELTA_UNKNOWN, REPORT_DELTA_UNKNOWN, REPORT_DELTA_UNKNOWN, REPORT_UNKNOWN};
	report_retention_unknown(&process->retention);
}

static int setup(void **state)
{
	static struct world world;

	history_init(&world.history);
	process_unknown(&world.process);
	heap_unknown(&world.heap);
	*state = &world;
	return 0;
}

static void fold(struct world *world, uint64_t interval_s, uint64_t rss_mib, uint64_t requests)
{
	world->process.rss_bytes = rss_mib * MIB;
	world->process.counters[PS_REQUESTS] = requests;
	history_fold(&world->history, &world->process, interval_s * S, 0);
}

static void nothing_known_stays_unknown(void **state)
{
	struct world *world = *state;
	const struct history *history = &world->history;

	history_fold(&world->history, &world->process, 10 * S, 0);
	assert_int_equal(history->intervals, 1);
	assert_int_equal(history->observed_ns, 10 * S);
	assert_int_equal(history->idle_ns, 10 * S);
	assert_int_equal(history->requests, REPORT_UNKNOWN);
	assert_int_equal(history->asked_bytes, REPORT_UNKNOWN);
	assert_int_equal(history->rss_least_bytes, REPORT_UNKNOWN);
	assert_int_equal(history->rss_most_bytes, REPORT_UNKNOWN);
	assert_int_equal(history->rss_at_idle_bytes, REPORT_UNKNOWN);
	assert_int_equal(history->touched_bytes, REPORT_UNKNOWN);
	assert_true(history->growth_files_bytes == REPORT_DELTA_UNKNOWN);
	assert_int_equal(history->samples[0].live_bytes, REPORT_UNKNOWN);
}

static void sums_are_of_what_was_known(void **state)
{
	struct world *world = *state;
	struct report_process *process = &world->process;
	const struct history *history = &world->history;

	for (int i = 0; i < PS_COUNTERS; i++)
		process->counters[i] = 0;
	process->counters[PS_BRK_GROW_BYTES] = 100;
	process->counters[PS_MPROTECT_COMMIT_BYTES] = 20;
	process->counters[PS_MADVISE_DONTNEED_BYTES] = 7;
	process->counters[PS_MADVISE_CALLS] = 3;
	process->retention.touched.value = 2;
	process->page_bytes = 4096;
	process->growth.files_bytes = -5;
	process->open = 9;
	fold(world, 10, 50, 4);
	process->counters[PS_BRK_GROW_BYTES] = REPORT_UNKNOWN;
	process->growth.files_bytes = -6;
	process->open = 3;
	fold(world, 10, 40, 5);
	process->retention.touched.value = REPORT_UNKNOWN;
	process->growth.files_bytes = REPORT_DELTA_UNKNOWN;
	fold(world, 10, 60, 0);
	assert_int_equal(history->requests, 9);
	assert_int_equal(history->asked_bytes, 120);
	assert_int_equal(history->returned_bytes, 21);
	assert_int_equal(history->madvise_calls, 9);
	assert_int_equal(history->touched_bytes, 4 * 4096);
	assert_true(history->growth_files_bytes == -11);
	assert_int_equal(history->open_most, 9);
	assert_int_equal(history->rss_least_bytes, 40 * MIB);
	assert_int_equal(history->rss_most_bytes, 60 * MIB);
}

static void idleness_begins_after_the_last_request(void **state)
{
	struct world *world = *state;

	fold(world, 10, 50, 1);
	fold(world, 10, 80, 1);
	world->process.cpu_ns = 10 * S; /* with requests seen, CPU is no sign of any */
	fold(world, 10, 70, 0);
	fold(world, 5, 60, 0);
	assert_int_equal(world->history.idle_ns, 15 * S);
	assert_int_equal(world->history.busy_ns, 20 * S);
	assert_int_equal(world->history.rss_at_idle_bytes, 80 * MIB);
}

static void without_requests_cpu_is_work(void **state)
{
	struct world *world = *state;

	world->process.cpu_ns = S; /* a tenth of the interval */
	fold(world, 10, 50, 0);
	assert_int_equal(world->history.idle_ns, 0);
	world->process.cpu_ns = S / 10; /* a hundredth */
	fold(world, 10, 50, 0);
	assert_int_equal(world->history.idle_ns, 10 * S);
}

static void forged_numbers_saturate(void **state)
{
	struct world *world = *state;
	struct history *history = &world->history;

	for (int i = 0; i < PS_COUNTERS; i++)
		world->process.counters[i] = UINT64_MAX - 1;
	world->process.retention.touched.value = UINT64_MAX - 1;
	world->process.page_bytes = UINT64_MAX - 1;
	world->process.growth.files_bytes = INT64_MIN + 1;
	world->process.growth.requests_bytes = INT64_MAX;
	for (int i = 0; i < 3; i++)
		history_fold(history, &world->process, UINT64_MAX, UINT64_MAX);
	assert_int_equal(history->observed_ns, UINT64_MAX - 1);
	assert_int_equal(history->requests, UINT64_MAX - 1);
	assert_int_equal(history->touched_bytes, UINT64_MAX - 1);
	assert_int_equal(history->madvise_calls, UINT64_MAX - 1);
	assert_true(history->growth_files_bytes == INT64_MIN + 1);
	assert_true(history->growth_requests_bytes == INT64_MAX);
}

static void samples_hold_an_xray_of_glibc(void **state)
{
	struct world *world = *state;

	world->heap.allocator = ALLOCATOR_GLIBC;
	world->heap.live_bytes = 20 * MIB;
	world->heap.held_free_bytes = 800 * MIB;
	world->heap.held_free_resident_bytes = 600 * MIB;
	world->process.heap = &world->heap;
	fold(world, 10, 684, 1);
	assert_int_equal(world->history.samples[0].live_bytes, 20 * MIB);
	assert_int_equal(world->history.samples[0].held_free_bytes, 600 * MIB);
}

static void samples_hold_no_xray_that_lost_much(void **state)
{
	struct world *world = *state;

	world->heap.allocator = ALLOCATOR_GLIBC;
	world->heap.live_bytes = 20 * MIB;
	world->heap.system_bytes = 100 * MIB;
	world->heap.lost_segments = 3;
	world->heap.lost_bytes = 10 * MIB;
	world->process.heap = &world->heap;
	fold(world, 10, 110, 1);
	assert_int_equal(world->history.samples[0].live_bytes, 20 * MIB);
	world->heap.lost_bytes++;
	fold(world, 10, 110, 1);
	assert_int_equal(world->history.samples[1].live_bytes, REPORT_UNKNOWN);
	world->heap.lost_segments = 0;
	fold(world, 10, 110, 1);
	assert_int_equal(world->history.samples[2].live_bytes, 20 * MIB);
}

static void samples_hold_an_xray_of_jemalloc(void **state)
{
	struct world *world = *state;

	world->heap.allocator = ALLOCATOR_JEMALLOC;
	world->heap.active_bytes = 60 * MIB;
	world->heap.dirty_bytes = 99 * MIB;
	world->process.heap = &world->heap;
	fold(world, 10, 160, 1);
	assert_int_equal(world->history.samples[0].live_bytes, 60 * MIB);
	assert_int_equal(world->history.samples[0].held_free_bytes, 99 * MIB);
	world->heap.live_bytes = 30 * MIB;
	fold(world, 10, 160, 1);
	assert_int_equal(world->history.samples[1].live_bytes, 30 * MIB);
}

/* Long after the samples are full they cover the whole time, evenly, from first to newest. */
static void samples_stay_spread(void **state)
{
	struct world *world = *state;
	const struct history *history = &world->history;
	const uint64_t folds = 1000;

	for (uint64_t i = 1; i <= folds; i++)
		fold(world, 2, i, 1);
	assert_int_equal(history->sample_count, HISTORY_SAMPLES);
	assert_int_equal(history->samples[0].rss_bytes, MIB);
	assert_int_equal(history->samples[HISTORY_SAMPLES - 1].rss_bytes, folds * MIB);
	for (unsigned i = 1; i < HISTORY_SAMPLES; i++) {
		uint64_t gap_ns = history->samples[i].at_ns - history->samples[i - 1].at_ns;

		assert_true(gap_ns > 0);
		assert_true(gap_ns <= 3 * (folds * 2 * S) / HISTORY_SAMPLES);
		assert_int_equal(
			history->samples[i].rss_bytes / MIB * 2 * S, history->samples[i].at_ns);
	}
}

static void samples_with_an_xray_stay_longest(void **state)
{
	struct world *world = *state;
	unsigned xrays = 0;

	world->heap.allocator = ALLOCATOR_GLIBC;
	world->heap.live_bytes = MIB;
	for (int i = 0; i < 60; i++) {
		world->process.heap = i % 6 ? NULL : &world->heap;
		fold(world, 2, 50, 1);
	}
	for (unsigned i = 0; i < world->history.sample_count; i++)
		xrays += world->history.samples[i].live_bytes != REPORT_UNKNOWN;
	assert_int_equal(xrays, 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(nothing_known_stays_unknown, setup),
		cmocka_unit_test_setup(sums_are_of_what_was_known, setup),
		cmocka_unit_test_setup(idleness_begins_after_the_last_request, setup),
		cmocka_unit_test_setup(without_requests_cpu_is_work, setup),
		cmocka_unit_test_setup(forged_numbers_saturate, setup),
		cmocka_unit_test_setup(samples_hold_an_xray_of_glibc, setup),
		cmocka_unit_test_setup(samples_hold_no_xray_that_lost_much, setup),
		cmocka_unit_test_setup(samples_hold_an_xray_of_jemalloc, setup),
		cmocka_unit_test_setup(samples_stay_spread, setup),
		cmocka_unit_test_setup(samples_with_an_xray_stay_longest, setup),
	};

	return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
