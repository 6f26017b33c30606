/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What memory calls do to pages that are tracked: give them back, move them, populate mappings.
 *
 * Called at the exit of a call that succeeded, before the ledger counts it. A range is told as
 * asked; whether pages were there, and really went, the next pass over the process tells.
 */
#ifndef PAGESTAY_DROP_BPF_H
#define PAGESTAY_DROP_BPF_H

#include "ledger.bpf.h"
#include "place.bpf.h"

#define MAP_FIXED           0x10
#define MAP_LOCKED          0x2000
#define MAP_POPULATE        0x8000
#define MADV_POPULATE_WRITE 23

static __always_inline void tell_range(
	struct task_struct *task, enum ps_page_kind kind, __u64 address, __u64 bytes, __u64 to)
{
	struct ps_proc_key proc = key_of(task);
	struct ps_page page = {
		.kind = kind,
		.tid = task->pid,
		.page = address >> cfg_page_shift,
		.pages = whole_pages(bytes) >> cfg_page_shift,
		.to = to >> cfg_page_shift,
		.at_ns = bpf_ktime_get_ns(),
	};

	if (page.pages)
		page_record(&proc, &page);
}

static __always_inline void tell_populated(struct task_struct *task, __u64 address, __u64 bytes)
{
	struct thread *thread = paged_thread(task, true);
	struct ps_proc_key proc = key_of(task);
	struct ps_page page = {
		.kind = PS_PAGE_TOUCHED,
		.flags = PS_PAGE_BY_KERNEL,
		.tid = task->pid,
		.page = address >> cfg_page_shift,
		.pages = whole_pages(bytes) >> cfg_page_shift,
		.at_ns = bpf_ktime_get_ns(),
	};

	if (!thread || !page.pages)
		return;
	place_page(task, thread, &page);
	page_record(&proc, &page);
}

static __always_inline void drop_brk(struct task_struct *task, __u64 before, __u64 now)
{
	before = whole_pages(before);
	now = whole_pages(now);
	if (now < before)
		tell_range(task, PS_PAGE_DROPPED, now, before - now, 0);
}

static __always_inline void drop_mmap(
	struct task_struct *task, const struct pt_regs *regs, __u64 address)
{
	__u64 bytes = SYSCALL_ARG2(regs), flags = SYSCALL_ARG4(regs);

	if (flags & MAP_FIXED)
		tell_range(task, PS_PAGE_DROPPED, address, bytes, 0);
	if ((flags & (MAP_POPULATE | MAP_LOCKED)) && (flags & MAP_ANONYMOUS) &&
		(flags & MAP_TYPE) == MAP_PRIVATE && (SYSCALL_ARG3(regs) & PROT_WRITE))
		tell_populated(task, address, bytes);
}

static __always_inline void drop_mremap(
	struct task_struct *task, const struct pt_regs *regs, __u64 now)
{
	__u64 address = SYSCALL_ARG1(regs);
	__u64 before_bytes = whole_pages(SYSCALL_ARG2(regs));
	__u64 bytes = whole_pages(SYSCALL_ARG3(regs));

	if (bytes < before_bytes) {
		tell_range(task, PS_PAGE_DROPPED, address + bytes, before_bytes - bytes, 0);
		before_bytes = bytes;
	}
	if (now != address)
		tell_range(task, PS_PAGE_MOVED, address, before_bytes, now);
}

static __always_inline void drop_madvise(struct task_struct *task, const struct pt_regs *regs)
{
	__u64 address = SYSCALL_ARG1(regs), bytes = SYSCALL_ARG2(regs);
	__u32 advice = SYSCALL_ARG3(regs);

	if (advice == MADV_DONTNEED || advice == MADV_DONTNEED_LOCKED)
		tell_range(task, PS_PAGE_DROPPED, address, bytes, 0);
	else if (advice == MADV_FREE)
		tell_range(task, PS_PAGE_FREED, address, bytes, 0);
	else if (advice == MADV_POPULATE_WRITE)
		tell_populated(task, address, bytes);
}

static __always_inline void drop_tell(struct task_struct *task, const struct ps_proc *proc,
	long number, const struct pt_regs *regs, long ret)
{
	if (is_error(ret))
		return;
	switch (number) {
	case __NR_brk:
		drop_brk(task, proc->brk, ret);
		break;
	case __NR_mmap:
		drop_mmap(task, regs, ret);
		break;
	case __NR_munmap:
		tell_range(task, PS_PAGE_DROPPED, SYSCALL_ARG1(regs), SYSCALL_ARG2(regs), 0);
		break;
	case __NR_mremap:
		drop_mremap(task, regs, ret);
		break;
	case __NR_madvise:
		drop_madvise(task, regs);
		break;
	}
}

#endif
