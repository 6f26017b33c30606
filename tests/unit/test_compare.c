/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reports folded into columns, columns made into a table, and the table as text, Markdown and JSON:
 * of reports made here, and of recordings against tests/golden/compare-*. Runs in the project's
 * root.
 */
#include "golden.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>

#include "pagestay/core/compare.h"
#include "pagestay/core/track.h"
#include "pagestay/sink/compare.h"
#include "pagestay/source/replay.h"

#define SECOND_NS 1000000000ull
#define MIB       (1ull << 20)

static struct report_process process_unknown(uint32_t pid, const char *comm)
{
	struct report_process process = {
		.key = {.tgid = pid, .start_ns = pid},
		.comm = comm,
		.rss_bytes = REPORT_UNKNOWN,
		.anon_bytes = REPORT_UNKNOWN,
		.rss_delta_bytes = REPORT_DELTA_UNKNOWN,
		.faults_background = REPORT_UNKNOWN,
		.sample_ratio = NAN,
		.cpu_ns = REPORT_UNKNOWN,
	};

	memset(process.counters, 0xff, sizeof(process.counters));
	report_retention_unknown(&process.retention);
	return process;
}

static struct report_process process_at(
	uint32_t pid, const char *comm, uint64_t rss_bytes, uint64_t requests)
{
	struct report_process process = process_unknown(pid, comm);

	memset(process.counters, 0, sizeof(process.counters));
	process.rss_bytes = rss_bytes;
	process.rss_delta_bytes = 0;
	process.counters[PS_REQUESTS] = requests;
	return process;
}

static struct report report_of(
	const struct report_process *processes, size_t count, uint64_t interval_ns)
{
	return (struct report){
		.interval_ns = interval_ns,
		.host = "vm",
		.source = "replay",
		.detail = "pages",
		.complete = true,
		.processes = processes,
		.process_count = count,
	};
}

static struct columns *columns_made(void)
{
	struct columns *columns = NULL;

	assert_int_equal(columns_new(&columns), 0);
	return columns;
}

static void fold_one(
	struct columns *columns, const struct report_process *process, uint64_t interval_ns)
{
	const struct report report = report_of(process, 1, interval_ns);

	assert_int_equal(columns_fold(columns, &report), 0);
}

static void fold_rss(struct columns *columns, uint64_t rss_bytes, uint64_t requests, double seconds)
{
	const struct report_process process = process_at(1, "server", rss_bytes, requests);

	fold_one(columns, &process, (uint64_t)(seconds * SECOND_NS));
}

static const struct column *chosen(const struct columns *columns)
{
	const struct columns_choice any = {};
	uint64_t fitting = 0;

	return columns_choose(columns, &any, &fitting);
}

/* The table of one process with itself. */
static struct comparison comparison_of(const struct columns *columns, bool marks_by_requests)
{
	const struct columns_head *heads[2] = {columns_head(columns), columns_head(columns)};
	const struct column *sides[2] = {chosen(columns), chosen(columns)};
	struct comparison comparison;

	assert_non_null(sides[0]);
	compare(heads, sides, marks_by_requests, &comparison);
	return comparison;
}

static const struct compare_row *row_of(const struct comparison *comparison, const char *name)
{
	for (size_t i = 0; i < comparison->row_count; i++)
		if (comparison->rows[i].name && strcmp(comparison->rows[i].name, name) == 0)
			return &comparison->rows[i];
	fail_msg("no row %s", name);
	return NULL;
}

static double value_of(const struct columns *columns, const char *name)
{
	const struct comparison comparison = comparison_of(columns, false);

	return row_of(&comparison, name)->values[0];
}

/* NAN: there is no such mark. */
static double mark_of(const struct columns *columns, bool by_requests, uint64_t mark)
{
	const struct comparison comparison = comparison_of(columns, by_requests);

	for (size_t i = 0; i < comparison.row_count; i++)
		if (!comparison.rows[i].name && comparison.rows[i].mark == mark)
			return comparison.rows[i].values[0];
	return NAN;
}

static bool is(double actual, double expected)
{
	return isnan(expected) ? isnan(actual) : fabs(actual - expected) <= fabs(expected) * 1e-9;
}

#define assert_value(columns, name, expected) assert_true(is(value_of(columns, name), expected))
#define assert_mark(columns, by_requests, mark, expected)                                          \
	assert_true(is(mark_of(columns, by_requests, mark), expected))

/*
 * Folding
 */

static void rss_at_start_peak_and_end(void **state)
{
	struct columns *columns = columns_made();
	struct report_process first = process_at(1, "server", 30 * MIB, 5);

	first.rss_delta_bytes = 20 * MIB;
	fold_one(columns, &first, SECOND_NS);
	fold_rss(columns, 90 * MIB, 5, 1);
	fold_rss(columns, 40 * MIB, 5, 1);
	assert_value(columns, "rss_start_bytes", 10 * MIB);
	assert_value(columns, "rss_peak_bytes", 90 * MIB);
	assert_value(columns, "rss_end_bytes", 40 * MIB);
	columns_free(columns);
}

static void start_may_be_the_peak(void **state)
{
	struct columns *columns = columns_made();
	struct report_process first = process_at(1, "server", 30 * MIB, 5);

	first.rss_delta_bytes = -(int64_t)(20 * MIB);
	fold_one(columns, &first, SECOND_NS);
	assert_value(columns, "rss_peak_bytes", 50 * MIB);
	columns_free(columns);
}

static void exit_leaves_the_last_known_memory(void **state)
{
	struct columns *columns = columns_made();
	struct report_process last = process_unknown(1, "server");

	fold_rss(columns, 30 * MIB, 5, 1);
	last.exited = true;
	last.counters[PS_REQUESTS] = 2;
	fold_one(columns, &last, SECOND_NS);
	assert_value(columns, "rss_end_bytes", 30 * MIB);
	assert_value(columns, "requests", 7);
	assert_true(chosen(columns)->exited);
	columns_free(columns);
}

static void marks_in_time_are_at_the_nearest_end(void **state)
{
	struct columns *columns = columns_made();

	/* Ends at 9.5, 10.25 (nearer to 10), 28, 33 (28 is nearer to 30). */
	fold_rss(columns, 1 * MIB, 1, 9.5);
	fold_rss(columns, 2 * MIB, 1, 0.75);
	fold_rss(columns, 3 * MIB, 1, 17.75);
	fold_rss(columns, 4 * MIB, 1, 5);
	assert_mark(columns, false, 10, 2 * MIB);
	assert_mark(columns, false, 30, 3 * MIB);
	assert_mark(columns, false, 60, NAN);
	columns_free(columns);
}

static void marks_far_from_any_end_are_not_told(void **state)
{
	struct columns *columns = columns_made();

	for (int i = 1; i <= 10; i++)
		fold_rss(columns, i * MIB, 1, 60);
	assert_mark(columns, false, 10, NAN);
	assert_mark(columns, false, 30, NAN);
	assert_mark(columns, false, 60, 1 * MIB);
	assert_mark(columns, false, 300, 5 * MIB);
	assert_mark(columns, false, 600, 10 * MIB);
	columns_free(columns);
}

static void marks_in_requests(void **state)
{
	struct columns *columns = columns_made();

	fold_rss(columns, 1 * MIB, 900, 1);
	fold_rss(columns, 2 * MIB, 150, 1); /* 1,050 is nearer to 1,000 */
	fold_rss(columns, 3 * MIB, 2000, 1);
	assert_mark(columns, true, 1000, 2 * MIB);
	assert_mark(columns, true, 2000, NAN);
	assert_mark(columns, true, 100, NAN);
	assert_mark(columns, false, 10, NAN);
	columns_free(columns);
}

static void marks_need_both_columns(void **state)
{
	struct columns *longer = columns_made(), *shorter = columns_made();
	struct comparison comparison;

	for (int i = 0; i < 30; i++) {
		fold_rss(longer, MIB, 1, 1);
		if (i < 12)
			fold_rss(shorter, MIB, 1, 1);
	}
	compare((const struct columns_head *const[]){columns_head(longer), columns_head(shorter)},
		(const struct column *const[]){chosen(longer), chosen(shorter)}, false,
		&comparison);
	assert_string_equal(comparison.rows[1].title, "RSS at 10 s");
	assert_null(comparison.rows[1].name);
	assert_string_equal(comparison.rows[2].name, "rss_peak_bytes");
	columns_free(longer);
	columns_free(shorter);
}

static void idle_is_the_last_interval_well_after_requests(void **state)
{
	struct columns *columns = columns_made();

	fold_rss(columns, 50 * MIB, 0, 60); /* nothing yet to be idle after */
	assert_value(columns, "rss_idle_bytes", NAN);
	fold_rss(columns, 50 * MIB, 10, 1);
	fold_rss(columns, 40 * MIB, 0, 1);
	fold_rss(columns, 30 * MIB, 0, 1);
	assert_value(columns, "rss_idle_bytes", NAN);
	fold_rss(columns, 20 * MIB, 0, 1);
	assert_value(columns, "rss_idle_bytes", 20 * MIB);
	fold_rss(columns, 10 * MIB, 0, 1);
	fold_rss(columns, 60 * MIB, 10, 1);
	assert_value(columns, "rss_idle_bytes", 10 * MIB);
	assert_int_equal(chosen(columns)->idle_ns, 4 * SECOND_NS);
	columns_free(columns);
}

static void rates_are_of_the_time_that_counts(void **state)
{
	struct columns *columns = columns_made();
	struct report_process process = process_at(1, "server", MIB, 300);

	process.counters[PS_MADVISE_CALLS] = 60;
	process.counters[PS_FAULTS_IN_REQUESTS] = 500;
	process.counters[PS_FAULTS_OVERLAPPING] = 100;
	process.faults_background = 23;
	process.cpu_ns = 3 * SECOND_NS / 2;
	fold_one(columns, &process, SECOND_NS);
	fold_rss(columns, MIB, 100, 1);
	fold_rss(columns, MIB, 0, 8);
	assert_value(columns, "requests", 400);
	assert_value(columns, "requests_per_s", 200);
	assert_value(columns, "requests_per_s_peak", 300);
	assert_value(columns, "madvise_calls_per_s", 6);
	assert_value(columns, "faults", 623);
	assert_value(columns, "faults_per_request", 1.5);
	assert_value(columns, "cpu_s", 1.5);
	assert_value(columns, "cpu_s_per_1000_requests", 3.75);
	assert_value(columns, "observed_s", 10);
	columns_free(columns);
}

static void ledger_is_summed(void **state)
{
	struct columns *columns = columns_made();
	struct report_process process = process_at(1, "server", MIB, 1);

	process.counters[PS_MPROTECT_COMMIT_BYTES] = 7 * MIB;
	process.counters[PS_MADVISE_DONTNEED_BYTES] = 2 * MIB;
	fold_one(columns, &process, SECOND_NS);
	fold_one(columns, &process, SECOND_NS);
	assert_value(columns, "asked_bytes", 14 * MIB);
	assert_value(columns, "returned_bytes", 4 * MIB);
	columns_free(columns);
}

static void pages_are_as_of_the_last_report_that_knew(void **state)
{
	struct columns *columns = columns_made();
	struct report_process process = process_at(1, "server", MIB, 1);

	process.page_bytes = 4096;
	process.retention.kept_pages_per_request = 2.5;
	process.retention.survival[0].ratio = 0.75;
	process.retention.survival[1].ratio = 0.5;
	fold_one(columns, &process, SECOND_NS);
	fold_rss(columns, MIB, 1, 1);
	assert_value(columns, "kept_pages_per_request", 2.5);
	assert_value(columns, "survival_1s", 0.75);
	assert_value(columns, "survival_10s", 0.5);
	assert_value(columns, "survival_60s", NAN);
	columns_free(columns);
}

static void heap_unknown_here(struct heap *heap)
{
	memset(heap, 0xff, sizeof(*heap));
}

static void heap_of_glibc(void **state)
{
	struct columns *columns = columns_made();
	struct report_process process = process_at(1, "server", MIB, 1);
	struct heap heap;

	heap_unknown_here(&heap);
	heap.live_bytes = 20 * MIB;
	heap.held_free_bytes = 900 * MIB;
	heap.held_free_resident_bytes = 600 * MIB;
	process.heap = &heap;
	fold_one(columns, &process, SECOND_NS);
	assert_value(columns, "live_bytes", 20 * MIB);
	assert_value(columns, "held_free_resident_bytes", 600 * MIB);
	assert_false(chosen(columns)->live_is_pages);
	columns_free(columns);
}

static void heap_of_jemalloc(void **state)
{
	struct columns *columns = columns_made();
	struct report_process process = process_at(1, "server", MIB, 1);
	struct heap heap;

	heap_unknown_here(&heap);
	heap.active_bytes = 58 * MIB;
	heap.dirty_bytes = 5 * MIB;
	heap.muzzy_bytes = 2 * MIB;
	process.heap = &heap;
	fold_one(columns, &process, SECOND_NS);
	assert_value(columns, "live_bytes", 58 * MIB);
	assert_value(columns, "held_free_resident_bytes", 7 * MIB);
	assert_true(chosen(columns)->live_is_pages);
	heap.dirty_bytes = HEAP_UNKNOWN;
	fold_one(columns, &process, SECOND_NS);
	assert_value(columns, "held_free_resident_bytes", NAN);
	columns_free(columns);
}

static void heap_that_lost_nothing_is_preferred(void **state)
{
	struct columns *columns = columns_made();
	struct report_process process = process_at(1, "server", MIB, 1);
	struct heap heap;

	heap_unknown_here(&heap);
	heap.live_bytes = 5 * MIB;
	heap.lost_segments = 2;
	heap.lost_bytes = 70 * MIB;
	process.heap = &heap;
	fold_one(columns, &process, SECOND_NS);
	assert_value(columns, "live_bytes", 5 * MIB);
	assert_int_equal(chosen(columns)->heap_lost_bytes, 70 * MIB);
	heap.live_bytes = 20 * MIB;
	heap.lost_segments = heap.lost_bytes = 0;
	fold_one(columns, &process, SECOND_NS);
	heap.live_bytes = 6 * MIB;
	heap.lost_segments = 1;
	heap.lost_bytes = 0;
	fold_one(columns, &process, SECOND_NS);
	assert_value(columns, "live_bytes", 20 * MIB);
	assert_int_equal(chosen(columns)->heap_lost_bytes, 0);
	assert_int_equal(chosen(columns)->heap_at_ns, 2 * SECOND_NS);
	columns_free(columns);
}

static void heap_of_an_earlier_interval_is_no_news(void **state)
{
	struct columns *columns = columns_made();
	struct report_process process = process_at(1, "server", MIB, 1);
	struct heap heap;

	heap_unknown_here(&heap);
	heap.live_bytes = 5 * MIB;
	process.heap = &heap;
	fold_one(columns, &process, SECOND_NS);
	process.heap_age_s = 1;
	fold_one(columns, &process, SECOND_NS);
	assert_value(columns, "live_bytes", 5 * MIB);
	assert_int_equal(chosen(columns)->heap_at_ns, SECOND_NS);
	columns_free(columns);
}

static void allocator_is_the_first(void **state)
{
	struct columns *columns = columns_made();
	struct report_process process = process_at(1, "server", MIB, 1);
	struct allocators allocators = {.count = 2,
		.list = {{.name = ALLOCATOR_JEMALLOC, .version = "5.3.0"},
			{.name = ALLOCATOR_GLIBC, .version = "2.36"}}};

	process.allocators = &allocators;
	fold_one(columns, &process, SECOND_NS);
	fold_rss(columns, MIB, 1, 1);
	assert_int_equal(chosen(columns)->allocator, ALLOCATOR_JEMALLOC);
	assert_string_equal(chosen(columns)->allocator_version, "5.3.0");
	allocators.list[0].name = ALLOCATOR_NAMES;
	fold_one(columns, &process, SECOND_NS);
	assert_int_equal(chosen(columns)->allocator, ALLOCATOR_JEMALLOC);
	columns_free(columns);
}

static void nothing_known_is_nothing_told(void **state)
{
	struct columns *columns = columns_made();
	const struct report_process process = process_unknown(1, "server");
	struct comparison comparison;

	fold_one(columns, &process, SECOND_NS);
	comparison = comparison_of(columns, false);
	for (size_t i = 0; i < comparison.row_count; i++) {
		const struct compare_row *row = &comparison.rows[i];

		if (strcmp(row->name, "observed_s") == 0)
			continue;
		assert_true(isnan(row->values[0]));
		assert_true(isnan(compare_ratio(row)));
		assert_true(isnan(compare_difference(row)));
	}
	columns_free(columns);
}

static void forged_numbers_saturate(void **state)
{
	struct columns *columns = columns_made();
	struct report_process process = process_at(1, "server", REPORT_UNKNOWN - 1, 1);
	struct comparison comparison;

	for (int i = 0; i < PS_COUNTERS; i++)
		process.counters[i] = REPORT_UNKNOWN - 1;
	process.rss_delta_bytes = -1;
	process.faults_background = process.cpu_ns = REPORT_UNKNOWN - 1;
	process.page_bytes = REPORT_UNKNOWN - 1;
	process.retention.kept_pages_per_request = 1e300;
	for (int i = 0; i < 3; i++)
		fold_one(columns, &process, REPORT_UNKNOWN - 1);
	fold_one(columns, &process, 0);
	comparison = comparison_of(columns, true);
	for (size_t i = 0; i < comparison.row_count; i++)
		assert_false(comparison.rows[i].values[0] < 0);
	assert_int_equal(chosen(columns)->requests, REPORT_UNKNOWN - 1);
	assert_int_equal(chosen(columns)->observed_ns, REPORT_UNKNOWN - 1);
	assert_value(columns, "rss_start_bytes", NAN);
	columns_free(columns);
}

static void forged_change_leaves_the_start_unknown(void **state)
{
	struct columns *columns = columns_made();
	struct report_process process = process_at(1, "server", MIB, 1);

	process.rss_delta_bytes = 2 * MIB;
	fold_one(columns, &process, SECOND_NS);
	assert_value(columns, "rss_start_bytes", NAN);
	columns_free(columns);
}

static void intervals_without_a_length_have_no_rate(void **state)
{
	struct columns *columns = columns_made();

	fold_rss(columns, MIB, 10, 0);
	assert_value(columns, "requests_per_s", NAN);
	assert_value(columns, "requests_per_s_peak", NAN);
	assert_value(columns, "madvise_calls_per_s", NAN);
	columns_free(columns);
}

static void losses_and_damage_are_kept(void **state)
{
	struct columns *columns = columns_made();
	const struct report_process process = process_at(1, "server", MIB, 1);
	struct report report = report_of(&process, 1, SECOND_NS);

	report.complete = false;
	report.lost[PS_LOST_PAGES] = 5;
	assert_int_equal(columns_fold(columns, &report), 0);
	assert_int_equal(columns_fold(columns, &report), 0);
	fold_rss(columns, MIB, 1, 1);
	assert_false(columns_head(columns)->complete);
	assert_int_equal(columns_head(columns)->lost[PS_LOST_PAGES], 10);
	assert_int_equal(columns_head(columns)->lost[PS_LOST_EVENTS], 0);
	columns_free(columns);
}

/*
 * Choosing
 */

static uint32_t choose(const struct columns *columns, struct columns_choice choice, int fitting)
{
	uint64_t found = 99;
	const struct column *column = columns_choose(columns, &choice, &found);

	assert_int_equal(found, fitting);
	return column ? column->key.tgid : 0;
}

static void choice_by_requests_then_rss_then_pid(void **state)
{
	struct columns *columns = columns_made();
	const struct report_process processes[] = {
		process_unknown(4, "quiet"),
		process_at(9, "busy", 2 * MIB, 7),
		process_at(8, "busy", 3 * MIB, 7),
		process_at(7, "busy", 3 * MIB, 7),
		process_at(6, "large", 99 * MIB, 6),
	};
	const struct report report = report_of(processes, 5, SECOND_NS);

	assert_int_equal(columns_fold(columns, &report), 0);
	assert_int_equal(choose(columns, (struct columns_choice){}, 5), 7);
	assert_int_equal(choose(columns, (struct columns_choice){.comm = "busy"}, 3), 7);
	assert_int_equal(choose(columns, (struct columns_choice){.comm = "large"}, 1), 6);
	assert_int_equal(choose(columns, (struct columns_choice){.comm = "quiet"}, 1), 4);
	assert_int_equal(choose(columns, (struct columns_choice){.comm = ""}, 0), 0);
	assert_int_equal(choose(columns, (struct columns_choice){.by_pid = true, .pid = 9}, 1), 9);
	assert_int_equal(choose(columns, (struct columns_choice){.by_pid = true, .pid = 5}, 0), 0);
	columns_free(columns);
}

static void a_reused_pid_is_another_process(void **state)
{
	struct columns *columns = columns_made();
	struct report_process process = process_at(1, "server", MIB, 1);

	fold_one(columns, &process, SECOND_NS);
	process.key.start_ns++;
	fold_one(columns, &process, SECOND_NS);
	assert_int_equal(choose(columns, (struct columns_choice){.by_pid = true, .pid = 1}, 2), 1);
	assert_value(columns, "requests", 1);
	columns_free(columns);
}

static void processes_are_bounded_and_the_rest_counted(void **state)
{
	struct columns *columns = columns_made();

	for (uint32_t pid = 1; pid <= COMPARE_PROCESSES + 3; pid++) {
		const struct report_process process = process_at(pid, "fork", MIB, 1);

		fold_one(columns, &process, SECOND_NS);
	}
	assert_int_equal(columns_head(columns)->processes, COMPARE_PROCESSES);
	assert_int_equal(columns_head(columns)->unfolded, 3);
	assert_false(columns_head(columns)->complete);
	columns_free(columns);
}

static void ratio_and_difference(void **state)
{
	const struct compare_row row = {.values = {4, 1}}, none = {.values = {0, 5}};

	assert_true(is(compare_ratio(&row), 0.25));
	assert_true(is(compare_difference(&row), -3));
	assert_true(isnan(compare_ratio(&none)));
	assert_true(is(compare_difference(&none), 5));
}

/*
 * Writing
 */

typedef int (*writer_fn)(
	FILE *out, const struct comparison *comparison, const char *const words[2]);

static char *written(
	writer_fn write, const struct comparison *comparison, const char *a, const char *b)
{
	const char *const words[2] = {a, b};
	char *bytes = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&bytes, &length);

	assert_non_null(out);
	assert_int_equal(write(out, comparison, words), 0);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(strlen(bytes), length);
	return bytes;
}

#define HOSTILE_COMM "|`a\x1b[b](c)\\\n"
#define HOSTILE_WORD "`|<img src=x onerror=alert(1)>\xff\r\n# h"

static struct columns *hostile_columns(void)
{
	struct columns *columns = columns_made();
	struct report_process process = process_at(1, HOSTILE_COMM, 3 * MIB, 1);
	struct allocators allocators = {
		.count = 1, .list = {{.name = ALLOCATOR_GLIBC, .version = HOSTILE_COMM}}};

	process.allocators = &allocators;
	fold_one(columns, &process, SECOND_NS);
	return columns;
}

static void assert_printable_lines(const char *text, size_t width)
{
	size_t column = 0;

	for (; *text; text++) {
		assert_true(*text == '\n' || (*text >= ' ' && *text <= '~'));
		column = *text == '\n' ? 0 : column + 1;
		assert_true(column <= width);
	}
}

static void hostile_names_in_text(void **state)
{
	struct columns *columns = hostile_columns();
	const struct comparison comparison = comparison_of(columns, false);
	char *text = written(compare_write_text, &comparison, HOSTILE_WORD, HOSTILE_WORD);

	assert_printable_lines(text, 80);
	assert_non_null(strstr(text, "A  |`a\\x1b[b](c)\\\\\\x0a (pid 1)"));
	free(text);
	columns_free(columns);
}

/* Bars that part cells; those in the names would be too many. */
static void hostile_names_in_markdown(void **state)
{
	struct columns *columns = hostile_columns();
	const struct comparison comparison = comparison_of(columns, false);
	char *text = written(compare_write_markdown, &comparison, HOSTILE_WORD, HOSTILE_WORD);
	char *line, *rest = text;
	int rows = 0;

	assert_printable_lines(text, 1024);
	while ((line = strsep(&rest, "\n"))) {
		int bars = 0, ticks = 0;

		for (const char *byte = line; *byte; byte++) {
			bars += *byte == '|';
			ticks += *byte == '`';
			/* Whatever could be markup stands between two backticks. */
			if (strchr("<[]\\", *byte))
				assert_true(ticks % 2);
		}
		assert_int_equal(bars, line[0] == '|' ? 6 : 0);
		assert_int_equal(ticks % 2, 0);
		rows += line[0] == '|';
	}
	assert_int_equal(rows, comparison.row_count + 2);
	free(text);
	columns_free(columns);
}

static void hostile_names_in_json(void **state)
{
	struct columns *columns = hostile_columns();
	const struct comparison comparison = comparison_of(columns, false);
	char *text = written(compare_write_json, &comparison, HOSTILE_WORD, HOSTILE_WORD);
	json_t *tree = json_loads(text, 0, NULL);

	assert_non_null(tree);
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	assert_string_equal(json_string_value(json_object_get(json_object_get(tree, "a"), "comm")),
		HOSTILE_COMM);
	json_decref(tree);
	free(text);
	columns_free(columns);
}

static void writing_to_a_full_disk_fails(void **state)
{
	static const writer_fn writers[] = {
		compare_write_text, compare_write_markdown, compare_write_json};
	struct columns *columns = hostile_columns();
	const struct comparison comparison = comparison_of(columns, false);
	const char *const words[2] = {"a", "b"};

	for (size_t i = 0; i < sizeof(writers) / sizeof(writers[0]); i++) {
		FILE *out = fopen("/dev/full", "w");

		assert_non_null(out);
		assert_int_equal(writers[i](out, &comparison, words), -ENOSPC);
		(void)fclose(out);
	}
	columns_free(columns);
}

/* What a user reads below the table. */
static void notes_tell_what_changes_how_it_is_read(void **state)
{
	struct columns *columns = columns_made();
	struct report_process process = process_at(1, "server", MIB, 9);
	struct report report = report_of(&process, 1, SECOND_NS);
	struct comparison comparison;
	struct heap heap;
	char *text;

	heap_unknown_here(&heap);
	heap.active_bytes = MIB;
	heap.lost_segments = 1;
	heap.lost_bytes = 3 * MIB;
	process.heap = &heap;
	process.sample_ratio = 1.0 / 64;
	process.counters[PS_REQUESTS_ENCRYPTED] = 3;
	report.complete = false;
	report.lost[PS_LOST_PAGES] = 5;
	assert_int_equal(columns_fold(columns, &report), 0);
	fold_rss(columns, MIB, 0, 30);
	comparison = comparison_of(columns, false);
	text = written(compare_write_text, &comparison, "a", "b");
	assert_printable_lines(text, 80);
	assert_non_null(
		strstr(text, "\nA LOST 0 records, 0 map entries, 5 page records, 0 runs: "));
	assert_non_null(strstr(text, "\nB LOST "));
	assert_non_null(strstr(text, "\nA: one page in 64 was tracked; "));
	assert_non_null(strstr(text, "\nA: requests are an estimate: "));
	assert_non_null(strstr(text, "\nA: live heap is whole pages "));
	assert_non_null(strstr(text, "\nA: its x-rays lost 3.0M of the heap: "));
	assert_non_null(strstr(text, "\nHeaps: as of A 30.0 s, B 30.0 s before "));
	assert_non_null(strstr(text, "\nAfter idle: A 30.0 s, B 30.0 s after "));
	free(text);
	columns_free(columns);
}

/*
 * Recordings
 */

struct replayed {
	struct track *track;
	struct columns *columns;
};

static int fold_event(void *context, const struct event *event)
{
	struct replayed *replayed = context;
	int result = track_event(replayed->track, event);

	return result > 0 ? columns_fold(replayed->columns, track_report(replayed->track)) : result;
}

static struct columns *columns_of_recording(const char *name)
{
	const struct track_options options = {
		.source = "replay", .max_processes = 8192, .max_routes = 8192, .max_pages = 327680};
	struct replayed replayed = {.columns = columns_made()};
	struct source *source = NULL;
	struct diag diag = {};
	char path[128];
	int result;

	(void)snprintf(path, sizeof(path), "tests/recordings/%s.psr", name);
	assert_int_equal(track_new(&options, &replayed.track), 0);
	assert_int_equal(source_replay_open(path, &source, &diag), 0);
	do
		result = source_drain(source, SOURCE_TICK, fold_event, &replayed, &diag);
	while (result > 0);
	assert_int_equal(result, 0);
	source_close(source);
	track_free(replayed.track);
	return replayed.columns;
}

static void assert_golden_of(const char *name, const struct comparison *comparison)
{
	static const struct {
		const char *suffix;
		writer_fn write;
	} formats[] = {
		{"txt", compare_write_text},
		{"md", compare_write_markdown},
		{"json", compare_write_json},
	};

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		char file[64];

		(void)snprintf(file, sizeof(file), "compare-%s.%s", name, formats[i].suffix);
		assert_golden(file, written(formats[i].write, comparison, "before", "after"));
	}
}

static void assert_compares_as_golden(
	const char *name, const char *a, const char *b, bool marks_by_requests)
{
	struct columns *before = columns_of_recording(a), *after = columns_of_recording(b);
	const struct column *columns[2] = {chosen(before), chosen(after)};
	const struct columns_head *heads[2] = {columns_head(before), columns_head(after)};
	struct comparison comparison;

	compare(heads, columns, marks_by_requests, &comparison);
	assert_golden_of(name, &comparison);
	columns_free(before);
	columns_free(after);
}

static void servers_that_keep_and_servers_that_do_not(void **state)
{
	assert_compares_as_golden("servers", "page-servers", "servers", true);
}

static void hostile_recordings(void **state)
{
	assert_compares_as_golden("hostile", "hostile", "hostile-pages", false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rss_at_start_peak_and_end),
		cmocka_unit_test(start_may_be_the_peak),
		cmocka_unit_test(exit_leaves_the_last_known_memory),
		cmocka_unit_test(marks_in_time_are_at_the_nearest_end),
		cmocka_unit_test(marks_far_from_any_end_are_not_told),
		cmocka_unit_test(marks_in_requests),
		cmocka_unit_test(marks_need_both_columns),
		cmocka_unit_test(idle_is_the_last_interval_well_after_requests),
		cmocka_unit_test(rates_are_of_the_time_that_counts),
		cmocka_unit_test(ledger_is_summed),
		cmocka_unit_test(pages_are_as_of_the_last_report_that_knew),
		cmocka_unit_test(heap_of_glibc),
		cmocka_unit_test(heap_of_jemalloc),
		cmocka_unit_test(heap_that_lost_nothing_is_preferred),
		cmocka_unit_test(heap_of_an_earlier_interval_is_no_news),
		cmocka_unit_test(allocator_is_the_first),
		cmocka_unit_test(nothing_known_is_nothing_told),
		cmocka_unit_test(forged_numbers_saturate),
		cmocka_unit_test(forged_change_leaves_the_start_unknown),
		cmocka_unit_test(intervals_without_a_length_have_no_rate),
		cmocka_unit_test(losses_and_damage_are_kept),
		cmocka_unit_test(choice_by_requests_then_rss_then_pid),
		cmocka_unit_test(a_reused_pid_is_another_process),
		cmocka_unit_test(processes_are_bounded_and_the_rest_counted),
		cmocka_unit_test(ratio_and_difference),
		cmocka_unit_test(hostile_names_in_text),
		cmocka_unit_test(hostile_names_in_markdown),
		cmocka_unit_test(hostile_names_in_json),
		cmocka_unit_test(writing_to_a_full_disk_fails),
		cmocka_unit_test(notes_tell_what_changes_how_it_is_read),
		cmocka_unit_test(servers_that_keep_and_servers_that_do_not),
		cmocka_unit_test(hostile_recordings),
	};

	return cmocka_run_group_tests_name("compare", tests, NULL, NULL);
}
