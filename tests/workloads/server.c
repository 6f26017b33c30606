/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * server OPTIONS: a small HTTP/1.1 server in many shapes, which keeps exact books of what it
 * served.
 *
 *   --family tcp4|tcp6|unix|abstract      where it listens; the address is in the "ready" line
 *   --mode threads|epoll|prefork|reuseport|fork|handoff|uring|uring-sqpoll|uring-multishot
 *   --workers N                           processes of prefork and reuseport
 *   --receive read|recv|recvmsg|readv|peek
 *   --send write|send|sendmsg|writev|pieces|sendfile|splice
 *   --body BYTES                          length of each answer's body
 *   --protocol http|line                  line: each line is a request, "ok" the answer
 *   --greet                               speak first, before anything was received
 *   --books FD                            shared memory for the books (see counters.h)
 *
 * A turn begins with the first bytes received on an idle connection and ends with the answer; a
 * request is answered when all of it is here, except that "X-Early" in its header asks for the
 * answer before the body. The answer to "Expect: 100-continue" is sent before the body and is no
 * answer of its own. Requests that arrive together are answered one by one and are one turn.
 * Connections are served one at a time by each worker of prefork and reuseport, and concurrently in
 * all other modes.
 */
#include <fcntl.h>
#include <getopt.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "counters.h"
#include "net.h"
#include "workload.h"

/* A request that does not fit into this is a bug in the test; the server ends with an error. */
#define REQUEST_BYTES_MAX (256 * 1024)

struct connection {
	int fd;
	struct process_books *books;
	bool in_turn;       /* received bytes wait for an answer */
	bool continued;     /* "100 Continue" was sent for the request under way */
	bool wants_close;   /* the request that was answered last asked for it */
	size_t drain_bytes; /* rest of the body of a request answered early */
	size_t used_bytes;
	char bytes[REQUEST_BYTES_MAX];
};

/* How an answer leaves: called once per answer, returns false when the peer is gone. */
typedef bool (*answer_function)(int fd);
/* How bytes arrive: as recv() returns. */
typedef ssize_t (*receive_function)(int fd, char *buffer, size_t buffer_bytes);

static struct server_books *books;
static receive_function receive_bytes;
static answer_function send_answer;
static bool is_line_protocol;
static bool greets;
static unsigned worker_count = 1;
static int listen_fd = -1;
static char listen_address[NET_ADDRESS_BYTES];
static int answer_fd = -1; /* the whole answer as a file, for sendfile and splice */
static char *answer_bytes;
static size_t answer_length;
static size_t answer_header_length;

static struct process_books *open_books(void)
{
	uint32_t index = atomic_fetch_add(&books->processes, 1);

	if (index >= SERVER_PROCESSES_MAX) {
		errno = ENOSPC;
		die("more processes than books");
	}
	books->process[index].pid = (uint32_t)getpid();
	return &books->process[index];
}

/* --- receiving and sending in every way there is --- */

static ssize_t receive_by_read(int fd, char *buffer, size_t buffer_bytes)
{
	return read(fd, buffer, buffer_bytes);
}

static ssize_t receive_by_recv(int fd, char *buffer, size_t buffer_bytes)
{
	return recv(fd, buffer, buffer_bytes, 0);
}

/* The first piece is short, so that a request's first line lies in both. */
#define FIRST_PIECE_BYTES 7

static void split_pieces(struct iovec pieces[2], char *buffer, size_t buffer_bytes)
{
	size_t first = buffer_bytes < FIRST_PIECE_BYTES ? buffer_bytes : FIRST_PIECE_BYTES;

	pieces[0] = (struct iovec){.iov_base = buffer, .iov_len = first};
	pieces[1] = (struct iovec){.iov_base = buffer + first, .iov_len = buffer_bytes - first};
}

static ssize_t receive_by_recvmsg(int fd, char *buffer, size_t buffer_bytes)
{
	struct iovec piece = {.iov_base = buffer, .iov_len = buffer_bytes};
	struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};

	return recvmsg(fd, &message, 0);
}

static ssize_t receive_by_readv(int fd, char *buffer, size_t buffer_bytes)
{
	struct iovec pieces[2];

	split_pieces(pieces, buffer, buffer_bytes);
	return readv(fd, pieces, 2);
}

static ssize_t receive_by_peek(int fd, char *buffer, size_t buffer_bytes)
{
	ssize_t seen = recvfrom(fd, buffer, buffer_bytes, MSG_PEEK, NULL, NULL);

	if (seen <= 0)
		return seen;
	return recvfrom(fd, buffer, (size_t)seen, 0, NULL, NULL);
}

/* Waits until a non-blocking socket takes more; false when it never will. */
static bool may_send_more(int fd, ssize_t result)
{
	struct pollfd wait = {.fd = fd, .events = POLLOUT};

	if (result > 0 || (result < 0 && errno == EINTR))
		return true;
	if (result == 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
		return false;
	return poll(&wait, 1, -1) == 1;
}

static bool send_all(int fd, const char *bytes, size_t length)
{
	for (size_t sent = 0; sent < length;) {
		ssize_t n = send(fd, bytes + sent, length - sent, MSG_NOSIGNAL);

		if (!may_send_more(fd, n))
			return false;
		sent += n > 0 ? (size_t)n : 0;
	}
	return true;
}

static bool answer_by_send(int fd)
{
	return send_all(fd, answer_bytes, answer_length);
}

static bool answer_by_write(int fd)
{
	for (size_t sent = 0; sent < answer_length;) {
		ssize_t n = write(fd, answer_bytes + sent, answer_length - sent);

		if (!may_send_more(fd, n))
			return false;
		sent += n > 0 ? (size_t)n : 0;
	}
	return true;
}

/* The iovec of what is left after `sent` bytes, header and body apart; returns the number of
 * pieces. */
static int rest_of_answer(struct iovec pieces[2], size_t sent)
{
	int count = 0;

	if (sent < answer_header_length) {
		pieces[count].iov_base = answer_bytes + sent;
		pieces[count++].iov_len = answer_header_length - sent;
		sent = answer_header_length;
	}
	if (sent < answer_length) {
		pieces[count].iov_base = answer_bytes + sent;
		pieces[count++].iov_len = answer_length - sent;
	}
	return count;
}

static bool answer_by_writev(int fd)
{
	for (size_t sent = 0; sent < answer_length;) {
		struct iovec pieces[2];
		ssize_t n = writev(fd, pieces, rest_of_answer(pieces, sent));

		if (!may_send_more(fd, n))
			return false;
		sent += n > 0 ? (size_t)n : 0;
	}
	return true;
}

static bool answer_by_sendmsg(int fd)
{
	for (size_t sent = 0; sent < answer_length;) {
		struct iovec pieces[2];
		struct msghdr message = {
			.msg_iov = pieces, .msg_iovlen = (size_t)rest_of_answer(pieces, sent)};
		ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL);

		if (!may_send_more(fd, n))
			return false;
		sent += n > 0 ? (size_t)n : 0;
	}
	return true;
}

/* The header, then the body in many small sends. */
static bool answer_in_pieces(int fd)
{
	if (!send_all(fd, answer_bytes, answer_header_length))
		return false;
	for (size_t sent = answer_header_length; sent < answer_length; sent += 3) {
		size_t left = answer_length - sent;

		if (!send_all(fd, answer_bytes + sent, left < 3 ? left : 3))
			return false;
	}
	return true;
}

/* The header too, so that no send call has any part in the answer. */
static bool answer_by_sendfile(int fd)
{
	for (off_t offset = 0; (size_t)offset < answer_length;) {
		ssize_t n = sendfile(fd, answer_fd, &offset, answer_length - (size_t)offset);

		if (!may_send_more(fd, n))
			return false;
	}
	return true;
}

static bool answer_by_splice(int fd)
{
	int ends[2];
	loff_t offset = 0;
	bool is_sent = true;

	if (pipe2(ends, O_CLOEXEC) != 0)
		die("pipe");
	while (is_sent && (size_t)offset < answer_length) {
		ssize_t held = splice(
			answer_fd, &offset, ends[1], NULL, answer_length - (size_t)offset, 0);

		if (held <= 0)
			die("splice");
		while (is_sent && held > 0) {
			ssize_t n = splice(ends[0], NULL, fd, NULL, (size_t)held, 0);

			is_sent = may_send_more(fd, n);
			held -= n > 0 ? n : 0;
		}
	}
	close(ends[0]);
	close(ends[1]);
	return is_sent;
}

static const struct {
	const char *name;
	receive_function function;
} receive_ways[] = {
	{"read", receive_by_read},
	{"recv", receive_by_recv},
	{"recvmsg", receive_by_recvmsg},
	{"readv", receive_by_readv},
	{"peek", receive_by_peek},
};

static const struct {
	const char *name;
	answer_function function;
} send_ways[] = {
	{"write", answer_by_write},
	{"send", answer_by_send},
	{"sendmsg", answer_by_sendmsg},
	{"writev", answer_by_writev},
	{"pieces", answer_in_pieces},
	{"sendfile", answer_by_sendfile},
	{"splice", answer_by_splice},
};

static void prepare_answer(size_t body_bytes)
{
	char header[128];

	if (is_line_protocol) {
		header[0] = '\0';
		body_bytes = 3;
	} else {
		(void)snprintf(header, sizeof(header),
			"HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", body_bytes);
	}
	answer_header_length = strlen(header);
	answer_length = answer_header_length + body_bytes;
	answer_bytes = malloc(answer_length + 1);
	if (!answer_bytes)
		die("malloc");
	memcpy(answer_bytes, header, answer_header_length);
	memset(answer_bytes + answer_header_length, 'a', body_bytes);
	if (is_line_protocol)
		memcpy(answer_bytes, "ok\n", 3);
	answer_fd = memfd_create("answer", MFD_CLOEXEC);
	if (answer_fd < 0 ||
		write(answer_fd, answer_bytes, answer_length) != (ssize_t)answer_length)
		die("memfd");
}

/* --- one connection --- */

static struct connection *connection_new(int fd, struct process_books *owner)
{
	struct connection *connection = malloc(sizeof(*connection));

	if (!connection)
		die("malloc");
	memset(connection, 0, offsetof(struct connection, bytes));
	connection->fd = fd;
	connection->books = owner;
	if (greets && !send_all(fd, "hello\n", 6))
		die("greeting");
	return connection;
}

static void connection_free(struct connection *connection)
{
	struct process_books *owner = connection->books;

	close(connection->fd);
	free(connection);
	owner->closed++;
}

/* The value of a header field, or NULL; the header ends with an empty line and `bytes` with a NUL.
 */
static const char *header_value(const char *bytes, const char *name)
{
	const char *at = strcasestr(bytes, name);

	return at ? at + strlen(name) : NULL;
}

static void consume(struct connection *connection, size_t length)
{
	connection->used_bytes -= length;
	memmove(connection->bytes, connection->bytes + length, connection->used_bytes);
}

struct request {
	size_t header_bytes;
	size_t body_bytes;
	bool expects_continue;
	bool wants_early_answer;
	bool wants_close;
};

/* Looks for a whole header at the start of what was received; false when more must come. */
static bool parse_request(struct connection *connection, struct request *ret_request)
{
	char *end = memmem(connection->bytes, connection->used_bytes, "\r\n\r\n", 4);
	const char *length;
	char saved;

	if (is_line_protocol) {
		end = memchr(connection->bytes, '\n', connection->used_bytes);
		if (!end)
			return false;
		*ret_request =
			(struct request){.header_bytes = (size_t)(end + 1 - connection->bytes)};
		return true;
	}
	if (!end)
		return false;
	end += 4;
	saved = *end;
	*end = '\0';
	length = header_value(connection->bytes, "\r\nContent-Length: ");
	*ret_request = (struct request){
		.header_bytes = (size_t)(end - connection->bytes),
		.body_bytes = length ? strtoul(length, NULL, 10) : 0,
		.expects_continue =
			header_value(connection->bytes, "\r\nExpect: 100-continue") != NULL,
		.wants_early_answer = header_value(connection->bytes, "\r\nX-Early: ") != NULL,
		.wants_close = header_value(connection->bytes, "\r\nConnection: close") != NULL,
	};
	*end = saved;
	return true;
}

/*
 * Takes the next complete request off the received bytes and keeps the books; false when there is
 * none. What must be sent is for the caller, because in some modes another thread sends it.
 */
static bool take_request(struct connection *connection)
{
	struct request request;
	size_t length;

	if (connection->drain_bytes > 0) {
		length = connection->drain_bytes < connection->used_bytes ? connection->drain_bytes
									  : connection->used_bytes;
		consume(connection, length);
		connection->drain_bytes -= length;
	}
	if (!parse_request(connection, &request))
		return false;
	length = request.header_bytes + request.body_bytes;
	if (connection->used_bytes < length && !request.wants_early_answer) {
		if (request.expects_continue && !connection->continued) {
			connection->continued = true;
			(void)send_all(connection->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25);
		}
		return false;
	}
	if (connection->used_bytes < length) {
		connection->drain_bytes = length - connection->used_bytes;
		length = connection->used_bytes;
	}
	consume(connection, length);
	connection->continued = false;
	connection->in_turn = false;
	connection->wants_close = request.wants_close;
	return true;
}

/* Books `length` bytes that have just arrived behind the ones already held. */
static void book_received(struct connection *connection, size_t length)
{
	if (!connection->in_turn && length > connection->drain_bytes) {
		connection->in_turn = true;
		connection->books->turns++;
	}
	connection->used_bytes += length;
	connection->books->received_bytes += length;
	if (connection->used_bytes >= REQUEST_BYTES_MAX - 1) {
		errno = EMSGSIZE;
		die("request");
	}
}

/*
 * Receives once. Returns 1 when bytes came, 0 when the peer has ended or vanished, -1 when a
 * non-blocking socket has nothing now.
 */
static int connection_receive(struct connection *connection)
{
	ssize_t n;

	do {
		n = receive_bytes(connection->fd, connection->bytes + connection->used_bytes,
			REQUEST_BYTES_MAX - 1 - connection->used_bytes);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return -1;
	if (n <= 0)
		return 0;
	book_received(connection, (size_t)n);
	return 1;
}

/* Answers every complete request that is here; false when the connection is over. */
static bool connection_answer(struct connection *connection)
{
	while (take_request(connection)) {
		connection->books->answered++;
		if (!send_answer(connection->fd))
			return false;
		if (connection->wants_close)
			return false;
	}
	return true;
}

static void serve_connection(int fd, struct process_books *owner)
{
	struct connection *connection = connection_new(fd, owner);

	while (connection_receive(connection) == 1)
		if (!connection_answer(connection))
			break;
	connection_free(connection);
}

static int accept_connection(struct process_books *owner)
{
	int fd;

	do {
		fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	} while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
	if (fd < 0)
		die("accept");
	owner->accepts++;
	return fd;
}

/* --- modes; each starts serving and returns --- */

static void start_thread(void *(*function)(void *), void *argument)
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, function, argument);
	if (errno != 0)
		die("pthread_create");
	(void)pthread_detach(thread);
}

struct handed_connection {
	int fd;
	struct process_books *owner;
};

static void *connection_thread(void *argument)
{
	struct handed_connection handed = *(struct handed_connection *)argument;

	free(argument);
	serve_connection(handed.fd, handed.owner);
	return NULL;
}

static void *accepting_thread(void *argument)
{
	struct process_books *owner = argument;

	for (;;) {
		struct handed_connection *handed = malloc(sizeof(*handed));

		if (!handed)
			die("malloc");
		*handed =
			(struct handed_connection){.fd = accept_connection(owner), .owner = owner};
		start_thread(connection_thread, handed);
	}
	return NULL;
}

static void start_threads_mode(void)
{
	start_thread(accepting_thread, open_books());
}

static void set_nonblocking(int fd)
{
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0)
		die("O_NONBLOCK");
}

static void epoll_watch(int epoll_fd, int fd, void *data)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = data};

	set_nonblocking(fd);
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
		die("epoll_ctl");
}

static void epoll_accept_all(int epoll_fd, struct process_books *owner)
{
	for (;;) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (fd < 0)
			die("accept");
		owner->accepts++;
		epoll_watch(epoll_fd, fd, connection_new(fd, owner));
	}
}

/* Calls `serve` for each readable connection; a connection is over when it returns false. */
static void epoll_loop(struct process_books *owner, bool (*serve)(struct connection *connection))
{
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

	if (epoll_fd < 0)
		die("epoll_create");
	epoll_watch(epoll_fd, listen_fd, NULL);
	for (;;) {
		struct epoll_event events[64];
		int count = epoll_wait(epoll_fd, events, 64, -1);

		if (count < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < count; i++) {
			struct connection *connection = events[i].data.ptr;

			if (!connection)
				epoll_accept_all(epoll_fd, owner);
			else if (!serve(connection))
				connection_free(connection);
		}
	}
}

/* Receives until there is nothing more, as event-driven servers do. */
static bool serve_readable(struct connection *connection)
{
	int received;

	while ((received = connection_receive(connection)) == 1)
		if (!connection_answer(connection))
			return false;
	return received == -1;
}

static void *epoll_thread(void *argument)
{
	epoll_loop(argument, serve_readable);
	return NULL;
}

static void start_epoll_mode(void)
{
	start_thread(epoll_thread, open_books());
}

/* Answers that wait for the sending thread; there are never more than connections. */
#define HANDED_OVER_MAX 1024
static struct {
	pthread_mutex_t lock;
	pthread_cond_t is_filled;
	int fds[HANDED_OVER_MAX];
	unsigned head, tail;
} handed_over = {.lock = PTHREAD_MUTEX_INITIALIZER, .is_filled = PTHREAD_COND_INITIALIZER};

static bool receive_and_hand_over(struct connection *connection)
{
	int received;

	while ((received = connection_receive(connection)) == 1) {
		while (take_request(connection)) {
			connection->books->answered++;
			pthread_mutex_lock(&handed_over.lock);
			handed_over.fds[handed_over.tail++ % HANDED_OVER_MAX] = connection->fd;
			pthread_cond_signal(&handed_over.is_filled);
			pthread_mutex_unlock(&handed_over.lock);
		}
	}
	return received == -1;
}

static void *receiving_thread(void *argument)
{
	epoll_loop(argument, receive_and_hand_over);
	return NULL;
}

static void *sending_thread(void *argument)
{
	(void)argument;
	for (;;) {
		int fd;

		pthread_mutex_lock(&handed_over.lock);
		while (handed_over.head == handed_over.tail)
			pthread_cond_wait(&handed_over.is_filled, &handed_over.lock);
		fd = handed_over.fds[handed_over.head++ % HANDED_OVER_MAX];
		pthread_mutex_unlock(&handed_over.lock);
		(void)send_answer(fd);
	}
	return NULL;
}

static void start_handoff_mode(void)
{
	start_thread(receiving_thread, open_books());
	start_thread(sending_thread, NULL);
}

static pid_t fork_worker(void)
{
	pid_t parent = getpid();
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(0);
	}
	return pid;
}

static void serve_one_by_one(struct process_books *owner)
{
	for (;;) {
		int fd = accept_connection(owner);

		serve_connection(fd, owner);
	}
}

static void start_prefork_mode(void)
{
	for (unsigned i = 0; i < worker_count; i++)
		if (fork_worker() == 0)
			serve_one_by_one(open_books());
}

static void *forking_thread(void *argument)
{
	struct process_books *owner = argument;

	for (;;) {
		int fd = accept_connection(owner);

		/* The forking thread lives as long as its process, so PR_SET_PDEATHSIG means the
		 * process. */
		if (fork_worker() == 0) {
			serve_connection(fd, open_books());
			_exit(0);
		}
		close(fd);
	}
	return NULL;
}

static void start_fork_mode(void)
{
	signal(SIGCHLD, SIG_IGN);
	start_thread(forking_thread, open_books());
}

/* --- io_uring --- */

enum uring_step { URING_ACCEPT, URING_RECEIVE, URING_SEND };

/* What a completion is about is in the low bits of its user data; connections are aligned to more
 * than that. */
#define URING_STEP_MASK    3UL
#define URING_BUFFERS      64
#define URING_BUFFER_BYTES 4096
#define URING_BUFFER_GROUP 1

struct uring_server {
	struct io_uring ring;
	struct process_books *owner;
	bool is_multishot;
	struct io_uring_buf_ring *buffer_ring;
	char *buffers;
};

static struct io_uring_sqe *uring_next(struct uring_server *server)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&server->ring);

	while (!sqe) {
		(void)io_uring_submit(&server->ring);
		sqe = io_uring_get_sqe(&server->ring);
	}
	return sqe;
}

static void uring_tag(struct io_uring_sqe *sqe, void *subject, enum uring_step step)
{
	sqe->user_data = (uint64_t)(uintptr_t)subject | (uint64_t)step;
}

static void uring_accept(struct uring_server *server)
{
	struct io_uring_sqe *sqe = uring_next(server);

	if (server->is_multishot)
		io_uring_prep_multishot_accept(sqe, listen_fd, NULL, NULL, SOCK_CLOEXEC);
	else
		io_uring_prep_accept(sqe, listen_fd, NULL, NULL, SOCK_CLOEXEC);
	uring_tag(sqe, NULL, URING_ACCEPT);
}

static void uring_receive(struct uring_server *server, struct connection *connection)
{
	struct io_uring_sqe *sqe = uring_next(server);

	if (server->is_multishot) {
		io_uring_prep_recv_multishot(sqe, connection->fd, NULL, 0, 0);
		sqe->flags |= IOSQE_BUFFER_SELECT;
		sqe->buf_group = URING_BUFFER_GROUP;
	} else {
		io_uring_prep_recv(sqe, connection->fd, connection->bytes + connection->used_bytes,
			REQUEST_BYTES_MAX - 1 - connection->used_bytes, 0);
	}
	uring_tag(sqe, connection, URING_RECEIVE);
}

static void uring_send(struct uring_server *server, struct connection *connection)
{
	struct io_uring_sqe *sqe = uring_next(server);

	connection->books->answered++;
	io_uring_prep_send(
		sqe, connection->fd, answer_bytes, answer_length, MSG_NOSIGNAL | MSG_WAITALL);
	uring_tag(sqe, connection, URING_SEND);
}

static void uring_return_buffer(struct uring_server *server, unsigned index)
{
	io_uring_buf_ring_add(server->buffer_ring,
		server->buffers + (size_t)index * URING_BUFFER_BYTES, URING_BUFFER_BYTES,
		(unsigned short)index, io_uring_buf_ring_mask(URING_BUFFERS), 0);
	io_uring_buf_ring_advance(server->buffer_ring, 1);
}

static void uring_received(
	struct uring_server *server, struct connection *connection, int result, unsigned flags)
{
	bool is_armed = flags & IORING_CQE_F_MORE;

	if (result == -ENOBUFS) {
		uring_receive(server, connection);
		return;
	}
	if (result <= 0) {
		if (!is_armed)
			connection_free(connection);
		return;
	}
	if (server->is_multishot) {
		unsigned index = flags >> IORING_CQE_BUFFER_SHIFT;

		memcpy(connection->bytes + connection->used_bytes,
			server->buffers + (size_t)index * URING_BUFFER_BYTES, (size_t)result);
		uring_return_buffer(server, index);
	}
	book_received(connection, (size_t)result);
	if (take_request(connection)) {
		uring_send(server, connection);
		if (server->is_multishot && !is_armed)
			uring_receive(server, connection);
	} else if (!is_armed) {
		uring_receive(server, connection);
	}
}

static void uring_complete(
	struct uring_server *server, uint64_t user_data, int result, unsigned flags)
{
	struct connection *connection =
		(struct connection *)(uintptr_t)(user_data & ~URING_STEP_MASK);

	switch ((enum uring_step)(user_data & URING_STEP_MASK)) {
	case URING_ACCEPT:
		if (result < 0) {
			errno = -result;
			die("io_uring accept");
		}
		server->owner->accepts++;
		uring_receive(server, connection_new(result, server->owner));
		if (!(flags & IORING_CQE_F_MORE))
			uring_accept(server);
		break;
	case URING_RECEIVE:
		uring_received(server, connection, result, flags);
		break;
	case URING_SEND:
		/* A failed send shows again in the receive that follows. */
		if (!server->is_multishot)
			uring_receive(server, connection);
		break;
	}
}

static void *uring_thread(void *argument)
{
	struct uring_server *server = argument;

	uring_accept(server);
	for (;;) {
		struct io_uring_cqe *cqe;
		uint64_t user_data;
		unsigned flags;
		int result;

		(void)io_uring_submit(&server->ring);
		result = io_uring_wait_cqe(&server->ring, &cqe);
		if (result == -EINTR)
			continue;
		if (result < 0)
			die("io_uring_wait_cqe");
		user_data = cqe->user_data;
		flags = cqe->flags;
		result = cqe->res;
		io_uring_cqe_seen(&server->ring, cqe);
		uring_complete(server, user_data, result, flags);
	}
	return NULL;
}

__attribute__((noreturn)) static void unsupported(const char *what, int error)
{
	say("unsupported %s: %s", what, strerror(error));
	_exit(0);
}

static void uring_prepare_buffers(struct uring_server *server)
{
	size_t ring_bytes = URING_BUFFERS * sizeof(struct io_uring_buf);
	struct io_uring_buf_reg registration = {
		.ring_entries = URING_BUFFERS, .bgid = URING_BUFFER_GROUP};
	void *ring =
		mmap(NULL, ring_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int error;

	server->buffers = malloc((size_t)URING_BUFFERS * URING_BUFFER_BYTES);
	if (ring == MAP_FAILED || !server->buffers)
		die("buffers");
	registration.ring_addr = (uint64_t)(uintptr_t)ring;
	error = io_uring_register_buf_ring(&server->ring, &registration, 0);
	if (error != 0)
		unsupported("io_uring buffer ring", -error);
	server->buffer_ring = ring;
	io_uring_buf_ring_init(server->buffer_ring);
	for (unsigned i = 0; i < URING_BUFFERS; i++)
		uring_return_buffer(server, i);
}

static void start_uring(unsigned setup_flags, bool is_multishot)
{
	static struct uring_server server;
	struct io_uring_params parameters = {.flags = setup_flags, .sq_thread_idle = 20};
	int error = io_uring_queue_init_params(256, &server.ring, &parameters);

	if (error != 0)
		unsupported("io_uring", -error);
	server.owner = open_books();
	server.is_multishot = is_multishot;
	if (is_multishot)
		uring_prepare_buffers(&server);
	start_thread(uring_thread, &server);
}

static void start_uring_mode(void)
{
	start_uring(0, false);
}

static void start_uring_sqpoll_mode(void)
{
	start_uring(IORING_SETUP_SQPOLL, false);
}

static void start_uring_multishot_mode(void)
{
	start_uring(0, true);
}

/* Each worker gets a listening socket of its own; the first one was only there to find a free port.
 */
static void start_reuseport_mode(void)
{
	int fds[SERVER_PROCESSES_MAX] = {0};

	if (worker_count > SERVER_PROCESSES_MAX) {
		errno = ENOSPC;
		die("more workers than books");
	}
	for (unsigned i = 0; i < worker_count; i++)
		fds[i] = net_listen_at(listen_address, true);
	close(listen_fd);
	for (unsigned i = 0; i < worker_count; i++) {
		if (fork_worker() == 0) {
			listen_fd = fds[i];
			for (unsigned other = 0; other < worker_count; other++)
				if (other != i)
					close(fds[other]);
			serve_one_by_one(open_books());
		}
	}
	for (unsigned i = 0; i < worker_count; i++)
		close(fds[i]);
}

static const struct {
	const char *name;
	void (*start)(void);
	bool has_workers;
} modes[] = {
	{"threads", start_threads_mode, false},
	{"epoll", start_epoll_mode, false},
	{"prefork", start_prefork_mode, true},
	{"reuseport", start_reuseport_mode, true},
	{"fork", start_fork_mode, false},
	{"handoff", start_handoff_mode, false},
	{"uring", start_uring_mode, false},
	{"uring-sqpoll", start_uring_sqpoll_mode, false},
	{"uring-multishot", start_uring_multishot_mode, false},
};

static void open_shared_books(int fd)
{
	if (fd < 0) {
		fd = memfd_create("books", MFD_CLOEXEC);
		if (fd < 0 || ftruncate(fd, sizeof(*books)) != 0)
			die("books");
	}
	books = mmap(NULL, sizeof(*books), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (books == MAP_FAILED)
		die("books");
}

static void say_ready(void)
{
	char line[1024];
	size_t used = 0;

	for (uint32_t i = 0; i < books->processes; i++)
		used += (size_t)snprintf(line + used, sizeof(line) - used, " process%u=%u", i,
			books->process[i].pid);
	say("ready pid=%d address=%s processes=%u%s", (int)getpid(), listen_address,
		books->processes, used ? line : "");
}

static void say_books(void)
{
	uint64_t accepts = 0, closed = 0, turns = 0, answered = 0;

	for (uint32_t i = 0; i < books->processes; i++) {
		accepts += books->process[i].accepts;
		closed += books->process[i].closed;
		turns += books->process[i].turns;
		answered += books->process[i].answered;
	}
	say("done accepts=%llu closed=%llu turns=%llu answered=%llu", (unsigned long long)accepts,
		(unsigned long long)closed, (unsigned long long)turns,
		(unsigned long long)answered);
}

__attribute__((noreturn)) static void usage(void)
{
	fprintf(stderr,
		"usage: server [--family F] [--mode M] [--workers N] [--receive R] [--send S]\n"
		"              [--body BYTES] [--protocol http|line] [--greet] [--books FD]\n");
	exit(2);
}

static void choose_receive(const char *name)
{
	for (size_t i = 0; i < sizeof(receive_ways) / sizeof(receive_ways[0]); i++)
		if (strcmp(receive_ways[i].name, name) == 0)
			receive_bytes = receive_ways[i].function;
	if (!receive_bytes)
		usage();
}

static void choose_send(const char *name)
{
	for (size_t i = 0; i < sizeof(send_ways) / sizeof(send_ways[0]); i++)
		if (strcmp(send_ways[i].name, name) == 0)
			send_answer = send_ways[i].function;
	if (!send_answer)
		usage();
}

/* What the command line chose, beyond what the modes read themselves. */
struct settings {
	const char *family, *mode, *receive, *send;
	size_t body_bytes;
	int books_fd;
};

static struct settings parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{"family", required_argument, NULL, 'f'},
		{"mode", required_argument, NULL, 'm'},
		{"workers", required_argument, NULL, 'w'},
		{"receive", required_argument, NULL, 'r'},
		{"send", required_argument, NULL, 's'},
		{"body", required_argument, NULL, 'b'},
		{"protocol", required_argument, NULL, 'p'},
		{"greet", no_argument, NULL, 'g'},
		{"books", required_argument, NULL, 'k'},
		{0},
	};
	struct settings settings = {.family = "tcp4",
		.mode = "threads",
		.receive = "recv",
		.send = "send",
		.body_bytes = 13,
		.books_fd = -1};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'f':
			settings.family = optarg;
			break;
		case 'm':
			settings.mode = optarg;
			break;
		case 'w':
			worker_count = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'r':
			settings.receive = optarg;
			break;
		case 's':
			settings.send = optarg;
			break;
		case 'b':
			settings.body_bytes = strtoul(optarg, NULL, 10);
			break;
		case 'p':
			is_line_protocol = strcmp(optarg, "line") == 0;
			break;
		case 'g':
			greets = true;
			break;
		case 'k':
			settings.books_fd = (int)strtol(optarg, NULL, 10);
			break;
		default:
			usage();
		}
	}
	return settings;
}

static size_t choose_mode(const char *name)
{
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(modes[i].name, name) == 0)
			return i;
	usage();
}

int main(int argc, char **argv)
{
	struct settings settings = parse_options(argc, argv);
	size_t mode = choose_mode(settings.mode);
	char command[64];

	choose_receive(settings.receive);
	choose_send(settings.send);
	signal(SIGPIPE, SIG_IGN);
	open_shared_books(settings.books_fd);
	prepare_answer(settings.body_bytes);
	listen_fd = net_listen(
		settings.family, strcmp(settings.mode, "reuseport") == 0, listen_address);
	modes[mode].start();
	while (modes[mode].has_workers && books->processes < worker_count)
		usleep(1000);
	say_ready();
	while (read_command(command, sizeof(command)) && strcmp(command, "end") != 0)
		if (strcmp(command, "books") == 0)
			say_books();
	net_forget(listen_address);
	return 0;
}
