/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* JSON: every key of the contract in its place, whatever the report holds, one line a report. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <float.h>
#include <jansson.h>
#include <math.h>
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

/* All of a process that needs page records or faults. */
static void no_pages(struct report_process *process)
{
	report_retention_unknown(&process->retention);
	process->attribution = (struct report_attribution){
		.exclusive = REPORT_UNKNOWN,
		.overlapping = REPORT_UNKNOWN,
		.background = REPORT_UNKNOWN,
		.exclusive_ratio = NAN,
		.overlapping_ratio = NAN,
		.background_ratio = NAN,
		.followed_pages = REPORT_UNKNOWN,
		.copied_pages = REPORT_UNKNOWN,
		.kernel_pages = REPORT_UNKNOWN,
		.huge_pages = REPORT_UNKNOWN,
		.background_kept_pages = REPORT_UNKNOWN,
	};
	process->growth = (struct report_growth){
		.requests_bytes = REPORT_DELTA_UNKNOWN,
		.background_bytes = REPORT_DELTA_UNKNOWN,
		.earlier_bytes = REPORT_DELTA_UNKNOWN,
		.files_bytes = REPORT_DELTA_UNKNOWN,
		.unexplained_bytes = REPORT_DELTA_UNKNOWN,
		.error_bytes = REPORT_UNKNOWN,
	};
	process->sample_ratio = NAN;
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
		.cpu_ns = 43,
	};
	const char *notes[] = {"routes are not read"};
	struct report report = empty_report;
	const char *expected;
	char *text;

	process.counters[PS_REQUESTS] = 23;
	no_pages(&process);
	report.lost[PS_LOST_MAP_FULL] = 29;
	report.lost[PS_LOST_PAGES] = 41;
	report.lost[PS_LOST_RUNS] = 47;
	report.complete = false;
	report.notes = notes;
	report.note_count = 1;
	report.self_rss_bytes = 31;
	report.self_cpu_ns = 37;
	report.self_bpf_ns = 53;
	report.self_bpf_runs = REPORT_UNKNOWN;
	report.processes = &process;
	report.process_count = 1;
	text = render(&report);
	expected =
		"{\"schema\":\"pagestay.report/1\",\"ts\":\"2026-01-02T03:04:05.678Z\","
		"\"host\":\"web-1\",\"interval_s\":10.0,\"source\":\"bpf\",\"detail\":\"requests\","
		"\"complete\":false,\"lost\":{\"events\":0,\"map_full\":29,\"pages\":41,"
		"\"runs\":47},\"notes\":[\"routes are not read\"],"
		"\"self\":{\"rss_bytes\":31,\"cpu_ns\":37,\"bpf_ns\":53,\"bpf_runs\":null},"
		"\"processes\":[{\"pid\":4194304,\"start_time_ns\":5,\"comm\":\"nginx\","
		"\"exe\":null,\"unit\":null,\"container\":null,"
		"\"allocator\":{\"name\":\"unknown\",\"version\":null,\"evidence\":null,"
		"\"object\":null,\"static\":false,\"settings\":null},\"allocators\":[],"
		"\"exited\":false,\"accepts\":0,"
		"\"connections\":{\"open\":7,\"opened\":0,\"closed\":0},\"requests\":23,"
		"\"requests_merged\":0,\"requests_encrypted\":0,\"requests_handed_off\":0,"
		"\"rss_bytes\":13,\"rss_delta_bytes\":-19,\"anon_bytes\":17,"
		"\"anon_delta_bytes\":null,\"lazyfree_bytes\":null,\"swap_bytes\":null,"
		"\"cpu_ns\":43,\"ledger\":{"
		"\"brk\":{\"calls\":0,\"grow_bytes\":0,\"shrink_bytes\":0,\"failed\":0},"
		"\"mmap\":{\"calls\":0,\"bytes\":0,\"anon_bytes\":0,\"reserve_bytes\":0,"
		"\"failed\":0},"
		"\"munmap\":{\"calls\":0,\"bytes\":0,\"reserve_bytes\":0,\"failed\":0},"
		"\"mremap\":{\"calls\":0,\"grow_bytes\":0,\"shrink_bytes\":0,\"failed\":0},"
		"\"mprotect\":{\"calls\":0,\"commit_bytes\":0,\"decommit_bytes\":0,\"failed\":0},"
		"\"madvise\":{\"calls\":0,\"dontneed_bytes\":0,\"free_bytes\":0,\"other_bytes\":0,"
		"\"failed\":0}},"
		"\"faults\":{\"in_requests\":0,\"overlapping\":0,\"background\":11},"
		"\"retention\":{\"touched_pages\":null,\"touched_pages_low\":null,"
		"\"touched_pages_high\":null,\"kept_pages\":null,\"kept_pages_low\":null,"
		"\"kept_pages_high\":null,\"swapped_pages\":null,\"lazyfree_pages\":null,"
		"\"copied_pages\":null,\"kernel_pages\":null,\"huge_pages\":null,"
		"\"touched_pages_per_request\":null,\"kept_pages_per_request\":null,"
		"\"kept_bytes_per_request\":null,\"kept_bytes_per_1000_requests\":null,"
		"\"survival\":[],\"half_life_s\":null,\"half_life_over_s\":null,"
		"\"sample_ratio\":null},\"attribution\":{\"exclusive\":null,"
		"\"overlapping\":null,\"background\":null,\"exclusive_ratio\":null,"
		"\"overlapping_ratio\":null,\"background_ratio\":null,"
		"\"followed_pages\":null,\"hint\":null},"
		"\"background\":{\"touched_pages\":null,\"kept_pages\":null},"
		"\"growth\":{\"requests_bytes\":null,\"background_bytes\":null,"
		"\"earlier_bytes\":null,\"files_bytes\":null,\"unexplained_bytes\":null,"
		"\"error_bytes\":null},"
		"\"routes\":[],"
		"\"heap\":{\"live_bytes\":null,\"cached_bytes\":null,\"held_free_bytes\":null,"
		"\"trimmable_bytes\":null,\"top_bytes\":null,\"page_pinned_bytes\":null,"
		"\"arenas\":null,\"segments\":null,\"lost_segments\":null,\"lost_bytes\":null,"
		"\"system_bytes\":null,\"mmapped_bytes\":null,\"fastbin_bytes\":null,"
		"\"held_free_resident_bytes\":null,\"top_resident_bytes\":null,"
		"\"trimmable_top_bytes\":null,\"active_bytes\":null,\"dirty_bytes\":null,"
		"\"muzzy_bytes\":null,\"anon_bytes\":null,\"huge_bytes\":null,"
		"\"lazyfree_bytes\":null,\"threads\":null,\"purging_threads\":null,"
		"\"walk_ns\":null,\"age_s\":null,\"read_bytes\":null,\"allocator\":\"unknown\","
		"\"pins\":[],"
		"\"unpin\":[],\"thresholds\":{\"trim_bytes\":null,\"mmap_bytes\":null,"
		"\"top_pad_bytes\":null,\"dynamic\":null,\"arena_max\":null},"
		"\"decay\":{\"dirty_ms\":null,\"muzzy_ms\":null,\"background_thread\":null},"
		"\"huge_mode\":null},"
		"\"verdict\":{\"code\":\"unknown\",\"cause\":null,\"confidence\":0.0,"
		"\"evidence\":[";
	/* What to wait for is the verdict's matter. */
	assert_int_equal(strncmp(text, expected, strlen(expected)), 0);
	assert_non_null(strstr(text, "],\"advice\":[],\"remedies\":[]}}]}\n"));
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
	const struct report_route route = {.text = "GET /\x1b[2J\"\\\n\xf0\x9f\x98", .requests = 1};
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
	const struct report_route routes[] = {{.text = "GET /b", .requests = 5},
		{.text = "GET /a", .requests = 3}, {.text = "other", .requests = 7}};
	struct report_process process = {.comm = "", .routes = routes, .route_count = 3};
	struct report report = empty_report;
	json_t *root;

	report.processes = &process;
	report.process_count = 1;
	root = parse(&report);
	assert_int_equal(json_array_size(at(root, "processes/0/routes")), 3);
	assert_text(root, "processes/0/routes/0/route", "GET /b");
	assert_int_equal(integer(root, "processes/0/routes/0/requests"), 5);
	assert_text(root, "processes/0/routes/2/route", "other");
	json_decref(root);
}

static const struct report_retention known_retention = {
	.touched = {3072, 3000, 3100},
	.kept = {2500, 2400, 2600},
	.swapped_pages = 7,
	.lazyfree_pages = 11,
	.survival =
		{
			{1000, 980, 0.98, 0.97, 0.99},
			{900, 300, 1 / 3.0, 0.25, 0.5},
			{0, 0, NAN, NAN, NAN},
			{0, 0, NAN, NAN, NAN},
			{0, 0, NAN, NAN, NAN},
		},
	.half_life_s = 11.23456789,
	.half_life_over_s = NAN,
	.touched_pages_per_request = 4.2,
	.kept_pages_per_request = 0.000012345678,
	.growth_bytes = -4096,
};

/* The parts of pages as text, to be read: the order of the keys, and digits that mean something. */
static void pages_are_all_there(void **state)
{
	const struct report_route route = {
		.text = "GET /", .requests = 5, .retention = known_retention};
	struct report_process process = {
		.comm = "nginx",
		.page_bytes = 4096,
		.retention = known_retention,
		.attribution =
			{
				.exclusive = 2857,
				.overlapping = 61,
				.background = 154,
				.exclusive_ratio = 0.93,
				.overlapping_ratio = 0.02,
				.background_ratio = 0.05,
				.followed_pages = 2,
				.copied_pages = 3,
				.kernel_pages = 5,
				.huge_pages = 512,
				.background_kept_pages = 150,
				.hint = "work is handed to other threads",
			},
		.growth = {10, -20, 30, -40, 50, 60},
		.sample_ratio = 1 / 65536.0,
		.routes = &route,
		.route_count = 1,
	};
	struct report report = empty_report;
	const char *curve = "\"survival\":[{\"age_s\":1,\"ratio\":0.98,\"low\":0.97,\"high\":0.99,"
			    "\"touched_pages\":1000,\"kept_pages\":980},"
			    "{\"age_s\":10,\"ratio\":0.333333,\"low\":0.25,\"high\":0.5,"
			    "\"touched_pages\":900,\"kept_pages\":300},"
			    "{\"age_s\":60,\"ratio\":null,\"low\":null,\"high\":null,"
			    "\"touched_pages\":0,\"kept_pages\":0},"
			    "{\"age_s\":600,\"ratio\":null,\"low\":null,\"high\":null,"
			    "\"touched_pages\":0,\"kept_pages\":0},"
			    "{\"age_s\":3600,\"ratio\":null,\"low\":null,\"high\":null,"
			    "\"touched_pages\":0,\"kept_pages\":0}],"
			    "\"half_life_s\":11.2346,\"half_life_over_s\":null";
	char expected[4096];
	char *text;
	const char *part;

	report.detail = "pages";
	report.routes = true;
	report.processes = &process;
	report.process_count = 1;
	text = render(&report);
	(void)snprintf(expected, sizeof(expected),
		"\"retention\":{\"touched_pages\":3072,\"touched_pages_low\":3000,"
		"\"touched_pages_high\":3100,\"kept_pages\":2500,\"kept_pages_low\":2400,"
		"\"kept_pages_high\":2600,\"swapped_pages\":7,\"lazyfree_pages\":11,"
		"\"copied_pages\":3,\"kernel_pages\":5,\"huge_pages\":512,"
		"\"touched_pages_per_request\":4.2,\"kept_pages_per_request\":1.23457e-5,"
		"\"kept_bytes_per_request\":0.0505679,"
		"\"kept_bytes_per_1000_requests\":50.5679,%s,\"sample_ratio\":1.52588e-5},"
		"\"attribution\":{\"exclusive\":2857,\"overlapping\":61,\"background\":154,"
		"\"exclusive_ratio\":0.93,\"overlapping_ratio\":0.02,"
		"\"background_ratio\":0.05,\"followed_pages\":2,"
		"\"hint\":\"work is handed to other threads\"},"
		"\"background\":{\"touched_pages\":154,\"kept_pages\":150},"
		"\"growth\":{\"requests_bytes\":10,\"background_bytes\":-20,"
		"\"earlier_bytes\":30,\"files_bytes\":-40,\"unexplained_bytes\":50,"
		"\"error_bytes\":60},\"routes\":[{\"route\":\"GET /\",\"requests\":5,"
		"\"touched_pages\":3072,\"touched_pages_low\":3000,"
		"\"touched_pages_high\":3100,\"kept_pages\":2500,\"kept_pages_low\":2400,"
		"\"kept_pages_high\":2600,\"swapped_pages\":7,\"lazyfree_pages\":11,"
		"\"touched_pages_per_request\":4.2,\"kept_pages_per_request\":1.23457e-5,"
		"\"growth_bytes\":-4096,%s}],",
		curve, curve);
	part = strstr(text, "\"retention\"");
	assert_non_null(part);
	if (strncmp(part, expected, strlen(expected)) != 0)
		fail_msg("got\n%s\nexpected\n%s", part, expected);
	free(text);
}

static void the_curve_is_empty_where_no_page_is_tracked(void **state)
{
	const char *const details[] = {"ledger", "requests"};
	struct report_route route = {.text = "GET /", .requests = 5};
	struct report_process process = {.comm = "", .routes = &route, .route_count = 1};
	struct report report = empty_report;
	json_t *root;

	no_pages(&process);
	report_retention_unknown(&route.retention);
	report.processes = &process;
	report.process_count = 1;
	for (int i = 0; i < 2; i++) {
		report.detail = details[i];
		root = parse(&report);
		assert_int_equal(json_array_size(at(root, "processes/0/retention/survival")), 0);
		assert_true(json_is_null(at(root, "processes/0/retention/sample_ratio")));
		assert_true(json_is_null(at(root, "processes/0/growth/files_bytes")));
		assert_int_equal(json_array_size(at(root, "processes/0/routes/0/survival")), 0);
		assert_true(json_is_null(at(root, "processes/0/routes/0/kept_pages")));
		assert_true(json_is_null(at(root, "processes/0/routes/0/growth_bytes")));
		json_decref(root);
	}
	/* At `pages`, of a process whose pages cannot be read. */
	report.detail = "pages";
	root = parse(&report);
	assert_int_equal(json_array_size(at(root, "processes/0/retention/survival")), 5);
	assert_int_equal(integer(root, "processes/0/retention/survival/4/age_s"), 3600);
	assert_true(json_is_null(at(root, "processes/0/retention/survival/4/ratio")));
	assert_true(json_is_null(at(root, "processes/0/retention/survival/4/kept_pages")));
	json_decref(root);
}

/* What cannot be is null; what only is unlikely is written. */
static void real_numbers_that_cannot_be(void **state)
{
	const double impossible[] = {NAN, INFINITY, -INFINITY, -1};
	struct report_route route = {.text = "GET /"};
	struct report_process process = {
		.comm = "", .page_bytes = UINT64_MAX, .routes = &route, .route_count = 1};
	struct report report = empty_report;
	json_t *root;

	report.detail = "pages";
	report.processes = &process;
	report.process_count = 1;
	for (int i = 0; i < 4; i++) {
		process.retention.half_life_s = impossible[i];
		process.retention.kept_pages_per_request = impossible[i];
		process.retention.survival[0].ratio = impossible[i];
		process.attribution.exclusive_ratio = impossible[i];
		process.sample_ratio = impossible[i];
		route.retention = process.retention;
		root = parse(&report);
		assert_true(json_is_null(at(root, "processes/0/retention/half_life_s")));
		assert_true(json_is_null(at(root, "processes/0/retention/sample_ratio")));
		assert_true(json_is_null(at(root, "processes/0/retention/survival/0/ratio")));
		assert_true(json_is_null(at(root, "processes/0/retention/kept_bytes_per_request")));
		assert_true(json_is_null(at(root, "processes/0/attribution/exclusive_ratio")));
		assert_true(json_is_null(at(root, "processes/0/routes/0/half_life_s")));
		assert_true(json_is_null(at(root, "processes/0/routes/0/survival/0/ratio")));
		json_decref(root);
	}
	process.retention.half_life_s = 1e300;
	process.retention.half_life_over_s = DBL_MAX;
	process.retention.survival[0].ratio = 5e-324;
	root = parse(&report);
	assert_true(json_real_value(at(root, "processes/0/retention/half_life_s")) == 1e300);
	assert_true(json_real_value(at(root, "processes/0/retention/half_life_over_s")) > 1e308);
	assert_true(json_real_value(at(root, "processes/0/retention/survival/0/ratio")) > 0);
	json_decref(root);
}

static void great_and_unknown_numbers(void **state)
{
	const struct report_route route = {.text = "-", .requests = UINT64_MAX - 1};
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
		cmocka_unit_test(pages_are_all_there),
		cmocka_unit_test(the_curve_is_empty_where_no_page_is_tracked),
		cmocka_unit_test(real_numbers_that_cannot_be),
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
