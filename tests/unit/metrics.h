/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A watch of a server that keeps what it has freed, with every number known: what every metric has
 * a sample of. And a reader of samples.
 */
#ifndef PAGESTAY_TESTS_METRICS_H
#define PAGESTAY_TESTS_METRICS_H

#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pagestay/core/history.h"
#include "pagestay/sink/prometheus.h"

#define MIB       (1024ull * 1024)
#define SECOND_NS 1000000000ull
#define WALL_NS   1767323045678000000ull /* 2026-01-02T03:04:05.678Z */

struct metrics_world {
	struct history history;
	struct heap heap;
	struct allocators allocators;
	struct report_route routes[2];
	struct report_process process;
	struct report report;
	unsigned at_s;
};

static inline void metrics_heap(struct heap *heap)
{
	uint64_t *number = &heap->walk_ns;

	/* All numbers before the first one that is none. */
	for (; number < (uint64_t *)(void *)&heap->pin_count; number++)
		*number = 1;
	heap->allocator = ALLOCATOR_GLIBC;
	heap->walk_ns = 3500000;
	heap->live_bytes = 90 * MIB;
	heap->cached_bytes = MIB;
	heap->system_bytes = 940 * MIB;
	heap->held_free_bytes = heap->held_free_resident_bytes = 850 * MIB;
	heap->top_bytes = heap->top_resident_bytes = 17 * MIB;
	heap->trimmable_bytes = 765 * MIB;
	heap->trimmable_top_bytes = 0;
	heap->page_pinned_bytes = 68 * MIB;
	heap->arenas = 16;
	heap->lost_segments = heap->lost_bytes = 0;
	heap->trim_threshold_bytes = heap->mmap_threshold_bytes = 131072;
	heap->active_bytes = heap->dirty_bytes = heap->muzzy_bytes = 0;
	heap->anon_bytes = 941 * MIB;
	heap->huge_bytes = heap->lazyfree_bytes = 0;
	heap->threads = 20;
	heap->purging_threads = 0;
	heap->huge_mode = HEAP_HUGE_MADVISE;
}

static inline struct report_retention metrics_retention(uint64_t touched, uint64_t kept)
{
	struct report_retention retention = {
		.touched = {touched, touched, touched},
		.kept = {kept, kept, kept},
		.swapped_pages = 3,
		.lazyfree_pages = 5,
		.half_life_s = 12.5,
		.half_life_over_s = 600,
		.touched_pages_per_request = 4,
		.kept_pages_per_request = 2,
		.growth_bytes = 4096,
	};

	for (int i = 0; i < REPORT_AGES; i++)
		retention.survival[i] = (struct report_survival){1000, 950, 0.95, 0.9, 0.97};
	return retention;
}

static inline void metrics_init(struct metrics_world *world)
{
	struct report_process *process = &world->process;

	memset(world, 0, sizeof(*world));
	history_init(&world->history);
	metrics_heap(&world->heap);
	world->allocators.count = 1;
	world->allocators.list[0].name = ALLOCATOR_GLIBC;
	world->routes[0] = (struct report_route){"GET /a", 70, metrics_retention(300, 200)};
	world->routes[1] = (struct report_route){"POST /b", 30, metrics_retention(100, 80)};
	process->key.tgid = 4711;
	process->comm = "server";
	process->exe = "/usr/sbin/server";
	process->unit = "server.service";
	process->open = 7;
	process->closed = 2;
	process->rss_bytes = 960 * MIB;
	process->anon_bytes = 941 * MIB;
	process->page_bytes = 4096;
	process->cpu_ns = 20000000;
	process->sample_ratio = 1;
	process->retention = metrics_retention(400, 280);
	process->attribution.exclusive = 400;
	process->attribution.background = 50;
	process->attribution.exclusive_ratio = 1;
	process->allocators = &world->allocators;
	process->history = &world->history;
	process->heap = &world->heap;
	process->routes = world->routes;
	process->route_count = 2;
	for (int i = 0; i < PS_COUNTERS; i++)
		process->counters[i] = 10;
	world->report = (struct report){
		.wall_ns = WALL_NS,
		.interval_ns = SECOND_NS,
		.host = "web-1",
		.source = "bpf",
		.detail = "pages",
		.routes = true,
		.complete = true,
		.processes = process,
		.process_count = 1,
		.self_rss_bytes = 11 * MIB,
		.self_cpu_ns = 1500000,
		.self_bpf_ns = 2500000,
		.self_bpf_runs = 9000,
	};
}

/* Half a minute of traffic, then none. */
static inline void metrics_step(struct metrics_world *world)
{
	struct report_process *process = &world->process;
	bool is_busy = world->at_s < 30;

	world->at_s++;
	world->report.wall_ns += SECOND_NS;
	process->counters[PS_REQUESTS] = is_busy ? 100 : 0;
	process->anon_bytes = is_busy ? (90 + 28 * world->at_s) * MIB : 941 * MIB;
	process->rss_bytes = process->anon_bytes + 19 * MIB;
	history_fold(&world->history, process, SECOND_NS, (world->at_s + 100) * SECOND_NS);
}

/* Instead of the C library's, so that a rendering may find no memory. */
static bool metrics_no_memory;

FILE *open_memstream(char **ret_bytes, size_t *ret_length)
{
	FILE *(*real)(char **, size_t *) =
		(FILE * (*)(char **, size_t *)) dlsym(RTLD_NEXT, "open_memstream");

	if (!metrics_no_memory)
		return real(ret_bytes, ret_length);
	errno = ENOMEM;
	return NULL;
}

/* The metrics as text; the caller frees it. */
__attribute__((noinline, unused)) static char *metrics_text(
	const struct prometheus_state *state, enum prometheus_format format)
{
	char *bytes = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&bytes, &length);

	if (!out || prometheus_render(out, format, state) != 0 || fclose(out) != 0)
		abort();
	return bytes;
}

/* The value of a series as text up to the line's end; NULL: there is none, or it is there twice. */
static inline const char *metrics_find(const char *text, const char *series)
{
	static char value[64];
	const char *found = NULL;
	size_t length = strlen(series);

	for (const char *line = text; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, series, length) != 0 || line[length] != ' ')
			continue;
		if (found)
			return NULL;
		found = value;
		(void)snprintf(value, sizeof(value), "%.*s", (int)strcspn(line + length + 1, "\n"),
			line + length + 1);
	}
	return found;
}

#endif
