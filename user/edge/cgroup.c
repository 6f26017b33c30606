/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads names out of control group paths. Paths are any bytes, made by whoever makes groups on the
 * host. Pure; called by the live source, which selects by them, and by the tracker.
 */
#include "pagestay/edge/cgroup.h"

#include <string.h>

#define ID_DIGITS 64

/* The part of the path that ends at `end`, which is the end or a slash. */
static const char *part_begin(const char *path, const char *end)
{
	while (end > path && end[-1] != '/')
		end--;
	return end;
}

static bool names_unit(const char *part, size_t length)
{
	static const char *const kinds[] = {".service", ".scope", ".socket", ".mount"};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		size_t kind = strlen(kinds[i]);

		if (length > kind && memcmp(part + length - kind, kinds[i], kind) == 0)
			return true;
	}
	return false;
}

void cgroup_unit(const char *path, char ret_unit[CGROUP_UNIT_BYTES])
{
	const char *end = path + strlen(path);

	ret_unit[0] = '\0';
	while (end > path) {
		const char *part = part_begin(path, end);
		size_t length = end - part;

		if (names_unit(part, length)) {
			if (length < CGROUP_UNIT_BYTES) {
				memcpy(ret_unit, part, length);
				ret_unit[length] = '\0';
			}
			return;
		}
		end = part > path ? part - 1 : path;
	}
}

static bool is_digit(char byte)
{
	return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'f');
}

/* Where in the part 64 digits stand with no digit beside them; NULL: nowhere. */
static const char *find_id(const char *part, size_t length)
{
	size_t digits = 0;

	for (size_t i = 0; i <= length; i++) {
		if (i < length && is_digit(part[i])) {
			digits++;
			continue;
		}
		if (digits == ID_DIGITS)
			return part + i - ID_DIGITS;
		digits = 0;
	}
	return NULL;
}

void cgroup_container(const char *path, char ret_container[CGROUP_CONTAINER_BYTES])
{
	const char *end = path + strlen(path);

	ret_container[0] = '\0';
	while (end > path) {
		const char *part = part_begin(path, end);
		const char *id = find_id(part, end - part);

		if (id) {
			memcpy(ret_container, id, CGROUP_CONTAINER_BYTES - 1);
			ret_container[CGROUP_CONTAINER_BYTES - 1] = '\0';
			return;
		}
		end = part > path ? part - 1 : path;
	}
}

bool cgroup_is_in(const char *path, const char *group)
{
	size_t length = strlen(group);

	while (length > 0 && group[length - 1] == '/')
		length--;
	return strncmp(path, group, length) == 0 && (path[length] == '/' || !path[length]);
}

bool cgroup_unit_is(const char *unit, const char *name)
{
	size_t length = strlen(name);

	return strncmp(unit, name, length) == 0 &&
	       (!unit[length] || (!strchr(name, '.') && strcmp(unit + length, ".service") == 0));
}
