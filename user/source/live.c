/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The live source: drives the BPF skeleton (its only includer) and turns what the kernel counted
 * into events.
 *
 * The kernel's counters only grow. This file keeps, for each process and route, the counts that it
 * has delivered, and delivers differences; so a count is delivered once, whenever it is read. The
 * tables are bounded by the kernel's maps, which they mirror. One thread, no clock but the
 * kernel's, nothing printed.
 */
#include "pagestay/source/live.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <uthash.h>

#include "pagestay/base/cleanup.h"
#include "pagestay/edge/procfs.h"
#include "pagestay/source/kernel.h"
#include "pagestay.skel.h"

/* A process of the map `procs`, and what was delivered of it. */
struct seen_process {
	struct ps_proc_key key;
	uint64_t delivered[PS_COUNTERS];
	struct event_process identity;
	bool selected;
	bool exited;   /* delivered as such; forgotten at the next tick */
	bool lazyfree; /* lazily freed bytes are worth a walk of its page tables */
	UT_hash_handle hh;
};

/* A route of the map `routes`, and what was delivered of it. */
struct seen_route {
	struct ps_route_key key;
	uint64_t delivered;
	UT_hash_handle hh;
};

/* Where a batch of map entries is read to. */
struct batch {
	void *keys;
	void *values;
	uint32_t capacity;
};

struct live {
	struct source source;
	struct pagestay *skeleton;
	struct ring_buffer *lifecycle;
	struct bpf_link *seed_tasks, *seed_files, *seed_backlog, *end_segments, *count_open;
	struct procfs procfs;
	struct live_options options;
	struct kernel kernel;
	struct batch processes_read, routes_read;
	struct seen_process *processes;
	struct seen_route *routes;
	uint64_t lost[PS_LOSSES]; /* as delivered */
	uint64_t tick_ns;         /* CLOCK_MONOTONIC of the last START or TICK */
	event_fn deliver;         /* of the drain under way, with its context and first error */
	void *context;
	int error;
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
 * Setting up.
 */

static void choose_hooks(struct pagestay *skeleton, const struct kernel *kernel, bool requests)
{
	struct {
		struct bpf_program *program;
		bool wanted;
	} choices[] = {
		{skeleton->progs.ps_recv, kernel->hooks == HOOKS_TRACEPOINT},
		{skeleton->progs.ps_send, kernel->hooks == HOOKS_TRACEPOINT},
		{skeleton->progs.ps_recv_inet, kernel->hooks == HOOKS_FEXIT},
		{skeleton->progs.ps_recv_inet6, kernel->hooks == HOOKS_FEXIT},
		{skeleton->progs.ps_recv_unix, kernel->hooks == HOOKS_FEXIT},
		{skeleton->progs.ps_splice_tcp, kernel->hooks == HOOKS_FEXIT},
		{skeleton->progs.ps_splice_unix, kernel->hooks == HOOKS_FEXIT},
		{skeleton->progs.ps_send_inet, kernel->hooks == HOOKS_FEXIT},
		{skeleton->progs.ps_send_inet6, kernel->hooks == HOOKS_FEXIT},
		{skeleton->progs.ps_send_unix, kernel->hooks == HOOKS_FEXIT},
		{skeleton->progs.ps_page_inet, kernel->hooks == HOOKS_FEXIT && kernel->sendpage},
		{skeleton->progs.ps_page_unix, kernel->hooks == HOOKS_FEXIT && kernel->sendpage},
		{skeleton->progs.ps_set_state, kernel->socket_state},
	};

	for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++)
		(void)bpf_program__set_autoload(choices[i].program, choices[i].wanted && requests);
}

static void choose_programs(struct live *live, bool requests)
{
	struct pagestay *skeleton = live->skeleton;
	const struct kernel *kernel = &live->kernel;

	choose_hooks(skeleton, kernel, requests);
	(void)bpf_program__set_autoload(
		skeleton->progs.ps_uring_fields, kernel->uring == URING_FIELDS);
	(void)bpf_program__set_autoload(
		skeleton->progs.ps_uring_cqe, kernel->uring == URING_COMPLETION);
	(void)bpf_program__set_autoload(skeleton->progs.ps_uring_submit,
		kernel->uring != URING_NONE && kernel->uring_submit);
	(void)bpf_program__set_autoload(
		skeleton->progs.ps_uring_sqe, kernel->uring != URING_NONE && !kernel->uring_submit);
	(void)bpf_program__set_autoattach(skeleton->progs.ps_seed_tasks, false);
	(void)bpf_program__set_autoattach(skeleton->progs.ps_seed_files, false);
	(void)bpf_program__set_autoattach(skeleton->progs.ps_seed_backlog, false);
	(void)bpf_program__set_autoattach(skeleton->progs.ps_end_segments, false);
	(void)bpf_program__set_autoattach(skeleton->progs.ps_count_open, false);
}

static void configure(struct live *live)
{
	const struct live_options *options = &live->options;
	struct pagestay *skeleton = live->skeleton;
	uint64_t seed = 0;

	(void)!getrandom(&seed, sizeof(seed), 0);
	skeleton->rodata->cfg_self = getpid();
	skeleton->rodata->cfg_all_servers = options->pid_count == 0;
	skeleton->rodata->cfg_page_bytes = sysconf(_SC_PAGESIZE);
	skeleton->rodata->cfg_routes = options->routes;
	skeleton->rodata->cfg_route_seed = seed;
	skeleton->rodata->cfg_ports = options->port_count;
	for (size_t i = 0; i < options->port_count; i++)
		skeleton->rodata->cfg_port[i] = options->ports[i];
	(void)bpf_map__set_max_entries(skeleton->maps.procs, options->max_processes);
	(void)bpf_map__set_max_entries(skeleton->maps.routes, options->max_routes);
	(void)bpf_map__set_max_entries(skeleton->maps.lifecycle, options->ring_bytes);
}

/* Loads with the given hooks. A failed object cannot be loaded again, so each try opens its own. */
static int load(struct live *live, bool requests)
{
	int error;

	pagestay__destroy(live->skeleton);
	live->skeleton = pagestay__open();
	if (!live->skeleton)
		return -errno;
	configure(live);
	choose_programs(live, requests);
	error = pagestay__load(live->skeleton);
	return error ? error : pagestay__attach(live->skeleton);
}

static int load_and_attach(struct live *live, struct diag *diag)
{
	int error = load(live, live->options.requests);

	/* Some hosts refuse fexit: without requests everything else still works. */
	if (error && live->kernel.hooks == HOOKS_FEXIT && live->options.requests) {
		live->kernel.hooks = HOOKS_NONE;
		error = load(live, live->options.requests);
	}
	if (error == -EPERM)
		return diag_set(
			diag, -EPERM, "the kernel refused the BPF programs: %s", strerror(-error));
	if (error)
		return diag_set(diag, error, "cannot load the BPF programs: %s (try --verbose)",
			strerror(-error));
	return 0;
}

static int attach_iterators(struct live *live, struct diag *diag)
{
	union bpf_iter_link_info info = {};
	LIBBPF_OPTS(bpf_iter_attach_opts, options);

	live->seed_tasks = bpf_program__attach_iter(live->skeleton->progs.ps_seed_tasks, NULL);
	live->seed_files = bpf_program__attach_iter(live->skeleton->progs.ps_seed_files, NULL);
	live->seed_backlog = bpf_program__attach_iter(live->skeleton->progs.ps_seed_backlog, NULL);
	live->end_segments = bpf_program__attach_iter(live->skeleton->progs.ps_end_segments, NULL);
	info.map.map_fd = bpf_map__fd(live->skeleton->maps.connections);
	options.link_info = &info;
	options.link_info_len = sizeof(info);
	live->count_open = bpf_program__attach_iter(live->skeleton->progs.ps_count_open, &options);
	if (!live->seed_tasks || !live->seed_files || !live->seed_backlog || !live->end_segments ||
		!live->count_open)
		return diag_set(diag, -errno, "cannot attach a BPF iterator: %s", strerror(errno));
	return 0;
}

/* Runs an iterator over everything; its program does the work and writes nothing. */
static int iterate(struct bpf_link *link)
{
	_cleanup_(cleanup_close) int fd = bpf_iter_create(bpf_link__fd(link));
	char nothing[64];
	ssize_t got;

	if (fd < 0)
		return -errno;
	do
		got = read(fd, nothing, sizeof(nothing));
	while (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR)));
	return got < 0 ? -errno : 0;
}

static int batch_init(struct batch *batch, struct bpf_map *map)
{
	batch->capacity = bpf_map__max_entries(map);
	batch->keys = calloc(batch->capacity, bpf_map__key_size(map));
	batch->values = calloc(batch->capacity, bpf_map__value_size(map));
	return batch->keys && batch->values ? 0 : -ENOMEM;
}

static void batch_deinit(struct batch *batch)
{
	free(batch->keys);
	free(batch->values);
}

/* Reads a whole hash map. Returns how many entries, or -errno. */
static int batch_read(struct batch *batch, struct bpf_map *map)
{
	uint32_t next, total = 0;
	bool first = true;

	while (total < batch->capacity) {
		uint32_t count = batch->capacity - total;
		int error = bpf_map_lookup_batch(bpf_map__fd(map), first ? NULL : &next, &next,
			(char *)batch->keys + (size_t)total * bpf_map__key_size(map),
			(char *)batch->values + (size_t)total * bpf_map__value_size(map), &count,
			NULL);

		if (error && error != -ENOENT)
			return error;
		total += count;
		first = false;
		if (error)
			break;
	}
	return total;
}

/* Each listed pid must have been found. */
static int check_listed(struct live *live, struct diag *diag)
{
	const struct ps_proc_key *keys = live->processes_read.keys;
	int count = batch_read(&live->processes_read, live->skeleton->maps.procs);

	for (size_t i = 0; count >= 0 && i < live->options.pid_count; i++) {
		int found = 0;

		while (found < count && keys[found].tgid != live->options.pids[i])
			found++;
		if (found == count && !live->skeleton->bss->ps_lost[PS_LOST_MAP_FULL])
			return diag_set(diag, -ESRCH, "there is no process with the pid %u",
				live->options.pids[i]);
	}
	return count < 0 ? count : 0;
}

static int seed_listed(struct live *live, struct diag *diag)
{
	int targets = bpf_map__fd(live->skeleton->maps.targets);
	const uint8_t wanted = 1;
	int error;

	for (size_t i = 0; i < live->options.pid_count; i++)
		if (bpf_map_update_elem(targets, &live->options.pids[i], &wanted, BPF_ANY))
			return diag_set(diag, -errno, "too many pids");
	error = iterate(live->seed_tasks);
	return error ? diag_set(diag, error, "cannot iterate over processes")
		     : check_listed(live, diag);
}

static int seed(struct live *live, struct diag *diag)
{
	int error = live->options.pid_count ? seed_listed(live, diag) : 0;

	for (int pass = 0; !error && pass < 2; pass++) {
		live->skeleton->bss->seed_pass = pass;
		error = iterate(live->seed_files);
	}
	if (!error)
		error = iterate(live->seed_backlog);
	return error ? diag_set(diag, error, "cannot iterate over open sockets: %s",
			       strerror(-error))
		     : 0;
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
	return process;
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

static void process_exited(struct live *live, struct seen_process *process)
{
	const struct event event = {.kind = EVENT_EXITED, .proc = process->key};

	process->exited = true;
	(void)bpf_map_delete_elem(bpf_map__fd(live->skeleton->maps.procs), &process->key);
	if (process->selected)
		emit(live, &event);
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
	if (counted->open_scan == live->skeleton->bss->open_scan)
		event.counters.open = counted->open;
	if (process->selected) {
		emit(live, &event);
		if (!(counted->flags & PS_PROC_EXITED))
			process_memory(live, process, event.counters.delta[PS_MADVISE_FREE_BYTES]);
	}
	if (counted->flags & PS_PROC_EXITED)
		process_exited(live, process);
}

/* A record of the ring: a process came or went. Its counts are delivered while it is fresh. */
static int lifecycle_record(void *context, void *data, size_t bytes)
{
	struct live *live = context;
	struct ps_record record;
	struct ps_proc counted;

	if (bytes < sizeof(record))
		return 0;
	memcpy(&record, data, sizeof(record));
	if (bpf_map_lookup_elem(bpf_map__fd(live->skeleton->maps.procs), &record.proc, &counted) ==
		0)
		process_account(live, &record.proc, &counted);
	return live->error;
}

static int drain_processes(struct live *live)
{
	const struct ps_proc_key *keys = live->processes_read.keys;
	const struct ps_proc *counted = live->processes_read.values;
	int count;

	live->skeleton->bss->open_scan++;
	count = iterate(live->count_open);
	if (count >= 0)
		count = iterate(live->end_segments);
	if (count < 0)
		return count;
	count = batch_read(&live->processes_read, live->skeleton->maps.procs);
	for (int i = 0; i < count && !live->error; i++)
		process_account(live, &keys[i], &counted[i]);
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
	return route;
}

static void route_forget(struct live *live, struct seen_route *route)
{
	(void)bpf_map_delete_elem(bpf_map__fd(live->skeleton->maps.routes), &route->key);
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
	const struct ps_route_key *keys = live->routes_read.keys;
	const struct ps_route *counted = live->routes_read.values;
	int count = batch_read(&live->routes_read, live->skeleton->maps.routes);
	bool crowded = count > (int)(live->routes_read.capacity / 2);

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
		uint64_t now = live->skeleton->bss->ps_lost[i];

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
	live->tick_ns = now_ns;
	emit(live, &event);
}

static void emit_note(struct live *live, const char *text)
{
	struct event event = {.kind = EVENT_NOTE};

	(void)snprintf(event.note.text, sizeof(event.note.text), "%s", text);
	emit(live, &event);
}

static void emit_stream(struct live *live)
{
	struct event event = {.kind = EVENT_STREAM};

	(void)gethostname(event.stream.host, sizeof(event.stream.host) - 1);
	(void)snprintf(event.stream.detail, sizeof(event.stream.detail), "%s",
		live->options.requests && live->kernel.hooks != HOOKS_NONE ? "requests" : "ledger");
	event.stream.routes = live->options.routes;
	emit(live, &event);
	if (live->options.requests && live->kernel.hooks == HOOKS_NONE)
		emit_note(live, "this kernel gives no hook on receives and sends: connections, "
				"requests and faults in requests are not counted");
	if (live->kernel.uring == URING_NONE)
		emit_note(live, "this kernel gives no hook on io_uring: accepts through it are "
				"not counted");
}

static int drain_interval(struct live *live, enum event_kind end)
{
	int error = ring_buffer__consume(live->lifecycle);

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
	switch (until) {
	case SOURCE_NOW:
		error = ring_buffer__consume(live->lifecycle);
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
	ring_buffer__free(live->lifecycle);
	bpf_link__destroy(live->seed_tasks);
	bpf_link__destroy(live->seed_files);
	bpf_link__destroy(live->seed_backlog);
	bpf_link__destroy(live->end_segments);
	bpf_link__destroy(live->count_open);
	pagestay__destroy(live->skeleton);
	batch_deinit(&live->processes_read);
	batch_deinit(&live->routes_read);
	procfs_close(&live->procfs);
	free(live);
}

static const struct source_ops live_ops = {
	.name = "bpf",
	.drain = live_drain,
	.close = live_close,
};

static int open_parts(struct live *live, struct diag *diag)
{
	int error = procfs_open("/proc", &live->procfs);

	if (error)
		return diag_set(diag, error, "cannot open /proc: %s", strerror(-error));
	error = load_and_attach(live, diag);
	if (error)
		return error;
	if (batch_init(&live->processes_read, live->skeleton->maps.procs) ||
		batch_init(&live->routes_read, live->skeleton->maps.routes))
		return diag_set(diag, -ENOMEM, "out of memory");
	live->lifecycle = ring_buffer__new(
		bpf_map__fd(live->skeleton->maps.lifecycle), lifecycle_record, live, NULL);
	if (!live->lifecycle)
		return diag_set(diag, -errno, "cannot open the ring: %s", strerror(errno));
	error = attach_iterators(live, diag);
	return error ? error : seed(live, diag);
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
	if (!options->verbose)
		(void)libbpf_set_print(NULL);
	kernel_probe(&live->kernel);
	error = kernel_check(&live->kernel, diag);
	if (!error)
		error = open_parts(live, diag);
	if (error) {
		live_close(&live->source);
		return error;
	}
	*ret_source = &live->source;
	return 0;
}
