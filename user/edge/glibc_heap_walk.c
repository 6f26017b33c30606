/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Goes through a segment from chunk to chunk and adds up. A cursor holds all that the chunks so far
 * came to, so that going back to an earlier chunk is taking an earlier cursor: that is what happens
 * when a chunk is no chunk, because the process changed it between two looks. What is still none
 * after some time is damage, and the rest of the segment is lost. Called by the walk through a
 * heap.
 */
#include "glibc_heap_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "pagestay/base/clock.h"

#define RETRIES       12u           /* at one place */
#define RETREATS_MAX  4096u         /* in one segment */
#define PAUSE_NS      20000u        /* before the first retry; twice as long before each next */
#define PAUSE_MAX_NS  2000000u      /* longer than a thread that was interrupted is usually away */
#define GAP_BYTES_MAX (64ull << 20) /* of somebody else's memory within the main arena */
#define GAP_CHUNKS    64u           /* that follow each other make a beginning */
#define GONE_LITTLE   100u          /* of what was added up, so much and no more: the 100th */
#define TERMINAL_MAX  48u           /* of an old heap's end, that is no chunk */

/* What the chunks below `at` came to. */
struct cursor {
	uint64_t at;
	uint64_t used_bytes, free_bytes, fast_bytes;
	uint64_t free_resident_bytes;
	uint64_t trimmable_pages;

	/* The free chunks right below, which a trim makes one. */
	uint64_t run_from; /* 0: none */
	uint64_t run_to;   /* up to where its pages are counted */
	uint64_t run_pages;

	uint64_t pages_to; /* up to where all pages are counted */
	uint64_t pages;
	uint64_t live_count;
	uint64_t live, live_bytes, live_below_bytes; /* the last one in use; 0: none */
	bool live_is_fast;
	size_t fast_index; /* of the next in walk->fast */
	size_t tcache_count;
};

struct pass {
	struct walk *walk;
	struct segment *segment;
	uint64_t fills;
	uint64_t stuck_at;
	unsigned retreats;
	size_t tcaches_before;
	struct glibc_heap_damage damage;
	struct cursor now, last, before; /* where the window began, and the one before */
};

/* What a look at a chunk ends with, besides 0 and errors. */
enum { ENDED = 1, TORN = 2 };

__attribute__((format(printf, 2, 3))) static int torn(struct pass *pass, const char *format, ...)
{
	va_list arguments;

	pass->damage.address = pass->now.at;
	va_start(arguments, format);
	(void)vsnprintf(pass->damage.text, sizeof(pass->damage.text), format, arguments);
	va_end(arguments);
	return TORN;
}

/* A header that is not there is as bad as one that makes no sense. */
static int view_header(struct pass *pass, uint64_t chunk, uint64_t *ret_before, uint64_t *ret_size)
{
	const uint64_t *header;
	const void *view;
	int error = memory_view(&pass->walk->memory, chunk, CHUNK_HEADER, pass->segment->to, &view);

	if (error == -ENODATA)
		return torn(pass, "the page of the header at 0x%" PRIx64 " is not present", chunk);
	if (error == -EFAULT)
		return torn(pass, "there is no memory at 0x%" PRIx64, chunk);
	if (error)
		return error;
	header = view;
	*ret_before = header[0];
	*ret_size = header[1];
	return 0;
}

/*
 * Adding up.
 */

static void count_pages(struct pass *pass, uint64_t to)
{
	struct cursor *now = &pass->now;
	const uint64_t end = align_up(to, pass->walk->memory.page_bytes);

	if (end <= now->pages_to)
		return;
	now->pages += memory_resident_pages(&pass->walk->memory, now->pages_to, end);
	now->pages_to = end;
}

static void extend_run(struct pass *pass, uint64_t to)
{
	struct cursor *now = &pass->now;
	const uint64_t page_bytes = pass->walk->memory.page_bytes;

	if (!now->run_from) {
		now->run_from = now->at;
		now->run_to = align_up(now->at + CHUNK_FIELDS, page_bytes);
		now->run_pages = 0;
	}
	if (align_down(to, page_bytes) <= now->run_to)
		return;
	now->run_pages += memory_resident_pages(&pass->walk->memory, now->run_to, to);
	now->run_to = align_down(to, page_bytes);
}

static void end_run(struct cursor *now)
{
	now->trimmable_pages += now->run_from ? now->run_pages : 0;
	now->run_from = 0;
}

static void add_free(struct pass *pass, uint64_t to)
{
	pass->now.free_resident_bytes +=
		memory_resident_bytes(&pass->walk->memory, pass->now.at, to);
	extend_run(pass, to);
}

static bool is_fast(struct pass *pass)
{
	const struct walk *walk = pass->walk;
	size_t *index = &pass->now.fast_index;

	while (*index < walk->fast_count && walk->fast[*index] < pass->now.at)
		(*index)++;
	return *index < walk->fast_count && walk->fast[*index] == pass->now.at;
}

/* In use as far as its neighbours can see; it may lie in a fastbin. */
static void add_used(struct pass *pass, uint64_t bytes)
{
	struct cursor *now = &pass->now;
	const uint64_t to = now->at + bytes;
	struct topmost *topmost = &pass->walk->topmost[now->live_count % TOPMOST_ROOM];

	now->live_is_fast = is_fast(pass);
	now->live = now->at;
	now->live_bytes = bytes;
	now->live_below_bytes = now->free_resident_bytes;
	count_pages(pass, to);
	*topmost = (struct topmost){.end = to, .pages_below = now->pages};
	now->live_count++;
	if (now->live_is_fast) {
		now->fast_bytes += bytes;
		add_free(pass, to);
	} else {
		now->used_bytes += bytes;
		end_run(now);
	}
}

/* What is no chunk: headers, ends, and gaps. */
static void add_overhead(struct pass *pass, uint64_t to)
{
	end_run(&pass->now);
	pass->now.used_bytes += to - pass->now.at;
	pass->now.at = to;
}

/*
 * Ends.
 */

/* In the main arena a trim gives back what of the top it can; free memory below belongs to it. */
static void end_at_top(struct pass *pass)
{
	struct memory *memory = &pass->walk->memory;
	struct segment *segment = pass->segment;
	struct cursor *now = &pass->now;
	const uint64_t from = now->run_from ? now->run_from : now->at;
	const uint64_t to = segment->to > now->at ? segment->to : now->at;
	const struct target_map *map;
	uint64_t spare;

	segment->top_bytes = to - now->at;
	segment->top_resident_bytes =
		memory_resident_pages(memory, now->at, to) * memory->page_bytes;
	now->free_bytes += segment->top_bytes;
	now->free_resident_bytes += memory_resident_bytes(memory, now->at, to);
	now->run_from = 0;
	now->at = to;
	map = target_map_at(memory->target, to - 1);
	segment->is_at_break =
		segment->is_main && map && map->to == to && strcmp(map->path, "[heap]") == 0;
	if (!segment->is_at_break || to - from <= CHUNK_MIN + 1)
		return;
	spare = align_down(to - from - CHUNK_MIN - 1, segment->page_bytes);
	segment->trimmable_top_pages = memory_resident_pages(memory, to - spare, to);
	now->trimmable_pages += segment->trimmable_top_pages;
}

/* As it would be with the topmost live chunks freed: below them lies the end of another, or none.
 */
static void think_away(struct pass *pass)
{
	const struct segment *segment = pass->segment;
	const uint64_t page_bytes = pass->walk->memory.page_bytes;
	const struct cursor *now = &pass->now;
	const uint64_t pages_before = memory_resident_pages(&pass->walk->memory,
		align_down(segment->from, page_bytes), align_up(segment->first, page_bytes));

	for (unsigned i = 0; i < HEAP_UNPINS; i++) {
		struct unpinned *unpinned = &pass->segment->unpinned[i];
		const uint64_t below = now->live_count - heap_unpin_chunks[i] - 1;

		*unpinned = (struct unpinned){
			.boundary = segment->first, .pages_above = now->pages - pages_before};
		if (now->live_count > heap_unpin_chunks[i]) {
			const struct topmost *topmost = &pass->walk->topmost[below % TOPMOST_ROOM];

			unpinned->boundary = topmost->end;
			unpinned->pages_above = now->pages - topmost->pages_below;
		}
	}
}

static void hand_over(struct pass *pass)
{
	struct segment *segment = pass->segment;
	const struct cursor *now = &pass->now;

	segment->used_bytes = now->used_bytes;
	segment->free_bytes = now->free_bytes + now->fast_bytes;
	segment->fast_bytes = now->fast_bytes;
	segment->free_resident_bytes = now->free_resident_bytes;
	segment->trimmable_pages = now->trimmable_pages;
	segment->resident_pages = now->pages;
	if (now->live)
		segment->pin = (struct heap_pin){.address = now->live + CHUNK_HEADER,
			.size_bytes = now->live_bytes,
			.segment = segment->from,
			.below_bytes = now->live_below_bytes,
			.owner = now->live_is_fast ? HEAP_OWNER_FASTBIN : HEAP_OWNER_APPLICATION};
}

/* After the last chunk. */
static void finish(struct pass *pass)
{
	if (pass->segment->top && pass->now.at >= pass->segment->top)
		end_at_top(pass);
	else if (pass->segment->to > pass->now.at)
		add_overhead(pass, pass->segment->to);
	end_run(&pass->now);
	count_pages(pass, pass->segment->to);
	think_away(pass);
	hand_over(pass);
}

static void lose(struct pass *pass)
{
	struct segment *segment = pass->segment;

	end_run(&pass->now);
	hand_over(pass);
	segment->is_lost = true;
	segment->lost_bytes = segment->to > pass->now.at ? segment->to - pass->now.at : 0;
	if (pass->walk->damage.address == 0)
		pass->walk->damage = pass->damage;
}

/*
 * Gaps: where somebody else called sbrk, the main arena ends with two empty chunks and goes on
 * behind that memory.
 */

static bool is_size(uint64_t size)
{
	const uint64_t bytes = size & ~(uint64_t)SIZE_FLAGS;

	return bytes >= CHUNK_MIN && bytes % CHUNK_ALIGN == 0 && !(size & SIZE_MMAPPED);
}

/* Whether chunks follow each other from there on, some of them, or as many as there are to the top.
 */
static bool is_beginning(struct pass *pass, uint64_t at)
{
	const struct segment *segment = pass->segment;

	for (unsigned i = 0; i < GAP_CHUNKS && at != segment->top; i++) {
		uint64_t size;

		if (at >= segment->top ||
			memory_read_cached(&pass->walk->memory, at + 8, &size, sizeof(size)) ||
			!is_size(size) || size & SIZE_NON_MAIN ||
			(i == 0 && !(size & SIZE_PREV_INUSE)))
			return false;
		at += size & ~(uint64_t)SIZE_FLAGS;
	}
	return true;
}

/* Within the same mapping: what malloc got by mmap, because brk failed, lies elsewhere. */
static int pass_gap(struct pass *pass)
{
	struct memory *memory = &pass->walk->memory;
	const struct segment *segment = pass->segment;
	const struct target_map *map = target_map_at(memory->target, pass->now.at);
	const uint64_t from = pass->now.at + 2ull * CHUNK_HEADER;
	uint64_t to = map ? map->to : from;

	if (to > segment->top + 1)
		to = segment->top + 1;
	if (to > from + GAP_BYTES_MAX)
		to = from + GAP_BYTES_MAX;
	memory_forget(memory);
	for (uint64_t at = from; at < to;) {
		uint64_t word;
		int error = at % memory->page_bytes ? 0 : memory_check_time(memory);

		if (error)
			return error;
		if (memory_read_cached(memory, at, &word, sizeof(word))) {
			at = align_down(at, memory->page_bytes) + memory->page_bytes;
		} else if (is_beginning(pass, at)) {
			add_overhead(pass, at);
			return 0;
		} else {
			at += CHUNK_ALIGN;
		}
	}
	return torn(pass, "the main arena goes on somewhere else");
}

/*
 * Chunks.
 */

/* Whether the pair that ends what came before a gap is here. */
static int look_for_gap(struct pass *pass, uint64_t size)
{
	uint64_t before, next = 0;
	int error;

	if (!pass->segment->is_main || (size & ~(uint64_t)SIZE_FLAGS) != CHUNK_HEADER)
		return torn(pass, "0x%" PRIx64 " is no size of a chunk", size);
	error = view_header(pass, pass->now.at + CHUNK_HEADER, &before, &next);
	if (error)
		return error;
	if ((next & ~(uint64_t)SIZE_FLAGS) != CHUNK_HEADER)
		return torn(pass, "0x%" PRIx64 " is no size of a chunk", size);
	return pass_gap(pass);
}

/* An old heap ends with an empty chunk, and a header without a size. */
static bool is_terminal(const struct segment *segment, uint64_t at, uint64_t size)
{
	const uint64_t bytes = size & ~(uint64_t)SIZE_FLAGS;

	return !segment->is_main && !segment->top && segment->to - at <= TERMINAL_MAX &&
	       (bytes == CHUNK_HEADER || bytes == 0);
}

/* What cannot be told by looking at a chunk: that there is none, or a size beyond the end. */
static int look_at_end(struct pass *pass)
{
	int error = segment_refresh(pass->walk, pass->segment);

	if (error == -ENODATA)
		return torn(pass, "its segment's header makes no sense");
	if (error == -EFAULT)
		return -ENODATA;
	return error;
}

/* At the top, or above it: it may have come down over what was added up. A little of that is no
 * matter.
 */
static int end_above_top(struct pass *pass)
{
	const struct segment *segment = pass->segment;
	const uint64_t gone = pass->now.at - segment->top;

	if (gone > (pass->now.at - segment->first) / GONE_LITTLE)
		return torn(pass, "the top came down by 0x%" PRIx64 " bytes", gone);
	return ENDED;
}

/* A chunk that reaches the end, by now or not any more: the top may have moved up, or down over it.
 */
static int look_beyond(struct pass *pass, uint64_t bytes)
{
	const struct segment *segment = pass->segment;
	const uint64_t at = pass->now.at;
	int result = look_at_end(pass);

	if (result)
		return result;
	if (segment->top && at >= segment->top)
		return end_above_top(pass);
	if (at >= segment->to || bytes >= segment->to - at)
		return torn(pass, "0x%" PRIx64 " bytes there lead beyond its segment", bytes);
	return 0;
}

/* The chunk's size, or how the look at it ended. */
static int look_at_chunk(struct pass *pass, uint64_t *ret_bytes)
{
	const struct segment *segment = pass->segment;
	const uint64_t at = pass->now.at;
	uint64_t before, size = 0, bytes;
	int result = 0;

	if (at == segment->top || at >= segment->to)
		result = look_beyond(pass, 0);
	if (!result)
		result = view_header(pass, at, &before, &size);
	if (result)
		return result;
	bytes = size & ~(uint64_t)SIZE_FLAGS;
	if (is_terminal(segment, at, size))
		return ENDED;
	if (!is_size(size))
		return look_for_gap(pass, size);
	if (bytes >= segment->to - at)
		result = look_beyond(pass, bytes);
	*ret_bytes = bytes;
	return result;
}

/* The first word of the user's memory, which may be a link; 0 if nobody asks. */
static int view_first_word(struct pass *pass, uint64_t *ret_word)
{
	const void *view;
	int error;

	*ret_word = 0;
	if (!pass->walk->collects)
		return 0;
	error = memory_view(&pass->walk->memory, pass->now.at + CHUNK_HEADER, sizeof(*ret_word),
		pass->segment->to, &view);
	if (error)
		return error == -ENODATA || error == -EFAULT ? 0 : error;
	memcpy(ret_word, view, sizeof(*ret_word));
	return 0;
}

static int note(struct pass *pass, uint64_t bytes, uint64_t first_word)
{
	return pass->walk->collects ? note_link(pass->walk, pass->now.at, bytes, first_word)
				    : note_tcache(pass->walk, pass->segment, pass->now.at, bytes);
}

static int step(struct pass *pass)
{
	struct cursor *now = &pass->now;
	uint64_t bytes = 0, before = 0, next = 0, first_word;
	int result = look_at_chunk(pass, &bytes);

	if (result || bytes == 0)
		return result;
	/* In ascending order: the window does not move back. */
	result = view_first_word(pass, &first_word);
	if (!result)
		result = view_header(pass, now->at + bytes, &before, &next);
	if (result)
		return result;
	if (is_terminal(pass->segment, now->at + bytes, next) && next <= SIZE_FLAGS)
		return ENDED;
	if (next & SIZE_PREV_INUSE) {
		add_used(pass, bytes);
		result = note(pass, bytes, first_word);
	} else if (before == bytes) {
		now->free_bytes += bytes;
		add_free(pass, now->at + bytes);
	} else {
		return torn(pass, "free, of 0x%" PRIx64 " bytes, but its end says 0x%" PRIx64,
			bytes, before);
	}
	now->at += bytes;
	now->tcache_count = pass->walk->tcache_count;
	return result ? result : pass->walk->memory.error;
}

/*
 * Going back.
 */

static void start(struct pass *pass, struct cursor *ret_cursor)
{
	const struct segment *segment = pass->segment;

	*ret_cursor = (struct cursor){.at = segment->first,
		.used_bytes = segment->first - segment->from,
		.pages_to = align_down(segment->from, pass->walk->memory.page_bytes),
		.tcache_count = pass->tcaches_before};
}

/* 0 if there is another try: from an earlier chunk the more there were, and from below the top. */
static int retreat(struct pass *pass, unsigned *retries)
{
	const uint64_t pause = (uint64_t)PAUSE_NS << *retries;
	int error = memory_check_time(&pass->walk->memory);

	if (error)
		return error;
	*retries = pass->stuck_at == pass->damage.address ? *retries + 1 : 1;
	pass->stuck_at = pass->damage.address;
	if (*retries > RETRIES || ++pass->retreats > RETREATS_MAX)
		return TORN;
	clock_pause(pause < PAUSE_MAX_NS ? pause : PAUSE_MAX_NS);
	error = look_at_end(pass);
	pass->now = *retries % 4 == 3 ? pass->before : pass->last;
	if (*retries == RETRIES - 1 || (pass->segment->top && pass->segment->top < pass->now.at))
		start(pass, &pass->now);
	pass->last = pass->before = pass->now;
	pass->walk->tcache_count = pass->now.tcache_count;
	pass->walk->memory.bytes = 0;
	pass->walk->memory.pages = 0;
	return error == TORN ? 0 : error;
}

/* Where the window moves there is a place to go back to, and the top may have come down below. */
static int mark(struct pass *pass)
{
	int error = 0;

	if (pass->fills == pass->walk->memory.fills)
		return 0;
	pass->fills = pass->walk->memory.fills;
	pass->before = pass->last;
	pass->last = pass->now;
	if (pass->segment->top) {
		error = look_at_end(pass);
		if (error == 0 && pass->segment->top && pass->segment->top < pass->now.at)
			return end_above_top(pass);
	}
	return error;
}

int walk_segment(struct walk *walk, struct segment *segment)
{
	struct pass pass;
	unsigned retries = 0;
	int result = 0;

	walk->memory.is_huge = segment->is_huge;
	walk->memory.error = 0;
	walk->memory.bytes = 0;
	walk->memory.pages = 0;
	memset(&pass, 0, sizeof(pass));
	pass.walk = walk;
	pass.segment = segment;
	pass.tcaches_before = walk->tcache_count;
	start(&pass, &pass.now);
	pass.last = pass.before = pass.now;
	while (result == 0) {
		result = step(&pass);
		if (result == 0)
			result = mark(&pass);
		if (result == TORN)
			result = retreat(&pass, &retries);
	}
	if (result == ENDED) {
		finish(&pass);
		result = walk->memory.error;
	} else if (result == TORN || result == -ETIME) {
		lose(&pass);
		result = result == TORN ? 0 : result;
	}
	walk->memory.error = 0;
	return result;
}
