/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Writes a comparison: as text of 80 columns, as a table in Markdown, or as an object of
 * `pagestay.compare/1` (docs/JSON.md). All three from the same rows.
 */
#ifndef PAGESTAY_SINK_COMPARE_H
#define PAGESTAY_SINK_COMPARE_H

#include <stdio.h>

#include "pagestay/core/compare.h"

/*
 * `words` are what the user called the two sides: any bytes. 0 or -errno of the write (-EPIPE: the
 * reader has gone).
 */
int compare_write_text(FILE *out, const struct comparison *comparison, const char *const words[2]);
int compare_write_markdown(
	FILE *out, const struct comparison *comparison, const char *const words[2]);
int compare_write_json(FILE *out, const struct comparison *comparison, const char *const words[2]);

#endif
