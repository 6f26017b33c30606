/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Files of our own that never grow without a bound, in one directory:
 *
 *   pagestay-YYYY-MM-DD.jsonl[.N][.gz]    lines, local dates
 *   pagestay-YYYY-MM-DD.psr[.N]           recordings, which are compressed in themselves
 *
 * .1, .2 ... are what followed on the same day when the file before had its size. A file is only
 * appended to, by whole lines or whole blocks, until it ends; then it is compressed under a name of
 * its own and removed, never renamed. So a byte offset in a file is good as long as the file is.
 * Names never go back: when the clock is set back by up to two days, the newest day goes on.
 *
 * What was appended before a rotate_sync that succeeded is on the disk, and is not lost but by
 * somebody else's hand. A failure of the disk pauses: what is appended meanwhile is dropped and
 * counted, each first append after a rotate_sync tries again, and both changes are said once.
 *
 * One thread at a time. Calls take as long as the disk does.
 */
#ifndef PAGESTAY_EDGE_ROTATE_H
#define PAGESTAY_EDGE_ROTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pagestay/base/diag.h"

#define ROTATE_NAME_BYTES   48
#define ROTATE_APPEND_BYTES (64u << 20) /* the longest append; a follower reads lines so long */

enum rotate_kind {
	ROTATE_LINES,      /* goes on in the day's last file; cuts off a torn last line */
	ROTATE_RECORDINGS, /* begins a file when told to, and never goes on in one */
	ROTATE_KINDS,
};

struct rotate_options {
	const char *directory; /* must exist; who may read it is its owner's matter */
	enum rotate_kind kind;
	/* A file is no longer than this and than a quarter of keep_bytes, unless it is a single
	 * append; a recording is longer by its last interval. 0: no limit. */
	uint64_t rotate_bytes;
	uint64_t keep_bytes; /* of both kinds together. 0: no limit */
	unsigned keep_days;  /* before today. 0: no limit */
	const char *end;     /* the caller's: what a recording ends with, unless it is killed */
	size_t end_bytes;
	uint64_t (*wall_ns)(void *context);           /* since the epoch; NULL: CLOCK_REALTIME */
	void (*say)(void *context, const char *text); /* NULL: to nobody */
	void *context;
};

struct rotate_counters {
	uint64_t appended; /* appends that were written whole */
	uint64_t synced;   /* of these: known to be on the disk */
	uint64_t dropped;  /* appends that are not, and never will be, in a file */
	uint64_t files_begun;
	uint64_t files_compressed;
	uint64_t files_expired;
	uint64_t bytes_kept; /* by files of both kinds, as last looked up */
	bool paused;
};

struct rotate;

/*
 * Takes the directory's lock for this kind. -EBUSY: another has it. What else is wrong with the
 * directory is said, and is a pause like any other. -EINVAL, -ENOMEM. `options` is copied; the
 * directory's name too.
 */
int rotate_new(const struct rotate_options *options, struct rotate **ret_rotate, struct diag *diag);

/* Syncs and closes. Takes NULL. */
void rotate_free(struct rotate *rotate);

/* What options said of bytes and days is this from now on. Does not wait for the disk. */
void rotate_limit(
	struct rotate *rotate, uint64_t rotate_bytes, uint64_t keep_bytes, unsigned keep_days);

/*
 * Lines: `begins` is false, and a new file begins by itself where one is due. Recordings: true for
 * the first bytes of each file. 0, or -errno: dropped. -ESTALE: of a recording that has broken off;
 * only a new one can be written.
 */
int rotate_append(struct rotate *rotate, const char *bytes, size_t length, bool begins);

/* Recordings: the next append should begin a file (the day or the size is full, or it broke off).
 */
bool rotate_is_due(struct rotate *rotate);

/* The end of an interval: what was appended goes to the disk, what has had its time is removed. */
void rotate_sync(struct rotate *rotate);

/*
 * A step of compression, of 256 KiB and some 20 ms: true if there is more to do. A file's first
 * step looks for a torn end, which is as long as an append at most.
 */
bool rotate_work(struct rotate *rotate);

const struct rotate_counters *rotate_counters(const struct rotate *rotate);

/* The name of the first file of a day: where a follower without a cursor begins. 0 or -EOVERFLOW.
 */
int rotate_name_at(enum rotate_kind kind, uint64_t wall_ns, char ret_name[ROTATE_NAME_BYTES]);

#endif
