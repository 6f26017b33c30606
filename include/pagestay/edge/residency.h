/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which anonymous pages of a process are in memory or in swap, looked up in its page tables from
 * outside: no page of the process is touched, and it is not stopped.
 *
 * Anonymous is what RssAnon and VmSwap count: pages of private anonymous mappings and a private
 * mapping's own copies of file pages. Pages of files and of shared memory are not, nor are the zero
 * page, guard pages and hugetlb pages.
 */
#ifndef PAGESTAY_EDGE_RESIDENCY_H
#define PAGESTAY_EDGE_RESIDENCY_H

#include "pagestay/edge/procfs.h"

struct residency;

/*
 * The two methods agree, but for this:
 * - Only SCAN passes over what is mapped and empty at no cost. PAGEMAP reads 8 bytes for each page
 * of a mapping (about a second for a terabyte), so it takes a mapping without any access of 1 GiB
 * and more for a reservation, and leaves it out.
 * - Without CAP_SYS_ADMIN, PAGEMAP cannot tell the zero page, and counts it. It also counts the
 *   memory of a device that is mapped privately.
 * - A huge zero page counts in SCAN on kernels that do not tell it (up to 6.15), a huge page of a
 *   file that is mapped privately counts in PAGEMAP (up to 6.10), and guard pages count as swapped
 *   in SCAN on 6.13 and 6.14.
 * In both, a page that the kernel is moving looks swapped while it does, and a private mapping of a
 * hugetlbfs file is told from others only with CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE.
 */
enum residency_method {
	RESIDENCY_SCAN,    /* the PAGEMAP_SCAN ioctl, Linux 6.7 */
	RESIDENCY_PAGEMAP, /* /proc/PID/pagemap, entry by entry */
};

/*
 * Chooses the method by trying the ioctl on a page of the caller's own. `procfs` is borrowed and
 * must outlive the result. One walk at a time: the walk's buffers are part of it.
 */
int residency_new(const struct procfs *procfs, struct residency **ret_residency);
void residency_free(struct residency *residency);

enum residency_method residency_method(const struct residency *residency);

/* From here on the method that every kernel has. */
void residency_use_pagemap(struct residency *residency);

/*
 * `pages` pages from page number `page` on (address / page size), all resident or all swapped. An
 * error, which is negative, ends the walk.
 */
typedef int (*residency_fn)(void *context, uint64_t page, uint64_t pages, bool swapped);

/*
 * Calls `fn` for each run of anonymous pages from page number `from` on: ascending, apart, and as
 * long as they can be. Ends with the address space, or at the first step that begins after
 * CLOCK_MONOTONIC has reached deadline_ns; a step is 64 MiB of populated memory at most, and one is
 * always made. *ret_next is the first page not looked up, UINT64_MAX when none is left; a walk from
 * there goes on with the rest, and a run may be cut in two there.
 *
 * 0; -EACCES or -EPERM if the process may not be read; -ESRCH if it is gone, is another one by now,
 * or gave up its memory (by exit or exec) during the walk, whatever `fn` was told before; fn's
 * error; another -errno. The process runs on meanwhile: each step sees its own moment.
 */
int residency_walk(struct residency *residency, const struct ps_proc_key *key, uint64_t from,
	uint64_t deadline_ns, residency_fn fn, void *context, uint64_t *ret_next);

#endif
