/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Doctor: one table of what pagestay would use, whether it is there, and what is used instead; then
 * a trial, because only loading the programs proves that they load. Text and JSON print the same
 * rows.
 */
#include "doctor.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "pagestay/edge/residency.h"
#include "pagestay/source/kernel.h"
#include "pagestay/source/live.h"

#define ROWS 24

struct row {
	const char *name;
	bool present;
	const char *use;
	const char *instead; /* when it is not there */
};

struct findings {
	struct row rows[ROWS];
	size_t count;
	struct utsname system;
	struct diag trial;
	char notes[512];
	enum exit_code code;
};

static void add(struct findings *findings, const char *name, bool present, const char *use,
	const char *instead)
{
	if (findings->count < ROWS)
		findings->rows[findings->count++] = (struct row){name, present, use, instead};
}

static void find_capabilities(struct findings *findings)
{
	for (unsigned i = 0; i < kernel_capability_count; i++) {
		const struct kernel_capability *capability = &kernel_capabilities[i];

		add(findings, capability->name, kernel_has_capability(capability),
			capability->purpose,
			capability->required ? "nothing: run as root, or replay a recording"
					     : "those values are null");
	}
}

static bool has_pagemap_scan(void)
{
	struct residency *residency = NULL;
	struct procfs procfs = {.fd = -1};
	bool has = procfs_open("/proc", &procfs) == 0 && residency_new(&procfs, &residency) == 0 &&
		   residency_method(residency) == RESIDENCY_SCAN;

	residency_free(residency);
	procfs_close(&procfs);
	return has;
}

static void find_probes(struct findings *findings, const struct kernel *kernel)
{
	add(findings, "BTF", kernel->btf, "fit the programs to this kernel", "nothing");
	add(findings, "sys_exit", kernel->syscall_exit,
		"memory calls and accepts, by result (64-bit calls only)", "nothing");
	add(findings, "sched_process_exec, _exit", kernel->process_life, "the life of processes",
		"nothing");
	add(findings, "iterators", kernel->iterators,
		"servers and connections that are there already", "nothing");
	add(findings, "sock_recv_length, sock_send_length", kernel->hooks == HOOKS_TRACEPOINT,
		"requests, routes, faults in requests",
		kernel->hooks == HOOKS_FEXIT ? "fexit on the protocols' functions"
					     : "nothing: requests are not counted");
	add(findings, "inet_sock_set_state", kernel->socket_state, "TCP connections",
		"nothing: only Unix connections are seen");
	add(findings, "io_uring_complete", kernel->uring != URING_NONE, "accepts through io_uring",
		"nothing: accepts through io_uring are not counted");
	add(findings, "page_fault_user, _kernel, mm_page_alloc", kernel->faults,
		"pages that requests touch", "nothing: pages are not tracked (only x86 has them)");
	add(findings, "rss_stat, each change", kernel->rss_each,
		"proof that a page became resident",
		"allocations: a page that two threads touch at once counts twice");
	add(findings, "PAGEMAP_SCAN", has_pagemap_scan(), "looking up which pages are there",
		"/proc/PID/pagemap: two to three times slower");
	add(findings, "host's pid namespace", kernel->init_pid_namespace,
		"the kernel's pids are those of /proc", "nothing");
}

static int note_event(void *context, const struct event *event)
{
	struct findings *findings = context;

	if (event->kind == EVENT_NOTE)
		(void)snprintf(findings->notes, sizeof(findings->notes), "%.*s",
			EVENT_NOTE_BYTES - 1, event->note.text);
	return 0;
}

/* Load, attach and take in everything once, as watch does. */
static int try_live(struct findings *findings, bool verbose)
{
	const struct live_options options = {
		.requests = true,
		.pages = true,
		.max_pages = 64,
		.interval_ns = 1000000000,
		.verbose = verbose,
		.max_processes = 8192,
		.max_routes = 1,
		.ring_bytes = 65536,
	};
	struct source *source = NULL;
	int result = source_live_open(&options, &source, &findings->trial);

	if (result == 0)
		result = source_drain(source, SOURCE_START, note_event, findings, &findings->trial);
	source_close(source);
	return result < 0 ? result : 0;
}

static void print_text(const struct findings *findings)
{
	(void)printf("pagestay " PAGESTAY_VERSION " on %s %s %s\n\n", findings->system.sysname,
		findings->system.release, findings->system.machine);
	for (size_t i = 0; i < findings->count; i++) {
		const struct row *row = &findings->rows[i];

		(void)printf("%-3s  %s\n       %s%s\n", row->present ? "yes" : "NO", row->name,
			row->present ? "for: " : "instead: ",
			row->present ? row->use : row->instead);
	}
	if (findings->notes[0])
		(void)printf("\nnote: %s\n", findings->notes);
	(void)printf("\nTrial: %s\n", findings->code == EXIT_OK
					      ? "the programs load, attach and read this host"
					      : findings->trial.text);
	if (findings->code != EXIT_OK)
		(void)puts("Without this, `pagestay replay tests/recordings/demo.psr` still shows "
			   "reports.");
}

static int print_json(const struct findings *findings)
{
	json_t *rows = json_array();
	json_t *object;

	for (size_t i = 0; i < findings->count; i++) {
		const struct row *row = &findings->rows[i];

		(void)json_array_append_new(
			rows, json_pack("{s:s, s:b, s:s, s:s?}", "name", row->name, "present",
				      row->present, "use", row->use, "instead",
				      row->present ? NULL : row->instead));
	}
	object = json_pack("{s:s, s:s, s:s, s:b, s:i, s:s?, s:s?, s:o}", "schema",
		"pagestay.doctor/1", "kernel", findings->system.release, "machine",
		findings->system.machine, "works", findings->code == EXIT_OK, "exit_code",
		(int)findings->code, "problem",
		findings->code == EXIT_OK ? NULL : findings->trial.text, "note",
		findings->notes[0] ? findings->notes : NULL, "checks", rows);
	if (!object)
		return -ENOMEM;
	(void)json_dumpf(object, stdout, JSON_COMPACT);
	json_decref(object);
	(void)putchar('\n');
	return 0;
}

enum exit_code doctor(const struct options *options)
{
	struct findings findings = {};
	struct kernel kernel;
	int error;

	(void)uname(&findings.system);
	kernel_probe(&kernel);
	find_capabilities(&findings);
	find_probes(&findings, &kernel);
	error = try_live(&findings, options->verbose);
	if (error)
		findings.code = error == -EPERM    ? EXIT_PRIVILEGE
				: error == -ENOSYS ? EXIT_KERNEL
						   : EXIT_RUNTIME;
	if (options->output != OUTPUT_JSON) {
		print_text(&findings);
	} else if (print_json(&findings)) {
		(void)fprintf(stderr, "pagestay: out of memory\n");
		return EXIT_RUNTIME;
	}
	return findings.code;
}
