/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Metrics: sums that only grow, gauges that vanish, labels of any bytes, bounds, and the file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pagestay/base/diag.h"
#include "metrics.h"
#include "seeded.h"

#define SERVER "{service=\"server.service\",kind=\"unit\"}"

static struct prometheus_state *new_state(unsigned services, unsigned routes)
{
	const struct prometheus_options options = {.services = services, .routes = routes};
	struct prometheus_state *state;

	assert_int_equal(prometheus_new(&options, &state), 0);
	return state;
}

static void fold(struct prometheus_state *state, const struct report *report)
{
	assert_int_equal(prometheus_fold(state, report), 0);
}

static void assert_sample(
	const struct prometheus_state *state, const char *series, const char *expected)
{
	char *text = metrics_text(state, PROMETHEUS_TEXT);
	const char *value = metrics_find(text, series);

	if (!expected && value)
		fail_msg("%s is there: %s", series, value);
	if (expected && (!value || strcmp(value, expected) != 0))
		fail_msg("%s is %s, not %s", series, value ? value : "nowhere, or twice", expected);
	free(text);
}

static void counters_are_sums_and_gauges_are_the_last(void **unused)
{
	struct prometheus_state *state = new_state(0, 0);
	struct metrics_world world;

	metrics_init(&world);
	fold(state, &world.report);
	world.process.rss_bytes = 5;
	fold(state, &world.report);
	assert_sample(state, "pagestay_accepts_total" SERVER, "20");
	assert_sample(state, "pagestay_rss_bytes" SERVER, "5");
	assert_sample(state, "pagestay_cpu_seconds_total" SERVER, "0.040000000");
	assert_sample(state, "pagestay_retention_touched_bytes_total" SERVER, "3276800");
	assert_sample(state, "pagestay_retention_kept_bytes" SERVER, "1146880");
	assert_sample(state, "pagestay_heap_walk_seconds" SERVER, "0.003500000");
	assert_sample(state, "pagestay_retention_half_life_seconds" SERVER, "12.5");
	assert_sample(state, "pagestay_reports_total", "2");
	assert_sample(state, "pagestay_report_interval_seconds", "1.000000000");
	assert_sample(state, "pagestay_report_timestamp_seconds", "1767323045.678000000");
	assert_sample(state, "pagestay_self_cpu_seconds_total", "0.003000000");
	assert_sample(state, "pagestay_self_resident_memory_bytes", "11534336");
	assert_sample(state, "pagestay_self_bpf_seconds_total", "0.005000000");
	assert_sample(state, "pagestay_self_bpf_runs_total", "18000");
	prometheus_free(state);
}

static void processes_of_a_service_add_up_where_that_makes_sense(void **unused)
{
	struct prometheus_state *state = new_state(0, 0);
	struct metrics_world one, two;
	struct report_process processes[2];

	metrics_init(&one);
	metrics_init(&two);
	one.history.requests = 300;
	two.history.requests = 100;
	two.process.retention.half_life_s = 50;
	two.process.retention.kept_pages_per_request = 6;
	two.process.sample_ratio = 0.25;
	two.history.growth_requests_bytes = -30;
	one.history.growth_requests_bytes = 10;
	processes[0] = one.process;
	processes[1] = two.process;
	one.report.processes = processes;
	one.report.process_count = 2;
	fold(state, &one.report);
	assert_sample(state, "pagestay_processes" SERVER, "2");
	assert_sample(state, "pagestay_connections_open" SERVER, "14");
	assert_sample(state, "pagestay_attribution_exclusive_total" SERVER, NULL);
	assert_sample(state, "pagestay_attribution_followed_bytes_total" SERVER, "0");
	assert_sample(state, "pagestay_heap_live_bytes" SERVER, "188743680");
	assert_sample(state, "pagestay_retention_half_life_seconds" SERVER, "50");
	assert_sample(state, "pagestay_retention_sample_ratio" SERVER, "0.25");
	/* (300 x 2 + 100 x 6) / 400 pages */
	assert_sample(state, "pagestay_retention_kept_per_request_bytes" SERVER, "12288");
	assert_sample(state, "pagestay_growth_requests_bytes" SERVER, "-20");
	assert_sample(state,
		"pagestay_retention_survival_ratio{service=\"server.service\",kind=\"unit\","
		"age=\"60\"}",
		"0.95");
	assert_sample(state,
		"pagestay_allocator_processes{service=\"server.service\",kind=\"unit\","
		"allocator=\"glibc\"}",
		"2");
	prometheus_free(state);
}

static void what_is_not_known_has_no_sample(void **unused)
{
	struct prometheus_state *state = new_state(0, 0);
	struct metrics_world world;

	metrics_init(&world);
	world.process.heap = NULL;
	world.process.history = NULL;
	world.process.rss_bytes = REPORT_UNKNOWN;
	world.process.counters[PS_ACCEPTS] = REPORT_UNKNOWN;
	world.report.self_rss_bytes = REPORT_UNKNOWN;
	world.report.self_bpf_ns = world.report.self_bpf_runs = REPORT_UNKNOWN;
	report_retention_unknown(&world.process.retention);
	fold(state, &world.report);
	assert_sample(state, "pagestay_rss_bytes" SERVER, NULL);
	assert_sample(state, "pagestay_accepts_total" SERVER, NULL);
	assert_sample(state, "pagestay_heap_live_bytes" SERVER, NULL);
	assert_sample(state, "pagestay_growth_requests_bytes" SERVER, NULL);
	assert_sample(state, "pagestay_retention_kept_per_request_bytes" SERVER, NULL);
	assert_sample(state, "pagestay_self_resident_memory_bytes", NULL);
	assert_sample(state, "pagestay_self_bpf_seconds_total", NULL);
	assert_sample(state, "pagestay_self_bpf_runs_total", NULL);
	assert_sample(state, "pagestay_swap_bytes" SERVER, "0");
	prometheus_free(state);
}

static void gauges_vanish_and_counters_stay(void **unused)
{
	struct prometheus_state *state = new_state(0, 8);
	struct metrics_world world;

	metrics_init(&world);
	fold(state, &world.report);
	world.process.exited = true;
	fold(state, &world.report);
	assert_sample(state, "pagestay_accepts_total" SERVER, "20");
	assert_sample(state, "pagestay_rss_bytes" SERVER, NULL);
	assert_sample(state, "pagestay_processes" SERVER, NULL);
	world.report.process_count = 0;
	fold(state, &world.report);
	assert_sample(state, "pagestay_accepts_total" SERVER, "20");
	assert_sample(state,
		"pagestay_route_requests_total{service=\"server.service\",kind=\"unit\","
		"route=\"GET /a\"}",
		"140");
	assert_sample(state,
		"pagestay_route_kept_bytes{service=\"server.service\",kind=\"unit\",route=\"GET "
		"/a\"}",
		NULL);
	prometheus_free(state);
}

static void assert_named(enum prometheus_naming naming, const char *unit, const char *container,
	const char *comm, const char *labels)
{
	const struct prometheus_options options = {.naming = naming};
	struct prometheus_state *state;
	struct metrics_world world;
	char series[1024];

	metrics_init(&world);
	world.process.unit = unit;
	world.process.container = container;
	world.process.comm = comm;
	assert_int_equal(prometheus_new(&options, &state), 0);
	fold(state, &world.report);
	(void)snprintf(series, sizeof(series), "pagestay_rss_bytes{%s}", labels);
	assert_sample(state, series, "1006632960");
	prometheus_free(state);
}

static void a_service_is_named_by_the_first_that_is_known(void **unused)
{
	assert_named(PROMETHEUS_BY_UNIT, "a.service", "0123456789ab", "c",
		"service=\"a.service\",kind=\"unit\"");
	assert_named(PROMETHEUS_BY_UNIT, "docker-0123456789abcdef.scope", "0123456789ab", "c",
		"service=\"0123456789ab\",kind=\"container\"");
	assert_named(PROMETHEUS_BY_UNIT, NULL, "0123456789ab", "c",
		"service=\"0123456789ab\",kind=\"container\"");
	assert_named(PROMETHEUS_BY_UNIT, NULL, NULL, "c", "service=\"c\",kind=\"comm\"");
	assert_named(PROMETHEUS_BY_UNIT, "", "", "", "service=\"\",kind=\"comm\"");
	assert_named(PROMETHEUS_BY_CONTAINER, "a.service", "0123456789ab", "c",
		"service=\"0123456789ab\",kind=\"container\"");
	assert_named(PROMETHEUS_BY_CONTAINER, "a.service", NULL, "c",
		"service=\"a.service\",kind=\"unit\"");
	assert_named(PROMETHEUS_BY_COMM, "a.service", "0123456789ab", "c",
		"service=\"c\",kind=\"comm\"");
}

static void labels_are_quoted_and_valid(void **unused)
{
	char longest[400];
	char labels[600];

	assert_named(PROMETHEUS_BY_COMM, NULL, NULL, "a\"b\\c\nd\x1b[m\x7f",
		"service=\"a\\\"b\\\\c?d?[m?\",kind=\"comm\"");
	assert_named(PROMETHEUS_BY_COMM, NULL, NULL, "x\xff\xc3\xa4\xc3",
		"service=\"x\xef\xbf\xbd\xc3\xa4\xef\xbf\xbd\",kind=\"comm\"");
	memset(longest, 'u', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	(void)snprintf(labels, sizeof(labels), "service=\"%.255s\",kind=\"unit\"", longest);
	assert_named(PROMETHEUS_BY_UNIT, longest, NULL, "c", labels);
}

/* A sample as the format has it: name, labels with three escapes, a number. */
static void assert_line(const char *line, const char *end)
{
	const char *at = line;
	char *after;

	while ((*at >= 'a' && *at <= 'z') || *at == '_' || (at > line && *at >= '0' && *at <= '9'))
		at++;
	if (*at == '{') {
		do {
			at += 1 + strspn(at + 1, "abcdefghijklmnopqrstuvwxyz");
			assert_memory_equal(at, "=\"", 2);
			for (at += 2; *at != '"'; at++) {
				assert_true(at < end && (unsigned char)*at >= ' ');
				at += *at == '\\';
			}
			at++;
		} while (*at == ',');
		assert_int_equal(*at++, '}');
	}
	assert_int_equal(*at++, ' ');
	(void)strtod(at, &after);
	assert_ptr_equal(after, end);
}

static void random_text(struct seeded *seeded, char *text, size_t text_bytes)
{
	size_t length = seeded_below(seeded, text_bytes);

	for (size_t i = 0; i < length; i++)
		text[i] = (char)(1 + seeded_below(seeded, seeded_once_in(seeded, 2) ? 255 : 0x7f));
	text[length] = '\0';
}

static int compare_texts(const void *left, const void *right)
{
	return strcmp(*(char *const *)left, *(char *const *)right);
}

/* Whatever processes call themselves, and whatever is asked of them. */
static void names_of_any_bytes_make_sound_lines(void **unused)
{
	static char *series[20000];
	struct prometheus_state *state = new_state(50, 3);
	struct seeded seeded = {1};
	struct metrics_world world;
	size_t count = 0;
	char *text, *next;

	metrics_init(&world);
	for (int i = 0; i < 300; i++) {
		char comm[16], unit[128], route[96];

		random_text(&seeded, comm, sizeof(comm));
		random_text(&seeded, unit, seeded_once_in(&seeded, 2) ? sizeof(unit) : 2);
		random_text(&seeded, route, seeded_once_in(&seeded, 2) ? sizeof(route) : 2);
		world.process.comm = comm;
		world.process.unit = unit;
		world.routes[0].text = route;
		fold(state, &world.report);
	}
	text = metrics_text(state, PROMETHEUS_OPENMETRICS);
	for (char *line = text; *line; line = next) {
		next = strchr(line, '\n') + 1;
		if (*line == '#')
			continue;
		assert_line(line, next - 1);
		next[-1] = '\0';
		*strrchr(line, ' ') = '\0';
		assert_in_range(count, 0, sizeof(series) / sizeof(series[0]) - 1);
		series[count++] = line;
	}
	assert_in_range(count, 2000, 20000);
	qsort(series, count, sizeof(series[0]), compare_texts);
	for (size_t i = 1; i < count; i++)
		assert_string_not_equal(series[i - 1], series[i]);
	free(text);
	prometheus_free(state);
}

/* Names that differ only in bytes that no label holds must not become one series twice. */
static void names_that_look_alike_are_one_service(void **unused)
{
	struct prometheus_state *state = new_state(0, 0);
	struct metrics_world world;
	struct report_process processes[2];

	metrics_init(&world);
	world.process.unit = NULL;
	processes[0] = processes[1] = world.process;
	processes[0].comm = "a\xfe";
	processes[1].comm = "a\xff";
	world.report.processes = processes;
	world.report.process_count = 2;
	fold(state, &world.report);
	assert_sample(state, "pagestay_processes{service=\"a\xef\xbf\xbd\",kind=\"comm\"}", "2");
	prometheus_free(state);
}

static void fold_named(struct prometheus_state *state, struct metrics_world *world, unsigned number)
{
	char comm[16];

	(void)snprintf(comm, sizeof(comm), "p%u", number);
	world->process.unit = NULL;
	world->process.comm = comm;
	fold(state, &world->report);
}

static void services_beyond_the_limit_are_other(void **unused)
{
	struct prometheus_state *state = new_state(2, 0);
	struct metrics_world world;

	metrics_init(&world);
	for (unsigned i = 0; i < 5; i++)
		fold_named(state, &world, i);
	assert_sample(state, "pagestay_accepts_total{service=\"p1\",kind=\"comm\"}", "10");
	assert_sample(state, "pagestay_accepts_total{service=\"p2\",kind=\"comm\"}", NULL);
	assert_sample(state, "pagestay_accepts_total{service=\"other\",kind=\"other\"}", "30");
	assert_sample(state, "pagestay_services", "2");
	/* After an hour the one that has been away longest makes room. */
	world.report.interval_ns = PROMETHEUS_FORGET_S * SECOND_NS;
	fold_named(state, &world, 1);
	world.report.interval_ns = SECOND_NS;
	fold_named(state, &world, 7);
	assert_sample(state, "pagestay_accepts_total{service=\"p0\",kind=\"comm\"}", NULL);
	assert_sample(state, "pagestay_accepts_total{service=\"p1\",kind=\"comm\"}", "20");
	assert_sample(state, "pagestay_accepts_total{service=\"p7\",kind=\"comm\"}", "10");
	assert_sample(state, "pagestay_services_forgotten_total", "1");
	prometheus_free(state);
}

static void fold_route(struct prometheus_state *state, struct metrics_world *world, unsigned number,
	uint64_t requests)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "GET /%u\n", number);
	world->routes[0].text = text;
	world->routes[0].requests = requests;
	world->process.route_count = 1;
	fold(state, &world->report);
}

#define ROUTE(text)                                                                                \
	"pagestay_route_requests_total{service=\"server.service\",kind=\"unit\",route=\"" text "\"}"

static void routes_of_bots_make_way_for_real_ones(void **unused)
{
	struct prometheus_state *state = new_state(0, 2);
	struct metrics_world world;

	metrics_init(&world);
	for (unsigned i = 0; i < 100; i++)
		fold_route(state, &world, i, 1);
	assert_sample(state, ROUTE("GET /1?"), "1");
	assert_sample(state, ROUTE("other"), "98");
	fold_route(state, &world, 500, 7);
	fold_route(state, &world, 501, 8);
	fold_route(state, &world, 502, 7);
	assert_sample(state, ROUTE("GET /1?"), NULL);
	assert_sample(state, ROUTE("GET /500?"), "7");
	assert_sample(state, ROUTE("GET /501?"), "8");
	assert_sample(state, ROUTE("other"), "105");
	prometheus_free(state);
}

static void no_routes_unless_asked_for(void **unused)
{
	struct prometheus_state *state = new_state(0, 0);
	struct metrics_world world;
	char *text;

	metrics_init(&world);
	fold(state, &world.report);
	text = metrics_text(state, PROMETHEUS_TEXT);
	assert_null(strstr(text, "route"));
	free(text);
	prometheus_free(state);
}

static void verdicts_are_a_set_of_states(void **unused)
{
	struct prometheus_state *state = new_state(0, 0);
	struct metrics_world world;

	metrics_init(&world);
	for (int i = 0; i < 90; i++)
		metrics_step(&world);
	fold(state, &world.report);
	assert_sample(state,
		"pagestay_verdict{service=\"server.service\",kind=\"unit\",code=\"retaining\"}",
		"1");
	assert_sample(state,
		"pagestay_verdict{service=\"server.service\",kind=\"unit\",code=\"growing\"}", "0");
	assert_sample(state,
		"pagestay_remedy_forecast_bytes{service=\"server.service\",kind=\"unit\",cause="
		"\"trimmable_interior\"}",
		"802160640");
	prometheus_free(state);
}

static void sums_do_not_wrap(void **unused)
{
	struct prometheus_state *state = new_state(0, 0);
	struct metrics_world world;

	metrics_init(&world);
	world.process.counters[PS_ACCEPTS] = UINT64_MAX - 1;
	world.process.retention.touched.value = UINT64_MAX - 1;
	fold(state, &world.report);
	fold(state, &world.report);
	assert_sample(state, "pagestay_accepts_total" SERVER, "9223372036854775807");
	assert_sample(
		state, "pagestay_retention_touched_bytes_total" SERVER, "9223372036854775807");
	prometheus_free(state);
}

static void every_name_is_there_once_and_tells_its_unit(void **unused)
{
	struct prometheus_state *state = new_state(0, 4);
	struct metrics_world world;
	char *text;
	unsigned families = 0;

	metrics_init(&world);
	for (int i = 0; i < 90; i++)
		metrics_step(&world);
	fold(state, &world.report);
	text = metrics_text(state, PROMETHEUS_OPENMETRICS);
	for (char *line = strstr(text, "# TYPE "); line; line = strstr(line + 1, "# TYPE ")) {
		char head[160], name[128], unit[32] = "", kind[16];

		assert_int_equal(sscanf(line, "# TYPE %127s %15s", name, kind), 2);
		(void)snprintf(head, sizeof(head), "# TYPE %s %s\n", name, kind);
		assert_null(strstr(line + 1, head));
		(void)snprintf(head, sizeof(head), "# UNIT %s ", name);
		if (strstr(text, head)) {
			assert_int_equal(
				sscanf(strstr(text, head) + strlen(head), "%31s", unit), 1);
			assert_string_equal(name + strlen(name) - strlen(unit), unit);
		}
		assert_null(strstr(name, "_total"));
		families++;
	}
	assert_in_range(families, 80, 200);
	assert_string_equal(text + strlen(text) - 6, "# EOF\n");
	free(text);
	prometheus_free(state);
}

/* Real numbers do not add up: somebody must have thought about each. */
static void real_fields_are_metrics_only_by_decision(void **unused)
{
	static const char *const left_out[] = {"retention.touched_pages_per_request",
		"retention.kept_pages_per_request", "retention.kept_bytes_per_1000_requests",
		"attribution.exclusive_ratio", "attribution.overlapping_ratio",
		"attribution.background_ratio"};
	size_t real = 0;

	for (size_t i = 0; i < report_field_count; i++)
		real += report_fields[i].get_real != NULL;
	for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]); i++)
		assert_non_null(report_field(left_out[i]));
	/* And those that are metrics: per request, two half-lives, sampling, the x-ray's age. */
	assert_int_equal(real, sizeof(left_out) / sizeof(left_out[0]) + 5);
}

static void attached_counters_share_a_head(void **unused)
{
	static const struct prometheus_counter counters[] = {
		{"http_requests", "Requests.", "code", "200", 5},
		{"http_requests", "Requests.", "code", "404", 6},
		{"dropped", "Dropped.", NULL, NULL, 7},
	};
	struct prometheus_state *state = new_state(0, 0);
	char *text;

	for (int i = 0; i < PROMETHEUS_GROUPS; i++)
		assert_int_equal(prometheus_attach(state, counters, i ? 0 : 3), 0);
	assert_int_equal(prometheus_attach(state, counters, 3), -ENOSPC);
	text = metrics_text(state, PROMETHEUS_TEXT);
	assert_non_null(strstr(text, "# HELP pagestay_http_requests_total Requests.\n"
				     "# TYPE pagestay_http_requests_total counter\n"
				     "pagestay_http_requests_total{code=\"200\"} 5\n"
				     "pagestay_http_requests_total{code=\"404\"} 6\n"
				     "# HELP pagestay_dropped_total Dropped.\n"
				     "# TYPE pagestay_dropped_total counter\n"
				     "pagestay_dropped_total 7\n"));
	free(text);
	prometheus_free(state);
}

static void options_out_of_bounds_are_refused(void **unused)
{
	struct prometheus_options options = {.services = PROMETHEUS_SERVICES_MAX + 1};
	struct prometheus_state *state;

	assert_int_equal(prometheus_new(&options, &state), -EINVAL);
	options = (struct prometheus_options){.routes = PROMETHEUS_ROUTES_MAX + 1};
	assert_int_equal(prometheus_new(&options, &state), -EINVAL);
	options = (struct prometheus_options){.services = 4096, .routes = 4};
	assert_int_equal(prometheus_new(&options, &state), -EINVAL);
	prometheus_free(NULL);
}

/*
 * The file.
 */

struct said {
	int count;
	char last[512];
};

static void say(void *context, const char *text)
{
	struct said *said = context;

	said->count++;
	(void)snprintf(said->last, sizeof(said->last), "%s", text);
}

static char directory[64], path[128];

static struct prometheus_state *metrics;

static int write_report(struct sink *sink, const struct report *report)
{
	fold(metrics, report);
	return sink_write(sink, report);
}

static int make_directory(void **unused)
{
	metrics = new_state(0, 0);
	(void)snprintf(directory, sizeof(directory), "/tmp/test_prometheus.XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/pagestay.prom", directory);
	return 0;
}

static int remove_directory(void **unused)
{
	prometheus_free(metrics);
	(void)chmod(directory, 0700);
	(void)unlink(path);
	return rmdir(directory);
}

static bool is_written(uint64_t reports)
{
	char line[256], expected[64];
	bool found = false;
	FILE *file = fopen(path, "r");

	(void)snprintf(expected, sizeof(expected), "pagestay_reports_total %llu\n",
		(unsigned long long)reports);
	while (file && fgets(line, sizeof(line), file))
		found |= strcmp(line, expected) == 0;
	if (file)
		(void)fclose(file);
	return found;
}

static void wait_until_written(uint64_t reports)
{
	for (int i = 0; i < 500 && !is_written(reports); i++)
		(void)usleep(10000);
	assert_true(is_written(reports));
}

static void the_file_is_replaced_as_a_whole(void **unused)
{
	const struct textfile_options options = {.path = path, .metrics = metrics};
	struct metrics_world world;
	struct diag diag = {0};
	struct sink *sink;
	struct stat before, after;

	metrics_init(&world);
	assert_int_equal(sink_textfile_new(&options, &sink, &diag), 0);
	assert_int_equal(write_report(sink, &world.report), 0);
	wait_until_written(1);
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(before.st_mode & 07777, 0644);
	assert_int_equal(write_report(sink, &world.report), 0);
	wait_until_written(2);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(sink_close(sink), 0);
	assert_int_equal(stat(path, &after), -1);
}

/* With the directory moved away nothing can be written; root's rights do not help. */
static void trouble_is_said_once_and_so_is_its_end(void **unused)
{
	struct said said = {0};
	const struct textfile_options options = {
		.path = path, .metrics = metrics, .say = say, .context = &said};
	struct metrics_world world;
	struct diag diag = {0};
	struct sink *sink;
	char away[80];

	metrics_init(&world);
	(void)snprintf(away, sizeof(away), "%s.away", directory);
	assert_int_equal(sink_textfile_new(&options, &sink, &diag), 0);
	assert_int_equal(rename(directory, away), 0);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(write_report(sink, &world.report), 0);
		(void)usleep(20000);
	}
	assert_int_equal(said.count, 1);
	assert_non_null(strstr(said.last, "No such file"));
	assert_int_equal(rename(away, directory), 0);
	for (int i = 0; i < 500 && said.count == 1; i++) {
		assert_int_equal(write_report(sink, &world.report), 0);
		(void)usleep(10000);
	}
	assert_int_equal(said.count, 2);
	assert_non_null(strstr(said.last, "is written again"));
	assert_int_equal(sink_close(sink), 0);
}

static void metrics_that_cannot_be_rendered_are_told(void **unused)
{
	struct said said = {0};
	const struct textfile_options options = {
		.path = path, .metrics = metrics, .say = say, .context = &said};
	struct metrics_world world;
	struct diag diag = {0};
	struct sink *sink;

	metrics_init(&world);
	assert_int_equal(sink_textfile_new(&options, &sink, &diag), 0);
	metrics_no_memory = true;
	assert_int_equal(write_report(sink, &world.report), -ENOMEM);
	assert_int_equal(write_report(sink, &world.report), -ENOMEM);
	metrics_no_memory = false;
	assert_int_equal(said.count, 1);
	assert_non_null(strstr(said.last, "Cannot allocate memory"));
	assert_int_equal(write_report(sink, &world.report), 0);
	assert_int_equal(said.count, 2);
	wait_until_written(3);
	assert_int_equal(sink_close(sink), 0);
}

/* It hangs while its lock is held. */
struct disk {
	pthread_mutex_t lock;
	atomic_int tid; /* of who came to it last */
};

static struct disk disk = {PTHREAD_MUTEX_INITIALIZER, 0};
static struct disk other_disk = {PTHREAD_MUTEX_INITIALIZER, 0};

static int come_to(struct disk *to)
{
	to->tid = gettid();
	(void)pthread_mutex_lock(&to->lock);
	(void)pthread_mutex_unlock(&to->lock);
	return 0;
}

static int sync_disk(int fd)
{
	return come_to(&disk);
}

static int sync_other_disk(int fd)
{
	return come_to(&other_disk);
}

static int wait_for_tid(const struct disk *of)
{
	for (int i = 0; i < 500 && !of->tid; i++)
		(void)usleep(10000);
	assert_int_not_equal(of->tid, 0);
	return of->tid;
}

static void wait_for_end(int tid)
{
	char task[64];

	(void)snprintf(task, sizeof(task), "/proc/self/task/%d", tid);
	for (int i = 0; i < 500 && access(task, F_OK) == 0; i++)
		(void)usleep(10000);
	assert_int_equal(access(task, F_OK), -1);
}

static const char *temporary_of(int tid)
{
	static char temporary[128];

	(void)snprintf(temporary, sizeof(temporary), "%s/.pagestay.prom.%d.tmp", directory, tid);
	return temporary;
}

static void a_disk_that_hangs_holds_nobody_up(void **unused)
{
	const struct textfile_options options = {
		.path = path, .metrics = metrics, .sync = sync_disk};
	struct metrics_world world;
	struct diag diag = {0};
	struct sink *sink;
	int tid;

	metrics_init(&world);
	disk.tid = 0;
	assert_int_equal(sink_textfile_new(&options, &sink, &diag), 0);
	(void)pthread_mutex_lock(&disk.lock);
	for (int i = 0; i < 100; i++)
		assert_int_equal(write_report(sink, &world.report), 0);
	tid = wait_for_tid(&disk);
	assert_int_equal(access(temporary_of(tid), F_OK), 0);
	assert_int_equal(sink_close(sink), 0);
	(void)pthread_mutex_unlock(&disk.lock);
	wait_for_end(tid);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(access(temporary_of(tid), F_OK), -1);
}

static void who_hung_leaves_the_file_to_his_successor(void **unused)
{
	const struct textfile_options hanging = {
		.path = path, .metrics = metrics, .sync = sync_disk};
	const struct textfile_options next = {
		.path = path, .metrics = metrics, .sync = sync_other_disk};
	struct metrics_world world;
	struct diag diag = {0};
	struct sink *sink;
	int tid;

	metrics_init(&world);
	disk.tid = 0;
	(void)pthread_mutex_lock(&disk.lock);
	assert_int_equal(sink_textfile_new(&hanging, &sink, &diag), 0);
	assert_int_equal(write_report(sink, &world.report), 0);
	tid = wait_for_tid(&disk);
	assert_int_equal(sink_close(sink), 0);
	assert_int_equal(sink_textfile_new(&next, &sink, &diag), 0);
	for (uint64_t reports = 2; reports <= 3; reports++) {
		assert_int_equal(write_report(sink, &world.report), 0);
		wait_until_written(reports);
	}
	/* The disk lets go while the next file is under way. */
	other_disk.tid = 0;
	(void)pthread_mutex_lock(&other_disk.lock);
	assert_int_equal(write_report(sink, &world.report), 0);
	(void)wait_for_tid(&other_disk);
	(void)pthread_mutex_unlock(&disk.lock);
	wait_for_end(tid);
	assert_true(is_written(3));
	(void)pthread_mutex_unlock(&other_disk.lock);
	wait_until_written(4);
	assert_int_equal(sink_close(sink), 0);
}

static void what_was_left_by_the_killed_is_removed(void **unused)
{
	static const char *const names[] = {
		".pagestay.prom.12.tmp", ".pagestay.prom.1x.tmp", ".pagestay.prom..tmp"};
	const struct textfile_options options = {.path = path, .metrics = metrics};
	struct metrics_world world;
	struct diag diag = {0};
	struct sink *sink;
	char file[128];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)snprintf(file, sizeof(file), "%s/%s", directory, names[i]);
		assert_int_equal(mknod(file, S_IFREG | 0600, 0), 0);
	}
	metrics_init(&world);
	assert_int_equal(sink_textfile_new(&options, &sink, &diag), 0);
	assert_int_equal(write_report(sink, &world.report), 0);
	wait_until_written(1);
	assert_int_equal(sink_close(sink), 0);
	assert_int_equal(access(temporary_of(12), F_OK), -1);
	for (size_t i = 1; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)snprintf(file, sizeof(file), "%s/%s", directory, names[i]);
		assert_int_equal(unlink(file), 0);
	}
}

static void a_link_in_the_way_is_not_followed(void **unused)
{
	const struct textfile_options options = {
		.path = path, .metrics = metrics, .sync = sync_disk};
	struct metrics_world world;
	struct diag diag = {0};
	struct sink *sink;
	char victim[128];
	struct stat found;

	(void)snprintf(victim, sizeof(victim), "%s/victim", directory);
	metrics_init(&world);
	disk.tid = 0;
	assert_int_equal(sink_textfile_new(&options, &sink, &diag), 0);
	assert_int_equal(write_report(sink, &world.report), 0);
	wait_until_written(1);
	assert_int_equal(symlink(victim, temporary_of(disk.tid)), 0);
	assert_int_equal(write_report(sink, &world.report), 0);
	wait_until_written(2);
	assert_int_equal(stat(victim, &found), -1);
	assert_int_equal(sink_close(sink), 0);
}

static void other_paths_are_refused(void **unused)
{
	static const char *const paths[] = {
		"", "x.prom", "/.prom", "/x", "/x.prom.tmp", "/x/.y.prom", "/tmp/"};
	struct sink *sink;

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		const struct textfile_options options = {.path = paths[i]};
		struct diag diag = {0};

		assert_int_equal(sink_textfile_new(&options, &sink, &diag), -EINVAL);
		assert_non_null(strstr(diag.text, "ends in .prom"));
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counters_are_sums_and_gauges_are_the_last),
		cmocka_unit_test(processes_of_a_service_add_up_where_that_makes_sense),
		cmocka_unit_test(what_is_not_known_has_no_sample),
		cmocka_unit_test(gauges_vanish_and_counters_stay),
		cmocka_unit_test(a_service_is_named_by_the_first_that_is_known),
		cmocka_unit_test(labels_are_quoted_and_valid),
		cmocka_unit_test(names_of_any_bytes_make_sound_lines),
		cmocka_unit_test(names_that_look_alike_are_one_service),
		cmocka_unit_test(services_beyond_the_limit_are_other),
		cmocka_unit_test(routes_of_bots_make_way_for_real_ones),
		cmocka_unit_test(no_routes_unless_asked_for),
		cmocka_unit_test(verdicts_are_a_set_of_states),
		cmocka_unit_test(sums_do_not_wrap),
		cmocka_unit_test(every_name_is_there_once_and_tells_its_unit),
		cmocka_unit_test(real_fields_are_metrics_only_by_decision),
		cmocka_unit_test(attached_counters_share_a_head),
		cmocka_unit_test(options_out_of_bounds_are_refused),
	};
	const struct CMUnitTest file_tests[] = {
		cmocka_unit_test_setup_teardown(
			the_file_is_replaced_as_a_whole, make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(
			trouble_is_said_once_and_so_is_its_end, make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(
			metrics_that_cannot_be_rendered_are_told, make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(
			a_disk_that_hangs_holds_nobody_up, make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(who_hung_leaves_the_file_to_his_successor,
			make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(
			what_was_left_by_the_killed_is_removed, make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(
			a_link_in_the_way_is_not_followed, make_directory, remove_directory),
		cmocka_unit_test(other_paths_are_refused),
	};
	struct metrics_world world;

	/* `dump text|openmetrics`: the metrics of the watch, for somebody else to check. */
	if (argc == 3 && strcmp(argv[1], "dump") == 0) {
		struct prometheus_state *state = new_state(0, 4);

		metrics_init(&world);
		for (int i = 0; i < 90; i++)
			metrics_step(&world);
		fold(state, &world.report);
		(void)prometheus_render(stdout,
			strcmp(argv[2], "text") ? PROMETHEUS_OPENMETRICS : PROMETHEUS_TEXT, state);
		prometheus_free(state);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL) +
	       cmocka_run_group_tests(file_tests, NULL, NULL);
}
