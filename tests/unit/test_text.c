/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Hostile bytes and any number become text of a bounded width. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pagestay/base/text.h"

#define KIB 1024ull

static void assert_terminal(const char *bytes, size_t length, size_t width, const char *expected)
{
	char out[64];

	text_for_terminal(bytes, length, width, out, sizeof(out));
	assert_string_equal(out, expected);
}

static void terminal_keeps_printable_ascii(void **state)
{
	assert_terminal("nginx: worker ~", 15, 40, "nginx: worker ~");
	assert_terminal("", 0, 40, "");
}

static void terminal_escapes_all_else(void **state)
{
	assert_terminal("a\x1b[2J", 5, 40, "a\\x1b[2J");
	assert_terminal("a\0b", 3, 40, "a\\x00b");
	assert_terminal("\t\n\r\x7f", 4, 40, "\\x09\\x0a\\x0d\\x7f");
	assert_terminal("\xc3\xa9\xff", 3, 40, "\\xc3\\xa9\\xff");
	assert_terminal("a\\b", 3, 40, "a\\\\b");
}

static void terminal_marks_a_cut_in_the_last_column(void **state)
{
	assert_terminal("abcdef", 6, 6, "abcdef");
	assert_terminal("abcdefg", 7, 6, "abcde~");
	assert_terminal("ab", 2, 1, "~");
	assert_terminal("ab", 2, 0, "");
}

static void terminal_never_cuts_an_escape_in_two(void **state)
{
	assert_terminal("ab\x01", 3, 6, "ab\\x01");
	assert_terminal("ab\x01", 3, 5, "ab~");
	assert_terminal("ab\x01z", 4, 6, "ab~");
	assert_terminal("\x01\x02", 2, 5, "\\x01~");
	assert_terminal("\\\\", 2, 3, "\\\\~");
}

static void terminal_stays_within_a_small_buffer(void **state)
{
	char out[4] = "???";

	text_for_terminal("abcdef", 6, 40, out, sizeof(out));
	assert_string_equal(out, "ab~");
	text_for_terminal("abcdef", 6, 40, out, 1);
	assert_string_equal(out, "");
	out[0] = '?';
	text_for_terminal("abcdef", 6, 40, out, 0);
	assert_int_equal(out[0], '?');
}

/* In random bytes, one table of what is allowed: the width holds and only printable ASCII is left.
 */
static void terminal_holds_the_width_for_any_bytes(void **state)
{
	srandom(1);
	for (int round = 0; round < 20000; round++) {
		char bytes[32], out[64];
		size_t length = random() % sizeof(bytes);
		size_t width = random() % 40;

		for (size_t i = 0; i < length; i++)
			bytes[i] = (char)random();
		text_for_terminal(bytes, length, width, out, sizeof(out));
		assert_true(strlen(out) <= width);
		for (const char *c = out; *c; c++)
			assert_in_range(*c, ' ', '~');
	}
}

static void assert_json(const char *bytes, size_t length, const char *expected)
{
	char out[128];

	assert_int_equal(text_for_json(bytes, length, out, 3 * length + 1), strlen(expected));
	assert_string_equal(out, expected);
}

#define ASSERT_JSON(bytes, expected) assert_json(bytes, sizeof(bytes) - 1, expected)
#define BAD                          "\xef\xbf\xbd"

static void json_keeps_valid_utf8(void **state)
{
	ASSERT_JSON("", "");
	ASSERT_JSON("GET /\x1b\n", "GET /\x1b\n");
	ASSERT_JSON("\x7f\xc2\x80\xdf\xbf", "\x7f\xc2\x80\xdf\xbf");
	ASSERT_JSON("\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf",
		"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf");
	ASSERT_JSON("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf");
}

static void json_keeps_a_zero_byte(void **state)
{
	char out[8];

	assert_int_equal(text_for_json("a\0b", 3, out, sizeof(out)), 3);
	assert_memory_equal(out, "a\0b", 4);
}

static void json_replaces_bytes_that_begin_nothing(void **state)
{
	ASSERT_JSON("a\x80z", "a" BAD "z");
	ASSERT_JSON("a\xbf", "a" BAD);
	ASSERT_JSON("\xf5\x80\x80\x80", BAD BAD BAD BAD);
	ASSERT_JSON("\xfe\xff", BAD BAD);
}

static void json_replaces_overlong_forms(void **state)
{
	ASSERT_JSON("\xc0\x80", BAD BAD);
	ASSERT_JSON("\xc1\xbf", BAD BAD);
	ASSERT_JSON("\xe0\x9f\xbf", BAD BAD BAD);
	ASSERT_JSON("\xf0\x8f\xbf\xbf", BAD BAD BAD BAD);
}

static void json_replaces_surrogates_and_what_is_above_unicode(void **state)
{
	ASSERT_JSON("\xed\xa0\x80", BAD BAD BAD);
	ASSERT_JSON("\xed\xbf\xbf", BAD BAD BAD);
	ASSERT_JSON("\xf4\x90\x80\x80", BAD BAD BAD BAD);
}

static void json_replaces_truncated_sequences_and_goes_on(void **state)
{
	ASSERT_JSON("\xc3", BAD);
	ASSERT_JSON("\xe2\x82", BAD BAD);
	ASSERT_JSON("\xf0\x9f\x98", BAD BAD BAD);
	ASSERT_JSON("\xe2\x82z", BAD BAD "z");
	ASSERT_JSON("\xe2\xc3\xa9", BAD "\xc3\xa9");
	ASSERT_JSON("\xf0\x9f\x98\xe2\x82\xac", BAD BAD BAD "\xe2\x82\xac");
}

static void json_leaves_out_whole_characters(void **state)
{
	char out[8] = "";

	assert_int_equal(text_for_json("a\xc3\xa9", 3, out, 4), 3);
	assert_string_equal(out, "a\xc3\xa9");
	assert_int_equal(text_for_json("a\xc3\xa9", 3, out, 3), 1);
	assert_string_equal(out, "a");
	assert_int_equal(text_for_json("\xff", 1, out, 3), 0);
	assert_string_equal(out, "");
	assert_int_equal(text_for_json("a", 1, out, 0), 0);
}

static void assert_bytes(uint64_t bytes, const char *expected)
{
	char out[16];

	text_bytes(bytes, out);
	assert_string_equal(out, expected);
}

static void bytes_read_as_users_expect(void **state)
{
	assert_bytes(0, "0");
	assert_bytes(512, "512");
	assert_bytes(1023, "1023");
	assert_bytes(KIB, "1.0K");
	assert_bytes(10188, "9.9K");
	assert_bytes(10189, "10K");
	assert_bytes(64 * KIB, "64K");
	assert_bytes(1023 * KIB + 511, "1023K");
	assert_bytes(1023 * KIB + 512, "1.0M");
	assert_bytes(1363149, "1.3M");
	assert_bytes(684 * KIB * KIB, "684M");
	assert_bytes(1310 * KIB * KIB, "1.3G");
	assert_bytes(UINT64_MAX, "16E");
}

static void assert_count(uint64_t value, const char *expected)
{
	char out[16];

	text_count(value, out);
	assert_string_equal(out, expected);
}

static void counts_read_as_users_expect(void **state)
{
	assert_count(0, "0");
	assert_count(12345, "12345");
	assert_count(999999, "999999");
	assert_count(1000000, "1.0M");
	assert_count(1234567, "1.2M");
	assert_count(9949999, "9.9M");
	assert_count(9950000, "10M");
	assert_count(999499999, "999M");
	assert_count(999500000, "1.0G");
	assert_count(3400000000, "3.4G");
	assert_count(UINT64_MAX, "18E");
}

static void assert_widths_around(double center)
{
	char out[16];

	for (int step = -3; step <= 3; step++) {
		uint64_t value = (uint64_t)center + step;

		text_bytes(value, out);
		assert_in_range(strlen(out), 1, 5);
		text_count(value, out);
		assert_in_range(strlen(out), 1, 6);
	}
}

/* Around every switch of a unit or of a digit, in powers of both bases. */
static void numbers_hold_their_width(void **state)
{
	const double bases[] = {1000, 1024};
	const double edges[] = {1, 9.95, 10, 99.5, 100, 999.5, 1000, 1023.5};

	for (int base = 0; base < 2; base++) {
		for (double unit = 1; unit <= 1.2e18; unit *= bases[base]) {
			for (size_t edge = 0; edge < sizeof(edges) / sizeof(edges[0]); edge++) {
				if (unit * edges[edge] < 1.8e19)
					assert_widths_around(unit * edges[edge]);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(terminal_keeps_printable_ascii),
		cmocka_unit_test(terminal_escapes_all_else),
		cmocka_unit_test(terminal_marks_a_cut_in_the_last_column),
		cmocka_unit_test(terminal_never_cuts_an_escape_in_two),
		cmocka_unit_test(terminal_stays_within_a_small_buffer),
		cmocka_unit_test(terminal_holds_the_width_for_any_bytes),
		cmocka_unit_test(json_keeps_valid_utf8),
		cmocka_unit_test(json_keeps_a_zero_byte),
		cmocka_unit_test(json_replaces_bytes_that_begin_nothing),
		cmocka_unit_test(json_replaces_overlong_forms),
		cmocka_unit_test(json_replaces_surrogates_and_what_is_above_unicode),
		cmocka_unit_test(json_replaces_truncated_sequences_and_goes_on),
		cmocka_unit_test(json_leaves_out_whole_characters),
		cmocka_unit_test(bytes_read_as_users_expect),
		cmocka_unit_test(counts_read_as_users_expect),
		cmocka_unit_test(numbers_hold_their_width),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
