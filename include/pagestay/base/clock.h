/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Times as nanoseconds. Not for the core, which has no clock.
 */
#ifndef PAGESTAY_BASE_CLOCK_H
#define PAGESTAY_BASE_CLOCK_H

#include <stdint.h>
#include <sys/resource.h>
#include <time.h>

#define NS_PER_S  UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

static inline uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	(void)clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* Processor time of this process, and of its children that have ended. */
static inline uint64_t clock_cpu_ns(void)
{
	struct rusage children;

	(void)getrusage(RUSAGE_CHILDREN, &children);
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID) +
	       (uint64_t)(children.ru_utime.tv_sec + children.ru_stime.tv_sec) * NS_PER_S +
	       (uint64_t)(children.ru_utime.tv_usec + children.ru_stime.tv_usec) * 1000;
}

/* As calls with a deadline take it. */
static inline struct timespec clock_timespec(uint64_t ns)
{
	return (struct timespec){(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)};
}

/* So long, or until a signal comes. */
static inline void clock_pause(uint64_t ns)
{
	const struct timespec pause = clock_timespec(ns);

	(void)nanosleep(&pause, NULL);
}

#endif
