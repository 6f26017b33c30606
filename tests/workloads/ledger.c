/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ledger CASE: makes an exactly known number of memory calls, and says what the kernel answered.
 *
 * Each case has a part before "go" (mappings to give back, threads, limits) and a part after it.
 * Between "go" and "done" every memory call is one of this file's own, made by raw syscall();
 * nothing there allocates, starts a thread or touches the C library's heap. The truth is kept from
 * results, not from intentions, and every counter of the ledger is printed, so that a watcher can
 * also be caught counting what did not happen.
 *
 * ledger --listen CASE first opens a listening socket, which makes the process a server before it
 * says "ready".
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "net.h"
#include "workload.h"

enum counter {
	BRK_CALLS,
	BRK_GROW,
	BRK_SHRINK,
	BRK_FAILED,
	MMAP_CALLS,
	MMAP_BYTES,
	MMAP_ANON,
	MMAP_FAILED,
	MUNMAP_CALLS,
	MUNMAP_BYTES,
	MUNMAP_FAILED,
	MREMAP_CALLS,
	MREMAP_GROW,
	MREMAP_SHRINK,
	MREMAP_FAILED,
	MPROTECT_CALLS,
	MPROTECT_COMMIT,
	MPROTECT_DECOMMIT,
	MPROTECT_FAILED,
	MADVISE_CALLS,
	MADVISE_DONTNEED,
	MADVISE_FREE,
	MADVISE_OTHER,
	MADVISE_FAILED,
	COUNTERS
};

static const char *const counter_names[COUNTERS] = {
	[BRK_CALLS] = "brk.calls",
	[BRK_GROW] = "brk.grow_bytes",
	[BRK_SHRINK] = "brk.shrink_bytes",
	[BRK_FAILED] = "brk.failed",
	[MMAP_CALLS] = "mmap.calls",
	[MMAP_BYTES] = "mmap.bytes",
	[MMAP_ANON] = "mmap.anon_bytes",
	[MMAP_FAILED] = "mmap.failed",
	[MUNMAP_CALLS] = "munmap.calls",
	[MUNMAP_BYTES] = "munmap.bytes",
	[MUNMAP_FAILED] = "munmap.failed",
	[MREMAP_CALLS] = "mremap.calls",
	[MREMAP_GROW] = "mremap.grow_bytes",
	[MREMAP_SHRINK] = "mremap.shrink_bytes",
	[MREMAP_FAILED] = "mremap.failed",
	[MPROTECT_CALLS] = "mprotect.calls",
	[MPROTECT_COMMIT] = "mprotect.commit_bytes",
	[MPROTECT_DECOMMIT] = "mprotect.decommit_bytes",
	[MPROTECT_FAILED] = "mprotect.failed",
	[MADVISE_CALLS] = "madvise.calls",
	[MADVISE_DONTNEED] = "madvise.dontneed_bytes",
	[MADVISE_FREE] = "madvise.free_bytes",
	[MADVISE_OTHER] = "madvise.other_bytes",
	[MADVISE_FAILED] = "madvise.failed",
};

static _Atomic uint64_t truth[COUNTERS];

/* Mappings that a case prepared before "go"; the largest case needs fewer. */
#define PREPARED_MAX 64
static char *prepared[PREPARED_MAX];
static char *reserved[PREPARED_MAX];
static size_t page_bytes;

/* --- calls, each with its line in the truth --- */

static char *current_break(void)
{
	return (char *)syscall(SYS_brk, 0);
}

/* Moves the break by `delta` bytes from `from`, the break as the caller knows it; returns the new
 * one. */
static char *move_break(char *from, ptrdiff_t delta)
{
	char *wanted = from + delta;
	char *got = (char *)syscall(SYS_brk, wanted);

	if (got != wanted) {
		truth[BRK_FAILED]++;
		return from;
	}
	if (delta != 0)
		truth[BRK_CALLS]++;
	if (delta > 0)
		truth[BRK_GROW] += (uint64_t)delta;
	else
		truth[BRK_SHRINK] += (uint64_t)-delta;
	return got;
}

static char *map(size_t bytes, int protection, int flags, int fd)
{
	char *at = (char *)syscall(SYS_mmap, NULL, bytes, protection, flags, fd, 0);

	if (at == MAP_FAILED) {
		truth[MMAP_FAILED]++;
		return NULL;
	}
	truth[MMAP_CALLS]++;
	truth[MMAP_BYTES] += bytes;
	if ((flags & MAP_ANONYMOUS) && (flags & MAP_TYPE) == MAP_PRIVATE)
		truth[MMAP_ANON] += bytes;
	return at;
}

static void unmap(char *at, size_t bytes)
{
	if (syscall(SYS_munmap, at, bytes) != 0) {
		truth[MUNMAP_FAILED]++;
		return;
	}
	truth[MUNMAP_CALLS]++;
	truth[MUNMAP_BYTES] += bytes;
}

static void remap(char *at, size_t old_bytes, size_t new_bytes, int flags, char *to)
{
	char *got = (char *)syscall(SYS_mremap, at, old_bytes, new_bytes, flags, to);

	if (got == MAP_FAILED) {
		truth[MREMAP_FAILED]++;
		return;
	}
	if (got != at || old_bytes != new_bytes)
		truth[MREMAP_CALLS]++;
	if (new_bytes > old_bytes)
		truth[MREMAP_GROW] += new_bytes - old_bytes;
	else
		truth[MREMAP_SHRINK] += old_bytes - new_bytes;
}

static void protect(char *at, size_t bytes, int protection)
{
	if (syscall(SYS_mprotect, at, bytes, protection) != 0) {
		truth[MPROTECT_FAILED]++;
		return;
	}
	truth[MPROTECT_CALLS]++;
	if (protection & PROT_WRITE)
		truth[MPROTECT_COMMIT] += bytes;
	else if (protection == PROT_NONE)
		truth[MPROTECT_DECOMMIT] += bytes;
}

static void advise(char *at, size_t bytes, int advice)
{
	if (syscall(SYS_madvise, at, bytes, advice) != 0) {
		truth[MADVISE_FAILED]++;
		return;
	}
	truth[MADVISE_CALLS]++;
	if (advice == MADV_DONTNEED)
		truth[MADVISE_DONTNEED] += bytes;
	else if (advice == MADV_FREE)
		truth[MADVISE_FREE] += bytes;
	else
		truth[MADVISE_OTHER] += bytes;
}

/* --- preparations --- */

static void prepare_mappings(size_t pages, int protection)
{
	for (int i = 0; i < PREPARED_MAX; i++) {
		prepared[i] = mmap(
			NULL, pages * page_bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		reserved[i] = mmap(
			NULL, pages * page_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (prepared[i] == MAP_FAILED || reserved[i] == MAP_FAILED)
			die("mmap");
	}
}

static void prepare_written(size_t pages)
{
	prepare_mappings(pages, PROT_READ | PROT_WRITE);
	for (int i = 0; i < PREPARED_MAX; i++)
		memset(prepared[i], 1, pages * page_bytes);
}

/* An address where nothing is mapped, and nothing will be while the case runs. */
static char *prepare_hole(void)
{
	char *at = mmap(NULL, 64 * page_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED || munmap(at, 64 * page_bytes) != 0)
		die("mmap");
	return at;
}

static void prepare_nothing(void)
{
}

static void prepare_two_written(void)
{
	prepare_written(2);
}

static void prepare_four_written(void)
{
	prepare_written(4);
}

static void prepare_five_written(void)
{
	prepare_written(5);
}

static void prepare_three_closed(void)
{
	prepare_mappings(3, PROT_NONE);
}

static void prepare_three_written(void)
{
	prepare_written(3);
}

static void prepare_the_hole(void)
{
	prepared[0] = prepare_hole();
}

static void prepare_long_heap(void)
{
	if (syscall(SYS_brk, current_break() + 11 * 5 * page_bytes) == 0)
		die("brk");
}

static void prepare_small_heap_limit(void)
{
	struct rlimit limit = {.rlim_cur = page_bytes, .rlim_max = page_bytes};

	if (setrlimit(RLIMIT_DATA, &limit) != 0)
		die("setrlimit");
}

/* --- cases --- */

static char *break_before_go;

static void remember_break(void)
{
	break_before_go = current_break();
}

static void run_brk_grow(void)
{
	char *at = break_before_go;

	for (int i = 0; i < 7; i++)
		at = move_break(at, (ptrdiff_t)(3 * page_bytes));
}

static void run_brk_shrink(void)
{
	char *at = break_before_go;

	for (int i = 0; i < 11; i++)
		at = move_break(at, -(ptrdiff_t)(5 * page_bytes));
}

static void run_brk_query(void)
{
	for (int i = 0; i < 13; i++)
		(void)current_break();
}

static void run_brk_unchanged(void)
{
	for (int i = 0; i < 5; i++)
		(void)move_break(break_before_go, 0);
}

static void run_brk_query_between(void)
{
	for (int i = 0; i < 3; i++)
		(void)move_break(current_break(), (ptrdiff_t)(7 * page_bytes));
	for (int i = 0; i < 2; i++)
		(void)move_break(current_break(), -(ptrdiff_t)(5 * page_bytes));
}

static void run_brk_failed(void)
{
	for (int i = 0; i < 17; i++)
		(void)move_break(break_before_go, (ptrdiff_t)1 << 30);
}

static void run_mmap_anon_private(void)
{
	for (int i = 0; i < 19; i++)
		(void)map(2 * page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static void run_mmap_anon_shared(void)
{
	for (int i = 0; i < 23; i++)
		(void)map(3 * page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
}

static int own_file_fd;

static void prepare_own_file(void)
{
	own_file_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (own_file_fd < 0)
		die("/proc/self/exe");
}

static void run_mmap_file_private(void)
{
	for (int i = 0; i < 29; i++)
		(void)map(page_bytes, PROT_READ, MAP_PRIVATE, own_file_fd);
}

static void run_mmap_failed(void)
{
	for (int i = 0; i < 7; i++)
		(void)map(0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	for (int i = 0; i < 6; i++)
		(void)map(page_bytes, PROT_READ, MAP_PRIVATE, -1);
}

static void run_munmap(void)
{
	for (int i = 0; i < 17; i++)
		unmap(prepared[i], 2 * page_bytes);
}

static void run_munmap_failed(void)
{
	for (int i = 0; i < 7; i++)
		unmap(prepared[i] + 1, 2 * page_bytes);
}

static void run_mremap_grow(void)
{
	for (int i = 0; i < 11; i++)
		remap(prepared[i], 2 * page_bytes, 5 * page_bytes, MREMAP_MAYMOVE, NULL);
}

static void run_mremap_shrink(void)
{
	for (int i = 0; i < 7; i++)
		remap(prepared[i], 5 * page_bytes, 2 * page_bytes, 0, NULL);
}

static void run_mremap_move(void)
{
	for (int i = 0; i < 5; i++)
		remap(prepared[i], 2 * page_bytes, 2 * page_bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
			reserved[i]);
}

static void run_mremap_unchanged(void)
{
	for (int i = 0; i < 3; i++)
		remap(prepared[i], 2 * page_bytes, 2 * page_bytes, 0, NULL);
}

static void run_mremap_failed(void)
{
	for (int i = 0; i < 13; i++)
		remap(prepared[0], 2 * page_bytes, 5 * page_bytes, MREMAP_MAYMOVE, NULL);
}

static void run_mprotect_commit(void)
{
	for (int i = 0; i < 31; i++)
		protect(prepared[i], 3 * page_bytes, PROT_READ | PROT_WRITE);
}

static void run_mprotect_decommit(void)
{
	for (int i = 0; i < 29; i++)
		protect(prepared[i], 3 * page_bytes, PROT_NONE);
}

static void run_mprotect_read_only(void)
{
	for (int i = 0; i < 23; i++)
		protect(prepared[i], 3 * page_bytes, PROT_READ);
}

static void run_mprotect_rewrite(void)
{
	for (int i = 0; i < 5; i++)
		protect(prepared[i], 3 * page_bytes, PROT_READ | PROT_WRITE);
}

static void run_mprotect_failed(void)
{
	for (int i = 0; i < 19; i++)
		protect(prepared[0], 3 * page_bytes, PROT_READ | PROT_WRITE);
}

static void run_madvise_dontneed(void)
{
	for (int i = 0; i < 37; i++)
		advise(prepared[i], 4 * page_bytes, MADV_DONTNEED);
}

static void run_madvise_free(void)
{
	for (int i = 0; i < 41; i++)
		advise(prepared[i], 4 * page_bytes, MADV_FREE);
}

static void run_madvise_other(void)
{
	for (int i = 0; i < 20; i++)
		advise(prepared[i], 4 * page_bytes, MADV_RANDOM);
	for (int i = 20; i < 43; i++)
		advise(prepared[i], 4 * page_bytes, MADV_SEQUENTIAL);
}

static void run_madvise_failed(void)
{
	for (int i = 0; i < 17; i++)
		advise(prepared[0], 4 * page_bytes, MADV_DONTNEED);
}

#define THREADS 5
static int thread_go[2], thread_done[2];

static void *thread_main(void *argument)
{
	int number = (int)(intptr_t)argument;
	char byte = 0;

	if (read(thread_go[0], &byte, 1) != 1)
		die("read");
	for (int i = 0; i < 7; i++)
		(void)map(2 * page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	for (int i = 0; i < 3; i++)
		protect(prepared[number * 3 + i], 3 * page_bytes, PROT_READ | PROT_WRITE);
	if (write(thread_done[1], &byte, 1) != 1)
		die("write");
	/* A thread that ended would give its stack back, which is a call of its own. */
	for (;;)
		pause();
	return NULL;
}

static void prepare_threads(void)
{
	prepare_three_closed();
	if (pipe2(thread_go, O_CLOEXEC) != 0 || pipe2(thread_done, O_CLOEXEC) != 0)
		die("pipe");
	for (int i = 0; i < THREADS; i++) {
		pthread_t thread;

		errno = pthread_create(&thread, NULL, thread_main, (void *)(intptr_t)i);
		if (errno != 0)
			die("pthread_create");
	}
}

static void run_threads(void)
{
	char bytes[THREADS] = {0};

	if (write(thread_go[1], bytes, THREADS) != THREADS)
		die("write");
	for (int i = 0; i < THREADS; i++)
		if (read(thread_done[0], bytes, 1) != 1)
			die("read");
}

/* The child works on its copy of the truth, so what it does is in nobody's books. */
static void run_forked_child(void)
{
	pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

	if (child < 0)
		die("clone");
	if (child == 0) {
		run_mmap_anon_private();
		run_mmap_failed();
		(void)move_break(break_before_go, (ptrdiff_t)(13 * page_bytes));
		_exit(0);
	}
	if (waitpid(child, NULL, 0) != child)
		die("waitpid");
	for (int i = 0; i < 5; i++)
		protect(prepared[i], 3 * page_bytes, PROT_READ | PROT_WRITE);
	(void)move_break(break_before_go, (ptrdiff_t)(2 * page_bytes));
}

static void prepare_forked_child(void)
{
	prepare_three_closed();
	remember_break();
}

#if defined(__x86_64__)
static long compat_call(long number, long first, long second, long third, long fourth)
{
	long result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(first), "c"(second), "d"(third), "S"(fourth)
			 : "memory", "r8", "r9", "r10", "r11");
	return (int)result;
}

static char *low_page;

/* Also a signal handler, so it only writes and leaves. */
static void compat_is_refused(int signal_number)
{
	static const char refusal[] = "unsupported this kernel runs no 32-bit system calls\n";

	(void)signal_number;
	(void)!write(STDOUT_FILENO, refusal, sizeof(refusal) - 1);
	_exit(0);
}

static void prepare_compat(void)
{
	enum { COMPAT_GETPID = 20 };

	low_page = mmap(NULL, 16 * page_bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (low_page == MAP_FAILED)
		die("mmap");
	strcpy(low_page, "/");
	signal(SIGSEGV, compat_is_refused);
	if (compat_call(COMPAT_GETPID, 0, 0, 0, 0) != getpid())
		compat_is_refused(0);
	signal(SIGSEGV, SIG_DFL);
}

/*
 * First the 32-bit calls that are brk, munmap, mprotect, mremap and madvise, then harmless ones
 * whose 32-bit numbers are those of memory calls in the 64-bit table. Only the one real 64-bit call
 * at the end is in the truth.
 */
static void run_compat(void)
{
	enum { BRK = 45, MUNMAP = 91, MPROTECT = 125, MREMAP = 163, MADVISE = 219 };
	enum {
		LINK_LIKE_MMAP = 9,
		UNLINK_LIKE_MPROTECT = 10,
		CHDIR_LIKE_BRK = 12,
		OLDFSTAT_LIKE_MADVISE = 28
	};
	long at = (long)low_page;
	long page = (long)page_bytes;
	bool failed = false;

	for (int i = 0; i < 3; i++) {
		(void)compat_call(BRK, 0, 0, 0, 0);
		failed |= compat_call(MPROTECT, at + 8 * page, page, PROT_NONE, 0) != 0;
		failed |=
			compat_call(MPROTECT, at + 8 * page, page, PROT_READ | PROT_WRITE, 0) != 0;
		failed |= compat_call(MPROTECT, 1, page, PROT_NONE, 0) != -EINVAL;
		failed |= compat_call(MADVISE, at + 9 * page, page, MADV_DONTNEED, 0) != 0;
		failed |= compat_call(MUNMAP, at + (10 + i) * page, page, 0, 0) != 0;
		failed |= compat_call(MREMAP, at + 8 * page, page, page, 0) != at + 8 * page;

		failed |= compat_call(CHDIR_LIKE_BRK, at, 0, 0, 0) != 0;
		failed |= compat_call(UNLINK_LIKE_MPROTECT, at + page, page, PROT_WRITE, 0) !=
			  -ENOENT;
		failed |= compat_call(LINK_LIKE_MMAP, at + page, at + page, 0, 0) != -ENOENT;
		(void)compat_call(OLDFSTAT_LIKE_MADVISE, -1, at, MADV_DONTNEED, 0);
	}
	if (failed) {
		errno = ENOTSUP;
		die("a 32-bit call did not do what it should");
	}
	protect(low_page, page_bytes, PROT_READ);
}
#else
static void prepare_compat(void)
{
	say("unsupported no 32-bit system calls from a 64-bit program on this architecture");
	_exit(0);
}

static void run_compat(void)
{
}
#endif

static void prepare_everything(void)
{
	prepare_five_written();
	remember_break();
}

/* One of each in one process, so that a call booked on the wrong line shows. */
static void run_everything(void)
{
	char *at = move_break(break_before_go, (ptrdiff_t)(5 * page_bytes));

	(void)move_break(at, -(ptrdiff_t)(2 * page_bytes));
	(void)map(7 * page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	(void)map(11 * page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
	unmap(prepared[0], 5 * page_bytes);
	remap(prepared[1], 5 * page_bytes, 18 * page_bytes, MREMAP_MAYMOVE, NULL);
	remap(prepared[2], 5 * page_bytes, 3 * page_bytes, 0, NULL);
	protect(prepared[3], 5 * page_bytes, PROT_NONE);
	protect(prepared[3], 4 * page_bytes, PROT_READ | PROT_WRITE);
	advise(prepared[4], 3 * page_bytes, MADV_DONTNEED);
	advise(prepared[5], 2 * page_bytes, MADV_FREE);
	advise(prepared[6], 5 * page_bytes, MADV_RANDOM);
	unmap(prepared[7] + 1, page_bytes);
}

static void prepare_shrink(void)
{
	prepare_long_heap();
	remember_break();
}

static void prepare_brk_failed(void)
{
	remember_break();
	prepare_small_heap_limit();
}

struct ledger_case {
	const char *name;
	void (*prepare)(void);
	void (*run)(void);
};

static const struct ledger_case cases[] = {
	{"brk-grow", remember_break, run_brk_grow},
	{"brk-shrink", prepare_shrink, run_brk_shrink},
	{"brk-query", prepare_nothing, run_brk_query},
	{"brk-unchanged", remember_break, run_brk_unchanged},
	{"brk-query-between", prepare_nothing, run_brk_query_between},
	{"brk-failed", prepare_brk_failed, run_brk_failed},
	{"mmap-anon-private", prepare_nothing, run_mmap_anon_private},
	{"mmap-anon-shared", prepare_nothing, run_mmap_anon_shared},
	{"mmap-file-private", prepare_own_file, run_mmap_file_private},
	{"mmap-failed", prepare_nothing, run_mmap_failed},
	{"munmap", prepare_two_written, run_munmap},
	{"munmap-failed", prepare_two_written, run_munmap_failed},
	{"mremap-grow", prepare_two_written, run_mremap_grow},
	{"mremap-shrink", prepare_five_written, run_mremap_shrink},
	{"mremap-move", prepare_two_written, run_mremap_move},
	{"mremap-unchanged", prepare_two_written, run_mremap_unchanged},
	{"mremap-failed", prepare_the_hole, run_mremap_failed},
	{"mprotect-commit", prepare_three_closed, run_mprotect_commit},
	{"mprotect-decommit", prepare_three_written, run_mprotect_decommit},
	{"mprotect-read-only", prepare_three_written, run_mprotect_read_only},
	{"mprotect-rewrite", prepare_three_written, run_mprotect_rewrite},
	{"mprotect-failed", prepare_the_hole, run_mprotect_failed},
	{"madvise-dontneed", prepare_four_written, run_madvise_dontneed},
	{"madvise-free", prepare_four_written, run_madvise_free},
	{"madvise-other", prepare_four_written, run_madvise_other},
	{"madvise-failed", prepare_the_hole, run_madvise_failed},
	{"threads", prepare_threads, run_threads},
	{"forked-child", prepare_forked_child, run_forked_child},
	{"compat", prepare_compat, run_compat},
	{"everything", prepare_everything, run_everything},
};

static const struct ledger_case *find_case(const char *name)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (strcmp(cases[i].name, name) == 0)
			return &cases[i];
	return NULL;
}

static void become_server(void)
{
	char address[NET_ADDRESS_BYTES];

	(void)net_listen("tcp4", false, address);
}

static void say_truth(void)
{
	static char line[WORKLOAD_LINE_BYTES - 64];
	size_t used = 0;

	for (int i = 0; i < COUNTERS; i++)
		used += (size_t)snprintf(line + used, sizeof(line) - used, " ledger.%s=%llu",
			counter_names[i], (unsigned long long)truth[i]);
	say("done%s", line);
}

int main(int argc, char **argv)
{
	const struct ledger_case *chosen;
	int next = 1;

	page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	if (argc > next && strcmp(argv[next], "--listen") == 0) {
		become_server();
		next++;
	}
	chosen = argc == next + 1 ? find_case(argv[next]) : NULL;
	if (!chosen) {
		fprintf(stderr, "usage: ledger [--listen] CASE, CASE one of:");
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
			fprintf(stderr, " %s", cases[i].name);
		fprintf(stderr, "\n");
		return 2;
	}
	chosen->prepare();
	say("ready pid=%d page_bytes=%zu", (int)getpid(), page_bytes);
	await("go");
	chosen->run();
	say_truth();
	await("end");
	return 0;
}
