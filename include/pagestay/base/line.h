/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A line of text of a bounded size that is put together piece by piece.
 */
#ifndef PAGESTAY_BASE_LINE_H
#define PAGESTAY_BASE_LINE_H

#include <stddef.h>

/*
 * Adds to what is in the line, which is terminated. What does not fit is left out, and the line
 * then ends in `~`.
 */
void line_add(char *line, size_t line_bytes, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
