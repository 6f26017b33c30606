/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The tracked pages of one process: what is known of each, by page number, in order.
 *
 * Some 30 bytes a page, and what its window takes. Page numbers may be any; a number is an address
 * divided by the page size.
 */
#ifndef PAGESTAY_CORE_PAGESET_H
#define PAGESTAY_CORE_PAGESET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum page_state {
	PAGE_RESIDENT,
	PAGE_FREED, /* resident, but given back lazily */
	PAGE_SWAPPED,
	PAGE_GONE, /* remembered for how often it was touched, or until a pass agrees */
};

/* How a page came, as far as copy on write goes. */
enum page_copy {
	COPY_NONE,
	COPY_TOLD,  /* by a record that calls it a copy */
	COPY_FOUND, /* where a page was known to be */
};

struct page {
	uint32_t window;   /* whose page it is: an index of retention's */
	uint32_t changed;  /* when it was touched or went, in retention's units */
	uint32_t total;    /* times that it was touched since sampling began */
	uint16_t interval; /* which interval `times` counts in */
	uint16_t times;    /* in that interval */
	uint8_t state;     /* enum page_state */
	uint8_t copied;    /* enum page_copy */
	uint8_t moved;     /* its number changed: sampled by the one it had */
};

struct pageset {
	void *judy; /* page number -> index of pages */
	struct page *pages;
	uint32_t *free;
	size_t count; /* of pages in the set */
	size_t room, free_count;
};

void pageset_deinit(struct pageset *set);

/* NULL if it is not there. A pointer is valid until the next pageset_add. */
struct page *pageset_get(const struct pageset *set, uint64_t number);

/* A page that was not there, zeroed; or NULL when out of memory. */
struct page *pageset_add(struct pageset *set, uint64_t number);

void pageset_remove(struct pageset *set, uint64_t number);

/* The first page at or behind *number, which is set to its own; NULL: there is none. */
struct page *pageset_next(const struct pageset *set, uint64_t *number);

#endif
