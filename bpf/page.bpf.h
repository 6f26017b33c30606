/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Pages: what every probe that knows something of them shares, at the detail level `pages`.
 *
 * A page is told with the place where its thread stood (abi.h). What can only be known later, at
 * the next send or receive, is told then: a later record adopts the pages of a place for a request.
 * Records of one thread are in the ring in the order in which things happened. Nobody is woken by
 * them.
 */
#ifndef PAGESTAY_PAGE_BPF_H
#define PAGESTAY_PAGE_BPF_H

#include "socket.bpf.h"

const volatile __u32 cfg_page_shift __weak = 12;
const volatile __u64 cfg_page_seed __weak = 0;

/* Bound: --ring-bytes. Full: the record is dropped and counted. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 * 1024 * 1024);
} page_records SEC(".maps") __weak;

/* A process's sampling level; absent: 0. Bound: --max-processes. Written by userspace only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ps_proc_key);
	__type(value, __u32);
} page_levels SEC(".maps") __weak;

/* What a thread's page records owe. */
enum owed {
	OWED_WINDOW = 1 << 0, /* `window` touched pages: its end must be told */
	OWED_OTHERS = 1 << 1, /* so did other open requests, not known which */
	OWED_TAIL = 1 << 2,   /* the request of the tail touched pages */
	HAS_TAIL = 1 << 3,    /* pages were touched in the tail */
	HAS_WORK = 1 << 4,    /* pages were touched by a worker in this segment */
};

/* What is known of a thread for its page records. */
struct thread_pages {
	__u64 window;      /* the last request received, by that time; 0: it is no longer open */
	__u64 tail;        /* after a response's first send: its request */
	__u64 tail_ns;     /* when it was last sent to */
	__u64 tail_route;  /* its route's hash */
	__u64 segment;     /* a thread that never received: when it last sent */
	__u64 socket;      /* into whose receive the kernel last touched fresh pages */
	__u64 fault;       /* page number of the fault under way; may be over */
	__u64 fault_count; /* the thread's faults when it began: counted when it is over */
	__s64 fault_call;  /* the system call then */
	__u32 fault_flags; /* PS_PAGE_* */
	__u32 order;       /* of the folio that was allocated for it */
	__u32 owed;        /* enum owed */
	__u32 receives;    /* the thread has received on a connection */
};

static __always_inline bool page_is_left_out(const struct ps_proc_key *proc, __u64 page)
{
	const __u32 *level = bpf_map_lookup_elem(&page_levels, proc);

	return level && !ps_page_sampled(page, cfg_page_seed, *level);
}

static __always_inline void page_record(const struct ps_proc_key *proc, const struct ps_page *page)
{
	struct ps_page_record *entry = bpf_ringbuf_reserve(&page_records, sizeof(*entry), 0);

	if (!entry) {
		lose(PS_LOST_PAGES);
		return;
	}
	entry->proc = *proc;
	entry->page = *page;
	bpf_ringbuf_submit(entry, BPF_RB_NO_WAKEUP);
}

static __always_inline void page_ended(
	const struct ps_proc_key *proc, __u32 tid, __u64 window, __u64 route, __u64 at_ns)
{
	struct ps_page page = {
		.kind = PS_PAGE_ENDED,
		.tid = tid,
		.set = window,
		.to = route,
		.at_ns = at_ns,
	};

	page_record(proc, &page);
}

static __always_inline void page_adopted(const struct ps_proc_key *proc, enum ps_place place,
	__u32 tid, __u64 set, __u32 to_tid, __u64 to)
{
	struct ps_page page = {
		.kind = PS_PAGE_ADOPTED,
		.place = place,
		.tid = tid,
		.set = set,
		.to_tid = to_tid,
		.to = to,
		.at_ns = bpf_ktime_get_ns(),
	};

	page_record(proc, &page);
}

/* The response is complete: the thread turned to something else, or nothing more came for a while.
 */
static __always_inline void tail_end(
	const struct ps_proc_key *proc, struct thread_pages *pages, __u32 tid)
{
	__u32 before = __sync_fetch_and_and(&pages->owed, ~(OWED_TAIL | HAS_TAIL));

	if (before & OWED_TAIL)
		page_ended(proc, tid, pages->tail, pages->tail_route, pages->tail_ns);
}

/* More of the same response was sent: what was touched in between is the request's. */
static __always_inline void tail_continue(
	const struct ps_proc_key *proc, struct thread_pages *pages, __u32 tid)
{
	if (!(pages->owed & HAS_TAIL))
		return;
	page_adopted(proc, PS_IN_TAIL, tid, pages->tail, tid, pages->tail);
	pages->owed &= ~HAS_TAIL;
	pages->owed |= OWED_TAIL;
}

/* The thread has received a request and works for it from now on. */
static __always_inline void window_begins(struct thread_pages *pages, __u64 received_ns)
{
	if (pages->window && (pages->owed & OWED_WINDOW))
		pages->owed |= OWED_OTHERS;
	pages->owed &= ~OWED_WINDOW;
	pages->window = received_ns;
}

/*
 * The window that `conn` opened is over. `own` says that the thread itself has begun to answer, so
 * that its tail follows; otherwise the request's end is told now. `left` is how many requests the
 * thread still has open.
 */
static __always_inline void window_ends(
	struct connection *conn, struct thread_pages *pages, __s32 left, bool own)
{
	bool current = pages->window == conn->received_ns;
	bool touched = conn->adopted || (pages->owed & (current ? OWED_WINDOW : OWED_OTHERS));

	if (current) {
		pages->window = 0;
		pages->owed &= ~OWED_WINDOW;
	}
	if (left <= 0)
		pages->owed &= ~OWED_OTHERS;
	if (own) {
		pages->tail = conn->received_ns;
		pages->tail_route = conn->route;
		pages->tail_ns = bpf_ktime_get_ns();
		if (touched)
			pages->owed |= OWED_TAIL;
	} else if (touched) {
		page_ended(&conn->owner, conn->receiver.tid, conn->received_ns, conn->route,
			bpf_ktime_get_ns());
	}
}

/* What the kernel touched to receive into belongs to the request that was received. */
static __always_inline void receive_adopt(const struct ps_proc_key *proc,
	struct thread_pages *pages, const struct connection *conn, __u64 socket)
{
	if (pages->socket != socket)
		return;
	pages->socket = 0;
	page_adopted(proc, PS_IN_RECEIVE, conn->receiver.tid, socket, conn->receiver.tid,
		conn->received_ns);
	pages->owed |= pages->window == conn->received_ns ? OWED_WINDOW : OWED_OTHERS;
}

/*
 * A thread that never received answers a request that another one received: what it touched since
 * its last send is that request's, if all of it was touched after the receive (the reader of the
 * records knows). A thread that receives too may have worked for anybody.
 */
static __always_inline void worker_sends(const struct ps_proc_key *proc, struct thread_pages *pages,
	struct connection *conn, __u32 tid)
{
	if (pages->receives)
		return;
	if ((pages->owed & HAS_WORK) && conn->window == WINDOW_OPEN && conn->receiver.tid &&
		same_proc(&conn->owner, proc)) {
		page_adopted(proc, PS_IN_WORKER, tid, pages->segment, conn->receiver.tid,
			conn->received_ns);
		conn->adopted = 1;
	}
	pages->owed &= ~HAS_WORK;
	pages->segment = bpf_ktime_get_ns();
}

#endif
