/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The command line, parsed and checked: nothing behind it sees argv.
 */
#ifndef PAGESTAY_APP_OPTIONS_H
#define PAGESTAY_APP_OPTIONS_H

#include <regex.h>
#include <stdbool.h>
#include <stdint.h>

#include "pagestay/abi.h"
#include "pagestay/base/diag.h"

#define OPTIONS_MAX_PIDS   1024
#define OPTIONS_MAX_GROUPS 64

/* What `pagestay` ends with; DESIGN's contract with scripts. */
enum exit_code {
	EXIT_OK = 0,
	EXIT_RUNTIME = 1,
	EXIT_USAGE = 2,
	EXIT_PRIVILEGE = 3,
	EXIT_KERNEL = 4,
};

enum command {
	COMMAND_WATCH,
	COMMAND_RECORD,
	COMMAND_REPLAY,
	COMMAND_DOCTOR,
	COMMAND_XRAY,
	COMMAND_DIAGNOSE,
	COMMAND_COMPARE,
	COMMAND_AGENT,
	COMMAND_FOLLOW,
	COMMAND_HELP,
	COMMAND_VERSION,
};

enum output { OUTPUT_TEXT, OUTPUT_JSON, OUTPUT_MARKDOWN };

struct options {
	regex_t comm;                            /* if by_comm */
	const char *units[OPTIONS_MAX_GROUPS];   /* any of them; none: any */
	const char *cgroups[OPTIONS_MAX_GROUPS]; /* likewise */
	const char *file;     /* of record, replay and agent; follow: directory */
	const char *cursor;   /* of follow; NULL: none */
	const char *sides[2]; /* of compare: a pid, FILE, FILE:PID or FILE:COMM */
	double interval_s;
	double for_s;  /* how long diagnose and compare watch */
	double xray_s; /* between x-rays of a process; 0: at every interval */
	enum command command;
	enum output output; /* markdown: of compare only */
	uint32_t pids[OPTIONS_MAX_PIDS];
	unsigned pid_count, port_count, unit_count, cgroup_count;
	unsigned top;
	unsigned max_processes, max_routes, max_pages;
	unsigned ring_bytes;   /* 0: the defaults */
	unsigned sample_level; /* one page in 2^level */
	unsigned count;        /* 0: until a signal */
	uint16_t ports[PS_MAX_PORTS];
	bool by_comm;
	bool requests; /* --detail requests or pages, not ledger */
	bool pages;    /* --detail pages */
	bool detail;   /* given; else -p decides */
	bool routes;
	bool xray;
	bool verbose;
	bool check_config;      /* of agent */
	bool once;              /* of follow */
	bool marks_by_requests; /* of compare; else by time */
};

/* 0, or -EINVAL with what is wrong. */
int options_init(struct options *options, int argc, char **argv, struct diag *diag);
void options_deinit(struct options *options);

extern const char options_help[];

#endif
