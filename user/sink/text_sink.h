/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the files of the text sink share: its state, lines, and cells. Private to them.
 */
#ifndef PAGESTAY_SINK_TEXT_SINK_H
#define PAGESTAY_SINK_TEXT_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "pagestay/sink/sink.h"

#define MIN_COLUMNS 80
#define MAX_COLUMNS 1024

#define PID_COLUMNS         7 /* 4194304, the kernel's greatest */
#define NAME_INDENT_COLUMNS (PID_COLUMNS + 1)
#define ROUTE_PAGES_COLUMNS 32 /* what text_put_route_pages writes */

struct sink_text {
	struct sink sink;
	FILE *out;
	int columns;
	int comm_columns;
	size_t top;
	bool begun; /* the first report was written */
	int error;  /* the first one */
};

/* A line of printable ASCII, cut to the terminal's width. */
__attribute__((format(printf, 3, 4))) void text_put_line(
	const struct sink_text *text, FILE *page, const char *format, ...);

/*
 * Cells: the text of one number, `-` when it is not known. A real number is not known when it is
 * not finite or negative.
 */
#define CELL_BYTES 16

bool text_is_real(double value);
void cell_unknown(char out[CELL_BYTES]);
void cell_bytes(uint64_t bytes, char out[CELL_BYTES]);    /* 5 columns at most */
void cell_count(uint64_t count, char out[CELL_BYTES]);    /* 6 */
void cell_change(int64_t bytes, char out[CELL_BYTES]);    /* 6: with its sign */
void cell_average(double average, char out[CELL_BYTES]);  /* 6 */
void cell_share(double ratio, char out[CELL_BYTES]);      /* 4: `100%` */
void cell_duration(double seconds, char out[CELL_BYTES]); /* 4: `<1s`, `1.5m`, `>99d` */
/* In bytes: 5 columns at most. */
void cell_pages(uint64_t pages, uint64_t page_bytes, char out[CELL_BYTES]);

/* A count of something: neither 0 nor unknown. */
static inline bool is_some(uint64_t count)
{
	return count != 0 && count != REPORT_UNKNOWN;
}

/*
 * What is known of pages (text_pages.c). Nothing is written where there is nothing to say.
 */

/* Up to four lines below the process's row. */
void text_put_pages(const struct sink_text *text, FILE *page, const struct report_process *process);

/* The columns of a route between the count of its requests and its name. */
void text_put_route_pages(
	FILE *page, const struct report_route *route, const struct report_process *process);
void text_put_route_titles(FILE *page);

/* `LABEL: requests 93%, overlapping 2%, background 5%`, of any unit. */
void text_put_shares(const struct sink_text *text, FILE *page, const char *label,
	const struct report_attribution *attribution);

/* Which share of the pages is tracked, if not all are. */
void text_put_sampling(const struct sink_text *text, FILE *page,
	const struct report_process *processes, size_t count);

/* What an x-ray found, and a verdict that asks for something (text_verdict.c). */
void text_put_verdict(
	const struct sink_text *text, FILE *page, const struct report_process *process);

/* The words that the lines above use. */
void text_put_pages_legend(const struct sink_text *text, FILE *page);

#endif
