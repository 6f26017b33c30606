/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The listening sink: owns the listener with its thread, and the metrics' state, which only the
 * thread that writes reports touches. Used through `struct sink` by the app.
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
#define OUR_COUNTERS    (ANSWER_CODES + REFUSALS + 2)

struct sink_listen {
	struct sink sink;
	struct listener listener;
	struct prometheus_state *metrics;
	struct prometheus_counter counters[OUR_COUNTERS];
	uint64_t interval_ns, generation;
	void (*say)(void *context, const char *text);
	void *context;
	pthread_t thread;
	bool has_thread;
	int said_error; /* what was said last; 0: nothing, or that it is over */
};

static uint64_t monotonic_ns(void *context)
{
	return clock_ns(CLOCK_MONOTONIC);
}

struct snapshot *listener_snapshot(struct listener *listener)
{
	struct snapshot *snapshot;

	(void)pthread_mutex_lock(&listener->lock);
	snapshot = listener->current;
	if (snapshot)
		snapshot->references++;
	(void)pthread_mutex_unlock(&listener->lock);
	return snapshot;
}

void listener_release(struct listener *listener, struct snapshot *snapshot)
{
	bool is_last;

	if (!snapshot)
		return;
	(void)pthread_mutex_lock(&listener->lock);
	is_last = --snapshot->references == 0;
	(void)pthread_mutex_unlock(&listener->lock);
	if (is_last)
		snapshot_free(snapshot);
}

static void publish(struct listener *listener, struct snapshot *snapshot)
{
	struct snapshot *old;

	snapshot->references = 1;
	(void)pthread_mutex_lock(&listener->lock);
	old = listener->current;
	listener->current = snapshot;
	(void)pthread_mutex_unlock(&listener->lock);
	listener_release(listener, old);
}

static void read_counters(struct sink_listen *listen)
{
	struct listener *listener = &listen->listener;
	struct prometheus_counter *counter = listen->counters;

	for (int i = 0; i < ANSWER_CODES; i++)
		counter++->value = atomic_load(&listener->answers[i]);
	for (int i = 0; i < REFUSALS; i++)
		counter++->value = atomic_load(&listener->refusals[i]);
	counter++->value = atomic_load(&listener->accepted);
	counter->value = atomic_load(&listener->scrapes);
}

static void name_counters(struct sink_listen *listen)
{
	static const char *const codes[ANSWER_CODES] = {
		"200", "400", "401", "404", "405", "413", "414", "421", "429", "431", "503"};
	static const char *const reasons[REFUSALS] = {
		[REFUSAL_RATE] = "rate",
		[REFUSAL_CLIENT] = "client",
		[REFUSAL_TOTAL] = "total",
		[REFUSAL_TIMEOUT] = "timeout",
	};
	struct prometheus_counter *counter = listen->counters;

	for (int i = 0; i < ANSWER_CODES; i++)
		*counter++ = (struct prometheus_counter){"http_requests",
			"Requests that were answered, by status.", "code", codes[i], 0};
	for (int i = 0; i < REFUSALS; i++)
		*counter++ = (struct prometheus_counter){"http_connections_refused",
			"Connections that were ended without an answer.", "reason", reasons[i], 0};
	*counter++ = (struct prometheus_counter){
		"http_connections", "Connections that were accepted.", NULL, NULL, 0};
	*counter = (struct prometheus_counter){
		"http_scrapes", "Requests for metrics that were answered.", NULL, NULL, 0};
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

static int listen_write(struct sink *sink, const struct report *report)
{
	struct sink_listen *listen = (struct sink_listen *)sink;
	struct listener *listener = &listen->listener;
	uint64_t interval_ns = listen->interval_ns ? listen->interval_ns : report->interval_ns;
	struct snapshot *snapshot;
	int error, render_error;

	atomic_store(&listener->stale_after_ns, STALE_INTERVALS * interval_ns);
	atomic_store(&listener->report_ns, listener->now_ns(listener->context));
	error = prometheus_fold(listen->metrics, report);
	read_counters(listen);
	render_error = snapshot_new(report, listen->metrics, &snapshot);
	if (!render_error) {
		snapshot->generation = ++listen->generation;
		publish(listener, snapshot);
	}
	say_trouble(listen);
	return error ? error : render_error;
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
	listener_release(listener, listener->current);
	fixed_free(listener);
	clients_deinit(&listener->clients);
	free(listener->connections);
	for (size_t i = 0; i < listener->host_count; i++)
		free(listener->hosts[i]);
	if (listener->token)
		explicit_bzero(listener->token, strlen(listener->token));
	free(listener->token);
	(void)pthread_mutex_destroy(&listener->lock);
	prometheus_free(listen->metrics);
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
	return fixed_new(
		listener, or_default(options->requests_per_minute, LISTEN_REQUESTS_PER_MINUTE));
}

static int init_metrics(struct sink_listen *listen, const struct listen_options *options)
{
	int error = prometheus_new(&options->metrics, &listen->metrics);

	if (error)
		return error;
	name_counters(listen);
	error = prometheus_attach(listen->metrics, listen->counters, OUR_COUNTERS);
	if (!error && options->counters)
		error = prometheus_attach(
			listen->metrics, options->counters, options->counter_count);
	return error;
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
	(void)pthread_mutex_init(&listener->lock, NULL);
	error = check_options(options, &listener->address, diag);
	if (error)
		return error;
	error = listener->stop_fd < 0 ? -errno : copy_options(listener, options);
	if (!error)
		error = init_metrics(listen, options);
	if (error)
		return diag_set(diag, error, "cannot listen: %s", strerror(-error));
	error = listen_address_open(
		&listener->address, options->address, &listener->listen_fd, diag);
	if (!error)
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
