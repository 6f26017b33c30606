/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The field table: every number that a report has of a process, named and described once, in the
 * order in which JSON writes them. Text, JSON and Prometheus read it; the table is constant and
 * knows nothing of them. Docs: docs/JSON.md, which a test compares with this table.
 */
#include "pagestay/core/report.h"

#include <math.h>
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

/* No real number is negative; NAN is what is not known. */
static bool real_of(double value, double *ret_value)
{
	if (!isfinite(value) || value < 0)
		return false;
	*ret_value = value;
	return true;
}

/* A double member, by its offset. */
static bool get_real(const struct report_process *process, int offset, double *ret_value)
{
	double value;

	memcpy(&value, (const char *)process + offset, sizeof(value));
	return real_of(value, ret_value);
}

/* A uint64_t member of the x-ray, by its offset. HEAP_UNKNOWN is REPORT_UNKNOWN. */
static bool get_heap(const struct report_process *process, int offset, int64_t *ret_value)
{
	uint64_t value = HEAP_UNKNOWN;

	if (process->heap)
		memcpy(&value, (const char *)process->heap + offset, sizeof(value));
	return value_of(value, ret_value);
}

static bool get_heap_age(const struct report_process *process, int argument, double *ret_value)
{
	return process->heap && real_of(process->heap_age_s, ret_value);
}

/* What background faults touched are pages only where pages are tracked. */
static bool get_background_pages(
	const struct report_process *process, int argument, int64_t *ret_value)
{
	return process->retention.touched.value != REPORT_UNKNOWN &&
	       value_of(process->attribution.background, ret_value);
}

static bool get_kept_bytes(const struct report_process *process, int requests, double *ret_value)
{
	double pages = process->retention.kept_pages_per_request;

	return real_of(pages * (double)process->page_bytes * requests, ret_value);
}

#define AT(member)     offsetof(struct report_process, member)
#define COUNTER(name)  .get = get_counter, .argument = (name)
#define MEMBER(member) .get = get_member, .argument = AT(member)
#define DELTA(member)  .get = get_delta, .argument = AT(member)
#define REAL(member)   .get_real = get_real, .argument = AT(member)
#define KEPT_BYTES(of) .get_real = get_kept_bytes, .argument = (of)
#define HEAP(member)   .get = get_heap, .argument = offsetof(struct heap, member)
#define HEAP_AGE       .get_real = get_heap_age
#define BACKGROUND     .get = get_background_pages

const struct field report_fields[] = {
	{"accepts", FIELD_COUNT, FIELD_COUNTER,
		"Connections accepted: accept, accept4 and io_uring calls that succeeded.",
		COUNTER(PS_ACCEPTS)},
	{"connections.open", FIELD_COUNT, FIELD_GAUGE,
		"Passively opened stream connections that are open.", MEMBER(open)},
	{"connections.opened", FIELD_COUNT, FIELD_COUNTER,
		"Passively opened stream connections that the process began to receive on.",
		COUNTER(PS_CONNECTIONS_OPENED)},
	{"connections.closed", FIELD_COUNT, FIELD_COUNTER,
		"Passively opened stream connections that ended.", MEMBER(closed)},
	{"requests", FIELD_COUNT, FIELD_COUNTER,
		"Requests: turns on a connection, from the first bytes received to the last byte "
		"sent.",
		COUNTER(PS_REQUESTS)},
	{"requests_merged", FIELD_COUNT, FIELD_COUNTER,
		"Of requests: turns that hold several requests, pipelined or HTTP/2.",
		COUNTER(PS_REQUESTS_MERGED)},
	{"requests_encrypted", FIELD_COUNT, FIELD_COUNTER,
		"Of requests: turns on TLS connections, told by the types of the records only.",
		COUNTER(PS_REQUESTS_ENCRYPTED)},
	{"requests_handed_off", FIELD_COUNT, FIELD_COUNTER,
		"Of requests: those that another thread answered than the one that received them.",
		COUNTER(PS_REQUESTS_HANDED_OFF)},

	{"rss_bytes", FIELD_BYTES, FIELD_GAUGE, "Resident memory.", MEMBER(rss_bytes)},
	{"rss_delta_bytes", FIELD_BYTES, FIELD_DELTA, "Change of resident memory.",
		DELTA(rss_delta_bytes)},
	{"anon_bytes", FIELD_BYTES, FIELD_GAUGE, "Resident anonymous memory.", MEMBER(anon_bytes)},
	{"anon_delta_bytes", FIELD_BYTES, FIELD_DELTA, "Change of resident anonymous memory.",
		DELTA(anon_delta_bytes)},
	{"lazyfree_bytes", FIELD_BYTES, FIELD_GAUGE,
		"Resident memory that was given back lazily (MADV_FREE): the kernel takes it when "
		"it needs it.",
		MEMBER(lazyfree_bytes)},
	{"swap_bytes", FIELD_BYTES, FIELD_GAUGE, "Anonymous memory in swap.", MEMBER(swap_bytes)},
	{"cpu_ns", FIELD_NANOSECONDS, FIELD_COUNTER, "User and system time.", MEMBER(cpu_ns)},

	{"ledger.brk.calls", FIELD_COUNT, FIELD_COUNTER, "brk calls that moved the break.",
		COUNTER(PS_BRK_CALLS)},
	{"ledger.brk.grow_bytes", FIELD_BYTES, FIELD_COUNTER,
		"Address space added by moving the break up.", COUNTER(PS_BRK_GROW_BYTES)},
	{"ledger.brk.shrink_bytes", FIELD_BYTES, FIELD_COUNTER,
		"Address space given back by moving the break down.", COUNTER(PS_BRK_SHRINK_BYTES)},
	{"ledger.brk.failed", FIELD_COUNT, FIELD_COUNTER,
		"brk calls that did not get what they asked for.", COUNTER(PS_BRK_FAILED)},
	{"ledger.mmap.calls", FIELD_COUNT, FIELD_COUNTER, "mmap calls that succeeded.",
		COUNTER(PS_MMAP_CALLS)},
	{"ledger.mmap.bytes", FIELD_BYTES, FIELD_COUNTER, "Address space mapped.",
		COUNTER(PS_MMAP_BYTES)},
	{"ledger.mmap.anon_bytes", FIELD_BYTES, FIELD_COUNTER,
		"Of the address space mapped: private and anonymous.", COUNTER(PS_MMAP_ANON_BYTES)},
	{"ledger.mmap.reserve_bytes", FIELD_BYTES, FIELD_COUNTER,
		"Of the private and anonymous: without access, to be committed later.",
		COUNTER(PS_MMAP_RESERVE_BYTES)},
	{"ledger.mmap.failed", FIELD_COUNT, FIELD_COUNTER, "mmap calls that failed.",
		COUNTER(PS_MMAP_FAILED)},
	{"ledger.munmap.calls", FIELD_COUNT, FIELD_COUNTER, "munmap calls that succeeded.",
		COUNTER(PS_MUNMAP_CALLS)},
	{"ledger.munmap.bytes", FIELD_BYTES, FIELD_COUNTER, "Address space unmapped.",
		COUNTER(PS_MUNMAP_BYTES)},
	{"ledger.munmap.reserve_bytes", FIELD_BYTES, FIELD_COUNTER,
		"Of the address space unmapped: reservations that were never made accessible.",
		COUNTER(PS_MUNMAP_RESERVE_BYTES)},
	{"ledger.munmap.failed", FIELD_COUNT, FIELD_COUNTER, "munmap calls that failed.",
		COUNTER(PS_MUNMAP_FAILED)},
	{"ledger.mremap.calls", FIELD_COUNT, FIELD_COUNTER,
		"mremap calls that moved or resized a mapping.", COUNTER(PS_MREMAP_CALLS)},
	{"ledger.mremap.grow_bytes", FIELD_BYTES, FIELD_COUNTER,
		"Address space added by resizing mappings.", COUNTER(PS_MREMAP_GROW_BYTES)},
	{"ledger.mremap.shrink_bytes", FIELD_BYTES, FIELD_COUNTER,
		"Address space given back by resizing mappings.", COUNTER(PS_MREMAP_SHRINK_BYTES)},
	{"ledger.mremap.failed", FIELD_COUNT, FIELD_COUNTER, "mremap calls that failed.",
		COUNTER(PS_MREMAP_FAILED)},
	{"ledger.mprotect.calls", FIELD_COUNT, FIELD_COUNTER, "mprotect calls that succeeded.",
		COUNTER(PS_MPROTECT_CALLS)},
	{"ledger.mprotect.commit_bytes", FIELD_BYTES, FIELD_COUNTER, "Address space made writable.",
		COUNTER(PS_MPROTECT_COMMIT_BYTES)},
	{"ledger.mprotect.decommit_bytes", FIELD_BYTES, FIELD_COUNTER,
		"Address space made inaccessible.", COUNTER(PS_MPROTECT_DECOMMIT_BYTES)},
	{"ledger.mprotect.failed", FIELD_COUNT, FIELD_COUNTER, "mprotect calls that failed.",
		COUNTER(PS_MPROTECT_FAILED)},
	{"ledger.madvise.calls", FIELD_COUNT, FIELD_COUNTER, "madvise calls that succeeded.",
		COUNTER(PS_MADVISE_CALLS)},
	{"ledger.madvise.dontneed_bytes", FIELD_BYTES, FIELD_COUNTER,
		"Address space whose pages were given back at once (MADV_DONTNEED).",
		COUNTER(PS_MADVISE_DONTNEED_BYTES)},
	{"ledger.madvise.free_bytes", FIELD_BYTES, FIELD_COUNTER,
		"Address space whose pages were given back lazily (MADV_FREE).",
		COUNTER(PS_MADVISE_FREE_BYTES)},
	{"ledger.madvise.other_bytes", FIELD_BYTES, FIELD_COUNTER,
		"Address space that got any other advice.", COUNTER(PS_MADVISE_OTHER_BYTES)},
	{"ledger.madvise.failed", FIELD_COUNT, FIELD_COUNTER, "madvise calls that failed.",
		COUNTER(PS_MADVISE_FAILED)},

	{"faults.in_requests", FIELD_COUNT, FIELD_COUNTER,
		"Page faults of threads that worked for exactly one request.",
		COUNTER(PS_FAULTS_IN_REQUESTS)},
	{"faults.overlapping", FIELD_COUNT, FIELD_COUNTER,
		"Page faults of threads that had more than one request open.",
		COUNTER(PS_FAULTS_OVERLAPPING)},
	{"faults.background", FIELD_COUNT, FIELD_COUNTER, "Page faults outside any request.",
		MEMBER(faults_background)},

	{"retention.touched_pages", FIELD_PAGES, FIELD_COUNTER,
		"Anonymous pages that requests made resident.", MEMBER(retention.touched.value)},
	{"retention.touched_pages_low", FIELD_PAGES, FIELD_COUNTER,
		"Lower end of its 95 % interval.", MEMBER(retention.touched.low)},
	{"retention.touched_pages_high", FIELD_PAGES, FIELD_COUNTER,
		"Upper end of its 95 % interval.", MEMBER(retention.touched.high)},
	{"retention.kept_pages", FIELD_PAGES, FIELD_GAUGE,
		"Pages that requests made resident and that never left memory since.",
		MEMBER(retention.kept.value)},
	{"retention.kept_pages_low", FIELD_PAGES, FIELD_GAUGE, "Lower end of its 95 % interval.",
		MEMBER(retention.kept.low)},
	{"retention.kept_pages_high", FIELD_PAGES, FIELD_GAUGE, "Upper end of its 95 % interval.",
		MEMBER(retention.kept.high)},
	{"retention.swapped_pages", FIELD_PAGES, FIELD_GAUGE,
		"Pages that requests made resident and that are in swap.",
		MEMBER(retention.swapped_pages)},
	{"retention.lazyfree_pages", FIELD_PAGES, FIELD_GAUGE,
		"Pages that requests made resident and that were given back lazily (MADV_FREE).",
		MEMBER(retention.lazyfree_pages)},
	{"retention.copied_pages", FIELD_PAGES, FIELD_COUNTER,
		"Of all pages touched: copies of shared pages, by which no memory grew.",
		MEMBER(attribution.copied_pages)},
	{"retention.kernel_pages", FIELD_PAGES, FIELD_COUNTER,
		"Of all pages touched: by the kernel on behalf of the process, as in read.",
		MEMBER(attribution.kernel_pages)},
	{"retention.huge_pages", FIELD_PAGES, FIELD_COUNTER,
		"Of all pages touched: in folios of more than one page.",
		MEMBER(attribution.huge_pages)},
	{"retention.touched_pages_per_request", FIELD_AVERAGE, FIELD_GAUGE,
		"Pages that a request of the interval made resident.",
		REAL(retention.touched_pages_per_request)},
	{"retention.kept_pages_per_request", FIELD_AVERAGE, FIELD_GAUGE,
		"Kept pages, by all requests since watching began.",
		REAL(retention.kept_pages_per_request)},
	{"retention.kept_bytes_per_request", FIELD_AVERAGE, FIELD_GAUGE,
		"Kept bytes, by all requests since watching began.", KEPT_BYTES(1)},
	{"retention.kept_bytes_per_1000_requests", FIELD_AVERAGE, FIELD_GAUGE,
		"A thousand times that.", KEPT_BYTES(1000)},
	{"retention.half_life_s", FIELD_SECONDS, FIELD_GAUGE,
		"Time after which half of the pages that a request touched are gone.",
		REAL(retention.half_life_s)},
	{"retention.half_life_over_s", FIELD_SECONDS, FIELD_GAUGE,
		"The greatest known age, where more than half of the pages are there at it.",
		REAL(retention.half_life_over_s)},
	{"retention.sample_ratio", FIELD_RATIO, FIELD_GAUGE,
		"Share of the pages that is tracked; below 1, numbers of pages are estimates.",
		REAL(sample_ratio)},

	{"attribution.exclusive", FIELD_COUNT, FIELD_COUNTER,
		"Touched for exactly one request: pages, or page faults where pages are not "
		"tracked.",
		MEMBER(attribution.exclusive)},
	{"attribution.overlapping", FIELD_COUNT, FIELD_COUNTER,
		"Touched by a thread that had more than one request open.",
		MEMBER(attribution.overlapping)},
	{"attribution.background", FIELD_COUNT, FIELD_COUNTER, "Touched outside any request.",
		MEMBER(attribution.background)},
	{"attribution.exclusive_ratio", FIELD_RATIO, FIELD_GAUGE, "Its share of the three.",
		REAL(attribution.exclusive_ratio)},
	{"attribution.overlapping_ratio", FIELD_RATIO, FIELD_GAUGE, "Its share of the three.",
		REAL(attribution.overlapping_ratio)},
	{"attribution.background_ratio", FIELD_RATIO, FIELD_GAUGE, "Its share of the three.",
		REAL(attribution.background_ratio)},
	{"attribution.followed_pages", FIELD_PAGES, FIELD_COUNTER,
		"Of exclusive: followed to the request that another thread received.",
		MEMBER(attribution.followed_pages)},

	{"background.touched_pages", FIELD_PAGES, FIELD_COUNTER,
		"Anonymous pages made resident outside any request.", BACKGROUND},
	{"background.kept_pages", FIELD_PAGES, FIELD_GAUGE,
		"Of these, since watching began: pages that never left memory since.",
		MEMBER(attribution.background_kept_pages)},

	{"growth.requests_bytes", FIELD_BYTES, FIELD_DELTA,
		"Of the change of resident memory: pages that requests touched.",
		DELTA(growth.requests_bytes)},
	{"growth.background_bytes", FIELD_BYTES, FIELD_DELTA, "Pages touched outside any request.",
		DELTA(growth.background_bytes)},
	{"growth.earlier_bytes", FIELD_BYTES, FIELD_DELTA,
		"Pages that were resident before watching began.", DELTA(growth.earlier_bytes)},
	{"growth.files_bytes", FIELD_BYTES, FIELD_DELTA, "Pages of files and of shared memory.",
		DELTA(growth.files_bytes)},
	{"growth.unexplained_bytes", FIELD_BYTES, FIELD_DELTA,
		"What is left: the five add up to the change of resident memory.",
		DELTA(growth.unexplained_bytes)},
	{"growth.error_bytes", FIELD_BYTES, FIELD_GAUGE,
		"How much of what is left sampling and the kernel's counters allow.",
		MEMBER(growth.error_bytes)},

	{"heap.live_bytes", FIELD_BYTES, FIELD_GAUGE,
		"Allocated and not freed, in heaps and in mappings of their own; without caches.",
		HEAP(live_bytes)},
	{"heap.cached_bytes", FIELD_BYTES, FIELD_GAUGE, "Freed, and kept by threads in tcaches.",
		HEAP(cached_bytes)},
	{"heap.held_free_bytes", FIELD_BYTES, FIELD_GAUGE, "Free in bins, fastbins and tops.",
		HEAP(held_free_bytes)},
	{"heap.trimmable_bytes", FIELD_BYTES, FIELD_GAUGE,
		"Resident memory that malloc_trim(0) would give back now.", HEAP(trimmable_bytes)},
	{"heap.top_bytes", FIELD_BYTES, FIELD_GAUGE, "Of held free: in tops.", HEAP(top_bytes)},
	{"heap.page_pinned_bytes", FIELD_BYTES, FIELD_GAUGE,
		"Resident free bytes that malloc_trim(0) could not give back.",
		HEAP(page_pinned_bytes)},
	{"heap.arenas", FIELD_COUNT, FIELD_GAUGE, "Arenas.", HEAP(arenas)},
	{"heap.segments", FIELD_COUNT, FIELD_GAUGE,
		"Contiguous pieces of address space that the arenas are made of.", HEAP(segments)},
	{"heap.lost_segments", FIELD_COUNT, FIELD_GAUGE,
		"Segments that could not be walked to their end.", HEAP(lost_segments)},
	{"heap.lost_bytes", FIELD_BYTES, FIELD_GAUGE, "What of them was not walked.",
		HEAP(lost_bytes)},
	{"heap.system_bytes", FIELD_BYTES, FIELD_GAUGE, "Address space of all arenas.",
		HEAP(system_bytes)},
	{"heap.mmapped_bytes", FIELD_BYTES, FIELD_GAUGE,
		"Of live: in chunks with a mapping of their own.", HEAP(mmapped_bytes)},
	{"heap.fastbin_bytes", FIELD_BYTES, FIELD_GAUGE, "Of held free: in fastbins.",
		HEAP(fastbin_bytes)},
	{"heap.held_free_resident_bytes", FIELD_BYTES, FIELD_GAUGE, "Of held free: resident.",
		HEAP(held_free_resident_bytes)},
	{"heap.top_resident_bytes", FIELD_BYTES, FIELD_GAUGE, "Of tops: resident.",
		HEAP(top_resident_bytes)},
	{"heap.trimmable_top_bytes", FIELD_BYTES, FIELD_GAUGE,
		"Of trimmable: the main arena's top.", HEAP(trimmable_top_bytes)},
	{"heap.active_bytes", FIELD_BYTES, FIELD_GAUGE, "jemalloc: pages with live allocations.",
		HEAP(active_bytes)},
	{"heap.dirty_bytes", FIELD_BYTES, FIELD_GAUGE,
		"jemalloc: pages freed, resident and not yet given back.", HEAP(dirty_bytes)},
	{"heap.muzzy_bytes", FIELD_BYTES, FIELD_GAUGE, "jemalloc: pages given back lazily.",
		HEAP(muzzy_bytes)},
	{"heap.anon_bytes", FIELD_BYTES, FIELD_GAUGE,
		"Resident anonymous memory at the moment of the x-ray.", HEAP(anon_bytes)},
	{"heap.huge_bytes", FIELD_BYTES, FIELD_GAUGE, "Of it: in transparent huge pages.",
		HEAP(huge_bytes)},
	{"heap.lazyfree_bytes", FIELD_BYTES, FIELD_GAUGE, "Of it: given back lazily (MADV_FREE).",
		HEAP(lazyfree_bytes)},
	{"heap.threads", FIELD_COUNT, FIELD_GAUGE, "Threads.", HEAP(threads)},
	{"heap.purging_threads", FIELD_COUNT, FIELD_GAUGE,
		"Of them: jemalloc's background threads.", HEAP(purging_threads)},
	{"heap.walk_ns", FIELD_NANOSECONDS, FIELD_GAUGE, "How long the x-ray took.", HEAP(walk_ns)},
	{"heap.age_s", FIELD_SECONDS, FIELD_GAUGE,
		"Since the end of the interval that the x-ray is of.", HEAP_AGE},
	{"heap.read_bytes", FIELD_BYTES, FIELD_GAUGE, "How much of the process's memory it read.",
		HEAP(read_bytes)},
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
