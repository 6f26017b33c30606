/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The field table names every number once, reads the right one, and is what docs/JSON.md tells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pagestay/base/cleanup.h"
#include "pagestay/core/report.h"

static int64_t known(const struct report_process *process, const char *name)
{
	const struct field *field = report_field(name);
	int64_t value = -1;

	assert_non_null(field);
	assert_non_null(field->get);
	assert_true(field->get(process, field->argument, &value));
	return value;
}

static void assert_unknown(const struct report_process *process, const char *name)
{
	const struct field *field = report_field(name);
	int64_t value = 4711;
	double real = 4711;

	assert_non_null(field);
	if (field->get_real)
		assert_false(field->get_real(process, field->argument, &real));
	else
		assert_false(field->get(process, field->argument, &value));
	assert_int_equal(value, 4711);
	assert_true(real == 4711);
}

static double real(const struct report_process *process, const char *name)
{
	const struct field *field = report_field(name);
	double value = -1;

	assert_non_null(field);
	assert_non_null(field->get_real);
	assert_true(field->get_real(process, field->argument, &value));
	return value;
}

static void names_are_paths_without_conflict(void **state)
{
	for (size_t i = 0; i < report_field_count; i++) {
		const char *name = report_fields[i].name;
		size_t length = strlen(name);

		assert_ptr_equal(report_field(name), &report_fields[i]);
		for (size_t j = 0; j < report_field_count; j++) {
			const char *other = report_fields[j].name;

			assert_false(strncmp(name, other, length) == 0 && other[length] == '.');
		}
	}
	assert_null(report_field("ledger"));
	assert_null(report_field(""));
}

static bool ends_with(const char *name, const char *end)
{
	size_t length = strlen(name);

	return length > strlen(end) && strcmp(name + length - strlen(end), end) == 0;
}

static enum field_unit unit_of(const char *name)
{
	if (strstr(name, "_per_"))
		return FIELD_AVERAGE;
	if (ends_with(name, "_ratio"))
		return FIELD_RATIO;
	if (ends_with(name, "_s"))
		return FIELD_SECONDS;
	if (ends_with(name, "_ns"))
		return FIELD_NANOSECONDS;
	if (strstr(name, "_pages"))
		return FIELD_PAGES;
	return ends_with(name, "bytes") ? FIELD_BYTES : FIELD_COUNT;
}

static void names_tell_the_unit(void **state)
{
	for (size_t i = 0; i < report_field_count; i++) {
		const struct field *field = &report_fields[i];
		bool growth = strncmp(field->name, "growth.", 7) == 0 &&
			      strcmp(field->name, "growth.error_bytes") != 0;

		assert_int_equal(field->unit, unit_of(field->name));
		assert_int_equal(
			field->kind == FIELD_DELTA, growth || strstr(field->name, "delta") != NULL);
		assert_int_equal(field->help[strlen(field->help) - 1], '.');
	}
}

static void real_units_and_no_others_are_read_as_real_numbers(void **state)
{
	for (size_t i = 0; i < report_field_count; i++) {
		const struct field *field = &report_fields[i];
		bool is_real = field->unit == FIELD_RATIO || field->unit == FIELD_SECONDS ||
			       field->unit == FIELD_AVERAGE;

		assert_int_equal(field->get_real != NULL, is_real);
		assert_int_equal(field->get != NULL, !is_real);
	}
}

/* What routes are balanced with (the tracker's own) is the only counter that no report shows. */
static void every_counter_but_one_has_a_field(void **state)
{
	for (int counter = 0; counter < PS_COUNTERS; counter++) {
		static const struct heap no_heap;
		struct report_process process = {.heap = &no_heap};
		int readers = 0;

		process.counters[counter] = 7;
		for (size_t i = 0; i < report_field_count; i++) {
			int64_t value = 0;

			if (!report_fields[i].get)
				continue;
			assert_true(
				report_fields[i].get(&process, report_fields[i].argument, &value));
			readers += value == 7;
		}
		assert_int_equal(readers, counter == PS_REQUESTS_ROUTED ? 0 : 1);
	}
}

static void fields_read_what_they_name(void **state)
{
	struct report_process process = {
		.open = 2,
		.closed = 3,
		.faults_background = 5,
		.rss_bytes = 7,
		.anon_bytes = 11,
		.lazyfree_bytes = 13,
		.swap_bytes = 17,
		.rss_delta_bytes = -19,
		.anon_delta_bytes = 23,
		.cpu_ns = 47,
	};

	process.counters[PS_ACCEPTS] = 29;
	process.counters[PS_CONNECTIONS_OPENED] = 31;
	process.counters[PS_MPROTECT_COMMIT_BYTES] = 37;
	process.counters[PS_MADVISE_FREE_BYTES] = 41;
	process.counters[PS_FAULTS_OVERLAPPING] = 43;
	assert_int_equal(known(&process, "connections.open"), 2);
	assert_int_equal(known(&process, "connections.closed"), 3);
	assert_int_equal(known(&process, "faults.background"), 5);
	assert_int_equal(known(&process, "rss_bytes"), 7);
	assert_int_equal(known(&process, "anon_bytes"), 11);
	assert_int_equal(known(&process, "lazyfree_bytes"), 13);
	assert_int_equal(known(&process, "swap_bytes"), 17);
	assert_int_equal(known(&process, "rss_delta_bytes"), -19);
	assert_int_equal(known(&process, "anon_delta_bytes"), 23);
	assert_int_equal(known(&process, "accepts"), 29);
	assert_int_equal(known(&process, "connections.opened"), 31);
	assert_int_equal(known(&process, "ledger.mprotect.commit_bytes"), 37);
	assert_int_equal(known(&process, "ledger.madvise.free_bytes"), 41);
	assert_int_equal(known(&process, "faults.overlapping"), 43);
	assert_int_equal(known(&process, "cpu_ns"), 47);
}

static void fields_of_heaps_read_what_they_name(void **state)
{
	const struct heap heap = {
		.walk_ns = 1,
		.read_bytes = 2,
		.system_bytes = 3,
		.mmapped_bytes = 4,
		.live_bytes = 5,
		.cached_bytes = 6,
		.held_free_bytes = 7,
		.fastbin_bytes = 8,
		.top_bytes = 9,
		.held_free_resident_bytes = 10,
		.top_resident_bytes = 11,
		.trimmable_bytes = 12,
		.trimmable_top_bytes = 13,
		.page_pinned_bytes = 14,
		.arenas = 15,
		.segments = 16,
		.lost_segments = 17,
		.lost_bytes = 18,
		.active_bytes = 19,
		.dirty_bytes = 20,
		.muzzy_bytes = 21,
		.anon_bytes = 22,
		.huge_bytes = 23,
		.lazyfree_bytes = 24,
		.threads = 25,
		.purging_threads = HEAP_UNKNOWN,
	};
	static const char *const names[] = {"heap.walk_ns", "heap.read_bytes", "heap.system_bytes",
		"heap.mmapped_bytes", "heap.live_bytes", "heap.cached_bytes",
		"heap.held_free_bytes", "heap.fastbin_bytes", "heap.top_bytes",
		"heap.held_free_resident_bytes", "heap.top_resident_bytes", "heap.trimmable_bytes",
		"heap.trimmable_top_bytes", "heap.page_pinned_bytes", "heap.arenas",
		"heap.segments", "heap.lost_segments", "heap.lost_bytes", "heap.active_bytes",
		"heap.dirty_bytes", "heap.muzzy_bytes", "heap.anon_bytes", "heap.huge_bytes",
		"heap.lazyfree_bytes", "heap.threads"};
	struct report_process process = {.heap = &heap};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(known(&process, names[i]), i + 1);
	assert_unknown(&process, "heap.purging_threads");
	process.heap = NULL;
	for (size_t i = 0; i < report_field_count; i++)
		if (strncmp(report_fields[i].name, "heap.", 5) == 0)
			assert_unknown(&process, report_fields[i].name);
}

static void fields_of_pages_read_what_they_name(void **state)
{
	struct report_process process = {
		.page_bytes = 4096,
		.retention =
			{
				.touched = {2, 3, 5},
				.kept = {7, 11, 13},
				.swapped_pages = 17,
				.lazyfree_pages = 19,
				.half_life_s = 0.5,
				.half_life_over_s = 600,
				.touched_pages_per_request = 4.25,
				.kept_pages_per_request = 1.5,
			},
		.attribution =
			{
				.exclusive = 23,
				.overlapping = 29,
				.background = 31,
				.exclusive_ratio = 0.25,
				.overlapping_ratio = 0.5,
				.background_ratio = 0.125,
				.followed_pages = 37,
				.copied_pages = 41,
				.kernel_pages = 43,
				.huge_pages = 47,
				.background_kept_pages = 53,
			},
		.growth = {-59, -61, 67, 71, -73, 79},
		.sample_ratio = 0.0625,
	};

	assert_int_equal(known(&process, "retention.touched_pages"), 2);
	assert_int_equal(known(&process, "retention.touched_pages_low"), 3);
	assert_int_equal(known(&process, "retention.touched_pages_high"), 5);
	assert_int_equal(known(&process, "retention.kept_pages"), 7);
	assert_int_equal(known(&process, "retention.kept_pages_low"), 11);
	assert_int_equal(known(&process, "retention.kept_pages_high"), 13);
	assert_int_equal(known(&process, "retention.swapped_pages"), 17);
	assert_int_equal(known(&process, "retention.lazyfree_pages"), 19);
	assert_int_equal(known(&process, "retention.copied_pages"), 41);
	assert_int_equal(known(&process, "retention.kernel_pages"), 43);
	assert_int_equal(known(&process, "retention.huge_pages"), 47);
	assert_true(real(&process, "retention.touched_pages_per_request") == 4.25);
	assert_true(real(&process, "retention.kept_pages_per_request") == 1.5);
	assert_true(real(&process, "retention.kept_bytes_per_request") == 6144);
	assert_true(real(&process, "retention.kept_bytes_per_1000_requests") == 6144000);
	assert_true(real(&process, "retention.half_life_s") == 0.5);
	assert_true(real(&process, "retention.half_life_over_s") == 600);
	assert_true(real(&process, "retention.sample_ratio") == 0.0625);
	assert_int_equal(known(&process, "attribution.exclusive"), 23);
	assert_int_equal(known(&process, "attribution.overlapping"), 29);
	assert_int_equal(known(&process, "attribution.background"), 31);
	assert_true(real(&process, "attribution.exclusive_ratio") == 0.25);
	assert_true(real(&process, "attribution.overlapping_ratio") == 0.5);
	assert_true(real(&process, "attribution.background_ratio") == 0.125);
	assert_int_equal(known(&process, "attribution.followed_pages"), 37);
	assert_int_equal(known(&process, "background.touched_pages"), 31);
	assert_int_equal(known(&process, "background.kept_pages"), 53);
	assert_int_equal(known(&process, "growth.requests_bytes"), -59);
	assert_int_equal(known(&process, "growth.background_bytes"), -61);
	assert_int_equal(known(&process, "growth.earlier_bytes"), 67);
	assert_int_equal(known(&process, "growth.files_bytes"), 71);
	assert_int_equal(known(&process, "growth.unexplained_bytes"), -73);
	assert_int_equal(known(&process, "growth.error_bytes"), 79);
}

static void nothing_of_pages_is_known_where_none_is_tracked(void **state)
{
	struct report_process process = {
		.page_bytes = 4096, .attribution.background = 5, .sample_ratio = NAN};

	report_retention_unknown(&process.retention);
	for (size_t i = 0; i < report_field_count; i++) {
		const char *name = report_fields[i].name;

		if (strcmp(name, "retention.copied_pages") == 0 ||
			strcmp(name, "retention.kernel_pages") == 0 ||
			strcmp(name, "retention.huge_pages") == 0)
			continue;
		if (strncmp(name, "retention.", 10) == 0)
			assert_unknown(&process, name);
	}
	/* These are faults. */
	assert_int_equal(known(&process, "attribution.background"), 5);
	assert_unknown(&process, "background.touched_pages");
	for (int i = 0; i < REPORT_AGES; i++) {
		assert_true(process.retention.survival[i].touched_pages == REPORT_UNKNOWN);
		assert_true(process.retention.survival[i].kept_pages == REPORT_UNKNOWN);
		assert_true(isnan(process.retention.survival[i].ratio));
		assert_true(isnan(process.retention.survival[i].low));
		assert_true(isnan(process.retention.survival[i].high));
	}
	assert_true(process.retention.growth_bytes == REPORT_DELTA_UNKNOWN);
}

static void real_numbers_are_finite_and_not_negative(void **state)
{
	const double impossible[] = {NAN, INFINITY, -INFINITY, -1, -1e-300};
	struct report_process process = {.page_bytes = UINT64_MAX};

	for (size_t i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++) {
		process.retention.half_life_s = impossible[i];
		process.retention.kept_pages_per_request = impossible[i];
		process.sample_ratio = impossible[i];
		assert_unknown(&process, "retention.half_life_s");
		assert_unknown(&process, "retention.kept_pages_per_request");
		assert_unknown(&process, "retention.kept_bytes_per_request");
		assert_unknown(&process, "retention.kept_bytes_per_1000_requests");
		assert_unknown(&process, "retention.sample_ratio");
	}
	process.retention.kept_pages_per_request = 1e300;
	assert_true(real(&process, "retention.kept_pages_per_request") == 1e300);
	assert_unknown(&process, "retention.kept_bytes_per_1000_requests");
}

static void unknown_is_told_apart_from_every_value(void **state)
{
	struct report_process process = {
		.rss_bytes = REPORT_UNKNOWN,
		.rss_delta_bytes = REPORT_DELTA_UNKNOWN,
		.anon_delta_bytes = REPORT_DELTA_UNKNOWN + 1,
	};

	process.counters[PS_FAULTS_IN_REQUESTS] = REPORT_UNKNOWN;
	assert_unknown(&process, "rss_bytes");
	assert_unknown(&process, "rss_delta_bytes");
	assert_unknown(&process, "faults.in_requests");
	assert_true(known(&process, "anon_delta_bytes") == -INT64_MAX);
	assert_int_equal(known(&process, "anon_bytes"), 0);
}

static void great_numbers_are_clamped(void **state)
{
	struct report_process process = {
		.rss_bytes = (uint64_t)INT64_MAX + 1,
		.anon_bytes = REPORT_UNKNOWN - 1,
		.swap_bytes = INT64_MAX,
	};

	assert_true(known(&process, "rss_bytes") == INT64_MAX);
	assert_true(known(&process, "anon_bytes") == INT64_MAX);
	assert_true(known(&process, "swap_bytes") == INT64_MAX);
}

static void sums_of_the_ledger(void **state)
{
	struct report_process process = {};

	for (int counter = 0; counter < PS_COUNTERS; counter++)
		process.counters[counter] = 1ull << counter;
	assert_true(report_asked_bytes(&process) ==
		    (1ull << PS_BRK_GROW_BYTES | 1ull << PS_MMAP_ANON_BYTES |
			    1ull << PS_MREMAP_GROW_BYTES | 1ull << PS_MPROTECT_COMMIT_BYTES) -
			    (1ull << PS_MMAP_RESERVE_BYTES));
	assert_true(report_returned_bytes(&process) ==
		    (1ull << PS_BRK_SHRINK_BYTES | 1ull << PS_MUNMAP_BYTES |
			    1ull << PS_MREMAP_SHRINK_BYTES | 1ull << PS_MPROTECT_DECOMMIT_BYTES |
			    1ull << PS_MADVISE_DONTNEED_BYTES | 1ull << PS_MADVISE_FREE_BYTES) -
			    (1ull << PS_MUNMAP_RESERVE_BYTES));
}

static void sums_neither_wrap_nor_become_unknown(void **state)
{
	struct report_process process = {};

	process.counters[PS_MMAP_ANON_BYTES] = REPORT_UNKNOWN - 1;
	assert_true(report_asked_bytes(&process) == REPORT_UNKNOWN - 1);
	process.counters[PS_BRK_GROW_BYTES] = 1;
	assert_true(report_asked_bytes(&process) == REPORT_UNKNOWN - 1);
	process.counters[PS_BRK_GROW_BYTES] = 4096;
	assert_true(report_asked_bytes(&process) == REPORT_UNKNOWN - 1);
	process.counters[PS_BRK_GROW_BYTES] = REPORT_UNKNOWN;
	assert_true(report_asked_bytes(&process) == REPORT_UNKNOWN);
}

static char *read_file(const char *path)
{
	_cleanup_(cleanup_fclose) FILE *file = fopen(path, "r");
	char *text = calloc(1, 65536);

	assert_non_null(file);
	assert_non_null(text);
	assert_in_range(fread(text, 1, 65535, file), 1, 65534);
	return text;
}

static void the_documentation_lists_every_field_in_order(void **state)
{
	const char *const units[] = {
		"count", "bytes", "pages", "ratio", "seconds", "nanoseconds", "average"};
	const char *const kinds[] = {"counter", "gauge", "delta"};
	char *text = read_file("docs/JSON.md");
	const char *place = text;

	for (size_t i = 0; i < report_field_count; i++) {
		const struct field *field = &report_fields[i];
		char row[128];

		(void)snprintf(row, sizeof(row), "\n| `%s` | %s | %s |", field->name,
			units[field->unit], kinds[field->kind]);
		place = strstr(place, row);
		if (!place)
			fail_msg("docs/JSON.md lacks, or has too early:%s", row);
		place++;
	}
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_paths_without_conflict),
		cmocka_unit_test(names_tell_the_unit),
		cmocka_unit_test(real_units_and_no_others_are_read_as_real_numbers),
		cmocka_unit_test(every_counter_but_one_has_a_field),
		cmocka_unit_test(fields_read_what_they_name),
		cmocka_unit_test(fields_of_heaps_read_what_they_name),
		cmocka_unit_test(fields_of_pages_read_what_they_name),
		cmocka_unit_test(nothing_of_pages_is_known_where_none_is_tracked),
		cmocka_unit_test(real_numbers_are_finite_and_not_negative),
		cmocka_unit_test(unknown_is_told_apart_from_every_value),
		cmocka_unit_test(great_numbers_are_clamped),
		cmocka_unit_test(sums_of_the_ledger),
		cmocka_unit_test(sums_neither_wrap_nor_become_unknown),
		cmocka_unit_test(the_documentation_lists_every_field_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
