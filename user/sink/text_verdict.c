/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the lines of the text report that say why: what an x-ray found, and the verdict where there
 * is one that asks for something. Called by the text sink only.
 */
#include "text_sink.h"

#include <string.h>

#include "pagestay/base/text.h"
#include "pagestay/core/verdict.h"

static void put_glibc(const struct sink_text *text, FILE *page, const struct heap *heap)
{
	char live[CELL_BYTES], held[CELL_BYTES], arenas[CELL_BYTES], trim[CELL_BYTES];

	cell_bytes(heap->live_bytes, live);
	cell_bytes(heap->held_free_bytes, held);
	cell_count(heap->arenas, arenas);
	cell_bytes(heap->trimmable_bytes, trim);
	text_put_line(text, page, "%*sheap: live %s, held free %s in %s arenas; a trim returns %s",
		NAME_INDENT_COLUMNS, "", live, held, arenas, trim);
}

static void put_jemalloc(const struct sink_text *text, FILE *page, const struct heap *heap)
{
	char active[CELL_BYTES], dirty[CELL_BYTES], muzzy[CELL_BYTES];

	cell_bytes(heap->active_bytes, active);
	cell_bytes(heap->dirty_bytes, dirty);
	cell_bytes(heap->muzzy_bytes, muzzy);
	text_put_line(text, page, "%*sheap: active %s, freed and kept %s, lazily returned %s",
		NAME_INDENT_COLUMNS, "", active, dirty, muzzy);
}

static void put_heap(const struct sink_text *text, FILE *page, const struct heap *heap)
{
	if (heap->system_bytes != HEAP_UNKNOWN)
		put_glibc(text, page, heap);
	if (heap->active_bytes != HEAP_UNKNOWN)
		put_jemalloc(text, page, heap);
}

void text_put_verdict(
	const struct sink_text *text, FILE *page, const struct report_process *process)
{
	struct verdict verdict;
	char share[CELL_BYTES];

	if (process->heap)
		put_heap(text, page, process->heap);
	verdict_reach(process, &verdict);
	if (verdict.code != VERDICT_RETAINING && verdict.code != VERDICT_GROWING)
		return;
	cell_share(verdict.confidence, share);
	text_put_line(text, page, "%*s%s: %s (%s sure); `pagestay diagnose %u` tells what helps",
		NAME_INDENT_COLUMNS, "", verdict_code_names[verdict.code],
		verdict_cause_names[verdict.cause], share, process->key.tgid);
}
