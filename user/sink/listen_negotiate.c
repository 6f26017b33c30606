/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads Accept and Accept-Encoding (RFC 9110, 12.5). Owns nothing; pure. Headers are anybody's
 * bytes, terminated and bounded by the listener: what cannot be read is passed over.
 */
#include "listen_state.h"

#include <string.h>
#include <strings.h>

struct item {
	char name[64];    /* without parameters; empty if it is longer */
	char version[16]; /* the parameter; empty: none */
	unsigned quality; /* 0 to 1000 */
};

/* "1", "0.5", "0.123": thousandths. */
static unsigned read_quality(const char *text)
{
	unsigned quality = 0, digit = 100;

	if (text[0] == '1')
		return 1000;
	if (text[0] != '0' || text[1] != '.')
		return 0;
	for (text += 2; *text >= '0' && *text <= '9' && digit; text++, digit /= 10)
		quality += (unsigned)(*text - '0') * digit;
	return quality;
}

/* The text between two separators without the blanks around it; empty if it does not fit. */
static void copy_trimmed(const char *text, size_t length, char *ret_text, size_t text_bytes)
{
	while (length && (*text == ' ' || *text == '\t')) {
		text++;
		length--;
	}
	while (length && (text[length - 1] == ' ' || text[length - 1] == '\t'))
		length--;
	if (length >= text_bytes)
		length = 0;
	memcpy(ret_text, text, length);
	ret_text[length] = '\0';
}

static void read_parameter(const char *text, size_t length, struct item *item)
{
	char parameter[32] = "";

	copy_trimmed(text, length, parameter, sizeof(parameter));
	if (strncasecmp(parameter, "q=", 2) == 0)
		item->quality = read_quality(parameter + 2);
	else if (strncasecmp(parameter, "version=", 8) == 0)
		(void)snprintf(item->version, sizeof(item->version), "%.15s", parameter + 8);
}

/* The item at `list`; returns where the next one is, NULL behind the last. */
static const char *next_item(const char *list, struct item *ret_item)
{
	size_t length = strcspn(list, ",");
	const char *end = list + length;
	size_t part = strcspn(list, ";,");

	*ret_item = (struct item){.quality = 1000};
	copy_trimmed(list, part, ret_item->name, sizeof(ret_item->name));
	for (list += part; list < end; list += part) {
		list++;
		part = strcspn(list, ";,");
		read_parameter(list, part, ret_item);
	}
	return *end ? end + 1 : NULL;
}

static void raise_to(unsigned *quality, unsigned to)
{
	if (to > *quality)
		*quality = to;
}

enum prometheus_format negotiate_format(const char *accept)
{
	unsigned text = 0, openmetrics = 0;
	struct item item;

	while (accept) {
		accept = next_item(accept, &item);
		if (strcasecmp(item.name, "application/openmetrics-text") == 0 &&
			(!item.version[0] || strcmp(item.version, "1.0.0") == 0))
			raise_to(&openmetrics, item.quality);
		else if (strcasecmp(item.name, "text/plain") == 0 ||
			 strcmp(item.name, "*/*") == 0 || strcasecmp(item.name, "text/*") == 0)
			raise_to(&text, item.quality);
	}
	return openmetrics && openmetrics >= text ? PROMETHEUS_OPENMETRICS : PROMETHEUS_TEXT;
}

bool negotiate_gzip(const char *accept_encoding)
{
	unsigned gzip = 0;
	struct item item;

	while (accept_encoding) {
		accept_encoding = next_item(accept_encoding, &item);
		if (strcasecmp(item.name, "gzip") == 0 || strcasecmp(item.name, "x-gzip") == 0)
			raise_to(&gzip, item.quality);
	}
	return gzip > 0;
}
