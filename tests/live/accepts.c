/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Accepts and connections against a program that takes a known number of connections, for each way
 * to accept and each family of stream sockets. One run of pagestay watches them all.
 */
#include <stdio.h>

#include "groups.h"
#include "harness.h"

struct accept_case {
	const char *test;
	const char *arguments;
};

static const struct accept_case cases[] = {
	{"accept_is_counted_on_tcp4", "accept tcp4"},
	{"accept_is_counted_on_tcp6", "accept tcp6"},
	{"accept_is_counted_on_a_unix_path", "accept unix"},
	{"accept_is_counted_on_an_abstract_name", "accept abstract"},
	{"accept4_is_counted_on_tcp4", "accept4 tcp4"},
	{"accept4_is_counted_on_tcp6", "accept4 tcp6"},
	{"accept4_is_counted_on_a_unix_path", "accept4 unix"},
	{"accept4_is_counted_on_an_abstract_name", "accept4 abstract"},
	{"accepts_that_find_nobody_count_nothing", "eagain tcp4"},
	{"accepts_that_find_nobody_count_nothing_on_unix", "eagain unix"},
	{"accepts_on_wrong_descriptors_count_nothing", "wrong tcp4"},
	{"accepts_without_a_free_descriptor_count_nothing", "emfile tcp4"},
	{"accepts_without_a_free_descriptor_count_nothing_on_unix", "emfile unix"},
	{"uring_accept_is_counted_on_tcp4", "uring tcp4"},
	{"uring_accept_is_counted_on_tcp6", "uring tcp6"},
	{"uring_accept_is_counted_on_unix", "uring unix"},
	{"uring_multishot_accept_is_counted_on_tcp4", "uring-multishot tcp4"},
	{"uring_multishot_accept_is_counted_on_unix", "uring-multishot abstract"},
	{"uring_accept_into_a_direct_descriptor_is_counted", "uring-direct tcp4"},
	{"uring_accept_into_a_direct_descriptor_is_counted_on_unix", "uring-direct unix"},
	{"uring_multishot_accept_into_direct_descriptors_is_counted",
		"uring-multishot-direct tcp4"},
	{"connection_that_the_server_closes_is_closed", "accept4 tcp4 --server-closes"},
	{"connection_that_the_server_closes_is_closed_on_unix", "accept4 unix --server-closes"},
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

struct outcome {
	pid_t pid;
	char unsupported[256];
	uint64_t accepts, opened, closed, open, requests;
};

static struct outcome outcomes[CASES];
static struct live_session session;

static void keep_truth(struct outcome *outcome, struct workload *workload)
{
	outcome->accepts = workload_number(workload, "accepts");
	outcome->opened = workload_number(workload, "opened");
	outcome->closed = workload_number(workload, "closed");
	outcome->open = workload_number(workload, "open");
	outcome->requests = workload_number(workload, "requests");
}

static struct report *run_all_cases(void)
{
	struct workload *workloads[CASES];
	struct pagestay *pagestay;
	struct words options = {0};
	struct report *report;

	for (size_t i = 0; i < CASES; i++)
		workloads[i] = workload_launch("accepts", "%s", cases[i].arguments);
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

static void case_is_counted_exactly(void **state)
{
	const struct accept_case *accept_case = *state;
	const struct outcome *outcome = &outcomes[accept_case - cases];
	struct report *report = live_session_report(&session, run_all_cases);
	const char *who = accept_case->arguments;
	bool is_exact = true;

	if (outcome->unsupported[0])
		live_skip("%s", outcome->unsupported);
	is_exact &= report_expect(report, who, outcome->pid, "accepts", outcome->accepts);
	is_exact &= report_expect(report, who, outcome->pid, "connections.opened", outcome->opened);
	is_exact &= report_expect(report, who, outcome->pid, "connections.closed", outcome->closed);
	is_exact &= report_expect(report, who, outcome->pid, "requests", outcome->requests);
	assert_true(is_exact);
	assert_int_equal(report_last(report, outcome->pid, "connections.open"), outcome->open);
	report_require_balance(report, outcome->pid);
}

int run_accepts_group(void)
{
	struct CMUnitTest tests[CASES];
	int failed;

	for (size_t i = 0; i < CASES; i++)
		tests[i] = (struct CMUnitTest){.name = cases[i].test,
			.test_func = case_is_counted_exactly,
			.teardown_func = live_teardown,
			.initial_state = (void *)&cases[i]};
	failed = cmocka_run_group_tests_name("accepts", tests, NULL, NULL);
	report_free(session.report);
	return failed;
}
