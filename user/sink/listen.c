/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The listening sink: owns the listener with its thread. Used through `struct sink` by the app.
 */
#include "listen_state.h"

#include "pagestay/base/cleanup.h"
#include "pagestay/base/thread.h"
#include "pagestay/base/diag.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#define STALE_INTERVALS 3

struct sink_listen {
	struct sink sink;
	struct listener listener;
	const struct prometheus_state *metrics;
	uint64_t interval_ns;
	void (*say)(void *context, const char *text);
	void *context;
	pthread_t thread;
	bool has_thread;
	int said_error;    /* what was said last; 0: nothing, or that it is over */
	bool said_failure; /* to render; likewise */
};

static uint64_t monotonic_ns(void *context)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* The listener's thread has no voice of its own. */
static void say_trouble(struct sink_listen *listen)
{
	int error = atomic_load(&listen->listener.accept_error);
	char text[160];

	if (error == listen->said_error || !listen->say)
		return;
	listen->said_error = error;
	if (error)
		(void)snprintf(text, sizeof(text), "cannot accept connections: %s; trying again",
			strerror(error));
	else
		(void)snprintf(text, sizeof(text), "connections are accepted again");
	listen->say(listen->context, text);
}

static void say_failure(struct sink_listen *listen, int error)
{
	char text[160];

	if (listen->said_failure == (error != 0) || !listen->say)
		return;
	listen->said_failure = error != 0;
	if (error)
		(void)snprintf(text, sizeof(text),
			"cannot render a report: %s; the last one is served till it works",
			strerror(-error));
	else
		(void)snprintf(text, sizeof(text), "reports are rendered again");
	listen->say(listen->context, text);
}

static void report_came(struct sink_listen *listen, uint64_t interval_ns)
{
	struct listen_board *board = listen->listener.board;

	atomic_store(&board->stale_after_ns, STALE_INTERVALS * interval_ns);
	atomic_store(&board->report_ns, listen->listener.now_ns(listen->listener.context));
}

/*
 * The first report has as long to come as those after it, and what was on the board for long while
 * nobody listened is not shown as new.
 */
static void begin(struct sink_listen *listen)
{
	const struct listener *listener = &listen->listener;

	if (!listen->interval_ns ||
		!board_is_stale(listener->board, listener->now_ns(listener->context)))
		return;
	board_publish(listener->board, NULL);
	report_came(listen, listen->interval_ns);
}

static int listen_write(struct sink *sink, const struct report *report)
{
	struct sink_listen *listen = (struct sink_listen *)sink;
	uint64_t interval_ns = listen->interval_ns ? listen->interval_ns : report->interval_ns;
	struct listen_board *board = listen->listener.board;
	struct snapshot *snapshot;
	int error;

	board_count(board);
	error = snapshot_new(report, listen->metrics, &snapshot);
	if (!error) {
		board_publish(board, snapshot);
		report_came(listen, interval_ns);
	}
	say_failure(listen, error);
	say_trouble(listen);
	return error;
}

static void listen_free(struct sink_listen *listen)
{
	struct listener *listener = &listen->listener;
	uint64_t one = 1;

	if (listen->has_thread) {
		(void)!write(listener->stop_fd, &one, sizeof(one));
		(void)pthread_join(listen->thread, NULL);
	} else if (listener->daemon) {
		MHD_stop_daemon(listener->daemon);
	}
	if (listener->listen_fd >= 0 && listener->address.is_local)
		(void)unlink(listener->address.address.local.sun_path);
	cleanup_close(&listener->listen_fd);
	cleanup_close(&listener->stop_fd);
	fixed_free(listener);
	clients_deinit(&listener->clients);
	free(listener->connections);
	for (size_t i = 0; i < listener->host_count; i++)
		free(listener->hosts[i]);
	if (listener->token)
		explicit_bzero(listener->token, strlen(listener->token));
	free(listener->token);
	free(listen);
}

static int listen_close(struct sink *sink)
{
	listen_free((struct sink_listen *)sink);
	return 0;
}

static const struct sink_ops listen_ops = {
	.write = listen_write,
	.close = listen_close,
};

static bool is_fit_token(const char *token)
{
	size_t length = strlen(token);

	for (size_t i = 0; i < length; i++)
		if (token[i] <= ' ' || token[i] > '~')
			return false;
	return length >= LISTEN_TOKEN_BYTES_MIN && length <= LISTEN_TOKEN_BYTES_MAX;
}

void sink_listen_interval(struct sink *sink, uint64_t interval_ns)
{
	((struct sink_listen *)sink)->interval_ns = interval_ns;
}

int listen_check_address(const char *address, bool *ret_is_loopback, struct diag *diag)
{
	struct listen_address parsed;
	int error = listen_address_parse(address, &parsed, diag);

	if (!error)
		*ret_is_loopback = parsed.is_loopback;
	return error;
}

static int check_options(
	const struct listen_options *options, struct listen_address *ret_address, struct diag *diag)
{
	int error = listen_address_parse(options->address, ret_address, diag);

	if (error)
		return error;
	if (options->token && !is_fit_token(options->token))
		return diag_set(diag, -EINVAL,
			"a token is %d to %d visible ASCII characters without a blank",
			LISTEN_TOKEN_BYTES_MIN, LISTEN_TOKEN_BYTES_MAX);
	if (!ret_address->is_loopback && !options->token)
		return diag_set(diag, -EPERM,
			"%s can be reached from other machines: listening there needs a token",
			options->address);
	if (options->connections > LISTEN_CONNECTIONS_MAX)
		return diag_set(diag, -EINVAL, "at most %d connections", LISTEN_CONNECTIONS_MAX);
	if (options->requests_per_minute > LISTEN_REQUESTS_PER_MINUTE_MAX)
		return diag_set(diag, -EINVAL, "at most %d requests a minute",
			LISTEN_REQUESTS_PER_MINUTE_MAX);
	if (options->host_count > LISTEN_HOSTS)
		return diag_set(diag, -EINVAL, "at most %d names of this host", LISTEN_HOSTS);
	return 0;
}

static unsigned or_default(unsigned value, unsigned otherwise)
{
	return value ? value : otherwise;
}

static int copy_options(struct listener *listener, const struct listen_options *options)
{
	listener->connections_max = or_default(options->connections, LISTEN_CONNECTIONS);
	listener->per_client_max =
		or_default(options->connections_per_client, LISTEN_CONNECTIONS_PER_CLIENT);
	listener->request_ns = or_default(options->request_ms, LISTEN_REQUEST_MS) * NS_PER_MS;
	listener->idle_ns = or_default(options->idle_ms, LISTEN_IDLE_MS) * NS_PER_MS;
	listener->response_ns = or_default(options->response_ms, LISTEN_RESPONSE_MS) * NS_PER_MS;
	listener->now_ns = options->now_ns ? options->now_ns : monotonic_ns;
	listener->context = options->context;
	clients_init(&listener->clients,
		or_default(options->requests_per_minute, LISTEN_REQUESTS_PER_MINUTE));
	if (options->token && !(listener->token = strdup(options->token)))
		return -ENOMEM;
	for (size_t i = 0; i < options->host_count; i++) {
		listener->hosts[i] = strdup(options->hosts[i]);
		if (!listener->hosts[i])
			return -ENOMEM;
		listener->host_count++;
	}
	listener->connections = calloc(listener->connections_max, sizeof(*listener->connections));
	if (!listener->connections)
		return -ENOMEM;
	for (unsigned i = 0; i < listener->connections_max; i++)
		listener->connections[i].fd = -1;
	return fixed_new(listener);
}

static int start_thread(struct sink_listen *listen)
{
	int error = thread_start(listener_thread, &listen->listener, &listen->thread);

	listen->has_thread = !error;
	return error;
}

static int listen_init(
	struct sink_listen *listen, const struct listen_options *options, struct diag *diag)
{
	struct listener *listener = &listen->listener;
	int error;

	listen->sink.ops = &listen_ops;
	listen->interval_ns = options->interval_ns;
	listen->say = options->say;
	listen->context = options->context;
	listener->listen_fd = -1;
	listener->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	listen->metrics = options->metrics;
	listener->board = options->board;
	error = check_options(options, &listener->address, diag);
	if (error)
		return error;
	error = listener->stop_fd < 0 ? -errno : copy_options(listener, options);
	if (error)
		return diag_set(diag, error, "cannot listen: %s", strerror(-error));
	error = listen_address_open(
		&listener->address, options->address, &listener->listen_fd, diag);
	if (error)
		return error;
	begin(listen);
	error = listener_start(listener, diag);
	if (error)
		return error;
	error = start_thread(listen);
	return error ? diag_set(diag, error, "cannot listen: %s", strerror(-error)) : 0;
}

int sink_listen_new(const struct listen_options *options, struct sink **ret_sink, struct diag *diag)
{
	struct sink_listen *listen = calloc(1, sizeof(*listen));
	int error;

	if (!listen)
		return diag_set(diag, -ENOMEM, "cannot listen: out of memory");
	error = listen_init(listen, options, diag);
	if (error) {
		listen_free(listen);
		return error;
	}
	*ret_sink = (struct sink *)listen;
	return 0;
}

unsigned sink_listen_port(const struct sink *sink)
{
	const struct sink_listen *listen = (const struct sink_listen *)sink;
	const union any_address *address = &listen->listener.address.address;

	switch (address->any.sa_family) {
	case AF_INET:
		return ntohs(address->v4.sin_port);
	case AF_INET6:
		return ntohs(address->v6.sin6_port);
	default:
		return 0;
	}
}
