/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * heap SHAPE [THREADS [MEGABYTES [SEED]]]: a process whose heap has a known shape, and that knows
 * what its malloc says of it.
 *
 * All threads do the shape's work and then wait, so that the heap is quiet, but those of `churn`,
 * `fast`, `breathe` and `grow`, which go on until the end. What is remembered of chunks lies
 * outside the heap. Commands, each answered with one line of numbers: "truth" what mallinfo says;
 * "trim" the pages of anonymous memory before and after malloc_trim(0); "count" how often the
 * threads allocated; "halfway" leaves a bin half changed; "corrupt" writes over the header of the
 * chunk in the middle and says its address; "leave" gives the whole heap back by exec and says
 * nothing; "end" leaves.
 */
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#include "workload.h"

#define THREADS_MAX 64
#define MIB         ((size_t)1024 * 1024)

/* Not in glibc before 2.33, whose mallinfo counts in ints. */
__attribute__((weak)) struct mallinfo2 mallinfo2(void);

struct worker {
	pthread_t thread;
	uint64_t random;
	void **chunks;
	size_t room, count;
	_Atomic uint64_t allocated;
};

struct shape {
	const char *name;
	void (*work)(struct worker *worker);
	bool goes_on;
};

static const struct shape *shape;
static size_t bytes_each;
static struct worker workers[THREADS_MAX];
static size_t worker_count = 1;
static pthread_barrier_t done;
static atomic_bool ended;

/* xorshift64 */
static uint64_t random_of(struct worker *worker)
{
	worker->random ^= worker->random << 13;
	worker->random ^= worker->random >> 7;
	worker->random ^= worker->random << 17;
	return worker->random;
}

/* Outside the heap. */
static void *map(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		die("mmap of %zu bytes", bytes);
	return memory;
}

static void *take(struct worker *worker, size_t bytes)
{
	void *chunk = malloc(bytes);

	if (!chunk)
		die("malloc of %zu bytes", bytes);
	memset(chunk, 0x5a, bytes);
	worker->allocated++;
	if (worker->count < worker->room)
		worker->chunks[worker->count++] = chunk;
	return chunk;
}

static void drop(struct worker *worker, size_t place)
{
	free(worker->chunks[place]);
	worker->chunks[place] = worker->chunks[--worker->count];
}

/* Mostly small, as of a server; now and then a body. */
static size_t random_size(struct worker *worker)
{
	const uint64_t random = random_of(worker);

	switch (random % 64) {
	case 0:
		return 4096 + (random >> 8) % 60000;
	case 1 ... 8:
		return 512 + (random >> 8) % 3500;
	default:
		return 1 + (random >> 8) % 500;
	}
}

static void fill(struct worker *worker, size_t bytes)
{
	size_t taken = 0;

	while (taken < bytes && worker->count < worker->room) {
		const size_t size = random_size(worker);

		taken += size;
		(void)take(worker, size);
	}
}

static void drop_share(struct worker *worker, unsigned percent)
{
	for (size_t i = 0; i < worker->count;)
		if (random_of(worker) % 100 < percent)
			drop(worker, i);
		else
			i++;
}

/* Full tcaches, and fastbins behind them, in every small size. */
static void fill_caches(struct worker *worker)
{
	void *chunks[40];

	for (size_t size = 8; size <= 1032; size += 16) {
		for (size_t i = 0; i < 40; i++)
			chunks[i] = take(worker, size), worker->count--;
		for (size_t i = 0; i < 40; i++)
			free(chunks[i]);
	}
}

/*
 * Shapes.
 */

static void work_mixed(struct worker *worker)
{
	for (unsigned round = 0; round < 3; round++) {
		fill(worker, bytes_each);
		drop_share(worker, 70);
	}
	(void)take(worker, 3 * MIB + 5);
	(void)take(worker, 200000);
	/* Raises the thresholds. */
	free(take(worker, MIB));
	worker->count--;
	fill_caches(worker);
}

/* Everything is freed but what was allocated last. */
static void work_pinned(struct worker *worker)
{
	void *pin;

	while (worker->count * 1024 < bytes_each)
		(void)take(worker, 1000);
	pin = worker->chunks[worker->count - 1];
	for (size_t i = 0; i + 1 < worker->count; i++)
		free(worker->chunks[i]);
	worker->chunks[0] = pin;
	worker->count = 1;
}

/* Everything is freed from the top downwards, so that what lies on top is in the tcache. */
static void work_cached(struct worker *worker)
{
	while (worker->count * 1024 < bytes_each)
		(void)take(worker, 1000);
	while (worker->count)
		drop(worker, worker->count - 1);
}

/* Everything is freed from below, and lies in the top, if that may be so large. */
static void work_hoarded(struct worker *worker)
{
	while (worker->count * 1024 < bytes_each)
		(void)take(worker, 1000);
	for (size_t i = 0; i < worker->count; i++)
		free(worker->chunks[i]);
	worker->count = 0;
}

/* As much as asked, half of it in use, in chunks of 120 bytes on average. */
static void work_small(struct worker *worker)
{
	for (size_t taken = 0; taken < bytes_each;) {
		const size_t size = 24 + random_of(worker) % 200;

		taken += size + 8;
		(void)take(worker, size);
	}
	drop_share(worker, 50);
}

/* Somebody else calls sbrk, with memory that looks like nothing, and with memory like chunks. */
static void work_sbrk(struct worker *worker)
{
	for (unsigned round = 0; round < 4; round++) {
		const intptr_t bytes = round == 0 ? 4096 : 100000 + round * 16;
		uint64_t *foreign;

		fill(worker, bytes_each / 4);
		foreign = sbrk(bytes);
		if (foreign == (void *)-1)
			die("sbrk");
		memset(foreign, round == 1 ? 0xff : 0, bytes);
		if (round == 2)
			for (intptr_t i = 0; i < bytes / 8; i++)
				foreign[i] = 0x31;
	}
	fill(worker, bytes_each / 4);
	drop_share(worker, 60);
}

/* brk can grow no more: malloc turns to mmap for its main arena. */
static void work_blocked(struct worker *worker)
{
	fill(worker, bytes_each / 2);
	if (mmap(sbrk(0) + 16 * 4096, 4096, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED)
		die("mmap above brk");
	fill(worker, bytes_each / 2);
	drop_share(worker, 60);
}

static void work_churn(struct worker *worker)
{
	fill(worker, bytes_each);
	(void)pthread_barrier_wait(&done);
	while (!ended) {
		for (unsigned i = 0; i < 64 && worker->count; i++)
			drop(worker, random_of(worker) % worker->count);
		for (unsigned i = 0; i < 64; i++)
			(void)take(worker, random_size(worker));
	}
}

/* Long lists in fastbins, whose first thousand chunks come and go. */
static void work_fast(struct worker *worker)
{
	while (worker->count < bytes_each / 96)
		(void)take(worker, 88);
	drop_share(worker, 100);
	(void)pthread_barrier_wait(&done);
	while (!ended) {
		for (unsigned i = 0; i < 1000; i++)
			(void)take(worker, 88);
		while (worker->count)
			drop(worker, random_of(worker) % worker->count);
	}
}

/* Grows, rests, gives everything back to the kernel, and rests. */
static void work_breathe(struct worker *worker)
{
	const struct timespec rest = {.tv_nsec = 20000000};

	(void)pthread_barrier_wait(&done);
	while (!ended) {
		while (worker->count * 1024 < bytes_each)
			(void)take(worker, 1000);
		(void)nanosleep(&rest, NULL);
		for (size_t i = 0; i < worker->count; i++)
			free(worker->chunks[i]);
		worker->count = 0;
		(void)nanosleep(&rest, NULL);
	}
}

static void work_grow(struct worker *worker)
{
	size_t taken = 0;

	(void)pthread_barrier_wait(&done);
	while (!ended && taken < bytes_each && worker->count < worker->room) {
		const size_t size = random_size(worker);

		taken += size;
		(void)take(worker, size);
		if (random_of(worker) % 4 == 0)
			drop(worker, random_of(worker) % worker->count);
	}
	while (!ended)
		pause();
}

static void work_nothing(struct worker *worker)
{
	(void)worker;
}

static const struct shape shapes[] = {
	{"mixed", work_mixed, false},
	{"pinned", work_pinned, false},
	{"cached", work_cached, false},
	{"hoarded", work_hoarded, false},
	{"small", work_small, false},
	{"sbrk", work_sbrk, false},
	{"blocked", work_blocked, false},
	{"churn", work_churn, true},
	{"fast", work_fast, true},
	{"breathe", work_breathe, true},
	{"grow", work_grow, true},
	{"nothing", work_nothing, false},
};

/* A thread's cache is a chunk too, which some versions make at the first free. */
static void run(struct worker *worker)
{
	void *volatile first = malloc(1);

	free(first);
	shape->work(worker);
}

static void *work(void *context)
{
	struct worker *worker = context;

	run(worker);
	if (!shape->goes_on)
		(void)pthread_barrier_wait(&done);
	for (;;)
		pause();
	return NULL;
}

/*
 * Commands.
 */

static uint64_t anonymous_pages(void)
{
	static char text[8192];
	const char *line;
	size_t length = 0;
	ssize_t got;
	int fd = open("/proc/self/smaps_rollup", O_RDONLY);

	if (fd < 0)
		die("smaps_rollup");
	while ((got = read(fd, text + length, sizeof(text) - 1 - length)) > 0)
		length += got;
	(void)close(fd);
	text[length] = '\0';
	line = strstr(text, "\nAnonymous:");
	return line ? strtoull(line + 11, NULL, 10) * 1024 / sysconf(_SC_PAGESIZE) : 0;
}

static void say_truth(void)
{
	if (mallinfo2) {
		const struct mallinfo2 info = mallinfo2();

		say("truth system=%zu used=%zu free=%zu fast=%zu mmapped=%zu", info.arena,
			info.uordblks, info.fordblks, info.fsmblks, info.hblkhd);
	} else {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
		const struct mallinfo info = mallinfo();
#pragma GCC diagnostic pop

		say("truth system=%d used=%d free=%d fast=%d mmapped=%d", info.arena, info.uordblks,
			info.fordblks, info.fsmblks, info.hblkhd);
	}
}

static void say_trim(void)
{
	const uint64_t before = anonymous_pages();
	uint64_t after;

	(void)malloc_trim(0);
	after = anonymous_pages();
	say("trim before=%lu after=%lu", before, after);
}

static void say_count(void)
{
	uint64_t count = 0;

	for (size_t i = 0; i < worker_count; i++)
		count += workers[i].allocated;
	say("count allocated=%lu", count);
}

static void say_corrupt(void)
{
	uint64_t *chunk = workers[0].chunks[workers[0].count / 2];

	chunk[-1] = 0x4141414141414141;
	say("corrupt address=%lu", (uint64_t)(uintptr_t)chunk - 16);
}

/* A bin as a thread leaves it that is interrupted between its two links. Nothing may come after. */
static void say_halfway(void)
{
	void *chunk = malloc(5000);
	void *volatile next = malloc(5000);
	/* What free() makes of it. */
	const volatile uintptr_t links = (uintptr_t)chunk;
	uintptr_t *bin;

	free(chunk);
	bin = ((uintptr_t **)links)[1];
	bin[3] = (uintptr_t)bin;
	say("halfway next=%lu", (uintptr_t)next);
}

static void obey(void)
{
	char command[32];

	while (read_command(command, sizeof(command)) && strcmp(command, "end") != 0) {
		if (strcmp(command, "truth") == 0)
			say_truth();
		else if (strcmp(command, "trim") == 0)
			say_trim();
		else if (strcmp(command, "count") == 0)
			say_count();
		else if (strcmp(command, "corrupt") == 0)
			say_corrupt();
		else if (strcmp(command, "halfway") == 0)
			say_halfway();
		else if (strcmp(command, "leave") == 0)
			(void)execl("/bin/sleep", "sleep", "60", NULL);
	}
	_exit(0);
}

static void start(uint64_t seed)
{
	const size_t room = bytes_each / 16 + 100000;

	if (pthread_barrier_init(&done, NULL, worker_count + (worker_count > 1 || shape->goes_on)))
		die("pthread_barrier_init");
	for (size_t i = 0; i < worker_count; i++) {
		workers[i].random = seed * 0x9e3779b97f4a7c15 + i + 1;
		workers[i].chunks = map(room * sizeof(void *));
		workers[i].room = room;
	}
	if (worker_count == 1 && !shape->goes_on) {
		run(&workers[0]);
		return;
	}
	for (size_t i = 0; i < worker_count; i++)
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			die("pthread_create");
	(void)pthread_barrier_wait(&done);
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 4 ? strtoull(argv[4], NULL, 10) : 1;

	for (size_t i = 0; argc > 1 && i < sizeof(shapes) / sizeof(shapes[0]); i++)
		if (strcmp(argv[1], shapes[i].name) == 0)
			shape = &shapes[i];
	if (argc > 2)
		worker_count = strtoul(argv[2], NULL, 10);
	if (!shape || worker_count < 1 || worker_count > THREADS_MAX) {
		fprintf(stderr, "usage: heap SHAPE [THREADS [MEGABYTES [SEED]]]\n");
		return 64;
	}
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	bytes_each = (argc > 3 ? strtoul(argv[3], NULL, 10) : 16) * MIB;
	start(seed);
	say("ready pid=%d", getpid());
	obey();
}
