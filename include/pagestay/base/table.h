/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * uthash, told not to end the program when memory is short: we run when it is. After each HASH_ADD
 * ask `table_has`; an element that was not added is still the caller's.
 */
#ifndef PAGESTAY_BASE_TABLE_H
#define PAGESTAY_BASE_TABLE_H

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define table_has(element) ((element)->hh.tbl != NULL)

#endif
