/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A small dynamic loader for one library, in a child that may not open files. Its own symbols bind
 * to itself; others to what this program has loaded, whatever version they ask for, because a
 * library of a newer or another system need not run, but only count pages. What nobody has is a
 * function that ends the child. Threads are never made. Thread-local data lies in a reserve of this
 * program's own, so that a library that counts on being there at the start finds its place.
 *
 * The file may be hostile, and its code will run anyway: bounds are checked so that failures have a
 * name, and a fault just ends the child. Nothing is ever unloaded. Called by the calibration.
 */
#include "jemalloc_state.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TLS_BYTES   16384
#define TLS_ALIGN   64
#define SYMBOLS_MAX 65536

#if defined(__aarch64__)
#define MACHINE          EM_AARCH64
#define RELOC_ABSOLUTE   R_AARCH64_ABS64
#define RELOC_GLOBAL     R_AARCH64_GLOB_DAT
#define RELOC_CALL       R_AARCH64_JUMP_SLOT
#define RELOC_RELATIVE   R_AARCH64_RELATIVE
#define RELOC_TLS_MODULE R_AARCH64_TLS_DTPMOD
#define RELOC_TLS_OFFSET R_AARCH64_TLS_DTPREL
#define RELOC_TLS_THREAD R_AARCH64_TLS_TPREL
#else
#define MACHINE          EM_X86_64
#define RELOC_ABSOLUTE   R_X86_64_64
#define RELOC_GLOBAL     R_X86_64_GLOB_DAT
#define RELOC_CALL       R_X86_64_JUMP_SLOT
#define RELOC_RELATIVE   R_X86_64_RELATIVE
#define RELOC_TLS_MODULE R_X86_64_DTPMOD64
#define RELOC_TLS_OFFSET R_X86_64_DTPOFF64
#define RELOC_TLS_THREAD R_X86_64_TPOFF64
#endif

/* What the dynamic section says, as addresses in memory. */
struct dynamic {
	const Elf64_Sym *symbols;
	const char *names;
	size_t names_bytes;
	const uint32_t *hash;
	const uint32_t *gnu_hash;
	const Elf64_Rela *relocations, *calls;
	size_t relocations_bytes, calls_bytes;
	const uint64_t *relative;
	size_t relative_bytes;
	void (*init)(void);
	void (**init_array)(int, char **, char **);
	size_t init_array_bytes;
};

static _Thread_local uint8_t tls_reserve[TLS_BYTES] __attribute__((aligned(TLS_ALIGN)));
static _Thread_local uint8_t *tls_block;

/* A word of data that nobody has: the linker's _ZTISt9bad_alloc, say. */
static uint64_t missing_data[512];

static uint64_t thread_pointer(void)
{
	uint64_t pointer;

#if defined(__aarch64__)
	__asm__("mrs %0, tpidr_el0" : "=r"(pointer));
#else
	__asm__("mov %%fs:0, %0" : "=r"(pointer));
#endif
	return pointer;
}

/*
 * What the library is given in place of the real thing.
 */

static void *resolve(const char *name);

static void missing_function(void)
{
	_exit(1);
}

/* "Done": for threads and for what only matters at an exit or a fork that never comes. */
static int do_nothing(void)
{
	return 0;
}

static void *find_next(void *handle, const char *name)
{
	(void)handle;
	return resolve(name);
}

static void *tls_address(const uint64_t index[2])
{
	return tls_block + index[1];
}

static const struct {
	const char *name;
	void *value;
} substitutes[] = {
	{"dlsym", (void *)find_next},
	{"__tls_get_addr", (void *)tls_address},
	{"pthread_create", (void *)do_nothing},
	{"pthread_join", (void *)do_nothing},
	{"pthread_atfork", (void *)do_nothing},
	{"__register_atfork", (void *)do_nothing},
	{"atexit", (void *)do_nothing},
	{"__cxa_atexit", (void *)do_nothing},
	{"__cxa_finalize", (void *)do_nothing},
};

static void *resolve(const char *name)
{
	for (size_t i = 0; i < sizeof(substitutes) / sizeof(substitutes[0]); i++)
		if (strcmp(name, substitutes[i].name) == 0)
			return substitutes[i].value;
	return dlsym(RTLD_DEFAULT, name);
}

/*
 * Segments.
 */

static const Elf64_Phdr *headers_of(const uint8_t *file, size_t bytes, size_t *ret_count)
{
	const Elf64_Ehdr *elf = (const Elf64_Ehdr *)file;

	if (bytes < sizeof(*elf) || memcmp(elf->e_ident, ELFMAG, SELFMAG) != 0)
		return NULL;
	if (elf->e_ident[EI_CLASS] != ELFCLASS64 || elf->e_type != ET_DYN ||
		elf->e_machine != MACHINE || elf->e_phentsize != sizeof(Elf64_Phdr))
		return NULL;
	if (elf->e_phoff > bytes || elf->e_phoff % sizeof(uint64_t) ||
		elf->e_phnum > (bytes - elf->e_phoff) / sizeof(Elf64_Phdr))
		return NULL;
	*ret_count = elf->e_phnum;
	return (const Elf64_Phdr *)(file + elf->e_phoff);
}

static bool is_within(uint64_t from, uint64_t length, uint64_t limit)
{
	return from <= limit && length <= limit - from;
}

static uint8_t *reserve(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	return memory;
}

/* The reader knows the library's beginning by the mapping at offset 0: it must be address 0. */
static int measure(const Elf64_Phdr *headers, size_t count, uint64_t *ret_bytes)
{
	uint64_t bytes = 0;
	bool begins = false;

	for (size_t i = 0; i < count; i++) {
		const Elf64_Phdr *header = &headers[i];

		if (header->p_type != PT_LOAD)
			continue;
		if (!is_within(header->p_vaddr, header->p_memsz, JEMALLOC_IMAGE_BYTES_MAX) ||
			header->p_filesz > header->p_memsz)
			return -ENOEXEC;
		begins |= header->p_vaddr == 0 && header->p_offset == 0;
		if (header->p_vaddr + header->p_memsz > bytes)
			bytes = header->p_vaddr + header->p_memsz;
	}
	*ret_bytes = bytes;
	return begins ? 0 : -ENOEXEC;
}

static int keep_segment(struct jemalloc_library *library, const Elf64_Phdr *header)
{
	if (!(header->p_flags & PF_W))
		return 0;
	if (library->segment_count == JEMALLOC_SEGMENTS)
		return -ENOEXEC;
	library->segments[library->segment_count++] = (struct jemalloc_segment){
		.from = header->p_vaddr, .to = header->p_vaddr + header->p_memsz};
	return 0;
}

static int copy_segments(struct jemalloc_library *library, const uint8_t *file, size_t bytes,
	const Elf64_Phdr *headers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const Elf64_Phdr *header = &headers[i];
		int error;

		if (header->p_type != PT_LOAD)
			continue;
		if (!is_within(header->p_offset, header->p_filesz, bytes))
			return -ENOEXEC;
		memcpy(library->base + header->p_vaddr, file + header->p_offset, header->p_filesz);
		error = keep_segment(library, header);
		if (error)
			return error;
	}
	return 0;
}

/* Everything but code stays writable: that is all that the counters need. */
static int protect_code(
	const struct jemalloc_library *library, const Elf64_Phdr *headers, size_t count)
{
	const uint64_t page_bytes = sysconf(_SC_PAGESIZE);

	for (size_t i = 0; i < count; i++) {
		const Elf64_Phdr *header = &headers[i];
		const uint64_t from = header->p_vaddr & ~(page_bytes - 1);

		if (header->p_type != PT_LOAD || !(header->p_flags & PF_X))
			continue;
		if (mprotect(library->base + from, header->p_vaddr + header->p_memsz - from,
			    PROT_READ | PROT_EXEC) < 0)
			return -errno;
	}
	return 0;
}

static int place_tls(
	const struct jemalloc_library *library, const Elf64_Phdr *headers, size_t count)
{
	tls_block = tls_reserve;
	for (size_t i = 0; i < count; i++) {
		const Elf64_Phdr *header = &headers[i];

		if (header->p_type != PT_TLS)
			continue;
		if (header->p_align > TLS_ALIGN || header->p_memsz > TLS_BYTES - TLS_ALIGN ||
			header->p_filesz > header->p_memsz ||
			!is_within(header->p_vaddr, header->p_filesz, library->bytes))
			return -ENOEXEC;
		if (header->p_align)
			tls_block += header->p_vaddr % header->p_align;
		memcpy(tls_block, library->base + header->p_vaddr, header->p_filesz);
	}
	return 0;
}

/*
 * The dynamic section.
 */

static void read_entry(uint8_t *base, const Elf64_Dyn *entry, struct dynamic *dynamic)
{
	const uint64_t value = entry->d_un.d_val;

	switch (entry->d_tag) {
	case DT_SYMTAB:
		dynamic->symbols = (const Elf64_Sym *)(base + value);
		break;
	case DT_STRTAB:
		dynamic->names = (const char *)base + value;
		break;
	case DT_STRSZ:
		dynamic->names_bytes = value;
		break;
	case DT_HASH:
		dynamic->hash = (const uint32_t *)(base + value);
		break;
	case DT_GNU_HASH:
		dynamic->gnu_hash = (const uint32_t *)(base + value);
		break;
	case DT_RELA:
		dynamic->relocations = (const Elf64_Rela *)(base + value);
		break;
	case DT_RELASZ:
		dynamic->relocations_bytes = value;
		break;
	case DT_JMPREL:
		dynamic->calls = (const Elf64_Rela *)(base + value);
		break;
	case DT_PLTRELSZ:
		dynamic->calls_bytes = value;
		break;
	case DT_RELR:
		dynamic->relative = (const uint64_t *)(base + value);
		break;
	case DT_RELRSZ:
		dynamic->relative_bytes = value;
		break;
	case DT_INIT:
		dynamic->init = (void (*)(void))(base + value);
		break;
	case DT_INIT_ARRAY:
		dynamic->init_array = (void (**)(int, char **, char **))(base + value);
		break;
	case DT_INIT_ARRAYSZ:
		dynamic->init_array_bytes = value;
		break;
	default:
		break;
	}
}

static int read_dynamic(const struct jemalloc_library *library, const Elf64_Phdr *headers,
	size_t count, struct dynamic *ret_dynamic)
{
	const Elf64_Dyn *entry = NULL;
	struct dynamic dynamic = {};

	for (size_t i = 0; i < count; i++)
		if (headers[i].p_type == PT_DYNAMIC && headers[i].p_vaddr < library->bytes)
			entry = (const Elf64_Dyn *)(library->base + headers[i].p_vaddr);
	for (; entry && entry->d_tag != DT_NULL; entry++)
		read_entry(library->base, entry, &dynamic);
	if (!dynamic.symbols || !dynamic.names)
		return -ENOEXEC;
	*ret_dynamic = dynamic;
	return 0;
}

/* The newer table has no count: it is one past the last symbol that a chain leads to. */
static size_t count_by_gnu_hash(const uint32_t *table)
{
	const uint32_t buckets = table[0], first = table[1], filter_words = table[2];
	const uint32_t *bucket = table + 4 + 2 * (size_t)filter_words;
	const uint32_t *chain = bucket + buckets;
	size_t last = 0;

	for (uint32_t i = 0; i < buckets; i++)
		if (bucket[i] > last)
			last = bucket[i];
	if (last < first)
		return first;
	while (last < SYMBOLS_MAX && !(chain[last - first] & 1))
		last++;
	return last + 1;
}

static size_t count_symbols(const struct dynamic *dynamic)
{
	size_t count = 0;

	if (dynamic->hash)
		count = dynamic->hash[1];
	else if (dynamic->gnu_hash)
		count = count_by_gnu_hash(dynamic->gnu_hash);
	return count < SYMBOLS_MAX ? count : SYMBOLS_MAX;
}

static const char *name_of(const struct jemalloc_library *library, const Elf64_Sym *symbol)
{
	return symbol->st_name < library->names_bytes ? library->names + symbol->st_name : "";
}

/*
 * Relocation.
 */

static uint64_t symbol_value(const struct jemalloc_library *library, const Elf64_Sym *symbol)
{
	void *value;

	if (symbol->st_shndx != SHN_UNDEF)
		return (uintptr_t)library->base + symbol->st_value;
	value = resolve(name_of(library, symbol));
	if (value || ELF64_ST_BIND(symbol->st_info) == STB_WEAK)
		return (uintptr_t)value;
	return ELF64_ST_TYPE(symbol->st_info) == STT_OBJECT ? (uintptr_t)missing_data
							    : (uintptr_t)missing_function;
}

static int relocate(const struct jemalloc_library *library, const Elf64_Rela *relocation)
{
	const uint64_t index = ELF64_R_SYM(relocation->r_info);
	const Elf64_Sym *symbol = (const Elf64_Sym *)library->symbols + index;
	const uint64_t addend = relocation->r_addend;
	const uint64_t tls = addend + (index ? symbol->st_value : 0);
	uint64_t value;

	if (!is_within(relocation->r_offset, sizeof(value), library->bytes))
		return -ENOEXEC;
	switch (ELF64_R_TYPE(relocation->r_info)) {
	case RELOC_RELATIVE:
		value = (uintptr_t)library->base + addend;
		break;
	case RELOC_ABSOLUTE:
	case RELOC_GLOBAL:
		value = symbol_value(library, symbol) + addend;
		break;
	case RELOC_CALL:
		value = symbol_value(library, symbol);
		break;
	case RELOC_TLS_MODULE:
		value = 1;
		break;
	case RELOC_TLS_OFFSET:
		value = tls;
		break;
	case RELOC_TLS_THREAD:
		value = (uintptr_t)tls_block + tls - thread_pointer();
		break;
	default:
		return -ENOEXEC;
	}
	memcpy(library->base + relocation->r_offset, &value, sizeof(value));
	return 0;
}

static int relocate_all(
	const struct jemalloc_library *library, const Elf64_Rela *relocations, size_t bytes)
{
	for (size_t i = 0; relocations && i < bytes / sizeof(*relocations); i++) {
		int error = relocate(library, &relocations[i]);

		if (error)
			return error;
	}
	return 0;
}

static int relocate_word(const struct jemalloc_library *library, uint64_t address)
{
	uint64_t value;

	if (!is_within(address, sizeof(value), library->bytes))
		return -ENOEXEC;
	memcpy(&value, library->base + address, sizeof(value));
	value += (uintptr_t)library->base;
	memcpy(library->base + address, &value, sizeof(value));
	return 0;
}

/* An even entry is an address; an odd one a bitmap of which of the 63 words behind it follow. */
static int relocate_relative(const struct jemalloc_library *library, const struct dynamic *dynamic)
{
	uint64_t next = 0;
	int error = 0;

	for (size_t i = 0; !error && i < dynamic->relative_bytes / sizeof(uint64_t); i++) {
		const uint64_t entry = dynamic->relative[i];

		if (!(entry & 1)) {
			error = relocate_word(library, entry);
			next = entry + sizeof(uint64_t);
			continue;
		}
		for (unsigned bit = 1; !error && bit < 64; bit++)
			if (entry >> bit & 1)
				error = relocate_word(library, next + (bit - 1) * sizeof(uint64_t));
		next += 63 * sizeof(uint64_t);
	}
	return error;
}

static void initialise(const struct dynamic *dynamic)
{
	static char name[] = "pagestay";
	char *arguments[] = {name, NULL};
	char *environment[] = {NULL};

	if (dynamic->init)
		dynamic->init();
	for (size_t i = 0; i < dynamic->init_array_bytes / sizeof(dynamic->init_array[0]); i++)
		dynamic->init_array[i](1, arguments, environment);
}

int jemalloc_load(const uint8_t *file, size_t bytes, struct jemalloc_library *ret_library)
{
	struct jemalloc_library library = {};
	struct dynamic dynamic = {};
	const Elf64_Phdr *headers;
	size_t count = 0;
	int error;

	headers = headers_of(file, bytes, &count);
	if (!headers)
		return -ENOEXEC;
	error = measure(headers, count, &library.bytes);
	if (error)
		return error;
	library.base = reserve(library.bytes);
	if (!library.base)
		return -ENOMEM;
	error = copy_segments(&library, file, bytes, headers, count);
	if (!error)
		error = place_tls(&library, headers, count);
	if (!error)
		error = read_dynamic(&library, headers, count, &dynamic);
	if (error)
		return error;
	library.symbols = dynamic.symbols;
	library.symbol_count = count_symbols(&dynamic);
	library.names = dynamic.names;
	library.names_bytes = dynamic.names_bytes;
	error = relocate_relative(&library, &dynamic);
	if (!error)
		error = relocate_all(&library, dynamic.relocations, dynamic.relocations_bytes);
	if (!error)
		error = relocate_all(&library, dynamic.calls, dynamic.calls_bytes);
	if (!error)
		error = protect_code(&library, headers, count);
	if (error)
		return error;
	initialise(&dynamic);
	*ret_library = library;
	return 0;
}

void *jemalloc_symbol(const struct jemalloc_library *library, const char *name)
{
	const Elf64_Sym *symbols = library->symbols;

	for (size_t i = 1; i < library->symbol_count; i++)
		if (symbols[i].st_shndx != SHN_UNDEF &&
			strcmp(name_of(library, &symbols[i]), name) == 0)
			return library->base + symbols[i].st_value;
	return NULL;
}
