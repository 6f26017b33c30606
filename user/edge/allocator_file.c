/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads a file once for all processes that map it, and owns the table of what was learnt. A file is
 * the same while its device, inode, size and times are; a table that is full forgets what was asked
 * for the longest time ago. Files are anybody's: what is no sound ELF file is remembered as that,
 * so that a forged one costs one reading too. Called by what looks at a process's objects.
 */
#include "allocator_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "allocator_marks.h"
#include "pagestay/base/table.h"

#define IMPORTS 32 /* symbols of a file that are allocator functions; versions count apart */

const char *const allocator_functions[FUNCTIONS] = {
	[FUNCTION_MALLOC] = "malloc",
	[FUNCTION_CALLOC] = "calloc",
	[FUNCTION_REALLOC] = "realloc",
	[FUNCTION_POSIX_MEMALIGN] = "posix_memalign",
	[FUNCTION_ALIGNED_ALLOC] = "aligned_alloc",
	[FUNCTION_NEW] = "operator new",
	[FUNCTION_FREE] = "free",
};

/* What only an allocator or a runtime exports. */
static const struct {
	const char *symbol;
	enum allocator_name name;
} signatures[] = {
	{"gnu_get_libc_version", ALLOCATOR_GLIBC},
	{"tc_version", ALLOCATOR_TCMALLOC},
	{"MallocExtension_Internal_GetStatsInPbtxt", ALLOCATOR_TCMALLOC},
	{"mi_version", ALLOCATOR_MIMALLOC},
	{"JNI_CreateJavaVM", ALLOCATOR_JVM},
	{"_ZN2v87Isolate7DisposeEv", ALLOCATOR_V8},
	{"Py_GetVersion", ALLOCATOR_CPYTHON},
};

/* No padding: it is compared as bytes. */
struct file_identity {
	uint64_t device, inode, bytes;
	int64_t modified_s, modified_ns, changed_s, changed_ns;
};

struct cached_file {
	struct file_identity identity;
	struct file_facts facts;
	UT_hash_handle hh;
};

/* uthash keeps the order in which files were added: the first is the oldest. */
struct allocator_cache {
	struct cached_file *files;
	uint64_t reads;
	uint64_t look_bytes; /* of files read in this look */
};

int allocator_cache_new(struct allocator_cache **ret_cache)
{
	struct allocator_cache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		return -ENOMEM;
	*ret_cache = cache;
	return 0;
}

void allocator_cache_free(struct allocator_cache *cache)
{
	struct cached_file *file, *next;

	if (!cache)
		return;
	HASH_ITER (hh, cache->files, file, next) {
		HASH_DEL(cache->files, file);
		free(file);
	}
	free(cache);
}

uint64_t allocator_cache_reads(const struct allocator_cache *cache)
{
	return cache->reads;
}

void allocator_file_begin_look(struct allocator_cache *cache)
{
	cache->look_bytes = 0;
}

bool allocator_serves(enum allocator_name name)
{
	return name >= ALLOCATOR_GLIBC && name <= ALLOCATOR_MUSL;
}

const struct file_allocator *file_allocator(
	const struct file_facts *facts, enum allocator_name name)
{
	for (unsigned i = 0; i < facts->allocator_count; i++)
		if (facts->allocators[i].name == name)
			return &facts->allocators[i];
	return NULL;
}

/*
 * Reading.
 */

struct reading {
	struct file_facts *facts;
	unsigned import_count;
	struct {
		uint32_t symbol;
		enum allocator_function function;
	} imports[IMPORTS];
};

static struct file_allocator *add_allocator(struct file_facts *facts, enum allocator_name name)
{
	struct file_allocator *allocator;

	if (file_allocator(facts, name) || facts->allocator_count == FILE_ALLOCATORS)
		return NULL;
	allocator = &facts->allocators[facts->allocator_count++];
	*allocator = (struct file_allocator){.name = name};
	return allocator;
}

/* One that `name` is a function of; FUNCTIONS if none. */
static enum allocator_function function_of(const char *name)
{
	if (strcmp(name, "_Znwm") == 0)
		return FUNCTION_NEW;
	for (unsigned i = 0; i < FUNCTIONS; i++)
		if (strcmp(name, allocator_functions[i]) == 0)
			return i;
	return FUNCTIONS;
}

/* jemalloc's mallctl, with whatever it was built to have before its names. */
static bool is_mallctl(const char *name, size_t *ret_prefix_bytes)
{
	const size_t length = strlen(name), rest = strlen("mallctl");

	if (length < rest || strcmp(name + length - rest, "mallctl") != 0)
		return false;
	*ret_prefix_bytes = length - rest;
	return length == rest || name[length - rest - 1] == '_';
}

static void note_signature(struct file_facts *facts, const char *name)
{
	struct file_allocator *allocator = NULL;
	size_t prefix;

	for (size_t i = 0; i < sizeof(signatures) / sizeof(signatures[0]); i++)
		if (strcmp(name, signatures[i].symbol) == 0)
			allocator = add_allocator(facts, signatures[i].name);
	if (is_mallctl(name, &prefix) && prefix < sizeof(allocator->prefix)) {
		allocator = add_allocator(facts, ALLOCATOR_JEMALLOC);
		if (allocator)
			memcpy(allocator->prefix, name, prefix);
	}
	if (allocator)
		allocator->by_symbols = true;
}

/*
 * An undefined symbol with a value is a stub in a program that is loaded at a fixed address: others
 * point to it, but it allocates nothing.
 */
static int visit_symbol(void *context, uint32_t index, const Elf64_Sym *symbol, const char *name)
{
	struct reading *reading = context;
	const enum allocator_function function = function_of(name);

	if (symbol->st_shndx != SHN_UNDEF)
		note_signature(reading->facts, name);
	if (function == FUNCTIONS)
		return 0;
	if (symbol->st_shndx != SHN_UNDEF)
		reading->facts->definitions[function] = symbol->st_value;
	if (reading->import_count < IMPORTS) {
		reading->imports[reading->import_count].symbol = index;
		reading->imports[reading->import_count++].function = function;
	}
	return 0;
}

static int visit_slot(void *context, uint64_t address, uint32_t symbol)
{
	struct reading *reading = context;
	struct file_facts *facts = reading->facts;

	for (unsigned i = 0; i < reading->import_count; i++)
		if (reading->imports[i].symbol == symbol && facts->slot_count < FILE_SLOTS)
			facts->slots[facts->slot_count++] =
				(struct file_slot){address, reading->imports[i].function};
	return 0;
}

static void note_segments(const struct elf_file *file, struct file_facts *facts)
{
	const Elf64_Phdr *dynamic = elf_file_segment(file, PT_DYNAMIC);

	facts->has_interpreter = elf_file_segment(file, PT_INTERP) != NULL;
	facts->dynamic = dynamic ? dynamic->p_vaddr : 0;
	for (unsigned i = 0; i < file->segment_count; i++) {
		const Elf64_Phdr *segment = &file->segments[i];

		if (segment->p_type == PT_LOAD && facts->segment_count < FILE_SEGMENTS)
			facts->segments[facts->segment_count++] =
				(struct file_segment){.address = segment->p_vaddr,
					.offset = segment->p_offset,
					.file_bytes = segment->p_filesz,
					.executable = segment->p_flags & PF_X};
	}
}

/* Unstripped files name the prefix, the variable's name in stripped ones tells it mostly. */
static int find_prefix(const struct elf_file *file, struct file_allocator *allocator)
{
	static const char *const prefixes[] = {"_rjem_", "je_"};

	if (allocator->by_symbols)
		return 0;
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		char name[sizeof(allocator->prefix) + sizeof("mallctl")];
		Elf64_Sym symbol;

		(void)snprintf(name, sizeof(name), "%smallctl", prefixes[i]);
		if (elf_file_symbol(file, name, &symbol) == 0) {
			(void)snprintf(
				allocator->prefix, sizeof(allocator->prefix), "%s", prefixes[i]);
			return 0;
		}
	}
	return marks_prefix(file, allocator->prefix, sizeof(allocator->prefix));
}

static int find_allocators(const struct elf_file *file, struct file_facts *facts)
{
	uint32_t names;
	int error = marks_find(file, &names);

	if (error)
		return error;
	/* CPython brings a mimalloc for a build of its own heap. */
	if (file_allocator(facts, ALLOCATOR_CPYTHON))
		names &= ~(1u << ALLOCATOR_MIMALLOC);
	for (unsigned i = 0; i < ALLOCATOR_NAMES; i++)
		if (names & 1u << i)
			(void)add_allocator(facts, i);
	for (unsigned i = 0; i < facts->allocator_count && !error; i++) {
		struct file_allocator *allocator = &facts->allocators[i];

		error = marks_version(file, allocator->name, allocator->version);
		if (!error && allocator->name == ALLOCATOR_JEMALLOC)
			error = find_prefix(file, allocator);
	}
	return error;
}

/* The file has no such table, or the table is not what it says: what is known otherwise stands. */
static bool is_unsound(int error)
{
	return error == -ENOENT || error == -ENOEXEC;
}

static int read_facts(int fd, struct file_facts *facts)
{
	struct reading reading = {.facts = facts};
	struct elf_file file;
	int error = elf_file_open(fd, &file);

	if (error)
		return error == -ENOEXEC ? 0 : error;
	facts->is_elf = true;
	note_segments(&file, facts);
	error = elf_file_symbols(&file, SHT_DYNSYM, visit_symbol, &reading);
	if (!error)
		error = elf_file_slots(&file, visit_slot, &reading);
	if (!error || is_unsound(error))
		error = find_allocators(&file, facts);
	return is_unsound(error) ? 0 : error;
}

/*
 * The table.
 */

static int identify(int fd, struct file_identity *ret_identity)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return -errno;
	*ret_identity = (struct file_identity){.device = status.st_dev,
		.inode = status.st_ino,
		.bytes = status.st_size,
		.modified_s = status.st_mtim.tv_sec,
		.modified_ns = status.st_mtim.tv_nsec,
		.changed_s = status.st_ctim.tv_sec,
		.changed_ns = status.st_ctim.tv_nsec};
	return 0;
}

/* Adds the file as the youngest, and makes room for it. */
static int keep_file(struct allocator_cache *cache, struct cached_file *file)
{
	struct cached_file *oldest = cache->files;

	if (HASH_COUNT(cache->files) >= CACHE_FILES) {
		HASH_DEL(cache->files, oldest);
		free(oldest);
	}
	HASH_ADD(hh, cache->files, identity, sizeof(file->identity), file);
	if (table_has(file))
		return 0;
	free(file);
	return -ENOMEM;
}

static int read_file(struct allocator_cache *cache, int fd, const struct file_identity *identity,
	struct cached_file **ret_file)
{
	const uint64_t bytes = identity->bytes < FILE_BYTES_MAX ? identity->bytes : FILE_BYTES_MAX;
	struct cached_file *file;
	int error;

	if (cache->look_bytes + bytes > LOOK_BYTES)
		return -EAGAIN;
	file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	file->identity = *identity;
	cache->reads++;
	cache->look_bytes += bytes;
	error = read_facts(fd, &file->facts);
	if (error) {
		free(file);
		return error;
	}
	*ret_file = file;
	return 0;
}

int allocator_file_facts(struct allocator_cache *cache, int fd, const struct file_facts **ret_facts)
{
	struct file_identity identity = {};
	struct cached_file *file;
	int error = identify(fd, &identity);

	if (error)
		return error;
	HASH_FIND(hh, cache->files, &identity, sizeof(identity), file);
	if (file)
		HASH_DEL(cache->files, file);
	else
		error = read_file(cache, fd, &identity, &file);
	if (!error)
		error = keep_file(cache, file);
	if (error)
		return error;
	*ret_facts = &file->facts;
	return 0;
}
