/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * client ADDRESS KIND OPTIONS: sends an exactly known number of requests to a test server, well or
 * badly behaved.
 *
 *   ADDRESS            as the server says it: tcp4:PORT, tcp6:PORT, unix:PATH, abstract:NAME
 *   KIND               what each connection does; see the table of kinds at the end
 *   --connections C    connections, one after the other in each thread
 *   --requests R       requests on each connection
 *   --threads J        threads that share the connections
 *   --segment BYTES    for `segments`: bytes a segment
 *   --cut BYTES        for `vanish-partial-*`: how much of the last request is sent
 *   --body BYTES       for the kinds that send a body
 *   --script FD        for `script`: the requests, each as a 32-bit length, a 32-bit offset at
 * which the request is cut into two segments (0: not cut), and the bytes
 *   --preopen          connect before "ready"; --before N also makes N plain requests on each
 * connection then
 *   --hold             keep the connections open until "end"
 *   --books FD         the server's books (see counters.h)
 *
 * Pauses are not times: where a kind needs the server to have received something first, it waits
 * for the server's books to say so, and such kinds run in one thread.
 */
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "counters.h"
#include "net.h"
#include "workload.h"

#define CONNECTIONS_MAX 4096

static const char plain_request[] =
	"GET /plain?q=1 HTTP/1.1\r\nHost: pagestay.test\r\nUser-Agent: test\r\n\r\n";

struct options {
	unsigned connections, requests, threads, before;
	size_t segment_bytes, cut_bytes, body_bytes;
	bool preopens, holds;
};

static struct options options = {.connections = 1,
	.requests = 1,
	.threads = 1,
	.segment_bytes = 1,
	.cut_bytes = 33,
	.body_bytes = 101};
static struct net_address server;
static const struct server_books *books;
static const char *script;
static size_t script_bytes;
static int connections[CONNECTIONS_MAX];
static _Atomic uint64_t sent_requests, answers;
/* What this client has sent, to be compared with what the server has received. */
static _Atomic uint64_t sent_bytes;

/* --- one connection --- */

static void send_bytes(int fd, const char *bytes, size_t length)
{
	for (size_t sent = 0; sent < length;) {
		ssize_t n = send(fd, bytes + sent, length - sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			die("send");
		sent += (size_t)n;
	}
	sent_bytes += length;
}

static uint64_t received_by_server(void)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < books->processes; i++)
		total += books->process[i].received_bytes;
	return total;
}

/* Waits until the server has received everything that was sent so far; nobody else may be sending.
 */
static void wait_until_received(void)
{
	if (!books) {
		errno = EINVAL;
		die("this kind of client needs --books");
	}
	while (received_by_server() < sent_bytes)
		usleep(200);
}

static uint64_t accepted_by_server(void)
{
	uint64_t total = 0;

	for (uint32_t i = 0; books && i < books->processes; i++)
		total += books->process[i].accepts;
	return total;
}

/* What has arrived on the thread's connection and was not looked at yet. */
static __thread struct {
	char bytes[65536];
	size_t at, end;
} arrived;

/* The next byte of the connection; ends the client when there is none. */
static char next_byte(int fd, const char *what)
{
	while (arrived.at == arrived.end) {
		ssize_t n = recv(fd, arrived.bytes, sizeof(arrived.bytes), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (n == 0)
				errno = EBADMSG;
			die("%s", what);
		}
		arrived.at = 0;
		arrived.end = (size_t)n;
	}
	return arrived.bytes[arrived.at++];
}

static void skip_bytes(int fd, size_t count)
{
	while (count > 0) {
		size_t part;

		(void)next_byte(fd, "the answer's body");
		arrived.at--;
		part = arrived.end - arrived.at < count ? arrived.end - arrived.at : count;
		arrived.at += part;
		count -= part;
	}
}

/* Reads one answer with its body; ends the client when it does not come whole. */
static void receive_answer(int fd)
{
	char header[512];
	size_t used = 0;
	const char *length;

	do {
		if (used + 1 == sizeof(header)) {
			errno = EMSGSIZE;
			die("the answer's header");
		}
		header[used++] = next_byte(fd, "the answer's header");
		header[used] = '\0';
	} while (used < 4 || strcmp(header + used - 4, "\r\n\r\n") != 0);
	if (strncmp(header, "HTTP/1.1 100", 12) == 0)
		return;
	length = strcasestr(header, "Content-Length: ");
	skip_bytes(fd, length ? strtoul(length + 16, NULL, 10) : 0);
	answers++;
}

static void plain_exchange(int fd)
{
	send_bytes(fd, plain_request, sizeof(plain_request) - 1);
	sent_requests++;
	receive_answer(fd);
}

static size_t format_post(char *buffer, size_t buffer_bytes, const char *extra_header)
{
	int length = snprintf(buffer, buffer_bytes,
		"POST /upload HTTP/1.1\r\nHost: pagestay.test\r\n%sContent-Length: %zu\r\n\r\n",
		extra_header, options.body_bytes);

	return (size_t)length;
}

static void send_body(int fd)
{
	char *body = malloc(options.body_bytes + 1);

	if (!body)
		die("malloc");
	memset(body, 'b', options.body_bytes);
	send_bytes(fd, body, options.body_bytes);
	free(body);
}

/* --- kinds: what one connection does; each leaves the descriptor for its caller to close --- */

static void kind_keepalive(int fd)
{
	for (unsigned i = 0; i < options.requests; i++)
		plain_exchange(fd);
}

/* Every segment is received by the server before the next one leaves. */
static void kind_segments(int fd)
{
	const size_t length = sizeof(plain_request) - 1;

	for (unsigned i = 0; i < options.requests; i++) {
		for (size_t at = 0; at < length; at += options.segment_bytes) {
			size_t left = length - at;

			send_bytes(fd, plain_request + at,
				left < options.segment_bytes ? left : options.segment_bytes);
			wait_until_received();
		}
		sent_requests++;
		receive_answer(fd);
	}
}

/* The last request is followed by the end of what the client sends; its answer must still come. */
static void kind_half_close(int fd)
{
	char byte;

	for (unsigned i = 1; i < options.requests; i++)
		plain_exchange(fd);
	send_bytes(fd, plain_request, sizeof(plain_request) - 1);
	sent_requests++;
	if (shutdown(fd, SHUT_WR) != 0)
		die("shutdown");
	receive_answer(fd);
	if (arrived.at != arrived.end || recv(fd, &byte, 1, 0) != 0)
		die("more than the answer");
}

static void reset_on_close(int fd)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};

	if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) != 0)
		die("SO_LINGER");
}

/* Connects, is accepted, and goes. */
static void kind_vanish_empty(int fd)
{
	static _Atomic uint64_t expected;

	(void)fd;
	expected++;
	while (accepted_by_server() < expected)
		usleep(200);
}

/* Good requests, then the beginning of one. */
static void vanish_in_the_middle(int fd)
{
	for (unsigned i = 1; i < options.requests; i++)
		plain_exchange(fd);
	send_bytes(fd, plain_request, options.cut_bytes);
	sent_requests++;
	wait_until_received();
}

static void kind_vanish_partial_end(int fd)
{
	vanish_in_the_middle(fd);
}

static void kind_vanish_partial_reset(int fd)
{
	vanish_in_the_middle(fd);
	reset_on_close(fd);
}

/* Whole requests, the answer of the last one unread. */
static void kind_vanish_unread(int fd)
{
	for (unsigned i = 1; i < options.requests; i++)
		plain_exchange(fd);
	send_bytes(fd, plain_request, sizeof(plain_request) - 1);
	sent_requests++;
	wait_until_received();
	reset_on_close(fd);
}

/* The body comes after the server has received the header. */
static void kind_post(int fd)
{
	for (unsigned i = 0; i < options.requests; i++) {
		char header[256];

		send_bytes(fd, header, format_post(header, sizeof(header), ""));
		wait_until_received();
		send_body(fd);
		sent_requests++;
		receive_answer(fd);
	}
}

static void kind_expect(int fd)
{
	for (unsigned i = 0; i < options.requests; i++) {
		uint64_t answers_before = answers;
		char header[256];

		send_bytes(fd, header,
			format_post(header, sizeof(header), "Expect: 100-continue\r\n"));
		receive_answer(fd);
		if (answers != answers_before) {
			errno = EBADMSG;
			die("no 100 Continue");
		}
		send_body(fd);
		sent_requests++;
		receive_answer(fd);
	}
}

/* The answer comes before the body, which is then sent all the same. */
static void kind_early(int fd)
{
	for (unsigned i = 0; i < options.requests; i++) {
		char header[256];

		send_bytes(fd, header, format_post(header, sizeof(header), "X-Early: 1\r\n"));
		sent_requests++;
		receive_answer(fd);
		send_body(fd);
		wait_until_received();
	}
}

/* The answer comes before the body, which is then never sent. */
static void kind_early_abandon(int fd)
{
	char header[256];

	send_bytes(fd, header,
		format_post(header, sizeof(header), "X-Early: 1\r\nConnection: close\r\n"));
	sent_requests++;
	receive_answer(fd);
}

/* Two requests in one segment, each time. */
static void kind_pipeline(int fd)
{
	char two[2 * sizeof(plain_request)];
	size_t length = (size_t)snprintf(two, sizeof(two), "%s%s", plain_request, plain_request);

	for (unsigned i = 0; i < options.requests; i++) {
		send_bytes(fd, two, length);
		sent_requests += 2;
		receive_answer(fd);
		receive_answer(fd);
	}
}

static void receive_line(int fd)
{
	while (next_byte(fd, "the answer's line") != '\n')
		;
	answers++;
}

/* Not HTTP at all: bytes that no method begins with. */
static void kind_line(int fd)
{
	for (unsigned i = 0; i < options.requests; i++) {
		send_bytes(fd, "\001\200 binary\n", 10);
		sent_requests++;
		receive_line(fd);
	}
}

/* Waits for the greeting, then asks. */
static void kind_greeted(int fd)
{
	receive_line(fd);
	answers--;
	kind_line(fd);
}

static uint32_t script_word(size_t at)
{
	uint32_t word;

	memcpy(&word, script + at, sizeof(word));
	return word;
}

static void kind_script(int fd)
{
	for (size_t at = 0; at + 8 <= script_bytes;) {
		size_t length = script_word(at);
		size_t cut = script_word(at + 4);
		const char *bytes = script + at + 8;

		if (cut > 0) {
			send_bytes(fd, bytes, cut);
			wait_until_received();
		}
		send_bytes(fd, bytes + cut, length - cut);
		sent_requests++;
		receive_answer(fd);
		at += 8 + length;
	}
}

static const struct {
	const char *name;
	void (*run)(int fd);
} kinds[] = {
	{"keepalive", kind_keepalive},
	{"segments", kind_segments},
	{"half-close", kind_half_close},
	{"vanish-empty", kind_vanish_empty},
	{"vanish-partial-end", kind_vanish_partial_end},
	{"vanish-partial-reset", kind_vanish_partial_reset},
	{"vanish-unread", kind_vanish_unread},
	{"post", kind_post},
	{"expect", kind_expect},
	{"early", kind_early},
	{"early-abandon", kind_early_abandon},
	{"pipeline", kind_pipeline},
	{"line", kind_line},
	{"greeted", kind_greeted},
	{"script", kind_script},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* --- all connections --- */

static size_t kind;

static void run_connection(unsigned index)
{
	if (!options.preopens)
		connections[index] = net_connect(&server);
	arrived.at = arrived.end = 0;
	kinds[kind].run(connections[index]);
	if (!options.holds)
		close(connections[index]);
}

static void *run_share(void *argument)
{
	for (unsigned i = (unsigned)(uintptr_t)argument; i < options.connections;
		i += options.threads)
		run_connection(i);
	return NULL;
}

static void run_all(void)
{
	pthread_t threads[64];

	for (unsigned i = 1; i < options.threads; i++) {
		errno = pthread_create(&threads[i], NULL, run_share, (void *)(uintptr_t)i);
		if (errno != 0)
			die("pthread_create");
	}
	(void)run_share((void *)(uintptr_t)0);
	for (unsigned i = 1; i < options.threads; i++)
		pthread_join(threads[i], NULL);
}

static void open_early(void)
{
	for (unsigned i = 0; i < options.connections; i++) {
		connections[i] = net_connect(&server);
		for (unsigned request = 0; request < options.before; request++)
			plain_exchange(connections[i]);
	}
	while (books && accepted_by_server() < options.connections)
		usleep(200);
	sent_requests = 0;
	answers = 0;
}

static void *map_shared(int fd, size_t *ret_bytes)
{
	struct stat status;
	void *at;

	if (fstat(fd, &status) != 0)
		die("fstat");
	*ret_bytes = (size_t)status.st_size;
	at = mmap(NULL, *ret_bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		die("mmap");
	return at;
}

static void usage(void)
{
	fprintf(stderr,
		"usage: client ADDRESS KIND [--connections C] [--requests R] [--threads J] "
		"[--segment BYTES]\n"
		"              [--cut BYTES] [--body BYTES] [--script FD] [--preopen] [--before N] "
		"[--hold] [--books FD]\n"
		"KIND one of:");
	for (size_t i = 0; i < KINDS; i++)
		fprintf(stderr, " %s", kinds[i].name);
	fprintf(stderr, "\n");
	exit(2);
}

static void parse_options(int argc, char **argv)
{
	static const struct option table[] = {
		{"connections", required_argument, NULL, 'c'},
		{"requests", required_argument, NULL, 'r'},
		{"threads", required_argument, NULL, 't'},
		{"before", required_argument, NULL, 'b'},
		{"segment", required_argument, NULL, 's'},
		{"cut", required_argument, NULL, 'u'},
		{"body", required_argument, NULL, 'd'},
		{"script", required_argument, NULL, 'i'},
		{"books", required_argument, NULL, 'k'},
		{"preopen", no_argument, NULL, 'p'},
		{"hold", no_argument, NULL, 'h'},
		{0},
	};
	size_t books_bytes;
	int option;

	while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
		unsigned number = optarg ? (unsigned)strtoul(optarg, NULL, 10) : 0;

		switch (option) {
		case 'c':
			options.connections = number;
			break;
		case 'r':
			options.requests = number;
			break;
		case 't':
			options.threads = number;
			break;
		case 'b':
			options.before = number;
			break;
		case 's':
			options.segment_bytes = number;
			break;
		case 'u':
			options.cut_bytes = number;
			break;
		case 'd':
			options.body_bytes = number;
			break;
		case 'i':
			script = map_shared((int)number, &script_bytes);
			break;
		case 'k':
			books = map_shared((int)number, &books_bytes);
			break;
		case 'p':
			options.preopens = true;
			break;
		case 'h':
			options.holds = true;
			break;
		default:
			usage();
		}
	}
	if (argc - optind != 2 || options.connections > CONNECTIONS_MAX || options.threads < 1 ||
		options.threads > 64 || options.segment_bytes < 1 ||
		options.cut_bytes >= sizeof(plain_request) - 1)
		usage();
}

int main(int argc, char **argv)
{
	parse_options(argc, argv);
	server = net_parse(argv[optind]);
	while (kind < KINDS && strcmp(kinds[kind].name, argv[optind + 1]) != 0)
		kind++;
	if (kind == KINDS)
		usage();
	signal(SIGPIPE, SIG_IGN);
	if (options.preopens)
		open_early();
	say("ready pid=%d", (int)getpid());
	await("go");
	run_all();
	say("done requests=%llu answers=%llu", (unsigned long long)sent_requests,
		(unsigned long long)answers);
	await("end");
	return 0;
}
