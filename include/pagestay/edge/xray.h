/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * An x-ray: which allocators a process has, and what its heap holds. The process is not stopped and
 * no page is touched for it.
 */
#ifndef PAGESTAY_EDGE_XRAY_H
#define PAGESTAY_EDGE_XRAY_H

#include "pagestay/edge/glibc_heap.h"

struct xray; /* keeps what is known of files */

/* `procfs` is borrowed and must outlive the result. */
int xray_new(const struct procfs *procfs, struct xray **ret_xray);
void xray_free(struct xray *xray); /* takes NULL */

/* What a person wants to know beside the numbers. */
struct xray_remarks {
	struct glibc_heap_damage damage;
	char unread[256]; /* what of the heap cannot be read, and why; "" if nothing */
};

struct xray_result {
	struct allocators allocators;
	bool settled;     /* as allocators_detect */
	bool walked;      /* `heap` is filled with whatever is known of it */
	struct heap heap; /* unknown if not walked */
	struct xray_remarks remarks;
};

/*
 * Which allocators, and with `walk` the heap, until CLOCK_MONOTONIC reaches deadline_ns; it counts
 * as walked also where no walk of this allocator exists. Errors are those of target_open, and
 * -ESRCH of a process that ended or called exec meanwhile.
 */
int xray_process(struct xray *xray, const struct ps_proc_key *key, bool walk, uint64_t deadline_ns,
	struct xray_result *ret_result, struct diag *diag);

/* From any thread: the x-ray under way, and every later one, ends soon with -ECANCELED. */
void xray_cancel(struct xray *xray);

/* How many files were read to tell allocators. */
uint64_t xray_file_reads(const struct xray *xray);

#endif
