/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The sink of JSON Lines in rotating files: makes each report's line in memory, as the JSON sink
 * does, and hands it to the thread (files_spool.c). Never fails: what cannot be kept is counted.
 */
#include "pagestay/sink/files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "files_spool.h"
#include "pagestay/base/cleanup.h"

struct sink_files {
	struct sink sink;
	struct spool *spool;
};

static int line_of(const struct report *report, char **ret_bytes, size_t *ret_length)
{
	FILE *out = open_memstream(ret_bytes, ret_length);
	const struct sink_options options = {.out = out};
	struct sink *json = out ? sink_json_new(&options) : NULL;
	int error = json ? sink_write(json, report) : -ENOMEM;

	(void)sink_close(json);
	if (out && fclose(out) && !error)
		error = -ENOMEM;
	return error;
}

static int files_write(struct sink *sink, const struct report *report)
{
	struct sink_files *files = (struct sink_files *)sink;
	_cleanup_(cleanup_free) char *bytes = NULL;
	size_t length = 0;

	if (line_of(report, &bytes, &length) == 0)
		(void)spool_put(files->spool, TAKE(bytes), length, false);
	else
		spool_drop(files->spool, -ENOMEM);
	spool_say(files->spool);
	return 0;
}

static void files_end(struct sink *sink)
{
	spool_end(((struct sink_files *)sink)->spool);
}

static int files_close(struct sink *sink)
{
	struct sink_files *files = (struct sink_files *)sink;
	int error = spool_close(files->spool);

	free(files);
	return error;
}

static const struct sink_ops files_ops = {
	.write = files_write,
	.end = files_end,
	.close = files_close,
};

int sink_files_new(const struct files_options *options, struct sink **ret_sink, struct diag *diag)
{
	struct sink_files *files = calloc(1, sizeof(*files));
	int error;

	if (!files)
		return diag_set(diag, -ENOMEM, "out of memory");
	files->sink.ops = &files_ops;
	error = spool_new(options, ROTATE_LINES, NULL, 0, &files->spool, diag);
	if (error) {
		free(files);
		return error;
	}
	*ret_sink = (struct sink *)files;
	return 0;
}

void sink_files_counters(const struct sink *sink, struct files_counters *ret_counters)
{
	spool_counters(((const struct sink_files *)sink)->spool, ret_counters);
}
