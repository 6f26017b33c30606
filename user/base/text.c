/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns no state: turns bytes and numbers into text of a bounded width. Nothing that these functions
 * write can move a cursor, break a column or break a JSON document. Any layer may call them.
 */
#include "pagestay/base/text.h"

#include <stdio.h>
#include <string.h>

/* The columns that one byte takes on a terminal, written without a terminator. */
static size_t escape_byte(unsigned char byte, char out[4])
{
	static const char digits[] = "0123456789abcdef";

	if (byte == '\\') {
		memcpy(out, "\\\\", 2);
		return 2;
	}
	if (byte >= ' ' && byte <= '~') {
		out[0] = (char)byte;
		return 1;
	}
	out[0] = '\\';
	out[1] = 'x';
	out[2] = digits[byte >> 4];
	out[3] = digits[byte & 15];
	return 4;
}

void text_for_terminal(const char *bytes, size_t length, size_t width, char *out, size_t out_bytes)
{
	size_t used = 0;
	size_t markable = 0; /* where a mark of a cut would still fit */

	if (!out_bytes)
		return;
	if (width >= out_bytes)
		width = out_bytes - 1;
	for (size_t i = 0; i < length; i++) {
		char piece[4];
		size_t columns = escape_byte((unsigned char)bytes[i], piece);

		if (used + columns > width) {
			used = markable;
			if (width)
				out[used++] = '~';
			break;
		}
		memcpy(out + used, piece, columns);
		used += columns;
		if (used < width)
			markable = used;
	}
	out[used] = '\0';
}

/*
 * The length of the well-formed UTF-8 sequence that begins here, or 0. The bounds of the second
 * byte are what excludes overlong forms, surrogates and values above U+10FFFF (the Unicode
 * Standard, table 3-7).
 */
static size_t utf8_sequence(const unsigned char *bytes, size_t length)
{
	unsigned char first = bytes[0];
	unsigned char low = 0x80;
	unsigned char high = 0xbf;
	size_t count;

	if (first < 0x80)
		return 1;
	if (first < 0xc2 || first > 0xf4)
		return 0;
	count = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	if (first == 0xe0)
		low = 0xa0;
	else if (first == 0xed)
		high = 0x9f;
	else if (first == 0xf0)
		low = 0x90;
	else if (first == 0xf4)
		high = 0x8f;
	if (length < count || bytes[1] < low || bytes[1] > high)
		return 0;
	for (size_t i = 2; i < count; i++) {
		if (bytes[i] < 0x80 || bytes[i] > 0xbf)
			return 0;
	}
	return count;
}

size_t text_for_json(const char *bytes, size_t length, char *out, size_t out_bytes)
{
	static const char replacement[] = "\xef\xbf\xbd";
	size_t used = 0;

	if (!out_bytes)
		return 0;
	for (size_t i = 0; i < length;) {
		size_t taken = utf8_sequence((const unsigned char *)bytes + i, length - i);
		const char *piece = taken ? bytes + i : replacement;
		size_t piece_bytes = taken ? taken : sizeof(replacement) - 1;

		if (used + piece_bytes >= out_bytes)
			break;
		memcpy(out + used, piece, piece_bytes);
		used += piece_bytes;
		i += taken ? taken : 1;
	}
	out[used] = '\0';
	return used;
}

/* One decimal below ten, none above; a value that would round up to `base` takes the next unit. */
static void scaled(double value, double base, const char *units, char out[16])
{
	while (value >= base - 0.5) {
		value /= base;
		units++;
	}
	if (value < 9.95)
		(void)snprintf(out, 16, "%.1f%c", value, *units);
	else
		(void)snprintf(out, 16, "%.0f%c", value, *units);
}

void text_bytes(uint64_t bytes, char out[16])
{
	if (bytes < 1024)
		(void)snprintf(out, 16, "%u", (unsigned)bytes);
	else
		scaled((double)bytes / 1024, 1024, "KMGTPE", out);
}

void text_count(uint64_t value, char out[16])
{
	if (value < 1000000)
		(void)snprintf(out, 16, "%u", (unsigned)value);
	else
		scaled((double)value / 1e6, 1000, "MGTPE", out);
}
