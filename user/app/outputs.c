/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Makes the agent's sinks of its configuration, hands them reports, and makes them anew when their
 * section changed. A sink keeps its own troubles: what it says goes to the user, what it counts
 * into the metrics. Called by the agent.
 */
#include "outputs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "pagestay/base/cleanup.h"
#include "pagestay/sink/files.h"
#include "pagestay/sink/listen.h"
#include "pagestay/sink/prometheus.h"
#include "pagestay/base/clock.h"
#include "pagestay/sink/warden.h"

#define STATE_DIRECTORY "/var/lib/pagestay"
#define BOOT_FILE       "/proc/sys/kernel/random/boot_id"
#define BOOT_BYTES      64

enum kind { KIND_WARDEN, KIND_LISTEN, KIND_TEXTFILE, KIND_FILES, KINDS };

/* What the other sinks did, for the metrics: brought up to date before each report. */
enum count {
	COUNT_WARDEN_WRITTEN,
	COUNT_WARDEN_UNCONFIRMED,
	COUNT_WARDEN_FULL,
	COUNT_WARDEN_DAY,
	COUNT_WARDEN_MEMORY,
	COUNT_WARDEN_NOT_FOLLOWED,
	COUNT_JSON_WRITTEN,
	COUNT_JSON_DROPPED,
	COUNT_RECORDING_WRITTEN,
	COUNT_RECORDING_DROPPED,
	COUNTS,
};

#define WARDEN(state)                                                                              \
	{                                                                                          \
		"warden_records", "Records for Inner Warden, by what became of them.", "state",    \
			state, 0                                                                   \
	}
#define FILES(state)                                                                               \
	{                                                                                          \
		"file_reports", "Reports for own files, by what became of them.", "state", state,  \
			0                                                                          \
	}
#define RECORDING(state)                                                                           \
	{                                                                                          \
		"recording_intervals", "Intervals for own recordings, by what became of them.",    \
			"state", state, 0                                                          \
	}

static const struct prometheus_counter no_counts[COUNTS] = {
	[COUNT_WARDEN_WRITTEN] = WARDEN("written"),
	[COUNT_WARDEN_UNCONFIRMED] = WARDEN("unconfirmed"),
	[COUNT_WARDEN_FULL] = WARDEN("dropped_queue_full"),
	[COUNT_WARDEN_DAY] = WARDEN("dropped_day_full"),
	[COUNT_WARDEN_MEMORY] = WARDEN("dropped_no_memory"),
	[COUNT_WARDEN_NOT_FOLLOWED] = {"warden_services_not_followed",
		"Times that a service was not followed for Inner Warden: too many at once.", NULL,
		NULL, 0},
	[COUNT_JSON_WRITTEN] = FILES("written"),
	[COUNT_JSON_DROPPED] = FILES("dropped"),
	[COUNT_RECORDING_WRITTEN] = RECORDING("written"),
	[COUNT_RECORDING_DROPPED] = RECORDING("dropped"),
};

struct outputs {
	const struct config *config;      /* the one in force */
	struct sink *sinks[KINDS];        /* NULL: not configured, or it could not be opened */
	bool is_missing[KINDS];           /* it could not: tried again at each report */
	struct files_recorder *recorder;  /* NULL: not configured */
	struct stat token;                /* the token file, when it was read */
	struct prometheus_state *metrics; /* of all reports, for those that show them */
	struct listen_board *board;
	bool folds_badly; /* and that was said */
	struct prometheus_counter counts[COUNTS];
	uint64_t before[COUNTS]; /* what sinks that were closed had counted */
	void (*say)(void *context, const char *text);
};

int outputs_new(void (*say)(void *context, const char *text), struct outputs **ret_outputs)
{
	struct outputs *outputs = calloc(1, sizeof(*outputs));

	if (!outputs)
		return -ENOMEM;
	memcpy(outputs->counts, no_counts, sizeof(outputs->counts));
	outputs->say = say;
	*ret_outputs = outputs;
	return 0;
}

void outputs_free(struct outputs *outputs)
{
	if (!outputs)
		return;
	/* What one waits for, all wait for together. */
	for (int i = 0; i < KINDS; i++)
		sink_end(outputs->sinks[i]);
	files_recorder_end(outputs->recorder);
	/* They said what was wrong. */
	for (int i = 0; i < KINDS; i++)
		(void)sink_close(outputs->sinks[i]);
	(void)files_recorder_close(outputs->recorder);
	prometheus_free(outputs->metrics);
	listen_board_free(outputs->board);
	free(outputs);
}

static uint64_t wall_ns(void *context)
{
	return clock_ns(CLOCK_REALTIME);
}

/* Of systemd's StateDirectory=, else the usual one where it is there. */
static const char *state_directory(void)
{
	const char *directory = getenv("STATE_DIRECTORY");

	if (directory && directory[0] == '/' && !strchr(directory, ':'))
		return directory;
	return access(STATE_DIRECTORY, W_OK) == 0 ? STATE_DIRECTORY : NULL;
}

/* NULL: it cannot be read. */
static const char *boot_of_host(char boot[BOOT_BYTES])
{
	_cleanup_(cleanup_close) int fd = open(BOOT_FILE, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, boot, BOOT_BYTES - 1);

	if (length <= 0)
		return NULL;
	boot[length] = '\0';
	boot[strcspn(boot, "\n")] = '\0';
	return boot;
}

static struct prometheus_options metrics_options(const struct config *config)
{
	static const enum prometheus_naming namings[] = {
		[CONFIG_LABEL_UNIT] = PROMETHEUS_BY_UNIT,
		[CONFIG_LABEL_CONTAINER] = PROMETHEUS_BY_CONTAINER,
		[CONFIG_LABEL_COMM] = PROMETHEUS_BY_COMM,
	};

	return (struct prometheus_options){
		.naming = namings[config->prometheus.label],
		.services = config->prometheus.services,
		.routes = config->prometheus.routes,
	};
}

static int new_metrics(const struct outputs *outputs, const struct config *config,
	struct prometheus_state **ret_metrics)
{
	const struct prometheus_options options = metrics_options(config);
	int error = prometheus_new(&options, ret_metrics);

	if (error)
		return error;
	error = prometheus_attach(*ret_metrics, outputs->counts, COUNTS);
	return error ? error : listen_board_attach(outputs->board, *ret_metrics);
}

static int new_warden(struct outputs *outputs, const struct config *config, struct sink **ret_sink,
	struct diag *diag)
{
	static const enum warden_generation generations[] = {
		[CONFIG_WARDEN_AUTO] = WARDEN_AUTO,
		[CONFIG_WARDEN_JSONL] = WARDEN_JSONL,
		[CONFIG_WARDEN_SQLITE] = WARDEN_SQLITE,
	};
	char boot[BOOT_BYTES];
	const struct warden_options options = {
		.directory = config->warden.directory,
		.state_directory = state_directory(),
		.boot = boot_of_host(boot),
		.generation = generations[config->warden.format],
		.queue_records = config->warden.queue,
		.episodes = {.open_bytes = config->warden.incident_bytes,
			.confidence = config->warden.incident_confidence},
		.clock = wall_ns,
		.say = outputs->say,
	};
	int error = sink_warden_new(&options, ret_sink, diag);

	if (!error && !options.state_directory)
		outputs->say(NULL,
			"[inner-warden] there is no state directory to write to: after a restart "
			"incidents that are open are told again, and the day's summary begins "
			"anew");
	return error;
}

/* A host without Inner Warden has nobody to write for; asked at each report. */
static int open_warden(struct outputs *outputs, const struct config *config, struct sink **ret_sink,
	struct diag *diag)
{
	if (config->warden.format == CONFIG_WARDEN_OFF ||
		(config->warden.format == CONFIG_WARDEN_AUTO &&
			access(config->warden.directory, F_OK) != 0))
		return 0;
	return new_warden(outputs, config, ret_sink, diag);
}

/*
 * The token is a secret: nobody else may read its file, and only its owner or root may have
 * written it.
 */
static int read_token(const char *path, char token[LISTEN_TOKEN_BYTES_MAX + 2],
	struct stat *ret_file, struct diag *diag)
{
	_cleanup_(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	ssize_t length;

	if (fd < 0 || fstat(fd, ret_file) < 0)
		return diag_set(
			diag, -errno, "cannot open the token file %s: %s", path, strerror(errno));
	if (!S_ISREG(ret_file->st_mode) || ret_file->st_mode & 077 ||
		(ret_file->st_uid != 0 && ret_file->st_uid != geteuid()))
		return diag_set(diag, -EACCES,
			"the token file %s must be a file of root's or ours that is closed to "
			"others (mode 0600)",
			path);
	length = read(fd, token, LISTEN_TOKEN_BYTES_MAX + 1);
	if (length < 0)
		return diag_set(diag, -errno, "cannot read %s: %s", path, strerror(errno));
	token[length] = '\0';
	token[strcspn(token, "\r\n")] = '\0';
	return 0;
}

static uint64_t interval_ns(const struct config *config)
{
	return (uint64_t)(config->watch.interval_s * (double)NS_PER_S);
}

static int open_listen(struct outputs *outputs, const struct config *config, struct sink **ret_sink,
	struct diag *diag)
{
	char token[LISTEN_TOKEN_BYTES_MAX + 2] = "";
	const char *hosts[CONFIG_LIST];
	struct listen_options options = {
		.address = config->listen.address,
		.connections = config->listen.connections,
		.connections_per_client = config->listen.connections_per_client,
		.requests_per_minute = config->listen.requests_per_minute,
		.interval_ns = interval_ns(config),
		.hosts = hosts,
		.host_count = config->listen.hosts.count,
		.metrics = outputs->metrics,
		.board = outputs->board,
		.say = outputs->say,
	};
	int error = 0;

	if (!config->listen.address[0])
		return 0;
	for (unsigned i = 0; i < config->listen.hosts.count; i++)
		hosts[i] = config->listen.hosts.texts[i];
	if (config->listen.token_file[0]) {
		error = read_token(config->listen.token_file, token, &outputs->token, diag);
		options.token = token;
	}
	if (!error)
		error = sink_listen_new(&options, ret_sink, diag);
	explicit_bzero(token, sizeof(token));
	return error;
}

static int open_textfile(struct outputs *outputs, const struct config *config,
	struct sink **ret_sink, struct diag *diag)
{
	const struct textfile_options options = {
		.path = config->prometheus.textfile,
		.metrics = outputs->metrics,
		.say = outputs->say,
	};

	return config->prometheus.textfile[0] ? sink_textfile_new(&options, ret_sink, diag) : 0;
}

static struct files_options files(struct outputs *outputs, const struct config *config)
{
	return (struct files_options){
		.directory = config->files.directory,
		.rotate_bytes = config->files.rotate_bytes,
		.keep_bytes = config->files.keep_bytes,
		.keep_days = config->files.keep_days,
		.say = outputs->say,
	};
}

static int open_files(struct outputs *outputs, const struct config *config, struct sink **ret_sink,
	struct diag *diag)
{
	const struct files_options options = files(outputs, config);

	return config->files.json ? sink_files_new(&options, ret_sink, diag) : 0;
}

/* The sections that a sink is made of: when one of them changes, it is made anew. */
static const struct {
	int (*open)(struct outputs *outputs, const struct config *config, struct sink **ret_sink,
		struct diag *diag);
	const char *sections[2];
} kinds[KINDS] = {
	[KIND_WARDEN] = {open_warden, {"inner-warden"}},
	[KIND_LISTEN] = {open_listen, {"listen", "prometheus"}},
	[KIND_TEXTFILE] = {open_textfile, {"prometheus"}},
	[KIND_FILES] = {open_files, {"files"}},
};

/* The same file with another token in it is another one, too. */
static bool has_new_token(const struct outputs *outputs, const struct config *config)
{
	const char *path = config->listen.token_file;
	const struct stat *old = &outputs->token;
	struct stat now;

	return path[0] && stat(path, &now) == 0 &&
	       (now.st_dev != old->st_dev || now.st_ino != old->st_ino ||
		       now.st_ctim.tv_sec != old->st_ctim.tv_sec ||
		       now.st_ctim.tv_nsec != old->st_ctim.tv_nsec);
}

static bool differs(const struct outputs *outputs, enum kind kind, const struct config *old,
	const struct config *config)
{
	const char *const *sections = kinds[kind].sections;

	return config_differs(old, config, sections[0]) ||
	       (sections[1] && config_differs(old, config, sections[1])) ||
	       (kind == KIND_LISTEN && has_new_token(outputs, config));
}

/* What came of opening a sink is said when it begins to fail and when that is over. */
static void note_opening(
	struct outputs *outputs, enum kind kind, int error, const struct diag *diag)
{
	char text[sizeof(diag->text) + 64];
	bool was_missing = outputs->is_missing[kind];

	outputs->is_missing[kind] = error != 0;
	if (outputs->is_missing[kind] == was_missing)
		return;
	if (error)
		(void)snprintf(text, sizeof(text), "%s; trying again at each report",
			diag->text[0] ? diag->text : strerror(-error));
	else
		(void)snprintf(text, sizeof(text), "[%s] works now", kinds[kind].sections[0]);
	outputs->say(NULL, text);
}

static void open_again(struct outputs *outputs, enum kind kind, const struct config *config)
{
	struct diag diag = {};
	int error = kinds[kind].open(outputs, config, &outputs->sinks[kind], &diag);

	note_opening(outputs, kind, error, &diag);
}

/* A host that comes to have Inner Warden is noticed without a word. */
static bool is_awaited(const struct outputs *outputs, enum kind kind)
{
	return outputs->is_missing[kind] ||
	       (kind == KIND_WARDEN && !outputs->sinks[kind] &&
		       outputs->config->warden.format == CONFIG_WARDEN_AUTO);
}

int outputs_open(struct outputs *outputs, const struct config *config, struct diag *diag)
{
	const struct files_options recording = files(outputs, config);
	int error = listen_board_new(&outputs->board);

	outputs->config = config;
	if (!error)
		error = new_metrics(outputs, config, &outputs->metrics);
	for (int i = 0; i < KINDS && !error; i++) {
		error = kinds[i].open(outputs, config, &outputs->sinks[i], diag);
		if (error != -EAGAIN || i != KIND_WARDEN)
			continue;
		note_opening(outputs, i, error, diag);
		*diag = (struct diag){};
		error = 0;
	}
	if (!error && config->files.recording)
		error = files_recorder_new(&recording, &outputs->recorder, diag);
	return error;
}

static void set_count(struct outputs *outputs, enum count count, uint64_t now)
{
	outputs->counts[count].value = outputs->before[count] + now;
}

static void count_warden(struct outputs *outputs)
{
	struct warden_counts now = {};

	if (outputs->sinks[KIND_WARDEN])
		sink_warden_counts(outputs->sinks[KIND_WARDEN], &now);
	set_count(outputs, COUNT_WARDEN_WRITTEN, now.acknowledged);
	set_count(outputs, COUNT_WARDEN_UNCONFIRMED, now.unconfirmed);
	set_count(outputs, COUNT_WARDEN_FULL, now.dropped_full);
	set_count(outputs, COUNT_WARDEN_DAY, now.dropped_day);
	set_count(outputs, COUNT_WARDEN_MEMORY, now.dropped_memory);
	set_count(outputs, COUNT_WARDEN_NOT_FOLLOWED, now.not_followed);
}

static void count_files(struct outputs *outputs)
{
	struct files_counters now = {};

	if (outputs->sinks[KIND_FILES])
		sink_files_counters(outputs->sinks[KIND_FILES], &now);
	set_count(outputs, COUNT_JSON_WRITTEN, now.synced);
	set_count(outputs, COUNT_JSON_DROPPED, now.dropped);
	now = (struct files_counters){};
	if (outputs->recorder)
		files_recorder_counters(outputs->recorder, &now);
	set_count(outputs, COUNT_RECORDING_WRITTEN, now.synced);
	set_count(outputs, COUNT_RECORDING_DROPPED, now.dropped);
}

static void count(struct outputs *outputs)
{
	count_warden(outputs);
	count_files(outputs);
}

/* Counters go on where the closed one's ended. */
static void close_one(struct outputs *outputs, enum kind kind)
{
	enum count from = kind == KIND_WARDEN ? COUNT_WARDEN_WRITTEN : COUNT_JSON_WRITTEN;
	enum count to = kind == KIND_WARDEN  ? COUNT_JSON_WRITTEN
			: kind == KIND_FILES ? COUNT_RECORDING_WRITTEN
					     : from;

	count(outputs);
	for (enum count i = from; i < to; i++)
		outputs->before[i] = outputs->counts[i].value;
	(void)sink_close(outputs->sinks[kind]);
	outputs->sinks[kind] = NULL;
}

/* It needs the stream from its beginning, so it is neither begun nor moved. */
static void reload_recorder(
	struct outputs *outputs, const struct config *old, const struct config *config)
{
	const struct files_options recording = files(outputs, config);

	if (outputs->recorder)
		files_recorder_limits(outputs->recorder, &recording);
	if (config->files.recording != old->files.recording ||
		(outputs->recorder && strcmp(config->files.directory, old->files.directory) != 0))
		outputs->say(NULL, "[files] recording, and where to, changes with a restart");
}

/* Returns those in force till now, which sinks that are not closed yet still read. */
static struct prometheus_state *reload_metrics(
	struct outputs *outputs, const struct config *old, const struct config *config)
{
	const struct prometheus_options before = metrics_options(old),
					now = metrics_options(config);
	struct prometheus_state *in_force = outputs->metrics, *metrics = NULL;

	if (before.naming == now.naming && before.services == now.services &&
		before.routes == now.routes)
		return NULL;
	if (new_metrics(outputs, config, &metrics)) {
		prometheus_free(metrics);
		outputs->say(NULL, "[prometheus] stays as it was: out of memory");
		return NULL;
	}
	outputs->metrics = metrics;
	return in_force;
}

/* The old one goes first: two cannot listen on one port. */
void outputs_reload(struct outputs *outputs, const struct config *old, const struct config *config)
{
	struct prometheus_state *metrics = reload_metrics(outputs, old, config);

	for (int i = 0; i < KINDS; i++) {
		if (!outputs->is_missing[i] && !differs(outputs, i, old, config))
			continue;
		close_one(outputs, i);
		open_again(outputs, i, config);
	}
	prometheus_free(metrics);
	if (outputs->sinks[KIND_LISTEN])
		sink_listen_interval(outputs->sinks[KIND_LISTEN], interval_ns(config));
	reload_recorder(outputs, old, config);
}

/* Said when it begins and when it is over. */
static void fold(struct outputs *outputs, const struct report *report)
{
	bool is_bad = prometheus_fold(outputs->metrics, report) != 0;

	if (is_bad != outputs->folds_badly)
		outputs->say(
			NULL, is_bad ? "out of memory: the metrics of some services are `other`"
				     : "new services have metrics of their own again");
	outputs->folds_badly = is_bad;
}

/* A sink's failure is its own, and told by itself. */
void outputs_report(struct outputs *outputs, const struct report *report)
{
	for (int i = 0; i < KINDS; i++)
		if (is_awaited(outputs, i))
			open_again(outputs, i, outputs->config);
	count(outputs);
	fold(outputs, report);
	for (int i = 0; i < KINDS; i++)
		if (outputs->sinks[i])
			(void)sink_write(outputs->sinks[i], report);
}

void outputs_event(struct outputs *outputs, const struct event *event)
{
	if (outputs->recorder)
		(void)files_recorder_event(outputs->recorder, event);
}
