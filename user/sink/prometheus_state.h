/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What folding and rendering metrics share. Nobody else includes this.
 */
#ifndef PAGESTAY_SINK_PROMETHEUS_STATE_H
#define PAGESTAY_SINK_PROMETHEUS_STATE_H

#include "pagestay/sink/prometheus.h"

#include "pagestay/base/table.h"
#include "pagestay/core/verdict.h"

#define FAMILY_NAME_BYTES 96
#define LABEL_BYTES       256

/* What becomes of the values of one service's processes. */
enum fold {
	FOLD_NONE, /* the field is no metric */
	FOLD_SUM,
	FOLD_MOST,
	FOLD_LEAST,
	FOLD_SINCE,       /* the sum since watching of each began, from its history */
	FOLD_PER_REQUEST, /* the mean, by requests */
};

/* A field as a metric. */
struct family {
	const struct field *field;
	enum fold fold;
	int history;                  /* of FOLD_SINCE: where the history has it */
	char name[FAMILY_NAME_BYTES]; /* with pagestay_, without _total */
	const char *unit;             /* the name's end; NULL: a count */
};

/* Whole numbers saturate. `weight` is of FOLD_PER_REQUEST. */
struct value {
	bool is_known;
	int64_t whole;
	double real, weight;
};

enum service_kind { SERVICE_UNIT, SERVICE_CONTAINER, SERVICE_COMM, SERVICE_OTHER };

struct service_key {
	char name[LABEL_BYTES]; /* valid UTF-8, zeros behind it */
	uint32_t kind;
};

struct route_metrics {
	char text[LABEL_BYTES]; /* valid UTF-8; empty: unused */
	uint64_t requests;
	struct value touched_bytes, kept_bytes;
};

/* What is known of the processes of the last report alone. */
struct service_now {
	uint64_t processes;
	uint64_t by_allocator[ALLOCATOR_NAMES];
	/* Of anonymous memory: whose verdict counts, and how sure that is. */
	uint64_t verdict_bytes[VERDICT_CODES], verdict_processes[VERDICT_CODES];
	uint64_t confidence_bytes[VERDICT_CODES];
	double confidence[VERDICT_CODES];
	struct value forecast_bytes[CAUSES];
	uint64_t survival_touched[REPORT_AGES], survival_kept[REPORT_AGES];
};

struct service {
	UT_hash_handle hh;
	struct service_key key;
	char *labels;     /* its key as it is written, without braces */
	uint64_t report;  /* the last one that it was in */
	uint64_t seen_ns; /* of the state's time */
	struct service_now now;
	struct route_metrics *routes; /* the first one is `other`; NULL: no routes */
	struct value values[];        /* by family */
};

struct prometheus_state {
	struct prometheus_options options;
	struct family *families;
	size_t family_count;
	struct service *services; /* in the order of their coming */
	unsigned service_count;
	struct service *other;
	uint64_t forgotten;
	uint64_t reports;
	uint64_t elapsed_ns; /* sum of the intervals */
	uint64_t wall_ns, interval_ns, self_rss_bytes, self_cpu_ns;
	uint64_t self_bpf_ns, self_bpf_runs; /* of the intervals in which they are known */
	bool accounts_bpf;                   /* there was one */
	uint64_t lost[PS_LOSSES];
	bool complete;
	struct {
		const struct prometheus_counter *counters;
		size_t count;
	} groups[PROMETHEUS_GROUPS];
	unsigned group_count;
};

/* The field table as metrics. 0 or -ENOMEM. */
int families_new(struct family **ret_families, size_t *ret_count);

/*
 * Valid UTF-8 of any bytes, cut by whole characters. Control characters would be legal in a label,
 * and a nuisance on whoever's terminal: they become `?`.
 */
void label_text(const char *bytes, char ret_text[LABEL_BYTES]);

/* As it stands between quotes: of what label_text makes, only these two need an escape. */
static inline void label_quote(const char *text, char ret_quoted[2 * LABEL_BYTES])
{
	for (const char *end = text + LABEL_BYTES - 1; text < end && *text; text++) {
		if (*text == '"' || *text == '\\')
			*ret_quoted++ = '\\';
		*ret_quoted++ = *text;
	}
	*ret_quoted = '\0';
}

/* As with prometheus_fold, one process of the report. */
void service_fold(struct service *service, const struct prometheus_state *state,
	const struct report_process *process);

/* How many routes a service has room for, `other` among them. */
static inline unsigned service_routes(const struct prometheus_state *state)
{
	return state->options.routes ? state->options.routes + 1 : 0;
}

#endif
