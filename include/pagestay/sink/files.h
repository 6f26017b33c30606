/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Files of our own: reports as JSON Lines and recordings, in a directory where they rotate and
 * expire (edge/rotate.h has names and rules). Both have a thread that does what a disk may hold up;
 * the caller only puts bytes into a queue, which is bounded: what does not fit is dropped and
 * counted. Files are synced once for each report or interval.
 *
 * A new file of a recording begins with what is known of each process at that moment, so it replays
 * by itself. Counts and changes are as in the whole recording. What the file cannot tell: which
 * pages were touched before it (they are `earlier`, and growth is unknown in the first interval),
 * survival, trends and x-rays before it. It says so in a note.
 */
#ifndef PAGESTAY_SINK_FILES_H
#define PAGESTAY_SINK_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pagestay/base/diag.h"
#include "pagestay/edge/event.h"
#include "pagestay/sink/sink.h"

#define FILES_QUEUE_BYTES (16u << 20)

struct files_options {
	const char *directory;              /* absolute, exists */
	uint64_t rotate_bytes;              /* of a file; 0: no limit */
	uint64_t keep_bytes;                /* of all files of both kinds; 0: no limit */
	unsigned keep_days;                 /* before today; 0: no limit */
	size_t queue_bytes;                 /* 0: FILES_QUEUE_BYTES */
	uint64_t (*wall_ns)(void *context); /* NULL: CLOCK_REALTIME; called by the thread */
	/* Once when writing begins to fail or things are dropped, once when it works again, and
	 * what was repaired. Called only from calls of the sink or recorder. NULL: to nobody. */
	void (*say)(void *context, const char *text);
	void *context;
};

/* Since the beginning; of reports, or of a recording's intervals and its beginning. */
struct files_counters {
	uint64_t queued;
	uint64_t synced;  /* known to be on the disk */
	uint64_t dropped; /* no room, or the disk failed */
	uint64_t files_begun, files_compressed;
	bool paused; /* the disk does not take anything */
};

/* 0, or -errno with words; -EBUSY: another pagestay writes there. */
int sink_files_new(const struct files_options *options, struct sink **ret_sink, struct diag *diag);

/* Of a sink that sink_files_new made. */
void sink_files_counters(const struct sink *sink, struct files_counters *ret_counters);

struct files_recorder;

int files_recorder_new(const struct files_options *options, struct files_recorder **ret_recorder,
	struct diag *diag);

/* An event_fn for a stream from its STREAM on. Always 0. */
int files_recorder_event(void *context, const struct event *event);

/*
 * From the next interval on, with the rotate_bytes, keep_bytes and keep_days of `options`; the rest
 * of it stays as it was.
 */
void files_recorder_limits(struct files_recorder *recorder, const struct files_options *options);

void files_recorder_counters(
	const struct files_recorder *recorder, struct files_counters *ret_counters);

/* As sink_end: no event comes any more. Takes NULL. */
void files_recorder_end(struct files_recorder *recorder);

/*
 * Ends the recording behind its last whole interval. Like closing the sink, it waits for the disk
 * for less than a second, and leaves the rest to the thread: -ETIMEDOUT. Takes NULL.
 */
int files_recorder_close(struct files_recorder *recorder);

#endif
