/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The commands that move events or look into a process. Each speaks to the user itself and returns
 * an exit code.
 */
#ifndef PAGESTAY_APP_RUN_H
#define PAGESTAY_APP_RUN_H

#include "options.h"

enum exit_code run_watch(const struct options *options);
enum exit_code run_record(const struct options *options);
enum exit_code run_replay(const struct options *options);
enum exit_code run_xray(const struct options *options);
enum exit_code run_diagnose(const struct options *options);
enum exit_code run_compare(const struct options *options);

#endif
