/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns whose page each page of a process is. Three kinds of things: pages (pageset.h) name a
 * window; a window is a request, or a stretch of time of a thread, and names a holder; a holder is
 * what is reported. A window counts its pages, so that it can change its holder as a whole: a
 * request's route is known at its end, and pages of a place may be adopted for a request. An
 * adopted window has a leader and counts nothing any more. Numbers are pages times 2^level.
 *
 * A page that goes is counted as gone at once and remembered until a pass agrees. Called by track.
 */
#include "retention_state.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pagestay/core/estimate.h"

#define GRACE_NS     50000000ull /* what changed so shortly before a pass waits for the next */
#define MAX_LEVEL    30
#define MEMORY_UNITS (1u << 19) /* for so long, 9 minutes, pages that are gone are remembered */
#define PAGE_STEPS   64 /* what a tracked page costs, in pages that are only counted through */

/*
 * What happens to a page.
 */

static void window_change(struct retention *retention, struct window *window, enum page_state state,
	struct sampled pages)
{
	struct holder *holder = holder_of(window->holder);
	struct counts change = {};

	if (state == PAGE_RESIDENT)
		change.resident = pages;
	else if (state == PAGE_FREED)
		change.freed = pages;
	else if (state == PAGE_SWAPPED)
		change.swapped = pages;
	counts_add(&window->counts, &change);
	counts_add(&holder->counts, &change);
	if (window->end_ns && state != PAGE_RESIDENT)
		curve_set_aside(&holder->curve, window->slot_ns, change.swapped, change.freed);
}

/* What the n-th touch of a page counts. */
static struct sampled touch_number(const struct retention *retention, uint32_t n)
{
	double pages = (double)weight(retention);

	return (struct sampled){(int64_t)pages, n ? pages * (2.0 * n - 1) : pages};
}

static struct sampled weight_of(const struct retention *retention, const struct page *page)
{
	return touch_number(retention, page->total);
}

/* Between PAGE_RESIDENT, PAGE_FREED and PAGE_SWAPPED. */
static void page_become(struct retention *retention, struct page *page, enum page_state state)
{
	struct window *window = window_at(retention, page);
	struct sampled pages = weight_of(retention, page);

	window_change(retention, window, page->state, negative(pages));
	page->state = state;
	window_change(retention, window, page->state, pages);
}

static void page_count_death(
	struct retention *retention, struct window *window, uint64_t at_ns, struct sampled pages)
{
	retention->died += pages.pages;
	if (window->end_ns)
		curve_die(&holder_of(window->holder)->curve, window->slot_ns, window->end_ns, at_ns,
			pages);
	else
		window_lose(window, at_ns, pages);
}

static void page_die(struct retention *retention, struct page *page, uint64_t at_ns)
{
	struct window *window = window_at(retention, page);
	struct sampled pages = weight_of(retention, page);

	window_change(retention, window, page->state, negative(pages));
	page_count_death(retention, window, at_ns, pages);
	page->state = PAGE_GONE;
	page->changed = at_ns >> UNIT_BITS;
}

/* When a page changed, given a time that is not long after. */
static uint64_t page_changed_ns(const struct page *page, uint64_t near_ns)
{
	uint32_t ago = (uint32_t)(near_ns >> UNIT_BITS) - page->changed;

	return near_ns - ((uint64_t)ago << UNIT_BITS);
}

/* It was said to be gone, and is there. */
static void page_revive(struct retention *retention, struct page *page, uint64_t now_ns)
{
	struct window *window = window_at(retention, page);
	struct sampled pages = weight_of(retention, page);

	page_count_death(retention, window, page_changed_ns(page, now_ns), negative(pages));
	page->state = PAGE_RESIDENT;
	window_change(retention, window, PAGE_RESIDENT, pages);
}

static void page_give(struct retention *retention, struct page *page, struct window *window)
{
	page->window = window->index;
	window->uses++;
	page->state = PAGE_RESIDENT;
	window_change(retention, leader_of(window), PAGE_RESIDENT, weight_of(retention, page));
}

static void page_forget(struct retention *retention, uint64_t number, const struct page *page)
{
	struct window *window = retention->windows[page->window];

	pageset_remove(&retention->pages, number);
	window_release(retention, window);
}

/* Returns what the touch counts in the interval. */
static struct sampled page_count_touch(struct retention *retention, struct page *page)
{
	if (page->interval != retention->interval) {
		page->interval = retention->interval;
		page->times = 0;
	}
	page->times += page->times < UINT16_MAX;
	page->total += page->total < UINT32_MAX;
	return touch_number(retention, page->times);
}

static void count_place(
	struct retention *retention, const struct ps_page *event, struct sampled pages)
{
	if (event->place == PS_IN_WINDOW)
		sampled_add(&retention->exclusive, pages);
	else if (event->place == PS_OVERLAPPING)
		sampled_add(&retention->overlapped, pages);
	else
		sampled_add(&retention->outside, pages);
	if (event->flags & PS_PAGE_BY_KERNEL)
		retention->kernel_pages += pages.pages;
	if (event->pages > 1 && !(event->flags & PS_PAGE_BY_KERNEL))
		retention->huge_pages += pages.pages;
}

/*
 * Does a touch replace a page by a copy? Kernels that tell each change of their counts say so, and
 * then, if the counts change too, that it was none. Others tell that something was there: a page
 * that is known is copied, and what is not known was the zero page or a file's.
 */
static enum page_copy copy_of(const struct page *page, const struct ps_page *event)
{
	if (event->kind == PS_PAGE_COPIED)
		return COPY_TOLD;
	if ((event->flags & PS_PAGE_PRESENT) && page && page->state != PAGE_GONE)
		return COPY_FOUND;
	return COPY_NONE;
}

static int page_touched(struct retention *retention, uint64_t number, struct window *window,
	const struct ps_page *event)
{
	struct page *page = pageset_get(&retention->pages, number);
	struct window *before = NULL, *leader = leader_of(window);
	struct holder *holder = holder_of(leader->holder);
	struct sampled pages;
	enum page_copy copy = copy_of(page, event);

	/* What was taken for a copy made the process grow: it replaced no page that counts. */
	if (copy == COPY_FOUND && page->copied == COPY_TOLD &&
		window_at(retention, page) == leader) {
		page->copied = COPY_NONE;
		retention->copied_pages -= (int64_t)weight(retention);
		return 0;
	}
	if (page) {
		if (page->state != PAGE_GONE)
			page_die(retention, page, event->at_ns);
		before = retention->windows[page->window];
	} else {
		page = pageset_add(&retention->pages, number);
	}
	if (!page)
		return -ENOMEM;
	pages = page_count_touch(retention, page);
	page_give(retention, page, window);
	if (before)
		window_release(retention, before);
	page->changed = event->at_ns >> UNIT_BITS;
	page->copied = copy;
	page->moved = false;
	if (copy != COPY_NONE)
		retention->copied_pages += pages.pages;
	sampled_add(&leader->counts.touched, pages);
	sampled_add(&holder->counts.touched, pages);
	if (leader->end_ns)
		curve_touch(&holder->curve, leader->slot_ns, weight_of(retention, page));
	count_place(retention, event, pages);
	return 0;
}

/*
 * Sampling.
 */

static bool is_sampled(const struct retention *retention, uint64_t number)
{
	return ps_page_sampled(number, retention->options.page_seed, retention->level);
}

/* A page that was moved is sampled by a number that is no longer known: here its own halves it. */
static bool stays_sampled(
	const struct retention *retention, uint64_t number, const struct page *page)
{
	uint64_t seed = retention->options.page_seed + retention->level * 0x9e3779b97f4a7c15ull;

	return page->moved ? ps_page_sampled(number, seed, 1) : is_sampled(retention, number);
}

/* What is there now, but not what was touched, changes with the sample; growth does not. */
static void counts_retell(struct retention *retention, struct window *window, bool after)
{
	struct holder *holder = holder_of(window->holder);
	struct sampled now = counts_now(&window->counts);
	int64_t resident = window->counts.resident.pages + window->counts.freed.pages;

	holder->resident_before += after ? resident : -resident;
	if (window->end_ns)
		curve_touch(&holder->curve, window->slot_ns, after ? now : negative(now));
}

static void counts_drop_now(struct window *window)
{
	struct holder *holder = holder_of(window->holder);
	struct counts now = window->counts;

	now.touched = (struct sampled){};
	counts_take(&window->counts, &now);
	counts_take(&holder->counts, &now);
	if (window->end_ns)
		curve_set_aside(&holder->curve, window->slot_ns, negative(now.swapped),
			negative(now.freed));
}

/*
 * One more page is left out for each that stays, and each that stays stands for both. A curve's
 * slot takes the new number of pages that are there for the old one: that they went is counted by
 * the new sample, and what is left when all have gone is none.
 */
static void level_raise(struct retention *retention)
{
	struct page *page;

	for (size_t i = 0; i < retention->window_room; i++)
		if (retention->windows[i]) {
			counts_retell(retention, retention->windows[i], false);
			counts_drop_now(retention->windows[i]);
		}
	retention->level++;
	for (uint64_t at = 0; (page = pageset_next(&retention->pages, &at)); at++) {
		if (!stays_sampled(retention, at, page))
			page_forget(retention, at, page);
		else if (page->state != PAGE_GONE)
			window_change(retention, window_at(retention, page), page->state,
				weight_of(retention, page));
		if (at == UINT64_MAX)
			break;
	}
	for (size_t i = 0; i < retention->window_room; i++)
		if (retention->windows[i])
			counts_retell(retention, retention->windows[i], true);
}

int retention_level(struct retention *retention, uint64_t level)
{
	while (retention->level < level && retention->level < MAX_LEVEL)
		level_raise(retention);
	return 0;
}

static bool is_long_gone(const struct retention *retention, const struct page *page)
{
	uint32_t ago = (uint32_t)(retention->now_ns >> UNIT_BITS) - page->changed;

	return page->state == PAGE_GONE && (!retention->level || ago > MEMORY_UNITS);
}

static void forget_gone(struct retention *retention)
{
	struct page *page;

	for (uint64_t at = 0; (page = pageset_next(&retention->pages, &at)); at++) {
		if (is_long_gone(retention, page))
			page_forget(retention, at, page);
		if (at == UINT64_MAX)
			break;
	}
}

static bool is_crowded(const struct retention *retention)
{
	return retention->pages.count > retention->options.max_pages / 4 * 3;
}

/*
 * Where pages are sampled, those that are gone have their share of the room: intervals would be too
 * narrow if pages that are touched again and again were taken for new ones.
 */
static void pages_bound(struct retention *retention)
{
	if (retention->pages.count <= retention->options.max_pages)
		return;
	forget_gone(retention);
	while (is_crowded(retention) && retention->level < MAX_LEVEL)
		level_raise(retention);
}

/*
 * Page records.
 */

/* Is there time for so many steps? What is beyond is passed over. */
static bool steps_take(const struct retention *retention, uint64_t steps)
{
	if (!retention->options.steps)
		return true;
	if (steps > *retention->options.steps)
		return false;
	*retention->options.steps -= steps;
	return true;
}

/* So many pages to count through, of which some are tracked. */
static bool pages_take(const struct retention *retention, uint64_t pages)
{
	uint64_t steps = pages + PAGE_STEPS * (pages >> retention->level);

	return pages < 1ull << 40 && steps_take(retention, steps);
}

/* The first page at or behind *at and before `to`; NULL: none, or no time. */
static struct page *walk(const struct retention *retention, uint64_t *at, uint64_t to)
{
	struct page *page = *at < to ? pageset_next(&retention->pages, at) : NULL;

	return page && *at < to && steps_take(retention, PAGE_STEPS) ? page : NULL;
}

/* The bounds of an event's range, whatever it claims. */
static struct range range_of(const struct ps_page *event)
{
	struct range range = {event->page, UINT64_MAX};

	(void)__builtin_add_overflow(event->page, event->pages, &range.to);
	if (range.to < range.from)
		range.to = UINT64_MAX;
	return range;
}

/* Whose end an overlapping page's age should count from is not known: it is the touch. */
static int overlapping_begins(struct retention *retention, struct window *window)
{
	const struct sampled none = {};
	uint64_t end_ns = (window->key.set + 1) << OVERLAP_BITS;

	if (window->end_ns)
		return 0;
	window->end_ns = end_ns ? end_ns : 1;
	return curve_add(&retention->overlapping.curve, window->end_ns, none, &window->slot_ns);
}

static int range_touched(struct retention *retention, const struct ps_page *event)
{
	struct window *window = window_for(retention, event);
	struct range range = range_of(event);
	int error = 0;

	if (!window)
		return -ENOMEM;
	if (!pages_take(retention, range.to - range.from))
		return 0;
	if (event->place == PS_OVERLAPPING)
		error = overlapping_begins(retention, window);
	if (!window->first_ns)
		window->first_ns = event->at_ns;
	window->uses++;
	for (uint64_t number = range.from; number < range.to && !error; number++) {
		if (is_sampled(retention, number))
			error = page_touched(retention, number, window, event);
		if (!(number & 1023))
			pages_bound(retention);
	}
	window_release(retention, window);
	pages_bound(retention);
	return error;
}

static void range_dropped(struct retention *retention, const struct ps_page *event)
{
	struct range range = range_of(event);
	struct page *page;

	for (uint64_t at = range.from; (page = walk(retention, &at, range.to)); at++)
		if (page->state != PAGE_GONE)
			page_die(retention, page, event->at_ns);
}

static void range_freed(struct retention *retention, const struct ps_page *event)
{
	struct range range = range_of(event);
	struct page *page;

	for (uint64_t at = range.from; (page = walk(retention, &at, range.to)); at++)
		if (page->state == PAGE_RESIDENT)
			page_become(retention, page, PAGE_FREED);
}

static void move_note(struct retention *retention, uint64_t from, uint64_t to)
{
	if (retention->move_count == MAX_MOVES) {
		retention->move_count--;
		memmove(&retention->moves[0], &retention->moves[1],
			retention->move_count * sizeof(retention->moves[0]));
	}
	retention->moves[retention->move_count++] = (struct range){from, to};
}

static bool was_moved_to(const struct retention *retention, uint64_t number)
{
	for (size_t i = 0; i < retention->move_count; i++)
		if (number >= retention->moves[i].from && number < retention->moves[i].to)
			return true;
	return false;
}

/* A page keeps its owner at its new number. What was there is gone. */
static int page_move(struct retention *retention, uint64_t from, uint64_t to)
{
	const struct page *page = pageset_get(&retention->pages, to);
	struct page moving, *moved;

	if (page)
		page_forget(retention, to, page);
	moved = pageset_add(&retention->pages, to);
	if (!moved)
		return -ENOMEM;
	moving = *pageset_get(&retention->pages, from);
	*moved = moving;
	moved->moved = retention->level > 0;
	retention->moved = retention->moved || moved->moved;
	pageset_remove(&retention->pages, from);
	return 0;
}

static int range_moved(struct retention *retention, const struct ps_page *event)
{
	struct range range = range_of(event);
	struct ps_page target = *event;
	const struct page *page;
	int error = 0;

	/* The kernel lets no range overlap its target. */
	if (event->to > UINT64_MAX - event->pages ||
		(event->to < range.to && event->to + event->pages > range.from))
		return 0;
	target.page = event->to;
	range_dropped(retention, &target);
	if (retention->level)
		move_note(retention, event->to, event->to + event->pages);
	for (uint64_t at = range.from; !error && (page = walk(retention, &at, range.to)); at++)
		if (page->state != PAGE_GONE && steps_take(retention, 3ull * PAGE_STEPS))
			error = page_move(retention, at, event->to + (at - range.from));
	return error;
}

static void all_dropped(struct retention *retention, const struct ps_page *event)
{
	const struct ps_page all = {.pages = UINT64_MAX, .at_ns = event->at_ns};

	range_dropped(retention, &all);
	retention->looked_up = false;
	retention->passed_to = 0;
	retention->move_count = 0;
}

static int request_ended(struct retention *retention, const struct ps_page *event)
{
	const struct window_key key = {event->set, event->tid, PS_IN_WINDOW};
	struct window *window = window_find(retention, &key);
	struct holder *holder;

	if (!window)
		return 0;
	holder = route_get(retention, event->to);
	return holder ? window_end(retention, window, holder, event->at_ns) : -ENOMEM;
}

/*
 * The pages of a place are a request's after all. A worker may have touched some before the request
 * was received: then nothing is sure, and they stay background.
 */
static int place_adopted(struct retention *retention, const struct ps_page *event)
{
	const struct window_key key = {event->set, event->tid, event->place};
	const struct window_key target = {event->to, event->to_tid, PS_IN_WINDOW};
	struct window *window = window_find(retention, &key), *leader;

	if (!window || event->place < PS_IN_TAIL || event->place > PS_IN_WORKER)
		return 0;
	if (event->place == PS_IN_WORKER && window->first_ns < event->to) {
		window_hide(retention, window);
		return 0;
	}
	window->uses++; /* making room for the other must not end it */
	leader = window_get(retention, &target, &retention->open);
	if (!leader) {
		window_release(retention, window);
		return -ENOMEM;
	}
	if (!leader->first_ns || leader->first_ns > window->first_ns)
		leader->first_ns = window->first_ns;
	counts_take(&holder_of(window->holder)->counts, &window->counts);
	counts_add(&leader->counts, &window->counts);
	counts_add(&holder_of(leader->holder)->counts, &window->counts);
	deaths_hand_over(leader, window);
	retention->outside = sampled_minus(retention->outside, window->counts.touched);
	sampled_add(&retention->exclusive, window->counts.touched);
	if (event->place == PS_IN_WORKER)
		retention->followed_pages += window->counts.touched.pages;
	window->counts = (struct counts){};
	window->leader = leader;
	leader->uses++;
	if (window_find(retention, &key) == window)
		window_hide(retention, window);
	window_release(retention, window);
	return 0;
}

int retention_page(struct retention *retention, const struct ps_page *event)
{
	switch (event->kind) {
	case PS_PAGE_TOUCHED:
	case PS_PAGE_COPIED:
		retention->now_ns = event->at_ns;
		return range_touched(retention, event);
	case PS_PAGE_DROPPED:
		range_dropped(retention, event);
		return 0;
	case PS_PAGE_FREED:
		range_freed(retention, event);
		return 0;
	case PS_PAGE_MOVED:
		return range_moved(retention, event);
	case PS_PAGE_ENDED:
		return request_ended(retention, event);
	case PS_PAGE_ADOPTED:
		return place_adopted(retention, event);
	case PS_PAGE_EXECED:
		all_dropped(retention, event);
		return 0;
	default:
		return 0;
	}
}

/*
 * Passes.
 */

/* What changed later a pass may have missed. */
static uint32_t fresh_since(uint64_t began_ns)
{
	return (began_ns > GRACE_NS ? began_ns - GRACE_NS : 0) >> UNIT_BITS;
}

static bool is_fresh(const struct page *page, uint64_t began_ns)
{
	return (int32_t)(page->changed - fresh_since(began_ns)) >= 0;
}

static void page_absent(
	struct retention *retention, uint64_t number, struct page *page, uint64_t began_ns)
{
	if (is_fresh(page, began_ns))
		return;
	if (page->state != PAGE_GONE)
		page_die(retention, page, began_ns);
	/* How often it was touched matters only where pages are sampled, and here. */
	if (!retention->level || page->moved)
		page_forget(retention, number, page);
}

/* It was said to be gone, and something is there. Is it the same page? */
static bool page_is_back(
	struct retention *retention, uint64_t number, struct page *page, uint64_t began_ns)
{
	if (is_fresh(page, began_ns))
		return false;
	/* Whose number is not sampled was moved here; who touched it anew is not told. */
	if (!is_sampled(retention, number)) {
		page_forget(retention, number, page);
		return false;
	}
	page_revive(retention, page, began_ns);
	return true;
}

static void page_present(struct retention *retention, uint64_t number, struct page *page,
	bool swapped, uint64_t began_ns)
{
	if (page->state == PAGE_GONE && !page_is_back(retention, number, page, began_ns))
		return;
	/* Times of long ago could be taken for times to come. */
	if (!is_fresh(page, began_ns))
		page->changed = fresh_since(began_ns) - 1;
	if (swapped && page->state != PAGE_SWAPPED)
		page_become(retention, page, PAGE_SWAPPED);
	else if (!swapped && page->state == PAGE_SWAPPED)
		page_become(retention, page, PAGE_RESIDENT);
}

/* There, and nobody is known to have touched it. */
static int page_found(struct retention *retention, uint64_t number, bool swapped, uint64_t began_ns)
{
	struct holder *holder =
		retention->looked_up ? &retention->unexplained : &retention->earlier;
	struct window *window;
	struct page *page;

	if (!is_sampled(retention, number) || was_moved_to(retention, number))
		return 0;
	window = window_untouched(retention, holder);
	page = window ? pageset_add(&retention->pages, number) : NULL;
	if (!page)
		return -ENOMEM;
	page_give(retention, page, window);
	page->changed = began_ns >> UNIT_BITS;
	if (swapped)
		page_become(retention, page, PAGE_SWAPPED);
	return 0;
}

static void range_absent(struct retention *retention, uint64_t from, uint64_t to, uint64_t began_ns)
{
	struct page *page;

	for (uint64_t at = from; (page = walk(retention, &at, to)); at++)
		page_absent(retention, at, page, began_ns);
}

static int run_present(
	struct retention *retention, uint64_t from, uint64_t to, bool swapped, uint64_t began_ns)
{
	int error = 0;

	for (uint64_t at = from; at < to && !error; at++) {
		struct page *page;

		if (!is_sampled(retention, at) && !retention->moved)
			continue;
		page = pageset_get(&retention->pages, at);
		if (page)
			page_present(retention, at, page, swapped, began_ns);
		else
			error = page_found(retention, at, swapped, began_ns);
		if (!(at & 1023))
			pages_bound(retention);
	}
	return error;
}

/* Page numbers of user space on the architectures that we know; more is forged. */
#define MAX_NUMBER (1ull << 52)

int retention_resident(struct retention *retention, const struct event_resident *event)
{
	uint64_t at = event->from;
	int error = 0;

	retention->now_ns = event->began_ns;
	for (size_t i = 0; i < EVENT_RUNS && !error; i++) {
		uint64_t skip = event->runs[2 * i], length = event->runs[2 * i + 1] >> 1;

		/* A sound recording has no such numbers. */
		if (!length || skip > MAX_NUMBER || at > MAX_NUMBER)
			break;
		if (!pages_take(retention, length))
			return 0;
		range_absent(retention, at, at + skip, event->began_ns);
		at += skip;
		error = run_present(
			retention, at, at + length, event->runs[2 * i + 1] & 1, event->began_ns);
		at += length;
	}
	if (error)
		return error;
	range_absent(retention, at, event->to, event->began_ns);
	pages_bound(retention);
	if (event->from == 0)
		retention->passed_to = 0;
	if (event->from == retention->passed_to)
		retention->passed_to = event->to;
	if (retention->passed_to == UINT64_MAX) {
		retention->looked_up = true;
		retention->passed_to = 0;
	}
	return 0;
}

/*
 * Intervals.
 */

static void holder_begin(struct holder *holder)
{
	holder->counts.touched = (struct sampled){};
	holder->resident_before = holder->counts.resident.pages + holder->counts.freed.pages;
}

static int64_t carry(int64_t count)
{
	return count < 0 ? count : 0;
}

static struct sampled sampled_carry(struct sampled pages)
{
	return (struct sampled){carry(pages.pages), fmin(pages.squares, 0)};
}

void retention_begin(struct retention *retention)
{
	struct holder *holder, *next;

	HASH_ITER (hh, retention->routes, holder, next)
		holder_begin(holder);
	holder_begin(&retention->other);
	holder_begin(&retention->open);
	holder_begin(&retention->overlapping);
	holder_begin(&retention->background);
	holder_begin(&retention->earlier);
	holder_begin(&retention->unexplained);
	retention->exclusive = sampled_carry(retention->exclusive);
	retention->overlapped = sampled_carry(retention->overlapped);
	retention->outside = sampled_carry(retention->outside);
	retention->copied_pages = carry(retention->copied_pages);
	retention->followed_pages = retention->kernel_pages = retention->huge_pages = 0;
	retention->died = 0;
	retention->looked_up_before = retention->looked_up;
	retention->interval++;
}

void retention_end(struct retention *retention, uint64_t now_ns, uint64_t requests)
{
	struct window *window, *next_window;
	struct holder *holder, *next;

	HASH_ITER (hh, retention->by_key, window, next_window)
		if (window->key.place == PS_OVERLAPPING && window->end_ns < now_ns)
			window_hide(retention, window);
	HASH_ITER (hh, retention->routes, holder, next)
		curve_advance(&holder->curve, now_ns);
	curve_advance(&retention->other.curve, now_ns);
	curve_advance(&retention->overlapping.curve, now_ns);
	/* All requests of the process are counted where no route is. */
	retention->open.requests += requests;
}

/*
 * Life.
 */

struct retention *retention_new(const struct retention_options *options)
{
	struct retention *retention = calloc(1, sizeof(*retention));

	if (!retention)
		return NULL;
	retention->options = *options;
	retention->other.kind = HOLDER_ROUTE;
	retention->open.kind = HOLDER_OPEN;
	retention->overlapping.kind = HOLDER_OVERLAPPING;
	retention->background.kind = HOLDER_BACKGROUND;
	retention->earlier.kind = HOLDER_EARLIER;
	retention->unexplained.kind = HOLDER_UNEXPLAINED;
	return retention;
}

void retention_free(struct retention *retention)
{
	struct window *window, *next_window;
	struct holder *holder, *next;

	if (!retention)
		return;
	HASH_ITER (hh, retention->by_key, window, next_window)
		HASH_DEL(retention->by_key, window);
	for (size_t i = 0; i < retention->window_room; i++) {
		if (!retention->windows[i])
			continue;
		holder_release(retention->windows[i]->holder);
		window_free(retention->windows[i]);
	}
	free(retention->windows);
	free(retention->free_windows);
	pageset_deinit(&retention->pages);
	HASH_ITER (hh, retention->routes, holder, next) {
		HASH_DEL(retention->routes, holder);
		curve_deinit(&holder->curve);
		free(holder);
	}
	curve_deinit(&retention->other.curve);
	curve_deinit(&retention->overlapping.curve);
	free(retention);
}
