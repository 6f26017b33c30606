/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns nothing: folds a process's reports into its history. Numbers may be forged, so each sum
 * stops at its greatest value, one short of what says "unknown". The tracker calls it once an
 * interval, before the report's row points to the history.
 */
#include "pagestay/core/history.h"

#include <string.h>

/* Of an interval: timers and purging threads take less than a fiftieth. */
#define IDLE_CPU_PART 50

/* That a sample with an x-ray is worth: there are fewer of them, and verdicts rest on them. */
#define XRAY_WEIGHT 8

#define TORN_PART 10 /* of a heap: what comes and goes between walks is less */

void history_init(struct history *history)
{
	*history = (struct history){
		.rss_at_idle_bytes = REPORT_UNKNOWN,
		.rss_least_bytes = REPORT_UNKNOWN,
		.rss_most_bytes = REPORT_UNKNOWN,
		.requests = REPORT_UNKNOWN,
		.accepts = REPORT_UNKNOWN,
		.open_most = REPORT_UNKNOWN,
		.asked_bytes = REPORT_UNKNOWN,
		.returned_bytes = REPORT_UNKNOWN,
		.madvise_calls = REPORT_UNKNOWN,
		.madvise_dontneed_bytes = REPORT_UNKNOWN,
		.madvise_free_bytes = REPORT_UNKNOWN,
		.mprotect_calls = REPORT_UNKNOWN,
		.touched_bytes = REPORT_UNKNOWN,
		.faults = REPORT_UNKNOWN,
		.faults_overlapping = REPORT_UNKNOWN,
		.growth_requests_bytes = REPORT_DELTA_UNKNOWN,
		.growth_background_bytes = REPORT_DELTA_UNKNOWN,
		.growth_earlier_bytes = REPORT_DELTA_UNKNOWN,
		.growth_files_bytes = REPORT_DELTA_UNKNOWN,
		.growth_unexplained_bytes = REPORT_DELTA_UNKNOWN,
	};
}

static uint64_t saturating_sum(uint64_t left, uint64_t right)
{
	const uint64_t most = REPORT_UNKNOWN - 1;

	return left > most - (right > most ? most : right) ? most : left + right;
}

static void add(uint64_t *sum, uint64_t value)
{
	if (value == REPORT_UNKNOWN)
		return;
	*sum = saturating_sum(*sum == REPORT_UNKNOWN ? 0 : *sum, value);
}

static void add_delta(int64_t *sum, int64_t value)
{
	const int64_t most = INT64_MAX, least = REPORT_DELTA_UNKNOWN + 1;

	if (value == REPORT_DELTA_UNKNOWN)
		return;
	if (*sum == REPORT_DELTA_UNKNOWN)
		*sum = value;
	else if (value > 0 && *sum > most - value)
		*sum = most;
	else if (value < 0 && *sum < least - value)
		*sum = least;
	else
		*sum += value;
}

static void keep_least(uint64_t *least, uint64_t value)
{
	if (value < *least) /* neither is greater than REPORT_UNKNOWN */
		*least = value;
}

static void keep_most(uint64_t *most, uint64_t value)
{
	if (value != REPORT_UNKNOWN && (*most == REPORT_UNKNOWN || value > *most))
		*most = value;
}

static bool is_busy(
	const struct history *history, const struct report_process *process, uint64_t interval_ns)
{
	uint64_t requests = process->counters[PS_REQUESTS];

	if (requests != REPORT_UNKNOWN && requests)
		return true;
	if (history->requests != REPORT_UNKNOWN && history->requests)
		return false;
	return process->cpu_ns != REPORT_UNKNOWN && process->cpu_ns > interval_ns / IDLE_CPU_PART;
}

static void fold_traffic(
	struct history *history, const struct report_process *process, uint64_t interval_ns)
{
	if (is_busy(history, process, interval_ns)) {
		history->busy_ns = saturating_sum(history->busy_ns, interval_ns);
		history->idle_ns = 0;
		history->rss_at_idle_bytes = process->rss_bytes;
	} else {
		history->idle_ns = saturating_sum(history->idle_ns, interval_ns);
	}
	add(&history->requests, process->counters[PS_REQUESTS]);
	add(&history->accepts, process->counters[PS_ACCEPTS]);
	keep_most(&history->open_most, process->open);
}

static uint64_t touched_bytes(const struct report_process *process)
{
	uint64_t pages = process->retention.touched.value, bytes;

	if (pages == REPORT_UNKNOWN || process->page_bytes == REPORT_UNKNOWN)
		return REPORT_UNKNOWN;
	if (__builtin_mul_overflow(pages, process->page_bytes, &bytes))
		return REPORT_UNKNOWN - 1;
	return bytes;
}

static void fold_ledger(struct history *history, const struct report_process *process)
{
	add(&history->asked_bytes, report_asked_bytes(process));
	add(&history->returned_bytes, report_returned_bytes(process));
	add(&history->madvise_calls, process->counters[PS_MADVISE_CALLS]);
	add(&history->madvise_dontneed_bytes, process->counters[PS_MADVISE_DONTNEED_BYTES]);
	add(&history->madvise_free_bytes, process->counters[PS_MADVISE_FREE_BYTES]);
	add(&history->mprotect_calls, process->counters[PS_MPROTECT_CALLS]);
}

static void fold_pages(struct history *history, const struct report_process *process)
{
	const struct report_attribution *attribution = &process->attribution;
	const struct report_growth *growth = &process->growth;

	add(&history->touched_bytes, touched_bytes(process));
	add(&history->faults, attribution->exclusive);
	add(&history->faults, attribution->overlapping);
	add(&history->faults, attribution->background);
	add(&history->faults_overlapping, attribution->overlapping);
	add_delta(&history->growth_requests_bytes, growth->requests_bytes);
	add_delta(&history->growth_background_bytes, growth->background_bytes);
	add_delta(&history->growth_earlier_bytes, growth->earlier_bytes);
	add_delta(&history->growth_files_bytes, growth->files_bytes);
	add_delta(&history->growth_unexplained_bytes, growth->unexplained_bytes);
}

/* So much was lost to the walk that its sums cannot be compared with another's. */
static bool is_torn(const struct heap *heap)
{
	if (!heap->lost_segments || heap->lost_segments == HEAP_UNKNOWN)
		return false;
	return heap->lost_bytes == HEAP_UNKNOWN || heap->system_bytes == HEAP_UNKNOWN ||
	       heap->lost_bytes > heap->system_bytes / TORN_PART;
}

static struct history_sample sample_of(
	const struct history *history, const struct report_process *process)
{
	const struct heap *heap = process->heap;
	struct history_sample sample = {
		.at_ns = history->observed_ns,
		.rss_bytes = process->rss_bytes,
		.anon_bytes = process->anon_bytes,
		.live_bytes = REPORT_UNKNOWN,
		.held_free_bytes = REPORT_UNKNOWN,
		.requests = history->requests,
	};

	if (!heap || process->heap_age_s > 0 || is_torn(heap))
		return sample;
	sample.live_bytes = heap->live_bytes;
	sample.held_free_bytes = heap->held_free_resident_bytes;
	if (heap->allocator == ALLOCATOR_JEMALLOC) {
		if (sample.live_bytes == HEAP_UNKNOWN)
			sample.live_bytes = heap->active_bytes;
		sample.held_free_bytes = heap->dirty_bytes;
	}
	return sample;
}

/* What it would cost to be without a sample: the gap that it leaves. */
static double loss_of(const struct history_sample *sample)
{
	double gap_ns = (double)(sample[1].at_ns - sample[-1].at_ns);

	return sample->live_bytes == REPORT_UNKNOWN ? gap_ns : XRAY_WEIGHT * gap_ns;
}

static void samples_thin(struct history *history)
{
	unsigned least = 1;

	for (unsigned i = 2; i + 1 < history->sample_count; i++)
		if (loss_of(&history->samples[i]) < loss_of(&history->samples[least]))
			least = i;
	history->sample_count--;
	memmove(&history->samples[least], &history->samples[least + 1],
		(history->sample_count - least) * sizeof(history->samples[0]));
}

void history_fold(struct history *history, const struct report_process *process,
	uint64_t interval_ns, uint64_t age_ns)
{
	history->observed_ns = saturating_sum(history->observed_ns, interval_ns);
	history->intervals = saturating_sum(history->intervals, 1);
	history->age_ns = age_ns;
	fold_traffic(history, process, interval_ns);
	keep_least(&history->rss_least_bytes, process->rss_bytes);
	keep_most(&history->rss_most_bytes, process->rss_bytes);
	fold_ledger(history, process);
	fold_pages(history, process);
	if (history->sample_count == HISTORY_SAMPLES)
		samples_thin(history);
	history->samples[history->sample_count++] = sample_of(history, process);
}
