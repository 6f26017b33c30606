/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the replay of one recording: where in the stream it is, and the path for its messages. What
 * it delivers is in the order that event.h allows, so the core need not doubt it. Behind the end or
 * a failure of the recording it delivers nothing. Called through struct source by the app.
 */
#include "pagestay/source/replay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pagestay/base/text.h"
#include "pagestay/edge/recording.h"

#define NAME_COLUMNS 256 /* of a path in a message */

/* What came last. */
enum place {
	NOWHERE = 0, /* an event out of order: no other may follow */
	AT_BEGINNING = 1 << 0,
	IN_NOTES = 1 << 1,     /* STREAM or NOTE */
	IN_INVENTORY = 1 << 2, /* what is there before START */
	AT_BOUNDARY = 1 << 3,  /* START or TICK */
	IN_INTERVAL = 1 << 4,
};

#define BEFORE_START (IN_NOTES | IN_INVENTORY)
#define AFTER_START  (AT_BOUNDARY | IN_INTERVAL)

struct replay {
	struct source source;
	struct recording_reader *reader;
	enum place place;
	char name[NAME_COLUMNS + 1]; /* the path, fit to print */
};

/* Where an event of this kind may follow. */
static unsigned places_before(enum event_kind kind)
{
	switch (kind) {
	case EVENT_STREAM:
		return AT_BEGINNING;
	case EVENT_NOTE:
		return BEFORE_START | AFTER_START;
	case EVENT_START:
		return BEFORE_START;
	case EVENT_TICK:
		return AFTER_START;
	default:
		return BEFORE_START | AFTER_START;
	}
}

static enum place place_after(enum place before, enum event_kind kind)
{
	switch (kind) {
	case EVENT_STREAM:
		return IN_NOTES;
	case EVENT_START:
	case EVENT_TICK:
		return AT_BOUNDARY;
	case EVENT_NOTE:
		if (before == IN_NOTES)
			return IN_NOTES;
		/* fall through */
	default:
		return before & BEFORE_START ? IN_INVENTORY : IN_INTERVAL;
	}
}

static int check_order(struct replay *replay, enum event_kind kind, struct diag *diag)
{
	if (replay->place & places_before(kind)) {
		replay->place = place_after(replay->place, kind);
		return 0;
	}
	replay->place = NOWHERE;
	return diag_set(diag, -EBADMSG,
		"damaged at byte %" PRIu64 ": the block that begins here holds an event (kind %d) "
		"where the order does not allow it",
		recording_offset(replay->reader), (int)kind);
}

static int check_end(const struct replay *replay, struct diag *diag)
{
	if (replay->place == AT_BOUNDARY)
		return 0;
	return diag_set(diag, -EBADMSG, "ends at byte %" PRIu64 ", %s",
		recording_offset(replay->reader),
		replay->place == IN_INTERVAL ? "inside an interval" : "before its START");
}

/* The next event, in order: 1, or 0 at the end, or -errno. */
static int next_event(struct replay *replay, struct event *ret_event, struct diag *diag)
{
	int result = recording_read(replay->reader, ret_event, diag);
	int error = 0;

	if (result > 0)
		error = check_order(replay, ret_event->kind, diag);
	else if (result == 0)
		error = check_end(replay, diag);
	return error ? error : result;
}

static int replay_drain(struct source *source, enum source_until until, event_fn deliver,
	void *context, struct diag *diag)
{
	struct replay *replay = (struct replay *)source;
	enum event_kind last = until == SOURCE_START ? EVENT_START : EVENT_TICK;
	struct diag cause = {};
	struct event event;

	if (until == SOURCE_NOW)
		return 1;
	do {
		int error, result = next_event(replay, &event, &cause);

		if (result < 0)
			return diag_set(diag, result, "%s: %s", replay->name, cause.text);
		if (result == 0)
			return 0;
		error = deliver(context, &event);
		if (error)
			return error;
	} while (event.kind != last);
	return 1;
}

static void replay_close(struct source *source)
{
	struct replay *replay = (struct replay *)source;

	recording_reader_free(replay->reader);
	free(replay);
}

static const struct source_ops replay_ops = {"replay", replay_drain, replay_close};

static int open_reader(struct replay *replay, const char *path, struct diag *diag)
{
	FILE *file = fopen(path, "re");
	struct diag cause = {};
	int error;

	if (!file) {
		error = -errno;
		return diag_set(diag, error, "%s: cannot open: %s", replay->name, strerror(-error));
	}
	error = recording_reader_new(file, &replay->reader, &cause);
	return error ? diag_set(diag, error, "%s: %s", replay->name, cause.text) : 0;
}

int source_replay_open(const char *path, struct source **ret_source, struct diag *diag)
{
	struct replay *replay = calloc(1, sizeof(*replay));
	int error;

	if (!replay)
		return diag_set(diag, -ENOMEM, "out of memory");
	replay->source.ops = &replay_ops;
	replay->place = AT_BEGINNING;
	text_for_terminal(path, strlen(path), NAME_COLUMNS, replay->name, sizeof(replay->name));
	error = open_reader(replay, path, diag);
	if (error)
		replay_close(&replay->source);
	else
		*ret_source = &replay->source;
	return error;
}
