/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Looks through what a file loads without leave to write, in windows that overlap, for texts that
 * only an allocator's own code has; through the first writable bytes for Go's note of how it was
 * built. A program that speaks of an allocator may have one of its texts, so most need two. All
 * marks are looked for in one pass that skips as far as no mark can end; versions in another, and
 * only in files that have the allocator. Called by what knows files.
 */
#include "allocator_marks.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pagestay/base/cleanup.h"

#define SCAN_BYTES  (128u << 20) /* of one file; what lies behind is not looked at */
#define GO_BYTES    (1u << 20)
#define WINDOW      (256u << 10)
#define MARGIN      128 /* bytes before and behind that a match may need */
#define MARK_BYTES  12  /* that decide how far to skip; no mark is shorter */
#define PAIRS       65536
#define HEX_DIGITS  "0123456789abcdef"
#define VERSION_ANY "0123456789.+-_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

/*
 * The first byte and the rest, so that our own file does not hold the marks. All parts of a name,
 * each by any of its marks, make it found.
 */
static const struct mark {
	enum allocator_name name;
	uint8_t part;
	char first;
	const char *rest;
} marks[] = {
	{ALLOCATOR_GLIBC, 1, 'm', "alloc(): corrupted top size"},
	{ALLOCATOR_GLIBC, 2, 'c', "orrupted size vs. prev_size"},
	{ALLOCATOR_JEMALLOC, 1, '<', "jemalloc>: "},
	{ALLOCATOR_JEMALLOC, 2, 'd', "irty_decay_ms"},
	{ALLOCATOR_JEMALLOC, 2, 'l', "g_dirty_mult"},
	{ALLOCATOR_TCMALLOC, 1, 't', "cmalloc.max_total_thread_cache_bytes"},
	{ALLOCATOR_TCMALLOC, 2, 't', "cmalloc.current_total_thread_cache_bytes"},
	{ALLOCATOR_MIMALLOC, 1, 'm', "imalloc: error: "},
	{ALLOCATOR_MIMALLOC, 2, 'm', "imalloc: warning: "},
	/* musl's printf and strerror, and the size classes of its malloc from 1.2.1 on. */
	{ALLOCATOR_MUSL, 1, '-', "0X+0X 0X-0x+0x 0x"},
	{ALLOCATOR_MUSL, 1, 'N', "o error information"},
	{ALLOCATOR_MUSL, 1, '\x14', "\0\x19\0\x1f\0\x24\0\x2a\0\x32\0\x3f"},
	{ALLOCATOR_GO, 1, 'a', "ll goroutines are asleep - deadlock!"},
	{ALLOCATOR_GO, 2, 'm', "call called on m->g0 stack"},
	{ALLOCATOR_V8, 1, 'I', "neffective mark-compacts near heap limit"},
};

#define MARKS ((unsigned)(sizeof(marks) / sizeof(marks[0])))

/* The one mark with zeros in it. */
#define SIZE_CLASSES_BYTES 14

static const char go_magic[] = "\xff Go buildinf:";

/* How a version is written: around a text, of these characters, perhaps as a string of its own. */
static const struct version_rule {
	enum allocator_name name;
	const char *text, *before, *after;
	bool keeps_text; /* the text is part of the version */
	bool begins;     /* a zero before it */
	bool ends;       /* a zero behind it */
	uint8_t dots;    /* at least */
	uint8_t digits;  /* at most, behind the text; 0: any */
} version_rules[] = {
	{ALLOCATOR_GLIBC, "release version ", "", "0123456789.", .dots = 1},
	{ALLOCATOR_JEMALLOC, "-g", "0123456789.-", HEX_DIGITS, true, true, true, 2, 8},
	{ALLOCATOR_TCMALLOC, "gperftools ", "", "0123456789.", .dots = 1},
	{ALLOCATOR_MUSL, "1.", "", "0123456789.", true, true, true, 2, 0},
	{ALLOCATOR_JVM, " VM (", "", VERSION_ANY, .dots = 1},
	{ALLOCATOR_V8, "-node.", "0123456789.", "0123456789", true, true, true, 3, 0},
	{ALLOCATOR_CPYTHON, "cpython-", "", "0123456789", .begins = true, .ends = true},
};

/*
 * Windows.
 */

/* Matches that begin in [from, to) are this window's; there are up to MARGIN bytes around them. Not
 * 0 ends the scan, which returns it. */
typedef int scan_visit(void *context, const char *bytes, size_t length, size_t from, size_t to);

static int scan_range(const struct elf_file *file, uint64_t offset, uint64_t length, char *window,
	scan_visit *visit, void *context)
{
	uint64_t done = 0; /* matches that begin before it were looked for */

	while (done < length) {
		const uint64_t begin = done < MARGIN ? 0 : done - MARGIN;
		const size_t bytes = length - begin < WINDOW ? length - begin : WINDOW;
		const bool is_last = begin + bytes == length;
		const size_t from = done - begin, to = is_last ? bytes : bytes - MARGIN;
		int result = elf_file_read(file, offset + begin, window, bytes);

		if (!result)
			result = visit(context, window, bytes, from, to);
		if (result)
			return result;
		done = begin + to;
	}
	return 0;
}

/* Old linkers put constants among the code; then there is no segment for them alone. */
static bool has_constants_apart(const struct elf_file *file)
{
	for (unsigned i = 0; i < file->segment_count; i++)
		if (file->segments[i].p_type == PT_LOAD &&
			!(file->segments[i].p_flags & (PF_W | PF_X)))
			return true;
	return false;
}

/* What segments with all of `flags` and none of `without` take from the file. */
static int scan_segments(const struct elf_file *file, uint32_t flags, uint32_t without,
	uint64_t bytes_max, scan_visit *visit, void *context)
{
	char *window = malloc(WINDOW);
	int result = 0;

	if (!window)
		return -ENOMEM;
	for (unsigned i = 0; i < file->segment_count && !result; i++) {
		const Elf64_Phdr *segment = &file->segments[i];
		uint64_t length = segment->p_filesz;

		if (segment->p_type != PT_LOAD || (segment->p_flags & flags) != flags ||
			(segment->p_flags & without) || segment->p_offset >= file->bytes)
			continue;
		if (length > file->bytes - segment->p_offset)
			length = file->bytes - segment->p_offset;
		if (length > bytes_max)
			length = bytes_max;
		bytes_max -= length;
		result = scan_range(file, segment->p_offset, length, window, visit, context);
	}
	free(window);
	return result;
}

static int scan_constants(const struct elf_file *file, scan_visit *visit, void *context)
{
	return scan_segments(file, PF_R, has_constants_apart(file) ? PF_W | PF_X : PF_W, SCAN_BYTES,
		visit, context);
}

/*
 * Marks. A pair of bytes tells how far the next end of the first MARK_BYTES of any mark can be.
 */

struct finder {
	uint8_t skip[PAIRS];
	char begin[MARKS][MARK_BYTES];
	uint8_t found[ALLOCATOR_NAMES]; /* parts */
};

static size_t mark_length(const struct mark *mark)
{
	return mark->rest[0] ? 1 + strlen(mark->rest) : SIZE_CLASSES_BYTES;
}

static unsigned pair_at(const char *bytes)
{
	return (unsigned)(unsigned char)bytes[0] << 8 | (unsigned char)bytes[1];
}

static void finder_init(struct finder *finder)
{
	memset(finder->skip, MARK_BYTES - 1, sizeof(finder->skip));
	memset(finder->found, 0, sizeof(finder->found));
	for (unsigned i = 0; i < MARKS; i++) {
		char *begin = finder->begin[i];

		begin[0] = marks[i].first;
		memcpy(begin + 1, marks[i].rest, MARK_BYTES - 1);
		for (unsigned end = 1; end < MARK_BYTES; end++) {
			const unsigned pair = pair_at(begin + end - 1);

			if (finder->skip[pair] > MARK_BYTES - 1 - end)
				finder->skip[pair] = MARK_BYTES - 1 - end;
		}
	}
}

static void match_marks(struct finder *finder, const char *bytes, size_t length)
{
	for (unsigned i = 0; i < MARKS; i++) {
		const size_t whole = mark_length(&marks[i]);

		if (whole <= length && memcmp(bytes, finder->begin[i], MARK_BYTES) == 0 &&
			memcmp(bytes + 1, marks[i].rest, whole - 1) == 0)
			finder->found[marks[i].name] |= marks[i].part;
	}
}

static int visit_marks(void *context, const char *bytes, size_t length, size_t from, size_t to)
{
	struct finder *finder = context;
	size_t at = from;

	while (at < to && at + MARK_BYTES <= length) {
		const uint8_t skip = finder->skip[pair_at(bytes + at + MARK_BYTES - 2)];

		if (skip == 0)
			match_marks(finder, bytes + at, length - at);
		at += skip ? skip : 1;
	}
	return 0;
}

/* The note is aligned, and close to where what can be written begins. */
static int visit_go(void *context, const char *bytes, size_t length, size_t from, size_t to)
{
	const char *at = bytes + from;

	while ((at = memmem(at, bytes + length - at, go_magic, sizeof(go_magic) - 1))) {
		char *version = context;
		size_t count;

		if ((size_t)(at - bytes) >= to)
			return 0;
		/* Since 1.18 the version stands behind 32 bytes, with its length before it. */
		count = at + 33 < bytes + length && (at[15] & 2) ? (unsigned char)at[32] : 0;
		if (count >= ALLOCATOR_VERSION_BYTES || count > (size_t)(bytes + length - at) - 33)
			count = 0;
		if (version)
			memcpy(version, at + 33, count);
		return 1;
	}
	return 0;
}

static int find_go(const struct elf_file *file, char *ret_version)
{
	return scan_segments(file, PF_R | PF_W, 0, GO_BYTES, visit_go, ret_version);
}

int marks_find(const struct elf_file *file, uint32_t *ret_names)
{
	_cleanup_(cleanup_free) struct finder *finder = malloc(sizeof(*finder));
	uint8_t needed[ALLOCATOR_NAMES] = {};
	uint32_t names = 0;
	int result;

	if (!finder)
		return -ENOMEM;
	finder_init(finder);
	result = scan_constants(file, visit_marks, finder);
	if (result < 0)
		return result;
	for (unsigned i = 0; i < MARKS; i++)
		needed[marks[i].name] |= marks[i].part;
	for (unsigned i = 0; i < ALLOCATOR_NAMES; i++)
		if (needed[i] && finder->found[i] == needed[i])
			names |= 1u << i;
	result = find_go(file, NULL);
	if (result < 0)
		return result;
	/* musl's texts alone are few, and may belong to something that the program carries. */
	if (names & 1u << ALLOCATOR_GLIBC)
		names &= ~(1u << ALLOCATOR_MUSL);
	*ret_names = result ? names | 1u << ALLOCATOR_GO : names;
	return 0;
}

/*
 * Versions.
 */

struct version_search {
	struct version_rule rule;
	char version[ALLOCATOR_VERSION_BYTES];
};

static unsigned count_dots(const char *text)
{
	unsigned dots = 0;

	for (; *text; text++)
		dots += *text == '.';
	return dots;
}

/* The version around bytes[at], where the rule's text is; false if none is written there. */
static bool take_version(struct version_search *search, const char *bytes, size_t length, size_t at)
{
	const struct version_rule *rule = &search->rule;
	const size_t text = strlen(rule->text);
	size_t begin = at, end = at + text, kept;
	char *version = search->version;

	while (begin > 0 && bytes[begin - 1] && strchr(rule->before, bytes[begin - 1]))
		begin--;
	while (end < length && bytes[end] && strchr(rule->after, bytes[end]))
		end++;
	if ((rule->begins && (begin == 0 || bytes[begin - 1])) ||
		(rule->ends && (end == length || bytes[end])))
		return false;
	kept = end - at - text;
	if (rule->digits && kept > rule->digits)
		kept = rule->digits;
	begin = rule->keeps_text ? begin : at + text;
	kept = at + text + kept - begin;
	if (kept >= sizeof(search->version))
		kept = sizeof(search->version) - 1;
	memcpy(version, bytes + begin, kept);
	while (kept && version[kept - 1] == '.')
		kept--;
	version[kept] = '\0';
	return isdigit((unsigned char)version[0]) && count_dots(version) >= rule->dots;
}

static int visit_version(void *context, const char *bytes, size_t length, size_t from, size_t to)
{
	struct version_search *search = context;
	const size_t text = strlen(search->rule.text);
	const char *at = bytes + from;

	while ((at = memmem(at, bytes + length - at, search->rule.text, text))) {
		if ((size_t)(at - bytes) >= to)
			return 0;
		if (take_version(search, bytes, length, at - bytes))
			return 1;
		at++;
	}
	return 0;
}

static int search_version(const struct elf_file *file, const struct version_rule *rule,
	char ret_version[ALLOCATOR_VERSION_BYTES])
{
	struct version_search search = {.rule = *rule};
	int result = scan_constants(file, visit_version, &search);

	if (result == 1)
		memcpy(ret_version, search.version, sizeof(search.version));
	return result;
}

/* CPython: its cache's tag is "cpython-311"; of the versions in the file, "3.11.2" is its own. */
static int refine_version(const struct elf_file *file, char ret_version[ALLOCATOR_VERSION_BYTES])
{
	char text[ALLOCATOR_VERSION_BYTES + 2];
	const struct version_rule rule = {ALLOCATOR_CPYTHON, text, "", "0123456789+abrc",
		.keeps_text = true, .ends = true, .dots = 2};

	(void)snprintf(text, sizeof(text), "%c.%s.", ret_version[0], ret_version + 1);
	(void)snprintf(ret_version, ALLOCATOR_VERSION_BYTES, "%.*s", (int)strlen(text) - 1, text);
	return search_version(file, &rule, ret_version);
}

/* mimalloc's is what mi_version() returns: `mov eax, 209; ret` for 2.0.9. */
static int mimalloc_version(const struct elf_file *file, char ret_version[ALLOCATOR_VERSION_BYTES])
{
	static const unsigned char endbr[] = {0xf3, 0x0f, 0x1e, 0xfa};
	unsigned char code[16];
	const unsigned char *at = code;
	Elf64_Sym symbol;
	uint64_t offset;
	uint32_t value;

	if (file->header.e_machine != EM_X86_64 || elf_file_symbol(file, "mi_version", &symbol) ||
		elf_file_offset(file, symbol.st_value, &offset) ||
		elf_file_read(file, offset, code, sizeof(code)))
		return 0;
	if (memcmp(at, endbr, sizeof(endbr)) == 0)
		at += sizeof(endbr);
	memcpy(&value, at + 1, sizeof(value));
	if (at[0] == 0xb8 && at[5] == 0xc3 && value >= 100 && value < 1000)
		(void)snprintf(ret_version, ALLOCATOR_VERSION_BYTES, "%u.%u.%u", value / 100,
			value / 10 % 10, value % 10);
	return 0;
}

int marks_version(const struct elf_file *file, enum allocator_name name,
	char ret_version[ALLOCATOR_VERSION_BYTES])
{
	char version[ALLOCATOR_VERSION_BYTES] = "";
	int result = 0;

	for (size_t i = 0; i < sizeof(version_rules) / sizeof(version_rules[0]); i++)
		if (version_rules[i].name == name)
			result = search_version(file, &version_rules[i], version);
	if (name == ALLOCATOR_GO)
		result = find_go(file, version);
	if (name == ALLOCATOR_MIMALLOC)
		result = mimalloc_version(file, version);
	if (name == ALLOCATOR_CPYTHON && result == 1)
		result = refine_version(file, version);
	if (result < 0)
		return result;
	memcpy(ret_version, version, sizeof(version));
	return 0;
}

/*
 * jemalloc's prefix.
 */

struct prefix_search {
	char text[32];
};

static int visit_prefix(void *context, const char *bytes, size_t length, size_t from, size_t to)
{
	static const char variable[] = "MALLOC_CONF";
	struct prefix_search *search = context;
	const char *at = bytes + from;

	while ((at = memmem(at, bytes + length - at, variable, sizeof(variable)))) {
		const char *begin = at;

		if ((size_t)(at - bytes) >= to)
			return 0;
		while (begin > bytes && (isupper((unsigned char)begin[-1]) || begin[-1] == '_'))
			begin--;
		if (begin < at && (begin == bytes || !begin[-1]) &&
			(size_t)(at - begin) < sizeof(search->text)) {
			memcpy(search->text, begin, at - begin);
			return 1;
		}
		at++;
	}
	return 0;
}

int marks_prefix(const struct elf_file *file, char *ret_prefix, size_t prefix_bytes)
{
	struct prefix_search search = {};
	int result = scan_constants(file, visit_prefix, &search);

	if (result < 0)
		return result;
	for (char *at = search.text; *at; at++)
		*at = (char)tolower((unsigned char)*at);
	(void)snprintf(ret_prefix, prefix_bytes, "%s", search.text);
	return 0;
}
