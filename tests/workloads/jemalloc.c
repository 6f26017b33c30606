/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * jemalloc by plan: as many threads as its argument says hold blocks of many sizes, so that several
 * arenas are in use. It has jemalloc by LD_PRELOAD and says "unsupported" without it. Between
 * commands nothing is allocated or freed:
 *
 *   "grow BLOCKS"      each thread allocates and writes as many more       -> "grown"
 *   "shrink PERCENT"   each thread frees that share of what it has         -> "shrunk"
 *   "decay MS"         all arenas get this time for dirty pages            -> "set"
 *   "numbers"          what jemalloc itself counts                         -> "numbers KEY=VALUE
 * ..."
 *
 * active is in bytes, dirty and muzzy are in pages; the decay times are those of the first arena.
 */
#include "workload.h"

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>

#define THREADS_MAX 64
#define BLOCKS_MAX  4096

typedef int mallctl_fn(const char *name, void *ret_old, size_t *old_bytes, void *new, size_t bytes);

enum order { GROW, SHRINK };

struct worker {
	unsigned number;
	unsigned blocks;
	char *block[BLOCKS_MAX];
};

static struct worker workers[THREADS_MAX];
static unsigned threads;
static mallctl_fn *mallctl;

static pthread_barrier_t ordered, obeyed;
static enum order order;
static unsigned amount;

static size_t block_bytes(unsigned worker, unsigned block)
{
	static const size_t bytes[] = {48, 700, 3000, 14000, 20000, 70000, 300000};

	return bytes[(worker + block) % (sizeof(bytes) / sizeof(bytes[0]))] + 13 * (block % 17);
}

static void grow(struct worker *worker)
{
	for (unsigned i = 0; i < amount && worker->blocks < BLOCKS_MAX; i++) {
		const size_t bytes = block_bytes(worker->number, worker->blocks);
		char *block = malloc(bytes);

		if (!block)
			die("malloc");
		/* All that it has, or pages that count would not be resident. */
		memset(block, 1, malloc_usable_size(block));
		worker->block[worker->blocks++] = block;
	}
}

/* Spread over all that it has. */
static void shrink(struct worker *worker)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < worker->blocks; i++)
		if (i * 37 % 100 < amount)
			free(worker->block[i]);
		else
			worker->block[kept++] = worker->block[i];
	worker->blocks = kept;
}

static void *work(void *context)
{
	for (;;) {
		(void)pthread_barrier_wait(&ordered);
		if (order == GROW)
			grow(context);
		else
			shrink(context);
		(void)pthread_barrier_wait(&obeyed);
	}
	return NULL;
}

static void give_order(enum order new_order, unsigned new_amount)
{
	order = new_order;
	amount = new_amount;
	(void)pthread_barrier_wait(&ordered);
	(void)pthread_barrier_wait(&obeyed);
}

static size_t value_of(const char *name, size_t bytes)
{
	size_t value = 0, got = bytes;

	if (mallctl(name, &value, &got, NULL, 0) || got != bytes)
		die("mallctl %s", name);
	return value;
}

static size_t sum_of(const char *name)
{
	const size_t arenas = value_of("arenas.narenas", sizeof(unsigned));
	char full[64];
	size_t sum = 0;

	for (size_t i = 0; i < arenas; i++) {
		size_t value = 0, got = sizeof(value);

		(void)snprintf(full, sizeof(full), "stats.arenas.%zu.%s", i, name);
		/* Not every arena has been made. */
		if (mallctl(full, &value, &got, NULL, 0) == 0)
			sum += value;
	}
	return sum;
}

static void set_decay(ssize_t dirty_decay_ms)
{
	const size_t arenas = value_of("arenas.narenas", sizeof(unsigned));
	char name[64];

	for (size_t i = 0; i < arenas; i++) {
		(void)snprintf(name, sizeof(name), "arena.%zu.dirty_decay_ms", i);
		/* Not every arena has been made. */
		(void)mallctl(name, NULL, NULL, &dirty_decay_ms, sizeof(dirty_decay_ms));
	}
}

static void tell_numbers(void)
{
	uint64_t epoch = 1;

	if (mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch)))
		die("mallctl epoch");
	say("numbers active=%zu dirty=%zu muzzy=%zu dirty_decay=%zd muzzy_decay=%zd background=%zu",
		value_of("stats.active", sizeof(size_t)), sum_of("pdirty"), sum_of("pmuzzy"),
		(ssize_t)value_of("arena.0.dirty_decay_ms", sizeof(size_t)),
		(ssize_t)value_of("arena.0.muzzy_decay_ms", sizeof(size_t)),
		value_of("background_thread", sizeof(bool)));
}

static void start_threads(void)
{
	(void)pthread_barrier_init(&ordered, NULL, threads + 1);
	(void)pthread_barrier_init(&obeyed, NULL, threads + 1);
	for (unsigned i = 0; i < threads; i++) {
		pthread_t thread;

		workers[i].number = i;
		errno = pthread_create(&thread, NULL, work, &workers[i]);
		if (errno)
			die("pthread_create");
	}
}

int main(int argc, char **argv)
{
	char line[64];
	unsigned number;
	int decay_ms;

	mallctl = (mallctl_fn *)dlsym(RTLD_DEFAULT, "mallctl");
	if (!mallctl) {
		say("unsupported there is no mallctl: jemalloc was not preloaded");
		return 0;
	}
	threads = argc > 1 ? strtoul(argv[1], NULL, 10) : 4;
	if (threads == 0 || threads > THREADS_MAX)
		return 64;
	start_threads();
	say("ready");
	while (read_command(line, sizeof(line)) && strcmp(line, "end") != 0) {
		if (sscanf(line, "grow %u", &number) == 1) {
			give_order(GROW, number);
			say("grown");
		} else if (sscanf(line, "shrink %u", &number) == 1) {
			give_order(SHRINK, number);
			say("shrunk");
		} else if (sscanf(line, "decay %d", &decay_ms) == 1) {
			set_decay(decay_ms);
			say("set");
		} else if (strcmp(line, "numbers") == 0) {
			tell_numbers();
		} else {
			return 64;
		}
	}
	_exit(0);
}
