/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the text sink shows of pages: up to four lines below a process's row and the columns of its
 * routes. Constant, and of the same bounds as the table: no line is wider than the terminal.
 * Called by the text sink only.
 *
 *         touched 12M: requests 93% (4.2/rq), overlapping 2%, background 5%
 *         kept 9.8M (3.4/rq), half-life 11s; swapped 1.2M, lazyfree 640K
 *         after 1s[####] 98% 10s[##  ] 52% 1m[:   ] 12% 10m -         1h -
 *         RSS +12M = requests +10M, background +1.5M, rest +498K (+-64K)
 */
#include "text_sink.h"

#include "pagestay/base/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define PLACES       3
#define BAR_COLUMNS  4 /* at the least width of a terminal: five bars fill it to a column */
#define BAR_WIDEST   10
#define GROWTH_PARTS 5

/* Words put together before they go out; what is longer than any line is cut. */
struct line {
	size_t length;
	char text[MAX_COLUMNS + 2];
};

__attribute__((format(printf, 2, 3))) static void line_add(
	struct line *line, const char *format, ...)
{
	size_t room = sizeof(line->text) - line->length;
	va_list arguments;
	int written;

	va_start(arguments, format);
	written = vsnprintf(line->text + line->length, room, format, arguments);
	va_end(arguments);
	if (written > 0)
		line->length += (size_t)written < room ? (size_t)written : room - 1;
}

static void line_put(const struct line *line, const struct sink_text *text, FILE *page)
{
	text_put_line(text, page, "%s", line->text);
}

static void line_indent(struct line *line)
{
	line->length = 0;
	line_add(line, "%*s", NAME_INDENT_COLUMNS, "");
}

static bool is_sampled(const struct report_process *process)
{
	return process->sample_ratio > 0 && process->sample_ratio < 1;
}

static const char *mark_of(const struct report_process *process)
{
	return is_sampled(process) ? "~" : "";
}

/* What is not known adds nothing. */
static uint64_t sum_of_places(const uint64_t places[PLACES])
{
	uint64_t sum = 0;

	for (int i = 0; i < PLACES; i++) {
		if (is_some(places[i]) && __builtin_add_overflow(sum, places[i], &sum))
			sum = REPORT_UNKNOWN - 1;
	}
	return sum == REPORT_UNKNOWN ? REPORT_UNKNOWN - 1 : sum;
}

/* The average stands behind the share of requests, whose average it is. Zeros are left out. */
static void add_shares(struct line *line, const uint64_t places[PLACES], double average)
{
	static const char *const names[PLACES] = {"requests", "overlapping", "background"};
	double sum = (double)sum_of_places(places);
	const char *comma = "";

	for (int i = 0; i < PLACES; i++) {
		double share = is_some(places[i]) ? (double)places[i] / sum : 0;
		char cell[CELL_BYTES];

		if (share < 0.005)
			continue;
		cell_share(share, cell);
		line_add(line, "%s%s %s", comma, names[i], cell);
		if (i == 0 && text_is_real(average)) {
			cell_average(average, cell);
			line_add(line, " (%s/rq)", cell);
		}
		comma = ", ";
	}
}

void text_put_shares(const struct sink_text *text, FILE *page, const char *label,
	const struct report_attribution *attribution)
{
	const uint64_t places[PLACES] = {
		attribution->exclusive, attribution->overlapping, attribution->background};
	struct line line = {};

	if (!sum_of_places(places))
		return;
	line_add(&line, "%s: ", label);
	add_shares(&line, places, NAN);
	line_put(&line, text, page);
}

static void put_touched(
	const struct sink_text *text, FILE *page, const struct report_process *process)
{
	const struct report_attribution *attribution = &process->attribution;
	const uint64_t places[PLACES] = {
		attribution->exclusive, attribution->overlapping, attribution->background};
	char bytes[CELL_BYTES];
	struct line line;

	if (!sum_of_places(places))
		return;
	cell_pages(sum_of_places(places), process->page_bytes, bytes);
	line_indent(&line);
	line_add(&line, "touched%s %s: ", mark_of(process), bytes);
	add_shares(&line, places, process->retention.touched_pages_per_request);
	line_put(&line, text, page);
}

static bool has_curve(const struct report_retention *retention)
{
	for (int i = 0; i < REPORT_AGES; i++) {
		if (text_is_real(retention->survival[i].ratio))
			return true;
	}
	return false;
}

static void add_half_life(struct line *line, const struct report_retention *retention)
{
	char duration[CELL_BYTES];

	if (text_is_real(retention->half_life_s)) {
		cell_duration(retention->half_life_s, duration);
		line_add(line, ", half-life %s", duration);
	} else if (text_is_real(retention->half_life_over_s)) {
		cell_duration(retention->half_life_over_s, duration);
		line_add(line, ", half-life >%s", duration + (*duration == '>'));
	}
}

static void put_kept(const struct sink_text *text, FILE *page, const struct report_process *process)
{
	const struct report_retention *retention = &process->retention;
	const char *separator = "; ";
	char cell[CELL_BYTES];
	struct line line;

	cell_pages(retention->kept.value, process->page_bytes, cell);
	line_indent(&line);
	line_add(&line, "kept%s %s", mark_of(process), cell);
	if (text_is_real(retention->kept_pages_per_request)) {
		cell_average(retention->kept_pages_per_request, cell);
		line_add(&line, " (%s/rq)", cell);
	}
	if (has_curve(retention))
		add_half_life(&line, retention);
	if (is_some(retention->swapped_pages)) {
		cell_pages(retention->swapped_pages, process->page_bytes, cell);
		line_add(&line, "%sswapped %s", separator, cell);
		separator = ", ";
	}
	if (is_some(retention->lazyfree_pages)) {
		cell_pages(retention->lazyfree_pages, process->page_bytes, cell);
		line_add(&line, "%slazyfree %s", separator, cell);
	}
	line_put(&line, text, page);
}

/* In half columns, to nearest: `#` is a whole one, `:` a half. */
static void draw_bar(double ratio, int columns, char out[BAR_WIDEST + 1])
{
	int halves = (int)((ratio < 1 ? ratio : 1) * 2 * columns + 0.5);

	memset(out, ' ', columns);
	memset(out, '#', halves / 2);
	if (halves % 2)
		out[halves / 2] = ':';
	out[columns] = '\0';
}

static void put_curve(
	const struct sink_text *text, FILE *page, const struct report_process *process)
{
	int columns = BAR_COLUMNS + (text->columns - MIN_COLUMNS) / REPORT_AGES;
	struct line line;

	if (columns > BAR_WIDEST)
		columns = BAR_WIDEST;
	line_indent(&line);
	line_add(&line, "after");
	for (int i = 0; i < REPORT_AGES; i++) {
		double ratio = process->retention.survival[i].ratio;
		char age[CELL_BYTES], share[CELL_BYTES], bar[BAR_WIDEST + 1];

		cell_duration(report_ages_s[i], age);
		cell_share(ratio, share);
		if (text_is_real(ratio)) {
			draw_bar(ratio, columns, bar);
			line_add(&line, " %s[%s]%4s", age, bar, share);
		} else {
			line_add(&line, " %s %-*s", age, columns + 5, share);
		}
	}
	while (line.text[line.length - 1] == ' ')
		line.text[--line.length] = '\0';
	line_put(&line, text, page);
}

struct growth_part {
	const char *name;
	int64_t bytes;
};

static uint64_t magnitude(int64_t bytes)
{
	return bytes < 0 ? -(uint64_t)bytes : (uint64_t)bytes;
}

static int greatest_first(const void *a, const void *b)
{
	const struct growth_part *left = a, *right = b;
	uint64_t left_bytes = magnitude(left->bytes), right_bytes = magnitude(right->bytes);

	return left_bytes < right_bytes ? 1 : left_bytes > right_bytes ? -1 : 0;
}

/* The parts that are known and not 0, the greatest first. Returns how many. */
static size_t growth_parts(
	const struct report_growth *growth, struct growth_part parts[GROWTH_PARTS])
{
	const struct growth_part all[GROWTH_PARTS] = {
		{"requests", growth->requests_bytes},
		{"background", growth->background_bytes},
		{"earlier", growth->earlier_bytes},
		{"files", growth->files_bytes},
		{"unexplained", growth->unexplained_bytes},
	};
	size_t count = 0;

	for (size_t i = 0; i < GROWTH_PARTS; i++) {
		if (all[i].bytes != 0 && all[i].bytes != REPORT_DELTA_UNKNOWN)
			parts[count++] = all[i];
	}
	qsort(parts, count, sizeof(parts[0]), greatest_first);
	return count;
}

/* The sum stays right when there is no room to name all of its parts. */
static void compose_growth(struct line *line, const struct report_process *process,
	const struct growth_part *parts, size_t count, size_t named)
{
	const char *comma = "";
	char cell[CELL_BYTES];
	double rest = 0;

	cell_change(process->rss_delta_bytes, cell);
	line_indent(line);
	line_add(line, "RSS %s = ", cell);
	for (size_t i = 0; i < count; i++) {
		if (i >= named) {
			rest += (double)parts[i].bytes;
			continue;
		}
		cell_change(parts[i].bytes, cell);
		line_add(line, "%s%s %s", comma, parts[i].name, cell);
		comma = ", ";
	}
	if (rest != 0) {
		cell_change(rest >= 0x1p63    ? INT64_MAX
			    : rest <= -0x1p63 ? -INT64_MAX
					      : (int64_t)rest,
			cell);
		line_add(line, ", rest %s", cell);
	}
	if (is_some(process->growth.error_bytes)) {
		cell_bytes(process->growth.error_bytes, cell);
		line_add(line, " (+-%s)", cell);
	}
}

static void put_growth(
	const struct sink_text *text, FILE *page, const struct report_process *process)
{
	struct growth_part parts[GROWTH_PARTS] = {};
	size_t count = growth_parts(&process->growth, parts);
	size_t named = count;
	struct line line;

	if (!count || process->rss_delta_bytes == REPORT_DELTA_UNKNOWN)
		return;
	compose_growth(&line, process, parts, count, named);
	while (line.length > (size_t)text->columns && named > 1)
		compose_growth(&line, process, parts, count, --named);
	line_put(&line, text, page);
}

/* A process whose pages are all gone and that did nothing has nothing to say about them. */
static bool is_quiet(const struct report_process *process)
{
	const struct report_retention *retention = &process->retention;
	const struct report_attribution *attribution = &process->attribution;
	const uint64_t places[PLACES] = {
		attribution->exclusive, attribution->overlapping, attribution->background};

	return !sum_of_places(places) && !is_some(retention->kept.value) &&
	       !is_some(retention->swapped_pages) && !is_some(retention->lazyfree_pages) &&
	       (process->rss_delta_bytes == 0 || process->rss_delta_bytes == REPORT_DELTA_UNKNOWN);
}

void text_put_pages(const struct sink_text *text, FILE *page, const struct report_process *process)
{
	const struct report_retention *retention = &process->retention;
	bool curve = has_curve(retention);

	if (is_quiet(process))
		return;
	put_touched(text, page, process);
	if (curve || is_some(retention->kept.value) || is_some(retention->swapped_pages) ||
		is_some(retention->lazyfree_pages))
		put_kept(text, page, process);
	if (curve)
		put_curve(text, page, process);
	put_growth(text, page, process);
}

/* Routes. The titles' widths and a space each make ROUTE_PAGES_COLUMNS. */

void text_put_route_titles(FILE *page)
{
	(void)fprintf(page, "%*s%6s %7s %5s %7s %4s %4s  %s\n", NAME_INDENT_COLUMNS, "", "REQS",
		"TOUCHED", "KEPT", "KEPT/RQ", "10s", "1m", "ROUTE");
}

void text_put_route_pages(
	FILE *page, const struct report_route *route, const struct report_process *process)
{
	const struct report_retention *retention = &route->retention;
	char touched[CELL_BYTES], kept[CELL_BYTES], average[CELL_BYTES];
	char soon[CELL_BYTES], later[CELL_BYTES];

	cell_pages(retention->touched.value, process->page_bytes, touched);
	cell_pages(retention->kept.value, process->page_bytes, kept);
	cell_average(retention->kept_pages_per_request, average);
	cell_share(retention->survival[1].ratio, soon);
	cell_share(retention->survival[2].ratio, later);
	(void)fprintf(page, " %7s %5s %7s %4s %4s", touched, kept, average, soon, later);
}

/* How far the 95 % interval reaches from the estimate, as a share of it; negative: not known. */
static double error_of(const struct report_pages *pages)
{
	double below, above;

	if (!is_some(pages->value) || pages->high == REPORT_UNKNOWN || pages->low > pages->value ||
		pages->high < pages->value)
		return -1;
	below = (double)(pages->value - pages->low) / (double)pages->value;
	above = (double)(pages->high - pages->value) / (double)pages->value;
	return below > above ? below : above;
}

void text_put_sampling(const struct sink_text *text, FILE *page,
	const struct report_process *processes, size_t count)
{
	double least = 1, error = -1;
	bool differ = false;
	char pages[CELL_BYTES];
	struct line line = {};

	for (size_t i = 0; i < count; i++) {
		double of_kept = error_of(&processes[i].retention.kept);

		if (!is_sampled(&processes[i]))
			continue;
		differ |= least < 1 && processes[i].sample_ratio != least;
		if (processes[i].sample_ratio < least)
			least = processes[i].sample_ratio;
		if (of_kept > error)
			error = of_kept;
	}
	if (least == 1)
		return;
	text_count(1 / least < 1e18 ? (uint64_t)(1 / least + 0.5) : UINT64_MAX, pages);
	line_add(&line, "~ %s1 page in %s is tracked: page figures are estimates",
		differ ? "at least " : "", pages);
	if (error >= 0)
		line_add(&line, " (95%%: kept +-%.0f%%)", 100 * (error < 9.99 ? error : 9.99));
	line_put(&line, text, page);
}

void text_put_pages_legend(const struct sink_text *text, FILE *page)
{
	text_put_line(text, page,
		"touched: became resident in the interval.  kept: of requests, still resident.");
	text_put_line(text, page,
		"after 1s...: share still there so long after the request.  /rq: pages a request.");
	text_put_line(text, page,
		"lazyfree: given back, not yet taken.  earlier: from before watching.  +-: error.");
}
