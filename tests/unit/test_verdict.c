/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Verdicts: watches of servers as they were measured, then thin data and forged numbers. A watch is
 * told by key frames; between them values go in straight lines.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "pagestay/core/history.h"
#include "pagestay/core/verdict.h"
#include "seeded.h"

#define S      1000000000ull
#define KIB    1024ull
#define MIB    (KIB * KIB)
#define STEP_S 2
#define FRAMES 6

/* MiB, and requests a second until the next frame. */
struct frame {
	unsigned at_s;
	double anon, live, held, requests;
};

struct world {
	struct history history;
	struct report_process process;
	struct heap heap;
	struct allocators allocators;
	struct report_route routes[2];
};

enum kind { BLIND, GLIBC, JEMALLOC };

struct shape {
	const char *name;
	enum kind kind;
	struct frame frames[FRAMES];
	unsigned xray_every; /* intervals; 0: each */
	double noise;        /* MiB, of live and anonymous memory */
	void (*adjust)(struct world *world);
	enum verdict_code code;
	enum verdict_cause cause;
	double least, most;       /* confidence */
	const char *evidence;     /* a part of it */
	enum verdict_cause first; /* remedy; CAUSE_NONE: there is none */
};

static void world_init(struct world *world, enum kind kind)
{
	struct report_process *process = &world->process;

	memset(world, 0, sizeof(*world));
	history_init(&world->history);
	heap_unknown(&world->heap);
	memset(process->counters, 0, sizeof(process->counters));
	process->key.tgid = 4711;
	process->comm = "server";
	process->page_bytes = 4096;
	process->open = 0;
	process->swap_bytes = 0;
	process->lazyfree_bytes = 0;
	process->cpu_ns = 0;
	process->sample_ratio = 1;
	report_retention_unknown(&process->retention);
	process->attribution.exclusive = process->attribution.overlapping = REPORT_UNKNOWN;
	process->attribution.background = REPORT_UNKNOWN;
	process->allocators = &world->allocators;
	world->allocators.count = 1;
	world->allocators.list[0].name = kind == GLIBC      ? ALLOCATOR_GLIBC
					 : kind == JEMALLOC ? ALLOCATOR_JEMALLOC
							    : ALLOCATOR_TCMALLOC;
	world->heap.lazyfree_bytes = 0;
	world->heap.huge_bytes = 0;
	world->heap.huge_mode = HEAP_HUGE_MADVISE;
	world->heap.threads = 20;
	world->heap.purging_threads = 0;
	world->heap.lost_segments = 0;
}

static uint64_t bytes(double mib)
{
	return mib > 0 ? (uint64_t)(mib * (double)MIB) : 0;
}

/* Free memory is 90 % interior, 2 % top, 8 % pinned, unless a case says otherwise. */
static void fill_heap(struct world *world, enum kind kind, double live, double held)
{
	struct heap *heap = &world->heap;

	if (kind == GLIBC) {
		heap->allocator = ALLOCATOR_GLIBC;
		heap->live_bytes = bytes(live);
		heap->cached_bytes = MIB;
		heap->system_bytes = bytes(live + held);
		heap->held_free_bytes = heap->held_free_resident_bytes = bytes(held);
		heap->top_bytes = heap->top_resident_bytes = bytes(held * 0.02);
		heap->trimmable_bytes = bytes(held * 0.9);
		heap->trimmable_top_bytes = 0;
		/* With the tops that a trim leaves. */
		heap->page_pinned_bytes = bytes(held * 0.1);
		heap->arenas = 16;
		heap->segments = 40;
		heap->trim_threshold_bytes = heap->mmap_threshold_bytes = 128 * KIB;
		heap->thresholds_dynamic = 1;
		heap->arena_max = 0;
	} else if (kind == JEMALLOC) {
		heap->allocator = ALLOCATOR_JEMALLOC;
		heap->active_bytes = bytes(live);
		heap->dirty_bytes = bytes(held);
		heap->muzzy_bytes = 0;
		heap->dirty_decay_ms = 10000;
		heap->muzzy_decay_ms = 0;
		heap->background_thread = 0;
	}
}

static void frame_at(const struct shape *shape, double at_s, struct frame *ret_frame)
{
	const struct frame *to = &shape->frames[1];
	double part;

	while (at_s > to->at_s && to + 1 < shape->frames + FRAMES && to[1].at_s)
		to++;
	part = (at_s - to[-1].at_s) / (to->at_s - to[-1].at_s);
	part = part > 1 ? 1 : part;
	ret_frame->anon = to[-1].anon + part * (to->anon - to[-1].anon);
	ret_frame->live = to[-1].live + part * (to->live - to[-1].live);
	ret_frame->held = to[-1].held + part * (to->held - to[-1].held);
	ret_frame->requests = to[-1].requests;
}

static unsigned length_s(const struct shape *shape)
{
	unsigned longest = 0;

	for (int i = 0; i < FRAMES; i++)
		if (shape->frames[i].at_s > longest)
			longest = shape->frames[i].at_s;
	return longest;
}

static void watch(struct world *world, const struct shape *shape)
{
	struct seeded seeded = {1};

	world_init(world, shape->kind);
	for (unsigned at_s = STEP_S, step = 0; at_s <= length_s(shape); at_s += STEP_S, step++) {
		double noise = shape->noise * ((double)(seeded_below(&seeded, 1000)) / 500 - 1);
		struct frame now;

		frame_at(shape, at_s, &now);
		world->process.anon_bytes = bytes(now.anon + noise);
		world->process.rss_bytes = bytes(now.anon + noise + 4);
		world->process.counters[PS_REQUESTS] = (uint64_t)(now.requests * STEP_S);
		world->process.heap = NULL;
		if (shape->kind != BLIND && (!shape->xray_every || !(step % shape->xray_every))) {
			fill_heap(world, shape->kind, now.live + noise, now.held);
			world->process.heap = &world->heap;
		}
		if (shape->adjust)
			shape->adjust(world);
		history_fold(&world->history, &world->process, STEP_S * S, (at_s + 100) * S);
	}
	world->process.history = &world->history;
}

/*
 * What makes the shapes different.
 */

static void survive(struct world *world, double ratio, double touched, double kept)
{
	world->process.retention.survival[1] =
		(struct report_survival){bytes(touched) / 4096, bytes(touched * ratio) / 4096,
			ratio, ratio > 0.05 ? ratio - 0.05 : 0, ratio < 0.95 ? ratio + 0.05 : 1};
	world->process.retention.kept.value = bytes(kept) / 4096;
}

static void madvise(struct world *world, double mib)
{
	bool is_busy = world->process.counters[PS_REQUESTS];

	world->process.counters[PS_MADVISE_CALLS] = is_busy ? 100 : 10;
	world->process.counters[PS_MADVISE_DONTNEED_BYTES] = bytes(mib);
}

static void loses_half(struct world *world)
{
	world->heap.lost_segments = 4;
	world->heap.system_bytes = world->process.anon_bytes;
	world->heap.lost_bytes = world->process.anon_bytes / 2;
}

static void hoards_tops(struct world *world)
{
	struct heap *heap = &world->heap;

	heap->trim_threshold_bytes = bytes(39.9);
	heap->mmap_threshold_bytes = bytes(19.95);
	heap->top_resident_bytes = heap->held_free_resident_bytes / 10 * 8;
	heap->trimmable_top_bytes = 10 * MIB;
	heap->trimmable_bytes = heap->held_free_resident_bytes / 10 + 10 * MIB;
	heap->page_pinned_bytes = heap->held_free_resident_bytes - heap->trimmable_bytes;
}

static void keeps_bodies(struct world *world)
{
	world->heap.page_pinned_bytes = world->heap.held_free_resident_bytes / 10;
	world->heap.mmap_threshold_bytes = 12 * MIB;
	world->heap.trim_threshold_bytes = 24 * MIB;
}

/* 9 arenas, each with a block of up to 12 MiB at its top, and next to nothing else. */
static void blocks_at_tops(struct world *world)
{
	struct heap *heap = &world->heap;

	keeps_bodies(world);
	heap->arenas = 9;
	heap->top_resident_bytes = heap->page_pinned_bytes = heap->held_free_resident_bytes;
	heap->trimmable_bytes = heap->trimmable_top_bytes = 0;
}

static void spreads_tops(struct world *world)
{
	world->heap.arenas = 32;
	world->heap.top_resident_bytes = world->heap.held_free_resident_bytes / 10 * 9;
	world->heap.trimmable_bytes = world->heap.held_free_resident_bytes / 20;
	world->heap.page_pinned_bytes = world->heap.held_free_resident_bytes / 20 * 19;
}

static void pins_pages(struct world *world)
{
	world->heap.page_pinned_bytes = world->heap.held_free_resident_bytes / 10 * 9;
	world->heap.trimmable_bytes = world->heap.held_free_resident_bytes / 20;
}

static void purges(struct world *world)
{
	madvise(world, 8);
	world->heap.background_thread = 1;
	world->heap.purging_threads = 4;
}

static void never_decays(struct world *world)
{
	world->heap.background_thread = 1;
	world->heap.purging_threads = 4;
	world->heap.dirty_decay_ms = HEAP_DECAY_NEVER;
}

static void pins_active(struct world *world)
{
	purges(world);
	survive(world, 0.9, 200, 200);
}

static void pins_known(struct world *world)
{
	pins_active(world);
	world->heap.live_bytes = 30 * MIB;
}

static void refills(struct world *world)
{
	purges(world);
	madvise(world, 20);
	world->heap.huge_bytes = world->process.anon_bytes / 10 * 9;
	world->heap.huge_mode = HEAP_HUGE_ALWAYS;
}

/* 52 of 58 MiB in the watch: what a trim leaves is held as well. */
static void trims_and_refills(struct world *world)
{
	madvise(world, world->history.intervals == 3 ? 52 : 0);
	world->heap.huge_bytes = world->process.anon_bytes / 10 * 9;
}

static void is_rust(struct world *world)
{
	struct allocator *allocator = &world->allocators.list[0];

	allocator->name = ALLOCATOR_JEMALLOC;
	allocator->is_static = true;
	strcpy(allocator->prefix, "_rjem_");
	heap_unknown(&world->heap);
	world->process.heap = &world->heap;
}

static void never_purges(struct world *world)
{
	is_rust(world);
	survive(world, 0.98, 280, 270);
}

static void leaks_in_rust(struct world *world)
{
	is_rust(world);
	survive(world, 0.98, 12, 12);
}

static void frees_lazily(struct world *world)
{
	is_rust(world);
	strcpy(world->allocators.settings, "_RJEM_MALLOC_CONF=background_thread:true");
	world->process.lazyfree_bytes = world->process.anon_bytes / 10 * 9;
}

static void has_two(struct world *world)
{
	world->allocators.count = 2;
	world->allocators.list[0].name = ALLOCATOR_JEMALLOC;
	world->allocators.list[1].name = ALLOCATOR_GLIBC;
}

static void is_go(struct world *world)
{
	world->allocators.list[0].name = ALLOCATOR_GO;
	heap_unknown(&world->heap);
	world->process.heap = &world->heap;
}

static void is_musl(struct world *world)
{
	world->allocators.list[0].name = ALLOCATOR_MUSL;
}

static void takes_and_returns(struct world *world)
{
	survive(world, 0, 120, 0);
}

static void leaks_blindly(struct world *world)
{
	survive(world, 0.97, 100, 100);
	world->process.counters[PS_MMAP_ANON_BYTES] = 8 * MIB;
}

static void leaks_unread(struct world *world)
{
	leaks_blindly(world);
	heap_unknown(&world->heap);
	world->process.heap = &world->heap;
}

static const struct shape shapes[] = {
	/* Retaining, on glibc. */
	{"blocks_as_measured", GLIBC,
		{{0, 97, 30, 65, 90}, {13, 97, 1.5, 95, 0}, {60, 97, 1.5, 95, 0}},
		.adjust = blocks_at_tops, .code = VERDICT_RETAINING, .cause = CAUSE_HOARDED_TOP,
		.least = 0.85, .most = 0.9, .evidence = "0 on pages with live data",
		.first = CAUSE_HOARDED_TOP},
	{"demo_of_684_mib", GLIBC,
		{{0, 10, 10, 0, 400}, {26, 684, 60, 600, 0}, {28, 684, 20, 640, 0},
			{60, 684, 20, 640, 0}},
		.code = VERDICT_RETAINING, .cause = CAUSE_TRIMMABLE_INTERIOR, .least = 0.85,
		.most = 0.9, .evidence = "glibc keeps 640M", .first = CAUSE_TRIMMABLE_INTERIOR},
	{"demo_watched_after_its_bots", GLIBC, {{0, 684, 20, 640, 0}, {30, 684, 20, 640, 0}},
		.code = VERDICT_RETAINING, .cause = CAUSE_TRIMMABLE_INTERIOR, .least = 0.5,
		.most = 0.7, .evidence = "idle for the last 30 s",
		.first = CAUSE_TRIMMABLE_INTERIOR},
	{"demo_under_load", GLIBC, {{0, 684, 90, 500, 400}, {60, 684, 120, 470, 400}}, .noise = 10,
		.code = VERDICT_RETAINING, .cause = CAUSE_TRIMMABLE_INTERIOR, .least = 0.6,
		.most = 0.9, .evidence = "at each of the last", .first = CAUSE_TRIMMABLE_INTERIOR},
	{"demo_xrayed_once", GLIBC,
		{{0, 684, 20, 640, 400}, {4, 684, 20, 640, 0}, {60, 684, 20, 640, 0}},
		.xray_every = 29, .code = VERDICT_RETAINING, .cause = CAUSE_TRIMMABLE_INTERIOR,
		.least = 0.5, .most = 0.6, .evidence = "of idleness",
		.first = CAUSE_TRIMMABLE_INTERIOR},
	{"held_more_once_it_is_idle", GLIBC,
		{{0, 100, 80, 15, 400}, {40, 100, 80, 15, 0}, {42, 100, 40, 55, 0},
			{60, 100, 40, 55, 0}},
		.code = VERDICT_RETAINING, .cause = CAUSE_TRIMMABLE_INTERIOR, .least = 0.5,
		.most = 0.9, .evidence = "glibc keeps 55M", .first = CAUSE_TRIMMABLE_INTERIOR},
	{"walks_that_lose_half", GLIBC,
		{{0, 137, 60, 10, 100}, {10, 137, 10, 61, 0}, {60, 137, 10, 61, 0}},
		.adjust = loses_half, .code = VERDICT_RETAINING, .cause = CAUSE_TRIMMABLE_INTERIOR,
		.least = 0.1, .most = 0.3, .evidence = "could not be walked",
		.first = CAUSE_TRIMMABLE_INTERIOR},
	{"mariadb", GLIBC, {{0, 65, 60, 2, 500}, {30, 239, 65, 170, 0}, {60, 239, 65, 170, 0}},
		.adjust = hoards_tops, .code = VERDICT_RETAINING, .cause = CAUSE_HOARDED_TOP,
		.least = 0.8, .most = 0.9, .evidence = "trim at 40M", .first = CAUSE_HOARDED_TOP},
	{"bodies_of_12_mb", GLIBC, {{0, 10, 8, 0, 20}, {30, 107, 11, 92, 0}, {60, 107, 11, 92, 0}},
		.adjust = keeps_bodies, .code = VERDICT_RETAINING, .cause = CAUSE_MMAP_THRESHOLD,
		.least = 0.8, .most = 0.9, .evidence = "mmap at 12M",
		.first = CAUSE_MMAP_THRESHOLD},
	{"tops_of_many_arenas", GLIBC, {{0, 100, 30, 60, 100}, {60, 100, 30, 60, 100}},
		.adjust = spreads_tops, .code = VERDICT_RETAINING, .cause = CAUSE_MANY_ARENAS,
		.least = 0.8, .most = 0.9, .evidence = "lies at tops", .first = CAUSE_MANY_ARENAS},
	{"free_on_live_pages", GLIBC, {{0, 100, 30, 60, 100}, {60, 100, 30, 60, 100}},
		.adjust = pins_pages, .code = VERDICT_RETAINING, .cause = CAUSE_PAGE_PINNED,
		.least = 0.8, .most = 0.9, .evidence = "on pages with live data",
		.first = CAUSE_PAGE_PINNED},

	/* Growing. */
	{"leak", GLIBC, {{0, 30, 20, 2, 100}, {60, 230, 210, 10, 100}}, .noise = 3,
		.code = VERDICT_GROWING, .cause = CAUSE_LIVE_MEMORY, .least = 0.8, .most = 0.9,
		.evidence = "had not stopped", .first = CAUSE_LIVE_MEMORY},
	{"leak_until_the_traffic_ends", GLIBC,
		{{0, 30, 20, 2, 100}, {40, 230, 210, 10, 0}, {60, 230, 210, 10, 0}},
		.code = VERDICT_GROWING, .cause = CAUSE_LIVE_MEMORY, .least = 0.3, .most = 0.4,
		.evidence = "had not stopped", .first = CAUSE_LIVE_MEMORY},
	{"leak_without_requests", GLIBC, {{0, 30, 20, 2, 0}, {60, 130, 110, 10, 0}},
		.code = VERDICT_GROWING, .cause = CAUSE_LIVE_MEMORY, .least = 0.8, .most = 0.9,
		.evidence = "had not stopped", .first = CAUSE_LIVE_MEMORY},
	{"leak_and_much_held", GLIBC, {{0, 230, 20, 200, 100}, {60, 330, 100, 220, 100}},
		.code = VERDICT_RETAINING, .cause = CAUSE_TRIMMABLE_INTERIOR, .least = 0.1,
		.most = 0.49, .evidence = "glibc keeps", .first = CAUSE_TRIMMABLE_INTERIOR},
	{"leak_on_jemalloc", JEMALLOC, {{0, 30, 25, 3, 100}, {60, 230, 220, 5, 100}},
		.adjust = purges, .code = VERDICT_GROWING, .cause = CAUSE_LIVE_MEMORY, .least = 0.5,
		.most = 0.6, .evidence = "stand for it", .first = CAUSE_LIVE_MEMORY},
	{"leak_on_tcmalloc", BLIND, {{0, 30, 0, 0, 100}, {300, 1030, 0, 0, 100}},
		.adjust = leaks_blindly, .code = VERDICT_GROWING, .cause = CAUSE_LIVE_MEMORY,
		.least = 0.1, .most = 0.4, .evidence = "an allocator may do that too",
		.first = CAUSE_LIVE_MEMORY},

	/* Steady. */
	{"cache_that_is_full", GLIBC,
		{{0, 20, 10, 2, 100}, {26, 220, 200, 12, 100}, {60, 220, 200, 12, 100}},
		.code = VERDICT_STEADY, .cause = CAUSE_LIVE_MEMORY, .least = 0.8, .most = 0.9,
		.evidence = "stayed between", .first = CAUSE_LIVE_MEMORY},
	{"nothing_held_across_a_wait", GLIBC, {{0, 20, 19, 0.5, 1000}, {60, 20, 19, 0.5, 1000}},
		.noise = 0.2, .code = VERDICT_STEADY, .cause = CAUSE_NONE, .least = 0.8,
		.most = 0.9, .evidence = "stayed between"},
	{"small_with_half_of_it_free", GLIBC, {{0, 12, 5, 6, 10}, {60, 12, 5, 6, 10}},
		.code = VERDICT_STEADY, .cause = CAUSE_NONE, .least = 0.4, .most = 0.9,
		.evidence = "stayed between"},
	{"small_on_musl", BLIND, {{0, 6, 0, 0, 10}, {60, 6, 0, 0, 10}}, .adjust = is_musl,
		.code = VERDICT_STEADY, .cause = CAUSE_NONE, .least = 0.5, .most = 0.6,
		.evidence = "stayed between"},
	/* jemalloc. */
	{"jemalloc_decays", JEMALLOC,
		{{0, 20, 15, 1, 400}, {26, 154, 60, 80, 0}, {40, 95, 88, 2, 0}, {60, 95, 88, 2, 0}},
		.adjust = purges, .code = VERDICT_RETURNING, .cause = CAUSE_NONE, .least = 0.5,
		.most = 0.8, .evidence = "dirty pages went from"},
	{"jemalloc_decays_still", JEMALLOC,
		{{0, 160, 60, 99, 400}, {10, 160, 60, 99, 0}, {30, 80, 58, 20, 0}},
		.adjust = purges, .code = VERDICT_RETURNING, .cause = CAUSE_NONE, .least = 0.3,
		.most = 0.8, .evidence = "decay ran"},
	{"jemalloc_without_thread", JEMALLOC,
		{{0, 20, 15, 2, 400}, {26, 119, 58, 58, 0}, {60, 119, 58, 58, 0}},
		.code = VERDICT_RETAINING, .cause = CAUSE_NO_BACKGROUND_THREAD, .least = 0.75,
		.most = 0.9, .evidence = "idle threads do not purge",
		.first = CAUSE_NO_BACKGROUND_THREAD},
	{"jemalloc_under_load", JEMALLOC, {{0, 119, 58, 58, 400}, {60, 119, 58, 58, 400}},
		.code = VERDICT_UNKNOWN, .cause = CAUSE_NONE, .evidence = "wait: 58M is dirty now",
		.first = CAUSE_NO_BACKGROUND_THREAD},
	{"jemalloc_told_never_to_decay", JEMALLOC,
		{{0, 20, 15, 2, 400}, {26, 119, 58, 58, 0}, {60, 119, 58, 58, 0}},
		.adjust = never_decays, .code = VERDICT_RETAINING, .cause = CAUSE_DECAY_SETTINGS,
		.least = 0.75, .most = 0.9, .evidence = "decay off", .first = CAUSE_DECAY_SETTINGS},
	{"jemalloc_pinned_or_live", JEMALLOC,
		{{0, 20, 15, 2, 400}, {20, 310, 300, 1, 0}, {60, 310, 300, 1, 0}},
		.adjust = pins_active, .code = VERDICT_UNKNOWN, .cause = CAUSE_ACTIVE_FRAGMENTATION,
		.evidence = "stats.allocated", .first = CAUSE_ACTIVE_FRAGMENTATION},
	{"jemalloc_pinned", JEMALLOC,
		{{0, 20, 15, 2, 400}, {20, 310, 300, 1, 0}, {60, 310, 300, 1, 0}},
		.adjust = pins_known, .code = VERDICT_RETAINING,
		.cause = CAUSE_ACTIVE_FRAGMENTATION, .least = 0.8, .most = 0.9,
		.evidence = "fragmentation pins 270M", .first = CAUSE_ACTIVE_FRAGMENTATION},
	{"huge_pages_refill", JEMALLOC, {{0, 400, 100, 10, 100}, {60, 400, 100, 10, 100}},
		.adjust = refills, .code = VERDICT_RETAINING, .cause = CAUSE_HUGE_PAGES,
		.least = 0.7, .most = 0.8, .evidence = "huge pages hold 360M (mode always)",
		.first = CAUSE_HUGE_PAGES},
	{"huge_pages_refill_what_was_trimmed", GLIBC, {{0, 60, 1, 58, 40}, {28, 60, 1, 58, 0}},
		.adjust = trims_and_refills, .code = VERDICT_RETAINING, .cause = CAUSE_HUGE_PAGES,
		.least = 0.4, .most = 0.6, .evidence = "they refill what was returned",
		.first = CAUSE_HUGE_PAGES},
	{"rust_frees_lazily", BLIND, {{0, 300, 0, 0, 100}, {60, 300, 0, 0, 0}},
		.adjust = frees_lazily, .code = VERDICT_RETURNING, .cause = CAUSE_LAZY_FREE,
		.least = 0.7, .most = 0.8, .evidence = "RSS overstates", .first = CAUSE_LAZY_FREE},
	/* What cannot be told. */
	{"rust_never_purges", BLIND,
		{{0, 20, 0, 0, 100}, {6, 300, 0, 0, 100}, {26, 300, 0, 0, 0}, {60, 300, 0, 0, 0}},
		.adjust = never_purges, .code = VERDICT_UNKNOWN,
		.cause = CAUSE_NO_BACKGROUND_THREAD,
		.evidence = "jemalloc does not decay, or it is live memory",
		.first = CAUSE_NO_BACKGROUND_THREAD},
	{"leak_beside_what_goes_back", BLIND,
		{{0, 69, 0, 0, 40}, {14, 40, 0, 0, 40}, {30, 56, 0, 0, 40}}, .adjust = leaks_unread,
		.code = VERDICT_UNKNOWN, .cause = CAUSE_LIVE_MEMORY,
		.evidence = "anonymous memory crept", .first = CAUSE_LIVE_MEMORY},
	{"tcmalloc_grows_for_a_minute", BLIND, {{0, 30, 0, 0, 100}, {60, 230, 0, 0, 100}},
		.adjust = leaks_unread, .code = VERDICT_UNKNOWN, .cause = CAUSE_LIVE_MEMORY,
		.evidence = "anonymous memory crept", .first = CAUSE_LIVE_MEMORY},
	{"leak_of_80_kib_a_second", GLIBC, {{0, 1, 0.5, 0.2, 40}, {28, 3.2, 2.7, 0.2, 40}},
		.code = VERDICT_UNKNOWN, .cause = CAUSE_LIVE_MEMORY, .evidence = "crept up by",
		.first = CAUSE_LIVE_MEMORY},
	{"flat_on_jemalloc", JEMALLOC, {{0, 73, 70, 0, 40}, {60, 73, 70, 0, 40}},
		.code = VERDICT_UNKNOWN, .cause = CAUSE_NONE, .evidence = "stats.allocated"},
	{"leak_on_static_jemalloc", BLIND,
		{{0, 12, 0, 0, 40}, {13, 24, 0, 0, 0}, {30, 24, 0, 0, 0}}, .adjust = leaks_in_rust,
		.code = VERDICT_UNKNOWN, .cause = CAUSE_LIVE_MEMORY, .evidence = "crept up by",
		.first = CAUSE_LIVE_MEMORY},
	{"leak_on_musl", BLIND, {{0, 2, 0, 0, 40}, {30, 5, 0, 0, 40}}, .adjust = is_musl,
		.code = VERDICT_UNKNOWN, .cause = CAUSE_LIVE_MEMORY,
		.evidence = "anonymous memory crept", .first = CAUSE_LIVE_MEMORY},
	{"two_allocators", GLIBC, {{0, 200, 5, 1, 100}, {60, 200, 5, 1, 100}}, .adjust = has_two,
		.code = VERDICT_UNKNOWN, .cause = CAUSE_NONE, .evidence = "outside the heap",
		.first = CAUSE_NO_BACKGROUND_THREAD},
	{"cache_that_has_just_filled", GLIBC,
		{{0, 20, 10, 2, 100}, {45, 220, 200, 12, 100}, {60, 220, 200, 12, 100}},
		.code = VERDICT_UNKNOWN, .cause = CAUSE_NONE, .evidence = "watch longer"},
	{"tcmalloc_idle", BLIND, {{0, 175, 0, 0, 100}, {10, 175, 0, 0, 0}, {60, 175, 0, 0, 0}},
		.code = VERDICT_UNKNOWN, .cause = CAUSE_NONE,
		.evidence = "run `pagestay diagnose 4711`", .first = CAUSE_DECAY_SETTINGS},
	{"go", BLIND, {{0, 175, 0, 0, 100}, {60, 175, 0, 0, 0}}, .adjust = is_go,
		.code = VERDICT_UNKNOWN, .cause = CAUSE_RUNTIME_HEAP,
		.evidence = "from outside (go)", .first = CAUSE_RUNTIME_HEAP},

	/* Returning, as the kernel sees it. */
	{"waves_watched_until_within_one", GLIBC,
		{{0, 2, 1, 0.5, 40}, {12, 62, 60, 1, 40}, {14, 2, 1, 0.5, 40}, {24, 2, 1, 0.5, 40},
			{28, 42, 40, 1, 40}},
		.adjust = takes_and_returns, .code = VERDICT_RETURNING, .cause = CAUSE_NONE,
		.least = 0.4, .most = 0.6, .evidence = "was there 10 s after the request"},
	{"tcmalloc_returns", BLIND,
		{{0, 20, 0, 0, 100}, {26, 175, 0, 0, 0}, {50, 40, 0, 0, 0}, {60, 40, 0, 0, 0}},
		.code = VERDICT_RETURNING, .cause = CAUSE_NONE, .least = 0.6, .most = 0.8,
		.evidence = "RSS fell by"},
};

/*
 * Checks that hold for every verdict.
 */

static void assert_text(const char *text)
{
	size_t length = strnlen(text, VERDICT_LINE_BYTES);

	assert_true(length < VERDICT_LINE_BYTES);
	for (size_t i = 0; i < length; i++)
		assert_in_range((unsigned char)text[i], ' ', '~');
}

static void assert_remedies(const struct verdict *verdict)
{
	uint64_t before = REPORT_UNKNOWN - 1;
	bool is_unknown = false;

	assert_true(verdict->remedy_count <= VERDICT_REMEDIES);
	for (unsigned i = 0; i < verdict->remedy_count; i++) {
		const struct verdict_remedy *remedy = &verdict->remedies[i];

		assert_in_range(remedy->cause, CAUSE_NONE + 1, CAUSES - 1);
		assert_true(remedy->text[0]);
		assert_text(remedy->text);
		assert_text(remedy->setting);
		assert_text(remedy->caveat);
		if (remedy->forecast_bytes == REPORT_UNKNOWN) {
			is_unknown = true;
			continue;
		}
		assert_false(is_unknown);
		assert_true(remedy->forecast_bytes <= before);
		before = remedy->forecast_bytes;
	}
}

static void assert_sound(const struct report_process *process, const struct verdict *verdict)
{
	struct verdict_symptom symptoms[VERDICT_SYMPTOMS];

	assert_in_range(verdict->code, 0, VERDICT_CODES - 1);
	assert_in_range(verdict->cause, 0, CAUSES - 1);
	assert_true(verdict->confidence >= 0 && verdict->confidence <= 1);
	if (verdict->code == VERDICT_UNKNOWN)
		assert_true(verdict->confidence == 0);
	assert_in_range(verdict->evidence_count, 1, VERDICT_LINES);
	for (unsigned i = 0; i < verdict->evidence_count; i++) {
		assert_true(verdict->evidence[i][0]);
		assert_text(verdict->evidence[i]);
	}
	assert_remedies(verdict);
	if (verdict->code == VERDICT_RETAINING || verdict->code == VERDICT_GROWING) {
		assert_int_not_equal(verdict->cause, CAUSE_NONE);
		assert_true(verdict->remedy_count > 0);
	}
	verdict_symptoms(process, verdict, symptoms);
	for (int i = 0; i < VERDICT_SYMPTOMS; i++) {
		assert_true(symptoms[i].symptom[0]);
		assert_true(symptoms[i].text[0]);
		assert_text(symptoms[i].text);
		assert_in_range(symptoms[i].answer, ANSWER_UNKNOWN, ANSWER_NO);
	}
}

static bool says(const struct verdict *verdict, const char *text)
{
	for (unsigned i = 0; i < verdict->evidence_count; i++)
		if (strstr(verdict->evidence[i], text))
			return true;
	return false;
}

static const struct verdict_remedy *remedy_of(
	const struct verdict *verdict, enum verdict_cause cause)
{
	for (unsigned i = 0; i < verdict->remedy_count; i++)
		if (verdict->remedies[i].cause == cause)
			return &verdict->remedies[i];
	return NULL;
}

static const struct shape *shape_of(const char *name)
{
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		if (!strcmp(shapes[i].name, name))
			return &shapes[i];
	fail_msg("no shape %s", name);
	return NULL;
}

static void print_verdict(const struct shape *shape, const struct verdict *verdict)
{
	print_message("%s: %s, %s, %.2f\n", shape->name, verdict_code_names[verdict->code],
		verdict_cause_names[verdict->cause], verdict->confidence);
	for (unsigned i = 0; i < verdict->evidence_count; i++)
		print_message("    %s\n", verdict->evidence[i]);
	for (unsigned i = 0; i < verdict->remedy_count; i++)
		print_message("  > %s %lld: %s\n", verdict_cause_names[verdict->remedies[i].cause],
			(long long)verdict->remedies[i].forecast_bytes, verdict->remedies[i].text);
}

static void shapes_are_judged(void **state)
{
	static struct world world;
	unsigned wrong = 0;

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		const struct shape *shape = &shapes[i];
		enum verdict_cause first;
		struct verdict verdict;

		watch(&world, shape);
		verdict_reach(&world.process, &verdict);
		assert_sound(&world.process, &verdict);
		first = verdict.remedy_count ? verdict.remedies[0].cause : CAUSE_NONE;
		if (verdict.code == shape->code && verdict.cause == shape->cause &&
			verdict.confidence >= shape->least && verdict.confidence <= shape->most &&
			first == shape->first && says(&verdict, shape->evidence))
			continue;
		print_verdict(shape, &verdict);
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

/*
 * Thin data.
 */

static const struct verdict *reach(const struct report_process *process)
{
	static struct verdict verdict;

	verdict_reach(process, &verdict);
	assert_sound(process, &verdict);
	return &verdict;
}

static void assert_waits(const struct report_process *process, const char *text)
{
	const struct verdict *verdict = reach(process);

	assert_int_equal(verdict->code, VERDICT_UNKNOWN);
	assert_int_equal(verdict->remedy_count, 0);
	assert_non_null(strstr(verdict->evidence[0], text));
}

static struct world *watched(const char *name)
{
	static struct world world;

	watch(&world, shape_of(name));
	return &world;
}

static void a_short_watch_waits(void **state)
{
	struct shape shape = *shape_of("demo_watched_after_its_bots");
	static struct world world;

	shape.frames[1].at_s = 18;
	watch(&world, &shape);
	assert_waits(&world.process, "wait: watched 18 s, a verdict needs at least 20 s");
	shape.frames[1].at_s = 20;
	watch(&world, &shape);
	assert_int_equal(reach(&world.process)->code, VERDICT_RETAINING);
}

static void one_interval_is_no_watch(void **state)
{
	struct world *world = watched("demo_of_684_mib");

	history_init(&world->history);
	history_fold(&world->history, &world->process, 60 * S, 0);
	assert_waits(&world->process, "2 intervals");
	history_fold(&world->history, &world->process, 60 * S, 0);
	assert_int_equal(reach(&world->process)->code, VERDICT_RETAINING);
}

static void a_young_process_waits(void **state)
{
	struct world *world = watched("demo_of_684_mib");

	world->history.age_ns = 29 * S;
	assert_waits(&world->process, "still starting, the process is 29 s old");
	world->history.age_ns = 30 * S;
	assert_int_equal(reach(&world->process)->code, VERDICT_RETAINING);
	world->history.age_ns = 0; /* not known */
	assert_int_equal(reach(&world->process)->code, VERDICT_RETAINING);
}

static void what_has_exited_is_not_judged(void **state)
{
	struct world *world = watched("demo_of_684_mib");

	world->process.exited = true;
	assert_waits(&world->process, "has exited");
}

static void what_has_no_memory_is_not_judged(void **state)
{
	struct world *world = watched("demo_of_684_mib");

	world->process.rss_bytes = 0;
	assert_waits(&world->process, "no memory");
	world->process.rss_bytes = REPORT_UNKNOWN;
	assert_waits(&world->process, "could not be read");
}

/* As in the middle of an exit, before anybody says so. */
static void a_collapse_is_no_return(void **state)
{
	struct world *world = watched("tcmalloc_idle");

	assert_int_equal(reach(&world->process)->code, VERDICT_UNKNOWN);
	world->process.rss_bytes = world->process.anon_bytes = 3 * MIB;
	history_fold(&world->history, &world->process, STEP_S * S, 200 * S);
	assert_waits(&world->process, "went all at once");
	history_fold(&world->history, &world->process, STEP_S * S, 200 * S);
	assert_int_equal(reach(&world->process)->code, VERDICT_RETURNING);
}

static void without_history_nothing_is_said(void **state)
{
	struct world *world = watched("demo_of_684_mib");

	world->process.history = NULL;
	assert_waits(&world->process, "watched 0 s");
}

static void without_an_xray_it_says_how_to_get_one(void **state)
{
	struct world *world = watched("demo_of_684_mib");
	const struct verdict *verdict;

	world->process.heap = NULL;
	verdict = reach(&world->process);
	assert_int_equal(verdict->code, VERDICT_UNKNOWN);
	assert_true(says(verdict, "no x-ray"));
	assert_true(says(verdict, "pagestay diagnose 4711"));
}

static void an_old_xray_says_nothing_of_now(void **state)
{
	struct world *world = watched("demo_of_684_mib");

	world->process.heap_age_s = 20;
	assert_int_equal(reach(&world->process)->code, VERDICT_RETAINING);
	assert_true(says(reach(&world->process), "20 s ago"));
	world->process.heap_age_s = 61;
	assert_int_equal(reach(&world->process)->code, VERDICT_UNKNOWN);
	assert_true(says(reach(&world->process), "the last x-ray is 61 s old"));
}

/*
 * Confidence.
 */

static void a_longer_watch_is_surer(void **state)
{
	struct shape shape = *shape_of("demo_watched_after_its_bots");
	static struct world world;
	double before = 0;

	for (unsigned at_s = 20; at_s <= 60; at_s += 20) {
		shape.frames[1].at_s = at_s;
		watch(&world, &shape);
		assert_true(reach(&world.process)->confidence > before);
		before = reach(&world.process)->confidence;
	}
	shape.frames[1].at_s = 600;
	watch(&world, &shape);
	assert_true(reach(&world.process)->confidence == before);
}

static void what_the_walk_lost_makes_it_less_sure(void **state)
{
	struct world *world = watched("demo_of_684_mib");
	double whole = reach(&world->process)->confidence;

	world->heap.lost_segments = 10;
	world->heap.lost_bytes = world->heap.system_bytes / 4;
	assert_true(fabs(reach(&world->process)->confidence - 0.75 * whole) < 1e-6);
	assert_true(says(reach(&world->process), "10 segments could not be walked"));
}

/* At the threshold, a quarter of memory, nothing is sure. */
static void near_a_threshold_nothing_is_sure(void **state)
{
	for (unsigned held = 15; held <= 35; held++) {
		const struct shape shape = {.name = "near",
			.kind = GLIBC,
			.frames = {{0, 100, 98 - held, held, 10}, {60, 100, 98 - held, held, 10}}};
		static struct world world;
		const struct verdict *verdict;

		watch(&world, &shape);
		verdict = reach(&world.process);
		assert_int_equal(verdict->code, held < 25 ? VERDICT_STEADY : VERDICT_RETAINING);
		if (held > 22 && held < 28)
			assert_in_range((int)(verdict->confidence * 100), 40, 55);
	}
}

static void little_memory_is_never_retained(void **state)
{
	for (unsigned anon = 4; anon <= 64; anon += 4) {
		const struct shape shape = {.name = "little",
			.kind = GLIBC,
			.frames = {{0, anon, 1, 7.9, 10}, {60, anon, 1, 7.9, 10}}};
		static struct world world;

		watch(&world, &shape);
		assert_int_not_equal(reach(&world.process)->code, VERDICT_RETAINING);
	}
}

/*
 * Remedies.
 */

static void remedies_of_the_demo_are_ranked(void **state)
{
	struct world *world = watched("demo_of_684_mib");
	const struct verdict *verdict = reach(&world->process);

	assert_int_equal(verdict->remedies[0].forecast_bytes, bytes(640 * 0.9));
	assert_string_equal(verdict->remedies[0].setting,
		"LD_PRELOAD=libjemalloc.so.2 "
		"MALLOC_CONF=background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0");
	assert_non_null(strstr(verdict->remedies[0].caveat, "1.5 to 4.5 times"));
	assert_non_null(strstr(verdict->remedies[1].setting, "malloc_trim(0)"));
	assert_non_null(strstr(verdict->remedies[1].text, "576M"));
	assert_non_null(strstr(verdict->remedies[2].setting,
		"tikv-jemallocator = { version = \"0.6\", features = [\"background_threads\"] }"));
	assert_non_null(strstr(verdict->remedies[2].setting, "#[global_allocator]"));
	/* 51 MiB on pages with live data is less than a tenth. */
	assert_int_equal(verdict->remedies[3].cause, CAUSE_MANY_ARENAS);
	assert_int_equal(verdict->remedies[3].forecast_bytes, REPORT_UNKNOWN);
	assert_non_null(strstr(verdict->remedies[3].caveat, "857M to 75M"));
	assert_int_equal(verdict->remedy_count, 4);
}

static void thresholds_are_fixed_by_settings(void **state)
{
	const struct verdict_remedy *remedy;

	remedy = remedy_of(reach(&watched("mariadb")->process), CAUSE_HOARDED_TOP);
	assert_string_equal(
		remedy->setting, "MALLOC_TRIM_THRESHOLD_=131072 MALLOC_MMAP_THRESHOLD_=131072");
	assert_int_equal(remedy->forecast_bytes / MIB, 134); /* 136 less a pad for 16 arenas */
	remedy = remedy_of(reach(&watched("bodies_of_12_mb")->process), CAUSE_MMAP_THRESHOLD);
	assert_non_null(remedy);
	assert_non_null(strstr(remedy->text, "12M"));
	assert_null(remedy_of(reach(&watched("demo_of_684_mib")->process), CAUSE_HOARDED_TOP));
}

static void fewer_arenas_give_back_at_most_their_tops(void **state)
{
	struct world *world = watched("tops_of_many_arenas");
	const struct verdict_remedy *remedy = remedy_of(reach(&world->process), CAUSE_MANY_ARENAS);

	assert_non_null(remedy);
	assert_in_range(remedy->forecast_bytes, 1, world->heap.top_resident_bytes);
	assert_non_null(strstr(remedy->text, "the forecast is the most of it"));
}

static void arenas_that_are_limited_are_no_advice(void **state)
{
	struct world *world = watched("demo_of_684_mib");

	world->heap.arena_max = 2;
	assert_null(remedy_of(reach(&world->process), CAUSE_MANY_ARENAS));
}

static void thread_caches_that_pin_are_named(void **state)
{
	struct world *world = watched("demo_of_684_mib");

	world->heap.pin_count = 2;
	world->heap.pins[0] = (struct heap_pin){
		.below_bytes = 60 * MIB, .owner = HEAP_OWNER_TCACHE, .size_bytes = 0x290};
	world->heap.pins[1] =
		(struct heap_pin){.below_bytes = 50 * MIB, .owner = HEAP_OWNER_APPLICATION};
	assert_non_null(strstr(
		reach(&world->process)->remedies[reach(&world->process)->remedy_count - 2].setting,
		"tcache_count=0"));
	assert_true(says(reach(&world->process), "1 of application, 1 of tcache"));
	world->heap.pins[1].below_bytes = 70 * MIB;
	for (unsigned i = 0; i < reach(&world->process)->remedy_count; i++)
		assert_null(strstr(reach(&world->process)->remedies[i].setting, "tcache_count"));
}

static void allocators_that_no_xray_reads_have_settings(void **state)
{
	struct world *world = watched("tcmalloc_idle");
	const struct verdict_remedy *remedy;

	remedy = remedy_of(reach(&world->process), CAUSE_DECAY_SETTINGS);
	assert_string_equal(remedy->setting, "TCMALLOC_RELEASE_RATE=10");
	world->allocators.list[0].name = ALLOCATOR_MIMALLOC;
	remedy = remedy_of(reach(&world->process), CAUSE_DECAY_SETTINGS);
	assert_string_equal(remedy->setting, "MIMALLOC_PURGE_DELAY=0 MIMALLOC_RESET_DELAY=0");
	assert_int_equal(remedy->forecast_bytes, REPORT_UNKNOWN);
}

static void a_static_program_is_not_preloaded(void **state)
{
	struct world *world = watched("demo_of_684_mib");
	const struct verdict *verdict;

	world->allocators.list[0].is_static = true;
	verdict = reach(&world->process);
	assert_int_equal(verdict->code, VERDICT_RETAINING);
	for (unsigned i = 0; i < verdict->remedy_count; i++)
		assert_null(strstr(verdict->remedies[i].setting, "LD_PRELOAD"));
}

static void jemalloc_is_set_by_its_own_variable(void **state)
{
	struct world *world = watched("rust_never_purges");
	const struct verdict_remedy *remedy;

	remedy = remedy_of(reach(&world->process), CAUSE_NO_BACKGROUND_THREAD);
	assert_string_equal(remedy->setting,
		"_RJEM_MALLOC_CONF=background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0");
	/* A prefix comes from the target's file. */
	memcpy(world->allocators.list[0].prefix, "x;rm -rf /\n\x1b[2J", 16);
	remedy = remedy_of(reach(&world->process), CAUSE_NO_BACKGROUND_THREAD);
	assert_int_equal(strncmp(remedy->setting, "MALLOC_CONF=", 12), 0);
	/* Who has asked for the thread needs no such advice. */
	strcpy(world->allocators.settings, "_RJEM_MALLOC_CONF=background_thread:true");
	assert_null(remedy_of(reach(&world->process), CAUSE_NO_BACKGROUND_THREAD));
}

static void growth_names_the_routes_escaped(void **state)
{
	struct world *world = watched("leak");
	const struct verdict_remedy *remedy;

	for (int i = 0; i < 2; i++)
		report_retention_unknown(&world->routes[i].retention);
	world->routes[0].text = "GET /\x1b[31m%s%n\xff";
	world->routes[0].retention.kept.value = 40 * MIB / 4096;
	world->routes[1].text = "POST /upload";
	world->routes[1].retention.kept.value = 20 * MIB / 4096;
	world->process.routes = world->routes;
	world->process.route_count = 2;
	remedy = remedy_of(reach(&world->process), CAUSE_LIVE_MEMORY);
	assert_non_null(strstr(remedy->text, "GET /\\x1b[31m%s%n\\xff (40M), POST /upload (20M)."));
}

/*
 * Symptoms.
 */

static void assert_symptoms(const struct world *world, const char *answers)
{
	static const char letters[] = {'?', 'y', 'n'};
	struct verdict_symptom symptoms[VERDICT_SYMPTOMS];
	char given[VERDICT_SYMPTOMS + 1] = {};

	verdict_symptoms(&world->process, reach(&world->process), symptoms);
	for (int i = 0; i < VERDICT_SYMPTOMS; i++)
		given[i] = letters[symptoms[i].answer];
	assert_string_equal(given, answers);
}

/* RSS grows, no leak is found, far above the heap, concurrent, short requests, a restart helps. */
static void symptoms_of_the_story(void **state)
{
	struct world *world = watched("demo_of_684_mib");

	world->history.open_most = 400;
	world->history.touched_bytes = 2000 * MIB;
	assert_symptoms(world, "yyyyyy");
}

static void symptoms_of_a_leak(void **state)
{
	assert_symptoms(watched("leak"), "ynnyyy");
}

static void symptoms_of_a_steady_server(void **state)
{
	struct world *world = watched("nothing_held_across_a_wait");

	world->heap.threads = 3;
	assert_symptoms(world, "nynnyn");
}

static void symptoms_without_an_xray(void **state)
{
	struct world *world = watched("tcmalloc_idle");

	world->history.open_most = REPORT_UNKNOWN;
	world->history.requests = REPORT_UNKNOWN;
	assert_symptoms(world, "n?????");
}

static void symptoms_of_jemalloc_do_not_deny_fragmentation(void **state)
{
	assert_symptoms(watched("jemalloc_pinned_or_live"), "y??yy?");
}

/*
 * Forged numbers: whatever a damaged recording or a hostile process says.
 */

static uint64_t forged(struct seeded *chance)
{
	static const uint64_t extremes[] = {0, 1, UINT64_MAX, UINT64_MAX - 1, INT64_MAX,
		(uint64_t)INT64_MAX + 1, 1ull << 56, (1ull << 56) + 1, 4096, 64 * MIB, 684 * MIB};

	if (seeded_once_in(chance, 4))
		return seeded_next(chance);
	if (seeded_once_in(chance, 4))
		return seeded_next(chance) >> seeded_below(chance, 64);
	return extremes[seeded_below(chance, sizeof(extremes) / sizeof(extremes[0]))];
}

static void forge(struct seeded *chance, void *numbers, size_t length)
{
	for (size_t i = 0; i + sizeof(uint64_t) <= length; i += sizeof(uint64_t)) {
		uint64_t value = forged(chance);

		memcpy((char *)numbers + i, &value, sizeof(value));
	}
}

static void forge_world(struct world *world, struct seeded *chance)
{
	struct report_process *process = &world->process;
	const enum kind kind = (enum kind)seeded_below(chance, 3);

	world_init(world, kind);
	forge(chance, &world->heap, sizeof(world->heap));
	world->heap.allocator = (enum allocator_name)seeded_below(chance, ALLOCATOR_NAMES + 3);
	forge(chance, process->counters, sizeof(process->counters));
	forge(chance, &process->retention, sizeof(process->retention));
	forge(chance, &process->attribution, offsetof(struct report_attribution, hint));
	forge(chance, &process->growth, sizeof(process->growth));
	forge(chance, &process->heap_age_s, sizeof(process->heap_age_s));
	process->open = forged(chance);
	process->rss_bytes = forged(chance);
	process->anon_bytes = forged(chance);
	process->lazyfree_bytes = forged(chance);
	process->page_bytes = forged(chance);
	process->cpu_ns = forged(chance);
	memset(world->allocators.settings, 'x', sizeof(world->allocators.settings));
	for (unsigned i = 0; i < ALLOCATORS; i++) {
		struct allocator *allocator = &world->allocators.list[i];

		forge(chance, allocator, sizeof(*allocator));
		allocator->is_static = seeded_once_in(chance, 2);
		allocator->name = (enum allocator_name)seeded_below(chance, ALLOCATOR_NAMES + 3);
	}
	world->allocators.count = (unsigned)forged(chance);
	process->heap = seeded_once_in(chance, 4) ? NULL : &world->heap;
	process->allocators = seeded_once_in(chance, 4) ? NULL : &world->allocators;
}

/* Memory that is believed, so that the other numbers come into play. */
static void forge_memory(struct world *world, struct seeded *chance, bool believed)
{
	uint64_t anon = believed ? seeded_below(chance, 1000 * MIB) : forged(chance);

	world->process.anon_bytes = anon;
	world->process.rss_bytes = believed ? anon + 4 * MIB : forged(chance);
	world->heap.live_bytes = believed ? seeded_below(chance, anon + 1) : forged(chance);
	world->heap.active_bytes = world->heap.live_bytes;
	world->heap.held_free_resident_bytes = believed ? anon / 2 : forged(chance);
	world->heap.dirty_bytes = believed ? seeded_below(chance, anon + 1) : forged(chance);
	if (believed)
		world->process.heap_age_s = 0;
}

static void forged_numbers_give_sound_verdicts(void **state)
{
	static struct world world;
	unsigned codes[VERDICT_CODES] = {};

	for (uint64_t seed = 0; seed < 20000; seed++) {
		struct seeded chance = {seed};
		bool believed = seeded_once_in(&chance, 2), is_flat = seeded_once_in(&chance, 2);

		forge_world(&world, &chance);
		forge_memory(&world, &chance, believed);
		for (uint64_t i = seeded_below(&chance, 40); i > 0; i--) {
			if (!is_flat)
				forge_memory(&world, &chance, believed);
			history_fold(&world.history, &world.process,
				seeded_once_in(&chance, 9) ? forged(&chance) : 5 * S,
				seeded_once_in(&chance, 9) ? forged(&chance) : 100 * S);
		}
		if (seeded_once_in(&chance, 3))
			forge(&chance, world.history.samples, sizeof(world.history.samples));
		world.process.history = &world.history;
		codes[reach(&world.process)->code]++;
	}
	/* Not all of them stop at the first rule. */
	for (int i = 0; i < VERDICT_CODES; i++)
		assert_true(codes[i] > 0);
}

static void nothing_known_is_unknown(void **state)
{
	static struct world world;

	world_init(&world, BLIND);
	memset(world.process.counters, 0xff, sizeof(world.process.counters));
	world.process.rss_bytes = world.process.anon_bytes = REPORT_UNKNOWN;
	world.process.heap = &world.heap;
	world.process.history = &world.history;
	for (int i = 0; i < 30; i++)
		history_fold(&world.history, &world.process, STEP_S * S, 0);
	assert_waits(&world.process, "could not be read");
}

static void every_code_and_cause_has_a_name(void **state)
{
	for (int i = 0; i < VERDICT_CODES; i++)
		assert_non_null(verdict_code_names[i]);
	for (int i = 0; i < CAUSES; i++)
		assert_non_null(verdict_cause_names[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shapes_are_judged),
		cmocka_unit_test(a_short_watch_waits),
		cmocka_unit_test(one_interval_is_no_watch),
		cmocka_unit_test(a_young_process_waits),
		cmocka_unit_test(what_has_exited_is_not_judged),
		cmocka_unit_test(what_has_no_memory_is_not_judged),
		cmocka_unit_test(a_collapse_is_no_return),
		cmocka_unit_test(without_history_nothing_is_said),
		cmocka_unit_test(without_an_xray_it_says_how_to_get_one),
		cmocka_unit_test(an_old_xray_says_nothing_of_now),
		cmocka_unit_test(a_longer_watch_is_surer),
		cmocka_unit_test(what_the_walk_lost_makes_it_less_sure),
		cmocka_unit_test(near_a_threshold_nothing_is_sure),
		cmocka_unit_test(little_memory_is_never_retained),
		cmocka_unit_test(remedies_of_the_demo_are_ranked),
		cmocka_unit_test(thresholds_are_fixed_by_settings),
		cmocka_unit_test(fewer_arenas_give_back_at_most_their_tops),
		cmocka_unit_test(arenas_that_are_limited_are_no_advice),
		cmocka_unit_test(thread_caches_that_pin_are_named),
		cmocka_unit_test(allocators_that_no_xray_reads_have_settings),
		cmocka_unit_test(a_static_program_is_not_preloaded),
		cmocka_unit_test(jemalloc_is_set_by_its_own_variable),
		cmocka_unit_test(growth_names_the_routes_escaped),
		cmocka_unit_test(symptoms_of_the_story),
		cmocka_unit_test(symptoms_of_a_leak),
		cmocka_unit_test(symptoms_of_a_steady_server),
		cmocka_unit_test(symptoms_without_an_xray),
		cmocka_unit_test(symptoms_of_jemalloc_do_not_deny_fragmentation),
		cmocka_unit_test(forged_numbers_give_sound_verdicts),
		cmocka_unit_test(nothing_known_is_unknown),
		cmocka_unit_test(every_code_and_cause_has_a_name),
	};

	return cmocka_run_group_tests_name("verdict", tests, NULL, NULL);
}
