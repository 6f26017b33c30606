/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Finds malloc's structures by what must be true of them, whatever the version. The main arena is
 * in the writable image of libc or of a static program, and its last bin, which nothing is ever put
 * into, points to itself; the arenas' ring of `next` leads back to it, at one of the known offsets.
 * The parameters are in the same image. An arena's top leads to its newest heap, and each heap to
 * the one before. Called by the walk through a heap.
 */
#include "glibc_heap_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BINS            127u
#define LAST_BIN        2016u /* its pointers, from the first bin's */
#define ARENA_BYTES_MAX 2200u
#define ARENA_FLAGS     7u
#define IMAGE_BYTES_MAX                                                                            \
	(512ull << 20) /* of writable images, in which the main arena is looked for */
#define HEAP_BYTES (64ull << 20)
#define ARENA_TEST 8u /* as malloc sets it */

static const unsigned bins_offsets[] = {112, 104, 24};

/* mp_, from its beginning. The ints are n_mmaps, n_mmaps_max, max_n_mmaps, no_dyn_threshold. */
struct mp_layout {
	unsigned base, ints, huge_page, heap_page;
};

static const struct mp_layout mp_layouts[] = {
	{104, 68, 48, 56}, /* 2.43 */
	{96, 60, 40, 48},  /* 2.35 */
	{72, 40, 0, 0},    /* 2.26 */
};

#define MP_BEFORE    104u /* the most there is before the base */
#define MP_BYTES     (MP_BEFORE + 8)
#define MP_THRESHOLD 0
#define MP_TOP_PAD   8
#define MP_MMAP      16
#define MP_TEST      24
#define MP_MAX       32

struct heap_info {
	uint64_t arena, previous, bytes, mprotect_bytes, page_bytes;
};

static uint64_t word_at(const void *bytes, size_t offset)
{
	uint64_t word;

	memcpy(&word, (const uint8_t *)bytes + offset, sizeof(word));
	return word;
}

static uint32_t int_at(const void *bytes, size_t offset)
{
	uint32_t value;

	memcpy(&value, (const uint8_t *)bytes + offset, sizeof(value));
	return value;
}

/*
 * Arenas.
 */

/* An empty bin points to itself twice; one with chunks, to chunks; and one that is just changed, to
 * both. */
static bool bins_are_sound(const uint8_t *bytes, uint64_t bins)
{
	for (unsigned bin = 0; bin < BINS; bin++) {
		const uint64_t self = bins + 16ull * bin - 16;

		for (unsigned end = 0; end < 2; end++) {
			const uint64_t link = word_at(bytes, 16ull * bin + 8ull * end);

			if (link != self && !is_chunk_address(link))
				return false;
		}
	}
	return true;
}

/* 0 and what comes next in the ring, or -ENODATA. */
static int check_arena(
	struct walk *walk, const struct layout *layout, uint64_t address, uint64_t *ret_next)
{
	uint8_t bytes[ARENA_BYTES_MAX];
	uint64_t system_bytes, top;
	int error;

	if (address % 16 || address < 4096)
		return -ENODATA;
	error = memory_read(&walk->memory, address, bytes, layout_arena_bytes(layout));
	if (error)
		return error == -ESRCH ? error : -ENODATA;
	system_bytes = word_at(bytes, layout_system_bytes(layout));
	if (int_at(bytes, 4) > ARENA_FLAGS ||
		!bins_are_sound(bytes + layout->bins, address + layout->bins))
		return -ENODATA;
	/* Without memory, the top is the first bin. */
	top = word_at(bytes, layout_top(layout));
	if ((top != address + layout_top(layout) && !is_chunk_address(top)) ||
		system_bytes > word_at(bytes, layout_system_bytes(layout) + 8))
		return -ENODATA;
	*ret_next = word_at(bytes, layout_next(layout));
	return 0;
}

/* Goes round the ring of an arena. It must close, which it does with the right layout only. */
static int follow_ring(struct walk *walk, const struct layout *layout, uint64_t main_arena)
{
	uint64_t next = main_arena;
	size_t count = 0;

	do {
		int error;

		if (count >= ARENAS_MAX)
			return -ENODATA;
		walk->arenas[count++] = next;
		error = check_arena(walk, layout, next, &next);
		if (error)
			return error;
	} while (next != main_arena);
	walk->arena_count = count;
	walk->layout = *layout;
	return 0;
}

static int try_main_arena(struct walk *walk, uint64_t address)
{
	int error = -ENODATA;

	for (size_t i = 0; i < sizeof(bins_offsets) / sizeof(bins_offsets[0]); i++) {
		const struct layout layout = {.bins = bins_offsets[i]};

		error = follow_ring(walk, &layout, address);
		if (error != -ENODATA)
			break;
	}
	return error;
}

static int try_last_bin(struct walk *walk, uint64_t address)
{
	int error = -ENODATA;

	for (size_t i = 0; i < sizeof(bins_offsets) / sizeof(bins_offsets[0]); i++) {
		const struct layout layout = {.bins = bins_offsets[i]};

		error = follow_ring(walk, &layout, address - LAST_BIN - layout.bins);
		if (error != -ENODATA)
			break;
	}
	return error;
}

/*
 * Images.
 */

/* Calls `fn` at each word of the present pages of a mapping, with `before` and `after` bytes around
 * it, until it gives something else than -ENODATA. */
struct scan {
	struct walk *walk;
	size_t before, after;
	int (*fn)(struct walk *walk, uint64_t address, const uint8_t *bytes);
};

static int scan_window(const struct scan *scan, const uint8_t *window, uint64_t from, size_t bytes)
{
	for (size_t i = scan->before; i + scan->after <= bytes; i += 8) {
		int error = scan->fn(scan->walk, from + i, window + i);

		if (error != -ENODATA)
			return error;
	}
	return -ENODATA;
}

static int scan_image(const struct scan *scan, uint64_t from, uint64_t to)
{
	struct memory *memory = &scan->walk->memory;
	const size_t around = scan->before + scan->after;
	/* The window is for other reading while it is looked through. */
	uint8_t *copy = malloc(WINDOW_BYTES);
	int error = copy ? -ENODATA : -ENOMEM;

	while (error == -ENODATA && from < to) {
		size_t bytes;

		error = memory_check_time(memory);
		if (error)
			break;
		memory->ahead = WINDOW_BYTES;
		error = memory_fill(memory, from, to);
		if (error == -ENODATA || error == -EFAULT) {
			from = align_down(from, memory->page_bytes) + memory->page_bytes;
			error = -ENODATA;
			continue;
		}
		if (error)
			break;
		bytes = memory->bytes;
		memcpy(copy, memory->window, bytes);
		error = scan_window(scan, copy, from, bytes);
		/* What is around the last words looked at is looked at again. */
		from += bytes == WINDOW_BYTES ? bytes - align_up(around, 8) : bytes;
	}
	free(copy);
	return error;
}

static int try_bin_word(struct walk *walk, uint64_t address, const uint8_t *bytes)
{
	if (word_at(bytes, 0) != address - 16 || word_at(bytes, 8) != address - 16)
		return -ENODATA;
	return try_last_bin(walk, address);
}

static bool is_image(const struct target_map *map)
{
	return map->inode && map->readable && map->writable && !map->shared;
}

static int scan_for_main_arena(struct walk *walk)
{
	const struct scan scan = {.walk = walk, .after = 16, .fn = try_bin_word};
	uint64_t left = IMAGE_BYTES_MAX;
	size_t count;
	const struct target_map *maps = target_maps(walk->memory.target, &count);
	int error = -ENODATA;

	for (size_t i = 0; i < count && error == -ENODATA; i++) {
		const uint64_t from = maps[i].from, to = maps[i].to;

		if (!is_image(&maps[i]) || to - from > left)
			continue;
		left -= to - from;
		error = scan_image(&scan, from, to);
		/* Looking at the mappings again may have moved them. */
		maps = target_maps(walk->memory.target, &count);
	}
	return error;
}

/*
 * Parameters.
 */

static int read_word(struct walk *walk, uint64_t address, uint64_t *ret_word)
{
	return memory_read_new(&walk->memory, address, ret_word, sizeof(*ret_word));
}

/* Of walk->arena; 0: it has no memory. */
static int read_top(struct walk *walk, uint64_t *ret_top)
{
	int error = read_word(walk, walk->arena + layout_top(&walk->layout), ret_top);

	/* An arena without memory has its first bin for a top. */
	if (!error && *ret_top == walk->arena + layout_top(&walk->layout))
		*ret_top = 0;
	return error;
}

static bool starts_with_chunk(struct walk *walk, uint64_t address)
{
	uint64_t header[2];

	if (memory_read(&walk->memory, address, header, sizeof(header)))
		return false;
	return (header[1] & ~(uint64_t)SIZE_FLAGS) >= CHUNK_MIN && header[1] % 16 < 8 &&
	       header[1] & SIZE_PREV_INUSE;
}

/* The rest of mp_, if this is one: its base is told apart first. */
static bool is_mp(const uint8_t *mp, const struct mp_layout *layout, uint64_t arena_test_max)
{
	const uint32_t n_mmaps = int_at(mp, layout->ints);
	const uint32_t max_n_mmaps = int_at(mp, layout->ints + 8);
	const uint64_t mmapped = word_at(mp, layout->base - 16);
	const uint64_t arena_test = word_at(mp, MP_TEST);

	return arena_test >= 1 && arena_test <= arena_test_max && word_at(mp, MP_MAX) <= 1 << 20 &&
	       n_mmaps <= max_n_mmaps && max_n_mmaps <= INT32_MAX &&
	       int_at(mp, layout->ints + 4) <= INT32_MAX && int_at(mp, layout->ints + 12) <= 1 &&
	       mmapped % 4096 == 0 && mmapped <= word_at(mp, layout->base - 8) &&
	       (mmapped != 0) == (n_mmaps != 0);
}

static bool is_base(struct walk *walk, uint64_t base, uint64_t top)
{
	const struct target_map *map;

	if (top == 0)
		return base == 0;
	map = target_map_at(walk->memory.target, base);
	return base && map && map->writable && starts_with_chunk(walk, align_up(base, CHUNK_ALIGN));
}

static void take_parameters(
	struct parameters *parameters, const uint8_t *mp, const struct mp_layout *layout)
{
	*parameters = (struct parameters){
		.trim_threshold_bytes = word_at(mp, MP_THRESHOLD),
		.top_pad_bytes = word_at(mp, MP_TOP_PAD),
		.mmap_threshold_bytes = word_at(mp, MP_MMAP),
		.arena_max = word_at(mp, MP_MAX),
		.thresholds_fixed = int_at(mp, layout->ints + 12) != 0,
		.mmapped_bytes = word_at(mp, layout->base - 16),
		.base = word_at(mp, layout->base),
		.huge_page_bytes = layout->huge_page ? word_at(mp, layout->huge_page) : 0,
		.heap_page_bytes = layout->heap_page ? word_at(mp, layout->heap_page) : 0,
	};
}

static bool is_page_size(uint64_t bytes)
{
	return bytes == 0 || (bytes >= 4096 && bytes <= 1ull << 34 && (bytes & (bytes - 1)) == 0);
}

/* `bytes` are at the word that may be the base. */
static int try_mp(struct walk *walk, const uint8_t *bytes, uint64_t arena_test_max)
{
	uint64_t top;
	int error;

	for (size_t i = 0; i < sizeof(mp_layouts) / sizeof(mp_layouts[0]); i++) {
		const struct mp_layout *layout = &mp_layouts[i];
		const uint8_t *mp = bytes - layout->base;
		struct parameters parameters;

		if (!is_mp(mp, layout, arena_test_max))
			continue;
		take_parameters(&parameters, mp, layout);
		if (!is_page_size(parameters.huge_page_bytes) ||
			!is_page_size(parameters.heap_page_bytes))
			continue;
		error = read_top(walk, &top);
		if (error)
			return error;
		if (!is_base(walk, parameters.base, top))
			continue;
		walk->parameters = parameters;
		return 0;
	}
	return -ENODATA;
}

static int try_usual_mp(struct walk *walk, uint64_t address, const uint8_t *bytes)
{
	(void)address;
	return try_mp(walk, bytes, ARENA_TEST);
}

static int try_tuned_mp(struct walk *walk, uint64_t address, const uint8_t *bytes)
{
	(void)address;
	return try_mp(walk, bytes, 1024);
}

static int try_mp_at(struct walk *walk, uint64_t mp)
{
	uint8_t bytes[2 * MP_BYTES] = {};
	int error = memory_read(&walk->memory, mp, bytes + MP_BEFORE, MP_BYTES);

	for (size_t i = 0; !error && i < sizeof(mp_layouts) / sizeof(mp_layouts[0]); i++) {
		error = try_mp(walk, bytes + MP_BEFORE + mp_layouts[i].base, 1024);
		if (error != -ENODATA)
			return error;
		error = 0;
	}
	return error == -ESRCH ? error : -ENODATA;
}

static int find_parameters(struct walk *walk, uint64_t mp)
{
	struct scan scan = {.walk = walk, .before = MP_BEFORE, .after = 8, .fn = try_usual_mp};
	const struct target_map *map;
	uint64_t from, to;
	int error = mp ? try_mp_at(walk, mp) : -ENODATA;

	if (error != -ENODATA)
		return error;
	map = target_map_at(walk->memory.target, walk->arenas[0]);
	if (!map)
		return -ENODATA;
	from = map->from;
	to = map->to;
	error = scan_image(&scan, from, to);
	if (error == -ENODATA) {
		scan.fn = try_tuned_mp;
		error = scan_image(&scan, from, to);
	}
	return error;
}

int find_arenas(struct walk *walk, uint64_t main_arena, uint64_t mp)
{
	int error = main_arena ? try_main_arena(walk, main_arena) : -ENODATA;

	if (error == -ENODATA)
		error = scan_for_main_arena(walk);
	if (error)
		return error;
	walk->arena = walk->arenas[0];
	return find_parameters(walk, mp);
}

int arena_system_bytes(struct walk *walk, uint64_t arena, uint64_t *ret_bytes)
{
	return read_word(walk, arena + layout_system_bytes(&walk->layout), ret_bytes);
}

/*
 * Segments.
 */

static int read_heap(struct walk *walk, uint64_t heap, struct heap_info *ret_heap)
{
	struct heap_info info;
	int error = memory_read_new(&walk->memory, heap, &info, sizeof(info));

	if (error)
		return error;
	if (info.arena != walk->arena || info.bytes % 4096 || info.bytes < 4096 ||
		info.bytes > info.mprotect_bytes || info.mprotect_bytes > HEAP_BYTES ||
		info.previous % 4096)
		return -ENODATA;
	*ret_heap = info;
	return 0;
}

/* Heaps lie at multiples of their greatest size, which only hugetlb pages change. */
static int heap_of(
	struct walk *walk, uint64_t address, uint64_t *ret_heap, struct heap_info *ret_info)
{
	const uint64_t sizes[] = {HEAP_BYTES, 4 * walk->parameters.heap_page_bytes};
	int error = -ENODATA;

	for (size_t i = 0; i < 2 && sizes[i]; i++) {
		*ret_heap = align_down(address, sizes[i]);
		error = read_heap(walk, *ret_heap, ret_info);
		if (error != -ENODATA && error != -EFAULT)
			break;
	}
	return error;
}

/* The first heap of an arena has the arena behind its header. */
static int learn_heap_header(struct walk *walk)
{
	const uint64_t offset = walk->arena % 4096;

	if (offset != 0x20 && offset != 0x30)
		return -ENODATA;
	walk->layout.heap_header = offset;
	return 0;
}

static struct segment *segment_add(struct walk *walk)
{
	struct segment *segments;

	if (walk->segment_count >= SEGMENTS_MAX)
		return NULL;
	segments = reallocarray(walk->segments, walk->segment_count + 1, sizeof(*segments));
	if (!segments)
		return NULL;
	walk->segments = segments;
	segments += walk->segment_count++;
	*segments = (struct segment){};
	return segments;
}

static void heap_segment(const struct walk *walk, uint64_t heap, const struct heap_info *info,
	struct segment *segment)
{
	const struct target_map *map = target_map_at(walk->memory.target, heap);
	const uint64_t header = walk->layout.heap_header;

	segment->from = heap;
	segment->first = heap + header;
	if (info->previous == 0)
		segment->first =
			align_up(walk->arena + layout_arena_bytes(&walk->layout), CHUNK_ALIGN);
	segment->to = heap + info->bytes;
	segment->page_bytes = header == 0x30 && is_page_size(info->page_bytes) && info->page_bytes
				      ? info->page_bytes
				      : walk->memory.page_bytes;
	segment->is_huge = map && map->inode;
}

static int find_heaps(struct walk *walk, uint64_t top)
{
	struct heap_info info;
	uint64_t heap = 0;
	int error = learn_heap_header(walk);

	if (!error)
		error = heap_of(walk, top, &heap, &info);
	while (!error) {
		struct segment *segment = segment_add(walk);

		if (!segment)
			return -ENOMEM;
		heap_segment(walk, heap, &info, segment);
		if (walk->segment_count == 1)
			segment->top = top;
		if (info.previous == 0)
			break;
		heap = info.previous;
		error = read_heap(walk, heap, &info);
	}
	return error;
}

/* Where the chunk at the top ends, if it is one. */
static int read_top_end(struct walk *walk, uint64_t top, uint64_t *ret_end)
{
	uint64_t header[2], bytes;
	int error = memory_read_new(&walk->memory, top, header, sizeof(header));

	if (error)
		return error;
	bytes = header[1] & ~(uint64_t)SIZE_FLAGS;
	if (bytes < CHUNK_MIN || bytes > INT64_MAX || header[1] & (SIZE_MMAPPED | SIZE_NON_MAIN))
		return -ENODATA;
	*ret_end = top + bytes;
	return 0;
}

static int find_main_segment(struct walk *walk, uint64_t top)
{
	const uint64_t base = walk->parameters.base;
	const struct target_map *map = target_map_at(walk->memory.target, base);
	struct segment *segment;
	uint64_t to;
	int error = read_top_end(walk, top, &to);

	if (error)
		return error;
	/* Memory by mmap comes from above, and the base is in what came first. */
	if (top < base)
		return -ENODATA;
	segment = segment_add(walk);
	if (!segment)
		return -ENOMEM;
	*segment = (struct segment){.from = base,
		.first = align_up(base, CHUNK_ALIGN),
		.to = to,
		.top = top,
		.page_bytes = walk->parameters.huge_page_bytes ? walk->parameters.huge_page_bytes
							       : walk->memory.page_bytes,
		.is_main = true,
		.is_huge = map && map->inode};
	return 0;
}

int find_segments(struct walk *walk)
{
	uint64_t top;
	int error = read_top(walk, &top);

	walk->segment_count = 0;
	if (error || top == 0)
		return error;
	return walk->arena == walk->arenas[0] ? find_main_segment(walk, top)
					      : find_heaps(walk, top);
}

int segment_refresh(struct walk *walk, struct segment *segment)
{
	struct heap_info info;
	uint64_t top;
	int error = read_top(walk, &top);

	if (error)
		return error;
	if (segment->is_main) {
		error = read_top_end(walk, top, &segment->to);
		segment->top = top;
		return error;
	}
	error = read_heap(walk, segment->from, &info);
	if (error)
		return error;
	segment->to = segment->from + info.bytes;
	segment->top = top >= segment->from && top < segment->to ? top : 0;
	return 0;
}
