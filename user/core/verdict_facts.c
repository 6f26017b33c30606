/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns nothing: draws from a process's report the numbers that a verdict rests on. Whatever the
 * report holds, forged numbers too, facts are in their bounds and consistent: a part is not greater
 * than its whole. Called by verdict.c and verdict_symptoms.c.
 */
#include "verdict_facts.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "pagestay/base/text.h"

/* Less is noise of any process: a thread's stack, a connection's buffers. */
#define MATERIAL_BYTES (8 * MIB)
#define MATERIAL_PART  10 /* of anonymous memory */

/* The curve of fewer pages than this is a matter of chance. */
#define SURVIVAL_BYTES MIB
#define SURVIVAL_AGE_S 10 /* jemalloc's decay by default; a request's own work is long over */

/* Growth is told over requests, which a leak follows, if there are so many in the samples. */
#define TREND_REQUESTS 50

/* In half a watch; caches and pools do that much, and a leak does it when watched for longer. */
#define GROWTH_BYTES  MATERIAL_BYTES
#define GROWTH_PART   MATERIAL_PART /* of what there was */
#define GROWTH_ERRORS 3.0           /* standard errors: one chance in some hundred */
#define GROWTH_LATE   0.25 /* of the growth, in the last quarter: half of an even growth's */

#define CREEP_BYTES (256 * KIB) /* less is a few buffers */
#define CREEP_PART  50

/* Blocks of a size that the threshold has risen to explain at most so many times their size. */
#define RATCHET_BLOCKS 32

#define LONG_DECAY_MS 60000 /* jemalloc's default is 10 s */

#define NS_PER_S 1e9

static uint64_t believed(uint64_t bytes)
{
	return bytes <= FACTS_MOST_BYTES ? bytes : REPORT_UNKNOWN;
}

static uint64_t at_most(uint64_t bytes, uint64_t most)
{
	return bytes != REPORT_UNKNOWN && most != REPORT_UNKNOWN && bytes > most ? most : bytes;
}

/* 0 if there is less; not known if one of them is not. */
static uint64_t less(uint64_t bytes, uint64_t taken)
{
	if (bytes == REPORT_UNKNOWN || taken == REPORT_UNKNOWN)
		return REPORT_UNKNOWN;
	return bytes > taken ? bytes - taken : 0;
}

static double clamped(double value)
{
	return value > 0 ? (value < 1 ? value : 1) : 0;
}

/*
 * Trends.
 */

struct point {
	double at, value;
};

static uint64_t sample_member(const struct history_sample *sample, size_t offset)
{
	uint64_t value;

	memcpy(&value, (const char *)sample + offset, sizeof(value));
	return believed(value);
}

static bool has_requests(const struct history *history)
{
	const struct history_sample *first = &history->samples[0];
	const struct history_sample *last = &history->samples[history->sample_count - 1];

	return first->requests != REPORT_UNKNOWN && last->requests != REPORT_UNKNOWN &&
	       last->requests >= first->requests &&
	       last->requests - first->requests >= TREND_REQUESTS;
}

/* Where the value was known, over requests or over time. */
static unsigned points_of(const struct history *history, size_t offset, bool by_requests,
	struct point points[HISTORY_SAMPLES])
{
	unsigned count = 0;

	for (unsigned i = 0; i < history->sample_count; i++) {
		const struct history_sample *sample = &history->samples[i];
		uint64_t value = sample_member(sample, offset);

		if (value == REPORT_UNKNOWN || (by_requests && sample->requests == REPORT_UNKNOWN))
			continue;
		points[count].at = (double)(by_requests ? sample->requests : sample->at_ns);
		points[count++].value = (double)value;
	}
	return count;
}

/* Between the two points around it. */
static double value_at(const struct point *points, unsigned count, double at)
{
	unsigned i = 1;

	while (i + 1 < count && points[i].at < at)
		i++;
	if (points[i].at <= points[i - 1].at)
		return points[i].value;
	return points[i - 1].value + (points[i].value - points[i - 1].value) *
					     (at - points[i - 1].at) /
					     (points[i].at - points[i - 1].at);
}

/* The line of least squares through the points; its rise from the first point to the last. */
static void fit(const struct point *points, unsigned count, struct trend *trend)
{
	double at = 0, value = 0, squares = 0, products = 0, rest = 0, slope, span;

	for (unsigned i = 0; i < count; i++) {
		at += points[i].at / count;
		value += points[i].value / count;
	}
	for (unsigned i = 0; i < count; i++) {
		squares += (points[i].at - at) * (points[i].at - at);
		products += (points[i].at - at) * (points[i].value - value);
	}
	if (squares <= 0)
		return;
	slope = products / squares;
	span = points[count - 1].at - points[0].at;
	for (unsigned i = 0; i < count; i++) {
		double error = points[i].value - value - slope * (points[i].at - at);

		rest += error * error;
	}
	trend->growth_bytes = slope * span;
	trend->error_bytes = sqrt(rest / (count - 2) / squares) * span;
	if (trend->growth_bytes > 0)
		trend->late_share = (points[count - 1].value -
					    value_at(points, count, points[0].at + span / 2)) /
				    trend->growth_bytes;
}

static void keep_least(uint64_t *least, uint64_t value)
{
	if (value < *least) /* neither is greater than REPORT_UNKNOWN */
		*least = value;
}

static void bounds_of(const struct history *history, size_t offset, struct trend *trend)
{
	trend->least_bytes = trend->most_bytes = trend->before_bytes = REPORT_UNKNOWN;
	for (unsigned i = 0; i < history->sample_count; i++) {
		uint64_t value = sample_member(&history->samples[i], offset);

		if (history->samples[i].at_ns < history->observed_ns / 2) {
			keep_least(&trend->before_bytes, value);
			continue;
		}
		if (value == REPORT_UNKNOWN)
			continue;
		trend->count++;
		keep_least(&trend->least_bytes, value);
		if (trend->most_bytes == REPORT_UNKNOWN || value > trend->most_bytes)
			trend->most_bytes = value;
	}
}

static void trend_of(
	const struct history *history, size_t offset, bool by_requests, struct trend *ret_trend)
{
	struct point points[HISTORY_SAMPLES];
	unsigned count = 0, first = 0;

	*ret_trend = (struct trend){};
	bounds_of(history, offset, ret_trend);
	if (!history->sample_count)
		return;
	ret_trend->by_requests = by_requests && has_requests(history);
	count = points_of(history, offset, ret_trend->by_requests, points);
	if (!count)
		return;
	while (first < count &&
		points[first].at < points[0].at + (points[count - 1].at - points[0].at) / 2)
		first++;
	if (count - first >= TREND_SAMPLES)
		fit(points + first, count - first, ret_trend);
}

static bool trend_is_real(const struct trend *trend)
{
	return trend->growth_bytes > 0 && trend->late_share >= GROWTH_LATE &&
	       trend->growth_bytes >= GROWTH_ERRORS * trend->error_bytes;
}

double trend_growth(const struct trend *trend)
{
	double part = (double)known_or_0(trend->least_bytes) / GROWTH_PART;
	double ratio = trend->growth_bytes / fmax(GROWTH_BYTES, part);

	return trend_is_real(trend) && ratio >= 1 ? ratio : 0;
}

bool trend_creeps(const struct trend *trend)
{
	double part = (double)known_or_0(trend->least_bytes) / CREEP_PART;

	return trend_is_real(trend) && trend->growth_bytes >= fmax(CREEP_BYTES, part);
}

/*
 * The x-ray.
 */

static void facts_of_glibc(struct facts *facts)
{
	const struct heap *heap = facts->heap;
	uint64_t firm_bytes = facts->firm_bytes, main_top_bytes;

	facts->live_bytes = believed(heap->live_bytes);
	facts->cached_bytes = believed(heap->cached_bytes);
	facts->held_bytes = at_most(believed(heap->held_free_resident_bytes), firm_bytes);
	facts->tops_bytes = at_most(believed(heap->top_resident_bytes), facts->held_bytes);
	main_top_bytes = believed(heap->trimmable_top_bytes);
	facts->interior_bytes =
		at_most(less(believed(heap->trimmable_bytes), known_or_0(main_top_bytes)),
			facts->held_bytes);
	/* What a trim cannot drop are also the tops of the arenas other than the main one. */
	facts->pinned_bytes =
		at_most(less(believed(heap->page_pinned_bytes),
				less(known_or_0(facts->tops_bytes), known_or_0(main_top_bytes))),
			facts->held_bytes);
	facts->xray_glibc =
		facts->live_bytes != REPORT_UNKNOWN && facts->held_bytes != REPORT_UNKNOWN;
}

static void facts_of_jemalloc(struct facts *facts)
{
	const struct heap *heap = facts->heap;
	uint64_t firm_bytes = facts->firm_bytes;

	facts->live_bytes = believed(heap->live_bytes);
	facts->active_bytes = believed(heap->active_bytes);
	facts->dirty_bytes = at_most(believed(heap->dirty_bytes), firm_bytes);
	facts->muzzy_bytes = believed(heap->muzzy_bytes);
	facts->fragment_bytes = at_most(less(facts->active_bytes, facts->live_bytes), firm_bytes);
	facts->xray_jemalloc =
		facts->active_bytes != REPORT_UNKNOWN && facts->dirty_bytes != REPORT_UNKNOWN;
	if (!facts->xray_jemalloc)
		return;
	facts->held_bytes =
		at_most(facts->dirty_bytes + known_or_0(facts->fragment_bytes), firm_bytes);
	facts->excess_bytes = less(firm_bytes, facts->active_bytes + facts->dirty_bytes);
}

static double coverage_of(const struct facts *facts)
{
	uint64_t accounted_bytes, rest_bytes;

	if (facts->firm_bytes == REPORT_UNKNOWN || !facts->firm_bytes)
		return 0;
	if (facts->xray_glibc)
		accounted_bytes =
			facts->live_bytes + known_or_0(facts->cached_bytes) + facts->held_bytes;
	else if (facts->xray_jemalloc)
		accounted_bytes = facts->active_bytes + facts->dirty_bytes;
	else
		return 0;
	rest_bytes = less(less(facts->firm_bytes, accounted_bytes), MATERIAL_BYTES);
	return clamped(1 - (double)rest_bytes / (double)facts->firm_bytes);
}

static double walked_of(const struct heap *heap)
{
	uint64_t lost_bytes = believed(heap->lost_bytes), all_bytes = believed(heap->system_bytes);

	if (!heap->lost_segments || heap->lost_segments == HEAP_UNKNOWN)
		return 1;
	if (lost_bytes != REPORT_UNKNOWN && known_or_0(all_bytes))
		return clamped(1 - (double)lost_bytes / (double)all_bytes);
	if (heap->segments != HEAP_UNKNOWN && heap->segments)
		return clamped(1 - (double)heap->lost_segments / (double)heap->segments);
	return 0;
}

/*
 * The rest.
 */

static void facts_of_memory(const struct report_process *process, struct facts *facts)
{
	uint64_t lazyfree_bytes = believed(process->lazyfree_bytes);

	facts->rss_bytes = believed(process->rss_bytes);
	facts->anon_bytes = believed(process->anon_bytes);
	if (lazyfree_bytes == REPORT_UNKNOWN)
		lazyfree_bytes = believed(facts->heap->lazyfree_bytes);
	facts->lazyfree_bytes = at_most(lazyfree_bytes, facts->anon_bytes);
	facts->firm_bytes = less(facts->anon_bytes, known_or_0(facts->lazyfree_bytes));
	facts->material_bytes = known_or_0(facts->anon_bytes) / MATERIAL_PART;
	if (facts->material_bytes < MATERIAL_BYTES)
		facts->material_bytes = MATERIAL_BYTES;
	facts->huge_bytes = at_most(believed(facts->heap->huge_bytes), facts->anon_bytes);
}

static void facts_of_allocator(struct facts *facts)
{
	const struct allocators *allocators = facts->process->allocators;

	if (allocators && allocators->count && allocators->list[0].name > ALLOCATOR_UNKNOWN &&
		allocators->list[0].name < ALLOCATOR_NAMES)
		facts->main = &allocators->list[0];
	facts->name = facts->main ? facts->main->name : ALLOCATOR_UNKNOWN;
	if (facts->heap->allocator > ALLOCATOR_UNKNOWN && facts->heap->allocator < ALLOCATOR_NAMES)
		facts->name = facts->heap->allocator;
}

static uint64_t bytes_of_pages(uint64_t pages, uint64_t page_bytes)
{
	uint64_t bytes;

	if (pages == REPORT_UNKNOWN || __builtin_mul_overflow(pages, page_bytes, &bytes))
		return REPORT_UNKNOWN;
	return believed(bytes);
}

static void facts_of_survival(const struct report_process *process, struct facts *facts)
{
	facts->survival = facts->survival_low = facts->survival_high = NAN;
	facts->survival_bytes = REPORT_UNKNOWN;
	for (int i = 0; i < REPORT_AGES; i++) {
		const struct report_survival *survival = &process->retention.survival[i];
		uint64_t bytes = bytes_of_pages(survival->touched_pages, process->page_bytes);

		if (report_ages_s[i] < SURVIVAL_AGE_S || bytes == REPORT_UNKNOWN ||
			bytes < SURVIVAL_BYTES || !(survival->ratio >= 0 && survival->ratio <= 1))
			continue;
		facts->survival = survival->ratio;
		facts->survival_low = survival->low >= 0 ? survival->low : 0;
		facts->survival_high = survival->high <= 1 ? survival->high : 1;
		facts->survival_age_s = report_ages_s[i];
		facts->survival_bytes = bytes;
	}
}

static uint64_t most_held(const struct history *history)
{
	uint64_t most = REPORT_UNKNOWN;

	for (unsigned i = 0; i < history->sample_count; i++) {
		uint64_t held = believed(history->samples[i].held_free_bytes);

		if (held != REPORT_UNKNOWN && (most == REPORT_UNKNOWN || held > most))
			most = held;
	}
	return most;
}

/* The least that was held since it is idle; not known without two x-rays of that time. */
static uint64_t least_held_idle(const struct history *history)
{
	uint64_t least = REPORT_UNKNOWN;
	unsigned count = 0;

	for (unsigned i = 0; i < history->sample_count; i++) {
		const struct history_sample *sample = &history->samples[i];
		uint64_t held = believed(sample->held_free_bytes);

		if (held == REPORT_UNKNOWN ||
			sample->at_ns <= history->observed_ns - history->idle_ns)
			continue;
		count++;
		if (held < least)
			least = held;
	}
	return count < 2 ? REPORT_UNKNOWN : least;
}

static uint64_t risen_since_the_most(const struct history *history)
{
	uint64_t most = 0, least = REPORT_UNKNOWN, now = REPORT_UNKNOWN;

	for (unsigned i = 0; i < history->sample_count; i++) {
		now = believed(history->samples[i].rss_bytes);
		if (now == REPORT_UNKNOWN)
			continue;
		if (now >= most) {
			most = now;
			least = REPORT_UNKNOWN;
		}
		keep_least(&least, now);
	}
	return less(now, least);
}

static void facts_of_watch(struct facts *facts)
{
	const struct history *history = facts->history;
	const struct report_process *process = facts->process;
	uint64_t most_bytes = believed(history->rss_most_bytes);

	facts->observed_s = (double)history->observed_ns / NS_PER_S;
	facts->idle_s = (double)history->idle_ns / NS_PER_S;
	/* Active pages grow with the requests that come at a time as well: only time tells. */
	trend_of(history, offsetof(struct history_sample, live_bytes),
		facts->live_bytes != REPORT_UNKNOWN, &facts->live);
	trend_of(history, offsetof(struct history_sample, held_free_bytes), false, &facts->held);
	trend_of(history, offsetof(struct history_sample, anon_bytes), true, &facts->anon);
	facts->crest_bytes = most_held(history);
	facts->asked_bytes = believed(history->asked_bytes);
	facts->returned_bytes = believed(history->returned_bytes);
	facts->madvised_bytes = believed(known_or_0(believed(history->madvise_dontneed_bytes)) +
					 known_or_0(believed(history->madvise_free_bytes)));
	facts->madvise_calls = history->madvise_calls;
	facts->touched_bytes = believed(history->touched_bytes);
	facts->requests = history->requests;
	facts->kept_bytes = bytes_of_pages(process->retention.kept.value, process->page_bytes);
	facts->fallen_bytes = less(most_bytes, facts->rss_bytes);
	facts->risen_bytes = risen_since_the_most(history);
	facts->range_bytes = less(most_bytes, believed(history->rss_least_bytes));
	facts_of_survival(process, facts);
}

void facts_of(const struct report_process *process, struct facts *ret_facts)
{
	struct facts *facts = ret_facts;

	memset(facts, 0, sizeof(*facts));
	facts->process = process;
	heap_unknown(&facts->no_heap);
	history_init(&facts->no_history);
	facts->heap = process->heap && !(process->heap_age_s > VERDICT_XRAY_AGE_S)
			      ? process->heap
			      : &facts->no_heap;
	facts->history = process->history ? process->history : &facts->no_history;
	facts_of_memory(process, facts);
	facts_of_allocator(facts);
	facts->live_bytes = facts->cached_bytes = facts->held_bytes = REPORT_UNKNOWN;
	facts->interior_bytes = facts->tops_bytes = facts->pinned_bytes = REPORT_UNKNOWN;
	facts->active_bytes = facts->dirty_bytes = facts->muzzy_bytes = REPORT_UNKNOWN;
	facts->fragment_bytes = facts->excess_bytes = REPORT_UNKNOWN;
	if (facts->heap->allocator == ALLOCATOR_GLIBC)
		facts_of_glibc(facts);
	else if (facts->heap->allocator == ALLOCATOR_JEMALLOC)
		facts_of_jemalloc(facts);
	facts->coverage = coverage_of(facts);
	facts->walked = walked_of(facts->heap);
	facts_of_watch(facts);
	/* Of jemalloc, fragmentation is no less now than it was: only dirty pages come and go. */
	facts->floor_bytes = at_most(facts->held.least_bytes, facts->held_bytes);
	facts->idle_floor_bytes = at_most(least_held_idle(facts->history), facts->held_bytes);
}

/*
 * Questions.
 */

bool facts_setting(const struct facts *facts, const char *text)
{
	const struct allocators *allocators = facts->process->allocators;

	return allocators && memmem(allocators->settings,
				     strnlen(allocators->settings, sizeof(allocators->settings)),
				     text, strlen(text));
}

static unsigned allocator_count(const struct allocators *allocators)
{
	if (!allocators)
		return 0;
	return allocators->count < ALLOCATORS ? allocators->count : ALLOCATORS;
}

bool facts_has(const struct facts *facts, enum allocator_name name)
{
	const struct allocators *allocators = facts->process->allocators;

	for (unsigned i = 0; i < allocator_count(allocators); i++)
		if (allocators->list[i].name == name)
			return true;
	return false;
}

unsigned facts_allocators(const struct facts *facts)
{
	const struct allocators *allocators = facts->process->allocators;
	unsigned count = 0;

	for (unsigned i = 0; i < allocator_count(allocators); i++)
		if (allocators->list[i].name > ALLOCATOR_UNKNOWN &&
			allocators->list[i].name <= ALLOCATOR_GO)
			count++;
	return count;
}

bool facts_many_arenas(const struct facts *facts)
{
	uint64_t arenas = facts->heap->arenas, limit = facts->heap->arena_max;

	return arenas != HEAP_UNKNOWN && arenas > FEW_ARENAS &&
	       (limit == HEAP_UNKNOWN || !limit || limit > FEW_ARENAS);
}

bool facts_ratcheted(const struct facts *facts)
{
	uint64_t mmap_bytes = believed(facts->heap->mmap_threshold_bytes);

	return facts->heap->thresholds_dynamic == 1 && mmap_bytes != REPORT_UNKNOWN &&
	       mmap_bytes > GLIBC_THRESHOLD_BYTES;
}

bool facts_ratchet_explains(const struct facts *facts)
{
	uint64_t blocks_bytes = facts->heap->mmap_threshold_bytes;

	return facts_ratcheted(facts) && blocks_bytes >= MIB &&
	       blocks_bytes * RATCHET_BLOCKS >= known_or_0(facts->held_bytes);
}

bool facts_mostly_huge(const struct facts *facts)
{
	return facts->huge_bytes != REPORT_UNKNOWN && facts->anon_bytes != REPORT_UNKNOWN &&
	       facts->huge_bytes >= facts->material_bytes &&
	       facts->huge_bytes >= facts->anon_bytes / 2;
}

bool facts_no_purging_thread(const struct facts *facts)
{
	if (facts->heap->purging_threads != HEAP_UNKNOWN && facts->heap->purging_threads)
		return false;
	if (facts->heap->background_thread != HEAP_UNKNOWN)
		return !facts->heap->background_thread;
	return !facts_setting(facts, "background_thread:true");
}

bool facts_decay_is_long(const struct facts *facts)
{
	/* HEAP_DECAY_NEVER is longer than all. */
	return (facts->heap->dirty_decay_ms != HEAP_UNKNOWN &&
		       facts->heap->dirty_decay_ms > LONG_DECAY_MS) ||
	       facts_setting(facts, "dirty_decay_ms:-1");
}

const char *bytes_text(uint64_t bytes, char out[16])
{
	if (bytes == REPORT_UNKNOWN)
		return "an unknown amount";
	text_bytes(bytes, out);
	return out;
}
