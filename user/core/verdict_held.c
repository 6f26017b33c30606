/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Rules of verdicts: free memory that stays, on glibc and on jemalloc. Owns nothing; verdict.c
 * calls it.
 */
#include "verdict_rules.h"

#define PURGE_IDLE_S  15.0 /* jemalloc's decay by default, and half of it for late purges */
#define PURGE_SLACK_S 5.0
#define FALLING       0.7 /* of what there was: what is less now is on its way back */

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

bool glibc_holds(const struct facts *facts, struct finding *finding)
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
bool huge_pages_refill(const struct facts *facts, struct finding *finding)
{
	uint64_t held = facts->xray_jemalloc ? facts->excess_bytes : facts->floor_bytes;
	double ratio = held_ratio(facts, held);
	char refilled[16], huge[16], returned[16];

	if ((!facts->xray_glibc && !facts->xray_jemalloc) || ratio < 1)
		return false;
	if (!facts_mostly_huge(facts) || facts->heap->huge_mode == HEAP_HUGE_NEVER ||
		facts->madvised_bytes == REPORT_UNKNOWN ||
		share_of(facts->madvised_bytes, held) < RETURNED_SHARE)
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

bool jemalloc_is_fragmented(const struct facts *facts, struct finding *finding)
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

double purge_wait_s(const struct facts *facts)
{
	uint64_t decay_ms = facts->heap->dirty_decay_ms;

	if (decay_ms == HEAP_UNKNOWN || facts_decay_is_long(facts))
		return PURGE_IDLE_S;
	return fmax(PURGE_IDLE_S, (double)decay_ms / 1000 + PURGE_SLACK_S);
}

bool jemalloc_holds(const struct facts *facts, struct finding *finding)
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

/* Of a jemalloc whose counters cannot be read: it gave nothing back. So does a cache. */
bool jemalloc_never_purged(const struct facts *facts, struct finding *finding)
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
	WHY(finding,
		"%s of requests stays after %u s of idleness, madvise gave back %s while "
		"watched, and no thread purges: jemalloc does not decay, or it is live memory",
		bytes_text(kept_bytes, kept), seconds(facts->idle_s),
		bytes_text(facts->madvised_bytes, given));
	return true;
}
