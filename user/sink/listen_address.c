/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where to listen: reads the address, and makes the socket. Owns nothing; called once by
 * sink_listen_new. Names are not resolved, so nobody's name server decides what is loopback.
 */
#include "listen_state.h"

#include "pagestay/base/cleanup.h"
#include "pagestay/base/diag.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>

#define BACKLOG     1024
#define SOCKET_MODE 0660

/* What the kernel holds of a connection: of answers that are not fetched, and of floods. */
#define SEND_BYTES    (256 * 1024)
#define RECEIVE_BYTES (16 * 1024)

/*
 * A connection is not accepted before its first bytes are there, or after so long: until then it
 * costs the kernel a little, and us nothing. A request that comes in one piece is read when its
 * connection is accepted, so a flood of idle connections comes between the two only where the
 * kernel's queue of such connections is full: with SYN cookies it accepts without waiting. Then who
 * has read a report before keeps a connection.
 */
#define DEFER_S (LISTEN_REQUEST_MS / 1000)

static int bad_address(const char *text, struct diag *diag)
{
	return diag_set(diag, -EINVAL,
		"'%s' is no address to listen on: 127.0.0.1:9184, [::1]:9184 or unix:/path", text);
}

static int parse_local(const char *text, struct listen_address *ret_address, struct diag *diag)
{
	const char *path = text + strlen("unix:");
	struct sockaddr_un *local = &ret_address->address.local;

	if (path[0] != '/')
		return bad_address(text, diag);
	if (strlen(path) >= sizeof(local->sun_path))
		return diag_set(diag, -ENAMETOOLONG, "'%.40s...': longer than %zu bytes", text,
			sizeof(local->sun_path) - 1);
	local->sun_family = AF_UNIX;
	(void)snprintf(local->sun_path, sizeof(local->sun_path), "%s", path);
	ret_address->length = sizeof(*local);
	ret_address->is_local = ret_address->is_loopback = true;
	return 0;
}

/* Decimal digits, up to 65535. */
static bool parse_port(const char *text, in_port_t *ret_port)
{
	size_t length = strlen(text);
	unsigned long port;

	if (length < 1 || length > 5 || strspn(text, "0123456789") != length)
		return false;
	port = strtoul(text, NULL, 10);
	*ret_port = htons((uint16_t)port);
	return port <= 65535;
}

/* The host without brackets; false if it is too long. */
static bool copy_host(const char *text, const char *end, char *ret_host, size_t host_bytes)
{
	if (end <= text || (size_t)(end - text) >= host_bytes)
		return false;
	memcpy(ret_host, text, (size_t)(end - text));
	ret_host[end - text] = '\0';
	return true;
}

static bool parse_v4(const char *text, const char *colon, struct listen_address *ret_address)
{
	struct sockaddr_in *v4 = &ret_address->address.v4;
	char host[INET_ADDRSTRLEN];

	if (!copy_host(text, colon, host, sizeof(host)) ||
		inet_pton(AF_INET, host, &v4->sin_addr) != 1)
		return false;
	v4->sin_family = AF_INET;
	ret_address->length = sizeof(*v4);
	ret_address->is_loopback = ntohl(v4->sin_addr.s_addr) >> 24 == 127;
	return parse_port(colon + 1, &v4->sin_port);
}

static bool parse_v6(const char *text, const char *colon, struct listen_address *ret_address)
{
	struct sockaddr_in6 *v6 = &ret_address->address.v6;
	char host[INET6_ADDRSTRLEN];

	if (colon[-1] != ']' || !copy_host(text + 1, colon - 1, host, sizeof(host)) ||
		inet_pton(AF_INET6, host, &v6->sin6_addr) != 1)
		return false;
	v6->sin6_family = AF_INET6;
	ret_address->length = sizeof(*v6);
	ret_address->is_loopback = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
	return parse_port(colon + 1, &v6->sin6_port);
}

int listen_address_parse(const char *text, struct listen_address *ret_address, struct diag *diag)
{
	struct listen_address address = {0};
	const char *colon = strrchr(text, ':');
	int error = 0;

	if (strncmp(text, "unix:", 5) == 0)
		error = parse_local(text, &address, diag);
	else if (!colon || colon == text ||
		 !(text[0] == '[' ? parse_v6(text, colon, &address)
				  : parse_v4(text, colon, &address)))
		error = bad_address(text, diag);
	if (!error)
		*ret_address = address;
	return error;
}

/* Removes what a listener that is gone has left, and nothing else. */
static int clear_path(const struct listen_address *address, struct diag *diag)
{
	const char *path = address->address.local.sun_path;
	_cleanup_(cleanup_close) int fd = -1;
	struct stat found;

	if (lstat(path, &found) != 0)
		return 0;
	if (!S_ISSOCK(found.st_mode))
		return diag_set(diag, -EEXIST, "%s is there, and is no socket", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return diag_set(diag, -errno, "a socket: %s", strerror(errno));
	if (connect(fd, &address->address.any, address->length) == 0 || errno == EAGAIN)
		return diag_set(diag, -EADDRINUSE, "somebody listens on %s already", path);
	if (errno != ECONNREFUSED)
		return diag_set(diag, -errno, "cannot tell whether somebody listens on %s: %s",
			path, strerror(errno));
	if (unlink(path) != 0)
		return diag_set(diag, -errno, "cannot remove %s: %s", path, strerror(errno));
	return 0;
}

static int bind_socket(int fd, struct listen_address *address)
{
	static const int one = 1, send_bytes = SEND_BYTES, receive_bytes = RECEIVE_BYTES,
			 defer_s = DEFER_S;

	/* Accepted sockets have them from this one. */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof(send_bytes));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));

	if (address->is_local) {
		/* No wider than it will be for a moment, whatever the umask. */
		(void)fchmod(fd, SOCKET_MODE);
	} else {
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		(void)setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer_s, sizeof(defer_s));
		if (address->address.any.sa_family == AF_INET6 &&
			setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) != 0)
			return -errno;
	}
	if (bind(fd, &address->address.any, address->length) != 0)
		return -errno;
	if (address->is_local && chmod(address->address.local.sun_path, SOCKET_MODE) != 0)
		return -errno;
	if (listen(fd, BACKLOG) != 0)
		return -errno;
	if (!address->is_local && getsockname(fd, &address->address.any, &address->length) != 0)
		return -errno;
	return 0;
}

int listen_address_open(
	struct listen_address *address, const char *text, int *ret_fd, struct diag *diag)
{
	int error = address->is_local ? clear_path(address, diag) : 0;
	int fd;

	if (error)
		return error;
	fd = socket(address->address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	error = fd < 0 ? -errno : bind_socket(fd, address);
	if (error) {
		cleanup_close(&fd);
		return diag_set(diag, error, "cannot listen on %s: %s", text, strerror(-error));
	}
	*ret_fd = fd;
	return 0;
}
