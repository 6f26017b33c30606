// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Requests on TLS connections, as far as the headers of the client's records tell.
 *
 * Record types and lengths are in the clear (RFC 8446, 5.1), so the records are walked across the
 * receives of a connection. A request is a record of application data that is neither an encrypted
 * alert, which has one length, nor TLS 1.3's Finished, which follows the change of cipher. More
 * than this the kernel cannot know: counts on such connections are estimates. A global function
 * for the reason that http.bpf.c gives.
 */
#include "http.bpf.h"

#define RECORDS               8 /* walked in one receive */
#define CHANGE_CIPHER_SPEC    0x14
#define HANDSHAKE             0x16
#define APPLICATION_DATA      0x17
#define ENCRYPTED_ALERT_BYTES 19 /* two bytes, the inner type, and a tag of 16 */

/* A whole record header: note where the record ends. Is it a request? */
static __always_inline bool tls_record(struct connection *conn)
{
	__u8 type = conn->tls_header[0];
	__u32 length = (__u32)(__u8)conn->tls_header[3] << 8 | (__u8)conn->tls_header[4];
	bool after_change = conn->tls_changed;

	conn->tls_header_bytes = 0;
	conn->tls_left = length;
	conn->tls_changed = type == CHANGE_CIPHER_SPEC;
	if (type < CHANGE_CIPHER_SPEC || type > APPLICATION_DATA)
		conn->tls_lost = 1;
	return type == APPLICATION_DATA && !after_change && length > ENCRYPTED_ALERT_BYTES;
}

/* Follow the records through the bytes of one receive. Does a request begin among them? */
__noinline int http_tls_request(struct connection *conn, __u64 start, __u64 length)
{
	int found = 0;

	if (!conn)
		return 0;
	for (int i = 0; i < RECORDS && !conn->tls_lost; i++) {
		__u64 skip = conn->tls_left < length ? conn->tls_left : length;
		__u32 have = conn->tls_header_bytes;
		__u64 take;

		conn->tls_left -= skip;
		start += skip;
		length -= skip;
		if (!length)
			return found;
		if (have >= TLS_HEADER_BYTES)
			break;
		take = length < TLS_HEADER_BYTES ? length : TLS_HEADER_BYTES;
		if (take > TLS_HEADER_BYTES - have)
			take = TLS_HEADER_BYTES - have;
		if (!take || take > TLS_HEADER_BYTES ||
			bpf_probe_read_user(&conn->tls_header[have], take, (const void *)start))
			break;
		conn->tls_header_bytes = have + take;
		start += take;
		length -= take;
		if (conn->tls_header_bytes == TLS_HEADER_BYTES && tls_record(conn))
			found = 1;
	}
	if (length)
		conn->tls_lost = 1;
	return found;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
