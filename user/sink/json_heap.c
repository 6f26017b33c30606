/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns how allocators, a heap and a verdict look in JSON: what of `pagestay.report/1` is no single
 * number of the field table. Called by the JSON writers only; a heap's numbers are in the table.
 */
#include "json_values.h"

#include <inttypes.h>

#include "pagestay/core/verdict.h"

/* An array that takes the item's reference, or NULL. Each of the pair may be NULL. */
static json_t *appended(json_t *array, json_t *item)
{
	if (array && item && json_array_append_new(array, item) == 0)
		return array;
	if (!array)
		json_decref(item);
	json_decref(array);
	return NULL;
}

static json_t *text_or_null(const char *text)
{
	return json_text(text[0] ? text : NULL);
}

static json_t *one_allocator(const struct allocator *allocator)
{
	json_t *object = json_object();
	int failed = 0;

	failed |=
		json_object_set_new(object, "name", json_string(allocator_names[allocator->name]));
	failed |= json_object_set_new(object, "version", text_or_null(allocator->version));
	failed |= json_object_set_new(object, "evidence", text_or_null(allocator->evidence));
	failed |= json_object_set_new(object, "object", text_or_null(allocator->object));
	failed |= json_object_set_new(object, "static", json_boolean(allocator->is_static));
	if (failed) {
		json_decref(object);
		return NULL;
	}
	return object;
}

json_t *json_allocator(const struct allocators *allocators)
{
	static const struct allocator unknown;
	json_t *object =
		one_allocator(allocators && allocators->count ? &allocators->list[0] : &unknown);

	if (object && json_object_set_new(object, "settings",
			      text_or_null(allocators ? allocators->settings : ""))) {
		json_decref(object);
		return NULL;
	}
	return object;
}

json_t *json_allocators(const struct allocators *allocators)
{
	json_t *array = json_array();

	for (unsigned i = 0; array && allocators && i < allocators->count; i++)
		array = appended(array, one_allocator(&allocators->list[i]));
	return array;
}

/* A string: jq's numbers do not hold 64 bits. */
static json_t *address(uint64_t value)
{
	return json_sprintf("0x%" PRIx64, value);
}

static json_t *one_pin(const struct heap_pin *pin)
{
	json_t *object = json_object();
	int failed = 0;

	failed |= json_object_set_new(object, "address", address(pin->address));
	failed |= json_object_set_new(object, "segment", address(pin->segment));
	failed |= json_object_set_new(object, "size_bytes", json_number(pin->size_bytes));
	failed |= json_object_set_new(object, "below_bytes", json_number(pin->below_bytes));
	failed |= json_object_set_new(object, "owner", json_string(heap_owner_names[pin->owner]));
	if (failed) {
		json_decref(object);
		return NULL;
	}
	return object;
}

static json_t *pins(const struct heap *heap)
{
	json_t *array = json_array();

	for (unsigned i = 0; array && heap && i < heap->pin_count; i++)
		array = appended(array, one_pin(&heap->pins[i]));
	return array;
}

static json_t *unpin(const struct heap *heap)
{
	json_t *array = json_array();

	for (unsigned i = 0; array && heap && i < HEAP_UNPINS; i++)
		array = appended(
			array, json_pack("{s:I, s:o}", "chunks", (json_int_t)heap_unpin_chunks[i],
				       "bytes", json_number(heap->unpin_bytes[i])));
	return array;
}

/* 1 or 0, or not known. */
static json_t *truth(uint64_t value)
{
	return value == HEAP_UNKNOWN ? json_null() : json_boolean(value != 0);
}

/* As jemalloc's own settings have it: -1 is never. */
static json_t *decay(uint64_t milliseconds)
{
	return milliseconds == HEAP_DECAY_NEVER ? json_integer(-1) : json_number(milliseconds);
}

static json_t *huge_mode(enum heap_huge_mode mode)
{
	static const char *const names[] = {
		[HEAP_HUGE_NEVER] = "never",
		[HEAP_HUGE_MADVISE] = "madvise",
		[HEAP_HUGE_ALWAYS] = "always",
	};

	return json_text(names[mode]);
}

int json_set_heap(json_t *object, const struct heap *heap)
{
	static struct heap unknown;
	const struct heap *of = heap;
	int failed = 0;

	if (!of) {
		heap_unknown(&unknown);
		of = &unknown;
	}
	failed |= json_set_path(
		object, "heap.allocator", json_string(allocator_names[of->allocator]));
	failed |= json_set_path(object, "heap.pins", pins(heap));
	failed |= json_set_path(object, "heap.unpin", unpin(heap));
	failed |= json_set_path(
		object, "heap.thresholds.trim_bytes", json_number(of->trim_threshold_bytes));
	failed |= json_set_path(
		object, "heap.thresholds.mmap_bytes", json_number(of->mmap_threshold_bytes));
	failed |= json_set_path(
		object, "heap.thresholds.top_pad_bytes", json_number(of->top_pad_bytes));
	failed |= json_set_path(object, "heap.thresholds.dynamic", truth(of->thresholds_dynamic));
	failed |= json_set_path(object, "heap.thresholds.arena_max", json_number(of->arena_max));
	failed |= json_set_path(object, "heap.decay.dirty_ms", decay(of->dirty_decay_ms));
	failed |= json_set_path(object, "heap.decay.muzzy_ms", decay(of->muzzy_decay_ms));
	failed |=
		json_set_path(object, "heap.decay.background_thread", truth(of->background_thread));
	failed |= json_set_path(object, "heap.huge_mode", huge_mode(of->huge_mode));
	return failed;
}

static json_t *lines(const char (*texts)[VERDICT_LINE_BYTES], unsigned count)
{
	json_t *array = json_array();

	for (unsigned i = 0; array && i < count; i++)
		array = appended(array, json_text(texts[i]));
	return array;
}

static json_t *advice(const struct verdict *verdict)
{
	json_t *array = json_array();

	for (unsigned i = 0; array && i < verdict->remedy_count; i++)
		array = appended(array, json_text(verdict->remedies[i].text));
	return array;
}

static json_t *one_remedy(const struct verdict_remedy *remedy)
{
	json_t *object = json_object();
	int failed = 0;

	failed |= json_object_set_new(
		object, "cause", json_string(verdict_cause_names[remedy->cause]));
	failed |=
		json_object_set_new(object, "forecast_bytes", json_number(remedy->forecast_bytes));
	failed |= json_object_set_new(object, "text", json_text(remedy->text));
	failed |= json_object_set_new(object, "setting", text_or_null(remedy->setting));
	failed |= json_object_set_new(object, "caveat", text_or_null(remedy->caveat));
	if (failed) {
		json_decref(object);
		return NULL;
	}
	return object;
}

static json_t *remedies(const struct verdict *verdict)
{
	json_t *array = json_array();

	for (unsigned i = 0; array && i < verdict->remedy_count; i++)
		array = appended(array, one_remedy(&verdict->remedies[i]));
	return array;
}

json_t *json_verdict(const struct report_process *process)
{
	struct verdict verdict;
	json_t *object = json_object();
	const char *cause;
	int failed = 0;

	verdict_reach(process, &verdict);
	cause = verdict.cause == CAUSE_NONE ? NULL : verdict_cause_names[verdict.cause];
	failed |=
		json_object_set_new(object, "code", json_string(verdict_code_names[verdict.code]));
	failed |= json_object_set_new(object, "cause", json_text(cause));
	failed |= json_object_set_new(object, "confidence", json_real_number(verdict.confidence));
	failed |= json_object_set_new(
		object, "evidence", lines(verdict.evidence, verdict.evidence_count));
	failed |= json_object_set_new(object, "advice", advice(&verdict));
	failed |= json_object_set_new(object, "remedies", remedies(&verdict));
	if (failed) {
		json_decref(object);
		return NULL;
	}
	return object;
}
