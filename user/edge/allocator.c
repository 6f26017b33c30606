/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Decides which allocators a process uses, and which of them serves the program itself, from what
 * is known of its files (allocator_file.c) and of its slots (allocator_slots.c). A library that is
 * loaded counts only if a slot leads to it; an allocator that is linked into a file counts by being
 * there. Called by the live source and by the x-ray.
 */
#include "pagestay/edge/allocator.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocator_settings.h"
#include "allocator_slots.h"
#include "pagestay/base/cleanup.h"

#define FINDINGS 32 /* more: the rest is passed over */

/* The order of a report. */
enum rank {
	RANK_GO,      /* a Go program allocates with nothing else */
	RANK_OWN,     /* what somebody linked into the program on purpose */
	RANK_PROGRAM, /* what the program's own calls reach */
	RANK_OTHER,   /* what libraries' calls reach */
	RANK_RUNTIME,
};

enum sign { SIGN_SLOT, SIGN_ORDER, SIGN_CONTENT, SIGN_RUNTIME };

struct finding {
	enum allocator_name name;
	enum rank rank;
	enum sign sign;
	const struct object *object;
	unsigned users;            /* objects whose slots lead to it */
	const struct object *user; /* one of them */
	enum allocator_function function;
};

struct look {
	struct objects objects;
	struct link_order order;
	unsigned slot_objects; /* objects with slots of which one is bound */
	unsigned finding_count;
	struct finding findings[FINDINGS];
};

/*
 * Finding.
 */

/* NULL if there is no room. An allocator of one object is one finding, whatever tells of it. */
static struct finding *add_finding(struct look *look, enum allocator_name name, enum rank rank,
	enum sign sign, const struct object *object)
{
	struct finding *finding = look->findings;

	for (unsigned i = 0; i < look->finding_count; i++, finding++)
		if (finding->name == name && finding->object == object) {
			finding->rank = rank < finding->rank ? rank : finding->rank;
			return finding;
		}
	if (look->finding_count == FINDINGS)
		return NULL;
	look->finding_count++;
	*finding = (struct finding){.name = name, .rank = rank, .sign = sign, .object = object};
	return finding;
}

static bool is_program(const struct look *look, const struct object *object)
{
	return look->objects.has_program && object == look->objects.list;
}

static bool is_libc(enum allocator_name name)
{
	return name == ALLOCATOR_GLIBC || name == ALLOCATOR_MUSL;
}

/* Whether an allocator that lies in the object is used, whatever slots say. */
static bool is_used(const struct look *look, const struct object *object, enum allocator_name name)
{
	const struct file_facts *facts = object->facts;

	if (!allocator_serves(name))
		return true;
	/* A libc is linked into programs without a dynamic linker, and nowhere else. */
	if (is_libc(name))
		return is_program(look, object) && !facts->has_interpreter;
	/* Libraries that are there for others to call are told by slots alone. */
	return is_program(look, object) || !facts->definitions[FUNCTION_MALLOC];
}

static enum rank rank_of_content(
	const struct look *look, const struct object *object, enum allocator_name name)
{
	if (!allocator_serves(name) && name != ALLOCATOR_GO)
		return RANK_RUNTIME;
	if (!is_program(look, object))
		return RANK_OTHER;
	if (name == ALLOCATOR_GO)
		return RANK_GO;
	return is_libc(name) ? RANK_PROGRAM : RANK_OWN;
}

static void look_at_content(struct look *look, const struct object *object)
{
	for (unsigned i = 0; object->facts && i < object->facts->allocator_count; i++) {
		const enum allocator_name name = object->facts->allocators[i].name;
		const enum rank rank = rank_of_content(look, object, name);

		if (!is_used(look, object, name))
			continue;
		(void)add_finding(look, name, rank,
			rank == RANK_RUNTIME ? SIGN_RUNTIME : SIGN_CONTENT, object);
	}
}

static int look_at_slots(struct look *look, struct target *target, const struct object *object)
{
	enum allocator_function function;
	const struct object *provider;
	struct finding *finding;
	int error = object_provider(&look->objects, target, object, &function, &provider);

	if (error)
		return error == -ENOENT ? 0 : error;
	/* A library's calls of itself make nobody use it; the libc's own serve its callers. */
	if (provider == object && !is_program(look, object) && !is_libc(object_allocator(object)))
		return 0;
	look->slot_objects++;
	finding = add_finding(look, object_allocator(provider),
		is_program(look, object) ? RANK_PROGRAM : RANK_OTHER, SIGN_SLOT, provider);
	if (!finding)
		return 0;
	if (!finding->users++) {
		finding->user = object;
		finding->function = function;
	}
	return 0;
}

/* Nothing is bound yet, or nothing that is bound is in memory: what the linker would bind to. */
static void look_at_order(struct look *look)
{
	const struct object *object = link_order_definer(&look->order, FUNCTION_MALLOC);

	if (object)
		(void)add_finding(look, object_allocator(object), RANK_PROGRAM, SIGN_ORDER, object);
}

static int look_at_process(struct look *look, struct allocator_cache *cache, struct target *target)
{
	int error = objects_find(cache, target, &look->objects);

	if (!error)
		error = link_order_find(&look->objects, target, &look->order);
	/* In the order of lookups, so that among equals the first is the one that is found first.
	 */
	for (unsigned i = 0; i < look->order.count && !error; i++) {
		look_at_content(look, look->order.list[i]);
		error = look_at_slots(look, target, look->order.list[i]);
	}
	if (!error && !look->slot_objects)
		look_at_order(look);
	return error;
}

static bool is_settled(const struct look *look)
{
	const struct file_facts *program =
		look->objects.has_program ? look->objects.list->facts : NULL;

	if (look->objects.is_partial)
		return false;
	if (program && !program->has_interpreter)
		return true;
	if (look->order.state != LINKER_UNKNOWN)
		return look->order.state == LINKER_DONE;
	return look->slot_objects > 0;
}

/*
 * Telling.
 */

static int compare_findings(const void *a, const void *b)
{
	const struct finding *one = a, *other = b;

	if (one->rank != other->rank)
		return one->rank < other->rank ? -1 : 1;
	if (one->users != other->users)
		return one->users > other->users ? -1 : 1;
	return 0;
}

static void tell_evidence(const struct finding *finding, const struct file_allocator *content,
	struct allocator *allocator)
{
	char *text = allocator->evidence;
	const size_t bytes = sizeof(allocator->evidence);
	const char *name = allocator_names[finding->name], *object = finding->object->name;

	switch (finding->sign) {
	case SIGN_SLOT:
		(void)snprintf(text, bytes, "GOT slot of %s in %.48s points into %.48s%s",
			allocator_functions[finding->function], finding->user->name, object,
			finding->object->facts ? "" : ", known by its name alone");
		break;
	case SIGN_ORDER:
		(void)snprintf(text, bytes, "%.48s is the first loaded file that defines malloc%s",
			object, finding->object->facts ? "" : ", by its name");
		break;
	case SIGN_CONTENT:
		if (finding->name == ALLOCATOR_GO && allocator->version[0])
			(void)snprintf(text, bytes, "Go's build information in %.48s", object);
		else
			(void)snprintf(text, bytes, "static: %s of %s in %.48s",
				content && content->by_symbols ? "symbols" : "marker strings", name,
				object);
		break;
	case SIGN_RUNTIME:
		(void)snprintf(text, bytes, "%s of %s in %.48s",
			content && content->by_symbols ? "symbols" : "marker strings", name,
			object);
		break;
	}
}

static void tell(const struct look *look, const struct finding *finding, struct allocator *ret)
{
	const struct object *object = finding->object;
	const struct file_allocator *content =
		object->facts ? file_allocator(object->facts, finding->name) : NULL;

	*ret = (struct allocator){.name = finding->name};
	ret->is_static = is_program(look, object) || finding->sign == SIGN_CONTENT;
	memcpy(ret->object, object->name, sizeof(ret->object));
	if (content) {
		memcpy(ret->version, content->version, sizeof(ret->version));
		memcpy(ret->prefix, content->prefix, sizeof(ret->prefix));
	}
	tell_evidence(finding, content, ret);
}

static void tell_nothing(const struct look *look, struct allocator *ret)
{
	*ret = (struct allocator){.name = ALLOCATOR_UNKNOWN};
	(void)snprintf(ret->evidence, sizeof(ret->evidence),
		"no slots, symbols or marker strings of an allocator in %u files with code, %.48s "
		"among them",
		look->objects.count, look->objects.count ? look->objects.list->name : "none");
}

/* Runtimes come last, and are told even when others would fill the list. */
static void tell_all(struct look *look, struct allocators *ret_allocators)
{
	unsigned runtimes = 0, others = 0;

	qsort(look->findings, look->finding_count, sizeof(look->findings[0]), compare_findings);
	for (unsigned i = 0; i < look->finding_count; i++)
		runtimes += look->findings[i].rank == RANK_RUNTIME;
	if (runtimes > ALLOCATORS - 1)
		runtimes = ALLOCATORS - 1;
	for (unsigned i = 0; i < look->finding_count; i++) {
		const struct finding *finding = &look->findings[i];

		if (finding->rank != RANK_RUNTIME && others++ >= ALLOCATORS - runtimes)
			continue;
		if (ret_allocators->count < ALLOCATORS)
			tell(look, finding, &ret_allocators->list[ret_allocators->count++]);
	}
	if (others == 0 && ret_allocators->count < ALLOCATORS) {
		memmove(ret_allocators->list + 1, ret_allocators->list,
			ret_allocators->count * sizeof(ret_allocators->list[0]));
		ret_allocators->count++;
		tell_nothing(look, ret_allocators->list);
	}
}

int allocators_detect(struct allocator_cache *cache, struct target *target,
	struct allocators *ret_allocators, bool *ret_settled)
{
	_cleanup_(cleanup_free) struct look *look = calloc(1, sizeof(*look));
	struct allocators allocators = {};
	int error;

	if (!look)
		return -ENOMEM;
	error = look_at_process(look, cache, target);
	if (!error)
		error = allocator_settings(target, allocators.settings);
	if (error)
		return error;
	tell_all(look, &allocators);
	*ret_allocators = allocators;
	*ret_settled = is_settled(look);
	return 0;
}

/*
 * Symbols.
 */

static const struct object *find_object(const struct objects *objects, const char *name)
{
	for (unsigned i = 0; i < objects->count; i++)
		if (objects->list[i].facts && strcmp(objects->list[i].name, name) == 0)
			return &objects->list[i];
	return NULL;
}

int allocator_symbol(struct allocator_cache *cache, struct target *target,
	const struct allocator *allocator, const char *symbol, uint64_t *ret_address)
{
	_cleanup_(cleanup_free) struct objects *objects = malloc(sizeof(*objects));
	_cleanup_(cleanup_close) int fd = -1;
	const struct object *object;
	struct elf_file file;
	Elf64_Sym found;
	int error;

	if (!objects)
		return -ENOMEM;
	error = objects_find(cache, target, objects);
	if (error)
		return error;
	object = find_object(objects, allocator->object);
	if (!object)
		return -ENOENT;
	error = target_open_file(target, object->map, &fd);
	if (!error)
		error = elf_file_open(fd, &file);
	if (!error)
		error = elf_file_symbol(&file, symbol, &found);
	if (error)
		return error == -ESRCH || error == -ENOMEM ? error : -ENOENT;
	*ret_address = object->bias + found.st_value;
	return 0;
}
