/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * pagestay: which requests leave pages behind, how long the pages stay, and why.
 *
 * A map of the program. Data flows one way, and an include points only downwards:
 *
 *   bpf/                     counts in the kernel, in maps that abi.h describes to both sides
 *     syscall, ledger        memory calls and accepts, by their results
 *     uring                  accepts through io_uring
 *     connection, socket     passively opened connections
 *     request, window, http  requests, the faults in their windows, their routes
 *     page, place, drop      which pages become resident, for whom, and what gives them back
 *     process, seed          exec and exit; what was there before
 *   user/base                diagnostics, cleanup, safe text, hash tables
 *   user/edge                events and their recording; procfs, maps, residency: what /proc tells
 *     target, xray           the memory of a live process, and a look into it: allocator (which
 *                            malloc), glibc_heap and jemalloc (its heap)
 *     rotate, follow, cursor files of our own; who reads them as they grow, and how far
 *   user/source              probes (drives the BPF skeleton), live, passes, heaps (a thread that
 *                            x-rays), pace (how often), replay, synthetic
 *   user/core                track: events to a report; fields: the report's numbers; route
 *     retention              whose each page is, and for how long: pageset, curve, estimate
 *     history, verdict       why memory stays, and what helps
 *     compare                two processes side by side
 *     episode, narrative     what is worth telling somebody about; a day in one summary
 *   user/sink                a report to somebody: text, json, xray, diagnosis, compare;
 *                            prometheus, listen (HTTP), warden (Inner Warden), files
 *   user/app                 this file, options, the event loop (run), xray, diagnose, compare,
 *                            follow, doctor; agent: the daemon, with config, outputs, privileges
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "agent.h"
#include "doctor.h"
#include "options.h"
#include "pagestay/edge/jemalloc.h"
#include "run.h"

/*
 * Read by jemalloc when it begins. A report is made in a burst, and nobody allocates until the
 * next: one arena, so that threads share what is free, and a second until it goes back. Sanitizers
 * bring another malloc, which does not look here.
 */
const char *const malloc_conf = "narenas:1,dirty_decay_ms:1000,muzzy_decay_ms:0";

static enum exit_code dispatch(const struct options *options)
{
	switch (options->command) {
	case COMMAND_WATCH:
		return run_watch(options);
	case COMMAND_RECORD:
		return run_record(options);
	case COMMAND_REPLAY:
		return run_replay(options);
	case COMMAND_DOCTOR:
		return doctor(options);
	case COMMAND_XRAY:
		return run_xray(options);
	case COMMAND_DIAGNOSE:
		return run_diagnose(options);
	case COMMAND_COMPARE:
		return run_compare(options);
	case COMMAND_AGENT:
		return run_agent(options);
	case COMMAND_FOLLOW:
		return run_follow(options);
	case COMMAND_VERSION:
		(void)puts("pagestay " PAGESTAY_VERSION);
		return EXIT_OK;
	case COMMAND_HELP:
		(void)fputs(options_help, stdout);
		return EXIT_OK;
	}
	return EXIT_USAGE;
}

/*
 * What was printed must have arrived; a failure that the command told already is not told again. A
 * reader that went away has seen enough: that is no failure.
 */
static enum exit_code flush_output(enum exit_code code)
{
	errno = 0;
	if (code == EXIT_RUNTIME || fflush(stdout) == 0 || errno == EPIPE)
		return code;
	(void)fprintf(stderr, "pagestay: cannot write to standard output: %s\n", strerror(errno));
	return EXIT_RUNTIME;
}

int main(int argc, char **argv)
{
	struct options options;
	struct diag diag = {};
	enum exit_code code;

	/* Not a person's command: a child of ours that is about to load a file it does not trust.
	 */
	if (argc > 1 && strcmp(argv[1], JEMALLOC_CALIBRATE_OPTION) == 0)
		jemalloc_calibrate_main(argc, argv);
	if (options_init(&options, argc, argv, &diag)) {
		(void)fprintf(stderr, "pagestay: %s\nTry `pagestay --help`.\n", diag.text);
		options_deinit(&options);
		return EXIT_USAGE;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	code = flush_output(dispatch(&options));
	options_deinit(&options);
	return code;
}
