/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Holds the descriptors of one process's directory, maps, pagemap and mem, which stay with that
 * process and with the memory that it had when they were opened, and what maps said at the last
 * look. Pages are looked up in pagemap right before mem is read, because a read of mem would fault
 * an absent page in; a page that goes in the microseconds between is the one that may come back.
 * Paths and counts are the process's own doing, so both are bounded. Called by whatever reads
 * another process's memory: detection of allocators and the walkers of heaps.
 */
#include "pagestay/edge/target.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "pagestay/base/cleanup.h"
#include "pagestay/edge/maps.h"

#define MAPS_MAX        262144      /* more: -E2BIG; the kernel's own limit is usually 65,530 */
#define PATHS_BYTES_MAX (64u << 20) /* more: -E2BIG */
#define BLOCK_BYTES     65536       /* of paths; more than the longest */
#define ENTRIES         512         /* of pagemap, a read */
#define ENTRY_PRESENT   (1ull << 63)

/* Paths do not move, because mappings point to them. */
struct path_block {
	struct path_block *next;
	size_t used;
	char bytes[BLOCK_BYTES];
};

struct map_list {
	struct target_map *maps;
	size_t count, room;
	struct path_block *paths;
	size_t paths_bytes;
};

struct target {
	const struct procfs *procfs;
	struct ps_proc_key key;
	uint64_t page_bytes;
	int directory_fd, maps_fd, pagemap_fd, mem_fd;
	struct map_list list;
	struct maps_reader reader;
	const atomic_bool *cancelled; /* NULL: never */
};

_Static_assert(BLOCK_BYTES > MAPS_BYTES, "a path fits into a block");

/*
 * Mappings.
 */

static void map_list_free(struct map_list *list)
{
	while (list->paths) {
		struct path_block *block = list->paths;

		list->paths = block->next;
		free(block);
	}
	free(list->maps);
	*list = (struct map_list){};
}

/* A copy that lives as long as the list; mappings of one file follow each other and share it. */
static int keep_path(struct map_list *list, const char *path, const char **ret_path)
{
	const size_t bytes = strlen(path) + 1;
	struct path_block *block = list->paths;

	if (list->count && strcmp(list->maps[list->count - 1].path, path) == 0) {
		*ret_path = list->maps[list->count - 1].path;
		return 0;
	}
	if (bytes == 1) {
		*ret_path = "";
		return 0;
	}
	if (list->paths_bytes + bytes > PATHS_BYTES_MAX)
		return -E2BIG;
	if (!block || BLOCK_BYTES - block->used < bytes) {
		block = malloc(sizeof(*block));
		if (!block)
			return -ENOMEM;
		block->next = list->paths;
		block->used = 0;
		list->paths = block;
	}
	*ret_path = memcpy(block->bytes + block->used, path, bytes);
	block->used += bytes;
	list->paths_bytes += bytes;
	return 0;
}

static int make_room(struct map_list *list)
{
	const size_t room = list->room ? 2 * list->room : 256;
	struct target_map *maps;

	if (list->count < list->room)
		return 0;
	if (list->count >= MAPS_MAX)
		return -E2BIG;
	maps = reallocarray(list->maps, room, sizeof(*maps));
	if (!maps)
		return -ENOMEM;
	list->maps = maps;
	list->room = room;
	return 0;
}

static int keep_map(struct map_list *list, const struct maps_line *line)
{
	const uint64_t before = list->count ? list->maps[list->count - 1].to : 0;
	struct target_map map = {.from = line->from,
		.to = line->to,
		.offset = line->offset,
		.device = line->device,
		.inode = line->inode,
		.readable = line->protection[0] == 'r',
		.writable = line->protection[1] == 'w',
		.executable = line->protection[2] == 'x',
		.shared = line->protection[3] == 's'};
	int error;

	/* What changed while maps was read may be told twice, in part. */
	if (map.to <= before)
		return 0;
	if (map.from < before) {
		map.offset += map.inode ? before - map.from : 0;
		map.from = before;
	}
	error = make_room(list);
	if (error)
		return error;
	error = keep_path(list, line->path, &map.path);
	if (error)
		return error;
	list->maps[list->count++] = map;
	return 0;
}

static int read_maps(struct target *target, struct map_list *list)
{
	struct maps_line line;
	int error;

	if (lseek(target->maps_fd, 0, SEEK_SET) < 0)
		return -errno;
	maps_begin(&target->reader, target->maps_fd);
	for (;;) {
		error = maps_next(&target->reader, target->page_bytes, &line);
		if (error)
			return error;
		if (line.to == 0)
			break;
		error = keep_map(list, &line);
		if (error)
			return error;
	}
	return list->count ? 0 : -ESRCH;
}

int target_refresh(struct target *target)
{
	_cleanup_(map_list_free) struct map_list list = {};
	int error = read_maps(target, &list);

	if (error)
		return error;
	map_list_free(&target->list);
	target->list = list;
	list = (struct map_list){};
	return 0;
}

const struct target_map *target_maps(const struct target *target, size_t *ret_count)
{
	*ret_count = target->list.count;
	return target->list.maps;
}

/* The first mapping that ends above the address, which may begin above it too; NULL if none. */
static const struct target_map *map_above(const struct target *target, uint64_t address)
{
	const struct map_list *list = &target->list;
	size_t from = 0, to = list->count;

	while (from < to) {
		const size_t middle = from + (to - from) / 2;

		if (list->maps[middle].to > address)
			to = middle;
		else
			from = middle + 1;
	}
	return from < list->count ? &list->maps[from] : NULL;
}

const struct target_map *target_map_at(const struct target *target, uint64_t address)
{
	const struct target_map *map = map_above(target, address);

	return map && map->from <= address ? map : NULL;
}

/* Whether all of [from, to) was mapped for reading at the last look. */
static bool is_readable(const struct target *target, uint64_t from, uint64_t to)
{
	const struct target_map *last = target->list.maps + target->list.count;

	for (const struct target_map *map = map_above(target, from); map && map < last; map++) {
		if (map->from > from || !map->readable)
			return false;
		if (map->to >= to)
			return true;
		from = map->to;
	}
	return false;
}

/*
 * Pages and bytes.
 */

/* Reads a piece of a file to its end or to `bytes`. Returns how much there was, or -errno. */
static ssize_t read_at(int fd, uint64_t offset, void *ret_bytes, size_t bytes)
{
	size_t done = 0;

	while (done < bytes) {
		ssize_t got = pread(fd, (char *)ret_bytes + done, bytes - done, offset + done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		done += got;
	}
	return done;
}

/* What pagemap says of up to ENTRIES pages. Beyond the address space it says nothing. */
static int read_entries(struct target *target, uint64_t page, size_t pages, uint64_t *ret_entries)
{
	const size_t bytes = pages * sizeof(*ret_entries);
	ssize_t got = read_at(target->pagemap_fd, page * sizeof(*ret_entries), ret_entries, bytes);

	if (got < 0)
		return got;
	if ((size_t)got == bytes)
		return 0;
	if (maps_are_gone(target->maps_fd))
		return -ESRCH;
	memset((char *)ret_entries + got, 0, bytes - got);
	return 0;
}

static bool is_address_range(uint64_t from, uint64_t length)
{
	return from <= INT64_MAX && length <= INT64_MAX - from;
}

void target_cancel_by(struct target *target, const atomic_bool *cancelled)
{
	target->cancelled = cancelled;
}

static bool is_cancelled(const struct target *target)
{
	return target->cancelled && atomic_load(target->cancelled);
}

int target_present(struct target *target, uint64_t address, size_t pages, uint8_t *ret_present)
{
	uint64_t entries[ENTRIES];

	if (is_cancelled(target))
		return -ECANCELED;
	if (address % target->page_bytes || pages > INT64_MAX / target->page_bytes ||
		!is_address_range(address, pages * target->page_bytes))
		return -EINVAL;
	for (size_t done = 0; done < pages;) {
		const size_t count = pages - done < ENTRIES ? pages - done : ENTRIES;
		int error =
			read_entries(target, address / target->page_bytes + done, count, entries);

		if (error)
			return error;
		for (size_t i = 0; i < count; i++)
			ret_present[done + i] = (entries[i] & ENTRY_PRESENT) != 0;
		done += count;
	}
	return 0;
}

/* 0, or -ENODATA if one of the pages that hold the bytes is absent. */
static int check_present(struct target *target, uint64_t address, size_t length)
{
	const uint64_t first = address / target->page_bytes;
	const uint64_t pages = (address + length - 1) / target->page_bytes - first + 1;
	uint64_t entries[ENTRIES];

	for (uint64_t done = 0; done < pages;) {
		const size_t count = pages - done < ENTRIES ? pages - done : ENTRIES;
		int error = read_entries(target, first + done, count, entries);

		if (error)
			return error;
		for (size_t i = 0; i < count; i++)
			if (!(entries[i] & ENTRY_PRESENT))
				return -ENODATA;
		done += count;
	}
	return 0;
}

int target_read(struct target *target, uint64_t address, void *ret_bytes, size_t length)
{
	ssize_t got;
	int error;

	if (is_cancelled(target))
		return -ECANCELED;
	if (length == 0)
		return 0;
	if (!is_address_range(address, length) || !is_readable(target, address, address + length))
		return maps_are_gone(target->maps_fd) ? -ESRCH : -EFAULT;
	error = check_present(target, address, length);
	if (error)
		return error;
	got = read_at(target->mem_fd, address, ret_bytes, length);
	if (got >= 0 && (size_t)got == length)
		return 0;
	if (maps_are_gone(target->maps_fd))
		return -ESRCH;
	return got >= 0 || got == -EIO ? -EFAULT : (int)got;
}

/*
 * Files.
 */

/* Refuses what is no regular file, for opening a device may do things. */
static int check_file(int fd, uint64_t inode)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return -errno;
	return S_ISREG(status.st_mode) && status.st_ino == inode ? 0 : -ESTALE;
}

/*
 * The kernel's own link to the mapped file: that file whatever its name, also where stat and maps
 * tell different devices of one file (btrfs, overlayfs).
 */
static int find_by_map(const struct target *target, const struct target_map *map, int *ret_fd)
{
	char path[64];
	int fd, error;

	(void)snprintf(path, sizeof(path), "map_files/%" PRIx64 "-%" PRIx64, map->from, map->to);
	fd = openat(target->directory_fd, path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	error = check_file(fd, map->inode);
	if (error)
		(void)close(fd);
	else
		*ret_fd = fd;
	return error;
}

/* By its path under the process's root, which no symbolic link leads out of. */
static int find_by_path(const struct target *target, const struct target_map *map, int *ret_fd)
{
	const struct open_how how = {
		.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	_cleanup_(cleanup_close) int root_fd = -1;
	struct stat status;
	int fd, error;

	root_fd = openat(target->directory_fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		return -errno;
	fd = syscall(SYS_openat2, root_fd, map->path, &how, sizeof(how));
	if (fd < 0)
		return errno == ENOTDIR ? -ENOENT : -errno;
	error = check_file(fd, map->inode);
	if (!error && (fstat(fd, &status) < 0 || status.st_dev != map->device))
		error = -ESTALE;
	if (error)
		(void)close(fd);
	else
		*ret_fd = fd;
	return error;
}

int target_open_file(struct target *target, const struct target_map *map, int *ret_fd)
{
	_cleanup_(cleanup_close) int path_fd = -1;
	char path[32];
	int fd, error;

	if (map->inode == 0)
		return -ENOENT;
	error = find_by_map(target, map, &path_fd);
	if (error)
		error = find_by_path(target, map, &path_fd);
	if (error)
		return maps_are_gone(target->maps_fd) ? -ESRCH : error;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", path_fd);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/*
 * Opening.
 */

/*
 * The auxiliary vector is pairs of words, of four bytes each in a 32-bit process: then no pair of
 * eight is the page size. It is unread where it may not be read, which maps will say better.
 */
static int check_is_64_bit(const struct procfs *procfs, const struct ps_proc_key *key)
{
	_cleanup_(cleanup_close) int fd = -1;
	Elf64_auxv_t vector[64];
	ssize_t got;
	int error = procfs_open_file(procfs, key, "auxv", &fd);

	if (error)
		return error;
	got = read_at(fd, 0, vector, sizeof(vector));
	if (got < 0)
		return got;
	for (size_t i = 0; i < got / sizeof(vector[0]); i++)
		if (vector[i].a_type == AT_PAGESZ)
			return 0;
	return got > 0 ? -ENOTSUP : -ENODATA;
}

static int open_files(struct target *target)
{
	const struct {
		const char *name;
		int *fd;
	} files[] = {{"maps", &target->maps_fd}, {"pagemap", &target->pagemap_fd},
		{"mem", &target->mem_fd}, {".", &target->directory_fd}};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		int error =
			procfs_open_file(target->procfs, &target->key, files[i].name, files[i].fd);

		if (error)
			return error;
	}
	return 0;
}

/* Kernels differ in whether files about the memory of a process without one can be opened. */
static int name_error(const struct procfs *procfs, const struct ps_proc_key *key, int error)
{
	_cleanup_(cleanup_close) int fd = -1;

	return error == -ESRCH && procfs_open_file(procfs, key, "stat", &fd) == 0 ? -ENODATA
										  : error;
}

static int explain(struct diag *diag, const struct ps_proc_key *key, int error)
{
	const uint32_t pid = key->tgid;

	switch (error) {
	case -ESRCH:
		return diag_set(diag, error, "there is no process %" PRIu32, pid);
	case -ENODATA:
		return diag_set(diag, error,
			"process %" PRIu32 " has no memory: a kernel thread, or it has exited",
			pid);
	case -ENOTSUP:
		return diag_set(diag, error,
			"process %" PRIu32 " is a 32-bit one, whose memory is not read", pid);
	case -EPERM:
	case -EACCES:
		return diag_set(diag, error,
			"the memory of process %" PRIu32
			" may not be read: it takes CAP_SYS_PTRACE and "
			"CAP_DAC_READ_SEARCH, or root",
			pid);
	case -E2BIG:
		return diag_set(diag, error,
			"process %" PRIu32 " has more than %d mappings, or too long paths", pid,
			MAPS_MAX);
	default:
		return diag_set(diag, error, "the memory of process %" PRIu32 " cannot be read: %s",
			pid, strerror(-error));
	}
}

static int target_init(struct target *target)
{
	int error = check_is_64_bit(target->procfs, &target->key);

	if (error)
		return error;
	error = open_files(target);
	return error ? error : target_refresh(target);
}

int target_open(const struct procfs *procfs, const struct ps_proc_key *key,
	struct target **ret_target, struct diag *diag)
{
	struct target *target = calloc(1, sizeof(*target));
	int error;

	if (!target)
		return diag_set(diag, -ENOMEM, "out of memory");
	target->procfs = procfs;
	target->key = *key;
	target->page_bytes = sysconf(_SC_PAGESIZE);
	target->directory_fd = target->maps_fd = target->pagemap_fd = target->mem_fd = -1;
	error = target_init(target);
	if (error) {
		target_close(target);
		return explain(diag, key, name_error(procfs, key, error));
	}
	*ret_target = target;
	return 0;
}

void target_close(struct target *target)
{
	if (!target)
		return;
	map_list_free(&target->list);
	cleanup_close(&target->directory_fd);
	cleanup_close(&target->maps_fd);
	cleanup_close(&target->pagemap_fd);
	cleanup_close(&target->mem_fd);
	free(target);
}

uint64_t target_page_bytes(const struct target *target)
{
	return target->page_bytes;
}

const struct ps_proc_key *target_key(const struct target *target)
{
	return &target->key;
}

const struct procfs *target_procfs(const struct target *target)
{
	return target->procfs;
}
