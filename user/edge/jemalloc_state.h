/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the files that read jemalloc share: where the counters of one library file are, and the
 * steps by which it is found out. Loading and calibrating run only in the confined child; the
 * layout that it sends is the word of an attacker's file until the reader has validated it.
 */
#ifndef PAGESTAY_EDGE_JEMALLOC_STATE_H
#define PAGESTAY_EDGE_JEMALLOC_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JEMALLOC_IMAGE_BYTES_MAX (1ull << 30) /* of a library in memory */
#define JEMALLOC_ARENA_BYTES_MAX (1u << 20)   /* how far into an arena counters are looked for */
#define JEMALLOC_SWITCHES        8
#define JEMALLOC_ABSENT          UINT64_MAX /* this file has no such counter */

/* What came of a calibration. */
enum jemalloc_outcome {
	JEMALLOC_CALIBRATED,
	JEMALLOC_SILENT,     /* the child ended, or was ended, without a result */
	JEMALLOC_NONSENSE,   /* its result is none that a sound library gives */
	JEMALLOC_UNCONFINED, /* it could not be confined */
	JEMALLOC_UNLOADABLE, /* no library that can be loaded here */
	JEMALLOC_NO_CONTROL, /* no mallctl, or not one that creates arenas (before 5.0) */
	JEMALLOC_NO_ARENAS,  /* the table of arenas was not found */
	JEMALLOC_NO_COUNTERS,
	JEMALLOC_UNTRIED, /* too many others were silent */
	JEMALLOC_OUTCOMES,
};

enum jemalloc_field {
	JEMALLOC_ACTIVE_PAGES,
	JEMALLOC_DIRTY_PAGES,
	JEMALLOC_MUZZY_PAGES,
	JEMALLOC_DIRTY_DECAY_MS,
	JEMALLOC_MUZZY_DECAY_MS,
	JEMALLOC_FIELDS,
};

/* The result of the child: fixed size, numbers only. */
struct jemalloc_layout {
	uint64_t magic;
	uint64_t outcome;
	uint64_t page_bytes;          /* jemalloc's page, not the machine's */
	uint64_t arenas_address;      /* of the table of pointers; 0 is the library's beginning */
	uint64_t arena_count_address; /* of a 32-bit number */
	uint64_t fields[JEMALLOC_FIELDS]; /* offsets in an arena of 64-bit numbers */
	uint64_t switch_count;
	uint64_t switches[JEMALLOC_SWITCHES]; /* addresses of bytes: are 0 if there is no background
						 thread */
};

#define JEMALLOC_MAGIC 0x6a656d616c6c6f63ull

/*
 * Finds out the layout of the library that is the first `bytes` of `fd` in a confined child, within
 * some three seconds. 0, whatever the outcome in *ret_layout is, which has been validated; -errno:
 * no child could be had.
 */
int jemalloc_calibrate(int fd, uint64_t bytes, struct jemalloc_layout *ret_layout);

/*
 * In the child only.
 */

struct jemalloc_segment {
	uint64_t from, to; /* writable addresses, relative to base */
};

#define JEMALLOC_SEGMENTS 8

/* A library loaded for good. */
struct jemalloc_library {
	uint8_t *base;
	size_t bytes;
	const void *symbols;
	size_t symbol_count;
	const char *names;
	size_t names_bytes;
	struct jemalloc_segment segments[JEMALLOC_SEGMENTS];
	size_t segment_count;
};

/* Maps, relocates and initialises. `file` are the bytes of an ELF file. */
int jemalloc_load(const uint8_t *file, size_t bytes, struct jemalloc_library *ret_library);

/* NULL if the library does not define it. */
void *jemalloc_symbol(const struct jemalloc_library *library, const char *name);

/* Drops what the process may do, step by step; -errno of the first step that must not fail. */
int jemalloc_confine(void);

/* The last step: from here on memory can be had and bytes written, and nothing else. */
int jemalloc_filter_calls(void);

#endif
