// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Which pages become resident, and where the thread that touched them stood.
 *
 * A fault's beginning tells the address, the folio's allocation its order, and the change of the
 * process's count of anonymous pages, inside the same fault, proves that they became resident: a
 * zero page, a page of a file, a fault that failed or that another thread was faster with changes
 * no count. A folio that is allocated to write to a page that is there is a copy on write; if the
 * count changes too, it was the zero page or a file's page that it replaced. Where the kernel
 * counts single pages in batches (before 6.2, f1a7941243c1 "mm: convert mm's rss stats into
 * percpu_counter") their allocation in an anonymous mapping has to do as proof; a larger folio is
 * counted at once there too, after it was cleared, which can take milliseconds.
 *
 * Faults have these tracepoints on x86 only.
 */
#include "place.bpf.h"

#define MM_ANONPAGES  1
#define GFP_MOVABLE   0x8 /* what is mapped to users may be moved; page tables may not */
#define FAULT_PRESENT 0x1 /* x86's error code: a page is there, but not for this */
#define FAULT_WRITE   0x2
#define VM_SHARED     0x8
#define MAX_ORDER     20

const volatile bool cfg_rss_each = 1; /* the kernel tells each change of its counts */

/* The folio of the fault under way is resident, or copied. */
static __always_inline void fault_tell(
	struct task_struct *task, struct thread *thread, enum ps_page_kind kind)
{
	struct thread_pages *pages = &thread->pages;
	struct ps_proc_key proc = key_of(task);
	struct ps_page page = {
		.kind = kind,
		.flags = pages->fault_flags,
		.tid = task->pid,
		.page = pages->fault,
		.pages = 1,
		.at_ns = bpf_ktime_get_ns(),
	};
	__u32 order = pages->order;

	if (order && order < MAX_ORDER) {
		page.pages = 1ull << order;
		page.page &= ~(page.pages - 1);
	} else if (page_is_left_out(&proc, page.page)) {
		return;
	}
	place_page(task, thread, &page);
	page_record(&proc, &page);
}

/* Anonymous, or a private copy of a file in the making; asked only where the counts do not tell. */
struct mapping {
	bool found, anonymous, shared;
};

static long mapping_look(struct task_struct *task, struct vm_area_struct *vma, void *context)
{
	struct mapping *mapping = context;

	mapping->found = true;
	mapping->anonymous = !vma->vm_ops;
	mapping->shared = vma->vm_flags & VM_SHARED;
	return 0;
}

static __always_inline bool fault_may_be_anonymous(
	struct task_struct *task, unsigned long address, unsigned long error)
{
	struct mapping mapping = {};

	if (cfg_rss_each)
		return true;
	if (!(error & FAULT_WRITE))
		return false;
	/* Where the mappings are locked nothing can be asked: most faults are on anonymous ones. */
	(void)bpf_find_vma(task, address, mapping_look, &mapping, 0);
	return !mapping.found || mapping.anonymous || !mapping.shared;
}

static __always_inline int fault_begins(unsigned long address, unsigned long error, __u32 flags)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *thread = paged_thread(task, true);
	struct thread_pages *pages;

	if (!thread || (long)address < 0)
		return 0;
	pages = &thread->pages;
	pages->fault = 0;
	if (!fault_may_be_anonymous(task, address, error))
		return 0;
	if ((error & FAULT_PRESENT) && (error & FAULT_WRITE))
		flags |= PS_PAGE_PRESENT;
	pages->fault_flags = flags;
	pages->fault_count = faults_of(task);
	pages->fault_call = syscall_number((struct pt_regs *)bpf_task_pt_regs(task));
	pages->order = 0;
	pages->fault = address >> cfg_page_shift;
	return 0;
}

/* Is the thread still in the fault that it noted? */
static __always_inline bool in_fault(struct task_struct *task, const struct thread *thread)
{
	return thread->pages.fault && thread->pages.fault_count == faults_of(task) &&
	       thread->pages.fault_call == syscall_number((struct pt_regs *)bpf_task_pt_regs(task));
}

SEC("?tp_btf/page_fault_user")
int BPF_PROG(ps_fault_user, unsigned long address, struct pt_regs *regs, unsigned long error)
{
	return fault_begins(address, error, 0);
}

SEC("?tp_btf/page_fault_kernel")
int BPF_PROG(ps_fault_kernel, unsigned long address, struct pt_regs *regs, unsigned long error)
{
	return fault_begins(address, error, PS_PAGE_BY_KERNEL);
}

SEC("?tp_btf/mm_page_alloc")
int BPF_PROG(ps_page_alloc, void *page, unsigned int order, unsigned int gfp, int type)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *thread;

	if (!(gfp & GFP_MOVABLE))
		return 0;
	thread = paged_thread(task, false);
	if (!thread || !in_fault(task, thread))
		return 0;
	thread->pages.order = order;
	if (cfg_rss_each) {
		if (thread->pages.fault_flags & PS_PAGE_PRESENT)
			fault_tell(task, thread, PS_PAGE_COPIED);
	} else if (!order) {
		fault_tell(task, thread, PS_PAGE_TOUCHED);
		thread->pages.fault = 0;
	}
	return 0;
}

SEC("?tp_btf/rss_stat")
int BPF_PROG(ps_rss_stat, struct mm_struct *mm, int member)
{
	struct task_struct *task;
	struct thread *thread;

	if (member != MM_ANONPAGES)
		return 0;
	task = bpf_get_current_task_btf();
	if (task->mm != mm)
		return 0;
	thread = paged_thread(task, false);
	if (!thread || !in_fault(task, thread))
		return 0;
	/* A batch of single pages, none of which is this fault's. */
	if (!cfg_rss_each && !thread->pages.order)
		return 0;
	fault_tell(task, thread, PS_PAGE_TOUCHED);
	thread->pages.fault = 0;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
