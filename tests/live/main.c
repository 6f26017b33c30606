/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * live [GROUP[:PATTERN]]...: pagestay, run for real against programs that know exactly what they
 * did.
 *
 * Map: main.c chooses the groups; each group is one file of that name (ledger.c, accepts.c, ...)
 * and lists its tests at the end; harness.c runs pagestay and the workloads; report.c reads and
 * checks what pagestay said. The workload programs are in tests/workloads. Without arguments all
 * groups run; a pattern such as brk* chooses tests in a group. Exit code 0 when no test failed, 1
 * otherwise, 2 for a wrong command line.
 */
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "groups.h"
#include "harness.h"

static const struct {
	const char *name;
	int (*run)(void);
} groups[] = {
	{"ledger", run_ledger_group},
	{"accepts", run_accepts_group},
	{"requests", run_requests_group},
	{"routes", run_routes_group},
	{"faults", run_faults_group},
	{"loss", run_loss_group},
	{"lifecycle", run_lifecycle_group},
	{"pages", run_pages_group},
	{"self", run_self_group},
};

#define GROUPS (sizeof(groups) / sizeof(groups[0]))

/* A machine that has just booted for the tests may not have brought its loopback interface up. */
static void raise_loopback(void)
{
	struct ifreq request = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	if (ioctl(fd, SIOCGIFFLAGS, &request) == 0 && !(request.ifr_flags & IFF_UP)) {
		request.ifr_flags |= IFF_UP;
		(void)ioctl(fd, SIOCSIFFLAGS, &request);
	}
	close(fd);
}

/* Returns the group that an argument names, or GROUPS; what follows the colon is the pattern. */
static size_t find_group(const char *argument, const char **ret_pattern)
{
	size_t length = strcspn(argument, ":");

	*ret_pattern = argument[length] ? argument + length + 1 : NULL;
	for (size_t i = 0; i < GROUPS; i++)
		if (strlen(groups[i].name) == length &&
			strncmp(groups[i].name, argument, length) == 0)
			return i;
	return GROUPS;
}

static void print_usage(void)
{
	fprintf(stderr, "usage: live [GROUP[:PATTERN]]..., GROUP one of:");
	for (size_t group = 0; group < GROUPS; group++)
		fprintf(stderr, " %s", groups[group].name);
	fprintf(stderr, "\n");
}

int main(int argc, char **argv)
{
	const char *pattern;
	int failed = 0;

	for (int i = 1; i < argc; i++) {
		if (find_group(argv[i], &pattern) == GROUPS) {
			print_usage();
			return 2;
		}
	}
	/* Writing to a workload that has died fails the test, not this program. */
	signal(SIGPIPE, SIG_IGN);
	raise_loopback();
	for (size_t group = 0; argc == 1 && group < GROUPS; group++)
		failed += groups[group].run();
	for (int i = 1; i < argc; i++) {
		size_t group = find_group(argv[i], &pattern);

		cmocka_set_test_filter(pattern);
		failed += groups[group].run();
	}
	return failed == 0 ? 0 : 1;
}
