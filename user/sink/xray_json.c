/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns `pagestay.xray/1` (docs/JSON.md): the same parts as in a report, of one process at one
 * moment. Called by the command xray.
 */
#include "json_values.h"
#include "pagestay/sink/sink.h"
#include "pagestay/sink/xray.h"

#include <errno.h>

static int set_process(json_t *object, const struct xray_shot *shot)
{
	const char *exe = shot->process->exe;
	int failed = 0;

	failed |= json_object_set_new(object, "schema", json_string("pagestay.xray/1"));
	failed |= json_object_set_new(object, "ts", json_time(shot->wall_ns));
	failed |= json_object_set_new(object, "host", json_text(shot->host));
	failed |= json_object_set_new(object, "pid", json_integer(shot->key.tgid));
	failed |= json_object_set_new(object, "start_time_ns", json_number(shot->key.start_ns));
	failed |= json_object_set_new(object, "comm", json_text(shot->process->comm));
	failed |= json_object_set_new(object, "exe", json_text(exe[0] ? exe : NULL));
	failed |= json_object_set_new(object, "rss_bytes", json_number(shot->memory->rss_bytes));
	failed |= json_object_set_new(object, "swap_bytes", json_number(shot->memory->swap_bytes));
	return failed;
}

static int set_remarks(json_t *object, const struct xray_remarks *remarks)
{
	const struct glibc_heap_damage *damage = &remarks->damage;
	int failed = 0;

	failed |= json_object_set_new(
		object, "not_read", json_text(remarks->unread[0] ? remarks->unread : NULL));
	failed |= json_object_set_new(object, "damage",
		damage->address
			? json_pack("{s:o, s:s}", "address",
				  json_sprintf("0x%llx", (unsigned long long)damage->address),
				  "text", damage->text)
			: json_null());
	return failed;
}

/* The heap's numbers are the field table's. */
static json_t *json_xray(const struct xray_shot *shot)
{
	const struct report_process process = {.heap = shot->heap};
	json_t *object = json_object();
	int failed = set_process(object, shot);

	failed |= json_object_set_new(object, "allocator", json_allocator(shot->allocators));
	failed |= json_object_set_new(object, "allocators", json_allocators(shot->allocators));
	failed |= json_set_fields(object, "heap.live_bytes", NULL, &process);
	failed |= json_set_heap(object, shot->heap);
	failed |= set_remarks(object, shot->remarks);
	if (failed) {
		json_decref(object);
		return NULL;
	}
	return object;
}

int xray_put_json(FILE *out, const struct xray_shot *shot)
{
	return json_put_object(json_xray(shot), out);
}
