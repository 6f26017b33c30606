/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What this kernel and these privileges allow: read once, by looking for each tracepoint, function
 * and capability, never by comparing versions.
 */
#ifndef PAGESTAY_SOURCE_KERNEL_H
#define PAGESTAY_SOURCE_KERNEL_H

#include <stdbool.h>

#include "pagestay/base/diag.h"

enum kernel_hooks {
	HOOKS_NONE,       /* requests cannot be counted */
	HOOKS_TRACEPOINT, /* sock_recv_length, sock_send_length */
	HOOKS_FEXIT,      /* the protocols' own functions */
};

enum kernel_uring {
	URING_NONE,
	URING_FIELDS,     /* io_uring_complete with the completion's fields as arguments */
	URING_COMPLETION, /* io_uring_complete with a pointer to the completion */
};

struct kernel {
	bool btf;
	bool syscall_exit; /* sys_exit */
	bool socket_state; /* inet_sock_set_state */
	bool process_life; /* sched_process_exec, sched_process_exit */
	bool iterators;    /* task, task_file, tcp, bpf_sk_storage_map */
	bool sendpage;     /* HOOKS_FEXIT: sendfile and splice go through pages */
	bool uring_submit; /* io_uring_submit_req; else io_uring_submit_sqe */
	bool faults;       /* page_fault_user, page_fault_kernel, mm_page_alloc, rss_stat */
	bool rss_each;     /* rss_stat tells each change; before 6.2 single pages in batches */
	enum kernel_hooks hooks;
	enum kernel_uring uring;
	bool init_pid_namespace;
};

/* Reads the kernel's BTF. A kernel without BTF is an answer, not an error. */
void kernel_probe(struct kernel *ret_kernel);

/* A capability that pagestay uses. */
struct kernel_capability {
	const char *name;
	int number;
	bool required;
	const char *purpose;
};

extern const struct kernel_capability kernel_capabilities[];
extern const unsigned kernel_capability_count;

bool kernel_has_capability(const struct kernel_capability *capability);

/*
 * Can the live source run here? 0; -EPERM and the missing capability in `diag`; -ENOSYS and what
 * the kernel lacks.
 */
int kernel_check(const struct kernel *kernel, struct diag *diag);

#endif
