/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef PAGESTAY_APP_DOCTOR_H
#define PAGESTAY_APP_DOCTOR_H

#include "options.h"

/* Prints what this kernel and these privileges allow and what is used instead. */
enum exit_code doctor(const struct options *options);

#endif
