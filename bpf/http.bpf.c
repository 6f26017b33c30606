// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The first bytes of a turn: what the connection speaks, whether this is a new request or the rest
 * of one, and its route.
 *
 * The bytes are an attacker's: nothing here trusts a length, and they are kept as they came;
 * escaping is the report's business. These are global functions so that the verifier walks their
 * loops once, and not once for every way to reach them; that is also why each tests its pointers.
 */
#include "http.bpf.h"

#define PIPELINE_BYTES 320 /* how far into a first read a second request is looked for */

const volatile __u64 cfg_route_seed = 0;

/* Bound: --max-routes. Full: the request counts as the route `other`, which is not a loss. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ps_route_key);
	__type(value, struct ps_route);
} routes SEC(".maps");

static __always_inline __u64 at_most(__u64 value, __u64 bound)
{
	return value < bound ? value : bound;
}

__noinline int http_head_begin(struct connection *conn, __u64 start, __u64 length)
{
	length = at_most(length, HEAD_BYTES);
	if (!conn)
		return 0;
	conn->head_bytes = 0;
	conn->head_done = 0;
	if (length && bpf_probe_read_user(conn->head, length, (const void *)start) == 0)
		conn->head_bytes = length;
	return 0;
}

__noinline int http_head_append(struct connection *conn, __u64 start, __u64 length)
{
	__u32 at;

	length = at_most(length, HEAD_BYTES);
	if (!conn || !length)
		return 0;
	at = conn->head_bytes;
	if (at >= HEAD_BYTES || bpf_probe_read_user(&conn->head[at], length, (const void *)start))
		return 0;
	conn->head_bytes = at_most(at + length, HEAD_BYTES);
	return 0;
}

__noinline int http_begins_as_method(struct connection *conn)
{
	static const char methods[][4] = {"GET ", "POST", "HEAD", "PUT ", "DELE", "OPTI", "PATC",
		"CONN", "TRAC", "PROP", "MKCO", "COPY", "MOVE", "LOCK", "UNLO", "REPO", "SEAR"};
	__u32 begins = 0, arrived;

	if (!conn || !conn->head_bytes)
		return 0;
	arrived = ~0u >> (32 - 8 * at_most(conn->head_bytes, sizeof(begins)));
	__builtin_memcpy(&begins, conn->head, sizeof(begins));
	for (__u32 i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		__u32 method;

		__builtin_memcpy(&method, methods[i], sizeof(method));
		if (((begins ^ method) & arrived) == 0)
			return 1;
	}
	return 0;
}

/*
 * Does a whole request end inside these bytes, with more behind it? Asked of methods without a
 * body only, where what follows can only be the next request. Looks at the first bytes and no
 * further, so a long header hides its successor. The matching has no branches: each would double
 * the states that the verifier walks.
 */
__noinline int http_is_pipelined(__u64 start, __u64 length)
{
	__u64 window = 0, ends = 0;

	for (__u32 at = 0; at < PIPELINE_BYTES; at += HEAD_BYTES) {
		__u64 left = length > at ? length - at : 0;
		char part[HEAD_BYTES] = {};

		left = at_most(left, HEAD_BYTES);
		if (!left || bpf_probe_read_user(part, left, (const void *)(start + at)))
			return 0;
		for (__u32 i = 0; i < HEAD_BYTES; i++) {
			__u64 differs, behind = (__u64)at + i + 1 - length;

			window = (window << 8 | (__u8)part[i]) & 0xffffffff;
			differs = window ^ 0x0d0a0d0a;
			barrier_var(differs);
			/* Bit 63 of the first is set when they agree, of the second when more
			 * follows. */
			ends |= (differs - 1) & behind;
			barrier_var(ends);
		}
		if (ends >> 63)
			return 1;
	}
	return 0;
}

/* What the turn's first bytes say that the connection speaks. */
__noinline int http_speech(struct connection *conn)
{
	if (!conn || !conn->head_bytes)
		return SPEECH_OPAQUE;
	if (conn->head_bytes > 2 && conn->head[0] == 'P' && conn->head[1] == 'R' &&
		conn->head[2] == 'I')
		return SPEECH_HTTP2;
	if (http_begins_as_method(conn))
		return SPEECH_HTTP1;
	if (conn->head_bytes > 1 && conn->head[0] >= TLS_FIRST_RECORD &&
		conn->head[0] <= TLS_LAST_RECORD && conn->head[1] == 3)
		return SPEECH_TLS;
	return SPEECH_OPAQUE;
}

/* Where the method and the path end in the head; 0 while the request line is still arriving. */
__noinline int http_route_length(struct connection *conn)
{
	__u32 spaces = 0;

	if (!conn)
		return 0;
	for (__u32 i = 0; i < HEAD_BYTES; i++) {
		char c;

		if (i >= conn->head_bytes)
			return 0;
		c = conn->head[i];
		if (c == '\r' || c == '\n' || (spaces && (c == '?' || c == '#')))
			return i;
		if (c == ' ') {
			if (spaces)
				return i;
			spaces = 1;
		}
	}
	return HEAD_BYTES;
}

static __always_inline __u64 route_hash(const struct ps_route *route)
{
	const __u64 *word = (const __u64 *)route->text;
	__u64 hash = cfg_route_seed;

	for (int i = 0; i < PS_ROUTE_BYTES / 8; i++) {
		hash = (hash ^ word[i]) * 0x9e3779b97f4a7c15ull;
		hash ^= hash >> 29;
	}
	return hash;
}

/* Count a request under the first `length` bytes of the head, or under `-` where that is 0. */
__noinline int http_route_count(struct connection *conn, __u32 length)
{
	struct ps_route_key key = {};
	struct ps_route fresh = {}, *route;

	if (!conn)
		return 0;
	key.proc = conn->owner;
	fresh.text[0] = '-';
	for (__u32 i = 0; i < HEAD_BYTES; i++)
		if (i < length)
			fresh.text[i] = conn->head[i];
	key.hash = route_hash(&fresh);
	conn->route = key.hash;
	route = bpf_map_lookup_elem(&routes, &key);
	if (!route) {
		bpf_map_update_elem(&routes, &key, &fresh, BPF_NOEXIST);
		route = bpf_map_lookup_elem(&routes, &key);
	}
	if (route)
		__sync_fetch_and_add(&route->requests, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
