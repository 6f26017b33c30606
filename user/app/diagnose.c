/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The command diagnose. */
#include "run.h"

enum exit_code run_diagnose(const struct options *options)
{
	return EXIT_RUNTIME;
}
