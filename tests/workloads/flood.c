/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * flood KIND PORT OPTIONS: clients on loopback that treat an HTTP server badly, at a given rate.
 *
 *   KIND             paths: a GET of a random path; headers: with 60 KB of headers; targets: with
 *                    a path of 60 KB; bodies: a POST with a chunked body; garbage: random bytes;
 *                    slow: a request that comes a byte at a time; idle: none at all
 *   --from N         127.0.N.1 is the first client (default 0)
 *   --clients N      so many clients, 127.0.N.1 to 127.0.N+x.y (default 1)
 *   --rate N         new connections a second (default 10000)
 *   --connections N  at once (default 100)
 *   --requests N     on one connection, as long as the server keeps it (default 1)
 *   --seconds N      (default 5)
 *
 * Prints one line when it ends: sent=REQUESTS s200=… s404=… s429=… other=… none=…, where none are
 * connections that ended without an answer to their last request. One thread, one epoll descriptor.
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "workload.h"

#define CONNECTIONS_MAX 8192
#define REQUEST_BYTES   (64 * 1024)
#define LONG_BYTES      (60 * 1000)
#define EVENTS          256
#define TRICKLE_NS      100000000ull
#define PER_NETWORK     200

enum kind { PATHS, HEADERS, TARGETS, BODIES, GARBAGE, SLOW, IDLE, KINDS };

static const char *const kind_names[KINDS] = {
	"paths", "headers", "targets", "bodies", "garbage", "slow", "idle"};

static struct {
	enum kind kind;
	unsigned port, from, clients, rate, connections, requests, seconds;
} options = {.clients = 1, .rate = 10000, .connections = 100, .requests = 1, .seconds = 5};

struct connection {
	int fd; /* -1: unused */
	unsigned requests;
	size_t request_bytes, sent;
	size_t head_bytes;
	char head[16]; /* of the answer */
	char *request;
	uint64_t trickled_ns;
};

static struct connection connections[CONNECTIONS_MAX];
static unsigned active, next_client;
static uint64_t sent, s200, s404, s429, other, none;
static uint64_t randomness = 88172645463325252ull;
static int epoll_fd;

static uint64_t random_bits(void)
{
	randomness ^= randomness << 13;
	randomness ^= randomness >> 7;
	randomness ^= randomness << 17;
	return randomness;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static size_t fill(char *request, char with)
{
	memset(request, with, LONG_BYTES);
	return LONG_BYTES;
}

static size_t write_headers(char *request)
{
	size_t used = (size_t)sprintf(request, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n");

	while (used < LONG_BYTES)
		used += (size_t)sprintf(request + used, "X-%llx: %llx\r\n",
			(unsigned long long)random_bits(), (unsigned long long)random_bits());
	return used + (size_t)sprintf(request + used, "\r\n");
}

static size_t write_target(char *request)
{
	size_t used = (size_t)sprintf(request, "GET /");

	used += fill(request + used, 'a');
	return used + (size_t)sprintf(request + used, " HTTP/1.1\r\nHost: localhost\r\n\r\n");
}

static size_t write_garbage(char *request)
{
	for (size_t i = 0; i < 512; i++)
		request[i] = (char)random_bits();
	return 512;
}

static size_t write_request(char *request)
{
	switch (options.kind) {
	case HEADERS:
		return write_headers(request);
	case TARGETS:
		return write_target(request);
	case BODIES:
		return (size_t)sprintf(request, "POST /metrics HTTP/1.1\r\nHost: localhost\r\n"
						"Transfer-Encoding: chunked\r\n\r\n"
						"5\r\nhello\r\n0\r\n\r\n");
	case GARBAGE:
		return write_garbage(request);
	case IDLE:
		return 0;
	default:
		return (size_t)sprintf(request,
			"GET /%016llx/%llx HTTP/1.1\r\nHost: localhost\r\n\r\n",
			(unsigned long long)random_bits(), (unsigned long long)random_bits());
	}
}

static void end(struct connection *connection)
{
	struct linger reset = {.l_onoff = 1};

	/* Or the ports of the family would run out. */
	(void)setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	(void)close(connection->fd);
	connection->fd = -1;
	active--;
}

static void begin_request(struct connection *connection)
{
	connection->request_bytes = write_request(connection->request);
	connection->sent = connection->head_bytes = 0;
	connection->requests++;
	sent++;
}

static struct sockaddr_in address_of(unsigned client)
{
	struct sockaddr_in address = {.sin_family = AF_INET};

	address.sin_addr.s_addr = htonl(0x7f000000u + ((options.from + client / PER_NETWORK) << 8) +
					1 + client % PER_NETWORK);
	return address;
}

static void begin(struct connection *connection)
{
	struct sockaddr_in own = address_of(next_client++ % options.clients);
	struct sockaddr_in server = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)options.port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = connection};
	int one = 1;

	connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (connection->fd < 0)
		die("socket");
	(void)setsockopt(connection->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (bind(connection->fd, (struct sockaddr *)&own, sizeof(own)) != 0)
		die("bind");
	active++;
	connection->requests = 0;
	begin_request(connection);
	if (connect(connection->fd, (struct sockaddr *)&server, sizeof(server)) != 0 &&
		errno != EINPROGRESS) {
		none++;
		end(connection);
		return;
	}
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, connection->fd, &event) != 0)
		die("epoll");
}

static void push(struct connection *connection, size_t most)
{
	while (connection->sent < connection->request_bytes && most) {
		size_t left = connection->request_bytes - connection->sent;
		ssize_t n = send(connection->fd, connection->request + connection->sent,
			left < most ? left : most, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		connection->sent += (size_t)n;
		most -= (size_t)n;
	}
}

static void count(const struct connection *connection)
{
	unsigned code = 0;

	(void)sscanf(connection->head, "HTTP/1.%*1[01] %u", &code);
	if (code == 200)
		s200++;
	else if (code == 404)
		s404++;
	else if (code == 429)
		s429++;
	else
		other++;
}

/* Answers are short: all of one comes at once, and behind its last one the server closes. */
static bool pull(struct connection *connection)
{
	char bytes[4096];
	ssize_t n;

	while ((n = recv(connection->fd, bytes, sizeof(bytes), 0)) > 0) {
		size_t room = sizeof(connection->head) - 1 - connection->head_bytes;
		size_t take = (size_t)n < room ? (size_t)n : room;

		memcpy(connection->head + connection->head_bytes, bytes, take);
		connection->head_bytes += take;
		connection->head[connection->head_bytes] = '\0';
	}
	return n < 0 && errno == EAGAIN;
}

static void on_event(struct connection *connection)
{
	bool is_open;

	if (connection->fd < 0)
		return;
	push(connection, options.kind == SLOW ? 0 : REQUEST_BYTES);
	is_open = pull(connection);
	if (connection->head_bytes >= 12) {
		count(connection);
		if (is_open && connection->requests < options.requests) {
			begin_request(connection);
			push(connection, REQUEST_BYTES);
			return;
		}
		end(connection);
	} else if (!is_open) {
		none++;
		end(connection);
	}
}

static void trickle(uint64_t at_ns)
{
	for (unsigned i = 0; i < options.connections; i++) {
		struct connection *connection = &connections[i];

		if (connection->fd < 0 || at_ns - connection->trickled_ns < TRICKLE_NS)
			continue;
		connection->trickled_ns = at_ns;
		push(connection, 1);
	}
}

static void begin_due(uint64_t elapsed_ns)
{
	static uint64_t begun;
	uint64_t due = elapsed_ns / 1000 * options.rate / 1000000;

	for (unsigned i = 0; i < options.connections && begun < due; i++) {
		if (connections[i].fd >= 0)
			continue;
		begin(&connections[i]);
		begun++;
	}
	/* What the server was too slow for is not made up for. */
	if (begun + options.rate < due)
		begun = due - options.rate;
}

static void run(void)
{
	uint64_t began_ns = now_ns(), at_ns = began_ns;
	struct epoll_event events[EVENTS];

	while (at_ns - began_ns < options.seconds * 1000000000ull) {
		int ready;

		begin_due(at_ns - began_ns);
		ready = epoll_wait(epoll_fd, events, EVENTS, 1);
		for (int i = 0; i < ready; i++)
			on_event(events[i].data.ptr);
		at_ns = now_ns();
		if (options.kind == SLOW)
			trickle(at_ns);
	}
	printf("sent=%llu s200=%llu s404=%llu s429=%llu other=%llu none=%llu open=%u\n",
		(unsigned long long)sent, (unsigned long long)s200, (unsigned long long)s404,
		(unsigned long long)s429, (unsigned long long)other, (unsigned long long)none,
		active);
}

static void read_options(int argc, char **argv)
{
	static const struct option names[] = {
		{"from", required_argument, NULL, 'f'},
		{"clients", required_argument, NULL, 'c'},
		{"rate", required_argument, NULL, 'r'},
		{"connections", required_argument, NULL, 'n'},
		{"requests", required_argument, NULL, 'q'},
		{"seconds", required_argument, NULL, 's'},
		{0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		unsigned value = optarg ? (unsigned)strtoul(optarg, NULL, 10) : 0;
		unsigned *const places[] = {['f'] = &options.from,
			['c'] = &options.clients,
			['r'] = &options.rate,
			['n'] = &options.connections,
			['q'] = &options.requests,
			['s'] = &options.seconds};

		if (option == '?')
			_exit(64);
		*places[option] = value;
	}
	if (optind + 2 != argc || options.connections > CONNECTIONS_MAX || !options.clients ||
		!options.connections)
		_exit(64);
	while (options.kind < KINDS && strcmp(kind_names[options.kind], argv[optind]) != 0)
		options.kind++;
	options.port = (unsigned)strtoul(argv[optind + 1], NULL, 10);
	if (options.kind == KINDS)
		_exit(64);
}

int main(int argc, char **argv)
{
	read_options(argc, argv);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		die("epoll_create1");
	for (unsigned i = 0; i < options.connections; i++) {
		connections[i].fd = -1;
		connections[i].request = malloc(REQUEST_BYTES);
		if (!connections[i].request)
			die("malloc");
	}
	run();
	return 0;
}
