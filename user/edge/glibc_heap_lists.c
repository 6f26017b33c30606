/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Follows the singly linked lists of free chunks that look like chunks in use: fastbins, which an
 * arena names, and tcaches, which are found as chunks that look like one. Lists change while they
 * are followed; one ends where a chunk is not of the list's size, and none is longer than its
 * bound. Links may be mangled (since 2.32): what validates decides. Called by the walk through a
 * heap.
 */
#include "glibc_heap_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TIME_EVERY     1024u  /* links */
#define FAST_FOLLOWED  16384u /* chunks of fastbins, one by one */
#define FAST_BYTES_MAX (CHUNK_MIN + 16 * (FASTBINS - 1))
#define FAST_TRIES     8u
#define FAST_FRESH     1024u /* links of a list that are read each time, more each try */
#define FAST_STRAY     64u
#define FAST_TELLING   16u /* mangled links that cannot be chance */
#define FAST_LITTLE    64u /* of an arena: less of it is no matter */
/* From their first to the bins: top and last_remainder lie between. */
#define FAST_HEADS_BEFORE (FASTBINS * 8u + 16)

/* A thread's tcache: counts of two bytes for each bin, then the lists' first entries. */
struct tcache_layout {
	uint64_t chunk_bytes;
	unsigned bins;
	bool counts_are_lengths; /* or what may be added yet */
};

#define TCACHE_BINS_MAX   76u
#define TCACHE_SMALL_BINS 64u
#define TCACHE_BYTES_MAX  (TCACHE_BINS_MAX * 10)

static const struct tcache_layout tcache_layouts[] = {
	{0x290, 64, true},  /* 2.30 */
	{0x300, 76, false}, /* 2.42 */
};

/* What a list says of its chunks. Links lead `ahead` bytes behind a chunk's header. */
struct list {
	uint64_t bytes; /* the size of all, or of the least */
	bool is_exact;
	unsigned ahead;
};

/* What of a chunk its list needs, in one reading. */
struct node {
	uint64_t chunk; /* 0: the end */
	uint64_t bytes;
	uint64_t link;
};

/* False if there is no chunk of the list. */
static bool read_node(
	struct memory *memory, const struct list *list, uint64_t chunk, struct node *ret_node)
{
	struct {
		uint64_t size, link;
	} words;
	uint64_t bytes;

	if (!is_chunk_address(chunk) ||
		memory_read_cached(memory, chunk + 8, &words, sizeof(words)))
		return false;
	bytes = words.size & ~(uint64_t)SIZE_FLAGS;
	if (list->is_exact ? bytes != list->bytes : bytes < list->bytes || bytes > INT64_MAX)
		return false;
	*ret_node = (struct node){.chunk = chunk, .bytes = bytes, .link = words.link};
	return true;
}

/* The link of a chunk, which says where it is itself, without that. */
static uint64_t unmangled(uint64_t chunk, uint64_t link)
{
	return link ^ (chunk + CHUNK_HEADER) >> 12;
}

/* Goes on to the chunk that the link leads to. True if the link was not mangled. */
static bool follow(struct memory *memory, const struct list *list, struct node *node)
{
	const uint64_t raw = node->link;
	const uint64_t plain = unmangled(node->chunk, raw);

	if (plain && read_node(memory, list, plain - list->ahead, node))
		return false;
	if (plain && raw && read_node(memory, list, raw - list->ahead, node))
		return true;
	node->chunk = 0;
	return false;
}

/*
 * Fastbins.
 */

static int fast_add(struct walk *walk, uint64_t chunk)
{
	if (walk->fast_count == walk->fast_room) {
		const size_t room = walk->fast_room ? 2 * walk->fast_room : 1024;
		uint64_t *fast = reallocarray(walk->fast, room, sizeof(*fast));

		if (!fast)
			return -ENOMEM;
		walk->fast = fast;
		walk->fast_room = room;
	}
	walk->fast[walk->fast_count++] = chunk;
	return 0;
}

/*
 * The links of a list end with none; one that ends elsewhere was changed while it was followed. A
 * chunk that came into use meanwhile and holds zeros is no end where links are mangled.
 */
static bool is_last(const struct walk *walk, const struct node *node)
{
	return (!node->link && !walk->links_are_mangled) ||
	       (!walk->links_are_plain && !unmangled(node->chunk, node->link));
}

/* -EAGAIN: it was changed. -E2BIG: it is too long to be followed chunk by chunk. */
static int list_directly(struct walk *walk, unsigned bin, uint64_t chunk)
{
	const struct list list = {.bytes = CHUNK_MIN + bin * 16ull, .is_exact = true};
	struct node node = {};
	bool ended = !chunk;

	if (chunk && !read_node(&walk->memory, &list, chunk, &node))
		return -EAGAIN;
	while (node.chunk) {
		int error = walk->fast_count % TIME_EVERY ? 0 : memory_check_time(&walk->memory);

		if (!error)
			error = walk->fast_count < FAST_FOLLOWED ? fast_add(walk, node.chunk)
								 : -E2BIG;
		if (error)
			return error;
		ended = is_last(walk, &node);
		if (follow(&walk->memory, &list, &node))
			walk->links_are_plain = !walk->links_are_mangled;
		else if (node.chunk)
			walk->links_are_mangled = !walk->links_are_plain;
	}
	return ended ? 0 : -EAGAIN;
}

static int by_address(const void *a, const void *b)
{
	const uint64_t *first = a, *second = b;

	return *first < *second ? -1 : *first > *second;
}

/*
 * Lists that are long jump about all over an arena, and to read each chunk by itself takes seconds
 * for a million. Then a pass through the segments collects whatever may be a link, and the lists
 * are followed within that.
 */

static int by_chunk(const void *a, const void *b)
{
	const struct fast_link *first = a, *second = b;

	return first->chunk < second->chunk ? -1 : first->chunk > second->chunk;
}

static bool is_in_arena(const struct walk *walk, uint64_t chunk)
{
	return is_chunk_address(chunk) && chunk >= walk->lowest && chunk < walk->highest;
}

int note_link(struct walk *walk, uint64_t chunk, uint64_t bytes, uint64_t link)
{
	const uint64_t next = walk->links_are_plain ? link : unmangled(chunk, link);

	if (bytes > FAST_BYTES_MAX)
		return 0;
	walk->leads_plainly += is_in_arena(walk, link);
	walk->leads_unmangled += is_in_arena(walk, unmangled(chunk, link));
	if ((next && !is_in_arena(walk, next)) || walk->link_count >= FAST_MAX)
		return 0;
	if (walk->link_count == walk->link_room) {
		const size_t room = walk->link_room ? 2 * walk->link_room : 65536;
		struct fast_link *links = reallocarray(walk->links, room, sizeof(*links));

		if (!links)
			return -ENOMEM;
		walk->links = links;
		walk->link_room = room;
	}
	walk->links[walk->link_count++] =
		(struct fast_link){.chunk = chunk | (bytes / CHUNK_ALIGN - 2), .next = next};
	return 0;
}

static int collect_once(struct walk *walk)
{
	int error = 0;

	walk->link_count = walk->leads_plainly = walk->leads_unmangled = 0;
	walk->round = 0;
	walk->lowest = UINT64_MAX;
	walk->highest = 0;
	for (size_t i = 0; i < walk->segment_count; i++) {
		const struct segment *segment = &walk->segments[i];

		if (segment->from < walk->lowest)
			walk->lowest = segment->from;
		if (segment->to > walk->highest)
			walk->highest = segment->to;
	}
	walk->collects = true;
	for (size_t i = 0; i < walk->segment_count && (!error || error == -ENODATA); i++) {
		struct segment segment = walk->segments[i];

		error = walk_segment(walk, &segment);
	}
	walk->collects = false;
	return error == -ENODATA ? 0 : error;
}

/*
 * Lists that changed while they were followed may have told nothing, or wrongly, of their links: a
 * chunk that came into use may lead anywhere. All words together tell. Those in use often lead into
 * the arena as they are, but hardly ever unmangled.
 */
static void tell_links(struct walk *walk)
{
	if (walk->leads_unmangled >= FAST_TELLING &&
		walk->leads_unmangled >= walk->leads_plainly / 8)
		walk->links_are_mangled = true;
	walk->links_are_plain = !walk->links_are_mangled;
}

static int collect_links(struct walk *walk)
{
	const bool were_plain = walk->links_are_plain;
	int error = collect_once(walk);

	if (error)
		return error;
	tell_links(walk);
	if (walk->links_are_plain != were_plain)
		error = collect_once(walk);
	if (!error && walk->link_count)
		qsort(walk->links, walk->link_count, sizeof(*walk->links), by_chunk);
	return error;
}

static struct fast_link *find_link(struct walk *walk, unsigned bin, uint64_t chunk)
{
	const struct fast_link key = {.chunk = chunk | bin};

	return walk->link_count
		       ? bsearch(&key, walk->links, walk->link_count, sizeof(key), by_chunk)
		       : NULL;
}

/* What a chunk leads to that was not in its list yet when links were collected. */
static int read_link(struct walk *walk, unsigned bin, uint64_t chunk, uint64_t *ret_next)
{
	const struct list list = {.bytes = CHUNK_MIN + bin * 16ull, .is_exact = true};
	struct node node;

	if (!read_node(&walk->memory, &list, chunk, &node))
		return -EAGAIN;
	*ret_next = walk->links_are_plain ? node.link : unmangled(chunk, node.link);
	return 0;
}

/*
 * Lists grow and shrink at their beginning: so many links there are read, and whatever is new; the
 * rest was collected. Each of these is followed once a round, whatever the process made of its
 * lists.
 */
static int list_collected(struct walk *walk, unsigned bin, uint64_t chunk, size_t fresh)
{
	walk->round++;
	for (size_t read = 0; chunk;) {
		struct fast_link *link = read < fresh ? NULL : find_link(walk, bin, chunk);
		uint64_t next = link ? link->next : 0;
		int error = 0;

		if (link ? link->round == walk->round : read++ > FAST_FOLLOWED)
			return -EAGAIN;
		if (!link)
			error = read_link(walk, bin, chunk, &next);
		if (!error)
			error = walk->fast_count < FAST_MAX ? fast_add(walk, chunk) : -E2BIG;
		if (error)
			return error;
		if (link)
			link->round = walk->round;
		chunk = next;
	}
	return 0;
}

static int list_once(struct walk *walk, unsigned bin, bool collected, unsigned tries)
{
	const uint64_t heads = walk->arena + walk->layout.bins - FAST_HEADS_BEFORE;
	uint64_t head;
	int error;

	memory_forget(&walk->memory);
	error = memory_read(&walk->memory, heads + bin * sizeof(head), &head, sizeof(head));
	if (error)
		return error;
	return collected ? list_collected(walk, bin, head, (size_t)tries * FAST_FRESH)
			 : list_directly(walk, bin, head);
}

/*
 * A chunk that left its list meanwhile can look like that list's end: it holds zeros, or is the
 * last of a tcache's list. So the longest of some rounds counts, another must have come about as
 * far, and two that follow each other must have come to the same end: lists change where they
 * begin.
 */
static bool are_near(size_t a, size_t b)
{
	return a + a / 8 + FAST_STRAY >= b && b + b / 8 + FAST_STRAY >= a;
}

/* Of what looks like a link: there is nothing that it could have missed. */
static bool is_nearly_all(const struct walk *walk, size_t count)
{
	return count + walk->link_count / 64 >= walk->link_count;
}

/* A list that is changed while it is followed is followed again. What a last try found stays. */
static int list_bin(struct walk *walk, unsigned bin, bool collected)
{
	const size_t before = walk->fast_count;
	uint64_t end = 0;
	size_t most = 0;

	for (unsigned tries = 1;; tries++) {
		int error = list_once(walk, bin, collected, tries);
		const size_t count = walk->fast_count - before;
		const uint64_t last = count ? walk->fast[walk->fast_count - 1] : 0;

		if (error && error != -EAGAIN)
			return error;
		if (!error && (!count || (last == end && are_near(count, most)) ||
				      (collected && is_nearly_all(walk, count))))
			return 0;
		if (tries == FAST_TRIES)
			return -EAGAIN;
		most = !error && count > most ? count : most;
		end = error ? end : last;
		walk->fast_count = before;
	}
}

/* All bins, also where one of them cannot be followed. */
static int list_bins(struct walk *walk, bool collected)
{
	bool torn = false;

	walk->fast_count = 0;
	for (unsigned bin = 0; bin < FASTBINS; bin++) {
		int error = list_bin(walk, bin, collected);

		if (error && error != -EAGAIN)
			return error;
		torn |= error == -EAGAIN;
	}
	return torn ? -EAGAIN : 0;
}

/* Of what looks like a link half must have been reached, unless all of it is next to nothing. */
static int list_by_links(struct walk *walk)
{
	const uint64_t little = (walk->highest - walk->lowest) / FAST_LITTLE;
	int error = collect_links(walk);

	if (!error)
		error = list_bins(walk, true);
	if (!error && walk->fast_count < walk->link_count / 2)
		error = -EAGAIN;
	return error == -EAGAIN && walk->link_count * FAST_BYTES_MAX <= little ? 0 : error;
}

int list_fastbins(struct walk *walk)
{
	int error;

	walk->fast_count = 0;
	walk->link_count = 0;
	if (walk->layout.bins < FAST_HEADS_BEFORE)
		return 0;
	error = list_bins(walk, false);
	if (error == -E2BIG || error == -EAGAIN)
		error = list_by_links(walk);
	if (!error && walk->fast_count)
		qsort(walk->fast, walk->fast_count, sizeof(*walk->fast), by_address);
	return error;
}

/*
 * Tcaches.
 */

static const struct tcache_layout *tcache_layout_of(uint64_t chunk_bytes)
{
	for (size_t i = 0; i < sizeof(tcache_layouts) / sizeof(tcache_layouts[0]); i++)
		if (tcache_layouts[i].chunk_bytes == chunk_bytes)
			return &tcache_layouts[i];
	return NULL;
}

static struct list tcache_list(unsigned bin)
{
	return (struct list){.bytes = CHUNK_MIN + 16ull * bin,
		.is_exact = bin < TCACHE_SMALL_BINS,
		.ahead = CHUNK_HEADER};
}

static uint64_t tcache_entry(const struct tcache_layout *layout, const uint8_t *bytes, unsigned bin)
{
	uint64_t entry;

	memcpy(&entry, bytes + 2ull * layout->bins + 8ull * bin, sizeof(entry));
	return entry;
}

/* The first entry of each list must be a chunk of its size. An empty tcache is none. */
static bool is_tcache(
	struct memory *memory, const struct tcache_layout *layout, const uint8_t *bytes)
{
	bool has_entries = false;

	for (unsigned bin = 0; bin < layout->bins; bin++) {
		const uint64_t entry = tcache_entry(layout, bytes, bin);
		uint16_t count;

		memcpy(&count, bytes + 2ull * bin, sizeof(count));
		if (layout->counts_are_lengths && (count != 0) != (entry != 0))
			return false;
		if (entry % CHUNK_ALIGN || (entry && !is_chunk_address(entry)))
			return false;
		has_entries |= entry != 0;
	}
	for (unsigned bin = 0; bin < layout->bins && has_entries; bin++) {
		const uint64_t entry = tcache_entry(layout, bytes, bin);
		const struct list list = tcache_list(bin);
		struct node node;

		if (entry && !read_node(memory, &list, entry - CHUNK_HEADER, &node))
			return false;
	}
	return has_entries;
}

/* All tcaches of a walk are of one layout; the first that validates decides. */
static bool is_wanted(const struct walk *walk, const struct tcache_layout *layout)
{
	return layout && (!walk->tcache_bins || walk->tcache_bins == layout->bins) &&
	       walk->tcache_count < TCACHES_MAX;
}

static size_t tcache_bytes(const struct tcache_layout *layout)
{
	return layout->bins * (2 + sizeof(uint64_t));
}

static int tcache_add(struct walk *walk, uint64_t address)
{
	if (walk->tcache_count == walk->tcache_room) {
		const size_t room = walk->tcache_room ? 2 * walk->tcache_room : 64;
		uint64_t *tcaches = reallocarray(walk->tcaches, room, sizeof(*tcaches));

		if (!tcaches)
			return -ENOMEM;
		walk->tcaches = tcaches;
		walk->tcache_room = room;
	}
	walk->tcaches[walk->tcache_count++] = address;
	return 0;
}

int note_tcache(struct walk *walk, const struct segment *segment, uint64_t chunk, uint64_t size)
{
	const struct tcache_layout *layout = tcache_layout_of(size);
	const uint64_t address = chunk + CHUNK_HEADER;
	const void *bytes;
	int error;

	if (!is_wanted(walk, layout))
		return 0;
	/* In the window, for a program may have millions of chunks of that size. */
	error = memory_view(&walk->memory, address, tcache_bytes(layout), segment->to, &bytes);
	if (error)
		return error == -ESRCH || error == -ETIME ? error : 0;
	memory_forget(&walk->memory);
	if (!is_tcache(&walk->memory, layout, bytes))
		return 0;
	walk->tcache_bins = layout->bins;
	return tcache_add(walk, address);
}

/* What all tcaches come to. */
struct caches {
	struct heap_pin *pins;
	unsigned pin_count;
	uint64_t bytes;
};

static void add_cached(struct caches *caches, const struct node *node)
{
	caches->bytes += node->bytes;
	for (unsigned i = 0; i < caches->pin_count; i++)
		if (caches->pins[i].address == node->chunk + CHUNK_HEADER)
			caches->pins[i].owner = HEAP_OWNER_TCACHE;
}

static int follow_list(struct walk *walk, const struct list *list, uint64_t entry, size_t limit,
	struct caches *caches)
{
	struct node node = {};
	int error = 0;

	if (!read_node(&walk->memory, list, entry - CHUNK_HEADER, &node))
		return 0;
	for (size_t i = 0; node.chunk && i < limit && !error; i++) {
		add_cached(caches, &node);
		error = i % TIME_EVERY ? 0 : memory_check_time(&walk->memory);
		(void)follow(&walk->memory, list, &node);
	}
	return error;
}

static int follow_tcache(struct walk *walk, uint64_t address, const struct tcache_layout *layout,
	struct caches *caches)
{
	uint8_t tcache[TCACHE_BYTES_MAX];
	int error = memory_read(&walk->memory, address, tcache, tcache_bytes(layout));

	if (!error && !is_tcache(&walk->memory, layout, tcache))
		error = -ENODATA;
	for (unsigned bin = 0; bin < layout->bins && !error; bin++) {
		const uint64_t entry = tcache_entry(layout, tcache, bin);
		const struct list list = tcache_list(bin);
		uint16_t count;

		memcpy(&count, tcache + 2ull * bin, sizeof(count));
		if (entry)
			error = follow_list(walk, &list, entry,
				layout->counts_are_lengths ? count : TCACHE_LENGTH, caches);
	}
	return error == -ENODATA || error == -EFAULT ? 0 : error;
}

int follow_tcaches(
	struct walk *walk, struct heap_pin *pins, unsigned pin_count, uint64_t *ret_bytes)
{
	struct caches caches = {.pins = pins, .pin_count = pin_count};
	int error = 0;

	memory_forget(&walk->memory);
	for (size_t i = 0; i < walk->tcache_count && !error; i++)
		for (size_t j = 0; j < sizeof(tcache_layouts) / sizeof(tcache_layouts[0]); j++)
			if (tcache_layouts[j].bins == walk->tcache_bins)
				error = follow_tcache(
					walk, walk->tcaches[i], &tcache_layouts[j], &caches);
	*ret_bytes = caches.bytes;
	return error;
}
