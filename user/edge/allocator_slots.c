/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads what the dynamic linker left in a live process: the slots of allocator functions, bound or
 * not, and its list of loaded files. All of it is the process's own memory, which may say anything:
 * a slot counts only if it points into a file that defines the function, and lists have a bound.
 * Whatever is absent or not mapped is not known; only a process that is gone ends the look. Called
 * by the detection of allocators.
 */
#include "allocator_slots.h"

#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

#include "pagestay/base/cleanup.h"

#define DYNAMIC_ENTRIES 128
#define OPENS           1024 /* of files in a look, that turn out to be data too */

_Static_assert(OBJECTS < CACHE_FILES, "facts of one process's files stay while it is looked at");

/* Where the file is not to be had, its name must do. */
static const struct {
	const char *begin;
	enum allocator_name name;
} known_names[] = {
	{"libjemalloc.so", ALLOCATOR_JEMALLOC},
	{"libtcmalloc", ALLOCATOR_TCMALLOC},
	{"libmimalloc", ALLOCATOR_MIMALLOC},
	{"libc.so.6", ALLOCATOR_GLIBC},
	{"libc-2.", ALLOCATOR_GLIBC},
	{"ld-musl-", ALLOCATOR_MUSL},
	{"libc.musl-", ALLOCATOR_MUSL},
};

/*
 * Objects.
 */

static bool is_file(const struct object *object, const struct target_map *map)
{
	return object->map->inode == map->inode && object->map->device == map->device;
}

/* The path's last part, without the kernel's word for files that are gone. */
static void name_object(struct object *object)
{
	static const char deleted[] = " (deleted)";
	const size_t rest = sizeof(deleted) - 1;
	const char *slash = strrchr(object->map->path, '/');
	const char *name = slash ? slash + 1 : object->map->path;
	size_t length = strlen(name);

	if (length > rest && strcmp(name + length - rest, deleted) == 0)
		length -= rest;
	if (length >= sizeof(object->name))
		length = sizeof(object->name) - 1;
	memcpy(object->name, name, length);
	object->name[length] = '\0';
}

static void find_bias(struct object *object, uint64_t page_bytes)
{
	const struct target_map *map = object->map;

	for (unsigned i = 0; i < object->facts->segment_count; i++) {
		const struct file_segment *segment = &object->facts->segments[i];
		const uint64_t begin = segment->offset - segment->offset % page_bytes;

		if (!segment->executable || map->offset < begin ||
			map->offset - begin >= segment->file_bytes + segment->offset % page_bytes)
			continue;
		object->bias = map->from - (segment->address + map->offset - segment->offset);
		return;
	}
}

static bool is_end(int error)
{
	return error == -ESRCH || error == -ENOMEM;
}

static int add_object(struct allocator_cache *cache, struct target *target,
	const struct target_map *map, struct objects *objects)
{
	struct object *object = &objects->list[objects->count];
	_cleanup_(cleanup_close) int fd = -1;
	int error;

	*object = (struct object){.map = map};
	name_object(object);
	error = target_open_file(target, map, &fd);
	if (!error)
		error = allocator_file_facts(cache, fd, &object->facts);
	if (is_end(error))
		return error;
	objects->is_partial |= error == -EAGAIN;
	if (error)
		object->facts = NULL;
	else if (!object->facts->is_elf)
		return 0; /* somebody's data, mapped to be run */
	else
		find_bias(object, target_page_bytes(target));
	objects->count++;
	return 0;
}

static bool has_file(const struct objects *objects, const struct target_map *map)
{
	for (unsigned i = 0; i < objects->count; i++)
		if (is_file(&objects->list[i], map))
			return true;
	return false;
}

/* A mapping of the program's code; NULL if the kernel does not tell which file it is. */
static const struct target_map *program_map(struct target *target)
{
	struct event_process process;
	size_t count, length;
	const struct target_map *maps = target_maps(target, &count);

	if (procfs_process(target_procfs(target), target_key(target), &process))
		return NULL;
	length = strlen(process.exe);
	/* A path that fills the field may have been cut. */
	for (size_t i = 0; i < count && length; i++)
		if (maps[i].executable && maps[i].inode &&
			strncmp(maps[i].path, process.exe, length) == 0 &&
			(length == sizeof(process.exe) - 1 || !maps[i].path[length]))
			return &maps[i];
	return NULL;
}

int objects_find(struct allocator_cache *cache, struct target *target, struct objects *ret_objects)
{
	size_t count;
	const struct target_map *maps = target_maps(target, &count);
	const struct target_map *program = program_map(target);
	unsigned opened = 0;
	int error = 0;

	*ret_objects = (struct objects){};
	allocator_file_begin_look(cache);
	if (program)
		error = add_object(cache, target, program, ret_objects);
	ret_objects->has_program = ret_objects->count == 1;
	/* From the top: what is loaded first is there. */
	for (size_t i = count; i-- && ret_objects->count < OBJECTS && opened < OPENS && !error;)
		if (maps[i].executable && maps[i].inode && !has_file(ret_objects, &maps[i])) {
			error = add_object(cache, target, &maps[i], ret_objects);
			opened++;
		}
	return error;
}

const struct object *objects_at(
	const struct objects *objects, struct target *target, uint64_t address)
{
	const struct target_map *map = target_map_at(target, address);

	for (unsigned i = 0; map && map->inode && i < objects->count; i++)
		if (is_file(&objects->list[i], map))
			return &objects->list[i];
	return NULL;
}

enum allocator_name object_allocator(const struct object *object)
{
	/* A program may hold another allocator and the libc's, which then has no callers. */
	static const enum allocator_name names[] = {ALLOCATOR_JEMALLOC, ALLOCATOR_TCMALLOC,
		ALLOCATOR_MIMALLOC, ALLOCATOR_GLIBC, ALLOCATOR_MUSL};

	for (size_t i = 0; object->facts && i < sizeof(names) / sizeof(names[0]); i++)
		if (file_allocator(object->facts, names[i]))
			return names[i];
	for (size_t i = 0; !object->facts && i < sizeof(known_names) / sizeof(known_names[0]); i++)
		if (strncmp(object->name, known_names[i].begin, strlen(known_names[i].begin)) == 0)
			return known_names[i].name;
	return ALLOCATOR_UNKNOWN;
}

/* C++'s operator new counts as its library's own only in an allocator: others pass it on. */
static bool provides(const struct object *object, enum allocator_function function)
{
	const enum allocator_name name = object_allocator(object);

	if (!object->facts)
		return name != ALLOCATOR_UNKNOWN;
	return object->facts->definitions[function] &&
	       (function != FUNCTION_NEW || name != ALLOCATOR_UNKNOWN);
}

/*
 * Slots.
 */

static int provider_by(const struct objects *objects, struct target *target,
	const struct object *object, enum allocator_function function,
	const struct object **ret_provider)
{
	for (unsigned i = 0; i < object->facts->slot_count; i++) {
		const struct file_slot *slot = &object->facts->slots[i];
		const struct object *provider;
		uint64_t value;
		int error;

		if (slot->function != function)
			continue;
		error = target_read(target, object->bias + slot->address, &value, sizeof(value));
		if (error == -ESRCH)
			return error;
		provider = error ? NULL : objects_at(objects, target, value);
		if (!provider || !provides(provider, function))
			continue;
		/* Into itself, but not to the function: not bound yet, it leads to the linker. */
		if (provider == object &&
			value != object->bias + object->facts->definitions[function])
			continue;
		*ret_provider = provider;
		return 0;
	}
	return -ENOENT;
}

int object_provider(const struct objects *objects, struct target *target,
	const struct object *object, enum allocator_function *ret_function,
	const struct object **ret_provider)
{
	int error = -ENOENT;

	for (unsigned i = 0; object->facts && i < FUNCTIONS && error == -ENOENT; i++) {
		error = provider_by(objects, target, object, i, ret_provider);
		if (!error)
			*ret_function = i;
	}
	return error;
}

/*
 * The linker's list.
 */

/* Where the program's dynamic section says that the linker's own account is; 0 if nowhere. */
static int find_debug(struct target *target, const struct object *program, uint64_t *ret_address)
{
	uint64_t address = program->bias + program->facts->dynamic;

	*ret_address = 0;
	for (unsigned i = 0; i < DYNAMIC_ENTRIES; i++, address += sizeof(Elf64_Dyn)) {
		Elf64_Dyn entry;
		int error = target_read(target, address, &entry, sizeof(entry));

		if (error)
			return error == -ESRCH ? error : 0;
		if (entry.d_tag == DT_DEBUG)
			*ret_address = entry.d_un.d_ptr;
		if (entry.d_tag == DT_NULL || entry.d_tag == DT_DEBUG)
			return 0;
	}
	return 0;
}

static bool is_listed(const struct link_order *order, const struct object *object)
{
	for (unsigned i = 0; i < order->count; i++)
		if (order->list[i] == object)
			return true;
	return false;
}

static void list_object(struct link_order *order, const struct object *object)
{
	if (object && order->count < OBJECTS && !is_listed(order, object))
		order->list[order->count++] = object;
}

/* The head of the list, whose node is the program's, has no name that would help: a file is told by
 * where its dynamic section is. */
static int walk_list(const struct objects *objects, struct target *target, uint64_t address,
	struct link_order *order)
{
	for (unsigned i = 0; i < OBJECTS && address; i++) {
		struct link_map node;
		int error = target_read(target, address, &node, sizeof(node));

		if (error)
			return error == -ESRCH ? error : 0;
		list_object(order, objects_at(objects, target, (uintptr_t)node.l_ld));
		address = (uintptr_t)node.l_next;
	}
	return 0;
}

int link_order_find(
	const struct objects *objects, struct target *target, struct link_order *ret_order)
{
	const struct object *program = objects->list;
	struct r_debug debug = {};
	uint64_t address = 0;
	int error = 0;

	*ret_order = (struct link_order){};
	if (objects->has_program && program->facts && program->facts->dynamic)
		error = find_debug(target, program, &address);
	if (!error && address)
		error = target_read(target, address, &debug, sizeof(debug));
	if (!error && address)
		ret_order->state = debug.r_map && debug.r_state == RT_CONSISTENT ? LINKER_DONE
										 : LINKER_AT_WORK;
	if (!error && debug.r_map)
		error = walk_list(objects, target, (uintptr_t)debug.r_map, ret_order);
	for (unsigned i = 0; i < objects->count; i++)
		list_object(ret_order, &objects->list[i]);
	return error == -ESRCH ? error : 0;
}

const struct object *link_order_definer(
	const struct link_order *order, enum allocator_function function)
{
	for (unsigned i = 0; i < order->count; i++)
		if (provides(order->list[i], function))
			return order->list[i];
	return NULL;
}
