/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Page retention, against servers that know whose each of their pages is and what became of it
 * (tests/workloads/pages.c). One run of pagestay watches a server of each shape, for longer than
 * ten seconds, so that the survival curve has two known points; what pages do in between is told to
 * the servers, word by word, and the truth is what they did. The serving threads are warmed up, and
 * a page that they fault on beyond the plan fails the test that sees it; only the background also
 * holds what the rest of the process does when it speaks to the runner, for which BACKGROUND_SLACK
 * pages are allowed.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/swap.h>
#include <time.h>
#include <unistd.h>

#include "groups.h"
#include "harness.h"

#define BACKGROUND_SLACK 16

enum scope { KEEP, DROP, HALF, ALL, SCOPES };

static const char *const scope_names[SCOPES] = {"keep", "drop", "half", "all"};
static const char *const routes[ALL] = {"GET /keep", "GET /drop", "GET /half"};

enum number {
	REQUESTS,
	EXCLUSIVE,
	OVERLAPPING,
	BACKGROUND,
	KEPT,
	BACKGROUND_KEPT,
	SWAPPED,
	LAZYFREE,
	COPIED,
	KERNEL,
	HUGE,
	FOLLOWED,
	KEPT_1S,
	AGED_10S,
	KEPT_10S,
	NUMBERS,
};

static const char *const number_names[NUMBERS] = {"requests", "exclusive", "overlapping",
	"background", "kept", "background_kept", "swapped", "lazyfree", "copied", "kernel", "huge",
	"followed", "kept_1s", "aged_10s", "kept_10s"};

/* What a server said that it did. */
struct truth {
	pid_t pid;
	uint64_t unplanned;
	uint64_t number[SCOPES][NUMBERS];
};

static struct truth truth_of(struct workload *workload)
{
	struct truth truth = {
		.pid = (pid_t)workload_number(workload, "pid"),
		.unplanned = workload_number(workload, "unplanned"),
	};

	for (int scope = 0; scope < SCOPES; scope++) {
		for (int number = 0; number < NUMBERS; number++) {
			char key[64];

			(void)snprintf(key, sizeof(key), "%s.%s", scope_names[scope],
				number_names[number]);
			truth.number[scope][number] = workload_number(workload, key);
		}
	}
	return truth;
}

static void do_step(struct workload *workload, const char *word)
{
	workload_tell(workload, word);
	workload_await_done(workload);
}

static void pause_s(unsigned seconds)
{
	struct timespec left = {.tv_sec = seconds};

	while (nanosleep(&left, &left) != 0)
		;
}

/* --- what this machine must have for some shapes --- */

#define FOLIO_SWITCH "/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled"
#define SWAP_BYTES   (64u << 20)

static char swap_path[64];      /* of a file of ours that is in use; empty: there is none */
static char folio_setting[128]; /* what the switch was; empty: it was left alone */

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool is_written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return is_written;
}

/* The word in brackets of a switch. */
static void read_setting(const char *path, char *ret_word, size_t word_bytes)
{
	char text[128] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const char *from;

	if (fd >= 0 && read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	if (fd >= 0)
		close(fd);
	from = strchr(text, '[');
	if (from)
		(void)snprintf(ret_word, word_bytes, "%.*s", (int)strcspn(from + 1, "]"), from + 1);
}

static void allow_folios(void)
{
	read_setting(FOLIO_SWITCH, folio_setting, sizeof(folio_setting));
	if (strcmp(folio_setting, "never") != 0 || !write_text(FOLIO_SWITCH, "madvise"))
		folio_setting[0] = '\0';
}

static bool has_swap(void)
{
	char text[512] = "";
	int fd = open("/proc/swaps", O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	return length > 0 && strchr(text, '/');
}

/* The header that mkswap writes: version 1, the last page, and a magic at the page's end. */
static bool format_swap(int fd)
{
	uint32_t pages = SWAP_BYTES / (uint32_t)sysconf(_SC_PAGESIZE);
	uint32_t header[2] = {1, pages - 1};
	static const char magic[] = "SWAPSPACE2";

	return posix_fallocate(fd, 0, SWAP_BYTES) == 0 &&
	       pwrite(fd, header, sizeof(header), 1024) == sizeof(header) &&
	       pwrite(fd, magic, strlen(magic), sysconf(_SC_PAGESIZE) - (off_t)strlen(magic)) ==
		       (ssize_t)strlen(magic);
}

/* Where there is no swap and none can be made, its cases are skipped. */
static void provide_swap(void)
{
	int fd;

	if (has_swap())
		return;
	(void)snprintf(swap_path, sizeof(swap_path), "/var/tmp/pagestay-live-XXXXXX");
	fd = mkstemp(swap_path);
	if (fd < 0 || !format_swap(fd) || swapon(swap_path, 0) != 0) {
		(void)unlink(swap_path);
		swap_path[0] = '\0';
	}
	if (fd >= 0)
		close(fd);
}

static int restore_machine(void **state)
{
	(void)state;
	if (swap_path[0]) {
		(void)swapoff(swap_path);
		(void)unlink(swap_path);
		swap_path[0] = '\0';
	}
	if (folio_setting[0])
		(void)write_text(FOLIO_SWITCH, folio_setting);
	folio_setting[0] = '\0';
	return 0;
}

/* --- one server of each shape --- */

struct page_case {
	const char *test;
	const char *shape;
};

static const struct page_case cases[] = {
	{"pages_survive_until_they_are_given_back", "later"},
	{"pages_given_back_inside_the_request_are_not_kept", "inside"},
	{"pages_of_a_reused_area_belong_to_the_new_toucher", "dontneed"},
	{"pages_dropped_inside_and_touched_again_count_twice", "inside-dontneed"},
	{"pages_under_a_new_mapping_are_gone", "map-over"},
	{"pages_touched_again_in_the_same_interval_change_hands", "retouch"},
	{"pages_of_the_heap_go_when_it_shrinks", "brk"},
	{"pages_that_move_stay_their_requests", "remap"},
	{"pages_that_move_and_go_in_one_interval_are_gone", "remap-at-once"},
	{"pages_freed_lazily_are_counted_apart", "lazyfree"},
	{"pages_that_are_only_read_are_not_touched", "zero"},
	{"pages_that_read_fills_are_touched_by_the_kernel", "read"},
	{"pages_received_into_belong_to_the_request", "receive"},
	{"pages_mapped_populated_are_touched", "populate"},
	{"pages_copied_on_write_are_counted_and_change_no_memory", "copy"},
	{"pages_of_a_huge_page_are_all_touched_at_once", "huge"},
	{"pages_of_a_huge_page_may_go_in_part", "huge-dontneed"},
	{"pages_of_a_folio_are_all_touched_at_once", "folio"},
	{"pages_in_swap_are_neither_kept_nor_released", "swap"},
	{"pages_back_from_swap_belong_to_the_new_toucher", "swap-again"},
	{"pages_touched_between_two_sends_are_the_requests", "tail"},
	{"pages_touched_after_the_last_send_are_background", "after"},
	{"pages_of_another_thread_are_background", "background"},
	{"pages_of_an_executor_are_background_with_a_hint", "executor"},
	{"pages_handed_to_a_thread_that_answers_are_followed", "hand-off"},
	{"pages_with_two_requests_open_are_overlapping", "two-open"},
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

struct outcome {
	char unsupported[256];
	struct truth truth;
	uint64_t swapped_pages; /* at most, after any step */
};

static struct outcome outcomes[CASES];
static struct live_session session;

static void do_step_of_all(struct workload *const workloads[CASES], const char *word)
{
	for (size_t i = 0; i < CASES; i++)
		if (!outcomes[i].unsupported[0])
			workload_tell(workloads[i], word);
	for (size_t i = 0; i < CASES; i++) {
		if (outcomes[i].unsupported[0])
			continue;
		workload_await_done(workloads[i]);
		outcomes[i].truth = truth_of(workloads[i]);
		if (outcomes[i].truth.number[ALL][SWAPPED] > outcomes[i].swapped_pages)
			outcomes[i].swapped_pages = outcomes[i].truth.number[ALL][SWAPPED];
	}
}

static void launch_all(struct workload *workloads[CASES], struct words *options)
{
	for (size_t i = 0; i < CASES; i++)
		workloads[i] = workload_launch("pages", "%s", cases[i].shape);
	for (size_t i = 0; i < CASES; i++) {
		const char *reason;

		workload_await_ready(workloads[i]);
		reason = workload_unsupported(workloads[i]);
		if (reason)
			(void)snprintf(outcomes[i].unsupported, sizeof(outcomes[i].unsupported),
				"%s", reason);
		else
			words_add_pid(options, workload_pid(workloads[i]));
	}
}

/* All that is given back goes when its request's end is between 1 and 10 s ago. */
static struct report *run_all_cases(void)
{
	struct workload *workloads[CASES];
	struct words options = {0};
	struct pagestay *pagestay;
	struct report *report;

	allow_folios();
	provide_swap();
	words_add(&options, "--routes");
	launch_all(workloads, &options);
	pagestay = pagestay_start(&options);
	words_deinit(&options);
	pagestay_await_lines(pagestay, 1);
	do_step_of_all(workloads, "go");
	pause_s(1);
	pagestay_await_lines(pagestay, pagestay_lines(pagestay) + 2);
	do_step_of_all(workloads, "later");
	pagestay_await_lines(pagestay, pagestay_lines(pagestay) + 2);
	do_step_of_all(workloads, "last");
	pause_s(11);
	do_step_of_all(workloads, "show");
	report = pagestay_stop(pagestay);
	for (size_t i = 0; i < CASES; i++)
		workload_end(workloads[i]);
	(void)restore_machine(NULL);
	return report;
}

/* --- expectations --- */

/* Counts differences and prints them, so that a test shows all of them before it fails. */
struct check {
	const char *who;
	unsigned differences;
};

static void expect_within(
	struct check *check, const char *what, uint64_t value, uint64_t least, uint64_t most)
{
	if (value >= least && value <= most)
		return;
	check->differences++;
	if (least == most)
		print_error("%s: %s is %" PRIu64 ", the truth is %" PRIu64 "\n", check->who, what,
			value, least);
	else
		print_error("%s: %s is %" PRIu64 ", the truth is %" PRIu64 " to %" PRIu64 "\n",
			check->who, what, value, least, most);
}

static void expect(struct check *check, const char *what, uint64_t value, uint64_t truth)
{
	expect_within(check, what, value, truth, truth);
}

static void require_no_difference(const struct check *check)
{
	if (check->differences > 0)
		live_fail("%s: %u numbers are not the truth", check->who, check->differences);
}

static uint64_t count_at(json_t *object, const char *path)
{
	json_t *value = report_value(object, path);

	if (!json_is_integer(value))
		live_fail("'%s' is no number where one is needed", path);
	return (uint64_t)json_integer_value(value);
}

static int64_t signed_at(json_t *object, const char *path)
{
	return (int64_t)count_at(object, path);
}

static double real_at(json_t *object, const char *path)
{
	json_t *value = report_value(object, path);

	if (!json_is_number(value))
		live_fail("'%s' is no number where one is needed", path);
	return json_number_value(value);
}

static bool is_null_at(json_t *object, const char *path)
{
	return json_is_null(report_value(object, path));
}

/* A point of the curve, which is an element of `survival` in the object. */
static void expect_survival(struct check *check, json_t *object, const char *who, int index,
	uint64_t touched, uint64_t kept)
{
	char path[64], what[64];
	json_t *point;

	(void)snprintf(path, sizeof(path), "survival.%d", index);
	point = report_value(object, path);
	(void)snprintf(what, sizeof(what), "%s's pages in the curve at %" PRIu64 " s", who,
		count_at(point, "age_s"));
	expect(check, what, count_at(point, "touched_pages"), touched);
	(void)snprintf(what, sizeof(what), "%s's pages that survived %" PRIu64 " s", who,
		count_at(point, "age_s"));
	expect(check, what, count_at(point, "kept_pages"), kept);
	if (touched == 0 || count_at(point, "touched_pages") != touched)
		assert_int_equal(is_null_at(point, "ratio"), count_at(point, "touched_pages") == 0);
	else if (fabs(real_at(point, "ratio") - (double)kept / (double)touched) > 1e-5)
		live_fail("%s: ratio is %f", what, real_at(point, "ratio"));
}

static void expect_curve(
	struct check *check, json_t *object, const char *who, const uint64_t truth[NUMBERS])
{
	uint64_t touched = truth[EXCLUSIVE] + truth[OVERLAPPING];

	expect_survival(check, object, who, 0, touched, truth[KEPT_1S]);
	expect_survival(check, object, who, 1, truth[AGED_10S], truth[KEPT_10S]);
	for (int index = 2; index < 5; index++)
		expect_survival(check, object, who, index, 0, 0);
	if (truth[AGED_10S] == 0)
		return;
	/* Nothing is known of ages beyond those seconds. */
	if (2 * truth[KEPT_10S] > truth[AGED_10S] && !is_null_at(object, "half_life_s"))
		live_fail("%s: half-life is %f", who, real_at(object, "half_life_s"));
	if (2 * truth[KEPT_10S] < truth[AGED_10S] && is_null_at(object, "half_life_s"))
		live_fail("%s: half-life is not known", who);
}

/* The route's row in the last line that has one: where nothing is left and nothing happens, there
 * is none. */
static json_t *last_row(const struct report *report, pid_t pid, const char *route)
{
	json_t *row = NULL;

	for (size_t line = report_lines(report); line-- > 0 && !row;)
		row = report_route(report_process(report, line, pid), route);
	if (!row)
		live_fail("process %d has no %s", (int)pid, route);
	return row;
}

static void expect_routes(
	struct check *check, const struct report *report, const struct truth *truth)
{
	for (int route = 0; route < ALL; route++) {
		const uint64_t *number = truth->number[route];
		json_t *row = last_row(report, truth->pid, routes[route]);

		expect(check, routes[route],
			report_route_sum(report, truth->pid, routes[route], "requests"),
			number[REQUESTS]);
		expect(check, routes[route],
			report_route_sum(report, truth->pid, routes[route], "touched_pages"),
			number[EXCLUSIVE]);
		expect(check, routes[route], count_at(row, "kept_pages"), number[KEPT]);
		expect(check, routes[route], count_at(row, "kept_pages_low"), number[KEPT]);
		expect(check, routes[route], count_at(row, "kept_pages_high"), number[KEPT]);
		expect(check, routes[route], count_at(row, "swapped_pages"), number[SWAPPED]);
		expect(check, routes[route], count_at(row, "lazyfree_pages"), number[LAZYFREE]);
		expect_curve(check, row, routes[route], number);
	}
}

/* Which counters of a process are to be which numbers of the truth. */
static const struct {
	const char *path;
	enum number number;
	bool in_background; /* what the process does beside its plan is in it */
} counters[] = {
	{"requests", REQUESTS, false},
	{"attribution.exclusive", EXCLUSIVE, false},
	{"attribution.overlapping", OVERLAPPING, false},
	{"attribution.background", BACKGROUND, true},
	{"background.touched_pages", BACKGROUND, true},
	{"attribution.followed_pages", FOLLOWED, false},
	{"retention.copied_pages", COPIED, false},
	{"retention.kernel_pages", KERNEL, true},
	{"retention.huge_pages", HUGE, false},
};

static const struct {
	const char *path;
	enum number number;
	bool in_background;
} gauges[] = {
	{"retention.kept_pages", KEPT, false},
	{"retention.kept_pages_low", KEPT, false},
	{"retention.kept_pages_high", KEPT, false},
	{"retention.swapped_pages", SWAPPED, false},
	{"retention.lazyfree_pages", LAZYFREE, false},
	{"background.kept_pages", BACKGROUND_KEPT, true},
};

static void expect_numbers(
	struct check *check, const struct report *report, const struct truth *truth)
{
	const uint64_t *number = truth->number[ALL];

	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++)
		expect_within(check, counters[i].path,
			report_sum(report, truth->pid, counters[i].path),
			number[counters[i].number],
			number[counters[i].number] +
				(counters[i].in_background ? BACKGROUND_SLACK : 0));
	for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++)
		expect_within(check, gauges[i].path,
			report_last(report, truth->pid, gauges[i].path), number[gauges[i].number],
			number[gauges[i].number] +
				(gauges[i].in_background ? BACKGROUND_SLACK : 0));
	expect(check, "retention.touched_pages",
		report_sum(report, truth->pid, "retention.touched_pages"),
		number[EXCLUSIVE] + number[OVERLAPPING]);
	expect(check, "pages that nobody planned", truth->unplanned, 0);
}

enum part { OF_REQUESTS, OF_BACKGROUND, OF_EARLIER, OF_FILES, UNEXPLAINED, PARTS };

static const char *const part_names[PARTS] = {"growth.requests_bytes", "growth.background_bytes",
	"growth.earlier_bytes", "growth.files_bytes", "growth.unexplained_bytes"};

/*
 * In every line the parts are the whole, and what is not explained is within the error. Only what
 * the kernel takes between the pass and the reading of memory nobody tells: `taken_bytes` at most.
 */
static void require_growth_explained(
	const struct report *report, pid_t pid, int64_t taken_bytes, int64_t ret_sums[PARTS])
{
	memset(ret_sums, 0, PARTS * sizeof(ret_sums[0]));
	for (size_t line = 0; line < report_lines(report); line++) {
		json_t *process = report_process(report, line, pid);
		int64_t whole = 0;

		for (int i = 0; i < PARTS; i++) {
			int64_t part = signed_at(process, part_names[i]);

			whole += part;
			ret_sums[i] += part;
		}
		assert_int_equal(whole, signed_at(process, "rss_delta_bytes"));
		if (llabs(signed_at(process, part_names[UNEXPLAINED])) >
			signed_at(process, "growth.error_bytes") + taken_bytes)
			live_fail("in line %zu %" PRId64 " bytes are not explained", line,
				signed_at(process, part_names[UNEXPLAINED]));
	}
}

static void expect_growth(
	struct check *check, const int64_t sums[PARTS], const uint64_t truth[NUMBERS])
{
	int64_t page_bytes = sysconf(_SC_PAGESIZE);

	expect(check, "growth by requests in pages", (uint64_t)(sums[OF_REQUESTS] / page_bytes),
		truth[KEPT] + truth[LAZYFREE]);
	expect_within(check, "growth by the background in pages",
		(uint64_t)(sums[OF_BACKGROUND] / page_bytes), truth[BACKGROUND_KEPT],
		truth[BACKGROUND_KEPT] + BACKGROUND_SLACK);
	/* A copy takes the place of a page that was there before. */
	expect_within(check, "earlier pages that went", (uint64_t)(-sums[OF_EARLIER] / page_bytes),
		truth[COPIED], truth[COPIED] + BACKGROUND_SLACK);
}

static void pages_are_what_they_are(void **state)
{
	const struct page_case *page_case = *state;
	const struct outcome *outcome = &outcomes[page_case - cases];
	struct report *report = live_session_report(&session, run_all_cases);
	struct check check = {.who = page_case->shape};
	const struct truth *truth = &outcome->truth;
	int64_t growth[PARTS];
	json_t *process;

	if (outcome->unsupported[0])
		live_skip("%s", outcome->unsupported);
	process = report_process(report, report_lines(report) - 1, truth->pid);
	if (!process)
		live_fail("the last line has no process %d", (int)truth->pid);
	expect_numbers(&check, report, truth);
	expect_curve(&check, report_value(process, "retention"), "the process", truth->number[ALL]);
	expect_routes(&check, report, truth);
	require_growth_explained(report, truth->pid,
		(int64_t)outcome->swapped_pages * sysconf(_SC_PAGESIZE), growth);
	expect_growth(&check, growth, truth->number[ALL]);
	print_message("%s: %" PRIu64 " touched, %" PRIu64 " kept, %" PRIu64 " background, %" PRId64
		      " bytes unexplained\n",
		page_case->shape, report_sum(report, truth->pid, "retention.touched_pages"),
		report_last(report, truth->pid, "retention.kept_pages"),
		report_sum(report, truth->pid, "attribution.background"), growth[UNEXPLAINED]);
	require_no_difference(&check);
}

/* The line in which the pages were touched says that its shares need care. */
static bool has_hint(const struct report *report, pid_t pid)
{
	for (size_t line = 0; line < report_lines(report); line++) {
		json_t *process = report_process(report, line, pid);

		if (process && json_is_string(report_value(process, "attribution.hint")))
			return true;
	}
	return false;
}

static void pages_outside_requests_come_with_a_hint(void **state)
{
	struct report *report = live_session_report(&session, run_all_cases);

	(void)state;
	for (size_t i = 0; i < CASES; i++) {
		const uint64_t *number = outcomes[i].truth.number[ALL];

		if (!outcomes[i].unsupported[0] &&
			has_hint(report, outcomes[i].truth.pid) != (number[EXCLUSIVE] == 0))
			live_fail("%s: hint", cases[i].shape);
	}
}

/* --- lives --- */

/* One server of a shape, watched alone with these options. */
struct watch {
	struct workload *workload;
	struct pagestay *pagestay;
};

static struct watch watch(const char *shape, const char *options)
{
	struct watch watch;
	char text[256];

	live_require_support();
	watch.workload = workload_start("pages", "%s", shape);
	(void)snprintf(text, sizeof(text), "-p %d %s", (int)workload_pid(watch.workload), options);
	watch.pagestay = pagestay_start_text(text);
	return watch;
}

static void await_next_line(struct pagestay *pagestay)
{
	pagestay_await_lines(pagestay, pagestay_lines(pagestay) + 2);
}

static void exit_counts_the_pages_before_it(void **state)
{
	struct watch it = watch("exit", "--routes 0.2");
	pid_t pid = workload_pid(it.workload);
	struct check check = {.who = "exit"};
	struct truth truth;
	struct report *report;

	(void)state;
	do_step(it.workload, "go");
	truth = truth_of(it.workload);
	workload_tell(it.workload, "later");
	workload_await_exit(it.workload);
	await_next_line(it.pagestay);
	report = pagestay_stop(it.pagestay);
	expect(&check, "exits", report_exits(report, pid), 1);
	expect(&check, "requests", report_sum(report, pid, "requests"),
		truth.number[ALL][REQUESTS]);
	expect(&check, "touched", report_sum(report, pid, "retention.touched_pages"),
		truth.number[ALL][EXCLUSIVE]);
	for (int route = 0; route < ALL; route++)
		expect(&check, routes[route],
			report_route_sum(report, pid, routes[route], "touched_pages"),
			truth.number[route][EXCLUSIVE]);
	report_free(report);
	require_no_difference(&check);
}

static void exec_leaves_the_pages_before_it_behind(void **state)
{
	struct watch it = watch("exec", "--routes 0.2");
	struct check check = {.who = "exec"};
	struct truth before, after;
	struct report *report;
	uint64_t touched;

	(void)state;
	do_step(it.workload, "go");
	before = truth_of(it.workload);
	do_step(it.workload, "later");
	after = truth_of(it.workload);
	await_next_line(it.pagestay);
	report = pagestay_stop(it.pagestay);
	workload_end(it.workload);
	expect(&check, "requests", report_sum(report, after.pid, "requests"),
		before.number[ALL][REQUESTS] + after.number[ALL][REQUESTS]);
	touched = before.number[ALL][EXCLUSIVE] + after.number[ALL][EXCLUSIVE];
	/* The new image is not warmed up. */
	expect_within(&check, "touched", report_sum(report, after.pid, "retention.touched_pages"),
		touched, touched + after.unplanned);
	expect_within(&check, "kept", report_last(report, after.pid, "retention.kept_pages"),
		after.number[ALL][KEPT], after.number[ALL][KEPT] + after.unplanned);
	report_free(report);
	require_no_difference(&check);
}

/* What a child does, which serves on, is none of its parent's. */
static void fork_leaves_the_parent_its_pages(void **state)
{
	struct watch it = watch("fork", "--routes 0.2");
	struct check check = {.who = "fork"};
	struct truth parent, child;
	struct report *report;

	(void)state;
	do_step(it.workload, "go");
	parent = truth_of(it.workload);
	do_step(it.workload, "later");
	child = truth_of(it.workload);
	await_next_line(it.pagestay);
	report = pagestay_stop(it.pagestay);
	workload_end(it.workload);
	assert_int_not_equal(parent.pid, child.pid);
	expect(&check, "touched", report_sum(report, parent.pid, "retention.touched_pages"),
		parent.number[ALL][EXCLUSIVE]);
	expect(&check, "kept", report_last(report, parent.pid, "retention.kept_pages"),
		parent.number[ALL][KEPT]);
	report_free(report);
	require_no_difference(&check);
}

static void fork_gives_the_child_pages_of_its_own(void **state)
{
	struct check check = {.who = "fork"};
	struct workload *workload;
	struct pagestay *pagestay;
	struct truth child;
	struct report *report;
	uint64_t touched;

	(void)state;
	live_require_support();
	workload = workload_start("pages", "fork");
	pagestay = pagestay_start_text("--detail pages --routes --comm ^pages$ 0.2");
	do_step(workload, "go");
	do_step(workload, "later");
	child = truth_of(workload);
	await_next_line(pagestay);
	report = pagestay_stop(pagestay);
	workload_end(workload);
	expect(&check, "requests", report_sum(report, child.pid, "requests"),
		child.number[ALL][REQUESTS]);
	touched = child.number[ALL][EXCLUSIVE];
	/* It also copies what it shares with its parent. */
	expect_within(&check, "touched", report_sum(report, child.pid, "retention.touched_pages"),
		touched, touched + child.unplanned);
	expect_within(&check, "copied", report_sum(report, child.pid, "retention.copied_pages"), 0,
		child.unplanned + BACKGROUND_SLACK);
	expect_within(&check, "kept", report_last(report, child.pid, "retention.kept_pages"),
		child.number[ALL][KEPT], child.number[ALL][KEPT] + child.unplanned);
	report_free(report);
	require_no_difference(&check);
}

/* --- over malloc --- */

/* Pages that malloc touches for itself, and that the server had before. */
#define MALLOC_SLACK 64

static void malloc_keeps_pages_until_it_trims(void **state)
{
	struct watch it = watch("malloc 20", "--routes 0.2");
	pid_t pid = workload_pid(it.workload);
	struct check check = {.who = "malloc"};
	uint64_t anonymous = workload_number(it.workload, "anonymous"), faults, kept, left;
	struct report *report;
	size_t line;

	(void)state;
	do_step(it.workload, "go");
	faults = workload_number(it.workload, "unplanned");
	kept = workload_number(it.workload, "anonymous") - anonymous;
	await_next_line(it.pagestay);
	line = pagestay_lines(it.pagestay) - 1;
	do_step(it.workload, "later");
	left = workload_number(it.workload, "anonymous") - anonymous;
	await_next_line(it.pagestay);
	report = pagestay_stop(it.pagestay);
	workload_end(it.workload);
	print_message("malloc: %" PRIu64 " pages touched, %" PRIu64 " kept, %" PRIu64
		      " behind malloc_trim\n",
		faults, kept, left);
	expect_within(&check, "touched", report_sum(report, pid, "retention.touched_pages"),
		faults - MALLOC_SLACK, faults);
	expect_within(&check, "kept before the trim",
		count_at(report_process(report, line, pid), "retention.kept_pages"),
		kept - MALLOC_SLACK, kept);
	expect_within(&check, "kept behind the trim",
		report_last(report, pid, "retention.kept_pages"),
		left > MALLOC_SLACK ? left - MALLOC_SLACK : 0, left + MALLOC_SLACK);
	assert_true(left + MALLOC_SLACK < kept);
	report_free(report);
	require_no_difference(&check);
}

static const struct {
	const char *name;
	const char *options; /* of jemalloc; NULL: glibc */
	double most_at_10s, least_at_10s, least_at_1s;
} allocators[] = {
	{"glibc", NULL, 1, 0.5, 0.5},
	{"jemalloc, decay 1 s", "background_thread:true,dirty_decay_ms:1000", 0.2, 0, 0},
	{"jemalloc, decay 10 s", "background_thread:true,dirty_decay_ms:10000", 1, 0, 0.5},
	{"jemalloc, decay never", "background_thread:true,dirty_decay_ms:-1", 1, 0.5, 0.5},
};

#define ALLOCATORS (sizeof(allocators) / sizeof(allocators[0]))

static struct workload *start_over(const char *jemalloc_options)
{
	struct workload *workload;

	if (jemalloc_options) {
		setenv("LD_PRELOAD", "libjemalloc.so.2", 1);
		setenv("MALLOC_CONF", jemalloc_options, 1);
	}
	workload = workload_launch("pages", "churn 50");
	unsetenv("LD_PRELOAD");
	unsetenv("MALLOC_CONF");
	workload_await_ready(workload);
	return workload;
}

/* Is a library in the memory of the process? */
static bool has_mapped(pid_t pid, const char *library)
{
	char path[64], line[1024];
	bool is_found = false;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	file = fopen(path, "re");
	while (file && !is_found && fgets(line, sizeof(line), file))
		is_found = strstr(line, library);
	if (file)
		(void)fclose(file);
	return is_found;
}

static void allocators_differ_in_what_survives(void **state)
{
	struct workload *workloads[ALLOCATORS];
	struct check check = {.who = "allocators"};
	struct words options = {0};
	struct pagestay *pagestay;
	struct report *report;
	pid_t pids[ALLOCATORS];

	(void)state;
	live_require_support();
	for (size_t i = 0; i < ALLOCATORS; i++) {
		workloads[i] = start_over(allocators[i].options);
		pids[i] = workload_pid(workloads[i]);
		if (allocators[i].options && !has_mapped(pids[i], "libjemalloc"))
			live_skip("libjemalloc.so.2 cannot be preloaded");
		words_add_pid(&options, pids[i]);
	}
	pagestay = pagestay_start(&options);
	words_deinit(&options);
	pagestay_await_lines(pagestay, 1);
	for (size_t i = 0; i < ALLOCATORS; i++)
		workload_go(workloads[i]);
	for (size_t i = 0; i < ALLOCATORS; i++)
		workload_await_done(workloads[i]);
	pause_s(11);
	await_next_line(pagestay);
	report = pagestay_stop(pagestay);
	for (size_t i = 0; i < ALLOCATORS; i++) {
		json_t *process = report_process(report, report_lines(report) - 1, pids[i]);
		double at_1s = real_at(process, "retention.survival.0.ratio");
		double at_10s = real_at(process, "retention.survival.1.ratio");

		print_message("%s: %" PRIu64
			      " pages touched, %.3f there after 1 s, %.3f after 10 s\n",
			allocators[i].name, report_sum(report, pids[i], "retention.touched_pages"),
			at_1s, at_10s);
		expect_within(&check, allocators[i].name, (uint64_t)(1000 * at_1s),
			(uint64_t)(1000 * allocators[i].least_at_1s), 1000);
		expect_within(&check, allocators[i].name, (uint64_t)(1000 * at_10s),
			(uint64_t)(1000 * allocators[i].least_at_10s),
			(uint64_t)(1000 * allocators[i].most_at_10s));
		workload_end(workloads[i]);
	}
	report_free(report);
	require_no_difference(&check);
}

/* --- bounds --- */

static void more_pages_than_the_ring_holds_is_a_loss(void **state)
{
	struct watch it = watch("later 50", "--ring-bytes 4096 0.2");
	struct report *report;

	(void)state;
	kill(pagestay_pid(it.pagestay), SIGSTOP);
	do_step(it.workload, "go");
	kill(pagestay_pid(it.pagestay), SIGCONT);
	await_next_line(it.pagestay);
	report = pagestay_stop_lossy(it.pagestay);
	workload_end(it.workload);
	assert_true(report_line_sum(report, "lost.pages") > 0);
	assert_false(report_is_complete(report));
	report_free(report);
}

/* The 95 % interval misses the truth in one of twenty runs; twice as wide, in one of ten thousand.
 */
static void expect_estimate(struct check *check, json_t *object, const char *path, uint64_t truth)
{
	char low_path[64], high_path[64];
	uint64_t value = count_at(object, path), low, high;

	(void)snprintf(low_path, sizeof(low_path), "%s_low", path);
	(void)snprintf(high_path, sizeof(high_path), "%s_high", path);
	low = count_at(object, low_path);
	high = count_at(object, high_path);
	print_message("%s is %" PRIu64 ", %" PRIu64 " to %" PRIu64 "; the truth is %" PRIu64 "\n",
		path, value, low, high, truth);
	assert_true(low <= value && value <= high && low < high);
	expect_within(check, path, truth, 2 * low > value ? 2 * low - value : 0, 2 * high - value);
}

static void sampling_begins_beyond_max_pages(void **state)
{
	struct watch it = watch("later 50", "--routes --max-pages 256 3600");
	struct check check = {.who = "max-pages"};
	const uint64_t *number;
	struct truth truth;
	struct report *report;
	json_t *process;
	double ratio;

	(void)state;
	do_step(it.workload, "go");
	do_step(it.workload, "later");
	truth = truth_of(it.workload);
	number = truth.number[ALL];
	report = pagestay_stop(it.pagestay);
	workload_end(it.workload);
	process = report_process(report, report_lines(report) - 1, truth.pid);
	ratio = real_at(process, "retention.sample_ratio");
	print_message("sample_ratio is %g\n", ratio);
	assert_true(ratio < 1 && ratio > 0);
	expect_estimate(&check, process, "retention.touched_pages", number[EXCLUSIVE]);
	expect_estimate(&check, process, "retention.kept_pages", number[KEPT]);
	report_free(report);
	require_no_difference(&check);
}

/* --- privileges --- */

/*
 * Starts pagestay where a process's page tables cannot be read, with privileges or without: in a
 * mount namespace of its own, in which a device stands in their place where devices are not
 * allowed.
 */
static struct pagestay *start_blind(const struct words *words, pid_t pid)
{
	int namespace = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	int directory = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct pagestay *pagestay = NULL;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	if (namespace < 0 || directory < 0 || unshare(CLONE_NEWNS) != 0)
		live_skip("no mount namespace can be made");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		mount("/dev/null", path, NULL, MS_BIND, NULL) == 0 &&
		mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_NODEV, NULL) == 0)
		pagestay = pagestay_spawn(words, -1);
	assert_int_equal(setns(namespace, CLONE_NEWNS), 0);
	assert_int_equal(fchdir(directory), 0);
	close(namespace);
	close(directory);
	if (!pagestay)
		live_skip("nothing can be mounted at %s", path);
	pagestay_await_watching(pagestay);
	return pagestay;
}

static bool has_note_of(const struct report *report, const char *word)
{
	json_t *note;
	size_t i;

	json_array_foreach (
		json_object_get(report_line(report, report_lines(report) - 1), "notes"), i, note) {
		if (strstr(json_string_value(note), word))
			return true;
	}
	return false;
}

static void unreadable_memory_leaves_what_is_kept_unknown(void **state)
{
	struct workload *workload;
	struct words words = {0};
	struct pagestay *pagestay;
	struct report *report;
	struct truth truth;
	json_t *process;

	(void)state;
	live_require_support();
	workload = workload_start("pages", "later");
	words_add_split(&words, "watch --json --routes -p");
	words_add(&words, "%d", (int)workload_pid(workload));
	words_add(&words, "0.2");
	pagestay = start_blind(&words, workload_pid(workload));
	words_deinit(&words);
	do_step(workload, "go");
	truth = truth_of(workload);
	await_next_line(pagestay);
	report = pagestay_stop(pagestay);
	workload_end(workload);
	process = report_process(report, report_lines(report) - 1, truth.pid);
	assert_int_equal(report_sum(report, truth.pid, "retention.touched_pages"),
		truth.number[ALL][EXCLUSIVE]);
	assert_true(is_null_at(process, "retention.kept_pages"));
	assert_true(is_null_at(process, "growth.requests_bytes"));
	assert_true(has_note_of(report, "page tables"));
	report_free(report);
}

int run_pages_group(void)
{
	const struct CMUnitTest more[] = {
		live_test(pages_outside_requests_come_with_a_hint),
		live_test(exit_counts_the_pages_before_it),
		live_test(exec_leaves_the_pages_before_it_behind),
		live_test(fork_leaves_the_parent_its_pages),
		live_test(fork_gives_the_child_pages_of_its_own),
		live_test(malloc_keeps_pages_until_it_trims),
		live_test(more_pages_than_the_ring_holds_is_a_loss),
		live_test(sampling_begins_beyond_max_pages),
		live_test(unreadable_memory_leaves_what_is_kept_unknown),
		live_test(allocators_differ_in_what_survives),
	};
	struct CMUnitTest tests[CASES + sizeof(more) / sizeof(more[0])];
	int failed;

	for (size_t i = 0; i < CASES; i++)
		tests[i] = (struct CMUnitTest){.name = cases[i].test,
			.test_func = pages_are_what_they_are,
			.teardown_func = live_teardown,
			.initial_state = (void *)&cases[i]};
	memcpy(&tests[CASES], more, sizeof(more));
	failed = cmocka_run_group_tests_name("pages", tests, NULL, restore_machine);
	report_free(session.report);
	return failed;
}
