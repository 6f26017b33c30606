/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The text sink: one table a report, for a person at a terminal.
 *
 * A line is never wider than the terminal and holds printable ASCII only. Each column has a width
 * that no number exceeds, so every table is straight; what does not fit is cut and marked with `~`.
 * Below the table stands only what changes how it is to be read. A report is put together in memory
 * and goes out in one write. What is shown of pages is in text_pages.c. Used through `struct sink`
 * by the app.
 */
#include "text_sink.h"

#include "pagestay/base/cleanup.h"
#include "pagestay/base/clock.h"
#include "pagestay/base/text.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define COMM_COLUMNS        15
#define COMM_COLUMNS_WIDE   32
#define ROUTE_COUNT_COLUMNS 6

/* Any bytes as words over as many lines as they need, the further ones below the first's words. */
static void put_words(
	const struct sink_text *text, FILE *page, const char *label, const char *bytes)
{
	char words[MAX_COLUMNS];
	const char *rest = words;
	int indent = (int)strlen(label);
	size_t width = text->columns - indent;

	text_for_terminal(bytes, strlen(bytes), sizeof(words) - 1, words, sizeof(words));
	do {
		size_t length = strlen(rest);

		if (length > width) {
			const char *space = memrchr(rest, ' ', width + 1);

			length = space && space != rest ? (size_t)(space - rest) : width;
		}
		(void)fprintf(page, "%-*s%.*s\n", indent, label, (int)length, rest);
		label = "";
		rest += length;
		rest += strspn(rest, " ");
	} while (*rest);
}

/* Cells of the table */

static void cell_rss(const struct report_process *process, char out[CELL_BYTES])
{
	cell_bytes(process->rss_bytes, out);
}

/* An exited process has no change of memory to show, and this is where the eye looks first. */
static void cell_rss_delta(const struct report_process *process, char out[CELL_BYTES])
{
	if (process->exited)
		memcpy(out, "exited", 7);
	else
		cell_change(process->rss_delta_bytes, out);
}

static bool requests_are_estimated(const struct report_process *process)
{
	return is_some(process->counters[PS_REQUESTS_MERGED]) ||
	       is_some(process->counters[PS_REQUESTS_ENCRYPTED]);
}

/* The mark has a column of its own, so that marked and unmarked numbers stand in line. */
static void cell_requests(const struct report_process *process, char out[CELL_BYTES])
{
	char count[CELL_BYTES];

	cell_count(process->counters[PS_REQUESTS], count);
	(void)snprintf(
		out, CELL_BYTES, "%.6s%c", count, requests_are_estimated(process) ? '~' : ' ');
}

static void cell_accepts(const struct report_process *process, char out[CELL_BYTES])
{
	cell_count(process->counters[PS_ACCEPTS], out);
}

static void cell_open(const struct report_process *process, char out[CELL_BYTES])
{
	cell_count(process->open, out);
}

static void cell_asked(const struct report_process *process, char out[CELL_BYTES])
{
	cell_bytes(report_asked_bytes(process), out);
}

static void cell_returned(const struct report_process *process, char out[CELL_BYTES])
{
	cell_bytes(report_returned_bytes(process), out);
}

/* Overlapping windows count too: the faults are some request's, though not known whose. */
static void cell_faults_per_request(const struct report_process *process, char out[CELL_BYTES])
{
	uint64_t alone = process->counters[PS_FAULTS_IN_REQUESTS];
	uint64_t overlapping = process->counters[PS_FAULTS_OVERLAPPING];
	uint64_t requests = process->counters[PS_REQUESTS];

	if (alone == REPORT_UNKNOWN || overlapping == REPORT_UNKNOWN || !is_some(requests))
		cell_unknown(out);
	else
		cell_average(((double)alone + (double)overlapping) / (double)requests, out);
}

/*
 * The columns right of PID and COMM. With a space before each they make exactly 80 together. A
 * title ends with a space where its numbers leave room for a mark.
 */
static const struct column {
	const char *title;
	int columns;
	void (*cell)(const struct report_process *process, char out[CELL_BYTES]);
} table[] = {
	{"RSS", 5, cell_rss},
	{"+/-RSS", 6, cell_rss_delta},
	{"REQS ", 7, cell_requests},
	{"ACCEPT", 6, cell_accepts},
	{"OPEN", 6, cell_open},
	{"ASKED", 5, cell_asked},
	{"RETURNED", 8, cell_returned},
	{"FLT/RQ", 6, cell_faults_per_request},
};

#define TABLE_COLUMNS (sizeof(table) / sizeof(table[0]))

/* Rows */

static void put_cells(FILE *page, const struct report_process *process)
{
	for (size_t i = 0; i < TABLE_COLUMNS; i++) {
		char cell[CELL_BYTES];

		table[i].cell(process, cell);
		(void)fprintf(page, " %*s", table[i].columns, cell);
	}
	(void)fputc('\n', page);
}

static void put_titles(const struct sink_text *text, FILE *page)
{
	(void)fprintf(page, "%*s %-*s", PID_COLUMNS, "PID", text->comm_columns, "COMM");
	for (size_t i = 0; i < TABLE_COLUMNS; i++)
		(void)fprintf(page, " %*s", table[i].columns, table[i].title);
	(void)fputc('\n', page);
}

static void put_process(
	const struct sink_text *text, FILE *page, const struct report_process *process)
{
	char digits[CELL_BYTES];
	char pid[PID_COLUMNS + 1];
	char comm[COMM_COLUMNS_WIDE + 1];

	/* Only a forged recording holds numbers that no kernel gives. */
	(void)snprintf(digits, sizeof(digits), "%u", process->key.tgid);
	text_for_terminal(digits, strlen(digits), PID_COLUMNS, pid, sizeof(pid));
	text_for_terminal(
		process->comm, strlen(process->comm), text->comm_columns, comm, sizeof(comm));
	(void)fprintf(page, "%*s %-*s", PID_COLUMNS, pid, text->comm_columns, comm);
	put_cells(page, process);
}

static void put_routes(
	const struct sink_text *text, FILE *page, bool pages, const struct report_process *process)
{
	size_t width = text->columns - NAME_INDENT_COLUMNS - ROUTE_COUNT_COLUMNS - 2 -
		       (pages ? ROUTE_PAGES_COLUMNS : 0);

	for (size_t i = 0; i < process->route_count; i++) {
		const struct report_route *route = &process->routes[i];
		char count[CELL_BYTES];
		char name[MAX_COLUMNS];

		cell_count(route->requests, count);
		(void)fprintf(page, "%*s%*s", NAME_INDENT_COLUMNS, "", ROUTE_COUNT_COLUMNS, count);
		if (pages)
			text_put_route_pages(page, route, process);
		text_for_terminal(route->text, strlen(route->text), width, name, sizeof(name));
		(void)fprintf(page, "  %s\n", name);
	}
}

/* Sums over processes. What is known of some is their sum; what is known of none stays unknown. */

static void add(uint64_t *sum, uint64_t value)
{
	if (value == REPORT_UNKNOWN)
		return;
	if (*sum == REPORT_UNKNOWN)
		*sum = value;
	else if (__builtin_add_overflow(*sum, value, sum) || *sum == REPORT_UNKNOWN)
		*sum = REPORT_UNKNOWN - 1;
}

static void add_delta(int64_t *sum, int64_t value)
{
	if (value == REPORT_DELTA_UNKNOWN)
		return;
	if (*sum == REPORT_DELTA_UNKNOWN)
		*sum = value;
	else if (__builtin_add_overflow(*sum, value, sum) || *sum == REPORT_DELTA_UNKNOWN)
		*sum = value < 0 ? -INT64_MAX : INT64_MAX;
}

/* The members that the table and the footer show. */
static struct report_process sum_of(const struct report_process *processes, size_t count)
{
	struct report_process sum = {
		.open = REPORT_UNKNOWN,
		.rss_bytes = REPORT_UNKNOWN,
		.rss_delta_bytes = REPORT_DELTA_UNKNOWN,
		.attribution.exclusive = REPORT_UNKNOWN,
		.attribution.overlapping = REPORT_UNKNOWN,
		.attribution.background = REPORT_UNKNOWN,
	};

	memset(sum.counters, 0xff, sizeof(sum.counters)); /* REPORT_UNKNOWN */
	for (size_t i = 0; i < count; i++) {
		for (int counter = 0; counter < PS_COUNTERS; counter++)
			add(&sum.counters[counter], processes[i].counters[counter]);
		add(&sum.open, processes[i].open);
		add(&sum.rss_bytes, processes[i].rss_bytes);
		add_delta(&sum.rss_delta_bytes, processes[i].rss_delta_bytes);
		add(&sum.attribution.exclusive, processes[i].attribution.exclusive);
		add(&sum.attribution.overlapping, processes[i].attribution.overlapping);
		add(&sum.attribution.background, processes[i].attribution.background);
	}
	return sum;
}

static void put_rest(const struct sink_text *text, FILE *page,
	const struct report_process *processes, size_t count)
{
	const struct report_process sum = sum_of(processes, count);
	char number[CELL_BYTES];
	char label[PID_COLUMNS + 1 + COMM_COLUMNS + 1];

	text_count(count, number);
	(void)snprintf(label, sizeof(label), "    ... and %.6s more", number);
	(void)fprintf(page, "%-*s", PID_COLUMNS + 1 + text->comm_columns, label);
	put_cells(page, &sum);
}

/* Header, table and footer */

/* What watching costs: resident memory and share of one processor. Empty where it is not known. */
static void self_cost(const struct report *report, char out[40])
{
	char rss[CELL_BYTES];
	double percent;

	out[0] = '\0';
	if (report->self_rss_bytes == REPORT_UNKNOWN || report->self_cpu_ns == REPORT_UNKNOWN ||
		!report->interval_ns)
		return;
	text_bytes(report->self_rss_bytes, rss);
	percent = 100.0 * (double)report->self_cpu_ns / (double)report->interval_ns;
	(void)snprintf(out, 40, "  self %s %.1f%% CPU", rss, percent < 9999 ? percent : 9999);
}

/* The cost comes last and only where there is room: a host's name is never cut for it. */
static void put_header(const struct sink_text *text, FILE *page, const struct report *report)
{
	time_t seconds = (time_t)(report->wall_ns / NS_PER_S);
	char date[32] = "-";
	char host[65];
	char source[17];
	char self[40];
	char line[192];
	struct tm utc;
	int length;

	if (gmtime_r(&seconds, &utc))
		(void)strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S UTC", &utc);
	text_for_terminal(report->host, strlen(report->host), sizeof(host) - 1, host, sizeof(host));
	text_for_terminal(
		report->source, strlen(report->source), sizeof(source) - 1, source, sizeof(source));
	self_cost(report, self);
	length = snprintf(line, sizeof(line), "pagestay  %s  %.1f s  %s  %s", date,
		(double)report->interval_ns / NS_PER_S, source, host);
	if (length + strlen(self) > (size_t)text->columns)
		self[0] = '\0';
	text_put_line(text, page, "%s%s", line, self);
}

static size_t shown_rows(const struct sink_text *text, const struct report *report)
{
	if (text->top && report->process_count > text->top)
		return text->top;
	return report->process_count;
}

static bool has_routes(const struct report *report, size_t shown)
{
	for (size_t i = 0; report->routes && i < shown; i++) {
		if (report->processes[i].route_count)
			return true;
	}
	return false;
}

static void put_table(const struct sink_text *text, FILE *page, const struct report *report)
{
	size_t shown = shown_rows(text, report);
	bool pages = sink_shows_pages(report);

	put_titles(text, page);
	if (pages && has_routes(report, shown))
		text_put_route_titles(page);
	for (size_t i = 0; i < shown; i++) {
		put_process(text, page, &report->processes[i]);
		if (pages)
			text_put_pages(text, page, &report->processes[i]);
		text_put_verdict(text, page, &report->processes[i]);
		if (report->routes)
			put_routes(text, page, pages, &report->processes[i]);
	}
	if (shown < report->process_count)
		put_rest(text, page, report->processes + shown, report->process_count - shown);
	if (!report->process_count)
		text_put_line(
			text, page, "%*sno process in this interval", NAME_INDENT_COLUMNS, "");
}

static bool has_hint(const struct report_process *process, const char *hint)
{
	return process->attribution.hint && strcmp(process->attribution.hint, hint) == 0;
}

/* One line a sentence, however many processes it is about. */
static void put_hints(const struct sink_text *text, FILE *page, const struct report *report)
{
	size_t shown = shown_rows(text, report);

	for (size_t i = 0; i < shown; i++) {
		const char *hint = report->processes[i].attribution.hint;
		char sentence[MAX_COLUMNS];
		char more[CELL_BYTES];
		size_t first = 0;
		size_t others = 0;

		if (!hint)
			continue;
		while (!has_hint(&report->processes[first], hint))
			first++;
		if (first < i)
			continue;
		for (size_t j = i + 1; j < shown; j++)
			others += has_hint(&report->processes[j], hint);
		text_count(others, more);
		(void)snprintf(sentence, sizeof(sentence), "%u%s%s%s: %s",
			report->processes[i].key.tgid, others ? " and " : "", others ? more : "",
			others ? " more" : "", hint);
		put_words(text, page, "hint: ", sentence);
	}
}

static void put_losses(const struct sink_text *text, FILE *page, const struct report *report)
{
	char records[CELL_BYTES];
	char entries[CELL_BYTES];
	bool lost = false;

	for (int i = 0; i < PS_LOSSES; i++)
		lost |= report->lost[i] != 0;
	text_count(report->lost[PS_LOST_EVENTS], records);
	text_count(report->lost[PS_LOST_MAP_FULL], entries);
	if (report->lost[PS_LOST_EVENTS] || report->lost[PS_LOST_MAP_FULL])
		text_put_line(text, page,
			"LOST: %s records, %s map entries: the counts above are too low", records,
			entries);
	if (report->lost[PS_LOST_RUNS]) {
		text_count(report->lost[PS_LOST_RUNS], records);
		text_put_line(
			text, page, "LOST: %s program runs: the counts above are too low", records);
	}
	if (report->lost[PS_LOST_PAGES]) {
		text_count(report->lost[PS_LOST_PAGES], records);
		text_put_line(
			text, page, "LOST: %s page records: the figures above lack pages", records);
	}
	if (!lost && !report->complete)
		text_put_line(text, page,
			"INCOMPLETE: the recording is damaged: the counts above may be too low");
}

static void put_estimates(const struct sink_text *text, FILE *page, const struct report *report)
{
	const struct report_process sum = sum_of(report->processes, report->process_count);
	char count[CELL_BYTES];

	if (is_some(sum.counters[PS_REQUESTS_MERGED])) {
		text_count(sum.counters[PS_REQUESTS_MERGED], count);
		text_put_line(text, page,
			"~ %s of REQS hold several requests each: pipelined or HTTP/2", count);
	}
	if (is_some(sum.counters[PS_REQUESTS_ENCRYPTED])) {
		text_count(sum.counters[PS_REQUESTS_ENCRYPTED], count);
		text_put_line(text, page,
			"~ %s of REQS are estimates: their connections are encrypted", count);
	}
	if (is_some(sum.counters[PS_REQUESTS_HANDED_OFF])) {
		text_count(sum.counters[PS_REQUESTS_HANDED_OFF], count);
		text_put_line(text, page,
			"%s of REQS were answered by another thread: FLT/RQ lacks some faults",
			count);
	}
	if (sink_shows_pages(report))
		text_put_sampling(text, page, report->processes, shown_rows(text, report));
	else
		text_put_shares(text, page, "page faults", &sum.attribution);
}

/* What does not change from report to report is told once. */
static void put_legend(const struct sink_text *text, FILE *page, const struct report *report)
{
	text_put_line(text, page,
		"ASKED, RETURNED: address space, not RSS.  FLT/RQ: page faults per request.");
	if (sink_shows_pages(report))
		text_put_pages_legend(text, page);
	if (report->routes)
		text_put_line(text, page,
			"Route `-`: not plain HTTP/1.x.  Route `other`: all that are not listed.");
	for (size_t i = 0; i < report->note_count; i++)
		put_words(text, page, "note: ", report->notes[i]);
}

static int text_report(struct sink_text *text, const struct report *report)
{
	_cleanup_(cleanup_free) char *bytes = NULL;
	size_t length = 0;
	FILE *page = open_memstream(&bytes, &length);
	bool whole;

	if (!page)
		return -ENOMEM;
	if (text->begun)
		(void)fputc('\n', page);
	put_header(text, page, report);
	put_table(text, page, report);
	put_losses(text, page, report);
	put_estimates(text, page, report);
	put_hints(text, page, report);
	if (!text->begun)
		put_legend(text, page, report);
	whole = !ferror(page);
	if (fclose(page) || !whole)
		return -ENOMEM;
	text->begun = true;
	return sink_put(text->out, bytes, length);
}

static int text_write(struct sink *sink, const struct report *report)
{
	struct sink_text *text = (struct sink_text *)sink;
	int error = text_report(text, report);

	if (!text->error)
		text->error = error;
	return error;
}

static int text_close(struct sink *sink)
{
	struct sink_text *text = (struct sink_text *)sink;
	int error = text->error;

	free(text);
	return error;
}

static const struct sink_ops text_ops = {
	.write = text_write,
	.close = text_close,
};

static int clamp(unsigned value, int low, int high)
{
	return value < (unsigned)low ? low : value > (unsigned)high ? high : (int)value;
}

struct sink *sink_text_new(const struct sink_options *options)
{
	struct sink_text *text = calloc(1, sizeof(*text));

	if (!text)
		return NULL;
	text->sink.ops = &text_ops;
	text->out = options->out;
	text->columns = clamp(options->columns, MIN_COLUMNS, MAX_COLUMNS);
	text->comm_columns =
		clamp(text->columns - MIN_COLUMNS + COMM_COLUMNS, COMM_COLUMNS, COMM_COLUMNS_WIDE);
	text->top = options->top;
	return (struct sink *)text;
}
