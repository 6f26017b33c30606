/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * brief --requests K OPTIONS: a server and its own only client in one thread.
 *
 *   --then-exec L   then replaces itself by a new program image, which makes L more requests on a
 * socket of its own
 *   --leave         ends without waiting for "end"
 *   --open-first    connects before "ready"
 *   --name NAME     takes this name first
 *   --new-net       serves in a network namespace of its own
 *   --new-pid       serves as the first process of a pid namespace; "ready" has its id outside
 *
 * It connects to itself, so it needs no second process and its life can be as short as its
 * requests. The active end of the connection lies in the same process, and nothing that happens on
 * it is a request.
 */
#include <getopt.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <signal.h>

#include "net.h"
#include "workload.h"

struct plan {
	unsigned requests;
	const char *then_exec;
	const char *name;
	bool leaves, opens_first, has_new_net, has_new_pid;
	bool is_continued; /* this is the image after exec: nobody waits for "ready" */
};

static void usage(void)
{
	fprintf(stderr, "usage: brief [--requests K] [--then-exec L] [--leave] [--open-first]\n"
			"             [--name NAME] [--new-net] [--new-pid]\n");
	exit(2);
}

static struct plan parse_options(int argc, char **argv)
{
	static const struct option table[] = {
		{"requests", required_argument, NULL, 'r'},
		{"then-exec", required_argument, NULL, 'x'},
		{"leave", no_argument, NULL, 'l'},
		{"open-first", no_argument, NULL, 'o'},
		{"name", required_argument, NULL, 'm'},
		{"new-net", no_argument, NULL, 'n'},
		{"new-pid", no_argument, NULL, 'p'},
		{"continued", no_argument, NULL, 'c'},
		{0},
	};
	struct plan plan = {.requests = 1};
	int option;

	while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
		switch (option) {
		case 'r':
			plan.requests = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'x':
			plan.then_exec = optarg;
			break;
		case 'l':
			plan.leaves = true;
			break;
		case 'o':
			plan.opens_first = true;
			break;
		case 'm':
			plan.name = optarg;
			break;
		case 'n':
			plan.has_new_net = true;
			break;
		case 'p':
			plan.has_new_pid = true;
			break;
		case 'c':
			plan.is_continued = true;
			break;
		default:
			usage();
		}
	}
	return plan;
}

static void enter_new_net(void)
{
	struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd;

	if (unshare(CLONE_NEWNET) != 0)
		die("network namespace");
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &loopback) != 0)
		die("loopback");
	close(fd);
}

/*
 * Goes on in a child that is the first of a new pid namespace, and returns its id outside; the
 * parent stays behind to pass on how the child ends.
 */
static pid_t enter_new_pid(void)
{
	int ends[2];
	pid_t child;
	int status;

	if (pipe(ends) != 0 || unshare(CLONE_NEWPID) != 0)
		die("pid namespace");
	child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (read(ends[0], &child, sizeof(child)) != sizeof(child))
			die("id");
		close(ends[0]);
		close(ends[1]);
		return child;
	}
	if (write(ends[1], &child, sizeof(child)) != sizeof(child) ||
		waitpid(child, &status, 0) != child)
		die("child");
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

/* Both ends of one connection. */
struct pair {
	int client, server;
};

static struct pair open_pair(int listen_fd, const struct net_address *address)
{
	struct pair pair = {.client = net_connect(address)};

	pair.server = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (pair.server < 0)
		die("accept");
	return pair;
}

/* What the passive end receives and answers is what counts. */
static void make_requests(struct pair pair, unsigned requests)
{
	char byte = 'q';

	for (unsigned i = 0; i < requests; i++)
		if (send(pair.client, &byte, 1, 0) != 1 || recv(pair.server, &byte, 1, 0) != 1 ||
			send(pair.server, &byte, 1, 0) != 1 || recv(pair.client, &byte, 1, 0) != 1)
			die("exchange");
	close(pair.client);
	close(pair.server);
}

int main(int argc, char **argv)
{
	struct plan plan = parse_options(argc, argv);
	char text[NET_ADDRESS_BYTES];
	struct net_address address;
	pid_t outer_pid = getpid();
	struct pair pair = {0};
	int listen_fd;

	if (plan.name)
		prctl(PR_SET_NAME, plan.name);
	if (plan.has_new_pid)
		outer_pid = enter_new_pid();
	if (plan.has_new_net)
		enter_new_net();
	listen_fd = net_listen("tcp4", false, text);
	address = net_parse(text);
	if (plan.opens_first)
		pair = open_pair(listen_fd, &address);
	if (!plan.is_continued) {
		say("ready pid=%d address=%s", (int)outer_pid, text);
		await("go");
	}
	if (!plan.opens_first)
		pair = open_pair(listen_fd, &address);
	make_requests(pair, plan.requests);
	if (plan.then_exec) {
		execl("/proc/self/exe", "brief-again", "--requests", plan.then_exec, "--continued",
			(char *)NULL);
		die("exec");
	}
	say("done requests=%u", plan.requests);
	if (!plan.leaves)
		await("end");
	return 0;
}
