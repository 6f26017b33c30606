/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns windows and their holders: who has which, when a window is over, and the bounds of both. A
 * window that nothing names any more is freed; a route that was folded lives on as a name for
 * `other` until no window names it. Called by the other parts of retention.
 */
#include "retention_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OPEN 16384 /* windows that wait for their end; beyond, the oldest end */

void holder_release(struct holder *holder)
{
	if (!--holder->windows && holder->into)
		free(holder);
}

void window_free(struct window *window)
{
	free(window->deaths);
	free(window);
}

void window_release(struct retention *retention, struct window *window)
{
	while (window && --window->uses == 0) {
		struct window *leader = window->leader;

		retention->windows[window->index] = NULL;
		retention->free_windows[retention->free_count++] = window->index;
		holder_release(window->holder);
		window_free(window);
		window = leader;
	}
}

void window_hide(struct retention *retention, struct window *window)
{
	HASH_DEL(retention->by_key, window);
	free(window->deaths);
	window->deaths = NULL;
	window_release(retention, window);
}

static void deaths_merge_oldest(struct deaths *deaths)
{
	sampled_add(&deaths->at[0].pages, deaths->at[1].pages);
	deaths->count--;
	memmove(&deaths->at[1], &deaths->at[2], (deaths->count - 1) * sizeof(deaths->at[0]));
}

/* Times that pages cannot tell apart are one. */
static void deaths_add(struct deaths *deaths, uint64_t at_ns, struct sampled pages)
{
	for (size_t i = deaths->count; i--;)
		if (deaths->at[i].at_ns >> UNIT_BITS == at_ns >> UNIT_BITS) {
			sampled_add(&deaths->at[i].pages, pages);
			return;
		}
	if (deaths->count == DEATHS)
		deaths_merge_oldest(deaths);
	deaths->at[deaths->count++] = (struct death){at_ns, pages};
}

/* Pages went before the window's end. If it will never end, nobody asks when. */
void window_lose(struct window *window, uint64_t at_ns, struct sampled pages)
{
	if (window->deaths)
		deaths_add(window->deaths, at_ns, pages);
}

/* What was lost of a window that is adopted is its leader's. */
void deaths_hand_over(struct window *leader, struct window *window)
{
	for (size_t i = 0; window->deaths && i < window->deaths->count; i++)
		window_lose(leader, window->deaths->at[i].at_ns, window->deaths->at[i].pages);
	free(window->deaths);
	window->deaths = NULL;
}

static bool windows_grow(struct retention *retention)
{
	size_t room = retention->window_room ? 2 * retention->window_room : 64;
	struct window **windows = reallocarray(retention->windows, room, sizeof(struct window *));
	uint32_t *stack;

	if (!windows)
		return false;
	retention->windows = windows;
	stack = reallocarray(retention->free_windows, room, sizeof(*stack));
	if (!stack)
		return false;
	retention->free_windows = stack;
	for (size_t i = room; i > retention->window_room; i--) {
		windows[i - 1] = NULL;
		stack[retention->free_count++] = i - 1;
	}
	retention->window_room = room;
	return true;
}

/* The window is over: its pages, there and gone, have an age from now on. 0 or -ENOMEM. */
int window_enter_curve(struct window *window, struct holder *holder)
{
	struct sampled touched = counts_now(&window->counts);
	int error;

	for (size_t i = 0; window->deaths && i < window->deaths->count; i++)
		sampled_add(&touched, window->deaths->at[i].pages);
	error = curve_add(&holder->curve, window->end_ns, touched, &window->slot_ns);
	if (error)
		return error;
	curve_set_aside(
		&holder->curve, window->slot_ns, window->counts.swapped, window->counts.freed);
	for (size_t i = 0; window->deaths && i < window->deaths->count; i++)
		curve_die(&holder->curve, window->slot_ns, window->end_ns,
			window->deaths->at[i].at_ns, window->deaths->at[i].pages);
	return 0;
}

int window_end(
	struct retention *retention, struct window *window, struct holder *holder, uint64_t end_ns)
{
	int error;

	counts_take(&holder_of(window->holder)->counts, &window->counts);
	holder_release(window->holder);
	window->holder = holder;
	holder->windows++;
	counts_add(&holder->counts, &window->counts);
	window->end_ns = end_ns ? end_ns : 1;
	error = window_enter_curve(window, holder);
	window_hide(retention, window);
	return error;
}

static int windows_bound(struct retention *retention)
{
	struct window *oldest = retention->by_key;

	if (HASH_COUNT(retention->by_key) < MAX_OPEN)
		return 0;
	if (oldest->holder->kind == HOLDER_OPEN)
		return window_end(retention, oldest, &retention->other, oldest->first_ns);
	window_hide(retention, oldest);
	return 0;
}

struct window *window_find(struct retention *retention, const struct window_key *key)
{
	struct window *window;

	HASH_FIND(hh, retention->by_key, key, sizeof(*key), window);
	return window;
}

static struct window *window_new(const struct window_key *key)
{
	struct window *window = calloc(1, sizeof(*window));

	if (!window)
		return NULL;
	window->key = *key;
	window->uses = 1;
	if (key->place == PS_BACKGROUND || key->place == PS_PLACES)
		return window;
	window->deaths = calloc(1, sizeof(*window->deaths));
	if (window->deaths)
		return window;
	window_free(window);
	return NULL;
}

/* The window of that key, new if need be; NULL when out of memory. */
struct window *window_get(
	struct retention *retention, const struct window_key *key, struct holder *holder)
{
	struct window *window = window_find(retention, key);

	if (window)
		return window;
	if (windows_bound(retention) || (!retention->free_count && !windows_grow(retention)))
		return NULL;
	window = window_new(key);
	if (!window)
		return NULL;
	HASH_ADD(hh, retention->by_key, key, sizeof(window->key), window);
	if (!table_has(window)) {
		window_free(window);
		return NULL;
	}
	window->index = retention->free_windows[--retention->free_count];
	retention->windows[window->index] = window;
	window->holder = holder;
	holder->windows++;
	return window;
}

/* The window for pages that were touched at a place. */
struct window *window_for(struct retention *retention, const struct ps_page *event)
{
	struct window_key key = {event->set, event->tid, event->place};

	switch (event->place) {
	case PS_IN_WINDOW:
		return window_get(retention, &key, &retention->open);
	case PS_OVERLAPPING:
		key = (struct window_key){event->at_ns >> OVERLAP_BITS, 0, PS_OVERLAPPING};
		return window_get(retention, &key, &retention->overlapping);
	case PS_IN_TAIL:
	case PS_IN_RECEIVE:
	case PS_IN_WORKER:
		return window_get(retention, &key, &retention->background);
	default:
		key = (struct window_key){0, 0, PS_BACKGROUND};
		return window_get(retention, &key, &retention->background);
	}
}

/* A window for pages that nobody touched: one of a kind, never over. */
struct window *window_untouched(struct retention *retention, struct holder *holder)
{
	const struct window_key key = {holder->kind, 0, PS_PLACES};

	return window_get(retention, &key, holder);
}

/* A route leaves the table and is a mere name for `other` as long as windows name it. */
static void route_fold(struct retention *retention, struct holder *holder)
{
	struct holder *into = &retention->other;

	if (curve_fold(&into->curve, &holder->curve))
		curve_deinit(&holder->curve);
	counts_add(&into->counts, &holder->counts);
	into->resident_before += holder->resident_before;
	into->requests += holder->requests;
	HASH_DEL(retention->routes, holder);
	holder->into = into;
	if (!holder->windows)
		free(holder);
}

static int by_residence(const void *a, const void *b)
{
	const struct holder *left = *(struct holder *const *)a, *right = *(struct holder *const *)b;
	int64_t kept_left = counts_now(&left->counts).pages;
	int64_t kept_right = counts_now(&right->counts).pages;

	return (kept_left > kept_right) - (kept_left < kept_right);
}

/* Half of the routes, those that keep the least, become `other`. */
static int routes_bound(struct retention *retention)
{
	size_t count = HASH_COUNT(retention->routes), used = 0;
	struct holder **all, *holder, *next;

	if (count < retention->options.max_routes || !count)
		return 0;
	all = calloc(count, sizeof(struct holder *));
	if (!all)
		return -ENOMEM;
	HASH_ITER (hh, retention->routes, holder, next)
		all[used++] = holder;
	qsort(all, used, sizeof(struct holder *), by_residence);
	for (size_t i = 0; i < (used + 1) / 2; i++)
		route_fold(retention, all[i]);
	free(all);
	return 0;
}

/* The route of a hash, new if need be; NULL when out of memory. */
struct holder *route_get(struct retention *retention, uint64_t hash)
{
	struct holder *holder;

	HASH_FIND(hh, retention->routes, &hash, sizeof(hash), holder);
	if (holder)
		return holder;
	if (routes_bound(retention))
		return NULL;
	holder = calloc(1, sizeof(*holder));
	if (!holder)
		return NULL;
	holder->kind = HOLDER_ROUTE;
	holder->hash = hash;
	HASH_ADD(hh, retention->routes, hash, sizeof(holder->hash), holder);
	if (table_has(holder))
		return holder;
	free(holder);
	return NULL;
}

int retention_route(struct retention *retention, uint64_t hash, const char *text, uint64_t requests)
{
	struct holder *holder = route_get(retention, hash);

	if (!holder)
		return -ENOMEM;
	(void)strncpy(holder->text, text, sizeof(holder->text) - 1);
	holder->requests += requests;
	return 0;
}
