/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The books of a test server, in memory that the runner, the server with all its processes, and the
 * client share. The server writes, everybody else reads; a client that must not outrun the server
 * waits on `received_bytes`.
 */
#ifndef PAGESTAY_TESTS_COUNTERS_H
#define PAGESTAY_TESTS_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

/* The most processes that one test server may have; a further one ends the server with an error. */
#define SERVER_PROCESSES_MAX 64

struct process_books {
	_Atomic uint32_t pid;
	uint32_t pad;
	_Atomic uint64_t accepts;
	_Atomic uint64_t closed;   /* connections that the process is done with */
	_Atomic uint64_t turns;    /* requests of which at least one byte was received */
	_Atomic uint64_t answered; /* requests received whole and answered: the access log */
	_Atomic uint64_t received_bytes;
};

struct server_books {
	_Atomic uint32_t processes; /* entries in use */
	uint32_t pad;
	struct process_books process[SERVER_PROCESSES_MAX];
};

#endif
