/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which memory allocators a process uses, told from outside.
 *
 * The best sign is where the GOT slots of `malloc` in the mapped objects point: it sees through
 * LD_PRELOAD and through libraries that are loaded and not used. Then symbols, then marker strings
 * for what is static and stripped. What is known of a file is kept by its identity, so that many
 * processes of one program cost one reading.
 */
#ifndef PAGESTAY_EDGE_ALLOCATOR_H
#define PAGESTAY_EDGE_ALLOCATOR_H

#include "pagestay/edge/target.h"

#define ALLOCATORS               6
#define ALLOCATOR_VERSION_BYTES  32
#define ALLOCATOR_OBJECT_BYTES   64
#define ALLOCATOR_EVIDENCE_BYTES 160
#define ALLOCATOR_SETTINGS_BYTES 256

/* The order is the recording format's: append only. Names are in allocator_names. */
enum allocator_name {
	ALLOCATOR_UNKNOWN,
	ALLOCATOR_GLIBC,
	ALLOCATOR_JEMALLOC,
	ALLOCATOR_TCMALLOC,
	ALLOCATOR_MIMALLOC,
	ALLOCATOR_MUSL,
	ALLOCATOR_GO,
	/* Runtimes with heaps of their own, on top of one of those. */
	ALLOCATOR_JVM,
	ALLOCATOR_V8,
	ALLOCATOR_CPYTHON,
	ALLOCATOR_NAMES, /* one past the last */
};

/* "unknown", "glibc", "jemalloc", ...: as in reports. */
extern const char *const allocator_names[ALLOCATOR_NAMES];

/* All strings are any bytes, terminated, and empty where nothing is known. */
struct allocator {
	enum allocator_name name;
	bool is_static;                         /* linked into the program or a library */
	char version[ALLOCATOR_VERSION_BYTES];  /* "2.36", "5.3.0-0-g54eaed1d", "go1.22.3" */
	char object[ALLOCATOR_OBJECT_BYTES];    /* the file that has its code, without directories */
	char prefix[16];                        /* of its symbols: "", "_rjem_", "je_" */
	char evidence[ALLOCATOR_EVIDENCE_BYTES]; /* how it was told, a phrase */
};

/*
 * The first is the one that serves the program's own malloc (of a Go program, Go's); then others in
 * the order of how many objects use them, then runtimes. None found: count is 1, and the first is
 * ALLOCATOR_UNKNOWN with evidence that says what was looked at.
 */
struct allocators {
	unsigned count;
	struct allocator list[ALLOCATORS];
	/* The allocator's variables in the environment that the process started with (MALLOC_*,
	 * _RJEM_MALLOC_CONF, GLIBC_TUNABLES, LD_PRELOAD, TCMALLOC_*, MIMALLOC_*, GOGC,
	 * GOMEMLIMIT): NAME=value, joined by spaces. Others are nobody's business. */
	char settings[ALLOCATOR_SETTINGS_BYTES];
};

struct allocator_cache; /* what is known of files; bounded, the oldest is forgotten */

int allocator_cache_new(struct allocator_cache **ret_cache);
void allocator_cache_free(struct allocator_cache *cache);

/* How many files were read: tests and doctors want to know. */
uint64_t allocator_cache_reads(const struct allocator_cache *cache);

/*
 * 0, also when nothing was found; -ESRCH, or another -errno. `*ret_settled` is false while the
 * process is still so young that the answer may change (its libraries are not all bound yet).
 */
int allocators_detect(struct allocator_cache *cache, struct target *target,
	struct allocators *ret_allocators, bool *ret_settled);

/*
 * Where code or data of an allocator is: for the walkers. `symbol` in the object that `name` was
 * found in; -ENOENT if the object is stripped of it.
 */
int allocator_symbol(struct allocator_cache *cache, struct target *target,
	const struct allocator *allocator, const char *symbol, uint64_t *ret_address);

#endif
