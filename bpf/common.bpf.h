/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What every probe shares: configuration, maps, and the few ways to reach a process and to count.
 *
 * Each map says its bound and what happens when it is full. Maps and variables are weak so that the
 * static linker merges the copies that each probe file brings. A process is counted only when it
 * is in `procs`; everybody else leaves a probe after one look-up.
 */
#ifndef PAGESTAY_COMMON_BPF_H
#define PAGESTAY_COMMON_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "pagestay/abi.h"

#define AF_UNIX  1
#define AF_INET  2
#define AF_INET6 10

#define EINTR       4
#define EAGAIN      11
#define MAX_ERRNO   4095
#define RESTART_MIN 512 /* -ERESTARTSYS and its relatives: the call will be made again */
#define RESTART_MAX 530

/* Set before load. */
const volatile __u32 cfg_self __weak = 0;       /* our own tgid: never counted */
const volatile bool cfg_all_servers __weak = 1; /* admit every server, not only listed pids */
const volatile __u32 cfg_ports __weak = 0;      /* how many of cfg_port are set; 0: any port */
const volatile __u16 cfg_port[PS_MAX_PORTS] __weak = {};
const volatile bool cfg_routes __weak = 0;
const volatile bool cfg_pages __weak = 0;

/* Which thread groups have their pages tracked, by the low bits of their id: others leave early. */
#define PAGED_BITS 65536
__u64 paged[PAGED_BITS / 64] __weak = {};

/* Counters of what was lost; read by userspace through the skeleton's .bss. */
__u64 ps_lost[PS_LOSSES] __weak = {};

/* Bound: --max-processes. Full: the process is not counted and the loss is. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ps_proc_key);
	__type(value, struct ps_proc);
} procs SEC(".maps") __weak;

/* Bound: --ring-bytes. Full: the record is dropped and counted; the entries of `procs` remain. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} lifecycle SEC(".maps") __weak;

static __always_inline void lose(enum ps_loss what)
{
	__sync_fetch_and_add(&ps_lost[what], 1);
}

static __always_inline void count(struct ps_proc *proc, enum ps_counter what, __u64 by)
{
	__sync_fetch_and_add(&proc->counter[what], by);
}

static __always_inline struct ps_proc_key key_of(struct task_struct *task)
{
	struct ps_proc_key key = {
		.start_ns = task->group_leader->start_boottime,
		.tgid = task->tgid,
	};

	return key;
}

static __always_inline bool same_proc(const struct ps_proc_key *a, const struct ps_proc_key *b)
{
	return a->start_ns == b->start_ns && a->tgid == b->tgid;
}

static __always_inline void record(const struct ps_proc_key *key, enum ps_record_kind kind)
{
	struct ps_record *entry = bpf_ringbuf_reserve(&lifecycle, sizeof(*entry), 0);

	if (!entry) {
		lose(PS_LOST_EVENTS);
		return;
	}
	entry->proc = *key;
	entry->kind = kind;
	entry->pad0 = 0;
	bpf_ringbuf_submit(entry, BPF_RB_NO_WAKEUP);
}

static __always_inline void paged_set(__u32 tgid)
{
	__u32 bit = tgid % PAGED_BITS;

	__sync_fetch_and_or(&paged[bit / 64], 1ull << bit % 64);
}

static __always_inline bool is_paged(__u32 tgid)
{
	__u32 bit = tgid % PAGED_BITS;

	return paged[bit / 64] >> bit % 64 & 1;
}

/* The process of a task, counted from now on if it was not yet. */
static __always_inline struct ps_proc *admit(struct task_struct *task)
{
	struct ps_proc_key key = key_of(task);
	struct ps_proc *proc = bpf_map_lookup_elem(&procs, &key);
	/* Too large for the stack beside its callers, so a fresh entry starts from this one. */
	static const struct ps_proc empty;

	if (proc || key.tgid == cfg_self)
		return proc;
	if (bpf_map_update_elem(&procs, &key, &empty, BPF_NOEXIST) == 0)
		record(&key, PS_RECORD_ADMITTED);
	proc = bpf_map_lookup_elem(&procs, &key);
	if (!proc) {
		lose(PS_LOST_MAP_FULL);
		return NULL;
	}
	if (cfg_pages)
		paged_set(key.tgid);
	if (!proc->brk) {
		proc->brk = BPF_CORE_READ(task, mm, brk);
		BPF_CORE_READ_INTO(&proc->comm, task, group_leader, comm);
	}
	return proc;
}

/* The process of a task, if it is counted. */
static __always_inline struct ps_proc *proc_of(struct task_struct *task)
{
	struct ps_proc_key key = key_of(task);

	return bpf_map_lookup_elem(&procs, &key);
}

/* The process of a task that does what servers do: admitted, unless only listed pids count. */
static __always_inline struct ps_proc *server_of(struct task_struct *task)
{
	return cfg_all_servers ? admit(task) : proc_of(task);
}

static __always_inline bool port_is_watched(__u16 port)
{
	if (!cfg_ports)
		return true;
	for (int i = 0; i < PS_MAX_PORTS; i++)
		if (i < cfg_ports && cfg_port[i] == port)
			return true;
	return false;
}

#endif
