/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Folds one process of a report into the numbers of its service. Owns nothing; called by
 * prometheus_fold alone. Counters of the service only grow; everything in `now`, and the values of
 * gauges, were cleared when the report began.
 */
#include "prometheus_state.h"

#include "pagestay/base/text.h"
#include "pagestay/core/history.h"

#include <math.h>
#include <string.h>

void label_text(const char *bytes, char ret_text[LABEL_BYTES])
{
	(void)text_for_json(bytes, strlen(bytes), ret_text, LABEL_BYTES);
	for (char *byte = ret_text; *byte; byte++)
		if ((unsigned char)*byte < ' ' || *byte == 0x7f)
			*byte = '?';
}

static int64_t saturated_sum(int64_t left, int64_t right)
{
	int64_t sum;

	if (__builtin_add_overflow(left, right, &sum))
		return right < 0 ? INT64_MIN : INT64_MAX;
	return sum;
}

static uint64_t saturated(uint64_t left, uint64_t right)
{
	uint64_t sum;

	return __builtin_add_overflow(left, right, &sum) ? UINT64_MAX : sum;
}

static void add_whole(struct value *value, int64_t add)
{
	value->whole = saturated_sum(value->whole, add);
	value->is_known = true;
}

static void add_pages(struct value *value, uint64_t pages, uint64_t page_bytes)
{
	uint64_t bytes;

	if (pages == REPORT_UNKNOWN)
		return;
	if (__builtin_mul_overflow(pages, page_bytes, &bytes) || bytes > INT64_MAX)
		bytes = INT64_MAX;
	add_whole(value, (int64_t)bytes);
}

static void fold_whole(
	const struct family *family, struct value *value, const struct report_process *process)
{
	int64_t number;

	if (!family->field->get(process, family->field->argument, &number))
		return;
	if (family->field->unit == FIELD_PAGES)
		add_pages(value, (uint64_t)number, process->page_bytes);
	else
		add_whole(value, number);
}

static void fold_since(
	const struct family *family, struct value *value, const struct report_process *process)
{
	int64_t number;

	if (!process->history)
		return;
	memcpy(&number, (const char *)process->history + family->history, sizeof(number));
	if (number != REPORT_DELTA_UNKNOWN)
		add_whole(value, number);
}

static void fold_real(
	const struct family *family, struct value *value, const struct report_process *process)
{
	double number, weight = 1;

	if (!family->field->get_real(process, family->field->argument, &number))
		return;
	if (family->fold == FOLD_PER_REQUEST) {
		if (!process->history || process->history->requests == REPORT_UNKNOWN)
			return;
		weight = (double)process->history->requests;
		value->real += number * weight;
		value->weight += weight;
		value->is_known = value->weight > 0;
		return;
	}
	if (!value->is_known || (family->fold == FOLD_MOST && number > value->real) ||
		(family->fold == FOLD_LEAST && number < value->real))
		value->real = number;
	value->is_known = true;
}

static void fold_values(struct service *service, const struct prometheus_state *state,
	const struct report_process *process)
{
	for (size_t i = 0; i < state->family_count; i++) {
		const struct family *family = &state->families[i];

		if (process->exited && family->field->kind != FIELD_COUNTER)
			continue;
		if (family->fold == FOLD_SINCE)
			fold_since(family, &service->values[i], process);
		else if (family->field->get)
			fold_whole(family, &service->values[i], process);
		else
			fold_real(family, &service->values[i], process);
	}
}

/* The place of a route; `other` when it has none. */
static struct route_metrics *route_place(struct route_metrics *routes, unsigned count,
	const char text[LABEL_BYTES], uint64_t requests)
{
	struct route_metrics *least = NULL;

	if (strcmp(text, routes[0].text) == 0)
		return &routes[0];
	for (unsigned i = 1; i < count; i++) {
		if (strcmp(routes[i].text, text) == 0)
			return &routes[i];
		if (!least || routes[i].requests < least->requests)
			least = &routes[i];
	}
	if (!least || (least->text[0] && requests <= least->requests))
		return &routes[0];
	memset(least, 0, sizeof(*least));
	memcpy(least->text, text, LABEL_BYTES);
	return least;
}

static void fold_routes(struct service *service, const struct prometheus_state *state,
	const struct report_process *process)
{
	for (size_t i = 0; service->routes && i < process->route_count; i++) {
		const struct report_route *route = &process->routes[i];
		char text[LABEL_BYTES];
		struct route_metrics *place;

		label_text(route->text, text);
		if (!text[0])
			continue;
		place = route_place(service->routes, service_routes(state), text, route->requests);
		place->requests = saturated(place->requests, route->requests);
		add_pages(
			&place->touched_bytes, route->retention.touched.value, process->page_bytes);
		if (!process->exited)
			add_pages(&place->kept_bytes, route->retention.kept.value,
				process->page_bytes);
	}
}

static void fold_verdict(struct service_now *now, const struct report_process *process)
{
	uint64_t anon = process->anon_bytes == REPORT_UNKNOWN ? 0 : process->anon_bytes;
	struct verdict verdict;
	uint64_t best[CAUSES];

	verdict_reach(process, &verdict);
	if (!now->verdict_processes[verdict.code]++ || anon > now->confidence_bytes[verdict.code]) {
		now->confidence_bytes[verdict.code] = anon;
		now->confidence[verdict.code] = verdict.confidence;
	}
	now->verdict_bytes[verdict.code] = saturated(now->verdict_bytes[verdict.code], anon);
	for (int cause = 0; cause < CAUSES; cause++)
		best[cause] = REPORT_UNKNOWN;
	for (unsigned i = 0; i < verdict.remedy_count; i++) {
		const struct verdict_remedy *remedy = &verdict.remedies[i];
		uint64_t *of = &best[remedy->cause];

		if (remedy->forecast_bytes != REPORT_UNKNOWN &&
			(*of == REPORT_UNKNOWN || remedy->forecast_bytes > *of))
			*of = remedy->forecast_bytes;
	}
	for (int cause = 0; cause < CAUSES; cause++)
		add_pages(&now->forecast_bytes[cause], best[cause], 1);
}

static void fold_now(struct service_now *now, const struct report_process *process)
{
	const struct allocators *allocators = process->allocators;
	enum allocator_name name = ALLOCATOR_UNKNOWN;

	if (allocators && allocators->count && allocators->list[0].name < ALLOCATOR_NAMES)
		name = allocators->list[0].name;
	now->processes++;
	now->by_allocator[name]++;
	for (int i = 0; i < REPORT_AGES; i++) {
		const struct report_survival *survival = &process->retention.survival[i];

		if (survival->touched_pages == REPORT_UNKNOWN ||
			survival->kept_pages == REPORT_UNKNOWN)
			continue;
		now->survival_touched[i] =
			saturated(now->survival_touched[i], survival->touched_pages);
		now->survival_kept[i] = saturated(now->survival_kept[i], survival->kept_pages);
	}
	fold_verdict(now, process);
}

void service_fold(struct service *service, const struct prometheus_state *state,
	const struct report_process *process)
{
	fold_values(service, state, process);
	fold_routes(service, state, process);
	if (!process->exited)
		fold_now(&service->now, process);
}
