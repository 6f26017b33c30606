/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The live source: turns what the probes counted into events.
 *
 * The kernel's counters only grow. This file keeps, for each process and route, the counts that it
 * has delivered, and delivers differences; so a count is delivered once, whenever it is read. The
 * tables are bounded by the kernel's maps, which they mirror. One thread, no clock but the
 * kernel's, nothing printed.
 */
#include "live_state.h"

#include "pagestay/edge/cgroup.h"

#define LAST_NS NS_PER_S /* what a last interval's passes and waits are parts of */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/*
 * Processes.
 */

static void process_forget(struct live *live, struct seen_process *process)
{
	HASH_DEL(live->processes, process);
	free(process);
}

static bool is_of_units(const struct live_options *options, const char *cgroup)
{
	char unit[CGROUP_UNIT_BYTES];

	cgroup_unit(cgroup, unit);
	for (size_t i = 0; i < options->unit_count; i++)
		if (cgroup_unit_is(unit, options->units[i]))
			return true;
	return !options->unit_count;
}

static bool is_of_cgroups(const struct live_options *options, const char *cgroup)
{
	for (size_t i = 0; i < options->cgroup_count; i++)
		if (cgroup_is_in(cgroup, options->cgroups[i]))
			return true;
	return !options->cgroup_count;
}

/* Pids and ports are the probes' matter. */
static bool is_selected(const struct live_options *options, const struct event_process *process)
{
	if (options->comm && regexec(options->comm, process->comm, 0, NULL, 0))
		return false;
	return is_of_units(options, process->cgroup) && is_of_cgroups(options, process->cgroup);
}

/* One that comes under selection begins anew; for one that goes out of it, this is its end. */
static void process_select(struct live *live, struct seen_process *process, bool changed)
{
	const struct event exited = {.kind = EVENT_EXITED, .proc = process->key};
	bool was_selected = process->selected;

	process->reselect = false;
	process->selected = is_selected(&live->options, &process->identity);
	if (was_selected && !process->selected)
		live_emit(live, &exited);
	if (changed || !was_selected) {
		process->settled = false;
		process->looks = 0;
	}
	if (!was_selected)
		process->tracked = false;
}

/* Deliver who the process is if that is new. A process that is gone keeps the kernel's comm. */
void live_process_identify(
	struct live *live, struct seen_process *process, const struct ps_proc *counted)
{
	struct event event = {.kind = EVENT_PROCESS, .proc = process->key};
	bool known = process->identity.comm[0];
	bool changed;

	if (procfs_process(&live->procfs, &process->key, &event.process)) {
		if (known)
			return;
		memcpy(event.process.comm, counted->comm, sizeof(event.process.comm));
		event.process.comm[sizeof(event.process.comm) - 1] = '\0';
	}
	changed = !known || memcmp(&event.process, &process->identity, sizeof(event.process)) != 0;
	if (!changed && !process->reselect)
		return;
	process->identity = event.process;
	process_select(live, process, changed);
	if (process->selected && !process->settled)
		live_emit(live, &event);
}

struct seen_process *live_process_see(struct live *live, const struct ps_proc_key *key)
{
	struct seen_process *process = live_process_find(live, key);

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

int live_process_memory(struct live *live, struct seen_process *process, uint64_t freed_bytes,
	struct event *ret_event)
{
	struct event event = {.kind = EVENT_MEMORY, .proc = process->key};
	bool lazyfree = process->lazyfree || freed_bytes;
	int error = procfs_memory(&live->procfs, &process->key, lazyfree, &event.memory);

	if (error)
		return error;
	/* Nothing was freed lazily since a walk that found nothing. */
	if (!lazyfree)
		event.memory.lazyfree_bytes = 0;
	process->lazyfree = event.memory.lazyfree_bytes != 0;
	*ret_event = event;
	return 0;
}

void live_note(struct live *live, const char *text)
{
	struct event event = {.kind = EVENT_NOTE};

	(void)snprintf(event.note.text, sizeof(event.note.text), "%s", text);
	live_emit(live, &event);
}

static void process_exited(struct live *live, struct seen_process *process)
{
	const struct event event = {.kind = EVENT_EXITED, .proc = process->key};

	process->exited = true;
	probes_forget_process(live->probes, &process->key);
	if (process->selected)
		live_emit(live, &event);
}

/* Deliver what a process did since it was last looked at, and how it is now. */
static void process_account(
	struct live *live, const struct ps_proc_key *key, const struct ps_proc *counted)
{
	struct event event = {.kind = EVENT_COUNTERS, .proc = *key};
	struct seen_process *process = live_process_see(live, key);

	if (!process || process->exited)
		return;
	live_process_identify(live, process, counted);
	for (int i = 0; i < PS_COUNTERS; i++) {
		event.counters.delta[i] = counted->counter[i] - process->delivered[i];
		process->delivered[i] = counted->counter[i];
	}
	event.counters.open = probes_open_connections(live->probes, counted);
	/* What it did to pages until its end, before its end. */
	if (counted->flags & PS_PROC_EXITED) {
		pages_release(live);
		if (!live->error)
			live->error = pages_drain(live);
	}
	if (process->selected) {
		live_emit(live, &event);
		if (!(counted->flags & PS_PROC_EXITED))
			pages_measure(live, process, event.counters.delta[PS_MADVISE_FREE_BYTES]);
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
	pages_schedule(live);
	if (!live->error && count >= 0)
		live->error = pages_drain(live);
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
	struct seen_process *process = live_process_find(live, &key->proc);
	struct seen_route *route = route_see(live, key);

	if (!route)
		return;
	event.route.hash = key->hash;
	event.route.requests = counted->requests - route->delivered;
	route->delivered = counted->requests;
	memcpy(event.route.text, counted->text, sizeof(event.route.text));
	event.route.text[sizeof(event.route.text) - 1] = '\0';
	if (event.route.requests && process && process->selected)
		live_emit(live, &event);
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
		uint64_t now = i == PS_LOST_RUNS ? live->runs.missed : probes_lost(live->probes, i);

		event.loss.lost[i] = now - live->lost[i];
		live->lost[i] = now;
		any = any || event.loss.lost[i];
	}
	if (any)
		live_emit(live, &event);
}

static void emit_tick(struct live *live, enum event_kind kind)
{
	struct event event = {.kind = kind};
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	bool accounts = procfs_accounts_bpf(&live->procfs);

	event.tick.wall_ns = clock_ns(CLOCK_REALTIME);
	event.tick.interval_ns = kind == EVENT_TICK ? now_ns - live->tick_ns : 0;
	event.tick.self_rss_bytes = procfs_self_rss_bytes(&live->procfs);
	event.tick.self_cpu_ns = clock_cpu_ns();
	event.tick.self_bpf_ns = accounts ? live->runs.ns : EVENT_UNKNOWN;
	event.tick.self_bpf_runs = accounts ? live->runs.runs : EVENT_UNKNOWN;
	event.tick.now_ns = now_ns;
	live->tick_ns = now_ns;
	live_emit(live, &event);
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
	live_emit(live, &event);
	if (blind)
		live_note(live, "this kernel gives no hook on receives and sends: connections, "
				"requests and faults in requests are not counted");
	if (live->options.pages && !live->passes)
		live_note(live, "this kernel has no tracepoints on page faults (only x86 has): "
				"pages are not tracked");
	if (kernel->uring == URING_NONE)
		live_note(live, "this kernel gives no hook on io_uring: accepts through it are "
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
	heaps_measure(live, live->options.xray_ns && end == EVENT_TICK);
	forget_exited(live);
	probes_runs(live->probes, &live->runs);
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
	pages_release(live);
	switch (until) {
	case SOURCE_NOW:
		error = probes_records(live->probes);
		if (error >= 0)
			error = pages_drain(live);
		break;
	case SOURCE_START:
		emit_stream(live);
		error = drain_interval(live, EVENT_START);
		break;
	case SOURCE_LAST:
		live->options.xray_ns = 0;
		if (live->options.interval_ns > LAST_NS)
			live->options.interval_ns = LAST_NS;
		error = drain_interval(live, EVENT_TICK);
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

void source_live_select(struct source *source, const struct live_options *options)
{
	struct live *live = (struct live *)source;
	struct seen_process *process, *next;

	live->options.interval_ns = options->interval_ns;
	live->options.xray_ns = options->xray_ns;
	live->options.comm = options->comm;
	live->options.units = options->units;
	live->options.unit_count = options->unit_count;
	live->options.cgroups = options->cgroups;
	live->options.cgroup_count = options->cgroup_count;
	HASH_ITER (hh, live->processes, process, next)
		process->reselect = true;
}

static void live_close(struct source *source)
{
	struct live *live = (struct live *)source;
	struct seen_process *process, *next_process;
	struct seen_route *route, *next_route;
	bool has_ended = heaps_free(live->heaps);

	HASH_ITER (hh, live->processes, process, next_process)
		process_forget(live, process);
	HASH_ITER (hh, live->routes, route, next_route) {
		HASH_DEL(live->routes, route);
		free(route);
	}
	free(live->held);
	probes_close(live->probes);
	passes_free(live->passes);
	if (!has_ended)
		return; /* /proc is in use */
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
			options, lifecycle_record, pages_record, live, &live->probes, diag);
	if (!error)
		error = heaps_new(&live->procfs, &live->heaps);
	if (!error && options->pages && probes_kernel(live->probes)->faults)
		error = open_passes(live, diag);
	if (error) {
		live_close(&live->source);
		return error;
	}
	*ret_source = &live->source;
	return 0;
}
