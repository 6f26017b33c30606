/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Loopback stream sockets for the workloads. An address is a text: tcp4:PORT, tcp6:PORT, tcp46:PORT
 * (an IPv6 socket that IPv4 clients connect to), unix:PATH or abstract:NAME; the part before the
 * colon is the family. Unix names hold the process id, so that runs do not meet. Errors end the
 * workload; a family that this kernel does not have ends it as "unsupported".
 */
#ifndef PAGESTAY_TESTS_NET_H
#define PAGESTAY_TESTS_NET_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "workload.h"

#define NET_ADDRESS_BYTES 80

struct net_address {
	struct sockaddr_storage storage;
	socklen_t length;
};

/* Reads an address text, as a client needs it. */
__attribute__((unused)) static struct net_address net_parse(const char *text)
{
	struct net_address address = {0};
	struct sockaddr_un *local = (struct sockaddr_un *)&address.storage;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address.storage;
	struct sockaddr_in *v4 = (struct sockaddr_in *)&address.storage;
	const char *rest = strchr(text, ':');

	if (rest && (strncmp(text, "tcp4:", 5) == 0 || strncmp(text, "tcp46:", 6) == 0)) {
		v4->sin_family = AF_INET;
		v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		v4->sin_port = htons((uint16_t)strtoul(rest + 1, NULL, 10));
		address.length = sizeof(*v4);
	} else if (rest && strncmp(text, "tcp6:", 5) == 0) {
		v6->sin6_family = AF_INET6;
		v6->sin6_addr = (struct in6_addr)IN6ADDR_LOOPBACK_INIT;
		v6->sin6_port = htons((uint16_t)strtoul(rest + 1, NULL, 10));
		address.length = sizeof(*v6);
	} else if (rest && (strncmp(text, "unix:", 5) == 0 || strncmp(text, "abstract:", 9) == 0)) {
		size_t skip = text[0] == 'a' ? 1 : 0;
		int length = snprintf(
			local->sun_path + skip, sizeof(local->sun_path) - skip, "%s", rest + 1);

		local->sun_family = AF_UNIX;
		address.length =
			(socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length + 1);
	} else {
		errno = EINVAL;
		die("address '%s'", text);
	}
	return address;
}

__attribute__((unused)) static int net_connect(const struct net_address *address)
{
	int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0)
		die("socket");
	if (connect(fd, (const struct sockaddr *)&address->storage, address->length) != 0)
		die("connect");
	if (address->storage.ss_family != AF_UNIX)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

/* The address to listen at, which for tcp46 is the IPv6 form of the client's. */
__attribute__((unused)) static struct net_address net_parse_own(const char *text)
{
	struct net_address address = net_parse(text);
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address.storage;

	if (strncmp(text, "tcp46:", 6) == 0) {
		v6->sin6_family = AF_INET6;
		(void)inet_pton(AF_INET6, "::ffff:127.0.0.1", &v6->sin6_addr);
		address.length = sizeof(*v6);
	}
	return address;
}

/* Listens at an address text; the port, where there is one, is read back into `text`. */
__attribute__((unused)) static int net_listen_at(char text[NET_ADDRESS_BYTES], bool is_shared)
{
	struct net_address address = net_parse_own(text);
	int family = address.storage.ss_family;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0 && errno == EAFNOSUPPORT) {
		say("unsupported %s: %s", text, strerror(errno));
		_exit(0);
	}
	if (fd < 0)
		die("socket");
	if (strncmp(text, "unix:", 5) == 0)
		(void)unlink(text + 5);
	if (family != AF_UNIX) {
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (is_shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) != 0)
			die("SO_REUSEPORT");
	}
	if (bind(fd, (struct sockaddr *)&address.storage, address.length) != 0) {
		if (errno == EADDRNOTAVAIL) {
			say("unsupported %s: %s", text, strerror(errno));
			_exit(0);
		}
		die("bind to %s", text);
	}
	if (listen(fd, 1024) != 0 ||
		getsockname(fd, (struct sockaddr *)&address.storage, &address.length) != 0)
		die("listen at %s", text);
	if (family != AF_UNIX)
		(void)sprintf(text + strcspn(text, ":"), ":%u",
			ntohs(((struct sockaddr_in *)&address.storage)->sin_port));
	return fd;
}

/* Listens at a new address of this family and writes its text. */
__attribute__((unused)) static int net_listen(
	const char *family, bool is_shared, char ret_text[NET_ADDRESS_BYTES])
{
	if (strcmp(family, "unix") == 0)
		(void)snprintf(ret_text, NET_ADDRESS_BYTES, "unix:/tmp/pagestay-workload-%d",
			(int)getpid());
	else if (strcmp(family, "abstract") == 0)
		(void)snprintf(ret_text, NET_ADDRESS_BYTES, "abstract:pagestay-workload-%d",
			(int)getpid());
	else
		(void)snprintf(ret_text, NET_ADDRESS_BYTES, "%s:0", family);
	return net_listen_at(ret_text, is_shared);
}

/* Removes what listening left in the file system. */
__attribute__((unused)) static void net_forget(const char *text)
{
	if (strncmp(text, "unix:", 5) == 0)
		(void)unlink(text + 5);
}

#endif
