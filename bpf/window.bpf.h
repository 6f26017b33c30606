/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Windows: which of a thread's page faults belong to a request.
 *
 * A thread's faults are read from its own counters at each receive and send; the difference to the
 * last reading is one segment. A segment is exclusive when the thread had exactly one request open
 * through all of it, overlapping when it had more, and background otherwise: before any request,
 * after the last send, or when another thread answered meanwhile. An interval's end ends all.
 * Background is not counted here; userspace takes it from the process's total, which also has the
 * threads that never receive.
 */
#ifndef PAGESTAY_WINDOW_BPF_H
#define PAGESTAY_WINDOW_BPF_H

#include "http.bpf.h"
#include "page.bpf.h"

struct thread {
	__u64 faults;    /* the thread's fault count at the last reading */
	__s32 open;      /* requests that it received and nobody answered yet */
	__s32 open_then; /* the same at the last reading */
	__u64 tail_sk;   /* after a send: which turn more sends would continue */
	__u32 tail_turn;
	__u32 pad0;
	struct thread_pages pages;
};

/* Bound: threads that receive on connections. Full: faults stay background, the loss is counted. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct thread_key);
	__type(value, struct thread);
} threads SEC(".maps") __weak;

static __always_inline struct thread_key thread_key_of(struct task_struct *task)
{
	struct thread_key key = {
		.start_ns = task->start_boottime,
		.tid = task->pid,
	};

	return key;
}

static __always_inline bool same_thread(const struct thread_key *a, const struct thread_key *b)
{
	return a->start_ns == b->start_ns && a->tid == b->tid;
}

static __always_inline __u64 faults_of(struct task_struct *task)
{
	return task->min_flt + task->maj_flt;
}

static __always_inline struct thread *thread_enter(
	struct task_struct *task, const struct thread_key *key)
{
	struct thread *thread = bpf_map_lookup_elem(&threads, key);
	struct thread fresh = {};

	if (thread)
		return thread;
	fresh.faults = faults_of(task);
	fresh.pages.segment = task->start_boottime;
	bpf_map_update_elem(&threads, key, &fresh, BPF_NOEXIST);
	thread = bpf_map_lookup_elem(&threads, key);
	if (!thread)
		lose(PS_LOST_MAP_FULL);
	return thread;
}

static __always_inline bool is_tail(
	const struct thread *thread, struct sock *sk, const struct connection *conn)
{
	return thread->tail_sk == (__u64)sk && thread->tail_turn == conn->turn;
}

static __always_inline void segment_count(
	struct ps_proc *proc, const struct thread *thread, __u64 faults, bool continues)
{
	__s32 open = thread->open;

	if (open <= 0 ? continues : open == 1 && thread->open_then == 1 && !continues)
		count(proc, PS_FAULTS_IN_REQUESTS, faults);
	else if (open > 0)
		count(proc, PS_FAULTS_OVERLAPPING, faults);
}

/*
 * End the segment under way; `continues` says that it lies between two sends of one response. The
 * thread itself does this, and the end of an interval does it for every thread from another CPU
 * (ps_end_segments): who moves the reading counts the difference. The thread cannot fault here, so
 * a second try sees a reading that stands.
 */
static __always_inline void segment_end(
	struct ps_proc *proc, struct task_struct *task, struct thread *thread, bool continues)
{
	__u64 now = faults_of(task);

	for (int try = 0; try < 2; try++) {
		__u64 before = thread->faults;

		if (now <= before)
			return;
		if (__sync_val_compare_and_swap(&thread->faults, before, now) != before)
			continue;
		segment_count(proc, thread, now - before, continues);
		return;
	}
}

/*
 * The turn's window is over for the thread that received it, whoever found out; `own` says that it
 * was the thread itself, which may send more. Returns what was.
 */
static __always_inline enum window_state settle(
	struct connection *conn, enum window_state state, bool own)
{
	enum window_state before = __sync_lock_test_and_set(&conn->window, state);
	struct thread *thread;
	__s32 open;

	if (before != WINDOW_OPEN || !conn->receiver.tid)
		return before;
	thread = bpf_map_lookup_elem(&threads, &conn->receiver);
	if (!thread) {
		/* Whether the thread touched pages for it went with the thread. */
		if (cfg_pages)
			page_ended(&conn->owner, conn->receiver.tid, conn->received_ns, conn->route,
				bpf_ktime_get_ns());
		return before;
	}
	open = __sync_fetch_and_add(&thread->open, -1);
	if (cfg_pages)
		window_ends(conn, &thread->pages, open - 1, own);
	return before;
}

/* Nothing more can come of the connection's last turn, but a late answer of the thread itself. */
static __always_inline void connection_ended(struct connection *conn, bool own)
{
	struct ps_proc *owner = bpf_map_lookup_elem(&procs, &conn->owner);

	if (owner)
		route_settle(owner, conn, true);
	if (conn->window == WINDOW_OPEN)
		settle(conn, WINDOW_GIVEN_UP, own);
}

#endif
