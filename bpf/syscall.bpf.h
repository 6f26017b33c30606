/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reading a system call from the registers it was made with, on the two architectures.
 *
 * At a call's exit, and inside it, the task's saved registers still hold the call's number and
 * arguments, so no probe at the entry and no map of pending calls is needed. Calls made through
 * the 32-bit interface use other numbers and are left out: `is_compat` tells them.
 */
#ifndef PAGESTAY_SYSCALL_BPF_H
#define PAGESTAY_SYSCALL_BPF_H

#include "common.bpf.h"

#if defined(__TARGET_ARCH_x86)
#include <asm/unistd_64.h>

#define TS_COMPAT 0x0002

static __always_inline long syscall_number(const struct pt_regs *regs)
{
	return regs->orig_ax;
}

static __always_inline bool is_compat(const struct task_struct *task)
{
	return task->thread_info.status & TS_COMPAT;
}

#define SYSCALL_ARG1(regs) ((regs)->di)
#define SYSCALL_ARG2(regs) ((regs)->si)
#define SYSCALL_ARG3(regs) ((regs)->dx)
#define SYSCALL_ARG4(regs) ((regs)->r10)

#elif defined(__TARGET_ARCH_arm64)
#include <asm-generic/unistd.h>

#ifndef __NR_mmap
#define __NR_mmap __NR3264_mmap
#endif
#define TIF_32BIT          22

static __always_inline long syscall_number(const struct pt_regs *regs)
{
	return regs->syscallno;
}

static __always_inline bool is_compat(const struct task_struct *task)
{
	return task->thread_info.flags & (1ul << TIF_32BIT);
}

/* The first argument's register is overwritten by the result; orig_x0 keeps it. */
#define SYSCALL_ARG1(regs) ((regs)->orig_x0)
#define SYSCALL_ARG2(regs) ((regs)->regs[1])
#define SYSCALL_ARG3(regs) ((regs)->regs[2])
#define SYSCALL_ARG4(regs) ((regs)->regs[3])

#else
#error "pagestay knows the system calls of x86-64 and arm64"
#endif

#endif
