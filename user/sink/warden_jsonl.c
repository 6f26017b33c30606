/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Writes records as dated JSON Lines, beside whoever else appends to the same files.
 *
 * The directory and its files are looked up by name for each batch, so that nothing is written to
 * what was renamed or removed. A record is one write of one whole line on an O_APPEND descriptor;
 * room for it is reserved before, so that a full disk refuses it whole. What was written of a line
 * all the same is cut off at once, or at the next run's start, provided that nobody has written
 * behind it; nothing else is ever cut. Where somebody else left half a line, ours begins with a
 * line feed. Files that are made here belong to the directory's owner. Used by the writer's thread,
 * but for the tail, which is read at the start.
 */
#include "warden_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#include "pagestay/base/clock.h"
#include "pagestay/base/cleanup.h"
#include "pagestay/base/file.h"

#define FILE_MODE   0660
#define CHUNK_BYTES 65536
/* A write in progress is seen growing; what stays as it is for so long was left by someone. */
#define SETTLE_NS    10000000l
#define SETTLE_TRIES 5
/* So much of a line tells that it is ours: others' have a time or a host there. */
#define TELLING_BYTES 12

static const char *const names[] = {"events", "incidents"};

/* What is left of a line whose write failed half-way, of the file that it is in. */
struct torn {
	dev_t device;
	ino_t inode;
	off_t from, to; /* 0, 0: nothing */
};

struct dated_file {
	int fd;           /* -1: not open */
	off_t end;        /* behind our last line, or as of opening */
	unsigned written; /* lines since the last fdatasync */
	struct torn torn;
};

struct warden_jsonl {
	struct warden_backend backend;
	const struct warden_place *place;
	char date[WARDEN_DATE_BYTES];
	struct dated_file files[2]; /* events, incidents */
};

void warden_local_date(const struct warden_place *place, char ret_date[WARDEN_DATE_BYTES])
{
	time_t seconds = (time_t)(place->clock(place->context) / NS_PER_S);
	struct tm local;

	/* localtime_r alone would never notice that the host's zone was changed. */
	tzset();
	ret_date[0] = '\0';
	if (!localtime_r(&seconds, &local) ||
		!strftime(ret_date, WARDEN_DATE_BYTES, "%Y-%m-%d", &local))
		(void)snprintf(ret_date, WARDEN_DATE_BYTES, "1970-01-01");
}

static void file_name(bool is_incident, const char *date, char out[64])
{
	(void)snprintf(out, 64, "%s-%s.jsonl", names[is_incident], date);
}

static int open_directory(const struct warden_place *place)
{
	int fd = open(place->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

#define OPEN_FLAGS (O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

/*
 * Without the privilege to give a file away, its group may be one of ours. Its mode is set while it
 * is ours.
 */
static int hand_over(int fd, int directory)
{
	struct stat status;

	if (fstat(directory, &status))
		return -errno;
	if (fchmod(fd, FILE_MODE))
		return -errno;
	if (fchown(fd, status.st_uid, status.st_gid) && fchown(fd, (uid_t)-1, status.st_gid))
		return -errno;
	return 0;
}

/* One that nobody else could write to would stop whoever else writes here: better none. */
static int make_file(int directory, const char *name)
{
	int fd = openat(directory, name, OPEN_FLAGS | O_CREAT | O_EXCL, FILE_MODE);
	int error;

	if (fd < 0)
		return -errno;
	error = hand_over(fd, directory);
	if (error)
		(void)unlinkat(directory, name, 0);
	else
		error = file_sync_directory(directory);
	if (!error)
		return fd;
	(void)close(fd);
	return error;
}

/* Opened, or made; only a regular file is one to write to. */
static int open_file(int directory, const char *name)
{
	struct stat status;
	int fd = -1;

	for (int attempt = 0; attempt < 3; attempt++) {
		fd = openat(directory, name, OPEN_FLAGS);
		if (fd >= 0)
			break;
		if (errno != ENOENT)
			return -errno;
		fd = make_file(directory, name);
		if (fd >= 0)
			return fd;
		if (fd != -EEXIST)
			return fd;
	}
	if (fd < 0)
		return fd;
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
		return fd;
	(void)close(fd);
	return -EINVAL;
}

static void close_files(struct warden_jsonl *jsonl)
{
	for (int i = 0; i < 2; i++) {
		if (jsonl->files[i].fd >= 0)
			(void)close(jsonl->files[i].fd);
		jsonl->files[i].fd = -1;
		jsonl->files[i].written = 0;
	}
}

/* Where nobody has written behind it. Between the look and the cut others could; not in a full
 * file system, where this happens. */
static int cut_torn(struct dated_file *file)
{
	struct torn *torn = &file->torn;
	struct stat status;

	if (!torn->to)
		return 0;
	if (fstat(file->fd, &status))
		return -errno;
	if (status.st_dev == torn->device && status.st_ino == torn->inode &&
		status.st_size == torn->to && ftruncate(file->fd, torn->from))
		return -errno;
	torn->from = torn->to = 0;
	return 0;
}

static int open_dated(struct warden_jsonl *jsonl, int directory, bool is_incident,
	struct warden_position *position, bool *ret_moved)
{
	struct dated_file *file = &jsonl->files[is_incident];
	struct warden_mark mark = {.is_incident = is_incident};
	struct stat status;
	char name[64];
	int error;

	file_name(is_incident, jsonl->date, name);
	file->fd = open_file(directory, name);
	if (file->fd < 0)
		return file->fd;
	error = cut_torn(file);
	if (error || fstat(file->fd, &status))
		return error ? error : -errno;
	file->end = status.st_size;
	memcpy(mark.date, jsonl->date, sizeof(mark.date));
	mark.offset = (uint64_t)status.st_size;
	*ret_moved |= warden_position_add(position, &mark);
	return 0;
}

/*
 * Both files are made even where a batch has only one kind: a reader looks for both, and the marks
 * of a day are noted at once.
 */
static int locate(struct warden_backend *backend, struct warden_position *position, bool *ret_moved,
	struct diag *diag)
{
	struct warden_jsonl *jsonl = (struct warden_jsonl *)backend;
	_cleanup_(cleanup_close) int directory = open_directory(jsonl->place);
	int error = directory < 0 ? directory : 0;

	close_files(jsonl);
	warden_local_date(jsonl->place, jsonl->date);
	for (int i = 0; i < 2 && !error; i++)
		error = open_dated(jsonl, directory, i, position, ret_moved);
	if (!error)
		return 0;
	close_files(jsonl);
	return diag_set(diag, error, "%s: %s", jsonl->place->directory, strerror(-error));
}

/* Whether the file ends in a line that somebody left unfinished. */
static int needs_feed(int fd, bool *ret_needs)
{
	off_t before = -1;
	int same = 0;

	*ret_needs = false;
	for (int attempt = 0; attempt < 4 * SETTLE_TRIES && same < SETTLE_TRIES; attempt++) {
		struct stat status;
		char last;

		if (fstat(fd, &status))
			return -errno;
		if (status.st_size == 0 || pread(fd, &last, 1, status.st_size - 1) != 1 ||
			last == '\n')
			return 0;
		same = status.st_size == before ? same + 1 : 0;
		before = status.st_size;
		clock_pause(SETTLE_NS);
	}
	*ret_needs = true;
	return 0;
}

static int reserve(int fd, size_t length)
{
	struct stat status;

	if (fstat(fd, &status))
		return -errno;
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, status.st_size, (off_t)length) == 0)
		return 0;
	return errno == ENOSPC || errno == EDQUOT || errno == EIO || errno == EFBIG ? -errno : 0;
}

static int append(struct dated_file *file, const struct warden_record *record)
{
	static char feed[] = "\n";
	struct iovec parts[] = {{feed, 1}, {(void *)record->line, record->length}};
	size_t length = record->length;
	struct stat status;
	bool feeds;
	ssize_t written;
	int error = cut_torn(file);

	if (!error)
		error = needs_feed(file->fd, &feeds);
	if (!error)
		error = reserve(file->fd, length + 1);
	if (error)
		return error;
	length += feeds;
	written = writev(file->fd, feeds ? parts : parts + 1, feeds ? 2 : 1);
	if (written < 0)
		return -errno;
	/* An append leaves the descriptor behind what it has written. */
	file->end = lseek(file->fd, 0, SEEK_CUR);
	if ((size_t)written == length)
		return 0;
	if (fstat(file->fd, &status) == 0)
		file->torn =
			(struct torn){status.st_dev, status.st_ino, file->end - written, file->end};
	(void)cut_torn(file);
	return -ENOSPC;
}

static bool is_day_full(const struct warden_jsonl *jsonl, const struct warden_record *record)
{
	struct stat status;

	return !record->is_incident && fstat(jsonl->files[0].fd, &status) == 0 &&
	       (uint64_t)status.st_size + record->length > jsonl->place->day_bytes;
}

static int sync_files(struct warden_jsonl *jsonl, struct warden_result *result)
{
	int error = 0;

	for (int i = 0; i < 2; i++) {
		struct dated_file *file = &jsonl->files[i];

		if (file->written && fdatasync(file->fd)) {
			error = -errno;
			result->unconfirmed += file->written;
		}
		file->written = 0;
	}
	return error;
}

static int write_records(struct warden_backend *backend, const struct warden_record *const *records,
	unsigned count, struct warden_result *ret_result, struct diag *diag)
{
	struct warden_jsonl *jsonl = (struct warden_jsonl *)backend;
	int error = 0, sync_error;

	for (unsigned i = 0; i < count; i++) {
		struct dated_file *file = &jsonl->files[records[i]->is_incident];

		if (is_day_full(jsonl, records[i])) {
			ret_result->dropped++;
		} else {
			error = append(file, records[i]);
			if (error)
				break;
			file->written++;
		}
		ret_result->settled++;
	}
	sync_error = sync_files(jsonl, ret_result);
	error = error ? error : sync_error;
	if (!error)
		return 0;
	return diag_set(diag, error, "%s: %s", jsonl->place->directory, strerror(-error));
}

static void settle(struct warden_backend *backend, struct warden_position *position)
{
	struct warden_jsonl *jsonl = (struct warden_jsonl *)backend;

	position->count = 0;
	for (int i = 0; i < 2; i++) {
		struct warden_mark mark = {.is_incident = i};

		if (jsonl->files[i].fd < 0)
			continue;
		memcpy(mark.date, jsonl->date, sizeof(mark.date));
		mark.offset = (uint64_t)jsonl->files[i].end;
		(void)warden_position_add(position, &mark);
	}
	close_files(jsonl);
}

static void jsonl_free(struct warden_backend *backend)
{
	struct warden_jsonl *jsonl = (struct warden_jsonl *)backend;

	close_files(jsonl);
	free(jsonl);
}

static const struct warden_backend_ops jsonl_ops = {
	.locate = locate,
	.write = write_records,
	.settle = settle,
	.free = jsonl_free,
};

struct warden_backend *warden_jsonl_new(const struct warden_place *place)
{
	struct warden_jsonl *jsonl = calloc(1, sizeof(*jsonl));

	if (!jsonl)
		return NULL;
	jsonl->backend.ops = &jsonl_ops;
	jsonl->place = place;
	jsonl->files[0].fd = jsonl->files[1].fd = -1;
	return (struct warden_backend *)jsonl;
}

/*
 * The tail.
 */

struct tail {
	char chunk[CHUNK_BYTES];
	char line[WARDEN_LINE_BYTES + 1];
	size_t used; /* of the line so far; more than there is room for: it is too long */
	off_t line_from;
};

static void take_chunk(
	struct tail *tail, size_t length, off_t at, warden_line_fn each, void *context)
{
	for (size_t i = 0; i < length; i++) {
		if (tail->chunk[i] != '\n') {
			if (tail->used < sizeof(tail->line))
				tail->line[tail->used++] = tail->chunk[i];
			continue;
		}
		if (tail->used < sizeof(tail->line))
			each(context, tail->line, tail->used);
		tail->used = 0;
		tail->line_from = at + (off_t)i + 1;
	}
}

/* Half a line of ours at the end is cut off, if nobody goes on with the file. */
static int cut_ours(int fd, const struct tail *tail, off_t end, const char *begin)
{
	size_t telling = strlen(begin) < tail->used ? strlen(begin) : tail->used;
	struct stat status;

	if (tail->used < TELLING_BYTES || memcmp(tail->line, begin, telling) != 0)
		return 0;
	clock_pause((uint64_t)SETTLE_TRIES * SETTLE_NS);
	if (fstat(fd, &status))
		return -errno;
	return status.st_size == end && ftruncate(fd, tail->line_from) ? -errno : 0;
}

static int read_tail(int fd, off_t from, const char *begin, warden_line_fn each, void *context)
{
	_cleanup_(cleanup_free) struct tail *tail = malloc(sizeof(*tail));
	off_t at = from;

	if (!tail)
		return -ENOMEM;
	tail->used = 0;
	tail->line_from = from;
	while (at - from < (off_t)WARDEN_TAIL_BYTES) {
		ssize_t got = pread(fd, tail->chunk, sizeof(tail->chunk), at);

		if (got < 0)
			return -errno;
		if (!got)
			return cut_ours(fd, tail, at, begin);
		take_chunk(tail, (size_t)got, at, each, context);
		at += got;
	}
	return 0;
}

int warden_jsonl_tail(const struct warden_place *place, const struct warden_mark *mark,
	warden_line_fn each, void *context)
{
	_cleanup_(cleanup_close) int directory = open_directory(place);
	_cleanup_(cleanup_close) int fd = -1;
	char name[64], begin[96];
	struct stat status;
	off_t from = (off_t)mark->offset;

	if (directory < 0)
		return directory;
	file_name(mark->is_incident, mark->date, name);
	fd = openat(directory, name, OPEN_FLAGS);
	if (fd < 0 && (errno == EROFS || errno == EACCES))
		fd = openat(directory, name, (OPEN_FLAGS & ~O_RDWR) | O_RDONLY);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &status))
		return -errno;
	if (!S_ISREG(status.st_mode))
		return 0;
	warden_line_begin(place->writer, mark->is_incident, begin);
	return read_tail(fd, from > status.st_size ? 0 : from, begin, each, context);
}
