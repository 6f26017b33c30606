/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A diagnosis of one process for a person, or as `pagestay.diagnosis/1`, one JSON object: the
 * process's report object of its last interval, its symptoms and its verdict.
 */
#ifndef PAGESTAY_SINK_DIAGNOSIS_H
#define PAGESTAY_SINK_DIAGNOSIS_H

#include <stdio.h>

#include "pagestay/core/report.h"

/* 0 or -errno of the write. Fewer than 80 columns are taken as 80. */
int diagnosis_put_text(FILE *out, unsigned columns, const struct report *report,
	const struct report_process *process);
int diagnosis_put_json(
	FILE *out, const struct report *report, const struct report_process *process);

#endif
