/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Losses: with limits made tiny on purpose, what does not fit must be reported as lost, and the
 * report must not call itself complete. What has a place to go (a route beyond the limit goes to
 * `other`) is no loss, and sums stay exact.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "groups.h"
#include "harness.h"

#define SERVERS 7

static void more_servers_than_max_processes_is_a_loss(void **state)
{
	struct workload *servers[SERVERS];
	struct pagestay *pagestay;
	struct report *report;

	(void)state;
	pagestay = pagestay_start_text("--max-processes 3 1");
	for (int i = 0; i < SERVERS; i++)
		servers[i] = workload_start("brief", "--requests 5");
	for (int i = 0; i < SERVERS; i++)
		workload_run(servers[i]);
	report = pagestay_stop_lossy(pagestay);
	for (int i = 0; i < SERVERS; i++)
		workload_end(servers[i]);
	assert_true(report_line_sum(report, "lost.map_full") > 0);
	assert_false(report_is_complete(report));
	report_free(report);
}

/* Servers that are there before pagestay need the same room. */
static void more_servers_than_max_processes_at_the_start_is_a_loss(void **state)
{
	struct workload *servers[SERVERS];
	struct pagestay *pagestay;
	struct report *report;

	(void)state;
	live_require_support();
	for (int i = 0; i < SERVERS; i++)
		servers[i] = workload_start("brief", "--requests 5");
	pagestay = pagestay_start_text("--max-processes 3 1");
	for (int i = 0; i < SERVERS; i++)
		workload_run(servers[i]);
	report = pagestay_stop_lossy(pagestay);
	for (int i = 0; i < SERVERS; i++)
		workload_end(servers[i]);
	assert_true(report_line_sum(report, "lost.map_full") > 0);
	assert_false(report_is_complete(report));
	report_free(report);
}

#define SHORT_LIVES 307

/* pagestay is stopped while more happens than a tiny ring can hold. */
static void more_events_than_the_ring_holds_is_a_loss(void **state)
{
	struct pagestay *pagestay = pagestay_start_text("--ring-bytes 4096 1");
	struct report *report;

	(void)state;
	kill(pagestay_pid(pagestay), SIGSTOP);
	for (int i = 0; i < SHORT_LIVES; i++) {
		struct workload *server = workload_start("brief", "--requests 1 --leave");

		workload_run(server);
		workload_await_exit(server);
	}
	kill(pagestay_pid(pagestay), SIGCONT);
	report = pagestay_stop_lossy(pagestay);
	assert_true(report_line_sum(report, "lost.events") > 0);
	assert_false(report_is_complete(report));
	report_free(report);
}

#define PATHS 101

static void write_paths(int fd)
{
	for (int i = 0; i < PATHS; i++) {
		char request[64];
		uint32_t words[2] = {0};

		words[0] = (uint32_t)snprintf(
			request, sizeof(request), "GET /path/%d HTTP/1.1\r\n\r\n", i);
		if (write(fd, words, sizeof(words)) != (ssize_t)sizeof(words) ||
			write(fd, request, words[0]) != (ssize_t)words[0])
			live_fail("cannot write the script");
	}
}

static void routes_beyond_max_routes_go_to_other(void **state)
{
	int script_fd = live_shared_memory(0);
	struct workload *server, *client;
	struct words options = {0};
	struct pagestay *pagestay;
	struct report *report;
	uint64_t sum = 0;
	json_t *routes, *requests;
	const char *route;

	(void)state;
	live_require_support();
	write_paths(script_fd);
	server = workload_start("server", "--mode epoll");
	words_add_split(&options, "--routes --max-routes 7");
	words_add_pid(&options, workload_pid(server));
	pagestay = pagestay_start(&options);
	words_deinit(&options);
	client = workload_start(
		"client", "%s script --script %d", workload_text(server, "address"), script_fd);
	workload_run(client);
	report = pagestay_stop_lossy(pagestay);
	close(script_fd);
	assert_int_equal(report_sum(report, workload_pid(server), "requests"), PATHS);
	routes = report_routes(report, workload_pid(server));
	json_object_foreach (routes, route, requests) {
		sum += (uint64_t)json_integer_value(requests);
	}
	assert_int_equal(sum, PATHS);
	assert_true(json_integer_value(json_object_get(routes, "other")) > 0);
	json_decref(routes);
	report_free(report);
	workload_end(client);
	workload_end(server);
}

int run_loss_group(void)
{
	const struct CMUnitTest tests[] = {
		live_test(more_servers_than_max_processes_is_a_loss),
		live_test(more_servers_than_max_processes_at_the_start_is_a_loss),
		live_test(more_events_than_the_ring_holds_is_a_loss),
		live_test(routes_beyond_max_routes_go_to_other),
	};

	return cmocka_run_group_tests_name("loss", tests, NULL, NULL);
}
