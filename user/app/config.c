/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads the agent's configuration: libinih takes lines apart, one table says what a key may hold
 * and where it goes. Everything that can be wrong with a file is found here, with its line, before
 * anything of it is used. Called by the agent, at its start and when it reloads.
 */
#include "config.h"

#include <errno.h>
#include <ini.h>
#include <math.h>
#include <regex.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "pagestay/base/cleanup.h"
#include "pagestay/sink/listen.h"
#include "pagestay/sink/prometheus.h"

#define LINE_BYTES 1024
#define MAX_KEYS   64

enum kind {
	KIND_FLAG,
	KIND_COUNT,
	KIND_RATIO,
	KIND_BYTES,
	KIND_SECONDS,
	KIND_SECONDS_OR_0,
	KIND_ADDRESS,
	KIND_PATH,
	KIND_METRICS_PATH,
	KIND_CHOICE,
	KIND_LIST,
	KIND_PATHS,
	KIND_NUMBERS,
	KIND_PATTERN
};

static const char *const details[] = {"ledger", "requests", "pages", NULL};
static const char *const formats[] = {"off", "auto", "jsonl", "sqlite", NULL};
static const char *const labels[] = {"unit", "container", "comm", NULL};

#define KEY_OF(section, member, name, help, kind, is_fixed, least, most, choices)                  \
	{                                                                                          \
		section, name, help, kind, is_fixed, offsetof(struct config, member), least, most, \
			choices                                                                    \
	}
#define KEY(section, member, name, help, kind, least, most, choices)                               \
	KEY_OF(section, member, name, help, kind, false, least, most, choices)
/* Probes are made with it. */
#define KEY_FIXED(section, member, name, help, kind, least, most, choices)                         \
	KEY_OF(section, member, name, help, kind, true, least, most, choices)

const struct config_key config_keys[] = {
	KEY("watch", watch.interval_s, "interval", "1s to 1h", KIND_SECONDS, 1, 3600, NULL),
	KEY_FIXED("watch", watch.detail, "detail", "ledger, requests or pages", KIND_CHOICE, 0, 0,
		details),
	KEY_FIXED("watch", watch.routes, "routes", "yes or no", KIND_FLAG, 0, 0, NULL),
	KEY_FIXED("watch", watch.top, "top", "1 to 1000 routes", KIND_COUNT, 1, 1000, NULL),
	KEY("watch", watch.xray_s, "xray", "0, or 10s to 1d", KIND_SECONDS_OR_0, 10, 86400, NULL),
	KEY("watch", watch.units, "unit", "a unit's name", KIND_LIST, 0, 0, NULL),
	KEY("watch", watch.cgroups, "cgroup", "a path that begins with /", KIND_PATHS, 0, 0, NULL),
	KEY("watch", watch.comm, "comm", "an extended regular expression", KIND_PATTERN, 0, 0,
		NULL),
	KEY_FIXED("watch", watch.ports, "port", "1 to 65535", KIND_NUMBERS, 1, 65535, NULL),
	KEY_FIXED("watch", watch.pids, "pid", "1 to 4194304", KIND_NUMBERS, 1, 4194304, NULL),
	KEY_FIXED("watch", watch.max_processes, "max-processes", "1 to 1048576", KIND_COUNT, 1,
		1048576, NULL),
	KEY_FIXED("watch", watch.max_routes, "max-routes", "1 to 1048576", KIND_COUNT, 1, 1048576,
		NULL),
	KEY_FIXED("watch", watch.max_pages, "max-pages", "64 to 1073741824", KIND_COUNT, 64,
		1 << 30, NULL),
	KEY_FIXED("watch", watch.sample_level, "sample-level", "0 to 16", KIND_COUNT, 0, 16, NULL),

	KEY("inner-warden", warden.format, "format", "off, auto, jsonl or sqlite", KIND_CHOICE, 0,
		0, formats),
	KEY("inner-warden", warden.directory, "directory", "an absolute path", KIND_PATH, 0, 0,
		NULL),
	KEY("inner-warden", warden.incident_bytes, "incident-bytes", "8M to 1T", KIND_BYTES,
		8 << 20, 1e12, NULL),
	KEY("inner-warden", warden.incident_confidence, "incident-confidence", "0.1 to 1",
		KIND_RATIO, 0.1, 1, NULL),
	KEY("inner-warden", warden.queue, "queue", "16 to 65536 records", KIND_COUNT, 16, 65536,
		NULL),

	KEY("prometheus", prometheus.label, "label", "unit, container or comm", KIND_CHOICE, 0, 0,
		labels),
	KEY("prometheus", prometheus.routes, "routes", "0 to 64 routes of each service", KIND_COUNT,
		0, 64, NULL),
	KEY("prometheus", prometheus.services, "services", "1 to 4096", KIND_COUNT, 1, 4096, NULL),
	KEY("prometheus", prometheus.textfile, "textfile", "an absolute path that ends in .prom",
		KIND_METRICS_PATH, 0, 0, NULL),

	KEY("listen", listen.address, "address", "HOST:PORT, [HOST]:PORT or unix:PATH",
		KIND_ADDRESS, 0, 0, NULL),
	KEY("listen", listen.token_file, "token-file", "an absolute path", KIND_PATH, 0, 0, NULL),
	KEY("listen", listen.hosts, "host", "a name", KIND_LIST, 0, 0, NULL),
	KEY("listen", listen.connections, "connections", "4 to 512", KIND_COUNT, 4,
		LISTEN_CONNECTIONS_MAX, NULL),
	KEY("listen", listen.connections_per_client, "connections-per-client", "1 to 512",
		KIND_COUNT, 1, 512, NULL),
	KEY("listen", listen.requests_per_minute, "requests-per-minute", "1 to 60000", KIND_COUNT,
		1, LISTEN_REQUESTS_PER_MINUTE_MAX, NULL),

	KEY("files", files.directory, "directory", "an absolute path", KIND_PATH, 0, 0, NULL),
	KEY("files", files.json, "json", "yes or no", KIND_FLAG, 0, 0, NULL),
	KEY("files", files.recording, "recording", "yes or no", KIND_FLAG, 0, 0, NULL),
	KEY("files", files.rotate_bytes, "rotate-bytes", "1M to 100G", KIND_BYTES, 1 << 20, 1e11,
		NULL),
	KEY("files", files.keep_days, "keep-days", "1 to 3650", KIND_COUNT, 1, 3650, NULL),
	KEY("files", files.keep_bytes, "keep-bytes", "1M to 10T", KIND_BYTES, 1 << 20, 1e13, NULL),
};

const size_t config_key_count = sizeof(config_keys) / sizeof(config_keys[0]);

/* Who takes a list takes a full one. */
_Static_assert(CONFIG_LIST <= PS_MAX_PORTS, "ports");
_Static_assert(CONFIG_LIST <= LISTEN_HOSTS, "names of this host");
_Static_assert(CONFIG_LIST <= OPTIONS_MAX_GROUPS && OPTIONS_MAX_GROUPS <= OPTIONS_MAX_PIDS, "all");
_Static_assert(sizeof(config_keys) / sizeof(config_keys[0]) <= MAX_KEYS, "each has its mark");

void config_defaults(struct config *config)
{
	*config = (struct config){
		.watch = {.interval_s = 10,
			.detail = CONFIG_DETAIL_REQUESTS,
			.top = 20,
			.xray_s = 600,
			.max_processes = 8192,
			.max_routes = 8192,
			.max_pages = 327680},
		.warden = {.format = CONFIG_WARDEN_AUTO,
			.directory = "/var/lib/innerwarden",
			.incident_bytes = 64 << 20,
			.incident_confidence = 0.6,
			.queue = 4096},
		.prometheus = {.services = 256},
		.listen = {.address = "127.0.0.1:9184",
			.connections = 64,
			.connections_per_client = 16,
			.requests_per_minute = 240},
		.files = {.directory = "/var/lib/pagestay",
			.rotate_bytes = 100 << 20,
			.keep_days = 14,
			.keep_bytes = 2ull << 30},
	};
}

/*
 * Values.
 */

/* A number and a unit of the list, nothing else; false if it is none. */
struct unit {
	const char *name;
	double factor;
};

static bool parse_scaled(const char *word, const struct unit *units, double *ret_value)
{
	char *end;
	double number = strtod(word, &end);

	/* Neither 0x10 nor 1e9 nor nan. */
	if (end == word || end != word + strspn(word, "0123456789."))
		return false;
	for (; units->name; units++) {
		if (strcmp(end, units->name) != 0)
			continue;
		*ret_value = number * units->factor;
		return true;
	}
	return false;
}

static bool parse_number(const struct config_key *key, const char *word, double *ret_value)
{
	static const struct unit none[] = {{"", 1}, {}};
	static const struct unit bytes[] = {{"", 1}, {"K", 1024}, {"M", 1048576}, {"G", 1073741824},
		{"T", 1099511627776.0}, {}};
	static const struct unit times[] = {
		{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {}};
	bool whole = key->kind == KIND_COUNT || key->kind == KIND_NUMBERS;
	double value;

	if (!parse_scaled(word,
		    key->kind == KIND_BYTES                                       ? bytes
		    : key->kind == KIND_SECONDS || key->kind == KIND_SECONDS_OR_0 ? times
										  : none,
		    &value))
		return false;
	if ((value < key->least || value > key->most) &&
		!(key->kind == KIND_SECONDS_OR_0 && value == 0))
		return false;
	*ret_value = value;
	return !whole || value == floor(value);
}

static bool set_flag(const char *word, bool *ret_flag)
{
	*ret_flag = strcmp(word, "yes") == 0;
	return *ret_flag || strcmp(word, "no") == 0;
}

static bool set_choice(const struct config_key *key, const char *word, unsigned *ret_choice)
{
	for (unsigned i = 0; key->choices[i]; i++) {
		if (strcmp(word, key->choices[i]) == 0) {
			*ret_choice = i;
			return true;
		}
	}
	return false;
}

static bool set_text(const char *word, char text[CONFIG_TEXT_BYTES])
{
	size_t length = strlen(word);

	if (length >= CONFIG_TEXT_BYTES)
		return false;
	memcpy(text, word, length + 1);
	return true;
}

static bool set_path(const char *word, char text[CONFIG_TEXT_BYTES])
{
	return (!*word || *word == '/') && set_text(word, text);
}

static bool set_metrics_path(const char *word, char text[CONFIG_TEXT_BYTES])
{
	return (!*word || textfile_path_is_sound(word)) && set_text(word, text);
}

static bool set_address(const char *word, char text[CONFIG_TEXT_BYTES])
{
	struct diag diag = {};
	bool is_loopback;

	return (!*word || !listen_check_address(word, &is_loopback, &diag)) && set_text(word, text);
}

static bool set_pattern(const char *word, char text[CONFIG_TEXT_BYTES])
{
	regex_t pattern;

	if (*word && regcomp(&pattern, word, REG_EXTENDED | REG_NOSUB))
		return false;
	if (*word)
		regfree(&pattern);
	return set_text(word, text);
}

static bool add_text(const char *word, struct config_list *list)
{
	return *word && set_text(word, list->texts[list->count]) && ++list->count;
}

static bool set_value(const struct config_key *key, const char *word, void *member)
{
	double number;

	switch ((enum kind)key->kind) {
	case KIND_FLAG:
		return set_flag(word, member);
	case KIND_CHOICE:
		return set_choice(key, word, member);
	case KIND_ADDRESS:
		return set_address(word, member);
	case KIND_PATH:
		return set_path(word, member);
	case KIND_METRICS_PATH:
		return set_metrics_path(word, member);
	case KIND_PATTERN:
		return set_pattern(word, member);
	case KIND_LIST:
		return add_text(word, member);
	case KIND_PATHS:
		return *word == '/' && add_text(word, member);
	case KIND_NUMBERS:
		return parse_number(key, word, &number) && add_text(word, member);
	case KIND_COUNT:
		if (!parse_number(key, word, &number))
			return false;
		*(unsigned *)member = (unsigned)number;
		return true;
	case KIND_BYTES:
		if (!parse_number(key, word, &number))
			return false;
		*(uint64_t *)member = (uint64_t)number;
		return true;
	case KIND_RATIO:
	case KIND_SECONDS:
	case KIND_SECONDS_OR_0:
		return parse_number(key, word, member);
	}
	return false;
}

/*
 * The file.
 */

struct reading {
	struct config config;
	const char *path;
	FILE *file;
	unsigned line; /* that was read last */
	size_t length; /* of it, as far as it was read */
	struct diag *diag;
	bool failed;
	bool seen[MAX_KEYS]; /* by key: what is no list is given once */
};

/* The first one counts. 0, as a handler that refuses its line. */
__attribute__((format(printf, 2, 3))) static int wrong(
	struct reading *reading, const char *format, ...)
{
	char words[256];
	va_list arguments;

	if (reading->failed)
		return 0;
	reading->failed = true;
	va_start(arguments, format);
	(void)vsnprintf(words, sizeof(words), format, arguments);
	va_end(arguments);
	(void)diag_set(reading->diag, -EINVAL, "%s:%u: %s", reading->path, reading->line, words);
	return 0;
}

static bool has_section(const char *name)
{
	for (size_t i = 0; i < config_key_count; i++)
		if (strcmp(config_keys[i].section, name) == 0)
			return true;
	return false;
}

static const struct config_key *find_key(const char *section, const char *name)
{
	for (size_t i = 0; i < config_key_count; i++)
		if (strcmp(config_keys[i].section, section) == 0 &&
			strcmp(config_keys[i].name, name) == 0)
			return &config_keys[i];
	return NULL;
}

static const struct config_list *list_of(
	const struct reading *reading, const struct config_key *key)
{
	return (const struct config_list *)((const char *)&reading->config + key->offset);
}

/* An ini_handler: 1 if the line is right. */
static int take_line(void *context, const char *section, const char *name, const char *value)
{
	struct reading *reading = context;
	const struct config_key *key = find_key(section, name);
	bool is_list;

	if (!*section)
		return wrong(reading, "'%.64s' stands before any [section]", name);
	if (!has_section(section))
		return wrong(reading, "there is no section [%.64s]", section);
	if (!key)
		return wrong(reading, "there is no key '%.64s' in [%.64s]", name, section);
	is_list = key->kind == KIND_LIST || key->kind == KIND_PATHS || key->kind == KIND_NUMBERS;
	if (reading->seen[key - config_keys] && !is_list)
		return wrong(reading, "'%.64s' is given twice in [%.64s]", name, section);
	if (is_list && list_of(reading, key)->count == CONFIG_LIST)
		return wrong(reading, "'%.64s' is given more than %d times in [%.64s]", name,
			CONFIG_LIST, section);
	reading->seen[key - config_keys] = true;
	if (set_value(key, value, (char *)&reading->config + key->offset))
		return 1;
	return wrong(reading, "'%.64s' is not %s", value, key->help);
}

/* A section without keys comes to no handler, nor does what stands behind its name. */
static bool names_section(const char *text)
{
	char name[LINE_BYTES];
	const char *end;

	text += strspn(text, " \t");
	end = strchr(text, ']');
	if (*text != '[' || !end)
		return true;
	(void)snprintf(name, sizeof(name), "%.*s", (int)(end - text - 1), text + 1);
	return has_section(name) && !end[1 + strspn(end + 1, " \t\r\n")];
}

/* An ini_reader, which is asked for the rest of a line that did not fit its bytes. */
static char *read_line(char *text, int bytes, void *context)
{
	struct reading *reading = context;
	bool begins = !reading->length;

	if (reading->failed || !fgets(text, bytes, reading->file))
		return NULL;
	reading->line += begins;
	reading->length += strlen(text);
	if (reading->length >= LINE_BYTES)
		(void)wrong(reading, "the line is too long");
	else if (begins && !names_section(text))
		(void)wrong(reading, "there is no such section, or more than it on the line");
	if (strchr(text, '\n'))
		reading->length = 0;
	return reading->failed ? NULL : text;
}

static int parse(struct reading *reading)
{
	int line;

	ini_allow_multiline = false;
	ini_allow_inline_comments = false;
	ini_use_stack = false;
	ini_allow_realloc = true;
	ini_max_line = 2 * LINE_BYTES;
	line = ini_parse_stream(read_line, reading, take_line, reading);
	if (reading->failed)
		return -EINVAL;
	if (ferror(reading->file))
		return diag_set(
			reading->diag, -EIO, "%s: cannot be read to its end", reading->path);
	if (line < 0)
		return diag_set(reading->diag, -ENOMEM, "out of memory");
	return line ? diag_set(reading->diag, -EINVAL,
			      "%s:%d: neither a [section] nor `key = value`", reading->path, line)
		    : 0;
}

static int check_metrics(const struct config *config, const char *path, struct diag *diag)
{
	unsigned services = config->prometheus.services, routes = config->prometheus.routes;

	if (routes && !config->watch.routes)
		return diag_set(
			diag, -EINVAL, "%s: [prometheus] routes needs [watch] routes = yes", path);
	if (services * (1 + routes) > PROMETHEUS_PLACES_MAX)
		return diag_set(diag, -EINVAL,
			"%s: [prometheus] services x (1 + routes) is %u, more than %d", path,
			services * (1 + routes), PROMETHEUS_PLACES_MAX);
	return 0;
}

/* What several keys say together. */
static int check(const struct config *config, const char *path, struct diag *diag)
{
	bool is_loopback = true;

	if (config->watch.routes && config->watch.detail == CONFIG_DETAIL_LEDGER)
		return diag_set(
			diag, -EINVAL, "%s: [watch] routes needs detail = requests or pages", path);
	if (config->listen.address[0] &&
		listen_check_address(config->listen.address, &is_loopback, diag))
		return -EINVAL;
	if (check_metrics(config, path, diag))
		return -EINVAL;
	return is_loopback || config->listen.token_file[0]
		       ? 0
		       : diag_set(diag, -EINVAL,
				 "%s: [listen] address %s can be reached from other machines: that "
				 "needs a token-file",
				 path, config->listen.address);
}

int config_load(const char *path, struct config *ret_config, struct diag *diag)
{
	_cleanup_(cleanup_fclose) FILE *file = fopen(path, "re");
	struct reading reading = {.path = path, .file = file, .diag = diag};
	int error;

	if (!file) {
		error = -errno;
		return diag_set(diag, error, "cannot open %s: %s", path, strerror(-error));
	}
	config_defaults(&reading.config);
	error = parse(&reading);
	if (!error)
		error = check(&reading.config, path, diag);
	if (!error)
		*ret_config = reading.config;
	return error;
}

static bool lists_differ(const struct config_list *a, const struct config_list *b)
{
	bool differ = a->count != b->count;

	for (unsigned i = 0; !differ && i < a->count; i++)
		differ = strcmp(a->texts[i], b->texts[i]) != 0;
	return differ;
}

static bool values_differ(const struct config_key *key, const void *a, const void *b)
{
	switch ((enum kind)key->kind) {
	case KIND_FLAG:
		return *(const bool *)a != *(const bool *)b;
	case KIND_COUNT:
	case KIND_CHOICE:
		return *(const unsigned *)a != *(const unsigned *)b;
	case KIND_BYTES:
		return *(const uint64_t *)a != *(const uint64_t *)b;
	case KIND_RATIO:
	case KIND_SECONDS:
	case KIND_SECONDS_OR_0:
		return *(const double *)a != *(const double *)b;
	case KIND_ADDRESS:
	case KIND_PATH:
	case KIND_METRICS_PATH:
	case KIND_PATTERN:
		return strcmp(a, b) != 0;
	case KIND_LIST:
	case KIND_PATHS:
	case KIND_NUMBERS:
		return lists_differ(a, b);
	}
	return true;
}

static bool key_differs(
	const struct config_key *key, const struct config *a, const struct config *b)
{
	return values_differ(key, (const char *)a + key->offset, (const char *)b + key->offset);
}

const struct config_key *config_next_fixed(
	const struct config *a, const struct config *b, const struct config_key *after)
{
	const struct config_key *key = after ? after + 1 : config_keys;

	for (; key < config_keys + config_key_count; key++)
		if (key->is_fixed && key_differs(key, a, b))
			return key;
	return NULL;
}

bool config_differs(const struct config *a, const struct config *b, const char *section)
{
	for (size_t i = 0; i < config_key_count; i++) {
		if (strcmp(config_keys[i].section, section) == 0 &&
			key_differs(&config_keys[i], a, b))
			return true;
	}
	return false;
}
