/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads the JSON Lines of a directory of rotating files (edge/rotate.h) as they come: in the files'
 * order, by whole lines and byte offset, over their ends, their compression and their expiry.
 *
 * A file has ended when there is a newer one; then it is read to its end once more. A line without
 * its end waits for it, and is passed over when its file has ended. What is passed over, and what
 * went away unread, is said; but not a whole day that is missing: names do not tell that.
 *
 * A clock that was set back by more than two days leaves files that are further ahead of today, by
 * our zone; the writer goes back to today. These wait until they are no more than two days ahead. A
 * follower that stands in one goes, as soon as there is another file, to where one without a cursor
 * begins, and says so: what it had read from there on comes again, and what it had read of days
 * ahead does when these come near; what is unread of days before is missed.
 */
#ifndef PAGESTAY_EDGE_FOLLOW_H
#define PAGESTAY_EDGE_FOLLOW_H

#include <stddef.h>
#include <stdint.h>

#include "pagestay/base/diag.h"
#include "pagestay/edge/rotate.h"

#define FOLLOW_LINE_BYTES ROTATE_APPEND_BYTES /* a longer line is an error */

struct follow_options {
	const char *directory;
	/* A file's path. NULL: remember nothing, and begin with today's first file; as without a
	 * cursor in it, where there is none of today or later, with the newest day's first. Files
	 * far ahead do not count. */
	const char *cursor;
	uint64_t (*wall_ns)(void *context); /* since the epoch; NULL: CLOCK_REALTIME */
	void (*say)(void *context, const char *text);
	void *context;
};

struct follower;

/* 0, or -errno with words. `options` is copied; the texts are not. */
int follower_open(
	const struct follow_options *options, struct follower **ret_follower, struct diag *diag);

/*
 * The next whole lines, as many as were there, valid until the next call: 1. 0: there is none now.
 * -errno with words: this file cannot be read; -EMSGSIZE: a line is too long.
 */
int follower_read(
	struct follower *follower, const char **ret_lines, size_t *ret_length, struct diag *diag);

/* All that was read has been dealt with: the cursor stands behind it. 0, or -errno with words. */
int follower_keep(struct follower *follower, struct diag *diag);

/* Takes NULL. Does not keep. */
void follower_close(struct follower *follower);

#endif
