/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the files of the listener share. Nobody else includes this.
 *
 * Two threads: the loop's, which writes reports, and the listener's own, which is in libmicrohttpd
 * and its callbacks. What both touch is in `struct listener` and its board: constant, atomic or
 * under the board's lock.
 */
#ifndef PAGESTAY_SINK_LISTEN_STATE_H
#define PAGESTAY_SINK_LISTEN_STATE_H

#include "pagestay/sink/listen.h"

#include "pagestay/base/clock.h"
#include "pagestay/base/table.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>

union any_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un local;
};

struct listen_address {
	union any_address address;
	socklen_t length;
	bool is_local;    /* a Unix socket */
	bool is_loopback; /* no other machine can reach it */
};

/* 0, or -EINVAL with words. */
int listen_address_parse(const char *text, struct listen_address *ret_address, struct diag *diag);

/* A listening socket; the port is put into `address`. 0, or -errno with words. */
int listen_address_open(
	struct listen_address *address, const char *text, int *ret_fd, struct diag *diag);

/*
 * Clients.
 */

#define CLIENT_KEY_BYTES 12

/* What a client pays from. */
enum bucket {
	BUCKET_REQUESTS,
	BUCKET_DOCUMENTS, /* nothing else: for a scraper with a bot's address */
	BUCKET_REFUSALS,  /* 429; they cost us, too */
	BUCKETS,
};

struct client {
	UT_hash_handle hh;
	uint8_t key[CLIENT_KEY_BYTES];
	bool is_used;
	bool is_reader; /* a report was sent to it */
	unsigned connections;
	uint64_t used_ns;
	uint64_t paid_ns[BUCKETS]; /* up to when they are paid for */
};

struct clients {
	struct client *table;
	struct client pool[LISTEN_CLIENTS];
	unsigned count;
	uint64_t cost_ns, burst_ns; /* of a request */
};

void clients_init(struct clients *clients, unsigned requests_per_minute);
void clients_deinit(struct clients *clients);
void client_key(const union any_address *address, int fd, uint8_t ret_key[CLIENT_KEY_BYTES]);
struct client *clients_find(struct clients *clients, const uint8_t key[CLIENT_KEY_BYTES],
	uint64_t now_ns); /* NULL: out of memory */

/* False, and nothing is taken, if the bucket is empty. */
bool client_pay(
	const struct clients *clients, struct client *client, enum bucket bucket, uint64_t now_ns);

/*
 * Snapshots: a report as it is answered. Shared, freed with the last reference.
 */

enum document { DOCUMENT_TEXT, DOCUMENT_OPENMETRICS, DOCUMENT_REPORT, DOCUMENTS };

struct snapshot {
	unsigned references; /* under the board's lock */
	uint64_t generation;
	struct {
		char *bytes; /* the response's */
		size_t length;
		struct MHD_Response *plain;
		struct MHD_Response *gzip; /* of the listener's thread; NULL: not asked for yet */
	} documents[DOCUMENTS];
};

int snapshot_new(const struct report *report, const struct prometheus_state *metrics,
	struct snapshot **ret_snapshot);
void snapshot_free(struct snapshot *snapshot);

/* Called by the listener's thread only. */
struct MHD_Response *snapshot_response(
	struct snapshot *snapshot, enum document document, bool takes_gzip);

/* What a client asks for. */
enum prometheus_format negotiate_format(const char *accept);
bool negotiate_gzip(const char *accept_encoding);

/* A response with the headers that all have. Takes `bytes` unless it fails (NULL). */
struct MHD_Response *response_new(const char *bytes, size_t length,
	enum MHD_ResponseMemoryMode mode, const char *content_type);

/*
 * The board.
 */

enum refusal {
	REFUSAL_RATE,      /* a client that has had its refusals */
	REFUSAL_CLIENT,    /* made way for another connection of the same client */
	REFUSAL_TOTAL,     /* made way for somebody else's */
	REFUSAL_TIMEOUT,   /* a request that did not come, an answer that did not go */
	REFUSAL_MALFORMED, /* closed, by its client or by libmicrohttpd, before we had a request */
	REFUSALS,
};

#define ANSWER_CODES 11
extern const unsigned answer_codes[ANSWER_CODES];

#define BOARD_COUNTERS (ANSWER_CODES + REFUSALS + 2)

struct listen_board {
	_Atomic uint64_t answers[ANSWER_CODES], scrapes, refusals[REFUSALS], accepted;
	_Atomic uint64_t report_ns, stale_after_ns; /* 0: no report yet */
	pthread_mutex_t lock;
	struct snapshot *current;
	/* As metrics, by board_count; of the thread that writes reports. */
	struct prometheus_counter counters[BOARD_COUNTERS];
};

void board_count(struct listen_board *board);

/* The last report is older than it may be; so is none. */
bool board_is_stale(const struct listen_board *board, uint64_t now_ns);

/* Takes it. NULL: nothing is shown until the next. */
void board_publish(struct listen_board *board, struct snapshot *snapshot);

/* The newest snapshot, with a reference; NULL: none yet. */
struct snapshot *board_snapshot(struct listen_board *board);
void board_release(struct listen_board *board, struct snapshot *snapshot);

/*
 * The listener.
 */

/* Responses that are always the same. */
enum fixed {
	FIXED_INDEX,
	FIXED_HEALTHY,
	FIXED_STALE,
	FIXED_NO_REPORT,
	FIXED_BAD_REQUEST,
	FIXED_UNAUTHORIZED,
	FIXED_NOT_FOUND,
	FIXED_METHOD,
	FIXED_BODY,
	FIXED_TARGET,
	FIXED_MISDIRECTED,
	FIXED_TOO_MANY,
	FIXED_HEADERS,
	FIXED_RESPONSES,
};

struct connection {
	int fd; /* libmicrohttpd's; -1: unused */
	struct client *client;
	uint64_t since_ns, deadline_ns;
	uint64_t turn;       /* of the listener when it came */
	uint64_t generation; /* of the snapshot that it is sent; 0: none */
	size_t target_bytes;
	bool is_limited; /* its request was not paid for */
	bool is_charged; /* its next request was, or could not be, paid for */
	bool is_writing; /* has a response */
	bool is_ending;  /* shut down, about to be forgotten */
	bool is_idle;    /* between two requests, as far as we are told */
	bool has_answer; /* had one of ours */
};

struct listener {
	/* Constant. */
	struct listen_address address;
	int listen_fd, stop_fd;
	char *token;
	char *hosts[LISTEN_HOSTS];
	size_t host_count;
	unsigned connections_max, per_client_max;
	uint64_t request_ns, idle_ns, response_ns;
	uint64_t (*now_ns)(void *context);
	void *context;
	struct MHD_Response *fixed[FIXED_RESPONSES];
	/* Of the listener's thread. */
	struct MHD_Daemon *daemon;
	struct clients clients;
	struct connection *connections;
	unsigned connection_count;
	struct connection *arriving; /* handed to libmicrohttpd right now */
	uint64_t turns;              /* how often libmicrohttpd has read what there was to read */
	uint64_t paused_until_ns; /* no descriptors, or nobody to make way: nothing is accepted */
	bool is_stopping;
	/* Shared. */
	struct listen_board *board; /* the caller's */
	_Atomic int accept_error;
};

/* The listener's thread; the argument is the listener. */
void *listener_thread(void *argument);

/* Starts libmicrohttpd, whose callbacks the thread's run calls. 0 or -errno with words. */
int listener_start(struct listener *listener, struct diag *diag);

/* Cuts a connection off, without an answer or in the middle of one, and counts it. */
void listener_end(struct listener *listener, struct connection *connection, enum refusal reason);

/* Callbacks. */
enum MHD_Result listener_answer(void *context, struct MHD_Connection *handle, const char *path,
	const char *method, const char *version, const char *body, size_t *body_bytes,
	void **request);

/* Behind clients_init, by which it says when to come again. 0 or -ENOMEM. */
int fixed_new(struct listener *listener);
void fixed_free(struct listener *listener);

#endif
