// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The TCP connections of the host: marked when a passive handshake ends, and their last turn's
 * window ended when they close. Runs in softirq as often as not: never asks who is current.
 */
#include "http.bpf.h"
#include "window.bpf.h"

static __always_inline void connection_ended(struct sock *sk)
{
	struct connection *conn = connection_of(sk);
	struct ps_proc *proc;

	if (!conn)
		return;
	proc = bpf_map_lookup_elem(&procs, &conn->owner);
	if (proc)
		route_settle(proc, conn, true);
	settle(conn);
}

SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(ps_set_state, const struct sock *const_sk, const int before, const int now)
{
	struct sock *sk = (struct sock *)const_sk;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (before == TCP_SYN_RECV && now == TCP_ESTABLISHED) {
		if (port_is_watched(sk->__sk_common.skc_num))
			connection_new(sk);
		return 0;
	}
	if (now == TCP_CLOSE || sk->sk_shutdown == SHUTDOWN_MASK)
		connection_ended(sk);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
