/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The event loop. A pump moves events from a source into what the command wants: the tracker, whose
 * reports go to the command's consumer, or a recording. Live commands wait for the end of the
 * interval or a signal, and look at what is urgent in between. The only signals that are handled
 * are waited for here, synchronously; main ignores SIGPIPE.
 */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "pagestay/core/track.h"
#include "pagestay/edge/recording.h"
#include "pagestay/sink/sink.h"
#include "pagestay/source/live.h"
#include "pagestay/base/clock.h"
#include "pagestay/source/replay.h"

#define URGENT_NS         100000000ull /* how often processes that came and went are looked at */
#define DEFAULT_COLUMNS   80
#define BUNDLED_RECORDING "tests/recordings/demo.psr"

struct pump {
	struct source *source;
	struct track *track;               /* NULL when recording */
	struct run_hooks hooks;            /* likewise: none of them */
	struct recording_writer *recorder; /* NULL when not recording */
	unsigned processes;                /* that the stream has named */
	unsigned reports;
	bool enough; /* the consumer wants no more of them */
};

static void say(const char *text)
{
	(void)fprintf(stderr, "pagestay: %s\n", text);
}

enum exit_code run_failed(const struct diag *diag, int error)
{
	say(diag->text[0] ? diag->text : strerror(-error));
	if (error == -EPERM || error == -ENOSYS)
		say(access(BUNDLED_RECORDING, R_OK) == 0
				? "`pagestay doctor` tells what is missing; `pagestay "
				  "replay " BUNDLED_RECORDING "` shows reports without privileges"
				: "`pagestay doctor` tells what is missing");
	return error == -EPERM ? EXIT_PRIVILEGE : error == -ENOSYS ? EXIT_KERNEL : EXIT_RUNTIME;
}

static int pump_event(void *context, const struct event *event)
{
	struct pump *pump = context;
	int result;

	if (event->kind == EVENT_PROCESS)
		pump->processes++;
	if (pump->recorder) {
		if (event->kind == EVENT_TICK)
			pump->reports++;
		return recording_write(pump->recorder, event);
	}
	result = pump->hooks.event ? pump->hooks.event(pump->hooks.context, event) : 0;
	if (!result)
		result = track_event(pump->track, event);
	if (result <= 0)
		return result;
	pump->reports++;
	result = pump->hooks.report(pump->hooks.context, track_report(pump->track));
	pump->enough = result > 0;
	return result < 0 ? result : 0;
}

static int pump_drain(struct pump *pump, enum source_until until, struct diag *diag)
{
	return source_drain(pump->source, until, pump_event, pump, diag);
}

unsigned run_columns(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= DEFAULT_COLUMNS)
		return size.ws_col;
	return DEFAULT_COLUMNS;
}

static struct sink *open_output(const struct options *options)
{
	const struct sink_options sink = {
		.out = stdout,
		.columns = run_columns(),
		.top = options->top,
	};

	return options->output == OUTPUT_JSON ? sink_json_new(&sink) : sink_text_new(&sink);
}

static int open_track(struct pump *pump, const struct options *options, const char *source_name)
{
	const struct track_options track = {
		.source = source_name,
		.top = options->top,
		.max_processes = options->max_processes,
		.max_routes = options->max_routes,
		.max_pages = options->max_pages,
	};

	return track_new(&track, &pump->track);
}

/* Closes what is open. The first failure counts: a full disk may show only now. */
static int pump_close(struct pump *pump, int error)
{
	int recorder_error = recording_writer_close(pump->recorder);

	track_free(pump->track);
	source_close(pump->source);
	return error ? error : recorder_error;
}

/* A signal that is not taken yet. */
static bool is_ending(void)
{
	sigset_t pending;

	return sigpending(&pending) == 0 &&
	       (sigismember(&pending, SIGINT) > 0 || sigismember(&pending, SIGTERM) > 0);
}

static struct live_options live_options(const struct options *options)
{
	return (struct live_options){
		.pids = options->pids,
		.pid_count = options->pid_count,
		.ports = options->ports,
		.port_count = options->port_count,
		.comm = options->by_comm ? &options->comm : NULL,
		.units = options->units,
		.unit_count = options->unit_count,
		.cgroups = options->cgroups,
		.cgroup_count = options->cgroup_count,
		.requests = options->requests,
		.routes = options->routes,
		.pages = options->pages,
		.xray_ns = options->xray ? options->xray_s * NS_PER_S + 1 : 0,
		.max_pages = options->max_pages,
		.level = options->sample_level,
		.interval_ns = options->interval_s * NS_PER_S,
		.is_ending = is_ending,
		.verbose = options->verbose,
		.max_processes = options->max_processes,
		.max_routes = options->max_routes,
		.ring_bytes = options->ring_bytes,
	};
}

static int open_live(struct pump *pump, const struct options *options, struct diag *diag)
{
	const struct live_options live = live_options(options);

	return source_live_open(&live, &pump->source, diag);
}

/* 1: the signal asks to end. */
static int take_signal(struct pump *pump, const struct options *options, int number)
{
	struct live_options live;

	if (number != SIGHUP || !pump->hooks.reload)
		return 1;
	pump->hooks.reload(pump->hooks.context);
	live = live_options(options);
	source_live_select(pump->source, &live);
	return 0;
}

static uint64_t interval_ns(const struct options *options)
{
	return options->interval_s * NS_PER_S;
}

/* Waits until `*deadline_ns`, looking at what is urgent. 1: a signal asks to end. */
static int wait_interval(struct pump *pump, const struct options *options, const sigset_t *signals,
	uint64_t *deadline_ns, struct diag *diag)
{
	for (;;) {
		uint64_t now = clock_ns(CLOCK_MONOTONIC);
		uint64_t wait_ns = *deadline_ns > now ? *deadline_ns - now : 0;
		struct timespec timeout = {};
		int result, number;

		timeout.tv_nsec = wait_ns < URGENT_NS ? wait_ns : URGENT_NS;
		number = sigtimedwait(signals, NULL, &timeout);
		if (number > 0 && take_signal(pump, options, number))
			return 1;
		/* A shorter interval begins at once. */
		if (*deadline_ns > now + interval_ns(options))
			*deadline_ns = now + interval_ns(options);
		if (pump->hooks.idle)
			pump->hooks.idle(pump->hooks.context);
		if (wait_ns <= URGENT_NS)
			return 0;
		result = pump_drain(pump, SOURCE_NOW, diag);
		if (result < 0)
			return result;
	}
}

static void say_watching(const struct pump *pump, const struct options *options)
{
	(void)fprintf(stderr, "pagestay: watching %u process%s, every %g s\n", pump->processes,
		pump->processes == 1 ? "" : "es", options->interval_s);
}

/*
 * Reports until COUNT, a signal, or the consumer has enough; a signal's report covers the interval
 * under way.
 */
static int live_loop(struct pump *pump, const struct options *options, const sigset_t *signals,
	struct diag *diag)
{
	uint64_t deadline_ns;
	int result = pump_drain(pump, SOURCE_START, diag);

	if (result < 0)
		return result;
	say_watching(pump, options);
	deadline_ns = clock_ns(CLOCK_MONOTONIC) + interval_ns(options);
	do {
		int ended = wait_interval(pump, options, signals, &deadline_ns, diag);

		if (ended < 0)
			return ended;
		result = pump_drain(pump, ended ? SOURCE_LAST : SOURCE_TICK, diag);
		if (result < 0)
			return result;
		if (ended)
			break;
		deadline_ns += interval_ns(options);
		if (deadline_ns < clock_ns(CLOCK_MONOTONIC))
			deadline_ns = clock_ns(CLOCK_MONOTONIC) + interval_ns(options);
	} while (!pump->enough && (!options->count || pump->reports < options->count));
	return 0;
}

static void block_signals(sigset_t *ret_signals)
{
	(void)sigemptyset(ret_signals);
	(void)sigaddset(ret_signals, SIGINT);
	(void)sigaddset(ret_signals, SIGTERM);
	(void)sigaddset(ret_signals, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, ret_signals, NULL);
}

static int create_recording(struct pump *pump, const char *path, struct diag *diag)
{
	FILE *file = fopen(path, "we");
	int error = -errno;

	if (file)
		return recording_writer_new(file, &pump->recorder, diag);
	(void)diag_set(diag, error, "cannot create %s: %s", path, strerror(-error));
	return error == -EPERM ? -EACCES : error; /* the file's matter, not the kernel's */
}

/* A recording is created when watching is sure, because that empties one of the same name. */
static int run_live(struct pump *pump, const struct options *options, struct diag *diag)
{
	sigset_t signals;
	int error;

	block_signals(&signals);
	error = open_live(pump, options, diag);
	if (!error && options->command == COMMAND_RECORD)
		error = create_recording(pump, options->file, diag);
	if (!error && pump->hooks.opened)
		error = pump->hooks.opened(pump->hooks.context, diag);
	return error ? error : live_loop(pump, options, &signals, diag);
}

/* A reader that went away has seen enough: that is no failure. */
static enum exit_code finish(int error, struct diag *diag, const char *output)
{
	if (!error || error == -EPIPE)
		return EXIT_OK;
	if (!diag->text[0])
		(void)diag_set(diag, error, "cannot write to %s: %s", output, strerror(-error));
	return run_failed(diag, error);
}

enum exit_code run_record(const struct options *options)
{
	struct pump pump = {};
	struct diag diag = {};
	int error = run_live(&pump, options, &diag);

	if (!error)
		(void)fprintf(stderr, "pagestay: recorded %u interval%s in %s\n", pump.reports,
			pump.reports == 1 ? "" : "s", options->file);
	return finish(pump_close(&pump, error), &diag, options->file);
}

static int ignore_event(void *context, const struct event *event)
{
	return 0;
}

/*
 * Reads a recording to its end or its damage. 0, or why it is not sound, or cannot be read again
 * from its beginning.
 */
static int check_recording(const char *path, struct diag *diag)
{
	struct source *source = NULL;
	struct stat file;
	int result;

	if (stat(path, &file) == 0 && S_ISFIFO(file.st_mode))
		return diag_set(diag, -ESPIPE,
			"%s is a pipe, and replay reads its file twice: to find damage, and to "
			"report",
			path);
	result = source_replay_open(path, &source, diag);
	if (!result)
		result = source_drain(source, SOURCE_START, ignore_event, NULL, diag);
	while (result > 0)
		result = source_drain(source, SOURCE_TICK, ignore_event, NULL, diag);
	source_close(source);
	return result;
}

/*
 * Damage is found before anything is shown, so that every report of a damaged recording says that
 * it is not complete.
 */
static int run_recording(struct pump *pump, const struct options *options, struct diag *diag)
{
	struct diag damage = {};
	int damaged = check_recording(options->file, &damage);
	int result;

	if (damaged && damaged != -EBADMSG)
		return diag_set(diag, damaged, "%s", damage.text);
	result = source_replay_open(options->file, &pump->source, diag);
	if (!result && damaged)
		track_damaged(pump->track);
	if (!result)
		result = pump_drain(pump, SOURCE_START, diag);
	while (result > 0 && !pump->enough)
		result = pump_drain(pump, SOURCE_TICK, diag);
	return result < 0 ? result : 0;
}

int run_hooked(const struct options *options, const struct run_hooks *hooks, struct diag *diag)
{
	struct pump pump = {.hooks = *hooks};
	int error = open_track(&pump, options, options->file ? "replay" : "bpf");

	if (!error && options->file)
		error = run_recording(&pump, options, diag);
	else if (!error)
		error = run_live(&pump, options, diag);
	if (hooks->closing)
		hooks->closing(hooks->context);
	return pump_close(&pump, error);
}

int run_reports(const struct options *options, report_fn consume, void *context, struct diag *diag)
{
	const struct run_hooks hooks = {.report = consume, .context = context};

	return run_hooked(options, &hooks, diag);
}

static int write_report(void *context, const struct report *report)
{
	return sink_write(context, report);
}

static enum exit_code run_to_sink(const struct options *options)
{
	struct sink *sink = open_output(options);
	struct diag diag = {};
	int error = sink ? run_reports(options, write_report, sink, &diag) : -ENOMEM;
	int sink_error = sink_close(sink);

	return finish(error ? error : sink_error, &diag, "standard output");
}

enum exit_code run_watch(const struct options *options)
{
	return run_to_sink(options);
}

enum exit_code run_replay(const struct options *options)
{
	return run_to_sink(options);
}
