/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads /proc files into typed values. Holds one directory descriptor and nothing else; a file is
 * read whole into a bounded buffer, because each read of a proc file is a snapshot of its own.
 * Called by the live source.
 */
#include "pagestay/edge/procfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "pagestay/base/clock.h"
#include "pagestay/base/cleanup.h"

#define FILE_BYTES     8192
#define TASKS_MAX      4096
#define HUGE_MODE_PATH "/sys/kernel/mm/transparent_hugepage/enabled"

/* The fields after the comm of stat, counted as proc(5) counts them. */
enum {
	STAT_FIRST = 3,
	STAT_MINFLT = 10,
	STAT_MAJFLT = 12,
	STAT_UTIME = 14,
	STAT_STIME = 15,
	STAT_THREADS = 20,
	STAT_STARTTIME = 22,
};

int procfs_open(const char *root, struct procfs *ret_procfs)
{
	int fd = open(root, O_DIRECTORY | O_PATH | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	*ret_procfs = (struct procfs){.fd = fd, .clock_ticks = sysconf(_SC_CLK_TCK)};
	return 0;
}

void procfs_close(struct procfs *procfs)
{
	if (procfs->fd >= 0)
		close(procfs->fd);
	procfs->fd = -1;
}

/* The whole file, terminated. Returns its length or -errno; what is longer than the buffer is cut.
 */
static ssize_t read_path(const struct procfs *procfs, const char *path, char *buffer, size_t bytes)
{
	_cleanup_(cleanup_close) int fd = -1;
	size_t length = 0;

	fd = openat(procfs->fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	while (length < bytes - 1) {
		ssize_t got = read(fd, buffer + length, bytes - 1 - length);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		length += got;
	}
	buffer[length] = '\0';
	return length;
}

static ssize_t read_file(
	const struct procfs *procfs, uint32_t pid, const char *name, char *buffer, size_t bytes)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "%" PRIu32 "/%s", pid, name);
	return read_path(procfs, path, buffer, bytes);
}

/* The whole decimal number at `text`: one that the end of the buffer may have cut is none. */
static int parse_number(const char *text, uint64_t *ret_value)
{
	uint64_t value;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || (*end != ' ' && *end != '\n'))
		return -EINVAL;
	*ret_value = value;
	return 0;
}

/* Field `index` of a stat line; the comm before it may hold spaces and parentheses. */
static int stat_field(const char *stat, int index, uint64_t *ret_value)
{
	const char *field = strrchr(stat, ')');

	if (!field || field[1] != ' ')
		return -EINVAL;
	field += 2;
	for (int i = STAT_FIRST; i < index; i++) {
		field = strchr(field, ' ');
		if (!field)
			return -EINVAL;
		field++;
	}
	return parse_number(field, ret_value);
}

/* Reads stat, and refuses it when the pid belongs to another process by now. */
static int read_stat(
	const struct procfs *procfs, const struct ps_proc_key *key, char *stat, size_t bytes)
{
	ssize_t length = read_file(procfs, key->tgid, "stat", stat, bytes);
	uint64_t start_ticks;
	int error;

	if (length < 0)
		return length;
	error = stat_field(stat, STAT_STARTTIME, &start_ticks);
	if (error)
		return error;
	return start_ticks == key->start_ns / (NS_PER_S / procfs->clock_ticks) ? 0 : -ESRCH;
}

int procfs_find(const struct procfs *procfs, uint32_t pid, struct ps_proc_key *ret_key)
{
	char stat[FILE_BYTES];
	ssize_t length = read_file(procfs, pid, "stat", stat, sizeof(stat));
	uint64_t start_ticks;
	int error = length < 0 ? (int)length : stat_field(stat, STAT_STARTTIME, &start_ticks);

	if (error)
		return error == -ENOENT ? -ESRCH : error;
	*ret_key = (struct ps_proc_key){
		.tgid = pid, .start_ns = start_ticks * (NS_PER_S / procfs->clock_ticks)};
	return 0;
}

/* `Name:   123 kB` in status or smaps_rollup, as bytes; EVENT_UNKNOWN if there is no such line. */
static uint64_t kilobytes(const char *text, const char *name)
{
	size_t length = strlen(name);
	uint64_t value;

	for (const char *line = text; line; line = strchr(line, '\n')) {
		if (*line == '\n')
			line++;
		if (strncmp(line, name, length) != 0 || line[length] != ':')
			continue;
		line += length + 1;
		if (parse_number(line + strspn(line, " \t"), &value) || value > UINT64_MAX / 1024)
			return EVENT_UNKNOWN;
		return value * 1024;
	}
	return EVENT_UNKNOWN;
}

/*
 * The unified hierarchy's line, or systemd's own of the legacy ones. A path that does not fit is
 * left out: a part of it would be another group's.
 */
static void read_cgroup(const struct procfs *procfs, uint32_t pid, char out[EVENT_CGROUP_BYTES])
{
	static const char *const hierarchies[] = {"0::/", ":name=systemd:/"};
	char text[FILE_BYTES];

	out[0] = '\0';
	if (read_file(procfs, pid, "cgroup", text, sizeof(text)) < 0)
		return;
	for (size_t i = 0; i < sizeof(hierarchies) / sizeof(hierarchies[0]); i++) {
		const char *path = strstr(text, hierarchies[i]);
		size_t length;

		if (!path)
			continue;
		path += strlen(hierarchies[i]) - 1;
		length = strcspn(path, "\n");
		if (length < EVENT_CGROUP_BYTES) {
			memcpy(out, path, length);
			out[length] = '\0';
		}
		return;
	}
}

int procfs_process(const struct procfs *procfs, const struct ps_proc_key *key,
	struct event_process *ret_process)
{
	struct event_process process = {};
	char buffer[FILE_BYTES], path[64];
	ssize_t length;
	int error = read_stat(procfs, key, buffer, sizeof(buffer));

	if (error)
		return error;
	length = read_file(procfs, key->tgid, "comm", buffer, sizeof(buffer));
	if (length < 0)
		return length;
	if (length > 0 && buffer[length - 1] == '\n')
		length--;
	if ((size_t)length >= sizeof(process.comm))
		length = sizeof(process.comm) - 1;
	memcpy(process.comm, buffer, length);
	(void)snprintf(path, sizeof(path), "%" PRIu32 "/exe", key->tgid);
	length = readlinkat(procfs->fd, path, process.exe, sizeof(process.exe) - 1);
	process.exe[length > 0 ? length : 0] = '\0';
	read_cgroup(procfs, key->tgid, process.cgroup);
	*ret_process = process;
	return 0;
}

/*
 * The kernel keeps the counts in parts by CPU, of up to max(32, 2 * CPUs) pages (percpu_counter.c),
 * and status adds up only what is beyond; twice, because a change has two ends.
 */
static uint64_t rss_error_bytes(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	long batch = 2 * cpus > 32 ? 2 * cpus : 32;

	return cpus > 0 ? 2 * cpus * batch * (uint64_t)sysconf(_SC_PAGESIZE) : EVENT_UNKNOWN;
}

int procfs_memory(const struct procfs *procfs, const struct ps_proc_key *key, bool lazyfree,
	struct event_memory *ret_memory)
{
	struct event_memory memory = {
		.lazyfree_bytes = EVENT_UNKNOWN, .faults = EVENT_UNKNOWN, .cpu_ns = EVENT_UNKNOWN};
	uint64_t minor, major, user, system;
	char buffer[FILE_BYTES];
	ssize_t length;
	int error = read_stat(procfs, key, buffer, sizeof(buffer));

	if (error)
		return error;
	if (!stat_field(buffer, STAT_MINFLT, &minor) && !stat_field(buffer, STAT_MAJFLT, &major))
		memory.faults = minor + major;
	if (!stat_field(buffer, STAT_UTIME, &user) && !stat_field(buffer, STAT_STIME, &system))
		memory.cpu_ns = (user + system) * (NS_PER_S / procfs->clock_ticks);
	length = read_file(procfs, key->tgid, "status", buffer, sizeof(buffer));
	if (length < 0)
		return length;
	memory.rss_bytes = kilobytes(buffer, "VmRSS");
	memory.anon_bytes = kilobytes(buffer, "RssAnon");
	memory.swap_bytes = kilobytes(buffer, "VmSwap");
	memory.file_bytes = kilobytes(buffer, "RssFile");
	if (memory.file_bytes != EVENT_UNKNOWN)
		memory.file_bytes += kilobytes(buffer, "RssShmem");
	memory.rss_error_bytes = rss_error_bytes();
	if (lazyfree) {
		length = read_file(procfs, key->tgid, "smaps_rollup", buffer, sizeof(buffer));
		if (length > 0)
			memory.lazyfree_bytes = kilobytes(buffer, "LazyFree");
	}
	*ret_memory = memory;
	return 0;
}

/* `[word]` is the one that holds. */
static enum heap_huge_mode huge_mode(void)
{
	static const struct {
		const char *word;
		enum heap_huge_mode mode;
	} modes[] = {{"[always]", HEAP_HUGE_ALWAYS}, {"[madvise]", HEAP_HUGE_MADVISE},
		{"[never]", HEAP_HUGE_NEVER}};
	_cleanup_(cleanup_close) int fd = open(HUGE_MODE_PATH, O_RDONLY | O_CLOEXEC);
	char text[64];
	ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	text[length > 0 ? length : 0] = '\0';
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strstr(text, modes[i].word))
			return modes[i].mode;
	return HEAP_HUGE_UNKNOWN;
}

static bool thread_purges(const struct procfs *procfs, uint32_t tgid, uint32_t tid)
{
	char file[32], comm[64];

	(void)snprintf(file, sizeof(file), "task/%" PRIu32 "/comm", tid);
	return read_file(procfs, tgid, file, comm, sizeof(comm)) > 0 &&
	       strcmp(comm, "jemalloc_bg_thd\n") == 0;
}

static int count_purging_threads(const struct procfs *procfs, uint32_t tgid, uint64_t *ret_count)
{
	struct dirent *entry;
	uint64_t count = 0;
	char path[64];
	DIR *tasks;
	int fd;

	(void)snprintf(path, sizeof(path), "%" PRIu32 "/task", tgid);
	fd = openat(procfs->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	tasks = fd < 0 ? NULL : fdopendir(fd);
	if (!tasks) {
		if (fd >= 0)
			(void)close(fd);
		return -errno;
	}
	for (int i = 0; i < TASKS_MAX && (entry = readdir(tasks)); i++)
		if (entry->d_name[0] != '.')
			count += thread_purges(procfs, tgid, strtoul(entry->d_name, NULL, 10));
	(void)closedir(tasks);
	*ret_count = count;
	return 0;
}

int procfs_heap(const struct procfs *procfs, const struct ps_proc_key *key, struct heap *heap)
{
	char buffer[FILE_BYTES];
	uint64_t threads;
	int error;

	if (read_file(procfs, key->tgid, "smaps_rollup", buffer, sizeof(buffer)) > 0) {
		heap->anon_bytes = kilobytes(buffer, "Anonymous");
		heap->huge_bytes = kilobytes(buffer, "AnonHugePages");
		heap->lazyfree_bytes = kilobytes(buffer, "LazyFree");
	}
	(void)count_purging_threads(procfs, key->tgid, &heap->purging_threads);
	heap->huge_mode = huge_mode();
	error = read_stat(procfs, key, buffer, sizeof(buffer));
	if (error)
		return error;
	if (!stat_field(buffer, STAT_THREADS, &threads))
		heap->threads = threads;
	return 0;
}

/* The start time is read last: it vouches for what is open by then. */
int procfs_open_file(
	const struct procfs *procfs, const struct ps_proc_key *key, const char *name, int *ret_fd)
{
	char path[64], stat[FILE_BYTES];
	int fd, error;

	(void)snprintf(path, sizeof(path), "%" PRIu32 "/%s", key->tgid, name);
	fd = openat(procfs->fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	error = read_stat(procfs, key, stat, sizeof(stat));
	if (error) {
		(void)close(fd);
		return error;
	}
	*ret_fd = fd;
	return 0;
}

uint64_t procfs_self_rss_bytes(const struct procfs *procfs)
{
	char buffer[256];
	const char *second;
	uint64_t pages;

	if (read_path(procfs, "self/statm", buffer, sizeof(buffer)) < 0)
		return EVENT_UNKNOWN;
	second = strchr(buffer, ' ');
	if (!second || parse_number(second + 1, &pages))
		return EVENT_UNKNOWN;
	return pages * sysconf(_SC_PAGESIZE);
}

bool procfs_accounts_bpf(const struct procfs *procfs)
{
	char buffer[32] = "";
	uint64_t enabled;

	return read_path(procfs, "sys/kernel/bpf_stats_enabled", buffer, sizeof(buffer)) > 0 &&
	       !parse_number(buffer, &enabled) && enabled;
}
