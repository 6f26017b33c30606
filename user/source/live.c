/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The live source: turns what the probes counted into events.
 *
 * The kernel's counters only grow. This file keeps, for each process and route, the counts that it
 * has delivered, and delivers differences; so a count is delivered once, whenever it is read. The
 * tables are bounded by the kernel's maps, which they mirror. One thread, no clock but the
 * kernel's, nothing printed.
 */
#include "pagestay/source/live.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pagestay/base/table.h"
#include "pagestay/edge/procfs.h"
#include "pagestay/source/passes.h"
#include "pagestay/source/probes.h"

#define PASS_PART 4     /* passes take at most this part of the interval */
#define BURST     10000 /* page records of a process from one look at the ring to the next */
#define MAX_LEVEL 24
#define MAX_HELD                                                                                   \
	65536 /* page records that wait for the next interval; beyond, they do not wait            \
	       */

/* A process of the map `procs`, and what was delivered of it. */
struct seen_process {
	struct ps_proc_key key;
	uint64_t delivered[PS_COUNTERS];
	struct event_process identity;
	bool selected;
	bool exited;   /* delivered as such; forgotten at the next tick */
	bool lazyfree; /* lazily freed bytes are worth a walk of its page tables */
	bool tracked;  /* its first pass was made */
	uint32_t level;
	uint32_t burst;       /* page records since the ring was looked at */
	uint64_t pass_from;   /* where the next look goes on */
	uint64_t pages_found; /* by the looks of the pass under way */
	uint64_t measured_ns; /* when its memory was read for the interval that ends; 0: not yet */
	bool holding;         /* a record of it waits, and so all that follow */
	UT_hash_handle hh;
};

/* A route of the map `routes`, and what was delivered of it. */
struct seen_route {
	struct ps_route_key key;
	uint64_t delivered;
	UT_hash_handle hh;
};

struct live {
	struct source source;
	struct probes *probes;
	struct procfs procfs;
	struct passes *passes; /* NULL: pages are not tracked */
	struct live_options options;
	struct seen_process *processes;
	struct seen_route *routes;
	uint64_t lost[PS_LOSSES]; /* as delivered */
	uint64_t tick_ns;         /* CLOCK_MONOTONIC of the last START or TICK */
	event_fn deliver;         /* of the drain under way, with its context and first error */
	void *context;
	int error;
	bool unreadable;             /* told that some process's pages cannot be looked up */
	struct ps_page_record *held; /* what happened after memory was read, in order */
	size_t held_count, held_room;
	struct {
		uint64_t allowed; /* passes of this interval: more would take too long */
		uint64_t first;   /* whose turn it is, in the order of the map */
		uint64_t index;   /* of the process that is being accounted */
		uint64_t made, spent_ns;
	} passes_due;
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	(void)clock_gettime(clock, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static void emit(struct live *live, const struct event *event)
{
	if (!live->error)
		live->error = live->deliver(live->context, event);
}

/*
 * Processes.
 */

static struct seen_process *process_find(struct live *live, const struct ps_proc_key *key)
{
	struct seen_process *process;

	HASH_FIND(hh, live->processes, key, sizeof(*key), process);
	return process;
}

static void process_forget(struct live *live, struct seen_process *process)
{
	HASH_DEL(live->processes, process);
	free(process);
}

/* Deliver who the process is if that is new. A process that is gone keeps the kernel's comm. */
static void process_identify(
	struct live *live, struct seen_process *process, const struct ps_proc *counted)
{
	struct event event = {.kind = EVENT_PROCESS, .proc = process->key};
	bool known = process->identity.comm[0];

	if (procfs_process(&live->procfs, &process->key, &event.process)) {
		if (known)
			return;
		memcpy(event.process.comm, counted->comm, sizeof(event.process.comm));
		event.process.comm[sizeof(event.process.comm) - 1] = '\0';
	}
	if (known && memcmp(&event.process, &process->identity, sizeof(event.process)) == 0)
		return;
	process->identity = event.process;
	process->selected = !live->options.comm ||
			    regexec(live->options.comm, event.process.comm, 0, NULL, 0) == 0;
	if (process->selected)
		emit(live, &event);
}

static struct seen_process *process_see(struct live *live, const struct ps_proc_key *key)
{
	struct seen_process *process = process_find(live, key);

	if (process)
		return process;
	process = calloc(1, sizeof(*process));
	if (!process) {
		live->error = -ENOMEM;
		return NULL;
	}
	process->key = *key;
	process->lazyfree = true;
	HASH_ADD(hh, live->processes, key, sizeof(process->key), process);
	if (table_has(process))
		return process;
	free(process);
	live->error = -ENOMEM;
	return NULL;
}

static void process_memory(struct live *live, struct seen_process *process, uint64_t freed_bytes)
{
	struct event event = {.kind = EVENT_MEMORY, .proc = process->key};
	bool lazyfree = process->lazyfree || freed_bytes;

	if (procfs_memory(&live->procfs, &process->key, lazyfree, &event.memory))
		return;
	/* Nothing was freed lazily since a walk that found nothing. */
	if (!lazyfree)
		event.memory.lazyfree_bytes = 0;
	process->lazyfree = event.memory.lazyfree_bytes != 0;
	emit(live, &event);
}

/*
 * Pages.
 */

static void emit_note(struct live *live, const char *text)
{
	struct event event = {.kind = EVENT_NOTE};

	(void)snprintf(event.note.text, sizeof(event.note.text), "%s", text);
	emit(live, &event);
}

static void level_set(struct live *live, struct seen_process *process, uint32_t level)
{
	struct event event = {.kind = EVENT_LEVEL, .proc = process->key, .level = {level}};

	if (level > MAX_LEVEL || level == process->level)
		return;
	process->level = level;
	probes_set_level(live->probes, &process->key, level);
	emit(live, &event);
}

/* A process that is counted; if it is not known yet, it was admitted a moment ago. */
static struct seen_process *process_meet(struct live *live, const struct ps_proc_key *key)
{
	struct seen_process *process = process_find(live, key);
	struct ps_proc counted;

	if (process || probes_read_process(live->probes, key, &counted))
		return process;
	process = process_see(live, key);
	if (process)
		process_identify(live, process, &counted);
	return process;
}

static void emit_page(struct live *live, const struct ps_page_record *record)
{
	struct event event = {.kind = EVENT_PAGE, .proc = record->proc, .page = record->page};

	emit(live, &event);
}

/*
 * Did it happen after the process's memory was read for the interval that ends? Then its pages are
 * the next interval's: else the interval's pages would not add up to its growth.
 */
static bool record_is_late(const struct seen_process *process, const struct ps_page_record *record)
{
	return process->holding ||
	       (process->measured_ns && record->page.at_ns > process->measured_ns);
}

/* False: there is no room, and the record cannot wait. */
static bool record_hold(
	struct live *live, struct seen_process *process, const struct ps_page_record *record)
{
	if (live->held_count == live->held_room) {
		size_t room = live->held_room ? 2 * live->held_room : 256;
		struct ps_page_record *held;

		if (room > MAX_HELD)
			return false;
		held = reallocarray(live->held, room, sizeof(*held));
		if (!held)
			return false;
		live->held = held;
		live->held_room = room;
	}
	process->holding = true;
	live->held[live->held_count++] = *record;
	return true;
}

static int page_record(void *context, const struct ps_page_record *record)
{
	struct live *live = context;
	struct seen_process *process = process_meet(live, &record->proc);

	if (!process || !process->selected || process->exited)
		return live->error;
	process->burst++;
	if (!record_is_late(process, record) || !record_hold(live, process, record))
		emit_page(live, record);
	return live->error;
}

/* What waited is the next interval's beginning. */
static void release_held(struct live *live)
{
	struct seen_process *process, *next;

	HASH_ITER (hh, live->processes, process, next) {
		process->measured_ns = 0;
		process->holding = false;
	}
	for (size_t i = 0; i < live->held_count; i++)
		if (process_find(live, &live->held[i].proc))
			emit_page(live, &live->held[i]);
	live->held_count = 0;
}

/* Read the page records, and sample where there are too many. */
static int drain_pages(struct live *live)
{
	int error = probes_pages(live->probes);
	struct seen_process *process, *next;

	HASH_ITER (hh, live->processes, process, next) {
		if (process->burst > BURST)
			level_set(live, process, process->level + 1);
		process->burst = 0;
	}
	return error;
}

static void pass_failed(struct live *live, int error)
{
	if (live->unreadable || error == -ESRCH)
		return;
	live->unreadable = true;
	emit_note(live, "some process's page tables cannot be read: which of "
			"its pages are kept is not known");
}

/* Sample so that what is there can be tracked. */
static void pass_bound(struct live *live, struct seen_process *process)
{
	uint64_t bound = event_page_bound(live->options.max_pages, HASH_COUNT(live->processes));
	uint32_t level = process->level;

	while (process->pages_found >> level > bound)
		level++;
	level_set(live, process, level);
}

/*
 * Look up what is there, then read what happened before and meanwhile, and only then tell what was
 * there: so that no page is there, or gone, for no reason.
 */
static void process_pass(struct live *live, struct seen_process *process, uint64_t freed_bytes)
{
	uint64_t began_ns = clock_ns(CLOCK_MONOTONIC), next = 0;
	uint64_t share_ns = live->options.interval_ns / PASS_PART / HASH_COUNT(live->processes);
	int error;

	/* Measured already in this interval: what waits happened before this time. */
	if (process->holding)
		release_held(live);
	error = passes_look(
		live->passes, &process->key, process->pass_from, began_ns + share_ns, &next);

	process->measured_ns = clock_ns(CLOCK_MONOTONIC);
	process_memory(live, process, freed_bytes);
	live->passes_due.made++;
	live->passes_due.spent_ns += clock_ns(CLOCK_MONOTONIC) - began_ns;
	if (!live->error)
		live->error = drain_pages(live);
	if (error) {
		pass_failed(live, error);
		process->pass_from = 0;
		return;
	}
	if (process->pass_from == 0)
		process->pages_found = 0;
	process->pages_found += passes_found(live->passes);
	process->pass_from = next == UINT64_MAX ? 0 : next;
	pass_bound(live, process);
	if (!live->error)
		live->error = passes_deliver(live->passes, live->deliver, live->context);
}

static void process_exited(struct live *live, struct seen_process *process)
{
	const struct event event = {.kind = EVENT_EXITED, .proc = process->key};

	process->exited = true;
	probes_forget_process(live->probes, &process->key);
	if (process->selected)
		emit(live, &event);
}

/*
 * Where there are too many processes for the time that passes may take, they take turns; one that
 * is new is looked at in any case.
 */
static bool pass_is_due(const struct live *live, const struct seen_process *process)
{
	uint64_t count = HASH_COUNT(live->processes);
	uint64_t behind = (live->passes_due.index + count - live->passes_due.first % count) % count;

	return !process->tracked || behind < live->passes_due.allowed;
}

/* As many passes as fit, as long as those of this interval took. */
static void passes_schedule(struct live *live)
{
	uint64_t room_ns = live->options.interval_ns / PASS_PART;
	uint64_t made = live->passes_due.made, spent_ns = live->passes_due.spent_ns;

	live->passes_due.first += live->passes_due.allowed;
	if (made && spent_ns)
		live->passes_due.allowed = room_ns * made / spent_ns + 1;
	live->passes_due.made = live->passes_due.spent_ns = live->passes_due.index = 0;
}

/* How a process is now. */
static void process_measure(struct live *live, struct seen_process *process, uint64_t freed_bytes)
{
	if (!live->passes || !pass_is_due(live, process)) {
		process_memory(live, process, freed_bytes);
		return;
	}
	if (!process->tracked)
		level_set(live, process, live->options.level);
	process->tracked = true;
	process_pass(live, process, freed_bytes);
}

/* Deliver what a process did since it was last looked at, and how it is now. */
static void process_account(
	struct live *live, const struct ps_proc_key *key, const struct ps_proc *counted)
{
	struct event event = {.kind = EVENT_COUNTERS, .proc = *key};
	struct seen_process *process = process_see(live, key);

	if (!process || process->exited)
		return;
	process_identify(live, process, counted);
	for (int i = 0; i < PS_COUNTERS; i++) {
		event.counters.delta[i] = counted->counter[i] - process->delivered[i];
		process->delivered[i] = counted->counter[i];
	}
	event.counters.open = probes_open_connections(live->probes, counted);
	/* What it did to pages until its end, before its end. */
	if (counted->flags & PS_PROC_EXITED) {
		release_held(live);
		if (!live->error)
			live->error = drain_pages(live);
	}
	if (process->selected) {
		emit(live, &event);
		if (!(counted->flags & PS_PROC_EXITED))
			process_measure(live, process, event.counters.delta[PS_MADVISE_FREE_BYTES]);
	}
	if (counted->flags & PS_PROC_EXITED)
		process_exited(live, process);
}

/* A record of the ring: a process came or went. Its counts are delivered while it is fresh. */
static int lifecycle_record(void *context, const struct ps_record *record)
{
	struct live *live = context;
	struct ps_proc counted;

	if (probes_read_process(live->probes, &record->proc, &counted) == 0)
		process_account(live, &record->proc, &counted);
	return live->error;
}

static int drain_processes(struct live *live)
{
	const struct ps_proc_key *keys;
	const struct ps_proc *counted;
	int count = probes_read_processes(live->probes, &keys, &counted);

	for (int i = 0; i < count && !live->error; i++) {
		live->passes_due.index = i;
		process_account(live, &keys[i], &counted[i]);
	}
	passes_schedule(live);
	return count < 0 ? count : live->error;
}

static void forget_exited(struct live *live)
{
	struct seen_process *process, *next;

	HASH_ITER (hh, live->processes, process, next)
		if (process->exited)
			process_forget(live, process);
}

/*
 * Routes.
 */

static struct seen_route *route_see(struct live *live, const struct ps_route_key *key)
{
	struct seen_route *route;

	HASH_FIND(hh, live->routes, key, sizeof(*key), route);
	if (route)
		return route;
	route = calloc(1, sizeof(*route));
	if (!route) {
		live->error = -ENOMEM;
		return NULL;
	}
	route->key = *key;
	HASH_ADD(hh, live->routes, key, sizeof(route->key), route);
	if (table_has(route))
		return route;
	free(route);
	live->error = -ENOMEM;
	return NULL;
}

static void route_forget(struct live *live, struct seen_route *route)
{
	probes_forget_route(live->probes, &route->key);
	HASH_DEL(live->routes, route);
	free(route);
}

static void route_account(struct live *live, const struct ps_route_key *key,
	const struct ps_route *counted, bool crowded)
{
	struct event event = {.kind = EVENT_ROUTE, .proc = key->proc};
	struct seen_process *process = process_find(live, &key->proc);
	struct seen_route *route = route_see(live, key);

	if (!route)
		return;
	event.route.hash = key->hash;
	event.route.requests = counted->requests - route->delivered;
	route->delivered = counted->requests;
	memcpy(event.route.text, counted->text, sizeof(event.route.text));
	event.route.text[sizeof(event.route.text) - 1] = '\0';
	if (event.route.requests && process && process->selected)
		emit(live, &event);
	/* Make room: a route that nobody asked for lately, or whose process has gone. */
	if (!process || process->exited || (crowded && !event.route.requests))
		route_forget(live, route);
}

static int drain_routes(struct live *live)
{
	const struct ps_route_key *keys;
	const struct ps_route *counted;
	int count = probes_read_routes(live->probes, &keys, &counted);
	bool crowded = count > (int)(live->options.max_routes / 2);

	for (int i = 0; i < count && !live->error; i++)
		route_account(live, &keys[i], &counted[i], crowded);
	return count < 0 ? count : live->error;
}

/*
 * The stream.
 */

static void emit_loss(struct live *live)
{
	struct event event = {.kind = EVENT_LOSS};
	bool any = false;

	for (int i = 0; i < PS_LOSSES; i++) {
		uint64_t now = probes_lost(live->probes, i);

		event.loss.lost[i] = now - live->lost[i];
		live->lost[i] = now;
		any = any || event.loss.lost[i];
	}
	if (any)
		emit(live, &event);
}

static void emit_tick(struct live *live, enum event_kind kind)
{
	struct event event = {.kind = kind};
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);

	event.tick.wall_ns = clock_ns(CLOCK_REALTIME);
	event.tick.interval_ns = kind == EVENT_TICK ? now_ns - live->tick_ns : 0;
	event.tick.self_rss_bytes = procfs_self_rss_bytes(&live->procfs);
	event.tick.self_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	event.tick.now_ns = now_ns;
	live->tick_ns = now_ns;
	emit(live, &event);
}

static void emit_stream(struct live *live)
{
	const struct kernel *kernel = probes_kernel(live->probes);
	bool blind = live->options.requests && kernel->hooks == HOOKS_NONE;
	struct event event = {.kind = EVENT_STREAM};

	(void)gethostname(event.stream.host, sizeof(event.stream.host) - 1);
	(void)snprintf(event.stream.detail, sizeof(event.stream.detail), "%s",
		blind || !live->options.requests ? "ledger"
		: live->passes                   ? "pages"
						 : "requests");
	event.stream.routes = live->options.routes;
	event.stream.page_bytes = sysconf(_SC_PAGESIZE);
	event.stream.page_seed = probes_page_seed(live->probes);
	emit(live, &event);
	if (blind)
		emit_note(live, "this kernel gives no hook on receives and sends: connections, "
				"requests and faults in requests are not counted");
	if (live->options.pages && !live->passes)
		emit_note(live, "this kernel has no tracepoints on page faults (only x86 has): "
				"pages are not tracked");
	if (kernel->uring == URING_NONE)
		emit_note(live, "this kernel gives no hook on io_uring: accepts through it are "
				"not counted");
}

static int drain_interval(struct live *live, enum event_kind end)
{
	int error = probes_records(live->probes);

	if (error >= 0)
		error = probes_end_interval(live->probes);
	if (error >= 0)
		error = drain_processes(live);
	if (error >= 0 && live->options.routes)
		error = drain_routes(live);
	if (error < 0)
		return error;
	forget_exited(live);
	emit_loss(live);
	emit_tick(live, end);
	return live->error;
}

static int live_drain(struct source *source, enum source_until until, event_fn deliver,
	void *context, struct diag *diag)
{
	struct live *live = (struct live *)source;
	int error;

	live->deliver = deliver;
	live->context = context;
	live->error = 0;
	release_held(live);
	switch (until) {
	case SOURCE_NOW:
		error = probes_records(live->probes);
		if (error >= 0)
			error = drain_pages(live);
		break;
	case SOURCE_START:
		emit_stream(live);
		error = drain_interval(live, EVENT_START);
		break;
	case SOURCE_TICK:
	default:
		error = drain_interval(live, EVENT_TICK);
		break;
	}
	if (error < 0 && !live->error)
		return diag_set(
			diag, error, "cannot read what the kernel counted: %s", strerror(-error));
	return error < 0 ? error : 1;
}

static void live_close(struct source *source)
{
	struct live *live = (struct live *)source;
	struct seen_process *process, *next_process;
	struct seen_route *route, *next_route;

	HASH_ITER (hh, live->processes, process, next_process)
		process_forget(live, process);
	HASH_ITER (hh, live->routes, route, next_route) {
		HASH_DEL(live->routes, route);
		free(route);
	}
	free(live->held);
	probes_close(live->probes);
	passes_free(live->passes);
	procfs_close(&live->procfs);
	free(live);
}

static const struct source_ops live_ops = {
	.name = "bpf",
	.drain = live_drain,
	.close = live_close,
};

/* Without requests there is nobody to track pages for. */
static int open_passes(struct live *live, struct diag *diag)
{
	int error = 0;

	if (probes_kernel(live->probes)->hooks != HOOKS_NONE)
		error = passes_new(&live->procfs, &live->passes);
	return error ? diag_set(diag, error, "cannot read page tables: %s", strerror(-error)) : 0;
}

int source_live_open(
	const struct live_options *options, struct source **ret_source, struct diag *diag)
{
	struct live *live = calloc(1, sizeof(*live));
	int error;

	if (!live)
		return diag_set(diag, -ENOMEM, "out of memory");
	live->source.ops = &live_ops;
	live->options = *options;
	live->procfs.fd = -1;
	live->passes_due.allowed = UINT64_MAX;
	error = procfs_open("/proc", &live->procfs);
	if (error)
		(void)diag_set(diag, error, "cannot open /proc: %s", strerror(-error));
	else
		error = probes_open(
			options, lifecycle_record, page_record, live, &live->probes, diag);
	if (!error && options->pages && probes_kernel(live->probes)->faults)
		error = open_passes(live, diag);
	if (error) {
		live_close(&live->source);
		return error;
	}
	*ret_source = &live->source;
	return 0;
}
