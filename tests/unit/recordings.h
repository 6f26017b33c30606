/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Recordings for tests, as bytes in memory, made by the real writer or block by block.
 */
#ifndef PAGESTAY_TESTS_RECORDINGS_H
#define PAGESTAY_TESTS_RECORDINGS_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "events.h"
#include "pagestay/edge/codec.h"
#include "pagestay/edge/recording.h"

#define FILE_HEADER_BYTES  16
#define BLOCK_HEADER_BYTES 20

struct bytes {
	uint8_t *at;
	size_t length;
};

/* A file in memory: its descriptor, for fdopen or /proc/self/fd. */
static inline int file_in_memory(const uint8_t *bytes, size_t length)
{
	int fd = memfd_create("recording", MFD_CLOEXEC);

	assert_true(fd >= 0);
	for (size_t done = 0; done < length;) {
		ssize_t written = write(fd, bytes + done, length - done);

		assert_true(written > 0);
		done += (size_t)written;
	}
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static inline struct bytes file_content(int fd)
{
	struct bytes content = {};
	struct stat stat;

	assert_int_equal(fstat(fd, &stat), 0);
	content.length = (size_t)stat.st_size;
	content.at = malloc(content.length + 1);
	assert_non_null(content.at);
	assert_int_equal(pread(fd, content.at, content.length, 0), content.length);
	return content;
}

/* What the real writer makes of these events. The caller frees it. */
static inline struct bytes record(const struct event *events, size_t count)
{
	int fd = file_in_memory(NULL, 0);
	FILE *file = fdopen(dup(fd), "w");
	struct recording_writer *writer = NULL;
	struct diag diag = {};
	struct bytes content;

	assert_non_null(file);
	assert_int_equal(recording_writer_new(file, &writer, &diag), 0);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(recording_write(writer, &events[i]), 0);
	assert_int_equal(recording_writer_close(writer), 0);
	content = file_content(fd);
	(void)close(fd);
	return content;
}

static inline void put_little_endian(uint8_t *out, size_t value)
{
	for (int i = 0; i < 4; i++)
		out[i] = (uint8_t)(value >> (8 * i));
}

static inline size_t get_little_endian(const uint8_t *bytes)
{
	return bytes[0] | bytes[1] << 8 | bytes[2] << 16 | (size_t)bytes[3] << 24;
}

static inline void bytes_append(struct bytes *bytes, const void *more, size_t length)
{
	bytes->at = realloc(bytes->at, bytes->length + length + 1);
	assert_non_null(bytes->at);
	memcpy(bytes->at + bytes->length, more, length);
	bytes->length += length;
}

static inline void append_file_header(struct bytes *bytes, size_t version)
{
	uint8_t head[FILE_HEADER_BYTES] = "\x89PSR\r\n\x1a\n";

	put_little_endian(head + 8, version);
	put_little_endian(head + 12, crc32(0, head, 12));
	bytes_append(bytes, head, sizeof(head));
}

/* A block that says what it is told to, with checksums that match. */
static inline void append_block(
	struct bytes *bytes, size_t events_bytes, const uint8_t *compressed, size_t length)
{
	uint8_t head[BLOCK_HEADER_BYTES] = "PSRB";

	put_little_endian(head + 4, events_bytes);
	put_little_endian(head + 8, length);
	put_little_endian(head + 12, crc32(0, compressed, (uInt)length));
	put_little_endian(head + 16, crc32(0, head, 16));
	bytes_append(bytes, head, sizeof(head));
	bytes_append(bytes, compressed, length);
}

/* A block of any bytes as its events, compressed as they should be. */
static inline void append_events(struct bytes *bytes, const uint8_t *events, size_t length)
{
	uLongf compressed_length = compressBound(length);
	uint8_t *compressed = malloc(compressed_length);

	assert_non_null(compressed);
	assert_int_equal(compress(compressed, &compressed_length, events, length), Z_OK);
	append_block(bytes, length, compressed, compressed_length);
	free(compressed);
}

static inline void append_end(struct bytes *bytes)
{
	append_block(bytes, 0, (const uint8_t *)"", 0);
}

#endif
