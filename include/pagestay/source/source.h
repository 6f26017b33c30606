/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A source of events: the live kernel, a recording, or a test's own list. Each kind has a
 * constructor of its own (live.h, replay.h); what comes after is the same for all.
 */
#ifndef PAGESTAY_SOURCE_SOURCE_H
#define PAGESTAY_SOURCE_SOURCE_H

#include "pagestay/base/diag.h"
#include "pagestay/edge/event.h"

struct source;

enum source_until {
	SOURCE_NOW,   /* what is urgent: processes that came and went. Never a TICK */
	SOURCE_START, /* everything up to and including START */
	SOURCE_TICK,  /* everything up to now, closed by a TICK */
	SOURCE_LAST,  /* the same, in well under a second: the program is about to end */
};

struct source_ops {
	const char *name; /* the report's `source` */
	int (*drain)(struct source *source, enum source_until until, event_fn deliver,
		void *context, struct diag *diag);
	void (*close)(struct source *source);
};

/* The first member of every source. */
struct source {
	const struct source_ops *ops;
};

/*
 * Deliver events in order. Returns 1 when it delivered up to what was asked, 0 when the source has
 * ended (a recording's end; the live source never ends), or -errno with `diag` set. -EBADMSG: the
 * recording is damaged here, and what was delivered before is sound. An error of `deliver` is
 * returned as it is, without words.
 */
static inline int source_drain(struct source *source, enum source_until until, event_fn deliver,
	void *context, struct diag *diag)
{
	return source->ops->drain(source, until, deliver, context, diag);
}

/* Takes NULL. */
static inline void source_close(struct source *source)
{
	if (source)
		source->ops->close(source);
}

#endif
