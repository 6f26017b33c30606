/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Names of services and of incidents, for episode.c. Nobody else includes this.
 */
#ifndef PAGESTAY_CORE_EPISODE_NAME_H
#define PAGESTAY_CORE_EPISODE_NAME_H

#include "pagestay/core/episode.h"

#define EPISODE_KEY_BYTES                                                                          \
	(EPISODE_UNIT_BYTES + EPISODE_CONTAINER_BYTES + PS_COMM_BYTES + EPISODE_EXE_BYTES)

/* What tells a service from others, with its strings' ends. Returns the length. */
size_t episode_key(const struct service_name *name, char ret_key[EPISODE_KEY_BYTES]);

/* Its unit, its comm (which is cut short) or the last part of its exe is `word`. */
bool episode_is_named(const struct service_name *name, const char *word);

/* page_retention:SUBJECT:MINUTE, in UTC; from the second attempt on the subject has its number. */
void episode_incident_id(
	const char *subject, unsigned attempt, uint64_t wall_ns, char ret_id[EPISODE_ID_BYTES]);

#endif
