/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Threads beside the event loop. Signals are the loop's: these threads have all of them blocked.
 * Their waits end by CLOCK_MONOTONIC.
 */
#ifndef PAGESTAY_BASE_THREAD_H
#define PAGESTAY_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* To be joined by the caller. 0 or -errno. */
int thread_start(void *(*run)(void *context), void *context, pthread_t *ret_thread);

/*
 * Part of what a thread shares with its owner when something may hold the thread up for ever: it is
 * told to end, waited for so long and no longer, and then left behind with all that is shared. The
 * lock and `changed` are for the rest of that, too.
 *
 * Nothing is freed in use. An owner who has seen `has_ended` joins the thread first. One who leaves
 * it behind touches nothing after his unlock, and the thread frees when it has had the lock after
 * him: a mutex may be destroyed by then, even if his unlock has not returned.
 */
struct worker {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* its deadlines are CLOCK_MONOTONIC's */
	pthread_t thread;
	bool is_closing;
	uint64_t deadline_ns; /* of closing */
	bool has_ended;       /* the thread is about to return */
	bool is_abandoned;    /* the thread frees what is shared */
};

/* Takes no memory, and cannot fail. */
void worker_init(struct worker *worker);
void worker_deinit(struct worker *worker);

/* 0 or -errno. */
int worker_start(struct worker *worker, void *(*run)(void *context), void *context);

/* The thread's last call, with the lock held: lets go of it. True: the thread frees everything. */
bool worker_done(struct worker *worker);

/* The time of closing begins, the first time. Does not wait. */
void worker_end(struct worker *worker, unsigned limit_ms);

/* Behind `end`: until the thread has ended, or its time is over. */
void worker_wait(struct worker *worker);

/* True: the thread has ended, and everything is the caller's. False: everything is the thread's. */
bool worker_leave(struct worker *worker);

#endif
