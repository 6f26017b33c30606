/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the agent gives up, tried in a child that gives it up: nothing can be loaded, traced or
 * mounted from then on, in no thread, and what the loop and its sinks do still works.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../user/app/privileges.h"

/* What the child ends with. */
enum { AS_WANTED, NOT_DROPPED, LOADED, TRACED, MOUNTED, GIVEN_AWAY, NO_SOCKET, NO_FILE, NO_THREAD };

static bool is_refused(long result)
{
	return result == -1 && errno == EPERM;
}

static bool loading_is_refused(void)
{
	union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_SOCKET_FILTER};
	union bpf_attr map = {
		.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};

	return is_refused(syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr))) &&
	       is_refused(syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof(map)));
}

static void *try_in_thread(void *unused)
{
	return loading_is_refused() ? try_in_thread : NULL;
}

static int try_all(void)
{
	pthread_t thread;
	void *refused = NULL;
	struct diag diag = {};
	int fd;

	if (privileges_drop(&diag))
		return NOT_DROPPED;
	if (!loading_is_refused())
		return LOADED;
	if (!is_refused(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL)))
		return TRACED;
	if (!is_refused(mount("none", "/tmp", "tmpfs", 0, NULL)))
		return MOUNTED;
	/* Neither is listed, nor is its capability kept. */
	if (!is_refused(chown("/", 65534, 65534)))
		return GIVEN_AWAY;
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return NO_SOCKET;
	(void)close(fd);
	fd = open("/tmp", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, "x", 1) != 1 || fsync(fd))
		return NO_FILE;
	(void)close(fd);
	if (pthread_create(&thread, NULL, try_in_thread, NULL) || pthread_join(thread, &refused) ||
		!refused)
		return NO_THREAD;
	return AS_WANTED;
}

static void what_is_given_up_stays_so(void **state)
{
	int status = 0;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0)
		_exit(try_all());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), AS_WANTED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_given_up_stays_so),
	};

	return cmocka_run_group_tests_name("privileges", tests, NULL, NULL);
}
