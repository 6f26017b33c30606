/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The methods in use (RFC 9110, WebDAV), and how a model tells that bytes begin as one of them. */
#ifndef PAGESTAY_TESTS_METHODS_H
#define PAGESTAY_TESTS_METHODS_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static const char *const methods[] = {"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "CONNECT ",
	"OPTIONS ", "TRACE ", "PATCH ", "PROPFIND ", "PROPPATCH ", "MKCOL ", "COPY ", "MOVE ",
	"LOCK ", "UNLOCK ", "REPORT ", "SEARCH "};

#define METHODS (sizeof(methods) / sizeof(methods[0]))

/* As far as the bytes go, and four at most. */
static inline bool plainly_begins_as_method(const char *bytes, size_t length)
{
	for (size_t i = 0; i < METHODS && length; i++)
		if (strncmp(bytes, methods[i], length < 4 ? length : 4) == 0)
			return true;
	return false;
}

#endif
