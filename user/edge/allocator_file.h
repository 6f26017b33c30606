/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is known of files that processes map: which allocators are in them, what they define and
 * where their slots are. Kept by the file's identity.
 */
#ifndef PAGESTAY_EDGE_ALLOCATOR_FILE_H
#define PAGESTAY_EDGE_ALLOCATOR_FILE_H

#include "allocator_elf.h"
#include "pagestay/edge/allocator.h"

#define FILE_SEGMENTS   8
#define FILE_SLOTS      24 /* more: the rest is passed over */
#define FILE_ALLOCATORS 4
#define CACHE_FILES     512 /* more: what was asked for the longest time ago is forgotten */

#define LOOK_BYTES     (512u << 20)
#define FILE_BYTES_MAX (256u << 20) /* what a file counts for at most; more is not read of one */

/* In the order in which they tell who serves a program. */
enum allocator_function {
	FUNCTION_MALLOC,
	FUNCTION_CALLOC,
	FUNCTION_REALLOC,
	FUNCTION_POSIX_MEMALIGN,
	FUNCTION_ALIGNED_ALLOC,
	FUNCTION_NEW, /* of C++ */
	FUNCTION_FREE,
	FUNCTIONS,
};

/* "malloc", ..., "operator new". */
extern const char *const allocator_functions[FUNCTIONS];

/* Addresses as the file has them, before it is loaded anywhere. */
struct file_slot {
	uint64_t address;
	enum allocator_function function;
};

struct file_segment {
	uint64_t address, offset, file_bytes;
	bool executable;
};

struct file_allocator {
	enum allocator_name name;
	bool by_symbols; /* told by what it exports, not by marks */
	char version[ALLOCATOR_VERSION_BYTES];
	char prefix[16];
};

struct file_facts {
	bool is_elf;          /* nothing else is known if not */
	bool has_interpreter; /* a program that ld.so loads libraries for */
	/* Where the functions are that others may bind to; 0: not in this file. */
	uint64_t definitions[FUNCTIONS];
	uint64_t dynamic; /* address; 0: none */
	unsigned segment_count, slot_count, allocator_count;
	struct file_segment segments[FILE_SEGMENTS];
	struct file_slot slots[FILE_SLOTS];
	struct file_allocator allocators[FILE_ALLOCATORS];
};

/*
 * Begins a look at a process. Files that are not known yet are read for up to LOOK_BYTES of them,
 * so that a process which maps many huge files holds nobody up.
 */
void allocator_file_begin_look(struct allocator_cache *cache);

/*
 * What is known of an open file. *ret_facts stays as long as fewer than CACHE_FILES other files are
 * asked for. A file that is no sound ELF file is known as that. -EAGAIN: enough was read in this
 * look; another -errno if it cannot be read.
 */
int allocator_file_facts(
	struct allocator_cache *cache, int fd, const struct file_facts **ret_facts);

/* NULL if the file has not this one. */
const struct file_allocator *file_allocator(
	const struct file_facts *facts, enum allocator_name name);

/* Whether it serves malloc, and is no runtime on top of one that does. */
bool allocator_serves(enum allocator_name name);

#endif
