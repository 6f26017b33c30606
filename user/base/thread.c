/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns how a thread beside the event loop begins, and how one that may hang ends or is left behind.
 * Called by whatever must not hold the loop up: the x-ray, the listener, and sinks that write to
 * disks and databases.
 */
#include "pagestay/base/thread.h"

#include <errno.h>
#include <signal.h>

#include "pagestay/base/clock.h"

int thread_start(void *(*run)(void *context), void *context, pthread_t *ret_thread)
{
	sigset_t all, before;
	int error;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	error = -pthread_create(ret_thread, NULL, run, context);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

void worker_init(struct worker *worker)
{
	pthread_condattr_t attributes;

	*worker = (struct worker){0};
	(void)pthread_mutex_init(&worker->lock, NULL);
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&worker->changed, &attributes);
	(void)pthread_condattr_destroy(&attributes);
}

void worker_deinit(struct worker *worker)
{
	(void)pthread_cond_destroy(&worker->changed);
	(void)pthread_mutex_destroy(&worker->lock);
}

int worker_start(struct worker *worker, void *(*run)(void *context), void *context)
{
	return thread_start(run, context, &worker->thread);
}

bool worker_done(struct worker *worker)
{
	bool is_abandoned = worker->is_abandoned;

	worker->has_ended = true;
	(void)pthread_cond_broadcast(&worker->changed);
	(void)pthread_mutex_unlock(&worker->lock);
	return is_abandoned;
}

void worker_end(struct worker *worker, unsigned limit_ms)
{
	(void)pthread_mutex_lock(&worker->lock);
	if (!worker->is_closing)
		worker->deadline_ns = clock_ns(CLOCK_MONOTONIC) + limit_ms * NS_PER_MS;
	worker->is_closing = true;
	(void)pthread_cond_broadcast(&worker->changed);
	(void)pthread_mutex_unlock(&worker->lock);
}

void worker_wait(struct worker *worker)
{
	struct timespec until;

	(void)pthread_mutex_lock(&worker->lock);
	until = clock_timespec(worker->deadline_ns);
	while (!worker->has_ended &&
		pthread_cond_timedwait(&worker->changed, &worker->lock, &until) != ETIMEDOUT)
		;
	(void)pthread_mutex_unlock(&worker->lock);
}

bool worker_leave(struct worker *worker)
{
	bool has_ended;

	(void)pthread_mutex_lock(&worker->lock);
	has_ended = worker->has_ended;
	worker->is_abandoned = !has_ended;
	if (!has_ended)
		(void)pthread_detach(worker->thread);
	(void)pthread_mutex_unlock(&worker->lock);
	/* Short: it has only to return. */
	if (has_ended)
		(void)pthread_join(worker->thread, NULL);
	return has_ended;
}
