/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Recordings: a stream of events in a file, `.psr`.
 *
 * The file is a header and blocks. All numbers outside events are 32-bit little-endian:
 *
 *   header   magic (8 bytes), version, CRC-32 of these 12 bytes
 *   block    magic "PSRB", length of the events, length compressed, CRC-32 of the compressed bytes,
 *            CRC-32 of these 16 bytes; then the events (codec.h) compressed by zlib
 *   end      a block of no events, with nothing behind it
 *
 * A block is one interval's events; only an interval of more than RECORDING_BLOCK_BYTES takes
 * several. A file that was cut or damaged gives every whole block before the damage, and a file
 * without its end was cut. The same events give the same bytes with the same zlib.
 */
#ifndef PAGESTAY_EDGE_RECORDING_H
#define PAGESTAY_EDGE_RECORDING_H

#include <stdio.h>

#include "pagestay/base/diag.h"
#include "pagestay/edge/event.h"

#define RECORDING_VERSION     4
#define RECORDING_BLOCK_BYTES (1u << 20) /* of events; bounds the memory of both sides */

struct recording_writer;
struct recording_reader;

/* Takes over `file` (a seekable file or a pipe), and closes it with the writer or on failure. */
int recording_writer_new(FILE *file, struct recording_writer **ret_writer, struct diag *diag);

/*
 * An event_fn, whose context is the writer: START and TICK end a block and hand it to the kernel,
 * so that a killed recorder loses the interval under way at most. After a failure it writes no more
 * and returns the same -errno.
 */
int recording_write(void *context, const struct event *event);

/* Writes what is left, flushes to disk and closes. Takes NULL. 0 or the first -errno. */
int recording_writer_close(struct recording_writer *writer);

/* Takes over `file` in the same way. -EBADMSG: not a recording, or of an unknown version. */
int recording_reader_new(FILE *file, struct recording_reader **ret_reader, struct diag *diag);

/*
 * The next event, valid until the next call: 1, or 0 at the end, or -errno. -EBADMSG: damaged or
 * cut here, `diag` names the byte offset; there is nothing sound behind it. Reading on after 0 or
 * -errno gives the same.
 */
int recording_read(struct recording_reader *reader, struct event *ret_event, struct diag *diag);

/* Where in the file the block of the last event begins. */
uint64_t recording_offset(const struct recording_reader *reader);

/* Takes NULL. */
void recording_reader_free(struct recording_reader *reader);

#endif
