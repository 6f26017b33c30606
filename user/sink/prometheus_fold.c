/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the state of the metrics: which services there are, and what they add up to.
 *
 * A service is known by its label as it is written, not by the bytes that it was made of: two names
 * that differ in bytes that no label can hold would be one series twice, which no scraper takes.
 * Services of the report under way are never forgotten for each other, so that a report's own
 * services have room by the order of its rows. One thread at a time.
 */
#include "prometheus_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pagestay/base/clock.h"

static void key_of(enum prometheus_naming naming, const struct report_process *process,
	struct service_key *ret_key)
{
	const char *const names[] = {
		[SERVICE_UNIT] = process->unit,
		[SERVICE_CONTAINER] = process->container,
		[SERVICE_COMM] = process->comm,
	};
	static const enum service_kind orders[][3] = {
		[PROMETHEUS_BY_UNIT] = {SERVICE_UNIT, SERVICE_CONTAINER, SERVICE_COMM},
		[PROMETHEUS_BY_CONTAINER] = {SERVICE_CONTAINER, SERVICE_UNIT, SERVICE_COMM},
		[PROMETHEUS_BY_COMM] = {SERVICE_COMM, SERVICE_COMM, SERVICE_COMM},
	};
	const enum service_kind *order = orders[naming];

	/* `docker-<id>.scope` is a unit, but says no more than the container. */
	if (naming == PROMETHEUS_BY_UNIT && process->unit && process->container &&
		process->container[0] && strstr(process->unit, process->container))
		order = orders[PROMETHEUS_BY_CONTAINER];
	memset(ret_key, 0, sizeof(*ret_key));
	ret_key->kind = SERVICE_COMM;
	for (int i = 0; i < 3; i++) {
		if (names[order[i]] && names[order[i]][0]) {
			ret_key->kind = order[i];
			label_text(names[order[i]], ret_key->name);
			return;
		}
	}
}

static void service_free(struct service *service)
{
	if (service) {
		free(service->routes);
		free(service->labels);
	}
	free(service);
}

/* Written with each of its samples, so put together once. NULL: out of memory. */
static char *labels_of(const struct service_key *key)
{
	static const char *const kinds[] = {
		[SERVICE_UNIT] = "unit",
		[SERVICE_CONTAINER] = "container",
		[SERVICE_COMM] = "comm",
		[SERVICE_OTHER] = "other",
	};
	char quoted[2 * LABEL_BYTES];
	char *labels;

	label_quote(key->name, quoted);
	return asprintf(&labels, "service=\"%s\",kind=\"%s\"", quoted, kinds[key->kind]) < 0
		       ? NULL
		       : labels;
}

static struct service *service_new(
	const struct prometheus_state *state, const struct service_key *key)
{
	struct service *service =
		calloc(1, sizeof(*service) + state->family_count * sizeof(struct value));
	unsigned routes = service_routes(state);

	if (!service)
		return NULL;
	service->key = *key;
	service->labels = labels_of(key);
	if (routes)
		service->routes = calloc(routes, sizeof(*service->routes));
	if (!service->labels || (routes && !service->routes)) {
		service_free(service);
		return NULL;
	}
	if (routes)
		memcpy(service->routes[0].text, "other", sizeof("other"));
	return service;
}

int prometheus_new(const struct prometheus_options *options, struct prometheus_state **ret_state)
{
	static const struct service_key other = {.name = "other", .kind = SERVICE_OTHER};
	unsigned services = options->services ? options->services : PROMETHEUS_SERVICES;
	struct prometheus_state *state;
	int error;

	if (services > PROMETHEUS_SERVICES_MAX || options->routes > PROMETHEUS_ROUTES_MAX ||
		services * (1 + options->routes) > PROMETHEUS_PLACES_MAX ||
		options->naming > PROMETHEUS_BY_COMM)
		return -EINVAL;
	state = calloc(1, sizeof(*state));
	if (!state)
		return -ENOMEM;
	state->options = *options;
	state->options.services = services;
	error = families_new(&state->families, &state->family_count);
	if (!error) {
		state->other = service_new(state, &other);
		error = state->other ? 0 : -ENOMEM;
	}
	if (error) {
		prometheus_free(state);
		return error;
	}
	*ret_state = state;
	return 0;
}

void prometheus_free(struct prometheus_state *state)
{
	struct service *service, *next;

	if (!state)
		return;
	HASH_ITER (hh, state->services, service, next) {
		HASH_DEL(state->services, service);
		service_free(service);
	}
	service_free(state->other);
	free(state->families);
	free(state);
}

int prometheus_attach(
	struct prometheus_state *state, const struct prometheus_counter *counters, size_t count)
{
	if (state->group_count == PROMETHEUS_GROUPS)
		return -ENOSPC;
	state->groups[state->group_count].counters = counters;
	state->groups[state->group_count].count = count;
	state->group_count++;
	return 0;
}

static void service_clear(const struct prometheus_state *state, struct service *service)
{
	memset(&service->now, 0, sizeof(service->now));
	for (size_t i = 0; i < state->family_count; i++)
		if (state->families[i].field->kind != FIELD_COUNTER)
			service->values[i] = (struct value){0};
	for (unsigned i = 0; i < service_routes(state); i++)
		service->routes[i].kept_bytes = (struct value){0};
}

static struct service *service_find(
	const struct prometheus_state *state, const struct service_key *key)
{
	struct service *service;

	HASH_FIND(hh, state->services, key, sizeof(*key), service);
	return service;
}

/* Makes room; false if everybody was here within PROMETHEUS_FORGET_S. */
static bool forget_oldest(struct prometheus_state *state)
{
	struct service *oldest = NULL, *service, *next;

	HASH_ITER (hh, state->services, service, next) {
		if (service->report != state->reports &&
			(!oldest || service->seen_ns < oldest->seen_ns))
			oldest = service;
	}
	if (!oldest || state->elapsed_ns - oldest->seen_ns < PROMETHEUS_FORGET_S * NS_PER_S)
		return false;
	HASH_DEL(state->services, oldest);
	service_free(oldest);
	state->service_count--;
	state->forgotten++;
	return true;
}

/* The service of a process that is not among those known; `other` if there is no room. */
static int service_add(
	struct prometheus_state *state, const struct service_key *key, struct service **ret_service)
{
	struct service *service;

	*ret_service = state->other;
	if (state->service_count >= state->options.services && !forget_oldest(state))
		return 0;
	service = service_new(state, key);
	if (!service)
		return -ENOMEM;
	HASH_ADD(hh, state->services, key, sizeof(service->key), service);
	if (!table_has(service)) {
		service_free(service);
		return -ENOMEM;
	}
	state->service_count++;
	*ret_service = service;
	return 0;
}

static void mark_known(struct prometheus_state *state, const struct report *report)
{
	for (size_t i = 0; i < report->process_count; i++) {
		struct service_key key;
		struct service *service;

		key_of(state->options.naming, &report->processes[i], &key);
		service = service_find(state, &key);
		if (service)
			service->report = state->reports;
	}
}

static int fold_processes(struct prometheus_state *state, const struct report *report)
{
	int ret = 0;

	for (size_t i = 0; i < report->process_count; i++) {
		struct service_key key;
		struct service *service;
		int error = 0;

		key_of(state->options.naming, &report->processes[i], &key);
		service = service_find(state, &key);
		if (!service)
			error = service_add(state, &key, &service);
		if (error)
			ret = error;
		service->report = state->reports;
		service->seen_ns = state->elapsed_ns;
		service_fold(service, state, &report->processes[i]);
	}
	return ret;
}

int prometheus_fold(struct prometheus_state *state, const struct report *report)
{
	struct service *service, *next;

	state->reports++;
	state->elapsed_ns += report->interval_ns;
	state->wall_ns = report->wall_ns;
	state->interval_ns = report->interval_ns;
	state->self_rss_bytes = report->self_rss_bytes;
	state->self_cpu_ns += report->self_cpu_ns == REPORT_UNKNOWN ? 0 : report->self_cpu_ns;
	if (report->self_bpf_ns != REPORT_UNKNOWN && report->self_bpf_runs != REPORT_UNKNOWN) {
		state->self_bpf_ns += report->self_bpf_ns;
		state->self_bpf_runs += report->self_bpf_runs;
		state->accounts_bpf = true;
	}
	state->complete = report->complete;
	for (int i = 0; i < PS_LOSSES; i++)
		state->lost[i] += report->lost[i];
	HASH_ITER (hh, state->services, service, next)
		service_clear(state, service);
	service_clear(state, state->other);
	mark_known(state, report);
	return fold_processes(state, report);
}
