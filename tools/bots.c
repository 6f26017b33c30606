/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * bots: waves of HTTP/1.1 clients on loopback that scan a server as bots on the internet do.
 *
 * One thread and one epoll descriptor run every connection. A wave opens --connections of them to
 * each port, each sends --requests requests one after another on its connection, and the next wave
 * begins --gap-ms after the last connection of the wave has ended. What connection I of wave W
 * asks for depends on the seed, W and I alone, so every port gets the same traffic, whatever the
 * order of events.
 *
 * Bounds: MAX_PORTS ports, MAX_CONNECTIONS connections at once, OUTPUT_BYTES a request, HEAD_BYTES
 * of a response's head (bodies are counted and dropped), --max-seconds for everything.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_PORTS       2
#define MAX_CONNECTIONS 8192
#define EVENTS_PER_WAKE 256
#define OUTPUT_BYTES    512
#define HEAD_BYTES      2048
#define PATH_BYTES      64

/* Of 100 requests: so many to the server's own routes, so many to random paths, the rest scans. */
#define NORMAL_PERCENT 20
#define RANDOM_PERCENT 25

struct options {
	unsigned ports[MAX_PORTS];
	unsigned port_count;
	unsigned connections;
	unsigned waves;
	unsigned requests;
	unsigned gap_ms;
	unsigned seed;
	unsigned max_seconds;
};

struct tally {
	uint64_t sent;
	uint64_t received;
	uint64_t errors;
};

/* One connection of the wave under way; fd is -1 once it has ended. */
struct bot {
	int fd;
	unsigned port_index;
	unsigned requests_left;
	uint64_t random;
	bool is_head;
	size_t output_bytes;
	size_t output_sent;
	bool in_body;
	uint64_t body_left;
	size_t head_bytes;
	char head[HEAD_BYTES];
	char output[OUTPUT_BYTES];
};

struct run {
	struct options options;
	struct tally tallies[MAX_PORTS];
	struct bot *bots;
	unsigned bot_count;
	unsigned alive;
	int epoll_fd;
	uint64_t begin_ms;
	uint64_t end_ms;
};

struct target {
	const char *method;
	const char *path;
};

static const struct target normal_targets[] = {
	{"GET", "/"},
	{"GET", "/api/alerts"},
	{"GET", "/api/events?limit=50"},
	{"GET", "/api/status"},
	{"GET", "/assets/app.js"},
	{"HEAD", "/health"},
	{"POST", "/login"},
};

static const struct target scan_targets[] = {
	{"GET", "/.env"},
	{"GET", "/.env"},
	{"GET", "/.env"},
	{"GET", "/.env"},
	{"GET", "/wp-login.php"},
	{"GET", "/wp-login.php"},
	{"GET", "/wp-login.php"},
	{"GET", "/.git/config"},
	{"GET", "/.git/config"},
	{"POST", "/xmlrpc.php"},
	{"GET", "/.aws/credentials"},
	{"GET", "/phpmyadmin/index.php"},
	{"GET", "/wp-content/plugins/hellopress/wp_filemanager.php"},
	{"GET", "/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php"},
	{"GET", "/cgi-bin/luci/;stok=/locale"},
	{"GET", "/actuator/health"},
	{"HEAD", "/backup.zip"},
	{"GET", "/server-status"},
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* splitmix64: any seed is a good one, so a connection's stream can be seeded by its number. */
static uint64_t random_next(uint64_t *random)
{
	uint64_t z = (*random += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* A path of one to three made-up segments. */
static void random_path(uint64_t *random, char path[PATH_BYTES])
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-_";
	static const char *const endings[] = {"", "", ".php", ".bak", ".sql", ".zip"};
	unsigned segments = 1 + (unsigned)(random_next(random) % 3);
	char *out = path;

	for (unsigned i = 0; i < segments; i++) {
		unsigned count = 3 + (unsigned)(random_next(random) % 10);

		*out++ = '/';
		while (count-- > 0)
			*out++ = letters[random_next(random) % (sizeof(letters) - 1)];
	}
	strcpy(out, endings[random_next(random) % (sizeof(endings) / sizeof(endings[0]))]);
}

static struct target choose_target(uint64_t *random, char path[PATH_BYTES])
{
	unsigned percent = (unsigned)(random_next(random) % 100);
	uint64_t choice = random_next(random);

	if (percent < NORMAL_PERCENT)
		return normal_targets[choice %
				      (sizeof(normal_targets) / sizeof(normal_targets[0]))];
	if (percent < NORMAL_PERCENT + RANDOM_PERCENT) {
		random_path(random, path);
		return (struct target){"GET", path};
	}
	return scan_targets[choice % (sizeof(scan_targets) / sizeof(scan_targets[0]))];
}

/* --- one connection ----------------------------------------------------------------------- */

static struct tally *bot_tally(struct run *run, const struct bot *bot)
{
	return &run->tallies[bot->port_index];
}

static void bot_end(struct run *run, struct bot *bot)
{
	close(bot->fd);
	bot->fd = -1;
	run->alive--;
}

static void bot_fail(struct run *run, struct bot *bot)
{
	bot_tally(run, bot)->errors++;
	bot_end(run, bot);
}

static void bot_compose(struct run *run, struct bot *bot)
{
	char path[PATH_BYTES];
	struct target target = choose_target(&bot->random, path);
	const char *body = strcmp(target.method, "POST") == 0 ? "user=admin&password=admin" : "";

	bot->requests_left--;
	bot->is_head = strcmp(target.method, "HEAD") == 0;
	bot->output_sent = 0;
	bot->output_bytes = (size_t)snprintf(bot->output, OUTPUT_BYTES,
		"%s %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUser-Agent: Mozilla/5.0 (compatible; "
		"scanner)\r\nAccept: */*\r\nConnection: %s\r\nContent-Length: %zu\r\n\r\n%s",
		target.method, target.path, run->options.ports[bot->port_index],
		bot->requests_left ? "keep-alive" : "close", strlen(body), body);
	bot->in_body = false;
	bot->head_bytes = 0;
}

static void bot_send(struct run *run, struct bot *bot)
{
	while (bot->output_sent < bot->output_bytes) {
		ssize_t sent = send(bot->fd, bot->output + bot->output_sent,
			bot->output_bytes - bot->output_sent, MSG_NOSIGNAL);

		if (sent >= 0) {
			bot->output_sent += (size_t)sent;
			if (bot->output_sent == bot->output_bytes)
				bot_tally(run, bot)->sent++;
		} else if (errno == EAGAIN || errno == ENOTCONN) {
			return;
		} else if (errno != EINTR) {
			bot_fail(run, bot);
			return;
		}
	}
}

static void bot_complete(struct run *run, struct bot *bot)
{
	bot_tally(run, bot)->received++;
	if (bot->requests_left == 0) {
		bot_end(run, bot);
		return;
	}
	bot_compose(run, bot);
	bot_send(run, bot);
}

/* Reads the status and the length from a whole head. Returns false when they are not there. */
static bool head_parse(const char *head, uint64_t *ret_body_bytes)
{
	const char *length = strcasestr(head, "\r\ncontent-length:");

	if (strncmp(head, "HTTP/1.1 ", 9) != 0 || head[9] < '2' || head[9] > '5' || !length)
		return false;
	*ret_body_bytes = strtoull(length + strlen("\r\ncontent-length:"), NULL, 10);
	return true;
}

/* Takes bytes of the response. Returns false when it is not one. */
static bool bot_take(struct run *run, struct bot *bot, const char *bytes, size_t count)
{
	const char *end;
	size_t before = bot->head_bytes;
	size_t body_here = count;

	if (!bot->in_body) {
		if (before + count >= HEAD_BYTES)
			return false;
		memcpy(bot->head + before, bytes, count);
		bot->head_bytes += count;
		bot->head[bot->head_bytes] = '\0';
		end = strstr(bot->head, "\r\n\r\n");
		if (!end)
			return strlen(bot->head) == bot->head_bytes;
		if (!head_parse(bot->head, &bot->body_left))
			return false;
		if (bot->is_head)
			bot->body_left = 0;
		bot->in_body = true;
		body_here = bot->head_bytes - (size_t)(end + 4 - bot->head);
	}
	/* More than was announced would be an answer to nothing. */
	if (body_here > bot->body_left)
		return false;
	bot->body_left -= body_here;
	if (bot->body_left == 0)
		bot_complete(run, bot);
	return true;
}

static void bot_receive(struct run *run, struct bot *bot)
{
	while (bot->fd >= 0) {
		char bytes[HEAD_BYTES / 2];
		ssize_t got = recv(bot->fd, bytes, sizeof(bytes), 0);

		if (got < 0 && errno == EAGAIN)
			return;
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0 || bot->output_sent < bot->output_bytes ||
			!bot_take(run, bot, bytes, (size_t)got))
			bot_fail(run, bot);
	}
}

static void bot_event(struct run *run, struct bot *bot, uint32_t events)
{
	if (events & EPOLLOUT)
		bot_send(run, bot);
	if (bot->fd >= 0 && (events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
		bot_receive(run, bot);
}

/* Counts the bot as alive; a connection that cannot be begun is an error at once. */
static void bot_begin(struct run *run, struct bot *bot)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)run->options.ports[bot->port_index]),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLOUT | EPOLLET,
		.data.ptr = bot,
	};

	run->alive++;
	bot->requests_left = run->options.requests;
	bot_compose(run, bot);
	bot->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (bot->fd < 0 || epoll_ctl(run->epoll_fd, EPOLL_CTL_ADD, bot->fd, &event) != 0 ||
		(connect(bot->fd, (struct sockaddr *)&address, sizeof(address)) != 0 &&
			errno != EINPROGRESS))
		bot_fail(run, bot);
}

/* --- waves -------------------------------------------------------------------------------- */

static bool time_is_up(const struct run *run)
{
	return now_ms() >= run->end_ms;
}

/* Returns true when every connection of the wave ended before the time was up. */
static bool wave_run(struct run *run, unsigned wave)
{
	struct epoll_event events[EVENTS_PER_WAKE];

	for (unsigned i = 0; i < run->bot_count; i++) {
		struct bot *bot = &run->bots[i];
		uint64_t number = (uint64_t)wave * MAX_CONNECTIONS + i / run->options.port_count;

		bot->port_index = i % run->options.port_count;
		bot->random = ((uint64_t)run->options.seed << 32) ^ number;
		bot_begin(run, bot);
	}
	while (run->alive > 0 && !time_is_up(run)) {
		int count = epoll_wait(run->epoll_fd, events, EVENTS_PER_WAKE, 100);

		for (int i = 0; i < count; i++)
			bot_event(run, events[i].data.ptr, events[i].events);
	}
	if (run->alive == 0)
		return true;
	for (unsigned i = 0; i < run->bot_count; i++) {
		if (run->bots[i].fd >= 0)
			bot_end(run, &run->bots[i]);
	}
	return false;
}

static void pause_ms(const struct run *run, unsigned length_ms)
{
	uint64_t now = now_ms();
	uint64_t until = now + length_ms < run->end_ms ? now + length_ms : run->end_ms;
	struct timespec left;

	for (; now < until; now = now_ms()) {
		left.tv_sec = (time_t)((until - now) / 1000);
		left.tv_nsec = (long)((until - now) % 1000) * 1000000;
		(void)nanosleep(&left, NULL);
	}
}

static unsigned waves_run(struct run *run)
{
	unsigned done = 0;

	while (done < run->options.waves && !time_is_up(run)) {
		if (!wave_run(run, done))
			break;
		if (++done < run->options.waves)
			pause_ms(run, run->options.gap_ms);
	}
	return done;
}

static void print_tallies(const struct run *run, unsigned waves_done)
{
	printf("bots: %u of %u waves in %.1f s", waves_done, run->options.waves,
		(double)(now_ms() - run->begin_ms) / 1000);
	for (unsigned i = 0; i < run->options.port_count; i++) {
		const struct tally *tally = &run->tallies[i];

		printf("; port %u: %llu requests sent, %llu responses received, %llu errors",
			run->options.ports[i], (unsigned long long)tally->sent,
			(unsigned long long)tally->received, (unsigned long long)tally->errors);
	}
	putchar('\n');
}

/* --- options ------------------------------------------------------------------------------ */

static const char usage_text[] =
	"usage: bots --port N [--port N] [options]\n"
	"  --port N         a server on 127.0.0.1; given twice, both get the same traffic\n"
	"  --connections N  connections to each port in a wave (default 400)\n"
	"  --waves N        waves (default 18)\n"
	"  --gap-ms N       pause between waves (default 100)\n"
	"  --requests N     requests on each connection (default 6)\n"
	"  --seed N         what the paths are drawn from (default 1)\n"
	"  --max-seconds N  stop after N seconds whatever is left (default 60)\n"
	"  --help\n"
	"Exit code: 0 when no connection failed, 1 when one did, 2 for wrong usage.\n";

/* Returns false and says why when the text is not a number in [least, most]. */
static bool parse_number(
	const char *option, const char *text, unsigned least, unsigned most, unsigned *ret_number)
{
	char *end;
	unsigned long number;

	errno = 0;
	number = strtoul(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || *end || number < least || number > most) {
		fprintf(stderr, "bots: --%s: \"%s\" is not a number from %u to %u\n", option, text,
			least, most);
		return false;
	}
	*ret_number = (unsigned)number;
	return true;
}

static bool add_port(struct options *options, const char *text)
{
	if (options->port_count == MAX_PORTS) {
		fprintf(stderr, "bots: --port: at most %d ports\n", MAX_PORTS);
		return false;
	}
	return parse_number("port", text, 1, 65535, &options->ports[options->port_count++]);
}

/* Returns -1 to go on, or the exit code. */
static int parse_options(int argc, char **argv, struct options *options)
{
	enum { OPT_PORT = 256, OPT_HELP };
	const struct {
		const char *name;
		unsigned least;
		unsigned most;
		unsigned *number;
	} numbers[] = {
		{"connections", 1, MAX_CONNECTIONS, &options->connections},
		{"waves", 1, UINT_MAX, &options->waves},
		{"gap-ms", 0, 60000, &options->gap_ms},
		{"requests", 1, UINT_MAX, &options->requests},
		{"seed", 0, UINT_MAX, &options->seed},
		{"max-seconds", 1, 86400, &options->max_seconds},
	};
	const struct option long_options[] = {
		{"connections", required_argument, NULL, 0},
		{"waves", required_argument, NULL, 1},
		{"gap-ms", required_argument, NULL, 2},
		{"requests", required_argument, NULL, 3},
		{"seed", required_argument, NULL, 4},
		{"max-seconds", required_argument, NULL, 5},
		{"port", required_argument, NULL, OPT_PORT},
		{"help", no_argument, NULL, OPT_HELP},
		{NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (option == OPT_PORT) {
			if (!add_port(options, optarg))
				return 2;
		} else if (option == OPT_HELP) {
			fputs(usage_text, stdout);
			return 0;
		} else if (option >= 0 && option < (int)(sizeof(numbers) / sizeof(numbers[0]))) {
			if (!parse_number(numbers[option].name, optarg, numbers[option].least,
				    numbers[option].most, numbers[option].number))
				return 2;
		} else {
			fputs(usage_text, stderr);
			return 2;
		}
	}
	if (optind < argc || options->port_count == 0) {
		fputs(usage_text, stderr);
		return 2;
	}
	return -1;
}

static void raise_open_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int fail(const char *what, int err)
{
	fprintf(stderr, "bots: %s: %s\n", what, strerror(err));
	return 1;
}

int main(int argc, char **argv)
{
	struct run run = {
		.options = {.connections = 400,
			.waves = 18,
			.gap_ms = 100,
			.requests = 6,
			.seed = 1,
			.max_seconds = 60},
	};
	uint64_t errors = 0;
	int code = parse_options(argc, argv, &run.options);

	if (code >= 0)
		return code;
	raise_open_files();
	run.bot_count = run.options.connections * run.options.port_count;
	run.bots = calloc(run.bot_count, sizeof(*run.bots));
	if (!run.bots)
		return fail("connections", ENOMEM);
	run.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (run.epoll_fd < 0) {
		free(run.bots);
		return fail("epoll", errno);
	}
	run.begin_ms = now_ms();
	run.end_ms = run.begin_ms + (uint64_t)run.options.max_seconds * 1000;
	print_tallies(&run, waves_run(&run));
	for (unsigned i = 0; i < run.options.port_count; i++)
		errors += run.tallies[i].errors;
	close(run.epoll_fd);
	free(run.bots);
	return errors > 0;
}
