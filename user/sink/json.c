/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The JSON sink: `pagestay.report/1`, one object a line, one line a report (docs/JSON.md).
 *
 * Every key of the contract is in every line; what is not known is null. A process's numbers come
 * from the field table; routes, which it does not hold, are written here. A line is put together in
 * memory, one process's tree at a time so that thousands of processes need no more than their text,
 * and goes out in one write. Used through `struct sink` by the app.
 */
#include "pagestay/sink/sink.h"

#include "pagestay/base/cleanup.h"
#include "pagestay/base/text.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <time.h>

#define NS_PER_S  1000000000ull
#define NS_PER_MS 1000000ull

/* 15 significant digits: milliseconds of any interval, and no digits of binary rounding. */
#define DUMP_FLAGS (JSON_COMPACT | JSON_REAL_PRECISION(15))

/* A part of the contract that needs the allocator's name or the heap's walk. */
struct unknown_part {
	const char *key;
	json_t *value;
};

enum {
	PART_ALLOCATOR,
	PART_HEAP,
	PART_VERDICT,
	PARTS,
};

struct sink_json {
	struct sink sink;
	FILE *out;
	int error;  /* the first one */
	bool pages; /* the report under way is of the detail level that tracks pages */
	struct unknown_part unknown[PARTS];
};

/* The setters below return 0, or -1 when out of memory, as jansson's do: they are summed up. */
static json_t *json_number(uint64_t value)
{
	if (value == REPORT_UNKNOWN)
		return json_null();
	return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

static json_t *json_change(int64_t value)
{
	return value == REPORT_DELTA_UNKNOWN ? json_null() : json_integer(value);
}

/*
 * Six significant digits: more would be noise, of estimates and of binary rounding. Printed and
 * read again in the same locale. JSON has neither NAN nor infinities, and a report no negative
 * ones.
 */
static json_t *json_real_number(double value)
{
	char digits[32];

	if (!isfinite(value) || value < 0)
		return json_null();
	(void)snprintf(digits, sizeof(digits), "%.6g", value);
	return json_real(strtod(digits, NULL));
}

/* Any bytes as a string; NULL is null. */
static json_t *json_text(const char *bytes)
{
	_cleanup_(cleanup_free) char *utf8 = NULL;
	size_t length;

	if (!bytes)
		return json_null();
	length = strlen(bytes);
	utf8 = malloc(3 * length + 1);
	if (!utf8)
		return NULL;
	length = text_for_json(bytes, length, utf8, 3 * length + 1);
	return json_stringn(utf8, length);
}

/* `path` has dots between objects, which are made when they are not there yet. */
static int set_path(json_t *object, const char *path, json_t *value)
{
	const char *dot;

	while ((dot = strchr(path, '.'))) {
		char key[32];
		json_t *inner;

		(void)snprintf(key, sizeof(key), "%.*s", (int)(dot - path), path);
		inner = json_object_get(object, key);
		if (!inner) {
			inner = json_object();
			if (json_object_set_new(object, key, inner)) {
				json_decref(value);
				return -1;
			}
		}
		object = inner;
		path = dot + 1;
	}
	return json_object_set_new(object, path, value);
}

/* The curve, age by age; empty below the detail level that tracks pages. */
static json_t *json_survival(
	const struct sink_json *json, const struct report_survival survival[REPORT_AGES])
{
	json_t *ages = json_array();

	for (int i = 0; json->pages && i < REPORT_AGES; i++) {
		json_t *age = json_object();
		int failed = 0;

		failed |= json_object_set_new(age, "age_s", json_integer(report_ages_s[i]));
		failed |= json_object_set_new(age, "ratio", json_real_number(survival[i].ratio));
		failed |= json_object_set_new(age, "low", json_real_number(survival[i].low));
		failed |= json_object_set_new(age, "high", json_real_number(survival[i].high));
		failed |= json_object_set_new(
			age, "touched_pages", json_number(survival[i].touched_pages));
		failed |=
			json_object_set_new(age, "kept_pages", json_number(survival[i].kept_pages));
		if (json_array_append_new(ages, age) || failed) {
			json_decref(ages);
			return NULL;
		}
	}
	return ages;
}

static json_t *json_field(const struct field *field, const struct report_process *process)
{
	int64_t value;
	double real;

	if (field->get_real)
		return field->get_real(process, field->argument, &real) ? json_real_number(real)
									: json_null();
	return field->get(process, field->argument, &value) ? json_integer(value) : json_null();
}

/* All numbers, and what is none but has its place among them. */
static int set_fields(
	json_t *object, const struct sink_json *json, const struct report_process *process)
{
	const struct field *behind_survival = report_field("retention.half_life_s");
	int failed = 0;

	for (size_t i = 0; i < report_field_count; i++) {
		const struct field *field = &report_fields[i];

		if (field == behind_survival)
			failed |= set_path(object, "retention.survival",
				json_survival(json, process->retention.survival));
		failed |= set_path(object, field->name, json_field(field, process));
	}
	failed |= set_path(object, "attribution.hint", json_text(process->attribution.hint));
	return failed;
}

static int set_pages(json_t *object, const char *key, const struct report_pages *pages)
{
	const struct {
		const char *suffix;
		uint64_t value;
	} parts[] = {{"", pages->value}, {"_low", pages->low}, {"_high", pages->high}};
	int failed = 0;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "%s%s", key, parts[i].suffix);
		failed |= json_object_set_new(object, name, json_number(parts[i].value));
	}
	return failed;
}

static json_t *json_route(const struct sink_json *json, const struct report_route *route)
{
	const struct report_retention *retention = &route->retention;
	json_t *object = json_object();
	int failed = 0;

	failed |= json_object_set_new(object, "route", json_text(route->text));
	failed |= json_object_set_new(object, "requests", json_number(route->requests));
	failed |= set_pages(object, "touched_pages", &retention->touched);
	failed |= set_pages(object, "kept_pages", &retention->kept);
	failed |=
		json_object_set_new(object, "swapped_pages", json_number(retention->swapped_pages));
	failed |= json_object_set_new(
		object, "lazyfree_pages", json_number(retention->lazyfree_pages));
	failed |= json_object_set_new(object, "touched_pages_per_request",
		json_real_number(retention->touched_pages_per_request));
	failed |= json_object_set_new(object, "kept_pages_per_request",
		json_real_number(retention->kept_pages_per_request));
	failed |= json_object_set_new(object, "growth_bytes", json_change(retention->growth_bytes));
	failed |= json_object_set_new(object, "survival", json_survival(json, retention->survival));
	failed |= json_object_set_new(
		object, "half_life_s", json_real_number(retention->half_life_s));
	failed |= json_object_set_new(
		object, "half_life_over_s", json_real_number(retention->half_life_over_s));
	if (failed) {
		json_decref(object);
		return NULL;
	}
	return object;
}

static json_t *json_routes(const struct sink_json *json, const struct report_process *process)
{
	json_t *routes = json_array();

	for (size_t i = 0; i < process->route_count; i++) {
		if (json_array_append_new(routes, json_route(json, &process->routes[i]))) {
			json_decref(routes);
			return NULL;
		}
	}
	return routes;
}

static int set_unknown(json_t *object, const struct sink_json *json, int part)
{
	return json_object_set(object, json->unknown[part].key, json->unknown[part].value);
}

static json_t *json_process(const struct sink_json *json, const struct report_process *process)
{
	json_t *object = json_object();
	int failed = 0;

	failed |= json_object_set_new(object, "pid", json_integer(process->key.tgid));
	failed |= json_object_set_new(object, "start_time_ns", json_number(process->key.start_ns));
	failed |= json_object_set_new(object, "comm", json_text(process->comm));
	failed |= json_object_set_new(object, "exe", json_text(process->exe));
	failed |= json_object_set_new(object, "unit", json_null());
	failed |= json_object_set_new(object, "container", json_null());
	failed |= set_unknown(object, json, PART_ALLOCATOR);
	failed |= json_object_set_new(object, "exited", json_boolean(process->exited));
	failed |= set_fields(object, json, process);
	failed |= json_object_set_new(object, "routes", json_routes(json, process));
	failed |= set_unknown(object, json, PART_HEAP);
	failed |= set_unknown(object, json, PART_VERDICT);
	if (failed) {
		json_decref(object);
		return NULL;
	}
	return object;
}

static json_t *json_time(uint64_t wall_ns)
{
	time_t seconds = (time_t)(wall_ns / NS_PER_S);
	char date[32];
	char text[48];
	struct tm utc;

	if (!gmtime_r(&seconds, &utc))
		return json_null();
	(void)strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &utc);
	(void)snprintf(
		text, sizeof(text), "%s.%03uZ", date, (unsigned)(wall_ns % NS_PER_S / NS_PER_MS));
	return json_string(text);
}

static json_t *json_interval(uint64_t interval_ns)
{
	uint64_t milliseconds =
		interval_ns / NS_PER_MS + (interval_ns % NS_PER_MS >= NS_PER_MS / 2);

	return json_real((double)milliseconds / 1000);
}

static json_t *json_notes(const struct report *report)
{
	json_t *notes = json_array();

	for (size_t i = 0; i < report->note_count; i++) {
		if (json_array_append_new(notes, json_text(report->notes[i]))) {
			json_decref(notes);
			return NULL;
		}
	}
	return notes;
}

/* All of a report but its processes. */
static json_t *json_head(const struct report *report)
{
	json_t *head = json_object();
	int failed = 0;

	failed |= json_object_set_new(head, "schema", json_string("pagestay.report/1"));
	failed |= json_object_set_new(head, "ts", json_time(report->wall_ns));
	failed |= json_object_set_new(head, "host", json_text(report->host));
	failed |= json_object_set_new(head, "interval_s", json_interval(report->interval_ns));
	failed |= json_object_set_new(head, "source", json_text(report->source));
	failed |= json_object_set_new(head, "detail", json_text(report->detail));
	failed |= json_object_set_new(head, "complete", json_boolean(report->complete));
	failed |= set_path(head, "lost.events", json_number(report->lost[PS_LOST_EVENTS]));
	failed |= set_path(head, "lost.map_full", json_number(report->lost[PS_LOST_MAP_FULL]));
	failed |= set_path(head, "lost.pages", json_number(report->lost[PS_LOST_PAGES]));
	failed |= json_object_set_new(head, "notes", json_notes(report));
	failed |= set_path(head, "self.rss_bytes", json_number(report->self_rss_bytes));
	failed |= set_path(head, "self.cpu_ns", json_number(report->self_cpu_ns));
	if (failed) {
		json_decref(head);
		return NULL;
	}
	return head;
}

/* Takes the tree's reference. */
static int dump(json_t *tree, size_t flags, FILE *line)
{
	int failed = tree ? json_dumpf(tree, line, DUMP_FLAGS | flags) : -1;

	json_decref(tree);
	return failed;
}

static int compose(const struct sink_json *json, const struct report *report, FILE *line)
{
	if (fputc('{', line) == EOF || dump(json_head(report), JSON_EMBED, line) ||
		fputs(",\"processes\":[", line) == EOF)
		return -ENOMEM;
	for (size_t i = 0; i < report->process_count; i++) {
		if (i && fputc(',', line) == EOF)
			return -ENOMEM;
		if (dump(json_process(json, &report->processes[i]), 0, line))
			return -ENOMEM;
	}
	return fputs("]}\n", line) == EOF ? -ENOMEM : 0;
}

static int json_report(const struct sink_json *json, const struct report *report)
{
	_cleanup_(cleanup_free) char *bytes = NULL;
	size_t length = 0;
	FILE *line = open_memstream(&bytes, &length);
	int error;

	if (!line)
		return -ENOMEM;
	error = compose(json, report, line);
	if (fclose(line))
		error = -ENOMEM;
	return error ? error : sink_put(json->out, bytes, length);
}

static int json_write(struct sink *sink, const struct report *report)
{
	struct sink_json *json = (struct sink_json *)sink;
	int error;

	json->pages = sink_shows_pages(report);
	error = json_report(json, report);
	if (!json->error)
		json->error = error;
	return error;
}

static void json_free(struct sink_json *json)
{
	for (int i = 0; i < PARTS; i++)
		json_decref(json->unknown[i].value);
	free(json);
}

static int json_close(struct sink *sink)
{
	struct sink_json *json = (struct sink_json *)sink;
	int error = json->error;

	json_free(json);
	return error;
}

static const struct sink_ops json_ops = {
	.write = json_write,
	.close = json_close,
};

/* Made once: they are the same in every process of every report. */
static bool make_unknown(struct unknown_part unknown[PARTS])
{
	bool made = true;

	unknown[PART_ALLOCATOR].key = "allocator";
	unknown[PART_ALLOCATOR].value =
		json_pack("{s:s, s:n, s:n}", "name", "unknown", "version", "evidence");
	unknown[PART_HEAP].key = "heap";
	unknown[PART_HEAP].value = json_pack("{s:n, s:n, s:n, s:n, s:n, s:n, s:n, s:n, s:n, s:[]}",
		"live_bytes", "cached_bytes", "held_free_bytes", "trimmable_bytes", "top_bytes",
		"page_pinned_bytes", "arenas", "segments", "lost_segments", "pins");
	unknown[PART_VERDICT].key = "verdict";
	unknown[PART_VERDICT].value = json_pack("{s:s, s:n, s:f, s:[], s:[]}", "code", "unknown",
		"cause", "confidence", 0.0, "evidence", "advice");
	for (int i = 0; i < PARTS; i++)
		made &= unknown[i].value != NULL;
	return made;
}

struct sink *sink_json_new(const struct sink_options *options)
{
	struct sink_json *json = calloc(1, sizeof(*json));

	if (!json)
		return NULL;
	json->sink.ops = &json_ops;
	json->out = options->out;
	if (!make_unknown(json->unknown)) {
		json_free(json);
		return NULL;
	}
	return (struct sink *)json;
}
