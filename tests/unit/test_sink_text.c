/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Text: what a person sees, against files to be read by eye (tests/golden, written anew with
 * UPDATE_GOLDEN=1), and tables that stay straight whatever a report holds. Runs in the project's
 * root.
 */
#include "golden.h"

#include <errno.h>
#include <float.h>
#include <math.h>

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

static const char long_route[] =
	"GET /\x1b]0;owned\x07\\..\\/\xc3\xa9/wp-content/plugins/a-rather-long-name-of-a-plugin/"
	"readme.txt";

static void routes_stand_under_their_process(void **state)
{
	const struct report_route routes[] = {
		{.text = "GET /", .requests = 6100},
		{.text = "GET /.env", .requests = 800},
		{.text = long_route, .requests = 290},
		{.text = "-", .requests = 20},
		{.text = "other", .requests = 1234567},
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
 * Pages.
 */

#define PAGE 4096

static const struct report_survival no_age = {0, 0, NAN, NAN, NAN};

/* A server on glibc and one on jemalloc after a minute, a quiet one, and one that exited. */
static size_t page_processes(struct report_process processes[4])
{
	size_t count = usual_processes(processes);

	for (size_t i = 0; i < count; i++) {
		report_retention_unknown(&processes[i].retention);
		processes[i].page_bytes = PAGE;
		processes[i].sample_ratio = 1;
	}
	processes[0].retention = (struct report_retention){
		.touched = {29722, 29722, 29722},
		.kept = {26650, 26650, 26650},
		.survival =
			{
				{29000, 28700, 0.9897, 0.9897, 0.9897},
				{25000, 23750, 0.95, 0.95, 0.95},
				{4000, 3700, 0.925, 0.925, 0.925},
				no_age,
				no_age,
			},
		.half_life_s = NAN,
		.half_life_over_s = 60,
		.touched_pages_per_request = 4.1217,
		.kept_pages_per_request = 3.6957,
	};
	processes[0].attribution = (struct report_attribution){
		.exclusive = 28000, .overlapping = 602, .background = 1505};
	processes[0].growth = (struct report_growth){
		.requests_bytes = 104 * MIB,
		.background_bytes = 6 * MIB,
		.earlier_bytes = -(int64_t)(200 * KIB),
		.unexplained_bytes = 2 * MIB + 200 * KIB,
		.error_bytes = 512 * KIB,
	};
	processes[1].retention = (struct report_retention){
		.touched = {105000, 105000, 105000},
		.kept = {260, 260, 260},
		.swapped_pages = 300,
		.lazyfree_pages = 9000,
		.survival =
			{
				{104000, 102000, 0.9808, 0.9808, 0.9808},
				{90000, 47000, 0.5222, 0.5222, 0.5222},
				{20000, 40, 0.002, 0.002, 0.002},
				no_age,
				no_age,
			},
		.half_life_s = 10.6,
		.half_life_over_s = NAN,
		.touched_pages_per_request = 14.587,
		.kept_pages_per_request = 0.036,
	};
	processes[1].attribution = (struct report_attribution){.exclusive = 105000};
	processes[1].growth.requests_bytes = -(int64_t)(59 * MIB);
	processes[2].retention = (struct report_retention){
		.survival = {no_age, no_age, no_age, no_age, no_age},
		.half_life_s = NAN,
		.half_life_over_s = NAN,
		.touched_pages_per_request = NAN,
		.kept_pages_per_request = NAN,
	};
	processes[3].sample_ratio = NAN;
	return count;
}

static struct report page_report(const struct report_process *processes, size_t count)
{
	struct report report = report_of(processes, count);

	report.detail = "pages";
	return report;
}

static void pages_stand_under_their_process(void **state)
{
	struct report_process processes[4];
	struct report reports[2];

	reports[0] = page_report(processes, page_processes(processes));
	reports[1] = reports[0];
	reports[1].wall_ns += TEN_S;
	assert_golden("pages.txt", render(reports, 2, 80, 10));
}

static void routes_have_columns_for_pages(void **state)
{
	struct report_process processes[4];
	struct report report = page_report(processes, page_processes(processes));
	struct report_route routes[] = {
		{.text = "GET /", .requests = 6100, .retention = processes[0].retention},
		{.text = long_route, .requests = 290, .retention = processes[1].retention},
		{.text = "other", .requests = 1234567},
	};

	report_retention_unknown(&routes[2].retention);
	processes[0].routes = routes;
	processes[0].route_count = 3;
	report.routes = true;
	report.process_count = 1;
	assert_golden("page-routes.txt", render(&report, 1, 80, 10));
}

/* A full curve, half of the process's pages in the background, and every other kind of trouble. */
static void sampled_and_lost_pages_are_told(void **state)
{
	struct report_process processes[4];
	struct report report = page_report(processes, page_processes(processes));
	const char *hint = "most pages are touched by threads that never receive: requests are "
			   "worked on by a thread pool";

	processes[0].sample_ratio = 1 / 16.0;
	processes[0].retention.kept.low = 25850;
	processes[0].retention.kept.high = 27500;
	processes[0].retention.survival[3] = (struct report_survival){300, 38, 0.125, 0, 0};
	processes[0].retention.survival[4] = (struct report_survival){200, 6, 0.03, 0, 0};
	processes[0].retention.half_life_over_s = NAN;
	processes[0].retention.half_life_s = 95;
	processes[0].attribution.background = 30000;
	processes[0].attribution.hint = hint;
	processes[1].attribution.hint = "another hint";
	processes[2].attribution.hint = hint;
	report.lost[PS_LOST_PAGES] = 1200;
	report.complete = false;
	assert_golden("page-trouble.txt", render(&report, 1, 80, 3));
}

static void assert_has_line(const char *text, const char *line)
{
	const char *place = strstr(text, line);

	if (!place || (place != text && place[-1] != '\n') || place[strlen(line)] != '\n')
		fail_msg("no line\n%s\nin\n%s", line, text);
}

static void assert_growth(struct report_growth growth, int64_t delta, const char *line)
{
	struct report_process process = {
		.comm = "a", .page_bytes = PAGE, .rss_delta_bytes = delta, .growth = growth};
	struct report report = page_report(&process, 1);
	char *text;

	report_retention_unknown(&process.retention);
	text = render(&report, 1, 80, 0);
	if (line)
		assert_has_line(text, line);
	else
		assert_null(strstr(text, "\n        RSS "));
	free(text);
}

static void growth_names_the_greatest_parts_that_have_room(void **state)
{
	const int64_t mib = (int64_t)MIB;

	assert_growth((struct report_growth){}, 12 * mib, NULL);
	assert_growth((struct report_growth){.files_bytes = 12 * mib}, 12 * mib,
		"        RSS +12M = files +12M");
	assert_growth((struct report_growth){.requests_bytes = 5 * mib, .earlier_bytes = -5 * mib},
		mib, "        RSS +1.0M = requests +5.0M, earlier -5.0M");
	assert_growth((struct report_growth){10 * mib, mib, -2 * mib, 3 * mib, 0, 65536}, 12 * mib,
		"        RSS +12M = requests +10M, files +3.0M, earlier -2.0M, rest +1.0M (+-64K)");
	assert_growth((struct report_growth){1023 * mib, 1022 * mib, -1021 * mib, 1020 * mib,
			      1019 * mib, 1023 * MIB},
		1023 * mib,
		"        RSS +1023M = requests +1023M, background +1022M, rest +1018M (+-1023M)");
	assert_growth((struct report_growth){REPORT_DELTA_UNKNOWN, REPORT_DELTA_UNKNOWN,
			      REPORT_DELTA_UNKNOWN, REPORT_DELTA_UNKNOWN, REPORT_DELTA_UNKNOWN,
			      REPORT_UNKNOWN},
		12 * mib, NULL);
	assert_growth((struct report_growth){.files_bytes = mib}, REPORT_DELTA_UNKNOWN, NULL);
	assert_growth((struct report_growth){INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, -INT64_MAX,
			      UINT64_MAX - 1},
		-INT64_MAX,
		"        RSS -8.0E = requests +8.0E, background +8.0E, earlier +8.0E (+-16E)");
}

/* The widest that a process with less than 100,000 pages a request can be. */
static void the_widest_lines_fit_eighty_columns(void **state)
{
	struct report_process process = {
		.comm = "a",
		.page_bytes = PAGE,
		.sample_ratio = 0.5,
		.retention =
			{
				.kept = {261000, 0, REPORT_UNKNOWN},
				.swapped_pages = 261000,
				.lazyfree_pages = 261000,
				.half_life_s = NAN,
				.half_life_over_s = 600,
				.touched_pages_per_request = 99999,
				.kept_pages_per_request = 99999,
			},
		.attribution = {.exclusive = 87000, .overlapping = 87000, .background = 87000},
	};
	struct report report = page_report(&process, 1);
	char *text;

	for (int i = 0; i < REPORT_AGES; i++)
		process.retention.survival[i].ratio = 1;
	text = render(&report, 1, 80, 0);
	assert_has_line(text, "        touched~ 1020M: requests 33% (99999/rq), overlapping 33%, "
			      "background 33%");
	assert_has_line(text, "        kept~ 1020M (99999/rq), half-life >10m; swapped 1020M, "
			      "lazyfree 1020M");
	assert_has_line(text, "        after 1s[####]100% 10s[####]100% 1m[####]100% "
			      "10m[####]100% 1h[####]100%");
	assert_has_line(text, "~ 1 page in 2 is tracked: page figures are estimates");
	free(text);
}

static void a_process_without_pages_has_no_lines(void **state)
{
	struct report_process process = {.comm = "a", .page_bytes = PAGE, .sample_ratio = 1};
	struct report report = page_report(&process, 1);
	char *text;

	/* Its curve is history: nothing is left, and nothing happens. */
	process.retention.survival[0].ratio = 0.5;
	text = render(&report, 1, 80, 0);
	assert_null(strstr(text, "kept 0"));
	free(text);
	process.retention.swapped_pages = 1;
	text = render(&report, 1, 80, 0);
	assert_non_null(strstr(text, "\n        kept 0 (0.0/rq), half-life <1s; swapped 4.0K\n"));
	free(text);
}

static void nothing_of_pages_is_shown_below_their_level(void **state)
{
	const char *const details[] = {"ledger", "requests"};
	struct report_process processes[4];
	struct report report = report_of(processes, page_processes(processes));

	for (size_t i = 0; i < 4; i++) {
		report_retention_unknown(&processes[i].retention);
		processes[i].sample_ratio = NAN;
		processes[i].attribution = (struct report_attribution){

			.exclusive = REPORT_UNKNOWN,
			.overlapping = REPORT_UNKNOWN,
			.background = REPORT_UNKNOWN};
	}
	for (int i = 0; i < 2; i++) {
		char *text;

		report.detail = details[i];
		text = render(&report, 1, 80, 0);
		for (const char *line = text; line; line = strchr(line + 1, '\n'))
			assert_int_not_equal(strspn(line, "\n "), 9);
		assert_null(strstr(text, "page faults:"));
		assert_null(strstr(text, "kept"));
		free(text);
	}
}

static void shares_of_faults_are_summed_below_the_table(void **state)
{
	struct report_process processes[4];
	struct report report = report_of(processes, usual_processes(processes));
	char *text;

	processes[0].attribution = (struct report_attribution){
		.exclusive = 900, .overlapping = 40, .background = REPORT_UNKNOWN};
	processes[3].attribution = (struct report_attribution){.exclusive = 30, .background = 30};
	text = render(&report, 1, 80, 2);
	assert_has_line(text, "page faults: requests 93%, overlapping 4%, background 3%");
	free(text);
	processes[0].attribution.exclusive = UINT64_MAX - 1;
	text = render(&report, 1, 80, 2);
	assert_has_line(text, "page faults: requests 100%");
	free(text);
}

static void wider_terminals_have_longer_bars(void **state)
{
	struct report_process processes[4];
	struct report report = page_report(processes, page_processes(processes));
	char *text = render(&report, 1, 100, 1);

	assert_has_line(text, "        after 1s[########] 99% 10s[#######:] 95% "
			      "1m[#######:] 92% 10m -             1h -");
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

/* What arithmetic on hostile numbers can give, and what it cannot. */
static double random_real(void)
{
	static const double nasty[] = {NAN, INFINITY, -INFINITY, -1, -0.0, 0, 1e300, 5e-324, 1,
		DBL_MAX, 0.005, 0.995, 999.95, 59.5, 1.8446744073709552e19};

	if (random() % 2)
		return nasty[random() % (sizeof(nasty) / sizeof(nasty[0]))];
	return (double)random() / (double)(1 + random());
}

static struct report_pages random_pages(void)
{
	return (struct report_pages){random_number(), random_number(), random_number()};
}

static struct report_retention random_retention(void)
{
	struct report_retention retention = {
		.touched = random_pages(),
		.kept = random_pages(),
		.swapped_pages = random_number(),
		.lazyfree_pages = random_number(),
		.half_life_s = random_real(),
		.half_life_over_s = random_real(),
		.touched_pages_per_request = random_real(),
		.kept_pages_per_request = random_real(),
		.growth_bytes = (int64_t)random_number(),
	};

	for (int i = 0; i < REPORT_AGES; i++)
		retention.survival[i] = (struct report_survival){random_number(), random_number(),
			random_real(), random_real(), random_real()};
	return retention;
}

static void random_process_pages(struct report_process *process)
{
	process->retention = random_retention();
	process->attribution = (struct report_attribution){
		.exclusive = random_number(),
		.overlapping = random_number(),
		.background = random_number(),
		.hint = random() % 4 ? NULL : "a hint\n\x1b[2J",
	};
	process->growth = (struct report_growth){(int64_t)random_number(), (int64_t)random_number(),
		(int64_t)random_number(), (int64_t)random_number(), (int64_t)random_number(),
		random_number()};
	process->sample_ratio = random_real();
	process->page_bytes = random() % 2 ? PAGE : random_number();
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
	random_process_pages(process);
}

static void random_report(struct hostile *hostile)
{
	struct report *report = &hostile->report;

	memset(hostile, 0, sizeof(*hostile));
	for (size_t i = 0; i < HOSTILE_ROUTES; i++) {
		random_text(hostile->route_texts[i], PS_ROUTE_BYTES);
		hostile->routes[i].text = hostile->route_texts[i];
		hostile->routes[i].requests = random_number();
		hostile->routes[i].retention = random_retention();
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
	report->detail = random() % 2 ? "pages" : "requests";
	report->complete = random() % 2;
	report->lost[PS_LOST_EVENTS] = random_number();
	report->lost[PS_LOST_MAP_FULL] = random_number();
	report->lost[PS_LOST_PAGES] = random_number();
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

static const char route_titles[] = "          REQS TOUCHED  KEPT KEPT/RQ  10s   1m  ROUTE";

static bool is_about_pages(const char *line)
{
	static const char *const begins[] = {"touched", "kept", "after ", "RSS "};

	if (strncmp(line, "        ", 8) != 0)
		return false;
	for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
		if (strncmp(line + 8, begins[i], strlen(begins[i])) == 0)
			return true;
	}
	return false;
}

/* Numbers end where their titles end, and the name begins where its title begins. */
static void assert_route_is_straight(const char *line, bool pages)
{
	static const size_t ends[] = {14, 22, 28, 36, 41, 46};

	assert_memory_equal(line, "        ", 8);
	for (size_t i = 0; i < (pages ? 6 : 1); i++) {
		assert_int_not_equal(line[ends[i] - 1], ' ');
		assert_int_equal(line[ends[i]], ' ');
	}
	assert_memory_equal(line + (pages ? 46 : 14), "  ", 2);
}

/* Takes the lines of a rendered report apart again, as a reader would. */
static void assert_table(const struct report *report, unsigned columns, unsigned top, char *text)
{
	char *rest = text;
	const char *titles;
	bool pages = strcmp(report->detail, "pages") == 0;
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
	if (strncmp(rest, route_titles, 14) == 0)
		assert_int_equal(strcspn(strsep(&rest, "\n"), "\n"), strlen(route_titles));
	for (size_t i = 0; i < shown; i++) {
		size_t lines = 0;

		assert_straight(titles, strsep(&rest, "\n"));
		while (pages && is_about_pages(rest)) {
			(void)strsep(&rest, "\n");
			lines++;
		}
		assert_in_range(lines, 0, 4);
		for (size_t j = 0; report->routes && j < report->processes[i].route_count; j++)
			assert_route_is_straight(strsep(&rest, "\n"), pages);
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
		cmocka_unit_test(pages_stand_under_their_process),
		cmocka_unit_test(routes_have_columns_for_pages),
		cmocka_unit_test(sampled_and_lost_pages_are_told),
		cmocka_unit_test(growth_names_the_greatest_parts_that_have_room),
		cmocka_unit_test(the_widest_lines_fit_eighty_columns),
		cmocka_unit_test(a_process_without_pages_has_no_lines),
		cmocka_unit_test(nothing_of_pages_is_shown_below_their_level),
		cmocka_unit_test(shares_of_faults_are_summed_below_the_table),
		cmocka_unit_test(wider_terminals_have_longer_bars),
		cmocka_unit_test(hostile_reports_stay_straight),
		cmocka_unit_test(two_thousand_processes_stay_straight),
		cmocka_unit_test(sums_of_the_rest_leave_out_what_is_not_known),
		cmocka_unit_test(failed_writes_are_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
