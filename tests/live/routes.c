/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Routes with --routes, against clients that send known mixes of requests, friendly and hostile.
 * One run of pagestay watches all servers, each with a client and a script of its own. Whatever a
 * path holds, a report must parse, and a process's routes must add up to its requests: that is
 * checked for each case beside its own expectations.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "groups.h"
#include "harness.h"
#include "serving.h"

/* --- scripts for the client --- */

struct script {
	char *bytes;
	size_t used;
	uint64_t requests;
};

/* Adds a request, `times` over; the first segment ends after `cut` bytes unless that is 0. */
static void script_add_cut(
	struct script *script, unsigned times, uint32_t cut, const char *first_line)
{
	static const char rest[] = "\r\nHost: pagestay.test\r\n\r\n";
	uint32_t line_bytes = (uint32_t)strlen(first_line);
	uint32_t bytes = line_bytes + (uint32_t)strlen(rest);

	for (unsigned i = 0; i < times; i++) {
		char *grown = realloc(script->bytes, script->used + 8 + bytes);
		char *at;

		if (!grown)
			live_fail("no memory");
		script->bytes = grown;
		at = grown + script->used;
		memcpy(at, &bytes, 4);
		memcpy(at + 4, &cut, 4);
		memcpy(at + 8, first_line, line_bytes);
		memcpy(at + 8 + line_bytes, rest, strlen(rest));
		script->used += 8 + bytes;
		script->requests++;
	}
}

static void script_add(struct script *script, unsigned times, const char *first_line)
{
	script_add_cut(script, times, 0, first_line);
}

static void write_known_mix(struct script *script)
{
	script_add(script, 7, "GET / HTTP/1.1");
	script_add(script, 5, "GET /a?x=1 HTTP/1.1");
	script_add(script, 11, "POST /upload HTTP/1.1");
	script_add(script, 3, "GET /a HTTP/1.1");
	script_add(script, 13, "GET /.env HTTP/1.1");
	script_add(script, 2, "DELETE /x/y/z HTTP/1.1");
	script_add(script, 17, "GET /a/ HTTP/1.0");
	script_add(script, 3, "GET /a?y=/b/c&z=%20 HTTP/1.1");
	script_add(script, 5, "HEAD /?only-a-query HTTP/1.1");
	script_add(script, 19, "PUT /a HTTP/1.1");
}

static const struct {
	const char *route;
	uint64_t requests;
} known_mix[] = {
	{"GET /", 7},
	{"GET /a", 11},
	{"POST /upload", 11},
	{"GET /.env", 13},
	{"DELETE /x/y/z", 2},
	{"GET /a/", 17},
	{"HEAD /", 5},
	{"PUT /a", 19},
};

#define KNOWN_MIX (sizeof(known_mix) / sizeof(known_mix[0]))

static void write_cut_paths(struct script *script)
{
	script_add_cut(script, 5, 2, "GET /cut-here HTTP/1.1");
	script_add_cut(script, 7, 4, "GET /cut-here HTTP/1.1");
	script_add_cut(script, 11, 8, "GET /cut-here HTTP/1.1");
	script_add_cut(script, 13, 13, "GET /cut-here HTTP/1.1");
	script_add_cut(script, 17, 14, "GET /cut-here HTTP/1.1");
}

static void write_absolute_forms(struct script *script)
{
	script_add(script, 7, "GET http://pagestay.test/absolute/path?q=1 HTTP/1.1");
	script_add(script, 5, "GET http://pagestay.test:8080/absolute/path HTTP/1.1");
	script_add(script, 3, "GET http://pagestay.test/ HTTP/1.1");
}

static void write_overlong_paths(struct script *script)
{
	static const size_t lengths[] = {31, 63, 64, 127, 128, 255, 256, 1021, 4093, 7993};
	char line[8192];

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		int used = snprintf(line, sizeof(line), "GET /long-%zu-", lengths[i]);

		memset(line + used, 'x', lengths[i]);
		(void)snprintf(line + used + lengths[i], sizeof(line) - (size_t)used - lengths[i],
			" HTTP/1.1");
		script_add(script, 3, line);
	}
}

/* Each begins with a path that nobody else's does, so that it can be found however it was escaped.
 */
static const struct {
	const char *first_line;
	const char *prefix;
	unsigned times;
} hostile[] = {
	{"GET /h1-\x1b[31mred\x1b[0m HTTP/1.1", "GET /h1-", 3},
	{"GET /h2-\xff\xfe\xc3( HTTP/1.1", "GET /h2-", 5},
	{"GET /h3-\"quoted\"\\back\\u0000 HTTP/1.1", "GET /h3-", 7},
	{"GET /h4-\x01\x02\x7f\t\b HTTP/1.1", "GET /h4-", 11},
	{"GET /h5-\xed\xa0\x80\xf4\x90\x80\x80 HTTP/1.1", "GET /h5-", 13},
	{"GET /h6-cut-short-\xe2\x82 HTTP/1.1", "GET /h6-", 17},
	{"GET /h7-\xc3\xa9t\xc3\xa9 HTTP/1.1", "GET /h7-", 19},
	{"GET /h8-\xc2\x9b\x33\x31m HTTP/1.1", "GET /h8-", 23},
	{"GET /h9-%s%n%d HTTP/1.1", "GET /h9-", 29},
};

#define HOSTILE (sizeof(hostile) / sizeof(hostile[0]))

static void write_hostile_paths(struct script *script)
{
	for (size_t i = 0; i < HOSTILE; i++)
		script_add(script, hostile[i].times, hostile[i].first_line);
}

#define DISTINCT_PATHS 3000
#define HOT_REQUESTS   211

/*
 * Many paths, each once, and a hot one that is there from the start and comes again all the time.
 * Of those with one request in a short interval it is the first by name.
 */
static void write_many_paths(struct script *script)
{
	char line[64];
	unsigned hot = 1;

	script_add(script, 1, "GET /a-hot HTTP/1.1");
	for (unsigned i = 0; i < DISTINCT_PATHS; i++) {
		(void)snprintf(line, sizeof(line), "GET /bot/%u.php HTTP/1.1", i);
		script_add(script, 1, line);
		if (i % 14 == 0 && hot < HOT_REQUESTS) {
			script_add(script, 1, "GET /a-hot HTTP/1.1");
			hot++;
		}
	}
}

/* --- cases --- */

static void routes_are_the_known_mix(json_t *routes);
static void routes_are_whole_or_unknown(json_t *routes);
static void routes_are_of_the_known_mix_or_unknown(json_t *routes);
static void routes_drop_scheme_and_host(json_t *routes);
static void routes_are_bounded_in_length(json_t *routes);
static void routes_keep_hostile_paths_apart(json_t *routes);
static void routes_are_bounded_in_number(json_t *routes);
static void routes_are_unknown(json_t *routes);
static void routes_leave_the_cut_one_out(json_t *routes);

struct route_case {
	const char *test;
	const char *server;
	void (*write_script)(
		struct script *script); /* NULL: the client's own requests of `client` */
	const char *client;
	void (*check)(json_t *routes);
};

static const struct route_case cases[] = {
	{"routes_of_a_known_mix_are_exact_by_recv", "--receive recv", write_known_mix, "script",
		routes_are_the_known_mix},
	{"routes_of_a_known_mix_are_exact_by_read", "--receive read --mode epoll", write_known_mix,
		"script", routes_are_the_known_mix},
	{"routes_of_a_known_mix_are_exact_by_recvmsg", "--receive recvmsg", write_known_mix,
		"script", routes_are_the_known_mix},
	{"routes_of_a_known_mix_are_exact_by_readv", "--receive readv", write_known_mix, "script",
		routes_are_the_known_mix},
	{"routes_of_a_known_mix_are_exact_after_peeking", "--receive peek", write_known_mix,
		"script", routes_are_the_known_mix},
	{"routes_of_a_known_mix_are_exact_on_unix", "--family unix", write_known_mix, "script",
		routes_are_the_known_mix},
	{"routes_by_uring_are_right_or_unknown", "--mode uring", write_known_mix, "script",
		routes_are_of_the_known_mix_or_unknown},
	{"route_over_two_segments_is_never_cut_short", "--receive recv", write_cut_paths, "script",
		routes_are_whole_or_unknown},
	{"route_of_an_absolute_form_has_no_host", "--receive recv", write_absolute_forms, "script",
		routes_drop_scheme_and_host},
	{"overlong_paths_stay_bounded", "--receive recv", write_overlong_paths, "script",
		routes_are_bounded_in_length},
	{"hostile_paths_are_escaped_and_kept_apart", "--receive recv", write_hostile_paths,
		"script", routes_keep_hostile_paths_apart},
	{"many_paths_go_to_other_beyond_the_top", "--receive recv", write_many_paths, "script",
		routes_are_bounded_in_number},
	{"request_cut_in_its_path_has_no_route", "--receive recv", NULL,
		"vanish-partial-end --requests 5 --cut 8", routes_leave_the_cut_one_out},
	{"request_cut_in_its_path_before_a_reset_has_no_route", "--receive recv --mode epoll", NULL,
		"vanish-partial-reset --requests 5 --cut 2", routes_leave_the_cut_one_out},
	{"another_protocol_has_no_route", "--protocol line", NULL, "line --requests 23",
		routes_are_unknown},
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

struct outcome {
	char unsupported[256];
	pid_t pid;
	uint64_t turns;
};

static struct outcome outcomes[CASES];
static struct live_session session;

static struct serving servings[CASES];

/* A descriptor of what the case's client is to send; the number of requests is 0 when it needs no
 * script. */
static int write_script(const struct route_case *route_case, uint64_t *ret_requests)
{
	struct script script = {0};
	int fd;

	if (route_case->write_script)
		route_case->write_script(&script);
	fd = live_shared_memory(script.used + 1);
	if (script.used > 0 && write(fd, script.bytes, script.used) != (ssize_t)script.used)
		live_fail("cannot write the script");
	free(script.bytes);
	*ret_requests = script.requests;
	return fd;
}

static void run_clients(void)
{
	uint64_t requests[CASES];

	for (size_t i = 0; i < CASES; i++) {
		int script_fd = write_script(&cases[i], &requests[i]);

		if (!outcomes[i].unsupported[0])
			serving_launch_client(
				&servings[i], "%s --script %d", cases[i].client, script_fd);
		close(script_fd);
	}
	for (size_t i = 0; i < CASES; i++) {
		if (outcomes[i].unsupported[0])
			continue;
		workload_await_ready(servings[i].client);
		workload_go(servings[i].client);
	}
	for (size_t i = 0; i < CASES; i++) {
		struct server_books books;

		if (outcomes[i].unsupported[0])
			continue;
		serving_finish_client(&servings[i], &books);
		outcomes[i].turns = BOOKS_SUM(&books, turns);
		if (requests[i] > 0)
			assert_int_equal(outcomes[i].turns, requests[i]);
	}
}

static struct report *run_all_cases(void)
{
	struct words options = {0};
	struct pagestay *pagestay;
	struct report *report;

	words_add(&options, "--routes");
	for (size_t i = 0; i < CASES; i++)
		serving_launch(&servings[i], cases[i].server);
	for (size_t i = 0; i < CASES; i++) {
		const char *reason = serving_await_ready(&servings[i]);

		outcomes[i].pid = workload_pid(servings[i].server);
		if (reason)
			(void)snprintf(outcomes[i].unsupported, sizeof(outcomes[i].unsupported),
				"%s", reason);
		else
			words_add_pid(&options, outcomes[i].pid);
	}
	pagestay = pagestay_start(&options);
	words_deinit(&options);
	run_clients();
	report = pagestay_stop(pagestay);
	for (size_t i = 0; i < CASES; i++)
		serving_end(&servings[i]);
	return report;
}

/* --- expectations --- */

static uint64_t requests_of(json_t *routes, const char *route)
{
	return (uint64_t)json_integer_value(json_object_get(routes, route));
}

static uint64_t requests_with_prefix(json_t *routes, const char *prefix)
{
	uint64_t sum = 0;
	const char *route;
	json_t *requests;

	json_object_foreach (routes, route, requests) {
		if (strncmp(route, prefix, strlen(prefix)) == 0)
			sum += (uint64_t)json_integer_value(requests);
	}
	return sum;
}

static void routes_are_the_known_mix(json_t *routes)
{
	for (size_t i = 0; i < KNOWN_MIX; i++)
		if (requests_of(routes, known_mix[i].route) != known_mix[i].requests)
			live_fail("route '%s' has %" PRIu64 " requests, the truth is %" PRIu64,
				known_mix[i].route, requests_of(routes, known_mix[i].route),
				known_mix[i].requests);
	assert_int_equal(json_object_size(routes), KNOWN_MIX);
}

static void routes_are_of_the_known_mix_or_unknown(json_t *routes)
{
	uint64_t known = 0, all = 0;

	for (size_t i = 0; i < KNOWN_MIX; i++) {
		uint64_t requests = requests_of(routes, known_mix[i].route);

		assert_true(requests == 0 || requests == known_mix[i].requests);
		known += requests;
		all += known_mix[i].requests;
	}
	assert_int_equal(known + requests_of(routes, "-"), all);
}

static void routes_are_whole_or_unknown(json_t *routes)
{
	assert_int_equal(requests_of(routes, "GET /cut-here") + requests_of(routes, "-"),
		5 + 7 + 11 + 13 + 17);
	/* Where the first segment holds the whole path and the space behind it, nothing is unknown.
	 */
	assert_true(requests_of(routes, "GET /cut-here") >= 17);
}

static void routes_drop_scheme_and_host(json_t *routes)
{
	assert_int_equal(requests_of(routes, "GET /absolute/path"), 12);
	assert_int_equal(requests_of(routes, "GET /"), 3);
}

static void routes_are_bounded_in_length(json_t *routes)
{
	const char *route;
	json_t *requests;

	json_object_foreach (routes, route, requests) {
		assert_true(strlen(route) <= 1024);
	}
	assert_int_equal(requests_with_prefix(routes, "GET /long-31-"), 3);
}

static void routes_keep_hostile_paths_apart(json_t *routes)
{
	for (size_t i = 0; i < HOSTILE; i++)
		if (requests_with_prefix(routes, hostile[i].prefix) != hostile[i].times)
			live_fail("routes that begin with '%s' have %" PRIu64
				  " requests, the truth is %u",
				hostile[i].prefix, requests_with_prefix(routes, hostile[i].prefix),
				hostile[i].times);
}

static void routes_are_bounded_in_number(json_t *routes)
{
	assert_int_equal(requests_of(routes, "GET /a-hot"), HOT_REQUESTS);
	assert_true(requests_of(routes, "other") > 0);
	assert_true(json_object_size(routes) < DISTINCT_PATHS);
}

static void routes_are_unknown(json_t *routes)
{
	assert_int_equal(json_object_size(routes), 1);
	assert_int_equal(requests_of(routes, "-"), 23);
}

static void routes_leave_the_cut_one_out(json_t *routes)
{
	assert_int_equal(requests_of(routes, "GET /plain"), 4);
	assert_int_equal(requests_of(routes, "-"), 1);
}

static void case_has_its_routes(void **state)
{
	const struct route_case *route_case = *state;
	const struct outcome *outcome = &outcomes[route_case - cases];
	struct report *report = live_session_report(&session, run_all_cases);
	json_t *routes;

	if (outcome->unsupported[0])
		live_skip("%s", outcome->unsupported);
	assert_int_equal(report_sum(report, outcome->pid, "requests"), outcome->turns);
	routes = report_routes(report, outcome->pid);
	assert_int_equal(requests_with_prefix(routes, ""), outcome->turns);
	route_case->check(routes);
	json_decref(routes);
}

int run_routes_group(void)
{
	struct CMUnitTest tests[CASES];
	int failed;

	for (size_t i = 0; i < CASES; i++)
		tests[i] = (struct CMUnitTest){.name = cases[i].test,
			.test_func = case_has_its_routes,
			.teardown_func = live_teardown,
			.initial_state = (void *)&cases[i]};
	failed = cmocka_run_group_tests_name("routes", tests, NULL, NULL);
	report_free(session.report);
	return failed;
}
