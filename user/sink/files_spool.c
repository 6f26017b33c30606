/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns a queue of bytes, the thread that empties it, and the rotating files, which are the thread's
 * alone. The lock holds everything else and is never held over a call that may wait for the disk.
 * The queue's bytes count until they are written, so that they, or a single item that found it
 * empty, are all that is held in memory. A thread that hangs when it is closed frees everything
 * itself once the disk lets go, and calls nobody back meanwhile. Called by files.c and
 * files_recorder.c.
 */
#include "files_spool.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pagestay/base/cleanup.h"
#include "pagestay/base/clock.h"
#include "pagestay/base/thread.h"

#define CLOSE_LIMIT_MS 700
#define WORDS          8 /* that wait to be passed on; more are not kept */
#define WORD_BYTES     512

struct item {
	struct item *next;
	char *bytes;
	size_t length;
	bool begins;
};

struct spool {
	struct files_options options;
	char directory[PATH_MAX];
	char end_of_file[SPOOL_END_BYTES];
	struct rotate *rotate; /* the thread's, which frees it */
	struct worker worker;
	struct item *first, **end;
	size_t queue_bytes;         /* of what is not written yet */
	uint64_t queued, taken;     /* items */
	uint64_t dropped;           /* before they came to the files */
	uint64_t dropped_before;    /* the series */
	bool is_dropping;           /* since all was taken; that was said */
	struct rotate_counters now; /* of the files */
	bool is_due;                /* a new file */
	char words[WORDS][WORD_BYTES];
	unsigned word_count;
};

static void item_free(struct item *item)
{
	free(item->bytes);
	free(item);
}

static void spool_free(struct spool *spool)
{
	while (spool->first) {
		struct item *item = spool->first;

		spool->first = item->next;
		item_free(item);
	}
	worker_deinit(&spool->worker);
	free(spool);
}

/* Called with the lock held. */
__attribute__((format(printf, 2, 3))) static void say(struct spool *spool, const char *format, ...)
{
	va_list arguments;

	if (spool->word_count == WORDS)
		return;
	va_start(arguments, format);
	(void)vsnprintf(spool->words[spool->word_count++], WORD_BYTES, format, arguments);
	va_end(arguments);
}

/*
 * The thread.
 */

/* Under the lock, so that nobody is called after he was told that we are closed. */
static uint64_t wall_ns(void *context)
{
	struct spool *spool = context;
	uint64_t now_ns;

	(void)pthread_mutex_lock(&spool->worker.lock);
	now_ns = spool->options.wall_ns && !spool->worker.is_abandoned
			 ? spool->options.wall_ns(spool->options.context)
			 : clock_ns(CLOCK_REALTIME);
	(void)pthread_mutex_unlock(&spool->worker.lock);
	return now_ns;
}

static void keep_words(void *context, const char *text)
{
	struct spool *spool = context;

	(void)pthread_mutex_lock(&spool->worker.lock);
	say(spool, "%s", text);
	(void)pthread_mutex_unlock(&spool->worker.lock);
}

/* Called with the lock held. */
static struct item *take_all(struct spool *spool)
{
	struct item *items = spool->first;

	spool->first = NULL;
	spool->end = &spool->first;
	return items;
}

static void write_items(struct spool *spool, struct item *items)
{
	while (items) {
		struct item *item = items;

		items = item->next;
		(void)rotate_append(spool->rotate, item->bytes, item->length, item->begins);
		(void)pthread_mutex_lock(&spool->worker.lock);
		spool->queue_bytes -= item->length;
		(void)pthread_mutex_unlock(&spool->worker.lock);
		item_free(item);
	}
	rotate_sync(spool->rotate);
}

static uint64_t count(const struct item *items)
{
	uint64_t number = 0;

	for (; items; items = items->next)
		number++;
	return number;
}

/* One look at the queue: writes what is there, and compresses a little. False: nothing is left. */
static bool go_round(struct spool *spool, bool has_work)
{
	struct item *items = take_all(spool);
	uint64_t number = count(items);
	bool is_due;

	if (!items && !has_work)
		return false;
	rotate_limit(spool->rotate, spool->options.rotate_bytes, spool->options.keep_bytes,
		spool->options.keep_days);
	(void)pthread_mutex_unlock(&spool->worker.lock);
	if (items)
		write_items(spool, items);
	has_work = rotate_work(spool->rotate);
	is_due = rotate_is_due(spool->rotate);
	(void)pthread_mutex_lock(&spool->worker.lock);
	spool->taken += number;
	spool->now = *rotate_counters(spool->rotate);
	spool->is_due = is_due;
	return has_work;
}

static void *spool_thread(void *argument)
{
	struct spool *spool = argument;
	bool has_work = true;

	(void)pthread_mutex_lock(&spool->worker.lock);
	while (spool->first || !spool->worker.is_closing) {
		has_work = go_round(spool, has_work);
		while (!has_work && !spool->first && !spool->worker.is_closing)
			(void)pthread_cond_wait(&spool->worker.changed, &spool->worker.lock);
	}
	/* The last sync may hang as any other does. */
	(void)pthread_mutex_unlock(&spool->worker.lock);
	rotate_free(TAKE(spool->rotate));
	(void)pthread_mutex_lock(&spool->worker.lock);
	if (worker_done(&spool->worker))
		spool_free(spool);
	return NULL;
}

/*
 * The caller's side.
 */

int spool_new(const struct files_options *options, enum rotate_kind kind, const char *end,
	size_t end_bytes, struct spool **ret_spool, struct diag *diag)
{
	struct spool *spool = calloc(1, sizeof(*spool));
	const struct rotate_options rotate = {
		.directory = options->directory,
		.kind = kind,
		.rotate_bytes = options->rotate_bytes,
		.keep_bytes = options->keep_bytes,
		.keep_days = options->keep_days,
		.end = spool ? spool->end_of_file : NULL,
		.end_bytes = end_bytes,
		.wall_ns = wall_ns,
		.say = keep_words,
		.context = spool,
	};
	int error;

	if (!spool)
		return diag_set(diag, -ENOMEM, "out of memory");
	spool->options = *options;
	(void)snprintf(spool->directory, sizeof(spool->directory), "%s", options->directory);
	if (!spool->options.queue_bytes)
		spool->options.queue_bytes = FILES_QUEUE_BYTES;
	if (end_bytes)
		memcpy(spool->end_of_file, end, end_bytes);
	spool->end = &spool->first;
	worker_init(&spool->worker);
	error = rotate_new(&rotate, &spool->rotate, diag);
	if (!error) {
		spool->now = *rotate_counters(spool->rotate);
		error = worker_start(&spool->worker, spool_thread, spool);
		if (error)
			(void)diag_set(diag, error, "a thread for files: %s", strerror(-error));
	}
	if (error) {
		rotate_free(spool->rotate);
		spool_free(spool);
		return error;
	}
	*ret_spool = spool;
	return 0;
}

void spool_limit(struct spool *spool, const struct files_options *options)
{
	(void)pthread_mutex_lock(&spool->worker.lock);
	spool->options.rotate_bytes = options->rotate_bytes;
	spool->options.keep_bytes = options->keep_bytes;
	spool->options.keep_days = options->keep_days;
	(void)pthread_mutex_unlock(&spool->worker.lock);
}

/* Called with the lock held. */
static void count_drop(struct spool *spool, int error)
{
	if (!spool->is_dropping) {
		spool->dropped_before = spool->dropped;
		say(spool, "%s: cannot write: %s; what comes is dropped until it works again",
			spool->directory,
			error == -ENOBUFS ? "the disk hangs or is slow, and the queue is full"
					  : strerror(-error));
	}
	spool->is_dropping = true;
	spool->dropped++;
}

/* Called with the lock held. It is over when the disk has caught up, and something is taken. */
static void end_drops(struct spool *spool)
{
	if (!spool->is_dropping || spool->taken < spool->queued)
		return;
	spool->is_dropping = false;
	say(spool, "%s: written again; dropped meanwhile: %llu", spool->directory,
		(unsigned long long)(spool->dropped - spool->dropped_before));
}

/* Called with the lock held. */
static int queue_add(struct spool *spool, struct item *item)
{
	if (item->length > ROTATE_APPEND_BYTES)
		return -EFBIG;
	if (spool->queue_bytes && spool->queue_bytes + item->length > spool->options.queue_bytes)
		return -ENOBUFS;
	end_drops(spool);
	*spool->end = item;
	spool->end = &item->next;
	spool->queue_bytes += item->length;
	spool->queued++;
	(void)pthread_cond_broadcast(&spool->worker.changed);
	return 0;
}

int spool_put(struct spool *spool, char *bytes, size_t length, bool begins)
{
	struct item *item = calloc(1, sizeof(*item));
	int error;

	if (!item) {
		free(bytes);
		spool_drop(spool, -ENOMEM);
		return -ENOMEM;
	}
	*item = (struct item){.bytes = bytes, .length = length, .begins = begins};
	(void)pthread_mutex_lock(&spool->worker.lock);
	error = queue_add(spool, item);
	if (error)
		count_drop(spool, error);
	(void)pthread_mutex_unlock(&spool->worker.lock);
	if (error)
		item_free(item);
	return error;
}

void spool_drop(struct spool *spool, int error)
{
	(void)pthread_mutex_lock(&spool->worker.lock);
	count_drop(spool, error);
	(void)pthread_mutex_unlock(&spool->worker.lock);
}

bool spool_is_due(struct spool *spool)
{
	bool is_due;

	(void)pthread_mutex_lock(&spool->worker.lock);
	is_due = spool->is_due && spool->taken == spool->queued;
	(void)pthread_mutex_unlock(&spool->worker.lock);
	return is_due;
}

void spool_say(struct spool *spool)
{
	char words[WORDS][WORD_BYTES];
	unsigned number;

	(void)pthread_mutex_lock(&spool->worker.lock);
	number = spool->word_count;
	memcpy(words, spool->words, number * sizeof(words[0]));
	spool->word_count = 0;
	(void)pthread_mutex_unlock(&spool->worker.lock);
	for (unsigned i = 0; i < number && spool->options.say; i++)
		spool->options.say(spool->options.context, words[i]);
}

void spool_counters(struct spool *spool, struct files_counters *ret_counters)
{
	(void)pthread_mutex_lock(&spool->worker.lock);
	*ret_counters = (struct files_counters){
		.queued = spool->queued,
		.synced = spool->now.synced,
		.dropped = spool->dropped + spool->now.dropped,
		.files_begun = spool->now.files_begun,
		.files_compressed = spool->now.files_compressed,
		.paused = spool->now.paused,
	};
	(void)pthread_mutex_unlock(&spool->worker.lock);
}

void spool_end(struct spool *spool)
{
	worker_end(&spool->worker, CLOSE_LIMIT_MS);
}

static void wait_for_end(struct spool *spool)
{
	worker_wait(&spool->worker);
	(void)pthread_mutex_lock(&spool->worker.lock);
	if (!spool->worker.has_ended && spool->queued > spool->taken)
		say(spool, "%s: the disk hangs: %llu that wait may never be written",
			spool->directory, (unsigned long long)(spool->queued - spool->taken));
	(void)pthread_mutex_unlock(&spool->worker.lock);
}

int spool_close(struct spool *spool)
{
	if (!spool)
		return 0;
	spool_end(spool);
	wait_for_end(spool);
	spool_say(spool);
	if (!worker_leave(&spool->worker))
		return -ETIMEDOUT;
	spool_free(spool);
	return 0;
}
