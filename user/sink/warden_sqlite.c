/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Writes records into the database that the sensor and the dashboard agent share. It is theirs:
 * never created, never migrated, its journal left as it is; a schema of a version that is not known
 * gets nothing. A batch is one short transaction, in which the version is read, too. A row's
 * columns repeat what its record says, read back from the record. Which file the name stands for is
 * looked at before each batch. Used by the writer's thread, but for the tail, which is read at the
 * start.
 */
#include "warden_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pagestay/base/cleanup.h"

#define VERSION_LEAST 1
#define VERSION_MOST  4
#define BATCH_RECORDS 64
#define TAIL_ROWS     20000

enum statement {
	READ_VERSION,
	READ_EVENTS_END,
	READ_INCIDENTS_END,
	ADD_EVENT,
	ADD_INCIDENT,
	STATEMENTS,
};

static const char *const texts[STATEMENTS] = {
	[READ_VERSION] = "SELECT max(version) FROM schema_version",
	[READ_EVENTS_END] = "SELECT coalesce(max(id), 0) FROM events",
	[READ_INCIDENTS_END] = "SELECT coalesce(max(id), 0) FROM incidents",
	[ADD_EVENT] = "INSERT INTO events (ts, host, source, kind, severity, summary, data) "
		      "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[ADD_INCIDENT] = "INSERT OR IGNORE INTO incidents (ts, host, incident_id, severity, "
			 "detector, title, summary, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
};

struct warden_sqlite {
	struct warden_backend backend;
	const struct warden_place *place;
	sqlite3 *db; /* NULL: not open */
	dev_t device;
	ino_t inode;
	sqlite3_stmt *statements[STATEMENTS];
	uint64_t ends[2]; /* the last ids that we know of, of events and of incidents */
};

static int error_of(int code)
{
	switch (code & 0xff) {
	case SQLITE_OK:
		return 0;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_CANTOPEN:
		return -ENOENT;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EUCLEAN;
	default:
		return -EIO;
	}
}

static int failure(const struct warden_sqlite *sqlite, int code, struct diag *diag)
{
	return diag_set(diag, error_of(code), "%s/" WARDEN_DATABASE ": %s",
		sqlite->place->directory,
		sqlite->db ? sqlite3_errmsg(sqlite->db) : sqlite3_errstr(code));
}

static void close_database(struct warden_sqlite *sqlite)
{
	for (int i = 0; i < STATEMENTS; i++) {
		(void)sqlite3_finalize(sqlite->statements[i]);
		sqlite->statements[i] = NULL;
	}
	(void)sqlite3_close(sqlite->db);
	sqlite->db = NULL;
}

static bool path_of(const struct warden_place *place, char out[PATH_MAX])
{
	int length = snprintf(out, PATH_MAX, "%s/" WARDEN_DATABASE, place->directory);

	return length > 0 && length < PATH_MAX;
}

/* The schema is others': nothing in it may call what could do harm. */
static int open_path(const char *path, unsigned busy_ms, sqlite3 **ret_db)
{
	int code = sqlite3_open_v2(path, ret_db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);

	if (code != SQLITE_OK)
		return code;
	(void)sqlite3_extended_result_codes(*ret_db, 1);
	(void)sqlite3_busy_timeout(*ret_db, (int)busy_ms);
	(void)sqlite3_db_config(*ret_db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	(void)sqlite3_db_config(*ret_db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	(void)sqlite3_limit(*ret_db, SQLITE_LIMIT_ATTACHED, 0);
	/* Of this connection alone: a commit is on disk when it returns. */
	return sqlite3_exec(*ret_db, "PRAGMA synchronous = FULL", NULL, NULL, NULL);
}

/* 0 and a number, or the code of SQLite. A table without rows has no number. */
static int read_number(struct warden_sqlite *sqlite, enum statement which, int64_t *ret_value)
{
	sqlite3_stmt *statement = sqlite->statements[which];
	int code;

	if (!statement) {
		code = sqlite3_prepare_v3(sqlite->db, texts[which], -1, SQLITE_PREPARE_PERSISTENT,
			&sqlite->statements[which], NULL);
		if (code != SQLITE_OK)
			return code;
		statement = sqlite->statements[which];
	}
	code = sqlite3_step(statement);
	if (code == SQLITE_ROW) {
		*ret_value = sqlite3_column_type(statement, 0) == SQLITE_INTEGER
				     ? sqlite3_column_int64(statement, 0)
				     : -1;
		code = SQLITE_OK;
	}
	(void)sqlite3_reset(statement);
	return code == SQLITE_DONE ? SQLITE_ERROR : code;
}

static int check_version(struct warden_sqlite *sqlite, struct diag *diag)
{
	int64_t version = -1;
	int code = read_number(sqlite, READ_VERSION, &version);

	if (code == SQLITE_ERROR)
		return diag_set(diag, -EPROTO,
			"%s/" WARDEN_DATABASE ": it has no schema_version; nothing is written",
			sqlite->place->directory);
	if (code != SQLITE_OK)
		return failure(sqlite, code, diag);
	if (version >= VERSION_LEAST && version <= VERSION_MOST)
		return 0;
	return diag_set(diag, -EPROTO,
		"%s/" WARDEN_DATABASE ": its schema is of version %lld, and versions %d to %d are "
		"known; nothing is written",
		sqlite->place->directory, (long long)version, VERSION_LEAST, VERSION_MOST);
}

static int open_database(struct warden_sqlite *sqlite, struct diag *diag)
{
	char path[PATH_MAX];
	struct stat status;
	int code, error;

	if (!path_of(sqlite->place, path))
		return diag_set(diag, -ENAMETOOLONG, "%s: %s", sqlite->place->directory,
			strerror(ENAMETOOLONG));
	error = lstat(path, &status) ? -errno : S_ISREG(status.st_mode) ? 0 : -EINVAL;
	if (error) {
		close_database(sqlite);
		return diag_set(diag, error, "%s: %s", path,
			error == -EINVAL ? "it is not a regular file" : strerror(-error));
	}
	if (sqlite->db && status.st_dev == sqlite->device && status.st_ino == sqlite->inode)
		return 0;
	close_database(sqlite);
	code = open_path(path, sqlite->place->busy_ms, &sqlite->db);
	sqlite->device = status.st_dev;
	sqlite->inode = status.st_ino;
	if (code == SQLITE_OK)
		return 0;
	(void)failure(sqlite, code, diag);
	close_database(sqlite);
	return error_of(code);
}

static int read_ends(struct warden_sqlite *sqlite, struct warden_position *position,
	bool *ret_moved, struct diag *diag)
{
	for (int i = 0; i < 2; i++) {
		struct warden_mark mark = {.is_incident = i};
		int64_t end = 0;
		int code = read_number(sqlite, i ? READ_INCIDENTS_END : READ_EVENTS_END, &end);

		if (code != SQLITE_OK)
			return failure(sqlite, code, diag);
		mark.offset = end > 0 ? (uint64_t)end : 0;
		sqlite->ends[i] = mark.offset;
		*ret_moved |= warden_position_add(position, &mark);
	}
	return 0;
}

/*
 * SQLite makes files beside the database. Made by us and not given to the database's owner, they
 * would keep the others out; closing removes them.
 */
static int check_owners(const struct warden_sqlite *sqlite, struct diag *diag)
{
	static const char *const suffixes[] = {"-wal", "-shm"};
	char path[PATH_MAX + 8];
	struct stat database, beside;

	if (!path_of(sqlite->place, path) || lstat(path, &database))
		return 0;
	for (int i = 0; i < 2; i++) {
		size_t length = strlen(path) - (i ? strlen(suffixes[0]) : 0);

		memcpy(path + length, suffixes[i], strlen(suffixes[i]) + 1);
		if (lstat(path, &beside) == 0 && beside.st_uid == geteuid() &&
			beside.st_uid != database.st_uid && beside.st_gid != database.st_gid)
			return diag_set(diag, -EPERM,
				"%s: it cannot be given to the database's owner, and would keep "
				"others out",
				path);
	}
	return 0;
}

static int locate(struct warden_backend *backend, struct warden_position *position, bool *ret_moved,
	struct diag *diag)
{
	struct warden_sqlite *sqlite = (struct warden_sqlite *)backend;
	int error = open_database(sqlite, diag);

	if (!error)
		error = check_version(sqlite, diag);
	if (!error)
		error = read_ends(sqlite, position, ret_moved, diag);
	if (!error)
		error = check_owners(sqlite, diag);
	/* What is damaged or was replaced is looked at anew. */
	if (error && error != -EBUSY && error != -EPROTO)
		close_database(sqlite);
	return error;
}

static int bind_field(sqlite3_stmt *statement, int at, const json_t *root, const char *key)
{
	const json_t *value = json_object_get(root, key);

	return sqlite3_bind_text(statement, at, json_string_value(value),
		(int)json_string_length(value), SQLITE_STATIC);
}

static int bind_detector(sqlite3_stmt *statement, int at, const char *incident_id)
{
	const char *colon = strchr(incident_id, ':');

	colon = colon ? strchr(colon + 1, ':') : NULL;
	return sqlite3_bind_text(statement, at, incident_id,
		(int)(colon ? (size_t)(colon - incident_id) : strlen(incident_id)), SQLITE_STATIC);
}

static int bind(sqlite3_stmt *statement, const struct warden_record *record, const json_t *root)
{
	static const char *const event[] = {"ts", "host", "source", "kind", "severity", "summary"};
	static const char *const incident[] = {
		"ts", "host", "incident_id", "severity", NULL, "title", "summary"};
	const char *const *keys = record->is_incident ? incident : event;
	int count = record->is_incident ? 7 : 6;
	int code = SQLITE_OK;

	for (int i = 0; i < count && code == SQLITE_OK; i++)
		code = keys[i] ? bind_field(statement, i + 1, root, keys[i])
			       : bind_detector(statement, i + 1,
					 json_string_value(json_object_get(root, "incident_id")));
	if (code != SQLITE_OK)
		return code;
	return sqlite3_bind_text(
		statement, count + 1, record->line, (int)record->length - 1, SQLITE_STATIC);
}

/* SQLITE_DONE; SQLITE_CONSTRAINT for what can never be inserted; or why it cannot be now. */
static int insert(struct warden_sqlite *sqlite, const struct warden_record *record)
{
	enum statement which = record->is_incident ? ADD_INCIDENT : ADD_EVENT;
	json_t *root = json_loadb(record->line, record->length, 0, NULL);
	sqlite3_stmt *statement;
	int code = root ? SQLITE_OK : SQLITE_NOMEM;

	if (code == SQLITE_OK && !sqlite->statements[which])
		code = sqlite3_prepare_v3(sqlite->db, texts[which], -1, SQLITE_PREPARE_PERSISTENT,
			&sqlite->statements[which], NULL);
	statement = sqlite->statements[which];
	if (code == SQLITE_OK)
		code = bind(statement, record, root);
	if (code == SQLITE_OK)
		code = sqlite3_step(statement);
	if (code == SQLITE_DONE && !sqlite3_changes(sqlite->db))
		code = SQLITE_CONSTRAINT;
	if (code == SQLITE_DONE)
		sqlite->ends[record->is_incident] = (uint64_t)sqlite3_last_insert_rowid(sqlite->db);
	if (statement) {
		(void)sqlite3_reset(statement);
		(void)sqlite3_clear_bindings(statement);
	}
	json_decref(root);
	return code;
}

static int execute(struct warden_sqlite *sqlite, const char *text)
{
	return sqlite3_exec(sqlite->db, text, NULL, NULL, NULL);
}

/*
 * The version is of the same moment as the rows: somebody may migrate between two batches. A record
 * that the schema refuses would be refused for ever, and is dropped; so is an incident whose id is
 * there.
 */
static int transact(struct warden_sqlite *sqlite, const struct warden_record *const *records,
	unsigned count, unsigned *ret_refused, struct diag *diag)
{
	int code = execute(sqlite, "BEGIN IMMEDIATE");
	unsigned refused = 0;
	int error;

	if (code != SQLITE_OK)
		return failure(sqlite, code, diag);
	error = check_version(sqlite, diag);
	for (unsigned i = 0; i < count && !error; i++) {
		code = insert(sqlite, records[i]);
		if ((code & 0xff) == SQLITE_CONSTRAINT)
			refused++;
		else if (code != SQLITE_DONE)
			error = failure(sqlite, code, diag);
	}
	if (!error) {
		code = execute(sqlite, "COMMIT");
		if (code == SQLITE_OK) {
			*ret_refused = refused;
			return 0;
		}
		error = failure(sqlite, code, diag);
	}
	if (!sqlite3_get_autocommit(sqlite->db))
		(void)execute(sqlite, "ROLLBACK");
	return error;
}

static int write_records(struct warden_backend *backend, const struct warden_record *const *records,
	unsigned count, struct warden_result *ret_result, struct diag *diag)
{
	struct warden_sqlite *sqlite = (struct warden_sqlite *)backend;

	while (ret_result->settled < count) {
		unsigned left = count - ret_result->settled;
		unsigned batch = left < BATCH_RECORDS ? left : BATCH_RECORDS;
		unsigned refused = 0;
		int error = transact(sqlite, records + ret_result->settled, batch, &refused, diag);

		if (error && error != -EBUSY && error != -EPROTO)
			close_database(sqlite);
		if (error)
			return error;
		ret_result->settled += batch;
		ret_result->dropped += refused;
	}
	return 0;
}

static void settle(struct warden_backend *backend, struct warden_position *position)
{
	struct warden_sqlite *sqlite = (struct warden_sqlite *)backend;

	position->count = 0;
	for (int i = 0; i < 2; i++) {
		struct warden_mark mark = {.is_incident = i, .offset = sqlite->ends[i]};

		(void)warden_position_add(position, &mark);
	}
}

static void sqlite_free(struct warden_backend *backend)
{
	close_database((struct warden_sqlite *)backend);
	free(backend);
}

static const struct warden_backend_ops sqlite_ops = {
	.locate = locate,
	.write = write_records,
	.settle = settle,
	.free = sqlite_free,
};

struct warden_backend *warden_sqlite_new(const struct warden_place *place)
{
	struct warden_sqlite *sqlite = calloc(1, sizeof(*sqlite));

	if (!sqlite)
		return NULL;
	sqlite->backend.ops = &sqlite_ops;
	sqlite->place = place;
	return (struct warden_backend *)sqlite;
}

/*
 * The tail.
 */

static int read_rows(
	sqlite3 *db, const struct warden_mark *mark, warden_line_fn each, void *context)
{
	const char *text =
		mark->is_incident ? "SELECT data FROM incidents WHERE id > ?1 AND incident_id GLOB "
				    "'" EPISODE_DETECTOR ":*' ORDER BY id LIMIT ?2"
				  : "SELECT data FROM events WHERE id > ?1 AND source = "
				    "'" WARDEN_SOURCE "' ORDER BY id LIMIT ?2";
	size_t read_bytes = 0;
	sqlite3_stmt *statement;
	int code = sqlite3_prepare_v2(db, text, -1, &statement, NULL);

	if (code != SQLITE_OK)
		return error_of(code);
	(void)sqlite3_bind_int64(statement, 1, (sqlite3_int64)mark->offset);
	(void)sqlite3_bind_int(statement, 2, TAIL_ROWS);
	while (read_bytes < WARDEN_TAIL_BYTES && (code = sqlite3_step(statement)) == SQLITE_ROW) {
		const char *line = (const char *)sqlite3_column_text(statement, 0);
		size_t length = (size_t)sqlite3_column_bytes(statement, 0);

		if (line && length <= WARDEN_LINE_BYTES)
			each(context, line, length);
		read_bytes += length;
	}
	(void)sqlite3_finalize(statement);
	return code == SQLITE_DONE || code == SQLITE_ROW ? 0 : error_of(code);
}

int warden_sqlite_tail(const struct warden_place *place, const struct warden_mark *mark,
	warden_line_fn each, void *context)
{
	char path[PATH_MAX];
	struct stat status;
	sqlite3 *db = NULL;
	int error;

	if (!path_of(place, path))
		return -ENAMETOOLONG;
	/* A database that is gone takes what was in it along; a directory may come back. */
	if (lstat(path, &status))
		return errno == ENOENT && access(place->directory, X_OK) == 0 ? 0 : -errno;
	if (!S_ISREG(status.st_mode))
		return -EINVAL;
	error = error_of(open_path(path, place->busy_ms, &db));
	if (!error)
		error = read_rows(db, mark, each, context);
	(void)sqlite3_close(db);
	return error;
}
