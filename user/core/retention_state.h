/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the parts of retention share: retention.c folds events, retention_windows.c has windows and
 * their holders, retention_report.c adds up. Nobody else includes this.
 */
#ifndef PAGESTAY_CORE_RETENTION_STATE_H
#define PAGESTAY_CORE_RETENTION_STATE_H

#include "pagestay/base/table.h"
#include "pagestay/core/pageset.h"
#include "pagestay/core/retention.h"

#define UNIT_BITS    20 /* pages note times in units of 2^20 ns, about a millisecond */
#define OVERLAP_BITS 27 /* overlapping pages of 2^27 ns, 134 ms, share a window */
#define MAX_MOVES    32 /* ranges that were moved while sampling; beyond, the oldest is forgotten */

enum holder_kind {
	HOLDER_ROUTE,
	HOLDER_OPEN, /* requests under way: no route yet */
	HOLDER_OVERLAPPING,
	HOLDER_BACKGROUND,
	HOLDER_EARLIER,
	HOLDER_UNEXPLAINED,
};

struct counts {
	/* Of a window: in all; of a holder: in the interval. Repeated: within an interval. */
	struct sampled touched;
	/* Repeated: since sampling began. */
	struct sampled resident, freed, swapped;
};

/* When pages of an open window went: its end may be told after that. */
#define DEATHS 8 /* times of a window; beyond, the oldest ones become one */

struct deaths {
	size_t count;
	struct death {
		uint64_t at_ns;
		struct sampled pages;
	} at[DEATHS];
};

struct holder {
	enum holder_kind kind;
	uint64_t hash;
	char text[PS_ROUTE_BYTES]; /* empty: not known yet, or `other` */
	struct counts counts;
	int64_t resident_before; /* freed or not, when the interval began */
	uint64_t requests;
	struct curve curve;
	size_t windows;      /* that name it */
	struct holder *into; /* folded: in no table, and only a name for that one */
	UT_hash_handle hh;   /* by hash */
};

struct window_key {
	uint64_t set;
	uint32_t tid;
	uint32_t place;
};

struct window {
	struct window_key key;
	struct holder *holder;
	struct window *leader;
	struct counts counts;
	struct deaths *deaths; /* while it may end yet, else NULL */
	uint64_t first_ns;     /* of its pages' touches */
	uint64_t end_ns;       /* 0: not over */
	uint64_t slot_ns;      /* names it in its holder's curve */
	uint32_t index;        /* in retention's windows */
	uint32_t uses;     /* pages and windows that name it, and 1 if it can be found by its key */
	UT_hash_handle hh; /* by key */
};

struct range {
	uint64_t from, to;
};

struct retention {
	struct retention_options options;
	unsigned level;
	struct pageset pages;
	struct window **windows;
	uint32_t *free_windows;
	size_t window_room, free_count;
	struct window *by_key; /* those that are not over, oldest first */
	struct holder *routes; /* by hash */
	struct holder other;   /* routes that were folded */
	struct holder open, overlapping, background, earlier, unexplained;
	/* Of the interval, by the place; what adoption changes later may be negative: it carries.
	 */
	struct sampled exclusive, overlapped, outside;
	uint64_t followed_pages, kernel_pages, huge_pages;
	int64_t copied_pages;
	uint16_t interval;
	bool looked_up;        /* a pass has been through all */
	bool looked_up_before; /* before the interval began */
	uint64_t passed_to;
	int64_t died; /* of the interval: pages that went */
	struct range moves[MAX_MOVES];
	size_t move_count;
	uint64_t now_ns; /* of the last page record or pass */
	bool moved;      /* some pages' numbers changed while sampling */
};

static inline uint64_t weight(const struct retention *retention)
{
	return 1ull << retention->level;
}

static inline struct holder *holder_of(struct holder *holder)
{
	while (holder->into)
		holder = holder->into;
	return holder;
}

static inline struct sampled negative(struct sampled pages)
{
	return sampled_minus((struct sampled){}, pages);
}

static inline void counts_add(struct counts *counts, const struct counts *more)
{
	sampled_add(&counts->touched, more->touched);
	sampled_add(&counts->resident, more->resident);
	sampled_add(&counts->freed, more->freed);
	sampled_add(&counts->swapped, more->swapped);
}

static inline void counts_take(struct counts *counts, const struct counts *more)
{
	counts->touched = sampled_minus(counts->touched, more->touched);
	counts->resident = sampled_minus(counts->resident, more->resident);
	counts->freed = sampled_minus(counts->freed, more->freed);
	counts->swapped = sampled_minus(counts->swapped, more->swapped);
}

/* What has not gone. */
static inline struct sampled counts_now(const struct counts *counts)
{
	struct sampled now = counts->resident;

	sampled_add(&now, counts->freed);
	sampled_add(&now, counts->swapped);
	return now;
}

static inline struct window *leader_of(struct window *window)
{
	while (window->leader)
		window = window->leader;
	return window;
}

static inline struct window *window_at(const struct retention *retention, const struct page *page)
{
	return leader_of(retention->windows[page->window]);
}

/* Of retention_windows.c. What makes something is NULL, or -ENOMEM, when out of memory. */

/* The window of that key, new if need be, with its holder then. */
struct window *window_get(
	struct retention *retention, const struct window_key *key, struct holder *holder);
struct window *window_find(struct retention *retention, const struct window_key *key);

/* The window for pages that were touched at an event's place. */
struct window *window_for(struct retention *retention, const struct ps_page *event);

/* A window for pages that nobody touched: one of a kind, never over. */
struct window *window_untouched(struct retention *retention, struct holder *holder);

/* It is over: its pages have an age from now on. */
int window_end(
	struct retention *retention, struct window *window, struct holder *holder, uint64_t end_ns);

/* It enters its holder's curve, with what is in it. */
int window_enter_curve(struct window *window, struct holder *holder);

/* It cannot be found by its key any more. */
void window_hide(struct retention *retention, struct window *window);

/* One user less; the last one frees it. */
void window_release(struct retention *retention, struct window *window);

/* At the end of everything. */
void window_free(struct window *window);
void holder_release(struct holder *holder);

/* Pages went, whose age is not known until the window is over. */
void window_lose(struct window *window, uint64_t at_ns, struct sampled pages);
void deaths_hand_over(struct window *leader, struct window *window);

/* The route of a hash, new if need be. */
struct holder *route_get(struct retention *retention, uint64_t hash);

#endif
