/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reaches a verdict: owns the rules, their order and their thresholds. A rule looks at facts, says
 * whether it holds, and if so why, of what cause and how sure. Called by whoever shows a report;
 * keeps nothing.
 */
#include "pagestay/core/verdict.h"

#include <math.h>
#include <string.h>

#include "pagestay/base/line.h"
#include "verdict_facts.h"

#define HELD_SHARE 0.25 /* of firm memory: less is what any allocator works with */

/* With so many x-rays of the second half, what was free at all of them is needed by nobody. */
#define FLOOR_XRAYS   3
#define IDLE_S        10.0
#define PURGE_IDLE_S  15.0 /* jemalloc's decay by default, and half of it for late purges */
#define PURGE_SLACK_S 5.0
#define FALLING       0.7 /* of what there was: what is less now is on its way back */

#define RETURNED_SHARE 0.5  /* of what was asked for, or of RSS's range */
#define FALLEN_SHARE   0.25 /* of the greatest RSS: caches and pools come and go by less */

/* Shares of touched pages that are still there. Even a good allocator keeps some to work with. */
#define SURVIVED_LITTLE 0.3
#define SURVIVED_HALF   0.5
#define SURVIVED_MUCH   0.7
#define SURVIVED_ALL    0.9

#define COLLAPSED 10 /* times less memory than an interval before */

/* What threads' stacks and buffers of requests under way move memory by; or a part of memory. */
#define FLAT_BYTES  (4 * MIB)
#define FLAT_PART   20
#define SMALL_BYTES (16 * MIB) /* of memory without an x-ray: little can hide in it */

#define WALKED  0.9 /* of the heap: what was lost to the walk explains little */
#define COVERED 0.5 /* of firm memory: an x-ray of less says nothing of the whole */

#define CACHE_GREW 0.8 /* of live memory now: so little there was when the watch began */

#define CEILING_XRAY     0.9
#define CEILING_KERNEL   0.8
#define CEILING_INDIRECT 0.6 /* active pages for live bytes, address space, one or two x-rays */
#define CEILING_GUESS    0.4 /* right more often than not, and never relied on */
#define BOTH             0.5 /* memory is held and live memory grows: one of them was chosen */

const char *const verdict_code_names[VERDICT_CODES] = {
	[VERDICT_UNKNOWN] = "unknown",
	[VERDICT_STEADY] = "steady",
	[VERDICT_RETURNING] = "returning",
	[VERDICT_RETAINING] = "retaining",
	[VERDICT_GROWING] = "growing",
};

const char *const verdict_cause_names[CAUSES] = {
	[CAUSE_NONE] = "none",
	[CAUSE_TRIMMABLE_INTERIOR] = "trimmable_interior",
	[CAUSE_HOARDED_TOP] = "hoarded_top",
	[CAUSE_MANY_ARENAS] = "many_arenas",
	[CAUSE_PAGE_PINNED] = "page_pinned",
	[CAUSE_MMAP_THRESHOLD] = "mmap_threshold",
	[CAUSE_NO_BACKGROUND_THREAD] = "no_background_thread",
	[CAUSE_DECAY_SETTINGS] = "decay_settings",
	[CAUSE_ACTIVE_FRAGMENTATION] = "active_fragmentation",
	[CAUSE_HUGE_PAGES] = "huge_pages",
	[CAUSE_LAZY_FREE] = "lazy_free",
	[CAUSE_LIVE_MEMORY] = "live_memory",
	[CAUSE_RUNTIME_HEAP] = "runtime_heap",
};

struct finding {
	enum verdict_cause cause;
	double ceiling, margin, complete;
	char why[VERDICT_LINE_BYTES];
};

#define WHY(finding, ...) line_add((finding)->why, sizeof((finding)->why), __VA_ARGS__)

static double clamped(double value)
{
	return value > 0 ? (value < 1 ? value : 1) : 0;
}

/* 0.5 where the value is at its threshold (a ratio of 1), 1 where it is twice as great. */
static double margin_above(double ratio)
{
	return clamped(ratio / 2);
}

/* 0.5 at the threshold, 1 where the value is half of it. */
static double margin_below(double ratio)
{
	return clamped(1.5 - ratio);
}

static double share_of(uint64_t part, uint64_t all)
{
	return all && all != REPORT_UNKNOWN && part != REPORT_UNKNOWN ? (double)part / (double)all
								      : 0;
}

/* What is held, against what makes it a verdict: 1 and more does. */
static double held_ratio(const struct facts *facts, uint64_t bytes)
{
	double by_share = share_of(bytes, facts->firm_bytes) / HELD_SHARE;

	return fmin(by_share, share_of(bytes, facts->material_bytes));
}

static bool is_flat(const struct facts *facts)
{
	uint64_t most = facts->anon.most_bytes, moved = most - facts->anon.least_bytes;

	if (facts->anon.count < 2 || most == REPORT_UNKNOWN)
		return false;
	return moved <= FLAT_BYTES || moved <= most / FLAT_PART;
}

static unsigned percent(double share)
{
	return (unsigned)(100 * clamped(share) + 0.5);
}

static unsigned seconds(double value)
{
	return value < 1e9 ? (unsigned)value : 1000000000;
}

/*
 * Nothing to judge yet, or nothing any more.
 */

/* All at once, and nothing was seen since: what exits looks so. */
static bool has_collapsed(const struct facts *facts)
{
	const struct history *history = facts->history;
	uint64_t before;

	if (history->sample_count < 2)
		return false;
	before = history->samples[history->sample_count - 2].rss_bytes;
	return before != REPORT_UNKNOWN && before >= MIB && facts->rss_bytes < before / COLLAPSED;
}

static bool too_thin(const struct facts *facts, struct finding *finding)
{
	const struct history *history = facts->history;
	double age_s = (double)history->age_ns / 1e9;

	if (facts->process->exited)
		WHY(finding, "the process has exited: what it held is gone");
	else if (facts->rss_bytes == REPORT_UNKNOWN || facts->anon_bytes == REPORT_UNKNOWN)
		WHY(finding,
			"its memory could not be read: it is about to exit, or privileges lack");
	else if (!known_or_0(facts->rss_bytes) || !known_or_0(facts->anon_bytes))
		WHY(finding, "it has no memory of its own: it is exiting, or a kernel thread");
	else if (has_collapsed(facts))
		WHY(finding,
			"wait an interval: its memory went all at once, as when a process exits");
	else if (facts->observed_s < VERDICT_WATCH_S || history->intervals < VERDICT_INTERVALS)
		WHY(finding, "wait: watched %u s, a verdict needs at least %u s and %u intervals",
			seconds(facts->observed_s), VERDICT_WATCH_S, VERDICT_INTERVALS);
	else if (history->age_ns && age_s < VERDICT_AGE_S)
		WHY(finding, "wait: still starting, the process is %u s old and should be %u s",
			seconds(age_s), VERDICT_AGE_S);
	return finding->why[0];
}

/*
 * Live memory that grows.
 */

static bool live_grows(const struct facts *facts, struct finding *finding)
{
	double growth = trend_growth(&facts->live);
	bool is_held = held_ratio(facts, facts->floor_bytes) >= 1;
	uint64_t now =
		facts->live_bytes == REPORT_UNKNOWN ? facts->active_bytes : facts->live_bytes;
	char grown[16], live[16], held[16];

	if ((!facts->xray_glibc && !facts->xray_jemalloc) || growth < 1)
		return false;
	if (is_held && known_or_0(now) < facts->held_bytes)
		return false;
	finding->cause = CAUSE_LIVE_MEMORY;
	finding->ceiling = facts->live_bytes == REPORT_UNKNOWN ? CEILING_INDIRECT : CEILING_XRAY;
	/* It grew with the requests, and they have stopped: a cache that has just filled, too. */
	if (facts->idle_s >= IDLE_S && facts->live.by_requests)
		finding->ceiling = CEILING_GUESS;
	finding->margin = margin_above(growth) * clamped(2 * facts->live.late_share);
	finding->complete = facts->walked * (is_held ? BOTH : 1);
	WHY(finding,
		"live memory grew by %s over the second half of the %s, to %s, and had not "
		"stopped%s",
		bytes_text((uint64_t)facts->live.growth_bytes, grown),
		facts->live.by_requests ? "requests" : "watch", bytes_text(now, live),
		facts->live_bytes == REPORT_UNKNOWN ? " (jemalloc's active pages stand for it)"
						    : "");
	if (is_held)
		WHY(finding, "; besides, %s is held free", bytes_text(facts->floor_bytes, held));
	return true;
}

/*
 * Free memory that stays.
 */

/*
 * What was free all the time: at the x-rays of the second half, or at those of a pause, or before
 * and after it. 0 if none of that is known. `*ret_firm`: it rests on more than one x-ray.
 */
static uint64_t lasting_bytes(const struct facts *facts, bool *ret_firm)
{
	uint64_t before = facts->history->rss_at_idle_bytes, lasting = 0;

	*ret_firm = true;
	if (facts->held.count >= FLOOR_XRAYS)
		lasting = known_or_0(facts->floor_bytes);
	if (facts->idle_s >= IDLE_S && known_or_0(facts->idle_floor_bytes) > lasting)
		lasting = facts->idle_floor_bytes;
	if (lasting || facts->idle_s < IDLE_S)
		return lasting;
	*ret_firm = false;
	if (before != REPORT_UNKNOWN && before > facts->rss_bytes &&
		before - facts->rss_bytes > known_or_0(facts->held_bytes))
		return 0;
	return known_or_0(facts->held_bytes);
}

/* By where most of it is. */
static enum verdict_cause cause_of_glibc(const struct facts *facts)
{
	uint64_t interior = known_or_0(facts->interior_bytes);
	uint64_t tops = known_or_0(facts->tops_bytes), pinned = known_or_0(facts->pinned_bytes);

	if (pinned > interior && pinned > tops)
		return CAUSE_PAGE_PINNED;
	if (interior >= tops)
		return facts_ratchet_explains(facts) ? CAUSE_MMAP_THRESHOLD
						     : CAUSE_TRIMMABLE_INTERIOR;
	return !facts_ratcheted(facts) && facts_many_arenas(facts) ? CAUSE_MANY_ARENAS
								   : CAUSE_HOARDED_TOP;
}

static bool glibc_holds(const struct facts *facts, struct finding *finding)
{
	bool is_firm, live_too;
	uint64_t lasting = lasting_bytes(facts, &is_firm), grown = 0;
	double ratio = held_ratio(facts, lasting);
	char held[16], live[16];

	if (!facts->xray_glibc || ratio < 1)
		return false;
	if (facts->live.growth_bytes > 0)
		grown = (uint64_t)facts->live.growth_bytes;
	live_too = trend_growth(&facts->live) >= 1 && grown >= lasting / 10;
	finding->cause = cause_of_glibc(facts);
	finding->ceiling = is_firm ? CEILING_XRAY : CEILING_INDIRECT;
	finding->margin = margin_above(ratio);
	finding->complete = facts->walked * (live_too ? BOTH : 1);
	WHY(finding,
		"glibc keeps %s resident that the program has freed, %u %% of anonymous memory, ",
		bytes_text(lasting, held), percent(share_of(lasting, facts->firm_bytes)));
	if (facts->idle_s >= IDLE_S)
		WHY(finding, "after %u s of idleness; live is %s", seconds(facts->idle_s),
			bytes_text(facts->live_bytes, live));
	else
		WHY(finding, "at each of the last %u x-rays; live is %s", facts->held.count,
			bytes_text(facts->live_bytes, live));
	return true;
}

/* Huge pages: free memory came back after it had been returned. */
static bool huge_pages_refill(const struct facts *facts, struct finding *finding)
{
	uint64_t held = facts->xray_jemalloc ? facts->excess_bytes : facts->floor_bytes;
	double ratio = held_ratio(facts, held);
	char refilled[16], huge[16], returned[16];

	if ((!facts->xray_glibc && !facts->xray_jemalloc) || ratio < 1)
		return false;
	if (!facts_mostly_huge(facts) || facts->heap->huge_mode == HEAP_HUGE_NEVER ||
		facts->madvised_bytes == REPORT_UNKNOWN || facts->madvised_bytes < held)
		return false;
	finding->cause = CAUSE_HUGE_PAGES;
	finding->ceiling = facts_allocators(facts) > 1 ? CEILING_GUESS : CEILING_KERNEL;
	finding->margin = margin_above(ratio);
	finding->complete = facts->walked;
	WHY(finding,
		"%s is resident that the allocator holds free or has returned; it gave back %s "
		"by madvise while watched, and huge pages hold %s: they refill what was returned",
		bytes_text(held, refilled), bytes_text(facts->madvised_bytes, returned),
		bytes_text(facts->huge_bytes, huge));
	return true;
}

static bool jemalloc_is_fragmented(const struct facts *facts, struct finding *finding)
{
	double ratio = held_ratio(facts, facts->fragment_bytes);
	char held[16], active[16], live[16];

	if (!facts->xray_jemalloc || facts->fragment_bytes == REPORT_UNKNOWN || ratio < 1 ||
		facts->fragment_bytes < facts->dirty_bytes)
		return false;
	if (facts->idle_s < IDLE_S && !is_flat(facts))
		return false;
	finding->cause = CAUSE_ACTIVE_FRAGMENTATION;
	finding->ceiling = CEILING_XRAY;
	finding->margin = margin_above(ratio);
	finding->complete = 1;
	WHY(finding,
		"jemalloc's active pages hold %s, of which %s is allocated: %s is free between "
		"live allocations, and no decay returns it",
		bytes_text(facts->active_bytes, active), bytes_text(facts->live_bytes, live),
		bytes_text(facts->fragment_bytes, held));
	return true;
}

/* How long jemalloc must be idle until its dirty pages should be gone. */
static double purge_wait_s(const struct facts *facts)
{
	uint64_t decay_ms = facts->heap->dirty_decay_ms;

	if (decay_ms == HEAP_UNKNOWN || facts_decay_is_long(facts))
		return PURGE_IDLE_S;
	return fmax(PURGE_IDLE_S, (double)decay_ms / 1000 + PURGE_SLACK_S);
}

static bool jemalloc_holds(const struct facts *facts, struct finding *finding)
{
	uint64_t dirty = facts->dirty_bytes;
	double ratio = held_ratio(facts, dirty);
	char held[16];

	if (!facts->xray_jemalloc || ratio < 1 || facts->idle_s < purge_wait_s(facts))
		return false;
	if (facts->held.most_bytes != REPORT_UNKNOWN &&
		(double)dirty < FALLING * (double)facts->held.most_bytes)
		return false;
	finding->cause = facts_decay_is_long(facts) || !facts_no_purging_thread(facts)
				 ? CAUSE_DECAY_SETTINGS
				 : CAUSE_NO_BACKGROUND_THREAD;
	finding->ceiling = CEILING_XRAY;
	if (!facts_decay_is_long(facts) && !facts_no_purging_thread(facts))
		finding->ceiling = CEILING_GUESS;
	else if (facts->held.count < 2)
		finding->ceiling = CEILING_INDIRECT;
	finding->margin = margin_above(ratio);
	finding->complete = 1;
	WHY(finding,
		"jemalloc keeps %s dirty, %u %% of anonymous memory, after %u s of idleness: %s",
		bytes_text(dirty, held), percent(share_of(dirty, facts->firm_bytes)),
		seconds(facts->idle_s),
		facts_decay_is_long(facts)       ? "its decay is off or long"
		: facts_no_purging_thread(facts) ? "idle threads do not purge, and no other does"
						 : "though it should have decayed");
	return true;
}

/* Of a jemalloc whose counters cannot be read: it never gave anything back. */
static bool jemalloc_never_purged(const struct facts *facts, struct finding *finding)
{
	char kept[16], given[16];
	uint64_t kept_bytes = known_or_0(facts->kept_bytes);

	if (!facts->main || facts->main->name != ALLOCATOR_JEMALLOC || facts->xray_jemalloc)
		return false;
	if (held_ratio(facts, kept_bytes) < 1 || !(facts->survival >= SURVIVED_MUCH) ||
		facts->idle_s < PURGE_IDLE_S)
		return false;
	if (facts->madvised_bytes > kept_bytes / 10 || !facts_no_purging_thread(facts))
		return false;
	/* What decay leaves behind is used again by the next requests; a leak is not. */
	if (trend_creeps(&facts->anon))
		return false;
	finding->cause = CAUSE_NO_BACKGROUND_THREAD;
	finding->ceiling = CEILING_GUESS;
	finding->margin = margin_above(held_ratio(facts, kept_bytes));
	finding->complete = 1;
	WHY(finding,
		"%s of requests stays after %u s of idleness, madvise gave back %s while "
		"watched, and no thread purges: jemalloc does not decay (or it is live memory)",
		bytes_text(kept_bytes, kept), seconds(facts->idle_s),
		bytes_text(facts->madvised_bytes, given));
	return true;
}

/*
 * Memory that goes back.
 */

static bool freed_lazily(const struct facts *facts, struct finding *finding)
{
	double share = share_of(facts->lazyfree_bytes, facts->anon_bytes) / HELD_SHARE;
	double ratio = fmin(share, share_of(facts->lazyfree_bytes, facts->material_bytes));
	char lazy[16], firm[16];

	if (ratio < 1)
		return false;
	finding->cause = CAUSE_LAZY_FREE;
	finding->ceiling = CEILING_KERNEL;
	finding->margin = margin_above(ratio);
	finding->complete = 1;
	WHY(finding,
		"%s of anonymous memory was given back lazily and is the kernel's to take: RSS "
		"overstates, %s is the process's own",
		bytes_text(facts->lazyfree_bytes, lazy), bytes_text(facts->firm_bytes, firm));
	return true;
}

static bool rss_fell(const struct facts *facts, struct finding *finding)
{
	uint64_t fallen = known_or_0(facts->fallen_bytes);
	double of_range = share_of(fallen, facts->range_bytes) / RETURNED_SHARE;
	double of_most = share_of(fallen, facts->history->rss_most_bytes) / FALLEN_SHARE;
	char fell[16], most[16], now[16];

	if (fallen < facts->material_bytes || of_range < 1 || of_most < 1)
		return false;
	finding->margin = margin_above(fmin(of_range, of_most));
	finding->ceiling = CEILING_KERNEL;
	WHY(finding, "RSS fell by %s while watched, from %s to %s", bytes_text(fallen, fell),
		bytes_text(facts->history->rss_most_bytes, most),
		bytes_text(facts->rss_bytes, now));
	return true;
}

/* jemalloc's decay, seen as it runs. */
static bool dirty_went(const struct facts *facts, struct finding *finding)
{
	uint64_t crest = facts->crest_bytes, gone;
	char before[16], now[16], given[16];

	if (!facts->xray_jemalloc || crest == REPORT_UNKNOWN || crest < facts->dirty_bytes)
		return false;
	gone = crest - facts->dirty_bytes;
	if (gone < facts->material_bytes || share_of(gone, crest) < RETURNED_SHARE ||
		facts->madvised_bytes == REPORT_UNKNOWN || facts->madvised_bytes < gone / 2)
		return false;
	finding->margin = margin_above(share_of(gone, crest) / RETURNED_SHARE);
	finding->ceiling = CEILING_KERNEL;
	WHY(finding, "jemalloc's dirty pages went from %s to %s, and madvise gave back %s",
		bytes_text(crest, before), bytes_text(facts->dirty_bytes, now),
		bytes_text(facts->madvised_bytes, given));
	return true;
}

static bool pages_went(const struct facts *facts, struct finding *finding)
{
	char touched[16];

	if (trend_growth(&facts->anon) >= 1 || !(facts->survival_high <= SURVIVED_LITTLE) ||
		facts->survival_bytes < facts->material_bytes)
		return false;
	/* What went may be the most of it, and the rest grow all the same. */
	if (known_or_0(facts->range_bytes) >= facts->material_bytes &&
		known_or_0(facts->fallen_bytes) < facts->range_bytes / 2)
		return false;
	finding->margin = margin_below(facts->survival / SURVIVED_LITTLE);
	finding->ceiling = CEILING_KERNEL;
	WHY(finding, "of %s that requests touched, %u %% was there %u s after the request",
		bytes_text(facts->survival_bytes, touched), percent(facts->survival),
		facts->survival_age_s);
	return true;
}

/* By the clearest sign of it. */
static bool goes_back(const struct facts *facts, struct finding *finding)
{
	static bool (*const signs[])(const struct facts *facts, struct finding *finding) = {
		rss_fell, dirty_went, pages_went};

	/* What an x-ray says of now outweighs what the kernel has seen. */
	if (facts->xray_glibc && held_ratio(facts, facts->held_bytes) >= 1)
		return false;
	for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
		struct finding sign = {.cause = CAUSE_NONE, .complete = 1};

		if (signs[i](facts, &sign) &&
			sign.ceiling * sign.margin > finding->ceiling * finding->margin)
			*finding = sign;
	}
	return finding->why[0];
}

/*
 * What the kernel alone says.
 */

static bool memory_grows(const struct facts *facts, struct finding *finding)
{
	double growth = trend_growth(&facts->anon);
	char grown[16];

	if (facts->xray_glibc || facts->xray_jemalloc || growth < 1 ||
		facts->observed_s < VERDICT_WATCHED_S || !(facts->survival >= SURVIVED_ALL) ||
		facts->anon.growth_bytes < (double)facts->material_bytes ||
		share_of(facts->returned_bytes, facts->asked_bytes) >= RETURNED_SHARE)
		return false;
	finding->cause = CAUSE_LIVE_MEMORY;
	finding->ceiling = CEILING_GUESS;
	finding->margin = margin_above(growth);
	finding->complete = 1;
	WHY(finding,
		"anonymous memory grew by %s over half the watch and went on, and "
		"%u %% of what requests touched stayed %u s; an allocator may do that too",
		bytes_text((uint64_t)facts->anon.growth_bytes, grown), percent(facts->survival),
		facts->survival_age_s);
	return true;
}

/* What a longer watch may show to be a leak. */
static bool memory_creeps(const struct facts *facts, struct finding *finding)
{
	bool has_xray = facts->xray_glibc || facts->xray_jemalloc;
	const struct trend *trend = has_xray ? &facts->live : &facts->anon;
	char grown[16];

	if (!trend_creeps(trend) || (!has_xray && facts->firm_bytes > SMALL_BYTES))
		return false;
	finding->cause = CAUSE_LIVE_MEMORY;
	WHY(finding,
		"wait: %s memory crept up by %s over the second half of the %s, which a longer "
		"watch judges",
		has_xray ? "live" : "anonymous", bytes_text((uint64_t)trend->growth_bytes, grown),
		trend->by_requests ? "requests" : "watch");
	return true;
}

/* jemalloc says that pages are in use, but not how much of them. */
static bool may_be_fragmented(const struct facts *facts, struct finding *finding)
{
	char active[16], kept[16];

	if (!facts->xray_jemalloc || facts->live_bytes != REPORT_UNKNOWN ||
		held_ratio(facts, facts->dirty_bytes) >= 1 ||
		held_ratio(facts, facts->kept_bytes) < 1 || !(facts->survival >= SURVIVED_HALF))
		return false;
	finding->cause = CAUSE_ACTIVE_FRAGMENTATION;
	WHY(finding,
		"requests left %s behind in jemalloc's active pages (%s): live memory or "
		"fragmentation, which only the program's own stats.allocated tells apart",
		bytes_text(facts->kept_bytes, kept), bytes_text(facts->active_bytes, active));
	return true;
}

static enum verdict_cause cause_of_steady(const struct facts *facts)
{
	const struct history *history = facts->history;
	uint64_t first = REPORT_UNKNOWN;

	for (unsigned i = 0; i < history->sample_count && first == REPORT_UNKNOWN; i++)
		first = history->samples[i].live_bytes;
	if (facts->live_bytes == REPORT_UNKNOWN || first == REPORT_UNKNOWN ||
		held_ratio(facts, facts->live_bytes) < 2 ||
		(double)first > CACHE_GREW * (double)facts->live_bytes)
		return CAUSE_NONE;
	return CAUSE_LIVE_MEMORY;
}

/* The greatest confidence in that little is held free. */
static double ceiling_of_steady(const struct facts *facts)
{
	if (facts->xray_glibc || (facts->xray_jemalloc && facts->live_bytes != REPORT_UNKNOWN))
		return CEILING_XRAY;
	return facts->firm_bytes <= SMALL_BYTES ? CEILING_INDIRECT : 0;
}

static bool is_steady(const struct facts *facts, struct finding *finding)
{
	double ratio = held_ratio(facts, facts->held_bytes);
	bool has_xray = facts->xray_glibc || facts->xray_jemalloc;
	char anon[16], least[16], held[16];

	finding->ceiling = ceiling_of_steady(facts);
	if (finding->ceiling <= 0 || !is_flat(facts) || ratio >= 1 ||
		(has_xray && facts->coverage < COVERED))
		return false;
	finding->cause = cause_of_steady(facts);
	finding->margin = margin_below(ratio);
	finding->complete = has_xray ? facts->walked * facts->coverage : 1;
	WHY(finding, "anonymous memory stayed between %s and %s over the second half of the watch",
		bytes_text(facts->anon.least_bytes, least),
		bytes_text(facts->anon.most_bytes, anon));
	if (has_xray)
		WHY(finding, ", and %s of it is held free", bytes_text(facts->held_bytes, held));
	return true;
}

/* Says little of memory: comes behind all that says more. */
static bool space_goes_back(const struct facts *facts, struct finding *finding)
{
	double returned = share_of(facts->returned_bytes, facts->asked_bytes);
	char asked[16], back[16];

	if (facts->xray_glibc || facts->xray_jemalloc || returned < RETURNED_SHARE ||
		!is_flat(facts) || known_or_0(facts->asked_bytes) < 4 * facts->material_bytes)
		return false;
	finding->margin = margin_above(returned / RETURNED_SHARE);
	finding->ceiling = CEILING_GUESS;
	finding->complete = 1;
	WHY(finding, "of %s asked of the kernel, %s was given back, and memory stayed as it was",
		bytes_text(facts->asked_bytes, asked), bytes_text(facts->returned_bytes, back));
	return true;
}

/*
 * None of them: what is missing.
 */

static bool is_open_by_xray(const struct facts *facts, struct finding *finding)
{
	char held[16], other[16];
	uint64_t other_bytes = (uint64_t)((1 - facts->coverage) * (double)facts->firm_bytes);

	if (facts->xray_glibc && held_ratio(facts, facts->held_bytes) >= 1 &&
		facts->held.count >= FLOOR_XRAYS)
		WHY(finding, "%s is held free now, and less was at other x-rays: watch longer",
			bytes_text(facts->held_bytes, held));
	else if (facts->xray_glibc && held_ratio(facts, facts->held_bytes) >= 1)
		WHY(finding,
			"wait: %s is held free now; whether it stays takes %u x-rays, or %u s of "
			"idleness",
			bytes_text(facts->held_bytes, held), FLOOR_XRAYS, (unsigned)IDLE_S);
	else if (facts->xray_jemalloc && held_ratio(facts, facts->dirty_bytes) >= 1)
		WHY(finding,
			"wait: %s is dirty now, which jemalloc works with under load; whether it "
			"stays takes %u s of idleness, so far %u",
			bytes_text(facts->dirty_bytes, held), seconds(purge_wait_s(facts)),
			seconds(facts->idle_s));
	else if (facts->coverage < COVERED && facts->walked < WALKED)
		WHY(finding,
			"wait: the heap moved so fast that much of it could not be walked; x-ray "
			"it again when there is less traffic");
	else if (facts->coverage < COVERED)
		WHY(finding,
			"%s of anonymous memory is outside the heap that was x-rayed: another "
			"allocator's, a runtime's, or the program's own mappings",
			bytes_text(other_bytes, other));
	else if (facts->xray_jemalloc && facts->live_bytes == REPORT_UNKNOWN && is_flat(facts))
		WHY(finding,
			"%s lies in jemalloc's active pages and stays: live memory or "
			"fragmentation, which only the program's own stats.allocated tells apart",
			bytes_text(facts->active_bytes, held));
	else
		WHY(finding,
			"memory moves, and no trend is beyond noise: watch longer, or until it is "
			"idle");
	return true;
}

static bool is_open(const struct facts *facts, struct finding *finding)
{
	static const enum allocator_name runtimes[] = {
		ALLOCATOR_GO, ALLOCATOR_JVM, ALLOCATOR_V8, ALLOCATOR_CPYTHON};

	finding->cause = CAUSE_NONE;
	for (size_t i = 0; i < sizeof(runtimes) / sizeof(runtimes[0]); i++)
		if (facts_has(facts, runtimes[i]) && facts->coverage < COVERED)
			finding->cause = CAUSE_RUNTIME_HEAP;
	if (facts->xray_glibc || facts->xray_jemalloc)
		return is_open_by_xray(facts, finding);
	if (!facts->process->heap)
		WHY(finding,
			"no x-ray: what of its memory is free is not known; run `pagestay diagnose "
			"%u`",
			(unsigned)facts->process->key.tgid);
	else if (facts->heap != facts->process->heap)
		WHY(finding,
			"the last x-ray is %u s old and says nothing of now; run `pagestay "
			"diagnose %u`",
			seconds(facts->process->heap_age_s), (unsigned)facts->process->key.tgid);
	else
		WHY(finding,
			"what of its memory is free cannot be read from outside (%s): the kernel "
			"saw neither growth that lasts nor pages that go back",
			allocator_names[facts->name]);
	return true;
}

/* In the order in which they are tried; the last one holds always. */
static const struct rule {
	enum verdict_code code;
	bool (*holds)(const struct facts *facts, struct finding *finding);
} rules[] = {
	{VERDICT_UNKNOWN, too_thin},
	{VERDICT_GROWING, live_grows},
	{VERDICT_RETAINING, huge_pages_refill},
	{VERDICT_RETAINING, glibc_holds},
	{VERDICT_RETAINING, jemalloc_is_fragmented},
	{VERDICT_RETAINING, jemalloc_holds},
	{VERDICT_RETURNING, freed_lazily},
	{VERDICT_RETURNING, goes_back},
	{VERDICT_RETAINING, jemalloc_never_purged},
	{VERDICT_GROWING, memory_grows},
	{VERDICT_UNKNOWN, may_be_fragmented},
	{VERDICT_UNKNOWN, memory_creeps},
	{VERDICT_STEADY, is_steady},
	{VERDICT_RETURNING, space_goes_back},
	{VERDICT_UNKNOWN, is_open},
};

static double confidence_of(const struct facts *facts, const struct finding *finding)
{
	double watched =
		(facts->observed_s - VERDICT_WATCH_S) / (VERDICT_WATCHED_S - VERDICT_WATCH_S);
	double time = 0.6 + 0.4 * clamped(watched);

	return clamped(
		finding->ceiling * clamped(finding->margin) * time * clamped(finding->complete));
}

void verdict_reach(const struct report_process *process, struct verdict *ret_verdict)
{
	struct verdict *verdict = ret_verdict;
	struct finding finding;
	struct facts facts;
	const struct rule *rule = rules;

	memset(verdict, 0, sizeof(*verdict));
	facts_of(process, &facts);
	memset(&finding, 0, sizeof(finding));
	while (!rule->holds(&facts, &finding)) {
		memset(&finding, 0, sizeof(finding));
		rule++;
	}
	verdict->code = rule->code;
	verdict->cause = finding.cause;
	verdict->confidence = confidence_of(&facts, &finding);
	memcpy(verdict->evidence[verdict->evidence_count++], finding.why, sizeof(finding.why));
	evidence_of(&facts, verdict);
	if (rule->holds != too_thin)
		remedies_of(&facts, verdict);
}
