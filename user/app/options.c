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

const char options_help[] =
	"pagestay: which requests leave pages behind\n"
	"\n"
	"  pagestay [watch] [INTERVAL [COUNT]]  reports every INTERVAL (default: 10 s)\n"
	"  pagestay record -o FILE [INTERVAL [COUNT]]  the same events into a recording\n"
	"  pagestay replay FILE                 the reports of a recording, without root\n"
	"  pagestay doctor                      what kernel and privileges allow here\n"
	"\n"
	"Whom to watch (watch, record; default: every server):\n"
	"  -p, --pid PID          this process; may be repeated\n"
	"      --comm RE          servers whose name matches this regular expression\n"
	"      --port N           servers on this TCP port, and nothing else they do;\n"
	"                         may be repeated\n"
	"What to show:\n"
	"  -o, --output text|json, --json       text for people, or a JSON object a line\n"
	"      --detail ledger|requests|pages   how much to trace (default: requests;\n"
	"                         with -p: pages, which requests leave pages behind)\n"
	"      --routes           requests by method and path (plain HTTP/1.x)\n"
	"      --top N            rows in text, routes a process (default 10; 0: all)\n"
	"Bounds (what does not fit is counted as lost):\n"
	"      --max-processes N  processes counted at once (default 8192)\n"
	"      --max-routes N     routes counted at once (default 8192); more: `other`\n"
	"      --max-pages N      pages tracked of one process (default 327680); more:\n"
	"                         one in 2, 4, 8, ... is tracked, and pages are estimates\n"
	"      --sample-level N   begin with one page in 2^N (default 0: every page)\n"
	"      --ring-bytes N     room for records of processes (default 262144) and of\n"
	"                         pages (default 4194304)\n"
	"Others:\n"
	"  -v, --verbose          libbpf's messages on stderr\n"
	"      --version, -h, --help\n"
	"\n"
	"Exit codes: 0 ok, 1 runtime failure, 2 usage, 3 missing privilege, 4 missing\n"
	"in this kernel.\n";

enum {
	OPTION_COMM = 256,
	OPTION_PORT,
	OPTION_JSON,
	OPTION_DETAIL,
	OPTION_ROUTES,
	OPTION_TOP,
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
	{"port", required_argument, NULL, OPTION_PORT},
	{"output", required_argument, NULL, 'o'},
	{"json", no_argument, NULL, OPTION_JSON},
	{"detail", required_argument, NULL, OPTION_DETAIL},
	{"routes", no_argument, NULL, OPTION_ROUTES},
	{"top", required_argument, NULL, OPTION_TOP},
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

/* For watch and replay a format, for record a file. */
static int set_output(struct options *options, const char *word, struct diag *diag)
{
	if (options->command == COMMAND_RECORD) {
		options->file = word;
		return 0;
	}
	options->json = strcmp(word, "json") == 0;
	if (!options->json && strcmp(word, "text") != 0)
		return diag_set(diag, -EINVAL, "output '%s' is not text or json", word);
	return 0;
}

/* An option that a command has no use for is a mistake, not something to pass over. */
static int check_use(const struct options *options, int option, struct diag *diag)
{
	static const char live_only[] =
		"-p, --comm, --port, --detail, --routes, --sample-level and --max-* are for "
		"watch and record";
	bool live = options->command == COMMAND_WATCH || options->command == COMMAND_RECORD;

	switch (option) {
	case 'h':
	case OPTION_VERSION:
		return 0;
	case 'v':
		return options->command == COMMAND_REPLAY
			       ? diag_set(diag, -EINVAL, "--verbose is not for replay")
			       : 0;
	case 'o':
		return options->command == COMMAND_DOCTOR
			       ? diag_set(diag, -EINVAL, "-o is not for doctor; --json is")
			       : 0;
	case OPTION_JSON:
		return options->command == COMMAND_RECORD
			       ? diag_set(diag, -EINVAL, "--json is not for record")
			       : 0;
	case OPTION_TOP:
		return options->command == COMMAND_WATCH || options->command == COMMAND_REPLAY
			       ? 0
			       : diag_set(diag, -EINVAL, "--top is for watch and replay");
	default:
		return live ? 0 : diag_set(diag, -EINVAL, "%s", live_only);
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
	case OPTION_PORT:
		return add_port(options, word, diag);
	case OPTION_JSON:
		options->json = true;
		return 0;
	case OPTION_DETAIL:
		return set_detail(options, word, diag);
	case OPTION_ROUTES:
		options->routes = true;
		return 0;
	case OPTION_TOP:
		return parse_number("--top", word, 0, 1000000, &options->top, diag);
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

/* What remains after the options: for replay a file, else INTERVAL and COUNT. */
static int parse_operands(struct options *options, int count, char **words, struct diag *diag)
{
	int most = options->command == COMMAND_DOCTOR   ? 0
		   : options->command == COMMAND_REPLAY ? 1
							: 2;

	if (count > most)
		return diag_set(diag, -EINVAL, "'%s' is one word too many", words[most]);
	if (options->command == COMMAND_REPLAY) {
		if (!count)
			return diag_set(diag, -EINVAL, "replay needs a file");
		options->file = words[0];
		return 0;
	}
	if (count > 0 && parse_interval(words[0], &options->interval_s, diag))
		return -EINVAL;
	if (count > 1)
		return parse_number("count", words[1], 1, UINT32_MAX, &options->count, diag);
	return 0;
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
	error = parse_operands(options, argc - optind, argv + optind, diag);
	return error ? error : check_combination(options, diag);
}

void options_deinit(struct options *options)
{
	if (options->by_comm)
		regfree(&options->comm);
}
