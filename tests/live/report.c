/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reading and checking what pagestay reported. The contract is written down here once more,
 * independently of the program's own field table, so that a field that is lost, renamed or of
 * another type there fails every live test. A report is immutable after report_read().
 */
#include <inttypes.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

struct report {
	json_t *lines;  /* array of line objects */
	json_t *exited; /* set of processes that have exited */
};

enum kind { COUNT, SIGNED, NUMBER, TEXT, BOOLEAN, OBJECT, ARRAY };

struct field {
	const char *path;
	enum kind kind;
	bool may_be_null;
};

static const struct field line_fields[] = {
	{"schema", TEXT, false},
	{"ts", TEXT, false},
	{"host", TEXT, false},
	{"interval_s", NUMBER, false},
	{"source", TEXT, false},
	{"detail", TEXT, false},
	{"complete", BOOLEAN, false},
	{"lost.events", COUNT, false},
	{"lost.map_full", COUNT, false},
	{"lost.pages", COUNT, false},
	{"lost.runs", COUNT, false},
	{"self.rss_bytes", COUNT, true},
	{"self.cpu_ns", COUNT, true},
	{"self.bpf_ns", COUNT, true},
	{"self.bpf_runs", COUNT, true},
	{"processes", ARRAY, false},
};

static const struct field process_fields[] = {
	{"pid", COUNT, false},
	{"start_time_ns", COUNT, false},
	{"comm", TEXT, false},
	{"exe", TEXT, true},
	{"unit", TEXT, true},
	{"container", TEXT, true},
	{"allocator", OBJECT, true},
	{"accepts", COUNT, true},
	{"connections.open", COUNT, true},
	{"connections.opened", COUNT, true},
	{"connections.closed", COUNT, true},
	{"requests", COUNT, true},
	{"requests_merged", COUNT, true},
	{"rss_bytes", COUNT, true},
	{"rss_delta_bytes", SIGNED, true},
	{"anon_bytes", COUNT, true},
	{"lazyfree_bytes", COUNT, true},
	{"swap_bytes", COUNT, true},
	{"ledger.brk.calls", COUNT, false},
	{"ledger.brk.grow_bytes", COUNT, false},
	{"ledger.brk.shrink_bytes", COUNT, false},
	{"ledger.brk.failed", COUNT, false},
	{"ledger.mmap.calls", COUNT, false},
	{"ledger.mmap.bytes", COUNT, false},
	{"ledger.mmap.anon_bytes", COUNT, false},
	{"ledger.mmap.failed", COUNT, false},
	{"ledger.munmap.calls", COUNT, false},
	{"ledger.munmap.bytes", COUNT, false},
	{"ledger.munmap.failed", COUNT, false},
	{"ledger.mremap.calls", COUNT, false},
	{"ledger.mremap.grow_bytes", COUNT, false},
	{"ledger.mremap.shrink_bytes", COUNT, false},
	{"ledger.mremap.failed", COUNT, false},
	{"ledger.mprotect.calls", COUNT, false},
	{"ledger.mprotect.commit_bytes", COUNT, false},
	{"ledger.mprotect.decommit_bytes", COUNT, false},
	{"ledger.mprotect.failed", COUNT, false},
	{"ledger.madvise.calls", COUNT, false},
	{"ledger.madvise.dontneed_bytes", COUNT, false},
	{"ledger.madvise.free_bytes", COUNT, false},
	{"ledger.madvise.other_bytes", COUNT, false},
	{"ledger.madvise.failed", COUNT, false},
	{"faults.in_requests", COUNT, true},
	{"faults.overlapping", COUNT, true},
	{"faults.background", COUNT, true},
	{"retention.touched_pages", COUNT, true},
	{"retention.touched_pages_low", COUNT, true},
	{"retention.touched_pages_high", COUNT, true},
	{"retention.kept_pages", COUNT, true},
	{"retention.kept_pages_low", COUNT, true},
	{"retention.kept_pages_high", COUNT, true},
	{"retention.swapped_pages", COUNT, true},
	{"retention.lazyfree_pages", COUNT, true},
	{"retention.copied_pages", COUNT, true},
	{"retention.kernel_pages", COUNT, true},
	{"retention.huge_pages", COUNT, true},
	{"retention.touched_pages_per_request", NUMBER, true},
	{"retention.kept_pages_per_request", NUMBER, true},
	{"retention.kept_bytes_per_request", NUMBER, true},
	{"retention.kept_bytes_per_1000_requests", NUMBER, true},
	{"retention.survival", ARRAY, false},
	{"retention.half_life_s", NUMBER, true},
	{"retention.half_life_over_s", NUMBER, true},
	{"retention.sample_ratio", NUMBER, true},
	{"attribution.exclusive", COUNT, true},
	{"attribution.overlapping", COUNT, true},
	{"attribution.background", COUNT, true},
	{"attribution.exclusive_ratio", NUMBER, true},
	{"attribution.overlapping_ratio", NUMBER, true},
	{"attribution.background_ratio", NUMBER, true},
	{"attribution.followed_pages", COUNT, true},
	{"attribution.hint", TEXT, true},
	{"background.touched_pages", COUNT, true},
	{"background.kept_pages", COUNT, true},
	{"growth.requests_bytes", SIGNED, true},
	{"growth.background_bytes", SIGNED, true},
	{"growth.earlier_bytes", SIGNED, true},
	{"growth.files_bytes", SIGNED, true},
	{"growth.unexplained_bytes", SIGNED, true},
	{"growth.error_bytes", COUNT, true},
	{"routes", ARRAY, true},
	{"heap", OBJECT, true},
	{"verdict", OBJECT, true},
};

static const struct field route_fields[] = {
	{"route", TEXT, false},
	{"requests", COUNT, false},
	{"touched_pages", COUNT, true},
	{"touched_pages_low", COUNT, true},
	{"touched_pages_high", COUNT, true},
	{"kept_pages", COUNT, true},
	{"kept_pages_low", COUNT, true},
	{"kept_pages_high", COUNT, true},
	{"swapped_pages", COUNT, true},
	{"lazyfree_pages", COUNT, true},
	{"touched_pages_per_request", NUMBER, true},
	{"kept_pages_per_request", NUMBER, true},
	{"growth_bytes", SIGNED, true},
	{"survival", ARRAY, false},
	{"half_life_s", NUMBER, true},
	{"half_life_over_s", NUMBER, true},
};

static const struct field survival_fields[] = {
	{"age_s", COUNT, false},
	{"ratio", NUMBER, true},
	{"low", NUMBER, true},
	{"high", NUMBER, true},
	{"touched_pages", COUNT, true},
	{"kept_pages", COUNT, true},
};

#define FIELDS(table) (table), sizeof(table) / sizeof((table)[0])

/* The value at a dotted path; NULL when any part of it is missing. A null on the way is the value.
 */
static json_t *find(json_t *object, const char *path)
{
	while (object && !json_is_null(object)) {
		const char *dot = strchr(path, '.');
		size_t length = dot ? (size_t)(dot - path) : strlen(path);

		object = json_is_array(object) ? json_array_get(object, strtoul(path, NULL, 10))
					       : json_object_getn(object, path, length);
		if (!dot)
			break;
		path = dot + 1;
	}
	return object;
}

static bool is_of_kind(const json_t *value, enum kind kind)
{
	switch (kind) {
	case COUNT:
		return json_is_integer(value) && json_integer_value(value) >= 0;
	case SIGNED:
		return json_is_integer(value);
	case NUMBER:
		return json_is_number(value) && json_number_value(value) >= 0;
	case TEXT:
		return json_is_string(value);
	case BOOLEAN:
		return json_is_boolean(value);
	case OBJECT:
		return json_is_object(value);
	case ARRAY:
		return json_is_array(value);
	}
	return false;
}

static void check_fields(json_t *object, const struct field *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		json_t *value = find(object, fields[i].path);

		if (!value)
			live_fail("'%s' is missing", fields[i].path);
		if (json_is_null(value) && fields[i].may_be_null)
			continue;
		if (!is_of_kind(value, fields[i].kind))
			live_fail("'%s' has a value of the wrong kind", fields[i].path);
	}
}

static uint64_t count_of(json_t *object, const char *path)
{
	json_t *value = find(object, path);

	if (!is_of_kind(value, COUNT))
		live_fail("'%s' is no number where one is needed", path);
	return (uint64_t)json_integer_value(value);
}

static bool has_exited(json_t *process)
{
	return json_is_true(json_object_get(process, "exited"));
}

/* Each process once in a line, and never again after the line that says it has exited. */
static void check_identity(struct report *report, json_t *line)
{
	json_t *seen = json_object();
	json_t *process;
	size_t i;

	json_array_foreach (json_object_get(line, "processes"), i, process) {
		char identity[64];

		(void)snprintf(identity, sizeof(identity), "%" PRIu64 " started at %" PRIu64,
			count_of(process, "pid"), count_of(process, "start_time_ns"));
		if (json_object_get(seen, identity))
			live_fail("process %s is twice in one line", identity);
		if (json_object_get(report->exited, identity))
			live_fail("process %s is back after it exited", identity);
		json_object_set_new(seen, identity, json_true());
		if (has_exited(process))
			json_object_set_new(report->exited, identity, json_true());
	}
	json_decref(seen);
}

static void check_text(json_t *line, const char *path, const char *expression)
{
	const char *text = json_string_value(find(line, path));
	regex_t compiled;
	int outcome;

	if (regcomp(&compiled, expression, REG_EXTENDED | REG_NOSUB) != 0)
		live_fail("expression '%s'", expression);
	outcome = regexec(&compiled, text, 0, NULL, 0);
	regfree(&compiled);
	if (outcome != 0)
		live_fail("'%s' is '%s'", path, text);
}

/* All ages where pages are tracked, and none where they are not. */
static void check_survival(json_t *line, json_t *survival)
{
	static const json_int_t ages_s[] = {1, 10, 60, 600, 3600};
	const char *detail = json_string_value(json_object_get(line, "detail"));
	size_t ages = strcmp(detail, "pages") == 0 ? sizeof(ages_s) / sizeof(ages_s[0]) : 0;
	json_t *point;
	size_t i;

	if (json_array_size(survival) != ages)
		live_fail("a curve has %zu ages", json_array_size(survival));
	json_array_foreach (survival, i, point) {
		check_fields(point, FIELDS(survival_fields));
		if (json_integer_value(json_object_get(point, "age_s")) != ages_s[i])
			live_fail("a curve's age %zu is not %d s", i, (int)ages_s[i]);
	}
}

static void check_line(struct report *report, json_t *line)
{
	json_t *process, *route;
	size_t i, j;

	check_fields(line, FIELDS(line_fields));
	check_text(line, "schema", "^pagestay\\.report/1$");
	check_text(line, "source", "^bpf");
	check_text(
		line, "ts", "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$");
	json_array_foreach (json_object_get(line, "processes"), i, process) {
		check_fields(process, FIELDS(process_fields));
		check_survival(line, find(process, "retention.survival"));
		json_array_foreach (json_object_get(process, "routes"), j, route) {
			check_fields(route, FIELDS(route_fields));
			check_survival(line, find(route, "survival"));
		}
	}
	check_identity(report, line);
}

struct report *report_read(const char *text)
{
	struct report *report = calloc(1, sizeof(*report));
	const char *line = text;

	if (!report)
		live_fail("no memory");
	report->lines = json_array();
	report->exited = json_object();
	while (*line) {
		const char *end = strchr(line, '\n');
		json_error_t error;
		json_t *object;

		if (!end)
			live_fail("the last line has no end: %s", line);
		/* jansson also refuses whatever is not UTF-8. */
		object = json_loadb(line, (size_t)(end - line),
			JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
		if (!json_is_object(object))
			live_fail("line %zu is no JSON object: %s: %.*s",
				json_array_size(report->lines) + 1, error.text, (int)(end - line),
				line);
		check_line(report, object);
		json_array_append_new(report->lines, object);
		line = end + 1;
	}
	return report;
}

void report_free(struct report *report)
{
	if (!report)
		return;
	json_decref(report->lines);
	json_decref(report->exited);
	free(report);
}

void report_require_complete(const struct report *report)
{
	uint64_t events = report_line_sum(report, "lost.events");
	uint64_t map_full = report_line_sum(report, "lost.map_full");
	uint64_t pages = report_line_sum(report, "lost.pages");
	uint64_t runs = report_line_sum(report, "lost.runs");

	if (events || map_full || pages || runs || !report_is_complete(report))
		live_fail("something was lost: %" PRIu64 " events, %" PRIu64
			  " for lack of room, %" PRIu64 " page records, %" PRIu64
			  " program runs, %s",
			events, map_full, pages, runs,
			report_is_complete(report) ? "complete" : "not complete");
}

bool report_is_complete(const struct report *report)
{
	json_t *line;
	size_t i;

	json_array_foreach (report->lines, i, line) {
		if (!json_is_true(json_object_get(line, "complete")))
			return false;
	}
	return true;
}

size_t report_lines(const struct report *report)
{
	return json_array_size(report->lines);
}

json_t *report_line(const struct report *report, size_t index)
{
	return json_array_get(report->lines, index);
}

/* Which entries a walk is about. */
struct selection {
	size_t first_line;
	pid_t pid;
	uint64_t start_time_ns; /* 0: any */
};

static bool is_selected(const struct selection *selection, json_t *process)
{
	return count_of(process, "pid") == (uint64_t)selection->pid &&
	       (selection->start_time_ns == 0 ||
		       count_of(process, "start_time_ns") == selection->start_time_ns);
}

/* Calls `visit` for each entry, in order; returns how many there were. */
static size_t walk(const struct report *report, const struct selection *selection,
	void (*visit)(json_t *process, void *data), void *data)
{
	size_t visited = 0;
	json_t *process;
	size_t i;

	for (size_t line = selection->first_line; line < report_lines(report); line++) {
		json_array_foreach (
			json_object_get(report_line(report, line), "processes"), i, process) {
			if (!is_selected(selection, process))
				continue;
			visit(process, data);
			visited++;
		}
	}
	return visited;
}

struct addition {
	const char *path;
	uint64_t sum;
	uint64_t last;
};

static void add(json_t *process, void *data)
{
	struct addition *addition = data;

	addition->last = count_of(process, addition->path);
	addition->sum += addition->last;
}

static struct addition add_up(
	const struct report *report, const struct selection *selection, const char *path)
{
	struct addition addition = {.path = path};

	if (walk(report, selection, add, &addition) == 0)
		live_fail("process %d is not in the report", (int)selection->pid);
	return addition;
}

uint64_t report_sum_from(
	const struct report *report, size_t first_line, pid_t pid, const char *path)
{
	return add_up(report, &(struct selection){.first_line = first_line, .pid = pid}, path).sum;
}

uint64_t report_sum(const struct report *report, pid_t pid, const char *path)
{
	return report_sum_from(report, 0, pid, path);
}

uint64_t report_last(const struct report *report, pid_t pid, const char *path)
{
	return add_up(report, &(struct selection){.pid = pid}, path).last;
}

uint64_t report_sum_started(
	const struct report *report, pid_t pid, uint64_t start_time_ns, const char *path)
{
	return add_up(report, &(struct selection){.pid = pid, .start_time_ns = start_time_ns}, path)
		.sum;
}

static void note(json_t *process, void *data)
{
	(void)process;
	(void)data;
}

bool report_has(const struct report *report, pid_t pid)
{
	return walk(report, &(struct selection){.pid = pid}, note, NULL) > 0;
}

static void count_exit(json_t *process, void *data)
{
	size_t *exits = data;

	if (has_exited(process))
		++*exits;
}

size_t report_exits(const struct report *report, pid_t pid)
{
	size_t exits = 0;

	(void)walk(report, &(struct selection){.pid = pid}, count_exit, &exits);
	return exits;
}

json_t *report_process(const struct report *report, size_t line, pid_t pid)
{
	json_t *process;
	size_t i;

	json_array_foreach (json_object_get(report_line(report, line), "processes"), i, process) {
		if (count_of(process, "pid") == (uint64_t)pid)
			return process;
	}
	return NULL;
}

json_t *report_route(json_t *process, const char *route)
{
	json_t *object;
	size_t i;

	json_array_foreach (json_object_get(process, "routes"), i, object) {
		if (strcmp(json_string_value(json_object_get(object, "route")), route) == 0)
			return object;
	}
	return NULL;
}

json_t *report_value(json_t *object, const char *path)
{
	return find(object, path);
}

struct route_sum {
	const char *route, *path;
	uint64_t sum;
};

static void add_route(json_t *process, void *data)
{
	struct route_sum *sum = data;
	json_t *route = report_route(process, sum->route);

	if (route)
		sum->sum += count_of(route, sum->path);
}

uint64_t report_route_sum(
	const struct report *report, pid_t pid, const char *route, const char *path)
{
	struct route_sum sum = {.route = route, .path = path};

	if (walk(report, &(struct selection){.pid = pid}, add_route, &sum) == 0)
		live_fail("process %d is not in the report", (int)pid);
	return sum.sum;
}

struct balance {
	bool is_begun;
	uint64_t open;
};

static void check_balance(json_t *process, void *data)
{
	struct balance *balance = data;
	uint64_t open = count_of(process, "connections.open");
	uint64_t opened = count_of(process, "connections.opened");
	uint64_t closed = count_of(process, "connections.closed");

	if (balance->is_begun && balance->open + opened != open + closed)
		live_fail("%" PRIu64 " connections were open, %" PRIu64 " were opened and %" PRIu64
			  " closed, and %" PRIu64 " are open",
			balance->open, opened, closed, open);
	*balance = (struct balance){.is_begun = true, .open = open};
}

void report_require_balance(const struct report *report, pid_t pid)
{
	struct balance balance = {0};

	(void)walk(report, &(struct selection){.pid = pid}, check_balance, &balance);
}

struct start_times {
	uint64_t *values;
	size_t count, max;
};

static void add_start_time(json_t *process, void *data)
{
	struct start_times *times = data;
	uint64_t value = count_of(process, "start_time_ns");

	for (size_t i = 0; i < times->count; i++)
		if (times->values[i] == value)
			return;
	if (times->count < times->max)
		times->values[times->count++] = value;
}

size_t report_start_times(
	const struct report *report, pid_t pid, uint64_t *ret_start_times, size_t max)
{
	struct start_times times = {.values = ret_start_times, .max = max};

	(void)walk(report, &(struct selection){.pid = pid}, add_start_time, &times);
	return times.count;
}

uint64_t report_line_sum(const struct report *report, const char *path)
{
	uint64_t sum = 0;
	json_t *line;
	size_t i;

	json_array_foreach (report->lines, i, line) {
		sum += count_of(line, path);
	}
	return sum;
}

bool report_expect(const struct report *report, const char *who, pid_t pid, const char *path,
	uint64_t expected)
{
	uint64_t sum = report_sum(report, pid, path);

	if (sum == expected)
		return true;
	print_error("%s: %s is %" PRIu64 ", the truth is %" PRIu64 "\n", who, path, sum, expected);
	return false;
}

static void add_routes(json_t *process, void *data)
{
	json_t *routes = data;
	json_t *route;
	size_t i;

	json_array_foreach (json_object_get(process, "routes"), i, route) {
		const char *name = json_string_value(json_object_get(route, "route"));
		json_int_t before = json_integer_value(json_object_get(routes, name));

		json_object_set_new(routes, name,
			json_integer(before + (json_int_t)count_of(route, "requests")));
	}
}

json_t *report_routes(const struct report *report, pid_t pid)
{
	json_t *routes = json_object();

	(void)walk(report, &(struct selection){.pid = pid}, add_routes, routes);
	return routes;
}
