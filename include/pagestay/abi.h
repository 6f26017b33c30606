/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The one header that bpf/ and user/ share: what the kernel programs write and the loader reads.
 *
 * Fixed-width types, explicit padding, size asserts. All times are CLOCK_BOOTTIME nanoseconds, all
 * sizes bytes, all counters cumulative since the process was admitted and never reset: the reader
 * takes differences, so that no reset can race with a count. Page records alone carry
 * CLOCK_MONOTONIC.
 */
#ifndef PAGESTAY_ABI_H
#define PAGESTAY_ABI_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define PS_COMM_BYTES   16
#define PS_ROUTE_BYTES  96
#define PS_MAX_PORTS    16
#define PS_RESERVATIONS 4

/* A process is a thread group and the time it started: a reused pid is another process. */
struct ps_proc_key {
	__u64 start_ns;
	__u32 tgid;
	__u32 pad0;
};

/* What is counted for each process. The order is the recording format's: append only. */
enum ps_counter {
	PS_BRK_CALLS,
	PS_BRK_GROW_BYTES,
	PS_BRK_SHRINK_BYTES,
	PS_BRK_FAILED,
	PS_MMAP_CALLS,
	PS_MMAP_BYTES,
	PS_MMAP_ANON_BYTES,
	PS_MMAP_RESERVE_BYTES, /* of anon: without access, address space to be committed later */
	PS_MMAP_FAILED,
	PS_MUNMAP_CALLS,
	PS_MUNMAP_BYTES,
	PS_MUNMAP_RESERVE_BYTES, /* of these: of a reservation that was never made accessible */
	PS_MUNMAP_FAILED,
	PS_MREMAP_CALLS,
	PS_MREMAP_GROW_BYTES,
	PS_MREMAP_SHRINK_BYTES,
	PS_MREMAP_FAILED,
	PS_MPROTECT_CALLS,
	PS_MPROTECT_COMMIT_BYTES,
	PS_MPROTECT_DECOMMIT_BYTES,
	PS_MPROTECT_FAILED,
	PS_MADVISE_CALLS,
	PS_MADVISE_DONTNEED_BYTES,
	PS_MADVISE_FREE_BYTES,
	PS_MADVISE_OTHER_BYTES,
	PS_MADVISE_FAILED,
	PS_ACCEPTS,
	PS_CONNECTIONS_OPENED, /* from here on: of the detail level requests */
	PS_REQUESTS,
	PS_REQUESTS_MERGED,    /* of requests: turns that hold several (pipelined, HTTP/2) */
	PS_REQUESTS_ENCRYPTED, /* of requests: turns on TLS connections, told by record types only
				*/
	PS_REQUESTS_ROUTED, /* of requests: those whose request line is complete or can never be */
	PS_REQUESTS_HANDED_OFF, /* of requests: answered by another thread than the receiving one */
	PS_FAULTS_IN_REQUESTS,
	PS_FAULTS_OVERLAPPING,
	PS_COUNTERS, /* how many there are */
};

#define PS_PROC_EXITED 1u /* the last thread has exited; no count follows */

struct ps_range {
	__u64 start;
	__u64 end;
};

/* One process; the value of the map `procs`. */
struct ps_proc {
	__u64 counter[PS_COUNTERS];
	__u64 brk; /* the program break as last seen, to tell growth from shrinking */
	__u32 flags;
	__u32 open_scan; /* which scan `open` belongs to */
	__u64 open;      /* connections that the process has open, as of that scan */
	char comm[PS_COMM_BYTES];
	struct ps_range reserved[PS_RESERVATIONS]; /* the last mappings without access, by thread */
};

/* One route of one process; the map `routes`. The hash is seeded, so nobody can aim collisions. */
struct ps_route_key {
	struct ps_proc_key proc;
	__u64 hash;
};

struct ps_route {
	char text[PS_ROUTE_BYTES]; /* request line up to the path's end, zero-padded, any bytes */
	__u64 requests;
};

/* What could not be counted, and why; indexes of the array `ps_lost`. */
enum ps_loss {
	PS_LOST_EVENTS,   /* lifecycle records that found the ring full */
	PS_LOST_MAP_FULL, /* processes, threads or connections that found their map full */
	PS_LOST_PAGES,    /* page records that found their ring full */
	PS_LOST_RUNS,     /* of programs that were running on the same processor already */
	PS_LOSSES,
};

enum ps_record_kind {
	PS_RECORD_ADMITTED = 1, /* a process is counted from now on */
	PS_RECORD_EXITED = 2,   /* its last thread has exited */
};

/* A record of the ring `lifecycle`. */
struct ps_record {
	struct ps_proc_key proc;
	__u32 kind;
	__u32 pad0;
};

/* Where a thread stood when it touched a page, and so what `set` of ps_page names. */
enum ps_place {
	PS_IN_WINDOW = 1, /* one request open: the request, by when it was received */
	PS_OVERLAPPING,   /* several requests open: none */
	PS_BACKGROUND,    /* no request open, and the thread receives requests: none */
	PS_IN_TAIL,       /* behind the first send of a response: that request, if more is sent */
	PS_IN_RECEIVE,    /* the kernel, filling a receive buffer: the socket */
	PS_IN_WORKER,     /* a thread that never received: since its last send, by that time */
	PS_PLACES,
};

enum ps_page_kind {
	PS_PAGE_TOUCHED = 1, /* became resident by a fault */
	PS_PAGE_COPIED,      /* written while shared: replaced by a copy (copy on write) */
	PS_PAGE_DROPPED,     /* given back: munmap, madvise, brk, a mapping over it */
	PS_PAGE_FREED,       /* given back lazily (MADV_FREE): resident until somebody needs it */
	PS_PAGE_MOVED,       /* mremap: to page number `to` */
	PS_PAGE_ENDED,       /* a request that touched pages ended; `to` is its route's hash */
	PS_PAGE_ADOPTED, /* what place and set name belongs to request `to` of thread `to_tid` */
	PS_PAGE_EXECED,  /* a new program image: all pages are gone */
	PS_PAGE_KINDS,
};

#define PS_PAGE_BY_KERNEL 1u /* touched by the kernel on the process's behalf */
#define PS_PAGE_PRESENT   2u /* touched while a page was mapped there: the zero page or a file's */

/* Something that happened to pages. Page numbers are addresses divided by the page size. */
struct ps_page {
	__u32 kind;  /* enum ps_page_kind */
	__u32 place; /* enum ps_place; of TOUCHED, COPIED, ADOPTED */
	__u32 flags;
	__u32 tid;
	__u32 to_tid;
	__u32 pad0;
	__u64 page;  /* the first */
	__u64 pages; /* how many: a folio's base pages, a call's range */
	__u64 set;
	__u64 to;
	__u64 at_ns; /* CLOCK_MONOTONIC; ENDED: of the last send */
};

/* A record of the ring `page_records`. */
struct ps_page_record {
	struct ps_proc_key proc;
	struct ps_page page;
};

/*
 * Which pages are sampled at a level: one in 2^level, by a hash of the page number, so that the
 * choice does not depend on what happens to a page, and a higher level chooses among the lower's.
 */
static inline int ps_page_sampled(__u64 page, __u64 seed, __u32 level)
{
	__u64 hash = (page ^ seed) * 0x9e3779b97f4a7c15ull;

	hash = (hash ^ (hash >> 32)) * 0xd6e8feb86659fd93ull;
	hash ^= hash >> 32;
	return (hash & ((1ull << (level & 31)) - 1)) == 0;
}

_Static_assert(sizeof(struct ps_proc_key) == 16, "ABI");
_Static_assert(sizeof(struct ps_proc) == PS_COUNTERS * 8 + 40 + PS_RESERVATIONS * 16, "ABI");
_Static_assert(sizeof(struct ps_route_key) == 24, "ABI");
_Static_assert(sizeof(struct ps_route) == PS_ROUTE_BYTES + 8, "ABI");
_Static_assert(sizeof(struct ps_record) == 24, "ABI");
_Static_assert(sizeof(struct ps_page) == 64, "ABI");
_Static_assert(sizeof(struct ps_page_record) == 80, "ABI");

#endif
