/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Episodes: what of a stream of reports is told, when, and how often. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "seeded.h"
#include "warden_world.h"

#define R VERDICT_RETAINING
#define G VERDICT_GROWING
#define N VERDICT_STEADY
#define U VERDICT_UNKNOWN

struct teller {
	struct world world;
	struct episodes *episodes;
	char told[512]; /* a letter a happening, a dot a report */
	struct happening last;
	struct service service; /* of the last */
	unsigned opened, closed;
	unsigned per_report[HAPPENINGS];
	char ids[4][EPISODE_ID_BYTES];
};

static int note(void *context, const struct happening *happening)
{
	struct teller *teller = context;

	if (strlen(teller->told) < sizeof(teller->told) - 2)
		teller->told[strlen(teller->told)] = "CRLODX"[happening->kind];
	teller->last = *happening;
	teller->service = *happening->service;
	teller->per_report[happening->kind]++;
	if (happening->kind == HAPPENING_OPENED)
		memcpy(teller->ids[teller->opened++ % 4], happening->service->episode.incident_id,
			EPISODE_ID_BYTES);
	teller->closed += happening->kind == HAPPENING_CLOSED;
	assert_int_equal(!happening->process, !happening->verdict);
	return 0;
}

static struct teller *teller_new(void)
{
	const struct episode_options options = {.reach = world_reach};
	struct teller *teller = calloc(1, sizeof(*teller));

	assert_non_null(teller);
	world_init(&teller->world);
	world_process_init(&teller->world, 0, "nginx.service", "nginx");
	teller->world.report.process_count = 1;
	teller->episodes = episodes_new(&options);
	assert_non_null(teller->episodes);
	return teller;
}

static void teller_free(struct teller *teller)
{
	episodes_free(teller->episodes);
	free(teller);
}

static void report(struct teller *teller)
{
	if (strlen(teller->told) < sizeof(teller->told) - 2)
		teller->told[strlen(teller->told)] = '.';
	memset(teller->per_report, 0, sizeof(teller->per_report));
	assert_int_equal(episodes_fold(teller->episodes, &teller->world.report, note, teller), 0);
	world_tick(&teller->world);
}

static void reports(struct teller *teller, unsigned count, enum verdict_code code,
	uint64_t kept_mib, uint64_t grown_mib)
{
	while (count--) {
		world_set(&teller->world, 0, code, kept_mib, grown_mib);
		report(teller);
	}
}

static void assert_told(struct teller *teller, const char *expected)
{
	assert_string_equal(teller->told, expected);
	memset(teller->told, 0, sizeof(teller->told));
}

static void nothing_is_told_of_what_is_steady(void **state)
{
	struct teller *teller = teller_new();

	reports(teller, 5, N, 500, 500);
	reports(teller, 5, U, 500, 500);
	reports(teller, 5, VERDICT_RETURNING, 500, 500);
	reports(teller, 5, R, 7, 0);
	assert_told(teller, "....................");
	teller_free(teller);
}

static void an_incident_opens_at_the_third_judged_report(void **state)
{
	struct teller *teller = teller_new();

	reports(teller, 2, R, 64, 0);
	assert_told(teller, "..C");
	reports(teller, 3, U, 64, 0);
	assert_told(teller, "...");
	reports(teller, 1, R, 64, 0);
	assert_told(teller, ".O");
	assert_int_equal(teller->service.episode.opened_bytes, 64 * WORLD_MIB);
	assert_int_equal(teller->service.load.processes, 1);
	teller_free(teller);
}

static void a_calm_report_begins_the_count_anew(void **state)
{
	struct teller *teller = teller_new();

	for (int i = 0; i < 5; i++) {
		reports(teller, 2, R, 64, 0);
		reports(teller, 1, N, 64, 0);
	}
	assert_told(teller, "..C.............");
	teller_free(teller);
}

static void an_incident_opens_after_five_minutes(void **state)
{
	struct teller *teller = teller_new();

	reports(teller, 1, R, 64, 0);
	reports(teller, 28, U, 64, 0);
	reports(teller, 2, U, 64, 0);
	assert_told(teller, "..............................O.");
	teller_free(teller);
}

static void little_and_doubtful_opens_nothing(void **state)
{
	struct teller *teller = teller_new();

	reports(teller, 20, R, 63, 0);
	assert_told(teller, "..C..................");
	for (int i = 0; i < 20; i++) {
		world_set(&teller->world, 0, R, 100, 0);
		teller->world.rows[0].cpu_ns = 59;
		report(teller);
	}
	assert_told(teller, "....................");
	teller->world.rows[0].cpu_ns = 60;
	for (int i = 0; i < 3; i++)
		report(teller);
	assert_told(teller, "...O");
	teller_free(teller);
}

static void growth_counts_from_the_least(void **state)
{
	struct teller *teller = teller_new();

	reports(teller, 3, G, 500, 63);
	assert_told(teller, "..C.");
	reports(teller, 3, G, 0, 64);
	assert_told(teller, "...O");
	assert_int_equal(teller->service.bytes, 64 * WORLD_MIB);
	assert_true(teller->service.episode.by_growth);
	teller_free(teller);
}

static void a_double_is_told_once(void **state)
{
	struct teller *teller = teller_new();

	reports(teller, 3, R, 100, 0);
	assert_told(teller, "..C.O");
	reports(teller, 3, R, 199, 0);
	assert_told(teller, "...");
	reports(teller, 3, R, 200, 0);
	assert_told(teller, ".D..");
	reports(teller, 2, R, 390, 0);
	reports(teller, 2, R, 2000, 0);
	reports(teller, 2, R, 3000, 0);
	assert_told(teller, "...D...");
	assert_int_equal(teller->service.episode.opened_bytes, 100 * WORLD_MIB);
	assert_int_equal(teller->service.episode.peak_bytes, 2000 * WORLD_MIB);
	teller_free(teller);
}

static void an_incident_closes_after_six_calm_reports(void **state)
{
	struct teller *teller = teller_new();

	reports(teller, 3, R, 100, 0);
	assert_told(teller, "..C.O");
	for (int i = 0; i < 4; i++) {
		reports(teller, 5, R, 31, 0);
		reports(teller, 1, R, 33, 0);
	}
	assert_told(teller, "........................");
	reports(teller, 7, R, 31, 0);
	assert_told(teller, "......X.");
	assert_int_equal(teller->last.reason, CLOSED_FELL);
	reports(teller, 3, R, 100, 0);
	assert_told(teller, ".C..O");
	reports(teller, 3, N, 100, 0);
	reports(teller, 3, U, 100, 0);
	reports(teller, 3, VERDICT_RETURNING, 100, 0);
	assert_told(teller, ".........X");
	assert_int_equal(teller->last.reason, CLOSED_CALM);
	assert_int_equal(teller->last.before, R);
	teller_free(teller);
}

static void a_restart_is_told_and_closes(void **state)
{
	struct teller *teller = teller_new();

	reports(teller, 3, R, 100, 0);
	assert_told(teller, "..C.O");
	teller->world.rows[0].key.start_ns += 50 * WORLD_S;
	reports(teller, 2, U, 1, 0);
	assert_told(teller, ".X.");
	assert_int_equal(teller->last.reason, CLOSED_RESTARTED);
	assert_int_equal(teller->last.before_bytes, 100 * WORLD_MIB);
	assert_int_equal(teller->last.before_rss_bytes, 132 * WORLD_MIB);
	assert_int_equal(teller->last.before_ns, 30 * WORLD_S);
	assert_int_equal(teller->last.before, R);
	assert_int_equal(teller->last.restarts, 1);
	/* Without an incident it is told as well, if it was worth a word. */
	reports(teller, 360, R, 40, 0);
	memset(teller->told, 0, sizeof(teller->told));
	assert_int_equal(teller->last.before, U);
	teller->world.rows[0].key.start_ns += 50 * WORLD_S;
	reports(teller, 2, R, 1, 0);
	assert_told(teller, ".R.");
	assert_int_equal(teller->last.before, R);
	assert_int_equal(teller->service.code, U);
	teller->world.rows[0].key.start_ns += 50 * WORLD_S;
	reports(teller, 2, R, 1, 0);
	assert_told(teller, "..");
	teller_free(teller);
}

/* At each report a new process, for a day. */
static void a_crash_loop_is_told_once_an_hour(void **state)
{
	struct teller *teller = teller_new();
	unsigned told = 0;
	uint64_t restarts = 0;

	reports(teller, 2, R, 40, 0);
	for (unsigned i = 0; i < 8640; i++) {
		teller->world.rows[0].key.start_ns += 10 * WORLD_S;
		reports(teller, 1, U, 100, 0);
		if (!teller->per_report[HAPPENING_RESTARTED])
			continue;
		told++;
		restarts += teller->last.restarts;
	}
	assert_int_equal(told, 24);
	assert_int_equal(restarts, 1 + 23 * 360);
	teller_free(teller);
}

static void what_is_gone_closes(void **state)
{
	struct teller *teller = teller_new();

	reports(teller, 3, R, 100, 0);
	teller->world.report.process_count = 0;
	for (int i = 0; i < 5; i++)
		report(teller);
	assert_told(teller, "..C.O.....");
	report(teller);
	assert_told(teller, ".X");
	assert_int_equal(teller->last.reason, CLOSED_ENDED);
	assert_null(teller->last.process);
	teller_free(teller);
}

/* A worker that goes is no restart, and the bytes of all count. */
static void workers_are_one_service(void **state)
{
	struct teller *teller = teller_new();
	struct world *world = &teller->world;

	for (size_t i = 0; i < 8; i++)
		world_process_init(world, i, "nginx.service", "nginx");
	world->report.process_count = 8;
	for (int step = 0; step < 6; step++) {
		for (size_t i = 0; i < 8; i++)
			world_set(world, i, i % 2 ? R : N, 8, 0);
		/* One worker is replaced each time, the first never. */
		world->rows[1 + step % 7].key.start_ns += (unsigned)(100 + step) * WORLD_S;
		report(teller);
	}
	assert_told(teller, "..C..O..");
	assert_int_equal(teller->service.load.processes, 8);
	assert_int_equal(teller->service.bytes, 64 * WORLD_MIB);
	teller_free(teller);
}

static void the_limit_is_told_in_steps(void **state)
{
	struct teller *teller = teller_new();
	struct world *world = &teller->world;

	/* The kernel keeps 15 bytes of the name. */
	world_process_init(world, 0, "", "innerwarden-age");
	(void)snprintf(world->processes[0].exe, 256, "/usr/local/bin/innerwarden-agent");
	reports(teller, 2, U, 0, 200);
	assert_told(teller, "..");
	reports(teller, 2, N, 0, 230);
	assert_told(teller, ".L.");
	assert_true(teller->service.limited);
	reports(teller, 2, N, 0, 200);
	reports(teller, 2, N, 0, 230);
	assert_told(teller, "....");
	reports(teller, 2, N, 0, 360);
	assert_told(teller, ".OL.");
	reports(teller, 2, N, 0, 440);
	assert_told(teller, ".L.");
	reports(teller, 7, N, 0, 10);
	assert_told(teller, "......X.");
	/* Just below a half an incident closes as well, and the half is not told again. */
	reports(teller, 1, N, 0, 440);
	assert_told(teller, ".OL");
	reports(teller, 7, N, 0, 200);
	assert_told(teller, "......X.");
	reports(teller, 1, N, 0, 230);
	assert_told(teller, ".");
	teller_free(teller);
}

/* Garbage that is collected moves RSS up and down around each step. */
static void a_step_of_the_limit_is_told_once(void **state)
{
	static const unsigned steps_mib[] = {256, 384, 461};
	struct teller *teller = teller_new();

	world_process_init(&teller->world, 0, "innerwarden-agent.service", "innerwarden-age");
	for (size_t step = 0; step < 3; step++) {
		for (unsigned i = 0; i < 20; i++)
			reports(teller, 1, N, 0, steps_mib[step] - (i % 2 ? 34 : 31));
		assert_told(teller, step == 0   ? ".L..................."
				    : step == 1 ? ".OL..................."
						: ".L...................");
	}
	teller_free(teller);
}

static void names_are_harmless(void **state)
{
	static const struct {
		const char *unit, *container, *comm, *subject;
	} cases[] = {
		{"nginx.service", "", "nginx", "nginx"},
		{"innerwarden-agent.service", "", "innerwarden-age", "innerwarden-agent"},
		{"php8.2-fpm.service", "", "php-fpm8.2", "php8.2-fpm/php-fpm8.2"},
		{"session-1.scope", "", "bash", "session-1.scope/bash"},
		{"docker-0123.scope", "0123456789ab", "redis-server", "0123456789ab/redis-server"},
		{"", "", "a:b c\n\x1b[0m", "a_b_c__[0m"},
		{"", "", "\xc3\xa4~", "___"},
		{"", "", "", "unnamed"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct service_name name = {0};
		char subject[EPISODE_SUBJECT_BYTES];

		(void)snprintf(name.unit, sizeof(name.unit), "%s", cases[i].unit);
		(void)snprintf(name.container, sizeof(name.container), "%s", cases[i].container);
		(void)snprintf(name.comm, sizeof(name.comm), "%s", cases[i].comm);
		episode_subject(&name, subject);
		assert_string_equal(subject, cases[i].subject);
	}
}

static void ids_have_the_minute_and_are_never_used_twice(void **state)
{
	struct teller *teller = teller_new();
	struct world *world = &teller->world;

	/* Two services with one subject, and a clock that stands still. */
	world->report.process_count = 2;
	world_process_init(world, 0, "", "a b");
	world_process_init(world, 1, "", "a:b");
	for (int round = 0; round < 2; round++) {
		for (int step = 0; step < 10; step++) {
			for (size_t i = 0; i < 2; i++)
				world_set(world, i, step < 3 ? R : N, 64, 0);
			report(teller);
			world->report.wall_ns = WORLD_WALL_NS;
		}
	}
	assert_int_equal(teller->opened, 4);
	for (int i = 0; i < 4; i++)
		for (int j = 0; j < i; j++)
			assert_string_not_equal(teller->ids[i], teller->ids[j]);
	assert_string_equal(teller->ids[0], "page_retention:a_b:2026-01-02T03:04Z");
	assert_string_equal(teller->ids[1], "page_retention:a_b~2:2026-01-02T03:04Z");
	assert_string_equal(teller->ids[3], "page_retention:a_b~4:2026-01-02T03:04Z");
	teller_free(teller);
}

static void dates_of_ids_are_those_of_the_calendar(void **state)
{
	static const struct {
		uint64_t seconds;
		const char *minute;
	} cases[] = {
		{0, "1970-01-01T00:00Z"},
		{951782399, "2000-02-28T23:59Z"},
		{951782400, "2000-02-29T00:00Z"},
		{1709251199, "2024-02-29T23:59Z"},
		{4107542399, "2100-02-28T23:59Z"},
		{4107542400, "2100-03-01T00:00Z"},
		{18446744073, "2554-07-21T23:34Z"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct teller *teller = teller_new();

		for (int step = 0; step < 3; step++) {
			teller->world.report.wall_ns = cases[i].seconds * WORLD_S;
			world_set(&teller->world, 0, R, 64, 0);
			report(teller);
		}
		assert_string_equal(strstr(teller->ids[0], "nginx:") + 6, cases[i].minute);
		teller_free(teller);
	}
}

static void keep_first(void *context, const struct episode_open *open)
{
	*(struct episode_open *)context = *open;
}

static void an_incident_survives(void **state)
{
	struct teller *teller = teller_new(), *next = teller_new();
	struct episode_open open;

	reports(teller, 3, G, 0, 100);
	assert_told(teller, "..C.O");
	reports(teller, 30, G, 0, 100);
	assert_int_equal(episodes_each_open(teller->episodes, keep_first, &open), 1);
	assert_int_equal(episodes_restore(next->episodes, &open), 0);
	/* Seen from its own start it has not grown at all, but from the incident's it has. */
	world_set(&next->world, 0, G, 0, 100);
	next->world.processes[0].history.rss_least_bytes = 132 * WORLD_MIB;
	for (int i = 0; i < 10; i++)
		report(next);
	assert_told(next, "..........");
	world_set(&next->world, 0, G, 0, 200);
	next->world.processes[0].history.rss_least_bytes = 132 * WORLD_MIB;
	report(next);
	assert_told(next, ".D");
	assert_string_equal(next->service.episode.incident_id, teller->ids[0]);
	/* It goes on where the earlier run left it. */
	assert_int_equal(next->service.episode.open_for_ns, 5 * 60 * WORLD_S + 110 * WORLD_S);
	assert_int_equal(next->service.episode.open_requests, 300 + 110);
	episodes_forget(next->episodes, "page_retention:other:2026-01-02T03:04Z");
	assert_int_equal(episodes_each_open(next->episodes, keep_first, &open), 1);
	episodes_forget(next->episodes, open.incident_id);
	assert_int_equal(episodes_each_open(next->episodes, keep_first, &open), 0);
	teller_free(teller);
	teller_free(next);
}

static void a_restart_between_two_runs_is_told(void **state)
{
	struct teller *teller = teller_new(), *next = teller_new();
	struct episode_open open;

	reports(teller, 3, R, 100, 0);
	assert_int_equal(episodes_each_open(teller->episodes, keep_first, &open), 1);
	assert_int_equal(episodes_restore(next->episodes, &open), 0);
	next->world.rows[0].key.start_ns = 7; /* the host was booted again */
	reports(next, 1, U, 1, 0);
	assert_told(next, ".X");
	assert_int_equal(next->last.reason, CLOSED_RESTARTED);
	teller_free(teller);
	teller_free(next);
}

/* The old processes' start times span the new one's, as after another boot they may. */
static void another_boot_is_a_restart(void **state)
{
	for (unsigned rebooted = 0; rebooted < 2; rebooted++) {
		struct teller *teller = teller_new();
		struct episode_open open = {
			.incident_id = "page_retention:nginx:2026-01-02T03:04Z",
			.told_bytes = 100 * WORLD_MIB,
			.first_start_ns = 21 * WORLD_S,
			.newest_start_ns = 300000 * WORLD_S,
		};

		service_name_of(&teller->world.rows[0], &open.name);
		assert_int_equal(episodes_restore(teller->episodes, &open), 0);
		if (rebooted)
			episodes_rebooted(teller->episodes);
		teller->world.rows[0].key.start_ns = 22 * WORLD_S;
		reports(teller, 2, U, 1, 0);
		assert_told(teller, rebooted ? ".X." : "..");
		teller_free(teller);
	}
}

/* Whether it went before this run or between the two. */
static void an_incident_survives_its_oldest_worker(void **state)
{
	for (unsigned between = 0; between < 2; between++) {
		struct teller *teller = teller_new(), *next = teller_new();
		struct episode_open open;

		for (unsigned i = 0; i < 2; i++) {
			world_process_init(&teller->world, i, "nginx.service", "nginx");
			world_set(&teller->world, i, R, 100, 0);
		}
		teller->world.report.process_count = 2;
		for (unsigned i = 0; i < 3; i++)
			report(teller);
		assert_told(teller, "..C.O");
		if (!between) {
			teller->world.rows[0].key.start_ns += 50 * WORLD_S;
			report(teller);
		}
		assert_int_equal(episodes_each_open(teller->episodes, keep_first, &open), 1);
		assert_int_equal(episodes_restore(next->episodes, &open), 0);
		next->world.rows[0] = teller->world.rows[1];
		report(next);
		assert_told(next, ".");
		teller_free(next);
		teller_free(teller);
	}
}

static void the_table_and_the_openings_are_bounded(void **state)
{
	struct teller *teller = teller_new();
	struct world *world = &teller->world;
	unsigned most = 0;

	for (size_t i = 0; i < WORLD_PROCESSES; i++) {
		char comm[16];

		(void)snprintf(comm, sizeof(comm), "server-%zu", i);
		world_process_init(world, i, "", comm);
		world_set(world, i, R, 100, 0);
	}
	world->report.process_count = WORLD_PROCESSES;
	for (int step = 0; step < 40; step++) {
		report(teller);
		most = teller->per_report[HAPPENING_OPENED] > most
			       ? teller->per_report[HAPPENING_OPENED]
			       : most;
	}
	assert_int_equal(most, EPISODE_OPENINGS);
	assert_int_equal(teller->opened, EPISODE_SERVICES);
	assert_true(episodes_not_followed(teller->episodes) >= WORLD_PROCESSES - EPISODE_SERVICES);
	world->report.process_count = 0;
	for (int step = 0; step < 6; step++)
		report(teller);
	assert_int_equal(teller->closed, EPISODE_SERVICES);
	teller_free(teller);
}

/*
 * With real verdicts: a glibc server under load whose heap is x-rayed now and then.
 */

struct server {
	struct teller *teller;
	unsigned xray_s, second;
	unsigned live_mib, held_mib; /* as of now */
	bool gives_back;             /* address space comes and goes, whatever becomes of memory */
	bool is_silent;              /* its heap cannot be walked any more */
	bool begins_soon;            /* with six x-rays a minute apart, as the agent does */
	struct allocators allocators;
};

static void server_begin(struct server *server, unsigned xray_s)
{
	const struct episode_options options = {0};
	struct teller *teller = teller_new();

	*server = (struct server){.teller = teller, .xray_s = xray_s};
	server->allocators.count = 1;
	server->allocators.list[0].name = ALLOCATOR_GLIBC;
	episodes_free(teller->episodes);
	teller->episodes = episodes_new(&options);
	assert_non_null(teller->episodes);
	teller->world.rows[0].allocators = &server->allocators;
	teller->world.rows[0].heap = NULL;
	teller->world.rows[0].heap_age_s = NAN;
	teller->world.rows[0].lazyfree_bytes = 0;
}

static void server_xray(struct server *server)
{
	struct heap *heap = &server->teller->world.processes[0].heap;

	heap->live_bytes = server->live_mib * WORLD_MIB;
	heap->cached_bytes = 0;
	heap->held_free_bytes = heap->held_free_resident_bytes = server->held_mib * WORLD_MIB;
	heap->trimmable_bytes = server->held_mib * WORLD_MIB;
	heap->trimmable_top_bytes = heap->top_resident_bytes = heap->page_pinned_bytes = 0;
	heap->system_bytes = (server->live_mib + server->held_mib) * WORLD_MIB;
	heap->lost_segments = 0;
	server->teller->world.rows[0].heap = heap;
	server->teller->world.rows[0].heap_age_s = 0;
}

static bool is_due(const struct server *server)
{
	if (server->begins_soon && server->second < 360)
		return server->second % 60 == 30;
	return server->second % server->xray_s == 30 % server->xray_s;
}

/* Reports every 10 s. What is told of them, without the dots of the others. */
static const char *server_runs(struct server *server, unsigned minutes)
{
	struct report_process *row = &server->teller->world.rows[0];
	struct history *history = &server->teller->world.processes[0].history;

	memset(server->teller->told, 0, sizeof(server->teller->told));
	for (unsigned i = 0; i < minutes * 6; i++, server->second += 10) {
		row->anon_bytes = (server->live_mib + server->held_mib + 5) * WORLD_MIB;
		row->rss_bytes = row->anon_bytes + 10 * WORLD_MIB;
		memset(row->counters, 0, sizeof(row->counters));
		row->counters[PS_REQUESTS] = 100;
		if (server->gives_back)
			row->counters[PS_MMAP_ANON_BYTES] = row->counters[PS_MUNMAP_BYTES] =
				200 * WORLD_MIB;
		row->heap_age_s += 10;
		if (!server->is_silent && is_due(server))
			server_xray(server);
		history_fold(history, row, 10 * WORLD_S, (600 + server->second) * WORLD_S);
		assert_int_equal(episodes_fold(server->teller->episodes,
					 &server->teller->world.report, note, server->teller),
			0);
		world_tick(&server->teller->world);
	}
	return server->teller->told;
}

/* Between x-rays the kernel sees only that RSS once was higher, or that space goes back. */
static void one_retention_is_one_incident_between_xrays(void **state)
{
	static const struct {
		unsigned xray_s, most_mib;
		bool gives_back;
	} cases[] = {{10, 1200, false}, {300, 1200, false}, {600, 1200, false}, {600, 800, false},
		{600, 800, true}, {3600, 1200, false}, {3600, 800, true}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned hours = cases[i].xray_s > 600 ? 12 : 4;
		struct server server;

		server_begin(&server, cases[i].xray_s);
		server.gives_back = cases[i].gives_back;
		server.live_mib = 45;
		server.held_mib = cases[i].most_mib;
		assert_string_equal(server_runs(&server, 20), cases[i].xray_s == 10 ? "CO" : "");
		server.held_mib = 800;
		assert_string_equal(
			server_runs(&server, hours * 60), cases[i].xray_s == 10 ? "" : "CO");
		/* It was returned: the next x-ray says so, or RSS alone. */
		server.held_mib = i % 2 ? 12 : 5;
		assert_string_equal(server_runs(&server, hours * 60), "X");
		assert_int_equal(server.teller->opened, 1);
		teller_free(server.teller);
	}
}

/* Not after the 40 minutes that three x-rays of the second half take otherwise. */
static void an_incident_opens_within_minutes(void **state)
{
	struct server server;

	server_begin(&server, 600);
	server.begins_soon = true;
	server.live_mib = 45;
	server.held_mib = 800;
	assert_string_equal(server_runs(&server, 6), "CO");
	server.gives_back = true;
	assert_string_equal(server_runs(&server, 6 * 60), "");
	teller_free(server.teller);
}

/* The x-ray of one of the workers is always old; when all had one, it is over. */
static void workers_that_are_xrayed_in_turn_close_an_incident(void **state)
{
	static const struct {
		size_t workers;
		enum verdict_code code;
	} cases[] = {{1, R}, {2, R}, {2, G}, {40, R}, {40, G}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct teller *teller = teller_new();
		struct world *world = &teller->world;

		for (size_t worker = 0; worker < cases[i].workers; worker++)
			world_process_init(world, worker, "nginx.service", "nginx");
		world->report.process_count = cases[i].workers;
		for (unsigned at_s = 0; at_s < 7200; at_s += 10) {
			for (size_t worker = 0; worker < cases[i].workers; worker++) {
				unsigned age_s =
					(at_s + 600 -
						600 * (unsigned)worker /
							(unsigned)cases[i].workers / 10 * 10) %
					600;
				bool keeps = worker == 0 && at_s < 1200;
				bool grows = worker == 0 && cases[i].code == G;

				world_set(world, worker,
					age_s > VERDICT_XRAY_AGE_S ? U
					: keeps                    ? cases[i].code
								   : N,
					worker || grows ? 3
					: keeps         ? 90
							: 1,
					grows ? 150 : 0);
				world->rows[worker].heap_age_s = age_s;
			}
			report(teller);
			if (at_s < 1200)
				assert_int_equal(teller->closed, 0);
		}
		assert_int_equal(teller->opened, 1);
		assert_int_equal(teller->closed, 1);
		teller_free(teller);
	}
}

/* Below what makes an incident, the same: it begins once, and ceases once. */
static void one_small_retention_is_told_once_between_xrays(void **state)
{
	struct server server;

	server_begin(&server, 600);
	server.live_mib = 45;
	server.held_mib = 70;
	(void)server_runs(&server, 20);
	server.held_mib = 40;
	server.gives_back = true;
	assert_string_equal(server_runs(&server, 6 * 60), "C");
	assert_int_equal(server.teller->service.code, R);
	server.held_mib = 1;
	assert_string_equal(server_runs(&server, 6 * 60), "C");
	assert_false(server.teller->service.code == R);
	teller_free(server.teller);
}

/* Where no x-ray comes any more, what is left tells, and time. */
static void an_incident_does_not_wait_for_an_xray_for_ever(void **state)
{
	static const struct {
		unsigned held_mib, hours;
	} cases[] = {{1, 1}, {100, 1}, {650, 49}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct server server;

		server_begin(&server, 10);
		server.live_mib = 10;
		server.held_mib = 1200;
		assert_string_equal(server_runs(&server, 20), "CO");
		server.is_silent = true;
		assert_string_equal(server_runs(&server, 2), "");
		server.held_mib = cases[i].held_mib;
		if (cases[i].hours > 24)
			assert_string_equal(server_runs(&server, 24 * 60), "");
		assert_string_equal(server_runs(&server, cases[i].hours * 60), "X");
		teller_free(server.teller);
	}
}

/* An incident ends by what is as sure as what opened it. */
static void what_is_doubtful_closes_nothing(void **state)
{
	struct teller *teller = teller_new();

	reports(teller, 3, R, 100, 0);
	assert_told(teller, "..C.O");
	for (int i = 0; i < 20; i++) {
		world_set(&teller->world, 0, VERDICT_RETURNING, 100, 0);
		teller->world.rows[0].cpu_ns = 59;
		report(teller);
	}
	assert_told(teller, "....................");
	/* So little memory that whatever it is can be no incident. */
	for (int i = 0; i < 6; i++) {
		world_set(&teller->world, 0, U, 0, 0);
		teller->world.rows[0].rss_bytes = 31 * WORLD_MIB;
		report(teller);
	}
	assert_told(teller, "......X");
	teller_free(teller);
}

/* A full table has room for what retains now when the others have been calm for an hour. */
static void what_is_calm_gives_way(void **state)
{
	struct teller *teller = teller_new();
	struct world *world = &teller->world;

	for (size_t i = 0; i < WORLD_PROCESSES; i++) {
		char comm[16];

		(void)snprintf(comm, sizeof(comm), "server-%zu", i);
		world_process_init(world, i, "", comm);
		world_set(world, i, i < EPISODE_SERVICES ? R : N, 20, 0);
	}
	world->report.process_count = WORLD_PROCESSES;
	for (int step = 0; step < 3; step++)
		report(teller);
	for (size_t i = 0; i < WORLD_PROCESSES; i++)
		world_set(world, i, N, 20, 0);
	for (int step = 0; step < 366; step++)
		report(teller);
	assert_int_equal(episodes_not_followed(teller->episodes), 0);
	for (size_t i = EPISODE_SERVICES; i < WORLD_PROCESSES; i++)
		world_set(world, i, R, 100, 0);
	for (int step = 0; step < 10; step++)
		report(teller);
	assert_int_equal(episodes_not_followed(teller->episodes), 0);
	assert_int_equal(teller->opened, WORLD_PROCESSES - EPISODE_SERVICES);
	/* Who keeps something gives no place away. */
	for (size_t i = 0; i < EPISODE_SERVICES; i++)
		world_set(world, i, R, 100, 0);
	for (int step = 0; step < 400; step++)
		report(teller);
	assert_true(episodes_not_followed(teller->episodes) > 0);
	assert_int_equal(teller->opened, EPISODE_SERVICES);
	teller_free(teller);
}

/* Any numbers, also forged ones: an incident closes once, and only what is open. */
static void chance_breaks_no_rule(void **state)
{
	for (uint64_t seed = 1; seed <= 200; seed++) {
		struct seeded seeded = {seed};
		struct teller *teller = teller_new();
		struct world *world = &teller->world;
		bool open = false;

		for (int step = 0; step < 300; step++) {
			struct report_process *row = &world->rows[0];

			world_set(world, 0, (enum verdict_code)seeded_below(&seeded, VERDICT_CODES),
				seeded_below(&seeded, 300), seeded_below(&seeded, 300));
			row->closed = seeded_below(&seeded, CAUSES);
			if (seeded_once_in(&seeded, 8))
				row->rss_bytes = seeded_next(&seeded);
			if (seeded_once_in(&seeded, 8))
				world->processes[0].heap.held_free_resident_bytes =
					seeded_next(&seeded);
			if (seeded_once_in(&seeded, 50))
				row->key.start_ns += WORLD_S;
			world->report.process_count = !seeded_once_in(&seeded, 10);
			report(teller);
			assert_true(teller->per_report[HAPPENING_OPENED] <= 1);
			assert_true(teller->per_report[HAPPENING_CHANGED] +
					    teller->per_report[HAPPENING_RESTARTED] +
					    teller->per_report[HAPPENING_NEAR_LIMIT] +
					    teller->per_report[HAPPENING_DOUBLED] +
					    teller->per_report[HAPPENING_CLOSED] <=
				    1);
			if (teller->per_report[HAPPENING_OPENED])
				assert_false(open);
			open |= teller->per_report[HAPPENING_OPENED];
			if (teller->per_report[HAPPENING_CLOSED] ||
				teller->per_report[HAPPENING_DOUBLED])
				assert_true(open);
			open &= !teller->per_report[HAPPENING_CLOSED];
		}
		assert_int_equal(teller->opened - teller->closed, open);
		teller_free(teller);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_told_of_what_is_steady),
		cmocka_unit_test(an_incident_opens_at_the_third_judged_report),
		cmocka_unit_test(a_calm_report_begins_the_count_anew),
		cmocka_unit_test(an_incident_opens_after_five_minutes),
		cmocka_unit_test(little_and_doubtful_opens_nothing),
		cmocka_unit_test(growth_counts_from_the_least),
		cmocka_unit_test(a_double_is_told_once),
		cmocka_unit_test(an_incident_closes_after_six_calm_reports),
		cmocka_unit_test(a_restart_is_told_and_closes),
		cmocka_unit_test(a_crash_loop_is_told_once_an_hour),
		cmocka_unit_test(what_is_gone_closes),
		cmocka_unit_test(workers_are_one_service),
		cmocka_unit_test(the_limit_is_told_in_steps),
		cmocka_unit_test(a_step_of_the_limit_is_told_once),
		cmocka_unit_test(names_are_harmless),
		cmocka_unit_test(ids_have_the_minute_and_are_never_used_twice),
		cmocka_unit_test(dates_of_ids_are_those_of_the_calendar),
		cmocka_unit_test(an_incident_survives),
		cmocka_unit_test(a_restart_between_two_runs_is_told),
		cmocka_unit_test(another_boot_is_a_restart),
		cmocka_unit_test(an_incident_survives_its_oldest_worker),
		cmocka_unit_test(the_table_and_the_openings_are_bounded),
		cmocka_unit_test(one_retention_is_one_incident_between_xrays),
		cmocka_unit_test(an_incident_opens_within_minutes),
		cmocka_unit_test(workers_that_are_xrayed_in_turn_close_an_incident),
		cmocka_unit_test(one_small_retention_is_told_once_between_xrays),
		cmocka_unit_test(an_incident_does_not_wait_for_an_xray_for_ever),
		cmocka_unit_test(what_is_doubtful_closes_nothing),
		cmocka_unit_test(what_is_calm_gives_way),
		cmocka_unit_test(chance_breaks_no_rule),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
