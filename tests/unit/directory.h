/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What tests of files do with the directories that they made. For use behind cmocka.h. */
#ifndef PAGESTAY_TESTS_UNIT_DIRECTORY_H
#define PAGESTAY_TESTS_UNIT_DIRECTORY_H

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* With all that is in it. */
static inline void directory_remove(const char *directory)
{
	DIR *entries = opendir(directory);
	struct dirent *entry;
	char path[512];

	assert_non_null(entries);
	while ((entry = readdir(entries))) {
		assert_in_range(snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name), 1,
			sizeof(path) - 1);
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (entry->d_type == DT_DIR)
			directory_remove(path);
		else
			assert_int_equal(unlink(path), 0);
	}
	(void)closedir(entries);
	assert_int_equal(rmdir(directory), 0);
}

#endif
