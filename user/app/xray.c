/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The command xray: one look into one process, without any probe. Also tells the other commands
 * whether a process can be looked into.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pagestay/base/cleanup.h"
#include "pagestay/edge/xray.h"
#include "pagestay/base/clock.h"
#include "pagestay/sink/xray.h"
#include "run.h"

#define WALK_MAX_NS (60 * NS_PER_S) /* some 100 GB of heap */

static void cleanup_procfs(struct procfs *procfs)
{
	procfs_close(procfs);
}

static void cleanup_xray(struct xray **xray)
{
	xray_free(*xray);
}

static void cleanup_target(struct target **target)
{
	target_close(*target);
}

/* Words for the errors that a person meets. */
static int explain(uint32_t pid, int error, struct diag *diag)
{
	switch (error) {
	case -ESRCH:
		return diag_set(diag, error, "there is no process %u", pid);
	case -ENODATA:
		return diag_set(
			diag, error, "%u is a kernel thread: it has no memory of its own", pid);
	case -ENOTSUP:
		return diag_set(
			diag, error, "%u is a 32-bit process: its heap is not known here", pid);
	case -EPERM:
	case -EACCES:
		return diag_set(diag, -EPERM,
			"process %u may not be read: that needs CAP_SYS_PTRACE and "
			"CAP_DAC_READ_SEARCH in its user namespace",
			pid);
	default:
		return diag_set(
			diag, error, "process %u cannot be read: %s", pid, strerror(-error));
	}
}

static int open_process(
	uint32_t pid, struct procfs *procfs, struct ps_proc_key *ret_key, struct diag *diag)
{
	int error = procfs_open("/proc", procfs);

	if (error)
		return diag_set(diag, error, "cannot open /proc: %s", strerror(-error));
	error = procfs_find(procfs, pid, ret_key);
	return error ? explain(pid, error, diag) : 0;
}

int run_check_target(uint32_t pid, struct diag *diag)
{
	_cleanup_(cleanup_procfs) struct procfs procfs = {.fd = -1};
	_cleanup_(cleanup_target) struct target *target = NULL;
	struct diag unused = {};
	struct ps_proc_key key;
	int error = open_process(pid, &procfs, &key, diag);

	if (error)
		return error;
	error = target_open(&procfs, &key, &target, &unused);
	return error ? explain(pid, error, diag) : 0;
}

/* Everything that is shown, looked at together. */
struct look {
	struct event_process process;
	struct event_memory memory;
	struct xray_result xray;
};

static int look_into(const struct procfs *procfs, const struct ps_proc_key *key, struct look *look)
{
	_cleanup_(cleanup_xray) struct xray *xray = NULL;
	struct diag unused = {};
	int error = xray_new(procfs, &xray);

	if (!error)
		error = procfs_process(procfs, key, &look->process);
	if (!error)
		error = xray_process(xray, key, true, clock_ns(CLOCK_MONOTONIC) + WALK_MAX_NS,
			&look->xray, &unused);
	return error ? error : procfs_memory(procfs, key, false, &look->memory);
}

static int show(
	const struct options *options, const struct ps_proc_key *key, const struct look *look)
{
	char host[EVENT_HOST_BYTES] = "";
	const struct xray_shot shot = {
		.wall_ns = clock_ns(CLOCK_REALTIME),
		.host = host,
		.key = *key,
		.process = &look->process,
		.memory = &look->memory,
		.allocators = &look->xray.allocators,
		.heap = &look->xray.heap,
		.remarks = &look->xray.remarks,
	};

	(void)gethostname(host, sizeof(host) - 1);
	return options->output == OUTPUT_JSON ? xray_put_json(stdout, &shot)
					      : xray_put_text(stdout, run_columns(), &shot);
}

enum exit_code run_xray(const struct options *options)
{
	_cleanup_(cleanup_procfs) struct procfs procfs = {.fd = -1};
	static struct look look;
	struct diag diag = {};
	struct ps_proc_key key;
	uint32_t pid = options->pids[0];
	int error = open_process(pid, &procfs, &key, &diag);

	if (!error) {
		error = look_into(&procfs, &key, &look);
		if (error)
			error = explain(pid, error, &diag);
	}
	if (!error) {
		error = show(options, &key, &look);
		if (error && error != -EPIPE)
			(void)diag_set(&diag, error, "cannot write to standard output: %s",
				strerror(-error));
	}
	return error && error != -EPIPE ? run_failed(&diag, error) : EXIT_OK;
}
