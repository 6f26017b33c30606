/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A sink that answers HTTP requests with the newest report.
 *
 *   /               what there is
 *   /metrics        as text or OpenMetrics, by Accept
 *   /api/v1/report  pagestay.report/1
 *   /healthz        200 while reports come, 503 when the last one is older than three intervals;
 *                   needs no token
 *
 * Each report is rendered when it is written; answers are those bytes, so a client never waits for
 * the loop and the loop never for a client. A thread of its own accepts, reads and answers.
 *
 * Bounds: connections in all and of a client, requests of a client, clients that are remembered,
 * the bytes of a request, the time that it may take to come and its answer to go, the renderings
 * that slow clients hold. Where one is reached, whoever has been idle longest makes room, so that
 * idle connections cannot shut out others. A client is an IPv4 address, an IPv6 /64 or a user of
 * the Unix socket. Who has had its requests may have /metrics and the report as often again.
 */
#ifndef PAGESTAY_SINK_LISTEN_H
#define PAGESTAY_SINK_LISTEN_H

#include "pagestay/sink/prometheus.h"

#define LISTEN_CONNECTIONS             64
#define LISTEN_CONNECTIONS_MAX         512
#define LISTEN_CONNECTIONS_PER_CLIENT  16
#define LISTEN_REQUESTS_PER_MINUTE     240 /* a quarter of them at once */
#define LISTEN_REQUESTS_PER_MINUTE_MAX 60000
#define LISTEN_CLIENTS                 1024
#define LISTEN_TARGET_BYTES            1024
#define LISTEN_HEADER_BYTES            8192
#define LISTEN_TOKEN_BYTES_MIN         16
#define LISTEN_TOKEN_BYTES_MAX         512
#define LISTEN_HOSTS                   16
#define LISTEN_REQUEST_MS              5000  /* for a request to come */
#define LISTEN_IDLE_MS                 65000 /* for the next one on the same connection */
#define LISTEN_RESPONSE_MS             10000 /* for its response to go */

struct listen_options {
	/* "127.0.0.1:9184", "[::1]:9184" or "unix:/run/pagestay/pagestay.sock". Names are not
	 * resolved. Port 0: any that is free. Beyond loopback only with a token. A Unix socket is
	 * made with mode 0660, and one that nobody listens on any more is replaced. */
	const char *address;
	/* Of visible ASCII, LISTEN_TOKEN_BYTES_MIN to _MAX; NULL: none is asked for. */
	const char *token;
	/* Names that requests without a token may call this host by, besides localhost and
	 * addresses: a page that makes a browser ask here does so under a name of its own. */
	const char *const *hosts;
	size_t host_count;
	/* 0: as above. */
	unsigned connections, connections_per_client, requests_per_minute;
	unsigned request_ms, idle_ms, response_ms;
	uint64_t interval_ns; /* between reports */
	/* Both stay the caller's, and outlive the sink. Each report is folded before it is written.
	 */
	const struct prometheus_state *metrics;
	struct listen_board *board;
	/* Called by sink_write: once when trouble begins, once when it is over. */
	void (*say)(void *context, const char *text);
	/* A monotonic clock, called from any thread; NULL: CLOCK_MONOTONIC. */
	uint64_t (*now_ns)(void *context);
	void *context; /* of both */
};

/*
 * What listeners show and what they counted: the newest report as it was rendered. The next
 * listener goes on with it. One listener at a time.
 */
struct listen_board;

int listen_board_new(struct listen_board **ret_board); /* 0 or -ENOMEM */
void listen_board_free(struct listen_board *board);    /* takes NULL */

/* As prometheus_attach: what was counted, as of the last report that was written. */
int listen_board_attach(const struct listen_board *board, struct prometheus_state *metrics);

/* Whether it is an address, as above. 0 or -EINVAL with words. */
int listen_check_address(const char *address, bool *ret_is_loopback, struct diag *diag);

/* Listens when it returns. 0, or -errno with words. Strings are copied. */
int sink_listen_new(
	const struct listen_options *options, struct sink **ret_sink, struct diag *diag);

/* From the next report on. */
void sink_listen_interval(struct sink *sink, uint64_t interval_ns);

/* The port, 0 of a Unix socket. */
unsigned sink_listen_port(const struct sink *sink);

#endif
