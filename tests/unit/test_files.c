/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Own files: lines and recordings that rotate, disks that hang, recordings that replay by
 * themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "metrics.h"
#include "pagestay/core/track.h"
#include "pagestay/edge/rotate.h"
#include "pagestay/sink/files.h"
#include "pagestay/source/replay.h"

#define S         1000000000ull
#define START_NS  (1767355200ull * S) /* 2026-01-02 12:00:00 UTC */
#define PROCESSES 3
#define DIGEST    4096
#define REPORTS   64

/* What the disk does to the threads that write. */
static atomic_bool hangs;
static atomic_int hanging, sync_error;
static pthread_t caller;

/* What recordings are made in. */
static bool is_in_memory(int fd)
{
	char path[64], target[64] = "";

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return readlink(path, target, sizeof(target) - 1) > 0 && strncmp(target, "/memfd:", 7) == 0;
}

int fsync(int fd);
int fsync(int fd)
{
	if (is_in_memory(fd))
		return 0;
	/* The caller is never held up by a disk. */
	assert_false(pthread_equal(caller, pthread_self()));
	hanging++;
	while (hangs)
		(void)usleep(1000);
	hanging--;
	errno = sync_error;
	return sync_error ? -1 : (int)syscall(SYS_fsync, fd);
}

static char directory[64];
static atomic_ullong clock_ns;
static unsigned said;
static char last[512];

static uint64_t wall(void *context)
{
	return clock_ns;
}

static void say(void *context, const char *text)
{
	assert_true(pthread_equal(caller, pthread_self()));
	said++;
	(void)snprintf(last, sizeof(last), "%s", text);
}

static int set_up(void **state)
{
	(void)strcpy(directory, "/tmp/pagestay-files-XXXXXX");
	assert_non_null(mkdtemp(directory));
	hangs = false;
	sync_error = 0;
	clock_ns = START_NS;
	said = 0;
	return 0;
}

static int tear_down(void **state)
{
	DIR *entries = opendir(directory);
	const struct dirent *entry;
	char path[512];

	assert_non_null(entries);
	while ((entry = readdir(entries))) {
		(void)snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		(void)unlink(path);
	}
	(void)closedir(entries);
	return rmdir(directory);
}

static struct files_options some_options(void)
{
	return (struct files_options){.directory = directory, .wall_ns = wall, .say = say};
}

static void limit_files(rlim_t bytes)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static const char *path_of(const char *name)
{
	static char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static void put_file(const char *name)
{
	FILE *file = fopen(path_of(name), "we");

	assert_non_null(file);
	assert_int_equal(fclose(file), 0);
}

/* False: not within ten seconds. */
static bool wait_until(bool (*is_so)(const void *of), const void *of)
{
	for (int i = 0; i < 10000; i++) {
		if (is_so(of))
			return true;
		(void)usleep(1000);
	}
	return false;
}

static bool sink_is_done(const void *of)
{
	struct files_counters counters;

	sink_files_counters(of, &counters);
	return counters.synced + counters.dropped >= counters.queued;
}

/* And its queue is empty. */
static bool sink_is_synced(const void *of)
{
	struct files_counters counters;

	sink_files_counters(of, &counters);
	return counters.synced == counters.queued;
}

static bool recorder_is_done(const void *of)
{
	struct files_counters counters;

	files_recorder_counters(of, &counters);
	return counters.synced + counters.dropped >= counters.queued;
}

static bool recorder_is_synced(const void *of)
{
	struct files_counters counters;

	files_recorder_counters(of, &counters);
	return counters.synced == counters.queued;
}

/*
 * Lines.
 */

static unsigned check_lines(const char *name, uint64_t *last_number)
{
	FILE *file = fopen(path_of(name), "re");
	char *line = NULL;
	size_t room = 0;
	unsigned count = 0;

	assert_non_null(file);
	while (getline(&line, &room, file) > 0) {
		json_t *report = json_loads(line, 0, NULL);

		assert_non_null(report);
		assert_string_equal(
			json_string_value(json_object_get(report, "schema")), "pagestay.report/1");
		assert_int_equal(json_integer_value(json_object_get(
					 json_object_get(report, "self"), "rss_bytes")),
			++*last_number);
		assert_int_equal(line[strlen(line) - 1], '\n');
		json_decref(report);
		count++;
	}
	free(line);
	(void)fclose(file);
	return count;
}

static void reports_are_lines_of_dated_files(void **state)
{
	const struct files_options options = some_options();
	struct files_counters counters;
	struct metrics_world world;
	struct diag diag = {};
	struct sink *sink;
	uint64_t number = 0;

	metrics_init(&world);
	assert_int_equal(sink_files_new(&options, &sink, &diag), 0);
	for (uint64_t i = 1; i <= 6; i++) {
		if (i == 4)
			clock_ns = START_NS + 13 * 3600 * S;
		world.report.self_rss_bytes = i;
		assert_int_equal(sink_write(sink, &world.report), 0);
		assert_true(wait_until(sink_is_done, sink));
	}
	sink_files_counters(sink, &counters);
	assert_int_equal(counters.queued, 6);
	assert_int_equal(counters.synced, 6);
	assert_int_equal(counters.dropped, 0);
	assert_int_equal(counters.files_begun, 2);
	assert_int_equal(sink_close(sink), 0);
	if (access(path_of("pagestay-2026-01-02.jsonl"), F_OK) == 0)
		assert_int_equal(check_lines("pagestay-2026-01-02.jsonl", &number), 3);
	number = 3;
	assert_int_equal(check_lines("pagestay-2026-01-03.jsonl", &number), 3);
	assert_int_equal(said, 0);
}

static bool first_is_compressed(const void *of)
{
	struct files_counters counters;

	sink_files_counters(of, &counters);
	return counters.files_compressed == 1;
}

static void ended_files_are_compressed_by_the_thread(void **state)
{
	struct files_options options = some_options();
	struct metrics_world world;
	struct diag diag = {};
	struct sink *sink;

	metrics_init(&world);
	options.rotate_bytes = 1;
	assert_int_equal(sink_files_new(&options, &sink, &diag), 0);
	assert_int_equal(sink_write(sink, &world.report), 0);
	assert_int_equal(sink_write(sink, &world.report), 0);
	assert_true(wait_until(first_is_compressed, sink));
	assert_int_equal(access(path_of("pagestay-2026-01-02.jsonl"), F_OK), -1);
	assert_int_equal(access(path_of("pagestay-2026-01-02.jsonl.gz"), F_OK), 0);
	assert_int_equal(sink_close(sink), 0);
}

static bool is_hanging(const void *of)
{
	return hanging > 0;
}

static bool nothing_hangs(const void *of)
{
	return hanging == 0;
}

static uint64_t count_lines(const char *name)
{
	FILE *file = fopen(path_of(name), "re");
	uint64_t lines = 0;
	int byte;

	while (file && (byte = getc(file)) != EOF)
		lines += byte == '\n';
	if (file)
		(void)fclose(file);
	return lines;
}

static double now_s(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void a_disk_that_hangs_holds_nobody_up(void **state)
{
	struct files_options options = some_options();
	struct files_counters counters;
	struct metrics_world world;
	struct diag diag = {};
	struct sink *sink;
	char name[ROTATE_NAME_BYTES], words[64];
	struct timespec now;
	uint64_t number = 0;
	double began_s;

	metrics_init(&world);
	options.queue_bytes = 20000;
	/* Who has closed it is not asked for the time any more. */
	options.wall_ns = NULL;
	assert_int_equal(clock_gettime(CLOCK_REALTIME, &now), 0);
	assert_int_equal(rotate_name_at(ROTATE_LINES, (uint64_t)now.tv_sec * S, name), 0);
	assert_int_equal(sink_files_new(&options, &sink, &diag), 0);
	hangs = true;
	world.report.self_rss_bytes = 1;
	assert_int_equal(sink_write(sink, &world.report), 0);
	assert_true(wait_until(is_hanging, NULL));
	for (uint64_t i = 2; i <= 200; i++) {
		world.report.self_rss_bytes = i;
		assert_int_equal(sink_write(sink, &world.report), 0);
	}
	sink_files_counters(sink, &counters);
	assert_in_range(counters.queued, 3, 20);
	assert_int_equal(counters.queued + counters.dropped, 200);
	assert_int_equal(counters.synced, 0);
	assert_int_equal(said, 1);
	assert_non_null(strstr(last, "cannot write: the disk hangs or is slow, and the queue is"));
	began_s = now_s();
	assert_int_equal(sink_close(sink), -ETIMEDOUT);
	assert_true(now_s() - began_s < 5);
	assert_int_equal(said, 2);
	(void)snprintf(words, sizeof(words), "the disk hangs: %u that wait may never be written",
		(unsigned)counters.queued);
	assert_non_null(strstr(last, words));
	hangs = false;
	/* What was in the queue is written all the same. */
	for (int i = 0; i < 10000 && count_lines(name) < counters.queued; i++)
		(void)usleep(1000);
	assert_int_equal(check_lines(name, &number), counters.queued);
}

static void what_a_full_queue_drops_is_said_once_and_its_end(void **state)
{
	struct files_options options = some_options();
	struct files_counters counters;
	struct metrics_world world;
	struct diag diag = {};
	struct sink *sink;
	char words[64];

	metrics_init(&world);
	options.queue_bytes = 20000;
	assert_int_equal(sink_files_new(&options, &sink, &diag), 0);
	hangs = true;
	for (int i = 0; i < 100; i++)
		assert_int_equal(sink_write(sink, &world.report), 0);
	assert_int_equal(said, 1);
	hangs = false;
	assert_true(wait_until(sink_is_synced, sink));
	assert_int_equal(sink_write(sink, &world.report), 0);
	assert_int_equal(said, 2);
	sink_files_counters(sink, &counters);
	(void)snprintf(words, sizeof(words), "written again; dropped meanwhile: %u",
		(unsigned)counters.dropped);
	assert_non_null(strstr(last, words));
	assert_int_equal(sink_close(sink), 0);
	assert_int_equal(said, 2);
}

static void a_report_that_is_larger_than_the_queue_is_written(void **state)
{
	struct files_options options = some_options();
	struct metrics_world world;
	struct diag diag = {};
	struct sink *sink;

	metrics_init(&world);
	options.queue_bytes = 100;
	assert_int_equal(sink_files_new(&options, &sink, &diag), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(sink_write(sink, &world.report), 0);
		assert_true(wait_until(sink_is_synced, sink));
	}
	/* But one at a time. */
	hangs = true;
	for (int i = 0; i < 3; i++)
		assert_int_equal(sink_write(sink, &world.report), 0);
	hangs = false;
	assert_int_equal(sink_close(sink), 0);
	assert_int_equal(said, 1);
	assert_in_range(count_lines("pagestay-2026-01-02.jsonl"), 4, 5);
}

/* Who closes several of them waits for all together. */
static void the_time_of_closing_begins_with_the_end(void **state)
{
	struct files_options options = some_options();
	struct metrics_world world;
	struct diag diag = {};
	struct sink *sink;
	double began_s;

	metrics_init(&world);
	options.wall_ns = NULL;
	assert_int_equal(sink_files_new(&options, &sink, &diag), 0);
	hangs = true;
	assert_int_equal(sink_write(sink, &world.report), 0);
	began_s = now_s();
	sink_end(sink);
	assert_true(now_s() - began_s < 0.5);
	(void)usleep(750 * 1000);
	began_s = now_s();
	sink_end(sink);
	assert_int_equal(sink_close(sink), -ETIMEDOUT);
	assert_true(now_s() - began_s < 0.5);
	hangs = false;
	assert_true(wait_until(nothing_hangs, NULL));
}

static void a_failure_is_said_once_and_its_end(void **state)
{
	const struct files_options options = some_options();
	struct files_counters counters;
	struct metrics_world world;
	struct diag diag = {};
	struct sink *sink;
	uint64_t number = 0;

	metrics_init(&world);
	assert_int_equal(sink_files_new(&options, &sink, &diag), 0);
	limit_files(100);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(sink_write(sink, &world.report), 0);
		assert_true(wait_until(sink_is_done, sink));
	}
	sink_files_counters(sink, &counters);
	assert_true(counters.paused);
	limit_files(RLIM_INFINITY);
	for (uint64_t i = 1; i <= 3; i++) {
		world.report.self_rss_bytes = i;
		assert_int_equal(sink_write(sink, &world.report), 0);
		assert_true(wait_until(sink_is_done, sink));
	}
	sink_files_counters(sink, &counters);
	assert_false(counters.paused);
	assert_int_equal(counters.dropped, 5);
	assert_int_equal(sink_close(sink), 0);
	assert_int_equal(said, 2);
	assert_non_null(strstr(last, "written again; dropped meanwhile: 5"));
	assert_int_equal(check_lines("pagestay-2026-01-02.jsonl", &number), 3);
}

static void a_second_writer_is_refused(void **state)
{
	const struct files_options options = some_options();
	struct files_recorder *recorder = NULL, *second = NULL;
	struct sink *sink, *other = NULL;
	struct diag diag = {};

	assert_int_equal(sink_files_new(&options, &sink, &diag), 0);
	assert_int_equal(sink_files_new(&options, &other, &diag), -EBUSY);
	assert_null(other);
	assert_non_null(strstr(diag.text, "another pagestay writes there"));
	assert_int_equal(files_recorder_new(&options, &recorder, &diag), 0);
	assert_int_equal(files_recorder_new(&options, &second, &diag), -EBUSY);
	assert_int_equal(files_recorder_close(recorder), 0);
	assert_int_equal(sink_close(sink), 0);
}

/*
 * Recordings: a stream, what the tracker makes of it as a whole, and of its files.
 */

struct digests {
	char texts[REPORTS][DIGEST];
	uint64_t wall_ns[REPORTS];
	unsigned count;
};

static void digest_process(const struct report_process *row, char *text, size_t room)
{
	size_t used = 0;

	used += (size_t)snprintf(text + used, room - used,
		"%u %s %s %s open %llu closed %llu faults %llu rss %llu %lld anon %lld cpu %llu "
		"allocators %d:",
		row->key.tgid, row->comm, row->exe, row->unit ? row->unit : "-",
		(unsigned long long)row->open, (unsigned long long)row->closed,
		(unsigned long long)row->faults_background, (unsigned long long)row->rss_bytes,
		(long long)row->rss_delta_bytes, (long long)row->anon_delta_bytes,
		(unsigned long long)row->cpu_ns,
		row->allocators ? (int)row->allocators->list[0].name : -1);
	for (int i = 0; i < PS_COUNTERS; i++)
		used += (size_t)snprintf(
			text + used, room - used, " %llu", (unsigned long long)row->counters[i]);
	for (size_t i = 0; i < row->route_count; i++)
		used += (size_t)snprintf(text + used, room - used, " %s=%llu", row->routes[i].text,
			(unsigned long long)row->routes[i].requests);
}

static void digest(struct digests *digests, const struct report *report)
{
	char *text = digests->texts[digests->count];
	size_t used;

	assert_true(digests->count < REPORTS);
	digests->wall_ns[digests->count++] = report->wall_ns;
	used = (size_t)snprintf(text, DIGEST, "%s %s %llu self %llu %llu lost %llu;", report->host,
		report->detail, (unsigned long long)report->interval_ns,
		(unsigned long long)report->self_rss_bytes, (unsigned long long)report->self_cpu_ns,
		(unsigned long long)report->lost[0]);
	for (size_t i = 0; i < report->process_count; i++) {
		digest_process(&report->processes[i], text + used, DIGEST - used);
		used += strlen(text + used);
		assert_true(used < DIGEST - 1);
	}
}

static struct track *new_track(void)
{
	const struct track_options options = {
		.source = "test", .max_processes = 64, .max_routes = 64, .max_pages = 100000};
	struct track *track;

	assert_int_equal(track_new(&options, &track), 0);
	return track;
}

/* A stream of servers whose numbers all differ; one exits, and one begins in between. */
struct stream {
	struct files_recorder *recorder;
	struct track *track;
	struct digests digests;
	unsigned interval;
	bool waits;
};

static void give(struct stream *stream, const struct event *event)
{
	int result;

	if (stream->recorder)
		assert_int_equal(files_recorder_event(stream->recorder, event), 0);
	result = track_event(stream->track, event);
	assert_true(result >= 0);
	if (result > 0)
		digest(&stream->digests, track_report(stream->track));
	if (stream->waits && stream->recorder && event->kind == EVENT_TICK)
		assert_true(wait_until(recorder_is_done, stream->recorder));
}

static struct event event_of(enum event_kind kind, unsigned process)
{
	return (struct event){
		.kind = kind, .proc = {.tgid = 100 + process, .start_ns = 5 + process}};
}

static void give_identity(struct stream *stream, unsigned process)
{
	static struct allocators allocators = {.count = 1, .list[0].name = ALLOCATOR_JEMALLOC};
	struct event event = event_of(EVENT_PROCESS, process);

	(void)snprintf(event.process.comm, sizeof(event.process.comm), "server-%u", process);
	(void)snprintf(
		event.process.exe, sizeof(event.process.exe), "/usr/sbin/server-%u", process);
	(void)snprintf(event.process.cgroup, sizeof(event.process.cgroup),
		"/system.slice/server-%u.service", process);
	give(stream, &event);
	event = event_of(EVENT_ALLOCATORS, process);
	event.allocators = &allocators;
	give(stream, &event);
}

static void give_numbers(struct stream *stream, unsigned process)
{
	const uint64_t n = stream->interval * 10 + process;
	struct event event = event_of(EVENT_COUNTERS, process);

	event.counters.delta[PS_BRK_CALLS] = n + 1;
	event.counters.delta[PS_CONNECTIONS_OPENED] = 10;
	event.counters.delta[PS_REQUESTS] = 2 * n;
	event.counters.delta[PS_REQUESTS_ROUTED] = n;
	event.counters.delta[PS_FAULTS_IN_REQUESTS] = n % 3;
	event.counters.open = 3 + n % 4;
	give(stream, &event);
	event = event_of(EVENT_ROUTE, process);
	(void)snprintf(event.route.text, sizeof(event.route.text), "GET /r%u", process);
	event.route.requests = n;
	event.route.hash = 77 + process;
	give(stream, &event);
	event = event_of(EVENT_MEMORY, process);
	event.memory = (struct event_memory){.rss_bytes = n * 1000 + n % 7 * 333,
		.anon_bytes = n * 900,
		.faults = n * 50,
		.cpu_ns = n * n,
		.file_bytes = 100};
	give(stream, &event);
}

static void give_end(struct stream *stream, enum event_kind kind)
{
	struct event event = {.kind = kind};

	event.tick.wall_ns = START_NS + stream->interval * S;
	event.tick.interval_ns = kind == EVENT_TICK ? S + stream->interval : 0;
	event.tick.self_rss_bytes = 1000 + stream->interval;
	event.tick.self_cpu_ns = stream->interval * stream->interval;
	event.tick.now_ns = (100 + stream->interval) * S;
	give(stream, &event);
	stream->interval++;
}

static void give_start(struct stream *stream, const char *detail)
{
	struct event event = {.kind = EVENT_STREAM};

	*stream =
		(struct stream){.recorder = stream->recorder, .track = new_track(), .waits = true};
	(void)strcpy(event.stream.host, "web-1");
	(void)strcpy(event.stream.detail, detail);
	event.stream.routes = 1;
	event.stream.page_bytes = 4096;
	give(stream, &event);
	event = (struct event){.kind = EVENT_NOTE};
	(void)strcpy(event.note.text, "a note");
	give(stream, &event);
	for (unsigned i = 0; i < PROCESSES; i++) {
		give_identity(stream, i);
		give_numbers(stream, i);
	}
	give_end(stream, EVENT_START);
}

static void give_interval(struct stream *stream)
{
	struct event event = event_of(EVENT_EXITED, 1);

	if (stream->interval == 6)
		give_identity(stream, PROCESSES);
	for (unsigned i = 0; i < PROCESSES + (stream->interval >= 6); i++)
		if (i != 1 || stream->interval <= 4)
			give_numbers(stream, i);
	if (stream->interval == 4)
		give(stream, &event);
	give_end(stream, EVENT_TICK);
}

struct replayed {
	struct track *track;
	struct digests digests;
	uint64_t earlier_bytes[REPORTS];
	int64_t requests_bytes[REPORTS], unexplained_bytes[REPORTS];
	size_t notes;
};

static int fold_replayed(void *context, const struct event *event)
{
	struct replayed *replayed = context;
	int result = track_event(replayed->track, event);

	if (result > 0) {
		const struct report *report = track_report(replayed->track);
		const struct report_growth *growth = &report->processes[0].growth;
		unsigned index = replayed->digests.count;

		assert_true(report->complete);
		replayed->notes = report->note_count;
		replayed->earlier_bytes[index] = (uint64_t)growth->earlier_bytes;
		replayed->requests_bytes[index] = growth->requests_bytes;
		replayed->unexplained_bytes[index] = growth->unexplained_bytes;
		digest(&replayed->digests, report);
	}
	return result < 0 ? result : 0;
}

/* Replays a file to its end, which must be one. */
static struct replayed *replay(const char *name)
{
	struct replayed *replayed = calloc(1, sizeof(*replayed));
	struct source *source = NULL;
	struct diag diag = {};
	int result;

	assert_non_null(replayed);
	replayed->track = new_track();
	if (source_replay_open(path_of(name), &source, &diag))
		fail_msg("%s", diag.text);
	result = source_drain(source, SOURCE_START, fold_replayed, replayed, &diag);
	while (result > 0)
		result = source_drain(source, SOURCE_TICK, fold_replayed, replayed, &diag);
	if (result)
		fail_msg("%s", diag.text);
	source_close(source);
	track_free(replayed->track);
	return replayed;
}

/* What a file says is what the whole says of the same intervals. Returns how many there are. */
static unsigned check_recording(const char *name, const struct digests *whole)
{
	struct replayed *replayed = replay(name);
	unsigned count = replayed->digests.count;

	for (unsigned i = 0; i < count; i++) {
		unsigned same = 0;

		while (same < whole->count && whole->wall_ns[same] != replayed->digests.wall_ns[i])
			same++;
		assert_true(same < whole->count);
		assert_string_equal(replayed->digests.texts[i], whole->texts[same]);
	}
	free(replayed);
	return count;
}

static const char *recording_name(unsigned number)
{
	static char name[64];

	(void)snprintf(name, sizeof(name),
		number ? "pagestay-2026-01-02.psr.%u" : "pagestay-2026-01-02.psr", number);
	return name;
}

static void end_stream(struct stream *stream)
{
	assert_int_equal(files_recorder_close(stream->recorder), 0);
	track_free(stream->track);
}

static void each_file_of_a_recording_replays_by_itself(void **state)
{
	struct files_options options = some_options();
	struct files_counters counters;
	static struct stream stream;
	struct replayed *replayed;
	struct diag diag = {};
	unsigned reports = 0;

	options.rotate_bytes = 1200;
	assert_int_equal(files_recorder_new(&options, &stream.recorder, &diag), 0);
	give_start(&stream, "requests");
	for (int i = 0; i < 30; i++)
		give_interval(&stream);
	files_recorder_counters(stream.recorder, &counters);
	assert_int_equal(counters.dropped, 0);
	assert_in_range(counters.files_begun, 4, 15);
	end_stream(&stream);
	assert_int_equal(stream.digests.count, 30);
	for (unsigned i = 0; i < counters.files_begun; i++)
		reports += check_recording(recording_name(i), &stream.digests);
	assert_int_equal(reports, 30);
	replayed = replay("pagestay-2026-01-02.psr");
	assert_int_equal(replayed->notes, 1);
	free(replayed);
	replayed = replay("pagestay-2026-01-02.psr.1");
	assert_int_equal(replayed->notes, 2);
	free(replayed);
}

static void a_day_ends_a_recordings_file(void **state)
{
	const struct files_options options = some_options();
	static struct stream stream;
	struct diag diag = {};

	assert_int_equal(files_recorder_new(&options, &stream.recorder, &diag), 0);
	give_start(&stream, "requests");
	for (int i = 0; i < 3; i++)
		give_interval(&stream);
	clock_ns = START_NS + 13 * 3600 * S;
	/* The one that is under way when the day ends is the old day's. */
	for (int i = 0; i < 4; i++)
		give_interval(&stream);
	end_stream(&stream);
	assert_int_equal(check_recording("pagestay-2026-01-02.psr", &stream.digests), 4);
	assert_int_equal(check_recording("pagestay-2026-01-03.psr", &stream.digests), 3);
}

static void a_lost_interval_ends_a_recordings_file(void **state)
{
	const struct files_options options = some_options();
	struct files_counters counters;
	static struct stream stream;
	struct diag diag = {};

	assert_int_equal(files_recorder_new(&options, &stream.recorder, &diag), 0);
	give_start(&stream, "requests");
	for (int i = 0; i < 8; i++) {
		sync_error = i < 3 || i > 5 ? 0 : EIO;
		give_interval(&stream);
	}
	files_recorder_counters(stream.recorder, &counters);
	assert_int_equal(counters.dropped, 3);
	end_stream(&stream);
	assert_int_equal(said, 2);
	assert_int_equal(check_recording("pagestay-2026-01-02.psr.1", &stream.digests), 2);
	assert_int_equal(check_recording("pagestay-2026-01-02.psr", &stream.digests), 3);
}

static void a_full_queue_ends_a_recordings_file(void **state)
{
	struct files_options options = some_options();
	struct files_counters counters;
	static struct stream stream;
	struct diag diag = {};
	unsigned reports = 0;

	options.queue_bytes = 2000;
	assert_int_equal(files_recorder_new(&options, &stream.recorder, &diag), 0);
	give_start(&stream, "requests");
	hangs = true;
	stream.waits = false;
	for (int i = 0; i < 40; i++)
		give_interval(&stream);
	hangs = false;
	assert_true(wait_until(recorder_is_synced, stream.recorder));
	stream.waits = true;
	for (int i = 0; i < 5; i++)
		give_interval(&stream);
	assert_true(wait_until(recorder_is_synced, stream.recorder));
	files_recorder_counters(stream.recorder, &counters);
	assert_in_range(counters.dropped, 1, 39);
	end_stream(&stream);
	assert_int_equal(stream.digests.count, 45);
	/* Every file has its end: only the disk can take it away. */
	for (unsigned i = 0; i < counters.files_begun; i++)
		reports += check_recording(recording_name(i), &stream.digests);
	assert_int_equal(reports + counters.dropped, 45);
}

static void other_limits_hold_from_the_next_interval_on(void **state)
{
	static const char *const name = "pagestay-2025-12-30.jsonl";
	struct files_options options = some_options();
	static struct stream stream;
	struct diag diag = {};

	options.keep_days = 1;
	assert_int_equal(files_recorder_new(&options, &stream.recorder, &diag), 0);
	give_start(&stream, "requests");
	put_file(name);
	options.keep_days = 7;
	files_recorder_limits(stream.recorder, &options);
	/* Days count when the clock has been steady for an hour. */
	for (int i = 0; i < 3; i++) {
		clock_ns += 50 * 60 * S;
		give_interval(&stream);
	}
	assert_int_equal(access(path_of(name), F_OK), 0);
	options.keep_days = 1;
	files_recorder_limits(stream.recorder, &options);
	clock_ns += 2 * 60 * S;
	give_interval(&stream);
	assert_int_equal(access(path_of(name), F_OK), -1);
	end_stream(&stream);
}

static void a_recording_ends_behind_its_last_whole_interval(void **state)
{
	const struct files_options options = some_options();
	static struct stream stream;
	struct diag diag = {};

	assert_int_equal(files_recorder_new(&options, &stream.recorder, &diag), 0);
	give_start(&stream, "requests");
	for (int i = 0; i < 3; i++)
		give_interval(&stream);
	give_numbers(&stream, 0);
	end_stream(&stream);
	assert_int_equal(check_recording("pagestay-2026-01-02.psr", &stream.digests), 3);
}

/* Its end is written by closing it. */
static void a_recording_whose_end_hangs_holds_nobody_up(void **state)
{
	struct files_options options = some_options();
	static struct stream stream;
	struct diag diag = {};
	double began_s;

	assert_int_equal(files_recorder_new(&options, &stream.recorder, &diag), 0);
	give_start(&stream, "requests");
	for (int i = 0; i < 3; i++)
		give_interval(&stream);
	hangs = true;
	began_s = now_s();
	assert_int_equal(files_recorder_close(stream.recorder), -ETIMEDOUT);
	assert_true(now_s() - began_s < 5);
	assert_int_equal(said, 0);
	hangs = false;
	assert_true(wait_until(nothing_hangs, NULL));
	track_free(stream.track);
	assert_int_equal(check_recording("pagestay-2026-01-02.psr", &stream.digests), 3);
}

/*
 * Pages: one more each interval, touched by a request that ends, and all are looked up.
 */

static void give_pages(struct stream *stream)
{
	const uint64_t n = stream->interval;
	struct event event = event_of(EVENT_PAGE, 0);

	event.page = (struct ps_page){.kind = PS_PAGE_TOUCHED,
		.place = PS_IN_WINDOW,
		.tid = 100,
		.page = 1000 + n,
		.pages = 1,
		.set = n + 1,
		.at_ns = (100 + n) * S - S / 2};
	if (n)
		give(stream, &event);
	event.page.kind = PS_PAGE_ENDED;
	event.page.to = 77;
	event.page.at_ns += 1000;
	if (n)
		give(stream, &event);
	event = event_of(EVENT_RESIDENT, 0);
	event.resident = (struct event_resident){.began_ns = (100 + n) * S - S / 10,
		.to = EVENT_UNKNOWN,
		.runs = {1000, 2 * (n + 1)}};
	give(stream, &event);
	event = event_of(EVENT_MEMORY, 0);
	event.memory =
		(struct event_memory){.rss_bytes = (n + 1) * 4096, .anon_bytes = (n + 1) * 4096};
	give(stream, &event);
}

static void pages_before_a_file_are_earlier(void **state)
{
	struct files_options options = some_options();
	static struct stream stream;
	struct replayed *replayed;
	struct diag diag = {};

	assert_int_equal(files_recorder_new(&options, &stream.recorder, &diag), 0);
	give_start(&stream, "pages");
	for (int i = 0; i < 8; i++) {
		if (i == 3)
			clock_ns = START_NS + 13 * 3600 * S;
		give_pages(&stream);
		give_end(&stream, EVENT_TICK);
	}
	end_stream(&stream);
	replayed = replay("pagestay-2026-01-03.psr");
	assert_int_equal(replayed->digests.count, 4);
	/* In the first interval nobody knows what was there before it. */
	assert_true(replayed->requests_bytes[0] == REPORT_DELTA_UNKNOWN);
	for (unsigned i = 1; i < 4; i++) {
		assert_int_equal(replayed->requests_bytes[i], 4096);
		assert_int_equal(replayed->earlier_bytes[i], 0);
		assert_int_equal(replayed->unexplained_bytes[i], 0);
	}
	free(replayed);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(reports_are_lines_of_dated_files),
		TEST(ended_files_are_compressed_by_the_thread),
		TEST(a_disk_that_hangs_holds_nobody_up),
		TEST(what_a_full_queue_drops_is_said_once_and_its_end),
		TEST(a_report_that_is_larger_than_the_queue_is_written),
		TEST(the_time_of_closing_begins_with_the_end),
		TEST(a_failure_is_said_once_and_its_end),
		TEST(a_second_writer_is_refused),
		TEST(each_file_of_a_recording_replays_by_itself),
		TEST(a_day_ends_a_recordings_file),
		TEST(a_lost_interval_ends_a_recordings_file),
		TEST(a_full_queue_ends_a_recordings_file),
		TEST(other_limits_hold_from_the_next_interval_on),
		TEST(a_recording_ends_behind_its_last_whole_interval),
		TEST(a_recording_whose_end_hangs_holds_nobody_up),
		TEST(pages_before_a_file_are_earlier),
	};

	caller = pthread_self();
	(void)signal(SIGXFSZ, SIG_IGN);
	(void)setenv("TZ", "UTC", 1);
	return cmocka_run_group_tests_name("files", tests, NULL, NULL);
}
