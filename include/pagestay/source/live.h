/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The running kernel as a source, named `bpf`.
 */
#ifndef PAGESTAY_SOURCE_LIVE_H
#define PAGESTAY_SOURCE_LIVE_H

#include <regex.h>
#include <stddef.h>

#include "pagestay/source/source.h"

struct live_options {
	const uint32_t *pids; /* none: every server */
	size_t pid_count;
	const uint16_t *ports; /* none: any; at most PS_MAX_PORTS */
	size_t port_count;
	const regex_t *comm; /* NULL: any; must outlive the source */
	/* Names of units, paths of control groups; none: any. They must outlive the source. */
	const char *const *units;
	size_t unit_count;
	const char *const *cgroups;
	size_t cgroup_count;
	bool requests; /* false: the ledger and accepts only */
	bool routes;
	bool pages; /* needs requests */
	/* Between x-rays of a process, as often as walks allow; a minute at most between the first
	 * six. 0: none. */
	uint64_t xray_ns;
	bool verbose; /* libbpf's own messages go to stderr */
	unsigned max_processes;
	unsigned max_routes;
	unsigned ring_bytes;  /* of each ring; 0: 256 KiB for processes, 4 MiB for pages */
	unsigned max_pages;   /* tracked of one process: beyond, the sampling level rises */
	unsigned level;       /* of sampling, to begin with */
	uint64_t interval_ns; /* passes over page tables take a part of it and no more */
	/* Somebody asks to end: what is waited for can wait. NULL: nobody ever does. */
	bool (*is_ending)(void);
};

/*
 * Loads and attaches the programs, then takes in what is there already: servers by their listening
 * sockets and open connections, or the listed pids. -EPERM: a privilege is missing; -ENOSYS: the
 * kernel lacks what was asked for; -ESRCH: a listed pid does not exist; others: runtime failures.
 */
int source_live_open(
	const struct live_options *options, struct source **ret_source, struct diag *diag);

/*
 * Takes over interval_ns, xray_ns, comm, units and cgroups; the rest is as it was opened. A process
 * that is not selected any more is reported as exited, one that is now appears with what it does
 * from here on.
 */
void source_live_select(struct source *source, const struct live_options *options);

#endif
