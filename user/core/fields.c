/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The field table: every number that a report has of a process, named and described once, in the
 * order in which JSON writes them. Text, JSON and Prometheus read it; the table is constant and
 * knows nothing of them. Docs: docs/JSON.md, which a test compares with this table.
 */
#include "pagestay/core/report.h"

#include <string.h>

/* No format that carries signed 64-bit integers can hold more; nothing real comes near it. */
static bool value_of(uint64_t value, int64_t *ret_value)
{
	if (value == REPORT_UNKNOWN)
		return false;
	*ret_value = value > INT64_MAX ? INT64_MAX : (int64_t)value;
	return true;
}

static bool get_counter(const struct report_process *process, int counter, int64_t *ret_value)
{
	return value_of(process->counters[counter], ret_value);
}

/* A uint64_t member, by its offset. */
static bool get_member(const struct report_process *process, int offset, int64_t *ret_value)
{
	uint64_t value;

	memcpy(&value, (const char *)process + offset, sizeof(value));
	return value_of(value, ret_value);
}

/* An int64_t member, by its offset. */
static bool get_delta(const struct report_process *process, int offset, int64_t *ret_value)
{
	int64_t value;

	memcpy(&value, (const char *)process + offset, sizeof(value));
	if (value == REPORT_DELTA_UNKNOWN)
		return false;
	*ret_value = value;
	return true;
}

#define MEMBER(name) offsetof(struct report_process, name)

const struct field report_fields[] = {
	{"accepts", FIELD_COUNT, FIELD_COUNTER,
		"Connections accepted: accept, accept4 and io_uring calls that succeeded.",
		get_counter, PS_ACCEPTS},
	{"connections.open", FIELD_COUNT, FIELD_GAUGE,
		"Passively opened stream connections that are open.", get_member, MEMBER(open)},
	{"connections.opened", FIELD_COUNT, FIELD_COUNTER,
		"Passively opened stream connections that the process began to receive on.",
		get_counter, PS_CONNECTIONS_OPENED},
	{"connections.closed", FIELD_COUNT, FIELD_COUNTER,
		"Passively opened stream connections that ended.", get_member, MEMBER(closed)},
	{"requests", FIELD_COUNT, FIELD_COUNTER,
		"Requests: turns on a connection, from the first bytes received to the last byte "
		"sent.",
		get_counter, PS_REQUESTS},
	{"requests_merged", FIELD_COUNT, FIELD_COUNTER,
		"Of requests: turns that hold several requests, pipelined or HTTP/2.", get_counter,
		PS_REQUESTS_MERGED},
	{"requests_encrypted", FIELD_COUNT, FIELD_COUNTER,
		"Of requests: turns on TLS connections, told by the types of the records only.",
		get_counter, PS_REQUESTS_ENCRYPTED},
	{"requests_handed_off", FIELD_COUNT, FIELD_COUNTER,
		"Of requests: those that another thread answered than the one that received them.",
		get_counter, PS_REQUESTS_HANDED_OFF},

	{"rss_bytes", FIELD_BYTES, FIELD_GAUGE, "Resident memory.", get_member, MEMBER(rss_bytes)},
	{"rss_delta_bytes", FIELD_BYTES, FIELD_DELTA, "Change of resident memory.", get_delta,
		MEMBER(rss_delta_bytes)},
	{"anon_bytes", FIELD_BYTES, FIELD_GAUGE, "Resident anonymous memory.", get_member,
		MEMBER(anon_bytes)},
	{"anon_delta_bytes", FIELD_BYTES, FIELD_DELTA, "Change of resident anonymous memory.",
		get_delta, MEMBER(anon_delta_bytes)},
	{"lazyfree_bytes", FIELD_BYTES, FIELD_GAUGE,
		"Resident memory that was given back lazily (MADV_FREE): the kernel takes it when "
		"it needs it.",
		get_member, MEMBER(lazyfree_bytes)},
	{"swap_bytes", FIELD_BYTES, FIELD_GAUGE, "Anonymous memory in swap.", get_member,
		MEMBER(swap_bytes)},

	{"ledger.brk.calls", FIELD_COUNT, FIELD_COUNTER, "brk calls that moved the break.",
		get_counter, PS_BRK_CALLS},
	{"ledger.brk.grow_bytes", FIELD_BYTES, FIELD_COUNTER,
		"Address space added by moving the break up.", get_counter, PS_BRK_GROW_BYTES},
	{"ledger.brk.shrink_bytes", FIELD_BYTES, FIELD_COUNTER,
		"Address space given back by moving the break down.", get_counter,
		PS_BRK_SHRINK_BYTES},
	{"ledger.brk.failed", FIELD_COUNT, FIELD_COUNTER,
		"brk calls that did not get what they asked for.", get_counter, PS_BRK_FAILED},
	{"ledger.mmap.calls", FIELD_COUNT, FIELD_COUNTER, "mmap calls that succeeded.", get_counter,
		PS_MMAP_CALLS},
	{"ledger.mmap.bytes", FIELD_BYTES, FIELD_COUNTER, "Address space mapped.", get_counter,
		PS_MMAP_BYTES},
	{"ledger.mmap.anon_bytes", FIELD_BYTES, FIELD_COUNTER,
		"Of the address space mapped: private and anonymous.", get_counter,
		PS_MMAP_ANON_BYTES},
	{"ledger.mmap.reserve_bytes", FIELD_BYTES, FIELD_COUNTER,
		"Of the private and anonymous: without access, to be committed later.", get_counter,
		PS_MMAP_RESERVE_BYTES},
	{"ledger.mmap.failed", FIELD_COUNT, FIELD_COUNTER, "mmap calls that failed.", get_counter,
		PS_MMAP_FAILED},
	{"ledger.munmap.calls", FIELD_COUNT, FIELD_COUNTER, "munmap calls that succeeded.",
		get_counter, PS_MUNMAP_CALLS},
	{"ledger.munmap.bytes", FIELD_BYTES, FIELD_COUNTER, "Address space unmapped.", get_counter,
		PS_MUNMAP_BYTES},
	{"ledger.munmap.reserve_bytes", FIELD_BYTES, FIELD_COUNTER,
		"Of the address space unmapped: reservations that were never made accessible.",
		get_counter, PS_MUNMAP_RESERVE_BYTES},
	{"ledger.munmap.failed", FIELD_COUNT, FIELD_COUNTER, "munmap calls that failed.",
		get_counter, PS_MUNMAP_FAILED},
	{"ledger.mremap.calls", FIELD_COUNT, FIELD_COUNTER,
		"mremap calls that moved or resized a mapping.", get_counter, PS_MREMAP_CALLS},
	{"ledger.mremap.grow_bytes", FIELD_BYTES, FIELD_COUNTER,
		"Address space added by resizing mappings.", get_counter, PS_MREMAP_GROW_BYTES},
	{"ledger.mremap.shrink_bytes", FIELD_BYTES, FIELD_COUNTER,
		"Address space given back by resizing mappings.", get_counter,
		PS_MREMAP_SHRINK_BYTES},
	{"ledger.mremap.failed", FIELD_COUNT, FIELD_COUNTER, "mremap calls that failed.",
		get_counter, PS_MREMAP_FAILED},
	{"ledger.mprotect.calls", FIELD_COUNT, FIELD_COUNTER, "mprotect calls that succeeded.",
		get_counter, PS_MPROTECT_CALLS},
	{"ledger.mprotect.commit_bytes", FIELD_BYTES, FIELD_COUNTER, "Address space made writable.",
		get_counter, PS_MPROTECT_COMMIT_BYTES},
	{"ledger.mprotect.decommit_bytes", FIELD_BYTES, FIELD_COUNTER,
		"Address space made inaccessible.", get_counter, PS_MPROTECT_DECOMMIT_BYTES},
	{"ledger.mprotect.failed", FIELD_COUNT, FIELD_COUNTER, "mprotect calls that failed.",
		get_counter, PS_MPROTECT_FAILED},
	{"ledger.madvise.calls", FIELD_COUNT, FIELD_COUNTER, "madvise calls that succeeded.",
		get_counter, PS_MADVISE_CALLS},
	{"ledger.madvise.dontneed_bytes", FIELD_BYTES, FIELD_COUNTER,
		"Address space whose pages were given back at once (MADV_DONTNEED).", get_counter,
		PS_MADVISE_DONTNEED_BYTES},
	{"ledger.madvise.free_bytes", FIELD_BYTES, FIELD_COUNTER,
		"Address space whose pages were given back lazily (MADV_FREE).", get_counter,
		PS_MADVISE_FREE_BYTES},
	{"ledger.madvise.other_bytes", FIELD_BYTES, FIELD_COUNTER,
		"Address space that got any other advice.", get_counter, PS_MADVISE_OTHER_BYTES},
	{"ledger.madvise.failed", FIELD_COUNT, FIELD_COUNTER, "madvise calls that failed.",
		get_counter, PS_MADVISE_FAILED},

	{"faults.in_requests", FIELD_COUNT, FIELD_COUNTER,
		"Page faults of threads that worked for exactly one request.", get_counter,
		PS_FAULTS_IN_REQUESTS},
	{"faults.overlapping", FIELD_COUNT, FIELD_COUNTER,
		"Page faults of threads that had more than one request open.", get_counter,
		PS_FAULTS_OVERLAPPING},
	{"faults.background", FIELD_COUNT, FIELD_COUNTER, "Page faults outside any request.",
		get_member, MEMBER(faults_background)},
};

const size_t report_field_count = sizeof(report_fields) / sizeof(report_fields[0]);

const struct field *report_field(const char *name)
{
	for (size_t i = 0; i < report_field_count; i++) {
		if (strcmp(report_fields[i].name, name) == 0)
			return &report_fields[i];
	}
	return NULL;
}

static uint64_t sum_of(
	const struct report_process *process, const enum ps_counter *counters, size_t count)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t value = process->counters[counters[i]];

		if (value == REPORT_UNKNOWN)
			return REPORT_UNKNOWN;
		if (__builtin_add_overflow(sum, value, &sum) || sum == REPORT_UNKNOWN)
			sum = REPORT_UNKNOWN - 1;
	}
	return sum;
}

static uint64_t sum_without(const struct report_process *process, const enum ps_counter *counters,
	size_t count, enum ps_counter without)
{
	uint64_t sum = sum_of(process, counters, count);
	uint64_t left_out = process->counters[without];

	return sum == REPORT_UNKNOWN || left_out > sum ? sum : sum - left_out;
}

uint64_t report_asked_bytes(const struct report_process *process)
{
	static const enum ps_counter asked[] = {PS_BRK_GROW_BYTES, PS_MMAP_ANON_BYTES,
		PS_MREMAP_GROW_BYTES, PS_MPROTECT_COMMIT_BYTES};

	return sum_without(process, asked, sizeof(asked) / sizeof(asked[0]), PS_MMAP_RESERVE_BYTES);
}

uint64_t report_returned_bytes(const struct report_process *process)
{
	static const enum ps_counter returned[] = {PS_BRK_SHRINK_BYTES, PS_MUNMAP_BYTES,
		PS_MREMAP_SHRINK_BYTES, PS_MPROTECT_DECOMMIT_BYTES, PS_MADVISE_DONTNEED_BYTES,
		PS_MADVISE_FREE_BYTES};

	return sum_without(
		process, returned, sizeof(returned) / sizeof(returned[0]), PS_MUNMAP_RESERVE_BYTES);
}
