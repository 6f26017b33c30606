// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The same facts as request_tp.bpf.c on kernels before 6.3: the exits of the protocols' own
 * functions, which every call and ring goes through. Up to 6.4 sendfile and splice send by pages.
 */
#include "request.bpf.h"

static __always_inline void socket_received(struct socket *socket, int flags, long ret)
{
	struct sock *sk = socket->sk;

	if (sk)
		on_receive(sk, ret, flags);
}

/* Unix sockets keep no count of what was received, as receive_was_missed wants to know. */
static __always_inline void unix_peer_sent(struct sock *sk)
{
	struct connection *conn = unix_peer_connection(sk);

	if (conn)
		conn->peer_sent = 1;
}

static __always_inline void socket_sent(struct socket *socket, long ret)
{
	struct sock *sk = socket->sk;

	if (!sk)
		return;
	if (ret > 0 && is_unix_stream(sk))
		unix_peer_sent(sk);
	on_send(sk, ret);
}

#define RECEIVE(name, function)                                                                    \
	SEC("?fexit/" #function)                                                                   \
	int BPF_PROG(name, struct socket *socket, struct msghdr *message, size_t room, int flags,  \
		int ret)                                                                           \
	{                                                                                          \
		socket_received(socket, flags, ret);                                               \
		return 0;                                                                          \
	}

#define SPLICE_RECEIVE(name, function)                                                             \
	SEC("?fexit/" #function)                                                                   \
	int BPF_PROG(name, struct socket *socket, loff_t *position, void *pipe, size_t length,     \
		unsigned int flags, long ret)                                                      \
	{                                                                                          \
		socket_received(socket, 0, ret);                                                   \
		return 0;                                                                          \
	}

#define SEND(name, function)                                                                       \
	SEC("?fexit/" #function)                                                                   \
	int BPF_PROG(name, struct socket *socket, struct msghdr *message, size_t length, int ret)  \
	{                                                                                          \
		socket_sent(socket, ret);                                                          \
		return 0;                                                                          \
	}

#define SEND_PAGE(name, function)                                                                  \
	SEC("?fexit/" #function)                                                                   \
	int BPF_PROG(name, struct socket *socket, void *page, int offset, size_t size, int flags,  \
		long ret)                                                                          \
	{                                                                                          \
		socket_sent(socket, ret);                                                          \
		return 0;                                                                          \
	}

RECEIVE(ps_recv_inet, inet_recvmsg)
RECEIVE(ps_recv_inet6, inet6_recvmsg)
RECEIVE(ps_recv_unix, unix_stream_recvmsg)
SPLICE_RECEIVE(ps_splice_tcp, tcp_splice_read)
SPLICE_RECEIVE(ps_splice_unix, unix_stream_splice_read)
SEND(ps_send_inet, inet_sendmsg)
SEND(ps_send_inet6, inet6_sendmsg)
SEND(ps_send_unix, unix_stream_sendmsg)
SEND_PAGE(ps_page_inet, inet_sendpage)
SEND_PAGE(ps_page_unix, unix_stream_sendpage)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
