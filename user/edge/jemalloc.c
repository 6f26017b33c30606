/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads the counters of jemalloc's arenas in a target: where its library lies and which file that
 * is, what is known of the file, or else its calibration, then a few words of each arena. Owns the
 * cache of layouts. What is read is believed only if it could be so: pointers lead to mapped
 * memory, and no more pages are counted than the process has. Called for each x-ray of a process
 * that uses jemalloc.
 */
#include "pagestay/edge/jemalloc.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "jemalloc_state.h"
#include "pagestay/base/cleanup.h"
#include "pagestay/base/clock.h"
#include "pagestay/edge/procfs.h"

#define FILES           64 /* in the cache: more and the one not used for longest goes */
#define FILE_BYTES_MAX  (64u << 20)
#define ARENAS_MAX      4096 /* jemalloc's own limit is below */
#define SILENT_MAX      8    /* then only root's are tried: each may cost seconds */
#define POINTERS        512  /* read at once; a page of them at most */
#define STATUS_BYTES    4096
#define DELETED         " (deleted)"
#define SETTLE_ATTEMPTS 20
#define SETTLE_PAUSE_NS 1000000

static const char *const outcome_words[JEMALLOC_OUTCOMES] = {
	[JEMALLOC_CALIBRATED] = "",
	[JEMALLOC_SILENT] = "it ended or hung when it was tried in a sandbox",
	[JEMALLOC_NONSENSE] = "it gave impossible answers when it was tried in a sandbox",
	[JEMALLOC_UNCONFINED] = "a sandbox to try it in could not be made",
	[JEMALLOC_UNLOADABLE] = "it cannot be loaded here",
	[JEMALLOC_NO_CONTROL] = "it has no mallctl that creates arenas, as jemalloc 5 has",
	[JEMALLOC_NO_ARENAS] = "its table of arenas was not found",
	[JEMALLOC_NO_COUNTERS] = "its page counters were not found",
	[JEMALLOC_UNTRIED] = "too many other files ended or hung when they were tried in a sandbox",
};

/* As closely as a file can be told by fstat. */
struct file_identity {
	uint64_t device, inode, bytes;
	struct timespec modified, changed;
};

struct known_file {
	struct file_identity identity;
	struct jemalloc_layout layout;
	uint64_t used; /* 0: free */
};

struct jemalloc_cache {
	struct known_file files[FILES];
	uint64_t uses;
	uint64_t calibrations;
	unsigned silent; /* of them, files of others than root that gave no result */
};

/* One reading of one process. */
struct reading {
	struct target *target;
	const struct jemalloc_layout *layout;
	uint64_t base; /* where the library begins */
	uint64_t mapped_pages;
	uint64_t arenas;
	uint64_t pages[JEMALLOC_MUZZY_PAGES + 1];
	uint64_t read_bytes;
	/* Of each arena, in the order of the table. */
	uint64_t dirty_decay_ms[ARENAS_MAX];
	uint64_t muzzy_decay_ms[ARENAS_MAX];
};

/*
 * The cache.
 */

int jemalloc_cache_new(struct jemalloc_cache **ret_cache)
{
	struct jemalloc_cache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		return -ENOMEM;
	*ret_cache = cache;
	return 0;
}

void jemalloc_cache_free(struct jemalloc_cache *cache)
{
	free(cache);
}

uint64_t jemalloc_cache_calibrations(const struct jemalloc_cache *cache)
{
	return cache->calibrations;
}

static bool is_same_time(const struct timespec *left, const struct timespec *right)
{
	return left->tv_sec == right->tv_sec && left->tv_nsec == right->tv_nsec;
}

static bool is_same_file(const struct file_identity *left, const struct file_identity *right)
{
	return left->device == right->device && left->inode == right->inode &&
	       left->bytes == right->bytes && is_same_time(&left->modified, &right->modified) &&
	       is_same_time(&left->changed, &right->changed);
}

/* The file's entry, or NULL and in *ret_place where to put it. */
static struct known_file *cache_find(struct jemalloc_cache *cache,
	const struct file_identity *identity, struct known_file **ret_place)
{
	struct known_file *place = &cache->files[0];

	for (size_t i = 0; i < FILES; i++) {
		struct known_file *file = &cache->files[i];

		if (file->used && is_same_file(&file->identity, identity))
			return file;
		if (file->used < place->used)
			place = file;
	}
	*ret_place = place;
	return NULL;
}

/* What could not be tried for want of means is not kept: the next time there may be some. */
static int try_file(struct jemalloc_cache *cache, int fd, const struct stat *status,
	struct jemalloc_layout *ret_layout)
{
	const bool is_roots = status->st_uid == 0;
	int error;

	if (!is_roots && cache->silent >= SILENT_MAX) {
		*ret_layout = (struct jemalloc_layout){.outcome = JEMALLOC_UNTRIED};
		return 0;
	}
	error = jemalloc_calibrate(fd, status->st_size, ret_layout);
	if (error)
		return error;
	cache->calibrations++;
	cache->silent += !is_roots && ret_layout->outcome == JEMALLOC_SILENT;
	return 0;
}

static int cache_layout(struct jemalloc_cache *cache, int fd, const struct stat *status,
	const struct jemalloc_layout **ret_layout)
{
	const struct file_identity identity = {.device = status->st_dev,
		.inode = status->st_ino,
		.bytes = status->st_size,
		.modified = status->st_mtim,
		.changed = status->st_ctim};
	struct known_file *place = NULL;
	struct known_file *file = cache_find(cache, &identity, &place);

	if (!file) {
		struct jemalloc_layout layout;
		int error = try_file(cache, fd, status, &layout);

		if (error)
			return error;
		*place = (struct known_file){.identity = identity, .layout = layout};
		file = place;
	}
	file->used = ++cache->uses;
	*ret_layout = &file->layout;
	return 0;
}

/*
 * The library.
 */

/* Whether a path of maps ends with this name; the kernel adds to the path of a deleted file. */
static bool has_name(const char *path, const char *name)
{
	const size_t name_length = strlen(name), deleted_length = sizeof(DELETED) - 1;
	size_t length = strlen(path);

	if (length > deleted_length && strcmp(path + length - deleted_length, DELETED) == 0)
		length -= deleted_length;
	return name_length && length > name_length && path[length - name_length - 1] == '/' &&
	       memcmp(path + length - name_length, name, name_length) == 0;
}

/* The mapping of the file's beginning. A file mapped for other ends has no code. */
static const struct target_map *find_library(const struct target *target, const char *name)
{
	const struct target_map *begin = NULL;
	size_t count;
	const struct target_map *maps = target_maps(target, &count);

	for (size_t i = 0; i < count; i++) {
		const struct target_map *map = &maps[i];

		if (map->inode == 0 || !has_name(map->path, name))
			continue;
		if (map->offset == 0)
			begin = map;
		if (map->executable && begin && begin->inode == map->inode &&
			begin->device == map->device)
			return begin;
	}
	return NULL;
}

/* The real and the effective user of the process. */
static int read_users(const struct target *target, unsigned ret_users[2])
{
	_cleanup_(cleanup_close) int fd = -1;
	char status[STATUS_BYTES + 1];
	char *cursor;
	ssize_t got;
	int error = procfs_open_file(target_procfs(target), target_key(target), "status", &fd);

	if (error)
		return error;
	got = read(fd, status, STATUS_BYTES);
	if (got < 0)
		return -errno;
	status[got] = '\0';
	cursor = strstr(status, "\nUid:\t");
	if (!cursor)
		return -EPROTO;
	ret_users[0] = strtoul(cursor + sizeof("\nUid:"), &cursor, 10);
	ret_users[1] = strtoul(cursor, NULL, 10);
	return 0;
}

/* Whoever could not have made the process run it anyway has no business in our sandbox. */
static int check_file(
	const struct target *target, const char *name, const struct stat *status, struct diag *diag)
{
	unsigned users[2] = {};
	int error;

	if (!S_ISREG(status->st_mode) || status->st_size == 0 || status->st_size > FILE_BYTES_MAX)
		return diag_set(diag, -ENOTSUP,
			"jemalloc in %s cannot be read: the file is no regular one of at most %u "
			"MB",
			name, FILE_BYTES_MAX >> 20);
	if (status->st_uid == 0)
		return 0;
	error = read_users(target, users);
	if (error)
		return error;
	if (status->st_uid == users[0] || status->st_uid == users[1])
		return 0;
	return diag_set(diag, -ENOTSUP,
		"jemalloc in %s cannot be read: the file belongs to another user (%u)", name,
		(unsigned)status->st_uid);
}

/* NULL, and *ret_error, if there is nothing to read by. */
static const struct jemalloc_layout *find_layout(struct jemalloc_cache *cache,
	struct target *target, const struct target_map *library, const char *name, int *ret_error,
	struct diag *diag)
{
	_cleanup_(cleanup_close) int fd = -1;
	const struct jemalloc_layout *layout = NULL;
	struct stat status = {};
	int error = target_open_file(target, library, &fd);

	if (!error && fstat(fd, &status) < 0)
		error = -errno;
	if (error && error != -ESRCH)
		error = diag_set(diag, -ENOTSUP, "jemalloc in %s cannot be read: its file is %s",
			name, error == -ENOENT || error == -ESTALE ? "gone" : strerror(-error));
	if (!error)
		error = check_file(target, name, &status, diag);
	if (!error) {
		error = cache_layout(cache, fd, &status, &layout);
		if (error)
			(void)diag_set(diag, error, "jemalloc in %s cannot be tried: %s", name,
				strerror(-error));
	}
	if (layout && layout->outcome != JEMALLOC_CALIBRATED) {
		error = diag_set(diag, -ENOTSUP, "jemalloc in %s cannot be read: %s", name,
			outcome_words[layout->outcome]);
		layout = NULL;
	}
	*ret_error = error;
	return layout;
}

/*
 * The counters.
 */

static int read_bytes(struct reading *reading, uint64_t address, void *ret_bytes, size_t length)
{
	reading->read_bytes += length;
	return target_read(reading->target, address, ret_bytes, length);
}

/* jemalloc's pages are anonymous memory that can be written. */
static uint64_t count_mapped_pages(const struct target *target, uint64_t page_bytes)
{
	uint64_t bytes = 0;
	size_t count;
	const struct target_map *maps = target_maps(target, &count);

	for (size_t i = 0; i < count; i++)
		if (maps[i].writable && maps[i].inode == 0)
			bytes += maps[i].to - maps[i].from;
	return bytes / page_bytes;
}

static int read_decay(struct reading *reading, uint64_t arena, uint64_t offset, uint64_t *ret_ms)
{
	uint64_t value;
	int error;

	if (offset == JEMALLOC_ABSENT) {
		*ret_ms = HEAP_UNKNOWN;
		return 0;
	}
	error = read_bytes(reading, arena + offset, &value, sizeof(value));
	if (error)
		return error;
	if (value == UINT64_MAX)
		*ret_ms = HEAP_DECAY_NEVER;
	else
		*ret_ms = value <= INT64_MAX ? value : HEAP_UNKNOWN;
	return 0;
}

/* -EINVAL: what is there is no arena. */
static int read_arena(struct reading *reading, uint64_t arena)
{
	const struct jemalloc_layout *layout = reading->layout;
	int error;

	if (arena % sizeof(uint64_t) || arena > INT64_MAX || reading->arenas == ARENAS_MAX)
		return -EINVAL;
	for (size_t i = 0; i <= JEMALLOC_MUZZY_PAGES; i++) {
		uint64_t pages;

		if (layout->fields[i] == JEMALLOC_ABSENT)
			continue;
		error = read_bytes(reading, arena + layout->fields[i], &pages, sizeof(pages));
		if (error)
			return error;
		if (pages > reading->mapped_pages)
			return -EINVAL;
		reading->pages[i] += pages;
	}
	error = read_decay(reading, arena, layout->fields[JEMALLOC_DIRTY_DECAY_MS],
		&reading->dirty_decay_ms[reading->arenas]);
	if (!error)
		error = read_decay(reading, arena, layout->fields[JEMALLOC_MUZZY_DECAY_MS],
			&reading->muzzy_decay_ms[reading->arenas]);
	if (!error)
		reading->arenas++;
	return error;
}

/* Or it may have been, if that cannot be told. */
static bool is_swapped(const struct target *target)
{
	struct event_memory memory;

	return procfs_memory(target_procfs(target), target_key(target), false, &memory) != 0 ||
	       memory.swap_bytes != 0;
}

/*
 * A page of the table at most. Arenas are made when they are needed: if nothing of the process is
 * swapped out, a later page of the table that is absent has never been touched.
 */
static int read_arenas(struct reading *reading, uint64_t address, size_t count)
{
	uint64_t pointers[POINTERS];
	int error = read_bytes(reading, address, pointers, count * sizeof(pointers[0]));

	if (error == -ENODATA && reading->arenas > 0 && !is_swapped(reading->target))
		return 0;
	for (size_t i = 0; !error && i < count; i++)
		if (pointers[i])
			error = read_arena(reading, pointers[i]);
	return error;
}

static size_t min_count(size_t left, size_t right)
{
	return left < right ? left : right;
}

static int read_table(struct reading *reading)
{
	const uint64_t page_bytes = target_page_bytes(reading->target);
	uint64_t address = reading->base + reading->layout->arenas_address;
	uint32_t count;
	int error = read_bytes(reading, reading->base + reading->layout->arena_count_address,
		&count, sizeof(count));

	if (error)
		return error;
	if (count == 0 || count > ARENAS_MAX)
		return -EINVAL;
	for (size_t left = count; !error && left > 0;) {
		const size_t to_page_end = (page_bytes - address % page_bytes) / sizeof(uint64_t);
		const size_t some = min_count(min_count(left, to_page_end), POINTERS);

		error = read_arenas(reading, address, some);
		address += some * sizeof(uint64_t);
		left -= some;
	}
	return error;
}

static int read_counters(struct reading *reading)
{
	uint64_t pages = 0;
	int error;

	reading->mapped_pages = count_mapped_pages(reading->target, reading->layout->page_bytes);
	reading->arenas = 0;
	memset(reading->pages, 0, sizeof(reading->pages));
	error = read_table(reading);
	if (error)
		return error;
	for (size_t i = 0; i <= JEMALLOC_MUZZY_PAGES; i++)
		pages += reading->pages[i];
	return reading->arenas > 0 && pages <= reading->mapped_pages ? 0 : -EINVAL;
}

/*
 * The process may have mapped more since its mappings were looked at, or be about to make an arena,
 * or have lost its processor between two counters.
 */
static int read_settled(struct reading *reading)
{
	for (unsigned attempt = 1;; attempt++) {
		int error = read_counters(reading);

		if ((error != -EINVAL && error != -EFAULT) || attempt == SETTLE_ATTEMPTS)
			return error;
		clock_pause(SETTLE_PAUSE_NS);
		error = target_refresh(reading->target);
		if (error)
			return error;
	}
}

/*
 * What they tell.
 */

static int compare_values(const void *left, const void *right)
{
	const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return a < b ? -1 : a > b;
}

/* Of as many arenas each, the first arena's. Sorts the values. */
static uint64_t most_common(uint64_t *values, size_t count)
{
	const uint64_t first = values[0];
	uint64_t common = first;
	size_t common_run = 0, run = 0;

	qsort(values, count, sizeof(values[0]), compare_values);
	for (size_t i = 0; i < count; i++) {
		run = i > 0 && values[i] == values[i - 1] ? run + 1 : 1;
		if (run > common_run || (run == common_run && values[i] == first)) {
			common = values[i];
			common_run = run;
		}
	}
	return common;
}

/* All of the bytes are 0, or none: anything between is a moment of change. */
static uint64_t read_background_thread(struct reading *reading)
{
	const struct jemalloc_layout *layout = reading->layout;
	size_t on = 0;

	for (size_t i = 0; i < layout->switch_count; i++) {
		uint8_t value;

		if (read_bytes(reading, reading->base + layout->switches[i], &value, sizeof(value)))
			return HEAP_UNKNOWN;
		on += value != 0;
	}
	if (layout->switch_count == 0 || (on > 0 && on < layout->switch_count))
		return HEAP_UNKNOWN;
	return on > 0;
}

static void fill_heap(struct reading *reading, struct heap *heap)
{
	const struct jemalloc_layout *layout = reading->layout;

	heap->allocator = ALLOCATOR_JEMALLOC;
	heap->active_bytes = reading->pages[JEMALLOC_ACTIVE_PAGES] * layout->page_bytes;
	heap->dirty_bytes = reading->pages[JEMALLOC_DIRTY_PAGES] * layout->page_bytes;
	heap->muzzy_bytes = layout->fields[JEMALLOC_MUZZY_PAGES] == JEMALLOC_ABSENT
				    ? HEAP_UNKNOWN
				    : reading->pages[JEMALLOC_MUZZY_PAGES] * layout->page_bytes;
	heap->background_thread = read_background_thread(reading);
	heap->dirty_decay_ms = most_common(reading->dirty_decay_ms, reading->arenas);
	heap->muzzy_decay_ms = most_common(reading->muzzy_decay_ms, reading->arenas);
	heap->read_bytes = reading->read_bytes;
}

static int read_library(struct target *target, const struct target_map *library,
	const struct jemalloc_layout *layout, struct heap *heap)
{
	struct reading *reading = calloc(1, sizeof(*reading));
	int error;

	if (!reading)
		return -ENOMEM;
	reading->target = target;
	reading->base = library->from;
	reading->layout = layout;
	error = read_settled(reading);
	if (!error)
		fill_heap(reading, heap);
	free(reading);
	return error;
}

static int explain(struct diag *diag, const char *name, int error)
{
	switch (error) {
	case -EINVAL:
	case -EFAULT:
		return diag_set(diag, -ENOTSUP,
			"jemalloc in %s cannot be read: what its counters say does not validate",
			name);
	case -ENODATA:
		return diag_set(diag, error,
			"jemalloc in %s cannot be read now: its counters are not in memory", name);
	case 0:
	case -ESRCH:
		return error;
	default:
		return diag_set(
			diag, error, "jemalloc in %s cannot be read: %s", name, strerror(-error));
	}
}

int jemalloc_read(struct jemalloc_cache *cache, struct target *target,
	const struct allocator *allocator, struct heap *ret_heap, struct diag *diag)
{
	const char *name = allocator->object;
	const struct jemalloc_layout *layout;
	const struct target_map *library;
	int error = 0;

	if (allocator->is_static)
		return diag_set(diag, -ENOTSUP,
			"jemalloc in %s cannot be read: it is linked statically", name);
	library = find_library(target, name);
	if (!library)
		return diag_set(
			diag, -ENOTSUP, "jemalloc in %s cannot be read: it is not mapped", name);
	layout = find_layout(cache, target, library, name, &error, diag);
	if (!layout)
		return error;
	return explain(diag, name, read_library(target, library, layout, ret_heap));
}
