/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns how a value of a report looks in JSON: numbers, times, bytes of anybody. Called by the JSON
 * writers only.
 */
#include "json_values.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "pagestay/base/cleanup.h"
#include "pagestay/base/text.h"
#include "pagestay/base/clock.h"
#include "pagestay/sink/sink.h"

json_t *json_number(uint64_t value)
{
	if (value == REPORT_UNKNOWN)
		return json_null();
	return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

/* Printed and read again in the same locale. */
json_t *json_real_number(double value)
{
	char digits[32];

	if (!isfinite(value) || value < 0)
		return json_null();
	(void)snprintf(digits, sizeof(digits), "%.6g", value);
	return json_real(strtod(digits, NULL));
}

json_t *json_text(const char *bytes)
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

int json_set_path(json_t *object, const char *path, json_t *value)
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

json_t *json_time(uint64_t wall_ns)
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

static json_t *json_field(const struct field *field, const struct report_process *process)
{
	int64_t value;
	double real;

	if (field->get_real)
		return field->get_real(process, field->argument, &real) ? json_real_number(real)
									: json_null();
	return field->get(process, field->argument, &value) ? json_integer(value) : json_null();
}

int json_set_fields(
	json_t *object, const char *from, const char *before, const struct report_process *process)
{
	const struct field *field = from ? report_field(from) : report_fields;
	const struct field *end =
		before ? report_field(before) : report_fields + report_field_count;
	int failed = 0;

	for (; field < end; field++)
		failed |= json_set_path(object, field->name, json_field(field, process));
	return failed;
}

int json_dump_line(json_t *tree, size_t flags, FILE *line)
{
	int failed = tree ? json_dumpf(tree, line, JSON_DUMP_FLAGS | flags) : -1;

	json_decref(tree);
	return failed;
}

int json_put_object(json_t *tree, FILE *out)
{
	_cleanup_(cleanup_free) char *bytes = NULL;
	size_t length = 0;
	FILE *line = open_memstream(&bytes, &length);
	int failed;

	if (!line) {
		json_decref(tree);
		return -ENOMEM;
	}
	failed = json_dump_line(tree, 0, line);
	failed |= fputc('\n', line) == EOF;
	failed |= fclose(line);
	return failed ? -ENOMEM : sink_put(out, bytes, length);
}
