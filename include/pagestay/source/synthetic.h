/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef PAGESTAY_SOURCE_SYNTHETIC_H
#define PAGESTAY_SOURCE_SYNTHETIC_H

#include <stddef.h>

#include "pagestay/source/source.h"

/*
 * A test's own events as a source, named `synthetic`, in whatever order they are. They stay the
 * caller's and must outlive the source. SOURCE_NOW delivers nothing. 0 or -ENOMEM.
 */
int source_synthetic_new(const struct event *events, size_t count, struct source **ret_source);

#endif
