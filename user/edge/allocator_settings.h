/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The allocator's variables in the environment that a process started with.
 */
#ifndef PAGESTAY_EDGE_ALLOCATOR_SETTINGS_H
#define PAGESTAY_EDGE_ALLOCATOR_SETTINGS_H

#include "pagestay/edge/allocator.h"

/* As allocators.settings says; what does not fit is cut. "" if nothing can be told. -ESRCH, or
 * another -errno. */
int allocator_settings(struct target *target, char ret_settings[ALLOCATOR_SETTINGS_BYTES]);

#endif
