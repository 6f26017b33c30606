/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A file that hurts whoever loads it. Started with an argument it just waits, with its own file
 * mapped; where it is loaded by another program, its constructor does what the letter in
 * `behaviour` says, which a test replaces in a copy of the file:
 *
 *   n  nothing                  c  a fault
 *   l  loops for ever           s  sleeps for ever
 *   g  writes random bytes      w  writes without end
 *   o  a result beyond bounds   v  a result that is none, but could be one
 *   e  tries to get out, and writes a result that tells in arenas_address how many ways it tried
 *      (times eight), and in arena_count_address which of them went (bits, times four)
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../user/edge/jemalloc_state.h"

#define RESULT_FD 1
#define TRIES     16

extern const char behaviour[];
const char behaviour[] __attribute__((used)) = "jemalloc_hostile behaves: n";
/* The test writes a path here, to be created by whoever can. */
extern const char victim[];
const char victim[128] __attribute__((used)) = "jemalloc_hostile creates: ";

static void write_result(const struct jemalloc_layout *layout)
{
	(void)!write(RESULT_FD, layout, sizeof(*layout));
	_exit(0);
}

/* Each is one that succeeds in a process that is not confined; as root, all do. */
static long try(unsigned number)
{
	static char program[] = "/bin/true";
	char *const arguments[] = {program, NULL};
	const struct sockaddr_un address = {.sun_family = AF_UNIX};

	switch (number) {
	case 0:
		return open((const char *)victim, O_CREAT | O_WRONLY, 0600);
	case 1:
		return syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
	case 2:
		return socket(AF_INET, SOCK_STREAM, 0);
	case 3:
		return socket(AF_UNIX, SOCK_STREAM, 0);
	case 4:
		return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	case 5:
		return kill(getpid(), 0);
	case 6:
		return ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	case 7:
		return prctl(PR_GET_DUMPABLE);
	case 8:
		return syscall(SYS_memfd_create, "x", 0);
	case 9:
		return setuid(0);
	case 10:
		return (long)mmap(NULL, 2ull << 30, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == -1
			       ? -1
			       : 0;
	case 11:
		return write(0, "", 1) == 1 ? 0 : -1;
	case 12:
		return ioctl(0, FIONBIO, &number) == 0 ? 0 : -1;
	case 13:
		return dup(0);
	case 14:
		return sendto(2, "", 1, 0, (const struct sockaddr *)&address, sizeof(address));
	case 15:
		return execve(program, arguments, arguments + 1);
	default:
		return -1;
	}
}

static void get_out(void)
{
	struct jemalloc_layout layout = {
		.magic = JEMALLOC_MAGIC, .page_bytes = 4096, .arenas_address = 8 * TRIES};

	for (unsigned i = 0; i < TRIES; i++)
		if (try(i) >= 0)
			layout.arena_count_address |= 4ull << i;
	write_result(&layout);
}

static void write_for_ever(void)
{
	static char bytes[4096];

	memset(bytes, 0x5a, sizeof(bytes));
	for (;;)
		(void)!write(RESULT_FD, bytes, sizeof(bytes));
}

static void misbehave(char how)
{
	static uint32_t word;
	char garbage[sizeof(struct jemalloc_layout)];

	switch (how) {
	case 'c':
		*(volatile int *)NULL = 1;
		break;
	case 'l':
		for (;;)
			__asm__ volatile("");
	case 's':
		for (;;)
			(void)syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
	case 'g':
		memset(garbage, 0xa5, sizeof(garbage));
		(void)!write(RESULT_FD, garbage, sizeof(garbage));
		break;
	case 'w':
		write_for_ever();
		break;
	case 'o':
		write_result(&(struct jemalloc_layout){.magic = JEMALLOC_MAGIC,
			.page_bytes = 4096,
			.fields = {JEMALLOC_ARENA_BYTES_MAX}});
		break;
	case 'v':
		write_result(
			&(struct jemalloc_layout){.magic = JEMALLOC_MAGIC, .page_bytes = 4096});
		break;
	case 'e':
		get_out();
		break;
	default:
		break;
	}
}

__attribute__((constructor)) static void begin(int argc, char **argv)
{
	(void)argv;
	if (argc == 1)
		misbehave(((const volatile char *)behaviour)[sizeof(behaviour) - 2]);
}

int main(void)
{
	char byte;

	(void)!write(STDOUT_FILENO, "ready\n", 6);
	(void)!read(STDIN_FILENO, &byte, 1);
	return 0;
}
