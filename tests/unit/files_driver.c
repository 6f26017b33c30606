/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Writes reports and a recording into rotating files until it is killed, for tests/files.
 *
 *   files_driver DIRECTORY FIRST PAUSE_US ROTATE_BYTES
 *
 * Reports are numbered from FIRST on, in `self.rss_bytes`; each is 97 s of the files' clock after
 * the one before, so that days end. On stdout: `acked N` when all up to number N are known to be on
 * the disk, and at the end, which SIGTERM asks for, `counted QUEUED SYNCED DROPPED COMPRESSED`. On
 * stderr: what the sink says. The random text of a report does not compress well.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pagestay/core/track.h"
#include "pagestay/sink/files.h"

#define S          1000000000ull
#define NOTES      12
#define NOTE_BYTES 128
#define MOST_AHEAD 32 /* reports that wait for the disk */

static volatile sig_atomic_t ends;
static uint64_t clock_ns;

static void end(int unused)
{
	ends = 1;
}

static uint64_t wall(void *context)
{
	return __atomic_load_n(&clock_ns, __ATOMIC_RELAXED);
}

static void say(void *context, const char *text)
{
	(void)fprintf(stderr, "%s\n", text);
}

static void fill(char notes[NOTES][NOTE_BYTES])
{
	for (int i = 0; i < NOTES; i++) {
		for (int j = 0; j < NOTE_BYTES - 1; j++)
			notes[i][j] = (char)('!' + random() % 90);
		notes[i][NOTE_BYTES - 1] = '\0';
	}
}

static void make_report(uint64_t number, struct report *report)
{
	static char notes[NOTES][NOTE_BYTES];
	static const char *texts[NOTES];

	fill(notes);
	for (int i = 0; i < NOTES; i++)
		texts[i] = notes[i];
	*report = (struct report){
		.wall_ns = wall(NULL),
		.interval_ns = S,
		.host = "test",
		.source = "test",
		.detail = "requests",
		.complete = true,
		.notes = texts,
		.note_count = NOTES,
		.self_rss_bytes = number,
	};
}

static void give(struct files_recorder *recorder, enum event_kind kind, uint64_t number)
{
	struct event event = {.kind = kind};

	if (kind == EVENT_STREAM) {
		(void)strcpy(event.stream.host, "test");
		(void)strcpy(event.stream.detail, "requests");
		event.stream.page_bytes = 4096;
	} else if (kind == EVENT_COUNTERS || kind == EVENT_PROCESS) {
		event.proc = (struct ps_proc_key){.tgid = 42, .start_ns = 1};
		if (kind == EVENT_PROCESS)
			(void)strcpy(event.process.comm, "server");
		else
			event.counters.delta[PS_ACCEPTS] = number;
	} else {
		event.tick.wall_ns = wall(NULL);
		event.tick.interval_ns = kind == EVENT_TICK ? S : 0;
		event.tick.self_rss_bytes = number;
	}
	(void)files_recorder_event(recorder, &event);
}

/* Also waits, so that nothing is dropped but by the disk. */
static void tell(const struct sink *sink, uint64_t first)
{
	static uint64_t told;
	struct files_counters counters;

	do {
		sink_files_counters(sink, &counters);
		if (counters.synced > told && !counters.dropped) {
			told = counters.synced;
			(void)printf("acked %llu\n", (unsigned long long)(first + told - 1));
			(void)fflush(stdout);
		}
		if (counters.queued - counters.synced <= MOST_AHEAD || counters.dropped)
			return;
		(void)usleep(500);
	} while (!ends);
}

static void run(
	struct sink *sink, struct files_recorder *recorder, uint64_t first, useconds_t pause)
{
	struct files_counters counters;
	struct report report;

	give(recorder, EVENT_STREAM, 0);
	give(recorder, EVENT_PROCESS, 0);
	give(recorder, EVENT_START, first);
	for (uint64_t number = first; !ends; number++) {
		make_report(number, &report);
		(void)sink_write(sink, &report);
		give(recorder, EVENT_COUNTERS, number);
		give(recorder, EVENT_TICK, number);
		tell(sink, first);
		(void)usleep(pause);
		(void)__atomic_fetch_add(&clock_ns, 97 * S, __ATOMIC_RELAXED);
	}
	for (int i = 0; i < 2000; i++) {
		sink_files_counters(sink, &counters);
		if (counters.synced + counters.dropped >= counters.queued)
			break;
		(void)usleep(1000);
	}
	(void)printf("counted %llu %llu %llu %llu\n", (unsigned long long)counters.queued,
		(unsigned long long)counters.synced, (unsigned long long)counters.dropped,
		(unsigned long long)counters.files_compressed);
}

int main(int argc, char **argv)
{
	struct files_options options = {.wall_ns = wall, .say = say};
	struct files_recorder *recorder = NULL;
	struct sink *sink = NULL;
	struct diag diag = {};
	uint64_t first;

	if (argc != 5)
		return 2;
	options.directory = argv[1];
	first = strtoull(argv[2], NULL, 10);
	options.rotate_bytes = strtoull(argv[4], NULL, 10);
	clock_ns = 1767355200 * S + first / 1000000 * 12 * 3600 * S;
	srandom((unsigned)first);
	(void)signal(SIGTERM, end);
	if (sink_files_new(&options, &sink, &diag) ||
		files_recorder_new(&options, &recorder, &diag)) {
		(void)fprintf(stderr, "%s\n", diag.text);
		return 1;
	}
	run(sink, recorder, first, (useconds_t)strtoul(argv[3], NULL, 10));
	return files_recorder_close(recorder) || sink_close(sink);
}
