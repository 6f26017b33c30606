// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The tracepoints that see every receive and send, whatever call or ring made it. Kernels have them
 * since 6.3 (6e6eda44b939 "sock: add tracepoint for send recv length"). A receive by splice passes
 * neither.
 */
#include "request.bpf.h"

SEC("?tp_btf/sock_recv_length")
int BPF_PROG(ps_recv, struct sock *sk, int ret, int flags)
{
	on_receive(sk, ret, flags);
	return 0;
}

SEC("?tp_btf/sock_send_length")
int BPF_PROG(ps_send, struct sock *sk, int ret, int flags)
{
	on_send(sk, ret);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
