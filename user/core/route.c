/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Names routes. Owns nothing; the tracker calls it for each route that a source names. */
#include "pagestay/core/route.h"

#include <stdbool.h>
#include <string.h>

/* Where the path begins: behind the scheme and authority of an absolute-form target. */
static const char *path_of(const char *target)
{
	const char *authority = strstr(target, "://");

	if (*target == '/' || !authority)
		return target;
	return strchrnul(authority + 3, '/');
}

void route_normalise(const char text[PS_ROUTE_BYTES], char ret[PS_ROUTE_BYTES])
{
	char method[PS_ROUTE_BYTES], line[PS_ROUTE_BYTES];
	const char *path;
	char *space;

	memcpy(line, text, sizeof(line));
	line[sizeof(line) - 1] = '\0';
	space = strchr(line, ' ');
	if (!space) {
		memcpy(ret, "-", 2);
		return;
	}
	*space = '\0';
	memcpy(method, line, space - line + 1);
	space[1 + strcspn(space + 1, "?#")] = '\0';
	path = path_of(space + 1);
	if (!*path)
		path = "/";
	/* Shorter than what came in, but for an empty path, for which the cut leaves room. */
	(void)stpncpy(stpcpy(stpcpy(ret, method), " "), path, PS_ROUTE_BYTES - strlen(method) - 2);
	ret[PS_ROUTE_BYTES - 1] = '\0';
}
