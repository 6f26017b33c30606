/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the JSON writers share: values of a report as JSON, and how a tree is written. Nobody else
 * includes this. Setters return 0, or -1 when out of memory, as jansson's do: they are summed up.
 */
#ifndef PAGESTAY_SINK_JSON_VALUES_H
#define PAGESTAY_SINK_JSON_VALUES_H

#include <jansson.h>
#include <stdio.h>

#include "pagestay/core/report.h"

/* 15 significant digits: milliseconds of any interval, and no digits of binary rounding. */
#define JSON_DUMP_FLAGS (JSON_COMPACT | JSON_REAL_PRECISION(15))

json_t *json_number(uint64_t value); /* REPORT_UNKNOWN is null */

/*
 * Six significant digits: more would be noise, of estimates and of binary rounding. What is
 * negative or not finite is null.
 */
json_t *json_real_number(double value);

json_t *json_text(const char *bytes); /* any bytes; NULL is null */
json_t *json_time(uint64_t wall_ns);  /* RFC 3339, UTC, milliseconds */

/* `path` has dots between objects, which are made when they are not there yet. */
int json_set_path(json_t *object, const char *path, json_t *value);

/* Takes the tree's reference. 0 or -1. */
int json_dump_line(json_t *tree, size_t flags, FILE *line);

/* A line of the tree, whose reference it takes, in one write. 0 or -errno. */
int json_put_object(json_t *tree, FILE *out);

/* The numbers of the field table from a name on and before another; NULL is the table's end. */
int json_set_fields(
	json_t *object, const char *from, const char *before, const struct report_process *process);

/* Of json_heap.c: the parts of a process that are not single numbers. */
json_t *json_allocator(const struct allocators *allocators);
json_t *json_allocators(const struct allocators *allocators);
int json_set_heap(json_t *object, const struct heap *heap); /* below the key `heap` */
json_t *json_verdict(const struct report_process *process);

/* Of json.c: a process's object of the contract. */
json_t *json_process(const struct report *report, const struct report_process *process);

#endif
