/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where RSS is told on the way. Private to the files of compare.
 */
#ifndef PAGESTAY_CORE_COMPARE_MARKS_H
#define PAGESTAY_CORE_COMPARE_MARKS_H

#include "pagestay/core/compare.h"

struct compare_mark {
	uint64_t at; /* seconds; behind COMPARE_TIME_MARKS, requests */
	const char *title;
};

extern const struct compare_mark compare_marks[COMPARE_MARKS];

#endif
