/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a child gives up before it runs code of a file that it does not trust: its capabilities, its
 * user, its limits, and at last nearly all system calls. The namespaces of its own were made
 * together with it, where this was allowed; nothing here counts on them. Called by the calibration,
 * in the child alone.
 */
#include "jemalloc_state.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pagestay/base/cleanup.h"

#define NOBODY        65534
#define CPU_SECONDS   2
#define MEMORY_BYTES  (1ull << 30) /* more than the program has already */
#define X32_CALLS     0x40000000u
#define FILTER_BEFORE 5 /* instructions before and after those of the calls */
#define FILTER_AFTER  2

#if defined(__aarch64__)
#define MACHINE AUDIT_ARCH_AARCH64
#else
#define MACHINE AUDIT_ARCH_X86_64
#endif

/* This takes a capability itself, and what is lacking is not needed: nothing is gained any more. */
static void drop_bounds(void)
{
	for (int capability = 0; capability <= CAP_LAST_CAP; capability++)
		(void)prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
}

static int drop_capabilities(void)
{
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	capng_clear(CAPNG_SELECT_CAPS);
	return capng_apply(CAPNG_SELECT_CAPS) ? -EPERM : 0;
}

/* Who is not root has but one user to be. */
static int drop_user(void)
{
	if (geteuid() != 0 && getuid() != 0)
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
		setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return -errno;
	return 0;
}

static uint64_t mapped_bytes(void)
{
	_cleanup_(cleanup_fclose) FILE *file = fopen("/proc/self/statm", "re");
	char line[128];

	if (!file || !fgets(line, sizeof(line), file))
		return 0;
	return strtoull(line, NULL, 10) * sysconf(_SC_PAGESIZE);
}

/* Its memory is ours to pay for: if there is too little, it goes first. */
static void offer_to_oom_killer(void)
{
	_cleanup_(cleanup_close) int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		(void)!write(fd, "1000", 4);
}

static int limit(int resource, uint64_t value)
{
	const struct rlimit limit = {.rlim_cur = value, .rlim_max = value};

	return setrlimit(resource, &limit) < 0 ? -errno : 0;
}

static int set_limits(void)
{
	const struct {
		int resource;
		uint64_t value;
	} limits[] = {
		{RLIMIT_CPU, CPU_SECONDS},
		{RLIMIT_AS, mapped_bytes() + MEMORY_BYTES},
		{RLIMIT_CORE, 0},
		{RLIMIT_FSIZE, 0},
		{RLIMIT_MEMLOCK, 0},
		{RLIMIT_MSGQUEUE, 0},
		{RLIMIT_NPROC, 0},
		{RLIMIT_NOFILE, 0},
	};

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		int error = limit(limits[i].resource, limits[i].value);

		if (error)
			return error;
	}
	return 0;
}

int jemalloc_confine(void)
{
	int error;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	offer_to_oom_killer();
	drop_bounds();
	error = drop_user();
	if (!error)
		error = drop_capabilities();
	if (!error)
		error = set_limits();
	if (error)
		return error;
	/* A change of the user forgets both. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
		return -errno;
	return 0;
}

/*
 * Allowed are memory, the result, and what the C library does when it is asked for the time or for
 * CPUs. No call takes a path, makes a descriptor or reaches another process.
 */
static const unsigned allowed[] = {
	SYS_mmap,
	SYS_munmap,
	SYS_mprotect,
	SYS_mremap,
	SYS_madvise,
	SYS_mincore,
	SYS_brk,
	SYS_write,
	SYS_futex,
	SYS_sched_yield,
	SYS_sched_getaffinity,
	SYS_getcpu,
	SYS_clock_gettime,
	SYS_gettimeofday,
	SYS_sysinfo,
	SYS_getpid,
	SYS_gettid,
	SYS_rt_sigprocmask,
	SYS_rt_sigreturn,
	SYS_exit,
	SYS_exit_group,
};

#define ALLOWED (sizeof(allowed) / sizeof(allowed[0]))

_Static_assert(ALLOWED + 1 < 256, "a jump reaches over all of them");

int jemalloc_filter_calls(void)
{
	struct sock_filter filter[FILTER_BEFORE + ALLOWED + FILTER_AFTER] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MACHINE, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_CALLS, ALLOWED, 0),
	};
	const struct sock_fprog program = {
		.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

	for (size_t i = 0; i < ALLOWED; i++)
		filter[FILTER_BEFORE + i] = (struct sock_filter)BPF_JUMP(
			BPF_JMP | BPF_JEQ | BPF_K, allowed[i], ALLOWED - i, 0);
	filter[FILTER_BEFORE + ALLOWED] =
		(struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	filter[FILTER_BEFORE + ALLOWED + 1] =
		(struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}
