/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What pagestay says of itself: its BPF programs' time and runs, where the kernel keeps account of
 * them. Each test sets the account as it needs it, and leaves it as it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "groups.h"
#include "harness.h"

#define ACCOUNT  "/proc/sys/kernel/bpf_stats_enabled"
#define CALLS    100003
#define LEAST_NS 5 /* of a run that looks who it is and returns */

static char account_before = '0';

static bool account_write(char setting)
{
	int fd = open(ACCOUNT, O_WRONLY | O_CLOEXEC);
	bool written = fd >= 0 && write(fd, &setting, 1) == 1;

	if (fd >= 0)
		close(fd);
	return written;
}

static void account_set(char setting)
{
	if (!account_write(setting))
		live_skip("%s cannot be written: %s", ACCOUNT, strerror(errno));
}

static int account_remember(void **state)
{
	int fd = open(ACCOUNT, O_RDONLY | O_CLOEXEC);

	(void)state;
	if (fd >= 0 && read(fd, &account_before, 1) != 1)
		account_before = '0';
	if (fd >= 0)
		close(fd);
	return 0;
}

static int account_restore(void **state)
{
	(void)state;
	(void)account_write(account_before);
	return 0;
}

/* Every call of any process is a run of the program on sys_exit. */
static struct report *watch_calls(char setting)
{
	struct pagestay *pagestay;

	account_set(setting);
	pagestay = pagestay_start_text("1");
	for (int i = 0; i < CALLS; i++)
		(void)syscall(SYS_getppid);
	pagestay_await_lines(pagestay, pagestay_lines(pagestay) + 1);
	return pagestay_stop(pagestay);
}

static void an_account_has_every_run(void **state)
{
	struct report *report = watch_calls('1');
	uint64_t runs = report_line_sum(report, "self.bpf_runs");
	uint64_t time_ns = report_line_sum(report, "self.bpf_ns");

	(void)state;
	if (runs < CALLS || time_ns < LEAST_NS * runs)
		live_fail("%d calls, but %llu runs in %llu ns", CALLS, (unsigned long long)runs,
			(unsigned long long)time_ns);
	report_free(report);
}

static void without_an_account_nothing_is_known(void **state)
{
	struct report *report = watch_calls('0');

	(void)state;
	for (size_t i = 0; i < report_lines(report); i++) {
		assert_true(json_is_null(report_value(report_line(report, i), "self.bpf_ns")));
		assert_true(json_is_null(report_value(report_line(report, i), "self.bpf_runs")));
	}
	report_free(report);
}

int run_self_group(void)
{
	const struct CMUnitTest tests[] = {
		live_test(an_account_has_every_run),
		live_test(without_an_account_nothing_is_known),
	};

	return cmocka_run_group_tests_name("self", tests, account_remember, account_restore);
}
