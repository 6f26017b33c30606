/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Requests against servers of every shape and clients of every manner. One run of pagestay watches,
 * by process id, servers that listened before it started; another looks at all servers, and all of
 * them start after it. The truth is the servers' own books and, beside them, the number that each
 * case was written to make.
 */
#include <stdio.h>
#include <string.h>

#include "groups.h"
#include "harness.h"
#include "serving.h"

struct request_case {
	const char *test;
	const char *server;
	const char *client;
	uint64_t requests;
	/* The client connects before pagestay starts. */
	bool is_open_before;
};

/* Each server listens before pagestay starts. */
static const struct request_case selected_cases[] = {
	{"requests_are_exact_with_a_thread_per_connection", "--mode threads",
		"keepalive --connections 13 --requests 17 --threads 3", 221, false},
	{"requests_are_exact_with_one_event_loop", "--mode epoll",
		"keepalive --connections 13 --requests 17 --threads 3", 221, false},
	{"requests_are_exact_with_prefork_workers", "--mode prefork --workers 3",
		"keepalive --connections 13 --requests 17 --threads 3", 221, false},
	{"requests_are_exact_with_so_reuseport_workers", "--mode reuseport --workers 3",
		"keepalive --connections 31 --requests 7 --threads 5", 217, false},
	{"requests_are_exact_when_another_thread_sends", "--mode handoff",
		"keepalive --connections 13 --requests 17 --threads 3", 221, false},
	{"requests_are_exact_with_uring", "--mode uring",
		"keepalive --connections 13 --requests 17 --threads 3", 221, false},
	{"requests_are_exact_with_a_uring_polling_thread", "--mode uring-sqpoll",
		"keepalive --connections 13 --requests 17 --threads 3", 221, false},
	{"requests_are_exact_with_uring_multishot", "--mode uring-multishot",
		"keepalive --connections 13 --requests 17 --threads 3", 221, false},

	{"requests_are_exact_on_tcp6", "--family tcp6 --mode threads",
		"keepalive --connections 5 --requests 11 --threads 2", 55, false},
	{"requests_are_exact_on_tcp6_with_uring", "--family tcp6 --mode uring",
		"keepalive --connections 5 --requests 11 --threads 2", 55, false},
	{"requests_of_ipv4_clients_on_an_ipv6_socket_are_exact", "--family tcp46 --mode epoll",
		"keepalive --connections 5 --requests 11 --threads 2", 55, false},
	{"requests_are_exact_on_a_unix_path", "--family unix --mode epoll",
		"keepalive --connections 5 --requests 11 --threads 2", 55, false},
	{"requests_are_exact_on_an_abstract_name", "--family abstract --mode threads",
		"keepalive --connections 5 --requests 11 --threads 2", 55, false},
	{"requests_are_exact_on_unix_with_prefork_workers",
		"--family unix --mode prefork --workers 3",
		"keepalive --connections 5 --requests 11 --threads 2", 55, false},
	{"requests_are_exact_on_unix_with_uring", "--family unix --mode uring",
		"keepalive --connections 5 --requests 11 --threads 2", 55, false},

	{"requests_are_exact_by_read_and_write", "--receive read --send write",
		"keepalive --connections 3 --requests 19", 57, false},
	{"requests_are_exact_by_recvmsg_and_sendmsg",
		"--receive recvmsg --send sendmsg --mode epoll",
		"keepalive --connections 3 --requests 19", 57, false},
	{"requests_are_exact_by_readv_and_writev", "--receive readv --send writev",
		"keepalive --connections 3 --requests 19", 57, false},
	{"peeking_at_a_request_does_not_count_it_twice", "--receive peek --mode epoll",
		"keepalive --connections 3 --requests 19", 57, false},
	{"peeking_at_a_request_does_not_count_it_twice_on_unix", "--receive peek --family unix",
		"keepalive --connections 3 --requests 19", 57, false},
	{"requests_are_exact_by_read_and_write_on_unix",
		"--receive read --send write --family unix",
		"keepalive --connections 3 --requests 19", 57, false},
	{"requests_are_exact_by_readv_and_writev_on_unix",
		"--receive readv --send writev --family abstract",
		"keepalive --connections 3 --requests 19", 57, false},

	{"response_in_many_sends_is_one_request", "--send pieces --body 101 --mode epoll",
		"keepalive --connections 3 --requests 19", 57, false},
	{"response_larger_than_the_socket_takes_is_one_request",
		"--send write --body 3000017 --mode epoll",
		"keepalive --connections 2 --requests 3", 6, false},
	{"response_by_sendfile_is_one_request", "--send sendfile --body 10007",
		"keepalive --connections 3 --requests 19", 57, false},
	{"large_response_by_sendfile_is_one_request", "--send sendfile --body 3000017 --mode epoll",
		"keepalive --connections 2 --requests 3", 6, false},
	{"response_by_sendfile_on_unix_is_one_request",
		"--send sendfile --body 10007 --family unix",
		"keepalive --connections 3 --requests 19", 57, false},
	{"response_by_splice_is_one_request", "--send splice --body 10007",
		"keepalive --connections 3 --requests 19", 57, false},
	{"response_by_splice_on_unix_is_one_request", "--send splice --body 10007 --family unix",
		"keepalive --connections 3 --requests 19", 57, false},
	{"large_response_by_splice_is_one_request", "--send splice --body 3000017 --mode epoll",
		"keepalive --connections 2 --requests 3", 6, false},

	{"request_byte_by_byte_is_one_request", "--mode threads",
		"segments --connections 3 --requests 2", 6, false},
	{"request_byte_by_byte_is_one_request_with_an_event_loop", "--mode epoll --receive read",
		"segments --connections 3 --requests 2", 6, false},
	{"request_byte_by_byte_is_one_request_with_uring", "--mode uring",
		"segments --connections 3 --requests 2", 6, false},
	{"request_byte_by_byte_is_one_request_with_peeking", "--mode threads --receive peek",
		"segments --connections 3 --requests 2", 6, false},
	{"request_in_two_segments_is_one_request", "--mode epoll --receive readv",
		"segments --connections 3 --requests 5 --segment 11", 15, false},

	{"half_closed_client_is_answered_and_counted", "--mode threads",
		"half-close --connections 7 --requests 3", 21, false},
	{"half_closed_client_is_counted_with_an_event_loop", "--mode epoll",
		"half-close --connections 7 --requests 3", 21, false},
	{"connection_without_bytes_is_no_request", "--mode threads",
		"vanish-empty --connections 11", 0, false},
	{"connection_without_bytes_is_no_request_with_an_event_loop", "--mode epoll",
		"vanish-empty --connections 11", 0, false},
	{"part_of_a_request_before_the_end_is_one_request", "--mode threads",
		"vanish-partial-end --connections 7 --requests 3", 21, false},
	{"part_of_a_request_before_the_end_is_one_request_on_unix", "--mode epoll --family unix",
		"vanish-partial-end --connections 7 --requests 3", 21, false},
	{"part_of_a_request_before_a_reset_is_one_request", "--mode threads",
		"vanish-partial-reset --connections 7 --requests 3", 21, false},
	{"part_of_a_request_before_a_reset_is_one_request_with_uring", "--mode uring",
		"vanish-partial-reset --connections 7 --requests 3", 21, false},
	{"request_whose_answer_nobody_reads_is_one_request", "--mode epoll",
		"vanish-unread --connections 7 --requests 3", 21, false},

	{"post_with_a_later_body_is_one_request", "--mode threads",
		"post --connections 3 --requests 13", 39, false},
	{"post_with_a_large_body_is_one_request", "--mode epoll",
		"post --connections 2 --requests 5 --body 100003", 10, false},
	{"request_with_100_continue_is_one_request", "--mode threads",
		"expect --connections 3 --requests 13", 39, false},
	{"request_with_100_continue_is_one_request_with_an_event_loop",
		"--mode epoll --receive read --send writev", "expect --connections 3 --requests 13",
		39, false},
	{"answer_before_the_body_is_one_request", "--mode threads",
		"early --connections 3 --requests 13", 39, false},
	{"answer_before_the_body_is_one_request_with_an_event_loop", "--mode epoll",
		"early --connections 3 --requests 13", 39, false},
	{"answer_without_the_body_is_one_request", "--mode threads",
		"early-abandon --connections 13", 13, false},
	{"requests_in_one_segment_merge_into_one", "--mode threads",
		"pipeline --connections 3 --requests 13", 39, false},
	{"requests_in_another_protocol_are_counted", "--mode epoll --protocol line",
		"line --connections 3 --requests 13", 39, false},
	{"greeting_before_the_first_receive_is_no_request",
		"--mode threads --protocol line --greet", "greeted --connections 3 --requests 13",
		39, false},

	{"connection_open_before_is_counted_from_then_on", "--mode threads",
		"keepalive --connections 7 --requests 5 --preopen", 35, true},
	{"connection_used_before_is_counted_from_then_on", "--mode threads",
		"keepalive --connections 7 --requests 5 --preopen --before 3", 35, true},
	{"connection_used_before_is_counted_from_then_on_with_an_event_loop", "--mode epoll",
		"keepalive --connections 7 --requests 5 --preopen --before 3", 35, true},
	{"connection_used_before_is_counted_from_then_on_on_tcp6", "--mode epoll --family tcp6",
		"keepalive --connections 7 --requests 5 --preopen --before 3", 35, true},
	{"connection_used_before_is_counted_from_then_on_on_unix", "--mode threads --family unix",
		"keepalive --connections 7 --requests 5 --preopen --before 3", 35, true},
	{"ipv4_connection_on_an_ipv6_socket_used_before_is_counted_from_then_on",
		"--mode epoll --family tcp46",
		"keepalive --connections 7 --requests 5 --preopen --before 3", 35, true},
	{"hundreds_of_connections_used_before_are_counted_from_then_on", "--mode epoll",
		"keepalive --connections 331 --requests 3 --preopen --before 1", 993, true},
	{"hundreds_of_unix_connections_used_before_are_counted_from_then_on",
		"--mode epoll --family unix",
		"keepalive --connections 331 --requests 3 --preopen --before 1", 993, true},
	{"connection_used_before_is_counted_from_then_on_with_prefork_workers",
		"--mode prefork --workers 3",
		"keepalive --connections 3 --requests 5 --preopen --before 3", 15, true},
	{"connection_used_before_is_counted_from_then_on_with_uring", "--mode uring",
		"keepalive --connections 7 --requests 5 --preopen --before 3", 35, true},
};

/* Each server starts after pagestay, which was not told about it. */
static const struct request_case later_cases[] = {
	{"server_that_starts_later_is_exact_with_threads", "--mode threads",
		"keepalive --connections 13 --requests 17 --threads 3", 221, false},
	{"server_that_starts_later_is_exact_with_an_event_loop", "--mode epoll",
		"keepalive --connections 13 --requests 17 --threads 3", 221, false},
	{"server_that_starts_later_is_exact_with_prefork_workers", "--mode prefork --workers 5",
		"keepalive --connections 13 --requests 17 --threads 5", 221, false},
	{"server_that_starts_later_is_exact_with_so_reuseport_workers",
		"--mode reuseport --workers 5",
		"keepalive --connections 13 --requests 17 --threads 5", 221, false},
	{"server_that_forks_for_each_connection_is_exact", "--mode fork",
		"keepalive --connections 13 --requests 17 --threads 3", 221, false},
	{"server_that_forks_for_each_connection_is_exact_on_unix", "--mode fork --family unix",
		"keepalive --connections 13 --requests 17 --threads 3", 221, false},
	{"server_that_starts_later_is_exact_on_tcp6", "--mode threads --family tcp6",
		"keepalive --connections 13 --requests 17 --threads 3", 221, false},
	{"server_that_starts_later_is_exact_with_ipv4_clients_on_an_ipv6_socket",
		"--mode threads --family tcp46",
		"keepalive --connections 13 --requests 17 --threads 3", 221, false},
	{"server_that_starts_later_is_exact_with_uring_multishot", "--mode uring-multishot",
		"keepalive --connections 13 --requests 17 --threads 3", 221, false},
	{"server_that_starts_later_is_exact_on_unix", "--mode epoll --family unix",
		"keepalive --connections 13 --requests 17 --threads 3", 221, false},
	{"server_that_starts_later_is_exact_with_uring", "--mode uring",
		"keepalive --connections 13 --requests 17 --threads 3", 221, false},
};

#define SELECTED (sizeof(selected_cases) / sizeof(selected_cases[0]))
#define LATER    (sizeof(later_cases) / sizeof(later_cases[0]))

struct outcome {
	char unsupported[256];
	pid_t client;
	/* The server's books before pagestay watched, and when everything had settled. */
	struct server_books before, after;
};

static struct outcome selected_outcomes[SELECTED];
static struct outcome later_outcomes[LATER];
static struct serving selected_servings[SELECTED];
static struct serving later_servings[LATER];
static struct live_session selected_session, later_session;

static void launch_client(
	struct serving *serving, const struct request_case *request_case, struct outcome *outcome)
{
	serving_launch_client(serving, "%s", request_case->client);
	outcome->client = workload_pid(serving->client);
}

/* Runs the clients of all supported cases side by side, those that are not yet there being launched
 * first. */
static void run_clients(const struct request_case *cases, struct serving *servings,
	struct outcome *outcomes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!outcomes[i].unsupported[0] && !servings[i].client)
			launch_client(&servings[i], &cases[i], &outcomes[i]);
	for (size_t i = 0; i < count; i++)
		if (!outcomes[i].unsupported[0] && !cases[i].is_open_before)
			workload_await_ready(servings[i].client);
	for (size_t i = 0; i < count; i++)
		if (!outcomes[i].unsupported[0])
			workload_go(servings[i].client);
	for (size_t i = 0; i < count; i++)
		if (!outcomes[i].unsupported[0])
			serving_finish_client(&servings[i], &outcomes[i].after);
}

static void start_servers(const struct request_case *cases, struct serving *servings,
	struct outcome *outcomes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		serving_launch(&servings[i], cases[i].server);
	for (size_t i = 0; i < count; i++) {
		const char *reason = serving_await_ready(&servings[i]);

		if (reason)
			(void)snprintf(outcomes[i].unsupported, sizeof(outcomes[i].unsupported),
				"%s", reason);
	}
}

/* Connects the clients that are to be there before pagestay, and notes what has happened by then.
 */
static void open_connections(void)
{
	for (size_t i = 0; i < SELECTED; i++)
		if (selected_cases[i].is_open_before && !selected_outcomes[i].unsupported[0])
			launch_client(
				&selected_servings[i], &selected_cases[i], &selected_outcomes[i]);
	for (size_t i = 0; i < SELECTED; i++) {
		if (!selected_servings[i].client)
			continue;
		workload_await_ready(selected_servings[i].client);
		memcpy(&selected_outcomes[i].before, selected_servings[i].books,
			sizeof(selected_outcomes[i].before));
	}
}

static void select_processes(struct words *options, const struct server_books *books)
{
	for (uint32_t i = 0; i < books->processes; i++)
		words_add_pid(options, (pid_t)books->process[i].pid);
}

static struct report *run_selected_cases(void)
{
	struct words options = {0};
	struct pagestay *pagestay;
	struct report *report;

	start_servers(selected_cases, selected_servings, selected_outcomes, SELECTED);
	open_connections();
	for (size_t i = 0; i < SELECTED; i++)
		if (!selected_outcomes[i].unsupported[0])
			select_processes(&options, selected_servings[i].books);
	pagestay = pagestay_start(&options);
	words_deinit(&options);
	run_clients(selected_cases, selected_servings, selected_outcomes, SELECTED);
	report = pagestay_stop(pagestay);
	for (size_t i = 0; i < SELECTED; i++)
		serving_end(&selected_servings[i]);
	return report;
}

static struct report *run_later_cases(void)
{
	struct pagestay *pagestay = pagestay_start(&(struct words){0});
	struct report *report;

	start_servers(later_cases, later_servings, later_outcomes, LATER);
	run_clients(later_cases, later_servings, later_outcomes, LATER);
	report = pagestay_stop(pagestay);
	for (size_t i = 0; i < LATER; i++)
		serving_end(&later_servings[i]);
	return report;
}

/* Compares each process with its books; returns false after printing what differs. */
static bool processes_are_exact(const struct report *report,
	const struct request_case *request_case, const struct outcome *outcome)
{
	/* Where each connection has its own process, one accepts it and another receives on it. */
	bool shares_connections = strstr(request_case->server, "--mode fork") != NULL;
	const char *who = request_case->server;
	bool is_exact = true;

	for (uint32_t i = 0; i < outcome->after.processes; i++) {
		const struct process_books *before = &outcome->before.process[i];
		const struct process_books *after = &outcome->after.process[i];
		uint64_t accepts = after->accepts - before->accepts;
		pid_t pid = (pid_t)after->pid;

		/* A worker that no connection came to has not served, so it is no server yet. */
		if (accepts == 0 && after->turns == 0 && !report_has(report, pid))
			continue;
		is_exact &=
			report_expect(report, who, pid, "requests", after->turns - before->turns);
		is_exact &= report_expect(report, who, pid, "accepts", accepts);
		if (shares_connections)
			continue;
		is_exact &= report_expect(report, who, pid, "connections.opened", accepts);
		is_exact &= report_expect(
			report, who, pid, "connections.closed", after->closed - before->closed);
		report_require_balance(report, pid);
		if (report_exits(report, pid) == 0)
			is_exact &= report_last(report, pid, "connections.open") == 0;
	}
	return is_exact;
}

static void require_exact(struct report *report, const struct request_case *request_case,
	const struct outcome *outcome)
{
	if (outcome->unsupported[0])
		live_skip("%s", outcome->unsupported);
	/* First the server itself: it must have seen what the case was written to make. */
	assert_int_equal(BOOKS_SUM(&outcome->after, turns) - BOOKS_SUM(&outcome->before, turns),
		request_case->requests);
	assert_true(processes_are_exact(report, request_case, outcome));
	if (report_has(report, outcome->client))
		live_fail("the client is in the report as if it were a server");
}

static void selected_server_is_exact(void **state)
{
	const struct request_case *request_case = *state;

	require_exact(live_session_report(&selected_session, run_selected_cases), request_case,
		&selected_outcomes[request_case - selected_cases]);
}

static void later_server_is_exact(void **state)
{
	const struct request_case *request_case = *state;

	require_exact(live_session_report(&later_session, run_later_cases), request_case,
		&later_outcomes[request_case - later_cases]);
}

/* Only the case that pipelines has merged turns, and there every turn is one. */
static void only_pipelined_requests_are_flagged_as_merged(void **state)
{
	struct report *report = live_session_report(&selected_session, run_selected_cases);
	bool is_exact = true;

	(void)state;
	for (size_t i = 0; i < SELECTED; i++) {
		const struct request_case *request_case = &selected_cases[i];
		const struct process_books *books = &selected_outcomes[i].after.process[0];
		bool is_pipelined =
			strncmp(request_case->client, "pipeline", strlen("pipeline")) == 0;

		if (!selected_outcomes[i].unsupported[0])
			is_exact &= report_expect(report, request_case->client, (pid_t)books->pid,
				"requests_merged", is_pipelined ? books->turns : 0);
	}
	assert_true(is_exact);
}

static void routes_are_absent_unless_asked_for(void **state)
{
	struct report *report = live_session_report(&selected_session, run_selected_cases);

	(void)state;
	for (size_t i = 0; i < SELECTED; i++) {
		json_t *routes =
			report_routes(report, (pid_t)selected_outcomes[i].after.process[0].pid);

		assert_int_equal(json_object_size(routes), 0);
		json_decref(routes);
	}
}

static struct CMUnitTest test_of(
	const struct request_case *request_case, CMUnitTestFunction function)
{
	return (struct CMUnitTest){.name = request_case->test,
		.test_func = function,
		.teardown_func = live_teardown,
		.initial_state = (void *)request_case};
}

int run_requests_group(void)
{
	struct CMUnitTest tests[SELECTED + LATER + 2];
	int failed;

	for (size_t i = 0; i < SELECTED; i++)
		tests[i] = test_of(&selected_cases[i], selected_server_is_exact);
	for (size_t i = 0; i < LATER; i++)
		tests[SELECTED + i] = test_of(&later_cases[i], later_server_is_exact);
	tests[SELECTED + LATER] = (struct CMUnitTest)live_test(routes_are_absent_unless_asked_for);
	tests[SELECTED + LATER + 1] =
		(struct CMUnitTest)live_test(only_pipelined_requests_are_flagged_as_merged);
	failed = cmocka_run_group_tests_name("requests", tests, NULL, NULL);
	report_free(selected_session.report);
	report_free(later_session.report);
	return failed;
}
