/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns what a person sees of an x-ray: a line a subject, most useful first, nothing of what this
 * allocator does not have. Called by the command xray, and by the diagnosis for the heap's lines.
 */
#include "pagestay/sink/xray.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "heap_text.h"
#include "pagestay/base/cleanup.h"
#include "pagestay/base/text.h"
#include "pagestay/sink/sink.h"

static void put_head(const struct sink_text *text, FILE *page, const struct xray_shot *shot)
{
	char comm[4 * PS_COMM_BYTES], exe[4 * EVENT_EXE_BYTES];

	text_for_terminal(shot->process->comm, strlen(shot->process->comm), 32, comm, sizeof(comm));
	text_for_terminal(shot->process->exe, strlen(shot->process->exe), 256, exe, sizeof(exe));
	text_put_line(text, page, "pagestay xray of %" PRIu32 " %s  %s", shot->key.tgid, comm, exe);
}

static void put_memory(const struct sink_text *text, FILE *page, const struct xray_shot *shot)
{
	char rss[CELL_BYTES], anon[CELL_BYTES], huge[CELL_BYTES], lazy[CELL_BYTES],
		swap[CELL_BYTES], threads[CELL_BYTES];

	cell_bytes(shot->memory->rss_bytes, rss);
	cell_bytes(shot->memory->swap_bytes, swap);
	cell_bytes(shot->heap->anon_bytes, anon);
	cell_bytes(shot->heap->huge_bytes, huge);
	cell_bytes(shot->heap->lazyfree_bytes, lazy);
	cell_count(shot->heap->threads, threads);
	text_put_line(text, page,
		"memory      RSS %s: anonymous %s (huge %s, lazily freed %s); swap %s; threads %s",
		rss, anon, huge, lazy, swap, threads);
}

static void put_remarks(const struct sink_text *text, FILE *page, const struct xray_shot *shot)
{
	const struct xray_remarks *remarks = shot->remarks;
	char took[CELL_BYTES], read[CELL_BYTES];

	if (remarks->unread[0])
		text_put_words(text, page, "not read", remarks->unread);
	if (remarks->damage.address)
		text_put_line(text, page, "damaged     chunk 0x%" PRIx64 ": %s",
			remarks->damage.address, remarks->damage.text);
	cell_bytes(shot->heap->read_bytes, read);
	(void)snprintf(took, sizeof(took), "%.3f", (double)shot->heap->walk_ns / 1e9);
	text_put_line(
		text, page, "cost        %s s, %s of its memory read, none touched", took, read);
}

static int put(FILE *out, const struct sink_text *text, const struct xray_shot *shot)
{
	_cleanup_(cleanup_free) char *bytes = NULL;
	size_t length = 0;
	FILE *page = open_memstream(&bytes, &length);

	if (!page)
		return -ENOMEM;
	put_head(text, page, shot);
	text_put_allocators(text, page, shot->allocators);
	put_memory(text, page, shot);
	text_put_heap(text, page, shot->heap);
	put_remarks(text, page, shot);
	if (fclose(page))
		return -ENOMEM;
	return sink_put(out, bytes, length);
}

int xray_put_text(FILE *out, unsigned columns, const struct xray_shot *shot)
{
	const struct sink_text text = {.columns = text_columns(columns)};

	return put(out, &text, shot);
}
