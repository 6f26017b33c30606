/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ELF files read with bounds: segments, dynamic symbols, relocations.
 */
#ifndef PAGESTAY_EDGE_ALLOCATOR_ELF_H
#define PAGESTAY_EDGE_ALLOCATOR_ELF_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ELF_SEGMENTS 24 /* more: the rest is passed over */

struct elf_file {
	int fd; /* borrowed */
	uint64_t bytes;
	Elf64_Ehdr header;
	unsigned segment_count;
	Elf64_Phdr segments[ELF_SEGMENTS];
};

/* 0; -ENOEXEC: no regular file, no ELF file of 64 bits in this machine's order, or a forged one. */
int elf_file_open(int fd, struct elf_file *ret_file);

/* All of the bytes, or -ENOEXEC where the file has not that many, or another -errno. */
int elf_file_read(const struct elf_file *file, uint64_t offset, void *ret_bytes, size_t length);

/* Where in the file the byte is that is loaded to `address`; -ENOENT if none is. */
int elf_file_offset(const struct elf_file *file, uint64_t address, uint64_t *ret_offset);

/* NULL if there is none. */
const Elf64_Phdr *elf_file_segment(const struct elf_file *file, uint32_t type);

/* `name` lives during the call. Not 0 ends the walk, which returns it. */
typedef int elf_symbol_visit(
	void *context, uint32_t index, const Elf64_Sym *symbol, const char *name);

/*
 * The symbols that others may bind to, or those that only debuggers need (`type` SHT_DYNSYM or
 * SHT_SYMTAB). -ENOENT: the file has none.
 */
int elf_file_symbols(
	const struct elf_file *file, uint32_t type, elf_symbol_visit *visit, void *context);

/* The slots that the dynamic linker fills with a symbol's address. */
typedef int elf_slot_visit(void *context, uint64_t address, uint32_t symbol);
int elf_file_slots(const struct elf_file *file, elf_slot_visit *visit, void *context);

/* A symbol that the file defines; -ENOENT if it does not. */
int elf_file_symbol(const struct elf_file *file, const char *name, Elf64_Sym *ret_symbol);

#endif
