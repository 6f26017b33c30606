/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Threads beside the event loop. Signals are the loop's: these threads have all of them blocked.
 * Their waits end by CLOCK_MONOTONIC.
 */
#ifndef PAGESTAY_BASE_THREAD_H
#define PAGESTAY_BASE_THREAD_H

#include <pthread.h>

/* To be joined by the caller. 0 or -errno. */
int thread_start(void *(*run)(void *context), void *context, pthread_t *ret_thread);

/* That nobody waits for. 0 or -errno. */
int thread_start_detached(void *(*run)(void *context), void *context);

/* A condition whose deadlines are CLOCK_MONOTONIC's. 0 or -errno. */
int thread_condition_init(pthread_cond_t *condition);

#endif
