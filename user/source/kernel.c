/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Looks into the kernel's BTF and our capabilities. Owns no state. Used by the live source to
 * choose its programs and by doctor to explain the choice.
 */
#include "pagestay/source/kernel.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <cap-ng.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#define INIT_PID_NAMESPACE 0xeffffffcu /* PROC_PID_INIT_INO */

const struct kernel_capability kernel_capabilities[] = {
	{"CAP_BPF", CAP_BPF, true, "load the programs"},
	{"CAP_PERFMON", CAP_PERFMON, true, "attach them to tracepoints"},
	{"CAP_SYS_PTRACE", CAP_SYS_PTRACE, false, "look into the memory of others"},
	{"CAP_DAC_READ_SEARCH", CAP_DAC_READ_SEARCH, false,
		"open page tables and environment of others"},
	{"CAP_CHECKPOINT_RESTORE", CAP_CHECKPOINT_RESTORE, false,
		"read mapped files that were replaced"},
};
const unsigned kernel_capability_count =
	sizeof(kernel_capabilities) / sizeof(kernel_capabilities[0]);

static const struct btf_type *tracepoint_type(const struct btf *btf, const char *name)
{
	char typedef_name[96];
	int id;

	(void)snprintf(typedef_name, sizeof(typedef_name), "btf_trace_%s", name);
	id = btf__find_by_name_kind(btf, typedef_name, BTF_KIND_TYPEDEF);
	return id > 0 ? btf__type_by_id(btf, id) : NULL;
}

/* How many arguments the tracepoint passes, without the hidden first one; -1 if there is none. */
static int tracepoint_arguments(const struct btf *btf, const char *name)
{
	const struct btf_type *type = tracepoint_type(btf, name);

	if (!type)
		return -1;
	type = btf__type_by_id(btf, type->type);
	if (!type || !btf_is_ptr(type))
		return -1;
	type = btf__type_by_id(btf, type->type);
	return type && btf_is_func_proto(type) ? btf_vlen(type) - 1 : -1;
}

static bool has_tracepoint(const struct btf *btf, const char *name)
{
	return tracepoint_type(btf, name);
}

static bool has_function(const struct btf *btf, const char *name)
{
	return btf__find_by_name_kind(btf, name, BTF_KIND_FUNC) > 0;
}

static bool has_struct(const struct btf *btf, const char *name)
{
	return btf__find_by_name_kind(btf, name, BTF_KIND_STRUCT) > 0;
}

static bool has_iterator(const struct btf *btf, const char *name)
{
	char function[96];

	(void)snprintf(function, sizeof(function), "bpf_iter_%s", name);
	return has_function(btf, function);
}

static enum kernel_hooks receive_hooks(const struct btf *btf)
{
	if (has_tracepoint(btf, "sock_recv_length") && has_tracepoint(btf, "sock_send_length"))
		return HOOKS_TRACEPOINT;
	if (has_function(btf, "inet_recvmsg") && has_function(btf, "inet6_recvmsg") &&
		has_function(btf, "unix_stream_recvmsg") && has_function(btf, "inet_sendmsg") &&
		has_function(btf, "inet6_sendmsg") && has_function(btf, "unix_stream_sendmsg"))
		return HOOKS_FEXIT;
	return HOOKS_NONE;
}

static enum kernel_uring uring_arguments(const struct btf *btf)
{
	switch (tracepoint_arguments(btf, "io_uring_complete")) {
	case 3:
		return URING_COMPLETION;
	case 7:
		return URING_FIELDS;
	default:
		return URING_NONE;
	}
}

void kernel_probe(struct kernel *ret_kernel)
{
	libbpf_print_fn_t print = libbpf_set_print(NULL);
	struct btf *btf = btf__load_vmlinux_btf();
	struct stat namespace;

	*ret_kernel = (struct kernel){.btf = btf};
	ret_kernel->init_pid_namespace = stat("/proc/self/ns/pid", &namespace) != 0 ||
					 namespace.st_ino == INIT_PID_NAMESPACE;
	if (btf) {
		ret_kernel->syscall_exit = has_tracepoint(btf, "sys_exit");
		ret_kernel->socket_state = has_tracepoint(btf, "inet_sock_set_state");
		ret_kernel->process_life = has_tracepoint(btf, "sched_process_exit") &&
					   has_tracepoint(btf, "sched_process_exec");
		ret_kernel->iterators =
			has_iterator(btf, "task") && has_iterator(btf, "task_file") &&
			has_iterator(btf, "tcp") && has_iterator(btf, "bpf_sk_storage_map");
		ret_kernel->sendpage = has_function(btf, "inet_sendpage");
		ret_kernel->uring_submit = has_tracepoint(btf, "io_uring_submit_req");
		ret_kernel->faults = has_tracepoint(btf, "page_fault_user") &&
				     has_tracepoint(btf, "page_fault_kernel") &&
				     has_tracepoint(btf, "mm_page_alloc") &&
				     has_tracepoint(btf, "rss_stat");
		ret_kernel->rss_each = ret_kernel->faults && !has_struct(btf, "mm_rss_stat");
		ret_kernel->hooks = receive_hooks(btf);
		ret_kernel->uring = uring_arguments(btf);
		if (!ret_kernel->uring_submit && !has_tracepoint(btf, "io_uring_submit_sqe"))
			ret_kernel->uring = URING_NONE;
	}
	btf__free(btf);
	libbpf_set_print(print);
}

bool kernel_has_capability(const struct kernel_capability *capability)
{
	return capng_get_caps_process() == 0 &&
	       (capng_have_capability(CAPNG_EFFECTIVE, capability->number) ||
		       (capability->required &&
			       capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_ADMIN)));
}

int kernel_check(const struct kernel *kernel, struct diag *diag)
{
	for (unsigned i = 0; i < kernel_capability_count; i++) {
		const struct kernel_capability *capability = &kernel_capabilities[i];

		if (capability->required && !kernel_has_capability(capability))
			return diag_set(diag, -EPERM,
				"%s is missing (needed to %s): run as root, or give the file "
				"cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search,"
				"cap_checkpoint_restore=ep",
				capability->name, capability->purpose);
	}
	if (!kernel->btf)
		return diag_set(diag, -ENOSYS,
			"this kernel has no BTF (/sys/kernel/btf/vmlinux; CONFIG_DEBUG_INFO_BTF)");
	if (!kernel->syscall_exit || !kernel->process_life || !kernel->iterators)
		return diag_set(diag, -ENOSYS,
			"this kernel lacks BPF tracepoints or iterators that the ledger needs "
			"(CONFIG_BPF_SYSCALL, CONFIG_FTRACE_SYSCALLS; 6.1 is the oldest tested)");
	if (!kernel->init_pid_namespace)
		return diag_set(diag, -ENOSYS,
			"the kernel's pids are not ours: run in the host's pid namespace");
	return 0;
}
