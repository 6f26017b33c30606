/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Stands for the kernel's types where a test includes the BPF programs: they come from the shim. */
#include "bpf_shim.h"
