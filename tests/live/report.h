/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What one run of pagestay reported: its JSON lines, each checked against the contract
 * pagestay.report/1 when it is read. Counters are for an interval, so sums over all lines are the
 * totals since "watching". Paths are field names joined by dots, within a process's object. A
 * missing or null value fails the running test, unless a function says otherwise: absent is not
 * zero.
 */
#ifndef PAGESTAY_TESTS_LIVE_REPORT_H
#define PAGESTAY_TESTS_LIVE_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

struct report;

/* Reads the lines of `text`; the report is the caller's to free. Fails the test at the first
 * unsound line. */
struct report *report_read(const char *text);
void report_free(struct report *report);
/* Fails the test when any line lost something or is not complete. */
void report_require_complete(const struct report *report);

size_t report_lines(const struct report *report);
/* A line as a whole, borrowed. */
json_t *report_line(const struct report *report, size_t index);
/* True when a process with this id is in any line. */
bool report_has(const struct report *report, pid_t pid);
/* Sum of a counter over all lines, or those from `first_line`; the process must be in at least one.
 */
uint64_t report_sum(const struct report *report, pid_t pid, const char *path);
uint64_t report_sum_from(
	const struct report *report, size_t first_line, pid_t pid, const char *path);
/* The value in the last line that has the process. */
uint64_t report_last(const struct report *report, pid_t pid, const char *path);
/* Sum of a counter of the lines themselves, such as "lost.events". */
uint64_t report_line_sum(const struct report *report, const char *path);
/* True when every line says that it is complete. */
bool report_is_complete(const struct report *report);

/* The process's object in a line, borrowed; NULL if it is not there. */
json_t *report_process(const struct report *report, size_t line, pid_t pid);
/* A route's object of a process's, borrowed; NULL if it is not there. */
json_t *report_route(json_t *process, const char *route);
/* The value at a dotted path below an object, in which a number is an array's index; NULL if any
 * part of it is missing. */
json_t *report_value(json_t *object, const char *path);
/* The sum of a route's counter over all lines; lines without the route count 0. */
uint64_t report_route_sum(
	const struct report *report, pid_t pid, const char *route, const char *path);

/* Prints the difference and returns false when a sum is not the expected one. */
bool report_expect(const struct report *report, const char *who, pid_t pid, const char *path,
	uint64_t expected);

/* Fails the test unless connections.open moves from line to line by what was opened and closed. */
void report_require_balance(const struct report *report, pid_t pid);

/* The distinct start times of processes that had this id; returns how many there are, at most
 * `max`. */
size_t report_start_times(
	const struct report *report, pid_t pid, uint64_t *ret_start_times, size_t max);
uint64_t report_sum_started(
	const struct report *report, pid_t pid, uint64_t start_time_ns, const char *path);
/* How many entries say that the process has exited. */
size_t report_exits(const struct report *report, pid_t pid);

/* Requests of each route of a process over all lines, as a new object of integers by route. */
json_t *report_routes(const struct report *report, pid_t pid);

#endif
