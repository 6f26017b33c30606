/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The listener's thread: accepts, has libmicrohttpd read and answer, and ends what takes too long.
 *
 * libmicrohttpd waits as long as bytes trickle and, when it is full, for as long as anybody likes
 * to stay; so accepting and time limits are ours. A connection is ended by shutting its socket
 * down: libmicrohttpd sees its end and closes it, and on_connection forgets it. Until then it is
 * `is_ending` and counts for nobody. Limits are absolute: a byte in time buys no more of it.
 */
#include "listen_state.h"

#include "pagestay/base/diag.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define POOL_BYTES       ((size_t)12 * 1024) /* of a connection: head, and response's head */
#define ACCEPTS_AT_ONCE  16
#define SWEEP_MS         100
#define PAUSE_NS         (200 * NS_PER_MS)
#define FULL_PAUSE_MS    10
#define WRITING_AT_LEAST (1000 * NS_PER_MS) /* before an answer under way may be cut */
#define SNAPSHOTS_BEHIND 4

static uint64_t now_of(const struct listener *listener)
{
	return listener->now_ns(listener->context);
}

/* Its close leaves nothing behind that the kernel would have to remember for a minute. */
static void forget_at_close(int fd)
{
	static const struct linger reset = {.l_onoff = 1};

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
}

static void cut_off(struct connection *connection)
{
	connection->is_ending = true;
	connection->client->connections--;
	forget_at_close(connection->fd);
	(void)shutdown(connection->fd, SHUT_RDWR);
}

void listener_end(struct listener *listener, struct connection *connection, enum refusal reason)
{
	atomic_fetch_add(&listener->board->refusals[reason], 1);
	cut_off(connection);
}

/*
 * How late a connection makes way: the only one of a client that has read a report before is kept
 * from those who come and say nothing, and an answer under way from both.
 */
static unsigned standing(const struct connection *connection)
{
	if (connection->is_writing)
		return 2;
	return connection->client->is_reader && connection->client->connections == 1;
}

/*
 * Of the least standing, who has been there longest; none whose request may be there and was not
 * looked at yet. NULL: nobody.
 */
static struct connection *least_of(
	const struct listener *listener, const struct client *client, uint64_t now_ns)
{
	struct connection *least = NULL;

	for (unsigned i = 0; i < listener->connections_max; i++) {
		struct connection *connection = &listener->connections[i];

		if (connection->fd < 0 || connection->is_ending ||
			connection->turn == listener->turns ||
			(client && connection->client != client))
			continue;
		if (connection->is_writing &&
			connection->deadline_ns > now_ns + listener->response_ns - WRITING_AT_LEAST)
			continue;
		if (!least || standing(connection) < standing(least) ||
			(standing(connection) == standing(least) &&
				connection->since_ns < least->since_ns))
			least = connection;
	}
	return least;
}

static struct connection *unused_connection(const struct listener *listener)
{
	for (unsigned i = 0; i < listener->connections_max; i++)
		if (listener->connections[i].fd < 0)
			return &listener->connections[i];
	return NULL;
}

/* Down to so many; but those that came just now are left until they were looked at. */
static void limit_client(
	struct listener *listener, const struct client *client, unsigned limit, uint64_t now_ns)
{
	struct connection *least;

	while (client->connections > limit && (least = least_of(listener, client, now_ns)))
		listener_end(listener, least, REFUSAL_CLIENT);
}

/* Takes the descriptor. */
static void admit(struct listener *listener, int fd, const union any_address *address,
	socklen_t length, uint64_t now_ns)
{
	struct connection *connection = unused_connection(listener);
	uint8_t key[CLIENT_KEY_BYTES];
	struct client *client;

	client_key(address, fd, key);
	client = clients_find(&listener->clients, key, now_ns);
	if (!client || !connection) {
		atomic_fetch_add(&listener->board->refusals[REFUSAL_TOTAL], 1);
		forget_at_close(fd);
		(void)close(fd);
		return;
	}
	limit_client(listener, client, listener->per_client_max - 1, now_ns);
	*connection = (struct connection){
		.fd = fd,
		.client = client,
		.since_ns = now_ns,
		.deadline_ns = now_ns + listener->request_ns,
		.turn = listener->turns,
		.is_limited = !client_pay(&listener->clients, client, BUCKET_REQUESTS, now_ns),
		.is_charged = true,
	};
	client->connections++;
	listener->connection_count++;
	listener->arriving = connection;
	/* Closes the descriptor also when it fails. */
	(void)MHD_add_connection(listener->daemon, fd, &address->any, length);
	/* From libmicrohttpd 1.0 on it only comes into a queue there. */
	if (listener->arriving)
		(void)MHD_run(listener->daemon);
	if (listener->arriving) {
		listener->arriving = NULL;
		client->connections--;
		listener->connection_count--;
		connection->fd = -1;
	}
}

/* False when there is nobody left, or no room. */
static bool accept_one(struct listener *listener, uint64_t now_ns)
{
	union any_address address = {0};
	socklen_t length = sizeof(address);
	struct connection *least;
	int fd;

	if (listener->connection_count >= listener->connections_max) {
		least = least_of(listener, NULL, now_ns);
		if (least)
			listener_end(listener, least, REFUSAL_TOTAL);
		return false;
	}
	fd = accept4(listener->listen_fd, &address.any, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0) {
		atomic_store(&listener->accept_error, 0);
		atomic_fetch_add(&listener->board->accepted, 1);
		admit(listener, fd, &address, length, now_ns);
		return true;
	}
	if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
		atomic_store(&listener->accept_error, errno);
		listener->paused_until_ns = now_ns + PAUSE_NS;
		return false;
	}
	return errno != EAGAIN && errno != EWOULDBLOCK;
}

/* Who takes too long, holds a report that is too old, or came with too many at once. */
static void sweep(struct listener *listener, uint64_t now_ns)
{
	uint64_t newest;

	(void)pthread_mutex_lock(&listener->board->lock);
	newest = listener->board->current ? listener->board->current->generation : 0;
	(void)pthread_mutex_unlock(&listener->board->lock);
	for (unsigned i = 0; i < listener->connections_max; i++) {
		struct connection *connection = &listener->connections[i];

		if (connection->fd < 0 || connection->is_ending)
			continue;
		if (connection->is_idle && now_ns >= connection->deadline_ns)
			cut_off(connection);
		else if (now_ns >= connection->deadline_ns ||
			 (connection->generation &&
				 newest > connection->generation + SNAPSHOTS_BEHIND))
			listener_end(listener, connection, REFUSAL_TIMEOUT);
		else
			limit_client(
				listener, connection->client, listener->per_client_max, now_ns);
	}
}

static void on_connection(void *context, struct MHD_Connection *handle, void **socket_context,
	enum MHD_ConnectionNotificationCode code)
{
	struct listener *listener = context;
	struct connection *connection = *socket_context;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		*socket_context = listener->arriving;
		listener->arriving = NULL;
	} else if (connection) {
		if (!connection->is_ending && !connection->has_answer && !listener->is_stopping)
			atomic_fetch_add(&listener->board->refusals[REFUSAL_MALFORMED], 1);
		if (!connection->is_ending)
			connection->client->connections--;
		connection->fd = -1;
		listener->connection_count--;
	}
}

static struct connection *connection_of(struct MHD_Connection *handle)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(handle, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

static void on_completed(void *context, struct MHD_Connection *handle, void **request,
	enum MHD_RequestTerminationCode code)
{
	const struct listener *listener = context;
	struct connection *connection = connection_of(handle);

	if (!connection)
		return;
	connection->is_writing = false;
	connection->is_idle = true;
	connection->generation = 0;
	connection->since_ns = now_of(listener);
	connection->deadline_ns = connection->since_ns + listener->idle_ns;
}

/* All of the target, before it is taken apart. */
static void *on_target(void *context, const char *target, struct MHD_Connection *handle)
{
	struct connection *connection = connection_of(handle);

	if (!connection)
		return NULL;
	connection->target_bytes = strlen(target);
	connection->is_idle = false;
	return NULL;
}

/* Paths are compared as they are sent. */
static size_t keep_escapes(void *context, struct MHD_Connection *handle, char *text)
{
	return strlen(text);
}

int listener_start(struct listener *listener, struct diag *diag)
{
	listener->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL,
		listener_answer, listener, MHD_OPTION_CONNECTION_MEMORY_LIMIT, POOL_BYTES,
		MHD_OPTION_CONNECTION_LIMIT, listener->connections_max,
		MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
		listener, MHD_OPTION_NOTIFY_COMPLETED, on_completed, listener,
		MHD_OPTION_URI_LOG_CALLBACK, on_target, listener, MHD_OPTION_UNESCAPE_CALLBACK,
		keep_escapes, listener, MHD_OPTION_STRICT_FOR_CLIENT, 1,
		MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
	if (!listener->daemon)
		return diag_set(diag, -ENOMEM, "cannot start the HTTP server");
	return 0;
}

static int timeout_ms(const struct listener *listener)
{
	MHD_UNSIGNED_LONG_LONG pending_ms;
	int timeout = listener->paused_until_ns    ? FULL_PAUSE_MS
		      : listener->connection_count ? SWEEP_MS
						   : -1;

	if (MHD_get_timeout(listener->daemon, &pending_ms) == MHD_YES &&
		(timeout < 0 || pending_ms < (unsigned)timeout))
		timeout = (int)(pending_ms < SWEEP_MS ? pending_ms : SWEEP_MS);
	return timeout;
}

/* Whoever waits would have us ask again and again. */
static void pause_if_full(struct listener *listener, uint64_t now_ns)
{
	if (listener->connection_count >= listener->connections_max &&
		!least_of(listener, NULL, now_ns))
		listener->paused_until_ns = now_ns + FULL_PAUSE_MS * NS_PER_MS;
}

static void serve(struct listener *listener, int mhd_fd)
{
	uint64_t swept_ns = 0;

	for (;;) {
		struct pollfd fds[] = {
			{.fd = listener->stop_fd, .events = POLLIN},
			{.fd = mhd_fd, .events = POLLIN},
			{.fd = listener->paused_until_ns ? -1 : listener->listen_fd,
				.events = POLLIN},
		};
		int ready = poll(fds, 3, timeout_ms(listener));
		uint64_t now_ns = now_of(listener);

		if (ready > 0 && fds[0].revents)
			return;
		if (ready > 0 && fds[2].revents)
			for (int i = 0; i < ACCEPTS_AT_ONCE && accept_one(listener, now_ns); i++)
				;
		if (now_ns >= listener->paused_until_ns)
			listener->paused_until_ns = 0;
		if (now_ns - swept_ns >= SWEEP_MS * NS_PER_MS) {
			sweep(listener, now_ns);
			swept_ns = now_ns;
		}
		(void)MHD_run(listener->daemon);
		listener->turns++;
		pause_if_full(listener, now_ns);
	}
}

void *listener_thread(void *argument)
{
	struct listener *listener = argument;
	const union MHD_DaemonInfo *info =
		MHD_get_daemon_info(listener->daemon, MHD_DAEMON_INFO_EPOLL_FD);

	if (info)
		serve(listener, info->epoll_fd);
	listener->is_stopping = true;
	MHD_stop_daemon(listener->daemon);
	return NULL;
}
