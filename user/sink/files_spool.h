/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The queue and the thread between those who make bytes and the files that they go to. Only files.c
 * and files_recorder.c include this.
 */
#ifndef PAGESTAY_SINK_FILES_SPOOL_H
#define PAGESTAY_SINK_FILES_SPOOL_H

#include "pagestay/edge/rotate.h"
#include "pagestay/sink/files.h"

struct spool;

/* `end` is what a recording ends with; it is copied. */
#define SPOOL_END_BYTES 64
int spool_new(const struct files_options *options, enum rotate_kind kind, const char *end,
	size_t end_bytes, struct spool **ret_spool, struct diag *diag);

/* What is taken from now on goes by the rotate_bytes, keep_bytes and keep_days of `options`. */
void spool_limit(struct spool *spool, const struct files_options *options);

/*
 * Takes the bytes, which malloc gave; they go to the file whole or not at all. What finds the queue
 * empty may be larger than it, up to ROTATE_APPEND_BYTES. 0 or -errno: dropped. The first drop is
 * said, and when there are no more.
 */
int spool_put(struct spool *spool, char *bytes, size_t length, bool begins);

/* Something was dropped before it came here, because of `error`. */
void spool_drop(struct spool *spool, int error);

/* Recordings: everything was taken, and a new file is due. */
bool spool_is_due(struct spool *spool);

/* Passes on what the thread has to say. */
void spool_say(struct spool *spool);

void spool_counters(struct spool *spool, struct files_counters *ret_counters);

/* Nothing is put any more: the time of closing begins. Does not wait. */
void spool_end(struct spool *spool);

/*
 * `spool_end`, if it was not called, and waits. 0, or -ETIMEDOUT: the disk hangs, and the thread
 * ends by itself. Takes NULL.
 */
int spool_close(struct spool *spool);

#endif
