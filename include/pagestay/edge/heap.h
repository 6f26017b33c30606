/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is known of a process's allocators, and what an x-ray of its heap tells. Values only; who
 * finds them out are allocator.h, glibc_heap.h and jemalloc.h.
 */
#ifndef PAGESTAY_EDGE_HEAP_H
#define PAGESTAY_EDGE_HEAP_H

#include <stdbool.h>
#include <stdint.h>

#define ALLOCATORS               6
#define ALLOCATOR_VERSION_BYTES  32
#define ALLOCATOR_OBJECT_BYTES   64
#define ALLOCATOR_EVIDENCE_BYTES 160
#define ALLOCATOR_SETTINGS_BYTES 256

/* The order is the recording format's: append only. Names are in allocator_names. */
enum allocator_name {
	ALLOCATOR_UNKNOWN,
	ALLOCATOR_GLIBC,
	ALLOCATOR_JEMALLOC,
	ALLOCATOR_TCMALLOC,
	ALLOCATOR_MIMALLOC,
	ALLOCATOR_MUSL,
	ALLOCATOR_GO,
	/* Runtimes with heaps of their own, on top of one of those. */
	ALLOCATOR_JVM,
	ALLOCATOR_V8,
	ALLOCATOR_CPYTHON,
	ALLOCATOR_NAMES, /* one past the last */
};

/* "unknown", "glibc", "jemalloc", ...: as in reports. */
extern const char *const allocator_names[ALLOCATOR_NAMES];

/* All strings are any bytes, terminated, and empty where nothing is known. */
struct allocator {
	enum allocator_name name;
	bool is_static;                        /* linked into the program or a library */
	char version[ALLOCATOR_VERSION_BYTES]; /* "2.36", "5.3.0-0-g54eaed1d", "go1.22.3" */
	char object[ALLOCATOR_OBJECT_BYTES];   /* the file that has its code, without directories */
	char prefix[16];                       /* of its symbols: "", "_rjem_", "je_" */
	char evidence[ALLOCATOR_EVIDENCE_BYTES]; /* how it was told, a phrase */
};

/*
 * The first is the one that serves the program's own malloc (of a Go program, Go's); then others in
 * the order of how many objects use them, then runtimes. None found: count is 1, and the first is
 * ALLOCATOR_UNKNOWN with evidence that says what was looked at.
 */
struct allocators {
	unsigned count;
	struct allocator list[ALLOCATORS];
	/* The allocator's variables in the environment that the process started with (MALLOC_*,
	 * _RJEM_MALLOC_CONF, GLIBC_TUNABLES, LD_PRELOAD, TCMALLOC_*, MIMALLOC_*, GOGC,
	 * GOMEMLIMIT): NAME=value, joined by spaces. Others are nobody's business. */
	char settings[ALLOCATOR_SETTINGS_BYTES];
};

#define HEAP_UNKNOWN UINT64_MAX
#define HEAP_PINS    8
#define HEAP_UNPINS  7

/* Whose a live chunk is. The order is the recording format's: append only. */
enum heap_owner {
	HEAP_OWNER_APPLICATION,
	HEAP_OWNER_TCACHE,  /* free for its thread, in use for everybody else */
	HEAP_OWNER_FASTBIN, /* free, but not merged with its neighbours */
	HEAP_OWNERS,
};

extern const char *const heap_owner_names[HEAP_OWNERS];

/* A chunk that keeps the free memory below it from going back by itself. */
struct heap_pin {
	uint64_t address; /* of the chunk's user memory */
	uint64_t size_bytes;
	uint64_t segment;     /* address that the segment begins at */
	uint64_t below_bytes; /* resident free bytes below it in its segment */
	enum heap_owner owner;
};

/* heap_unpin_chunks: 1, 4, 16, 64, 256, 1024, 4096 */
extern const unsigned heap_unpin_chunks[HEAP_UNPINS];

enum heap_huge_mode { HEAP_HUGE_UNKNOWN, HEAP_HUGE_NEVER, HEAP_HUGE_MADVISE, HEAP_HUGE_ALWAYS };

/* Bytes unless the name says otherwise; HEAP_UNKNOWN is what could not be told, never 0. */
struct heap {
	/* Whose heap it is; ALLOCATOR_UNKNOWN: no layout that we know validated. */
	enum allocator_name allocator;
	uint64_t walk_ns;    /* how long it took */
	uint64_t read_bytes; /* of the process's memory */

	/* glibc. */
	uint64_t system_bytes;    /* asked of the kernel for all arenas (mallinfo2's arena) */
	uint64_t mmapped_bytes;   /* in chunks with a mapping of their own (hblkhd) */
	uint64_t live_bytes;      /* allocated and not freed, mmapped ones too, tcaches not */
	uint64_t cached_bytes;    /* in tcaches */
	uint64_t held_free_bytes; /* in bins, fastbins and tops (fordblks) */
	uint64_t fastbin_bytes;   /* part of that */
	uint64_t top_bytes;       /* part of that */
	uint64_t held_free_resident_bytes; /* resident bytes of held_free_bytes */
	uint64_t top_resident_bytes;       /* resident bytes of top_bytes, whole pages */
	uint64_t trimmable_bytes;          /* what malloc_trim(0) would drop from RSS now */
	uint64_t trimmable_top_bytes;      /* part of that: main arena's top, by brk */
	/* Resident free bytes that it could not drop: held_free_resident_bytes - trimmable_bytes,
	 * so with the tops of all arenas but the main one. */
	uint64_t page_pinned_bytes;
	uint64_t arenas, segments;
	uint64_t lost_segments, lost_bytes; /* could not be walked to their end */
	uint64_t trim_threshold_bytes, mmap_threshold_bytes, top_pad_bytes;
	uint64_t thresholds_dynamic; /* 1: they may ratchet up; 0: fixed by a setting */
	uint64_t arena_max;          /* 0: no limit set */
	unsigned pin_count;
	struct heap_pin pins[HEAP_PINS]; /* by below_bytes, greatest first */
	/* What would go back by itself, without a trim, if the heap_unpin_chunks[i] topmost live
	 * chunks of each segment were freed. */
	uint64_t unpin_bytes[HEAP_UNPINS];

	/* jemalloc. */
	uint64_t active_bytes;   /* pages with live allocations (stats.active) */
	uint64_t dirty_bytes;    /* freed, resident, to be purged */
	uint64_t muzzy_bytes;    /* given back lazily */
	uint64_t dirty_decay_ms; /* HEAP_DECAY_NEVER: -1 */
	uint64_t muzzy_decay_ms;
	uint64_t background_thread; /* 1 or 0 */

	/* Any. */
	uint64_t anon_bytes;     /* resident anonymous memory, read together with the walk */
	uint64_t huge_bytes;     /* of it, in transparent huge pages (AnonHugePages) */
	uint64_t lazyfree_bytes; /* of it, given back lazily */
	uint64_t threads;
	uint64_t purging_threads;      /* named jemalloc_bg_thd */
	enum heap_huge_mode huge_mode; /* /sys/kernel/mm/transparent_hugepage/enabled */
};

#define HEAP_DECAY_NEVER (UINT64_MAX - 1)

/* Everything unknown. */
void heap_unknown(struct heap *ret_heap);

/* A copy to be freed, NULL when out of memory. */
struct heap *heap_copy(const struct heap *heap);
struct allocators *allocators_copy(const struct allocators *allocators);

#endif
