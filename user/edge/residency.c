/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Walks /proc/PID/maps, leaves out what cannot hold anonymous pages, and looks the rest up in the
 * page tables: with the PAGEMAP_SCAN ioctl, which filters in the kernel, or entry by entry in
 * /proc/PID/pagemap. Both find runs; one place merges them and hands them on. All buffers are of a
 * fixed size and live in the struct. Each call into the kernel is for a bounded piece, because the
 * target cannot map or unmap meanwhile. Called by the live source and by doctor.
 */
#include "pagestay/edge/residency.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <time.h>

#include "pagestay/base/cleanup.h"
#include "pagestay/base/clock.h"
#include "pagestay/edge/maps.h"

#define REGIONS       1024
#define ENTRIES       16384
#define STEP_BYTES    (64ull << 20)
#define EMPTY_BYTES   (64ull << 30) /* how far one call looks for the next populated page */
#define RESERVE_BYTES (1ull << 30)

/* linux/fs.h of Linux 6.7 and later: older headers lack them, and a uapi never changes. */
struct scan_region {
	uint64_t start;
	uint64_t end;
	uint64_t categories;
};

struct scan_arg {
	uint64_t size;
	uint64_t flags;
	uint64_t start;
	uint64_t end;
	uint64_t walk_end;
	uint64_t vec;
	uint64_t vec_len;
	uint64_t max_pages;
	uint64_t category_inverted;
	uint64_t category_mask;
	uint64_t category_anyof_mask;
	uint64_t return_mask;
};

_Static_assert(sizeof(struct scan_arg) == 96, "ABI");

#define SCAN_IOCTL   _IOWR('f', 16, struct scan_arg)
#define SCAN_FILE    (1ull << 2)
#define SCAN_PRESENT (1ull << 3)
#define SCAN_SWAPPED (1ull << 4)
#define SCAN_PFNZERO (1ull << 5)
#define SCAN_GUARD   (1ull << 8) /* Linux 6.15 */

#define ENTRY_PRESENT   (1ull << 63)
#define ENTRY_SWAPPED   (1ull << 62)
#define ENTRY_FILE      (1ull << 61)
#define ENTRY_GUARD     (1ull << 58) /* Linux 6.15 */
#define ENTRY_PFN       ((1ull << 55) - 1)
#define ENTRY_SWAP_TYPE 31ull
/* The last swap type is no swap area: it marks an empty entry (guard, userfaultfd, poison). */
#define SWAP_TYPE_MARKER 31ull

struct residency {
	const struct procfs *procfs;
	enum residency_method method;
	uint64_t page_bytes;
	uint64_t scan_excluded; /* categories that this kernel knows and that are no pages of
				   interest */
	uint64_t zero_pfn;      /* 0: not known */
	uint64_t huge_zero_pfn; /* the first of its pages; 0: not known */
	void *huge_zero;        /* a mapping of it: while we have one, its PFN stays the same */
	uint64_t huge_bytes;
	union {
		struct scan_region regions[REGIONS];
		uint64_t entries[ENTRIES];
	};
	struct maps_reader maps;
};

/* What is looked up: pages [page, end) of one mapping, by and by. */
struct range {
	uint64_t page;
	uint64_t end;
	bool has_file; /* so that some pages may be the file's */
};

struct walk {
	struct residency *residency;
	const struct ps_proc_key *key;
	int maps_fd;
	int pagemap_fd;
	residency_fn fn;
	void *context;
	uint64_t deadline_ns;
	bool stepped;

	/* The device last looked at for hugetlbfs. */
	uint64_t device;
	bool device_hugetlb;

	/* The run found last: it may go on. */
	uint64_t run_page;
	uint64_t run_pages;
	bool run_swapped;
};

/*
 * What is found.
 */

static int run_flush(struct walk *walk)
{
	uint64_t pages = walk->run_pages;

	walk->run_pages = 0;
	return pages ? walk->fn(walk->context, walk->run_page, pages, walk->run_swapped) : 0;
}

static int run_add(struct walk *walk, uint64_t page, uint64_t pages, bool swapped)
{
	int error;

	if (walk->run_pages && walk->run_page + walk->run_pages == page &&
		walk->run_swapped == swapped) {
		walk->run_pages += pages;
		return 0;
	}
	error = run_flush(walk);
	if (error)
		return error;
	walk->run_page = page;
	walk->run_pages = pages;
	walk->run_swapped = swapped;
	return 0;
}

/*
 * Mappings.
 */

/* Asks the file behind the mapping: names of hugetlbfs files are like any others. */
static bool backed_by_hugetlbfs(const struct walk *walk, const struct maps_line *mapping)
{
	const struct residency *residency = walk->residency;
	_cleanup_(cleanup_close) int fd = -1;
	struct statfs filesystem;
	char path[96];

	(void)snprintf(path, sizeof(path), "%" PRIu32 "/map_files/%" PRIx64 "-%" PRIx64,
		walk->key->tgid, mapping->from, mapping->to);
	fd = openat(residency->procfs->fd, path, O_PATH | O_CLOEXEC);
	return fd >= 0 && fstatfs(fd, &filesystem) == 0 && filesystem.f_type == HUGETLBFS_MAGIC;
}

static bool is_hugetlb(struct walk *walk, const struct maps_line *mapping)
{
	static const char anonymous[] = "/anon_hugepage";

	if (mapping->inode == 0)
		return false;
	if (strncmp(mapping->path, anonymous, sizeof(anonymous) - 1) == 0)
		return true;
	if (walk->device != mapping->device) {
		walk->device_hugetlb = backed_by_hugetlbfs(walk, mapping);
		walk->device = mapping->device;
	}
	return walk->device_hugetlb;
}

static bool has_prefix(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Besides mappings of files, the kernel's own have pages that are not anonymous: `[vdso]`. */
static bool has_file(const struct maps_line *mapping)
{
	return mapping->inode != 0 ||
	       (mapping->path[0] != '\0' && !has_prefix(mapping->path, "[heap]") &&
		       !has_prefix(mapping->path, "[stack]") &&
		       !has_prefix(mapping->path, "[anon:"));
}

static bool may_hold_anonymous(struct walk *walk, const struct maps_line *mapping)
{
	const uint64_t bytes = mapping->to - mapping->from;

	if (mapping->protection[3] != 'p')
		return false;
	/* The kernel's own: their pages are neither a file's nor anonymous. */
	if (has_prefix(mapping->path, "[vvar") || has_prefix(mapping->path, "[vsyscall]"))
		return false;
	if (walk->residency->method == RESIDENCY_PAGEMAP && bytes >= RESERVE_BYTES &&
		memcmp(mapping->protection, "---", 3) == 0)
		return false;
	return !is_hugetlb(walk, mapping);
}

/*
 * The two methods: each looks up the range from its start as far as one step goes, and moves the
 * start there.
 */

static int scan(const struct residency *residency, int fd, struct scan_arg *arg)
{
	int count;

	arg->size = sizeof(*arg);
	arg->vec = (uintptr_t)residency->regions;
	arg->category_anyof_mask = SCAN_PRESENT | SCAN_SWAPPED;
	arg->return_mask = SCAN_PRESENT | SCAN_SWAPPED;
	count = ioctl(fd, SCAN_IOCTL, arg);
	return count < 0 ? -errno : count;
}

/* The first populated page of [start, end) of any kind; `end`, or what is known up to, if none. */
static int scan_populated(
	const struct walk *walk, uint64_t start, uint64_t end, uint64_t *ret_start)
{
	const struct residency *residency = walk->residency;
	struct scan_arg arg = {.start = start,
		.end = end - start > EMPTY_BYTES ? start + EMPTY_BYTES : end,
		.vec_len = 1,
		.max_pages = 1};
	int count = scan(residency, walk->pagemap_fd, &arg);

	if (count < 0)
		return count;
	*ret_start = count > 0 ? residency->regions[0].start : arg.end;
	return 0;
}

/* Whether a page is a file's costs more to tell than all the rest: the page itself is looked at. */
static int scan_step(struct walk *walk, struct range *range)
{
	const struct residency *residency = walk->residency;
	const uint64_t page_bytes = residency->page_bytes;
	const uint64_t end = range->end * page_bytes;
	const uint64_t excluded = residency->scan_excluded & (range->has_file ? ~0ull : ~SCAN_FILE);
	uint64_t start = range->page * page_bytes;
	struct scan_arg arg;
	int count, error;

	/* A large mapping may be all but empty. */
	if (end - start > STEP_BYTES) {
		error = scan_populated(walk, start, end, &start);
		if (error)
			return error;
	}
	arg = (struct scan_arg){.start = start,
		.end = end - start > STEP_BYTES ? start + STEP_BYTES : end,
		.vec_len = REGIONS,
		.category_inverted = excluded,
		.category_mask = excluded};
	count = arg.start < arg.end ? scan(residency, walk->pagemap_fd, &arg) : 0;
	if (count < 0)
		return count;
	for (int i = 0; i < count; i++) {
		const struct scan_region *region = &residency->regions[i];

		error = run_add(walk, region->start / page_bytes,
			(region->end - region->start) / page_bytes,
			region->categories & SCAN_SWAPPED);
		if (error)
			return error;
	}
	/*
	 * A full vector may have ended the scan early. walk_end does not tell where: it is one of
	 * the kernel's stops, not always its last (seen on 6.18).
	 */
	range->page = (count == REGIONS ? residency->regions[count - 1].end : arg.end) / page_bytes;
	return 0;
}

static bool is_zero_page(const struct residency *residency, uint64_t pfn)
{
	if (residency->zero_pfn && pfn == residency->zero_pfn)
		return true;
	return residency->huge_zero_pfn && pfn >= residency->huge_zero_pfn &&
	       pfn - residency->huge_zero_pfn < residency->huge_bytes / residency->page_bytes;
}

static bool is_anonymous(const struct residency *residency, uint64_t entry)
{
	if (!(entry & (ENTRY_PRESENT | ENTRY_SWAPPED)) || entry & (ENTRY_FILE | ENTRY_GUARD))
		return false;
	if (entry & ENTRY_SWAPPED)
		return (entry & ENTRY_SWAP_TYPE) != SWAP_TYPE_MARKER;
	return !is_zero_page(residency, entry & ENTRY_PFN);
}

static ssize_t read_entries(int fd, uint64_t page, uint64_t *entries, size_t count)
{
	ssize_t got;

	do {
		got = pread(fd, entries, count * sizeof(*entries), page * sizeof(*entries));
	} while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got / (ssize_t)sizeof(*entries);
}

static int pagemap_step(struct walk *walk, struct range *range)
{
	const struct residency *residency = walk->residency;
	const uint64_t pages = range->end - range->page;
	ssize_t count = read_entries(walk->pagemap_fd, range->page, walk->residency->entries,
		pages > ENTRIES ? ENTRIES : pages);

	if (count < 0)
		return count;
	for (ssize_t i = 0; i < count; i++) {
		uint64_t entry = residency->entries[i];
		int error;

		if (!is_anonymous(residency, entry))
			continue;
		error = run_add(walk, range->page + i, 1, entry & ENTRY_SWAPPED);
		if (error)
			return error;
	}
	/* Nothing at all: the memory is gone, which the end of the walk finds. */
	range->page = count > 0 ? range->page + count : range->end;
	return 0;
}

/*
 * The walk.
 */

/*
 * A step holds the process's mmap lock for reading. Without a pause the next one has it again
 * before a writer that waits has woken: its mmap would take as long as all steps (16 ms for 8 GiB).
 */
static void let_writers_in(void)
{
	clock_pause(50000);
}

/* Goes through the range as far as time allows: one step, whatever the time. */
static int walk_range(struct walk *walk, struct range *range)
{
	bool again = false;

	for (; range->page < range->end; again = true) {
		int error;

		if (again)
			let_writers_in();

		if (walk->stepped && clock_ns(CLOCK_MONOTONIC) >= walk->deadline_ns)
			return 0;
		error = walk->residency->method == RESIDENCY_SCAN ? scan_step(walk, range)
								  : pagemap_step(walk, range);
		if (error)
			return error;
		walk->stepped = true;
	}
	return 0;
}

static int walk_mappings(struct walk *walk, uint64_t from, uint64_t *ret_next)
{
	const uint64_t page_bytes = walk->residency->page_bytes;
	struct range range = {.page = from};
	struct maps_line mapping;
	int error;

	maps_begin(&walk->residency->maps, walk->maps_fd);
	for (;;) {
		error = maps_next(&walk->residency->maps, page_bytes, &mapping);
		if (error)
			return error;
		if (mapping.to == 0)
			break;
		/* Mappings that change while maps is read may be told twice, in part. */
		if (mapping.to / page_bytes <= range.page || !may_hold_anonymous(walk, &mapping))
			continue;
		if (range.page < mapping.from / page_bytes)
			range.page = mapping.from / page_bytes;
		range.end = mapping.to / page_bytes;
		range.has_file = has_file(&mapping);
		error = walk_range(walk, &range);
		if (error)
			return error;
		if (range.page < range.end) {
			*ret_next = range.page;
			return 0;
		}
	}
	*ret_next = UINT64_MAX;
	return 0;
}

/* NOLINTNEXTLINE(readability-function-size): whom, what, how long, whereto: no two are one thing */
int residency_walk(struct residency *residency, const struct ps_proc_key *key, uint64_t from,
	uint64_t deadline_ns, residency_fn fn, void *context, uint64_t *ret_next)
{
	_cleanup_(cleanup_close) int maps_fd = -1;
	_cleanup_(cleanup_close) int pagemap_fd = -1;
	struct walk walk = {.residency = residency,
		.key = key,
		.fn = fn,
		.context = context,
		.deadline_ns = deadline_ns};
	uint64_t next;
	int error;

	error = procfs_open_file(residency->procfs, key, "maps", &maps_fd);
	if (error)
		return error;
	error = procfs_open_file(residency->procfs, key, "pagemap", &pagemap_fd);
	if (error)
		return error;
	walk.maps_fd = maps_fd;
	walk.pagemap_fd = pagemap_fd;
	walk.device = UINT64_MAX;
	error = walk_mappings(&walk, from, &next);
	if (!error)
		error = run_flush(&walk);
	if (error)
		return error;
	if (maps_are_gone(maps_fd))
		return -ESRCH;
	*ret_next = next;
	return 0;
}

/*
 * What this kernel does, found out on pages of our own.
 */

/* MAP_FAILED if there is no memory. */
static void *map_own(size_t bytes)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* Whether a scan that excludes these categories finds just the written one of two pages. */
static bool scan_works(struct residency *residency, int fd, uint64_t excluded)
{
	const uint64_t page_bytes = residency->page_bytes;
	volatile char *pages = map_own(2 * page_bytes);
	struct scan_arg arg;
	bool works;

	if (pages == MAP_FAILED)
		return false;
	pages[0] = 1;
	arg = (struct scan_arg){.start = (uintptr_t)pages,
		.end = (uintptr_t)pages + 2 * page_bytes,
		.vec_len = REGIONS,
		.category_inverted = excluded,
		.category_mask = excluded};
	works = scan(residency, fd, &arg) == 1 && residency->regions[0].start == arg.start &&
		residency->regions[0].end == arg.start + page_bytes;
	(void)munmap((void *)pages, 2 * page_bytes);
	return works;
}

/* The PFN of the page at `address` of our own; 0 if it is not there or may not be known. */
static uint64_t own_pfn(const struct residency *residency, int fd, const volatile char *address)
{
	uint64_t entry;

	if (read_entries(fd, (uintptr_t)address / residency->page_bytes, &entry, 1) != 1)
		return 0;
	return entry & ENTRY_PRESENT ? entry & ENTRY_PFN : 0;
}

/* Reading memory that was never written maps the zero page. */
static void learn_zero_page(struct residency *residency, int fd)
{
	const uint64_t page_bytes = residency->page_bytes;
	volatile char *page = map_own(page_bytes);

	if (page == MAP_FAILED)
		return;
	(void)page[0];
	residency->zero_pfn = own_pfn(residency, fd, page);
	(void)munmap((void *)page, page_bytes);
}

/* And the huge one, where a huge page would fit and huge pages are on. */
static void learn_huge_zero_page(struct residency *residency, int fd)
{
	const uint64_t bytes = residency->huge_bytes;
	volatile char *page;
	uint64_t first, last;
	char *area;

	if (residency->huge_zero)
		return;
	area = map_own(2 * bytes);
	if (area == MAP_FAILED)
		return;
	residency->huge_zero = area;
	page = area + (bytes - (uintptr_t)area % bytes) % bytes;
	if (madvise((void *)page, bytes, MADV_HUGEPAGE) < 0)
		return;
	(void)page[0];
	first = own_pfn(residency, fd, page);
	last = own_pfn(residency, fd, page + bytes - residency->page_bytes);
	if (first && last == first + bytes / residency->page_bytes - 1)
		residency->huge_zero_pfn = first;
}

static int open_own_pagemap(const struct residency *residency)
{
	return openat(residency->procfs->fd, "self/pagemap", O_RDONLY | O_CLOEXEC);
}

static void choose_scan(struct residency *residency)
{
	static const uint64_t excluded[] = {
		SCAN_FILE | SCAN_PFNZERO | SCAN_GUARD, SCAN_FILE | SCAN_PFNZERO};
	_cleanup_(cleanup_close) int fd = open_own_pagemap(residency);

	for (size_t i = 0; fd >= 0 && i < sizeof(excluded) / sizeof(excluded[0]); i++) {
		if (!scan_works(residency, fd, excluded[i]))
			continue;
		residency->method = RESIDENCY_SCAN;
		residency->scan_excluded = excluded[i];
		return;
	}
}

int residency_new(const struct procfs *procfs, struct residency **ret_residency)
{
	struct residency *residency = calloc(1, sizeof(*residency));

	if (!residency)
		return -ENOMEM;
	residency->procfs = procfs;
	residency->page_bytes = sysconf(_SC_PAGESIZE);
	/* What one page of page table entries maps. */
	residency->huge_bytes = residency->page_bytes * (residency->page_bytes / sizeof(uint64_t));
	residency->method = RESIDENCY_PAGEMAP;
	choose_scan(residency);
	if (residency->method == RESIDENCY_PAGEMAP)
		residency_use_pagemap(residency);
	*ret_residency = residency;
	return 0;
}

void residency_free(struct residency *residency)
{
	if (!residency)
		return;
	if (residency->huge_zero)
		(void)munmap(residency->huge_zero, 2 * residency->huge_bytes);
	free(residency);
}

enum residency_method residency_method(const struct residency *residency)
{
	return residency->method;
}

void residency_use_pagemap(struct residency *residency)
{
	_cleanup_(cleanup_close) int fd = open_own_pagemap(residency);

	residency->method = RESIDENCY_PAGEMAP;
	if (fd < 0 || residency->zero_pfn)
		return;
	learn_zero_page(residency, fd);
	learn_huge_zero_page(residency, fd);
}
