/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reports for the dashboard agent of Inner Warden: what is worth telling goes into its data
 * directory as events and incidents, as dated JSON Lines or into its SQLite database
 * (docs/AGENT.md).
 *
 * A write folds the report and puts records into a bounded queue; a thread of the sink's own writes
 * them, so that no disk and no database holds the caller up. A record is acknowledged when it is on
 * disk: after fsync, or the commit. With a state directory a later run goes on where this one
 * ended, however it ended: incidents that are open stay open, the day's summary goes on, and what
 * an earlier run wrote without having come to note it is found by reading its files' tails.
 *
 * Neither the data directory nor the database is ever created.
 */
#ifndef PAGESTAY_SINK_WARDEN_H
#define PAGESTAY_SINK_WARDEN_H

#include "pagestay/base/diag.h"
#include "pagestay/core/episode.h"
#include "pagestay/sink/sink.h"

#define WARDEN_LINE_BYTES 16384 /* the greatest, with its line feed */
#define WARDEN_DAY_BYTES  200000000ull
#define WARDEN_DATABASE   "innerwarden.db"

enum warden_generation {
	WARDEN_AUTO, /* SQLITE where the directory holds innerwarden.db, whatever it is; asked anew
			each time */
	WARDEN_JSONL,
	WARDEN_SQLITE,
	WARDEN_GENERATIONS,
};

/* Strings are copied. 0 and NULL take the defaults, but for `directory`. */
struct warden_options {
	const char *directory;
	/* Must exist, ours alone; locked until the sink is closed. NULL: nothing outlives the run.
	 */
	const char *state_directory;
	/* Which boot of the host it is, any text: what is open when another one begins was
	 * restarted. NULL: only start times tell. */
	const char *boot;
	enum warden_generation generation;
	unsigned queue_records; /* 4096 */
	uint64_t day_bytes;     /* WARDEN_DAY_BYTES: no event goes into a file that has as many */
	unsigned retry_ms;      /* 1000: after a failure; doubles up to 30 times that */
	unsigned busy_ms;       /* 250: SQLite's busy timeout; 500 at most */
	struct episode_options episodes;
	/* ns since the epoch; NULL: CLOCK_REALTIME. The thread calls it, too. */
	uint64_t (*clock)(void *context);
	/* Once when something fails and once when it works again. Called by new, write and close.
	 */
	void (*say)(void *context, const char *text);
	void *context; /* of both */
};

/* Since the sink began. A record is in one of: waiting, acknowledged, unconfirmed, dropped. */
struct warden_counts {
	uint64_t acknowledged; /* on disk */
	uint64_t unconfirmed;  /* written, and fsync failed: not written again */
	uint64_t dropped_full; /* the queue was full: events first, the oldest first */
	uint64_t dropped_day;  /* events of a day whose file is full */
	uint64_t dropped_memory;
	uint64_t not_followed; /* services beyond EPISODE_SERVICES */
	unsigned waiting, most_waiting;
	uint64_t waiting_bytes;
	/* Of the records that were acknowledged, the last one's number; they are in order. */
	uint64_t sequence;
	bool paused;                       /* the last attempt failed */
	enum warden_generation generation; /* of the last attempt; AUTO: none yet */
};

/*
 * 0, or -EINVAL, -ENOMEM, ... with words; -EBUSY: another sink has the state directory; -EAGAIN:
 * what an earlier run wrote last cannot be read (now), and is to be tried again. A data directory
 * that is not there (yet) is no error where there was no earlier run: the records wait. Reads the
 * state and the tails of what an earlier run wrote, and this once does wait for the disk.
 */
int sink_warden_new(
	const struct warden_options *options, struct sink **ret_sink, struct diag *diag);

void sink_warden_counts(struct sink *sink, struct warden_counts *ret_counts);

/*
 * sink_write is 0 or -ENOMEM, and never waits for a disk. sink_close writes what waits, for a
 * second at most, and says what is left; where the disk hangs even then, the thread is left behind
 * with what belongs to it. It is 0, or -EIO where a record was dropped, left or not confirmed.
 */

#endif
