/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Connections: which sockets were opened passively, and what is known of each.
 *
 * What is known lives in the socket's own storage: it is found without a key, cannot outlive the
 * socket or be mistaken for another one at the same address, and is bounded by the sockets that
 * exist. A socket without storage is nobody's connection and leaves a probe at once.
 *
 * TCP: marked when the handshake ends, in softirq, whoever runs there. Unix: recognised by the
 * address that an accepted socket shares with its listener.
 */
#ifndef PAGESTAY_SOCKET_BPF_H
#define PAGESTAY_SOCKET_BPF_H

#include "common.bpf.h"

#define SOCK_STREAM      1
#define IPPROTO_TCP      6
#define SEND_SHUTDOWN    2
#define SHUTDOWN_MASK    3
#define S_IFMT           0170000
#define S_IFSOCK         0140000
#define TLS_HEADER_BYTES 5
#define HEAD_BYTES       80

/* What a connection speaks, as far as its first bytes tell. */
enum speech {
	SPEECH_UNKNOWN, /* nothing received yet */
	SPEECH_HTTP1,
	SPEECH_HTTP2,
	SPEECH_TLS,
	SPEECH_OPAQUE,
};

/* How the window of a turn stands. */
enum window_state {
	WINDOW_OPEN,
	WINDOW_GIVEN_UP, /* nothing more can come, but it may still be answered */
	WINDOW_ANSWERED,
};

/* A thread and the time it started: a reused tid is another thread. */
struct thread_key {
	__u64 start_ns;
	__u32 tid;
	__u32 pad0;
};

struct connection {
	struct ps_proc_key owner;   /* the process that last received on it; tgid 0: none yet */
	struct thread_key receiver; /* the thread that received the turn under way; tid 0: none */
	__u32 turn;
	__u32 sent_sequence; /* TCP's write_seq when the turn began: any advance is a response */
	__u32 window;        /* enum window_state */
	__s32 ahead;         /* Unix: bytes that the client received before their send's probe */
	__s32 late;          /* of these, those that were sent before this turn */
	__u8 interim;        /* Unix: an interim answer is on its way to the client */
	__u8 sent;           /* Unix: something was sent in this turn */
	__u8 speech;
	__u8 head_done; /* the request line needs no more bytes */
	__u8 has_body;  /* the method may carry a body, which may follow an early response */
	__u8 pipelined;
	__u16 head_bytes;
	__u8 counted;            /* this turn is one of `requests` */
	__u8 was_open;           /* when pagestay started, with nothing seen of it yet */
	__u8 peer_sent;          /* Unix, was_open: the client has sent since */
	__u8 tls_lost;           /* the records were lost track of: every turn counts */
	__u32 received_sequence; /* TCP's copied_seq when it was_open */
	__u32 tls_left;          /* bytes of the client's record under way still to come */
	__u8 tls_changed;        /* the record before was a change of cipher */
	__u8 tls_header_bytes;   /* of the next record's header, so far */
	__u8 adopted;            /* a worker's pages were adopted for the turn under way */
	__u64 received_ns;       /* when the turn's window opened */
	__u64 route;             /* hash of the turn's route */
	char tls_header[2 * TLS_HEADER_BYTES];
	/* First bytes of the turn; as much room behind them, so that the verifier sees appends fit.
	 */
	char head[2 * HEAD_BYTES];
};

/* Bound: the passively opened sockets of the host. Full (no memory): counted as lost. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct connection);
} connections SEC(".maps") __weak;

static __always_inline struct connection *connection_of(struct sock *sk)
{
	return bpf_sk_storage_get(&connections, sk, NULL, 0);
}

static __always_inline struct connection *connection_new(struct sock *sk)
{
	struct connection *conn;

	conn = bpf_sk_storage_get(&connections, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!conn)
		lose(PS_LOST_MAP_FULL);
	return conn;
}

static __always_inline __u16 family_of(const struct sock *sk)
{
	return sk->__sk_common.skc_family;
}

static __always_inline bool is_tcp(const struct sock *sk)
{
	return sk->sk_protocol == IPPROTO_TCP && family_of(sk) != AF_UNIX;
}

static __always_inline bool is_unix_stream(const struct sock *sk)
{
	return family_of(sk) == AF_UNIX && sk->sk_type == SOCK_STREAM;
}

/*
 * Of a connected pair exactly one side was accepted, and it shares the listener's address object.
 * The other side has none, or one of its own that nobody shares.
 */
static __always_inline bool unix_is_accepted(struct sock *sk)
{
	struct unix_sock *self = (struct unix_sock *)sk;
	struct unix_address *address = BPF_CORE_READ(self, addr);
	struct unix_sock *peer;

	if (!address)
		return false;
	peer = (struct unix_sock *)BPF_CORE_READ(self, peer);
	if (!BPF_CORE_READ(peer, addr))
		return true;
	return BPF_CORE_READ(address, refcnt.refs.counter) > 1;
}

static __always_inline struct file *file_of_fd(struct task_struct *task, __u32 fd)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **slots = BPF_CORE_READ(table, fd);
	struct file *file = NULL;

	if (fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), slots + fd);
	return file;
}

static __always_inline bool is_socket(struct file *file)
{
	return (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) == S_IFSOCK;
}

/* What a descriptor of the task stands for, if it is a socket. */
static __always_inline struct socket *socket_of_fd(struct task_struct *task, __u32 fd)
{
	struct file *file = file_of_fd(task, fd);

	return BPF_CORE_READ(file, private_data);
}

/* The local TCP port behind a descriptor of the task; 0 when it has none or none is asked for. */
static __always_inline __u16 local_port_of_fd(struct task_struct *task, __u32 fd)
{
	struct socket *socket;
	struct sock *sk;

	if (!cfg_ports)
		return 0;
	socket = socket_of_fd(task, fd);
	sk = BPF_CORE_READ(socket, sk);
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_UNIX)
		return 0;
	return BPF_CORE_READ(sk, __sk_common.skc_num);
}

#endif
