/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the pages of a set: a Judy array orders their numbers, a pool holds what is known of them, a
 * stack the places in the pool that are free. Called by retention.
 */
#include "pagestay/core/pageset.h"

#include <Judy.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(Word_t) == sizeof(uint64_t), "page numbers fit Judy's words");

void pageset_deinit(struct pageset *set)
{
	(void)JudyLFreeArray(&set->judy, NULL);
	free(set->pages);
	free(set->free);
	*set = (struct pageset){};
}

static struct page *page_at(const struct pageset *set, PPvoid_t value)
{
	return value ? &set->pages[*(const Word_t *)value] : NULL;
}

struct page *pageset_get(const struct pageset *set, uint64_t number)
{
	return page_at(set, JudyLGet(set->judy, number, NULL));
}

static bool pool_grow(struct pageset *set)
{
	size_t room = set->room ? 2 * set->room : 256;
	struct page *pages = reallocarray(set->pages, room, sizeof(*pages));
	uint32_t *stack;

	if (!pages)
		return false;
	set->pages = pages;
	stack = reallocarray(set->free, room, sizeof(*stack));
	if (!stack)
		return false;
	set->free = stack;
	for (size_t i = room; i > set->room; i--)
		stack[set->free_count++] = i - 1;
	set->room = room;
	return true;
}

struct page *pageset_add(struct pageset *set, uint64_t number)
{
	PPvoid_t value;
	uint32_t index;

	if (!set->free_count && !pool_grow(set))
		return NULL;
	value = JudyLIns(&set->judy, number, NULL);
	if (!value || value == PPJERR)
		return NULL;
	index = set->free[--set->free_count];
	*(Word_t *)value = index;
	set->pages[index] = (struct page){};
	set->count++;
	return &set->pages[index];
}

void pageset_remove(struct pageset *set, uint64_t number)
{
	PPvoid_t value = JudyLGet(set->judy, number, NULL);

	if (!value)
		return;
	set->free[set->free_count++] = *(Word_t *)value;
	set->count--;
	(void)JudyLDel(&set->judy, number, NULL);
}

struct page *pageset_next(const struct pageset *set, uint64_t *number)
{
	Word_t index = *number;
	PPvoid_t value = JudyLFirst(set->judy, &index, NULL);

	*number = index;
	return page_at(set, value);
}
