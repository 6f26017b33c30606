/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The commands that move events: watch, record and replay. Each speaks to the user itself and
 * returns an exit code.
 */
#ifndef PAGESTAY_APP_RUN_H
#define PAGESTAY_APP_RUN_H

#include "options.h"

enum exit_code run_watch(const struct options *options);
enum exit_code run_record(const struct options *options);
enum exit_code run_replay(const struct options *options);

#endif
