/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Units and containers out of control group paths, as systemd and container engines make them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "pagestay/edge/cgroup.h"

#define ID "4e1d2c7a9b0f4e1d2c7a9b0f4e1d2c7a9b0f4e1d2c7a9b0f4e1d2c7a9b0f0123"

static void assert_names(const char *path, const char *unit, const char *container)
{
	char got_unit[CGROUP_UNIT_BYTES], got_container[CGROUP_CONTAINER_BYTES];

	cgroup_unit(path, got_unit);
	cgroup_container(path, got_container);
	assert_string_equal(got_unit, unit);
	assert_string_equal(got_container, container);
}

static void units_are_the_innermost(void **state)
{
	assert_names("/system.slice/nginx.service", "nginx.service", "");
	assert_names(
		"/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service", "");
	assert_names("/user.slice/user-1000.slice/user@1000.service/app.slice/web.service",
		"web.service", "");
	assert_names("/system.slice/web.service/worker", "web.service", "");
	assert_names("/user.slice/user-0.slice/session-3.scope", "session-3.scope", "");
	assert_names("/", "", "");
	assert_names("", "", "");
	assert_names("/.service", "", "");
	assert_names("/a.service//", "a.service", "");
	assert_names("no/slash.service", "slash.service", "");
}

static void containers_are_known_by_their_ids(void **state)
{
	assert_names("/docker/" ID, "", "4e1d2c7a9b0f");
	assert_names("/system.slice/docker-" ID ".scope", "docker-" ID ".scope", "4e1d2c7a9b0f");
	assert_names("/machine.slice/libpod-" ID ".scope/container", "libpod-" ID ".scope",
		"4e1d2c7a9b0f");
	assert_names("/kubepods.slice/kubepods-burstable.slice/cri-containerd-" ID ".scope",
		"cri-containerd-" ID ".scope", "4e1d2c7a9b0f");
	assert_names("/system.slice/containerd.service/kubepods:cri-containerd:" ID,
		"containerd.service", "4e1d2c7a9b0f");
	assert_names("/docker/" ID "0", "", "");
	assert_names("/docker/" ID "/" ID, "", "4e1d2c7a9b0f");
	assert_names("/docker/4e1d2c7a9b0f", "", "");
}

static void names_that_do_not_fit_are_left_out(void **state)
{
	char path[EVENT_CGROUP_BYTES] = "/";

	memset(path + 1, 'x', 200);
	strcpy(path + 201, ".service");
	assert_names(path, "", "");
}

static void groups_hold_what_is_below_them(void **state)
{
	assert_true(cgroup_is_in("/system.slice/nginx.service", "/system.slice/nginx.service"));
	assert_true(cgroup_is_in("/system.slice/nginx.service", "/system.slice/"));
	assert_true(cgroup_is_in("/system.slice", "/"));
	assert_false(cgroup_is_in("/system.slice2", "/system.slice"));
	assert_false(cgroup_is_in("/system", "/system.slice"));
	assert_false(cgroup_is_in("", "/system.slice"));
}

static void units_are_named_as_systemctl_does(void **state)
{
	assert_true(cgroup_unit_is("nginx.service", "nginx"));
	assert_true(cgroup_unit_is("nginx.service", "nginx.service"));
	assert_true(cgroup_unit_is("session-3.scope", "session-3.scope"));
	assert_false(cgroup_unit_is("session-3.scope", "session-3"));
	assert_false(cgroup_unit_is("nginx2.service", "nginx"));
	assert_false(cgroup_unit_is("", "nginx"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(units_are_the_innermost),
		cmocka_unit_test(containers_are_known_by_their_ids),
		cmocka_unit_test(groups_hold_what_is_below_them),
		cmocka_unit_test(units_are_named_as_systemctl_does),
		cmocka_unit_test(names_that_do_not_fit_are_left_out),
	};

	return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
