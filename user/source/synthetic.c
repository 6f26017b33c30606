/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns a position in somebody's array of events. The fake beside the live source: called by tests.
 */
#include "pagestay/source/synthetic.h"

#include <errno.h>
#include <stdlib.h>

struct synthetic {
	struct source source;
	const struct event *events;
	size_t count;
	size_t next;
};

static int synthetic_drain(struct source *source, enum source_until until, event_fn deliver,
	void *context, struct diag *diag)
{
	struct synthetic *synthetic = (struct synthetic *)source;
	enum event_kind last = until == SOURCE_START ? EVENT_START : EVENT_TICK;

	if (until == SOURCE_NOW)
		return 1;
	while (synthetic->next < synthetic->count) {
		const struct event *event = &synthetic->events[synthetic->next++];
		int error = deliver(context, event);

		if (error)
			return error;
		if (event->kind == last)
			return 1;
	}
	return 0;
}

static void synthetic_close(struct source *source)
{
	free(source);
}

static const struct source_ops synthetic_ops = {"synthetic", synthetic_drain, synthetic_close};

int source_synthetic_new(const struct event *events, size_t count, struct source **ret_source)
{
	struct synthetic *synthetic = calloc(1, sizeof(*synthetic));

	if (!synthetic)
		return -ENOMEM;
	synthetic->source.ops = &synthetic_ops;
	synthetic->events = events;
	synthetic->count = count;
	*ret_source = (struct source *)synthetic;
	return 0;
}
