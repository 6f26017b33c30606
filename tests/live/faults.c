/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The split of faults into requests, overlapping requests and background, against a server that
 * touches known numbers of fresh pages at known moments. The serving threads are warmed up and know
 * how many faults they had beyond the plan (none, as a rule), so what falls into windows is
 * expected exactly; the background also holds what the rest of the process does (the workload's
 * main thread reads "go" and says "done"), for which BACKGROUND_SLACK pages are allowed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "groups.h"
#include "harness.h"

#define BACKGROUND_SLACK 32
/* Older kernels add a thread's pages to the process in batches of 64; the workload has two threads.
 */
#define RSS_SLACK (2 * 64)

struct fault_case {
	const char *test;
	const char *shape;
};

static const struct fault_case cases[] = {
	{"faults_between_receive_and_send_are_in_the_request", "touch"},
	{"faults_on_pages_that_stay_are_in_the_request", "keep"},
	{"faults_of_many_threads_are_each_in_their_request", "threads"},
	{"faults_after_the_last_send_are_background", "after"},
	{"faults_between_two_sends_are_in_the_request", "between-sends"},
	{"faults_with_two_requests_open_are_overlapping", "two-open"},
	{"faults_before_the_second_request_are_not_overlapping", "one-then-two-open"},
	{"faults_after_the_second_answer_are_in_neither_background_nor_lost", "two-then-one-open"},
	{"faults_of_another_thread_are_background", "beside"},
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

struct outcome {
	pid_t pid;
	uint64_t requests, in_requests, overlapping, background, open, unplanned;
};

static struct outcome outcomes[CASES];
static struct live_session session;

static void keep_truth(struct outcome *outcome, struct workload *workload)
{
	outcome->requests = workload_number(workload, "requests");
	outcome->in_requests = workload_number(workload, "in_requests");
	outcome->overlapping = workload_number(workload, "overlapping");
	outcome->background = workload_number(workload, "background");
	outcome->open = workload_number(workload, "open");
	outcome->unplanned = workload_number(workload, "unplanned");
}

static struct report *run_all_cases(void)
{
	struct workload *workloads[CASES];
	struct pagestay *pagestay;
	struct words options = {0};
	struct report *report;

	for (size_t i = 0; i < CASES; i++)
		workloads[i] = workload_launch("faults", "%s", cases[i].shape);
	for (size_t i = 0; i < CASES; i++) {
		workload_await_ready(workloads[i]);
		outcomes[i].pid = workload_pid(workloads[i]);
		words_add_pid(&options, outcomes[i].pid);
	}
	pagestay = pagestay_start(&options);
	words_deinit(&options);
	for (size_t i = 0; i < CASES; i++)
		workload_go(workloads[i]);
	for (size_t i = 0; i < CASES; i++) {
		workload_await_done(workloads[i]);
		keep_truth(&outcomes[i], workloads[i]);
	}
	report = pagestay_stop(pagestay);
	for (size_t i = 0; i < CASES; i++)
		workload_end(workloads[i]);
	return report;
}

static void require_within(const char *what, uint64_t value, uint64_t least, uint64_t most)
{
	if (value < least || value > most)
		live_fail("%s is %" PRIu64 ", expected %" PRIu64 " to %" PRIu64, what, value, least,
			most);
}

static void faults_are_split_exactly(void **state)
{
	const struct fault_case *fault_case = *state;
	const struct outcome *outcome = &outcomes[fault_case - cases];
	struct report *report = live_session_report(&session, run_all_cases);
	uint64_t in_requests = report_sum(report, outcome->pid, "faults.in_requests");
	uint64_t overlapping = report_sum(report, outcome->pid, "faults.overlapping");
	uint64_t background = report_sum(report, outcome->pid, "faults.background");

	print_message("%s: %" PRIu64 " in requests, %" PRIu64 " overlapping, %" PRIu64
		      " background; planned %" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64
		      " open\n",
		fault_case->shape, in_requests, overlapping, background, outcome->in_requests,
		outcome->overlapping, outcome->background, outcome->open);
	assert_int_equal(report_sum(report, outcome->pid, "requests"), outcome->requests);
	/* With one request answered and one still open, a page is the open one's or both's, but
	 * never lost. */
	require_within("in_requests + overlapping", in_requests + overlapping,
		outcome->in_requests + outcome->overlapping + outcome->open,
		outcome->in_requests + outcome->overlapping + outcome->open + outcome->unplanned);
	require_within("in_requests", in_requests, outcome->in_requests,
		outcome->in_requests + outcome->open + outcome->unplanned);
	require_within("background", background, outcome->background,
		outcome->background + outcome->unplanned + BACKGROUND_SLACK);
}

static int64_t field_of_line(const struct report *report, size_t line, const char *name)
{
	json_t *process =
		json_array_get(json_object_get(report_line(report, line), "processes"), 0);

	return json_integer_value(json_object_get(process, name));
}

/* Pages that stay show in the memory of the process, and its deltas add up to what it grew by. */
static void memory_grows_by_the_pages_that_stay(void **state)
{
	struct workload *workload;
	struct pagestay *pagestay;
	struct report *report;
	struct words options = {0};
	int64_t grown_bytes = 0, kept_bytes, first_bytes, last_bytes;
	size_t last;

	(void)state;
	live_require_support();
	workload = workload_start("faults", "keep");
	words_add_pid(&options, workload_pid(workload));
	pagestay = pagestay_start(&options);
	words_deinit(&options);
	pagestay_await_lines(pagestay, 1);
	workload_run(workload);
	report = pagestay_stop(pagestay);
	last = report_lines(report) - 1;
	for (size_t line = 1; line <= last; line++)
		grown_bytes += field_of_line(report, line, "rss_delta_bytes");
	first_bytes = field_of_line(report, 0, "rss_bytes");
	last_bytes = field_of_line(report, last, "rss_bytes");
	assert_int_equal(grown_bytes, last_bytes - first_bytes);
	kept_bytes = ((int64_t)workload_number(workload, "in_requests") - RSS_SLACK) *
		     sysconf(_SC_PAGESIZE);
	assert_true(grown_bytes >= kept_bytes);
	assert_true(field_of_line(report, last, "anon_bytes") -
			    field_of_line(report, 0, "anon_bytes") >=
		    kept_bytes);
	assert_true(field_of_line(report, last, "anon_bytes") <= last_bytes);
	report_free(report);
	workload_end(workload);
}

/* Reports that come while a request is open must not take its pages for background, even for a
 * while. */
static void faults_of_a_request_under_way_are_never_background(void **state)
{
	struct workload *workload;
	struct pagestay *pagestay;
	struct report *report;
	struct words options = {0};

	(void)state;
	live_require_support();
	workload = workload_start("faults", "held");
	words_add_pid(&options, workload_pid(workload));
	pagestay = pagestay_start(&options);
	words_deinit(&options);
	workload_go(workload);
	workload_await(workload, "held");
	pagestay_await_lines(pagestay, pagestay_lines(pagestay) + 2);
	workload_tell(workload, "release");
	workload_await_done(workload);
	report = pagestay_stop(pagestay);
	assert_int_equal(report_sum(report, workload_pid(workload), "faults.in_requests"),
		workload_number(workload, "in_requests") + workload_number(workload, "unplanned"));
	require_within("background",
		report_sum(report, workload_pid(workload), "faults.background"), 0,
		BACKGROUND_SLACK);
	report_free(report);
	workload_end(workload);
}

int run_faults_group(void)
{
	struct CMUnitTest tests[CASES + 2];
	int failed;

	for (size_t i = 0; i < CASES; i++)
		tests[i] = (struct CMUnitTest){.name = cases[i].test,
			.test_func = faults_are_split_exactly,
			.teardown_func = live_teardown,
			.initial_state = (void *)&cases[i]};
	tests[CASES] = (struct CMUnitTest)live_test(memory_grows_by_the_pages_that_stay);
	tests[CASES + 1] =
		(struct CMUnitTest)live_test(faults_of_a_request_under_way_are_never_background);
	failed = cmocka_run_group_tests_name("faults", tests, NULL, NULL);
	report_free(session.report);
	return failed;
}
