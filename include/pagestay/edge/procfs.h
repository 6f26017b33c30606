/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What /proc tells of a process, under a root that tests replace. Each call checks that the pid
 * still is the process that started at the key's time; -ESRCH if it is not, or is gone.
 */
#ifndef PAGESTAY_EDGE_PROCFS_H
#define PAGESTAY_EDGE_PROCFS_H

#include "pagestay/edge/event.h"

struct procfs {
	int fd;           /* of the root directory; -1 before open */
	long clock_ticks; /* a second, for start times */
};

/* `root` is normally "/proc". */
int procfs_open(const char *root, struct procfs *ret_procfs);
void procfs_close(struct procfs *procfs);

/* The process that has the pid now. -ESRCH: none. */
int procfs_find(const struct procfs *procfs, uint32_t pid, struct ps_proc_key *ret_key);

/* comm, exe where it may be read (empty otherwise), and the control group. */
int procfs_process(const struct procfs *procfs, const struct ps_proc_key *key,
	struct event_process *ret_process);

/*
 * RSS, anonymous and swapped bytes from status (the kernel keeps these per CPU and adds them up
 * loosely), the fault total from stat. Lazily freed bytes need smaps_rollup, which walks the page
 * tables: read only when `lazyfree`, else EVENT_UNKNOWN.
 */
int procfs_memory(const struct procfs *procfs, const struct ps_proc_key *key, bool lazyfree,
	struct event_memory *ret_memory);

/*
 * What of a heap /proc knows: anonymous, huge and lazily freed bytes (smaps_rollup, which walks the
 * page tables), threads, those of them that purge for jemalloc (of the first 4,096), and whether
 * the kernel gives huge pages. The rest of *heap is untouched; what cannot be read is as it was.
 */
int procfs_heap(const struct procfs *procfs, const struct ps_proc_key *key, struct heap *heap);

/*
 * Opens a file of the process for reading. Those that are about its memory (maps, pagemap) stay
 * with that memory: once it is given up they read as empty, whoever has the pid by then.
 */
int procfs_open_file(
	const struct procfs *procfs, const struct ps_proc_key *key, const char *name, int *ret_fd);

/* The resident bytes of the calling process; EVENT_UNKNOWN if they cannot be read. */
uint64_t procfs_self_rss_bytes(const struct procfs *procfs);

/* Whether the kernel keeps account of what BPF programs take (sysctl kernel.bpf_stats_enabled). */
bool procfs_accounts_bpf(const struct procfs *procfs);

#endif
