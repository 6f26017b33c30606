/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A test server with one client and the books that they share with the test. Many of them can run
 * side by side: each step is done for all of them before the next one.
 */
#ifndef PAGESTAY_TESTS_LIVE_SERVING_H
#define PAGESTAY_TESTS_LIVE_SERVING_H

#include "../workloads/counters.h"
#include "harness.h"

struct serving {
	struct workload *server, *client; /* the client NULL unless it runs */
	const struct server_books *books;
	int books_fd;
};

/* Launches workloads/server with a text of arguments. */
void serving_launch(struct serving *serving, const char *arguments);
/* Waits until it listens; returns why this kernel cannot run it, or NULL. Such a server takes no
 * further step. */
const char *serving_await_ready(struct serving *serving);
/* Launches workloads/client for it, with a text of arguments behind the address. */
void serving_launch_client(struct serving *serving, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Waits for the client to end well, and the server to give up all its connections; then copies the
 * books. */
void serving_finish_client(struct serving *serving, struct server_books *ret_books);
void serving_end(struct serving *serving);

/* Sum of one counter over the processes of some books. */
#define BOOKS_SUM(books, field) books_sum((books), offsetof(struct process_books, field))
uint64_t books_sum(const struct server_books *books, size_t field_offset);

#endif
