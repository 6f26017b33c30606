/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the kernel programs make of a turn's first bytes, against plain string code. The programs
 * run here as they are, on user memory of exactly the size that a call received.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "bpf_shim.h"
#include "../../bpf/http.bpf.c"
#include "../../bpf/tls.bpf.c"
#include "bpf_shim_end.h"

#include "methods.h"
#include "seeded.h"

#define FIRST_LOOK 320 /* how far a second request is looked for */

static int setup(void **state)
{
	shim_reset();
	cfg_routes = true;
	cfg_route_seed = 1;
	return 0;
}

/* Received bytes in a block of their own, which is the caller's. */
static char *user_copy(const char *bytes, size_t length)
{
	char *copy = malloc(length ? length : 1);

	assert_non_null(copy);
	memcpy(copy, bytes, length);
	return copy;
}

static void begin(struct connection *conn, const char *bytes, size_t length)
{
	char *copy = user_copy(bytes, length);

	assert_int_equal(http_head_begin(conn, (uintptr_t)copy, length), 0);
	free(copy);
}

static void append(struct connection *conn, const char *bytes, size_t length)
{
	char *copy = user_copy(bytes, length);

	assert_int_equal(http_head_append(conn, (uintptr_t)copy, length), 0);
	free(copy);
}

/*
 * The head.
 */

static void head_is_the_first_bytes(void **state)
{
	struct connection conn = {.head_done = 1, .head_bytes = 7};

	begin(&conn, "GET / HTTP/1.1\r\n", 16);
	assert_int_equal(conn.head_bytes, 16);
	assert_memory_equal(conn.head, "GET / HTTP/1.1\r\n", 16);
	assert_int_equal(conn.head_done, 0);
}

static void head_is_bounded(void **state)
{
	char bytes[1000], *copy;
	struct connection conn = {};

	memset(bytes, 'a', sizeof(bytes));
	begin(&conn, bytes, sizeof(bytes));
	assert_int_equal(conn.head_bytes, HEAD_BYTES);
	append(&conn, "b", 1);
	assert_int_equal(conn.head_bytes, HEAD_BYTES);
	copy = user_copy(bytes, HEAD_BYTES);
	(void)http_head_begin(&conn, (uintptr_t)copy, UINT64_MAX);
	assert_int_equal(conn.head_bytes, HEAD_BYTES);
	free(copy);
}

static void unreadable_bytes_are_none(void **state)
{
	struct connection conn = {.head_bytes = 9};

	assert_int_equal(http_head_begin(&conn, 8, 10), 0);
	assert_int_equal(conn.head_bytes, 0);
	begin(&conn, "GET", 3);
	assert_int_equal(http_head_append(&conn, 8, 10), 0);
	assert_int_equal(conn.head_bytes, 3);
	assert_memory_equal(conn.head, "GET", 3);
	assert_int_equal(http_is_pipelined(8, 10), 0);
}

static void no_connection_is_answered_by_nothing(void **state)
{
	assert_int_equal(http_head_begin(NULL, 0, 10), 0);
	assert_int_equal(http_head_append(NULL, 0, 10), 0);
	assert_int_equal(http_begins_as_method(NULL), 0);
	assert_int_equal(http_speech(NULL), SPEECH_OPAQUE);
	assert_int_equal(http_route_length(NULL), 0);
	assert_int_equal(http_route_count(NULL, 5), 0);
}

/*
 * Methods and speech.
 */

static void every_prefix_of_a_method_begins_as_one(void **state)
{
	struct connection conn = {};

	for (size_t i = 0; i < METHODS; i++) {
		for (size_t length = 1; length <= strlen(methods[i]); length++) {
			begin(&conn, methods[i], length);
			assert_true(http_begins_as_method(&conn));
			assert_int_equal(http_speech(&conn), SPEECH_HTTP1);
		}
	}
}

static void what_differs_from_every_method_does_not(void **state)
{
	struct connection conn = {};
	struct seeded seeded = {1};

	begin(&conn, "", 0);
	assert_false(http_begins_as_method(&conn));
	for (size_t i = 0; i < METHODS; i++) {
		for (int n = 0; n < 500; n++) {
			char head[16] = {};
			size_t length = 1 + seeded_below(&seeded, 6);

			(void)snprintf(head, sizeof(head), "%s/", methods[i]);
			head[seeded_below(&seeded, 6)] =
				seeded_once_in(&seeded, 2) ? methods[seeded_below(&seeded, METHODS)]
								    [seeded_below(&seeded, 4)]
							   : (char)seeded_next(&seeded);
			/* What a longer turn before left behind is not part of this one. */
			begin(&conn, "GET POST", 8);
			begin(&conn, head, length);
			assert_int_equal(!!http_begins_as_method(&conn),
				plainly_begins_as_method(head, length));
		}
	}
}

static int speech_of(const char *bytes, size_t length)
{
	struct connection conn = {};

	begin(&conn, bytes, length);
	return http_speech(&conn);
}

static void speech_is_told_by_the_first_bytes(void **state)
{
	assert_int_equal(speech_of("", 0), SPEECH_OPAQUE);
	assert_int_equal(speech_of("GET / HTTP/1.1\r\n", 16), SPEECH_HTTP1);
	assert_int_equal(speech_of("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24), SPEECH_HTTP2);
	assert_int_equal(speech_of("PRI", 3), SPEECH_HTTP2);
	assert_int_equal(speech_of("SSH-2.0-OpenSSH\r\n", 17), SPEECH_OPAQUE);
	assert_int_equal(speech_of("EHLO host\r\n", 11), SPEECH_OPAQUE);
	assert_int_equal(speech_of("get / HTTP/1.1\r\n", 16), SPEECH_OPAQUE);
	assert_int_equal(speech_of("\0\0\0\0", 4), SPEECH_OPAQUE);
}

static void bytes_of_the_turn_before_tell_nothing(void **state)
{
	struct connection conn = {};

	begin(&conn, "PRI * HTTP/2.0\r\n", 16);
	begin(&conn, "PR", 2);
	assert_int_equal(http_speech(&conn), SPEECH_HTTP1);
	begin(&conn, "\x16\x03\x01", 3);
	begin(&conn, "\x16", 1);
	assert_int_equal(http_speech(&conn), SPEECH_OPAQUE);
}

static void tls_is_told_by_record_type_and_version(void **state)
{
	for (int type = 0; type < 256; type++) {
		for (int version = 0; version < 256; version++) {
			char bytes[] = {(char)type, (char)version, 1, 0, 5, 0};
			bool tls = type >= 0x14 && type <= 0x17 && version == 3;

			if (plainly_begins_as_method(bytes, sizeof(bytes)))
				continue;
			assert_int_equal(
				speech_of(bytes, sizeof(bytes)), tls ? SPEECH_TLS : SPEECH_OPAQUE);
		}
	}
	assert_int_equal(speech_of("\x16", 1), SPEECH_OPAQUE);
	assert_int_equal(speech_of("\x16\x03", 2), SPEECH_TLS);
}

/*
 * Where the route ends.
 */

/* Method and path, as string functions find them in what has arrived; 0 while that is not all. */
static size_t plain_route_length(const char *bytes, size_t length)
{
	char head[HEAD_BYTES + 1] = {};
	size_t method, end;

	length = length < HEAD_BYTES ? length : HEAD_BYTES;
	memcpy(head, bytes, length);
	method = strcspn(head, " \r\n");
	end = head[method] == ' ' ? method + 1 + strcspn(head + method + 1, " \r\n?#") : method;
	return end < length || length == HEAD_BYTES ? end : 0;
}

static const char *const request_lines[] = {
	"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /path?query HTTP/1.1\r\n",
	"GET /#x\r\n",
	"POST http://host/path HTTP/1.0\r\n",
	"GET\r\n",
	"GET /\n",
	"GET  /two\r\n",
	"G?T /a b\r\n",
	"OPTIONS * HTTP/1.1\r\n",
	"\r\nGET / HTTP/1.1\r\n",
	"GET /0123456789012345678901234567890123456789012345678901234567890123456789abc "
	"HTTP/1.1\r\n",
	"GET /01234567890123456789012345678901234567890123456789012345678901234567890123456789"
	"0123456789 HTTP/1.1\r\n",
};

#define REQUEST_LINES (sizeof(request_lines) / sizeof(request_lines[0]))

static void assert_head(struct connection *conn, const char *line, size_t arrived)
{
	size_t kept = arrived < HEAD_BYTES ? arrived : HEAD_BYTES;

	assert_int_equal(conn->head_bytes, kept);
	assert_memory_equal(conn->head, line, kept);
	assert_int_equal(http_route_length(conn), plain_route_length(line, arrived));
}

static void route_ends_at_the_same_place_however_it_arrives(void **state)
{
	for (size_t i = 0; i < REQUEST_LINES; i++) {
		const char *line = request_lines[i];
		size_t length = strlen(line);

		for (size_t first = 1; first <= length; first++) {
			for (size_t second = first; second <= length; second++) {
				struct connection conn = {};

				begin(&conn, line, first);
				assert_head(&conn, line, first);
				append(&conn, line + first, second - first);
				assert_head(&conn, line, second);
				append(&conn, line + second, length - second);
				assert_head(&conn, line, length);
			}
		}
	}
}

static void route_arrives_in_any_number_of_segments(void **state)
{
	struct seeded seeded = {1};

	for (int n = 0; n < 20000; n++) {
		static const char letters[] = "GET /?# \r\nab";
		struct connection conn = {};
		char line[200];
		size_t length = 1 + seeded_below(&seeded, sizeof(line)), arrived = 0;

		for (size_t i = 0; i < length; i++)
			line[i] = seeded_once_in(&seeded, 4)
					  ? letters[seeded_below(&seeded, sizeof(letters) - 1)]
					  : 'a';
		while (arrived < length) {
			size_t segment = 1 + seeded_below(&seeded, length - arrived);

			segment = seeded_once_in(&seeded, 2) && segment > 9 ? 9 : segment;
			if (arrived)
				append(&conn, line + arrived, segment);
			else
				begin(&conn, line, segment);
			arrived += segment;
			assert_head(&conn, line, arrived);
		}
	}
}

/*
 * Counting routes.
 */

static uint64_t requests_of(const struct ps_proc_key *proc, const char *text)
{
	uint64_t requests = 0;

	for (struct shim_entry *entry = shim_entries(&routes); entry; entry = entry->next) {
		const struct ps_route_key *key = entry->key;
		const struct ps_route *route = entry->value;

		if (memcmp(&key->proc, proc, sizeof(*proc)) != 0 ||
			strncmp(route->text, text, sizeof(route->text)) != 0)
			continue;
		assert_int_equal(requests, 0);
		for (size_t i = strlen(text); i < sizeof(route->text); i++)
			assert_int_equal(route->text[i], 0);
		requests = route->requests;
	}
	return requests;
}

static void routes_are_counted_by_process_and_text(void **state)
{
	static const struct ps_proc_key first = {.tgid = 1, .start_ns = 1},
					reused = {.tgid = 1, .start_ns = 2};
	struct connection conn = {.owner = first};

	begin(&conn, "GET /a HTTP/1.1\r\n", 17);
	(void)http_route_count(&conn, 6);
	(void)http_route_count(&conn, 6);
	(void)http_route_count(&conn, 5);
	(void)http_route_count(&conn, 0);
	conn.owner = reused;
	(void)http_route_count(&conn, 6);
	assert_int_equal(requests_of(&first, "GET /a"), 2);
	assert_int_equal(requests_of(&first, "GET /"), 1);
	assert_int_equal(requests_of(&first, "-"), 1);
	assert_int_equal(requests_of(&reused, "GET /a"), 1);
	assert_int_equal(requests_of(&reused, "-"), 0);
}

static void longest_route_fits(void **state)
{
	struct connection conn = {.owner = {.tgid = 1}};
	char text[HEAD_BYTES + 1] = {};

	memset(text, 'x', HEAD_BYTES);
	begin(&conn, text, HEAD_BYTES);
	(void)http_route_count(&conn, HEAD_BYTES);
	(void)http_route_count(&conn, UINT32_MAX);
	assert_int_equal(requests_of(&conn.owner, text), 2);
}

static void route_that_finds_the_map_full_is_not_counted(void **state)
{
	struct connection conn = {.owner = {.tgid = 1}};

	shim_limit(&routes, 2);
	for (uint32_t length = 0; length < 4; length++) {
		begin(&conn, "GET /abc", 8);
		(void)http_route_count(&conn, length ? 4 + length : 0);
	}
	assert_int_equal(requests_of(&conn.owner, "-"), 1);
	assert_int_equal(requests_of(&conn.owner, "GET /"), 1);
	assert_int_equal(requests_of(&conn.owner, "GET /a"), 0);
	(void)http_route_count(&conn, 5);
	assert_int_equal(requests_of(&conn.owner, "GET /"), 2);
}

static void seed_moves_every_hash(void **state)
{
	struct connection conn = {.owner = {.tgid = 1}};
	struct ps_route_key before, after;

	begin(&conn, "GET /", 5);
	(void)http_route_count(&conn, 5);
	before = *(struct ps_route_key *)shim_entries(&routes)->key;
	shim_reset();
	cfg_route_seed = 2;
	(void)http_route_count(&conn, 5);
	after = *(struct ps_route_key *)shim_entries(&routes)->key;
	assert_true(before.hash != after.hash);
}

/*
 * Pipelining.
 */

/* Is there an empty line with something behind it, as far as one looks? */
static bool plainly_pipelined(const char *bytes, size_t length)
{
	const char *end = memmem(bytes, length < FIRST_LOOK ? length : FIRST_LOOK, "\r\n\r\n", 4);

	return end && end + 4 < bytes + length;
}

static bool pipelined(const char *bytes, size_t length)
{
	char *copy = user_copy(bytes, length);
	bool result = http_is_pipelined((uintptr_t)copy, length);

	free(copy);
	return result;
}

static void request_behind_a_whole_one_is_pipelined(void **state)
{
	assert_false(pipelined("", 0));
	assert_false(pipelined("GET / HTTP/1.1\r\n\r\n", 18));
	assert_true(pipelined("GET / HTTP/1.1\r\n\r\nG", 19));
	assert_false(pipelined("GET / HTTP/1.1\r\nGET", 19));
	assert_true(pipelined("\r\n\r\n\r\n\r\n", 8));
	assert_false(pipelined("\r\n\r\r\n\r\n", 7));
}

static void end_of_a_request_is_found_wherever_it_lies(void **state)
{
	for (size_t length = 5; length < FIRST_LOOK + 100; length++) {
		for (size_t at = 0; at + 4 <= length; at += 1 + (length % 3)) {
			char bytes[FIRST_LOOK + 100];

			memset(bytes, 'a', sizeof(bytes));
			memcpy(bytes + at, "\r\n\r\n", 4);
			assert_int_equal(
				pipelined(bytes, length), at + 4 < length && at + 4 <= FIRST_LOOK);
		}
	}
}

/* Empty lines, cut ones among them, in noise. */
static size_t random_header(struct seeded *seeded, char *bytes, size_t most)
{
	size_t length = 0, wanted = seeded_below(seeded, most + 1);
	uint64_t sparse = 2 + seeded_below(seeded, 100);

	while (length < wanted) {
		size_t ends = seeded_once_in(seeded, sparse) ? seeded_below(seeded, 5) : 0;

		ends = ends < wanted - length ? ends : wanted - length;
		memcpy(bytes + length, "\r\n\r\n", ends);
		length += ends;
		if (!ends)
			bytes[length++] = seeded_next(seeded);
	}
	return length;
}

static void random_bytes_agree_with_a_plain_search(void **state)
{
	struct seeded seeded = {1};
	int found = 0;

	for (int n = 0; n < 30000; n++) {
		char bytes[FIRST_LOOK + 50];
		size_t length = random_header(&seeded, bytes, sizeof(bytes));

		assert_int_equal(pipelined(bytes, length), plainly_pipelined(bytes, length));
		found += plainly_pipelined(bytes, length);
	}
	assert_in_range(found, 5000, 25000);
}

/*
 * TLS records.
 */

#define STREAM_BYTES 4096

struct record {
	size_t at; /* of its header's first byte */
	unsigned char type;
	size_t length;
};

static bool tls_request(struct connection *conn, const char *bytes, size_t length)
{
	char *copy = user_copy(bytes, length);
	bool result = http_tls_request(conn, (uintptr_t)copy, length);

	free(copy);
	return result;
}

/* What a client sends, and where its records are; returns how many. */
static size_t random_records(struct seeded *seeded, char *stream, struct record *records)
{
	size_t count = 0, at = 0;

	for (;;) {
		struct record record = {.at = at,
			.type = 0x14 + seeded_below(seeded, 4),
			.length = seeded_once_in(seeded, 2) ? 17 + seeded_below(seeded, 4)
							    : seeded_below(seeded, 300)};

		if (at + TLS_HEADER_BYTES + record.length > STREAM_BYTES)
			break;
		stream[at] = (char)record.type;
		stream[at + 1] = stream[at + 2] = 3;
		stream[at + 3] = (char)(record.length >> 8);
		stream[at + 4] = (char)record.length;
		memset(stream + at + TLS_HEADER_BYTES, 0x17, record.length);
		at += TLS_HEADER_BYTES + record.length;
		records[count++] = record;
	}
	records[count].at = at;
	return count;
}

/* Application data, but an alert by its length, or the Finished that follows a change of cipher. */
static bool plainly_a_request(const struct record *records, size_t i)
{
	return records[i].type == 0x17 && records[i].length > 19 &&
	       (i == 0 || records[i - 1].type != 0x14);
}

static void tls_requests_are_found_however_the_records_arrive(void **state)
{
	static struct record records[STREAM_BYTES / TLS_HEADER_BYTES + 1];
	static char stream[STREAM_BYTES];
	struct seeded seeded = {1};

	for (int n = 0; n < 1000; n++) {
		size_t count = random_records(&seeded, stream, records);
		size_t arrived = 0, done = 0;
		struct connection conn = {};

		while (arrived < records[count].at) {
			size_t segment = 1 + seeded_below(&seeded, n % 2 ? 400 : 7), headers = 0;
			bool expected = false;

			if (segment > records[count].at - arrived)
				segment = records[count].at - arrived;
			while (done < count &&
				records[done].at + TLS_HEADER_BYTES <= arrived + segment) {
				/* Fewer than the programs walk in one receive. */
				if (++headers == RECORDS - 1)
					segment = records[done].at + TLS_HEADER_BYTES - arrived;
				expected = plainly_a_request(records, done++) || expected;
			}
			assert_int_equal(tls_request(&conn, stream + arrived, segment), expected);
			assert_int_equal(conn.tls_lost, 0);
			arrived += segment;
		}
	}
}

static void bytes_that_are_no_records_lose_track(void **state)
{
	struct connection conn = {};

	assert_false(tls_request(&conn, "GET / HTTP/1.1\r\n", 16));
	assert_int_equal(conn.tls_lost, 1);
	assert_false(tls_request(&conn, "\x17\x03\x03\x01\x00", 5));
	conn = (struct connection){};
	assert_int_equal(http_tls_request(&conn, 8, 10), 0);
	assert_int_equal(conn.tls_lost, 1);
	assert_int_equal(http_tls_request(NULL, 0, 10), 0);
}

/* Nothing to compare with: a sanitizer watches. */
static void random_bytes_are_walked_within_their_bounds(void **state)
{
	struct seeded seeded = {1};

	for (int n = 0; n < 20000; n++) {
		struct connection conn = {};

		for (int receive = 0; receive < 4; receive++) {
			char bytes[64];
			size_t length = seeded_below(&seeded, sizeof(bytes));

			for (size_t i = 0; i < length; i++)
				bytes[i] = seeded_once_in(&seeded, 2)
						   ? (char)(0x14 + seeded_below(&seeded, 4))
						   : (char)seeded_below(&seeded, 3);
			(void)tls_request(&conn, bytes, length);
		}
	}
}

/*
 * Where a call has its bytes.
 */

struct caller {
	struct task_struct task;
	struct sock sk;
	struct socket socket;
	struct files_struct files;
	struct fdtable table;
	struct file file, *slots[4];
};

static void caller_init(struct caller *caller)
{
	*caller = (struct caller){
		.socket = {.sk = &caller->sk},
		.file = {.private_data = &caller->socket},
		.table = {.max_fds = 4, .fd = caller->slots},
		.files = {.fdt = &caller->table},
		.slots = {[3] = &caller->file},
		.sk = {.sk_socket = &caller->socket},
		.task = {.files = &caller->files},
	};
}

static void assert_piece(const struct user_piece *piece, const void *start, uint64_t length)
{
	assert_int_equal(piece->length, length);
	if (length)
		assert_ptr_equal((void *)(uintptr_t)piece->start, start);
}

static void bytes_are_in_the_buffer_of_the_call(void **state)
{
	static const long numbers[] = {__NR_read, __NR_recvfrom, __NR_write, __NR_sendto};
	char buffer[100];
	struct caller caller;

	caller_init(&caller);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		struct user_bytes bytes;

		shim_call(&caller.task, numbers[i], 3, (uintptr_t)buffer, sizeof(buffer));
		bytes = call_bytes(&caller.task, &caller.sk, 17);
		assert_piece(&bytes.first, buffer, 17);
		assert_piece(&bytes.second, NULL, 0);
	}
}

static void bytes_are_in_the_first_two_vectors(void **state)
{
	static const long vector_numbers[] = {__NR_readv, __NR_preadv2, __NR_writev, __NR_pwritev2};
	static const long message_numbers[] = {__NR_recvmsg, __NR_sendmsg};
	char a[10], b[20], c[30];
	struct iovec vectors[] = {{a, sizeof(a)}, {b, sizeof(b)}, {c, sizeof(c)}};
	struct caller caller;

	caller_init(&caller);
	for (uint64_t count = 1; count <= 3; count++) {
		for (uint64_t length = 1; length <= 40; length++) {
			struct user_msghdr message = {.msg_iov = vectors, .msg_iovlen = count};
			uint64_t first = length < 10 ? length : 10;
			uint64_t rest = length - first < 20 ? length - first : 20;

			for (size_t i = 0; i < 6; i++) {
				struct user_bytes bytes;

				if (i < 4)
					shim_call(&caller.task, vector_numbers[i], 3,
						(uintptr_t)vectors, count);
				else
					shim_call(&caller.task, message_numbers[i - 4], 3,
						(uintptr_t)&message, 0);
				bytes = call_bytes(&caller.task, &caller.sk, length);
				assert_piece(&bytes.first, a, first);
				assert_piece(&bytes.second, b, count > 1 ? rest : 0);
			}
		}
	}
}

static void bytes_of_other_calls_are_unknown(void **state)
{
	struct user_bytes bytes;
	struct caller caller;
	char buffer[10];

	caller_init(&caller);
	shim_call(&caller.task, __NR_splice, 3, (uintptr_t)buffer, 10);
	bytes = call_bytes(&caller.task, &caller.sk, 10);
	assert_piece(&bytes.first, NULL, 0);
	assert_piece(&bytes.second, NULL, 0);
	/* Pointers that lead nowhere give no bytes, not wrong ones. */
	shim_call(&caller.task, __NR_recvmsg, 3, 8, 0);
	bytes = call_bytes(&caller.task, &caller.sk, 10);
	assert_piece(&bytes.first, NULL, 0);
	shim_call(&caller.task, __NR_readv, 3, 8, 2);
	bytes = call_bytes(&caller.task, &caller.sk, 10);
	assert_piece(&bytes.first, NULL, 0);
	assert_piece(&bytes.second, NULL, 0);
}

/* A ring completes its receives while the thread is in some other call. */
static void call_of_a_ring_user_must_be_about_the_socket(void **state)
{
	struct user_bytes bytes;
	struct caller caller;
	char buffer[10];

	caller_init(&caller);
	caller.task.io_uring = &caller;
	shim_call(&caller.task, __NR_read, 3, (uintptr_t)buffer, 10);
	bytes = call_bytes(&caller.task, &caller.sk, 10);
	assert_piece(&bytes.first, buffer, 10);
	for (uint64_t fd = 0; fd < 6; fd++) {
		if (fd == 3)
			continue;
		shim_call(&caller.task, __NR_read, fd, (uintptr_t)buffer, 10);
		bytes = call_bytes(&caller.task, &caller.sk, 10);
		assert_piece(&bytes.first, NULL, 0);
	}
}

static void interim_answers_are_told_by_their_status(void **state)
{
	static const struct {
		const char *text;
		bool interim;
	} answers[] = {
		{"HTTP/1.1 100 Continue\r\n\r\n", true},
		{"HTTP/1.0 100", true},
		{"HTTP/1.1 103 Early Hints\r\n", true},
		{"HTTP/1.1 1", true},
		{"HTTP/1.1 ", false},
		{"", false},
		{"HTTP/1.1 200 OK\r\n", false},
		{"HTTP/2.0 100", false},
		{"http/1.1 100", false},
		{"xHTTP/1.1 100", false},
	};

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		size_t length = strlen(answers[i].text);
		char *copy = user_copy(answers[i].text, length);
		struct user_bytes bytes = {.first = {(uintptr_t)copy, length}};

		assert_int_equal(is_interim(&bytes), answers[i].interim);
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(name, setup)
		TEST(head_is_the_first_bytes),
		TEST(head_is_bounded),
		TEST(unreadable_bytes_are_none),
		TEST(no_connection_is_answered_by_nothing),
		TEST(every_prefix_of_a_method_begins_as_one),
		TEST(what_differs_from_every_method_does_not),
		TEST(speech_is_told_by_the_first_bytes),
		TEST(bytes_of_the_turn_before_tell_nothing),
		TEST(tls_is_told_by_record_type_and_version),
		TEST(route_ends_at_the_same_place_however_it_arrives),
		TEST(route_arrives_in_any_number_of_segments),
		TEST(routes_are_counted_by_process_and_text),
		TEST(longest_route_fits),
		TEST(route_that_finds_the_map_full_is_not_counted),
		TEST(seed_moves_every_hash),
		TEST(request_behind_a_whole_one_is_pipelined),
		TEST(end_of_a_request_is_found_wherever_it_lies),
		TEST(random_bytes_agree_with_a_plain_search),
		TEST(tls_requests_are_found_however_the_records_arrive),
		TEST(bytes_that_are_no_records_lose_track),
		TEST(random_bytes_are_walked_within_their_bounds),
		TEST(bytes_are_in_the_buffer_of_the_call),
		TEST(bytes_are_in_the_first_two_vectors),
		TEST(bytes_of_other_calls_are_unknown),
		TEST(call_of_a_ring_user_must_be_about_the_socket),
		TEST(interim_answers_are_told_by_their_status),
#undef TEST
	};
	int failed = cmocka_run_group_tests_name("http", tests, NULL, NULL);

	shim_reset();
	return failed;
}
