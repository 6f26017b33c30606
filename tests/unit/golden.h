/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Texts that are right because somebody read them: files in tests/golden, written anew with
 * UPDATE_GOLDEN=1 and then read as a diff. For tests that run in the project's root.
 */
#ifndef PAGESTAY_TESTS_GOLDEN_H
#define PAGESTAY_TESTS_GOLDEN_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pagestay/base/cleanup.h"

#define GOLDEN_BYTES 131072 /* what nobody reads is no golden file */

static inline bool golden_update(void)
{
	return getenv("UPDATE_GOLDEN");
}

static inline void golden_write(const char *path, const void *bytes, size_t length)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
}

/* The content of a file of less than GOLDEN_BYTES, terminated. The caller frees it. */
static inline char *golden_read(const char *path, size_t *ret_length)
{
	_cleanup_(cleanup_fclose) FILE *file = fopen(path, "r");
	char *bytes = calloc(1, GOLDEN_BYTES);

	if (!file)
		fail_msg("no %s: run with UPDATE_GOLDEN=1, then read it", path);
	assert_non_null(bytes);
	*ret_length = fread(bytes, 1, GOLDEN_BYTES, file);
	assert_in_range(*ret_length, 0, GOLDEN_BYTES - 1);
	return bytes;
}

/* Takes `text`. */
static inline void assert_golden(const char *name, char *text)
{
	char path[128];
	char *expected;
	size_t length;

	(void)snprintf(path, sizeof(path), "tests/golden/%s", name);
	if (golden_update())
		golden_write(path, text, strlen(text));
	expected = golden_read(path, &length);
	assert_string_equal(text, expected);
	free(expected);
	free(text);
}

#endif
