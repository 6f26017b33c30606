/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The command diagnose: watches one process at every detail for a while, and tells the verdict. The
 * text is made anew at each interval and shown once, so that a signal or the process's end leaves
 * the newest.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "pagestay/base/cleanup.h"
#include "pagestay/sink/diagnosis.h"
#include "pagestay/sink/sink.h"
#include "run.h"

#define INTERVALS 120 /* at most, of a second at least */

struct diagnosis {
	enum output output;
	char *bytes; /* the newest; NULL: none yet */
	size_t length;
};

static int render(struct diagnosis *diagnosis, const struct report *report,
	const struct report_process *process)
{
	char *bytes = NULL;
	size_t length = 0;
	FILE *page = open_memstream(&bytes, &length);
	int error;

	if (!page)
		return -ENOMEM;
	error = diagnosis->output == OUTPUT_JSON
			? diagnosis_put_json(page, report, process)
			: diagnosis_put_text(page, run_columns(), report, process);
	if (fclose(page) || error) {
		free(bytes);
		return -ENOMEM;
	}
	free(diagnosis->bytes);
	diagnosis->bytes = bytes;
	diagnosis->length = length;
	return 0;
}

/* A process that is gone has nothing to show any more: what it was before is shown. */
static int take_report(void *context, const struct report *report)
{
	struct diagnosis *diagnosis = context;

	if (!report->process_count || report->processes[0].exited)
		return 1;
	return render(diagnosis, report, &report->processes[0]);
}

static int diagnose(const struct options *options, struct diagnosis *diagnosis, struct diag *diag)
{
	struct options live = *options;
	int error;

	live.requests = live.pages = live.routes = live.xray = true;
	live.interval_s = options->for_s > INTERVALS ? options->for_s / INTERVALS : 1;
	live.count = (unsigned)(options->for_s / live.interval_s + 0.5);
	error = run_check_target(options->pids[0], diag);
	if (!error)
		error = run_reports(&live, take_report, diagnosis, diag);
	if (!error && !diagnosis->bytes)
		error = diag_set(diag, -ESRCH, "process %u ended before there was anything to say",
			options->pids[0]);
	return error;
}

enum exit_code run_diagnose(const struct options *options)
{
	struct diagnosis diagnosis = {.output = options->output};
	struct diag diag = {};
	int error = diagnose(options, &diagnosis, &diag);

	if (!error)
		error = sink_put(stdout, diagnosis.bytes, diagnosis.length);
	free(diagnosis.bytes);
	return error && error != -EPIPE ? run_failed(&diag, error) : EXIT_OK;
}
