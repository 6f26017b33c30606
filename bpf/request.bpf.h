/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Requests: turns on passively opened connections, counted where bytes are received and sent.
 *
 * A turn is counted when its first bytes are received. Whether a response lies between them and
 * the bytes before is told, for TCP, by the socket's own write_seq: it advances under the socket's
 * lock, whatever call or thread sends, before a client can answer, so no order of probes on other
 * CPUs can hide or double a request. For Unix sockets the send itself marks it, and so does the
 * peer's receive. What sends do beyond that is end windows (window.bpf.h).
 *
 * Two sets of hooks call on_receive and on_send with the same facts: request_tp.bpf.c and
 * request_fexit.bpf.c.
 */
#ifndef PAGESTAY_REQUEST_BPF_H
#define PAGESTAY_REQUEST_BPF_H

#include "http.bpf.h"
#include "window.bpf.h"

#define MSG_PEEK     0x2
#define MSG_TRUNC    0x20
#define MSG_ERRQUEUE 0x2000

static __always_inline bool is_nothing(int ret)
{
	return ret == -EAGAIN || ret == -EINTR || (ret <= -RESTART_MIN && ret >= -RESTART_MAX);
}

/* The connection at the other end of a Unix client's socket. */
static __always_inline struct connection *unix_peer_connection(struct sock *sk)
{
	struct unix_sock *self = bpf_skc_to_unix_sock(sk);
	struct sock *peer;

	if (!self)
		return NULL;
	peer = self->peer;
	return peer ? connection_of(peer) : NULL;
}

/*
 * A Unix client that receives proves that the server has sent, even before the server's probe; its
 * end of stream, that the server has closed.
 */
static __always_inline void unix_peer_received(struct sock *sk, int ret, int flags)
{
	struct connection *conn = unix_peer_connection(sk);

	if (!conn || is_nothing(ret) || (flags & (MSG_PEEK | MSG_ERRQUEUE)))
		return;
	if (ret > 0)
		__sync_fetch_and_add(&conn->ahead, ret);
	if (ret <= 0)
		connection_ended(conn, false);
	else if (conn->interim)
		conn->interim = 0;
	else
		conn->sent = 1;
}

/* A socket without storage that receives: nobody's, or a connection that nothing has marked yet. */
static __always_inline struct connection *connection_first_seen(struct sock *sk, int ret, int flags)
{
	if (is_unix_stream(sk) && !cfg_ports) {
		if (unix_is_accepted(sk))
			return connection_new(sk);
		unix_peer_received(sk, ret, flags);
		return NULL;
	}
	/* With TCP Fast Open the request can arrive before the handshake has ended. */
	if (is_tcp(sk) && sk->__sk_common.skc_state == TCP_SYN_RECV &&
		port_is_watched(sk->__sk_common.skc_num))
		return connection_new(sk);
	return NULL;
}

static __always_inline bool response_was_sent(struct sock *sk, const struct connection *conn)
{
	if (!conn->turn)
		return true;
	if (sk->sk_shutdown & SEND_SHUTDOWN)
		return false;
	if (!is_tcp(sk))
		return conn->sent;
	return BPF_CORE_READ((struct tcp_sock *)sk, write_seq) != conn->sent_sequence;
}

static __always_inline void turn_mark(struct sock *sk, struct connection *conn)
{
	conn->sent = 0;
	conn->interim = 0;
	conn->late = conn->ahead > 0 ? conn->ahead : 0;
	if (is_tcp(sk))
		conn->sent_sequence = BPF_CORE_READ((struct tcp_sock *)sk, write_seq);
}

/* The thread works for the connection's turn from now on. */
static __always_inline void window_open(
	struct connection *conn, struct thread *thread, const struct thread_key *key)
{
	if (conn->window == WINDOW_OPEN && same_thread(&conn->receiver, key))
		return;
	settle(conn, WINDOW_GIVEN_UP, false);
	conn->receiver = *key;
	conn->window = WINDOW_OPEN;
	__sync_fetch_and_add(&thread->open, 1);
	if (!cfg_pages)
		return;
	conn->adopted = 0;
	conn->received_ns = bpf_ktime_get_ns();
	window_begins(&thread->pages, conn->received_ns);
}

static __always_inline void turn_count(
	struct ps_proc *proc, struct connection *conn, const struct user_bytes *bytes)
{
	conn->counted = 1;
	count(proc, PS_REQUESTS, 1);
	if (conn->speech == SPEECH_HTTP1 && !conn->has_body && (conn->turn == 1 || conn->pipelined))
		conn->pipelined = http_is_pipelined(bytes->first.start, bytes->first.length);
	if (conn->pipelined || conn->speech == SPEECH_HTTP2)
		count(proc, PS_REQUESTS_MERGED, 1);
	if (conn->speech == SPEECH_TLS)
		count(proc, PS_REQUESTS_ENCRYPTED, 1);
}

static __always_inline void head_begin(struct connection *conn, const struct user_bytes *bytes)
{
	http_head_begin(conn, bytes->first.start, bytes->first.length);
	if (bytes->second.length && conn->head_bytes == bytes->first.length)
		http_head_append(conn, bytes->second.start, bytes->second.length);
}

static __always_inline void head_append(struct connection *conn, const struct user_bytes *bytes)
{
	http_head_append(conn, bytes->first.start, bytes->first.length);
	if (bytes->second.length)
		http_head_append(conn, bytes->second.start, bytes->second.length);
}

/*
 * First bytes after a response. They begin a turn, unless they cannot begin a request while the
 * one before may still owe its body, because it was answered early.
 */
static __always_inline bool turn_begins(struct connection *conn, const struct user_bytes *bytes)
{
	bool owes_body = conn->speech == SPEECH_HTTP1 && conn->has_body;

	head_begin(conn, bytes);
	if (!owes_body || !conn->head_bytes || http_begins_as_method(conn))
		return true;
	conn->head_done = 1;
	return false;
}

static __always_inline void turn_begin(
	struct ps_proc *proc, struct connection *conn, const struct user_bytes *bytes)
{
	if (conn->speech != SPEECH_TLS && conn->speech != SPEECH_HTTP2)
		conn->speech = http_speech(conn);
	conn->has_body = conn->head[0] != 'G' && conn->head[0] != 'H';
	conn->route = 0;
	conn->turn++;
	conn->counted = 0;
	/* On TLS not every turn is a request: see tls_received. */
	if (conn->speech != SPEECH_TLS)
		turn_count(proc, conn, bytes);
}

/* A turn on a TLS connection counts when its first request has come. */
static __always_inline void tls_received(
	struct ps_proc *proc, struct connection *conn, const struct user_bytes *bytes)
{
	int found = 0;

	if (!bytes->first.length)
		conn->tls_lost = 1;
	else
		found = http_tls_request(conn, bytes->first.start, bytes->first.length);
	if (bytes->second.length)
		found |= http_tls_request(conn, bytes->second.start, bytes->second.length);
	if (!conn->counted && (found || conn->tls_lost))
		turn_count(proc, conn, bytes);
}

/* End of stream or an error: the client asks for nothing more, but may still be answered. */
static __always_inline void stream_ended(
	struct task_struct *task, struct sock *sk, struct connection *conn)
{
	struct thread_key key = thread_key_of(task);
	bool was_open = conn->window == WINDOW_OPEN && conn->receiver.tid;
	struct thread *thread = bpf_map_lookup_elem(&threads, &key);
	struct ps_proc *proc = thread && was_open ? proc_of(task) : NULL;
	bool own;

	if (proc)
		segment_end(proc, task, thread, false);
	own = same_thread(&conn->receiver, &key);
	if (cfg_pages && own && was_open && thread)
		tail_end(&conn->owner, &thread->pages, key.tid);
	connection_ended(conn, own);
	if (!thread || !was_open)
		return;
	if (own) {
		thread->tail_sk = (__u64)sk;
		thread->tail_turn = conn->turn;
	}
	thread->open_then = thread->open;
}

/* A thread that receives has done with what it sent before. */
static __always_inline void pages_received(
	const struct connection *conn, struct thread *thread, __u32 tid)
{
	tail_end(&conn->owner, &thread->pages, tid);
	thread->pages.tail = 0;
	thread->pages.receives = 1;
}

static __always_inline void received(struct ps_proc *proc, struct task_struct *task,
	struct sock *sk, struct connection *conn, const struct user_bytes *bytes)
{
	struct thread_key key = thread_key_of(task);
	struct thread *thread = thread_enter(task, &key);
	bool rest = false;

	if (thread)
		segment_end(proc, task, thread, false);
	if (thread && cfg_pages)
		pages_received(conn, thread, key.tid);
	if (response_was_sent(sk, conn)) {
		route_settle(proc, conn, true);
		rest = !turn_begins(conn, bytes);
		if (!rest) {
			settle(conn, WINDOW_GIVEN_UP, false);
			turn_begin(proc, conn, bytes);
			turn_mark(sk, conn);
		}
	} else {
		/* Answered, and nothing more can be sent: what comes in is read to be dropped. */
		rest = conn->window == WINDOW_ANSWERED;
		if (!conn->head_done)
			head_append(conn, bytes);
	}
	if (conn->speech == SPEECH_TLS)
		tls_received(proc, conn, bytes);
	route_settle(proc, conn, false);
	if (!thread)
		return;
	if (conn->counted && !rest)
		window_open(conn, thread, &key);
	if (cfg_pages && conn->window == WINDOW_OPEN && same_thread(&conn->receiver, &key))
		receive_adopt(&conn->owner, &thread->pages, conn, (__u64)sk->sk_socket);
	thread->open_then = thread->open;
	thread->tail_sk = 0;
}

static __always_inline void on_receive(struct sock *sk, int ret, int flags)
{
	struct connection *conn = connection_of(sk);
	struct user_bytes bytes = {};
	struct task_struct *task;
	struct ps_proc_key key;
	struct ps_proc *proc;

	if (!conn) {
		conn = connection_first_seen(sk, ret, flags);
		if (!conn)
			return;
	}
	if ((flags & (MSG_PEEK | MSG_ERRQUEUE)) || is_nothing(ret))
		return;
	task = bpf_get_current_task_btf();
	proc = server_of(task);
	if (!proc)
		return;
	key = key_of(task);
	if (!same_proc(&conn->owner, &key)) {
		conn->owner = key;
		count(proc, PS_CONNECTIONS_OPENED, 1);
	}
	if (ret <= 0) {
		stream_ended(task, sk, conn);
		return;
	}
	if (!(flags & MSG_TRUNC))
		bytes = call_bytes(task, sk, ret);
	received(proc, task, sk, conn, &bytes);
}

/* An interim answer (100 Continue) is no response: the turn goes on. */
static __always_inline bool sent_interim(
	struct task_struct *task, struct sock *sk, struct connection *conn, int ret)
{
	struct user_bytes bytes;

	if (conn->speech != SPEECH_HTTP1 || !conn->has_body || conn->window != WINDOW_OPEN)
		return false;
	bytes = call_bytes(task, sk, ret);
	/* The response itself may be behind it. */
	if (!is_interim(&bytes) || http_is_pipelined(bytes.first.start, bytes.first.length))
		return false;
	turn_mark(sk, conn);
	conn->interim = 1;
	__sync_fetch_and_add(&conn->ahead, -ret);
	return true;
}

/*
 * A call that waited for bytes when fexit was attached returns unseen. Its bytes are in the
 * socket's count, and the answer tells that they were a request.
 */
static __always_inline bool receive_was_missed(struct sock *sk, const struct connection *conn)
{
	if (!conn->was_open || conn->turn)
		return false;
	if (!is_tcp(sk))
		return conn->peer_sent;
	return BPF_CORE_READ((struct tcp_sock *)sk, copied_seq) != conn->received_sequence;
}

static __always_inline void turn_missed(struct ps_proc *proc, struct connection *conn)
{
	conn->turn = 1;
	conn->counted = 1;
	conn->speech = SPEECH_OPAQUE;
	count(proc, PS_REQUESTS, 1);
	route_settle(proc, conn, true);
}

/* Sent in a turn before the one under way: the next request has overtaken this probe. */
static __always_inline bool send_is_late(struct sock *sk, struct connection *conn, int ret)
{
	if (is_tcp(sk))
		return conn->turn &&
		       BPF_CORE_READ((struct tcp_sock *)sk, write_seq) == conn->sent_sequence;
	__sync_fetch_and_add(&conn->ahead, -ret);
	if (conn->late <= 0)
		return false;
	conn->late -= ret;
	return true;
}

/* The turn is answered, whoever does it; what that says of the request is its owner's. */
static __always_inline void turn_answered(struct sock *sk, struct connection *conn, bool own)
{
	struct ps_proc *owner = bpf_map_lookup_elem(&procs, &conn->owner);

	conn->sent = 1;
	if (owner && receive_was_missed(sk, conn))
		turn_missed(owner, conn);
	else if (owner)
		route_settle(owner, conn, true);
	if (settle(conn, WINDOW_ANSWERED, own) != WINDOW_ANSWERED && owner && !own &&
		conn->receiver.tid)
		count(owner, PS_REQUESTS_HANDED_OFF, 1);
}

/* Before the send says anything of its own turn: more of a response, or its end. */
static __always_inline void pages_send(const struct ps_proc_key *proc, struct connection *conn,
	struct thread *thread, __u32 tid, bool continues)
{
	if (continues)
		tail_continue(proc, &thread->pages, tid);
	else
		tail_end(proc, &thread->pages, tid);
	worker_sends(proc, &thread->pages, conn, tid);
}

static __always_inline void on_send(struct sock *sk, int ret)
{
	struct connection *conn = connection_of(sk);
	struct task_struct *task;
	struct thread_key key;
	struct thread *thread;
	struct ps_proc *proc;
	bool own, late, continues;

	if (!conn || !ret || is_nothing(ret))
		return;
	task = bpf_get_current_task_btf();
	if (ret < 0) {
		stream_ended(task, sk, conn);
		return;
	}
	if (sent_interim(task, sk, conn, ret))
		return;
	key = thread_key_of(task);
	thread = bpf_map_lookup_elem(&threads, &key);
	proc = thread ? proc_of(task) : NULL;
	own = same_thread(&conn->receiver, &key);
	late = send_is_late(sk, conn, ret);
	continues = thread && !late && is_tail(thread, sk, conn);
	if (proc)
		segment_end(proc, task, thread, continues);
	if (proc && cfg_pages && !late) {
		struct ps_proc_key self = key_of(task);

		pages_send(&self, conn, thread, key.tid, continues);
	}
	/* Before a counted process has received on it there is nothing to answer. */
	if (!late && conn->owner.tgid)
		turn_answered(sk, conn, own);
	if (!thread)
		return;
	if (own && !late) {
		thread->tail_sk = (__u64)sk;
		thread->tail_turn = conn->turn;
		if (cfg_pages)
			thread->pages.tail_ns = bpf_ktime_get_ns();
	}
	thread->open_then = thread->open;
}

#endif
