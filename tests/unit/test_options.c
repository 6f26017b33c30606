/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The command line: what is good is understood, and what is wrong is refused with a message that
 * names the word that is wrong. Command lines are written as one text, words between spaces; `_`
 * stands for an empty word.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../../user/app/options.h"

#define MAX_WORDS 2100

/* The command line under test; options point into it. */
struct line {
	char text[16384];
	char *words[MAX_WORDS];
	int count;
	struct options options;
	struct diag diag;
};

static struct line line;

static int parse(const char *text)
{
	char *rest = line.text;

	options_deinit(&line.options);
	memset(&line, 0, sizeof(line));
	assert_true((size_t)snprintf(line.text, sizeof(line.text), "pagestay %s", text) <
		    sizeof(line.text));
	for (char *word; (word = strsep(&rest, " "));) {
		if (!*word)
			continue;
		assert_true(line.count < MAX_WORDS - 1);
		line.words[line.count++] = strcmp(word, "_") == 0 ? word + 1 : word;
	}
	return options_init(&line.options, line.count, line.words, &line.diag);
}

static const struct options *accept(const char *text)
{
	if (parse(text))
		fail_msg("`%s` is refused: %s", text, line.diag.text);
	assert_string_equal(line.diag.text, "");
	return &line.options;
}

static void refuse(const char *text, const char *named)
{
	if (parse(text) != -EINVAL)
		fail_msg("`%s` is accepted", text);
	if (!strstr(line.diag.text, named) || !*line.diag.text)
		fail_msg("`%s` is refused without %s: %s", text, named, line.diag.text);
}

static int teardown(void **state)
{
	options_deinit(&line.options);
	line.options.by_comm = false;
	return 0;
}

/* Each of the words is refused where `%s` stands, and named. */
static void refuse_each(const char *format, const char *const *words, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char text[256], before[64], named[64];
		const char *place = strstr(format, "%s");

		(void)snprintf(before, sizeof(before), "%.*s", (int)(place - format), format);
		(void)snprintf(text, sizeof(text), "%s%s%s", before, words[i], place + 2);
		(void)snprintf(
			named, sizeof(named), "'%s'", strcmp(words[i], "_") == 0 ? "" : words[i]);
		refuse(text, named);
	}
}

#define REFUSE_EACH(format, ...)                                                                   \
	do {                                                                                       \
		static const char *const words_[] = {__VA_ARGS__};                                 \
		refuse_each(format, words_, sizeof(words_) / sizeof(words_[0]));                   \
	} while (0)

/*
 * Good ones.
 */

static void no_words_watch_every_server(void **state)
{
	const struct options *options = accept("");

	assert_int_equal(options->command, COMMAND_WATCH);
	assert_int_equal(options->pid_count, 0);
	assert_int_equal(options->port_count, 0);
	assert_false(options->by_comm);
	assert_int_equal(options->output, OUTPUT_TEXT);
	assert_true(options->requests);
	assert_false(options->pages);
	assert_false(options->routes);
	assert_false(options->verbose);
	assert_int_equal(options->top, 10);
	assert_int_equal(options->max_processes, 8192);
	assert_int_equal(options->max_routes, 8192);
	assert_int_equal(options->max_pages, 327680);
	assert_int_equal(options->sample_level, 0);
	assert_int_equal(options->ring_bytes, 0); /* each ring's own default */
	assert_true(options->interval_s == 10.0);
	assert_int_equal(options->count, 0);
	assert_null(options->file);
}

static void commands_are_told_by_the_first_word(void **state)
{
	assert_int_equal(accept("watch")->command, COMMAND_WATCH);
	assert_int_equal(accept("record -o f")->command, COMMAND_RECORD);
	assert_string_equal(line.options.file, "f");
	assert_int_equal(accept("replay f")->command, COMMAND_REPLAY);
	assert_string_equal(line.options.file, "f");
	assert_int_equal(accept("doctor")->command, COMMAND_DOCTOR);
	refuse("-v watch", "'watch'");
	refuse("wach", "'wach'");
}

static void interval_and_count_follow_the_options(void **state)
{
	assert_true(accept("5")->interval_s == 5.0);
	assert_int_equal(line.options.count, 0);
	assert_true(accept("watch 0.5 3")->interval_s == 0.5);
	assert_int_equal(line.options.count, 3);
	assert_true(accept("2 --json 7 -v")->interval_s == 2.0);
	assert_int_equal(line.options.count, 7);
	assert_int_equal(line.options.output, OUTPUT_JSON);
	assert_true(line.options.verbose);
	assert_true(accept("record 1 -o f 2")->interval_s == 1.0);
	assert_int_equal(line.options.count, 2);
	assert_true(accept("0.1 4294967295")->interval_s == 0.1);
	assert_int_equal(line.options.count, UINT32_MAX);
	assert_true(accept("86400 1")->interval_s == 86400.0);
	assert_true(accept("-- 3")->interval_s == 3.0);
}

static void processes_are_chosen_by_pid_name_and_port(void **state)
{
	const struct options *options =
		accept("-p 1 --pid 4194304 -p17 --pid=18 --comm ^nginx$ --port 80 --port 65535");

	assert_int_equal(options->pid_count, 4);
	assert_int_equal(options->pids[0], 1);
	assert_int_equal(options->pids[1], 4194304);
	assert_int_equal(options->pids[2], 17);
	assert_int_equal(options->pids[3], 18);
	assert_true(options->by_comm);
	assert_int_equal(regexec(&options->comm, "nginx", 0, NULL, 0), 0);
	assert_int_equal(regexec(&options->comm, "nginx2", 0, NULL, 0), REG_NOMATCH);
	assert_int_equal(options->port_count, 2);
	assert_int_equal(options->ports[0], 80);
	assert_int_equal(options->ports[1], 65535);
}

static void processes_are_chosen_by_unit_and_group(void **state)
{
	const struct options *options = accept("--unit nginx --unit=web.service --cgroup /a/b");

	assert_int_equal(options->unit_count, 2);
	assert_string_equal(options->units[0], "nginx");
	assert_string_equal(options->units[1], "web.service");
	assert_int_equal(options->cgroup_count, 1);
	assert_string_equal(options->cgroups[0], "/a/b");
	refuse("--unit=", "--unit");
	refuse("replay f --cgroup /a", "--cgroup is not for replay");
}

static void looks_and_comparisons_are_understood(void **state)
{
	const struct options *options = accept("diagnose 17");

	assert_int_equal(options->command, COMMAND_DIAGNOSE);
	assert_int_equal(options->pids[0], 17);
	assert_true(options->for_s == 30);
	assert_true(accept("diagnose --for 2m 17")->for_s == 120);
	assert_true(accept("diagnose --for 1.5h 17")->for_s == 5400);
	assert_int_equal(accept("xray 17 --json")->output, OUTPUT_JSON);
	assert_int_equal(accept("compare a b -o markdown")->output, OUTPUT_MARKDOWN);
	assert_string_equal(line.options.sides[1], "b");
	assert_true(accept("compare a b --marks requests")->marks_by_requests);
	assert_true(accept("-p 1 --xray")->xray);
	refuse("diagnose", "diagnose needs a pid");
	refuse("diagnose x", "pid 'x'");
	refuse("diagnose 1 2", "'2'");
	refuse("diagnose --for 0.5 1", "duration '0.5'");
	refuse("diagnose --for 1d 1", "duration '1d'");
	refuse("diagnose --for 25h 1", "duration '25h'");
	refuse("diagnose --for nan 1", "duration 'nan'");
	refuse("xray", "xray needs a pid");
	refuse("xray 0", "pid '0'");
	refuse("compare a", "compare needs two");
	refuse("compare a b c", "'c'");
	refuse("compare a b --marks bytes", "marks 'bytes'");
	refuse("-o markdown", "output 'markdown'");
	refuse("replay --xray a", "--xray is not for replay");
}

static void formats_and_details_are_understood(void **state)
{
	assert_int_equal(accept("-o json")->output, OUTPUT_JSON);
	assert_int_equal(accept("--output text")->output, OUTPUT_TEXT);
	assert_int_equal(accept("--json")->output, OUTPUT_JSON);
	assert_int_equal(accept("replay f --json")->output, OUTPUT_JSON);
	assert_int_equal(accept("doctor --json")->output, OUTPUT_JSON);
	assert_false(accept("--detail ledger")->requests);
	assert_true(accept("--detail requests --routes")->routes);
	assert_true(accept("--detail ledger --detail requests --routes")->routes);
	assert_true(accept("--detail pages --routes")->routes);
	assert_int_equal(accept("--top 0")->top, 0);
}

static void assert_detail(const char *text, bool requests, bool pages)
{
	const struct options *options = accept(text);

	if (options->requests != requests || options->pages != pages)
		fail_msg("`%s`: requests %d, pages %d", text, options->requests, options->pages);
}

/* Pages include requests; whoever names a process wants to know of its pages. */
static void pages_are_the_default_of_listed_processes(void **state)
{
	assert_detail("", true, false);
	assert_detail("--detail pages", true, true);
	assert_detail("--detail requests", true, false);
	assert_detail("--detail ledger", false, false);
	assert_detail("-p 1", true, true);
	assert_detail("-p 1 -p 2 --routes --comm a", true, true);
	assert_detail("record -o f -p 1", true, true);
	assert_detail("--comm a --port 80", true, false);
	/* what is said goes before it, wherever it stands */
	assert_detail("-p 1 --detail requests", true, false);
	assert_detail("--detail requests -p 1", true, false);
	assert_detail("--detail ledger -p 1", false, false);
	assert_detail("-p 1 --detail pages", true, true);
	assert_detail("--detail pages --detail ledger -p 1", false, false);
	assert_detail("--detail ledger --detail pages", true, true);
}

static void bounds_are_understood(void **state)
{
	const struct options *options =
		accept("--max-processes 1 --max-routes 1048576 --ring-bytes 4096 "
		       "--max-pages 64 --sample-level 16");

	assert_int_equal(options->max_processes, 1);
	assert_int_equal(options->max_routes, 1048576);
	assert_int_equal(options->ring_bytes, 4096);
	assert_int_equal(options->max_pages, 64);
	assert_int_equal(options->sample_level, 16);
	assert_int_equal(accept("--ring-bytes 1")->ring_bytes, 1);
	assert_int_equal(accept("--ring-bytes 1073741824")->ring_bytes, 1 << 30);
	assert_int_equal(accept("--max-pages 1073741824")->max_pages, 1 << 30);
	assert_int_equal(accept("record -o f --sample-level 0")->sample_level, 0);
}

static void help_and_version_look_no_further(void **state)
{
	assert_int_equal(accept("--help")->command, COMMAND_HELP);
	assert_int_equal(accept("-h")->command, COMMAND_HELP);
	assert_int_equal(accept("record -h")->command, COMMAND_HELP);
	assert_int_equal(accept("--version")->command, COMMAND_VERSION);
	assert_int_equal(accept("--help --nonsense")->command, COMMAND_HELP);
}

static void help_names_every_option(void **state)
{
	static const char *const names[] = {"-p, --pid", "--comm", "--port", "-o, --output",
		"--json", "--detail", "--routes", "--top", "--max-processes", "--max-routes",
		"--max-pages", "--sample-level", "--ring-bytes", "-v, --verbose", "--version",
		"-h, --help", "watch", "record", "replay", "doctor"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_non_null(strstr(options_help, names[i]));
}

static void most_pids_and_ports_that_fit_are_taken(void **state)
{
	char text[8192] = "";

	for (int i = 1; i <= OPTIONS_MAX_PIDS; i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "-p%d ", i);
	assert_int_equal(accept(text)->pid_count, OPTIONS_MAX_PIDS);
	assert_int_equal(line.options.pids[OPTIONS_MAX_PIDS - 1], OPTIONS_MAX_PIDS);
	(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "-p 7");
	refuse(text, "more than 1024 pids");
	text[0] = '\0';
	for (int i = 1; i <= PS_MAX_PORTS; i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "--port %d ", i);
	assert_int_equal(accept(text)->port_count, PS_MAX_PORTS);
	(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "--port 17");
	refuse(text, "more than 16 ports");
}

/*
 * Wrong ones.
 */

static void unknown_options_are_named(void **state)
{
	REFUSE_EACH("%s", "--nonsense", "-x", "--pidd", "--nonsense=5");
	REFUSE_EACH("watch 5 %s", "--nonsense", "-x");
	refuse("-vx", "'-x'");
	refuse("-xv", "'-x'");
	refuse("-v -xv 5", "'-x'");
	refuse("-10", "'-1'");
	refuse("--max 5", "'--max'");
}

static void value_that_an_option_does_not_take_is_named(void **state)
{
	REFUSE_EACH("%s", "--json=1", "--routes=no", "--verbose=2", "--help=me", "--version=1");
}

static void options_without_their_value_are_named(void **state)
{
	REFUSE_EACH("%s", "-p", "--pid", "--comm", "--port", "-o", "--output", "--detail", "--top",
		"--max-processes", "--max-routes", "--max-pages", "--sample-level", "--ring-bytes");
	refuse("record -o", "'-o'");
	refuse("-vp", "'-vp'");
}

static void impossible_pids_are_named(void **state)
{
	REFUSE_EACH("-p %s", "0", "-1", "x", "999999999", "1x", "_", "+1", "0x1", "1.5", "4194305",
		"18446744073709551617", "1,2");
	refuse("-p 5 -p x", "'x'");
}

static void impossible_ports_are_named(void **state)
{
	REFUSE_EACH(
		"--port %s", "0", "65536", "-1", "x", "80x", "_", "http", "18446744073709551617");
}

static void impossible_intervals_are_named(void **state)
{
	REFUSE_EACH("%s", "0", "abc", "nan", "inf", "1e9", "-1", "0.05", "86401", "5x", "_", "5,0");
	REFUSE_EACH("-- %s", "-1", "-inf", "-0");
	REFUSE_EACH("record -o f %s", "0", "abc", "-1");
}

static void impossible_counts_are_named(void **state)
{
	REFUSE_EACH("1 %s", "0", "-1", "x", "1x", "1.5", "_", "4294967296", "18446744073709551617");
	REFUSE_EACH("-- 1 %s", "-1");
}

static void words_too_many_are_named(void **state)
{
	refuse("1 2 3", "'3'");
	refuse("watch 1 2 3 4", "'3'");
	refuse("record -o f 1 2 3", "'3'");
	refuse("replay f g", "'g'");
	refuse("doctor 5", "'5'");
}

static void bad_patterns_are_named(void **state)
{
	REFUSE_EACH("--comm %s", "[", "(", "a{2,1}", "a\\", "[[:nonsense:]]");
	refuse("--comm a --comm b", "--comm");
}

static void bad_formats_and_details_are_named(void **state)
{
	REFUSE_EACH("-o %s", "xml", "JSON", "_");
	REFUSE_EACH("--detail %s", "page", "pages,", "Pages", "Ledger", "_");
}

static void impossible_bounds_are_named(void **state)
{
	REFUSE_EACH("--top %s", "-1", "x", "1000001");
	REFUSE_EACH("--max-processes %s", "0", "-1", "1048577");
	REFUSE_EACH("--max-routes %s", "0", "-1", "1048577");
	REFUSE_EACH("--max-pages %s", "0", "-1", "63", "64k", "_", "1073741825",
		"18446744073709551680");
	REFUSE_EACH("--sample-level %s", "-1", "17", "1.5", "x", "_", "4294967296");
	REFUSE_EACH("--ring-bytes %s", "0", "-1", "1073741825");
}

static void words_that_do_not_go_together_are_named(void **state)
{
	refuse("--routes --detail ledger", "--routes");
	refuse("--detail ledger --routes", "--detail");
	refuse("replay", "replay");
	refuse("record", "-o");
	refuse("record 5", "-o");
	refuse("replay f -p 1", "-p");
	refuse("replay f --comm a", "--comm");
	refuse("replay f --port 80", "--port");
	refuse("replay --routes f", "--routes");
	refuse("replay --detail ledger f", "--detail");
	refuse("replay --max-routes 3 f", "--max-");
	refuse("replay --max-pages 64 f", "--max-");
	refuse("replay --sample-level 3 f", "--sample-level");
	refuse("replay --detail pages f", "--detail");
	refuse("doctor --detail pages", "--detail");
	refuse("replay -v f", "--verbose");
	refuse("doctor -o json", "-o");
	refuse("doctor --top 3", "--top");
	refuse("record --top 3 -o f", "--top");
	refuse("record --json -o f", "--json");
	refuse("doctor -p 1", "-p");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_teardown(name, teardown)
		TEST(no_words_watch_every_server),
		TEST(commands_are_told_by_the_first_word),
		TEST(interval_and_count_follow_the_options),
		TEST(processes_are_chosen_by_pid_name_and_port),
		TEST(processes_are_chosen_by_unit_and_group),
		TEST(looks_and_comparisons_are_understood),
		TEST(formats_and_details_are_understood),
		TEST(pages_are_the_default_of_listed_processes),
		TEST(bounds_are_understood),
		TEST(help_and_version_look_no_further),
		TEST(help_names_every_option),
		TEST(most_pids_and_ports_that_fit_are_taken),
		TEST(unknown_options_are_named),
		TEST(value_that_an_option_does_not_take_is_named),
		TEST(options_without_their_value_are_named),
		TEST(impossible_pids_are_named),
		TEST(impossible_ports_are_named),
		TEST(impossible_intervals_are_named),
		TEST(impossible_counts_are_named),
		TEST(words_too_many_are_named),
		TEST(bad_patterns_are_named),
		TEST(bad_formats_and_details_are_named),
		TEST(impossible_bounds_are_named),
		TEST(words_that_do_not_go_together_are_named),
#undef TEST
	};

	return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
