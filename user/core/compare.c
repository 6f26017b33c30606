/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Folds the reports of a stream into columns, one a process of a fixed size, so that a recording of
 * any length costs the same. Nothing here trusts a number: sums saturate, times may be 0 or huge,
 * and the table of processes is bounded. What the table of two columns shows is in compare_rows.c.
 * Called by the app.
 */
#include "compare_marks.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pagestay/base/table.h"

#define NS_A_SECOND 1000000000ull

/* How far from its mark a value may be: a part of the mark. Intervals bring many requests at once.
 */
#define TIME_TOLERANCE    10
#define REQUEST_TOLERANCE 4

const struct compare_mark compare_marks[COMPARE_MARKS] = {
	{10, "RSS at 10 s"},
	{30, "RSS at 30 s"},
	{60, "RSS at 1 min"},
	{120, "RSS at 2 min"},
	{300, "RSS at 5 min"},
	{600, "RSS at 10 min"},
	{1200, "RSS at 20 min"},
	{1800, "RSS at 30 min"},
	{3600, "RSS at 1 h"},
	{7200, "RSS at 2 h"},
	{14400, "RSS at 4 h"},
	{28800, "RSS at 8 h"},
	{43200, "RSS at 12 h"},
	{86400, "RSS at 1 day"},
	{604800, "RSS at 7 days"},
	{100, "RSS at 100 requests"},
	{200, "RSS at 200 requests"},
	{500, "RSS at 500 requests"},
	{1000, "RSS at 1,000 requests"},
	{2000, "RSS at 2,000 requests"},
	{5000, "RSS at 5,000 requests"},
	{10000, "RSS at 10,000 requests"},
	{20000, "RSS at 20,000 requests"},
	{50000, "RSS at 50,000 requests"},
	{100000, "RSS at 100,000 requests"},
	{200000, "RSS at 200,000 requests"},
	{500000, "RSS at 500,000 requests"},
	{1000000, "RSS at 1 M requests"},
	{2000000, "RSS at 2 M requests"},
	{5000000, "RSS at 5 M requests"},
	{10000000, "RSS at 10 M requests"},
	{20000000, "RSS at 20 M requests"},
	{50000000, "RSS at 50 M requests"},
	{100000000, "RSS at 100 M requests"},
	{200000000, "RSS at 200 M requests"},
	{500000000, "RSS at 500 M requests"},
	{1000000000, "RSS at 1 G requests"},
};

struct folded_process {
	struct column column;
	UT_hash_handle hh;
};

struct columns {
	struct columns_head head;
	struct folded_process *processes;
};

int columns_new(struct columns **ret_columns)
{
	struct columns *columns = calloc(1, sizeof(*columns));

	if (!columns)
		return -ENOMEM;
	columns->head.complete = true;
	*ret_columns = columns;
	return 0;
}

void columns_free(struct columns *columns)
{
	struct folded_process *process, *next;

	if (!columns)
		return;
	HASH_ITER (hh, columns->processes, process, next) {
		HASH_DEL(columns->processes, process);
		free(process);
	}
	free(columns);
}

const struct columns_head *columns_head(const struct columns *columns)
{
	return &columns->head;
}

/* Neither an unknown part nor an overflow makes a known sum unknown. */
static void add(uint64_t *sum, uint64_t more)
{
	if (more == REPORT_UNKNOWN)
		return;
	if (*sum == REPORT_UNKNOWN)
		*sum = more;
	else if (__builtin_add_overflow(*sum, more, sum) || *sum == REPORT_UNKNOWN)
		*sum = REPORT_UNKNOWN - 1;
}

static void keep_known(uint64_t *last, uint64_t value)
{
	if (value != REPORT_UNKNOWN)
		*last = value;
}

static void keep_known_real(double *last, double value)
{
	if (isfinite(value) && value >= 0)
		*last = value;
}

static void keep_text(char *last, size_t last_bytes, const char *text)
{
	size_t length = strnlen(text, last_bytes - 1);

	memset(last, 0, last_bytes);
	memcpy(last, text, length);
}

static void column_init(struct column *column, const struct ps_proc_key *key)
{
	*column = (struct column){
		.key = *key,
		.sample_ratio = NAN,
		.rss_start_bytes = REPORT_UNKNOWN,
		.rss_peak_bytes = REPORT_UNKNOWN,
		.rss_end_bytes = REPORT_UNKNOWN,
		.rss_idle_bytes = REPORT_UNKNOWN,
		.live_bytes = REPORT_UNKNOWN,
		.held_free_bytes = REPORT_UNKNOWN,
		.asked_bytes = REPORT_UNKNOWN,
		.returned_bytes = REPORT_UNKNOWN,
		.madvise_calls = REPORT_UNKNOWN,
		.faults = REPORT_UNKNOWN,
		.faults_of_requests = REPORT_UNKNOWN,
		.kept_pages_per_request = NAN,
		.survival = {NAN, NAN, NAN},
		.cpu_ns = REPORT_UNKNOWN,
		.requests = REPORT_UNKNOWN,
		.requests_per_s_peak = NAN,
	};
	for (int i = 0; i < COMPARE_MARKS; i++) {
		column->rss_at_marks[i] = REPORT_UNKNOWN;
		column->mark_distances[i] = UINT64_MAX;
	}
}

/* The value at a mark is the one nearest to it. */
static void fold_mark(struct column *column, int mark, uint64_t at, uint64_t place,
	uint64_t tolerance, uint64_t rss_bytes)
{
	uint64_t distance = at > place ? at - place : place - at;

	if (distance > tolerance || distance >= column->mark_distances[mark])
		return;
	column->mark_distances[mark] = distance;
	column->rss_at_marks[mark] = rss_bytes;
}

static void fold_marks(struct column *column, uint64_t rss_bytes)
{
	for (int i = 0; i < COMPARE_TIME_MARKS; i++) {
		uint64_t place = compare_marks[i].at * NS_A_SECOND;

		fold_mark(column, i, column->observed_ns, place, place / TIME_TOLERANCE, rss_bytes);
	}
	if (column->requests == REPORT_UNKNOWN)
		return;
	for (int i = COMPARE_TIME_MARKS; i < COMPARE_MARKS; i++) {
		uint64_t place = compare_marks[i].at;

		fold_mark(column, i, column->requests, place, place / REQUEST_TOLERANCE, rss_bytes);
	}
}

/* A forged change may lead below 0: then the beginning is not known. */
static uint64_t rss_before(const struct report_process *process)
{
	int64_t before;

	if (process->rss_bytes == REPORT_UNKNOWN || process->rss_bytes > INT64_MAX ||
		process->rss_delta_bytes == REPORT_DELTA_UNKNOWN ||
		__builtin_sub_overflow(
			(int64_t)process->rss_bytes, process->rss_delta_bytes, &before) ||
		before < 0)
		return REPORT_UNKNOWN;
	return (uint64_t)before;
}

static void fold_peak(struct column *column, uint64_t rss_bytes)
{
	if (rss_bytes != REPORT_UNKNOWN &&
		(column->rss_peak_bytes == REPORT_UNKNOWN || rss_bytes > column->rss_peak_bytes))
		column->rss_peak_bytes = rss_bytes;
}

static void fold_memory(struct column *column, const struct report_process *process)
{
	uint64_t rss_bytes = process->rss_bytes;

	if (column->intervals == 1) {
		column->rss_start_bytes = rss_before(process);
		fold_peak(column, column->rss_start_bytes);
	}
	if (rss_bytes == REPORT_UNKNOWN)
		return;
	fold_peak(column, rss_bytes);
	fold_marks(column, rss_bytes);
	column->rss_end_bytes = rss_bytes;
	if (column->quiet_ns >= COMPARE_IDLE_NS) {
		column->rss_idle_bytes = rss_bytes;
		column->idle_ns = column->quiet_ns;
	}
}

/* What an x-ray could not walk. Of allocators that are not walked nothing is lost. */
static uint64_t lost_of_heap(const struct heap *heap)
{
	if (heap->lost_segments == HEAP_UNKNOWN || !heap->lost_segments)
		return 0;
	return heap->lost_bytes && heap->lost_bytes != HEAP_UNKNOWN ? heap->lost_bytes : 1;
}

static void fold_heap(struct column *column, const struct heap *heap)
{
	uint64_t held = heap->held_free_resident_bytes;
	uint64_t lost = lost_of_heap(heap);

	if (lost && column->heap_at_ns && !column->heap_lost_bytes)
		return;
	column->heap_lost_bytes = lost;
	column->heap_at_ns = column->observed_ns;
	column->live_is_pages = heap->live_bytes == HEAP_UNKNOWN;
	column->live_bytes = column->live_is_pages ? heap->active_bytes : heap->live_bytes;
	if (held == HEAP_UNKNOWN) {
		held = heap->dirty_bytes;
		if (held != HEAP_UNKNOWN)
			add(&held, heap->muzzy_bytes);
	}
	column->held_free_bytes = held;
}

static void fold_allocators(struct column *column, const struct allocators *allocators)
{
	const struct allocator *first = &allocators->list[0];

	if (!allocators->count || first->name >= ALLOCATOR_NAMES)
		return;
	column->allocator = first->name;
	keep_text(column->allocator_version, sizeof(column->allocator_version), first->version);
}

static void fold_requests(
	struct column *column, const struct report_process *process, uint64_t interval_ns)
{
	uint64_t requests = process->counters[PS_REQUESTS];
	double rate;

	if (requests == REPORT_UNKNOWN)
		return;
	add(&column->requests, requests);
	if (!requests) {
		if (column->requests)
			add(&column->quiet_ns, interval_ns);
		return;
	}
	column->quiet_ns = 0;
	column->requests_estimated |=
		process->counters[PS_REQUESTS_MERGED] || process->counters[PS_REQUESTS_ENCRYPTED];
	if (!interval_ns)
		return;
	add(&column->busy_requests, requests);
	add(&column->busy_ns, interval_ns);
	rate = (double)requests * NS_A_SECOND / (double)interval_ns;
	if (!(rate <= column->requests_per_s_peak)) /* or the peak is NAN */
		column->requests_per_s_peak = rate;
}

static void fold_work(struct column *column, const struct report_process *process)
{
	const uint64_t *counters = process->counters;

	add(&column->asked_bytes, report_asked_bytes(process));
	add(&column->returned_bytes, report_returned_bytes(process));
	add(&column->madvise_calls, counters[PS_MADVISE_CALLS]);
	add(&column->faults_of_requests, counters[PS_FAULTS_IN_REQUESTS]);
	add(&column->faults_of_requests, counters[PS_FAULTS_OVERLAPPING]);
	add(&column->faults, counters[PS_FAULTS_IN_REQUESTS]);
	add(&column->faults, counters[PS_FAULTS_OVERLAPPING]);
	add(&column->faults, process->faults_background);
	add(&column->cpu_ns, process->cpu_ns);
}

static void column_fold(
	struct column *column, const struct report_process *process, uint64_t interval_ns)
{
	column->intervals++;
	add(&column->observed_ns, interval_ns);
	column->exited = process->exited;
	keep_text(column->comm, sizeof(column->comm), process->comm);
	keep_known(&column->page_bytes, process->page_bytes);
	keep_known_real(&column->sample_ratio, process->sample_ratio);
	fold_requests(column, process, interval_ns);
	fold_memory(column, process);
	fold_work(column, process);
	keep_known_real(&column->kept_pages_per_request, process->retention.kept_pages_per_request);
	for (int i = 0; i < COMPARE_AGES; i++)
		keep_known_real(&column->survival[i], process->retention.survival[i].ratio);
	if (process->allocators)
		fold_allocators(column, process->allocators);
	if (process->heap && !(process->heap_age_s > 0))
		fold_heap(column, process->heap);
}

/* The column of a process, new if need be. NULL: there is no room, or *ret_error is -ENOMEM. */
static struct column *column_get(
	struct columns *columns, const struct ps_proc_key *key, int *ret_error)
{
	struct folded_process *process;

	HASH_FIND(hh, columns->processes, key, sizeof(*key), process);
	if (process)
		return &process->column;
	if (columns->head.processes == COMPARE_PROCESSES) {
		add(&columns->head.unfolded, 1);
		columns->head.complete = false;
		return NULL;
	}
	process = calloc(1, sizeof(*process));
	if (!process) {
		*ret_error = -ENOMEM;
		return NULL;
	}
	column_init(&process->column, key);
	HASH_ADD(hh, columns->processes, column.key, sizeof(process->column.key), process);
	if (!table_has(process)) {
		free(process);
		*ret_error = -ENOMEM;
		return NULL;
	}
	columns->head.processes++;
	return &process->column;
}

int columns_fold(struct columns *columns, const struct report *report)
{
	struct columns_head *head = &columns->head;
	int error = 0;

	keep_text(head->host, sizeof(head->host), report->host);
	keep_text(head->detail, sizeof(head->detail), report->detail);
	head->source = report->source;
	head->complete &= report->complete;
	for (int i = 0; i < PS_LOSSES; i++)
		add(&head->lost[i], report->lost[i]);
	for (size_t i = 0; i < report->process_count && !error; i++) {
		const struct report_process *process = &report->processes[i];
		struct column *column = column_get(columns, &process->key, &error);

		if (column)
			column_fold(column, process, report->interval_ns);
	}
	return error;
}

static bool fits(const struct column *column, const struct columns_choice *choice)
{
	if (choice->by_pid)
		return column->key.tgid == choice->pid;
	return !choice->comm || strcmp(column->comm, choice->comm) == 0;
}

/* Unknown is the least; keys end every tie, so that the choice is always the same. */
static bool is_better(const struct column *column, const struct column *than)
{
	if (column->requests + 1 != than->requests + 1)
		return column->requests + 1 > than->requests + 1;
	if (column->rss_peak_bytes + 1 != than->rss_peak_bytes + 1)
		return column->rss_peak_bytes + 1 > than->rss_peak_bytes + 1;
	if (column->key.tgid != than->key.tgid)
		return column->key.tgid < than->key.tgid;
	return column->key.start_ns < than->key.start_ns;
}

const struct column *columns_choose(
	const struct columns *columns, const struct columns_choice *choice, uint64_t *ret_fitting)
{
	const struct column *best = NULL;
	const struct folded_process *process;
	uint64_t fitting = 0;

	for (process = columns->processes; process; process = process->hh.next) {
		if (!fits(&process->column, choice))
			continue;
		fitting++;
		if (!best || is_better(&process->column, best))
			best = &process->column;
	}
	*ret_fitting = fitting;
	return best;
}
