/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One event as bytes: kind (1 byte), length of the rest (varint), fields in a fixed order.
 *
 * A number is a varint: seven bits a byte, lowest first, in as few bytes as it fits. A text is its
 * length and its bytes without the terminator. An array is how many numbers it has without the
 * zeros at its end, and those. Every event has exactly one encoding, and it stays the same when
 * counters or losses are appended. Whoever appends a kind, a field, a counter or a loss raises
 * RECORDING_VERSION, so that an older reader can say why it stops.
 */
#ifndef PAGESTAY_EDGE_CODEC_H
#define PAGESTAY_EDGE_CODEC_H

#include <stddef.h>

#include "pagestay/edge/event.h"

#define EVENT_ENCODED_BYTES 2304 /* no event takes more */

/* -EINVAL: no such kind. A text without a terminator loses its last byte. */
int event_encode(const struct event *event, uint8_t out[EVENT_ENCODED_BYTES], size_t *ret_length);

/* Room for what an event points to. */
struct event_room {
	struct allocators allocators;
	struct heap heap;
};

/*
 * The event at the beginning of `bytes`, and how many it took. What the kind does not use is zero.
 * The event may point into `room`. -EBADMSG: not the encoding of any event. Takes any bytes.
 */
int event_decode(const uint8_t *bytes, size_t length, struct event_room *room,
	struct event *ret_event, size_t *ret_used);

#endif
