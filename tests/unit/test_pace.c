/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How often heaps are x-rayed: soon at first, as was asked for later, and never so often that it
 * costs much.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "pagestay/base/clock.h"
#include "pagestay/source/pace.h"

#define INTERVAL_NS (10 * NS_PER_S)
#define XRAY_NS     (600 * NS_PER_S)
#define BEGIN_NS    (1000 * NS_PER_S)

static void the_first_ones_come_a_minute_apart(void **state)
{
	struct pace pace = {};
	uint64_t now_ns = BEGIN_NS;

	for (unsigned walks = 1; walks < PACE_EARLY; walks++, now_ns += 60 * NS_PER_S)
		assert_int_equal(
			pace_rest_ns(&pace, walks, NS_PER_MS, now_ns, XRAY_NS, INTERVAL_NS),
			55 * NS_PER_S);
	assert_int_equal(pace_rest_ns(&pace, PACE_EARLY, NS_PER_MS, now_ns, XRAY_NS, INTERVAL_NS),
		595 * NS_PER_S);
}

static void they_come_as_often_as_was_asked_for(void **state)
{
	struct pace pace = {};

	assert_int_equal(pace_rest_ns(&pace, 1, NS_PER_MS, BEGIN_NS, 30 * NS_PER_S, INTERVAL_NS),
		25 * NS_PER_S);
	/* Every interval: as soon as the walk's rest allows. */
	assert_int_equal(
		pace_rest_ns(&pace, 1, NS_PER_MS, BEGIN_NS, 1, INTERVAL_NS), 4 * NS_PER_MS);
	assert_int_equal(pace_rest_ns(&pace, 9, 3 * NS_PER_S, BEGIN_NS, 10 * NS_PER_S, INTERVAL_NS),
		12 * NS_PER_S);
}

/* 2,000 processes of 20 ms each: the early ones take a tenth of a processor, not more. */
static void many_processes_do_not_all_come_soon(void **state)
{
	struct pace pace = {};
	uint64_t now_ns = BEGIN_NS, next_ns[2000] = {0};
	uint64_t spent_ns[12] = {0};
	unsigned walks[2000] = {0};

	/* One thread walks whoever is due, one after another. */
	while (now_ns < BEGIN_NS + 720 * NS_PER_S) {
		unsigned walked = 0;

		for (unsigned i = 0; i < 2000; i++) {
			if (next_ns[i] > now_ns)
				continue;
			now_ns += 20 * NS_PER_MS;
			if (now_ns < BEGIN_NS + 720 * NS_PER_S)
				spent_ns[(now_ns - BEGIN_NS) / (60 * NS_PER_S)] += 20 * NS_PER_MS;
			next_ns[i] = now_ns + pace_rest_ns(&pace, ++walks[i], 20 * NS_PER_MS,
						      now_ns, XRAY_NS, INTERVAL_NS);
			walked++;
		}
		now_ns += walked ? 0 : NS_PER_S;
	}
	/* All of them at the beginning, and again ten minutes later. */
	assert_in_range(spent_ns[0], 40 * NS_PER_S, 46 * NS_PER_S);
	for (unsigned minute = 1; minute < 10; minute++)
		assert_in_range(spent_ns[minute], 0, 7 * NS_PER_S);
	assert_in_range(spent_ns[10] + spent_ns[11], 40 * NS_PER_S, 50 * NS_PER_S);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_ones_come_a_minute_apart),
		cmocka_unit_test(they_come_as_often_as_was_asked_for),
		cmocka_unit_test(many_processes_do_not_all_come_soon),
	};

	return cmocka_run_group_tests_name("pace", tests, NULL, NULL);
}
