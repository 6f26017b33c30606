/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The ledger against a program that makes known memory calls. One run of pagestay watches one
 * process for each case; each test then compares all counters of its case with what the workload
 * was told by the kernel, and the interesting ones with the number that the case was written to
 * make.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "groups.h"
#include "harness.h"

static const char *const counters[] = {
	"ledger.brk.calls",
	"ledger.brk.grow_bytes",
	"ledger.brk.shrink_bytes",
	"ledger.brk.failed",
	"ledger.mmap.calls",
	"ledger.mmap.bytes",
	"ledger.mmap.anon_bytes",
	"ledger.mmap.failed",
	"ledger.munmap.calls",
	"ledger.munmap.bytes",
	"ledger.munmap.failed",
	"ledger.mremap.calls",
	"ledger.mremap.grow_bytes",
	"ledger.mremap.shrink_bytes",
	"ledger.mremap.failed",
	"ledger.mprotect.calls",
	"ledger.mprotect.commit_bytes",
	"ledger.mprotect.decommit_bytes",
	"ledger.mprotect.failed",
	"ledger.madvise.calls",
	"ledger.madvise.dontneed_bytes",
	"ledger.madvise.free_bytes",
	"ledger.madvise.other_bytes",
	"ledger.madvise.failed",
};

#define COUNTERS (sizeof(counters) / sizeof(counters[0]))

/* One number that a case is known to make; bytes are given in pages. */
struct known {
	const char *path;
	uint64_t value;
};

struct ledger_case {
	const char *test;
	const char *name;
	struct known known[6]; /* ends with an empty one */
};

/* What the run found out about a case. */
struct outcome {
	pid_t pid;
	char unsupported[256];
	uint64_t page_bytes;
	uint64_t truth[COUNTERS];
};

static const struct ledger_case cases[] = {
	{"ledger_counts_brk_growth", "brk-grow", {{"brk.calls", 7}, {"brk.grow_bytes", 21}}},
	{"ledger_counts_brk_shrinking", "brk-shrink",
		{{"brk.calls", 11}, {"brk.shrink_bytes", 55}}},
	{"brk_query_counts_nothing", "brk-query", {{0}}},
	{"brk_to_where_it_is_counts_nothing", "brk-unchanged", {{0}}},
	{"brk_queries_between_moves_disturb_nothing", "brk-query-between",
		{{"brk.calls", 5}, {"brk.grow_bytes", 21}, {"brk.shrink_bytes", 10}}},
	{"refused_brk_counts_as_failed_only", "brk-failed", {{"brk.failed", 17}}},
	{"ledger_counts_private_anonymous_mmap", "mmap-anon-private",
		{{"mmap.calls", 19}, {"mmap.bytes", 38}, {"mmap.anon_bytes", 38}}},
	{"shared_anonymous_mmap_is_not_anon_bytes", "mmap-anon-shared",
		{{"mmap.calls", 23}, {"mmap.bytes", 69}}},
	{"file_mmap_is_not_anon_bytes", "mmap-file-private",
		{{"mmap.calls", 29}, {"mmap.bytes", 29}}},
	{"refused_mmap_counts_as_failed_only", "mmap-failed", {{"mmap.failed", 13}}},
	{"ledger_counts_munmap", "munmap", {{"munmap.calls", 17}, {"munmap.bytes", 34}}},
	{"refused_munmap_counts_as_failed_only", "munmap-failed", {{"munmap.failed", 7}}},
	{"ledger_counts_mremap_growth", "mremap-grow",
		{{"mremap.calls", 11}, {"mremap.grow_bytes", 33}}},
	{"ledger_counts_mremap_shrinking", "mremap-shrink",
		{{"mremap.calls", 7}, {"mremap.shrink_bytes", 21}}},
	{"mremap_to_another_place_is_a_call_without_bytes", "mremap-move", {{"mremap.calls", 5}}},
	{"mremap_that_changes_nothing_counts_nothing", "mremap-unchanged", {{0}}},
	{"refused_mremap_counts_as_failed_only", "mremap-failed", {{"mremap.failed", 13}}},
	{"ledger_counts_mprotect_commit", "mprotect-commit",
		{{"mprotect.calls", 31}, {"mprotect.commit_bytes", 93}}},
	{"ledger_counts_mprotect_decommit", "mprotect-decommit",
		{{"mprotect.calls", 29}, {"mprotect.decommit_bytes", 87}}},
	{"mprotect_to_read_only_is_a_call_without_bytes", "mprotect-read-only",
		{{"mprotect.calls", 23}}},
	{"mprotect_of_writable_pages_counts_as_commit", "mprotect-rewrite",
		{{"mprotect.calls", 5}, {"mprotect.commit_bytes", 15}}},
	{"refused_mprotect_counts_as_failed_only", "mprotect-failed", {{"mprotect.failed", 19}}},
	{"ledger_counts_madvise_dontneed", "madvise-dontneed",
		{{"madvise.calls", 37}, {"madvise.dontneed_bytes", 148}}},
	{"ledger_counts_madvise_free", "madvise-free",
		{{"madvise.calls", 41}, {"madvise.free_bytes", 164}}},
	{"ledger_counts_other_advice_apart", "madvise-other",
		{{"madvise.calls", 43}, {"madvise.other_bytes", 172}}},
	{"refused_madvise_counts_as_failed_only", "madvise-failed", {{"madvise.failed", 17}}},
	{"ledger_counts_the_calls_of_all_threads", "threads",
		{{"mmap.calls", 35}, {"mmap.anon_bytes", 70}, {"mprotect.calls", 15},
			{"mprotect.commit_bytes", 45}}},
	{"calls_of_a_forked_child_are_not_its_parents", "forked-child",
		{{"mprotect.calls", 5}, {"brk.calls", 1}, {"brk.grow_bytes", 2},
			{"mmap.calls", 0}}},
	{"calls_by_the_32_bit_entry_count_nothing", "compat", {{"mprotect.calls", 1}}},
	{"each_call_is_booked_on_its_own_line", "everything",
		{{"brk.grow_bytes", 5}, {"mmap.bytes", 18}, {"mremap.grow_bytes", 13},
			{"munmap.failed", 1}, {"madvise.calls", 3}}},
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

static struct outcome outcomes[CASES];

static void keep_truth(struct outcome *outcome, struct workload *workload)
{
	outcome->page_bytes = workload_number(workload, "page_bytes");
	for (size_t i = 0; i < COUNTERS; i++)
		outcome->truth[i] = workload_number(workload, counters[i]);
}

static struct report *run_all_cases(void)
{
	struct workload *workloads[CASES];
	struct pagestay *pagestay;
	struct words options = {0};
	struct report *report;

	for (size_t i = 0; i < CASES; i++)
		workloads[i] = workload_launch("ledger", "%s", cases[i].name);
	for (size_t i = 0; i < CASES; i++) {
		const char *reason;

		workload_await_ready(workloads[i]);
		outcomes[i].pid = workload_pid(workloads[i]);
		reason = workload_unsupported(workloads[i]);
		if (reason)
			(void)snprintf(outcomes[i].unsupported, sizeof(outcomes[i].unsupported),
				"%s", reason);
		else
			words_add_pid(&options, outcomes[i].pid);
	}
	pagestay = pagestay_start(&options);
	words_deinit(&options);
	for (size_t i = 0; i < CASES; i++)
		if (!outcomes[i].unsupported[0])
			workload_go(workloads[i]);
	for (size_t i = 0; i < CASES; i++) {
		if (outcomes[i].unsupported[0])
			continue;
		workload_await_done(workloads[i]);
		keep_truth(&outcomes[i], workloads[i]);
	}
	report = pagestay_stop(pagestay);
	for (size_t i = 0; i < CASES; i++)
		workload_end(workloads[i]);
	return report;
}

static struct live_session session;

static bool is_bytes(const char *path)
{
	return strstr(path, "_bytes") || strstr(path, ".bytes");
}

/* The workload itself must have made what its case was written to make. */
static void require_known(const struct ledger_case *ledger_case, const struct outcome *outcome)
{
	for (const struct known *known = ledger_case->known; known->path; known++) {
		uint64_t expected =
			known->value * (is_bytes(known->path) ? outcome->page_bytes : 1);

		for (size_t i = 0; i < COUNTERS; i++)
			if (strcmp(counters[i] + strlen("ledger."), known->path) == 0)
				assert_int_equal(outcome->truth[i], expected);
	}
}

static void case_is_counted_exactly(void **state)
{
	const struct ledger_case *ledger_case = *state;
	const struct outcome *outcome = &outcomes[ledger_case - cases];
	struct report *report = live_session_report(&session, run_all_cases);
	bool is_exact = true;

	if (outcome->unsupported[0])
		live_skip("%s", outcome->unsupported);
	require_known(ledger_case, outcome);
	for (size_t i = 0; i < COUNTERS; i++)
		is_exact &= report_expect(
			report, ledger_case->name, outcome->pid, counters[i], outcome->truth[i]);
	assert_true(is_exact);
}

static const struct outcome *outcome_of(const char *name)
{
	for (size_t i = 0; i < CASES; i++)
		if (strcmp(cases[i].name, name) == 0)
			return &outcomes[i];
	live_fail("no case '%s'", name);
}

/* The kernel marks pages as lazily freed in batches, so the last ones of each CPU may not show yet.
 */
static void lazily_freed_memory_is_reported(void **state)
{
	struct report *report = live_session_report(&session, run_all_cases);
	const struct outcome *outcome = outcome_of("madvise-free");
	uint64_t pages = report_last(report, outcome->pid, "lazyfree_bytes") / outcome->page_bytes;
	uint64_t freed_pages = 41 * 4;

	(void)state;
	assert_in_range(pages, freed_pages - 64, freed_pages);
}

/* A process that becomes a server while pagestay looks at all servers is counted from then on. */
static void ledger_of_a_server_that_starts_later_is_exact(void **state)
{
	struct pagestay *pagestay = pagestay_start(&(struct words){0});
	struct workload *workload = workload_start("ledger", "--listen everything");
	struct outcome outcome = {.pid = workload_pid(workload)};
	struct report *report;
	size_t first_line;
	bool is_exact = true;

	(void)state;
	/* What the program did while it started must be in a line of its own. */
	first_line = pagestay_lines(pagestay) + 1;
	pagestay_await_lines(pagestay, first_line);
	workload_run(workload);
	keep_truth(&outcome, workload);
	report = pagestay_stop(pagestay);
	workload_end(workload);
	for (size_t i = 0; i < COUNTERS; i++) {
		uint64_t sum = report_sum_from(report, first_line, outcome.pid, counters[i]);

		if (sum != outcome.truth[i])
			print_error("%s is %" PRIu64 ", the truth is %" PRIu64 "\n", counters[i],
				sum, outcome.truth[i]);
		is_exact &= sum == outcome.truth[i];
	}
	report_free(report);
	assert_true(is_exact);
}

static void ledger_detail_counts_memory_calls_and_no_requests(void **state)
{
	struct workload *workload;
	struct outcome outcome = {0};
	struct pagestay *pagestay;
	struct report *report;
	char options[64];
	json_t *process;
	bool is_exact = true;

	(void)state;
	live_require_support();
	workload = workload_start("ledger", "everything");
	outcome.pid = workload_pid(workload);
	(void)snprintf(options, sizeof(options), "--detail ledger -p %d 1", (int)outcome.pid);
	pagestay = pagestay_start_text(options);
	workload_run(workload);
	keep_truth(&outcome, workload);
	report = pagestay_stop(pagestay);
	workload_end(workload);
	for (size_t i = 0; i < COUNTERS; i++)
		is_exact &= report_expect(
			report, "everything", outcome.pid, counters[i], outcome.truth[i]);
	assert_true(is_exact);
	process = json_array_get(json_object_get(report_line(report, 0), "processes"), 0);
	/* What was not looked at is absent, which is not zero. */
	assert_true(json_is_null(json_object_get(process, "requests")));
	report_free(report);
}

int run_ledger_group(void)
{
	struct CMUnitTest tests[CASES + 3];
	int failed;

	for (size_t i = 0; i < CASES; i++)
		tests[i] = (struct CMUnitTest){.name = cases[i].test,
			.test_func = case_is_counted_exactly,
			.teardown_func = live_teardown,
			.initial_state = (void *)&cases[i]};
	tests[CASES] = (struct CMUnitTest)live_test(ledger_of_a_server_that_starts_later_is_exact);
	tests[CASES + 1] =
		(struct CMUnitTest)live_test(ledger_detail_counts_memory_calls_and_no_requests);
	tests[CASES + 2] = (struct CMUnitTest)live_test(lazily_freed_memory_is_reported);
	failed = cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
	report_free(session.report);
	return failed;
}
