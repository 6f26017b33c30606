/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the queue of records and the thread that empties it. The caller's side never touches a disk:
 * it holds the lock for as long as it takes to link records, and takes away what the thread has to
 * say. The thread writes batches from the queue's head, which is nobody else's while it does so,
 * decides each time which generation the directory is of, and keeps the state: before it writes to
 * a new place, and whenever nothing waits. A thread that a disk holds beyond the closing is left
 * behind with everything that is its own, and frees that should it ever come back. Used by
 * warden.c.
 */
#include "warden_parts.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "pagestay/base/clock.h"
#include "pagestay/base/thread.h"
#include "pagestay/base/cleanup.h"

#define BATCH_RECORDS  128
#define QUEUE_BYTES    (8u << 20) /* of all lines that wait */
#define RETRY_MOST     30         /* times retry_ms */
#define CLOSE_MS       900
#define CLOSE_SPARE_MS 100
#define CLOSE_RETRY_MS 50
#define SAID_LINES     8
#define SAID_BYTES     320

/* What is said once when it begins and once when it ends. */
enum trouble { TROUBLE_WRITING, TROUBLE_STATE, TROUBLE_SYNC, TROUBLES };

struct warden_writer {
	struct worker worker;

	/* Under the lock. */
	struct warden_record *first, **last;
	unsigned in_flight; /* from the first on: the thread's */
	char *memory;       /* to be kept when the records up to now are settled; NULL: none */
	bool has_news;      /* of the day, in the memory, and not kept */
	uint64_t sequence;  /* of the last record that was put */
	struct warden_counts counts;
	char said[SAID_LINES][SAID_BYTES];
	unsigned said_count;

	/* The thread's. */
	struct warden_place place;
	enum warden_generation wanted;
	unsigned queue_records, retry_ms;
	int state_directory; /* -1: no state */
	struct warden_position position;
	char *kept;             /* the memory as in the state */
	uint64_t kept_sequence; /* of the last record that it includes */
	struct warden_backend *backend;
	enum warden_generation generation; /* of the backend */
	bool troubles[TROUBLES];
	char full_date[WARDEN_DATE_BYTES]; /* a day whose file is full, and was spoken of */
	unsigned failures;                 /* in a row */
	uint64_t dropped_before;           /* when the trouble began */
};

static void writer_free(struct warden_writer *writer)
{
	while (writer->first) {
		struct warden_record *record = writer->first;

		writer->first = record->next;
		free(record);
	}
	if (writer->backend)
		writer->backend->ops->free(writer->backend);
	if (writer->state_directory >= 0)
		(void)close(writer->state_directory);
	worker_deinit(&writer->worker);
	free(writer->memory);
	free(writer->kept);
	free(writer->place.directory);
	free(writer);
}

/* Under the lock. When nobody listens, the oldest words are enough. */
static void say(struct warden_writer *writer, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void say(struct warden_writer *writer, const char *format, ...)
{
	va_list arguments;

	if (writer->said_count == SAID_LINES)
		return;
	va_start(arguments, format);
	(void)vsnprintf(writer->said[writer->said_count++], SAID_BYTES, format, arguments);
	va_end(arguments);
}

static uint64_t dropped(const struct warden_counts *counts)
{
	return counts->dropped_full + counts->dropped_day + counts->dropped_memory;
}

/*
 * The queue.
 */

/* Under the lock. */
static void unlink_record(struct warden_writer *writer, struct warden_record **link)
{
	struct warden_record *record = *link;

	*link = record->next;
	if (writer->last == &record->next)
		writer->last = link;
	writer->counts.waiting--;
	writer->counts.waiting_bytes -= record->length;
	free(record);
}

/* Under the lock: the oldest one. False: there are only incidents, and what is in flight. */
static bool drop_event(struct warden_writer *writer)
{
	struct warden_record **link = &writer->first;
	unsigned at = 0;

	for (; *link && (at < writer->in_flight || (*link)->is_incident); at++)
		link = &(*link)->next;
	if (!*link)
		return false;
	unlink_record(writer, link);
	writer->counts.dropped_full++;
	return true;
}

/* Under the lock. */
static bool is_full(const struct warden_writer *writer, const struct warden_record *record)
{
	return writer->counts.waiting >= writer->queue_records ||
	       writer->counts.waiting_bytes + record->length > QUEUE_BYTES;
}

/* Under the lock. */
static void add(struct warden_writer *writer, struct warden_record *record)
{
	struct warden_counts *counts = &writer->counts;

	writer->sequence = record->sequence;
	while (is_full(writer, record)) {
		if (drop_event(writer))
			continue;
		counts->dropped_full++;
		free(record);
		return;
	}
	record->next = NULL;
	*writer->last = record;
	writer->last = &record->next;
	counts->waiting_bytes += record->length;
	if (++counts->waiting > counts->most_waiting)
		counts->most_waiting = counts->waiting;
}

void warden_writer_put(struct warden_writer *writer, struct warden_record *first, char *memory)
{
	(void)pthread_mutex_lock(&writer->worker.lock);
	while (first) {
		struct warden_record *next = first->next;

		add(writer, first);
		first = next;
	}
	if (memory) {
		free(writer->memory);
		writer->memory = memory;
		writer->has_news = true;
	}
	(void)pthread_cond_broadcast(&writer->worker.changed);
	(void)pthread_mutex_unlock(&writer->worker.lock);
}

bool warden_writer_said(struct warden_writer *writer, char *out, size_t out_bytes)
{
	bool has_said;

	(void)pthread_mutex_lock(&writer->worker.lock);
	has_said = writer->said_count > 0;
	if (has_said) {
		(void)snprintf(out, out_bytes, "%s", writer->said[0]);
		memmove(writer->said[0], writer->said[1], sizeof(writer->said) - SAID_BYTES);
		writer->said_count--;
	}
	(void)pthread_mutex_unlock(&writer->worker.lock);
	return has_said;
}

void warden_writer_counts(struct warden_writer *writer, struct warden_counts *ret_counts)
{
	(void)pthread_mutex_lock(&writer->worker.lock);
	*ret_counts = writer->counts;
	(void)pthread_mutex_unlock(&writer->worker.lock);
}

/*
 * The thread.
 */

/* Under the lock: says it when a trouble begins or ends. `words` are of the beginning. */
static void trouble(
	struct warden_writer *writer, enum trouble which, bool is_there, const char *words)
{
	static const char *const begins[TROUBLES] = {
		[TROUBLE_WRITING] = "records for the dashboard agent wait",
		[TROUBLE_STATE] = "the state of the records cannot be kept",
		[TROUBLE_SYNC] = "records may not have reached the disk",
	};
	static const char *const ends[TROUBLES] = {
		[TROUBLE_WRITING] = "records for the dashboard agent are written again",
		[TROUBLE_STATE] = "the state of the records is kept again",
		[TROUBLE_SYNC] = "records reach the disk again",
	};

	if (writer->troubles[which] == is_there)
		return;
	writer->troubles[which] = is_there;
	if (is_there)
		say(writer, "%s: %s", begins[which], words);
	else if (which == TROUBLE_WRITING)
		say(writer, "%s; %llu were dropped meanwhile", ends[which],
			(unsigned long long)(dropped(&writer->counts) - writer->dropped_before));
	else
		say(writer, "%s", ends[which]);
	if (is_there && which == TROUBLE_WRITING)
		writer->dropped_before = dropped(&writer->counts);
}

static int keep_state(struct warden_writer *writer)
{
	int error;

	if (writer->state_directory < 0 || !writer->kept)
		return 0;
	error = warden_state_save(writer->state_directory, writer->place.writer,
		writer->kept_sequence, &writer->position, writer->kept);
	(void)pthread_mutex_lock(&writer->worker.lock);
	trouble(writer, TROUBLE_STATE, error != 0, strerror(-error));
	(void)pthread_mutex_unlock(&writer->worker.lock);
	return error;
}

static enum warden_generation generation_of(const struct warden_writer *writer)
{
	char path[PATH_MAX];
	struct stat status;
	int length;

	if (writer->wanted != WARDEN_AUTO)
		return writer->wanted;
	length = snprintf(path, sizeof(path), "%s/" WARDEN_DATABASE, writer->place.directory);
	/* What is no database is refused with words, not passed over. */
	if (length < 0 || length >= (int)sizeof(path) || lstat(path, &status))
		return WARDEN_JSONL;
	return WARDEN_SQLITE;
}

static int choose_backend(struct warden_writer *writer, struct diag *diag)
{
	enum warden_generation generation = generation_of(writer);

	if (writer->backend && writer->generation == generation)
		return 0;
	if (writer->backend)
		writer->backend->ops->free(writer->backend);
	writer->backend = generation == WARDEN_SQLITE ? warden_sqlite_new(&writer->place)
						      : warden_jsonl_new(&writer->place);
	if (!writer->backend)
		return diag_set(diag, -ENOMEM, "out of memory");
	(void)pthread_mutex_lock(&writer->worker.lock);
	if (writer->counts.generation != WARDEN_AUTO && writer->counts.generation != generation)
		say(writer, "%s: records go into %s from now on", writer->place.directory,
			generation == WARDEN_SQLITE ? WARDEN_DATABASE : "JSON Lines");
	writer->counts.generation = generation;
	(void)pthread_mutex_unlock(&writer->worker.lock);
	writer->generation = generation;
	return 0;
}

/* A position that could not be kept stays what it was, and moves again the next time. */
static int locate(struct warden_writer *writer, struct diag *diag)
{
	const struct warden_position before = writer->position;
	bool has_moved = false;
	int error =
		writer->backend->ops->locate(writer->backend, &writer->position, &has_moved, diag);

	if (!error && has_moved) {
		error = keep_state(writer);
		if (error)
			(void)diag_set(
				diag, error, "where they go cannot be noted: %s", strerror(-error));
	}
	if (error)
		writer->position = before;
	return error;
}

static int write_batch(struct warden_writer *writer, const struct warden_record *const *records,
	unsigned count, struct warden_result *ret_result, struct diag *diag)
{
	int error = choose_backend(writer, diag);

	if (!error)
		error = locate(writer, diag);
	if (error)
		return error;
	return writer->backend->ops->write(writer->backend, records, count, ret_result, diag);
}

/* Under the lock: the batch's settled records leave the queue. Returns the memory that is to be
 * kept now, if any. */
static char *take_off(struct warden_writer *writer, const struct warden_result *result)
{
	struct warden_counts *counts = &writer->counts;

	for (unsigned i = 0; i < result->settled; i++) {
		counts->sequence = writer->first->sequence;
		unlink_record(writer, &writer->first);
	}
	writer->in_flight = 0;
	counts->acknowledged += result->settled - result->dropped - result->unconfirmed;
	counts->dropped_day += result->dropped;
	counts->unconfirmed += result->unconfirmed;
	if (counts->waiting || !writer->memory)
		return NULL;
	return TAKE(writer->memory);
}

/* The same holds for a position that shrank. */
static void keep_memory(
	struct warden_writer *writer, char *memory, uint64_t sequence, bool is_settled)
{
	const struct warden_position before = writer->position;

	if (is_settled)
		writer->backend->ops->settle(writer->backend, &writer->position);
	free(writer->kept);
	writer->kept = memory;
	writer->kept_sequence = sequence;
	if (keep_state(writer))
		writer->position = before;
}

/* Records may wait for days: the day's summary does not wait for them. Takes the memory. */
static void keep_day(struct warden_writer *writer, char *memory)
{
	char *text = warden_memory_day(writer->kept, memory);

	free(memory);
	if (!text)
		return;
	free(writer->kept);
	writer->kept = text;
	(void)keep_state(writer);
}

/* Under the lock: a copy of the memory whose records cannot be written now. NULL: none. */
static char *take_news(struct warden_writer *writer)
{
	if (!writer->memory || !writer->has_news)
		return NULL;
	writer->has_news = false;
	return strdup(writer->memory);
}

/* Under the lock: once a day. */
static void say_day(struct warden_writer *writer, const char *date)
{
	if (strcmp(date, writer->full_date) == 0)
		return;
	(void)snprintf(writer->full_date, sizeof(writer->full_date), "%s", date);
	say(writer, "%s: records are dropped: the file of %s is full, or the database refuses them",
		writer->place.directory, date);
}

/* Who sees that nothing waits any more also hears what there was to say. */
static void after_batch(struct warden_writer *writer, const struct warden_result *result, int error,
	const char *words)
{
	char date[WARDEN_DATE_BYTES];
	uint64_t sequence;
	char *memory, *news;

	warden_local_date(&writer->place, date);
	(void)pthread_mutex_lock(&writer->worker.lock);
	memory = take_off(writer, result);
	news = error ? take_news(writer) : NULL;
	sequence = writer->sequence;
	writer->counts.paused = error != 0;
	trouble(writer, TROUBLE_WRITING, error && !result->unconfirmed, words);
	if (result->settled)
		trouble(writer, TROUBLE_SYNC, result->unconfirmed > 0, words);
	if (result->dropped)
		say_day(writer, date);
	(void)pthread_mutex_unlock(&writer->worker.lock);
	writer->failures = error ? writer->failures + 1 : 0;
	if (memory)
		keep_memory(writer, memory, sequence, !error && result->settled);
	if (news)
		keep_day(writer, news);
}

/* Of CLOCK_MONOTONIC; also of the past. */
static uint64_t in_ms(long long ms)
{
	return clock_ns(CLOCK_MONOTONIC) + (uint64_t)ms * NS_PER_MS;
}

static bool is_past(uint64_t at_ns)
{
	return clock_ns(CLOCK_MONOTONIC) >= at_ns;
}

static void wait_until(struct warden_writer *writer, uint64_t at_ns)
{
	const struct timespec at = clock_timespec(at_ns);

	(void)pthread_cond_timedwait(&writer->worker.changed, &writer->worker.lock, &at);
}

/* No write of the closing begins later: it may take busy_ms. */
static uint64_t last_write_ns(const struct warden_writer *writer)
{
	return writer->worker.deadline_ns - (CLOSE_SPARE_MS + writer->place.busy_ms) * NS_PER_MS;
}

/* Under the lock: waits for work, and after a failure for its time. False: it is time to end. */
static bool wait_for_work(struct warden_writer *writer)
{
	unsigned times = writer->failures < 6 ? 1u << writer->failures >> 1 : RETRY_MOST;
	uint64_t retry_ns =
		in_ms((long long)writer->retry_ms * (times > RETRY_MOST ? RETRY_MOST : times));

	while (!writer->worker.is_closing) {
		bool has_work = writer->first || writer->memory;

		if (has_work && (!writer->failures || is_past(retry_ns)))
			return true;
		if (has_work)
			wait_until(writer, retry_ns);
		else
			(void)pthread_cond_wait(&writer->worker.changed, &writer->worker.lock);
	}
	if (writer->failures)
		wait_until(writer, in_ms(CLOSE_RETRY_MS));
	return (writer->first || writer->memory) && !is_past(last_write_ns(writer));
}

/* Under the lock: from the queue's first on. They stay in it, and nobody else touches them; their
 * links are not the batch's. */
static unsigned take_batch(
	struct warden_writer *writer, const struct warden_record *ret_records[BATCH_RECORDS])
{
	const struct warden_record *record = writer->first;

	while (record && writer->in_flight < BATCH_RECORDS) {
		ret_records[writer->in_flight++] = record;
		record = record->next;
	}
	return writer->in_flight;
}

static void work(struct warden_writer *writer)
{
	(void)pthread_mutex_lock(&writer->worker.lock);
	while (wait_for_work(writer)) {
		const struct warden_record *records[BATCH_RECORDS];
		unsigned count = take_batch(writer, records);
		struct warden_result result = {0};
		struct diag diag = {0};
		int error = 0;

		(void)pthread_mutex_unlock(&writer->worker.lock);
		if (count)
			error = write_batch(writer, records, count, &result, &diag);
		after_batch(writer, &result, error, diag.text);
		(void)pthread_mutex_lock(&writer->worker.lock);
	}
	(void)pthread_mutex_unlock(&writer->worker.lock);
}

static void *run(void *argument)
{
	struct warden_writer *writer = argument;

	/* Before anything is written, it is known whose it is. */
	(void)keep_state(writer);
	work(writer);
	if (writer->backend)
		writer->backend->ops->free(TAKE(writer->backend));
	(void)pthread_mutex_lock(&writer->worker.lock);
	if (worker_done(&writer->worker))
		writer_free(writer);
	return NULL;
}

/*
 * From the beginning to the end.
 */

int warden_writer_new(
	const struct warden_writer_options *options, struct warden_writer **ret_writer)
{
	struct warden_writer *writer = calloc(1, sizeof(*writer));
	int error;

	if (!writer) {
		if (options->state_directory >= 0)
			(void)close(options->state_directory);
		free(options->place.directory);
		free(options->memory);
		return -ENOMEM;
	}
	worker_init(&writer->worker);
	writer->last = &writer->first;
	writer->place = options->place;
	writer->wanted = options->generation;
	writer->queue_records = options->queue_records;
	writer->retry_ms = options->retry_ms;
	writer->state_directory = options->state_directory;
	writer->position = options->position;
	writer->kept = options->memory;
	writer->sequence = writer->kept_sequence = options->sequence;
	writer->counts.sequence = options->sequence;
	error = worker_start(&writer->worker, run, writer);
	if (error) {
		writer_free(writer);
		return error;
	}
	*ret_writer = writer;
	return 0;
}

void warden_writer_end(struct warden_writer *writer)
{
	worker_end(&writer->worker, CLOSE_MS);
}

void warden_writer_wait(struct warden_writer *writer)
{
	worker_wait(&writer->worker);
	(void)pthread_mutex_lock(&writer->worker.lock);
	if (writer->counts.waiting)
		say(writer, "%u records for the dashboard agent could not be written in time%s",
			writer->counts.waiting,
			writer->worker.has_ended ? "" : ", as the disk does not answer");
	(void)pthread_mutex_unlock(&writer->worker.lock);
}

void warden_writer_release(struct warden_writer *writer)
{
	if (worker_leave(&writer->worker))
		writer_free(writer);
}
