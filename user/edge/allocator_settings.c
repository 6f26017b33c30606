/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Picks the allocators' variables out of a process's environment. The environment is read as memory
 * and not through /proc/PID/environ, which would fault absent pages in: behind the first absent
 * page nothing is known. The process may have written over it, so it is any bytes, and bounded.
 * Called by the detection of allocators.
 */
#include "allocator_settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pagestay/base/cleanup.h"

#define ENVIRONMENT_BYTES (256u << 10) /* longer: the rest is passed over */
#define STAT_BYTES        2048

/* The fields of stat as proc(5) counts them; the last without spaces before it is the third. */
enum { STAT_FIRST = 3, STAT_ENV_START = 50, STAT_ENV_END = 51 };

static const struct {
	const char *name;
	bool is_prefix;
} wanted[] = {
	{"LD_PRELOAD", false},
	{"GLIBC_TUNABLES", false},
	{"GOGC", false},
	{"GOMEMLIMIT", false},
	{"_RJEM_MALLOC_CONF", false},
	{"JE_MALLOC_CONF", false},
	{"MALLOC_", true},
	{"TCMALLOC_", true},
	{"MIMALLOC_", true},
};

static bool is_wanted(const char *variable)
{
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		const size_t length = strlen(wanted[i].name);

		if (strncmp(variable, wanted[i].name, length) == 0 &&
			(wanted[i].is_prefix ? strchr(variable, '=') != NULL
					     : variable[length] == '='))
			return true;
	}
	return false;
}

static void add_setting(char settings[ALLOCATOR_SETTINGS_BYTES], const char *variable)
{
	const size_t used = strlen(settings);

	(void)snprintf(settings + used, ALLOCATOR_SETTINGS_BYTES - used, "%s%s", used ? " " : "",
		variable);
}

/* Where the environment is: 0 and 0 if that may not be known. */
static int find_environment(struct target *target, uint64_t *ret_from, uint64_t *ret_to)
{
	_cleanup_(cleanup_close) int fd = -1;
	uint64_t values[STAT_ENV_END + 1] = {};
	char stat[STAT_BYTES];
	char *at;
	ssize_t got;
	int error = procfs_open_file(target_procfs(target), target_key(target), "stat", &fd);

	if (error)
		return error;
	got = read(fd, stat, sizeof(stat) - 1);
	if (got < 0)
		return -errno;
	stat[got] = '\0';
	at = strrchr(stat, ')');
	/* The third field is a letter. */
	at = at && strlen(at) > 3 ? at + 3 : NULL;
	for (unsigned i = STAT_FIRST + 1; at && *at && i <= STAT_ENV_END; i++)
		values[i] = strtoull(at, &at, 10);
	*ret_from = values[STAT_ENV_START];
	*ret_to = values[STAT_ENV_END];
	return 0;
}

/* What is in memory of [from, to), up to the first page that is not. */
static int read_environment(
	struct target *target, uint64_t from, uint64_t to, char *bytes, size_t *ret_length)
{
	const uint64_t page_bytes = target_page_bytes(target);
	size_t length = 0;

	while (from < to) {
		const uint64_t page_end = from - from % page_bytes + page_bytes;
		const size_t piece = (page_end < to ? page_end : to) - from;
		int error = target_read(target, from, bytes + length, piece);

		if (error == -ESRCH)
			return error;
		if (error)
			break;
		length += piece;
		from += piece;
	}
	*ret_length = length;
	return 0;
}

/* A variable without its end was cut, and is left out. */
static void pick_settings(const char *bytes, size_t length, char settings[ALLOCATOR_SETTINGS_BYTES])
{
	const char *end;

	settings[0] = '\0';
	for (; (end = memchr(bytes, '\0', length)); bytes = end + 1) {
		if (is_wanted(bytes))
			add_setting(settings, bytes);
		length -= end + 1 - bytes;
	}
}

int allocator_settings(struct target *target, char ret_settings[ALLOCATOR_SETTINGS_BYTES])
{
	uint64_t from = 0, to = 0;
	size_t length = 0;
	char *bytes;
	int error = find_environment(target, &from, &to);

	if (error)
		return error;
	if (to <= from) {
		ret_settings[0] = '\0';
		return 0;
	}
	if (to - from > ENVIRONMENT_BYTES)
		to = from + ENVIRONMENT_BYTES;
	bytes = calloc(1, to - from);
	if (!bytes)
		return -ENOMEM;
	error = read_environment(target, from, to, bytes, &length);
	if (!error)
		pick_settings(bytes, length, ret_settings);
	free(bytes);
	return error;
}
