/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The field table names every number once, reads the right one, and is what docs/JSON.md tells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

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
	assert_true(field->get(process, field->argument, &value));
	return value;
}

static void assert_unknown(const struct report_process *process, const char *name)
{
	const struct field *field = report_field(name);
	int64_t value = 4711;

	assert_non_null(field);
	assert_false(field->get(process, field->argument, &value));
	assert_int_equal(value, 4711);
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

static void names_tell_the_unit(void **state)
{
	for (size_t i = 0; i < report_field_count; i++) {
		const struct field *field = &report_fields[i];
		size_t length = strlen(field->name);
		bool bytes = length > 5 && strcmp(field->name + length - 5, "bytes") == 0;

		assert_int_equal(field->unit, bytes ? FIELD_BYTES : FIELD_COUNT);
		assert_int_equal(field->kind == FIELD_DELTA, strstr(field->name, "delta") != NULL);
		assert_int_equal(field->help[strlen(field->help) - 1], '.');
	}
}

/* What routes are balanced with (the tracker's own) is the only counter that no report shows. */
static void every_counter_but_one_has_a_field(void **state)
{
	for (int counter = 0; counter < PS_COUNTERS; counter++) {
		struct report_process process = {};
		int readers = 0;

		process.counters[counter] = 7;
		for (size_t i = 0; i < report_field_count; i++) {
			int64_t value = 0;

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
	const char *const units[] = {"count", "bytes", "pages"};
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
		cmocka_unit_test(every_counter_but_one_has_a_field),
		cmocka_unit_test(fields_read_what_they_name),
		cmocka_unit_test(unknown_is_told_apart_from_every_value),
		cmocka_unit_test(great_numbers_are_clamped),
		cmocka_unit_test(sums_of_the_ledger),
		cmocka_unit_test(sums_neither_wrap_nor_become_unknown),
		cmocka_unit_test(the_documentation_lists_every_field_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
