/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The confined child: loads the file that it finds as descriptor 0, has that jemalloc allocate,
 * free and purge by known amounts in arenas made for it, and finds where in the library and in its
 * arenas the numbers stand that the library itself tells at every step. What does not follow all
 * steps in two arenas is no counter. Writes one struct to descriptor 1.
 *
 * Nothing here frees, and nothing is of any consequence for another process. Memory comes from mmap
 * alone, so that the two allocators in the process do not meet. Called by main, in the child.
 */
#include "pagestay/edge/jemalloc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jemalloc_state.h"

#define FILE_FD            0
#define RESULT_FD          1
#define WRITABLE_BYTES_MAX (64u << 20) /* of the library's image */
#define ARENAS             3
#define CHANGES            3 /* a counter must have changed as often, in each arena, to be believed */
#define MALLOCX_NO_TCACHE  (1 << 8)

typedef int mallctl_fn(const char *name, void *ret_old, size_t *old_bytes, void *new, size_t bytes);
typedef void *mallocx_fn(size_t bytes, int flags);
typedef void dallocx_fn(void *memory, int flags);

struct calibration {
	struct jemalloc_library library;
	mallctl_fn *mallctl;
	mallocx_fn *mallocx;
	dallocx_fn *dallocx;
	uint64_t page_bytes;
	unsigned arenas[ARENAS];
};

/* The library's writable bytes, in the order of its segments, at some moment. */
struct image {
	uint8_t *bytes;
	size_t count;
};

/* Words of an arena that have followed each field so far: a bit for each field. */
struct search {
	uint8_t *follows;
	size_t words;
	uint64_t last[JEMALLOC_FIELDS];
	unsigned changes[JEMALLOC_FIELDS];
};

static void *get_memory(size_t bytes)
{
	void *memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	return memory;
}

/*
 * The library's own controls.
 */

static int find_controls(struct calibration *calibration)
{
	static const char *const prefixes[] = {"", "je_", "_rjem_", "jemalloc_"};
	char name[32];

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		(void)snprintf(name, sizeof(name), "%smallctl", prefixes[i]);
		calibration->mallctl = (mallctl_fn *)jemalloc_symbol(&calibration->library, name);
		(void)snprintf(name, sizeof(name), "%smallocx", prefixes[i]);
		calibration->mallocx = (mallocx_fn *)jemalloc_symbol(&calibration->library, name);
		(void)snprintf(name, sizeof(name), "%sdallocx", prefixes[i]);
		calibration->dallocx = (dallocx_fn *)jemalloc_symbol(&calibration->library, name);
		if (calibration->mallctl && calibration->mallocx && calibration->dallocx)
			return 0;
	}
	return -ENOENT;
}

static int get_value(
	const struct calibration *calibration, const char *name, void *ret_value, size_t bytes)
{
	size_t got = bytes;

	return calibration->mallctl(name, ret_value, &got, NULL, 0) || got != bytes ? -EINVAL : 0;
}

static int set_value(
	const struct calibration *calibration, const char *name, void *value, size_t bytes)
{
	return calibration->mallctl(name, NULL, NULL, value, bytes) ? -EINVAL : 0;
}

/* The control is named `before`, the arena's number, `after`. */
struct arena_control {
	const char *before, *after;
};

static const struct arena_control field_controls[JEMALLOC_FIELDS] = {
	[JEMALLOC_ACTIVE_PAGES] = {"stats.arenas.", ".pactive"},
	[JEMALLOC_DIRTY_PAGES] = {"stats.arenas.", ".pdirty"},
	[JEMALLOC_MUZZY_PAGES] = {"stats.arenas.", ".pmuzzy"},
	[JEMALLOC_DIRTY_DECAY_MS] = {"arena.", ".dirty_decay_ms"},
	[JEMALLOC_MUZZY_DECAY_MS] = {"arena.", ".muzzy_decay_ms"},
};

static int get_field(const struct calibration *calibration, enum jemalloc_field field,
	unsigned arena, uint64_t *ret_value)
{
	const struct arena_control *control = &field_controls[field];
	char name[64];
	size_t value;

	(void)snprintf(name, sizeof(name), "%s%u%s", control->before, arena, control->after);
	if (get_value(calibration, name, &value, sizeof(value)))
		return -EINVAL;
	*ret_value = value;
	return 0;
}

/* Decay times: the library takes -1 for never. */
static int set_decay(const struct calibration *calibration, enum jemalloc_field field,
	unsigned arena, int64_t value)
{
	const struct arena_control *control = &field_controls[field];
	char name[64];
	ssize_t decay_ms = value;

	(void)snprintf(name, sizeof(name), "%s%u%s", control->before, arena, control->after);
	return set_value(calibration, name, &decay_ms, sizeof(decay_ms));
}

static int get_fields(
	const struct calibration *calibration, unsigned arena, uint64_t ret_values[JEMALLOC_FIELDS])
{
	uint64_t epoch = 1;

	if (set_value(calibration, "epoch", &epoch, sizeof(epoch)))
		return -EINVAL;
	for (size_t i = 0; i < JEMALLOC_FIELDS; i++)
		if (get_field(calibration, i, arena, &ret_values[i]))
			return -EINVAL;
	return 0;
}

/*
 * The table of arenas and their number.
 */

static int take_image(const struct jemalloc_library *library, struct image *ret_image)
{
	struct image image = {};

	for (size_t i = 0; i < library->segment_count; i++)
		image.count += library->segments[i].to - library->segments[i].from;
	if (image.count == 0 || image.count > WRITABLE_BYTES_MAX)
		return -E2BIG;
	image.bytes = get_memory(image.count);
	if (!image.bytes)
		return -ENOMEM;
	image.count = 0;
	for (size_t i = 0; i < library->segment_count; i++) {
		const struct jemalloc_segment *segment = &library->segments[i];

		memcpy(image.bytes + image.count, library->base + segment->from,
			segment->to - segment->from);
		image.count += segment->to - segment->from;
	}
	*ret_image = image;
	return 0;
}

static uint64_t word_at(const struct image *image, size_t position, size_t bytes)
{
	uint64_t word = 0;

	memcpy(&word, image->bytes + position, bytes);
	return word;
}

/*
 * Whether the word at `position` of the images is the first arena's place: each arena's word was 0
 * before it was created, and has kept its value since.
 */
static bool is_table(const struct image images[ARENAS + 1], size_t position)
{
	for (unsigned arena = 0; arena < ARENAS; arena++) {
		const size_t place = position + arena * sizeof(uint64_t);
		const uint64_t pointer = word_at(&images[ARENAS], place, sizeof(pointer));

		if (pointer == 0 || pointer % sizeof(uint64_t))
			return false;
		for (unsigned taken = 0; taken < ARENAS; taken++)
			if (word_at(&images[taken], place, sizeof(pointer)) !=
				(taken > arena ? pointer : 0))
				return false;
	}
	return true;
}

static bool is_arena_count(const struct image images[ARENAS + 1], size_t position, unsigned first)
{
	for (unsigned taken = 0; taken <= ARENAS; taken++)
		if (word_at(&images[taken], position, sizeof(uint32_t)) != first + taken)
			return false;
	return true;
}

/* Walks one segment; `start` is where it begins in the images. Counts what it finds. */
static void search_segment(const struct calibration *calibration,
	const struct jemalloc_segment *segment, const struct image images[ARENAS + 1], size_t start,
	struct jemalloc_layout *layout, unsigned ret_found[2])
{
	const unsigned first = calibration->arenas[0];
	const size_t bytes = segment->to - segment->from;

	for (size_t offset = -segment->from % sizeof(uint32_t); offset + sizeof(uint32_t) <= bytes;
		offset += sizeof(uint32_t)) {
		const uint64_t address = segment->from + offset;

		if (is_arena_count(images, start + offset, first)) {
			layout->arena_count_address = address;
			ret_found[0]++;
		}
		if (address % sizeof(uint64_t) || offset + ARENAS * sizeof(uint64_t) > bytes ||
			offset < first * sizeof(uint64_t))
			continue;
		if (is_table(images, start + offset)) {
			layout->arenas_address = address - first * sizeof(uint64_t);
			ret_found[1]++;
		}
	}
}

static int create_arena(struct calibration *calibration, unsigned index)
{
	unsigned arena = 0;
	int error = get_value(calibration, "arenas.create", &arena, sizeof(arena));

	if (error || (index && arena != calibration->arenas[0] + index) || arena > UINT16_MAX)
		return -EINVAL;
	calibration->arenas[index] = arena;
	return 0;
}

static int find_arenas(struct calibration *calibration, struct jemalloc_layout *layout)
{
	struct image images[ARENAS + 1];
	unsigned found[2] = {};
	size_t start = 0;

	for (unsigned i = 0; i <= ARENAS; i++) {
		if (take_image(&calibration->library, &images[i]))
			return -ENOMEM;
		if (i < ARENAS && create_arena(calibration, i))
			return -EINVAL;
	}
	for (size_t i = 0; i < calibration->library.segment_count; i++) {
		const struct jemalloc_segment *segment = &calibration->library.segments[i];

		search_segment(calibration, segment, images, start, layout, found);
		start += segment->to - segment->from;
	}
	return found[0] == 1 && found[1] == 1 ? 0 : -ENOENT;
}

/*
 * The counters of an arena.
 */

static const uint8_t *arena_bytes(
	const struct calibration *calibration, const struct jemalloc_layout *layout, unsigned arena)
{
	const uint8_t *pointer;

	memcpy(&pointer,
		calibration->library.base + layout->arenas_address +
			calibration->arenas[arena] * sizeof(pointer),
		sizeof(pointer));
	return pointer;
}

/* Whole words from the arena's beginning to the end of what is mapped there. */
static size_t arena_words(const uint8_t *arena)
{
	const size_t page_bytes = sysconf(_SC_PAGESIZE);
	const size_t before = (uintptr_t)arena % page_bytes;
	size_t bytes = 0;
	unsigned char present;

	while (bytes < before + JEMALLOC_ARENA_BYTES_MAX &&
		mincore((void *)(arena - before + bytes), page_bytes, &present) == 0)
		bytes += page_bytes;
	if (bytes > before + JEMALLOC_ARENA_BYTES_MAX)
		bytes = before + JEMALLOC_ARENA_BYTES_MAX;
	return bytes > before ? (bytes - before) / sizeof(uint64_t) : 0;
}

/* Takes from the search what does not say what the library says. */
static int observe(const struct calibration *calibration, const uint8_t *arena_memory,
	unsigned arena, struct search *search)
{
	uint64_t values[JEMALLOC_FIELDS];

	if (get_fields(calibration, arena, values))
		return -EINVAL;
	for (size_t field = 0; field < JEMALLOC_FIELDS; field++)
		if (values[field] != search->last[field]) {
			search->last[field] = values[field];
			search->changes[field]++;
		}
	for (size_t i = 0; i < search->words; i++) {
		uint64_t word;

		if (!search->follows[i])
			continue;
		memcpy(&word, arena_memory + i * sizeof(word), sizeof(word));
		for (size_t field = 0; field < JEMALLOC_FIELDS; field++)
			if (word != values[field])
				search->follows[i] &= ~(1u << field);
	}
	return 0;
}

enum step_kind { ALLOCATE, FREE, DIRTY_DECAY, MUZZY_DECAY };

/* `value` is pages, to be multiplied by the round's factor, or milliseconds. */
struct step {
	enum step_kind kind;
	unsigned slot;
	int64_t value;
};

#define SLOTS 3

static const struct step steps[] = {
	{DIRTY_DECAY, 0, -1},
	{MUZZY_DECAY, 0, -1},
	{ALLOCATE, 0, 17},
	{ALLOCATE, 1, 40},
	{ALLOCATE, 2, 28},
	{FREE, 1, 0},
	{DIRTY_DECAY, 0, 0}, /* what is dirty becomes muzzy */
	{DIRTY_DECAY, 0, -1},
	{FREE, 0, 0},
	{ALLOCATE, 1, 7},
	{DIRTY_DECAY, 0, 1000003},
	{MUZZY_DECAY, 0, 2000029},
	{DIRTY_DECAY, 0, 3000017},
	{MUZZY_DECAY, 0, 1500007},
	{MUZZY_DECAY, 0, -1},
	{FREE, 2, 0},
	{DIRTY_DECAY, 0, 0},
	{DIRTY_DECAY, 0, -1},
	{FREE, 1, 0},
	{MUZZY_DECAY, 0, 0}, /* what is muzzy goes back */
	{ALLOCATE, 0, 11},
	{FREE, 0, 0},
};

static int do_step(const struct calibration *calibration, const struct step *step, unsigned arena,
	unsigned factor, void *slots[SLOTS])
{
	const int flags = MALLOCX_NO_TCACHE | (int)((arena + 1) << 20);

	switch (step->kind) {
	case ALLOCATE:
		slots[step->slot] =
			calibration->mallocx(step->value * factor * calibration->page_bytes, flags);
		return slots[step->slot] ? 0 : -ENOMEM;
	case FREE:
		calibration->dallocx(slots[step->slot], flags);
		return 0;
	case DIRTY_DECAY:
		return set_decay(calibration, JEMALLOC_DIRTY_DECAY_MS, arena, step->value);
	case MUZZY_DECAY:
		return set_decay(calibration, JEMALLOC_MUZZY_DECAY_MS, arena, step->value);
	}
	return -EINVAL;
}

static int do_round(const struct calibration *calibration, const struct jemalloc_layout *layout,
	unsigned index, unsigned factor, struct search *search)
{
	const uint8_t *memory = arena_bytes(calibration, layout, index);
	const unsigned arena = calibration->arenas[index];
	void *slots[SLOTS] = {};

	if (arena_words(memory) < search->words)
		return -EINVAL;
	memset(search->changes, 0, sizeof(search->changes));
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (do_step(calibration, &steps[i], arena, factor, slots) ||
			observe(calibration, memory, arena, search))
			return -EINVAL;
	return 0;
}

/* The one word that followed the field through all steps, if its values were telling. */
static uint64_t found_offset(const struct search *search, enum jemalloc_field field)
{
	uint64_t offset = JEMALLOC_ABSENT;

	if (search->changes[field] < CHANGES)
		return JEMALLOC_ABSENT;
	for (size_t i = 0; i < search->words; i++) {
		if (!(search->follows[i] >> field & 1))
			continue;
		if (offset != JEMALLOC_ABSENT)
			return JEMALLOC_ABSENT;
		offset = i * sizeof(uint64_t);
	}
	return offset;
}

static int find_counters(const struct calibration *calibration, struct jemalloc_layout *layout)
{
	struct search search = {.words = SIZE_MAX};

	for (unsigned arena = 0; arena < ARENAS; arena++) {
		const size_t words = arena_words(arena_bytes(calibration, layout, arena));

		if (words < search.words)
			search.words = words;
	}
	search.follows = search.words ? get_memory(search.words) : NULL;
	if (!search.follows)
		return -ENOMEM;
	memset(search.follows, (1u << JEMALLOC_FIELDS) - 1, search.words);
	/* Other amounts in another arena: what was found must say them as well. */
	if (do_round(calibration, layout, 0, 1, &search) ||
		do_round(calibration, layout, 2, 3, &search))
		return -EINVAL;
	for (size_t field = 0; field < JEMALLOC_FIELDS; field++)
		layout->fields[field] = found_offset(&search, field);
	return layout->fields[JEMALLOC_ACTIVE_PAGES] == JEMALLOC_ABSENT ||
			       layout->fields[JEMALLOC_DIRTY_PAGES] == JEMALLOC_ABSENT
		       ? -ENOENT
		       : 0;
}

/*
 * Whether there are background threads: bytes that are 1 while they are switched on, and 0 before
 * and after. None is really made, see the loader. Both the switch and the number of threads behave
 * so, and either will do.
 */

static int take_switched(const struct calibration *calibration, bool on, struct image *ret_image)
{
	if (set_value(calibration, "background_thread", &on, sizeof(on)))
		return -EINVAL;
	return take_image(&calibration->library, ret_image);
}

static void find_switches(const struct calibration *calibration, struct jemalloc_layout *layout)
{
	enum { TIMES = 5 };
	struct image images[TIMES];
	size_t start = 0;

	for (unsigned i = 0; i < TIMES; i++)
		if (take_switched(calibration, i % 2, &images[i]))
			return;
	for (size_t i = 0; i < calibration->library.segment_count; i++) {
		const struct jemalloc_segment *segment = &calibration->library.segments[i];
		const size_t bytes = segment->to - segment->from;

		for (size_t offset = 0; offset < bytes; offset++) {
			bool follows = layout->switch_count < JEMALLOC_SWITCHES;

			for (unsigned time = 0; follows && time < TIMES; time++)
				follows = images[time].bytes[start + offset] == time % 2;
			if (follows)
				layout->switches[layout->switch_count++] = segment->from + offset;
		}
		start += bytes;
	}
}

/*
 * The child.
 */

static enum jemalloc_outcome calibrate(
	const uint8_t *file, size_t bytes, struct jemalloc_layout *layout)
{
	static struct calibration calibration;
	size_t page_bytes;

	if (jemalloc_load(file, bytes, &calibration.library))
		return JEMALLOC_UNLOADABLE;
	if (find_controls(&calibration) ||
		get_value(&calibration, "arenas.page", &page_bytes, sizeof(page_bytes)))
		return JEMALLOC_NO_CONTROL;
	calibration.page_bytes = layout->page_bytes = page_bytes;
	if (find_arenas(&calibration, layout))
		return calibration.arenas[0] ? JEMALLOC_NO_ARENAS : JEMALLOC_NO_CONTROL;
	if (find_counters(&calibration, layout))
		return JEMALLOC_NO_COUNTERS;
	find_switches(&calibration, layout);
	return JEMALLOC_CALIBRATED;
}

static const uint8_t *map_file(size_t *ret_bytes)
{
	struct stat status;
	void *file;

	if (fstat(FILE_FD, &status) < 0 || status.st_size <= 0)
		return NULL;
	file = mmap(NULL, status.st_size, PROT_READ, MAP_PRIVATE, FILE_FD, 0);
	if (file == MAP_FAILED)
		return NULL;
	*ret_bytes = status.st_size;
	return file;
}

int jemalloc_calibrate_main(int argc, char **argv)
{
	struct jemalloc_layout layout = {.magic = JEMALLOC_MAGIC};
	size_t bytes = 0;
	const uint8_t *file = map_file(&bytes);

	(void)argc;
	(void)argv;
	if (!file)
		layout.outcome = JEMALLOC_UNLOADABLE;
	else if (jemalloc_confine() || jemalloc_filter_calls())
		layout.outcome = JEMALLOC_UNCONFINED;
	else
		layout.outcome = calibrate(file, bytes, &layout);
	_exit(write(RESULT_FD, &layout, sizeof(layout)) == sizeof(layout) ? 0 : 1);
}
