/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * demo-server: an HTTP/1.x server whose memory behaves as that of a web dashboard under bot scans.
 *
 * The main thread accepts and hands each connection to one of the workers through that worker's
 * pipe; from then on only that worker touches it. A request grows a tree of small nodes, holds it
 * while an upstream would be asked (a deadline in the worker's queue, so that hundreds of requests
 * are held at once by one thread), answers, and frees the tree. A few small records per request
 * survive in one FIFO that all workers share and that never holds more than SURVIVOR_CAP_BYTES.
 * What the process keeps beyond that is the allocator's doing. On demand a request also holds one
 * large block, as of a buffered upload, and the main thread calls malloc_trim now and then.
 *
 * Bounds: MAX_CONNECTIONS connections (more are closed at once and counted), INPUT_BYTES of unread
 * input each, MAX_BODY_BYTES a body, MAX_NODES nodes and MAX_BLOCK_KIB a request. It listens on
 * 127.0.0.1 only and has no idle timeout: it is for demonstrations and tests.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_WORKERS        256
#define MAX_NODES          1000000
#define MAX_BLOCK_KIB      65536
#define MAX_CONNECTIONS    8192
#define MAX_BODY_BYTES     (1U << 20)
#define INPUT_BYTES        8192
#define OUTPUT_BYTES       512
#define METHOD_BYTES       16
#define EVENTS_PER_WAKE    256
#define SURVIVOR_CAP_BYTES (20U << 20)
#define TREE_FANOUT        8
#define TREE_DEPTH         12

/* Sizes of what a node owns: names and short values as in a dashboard's JSON. */
#define KEY_MIN_BYTES      8
#define KEY_SPAN_BYTES     24
#define VALUE_MIN_BYTES    16
#define VALUE_SPAN_BYTES   430
#define SURVIVOR_MIN_BYTES 96
#define SURVIVOR_SPAN      128

struct options {
	unsigned port;
	unsigned workers;
	unsigned nodes;
	unsigned survivors;
	unsigned wait_ms;
	unsigned rotate;
	unsigned block_kib;
	unsigned trim_every_ms;
	unsigned max_seconds;
	const char *access_log;
	const char *name;
};

struct node {
	struct node *sibling;
	struct node *child;
	char *key;
	char *value;
};

struct survivor {
	STAILQ_ENTRY(survivor) link;
	size_t bytes;
	char data[];
};

STAILQ_HEAD(survivor_list, survivor);

/* The one thing that outlives its request. Oldest first; appending evicts down to the cap. */
struct survivor_fifo {
	pthread_mutex_t lock;
	struct survivor_list list;
	size_t bytes;
};

enum method {
	METHOD_GET,
	METHOD_HEAD,
	METHOD_POST,
	METHOD_OTHER,
};

/* A parsed request. The path points into the connection's input and is valid until it moves. */
struct request {
	enum method method;
	char method_name[METHOD_BYTES + 1];
	const char *path;
	size_t path_bytes;
	size_t body_bytes;
	bool keep_alive;
};

enum state {
	READING_HEAD,
	READING_BODY,
	WAITING,
	WRITING,
	CLOSED,
};

struct connection {
	TAILQ_ENTRY(connection) all;
	TAILQ_ENTRY(connection) waiting;
	int fd;
	enum state state;
	bool readable;
	bool keep_alive;
	uint64_t deadline_ms;
	unsigned status;
	size_t body_left;
	struct node *tree;
	char *block;
	struct survivor_list records;
	char *log_line;
	size_t input_bytes;
	size_t output_bytes;
	size_t output_sent;
	char output[OUTPUT_BYTES];
	char input[INPUT_BYTES];
};

TAILQ_HEAD(connection_list, connection);

/* What all threads share; set up before the workers start. */
struct server {
	struct options options;
	struct survivor_fifo fifo;
	FILE *access_log;
	atomic_uint open_connections;
};

struct worker {
	struct server *server;
	pthread_t thread;
	int epoll_fd;
	int inbox_read_fd;
	int inbox_write_fd;
	bool ending;
	uint64_t random;
	uint64_t requests;
	struct connection_list all;
	/* In order of deadline, because every wait has the same length. */
	struct connection_list waiting;
};

static const char *const known_paths[] = {
	"/",
	"/api/alerts",
	"/api/events",
	"/api/status",
	"/assets/app.js",
	"/health",
	"/login",
};

static const struct {
	unsigned status;
	const char *reason;
} reasons[] = {
	{200, "OK"},
	{400, "Bad Request"},
	{404, "Not Found"},
	{413, "Content Too Large"},
	{414, "URI Too Long"},
	{417, "Expectation Failed"},
	{431, "Request Header Fields Too Large"},
	{501, "Not Implemented"},
	{503, "Service Unavailable"},
	{505, "HTTP Version Not Supported"},
};

static const char *reason_of(unsigned status)
{
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		if (reasons[i].status == status)
			return reasons[i].reason;
	}
	return "Unknown";
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* xorshift64: repeatable sizes, so that two servers under the same traffic ask for the same. */
static uint64_t random_next(uint64_t *random)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random;
}

/* --- the memory of a request -------------------------------------------------------------- */

static char *text_new(size_t bytes)
{
	char *text = malloc(bytes);

	if (text)
		memset(text, 'x', bytes);
	return text;
}

static void tree_free(struct node *node)
{
	while (node) {
		struct node *sibling = node->sibling;

		tree_free(node->child);
		free(node->key);
		free(node->value);
		free(node);
		node = sibling;
	}
}

static struct node *node_new(uint64_t *random)
{
	struct node *node = calloc(1, sizeof(*node));

	if (!node)
		return NULL;
	node->key = text_new(KEY_MIN_BYTES + random_next(random) % KEY_SPAN_BYTES);
	node->value = text_new(VALUE_MIN_BYTES + random_next(random) % VALUE_SPAN_BYTES);
	if (!node->key || !node->value) {
		tree_free(node);
		return NULL;
	}
	return node;
}

static struct survivor *survivor_new(uint64_t *random)
{
	size_t bytes = SURVIVOR_MIN_BYTES + random_next(random) % SURVIVOR_SPAN;
	struct survivor *record = malloc(bytes);

	if (!record)
		return NULL;
	record->bytes = bytes;
	memset(record->data, 's', bytes - sizeof(*record));
	return record;
}

/* How a tree is grown: nodes still to make, and a survivor after every `stride` of them. */
struct growth {
	uint64_t *random;
	unsigned nodes_left;
	unsigned stride;
	unsigned survivors_left;
	struct survivor_list *records;
	bool failed;
};

static struct node *tree_grow(struct growth *growth, unsigned depth)
{
	struct node *node;

	if (growth->nodes_left == 0 || growth->failed)
		return NULL;
	node = node_new(growth->random);
	growth->failed = !node;
	if (!node)
		return NULL;
	growth->nodes_left--;

	if (growth->survivors_left > 0 && growth->nodes_left % growth->stride == 0) {
		struct survivor *record = survivor_new(growth->random);

		growth->survivors_left--;
		growth->failed = !record;
		if (record)
			STAILQ_INSERT_TAIL(growth->records, record, link);
	}
	for (unsigned i = 0; i < TREE_FANOUT && depth < TREE_DEPTH; i++) {
		struct node *child = tree_grow(growth, depth + 1);

		if (!child)
			break;
		child->sibling = node->child;
		node->child = child;
	}
	return node;
}

static void survivors_free(struct survivor_list *list)
{
	while (!STAILQ_EMPTY(list)) {
		struct survivor *record = STAILQ_FIRST(list);

		STAILQ_REMOVE_HEAD(list, link);
		free(record);
	}
}

/* Takes every record of the list. */
static void fifo_take(struct survivor_fifo *fifo, struct survivor_list *records)
{
	struct survivor_list evicted = STAILQ_HEAD_INITIALIZER(evicted);
	struct survivor *record;

	pthread_mutex_lock(&fifo->lock);
	for (record = STAILQ_FIRST(records); record; record = STAILQ_NEXT(record, link))
		fifo->bytes += record->bytes;
	STAILQ_CONCAT(&fifo->list, records);
	while (fifo->bytes > SURVIVOR_CAP_BYTES) {
		record = STAILQ_FIRST(&fifo->list);
		STAILQ_REMOVE_HEAD(&fifo->list, link);
		fifo->bytes -= record->bytes;
		STAILQ_INSERT_TAIL(&evicted, record, link);
	}
	pthread_mutex_unlock(&fifo->lock);
	survivors_free(&evicted);
}

/* From half of --block-kib to all of it: a body that was buffered. */
static size_t block_bytes(const struct options *options, uint64_t *random)
{
	size_t most = (size_t)options->block_kib << 10;

	return most / 2 + random_next(random) % (most / 2) + 1;
}

/* Returns false when memory ran out; what was made by then is still the connection's. */
static bool request_allocate(struct worker *worker, struct connection *connection)
{
	const struct options *options = &worker->server->options;
	struct growth growth = {
		.random = &worker->random,
		.nodes_left = options->nodes,
		.stride = options->survivors ? options->nodes / options->survivors : 1,
		.survivors_left = options->survivors,
		.records = &connection->records,
	};

	connection->tree = tree_grow(&growth, 0);
	if (options->block_kib && !growth.failed) {
		connection->block = text_new(block_bytes(options, &worker->random));
		growth.failed = !connection->block;
	}
	return !growth.failed;
}

static void request_release(struct worker *worker, struct connection *connection)
{
	tree_free(connection->tree);
	connection->tree = NULL;
	free(connection->block);
	connection->block = NULL;
	fifo_take(&worker->server->fifo, &connection->records);
}

/* --- parsing ------------------------------------------------------------------------------ */

static bool is_token_char(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		if (!is_token_char((unsigned char)text[i]))
			return false;
	}
	return bytes > 0;
}

static bool equals_nocase(const char *text, size_t bytes, const char *word)
{
	return bytes == strlen(word) && strncasecmp(text, word, bytes) == 0;
}

static enum method method_of(const char *name)
{
	if (strcmp(name, "GET") == 0)
		return METHOD_GET;
	if (strcmp(name, "HEAD") == 0)
		return METHOD_HEAD;
	if (strcmp(name, "POST") == 0)
		return METHOD_POST;
	return METHOD_OTHER;
}

/* Origin form ("/path?query") or absolute form ("http://host/path"). Returns 0 or a status. */
static unsigned parse_target(const char *target, size_t bytes, struct request *request)
{
	const char *end = target + bytes;
	const char *query;

	for (size_t i = 0; i < bytes; i++) {
		unsigned char c = (unsigned char)target[i];

		if (c <= ' ' || c == 0x7f)
			return 400;
	}
	if (bytes > 7 && strncasecmp(target, "http://", 7) == 0) {
		const char *slash = memchr(target + 7, '/', bytes - 7);

		if (slash) {
			target = slash;
		} else {
			target = "/";
			end = target + 1;
		}
	}
	if (target == end || *target != '/')
		return 400;
	query = memchr(target, '?', (size_t)(end - target));
	request->path = target;
	request->path_bytes = (size_t)((query ? query : end) - target);
	return 0;
}

static unsigned parse_request_line(const char *line, size_t bytes, struct request *request)
{
	const char *end = line + bytes;
	const char *target = memchr(line, ' ', bytes);
	const char *version;
	size_t method_bytes;

	if (!target)
		return 400;
	method_bytes = (size_t)(target - line);
	target++;
	version = memchr(target, ' ', (size_t)(end - target));
	if (!is_token(line, method_bytes) || !version)
		return 400;
	version++;
	if (end - version != 8 || memcmp(version, "HTTP/", 5) != 0 || version[6] != '.' ||
		version[5] < '0' || version[5] > '9' || version[7] < '0' || version[7] > '9')
		return 400;
	if (version[5] != '1')
		return 505;
	request->keep_alive = version[7] != '0';
	if (method_bytes > METHOD_BYTES)
		return 501;
	memcpy(request->method_name, line, method_bytes);
	request->method_name[method_bytes] = '\0';
	request->method = method_of(request->method_name);
	if (request->method == METHOD_OTHER)
		return 501;
	return parse_target(target, (size_t)(version - 1 - target), request);
}

/* A Connection header's list of options; others than these two mean nothing here. */
static void parse_connection(const char *value, size_t bytes, struct request *request)
{
	const char *end = value + bytes;

	while (value < end) {
		size_t skip = strspn(value, " \t,");
		size_t word;

		value += skip;
		word = strcspn(value, " \t,\r\n");
		if (value + word > end || word == 0)
			break;
		if (equals_nocase(value, word, "close"))
			request->keep_alive = false;
		else if (equals_nocase(value, word, "keep-alive"))
			request->keep_alive = true;
		value += word;
	}
}

static unsigned parse_length(const char *value, size_t bytes, size_t *ret_length)
{
	size_t length = 0;

	if (bytes == 0)
		return 400;
	for (size_t i = 0; i < bytes; i++) {
		if (value[i] < '0' || value[i] > '9')
			return 400;
		if (length <= MAX_BODY_BYTES)
			length = length * 10 + (size_t)(value[i] - '0');
	}
	if (length > MAX_BODY_BYTES)
		return 413;
	*ret_length = length;
	return 0;
}

/* What the headers said so far that only matters once all are read. */
struct header_seen {
	unsigned hosts;
	bool length;
};

static unsigned parse_header(
	const char *line, size_t bytes, struct header_seen *seen, struct request *request)
{
	const char *colon = memchr(line, ':', bytes);
	const char *value;
	const char *end = line + bytes;
	size_t name_bytes;

	if (!colon || !is_token(line, (size_t)(colon - line)))
		return 400;
	name_bytes = (size_t)(colon - line);
	value = colon + 1;
	for (const char *c = value; c < end; c++) {
		if (((unsigned char)*c < ' ' && *c != '\t') || *c == 0x7f)
			return 400;
	}
	while (value < end && (*value == ' ' || *value == '\t'))
		value++;
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		end--;

	if (equals_nocase(line, name_bytes, "host")) {
		seen->hosts++;
	} else if (equals_nocase(line, name_bytes, "connection")) {
		parse_connection(value, (size_t)(end - value), request);
	} else if (equals_nocase(line, name_bytes, "content-length")) {
		if (seen->length)
			return 400;
		seen->length = true;
		return parse_length(value, (size_t)(end - value), &request->body_bytes);
	} else if (equals_nocase(line, name_bytes, "transfer-encoding")) {
		return 501;
	} else if (equals_nocase(line, name_bytes, "expect")) {
		/* One final answer keeps a request one receive turn and one send. */
		return 417;
	}
	return 0;
}

/*
 * Parses one request's head at the start of the input. Returns 0 with *ret_head_bytes set when it
 * is whole and sound, 0 with *ret_head_bytes zero when more input is needed, or an error's status.
 */
static unsigned parse_head(
	const char *input, size_t input_bytes, struct request *request, size_t *ret_head_bytes)
{
	const char *end = input + input_bytes;
	const char *line = input;
	const char *newline;
	struct header_seen seen = {0};
	bool http_1_0 = false;
	bool first = true;

	*ret_head_bytes = 0;
	while ((newline = memchr(line, '\n', (size_t)(end - line)))) {
		size_t bytes = (size_t)(newline - line);
		unsigned status = 0;

		if (bytes > 0 && line[bytes - 1] == '\r')
			bytes--;
		if (bytes == 0 && !first) {
			if (seen.hosts > 1 || (seen.hosts == 0 && !http_1_0))
				return 400;
			*ret_head_bytes = (size_t)(newline + 1 - input);
			return 0;
		}
		/* Empty lines before a request line are tolerated (RFC 9112, 2.2). */
		if (bytes > 0 && first) {
			status = parse_request_line(line, bytes, request);
			http_1_0 = !request->keep_alive;
			first = false;
		} else if (bytes > 0) {
			status = parse_header(line, bytes, &seen, request);
		}
		if (status)
			return status;
		line = newline + 1;
	}
	if (input_bytes == INPUT_BYTES)
		return first ? 414 : 431;
	return 0;
}

/* --- connections -------------------------------------------------------------------------- */

/* The line up to the status, escaped so that no path can break the log. NULL if out of memory. */
static char *log_line_new(const struct request *request)
{
	size_t method_bytes = strlen(request->method_name);
	char *line = malloc(method_bytes + 1 + request->path_bytes * 4 + 1);
	char *out = line;

	if (!line)
		return NULL;
	out = stpcpy(out, request->method_name);
	*out++ = ' ';
	for (size_t i = 0; i < request->path_bytes; i++) {
		unsigned char c = (unsigned char)request->path[i];

		if (c > ' ' && c < 0x7f && c != '\\')
			*out++ = (char)c;
		else
			out += sprintf(out, "\\x%02X", c);
	}
	*out = '\0';
	return line;
}

static void connection_log(struct worker *worker, struct connection *connection)
{
	worker->requests++;
	if (worker->server->access_log)
		fprintf(worker->server->access_log, "%s %u\n",
			connection->log_line ? connection->log_line : "- -", connection->status);
	free(connection->log_line);
	connection->log_line = NULL;
}

static void connection_free(struct worker *worker, struct connection *connection)
{
	if (connection->state == WAITING)
		TAILQ_REMOVE(&worker->waiting, connection, waiting);
	TAILQ_REMOVE(&worker->all, connection, all);
	request_release(worker, connection);
	free(connection->log_line);
	close(connection->fd);
	free(connection);
	atomic_fetch_sub(&worker->server->open_connections, 1);
}

static void connection_respond(struct connection *connection, enum method method)
{
	char body[128];
	int body_bytes = snprintf(body, sizeof(body), "{\"status\":%u,\"message\":\"%s\"}\n",
		connection->status, reason_of(connection->status));

	connection->output_bytes = (size_t)snprintf(connection->output, OUTPUT_BYTES,
		"HTTP/1.1 %u %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
		"Connection: %s\r\n\r\n%s",
		connection->status, reason_of(connection->status), body_bytes,
		connection->keep_alive ? "keep-alive" : "close", method == METHOD_HEAD ? "" : body);
	connection->output_sent = 0;
}

static void connection_refuse(struct connection *connection, unsigned status)
{
	connection->status = status;
	connection->keep_alive = false;
	connection_respond(connection, METHOD_GET);
	connection->state = WRITING;
}

static unsigned status_of(const struct request *request)
{
	for (size_t i = 0; i < sizeof(known_paths) / sizeof(known_paths[0]); i++) {
		if (strlen(known_paths[i]) == request->path_bytes &&
			memcmp(known_paths[i], request->path, request->path_bytes) == 0)
			return 200;
	}
	return 404;
}

/* Starts a request whose head is whole, and drops that head from the input. */
static void connection_begin(struct worker *worker, struct connection *connection,
	struct request *request, size_t head_bytes)
{
	if (worker->server->access_log)
		connection->log_line = log_line_new(request);
	connection->keep_alive = request->keep_alive;
	connection->status = request_allocate(worker, connection) ? status_of(request) : 503;
	connection->body_left = request->body_bytes;
	connection->state = READING_BODY;
	connection_respond(connection, request->method);
	connection->input_bytes -= head_bytes;
	memmove(connection->input, connection->input + head_bytes, connection->input_bytes);
}

static void connection_wait(struct worker *worker, struct connection *connection)
{
	connection->deadline_ms = now_ms() + worker->server->options.wait_ms;
	connection->state = WAITING;
	TAILQ_INSERT_TAIL(&worker->waiting, connection, waiting);
}

static void connection_skip_body(struct connection *connection)
{
	size_t skip = connection->body_left < connection->input_bytes ? connection->body_left
								      : connection->input_bytes;

	connection->body_left -= skip;
	connection->input_bytes -= skip;
	memmove(connection->input, connection->input + skip, connection->input_bytes);
}

/* Takes from the input what it holds. Returns true when nothing more is to be read for now. */
static bool connection_parse(struct worker *worker, struct connection *connection)
{
	struct request request = {0};
	size_t head_bytes;
	unsigned status;

	if (connection->state == READING_HEAD) {
		status = parse_head(
			connection->input, connection->input_bytes, &request, &head_bytes);
		if (status) {
			connection_refuse(connection, status);
			return true;
		}
		if (head_bytes == 0)
			return false;
		connection_begin(worker, connection, &request, head_bytes);
	}
	connection_skip_body(connection);
	if (connection->body_left > 0)
		return false;
	connection_wait(worker, connection);
	return true;
}

static void connection_read(struct worker *worker, struct connection *connection)
{
	ssize_t got;

	if (connection->input_bytes > 0 && connection_parse(worker, connection))
		return;
	while (connection->readable) {
		got = recv(connection->fd, connection->input + connection->input_bytes,
			INPUT_BYTES - connection->input_bytes, 0);
		if (got > 0) {
			connection->input_bytes += (size_t)got;
			if (connection_parse(worker, connection))
				return;
		} else if (got < 0 && errno == EAGAIN) {
			connection->readable = false;
		} else if (got == 0 || errno != EINTR) {
			connection->state = CLOSED;
			return;
		}
	}
}

/* What came after the last request is read and dropped: unread bytes would turn close into a reset
 * that can overtake the answer. */
static void connection_finish(struct connection *connection)
{
	shutdown(connection->fd, SHUT_WR);
	while (recv(connection->fd, connection->input, INPUT_BYTES, MSG_DONTWAIT) == INPUT_BYTES)
		continue;
	connection->state = CLOSED;
}

static void connection_write(struct worker *worker, struct connection *connection)
{
	while (connection->output_sent < connection->output_bytes) {
		ssize_t sent = send(connection->fd, connection->output + connection->output_sent,
			connection->output_bytes - connection->output_sent, MSG_NOSIGNAL);

		if (sent >= 0) {
			connection->output_sent += (size_t)sent;
		} else if (errno == EAGAIN) {
			return;
		} else if (errno != EINTR) {
			connection_log(worker, connection);
			connection->state = CLOSED;
			return;
		}
	}
	connection_log(worker, connection);
	request_release(worker, connection);
	connection->state = READING_HEAD;
	if (!connection->keep_alive)
		connection_finish(connection);
}

/* Runs a connection until it must wait for the peer or for its deadline; frees it at its end. */
static void connection_advance(struct worker *worker, struct connection *connection)
{
	enum state before;

	do {
		before = connection->state;
		if (before == READING_HEAD || before == READING_BODY)
			connection_read(worker, connection);
		else if (before == WRITING)
			connection_write(worker, connection);
	} while (connection->state != before && connection->state != CLOSED);
	if (connection->state == CLOSED)
		connection_free(worker, connection);
}

static void connection_event(struct worker *worker, struct connection *connection, uint32_t events)
{
	if (events & (EPOLLIN | EPOLLRDHUP))
		connection->readable = true;
	if ((events & (EPOLLERR | EPOLLHUP)) && connection->state == WAITING) {
		/* The client vanished: the upstream's answer has nowhere to go. */
		connection->status = 499;
		connection_log(worker, connection);
		connection_free(worker, connection);
		return;
	}
	connection_advance(worker, connection);
}

static void connection_new(struct worker *worker, int fd)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		.data.ptr = connection,
	};

	if (!connection || epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
		free(connection);
		close(fd);
		atomic_fetch_sub(&worker->server->open_connections, 1);
		return;
	}
	connection->fd = fd;
	connection->state = READING_HEAD;
	STAILQ_INIT(&connection->records);
	TAILQ_INSERT_TAIL(&worker->all, connection, all);
}

/* --- workers ------------------------------------------------------------------------------ */

static void worker_inbox(struct worker *worker)
{
	int fds[256];
	ssize_t got = read(worker->inbox_read_fd, fds, sizeof(fds));

	if (got == 0)
		worker->ending = true;
	for (ssize_t i = 0; i < got / (ssize_t)sizeof(fds[0]); i++)
		connection_new(worker, fds[i]);
}

/* Answers what is due. Returns the milliseconds to the next deadline, -1 for none. */
static int worker_answer_due(struct worker *worker)
{
	struct connection *connection;

	while ((connection = TAILQ_FIRST(&worker->waiting))) {
		uint64_t now = now_ms();

		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it does not follow TAILQ_REMOVE */
		if (connection->deadline_ms > now)
			return (int)(connection->deadline_ms - now);
		TAILQ_REMOVE(&worker->waiting, connection, waiting);
		connection->state = WRITING;
		connection_advance(worker, connection);
	}
	return -1;
}

static void *worker_run(void *argument)
{
	struct worker *worker = argument;
	struct epoll_event events[EVENTS_PER_WAKE];
	int timeout_ms = -1;

	while (!worker->ending) {
		int count = epoll_wait(worker->epoll_fd, events, EVENTS_PER_WAKE, timeout_ms);

		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr)
				connection_event(worker, events[i].data.ptr, events[i].events);
			else
				worker_inbox(worker);
		}
		timeout_ms = worker_answer_due(worker);
	}
	while (!TAILQ_EMPTY(&worker->all)) {
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it does not follow TAILQ_REMOVE */
		connection_free(worker, TAILQ_FIRST(&worker->all));
	}
	return NULL;
}

static int worker_start(struct worker *worker, struct server *server, unsigned index)
{
	struct epoll_event event = {.events = EPOLLIN};
	int inbox[2];
	int err;

	worker->server = server;
	worker->random = 0x9e3779b97f4a7c15ULL * (index + 1);
	TAILQ_INIT(&worker->all);
	TAILQ_INIT(&worker->waiting);
	if (pipe2(inbox, O_CLOEXEC) != 0)
		return -errno;
	worker->inbox_read_fd = inbox[0];
	worker->inbox_write_fd = inbox[1];
	worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (worker->epoll_fd < 0 ||
		epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, inbox[0], &event) != 0)
		return -errno;
	err = pthread_create(&worker->thread, NULL, worker_run, worker);
	return -err;
}

/* Closing the inbox is the order to end. */
static void worker_stop(struct worker *worker)
{
	close(worker->inbox_write_fd);
	pthread_join(worker->thread, NULL);
	close(worker->inbox_read_fd);
	close(worker->epoll_fd);
}

/* --- the main thread ---------------------------------------------------------------------- */

struct acceptor {
	struct server *server;
	uint64_t trim_ms; /* when the next trim is due */
	struct worker workers[MAX_WORKERS];
	int listen_fd;
	int signal_fd;
	unsigned hot;
	unsigned handed_in_a_row;
	uint64_t accepted;
	uint64_t refused;
};

/* One worker gets --rotate connections in a row, then the next one is hot. */
static struct worker *acceptor_next_worker(struct acceptor *acceptor)
{
	const struct options *options = &acceptor->server->options;

	if (acceptor->handed_in_a_row == options->rotate) {
		acceptor->handed_in_a_row = 0;
		acceptor->hot++;
		if (acceptor->hot == options->workers)
			acceptor->hot = 0;
	}
	acceptor->handed_in_a_row++;
	return &acceptor->workers[acceptor->hot];
}

static void acceptor_hand_over(struct acceptor *acceptor, int fd)
{
	struct worker *worker = acceptor_next_worker(acceptor);
	int one = 1;

	acceptor->accepted++;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (atomic_fetch_add(&acceptor->server->open_connections, 1) >= MAX_CONNECTIONS ||
		write(worker->inbox_write_fd, &fd, sizeof(fd)) != sizeof(fd)) {
		atomic_fetch_sub(&acceptor->server->open_connections, 1);
		acceptor->refused++;
		close(fd);
		return;
	}
}

/* How long to wait for a connection; -1: for ever. */
static int acceptor_timeout_ms(const struct acceptor *acceptor)
{
	const struct options *options = &acceptor->server->options;
	uint64_t now = now_ms();
	int trim = acceptor->trim_ms > now ? (int)(acceptor->trim_ms - now) : 0;

	if (options->trim_every_ms)
		return options->max_seconds && trim > 1000 ? 1000 : trim;
	return options->max_seconds ? 1000 : -1;
}

static void acceptor_trim(struct acceptor *acceptor)
{
	const struct options *options = &acceptor->server->options;

	if (!options->trim_every_ms || now_ms() < acceptor->trim_ms)
		return;
	(void)malloc_trim(0);
	acceptor->trim_ms = now_ms() + options->trim_every_ms;
}

static int acceptor_run(struct acceptor *acceptor)
{
	struct pollfd fds[] = {
		{.fd = acceptor->listen_fd, .events = POLLIN},
		{.fd = acceptor->signal_fd, .events = POLLIN},
	};
	unsigned max_seconds = acceptor->server->options.max_seconds;
	uint64_t end_ms = now_ms() + (uint64_t)max_seconds * 1000;

	while (fds[1].revents == 0 && (max_seconds == 0 || now_ms() < end_ms)) {
		int ready = poll(fds, 2, acceptor_timeout_ms(acceptor));
		int fd;

		acceptor_trim(acceptor);
		if (ready <= 0)
			continue;
		if (!(fds[0].revents & POLLIN))
			continue;
		fd = accept4(acceptor->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0)
			acceptor_hand_over(acceptor, fd);
		else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			poll(NULL, 0, 10);
		else if (errno == EBADF || errno == EINVAL || errno == ENOTSOCK)
			return -errno;
	}
	return 0;
}

/* Returns a listening socket on 127.0.0.1, or -errno; the port that it got is in *ret_port. */
static int listen_open(unsigned port, unsigned *ret_port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t address_bytes = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1;
	int err;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
		bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
		listen(fd, 4096) != 0 ||
		getsockname(fd, (struct sockaddr *)&address, &address_bytes) != 0) {
		err = errno;
		close(fd);
		return -err;
	}
	*ret_port = ntohs(address.sin_port);
	return fd;
}

static void raise_open_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* SIGTERM and SIGINT become readable here; every thread inherits the block. */
static int signals_open(void)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	if (pthread_sigmask(SIG_BLOCK, &signals, NULL) != 0)
		return -1;
	return signalfd(-1, &signals, SFD_CLOEXEC);
}

static int fail(const char *what, int err)
{
	fprintf(stderr, "demo-server: %s: %s\n", what, strerror(err));
	return 1;
}

static int serve(struct acceptor *acceptor)
{
	struct server *server = acceptor->server;
	unsigned workers = server->options.workers;
	uint64_t requests = 0;
	unsigned port = 0;
	unsigned started = 0;
	int err = 0;

	raise_open_files();
	acceptor->signal_fd = signals_open();
	if (acceptor->signal_fd < 0)
		return fail("signals", errno);
	acceptor->listen_fd = listen_open(server->options.port, &port);
	if (acceptor->listen_fd < 0)
		return fail("cannot listen on 127.0.0.1", -acceptor->listen_fd);
	while (started < workers && err == 0) {
		err = worker_start(&acceptor->workers[started], server, started);
		started += err == 0;
	}
	if (err == 0) {
		printf("listening on 127.0.0.1:%u\n", port);
		fflush(stdout);
		err = acceptor_run(acceptor);
	}
	close(acceptor->listen_fd);
	for (unsigned i = 0; i < started; i++) {
		worker_stop(&acceptor->workers[i]);
		requests += acceptor->workers[i].requests;
	}
	close(acceptor->signal_fd);
	printf("served %llu requests on %llu connections, refused %llu, %zu bytes survive\n",
		(unsigned long long)requests,
		(unsigned long long)(acceptor->accepted - acceptor->refused),
		(unsigned long long)acceptor->refused, server->fifo.bytes);
	survivors_free(&server->fifo.list);
	return err ? fail("serving", -err) : 0;
}

/* --- options ------------------------------------------------------------------------------ */

static const char usage_text[] =
	"usage: demo-server [options]\n"
	"  --port N         listen on 127.0.0.1:N; 0 takes any free port (default 0)\n"
	"  --workers N      worker threads (default 16)\n"
	"  --nodes N        nodes of the tree that a request holds (default 300)\n"
	"  --survivors N    small records that outlive a request (default 3)\n"
	"  --wait-ms N      how long a request waits while it holds its tree (default 200)\n"
	"  --rotate N       connections that one worker gets in a row (default 1)\n"
	"  --block-kib N    a block of N/2 to N KiB that a request holds too (default 0)\n"
	"  --trim-every-ms N  call malloc_trim(0) so often (default 0: never)\n"
	"  --access-log F   write METHOD PATH STATUS of each request to F\n"
	"  --name NAME      the process's comm, at most 15 bytes\n"
	"  --max-seconds N  end after N seconds; 0 is never (default 0)\n"
	"  --help\n"
	"SIGTERM or SIGINT ends it.\n";

/* Returns false and says why when the text is not a number in [least, most]. */
static bool parse_number(
	const char *option, const char *text, unsigned least, unsigned most, unsigned *ret_number)
{
	char *end;
	unsigned long number;

	errno = 0;
	number = strtoul(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || *end || number < least || number > most) {
		fprintf(stderr, "demo-server: --%s: \"%s\" is not a number from %u to %u\n", option,
			text, least, most);
		return false;
	}
	*ret_number = (unsigned)number;
	return true;
}

/* Returns -1 to go on, or the exit code. */
static int parse_options(int argc, char **argv, struct options *options)
{
	enum { OPT_TEXT = 256, OPT_LOG, OPT_NAME, OPT_HELP };
	const struct {
		const char *name;
		unsigned least;
		unsigned most;
		unsigned *number;
	} numbers[] = {
		{"port", 0, 65535, &options->port},
		{"workers", 1, MAX_WORKERS, &options->workers},
		{"nodes", 1, MAX_NODES, &options->nodes},
		{"survivors", 0, MAX_NODES, &options->survivors},
		{"wait-ms", 0, 60000, &options->wait_ms},
		{"rotate", 1, UINT_MAX, &options->rotate},
		{"max-seconds", 0, 86400, &options->max_seconds},
		{"block-kib", 0, MAX_BLOCK_KIB, &options->block_kib},
		{"trim-every-ms", 0, 60000, &options->trim_every_ms},
	};
	const struct option long_options[] = {
		{"port", required_argument, NULL, 0},
		{"workers", required_argument, NULL, 1},
		{"nodes", required_argument, NULL, 2},
		{"survivors", required_argument, NULL, 3},
		{"wait-ms", required_argument, NULL, 4},
		{"rotate", required_argument, NULL, 5},
		{"max-seconds", required_argument, NULL, 6},
		{"block-kib", required_argument, NULL, 7},
		{"trim-every-ms", required_argument, NULL, 8},
		{"access-log", required_argument, NULL, OPT_LOG},
		{"name", required_argument, NULL, OPT_NAME},
		{"help", no_argument, NULL, OPT_HELP},
		{NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (option == OPT_LOG) {
			options->access_log = optarg;
		} else if (option == OPT_NAME && *optarg && strlen(optarg) <= 15) {
			options->name = optarg;
		} else if (option == OPT_HELP) {
			fputs(usage_text, stdout);
			return 0;
		} else if (option >= 0 && option < (int)(sizeof(numbers) / sizeof(numbers[0]))) {
			if (!parse_number(numbers[option].name, optarg, numbers[option].least,
				    numbers[option].most, numbers[option].number))
				return 2;
		} else {
			fputs(usage_text, stderr);
			return 2;
		}
	}
	if (optind < argc || options->survivors > options->nodes) {
		fputs(optind < argc ? usage_text : "demo-server: more --survivors than --nodes\n",
			stderr);
		return 2;
	}
	return -1;
}

int main(int argc, char **argv)
{
	struct server server = {
		.options =
			{.workers = 16, .nodes = 300, .survivors = 3, .wait_ms = 200, .rotate = 1},
		.fifo = {.lock = PTHREAD_MUTEX_INITIALIZER,
			.list = STAILQ_HEAD_INITIALIZER(server.fifo.list)},
	};
	struct acceptor acceptor = {.server = &server};
	int code = parse_options(argc, argv, &server.options);

	if (code >= 0)
		return code;
	if (server.options.name)
		(void)prctl(PR_SET_NAME, server.options.name);
	if (server.options.access_log) {
		server.access_log = fopen(server.options.access_log, "we");
		if (!server.access_log)
			return fail(server.options.access_log, errno);
		setvbuf(server.access_log, NULL, _IOLBF, 0);
	}
	code = serve(&acceptor);
	if (server.access_log && fclose(server.access_log) != 0)
		code = fail(server.options.access_log, errno);
	return code;
}
