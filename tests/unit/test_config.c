/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The agent's configuration: what is good is read, what is wrong is refused with its line, and the
 * example has every key with its default. Runs in the project's root.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../user/app/config.h"
#include "pagestay/base/cleanup.h"

#define EXAMPLE "packaging/pagestay.conf"
#define MANUAL  "man/pagestay.conf.5"

static struct config config;
static struct diag diag;

static int load(const char *text)
{
	char path[] = "/tmp/pagestay-config-XXXXXX";
	int fd = mkstemp(path);
	int error;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(close(fd), 0);
	memset(&config, 'x', sizeof(config));
	memset(&diag, 0, sizeof(diag));
	error = config_load(path, &config, &diag);
	assert_int_equal(unlink(path), 0);
	return error;
}

static void accept(const char *text)
{
	if (load(text))
		fail_msg("refused: %s", diag.text);
}

static void refuse(const char *text, const char *words)
{
	struct config untouched;

	memset(&untouched, 'x', sizeof(untouched));
	if (load(text) != -EINVAL)
		fail_msg("accepted: %s", text);
	assert_memory_equal(&config, &untouched, sizeof(config));
	if (!strstr(diag.text, words))
		fail_msg("`%s` does not say `%s`", diag.text, words);
}

static void nothing_is_the_defaults(void **state)
{
	struct config defaults;

	config_defaults(&defaults);
	accept("");
	assert_memory_equal(&config, &defaults, sizeof(config));
	accept("# nothing\n\n[watch]\n; either\n[listen]\n");
	assert_memory_equal(&config, &defaults, sizeof(config));
}

static void values_go_where_they_belong(void **state)
{
	accept("[watch]\n"
	       "interval = 1m\n"
	       "detail=pages\n"
	       "routes = yes\n"
	       "xray = 0\n"
	       "unit = nginx\n"
	       "unit = web.service\n"
	       "cgroup = /a b\n"
	       "comm = ^(a|b)$\n"
	       "port = 80\n"
	       "port = 65535\n"
	       "max-pages = 64\n"
	       "[inner-warden]\n"
	       "format = sqlite\n"
	       "directory = /data\n"
	       "incident-bytes = 1.5G\n"
	       "[prometheus]\n"
	       "label = comm\n"
	       "services = 4096\n"
	       "routes = 3\n"
	       "[listen]\n"
	       "address = unix:/run/x # y\n"
	       "[files]\n"
	       "json = yes\n"
	       "keep-bytes = 1T\n");
	assert_true(config.watch.interval_s == 60);
	assert_int_equal(config.watch.detail, CONFIG_DETAIL_PAGES);
	assert_true(config.watch.routes);
	assert_true(config.watch.xray_s == 0);
	assert_int_equal(config.watch.units.count, 2);
	assert_string_equal(config.watch.units.texts[1], "web.service");
	assert_string_equal(config.watch.cgroups.texts[0], "/a b");
	assert_string_equal(config.watch.comm, "^(a|b)$");
	assert_int_equal(config.watch.ports.count, 2);
	assert_int_equal(config.watch.max_pages, 64);
	assert_int_equal(config.warden.format, CONFIG_WARDEN_SQLITE);
	assert_string_equal(config.warden.directory, "/data");
	assert_int_equal(config.warden.incident_bytes, 3ull << 29);
	assert_int_equal(config.prometheus.label, CONFIG_LABEL_COMM);
	assert_int_equal(config.prometheus.services, 4096);
	assert_int_equal(config.prometheus.routes, 3);
	assert_string_equal(config.listen.address, "unix:/run/x # y");
	assert_true(config.files.json);
	assert_false(config.files.recording);
	assert_int_equal(config.files.keep_bytes, 1ull << 40);
}

static void what_is_wrong_is_named_with_its_line(void **state)
{
	refuse("interval = 1\n", ":1: 'interval' stands before any [section]");
	refuse("[watch]\nintervall = 1\n", ":2: there is no key 'intervall' in [watch]");
	refuse("[inner-warden]\nincident-bytes = 7M\n", "8M to 1T");
	refuse("[watch]\n\n[wach]\n", ":3: there is no such section");
	refuse("[watch]\n[files] json = yes\n", ":2: there is no such section, or more than it");
	refuse("[watch]\ncgroup = system.slice\n", ":2: 'system.slice' is not a path that begins");
	refuse("[watch]\ndetail = ledger\nroutes = yes\n", ": [watch] routes needs detail =");
	refuse("[listen]\ninterval = 1\n", ":2: there is no key 'interval' in [listen]");
	refuse("[watch]\ninterval = 1\ninterval = 2\n", ":3: 'interval' is given twice in [watch]");
	refuse("[watch]\ninterval\n", ":2: neither a [section] nor");
	refuse("[watch\n", ":1: neither a [section] nor");
	refuse("[watch]\ninterval = 0.5\n", ":2: '0.5' is not 1s to 1h");
	refuse("[watch]\ninterval = 0\n", ":2: '0' is not 1s to 1h");
	refuse("[watch]\ninterval = -1\n", ":2: '-1' is not 1s to 1h");
	refuse("[watch]\ninterval = 1 s\n", ":2: '1 s' is not 1s to 1h");
	refuse("[watch]\ninterval = nan\n", ":2: 'nan' is not 1s to 1h");
	refuse("[watch]\ninterval = 1e9\n", ":2: '1e9' is not 1s to 1h");
	refuse("[watch]\ninterval =\n", ":2: '' is not 1s to 1h");
	refuse("[watch]\nxray = 1s\n", ":2: '1s' is not 0, or 10s to 1d");
	refuse("[watch]\nroutes = true\n", ":2: 'true' is not yes or no");
	refuse("[watch]\ndetail = Pages\n", ":2: 'Pages' is not ledger, requests or pages");
	refuse("[watch]\nport = 80.5\n", ":2: '80.5' is not 1 to 65535");
	refuse("[watch]\nport = 65536\n", ":2: '65536' is not 1 to 65535");
	refuse("[watch]\nmax-routes = 0x10\n", ":2: '0x10' is not 1 to 1048576");
	refuse("[watch]\ncomm = (\n", ":2: '(' is not an extended regular expression");
	refuse("[watch]\nunit =\n", ":2: '' is not a unit's name");
	refuse("[files]\ndirectory = logs\n", ":2: 'logs' is not an absolute path");
	refuse("[listen]\naddress = localhost\n", ":2: 'localhost' is not HOST:PORT");
	refuse("[listen]\naddress = 0.0.0.0:80\n", ": [listen] address 0.0.0.0:80 can be reached");
	refuse("[listen]\nrequests-per-minute = 60001\n", ":2: '60001' is not 1 to 60000");
	refuse("[prometheus]\nroutes = 1\n", ": [prometheus] routes needs [watch] routes = yes");
	refuse("[prometheus]\nroutes = 1\n[watch]\nroutes = yes\ndetail = ledger\n",
		": [watch] routes needs detail = requests or pages");
	refuse("[prometheus]\nservices = 4096\nroutes = 4\n[watch]\nroutes = yes\n",
		": [prometheus] services x (1 + routes) is 20480, more than 16384");
	refuse("[prometheus]\ntextfile = /run/x\n",
		":2: '/run/x' is not an absolute path that ends in .prom");
	refuse("[prometheus]\ntextfile = /run/.prom\n", ":2: '/run/.prom' is not");
	refuse("[files]\nkeep-bytes = 1P\n", ":2: '1P' is not 1M to 10T");
}

static void long_lines_and_lists_are_refused(void **state)
{
	static char text[8192];
	size_t length;

	length = snprintf(text, sizeof(text), "[watch]\ncomm = ");
	memset(text + length, 'a', 2000);
	strcpy(text + length + 2000, "\n");
	refuse(text, ":2: the line is too long");
	text[length + 300] = '\n';
	text[length + 301] = '\0';
	refuse(text, ":2: 'aaaa");
	length = snprintf(text, sizeof(text), "[watch]\n");
	for (int i = 0; i <= CONFIG_LIST; i++)
		length += snprintf(text + length, sizeof(text) - length, "port = %d\n", i + 1);
	refuse(text, ":18: 'port' is given more than 16 times in [watch]");
}

static void a_section_differs_by_its_values(void **state)
{
	struct config other;

	accept("[watch]\nport = 1\n[files]\njson = yes\nkeep-bytes = 1G\n");
	other = config;
	assert_false(config_differs(&config, &other, "files"));
	accept("[watch]\nport = 2\n[files]\njson = yes\nkeep-bytes = 1024M\n");
	assert_false(config_differs(&config, &other, "files"));
	assert_true(config_differs(&config, &other, "watch"));
	accept("[files]\nkeep-bytes = 1G\n");
	assert_true(config_differs(&config, &other, "files"));
	assert_false(config_differs(&config, &other, "listen"));
}

static void files_that_cannot_be_read_are_told(void **state)
{
	memset(&diag, 0, sizeof(diag));
	assert_int_equal(config_load("/nowhere/pagestay.conf", &config, &diag), -ENOENT);
	assert_non_null(strstr(diag.text, "/nowhere/pagestay.conf"));
	/* It opens, and cannot be read. */
	memset(&diag, 0, sizeof(diag));
	assert_int_equal(config_load("/tmp", &config, &diag), -EIO);
	assert_non_null(strstr(diag.text, "/tmp"));
}

static void what_takes_a_restart_is_named(void **state)
{
	const struct config_key *key;
	struct config other;

	accept("[watch]\ninterval = 1\nport = 1\ntop = 7\n[files]\njson = yes\n");
	other = config;
	assert_null(config_next_fixed(&config, &other, NULL));
	accept("[watch]\ninterval = 2\nport = 1\nport = 2\ntop = 8\n");
	key = config_next_fixed(&config, &other, NULL);
	assert_string_equal(key->name, "top");
	key = config_next_fixed(&config, &other, key);
	assert_string_equal(key->name, "port");
	assert_null(config_next_fixed(&config, &other, key));
}

static char *read_text(const char *path)
{
	_cleanup_(cleanup_fclose) FILE *file = fopen(path, "re");
	char *text = calloc(1, 65536);

	assert_non_null(file);
	assert_non_null(text);
	assert_in_range(fread(text, 1, 65535, file), 1, 65534);
	return text;
}

/* `#key = value` and nothing else becomes `key = value`. */
static void uncomment(char *text)
{
	for (char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (line[0] == '#' && line[1] >= 'a' && line[1] <= 'z')
			line[0] = ' ';
	}
}

/* How a file writes a section's head and a key: what stands before and behind the name. */
struct style {
	const char *path;
	const char *before_section, *behind_section, *before_key, *behind_key;
};

/* Each key between its section's head and the next: two sections may share a name. */
static void assert_has_keys(const struct style *style, const char *text)
{
	for (size_t i = 0; i < config_key_count; i++) {
		const char *const section = config_keys[i].section, *const name =
									    config_keys[i].name;
		char head[128], line[128];
		const char *from, *end, *found;

		(void)snprintf(head, sizeof(head), "%s%s%s", style->before_section, section,
			style->behind_section);
		(void)snprintf(
			line, sizeof(line), "%s%s%s", style->before_key, name, style->behind_key);
		from = strstr(text, head);
		if (!from)
			fail_msg("%s lacks [%s]", style->path, section);
		end = strstr(from + 1, style->before_section);
		found = strstr(from, line);
		if (!found || (end && found > end))
			fail_msg("%s lacks `%s` in [%s]", style->path, name, section);
	}
}

static void the_example_has_every_key_with_its_default(void **state)
{
	static const struct style style = {EXAMPLE, "\n[", "]\n", "\n ", " ="};
	struct config defaults;
	char *text = read_text(EXAMPLE);

	config_defaults(&defaults);
	accept(text);
	assert_memory_equal(&config, &defaults, sizeof(config));
	uncomment(text);
	accept(text);
	config.watch.units = defaults.watch.units;
	config.watch.cgroups = defaults.watch.cgroups;
	config.watch.ports = defaults.watch.ports;
	config.watch.pids = defaults.watch.pids;
	config.listen.hosts = defaults.listen.hosts;
	memset(config.watch.comm, 0, sizeof(config.watch.comm));
	assert_memory_equal(&config, &defaults, sizeof(config));
	assert_has_keys(&style, text);
	free(text);
}

/* A range that a wrong value is answered with stands in its key's entry, too. */
static void the_manual_has_every_range(void **state)
{
	char *text = read_text(MANUAL);
	regex_t range;
	unsigned count = 0;

	assert_int_equal(regcomp(&range, "[0-9]+[A-Za-z]* to [0-9]+[A-Za-z]*", REG_EXTENDED), 0);
	for (size_t i = 0; i < config_key_count; i++) {
		const struct config_key *key = &config_keys[i];
		char head[128], words[128];
		const char *entry, *end, *found;
		regmatch_t match;

		if (regexec(&range, key->help, 1, &match, 0))
			continue;
		(void)snprintf(head, sizeof(head), ".Ss [%s]\n", key->section);
		entry = strstr(text, head);
		assert_non_null(entry);
		(void)snprintf(head, sizeof(head), ".It Cm %s ", key->name);
		entry = strstr(entry, head);
		assert_non_null(entry);
		end = strstr(entry + 1, "\n.It ");
		(void)snprintf(words, sizeof(words), "%.*s", (int)(match.rm_eo - match.rm_so),
			key->help + match.rm_so);
		found = strstr(entry, words);
		if (!found || (end && found > end))
			fail_msg("%s: the entry of `%s` lacks `%s`", MANUAL, key->name, words);
		count++;
	}
	assert_in_range(count, 15, config_key_count);
	regfree(&range);
	free(text);
}

static void the_manual_has_every_key(void **state)
{
	static const struct style style = {MANUAL, "\n.Ss [", "]\n", "\n.It Cm ", " "};
	char *text = read_text(MANUAL);

	assert_has_keys(&style, text);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_the_defaults),
		cmocka_unit_test(values_go_where_they_belong),
		cmocka_unit_test(what_is_wrong_is_named_with_its_line),
		cmocka_unit_test(long_lines_and_lists_are_refused),
		cmocka_unit_test(a_section_differs_by_its_values),
		cmocka_unit_test(files_that_cannot_be_read_are_told),
		cmocka_unit_test(what_takes_a_restart_is_named),
		cmocka_unit_test(the_example_has_every_key_with_its_default),
		cmocka_unit_test(the_manual_has_every_key),
		cmocka_unit_test(the_manual_has_every_range),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
