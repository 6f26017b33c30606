// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The life of a counted process: a new program image, a thread's end, the process's end.
 *
 * An exited process stays in `procs`, marked, until userspace has read its last counts.
 */
#include "window.bpf.h"

SEC("tp_btf/sched_process_exec")
int BPF_PROG(ps_exec, struct task_struct *task)
{
	struct ps_proc *proc = proc_of(task);

	if (!proc)
		return 0;
	proc->brk = BPF_CORE_READ(task, mm, brk);
	BPF_CORE_READ_INTO(&proc->comm, task, comm);
	if (cfg_pages) {
		struct ps_proc_key key = key_of(task);
		struct ps_page page = {.kind = PS_PAGE_EXECED, .at_ns = bpf_ktime_get_ns()};

		page_record(&key, &page);
	}
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(ps_exit, struct task_struct *task)
{
	struct ps_proc *proc = proc_of(task);
	struct thread_key thread = thread_key_of(task);
	struct ps_proc_key key = key_of(task);
	struct thread *last;

	if (!proc)
		return 0;
	last = cfg_pages ? bpf_map_lookup_elem(&threads, &thread) : NULL;
	if (last)
		tail_end(&key, &last->pages, thread.tid);
	bpf_map_delete_elem(&threads, &thread);
	if (task->signal->live.counter)
		return 0;
	proc->flags |= PS_PROC_EXITED;
	record(&key, PS_RECORD_EXITED);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
