/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * brief --requests K [--then-exec L] [--leave]: a server and its own only client in one thread.
 *
 * It connects to itself, so it needs no second process and its life can be as short as its K
 * requests. The active end of the connection lies in the same process, and nothing that happens on
 * it is a request. With --then-exec it replaces itself by a new program image that makes L more
 * requests on a socket of its own; with --leave it ends without waiting for "end".
 */
#include <getopt.h>

#include "net.h"
#include "workload.h"

struct plan {
	unsigned requests;
	const char *then_exec;
	bool leaves;
	bool is_continued; /* this is the image after exec: nobody waits for "ready" */
};

static void usage(void)
{
	fprintf(stderr, "usage: brief --requests K [--then-exec L] [--leave]\n");
	exit(2);
}

static struct plan parse_options(int argc, char **argv)
{
	static const struct option table[] = {
		{"requests", required_argument, NULL, 'r'},
		{"then-exec", required_argument, NULL, 'x'},
		{"leave", no_argument, NULL, 'l'},
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
		case 'c':
			plan.is_continued = true;
			break;
		default:
			usage();
		}
	}
	return plan;
}

/* Makes the requests on one connection: what the passive end receives and answers is what counts.
 */
static void make_requests(int listen_fd, const struct net_address *address, unsigned requests)
{
	int client = net_connect(address);
	int server = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	char byte = 'q';

	if (server < 0)
		die("accept");
	for (unsigned i = 0; i < requests; i++)
		if (send(client, &byte, 1, 0) != 1 || recv(server, &byte, 1, 0) != 1 ||
			send(server, &byte, 1, 0) != 1 || recv(client, &byte, 1, 0) != 1)
			die("exchange");
	close(client);
	close(server);
}

int main(int argc, char **argv)
{
	struct plan plan = parse_options(argc, argv);
	char text[NET_ADDRESS_BYTES];
	struct net_address address;
	int listen_fd = net_listen("tcp4", false, text);

	address = net_parse(text);
	if (!plan.is_continued) {
		say("ready pid=%d address=%s", (int)getpid(), text);
		await("go");
	}
	make_requests(listen_fd, &address, plan.requests);
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
