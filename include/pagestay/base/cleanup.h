/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Temporaries that end with their scope: `_cleanup_(free_char) char *line = NULL;`. A value that
 * outlives the scope is handed over with TAKE.
 */
#ifndef PAGESTAY_BASE_CLEANUP_H
#define PAGESTAY_BASE_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(function) __attribute__((cleanup(function)))

#define TAKE(variable)                                                                             \
	({                                                                                         \
		__typeof__(variable) taken_ = (variable);                                          \
		(variable) = NULL;                                                                 \
		taken_;                                                                            \
	})

static inline void cleanup_free(void *pointer)
{
	free(*(void **)pointer);
}

static inline void cleanup_close(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_fclose(FILE **file)
{
	if (*file)
		(void)fclose(*file);
}

#endif
