/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Drives the BPF skeleton, and is its only includer: chooses the programs that this kernel can run,
 * attaches them, runs the iterators, and reads the maps. Maps are read a whole one at a time, into
 * room for all that they can hold. Keeps nothing of what was counted before.
 */
#include "pagestay/source/probes.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "pagestay/base/cleanup.h"
#include "pagestay.skel.h"

#define MAX_PAGE_RECORDS 500000 /* read in one go: several rings full */
#define MAX_RECORDS      16384  /* likewise; /proc is read for each */

/* Where a map is read to. */
struct batch {
	void *keys;
	void *values;
	uint32_t capacity;
};

struct probes {
	struct live_options options;
	struct kernel kernel;
	struct pagestay *skeleton;
	struct ring_buffer *lifecycle, *pages;
	struct bpf_link *seed_tasks, *seed_files, *seed_backlog, *end_segments, *count_open;
	struct batch processes_read, routes_read;
	probes_record_fn record;
	probes_page_fn page;
	void *context;
	unsigned record_room, page_room; /* records that may still be read in this go */
	uint64_t page_seed;
};

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

static void choose_programs(struct probes *probes, bool requests)
{
	struct pagestay *skeleton = probes->skeleton;
	const struct kernel *kernel = &probes->kernel;

	bool pages = probes->options.pages && kernel->faults;

	choose_hooks(skeleton, kernel, requests);
	(void)bpf_program__set_autoload(skeleton->progs.ps_fault_user, pages);
	(void)bpf_program__set_autoload(skeleton->progs.ps_fault_kernel, pages);
	(void)bpf_program__set_autoload(skeleton->progs.ps_page_alloc, pages);
	(void)bpf_program__set_autoload(skeleton->progs.ps_rss_stat, pages);
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

static void configure(struct probes *probes)
{
	const struct live_options *options = &probes->options;
	struct pagestay *skeleton = probes->skeleton;
	bool pages = options->pages && probes->kernel.faults;
	uint64_t seed = 0;

	(void)!getrandom(&seed, sizeof(seed), 0);
	(void)!getrandom(&probes->page_seed, sizeof(probes->page_seed), 0);
	skeleton->rodata->cfg_pages = pages;
	skeleton->rodata->cfg_rss_each = probes->kernel.rss_each;
	skeleton->rodata->cfg_page_shift = __builtin_ctzl(sysconf(_SC_PAGESIZE));
	skeleton->rodata->cfg_page_seed = probes->page_seed;
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
	(void)bpf_map__set_max_entries(skeleton->maps.page_levels, options->max_processes);
	if (options->ring_bytes)
		(void)bpf_map__set_max_entries(skeleton->maps.lifecycle, options->ring_bytes);
	if (options->ring_bytes || !pages)
		(void)bpf_map__set_max_entries(skeleton->maps.page_records,
			pages ? options->ring_bytes : sysconf(_SC_PAGESIZE));
}

/* Loads with the given hooks. A failed object cannot be loaded again, so each try opens its own. */
static int load(struct probes *probes, bool requests)
{
	int error;

	pagestay__destroy(probes->skeleton);
	probes->skeleton = pagestay__open();
	if (!probes->skeleton)
		return -errno;
	configure(probes);
	choose_programs(probes, requests);
	error = pagestay__load(probes->skeleton);
	return error ? error : pagestay__attach(probes->skeleton);
}

static int load_and_attach(struct probes *probes, struct diag *diag)
{
	int error = load(probes, probes->options.requests);

	/* Some hosts refuse fexit: without requests everything else still works. */
	if (error && probes->kernel.hooks == HOOKS_FEXIT && probes->options.requests) {
		probes->kernel.hooks = HOOKS_NONE;
		error = load(probes, probes->options.requests);
	}
	if (error == -EPERM)
		return diag_set(
			diag, -EPERM, "the kernel refused the BPF programs: %s", strerror(-error));
	if (error)
		return diag_set(diag, error, "cannot load the BPF programs: %s (try --verbose)",
			strerror(-error));
	return 0;
}

static int attach_iterators(struct probes *probes, struct diag *diag)
{
	union bpf_iter_link_info info = {};
	LIBBPF_OPTS(bpf_iter_attach_opts, options);

	probes->seed_tasks = bpf_program__attach_iter(probes->skeleton->progs.ps_seed_tasks, NULL);
	probes->seed_files = bpf_program__attach_iter(probes->skeleton->progs.ps_seed_files, NULL);
	probes->seed_backlog =
		bpf_program__attach_iter(probes->skeleton->progs.ps_seed_backlog, NULL);
	probes->end_segments =
		bpf_program__attach_iter(probes->skeleton->progs.ps_end_segments, NULL);
	info.map.map_fd = bpf_map__fd(probes->skeleton->maps.connections);
	options.link_info = &info;
	options.link_info_len = sizeof(info);
	probes->count_open =
		bpf_program__attach_iter(probes->skeleton->progs.ps_count_open, &options);
	if (!probes->seed_tasks || !probes->seed_files || !probes->seed_backlog ||
		!probes->end_segments || !probes->count_open)
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
static int check_listed(struct probes *probes, struct diag *diag)
{
	const struct ps_proc_key *keys = probes->processes_read.keys;
	int count = batch_read(&probes->processes_read, probes->skeleton->maps.procs);

	for (size_t i = 0; count >= 0 && i < probes->options.pid_count; i++) {
		int found = 0;

		while (found < count && keys[found].tgid != probes->options.pids[i])
			found++;
		if (found == count && !probes->skeleton->bss->ps_lost[PS_LOST_MAP_FULL])
			return diag_set(diag, -ESRCH, "there is no process with the pid %u",
				probes->options.pids[i]);
	}
	return count < 0 ? count : 0;
}

static int seed_listed(struct probes *probes, struct diag *diag)
{
	int targets = bpf_map__fd(probes->skeleton->maps.targets);
	const uint8_t wanted = 1;
	int error;

	for (size_t i = 0; i < probes->options.pid_count; i++)
		if (bpf_map_update_elem(targets, &probes->options.pids[i], &wanted, BPF_ANY))
			return diag_set(diag, -errno, "too many pids");
	error = iterate(probes->seed_tasks);
	return error ? diag_set(diag, error, "cannot iterate over processes")
		     : check_listed(probes, diag);
}

static int seed(struct probes *probes, struct diag *diag)
{
	int error = probes->options.pid_count ? seed_listed(probes, diag) : 0;

	for (int pass = 0; !error && pass < 2; pass++) {
		probes->skeleton->bss->seed_pass = pass;
		error = iterate(probes->seed_files);
	}
	if (!error)
		error = iterate(probes->seed_backlog);
	return error ? diag_set(diag, error, "cannot iterate over open sockets: %s",
			       strerror(-error))
		     : 0;
}

static int ring_record(void *context, void *data, size_t bytes)
{
	struct probes *probes = context;
	struct ps_record record;
	int error;

	if (bytes < sizeof(record))
		return 0;
	memcpy(&record, data, sizeof(record));
	error = probes->record(probes->context, &record);
	if (error)
		return error;
	return --probes->record_room ? 0 : -EAGAIN;
}

static int page_record(void *context, void *data, size_t bytes)
{
	struct probes *probes = context;
	struct ps_page_record record;
	int error;

	if (bytes < sizeof(record))
		return 0;
	memcpy(&record, data, sizeof(record));
	error = probes->page(probes->context, &record);
	if (error)
		return error;
	/* A storm writes as fast as it is read: there is an end to each go. */
	return --probes->page_room ? 0 : -EAGAIN;
}

static int open_rings(struct probes *probes, struct diag *diag)
{
	struct pagestay *skeleton = probes->skeleton;

	probes->lifecycle =
		ring_buffer__new(bpf_map__fd(skeleton->maps.lifecycle), ring_record, probes, NULL);
	probes->pages = ring_buffer__new(
		bpf_map__fd(skeleton->maps.page_records), page_record, probes, NULL);
	if (!probes->lifecycle || !probes->pages)
		return diag_set(diag, -errno, "cannot open the ring: %s", strerror(errno));
	return 0;
}

static int open_parts(struct probes *probes, struct diag *diag)
{
	int error = load_and_attach(probes, diag);

	if (error)
		return error;
	if (batch_init(&probes->processes_read, probes->skeleton->maps.procs) ||
		batch_init(&probes->routes_read, probes->skeleton->maps.routes))
		return diag_set(diag, -ENOMEM, "out of memory");
	error = open_rings(probes, diag);
	if (!error)
		error = attach_iterators(probes, diag);
	return error ? error : seed(probes, diag);
}

int probes_open(const struct live_options *options, probes_record_fn record, probes_page_fn page,
	void *context, struct probes **ret_probes, struct diag *diag)
{
	struct probes *probes = calloc(1, sizeof(*probes));
	int error;

	if (!probes)
		return diag_set(diag, -ENOMEM, "out of memory");
	probes->options = *options;
	probes->record = record;
	probes->page = page;
	probes->context = context;
	if (!options->verbose)
		(void)libbpf_set_print(NULL);
	kernel_probe(&probes->kernel);
	error = kernel_check(&probes->kernel, diag);
	if (!error)
		error = open_parts(probes, diag);
	if (error) {
		probes_close(probes);
		return error;
	}
	*ret_probes = probes;
	return 0;
}

void probes_close(struct probes *probes)
{
	if (!probes)
		return;
	ring_buffer__free(probes->lifecycle);
	ring_buffer__free(probes->pages);
	bpf_link__destroy(probes->seed_tasks);
	bpf_link__destroy(probes->seed_files);
	bpf_link__destroy(probes->seed_backlog);
	bpf_link__destroy(probes->end_segments);
	bpf_link__destroy(probes->count_open);
	pagestay__destroy(probes->skeleton);
	batch_deinit(&probes->processes_read);
	batch_deinit(&probes->routes_read);
	free(probes);
}

const struct kernel *probes_kernel(const struct probes *probes)
{
	return &probes->kernel;
}

int probes_records(struct probes *probes)
{
	int result;

	probes->record_room = MAX_RECORDS;
	result = ring_buffer__consume(probes->lifecycle);
	return result < 0 && result != -EAGAIN ? result : probes_pages(probes);
}

int probes_pages(struct probes *probes)
{
	int result;

	probes->page_room = MAX_PAGE_RECORDS;
	result = ring_buffer__consume(probes->pages);
	return result < 0 && result != -EAGAIN ? result : 0;
}

uint64_t probes_page_seed(const struct probes *probes)
{
	return probes->page_seed;
}

/* A map that is full leaves the process at its level: more records than asked for, and none wrong.
 */
void probes_set_level(struct probes *probes, const struct ps_proc_key *key, uint32_t level)
{
	(void)bpf_map_update_elem(
		bpf_map__fd(probes->skeleton->maps.page_levels), key, &level, BPF_ANY);
}

int probes_end_interval(struct probes *probes)
{
	int error;

	probes->skeleton->bss->open_scan++;
	error = iterate(probes->count_open);
	return error ? error : iterate(probes->end_segments);
}

int probes_read_processes(struct probes *probes, const struct ps_proc_key **ret_keys,
	const struct ps_proc **ret_processes)
{
	*ret_keys = probes->processes_read.keys;
	*ret_processes = probes->processes_read.values;
	return batch_read(&probes->processes_read, probes->skeleton->maps.procs);
}

int probes_read_routes(struct probes *probes, const struct ps_route_key **ret_keys,
	const struct ps_route **ret_routes)
{
	*ret_keys = probes->routes_read.keys;
	*ret_routes = probes->routes_read.values;
	return batch_read(&probes->routes_read, probes->skeleton->maps.routes);
}

int probes_read_process(
	struct probes *probes, const struct ps_proc_key *key, struct ps_proc *ret_process)
{
	return bpf_map_lookup_elem(bpf_map__fd(probes->skeleton->maps.procs), key, ret_process);
}

uint64_t probes_open_connections(const struct probes *probes, const struct ps_proc *process)
{
	return process->open_scan == probes->skeleton->bss->open_scan ? process->open : 0;
}

void probes_forget_process(struct probes *probes, const struct ps_proc_key *key)
{
	(void)bpf_map_delete_elem(bpf_map__fd(probes->skeleton->maps.procs), key);
	(void)bpf_map_delete_elem(bpf_map__fd(probes->skeleton->maps.page_levels), key);
}

void probes_forget_route(struct probes *probes, const struct ps_route_key *key)
{
	(void)bpf_map_delete_elem(bpf_map__fd(probes->skeleton->maps.routes), key);
}

/*
 * A program does not run where it is running already: an interrupt came into it. What an interrupt
 * allocates is not a fault's page, so those of mm_page_alloc are not missed.
 */
void probes_runs(const struct probes *probes, struct probes_runs *ret_runs)
{
	const struct pagestay *skeleton = probes->skeleton;
	struct bpf_program *program;

	*ret_runs = (struct probes_runs){};
	bpf_object__for_each_program(program, skeleton->obj)
	{
		struct bpf_prog_info info = {};
		uint32_t bytes = sizeof(info);

		if (!bpf_program__autoload(program) ||
			bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &bytes))
			continue;
		ret_runs->ns += info.run_time_ns;
		ret_runs->runs += info.run_cnt;
		if (program != skeleton->progs.ps_page_alloc)
			ret_runs->missed += info.recursion_misses;
	}
}

uint64_t probes_lost(const struct probes *probes, enum ps_loss what)
{
	return probes->skeleton->bss->ps_lost[what];
}
