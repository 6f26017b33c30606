/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* JSON: every key of the contract in its place, whatever the report holds, one line a report. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pagestay/sink/sink.h"

/* 2026-01-02T03:04:05.678Z */
#define WALL_NS 1767323045678000000ull

static const struct report empty_report = {
	.wall_ns = WALL_NS,
	.interval_ns = 10000000000ull,
	.host = "web-1",
	.source = "bpf",
	.detail = "requests",
	.complete = true,
};

/* What the sink writes for a report, as text; the caller frees it. */
static char *render(const struct report *report)
{
	char *bytes = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&bytes, &length);
	const struct sink_options options = {.out = out, .columns = 80, .top = 1};
	struct sink *sink = sink_json_new(&options);

	assert_non_null(sink);
	assert_int_equal(sink_write(sink, report), 0);
	assert_int_equal(sink_close(sink), 0);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(strlen(bytes), length);
	return bytes;
}

/* The same, parsed; the caller drops the reference. Strict: one line, valid UTF-8, no key twice. */
static json_t *parse(const struct report *report)
{
	char *text = render(report);
	json_error_t error;
	json_t *root = json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);

	if (!root)
		fail_msg("%s at %d of %s", error.text, error.position, text);
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	free(text);
	return root;
}

/* A value by its path; a number in it indexes an array. */
static json_t *at(json_t *value, const char *path)
{
	char copy[128];
	char *rest = copy, *key;

	(void)snprintf(copy, sizeof(copy), "%s", path);
	while ((key = strsep(&rest, "/")))
		value = json_is_array(value) ? json_array_get(value, strtoul(key, NULL, 10))
					     : json_object_get(value, key);
	if (!value)
		fail_msg("no %s", path);
	return value;
}

static json_int_t integer(json_t *root, const char *path)
{
	json_t *value = at(root, path);

	assert_true(json_is_integer(value));
	return json_integer_value(value);
}

static void assert_text(json_t *root, const char *path, const char *expected)
{
	assert_string_equal(json_string_value(at(root, path)), expected);
}

/* The keys of the whole contract, and its constant values, to be read as the contract is. */
static void a_line_is_the_contract(void **state)
{
	struct report_process process = {
		.key = {.tgid = 4194304, .start_ns = 5},
		.comm = "nginx",
		.open = 7,
		.faults_background = 11,
		.rss_bytes = 13,
		.anon_bytes = 17,
		.lazyfree_bytes = REPORT_UNKNOWN,
		.swap_bytes = REPORT_UNKNOWN,
		.rss_delta_bytes = -19,
		.anon_delta_bytes = REPORT_DELTA_UNKNOWN,
	};
	const char *notes[] = {"routes are not read"};
	struct report report = empty_report;
	char *text;

	process.counters[PS_REQUESTS] = 23;
	report.lost[PS_LOST_MAP_FULL] = 29;
	report.complete = false;
	report.notes = notes;
	report.note_count = 1;
	report.self_rss_bytes = 31;
	report.self_cpu_ns = 37;
	report.processes = &process;
	report.process_count = 1;
	text = render(&report);
	assert_string_equal(text,
		"{\"schema\":\"pagestay.report/1\",\"ts\":\"2026-01-02T03:04:05.678Z\","
		"\"host\":\"web-1\",\"interval_s\":10.0,\"source\":\"bpf\",\"detail\":\"requests\","
		"\"complete\":false,\"lost\":{\"events\":0,\"map_full\":29},"
		"\"notes\":[\"routes are not read\"],\"self\":{\"rss_bytes\":31,\"cpu_ns\":37},"
		"\"processes\":[{\"pid\":4194304,\"start_time_ns\":5,\"comm\":\"nginx\","
		"\"exe\":null,\"unit\":null,\"container\":null,"
		"\"allocator\":{\"name\":\"unknown\",\"version\":null,\"evidence\":null},"
		"\"exited\":false,\"accepts\":0,"
		"\"connections\":{\"open\":7,\"opened\":0,\"closed\":0},\"requests\":23,"
		"\"requests_merged\":0,\"requests_encrypted\":0,\"requests_handed_off\":0,"
		"\"rss_bytes\":13,\"rss_delta_bytes\":-19,\"anon_bytes\":17,"
		"\"anon_delta_bytes\":null,\"lazyfree_bytes\":null,\"swap_bytes\":null,\"ledger\":{"
		"\"brk\":{\"calls\":0,\"grow_bytes\":0,\"shrink_bytes\":0,\"failed\":0},"
		"\"mmap\":{\"calls\":0,\"bytes\":0,\"anon_bytes\":0,\"reserve_bytes\":0,"
		"\"failed\":0},"
		"\"munmap\":{\"calls\":0,\"bytes\":0,\"reserve_bytes\":0,\"failed\":0},"
		"\"mremap\":{\"calls\":0,\"grow_bytes\":0,\"shrink_bytes\":0,\"failed\":0},"
		"\"mprotect\":{\"calls\":0,\"commit_bytes\":0,\"decommit_bytes\":0,\"failed\":0},"
		"\"madvise\":{\"calls\":0,\"dontneed_bytes\":0,\"free_bytes\":0,\"other_bytes\":0,"
		"\"failed\":0}},"
		"\"faults\":{\"in_requests\":0,\"overlapping\":0,\"background\":11},"
		"\"retention\":{\"touched_pages\":null,\"kept_pages\":null,"
		"\"touched_pages_per_request\":null,\"kept_pages_per_request\":null,"
		"\"survival\":[],\"sample_ratio\":null},"
		"\"routes\":[],"
		"\"heap\":{\"live_bytes\":null,\"cached_bytes\":null,\"held_free_bytes\":null,"
		"\"trimmable_bytes\":null,\"top_bytes\":null,\"page_pinned_bytes\":null,"
		"\"arenas\":null,\"segments\":null,\"lost_segments\":null,\"pins\":[]},"
		"\"verdict\":{\"code\":\"unknown\",\"cause\":null,\"confidence\":0.0,"
		"\"evidence\":[],\"advice\":[]}}]}\n");
	free(text);
}

static void a_report_without_processes_is_a_line(void **state)
{
	json_t *root = parse(&empty_report);

	assert_int_equal(json_array_size(at(root, "processes")), 0);
	assert_int_equal(json_array_size(at(root, "notes")), 0);
	assert_true(json_is_true(at(root, "complete")));
	json_decref(root);
}

static void assert_interval(uint64_t interval_ns, const char *expected)
{
	struct report report = empty_report;
	char key[64];
	char *text;

	report.interval_ns = interval_ns;
	text = render(&report);
	(void)snprintf(key, sizeof(key), "\"interval_s\":%s,", expected);
	if (!strstr(text, key))
		fail_msg("no %s in %s", key, text);
	free(text);
}

static void intervals_have_three_decimals_at_most(void **state)
{
	assert_interval(0, "0.0");
	assert_interval(499999, "0.0");
	assert_interval(500000, "0.001");
	assert_interval(1000000000, "1.0");
	assert_interval(10001499999, "10.001");
	assert_interval(10000999999, "10.001");
	assert_interval(86400123456789, "86400.123");
	assert_interval(UINT64_MAX, "18446744073.71");
}

static void times_are_utc_with_milliseconds(void **state)
{
	struct report report = empty_report;
	json_t *root;

	report.wall_ns = 999999;
	root = parse(&report);
	assert_text(root, "ts", "1970-01-01T00:00:00.000Z");
	json_decref(root);
	report.wall_ns = UINT64_MAX;
	root = parse(&report);
	assert_text(root, "ts", "2554-07-21T23:34:33.709Z");
	json_decref(root);
}

static void any_bytes_become_valid_text(void **state)
{
	const struct report_route route = {"GET /\x1b[2J\"\\\n\xf0\x9f\x98", 1};
	struct report_process process = {
		.comm = "a\xff\xc3\xa9\x01",
		.exe = "/usr/bin/\xed\xa0\x80",
		.routes = &route,
		.route_count = 1,
	};
	const char *notes[] = {"\xfe"};
	struct report report = empty_report;
	json_t *root;

	report.host = "\x80";
	report.notes = notes;
	report.note_count = 1;
	report.routes = true;
	report.processes = &process;
	report.process_count = 1;
	root = parse(&report);
	assert_text(root, "host", "\xef\xbf\xbd");
	assert_text(root, "notes/0", "\xef\xbf\xbd");
	assert_text(root, "processes/0/comm", "a\xef\xbf\xbd\xc3\xa9\x01");
	assert_text(root, "processes/0/exe", "/usr/bin/\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
	assert_text(root, "processes/0/routes/0/route",
		"GET /\x1b[2J\"\\\n\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
	json_decref(root);
}

static void routes_keep_their_order(void **state)
{
	const struct report_route routes[] = {{"GET /b", 5}, {"GET /a", 3}, {"other", 7}};
	struct report_process process = {.comm = "", .routes = routes, .route_count = 3};
	struct report report = empty_report;
	json_t *root;

	report.processes = &process;
	report.process_count = 1;
	root = parse(&report);
	assert_int_equal(json_array_size(at(root, "processes/0/routes")), 3);
	assert_text(root, "processes/0/routes/0/route", "GET /b");
	assert_int_equal(integer(root, "processes/0/routes/0/requests"), 5);
	assert_true(json_is_null(at(root, "processes/0/routes/0/touched_pages")));
	assert_true(json_is_null(at(root, "processes/0/routes/0/kept_pages")));
	assert_text(root, "processes/0/routes/2/route", "other");
	json_decref(root);
}

static void great_and_unknown_numbers(void **state)
{
	const struct report_route route = {"-", UINT64_MAX - 1};
	struct report_process process = {
		.key = {.tgid = UINT32_MAX, .start_ns = (uint64_t)INT64_MAX + 1},
		.comm = "",
		.rss_bytes = UINT64_MAX - 1,
		.anon_bytes = REPORT_UNKNOWN,
		.rss_delta_bytes = INT64_MIN + 1,
		.routes = &route,
		.route_count = 1,
	};
	struct report report = empty_report;
	json_t *root;

	report.lost[PS_LOST_EVENTS] = UINT64_MAX - 1;
	report.self_rss_bytes = REPORT_UNKNOWN;
	report.processes = &process;
	report.process_count = 1;
	root = parse(&report);
	assert_true(integer(root, "lost/events") == INT64_MAX);
	assert_true(json_is_null(at(root, "self/rss_bytes")));
	assert_true(integer(root, "processes/0/pid") == UINT32_MAX);
	assert_true(integer(root, "processes/0/start_time_ns") == INT64_MAX);
	assert_true(integer(root, "processes/0/rss_bytes") == INT64_MAX);
	assert_true(json_is_null(at(root, "processes/0/anon_bytes")));
	assert_true(integer(root, "processes/0/rss_delta_bytes") == INT64_MIN + 1);
	assert_true(integer(root, "processes/0/routes/0/requests") == INT64_MAX);
	json_decref(root);
}

static void an_exited_process_is_marked(void **state)
{
	struct report_process process = {
		.comm = "nginx", .exited = true, .rss_bytes = REPORT_UNKNOWN};
	struct report report = empty_report;
	json_t *root;

	report.processes = &process;
	report.process_count = 1;
	root = parse(&report);
	assert_true(json_is_true(at(root, "processes/0/exited")));
	assert_true(json_is_null(at(root, "processes/0/rss_bytes")));
	json_decref(root);
}

/* `top` is for the text table. */
static void all_of_two_thousand_processes_are_there(void **state)
{
	static struct report_process processes[2000];
	struct report report = empty_report;
	json_t *root;

	for (unsigned i = 0; i < 2000; i++) {
		processes[i].key.tgid = i;
		processes[i].comm = "worker";
	}
	report.processes = processes;
	report.process_count = 2000;
	root = parse(&report);
	assert_int_equal(json_array_size(at(root, "processes")), 2000);
	assert_int_equal(integer(root, "processes/1999/pid"), 1999);
	json_decref(root);
}

static void each_report_is_one_line_in_the_stream(void **state)
{
	char *bytes = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&bytes, &length);
	const struct sink_options options = {.out = out};
	struct sink *sink = sink_json_new(&options);

	assert_int_equal(sink_write(sink, &empty_report), 0);
	assert_int_equal(bytes[length - 1], '\n');
	assert_int_equal(sink_write(sink, &empty_report), 0);
	assert_memory_equal(bytes, bytes + length / 2, length / 2);
	assert_int_equal(sink_close(sink), 0);
	assert_int_equal(fclose(out), 0);
	free(bytes);
}

static void a_full_disk_is_an_error_of_the_write_and_of_the_close(void **state)
{
	FILE *out = fopen("/dev/full", "w");
	const struct sink_options options = {.out = out};
	struct sink *sink = sink_json_new(&options);

	assert_int_equal(sink_write(sink, &empty_report), -ENOSPC);
	assert_int_equal(sink_close(sink), -ENOSPC);
	(void)fclose(out);
}

static void a_closed_pipe_is_an_error_of_the_write(void **state)
{
	struct sink_options options = {};
	struct sink *sink;
	int ends[2];

	(void)signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(ends), 0);
	(void)close(ends[0]);
	options.out = fdopen(ends[1], "w");
	sink = sink_json_new(&options);
	assert_int_equal(sink_write(sink, &empty_report), -EPIPE);
	assert_int_equal(sink_close(sink), -EPIPE);
	(void)fclose(options.out);
}

static void closing_nothing_is_no_error(void **state)
{
	assert_int_equal(sink_close(NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_is_the_contract),
		cmocka_unit_test(a_report_without_processes_is_a_line),
		cmocka_unit_test(intervals_have_three_decimals_at_most),
		cmocka_unit_test(times_are_utc_with_milliseconds),
		cmocka_unit_test(any_bytes_become_valid_text),
		cmocka_unit_test(routes_keep_their_order),
		cmocka_unit_test(great_and_unknown_numbers),
		cmocka_unit_test(an_exited_process_is_marked),
		cmocka_unit_test(all_of_two_thousand_processes_are_there),
		cmocka_unit_test(each_report_is_one_line_in_the_stream),
		cmocka_unit_test(a_full_disk_is_an_error_of_the_write_and_of_the_close),
		cmocka_unit_test(a_closed_pipe_is_an_error_of_the_write),
		cmocka_unit_test(closing_nothing_is_no_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
