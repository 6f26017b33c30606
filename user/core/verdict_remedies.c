/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Advice: owns the remedies, what each would give back of its cause, and what it costs. The costs
 * are those measured on this project's own servers. verdict.c calls it; keeps nothing.
 */
#include "verdict_facts.h"

#include <ctype.h>
#include <string.h>

#include "pagestay/base/line.h"
#include "pagestay/base/text.h"

#define WORTH_BYTES MIB /* less is not worth a change */

#define LIVE_ROUTES   3
#define ROUTE_COLUMNS 40

#define DECAY_SETTINGS  "dirty_decay_ms:1000,muzzy_decay_ms:0"
#define THREAD_SETTINGS "background_thread:true," DECAY_SETTINGS
#define PRELOAD_SETTING "LD_PRELOAD=libjemalloc.so.2 MALLOC_CONF=" THREAD_SETTINGS
#define RUST_SETTING                                                                               \
	"tikv-jemallocator = { version = \"0.6\", features = [\"background_threads\"] }  "         \
	"#[global_allocator] static ALLOCATOR: tikv_jemallocator::Jemalloc = "                     \
	"tikv_jemallocator::Jemalloc;"
#define THRESHOLD_SETTING "MALLOC_TRIM_THRESHOLD_=131072 MALLOC_MMAP_THRESHOLD_=131072"

#define JEMALLOC_CAVEAT                                                                            \
	"jemalloc can peak higher than glibc and took 1.5 to 4.5 times the minor faults; a "       \
	"preload does not reach static or setuid programs"
#define PURGE_CAVEAT                                                                               \
	"returned pages are faulted in anew when they are used again (1.5 to 4.5 times the minor " \
	"faults)"

#define TEXT(remedy, ...)    line_add((remedy)->text, sizeof((remedy)->text), __VA_ARGS__)
#define SETTING(remedy, ...) line_add((remedy)->setting, sizeof((remedy)->setting), __VA_ARGS__)
#define CAVEAT(remedy, ...)  line_add((remedy)->caveat, sizeof((remedy)->caveat), __VA_ARGS__)

static bool is_jemalloc(const struct facts *facts)
{
	return facts->xray_jemalloc || facts->name == ALLOCATOR_JEMALLOC ||
	       (facts->main && facts->main->name == ALLOCATOR_JEMALLOC);
}

static bool is_static_glibc(const struct facts *facts)
{
	return facts->main && facts->main->name == ALLOCATOR_GLIBC && facts->main->is_static;
}

/* The variable that this jemalloc reads: its symbols' prefix in capitals comes first. */
static void jemalloc_setting(
	const struct facts *facts, const char *value, struct verdict_remedy *remedy)
{
	const char *prefix =
		facts->main && facts->main->name == ALLOCATOR_JEMALLOC ? facts->main->prefix : "";
	size_t length = strnlen(prefix, sizeof(facts->main->prefix));
	bool is_name = true;

	for (size_t i = 0; i < length; i++)
		is_name &= isascii((unsigned char)prefix[i]) &&
			   (isalnum((unsigned char)prefix[i]) || prefix[i] == '_');
	for (size_t i = 0; is_name && i < length; i++)
		SETTING(remedy, "%c", toupper((unsigned char)prefix[i]));
	SETTING(remedy, "MALLOC_CONF=%s", value);
}

/*
 * Each says whether it applies where the verdict has this cause, and then fills in what it would
 * give back and how. The remedy's own cause and an unknown forecast are there already.
 */

/* What another allocator would not keep: a trim returns the interior, and never what is pinned. */
static void forecast_of_change(
	const struct facts *facts, enum verdict_cause cause, struct verdict_remedy *remedy)
{
	uint64_t interior = facts->interior_bytes, pinned = known_or_0(facts->pinned_bytes);
	char on_live[16];

	remedy->forecast_bytes = interior;
	if (pinned < facts->material_bytes && cause != CAUSE_PAGE_PINNED)
		return;
	if (pinned > known_or_0(interior))
		remedy->cause = CAUSE_PAGE_PINNED;
	remedy->forecast_bytes = known_or_0(interior) + pinned;
	TEXT(remedy,
		" Of the forecast, which is the most of it, %s lies on pages with live data, and "
		"only another allocator helps there.",
		bytes_text(pinned, on_live));
}

static bool use_jemalloc(
	const struct facts *facts, enum verdict_cause cause, struct verdict_remedy *remedy)
{
	if (!facts->xray_glibc)
		return false;
	if (is_static_glibc(facts)) {
		TEXT(remedy,
			"Link the program with jemalloc, which gives free pages back by itself.");
		CAVEAT(remedy, "jemalloc can peak higher than glibc and took 1.5 to 4.5 times the "
			       "minor faults; a preload does not reach this static program");
	} else {
		TEXT(remedy, "Run it on jemalloc, which gives free pages back by itself.");
		SETTING(remedy, PRELOAD_SETTING);
		CAVEAT(remedy, JEMALLOC_CAVEAT);
	}
	forecast_of_change(facts, cause, remedy);
	return true;
}

static bool trim_now_and_then(
	const struct facts *facts, enum verdict_cause cause, struct verdict_remedy *remedy)
{
	char all[16];

	if (!facts->xray_glibc)
		return false;
	remedy->forecast_bytes = facts->interior_bytes;
	TEXT(remedy,
		"Call malloc_trim(0) from a timer in the program: now it would return %s in all.",
		bytes_text(facts->heap->trimmable_bytes, all));
	SETTING(remedy, "malloc_trim(0);");
	CAVEAT(remedy, "each arena is locked while it is trimmed, and requests stall; the tops of "
		       "arenas other than the main one stay");
	return true;
}

static bool use_jemalloc_in_rust(
	const struct facts *facts, enum verdict_cause cause, struct verdict_remedy *remedy)
{
	if (!facts->xray_glibc)
		return false;
	TEXT(remedy, "If it is a Rust program: make jemalloc its global allocator.");
	SETTING(remedy, RUST_SETTING);
	CAVEAT(remedy, "run it with _RJEM_MALLOC_CONF=" THREAD_SETTINGS
		       "; C libraries in it stay on glibc; jemalloc can peak higher");
	forecast_of_change(facts, cause, remedy);
	return true;
}

/* glibc's own caches hold the chunks that keep free memory from going back. */
static bool drop_tcaches(
	const struct facts *facts, enum verdict_cause cause, struct verdict_remedy *remedy)
{
	const struct heap *heap = facts->heap;
	double below = 0, below_tcache = 0;

	if (!facts->xray_glibc || known_or_0(facts->held_bytes) < facts->material_bytes)
		return false;
	for (unsigned i = 0; i < heap->pin_count && i < HEAP_PINS; i++) {
		below += (double)heap->pins[i].below_bytes;
		if (heap->pins[i].owner == HEAP_OWNER_TCACHE)
			below_tcache += (double)heap->pins[i].below_bytes;
	}
	if (below <= 0 || below_tcache < below / 2)
		return false;
	TEXT(remedy,
		"Turn off glibc's thread caches: the chunks that keep most free memory from going "
		"back by itself are theirs. Other chunks may keep it next.");
	SETTING(remedy, "GLIBC_TUNABLES=glibc.malloc.tcache_count=0");
	CAVEAT(remedy,
		"measured: 168M to 10M in the one shape where no live chunk was left; malloc and "
		"free get slower");
	return true;
}

static uint64_t hoarded_bytes(const struct facts *facts)
{
	uint64_t arenas = facts->heap->arenas, kept = GLIBC_PAD_BYTES;

	if (facts->tops_bytes == REPORT_UNKNOWN)
		return REPORT_UNKNOWN;
	if (arenas != HEAP_UNKNOWN && arenas && arenas < FACTS_MOST_BYTES / GLIBC_PAD_BYTES)
		kept = arenas * GLIBC_PAD_BYTES;
	return facts->tops_bytes > kept ? facts->tops_bytes - kept : 0;
}

/* One setting is for both causes: the greater one is named. */
static bool fix_thresholds(
	const struct facts *facts, enum verdict_cause cause, struct verdict_remedy *remedy)
{
	uint64_t tops = hoarded_bytes(facts), trim = facts->heap->trim_threshold_bytes;
	bool is_high =
		facts_ratcheted(facts) || (trim != HEAP_UNKNOWN && trim > GLIBC_THRESHOLD_BYTES);
	char to[16], blocks[16];

	if (!facts->xray_glibc)
		return false;
	if (!is_high && known_or_0(tops) < WORTH_BYTES && cause != CAUSE_HOARDED_TOP)
		return false;
	remedy->forecast_bytes = tops;
	if (facts_ratchet_explains(facts) &&
		known_or_0(facts->interior_bytes) >= known_or_0(facts->tops_bytes)) {
		remedy->cause = CAUSE_MMAP_THRESHOLD;
		remedy->forecast_bytes = known_or_0(facts->interior_bytes) + known_or_0(tops);
		TEXT(remedy,
			"Fix glibc's thresholds: since a block of %s was freed, blocks up to that "
			"come from the heap and stay there; the forecast is for all of them.",
			bytes_text(facts->heap->mmap_threshold_bytes, blocks));
	} else if (facts_ratcheted(facts)) {
		TEXT(remedy,
			"Fix glibc's thresholds: freed blocks have raised them, and the tops of "
			"arenas go back only above %s.",
			bytes_text(trim, to));
	} else {
		TEXT(remedy,
			"Set glibc's thresholds lower: the tops of arenas go back only above %s.",
			bytes_text(trim, to));
	}
	SETTING(remedy, THRESHOLD_SETTING);
	CAVEAT(remedy, "each block above 128K then costs an mmap, a munmap and its page faults");
	return true;
}

/* What fewer arenas would give back depends on whether their peaks came at the same time. */
static bool limit_arenas(
	const struct facts *facts, enum verdict_cause cause, struct verdict_remedy *remedy)
{
	uint64_t arenas = facts->heap->arenas;
	char live[16];

	if (!facts->xray_glibc || !facts_many_arenas(facts) ||
		known_or_0(facts->held_bytes) < facts->material_bytes)
		return false;
	if (cause == CAUSE_MANY_ARENAS)
		remedy->forecast_bytes =
			known_or_0(facts->tops_bytes) / arenas * (arenas - FEW_ARENAS);
	TEXT(remedy,
		"Let threads share arenas: free memory of %llu is of use to one of them each. It "
		"helps if their peaks come in turn%s; live memory was %s at most.",
		(unsigned long long)arenas,
		cause == CAUSE_MANY_ARENAS ? ", and the forecast is the most of it" : "",
		bytes_text(facts->live.most_bytes, live));
	SETTING(remedy, "MALLOC_ARENA_MAX=2");
	CAVEAT(remedy,
		"measured: 857M to 75M where one busy thread at a time did the work, 181M to "
		"174M where all did; threads then wait for each other's locks");
	return true;
}

static bool turn_on_thread(
	const struct facts *facts, enum verdict_cause cause, struct verdict_remedy *remedy)
{
	if (!is_jemalloc(facts) || !facts_no_purging_thread(facts) || facts_decay_is_long(facts))
		return false;
	remedy->forecast_bytes = facts->xray_jemalloc ? facts->dirty_bytes : REPORT_UNKNOWN;
	TEXT(remedy,
		"Turn on jemalloc's background thread: threads that are idle do not purge what "
		"they have freed.");
	jemalloc_setting(facts, THREAD_SETTINGS, remedy);
	CAVEAT(remedy, PURGE_CAVEAT);
	return true;
}

static bool shorten_decay(
	const struct facts *facts, enum verdict_cause cause, struct verdict_remedy *remedy)
{
	bool no_thread = facts_no_purging_thread(facts), is_long = facts_decay_is_long(facts);

	if (!is_jemalloc(facts) ||
		(!is_long && (no_thread || known_or_0(facts->dirty_bytes) < facts->material_bytes)))
		return false;
	remedy->forecast_bytes = facts->dirty_bytes;
	TEXT(remedy, "Let jemalloc's decay run, and be shorter than the pauses between bursts.");
	jemalloc_setting(facts, no_thread ? THREAD_SETTINGS : DECAY_SETTINGS, remedy);
	CAVEAT(remedy, PURGE_CAVEAT);
	return true;
}

static bool unpin_fragments(
	const struct facts *facts, enum verdict_cause cause, struct verdict_remedy *remedy)
{
	if (!is_jemalloc(facts) ||
		(facts->fragment_bytes == REPORT_UNKNOWN && cause != CAUSE_ACTIVE_FRAGMENTATION))
		return false;
	remedy->forecast_bytes = facts->fragment_bytes;
	TEXT(remedy,
		"Give long-lived objects an arena or a slab of their own, or use fewer arenas: "
		"decay cannot return pages that hold one of them each.");
	jemalloc_setting(facts, "narenas:2", remedy);
	CAVEAT(remedy, "threads then wait for each other's locks%s",
		facts->fragment_bytes == REPORT_UNKNOWN ? "" : "; the forecast is the most of it");
	return true;
}

static bool use_small_pages(
	const struct facts *facts, enum verdict_cause cause, struct verdict_remedy *remedy)
{
	if (!facts_mostly_huge(facts) || facts->heap->huge_mode == HEAP_HUGE_NEVER)
		return false;
	/* On glibc what was refilled is among the whole free pages. */
	remedy->forecast_bytes = cause == CAUSE_HUGE_PAGES && facts->xray_glibc
					 ? facts->interior_bytes
					 : facts->excess_bytes;
	if (is_jemalloc(facts)) {
		TEXT(remedy,
			"Keep huge pages out of jemalloc's memory: the kernel refills what was "
			"returned when it makes a huge page of the rest.");
		jemalloc_setting(facts, "thp:never", remedy);
	} else {
		TEXT(remedy,
			"Let the process do without huge pages (prctl PR_SET_THP_DISABLE), or the "
			"machine give them on request alone: they refill what was returned.");
		if (facts->heap->huge_mode != HEAP_HUGE_MADVISE)
			SETTING(remedy,
				"echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
	}
	CAVEAT(remedy, "more TLB misses and page faults; a change of the machine's mode is for all "
		       "processes, and what is huge now stays so");
	return true;
}

static bool free_at_once(
	const struct facts *facts, enum verdict_cause cause, struct verdict_remedy *remedy)
{
	remedy->forecast_bytes = facts->lazyfree_bytes;
	if (known_or_0(facts->lazyfree_bytes) < WORTH_BYTES)
		return false;
	TEXT(remedy,
		"Nothing has to be done: the kernel takes lazily freed pages when it needs them. "
		"To have RSS tell the truth, free them at once.");
	if (is_jemalloc(facts))
		jemalloc_setting(facts, "muzzy_decay_ms:0", remedy);
	else if (facts->name == ALLOCATOR_GO)
		SETTING(remedy, "GODEBUG=madvdontneed=1");
	CAVEAT(remedy, PURGE_CAVEAT);
	return true;
}

/* Names the routes that keep most. */
static void name_routes(const struct report_process *process, struct verdict_remedy *remedy)
{
	unsigned named = 0;

	for (size_t i = 0; process->routes && i < process->route_count && named < LIVE_ROUTES;
		i++) {
		const struct report_route *route = &process->routes[i];
		char text[ROUTE_COLUMNS + 1], kept[16];
		uint64_t bytes;

		if (route->retention.kept.value == REPORT_UNKNOWN || !route->text ||
			__builtin_mul_overflow(
				route->retention.kept.value, process->page_bytes, &bytes) ||
			bytes < WORTH_BYTES)
			continue;
		text_for_terminal(
			route->text, strlen(route->text), ROUTE_COLUMNS, text, sizeof(text));
		TEXT(remedy, "%s %s (%s)", named++ ? "," : " Most is kept by", text,
			bytes_text(bytes, kept));
	}
	if (named)
		TEXT(remedy, ".");
}

static bool hunt_live_memory(
	const struct facts *facts, enum verdict_cause cause, struct verdict_remedy *remedy)
{
	char grown[16];

	if (cause != CAUSE_LIVE_MEMORY)
		return false;
	if (trend_growth(&facts->live) >= 1) {
		remedy->forecast_bytes = (uint64_t)facts->live.growth_bytes;
		TEXT(remedy,
			"Hunt the leak, or bound the cache: it grew by %s over half the watch.",
			bytes_text(remedy->forecast_bytes, grown));
	} else if (facts->live_bytes == REPORT_UNKNOWN || trend_creeps(&facts->live)) {
		TEXT(remedy,
			"If it goes on and is live memory: hunt the leak, or bound the cache.");
	} else {
		TEXT(remedy, "It is live memory: a cache or data; bound it if it is too much.");
	}
	name_routes(facts->process, remedy);
	CAVEAT(remedy, "no allocator and no setting gives live memory back");
	return true;
}

static const struct {
	enum allocator_name name;
	const char *text, *setting;
} runtimes[] = {
	{ALLOCATOR_GO, "Give Go's collector a limit for its heap.", "GOMEMLIMIT=512MiB"},
	{ALLOCATOR_JVM, "Bound the Java heap, and let G1 return what it does not use.",
		"-Xmx512m -XX:+UseG1GC -XX:G1PeriodicGCInterval=30000"},
	{ALLOCATOR_V8, "Bound V8's old space, so that it collects earlier.",
		"--max-old-space-size=512"},
	{ALLOCATOR_CPYTHON,
		"Have Python allocate by malloc, whose free memory an x-ray can see and a trim "
		"return.",
		"PYTHONMALLOC=malloc"},
};

static bool bound_runtime(
	const struct facts *facts, enum verdict_cause cause, struct verdict_remedy *remedy)
{
	if (cause != CAUSE_RUNTIME_HEAP)
		return false;
	for (size_t i = 0; i < sizeof(runtimes) / sizeof(runtimes[0]); i++) {
		if (!facts_has(facts, runtimes[i].name))
			continue;
		TEXT(remedy, "%s", runtimes[i].text);
		SETTING(remedy, "%s", runtimes[i].setting);
		CAVEAT(remedy, "what of its heap is free was not seen; the number is an example");
		return true;
	}
	return false;
}

/* Of allocators that no x-ray reads. The second name is that of mimalloc before 2.1. */
static bool release_sooner(
	const struct facts *facts, enum verdict_cause cause, struct verdict_remedy *remedy)
{
	if (facts->name == ALLOCATOR_TCMALLOC) {
		TEXT(remedy, "If it is free memory: let tcmalloc release it faster.");
		SETTING(remedy, "TCMALLOC_RELEASE_RATE=10");
		CAVEAT(remedy,
			"it releases when something is freed: measured on a server gone idle, "
			"84M stayed 84M");
		return true;
	}
	if (facts->name == ALLOCATOR_MIMALLOC) {
		TEXT(remedy, "If it is free memory: let mimalloc purge it at once.");
		SETTING(remedy, "MIMALLOC_PURGE_DELAY=0 MIMALLOC_RESET_DELAY=0");
		CAVEAT(remedy,
			"measured: 333M to 72M; pages that are used again are faulted in anew");
		return true;
	}
	return false;
}

static const struct {
	enum verdict_cause cause;
	bool (*applies)(
		const struct facts *facts, enum verdict_cause cause, struct verdict_remedy *remedy);
} advice[] = {
	{CAUSE_TRIMMABLE_INTERIOR, use_jemalloc},
	{CAUSE_TRIMMABLE_INTERIOR, trim_now_and_then},
	{CAUSE_TRIMMABLE_INTERIOR, use_jemalloc_in_rust},
	{CAUSE_TRIMMABLE_INTERIOR, drop_tcaches},
	{CAUSE_HOARDED_TOP, fix_thresholds},
	{CAUSE_MANY_ARENAS, limit_arenas},
	{CAUSE_NO_BACKGROUND_THREAD, turn_on_thread},
	{CAUSE_DECAY_SETTINGS, shorten_decay},
	{CAUSE_ACTIVE_FRAGMENTATION, unpin_fragments},
	{CAUSE_HUGE_PAGES, use_small_pages},
	{CAUSE_LAZY_FREE, free_at_once},
	{CAUSE_LIVE_MEMORY, hunt_live_memory},
	{CAUSE_RUNTIME_HEAP, bound_runtime},
	{CAUSE_DECAY_SETTINGS, release_sooner},
};

/* What is little beside the rest is not worth a word, but for the verdict's own cause. */
static bool is_worth(
	const struct facts *facts, enum verdict_cause cause, const struct verdict_remedy *remedy)
{
	return remedy->cause == cause || remedy->forecast_bytes == REPORT_UNKNOWN ||
	       remedy->forecast_bytes >= facts->material_bytes;
}

static bool comes_before(enum verdict_cause cause, const struct verdict_remedy *remedy,
	const struct verdict_remedy *other)
{
	if (remedy->forecast_bytes == other->forecast_bytes)
		return remedy->cause == cause && other->cause != cause;
	if (remedy->forecast_bytes == REPORT_UNKNOWN || other->forecast_bytes == REPORT_UNKNOWN)
		return other->forecast_bytes == REPORT_UNKNOWN;
	return remedy->forecast_bytes > other->forecast_bytes;
}

static void insert(struct verdict *verdict, const struct verdict_remedy *remedy)
{
	unsigned at = verdict->remedy_count;

	while (at && comes_before(verdict->cause, remedy, &verdict->remedies[at - 1]))
		at--;
	if (at == VERDICT_REMEDIES)
		return;
	if (verdict->remedy_count < VERDICT_REMEDIES)
		verdict->remedy_count++;
	memmove(&verdict->remedies[at + 1], &verdict->remedies[at],
		(verdict->remedy_count - 1 - at) * sizeof(*remedy));
	verdict->remedies[at] = *remedy;
}

void remedies_of(const struct facts *facts, struct verdict *verdict)
{
	/* What does well needs nothing but what its own cause says. */
	bool is_well = verdict->code == VERDICT_STEADY || verdict->code == VERDICT_RETURNING;

	for (size_t i = 0; i < sizeof(advice) / sizeof(advice[0]); i++) {
		struct verdict_remedy remedy = {
			.cause = advice[i].cause,
			.forecast_bytes = REPORT_UNKNOWN,
		};

		if (advice[i].applies(facts, verdict->cause, &remedy) &&
			(!is_well || remedy.cause == verdict->cause) &&
			is_worth(facts, verdict->cause, &remedy))
			insert(verdict, &remedy);
	}
}
