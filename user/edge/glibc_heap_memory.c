/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads the memory that chunks are in: a window that moves through a segment and grows while it is
 * used up from end to end, copies of single pages for lists that jump about, and which pages are
 * present, looked up thousands at a time. All of a fixed size. Called by the walk through a heap.
 */
#include "glibc_heap_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pagestay/base/clock.h"

#define REFRESHES_MAX 4096u
#define HITS_MAX      64u
#define COPY_EVERY    16u
#define NEAR_BYTES    65536u /* what is passed over within the stretch of one window */

int memory_init(struct memory *memory, struct target *target, uint64_t deadline_ns)
{
	memory->target = target;
	memory->page_bytes = target_page_bytes(target);
	memory->deadline_ns = deadline_ns;
	if (memory->page_bytes > PAGE_BYTES_MAX)
		return -ENOTSUP;
	memory->cached = malloc(CACHED_PAGES * memory->page_bytes);
	return memory->cached ? 0 : -ENOMEM;
}

void memory_deinit(struct memory *memory)
{
	free(memory->cached);
}

int memory_check_time(const struct memory *memory)
{
	return clock_ns(CLOCK_MONOTONIC) >= memory->deadline_ns ? -ETIME : 0;
}

int memory_read(struct memory *memory, uint64_t address, void *ret_bytes, size_t length)
{
	int error = target_read(memory->target, address, ret_bytes, length);

	if (!error)
		memory->read_bytes += length;
	return error;
}

/* Heaps grow by mprotect and brk all the time. */
static int refresh(struct memory *memory)
{
	if (memory->refreshes++ >= REFRESHES_MAX)
		return -EFAULT;
	return target_refresh(memory->target);
}

int memory_read_new(struct memory *memory, uint64_t address, void *ret_bytes, size_t length)
{
	int error = memory_read(memory, address, ret_bytes, length);

	if (error != -EFAULT)
		return error;
	error = refresh(memory);
	return error ? error : memory_read(memory, address, ret_bytes, length);
}

void memory_forget(struct memory *memory)
{
	memset(memory->cached_pages, 0, sizeof(memory->cached_pages));
}

static bool is_cached(struct memory *memory, uint64_t page)
{
	const bool is_hit = memory->cached_pages[page % CACHED_PAGES] == page;

	if (is_hit && memory->hits < HITS_MAX)
		memory->hits++;
	return is_hit;
}

/* Lists that jump about all over a heap have no use for copies: one in so many is to find out. */
static bool is_worth_a_copy(struct memory *memory)
{
	memory->misses++;
	if (memory->hits == 0)
		return memory->misses % COPY_EVERY == 0;
	memory->hits--;
	return true;
}

int memory_read_cached(struct memory *memory, uint64_t address, void *ret_bytes, size_t length)
{
	const uint64_t page = address / memory->page_bytes;
	const size_t offset = address % memory->page_bytes, place = page % CACHED_PAGES;
	uint8_t *copy = memory->cached + place * memory->page_bytes;

	if (offset + length > memory->page_bytes)
		return memory_read(memory, address, ret_bytes, length);
	if (!is_cached(memory, page)) {
		int error;

		if (!is_worth_a_copy(memory))
			return memory_read(memory, address, ret_bytes, length);
		error = memory_read(memory, page * memory->page_bytes, copy, memory->page_bytes);
		memory->cached_pages[place] = error ? 0 : page;
		if (error)
			return error;
	}
	memcpy(ret_bytes, copy + offset, length);
	return 0;
}

/*
 * Pages.
 */

/* Makes `present` tell of the page, and of what follows. */
static int load_pages(struct memory *memory, uint64_t page)
{
	int error = target_present(
		memory->target, page * memory->page_bytes, PRESENCE_PAGES, memory->present);

	memory->first_page = page;
	memory->pages = error ? 0 : PRESENCE_PAGES;
	return error;
}

static bool is_present(struct memory *memory, uint64_t page)
{
	if (page - memory->first_page >= memory->pages) {
		int error = load_pages(memory, page);

		if (error) {
			memory->error = error;
			return false;
		}
	}
	return memory->present[page - memory->first_page];
}

static bool is_resident(struct memory *memory, uint64_t page)
{
	return !memory->is_huge && is_present(memory, page);
}

uint64_t memory_resident_pages(struct memory *memory, uint64_t from, uint64_t to)
{
	const uint64_t last = to / memory->page_bytes;
	uint64_t count = 0;

	for (uint64_t page = align_up(from, memory->page_bytes) / memory->page_bytes;
		page < last && !memory->error; page++)
		count += is_resident(memory, page);
	return count;
}

uint64_t memory_resident_bytes(struct memory *memory, uint64_t from, uint64_t to)
{
	const uint64_t page_bytes = memory->page_bytes;
	uint64_t bytes = 0;

	while (from < to && !memory->error) {
		const uint64_t page = from / page_bytes;
		const uint64_t end = (page + 1) * page_bytes < to ? (page + 1) * page_bytes : to;

		if (is_resident(memory, page))
			bytes += end - from;
		from = end;
	}
	return bytes;
}

/*
 * The window.
 */

/* How many bytes from the address on are on pages that are present, up to `ahead` and `to`. */
static size_t present_bytes(struct memory *memory, uint64_t address, uint64_t to)
{
	const uint64_t page_bytes = memory->page_bytes;
	const uint64_t limit = to - address < memory->ahead ? to : address + memory->ahead;
	uint64_t end = address;

	while (end < limit && is_present(memory, end / page_bytes))
		end = (end / page_bytes + 1) * page_bytes;
	return (end < limit ? end : limit) - address;
}

static int fill_once(struct memory *memory, uint64_t address, uint64_t to)
{
	size_t bytes = present_bytes(memory, address, to);
	int error = memory->error ? memory->error : bytes ? 0 : -ENODATA;

	memory->error = 0;
	memory->bytes = 0;
	if (error)
		return error;
	error = memory_read(memory, address, memory->window, bytes);
	if (error)
		return error;
	memory->from = address;
	memory->bytes = bytes;
	memory->fills++;
	return 0;
}

int memory_fill(struct memory *memory, uint64_t address, uint64_t to)
{
	int error;

	if (address >= to)
		return -EFAULT;
	memory->pages = 0;
	error = fill_once(memory, address, to);
	if (error == -EFAULT) {
		error = refresh(memory);
		if (!error)
			error = fill_once(memory, address, to);
	}
	return error;
}

int memory_view(
	struct memory *memory, uint64_t address, size_t length, uint64_t to, const void **ret_view)
{
	const uint64_t end = memory->from + memory->bytes;
	int error;

	if (address < memory->from || address + length > end) {
		const bool is_near = address >= memory->from && address < end + NEAR_BYTES;

		error = memory_check_time(memory);
		if (error)
			return error;
		memory->ahead = !is_near                           ? memory->page_bytes
				: memory->ahead * 2 < WINDOW_BYTES ? memory->ahead * 2
								   : WINDOW_BYTES;
		error = fill_once(memory, address, to);
		/* Pages come and go between the look at them and the reading. */
		if (error)
			error = memory_fill(memory, address, to);
		if (error)
			return error;
		if (memory->bytes < length)
			return -ENODATA;
	}
	*ret_view = memory->window + (address - memory->from);
	return 0;
}
