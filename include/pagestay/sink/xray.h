/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One x-ray for a person, or as `pagestay.xray/1`, one JSON object.
 */
#ifndef PAGESTAY_SINK_XRAY_H
#define PAGESTAY_SINK_XRAY_H

#include <stdio.h>

#include "pagestay/edge/xray.h"

/* Everything is the caller's. */
struct xray_shot {
	uint64_t wall_ns;
	const char *host;
	struct ps_proc_key key;
	const struct event_process *process;
	const struct event_memory *memory;
	const struct allocators *allocators;
	const struct heap *heap;
	const struct xray_remarks *remarks;
};

/* 0 or -errno of the write. Fewer than 80 columns are taken as 80. */
int xray_put_text(FILE *out, unsigned columns, const struct xray_shot *shot);
int xray_put_json(FILE *out, const struct xray_shot *shot);

#endif
