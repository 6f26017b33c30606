/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Text: what a person sees, against files to be read by eye (tests/golden, written anew with
 * UPDATE_GOLDEN=1), and tables that stay straight whatever a report holds. Runs in the project's
 * root.
 */
#include "golden.h"

#include <errno.h>

#include "pagestay/sink/sink.h"

/* 2026-01-02T03:04:05.678Z */
#define WALL_NS 1767323045678000000ull
#define TEN_S   10000000000ull
#define KIB     1024ull
#define MIB     (1024 * KIB)
#define GIB     (1024 * MIB)

static char *render(const struct report *reports, size_t count, unsigned columns, unsigned top)
{
	char *bytes = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&bytes, &length);
	const struct sink_options options = {.out = out, .columns = columns, .top = top};
	struct sink *sink = sink_text_new(&options);

	assert_non_null(sink);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(sink_write(sink, &reports[i]), 0);
	assert_int_equal(sink_close(sink), 0);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(strlen(bytes), length);
	return bytes;
}

static struct report report_of(const struct report_process *processes, size_t count)
{
	return (struct report){
		.wall_ns = WALL_NS,
		.interval_ns = TEN_S,
		.host = "web-1",
		.source = "bpf",
		.detail = "requests",
		.complete = true,
		.processes = processes,
		.process_count = count,
		.self_rss_bytes = 12 * MIB,
		.self_cpu_ns = TEN_S / 250,
	};
}

/* A server on glibc, one on jemalloc, a quiet one and one that exited. */
static size_t usual_processes(struct report_process processes[4])
{
	processes[0] = (struct report_process){
		.key = {.tgid = 21877},
		.comm = "demo-glibc",
		.open = 400,
		.rss_bytes = 684 * MIB,
		.rss_delta_bytes = (int64_t)(112 * MIB),
	};
	processes[0].counters[PS_REQUESTS] = 7211;
	processes[0].counters[PS_ACCEPTS] = 7200;
	processes[0].counters[PS_MPROTECT_COMMIT_BYTES] = 1310 * MIB;
	processes[0].counters[PS_MADVISE_DONTNEED_BYTES] = 96 * KIB;
	processes[0].counters[PS_FAULTS_IN_REQUESTS] = 9000;
	processes[0].counters[PS_FAULTS_OVERLAPPING] = 19844;
	processes[1] = (struct report_process){
		.key = {.tgid = 4194304},
		.comm = "demo-jemalloc",
		.open = 400,
		.rss_bytes = 95 * MIB,
		.rss_delta_bytes = -(int64_t)(59 * MIB),
	};
	processes[1].counters[PS_REQUESTS] = 7198;
	processes[1].counters[PS_ACCEPTS] = 7198;
	processes[1].counters[PS_MMAP_ANON_BYTES] = 64 * MIB;
	processes[1].counters[PS_MADVISE_DONTNEED_BYTES] = 2 * GIB;
	processes[1].counters[PS_FAULTS_IN_REQUESTS] = 105000;
	processes[2] = (struct report_process){
		.key = {.tgid = 812},
		.comm = "sshd",
		.rss_bytes = 9 * MIB + 512 * KIB,
	};
	processes[3] = (struct report_process){
		.key = {.tgid = 30112},
		.comm = "php-fpm: pool w",
		.exited = true,
		.rss_bytes = REPORT_UNKNOWN,
		.rss_delta_bytes = REPORT_DELTA_UNKNOWN,
	};
	processes[3].counters[PS_REQUESTS] = 3;
	processes[3].counters[PS_ACCEPTS] = 3;
	processes[3].counters[PS_BRK_GROW_BYTES] = 132 * KIB;
	processes[3].counters[PS_FAULTS_IN_REQUESTS] = 413;
	return 4;
}

static void only_the_first_report_has_legend_and_notes(void **state)
{
	struct report_process processes[4];
	size_t count = usual_processes(processes);
	const char *notes[] = {
		"this kernel lacks sock_recv_length; fexit programs are used instead",
		"lazily freed memory is not known: /proc/PID/smaps_rollup could not be read, which "
		"needs the capability CAP_SYS_PTRACE"};
	struct report reports[2];

	reports[0] = report_of(processes, count);
	reports[0].notes = notes;
	reports[0].note_count = 2;
	reports[1] = reports[0];
	reports[1].wall_ns += TEN_S;
	assert_golden("usual.txt", render(reports, 2, 80, 10));
}

static void what_was_cut_lost_and_estimated_is_told(void **state)
{
	struct report_process processes[4];
	size_t count = usual_processes(processes);
	struct report report;

	processes[0].counters[PS_REQUESTS_ENCRYPTED] = 7211;
	processes[0].counters[PS_REQUESTS_HANDED_OFF] = 1501;
	processes[2].counters[PS_REQUESTS] = 40;
	processes[2].counters[PS_REQUESTS_MERGED] = 12;
	report = report_of(processes, count);
	report.complete = false;
	report.lost[PS_LOST_EVENTS] = 12;
	report.lost[PS_LOST_MAP_FULL] = 3;
	assert_golden("trouble.txt", render(&report, 1, 80, 2));
}

static void a_damaged_recording_is_told(void **state)
{
	struct report_process processes[4];
	struct report report = report_of(processes, usual_processes(processes));

	report.complete = false;
	report.source = "replay";
	report.process_count = 1;
	report.host = "a-host-whose-name-leaves-no-room-for-anything-else";
	assert_golden("damaged.txt", render(&report, 1, 80, 0));
}

static void routes_stand_under_their_process(void **state)
{
	const struct report_route routes[] = {
		{"GET /", 6100},
		{"GET /.env", 800},
		{"GET /\x1b]0;owned\x07\\..\\/\xc3\xa9/wp-content/plugins/a-rather-long-name-"
		 "of-a-plugin/readme.txt",
			290},
		{"-", 20},
		{"other", 1234567},
	};
	struct report_process processes[4];
	struct report report = report_of(processes, usual_processes(processes));

	processes[0].routes = routes;
	processes[0].route_count = 5;
	processes[1].routes = routes;
	processes[1].route_count = 2;
	report.routes = true;
	assert_golden("routes.txt", render(&report, 1, 80, 10));
}

static void a_wider_terminal_gives_the_name_room(void **state)
{
	struct report_process processes[4];
	struct report report = report_of(processes, usual_processes(processes));

	processes[0].comm = "tokio\x1b[31m\xff\xfe";
	assert_golden("wide.txt", render(&report, 1, 132, 3));
}

static void a_report_without_processes_says_so(void **state)
{
	struct report report = report_of(NULL, 0);

	assert_golden("empty.txt", render(&report, 1, 80, 10));
}

static void unknown_is_a_dash_and_zero_is_zero(void **state)
{
	struct report_process process = {
		.key = {.tgid = 1},
		.comm = "a",
		.open = REPORT_UNKNOWN,
		.rss_bytes = REPORT_UNKNOWN,
		.rss_delta_bytes = REPORT_DELTA_UNKNOWN,
	};
	struct report report = report_of(&process, 1);
	char *text;

	memset(process.counters, 0xff, sizeof(process.counters));
	text = render(&report, 1, 80, 0);
	assert_non_null(strstr(text, "\n      1 a                   -      -      -       -      -"
				     "     -        -      -\n"));
	free(text);
	process = (struct report_process){.key = {.tgid = 1}, .comm = "a"};
	text = render(&report, 1, 80, 0);
	assert_non_null(strstr(text, "\n      1 a                   0      0      0       0      0"
				     "     0        0      -\n"));
	free(text);
}

/*
 * Hostile reports.
 */

#define HOSTILE_PROCESSES 40
#define HOSTILE_ROUTES    4

struct hostile {
	struct report report;
	struct report_process processes[HOSTILE_PROCESSES];
	struct report_route routes[HOSTILE_ROUTES];
	const char *notes[2];
	char host[65];
	char comms[HOSTILE_PROCESSES][PS_COMM_BYTES];
	char route_texts[HOSTILE_ROUTES][PS_ROUTE_BYTES];
	char note_texts[2][EVENT_NOTE_BYTES];
};

static void random_text(char *out, size_t out_bytes)
{
	static const char nasty[] = "\x1b\n\r\t\x7f\\\xc2\x9b\xe2\x80\xae\xf0\x9f ~aZ";
	size_t length = random() % out_bytes;

	for (size_t i = 0; i < length; i++)
		out[i] = random() % 2 ? nasty[random() % (sizeof(nasty) - 1)]
				      : (char)(1 + random() % 255);
	out[length] = '\0';
}

/* All magnitudes alike, unknown and the greatest among them. */
static uint64_t random_number(void)
{
	uint64_t bits = (uint64_t)random() << 40 ^ (uint64_t)random() << 20 ^ (uint64_t)random();

	switch (random() % 8) {
	case 0:
		return 0;
	case 1:
		return UINT64_MAX - (uint64_t)(random() % 2);
	case 2:
		return (uint64_t)INT64_MAX + (uint64_t)(random() % 2);
	default:
		return bits >> random() % 64;
	}
}

static void random_process(struct hostile *hostile, struct report_process *process, char *comm)
{
	random_text(comm, PS_COMM_BYTES);
	*process = (struct report_process){
		.comm = comm,
		.key = {.tgid = (uint32_t)random_number()},
		.exited = random() % 8 == 0,
		.open = random_number(),
		.rss_bytes = random_number(),
		.rss_delta_bytes = (int64_t)random_number(),
		.routes = hostile->routes,
		.route_count = random() % (HOSTILE_ROUTES + 1),
	};
	for (int counter = 0; counter < PS_COUNTERS; counter++)
		process->counters[counter] = random_number();
}

static void random_report(struct hostile *hostile)
{
	struct report *report = &hostile->report;

	memset(hostile, 0, sizeof(*hostile));
	for (size_t i = 0; i < HOSTILE_ROUTES; i++) {
		random_text(hostile->route_texts[i], PS_ROUTE_BYTES);
		hostile->routes[i].text = hostile->route_texts[i];
		hostile->routes[i].requests = random_number();
	}
	for (size_t i = 0; i < HOSTILE_PROCESSES; i++)
		random_process(hostile, &hostile->processes[i], hostile->comms[i]);
	for (size_t i = 0; i < 2; i++) {
		random_text(hostile->note_texts[i], EVENT_NOTE_BYTES);
		hostile->notes[i] = hostile->note_texts[i];
	}
	random_text(hostile->host, sizeof(hostile->host));
	*report = report_of(hostile->processes, random() % (HOSTILE_PROCESSES + 1));
	report->wall_ns = random_number();
	report->interval_ns = random_number();
	report->self_rss_bytes = random_number();
	report->self_cpu_ns = random_number();
	report->host = hostile->host;
	report->routes = random() % 2;
	report->complete = random() % 2;
	report->lost[PS_LOST_EVENTS] = random_number();
	report->lost[PS_LOST_MAP_FULL] = random_number();
	report->notes = hostile->notes;
	report->note_count = 2;
}

/* The table's numbers end where their titles end, each behind at least one space. */
static void assert_straight(const char *titles, const char *row)
{
	const char *title = strstr(titles, "RSS");

	assert_non_null(title);
	assert_int_equal(strlen(row), strlen(titles));
	while (*title) {
		size_t end = title - titles + strcspn(title, " ");
		char behind = titles[end] ? row[end] : ' ';

		assert_int_not_equal(row[end - 1], ' ');
		if (behind != ' ' && !(behind == '~' && strncmp(title, "REQS", 4) == 0))
			fail_msg("not straight:\n%s\n%s", titles, row);
		title += strcspn(title, " ");
		title += strspn(title, " ");
	}
	/* The name's column begins behind one space and is separated from the numbers. */
	assert_int_equal(row[7], ' ');
}

/* Takes the lines of a rendered report apart again, as a reader would. */
static void assert_table(const struct report *report, unsigned columns, unsigned top, char *text)
{
	char *rest = text;
	const char *titles;
	size_t shown = top && report->process_count > top ? top : report->process_count;

	for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
		if (strcspn(line, "\n") > columns)
			fail_msg("wider than %u: %.*s", columns, (int)strcspn(line, "\n"), line);
	}
	for (const char *c = text; *c; c++)
		assert_true(*c == '\n' || (*c >= ' ' && *c <= '~'));
	assert_memory_equal(strsep(&rest, "\n"), "pagestay  ", 10);
	titles = strsep(&rest, "\n");
	assert_memory_equal(titles, "    PID COMM", 12);
	for (size_t i = 0; i < shown; i++) {
		assert_straight(titles, strsep(&rest, "\n"));
		for (size_t j = 0; report->routes && j < report->processes[i].route_count; j++) {
			const char *line = strsep(&rest, "\n");

			assert_memory_equal(line, "        ", 8);
			assert_memory_equal(line + 14, "  ", 2);
			assert_int_not_equal(line[13], ' ');
		}
	}
	if (shown < report->process_count)
		assert_straight(titles, strsep(&rest, "\n"));
}

static void hostile_reports_stay_straight(void **state)
{
	static struct hostile hostile;

	srandom(1);
	for (int round = 0; round < 2000; round++) {
		unsigned columns = round % 4 ? 80 : random() % 2000;
		unsigned top = random() % 2 ? 0 : random() % 50;
		char *text;

		random_report(&hostile);
		text = render(&hostile.report, 1, columns, top);
		assert_table(&hostile.report, columns < 80 ? 80 : columns, top, text);
		free(text);
	}
}

static void two_thousand_processes_stay_straight(void **state)
{
	static struct report_process processes[2000];
	static struct hostile hostile;
	struct report report = report_of(processes, 2000);
	char *text;

	srandom(2);
	for (size_t i = 0; i < 2000; i++) {
		random_process(&hostile, &processes[i], hostile.comms[i % HOSTILE_PROCESSES]);
		processes[i].route_count = 0;
	}
	text = render(&report, 1, 80, 0);
	assert_table(&report, 80, 0, text);
	free(text);
	text = render(&report, 1, 80, 20);
	assert_non_null(strstr(text, "\n    ... and 1980 more "));
	assert_table(&report, 80, 20, text);
	free(text);
}

static void sums_of_the_rest_leave_out_what_is_not_known(void **state)
{
	struct report_process processes[4];
	struct report report = report_of(processes, usual_processes(processes));
	char *text = render(&report, 1, 80, 1);

	/* 95 and 9.5 MiB; the exited one's is not known. */
	assert_non_null(strstr(text, "\n    ... and 3 more       104M   -59M   7201    7201    400"
				     "   64M     2.0G   14.6\n"));
	free(text);
}

static void failed_writes_are_errors(void **state)
{
	struct report report = report_of(NULL, 0);
	FILE *out = fopen("/dev/full", "w");
	const struct sink_options options = {.out = out};
	struct sink *sink = sink_text_new(&options);

	assert_int_equal(sink_write(sink, &report), -ENOSPC);
	assert_int_equal(sink_close(sink), -ENOSPC);
	(void)fclose(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_the_first_report_has_legend_and_notes),
		cmocka_unit_test(what_was_cut_lost_and_estimated_is_told),
		cmocka_unit_test(a_damaged_recording_is_told),
		cmocka_unit_test(routes_stand_under_their_process),
		cmocka_unit_test(a_wider_terminal_gives_the_name_room),
		cmocka_unit_test(a_report_without_processes_says_so),
		cmocka_unit_test(unknown_is_a_dash_and_zero_is_zero),
		cmocka_unit_test(hostile_reports_stay_straight),
		cmocka_unit_test(two_thousand_processes_stay_straight),
		cmocka_unit_test(sums_of_the_rest_leave_out_what_is_not_known),
		cmocka_unit_test(failed_writes_are_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
