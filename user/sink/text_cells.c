/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Cells and lines of the text sink: no number is wider than its cell says, whatever the report
 * holds, and no line wider than the terminal. Called by the text sink only.
 */
#include "text_sink.h"

#include "pagestay/base/text.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#define COUNT_END 18446744073709551616.0 /* 2^64 */

void text_put_line(const struct sink_text *text, FILE *page, const char *format, ...)
{
	char line[MAX_COLUMNS + 2];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	if (strlen(line) > (size_t)text->columns)
		memcpy(line + text->columns - 1, "~", 2);
	(void)fprintf(page, "%s\n", line);
}

bool text_is_real(double value)
{
	return isfinite(value) && value >= 0;
}

void cell_unknown(char out[CELL_BYTES])
{
	memcpy(out, "-", 2);
}

void cell_bytes(uint64_t bytes, char out[CELL_BYTES])
{
	if (bytes == REPORT_UNKNOWN)
		cell_unknown(out);
	else
		text_bytes(bytes, out);
}

void cell_count(uint64_t count, char out[CELL_BYTES])
{
	if (count == REPORT_UNKNOWN)
		cell_unknown(out);
	else
		text_count(count, out);
}

void cell_change(int64_t bytes, char out[CELL_BYTES])
{
	char size[CELL_BYTES];

	if (bytes == REPORT_DELTA_UNKNOWN) {
		cell_unknown(out);
		return;
	}
	if (bytes == 0) {
		memcpy(out, "0", 2);
		return;
	}
	text_bytes(bytes < 0 ? -(uint64_t)bytes : (uint64_t)bytes, size);
	(void)snprintf(out, CELL_BYTES, "%c%.5s", bytes < 0 ? '-' : '+', size);
}

void cell_average(double average, char out[CELL_BYTES])
{
	if (!text_is_real(average))
		cell_unknown(out);
	else if (average > 0 && average < 0.05)
		memcpy(out, "<0.1", 5);
	else if (average < 999.95)
		(void)snprintf(out, CELL_BYTES, "%.1f", average);
	else
		text_count(average < COUNT_END ? (uint64_t)(average + 0.5) : UINT64_MAX, out);
}

void cell_share(double ratio, char out[CELL_BYTES])
{
	if (!text_is_real(ratio))
		cell_unknown(out);
	else
		(void)snprintf(out, CELL_BYTES, "%.0f%%", 100 * (ratio < 1 ? ratio : 1));
}

void cell_duration(double seconds, char out[CELL_BYTES])
{
	static const struct {
		double seconds;
		double end; /* what would round up to the next unit */
		char name;
	} units[] = {{1, 59.5, 's'}, {60, 59.5, 'm'}, {3600, 23.5, 'h'}, {86400, 99.5, 'd'}};
	static const size_t count = sizeof(units) / sizeof(units[0]);

	if (!text_is_real(seconds)) {
		cell_unknown(out);
		return;
	}
	if (seconds < 1) {
		memcpy(out, "<1s", 4);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		double value = seconds / units[i].seconds;

		if (value < units[i].end) {
			(void)snprintf(out, CELL_BYTES, "%.2g%c", value, units[i].name);
			return;
		}
	}
	memcpy(out, ">99d", 5);
}

void cell_pages(uint64_t pages, uint64_t page_bytes, char out[CELL_BYTES])
{
	uint64_t bytes;

	if (pages == REPORT_UNKNOWN)
		bytes = REPORT_UNKNOWN;
	else if (__builtin_mul_overflow(pages, page_bytes, &bytes) || bytes == REPORT_UNKNOWN)
		bytes = REPORT_UNKNOWN - 1;
	cell_bytes(bytes, out);
}
