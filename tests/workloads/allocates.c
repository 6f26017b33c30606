/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Allocates once and waits for its input to end, so that its allocator can be told from outside.
 * How it is built decides which one it is: ALLOCATE and RELEASE name the functions, IDLE allocates
 * only at the end, SHARED makes a library of it, and LOADS a program that loads the library of its
 * first argument. Prints `ready` when there is something to see.
 */
#include <stddef.h>
#include <unistd.h>

#ifdef LOADS
#include <dlfcn.h>
#endif

#ifndef ALLOCATE
#define ALLOCATE malloc
#define RELEASE  free
#endif

#define LIFETIME_S 300 /* should nobody end it */

void *ALLOCATE(size_t bytes);
void RELEASE(void *pointer);
int allocate_and_wait(void);

static int allocate(void)
{
	char *volatile bytes = ALLOCATE(100);

	if (!bytes)
		return 1;
	bytes[0] = 1;
	RELEASE(bytes);
	return 0;
}

int allocate_and_wait(void)
{
	char end;

#ifndef IDLE
	if (allocate())
		return 1;
#endif
	if (write(STDOUT_FILENO, "ready\n", 6) != 6)
		return 1;
	(void)alarm(LIFETIME_S);
	while (read(STDIN_FILENO, &end, 1) > 0)
		;
	return allocate();
}

#ifndef SHARED
int main(int argc, char **argv)
{
#ifdef LOADS
	if (argc > 1 && !dlopen(argv[1], RTLD_NOW | RTLD_LOCAL))
		return 2;
#endif
	(void)argc;
	(void)argv;
	return allocate_and_wait();
}
#endif
