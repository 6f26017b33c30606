/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Bytes that came from anybody (comm, exe, request paths) made safe to show.
 */
#ifndef PAGESTAY_BASE_TEXT_H
#define PAGESTAY_BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>

/*
 * For a terminal: printable ASCII stays, a backslash and everything else become \\ and \xHH. At
 * most `width` columns are written, the last one `~` when something was cut; an escape is never cut
 * in two. Needs `out_bytes` > `width`; the result is terminated.
 */
void text_for_terminal(const char *bytes, size_t length, size_t width, char *out, size_t out_bytes);

/*
 * For JSON: valid UTF-8 stays, each byte that is not part of it becomes U+FFFD. The result is
 * terminated and needs 3 * length + 1 bytes at most; what does not fit `out_bytes` is left out, by
 * whole characters. Control characters are left to the JSON writer, which escapes them. Returns the
 * length.
 */
size_t text_for_json(const char *bytes, size_t length, char *out, size_t out_bytes);

/*
 * A number of bytes in at most five columns, as ls -h and vmstat -w users expect: `0`, `512`,
 * `64K`, `1.3M`, `684M`, `1.2G`. Powers of 1024, rounded to nearest. `out` needs 16 bytes.
 */
void text_bytes(uint64_t bytes, char out[16]);

/* A count in at most six columns: `12345`, `1.2M`, `3.4G` (powers of ten). */
void text_count(uint64_t value, char out[16]);

#endif
