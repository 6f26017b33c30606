/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the constants of a report and its empty parts: the ages of the survival curve, and what is
 * known of pages where none is tracked. Called by whoever makes or reads a report.
 */
#include "pagestay/core/report.h"

#include <math.h>

const unsigned report_ages_s[REPORT_AGES] = {1, 10, 60, 600, 3600};

void report_retention_unknown(struct report_retention *ret_retention)
{
	const struct report_pages no_pages = {REPORT_UNKNOWN, REPORT_UNKNOWN, REPORT_UNKNOWN};

	*ret_retention = (struct report_retention){
		.touched = no_pages,
		.kept = no_pages,
		.swapped_pages = REPORT_UNKNOWN,
		.lazyfree_pages = REPORT_UNKNOWN,
		.half_life_s = NAN,
		.half_life_over_s = NAN,
		.touched_pages_per_request = NAN,
		.kept_pages_per_request = NAN,
		.growth_bytes = REPORT_DELTA_UNKNOWN,
	};
	for (int i = 0; i < REPORT_AGES; i++)
		ret_retention->survival[i] = (struct report_survival){
			.touched_pages = REPORT_UNKNOWN,
			.kept_pages = REPORT_UNKNOWN,
			.ratio = NAN,
			.low = NAN,
			.high = NAN,
		};
}
