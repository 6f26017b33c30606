/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the recording file: its header, its blocks, their checksums and bounds. The writer never
 * leaves anything but whole blocks behind it unless a write failed, and then stops for good. The
 * reader checks a block to its last event before it gives the first, so a block is given whole or
 * not at all; lengths are compared with the bounds before a byte is read by them, and its memory is
 * the two fixed buffers whatever the file says. Called by the app (writer) and the replay source.
 */
#include "pagestay/edge/recording.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "pagestay/edge/codec.h"

#define FILE_HEADER_BYTES  16
#define BLOCK_HEADER_BYTES 20
#define MAGIC_BYTES        8
#define BLOCK_MAGIC_BYTES  4

/* As PNG's: shows at once when something converted line ends or cut the eighth bit. */
static const uint8_t file_magic[MAGIC_BYTES] = {0x89, 'P', 'S', 'R', '\r', '\n', 0x1a, '\n'};
static const uint8_t block_magic[BLOCK_MAGIC_BYTES] = {'P', 'S', 'R', 'B'};

/* zlib's own bound for bytes that do not compress, rounded up. */
#define COMPRESSED_MAX_BYTES (RECORDING_BLOCK_BYTES + RECORDING_BLOCK_BYTES / 1024 + 64)

static void put_u32(uint8_t *out, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		out[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get_u32(const uint8_t *bytes)
{
	uint32_t value = 0;

	for (int i = 0; i < 4; i++)
		value |= (uint32_t)bytes[i] << (8 * i);
	return value;
}

static uint32_t checksum(const uint8_t *bytes, size_t length)
{
	return (uint32_t)crc32_z(0, bytes, length);
}

/*
 * Writing.
 */

struct recording_writer {
	FILE *file;
	int error; /* the first; nothing is written after it */
	size_t events_bytes;
	uint8_t events[RECORDING_BLOCK_BYTES];
	uint8_t block[BLOCK_HEADER_BYTES + COMPRESSED_MAX_BYTES]; /* as in the file */
};

/* -errno of the stdio call that has just failed. */
static int stdio_error(void)
{
	return errno ? -errno : -EIO;
}

static int write_out(FILE *file, const uint8_t *bytes, size_t length)
{
	errno = 0;
	if (fwrite(bytes, 1, length, file) != length || fflush(file))
		return stdio_error();
	return 0;
}

static int write_file_header(FILE *file)
{
	uint8_t head[FILE_HEADER_BYTES];

	memcpy(head, file_magic, MAGIC_BYTES);
	put_u32(head + 8, RECORDING_VERSION);
	put_u32(head + 12, checksum(head, 12));
	return write_out(file, head, sizeof(head));
}

/* Writes the first `length` bytes behind the header in `block`. */
static int write_block(struct recording_writer *writer, size_t length)
{
	uint8_t *head = writer->block;

	memcpy(head, block_magic, BLOCK_MAGIC_BYTES);
	put_u32(head + 4, (uint32_t)writer->events_bytes);
	put_u32(head + 8, (uint32_t)length);
	put_u32(head + 12, checksum(head + BLOCK_HEADER_BYTES, length));
	put_u32(head + 16, checksum(head, 16));
	writer->events_bytes = 0;
	return write_out(writer->file, head, BLOCK_HEADER_BYTES + length);
}

static int writer_end_block(struct recording_writer *writer)
{
	uLongf length = COMPRESSED_MAX_BYTES;
	int status;

	if (writer->error || writer->events_bytes == 0)
		return writer->error;
	status = compress2(writer->block + BLOCK_HEADER_BYTES, &length, writer->events,
		writer->events_bytes, Z_DEFAULT_COMPRESSION);
	if (status == Z_OK)
		writer->error = write_block(writer, length);
	else
		writer->error = status == Z_MEM_ERROR ? -ENOMEM : -EIO;
	return writer->error;
}

int recording_writer_new(FILE *file, struct recording_writer **ret_writer, struct diag *diag)
{
	struct recording_writer *writer = malloc(sizeof(*writer));
	int error = writer ? write_file_header(file) : -ENOMEM;

	if (error) {
		free(writer);
		(void)fclose(file);
		return diag_set(diag, error, "cannot write the recording: %s", strerror(-error));
	}
	writer->file = file;
	writer->error = 0;
	writer->events_bytes = 0;
	*ret_writer = writer;
	return 0;
}

int recording_write(void *context, const struct event *event)
{
	struct recording_writer *writer = context;
	uint8_t bytes[EVENT_ENCODED_BYTES];
	size_t length;
	int error = writer->error;

	if (!error)
		error = event_encode(event, bytes, &length);
	if (!error && length > sizeof(writer->events) - writer->events_bytes)
		error = writer_end_block(writer);
	if (error)
		return error;
	memcpy(writer->events + writer->events_bytes, bytes, length);
	writer->events_bytes += length;
	if (event->kind == EVENT_START || event->kind == EVENT_TICK)
		return writer_end_block(writer);
	return 0;
}

/* A pipe or a device has no disk to flush to, and says EINVAL. */
static int sync_to_disk(FILE *file)
{
	if (fsync(fileno(file)) == 0 || errno == EINVAL)
		return 0;
	return -errno;
}

int recording_writer_close(struct recording_writer *writer)
{
	int error;

	if (!writer)
		return 0;
	error = writer_end_block(writer);
	if (!error)
		error = write_block(writer, 0);
	if (!error)
		error = sync_to_disk(writer->file);
	errno = 0;
	if (fclose(writer->file) && !error)
		error = stdio_error();
	free(writer);
	return error;
}

/*
 * Reading.
 */

struct recording_reader {
	FILE *file;
	int status;            /* 1: there may be more. 0: ended. -errno: failed */
	char failure[256];     /* if it failed, why */
	uint64_t offset;       /* of the next byte of the file */
	uint64_t block_offset; /* where the block in `events` begins */
	size_t events_bytes;
	size_t events_given; /* bytes */
	uint8_t events[RECORDING_BLOCK_BYTES];
	uint8_t compressed[COMPRESSED_MAX_BYTES];
	struct event_room room; /* of the event that was given last */
};

/* What a block's header says, checked. */
struct block {
	size_t events_bytes;
	size_t compressed_bytes;
	uint32_t checksum;
};

__attribute__((format(printf, 3, 4))) static int failed(
	struct recording_reader *reader, int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(reader->failure, sizeof(reader->failure), format, arguments);
	va_end(arguments);
	return error;
}

/* Reads up to `length` bytes; fewer only at the file's end. */
static int reader_fill(
	struct recording_reader *reader, uint8_t *bytes, size_t length, size_t *ret_got)
{
	size_t got;
	int error;

	errno = 0;
	got = fread(bytes, 1, length, reader->file);
	reader->offset += got;
	*ret_got = got;
	if (got == length || !ferror(reader->file))
		return 0;
	error = stdio_error();
	return failed(reader, error, "cannot read at byte %" PRIu64 ": %s", reader->offset,
		strerror(-error));
}

static int block_damaged(struct recording_reader *reader, const char *what)
{
	return failed(reader, -EBADMSG,
		"damaged at byte %" PRIu64 ": the block that begins here %s", reader->block_offset,
		what);
}

static int block_cut(struct recording_reader *reader)
{
	return failed(reader, -EBADMSG,
		"cut short at byte %" PRIu64 ", inside the block that begins at byte %" PRIu64,
		reader->offset, reader->block_offset);
}

static int read_file_header(struct recording_reader *reader)
{
	uint8_t head[FILE_HEADER_BYTES];
	uint32_t version;
	size_t got;
	int error = reader_fill(reader, head, sizeof(head), &got);

	if (error)
		return error;
	if (got == 0)
		return failed(reader, -EBADMSG, "not a pagestay recording: empty (0 bytes)");
	if (memcmp(head, file_magic, got < MAGIC_BYTES ? got : MAGIC_BYTES) != 0)
		return failed(reader, -EBADMSG,
			"not a pagestay recording: does not begin as one at byte 0");
	if (got < sizeof(head))
		return failed(reader, -EBADMSG,
			"cut short at byte %" PRIu64 ", inside the file's header", reader->offset);
	if (get_u32(head + 12) != checksum(head, 12))
		return failed(reader, -EBADMSG,
			"damaged at byte 0: the file's header does not match its checksum");
	version = get_u32(head + 8);
	if (version > RECORDING_VERSION)
		return failed(reader, -EBADMSG,
			"made by a newer pagestay: version %" PRIu32 " at byte 8, and this "
			"pagestay reads up to version %d",
			version, RECORDING_VERSION);
	if (version < RECORDING_VERSION)
		return failed(reader, -EBADMSG,
			"made by an older pagestay: version %" PRIu32 " at byte 8, and this "
			"pagestay reads version %d",
			version, RECORDING_VERSION);
	return 0;
}

static int read_block_header(struct recording_reader *reader, struct block *ret_block)
{
	uint8_t head[BLOCK_HEADER_BYTES];
	struct block block;
	size_t got;
	int error = reader_fill(reader, head, sizeof(head), &got);

	if (error)
		return error;
	if (got == 0)
		return failed(reader, -EBADMSG,
			"cut short at byte %" PRIu64 ", between blocks: its recorder was killed, "
			"or not all of it was copied",
			reader->offset);
	if (memcmp(head, block_magic, got < BLOCK_MAGIC_BYTES ? got : BLOCK_MAGIC_BYTES) != 0)
		return failed(reader, -EBADMSG, "damaged at byte %" PRIu64 ": no block begins here",
			reader->block_offset);
	if (got < sizeof(head))
		return block_cut(reader);
	if (get_u32(head + 16) != checksum(head, 16))
		return block_damaged(reader, "has a header that does not match its checksum");
	block.events_bytes = get_u32(head + 4);
	block.compressed_bytes = get_u32(head + 8);
	block.checksum = get_u32(head + 12);
	if (block.events_bytes > sizeof(reader->events) ||
		block.compressed_bytes > sizeof(reader->compressed))
		return block_damaged(reader, "claims to be longer than a block may be");
	if ((block.events_bytes == 0) != (block.compressed_bytes == 0))
		return block_damaged(reader, "has only one of its two lengths");
	*ret_block = block;
	return 0;
}

/* The end of the recording is the end of the file. */
static int read_end(struct recording_reader *reader)
{
	uint8_t byte;
	size_t got;
	int error = reader_fill(reader, &byte, 1, &got);

	if (error || got == 0)
		return error;
	return failed(reader, -EBADMSG,
		"damaged at byte %" PRIu64 ": something follows the recording's end",
		reader->offset - 1);
}

static int read_block_events(struct recording_reader *reader, const struct block *block)
{
	uLongf events_bytes = block->events_bytes;
	uLong used = block->compressed_bytes;
	size_t got;
	int error = reader_fill(reader, reader->compressed, block->compressed_bytes, &got);

	if (error)
		return error;
	if (got < block->compressed_bytes)
		return block_cut(reader);
	if (checksum(reader->compressed, got) != block->checksum)
		return block_damaged(reader, "does not match its checksum");
	switch (uncompress2(reader->events, &events_bytes, reader->compressed, &used)) {
	case Z_OK:
		break;
	case Z_MEM_ERROR:
		return failed(
			reader, -ENOMEM, "out of memory at byte %" PRIu64, reader->block_offset);
	default:
		return block_damaged(reader, "does not decompress to what it says");
	}
	if (events_bytes != block->events_bytes || used != block->compressed_bytes)
		return block_damaged(reader, "is not as long as it says");
	reader->events_bytes = events_bytes;
	return 0;
}

static int check_events(struct recording_reader *reader)
{
	struct event event;
	size_t used;

	for (size_t at = 0; at < reader->events_bytes; at += used)
		if (event_decode(reader->events + at, reader->events_bytes - at, &reader->room,
			    &event, &used))
			return failed(reader, -EBADMSG,
				"damaged at byte %" PRIu64 ": the block that begins here holds "
				"no valid event at byte %zu of its content",
				reader->block_offset, at);
	return 0;
}

/* 1: a block with events has been read. 0: the end. */
static int reader_next_block(struct recording_reader *reader)
{
	struct block block = {};
	int error;

	reader->block_offset = reader->offset;
	reader->events_bytes = 0;
	reader->events_given = 0;
	error = read_block_header(reader, &block);
	if (error)
		return error;
	if (block.events_bytes == 0)
		return read_end(reader);
	error = read_block_events(reader, &block);
	if (error)
		return error;
	error = check_events(reader);
	return error ? error : 1;
}

int recording_reader_new(FILE *file, struct recording_reader **ret_reader, struct diag *diag)
{
	struct recording_reader *reader = malloc(sizeof(*reader));
	int error;

	if (!reader) {
		(void)fclose(file);
		return diag_set(diag, -ENOMEM, "out of memory");
	}
	reader->file = file;
	reader->status = 1;
	reader->failure[0] = 0;
	reader->offset = 0;
	reader->block_offset = 0;
	reader->events_bytes = 0;
	reader->events_given = 0;
	error = read_file_header(reader);
	if (error) {
		(void)diag_set(diag, error, "%s", reader->failure);
		recording_reader_free(reader);
		return error;
	}
	*ret_reader = reader;
	return 0;
}

int recording_read(struct recording_reader *reader, struct event *ret_event, struct diag *diag)
{
	size_t used = 0;

	if (reader->status > 0 && reader->events_given == reader->events_bytes)
		reader->status = reader_next_block(reader);
	if (reader->status < 0)
		return diag_set(diag, reader->status, "%s", reader->failure);
	if (reader->status == 0)
		return 0;
	/* Cannot fail: the block's events were checked. */
	(void)event_decode(reader->events + reader->events_given,
		reader->events_bytes - reader->events_given, &reader->room, ret_event, &used);
	reader->events_given += used;
	return 1;
}

uint64_t recording_offset(const struct recording_reader *reader)
{
	return reader->block_offset;
}

void recording_reader_free(struct recording_reader *reader)
{
	if (!reader)
		return;
	(void)fclose(reader->file);
	free(reader);
}
