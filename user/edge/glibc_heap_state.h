/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the parts of the walk through a glibc heap share: glibc_heap_memory.c reads, and knows which
 * pages are there, glibc_heap_find.c finds arenas, parameters and segments, glibc_heap_lists.c
 * follows tcaches and fastbins, glibc_heap_walk.c goes through the chunks of a segment, and
 * glibc_heap.c adds up. Nobody else includes this.
 *
 * A chunk is told by the address of its header: eight bytes that are the size of the chunk before,
 * if that is free, and eight that are its own size and flags. A segment is a piece of address space
 * that chunks fill without a gap: the main arena's, or a heap of another arena.
 */
#ifndef PAGESTAY_EDGE_GLIBC_HEAP_STATE_H
#define PAGESTAY_EDGE_GLIBC_HEAP_STATE_H

#include <stddef.h>

#include "pagestay/edge/glibc_heap.h"
#include "pagestay/edge/target.h"

#define CHUNK_ALIGN     16u
#define CHUNK_MIN       32u
#define CHUNK_HEADER    16u /* to the user's memory */
#define CHUNK_FIELDS    48u /* struct malloc_chunk: malloc_trim spares them */
#define SIZE_PREV_INUSE 1u
#define SIZE_MMAPPED    2u
#define SIZE_NON_MAIN   4u
#define SIZE_FLAGS      7u

#define WINDOW_BYTES   (256u << 10)
#define PRESENCE_PAGES 4096u
#define CACHED_PAGES   256u
#define PAGE_BYTES_MAX 65536u

#define FASTBINS      10u
#define FAST_MAX      (4u << 20) /* chunks in one arena's; with more it is lost */
#define TCACHES_MAX   65536u     /* more are not followed: what they cache counts as live */
#define TCACHE_LENGTH 65536u     /* of a list */
#define ARENAS_MAX    16384u
#define SEGMENTS_MAX  65536u /* of an arena; older ones are lost */
#define TOPMOST       4096u  /* live chunks of a segment that may be thought away */
#define TOPMOST_ROOM  32768u /* and what a step back may need again: a power of two */

/* A process's memory, in pieces. */
struct memory {
	struct target *target;
	uint64_t page_bytes;
	uint64_t deadline_ns;
	uint64_t read_bytes;
	uint64_t refreshes; /* of the mappings */
	int error;          /* of a look at pages, which tells no errors itself */

	/* What the walk looks at: bytes of one moment. */
	uint64_t from;
	size_t bytes, ahead;
	uint64_t fills;
	/* Which pages are present. */
	uint64_t first_page;
	size_t pages;
	bool is_huge; /* hugetlb pages: they are there, but RSS has none of them */
	uint8_t present[PRESENCE_PAGES];
	_Alignas(16) uint8_t window[WINDOW_BYTES];
	/* Pages of lists, each in the place that its number says; 0: none. */
	uint64_t cached_pages[CACHED_PAGES];
	uint8_t *cached; /* CACHED_PAGES pages */
	uint64_t misses;
	unsigned hits; /* and fewer with each miss */
};

/* Where things are in this glibc's structures. */
struct layout {
	unsigned bins;        /* in an arena: of the first bin's pointers */
	unsigned heap_header; /* size of a heap_info; 0: not known */
};

static inline uint64_t layout_top(const struct layout *layout)
{
	return layout->bins - 16;
}

static inline uint64_t layout_next(const struct layout *layout)
{
	return layout->bins + 2048;
}

static inline uint64_t layout_system_bytes(const struct layout *layout)
{
	return layout->bins + 2072;
}

static inline uint64_t layout_arena_bytes(const struct layout *layout)
{
	return layout->bins + 2088;
}

/* Of mp_. */
struct parameters {
	uint64_t trim_threshold_bytes, top_pad_bytes, mmap_threshold_bytes;
	uint64_t arena_max;
	uint64_t huge_page_bytes; /* that the main arena grows and shrinks by; 0: usual pages */
	uint64_t heap_page_bytes; /* of hugetlb; 0: none */
	uint64_t mmapped_bytes;
	uint64_t base; /* of the main arena; 0: it has no memory yet */
	bool thresholds_fixed;
};

/* As freeing them would leave it: memory above `boundary` joins the top. */
struct unpinned {
	uint64_t boundary;
	uint64_t pages_above; /* resident ones that begin at the boundary or above */
};

struct segment {
	uint64_t from;  /* of the heap_info; the main arena's base */
	uint64_t first; /* chunk */
	uint64_t to;
	uint64_t top;        /* 0: the arena's top is elsewhere */
	uint64_t page_bytes; /* that it shrinks by */
	bool is_main;
	bool is_lost; /* what follows is incomplete, or zero */
	bool is_huge;
	bool is_at_break; /* the top can shrink by brk */

	uint64_t used_bytes; /* chunks in use, and what is no chunk */
	uint64_t free_bytes, fast_bytes, top_bytes;
	uint64_t free_resident_bytes, top_resident_bytes;
	uint64_t trimmable_pages, trimmable_top_pages;
	uint64_t lost_bytes;
	uint64_t resident_pages;
	struct heap_pin pin; /* address 0: nothing is live */
	struct unpinned unpinned[HEAP_UNPINS];
};

struct topmost {
	uint64_t end;         /* of the chunk */
	uint64_t pages_below; /* resident ones of its segment that begin below its end */
};

/* What may be a chunk in a fastbin. */
struct fast_link {
	uint64_t chunk;                 /* and its bin, in the low bits */
	uint64_t next : 48, round : 16; /* in which it was followed last */
};

struct walk {
	struct memory memory;
	struct layout layout;
	struct parameters parameters;
	uint64_t *arenas; /* the main one is the first */
	size_t arena_count;

	/* Of the arena that is walked. */
	uint64_t arena;
	struct segment *segments; /* from the one with the top downwards */
	size_t segment_count;
	uint64_t *fast; /* chunks in fastbins, ascending */
	size_t fast_count, fast_room;
	bool links_are_plain, links_are_mangled; /* neither: not known yet */
	bool collects;                           /* links, in a pass of its own */
	struct fast_link *links;
	size_t link_count, link_room;
	size_t leads_plainly, leads_unmangled; /* words of the pass that lead into the arena so */
	uint16_t round;
	uint64_t lowest, highest; /* of the arena's addresses */

	uint64_t *tcaches; /* the user's memory of their chunks */
	size_t tcache_count, tcache_room;
	unsigned tcache_bins; /* 64, or 76; 0: not known */
	struct glibc_heap_damage damage;
	struct topmost topmost[TOPMOST_ROOM];
};

static inline uint64_t align_up(uint64_t value, uint64_t to)
{
	return (value + to - 1) / to * to;
}

static inline uint64_t align_down(uint64_t value, uint64_t to)
{
	return value / to * to;
}

static inline bool is_chunk_address(uint64_t address)
{
	return address >= 4096 && address % CHUNK_ALIGN == 0 && address < 1ull << 56;
}

/* Of glibc_heap_memory.c. */

int memory_init(struct memory *memory, struct target *target, uint64_t deadline_ns);
void memory_deinit(struct memory *memory);

/* -ETIME from the deadline on. */
int memory_check_time(const struct memory *memory);

/* As target_read. `memory_read_new` looks at the mappings again if there is nothing mapped. */
int memory_read(struct memory *memory, uint64_t address, void *ret_bytes, size_t length);
int memory_read_new(struct memory *memory, uint64_t address, void *ret_bytes, size_t length);

/* The same from copies of pages, none older than the last memory_forget. */
int memory_read_cached(struct memory *memory, uint64_t address, void *ret_bytes, size_t length);
void memory_forget(struct memory *memory);

/*
 * `length` bytes at an address, in the window, which is moved there if need be; errors as of
 * target_read. Valid until it moves again.
 */
int memory_view(
	struct memory *memory, uint64_t address, size_t length, uint64_t to, const void **ret_view);

/* Moves the window there, and looks at pages anew. */
int memory_fill(struct memory *memory, uint64_t address, uint64_t to);

/* Pages of [from, to) that begin and end in it, or bytes of it, that are resident. */
uint64_t memory_resident_pages(struct memory *memory, uint64_t from, uint64_t to);
uint64_t memory_resident_bytes(struct memory *memory, uint64_t from, uint64_t to);

/* Of glibc_heap_find.c. */

/* Layout, parameters and arenas. -ENODATA: there is nothing that validates. */
int find_arenas(struct walk *walk, uint64_t main_arena, uint64_t mp);

/* Segments of walk->arena, which may be none. */
int find_segments(struct walk *walk);

/* Where the segment ends now, and whether the top is in it. -ENODATA: it is no segment any more. */
int segment_refresh(struct walk *walk, struct segment *segment);

int arena_system_bytes(struct walk *walk, uint64_t arena, uint64_t *ret_bytes);

/* Of glibc_heap_lists.c. */

/* Fills walk->fast with what is in the fastbins of walk->arena. */
int list_fastbins(struct walk *walk);

/* While walk->collects: a chunk in use that may lie in a fastbin. */
int note_link(struct walk *walk, uint64_t chunk, uint64_t bytes, uint64_t link);

/* A chunk in use that may be a thread's tcache is kept, to be followed later. */
int note_tcache(struct walk *walk, const struct segment *segment, uint64_t chunk, uint64_t size);

/* Bytes in all tcaches; pins among them get their owner. */
int follow_tcaches(
	struct walk *walk, struct heap_pin *pins, unsigned pin_count, uint64_t *ret_bytes);

/* Of glibc_heap_walk.c. */

/*
 * 0, also if the segment is lost, which it says and walk->damage; -ENODATA: it went away; -ETIME;
 * -ESRCH; another -errno.
 */
int walk_segment(struct walk *walk, struct segment *segment);

#endif
