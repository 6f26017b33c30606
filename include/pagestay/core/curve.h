/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Survival curves: of the pages that requests touched, how many were still there at an age.
 *
 * The age of a page counts from the end of its request. At age T count the pages whose request
 * ended at least T ago; kept are those that were there T after it ended. Requests that ended at
 * about the same time share a slot, which enters the curve at T when its youngest request is that
 * old, so the curve is never mixed of pages that have and pages that have not reached an age. Where
 * there are too many, the slots that are closest for their age merge, which can only delay that.
 *
 * Numbers of pages may be estimates; nothing here depends on it. Pure: times come from outside.
 */
#ifndef PAGESTAY_CORE_CURVE_H
#define PAGESTAY_CORE_CURVE_H

#include "pagestay/core/estimate.h"

/* More ages than a report shows, for the half-life. */
#define CURVE_AGES 13
extern const unsigned curve_ages_s[CURVE_AGES];

/*
 * At each age: pages whose request is older, and those of them that were kept. Sums add up. Kept
 * ones may be negative for a while: a sum over routes, or a later age, settles it.
 */
struct curve_sums {
	struct sampled touched[CURVE_AGES], kept[CURVE_AGES];
};

struct curve_slot {
	uint64_t from_ns, until_ns; /* of its requests' ends; until_ns ascends over slots */
	struct sampled touched;
	struct sampled swapped, freed;   /* of them, as of now */
	struct sampled died[CURVE_AGES]; /* before that age and not before the one below */
	unsigned next;                   /* the first age that it has not entered yet */
};

struct curve {
	struct curve_sums sums;
	struct curve_slot *slots;
	size_t count, room;
};

void curve_deinit(struct curve *curve);

/*
 * Pages of a request that ended at `end_ns`. Sets the time by which later calls name the request. 0
 * or -ENOMEM. Those calls pass over requests that have reached every age.
 */
int curve_add(struct curve *curve, uint64_t end_ns, struct sampled touched, uint64_t *ret_slot_ns);

/* The request touched more, or (negative) fewer than was thought. */
void curve_touch(struct curve *curve, uint64_t slot_ns, struct sampled pages);

/* Pages went, or (negative) had not gone after all. */
void curve_die(struct curve *curve, uint64_t slot_ns, uint64_t end_ns, uint64_t at_ns,
	struct sampled pages);

/* Pages are swapped out, or freed lazily, or (negative) are no longer. */
void curve_set_aside(
	struct curve *curve, uint64_t slot_ns, struct sampled swapped, struct sampled freed);

/* Take in all slots that have reached an age. */
void curve_advance(struct curve *curve, uint64_t now_ns);

/* Empty `from` into `curve`. 0 or -ENOMEM, with both as they were. */
int curve_fold(struct curve *curve, struct curve *from);

void curve_sums_add(struct curve_sums *sums, const struct curve_sums *more);

/*
 * The age at which half is kept, between the last age above and the first below, as if pages went
 * at a constant rate in between; before the first age, as from a full start. Seconds. If it is not
 * reached it is NAN and `ret_over_s` the greatest age that is known. Both NAN: nothing is known.
 */
void curve_half_life(const struct curve_sums *sums, double *ret_half_life_s, double *ret_over_s);

#endif
