/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The BPF programs and maps of one run: loaded, attached, seeded and read. Who they count is in the
 * options; what a count means is in abi.h. The live source's other half.
 */
#ifndef PAGESTAY_SOURCE_PROBES_H
#define PAGESTAY_SOURCE_PROBES_H

#include "pagestay/source/kernel.h"
#include "pagestay/source/live.h"

struct probes;

/* Takes a record of the ring. Non-zero ends the reading and is returned by probes_records. */
typedef int (*probes_record_fn)(void *context, const struct ps_record *record);

/* The same for a record of pages. */
typedef int (*probes_page_fn)(void *context, const struct ps_page_record *record);

/*
 * Load, attach, and admit what is there already. Records go to `record` and `page` during
 * probes_records. Errors as of source_live_open.
 */
int probes_open(const struct live_options *options, probes_record_fn record, probes_page_fn page,
	void *context, struct probes **ret_probes, struct diag *diag);
void probes_close(struct probes *probes); /* takes NULL */

/* What was found, with the hooks that are really attached. */
const struct kernel *probes_kernel(const struct probes *probes);

/* Read the rings until they are empty, or so much that the rest can wait. 0 or -errno. */
int probes_records(struct probes *probes);

/* Of these the ring of page records alone: may be called while `record` runs. 0 or -errno. */
int probes_pages(struct probes *probes);

/* An interval ends: count open connections, end the threads' segments. 0 or -errno. */
int probes_end_interval(struct probes *probes);

/* A whole map. Returns how many entries, valid until the next read of the same map, or -errno. */
int probes_read_processes(struct probes *probes, const struct ps_proc_key **ret_keys,
	const struct ps_proc **ret_processes);
int probes_read_routes(struct probes *probes, const struct ps_route_key **ret_keys,
	const struct ps_route **ret_routes);

/* One process. 0, or -ENOENT. */
int probes_read_process(
	struct probes *probes, const struct ps_proc_key *key, struct ps_proc *ret_process);

/* The connections that it had open at the last probes_end_interval. */
uint64_t probes_open_connections(const struct probes *probes, const struct ps_proc *process);

/* Which pages are sampled: the seed of ps_page_sampled, and from now on a process's level. */
uint64_t probes_page_seed(const struct probes *probes);
void probes_set_level(struct probes *probes, const struct ps_proc_key *key, uint32_t level);

/* Room for others. */
void probes_forget_process(struct probes *probes, const struct ps_proc_key *key);
void probes_forget_route(struct probes *probes, const struct ps_route_key *key);

/* The programs' runs since they were loaded, on all processors. `ns` and `runs` only grow while the
 * kernel keeps account (procfs_accounts_bpf). */
struct probes_runs {
	uint64_t ns, runs;
	uint64_t missed; /* PS_LOST_RUNS */
};

void probes_runs(const struct probes *probes, struct probes_runs *ret_runs);

/* What was lost since the beginning. Of the programs' own counting: not PS_LOST_RUNS. */
uint64_t probes_lost(const struct probes *probes, enum ps_loss what);

#endif
