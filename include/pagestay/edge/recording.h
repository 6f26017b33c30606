/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Recordings: a stream of events in a file, `.psr`.
 *
 * The file is a header (magic, version, checksum) and blocks; a block is one interval's events,
 * encoded little-endian with fixed rules, compressed by zlib, with both lengths and a CRC-32. A
 * file that was cut or damaged gives every whole block before the damage.
 */
#ifndef PAGESTAY_EDGE_RECORDING_H
#define PAGESTAY_EDGE_RECORDING_H

#include <stdio.h>

#include "pagestay/base/diag.h"
#include "pagestay/edge/event.h"

#define RECORDING_VERSION 1

struct recording_writer;
struct recording_reader;

/* Takes over `file` (a seekable file or a pipe), and closes it with the writer or on failure. */
int recording_writer_new(FILE *file, struct recording_writer **ret_writer, struct diag *diag);

/* An event_fn: START and TICK end a block and write it out. */
int recording_write(void *writer, const struct event *event);

/* Writes what is left, flushes to disk and closes. Takes NULL. 0 or the first -errno. */
int recording_writer_close(struct recording_writer *writer);

/* Takes over `file` in the same way. -EBADMSG: not a recording, or of an unknown version. */
int recording_reader_new(FILE *file, struct recording_reader **ret_reader, struct diag *diag);

/*
 * The next event: 1, or 0 at the end, or -errno. -EBADMSG: damaged or cut here, `diag` names the
 * byte offset; there is nothing sound behind it.
 */
int recording_read(struct recording_reader *reader, struct event *ret_event, struct diag *diag);

/* Takes NULL. */
void recording_reader_free(struct recording_reader *reader);

#endif
