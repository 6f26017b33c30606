/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef PAGESTAY_SOURCE_REPLAY_H
#define PAGESTAY_SOURCE_REPLAY_H

#include "pagestay/source/source.h"

/*
 * A recording as a source, named `replay`. Needs no privilege. -errno with `diag` set. Besides what
 * recording_read refuses, a stream in another order than event.h allows, or one that does not end
 * with START or TICK, is -EBADMSG there. SOURCE_NOW delivers nothing.
 */
int source_replay_open(const char *path, struct source **ret_source, struct diag *diag);

#endif
