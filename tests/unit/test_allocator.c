/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Allocators of children that wait, before and after their libraries are there; how often files are
 * read; and files that are damaged, forged or huge. Real servers are in tests/allocators.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pagestay/edge/allocator.h"
#include "../../user/edge/allocator_file.h"
#include "seeded.h"

#define PROGRAM   "/bin/cat" /* waits for its input, and is not built here */
#define CHILDREN  10
#define ROUNDS    200
#define MUTATIONS 3000

struct fixture {
	struct procfs procfs;
	struct allocator_cache *cache;
	char directory[32];
};

struct child {
	pid_t pid;
	int input; /* closing it ends the child */
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	assert_non_null(fixture);
	assert_int_equal(procfs_open("/proc", &fixture->procfs), 0);
	(void)strcpy(fixture->directory, "/tmp/test_allocator.XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	assert_int_equal(allocator_cache_new(&fixture->cache), 0);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	allocator_cache_free(fixture->cache);
	procfs_close(&fixture->procfs);
	(void)rmdir(fixture->directory);
	free(fixture);
	return 0;
}

static struct ps_proc_key key_of(const struct procfs *procfs, pid_t pid)
{
	unsigned long long ticks = 0;
	char path[64], line[1024] = {};
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof(line), file));
	assert_int_equal(fclose(file), 0);
	assert_int_equal(sscanf(strrchr(line, ')') + 2,
				 "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
				 "%*d %*d %*d %llu",
				 &ticks),
		1);
	return (struct ps_proc_key){
		.tgid = pid, .start_ns = ticks * (1000000000 / procfs->clock_ticks)};
}

static struct target *open_target(const struct procfs *procfs, pid_t pid)
{
	const struct ps_proc_key key = key_of(procfs, pid);
	struct target *target = NULL;
	struct diag diag = {};

	assert_int_equal(target_open(procfs, &key, &target, &diag), 0);
	return target;
}

/* Whether the answer is settled. */
static bool detect(const struct fixture *fixture, pid_t pid, struct allocators *ret_allocators)
{
	struct target *target = open_target(&fixture->procfs, pid);
	bool settled;

	assert_int_equal(allocators_detect(fixture->cache, target, ret_allocators, &settled), 0);
	target_close(target);
	return settled;
}

static uint64_t minor_faults(pid_t pid)
{
	unsigned long long faults = 0;
	char path[64], line[1024] = {};
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof(line), file));
	assert_int_equal(fclose(file), 0);
	assert_int_equal(
		sscanf(strrchr(line, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %llu", &faults), 1);
	return faults;
}

/* A child that runs `path`; traced, it has only been loaded. */
static struct child start(const char *path, bool traced, char *const environment[])
{
	char *const arguments[] = {(char *)path, NULL};
	struct child child;
	int input[2], output[2];

	assert_int_equal(pipe2(input, O_CLOEXEC), 0);
	assert_int_equal(pipe2(output, O_CLOEXEC), 0);
	child.pid = fork();
	assert_true(child.pid >= 0);
	if (child.pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)dup2(input[0], STDIN_FILENO);
		(void)dup2(output[1], STDOUT_FILENO);
		if (traced)
			(void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		(void)execve(path, arguments, environment);
		_exit(127);
	}
	(void)close(input[0]);
	(void)close(output[1]);
	child.input = input[1];
	if (!traced) {
		char byte;

		/* What it reads it writes: then it runs. */
		assert_int_equal(write(child.input, "", 1), 1);
		assert_int_equal(read(output[0], &byte, 1), 1);
	}
	(void)close(output[0]);
	return child;
}

static void end(struct child *child)
{
	(void)close(child->input);
	(void)kill(child->pid, SIGKILL);
	assert_int_equal(waitpid(child->pid, NULL, 0), child->pid);
}

static void copy_program(const char *path, const char *to)
{
	char command[256];

	(void)snprintf(command, sizeof(command), "cp %s %s", path, to);
	assert_int_equal(system(command), 0);
}

/*
 * Processes.
 */

static void the_first_is_the_program_s_malloc(void **state)
{
	char *environment[] = {"HOME=/", "MALLOC_ARENA_MAX=2", "XMALLOC_=1", "GOGC=50",
		"MALLOCATE=1", "GLIBC_TUNABLES=glibc.malloc.arena_test=1", "LD_PRELOADS=x", NULL};
	const struct fixture *fixture = *state;
	struct child child = start(PROGRAM, false, environment);
	struct allocators allocators;
	char version[32] = "";

	assert_true(detect(fixture, child.pid, &allocators));
	end(&child);
	assert_int_equal(allocators.count, 1);
	assert_int_equal(allocators.list[0].name, ALLOCATOR_GLIBC);
	assert_false(allocators.list[0].is_static);
	assert_string_equal(allocators.list[0].object, "libc.so.6");
	(void)confstr(_CS_GNU_LIBC_VERSION, version, sizeof(version));
	assert_string_equal(allocators.list[0].version, version + strlen("glibc "));
	assert_non_null(strstr(allocators.list[0].evidence, "points into libc.so.6"));
	assert_string_equal(allocators.settings,
		"MALLOC_ARENA_MAX=2 GOGC=50 GLIBC_TUNABLES=glibc.malloc.arena_test=1");
}

static void long_settings_are_cut(void **state)
{
	char variable[1000] = "MALLOC_CONF=";
	char *environment[] = {variable, "MALLOC_ARENA_MAX=2", NULL};
	const struct fixture *fixture = *state;
	struct allocators allocators;
	struct child child;

	(void)memset(variable + strlen(variable), 'x', sizeof(variable) - strlen(variable) - 1);
	child = start(PROGRAM, false, environment);
	(void)detect(fixture, child.pid, &allocators);
	end(&child);
	assert_int_equal(strlen(allocators.settings), ALLOCATOR_SETTINGS_BYTES - 1);
	assert_memory_equal(allocators.settings, variable, ALLOCATOR_SETTINGS_BYTES - 1);
}

static void a_process_without_its_libraries_is_not_settled(void **state)
{
	char *environment[] = {NULL};
	const struct fixture *fixture = *state;
	struct child child = start(PROGRAM, true, environment);
	struct allocators allocators;
	int status;

	assert_int_equal(waitpid(child.pid, &status, 0), child.pid);
	assert_true(WIFSTOPPED(status));
	assert_false(detect(fixture, child.pid, &allocators));
	assert_int_equal(allocators.count, 1);
	assert_int_equal(allocators.list[0].name, ALLOCATOR_UNKNOWN);
	assert_non_null(strstr(allocators.list[0].evidence, "cat"));
	assert_int_equal(ptrace(PTRACE_DETACH, child.pid, NULL, NULL), 0);
	for (unsigned tries = 0; tries < 200 && !detect(fixture, child.pid, &allocators); tries++)
		(void)usleep(10000);
	assert_true(detect(fixture, child.pid, &allocators));
	assert_int_equal(allocators.list[0].name, ALLOCATOR_GLIBC);
	end(&child);
}

static void nothing_is_faulted_in(void **state)
{
	char *environment[] = {"MALLOC_ARENA_MAX=2", NULL};
	const struct fixture *fixture = *state;
	struct child child = start(PROGRAM, false, environment);
	struct allocators allocators;
	uint64_t before;

	(void)usleep(100000);
	before = minor_faults(child.pid);
	for (unsigned i = 0; i < 10; i++)
		(void)detect(fixture, child.pid, &allocators);
	assert_int_equal(minor_faults(child.pid), before);
	end(&child);
}

static void a_process_that_is_gone_is_told(void **state)
{
	char *environment[] = {NULL};
	const struct fixture *fixture = *state;
	struct child child = start(PROGRAM, false, environment);
	struct target *target = open_target(&fixture->procfs, child.pid);
	struct allocators allocators = {.count = 77};
	bool settled;

	end(&child);
	assert_int_equal(allocators_detect(fixture->cache, target, &allocators, &settled), -ESRCH);
	assert_int_equal(allocators.count, 77);
	target_close(target);
}

static void symbols_have_the_addresses_of_the_process(void **state)
{
	char *environment[] = {NULL};
	const struct fixture *fixture = *state;
	struct child child = start(PROGRAM, false, environment);
	struct target *target = open_target(&fixture->procfs, child.pid);
	struct allocators allocators;
	const struct target_map *map;
	uint64_t address = 0;
	bool settled;

	assert_int_equal(allocators_detect(fixture->cache, target, &allocators, &settled), 0);
	assert_int_equal(
		allocator_symbol(fixture->cache, target, &allocators.list[0], "malloc", &address),
		0);
	map = target_map_at(target, address);
	assert_non_null(map);
	assert_true(map->executable);
	assert_non_null(strstr(map->path, "/libc.so.6"));
	assert_int_equal(allocator_symbol(fixture->cache, target, &allocators.list[0],
				 "no_such_symbol", &address),
		-ENOENT);
	(void)strcpy(allocators.list[0].object, "no such file");
	assert_int_equal(
		allocator_symbol(fixture->cache, target, &allocators.list[0], "malloc", &address),
		-ENOENT);
	target_close(target);
	end(&child);
}

/*
 * Reading.
 */

static void many_processes_of_few_programs_cost_few_reads(void **state)
{
	char *environment[] = {NULL};
	const struct fixture *fixture = *state;
	struct child children[CHILDREN];
	struct allocators allocators;
	char path[64];

	for (unsigned i = 0; i < CHILDREN; i++) {
		(void)snprintf(path, sizeof(path), "%s/%u", fixture->directory, i);
		copy_program(PROGRAM, path);
		children[i] = start(path, false, environment);
	}
	for (unsigned round = 0; round < ROUNDS; round++)
		for (unsigned i = 0; i < CHILDREN; i++) {
			assert_true(detect(fixture, children[i].pid, &allocators));
			assert_int_equal(allocators.list[0].name, ALLOCATOR_GLIBC);
		}
	/* And libc and ld.so. */
	assert_int_equal(allocator_cache_reads(fixture->cache), CHILDREN + 2);
	for (unsigned i = 0; i < CHILDREN; i++) {
		end(&children[i]);
		(void)snprintf(path, sizeof(path), "%s/%u", fixture->directory, i);
		assert_int_equal(unlink(path), 0);
	}
}

static void a_file_that_changed_is_read_again(void **state)
{
	const struct fixture *fixture = *state;
	const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
	const struct file_facts *facts;
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/changed", fixture->directory);
	copy_program(PROGRAM, path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(allocator_file_facts(fixture->cache, fd, &facts), 0);
	assert_int_equal(allocator_cache_reads(fixture->cache), 1);
	assert_true(facts->is_elf);
	assert_int_equal(ftruncate(fd, 100), 0);
	assert_int_equal(futimens(fd, times), 0);
	assert_int_equal(allocator_file_facts(fixture->cache, fd, &facts), 0);
	assert_int_equal(allocator_cache_reads(fixture->cache), 2);
	assert_false(facts->is_elf);
	(void)close(fd);
	assert_int_equal(unlink(path), 0);
}

static int memory_file(const void *bytes, size_t length)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, length), length);
	return fd;
}

static void the_oldest_files_are_forgotten(void **state)
{
	const struct fixture *fixture = *state;
	const struct file_facts *facts;
	int fds[CACHE_FILES + 1];

	for (unsigned i = 0; i <= CACHE_FILES; i++) {
		fds[i] = memory_file("no ELF file", 11);
		assert_int_equal(allocator_file_facts(fixture->cache, fds[i], &facts), 0);
		/* The first stays young. */
		assert_int_equal(allocator_file_facts(fixture->cache, fds[0], &facts), 0);
	}
	assert_int_equal(allocator_cache_reads(fixture->cache), CACHE_FILES + 1);
	assert_int_equal(allocator_file_facts(fixture->cache, fds[0], &facts), 0);
	assert_int_equal(allocator_cache_reads(fixture->cache), CACHE_FILES + 1);
	assert_int_equal(allocator_file_facts(fixture->cache, fds[1], &facts), 0);
	assert_int_equal(allocator_cache_reads(fixture->cache), CACHE_FILES + 2);
	for (unsigned i = 0; i <= CACHE_FILES; i++)
		(void)close(fds[i]);
}

/*
 * Marks. A file has its bytes in one segment, constants or variables.
 */

#define WINDOW_BYTES (256u << 10)

static int file_with(const char *bytes, size_t length, uint32_t flags)
{
	const struct {
		Elf64_Ehdr header;
		Elf64_Phdr segment;
	} file = {{.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			   EV_CURRENT},
			  .e_type = ET_EXEC,
			  .e_machine = EM_X86_64,
			  .e_phoff = sizeof(file.header),
			  .e_phentsize = sizeof(Elf64_Phdr),
			  .e_phnum = 1},
		{.p_type = PT_LOAD,
			.p_flags = flags,
			.p_offset = sizeof(file),
			.p_vaddr = 0x400000,
			.p_filesz = length}};
	int fd = memory_file(&file, sizeof(file));

	assert_int_equal(write(fd, bytes, length), length);
	return fd;
}

static const struct marked {
	enum allocator_name name; /* ALLOCATOR_UNKNOWN: none is to be found */
	const char *version, *prefix;
	const char *bytes;
	size_t length;
} marked[] = {
#define BYTES(text) text, sizeof(text)
	{ALLOCATOR_JEMALLOC, "5.2.1-0-gea6b3e97", "_rjem_",
		BYTES("x\0_RJEM_MALLOC_CONF\0<jemalloc>: %s\0arenas.dirty_decay_ms\0"
		      "5.2.1-0-gea6b3e973b477b8061e0076bb257dbd7f3faa756")},
	{ALLOCATOR_JEMALLOC, "", "",
		BYTES("x\0MALLOC_CONF\0the variable MALLOC_CONF\0<jemalloc>: \0lg_dirty_mult\0"
		      "0.0.0-0-g000000missing_version_try_git_fetch_tags")},
	{ALLOCATOR_UNKNOWN, "", "", BYTES("<jemalloc>: %s\0MALLOC_CONF\0")},
	{ALLOCATOR_UNKNOWN, "", "", BYTES("dirty_decay_ms\0jemalloc>: \0")},
	{ALLOCATOR_TCMALLOC, "2.9.1", "",
		BYTES("tcmalloc.max_total_thread_cache_bytes\0gperftools 2.9.1\0"
		      "tcmalloc.current_total_thread_cache_bytes")},
	{ALLOCATOR_MIMALLOC, "", "", BYTES("mimalloc: error: \0mimalloc: warning: \0")},
	{ALLOCATOR_GLIBC, "2.31", "",
		BYTES("malloc(): corrupted top size\0corrupted size vs. prev_size\0"
		      "GNU C Library (Debian) stable release version 2.31.\n")},
	{ALLOCATOR_MUSL, "1.1.24", "", BYTES("-0X+0X 0X-0x+0x 0x\0001.1.24\00012.1.24")},
	{ALLOCATOR_MUSL, "", "", BYTES("\x12\0\x14\0\x19\0\x1f\0\x24\0\x2a\0\x32\0\x3f\0\x48\0")},
	{ALLOCATOR_GLIBC, "", "",
		BYTES("malloc(): corrupted top size\0No error information\0"
		      "corrupted size vs. prev_size\0")},
	{ALLOCATOR_V8, "11.3.244.8-node.38", "",
		BYTES("Ineffective mark-compacts near heap limit\0x1.2.3.4-node.1\0"
		      "11.3.244.8-node.38\0")},
	{ALLOCATOR_GO, "", "",
		BYTES("fatal: all goroutines are asleep - deadlock!mcall called on m->g0 stack")},
#undef BYTES
};

static void check_marked(const struct fixture *fixture, const struct marked *expected, int fd)
{
	const struct file_facts *facts;

	allocator_file_begin_look(fixture->cache);
	assert_int_equal(allocator_file_facts(fixture->cache, fd, &facts), 0);
	assert_int_equal(facts->allocator_count, expected->name != ALLOCATOR_UNKNOWN);
	if (facts->allocator_count) {
		assert_int_equal(facts->allocators[0].name, expected->name);
		assert_string_equal(facts->allocators[0].version, expected->version);
		assert_string_equal(facts->allocators[0].prefix, expected->prefix);
	}
	(void)close(fd);
}

static void marks_tell_names_versions_and_prefixes(void **state)
{
	const struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(marked) / sizeof(marked[0]); i++) {
		const struct marked *one = &marked[i];
		const struct marked none = {.name = ALLOCATOR_UNKNOWN};

		check_marked(fixture, one, file_with(one->bytes, one->length, PF_R));
		check_marked(fixture, one, file_with(one->bytes, one->length, PF_R | PF_X));
		check_marked(fixture, &none, file_with(one->bytes, one->length, PF_R | PF_W));
	}
}

/* Files are read in windows: what lies on the border of two is found all the same, and once. */
static void marks_are_found_wherever_they_are(void **state)
{
	const struct fixture *fixture = *state;
	const size_t length = WINDOW_BYTES + 4096;
	char *bytes = malloc(length);

	assert_non_null(bytes);
	for (size_t i = 0; i < sizeof(marked) / sizeof(marked[0]); i++)
		for (size_t before = 0; before < 400; before += 7) {
			const struct marked *one = &marked[i];

			(void)memset(bytes, 'm', length);
			(void)memcpy(bytes + WINDOW_BYTES - before - 1, "", 1);
			(void)memcpy(bytes + WINDOW_BYTES - before, one->bytes, one->length);
			check_marked(fixture, one, file_with(bytes, length, PF_R));
		}
	free(bytes);
}

static void go_s_note_tells_its_version(void **state)
{
	const struct fixture *fixture = *state;
	const struct marked inline_version = {
		.name = ALLOCATOR_GO, .version = "go1.22.3", .prefix = ""};
	const struct marked pointers = {.name = ALLOCATOR_GO, .version = "", .prefix = ""};
	const struct marked none = {.name = ALLOCATOR_UNKNOWN};
	char note[200] = "\xff Go buildinf:";

	note[14] = 8;
	check_marked(fixture, &pointers, file_with(note, sizeof(note), PF_R | PF_W));
	note[15] = 2;
	note[32] = 8;
	(void)memcpy(note + 33, "go1.22.3", 8);
	check_marked(fixture, &inline_version, file_with(note, sizeof(note), PF_R | PF_W));
	/* Cut off, or longer than any version is. */
	check_marked(fixture, &pointers, file_with(note, 36, PF_R | PF_W));
	note[32] = (char)200;
	check_marked(fixture, &pointers, file_with(note, sizeof(note), PF_R | PF_W));
	check_marked(fixture, &none, file_with(note, 10, PF_R | PF_W));
}

/*
 * Files that are not what they seem.
 */

static char *read_program(size_t *ret_length)
{
	int fd = open(PROGRAM, O_RDONLY | O_CLOEXEC);
	struct stat status;
	char *bytes;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &status), 0);
	bytes = malloc(status.st_size);
	assert_non_null(bytes);
	assert_int_equal(read(fd, bytes, status.st_size), status.st_size);
	(void)close(fd);
	*ret_length = status.st_size;
	return bytes;
}

/* Numbers that break sums. */
static uint64_t evil(struct seeded *seeded)
{
	static const uint64_t values[] = {0, 1, 7, 0xffff, 0x7fffffff, 0xffffffff, INT64_MAX,
		UINT64_MAX, UINT64_MAX - 63, 1ull << 40};

	return seeded_once_in(seeded, 3)
		       ? seeded_next(seeded)
		       : values[seeded_below(seeded, sizeof(values) / sizeof(values[0]))];
}

static void mutate(struct seeded *seeded, char *bytes, size_t length)
{
	const Elf64_Ehdr *header = (const void *)bytes;
	const size_t tables[] = {0, header->e_phoff, header->e_shoff};
	const size_t sizes[] = {sizeof(*header), header->e_phnum * sizeof(Elf64_Phdr),
		header->e_shnum * sizeof(Elf64_Shdr)};
	const unsigned count = 1 + seeded_below(seeded, 4);

	for (unsigned i = 0; i < count; i++) {
		const unsigned table = seeded_below(seeded, 4);
		const uint64_t value = evil(seeded);
		const size_t width = 1u << seeded_below(seeded, 4);
		const size_t at = table < 3 ? tables[table] + seeded_below(seeded, sizes[table])
					    : seeded_below(seeded, length);

		if (at + width <= length)
			(void)memcpy(bytes + at, &value, width);
	}
}

static void damaged_files_do_no_harm(void **state)
{
	const struct fixture *fixture = *state;
	struct seeded seeded = {.state = 1};
	unsigned sound = 0, unsound = 0;
	size_t length;
	char *program = read_program(&length), *bytes = malloc(length);

	assert_non_null(bytes);
	for (unsigned i = 0; i < MUTATIONS; i++) {
		const struct file_facts *facts;
		size_t cut = length;
		int fd;

		(void)memcpy(bytes, program, length);
		mutate(&seeded, bytes, length);
		if (seeded_once_in(&seeded, 4))
			cut = seeded_below(&seeded, length);
		fd = memory_file(bytes, cut);
		allocator_file_begin_look(fixture->cache);
		assert_int_equal(allocator_file_facts(fixture->cache, fd, &facts), 0);
		assert_true(facts->slot_count <= FILE_SLOTS);
		sound += facts->is_elf;
		unsound += !facts->is_elf;
		(void)close(fd);
	}
	assert_true(sound > MUTATIONS / 4);
	assert_true(unsound > MUTATIONS / 20);
	free(bytes);
	free(program);
}

/* A terabyte of holes, whose headers speak of tables as long. */
static void a_huge_file_is_not_read_whole(void **state)
{
	const struct fixture *fixture = *state;
	const uint64_t huge = 1ull << 40;
	const struct {
		Elf64_Ehdr header;
		Elf64_Phdr segments[2];
		Elf64_Shdr sections[3];
		Elf64_Dyn dynamic[8];
	} file = {.header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
				     ELFDATA2LSB, EV_CURRENT},
			  .e_type = ET_DYN,
			  .e_machine = EM_X86_64,
			  .e_phoff = sizeof(file.header),
			  .e_phentsize = sizeof(Elf64_Phdr),
			  .e_phnum = 2,
			  .e_shoff = sizeof(file.header) + sizeof(file.segments),
			  .e_shentsize = sizeof(Elf64_Shdr),
			  .e_shnum = 3},
		.segments = {{.p_type = PT_LOAD, .p_flags = PF_R, .p_filesz = huge},
			{.p_type = PT_DYNAMIC,
				.p_offset = sizeof(file.header) + sizeof(file.segments) +
					    sizeof(file.sections),
				.p_filesz = sizeof(file.dynamic)}},
		.sections = {{.sh_type = SHT_SYMTAB, .sh_link = 2, .sh_size = huge},
			{.sh_type = SHT_DYNSYM, .sh_link = 2, .sh_size = huge},
			{.sh_type = SHT_STRTAB, .sh_size = 4096}},
		.dynamic = {{.d_tag = DT_RELA}, {.d_tag = DT_RELASZ, .d_un.d_val = huge},
			{.d_tag = DT_JMPREL}, {.d_tag = DT_PLTRELSZ, .d_un.d_val = huge}}};
	const struct file_facts *facts;
	struct rusage before, after;
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/huge", fixture->directory);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, &file, sizeof(file)), sizeof(file));
	if (ftruncate(fd, huge)) {
		print_message("skipped: %s takes no file of a terabyte\n", fixture->directory);
		goto end;
	}
	assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
	assert_int_equal(allocator_file_facts(fixture->cache, fd, &facts), 0);
	assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
	assert_true(facts->is_elf);
	assert_int_equal(facts->allocator_count, 0);
	assert_true(after.ru_maxrss - before.ru_maxrss < 64 * 1024);
end:
	(void)close(fd);
	assert_int_equal(unlink(path), 0);
}

/* Not all at once, and none for good. */
static void many_huge_files_take_several_looks(void **state)
{
	const unsigned count = 5;
	const struct fixture *fixture = *state;
	const struct file_facts *facts;
	unsigned looks = 0, known;
	int fds[5];

	for (unsigned i = 0; i < count; i++) {
		fds[i] = memory_file("no ELF file", 11);
		assert_int_equal(ftruncate(fds[i], 1ll << 30), 0);
	}
	do {
		allocator_file_begin_look(fixture->cache);
		known = 0;
		for (unsigned i = 0; i < count; i++) {
			int error = allocator_file_facts(fixture->cache, fds[i], &facts);

			assert_true(error == 0 || error == -EAGAIN);
			known += error == 0;
		}
		looks++;
		assert_int_equal(known, looks * (LOOK_BYTES / FILE_BYTES_MAX) < count
						? looks * (LOOK_BYTES / FILE_BYTES_MAX)
						: count);
	} while (known < count);
	assert_int_equal(looks, 3);
	for (unsigned i = 0; i < count; i++)
		(void)close(fds[i]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_first_is_the_program_s_malloc),
		TEST(long_settings_are_cut),
		TEST(a_process_without_its_libraries_is_not_settled),
		TEST(nothing_is_faulted_in),
		TEST(a_process_that_is_gone_is_told),
		TEST(symbols_have_the_addresses_of_the_process),
		TEST(many_processes_of_few_programs_cost_few_reads),
		TEST(a_file_that_changed_is_read_again),
		TEST(the_oldest_files_are_forgotten),
		TEST(marks_tell_names_versions_and_prefixes),
		TEST(marks_are_found_wherever_they_are),
		TEST(go_s_note_tells_its_version),
		TEST(damaged_files_do_no_harm),
		TEST(a_huge_file_is_not_read_whole),
		TEST(many_huge_files_take_several_looks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
