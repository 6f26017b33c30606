/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A sink writes reports somewhere. It sees the report and nothing else.
 */
#ifndef PAGESTAY_SINK_SINK_H
#define PAGESTAY_SINK_SINK_H

#include <stdio.h>

#include "pagestay/core/report.h"

struct sink;

struct sink_ops {
	int (*write)(struct sink *sink, const struct report *report);
	void (*end)(struct sink *sink); /* NULL: closing waits for nothing */
	int (*close)(struct sink *sink);
};

/* The first member of every sink. */
struct sink {
	const struct sink_ops *ops;
};

struct sink_options {
	FILE *out;        /* stays the caller's */
	unsigned columns; /* of the terminal; fewer than 80 are taken as 80 */
	unsigned top;     /* rows of the text table, 0: all; JSON always has all processes */
};

/* NULL when out of memory. */
struct sink *sink_text_new(const struct sink_options *options);
struct sink *sink_json_new(const struct sink_options *options);

/* For sinks: one fwrite of all bytes, and a flush. 0 or -errno. */
int sink_put(FILE *out, const char *bytes, size_t length);

/* For sinks: whether the report's detail level tracks pages. */
bool sink_shows_pages(const struct report *report);

/* Writes and flushes one report. 0 or -errno of the write (-EPIPE: the reader has gone). */
static inline int sink_write(struct sink *sink, const struct report *report)
{
	return sink->ops->write(sink, report);
}

/*
 * No report comes any more: the time that closing may take begins. Does not wait, so that several
 * sinks close at once. May be left out. Takes NULL.
 */
static inline void sink_end(struct sink *sink)
{
	if (sink && sink->ops->end)
		sink->ops->end(sink);
}

/* Takes NULL. Returns the first error of a write, or 0. */
static inline int sink_close(struct sink *sink)
{
	return sink ? sink->ops->close(sink) : 0;
}

#endif
