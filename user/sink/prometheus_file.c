/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The textfile sink: owns a thread that replaces the file. Used through `struct sink` by the app.
 *
 * `struct textfile` is shared with the thread and guarded by its lock, but for what is constant.
 * The thread holds one rendering while it writes, and at most one more waits. It is not waited for
 * longer than CLOSE_LIMIT_MS: what a disk holds up frees itself when the disk lets go, and leaves
 * the file to its successor. So each thread's temporary has a name of its own.
 */
#include "pagestay/sink/prometheus.h"

#include "pagestay/base/cleanup.h"
#include "pagestay/base/file.h"
#include "pagestay/base/thread.h"
#include "pagestay/base/diag.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define CLOSE_LIMIT_MS  500
#define TEMPORARY_BYTES 24 /* by which its path is longer, at most */

struct textfile {
	char path[PATH_MAX];
	char temporary[PATH_MAX]; /* the thread's */
	int (*sync)(int fd);
	struct worker worker;
	char *waiting; /* what to write next; NULL: nothing */
	size_t waiting_bytes;
	int error; /* of the last write */
};

struct sink_textfile {
	struct sink sink;
	struct textfile_options options;
	struct textfile *file;
	bool has_failed; /* and that was said */
};

static void textfile_free(struct textfile *file)
{
	if (!file)
		return;
	worker_deinit(&file->worker);
	free(file->waiting);
	free(file);
}

static int fill(const struct textfile *file, int fd, const char *bytes, size_t length)
{
	int error = file_write_all(fd, bytes, length);

	if (error)
		return error;
	/* Whoever collects is another user, whatever our umask. */
	if (fchmod(fd, 0644) != 0 || file->sync(fd) != 0)
		return -errno;
	return 0;
}

static bool is_wanted(struct textfile *file)
{
	bool is_closing;

	(void)pthread_mutex_lock(&file->worker.lock);
	is_closing = file->worker.is_closing;
	(void)pthread_mutex_unlock(&file->worker.lock);
	return !is_closing;
}

static int replace(struct textfile *file, const char *bytes, size_t length)
{
	_cleanup_(cleanup_close) int fd = -1;
	int error;

	/* Never written through somebody's link. */
	(void)unlink(file->temporary);
	fd = open(file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	error = fill(file, fd, bytes, length);
	if (!error && is_wanted(file)) {
		if (rename(file->temporary, file->path) == 0)
			return 0;
		error = -errno;
	}
	(void)unlink(file->temporary);
	return error;
}

/* In the same directory, under a name that no collector reads and no other living thread has. */
static void name_temporary(struct textfile *file)
{
	const char *name = strrchr(file->path, '/') + 1;

	(void)snprintf(file->temporary, sizeof(file->temporary), "%.*s.%s.%d.tmp",
		(int)(name - file->path), file->path, name, (int)gettid());
}

static bool is_temporary(const char *entry, const char *name)
{
	size_t length = strlen(name), digits;

	if (entry[0] != '.' || strncmp(entry + 1, name, length) != 0 || entry[length + 1] != '.')
		return false;
	entry += length + 2;
	digits = strspn(entry, "0123456789");
	return digits && strcmp(entry + digits, ".tmp") == 0;
}

/* Left behind by those who were killed. One who hangs does not need his any more. */
static void remove_temporaries(const struct textfile *file)
{
	const char *name = strrchr(file->path, '/') + 1;
	const struct dirent *entry;
	char directory[PATH_MAX];
	DIR *entries;

	(void)snprintf(directory, sizeof(directory), "%.*s", (int)(name - file->path), file->path);
	entries = opendir(directory);
	if (!entries)
		return;
	while ((entry = readdir(entries)))
		if (is_temporary(entry->d_name, name))
			(void)unlinkat(dirfd(entries), entry->d_name, 0);
	(void)closedir(entries);
}

/* The next rendering; NULL when it is time to leave. Called with the lock held. */
static char *next_rendering(struct textfile *file, size_t *ret_length)
{
	while (!file->waiting && !file->worker.is_closing)
		(void)pthread_cond_wait(&file->worker.changed, &file->worker.lock);
	if (file->worker.is_closing)
		return NULL;
	*ret_length = file->waiting_bytes;
	return TAKE(file->waiting);
}

static void *textfile_thread(void *argument)
{
	struct textfile *file = argument;
	size_t length = 0;
	bool is_abandoned;
	char *bytes;

	name_temporary(file);
	remove_temporaries(file);
	(void)pthread_mutex_lock(&file->worker.lock);
	while ((bytes = next_rendering(file, &length))) {
		int error;

		(void)pthread_mutex_unlock(&file->worker.lock);
		error = replace(file, bytes, length);
		free(bytes);
		(void)pthread_mutex_lock(&file->worker.lock);
		file->error = error;
	}
	is_abandoned = file->worker.is_abandoned;
	(void)pthread_mutex_unlock(&file->worker.lock);
	/* Nobody renews it: it would be taken for true for ever. */
	if (!is_abandoned)
		(void)unlink(file->path);
	(void)pthread_mutex_lock(&file->worker.lock);
	if (worker_done(&file->worker))
		textfile_free(file);
	return NULL;
}

static void say_change(struct sink_textfile *textfile, int error)
{
	char text[PATH_MAX + 128];

	if (textfile->has_failed == (error != 0) || !textfile->options.say)
		return;
	textfile->has_failed = error != 0;
	if (error)
		(void)snprintf(text, sizeof(text),
			"cannot write %s: %s; trying again at each report", textfile->file->path,
			strerror(-error));
	else
		(void)snprintf(text, sizeof(text), "%s is written again", textfile->file->path);
	textfile->options.say(textfile->options.context, text);
}

static int render(const struct prometheus_state *state, char **ret_bytes, size_t *ret_length)
{
	FILE *out = open_memstream(ret_bytes, ret_length);
	int error;

	if (!out)
		return -ENOMEM;
	error = prometheus_render(out, PROMETHEUS_TEXT, state);
	if (fclose(out) != 0 && !error)
		error = -ENOMEM;
	return error;
}

static int textfile_write(struct sink *sink, const struct report *report)
{
	struct sink_textfile *textfile = (struct sink_textfile *)sink;
	struct textfile *file = textfile->file;
	_cleanup_(cleanup_free) char *bytes = NULL;
	size_t length = 0;
	int error = render(textfile->options.metrics, &bytes, &length);
	int write_error;
	char *old;

	(void)pthread_mutex_lock(&file->worker.lock);
	write_error = file->error;
	old = file->waiting;
	if (!error) {
		file->waiting = TAKE(bytes);
		file->waiting_bytes = length;
		(void)pthread_cond_broadcast(&file->worker.changed);
	} else {
		old = NULL;
	}
	(void)pthread_mutex_unlock(&file->worker.lock);
	free(old);
	say_change(textfile, error ? error : write_error);
	return error;
}

static void textfile_end(struct sink *sink)
{
	worker_end(&((struct sink_textfile *)sink)->file->worker, CLOSE_LIMIT_MS);
}

static int textfile_close(struct sink *sink)
{
	struct sink_textfile *textfile = (struct sink_textfile *)sink;
	struct textfile *file = textfile->file;
	int error = 0;

	textfile_end(sink);
	worker_wait(&file->worker);
	if (worker_leave(&file->worker)) {
		error = file->error;
		textfile_free(file);
	}
	free(textfile);
	return error;
}

static const struct sink_ops textfile_ops = {
	.write = textfile_write,
	.end = textfile_end,
	.close = textfile_close,
};

static int set_paths(struct textfile *file, const char *path, struct diag *diag)
{
	if (!textfile_path_is_sound(path))
		return diag_set(diag, -EINVAL,
			"%s: a text file of metrics is an absolute path that ends in .prom", path);
	if (strlen(path) + TEMPORARY_BYTES > sizeof(file->temporary))
		return diag_set(diag, -ENAMETOOLONG, "%.60s...: the path is too long", path);
	(void)snprintf(file->path, sizeof(file->path), "%s", path);
	return 0;
}

static int textfile_init(
	struct sink_textfile *textfile, const struct textfile_options *options, struct diag *diag)
{
	struct textfile *file = calloc(1, sizeof(*file));
	int error;

	if (!file)
		return diag_set(diag, -ENOMEM, "out of memory");
	textfile->sink.ops = &textfile_ops;
	textfile->options = *options;
	textfile->file = file;
	file->sync = options->sync ? options->sync : fsync;
	worker_init(&file->worker);
	error = set_paths(file, options->path, diag);
	if (error)
		return error;
	error = worker_start(&file->worker, textfile_thread, file);
	if (error)
		return diag_set(diag, error, "a thread for %s: %s", file->path, strerror(-error));
	return 0;
}

int sink_textfile_new(
	const struct textfile_options *options, struct sink **ret_sink, struct diag *diag)
{
	struct sink_textfile *textfile = calloc(1, sizeof(*textfile));
	int error;

	if (!textfile)
		return diag_set(diag, -ENOMEM, "out of memory");
	error = textfile_init(textfile, options, diag);
	if (error) {
		textfile_free(textfile->file);
		free(textfile);
		return error;
	}
	*ret_sink = (struct sink *)textfile;
	return 0;
}
