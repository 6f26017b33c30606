/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads ELF files that may be forged, sparse or huge, and may change while they are read. So
 * nothing is mapped (a file that shrinks would end us), every offset is checked against the file's
 * size where it is read, tables are read in windows, and what is read at all has bounds of its own:
 * libelf allocates what the headers ask for. Called by what finds allocators in files.
 */
#include "allocator_elf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pagestay/base/cleanup.h"

#define SECTIONS        4096        /* more: as if there were none */
#define NAMES_BYTES     (96u << 20) /* of one symbol table; longer: as if there were none */
#define SYMBOLS         (2u << 20)  /* of one table; the rest is passed over */
#define SLOTS_BYTES     (64u << 20) /* of one table of relocations, likewise */
#define DYNAMIC_ENTRIES 256
#define WINDOW          1024 /* entries a read */

/* A table of symbols and their names, as offsets in the file. */
struct symbol_table {
	uint64_t offset, count;
	uint64_t names_offset, names_bytes;
};

/* What the dynamic section says, as addresses. */
struct dynamic {
	uint64_t symbols, names, names_bytes;
	uint64_t slots, slots_bytes, plt, plt_bytes;
};

int elf_file_read(const struct elf_file *file, uint64_t offset, void *ret_bytes, size_t length)
{
	size_t done = 0;

	if (offset > file->bytes || length > file->bytes - offset)
		return -ENOEXEC;
	while (done < length) {
		ssize_t got = pread(
			file->fd, (char *)ret_bytes + done, length - done, (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return -ENOEXEC;
		done += got;
	}
	return 0;
}

static bool is_ours(const Elf64_Ehdr *header)
{
	const unsigned char order =
		__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB;

	return memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 &&
	       header->e_ident[EI_CLASS] == ELFCLASS64 && header->e_ident[EI_DATA] == order &&
	       (header->e_type == ET_EXEC || header->e_type == ET_DYN) &&
	       header->e_phentsize == sizeof(Elf64_Phdr);
}

int elf_file_open(int fd, struct elf_file *ret_file)
{
	struct elf_file file = {.fd = fd};
	struct stat status;
	int error;

	if (fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode) || status.st_size < 0)
		return -ENOEXEC;
	file.bytes = status.st_size;
	error = elf_file_read(&file, 0, &file.header, sizeof(file.header));
	if (error)
		return error;
	if (!is_ours(&file.header))
		return -ENOEXEC;
	file.segment_count =
		file.header.e_phnum < ELF_SEGMENTS ? file.header.e_phnum : ELF_SEGMENTS;
	error = elf_file_read(&file, file.header.e_phoff, file.segments,
		file.segment_count * sizeof(file.segments[0]));
	if (error)
		return error;
	*ret_file = file;
	return 0;
}

const Elf64_Phdr *elf_file_segment(const struct elf_file *file, uint32_t type)
{
	for (unsigned i = 0; i < file->segment_count; i++)
		if (file->segments[i].p_type == type)
			return &file->segments[i];
	return NULL;
}

int elf_file_offset(const struct elf_file *file, uint64_t address, uint64_t *ret_offset)
{
	for (unsigned i = 0; i < file->segment_count; i++) {
		const Elf64_Phdr *segment = &file->segments[i];

		if (segment->p_type != PT_LOAD || address < segment->p_vaddr ||
			address - segment->p_vaddr >= segment->p_filesz)
			continue;
		if (segment->p_offset > file->bytes)
			return -ENOENT;
		*ret_offset = segment->p_offset + (address - segment->p_vaddr);
		return 0;
	}
	return -ENOENT;
}

static void note_dynamic(struct dynamic *dynamic, const Elf64_Dyn *entry)
{
	const struct {
		Elf64_Sxword tag;
		uint64_t *value;
	} wanted[] = {{DT_SYMTAB, &dynamic->symbols}, {DT_STRTAB, &dynamic->names},
		{DT_STRSZ, &dynamic->names_bytes}, {DT_RELA, &dynamic->slots},
		{DT_RELASZ, &dynamic->slots_bytes}, {DT_JMPREL, &dynamic->plt},
		{DT_PLTRELSZ, &dynamic->plt_bytes}};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (wanted[i].tag == entry->d_tag)
			*wanted[i].value = entry->d_un.d_val;
}

static int read_dynamic(const struct elf_file *file, struct dynamic *ret_dynamic)
{
	const Elf64_Phdr *segment = elf_file_segment(file, PT_DYNAMIC);
	struct dynamic dynamic = {};

	if (!segment)
		return -ENOENT;
	for (unsigned i = 0; i < DYNAMIC_ENTRIES && i < segment->p_filesz / sizeof(Elf64_Dyn);
		i++) {
		Elf64_Dyn entry;
		int error = elf_file_read(
			file, segment->p_offset + i * sizeof(entry), &entry, sizeof(entry));

		if (error)
			return error;
		if (entry.d_tag == DT_NULL)
			break;
		note_dynamic(&dynamic, &entry);
	}
	*ret_dynamic = dynamic;
	return 0;
}

static int read_section(const struct elf_file *file, unsigned index, Elf64_Shdr *ret_section)
{
	if (index >= file->header.e_shnum || file->header.e_shnum > SECTIONS ||
		file->header.e_shentsize != sizeof(*ret_section) ||
		file->header.e_shoff > file->bytes)
		return -ENOENT;
	return elf_file_read(file, file->header.e_shoff + index * sizeof(*ret_section), ret_section,
		sizeof(*ret_section));
}

/* By the section headers, which a file may do without. */
static int table_by_section(
	const struct elf_file *file, uint32_t type, struct symbol_table *ret_table)
{
	Elf64_Shdr section, names;

	for (unsigned i = 0; i < file->header.e_shnum; i++) {
		if (read_section(file, i, &section))
			return -ENOENT;
		if (section.sh_type != type)
			continue;
		if (read_section(file, section.sh_link, &names) || names.sh_type != SHT_STRTAB)
			return -ENOENT;
		*ret_table = (struct symbol_table){.offset = section.sh_offset,
			.count = section.sh_size / sizeof(Elf64_Sym),
			.names_offset = names.sh_offset,
			.names_bytes = names.sh_size};
		return 0;
	}
	return -ENOENT;
}

/* Nothing says how many symbols there are; linkers write the names behind them. */
static int table_by_dynamic(const struct elf_file *file, struct symbol_table *ret_table)
{
	struct symbol_table table = {};
	struct dynamic dynamic;
	int error = read_dynamic(file, &dynamic);

	if (error)
		return error;
	if (dynamic.names <= dynamic.symbols ||
		elf_file_offset(file, dynamic.symbols, &table.offset) ||
		elf_file_offset(file, dynamic.names, &table.names_offset))
		return -ENOENT;
	table.count = (dynamic.names - dynamic.symbols) / sizeof(Elf64_Sym);
	table.names_bytes = dynamic.names_bytes;
	*ret_table = table;
	return 0;
}

static int read_names(
	const struct elf_file *file, const struct symbol_table *table, char **ret_names)
{
	char *names;
	int error;

	if (table->names_bytes == 0 || table->names_bytes > NAMES_BYTES ||
		table->names_bytes > file->bytes)
		return -ENOENT;
	names = malloc(table->names_bytes + 1);
	if (!names)
		return -ENOMEM;
	error = elf_file_read(file, table->names_offset, names, table->names_bytes);
	if (error) {
		free(names);
		return error;
	}
	names[table->names_bytes] = '\0';
	*ret_names = names;
	return 0;
}

int elf_file_symbols(
	const struct elf_file *file, uint32_t type, elf_symbol_visit *visit, void *context)
{
	_cleanup_(cleanup_free) char *names = NULL;
	struct symbol_table table;
	Elf64_Sym window[WINDOW] = {};
	int result = table_by_section(file, type, &table);

	if (result == -ENOENT && type == SHT_DYNSYM)
		result = table_by_dynamic(file, &table);
	if (!result)
		result = read_names(file, &table, &names);
	if (result)
		return result;
	if (table.count > SYMBOLS)
		table.count = SYMBOLS;
	for (uint64_t done = 0; done < table.count; done += WINDOW) {
		const uint64_t left = table.count - done;
		const size_t count = left < WINDOW ? left : WINDOW;

		result = elf_file_read(file, table.offset + done * sizeof(window[0]), window,
			count * sizeof(window[0]));
		for (size_t i = 0; i < count && !result; i++)
			if (window[i].st_name < table.names_bytes)
				result = visit(context, (uint32_t)(done + i), &window[i],
					names + window[i].st_name);
		if (result)
			return result;
	}
	return 0;
}

static bool is_slot(const struct elf_file *file, uint64_t info)
{
	switch (file->header.e_machine) {
	case EM_X86_64:
		return ELF64_R_TYPE(info) == R_X86_64_GLOB_DAT ||
		       ELF64_R_TYPE(info) == R_X86_64_JUMP_SLOT;
	case EM_AARCH64:
		return ELF64_R_TYPE(info) == R_AARCH64_GLOB_DAT ||
		       ELF64_R_TYPE(info) == R_AARCH64_JUMP_SLOT;
	default:
		return false;
	}
}

static int visit_slots(const struct elf_file *file, uint64_t address, uint64_t bytes,
	elf_slot_visit *visit, void *context)
{
	Elf64_Rela window[WINDOW];
	uint64_t offset;
	int result;

	if (bytes < sizeof(window[0]) || elf_file_offset(file, address, &offset))
		return 0;
	if (bytes > SLOTS_BYTES)
		bytes = SLOTS_BYTES;
	bytes -= bytes % sizeof(window[0]);
	for (uint64_t done = 0; done < bytes; done += sizeof(window)) {
		const uint64_t left = bytes - done;
		const size_t length = left < sizeof(window) ? left : sizeof(window);

		result = elf_file_read(file, offset + done, window, length);
		for (size_t i = 0; i < length / sizeof(window[0]) && !result; i++)
			if (is_slot(file, window[i].r_info))
				result = visit(
					context, window[i].r_offset, ELF64_R_SYM(window[i].r_info));
		if (result)
			return result;
	}
	return 0;
}

int elf_file_slots(const struct elf_file *file, elf_slot_visit *visit, void *context)
{
	struct dynamic dynamic;
	int result = read_dynamic(file, &dynamic);

	if (result)
		return result;
	result = visit_slots(file, dynamic.plt, dynamic.plt_bytes, visit, context);
	return result ? result
		      : visit_slots(file, dynamic.slots, dynamic.slots_bytes, visit, context);
}

struct wanted_symbol {
	const char *name;
	Elf64_Sym symbol;
};

static int match_symbol(void *context, uint32_t index, const Elf64_Sym *symbol, const char *name)
{
	struct wanted_symbol *wanted = context;

	(void)index;
	if (symbol->st_shndx == SHN_UNDEF || ELF64_ST_TYPE(symbol->st_info) == STT_TLS ||
		strcmp(name, wanted->name) != 0)
		return 0;
	wanted->symbol = *symbol;
	return 1;
}

int elf_file_symbol(const struct elf_file *file, const char *name, Elf64_Sym *ret_symbol)
{
	struct wanted_symbol wanted = {.name = name};
	int result = elf_file_symbols(file, SHT_SYMTAB, match_symbol, &wanted);

	if (result != 1)
		result = elf_file_symbols(file, SHT_DYNSYM, match_symbol, &wanted);
	if (result < 0)
		return result;
	if (result == 0)
		return -ENOENT;
	*ret_symbol = wanted.symbol;
	return 0;
}
