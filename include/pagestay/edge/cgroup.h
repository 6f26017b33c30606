/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who a process belongs to, by the path of its control group.
 */
#ifndef PAGESTAY_EDGE_CGROUP_H
#define PAGESTAY_EDGE_CGROUP_H

#include "pagestay/edge/event.h"

#define CGROUP_UNIT_BYTES      128
#define CGROUP_CONTAINER_BYTES 13 /* 12 digits, as container tools show them */

/*
 * systemd's unit: the innermost part of the path that names a service, scope, socket or mount. A
 * user's unit is below his manager's (user@1000.service), and is the one that is told. Empty: none,
 * or a name that is too long.
 */
void cgroup_unit(const char *path, char ret_unit[CGROUP_UNIT_BYTES]);

/*
 * The id of the innermost container: a part of the path that is 64 hexadecimal digits, with what
 * Docker, Podman, containerd and CRI-O put before and behind (`docker-<id>.scope`,
 * `cri-containerd:<id>`). Empty: none.
 */
void cgroup_container(const char *path, char ret_container[CGROUP_CONTAINER_BYTES]);

/* Whether the path is the group's or below it; a group's slashes at its end do not count. */
bool cgroup_is_in(const char *path, const char *group);

/* As systemctl takes names: one without a dot is a service's. */
bool cgroup_unit_is(const char *unit, const char *name);

#endif
