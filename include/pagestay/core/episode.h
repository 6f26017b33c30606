/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Episodes: reports are folded into what is worth telling somebody about. Pure: no I/O, no clock;
 * time passes by the intervals of reports, the wall clock only names incidents.
 *
 * A service is what the processes of one unit or container with one comm are together (without
 * either: of one comm and exe). It is followed from the first report in which it retains or grows
 * by `event_bytes`, and forgotten when it has been gone for `close_intervals` reports, or calm for
 * an hour where there are more than EPISODE_SERVICES.
 *
 * Its bytes are, while it retains: what the x-ray finds held free, or what the first remedy would
 * give back if that is more, or the pages that requests keep where there was no x-ray; while it
 * grows: RSS above the least that was seen. A report in which it has no verdict changes nothing;
 * nor does one in which an x-ray is too old for verdicts (VERDICT_XRAY_AGE_S), there was none of
 * that process since the service retained or grew, and at least half of those bytes may still be
 * there: the kernel alone sees no free memory.
 *
 * An incident opens when a service retained or grew with `confidence` and `open_bytes` in
 * `open_intervals` judged reports in a row, or for `open_ns`; doubles when its bytes are twice what
 * was told last; closes when it was below half of `open_bytes`, or steady or returning with
 * `confidence`, in `close_intervals` judged reports in a row, or when its processes are all gone or
 * replaced. RSS below half of `open_bytes` needs no verdict. The service that a watchdog restarts
 * at `limit_bytes` also opens one at three quarters of that.
 *
 * Of one service and one report there is at most one happening besides OPENED.
 */
#ifndef PAGESTAY_CORE_EPISODE_H
#define PAGESTAY_CORE_EPISODE_H

#include "pagestay/core/verdict.h"

#define EPISODE_SERVICES        512 /* more are not followed, but counted */
#define EPISODE_OPENINGS        32  /* of a report: others wait for the next */
#define EPISODE_UNIT_BYTES      128
#define EPISODE_CONTAINER_BYTES 16
#define EPISODE_EXE_BYTES       256
#define EPISODE_SUBJECT_BYTES   160
#define EPISODE_ID_BYTES        224
#define EPISODE_LIMIT_BYTES     (512ull << 20)
#define EPISODE_DETECTOR        "page_retention" /* all incidents' ids begin so */

enum happening_kind {
	HAPPENING_CHANGED,    /* it began or ceased to retain or to grow, or why, or doubled */
	HAPPENING_RESTARTED,  /* all its processes are new, and what was before was worth a word;
				 once an hour */
	HAPPENING_NEAR_LIMIT, /* the watched limit came near: a half, three quarters, nine tenths */
	HAPPENING_OPENED,
	HAPPENING_DOUBLED,
	HAPPENING_CLOSED,
	HAPPENINGS,
};

enum closing_reason {
	CLOSED_FELL,      /* its bytes are below half of the threshold */
	CLOSED_CALM,      /* its verdict is steady or returning */
	CLOSED_ENDED,     /* its processes are gone */
	CLOSED_RESTARTED, /* its processes are new */
	CLOSING_REASONS,
};

extern const char *const closing_reason_names[CLOSING_REASONS]; /* "fell", "calm", ... */

/* 0 and NULL take the defaults. */
struct episode_options {
	uint64_t event_bytes;     /* 8 MiB */
	uint64_t open_bytes;      /* 64 MiB */
	uint64_t limit_bytes;     /* 512 MiB: where a watchdog restarts `limited` */
	const char *limited;      /* its name: comm, exe's last part or unit; innerwarden-agent */
	double confidence;        /* 0.6 */
	unsigned open_intervals;  /* 3 */
	unsigned close_intervals; /* 6 */
	uint64_t open_ns;         /* 5 minutes */
	void (*reach)(const struct report_process *process, struct verdict *ret_verdict);
};

/* What makes a service this one. Any bytes, terminated; empty: none. */
struct service_name {
	char unit[EPISODE_UNIT_BYTES];
	char container[EPISODE_CONTAINER_BYTES];
	char comm[PS_COMM_BYTES];
	char exe[EPISODE_EXE_BYTES]; /* of its largest process; part of the name only where there
					is neither unit nor container */
};

/* What must be known of an incident to go on with it later. */
struct episode_open {
	struct service_name name;
	char incident_id[EPISODE_ID_BYTES];
	uint64_t opened_wall_ns;
	uint64_t opened_bytes, told_bytes, peak_bytes;
	uint64_t floor_bytes;                     /* the RSS that growth counts from */
	uint64_t first_start_ns, newest_start_ns; /* of its processes when last seen */
	uint64_t open_for_ns, open_requests;      /* as far as it was watched */
	bool by_growth;
};

/* All processes of a service together, as of one report. REPORT_UNKNOWN where not known. */
struct service_load {
	unsigned processes;
	uint64_t rss_bytes;
	uint64_t kept_bytes;  /* free and resident, or kept by requests */
	uint64_t grown_bytes; /* above the least that was seen */
	uint64_t requests;    /* of the interval */
	uint64_t first_start_ns, newest_start_ns;
};

struct service {
	struct service_name name;
	char subject[EPISODE_SUBJECT_BYTES]; /* printable ASCII without colon and space */
	bool limited;
	struct service_load load; /* of the newest report in which it was there */
	uint64_t bytes;           /* what it retains, or grew by; as of its last verdict */
	uint64_t peak_rss_bytes;
	uint64_t followed_ns; /* since these processes are followed */
	/* Of its largest process that retains or grows, or of the largest, when last judged. */
	enum verdict_code code;
	enum verdict_cause cause;
	double confidence;
	bool open; /* there is an incident, and `episode` is of it; otherwise of the last */
	struct episode_open episode;
};

struct happening {
	enum happening_kind kind;
	const struct service *service;
	const struct report_process *process; /* its main one; NULL: gone */
	const struct verdict *verdict;        /* of that; NULL: gone */
	enum verdict_code before;             /* what was told before */
	enum verdict_cause before_cause;
	enum closing_reason reason; /* of CLOSED */
	/* Of RESTARTED, and of CLOSED for that: what had been, as `service` is of the new. */
	uint64_t before_bytes, before_rss_bytes, before_ns;
	uint64_t restarts; /* since one was told last, with this one */
};

/* Everything is the caller's again when this returns. 0 or -errno, which ends the fold. */
typedef int (*happening_fn)(void *context, const struct happening *happening);

struct episodes;

/* NULL when out of memory. `options` and its strings are copied. */
struct episodes *episodes_new(const struct episode_options *options);
void episodes_free(struct episodes *episodes);

/* 0 or the first error of `tell`; the report is folded whole. */
int episodes_fold(
	struct episodes *episodes, const struct report *report, happening_fn tell, void *context);

/* An incident of an earlier run goes on: instead of what is known of that service. -ENOMEM, -ENOSPC
 */
int episodes_restore(struct episodes *episodes, const struct episode_open *open);

/* The host was booted since: all that was restored was restarted. */
void episodes_rebooted(struct episodes *episodes);

/* It was closed by an earlier run. Nothing happens where there is none such. */
void episodes_forget(struct episodes *episodes, const char *incident_id);

/* In no order, those that are open. Returns their number. */
size_t episodes_each_open(const struct episodes *episodes,
	void (*each)(void *context, const struct episode_open *open), void *context);

/* Times that a service was not followed because there were EPISODE_SERVICES, or memory was out. */
uint64_t episodes_not_followed(const struct episodes *episodes);

/* The subject of a service, as in incidents. */
void episode_subject(const struct service_name *name, char ret_subject[EPISODE_SUBJECT_BYTES]);

void service_name_of(const struct report_process *process, struct service_name *ret_name);

/*
 * What a process keeps: free and resident by its newest x-ray, however old (of jemalloc its dirty
 * pages; muzzy ones are lazily freed), or without one the pages of its requests; no more than it
 * has. REPORT_UNKNOWN.
 */
uint64_t process_kept_bytes(const struct report_process *process);

#endif
