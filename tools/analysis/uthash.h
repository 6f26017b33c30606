/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * uthash for static analysis only: the same macros as calls of functions that nobody defines. The
 * real ones inline a hash function and a table, in which analysers see leaks and uses after free
 * that are not there, spend minutes, and count the branches as ours. An element that was added
 * counts as handed over; what is found or comes next may be anything, or NULL.
 */
#ifndef UTHASH_H
#define UTHASH_H

#include <stddef.h>

typedef struct {
	void *next;
	void *tbl;
} UT_hash_handle;

void *uthash_find(const void *head, const void *key, size_t key_bytes);
void *uthash_next(const void *head, const void *element);
void uthash_add(void *head, const void *key, size_t key_bytes, void *element);
void uthash_remove(void *head, const void *element);
unsigned uthash_count(const void *head);

#define HASH_FIND(hh, head, key, key_bytes, ret) ((ret) = uthash_find((head), (key), (key_bytes)))
#define HASH_FIND_STR(head, key, ret)            ((ret) = uthash_find((head), (key), 1))
#define HASH_ADD(hh, head, key, key_bytes, element)                                                \
	uthash_add(&(head), &(element)->key, (key_bytes), (element))
#define HASH_ADD_STR(head, key, element) uthash_add(&(head), (element)->key, 1, (element))
#define HASH_DEL(head, element)          uthash_remove(&(head), (element))
#define HASH_COUNT(head)                 uthash_count(head)
#define HASH_ITER(hh, head, element, after)                                                        \
	for ((element) = (head), (after) = uthash_next((head), (element)); (element);              \
		(element) = (after), (after) = uthash_next((head), (element)))

#endif
