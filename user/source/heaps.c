/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The thread that looks into processes. A request moves from `asked` to `under_way` to `done`, and
 * is the caller's once taken; the lock holds those three and nothing else, so the event loop never
 * waits for a walk unless it asks to. The x-ray itself is the thread's alone. Called by the live
 * source; what is asked is bounded, and what is done by that.
 */
#include "pagestay/base/clock.h"
#include "pagestay/base/thread.h"
#include "pagestay/source/heaps.h"

#include <errno.h>
#include <stdlib.h>

#define HANGS_NS  (10 * NS_PER_S)
#define ENDING_MS 500

struct request {
	struct heaps_result result; /* first: it is what the caller takes and frees */
	bool walk;
	uint64_t walk_ns;
	uint64_t began_ns;
	struct request *next;
};

struct queue {
	struct request *first, *last; /* NULL: none */
};

struct heaps {
	struct xray *xray;
	struct worker worker;
	bool running;
	struct queue asked, done;
	unsigned asked_count;
	struct request *under_way;
};

static void queue_put(struct queue *queue, struct request *request)
{
	request->next = NULL;
	if (queue->last)
		queue->last->next = request;
	else
		queue->first = request;
	queue->last = request;
}

static struct request *queue_get(struct queue *queue)
{
	struct request *request = queue->first;

	if (!request)
		return NULL;
	queue->first = request->next;
	if (!queue->first)
		queue->last = NULL;
	return request;
}

static void queue_free(struct queue *queue)
{
	struct request *request;

	while ((request = queue_get(queue)))
		free(request);
}

static void look_into(struct heaps *heaps, struct request *request)
{
	struct heaps_result *result = &request->result;
	struct diag diag = {};

	result->error = xray_process(heaps->xray, &result->key, request->walk,
		request->began_ns + request->walk_ns, &result->xray, &diag);
}

static void *heaps_thread(void *context)
{
	struct heaps *heaps = context;

	(void)pthread_mutex_lock(&heaps->worker.lock);
	while (!heaps->worker.is_closing) {
		heaps->under_way = queue_get(&heaps->asked);
		if (!heaps->under_way) {
			(void)pthread_cond_wait(&heaps->worker.changed, &heaps->worker.lock);
			continue;
		}
		heaps->asked_count--;
		heaps->under_way->began_ns = clock_ns(CLOCK_MONOTONIC);
		(void)pthread_mutex_unlock(&heaps->worker.lock);
		look_into(heaps, heaps->under_way);
		(void)pthread_mutex_lock(&heaps->worker.lock);
		queue_put(&heaps->done, heaps->under_way);
		heaps->under_way = NULL;
		(void)pthread_cond_broadcast(&heaps->worker.changed);
	}
	/* Left behind, nothing is freed: the program is about to end. */
	(void)worker_done(&heaps->worker);
	return NULL;
}

int heaps_new(const struct procfs *procfs, struct heaps **ret_heaps)
{
	struct heaps *heaps = calloc(1, sizeof(*heaps));
	int error;

	if (!heaps)
		return -ENOMEM;
	worker_init(&heaps->worker);
	error = xray_new(procfs, &heaps->xray);
	if (error) {
		(void)heaps_free(heaps);
		return error;
	}
	*ret_heaps = heaps;
	return 0;
}

/* False if it does not end. */
static bool end_thread(struct heaps *heaps)
{
	xray_cancel(heaps->xray);
	worker_end(&heaps->worker, ENDING_MS);
	worker_wait(&heaps->worker);
	return worker_leave(&heaps->worker);
}

bool heaps_free(struct heaps *heaps)
{
	if (!heaps)
		return true;
	if (heaps->running && !end_thread(heaps))
		return false;
	queue_free(&heaps->asked);
	queue_free(&heaps->done);
	xray_free(heaps->xray);
	worker_deinit(&heaps->worker);
	free(heaps);
	return true;
}

/* It begins with the first request, and with what privileges are left by then. */
static int start_thread(struct heaps *heaps)
{
	int error = heaps->running ? 0 : worker_start(&heaps->worker, heaps_thread, heaps);

	heaps->running = !error;
	return error;
}

int heaps_ask(struct heaps *heaps, const struct ps_proc_key *key, bool walk, uint64_t walk_ns)
{
	int error = start_thread(heaps);
	struct request *request = error ? NULL : calloc(1, sizeof(*request));

	if (!request)
		return error ? error : -ENOMEM;
	request->result.key = *key;
	request->walk = walk;
	request->walk_ns = walk_ns;
	(void)pthread_mutex_lock(&heaps->worker.lock);
	if (heaps->asked_count < HEAPS_ASKED_MAX) {
		heaps->asked_count++;
		queue_put(&heaps->asked, request);
		(void)pthread_cond_broadcast(&heaps->worker.changed);
	} else {
		error = -EAGAIN;
	}
	(void)pthread_mutex_unlock(&heaps->worker.lock);
	if (error)
		free(request);
	return error;
}

struct heaps_result *heaps_take(struct heaps *heaps)
{
	struct request *request;

	(void)pthread_mutex_lock(&heaps->worker.lock);
	request = queue_get(&heaps->done);
	(void)pthread_mutex_unlock(&heaps->worker.lock);
	return request ? &request->result : NULL;
}

bool heaps_wait(struct heaps *heaps, uint64_t deadline_ns)
{
	const struct timespec until = clock_timespec(deadline_ns);
	int error = 0;
	bool busy;

	(void)pthread_mutex_lock(&heaps->worker.lock);
	while (!heaps->done.first && (heaps->under_way || heaps->asked.first) && !error)
		error = pthread_cond_timedwait(&heaps->worker.changed, &heaps->worker.lock, &until);
	busy = heaps->done.first || heaps->under_way || heaps->asked.first;
	(void)pthread_mutex_unlock(&heaps->worker.lock);
	return busy;
}

bool heaps_hang(struct heaps *heaps, uint64_t now_ns)
{
	const struct request *request;
	bool hang;

	(void)pthread_mutex_lock(&heaps->worker.lock);
	request = heaps->under_way;
	hang = request && now_ns > request->began_ns + request->walk_ns + HANGS_NS;
	(void)pthread_mutex_unlock(&heaps->worker.lock);
	return hang;
}
