/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns nothing: fills the caller's diag. Any layer may call it. Messages quote words and paths that
 * may be anybody's bytes, so what a terminal could take as a command never gets into one.
 */
#include "pagestay/base/diag.h"

#include <stdarg.h>
#include <stdio.h>

int diag_set(struct diag *diag, int error, const char *format, ...)
{
	va_list arguments;

	if (diag->text[0])
		return error;
	va_start(arguments, format);
	(void)vsnprintf(diag->text, sizeof(diag->text), format, arguments);
	va_end(arguments);
	for (char *byte = diag->text; *byte; byte++)
		if (*byte < ' ' || *byte > '~')
			*byte = '?';
	return error;
}
