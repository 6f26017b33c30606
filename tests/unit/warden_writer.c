/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The sink for Inner Warden as a program that tests/warden drives: services whose memory goes in
 * rounds of 16 reports, a clock that is set by command, and every answer a line on stdout.
 *
 *   warden_writer DIRECTORY STATE|- [NAME=NUMBER...]
 *
 * Of a round, a service retains 100 MiB in the first five reports, 250 MiB in the next three, and
 * is steady in the rest: memory.page_retention at the 2nd report, an incident at the 3rd,
 * memory.incident_doubled at the 6th and memory.incident_closed at the 14th. Its pid is the round's
 * number.
 *
 * Commands: report N, run, clock SECONDS, settle MS, counts, close.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "pagestay/sink/warden.h"
#include "warden_world.h"

#define ROUND       16
#define ROUND_FIRST 1000
#define WAITING     64 /* `run` goes no further ahead of the disk */

struct settings {
	unsigned generation, services, stagger, queue, retry_ms, busy_ms, from, hostile;
	uint64_t day_bytes;
};

static atomic_ullong wall_ns = WORLD_WALL_NS;

static uint64_t told_clock(void *context)
{
	return atomic_load(&wall_ns);
}

/* One write a line: a reader has it even if the next instruction never comes. */
static void answer(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void answer(const char *format, ...)
{
	char line[1024];
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	if (write(STDOUT_FILENO, line, (size_t)length) != length)
		_exit(3);
}

static void said(void *context, const char *text)
{
	answer("say %s\n", text);
}

static void pause_ms(unsigned ms)
{
	const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l};

	(void)nanosleep(&pause, NULL);
}

static void set_services(struct world *world, const struct settings *settings, unsigned step)
{
	for (unsigned i = 0; i < settings->services; i++) {
		unsigned at = step + i * settings->stagger, phase = at % ROUND;
		enum verdict_code code = phase < 8 ? VERDICT_RETAINING : VERDICT_STEADY;

		world_set(world, i, code, phase < 5 ? 100 : phase < 8 ? 250 : 10, 0);
		world->rows[i].key.tgid = ROUND_FIRST + at / ROUND;
	}
}

/* Names that would break a line, a document or an id. */
static void make_hostile(struct world *world, unsigned i)
{
	struct world_process *own = &world->processes[i];

	memset(own->exe, '\x01', sizeof(own->exe) - 1);
	memset(own->unit, '"', sizeof(own->unit) - 1);
	(void)snprintf(own->comm, sizeof(own->comm), "\n:%c\xff\xc2\x85\t", 'a' + (int)i % 26);
	(void)snprintf(own->container, sizeof(own->container), "\x1b[31m\\");
	world->rows[i].unit = own->unit;
	world->rows[i].container = own->container;
}

static void report(
	struct sink *sink, struct world *world, const struct settings *settings, unsigned *step)
{
	set_services(world, settings, *step);
	world->report.wall_ns = told_clock(NULL);
	(void)sink_write(sink, &world->report);
	atomic_fetch_add(&wall_ns, world->report.interval_ns);
	++*step;
}

/* Until somebody ends the process: each report, and how far the disk has come. */
static void run(
	struct sink *sink, struct world *world, const struct settings *settings, unsigned step)
{
	struct warden_counts counts;

	for (;;) {
		report(sink, world, settings, &step);
		do {
			sink_warden_counts(sink, &counts);
			answer("ack %llu next %u dropped %llu\n",
				(unsigned long long)counts.acknowledged ? counts.sequence : 0ull,
				step, (unsigned long long)counts.dropped_full);
			if (counts.waiting > WAITING)
				pause_ms(1);
		} while (counts.waiting > WAITING);
		pause_ms(1);
	}
}

static void settle(struct sink *sink, unsigned ms)
{
	struct warden_counts counts;

	do {
		sink_warden_counts(sink, &counts);
		if (!counts.waiting)
			break;
		pause_ms(5);
		ms -= ms < 5 ? ms : 5;
	} while (ms);
	answer("settled %u\n", counts.waiting);
}

static void print_counts(struct sink *sink)
{
	struct warden_counts counts;

	sink_warden_counts(sink, &counts);
	answer("counts acknowledged=%llu unconfirmed=%llu dropped_full=%llu dropped_day=%llu "
	       "dropped_memory=%llu waiting=%u most_waiting=%u waiting_bytes=%llu sequence=%llu "
	       "paused=%d generation=%d\n",
		(unsigned long long)counts.acknowledged, (unsigned long long)counts.unconfirmed,
		(unsigned long long)counts.dropped_full, (unsigned long long)counts.dropped_day,
		(unsigned long long)counts.dropped_memory, counts.waiting, counts.most_waiting,
		(unsigned long long)counts.waiting_bytes, (unsigned long long)counts.sequence,
		counts.paused, (int)counts.generation);
}

static double now_s(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int end(struct sink *sink)
{
	double began = now_s();
	int error = sink_close(sink);

	answer("closed %d ms=%u\n", error, (unsigned)((now_s() - began) * 1000));
	return 0;
}

static int obey(struct sink *sink, struct world *world, const struct settings *settings)
{
	unsigned step = settings->from;
	char line[128];

	while (fgets(line, sizeof(line), stdin)) {
		unsigned long long number = 0;
		char word[16] = "";

		(void)sscanf(line, "%15s %llu", word, &number);
		if (strcmp(word, "run") == 0)
			run(sink, world, settings, step);
		if (strcmp(word, "close") == 0)
			return end(sink);
		if (strcmp(word, "clock") == 0)
			atomic_store(&wall_ns, number * WORLD_S);
		if (strcmp(word, "settle") == 0)
			settle(sink, (unsigned)number);
		if (strcmp(word, "counts") == 0)
			print_counts(sink);
		if (strcmp(word, "report") == 0) {
			double began = now_s(), longest = 0;

			for (; number; number--, began = now_s()) {
				report(sink, world, settings, &step);
				longest = now_s() - began > longest ? now_s() - began : longest;
			}
			answer("reported %u longest_ms=%u\n", step, (unsigned)(longest * 1000));
		}
	}
	return end(sink);
}

static void read_settings(int count, char **words, struct settings *settings)
{
	const struct {
		const char *name;
		unsigned *to;
	} names[] = {
		{"generation", &settings->generation},
		{"services", &settings->services},
		{"stagger", &settings->stagger},
		{"queue", &settings->queue},
		{"retry_ms", &settings->retry_ms},
		{"busy_ms", &settings->busy_ms},
		{"from", &settings->from},
		{"hostile", &settings->hostile},
	};

	for (int i = 0; i < count; i++) {
		const char *equals = strchr(words[i], '=');
		size_t length = equals ? (size_t)(equals - words[i]) : 0;

		for (size_t j = 0; j < sizeof(names) / sizeof(names[0]); j++)
			if (length == strlen(names[j].name) &&
				memcmp(names[j].name, words[i], length) == 0)
				*names[j].to = (unsigned)strtoul(equals + 1, NULL, 10);
		if (length == 9 && memcmp(words[i], "day_bytes", 9) == 0)
			settings->day_bytes = strtoull(equals + 1, NULL, 10);
	}
}

int main(int argc, char **argv)
{
	static struct world world;
	struct settings settings = {.services = 1};
	struct warden_options options = {.clock = told_clock, .say = said};
	struct diag diag = {{0}};
	struct sink *sink;

	if (argc < 3)
		return 2;
	read_settings(argc - 3, argv + 3, &settings);
	options.directory = argv[1];
	options.state_directory = strcmp(argv[2], "-") == 0 ? NULL : argv[2];
	options.generation = (enum warden_generation)settings.generation;
	options.queue_records = settings.queue;
	options.retry_ms = settings.retry_ms;
	options.busy_ms = settings.busy_ms;
	options.day_bytes = settings.day_bytes;
	options.episodes.reach = world_reach;
	world_init(&world);
	if (settings.services > WORLD_PROCESSES)
		return 2;
	for (unsigned i = 0; i < settings.services; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "server-%hu", (unsigned short)i);
		world_process_init(&world, i, "", name);
		if (settings.hostile)
			make_hostile(&world, i);
	}
	world.report.process_count = settings.services;
	atomic_fetch_add(&wall_ns, settings.from * world.report.interval_ns);
	if (sink_warden_new(&options, &sink, &diag)) {
		answer("refused %s\n", diag.text);
		return 1;
	}
	answer("ready\n");
	return obey(sink, &world, &settings);
}
