/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who asks, and how often: a bounded table of clients, of the listener's thread.
 *
 * A bucket is a time up to which requests are paid for: it runs ahead of the clock by what was
 * asked for, and may be ahead by the burst. A client that is forgotten begins with a full bucket,
 * so the one that goes is who has been away longest, and has paid by then or nearly so; readers of
 * reports go last. One with connections is never forgotten: the pool is larger than the number of
 * connections.
 */
#include "listen_state.h"

#include <string.h>

#define NS_PER_MINUTE UINT64_C(60000000000)

/* So many at once, and so many a second. */
#define REFUSAL_COST_NS  (50 * NS_PER_MS)
#define REFUSAL_BURST_NS (2000 * NS_PER_MS)

_Static_assert(LISTEN_CONNECTIONS_MAX < LISTEN_CLIENTS, "a client can always be forgotten");

void clients_init(struct clients *clients, unsigned requests_per_minute)
{
	memset(clients, 0, sizeof(*clients));
	clients->cost_ns = NS_PER_MINUTE / requests_per_minute;
	clients->burst_ns = NS_PER_MINUTE / 4;
	if (clients->burst_ns < clients->cost_ns)
		clients->burst_ns = clients->cost_ns;
}

void clients_deinit(struct clients *clients)
{
	struct client *client, *next;

	HASH_ITER (hh, clients->table, client, next)
		HASH_DEL(clients->table, client);
}

void client_key(const union any_address *address, int fd, uint8_t ret_key[CLIENT_KEY_BYTES])
{
	struct ucred peer = {.uid = (uid_t)-1};
	socklen_t length = sizeof(peer);

	memset(ret_key, 0, CLIENT_KEY_BYTES);
	ret_key[0] = (uint8_t)address->any.sa_family;
	switch (address->any.sa_family) {
	case AF_INET:
		memcpy(ret_key + 4, &address->v4.sin_addr, sizeof(address->v4.sin_addr));
		break;
	case AF_INET6:
		memcpy(ret_key + 4, &address->v6.sin6_addr, 8);
		break;
	default:
		(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length);
		memcpy(ret_key + 4, &peer.uid, sizeof(peer.uid));
	}
}

static bool goes_before(const struct client *a, const struct client *b)
{
	return a->is_reader != b->is_reader ? b->is_reader : a->used_ns < b->used_ns;
}

/* An unused place, or that of who goes first. */
static struct client *make_room(struct clients *clients)
{
	struct client *first = NULL;

	for (unsigned i = 0; i < LISTEN_CLIENTS; i++) {
		struct client *client = &clients->pool[i];

		if (!client->is_used)
			return client;
		if (!client->connections && (!first || goes_before(client, first)))
			first = client;
	}
	if (!first)
		return NULL;
	HASH_DEL(clients->table, first);
	first->is_used = false;
	clients->count--;
	return first;
}

struct client *clients_find(
	struct clients *clients, const uint8_t key[CLIENT_KEY_BYTES], uint64_t now_ns)
{
	struct client *client;

	HASH_FIND(hh, clients->table, key, CLIENT_KEY_BYTES, client);
	if (!client) {
		client = make_room(clients);
		if (!client)
			return NULL;
		memset(client, 0, sizeof(*client));
		memcpy(client->key, key, CLIENT_KEY_BYTES);
		HASH_ADD(hh, clients->table, key, CLIENT_KEY_BYTES, client);
		if (!table_has(client))
			return NULL;
		client->is_used = true;
		clients->count++;
	}
	client->used_ns = now_ns;
	return client;
}

bool client_pay(
	const struct clients *clients, struct client *client, enum bucket bucket, uint64_t now_ns)
{
	bool is_refusal = bucket == BUCKET_REFUSALS;
	uint64_t cost_ns = is_refusal ? REFUSAL_COST_NS : clients->cost_ns;
	uint64_t burst_ns = is_refusal ? REFUSAL_BURST_NS : clients->burst_ns;
	uint64_t from_ns = client->paid_ns[bucket] > now_ns ? client->paid_ns[bucket] : now_ns;

	if (from_ns + cost_ns > now_ns + burst_ns)
		return false;
	client->paid_ns[bucket] = from_ns + cost_ns;
	return true;
}
