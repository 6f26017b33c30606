/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The ledger: what a process asked of and gave back to the kernel, by the result of each call.
 *
 * Called at the exit of a memory system call of a counted process. A failed call changes nothing
 * but `failed`; a call that succeeded and changed nothing (a brk query) is not counted at all.
 * Lengths are rounded up to whole pages as the kernel does; brk counts bytes as asked.
 */
#ifndef PAGESTAY_LEDGER_BPF_H
#define PAGESTAY_LEDGER_BPF_H

#include "syscall.bpf.h"

const volatile __u64 cfg_page_bytes __weak = 4096;

#define PROT_NONE            0x0
#define PROT_WRITE           0x2
#define MAP_PRIVATE          0x02
#define MAP_TYPE             0x0f
#define MAP_ANONYMOUS        0x20
#define MADV_DONTNEED        4
#define MADV_FREE            8
#define MADV_DONTNEED_LOCKED 24

static __always_inline __u64 whole_pages(__u64 bytes)
{
	return (bytes + cfg_page_bytes - 1) & ~(cfg_page_bytes - 1);
}

static __always_inline bool is_error(long ret)
{
	return (unsigned long)ret >= (unsigned long)-MAX_ERRNO;
}

/* brk returns the break as it is afterwards, whether or not it did as asked. */
static __always_inline void ledger_brk(struct ps_proc *proc, __u64 asked, __u64 now)
{
	__u64 before = __sync_lock_test_and_set(&proc->brk, now);

	if (asked && asked != now)
		count(proc, PS_BRK_FAILED, 1);
	if (now == before || !before)
		return;
	count(proc, PS_BRK_CALLS, 1);
	if (now > before)
		count(proc, PS_BRK_GROW_BYTES, now - before);
	else
		count(proc, PS_BRK_SHRINK_BYTES, before - now);
}

/* Where the current thread's last reservation is kept; two threads may share a place. */
static __always_inline struct ps_range *reservation_of(struct ps_proc *proc)
{
	return &proc->reserved[(__u32)bpf_get_current_pid_tgid() % PS_RESERVATIONS];
}

static __always_inline void ledger_mmap(
	struct ps_proc *proc, __u64 length, __u64 protection, __u64 flags, long ret)
{
	struct ps_range *reservation = reservation_of(proc);

	if (is_error(ret)) {
		count(proc, PS_MMAP_FAILED, 1);
		return;
	}
	count(proc, PS_MMAP_CALLS, 1);
	count(proc, PS_MMAP_BYTES, whole_pages(length));
	if (!(flags & MAP_ANONYMOUS) || (flags & MAP_TYPE) != MAP_PRIVATE)
		return;
	count(proc, PS_MMAP_ANON_BYTES, whole_pages(length));
	if (protection != PROT_NONE)
		return;
	count(proc, PS_MMAP_RESERVE_BYTES, whole_pages(length));
	reservation->start = ret;
	reservation->end = ret + whole_pages(length);
}

/*
 * Allocators reserve twice what they need and unmap what is not aligned before they use the rest.
 * That gives no memory back, so it is told apart.
 */
static __always_inline void ledger_munmap(
	struct ps_proc *proc, __u64 address, __u64 length, long ret)
{
	struct ps_range *reservation = reservation_of(proc);

	length = whole_pages(length);
	if (is_error(ret)) {
		count(proc, PS_MUNMAP_FAILED, 1);
		return;
	}
	count(proc, PS_MUNMAP_CALLS, 1);
	count(proc, PS_MUNMAP_BYTES, length);
	if (address >= reservation->start && address + length <= reservation->end)
		count(proc, PS_MUNMAP_RESERVE_BYTES, length);
}

static __always_inline void ledger_mremap(
	struct ps_proc *proc, __u64 address, __u64 old_length, __u64 new_length, long ret)
{
	old_length = whole_pages(old_length);
	new_length = whole_pages(new_length);
	if (is_error(ret)) {
		count(proc, PS_MREMAP_FAILED, 1);
		return;
	}
	if ((__u64)ret == address && old_length == new_length)
		return;
	count(proc, PS_MREMAP_CALLS, 1);
	if (new_length > old_length)
		count(proc, PS_MREMAP_GROW_BYTES, new_length - old_length);
	else
		count(proc, PS_MREMAP_SHRINK_BYTES, old_length - new_length);
}

/*
 * The old protection is gone by the exit, so commit is every change to a writable protection: what
 * glibc's arenas do when they grow, and also what a JIT does when it makes code writable again.
 */
static __always_inline void ledger_mprotect(
	struct ps_proc *proc, __u64 address, __u64 length, __u64 protection, long ret)
{
	struct ps_range *reservation = reservation_of(proc);

	if (is_error(ret)) {
		count(proc, PS_MPROTECT_FAILED, 1);
		return;
	}
	count(proc, PS_MPROTECT_CALLS, 1);
	if (protection & PROT_WRITE)
		count(proc, PS_MPROTECT_COMMIT_BYTES, whole_pages(length));
	else if (protection == PROT_NONE)
		count(proc, PS_MPROTECT_DECOMMIT_BYTES, whole_pages(length));
	/* In use from now on: what is unmapped of it may be memory. */
	if (protection != PROT_NONE && address >= reservation->start && address < reservation->end)
		reservation->end = 0;
}

static __always_inline void ledger_madvise(
	struct ps_proc *proc, __u64 length, __u32 advice, long ret)
{
	if (is_error(ret)) {
		count(proc, PS_MADVISE_FAILED, 1);
		return;
	}
	count(proc, PS_MADVISE_CALLS, 1);
	if (advice == MADV_DONTNEED || advice == MADV_DONTNEED_LOCKED)
		count(proc, PS_MADVISE_DONTNEED_BYTES, whole_pages(length));
	else if (advice == MADV_FREE)
		count(proc, PS_MADVISE_FREE_BYTES, whole_pages(length));
	else
		count(proc, PS_MADVISE_OTHER_BYTES, whole_pages(length));
}

static __always_inline void ledger_count(
	struct ps_proc *proc, long number, const struct pt_regs *regs, long ret)
{
	switch (number) {
	case __NR_brk:
		ledger_brk(proc, SYSCALL_ARG1(regs), ret);
		break;
	case __NR_mmap:
		ledger_mmap(proc, SYSCALL_ARG2(regs), SYSCALL_ARG3(regs), SYSCALL_ARG4(regs), ret);
		break;
	case __NR_munmap:
		ledger_munmap(proc, SYSCALL_ARG1(regs), SYSCALL_ARG2(regs), ret);
		break;
	case __NR_mremap:
		ledger_mremap(
			proc, SYSCALL_ARG1(regs), SYSCALL_ARG2(regs), SYSCALL_ARG3(regs), ret);
		break;
	case __NR_mprotect:
	case __NR_pkey_mprotect:
		ledger_mprotect(
			proc, SYSCALL_ARG1(regs), SYSCALL_ARG2(regs), SYSCALL_ARG3(regs), ret);
		break;
	case __NR_madvise:
		ledger_madvise(proc, SYSCALL_ARG2(regs), SYSCALL_ARG3(regs), ret);
		break;
	}
}

#endif
