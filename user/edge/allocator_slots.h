/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The files that a live process runs code of, and whose allocator their calls reach.
 */
#ifndef PAGESTAY_EDGE_ALLOCATOR_SLOTS_H
#define PAGESTAY_EDGE_ALLOCATOR_SLOTS_H

#include "allocator_file.h"

/* More: those at the lowest addresses, loaded last, are passed over. Fewer than CACHE_FILES, so
 * that no facts go while a process is looked at. */
#define OBJECTS 256

struct object {
	const struct target_map *map;   /* one with code */
	const struct file_facts *facts; /* NULL: the file is not to be had */
	uint64_t bias;                  /* between addresses in the file and in the process */
	char name[ALLOCATOR_OBJECT_BYTES];
};

struct objects {
	unsigned count;
	bool has_program; /* it is the first */
	bool is_partial;  /* files are left to be read; the next look goes on */
	struct object list[OBJECTS];
};

/* How far the dynamic linker is, by its own word. */
enum linker_state { LINKER_UNKNOWN, LINKER_AT_WORK, LINKER_DONE };

struct link_order {
	enum linker_state state;
	unsigned count;
	const struct object *list[OBJECTS]; /* as symbols are looked up */
};

/* Good until the target is refreshed or closed. -ESRCH, or another -errno. */
int objects_find(struct allocator_cache *cache, struct target *target, struct objects *ret_objects);

/* The one that has the address; NULL if none. */
const struct object *objects_at(
	const struct objects *objects, struct target *target, uint64_t address);

/* The allocator that an object's malloc is; ALLOCATOR_UNKNOWN if it is none that we know. */
enum allocator_name object_allocator(const struct object *object);

/*
 * Whom an object's slots lead to, by the first of allocator_function that is bound to a file which
 * defines it. -ENOENT: none is bound, or in memory.
 */
int object_provider(const struct objects *objects, struct target *target,
	const struct object *object, enum allocator_function *ret_function,
	const struct object **ret_provider);

/* Without the linker's list, objects are in the order of their addresses, from the top. */
int link_order_find(
	const struct objects *objects, struct target *target, struct link_order *ret_order);

/* The first that defines the function; NULL if none. */
const struct object *link_order_definer(
	const struct link_order *order, enum allocator_function function);

#endif
