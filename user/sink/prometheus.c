/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Writes the state of the metrics in the two formats that Prometheus reads. Owns nothing, changes
 * nothing. All samples of a family stand together behind its head, and a family without samples has
 * no head. Labels are valid UTF-8 in the state already; here they are only quoted.
 */
#include "prometheus_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio_ext.h>
#include <string.h>

#include "pagestay/base/clock.h"

const char *const prometheus_content_types[PROMETHEUS_FORMATS] = {
	"text/plain; version=0.0.4; charset=utf-8",
	"application/openmetrics-text; version=1.0.0; charset=utf-8",
};

struct writer {
	FILE *out;
	enum prometheus_format format;
	const struct prometheus_state *state;
};

struct label {
	const char *name, *value;
};

/* What is written of a family. `unit` NULL: none. */
struct head {
	const char *name, *unit, *help, *more_help;
	bool is_counter;
};

static void put_head(const struct writer *writer, const struct head *head)
{
	bool is_text = writer->format == PROMETHEUS_TEXT;
	const char *total = is_text && head->is_counter ? "_total" : "";

	(void)fprintf(writer->out, "# HELP %s%s %s%s\n", head->name, total, head->help,
		head->more_help ? head->more_help : "");
	(void)fprintf(writer->out, "# TYPE %s%s %s\n", head->name, total,
		head->is_counter ? "counter" : "gauge");
	if (!is_text && head->unit)
		(void)fprintf(writer->out, "# UNIT %s %s\n", head->name, head->unit);
}

/* Up to the value. Of `service` and `label` each may be NULL; a label without a value is none. */
static void put_series(const struct writer *writer, const struct head *head,
	const struct service *service, const struct label *label)
{
	const char *before = "{";
	char quoted[2 * LABEL_BYTES];

	(void)fputs(head->name, writer->out);
	if (head->is_counter)
		(void)fputs("_total", writer->out);
	if (service) {
		(void)fputs("{", writer->out);
		(void)fputs(service->labels, writer->out);
		before = ",";
	}
	if (label && label->value) {
		label_quote(label->value, quoted);
		(void)fprintf(writer->out, "%s%s=\"%s\"", before, label->name, quoted);
		before = ",";
	}
	(void)fputs(*before == ',' ? "} " : " ", writer->out);
}

static void put_count(FILE *out, uint64_t value)
{
	(void)fprintf(out, "%" PRIu64 "\n", value);
}

/* Exact: a double would lose nanoseconds after some months. */
static void put_seconds(FILE *out, uint64_t value_ns)
{
	(void)fprintf(out, "%" PRIu64 ".%09" PRIu64 "\n", value_ns / NS_PER_S, value_ns % NS_PER_S);
}

static void put_real(FILE *out, double value)
{
	(void)fprintf(out, "%.9g\n", value);
}

/* The service after `service`, the first one for NULL; `other` is the last. */
static const struct service *next_service(
	const struct prometheus_state *state, const struct service *service)
{
	const struct service *next;

	if (service == state->other)
		return NULL;
	next = service ? service->hh.next : state->services;
	return next ? next : state->other;
}

static void put_value(
	const struct writer *writer, const struct family *family, const struct value *value)
{
	if (family->fold == FOLD_PER_REQUEST)
		put_real(writer->out, value->real / value->weight);
	else if (family->field->get_real)
		put_real(writer->out, value->real);
	else if (family->field->unit == FIELD_NANOSECONDS)
		put_seconds(writer->out, value->whole < 0 ? 0 : (uint64_t)value->whole);
	else
		(void)fprintf(writer->out, "%" PRId64 "\n", value->whole);
}

static const char *more_help(const struct family *family)
{
	switch (family->fold) {
	case FOLD_MOST:
		return " The greatest of its processes.";
	case FOLD_LEAST:
		return " The least of its processes.";
	case FOLD_SINCE:
		return " Since watching of its processes began.";
	default:
		return NULL;
	}
}

static void put_families(const struct writer *writer)
{
	const struct prometheus_state *state = writer->state;

	for (size_t i = 0; i < state->family_count; i++) {
		const struct family *family = &state->families[i];
		const struct head head = {family->name, family->unit, family->field->help,
			more_help(family), family->field->kind == FIELD_COUNTER};
		const struct service *service = NULL;
		bool has_head = false;

		while ((service = next_service(state, service))) {
			if (!service->values[i].is_known)
				continue;
			if (!has_head)
				put_head(writer, &head);
			has_head = true;
			put_series(writer, &head, service, NULL);
			put_value(writer, family, &service->values[i]);
		}
	}
}

/* A family with several samples a service: `label` has `count` values. */
struct group {
	struct head head;
	const char *label;
	const char *const *values;
	int count;
	/* False: no sample. */
	bool (*get)(const struct service_now *now, int index, double *ret_value);
};

static bool get_processes(const struct service_now *now, int index, double *ret_value)
{
	*ret_value = (double)now->processes;
	return true;
}

static bool get_allocator(const struct service_now *now, int index, double *ret_value)
{
	*ret_value = (double)now->by_allocator[index];
	return now->by_allocator[index] > 0;
}

/* Of the verdicts that were reached the one on most memory, the graver one of equals. */
static int verdict_of(const struct service_now *now)
{
	int of = VERDICT_UNKNOWN;

	for (int code = VERDICT_CODES - 1; code > VERDICT_UNKNOWN; code--) {
		if (!now->verdict_processes[code])
			continue;
		if (of == VERDICT_UNKNOWN || now->verdict_bytes[code] > now->verdict_bytes[of])
			of = code;
	}
	return of;
}

static bool get_verdict(const struct service_now *now, int index, double *ret_value)
{
	*ret_value = verdict_of(now) == index;
	return true;
}

static bool get_confidence(const struct service_now *now, int index, double *ret_value)
{
	*ret_value = now->confidence[verdict_of(now)];
	return true;
}

static bool get_forecast(const struct service_now *now, int index, double *ret_value)
{
	*ret_value = (double)now->forecast_bytes[index].whole;
	return now->forecast_bytes[index].is_known;
}

static bool get_survival(const struct service_now *now, int index, double *ret_value)
{
	uint64_t touched = now->survival_touched[index];

	if (!touched)
		return false;
	*ret_value = (double)now->survival_kept[index] / (double)touched;
	return true;
}

static const char *const age_names[REPORT_AGES] = {"1", "10", "60", "600", "3600"};

static const struct group groups[] = {
	{{"pagestay_processes", NULL, "Processes that are watched.", NULL, false}, NULL, NULL, 1,
		get_processes},
	{{"pagestay_allocator_processes", NULL, "Of them: by the allocator of their malloc.", NULL,
		 false},
		"allocator", allocator_names, ALLOCATOR_NAMES, get_allocator},
	{{"pagestay_verdict", NULL,
		 "1 for the verdict on most of the service's anonymous memory, 0 for the others.",
		 NULL, false},
		"code", verdict_code_names, VERDICT_CODES, get_verdict},
	{{"pagestay_verdict_confidence_ratio", "ratio", "How sure the verdict is.", NULL, false},
		NULL, NULL, 1, get_confidence},
	{{"pagestay_remedy_forecast_bytes", "bytes",
		 "What the best remedy against a cause would give back. Not to be added up over "
		 "causes.",
		 NULL, false},
		"cause", verdict_cause_names, CAUSES, get_forecast},
	{{"pagestay_retention_survival_ratio", "ratio",
		 "Share of the pages that requests touched and that were kept so many seconds "
		 "after the request's end.",
		 NULL, false},
		"age", age_names, REPORT_AGES, get_survival},
};

static void put_group(const struct writer *writer, const struct group *group)
{
	const struct service *service = NULL;
	bool has_head = false;

	while ((service = next_service(writer->state, service))) {
		for (int i = 0; service->now.processes && i < group->count; i++) {
			const struct label label = {
				group->label, group->values ? group->values[i] : NULL};
			double value;

			if (!group->get(&service->now, i, &value))
				continue;
			if (!has_head)
				put_head(writer, &group->head);
			has_head = true;
			put_series(writer, &group->head, service, &label);
			(void)fprintf(writer->out, "%.15g\n", value);
		}
	}
}

enum route_family { ROUTE_REQUESTS, ROUTE_TOUCHED, ROUTE_KEPT, ROUTE_FAMILIES };

static bool get_route(
	const struct route_metrics *route, enum route_family family, uint64_t *ret_value)
{
	const struct value *value =
		family == ROUTE_TOUCHED ? &route->touched_bytes : &route->kept_bytes;

	if (family == ROUTE_REQUESTS) {
		*ret_value = route->requests;
		return route->requests > 0;
	}
	*ret_value = (uint64_t)value->whole;
	return value->is_known;
}

static void put_routes(const struct writer *writer)
{
	static const struct head heads[ROUTE_FAMILIES] = {
		[ROUTE_REQUESTS] = {"pagestay_route_requests", NULL, "Requests of a route.", NULL,
			true},
		[ROUTE_TOUCHED] = {"pagestay_route_touched_bytes", "bytes",
			"Anonymous pages that a route's requests made resident.", NULL, true},
		[ROUTE_KEPT] = {"pagestay_route_kept_bytes", "bytes",
			"Pages that a route's requests made resident and that never left memory "
			"since.",
			NULL, false},
	};

	for (int family = 0; family < ROUTE_FAMILIES; family++) {
		const struct service *service = NULL;
		bool has_head = false;

		while ((service = next_service(writer->state, service))) {
			for (unsigned i = 0; i < service_routes(writer->state); i++) {
				const struct route_metrics *route = &service->routes[i];
				const struct label label = {"route", route->text};
				uint64_t value;

				if (!route->text[0] || !get_route(route, family, &value))
					continue;
				if (!has_head)
					put_head(writer, &heads[family]);
				has_head = true;
				put_series(writer, &heads[family], service, &label);
				put_count(writer->out, value);
			}
		}
	}
}

static void put_single(const struct writer *writer, const struct head *head, uint64_t value)
{
	put_head(writer, head);
	put_series(writer, head, NULL, NULL);
	if (head->unit && strcmp(head->unit, "seconds") == 0)
		put_seconds(writer->out, value);
	else
		put_count(writer->out, value);
}

static void put_losses(const struct writer *writer)
{
	static const struct head head = {"pagestay_lost", NULL,
		"What was lost between the kernel and the report.", NULL, true};
	static const char *const names[PS_LOSSES] = {
		[PS_LOST_EVENTS] = "events",
		[PS_LOST_MAP_FULL] = "map_full",
		[PS_LOST_PAGES] = "pages",
		[PS_LOST_RUNS] = "runs",
	};

	put_head(writer, &head);
	for (int i = 0; i < PS_LOSSES; i++) {
		const struct label label = {"kind", names[i]};

		put_series(writer, &head, NULL, &label);
		put_count(writer->out, writer->state->lost[i]);
	}
}

static void put_attached(const struct writer *writer)
{
	for (unsigned group = 0; group < writer->state->group_count; group++) {
		const struct prometheus_counter *counters = writer->state->groups[group].counters;
		const char *last = "";

		for (size_t i = 0; i < writer->state->groups[group].count; i++) {
			const struct prometheus_counter *counter = &counters[i];
			const struct label label = {counter->label, counter->label_value};
			char name[FAMILY_NAME_BYTES];
			const struct head head = {name, NULL, counter->help, NULL, true};

			(void)snprintf(name, sizeof(name), "pagestay_%s", counter->name);
			if (strcmp(last, counter->name) != 0)
				put_head(writer, &head);
			last = counter->name;
			put_series(writer, &head, NULL, &label);
			put_count(writer->out, counter->value);
		}
	}
}

static void put_self(const struct writer *writer)
{
	static const struct head build = {
		"pagestay_build_info", NULL, "Always 1; which version this is.", NULL, false};
	static const struct label version = {"version", PAGESTAY_VERSION};
	const struct prometheus_state *state = writer->state;
	const struct {
		struct head head;
		uint64_t value;
	} singles[] = {
		{{"pagestay_reports", NULL, "Reports since the start.", NULL, true},
			state->reports},
		{{"pagestay_report_interval_seconds", "seconds", "The interval of the last report.",
			 NULL, false},
			state->interval_ns},
		{{"pagestay_report_timestamp_seconds", "seconds",
			 "When the last report was made, since the epoch.", NULL, false},
			state->wall_ns},
		{{"pagestay_report_complete", NULL,
			 "1 if nothing of the last report was lost, 0 if something was.", NULL,
			 false},
			state->complete},
		{{"pagestay_services", NULL, "Services that have samples of their own.", NULL,
			 false},
			state->service_count},
		{{"pagestay_services_forgotten", NULL,
			 "Services whose place was taken by another one.", NULL, true},
			state->forgotten},
		{{"pagestay_self_cpu_seconds", "seconds",
			 "User and system time that pagestay itself used.", NULL, true},
			state->self_cpu_ns},
	};
	const struct head rss = {"pagestay_self_resident_memory_bytes", "bytes",
		"Resident memory of pagestay itself.", NULL, false};
	const struct head bpf = {"pagestay_self_bpf_seconds", "seconds",
		"Processor time of the BPF programs, on all processors.", NULL, true};
	const struct head runs = {
		"pagestay_self_bpf_runs", NULL, "Runs of the BPF programs.", NULL, true};

	put_head(writer, &build);
	put_series(writer, &build, NULL, &version);
	put_count(writer->out, 1);
	for (size_t i = 0; i < sizeof(singles) / sizeof(singles[0]); i++)
		put_single(writer, &singles[i].head, singles[i].value);
	if (state->self_rss_bytes != REPORT_UNKNOWN)
		put_single(writer, &rss, state->self_rss_bytes);
	if (state->accounts_bpf) {
		put_single(writer, &bpf, state->self_bpf_ns);
		put_single(writer, &runs, state->self_bpf_runs);
	}
	put_losses(writer);
	put_attached(writer);
}

int prometheus_render(
	FILE *out, enum prometheus_format format, const struct prometheus_state *state)
{
	const struct writer writer = {out, format, state};
	int locking;

	errno = 0;
	/* Nobody else writes there meanwhile. */
	locking = __fsetlocking(out, FSETLOCKING_BYCALLER);
	put_families(&writer);
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		put_group(&writer, &groups[i]);
	if (state->options.routes)
		put_routes(&writer);
	put_self(&writer);
	if (format == PROMETHEUS_OPENMETRICS)
		(void)fputs("# EOF\n", out);
	(void)__fsetlocking(out, locking);
	if (fflush(out) == 0 && !ferror(out))
		return 0;
	return errno ? -errno : -EIO;
}
