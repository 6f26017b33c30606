/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Parses the command line. Everything that can be wrong with it is found here, before anything is
 * opened, so that a usage error never leaves half a run behind. Called once, by main.
 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PID_MAX          4194304 /* PID_MAX_LIMIT of 64-bit kernels */
#define INTERVAL_MIN_S   0.1
#define INTERVAL_MAX_S   86400.0
#define DEFAULT_INTERVAL 10.0
#define DEFAULT_TOP      10
#define DEFAULT_CONFIG   "/etc/pagestay/pagestay.conf"
#define DEFAULT_FOR_S    30.0
#define DURATION_MIN_S   1.0

const char options_help[] =
	"pagestay: which requests leave pages behind\n"
	"\n"
	"  pagestay [watch] [INTERVAL [COUNT]]  reports every INTERVAL (default: 10 s)\n"
	"  pagestay record -o FILE [INTERVAL [COUNT]]  the same events into a recording\n"
	"  pagestay replay FILE                 the reports of a recording, without root\n"
	"  pagestay diagnose PID                why its memory grows or stays; what helps\n"
	"  pagestay xray PID                    its heap: live, held free, what pins it,\n"
	"                                       what a trim would return\n"
	"  pagestay compare A B                 two recordings or pids side by side;\n"
	"                                       FILE:PID or FILE:COMM names one process\n"
	"  pagestay agent                       a daemon, told by a file, that feeds\n"
	"                                       Inner Warden, Prometheus and files\n"
	"  pagestay follow DIRECTORY            prints the JSON lines that the agent\n"
	"                                       writes into its files, as they come\n"
	"  pagestay doctor                      what kernel and privileges allow here\n"
	"\n"
	"Whom to watch (watch, record; default: every server):\n"
	"  -p, --pid PID          this process; may be repeated\n"
	"      --comm RE          servers whose name matches this regular expression\n"
	"      --unit NAME        servers of this systemd unit; may be repeated\n"
	"      --cgroup PATH      servers in or below this control group; likewise\n"
	"      --port N           servers on this TCP port, and nothing else they do;\n"
	"                         may be repeated\n"
	"What to show:\n"
	"  -o, --output text|json, --json       text for people, or a JSON object a line;\n"
	"                         compare: markdown too\n"
	"      --detail ledger|requests|pages   how much to trace (default: requests;\n"
	"                         with -p: pages, which requests leave pages behind)\n"
	"      --routes           requests by method and path (plain HTTP/1.x)\n"
	"      --top N            rows in text, routes a process (default 10; 0: all)\n"
	"      --xray             x-ray each process's heap at every interval\n"
	"      --for TIME         how long diagnose and compare watch (default 30s)\n"
	"      --marks time|requests  at which compare shows memory (default time)\n"
	"Bounds (what does not fit is counted as lost):\n"
	"      --max-processes N  processes counted at once (default 8192)\n"
	"      --max-routes N     routes counted at once (default 8192); more: `other`\n"
	"      --max-pages N      pages tracked of one process (default 327680); more:\n"
	"                         one in 2, 4, 8, ... is tracked, and pages are estimates\n"
	"      --sample-level N   begin with one page in 2^N (default 0: every page)\n"
	"      --ring-bytes N     room for records of processes (default 262144) and of\n"
	"                         pages (default 4194304)\n"
	"Others:\n"
	"      --config FILE, --check-config  of agent; the file is checked, no more\n"
	"      --cursor FILE      where follow goes on the next time\n"
	"      --once             follow ends when it has printed what is there\n"
	"  -v, --verbose          libbpf's messages on stderr\n"
	"      --version, -h, --help\n"
	"\n"
	"Exit codes: 0 ok, 1 runtime failure, 2 usage, 3 missing privilege, 4 missing\n"
	"in this kernel.\n";

enum {
	OPTION_COMM = 256,
	OPTION_UNIT,
	OPTION_CGROUP,
	OPTION_PORT,
	OPTION_JSON,
	OPTION_DETAIL,
	OPTION_ROUTES,
	OPTION_TOP,
	OPTION_XRAY,
	OPTION_FOR,
	OPTION_MARKS,
	OPTION_CONFIG,
	OPTION_CHECK_CONFIG,
	OPTION_CURSOR,
	OPTION_ONCE,
	OPTION_MAX_PROCESSES,
	OPTION_MAX_ROUTES,
	OPTION_MAX_PAGES,
	OPTION_SAMPLE_LEVEL,
	OPTION_RING_BYTES,
	OPTION_VERSION,
};

static const struct option long_options[] = {
	{"pid", required_argument, NULL, 'p'},
	{"comm", required_argument, NULL, OPTION_COMM},
	{"unit", required_argument, NULL, OPTION_UNIT},
	{"cgroup", required_argument, NULL, OPTION_CGROUP},
	{"port", required_argument, NULL, OPTION_PORT},
	{"output", required_argument, NULL, 'o'},
	{"json", no_argument, NULL, OPTION_JSON},
	{"detail", required_argument, NULL, OPTION_DETAIL},
	{"routes", no_argument, NULL, OPTION_ROUTES},
	{"top", required_argument, NULL, OPTION_TOP},
	{"xray", no_argument, NULL, OPTION_XRAY},
	{"for", required_argument, NULL, OPTION_FOR},
	{"marks", required_argument, NULL, OPTION_MARKS},
	{"config", required_argument, NULL, OPTION_CONFIG},
	{"check-config", no_argument, NULL, OPTION_CHECK_CONFIG},
	{"cursor", required_argument, NULL, OPTION_CURSOR},
	{"once", no_argument, NULL, OPTION_ONCE},
	{"max-processes", required_argument, NULL, OPTION_MAX_PROCESSES},
	{"max-routes", required_argument, NULL, OPTION_MAX_ROUTES},
	{"max-pages", required_argument, NULL, OPTION_MAX_PAGES},
	{"sample-level", required_argument, NULL, OPTION_SAMPLE_LEVEL},
	{"ring-bytes", required_argument, NULL, OPTION_RING_BYTES},
	{"verbose", no_argument, NULL, 'v'},
	{"version", no_argument, NULL, OPTION_VERSION},
	{"help", no_argument, NULL, 'h'},
	{},
};

static const struct {
	const char *name;
	enum command command;
} commands[] = {
	{"watch", COMMAND_WATCH},
	{"record", COMMAND_RECORD},
	{"replay", COMMAND_REPLAY},
	{"xray", COMMAND_XRAY},
	{"diagnose", COMMAND_DIAGNOSE},
	{"compare", COMMAND_COMPARE},
	{"agent", COMMAND_AGENT},
	{"follow", COMMAND_FOLLOW},
	{"doctor", COMMAND_DOCTOR},
};

/* A whole decimal number within bounds, and nothing else in the word. */
static int parse_number(const char *what, const char *word, unsigned long least, unsigned long most,
	unsigned *ret_number, struct diag *diag)
{
	char *end;
	unsigned long number;

	errno = 0;
	number = strtoul(word, &end, 10);
	if (*word < '0' || *word > '9' || *end || errno || number < least || number > most)
		return diag_set(diag, -EINVAL, "%s '%s' is not a number from %lu to %lu", what,
			word, least, most);
	*ret_number = number;
	return 0;
}

static int parse_interval(const char *word, double *ret_seconds, struct diag *diag)
{
	char *end;
	double seconds = strtod(word, &end);

	if (end == word || *end || !isfinite(seconds) || seconds < INTERVAL_MIN_S ||
		seconds > INTERVAL_MAX_S)
		return diag_set(diag, -EINVAL, "interval '%s' is not %.1f to %.0f seconds", word,
			INTERVAL_MIN_S, INTERVAL_MAX_S);
	*ret_seconds = seconds;
	return 0;
}

static int add_pid(struct options *options, const char *word, struct diag *diag)
{
	unsigned pid = 0;
	int error = parse_number("pid", word, 1, PID_MAX, &pid, diag);

	if (error)
		return error;
	if (options->pid_count == OPTIONS_MAX_PIDS)
		return diag_set(diag, -EINVAL, "more than %d pids", OPTIONS_MAX_PIDS);
	options->pids[options->pid_count++] = pid;
	return 0;
}

static int add_port(struct options *options, const char *word, struct diag *diag)
{
	unsigned port = 0;
	int error = parse_number("port", word, 1, UINT16_MAX, &port, diag);

	if (error)
		return error;
	if (options->port_count == PS_MAX_PORTS)
		return diag_set(diag, -EINVAL, "more than %d ports", PS_MAX_PORTS);
	options->ports[options->port_count++] = port;
	return 0;
}

static int add_group(
	const char *what, const char *word, const char **groups, unsigned *count, struct diag *diag)
{
	if (!*word || *count == OPTIONS_MAX_GROUPS)
		return diag_set(diag, -EINVAL, "--%s is empty, or given more than %d times", what,
			OPTIONS_MAX_GROUPS);
	groups[(*count)++] = word;
	return 0;
}

static int set_comm(struct options *options, const char *pattern, struct diag *diag)
{
	char why[128];
	int error;

	if (options->by_comm)
		return diag_set(diag, -EINVAL, "--comm is given twice");
	error = regcomp(&options->comm, pattern, REG_EXTENDED | REG_NOSUB);
	if (error) {
		(void)regerror(error, &options->comm, why, sizeof(why));
		return diag_set(diag, -EINVAL, "--comm '%s': %s", pattern, why);
	}
	options->by_comm = true;
	return 0;
}

static int set_detail(struct options *options, const char *word, struct diag *diag)
{
	options->detail = true;
	options->pages = strcmp(word, "pages") == 0;
	options->requests = options->pages || strcmp(word, "requests") == 0;
	if (!options->requests && strcmp(word, "ledger") != 0)
		return diag_set(
			diag, -EINVAL, "detail '%s' is not ledger, requests or pages", word);
	return 0;
}

/* For record a file, else a format. */
static int set_output(struct options *options, const char *word, struct diag *diag)
{
	if (options->command == COMMAND_RECORD) {
		options->file = word;
		return 0;
	}
	if (strcmp(word, "text") == 0)
		options->output = OUTPUT_TEXT;
	else if (strcmp(word, "json") == 0)
		options->output = OUTPUT_JSON;
	else if (strcmp(word, "markdown") == 0 && options->command == COMMAND_COMPARE)
		options->output = OUTPUT_MARKDOWN;
	else
		return diag_set(diag, -EINVAL, "output '%s' is not text%s or json", word,
			options->command == COMMAND_COMPARE ? ", markdown" : "");
	return 0;
}

static int set_marks(struct options *options, const char *word, struct diag *diag)
{
	options->marks_by_requests = strcmp(word, "requests") == 0;
	if (!options->marks_by_requests && strcmp(word, "time") != 0)
		return diag_set(diag, -EINVAL, "marks '%s' are not time or requests", word);
	return 0;
}

/* A number of seconds, or with a unit: 90, 90s, 1.5m, 1h. */
static int set_duration(struct options *options, const char *word, struct diag *diag)
{
	static const struct {
		const char *name;
		double seconds;
	} units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}};
	char *end;
	double number = strtod(word, &end);

	for (size_t i = 0; end != word && i < sizeof(units) / sizeof(units[0]); i++) {
		double seconds = number * units[i].seconds;

		if (strcmp(end, units[i].name) == 0 && seconds >= DURATION_MIN_S &&
			seconds <= INTERVAL_MAX_S) {
			options->for_s = seconds;
			return 0;
		}
	}
	return diag_set(diag, -EINVAL, "duration '%s' is not %.0fs to 24h", word, DURATION_MIN_S);
}

#define OF(command) (1u << (command))
#define OF_LIVE     (OF(COMMAND_WATCH) | OF(COMMAND_RECORD))
#define OF_RUNS     (OF_LIVE | OF(COMMAND_DIAGNOSE) | OF(COMMAND_COMPARE))
#define OF_REPORTS  (OF(COMMAND_WATCH) | OF(COMMAND_REPLAY))
#define OF_OBJECTS  (OF_REPORTS | OF(COMMAND_XRAY) | OF(COMMAND_DIAGNOSE) | OF(COMMAND_COMPARE))

/* An option that a command has no use for is a mistake, not something to pass over. */
static const struct {
	int option;
	unsigned commands;
} uses[] = {
	{'p', OF_LIVE},
	{'o', OF_OBJECTS | OF(COMMAND_RECORD)},
	{'v', OF_RUNS | OF(COMMAND_DOCTOR) | OF(COMMAND_AGENT)},
	{OPTION_COMM, OF_LIVE},
	{OPTION_UNIT, OF_LIVE},
	{OPTION_CGROUP, OF_LIVE},
	{OPTION_PORT, OF_LIVE},
	{OPTION_JSON, OF_OBJECTS | OF(COMMAND_DOCTOR)},
	{OPTION_DETAIL, OF_LIVE},
	{OPTION_ROUTES, OF_LIVE},
	{OPTION_TOP, OF_REPORTS},
	{OPTION_XRAY, OF_LIVE},
	{OPTION_FOR, OF(COMMAND_DIAGNOSE) | OF(COMMAND_COMPARE)},
	{OPTION_MARKS, OF(COMMAND_COMPARE)},
	{OPTION_CONFIG, OF(COMMAND_AGENT)},
	{OPTION_CHECK_CONFIG, OF(COMMAND_AGENT)},
	{OPTION_CURSOR, OF(COMMAND_FOLLOW)},
	{OPTION_ONCE, OF(COMMAND_FOLLOW)},
	{OPTION_MAX_PROCESSES, OF_LIVE},
	{OPTION_MAX_ROUTES, OF_RUNS},
	{OPTION_MAX_PAGES, OF_RUNS},
	{OPTION_SAMPLE_LEVEL, OF_RUNS},
	{OPTION_RING_BYTES, OF_RUNS},
};

static const char *option_name(int option)
{
	for (const struct option *known = long_options; known->name; known++)
		if (known->val == option)
			return known->name;
	return "?";
}

static int refuse_use(const struct options *options, int option, struct diag *diag)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (commands[i].command == options->command)
			return diag_set(diag, -EINVAL, "--%s is not for %s", option_name(option),
				commands[i].name);
	return -EINVAL;
}

static int check_use(const struct options *options, int option, struct diag *diag)
{
	for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++)
		if (uses[i].option == option && !(uses[i].commands & OF(options->command)))
			return refuse_use(options, option, diag);
	return 0;
}

static int set_bound(struct options *options, int option, const char *word, struct diag *diag)
{
	switch (option) {
	case OPTION_MAX_PROCESSES:
		return parse_number(
			"--max-processes", word, 1, 1048576, &options->max_processes, diag);
	case OPTION_MAX_ROUTES:
		return parse_number("--max-routes", word, 1, 1048576, &options->max_routes, diag);
	case OPTION_MAX_PAGES:
		return parse_number("--max-pages", word, 64, 1u << 30, &options->max_pages, diag);
	case OPTION_SAMPLE_LEVEL:
		return parse_number("--sample-level", word, 0, 16, &options->sample_level, diag);
	case OPTION_RING_BYTES:
		return parse_number("--ring-bytes", word, 1, 1u << 30, &options->ring_bytes, diag);
	default:
		return -EINVAL;
	}
}

static int set_option(struct options *options, int option, const char *word, struct diag *diag)
{
	switch (option) {
	case 'p':
		return add_pid(options, word, diag);
	case 'o':
		return set_output(options, word, diag);
	case 'v':
		options->verbose = true;
		return 0;
	case 'h':
		options->command = COMMAND_HELP;
		return 0;
	case OPTION_VERSION:
		options->command = COMMAND_VERSION;
		return 0;
	case OPTION_COMM:
		return set_comm(options, word, diag);
	case OPTION_UNIT:
		return add_group("unit", word, options->units, &options->unit_count, diag);
	case OPTION_CGROUP:
		return add_group("cgroup", word, options->cgroups, &options->cgroup_count, diag);
	case OPTION_PORT:
		return add_port(options, word, diag);
	case OPTION_JSON:
		options->output = OUTPUT_JSON;
		return 0;
	case OPTION_XRAY:
		options->xray = true;
		return 0;
	case OPTION_FOR:
		return set_duration(options, word, diag);
	case OPTION_MARKS:
		return set_marks(options, word, diag);
	case OPTION_CONFIG:
		options->file = word;
		return 0;
	case OPTION_CHECK_CONFIG:
		options->check_config = true;
		return 0;
	case OPTION_CURSOR:
		options->cursor = word;
		return 0;
	case OPTION_ONCE:
		options->once = true;
		return 0;
	case OPTION_DETAIL:
		return set_detail(options, word, diag);
	case OPTION_ROUTES:
		options->routes = true;
		return 0;
	case OPTION_TOP:
		return parse_number("--top", word, 0, 1000000, &options->top, diag);
	default:
		return set_bound(options, option, word, diag);
	}
}

/* INTERVAL and COUNT, neither of which is needed. */
static int parse_times(struct options *options, int count, char **words, struct diag *diag)
{
	if (count > 0 && parse_interval(words[0], &options->interval_s, diag))
		return -EINVAL;
	if (count > 1)
		return parse_number("count", words[1], 1, UINT32_MAX, &options->count, diag);
	return 0;
}

/* What remains after the options. */
static int parse_operands(struct options *options, int count, char **words, struct diag *diag)
{
	static const struct {
		int least, most;
		const char *missing;
	} operands[] = {
		[COMMAND_WATCH] = {0, 2, ""},
		[COMMAND_RECORD] = {0, 2, ""},
		[COMMAND_REPLAY] = {1, 1, "replay needs a file"},
		[COMMAND_DOCTOR] = {0, 0, ""},
		[COMMAND_XRAY] = {1, 1, "xray needs a pid"},
		[COMMAND_DIAGNOSE] = {1, 1, "diagnose needs a pid"},
		[COMMAND_AGENT] = {0, 0, ""},
		[COMMAND_FOLLOW] = {1, 1, "follow needs a directory"},
		[COMMAND_COMPARE] = {2, 2, "compare needs two recordings, or two pids"},
	};
	int most = operands[options->command].most;

	if (count > most)
		return diag_set(diag, -EINVAL, "'%s' is one word too many", words[most]);
	if (count < operands[options->command].least)
		return diag_set(diag, -EINVAL, "%s", operands[options->command].missing);
	switch (options->command) {
	case COMMAND_REPLAY:
	case COMMAND_FOLLOW:
		options->file = words[0];
		return 0;
	case COMMAND_XRAY:
	case COMMAND_DIAGNOSE:
		return add_pid(options, words[0], diag);
	case COMMAND_COMPARE:
		options->sides[0] = words[0];
		options->sides[1] = words[1];
		return 0;
	default:
		return parse_times(options, count, words, diag);
	}
}

static int check_combination(const struct options *options, struct diag *diag)
{
	if (options->command == COMMAND_RECORD && !options->file)
		return diag_set(diag, -EINVAL, "record needs -o FILE");
	if (options->routes && !options->requests)
		return diag_set(diag, -EINVAL, "--routes needs --detail requests or pages");
	return 0;
}

static void take_command(struct options *options, int *argc, char ***argv)
{
	if (*argc < 2)
		return;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp((*argv)[1], commands[i].name) != 0)
			continue;
		options->command = commands[i].command;
		(*argc)--;
		(*argv)++;
		return;
	}
}

/* What getopt refused. A letter may stand among others, so it is told without its word. */
static int refuse_option(const char *word, struct diag *diag)
{
	if (!optopt)
		return diag_set(diag, -EINVAL, "'%s' is no option that pagestay knows", word);
	if (optopt < OPTION_COMM && !strchr("hv", optopt))
		return diag_set(diag, -EINVAL, "'-%c' is no option that pagestay knows", optopt);
	return diag_set(diag, -EINVAL, "'%s': this option takes no value", word);
}

int options_init(struct options *options, int argc, char **argv, struct diag *diag)
{
	int option, error;

	*options = (struct options){
		.command = COMMAND_WATCH,
		.requests = true,
		.top = DEFAULT_TOP,
		.max_processes = 8192,
		.max_routes = 8192,
		.max_pages = 327680,
		.interval_s = DEFAULT_INTERVAL,
		.for_s = DEFAULT_FOR_S,
	};
	take_command(options, &argc, &argv);
	opterr = 0;
	optind = 0; /* from the beginning, wherever an earlier command line was left */
	while ((option = getopt_long(argc, argv, ":p:o:vh", long_options, NULL)) != -1) {
		if (option == ':')
			return diag_set(diag, -EINVAL, "'%s' needs a value", argv[optind - 1]);
		if (option == '?')
			return refuse_option(argv[optind - 1], diag);
		error = check_use(options, option, diag);
		if (!error)
			error = set_option(options, option, optarg, diag);
		if (error)
			return error;
		if (options->command == COMMAND_HELP || options->command == COMMAND_VERSION)
			return 0;
	}
	if (!options->detail)
		options->pages = options->pid_count > 0;
	if (options->command == COMMAND_AGENT && !options->file)
		options->file = DEFAULT_CONFIG;
	error = parse_operands(options, argc - optind, argv + optind, diag);
	return error ? error : check_combination(options, diag);
}

void options_deinit(struct options *options)
{
	if (options->by_comm)
		regfree(&options->comm);
}
