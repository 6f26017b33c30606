/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Lives: of the watched processes (exit, exec, a pid used again, many at once) and of pagestay
 * itself (intervals, SIGINT, a reader that goes away, a full disk, wrong command lines).
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "groups.h"
#include "harness.h"

/* --- watched processes --- */

static void process_that_exits_is_reported_once_more(void **state)
{
	struct workload *leaver, *stayer;
	struct words options = {0};
	struct pagestay *pagestay;
	struct report *report;
	pid_t leaver_pid, stayer_pid;

	(void)state;
	live_require_support();
	leaver = workload_start("brief", "--requests 7 --leave");
	stayer = workload_start("brief", "--requests 5");
	leaver_pid = workload_pid(leaver);
	stayer_pid = workload_pid(stayer);
	words_add_pid(&options, leaver_pid);
	words_add_pid(&options, stayer_pid);
	pagestay = pagestay_start(&options);
	words_deinit(&options);
	pagestay_await_lines(pagestay, 1);
	workload_run(leaver);
	workload_await_exit(leaver);
	pagestay_await_lines(pagestay, pagestay_lines(pagestay) + 2);
	workload_run(stayer);
	report = pagestay_stop(pagestay);
	workload_end(stayer);
	/* That it never comes back after its last line is checked whenever a report is read. */
	assert_int_equal(report_exits(report, leaver_pid), 1);
	assert_int_equal(report_sum(report, leaver_pid, "requests"), 7);
	assert_int_equal(report_exits(report, stayer_pid), 0);
	assert_int_equal(report_sum(report, stayer_pid, "requests"), 5);
	report_free(report);
}

static void pid_that_is_used_again_is_another_process(void **state)
{
	struct pagestay *pagestay = pagestay_start_text("1");
	uint64_t start_times[4];
	struct workload *server;
	struct report *report;
	uint64_t first, second;
	pid_t pid;

	(void)state;
	server = workload_start("brief", "--requests 11 --leave");
	pid = workload_pid(server);
	workload_run(server);
	workload_await_exit(server);
	server = workload_start_as(pid, "brief", "--requests 3 --leave");
	workload_run(server);
	workload_await_exit(server);
	report = pagestay_stop(pagestay);
	assert_int_equal(report_start_times(report, pid, start_times, 4), 2);
	first = start_times[0] < start_times[1] ? start_times[0] : start_times[1];
	second = start_times[0] < start_times[1] ? start_times[1] : start_times[0];
	assert_int_equal(report_sum_started(report, pid, first, "requests"), 11);
	assert_int_equal(report_sum_started(report, pid, second, "requests"), 3);
	assert_int_equal(report_exits(report, pid), 2);
	report_free(report);
}

static void exec_keeps_the_process(void **state)
{
	struct workload *server;
	struct words options = {0};
	struct pagestay *pagestay;
	uint64_t start_times[4];
	struct report *report;
	pid_t pid;

	(void)state;
	live_require_support();
	server = workload_start("brief", "--requests 11 --then-exec 13");
	pid = workload_pid(server);
	words_add_pid(&options, pid);
	pagestay = pagestay_start(&options);
	words_deinit(&options);
	workload_run(server);
	report = pagestay_stop(pagestay);
	workload_end(server);
	assert_int_equal(report_start_times(report, pid, start_times, 4), 1);
	assert_int_equal(report_sum(report, pid, "requests"), 24);
	assert_int_equal(report_sum(report, pid, "accepts"), 2);
	report_free(report);
}

static void exec_keeps_the_process_when_all_servers_are_watched(void **state)
{
	struct pagestay *pagestay = pagestay_start_text("1");
	struct workload *server = workload_start("brief", "--requests 11 --then-exec 13");
	pid_t pid = workload_pid(server);
	uint64_t start_times[4];
	struct report *report;

	(void)state;
	workload_run(server);
	report = pagestay_stop(pagestay);
	workload_end(server);
	assert_int_equal(report_start_times(report, pid, start_times, 4), 1);
	assert_int_equal(report_sum(report, pid, "requests"), 24);
	report_free(report);
}

#define SHORT_SERVERS 60

static void many_short_servers_are_all_reported(void **state)
{
	struct pagestay *pagestay = pagestay_start_text("1");
	struct workload *servers[SHORT_SERVERS];
	pid_t pids[SHORT_SERVERS];
	struct report *report;

	(void)state;
	for (int i = 0; i < SHORT_SERVERS; i++) {
		servers[i] = workload_start("brief", "--requests %d --leave", 1 + i % 5);
		pids[i] = workload_pid(servers[i]);
	}
	for (int i = 0; i < SHORT_SERVERS; i++)
		workload_go(servers[i]);
	for (int i = 0; i < SHORT_SERVERS; i++)
		workload_await_exit(servers[i]);
	report = pagestay_stop(pagestay);
	for (int i = 0; i < SHORT_SERVERS; i++) {
		assert_int_equal(report_sum(report, pids[i], "requests"), (uint64_t)(1 + i % 5));
		assert_int_equal(report_sum(report, pids[i], "accepts"), 1);
		assert_int_equal(report_exits(report, pids[i]), 1);
	}
	report_free(report);
}

#define KILLED_CONNECTIONS 23

static void connections_of_a_killed_server_are_closed(void **state)
{
	struct workload *server, *client;
	struct words options = {0};
	struct pagestay *pagestay;
	struct report *report;
	pid_t pid;

	(void)state;
	live_require_support();
	server = workload_start("server", "--mode threads");
	pid = workload_pid(server);
	words_add_pid(&options, pid);
	pagestay = pagestay_start(&options);
	words_deinit(&options);
	client = workload_start("client", "%s keepalive --connections %d --requests 3 --hold",
		workload_text(server, "address"), KILLED_CONNECTIONS);
	workload_run(client);
	workload_kill(server);
	pagestay_await_lines(pagestay, pagestay_lines(pagestay) + 2);
	report = pagestay_stop(pagestay);
	workload_end(client);
	assert_int_equal(report_sum(report, pid, "requests"), 3 * KILLED_CONNECTIONS);
	assert_int_equal(report_sum(report, pid, "connections.opened"), KILLED_CONNECTIONS);
	assert_int_equal(report_sum(report, pid, "connections.closed"), KILLED_CONNECTIONS);
	assert_int_equal(report_last(report, pid, "connections.open"), 0);
	assert_int_equal(report_exits(report, pid), 1);
	report_free(report);
}

/* Runs one `brief` with these options, selected by its id outside or as one of all servers. */
static void require_exact_brief(const char *workload_options, bool is_selected, uint64_t requests)
{
	struct words options = {0};
	struct pagestay *pagestay;
	struct workload *server;
	struct report *report;
	pid_t pid;

	live_require_support();
	server = workload_start("brief", "%s", workload_options);
	pid = (pid_t)workload_number(server, "pid");
	if (is_selected)
		words_add_pid(&options, pid);
	pagestay = pagestay_start(&options);
	words_deinit(&options);
	workload_run(server);
	report = pagestay_stop(pagestay);
	workload_end(server);
	assert_int_equal(report_sum(report, pid, "requests"), requests);
	assert_int_equal(report_sum(report, pid, "connections.closed"), 1);
	report_free(report);
}

static void server_in_a_network_namespace_is_exact(void **state)
{
	(void)state;
	require_exact_brief("--requests 17 --new-net", false, 17);
}

static void connection_open_before_in_a_network_namespace_is_counted(void **state)
{
	(void)state;
	require_exact_brief("--requests 17 --new-net --open-first", false, 17);
}

static void selected_connection_open_before_in_a_network_namespace_is_counted(void **state)
{
	(void)state;
	require_exact_brief("--requests 17 --new-net --open-first", true, 17);
}

static void server_in_a_pid_namespace_is_known_by_its_outer_pid(void **state)
{
	(void)state;
	require_exact_brief("--requests 17 --new-pid", false, 17);
	require_exact_brief("--requests 13 --new-pid --new-net --open-first", true, 13);
}

/* Text for people must not carry a terminal's control characters, whatever a process calls itself.
 */
static void require_clean_text(const char *text)
{
	for (const char *at = text; *at; at++)
		if (((unsigned char)*at < 0x20 && *at != '\n') || *at == 0x7f)
			live_fail("control character %#x in: %s", (unsigned char)*at, at);
}

static void hostile_process_name_is_escaped(void **state)
{
	struct words options = {0};
	struct pagestay *pagestay;
	struct workload *server;
	struct report *report;
	char *text;
	pid_t pid;

	(void)state;
	live_require_support();
	server = workload_start("brief", "--requests 3 --name \x1b[31m\xff\"\\\n\xc3(\x7f\x9b");
	pid = workload_pid(server);
	words_add_split(&options, "watch -o text -p");
	words_add(&options, "%d", (int)pid);
	words_add_split(&options, "1 2");
	pagestay = pagestay_spawn(&options, -1);
	words_deinit(&options);
	assert_int_equal(pagestay_wait(pagestay), 0);
	text = pagestay_stdout(pagestay);
	require_clean_text(text);
	free(text);
	words_add_pid(&options, pid);
	pagestay = pagestay_start(&options);
	words_deinit(&options);
	workload_run(server);
	/* That it is JSON and UTF-8 is checked whenever a report is read. */
	report = pagestay_stop(pagestay);
	assert_int_equal(report_sum(report, pid, "requests"), 3);
	report_free(report);
	workload_end(server);
}

static void two_watchers_see_the_same(void **state)
{
	struct pagestay *pagestay[2];
	struct workload *server;

	(void)state;
	pagestay[0] = pagestay_start_text("1");
	pagestay[1] = pagestay_start_text("1");
	server = workload_start("brief", "--requests 19");
	workload_run(server);
	for (int i = 0; i < 2; i++) {
		struct report *report = pagestay_stop(pagestay[i]);

		assert_int_equal(report_sum(report, workload_pid(server), "requests"), 19);
		report_free(report);
	}
	workload_end(server);
}

static void process_that_serves_nobody_is_not_reported(void **state)
{
	struct pagestay *pagestay = pagestay_start_text("1");
	struct workload *worker = workload_start("ledger", "everything");
	struct report *report;
	pid_t pid = workload_pid(worker);

	(void)state;
	workload_run(worker);
	report = pagestay_stop(pagestay);
	workload_end(worker);
	assert_false(report_has(report, pid));
	report_free(report);
}

static void port_filter_shows_only_servers_of_that_port(void **state)
{
	struct workload *wanted, *unwanted, *client;
	struct pagestay *pagestay;
	struct words options = {0};
	struct report *report;

	(void)state;
	live_require_support();
	wanted = workload_start("server", "--mode threads");
	unwanted = workload_start("server", "--mode threads");
	words_add_split(&options, "--port");
	words_add(&options, "%s", workload_text(wanted, "address") + strlen("tcp4:"));
	pagestay = pagestay_start(&options);
	words_deinit(&options);
	client = workload_start(
		"client", "%s keepalive --requests 17", workload_text(wanted, "address"));
	workload_run(client);
	workload_end(client);
	client = workload_start(
		"client", "%s keepalive --requests 13", workload_text(unwanted, "address"));
	workload_run(client);
	workload_end(client);
	report = pagestay_stop(pagestay);
	assert_int_equal(report_sum(report, workload_pid(wanted), "requests"), 17);
	assert_false(report_has(report, workload_pid(unwanted)));
	report_free(report);
	workload_end(wanted);
	workload_end(unwanted);
}

static void comm_filter_shows_only_servers_of_that_name(void **state)
{
	struct workload *wanted, *unwanted, *client;
	struct pagestay *pagestay;
	struct report *report;

	(void)state;
	live_require_support();
	wanted = workload_start("server", "--mode threads");
	unwanted = workload_start("brief", "--requests 7");
	pagestay = pagestay_start_text("--comm ^serv[aeiou]r$ 1");
	client = workload_start(
		"client", "%s keepalive --requests 17", workload_text(wanted, "address"));
	workload_run(client);
	workload_run(unwanted);
	report = pagestay_stop(pagestay);
	assert_int_equal(report_sum(report, workload_pid(wanted), "requests"), 17);
	assert_false(report_has(report, workload_pid(unwanted)));
	report_free(report);
	workload_end(client);
	workload_end(wanted);
	workload_end(unwanted);
}

/* --- pagestay's own life --- */

static void sigint_gives_the_last_report(void **state)
{
	struct workload *server;
	struct pagestay *pagestay;
	struct report *report;
	char options[64];

	(void)state;
	live_require_support();
	server = workload_start("brief", "--requests 19");
	(void)snprintf(options, sizeof(options), "-p %d 3600", (int)workload_pid(server));
	pagestay = pagestay_start_text(options);
	workload_run(server);
	assert_int_equal(pagestay_lines(pagestay), 0);
	report = pagestay_stop(pagestay);
	assert_int_equal(report_lines(report), 1);
	assert_int_equal(report_sum(report, workload_pid(server), "requests"), 19);
	report_free(report);
	workload_end(server);
}

static void count_ends_after_that_many_lines(void **state)
{
	struct workload *server;
	struct pagestay *pagestay;
	struct report *report;
	char options[64];

	(void)state;
	live_require_support();
	server = workload_start("brief", "--requests 19");
	(void)snprintf(options, sizeof(options), "-p %d 1 2", (int)workload_pid(server));
	pagestay = pagestay_start_text(options);
	workload_run(server);
	assert_int_equal(pagestay_wait(pagestay), 0);
	report = pagestay_stop(pagestay);
	assert_int_equal(report_lines(report), 2);
	assert_int_equal(report_sum(report, workload_pid(server), "requests"), 19);
	report_free(report);
	workload_end(server);
}

/* Starts pagestay with another stdout, waits for its end, and tells how it ended and what it said
 * after "watching". */
static int run_with_stdout(int stdout_fd, char **ret_complaint)
{
	struct words words = {0};
	struct pagestay *pagestay;
	char *before, *after;
	int code;

	live_require_support();
	words_add_split(&words, "watch --json -p");
	words_add(&words, "%d", (int)getpid());
	words_add(&words, "1");
	pagestay = pagestay_spawn(&words, stdout_fd);
	words_deinit(&words);
	close(stdout_fd);
	pagestay_await_watching(pagestay);
	before = pagestay_stderr(pagestay);
	code = pagestay_wait(pagestay);
	after = pagestay_stderr(pagestay);
	*ret_complaint = strdup(strstr(after, before) == after ? after + strlen(before) : after);
	free(before);
	free(after);
	return code;
}

static void closed_pipe_ends_quietly(void **state)
{
	int ends[2];
	char *complaint;
	int code;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	close(ends[0]);
	code = run_with_stdout(ends[1], &complaint);
	assert_true(code == 0 || code == 256 + SIGPIPE);
	assert_string_equal(complaint, "");
	free(complaint);
}

static void full_disk_ends_with_a_message(void **state)
{
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	char *complaint;
	int code;

	(void)state;
	if (fd < 0)
		live_skip("there is no /dev/full");
	code = run_with_stdout(fd, &complaint);
	assert_int_equal(code, 1);
	assert_true(strlen(complaint) > 0);
	free(complaint);
}

/* Runs pagestay with these arguments; it must end with this code, say something on stderr and
 * nothing on stdout. */
static void require_refusal(const char *arguments, int expected_code)
{
	struct words words = {0};
	struct pagestay *pagestay;
	char *output, *message;
	int code;

	words_add_split(&words, arguments);
	pagestay = pagestay_spawn(&words, -1);
	words_deinit(&words);
	code = pagestay_wait(pagestay);
	output = pagestay_stdout(pagestay);
	message = pagestay_stderr(pagestay);
	if (code != expected_code)
		live_fail("pagestay %s ends with %d, not %d: %s", arguments, code, expected_code,
			message);
	if (strlen(message) == 0 || strlen(output) > 0)
		live_fail("pagestay %s says '%s' on stderr and '%s' on stdout", arguments, message,
			output);
	free(output);
	free(message);
}

static void wrong_command_lines_are_usage_errors(void **state)
{
	static const char *const wrong[] = {
		"--no-such-option",
		"watch --no-such-option",
		"no-such-command",
		"watch -p 0",
		"watch -p -1",
		"watch -p x",
		"watch -p 1x",
		"watch -p 999999999",
		"watch -p 99999999999999999999",
		"watch -p",
		"watch 0",
		"watch -- -1",
		"watch abc",
		"watch nan",
		"watch 1 0",
		"watch 1 -1",
		"watch 1 x",
		"watch 1 2 3",
		"watch --port 0",
		"watch --port 65536",
		"watch --port http",
		"watch --comm (",
		"watch --top -1",
		"watch --detail nonsense",
		"watch -o nonsense",
		"record",
		"replay",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		require_refusal(wrong[i], 2);
}

static void pid_that_does_not_exist_is_a_runtime_failure(void **state)
{
	char arguments[64];
	pid_t pid;

	(void)state;
	live_require_support();
	pid = fork();
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	(void)snprintf(arguments, sizeof(arguments), "watch --json -p %d 1 1", (int)pid);
	require_refusal(arguments, 1);
}

int run_lifecycle_group(void)
{
	const struct CMUnitTest tests[] = {
		live_test(process_that_exits_is_reported_once_more),
		live_test(pid_that_is_used_again_is_another_process),
		live_test(exec_keeps_the_process),
		live_test(exec_keeps_the_process_when_all_servers_are_watched),
		live_test(many_short_servers_are_all_reported),
		live_test(connections_of_a_killed_server_are_closed),
		live_test(server_in_a_network_namespace_is_exact),
		live_test(connection_open_before_in_a_network_namespace_is_counted),
		live_test(selected_connection_open_before_in_a_network_namespace_is_counted),
		live_test(server_in_a_pid_namespace_is_known_by_its_outer_pid),
		live_test(hostile_process_name_is_escaped),
		live_test(two_watchers_see_the_same),
		live_test(process_that_serves_nobody_is_not_reported),
		live_test(port_filter_shows_only_servers_of_that_port),
		live_test(comm_filter_shows_only_servers_of_that_name),
		live_test(sigint_gives_the_last_report),
		live_test(count_ends_after_that_many_lines),
		live_test(closed_pipe_ends_quietly),
		live_test(full_disk_ends_with_a_message),
		live_test(wrong_command_lines_are_usage_errors),
		live_test(pid_that_does_not_exist_is_a_runtime_failure),
	};

	return cmocka_run_group_tests_name("lifecycle", tests, NULL, NULL);
}
