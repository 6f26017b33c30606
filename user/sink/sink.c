/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns nothing: what all sinks do alike. Called by sinks only.
 */
#include "pagestay/sink/sink.h"

#include <errno.h>
#include <string.h>

int sink_put(FILE *out, const char *bytes, size_t length)
{
	errno = 0;
	if (fwrite(bytes, 1, length, out) == length && fflush(out) == 0)
		return 0;
	return errno ? -errno : -EIO;
}

bool sink_shows_pages(const struct report *report)
{
	return strcmp(report->detail, "pages") == 0;
}
