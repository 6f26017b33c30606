/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where the agent's reports go: each section of its configuration has a sink of its own.
 */
#ifndef PAGESTAY_APP_OUTPUTS_H
#define PAGESTAY_APP_OUTPUTS_H

#include "config.h"
#include "pagestay/core/report.h"
#include "pagestay/edge/event.h"

struct outputs;

/* `say` tells the user something, once. 0 or -ENOMEM. */
int outputs_new(void (*say)(void *context, const char *text), struct outputs **ret_outputs);
void outputs_free(struct outputs *outputs); /* flushes and closes; takes NULL */

/* One that cannot be opened at the start ends it: -errno with words; but that of Inner Warden is
 * tried again at each report while what an earlier run wrote cannot be read. `config` is read again
 * later: what is in force stays there. */
int outputs_open(struct outputs *outputs, const struct config *config, struct diag *diag);

/*
 * Those whose section or token changed are closed and opened anew; one that cannot be is said, and
 * tried again at each report. A recording takes new limits; the rest of it, which needs the stream
 * from its beginning, stays as it is.
 */
void outputs_reload(struct outputs *outputs, const struct config *old, const struct config *config);

void outputs_event(struct outputs *outputs, const struct event *event);
void outputs_report(struct outputs *outputs, const struct report *report);

#endif
