/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the two lists: capabilities that are kept, and system calls that are allowed. They hold for
 * whatever the agent does after it has begun to watch: reading maps of its programs, /proc, its
 * files and databases, serving HTTP, and the sandboxed child that reads a file of jemalloc. Called
 * once, by the agent.
 */
#include "privileges.h"

#include <cap-ng.h>
#include <errno.h>
#include <linux/bpf.h>
#include <seccomp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/*
 * /proc of other users takes CAP_SYS_PTRACE and, for files with their mode, CAP_DAC_READ_SEARCH;
 * the files that they map and that were replaced CAP_CHECKPOINT_RESTORE. Maps that are open take
 * nothing. Root's sandboxed child becomes another user, who is killed when he takes too long.
 */
static const capng_type_t kinds = CAPNG_EFFECTIVE | CAPNG_PERMITTED;
static const unsigned kept[] = {CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, CAP_CHECKPOINT_RESTORE};
static const unsigned kept_by_root[] = {CAP_SETUID, CAP_SETGID, CAP_KILL};

/* Of bpf(2): what reads and clears maps, and opens an iterator that is there. No loading. */
static const unsigned bpf_commands[] = {BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM,
	BPF_MAP_DELETE_ELEM, BPF_MAP_GET_NEXT_KEY, BPF_MAP_LOOKUP_AND_DELETE_ELEM,
	BPF_MAP_LOOKUP_BATCH, BPF_MAP_LOOKUP_AND_DELETE_BATCH, BPF_MAP_UPDATE_BATCH,
	BPF_MAP_DELETE_BATCH, BPF_OBJ_GET_INFO_BY_FD, BPF_ITER_CREATE};

static const char *const calls[] = {
	/* files */
	"access",
	"chmod",
	"close",
	"close_range",
	"dup",
	"dup2",
	"dup3",
	"faccessat",
	"faccessat2",
	"fadvise64",
	"fallocate",
	"fchdir",
	"fchmod",
	"fchmodat",
	"fchown",
	"fcntl",
	"fdatasync",
	"flock",
	"fstat",
	"fstatfs",
	"fsync",
	"ftruncate",
	"getcwd",
	"getdents64",
	"ioctl",
	"lseek",
	"lstat",
	"mkdir",
	"mkdirat",
	"newfstatat",
	"open",
	"openat",
	"openat2",
	"pread64",
	"preadv",
	"pwrite64",
	"pwritev",
	"read",
	"readlink",
	"readlinkat",
	"readv",
	"rename",
	"renameat",
	"renameat2",
	"rmdir",
	"stat",
	"statfs",
	"statx",
	"sync_file_range",
	"umask",
	"unlink",
	"unlinkat",
	"utimensat",
	"write",
	"writev",
	/* memory */
	"brk",
	"madvise",
	"membarrier",
	"mincore",
	"mlock",
	"mmap",
	"mprotect",
	"mremap",
	"munmap",
	"process_vm_readv",
	"memfd_create",
	/* sockets and waiting */
	"accept",
	"accept4",
	"bind",
	"connect",
	"epoll_create1",
	"epoll_ctl",
	"epoll_pwait",
	"epoll_wait",
	"eventfd2",
	"getpeername",
	"getsockname",
	"getsockopt",
	"listen",
	"pipe",
	"pipe2",
	"poll",
	"ppoll",
	"recvfrom",
	"recvmmsg",
	"recvmsg",
	"sendfile",
	"sendmmsg",
	"sendmsg",
	"sendto",
	"setsockopt",
	"shutdown",
	"socket",
	"socketpair",
	/* threads, time, signals, itself */
	"arch_prctl",
	"clock_getres",
	"clock_gettime",
	"clock_nanosleep",
	"clone",
	"clone3",
	"exit",
	"exit_group",
	"futex",
	"get_robust_list",
	"getcpu",
	"getegid",
	"geteuid",
	"getgid",
	"getgroups",
	"getpgrp",
	"getpid",
	"getppid",
	"getpriority",
	"getrandom",
	"getresgid",
	"getresuid",
	"getrlimit",
	"getrusage",
	"gettid",
	"gettimeofday",
	"getuid",
	"kill",
	"nanosleep",
	"prctl",
	"prlimit64",
	"restart_syscall",
	"rseq",
	"rt_sigaction",
	"rt_sigpending",
	"rt_sigprocmask",
	"rt_sigreturn",
	"rt_sigsuspend",
	"rt_sigtimedwait",
	"sched_getaffinity",
	"sched_getparam",
	"sched_getscheduler",
	"sched_yield",
	"set_robust_list",
	"set_tid_address",
	"sigaltstack",
	"sysinfo",
	"tgkill",
	"time",
	"times",
	"uname",
	"wait4",
	"waitid",
	/* the sandboxed child */
	"capget",
	"capset",
	"execve",
	"execveat",
	"pidfd_open",
	"pidfd_send_signal",
	"seccomp",
	"setgroups",
	"setresgid",
	"setresuid",
	"setrlimit",
};

static int drop_capabilities(void)
{
	bool root = geteuid() == 0;
	unsigned keep[sizeof(kept) / sizeof(kept[0]) +
		      sizeof(kept_by_root) / sizeof(kept_by_root[0])];
	size_t count = 0;

	if (capng_get_caps_process())
		return -EPERM;
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		if (capng_have_capability(CAPNG_PERMITTED, kept[i]))
			keep[count++] = kept[i];
	for (size_t i = 0; root && i < sizeof(kept_by_root) / sizeof(kept_by_root[0]); i++)
		if (capng_have_capability(CAPNG_PERMITTED, kept_by_root[i]))
			keep[count++] = kept_by_root[i];
	capng_clear(CAPNG_SELECT_BOTH);
	for (size_t i = 0; i < count; i++)
		(void)capng_update(CAPNG_ADD, kinds, keep[i]);
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return capng_apply(CAPNG_SELECT_CAPS) ? -EPERM : 0;
}

/* Not every machine has every call: what it does not know needs no rule. */
static int allow_calls(scmp_filter_ctx filter)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		int number = seccomp_syscall_resolve_name(calls[i]);
		int error = number == __NR_SCMP_ERROR
				    ? 0
				    : seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);

		if (error && error != -EDOM)
			return error;
	}
	for (size_t i = 0; i < sizeof(bpf_commands) / sizeof(bpf_commands[0]); i++) {
		int error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(bpf), 1,
			SCMP_A0(SCMP_CMP_EQ, bpf_commands[i]));

		if (error)
			return error;
	}
	return 0;
}

static int filter_calls(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int error = filter ? 0 : -ENOMEM;

	if (!error)
		error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!error)
		error = allow_calls(filter);
	if (!error)
		error = seccomp_load(filter);
	if (filter)
		seccomp_release(filter);
	return error;
}

int privileges_drop(struct diag *diag)
{
	int error = drop_capabilities();

	if (error)
		return diag_set(diag, error, "cannot drop capabilities: %s", strerror(-error));
	error = filter_calls();
	return error ? diag_set(diag, error, "cannot filter system calls: %s", strerror(-error))
		     : 0;
}
