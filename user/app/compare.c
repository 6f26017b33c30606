/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The command compare: finds out what the user's two words name, has the reports of each folded,
 * and writes the table. A side is a process of a recording, or one that runs; two that run are
 * watched together, and what is asked for of one recording twice is read once.
 */
#include "run.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pagestay/base/text.h"
#include "pagestay/core/compare.h"
#include "pagestay/sink/compare.h"

#define LIVE_INTERVAL_S 1.0
#define PID_MOST        4194304 /* PID_MAX_LIMIT of 64-bit kernels */

struct side {
	const char *word;    /* as the user wrote it */
	char path[PATH_MAX]; /* of the recording; empty: a process that runs */
	struct columns_choice choice;
	struct columns *columns; /* of the stream; the other side's, if shared */
	const struct column *column;
	bool shared;
};

struct live_fold {
	struct columns *columns;
	const struct options *options; /* whose pids are watched */
};

static bool is_number(const char *word, unsigned long most, uint32_t *ret_number)
{
	char *end;
	unsigned long number;

	errno = 0;
	number = strtoul(word, &end, 10);
	if (*word < '0' || *word > '9' || *end || errno || number > most)
		return false;
	*ret_number = (uint32_t)number;
	return true;
}

/* FILE if there is such a file; a pid; FILE:PID or FILE:COMM, by the last colon; FILE. */
static int side_init(struct side *side, const char *word, struct diag *diag)
{
	bool is_file = access(word, F_OK) == 0;
	const char *colon = is_file ? NULL : strrchr(word, ':');
	size_t length = colon ? (size_t)(colon - word) : strlen(word);

	*side = (struct side){.word = word};
	if (!is_file && is_number(word, PID_MOST, &side->choice.pid)) {
		side->choice.by_pid = true;
		return 0;
	}
	if (colon) {
		side->choice.by_pid = is_number(colon + 1, UINT32_MAX, &side->choice.pid);
		side->choice.comm = colon + 1;
	}
	if (!length || length >= sizeof(side->path) || (colon && !colon[1]))
		return diag_set(diag, -EINVAL, "'%s' is no pid, FILE, FILE:PID or FILE:COMM", word);
	memcpy(side->path, word, length);
	return 0;
}

static bool is_live(const struct side *side)
{
	return !side->path[0];
}

static bool is_watched(const struct options *options, const struct report_process *process)
{
	for (unsigned i = 0; i < options->pid_count; i++)
		if (options->pids[i] == process->key.tgid)
			return true;
	return false;
}

static int fold(void *context, const struct report *report)
{
	return columns_fold(context, report);
}

/* Behind the end of one of the two there is nothing more to compare. */
static int fold_live(void *context, const struct report *report)
{
	struct live_fold *live = context;
	int error = columns_fold(live->columns, report);

	for (size_t i = 0; !error && i < report->process_count; i++)
		if (report->processes[i].exited && is_watched(live->options, &report->processes[i]))
			return 1;
	return error;
}

static int read_recording(struct side *side, const struct options *options, struct diag *diag)
{
	struct options reading = *options;

	reading.file = side->path;
	return run_reports(&reading, fold, side->columns, diag);
}

/* As diagnose does: every page and every heap, for a while. */
static int watch(
	const struct side *sides, int count, const struct options *options, struct diag *diag)
{
	struct options watching = *options;
	struct live_fold live = {.columns = sides[0].columns, .options = &watching};

	for (int i = 0; i < count; i++)
		watching.pids[i] = sides[i].choice.pid;
	watching.pid_count = (unsigned)count;
	watching.requests = watching.pages = watching.xray = true;
	watching.interval_s = LIVE_INTERVAL_S;
	watching.count = (unsigned)ceil(options->for_s / LIVE_INTERVAL_S);
	return run_reports(&watching, fold_live, &live, diag);
}

/* Both are of one stream: the same recording, or both run. */
static bool are_together(const struct side sides[2])
{
	return strcmp(sides[0].path, sides[1].path) == 0;
}

/* The columns of the stream that `count` sides, one or two, are of. */
static int fill(struct side *sides, int count, const struct options *options, struct diag *diag)
{
	int error = columns_new(&sides[0].columns);

	if (error)
		return error;
	if (count == 2) {
		sides[1].columns = sides[0].columns;
		sides[1].shared = true;
	}
	return is_live(&sides[0]) ? watch(sides, count, options, diag)
				  : read_recording(&sides[0], options, diag);
}

static void tell(const char *word, const struct column *column, uint64_t fitting)
{
	char name[256], comm[4 * PS_COMM_BYTES], count[16];

	text_for_terminal(word, strlen(word), sizeof(name) - 1, name, sizeof(name));
	text_for_terminal(column->comm, strlen(column->comm), sizeof(comm) - 1, comm, sizeof(comm));
	text_count(fitting, count);
	(void)fprintf(stderr,
		"pagestay: %s fits %s processes; taken is pid %u (%s), the first by requests and "
		"RSS; FILE:PID names another\n",
		name, count, column->key.tgid, comm);
}

static int choose(struct side *side, struct diag *diag)
{
	uint64_t fitting = 0;

	side->column = columns_choose(side->columns, &side->choice, &fitting);
	if (!side->column)
		return diag_set(
			diag, -ESRCH, "%s: there is no such process in what was read", side->word);
	if (fitting > 1)
		tell(side->word, side->column, fitting);
	return 0;
}

/*
 * Fills and chooses. A damaged recording is told at once, its sound part is used, and *ret_damaged
 * says that there was one.
 */
static int prepare(
	struct side sides[2], const struct options *options, bool *ret_damaged, struct diag *diag)
{
	int together = are_together(sides) ? 2 : 1;
	int error = 0;

	for (int i = 0; i < 2 && !error; i += together) {
		struct diag cause = {};

		error = fill(&sides[i], together, options, &cause);
		if (error == -EBADMSG) {
			(void)run_failed(&cause, error);
			*ret_damaged = true;
			error = 0;
		} else if (error) {
			(void)diag_set(
				diag, error, "%s", cause.text[0] ? cause.text : strerror(-error));
		}
	}
	for (int i = 0; i < 2 && !error; i++)
		error = choose(&sides[i], diag);
	if (!error && sides[0].column == sides[1].column)
		(void)fputs("pagestay: both sides are the same process\n", stderr);
	return error;
}

static int write_table(const struct side sides[2], const struct options *options)
{
	static int (*const writers[])(
		FILE * out, const struct comparison *comparison, const char *const words[2]) = {
		[OUTPUT_TEXT] = compare_write_text,
		[OUTPUT_JSON] = compare_write_json,
		[OUTPUT_MARKDOWN] = compare_write_markdown,
	};
	const struct columns_head *const heads[2] = {
		columns_head(sides[0].columns), columns_head(sides[1].columns)};
	const struct column *const columns[2] = {sides[0].column, sides[1].column};
	const char *const words[2] = {sides[0].word, sides[1].word};
	struct comparison comparison;

	compare(heads, columns, options->marks_by_requests, &comparison);
	return writers[options->output](stdout, &comparison, words);
}

static enum exit_code refuse(const struct diag *diag)
{
	(void)fprintf(stderr, "pagestay: %s\nTry `pagestay --help`.\n", diag->text);
	return EXIT_USAGE;
}

static enum exit_code compare_sides(struct side sides[2], const struct options *options)
{
	struct diag diag = {};
	bool damaged = false;
	int error = prepare(sides, options, &damaged, &diag);

	if (!error) {
		error = write_table(sides, options);
		if (error)
			(void)diag_set(&diag, error, "cannot write to standard output: %s",
				strerror(-error));
	}
	if (error && error != -EPIPE)
		return run_failed(&diag, error);
	return damaged ? EXIT_RUNTIME : EXIT_OK;
}

enum exit_code run_compare(const struct options *options)
{
	struct side sides[2] = {};
	struct diag diag = {};
	enum exit_code code;

	for (int i = 0; i < 2; i++)
		if (side_init(&sides[i], options->sides[i], &diag))
			return refuse(&diag);
	if (is_live(&sides[0]) && is_live(&sides[1]) &&
		sides[0].choice.pid == sides[1].choice.pid) {
		(void)diag_set(&diag, -EINVAL, "%s is compared with itself", sides[0].word);
		return refuse(&diag);
	}
	code = compare_sides(sides, options);
	columns_free(sides[0].columns);
	if (!sides[1].shared)
		columns_free(sides[1].columns);
	return code;
}
