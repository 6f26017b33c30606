/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What every workload shares: the line protocol with whoever runs it.
 *
 *   workload                     runner
 *   "ready KEY=VALUE ..."   ->            everything is set up, nothing that counts has happened
 *                           <-   "go"     the runner is watching
 *   "done KEY=VALUE ..."    ->            everything that counts has happened; the values are the
 * truth
 *                           <-   "end"    (or end of file) leave
 *
 * A workload that this kernel cannot run says "unsupported REASON" in place of "ready" and leaves
 * with 0. say() and await() allocate nothing and map nothing, so they are safe between "go" and
 * "done" in programs that count their own system calls.
 */
#ifndef PAGESTAY_TESTS_WORKLOAD_H
#define PAGESTAY_TESTS_WORKLOAD_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The longest line of the protocol; longer ones are a bug in the workload. */
#define WORKLOAD_LINE_BYTES 8192

/* Writes one whole line to stdout; leaves with 0 when the runner has gone. */
__attribute__((format(printf, 1, 2), unused)) static void say(const char *format, ...)
{
	static char line[WORKLOAD_LINE_BYTES];
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(line, sizeof(line) - 1, format, arguments);
	va_end(arguments);
	if (length < 0 || length >= (int)sizeof(line) - 1)
		_exit(70);
	line[length++] = '\n';
	for (int written = 0; written < length;) {
		ssize_t n = write(STDOUT_FILENO, line + written, (size_t)(length - written));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			_exit(0);
		written += (int)n;
	}
}

/* Reads one line from stdin into `line` without the newline; false at the end of file. */
__attribute__((unused)) static bool read_command(char *line, size_t line_bytes)
{
	size_t used = 0;

	for (;;) {
		char byte;
		ssize_t n = read(STDIN_FILENO, &byte, 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		if (byte == '\n')
			break;
		if (used + 1 < line_bytes)
			line[used++] = byte;
	}
	line[used] = '\0';
	return true;
}

/* Waits for exactly this word; leaves when the runner has gone or says anything else. */
__attribute__((unused)) static void await(const char *word)
{
	char line[64];

	if (!read_command(line, sizeof(line)))
		_exit(0);
	if (strcmp(line, word) != 0) {
		if (strcmp(line, "end") == 0)
			_exit(0);
		fprintf(stderr, "expected '%s', got '%s'\n", word, line);
		_exit(64);
	}
}

/* Ends the workload with words when something that must work did not. */
__attribute__((noreturn, format(printf, 1, 2), unused)) static void die(const char *format, ...)
{
	int saved_errno = errno;
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, ": %s\n", strerror(saved_errno));
	_exit(1);
}

#endif
