/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns how our files are called. A name is ours only if it is exactly what we would write: what is
 * read is written again and compared, so that nothing else is ever removed. Called by rotate*.c.
 */
#include "rotate_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define DAYS_OF_ERA 146097 /* 400 years */
#define YEAR_MAX    9999
#define DAYS_AHEAD  2 /* more, and a clock that was far wrong once would name files for ever */

static const char *const kinds[ROTATE_KINDS] = {"jsonl", "psr"};
static const char *const forms[ROTATE_FORMS] = {"", ".gz", ".gz.tmp"};

/* Days since 1970-01-01 of the proleptic Gregorian calendar; March is a year's first month. */
static int64_t day_of(int64_t year, unsigned month, unsigned day)
{
	int64_t shifted = month <= 2 ? year - 1 : year;
	int64_t of_era = shifted % 400;
	int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return shifted / 400 * DAYS_OF_ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year -
	       719468;
}

static void date_of(int64_t days, int *ret_year, unsigned *ret_month, unsigned *ret_day)
{
	int64_t shifted = days + 719468;
	int64_t era = shifted / DAYS_OF_ERA, of_era = shifted % DAYS_OF_ERA;
	int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
	int64_t month = (5 * of_year + 2) / 153;

	*ret_day = (unsigned)(of_year - (153 * month + 2) / 5 + 1);
	*ret_month = (unsigned)(month < 10 ? month + 3 : month - 9);
	*ret_year = (int)(year + era * 400 + (*ret_month <= 2));
}

int rotate_day(uint64_t wall_ns, int64_t *ret_day)
{
	time_t seconds = (time_t)(wall_ns / NS_PER_S);
	struct tm local;

	tzset(); /* the host's zone may have changed */
	if (!localtime_r(&seconds, &local) || local.tm_year < 0 || local.tm_year + 1900 > YEAR_MAX)
		return -EOVERFLOW;
	*ret_day =
		day_of(local.tm_year + 1900, (unsigned)local.tm_mon + 1, (unsigned)local.tm_mday);
	return 0;
}

bool rotate_is_far_ahead(int64_t day, int64_t today)
{
	return day > today + DAYS_AHEAD;
}

bool rotate_is_current(int64_t day, int64_t today)
{
	return day >= today && !rotate_is_far_ahead(day, today);
}

void rotate_name_put(const struct rotate_name *name, char ret_text[ROTATE_NAME_BYTES])
{
	char number[16] = "";
	unsigned month, day;
	int year;

	date_of(name->day, &year, &month, &day);
	if (name->number)
		(void)snprintf(number, sizeof(number), ".%u", name->number);
	(void)snprintf(ret_text, ROTATE_NAME_BYTES, "pagestay-%04d-%02u-%02u.%s%s%s", year, month,
		day, kinds[name->kind], number, forms[name->form]);
}

/* What stands there is checked by writing it again. */
static unsigned take_number(const char **text, unsigned most_digits)
{
	unsigned value = 0;

	for (; most_digits && **text >= '0' && **text <= '9'; most_digits--, (*text)++)
		value = 10 * value + (unsigned)(**text - '0');
	return value;
}

static bool take_word(const char **text, const char *word)
{
	size_t length = strlen(word);

	if (strncmp(*text, word, length) != 0)
		return false;
	*text += length;
	return true;
}

static bool get_date(const char **text, int64_t *ret_day)
{
	unsigned year, month, day;

	if (!take_word(text, "pagestay-"))
		return false;
	year = take_number(text, 4);
	if (!take_word(text, "-"))
		return false;
	month = take_number(text, 2);
	if (!take_word(text, "-"))
		return false;
	day = take_number(text, 2);
	*ret_day = day_of(year, month, day);
	return month >= 1 && month <= 12 && day >= 1 && day <= 31 && take_word(text, ".");
}

/* The ways in which the text behind the date can go on. */
static bool get_rest(const char *rest, struct rotate_name *name)
{
	for (name->kind = 0; name->kind < ROTATE_KINDS; name->kind++)
		if (take_word(&rest, kinds[name->kind]))
			break;
	if (name->kind == ROTATE_KINDS)
		return false;
	if (rest[0] == '.' && rest[1] >= '1' && rest[1] <= '9') {
		rest++;
		name->number = take_number(&rest, 6);
	}
	for (name->form = 0; name->form < ROTATE_FORMS; name->form++)
		if (strcmp(rest, forms[name->form]) == 0)
			return name->form == ROTATE_PLAIN || name->kind == ROTATE_LINES;
	return false;
}

bool rotate_name_get(const char *text, struct rotate_name *ret_name)
{
	struct rotate_name name = {};
	char again[ROTATE_NAME_BYTES];
	const char *rest = text;

	if (!get_date(&rest, &name.day) || !get_rest(rest, &name))
		return false;
	rotate_name_put(&name, again);
	if (strcmp(text, again) != 0)
		return false;
	*ret_name = name;
	return true;
}

int rotate_name_compare(const struct rotate_name *a, const struct rotate_name *b)
{
	if (a->day != b->day)
		return a->day < b->day ? -1 : 1;
	if (a->number != b->number)
		return a->number < b->number ? -1 : 1;
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	return a->form < b->form ? -1 : a->form > b->form;
}

int rotate_name_at(enum rotate_kind kind, uint64_t wall_ns, char ret_name[ROTATE_NAME_BYTES])
{
	struct rotate_name name = {.kind = kind};
	int error = rotate_day(wall_ns, &name.day);

	if (!error)
		rotate_name_put(&name, ret_name);
	return error;
}
