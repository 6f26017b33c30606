/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Ends what bpf_shim.h began: behind this the test's own code follows. */
#undef const
#undef LICENSE
#pragma GCC diagnostic pop
