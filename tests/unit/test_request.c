/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Requests, windows and faults as the kernel programs count them, in a small world of processes and
 * connections: examples first, then random histories against a model that reads the log of all
 * deeds and knows nothing but the definitions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "bpf_world.h"

#include "methods.h"
#include "seeded.h"

#define GET      "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST     "POST /form HTTP/1.1\r\nContent-Length: 9\r\n\r\n"
#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"
#define ANSWER   "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static int setup(void **state)
{
	world_reset();
	return 0;
}

/* Both kinds of connection, through both sets of hooks. */
#define EACH_KIND(is_unix)                                                                         \
	for (int kind_ = 0, is_unix = 0; kind_ < 4; kind_++, is_unix = kind_ & 1)                  \
		if (world_reset(), uses_fexit = kind_ >> 1, true)

static void assert_requests(uint64_t requests)
{
	assert_int_equal(world_count(0, PS_REQUESTS), requests);
	assert_int_equal(world_count(0, PS_REQUESTS_ROUTED), requests);
}

static void assert_faults(uint64_t in_requests, uint64_t overlapping)
{
	assert_int_equal(world_count(0, PS_FAULTS_IN_REQUESTS), in_requests);
	assert_int_equal(world_count(0, PS_FAULTS_OVERLAPPING), overlapping);
}

/*
 * Turns.
 */

static void request_after_a_response_is_another(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		for (int i = 0; i < 5; i++) {
			world_receive(0, wire, GET);
			world_send(0, wire, ANSWER);
		}
		assert_requests(5);
		assert_int_equal(world_route(0, "GET /"), 5);
		assert_int_equal(world_count(0, PS_CONNECTIONS_OPENED), 1);
		assert_int_equal(world_count(0, PS_REQUESTS_MERGED), 0);
		assert_int_equal(world_count(0, PS_REQUESTS_HANDED_OFF), 0);
	}
}

static void request_in_many_segments_is_one(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		for (size_t i = 0; i < strlen(GET); i++)
			world_receive_by(0, wire, &GET[i], 1, i);
		assert_requests(1);
		assert_int_equal(world_route(0, "GET /"), 1);
		world_send(0, wire, ANSWER);
		assert_requests(1);
	}
}

static void response_in_many_writes_is_one(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		world_receive(0, wire, GET);
		for (size_t i = 0; i < strlen(ANSWER); i++)
			world_send_by(0, wire, &ANSWER[i], 1, i);
		world_receive(0, wire, GET);
		assert_requests(2);
	}
}

static void body_that_follows_its_head_is_the_same_request(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		world_receive(0, wire, POST);
		world_receive(0, wire, "body ");
		world_receive(0, wire, "body");
		assert_requests(1);
		world_send(0, wire, ANSWER);
		world_receive(0, wire, POST);
		assert_requests(2);
	}
}

static void interim_answer_does_not_end_a_request(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		for (int i = 0; i < 3; i++) {
			world_receive(0, wire, POST);
			world_send(0, wire, CONTINUE);
			/* A body may look like anything. */
			world_receive(0, wire, "GET body");
			world_send(0, wire, ANSWER);
		}
		assert_requests(3);
		assert_int_equal(world_route(0, "POST /form"), 3);
		assert_int_equal(world_open_requests(0), 0);
	}
}

static void interim_answer_with_the_answer_behind_it_ends_a_request(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		for (int i = 0; i < 3; i++) {
			world_receive(0, wire, POST "some body");
			world_send(0, wire, CONTINUE ANSWER);
		}
		assert_requests(3);
	}
}

static void bytes_behind_the_last_answer_are_read_to_be_dropped(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		world_receive(0, wire, GET);
		world_send(0, wire, ANSWER);
		wire_sock(wire)->sk_shutdown = SEND_SHUTDOWN;
		/* Shutting down sends an end, which has a sequence number of its own. */
		wires[wire].tcp.write_seq++;
		world_receive(0, wire, GET);
		world_fault(0, 10, 0);
		world_receive(0, wire, GET);
		assert_requests(1);
		assert_faults(0, 0);
		assert_int_equal(world_open_requests(0), 0);
	}
}

static void body_behind_an_early_answer_is_no_request(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		world_receive(0, wire, POST);
		world_send(0, wire, ANSWER);
		world_receive(0, wire, "body ");
		world_receive(0, wire, "body");
		assert_requests(1);
		world_receive(0, wire, POST);
		assert_requests(2);
		assert_int_equal(world_route(0, "POST /form"), 2);
	}
}

static void bytes_that_nobody_can_read_are_requests(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		for (int i = 0; i < 3; i++) {
			shim_call(&workers[0].task, __NR_splice, 3, 8, 0);
			probe_receive(0, wire_sock(wire), 10, 0);
			world_send(0, wire, ANSWER);
		}
		assert_requests(3);
		assert_int_equal(world_route(0, "-"), 3);
		/* They might as well be the body of a request that was answered. */
		world_receive(0, wire, POST);
		world_send(0, wire, ANSWER);
		shim_call(&workers[0].task, __NR_splice, 3, 8, 0);
		probe_receive(0, wire_sock(wire), 10, 0);
		assert_requests(5);
	}
}

static void server_may_speak_first(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		world_send(0, wire, "220 host ESMTP\r\n");
		world_send(0, wire, "hello\r\n");
		assert_requests(0);
		for (int i = 0; i < 3; i++) {
			world_receive(0, wire, "EHLO host\r\n");
			world_send(0, wire, "250 host\r\n");
		}
		assert_requests(3);
		assert_int_equal(world_route(0, "-"), 3);
		assert_int_equal(world_open_requests(0), 0);
	}
}

static void what_is_nothing_counts_nothing(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		world_nothing(0, wire);
		assert_int_equal(world_count(0, PS_CONNECTIONS_OPENED), 0);
		world_receive(0, wire, "GET /");
		world_nothing(0, wire);
		world_receive(0, wire, "path HTTP/1.1\r\n\r\n");
		assert_requests(1);
		assert_int_equal(world_route(0, "GET /path"), 1);
	}
}

static void end_of_stream_is_no_request(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		world_receive(0, wire, GET);
		world_end(0, wire, 0);
		world_end(0, wire, 0);
		assert_int_equal(world_open_requests(0), 0);
		world_send(0, wire, ANSWER);
		world_end(0, wire, CONNECTION_RESET);
		assert_requests(1);
		assert_int_equal(world_open_requests(0), 0);
	}
}

static void vanished_client_ends_its_request(void **state)
{
	int wire = world_open(false);

	world_receive(0, wire, "GET /unfin");
	assert_int_equal(world_open_requests(0), 1);
	world_reset_by_peer(wire);
	assert_requests(1);
	assert_int_equal(world_open_requests(0), 0);
	world_end(0, wire, CONNECTION_RESET);
	world_close(wire);
	world_destroy(wire);
	assert_requests(1);
	assert_int_equal(world_open_requests(0), 0);
}

static void request_line_that_never_ends_is_unknown(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		world_receive(0, wire, "GET /unfin");
		assert_int_equal(world_count(0, PS_REQUESTS_ROUTED), 0);
		world_send(0, wire, "HTTP/1.1 400 Bad\r\n\r\n");
		assert_requests(1);
		assert_int_equal(world_route(0, "-"), 1);
		wire = world_open(is_unix);
		world_receive(0, wire, "GET /unfin");
		world_end(0, wire, 0);
		assert_requests(2);
		assert_int_equal(world_route(0, "-"), 2);
	}
}

static void routes_are_counted_only_when_asked_for(void **state)
{
	int wire = world_open(false);

	cfg_routes = false;
	world_receive(0, wire, GET);
	world_send(0, wire, ANSWER);
	assert_int_equal(world_count(0, PS_REQUESTS), 1);
	assert_int_equal(world_count(0, PS_REQUESTS_ROUTED), 0);
	assert_null(shim_entries(&routes));
}

static void turns_that_hold_several_requests_are_flagged(void **state)
{
	int wire = world_open(false);

	world_receive(0, wire, GET GET);
	world_send(0, wire, ANSWER);
	world_receive(0, wire, GET);
	world_send(0, wire, ANSWER);
	assert_requests(2);
	assert_int_equal(world_count(0, PS_REQUESTS_MERGED), 1);
	wire = world_open(false);
	world_receive(0, wire, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
	world_send(0, wire, "frames");
	world_receive(0, wire, "GET is no method here");
	assert_requests(4);
	assert_int_equal(world_count(0, PS_REQUESTS_MERGED), 3);
	assert_int_equal(world_route(0, "-"), 2);
}

static void fast_open_request_comes_before_the_handshake_ends(void **state)
{
	int wire = world_open(false);

	shim_forget_socket(&connections, wire_sock(wire));
	wire_sock(wire)->__sk_common.skc_state = TCP_SYN_RECV;
	world_receive(0, wire, GET);
	world_state(wire, TCP_SYN_RECV, TCP_ESTABLISHED);
	world_send(0, wire, ANSWER);
	assert_requests(1);
	world_receive(0, wire, GET);
	assert_requests(2);
}

/*
 * Connections and processes.
 */

static void sockets_of_clients_are_no_connections(void **state)
{
	int wire = world_open(true);

	/* The client's side of a Unix pair, and of a TCP one. */
	shim_call(&workers[0].task, __NR_recvfrom, 3, 8, 0);
	probe_receive(0, &wires[wire].client.sk, 10, 0);
	probe_send(0, &wires[wire].client.sk, 10);
	wire = world_open(false);
	shim_forget_socket(&connections, wire_sock(wire));
	world_receive(0, wire, "HTTP/1.1 200 OK\r\n");
	world_send(0, wire, GET);
	assert_null(shim_entries(&procs));
	assert_null(shim_entries(&threads));
}

/* A client that bound its own socket has an address too, but shares it with nobody. */
static void unix_client_may_have_an_address(void **state)
{
	struct unix_address own = {{{1}}};
	int wire = world_open(true);

	wires[wire].client.addr = &own;
	probe_receive(CLIENT, &wires[wire].client.sk, 10, 0);
	assert_null(shim_entries(&procs));
	world_receive(0, wire, GET);
	assert_requests(1);
}

static void pair_of_sockets_is_no_connection(void **state)
{
	int wire = world_open(true);

	wires[wire].server.addr = NULL;
	world_receive(0, wire, GET);
	assert_null(shim_entries(&procs));
}

static void connection_is_opened_again_by_its_next_process(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		world_receive(0, wire, GET);
		world_send(0, wire, ANSWER);
		world_receive(1, wire, GET);
		world_send(1, wire, ANSWER);
		world_receive(3, wire, GET);
		world_send(3, wire, ANSWER);
		assert_int_equal(world_count(0, PS_REQUESTS), 2);
		assert_int_equal(world_count(0, PS_CONNECTIONS_OPENED), 1);
		assert_int_equal(world_count(1, PS_REQUESTS), 1);
		assert_int_equal(world_count(1, PS_CONNECTIONS_OPENED), 1);
		assert_int_equal(world_route(1, "GET /"), 1);
	}
}

static void observer_is_never_counted(void **state)
{
	int wire = world_open(false);

	cfg_self = workers[0].task.tgid;
	world_receive(0, wire, GET);
	world_send(0, wire, ANSWER);
	assert_null(shim_entries(&procs));
	assert_null(shim_entries(&threads));
	assert_null(shim_entries(&routes));
}

static void only_listed_processes_are_counted(void **state)
{
	struct bpf_iter__task context = {.task = &workers[3].task};
	const __u32 tgid = workers[3].task.tgid;
	const __u8 one = 1;
	int wire = world_open(false);

	cfg_all_servers = false;
	(void)bpf_map_update_elem(&targets, &tgid, &one, BPF_ANY);
	(void)ps_seed_tasks(&context);
	context.task = &workers[0].task;
	(void)ps_seed_tasks(&context);
	world_receive(0, wire, GET);
	world_send(0, wire, ANSWER);
	world_receive(4, wire, GET);
	world_send(4, wire, ANSWER);
	assert_int_equal(world_count(0, PS_REQUESTS), 0);
	assert_int_equal(world_count(1, PS_REQUESTS), 1);
	assert_int_equal(SHIM_MAP(&procs)->count, 1);
}

static void only_watched_ports_are_counted(void **state)
{
	int wire;

	cfg_ports = 2;
	cfg_port[0] = 443;
	cfg_port[1] = PORT;
	wire = world_open(false);
	world_receive(0, wire, GET);
	assert_requests(1);
	cfg_port[1] = 8080;
	wire = world_open(false);
	world_receive(0, wire, GET);
	wire = world_open(true);
	world_receive(0, wire, GET);
	assert_requests(1);
}

static void what_finds_no_room_is_lost(void **state)
{
	int wire;

	shim_storage_is_full = true;
	wire = world_open(false);
	world_receive(0, wire, GET);
	assert_null(shim_entries(&procs));
	assert_int_equal(ps_lost[PS_LOST_MAP_FULL], 1);

	shim_storage_is_full = false;
	shim_limit(&procs, 0);
	wire = world_open(false);
	world_receive(0, wire, GET);
	assert_int_equal(ps_lost[PS_LOST_MAP_FULL], 2);

	shim_limit(&procs, 1);
	shim_limit(&threads, 0);
	shim_ring_is_full = true;
	world_receive(0, wire, GET);
	assert_int_equal(ps_lost[PS_LOST_MAP_FULL], 3);
	assert_int_equal(ps_lost[PS_LOST_EVENTS], 1);
	world_fault(0, 5, 0);
	world_send(0, wire, ANSWER);
	assert_requests(1);
	assert_faults(0, 0);
}

/*
 * Connections that were open when pagestay started.
 */

static void seed(int wire, int worker)
{
	struct file listener_file = {}, file = {.private_data = &wires[wire].socket};
	struct socket listener_socket = {};
	struct tcp_sock listener = wires[wire].tcp;
	struct net net = {};
	struct bpf_iter__task_file context = {.task = &workers[worker].task};

	if (wires[wire].is_unix)
		shim_forget_socket(&connections, wire_sock(wire));
	listener.sk.__sk_common.skc_state = TCP_LISTEN;
	listener.sk.__sk_common.skc_net.net = wire_sock(wire)->__sk_common.skc_net.net = &net;
	listener_socket.sk = &listener.sk;
	listener_file.private_data = &listener_socket;
	seed_pass = SEED_LISTENERS;
	context.file = &listener_file;
	(void)ps_seed_files(&context);
	seed_pass = SEED_CONNECTIONS;
	context.file = &file;
	(void)ps_seed_files(&context);
	wire_sock(wire)->__sk_common.skc_net.net = NULL;
}

static void open_connection_belongs_to_who_has_it(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		shim_forget_socket(&connections, wire_sock(wire));
		seed(wire, 1);
		world_receive(0, wire, GET);
		world_send(0, wire, ANSWER);
		assert_requests(1);
		assert_int_equal(world_count(0, PS_CONNECTIONS_OPENED), 0);
		assert_int_equal(world_open_requests(0), 0);
	}
}

static void answer_tells_of_a_request_that_nobody_saw(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		/* The receive began before the hooks, which therefore miss its end. */
		if (!uses_fexit)
			continue;
		shim_forget_socket(&connections, wire_sock(wire));
		seed(wire, 0);
		world_send(0, wire, "an event");
		assert_requests(0);
		wires[wire].tcp.copied_seq += 10;
		if (is_unix)
			probe_send(CLIENT, &wires[wire].client.sk, 10);
		world_send(0, wire, ANSWER);
		world_send(0, wire, ANSWER);
		assert_requests(1);
		world_receive(0, wire, GET);
		assert_requests(2);
	}
}

static uint64_t open_connections(int process)
{
	struct ps_proc_key key = world_key(process);
	struct ps_proc *proc;

	open_scan++;
	for (int i = 0; i < wire_count; i++) {
		struct bpf_iter__bpf_sk_storage_map context = {
			.sk = wire_sock(i), .value = wire_connection(i)};

		(void)ps_count_open(&context);
	}
	proc = bpf_map_lookup_elem(&procs, &key);
	return proc && proc->open_scan == open_scan ? proc->open : 0;
}

static void open_connections_are_those_with_a_descriptor(void **state)
{
	int first = world_open(false), second = world_open(true), third = world_open(false);

	world_receive(0, first, GET);
	world_receive(1, second, GET);
	world_receive(3, third, GET);
	(void)world_open(false);
	assert_int_equal(open_connections(0), 2);
	assert_int_equal(open_connections(1), 1);
	world_close(first);
	assert_int_equal(open_connections(0), 1);
	world_receive(4, second, GET);
	assert_int_equal(open_connections(0), 0);
	assert_int_equal(open_connections(1), 2);
}

/*
 * Hand-off.
 */

static void answer_by_another_thread_is_handed_off(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		world_receive(0, wire, GET);
		world_send(1, wire, ANSWER);
		world_send(1, wire, "more");
		world_send(2, wire, "more");
		assert_int_equal(world_count(0, PS_REQUESTS_HANDED_OFF), 1);
		world_receive(1, wire, GET);
		world_send(1, wire, ANSWER);
		world_send(0, wire, "more");
		assert_int_equal(world_count(0, PS_REQUESTS_HANDED_OFF), 1);
		assert_int_equal(world_open_requests(0), 0);
		assert_int_equal(world_open_requests(1), 0);
	}
}

static void end_of_stream_does_not_hide_a_hand_off(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		world_receive(0, wire, GET);
		world_end(0, wire, 0);
		world_send(1, wire, ANSWER);
		world_end(0, wire, 0);
		world_send(1, wire, "more");
		assert_int_equal(world_count(0, PS_REQUESTS_HANDED_OFF), 1);
	}
}

/* A worker process, or a child that is nobody's server, answers what its parent received. */
static void hand_off_to_another_process_is_of_who_received(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		world_receive(0, wire, "GET /unfin");
		world_send(3, wire, ANSWER);
		assert_requests(1);
		assert_int_equal(world_route(0, "-"), 1);
		assert_int_equal(world_count(0, PS_REQUESTS_HANDED_OFF), 1);
		assert_int_equal(world_open_requests(0), 0);
		assert_int_equal(world_count(1, PS_REQUESTS_HANDED_OFF), 0);
	}
}

static void end_of_stream_ends_a_window_whoever_reads_it(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		world_receive(0, wire, GET);
		world_end(1, wire, 0);
		assert_int_equal(world_open_requests(0), 0);
	}
}

static void connection_that_ends_unanswered_ends_its_window(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		world_receive(0, wire, "GET /unfin");
		world_close(wire);
		assert_int_equal(world_open_requests(0), 0);
		assert_requests(1);
		world_destroy(wire);
		wire = world_open(is_unix);
		world_receive(0, wire, GET);
		world_fail(0, wire);
		assert_int_equal(world_open_requests(0), 0);
		assert_requests(2);
	}
}

static void late_send_leaves_the_next_request_its_window(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		world_receive(0, wire, GET);
		world_send_late(1, wire, 10);
		world_receive(0, wire, "GET /unfin");
		world_probe_late(1);
		assert_int_equal(world_open_requests(0), 1);
		assert_int_equal(world_count(0, PS_REQUESTS_ROUTED), 1);
		world_receive(0, wire, "ished HTTP/1.1\r\n\r\n");
		assert_requests(2);
		assert_int_equal(world_route(0, "GET /unfinished"), 1);
		world_send(1, wire, ANSWER);
		assert_int_equal(world_open_requests(0), 0);
		assert_int_equal(world_count(0, PS_REQUESTS_HANDED_OFF), 1);
	}
}

static void window_moves_to_who_receives_the_rest(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		world_receive(0, wire, POST);
		world_receive(1, wire, "body");
		assert_int_equal(world_open_requests(0), 0);
		assert_int_equal(world_open_requests(1), 1);
		world_send(1, wire, ANSWER);
		assert_int_equal(world_count(0, PS_REQUESTS_HANDED_OFF), 0);
		assert_int_equal(world_open_requests(1), 0);
	}
}

/*
 * Faults.
 */

static void faults_between_receive_and_send_are_of_the_request(void **state)
{
	EACH_KIND(is_unix)
	{
		int wire = world_open(is_unix);

		world_fault(0, 1000, 1000);
		world_receive(0, wire, POST);
		world_fault(0, 2, 0);
		world_receive(0, wire, "body");
		world_fault(0, 3, 1);
		world_send(0, wire, ANSWER);
		world_fault(0, 5, 0);
		world_send(0, wire, "more");
		world_fault(0, 1000, 0);
		world_receive(0, wire, POST);
		assert_faults(11, 0);
	}
}

static void faults_with_two_requests_open_overlap(void **state)
{
	EACH_KIND(is_unix)
	{
		int first = world_open(is_unix), second = world_open(is_unix);

		world_receive(0, first, GET);
		world_fault(0, 1, 0);
		world_receive(0, second, GET);
		world_fault(0, 20, 0);
		world_send(0, first, ANSWER);
		world_fault(0, 2, 0);
		world_send(0, second, ANSWER);
		world_fault(0, 300, 0);
		world_receive(0, first, GET);
		assert_faults(3, 20);
	}
}

static void faults_while_the_answer_of_another_goes_on_overlap(void **state)
{
	int first = world_open(false), second = world_open(false);

	world_receive(0, second, GET);
	world_receive(0, first, GET);
	world_send(0, first, ANSWER);
	world_fault(0, 4, 0);
	world_send(0, first, "more");
	assert_faults(0, 4);
}

static void faults_while_another_thread_answered_are_background(void **state)
{
	int wire = world_open(false);

	world_receive(0, wire, GET);
	world_fault(0, 7, 0);
	world_fault(1, 8, 0);
	world_send(1, wire, ANSWER);
	world_fault(0, 9, 0);
	world_receive(0, wire, GET);
	assert_faults(0, 0);
}

static void faults_after_the_end_of_stream_are_of_the_request(void **state)
{
	int wire = world_open(false);

	world_receive(0, wire, GET);
	world_fault(0, 1, 0);
	world_end(0, wire, 0);
	world_fault(0, 2, 0);
	world_send(0, wire, ANSWER);
	world_fault(0, 300, 0);
	world_end(0, wire, 0);
	world_tick();
	assert_faults(3, 0);
}

static void interval_ends_every_segment(void **state)
{
	int wire = world_open(false);

	world_receive(0, wire, GET);
	world_fault(0, 3, 0);
	world_tick();
	assert_faults(3, 0);
	world_fault(0, 4, 0);
	world_send(0, wire, ANSWER);
	assert_faults(7, 0);
	world_fault(0, 100, 0);
	world_tick();
	world_fault(0, 100, 0);
	world_receive(0, wire, GET);
	assert_faults(7, 0);
}

static void interval_that_ends_after_another_answered_leaves_one_open(void **state)
{
	int first = world_open(false), second = world_open(false);

	world_receive(0, first, GET);
	world_receive(0, second, GET);
	world_send(1, first, ANSWER);
	world_fault(0, 20, 0);
	world_tick();
	world_fault(0, 3, 0);
	world_send(0, second, ANSWER);
	assert_faults(3, 20);
}

static void thread_that_ends_takes_its_windows_along(void **state)
{
	int wire = world_open(false);

	world_receive(1, wire, GET);
	shim_task = &workers[1].task;
	(void)ps_exit(&workers[1].task);
	assert_int_equal(SHIM_MAP(&threads)->count, 0);
	world_send(0, wire, ANSWER);
	world_receive(0, wire, GET);
	assert_int_equal(world_open_requests(0), 1);
	assert_requests(2);
}

static void process_ends_with_its_last_thread(void **state)
{
	struct ps_proc_key key = world_key(0);
	struct ps_proc *proc;
	int wire = world_open(false);

	world_receive(0, wire, GET);
	proc = bpf_map_lookup_elem(&procs, &key);
	assert_non_null(proc);
	(void)ps_exit(&workers[1].task);
	assert_int_equal(proc->flags, 0);
	assert_int_equal(shim_ring_count(&lifecycle), 1);
	workers[0].signal.live.counter = 0;
	(void)ps_exit(&workers[0].task);
	assert_int_equal(proc->flags, PS_PROC_EXITED);
	assert_int_equal(shim_ring_count(&lifecycle), 2);
	assert_int_equal(world_record(0)->kind, PS_RECORD_ADMITTED);
	assert_int_equal(world_record(1)->kind, PS_RECORD_EXITED);
	for (size_t i = 0; i < 2; i++) {
		assert_memory_equal(&world_record(i)->proc, &key, sizeof(key));
		assert_int_equal(world_record(i)->pad0, 0);
	}
	assert_requests(1);
}

/*
 * Pages. What the ring holds is compared whole: a record that nobody expects is a failure.
 */

#define PAGE 0x7f0000000ull
#define EACH_PAGED(is_unix)                                                                        \
	EACH_KIND(is_unix)                                                                         \
	if (cfg_pages = true, true)

static int setup_pages(void **state)
{
	world_reset();
	cfg_pages = true;
	return 0;
}

static uint32_t tid_of(int worker)
{
	return workers[worker].task.pid;
}

/* When the turn under way on a wire was received: how its request is named. */
static uint64_t received_ns(int wire)
{
	return wire_connection(wire)->received_ns;
}

static struct ps_page touched(int worker, enum ps_place place, uint64_t set, uint64_t page)
{
	return (struct ps_page){.kind = PS_PAGE_TOUCHED,
		.place = place,
		.tid = tid_of(worker),
		.page = page,
		.pages = 1,
		.set = set};
}

static struct ps_page touched_by_kernel(
	int worker, enum ps_place place, uint64_t set, uint64_t page)
{
	struct ps_page expected = touched(worker, place, set, page);

	expected.flags = PS_PAGE_BY_KERNEL;
	return expected;
}

static struct ps_page adopted(
	int worker, enum ps_place place, uint64_t set, int to_worker, uint64_t to)
{
	return (struct ps_page){.kind = PS_PAGE_ADOPTED,
		.place = place,
		.tid = tid_of(worker),
		.set = set,
		.to_tid = tid_of(to_worker),
		.to = to};
}

/* A request with the route of GET. Looks at the clock take less than a microsecond in a test. */
static struct ps_page ended(int worker, uint64_t set, uint64_t at_ns)
{
	return (struct ps_page){.kind = PS_PAGE_ENDED,
		.tid = tid_of(worker),
		.set = set,
		.to = world_route_hash(process_of[worker], "GET /"),
		.at_ns = at_ns};
}

static struct ps_page of_range(
	int worker, enum ps_page_kind kind, uint64_t page, uint64_t pages, uint64_t to)
{
	return (struct ps_page){
		.kind = kind, .tid = tid_of(worker), .page = page, .pages = pages, .to = to};
}

/* Everything but the time is compared, and the time where one is expected. */
static void assert_page(size_t index, const struct ps_page *expected)
{
	const struct ps_page_record *record = world_page_record(index);
	const struct ps_proc_key key = world_key(0);
	struct ps_page page = record->page;

	assert_memory_equal(&record->proc, &key, sizeof(key));
	if (expected->at_ns)
		assert_in_range(page.at_ns, expected->at_ns, expected->at_ns + 1000);
	else
		assert_in_range(page.at_ns, 1, shim_now_ns);
	page.at_ns = expected->at_ns;
	if (memcmp(&page, expected, sizeof(page)) == 0)
		return;
	fail_msg("record %zu: kind %u place %u flags %u tid %u to_tid %u page %#llx+%llu set %llu "
		 "to %#llx",
		index, page.kind, page.place, page.flags, page.tid, page.to_tid, page.page,
		page.pages, page.set, page.to);
}

static void assert_page_records(const struct ps_page *expected, size_t count)
{
	for (size_t i = 0; i < count && i < world_pages_count(); i++)
		assert_page(i, &expected[i]);
	assert_int_equal(world_pages_count(), count);
	assert_int_equal(ps_lost[PS_LOST_PAGES], 0);
}

/* These are all records so far. */
#define assert_pages(...)                                                                          \
	do {                                                                                       \
		const struct ps_page expected_[] = {__VA_ARGS__};                                  \
		assert_page_records(expected_, sizeof(expected_) / sizeof(expected_[0]));          \
	} while (0)

#define assert_no_pages() assert_int_equal(world_pages_count(), 0)

static void pages_touched_for_a_request_end_with_it(void **state)
{
	EACH_PAGED(is_unix)
	{
		int wire = world_open(is_unix);
		uint64_t request;

		world_receive(0, wire, GET);
		request = received_ns(wire);
		world_touch(0, PAGE);
		world_touch(0, PAGE + 5);
		world_at(20000);
		world_send(0, wire, ANSWER);
		assert_int_equal(world_pages_count(), 2);
		world_at(50000);
		world_receive(0, wire, GET);
		assert_pages(touched(0, PS_IN_WINDOW, request, PAGE),
			touched(0, PS_IN_WINDOW, request, PAGE + 5), ended(0, request, 20000));
		/* The next one is another. */
		assert_in_range(received_ns(wire), 50000, 51000);
	}
}

static void end_of_a_request_is_its_last_send(void **state)
{
	EACH_PAGED(is_unix)
	{
		int wire = world_open(is_unix);
		uint64_t request;

		world_receive(0, wire, GET);
		request = received_ns(wire);
		world_touch(0, PAGE);
		for (uint64_t send = 1; send <= 4; send++) {
			world_at(send * 10000);
			world_send(0, wire, ANSWER);
		}
		world_at(90000);
		world_receive(0, wire, GET);
		assert_pages(touched(0, PS_IN_WINDOW, request, PAGE), ended(0, request, 40000));
	}
}

static void request_that_touches_nothing_is_not_told(void **state)
{
	EACH_PAGED(is_unix)
	{
		int wire = world_open(is_unix), other = world_open(is_unix);

		for (int i = 0; i < 3; i++) {
			world_receive(0, wire, POST);
			world_receive(0, wire, "body");
			world_receive(0, other, GET);
			world_send(0, wire, ANSWER);
			world_send(0, wire, "more");
			world_send(1, other, ANSWER);
			world_at(shim_now_ns + 2 * TAIL_IDLE_NS);
			world_tick();
		}
		world_end(0, wire, 0);
		world_close(wire);
		world_exit(0);
		assert_no_pages();
	}
}

static void routes_end_by_their_own_hash(void **state)
{
	int wire = world_open(false);
	uint64_t first, second;

	world_receive(0, wire, "GET /a HTTP/1.1\r\n\r\n");
	first = received_ns(wire);
	world_touch(0, PAGE);
	world_send(0, wire, ANSWER);
	world_receive(0, wire, "GET /b?c HTTP/1.1\r\n\r\n");
	second = received_ns(wire);
	world_touch(0, PAGE);
	world_send(0, wire, ANSWER);
	world_receive(0, wire, "GET /c");
	assert_int_equal(world_pages_count(), 4);
	assert_int_equal(world_page_record(1)->page.set, first);
	assert_int_equal(world_page_record(1)->page.to, world_route_hash(0, "GET /a"));
	assert_int_equal(world_page_record(3)->page.set, second);
	assert_int_equal(world_page_record(3)->page.to, world_route_hash(0, "GET /b"));
	/* The request line ends with the answer at the latest: the end is told behind it. */
	world_touch(0, PAGE);
	world_send(0, wire, ANSWER);
	world_receive(0, wire, GET);
	assert_int_equal(world_page_record(5)->page.kind, PS_PAGE_ENDED);
	assert_int_equal(world_page_record(5)->page.to, world_route_hash(0, "-"));
	assert_int_not_equal(world_route_hash(0, "-"), 0);
}

static void without_routes_requests_end_without_one(void **state)
{
	int wire = world_open(false);
	uint64_t request;

	cfg_routes = false;
	world_receive(0, wire, GET);
	request = received_ns(wire);
	world_touch(0, PAGE);
	world_send(0, wire, ANSWER);
	world_receive(0, wire, GET);
	assert_pages(touched(0, PS_IN_WINDOW, request, PAGE), ended(0, request, 0));
}

/*
 * Tails.
 */

static void pages_between_two_sends_are_adopted(void **state)
{
	EACH_PAGED(is_unix)
	{
		int wire = world_open(is_unix);
		uint64_t request;

		world_receive(0, wire, GET);
		request = received_ns(wire);
		world_send(0, wire, ANSWER);
		world_touch(0, PAGE);
		world_touch(0, PAGE + 1);
		world_send(0, wire, "more");
		assert_int_equal(world_pages_count(), 3);
		world_at(30000);
		world_send(0, wire, "more");
		world_receive(0, wire, GET);
		assert_pages(touched(0, PS_IN_TAIL, request, PAGE),
			touched(0, PS_IN_TAIL, request, PAGE + 1),
			adopted(0, PS_IN_TAIL, request, 0, request), ended(0, request, 30000));
	}
}

static void every_piece_of_a_tail_is_adopted_by_itself(void **state)
{
	int wire = world_open(false);
	uint64_t request;

	world_receive(0, wire, GET);
	request = received_ns(wire);
	world_touch(0, PAGE);
	world_send(0, wire, ANSWER);
	world_touch(0, PAGE + 1);
	world_send(0, wire, "more");
	world_touch(0, PAGE + 2);
	world_at(30000);
	world_send(0, wire, "more");
	world_at(40000);
	world_touch(0, PAGE + 3);
	world_receive(0, wire, GET);
	assert_pages(touched(0, PS_IN_WINDOW, request, PAGE),
		touched(0, PS_IN_TAIL, request, PAGE + 1),
		adopted(0, PS_IN_TAIL, request, 0, request),
		touched(0, PS_IN_TAIL, request, PAGE + 2),
		adopted(0, PS_IN_TAIL, request, 0, request),
		touched(0, PS_IN_TAIL, request, PAGE + 3), ended(0, request, 30000));
}

static void pages_behind_the_last_send_are_not_adopted(void **state)
{
	EACH_PAGED(is_unix)
	{
		int wire = world_open(is_unix);
		uint64_t request;

		world_receive(0, wire, GET);
		request = received_ns(wire);
		world_send(0, wire, ANSWER);
		world_touch(0, PAGE);
		world_receive(0, wire, GET);
		world_send(0, wire, ANSWER);
		world_send(0, wire, "more");
		assert_pages(touched(0, PS_IN_TAIL, request, PAGE));
	}
}

static void send_of_another_response_ends_a_tail(void **state)
{
	int wire = world_open(false), other = world_open(false);
	uint64_t request, second;

	world_receive(0, other, GET);
	second = received_ns(other);
	world_receive(0, wire, GET);
	request = received_ns(wire);
	world_send(0, wire, ANSWER);
	world_send(0, other, ANSWER);
	world_touch(0, PAGE);
	/* Of the first again: nobody can tell for which of both the page was touched. */
	world_send(0, wire, "more");
	world_touch(0, PAGE + 1);
	assert_int_not_equal(request, second);
	assert_int_equal(world_pages_count(), 2);
	assert_page(0, &(struct ps_page){.kind = PS_PAGE_TOUCHED,
			       .place = PS_IN_TAIL,
			       .tid = tid_of(0),
			       .page = PAGE,
			       .pages = 1,
			       .set = second});
}

static void idle_tail_ends_with_the_interval(void **state)
{
	EACH_PAGED(is_unix)
	{
		int wire = world_open(is_unix);
		uint64_t request;

		world_receive(0, wire, GET);
		request = received_ns(wire);
		world_touch(0, PAGE);
		world_at(20000);
		world_send(0, wire, ANSWER);
		world_at(20000 + TAIL_IDLE_NS / 2);
		world_tick();
		assert_int_equal(world_pages_count(), 1);
		world_at(20000 + 2 * TAIL_IDLE_NS);
		world_tick();
		world_tick();
		assert_pages(touched(0, PS_IN_WINDOW, request, PAGE), ended(0, request, 20000));
		world_receive(0, wire, GET);
		assert_int_equal(world_pages_count(), 2);
	}
}

static void interval_leaves_a_tail_that_goes_on(void **state)
{
	int wire = world_open(false);
	uint64_t request;

	world_receive(0, wire, GET);
	request = received_ns(wire);
	world_touch(0, PAGE);
	for (uint64_t send = 1; send <= 20; send++) {
		world_at(send * TAIL_IDLE_NS / 2);
		world_send(0, wire, "part");
		world_tick();
	}
	assert_int_equal(world_pages_count(), 1);
	world_receive(0, wire, GET);
	assert_pages(touched(0, PS_IN_WINDOW, request, PAGE), ended(0, request, 10 * TAIL_IDLE_NS));
}

/* A response that paused for longer than an end is waited for ends once more. */
static void tail_that_goes_on_after_its_end_ends_again(void **state)
{
	int wire = world_open(false);
	uint64_t request;

	world_receive(0, wire, GET);
	request = received_ns(wire);
	world_touch(0, PAGE);
	world_at(1000000);
	world_send(0, wire, ANSWER);
	world_at(2 * TAIL_IDLE_NS);
	world_tick();
	world_touch(0, PAGE + 1);
	world_at(3 * TAIL_IDLE_NS);
	world_send(0, wire, "more");
	world_receive(0, wire, GET);
	assert_pages(touched(0, PS_IN_WINDOW, request, PAGE), ended(0, request, 1000000),
		touched(0, PS_IN_TAIL, request, PAGE + 1),
		adopted(0, PS_IN_TAIL, request, 0, request), ended(0, request, 3 * TAIL_IDLE_NS));
}

/* What is open when an interval ends is not over. */
static void interval_does_not_end_a_window(void **state)
{
	int wire = world_open(false);
	uint64_t request;

	world_receive(0, wire, GET);
	request = received_ns(wire);
	world_touch(0, PAGE);
	world_at(5 * TAIL_IDLE_NS);
	world_tick();
	assert_int_equal(world_pages_count(), 1);
	world_send(0, wire, ANSWER);
	world_at(10 * TAIL_IDLE_NS);
	world_tick();
	assert_pages(touched(0, PS_IN_WINDOW, request, PAGE), ended(0, request, 5 * TAIL_IDLE_NS));
}

static void thread_that_ends_tells_its_tail(void **state)
{
	EACH_PAGED(is_unix)
	{
		int wire = world_open(is_unix);
		uint64_t request;

		world_receive(1, wire, GET);
		request = received_ns(wire);
		world_touch(1, PAGE);
		world_at(20000);
		world_send(1, wire, ANSWER);
		world_at(50000);
		world_exit(1);
		assert_pages(touched(1, PS_IN_WINDOW, request, PAGE), ended(1, request, 20000));
		world_exit(0);
		world_tick();
		assert_int_equal(world_pages_count(), 2);
	}
}

/*
 * Ends without an answer.
 */

static void late_answer_after_the_end_of_stream_is_the_tail(void **state)
{
	EACH_PAGED(is_unix)
	{
		int wire = world_open(is_unix);
		uint64_t request;

		world_receive(0, wire, GET);
		request = received_ns(wire);
		world_touch(0, PAGE);
		world_end(0, wire, 0);
		world_touch(0, PAGE + 1);
		world_at(20000);
		world_send(0, wire, ANSWER);
		world_exit(0);
		assert_pages(touched(0, PS_IN_WINDOW, request, PAGE),
			touched(0, PS_IN_TAIL, request, PAGE + 1),
			adopted(0, PS_IN_TAIL, request, 0, request), ended(0, request, 20000));
	}
}

static void request_that_is_never_answered_ends_with_its_connection(void **state)
{
	int wire = world_open(false);
	uint64_t request;

	world_receive(0, wire, GET);
	request = received_ns(wire);
	world_touch(0, PAGE);
	world_at(20000);
	world_close(wire);
	assert_pages(touched(0, PS_IN_WINDOW, request, PAGE), ended(0, request, 20000));
	world_destroy(wire);
	assert_int_equal(world_pages_count(), 2);
}

static void reset_by_the_peer_ends_a_request(void **state)
{
	int wire = world_open(false);
	uint64_t request;

	world_receive(0, wire, GET);
	request = received_ns(wire);
	world_touch(0, PAGE);
	world_at(20000);
	world_reset_by_peer(wire);
	assert_pages(touched(0, PS_IN_WINDOW, request, PAGE), ended(0, request, 20000));
	world_touch(0, PAGE + 1);
	world_fail(0, wire);
	world_end(0, wire, CONNECTION_RESET);
	world_exit(0);
	assert_int_equal(world_pages_count(), 3);
	assert_page(2, &(struct ps_page){.kind = PS_PAGE_TOUCHED,
			       .place = PS_BACKGROUND,
			       .tid = tid_of(0),
			       .page = PAGE + 1,
			       .pages = 1});
}

/*
 * Several requests of a thread.
 */

static void pages_with_two_requests_open_are_of_neither(void **state)
{
	EACH_PAGED(is_unix)
	{
		int wire = world_open(is_unix), other = world_open(is_unix);
		uint64_t first, second;

		world_receive(0, wire, GET);
		first = received_ns(wire);
		world_touch(0, PAGE);
		world_receive(0, other, GET);
		second = received_ns(other);
		world_touch(0, PAGE + 1);
		world_at(20000);
		world_send(0, wire, ANSWER);
		world_touch(0, PAGE + 2);
		world_at(30000);
		world_send(0, other, ANSWER);
		world_receive(0, wire, GET);
		/* The first one's end is owed although the thread has turned to the second. */
		assert_pages(touched(0, PS_IN_WINDOW, first, PAGE),
			touched(0, PS_OVERLAPPING, 0, PAGE + 1),
			touched(0, PS_IN_WINDOW, second, PAGE + 2), ended(0, first, 20000),
			ended(0, second, 30000));
	}
}

/* The last one received is over: which of the others the thread turns to is not known. */
static void request_that_was_put_aside_owes_its_end(void **state)
{
	EACH_PAGED(is_unix)
	{
		int wire = world_open(is_unix), other = world_open(is_unix);
		uint64_t first;

		world_receive(0, wire, GET);
		first = received_ns(wire);
		world_touch(0, PAGE);
		world_receive(0, other, GET);
		world_send(0, other, ANSWER);
		world_touch(0, PAGE + 1);
		world_at(20000);
		world_send(0, wire, ANSWER);
		world_receive(0, other, GET);
		assert_pages(touched(0, PS_IN_WINDOW, first, PAGE),
			touched(0, PS_OVERLAPPING, 0, PAGE + 1), ended(0, first, 20000));
	}
}

static void requests_that_were_put_aside_all_end(void **state)
{
	int wire[5];
	uint64_t request[5];

	for (int i = 0; i < 5; i++) {
		wire[i] = world_open(false);
		world_receive(0, wire[i], GET);
		request[i] = received_ns(wire[i]);
		if (i == 0)
			world_touch(0, PAGE);
	}
	/* Newest first; the one that touched is the last of them. */
	for (int i = 5; i-- > 0;) {
		world_at(20000 + 1000 * (5 - i));
		world_send(0, wire[i], ANSWER);
	}
	world_receive(0, wire[0], GET);
	/* Which of them touched is not known: others are told to end too, but this one must. */
	assert_page(0, &(struct ps_page){.kind = PS_PAGE_TOUCHED,
			       .place = PS_IN_WINDOW,
			       .tid = tid_of(0),
			       .page = PAGE,
			       .pages = 1,
			       .set = request[0]});
	assert_int_equal(world_page_record(world_pages_count() - 1)->page.kind, PS_PAGE_ENDED);
	assert_int_equal(world_page_record(world_pages_count() - 1)->page.set, request[0]);
}

static void window_that_moves_ends_for_who_had_it(void **state)
{
	EACH_PAGED(is_unix)
	{
		int wire = world_open(is_unix);
		uint64_t first, second;

		world_receive(0, wire, POST);
		first = received_ns(wire);
		world_touch(0, PAGE);
		world_receive(1, wire, "body");
		second = received_ns(wire);
		world_touch(1, PAGE + 1);
		world_send(1, wire, ANSWER);
		world_receive(1, wire, GET);
		assert_int_equal(world_pages_count(), 4);
		assert_int_equal(world_page_record(1)->page.kind, PS_PAGE_ENDED);
		assert_int_equal(world_page_record(1)->page.tid, tid_of(0));
		assert_int_equal(world_page_record(1)->page.set, first);
		assert_int_equal(world_page_record(2)->page.set, second);
		assert_int_equal(world_page_record(3)->page.kind, PS_PAGE_ENDED);
		assert_int_equal(world_page_record(3)->page.tid, tid_of(1));
		assert_int_equal(world_page_record(3)->page.set, second);
	}
}

/*
 * Workers.
 */

static void pages_of_a_worker_are_adopted_when_it_answers(void **state)
{
	EACH_PAGED(is_unix)
	{
		int wire = world_open(is_unix);
		uint64_t request, born = workers[1].task.start_boottime;

		world_at(10000);
		world_receive(0, wire, GET);
		request = received_ns(wire);
		world_touch(1, PAGE);
		world_touch(1, PAGE + 1);
		world_at(20000);
		world_send(1, wire, ANSWER);
		/* Its end follows at once, and is of the thread that received. */
		assert_pages(touched(1, PS_IN_WORKER, born, PAGE),
			touched(1, PS_IN_WORKER, born, PAGE + 1),
			adopted(1, PS_IN_WORKER, born, 0, request), ended(0, request, 20000));
	}
}

static void each_answer_of_a_worker_begins_a_segment(void **state)
{
	int wire = world_open(false);
	uint64_t first, second, segment;

	world_receive(0, wire, GET);
	first = received_ns(wire);
	world_touch(1, PAGE);
	world_at(20000);
	world_send(1, wire, ANSWER);
	world_at(30000);
	world_receive(0, wire, GET);
	second = received_ns(wire);
	world_touch(1, PAGE + 1);
	world_at(40000);
	world_send(1, wire, ANSWER);
	world_touch(1, PAGE + 2);
	assert_int_equal(world_pages_count(), 7);
	segment = world_page_record(3)->page.set;
	assert_in_range(segment, 20000, 21000);
	assert_page_records(
		(const struct ps_page[]){
			touched(1, PS_IN_WORKER, workers[1].task.start_boottime, PAGE),
			adopted(1, PS_IN_WORKER, workers[1].task.start_boottime, 0, first),
			ended(0, first, 20000), touched(1, PS_IN_WORKER, segment, PAGE + 1),
			adopted(1, PS_IN_WORKER, segment, 0, second), ended(0, second, 40000),
			touched(1, PS_IN_WORKER, world_page_record(6)->page.set, PAGE + 2)},
		7);
	assert_in_range(world_page_record(6)->page.set, 40000, 41000);
}

static void worker_that_touched_nothing_adopts_nothing(void **state)
{
	EACH_PAGED(is_unix)
	{
		int wire = world_open(is_unix);
		uint64_t request;

		world_receive(0, wire, GET);
		request = received_ns(wire);
		world_touch(0, PAGE);
		world_at(20000);
		world_send(1, wire, ANSWER);
		world_send(1, wire, "more");
		assert_pages(touched(0, PS_IN_WINDOW, request, PAGE), ended(0, request, 20000));
	}
}

/* Pages that were touched while nobody could say for whom are not adopted by the next answer. */
static void second_send_of_a_worker_adopts_nothing(void **state)
{
	int wire = world_open(false);
	uint64_t request, segment;

	world_receive(0, wire, GET);
	request = received_ns(wire);
	world_touch(1, PAGE);
	world_at(20000);
	world_send(1, wire, ANSWER);
	world_touch(1, PAGE + 1);
	world_send(1, wire, "more");
	segment = world_page_record(3)->page.set;
	assert_pages(touched(1, PS_IN_WORKER, workers[1].task.start_boottime, PAGE),
		adopted(1, PS_IN_WORKER, workers[1].task.start_boottime, 0, request),
		ended(0, request, 20000), touched(1, PS_IN_WORKER, segment, PAGE + 1));
}

static void thread_that_received_is_never_adopted_from(void **state)
{
	EACH_PAGED(is_unix)
	{
		int wire = world_open(is_unix), other = world_open(is_unix);

		world_receive(1, other, GET);
		world_send(1, other, ANSWER);
		world_receive(0, wire, GET);
		world_receive(1, other, GET);
		world_send(2, other, ANSWER);
		world_touch(1, PAGE);
		world_send(1, wire, ANSWER);
		/* Nothing is open, and no send goes on: that is the background. */
		world_touch(1, PAGE + 1);
		world_receive(0, wire, GET);
		assert_pages(
			touched(1, PS_BACKGROUND, 0, PAGE), touched(1, PS_BACKGROUND, 0, PAGE + 1));
	}
}

static void worker_that_begins_to_receive_keeps_nothing_back(void **state)
{
	int wire = world_open(false), other = world_open(false);
	uint64_t born = workers[1].task.start_boottime;

	world_receive(0, wire, GET);
	world_touch(1, PAGE);
	world_receive(1, other, GET);
	world_send(1, wire, ANSWER);
	world_send(1, other, ANSWER);
	world_receive(1, other, GET);
	assert_pages(touched(1, PS_IN_WORKER, born, PAGE));
}

/*
 * The kernel on the process's behalf.
 */

static void buffer_that_is_received_into_is_the_requests(void **state)
{
	static const long calls[] = {__NR_read, __NR_readv, __NR_recvfrom, __NR_recvmsg};

	EACH_PAGED(is_unix)
	{
		int wire = world_open(is_unix);

		/* The process is known from its first receive on. */
		world_receive(0, wire, GET);
		world_send(0, wire, ANSWER);
		for (size_t i = 0; i < 4; i++) {
			uint64_t socket = (uintptr_t)&wires[wire].socket, request;

			shim_ring_empty(&page_records);
			world_touch_in_call(0, wire, calls[i], PAGE);
			world_receive(0, wire, GET);
			request = received_ns(wire);
			world_at(20000 * (i + 1));
			world_send(0, wire, ANSWER);
			world_tick();
			world_at(20000 * (i + 1) + 2 * TAIL_IDLE_NS);
			world_tick();
			assert_pages(touched_by_kernel(0, PS_IN_RECEIVE, socket, PAGE),
				adopted(0, PS_IN_RECEIVE, socket, 0, request),
				ended(0, request, 20000 * (i + 1)));
			world_at(0);
		}
	}
}

static void buffer_of_a_body_is_touched_in_the_window(void **state)
{
	int wire = world_open(false);
	uint64_t request;

	world_receive(0, wire, POST);
	request = received_ns(wire);
	world_touch_in_call(0, wire, __NR_read, PAGE);
	world_receive(0, wire, "body");
	/* And so is what the kernel reads from a file. */
	world_touch_in_call(0, wire, __NR_pread64, PAGE + 1);
	assert_pages(touched_by_kernel(0, PS_IN_WINDOW, request, PAGE),
		touched_by_kernel(0, PS_IN_WINDOW, request, PAGE + 1));
}

static void receive_that_gives_nothing_leaves_its_buffer_to_the_next(void **state)
{
	int wire = world_open(false), other = world_open(false);
	uint64_t socket = (uintptr_t)&wires[wire].socket, request;

	world_receive(0, wire, GET);
	world_send(0, wire, ANSWER);
	world_touch_in_call(0, wire, __NR_recvfrom, PAGE);
	world_nothing(0, wire);
	world_receive(0, other, GET);
	world_send(0, other, ANSWER);
	assert_pages(touched_by_kernel(0, PS_IN_RECEIVE, socket, PAGE));
	world_receive(0, wire, GET);
	request = received_ns(wire);
	assert_pages(touched_by_kernel(0, PS_IN_RECEIVE, socket, PAGE),
		adopted(0, PS_IN_RECEIVE, socket, 0, request));
}

static void kernel_that_fills_another_buffer_receives_nothing(void **state)
{
	int wire = world_open(false);

	world_receive(0, wire, GET);
	world_send(1, wire, ANSWER);
	world_touch_in_call(0, wire, __NR_sendto, PAGE);
	/* A descriptor that is no socket, or none at all. */
	wires[wire].file.f_inode = NULL;
	world_touch_in_call(0, wire, __NR_read, PAGE + 1);
	world_receive(0, wire, GET);
	assert_pages(touched_by_kernel(0, PS_BACKGROUND, 0, PAGE),
		touched_by_kernel(0, PS_BACKGROUND, 0, PAGE + 1));
}

/*
 * What a fault is.
 */

/* A request under way; returns how it is named. */
static uint64_t open_request(void)
{
	int wire = world_open(false);

	world_receive(0, wire, GET);
	shim_call(&workers[0].task, -1, 0, 0, 0);
	return received_ns(wire);
}

static void folio_is_told_whole(void **state)
{
	uint64_t request = open_request();
	struct ps_page huge = touched(0, PS_IN_WINDOW, request, PAGE & ~511ull);
	struct ps_page folio = touched(0, PS_IN_WINDOW, request, PAGE & ~15ull);

	huge.pages = 512;
	folio.pages = 16;
	world_fault_on(0, PAGE + 300, 9, FAULT_USER | FAULT_WRITE);
	world_fault_on(0, PAGE + 13, 4, FAULT_USER | FAULT_WRITE);
	assert_pages(huge, folio);
}

static void copy_on_write_is_told_apart(void **state)
{
	const unsigned long error = FAULT_USER | FAULT_WRITE | FAULT_PRESENT;
	struct task_struct *task = &workers[0].task;
	uint64_t request = open_request();
	struct ps_page copy = touched(0, PS_IN_WINDOW, request, PAGE), zero = copy;

	copy.kind = PS_PAGE_COPIED;
	copy.flags = zero.flags = PS_PAGE_PRESENT;
	/* No count changes when a page that counts is replaced by its copy. */
	(void)ps_fault_user(PAGE << 12, NULL, error);
	(void)ps_page_alloc(NULL, 0, GFP_MOVABLE, 0);
	task->min_flt++;
	assert_pages(copy);
	/* The zero page, and a file's: one more page counts. */
	world_fault_on(0, PAGE, 0, error);
	assert_pages(copy, copy, zero);
}

static void fault_that_makes_nothing_resident_is_not_told(void **state)
{
	struct task_struct *task = &workers[0].task;

	(void)open_request();
	/* A page of a file, of another thread's making, or a fault that failed. */
	(void)ps_fault_user(PAGE << 12, NULL, FAULT_USER | FAULT_WRITE);
	(void)ps_page_alloc(NULL, 0, GFP_MOVABLE, 0);
	(void)ps_rss_stat(task->mm, 0);
	task->min_flt++;
	/* What changes later has nothing to do with it: the kernel unmaps, or fills a cache. */
	(void)ps_rss_stat(task->mm, MM_ANONPAGES);
	(void)ps_page_alloc(NULL, 0, GFP_MOVABLE, 0);
	/* Not even inside a call whose buffer was a bad address. */
	(void)ps_fault_user(PAGE << 12, NULL, FAULT_USER | FAULT_WRITE);
	shim_call(task, __NR_munmap, PAGE << 12, 4096, 0);
	(void)ps_rss_stat(task->mm, MM_ANONPAGES);
	/* The kernel's own addresses. */
	world_fault_on(0, 0xffff888000000000ull >> 12, 0, FAULT_WRITE);
	assert_no_pages();
}

static void one_fault_is_one_touch(void **state)
{
	uint64_t request = open_request();

	(void)ps_fault_user(PAGE << 12, NULL, FAULT_USER | FAULT_WRITE);
	(void)ps_rss_stat(workers[0].task.mm, MM_ANONPAGES);
	(void)ps_rss_stat(workers[0].task.mm, MM_ANONPAGES);
	assert_pages(touched(0, PS_IN_WINDOW, request, PAGE));
}

static void where_counts_are_batched_allocations_tell(void **state)
{
	struct vm_area_struct anonymous = {}, shared = {.vm_flags = VM_SHARED, .vm_ops = &shared};
	struct vm_area_struct private_file = {.vm_ops = &private_file};
	uint64_t request = open_request();

	cfg_rss_each = false;
	shim_vma = &anonymous;
	world_touch(0, PAGE);
	shim_vma = &private_file;
	world_touch(0, PAGE + 1);
	shim_vma = &shared;
	world_touch(0, PAGE + 2);
	/* Read: the zero page. */
	shim_vma = &anonymous;
	world_fault_on(0, PAGE + 3, 0, FAULT_USER);
	/* Who cannot ask takes it for anonymous memory. */
	shim_vma = NULL;
	world_touch(0, PAGE + 4);
	assert_pages(touched(0, PS_IN_WINDOW, request, PAGE),
		touched(0, PS_IN_WINDOW, request, PAGE + 1),
		touched(0, PS_IN_WINDOW, request, PAGE + 4));
}

/* A huge page is cleared before it counts, and a batch before is of other pages. */
static void where_counts_are_batched_a_huge_page_still_tells_its_own(void **state)
{
	struct task_struct *task = &workers[0].task;
	uint64_t request = open_request();
	struct ps_page huge = touched(0, PS_IN_WINDOW, request, PAGE & ~511ull);

	huge.pages = 512;
	cfg_rss_each = false;
	shim_vma = NULL;
	(void)ps_fault_user(PAGE << 12, NULL, FAULT_USER | FAULT_WRITE);
	(void)ps_rss_stat(task->mm, MM_ANONPAGES);
	(void)ps_page_alloc(NULL, 9, GFP_MOVABLE, 0);
	assert_no_pages();
	(void)ps_rss_stat(task->mm, MM_ANONPAGES);
	(void)ps_rss_stat(task->mm, MM_ANONPAGES);
	assert_pages(huge);
	task->min_flt++;
	/* It could not be charged: a single page has to do. */
	(void)ps_fault_user((PAGE + 600) << 12, NULL, FAULT_USER | FAULT_WRITE);
	(void)ps_page_alloc(NULL, 9, GFP_MOVABLE, 0);
	(void)ps_page_alloc(NULL, 0, GFP_MOVABLE, 0);
	assert_pages(huge, touched(0, PS_IN_WINDOW, request, PAGE + 600));
}

static void only_counted_processes_have_pages(void **state)
{
	uint64_t request;

	cfg_all_servers = true;
	world_touch(0, PAGE);
	world_touch(3, PAGE);
	request = open_request();
	world_touch(3, PAGE);
	/* One whose number shares the bits of one that is. */
	workers[3].task.tgid = workers[0].task.tgid + PAGED_BITS;
	world_touch(3, PAGE);
	world_touch(0, PAGE);
	assert_pages(touched(0, PS_IN_WINDOW, request, PAGE));
	assert_int_equal(SHIM_MAP(&threads)->count, 1);
}

static void sampling_leaves_out_pages_by_their_number(void **state)
{
	struct ps_proc_key key = world_key(0);
	const __u32 level = 3;
	size_t told = 0;

	cfg_page_seed = 99;
	(void)open_request();
	(void)bpf_map_update_elem(&page_levels, &key, &level, BPF_ANY);
	for (uint64_t page = PAGE; page < PAGE + 1000; page++) {
		world_touch(0, page);
		if (!ps_page_sampled(page, 99, level))
			continue;
		assert_true(told < world_pages_count());
		assert_int_equal(world_page_record(told++)->page.page, page);
	}
	assert_int_equal(world_pages_count(), told);
	assert_in_range(told, 80, 170);
	/* A folio is told: some of its pages are sampled, for all that is known. */
	world_fault_on(0, PAGE, 9, FAULT_USER | FAULT_WRITE);
	assert_int_equal(world_pages_count(), told + 1);
}

static void records_that_find_the_ring_full_are_lost(void **state)
{
	int wire = world_open(false);
	uint64_t request;

	world_receive(0, wire, GET);
	request = received_ns(wire);
	shim_ring_is_full = true;
	world_touch(0, PAGE);
	world_send(0, wire, ANSWER);
	world_touch(0, PAGE + 1);
	world_send(0, wire, "more");
	assert_int_equal(ps_lost[PS_LOST_PAGES], 3);
	assert_int_equal(ps_lost[PS_LOST_EVENTS], 0);
	shim_ring_is_full = false;
	ps_lost[PS_LOST_PAGES] = 0;
	world_receive(0, wire, GET);
	assert_pages(ended(0, request, 0));
	assert_requests(2);
}

/*
 * Given back.
 */

#define CALL(number, ret, ...) world_returned(0, number, (const unsigned long[4]){__VA_ARGS__}, ret)

static void what_is_given_back_is_told(void **state)
{
	const unsigned long at = PAGE << 12;

	(void)open_request();
	CALL(__NR_munmap, 0, at, 3 * 4096);
	CALL(__NR_madvise, 0, at, 4097, MADV_DONTNEED);
	CALL(__NR_madvise, 0, at, 4096, MADV_FREE);
	CALL(__NR_mmap, at, at, 8192, PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED);
	assert_pages(of_range(0, PS_PAGE_DROPPED, PAGE, 3, 0),
		of_range(0, PS_PAGE_DROPPED, PAGE, 2, 0), of_range(0, PS_PAGE_FREED, PAGE, 1, 0),
		of_range(0, PS_PAGE_DROPPED, PAGE, 2, 0));
}

static void what_fails_or_gives_nothing_back_is_not_told(void **state)
{
	const unsigned long at = PAGE << 12;

	(void)open_request();
	CALL(__NR_munmap, -22, at, 4096);
	CALL(__NR_madvise, -22, at, 4096, MADV_DONTNEED);
	CALL(__NR_madvise, 0, at, 4096, 3 /* WILLNEED */);
	CALL(__NR_madvise, 0, at, 0, MADV_DONTNEED);
	CALL(__NR_mmap, at, 0, 8192, PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	CALL(__NR_mprotect, 0, at, 8192, PROT_NONE);
	world_returned(3, __NR_munmap, (const unsigned long[4]){at, 4096}, 0);
	cfg_pages = false;
	CALL(__NR_munmap, 0, at, 4096);
	assert_no_pages();
}

static void break_that_shrinks_is_told(void **state)
{
	const unsigned long at = PAGE << 12;

	workers[0].mm.brk = at;
	(void)open_request();
	CALL(__NR_brk, at + 40960, at + 40960);
	CALL(__NR_brk, at + 40960, 0);
	assert_no_pages();
	/* Part of a page stays. */
	CALL(__NR_brk, at + 4097, at + 4097);
	assert_pages(of_range(0, PS_PAGE_DROPPED, PAGE + 2, 8, 0));
}

static void mapping_that_moves_is_told(void **state)
{
	const unsigned long at = PAGE << 12;

	(void)open_request();
	CALL(__NR_mremap, at, at, 4 * 4096, 8 * 4096);
	assert_no_pages();
	CALL(__NR_mremap, at, at, 4 * 4096, 4096);
	CALL(__NR_mremap, at + (100 << 12), at, 4 * 4096, 8 * 4096);
	CALL(__NR_mremap, at + (100 << 12), at, 4 * 4096, 2 * 4096);
	assert_pages(of_range(0, PS_PAGE_DROPPED, PAGE + 1, 3, 0),
		of_range(0, PS_PAGE_MOVED, PAGE, 4, PAGE + 100),
		of_range(0, PS_PAGE_DROPPED, PAGE + 2, 2, 0),
		of_range(0, PS_PAGE_MOVED, PAGE, 2, PAGE + 100));
}

static void mapping_that_is_populated_is_touched(void **state)
{
	const unsigned long at = PAGE << 12;
	uint64_t request = open_request();
	struct ps_page populated = touched_by_kernel(0, PS_IN_WINDOW, request, PAGE);

	populated.pages = 5;
	CALL(__NR_mmap, at, 0, 5 * 4096 - 1, PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE);
	CALL(__NR_mmap, at, 0, 5 * 4096, PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED);
	CALL(__NR_madvise, 0, at, 5 * 4096, MADV_POPULATE_WRITE);
	/* The zero page, a file's pages, shared ones. */
	CALL(__NR_mmap, at, 0, 4096, 1, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE);
	CALL(__NR_mmap, at, 0, 4096, PROT_WRITE, MAP_PRIVATE | MAP_POPULATE);
	CALL(__NR_mmap, at, 0, 4096, PROT_WRITE, 1 | MAP_ANONYMOUS | MAP_POPULATE);
	assert_pages(populated, populated, populated);
}

static void new_program_has_no_pages(void **state)
{
	uint64_t request = open_request();

	world_touch(0, PAGE);
	(void)ps_exec(&workers[0].task);
	(void)ps_exec(&workers[3].task);
	assert_pages(
		touched(0, PS_IN_WINDOW, request, PAGE), (struct ps_page){.kind = PS_PAGE_EXECED});
}

/*
 * The model. First it says what each deed on a connection was; every count follows from that by
 * looking around in the log.
 */

enum role {
	NOTHING,
	BEGINS,  /* a receive: the first bytes of a request */
	GOES_ON, /* a receive: more of it */
	RESTS,   /* a receive: of a request that was answered before it was all there */
	ANSWERS,
	PUTS_OFF, /* a send: an interim answer */
	ENDS,     /* nothing more will come, or can be sent */
	CLOSES,
};

static enum role roles[DEEDS];
static bool spoke_http[DEEDS]; /* of the deed that begins: the turn is one of HTTP/1.x */

static bool begins_as_method(const struct deed *deed)
{
	return plainly_begins_as_method(deed->bytes, deed->length);
}

static void model_wire(int wire)
{
	bool answered = true, owes_body = false, http = false;
	int window = -1;

	for (size_t i = 0; i < deed_count; i++) {
		const struct deed *deed = &deeds[i];

		if (deed->wire != wire)
			continue;
		if (deed->what == DID_RECEIVE && !answered) {
			roles[i] = GOES_ON;
			window = deed->worker;
		} else if (deed->what == DID_RECEIVE && owes_body && !begins_as_method(deed)) {
			roles[i] = RESTS;
		} else if (deed->what == DID_RECEIVE) {
			roles[i] = BEGINS;
			window = deed->worker;
			answered = false;
			spoke_http[i] = http = begins_as_method(deed);
			owes_body = http && deed->bytes[0] != 'G' && deed->bytes[0] != 'H';
		} else if (deed->what == DID_SEND && owes_body && window >= 0 &&
			   strncmp(deed->bytes, "HTTP/1.1 1", 10) == 0) {
			roles[i] = PUTS_OFF;
		} else if (deed->what == DID_SEND) {
			roles[i] = ANSWERS;
			window = -1;
			answered = true;
		} else {
			roles[i] = deed->what == DID_CLOSE ? CLOSES : ENDS;
			window = -1;
		}
	}
}

static void model_read(void)
{
	memset(roles, 0, sizeof(roles));
	memset(spoke_http, 0, sizeof(spoke_http));
	for (int wire = 0; wire < wire_count; wire++)
		model_wire(wire);
}

static bool receives(size_t i)
{
	return roles[i] == BEGINS || roles[i] == GOES_ON;
}

/* The last deed on the wire before `i` that is one of receiving a request; -1 if there is none. */
static long last_receive(int wire, size_t i)
{
	while (i-- > 0)
		if (deeds[i].wire == wire && receives(i))
			return i;
	return -1;
}

static uint64_t model_requests(int process)
{
	uint64_t requests = 0;

	for (size_t i = 0; i < deed_count; i++)
		requests += roles[i] == BEGINS && process_of[deeds[i].worker] == process;
	return requests;
}

/* Who received last, at `i`: the owner then. */
static int owner_at(int wire, size_t i)
{
	do
		if (deeds[i].wire == wire &&
			(deeds[i].what == DID_RECEIVE || deeds[i].what == DID_END))
			return process_of[deeds[i].worker];
	while (i-- > 0);
	return -1;
}

static uint64_t model_opened(int process)
{
	uint64_t opened = 0;

	for (size_t i = 0; i < deed_count; i++) {
		if (deeds[i].what != DID_RECEIVE && deeds[i].what != DID_END)
			continue;
		opened += process_of[deeds[i].worker] == process &&
			  (i == 0 || owner_at(deeds[i].wire, i - 1) != process);
	}
	return opened;
}

/* Answers by another thread than received, with no answer between. */
static uint64_t model_handed_off(int process)
{
	uint64_t handed_off = 0;

	for (size_t i = 0; i < deed_count; i++) {
		long received = last_receive(deeds[i].wire, i);
		bool first = roles[i] == ANSWERS && received >= 0;

		for (size_t k = received + 1; first && k < i; k++)
			if (deeds[k].wire == deeds[i].wire && roles[k] == ANSWERS)
				first = false;
		handed_off += first && deeds[received].worker != deeds[i].worker &&
			      owner_at(deeds[i].wire, i) == process;
	}
	return handed_off;
}

/* The route of the request that begins at `begin`, and the deed that told it; the end if none. */
static size_t model_route_at(size_t begin, char text[PS_ROUTE_BYTES])
{
	char head[HEAD_BYTES + 1] = {};
	size_t length = 0, i;

	memset(text, 0, PS_ROUTE_BYTES);
	text[0] = '-';
	for (i = begin; i < deed_count; i++) {
		size_t space = HEAD_BYTES - length;

		if (deeds[i].wire != deeds[begin].wire || roles[i] == PUTS_OFF)
			continue;
		if (!spoke_http[begin] || !receives(i) || (roles[i] == BEGINS && i != begin))
			break;
		space = deeds[i].length < space ? deeds[i].length : space;
		memcpy(head + length, deeds[i].bytes, space);
		length += space;
		space = strcspn(head, " \r\n");
		if (head[space] == ' ')
			space += 1 + strcspn(head + space + 1, " \r\n?#");
		if (space == length && length < HEAD_BYTES)
			continue;
		memcpy(text, head, space);
		break;
	}
	return i;
}

static uint64_t model_routed(int process, const char *route)
{
	char text[PS_ROUTE_BYTES];
	uint64_t routed = 0;

	for (size_t i = 0; i < deed_count; i++) {
		size_t told = roles[i] == BEGINS ? model_route_at(i, text) : deed_count;

		if (told < deed_count && (!route || strcmp(route, text) == 0))
			routed += owner_at(deeds[i].wire, roles[told] == BEGINS ? i : told) ==
				  process;
	}
	return routed;
}

/* How many requests the worker has open behind deed `i`. */
static int model_open(int worker, long i)
{
	int open = 0;

	for (int wire = 0; wire < wire_count; wire++) {
		long k = i;

		while (k >= 0 && (deeds[k].wire != wire || roles[k] == PUTS_OFF))
			k--;
		open += k >= 0 && receives(k) && deeds[k].worker == worker;
	}
	return open;
}

static bool model_is_known(int worker, size_t i)
{
	while (i-- > 0)
		if (deeds[i].worker == worker && deeds[i].what == DID_RECEIVE)
			return true;
	return false;
}

/* Is this deed one at which the worker's faults are read? */
static bool model_is_reading(int worker, size_t i)
{
	const struct deed *deed = &deeds[i];

	if (deed->what == DID_TICK)
		return model_is_known(worker, i);
	if (deed->worker != worker)
		return false;
	if (deed->what == DID_RECEIVE)
		return true;
	if (roles[i] == ENDS) {
		long before = i - 1;

		while (before >= 0 &&
			(deeds[before].wire != deed->wire || roles[before] == PUTS_OFF))
			before--;
		return before >= 0 && receives(before) && model_is_known(worker, i);
	}
	return roles[i] == ANSWERS && model_is_known(worker, i);
}

/* Does this send go on with what the worker sent before, or with what it read the end of? */
static bool model_continues(int worker, size_t i)
{
	int wire = deeds[i].wire;

	if (roles[i] != ANSWERS)
		return false;
	for (size_t k = i; k-- > 0;) {
		long received;

		if (deeds[k].wire == wire && roles[k] == BEGINS)
			return false;
		if (deeds[k].worker != worker)
			continue;
		if (deeds[k].what == DID_RECEIVE)
			return false;
		received = last_receive(deeds[k].wire, k);
		if (roles[k] == PUTS_OFF || !model_is_reading(worker, k) || received < 0 ||
			deeds[received].worker != worker)
			continue;
		return deeds[k].wire == wire;
	}
	return false;
}

static void model_faults(int worker, uint64_t *in_requests, uint64_t *overlapping)
{
	long before = -1;

	for (size_t i = 0; i < deed_count; i++) {
		uint64_t faults;
		int then, now;

		if (!model_is_reading(worker, i))
			continue;
		faults = before < 0 ? 0 : deeds[i].faults[worker] - deeds[before].faults[worker];
		then = model_open(worker, before);
		now = model_open(worker, (long)i - 1);
		if (now == 0 ? model_continues(worker, i)
			     : now == 1 && then == 1 && !model_continues(worker, i))
			*in_requests += faults;
		else if (now)
			*overlapping += faults;
		before = i;
	}
}

/*
 * Random histories.
 */

struct story {
	struct seeded seeded;
	uint64_t seed;
	bool late; /* probes of sends may be late */
	int most_workers;
	struct {
		char bytes[300]; /* what the client sends now */
		size_t length, sent;
		bool ended, was_reset;
		int home; /* the worker that mostly serves it */
	} clients[WIRES];
};

static void check(bool agrees, const struct story *story, const char *what)
{
	if (!agrees)
		fail_msg("seed %lu, %s%s: %s", (unsigned long)story->seed,
			uses_fexit ? "fexit" : "tracepoints", story->late ? ", late" : "", what);
}

static void next_request(struct story *story, int wire)
{
	static const char *const requests[] = {GET, GET,
		"GET /path?query HTTP/1.1\r\nHost: a\r\n\r\n",
		"HEAD /a/rather/long/path/that/goes/on/and/on/until/it/fills/the/room/that/there/"
		"is/for/one HTTP/1.1\r\n\r\n",
		"\x01\x02 something else", POST "some body", POST "some body"};
	const char *text =
		requests[seeded_below(&story->seeded, sizeof(requests) / sizeof(requests[0]))];

	story->clients[wire].length = strlen(text);
	story->clients[wire].sent = 0;
	memcpy(story->clients[wire].bytes, text, strlen(text));
}

/* A worker of either process, most often the one at home; one whose probe is late does nothing. */
static int some_worker(struct story *story, int wire)
{
	int worker = story->clients[wire].home;

	if (seeded_once_in(&story->seeded, 4))
		worker = seeded_below(&story->seeded, story->most_workers);
	world_probe_late(worker);
	return worker;
}

static void story_receive(struct story *story, int wire)
{
	size_t length, left = story->clients[wire].length - story->clients[wire].sent;

	if (!left) {
		next_request(story, wire);
		left = story->clients[wire].length;
	}
	length = seeded_once_in(&story->seeded, 2) ? left : 1 + seeded_below(&story->seeded, left);
	world_receive_by(some_worker(story, wire), wire,
		story->clients[wire].bytes + story->clients[wire].sent, length,
		seeded_next(&story->seeded));
	story->clients[wire].sent += length;
}

static void story_send(struct story *story, int wire)
{
	const char *text = !story->late && seeded_once_in(&story->seeded, 6) ? CONTINUE : ANSWER;
	int worker = some_worker(story, wire);

	if (story->late && seeded_once_in(&story->seeded, 2))
		world_send_late(worker, wire, strlen(ANSWER));
	else
		world_send_by(worker, wire, text, strlen(text), seeded_next(&story->seeded));
}

static void story_close(struct story *story, int wire)
{
	for (int i = 0; i < WORKERS; i++)
		if (workers[i].late_wire == wire)
			world_probe_late(i);
	world_close(wire);
	world_destroy(wire);
}

static void story_step(struct story *story, int wire)
{
	uint64_t chance = seeded_below(&story->seeded, 100);

	if (story->clients[wire].was_reset) {
		if (chance < 30)
			world_end(some_worker(story, wire), wire, CONNECTION_RESET);
		else if (chance < 60)
			world_fail(some_worker(story, wire), wire);
		else
			story_close(story, wire);
	} else if (chance < 45 && !story->clients[wire].ended) {
		story_receive(story, wire);
	} else if (chance < 85) {
		story_send(story, wire);
	} else if (chance < 89) {
		story->clients[wire].ended = true;
		world_end(some_worker(story, wire), wire, 0);
	} else if (chance < 92) {
		story->clients[wire].was_reset = true;
		if (!wires[wire].is_unix)
			world_reset_by_peer(wire);
	} else if (chance < 95) {
		story_close(story, wire);
	} else {
		world_nothing(some_worker(story, wire), wire);
	}
}

static void compare_process(const struct story *story, int process)
{
	uint64_t in_requests = 0, overlapping = 0;

	check(world_count(process, PS_REQUESTS) == model_requests(process), story, "requests");
	check(world_count(process, PS_CONNECTIONS_OPENED) == model_opened(process), story,
		"opened");
	if (story->late)
		return;
	for (struct shim_entry *entry = shim_entries(&routes); entry; entry = entry->next) {
		const struct ps_route *route = entry->value;

		check(world_route(process, route->text) == model_routed(process, route->text),
			story, route->text);
	}
	check(world_count(process, PS_REQUESTS_ROUTED) == model_routed(process, NULL), story,
		"routed");
	check(world_count(process, PS_REQUESTS_HANDED_OFF) == model_handed_off(process), story,
		"handed off");
	for (int worker = 0; worker < WORKERS; worker++)
		if (process_of[worker] == process)
			model_faults(worker, &in_requests, &overlapping);
	check(world_count(process, PS_FAULTS_IN_REQUESTS) == in_requests, story,
		"faults in requests");
	check(world_count(process, PS_FAULTS_OVERLAPPING) == overlapping, story,
		"faults overlapping");
}

static void compare(const struct story *story)
{
	uint64_t counted = 0, routed = 0;

	model_read();
	for (int process = 0; process < PROCESSES; process++) {
		counted += world_count(process, PS_REQUESTS_ROUTED);
		routed += model_routed(process, NULL);
	}
	check(counted == routed, story, "routed by all processes");
	for (int process = 0; process < PROCESSES; process++)
		compare_process(story, process);
	for (int worker = 0; worker < WORKERS && !story->late; worker++)
		check(world_open_requests(worker) == model_open(worker, (long)deed_count - 1),
			story, "open requests of a thread");
}

static void tell(struct story *story)
{
	for (int step = 0; step < 150; step++) {
		int wire = wire_count ? seeded_below(&story->seeded, wire_count) : 0;

		for (int faults = 0; faults < 3; faults++)
			world_fault(seeded_below(&story->seeded, WORKERS),
				seeded_below(&story->seeded, 5), seeded_below(&story->seeded, 2));
		if (wire_count < 12 && (!wire_count || seeded_once_in(&story->seeded, 10))) {
			wire = world_open(seeded_once_in(&story->seeded, 2));
			story->clients[wire].home =
				seeded_below(&story->seeded, story->most_workers);
			/* Unix sockets are known from the first try to receive on. */
			world_nothing(story->clients[wire].home, wire);
		} else if (seeded_once_in(&story->seeded, 15)) {
			world_tick();
		} else if (wires[wire].is_open) {
			story_step(story, wire);
		}
		for (int worker = 0; worker < WORKERS; worker++)
			check(world_open_requests(worker) >= 0, story, "open requests below zero");
	}
	for (int worker = 0; worker < WORKERS; worker++)
		world_probe_late(worker);
	compare(story);
	for (int wire = 0; wire < wire_count; wire++)
		if (wires[wire].is_open)
			story_close(story, wire);
	compare(story);
	for (int worker = 0; worker < WORKERS; worker++)
		check(world_open_requests(worker) == 0, story, "open requests at the end");
}

static void tell_stories(bool late)
{
	for (uint64_t seed = 1; seed <= 300; seed++) {
		static struct story story;

		world_reset();
		story = (struct story){
			.seeded = {seed}, .seed = seed, .late = late, .most_workers = 6};
		uses_fexit = seed & 1;
		tell(&story);
	}
}

/*
 * Pages in random histories. What must hold of the records, whatever happened: a touch is told to
 * be in a window only if that is the one window of the thread; what is adopted was touched at that
 * place, and not adopted before; and every request of which a page is told ends, behind its pages.
 */

/* The connection of the only request that the worker has open; -1 if it has none or several. */
static int only_window(int worker)
{
	const struct thread_key key = thread_key_of(&workers[worker].task);
	int only = -1, count = 0;

	for (int wire = 0; wire < wire_count; wire++) {
		const struct connection *conn = wire_connection(wire);

		if (!conn || conn->window != WINDOW_OPEN || conn->receiver.tid != key.tid)
			continue;
		only = wire;
		count++;
	}
	return count == 1 ? only : -1;
}

static void story_touch(struct story *story, int wire)
{
	int worker = seeded_below(&story->seeded, story->most_workers), only = only_window(worker);
	size_t before = world_pages_count();
	const struct ps_page *page;

	/* It is still in its send. */
	if (workers[worker].late_wire >= 0)
		return;
	if (seeded_once_in(&story->seeded, 3) && wires[wire].is_open)
		world_touch_in_call(worker, wire, __NR_recvfrom, PAGE);
	else
		world_touch(worker, PAGE);
	if (world_pages_count() == before)
		return;
	page = &world_page_record(before)->page;
	check(page->place != PS_IN_WINDOW || (only >= 0 && page->set == received_ns(only)), story,
		"touched in a window that is not the thread's only one");
	check(page->place == PS_IN_WINDOW || page->place == PS_OVERLAPPING ||
			world_open_requests(worker) == 0,
		story, "touched outside while a request is open");
}

static bool is_same(const struct ps_page_record *a, const struct ps_page_record *b)
{
	return a->page.tid == b->page.tid && a->page.set == b->page.set &&
	       a->page.place == b->page.place && memcmp(&a->proc, &b->proc, sizeof(a->proc)) == 0;
}

static bool was_touched_since(const struct ps_page_record *adopted_now, size_t index)
{
	while (index-- > 0) {
		const struct ps_page_record *record = world_page_record(index);

		if (!is_same(record, adopted_now))
			continue;
		return record->page.kind == PS_PAGE_TOUCHED;
	}
	return false;
}

/* Does the request of a thread end behind this record? */
static bool ends_behind(const struct ps_page_record *told, uint32_t tid, uint64_t set, size_t index)
{
	for (; index < world_pages_count(); index++) {
		const struct ps_page_record *record = world_page_record(index);

		if (record->page.kind == PS_PAGE_ENDED && record->page.tid == tid &&
			record->page.set == set &&
			memcmp(&record->proc, &told->proc, sizeof(told->proc)) == 0)
			return record->page.at_ns >= told->page.at_ns;
	}
	return false;
}

static void compare_pages(const struct story *story)
{
	for (size_t i = 0; i < world_pages_count(); i++) {
		const struct ps_page_record *record = world_page_record(i);
		const struct ps_page *page = &record->page;

		if (page->kind == PS_PAGE_TOUCHED && page->place == PS_IN_WINDOW)
			check(ends_behind(record, page->tid, page->set, i), story,
				"request that touched pages does not end");
		if (page->kind != PS_PAGE_ADOPTED)
			continue;
		check(was_touched_since(record, i), story, "adopted without a touch");
		check(ends_behind(record, page->to_tid, page->to, i), story,
			"request that adopted pages does not end");
	}
}

static void tell_of_pages(struct story *story)
{
	for (int step = 0; step < 200; step++) {
		int wire = wire_count ? seeded_below(&story->seeded, wire_count) : 0;

		shim_now_ns += seeded_below(&story->seeded, TAIL_IDLE_NS / 4);
		if (wire_count < 8 && (!wire_count || seeded_once_in(&story->seeded, 10))) {
			wire = world_open(seeded_once_in(&story->seeded, 2));
			story->clients[wire].home =
				seeded_below(&story->seeded, story->most_workers);
			world_nothing(story->clients[wire].home, wire);
		} else if (seeded_once_in(&story->seeded, 15)) {
			world_tick();
		} else if (seeded_once_in(&story->seeded, 2)) {
			story_touch(story, wire);
		} else if (wires[wire].is_open) {
			story_step(story, wire);
		}
	}
	for (int worker = 0; worker < WORKERS; worker++)
		world_probe_late(worker);
	for (int wire = 0; wire < wire_count; wire++)
		if (wires[wire].is_open)
			story_close(story, wire);
	shim_now_ns += 2 * TAIL_IDLE_NS;
	world_tick();
	compare_pages(story);
}

static void tell_stories_of_pages(bool late)
{
	size_t windows = 0, tails = 0, received = 0, by_workers = 0;

	for (uint64_t seed = 1; seed <= 500; seed++) {
		static struct story story;

		world_reset();
		cfg_pages = true;
		/* A request that passes to another process takes no pages along: one process. */
		story = (struct story){
			.seeded = {seed}, .seed = seed, .late = late, .most_workers = 3};
		uses_fexit = seed & 1;
		tell_of_pages(&story);
		for (size_t i = 0; i < world_pages_count(); i++) {
			const struct ps_page *page = &world_page_record(i)->page;

			windows += page->kind == PS_PAGE_ENDED;
			tails += page->kind == PS_PAGE_ADOPTED && page->place == PS_IN_TAIL;
			received += page->kind == PS_PAGE_ADOPTED && page->place == PS_IN_RECEIVE;
			by_workers += page->kind == PS_PAGE_ADOPTED && page->place == PS_IN_WORKER;
		}
	}
	/* The stories do tell of all that. */
	assert_true(windows > 1000);
	assert_true(tails > 100);
	assert_true(received > 100);
	assert_true(by_workers > 50);
}

static void pages_of_random_histories_all_end(void **state)
{
	tell_stories_of_pages(false);
}

static void pages_end_with_late_probes_too(void **state)
{
	tell_stories_of_pages(true);
}

static void random_histories_agree_with_the_model(void **state)
{
	tell_stories(false);
}

static void late_probes_of_sends_hide_and_double_no_request(void **state)
{
	tell_stories(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name)       cmocka_unit_test_setup(name, setup)
#define TEST_PAGES(name) cmocka_unit_test_setup(name, setup_pages)
		TEST(request_after_a_response_is_another),
		TEST(request_in_many_segments_is_one),
		TEST(response_in_many_writes_is_one),
		TEST(body_that_follows_its_head_is_the_same_request),
		TEST(interim_answer_does_not_end_a_request),
		TEST(interim_answer_with_the_answer_behind_it_ends_a_request),
		TEST(bytes_behind_the_last_answer_are_read_to_be_dropped),
		TEST(body_behind_an_early_answer_is_no_request),
		TEST(bytes_that_nobody_can_read_are_requests),
		TEST(server_may_speak_first),
		TEST(what_is_nothing_counts_nothing),
		TEST(end_of_stream_is_no_request),
		TEST(vanished_client_ends_its_request),
		TEST(request_line_that_never_ends_is_unknown),
		TEST(routes_are_counted_only_when_asked_for),
		TEST(turns_that_hold_several_requests_are_flagged),
		TEST(fast_open_request_comes_before_the_handshake_ends),
		TEST(sockets_of_clients_are_no_connections),
		TEST(unix_client_may_have_an_address),
		TEST(pair_of_sockets_is_no_connection),
		TEST(connection_is_opened_again_by_its_next_process),
		TEST(observer_is_never_counted),
		TEST(only_listed_processes_are_counted),
		TEST(only_watched_ports_are_counted),
		TEST(what_finds_no_room_is_lost),
		TEST(open_connection_belongs_to_who_has_it),
		TEST(answer_tells_of_a_request_that_nobody_saw),
		TEST(open_connections_are_those_with_a_descriptor),
		TEST(answer_by_another_thread_is_handed_off),
		TEST(end_of_stream_does_not_hide_a_hand_off),
		TEST(hand_off_to_another_process_is_of_who_received),
		TEST(end_of_stream_ends_a_window_whoever_reads_it),
		TEST(connection_that_ends_unanswered_ends_its_window),
		TEST(late_send_leaves_the_next_request_its_window),
		TEST(window_moves_to_who_receives_the_rest),
		TEST(faults_between_receive_and_send_are_of_the_request),
		TEST(faults_with_two_requests_open_overlap),
		TEST(faults_while_the_answer_of_another_goes_on_overlap),
		TEST(faults_while_another_thread_answered_are_background),
		TEST(faults_after_the_end_of_stream_are_of_the_request),
		TEST(interval_ends_every_segment),
		TEST(interval_that_ends_after_another_answered_leaves_one_open),
		TEST(thread_that_ends_takes_its_windows_along),
		TEST(process_ends_with_its_last_thread),
		TEST_PAGES(pages_touched_for_a_request_end_with_it),
		TEST_PAGES(end_of_a_request_is_its_last_send),
		TEST_PAGES(request_that_touches_nothing_is_not_told),
		TEST_PAGES(routes_end_by_their_own_hash),
		TEST_PAGES(without_routes_requests_end_without_one),
		TEST_PAGES(pages_between_two_sends_are_adopted),
		TEST_PAGES(every_piece_of_a_tail_is_adopted_by_itself),
		TEST_PAGES(pages_behind_the_last_send_are_not_adopted),
		TEST_PAGES(send_of_another_response_ends_a_tail),
		TEST_PAGES(idle_tail_ends_with_the_interval),
		TEST_PAGES(interval_leaves_a_tail_that_goes_on),
		TEST_PAGES(tail_that_goes_on_after_its_end_ends_again),
		TEST_PAGES(interval_does_not_end_a_window),
		TEST_PAGES(thread_that_ends_tells_its_tail),
		TEST_PAGES(late_answer_after_the_end_of_stream_is_the_tail),
		TEST_PAGES(request_that_is_never_answered_ends_with_its_connection),
		TEST_PAGES(reset_by_the_peer_ends_a_request),
		TEST_PAGES(pages_with_two_requests_open_are_of_neither),
		TEST_PAGES(request_that_was_put_aside_owes_its_end),
		TEST_PAGES(requests_that_were_put_aside_all_end),
		TEST_PAGES(window_that_moves_ends_for_who_had_it),
		TEST_PAGES(pages_of_a_worker_are_adopted_when_it_answers),
		TEST_PAGES(each_answer_of_a_worker_begins_a_segment),
		TEST_PAGES(worker_that_touched_nothing_adopts_nothing),
		TEST_PAGES(second_send_of_a_worker_adopts_nothing),
		TEST_PAGES(thread_that_received_is_never_adopted_from),
		TEST_PAGES(worker_that_begins_to_receive_keeps_nothing_back),
		TEST_PAGES(buffer_that_is_received_into_is_the_requests),
		TEST_PAGES(buffer_of_a_body_is_touched_in_the_window),
		TEST_PAGES(receive_that_gives_nothing_leaves_its_buffer_to_the_next),
		TEST_PAGES(kernel_that_fills_another_buffer_receives_nothing),
		TEST_PAGES(folio_is_told_whole),
		TEST_PAGES(copy_on_write_is_told_apart),
		TEST_PAGES(fault_that_makes_nothing_resident_is_not_told),
		TEST_PAGES(one_fault_is_one_touch),
		TEST_PAGES(where_counts_are_batched_allocations_tell),
		TEST_PAGES(where_counts_are_batched_a_huge_page_still_tells_its_own),
		TEST_PAGES(only_counted_processes_have_pages),
		TEST_PAGES(sampling_leaves_out_pages_by_their_number),
		TEST_PAGES(records_that_find_the_ring_full_are_lost),
		TEST_PAGES(what_is_given_back_is_told),
		TEST_PAGES(what_fails_or_gives_nothing_back_is_not_told),
		TEST_PAGES(break_that_shrinks_is_told),
		TEST_PAGES(mapping_that_moves_is_told),
		TEST_PAGES(mapping_that_is_populated_is_touched),
		TEST_PAGES(new_program_has_no_pages),
		TEST(random_histories_agree_with_the_model),
		TEST(late_probes_of_sends_hide_and_double_no_request),
		TEST_PAGES(pages_of_random_histories_all_end),
		TEST_PAGES(pages_end_with_late_probes_too),
#undef TEST
#undef TEST_PAGES
	};
	int failed = cmocka_run_group_tests_name("request", tests, NULL, NULL);

	shim_reset();
	return failed;
}
