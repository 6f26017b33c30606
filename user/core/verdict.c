/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reaches a verdict: owns the order of the rules, and most of them. A rule looks at facts, says
 * whether it holds, and if so why, of what cause and how sure. Called by whoever shows a report;
 * keeps nothing.
 */
#include "pagestay/core/verdict.h"

#include <string.h>

#include "verdict_rules.h"

#define COLLAPSED 10 /* times less memory than an interval before */

#define FALLEN_SHARE 0.25       /* of the greatest RSS: caches and pools come and go by less */
#define SMALL_BYTES  (16 * MIB) /* of memory without an x-ray: little can hide in it */
#define WALKED       0.9        /* of the heap: what was lost to the walk explains little */
#define COVERED      0.5        /* of firm memory: an x-ray of less says nothing of the whole */

/* An allocator's growth levels off, at arenas x their peaks; only time tells it from a leak. */
#define LEVEL_S 300.0

#define CACHE_GREW 0.8 /* of live memory now: so little there was when the watch began */

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

/* Something was returned, and something else grows. */
static bool rises_again(const struct facts *facts)
{
	uint64_t risen = known_or_0(facts->risen_bytes);

	return risen > FLAT_BYTES && risen > known_or_0(facts->fallen_bytes) / 4;
}

static bool rss_fell(const struct facts *facts, struct finding *finding)
{
	uint64_t fallen = known_or_0(facts->fallen_bytes);
	double of_range = share_of(fallen, facts->range_bytes) / RETURNED_SHARE;
	double of_most = share_of(fallen, facts->history->rss_most_bytes) / FALLEN_SHARE;
	char fell[16], most[16], now[16];

	if (fallen < facts->material_bytes || of_range < 1 || of_most < 1 || rises_again(facts))
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

/* Memory that comes in waves was as low lately as before, wherever the watch happens to end. */
static bool falls_as_low(const struct facts *facts)
{
	uint64_t before = facts->anon.before_bytes, least = facts->anon.least_bytes;

	return before != REPORT_UNKNOWN && least != REPORT_UNKNOWN &&
	       (least <= before || least - before <= facts->material_bytes / 4);
}

static bool pages_went(const struct facts *facts, struct finding *finding)
{
	char touched[16];

	if (trend_growth(&facts->anon) >= 1 || !(facts->survival_high <= SURVIVED_LITTLE) ||
		facts->survival_bytes < facts->material_bytes)
		return false;
	/* What went may be the most of it, and the rest grow all the same. */
	if (known_or_0(facts->range_bytes) >= facts->material_bytes &&
		known_or_0(facts->fallen_bytes) < facts->range_bytes / 2 && !falls_as_low(facts))
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
		facts->observed_s < LEVEL_S || !(facts->survival >= SURVIVED_ALL) ||
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

/* An x-ray would say more than the kernel does. */
static bool is_to_be_xrayed(const struct facts *facts)
{
	return facts->heap != facts->process->heap && facts->firm_bytes > SMALL_BYTES;
}

/* What a longer watch may show to be a leak. */
static bool memory_creeps(const struct facts *facts, struct finding *finding)
{
	bool has_xray = facts->xray_glibc || facts->xray_jemalloc;
	const struct trend *trend = has_xray ? &facts->live : &facts->anon;
	char grown[16];

	if (!trend_creeps(trend) || (!has_xray && is_to_be_xrayed(facts)))
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
	{VERDICT_UNKNOWN, jemalloc_never_purged},
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
