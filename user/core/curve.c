/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Survival curves. Owns the slots of a curve, sorted by time and at most SLOTS, and what of them is
 * in the sums already. Called by retention. A slot's pages are `touched` for good; what became of
 * them is in `died`, `swapped` and `freed`.
 */
#include "pagestay/core/curve.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S 1000000000ull
#define SLOTS    64
#define SLOT_NS  500000000ull /* requests that end within it share a slot */

const unsigned curve_ages_s[CURVE_AGES] = {
	1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600};

void curve_deinit(struct curve *curve)
{
	free(curve->slots);
	*curve = (struct curve){};
}

/* The slot that covers a time: the first that ends at or after it. NULL: over, or never was. */
static struct curve_slot *slot_at(struct curve *curve, uint64_t slot_ns)
{
	size_t low = 0, high = curve->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (curve->slots[middle].until_ns < slot_ns)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == curve->count || curve->slots[low].from_ns > slot_ns)
		return NULL;
	return &curve->slots[low];
}

static unsigned age_index(uint64_t lived_ns)
{
	unsigned index = 0;

	while (index < CURVE_AGES && lived_ns >= curve_ages_s[index] * NS_PER_S)
		index++;
	return index;
}

static void slot_merge(struct curve_slot *slot, const struct curve_slot *later)
{
	if (later->from_ns < slot->from_ns)
		slot->from_ns = later->from_ns;
	slot->until_ns = later->until_ns;
	sampled_add(&slot->touched, later->touched);
	sampled_add(&slot->swapped, later->swapped);
	sampled_add(&slot->freed, later->freed);
	for (int i = 0; i < CURVE_AGES; i++)
		sampled_add(&slot->died[i], later->died[i]);
}

static void slot_remove(struct curve *curve, size_t index)
{
	curve->count--;
	memmove(&curve->slots[index], &curve->slots[index + 1],
		(curve->count - index) * sizeof(curve->slots[0]));
}

/* Makes room by merging two neighbours that wait for the same age, the ones closest in time. */
static void slots_thin(struct curve *curve)
{
	size_t best = 0;
	double least = INFINITY;

	if (curve->count < 2 || !curve->slots)
		return;
	for (size_t i = 0; i + 1 < curve->count; i++) {
		const struct curve_slot *slot = &curve->slots[i], *later = slot + 1;
		uint64_t now_ns = curve->slots[curve->count - 1].until_ns;
		double part = (double)(later->until_ns - slot->from_ns) /
			      (double)(now_ns - slot->from_ns + SLOT_NS);

		if (slot->next == later->next && part < least) {
			least = part;
			best = i;
		}
	}
	slot_merge(&curve->slots[best], &curve->slots[best + 1]);
	slot_remove(curve, best + 1);
}

static int slots_reserve(struct curve *curve)
{
	struct curve_slot *slots;
	size_t room = curve->room ? 2 * curve->room : 4;

	if (curve->count == SLOTS)
		slots_thin(curve);
	if (curve->count < curve->room)
		return 0;
	slots = reallocarray(curve->slots, room, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	curve->slots = slots;
	curve->room = room;
	return 0;
}

/* The slot for a request that ended now or a little ago. */
static struct curve_slot *slot_for(struct curve *curve, uint64_t end_ns)
{
	struct curve_slot *last = curve->count ? &curve->slots[curve->count - 1] : NULL;

	if (last && !last->next && end_ns < last->from_ns + SLOT_NS) {
		if (last->until_ns < end_ns)
			last->until_ns = end_ns;
		return last;
	}
	if (last && end_ns <= last->until_ns)
		end_ns = last->until_ns + 1;
	if (slots_reserve(curve) || !curve->slots)
		return NULL;
	last = &curve->slots[curve->count++];
	*last = (struct curve_slot){.from_ns = end_ns, .until_ns = end_ns};
	return last;
}

int curve_add(struct curve *curve, uint64_t end_ns, struct sampled touched, uint64_t *ret_slot_ns)
{
	struct curve_slot *slot = slot_for(curve, end_ns);

	if (!slot)
		return -ENOMEM;
	sampled_add(&slot->touched, touched);
	*ret_slot_ns = end_ns > slot->from_ns ? end_ns : slot->from_ns;
	return 0;
}

void curve_touch(struct curve *curve, uint64_t slot_ns, struct sampled pages)
{
	struct curve_slot *slot = slot_at(curve, slot_ns);

	if (slot)
		sampled_add(&slot->touched, pages);
}

void curve_die(struct curve *curve, uint64_t slot_ns, uint64_t end_ns, uint64_t at_ns,
	struct sampled pages)
{
	struct curve_slot *slot = slot_at(curve, slot_ns);
	unsigned index = age_index(at_ns > end_ns ? at_ns - end_ns : 0);

	if (slot && index < CURVE_AGES)
		sampled_add(&slot->died[index], pages);
}

void curve_set_aside(
	struct curve *curve, uint64_t slot_ns, struct sampled swapped, struct sampled freed)
{
	struct curve_slot *slot = slot_at(curve, slot_ns);

	if (!slot)
		return;
	sampled_add(&slot->swapped, swapped);
	sampled_add(&slot->freed, freed);
}

static void slot_enter(struct curve_sums *sums, const struct curve_slot *slot, unsigned age)
{
	struct sampled touched = sampled_minus(slot->touched, slot->swapped);
	struct sampled kept = sampled_minus(touched, slot->freed);

	for (unsigned i = 0; i <= age; i++)
		kept = sampled_minus(kept, slot->died[i]);
	sampled_add(&sums->touched[age], touched);
	sampled_add(&sums->kept[age], kept);
}

void curve_advance(struct curve *curve, uint64_t now_ns)
{
	for (size_t i = 0; i < curve->count; i++) {
		struct curve_slot *slot = &curve->slots[i];
		uint64_t age_ns = now_ns > slot->until_ns ? now_ns - slot->until_ns : 0;

		while (slot->next < CURVE_AGES && age_ns >= curve_ages_s[slot->next] * NS_PER_S)
			slot_enter(&curve->sums, slot, slot->next++);
	}
	while (curve->count && curve->slots[0].next == CURVE_AGES)
		slot_remove(curve, 0);
}

void curve_sums_add(struct curve_sums *sums, const struct curve_sums *more)
{
	for (int i = 0; i < CURVE_AGES; i++) {
		sampled_add(&sums->touched[i], more->touched[i]);
		sampled_add(&sums->kept[i], more->kept[i]);
	}
}

static int by_time(const void *a, const void *b)
{
	const struct curve_slot *left = a, *right = b;

	return (left->until_ns > right->until_ns) - (left->until_ns < right->until_ns);
}

/* Behind the last one, or into it if they share a time and wait for the same age. */
static void slot_append(struct curve *curve, struct curve_slot slot)
{
	struct curve_slot *last = curve->count ? &curve->slots[curve->count - 1] : NULL;

	while (last && slot.from_ns <= last->until_ns && slot.next == last->next) {
		struct curve_slot merged = *last;

		slot_merge(&merged, &slot);
		slot = merged;
		last = --curve->count ? last - 1 : NULL;
	}
	if (last && slot.from_ns < last->from_ns)
		last->from_ns = slot.from_ns;
	curve->slots[curve->count++] = slot;
}

/*
 * Slots of both, in order. A time still names one slot: where two overlap that do not wait for the
 * same age, what happens to pages of the one is counted with the other's, and the sum is right.
 */
int curve_fold(struct curve *curve, struct curve *from)
{
	size_t count = curve->count + from->count;
	struct curve_slot *slots = calloc(count ? count : 1, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	if (curve->count)
		memcpy(slots, curve->slots, curve->count * sizeof(*slots));
	if (from->count)
		memcpy(slots + curve->count, from->slots, from->count * sizeof(*slots));
	qsort(slots, count, sizeof(*slots), by_time);
	free(curve->slots);
	curve->slots = slots;
	curve->room = count ? count : 1;
	curve->count = 0;
	for (size_t i = 0; i < count; i++)
		slot_append(curve, slots[i]);
	while (curve->count > SLOTS)
		slots_thin(curve);
	curve_sums_add(&curve->sums, &from->sums);
	curve_deinit(from);
	return 0;
}

void curve_half_life(const struct curve_sums *sums, double *ret_half_life_s, double *ret_over_s)
{
	double before_s = 0, before = 1;

	*ret_half_life_s = *ret_over_s = NAN;
	for (int i = 0; i < CURVE_AGES; i++) {
		double part_kept = (double)sums->kept[i].pages / (double)sums->touched[i].pages;
		double share = fmin(fmax(part_kept, 0), 1);
		double age_s = curve_ages_s[i];

		/* Nothing known of this age: all in swap then, or not reached by anything. */
		if (sums->touched[i].pages <= 0)
			continue;
		if (share <= 0.5) {
			/* Gone altogether: no rate is known, so it is the straight line. */
			double part = share > 0 && before > share
					      ? log(before / 0.5) / log(before / share)
				      : before > share ? (before - 0.5) / (before - share)
						       : 0;

			*ret_half_life_s = before_s + (age_s - before_s) * part;
			*ret_over_s = NAN;
			return;
		}
		before_s = age_s;
		before = share;
		*ret_over_s = age_s;
	}
}
