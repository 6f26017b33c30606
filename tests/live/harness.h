/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Running things for the live tests: build/pagestay and the workload programs, found beside the
 * running test binary, so that the tree can be moved as a whole. Every wait has a limit that is
 * only there to end a hanging run; no test asserts a time. A call that does not succeed fails the
 * running test with the reason; live_teardown(), which every test has as its teardown, then kills
 * whatever still runs, so nothing outlives its test.
 */
#ifndef PAGESTAY_TESTS_LIVE_HARNESS_H
#define PAGESTAY_TESTS_LIVE_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#include "report.h"

/* Fails the running test with words. Unlike cmocka's own, the compiler knows that it does not
 * return. */
#define live_fail(...) live_fail_at(__FILE__, __LINE__, __VA_ARGS__)
void live_fail_at(const char *file, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4), noreturn));

/* --- words of a command line --- */

#define WORDS_MAX 256

struct words {
	char *word[WORDS_MAX + 1]; /* ends with NULL */
	size_t count;
};

/* Adds one word, made as by printf(). */
void words_add(struct words *words, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Adds the words of a text, which are separated by single spaces. */
void words_add_split(struct words *words, const char *text);
/* Adds "-p PID". */
void words_add_pid(struct words *words, pid_t pid);
void words_deinit(struct words *words);

/* --- the tests' frame --- */

/* Skips the running test, with the reason on the terminal, when pagestay's doctor says it cannot
 * work here. */
void live_require_support(void);
/* Skips the running test with a reason. */
void live_skip(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* The teardown of every test: ends everything that the test left running. */
int live_teardown(void **state);

/* A test function with the frame's teardown. */
#define live_test(function) cmocka_unit_test_teardown(function, live_teardown)

/*
 * Most groups share one run of pagestay among all their tests, because loading is the slow part.
 * The first test that asks runs it; when it fails, that test fails with the reason and the later
 * ones fail at once.
 */
struct live_session {
	enum { SESSION_NOT_RUN, SESSION_FAILED, SESSION_DONE } state;
	struct report *report;
};

/* Runs `run` once, which must set the session's report, and returns the report. */
struct report *live_session_report(struct live_session *session, struct report *(*run)(void));

/* --- pagestay --- */

struct pagestay;

/* Starts `pagestay watch --json OPTIONS 1` and returns when it watches. */
struct pagestay *pagestay_start(const struct words *options);
/* The same with a text of options and any interval as its last words. */
struct pagestay *pagestay_start_text(const char *arguments);
/* Starts pagestay with exactly these words and waits for nothing; stdout goes to `stdout_fd` unless
 * that is -1. */
struct pagestay *pagestay_spawn(const struct words *arguments, int stdout_fd);
/* Waits for the "watching" line. */
void pagestay_await_watching(struct pagestay *pagestay);
pid_t pagestay_pid(const struct pagestay *pagestay);
/* Complete lines that it has written to stdout so far. */
size_t pagestay_lines(struct pagestay *pagestay);
/* Waits until there are at least this many. */
void pagestay_await_lines(struct pagestay *pagestay, size_t lines);
/* Waits for its end; returns the exit code, or 256 + the signal that ended it. */
int pagestay_wait(struct pagestay *pagestay);
/* What it wrote so far, as a text that the caller frees. */
char *pagestay_stdout(struct pagestay *pagestay);
char *pagestay_stderr(struct pagestay *pagestay);
/* Sends SIGINT, waits for exit code 0, and returns the whole report, which must have lost nothing.
 */
struct report *pagestay_stop(struct pagestay *pagestay);
/* The same, where losing is what the test is about. */
struct report *pagestay_stop_lossy(struct pagestay *pagestay);

/* --- workloads --- */

struct workload;

/*
 * Starts a workload program with a text of arguments and returns when it is ready, or has said that
 * this kernel cannot run it.
 */
struct workload *workload_start(const char *program, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The two halves of it, for those who start many: they get ready side by side. */
struct workload *workload_launch(const char *program, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void workload_await_ready(struct workload *workload);
/* The same, as a process with this id, which must be free. */
struct workload *workload_start_as(pid_t pid, const char *program, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Why this kernel cannot run it, or NULL when it can. */
const char *workload_unsupported(const struct workload *workload);
pid_t workload_pid(const struct workload *workload);
void workload_go(struct workload *workload);
void workload_await_done(struct workload *workload);
/* For workloads that speak in between: waits for this word, or says one. */
void workload_await(struct workload *workload, const char *word);
void workload_tell(struct workload *workload, const char *word);
/* Both. */
void workload_run(struct workload *workload);
/* Lets it leave, and checks that it left well. */
void workload_end(struct workload *workload);
/* Kills it with SIGKILL. */
void workload_kill(struct workload *workload);
/* Waits for a workload that leaves by itself. */
void workload_await_exit(struct workload *workload);
/* A value that it said in its "ready" or "done" line. */
uint64_t workload_number(struct workload *workload, const char *key);
/* The text is the workload's, until the next call for it. */
const char *workload_text(struct workload *workload, const char *key);

/* Memory to share with workloads: returns a descriptor that children inherit. */
int live_shared_memory(size_t bytes);
/* Sleeps a little, in a loop that waits for something; fails the test when `deadline_ns` is over.
 */
void live_pause(uint64_t deadline_ns, const char *what);
/* The end of a wait that begins now. */
uint64_t live_deadline_ns(void);

#endif
