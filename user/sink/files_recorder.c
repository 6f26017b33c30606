/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The recorder into rotating files. Owns what is remembered of the stream, so that a new file can
 * begin anywhere between two intervals with what there is already, and the recording's writer,
 * which writes into memory: an interval goes to the thread (files_spool.c) as one piece, so a file
 * has whole intervals. What an interval is lost by (a full disk, a full queue, no memory) breaks
 * the file off; the next one begins with what is known then.
 *
 * Whether a new file is due is asked at an interval's first event: the thread has had the interval
 * before to write the last one. Bounded by PROCESSES and INTERVAL_BYTES.
 */
#include "pagestay/sink/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files_spool.h"
#include "pagestay/base/cleanup.h"
#include "pagestay/base/table.h"
#include "pagestay/edge/recording.h"

#define PROCESSES      8192
#define NOTES          16
#define INTERVAL_BYTES (16u << 20) /* compressed; a longer interval is dropped */
#define LOOK_EVENTS    1024        /* how often that is looked at */

/* What a new file must know of a process. */
struct remembered {
	struct ps_proc_key key;
	struct event_process identity;
	struct event_memory memory;
	bool has_identity, has_memory, has_allocators;
	uint64_t open;
	uint64_t level;
	struct allocators allocators;
	UT_hash_handle hh;
};

struct files_recorder {
	struct spool *spool;
	struct recording_writer *writer; /* NULL: nothing can be recorded until a file begins */
	int fd;                          /* what it writes to: memory; emptied by each interval */
	bool begins;                     /* what is in there begins a file */
	bool has_begun;                  /* the stream, with a START */
	bool is_between;                 /* two intervals */
	unsigned events;                 /* since the memory was looked at */
	struct event stream, tick;
	struct event notes[NOTES];
	unsigned note_count;
	struct remembered *processes;
	bool is_full; /* some process found no place among these */
};

/*
 * What is remembered.
 */

static void forget(struct files_recorder *recorder, struct remembered *process)
{
	HASH_DEL(recorder->processes, process);
	free(process);
}

static struct remembered *remembered_get(
	struct files_recorder *recorder, const struct ps_proc_key *key)
{
	struct remembered *process;

	HASH_FIND(hh, recorder->processes, key, sizeof(*key), process);
	if (process)
		return process;
	if (HASH_COUNT(recorder->processes) < PROCESSES)
		process = calloc(1, sizeof(*process));
	if (process) {
		process->key = *key;
		HASH_ADD(hh, recorder->processes, key, sizeof(process->key), process);
		if (table_has(process))
			return process;
		free(process);
	}
	recorder->is_full = true;
	return NULL;
}

static void remember_process(struct files_recorder *recorder, const struct event *event)
{
	struct remembered *process = remembered_get(recorder, &event->proc);

	if (!process)
		return;
	switch (event->kind) {
	case EVENT_PROCESS:
		process->identity = event->process;
		process->has_identity = true;
		break;
	case EVENT_COUNTERS:
		process->open = event->counters.open;
		break;
	case EVENT_MEMORY:
		process->memory = event->memory;
		process->has_memory = true;
		break;
	case EVENT_LEVEL:
		process->level = event->level.level;
		break;
	case EVENT_ALLOCATORS:
		process->allocators = *event->allocators;
		process->has_allocators = true;
		break;
	case EVENT_EXITED:
		forget(recorder, process);
		break;
	default:
		break;
	}
}

static void remember(struct files_recorder *recorder, const struct event *event)
{
	switch (event->kind) {
	case EVENT_STREAM:
		recorder->stream = *event;
		break;
	case EVENT_NOTE:
		if (recorder->note_count < NOTES)
			recorder->notes[recorder->note_count++] = *event;
		break;
	case EVENT_START:
	case EVENT_TICK:
		recorder->tick = *event;
		recorder->has_begun = true;
		break;
	case EVENT_LOSS:
	case EVENT_ROUTE:
	case EVENT_PAGE:
	case EVENT_RESIDENT:
	case EVENT_HEAP:
		break;
	default:
		remember_process(recorder, event);
	}
}

/*
 * Files.
 */

static void writer_drop(struct files_recorder *recorder)
{
	(void)recording_writer_close(recorder->writer);
	recorder->writer = NULL;
	if (recorder->fd >= 0)
		(void)close(recorder->fd);
	recorder->fd = -1;
}

static int writer_open(struct files_recorder *recorder)
{
	struct diag diag = {};
	FILE *file = NULL;
	int copy;

	recorder->fd = memfd_create("pagestay-recording", MFD_CLOEXEC);
	copy = recorder->fd < 0 ? -1 : fcntl(recorder->fd, F_DUPFD_CLOEXEC, 0);
	if (copy >= 0)
		file = fdopen(copy, "a"); /* to the end, also when it was emptied */
	if (!file && copy >= 0)
		(void)close(copy);
	recorder->begins = true;
	return file ? recording_writer_new(file, &recorder->writer, &diag) : -ENOMEM;
}

static int put_process(struct files_recorder *recorder, const struct remembered *process)
{
	struct event event = {.kind = EVENT_PROCESS, .proc = process->key};
	int error = 0;

	event.process = process->identity;
	if (process->has_identity)
		error = recording_write(recorder->writer, &event);
	event = (struct event){.kind = EVENT_COUNTERS, .proc = process->key};
	event.counters.open = process->open;
	if (!error)
		error = recording_write(recorder->writer, &event);
	event.kind = EVENT_MEMORY;
	event.memory = process->memory;
	if (!error && process->has_memory)
		error = recording_write(recorder->writer, &event);
	event.kind = EVENT_LEVEL;
	event.level.level = process->level;
	if (!error && process->level)
		error = recording_write(recorder->writer, &event);
	event.kind = EVENT_ALLOCATORS;
	event.allocators = &process->allocators;
	if (!error && process->has_allocators)
		error = recording_write(recorder->writer, &event);
	return error;
}

static int put_notes(struct files_recorder *recorder)
{
	struct event event = {.kind = EVENT_NOTE};
	int error = 0;

	for (unsigned i = 0; i < recorder->note_count && !error; i++)
		error = recording_write(recorder->writer, &recorder->notes[i]);
	(void)snprintf(event.note.text, sizeof(event.note.text),
		"this file goes on from an earlier one: pages touched, survival, trends and x-rays "
		"before it are not known");
	if (!error)
		error = recording_write(recorder->writer, &event);
	(void)snprintf(event.note.text, sizeof(event.note.text),
		"there were too many processes: some may lack their names here");
	if (!error && recorder->is_full)
		error = recording_write(recorder->writer, &event);
	return error;
}

/* What is there already, and a START where the last interval ended. */
static int put_inventory(struct files_recorder *recorder)
{
	struct event start = recorder->tick;
	struct remembered *process, *next;
	int error = recording_write(recorder->writer, &recorder->stream);

	if (!error)
		error = put_notes(recorder);
	HASH_ITER (hh, recorder->processes, process, next)
		if (!error)
			error = put_process(recorder, process);
	start.kind = EVENT_START;
	start.tick.interval_ns = 0;
	return error ? error : recording_write(recorder->writer, &start);
}

/* What is in memory goes to the file, as one piece. */
static int hand_over(struct files_recorder *recorder)
{
	char *bytes = NULL;
	struct stat stat;
	ssize_t length;

	if (fstat(recorder->fd, &stat) == 0)
		bytes = malloc((size_t)stat.st_size + 1);
	if (!bytes)
		return -ENOMEM;
	length = pread(recorder->fd, bytes, (size_t)stat.st_size, 0);
	if (length != stat.st_size || ftruncate(recorder->fd, 0)) {
		free(bytes);
		return -EIO;
	}
	/* It counts its drops itself. */
	if (spool_put(recorder->spool, bytes, (size_t)length, recorder->begins))
		return -ENOBUFS;
	recorder->begins = false;
	return 0;
}

static void begin_file(struct files_recorder *recorder)
{
	int error;

	writer_drop(recorder);
	error = writer_open(recorder);
	if (!error)
		error = put_inventory(recorder);
	if (error)
		writer_drop(recorder);
}

static bool is_too_long(struct files_recorder *recorder)
{
	struct stat stat;

	if (++recorder->events < LOOK_EVENTS)
		return false;
	recorder->events = 0;
	return fstat(recorder->fd, &stat) || stat.st_size > INTERVAL_BYTES;
}

static bool ends_interval(enum event_kind kind)
{
	return kind == EVENT_START || kind == EVENT_TICK;
}

static void write_event(struct files_recorder *recorder, const struct event *event)
{
	int error = recorder->writer ? recording_write(recorder->writer, event) : -ESTALE;

	if (!error && is_too_long(recorder))
		error = -EFBIG;
	if (!error && ends_interval(event->kind))
		error = hand_over(recorder);
	if (error)
		writer_drop(recorder);
	/* What found the queue full is counted there. */
	if (error && error != -ENOBUFS && ends_interval(event->kind))
		spool_drop(recorder->spool, error);
}

int files_recorder_event(void *context, const struct event *event)
{
	struct files_recorder *recorder = context;

	if (event->kind == EVENT_STREAM && writer_open(recorder))
		writer_drop(recorder);
	if (recorder->is_between && recorder->has_begun &&
		(!recorder->writer || spool_is_due(recorder->spool)))
		begin_file(recorder);
	write_event(recorder, event);
	remember(recorder, event);
	recorder->is_between = ends_interval(event->kind);
	if (recorder->is_between)
		spool_say(recorder->spool);
	return 0;
}

void files_recorder_limits(struct files_recorder *recorder, const struct files_options *options)
{
	spool_limit(recorder->spool, options);
}

void files_recorder_counters(
	const struct files_recorder *recorder, struct files_counters *ret_counters)
{
	spool_counters(recorder->spool, ret_counters);
}

/* Of a recording without events, all but the header is the end. */
static int end_of_recording(
	struct files_recorder *recorder, char end[SPOOL_END_BYTES], size_t *ret_length)
{
	ssize_t length = -1;

	if (writer_open(recorder) == 0 && ftruncate(recorder->fd, 0) == 0) {
		(void)recording_writer_close(TAKE(recorder->writer));
		length = pread(recorder->fd, end, SPOOL_END_BYTES, 0);
	}
	writer_drop(recorder);
	if (length < 0)
		return -ENOMEM;
	*ret_length = (size_t)length;
	return 0;
}

int files_recorder_new(const struct files_options *options, struct files_recorder **ret_recorder,
	struct diag *diag)
{
	struct files_recorder *recorder = calloc(1, sizeof(*recorder));
	char end[SPOOL_END_BYTES];
	size_t length = 0;
	int error;

	if (!recorder)
		return diag_set(diag, -ENOMEM, "out of memory");
	recorder->fd = -1;
	error = end_of_recording(recorder, end, &length);
	if (error)
		(void)diag_set(diag, error, "no memory to record into");
	else
		error = spool_new(options, ROTATE_RECORDINGS, end, length, &recorder->spool, diag);
	if (error) {
		free(recorder);
		return error;
	}
	*ret_recorder = recorder;
	return 0;
}

void files_recorder_end(struct files_recorder *recorder)
{
	if (recorder)
		spool_end(recorder->spool);
}

int files_recorder_close(struct files_recorder *recorder)
{
	struct remembered *process, *next;
	int error;

	if (!recorder)
		return 0;
	writer_drop(recorder);
	error = spool_close(recorder->spool);
	HASH_ITER (hh, recorder->processes, process, next)
		forget(recorder, process);
	free(recorder);
	return error;
}
