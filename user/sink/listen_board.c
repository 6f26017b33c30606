/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns what outlives a listener: the newest snapshot, and the counts of all listeners that there
 * were. The thread that writes reports puts snapshots there and reads the counts; the listener's
 * takes snapshots, and counts.
 */
#include "listen_state.h"

#include <errno.h>
#include <stdlib.h>

static void name_counters(struct prometheus_counter *counter)
{
	static const char *const codes[ANSWER_CODES] = {
		"200", "400", "401", "404", "405", "413", "414", "421", "429", "431", "503"};
	static const char *const reasons[REFUSALS] = {
		[REFUSAL_RATE] = "rate",
		[REFUSAL_CLIENT] = "client",
		[REFUSAL_TOTAL] = "total",
		[REFUSAL_TIMEOUT] = "timeout",
		[REFUSAL_MALFORMED] = "malformed",
	};

	for (int i = 0; i < ANSWER_CODES; i++)
		*counter++ = (struct prometheus_counter){"http_requests",
			"Requests that could be read and were answered, by status.", "code",
			codes[i], 0};
	for (int i = 0; i < REFUSALS; i++)
		*counter++ = (struct prometheus_counter){"http_connections_refused",
			"Connections that were cut off, or closed before a request could be read.",
			"reason", reasons[i], 0};
	*counter++ = (struct prometheus_counter){
		"http_connections", "Connections that were accepted.", NULL, NULL, 0};
	*counter = (struct prometheus_counter){
		"http_scrapes", "Requests for metrics that were answered.", NULL, NULL, 0};
}

int listen_board_new(struct listen_board **ret_board)
{
	struct listen_board *board = calloc(1, sizeof(*board));

	if (!board)
		return -ENOMEM;
	(void)pthread_mutex_init(&board->lock, NULL);
	name_counters(board->counters);
	*ret_board = board;
	return 0;
}

void listen_board_free(struct listen_board *board)
{
	if (!board)
		return;
	board_release(board, board->current);
	(void)pthread_mutex_destroy(&board->lock);
	free(board);
}

int listen_board_attach(const struct listen_board *board, struct prometheus_state *metrics)
{
	return prometheus_attach(metrics, board->counters, BOARD_COUNTERS);
}

void board_count(struct listen_board *board)
{
	struct prometheus_counter *counter = board->counters;

	for (int i = 0; i < ANSWER_CODES; i++)
		counter++->value = atomic_load(&board->answers[i]);
	for (int i = 0; i < REFUSALS; i++)
		counter++->value = atomic_load(&board->refusals[i]);
	counter++->value = atomic_load(&board->accepted);
	counter->value = atomic_load(&board->scrapes);
}

bool board_is_stale(const struct listen_board *board, uint64_t now_ns)
{
	uint64_t report_ns = atomic_load(&board->report_ns);

	return !report_ns ||
	       (now_ns > report_ns && now_ns - report_ns > atomic_load(&board->stale_after_ns));
}

struct snapshot *board_snapshot(struct listen_board *board)
{
	struct snapshot *snapshot;

	(void)pthread_mutex_lock(&board->lock);
	snapshot = board->current;
	if (snapshot)
		snapshot->references++;
	(void)pthread_mutex_unlock(&board->lock);
	return snapshot;
}

void board_release(struct listen_board *board, struct snapshot *snapshot)
{
	bool is_last;

	if (!snapshot)
		return;
	(void)pthread_mutex_lock(&board->lock);
	is_last = --snapshot->references == 0;
	(void)pthread_mutex_unlock(&board->lock);
	if (is_last)
		snapshot_free(snapshot);
}

void board_publish(struct listen_board *board, struct snapshot *snapshot)
{
	struct snapshot *old;

	(void)pthread_mutex_lock(&board->lock);
	old = board->current;
	if (snapshot) {
		snapshot->references = 1;
		snapshot->generation = old ? old->generation + 1 : 1;
	}
	board->current = snapshot;
	(void)pthread_mutex_unlock(&board->lock);
	board_release(board, old);
}
