// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Accepts made through io_uring, which never pass the accept system calls.
 *
 * A one-shot accept's completion names its request and so its operation. Completions of a multishot
 * accept after the first step name only the ring and the caller's tag, so the submission of one
 * notes both. A caller can tell its own completions apart by the tag alone, so the tag is unique.
 */
#include "socket.bpf.h"

#define IORING_OP_ACCEPT        13
#define IORING_ACCEPT_MULTISHOT 1
#define IORING_CQE_F_BUFFER     1
#define IORING_CQE_F_MORE       2

struct multishot_key {
	__u64 ring;
	__u64 tag;
};

/* Bound: 4096 listening rings; the longest unused is dropped, and its accepts are not counted. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct multishot_key);
	__type(value, __u8);
} multishots SEC(".maps");

static __always_inline void accepted(int fd_or_slot)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct ps_proc *proc;

	if (cfg_ports && !port_is_watched(local_port_of_fd(task, fd_or_slot)))
		return;
	proc = server_of(task);
	if (proc)
		count(proc, PS_ACCEPTS, 1);
}

/*
 * Is the descriptor a connection on which nothing was received or sent yet? That is how the accepts
 * of a multishot that was armed before we looked are told; its other completions name no such one.
 */
static __always_inline bool is_fresh_connection(int fd)
{
	struct file *file = file_of_fd(bpf_get_current_task_btf(), fd);
	struct socket *socket;
	struct tcp_sock *tcp;
	struct sock *sk;

	if (!is_socket(file))
		return false;
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP ||
		BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_ESTABLISHED)
		return false;
	tcp = (struct tcp_sock *)sk;
	return !BPF_CORE_READ(tcp, bytes_sent) &&
	       BPF_CORE_READ(tcp, bytes_received) ==
		       BPF_CORE_READ(tcp, rcv_nxt) - BPF_CORE_READ(tcp, copied_seq);
}

static __always_inline void completed(
	__u64 ring, const struct io_kiocb *request, __u64 tag, int result, __u32 flags)
{
	struct multishot_key key = {.ring = ring, .tag = tag};

	if (request && BPF_CORE_READ(request, opcode) != IORING_OP_ACCEPT)
		return;
	if (!request && !bpf_map_lookup_elem(&multishots, &key) &&
		!((flags & (IORING_CQE_F_MORE | IORING_CQE_F_BUFFER)) == IORING_CQE_F_MORE &&
			is_fresh_connection(result)))
		return;
	if (result >= 0)
		accepted(result);
	if (!(flags & IORING_CQE_F_MORE))
		bpf_map_delete_elem(&multishots, &key);
}

static __always_inline void submitted(const struct io_kiocb *request)
{
	struct multishot_key key = {};
	__u8 one = 1;

	if (BPF_CORE_READ(request, opcode) != IORING_OP_ACCEPT)
		return;
	key.ring = (__u64)BPF_CORE_READ(request, ctx);
	key.tag = BPF_CORE_READ(request, cqe.user_data);
	if (bpf_map_update_elem(&multishots, &key, &one, BPF_ANY))
		lose(PS_LOST_MAP_FULL);
}

/* The tracepoint was renamed in 6.4; its first argument did not change. */
SEC("?tp_btf/io_uring_submit_req")
int BPF_PROG(ps_uring_submit, void *request)
{
	submitted(request);
	return 0;
}

SEC("?tp_btf/io_uring_submit_sqe")
int BPF_PROG(ps_uring_sqe, void *request)
{
	submitted(request);
	return 0;
}

/* Up to 6.14 the tracepoint has the completion's fields, later the completion itself. */
SEC("?tp_btf/io_uring_complete")
int BPF_PROG(ps_uring_fields, void *ring, void *request, __u64 tag, int result, __u32 flags)
{
	completed((__u64)ring, request, tag, result, flags);
	return 0;
}

SEC("?tp_btf/io_uring_complete")
int BPF_PROG(ps_uring_cqe, void *ring, void *request, struct io_uring_cqe *completion)
{
	completed((__u64)ring, request, BPF_CORE_READ(completion, user_data),
		BPF_CORE_READ(completion, res), BPF_CORE_READ(completion, flags));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
