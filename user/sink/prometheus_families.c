/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The field table as metrics: what each field is called in base units, and what becomes of it where
 * a service has several processes. Made once by a state; constant from then on.
 *
 * Numbers are summed, real numbers are no metric, unless `decided` says otherwise. A new field of
 * real numbers must be put there: a test asks for it.
 */
#include "prometheus_state.h"

#include "pagestay/core/history.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SINCE(member) FOLD_SINCE, offsetof(struct history, member)

static const struct {
	const char *name;
	enum fold fold;
	int history;
} decided[] = {
	/* delta() of the gauge tells it over any time. */
	{"rss_delta_bytes", FOLD_NONE, 0},
	{"anon_delta_bytes", FOLD_NONE, 0},
	{"growth.requests_bytes", SINCE(growth_requests_bytes)},
	{"growth.background_bytes", SINCE(growth_background_bytes)},
	{"growth.earlier_bytes", SINCE(growth_earlier_bytes)},
	{"growth.files_bytes", SINCE(growth_files_bytes)},
	{"growth.unexplained_bytes", SINCE(growth_unexplained_bytes)},
	{"growth.error_bytes", FOLD_NONE, 0}, /* of one interval */
	/* Ends of intervals do not add up to the ends of the sum's interval. */
	{"retention.touched_pages_low", FOLD_NONE, 0},
	{"retention.touched_pages_high", FOLD_NONE, 0},
	{"retention.kept_pages_low", FOLD_NONE, 0},
	{"retention.kept_pages_high", FOLD_NONE, 0},
	/* Pages or page faults, by the detail, which no label tells. */
	{"attribution.exclusive", FOLD_NONE, 0},
	{"attribution.overlapping", FOLD_NONE, 0},
	{"attribution.background", FOLD_NONE, 0},
	/* rate() of one by rate() of the other. */
	{"retention.touched_pages_per_request", FOLD_NONE, 0},
	{"attribution.exclusive_ratio", FOLD_NONE, 0},
	{"attribution.overlapping_ratio", FOLD_NONE, 0},
	{"attribution.background_ratio", FOLD_NONE, 0},
	/* The same in pages, and a thousand times the same. */
	{"retention.kept_pages_per_request", FOLD_NONE, 0},
	{"retention.kept_bytes_per_1000_requests", FOLD_NONE, 0},
	{"retention.kept_bytes_per_request", FOLD_PER_REQUEST, 0},
	{"retention.half_life_s", FOLD_MOST, 0},
	{"retention.half_life_over_s", FOLD_MOST, 0},
	{"retention.sample_ratio", FOLD_LEAST, 0},
	{"heap.age_s", FOLD_MOST, 0},
};

static void decide(struct family *family)
{
	family->fold = family->field->get ? FOLD_SUM : FOLD_NONE;
	for (size_t i = 0; i < sizeof(decided) / sizeof(decided[0]); i++) {
		if (strcmp(decided[i].name, family->field->name) == 0) {
			family->fold = decided[i].fold;
			family->history = decided[i].history;
		}
	}
}

/* Takes the last `part` out of a name. */
static void take_out(char *name, const char *part)
{
	char *place = NULL;

	for (char *next = strstr(name, part); next; next = strstr(next + 1, part))
		place = next;
	if (place)
		memmove(place, place + strlen(part), strlen(place + strlen(part)) + 1);
}

static void name_family(struct family *family)
{
	static const struct {
		const char *suffix, *unit;
	} units[] = {
		[FIELD_COUNT] = {NULL, NULL},
		[FIELD_BYTES] = {"_bytes", "bytes"},
		[FIELD_PAGES] = {"_pages", "bytes"},
		[FIELD_RATIO] = {"_ratio", "ratio"},
		[FIELD_SECONDS] = {"_s", "seconds"},
		[FIELD_NANOSECONDS] = {"_ns", "seconds"},
		[FIELD_AVERAGE] = {"_bytes", "bytes"},
	};
	enum field_unit unit = family->field->unit;
	char stem[FAMILY_NAME_BYTES];

	(void)snprintf(stem, sizeof(stem), "%s", family->field->name);
	for (char *byte = stem; *byte; byte++)
		if (*byte == '.')
			*byte = '_';
	family->unit = units[unit].unit;
	if (family->unit)
		take_out(stem, units[unit].suffix);
	(void)snprintf(family->name, sizeof(family->name), "pagestay_%.60s%s%s", stem,
		family->unit ? "_" : "", family->unit ? family->unit : "");
}

int families_new(struct family **ret_families, size_t *ret_count)
{
	struct family *families = calloc(report_field_count, sizeof(*families));
	size_t count = 0;

	if (!families)
		return -ENOMEM;
	for (size_t i = 0; i < report_field_count; i++) {
		families[count].field = &report_fields[i];
		decide(&families[count]);
		if (families[count].fold == FOLD_NONE)
			continue;
		name_family(&families[count]);
		count++;
	}
	*ret_families = families;
	*ret_count = count;
	return 0;
}
