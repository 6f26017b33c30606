/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Names of routes: each form of a request line, and any bytes at all. Texts and names lie in heap
 * blocks of exactly their room, so that a sanitizer sees a step over the edge.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "pagestay/core/route.h"
#include "seeded.h"

/* The name of `length` bytes padded with zeros, in a block of its own; it is the caller's. */
static char *name_of(const char *bytes, size_t length)
{
	char *text = calloc(1, PS_ROUTE_BYTES), *name = malloc(PS_ROUTE_BYTES);

	assert_non_null(text);
	assert_non_null(name);
	memcpy(text, bytes, length);
	memset(name, 'x', PS_ROUTE_BYTES);
	route_normalise(text, name);
	assert_memory_equal(text, bytes, length);
	assert_non_null(memchr(name, '\0', PS_ROUTE_BYTES));
	route_normalise(text, text);
	assert_string_equal(text, name);
	free(text);
	return name;
}

static void assert_name(const char *text, const char *expected)
{
	char *name = name_of(text, strlen(text));

	assert_string_equal(name, expected);
	free(name);
}

static void method_and_path_stay_as_they_are(void **state)
{
	assert_name("GET /", "GET /");
	assert_name("GET /.env", "GET /.env");
	assert_name("POST /a/b%20c;d=e", "POST /a/b%20c;d=e");
	assert_name("get /UPPER/../Lower//", "get /UPPER/../Lower//");
	assert_name("OPTIONS *", "OPTIONS *");
	assert_name("CONNECT host:443", "CONNECT host:443");
}

static void query_and_fragment_are_dropped(void **state)
{
	assert_name("GET /path?a=b", "GET /path");
	assert_name("GET /path#part", "GET /path");
	assert_name("GET /path#part?a", "GET /path");
	assert_name("GET /path?a#part", "GET /path");
	assert_name("GET /path??", "GET /path");
	assert_name("GET /?http://host/x", "GET /");
}

static void empty_path_is_the_root(void **state)
{
	assert_name("GET ", "GET /");
	assert_name("GET ?a=b", "GET /");
	assert_name("GET #part", "GET /");
	assert_name(" ", " /");
}

static void absolute_form_loses_scheme_and_host(void **state)
{
	assert_name("GET http://host/path", "GET /path");
	assert_name("GET https://user@host:8080/a/b?c", "GET /a/b");
	assert_name("GET http://host/", "GET /");
	assert_name("GET http://host", "GET /");
	assert_name("GET http://host?a=b/c", "GET /");
	assert_name("GET http://host#part/c", "GET /");
	assert_name("GET http://", "GET /");
	assert_name("GET ://", "GET /");
	assert_name("GET http://a/b://c/d", "GET /b://c/d");
}

static void path_may_look_like_a_host(void **state)
{
	assert_name("GET /http://host/path", "GET /http://host/path");
	assert_name("GET //host/path", "GET //host/path");
}

static void what_has_no_target_is_unknown(void **state)
{
	assert_name("", "-");
	assert_name("-", "-");
	assert_name("GET", "-");
	assert_name("GET\t/path", "-");
	assert_name("\x16\x03\x01", "-");
	assert_name("other", "-");
}

static void bytes_behind_the_first_terminator_are_nothing(void **state)
{
	char *name = name_of("GET /a\0/b c", 11);

	assert_string_equal(name, "GET /a");
	free(name);
	name = name_of("GET\0/b c", 8);
	assert_string_equal(name, "-");
	free(name);
}

static void control_bytes_stay_for_the_sinks_to_escape(void **state)
{
	assert_name("GET /\x1b[2J\r\n\t\x7f\xff\xc3", "GET /\x1b[2J\r\n\t\x7f\xff\xc3");
	assert_name("G\x01T /\n", "G\x01T /\n");
	assert_name("GET  /two", "GET  /two");
	assert_name("GET /a b", "GET /a b");
}

static void text_that_fills_its_room_is_cut(void **state)
{
	char full[PS_ROUTE_BYTES], *name;

	memset(full, 'a', sizeof(full));
	memcpy(full, "GET /", 5);
	name = name_of(full, sizeof(full));
	assert_int_equal(strlen(name), PS_ROUTE_BYTES - 1);
	assert_memory_equal(name, full, PS_ROUTE_BYTES - 1);
	free(name);
	memset(full, 'M', sizeof(full));
	name = name_of(full, sizeof(full));
	assert_string_equal(name, "-");
	free(name);
}

static void method_may_leave_no_room_for_a_path(void **state)
{
	char full[PS_ROUTE_BYTES], *name;

	for (size_t length = PS_ROUTE_BYTES - 4; length < PS_ROUTE_BYTES; length++) {
		memset(full, 'M', sizeof(full));
		full[length] = ' ';
		name = name_of(full, sizeof(full));
		if (length == PS_ROUTE_BYTES - 1)
			assert_string_equal(name, "-");
		else
			assert_memory_equal(name, full, length + 1);
		free(name);
	}
}

/*
 * The model: walks the text once, byte by byte, and appends what belongs to the name.
 */
static void model_name(const char *text, size_t room, char *ret_name)
{
	size_t length = 0, at = 0, end = 0, path;

	while (end < room - 1 && text[end])
		end++;
	while (at < end && text[at] != ' ')
		ret_name[length++] = text[at++];
	if (at == end) {
		memcpy(ret_name, "-", 2);
		return;
	}
	ret_name[length++] = ' ';
	path = ++at;
	while (at < end && text[at] != '?' && text[at] != '#')
		at++;
	end = at;
	for (at = path; text[path] != '/' && at + 2 < end; at++) {
		if (text[at] != ':' || text[at + 1] != '/' || text[at + 2] != '/')
			continue;
		for (path = at + 3; path < end && text[path] != '/';)
			path++;
		break;
	}
	if (path == end && length < room - 1)
		ret_name[length++] = '/';
	while (path < end)
		ret_name[length++] = text[path++];
	ret_name[length] = '\0';
}

/* Words that matter to the parser, with noise between them. */
static void random_text(struct seeded *seeded, char text[PS_ROUTE_BYTES])
{
	static const char *const words[] = {" ", "/", "?", "#", "://", ":", "GET ", "http://", "a"};
	size_t length = 0, wanted = seeded_below(seeded, PS_ROUTE_BYTES + 1);

	memset(text, 0, PS_ROUTE_BYTES);
	while (length < wanted) {
		const char *word = words[seeded_below(seeded, sizeof(words) / sizeof(words[0]))];

		if (seeded_once_in(seeded, 4)) {
			text[length++] = seeded_next(seeded);
			continue;
		}
		while (*word && length < wanted)
			text[length++] = *word++;
	}
}

static void random_texts_agree_with_the_model(void **state)
{
	char text[PS_ROUTE_BYTES], expected[PS_ROUTE_BYTES];
	struct seeded seeded = {1};

	for (int i = 0; i < 50000; i++) {
		char *name;

		random_text(&seeded, text);
		model_name(text, sizeof(text), expected);
		name = name_of(text, sizeof(text));
		assert_string_equal(name, expected);
		free(name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(method_and_path_stay_as_they_are),
		cmocka_unit_test(query_and_fragment_are_dropped),
		cmocka_unit_test(empty_path_is_the_root),
		cmocka_unit_test(absolute_form_loses_scheme_and_host),
		cmocka_unit_test(path_may_look_like_a_host),
		cmocka_unit_test(what_has_no_target_is_unknown),
		cmocka_unit_test(bytes_behind_the_first_terminator_are_nothing),
		cmocka_unit_test(control_bytes_stay_for_the_sinks_to_escape),
		cmocka_unit_test(text_that_fills_its_room_is_cut),
		cmocka_unit_test(method_may_leave_no_room_for_a_path),
		cmocka_unit_test(random_texts_agree_with_the_model),
	};

	return cmocka_run_group_tests_name("route", tests, NULL, NULL);
}
