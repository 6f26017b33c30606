/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a table of two columns shows: each number named once, for text, Markdown and JSON, in the
 * order in which they show it. Owns nothing. Called by the app.
 */
#include "compare_marks.h"

#include <math.h>

#define NS_A_SECOND 1e9

static double known(uint64_t value)
{
	return value == REPORT_UNKNOWN ? NAN : (double)value;
}

static double seconds(uint64_t value_ns)
{
	return known(value_ns) / NS_A_SECOND;
}

/* Of nothing there is no average. */
static double per(double value, double of)
{
	return of > 0 ? value / of : NAN;
}

static double rss_start(const struct column *column)
{
	return known(column->rss_start_bytes);
}

static double rss_peak(const struct column *column)
{
	return known(column->rss_peak_bytes);
}

static double rss_end(const struct column *column)
{
	return known(column->rss_end_bytes);
}

static double rss_idle(const struct column *column)
{
	return known(column->rss_idle_bytes);
}

static double live(const struct column *column)
{
	return known(column->live_bytes);
}

static double held_free(const struct column *column)
{
	return known(column->held_free_bytes);
}

static double asked(const struct column *column)
{
	return known(column->asked_bytes);
}

static double returned(const struct column *column)
{
	return known(column->returned_bytes);
}

static double madvise_per_s(const struct column *column)
{
	return per(known(column->madvise_calls), seconds(column->observed_ns));
}

static double kept_pages(const struct column *column)
{
	return column->kept_pages_per_request;
}

static double kept_bytes(const struct column *column)
{
	return column->page_bytes ? column->kept_pages_per_request * (double)column->page_bytes
				  : NAN;
}

static double survival_1s(const struct column *column)
{
	return column->survival[0];
}

static double survival_10s(const struct column *column)
{
	return column->survival[1];
}

static double survival_60s(const struct column *column)
{
	return column->survival[2];
}

static double faults(const struct column *column)
{
	return known(column->faults);
}

static double faults_per_request(const struct column *column)
{
	return per(known(column->faults_of_requests), known(column->requests));
}

static double cpu(const struct column *column)
{
	return seconds(column->cpu_ns);
}

static double cpu_per_1000(const struct column *column)
{
	return per(1000 * seconds(column->cpu_ns), known(column->requests));
}

static double requests(const struct column *column)
{
	return known(column->requests);
}

static double requests_per_s(const struct column *column)
{
	return per(known(column->busy_requests), seconds(column->busy_ns));
}

static double requests_per_s_peak(const struct column *column)
{
	return column->requests_per_s_peak;
}

static double observed(const struct column *column)
{
	return seconds(column->observed_ns);
}

/* The marks come behind the first row. */
static const struct {
	const char *name;
	const char *title;
	enum compare_unit unit;
	double (*get)(const struct column *column);
} numbers[] = {
	{"rss_start_bytes", "RSS at the start", COMPARE_BYTES, rss_start},
	{"rss_peak_bytes", "RSS, highest", COMPARE_BYTES, rss_peak},
	{"rss_end_bytes", "RSS at the end", COMPARE_BYTES, rss_end},
	{"rss_idle_bytes", "RSS after idle", COMPARE_BYTES, rss_idle},
	{"live_bytes", "live heap", COMPARE_BYTES, live},
	{"held_free_resident_bytes", "held free, resident", COMPARE_BYTES, held_free},
	{"asked_bytes", "asked", COMPARE_BYTES, asked},
	{"returned_bytes", "returned", COMPARE_BYTES, returned},
	{"madvise_calls_per_s", "madvise calls a second", COMPARE_REAL, madvise_per_s},
	{"kept_pages_per_request", "kept pages a request", COMPARE_REAL, kept_pages},
	{"kept_bytes_per_request", "kept bytes a request", COMPARE_BYTES, kept_bytes},
	{"survival_1s", "survival at 1 s", COMPARE_SHARE, survival_1s},
	{"survival_10s", "survival at 10 s", COMPARE_SHARE, survival_10s},
	{"survival_60s", "survival at 60 s", COMPARE_SHARE, survival_60s},
	{"faults", "page faults", COMPARE_COUNT, faults},
	{"faults_per_request", "page faults a request", COMPARE_REAL, faults_per_request},
	{"cpu_s", "CPU", COMPARE_SECONDS, cpu},
	{"cpu_s_per_1000_requests", "CPU, 1,000 requests", COMPARE_SECONDS, cpu_per_1000},
	{"requests", "requests", COMPARE_COUNT, requests},
	{"requests_per_s", "requests a second", COMPARE_REAL, requests_per_s},
	{"requests_per_s_peak", "requests a second, peak", COMPARE_REAL, requests_per_s_peak},
	{"observed_s", "watched", COMPARE_SECONDS, observed},
};

#define NUMBERS (sizeof(numbers) / sizeof(numbers[0]))

_Static_assert(NUMBERS + COMPARE_REQUEST_MARKS <= COMPARE_ROWS, "a row for each");

static void add_mark(struct comparison *comparison, int mark)
{
	const struct column *const *columns = comparison->columns;
	double a = known(columns[0]->rss_at_marks[mark]);
	double b = known(columns[1]->rss_at_marks[mark]);

	if (isnan(a) || isnan(b))
		return;
	comparison->rows[comparison->row_count++] = (struct compare_row){
		.title = compare_marks[mark].title,
		.mark = compare_marks[mark].at,
		.unit = COMPARE_BYTES,
		.values = {a, b},
	};
}

static void add_marks(struct comparison *comparison)
{
	int first = comparison->marks_by_requests ? COMPARE_TIME_MARKS : 0;
	int end = comparison->marks_by_requests ? COMPARE_MARKS : COMPARE_TIME_MARKS;

	for (int i = first; i < end; i++)
		add_mark(comparison, i);
}

void compare(const struct columns_head *const heads[2], const struct column *const columns[2],
	bool marks_by_requests, struct comparison *ret_comparison)
{
	*ret_comparison = (struct comparison){
		.heads = {heads[0], heads[1]},
		.columns = {columns[0], columns[1]},
		.marks_by_requests = marks_by_requests,
	};
	for (size_t i = 0; i < NUMBERS; i++) {
		ret_comparison->rows[ret_comparison->row_count++] = (struct compare_row){
			.name = numbers[i].name,
			.title = numbers[i].title,
			.unit = numbers[i].unit,
			.values = {numbers[i].get(columns[0]), numbers[i].get(columns[1])},
		};
		if (i == 0)
			add_marks(ret_comparison);
	}
}

double compare_ratio(const struct compare_row *row)
{
	return per(row->values[1], row->values[0]);
}

double compare_difference(const struct compare_row *row)
{
	return row->values[1] - row->values[0];
}
