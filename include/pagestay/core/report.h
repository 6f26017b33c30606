/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A report: what one interval looked like, as an immutable snapshot that sinks write.
 *
 * Owned by the tracker that made it, valid until its next event. Rows are sorted by growth of
 * anonymous memory, then by its size: what keeps pages comes first. A value that is not known is
 * REPORT_UNKNOWN and is written as null or `-`, never as 0.
 */
#ifndef PAGESTAY_CORE_REPORT_H
#define PAGESTAY_CORE_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pagestay/edge/event.h"

#define REPORT_UNKNOWN       UINT64_MAX
#define REPORT_DELTA_UNKNOWN INT64_MIN

struct report_route {
	const char *text; /* normalised: method and path; `-` unknown; `other` beyond the top */
	uint64_t requests;
};

struct report_process {
	struct ps_proc_key key;
	const char *comm; /* any bytes, terminated */
	const char *exe;  /* any bytes, terminated; NULL: unknown */
	bool exited;
	uint64_t counters[PS_COUNTERS]; /* of this interval, by enum ps_counter */
	uint64_t open;                  /* as of its end */
	uint64_t closed;
	uint64_t faults_background;
	uint64_t rss_bytes, anon_bytes, lazyfree_bytes, swap_bytes;
	int64_t rss_delta_bytes, anon_delta_bytes;
	const struct report_route *routes; /* sorted by requests; `other`, if any, last */
	size_t route_count;
};

struct report {
	uint64_t wall_ns;
	uint64_t interval_ns;
	const char *host;
	const char *source;
	const char *detail;
	bool routes;   /* routes were counted */
	bool complete; /* nothing was lost or damaged */
	uint64_t lost[PS_LOSSES];
	const char *const *notes;
	size_t note_count;
	const struct report_process *processes;
	size_t process_count;
	uint64_t self_rss_bytes;
	uint64_t self_cpu_ns; /* in this interval */
};

/* How a field's value is to be read; decides its text form and Prometheus type. */
enum field_kind {
	FIELD_COUNTER, /* of the interval */
	FIELD_GAUGE,   /* as of the interval's end */
	FIELD_DELTA,   /* signed change over the interval */
};

enum field_unit {
	FIELD_COUNT,
	FIELD_BYTES,
	FIELD_PAGES,
};

/*
 * One number of a process. The table feeds text, JSON and Prometheus, so that a number is named and
 * described once. `name` is the path in the JSON object, dots between objects.
 */
struct field {
	const char *name;
	enum field_unit unit;
	enum field_kind kind;
	const char *help;
	/* False: not known. Deltas are signed; the others are never negative. */
	bool (*get)(const struct report_process *process, int argument, int64_t *ret_value);
	int argument;
};

extern const struct field report_fields[];
extern const size_t report_field_count;

/* NULL if there is none of that name. */
const struct field *report_field(const char *name);

/*
 * Bytes asked of the kernel and given back in the interval: the ledger's two sums, of address
 * space. Asked: growth by brk and mremap, private anonymous mmap but for reservations without
 * access, mprotect to writable. Given back: shrinking by brk and mremap, munmap but for
 * reservations, mprotect to none, madvise's DONTNEED and FREE. REPORT_UNKNOWN if a part is.
 */
uint64_t report_asked_bytes(const struct report_process *process);
uint64_t report_returned_bytes(const struct report_process *process);

#endif
