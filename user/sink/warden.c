/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The sink for the dashboard agent of Inner Warden: folds each report into episodes and the day's
 * summary, makes records of what is worth telling and hands them to the writer's thread. At the
 * start it takes up where an earlier run with the same state directory ended. Nothing here waits
 * for a disk but the start. Used through `struct sink` by the app.
 */
#include "warden_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "pagestay/base/clock.h"
#include "pagestay/base/cleanup.h"

#define MEMORY_NS     (300 * NS_PER_S) /* how much of a day's summary may be lost */
#define BUSY_MOST_MS  500
#define QUEUE_RECORDS 4096
#define SAID_BYTES    320

struct sink_warden {
	struct sink sink;
	struct episodes *episodes;
	struct narrative narrative;
	struct warden_origin origin;
	char *boot; /* NULL: not known */
	struct warden_writer *writer;
	bool has_state;
	bool is_ending;           /* `end` was called */
	uint64_t sequence;        /* of the last record */
	uint64_t since_memory_ns; /* since the state was handed over */
	uint64_t dropped_memory;  /* records for which there was none */
	uint64_t (*clock)(void *context);
	void (*say)(void *context, const char *text);
	void *context;
	/* Of the write under way. */
	const struct report *report;
	struct warden_record *first, **last;
};

static uint64_t real_clock(void *context)
{
	return clock_ns(CLOCK_REALTIME);
}

static void pass_on(struct sink_warden *warden)
{
	char text[SAID_BYTES];

	while (warden_writer_said(warden->writer, text, sizeof(text)))
		if (warden->say)
			warden->say(warden->context, text);
}

/*
 * Writing.
 */

static int take(struct sink_warden *warden, struct warden_record *record)
{
	if (!record) {
		warden->dropped_memory++;
		return -ENOMEM;
	}
	warden->sequence++;
	*warden->last = record;
	warden->last = &record->next;
	return 0;
}

static int tell_day(void *context, const struct narrative *narrative)
{
	struct sink_warden *warden = context;

	return take(warden, warden_record_of_day(&warden->origin, warden->sequence + 1,
				    warden->report, narrative));
}

static int tell_happening(void *context, const struct happening *happening)
{
	struct sink_warden *warden = context;

	narrative_count(&warden->narrative, happening->kind, happening->restarts);
	return take(warden,
		warden_record_of(&warden->origin, warden->sequence + 1, warden->report, happening));
}

/* 20260102, of 2026-01-02. */
static unsigned local_day(const struct sink_warden *warden)
{
	const struct warden_place place = {.clock = warden->clock, .context = warden->context};
	char date[WARDEN_DATE_BYTES];
	unsigned day = 0;

	warden_local_date(&place, date);
	for (const char *at = date; *at; at++)
		if (*at >= '0' && *at <= '9')
			day = day * 10 + (unsigned)(*at - '0');
	return day;
}

static struct warden_memory memory_of(struct sink_warden *warden)
{
	return (struct warden_memory){warden->episodes, &warden->narrative, warden->boot};
}

static char *memory_text(struct sink_warden *warden)
{
	const struct warden_memory memory = memory_of(warden);

	if (!warden->has_state)
		return NULL;
	warden->since_memory_ns = 0;
	return warden_memory_text(&memory);
}

static int write_report(struct sink *sink, const struct report *report)
{
	struct sink_warden *warden = (struct sink_warden *)sink;
	int day_error, error;

	warden->report = report;
	warden->first = NULL;
	warden->last = &warden->first;
	day_error = narrative_fold(&warden->narrative, report, local_day(warden), tell_day, warden);
	error = episodes_fold(warden->episodes, report, tell_happening, warden);
	warden->since_memory_ns +=
		report->interval_ns < MEMORY_NS ? report->interval_ns : MEMORY_NS;
	if (warden->first || warden->since_memory_ns >= MEMORY_NS)
		warden_writer_put(warden->writer, warden->first, memory_text(warden));
	warden->first = NULL;
	pass_on(warden);
	return day_error ? day_error : error;
}

void sink_warden_counts(struct sink *sink, struct warden_counts *ret_counts)
{
	struct sink_warden *warden = (struct sink_warden *)sink;

	warden_writer_counts(warden->writer, ret_counts);
	ret_counts->dropped_memory = warden->dropped_memory;
	ret_counts->not_followed = episodes_not_followed(warden->episodes);
}

static void warden_free(struct sink_warden *warden)
{
	episodes_free(warden->episodes);
	free(warden->boot);
	free(warden);
}

static void end_sink(struct sink *sink)
{
	struct sink_warden *warden = (struct sink_warden *)sink;

	if (warden->is_ending)
		return;
	warden->is_ending = true;
	warden_writer_put(warden->writer, NULL, memory_text(warden));
	warden_writer_end(warden->writer);
}

static int close_sink(struct sink *sink)
{
	struct sink_warden *warden = (struct sink_warden *)sink;
	struct warden_counts counts;
	bool is_whole;

	end_sink(sink);
	warden_writer_wait(warden->writer);
	pass_on(warden);
	sink_warden_counts(sink, &counts);
	is_whole = !counts.waiting && !counts.unconfirmed && !counts.dropped_full &&
		   !counts.dropped_day && !counts.dropped_memory;
	warden_writer_release(warden->writer);
	warden_free(warden);
	return is_whole ? 0 : -EIO;
}

static const struct sink_ops warden_ops = {
	.write = write_report,
	.end = end_sink,
	.close = close_sink,
};

/*
 * The start.
 */

struct search {
	const struct warden_origin *origin;
	uint64_t sequence;
	json_t *found;
	int error;
};

static void found_line(void *context, const char *line, size_t length)
{
	struct search *search = context;
	int error = warden_state_collect(
		search->found, search->origin->writer, search->sequence, line, length);

	search->error = search->error ? search->error : error;
}

/* What an earlier run wrote after it had last kept its state. */
static int read_tails(struct sink_warden *warden, const struct warden_place *place,
	const struct warden_position *position)
{
	const struct warden_memory memory = memory_of(warden);
	struct search search = {&warden->origin, warden->sequence, json_array(), 0};
	int error = search.found ? 0 : -ENOMEM;

	for (unsigned i = 0; i < position->count && !error; i++) {
		const struct warden_mark *mark = &position->marks[i];

		error = mark->date[0] ? warden_jsonl_tail(place, mark, found_line, &search)
				      : warden_sqlite_tail(place, mark, found_line, &search);
	}
	error = error ? error : search.error;
	if (search.found && warden_state_absorb(&memory, search.found, &warden->sequence))
		error = error ? error : -ENOMEM;
	json_decref(search.found);
	return error;
}

static void say_start(
	const struct sink_warden *warden, const char *directory, const char *what, int error)
{
	char text[SAID_BYTES];

	(void)snprintf(text, sizeof(text), "%.200s: %s: %s", directory, what, strerror(-error));
	if (warden->say)
		warden->say(warden->context, text);
}

/* No other state directory makes the same name: it has the time of its first run, and its pid. */
static void name_writer(struct sink_warden *warden)
{
	(void)snprintf(warden->origin.writer, sizeof(warden->origin.writer), "%" PRIx64 "-%x",
		warden->clock(warden->context), (unsigned)getpid());
}

/* Without what an earlier run wrote last it would be written again: better nothing for now. */
static int resume(struct sink_warden *warden, const struct warden_options *options,
	struct warden_writer_options *writer, struct diag *diag)
{
	const struct warden_memory memory = memory_of(warden);
	bool rebooted = false;
	int error = warden_state_load(writer->state_directory, &memory, warden->origin.writer,
		&warden->sequence, &writer->position, &rebooted);

	if (error == -ENOENT)
		return 0;
	if (error) {
		say_start(warden, options->state_directory,
			"the state is not usable, and begins anew", error);
		return 0;
	}
	memcpy(writer->place.writer, warden->origin.writer, sizeof(writer->place.writer));
	error = read_tails(warden, &writer->place, &writer->position);
	if (rebooted)
		episodes_rebooted(warden->episodes);
	if (error)
		return diag_set(diag, error == -ENOMEM ? error : -EAGAIN,
			"%s: what an earlier run wrote last cannot be read: %s", options->directory,
			strerror(-error));
	/* All that was found is in the memory, which is kept before anything is written. */
	writer->position.count = 0;
	return 0;
}

/* One run at a time writes under a state's name. */
static int open_state(const char *path, struct diag *diag)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int error;

	if (fd < 0)
		return diag_set(diag, -errno, "%s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	error = errno == EWOULDBLOCK ? -EBUSY : -errno;
	(void)close(fd);
	return diag_set(diag, error, "%s: %s", path,
		error == -EBUSY ? "another pagestay keeps its state there" : strerror(-error));
}

static int make(const struct warden_options *options, struct sink_warden **ret_warden)
{
	struct sink_warden *warden = calloc(1, sizeof(*warden));

	if (!warden)
		return -ENOMEM;
	warden->sink.ops = &warden_ops;
	warden->clock = options->clock ? options->clock : real_clock;
	warden->say = options->say;
	warden->context = options->context;
	warden->episodes = episodes_new(&options->episodes);
	warden->boot = options->boot ? strdup(options->boot) : NULL;
	warden->origin.limit_bytes =
		options->episodes.limit_bytes ? options->episodes.limit_bytes : EPISODE_LIMIT_BYTES;
	narrative_init(&warden->narrative);
	if (!warden->episodes || (options->boot && !warden->boot)) {
		warden_free(warden);
		return -ENOMEM;
	}
	name_writer(warden);
	*ret_warden = warden;
	return 0;
}

static void place_of(const struct sink_warden *warden, const struct warden_options *options,
	struct warden_place *ret_place)
{
	ret_place->directory = strdup(options->directory);
	memcpy(ret_place->writer, warden->origin.writer, sizeof(ret_place->writer));
	ret_place->day_bytes = options->day_bytes ? options->day_bytes : WARDEN_DAY_BYTES;
	ret_place->busy_ms = options->busy_ms ? options->busy_ms : 250;
	if (ret_place->busy_ms > BUSY_MOST_MS)
		ret_place->busy_ms = BUSY_MOST_MS;
	ret_place->clock = warden->clock;
	ret_place->context = warden->context;
}

static int begin(struct sink_warden *warden, const struct warden_options *options, int state,
	struct diag *diag)
{
	struct warden_writer_options writer = {
		.state_directory = state,
		.generation = options->generation,
		.queue_records = options->queue_records ? options->queue_records : QUEUE_RECORDS,
		.retry_ms = options->retry_ms ? options->retry_ms : 1000,
	};
	int error;

	place_of(warden, options, &writer.place);
	warden->has_state = state >= 0;
	error = writer.place.directory ? 0 : -ENOMEM;
	if (!error && warden->has_state) {
		error = resume(warden, options, &writer, diag);
		writer.memory = error ? NULL : memory_text(warden);
		error = error || writer.memory ? error : -ENOMEM;
	}
	if (!error) {
		writer.sequence = warden->sequence;
		return warden_writer_new(&writer, &warden->writer);
	}
	free(writer.place.directory);
	if (state >= 0)
		(void)close(state);
	return error;
}

int sink_warden_new(const struct warden_options *options, struct sink **ret_sink, struct diag *diag)
{
	struct sink_warden *warden;
	int state = -1, error;

	if (!options->directory || !options->directory[0] ||
		(unsigned)options->generation >= WARDEN_GENERATIONS)
		return diag_set(diag, -EINVAL, "a data directory and a generation are needed");
	if (options->state_directory) {
		state = open_state(options->state_directory, diag);
		if (state < 0)
			return state;
	}
	error = make(options, &warden);
	if (error) {
		if (state >= 0)
			(void)close(state);
		return diag_set(diag, error, "out of memory");
	}
	diag->text[0] = '\0';
	error = begin(warden, options, state, diag);
	if (error) {
		warden_free(warden);
		if (diag->text[0])
			return error;
		return diag_set(diag, error, "%s: %s", options->directory, strerror(-error));
	}
	*ret_sink = &warden->sink;
	return 0;
}
