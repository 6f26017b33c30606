/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A comparison as `pagestay.compare/1`, one object on one line (docs/JSON.md). Owns nothing. Every
 * key is in every object; what is not known is null. Called by the app.
 */
#include "json_values.h"
#include "pagestay/sink/compare.h"
#include "pagestay/sink/sink.h"

#include "pagestay/base/cleanup.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define NS_A_SECOND  1e9
#define INTEGER_MOST 9223372036854774784.0 /* the greatest double below 2^63 */

static const char *const unit_names[] = {
	[COMPARE_BYTES] = "bytes",
	[COMPARE_COUNT] = "count",
	[COMPARE_REAL] = "average",
	[COMPARE_SHARE] = "ratio",
	[COMPARE_SECONDS] = "seconds",
};

/* May be negative. Bytes and counts are whole. */
static json_t *json_value(enum compare_unit unit, double value)
{
	json_t *size;

	if (!isfinite(value))
		return json_null();
	if (unit == COMPARE_BYTES || unit == COMPARE_COUNT)
		return json_integer(
			(json_int_t)round(fmin(fmax(value, -INTEGER_MOST), INTEGER_MOST)));
	size = json_real_number(fabs(value));
	if (size && value < 0)
		(void)json_real_set(size, -json_real_value(size));
	return size;
}

static int set_values(json_t *object, const struct compare_row *row)
{
	int failed = 0;

	failed |= json_object_set_new(object, "a", json_value(row->unit, row->values[0]));
	failed |= json_object_set_new(object, "b", json_value(row->unit, row->values[1]));
	failed |= json_object_set_new(
		object, "difference", json_value(row->unit, compare_difference(row)));
	failed |= json_object_set_new(object, "ratio", json_real_number(compare_ratio(row)));
	return failed;
}

/* NULL when out of memory. */
static json_t *json_row(const struct compare_row *row, const char *mark)
{
	json_t *object = json_object();
	int failed = 0;

	if (mark)
		failed |= json_object_set_new(object, mark, json_number(row->mark));
	failed |= json_object_set_new(object, "unit", json_string(unit_names[row->unit]));
	failed |= set_values(object, row);
	if (!failed)
		return object;
	json_decref(object);
	return NULL;
}

static json_t *json_marks(const struct comparison *comparison)
{
	const char *mark = comparison->marks_by_requests ? "requests" : "s";
	json_t *marks = json_array();

	for (size_t i = 0; i < comparison->row_count; i++) {
		const struct compare_row *row = &comparison->rows[i];

		if (!row->name && json_array_append_new(marks, json_row(row, mark))) {
			json_decref(marks);
			return NULL;
		}
	}
	return marks;
}

static json_t *json_rows(const struct comparison *comparison)
{
	json_t *rows = json_object();

	for (size_t i = 0; i < comparison->row_count; i++) {
		const struct compare_row *row = &comparison->rows[i];

		if (row->name && json_object_set_new(rows, row->name, json_row(row, NULL))) {
			json_decref(rows);
			return NULL;
		}
	}
	return rows;
}

static json_t *json_idle(const struct column *column)
{
	return column->rss_idle_bytes == REPORT_UNKNOWN
		       ? json_null()
		       : json_real_number((double)column->idle_ns / NS_A_SECOND);
}

static json_t *json_heap_age(const struct column *column)
{
	return column->heap_at_ns
		       ? json_real_number(
				 (double)(column->observed_ns - column->heap_at_ns) / NS_A_SECOND)
		       : json_null();
}

static json_t *json_heap_lost(const struct column *column)
{
	return column->heap_at_ns ? json_number(column->heap_lost_bytes) : json_null();
}

static json_t *json_live_kind(const struct column *column)
{
	if (column->live_bytes == REPORT_UNKNOWN)
		return json_null();
	return json_string(column->live_is_pages ? "pages" : "allocations");
}

static json_t *json_version(const struct column *column)
{
	return column->allocator_version[0] ? json_text(column->allocator_version) : json_null();
}

/* The process on a side, and the stream that it is from. */
static json_t *json_side(
	const struct columns_head *head, const struct column *column, const char *word)
{
	json_t *side = json_object();
	int failed = 0;

	failed |= json_object_set_new(side, "from", json_text(word));
	failed |= json_object_set_new(side, "source", json_text(head->source));
	failed |= json_object_set_new(side, "host", json_text(head->host));
	failed |= json_object_set_new(side, "detail", json_text(head->detail));
	failed |= json_object_set_new(side, "complete", json_boolean(head->complete));
	failed |= json_set_path(side, "lost.events", json_number(head->lost[PS_LOST_EVENTS]));
	failed |= json_set_path(side, "lost.map_full", json_number(head->lost[PS_LOST_MAP_FULL]));
	failed |= json_set_path(side, "lost.pages", json_number(head->lost[PS_LOST_PAGES]));
	failed |= json_set_path(side, "lost.runs", json_number(head->lost[PS_LOST_RUNS]));
	failed |= json_set_path(side, "lost.processes", json_number(head->unfolded));
	failed |= json_object_set_new(side, "processes", json_number(head->processes));
	failed |= json_object_set_new(side, "pid", json_number(column->key.tgid));
	failed |= json_object_set_new(side, "start_time_ns", json_number(column->key.start_ns));
	failed |= json_object_set_new(side, "comm", json_text(column->comm));
	failed |= json_set_path(
		side, "allocator.name", json_string(allocator_names[column->allocator]));
	failed |= json_set_path(side, "allocator.version", json_version(column));
	failed |= json_object_set_new(side, "exited", json_boolean(column->exited));
	failed |= json_object_set_new(side, "intervals", json_number(column->intervals));
	failed |= json_object_set_new(side, "idle_s", json_idle(column));
	failed |= json_object_set_new(side, "heap_age_s", json_heap_age(column));
	failed |= json_object_set_new(side, "heap_lost_bytes", json_heap_lost(column));
	failed |= json_object_set_new(side, "live_kind", json_live_kind(column));
	failed |= json_object_set_new(
		side, "requests_estimated", json_boolean(column->requests_estimated));
	failed |= json_object_set_new(side, "sample_ratio", json_real_number(column->sample_ratio));
	if (!failed)
		return side;
	json_decref(side);
	return NULL;
}

static json_t *json_comparison(const struct comparison *comparison, const char *const words[2])
{
	const struct columns_head *const *heads = comparison->heads;
	const struct column *const *columns = comparison->columns;
	json_t *tree = json_object();
	int failed = 0;

	failed |= json_object_set_new(tree, "schema", json_string("pagestay.compare/1"));
	failed |= json_object_set_new(
		tree, "complete", json_boolean(heads[0]->complete && heads[1]->complete));
	failed |= json_object_set_new(tree, "a", json_side(heads[0], columns[0], words[0]));
	failed |= json_object_set_new(tree, "b", json_side(heads[1], columns[1], words[1]));
	failed |= json_object_set_new(tree, "rss_at_marks", json_marks(comparison));
	failed |= json_object_set_new(tree, "rows", json_rows(comparison));
	if (!failed)
		return tree;
	json_decref(tree);
	return NULL;
}

int compare_write_json(FILE *out, const struct comparison *comparison, const char *const words[2])
{
	_cleanup_(cleanup_free) char *bytes = NULL;
	size_t length = 0;
	FILE *line = open_memstream(&bytes, &length);
	bool failed;

	if (!line)
		return -ENOMEM;
	failed = json_dump_line(json_comparison(comparison, words), 0, line) != 0;
	failed |= fputc('\n', line) == EOF;
	if (fclose(line) || failed)
		return -ENOMEM;
	return sink_put(out, bytes, length);
}
