/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The name of a route, from the start of a request line.
 */
#ifndef PAGESTAY_CORE_ROUTE_H
#define PAGESTAY_CORE_ROUTE_H

#include "pagestay/abi.h"

/*
 * `GET /path?query`, `GET http://host/path` and `GET /path` become `GET /path`; what is no request
 * line becomes `-`. Paths are compared as they are sent: not decoded, not case-folded. A text that
 * fills the kernel's room was cut there. `ret` may be `text`.
 */
void route_normalise(const char text[PS_ROUTE_BYTES], char ret[PS_ROUTE_BYTES]);

#endif
