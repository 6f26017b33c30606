/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Takes lines from /proc/PID/maps. A path may be of any length, so a line is taken when it is whole
 * or fills the buffer, and what is left of it is passed over. Called by residency and target.
 */
#include "pagestay/edge/maps.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* The number at *cursor in `base`, ended by `end`; moves past that. */
static int parse_number(char **cursor, int base, char end, uint64_t *ret_value)
{
	uint64_t value;
	char *after;

	if (**cursor == '-' || **cursor == '+' || **cursor == ' ')
		return -EINVAL;
	errno = 0;
	value = strtoull(*cursor, &after, base);
	if (errno || after == *cursor || *after != end)
		return -EINVAL;
	*cursor = after + 1;
	*ret_value = value;
	return 0;
}

/* `FROM-TO PERM OFFSET MAJOR:MINOR INODE   PATH`. */
static int parse_line(char *text, uint64_t page_bytes, struct maps_line *ret_line)
{
	struct maps_line line = {};
	uint64_t major, minor;
	char *cursor = text;

	if (parse_number(&cursor, 16, '-', &line.from) || parse_number(&cursor, 16, ' ', &line.to))
		return -EINVAL;
	if (line.from >= line.to || line.from % page_bytes || line.to % page_bytes)
		return -EINVAL;
	if (strnlen(cursor, 5) != 5 || cursor[4] != ' ')
		return -EINVAL;
	memcpy(line.protection, cursor, 4);
	cursor += 5;
	if (parse_number(&cursor, 16, ' ', &line.offset) ||
		parse_number(&cursor, 16, ':', &major) || parse_number(&cursor, 16, ' ', &minor))
		return -EINVAL;
	/* Nothing need follow the inode. */
	line.inode = strtoull(cursor, &cursor, 10);
	line.path = cursor + strspn(cursor, " ");
	line.device = makedev(major, minor);
	*ret_line = line;
	return 0;
}

/* Moves what is left of the buffer to its front and reads more after it. */
static int fill(struct maps_reader *reader)
{
	ssize_t got;

	memmove(reader->buffer, reader->buffer + reader->taken, reader->filled - reader->taken);
	reader->filled -= reader->taken;
	reader->taken = 0;
	do {
		got = read(
			reader->fd, reader->buffer + reader->filled, MAPS_BYTES - reader->filled);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	reader->filled += got;
	reader->ended = got == 0;
	return 0;
}

/* A line, or a whole buffer of one, if that much was read; ended by a zero. */
static char *take(struct maps_reader *reader)
{
	char *text = reader->buffer + reader->taken;
	const size_t left = reader->filled - reader->taken;
	const char *end = memchr(text, '\n', left);
	const size_t length = end ? (size_t)(end - text) : left;

	if (!end && left < MAPS_BYTES)
		return NULL;
	text[length] = '\0';
	reader->taken += end ? length + 1 : length;
	reader->cut = !end;
	return text;
}

/* The next line, or as much of it as fits. NULL at the end. */
static int next_text(struct maps_reader *reader, char **ret_text)
{
	for (;;) {
		const bool rest = reader->cut;
		char *text = take(reader);
		int error;

		if (text && rest)
			continue;
		if (text || reader->ended) {
			*ret_text = text;
			return 0;
		}
		error = fill(reader);
		if (error)
			return error;
	}
}

void maps_begin(struct maps_reader *reader, int fd)
{
	reader->fd = fd;
	reader->taken = 0;
	reader->filled = 0;
	reader->ended = false;
	reader->cut = false;
}

int maps_next(struct maps_reader *reader, uint64_t page_bytes, struct maps_line *ret_line)
{
	char *text = NULL;
	int error = next_text(reader, &text);

	if (error)
		return error;
	if (!text) {
		*ret_line = (struct maps_line){};
		return 0;
	}
	return parse_line(text, page_bytes, ret_line);
}

bool maps_are_gone(int fd)
{
	char byte;

	return pread(fd, &byte, 1, 0) == 0;
}
