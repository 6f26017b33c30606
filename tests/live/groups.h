/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The groups of live tests, one file each. Running a group returns the number of its tests that
 * failed; skipped tests have not failed.
 */
#ifndef PAGESTAY_TESTS_LIVE_GROUPS_H
#define PAGESTAY_TESTS_LIVE_GROUPS_H

int run_ledger_group(void);
int run_accepts_group(void);
int run_requests_group(void);
int run_routes_group(void);
int run_faults_group(void);
int run_loss_group(void);
int run_lifecycle_group(void);
int run_pages_group(void);
int run_self_group(void);

#endif
