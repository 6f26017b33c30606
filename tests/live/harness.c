/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Starts, watches and ends the programs of the live tests. All children stand in one table, which
 * is this file's only state and lasts as long as the test binary: cmocka leaves a failing test by a
 * jump, and what such a test had started must still be found and ended, by its process id and no
 * other way. Output of pagestay goes to memory files, so that nobody has to read while it runs;
 * workloads speak through pipes.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

/* Long enough for an emulated machine at a seventh of the usual speed; only a hanging program meets
 * it. */
#define WATCHING_LIMIT_S 60
#define WAIT_LIMIT_S     180
#define PAUSE_NS         5000000

/* The most children at one time; a further one fails its test. */
#define CHILDREN_MAX   320
#define LINE_BYTES_MAX 8192

/* The first member of what is allocated for a program, so that freeing the child frees it all. */
struct child {
	pid_t pid; /* 0: entry is free */
	bool is_over;
	int status; /* as from waitpid(), when it is over */
	int input_fd, output_fd, error_fd;
};

struct pagestay {
	struct child child;
};

struct workload {
	struct child child;
	char program[64];
	char ready[LINE_BYTES_MAX];
	char done[LINE_BYTES_MAX];
	char value[LINE_BYTES_MAX];
};

static struct child *children[CHILDREN_MAX];

/* --- words --- */

void words_add(struct words *words, const char *format, ...)
{
	va_list arguments;
	char *word;

	va_start(arguments, format);
	if (words->count == WORDS_MAX || vasprintf(&word, format, arguments) < 0)
		live_fail("too many words");
	va_end(arguments);
	words->word[words->count++] = word;
	words->word[words->count] = NULL;
}

void words_add_split(struct words *words, const char *text)
{
	while (*text) {
		size_t length = strcspn(text, " ");

		words_add(words, "%.*s", (int)length, text);
		text += length;
		text += strspn(text, " ");
	}
}

void words_add_pid(struct words *words, pid_t pid)
{
	words_add(words, "-p");
	words_add(words, "%d", (int)pid);
}

void words_deinit(struct words *words)
{
	for (size_t i = 0; i < words->count; i++)
		free(words->word[i]);
	words->count = 0;
}

/* --- time --- */

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t live_deadline_ns(void)
{
	return now_ns() + (uint64_t)WAIT_LIMIT_S * 1000000000;
}

void live_pause(uint64_t deadline_ns, const char *what)
{
	struct timespec pause = {.tv_nsec = PAUSE_NS};

	if (now_ns() > deadline_ns)
		live_fail("waited too long for %s", what);
	nanosleep(&pause, NULL);
}

/* --- children --- */

/* Path of a program from the directory of this binary; the caller frees it. */
static char *beside_this_binary(const char *relative)
{
	char self[4096];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *path;

	if (length < 0)
		live_fail("/proc/self/exe: %s", strerror(errno));
	self[length] = '\0';
	*strrchr(self, '/') = '\0';
	if (asprintf(&path, "%s/%s", self, relative) < 0)
		live_fail("no memory");
	return path;
}

/* fork(), or a process with a chosen id. */
static pid_t fork_as(pid_t wanted)
{
	struct clone_args arguments = {
		.exit_signal = SIGCHLD,
		.set_tid = (uint64_t)(uintptr_t)&wanted,
		.set_tid_size = 1,
	};

	if (wanted == 0)
		return fork();
	return (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
}

static void remember(struct child *child)
{
	for (size_t i = 0; i < CHILDREN_MAX; i++) {
		if (!children[i]) {
			children[i] = child;
			return;
		}
	}
	live_fail("more than %d children", CHILDREN_MAX);
}

static void forget(struct child *child)
{
	for (size_t i = 0; i < CHILDREN_MAX; i++)
		if (children[i] == child)
			children[i] = NULL;
	if (child->input_fd >= 0)
		close(child->input_fd);
	if (child->output_fd >= 0)
		close(child->output_fd);
	if (child->error_fd >= 0)
		close(child->error_fd);
	free(child);
}

/*
 * Starts a program; `fds` become its stdin, stdout and stderr, where -1 leaves what this program
 * has. The child dies with this process.
 */
static void spawn(struct child *child, pid_t wanted, const char *relative,
	const struct words *arguments, const int fds[3])
{
	char *path = beside_this_binary(relative);
	char *argv[WORDS_MAX + 2] = {path};
	pid_t parent = getpid();

	for (size_t i = 0; i <= arguments->count; i++)
		argv[i + 1] = arguments->word[i];
	if (arguments->count == 0)
		argv[1] = NULL;
	child->pid = fork_as(wanted);
	if (child->pid < 0)
		live_fail("cannot start %s: %s", path, strerror(errno));
	if (child->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGPIPE, SIG_DFL);
		signal(SIGINT, SIG_DFL);
		for (int i = 0; i < 3; i++)
			if (fds[i] >= 0 && dup2(fds[i], i) < 0)
				_exit(126);
		if (getppid() == parent)
			execv(path, argv);
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		_exit(127);
	}
	free(path);
}

static bool has_ended(struct child *child)
{
	if (!child->is_over && waitpid(child->pid, &child->status, WNOHANG) == child->pid)
		child->is_over = true;
	return child->is_over;
}

static void await_end(struct child *child, const char *what)
{
	uint64_t deadline_ns = live_deadline_ns();

	while (!has_ended(child))
		live_pause(deadline_ns, what);
}

int live_teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < CHILDREN_MAX; i++) {
		struct child *child = children[i];

		if (!child)
			continue;
		if (!has_ended(child)) {
			kill(child->pid, SIGKILL);
			waitpid(child->pid, &child->status, 0);
		}
		forget(child);
	}
	return 0;
}

/* --- memory files --- */

int live_shared_memory(size_t bytes)
{
	int fd = memfd_create("live", 0);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0)
		live_fail("memfd: %s", strerror(errno));
	return fd;
}

static int memory_file(void)
{
	int fd = memfd_create("output", MFD_CLOEXEC);

	if (fd < 0)
		live_fail("memfd: %s", strerror(errno));
	return fd;
}

static char *read_memory_file(int fd)
{
	struct stat status;
	size_t bytes, used = 0;
	char *text;

	if (fd < 0 || fstat(fd, &status) != 0)
		live_fail("output: %s", strerror(errno));
	bytes = (size_t)status.st_size;
	text = malloc(bytes + 1);
	if (!text)
		live_fail("no memory");
	while (used < bytes) {
		ssize_t n = pread(fd, text + used, bytes - used, (off_t)used);

		if (n <= 0)
			break;
		used += (size_t)n;
	}
	text[used] = '\0';
	return text;
}

/* --- failing and skipping --- */

void live_fail_at(const char *file, int line, const char *format, ...)
{
	char reason[8192];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(reason, sizeof(reason), format, arguments);
	va_end(arguments);
	print_error("ERROR: %s\n", reason);
	_fail(file, line);
	abort();
}

void live_skip(const char *format, ...)
{
	char reason[1024];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(reason, sizeof(reason), format, arguments);
	va_end(arguments);
	print_message("[ reason   ] %s\n", reason);
	_skip(__FILE__, __LINE__);
	abort();
}

/* Asks pagestay's doctor and returns the exit code; what it says goes to the terminal when that is
 * not 0. */
static int ask_doctor(void)
{
	struct words words = {0};
	struct pagestay *doctor;
	char *text;
	int code;

	words_add(&words, "doctor");
	doctor = pagestay_spawn(&words, -1);
	words_deinit(&words);
	code = pagestay_wait(doctor);
	text = pagestay_stdout(doctor);
	if (code != 0)
		print_message("pagestay doctor ends with %d:\n%s\n", code, text);
	free(text);
	forget(&doctor->child);
	return code;
}

void live_require_support(void)
{
	static int code = -1;

	if (code < 0)
		code = ask_doctor();
	if (code == 3)
		live_skip("pagestay's doctor says that a privilege is missing");
	if (code == 4)
		live_skip("pagestay's doctor says that this kernel lacks what it needs");
}

struct report *live_session_report(struct live_session *session, struct report *(*run)(void))
{
	live_require_support();
	if (session->state == SESSION_FAILED)
		live_fail("the run that this test looks at has failed");
	if (session->state == SESSION_NOT_RUN) {
		session->state = SESSION_FAILED;
		session->report = run();
		session->state = SESSION_DONE;
	}
	return session->report;
}

/* --- pagestay --- */

struct pagestay *pagestay_spawn(const struct words *arguments, int stdout_fd)
{
	struct pagestay *pagestay = calloc(1, sizeof(*pagestay));
	int fds[3];

	if (!pagestay)
		live_fail("no memory");
	pagestay->child.input_fd = -1;
	pagestay->child.output_fd = stdout_fd >= 0 ? -1 : memory_file();
	pagestay->child.error_fd = memory_file();
	fds[0] = -1;
	fds[1] = stdout_fd >= 0 ? stdout_fd : pagestay->child.output_fd;
	fds[2] = pagestay->child.error_fd;
	spawn(&pagestay->child, 0, "../pagestay", arguments, fds);
	remember(&pagestay->child);
	return pagestay;
}

static bool has_line_that_starts_with(const char *text, const char *start)
{
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, start, strlen(start)) == 0 && strchr(line, '\n'))
			return true;
	}
	return false;
}

void pagestay_await_watching(struct pagestay *pagestay)
{
	uint64_t deadline_ns = now_ns() + (uint64_t)WATCHING_LIMIT_S * 1000000000;

	for (;;) {
		bool is_over = has_ended(&pagestay->child);
		char *text = pagestay_stderr(pagestay);
		bool is_watching = has_line_that_starts_with(text, "pagestay: watching");

		if (is_over && !is_watching)
			live_fail("pagestay ended before it watched: %s", text);
		free(text);
		if (is_watching)
			return;
		live_pause(deadline_ns, "pagestay to watch");
	}
}

struct pagestay *pagestay_start(const struct words *options)
{
	struct words words = {0};
	struct pagestay *pagestay;

	live_require_support();
	words_add_split(&words, "watch --json");
	for (size_t i = 0; i < options->count; i++)
		words_add(&words, "%s", options->word[i]);
	words_add(&words, "1");
	pagestay = pagestay_spawn(&words, -1);
	words_deinit(&words);
	pagestay_await_watching(pagestay);
	return pagestay;
}

struct pagestay *pagestay_start_text(const char *arguments)
{
	struct words words = {0};
	struct pagestay *pagestay;

	live_require_support();
	words_add_split(&words, "watch --json");
	words_add_split(&words, arguments);
	pagestay = pagestay_spawn(&words, -1);
	words_deinit(&words);
	pagestay_await_watching(pagestay);
	return pagestay;
}

pid_t pagestay_pid(const struct pagestay *pagestay)
{
	return pagestay->child.pid;
}

char *pagestay_stdout(struct pagestay *pagestay)
{
	return read_memory_file(pagestay->child.output_fd);
}

char *pagestay_stderr(struct pagestay *pagestay)
{
	return read_memory_file(pagestay->child.error_fd);
}

size_t pagestay_lines(struct pagestay *pagestay)
{
	char *text = pagestay_stdout(pagestay);
	size_t lines = 0;

	for (const char *at = text; (at = strchr(at, '\n')); at++)
		lines++;
	free(text);
	return lines;
}

void pagestay_await_lines(struct pagestay *pagestay, size_t lines)
{
	uint64_t deadline_ns = live_deadline_ns();

	while (pagestay_lines(pagestay) < lines) {
		if (has_ended(&pagestay->child))
			live_fail("pagestay ended by itself: %s", pagestay_stderr(pagestay));
		live_pause(deadline_ns, "pagestay's next line");
	}
}

int pagestay_wait(struct pagestay *pagestay)
{
	int status;

	await_end(&pagestay->child, "pagestay to end");
	status = pagestay->child.status;
	return WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
}

struct report *pagestay_stop_lossy(struct pagestay *pagestay)
{
	struct report *report;
	char *text;
	int code;

	if (!has_ended(&pagestay->child))
		kill(pagestay->child.pid, SIGINT);
	code = pagestay_wait(pagestay);
	if (code != 0)
		live_fail("pagestay ended with %d: %s", code, pagestay_stderr(pagestay));
	text = pagestay_stdout(pagestay);
	report = report_read(text);
	free(text);
	forget(&pagestay->child);
	return report;
}

struct report *pagestay_stop(struct pagestay *pagestay)
{
	struct report *report = pagestay_stop_lossy(pagestay);

	report_require_complete(report);
	return report;
}

/* --- workloads --- */

/* Reads one line of what the workload says. */
static void read_line(struct workload *workload, char line[LINE_BYTES_MAX])
{
	uint64_t deadline_ns = live_deadline_ns();
	size_t used = 0;

	for (;;) {
		struct pollfd wait = {.fd = workload->child.output_fd, .events = POLLIN};
		char byte;

		if (poll(&wait, 1, 1000) == 0) {
			if (now_ns() > deadline_ns)
				live_fail("waited too long for workload %s", workload->program);
			continue;
		}
		if (read(workload->child.output_fd, &byte, 1) != 1)
			live_fail("workload %s ended early", workload->program);
		if (byte == '\n')
			break;
		if (used + 1 < LINE_BYTES_MAX)
			line[used++] = byte;
	}
	line[used] = '\0';
}

static bool starts_with_word(const char *line, const char *word)
{
	size_t length = strlen(word);

	return strncmp(line, word, length) == 0 && (line[length] == ' ' || line[length] == '\0');
}

static struct workload *launch(pid_t wanted, const char *program, const char *arguments)
{
	struct workload *workload = calloc(1, sizeof(*workload));
	struct words words = {0};
	int input[2], output[2];
	char relative[128];

	if (!workload || pipe2(input, O_CLOEXEC) != 0 || pipe2(output, O_CLOEXEC) != 0)
		live_fail("workload %s: %s", program, strerror(errno));
	(void)snprintf(workload->program, sizeof(workload->program), "%s", program);
	(void)snprintf(relative, sizeof(relative), "workloads/%s", program);
	words_add_split(&words, arguments);
	workload->child.input_fd = input[1];
	workload->child.output_fd = output[0];
	workload->child.error_fd = -1;
	spawn(&workload->child, wanted, relative, &words, (int[]){input[0], output[1], -1});
	remember(&workload->child);
	close(input[0]);
	close(output[1]);
	words_deinit(&words);
	return workload;
}

void workload_await_ready(struct workload *workload)
{
	read_line(workload, workload->ready);
	if (!starts_with_word(workload->ready, "ready") && !workload_unsupported(workload))
		live_fail("workload %s says '%s'", workload->program, workload->ready);
}

static struct workload *launch_formatted(
	pid_t wanted, const char *program, const char *format, va_list arguments)
{
	struct workload *workload;
	char *text;

	if (vasprintf(&text, format, arguments) < 0)
		live_fail("no memory");
	workload = launch(wanted, program, text);
	free(text);
	return workload;
}

struct workload *workload_launch(const char *program, const char *format, ...)
{
	struct workload *workload;
	va_list arguments;

	va_start(arguments, format);
	workload = launch_formatted(0, program, format, arguments);
	va_end(arguments);
	return workload;
}

struct workload *workload_start(const char *program, const char *format, ...)
{
	struct workload *workload;
	va_list arguments;

	va_start(arguments, format);
	workload = launch_formatted(0, program, format, arguments);
	va_end(arguments);
	workload_await_ready(workload);
	return workload;
}

struct workload *workload_start_as(pid_t pid, const char *program, const char *format, ...)
{
	struct workload *workload;
	va_list arguments;

	va_start(arguments, format);
	workload = launch_formatted(pid, program, format, arguments);
	va_end(arguments);
	workload_await_ready(workload);
	return workload;
}

const char *workload_unsupported(const struct workload *workload)
{
	static const char word[] = "unsupported ";

	return strncmp(workload->ready, word, strlen(word)) == 0 ? workload->ready + strlen(word)
								 : NULL;
}

pid_t workload_pid(const struct workload *workload)
{
	return workload->child.pid;
}

void workload_tell(struct workload *workload, const char *word)
{
	char line[64];
	int length = snprintf(line, sizeof(line), "%s\n", word);

	if (write(workload->child.input_fd, line, (size_t)length) != length)
		live_fail("workload %s does not listen: %s", workload->program, strerror(errno));
}

void workload_go(struct workload *workload)
{
	workload_tell(workload, "go");
}

void workload_await(struct workload *workload, const char *word)
{
	read_line(workload, workload->done);
	if (!starts_with_word(workload->done, word))
		live_fail("workload %s says '%s'", workload->program, workload->done);
}

void workload_await_done(struct workload *workload)
{
	workload_await(workload, "done");
}

void workload_run(struct workload *workload)
{
	workload_go(workload);
	workload_await_done(workload);
}

void workload_await_exit(struct workload *workload)
{
	await_end(&workload->child, workload->program);
	if (!WIFEXITED(workload->child.status) || WEXITSTATUS(workload->child.status) != 0)
		live_fail("workload %s ended badly: status %#x", workload->program,
			workload->child.status);
	forget(&workload->child);
}

void workload_kill(struct workload *workload)
{
	kill(workload->child.pid, SIGKILL);
	await_end(&workload->child, workload->program);
	forget(&workload->child);
}

void workload_end(struct workload *workload)
{
	if (!workload_unsupported(workload))
		workload_tell(workload, "end");
	workload_await_exit(workload);
}

/* The text behind " KEY=" in a line, or NULL. */
static const char *value_in(const char *line, const char *key)
{
	size_t length = strlen(key);

	for (const char *at = line; (at = strchr(at, ' '));) {
		at++;
		if (strncmp(at, key, length) == 0 && at[length] == '=')
			return at + length + 1;
	}
	return NULL;
}

const char *workload_text(struct workload *workload, const char *key)
{
	const char *value = value_in(workload->done, key);

	if (!value)
		value = value_in(workload->ready, key);
	if (!value)
		live_fail("workload %s says no '%s'", workload->program, key);
	(void)snprintf(
		workload->value, sizeof(workload->value), "%.*s", (int)strcspn(value, " "), value);
	return workload->value;
}

uint64_t workload_number(struct workload *workload, const char *key)
{
	return strtoull(workload_text(workload, key), NULL, 10);
}
