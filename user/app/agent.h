/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The command agent. Speaks to the user itself and returns an exit code. */
#ifndef PAGESTAY_APP_AGENT_H
#define PAGESTAY_APP_AGENT_H

#include "options.h"

enum exit_code run_agent(const struct options *options);

#endif
