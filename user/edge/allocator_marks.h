/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Allocators told by what lies in a file's data: their messages, tables and versions.
 */
#ifndef PAGESTAY_EDGE_ALLOCATOR_MARKS_H
#define PAGESTAY_EDGE_ALLOCATOR_MARKS_H

#include "allocator_elf.h"
#include "pagestay/edge/heap.h"

/* Bit 1 << name is set in *ret_names for each allocator that the file has the marks of. */
int marks_find(const struct elf_file *file, uint32_t *ret_names);

/*
 * The version, where the file's data tells it; "" where not. Those of Go are of the program, those
 * of tcmalloc are gperftools'.
 */
int marks_version(const struct elf_file *file, enum allocator_name name,
	char ret_version[ALLOCATOR_VERSION_BYTES]);

/* What the allocator's variable in the environment is called tells the prefix: "_rjem_", or "". */
int marks_prefix(const struct elf_file *file, char *ret_prefix, size_t prefix_bytes);

#endif
