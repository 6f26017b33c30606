/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A small kernel around the BPF programs: processes with threads ("workers"), passively opened
 * connections ("wires"), and the calls that servers make on them. Each call changes what the kernel
 * changes and then runs the probe, through either set of hooks; a send's probe can be held back, as
 * another CPU can be late. Every deed is written into a log, for models to read.
 */
#ifndef PAGESTAY_TESTS_BPF_WORLD_H
#define PAGESTAY_TESTS_BPF_WORLD_H

#include "bpf_shim.h"
#include "../../bpf/http.bpf.c"
#include "../../bpf/tls.bpf.c"
#include "../../bpf/request_tp.bpf.c"
#include "../../bpf/request_fexit.bpf.c"
#include "../../bpf/connection.bpf.c"
#include "../../bpf/process.bpf.c"
#include "../../bpf/seed.bpf.c"
#include "../../bpf/page.bpf.c"
#include "../../bpf/syscall.bpf.c"
#include "bpf_shim_end.h"

#define PROCESSES        3
#define WORKERS          7
#define CLIENT           6 /* the worker of the last process, which serves nobody */
#define WIRES            64
#define DEEDS            4000
#define DEED_BYTES       100
#define PORT             80
#define BROKEN_PIPE      -32
#define CONNECTION_RESET -104
#define FAULT_USER       0x4 /* x86's error code */
#define DESCRIPTOR       3   /* of the connection that a call is about */

static const int process_of[WORKERS] = {0, 0, 0, 1, 1, 1, 2};

struct worker {
	struct task_struct task;
	struct mm_struct mm;
	struct signal_struct signal;
	struct files_struct files;
	struct fdtable table;
	struct file *slots[DESCRIPTOR + 1];
	int late_wire; /* a send whose probe has not run yet; -1: none */
	int late_length;
};

struct wire {
	bool is_unix, is_open;
	struct tcp_sock tcp;
	struct unix_sock server, client;
	struct unix_address address;
	struct socket socket, client_socket;
	struct file file;
};

enum what {
	DID_RECEIVE,
	DID_SEND,
	DID_END,   /* received the end of the stream, or an error */
	DID_FAIL,  /* a send: the peer is gone */
	DID_CLOSE, /* of the last descriptor, or by the peer's reset */
	DID_TICK,  /* an interval ended */
};

struct deed {
	enum what what;
	int wire, worker;
	unsigned long faults[WORKERS]; /* of each worker, so far */
	char bytes[DEED_BYTES];        /* the first of them */
	size_t length;
};

static struct worker workers[WORKERS];
static struct wire wires[WIRES];
static struct deed deeds[DEEDS];
static size_t deed_count;
static int wire_count;
static bool uses_fexit;
static struct inode socket_inode = {S_IFSOCK};

/*
 * Beginning.
 */

static void world_reset(void)
{
	shim_reset();
	memset(workers, 0, sizeof(workers));
	memset(wires, 0, sizeof(wires));
	memset(ps_lost, 0, sizeof(ps_lost));
	deed_count = 0;
	wire_count = 0;
	uses_fexit = false;
	cfg_self = 0;
	cfg_all_servers = true;
	cfg_ports = 0;
	cfg_routes = true;
	cfg_pages = false;
	cfg_page_seed = 0;
	cfg_rss_each = true;
	memset(paged, 0, sizeof(paged));
	shim_now_ns = 0;
	for (int i = 0; i < WORKERS; i++) {
		struct worker *worker = &workers[i];
		int leader = process_of[i] * 3;

		worker->late_wire = -1;
		worker->mm.brk = 4096;
		worker->signal.live.counter = 1;
		worker->table = (struct fdtable){DESCRIPTOR + 1, worker->slots};
		worker->files.fdt = &worker->table;
		worker->task = (struct task_struct){
			.pid = 100 + i,
			.tgid = 100 + leader,
			.start_boottime = 1000 + i,
			.group_leader = &workers[leader].task,
			.comm = "worker",
			.mm = &worker->mm,
			.signal = &worker->signal,
			.files = &worker->files,
			.min_flt = 50 + i,
			.maj_flt = 5,
		};
	}
}

static struct deed *world_log(enum what what, int worker, int wire)
{
	struct deed *deed = &deeds[deed_count++];

	assert_true(deed_count <= DEEDS);
	*deed = (struct deed){.what = what, .worker = worker, .wire = wire};
	for (int i = 0; i < WORKERS; i++)
		deed->faults[i] = workers[i].task.min_flt + workers[i].task.maj_flt;
	return deed;
}

static struct sock *wire_sock(int wire)
{
	return wires[wire].is_unix ? &wires[wire].server.sk : &wires[wire].tcp.sk;
}

static struct connection *wire_connection(int wire)
{
	return connection_of(wire_sock(wire));
}

/* A connection that a client opened; only TCP's handshake passes a probe. */
static int world_open(bool is_unix)
{
	struct wire *wire = &wires[wire_count];

	assert_true(wire_count < WIRES);
	wire->is_unix = is_unix;
	wire->is_open = true;
	wire->address.refcnt.refs.counter = 2;
	wire->tcp.sk = (struct sock){.__sk_common = {.skc_num = PORT, .skc_family = AF_INET},
		.sk_type = SOCK_STREAM,
		.sk_protocol = IPPROTO_TCP,
		.sk_socket = &wire->socket};
	wire->tcp.write_seq = 0xfffffff0u + wire_count;
	wire->server = (struct unix_sock){.addr = &wire->address, .peer = &wire->client.sk};
	wire->server.sk = (struct sock){.__sk_common = {.skc_family = AF_UNIX},
		.sk_type = SOCK_STREAM,
		.sk_socket = &wire->socket};
	wire->client = (struct unix_sock){.sk = wire->server.sk, .peer = &wire->server.sk};
	wire->client.sk.sk_socket = &wire->client_socket;
	wire->client_socket.sk = &wire->client.sk;
	wire->socket.sk = wire_sock(wire_count);
	wire->file = (struct file){&wire->socket, &socket_inode};
	if (!is_unix) {
		shim_task = NULL;
		wire->tcp.sk.__sk_common.skc_state = TCP_SYN_RECV;
		(void)ps_set_state(&wire->tcp.sk, TCP_SYN_RECV, TCP_ESTABLISHED);
	}
	wire_sock(wire_count)->__sk_common.skc_state = TCP_ESTABLISHED;
	return wire_count++;
}

/*
 * Probes.
 */

static void probe_receive(int worker, struct sock *sk, int ret, int flags)
{
	struct socket socket = {.sk = sk};

	shim_task = &workers[worker].task;
	if (!uses_fexit)
		(void)ps_recv(sk, ret, flags);
	else if (family_of(sk) == AF_UNIX)
		(void)ps_recv_unix(&socket, NULL, 0, flags, ret);
	else
		(void)ps_recv_inet(&socket, NULL, 0, flags, ret);
}

static void probe_send(int worker, struct sock *sk, int ret)
{
	struct socket socket = {.sk = sk};

	shim_task = &workers[worker].task;
	if (!uses_fexit)
		(void)ps_send(sk, ret, 0);
	else if (family_of(sk) == AF_UNIX)
		(void)ps_send_unix(&socket, NULL, 0, ret);
	else
		(void)ps_send_inet(&socket, NULL, 0, ret);
}

/*
 * Deeds.
 */

static void world_fault(int worker, unsigned long minor, unsigned long major)
{
	workers[worker].task.min_flt += minor;
	workers[worker].task.maj_flt += major;
}

/* A call with a buffer of exactly the bytes, which is gone afterwards. `way` chooses the call. */
static char *world_call(int worker, const char *bytes, size_t length, bool sends, unsigned way)
{
	static const long numbers[2][4] = {{__NR_read, __NR_recvfrom, __NR_readv, __NR_recvmsg},
		{__NR_write, __NR_sendto, __NR_writev, __NR_sendmsg}};
	static struct iovec pair[2];
	static struct user_msghdr message;
	char *copy = malloc(length);

	assert_non_null(copy);
	memcpy(copy, bytes, length);
	pair[0] = (struct iovec){copy, (length + 1) / 2};
	pair[1] = (struct iovec){copy + (length + 1) / 2, length};
	message = (struct user_msghdr){.msg_iov = pair, .msg_iovlen = 2};
	shim_call(&workers[worker].task, numbers[sends][way % 4], DESCRIPTOR,
		(uintptr_t)(way % 4 < 2    ? copy
			    : way % 4 == 2 ? (void *)pair
					   : (void *)&message),
		2);
	return copy;
}

static void world_receive_by(int worker, int wire, const char *bytes, size_t length, unsigned way)
{
	struct deed *deed = world_log(DID_RECEIVE, worker, wire);
	char *copy = world_call(worker, bytes, length, false, way);

	deed->length = length;
	memcpy(deed->bytes, bytes, length < DEED_BYTES ? length : DEED_BYTES);
	if (wires[wire].is_unix && uses_fexit)
		probe_send(CLIENT, &wires[wire].client.sk, length);
	wires[wire].tcp.copied_seq += length;
	probe_receive(worker, wire_sock(wire), length, 0);
	free(copy);
}

static void world_receive(int worker, int wire, const char *text)
{
	world_receive_by(worker, wire, text, strlen(text), 1);
}

/* The client has the answer before the sender's probe runs, if that is late. */
static void world_send_late(int worker, int wire, size_t length)
{
	struct deed *deed = world_log(DID_SEND, worker, wire);

	deed->length = length;
	wires[wire].tcp.write_seq += length;
	shim_call(&workers[worker].task, __NR_sendfile, 3, 3, 0);
	workers[worker].late_wire = wire;
	workers[worker].late_length = length;
	if (wires[wire].is_unix)
		probe_receive(CLIENT, &wires[wire].client.sk, length, 0);
}

static void world_probe_late(int worker)
{
	int wire = workers[worker].late_wire;

	if (wire < 0)
		return;
	workers[worker].late_wire = -1;
	/* What was closed meanwhile stays until the call that sends lets go of it. */
	probe_send(worker, wire_sock(wire), workers[worker].late_length);
}

static void world_send_by(int worker, int wire, const char *bytes, size_t length, unsigned way)
{
	struct deed *deed = world_log(DID_SEND, worker, wire);
	char *copy = world_call(worker, bytes, length, true, way);

	deed->length = length;
	memcpy(deed->bytes, bytes, length < DEED_BYTES ? length : DEED_BYTES);
	wires[wire].tcp.write_seq += length;
	probe_send(worker, wire_sock(wire), length);
	free(copy);
	if (wires[wire].is_unix)
		probe_receive(CLIENT, &wires[wire].client.sk, length, 0);
}

static void world_send(int worker, int wire, const char *text)
{
	world_send_by(worker, wire, text, strlen(text), 1);
}

/* The end of the stream, or an error. */
static void world_end(int worker, int wire, int ret)
{
	(void)world_log(DID_END, worker, wire);
	shim_call(&workers[worker].task, __NR_recvfrom, 3, 8, 0);
	probe_receive(worker, wire_sock(wire), ret, 0);
}

static void world_fail(int worker, int wire)
{
	(void)world_log(DID_FAIL, worker, wire);
	shim_call(&workers[worker].task, __NR_sendto, 3, 8, 0);
	probe_send(worker, wire_sock(wire), BROKEN_PIPE);
}

/* What passes the probes and is nothing. */
static void world_nothing(int worker, int wire)
{
	shim_call(&workers[worker].task, __NR_recvfrom, 3, 8, 0);
	probe_receive(worker, wire_sock(wire), -EAGAIN, 0);
	probe_receive(worker, wire_sock(wire), -EINTR, 0);
	probe_receive(worker, wire_sock(wire), -RESTART_MIN, 0);
	probe_receive(worker, wire_sock(wire), 5, MSG_PEEK);
	probe_receive(worker, wire_sock(wire), 5, MSG_ERRQUEUE);
	probe_send(worker, wire_sock(wire), -EAGAIN);
	probe_send(worker, wire_sock(wire), 0);
}

static void world_state(int wire, int before, int now)
{
	wires[wire].tcp.sk.__sk_common.skc_state = now;
	if (wires[wire].is_unix)
		return;
	shim_task = NULL;
	(void)ps_set_state(&wires[wire].tcp.sk, before, now);
}

/* The peer vanishes: a reset comes in, in whatever context. */
static void world_reset_by_peer(int wire)
{
	(void)world_log(DID_CLOSE, -1, wire);
	world_state(wire, TCP_ESTABLISHED, TCP_CLOSE);
	wires[wire].tcp.sk.sk_shutdown = SHUTDOWN_MASK;
}

/*
 * The last descriptor is closed. The socket and its storage live on until the peer has seen it, so
 * a Unix client reads the end of the stream before world_destroy.
 */
static void world_close(int wire)
{
	(void)world_log(DID_CLOSE, -1, wire);
	wires[wire].is_open = false;
	wire_sock(wire)->sk_shutdown = SHUTDOWN_MASK;
	wire_sock(wire)->sk_socket = NULL;
	world_state(wire, TCP_ESTABLISHED, TCP_FIN_WAIT1);
	if (wires[wire].is_unix)
		probe_receive(CLIENT, &wires[wire].client.sk, 0, 0);
}

static void world_destroy(int wire)
{
	world_state(wire, TCP_FIN_WAIT1, TCP_CLOSE);
	shim_forget_socket(&connections, wire_sock(wire));
}

static void world_tick(void)
{
	(void)world_log(DID_TICK, -1, -1);
	for (int i = 0; i < WORKERS; i++) {
		struct bpf_iter__task context = {.task = &workers[i].task};

		(void)ps_end_segments(&context);
	}
}

/*
 * Pages. Threads touch them where they stand: between calls, or, as the kernel's work, inside one.
 */

static void world_at(uint64_t now_ns)
{
	shim_now_ns = now_ns;
}

/* A fault that makes a folio resident, of 2^order pages around this one. */
static void world_fault_on(int worker, uint64_t page, unsigned order, unsigned long error)
{
	struct task_struct *task = &workers[worker].task;
	unsigned long address = page << cfg_page_shift | 0x123;

	shim_task = task;
	if (error & FAULT_USER)
		(void)ps_fault_user(address, NULL, error);
	else
		(void)ps_fault_kernel(address, NULL, error);
	/* A page table, too, on the way. */
	(void)ps_page_alloc(NULL, 0, 0, 0);
	(void)ps_page_alloc(NULL, order, GFP_MOVABLE, 0);
	if (cfg_rss_each || order) {
		(void)ps_rss_stat(&workers[CLIENT].mm, MM_ANONPAGES);
		(void)ps_rss_stat(task->mm, 0);
		(void)ps_rss_stat(task->mm, MM_ANONPAGES);
	}
	task->min_flt++;
}

static void world_touch(int worker, uint64_t page)
{
	shim_call(&workers[worker].task, -1, 0, 0, 0);
	world_fault_on(worker, page, 0, FAULT_USER | FAULT_WRITE);
}

/* The kernel fills a fresh page inside a call on the wire that has not returned. */
static void world_touch_in_call(int worker, int wire, long number, uint64_t page)
{
	shim_call(&workers[worker].task, number, DESCRIPTOR, page << cfg_page_shift, 4096);
	workers[worker].slots[DESCRIPTOR] = &wires[wire].file;
	world_fault_on(worker, page, 0, FAULT_WRITE);
	workers[worker].slots[DESCRIPTOR] = NULL;
}

/* A system call that has returned. */
static void world_returned(int worker, long number, const unsigned long argument[4], long ret)
{
	struct task_struct *task = &workers[worker].task;

	shim_call(task, number, argument[0], argument[1], argument[2]);
	task->shim_regs.r10 = task->shim_regs.regs[3] = argument[3];
	shim_task = task;
	(void)ps_sys_exit(&task->shim_regs, ret);
}

/* The process ends, thread by thread. */
static void world_exit(int worker)
{
	shim_task = &workers[worker].task;
	(void)ps_exit(&workers[worker].task);
}

/*
 * What was counted.
 */

static const struct ps_record *world_record(size_t index)
{
	return shim_ring_record(&lifecycle, index);
}

static size_t world_pages_count(void)
{
	return shim_ring_count(&page_records);
}

static const struct ps_page_record *world_page_record(size_t index)
{
	return shim_ring_record(&page_records, index);
}

static struct ps_proc_key world_key(int process)
{
	return key_of(&workers[process * 3].task);
}

static uint64_t world_count(int process, enum ps_counter what)
{
	struct ps_proc_key key = world_key(process);
	struct ps_proc *proc = bpf_map_lookup_elem(&procs, &key);

	return proc ? proc->counter[what] : 0;
}

/* Requests that a worker's thread has open, as the programs see it. */
static int world_open_requests(int worker)
{
	struct thread_key key = thread_key_of(&workers[worker].task);
	struct thread *thread = bpf_map_lookup_elem(&threads, &key);

	return thread ? thread->open : 0;
}

static uint64_t world_route_hash(int process, const char *text)
{
	struct ps_proc_key proc = world_key(process);

	for (struct shim_entry *entry = shim_entries(&routes); entry; entry = entry->next) {
		struct ps_route_key *key = entry->key;
		const struct ps_route *route = entry->value;

		if (same_proc(&key->proc, &proc) &&
			strncmp(route->text, text, sizeof(route->text)) == 0)
			return key->hash;
	}
	return 0;
}

static uint64_t world_route(int process, const char *text)
{
	struct ps_proc_key proc = world_key(process);

	for (struct shim_entry *entry = shim_entries(&routes); entry; entry = entry->next) {
		struct ps_route_key *key = entry->key;
		const struct ps_route *route = entry->value;

		if (same_proc(&key->proc, &proc) &&
			strncmp(route->text, text, sizeof(route->text)) == 0)
			return route->requests;
	}
	return 0;
}

#endif
