// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The TCP connections of the host: marked when a passive handshake ends, and their last turn's
 * window ended when they close. Runs in softirq as often as not: never asks who is current.
 */
#include "window.bpf.h"

SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(ps_set_state, const struct sock *const_sk, const int before, const int now)
{
	struct sock *sk = (struct sock *)const_sk;
	struct connection *conn;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (before == TCP_SYN_RECV && now == TCP_ESTABLISHED) {
		if (port_is_watched(sk->__sk_common.skc_num))
			connection_new(sk);
		return 0;
	}
	if (now == TCP_CLOSE || sk->sk_shutdown == SHUTDOWN_MASK) {
		conn = connection_of(sk);
		if (conn)
			connection_ended(conn, false);
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
