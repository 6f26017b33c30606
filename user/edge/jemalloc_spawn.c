/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Starts the child that calibrates, and validates what it says. The child is this very program with
 * one argument, an empty environment, a sealed copy of the file and a pipe; it is made without
 * copying our memory, in namespaces of its own where this is allowed, and it never outlives the
 * call. Its numbers are an attacker's until they are within bounds; after that they lead to reads
 * of the attacker's own process and nowhere else. Called by the reader of jemalloc.
 */
#include "pagestay/edge/jemalloc.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "jemalloc_state.h"
#include "pagestay/base/clock.h"
#include "pagestay/base/cleanup.h"

#define LIMIT_MS       3000
#define STACK_BYTES    65536
#define LOWEST_FD      3 /* what the child gets as 0 and 1 must not be there already */
#define PAGE_BYTES_MAX (2u << 20)
#define NAMESPACES     (CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWUTS)

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* What the child needs before it is another program. */
struct spawn {
	int program_fd;
	int file_fd;
	int result_fd;
};

static uint64_t now_ms(void)
{
	return clock_ns(CLOCK_MONOTONIC) / NS_PER_MS;
}

static int move_up(int *fd)
{
	int moved;

	if (*fd >= LOWEST_FD)
		return 0;
	moved = fcntl(*fd, F_DUPFD_CLOEXEC, LOWEST_FD);
	if (moved < 0)
		return -errno;
	close(*fd);
	*fd = moved;
	return 0;
}

/* Some systems insist on the flag, kernels before 6.3 do not know it. */
static int create_file(void)
{
	int fd = memfd_create("library", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("library", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd;
}

/* Nobody can change the copy between our looking at it and its being loaded. */
static int copy_and_seal(int fd, uint64_t bytes, int copy_fd)
{
	off_t offset = 0;

	while ((uint64_t)offset < bytes) {
		ssize_t sent = sendfile(copy_fd, fd, &offset, bytes - offset);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return -errno;
		if (sent == 0)
			return -EIO;
	}
	return fcntl(copy_fd, F_ADD_SEALS,
		       F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0
		       ? -errno
		       : 0;
}

/*
 * In our memory still, with us waiting: system calls and nothing else. Signals stay blocked, for
 * good: none of our handlers runs here, and what ends the child is SIGKILL or its own faults.
 */
static int become_child(void *argument)
{
	static char name[] = "pagestay", option[] = JEMALLOC_CALIBRATE_OPTION;
	const struct spawn *spawn = argument;
	char *const arguments[] = {name, option, NULL};
	char *const environment[] = {NULL};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ||
		dup2(spawn->file_fd, 0) < 0 || dup2(spawn->result_fd, 1) < 0 ||
		syscall(SYS_close_range, 2u, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		_exit(1);
	(void)syscall(SYS_execveat, spawn->program_fd, "", arguments, environment, AT_EMPTY_PATH);
	_exit(1);
}

/* A child sends no signal when it ends, so it is waited for by number, and by nobody else. */
static int clone_child(const struct spawn *spawn, char *stack_end, pid_t *ret_pid)
{
	static const int namespaces[] = {NAMESPACES, 0};
	sigset_t all, before;
	pid_t pid = -1;
	int error = 0;

	(void)sigfillset(&all);
	if (sigprocmask(SIG_BLOCK, &all, &before) < 0)
		return -errno;
	for (size_t i = 0; pid < 0 && i < sizeof(namespaces) / sizeof(namespaces[0]); i++) {
		pid = clone(become_child, stack_end, CLONE_VM | CLONE_VFORK | namespaces[i],
			(void *)spawn);
		error = pid < 0 ? -errno : 0;
	}
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	*ret_pid = pid;
	return error;
}

static int start_child(const struct spawn *spawn, pid_t *ret_pid)
{
	char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	int error;

	if (stack == MAP_FAILED)
		return -errno;
	/* When this returns, the child has left our memory. */
	error = clone_child(spawn, stack + STACK_BYTES, ret_pid);
	(void)munmap(stack, STACK_BYTES);
	return error;
}

static void end_child(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		;
}

/* What came within the time; less than all of it if the child ended or took too long. */
static size_t receive(int fd, void *ret_bytes, size_t bytes)
{
	const uint64_t end_ms = now_ms() + LIMIT_MS;
	size_t done = 0;

	while (done < bytes) {
		const uint64_t time_ms = now_ms();
		struct pollfd ready = {.fd = fd, .events = POLLIN};
		ssize_t got;

		if (time_ms >= end_ms || poll(&ready, 1, end_ms - time_ms) == 0)
			break;
		if (!ready.revents)
			continue;
		got = read(fd, (char *)ret_bytes + done, bytes - done);
		if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN))
			break;
		done += got > 0 ? got : 0;
	}
	return done;
}

static bool is_address(uint64_t address, uint64_t align)
{
	return address % align == 0 && address < JEMALLOC_IMAGE_BYTES_MAX;
}

static bool is_sound(const struct jemalloc_layout *layout)
{
	const uint64_t page_bytes = layout->page_bytes;

	if (page_bytes < 4096 || page_bytes > PAGE_BYTES_MAX || page_bytes & (page_bytes - 1) ||
		layout->switch_count > JEMALLOC_SWITCHES ||
		!is_address(layout->arenas_address, sizeof(uint64_t)) ||
		!is_address(layout->arena_count_address, sizeof(uint32_t)))
		return false;
	for (size_t i = 0; i < layout->switch_count; i++)
		if (!is_address(layout->switches[i], 1))
			return false;
	for (size_t i = 0; i < JEMALLOC_FIELDS; i++) {
		const uint64_t offset = layout->fields[i];

		if (offset == JEMALLOC_ABSENT && i != JEMALLOC_ACTIVE_PAGES &&
			i != JEMALLOC_DIRTY_PAGES)
			continue;
		if (offset % sizeof(uint64_t) || offset >= JEMALLOC_ARENA_BYTES_MAX)
			return false;
	}
	return true;
}

static void validate(struct jemalloc_layout *layout, size_t received)
{
	if (received != sizeof(*layout))
		layout->outcome = JEMALLOC_SILENT;
	else if (layout->magic != JEMALLOC_MAGIC || layout->outcome >= JEMALLOC_OUTCOMES ||
		 layout->outcome == JEMALLOC_SILENT || layout->outcome == JEMALLOC_UNTRIED ||
		 (layout->outcome == JEMALLOC_CALIBRATED && !is_sound(layout)))
		layout->outcome = JEMALLOC_NONSENSE;
}

int jemalloc_calibrate(int fd, uint64_t bytes, struct jemalloc_layout *ret_layout)
{
	_cleanup_(cleanup_close) int result_fd = -1;
	_cleanup_(cleanup_close) int program_fd = open("/proc/self/exe", O_PATH | O_CLOEXEC);
	_cleanup_(cleanup_close) int copy_fd = create_file();
	_cleanup_(cleanup_close) int child_fd = -1;
	struct jemalloc_layout layout = {};
	int pipe_fds[2];
	pid_t pid = -1;
	int error;

	if (program_fd < 0 || copy_fd < 0)
		return -errno;
	error = copy_and_seal(fd, bytes, copy_fd);
	if (error)
		return error;
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	result_fd = pipe_fds[0];
	child_fd = pipe_fds[1];
	if (move_up(&program_fd) || move_up(&copy_fd) || move_up(&child_fd))
		return -EMFILE;
	error = start_child(
		&(struct spawn){
			.program_fd = program_fd, .file_fd = copy_fd, .result_fd = child_fd},
		&pid);
	if (error)
		return error;
	/* Or its end would not end our reading. */
	close(child_fd);
	child_fd = -1;
	validate(&layout, receive(result_fd, &layout, sizeof(layout)));
	end_child(pid);
	*ret_layout = layout;
	return 0;
}
