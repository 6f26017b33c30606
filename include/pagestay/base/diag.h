/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Words for a failure, carried upwards. A function that can fail for reasons a number cannot tell
 * takes a `struct diag *`, sets it once at the place that knows, and returns -errno; the app prints
 * it. The first message wins, so a cause is not covered by its consequences.
 */
#ifndef PAGESTAY_BASE_DIAG_H
#define PAGESTAY_BASE_DIAG_H

struct diag {
	char text[512];
};

/*
 * Sets the message unless one is set, and returns `error` so that callers can return the call. What
 * is not printable ASCII becomes `?`.
 */
int diag_set(struct diag *diag, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
