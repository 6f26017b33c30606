/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The JSON sink: `pagestay.report/1`, one object a line, one line a report (docs/JSON.md).
 *
 * Every key of the contract is in every line; what is not known is null. A process's numbers come
 * from the field table; routes, which it does not hold, are written here. A line is put together in
 * memory, one process's tree at a time so that thousands of processes need no more than their text,
 * and goes out in one write. Used through `struct sink` by the app.
 */
#include "json_values.h"
#include "pagestay/sink/sink.h"

#include "pagestay/base/clock.h"
#include "pagestay/base/cleanup.h"

#include <errno.h>
#include <string.h>

struct sink_json {
	struct sink sink;
	FILE *out;
	int error; /* the first one */
};

/* The curve, age by age; empty below the detail level that tracks pages. */
static json_t *json_survival(bool pages, const struct report_survival survival[REPORT_AGES])
{
	json_t *ages = json_array();

	for (int i = 0; pages && i < REPORT_AGES; i++) {
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

static json_t *json_change(int64_t value)
{
	return value == REPORT_DELTA_UNKNOWN ? json_null() : json_integer(value);
}

/* All numbers but the heap's, and what is none but has its place among them. */
static int set_fields(json_t *object, bool pages, const struct report_process *process)
{
	int failed = json_set_fields(object, NULL, "retention.half_life_s", process);

	failed |= json_set_path(
		object, "retention.survival", json_survival(pages, process->retention.survival));
	failed |= json_set_fields(object, "retention.half_life_s", "heap.live_bytes", process);
	return failed |
	       json_set_path(object, "attribution.hint", json_text(process->attribution.hint));
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

static json_t *json_route(bool pages, const struct report_route *route)
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
	failed |=
		json_object_set_new(object, "survival", json_survival(pages, retention->survival));
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

static json_t *json_routes(bool pages, const struct report_process *process)
{
	json_t *routes = json_array();

	for (size_t i = 0; i < process->route_count; i++) {
		if (json_array_append_new(routes, json_route(pages, &process->routes[i]))) {
			json_decref(routes);
			return NULL;
		}
	}
	return routes;
}

json_t *json_process(const struct report *report, const struct report_process *process)
{
	bool pages = sink_shows_pages(report);
	json_t *object = json_object();
	int failed = 0;

	failed |= json_object_set_new(object, "pid", json_integer(process->key.tgid));
	failed |= json_object_set_new(object, "start_time_ns", json_number(process->key.start_ns));
	failed |= json_object_set_new(object, "comm", json_text(process->comm));
	failed |= json_object_set_new(object, "exe", json_text(process->exe));
	failed |= json_object_set_new(object, "unit", json_text(process->unit));
	failed |= json_object_set_new(object, "container", json_text(process->container));
	failed |= json_object_set_new(object, "allocator", json_allocator(process->allocators));
	failed |= json_object_set_new(object, "allocators", json_allocators(process->allocators));
	failed |= json_object_set_new(object, "exited", json_boolean(process->exited));
	failed |= set_fields(object, pages, process);
	failed |= json_object_set_new(object, "routes", json_routes(pages, process));
	failed |= json_set_fields(object, "heap.live_bytes", NULL, process);
	failed |= json_set_heap(object, process->heap);
	failed |= json_object_set_new(object, "verdict", json_verdict(process));
	if (failed) {
		json_decref(object);
		return NULL;
	}
	return object;
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
	failed |= json_set_path(head, "lost.events", json_number(report->lost[PS_LOST_EVENTS]));
	failed |= json_set_path(head, "lost.map_full", json_number(report->lost[PS_LOST_MAP_FULL]));
	failed |= json_set_path(head, "lost.pages", json_number(report->lost[PS_LOST_PAGES]));
	failed |= json_set_path(head, "lost.runs", json_number(report->lost[PS_LOST_RUNS]));
	failed |= json_object_set_new(head, "notes", json_notes(report));
	failed |= json_set_path(head, "self.rss_bytes", json_number(report->self_rss_bytes));
	failed |= json_set_path(head, "self.cpu_ns", json_number(report->self_cpu_ns));
	failed |= json_set_path(head, "self.bpf_ns", json_number(report->self_bpf_ns));
	failed |= json_set_path(head, "self.bpf_runs", json_number(report->self_bpf_runs));
	if (failed) {
		json_decref(head);
		return NULL;
	}
	return head;
}

static int compose(const struct report *report, FILE *line)
{
	if (fputc('{', line) == EOF || json_dump_line(json_head(report), JSON_EMBED, line) ||
		fputs(",\"processes\":[", line) == EOF)
		return -ENOMEM;
	for (size_t i = 0; i < report->process_count; i++) {
		if (i && fputc(',', line) == EOF)
			return -ENOMEM;
		if (json_dump_line(json_process(report, &report->processes[i]), 0, line))
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
	error = compose(report, line);
	if (fclose(line))
		error = -ENOMEM;
	return error ? error : sink_put(json->out, bytes, length);
}

static int json_write(struct sink *sink, const struct report *report)
{
	struct sink_json *json = (struct sink_json *)sink;
	int error;

	error = json_report(json, report);
	if (!json->error)
		json->error = error;
	return error;
}

static int json_close(struct sink *sink)
{
	struct sink_json *json = (struct sink_json *)sink;
	int error = json->error;

	free(json);
	return error;
}

static const struct sink_ops json_ops = {
	.write = json_write,
	.close = json_close,
};

struct sink *sink_json_new(const struct sink_options *options)
{
	struct sink_json *json = calloc(1, sizeof(*json));

	if (!json)
		return NULL;
	json->sink.ops = &json_ops;
	json->out = options->out;
	return (struct sink *)json;
}
