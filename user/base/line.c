/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns no state: formats into lines of a bounded size. Any layer may call it, also the pure one. */
#include "pagestay/base/line.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void line_add(char *line, size_t line_bytes, const char *format, ...)
{
	size_t used = strnlen(line, line_bytes);
	va_list arguments;
	int wanted;

	if (used == line_bytes || line_bytes < 2)
		return;
	va_start(arguments, format);
	wanted = vsnprintf(line + used, line_bytes - used, format, arguments);
	va_end(arguments);
	if (wanted < 0)
		line[used] = '\0';
	else if ((size_t)wanted >= line_bytes - used)
		line[line_bytes - 2] = '~';
}
