/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Servers with their clients and books, for the groups whose truth is what a server itself has
 * counted. The books are written by the server's processes at any time; a copy is taken only when
 * everything has settled.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "serving.h"

void serving_launch(struct serving *serving, const char *arguments)
{
	void *books;

	serving->books_fd = live_shared_memory(sizeof(*serving->books));
	books = mmap(NULL, sizeof(*serving->books), PROT_READ, MAP_SHARED, serving->books_fd, 0);
	if (books == MAP_FAILED)
		live_fail("cannot map the books");
	serving->books = books;
	serving->client = NULL;
	serving->server = workload_launch("server", "%s --books %d", arguments, serving->books_fd);
}

const char *serving_await_ready(struct serving *serving)
{
	workload_await_ready(serving->server);
	return workload_unsupported(serving->server);
}

void serving_launch_client(struct serving *serving, const char *format, ...)
{
	va_list arguments;
	char *text;

	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		live_fail("no memory");
	va_end(arguments);
	serving->client = workload_launch("client", "%s %s --books %d",
		workload_text(serving->server, "address"), text, serving->books_fd);
	free(text);
}

void serving_finish_client(struct serving *serving, struct server_books *ret_books)
{
	uint64_t deadline_ns = live_deadline_ns();

	workload_await_done(serving->client);
	workload_end(serving->client);
	serving->client = NULL;
	while (BOOKS_SUM(serving->books, accepts) != BOOKS_SUM(serving->books, closed))
		live_pause(deadline_ns, "the server to close its connections");
	memcpy(ret_books, serving->books, sizeof(*ret_books));
}

void serving_end(struct serving *serving)
{
	workload_end(serving->server);
	munmap((void *)serving->books, sizeof(*serving->books));
	close(serving->books_fd);
}

uint64_t books_sum(const struct server_books *books, size_t field_offset)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < books->processes; i++)
		sum += *(const _Atomic uint64_t *)((const char *)&books->process[i] + field_offset);
	return sum;
}
