/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the kernel programs write is what userspace reads: the types of the shared header as this
 * compiler lays them out, against the types in the BPF object's BTF. And every name in that object
 * is one that the kernel keeps whole.
 */
#include <setjmp.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pagestay/abi.h"

#define NAME_BYTES_MOST 15 /* BPF_OBJ_NAME_LEN without the terminator */

/* The linked object of the build tree that this program is in. */
static void object_path(char path[PATH_MAX])
{
	ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);

	assert_in_range(length, 1, PATH_MAX - 2);
	path[length] = '\0';
	*strrchr(path, '/') = '\0';
	length = strlen(path);
	assert_in_range(snprintf(path + length, PATH_MAX - length, "/../../bpf/pagestay.o"), 1,
		PATH_MAX - length - 1);
}

static int setup(void **state)
{
	char path[PATH_MAX];

	(void)libbpf_set_print(NULL);
	object_path(path);
	*state = btf__parse_elf(path, NULL);
	assert_int_equal(libbpf_get_error(*state), 0);
	return 0;
}

static int teardown(void **state)
{
	btf__free(*state);
	return 0;
}

/*
 * Layout. A member's array length and size are part of it, so a counter that only one side knows
 * is found.
 */

struct member {
	const char *name;
	size_t offset;
	size_t bytes;
};

struct layout {
	const char *name;
	size_t bytes;
	struct member members[12];
};

#define MEMBER(type, name)                                                                         \
	{                                                                                          \
#name, offsetof(struct type, name), sizeof(((struct type *)0)->name)               \
	}

static const struct layout layouts[] = {
	{"ps_proc_key", sizeof(struct ps_proc_key),
		{MEMBER(ps_proc_key, start_ns), MEMBER(ps_proc_key, tgid),
			MEMBER(ps_proc_key, pad0)}},
	{"ps_range", sizeof(struct ps_range), {MEMBER(ps_range, start), MEMBER(ps_range, end)}},
	{"ps_proc", sizeof(struct ps_proc),
		{MEMBER(ps_proc, counter), MEMBER(ps_proc, brk), MEMBER(ps_proc, flags),
			MEMBER(ps_proc, open_scan), MEMBER(ps_proc, open), MEMBER(ps_proc, comm),
			MEMBER(ps_proc, reserved)}},
	{"ps_route_key", sizeof(struct ps_route_key),
		{MEMBER(ps_route_key, proc), MEMBER(ps_route_key, hash)}},
	{"ps_route", sizeof(struct ps_route), {MEMBER(ps_route, text), MEMBER(ps_route, requests)}},
};

#define LAYOUTS (sizeof(layouts) / sizeof(layouts[0]))

/* What passes through rings, which have no types; the sizes are asserted on both sides. */
static const struct layout records[] = {
	{"ps_record", sizeof(struct ps_record),
		{MEMBER(ps_record, proc), MEMBER(ps_record, kind), MEMBER(ps_record, pad0)}},
	{"ps_page", sizeof(struct ps_page),
		{MEMBER(ps_page, kind), MEMBER(ps_page, place), MEMBER(ps_page, flags),
			MEMBER(ps_page, tid), MEMBER(ps_page, to_tid), MEMBER(ps_page, pad0),
			MEMBER(ps_page, page), MEMBER(ps_page, pages), MEMBER(ps_page, set),
			MEMBER(ps_page, to), MEMBER(ps_page, at_ns)}},
	{"ps_page_record", sizeof(struct ps_page_record),
		{MEMBER(ps_page_record, proc), MEMBER(ps_page_record, page)}},
};

#define RECORDS (sizeof(records) / sizeof(records[0]))

static const struct btf_type *struct_of(const struct btf *btf, const char *name)
{
	int id = btf__find_by_name_kind(btf, name, BTF_KIND_STRUCT);

	if (id < 0)
		fail_msg("struct %s is not in the object", name);
	return btf__type_by_id(btf, id);
}

static void structs_have_the_same_layout_on_both_sides(void **state)
{
	const struct btf *btf = *state;

	for (size_t i = 0; i < LAYOUTS; i++) {
		const struct btf_type *type = struct_of(btf, layouts[i].name);
		const struct btf_member *member = btf_members(type);

		assert_int_equal(type->size, layouts[i].bytes);
		for (int k = 0; k < btf_vlen(type); k++) {
			const struct member *expected = &layouts[i].members[k];

			assert_non_null(expected->name);
			assert_string_equal(
				btf__name_by_offset(btf, member[k].name_off), expected->name);
			assert_int_equal(btf_member_bitfield_size(type, k), 0);
			assert_int_equal(btf_member_bit_offset(type, k), 8 * expected->offset);
			assert_int_equal(btf__resolve_size(btf, member[k].type), expected->bytes);
		}
		assert_null(layouts[i].members[btf_vlen(type)].name);
	}
}

static void assert_no_hidden_padding(const struct layout *layout)
{
	size_t end = 0;

	for (const struct member *member = layout->members; member->name; member++) {
		assert_int_equal(member->offset, end);
		end += member->bytes;
	}
	assert_int_equal(end, layout->bytes);
}

/* Padding that nobody wrote down is neither zeroed nor compared. */
static void structs_have_no_hidden_padding(void **state)
{
	for (size_t i = 0; i < LAYOUTS; i++)
		assert_no_hidden_padding(&layouts[i]);
	for (size_t i = 0; i < RECORDS; i++)
		assert_no_hidden_padding(&records[i]);
}

/* Variables of the object that userspace sets or reads by index. */
static void arrays_have_the_same_length_on_both_sides(void **state)
{
	static const struct {
		const char *name;
		size_t bytes;
	} variables[] = {
		{"ps_lost", PS_LOSSES * sizeof(uint64_t)},
		{"cfg_port", PS_MAX_PORTS * sizeof(uint16_t)},
		{"cfg_ports", sizeof(uint32_t)},
		{"cfg_self", sizeof(uint32_t)},
		{"cfg_route_seed", sizeof(uint64_t)},
		{"cfg_pages", sizeof(bool)},
		{"cfg_rss_each", sizeof(bool)},
		{"cfg_page_shift", sizeof(uint32_t)},
		{"cfg_page_seed", sizeof(uint64_t)},
	};
	const struct btf *btf = *state;

	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
		int id = btf__find_by_name_kind(btf, variables[i].name, BTF_KIND_VAR);

		if (id < 0)
			fail_msg("variable %s is not in the object", variables[i].name);
		assert_int_equal(
			btf__resolve_size(btf, btf__type_by_id(btf, id)->type), variables[i].bytes);
	}
}

static void names_are_short_enough_for_the_kernel(void **state)
{
	struct bpf_object *object;
	struct bpf_program *program;
	struct bpf_map *map;
	char path[PATH_MAX];
	size_t programs = 0, maps = 0;

	object_path(path);
	object = bpf_object__open_file(path, NULL);
	assert_int_equal(libbpf_get_error(object), 0);
	bpf_object__for_each_program(program, object)
	{
		programs++;
		assert_in_range(strlen(bpf_program__name(program)), 1, NAME_BYTES_MOST);
	}
	bpf_object__for_each_map(map, object)
	{
		maps++;
		assert_in_range(strlen(bpf_map__name(map)), 1, NAME_BYTES_MOST);
	}
	assert_true(programs > 10);
	assert_true(maps > 5);
	bpf_object__close(object);
}

/*
 * Which pages are sampled, the one thing that both sides compute. Blocks of page numbers in a row,
 * as mappings have them.
 */
static void sampled_pages_are_an_even_part_of_the_level_below(void **state)
{
	const uint64_t pages = 1 << 18;

	for (uint64_t seed = 0; seed < 4; seed++) {
		uint64_t first = 0x7f0000000000ull >> 12, count[17] = {};

		for (uint64_t page = first; page < first + pages; page++)
			for (uint32_t level = 0; level <= 16; level++) {
				if (!ps_page_sampled(page, seed * 0x123456789abcdefull, level))
					break;
				count[level]++;
			}
		assert_int_equal(count[0], pages);
		/* Within five standard deviations. */
		for (uint32_t level = 1; level <= 16; level++) {
			int64_t off = (int64_t)count[level] - (int64_t)(pages >> level);

			assert_in_range(off * off, 0, 25 * (pages >> level));
		}
		for (uint64_t page = first; page < first + pages; page++)
			for (uint32_t level = 1; level <= 16; level++)
				if (ps_page_sampled(page, seed, level))
					assert_true(ps_page_sampled(page, seed, level - 1));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(structs_have_the_same_layout_on_both_sides),
		cmocka_unit_test(structs_have_no_hidden_padding),
		cmocka_unit_test(arrays_have_the_same_length_on_both_sides),
		cmocka_unit_test(names_are_short_enough_for_the_kernel),
		cmocka_unit_test(sampled_pages_are_an_even_part_of_the_level_below),
	};

	return cmocka_run_group_tests_name("abi", tests, setup, teardown);
}
