// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Iterators: what was there before the probes, and at an interval's end what is open now.
 *
 * Run after the probes are attached, so nothing falls between: first `ps_seed_tasks` admits the
 * listed pids, then `ps_seed_files` runs twice over all descriptors, once for listening sockets and
 * once for connections, and `ps_seed_backlog` over the connections that nobody has accepted yet. An
 * open TCP connection was opened passively if something listens on its local port in its network
 * namespace; a Unix one is told as always. Such a connection is open from then on, but counts as
 * opened to nobody, and its next received bytes begin a turn.
 */
#include "window.bpf.h"

/* After so long without more of it a response is taken for complete. */
#define TAIL_IDLE_NS 200000000ull

enum seed_pass {
	SEED_LISTENERS,
	SEED_CONNECTIONS,
};

__u32 seed_pass = 0;
__u32 open_scan = 0;

struct listener_key {
	__u32 netns;
	__u32 port;
};

/* Bound: listening ports of the host; used at start only. Full: counted as lost. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct listener_key);
	__type(value, __u8);
} listeners SEC(".maps");

/* Bound: as many as the command line names. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u8);
} targets SEC(".maps");

static __always_inline struct listener_key listener_of(const struct sock *sk)
{
	struct listener_key key = {
		.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum),
		.port = BPF_CORE_READ(sk, __sk_common.skc_num),
	};

	return key;
}

static __always_inline void seed_listener(struct task_struct *task, struct sock *sk)
{
	__u8 one = 1;

	if (cfg_all_servers)
		admit(task);
	if (is_tcp(sk)) {
		struct listener_key key = listener_of(sk);

		if (bpf_map_update_elem(&listeners, &key, &one, BPF_ANY))
			lose(PS_LOST_MAP_FULL);
	}
}

static __always_inline bool was_accepted(struct sock *sk)
{
	struct listener_key key;

	if (is_unix_stream(sk))
		return unix_is_accepted(sk);
	if (!is_tcp(sk))
		return false;
	key = listener_of(sk);
	return bpf_map_lookup_elem(&listeners, &key);
}

static __always_inline void seed_connection(struct task_struct *task, struct sock *sk)
{
	struct connection *conn;

	if (!was_accepted(sk))
		return;
	conn = connection_of(sk);
	if (!conn)
		conn = connection_new(sk);
	if (!conn || conn->owner.tgid)
		return;
	conn->window = WINDOW_GIVEN_UP;
	conn->was_open = 1;
	if (is_tcp(sk))
		conn->received_sequence = BPF_CORE_READ((struct tcp_sock *)sk, copied_seq);
	if (server_of(task))
		conn->owner = key_of(task);
}

SEC("iter/task_file")
int ps_seed_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	struct sock *sk;
	__u8 state;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || sk->sk_type != SOCK_STREAM)
		return 0;
	if (cfg_ports && (family_of(sk) == AF_UNIX || !port_is_watched(sk->__sk_common.skc_num)))
		return 0;
	state = sk->__sk_common.skc_state;
	if (seed_pass == SEED_LISTENERS && state == TCP_LISTEN)
		seed_listener(task, sk);
	else if (seed_pass == SEED_CONNECTIONS &&
		 (state == TCP_ESTABLISHED || state == TCP_CLOSE_WAIT))
		seed_connection(task, sk);
	return 0;
}

/* A connection that waits to be accepted has no descriptor yet. Sees our own network namespace. */
SEC("iter/tcp")
int ps_seed_backlog(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct listener_key key;
	struct tcp_sock *tcp;
	struct sock *sk;

	if (!common || common->skc_state != TCP_ESTABLISHED || !port_is_watched(common->skc_num))
		return 0;
	tcp = bpf_skc_to_tcp_sock(common);
	if (!tcp)
		return 0;
	sk = (struct sock *)tcp;
	key = listener_of(sk);
	if (bpf_map_lookup_elem(&listeners, &key) && !connection_of(sk))
		connection_new(sk);
	return 0;
}

SEC("iter/task")
int ps_seed_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	__u32 tgid;

	if (!task)
		return 0;
	tgid = task->tgid;
	if (task->pid == tgid && bpf_map_lookup_elem(&targets, &tgid))
		admit(task);
	return 0;
}

/* An interval ends: what the windows that are open have cost so far belongs to it. */
SEC("iter/task")
int ps_end_segments(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct ps_proc_key owner;
	struct thread_key key;
	struct thread *thread;
	struct ps_proc *proc;

	if (!task)
		return 0;
	key = thread_key_of(task);
	thread = bpf_map_lookup_elem(&threads, &key);
	if (!thread)
		return 0;
	proc = proc_of(task);
	if (proc)
		segment_end(proc, task, thread, false);
	thread->open_then = thread->open;
	owner = key_of(task);
	if (cfg_pages && bpf_ktime_get_ns() - thread->pages.tail_ns > TAIL_IDLE_NS)
		tail_end(&owner, &thread->pages, key.tid);
	return 0;
}

/* Count the connections that each process has open; one run is one scan. */
SEC("iter/bpf_sk_storage_map")
int ps_count_open(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct connection *conn = ctx->value;
	struct sock *sk = ctx->sk;
	struct ps_proc_key owner;
	struct ps_proc *proc;

	if (!conn || !sk || !sk->sk_socket || !conn->owner.tgid)
		return 0;
	owner = conn->owner; /* an iterator's buffer is no key to 6.1's verifier */
	proc = bpf_map_lookup_elem(&procs, &owner);
	if (!proc)
		return 0;
	if (proc->open_scan != open_scan) {
		proc->open_scan = open_scan;
		proc->open = 0;
	}
	proc->open++;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
