/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The commands that move events or look into a process. Each speaks to the user itself and returns
 * an exit code. What they share is the loop that makes reports.
 */
#ifndef PAGESTAY_APP_RUN_H
#define PAGESTAY_APP_RUN_H

#include "options.h"
#include "pagestay/core/report.h"
#include "pagestay/edge/event.h"

enum exit_code run_watch(const struct options *options);
enum exit_code run_record(const struct options *options);
enum exit_code run_replay(const struct options *options);
enum exit_code run_xray(const struct options *options);
enum exit_code run_diagnose(const struct options *options);
enum exit_code run_compare(const struct options *options);
enum exit_code run_follow(const struct options *options);

/* Takes the report of an interval: 0 to go on, 1 for enough, or -errno, which ends the run. */
typedef int (*report_fn)(void *context, const struct report *report);

/*
 * Hands each report to `consume`: of the recording that options->file names, if it names one; else
 * of the running system, until options->count intervals (0: any number), SIGINT, SIGTERM or SIGHUP,
 * whose report covers the interval under way. Returns 0 or -errno; without words in `diag` the
 * error is the consumer's or of memory. -EBADMSG: the recording is damaged; what is sound of it was
 * reported, and every report said that it is not complete.
 */
int run_reports(const struct options *options, report_fn consume, void *context, struct diag *diag);

/* What a command that runs for long adds to the loop; each but `report` may be NULL. */
struct run_hooks {
	report_fn report;
	event_fn event; /* sees each event before it is tracked */
	/* All probes are attached; no event and no report yet. 0, or -errno, which ends the run. */
	int (*opened)(void *context, struct diag *diag);
	void (*idle)(void *context); /* ten times a second */
	/* SIGHUP: may change the options' interval, x-rays and selection by name. NULL: it ends. */
	void (*reload)(void *context);
	/* The last report was made; the source, whose threads may take longer, is still open. */
	void (*closing)(void *context);
	void *context;
};

/* The running system, as run_reports; `options` are read again after a reload. */
int run_hooked(const struct options *options, const struct run_hooks *hooks, struct diag *diag);

/* Tells the user why a command failed, and what to do where a privilege or the kernel is why. */
enum exit_code run_failed(const struct diag *diag, int error);

/* The terminal's width, 80 where standard output is none. */
unsigned run_columns(void);

/*
 * Whether the process can be looked into at all. 0; -ESRCH: it does not exist; -ENODATA: a kernel
 * thread; -ENOTSUP: a 32-bit process; -EPERM or -EACCES: it is another user's.
 */
int run_check_target(uint32_t pid, struct diag *diag);

#endif
