/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns no state: what a service and an incident are called. Names come from processes, which call
 * themselves whatever they like: an incident's id has no byte of theirs but printable ones, and
 * none that separates its parts. Called by episode.c and by whoever shows services.
 */
#include "episode_name.h"

#include <string.h>

#include "pagestay/base/line.h"

#define S 1000000000ull

static void copy(char *to, size_t to_bytes, const char *from)
{
	size_t length = from ? strnlen(from, to_bytes - 1) : 0;

	if (length)
		memcpy(to, from, length);
	memset(to + length, 0, to_bytes - length);
}

void service_name_of(const struct report_process *process, struct service_name *ret_name)
{
	copy(ret_name->unit, sizeof(ret_name->unit), process->unit);
	copy(ret_name->container, sizeof(ret_name->container), process->container);
	copy(ret_name->comm, sizeof(ret_name->comm), process->comm);
	copy(ret_name->exe, sizeof(ret_name->exe), process->exe);
}

static size_t put(char *key, size_t at, const char *part)
{
	size_t bytes = strlen(part) + 1;

	memcpy(key + at, part, bytes);
	return at + bytes;
}

size_t episode_key(const struct service_name *name, char ret_key[EPISODE_KEY_BYTES])
{
	bool is_alone = !name->unit[0] && !name->container[0];
	size_t at = put(ret_key, 0, name->unit);

	at = put(ret_key, at, name->container);
	at = put(ret_key, at, name->comm);
	return put(ret_key, at, is_alone ? name->exe : "");
}

static size_t unit_stem(const char *unit)
{
	static const char service[] = ".service";
	size_t length = strlen(unit), kind = sizeof(service) - 1;

	return length > kind && strcmp(unit + length - kind, service) == 0 ? length - kind : length;
}

static bool is_stem(const char *unit, const char *word)
{
	size_t length = unit_stem(unit);

	return length == strlen(word) && memcmp(unit, word, length) == 0;
}

/* The kernel keeps 15 bytes of a program's name. */
static bool is_comm_of(const char *comm, const char *word, size_t length)
{
	size_t kept = length < PS_COMM_BYTES - 1 ? length : PS_COMM_BYTES - 1;

	return kept && strlen(comm) == kept && memcmp(comm, word, kept) == 0;
}

bool episode_is_named(const struct service_name *name, const char *word)
{
	const char *slash = strrchr(name->exe, '/');

	return is_stem(name->unit, word) || is_comm_of(name->comm, word, strlen(word)) ||
	       (slash && strcmp(slash + 1, word) == 0);
}

/* Colons separate the parts of an id; the rest would look like nothing in a list. */
static void add_clean(char *subject, const char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)bytes[i];
		bool is_plain = byte > ' ' && byte < 0x7f && byte != ':' && byte != '~';

		line_add(subject, EPISODE_SUBJECT_BYTES, "%c", is_plain ? byte : '_');
	}
}

void episode_subject(const struct service_name *name, char ret_subject[EPISODE_SUBJECT_BYTES])
{
	const char *group = name->container[0] ? name->container : name->unit;
	size_t length = name->container[0] ? strlen(group) : unit_stem(group);

	ret_subject[0] = '\0';
	add_clean(ret_subject, group, length);
	if (length && is_comm_of(name->comm, group, length))
		return;
	if (length && name->comm[0])
		line_add(ret_subject, EPISODE_SUBJECT_BYTES, "/");
	add_clean(ret_subject, name->comm, strlen(name->comm));
	if (!ret_subject[0])
		line_add(ret_subject, EPISODE_SUBJECT_BYTES, "unnamed");
}

/* The Gregorian calendar of a day since 1970-01-01; years of 365.2425 days that begin in March. */
static void date_of(uint64_t days, unsigned *ret_year, unsigned *ret_month, unsigned *ret_day)
{
	uint64_t since = days + 719468; /* 0000-03-01 */
	uint64_t era = since / 146097, of_era = since % 146097;
	uint64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	unsigned of_year = (unsigned)(of_era - (365 * year + year / 4 - year / 100));
	unsigned month = (5 * of_year + 2) / 153;

	*ret_day = of_year - (153 * month + 2) / 5 + 1;
	*ret_month = month < 10 ? month + 3 : month - 9;
	*ret_year = (unsigned)(year + era * 400) + (*ret_month <= 2);
}

void episode_incident_id(
	const char *subject, unsigned attempt, uint64_t wall_ns, char ret_id[EPISODE_ID_BYTES])
{
	uint64_t minutes = wall_ns / (60 * S);
	unsigned year, month, day;

	date_of(minutes / 1440, &year, &month, &day);
	ret_id[0] = '\0';
	line_add(ret_id, EPISODE_ID_BYTES, EPISODE_DETECTOR ":%s", subject);
	if (attempt > 1)
		line_add(ret_id, EPISODE_ID_BYTES, "~%u", attempt);
	line_add(ret_id, EPISODE_ID_BYTES, ":%04u-%02u-%02uT%02u:%02uZ", year, month, day,
		(unsigned)(minutes / 60 % 24), (unsigned)(minutes % 60));
}
