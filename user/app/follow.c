/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The command follow: what the agent writes as JSON Lines, to standard output. A signal just ends
 * it: the cursor stands behind what had arrived a second before at the latest, and what is read
 * twice then is whole lines.
 */
#include "run.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "pagestay/base/clock.h"
#include "pagestay/edge/follow.h"

#define LOOK_NS NS_PER_S /* between looks for more, and between cursors */

static void say(void *context, const char *text)
{
	(void)fprintf(stderr, "pagestay: %s\n", text);
}

/* 1: written. 0: the reader has gone. */
static int put(const char *lines, size_t length, struct diag *diag)
{
	errno = 0;
	if (fwrite(lines, 1, length, stdout) == length && fflush(stdout) == 0)
		return 1;
	if (errno == EPIPE)
		return 0;
	return diag_set(diag, errno ? -errno : -EIO, "cannot write to standard output: %s",
		strerror(errno ? errno : EIO));
}

/* All that is there. 1: until now. 0: nobody reads it. */
static int put_all(struct follower *follower, struct diag *diag)
{
	uint64_t kept_ns = clock_ns(CLOCK_MONOTONIC);
	const char *lines;
	size_t length;
	int got;

	while ((got = follower_read(follower, &lines, &length, diag)) > 0) {
		int error = put(lines, length, diag);

		if (error > 0 && clock_ns(CLOCK_MONOTONIC) - kept_ns > LOOK_NS) {
			kept_ns = clock_ns(CLOCK_MONOTONIC);
			error = follower_keep(follower, diag) ? -EIO : 1;
		}
		if (error <= 0)
			return error;
	}
	if (got < 0)
		return got;
	return follower_keep(follower, diag) ? -EIO : 1;
}

enum exit_code run_follow(const struct options *options)
{
	const struct follow_options following = {
		.directory = options->file, .cursor = options->cursor, .say = say};
	const struct timespec pause = clock_timespec(LOOK_NS);
	struct follower *follower = NULL;
	struct diag diag = {};
	int error = follower_open(&following, &follower, &diag);

	if (!error) {
		while ((error = put_all(follower, &diag)) > 0 && !options->once)
			(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
	follower_close(follower);
	return error < 0 ? run_failed(&diag, error) : EXIT_OK;
}
