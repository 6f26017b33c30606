/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A live process read from outside: what is mapped, what of it is in memory, and the bytes there.
 *
 * The process is never stopped, and no page is faulted in for it: a page that is not present in its
 * page tables (never touched, dropped, swapped out, a file's page that it has not mapped yet) is
 * not read but reported as absent. It runs on meanwhile, so each read sees its own moment.
 */
#ifndef PAGESTAY_EDGE_TARGET_H
#define PAGESTAY_EDGE_TARGET_H

#include <stdatomic.h>
#include <stddef.h>

#include "pagestay/base/diag.h"
#include "pagestay/edge/procfs.h"

struct target;

/* A mapping, as of the last look. Mappings are in ascending order and apart. */
struct target_map {
	uint64_t from, to;      /* addresses; multiples of the page size */
	uint64_t offset;        /* of `from` in the file */
	uint64_t device, inode; /* as stat gives them; inode 0: no file */
	bool readable, writable, executable, shared;
	const char *path; /* as in maps, any bytes; "" for anonymous memory, or "[heap]" */
};

/*
 * Opens the process's memory, page tables and mappings. They stay with the memory that it has now:
 * after an exec or an exit everything gives -ESRCH. `procfs` is borrowed and must outlive the
 * target. -ESRCH: no such process. -EPERM or -EACCES: it may not be read. -ENODATA: it has no
 * memory (a kernel thread). -ENOTSUP: a 32-bit process.
 */
int target_open(const struct procfs *procfs, const struct ps_proc_key *key,
	struct target **ret_target, struct diag *diag);
void target_close(struct target *target); /* takes NULL */

/* Looks at the mappings again: what target_maps gave before is gone. */
int target_refresh(struct target *target);

const struct target_map *target_maps(const struct target *target, size_t *ret_count);

/* NULL if nothing is mapped there. */
const struct target_map *target_map_at(const struct target *target, uint64_t address);

/*
 * Reads bytes, in one piece or not at all: -ENODATA if one of the pages is absent, -EFAULT if one
 * is not mapped or not readable, -ESRCH, or another -errno.
 */
int target_read(struct target *target, uint64_t address, void *ret_bytes, size_t length);

/*
 * Which of `pages` pages from `address` on (a multiple of the page size) are present:
 * ret_present[i] is 1 or 0.
 */
int target_present(struct target *target, uint64_t address, size_t pages, uint8_t *ret_present);

/*
 * Opens the file of a mapping for reading, in whatever mount namespace the process is: the very
 * file that is mapped (device and inode are compared), also if it was deleted, where the kernel
 * lets us. -ENOENT: not to be had any more; -ESTALE: another file is in its place.
 */
int target_open_file(struct target *target, const struct target_map *map, int *ret_fd);

/*
 * From when *cancelled is true, set by any thread, looks at the process's memory give -ECANCELED.
 * It is borrowed.
 */
void target_cancel_by(struct target *target, const atomic_bool *cancelled);

uint64_t target_page_bytes(const struct target *target);
const struct ps_proc_key *target_key(const struct target *target);
const struct procfs *target_procfs(const struct target *target); /* as given to target_open */

#endif
