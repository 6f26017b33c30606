/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Repeatable chance for property tests (splitmix64): the same seed gives the same sequence on every
 * machine, so a failure that names its seed can be run again.
 */
#ifndef PAGESTAY_TESTS_SEEDED_H
#define PAGESTAY_TESTS_SEEDED_H

#include <stdbool.h>
#include <stdint.h>

struct seeded {
	uint64_t state;
};

static inline uint64_t seeded_next(struct seeded *seeded)
{
	uint64_t mixed = seeded->state += 0x9e3779b97f4a7c15ull;

	mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ull;
	mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebull;
	return mixed ^ (mixed >> 31);
}

/* From 0 to `bound` - 1. */
static inline uint64_t seeded_below(struct seeded *seeded, uint64_t bound)
{
	return seeded_next(seeded) % bound;
}

/* True once in `times`. */
static inline bool seeded_once_in(struct seeded *seeded, uint64_t times)
{
	return seeded_below(seeded, times) == 0;
}

#endif
