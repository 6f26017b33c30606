/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Judges a request and chooses its answer. Owns the answers that are always the same. Called by
 * libmicrohttpd in the listener's thread: once when the head of a request is complete, when all
 * that is to be refused is refused, which closes the connection; and once more to answer the rest.
 *
 * Nothing of a request is ever written back, kept or logged.
 */
#include "listen_state.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

const unsigned answer_codes[ANSWER_CODES] = {200, 400, 401, 404, 405, 413, 414, 421, 429, 431, 503};

static const struct {
	unsigned code;
	bool closes;
	const char *body;
	const char *header, *value; /* NULL: none */
} fixed[FIXED_RESPONSES] = {
	[FIXED_INDEX] = {200, false,
		"pagestay\n\n"
		"/metrics        for Prometheus\n"
		"/api/v1/report  the latest report, JSON\n"
		"/healthz        whether reports come\n",
		NULL, NULL},
	[FIXED_HEALTHY] = {200, false, "ok\n", NULL, NULL},
	[FIXED_STALE] = {503, false, "no report for three intervals\n", NULL, NULL},
	[FIXED_NO_REPORT] = {503, false, "no report yet\n", "Retry-After", "1"},
	[FIXED_BAD_REQUEST] = {400, true, "bad request\n", NULL, NULL},
	[FIXED_UNAUTHORIZED] = {401, true, "unauthorized\n", "WWW-Authenticate", "Bearer"},
	[FIXED_NOT_FOUND] = {404, false, "not found\n", NULL, NULL},
	[FIXED_METHOD] = {405, true, "method not allowed\n", "Allow", "GET, HEAD"},
	[FIXED_BODY] = {413, true, "no body is taken\n", NULL, NULL},
	[FIXED_TARGET] = {414, true, "target too long\n", NULL, NULL},
	[FIXED_MISDIRECTED] = {421, true, "not the name of this host\n", NULL, NULL},
	[FIXED_TOO_MANY] = {429, true, "too many requests\n", NULL, NULL},
	[FIXED_HEADERS] = {431, true, "headers too large\n", NULL, NULL},
};

int fixed_new(struct listener *listener)
{
	const struct clients *clients = &listener->clients;
	uint64_t burst = clients->burst_ns / clients->cost_ns;
	uint64_t some_ns = (burst < 10 ? burst : 10) * clients->cost_ns;
	char retry_s[24];

	/* When some requests are free again. */
	(void)snprintf(retry_s, sizeof(retry_s), "%" PRIu64, (some_ns + NS_PER_S - 1) / NS_PER_S);
	for (int i = 0; i < FIXED_RESPONSES; i++) {
		struct MHD_Response *response = response_new(fixed[i].body, strlen(fixed[i].body),
			MHD_RESPMEM_PERSISTENT, "text/plain; charset=utf-8");

		if (!response)
			return -ENOMEM;
		listener->fixed[i] = response;
		if (fixed[i].closes)
			(void)MHD_add_response_header(response, "Connection", "close");
		if (fixed[i].header)
			(void)MHD_add_response_header(response, fixed[i].header, fixed[i].value);
		if (i == FIXED_TOO_MANY)
			(void)MHD_add_response_header(response, "Retry-After", retry_s);
	}
	return 0;
}

void fixed_free(struct listener *listener)
{
	for (int i = 0; i < FIXED_RESPONSES; i++)
		if (listener->fixed[i])
			MHD_destroy_response(listener->fixed[i]);
}

static void count_answer(struct listener *listener, unsigned code)
{
	for (int i = 0; i < ANSWER_CODES; i++)
		if (answer_codes[i] == code)
			atomic_fetch_add(&listener->board->answers[i], 1);
}

static enum MHD_Result queue(struct listener *listener, struct connection *connection,
	struct MHD_Connection *handle, unsigned code, struct MHD_Response *response)
{
	connection->is_writing = connection->has_answer = true;
	connection->deadline_ns = listener->now_ns(listener->context) + listener->response_ns;
	count_answer(listener, code);
	return MHD_queue_response(handle, code, response);
}

static enum MHD_Result queue_fixed(struct listener *listener, struct connection *connection,
	struct MHD_Connection *handle, enum fixed which)
{
	return queue(listener, connection, handle, fixed[which].code, listener->fixed[which]);
}

/*
 * Routes.
 */

struct request {
	struct listener *listener;
	struct connection *connection;
	struct MHD_Connection *handle;
};

static const char *header_of(const struct request *request, const char *name)
{
	return MHD_lookup_connection_value(request->handle, MHD_HEADER_KIND, name);
}

static enum MHD_Result answer_fixed(const struct request *request, enum fixed which)
{
	return queue_fixed(request->listener, request->connection, request->handle, which);
}

static enum MHD_Result answer_document(const struct request *request, enum document document)
{
	struct snapshot *snapshot = board_snapshot(request->listener->board);
	bool takes_gzip = negotiate_gzip(header_of(request, "Accept-Encoding"));
	enum MHD_Result result;

	if (!snapshot)
		return answer_fixed(request, FIXED_NO_REPORT);
	request->connection->generation = snapshot->generation;
	if (!request->connection->is_ending)
		request->connection->client->is_reader = true;
	result = queue(request->listener, request->connection, request->handle, 200,
		snapshot_response(snapshot, document, takes_gzip));
	board_release(request->listener->board, snapshot);
	return result;
}

static enum MHD_Result answer_index(const struct request *request)
{
	return answer_fixed(request, FIXED_INDEX);
}

static enum MHD_Result answer_metrics(const struct request *request)
{
	atomic_fetch_add(&request->listener->board->scrapes, 1);
	return answer_document(
		request, negotiate_format(header_of(request, "Accept")) == PROMETHEUS_OPENMETRICS
				 ? DOCUMENT_OPENMETRICS
				 : DOCUMENT_TEXT);
}

static enum MHD_Result answer_report(const struct request *request)
{
	return answer_document(request, DOCUMENT_REPORT);
}

static enum MHD_Result answer_health(const struct request *request)
{
	struct listener *listener = request->listener;

	if (!atomic_load(&listener->board->report_ns))
		return answer_fixed(request, FIXED_NO_REPORT);
	if (board_is_stale(listener->board, listener->now_ns(listener->context)))
		return answer_fixed(request, FIXED_STALE);
	return answer_fixed(request, FIXED_HEALTHY);
}

struct route {
	const char *path;
	bool needs_token, is_document;
	enum MHD_Result (*answer)(const struct request *request);
};

static const struct route routes[] = {
	{"/", true, false, answer_index},
	{"/metrics", true, true, answer_metrics},
	{"/api/v1/report", true, true, answer_report},
	{"/healthz", false, false, answer_health},
};

static const struct route *find_route(const char *path)
{
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
		if (strcmp(routes[i].path, path) == 0)
			return &routes[i];
	return NULL;
}

/*
 * What is refused.
 */

struct header_check {
	size_t bytes;
	unsigned hosts, authorizations;
	bool has_body, is_bad;
	const char *host, *authorization;
};

/* RFC 9110, 5.6.2 and 5.5: libmicrohttpd lets through what others take for something else. */
static bool is_header(const char *name, const char *value)
{
	static const char others[] = "!#$%&'*+-.^_`|~";
	const char *byte = name;

	while ((*byte >= '0' && *byte <= '9') || (*byte >= 'A' && *byte <= 'Z') ||
		(*byte >= 'a' && *byte <= 'z') || (*byte && strchr(others, *byte)))
		byte++;
	if (byte == name || *byte)
		return false;
	while ((unsigned char)*value >= ' ' ? *value != 0x7f : *value == '\t')
		value++;
	return !*value;
}

/* NOLINTNEXTLINE(readability-function-size): not our signature */
static enum MHD_Result check_header(void *context, enum MHD_ValueKind kind, const char *name,
	size_t name_bytes, const char *value, size_t value_bytes)
{
	struct header_check *check = context;

	value = value ? value : "";
	check->bytes += name_bytes + value_bytes + 4;
	check->is_bad |= strlen(name) != name_bytes || strlen(value) != value_bytes ||
			 !is_header(name, value);
	if (strcasecmp(name, "Host") == 0) {
		check->hosts++;
		check->host = value;
	} else if (strcasecmp(name, "Authorization") == 0) {
		check->authorizations++;
		check->authorization = value;
	} else if (strcasecmp(name, "Transfer-Encoding") == 0) {
		check->has_body = true;
	} else if (strcasecmp(name, "Content-Length") == 0) {
		check->has_body |= strcmp(value, "0") != 0;
	}
	return MHD_YES;
}

/* The name of `host` without its port; false if it is none that could be. */
static bool host_name(const char *host, char *ret_name, size_t name_bytes)
{
	size_t length = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
	const char *port;

	if (length >= name_bytes || length > strlen(host))
		return false;
	port = host + length;
	if (*port && (*port != ':' || strspn(port + 1, "0123456789") != strlen(port + 1)))
		return false;
	memcpy(ret_name, host, length);
	ret_name[length] = '\0';
	return true;
}

static bool is_address(const char *name)
{
	struct in6_addr address;
	char inside[INET6_ADDRSTRLEN];
	size_t length = strlen(name);

	if (name[0] != '[')
		return inet_pton(AF_INET, name, &address) == 1;
	if (length < 3 || length - 2 >= sizeof(inside))
		return false;
	memcpy(inside, name + 1, length - 2);
	inside[length - 2] = '\0';
	return inet_pton(AF_INET6, inside, &address) == 1;
}

static bool is_our_name(const struct listener *listener, const char *host)
{
	char name[256];

	if (!host_name(host, name, sizeof(name)))
		return false;
	if (is_address(name) || strcasecmp(name, "localhost") == 0)
		return true;
	for (size_t i = 0; i < listener->host_count; i++)
		if (strcasecmp(name, listener->hosts[i]) == 0)
			return true;
	return false;
}

/* The time that it takes tells nothing but the length of what was offered. */
static bool is_token(const char *token, const char *offered)
{
	size_t length = strlen(token), offered_length = strlen(offered);
	volatile unsigned difference = length != offered_length;

	for (size_t i = 0; i < offered_length; i++)
		difference |= (unsigned char)offered[i] ^ (unsigned char)token[i % length];
	return difference == 0;
}

static bool has_token(const struct listener *listener, const struct header_check *check)
{
	const char *value = check->authorization;

	if (check->authorizations != 1 || strncasecmp(value, "Bearer ", 7) != 0)
		return false;
	value += 7;
	return is_token(listener->token, value + strspn(value, " "));
}

/* The refusal, or FIXED_RESPONSES. */
static enum fixed judge(const struct request *request, const char *path, const char *method)
{
	const struct listener *listener = request->listener;
	const struct route *route = find_route(path);
	struct header_check check = {0};

	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		return FIXED_METHOD;
	(void)MHD_get_connection_values_n(request->handle, MHD_HEADER_KIND, check_header, &check);
	if (check.has_body)
		return FIXED_BODY;
	if (request->connection->target_bytes > LISTEN_TARGET_BYTES)
		return FIXED_TARGET;
	if (check.bytes > LISTEN_HEADER_BYTES)
		return FIXED_HEADERS;
	if (check.hosts > 1 || check.is_bad)
		return FIXED_BAD_REQUEST;
	if (listener->token) {
		if ((!route || route->needs_token) && !has_token(listener, &check))
			return FIXED_UNAUTHORIZED;
	} else if (check.host && !listener->address.is_local &&
		   !is_our_name(listener, check.host)) {
		return FIXED_MISDIRECTED;
	}
	return route ? FIXED_RESPONSES : FIXED_NOT_FOUND;
}

static bool pay(const struct request *request, enum bucket bucket)
{
	struct listener *listener = request->listener;

	return client_pay(&listener->clients, request->connection->client, bucket,
		listener->now_ns(listener->context));
}

/* The first request of a connection was charged for when that was accepted. */
static void charge(const struct request *request)
{
	struct connection *connection = request->connection;

	if (!connection->is_charged)
		connection->is_limited = !pay(request, BUCKET_REQUESTS);
	connection->is_charged = false;
}

/* 429, and no answer to who has had enough of those, too. */
static enum MHD_Result turn_away(const struct request *request)
{
	if (pay(request, BUCKET_REFUSALS))
		return answer_fixed(request, FIXED_TOO_MANY);
	if (!request->connection->is_ending)
		listener_end(request->listener, request->connection, REFUSAL_RATE);
	return MHD_NO;
}

/* NOLINTBEGIN(readability-function-size,readability-non-const-parameter): not our signature */
enum MHD_Result listener_answer(void *context, struct MHD_Connection *handle, const char *path,
	const char *method, const char *version, const char *body, size_t *body_bytes,
	void **ret_request)
/* NOLINTEND(readability-function-size,readability-non-const-parameter) */
{
	struct listener *listener = context;
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(handle, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	const struct request request = {listener, info ? info->socket_context : NULL, handle};
	enum fixed refusal;

	if (!request.connection || *body_bytes)
		return MHD_NO;
	if (*ret_request == request.connection)
		return find_route(path) ? find_route(path)->answer(&request)
					: answer_fixed(&request, FIXED_NOT_FOUND);
	charge(&request);
	refusal = judge(&request, path, method);
	if (request.connection->is_limited &&
		!(refusal == FIXED_RESPONSES && find_route(path)->is_document &&
			pay(&request, BUCKET_DOCUMENTS)))
		return turn_away(&request);
	if (refusal != FIXED_RESPONSES && refusal != FIXED_NOT_FOUND)
		return answer_fixed(&request, refusal);
	*ret_request = request.connection;
	return MHD_YES;
}
