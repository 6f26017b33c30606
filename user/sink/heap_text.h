/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What texts say of allocators and heaps: lines of a label of 12 columns and words. Private to the
 * text writers.
 */
#ifndef PAGESTAY_SINK_HEAP_TEXT_H
#define PAGESTAY_SINK_HEAP_TEXT_H

#include "text_sink.h"

#include "pagestay/edge/heap.h"

/* As many columns as texts are made for. */
int text_columns(unsigned terminal);

/* Words behind a label, wrapped at the terminal's width and set in below the label. */
void text_put_words(const struct sink_text *text, FILE *page, const char *label, const char *words);

/* What is to be copied into a shell or a file: set in less, so that its words are seldom cut. */
void text_put_setting(const struct sink_text *text, FILE *page, const char *setting);

/* One line an allocator, and the settings in its environment. */
void text_put_allocators(
	const struct sink_text *text, FILE *page, const struct allocators *allocators);

/* What the heap's kind has; nothing where no heap was read. */
void text_put_heap(const struct sink_text *text, FILE *page, const struct heap *heap);

#endif
