/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reports as metrics. A state folds each report: counters are sums since the state began and only
 * grow, gauges are as of the last report. Names, kinds and helps come from the field table.
 *
 * Processes are told apart by the service that they belong to, never by number: what is of one
 * service is summed; what does not add up is the greatest or the least of its processes, or left
 * out (user/sink/prometheus_families.c). A number that is not known of any process of a service
 * has no sample. A service without processes keeps its counters and loses its gauges.
 */
#ifndef PAGESTAY_SINK_PROMETHEUS_H
#define PAGESTAY_SINK_PROMETHEUS_H

#include <stdio.h>
#include <string.h>

#include "pagestay/core/report.h"
#include "pagestay/sink/sink.h"

#define PROMETHEUS_SERVICES     256
#define PROMETHEUS_SERVICES_MAX 4096
#define PROMETHEUS_ROUTES_MAX   64
/* Services, and the routes of all: some 300 MB where what listens has all its renderings. */
#define PROMETHEUS_PLACES_MAX 16384
#define PROMETHEUS_GROUPS     4

/* How long a service must be gone before another one may take its place. */
#define PROMETHEUS_FORGET_S 3600

enum prometheus_format {
	PROMETHEUS_TEXT,        /* 0.0.4 */
	PROMETHEUS_OPENMETRICS, /* 1.0.0 */
	PROMETHEUS_FORMATS,
};

extern const char *const prometheus_content_types[PROMETHEUS_FORMATS];

/* The first that is known of a process names its service. */
enum prometheus_naming {
	PROMETHEUS_BY_UNIT,      /* unit, container, comm; of a container's own scope: container */
	PROMETHEUS_BY_CONTAINER, /* container, unit, comm */
	PROMETHEUS_BY_COMM,
};

struct prometheus_options {
	enum prometheus_naming naming;
	/* Services that are told apart; 0: PROMETHEUS_SERVICES. Beyond, and for as long as none of
	 * them has been gone for PROMETHEUS_FORGET_S, the rest is one service, `other`. */
	unsigned services;
	/* Routes of a service that are told apart, 0: none. Beyond, `other`; one that had more
	 * requests in an interval than another one ever takes its place. */
	unsigned routes;
};

/*
 * A counter of somebody else's, to be written with the rest: what a sink dropped, what a listener
 * refused. Texts are the program's own. Those of one name stand together.
 */
struct prometheus_counter {
	const char *name; /* without pagestay_ and _total */
	const char *help;
	const char *label, *label_value; /* NULL: none */
	uint64_t value;
};

struct prometheus_state;

/* 0, -ENOMEM, or -EINVAL: beyond the bounds above. */
int prometheus_new(const struct prometheus_options *options, struct prometheus_state **ret_state);
void prometheus_free(struct prometheus_state *state); /* takes NULL */

/* The counters stay the caller's and are read by each render. -ENOSPC: PROMETHEUS_GROUPS. */
int prometheus_attach(
	struct prometheus_state *state, const struct prometheus_counter *counters, size_t count);

/* 0, or -ENOMEM: what found no memory was counted under `other`. */
int prometheus_fold(struct prometheus_state *state, const struct report *report);

/* 0 or -errno of the write. */
int prometheus_render(
	FILE *out, enum prometheus_format format, const struct prometheus_state *state);

/*
 * For the textfile collector of node_exporter: after each report the file at `path` is replaced as
 * a whole. A thread of its own writes it, so a disk that hangs holds nobody up: while one file is
 * under way, of later ones only the newest waits. Closing removes the file, unless the disk hangs.
 */
struct textfile_options {
	const char *path; /* absolute, ends in .prom */
	/* The caller's, and outlives the sink. Each report is folded before it is written. */
	const struct prometheus_state *metrics;
	/* Called by sink_write: once when writing begins to fail, once when it works again. */
	void (*say)(void *context, const char *text);
	void *context;
	int (*sync)(int fd); /* NULL: fsync */
};

struct diag;

/* Absolute, and of a name that a collector reads. */
static inline bool textfile_path_is_sound(const char *path)
{
	const char *name = strrchr(path, '/');
	size_t length = name ? strlen(name) : 0;

	return path[0] == '/' && length > strlen("/.prom") && name[1] != '.' &&
	       strcmp(name + length - strlen(".prom"), ".prom") == 0;
}

/* 0, or -errno with words. */
int sink_textfile_new(
	const struct textfile_options *options, struct sink **ret_sink, struct diag *diag);

#endif
