/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the parts of rotating files share: rotate.c appends, rotate_name.c knows names,
 * rotate_keep.c lists and expires, rotate_gzip.c compresses. Nobody else includes this.
 */
#ifndef PAGESTAY_EDGE_ROTATE_STATE_H
#define PAGESTAY_EDGE_ROTATE_STATE_H

#include <limits.h>
#include <sys/types.h>

#include "pagestay/base/clock.h"
#include "pagestay/edge/rotate.h"

#define ROTATE_NS_PER_HOUR (3600 * NS_PER_S)
#define ROTATE_MODE        0640 /* whatever our umask, where there are modes */
#define ROTATE_NUMBER_MAX  999999

enum rotate_form {
	ROTATE_PLAIN,
	ROTATE_GZIP,
	ROTATE_GZIP_PART, /* a compression under way, or broken off */
	ROTATE_FORMS,
};

/* A name of ours; no other string means the same. */
struct rotate_name {
	int64_t day; /* since the epoch, local */
	unsigned number;
	enum rotate_kind kind;
	enum rotate_form form;
};

struct rotate_file {
	struct rotate_name name;
	uint64_t bytes;
	bool is_regular; /* others only occupy the name, and are left alone */
};

struct rotate_list {
	struct rotate_file *files; /* by day, number and form */
	size_t count;
};

struct rotate_gzip;

enum rotate_attempt { ROTATE_UNTRIED, ROTATE_FAILED, ROTATE_WORKED };

struct rotate {
	struct rotate_options options;
	char directory[PATH_MAX];
	int directory_fd, lock_fd;   /* -1: not open */
	int fd;                      /* what is appended to; -1: none */
	struct rotate_name name;     /* of `fd`, or of the last one */
	uint64_t good_bytes;         /* what of the file is whole appends */
	uint64_t synced_bytes;       /* what of it is known to be on the disk */
	uint64_t unsynced;           /* appends between the two */
	bool is_entry_unsynced;      /* the file's name may not be on the disk yet */
	enum rotate_attempt attempt; /* of this interval */
	uint64_t dropped_before;     /* the pause */
	uint64_t wall_ns;            /* as last seen, without small steps back */
	uint64_t steady_ns;          /* since when the clock did not jump */
	uint64_t looked_ns;          /* when the directory was last looked through; 0: look now */
	bool is_full;                /* today's files alone are as much as may be kept */
	bool is_about_file;          /* what goes wrong concerns the file of `name` */
	bool may_compress;           /* something ended since nothing was found to compress */
	struct rotate_gzip *gzip;    /* under way */
	struct rotate_name failed;   /* none up to here can be compressed, as of that look */
	struct rotate_name told;     /* the last of which that was said */
	struct rotate_counters counters;
};

/* Of rotate_name.c. Names are ordered by age. */
void rotate_name_put(const struct rotate_name *name, char ret_text[ROTATE_NAME_BYTES]);
bool rotate_name_get(const char *text, struct rotate_name *ret_name);
int rotate_name_compare(const struct rotate_name *a, const struct rotate_name *b);
int rotate_day(uint64_t wall_ns, int64_t *ret_day);

/* Before all names. */
#define ROTATE_NO_NAME ((struct rotate_name){.day = INT64_MIN})

/*
 * A day that is not over: today, and those ahead of it that were begun before the clock was set
 * back. Who writes goes on in the newest of these, so that names never go back.
 */
bool rotate_is_current(int64_t day, int64_t today);

/* By more days than that: the clock was wrong, and who writes went back to today. */
bool rotate_is_far_ahead(int64_t day, int64_t today);

/* Of rotate_keep.c. The list is freed by its owner. Expiry makes room for so many bytes more. */
int rotate_list(int directory_fd, struct rotate_list *ret_list);
void rotate_keep(struct rotate *rotate, size_t more_bytes);

/* Of rotate_gzip.c. */
bool rotate_gzip_step(struct rotate *rotate);
void rotate_gzip_stop(struct rotate *rotate);

/* Of rotate.c. */
__attribute__((format(printf, 2, 3))) void rotate_say(
	const struct rotate *rotate, const char *format, ...);

/* Cuts a file behind its last whole line. 0 or -errno. */
int rotate_cut(struct rotate *rotate, int fd, const char *name, uint64_t *ret_bytes);

#endif
