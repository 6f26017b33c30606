/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the renderings of one report, as responses that can be sent to any number of clients at
 * once. Made by the thread that writes reports; from then on only the listener's thread touches it,
 * which compresses a document when it is first asked for, and not before.
 */
#include "listen_state.h"

#include "pagestay/base/cleanup.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

/* Fast, and of memory that is no more than that of the document. */
#define GZIP_LEVEL  1
#define GZIP_WINDOW (15 + 16) /* + 16: a gzip head, as zlib.h has it */
#define GZIP_MEMORY 8

struct MHD_Response *response_new(const char *bytes, size_t length,
	enum MHD_ResponseMemoryMode mode, const char *content_type)
{
	static const char *const headers[][2] = {
		{"Cache-Control", "no-store"},
		{"X-Content-Type-Options", "nosniff"},
		{"Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"},
		{"Cross-Origin-Resource-Policy", "same-origin"},
	};
	/* libmicrohttpd writes to none of its buffers. */
	struct MHD_Response *response =
		MHD_create_response_from_buffer(length, (void *)bytes, mode);

	if (!response)
		return NULL;
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
		(void)MHD_add_response_header(response, headers[i][0], headers[i][1]);
	(void)MHD_add_response_header(response, "Content-Type", content_type);
	return response;
}

static int render(enum document document, const struct report *report,
	const struct prometheus_state *metrics, FILE *out)
{
	const struct sink_options options = {.out = out, .columns = 80};
	struct sink *json;
	int error;

	if (document != DOCUMENT_REPORT)
		return prometheus_render(out,
			document == DOCUMENT_TEXT ? PROMETHEUS_TEXT : PROMETHEUS_OPENMETRICS,
			metrics);
	json = sink_json_new(&options);
	if (!json)
		return -ENOMEM;
	error = sink_write(json, report);
	(void)sink_close(json);
	return error;
}

static int add_document(struct snapshot *snapshot, enum document document,
	const struct report *report, const struct prometheus_state *metrics)
{
	static const char *const types[DOCUMENTS] = {
		[DOCUMENT_REPORT] = "application/json",
	};
	_cleanup_(cleanup_free) char *bytes = NULL;
	size_t length = 0;
	const char *type = types[document];
	FILE *out = open_memstream(&bytes, &length);
	int error;

	if (!out)
		return -ENOMEM;
	error = render(document, report, metrics, out);
	if (fclose(out) != 0 || error)
		return error ? error : -ENOMEM;
	if (document != DOCUMENT_REPORT)
		type = prometheus_content_types[document == DOCUMENT_TEXT ? PROMETHEUS_TEXT
									  : PROMETHEUS_OPENMETRICS];
	snapshot->documents[document].plain =
		response_new(bytes, length, MHD_RESPMEM_MUST_FREE, type);
	if (!snapshot->documents[document].plain)
		return -ENOMEM;
	(void)MHD_add_response_header(
		snapshot->documents[document].plain, "Vary", "Accept, Accept-Encoding");
	snapshot->documents[document].bytes = TAKE(bytes);
	snapshot->documents[document].length = length;
	return 0;
}

int snapshot_new(const struct report *report, const struct prometheus_state *metrics,
	struct snapshot **ret_snapshot)
{
	struct snapshot *snapshot = calloc(1, sizeof(*snapshot));
	int error = snapshot ? 0 : -ENOMEM;

	for (int document = 0; !error && document < DOCUMENTS; document++)
		error = add_document(snapshot, document, report, metrics);
	if (error) {
		snapshot_free(snapshot);
		return error;
	}
	*ret_snapshot = snapshot;
	return 0;
}

void snapshot_free(struct snapshot *snapshot)
{
	if (!snapshot)
		return;
	for (int document = 0; document < DOCUMENTS; document++) {
		if (snapshot->documents[document].plain)
			MHD_destroy_response(snapshot->documents[document].plain);
		if (snapshot->documents[document].gzip)
			MHD_destroy_response(snapshot->documents[document].gzip);
	}
	free(snapshot);
}

/* NULL if there is no memory for it. */
static char *compress_bytes(const char *bytes, size_t length, size_t *ret_length)
{
	z_stream stream = {0};
	char *compressed;
	int result;

	if (length > UINT_MAX / 2 || deflateInit2(&stream, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW,
					     GZIP_MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
		return NULL;
	stream.next_in = (Bytef *)bytes;
	stream.avail_in = (uInt)length;
	stream.avail_out = (uInt)deflateBound(&stream, (uLong)length);
	compressed = malloc(stream.avail_out);
	stream.next_out = (Bytef *)compressed;
	result = compressed ? deflate(&stream, Z_FINISH) : Z_MEM_ERROR;
	*ret_length = stream.total_out;
	(void)deflateEnd(&stream);
	if (result != Z_STREAM_END) {
		free(compressed);
		return NULL;
	}
	return compressed;
}

static struct MHD_Response *compressed_response(
	const struct snapshot *snapshot, enum document document)
{
	struct MHD_Response *plain = snapshot->documents[document].plain;
	size_t length = 0;
	_cleanup_(cleanup_free) char *bytes = compress_bytes(
		snapshot->documents[document].bytes, snapshot->documents[document].length, &length);
	struct MHD_Response *response;

	if (!bytes)
		return NULL;
	response = response_new(bytes, length, MHD_RESPMEM_MUST_FREE,
		MHD_get_response_header(plain, "Content-Type"));
	if (!response)
		return NULL;
	(void)TAKE(bytes);
	(void)MHD_add_response_header(response, "Vary", "Accept, Accept-Encoding");
	(void)MHD_add_response_header(response, "Content-Encoding", "gzip");
	return response;
}

struct MHD_Response *snapshot_response(
	struct snapshot *snapshot, enum document document, bool takes_gzip)
{
	if (takes_gzip && !snapshot->documents[document].gzip)
		snapshot->documents[document].gzip = compressed_response(snapshot, document);
	if (takes_gzip && snapshot->documents[document].gzip)
		return snapshot->documents[document].gzip;
	return snapshot->documents[document].plain;
}
