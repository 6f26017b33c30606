/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns how a thread beside the event loop begins. Called by whatever must not hold the loop up: the
 * x-ray, the listener, and sinks that write to disks and databases.
 */
#include "pagestay/base/thread.h"

#include <signal.h>
#include <time.h>

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

int thread_start_detached(void *(*run)(void *context), void *context)
{
	pthread_t thread;
	int error = thread_start(run, context, &thread);

	if (!error)
		(void)pthread_detach(thread);
	return error;
}

int thread_condition_init(pthread_cond_t *condition)
{
	pthread_condattr_t attributes;
	int error = pthread_condattr_init(&attributes);

	if (error)
		return -error;
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	error = pthread_cond_init(condition, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	return -error;
}
