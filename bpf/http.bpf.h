/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The first bytes of a turn and of its answer: where to read them, and what http.bpf.c says of
 * them.
 *
 * They are read from the call's own buffer just after the kernel filled or emptied it, so they are
 * resident. Where there is no buffer to read (io_uring, splice) the connection is opaque and its
 * turns count as they come.
 */
#ifndef PAGESTAY_HTTP_BPF_H
#define PAGESTAY_HTTP_BPF_H

#include "socket.bpf.h"
#include "syscall.bpf.h"

/* One or two pieces of a call's buffer; length 0 if there is none. */
struct user_piece {
	__u64 start;
	__u64 length;
};

struct user_bytes {
	struct user_piece first, second;
};

/*
 * io_uring completes receives at the exit of any system call of the thread, whose registers then
 * tell of another call; only where the call's own descriptor is the socket do they tell of this
 * one.
 */
static __always_inline bool call_is_about(
	struct task_struct *task, const struct pt_regs *regs, struct sock *sk)
{
	return !task->io_uring || socket_of_fd(task, SYSCALL_ARG1(regs)) == sk->sk_socket;
}

static __always_inline struct user_piece piece_of(const struct iovec *vector, __u64 length)
{
	struct user_piece piece = {.start = (__u64)vector->iov_base, .length = length};

	if (vector->iov_len < length)
		piece.length = vector->iov_len;
	return piece;
}

static __always_inline struct user_bytes vector_bytes(
	const void *vectors, __u64 count, __u64 length)
{
	struct user_bytes bytes = {};
	struct iovec pair[2] = {};

	bpf_probe_read_user(pair, count > 1 ? sizeof(pair) : sizeof(pair[0]), vectors);
	bytes.first = piece_of(&pair[0], length);
	if (count > 1)
		bytes.second = piece_of(&pair[1], length - bytes.first.length);
	return bytes;
}

/* What a call that receives or sends has in its buffers: the first of `length` bytes. */
static __always_inline struct user_bytes call_bytes(
	struct task_struct *task, struct sock *sk, __u64 length)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	struct user_msghdr message = {};

	if (is_compat(task) || !call_is_about(task, regs, sk))
		return (struct user_bytes){};
	switch (syscall_number(regs)) {
	case __NR_read:
	case __NR_recvfrom:
	case __NR_write:
	case __NR_sendto:
		return (struct user_bytes){.first = {SYSCALL_ARG2(regs), length}};
	case __NR_readv:
	case __NR_preadv2:
	case __NR_writev:
	case __NR_pwritev2:
		return vector_bytes((const void *)SYSCALL_ARG2(regs), SYSCALL_ARG3(regs), length);
	case __NR_recvmsg:
	case __NR_sendmsg:
		bpf_probe_read_user(&message, sizeof(message), (const void *)SYSCALL_ARG2(regs));
		return vector_bytes(message.msg_iov, message.msg_iovlen, length);
	}
	return (struct user_bytes){};
}

/* Does a send begin an HTTP/1.x answer that announces another (1xx)? */
static __always_inline bool is_interim(const struct user_bytes *sent)
{
	static const char interim[] = "HTTP/1.x 1";
	char begins[sizeof(interim) - 1] = {};

	if (sent->first.length < sizeof(begins))
		return false;
	bpf_probe_read_user(begins, sizeof(begins), (const void *)sent->first.start);
	for (__u32 i = 0; i < sizeof(begins); i++)
		if (begins[i] != interim[i] && interim[i] != 'x')
			return false;
	return true;
}

#define TLS_FIRST_RECORD 0x14
#define TLS_LAST_RECORD  0x17

/* The first bytes of a turn replace those of the one before, or are added to them. */
int http_head_begin(struct connection *conn, __u64 start, __u64 length);
int http_head_append(struct connection *conn, __u64 start, __u64 length);

/* Does the turn begin as one of the methods in use does, as far as it has arrived? */
int http_begins_as_method(struct connection *conn);

int http_speech(struct connection *conn);
int http_tls_request(struct connection *conn, __u64 start, __u64 length); /* tls.bpf.c */
int http_is_pipelined(__u64 start, __u64 length);
int http_route_length(struct connection *conn);
int http_route_count(struct connection *conn, __u32 length);

/* Count the route once it is known; `last` says that no more bytes of the head will come. */
static __always_inline void route_settle(struct ps_proc *proc, struct connection *conn, bool last)
{
	__u32 length = 0;

	if (!cfg_routes || conn->head_done || !conn->counted)
		return;
	if (conn->speech == SPEECH_HTTP1) {
		length = http_route_length(conn);
		if (!length && !last)
			return;
	}
	conn->head_done = 1;
	http_route_count(conn, length);
	count(proc, PS_REQUESTS_ROUTED, 1);
}

#endif
