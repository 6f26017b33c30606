/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns what is kept: lists our files and removes the oldest, by age and by bytes. What is not a
 * regular file of a name of ours is never touched, nor is anything of a day that is not over, so a
 * clock that stands still cannot delete what was just written; nor does age count until the clock
 * has gone on for an hour without a jump, so a clock that is wrong for a moment cannot delete
 * everything. Called by rotate.c.
 */
#include "rotate_state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pagestay/base/cleanup.h"

#define FILES_MAX 65536 /* beyond, the rest waits until some are gone */

static int by_name(const void *a, const void *b)
{
	const struct rotate_file *left = a, *right = b;

	return rotate_name_compare(&left->name, &right->name);
}

static int list_add(struct rotate_list *list, size_t *room, const struct rotate_file *file)
{
	if (list->count == *room) {
		size_t more = *room ? 2 * *room : 64;
		struct rotate_file *files = reallocarray(list->files, more, sizeof(*files));

		if (!files)
			return -ENOMEM;
		list->files = files;
		*room = more;
	}
	list->files[list->count++] = *file;
	return 0;
}

static int list_entries(DIR *entries, struct rotate_list *list)
{
	const struct dirent *entry;
	size_t room = 0;
	int error = 0;

	while (!error && list->count < FILES_MAX) {
		struct rotate_file file = {};
		struct stat stat;

		errno = 0;
		entry = readdir(entries);
		if (!entry)
			return -errno;
		if (!rotate_name_get(entry->d_name, &file.name) ||
			fstatat(dirfd(entries), entry->d_name, &stat, AT_SYMLINK_NOFOLLOW))
			continue;
		file.is_regular = S_ISREG(stat.st_mode);
		file.bytes = file.is_regular ? (uint64_t)stat.st_size : 0;
		error = list_add(list, &room, &file);
	}
	return error;
}

int rotate_list(int directory_fd, struct rotate_list *ret_list)
{
	struct rotate_list list = {};
	int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *entries = fd < 0 ? NULL : fdopendir(fd);
	int error;

	if (!entries) {
		error = -errno;
		if (fd >= 0)
			(void)close(fd);
		return error;
	}
	error = list_entries(entries, &list);
	(void)closedir(entries);
	if (error) {
		free(list.files);
		return error;
	}
	if (list.count)
		qsort(list.files, list.count, sizeof(list.files[0]), by_name);
	*ret_list = list;
	return 0;
}

/* True if the file is gone. */
static bool expire(struct rotate *rotate, const struct rotate_file *file)
{
	char name[ROTATE_NAME_BYTES];

	rotate_name_put(&file->name, name);
	if (unlinkat(rotate->directory_fd, name, 0))
		return false;
	rotate->counters.files_expired++;
	rotate->counters.bytes_kept -= file->bytes;
	return true;
}

static bool is_too_old(const struct rotate *rotate, const struct rotate_file *file, int64_t today)
{
	return rotate->options.keep_days && today - file->name.day > rotate->options.keep_days &&
	       rotate->wall_ns - rotate->steady_ns >= ROTATE_NS_PER_HOUR;
}

static bool is_too_much(const struct rotate *rotate, size_t more_bytes)
{
	return rotate->options.keep_bytes &&
	       rotate->counters.bytes_kept + more_bytes > rotate->options.keep_bytes;
}

static void count(struct rotate *rotate, const struct rotate_list *list)
{
	rotate->counters.bytes_kept = 0;
	for (size_t i = 0; i < list->count; i++)
		rotate->counters.bytes_kept += list->files[i].bytes;
}

static bool is_last(const struct rotate_list *list, size_t index)
{
	for (size_t i = index + 1; i < list->count; i++)
		if (list->files[i].is_regular &&
			list->files[i].name.kind == list->files[index].name.kind)
			return false;
	return true;
}

/* Who writes the other kind may not have turned to the new day yet. */
static bool is_in_use(
	const struct rotate *rotate, const struct rotate_list *list, size_t index, int64_t today)
{
	const struct rotate_name *name = &list->files[index].name;

	if (name->kind == rotate->options.kind)
		return rotate->fd >= 0 && rotate_name_compare(name, &rotate->name) == 0;
	return name->day >= today - 1 && is_last(list, index);
}

void rotate_keep(struct rotate *rotate, size_t more_bytes)
{
	struct rotate_list list = {};
	int64_t today;

	if (rotate->directory_fd < 0 || rotate_day(rotate->wall_ns, &today) ||
		rotate_list(rotate->directory_fd, &list))
		return;
	rotate->looked_ns = rotate->wall_ns;
	rotate->failed = ROTATE_NO_NAME;
	count(rotate, &list);
	for (size_t i = 0; i < list.count; i++) {
		const struct rotate_file *file = &list.files[i];

		if (!file->is_regular || rotate_is_current(file->name.day, today) ||
			is_in_use(rotate, &list, i, today))
			continue;
		if (is_too_old(rotate, file, today) || is_too_much(rotate, more_bytes))
			(void)expire(rotate, file);
	}
	rotate->is_full = is_too_much(rotate, more_bytes);
	free(list.files);
}
