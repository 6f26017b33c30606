/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the words for allocators and heaps: what is live, what is held free and where, what a trim
 * would return, what pins the rest. Pure text from values; called by the writers of x-rays and
 * diagnoses.
 */
#include "heap_text.h"

#include <inttypes.h>
#include <string.h>

#include "pagestay/base/text.h"

#define LABEL_COLUMNS   12
#define SETTING_COLUMNS 4
#define PINS_SHOWN      5

int text_columns(unsigned terminal)
{
	return terminal < MIN_COLUMNS   ? MIN_COLUMNS
	       : terminal > MAX_COLUMNS ? MAX_COLUMNS
					: (int)terminal;
}

/* `indent` columns, of which the label takes some in the first line. */
static void put_wrapped(
	const struct sink_text *text, FILE *page, int indent, const char *label, const char *words)
{
	int room = text->columns - indent;

	while (*words) {
		int length = (int)strlen(words);

		if (length > room) {
			length = room;
			while (length > 0 && words[length] != ' ')
				length--;
			length = length ? length : room;
		}
		text_put_line(text, page, "%-*s%.*s", indent, label, length, words);
		words += length;
		words += *words == ' ';
		label = "";
	}
}

void text_put_words(const struct sink_text *text, FILE *page, const char *label, const char *words)
{
	put_wrapped(text, page, LABEL_COLUMNS, label, words);
}

void text_put_setting(const struct sink_text *text, FILE *page, const char *setting)
{
	put_wrapped(text, page, SETTING_COLUMNS, "", setting);
}

static void put_allocator(const struct sink_text *text, FILE *page, const char *label,
	const struct allocator *allocator)
{
	char version[4 * ALLOCATOR_VERSION_BYTES], evidence[4 * ALLOCATOR_EVIDENCE_BYTES];
	char words[6 * ALLOCATOR_EVIDENCE_BYTES];

	text_for_terminal(allocator->version, strlen(allocator->version), ALLOCATOR_VERSION_BYTES,
		version, sizeof(version));
	text_for_terminal(allocator->evidence, strlen(allocator->evidence),
		(size_t)2 * ALLOCATOR_EVIDENCE_BYTES, evidence, sizeof(evidence));
	(void)snprintf(words, sizeof(words), "%s%s%s%s%s%s", allocator_names[allocator->name],
		version[0] ? " " : "", version, allocator->is_static ? ", static" : "",
		evidence[0] ? ": " : "", evidence);
	text_put_words(text, page, label, words);
}

void text_put_allocators(
	const struct sink_text *text, FILE *page, const struct allocators *allocators)
{
	char settings[4 * ALLOCATOR_SETTINGS_BYTES];

	for (unsigned i = 0; i < allocators->count; i++)
		put_allocator(text, page, i ? "and" : "allocator", &allocators->list[i]);
	text_for_terminal(allocators->settings, strlen(allocators->settings),
		(size_t)2 * ALLOCATOR_SETTINGS_BYTES, settings, sizeof(settings));
	if (settings[0])
		text_put_words(text, page, "settings", settings);
}

static void put_glibc_bytes(const struct sink_text *text, FILE *page, const struct heap *heap)
{
	char live[CELL_BYTES], cached[CELL_BYTES], held[CELL_BYTES], resident[CELL_BYTES],
		arenas[CELL_BYTES], segments[CELL_BYTES], mmapped[CELL_BYTES], top[CELL_BYTES],
		fast[CELL_BYTES];

	cell_bytes(heap->live_bytes, live);
	cell_bytes(heap->mmapped_bytes, mmapped);
	cell_bytes(heap->cached_bytes, cached);
	cell_bytes(heap->held_free_bytes, held);
	cell_bytes(heap->held_free_resident_bytes, resident);
	cell_bytes(heap->top_bytes, top);
	cell_bytes(heap->fastbin_bytes, fast);
	cell_count(heap->arenas, arenas);
	cell_count(heap->segments, segments);
	text_put_line(text, page,
		"heap        live %s (mmapped %s), cached %s, held free %s (resident %s)", live,
		mmapped, cached, held, resident);
	text_put_line(text, page,
		"            in %s arenas, %s segments; of held free in tops %s, fastbins %s",
		arenas, segments, top, fast);
}

static void put_trim(const struct sink_text *text, FILE *page, const struct heap *heap)
{
	char trim[CELL_BYTES], top[CELL_BYTES], pinned[CELL_BYTES];

	cell_bytes(heap->trimmable_bytes, trim);
	cell_bytes(heap->trimmable_top_bytes, top);
	cell_bytes(heap->page_pinned_bytes, pinned);
	text_put_line(text, page,
		"trim        malloc_trim(0) would return %s, of it %s from the main top", trim,
		top);
	text_put_line(text, page, "            and leave %s that is free on pages with live data",
		pinned);
}

static void put_thresholds(const struct sink_text *text, FILE *page, const struct heap *heap)
{
	char trim[CELL_BYTES], mmap_bytes[CELL_BYTES], pad[CELL_BYTES];

	if (heap->trim_threshold_bytes == HEAP_UNKNOWN)
		return;
	cell_bytes(heap->trim_threshold_bytes, trim);
	cell_bytes(heap->mmap_threshold_bytes, mmap_bytes);
	cell_bytes(heap->top_pad_bytes, pad);
	text_put_line(text, page, "thresholds  trim %s, mmap %s, top pad %s: %s", trim, mmap_bytes,
		pad, heap->thresholds_dynamic == 0 ? "fixed by a setting" : "over 128K: raised");
}

static void put_pins(const struct sink_text *text, FILE *page, const struct heap *heap)
{
	for (unsigned i = 0; i < heap->pin_count && i < PINS_SHOWN; i++) {
		const struct heap_pin *pin = &heap->pins[i];
		char size[CELL_BYTES], below[CELL_BYTES];

		cell_bytes(pin->size_bytes, size);
		cell_bytes(pin->below_bytes, below);
		text_put_line(text, page, "%-12s0x%012" PRIx64 " %5s (%s) keeps %s free below it",
			i ? "" : "pins", pin->address, size, heap_owner_names[pin->owner], below);
	}
}

static void put_unpins(const struct sink_text *text, FILE *page, const struct heap *heap)
{
	char words[256] = "";
	size_t length = 0;

	for (int i = 0; i < HEAP_UNPINS; i++) {
		char bytes[CELL_BYTES];

		if (heap->unpin_bytes[i] == HEAP_UNKNOWN)
			return;
		cell_bytes(heap->unpin_bytes[i], bytes);
		length += snprintf(words + length, sizeof(words) - length, "%s%u: %s",
			i ? ", " : "", heap_unpin_chunks[i], bytes);
	}
	text_put_line(text, page, "%-12s%s", "unpin", words);
	text_put_line(text, page,
		"            (what goes back by itself if so many topmost chunks are freed)");
}

static void put_lost(const struct sink_text *text, FILE *page, const struct heap *heap)
{
	char bytes[CELL_BYTES];

	if (heap->lost_segments == 0 || heap->lost_segments == HEAP_UNKNOWN)
		return;
	cell_bytes(heap->lost_bytes, bytes);
	text_put_line(text, page,
		"lost        %" PRIu64 " segments were not walked to their end: %s is in no number",
		heap->lost_segments, bytes);
}

static void put_glibc(const struct sink_text *text, FILE *page, const struct heap *heap)
{
	put_glibc_bytes(text, page, heap);
	put_trim(text, page, heap);
	put_thresholds(text, page, heap);
	put_pins(text, page, heap);
	put_unpins(text, page, heap);
	put_lost(text, page, heap);
}

static void decay_words(uint64_t milliseconds, char out[32])
{
	if (milliseconds == HEAP_UNKNOWN)
		(void)snprintf(out, 32, "-");
	else if (milliseconds == HEAP_DECAY_NEVER)
		(void)snprintf(out, 32, "never");
	else
		(void)snprintf(out, 32, "%g s", (double)milliseconds / 1000);
}

static void put_jemalloc(const struct sink_text *text, FILE *page, const struct heap *heap)
{
	char active[CELL_BYTES], dirty[CELL_BYTES], muzzy[CELL_BYTES], dirty_decay[32],
		muzzy_decay[32];

	cell_bytes(heap->active_bytes, active);
	cell_bytes(heap->dirty_bytes, dirty);
	cell_bytes(heap->muzzy_bytes, muzzy);
	decay_words(heap->dirty_decay_ms, dirty_decay);
	decay_words(heap->muzzy_decay_ms, muzzy_decay);
	text_put_line(text, page,
		"jemalloc    active %s, dirty %s, muzzy %s (pages; dirty is freed and kept)",
		active, dirty, muzzy);
	text_put_line(text, page,
		"            decay dirty %s, muzzy %s; background thread %s, threads %" PRIu64,
		dirty_decay, muzzy_decay,
		heap->background_thread == HEAP_UNKNOWN ? "-"
		: heap->background_thread               ? "on"
							: "off",
		heap->purging_threads == HEAP_UNKNOWN ? 0 : heap->purging_threads);
}

void text_put_heap(const struct sink_text *text, FILE *page, const struct heap *heap)
{
	if (heap->system_bytes != HEAP_UNKNOWN)
		put_glibc(text, page, heap);
	if (heap->active_bytes != HEAP_UNKNOWN)
		put_jemalloc(text, page, heap);
}
