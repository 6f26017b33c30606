// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The one program on system call exits: the ledger, accepts, and who becomes a server by listening.
 *
 * It runs at the end of every system call of the machine, so the number decides first and most
 * calls leave after one comparison chain without a map look-up.
 */
#include "drop.bpf.h"

static __always_inline bool is_memory_call(long number)
{
	return number == __NR_brk || number == __NR_mmap || number == __NR_munmap ||
	       number == __NR_mremap || number == __NR_mprotect || number == __NR_madvise ||
	       number == __NR_pkey_mprotect;
}

static __always_inline bool is_server_call(long number)
{
	return number == __NR_accept4 || number == __NR_accept || number == __NR_listen;
}

static __always_inline void server_call(struct task_struct *task, long number, __u32 fd)
{
	struct ps_proc *proc;

	if (!port_is_watched(local_port_of_fd(task, fd)))
		return;
	proc = server_of(task);
	if (proc && number != __NR_listen)
		count(proc, PS_ACCEPTS, 1);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(ps_sys_exit, struct pt_regs *regs, long ret)
{
	long number = syscall_number(regs);
	struct task_struct *task;
	struct ps_proc *proc;

	if (!is_memory_call(number) && !is_server_call(number))
		return 0;
	task = bpf_get_current_task_btf();
	if (is_memory_call(number)) {
		proc = proc_of(task);
		if (!proc || is_compat(task))
			return 0;
		if (cfg_pages)
			drop_tell(task, proc, number, regs, ret);
		ledger_count(proc, number, regs, ret);
	} else if (ret >= 0 && !is_compat(task)) {
		server_call(task, number, number == __NR_listen ? SYSCALL_ARG1(regs) : ret);
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
