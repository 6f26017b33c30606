/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The first bytes of a turn: where to read them, and what http.bpf.c answers about them.
 *
 * They are read from the receiving call's own buffer just after the kernel filled it, so they are
 * resident. Where there is no buffer to read (io_uring, splice) the connection is opaque and its
 * turns count as they come.
 */
#ifndef PAGESTAY_HTTP_BPF_H
#define PAGESTAY_HTTP_BPF_H

#include "socket.bpf.h"
#include "syscall.bpf.h"

struct user_bytes {
	__u64 start;
	__u64 length;
};

static __always_inline void first_vector(struct user_bytes *bytes, const void *vector)
{
	struct iovec first = {};

	bpf_probe_read_user(&first, sizeof(first), vector);
	bytes->start = (__u64)first.iov_base;
	if (first.iov_len < bytes->length)
		bytes->length = first.iov_len;
}

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

/* Where the receiving call has put its bytes, at most `received` of them; length 0 if unknown. */
static __always_inline struct user_bytes received_bytes(
	struct task_struct *task, struct sock *sk, __u64 received)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	struct user_bytes bytes = {.length = received};
	struct user_msghdr message = {};

	if (is_compat(task) || !call_is_about(task, regs, sk))
		return (struct user_bytes){};
	switch (syscall_number(regs)) {
	case __NR_read:
	case __NR_recvfrom:
		bytes.start = SYSCALL_ARG2(regs);
		return bytes;
	case __NR_readv:
	case __NR_preadv2:
		first_vector(&bytes, (const void *)SYSCALL_ARG2(regs));
		return bytes;
	case __NR_recvmsg:
		bpf_probe_read_user(&message, sizeof(message), (const void *)SYSCALL_ARG2(regs));
		first_vector(&bytes, message.msg_iov);
		return bytes;
	}
	return (struct user_bytes){};
}

#define TLS_FIRST_RECORD     0x14
#define TLS_APPLICATION_DATA 0x17

/* The first bytes of a turn replace those of the one before, or are added to them. */
int http_head_begin(struct connection *conn, __u64 start, __u64 length);
int http_head_append(struct connection *conn, __u64 start, __u64 length);

/* Does the turn begin as one of the methods in use does, as far as it has arrived? */
int http_begins_as_method(struct connection *conn);

int http_speech(struct connection *conn);
int http_is_pipelined(__u64 start, __u64 length);
int http_route_length(struct connection *conn);
int http_route_count(struct connection *conn, __u32 length);

#endif
