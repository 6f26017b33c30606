/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Puts the facts that a verdict rests on into lines. Owns nothing; verdict.c calls it. Each line is
 * of one subject and is left out where nothing is known of it.
 */
#include "verdict_facts.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "pagestay/base/line.h"
#include "pagestay/base/text.h"

static unsigned whole(double value)
{
	return value > 0 ? (value < 1e9 ? (unsigned)(value + 0.5) : 1000000000) : 0;
}

static const char *count_text(uint64_t count, char out[16])
{
	if (count == REPORT_UNKNOWN)
		return "an unknown number of";
	text_count(count, out);
	return out;
}

static void memory_line(const struct facts *facts, char *line)
{
	char rss[16], anon[16], requests[16];

	line_add(line, VERDICT_LINE_BYTES, "RSS %s, anonymous %s; watched %u s",
		bytes_text(facts->rss_bytes, rss), bytes_text(facts->anon_bytes, anon),
		whole(facts->observed_s));
	if (facts->requests != REPORT_UNKNOWN)
		line_add(line, VERDICT_LINE_BYTES, ", %s requests",
			count_text(facts->requests, requests));
	if (facts->idle_s >= 1)
		line_add(
			line, VERDICT_LINE_BYTES, ", idle for the last %u s", whole(facts->idle_s));
}

/* Which allocators there are, and how much of the memory the x-ray speaks of. */
static void allocator_line(const struct facts *facts, char *line)
{
	const struct allocators *allocators = facts->process->allocators;
	bool has_xray = facts->xray_glibc || facts->xray_jemalloc;
	char version[ALLOCATOR_VERSION_BYTES];

	if (!facts->main)
		return;
	text_for_terminal(facts->main->version,
		strnlen(facts->main->version, sizeof(facts->main->version)), sizeof(version) - 1,
		version, sizeof(version));
	line_add(line, VERDICT_LINE_BYTES, "malloc is %s%s%s%s", allocator_names[facts->main->name],
		*version ? " " : "", version, facts->main->is_static ? ", linked statically" : "");
	for (unsigned i = 1; i < allocators->count && i < ALLOCATORS; i++) {
		enum allocator_name name = allocators->list[i].name;

		if (name > ALLOCATOR_UNKNOWN && name < ALLOCATOR_NAMES)
			line_add(line, VERDICT_LINE_BYTES, "%s %s", i == 1 ? "; also" : ",",
				allocator_names[name]);
	}
	if (has_xray)
		line_add(line, VERDICT_LINE_BYTES,
			"; the x-ray (%s) accounts for %u %% of anonymous memory",
			allocator_names[facts->name], whole(100 * facts->coverage));
	if (has_xray && facts->process->heap_age_s >= 1)
		line_add(line, VERDICT_LINE_BYTES, ", %u s ago", whole(facts->process->heap_age_s));
}

static void glibc_line(const struct facts *facts, char *line)
{
	char live[16], held[16], cached[16], arenas[16], lost[16];

	if (!facts->xray_glibc)
		return;
	line_add(line, VERDICT_LINE_BYTES, "glibc heap, %s arenas: live %s, free and resident %s",
		count_text(facts->heap->arenas, arenas), bytes_text(facts->live_bytes, live),
		bytes_text(facts->held_bytes, held));
	if (facts->cached_bytes != REPORT_UNKNOWN)
		line_add(line, VERDICT_LINE_BYTES, ", %s in tcaches",
			bytes_text(facts->cached_bytes, cached));
	if (facts->heap->lost_segments && facts->heap->lost_segments != HEAP_UNKNOWN)
		line_add(line, VERDICT_LINE_BYTES, "; %s segments could not be walked to their end",
			count_text(facts->heap->lost_segments, lost));
}

static void held_line(const struct facts *facts, char *line)
{
	char trim[16], tops[16], pinned[16];

	if (!facts->xray_glibc || facts->held_bytes < MIB)
		return;
	line_add(line, VERDICT_LINE_BYTES,
		"of the free: malloc_trim(0) would return %s between "
		"live chunks; %s lies at tops, %s on pages with live data",
		bytes_text(facts->interior_bytes, trim), bytes_text(facts->tops_bytes, tops),
		bytes_text(facts->pinned_bytes, pinned));
}

#define UNPIN_INDEX 3 /* of heap_unpin_chunks: 64 */

/* Whose the chunks are that keep free memory from going back by itself. */
static void pins_line(const struct facts *facts, char *line)
{
	const struct heap *heap = facts->heap;
	uint64_t owners[HEAP_OWNERS] = {}, unpinned = heap->unpin_bytes[UNPIN_INDEX];
	bool is_first = true;
	char back[16];

	if (!facts->xray_glibc || facts->held_bytes < facts->material_bytes || !heap->pin_count)
		return;
	for (unsigned i = 0; i < heap->pin_count && i < HEAP_PINS; i++)
		if ((unsigned)heap->pins[i].owner < HEAP_OWNERS)
			owners[heap->pins[i].owner]++;
	line_add(line, VERDICT_LINE_BYTES, "the greatest pins are");
	for (int i = 0; i < HEAP_OWNERS; i++) {
		if (!owners[i])
			continue;
		line_add(line, VERDICT_LINE_BYTES, "%s %" PRIu64 " of %s", is_first ? "" : ",",
			owners[i], heap_owner_names[i]);
		is_first = false;
	}
	if (unpinned != HEAP_UNKNOWN)
		line_add(line, VERDICT_LINE_BYTES,
			"; freeing the %u topmost live chunks of each segment would return %s",
			heap_unpin_chunks[UNPIN_INDEX], bytes_text(unpinned, back));
}

static void thresholds_line(const struct facts *facts, char *line)
{
	char trim[16], blocks[16];

	if (facts->xray_glibc && facts_ratcheted(facts))
		line_add(line, VERDICT_LINE_BYTES,
			"glibc's thresholds have risen from 128K: mmap at %s, trim at %s",
			bytes_text(facts->heap->mmap_threshold_bytes, blocks),
			bytes_text(facts->heap->trim_threshold_bytes, trim));
}

static void jemalloc_line(const struct facts *facts, char *line)
{
	char active[16], dirty[16], muzzy[16];
	uint64_t decay_ms = facts->heap->dirty_decay_ms;

	if (!facts->xray_jemalloc)
		return;
	line_add(line, VERDICT_LINE_BYTES, "jemalloc: active %s, dirty %s, muzzy %s",
		bytes_text(facts->active_bytes, active), bytes_text(facts->dirty_bytes, dirty),
		bytes_text(facts->muzzy_bytes, muzzy));
	if (decay_ms == HEAP_DECAY_NEVER)
		line_add(line, VERDICT_LINE_BYTES, "; decay off");
	else if (decay_ms != HEAP_UNKNOWN)
		line_add(line, VERDICT_LINE_BYTES, "; decay %" PRIu64 " ms", decay_ms);
	line_add(line, VERDICT_LINE_BYTES, ", %s",
		facts_no_purging_thread(facts) ? "no background thread" : "background thread");
}

/* Did decay run? By what the kernel saw, and by what is still dirty. */
static void decay_line(const struct facts *facts, char *line)
{
	bool is_jemalloc =
		facts->xray_jemalloc || (facts->main && facts->main->name == ALLOCATOR_JEMALLOC);
	char calls[16], given[16], dirty[16];

	if (!is_jemalloc || facts->madvised_bytes == REPORT_UNKNOWN ||
		facts->madvise_calls == REPORT_UNKNOWN)
		return;
	if (facts->madvised_bytes >= MIB)
		line_add(line, VERDICT_LINE_BYTES,
			"decay ran: %s madvise calls gave back %s while "
			"watched",
			count_text(facts->madvise_calls, calls),
			bytes_text(facts->madvised_bytes, given));
	else if (facts->xray_jemalloc && facts->dirty_bytes < MIB)
		line_add(line, VERDICT_LINE_BYTES,
			"decay had nothing to do while watched: %s is dirty",
			bytes_text(facts->dirty_bytes, dirty));
	else
		line_add(line, VERDICT_LINE_BYTES,
			"decay did not run while watched: %s madvise calls "
			"gave back %s",
			count_text(facts->madvise_calls, calls),
			bytes_text(facts->madvised_bytes, given));
	if (facts->fragment_bytes != REPORT_UNKNOWN)
		line_add(line, VERDICT_LINE_BYTES, "; fragmentation pins %s",
			bytes_text(facts->fragment_bytes, dirty));
	else if (facts->xray_jemalloc)
		line_add(line, VERDICT_LINE_BYTES,
			"; how much of the active pages fragmentation pins "
			"cannot be read");
}

static void huge_line(const struct facts *facts, char *line)
{
	static const char *const modes[] = {
		[HEAP_HUGE_UNKNOWN] = "unknown",
		[HEAP_HUGE_NEVER] = "never",
		[HEAP_HUGE_MADVISE] = "madvise",
		[HEAP_HUGE_ALWAYS] = "always",
	};
	unsigned mode = (unsigned)facts->heap->huge_mode;
	char huge[16], excess[16];

	if (facts->huge_bytes == REPORT_UNKNOWN ||
		(!facts->xray_jemalloc && !facts_mostly_huge(facts)))
		return;
	line_add(line, VERDICT_LINE_BYTES, "huge pages hold %s (mode %s)",
		bytes_text(facts->huge_bytes, huge),
		mode < sizeof(modes) / sizeof(modes[0]) ? modes[mode] : "unknown");
	if (facts->xray_jemalloc)
		line_add(line, VERDICT_LINE_BYTES,
			"; resident beyond what jemalloc counts, what they may have refilled: %s",
			bytes_text(facts->excess_bytes, excess));
}

static void ledger_line(const struct facts *facts, char *line)
{
	char asked[16], returned[16], calls[16], lazy[16];

	if (facts->asked_bytes == REPORT_UNKNOWN || facts->returned_bytes == REPORT_UNKNOWN)
		return;
	line_add(line, VERDICT_LINE_BYTES,
		"asked the kernel for %s and gave back %s of address space, %s madvise calls",
		bytes_text(facts->asked_bytes, asked), bytes_text(facts->returned_bytes, returned),
		count_text(facts->madvise_calls, calls));
	if (known_or_0(facts->lazyfree_bytes) >= MIB)
		line_add(line, VERDICT_LINE_BYTES, "; %s lazily freed and still counted in RSS",
			bytes_text(facts->lazyfree_bytes, lazy));
}

static void survival_line(const struct facts *facts, char *line)
{
	char kept[16];

	if (isnan(facts->survival))
		return;
	line_add(line, VERDICT_LINE_BYTES,
		"of the pages that requests touched %u %% (%u to %u) were there %u s after the "
		"request",
		whole(100 * facts->survival), whole(100 * facts->survival_low),
		whole(100 * facts->survival_high), facts->survival_age_s);
	if (facts->kept_bytes != REPORT_UNKNOWN)
		line_add(line, VERDICT_LINE_BYTES, "; %s is kept now",
			bytes_text(facts->kept_bytes, kept));
}

/* In the order of what a reader wants first; what is beyond the room is left out. */
static void (*const lines[])(const struct facts *facts, char *line) = {
	memory_line,
	allocator_line,
	glibc_line,
	held_line,
	thresholds_line,
	pins_line,
	jemalloc_line,
	decay_line,
	huge_line,
	survival_line,
	ledger_line,
};

void evidence_of(const struct facts *facts, struct verdict *verdict)
{
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char *line;

		if (verdict->evidence_count == VERDICT_LINES)
			return;
		line = verdict->evidence[verdict->evidence_count];
		lines[i](facts, line);
		if (*line)
			verdict->evidence_count++;
	}
}
