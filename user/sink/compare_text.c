/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A comparison for people: a table of 80 columns, or the same cells in Markdown. Owns nothing.
 * Names are anybody's bytes: in text what is not printable ASCII is escaped; in Markdown they stand
 * in code spans, where nothing but a backtick ends them and, in a table, nothing but a bar a cell,
 * and both are escaped. Called by the app.
 */
#include "pagestay/sink/compare.h"
#include "text_sink.h"

#include "pagestay/base/cleanup.h"
#include "pagestay/base/text.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#define NS_A_SECOND  1e9
#define WORD_COLUMNS 74
#define CODE_COLUMNS 120
#define NOTES        16 /* more than there are */
#define NOTE_BYTES   160
#define OLD_HEAP_NS  1000000000ull

/* Both widest: 2^63 of anything. */
#define NUMBER_END 9223372036854775808.0

struct cells {
	char values[2][CELL_BYTES];
	char difference[CELL_BYTES];
	char ratio[CELL_BYTES];
};

static const char letters[2] = {'A', 'B'};

/* Cells */

static uint64_t whole(double value)
{
	return value < NUMBER_END ? (uint64_t)(value + 0.5) : INT64_MAX;
}

/* Three digits, but whole numbers whole; never an exponent. */
static void cell_number(double value, char out[CELL_BYTES])
{
	if (value >= 99.95 || value == 0)
		text_count(whole(value), out);
	else
		(void)snprintf(out, CELL_BYTES, "%.*f",
			value >= 9.995  ? 1
			: value >= 0.01 ? 2
					: 4,
			value);
}

static void cell_seconds(double value, char out[CELL_BYTES])
{
	char number[CELL_BYTES];

	cell_number(value, number);
	(void)snprintf(out, CELL_BYTES, "%.12s s", number);
}

/* A size of a value that is known and not negative. */
static void cell_size(enum compare_unit unit, double value, char out[CELL_BYTES])
{
	switch (unit) {
	case COMPARE_BYTES:
		text_bytes(whole(value), out);
		break;
	case COMPARE_COUNT:
		text_count(whole(value), out);
		break;
	case COMPARE_REAL:
		cell_number(value, out);
		break;
	case COMPARE_SHARE:
		(void)snprintf(out, CELL_BYTES, "%.0f%%", 100 * (value < 1 ? value : 1));
		break;
	case COMPARE_SECONDS:
		cell_seconds(value, out);
		break;
	}
}

static void cell_value(enum compare_unit unit, double value, char out[CELL_BYTES])
{
	if (text_is_real(value))
		cell_size(unit, value, out);
	else
		cell_unknown(out);
}

static void cell_difference(enum compare_unit unit, double value, char out[CELL_BYTES])
{
	char size[CELL_BYTES];

	if (!isfinite(value)) {
		cell_unknown(out);
		return;
	}
	cell_size(unit, fabs(value), size);
	if (size[0] == '0' && !strpbrk(size, "123456789"))
		(void)snprintf(out, CELL_BYTES, "%s", size);
	else
		(void)snprintf(out, CELL_BYTES, "%c%.14s", value > 0 ? '+' : '-', size);
}

static void cell_ratio(double ratio, char out[CELL_BYTES])
{
	if (!text_is_real(ratio))
		cell_unknown(out);
	else if (ratio > 0 && ratio < 0.005)
		memcpy(out, "<0.01", 6);
	else if (ratio < 99.995)
		(void)snprintf(out, CELL_BYTES, "%.2f", ratio);
	else
		text_count(whole(ratio), out);
}

static struct cells cells_of(const struct compare_row *row)
{
	struct cells cells = {};

	cell_value(row->unit, row->values[0], cells.values[0]);
	cell_value(row->unit, row->values[1], cells.values[1]);
	cell_difference(row->unit, compare_difference(row), cells.difference);
	cell_ratio(compare_ratio(row), cells.ratio);
	return cells;
}

/* Who stands on a side, and what is to be known of its numbers: alike in both formats. */

static void allocator_words(const struct column *column, char *out, size_t out_bytes)
{
	char version[ALLOCATOR_VERSION_BYTES];

	text_for_terminal(column->allocator_version, strlen(column->allocator_version),
		sizeof(version) - 1, version, sizeof(version));
	if (column->allocator == ALLOCATOR_UNKNOWN)
		out[0] = '\0';
	else
		(void)snprintf(out, out_bytes, ", %s%s%s", allocator_names[column->allocator],
			version[0] ? " " : "", version);
}

static void watched_words(const struct column *column, char *out, size_t out_bytes)
{
	char duration[CELL_BYTES];
	char intervals[CELL_BYTES];

	cell_value(COMPARE_SECONDS, (double)column->observed_ns / NS_A_SECOND, duration);
	text_count(column->intervals, intervals);
	(void)snprintf(out, out_bytes, "%s in %s interval%s%s", duration, intervals,
		column->intervals == 1 ? "" : "s", column->exited ? ", exited" : "");
}

/* Sentences below the table. What does not fit is not said; there is room for all there are. */
struct notes {
	unsigned count;
	char texts[NOTES][NOTE_BYTES];
};

__attribute__((format(printf, 2, 3))) static void note(struct notes *notes, const char *format, ...)
{
	va_list arguments;

	if (notes->count == NOTES)
		return;
	va_start(arguments, format);
	(void)vsnprintf(notes->texts[notes->count++], NOTE_BYTES, format, arguments);
	va_end(arguments);
}

static void note_losses(struct notes *notes, char letter, const struct columns_head *head)
{
	char records[CELL_BYTES], entries[CELL_BYTES], pages[CELL_BYTES], runs[CELL_BYTES];
	char rows[CELL_BYTES];
	bool lost = head->unfolded;

	for (int i = 0; i < PS_LOSSES; i++)
		lost |= head->lost[i] != 0;
	if (head->complete)
		return;
	if (!lost) {
		note(notes,
			"%c is INCOMPLETE: its recording is damaged, and what is sound ends early.",
			letter);
		return;
	}
	text_count(head->lost[PS_LOST_EVENTS], records);
	text_count(head->lost[PS_LOST_MAP_FULL], entries);
	text_count(head->lost[PS_LOST_PAGES], pages);
	text_count(head->lost[PS_LOST_RUNS], runs);
	note(notes, "%c LOST %s records, %s map entries, %s page records, %s runs: all too low.",
		letter, records, entries, pages, runs);
	text_count(head->unfolded, rows);
	if (head->unfolded)
		note(notes, "%c has more than %d processes: %s rows were left out.", letter,
			COMPARE_PROCESSES, rows);
}

static void note_estimates(struct notes *notes, char letter, const struct column *column)
{
	char one_in[CELL_BYTES], lost[CELL_BYTES];

	if (text_is_real(column->sample_ratio) && column->sample_ratio > 0 &&
		column->sample_ratio < 1) {
		text_count(whole(1 / column->sample_ratio), one_in);
		note(notes,
			"%c: one page in %s was tracked; kept pages and survival are estimates.",
			letter, one_in);
	}
	if (column->requests_estimated)
		note(notes, "%c: requests are an estimate: some are merged or encrypted.", letter);
	if (column->heap_lost_bytes) {
		text_bytes(column->heap_lost_bytes, lost);
		note(notes, "%c: its x-rays lost %s of the heap: live and held free are too low.",
			letter, lost);
	}
	if (column->live_is_pages && column->live_bytes != REPORT_UNKNOWN)
		note(notes, "%c: live heap is whole pages that hold live allocations.", letter);
}

static void note_idle(struct notes *notes, const struct column *const columns[2])
{
	char idle[2][CELL_BYTES];

	for (int i = 0; i < 2; i++) {
		if (columns[i]->rss_idle_bytes == REPORT_UNKNOWN)
			cell_unknown(idle[i]);
		else
			cell_seconds((double)columns[i]->idle_ns / NS_A_SECOND, idle[i]);
	}
	if (columns[0]->idle_ns || columns[1]->idle_ns)
		note(notes, "After idle: A %s, B %s after the last interval with requests.",
			idle[0], idle[1]);
}

/* How old the x-rays are at the end, if that is worth a word. */
static void note_heap_age(struct notes *notes, const struct column *const columns[2])
{
	char age[2][CELL_BYTES];
	bool old = false;

	for (int i = 0; i < 2; i++) {
		uint64_t age_ns = columns[i]->observed_ns - columns[i]->heap_at_ns;

		cell_unknown(age[i]);
		if (!columns[i]->heap_at_ns)
			continue;
		cell_seconds((double)age_ns / NS_A_SECOND, age[i]);
		old |= age_ns > OLD_HEAP_NS;
	}
	if (old)
		note(notes, "Heaps: as of A %s, B %s before the end.", age[0], age[1]);
}

static struct notes notes_of(const struct comparison *comparison)
{
	struct notes notes = {};

	for (int i = 0; i < 2; i++)
		note_losses(&notes, letters[i], comparison->heads[i]);
	for (int i = 0; i < 2; i++)
		note_estimates(&notes, letters[i], comparison->columns[i]);
	note_idle(&notes, comparison->columns);
	note_heap_age(&notes, comparison->columns);
	note(&notes, "Highest: at an interval's end.  Asked, returned: address space, not RSS.");
	return notes;
}

/* Goes out in one write. Takes what open_memstream made. */
static int finish(FILE *page, char **bytes, const size_t *length, FILE *out)
{
	bool failed = ferror(page);

	if (fclose(page) || failed)
		return -ENOMEM;
	return sink_put(out, *bytes, *length);
}

/* Text */

static void put_side(const struct sink_text *text, FILE *page, const struct comparison *comparison,
	int side, const char *word)
{
	const struct column *column = comparison->columns[side];
	char comm[4 * PS_COMM_BYTES], name[WORD_COLUMNS + 1];
	char allocator[64], watched[64], pid[CELL_BYTES];

	text_for_terminal(column->comm, strlen(column->comm), sizeof(comm) - 1, comm, sizeof(comm));
	text_for_terminal(word, strlen(word), WORD_COLUMNS, name, sizeof(name));
	allocator_words(column, allocator, sizeof(allocator));
	watched_words(column, watched, sizeof(watched));
	text_put_line(text, page, "%c  %s (pid %u)%s: %s", letters[side], comm, column->key.tgid,
		allocator, watched);
	(void)snprintf(pid, sizeof(pid), "%u", column->key.tgid);
	if (strcmp(name, pid) != 0)
		text_put_line(text, page, "   %s", name);
}

static void put_row(const struct sink_text *text, FILE *page, const struct compare_row *row)
{
	const struct cells cells = cells_of(row);

	text_put_line(text, page, "%-24s %12s %12s %12s %10s", row->title, cells.values[0],
		cells.values[1], cells.difference, cells.ratio);
}

int compare_write_text(FILE *out, const struct comparison *comparison, const char *const words[2])
{
	_cleanup_(cleanup_free) char *bytes = NULL;
	const struct sink_text text = {.columns = MIN_COLUMNS};
	const struct notes notes = notes_of(comparison);
	size_t length = 0;
	FILE *page = open_memstream(&bytes, &length);

	if (!page)
		return -ENOMEM;
	for (int side = 0; side < 2; side++)
		put_side(&text, page, comparison, side, words[side]);
	text_put_line(&text, page, "\n%-24s %12s %12s %12s %10s", "", "A", "B", "B - A", "B / A");
	for (size_t i = 0; i < comparison->row_count; i++)
		put_row(&text, page, &comparison->rows[i]);
	for (unsigned i = 0; i < notes.count; i++)
		text_put_line(&text, page, "%s", notes.texts[i]);
	return finish(page, &bytes, &length, out);
}

/* Markdown */

/* As a code span: what is not printable ASCII, a backtick and a bar become \xHH. */
static void put_code(FILE *page, const char *bytes)
{
	char printable[CODE_COLUMNS + 1];

	text_for_terminal(bytes, strlen(bytes), CODE_COLUMNS, printable, sizeof(printable));
	(void)fputc('`', page);
	for (const char *byte = printable[0] ? printable : "-"; *byte; byte++) {
		if (*byte == '`' || *byte == '|')
			(void)fprintf(page, "\\x%02x", (unsigned)*byte);
		else
			(void)fputc(*byte, page);
	}
	(void)fputc('`', page);
}

/* What is from a process's memory or files is no word of ours, and stands in a code span too. */
static void put_markdown_side(
	FILE *page, const struct comparison *comparison, int side, const char *word)
{
	const struct column *column = comparison->columns[side];
	char allocator[64], watched[64];

	allocator_words(column, allocator, sizeof(allocator));
	watched_words(column, watched, sizeof(watched));
	(void)fprintf(page, "- **%c**: ", letters[side]);
	put_code(page, column->comm);
	(void)fprintf(page, " (pid %u)", column->key.tgid);
	if (allocator[0]) {
		(void)fputs(", ", page);
		put_code(page, allocator + 2);
	}
	(void)fprintf(page, ": %s; ", watched);
	put_code(page, word);
	(void)fputc('\n', page);
}

static void put_markdown_head(FILE *page, const struct comparison *comparison)
{
	(void)fputs("\n| |", page);
	for (int side = 0; side < 2; side++) {
		(void)fprintf(page, " %c: ", letters[side]);
		put_code(page, comparison->columns[side]->comm);
		(void)fputs(" |", page);
	}
	(void)fputs(" B - A | B / A |\n|:--|--:|--:|--:|--:|\n", page);
}

static void put_markdown_row(FILE *page, const struct compare_row *row)
{
	const struct cells cells = cells_of(row);

	(void)fprintf(page, "| %s | %s | %s | %s | %s |\n", row->title, cells.values[0],
		cells.values[1], cells.difference, cells.ratio);
}

int compare_write_markdown(
	FILE *out, const struct comparison *comparison, const char *const words[2])
{
	_cleanup_(cleanup_free) char *bytes = NULL;
	const struct notes notes = notes_of(comparison);
	size_t length = 0;
	FILE *page = open_memstream(&bytes, &length);

	if (!page)
		return -ENOMEM;
	for (int side = 0; side < 2; side++)
		put_markdown_side(page, comparison, side, words[side]);
	put_markdown_head(page, comparison);
	for (size_t i = 0; i < comparison->row_count; i++)
		put_markdown_row(page, &comparison->rows[i]);
	(void)fputc('\n', page);
	for (unsigned i = 0; i < notes.count; i++)
		(void)fprintf(page, "- %s\n", notes.texts[i]);
	return finish(page, &bytes, &length, out);
}
