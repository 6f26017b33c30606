/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Lines of a bounded size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "pagestay/base/line.h"

static void pieces_follow_each_other(void **state)
{
	char line[16] = "";

	line_add(line, sizeof(line), "%d of", 3);
	line_add(line, sizeof(line), " %s", "4");
	assert_string_equal(line, "3 of 4");
}

static void what_does_not_fit_is_marked(void **state)
{
	char line[8] = "";

	line_add(line, sizeof(line), "1234567");
	assert_string_equal(line, "1234567");
	line_add(line, sizeof(line), "8");
	assert_string_equal(line, "123456~");
	line[5] = '\0';
	line_add(line, sizeof(line), "abc");
	assert_string_equal(line, "12345a~");
}

static void an_unfit_line_is_left_alone(void **state)
{
	char line[4] = {'a', 'b', 'c', 'd'}, one[1] = "";

	line_add(line, sizeof(line), "x");
	assert_memory_equal(line, "abcd", 4);
	line_add(one, sizeof(one), "x");
	assert_string_equal(one, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_follow_each_other),
		cmocka_unit_test(what_does_not_fit_is_marked),
		cmocka_unit_test(an_unfit_line_is_left_alone),
	};

	return cmocka_run_group_tests_name("line", tests, NULL, NULL);
}
