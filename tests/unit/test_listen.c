/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The listener, asked over real sockets: what it answers, what it refuses, and that neither many
 * nor slow nor wrong requests keep others from their answers.
 *
 * `test_listen serve ADDRESS SECONDS [SERVICES [TOKEN]]` is a host for tests with floods: it
 * listens, prints its port, and writes a report each second.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/fsuid.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "../../user/sink/listen_state.h"
#include "pagestay/base/diag.h"
#include "metrics.h"
#include "seeded.h"

#define TOKEN        "0123456789abcdef-token"
#define ANSWER_BYTES ((size_t)4 * 1024 * 1024)

struct answer {
	unsigned code;
	size_t length;
	char *bytes; /* head and body, terminated */
	const char *body;
};

/* What the listener under test was given, and what it said. */
static struct {
	struct sink *sink;
	struct prometheus_state *metrics;
	struct listen_board *board;
	struct metrics_world world;
	_Atomic uint64_t now_ns;
	int said;
	char last[512];
	struct answer answer;
} host;

static uint64_t test_clock(void *context)
{
	return atomic_load(&host.now_ns);
}

static void say(void *context, const char *text)
{
	host.said++;
	(void)snprintf(host.last, sizeof(host.last), "%s", text);
}

static int write_report(void)
{
	int error = prometheus_fold(host.metrics, &host.world.report);

	return error ? error : sink_write(host.sink, &host.world.report);
}

/* On the board of those before. */
static void open_next(struct listen_options options)
{
	struct diag diag = {0};

	if (!options.address)
		options.address = "127.0.0.1:0";
	options.say = say;
	options.metrics = host.metrics;
	options.board = host.board;
	if (sink_listen_new(&options, &host.sink, &diag) != 0)
		fail_msg("%s", diag.text);
}

static void open_with(struct listen_options options)
{
	open_next(options);
	metrics_init(&host.world);
	assert_int_equal(write_report(), 0);
}

static int make_board(void)
{
	const struct prometheus_options options = {.routes = 4};

	return prometheus_new(&options, &host.metrics) || listen_board_new(&host.board)
		       ? -1
		       : listen_board_attach(host.board, host.metrics);
}

static int set_up(void **unused)
{
	memset(&host, 0, sizeof(host));
	atomic_store(&host.now_ns, 1000 * SECOND_NS);
	host.answer.bytes = malloc(ANSWER_BYTES);
	return host.answer.bytes ? make_board() : -1;
}

static int tear_down(void **unused)
{
	int error = sink_close(host.sink);

	free(host.answer.bytes);
	prometheus_free(host.metrics);
	listen_board_free(host.board);
	return error;
}

/*
 * A client.
 */

static int connect_from(const char *from)
{
	struct sockaddr_in own = {.sin_family = AF_INET};
	struct sockaddr_in server = {.sin_family = AF_INET};
	struct timeval limit = {.tv_sec = 10};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	assert_int_equal(inet_pton(AF_INET, from, &own.sin_addr), 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&own, sizeof(own)), 0);
	assert_int_equal(inet_pton(AF_INET, "127.0.0.1", &server.sin_addr), 1);
	server.sin_port = htons((uint16_t)sink_listen_port(host.sink));
	if (connect(fd, (struct sockaddr *)&server, sizeof(server)) != 0)
		fail_msg("connect: %s", strerror(errno));
	return fd;
}

static void put(int fd, const char *bytes, size_t length)
{
	/* The listener may be done with us before we are with it. */
	(void)!send(fd, bytes, length, MSG_NOSIGNAL);
}

/* Until the end, or the time limit. */
static const struct answer *read_all(int fd)
{
	struct answer *answer = &host.answer;
	const char *end;
	ssize_t n;

	answer->length = 0;
	while (answer->length < ANSWER_BYTES - 1 &&
		(n = recv(fd, answer->bytes + answer->length, ANSWER_BYTES - 1 - answer->length,
			 0)) > 0)
		answer->length += (size_t)n;
	answer->bytes[answer->length] = '\0';
	answer->code = 0;
	(void)sscanf(answer->bytes, "HTTP/1.%*1[01] %u ", &answer->code);
	end = strstr(answer->bytes, "\r\n\r\n");
	answer->body = end ? end + 4 : "";
	return answer;
}

static const struct answer *exchange_bytes(const char *from, const char *request, size_t length)
{
	int fd = connect_from(from);
	const struct answer *answer;

	put(fd, request, length);
	answer = read_all(fd);
	(void)close(fd);
	return answer;
}

static const struct answer *exchange_from(const char *from, const char *request)
{
	return exchange_bytes(from, request, strlen(request));
}

static const struct answer *exchange(const char *request)
{
	return exchange_from("127.0.0.1", request);
}

#define GET(path, more)                                                                            \
	"GET " path " HTTP/1.1\r\nHost: 127.0.0.1:9184\r\nConnection: close\r\n" more "\r\n"

static void assert_code(const char *request, unsigned code)
{
	const struct answer *answer = exchange(request);

	if (answer->code != code)
		fail_msg(
			"%u, not %u, to %.80s: %.300s", answer->code, code, request, answer->bytes);
}

static void assert_header(const struct answer *answer, const char *header)
{
	char line[256];

	(void)snprintf(line, sizeof(line), "\r\n%s\r\n", header);
	if (!strcasestr(answer->bytes, line))
		fail_msg("no '%s' in %.600s", header, answer->bytes);
}

/*
 * Answers.
 */

static void paths_have_their_documents(void **unused)
{
	const struct answer *answer;

	open_with((struct listen_options){0});
	answer = exchange(GET("/metrics", ""));
	assert_int_equal(answer->code, 200);
	assert_header(answer, "Content-Type: text/plain; version=0.0.4; charset=utf-8");
	assert_header(answer, "Cache-Control: no-store");
	assert_header(answer, "X-Content-Type-Options: nosniff");
	assert_header(
		answer, "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'");
	assert_null(strcasestr(answer->bytes, "\r\nServer:"));
	assert_string_equal(metrics_find(answer->body, "pagestay_reports_total"), "1");
	answer = exchange(GET("/api/v1/report?pretty", ""));
	assert_int_equal(answer->code, 200);
	assert_header(answer, "Content-Type: application/json");
	assert_memory_equal(answer->body, "{\"schema\":\"pagestay.report/1\"", 29);
	answer = exchange(GET("/healthz", ""));
	assert_int_equal(answer->code, 200);
	assert_string_equal(answer->body, "ok\n");
	answer = exchange(GET("/", ""));
	assert_int_equal(answer->code, 200);
	assert_non_null(strstr(answer->body, "/api/v1/report"));
}

static void other_paths_are_not_found(void **unused)
{
	static const char *const requests[] = {GET("/x", ""), GET("/metrics/", ""),
		GET("/metrics%00", ""), GET("/%6detrics", ""), GET("//metrics", ""),
		GET("/../metrics", ""), GET("/metrics\\", ""), GET("/METRICS", ""),
		GET("/api/v1", "")};

	open_with((struct listen_options){0});
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		assert_code(requests[i], 404);
}

static void a_head_has_no_body(void **unused)
{
	const struct answer *answer;

	open_with((struct listen_options){0});
	answer = exchange("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
	assert_int_equal(answer->code, 200);
	assert_string_equal(answer->body, "");
	assert_non_null(strcasestr(answer->bytes, "\r\nContent-Length: "));
}

static void formats_are_negotiated(void **unused)
{
	static const struct {
		const char *accept;
		enum prometheus_format format;
	} cases[] = {
		{NULL, PROMETHEUS_TEXT},
		{"", PROMETHEUS_TEXT},
		{"*/*", PROMETHEUS_TEXT},
		{"text/html", PROMETHEUS_TEXT},
		{"application/openmetrics-text", PROMETHEUS_OPENMETRICS},
		{"application/openmetrics-text; version=1.0.0", PROMETHEUS_OPENMETRICS},
		{"application/openmetrics-text;version=1.0.0,application/"
		 "openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
			PROMETHEUS_OPENMETRICS},
		{"application/openmetrics-text;version=0.0.1", PROMETHEUS_TEXT},
		{"application/openmetrics-text;q=0.3,text/plain;q=0.5", PROMETHEUS_TEXT},
		{"application/openmetrics-text;q=0.301,text/plain;q=0.3", PROMETHEUS_OPENMETRICS},
		{"application/openmetrics-text;q=0", PROMETHEUS_TEXT},
		{"application/openmetrics-text;q=x", PROMETHEUS_TEXT},
		{",,;;,=;q=;q,", PROMETHEUS_TEXT},
		{" Application/OpenMetrics-Text ; Q=1 ", PROMETHEUS_OPENMETRICS},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(negotiate_format(cases[i].accept), cases[i].format);
	assert_true(negotiate_gzip("gzip"));
	assert_true(negotiate_gzip("br, gzip;q=0.1"));
	assert_false(negotiate_gzip("gzip;q=0"));
	assert_false(negotiate_gzip("identity"));
	assert_false(negotiate_gzip(NULL));
}

/* Each in memory of its own size, so that a sanitizer sees a byte too many. */
static void headers_of_any_bytes_are_read(void **unused)
{
	static const char alphabet[] = ",;=qQ01.9 \t*/gzip-application/openmetrics-textversion";
	struct seeded seeded = {1};

	for (int i = 0; i < 20000; i++) {
		size_t length = seeded_below(&seeded, 100);
		char *header = malloc(length + 1);

		assert_non_null(header);
		for (size_t j = 0; j < length; j++)
			header[j] = seeded_below(&seeded, 8)
					    ? alphabet[seeded_below(&seeded, sizeof(alphabet) - 1)]
					    : (char)(1 + seeded_below(&seeded, 255));
		header[length] = '\0';
		assert_in_range(negotiate_format(header), 0, PROMETHEUS_FORMATS - 1);
		(void)negotiate_gzip(header);
		free(header);
	}
}

static void a_scraper_gets_openmetrics(void **unused)
{
	const struct answer *answer;

	open_with((struct listen_options){0});
	answer =
		exchange(GET("/metrics", "Accept: application/openmetrics-text;version=1.0.0\r\n"));
	assert_header(
		answer, "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8");
	assert_header(answer, "Vary: Accept, Accept-Encoding");
	assert_string_equal(answer->bytes + answer->length - 6, "# EOF\n");
}

static void gzip_is_the_same_document(void **unused)
{
	char *plain, *inflated = calloc(1, ANSWER_BYTES);
	const struct answer *answer;
	z_stream stream = {0};

	open_with((struct listen_options){0});
	assert_non_null(inflated);
	plain = strdup(exchange(GET("/api/v1/report", ""))->body);
	assert_non_null(plain);
	answer = exchange(GET("/api/v1/report", "Accept-Encoding: gzip, deflate\r\n"));
	assert_header(answer, "Content-Encoding: gzip");
	assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
	stream.next_in = (Bytef *)(uintptr_t)answer->body;
	stream.avail_in = (uInt)(answer->length - (size_t)(answer->body - answer->bytes));
	stream.next_out = (Bytef *)inflated;
	stream.avail_out = ANSWER_BYTES - 1;
	assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
	assert_int_equal(inflateEnd(&stream), Z_OK);
	assert_string_equal(inflated, plain);
	free(inflated);
	free(plain);
}

static void each_report_replaces_the_last(void **unused)
{
	open_with((struct listen_options){0});
	host.world.process.rss_bytes = 4711;
	assert_int_equal(write_report(), 0);
	assert_string_equal(metrics_find(exchange(GET("/metrics", ""))->body,
				    "pagestay_rss_bytes{service=\"server.service\",kind=\"unit\"}"),
		"4711");
}

static void health_is_about_reports(void **unused)
{
	const struct listen_options options = {.now_ns = test_clock, .interval_ns = 10 * SECOND_NS};

	open_next(options);
	metrics_init(&host.world);
	assert_code(GET("/healthz", ""), 200);
	assert_code(GET("/metrics", ""), 503);
	atomic_fetch_add(&host.now_ns, 30 * SECOND_NS + 1);
	assert_code(GET("/healthz", ""), 503);
	assert_int_equal(write_report(), 0);
	assert_code(GET("/healthz", ""), 200);
	atomic_fetch_add(&host.now_ns, 30 * SECOND_NS);
	assert_code(GET("/healthz", ""), 200);
	atomic_fetch_add(&host.now_ns, 1);
	assert_code(GET("/healthz", ""), 503);
	assert_code(GET("/metrics", ""), 200);
}

static const char *counted(const char *series)
{
	assert_int_equal(write_report(), 0);
	return metrics_find(exchange_from("127.0.0.2", GET("/metrics", ""))->body, series);
}

/* As it does when its configuration changes: with another token, for example. */
static void a_listener_goes_on_where_the_last_one_ended(void **unused)
{
	const struct answer *answer;

	open_with((struct listen_options){0});
	assert_code(GET("/none", ""), 404);
	assert_int_equal(write_report(), 0);
	assert_int_equal(sink_close(host.sink), 0);
	open_next((struct listen_options){0});
	assert_code(GET("/healthz", ""), 200);
	answer = exchange(GET("/metrics", ""));
	assert_int_equal(answer->code, 200);
	assert_string_equal(metrics_find(answer->body, "pagestay_reports_total"), "2");
	assert_string_equal(
		metrics_find(answer->body, "pagestay_http_requests_total{code=\"404\"}"), "1");
	assert_string_equal(counted("pagestay_http_requests_total{code=\"404\"}"), "1");
	assert_string_equal(counted("pagestay_reports_total"), "4");
}

/* When nobody listened for long. */
static void an_old_report_is_not_shown_as_new(void **unused)
{
	const struct listen_options options = {.now_ns = test_clock, .interval_ns = 10 * SECOND_NS};

	open_with(options);
	assert_int_equal(write_report(), 0);
	assert_int_equal(sink_close(host.sink), 0);
	atomic_fetch_add(&host.now_ns, 30 * SECOND_NS);
	open_next(options);
	assert_code(GET("/metrics", ""), 200);
	assert_int_equal(sink_close(host.sink), 0);
	atomic_fetch_add(&host.now_ns, 1);
	open_next(options);
	assert_code(GET("/healthz", ""), 200);
	assert_code(GET("/metrics", ""), 503);
	assert_code(GET("/api/v1/report", ""), 503);
	assert_int_equal(write_report(), 0);
	assert_code(GET("/metrics", ""), 200);
}

/* The old one is served, and grows stale. */
static void a_report_that_cannot_be_rendered_is_told(void **unused)
{
	open_with((struct listen_options){.now_ns = test_clock, .interval_ns = 10 * SECOND_NS});
	metrics_no_memory = true;
	for (int i = 0; i < 4; i++) {
		atomic_fetch_add(&host.now_ns, 10 * SECOND_NS);
		assert_int_equal(write_report(), -ENOMEM);
	}
	metrics_no_memory = false;
	assert_int_equal(host.said, 1);
	assert_non_null(strstr(host.last, "Cannot allocate memory"));
	assert_code(GET("/healthz", ""), 503);
	assert_code(GET("/metrics", ""), 200);
	assert_int_equal(write_report(), 0);
	assert_int_equal(write_report(), 0);
	assert_int_equal(host.said, 2);
	assert_non_null(strstr(host.last, "again"));
	assert_code(GET("/healthz", ""), 200);
}

static void requests_are_counted(void **unused)
{
	const struct answer *answer;

	open_with((struct listen_options){0});
	assert_code(GET("/none", ""), 404);
	assert_code(GET("/metrics", ""), 200);
	assert_int_equal(write_report(), 0);
	answer = exchange(GET("/metrics", ""));
	assert_string_equal(
		metrics_find(answer->body, "pagestay_http_requests_total{code=\"404\"}"), "1");
	assert_string_equal(
		metrics_find(answer->body, "pagestay_http_requests_total{code=\"200\"}"), "1");
	assert_string_equal(metrics_find(answer->body, "pagestay_http_scrapes_total"), "1");
	assert_string_equal(metrics_find(answer->body, "pagestay_http_connections_total"), "2");
}

/*
 * What is refused.
 */

static void methods_and_bodies_are_refused(void **unused)
{
	open_with((struct listen_options){0});
	assert_header(
		exchange("POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"), "Allow: GET, HEAD");
	assert_code("DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405);
	assert_code("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 405);
	assert_code("CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 405);
	assert_code(GET("/metrics", "Content-Length: 5\r\n") "hello", 413);
	assert_code(GET("/metrics", "Content-Length: 99999999999\r\n"), 413);
	assert_code(
		GET("/metrics", "Transfer-Encoding: chunked\r\n") "5\r\nhello\r\n0\r\n\r\n", 413);
	assert_code(GET("/metrics", "Content-Length: 5\r\nExpect: 100-continue\r\n"), 413);
	assert_code(GET("/metrics", "Content-Length: 0\r\n"), 200);
}

static void wrong_requests_are_refused(void **unused)
{
	static const char *const requests[] = {
		"GET /metrics HTTP/1.1\r\n\r\n",
		GET("/metrics", "Host: localhost\r\n"),
		"GET\r\n\r\n",
		"\x16\x03\x01\x02\x01\x01\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
		GET("/metrics", "a b: c\r\n"),
		GET("/metrics", "a: b\x01\r\n"),
		GET("/metrics", "a(: b\r\n"),
		"GET  HTTP/1.1\r\n\r\n",
	};
	static const char with_nul[] = GET("/metrics\0x", "a: b\0c\r\n");

	open_with((struct listen_options){.request_ms = 1000});
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		const struct answer *answer = exchange(requests[i]);

		if (answer->code == 200)
			fail_msg("200 to %s", requests[i]);
		assert_null(strstr(answer->bytes, "pagestay_"));
	}
#if MHD_VERSION < 0x01000000
	/*
	 * Let through by libmicrohttpd, which ends lines at a bare LF, unfolds headers, and ends a
	 * text at a NUL without telling. Nothing of a request goes on to somebody who would read
	 * it in another way.
	 */
	assert_code("GET /metrics HTTP/1.1\nHost: localhost\nConnection: close\n\n", 200);
	assert_code(GET("/metrics", "a: b\r\n c\r\n"), 200);
	assert_int_equal(exchange_bytes("127.0.0.1", with_nul, sizeof(with_nul) - 1)->code, 200);
#endif
	assert_code(GET("/metrics", ""), 200);
}

/* libmicrohttpd answers them, and tells us nothing but their end. */
static void what_cannot_be_read_is_counted(void **unused)
{
	open_with((struct listen_options){0});
	(void)exchange("GET\r\n\r\n");
	(void)exchange("\x16\x03\x01\x02\x01\x01\r\n\r\n");
	assert_code(GET("/none", ""), 404);
	assert_string_equal(
		counted("pagestay_http_connections_refused_total{reason=\"malformed\"}"), "2");
}

static void long_requests_are_refused(void **unused)
{
	char *request = malloc(70000);

	assert_non_null(request);
	open_with((struct listen_options){0});
	(void)sprintf(request, "GET /%01100d HTTP/1.1\r\nHost: localhost\r\n\r\n", 0);
	assert_code(request, 414);
	(void)sprintf(request, "GET / HTTP/1.1\r\nHost: localhost\r\nX: %08500d\r\n\r\n", 0);
	assert_code(request, 431);
	/* Beyond the room of a connection: refused before the end, so the answer may be lost. */
	(void)sprintf(request, "GET / HTTP/1.1\r\nHost: localhost\r\nX: %060000d\r\n\r\n", 0);
	assert_int_not_equal(exchange(request)->code, 200);
	(void)sprintf(request, "GET /%060000d HTTP/1.1\r\nHost: localhost\r\n\r\n", 0);
	assert_int_not_equal(exchange(request)->code, 200);
	strcpy(request, "GET / HTTP/1.1\r\nHost: localhost\r\n");
	for (int i = 0; i < 5000; i++)
		strcat(request + 9 * i, "a:bcdef\r\n");
	strcat(request, "\r\n");
	assert_int_not_equal(exchange(request)->code, 200);
	assert_code(GET("/metrics", ""), 200);
	free(request);
}

#define OF_HOST(name) "GET /metrics HTTP/1.1\r\nHost: " name "\r\nConnection: close\r\n\r\n"

static void names_of_others_are_refused(void **unused)
{
	static const char *const hosts[] = {"web-1.example"};

	open_with((struct listen_options){.hosts = hosts, .host_count = 1});
	assert_code(OF_HOST("localhost"), 200);
	assert_code(OF_HOST("LocalHost:9184"), 200);
	assert_code(OF_HOST("10.1.2.3:80"), 200);
	assert_code(OF_HOST("[::1]:9184"), 200);
	assert_code(OF_HOST("WEB-1.example:9184"), 200);
	assert_code(OF_HOST("evil.example"), 421);
	assert_code(OF_HOST("localhost.evil.example"), 421);
	assert_code(OF_HOST("web-1.example.evil"), 421);
	assert_code(OF_HOST("127.0.0.1.evil.example"), 421);
	assert_code(OF_HOST("localhost:x"), 421);
	assert_code(OF_HOST("[::1"), 421);
	assert_code(OF_HOST("[::1]x"), 421);
	assert_code("GET /metrics HTTP/1.0\r\n\r\n", 200);
}

static void a_token_opens_all_but_health(void **unused)
{
	open_with((struct listen_options){.token = TOKEN});
	assert_header(exchange(GET("/metrics", "")), "WWW-Authenticate: Bearer");
	assert_code(GET("/metrics", ""), 401);
	assert_code(GET("/none", ""), 401);
	assert_code(GET("/", ""), 401);
	assert_code(GET("/healthz", ""), 200);
	assert_code(GET("/metrics", "Authorization: Bearer " TOKEN "\r\n"), 200);
	assert_code(GET("/metrics", "Authorization: bearer  " TOKEN "\r\n"), 200);
	assert_code(GET("/metrics", "Authorization: Bearer " TOKEN "x\r\n"), 401);
	assert_code(GET("/metrics", "Authorization: Bearer 0123456789abcdef-toke\r\n"), 401);
	assert_code(GET("/metrics", "Authorization: Bearer " TOKEN TOKEN "\r\n"), 401);
	assert_code(GET("/metrics", "Authorization: Bearer \r\n"), 401);
	assert_code(GET("/metrics", "Authorization: Basic " TOKEN "\r\n"), 401);
	assert_code(GET("/metrics", "Authorization: Bearer " TOKEN
				    "\r\nAuthorization: Bearer " TOKEN "\r\n"),
		401);
	assert_code(GET("/none", "Authorization: Bearer " TOKEN "\r\n"), 404);
	/* With a token no browser can be made to ask, so names do not matter. */
	assert_code("GET /metrics HTTP/1.1\r\nHost: any.example\r\nConnection: close\r\n"
		    "Authorization: Bearer " TOKEN "\r\n\r\n",
		200);
}

/*
 * Limits.
 */

static void too_many_requests_of_one_client_are_refused(void **unused)
{
	unsigned served = 0, refused = 0, dropped = 0;

	open_with((struct listen_options){.requests_per_minute = 60, .now_ns = test_clock});
	for (int i = 0; i < 100; i++) {
		const struct answer *answer = exchange(GET("/metrics", ""));

		served += answer->code == 200;
		refused += answer->code == 429;
		dropped += answer->code == 0;
		if (answer->code == 429)
			assert_header(answer, "Retry-After: 10");
	}
	/* Twice a quarter of a minute's at once; then so many refusals as 2 seconds have. */
	assert_int_equal(served, 30);
	assert_int_equal(refused, 40);
	assert_int_equal(dropped, 30);
	assert_int_equal(exchange_from("127.0.0.2", GET("/metrics", ""))->code, 200);
	atomic_fetch_add(&host.now_ns, SECOND_NS);
	assert_code(GET("/metrics", ""), 200);
	assert_code(GET("/metrics", ""), 200);
	assert_code(GET("/metrics", ""), 429);
	assert_int_equal(write_report(), 0);
	assert_string_equal(metrics_find(exchange_from("127.0.0.2", GET("/metrics", ""))->body,
				    "pagestay_http_connections_refused_total{reason=\"rate\"}"),
		"30");
}

/* With less than ten at once, when as many as that are free. */
static void who_may_have_little_waits_for_that(void **unused)
{
	static const struct {
		unsigned requests_per_minute;
		const char *header;
	} cases[] = {{1, "Retry-After: 60"}, {12, "Retry-After: 15"}, {240, "Retry-After: 3"},
		{6000, "Retry-After: 1"}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct answer *answer;

		open_with((struct listen_options){
			.now_ns = test_clock, .requests_per_minute = cases[i].requests_per_minute});
		do
			answer = exchange(GET("/healthz", ""));
		while (answer->code == 200);
		assert_int_equal(answer->code, 429);
		assert_header(answer, cases[i].header);
		assert_int_equal(sink_close(host.sink), 0);
		host.sink = NULL;
	}
}

static void send_often(const char *request)
{
	for (int i = 0; i < 200; i++)
		assert_in_range(exchange(request)->code, 0, 499);
	assert_int_equal(exchange(request)->code, 0);
}

/* A scraper that has its address in common with a bot is not that bot's to starve. */
static void documents_are_not_starved_by_other_requests(void **unused)
{
	open_with((struct listen_options){.requests_per_minute = 60, .now_ns = test_clock});
	send_often(GET("/none", ""));
	for (int i = 0; i < 7; i++) {
		assert_code(GET("/metrics", ""), 200);
		assert_code(GET("/api/v1/report", ""), 200);
	}
	send_often(OF_HOST("evil.example"));
	send_often(GET("/healthz", ""));
	assert_code(GET("/metrics", ""), 200);
	assert_int_equal(exchange(GET("/metrics", ""))->code, 0);
}

static void who_has_no_token_takes_no_document_of_others(void **unused)
{
	open_with((struct listen_options){
		.token = TOKEN, .requests_per_minute = 60, .now_ns = test_clock});
	send_often(GET("/metrics", "Authorization: Bearer 0123456789abcdef-wrong\r\n"));
	for (int i = 0; i < 15; i++)
		assert_code(GET("/metrics", "Authorization: Bearer " TOKEN "\r\n"), 200);
}

/* One after the other: what is on its way to a listener that closes makes TCP drop its answers. */
static void requests_on_one_connection_are_charged_too(void **unused)
{
	static const char one[] = "GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n";
	static const char end[] = "not found\n";
	char *bytes = host.answer.bytes;
	int fd;

	open_with((struct listen_options){.requests_per_minute = 60, .now_ns = test_clock});
	fd = connect_from("127.0.0.1");
	for (int i = 0; i < 15; i++) {
		size_t length = 0;
		ssize_t n;

		put(fd, one, sizeof(one) - 1);
		do {
			n = recv(fd, bytes + length, ANSWER_BYTES - 1 - length, 0);
			assert_true(n > 0);
			length += (size_t)n;
			bytes[length] = '\0';
		} while (!strstr(bytes, end));
		assert_memory_equal(bytes, "HTTP/1.1 404 ", 13);
	}
	put(fd, one, sizeof(one) - 1);
	assert_int_equal(read_all(fd)->code, 429);
	(void)close(fd);
}

static void pipelined_requests_are_all_answered(void **unused)
{
	static const char requests[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
				       "GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n"
				       "GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
				       "Connection: close\r\n\r\n";
	const struct answer *answer;
	unsigned found = 0;

	open_with((struct listen_options){0});
	answer = exchange(requests);
	for (const char *at = answer->bytes; (at = strstr(at, "HTTP/1.1 ")); at++)
		found++;
	assert_int_equal(found, 3);
}

static bool has_ended(int fd)
{
	char byte;
	struct pollfd wait = {.fd = fd, .events = POLLIN};

	return poll(&wait, 1, 5000) == 1 && recv(fd, &byte, 1, 0) <= 0;
}

/* Bytes in time buy no time. */
static void a_request_has_so_long_to_come(void **unused)
{
	bool ended = false;
	int fd;

	open_with((struct listen_options){.request_ms = 300});
	fd = connect_from("127.0.0.1");
	put(fd, "GET /metrics HTTP/1.1\r\n", 23);
	for (int i = 0; i < 200 && !ended; i++) {
		struct pollfd wait = {.fd = fd, .events = POLLIN};

		put(fd, "a", 1);
		ended = poll(&wait, 1, 50) == 1;
	}
	assert_true(ended);
	(void)close(fd);
	assert_code(GET("/metrics", ""), 200);
	assert_string_equal(
		counted("pagestay_http_connections_refused_total{reason=\"timeout\"}"), "1");
}

/* Which is no refusal: it had its answer. */
static void an_idle_connection_has_so_long_too(void **unused)
{
	int fd;

	open_with((struct listen_options){.idle_ms = 200});
	fd = connect_from("127.0.0.1");
	put(fd, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 43);
	/* Ended by the other side, long before our own limit. */
	assert_int_equal(read_all(fd)->code, 200);
	assert_int_equal(recv(fd, host.answer.bytes, 1, MSG_DONTWAIT), 0);
	(void)close(fd);
	assert_string_equal(
		counted("pagestay_http_connections_refused_total{reason=\"timeout\"}"), "0");
	assert_string_equal(
		counted("pagestay_http_connections_refused_total{reason=\"malformed\"}"), "0");
}

static void idle_connections_make_way(void **unused)
{
	int fds[600];

	open_with((struct listen_options){.connections = 16, .connections_per_client = 4});
	for (unsigned i = 0; i < 600; i++) {
		char from[32];

		(void)snprintf(from, sizeof(from), "127.0.%u.%u", 1 + i / 200, 1 + i % 200);
		fds[i] = connect_from(from);
		put(fds[i], "G", 1);
	}
	assert_code(GET("/metrics", ""), 200);
	for (unsigned i = 0; i < 600; i++)
		(void)close(fds[i]);
}

/* However late its request. The index makes nobody a reader: bots ask for it. */
static void a_reader_of_reports_keeps_one_connection(void **unused)
{
	static const char request[] = GET("/metrics", "");
	int fds[600], bot, first, second;

	open_with((struct listen_options){.connections = 16, .connections_per_client = 4});
	assert_code(request, 200);
	assert_int_equal(exchange_from("127.0.0.9", GET("/", ""))->code, 200);
	bot = connect_from("127.0.0.9");
	put(bot, request, 1);
	first = connect_from("127.0.0.1");
	put(first, request, 1);
	second = connect_from("127.0.0.1");
	put(second, request, 1);
	for (unsigned i = 0; i < 600; i++) {
		char from[32];

		(void)snprintf(from, sizeof(from), "127.0.%u.%u", 1 + i / 200, 1 + i % 200);
		fds[i] = connect_from(from);
		put(fds[i], "G", 1);
	}
	assert_true(has_ended(bot));
	assert_true(has_ended(first));
	put(second, request + 1, sizeof(request) - 2);
	assert_int_equal(read_all(second)->code, 200);
	for (unsigned i = 0; i < 600; i++)
		(void)close(fds[i]);
	(void)close(bot);
	(void)close(first);
	(void)close(second);
}

/* Also those of the same client, who then loses the oldest one. */
static void idle_connections_of_a_client_make_way(void **unused)
{
	int fds[10];

	open_with((struct listen_options){.connections_per_client = 4});
	for (int i = 0; i < 10; i++) {
		fds[i] = connect_from("127.0.0.1");
		put(fds[i], "G", 1);
	}
	assert_code(GET("/metrics", ""), 200);
	for (int i = 0; i < 6; i++)
		assert_true(has_ended(fds[i]));
	for (int i = 0; i < 10; i++)
		(void)close(fds[i]);
}

/* So many services that no socket's buffers hold their metrics. */
static struct report_process *many(unsigned count, char (**ret_names)[32])
{
	struct report_process *processes = calloc(count, sizeof(*processes));
	char(*names)[32] = calloc(count, sizeof(*names));

	if (!processes || !names)
		abort();
	for (unsigned i = 0; i < count; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "s%u.service", i);
		processes[i] = host.world.process;
		processes[i].unit = names[i];
	}
	host.world.report.processes = processes;
	host.world.report.process_count = count;
	*ret_names = names;
	return processes;
}

static void slow_readers_hold_nobody_up(void **unused)
{
	struct report_process *processes;
	char(*names)[32];
	int fds[4];

	open_with((struct listen_options){.requests_per_minute = 6000});
	processes = many(1000, &names);
	assert_int_equal(write_report(), 0);
	for (int i = 0; i < 4; i++) {
		fds[i] = connect_from("127.0.0.1");
		put(fds[i], GET("/metrics", ""), sizeof(GET("/metrics", "")) - 1);
	}
	assert_int_equal(exchange_from("127.0.0.2", GET("/metrics", ""))->code, 200);
	/* Each holds a report; when it is several behind it is cut. */
	for (int i = 0; i < 8; i++)
		assert_int_equal(write_report(), 0);
	(void)usleep(300000);
	for (int i = 0; i < 4; i++) {
		const struct answer *answer = read_all(fds[i]);
		const char *length = strcasestr(answer->bytes, "Content-Length: ");

		assert_non_null(length);
		assert_true(strlen(answer->body) < strtoul(length + 16, NULL, 10));
		(void)close(fds[i]);
	}
	free(processes);
	free(names);
}

static uint64_t cpu_ns(void)
{
	struct timespec used;

	assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used), 0);
	return (uint64_t)used.tv_sec * SECOND_NS + (uint64_t)used.tv_nsec;
}

/* Within an answer's first second nobody makes way for who waits. */
static void who_waits_for_a_place_costs_nothing(void **unused)
{
	struct report_process *processes;
	char(*names)[32];
	uint64_t before_ns;
	int fds[5];

	open_with((struct listen_options){.connections = 4, .requests_per_minute = 6000});
	processes = many(1000, &names);
	assert_int_equal(write_report(), 0);
	for (int i = 0; i < 5; i++) {
		fds[i] = connect_from("127.0.0.1");
		put(fds[i], GET("/metrics", ""), sizeof(GET("/metrics", "")) - 1);
		(void)usleep(20000);
	}
	before_ns = cpu_ns();
	(void)usleep(400000);
	assert_in_range(cpu_ns() - before_ns, 0, 100000000);
	(void)close(fds[0]);
	assert_int_equal(read_all(fds[4])->code, 200);
	for (int i = 1; i < 5; i++)
		(void)close(fds[i]);
	free(processes);
	free(names);
}

static void clients_that_leave_early_do_no_harm(void **unused)
{
	struct report_process *processes;
	char(*names)[32];

	open_with((struct listen_options){.requests_per_minute = 6000});
	processes = many(300, &names);
	assert_int_equal(write_report(), 0);
	for (int i = 0; i < 200; i++) {
		struct linger reset = {.l_onoff = 1};
		int fd = connect_from("127.0.0.1");

		put(fd, GET("/metrics", ""), sizeof(GET("/metrics", "")) - 1);
		if (i % 2)
			(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		(void)close(fd);
	}
	assert_int_equal(exchange_from("127.0.0.2", GET("/healthz", ""))->code, 200);
	free(processes);
	free(names);
}

static void wait_until_said(int times)
{
	for (int i = 0; i < 500 && host.said < times; i++) {
		assert_int_equal(write_report(), 0);
		(void)usleep(10000);
	}
	assert_int_equal(host.said, times);
}

/* The client's own socket is the last descriptor that the limit allows. */
static void without_descriptors_it_waits_and_says_so(void **unused)
{
	struct sockaddr_in server = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct rlimit before, none;
	int fd;

	open_with((struct listen_options){0});
	server.sin_port = htons((uint16_t)sink_listen_port(host.sink));
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = (rlim_t)fd + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&server, sizeof(server)), 0);
	put(fd, GET("/metrics", ""), sizeof(GET("/metrics", "")) - 1);
	wait_until_said(1);
	assert_non_null(strstr(host.last, "Too many open files"));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(read_all(fd)->code, 200);
	(void)close(fd);
	wait_until_said(2);
	assert_non_null(strstr(host.last, "again"));
}

/*
 * Where it listens.
 */

static void assert_refused(struct listen_options options, int error, const char *words)
{
	struct diag diag = {0};
	struct sink *sink;

	assert_int_equal(sink_listen_new(&options, &sink, &diag), error);
	if (!strstr(diag.text, words))
		fail_msg("'%s' does not say '%s'", diag.text, words);
}

static void beyond_loopback_only_with_a_token(void **unused)
{
	open_with((struct listen_options){.address = "0.0.0.0:0", .token = TOKEN});
	assert_refused((struct listen_options){.address = "0.0.0.0:0"}, -EPERM, "needs a token");
	assert_refused((struct listen_options){.address = "[::]:0"}, -EPERM, "needs a token");
	assert_refused(
		(struct listen_options){.address = "192.0.2.1:9184"}, -EPERM, "needs a token");
	assert_refused((struct listen_options){.address = "0.0.0.0:0", .token = "short"}, -EINVAL,
		"a token is");
	assert_refused((struct listen_options){.address = "0.0.0.0:0",
			       .token = "0123456789abcdef with blanks"},
		-EINVAL, "a token is");
}

static void other_addresses_are_refused(void **unused)
{
	static const char *const addresses[] = {"", ":", ":9184", "localhost:9184", "127.0.0.1",
		"127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:99999999", "127.0.0.1:-1",
		"127.0.0.1:0x1", "127.1:80", "::1:9184", "[::1]", "[::1]9184", "[]:1", "[::1:9",
		"unix:", "unix:relative", "[fe80::1%lo]:1"};

	open_with((struct listen_options){0});
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
		assert_refused((struct listen_options){.address = addresses[i]}, -EINVAL,
			"is no address to listen on");
}

static void an_address_in_use_is_an_error(void **unused)
{
	char address[32];

	open_with((struct listen_options){0});
	(void)snprintf(address, sizeof(address), "127.0.0.1:%u", sink_listen_port(host.sink));
	assert_refused((struct listen_options){.address = address}, -EADDRINUSE, "in use");
}

static void an_ipv6_address_is_listened_on(void **unused)
{
	struct sockaddr_in6 server = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool is_there = fd >= 0 && bind(fd, (struct sockaddr *)&server, sizeof(server)) == 0;

	(void)close(fd);
	if (!is_there) {
		print_message("skipped: this machine has no IPv6\n");
		skip();
	}
	open_with((struct listen_options){.address = "[::1]:0"});
	server.sin6_port = htons((uint16_t)sink_listen_port(host.sink));
	fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&server, sizeof(server)), 0);
	put(fd, OF_HOST("[::1]:9184"), sizeof(OF_HOST("[::1]:9184")) - 1);
	assert_int_equal(read_all(fd)->code, 200);
	(void)close(fd);
}

static void a_unix_socket_is_for_its_group(void **unused)
{
	struct sockaddr_un server = {.sun_family = AF_UNIX};
	char address[160];
	struct stat found;
	int fd;

	(void)snprintf(server.sun_path, sizeof(server.sun_path), "/tmp/test_listen.%d", getpid());
	(void)snprintf(address, sizeof(address), "unix:%s", server.sun_path);
	/* What one that was killed has left. */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&server, sizeof(server)), 0);
	(void)close(fd);
	open_with((struct listen_options){.address = address});
	assert_int_equal(sink_listen_port(host.sink), 0);
	assert_int_equal(stat(server.sun_path, &found), 0);
	assert_int_equal(found.st_mode & 07777, 0660);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&server, sizeof(server)), 0);
	put(fd, OF_HOST("anything"), sizeof(OF_HOST("anything")) - 1);
	assert_int_equal(read_all(fd)->code, 200);
	(void)close(fd);
	assert_refused((struct listen_options){.address = address}, -EADDRINUSE, "already");
	assert_int_equal(sink_close(host.sink), 0);
	host.sink = NULL;
	assert_int_equal(stat(server.sun_path, &found), -1);
	fd = open(server.sun_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	(void)close(fd);
	assert_refused((struct listen_options){.address = address}, -EEXIST, "no socket");
	assert_int_equal(stat(server.sun_path, &found), 0);
	assert_int_equal(unlink(server.sun_path), 0);
}

/* Whether somebody listens there is not for us to find out. */
static void a_socket_of_another_user_is_no_listener(void **unused)
{
	struct sockaddr_un server = {.sun_family = AF_UNIX};
	char address[160];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(server.sun_path, sizeof(server.sun_path), "/tmp/test_listen.%d", getpid());
	(void)snprintf(address, sizeof(address), "unix:%s", server.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&server, sizeof(server)), 0);
	(void)close(fd);
	assert_int_equal(chmod(server.sun_path, 0), 0);
	(void)setfsuid(65534);
	assert_refused((struct listen_options){.address = address}, -EACCES, "Permission denied");
	(void)setfsuid(geteuid());
	assert_int_equal(unlink(server.sun_path), 0);
}

/*
 * Clients.
 */

static void clients_are_told_apart_by_network(void **unused)
{
	union any_address one = {.any.sa_family = AF_INET6}, two = {.any.sa_family = AF_INET6};
	uint8_t keys[2][CLIENT_KEY_BYTES];

	assert_int_equal(inet_pton(AF_INET6, "2001:db8:1:2::1", &one.v6.sin6_addr), 1);
	assert_int_equal(inet_pton(AF_INET6, "2001:db8:1:2:ff::2", &two.v6.sin6_addr), 1);
	client_key(&one, -1, keys[0]);
	client_key(&two, -1, keys[1]);
	assert_memory_equal(keys[0], keys[1], CLIENT_KEY_BYTES);
	assert_int_equal(inet_pton(AF_INET6, "2001:db8:1:3::1", &two.v6.sin6_addr), 1);
	client_key(&two, -1, keys[1]);
	assert_memory_not_equal(keys[0], keys[1], CLIENT_KEY_BYTES);
}

static void clients_are_bounded(void **unused)
{
	struct clients *clients = calloc(1, sizeof(*clients));
	uint8_t key[CLIENT_KEY_BYTES] = {AF_INET};
	struct client *first, *held;

	assert_non_null(clients);
	clients_init(clients, 60);
	first = clients_find(clients, key, 1);
	while (client_pay(clients, first, BUCKET_REQUESTS, 1))
		;
	key[1] = 1;
	held = clients_find(clients, key, 2);
	held->connections = 1;
	for (uint32_t i = 0; i < 5 * LISTEN_CLIENTS; i++) {
		key[1] = 2;
		memcpy(key + 4, &i, sizeof(i));
		assert_non_null(clients_find(clients, key, 3 + i));
		assert_in_range(clients->count, 1, LISTEN_CLIENTS);
	}
	memset(key + 4, 0, 4);
	key[1] = 1;
	assert_ptr_equal(clients_find(clients, key, 9999), held);
	clients_deinit(clients);
	free(clients);
}

/*
 * A host for floods.
 */

static int serve(int argc, char **argv)
{
	struct listen_options options = {.address = argv[2], .interval_ns = SECOND_NS};
	unsigned seconds = (unsigned)atoi(argv[3]);
	unsigned services = argc > 4 ? (unsigned)atoi(argv[4]) : 20;
	struct diag diag = {0};
	char(*names)[32];
	struct report_process *processes;

	if (make_board() != 0)
		return 1;
	options.metrics = host.metrics;
	options.board = host.board;
	options.token = argc > 5 ? argv[5] : NULL;
	if (sink_listen_new(&options, &host.sink, &diag) != 0) {
		fprintf(stderr, "%s\n", diag.text);
		return 1;
	}
	metrics_init(&host.world);
	for (int i = 0; i < 90; i++)
		metrics_step(&host.world);
	host.world.report.wall_ns = (uint64_t)time(NULL) * SECOND_NS;
	host.world.process.counters[PS_REQUESTS] = 100;
	processes = many(services, &names);
	printf("listening %u\n", sink_listen_port(host.sink));
	(void)fflush(stdout);
	for (unsigned i = 0; i < seconds; i++) {
		if (write_report() != 0)
			return 1;
		(void)sleep(1);
		host.world.report.wall_ns += SECOND_NS;
	}
	free(processes);
	free(names);
	(void)sink_close(host.sink);
	prometheus_free(host.metrics);
	listen_board_free(host.board);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(paths_have_their_documents),
		TEST(other_paths_are_not_found),
		TEST(a_head_has_no_body),
		cmocka_unit_test(formats_are_negotiated),
		cmocka_unit_test(headers_of_any_bytes_are_read),
		TEST(a_scraper_gets_openmetrics),
		TEST(gzip_is_the_same_document),
		TEST(each_report_replaces_the_last),
		TEST(health_is_about_reports),
		TEST(a_listener_goes_on_where_the_last_one_ended),
		TEST(an_old_report_is_not_shown_as_new),
		TEST(a_report_that_cannot_be_rendered_is_told),
		TEST(requests_are_counted),
		TEST(methods_and_bodies_are_refused),
		TEST(wrong_requests_are_refused),
		TEST(what_cannot_be_read_is_counted),
		TEST(long_requests_are_refused),
		TEST(names_of_others_are_refused),
		TEST(a_token_opens_all_but_health),
		TEST(too_many_requests_of_one_client_are_refused),
		TEST(who_may_have_little_waits_for_that),
		TEST(documents_are_not_starved_by_other_requests),
		TEST(who_has_no_token_takes_no_document_of_others),
		TEST(requests_on_one_connection_are_charged_too),
		TEST(pipelined_requests_are_all_answered),
		TEST(a_request_has_so_long_to_come),
		TEST(an_idle_connection_has_so_long_too),
		TEST(idle_connections_make_way),
		TEST(a_reader_of_reports_keeps_one_connection),
		TEST(idle_connections_of_a_client_make_way),
		TEST(slow_readers_hold_nobody_up),
		TEST(who_waits_for_a_place_costs_nothing),
		TEST(clients_that_leave_early_do_no_harm),
		TEST(without_descriptors_it_waits_and_says_so),
		TEST(beyond_loopback_only_with_a_token),
		TEST(other_addresses_are_refused),
		TEST(an_address_in_use_is_an_error),
		TEST(an_ipv6_address_is_listened_on),
		TEST(a_unix_socket_is_for_its_group),
		TEST(a_socket_of_another_user_is_no_listener),
		cmocka_unit_test(clients_are_told_apart_by_network),
		cmocka_unit_test(clients_are_bounded),
	};

	if (argc > 3 && strcmp(argv[1], "serve") == 0)
		return serve(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
