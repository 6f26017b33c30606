/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a program that watches for months gives up once it watches: capabilities that only loading
 * needed, and system calls that it never makes.
 */
#ifndef PAGESTAY_APP_PRIVILEGES_H
#define PAGESTAY_APP_PRIVILEGES_H

#include "pagestay/base/diag.h"

/*
 * For the whole process, all threads, for good. Keeps of its capabilities those that looking into
 * processes needs; a system call that is not on the list gives EPERM. 0, or -errno with words.
 */
int privileges_drop(struct diag *diag);

#endif
