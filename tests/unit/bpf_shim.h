/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Lets a test include the BPF programs themselves and call them as plain functions.
 *
 * Include this before any file of bpf/ and end with bpf_shim_end.h. It stands for the kernel's
 * types, of which it has the fields that the programs read, and for libbpf's macros and the
 * helpers:
 *
 *   maps             each is known by its address and keeps its entries one by one on the heap, so
 *                    that a sanitizer sees who uses a deleted one. shim_limit() makes one smaller
 *   socket storage   the same, by the socket's address; shim_forget_socket() is the socket's end
 *   rings            keep all that was submitted, in order: shim_ring_count(), shim_ring_record()
 *   current task     shim_task, with the registers of the call that it makes
 *   user memory      is the test's own. Addresses in the first page cannot be read
 *   configuration    is writable: `const` is nothing until bpf_shim_end.h, so a test sets
 * cfg_routes
 *
 * shim_reset() empties all maps. One thread; state is static, and so is everything that it checks.
 */
#ifndef PAGESTAY_TESTS_BPF_SHIM_H
#define PAGESTAY_TESTS_BPF_SHIM_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The headers that these names guard have nothing to add. */
#define __VMLINUX_H__
#define __BPF_HELPERS__
#define __BPF_TRACING_H__
#define __BPF_CORE_READ_H__

/*
 * The kernel's types.
 */

typedef __u64 u64;
typedef __u32 u32;

enum {
	BPF_ANY,
	BPF_NOEXIST,
};

enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_F_NO_PREALLOC = 1,
	BPF_SK_STORAGE_GET_F_CREATE = 1,
	BPF_RB_NO_WAKEUP = 1,
};

enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_RECV = 3,
	TCP_FIN_WAIT1 = 4,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT = 8,
	TCP_LAST_ACK = 9,
	TCP_LISTEN = 10,
};

typedef struct {
	int counter;
} atomic_t;

struct refcount_struct {
	atomic_t refs;
};

/* Of both architectures, by the names that syscall.bpf.h uses. */
struct pt_regs {
	unsigned long orig_ax, di, si, dx, r10;
	unsigned long syscallno, orig_x0, regs[4];
};

struct thread_info {
	unsigned long flags;
	u32 status;
};

struct mm_struct {
	unsigned long brk;
};

struct vm_area_struct {
	unsigned long vm_flags;
	void *vm_ops;
};

struct signal_struct {
	atomic_t live;
};

struct inode {
	unsigned short i_mode;
};

struct file {
	void *private_data;
	struct inode *f_inode;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct task_struct {
	struct thread_info thread_info;
	struct mm_struct *mm;
	int pid;
	int tgid;
	struct task_struct *group_leader;
	u64 start_boottime;
	unsigned long min_flt;
	unsigned long maj_flt;
	char comm[16];
	struct files_struct *files;
	void *io_uring;
	struct signal_struct *signal;
	struct pt_regs shim_regs; /* of the call under way; the kernel keeps them on its stack */
};

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

struct sock_common {
	__u16 skc_num;
	unsigned short skc_family;
	unsigned char skc_state;
	struct {
		struct net *net;
	} skc_net;
};

struct sock {
	struct sock_common __sk_common;
	struct socket *sk_socket;
	__u8 sk_shutdown;
	__u16 sk_type;
	__u16 sk_protocol;
};

struct tcp_sock {
	struct sock sk;
	u32 write_seq;
	u32 copied_seq;
};

struct unix_address {
	struct refcount_struct refcnt;
};

struct unix_sock {
	struct sock sk;
	struct unix_address *addr;
	struct sock *peer;
};

struct socket {
	struct file *file;
	struct sock *sk;
};

struct iovec {
	void *iov_base;
	size_t iov_len;
};

struct msghdr;

struct user_msghdr {
	void *msg_name;
	int msg_namelen;
	struct iovec *msg_iov;
	size_t msg_iovlen;
};

struct bpf_iter__task {
	struct task_struct *task;
};

struct bpf_iter__task_file {
	struct task_struct *task;
	struct file *file;
};

struct bpf_iter__tcp {
	struct sock_common *sk_common;
};

struct bpf_iter__bpf_sk_storage_map {
	struct sock *sk;
	void *value;
};

/*
 * Maps.
 */

#define SHIM_MAPS 12

struct shim_entry {
	struct shim_entry *next;
	void *key, *value;
};

struct shim_map {
	void *address;
	size_t key_bytes, value_bytes;
	size_t most, count;
	struct shim_entry *entries;
};

static struct shim_map shim_maps[SHIM_MAPS];

static inline struct shim_map *shim_map_at(
	void *address, size_t key_bytes, size_t value_bytes, size_t most)
{
	for (int i = 0; i < SHIM_MAPS; i++) {
		struct shim_map *map = &shim_maps[i];

		if (map->address == address)
			return map;
		if (map->address)
			continue;
		*map = (struct shim_map){address, key_bytes, value_bytes, most, 0, NULL};
		return map;
	}
	abort();
}

/* The place that points to the key's entry, or the end of the list. */
static inline struct shim_entry **shim_place(struct shim_map *map, const void *key)
{
	struct shim_entry **place = &map->entries;

	while (*place && memcmp((*place)->key, key, map->key_bytes) != 0)
		place = &(*place)->next;
	return place;
}

static inline void *shim_copy(const void *bytes, size_t length)
{
	void *copy = malloc(length);

	if (!copy)
		abort();
	return bytes ? memcpy(copy, bytes, length) : memset(copy, 0, length);
}

static inline void *shim_lookup(struct shim_map *map, const void *key)
{
	struct shim_entry *entry = *shim_place(map, key);

	return entry ? entry->value : NULL;
}

/* `value` NULL: zeros. */
static inline long shim_update(
	struct shim_map *map, const void *key, const void *value, unsigned flags)
{
	struct shim_entry **place = shim_place(map, key), *entry = *place;

	if (entry && flags == BPF_NOEXIST)
		return -17; /* EEXIST */
	if (entry) {
		if (value)
			memcpy(entry->value, value, map->value_bytes);
		return 0;
	}
	if (map->count == map->most)
		return -7; /* E2BIG */
	entry = shim_copy(NULL, sizeof(*entry));
	entry->key = shim_copy(key, map->key_bytes);
	entry->value = shim_copy(value, map->value_bytes);
	*place = entry;
	map->count++;
	return 0;
}

static inline long shim_delete(struct shim_map *map, const void *key)
{
	struct shim_entry **place = shim_place(map, key), *entry = *place;

	if (!entry)
		return -2; /* ENOENT */
	*place = entry->next;
	map->count--;
	free(entry->key);
	free(entry->value);
	free(entry);
	return 0;
}

#define SHIM_MAP(map)                                                                              \
	shim_map_at((map), sizeof(*(map)->key), sizeof(*(map)->value),                             \
		sizeof(*(map)->max_entries) / sizeof(int))
#define SHIM_STORAGE(map) shim_map_at((map), sizeof(void *), sizeof(*(map)->value), SIZE_MAX)

/* From now on the map has room for so many. */
#define shim_limit(map, entries) (SHIM_MAP(map)->most = (entries))

/* The entries of a map, for tests that look at all of them. */
#define shim_entries(map) (SHIM_MAP(map)->entries)

#define __uint(name, number) int(*name)[number]
#define __type(name, type)   __typeof__(type) *name

#define bpf_map_lookup_elem(map, key_)                                                             \
	((__typeof__((map)->value))shim_lookup(SHIM_MAP(map), (key_)))
#define bpf_map_update_elem(map, key_, value_, flags)                                              \
	shim_update(SHIM_MAP(map), (key_), (value_), (flags))
#define bpf_map_delete_elem(map, key_) shim_delete(SHIM_MAP(map), (key_))

/*
 * Rings.
 */

#define SHIM_RINGS        2
#define SHIM_RING_RECORDS 4096

struct shim_ring {
	void *address;
	size_t count;
	void *records[SHIM_RING_RECORDS];
	void *reserved; /* not submitted yet */
};

static struct shim_ring shim_rings[SHIM_RINGS];
static bool shim_ring_is_full;

static inline struct shim_ring *shim_ring_at(void *address)
{
	for (int i = 0; i < SHIM_RINGS; i++) {
		struct shim_ring *ring = &shim_rings[i];

		if (!ring->address)
			ring->address = address;
		if (ring->address == address)
			return ring;
	}
	abort();
}

/* What is reserved holds garbage, so that a field that nobody wrote is seen. */
static inline void *bpf_ringbuf_reserve(void *address, size_t length, unsigned flags)
{
	struct shim_ring *ring = shim_ring_at(address);

	if (shim_ring_is_full || ring->count == SHIM_RING_RECORDS)
		return NULL;
	if (ring->reserved || !(ring->reserved = malloc(length)))
		abort();
	return memset(ring->reserved, 0xa5, length);
}

static inline void bpf_ringbuf_submit(void *record, unsigned flags)
{
	for (int i = 0; i < SHIM_RINGS; i++) {
		struct shim_ring *ring = &shim_rings[i];

		if (ring->reserved != record)
			continue;
		ring->records[ring->count++] = record;
		ring->reserved = NULL;
		return;
	}
	abort();
}

#define shim_ring_count(ring)         (shim_ring_at(ring)->count)
#define shim_ring_record(ring, index) (shim_ring_at(ring)->records[index])

static inline void shim_ring_drop(struct shim_ring *ring)
{
	while (ring->count)
		free(ring->records[--ring->count]);
}

/* As if userspace had read it. */
#define shim_ring_empty(ring) shim_ring_drop(shim_ring_at(ring))

/*
 * Helpers.
 */

static struct task_struct *shim_task;
static bool shim_storage_is_full;
static struct vm_area_struct *shim_vma; /* of any address; NULL: mappings cannot be asked for */

#define bpf_get_current_task_btf() shim_task
#define bpf_get_current_pid_tgid() ((u64)shim_task->tgid << 32 | (u32)shim_task->pid)
#define bpf_task_pt_regs(task)     ((long)&(task)->shim_regs)
#define barrier_var(variable)      ((void)(variable))

static inline void *shim_storage(struct shim_map *map, struct sock *sk, unsigned flags)
{
	if (!shim_lookup(map, &sk) && flags == BPF_SK_STORAGE_GET_F_CREATE && !shim_storage_is_full)
		(void)shim_update(map, &sk, NULL, BPF_NOEXIST);
	return shim_lookup(map, &sk);
}

#define bpf_sk_storage_get(map, sk, init, flags)                                                   \
	((__typeof__((map)->value))shim_storage(SHIM_STORAGE(map), (sk), (flags)))
#define shim_forget_socket(map, socket_)                                                           \
	do {                                                                                       \
		struct sock *forgotten_ = (socket_);                                               \
		(void)shim_delete(SHIM_STORAGE(map), &forgotten_);                                 \
	} while (0)

static inline long bpf_probe_read_user(void *to, size_t length, const void *from)
{
	if ((uintptr_t)from < 4096) {
		memset(to, 0, length);
		return -14; /* EFAULT */
	}
	memcpy(to, from, length);
	return 0;
}

#define bpf_probe_read_kernel bpf_probe_read_user

/* Each look at the clock finds it a little later. */
static uint64_t shim_now_ns;

static inline uint64_t bpf_ktime_get_ns(void)
{
	return ++shim_now_ns;
}

static inline long bpf_find_vma(struct task_struct *task, u64 address,
	long (*found)(struct task_struct *, struct vm_area_struct *, void *), void *context,
	u64 flags)
{
	if (!shim_vma)
		return -16; /* EBUSY */
	(void)found(task, shim_vma, context);
	return 0;
}

static inline struct unix_sock *bpf_skc_to_unix_sock(void *sk)
{
	return ((struct sock_common *)sk)->skc_family == 1 ? sk : NULL;
}

static inline struct tcp_sock *bpf_skc_to_tcp_sock(void *sk)
{
	return ((struct sock *)sk)->sk_protocol == 6 ? sk : NULL;
}

static inline struct socket *bpf_sock_from_file(struct file *file)
{
	return file->private_data;
}

/*
 * libbpf's macros. Reading through a null pointer gives zero, as in the kernel.
 */

#define SEC(name)
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define __noinline      __attribute__((noinline))
#define __weak

#define BPF_PROG(name, ...)                                                                        \
	name(__VA_ARGS__);                                                                         \
	int name(__VA_ARGS__)

#define SHIM_STEP(pointer, member)                                                                 \
	({                                                                                         \
		__typeof__(pointer) step_ = (pointer);                                             \
		__typeof__(step_->member) value_;                                                  \
		memset(&value_, 0, sizeof(value_));                                                \
		if (step_)                                                                         \
			memcpy(&value_, &step_->member, sizeof(value_));                           \
		value_;                                                                            \
	})
#define SHIM_READ_1(pointer, a)         SHIM_STEP(pointer, a)
#define SHIM_READ_2(pointer, a, b)      SHIM_STEP(SHIM_STEP(pointer, a), b)
#define SHIM_READ_OF(_1, _2, name, ...) name
#define BPF_CORE_READ(pointer, ...)                                                                \
	SHIM_READ_OF(__VA_ARGS__, SHIM_READ_2, SHIM_READ_1)(pointer, __VA_ARGS__)

#define SHIM_INTO_1(to, pointer, a)    memcpy((to), (pointer)->a, sizeof(*(to)))
#define SHIM_INTO_2(to, pointer, a, b) SHIM_INTO_1(to, SHIM_STEP(pointer, a), b)
#define BPF_CORE_READ_INTO(to, pointer, ...)                                                       \
	SHIM_READ_OF(__VA_ARGS__, SHIM_INTO_2, SHIM_INTO_1)(to, pointer, __VA_ARGS__)

/* Each file brings its own. */
#define SHIM_PASTE_(a, b) a##b
#define SHIM_PASTE(a, b)  SHIM_PASTE_(a, b)
#define LICENSE           SHIM_PASTE(shim_license_, __COUNTER__)

/*
 * For tests.
 */

#if defined(__x86_64__)
#define __TARGET_ARCH_x86 1
#elif defined(__aarch64__)
#define __TARGET_ARCH_arm64 1
#endif

/* The task is inside this system call from now on. */
static inline void shim_call(struct task_struct *task, long number, unsigned long first,
	unsigned long second, unsigned long third)
{
	task->shim_regs = (struct pt_regs){.orig_ax = number,
		.di = first,
		.si = second,
		.dx = third,
		.syscallno = number,
		.orig_x0 = first,
		.regs = {first, second, third}};
}

static inline void shim_reset(void)
{
	for (int i = 0; i < SHIM_MAPS; i++) {
		struct shim_map *map = &shim_maps[i];

		while (map->entries)
			(void)shim_delete(map, map->entries->key);
		map->address = NULL;
	}
	for (int i = 0; i < SHIM_RINGS; i++) {
		shim_ring_drop(&shim_rings[i]);
		shim_rings[i].address = NULL;
	}
	shim_task = NULL;
	shim_vma = NULL;
	shim_ring_is_full = shim_storage_is_full = false;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wshadow"
#define const

#endif
