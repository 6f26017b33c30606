/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where a thread stands when pages become resident for it (enum ps_place), told with them.
 */
#ifndef PAGESTAY_PLACE_BPF_H
#define PAGESTAY_PLACE_BPF_H

#include "window.bpf.h"

/* The thread of a task whose process's pages are tracked; NULL otherwise, or if unknown. */
static __always_inline struct thread *paged_thread(struct task_struct *task, bool enter)
{
	struct thread_key key = thread_key_of(task);
	struct thread *thread;

	if (!is_paged(task->tgid))
		return NULL;
	thread = bpf_map_lookup_elem(&threads, &key);
	if (thread || !enter || !proc_of(task))
		return thread;
	return thread_enter(task, &key);
}

/* Is the call one that fills a user's buffer from a socket? Returns that socket. */
static __always_inline __u64 socket_received_from(struct task_struct *task, struct pt_regs *regs)
{
	struct file *file;

	switch (syscall_number(regs)) {
	case __NR_read:
	case __NR_readv:
	case __NR_recvfrom:
	case __NR_recvmsg:
		file = file_of_fd(task, SYSCALL_ARG1(regs));
		if (is_socket(file))
			return (__u64)BPF_CORE_READ(file, private_data);
	}
	return 0;
}

/* Where the thread stands. Notes what a later record must tell of it. */
static __always_inline void place_page(
	struct task_struct *task, struct thread *thread, struct ps_page *page)
{
	struct thread_pages *pages = &thread->pages;
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	__s32 open = thread->open;
	__u64 socket = 0;

	if (open <= 0 && (page->flags & PS_PAGE_BY_KERNEL))
		socket = socket_received_from(task, regs);
	if (open > 1 || (open == 1 && !pages->window)) {
		page->place = PS_OVERLAPPING;
	} else if (open == 1) {
		page->place = PS_IN_WINDOW;
		page->set = pages->window;
		pages->owed |= OWED_WINDOW;
	} else if (socket) {
		page->place = PS_IN_RECEIVE;
		page->set = socket;
		pages->socket = socket;
	} else if (thread->tail_sk && pages->tail) {
		page->place = PS_IN_TAIL;
		page->set = pages->tail;
		pages->owed |= HAS_TAIL;
	} else if (!pages->receives) {
		page->place = PS_IN_WORKER;
		page->set = pages->segment;
		pages->owed |= HAS_WORK;
	} else {
		page->place = PS_BACKGROUND;
	}
}

#endif
