/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reports of services whose verdicts are what the test says: a process's row carries its verdict in
 * numbers that nothing else here reads, and `world_reach` gives it back.
 */
#ifndef PAGESTAY_TESTS_WARDEN_WORLD_H
#define PAGESTAY_TESTS_WARDEN_WORLD_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "pagestay/core/episode.h"
#include "pagestay/core/history.h"

#define WORLD_MIB       (1024ull * 1024)
#define WORLD_S         1000000000ull
#define WORLD_PROCESSES 700
/* 2026-01-02T03:04:05.678Z */
#define WORLD_WALL_NS 1767323045678000000ull

struct world_process {
	char unit[128], container[16], comm[16], exe[256];
	struct history history;
	struct heap heap;
	struct report_route routes[2];
};

struct world {
	struct report report;
	struct report_process rows[WORLD_PROCESSES];
	struct world_process processes[WORLD_PROCESSES];
};

static inline void world_reach(const struct report_process *process, struct verdict *ret_verdict)
{
	memset(ret_verdict, 0, sizeof(*ret_verdict));
	ret_verdict->code = (enum verdict_code)process->open;
	ret_verdict->cause = (enum verdict_cause)process->closed;
	ret_verdict->confidence = (double)process->cpu_ns / 100;
	if (ret_verdict->code == VERDICT_UNKNOWN)
		return;
	ret_verdict->evidence_count = 2;
	(void)snprintf(ret_verdict->evidence[0], VERDICT_LINE_BYTES, "what was decided by");
	(void)snprintf(ret_verdict->evidence[1], VERDICT_LINE_BYTES, "what else there is");
	ret_verdict->remedy_count = 1;
	ret_verdict->remedies[0].cause = ret_verdict->cause;
	ret_verdict->remedies[0].forecast_bytes = REPORT_UNKNOWN;
	(void)snprintf(
		ret_verdict->remedies[0].text, VERDICT_LINE_BYTES, "Run it on another allocator.");
	(void)snprintf(ret_verdict->remedies[0].setting, VERDICT_LINE_BYTES, "NAME=value");
	(void)snprintf(ret_verdict->remedies[0].caveat, VERDICT_LINE_BYTES, "it costs something");
}

/* The sum of two, but for what is not known. */
static inline void world_process_init(
	struct world *world, size_t i, const char *unit, const char *comm)
{
	struct world_process *own = &world->processes[i];
	struct report_process *row = &world->rows[i];

	memset(own, 0, sizeof(*own));
	memset(row, 0, sizeof(*row));
	(void)snprintf(own->unit, sizeof(own->unit), "%s", unit);
	(void)snprintf(own->comm, sizeof(own->comm), "%s", comm);
	(void)snprintf(own->exe, sizeof(own->exe), "/usr/bin/%s", comm);
	heap_unknown(&own->heap);
	own->heap.allocator = ALLOCATOR_GLIBC;
	history_init(&own->history);
	row->key.tgid = 1000 + (unsigned)i;
	row->key.start_ns = WORLD_S + i;
	row->comm = own->comm;
	row->exe = own->exe;
	row->unit = unit[0] ? own->unit : NULL;
	row->heap = &own->heap;
	row->history = &own->history;
	row->page_bytes = 4096;
	report_retention_unknown(&row->retention);
	row->sample_ratio = NAN;
	own->routes[0].text = "GET /a";
	own->routes[1].text = "-";
	for (int route = 0; route < 2; route++)
		report_retention_unknown(&own->routes[route].retention);
	row->routes = own->routes;
	row->route_count = 2;
	row->counters[PS_REQUESTS] = 10;
	row->counters[PS_MUNMAP_BYTES] = 4096;
}

/* RSS is what is kept and 32 MiB, and the least that was seen what is not grown. */
static inline void world_set(struct world *world, size_t i, enum verdict_code code,
	uint64_t kept_mib, uint64_t grown_mib)
{
	struct report_process *row = &world->rows[i];

	row->open = code;
	row->closed = code == VERDICT_RETAINING ? CAUSE_TRIMMABLE_INTERIOR
		      : code == VERDICT_GROWING ? CAUSE_LIVE_MEMORY
						: CAUSE_NONE;
	row->cpu_ns = 80;
	row->rss_bytes = (32 + kept_mib + grown_mib) * WORLD_MIB;
	row->anon_bytes = row->rss_bytes;
	world->processes[i].heap.held_free_resident_bytes = kept_mib * WORLD_MIB;
	world->processes[i].history.rss_least_bytes = (32 + kept_mib) * WORLD_MIB;
}

static inline void world_init(struct world *world)
{
	memset(world, 0, sizeof(*world));
	world->report.wall_ns = WORLD_WALL_NS;
	world->report.interval_ns = 10 * WORLD_S;
	world->report.host = "web-1";
	world->report.source = "test";
	world->report.detail = "requests";
	world->report.complete = true;
	world->report.processes = world->rows;
}

/* Of the first row on; the others are not there yet. */
static inline void world_tick(struct world *world)
{
	world->report.wall_ns += world->report.interval_ns;
}

#endif
