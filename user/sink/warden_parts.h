/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the parts of the sink for Inner Warden share: warden.c folds reports, warden_records.c makes
 * records of what happened, warden_writer.c has the queue and the thread, warden_jsonl.c and
 * warden_sqlite.c write, warden_state.c keeps what the next run needs. Nobody else includes this.
 */
#ifndef PAGESTAY_SINK_WARDEN_PARTS_H
#define PAGESTAY_SINK_WARDEN_PARTS_H

#include <jansson.h>

#include "pagestay/core/narrative.h"
#include "pagestay/sink/warden.h"

#define WARDEN_SOURCE       "pagestay"
#define WARDEN_WRITER_BYTES 40
#define WARDEN_DATE_BYTES   16
#define WARDEN_MARKS        8
#define WARDEN_APART        (1u << 20) /* bytes, or rows, after which there is another mark */
#define WARDEN_TAIL_BYTES   (8u << 20) /* that are read behind a mark, at most */

/* A record on its way: one line of JSON with its line feed, terminated. */
struct warden_record {
	struct warden_record *next;
	uint64_t sequence;
	bool is_incident;
	size_t length;
	char line[];
};

/*
 * warden_records.c
 */

/* What all records of a run have in common. */
struct warden_origin {
	char writer[WARDEN_WRITER_BYTES]; /* a name that no other state directory has */
	uint64_t limit_bytes;
};

/* NULL when out of memory. */
struct warden_record *warden_record_of(const struct warden_origin *origin, uint64_t sequence,
	const struct report *report, const struct happening *happening);
struct warden_record *warden_record_of_day(const struct warden_origin *origin, uint64_t sequence,
	const struct report *report, const struct narrative *narrative);

/* An incident that is open, as records and the state have it, and back: 0 or -EINVAL. */
json_t *warden_episode_json(const struct episode_open *open);
int warden_episode_parse(const json_t *object, struct episode_open *ret_open);

/* How each line of a writer begins, an event's or an incident's. */
void warden_line_begin(const char *writer, bool is_incident, char ret_begin[96]);

/*
 * warden_state.c
 */

/* Where a run writes: what it may have written and not noted lies behind one of these. */
struct warden_mark {
	bool is_incident;
	char date[WARDEN_DATE_BYTES]; /* of the file; empty: of the database */
	uint64_t offset;              /* in bytes; of the database, the greatest id */
};

struct warden_position {
	unsigned count;
	struct warden_mark marks[WARDEN_MARKS]; /* the newest last; the oldest gives way */
};

/* Adds the mark, unless there is one of the same file not far before it. Whether it was added. */
bool warden_position_add(struct warden_position *position, const struct warden_mark *mark);

/* What the sink knows, to be kept for the next run. */
struct warden_memory {
	struct episodes *episodes;
	struct narrative *narrative;
	const char *boot; /* which boot of the host it is of; NULL: not known */
};

/* The part of the state that is the sink's own, as text that the caller frees. NULL: no memory. */
char *warden_memory_text(const struct warden_memory *memory);

/*
 * The kept text with the day's summary of a newer one, but for what records have told: while they
 * wait, a later run tells it anew. NULL: no memory, or the day that is kept has not been told yet.
 */
char *warden_memory_day(const char *kept, const char *newer);

/* The file of the state: 0 or -errno. `writer` and `sequence` are of the records in `text`. */
int warden_state_save(int directory, const char *writer, uint64_t sequence,
	const struct warden_position *position, const char *text);

/*
 * Reads the state into a memory that is new: 0, -ENOENT, -EINVAL for what is damaged, or -errno.
 * `sequence` is the last that the state includes; `rebooted`: it is of another boot than the
 * memory.
 */
int warden_state_load(int directory, const struct warden_memory *memory,
	char ret_writer[WARDEN_WRITER_BYTES], uint64_t *ret_sequence,
	struct warden_position *ret_position, bool *ret_rebooted);

/*
 * Records that were found behind a mark and of which the state knows nothing: a line is put into
 * the array if it is one of this writer's with a greater number than `sequence`. Then all of them
 * are taken into the memory, in the order of their numbers; `sequence` becomes the last. 0 or
 * -ENOMEM.
 */
int warden_state_collect(
	json_t *found, const char *writer, uint64_t sequence, const char *line, size_t length);
int warden_state_absorb(
	const struct warden_memory *memory, const json_t *found, uint64_t *sequence);

/*
 * Writing. Each of the two is used by the thread alone, and a backend is made without a look at the
 * disk.
 */

struct warden_place {
	char *directory;
	char writer[WARDEN_WRITER_BYTES];
	uint64_t day_bytes;
	unsigned busy_ms;
	uint64_t (*clock)(void *context);
	void *context;
};

/* Settled are those that are never to be written again, in order. */
struct warden_result {
	unsigned settled;
	unsigned dropped, unconfirmed; /* of the settled */
};

struct warden_backend;

struct warden_backend_ops {
	/* Opens what is to be written to, and adds where that ends to the position if it is not
	 * there. Before the position is kept, nothing is written. */
	int (*locate)(struct warden_backend *backend, struct warden_position *position,
		bool *ret_moved, struct diag *diag);
	/* Behind `locate`: the next records, in order, at most `count`. 0, or -errno with words:
	 * what is not settled is to be tried again. */
	int (*write)(struct warden_backend *backend, const struct warden_record *const *records,
		unsigned count, struct warden_result *ret_result, struct diag *diag);
	/* All that was written is noted: the position shrinks to where that ends. */
	void (*settle)(struct warden_backend *backend, struct warden_position *position);
	void (*free)(struct warden_backend *backend);
};

/* The first member of both. */
struct warden_backend {
	const struct warden_backend_ops *ops;
};

/* NULL when out of memory. The place stays the caller's and outlives the backend. */
struct warden_backend *warden_jsonl_new(const struct warden_place *place);
struct warden_backend *warden_sqlite_new(const struct warden_place *place);

/* A line, or a row's record, behind a mark. */
typedef void (*warden_line_fn)(void *context, const char *line, size_t length);

/*
 * What lies behind a mark, WARDEN_TAIL_BYTES at most. A last line of this writer's that is torn is
 * cut off. A file that is gone is no error, a directory is: it may come back. 0 or -errno.
 */
int warden_jsonl_tail(const struct warden_place *place, const struct warden_mark *mark,
	warden_line_fn each, void *context);
int warden_sqlite_tail(const struct warden_place *place, const struct warden_mark *mark,
	warden_line_fn each, void *context);

/* The local date as of the place's clock: 2026-01-02. */
void warden_local_date(const struct warden_place *place, char ret_date[WARDEN_DATE_BYTES]);

/*
 * warden_writer.c
 */

struct warden_writer;

struct warden_writer_options {
	struct warden_place place; /* the directory's string is the writer's from now on */
	int state_directory;       /* the writer's from now on; -1: none */
	enum warden_generation generation;
	unsigned queue_records, retry_ms;
	uint64_t sequence; /* the last that there is */
	struct warden_position position;
	char *memory; /* the state as it is now, the writer's from now on; NULL without a state */
};

/* 0 or -errno; takes what the options hand over in any case. */
int warden_writer_new(
	const struct warden_writer_options *options, struct warden_writer **ret_writer);

/*
 * Takes a list of records, and the memory as of them, NULL where it did not change. Never waits for
 * more than the queue's lock.
 */
void warden_writer_put(struct warden_writer *writer, struct warden_record *first, char *memory);

/* What the thread has to say, oldest first: false when there is nothing. */
bool warden_writer_said(struct warden_writer *writer, char *out, size_t out_bytes);

void warden_writer_counts(struct warden_writer *writer, struct warden_counts *ret_counts);

/* Nothing is put any more: what waits is written, within a second from now. Does not wait. */
void warden_writer_end(struct warden_writer *writer);

/* Behind `end`: until that is so. */
void warden_writer_wait(struct warden_writer *writer);

/* Behind `wait`. A thread that has not come back keeps what it uses. */
void warden_writer_release(struct warden_writer *writer);

#endif
