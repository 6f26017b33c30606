/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the table of services that are followed, and decides what of a report is worth telling. A
 * service's entry lives from when it first keeps memory until it has been gone for a while; between
 * two reports an entry holds numbers and names only, no row. Called by the sink for dashboards.
 */
#include "pagestay/core/episode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pagestay/base/cleanup.h"
#include "pagestay/base/line.h"
#include "pagestay/base/table.h"
#include "pagestay/core/history.h"
#include "episode_name.h"

#define MIB  (1024ull * 1024)
#define S    1000000000ull
#define HOUR (3600 * S)

/* A state is told when it is the same in so many judged reports. */
#define SETTLED 2

/* X-rays are a day apart at most: behind one so old there comes no other. */
#define XRAY_LAST_S (2 * 86400.0)
#define SAME_S      1e-3 /* ages that differ by less are of one report */

/* Steps of the limit that are told, in percent: a half, three quarters, nine tenths. */
static const unsigned limit_steps[] = {0, 50, 75, 90};

#define LAST_STEP     3
#define ALARMING_STEP 2  /* from it on there is an incident */
#define STEP_SLACK    10 /* so far below a step that was told, it is over */

/* An id has a minute in it: as many as are opened in some, and tries to find a free one. */
#define USED_IDS 256
#define ATTEMPTS 8

const char *const closing_reason_names[CLOSING_REASONS] = {
	[CLOSED_FELL] = "fell",
	[CLOSED_CALM] = "calm",
	[CLOSED_ENDED] = "ended",
	[CLOSED_RESTARTED] = "restarted",
};

struct entry {
	struct service service;
	/* Of the report that is being folded. */
	struct service_load now;
	const struct report_process *main; /* NULL: none of its processes is there */
	uint64_t main_bytes;
	enum verdict_code main_code;
	enum verdict_cause main_cause;
	double main_confidence;
	bool kept_known;
	bool is_unseen;        /* of one of its processes, since it retained or grew (see there) */
	uint64_t unseen_bytes; /* held free by such x-rays, as far as it may still be there */
	/* Of reports before. */
	unsigned absent;     /* reports without it */
	unsigned alarming;   /* judged reports in a row in which it was one for an incident */
	unsigned calm;       /* judged reports in a row in which it was none any more */
	unsigned quiet;      /* judged reports in a row in which it neither retained nor grew */
	uint64_t alarm_ns;   /* since the first of the alarming ones */
	unsigned same;       /* judged reports in a row with this code and cause */
	unsigned limit_step; /* told: 0 none, 1 a half, 2 three quarters, 3 nine tenths */
	enum verdict_code told_code;
	enum verdict_cause told_cause;
	uint64_t told_bytes;
	uint64_t since_told_ns;
	uint64_t since_keeping_ns; /* the report by which it last retained or grew */
	uint64_t since_restart_ns; /* that was told; before the first an hour */
	uint64_t restarts;         /* that are not told yet */
	bool restored;             /* and not seen since */
	UT_hash_handle hh;
	size_t key_bytes;
	char key[EPISODE_KEY_BYTES];
};

struct episodes {
	struct episode_options options;
	char limited[64];
	struct entry *table;
	uint64_t not_followed;
	unsigned openings;       /* of this report */
	uint64_t used[USED_IDS]; /* hashes of the newest incidents' ids */
	unsigned used_next;
};

/* A report on its way through the table. */
struct fold {
	struct episodes *episodes;
	const struct report *report;
	happening_fn tell;
	void *context;
	int error;
};

static uint64_t sum(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - 1 - b ? UINT64_MAX - 1 : a + b;
}

static bool keeps(enum verdict_code code)
{
	return code == VERDICT_RETAINING || code == VERDICT_GROWING;
}

struct episodes *episodes_new(const struct episode_options *options)
{
	struct episodes *episodes = calloc(1, sizeof(*episodes));
	struct episode_options *own;

	if (!episodes)
		return NULL;
	own = &episodes->options;
	*own = *options;
	own->event_bytes = own->event_bytes ? own->event_bytes : 8 * MIB;
	own->open_bytes = own->open_bytes ? own->open_bytes : 64 * MIB;
	own->limit_bytes = own->limit_bytes ? own->limit_bytes : EPISODE_LIMIT_BYTES;
	own->confidence = own->confidence > 0 ? own->confidence : 0.6;
	own->open_intervals = own->open_intervals ? own->open_intervals : 3;
	own->close_intervals = own->close_intervals ? own->close_intervals : 6;
	own->open_ns = own->open_ns ? own->open_ns : 300 * S;
	own->reach = own->reach ? own->reach : verdict_reach;
	line_add(episodes->limited, sizeof(episodes->limited), "%s",
		own->limited ? own->limited : "innerwarden-agent");
	own->limited = episodes->limited;
	return episodes;
}

static void drop(struct episodes *episodes, struct entry *entry)
{
	HASH_DEL(episodes->table, entry);
	free(entry);
}

void episodes_free(struct episodes *episodes)
{
	struct entry *entry, *next;

	if (!episodes)
		return;
	HASH_ITER (hh, episodes->table, entry, next) {
		drop(episodes, entry);
	}
	free(episodes);
}

static struct entry *find(const struct episodes *episodes, const struct service_name *name)
{
	char key[EPISODE_KEY_BYTES];
	size_t length = episode_key(name, key);
	struct entry *entry;

	HASH_FIND(hh, episodes->table, key, length, entry);
	return entry;
}

/* Of those that have been calm for an hour, the one that has been so for the longest time. */
static struct entry *longest_calm(const struct episodes *episodes)
{
	struct entry *entry, *next, *calmest = NULL;

	HASH_ITER (hh, episodes->table, entry, next) {
		if (entry->service.open || entry->service.limited || keeps(entry->told_code) ||
			keeps(entry->service.code) || entry->since_told_ns < HOUR)
			continue;
		if (!calmest || entry->since_told_ns > calmest->since_told_ns)
			calmest = entry;
	}
	return calmest;
}

static bool has_room(struct episodes *episodes)
{
	struct entry *calmest;

	if (HASH_COUNT(episodes->table) < EPISODE_SERVICES)
		return true;
	calmest = longest_calm(episodes);
	if (calmest)
		drop(episodes, calmest);
	return calmest;
}

static struct entry *add(struct episodes *episodes, const struct service_name *name)
{
	struct entry *entry = NULL;

	if (has_room(episodes))
		entry = calloc(1, sizeof(*entry));
	if (entry) {
		entry->service.name = *name;
		entry->since_restart_ns = HOUR;
		entry->service.limited = episode_is_named(name, episodes->limited);
		episode_subject(name, entry->service.subject);
		entry->key_bytes = episode_key(name, entry->key);
		HASH_ADD(hh, episodes->table, key, entry->key_bytes, entry);
		if (!table_has(entry)) {
			free(entry);
			entry = NULL;
		}
	}
	episodes->not_followed += !entry;
	return entry;
}

/* Free and resident by the x-ray; REPORT_UNKNOWN. */
static uint64_t held_bytes(const struct heap *heap)
{
	if (!heap)
		return REPORT_UNKNOWN;
	if (heap->allocator == ALLOCATOR_JEMALLOC && heap->dirty_bytes != HEAP_UNKNOWN)
		return heap->dirty_bytes;
	return heap->held_free_resident_bytes;
}

/* What is not known is the greatest number. */
static uint64_t within(const struct report_process *process, uint64_t bytes)
{
	uint64_t most =
		process->anon_bytes < process->rss_bytes ? process->anon_bytes : process->rss_bytes;

	return bytes != REPORT_UNKNOWN && bytes > most ? most : bytes;
}

uint64_t process_kept_bytes(const struct report_process *process)
{
	uint64_t kept = held_bytes(process->heap), pages = process->retention.kept.value;

	if (kept == REPORT_UNKNOWN && pages != REPORT_UNKNOWN && process->page_bytes)
		kept = pages > UINT64_MAX / 2 / process->page_bytes ? UINT64_MAX - 1
								    : pages * process->page_bytes;
	return within(process, kept);
}

static uint64_t kept_bytes(const struct report_process *process, const struct verdict *verdict)
{
	uint64_t held = within(process, held_bytes(process->heap));
	uint64_t forecast = verdict->code == VERDICT_RETAINING && verdict->remedy_count
				    ? within(process, verdict->remedies[0].forecast_bytes)
				    : REPORT_UNKNOWN;

	if (forecast != REPORT_UNKNOWN && (held == REPORT_UNKNOWN || forecast > held))
		return forecast;
	return process_kept_bytes(process);
}

/*
 * There was an x-ray, verdicts do not go by it any more, and another one is to be expected. One
 * that came after the service last retained or grew has said its word.
 */
static bool is_unseen(const struct entry *entry, const struct report_process *process)
{
	return process->heap && process->heap_age_s > VERDICT_XRAY_AGE_S &&
	       process->heap_age_s < XRAY_LAST_S &&
	       process->heap_age_s + SAME_S >= (double)entry->since_keeping_ns / 1e9;
}

static uint64_t grown_bytes(const struct report_process *process)
{
	uint64_t least = process->history ? process->history->rss_least_bytes : REPORT_UNKNOWN;

	if (process->rss_bytes == REPORT_UNKNOWN || least == REPORT_UNKNOWN ||
		process->rss_bytes < least)
		return 0;
	return process->rss_bytes - least;
}

/* 2: retains or grows; 1: does not; 0: has no verdict. */
static unsigned rank(enum verdict_code code)
{
	return keeps(code) ? 2 : code != VERDICT_UNKNOWN;
}

/* Of the highest rank; among these, the one that keeps most, or else the largest. */
static void choose_main(struct entry *entry, const struct report_process *process,
	const struct verdict *verdict, uint64_t bytes)
{
	unsigned own = rank(verdict->code), other = rank(entry->main_code);

	if (entry->main && (other > own || (other == own && entry->main_bytes >= bytes)))
		return;
	entry->main = process;
	entry->main_bytes = bytes;
	entry->main_code = verdict->code;
	entry->main_cause = verdict->cause;
	entry->main_confidence = verdict->confidence;
}

static void add_bytes(
	struct entry *entry, const struct report_process *process, const struct verdict *verdict)
{
	uint64_t rss = process->rss_bytes == REPORT_UNKNOWN ? 0 : process->rss_bytes;
	uint64_t kept = kept_bytes(process, verdict), grown = grown_bytes(process);
	bool is_grown = verdict->code == VERDICT_GROWING || kept == REPORT_UNKNOWN;

	if (kept != REPORT_UNKNOWN) {
		entry->now.kept_bytes = sum(entry->kept_known ? entry->now.kept_bytes : 0, kept);
		entry->kept_known = true;
	}
	if (is_unseen(entry, process)) {
		uint64_t held = within(process, held_bytes(process->heap));

		entry->is_unseen = true;
		entry->unseen_bytes = sum(entry->unseen_bytes, held == REPORT_UNKNOWN ? 0 : held);
	}
	entry->now.grown_bytes = sum(entry->now.grown_bytes, grown);
	choose_main(entry, process, verdict, !keeps(verdict->code) ? rss : is_grown ? grown : kept);
}

static void add_row(
	struct entry *entry, const struct report_process *process, const struct verdict *verdict)
{
	struct service_load *now = &entry->now;
	uint64_t requests = process->counters[PS_REQUESTS];

	if (!now->processes || process->key.start_ns < now->first_start_ns)
		now->first_start_ns = process->key.start_ns;
	if (process->key.start_ns > now->newest_start_ns)
		now->newest_start_ns = process->key.start_ns;
	now->processes++;
	if (process->rss_bytes != REPORT_UNKNOWN)
		now->rss_bytes = sum(now->rss_bytes, process->rss_bytes);
	if (requests != REPORT_UNKNOWN)
		now->requests = sum(now->requests, requests);
	add_bytes(entry, process, verdict);
}

/*
 * Small processes that nobody follows are not even judged: thousands of them come and go. In the
 * report from which on a service is followed, its rows before that one do not count.
 */
static void take_row(struct episodes *episodes, const struct report_process *process)
{
	struct service_name name;
	struct verdict verdict;
	struct entry *entry;
	bool is_large = process->rss_bytes == REPORT_UNKNOWN ||
			process->rss_bytes >= episodes->options.event_bytes;

	if (process->exited)
		return;
	service_name_of(process, &name);
	entry = find(episodes, &name);
	if (!entry && !is_large)
		return;
	episodes->options.reach(process, &verdict);
	if (!entry) {
		uint64_t kept = kept_bytes(process, &verdict);
		bool has_kept = kept != REPORT_UNKNOWN && kept >= episodes->options.event_bytes;

		if (!episode_is_named(&name, episodes->limited) &&
			(!keeps(verdict.code) ||
				(!has_kept &&
					grown_bytes(process) < episodes->options.event_bytes)))
			return;
		entry = add(episodes, &name);
	}
	if (entry)
		add_row(entry, process, &verdict);
}

/* What is of the moment, and of nobody who asks later, is filled in here. */
static void tell(struct fold *fold, struct entry *entry, const struct happening *happening)
{
	struct happening told = *happening;
	struct verdict verdict;
	int error;

	told.service = &entry->service;
	told.process = entry->main;
	told.before = entry->told_code;
	told.before_cause = entry->told_cause;
	if (entry->main) {
		fold->episodes->options.reach(entry->main, &verdict);
		told.verdict = &verdict;
	}
	error = fold->tell(fold->context, &told);
	fold->error = fold->error ? fold->error : error;
	if (told.kind != HAPPENING_OPENED) {
		entry->told_code = entry->service.code;
		entry->told_cause = entry->service.cause;
		entry->since_told_ns = 0;
	}
	entry->told_bytes = entry->service.bytes;
}

static void close_incident(struct fold *fold, struct entry *entry, struct happening *happening)
{
	happening->kind = HAPPENING_CLOSED;
	entry->service.open = false;
	entry->alarming = entry->calm = 0;
	entry->alarm_ns = 0;
	tell(fold, entry, happening);
}

/* FNV-1a. Two ids of one hash cost the second one its number, no more. */
static uint64_t hash_of(const char *id)
{
	uint64_t hash = 0xcbf29ce484222325ull;

	for (; *id; id++)
		hash = (hash ^ (unsigned char)*id) * 0x100000001b3ull;
	return hash;
}

static bool is_used(const struct episodes *episodes, uint64_t hash)
{
	for (size_t i = 0; i < USED_IDS; i++)
		if (episodes->used[i] == hash)
			return true;
	return false;
}

static void use(struct episodes *episodes, uint64_t hash)
{
	episodes->used[episodes->used_next++ % USED_IDS] = hash;
}

/* Subjects may be alike and clocks go back: an id that was given is not given again. */
static bool name_incident(struct fold *fold, struct entry *entry)
{
	struct episode_open *episode = &entry->service.episode;

	for (unsigned attempt = 1; attempt <= ATTEMPTS; attempt++) {
		char id[EPISODE_ID_BYTES];
		uint64_t hash;

		episode_incident_id(entry->service.subject, attempt, fold->report->wall_ns, id);
		hash = hash_of(id);
		if (is_used(fold->episodes, hash))
			continue;
		use(fold->episodes, hash);
		memcpy(episode->incident_id, id, sizeof(id));
		return true;
	}
	return false;
}

/* What a later run needs to go on with it. */
static void follow_incident(struct service *service)
{
	struct episode_open *episode = &service->episode;

	if (service->bytes > episode->peak_bytes)
		episode->peak_bytes = service->bytes;
	episode->first_start_ns = service->load.first_start_ns;
	episode->newest_start_ns = service->load.newest_start_ns;
}

static void open_incident(struct fold *fold, struct entry *entry)
{
	struct service *service = &entry->service;
	struct episode_open *episode = &service->episode;
	struct happening happening = {.kind = HAPPENING_OPENED};

	if (fold->episodes->openings >= EPISODE_OPENINGS || !name_incident(fold, entry))
		return;
	fold->episodes->openings++;
	episode->name = service->name;
	episode->opened_wall_ns = fold->report->wall_ns;
	episode->opened_bytes = episode->told_bytes = episode->peak_bytes = service->bytes;
	episode->by_growth = service->code == VERDICT_GROWING;
	episode->floor_bytes = service->load.rss_bytes - service->load.grown_bytes;
	service->open = true;
	episode->open_for_ns = episode->open_requests = 0;
	follow_incident(service);
	entry->calm = 0;
	tell(fold, entry, &happening);
}

/* Which share of the limit is reached. A step that was told stays so until well below it. */
static unsigned limit_step(const struct fold *fold, const struct entry *entry)
{
	uint64_t percent = fold->episodes->options.limit_bytes / 100;
	unsigned step = entry->service.limited ? LAST_STEP : 0;

	for (; step; step--) {
		unsigned slack = step <= entry->limit_step ? STEP_SLACK : 0;

		if (entry->service.load.rss_bytes >= percent * (limit_steps[step] - slack))
			break;
	}
	return step;
}

/* A new lot of processes: what is known of the old ones is told, and ends. Who restarts over and
 * over is told once an hour. Whether something was told. */
static bool restarted(struct fold *fold, struct entry *entry, const struct service *old)
{
	struct happening happening = {
		.kind = HAPPENING_RESTARTED,
		.reason = CLOSED_RESTARTED,
		.before_bytes = old->bytes,
		.before_rss_bytes = old->load.rss_bytes,
		.before_ns = old->followed_ns,
		.restarts = entry->restarts + 1,
	};
	bool was_worth = keeps(entry->told_code) || entry->limit_step ||
			 old->peak_rss_bytes >= fold->episodes->options.open_bytes;

	entry->alarming = entry->calm = entry->quiet = entry->same = entry->limit_step = 0;
	entry->alarm_ns = 0;
	entry->service.bytes = 0;
	entry->service.peak_rss_bytes = entry->service.load.rss_bytes;
	entry->service.followed_ns = 0;
	entry->service.code = VERDICT_UNKNOWN;
	entry->service.cause = CAUSE_NONE;
	entry->service.confidence = 0;
	if (!old->open && !was_worth)
		return false;
	entry->restarts++;
	if (!old->open && entry->since_restart_ns < HOUR)
		return false;
	entry->restarts = entry->since_restart_ns = 0;
	if (old->open)
		close_incident(fold, entry, &happening);
	else
		tell(fold, entry, &happening);
	return true;
}

/* Since an earlier run saw its incident's processes, the host may have been booted again. */
static bool is_restart(const struct entry *entry)
{
	const struct service *service = &entry->service;

	if (entry->restored)
		return entry->now.first_start_ns < service->episode.first_start_ns ||
		       entry->now.first_start_ns > service->episode.newest_start_ns;
	return service->load.processes && entry->now.first_start_ns > service->load.newest_start_ns;
}

static void take_verdict(struct entry *entry)
{
	struct service *service = &entry->service;

	if (service->code != entry->main_code || service->cause != entry->main_cause)
		entry->same = 0;
	service->code = entry->main_code;
	service->cause = entry->main_cause;
	service->confidence = entry->main_confidence;
}

/* An incident's growth counts from where it began, also before this run. */
static void measure_growth(struct service *service)
{
	uint64_t above;

	if (!service->open || service->episode.floor_bytes >= service->load.rss_bytes)
		return;
	above = service->load.rss_bytes - service->episode.floor_bytes;
	if (above > service->load.grown_bytes)
		service->load.grown_bytes = above;
}

/*
 * What an x-ray found is not over because it has aged: the kernel alone knows of nothing that is
 * free, and takes it for steady or returning. That more than half of it is gone is seen all the
 * same.
 */
static bool is_out_of_sight(const struct entry *entry)
{
	const struct service *service = &entry->service;
	uint64_t left =
		service->code == VERDICT_GROWING ? service->load.grown_bytes : entry->unseen_bytes;

	return entry->is_unseen && keeps(service->code) && !keeps(entry->main_code) &&
	       left > service->bytes / 2;
}

/* Whatever it is, it is below half of the threshold. */
static bool has_little(const struct episode_options *options, const struct entry *entry)
{
	uint64_t rss = entry->service.load.rss_bytes;

	return rss && rss < options->open_bytes / 2;
}

static void measure(struct entry *entry)
{
	struct service *service = &entry->service;
	bool by_growth = service->code == VERDICT_GROWING ||
			 (!keeps(service->code) && service->open && service->episode.by_growth);

	if (service->load.kept_bytes == REPORT_UNKNOWN)
		by_growth = true;
	service->bytes = by_growth ? service->load.grown_bytes : service->load.kept_bytes;
}

/* Counts on from report to report. `judged`: there is a verdict now. */
static void count(const struct episode_options *options, struct entry *entry, bool judged,
	uint64_t interval_ns)
{
	struct service *service = &entry->service;
	bool is_calm = service->bytes < options->open_bytes / 2 ||
		       (!keeps(service->code) && service->confidence >= options->confidence);
	bool is_alarming = keeps(service->code) && service->confidence >= options->confidence &&
			   service->bytes >= options->open_bytes;

	entry->since_told_ns = sum(entry->since_told_ns, interval_ns);
	service->followed_ns = sum(service->followed_ns, interval_ns);
	if (service->open) {
		service->episode.open_for_ns = sum(service->episode.open_for_ns, interval_ns);
		service->episode.open_requests =
			sum(service->episode.open_requests, service->load.requests);
	}
	if (!judged) {
		entry->alarm_ns = entry->alarming ? sum(entry->alarm_ns, interval_ns) : 0;
		entry->calm += has_little(options, entry);
		return;
	}
	entry->same++;
	entry->quiet = keeps(service->code) ? 0 : entry->quiet + 1;
	entry->alarming = is_alarming ? entry->alarming + 1 : 0;
	entry->alarm_ns = is_alarming ? sum(entry->alarm_ns, interval_ns) : 0;
	entry->calm = is_calm ? entry->calm + 1 : 0;
}

static bool should_open(const struct episode_options *options, const struct entry *entry)
{
	return entry->alarming >= options->open_intervals ||
	       (entry->alarming && entry->alarm_ns >= options->open_ns) ||
	       entry->limit_step >= ALARMING_STEP;
}

/* The bytes of what was told small may double; of another cause once an hour is enough. */
static bool has_changed(const struct episode_options *options, const struct entry *entry)
{
	const struct service *service = &entry->service;

	if (!keeps(service->code))
		return !service->open && keeps(entry->told_code) &&
		       entry->quiet >= options->close_intervals;
	if (entry->same < SETTLED || service->bytes < options->event_bytes)
		return false;
	if (service->code != entry->told_code)
		return !keeps(entry->told_code) || entry->since_told_ns >= HOUR;
	return service->bytes / 2 >= entry->told_bytes ||
	       (service->cause != entry->told_cause && entry->since_told_ns >= HOUR);
}

/* What is told of a report, the weightiest first and no other. */
static void tell_state(struct fold *fold, struct entry *entry, unsigned step_before)
{
	const struct episode_options *options = &fold->episodes->options;
	struct service *service = &entry->service;
	struct happening happening = {.kind = HAPPENING_CHANGED};

	if (service->open && entry->calm >= options->close_intervals) {
		happening.reason = keeps(service->code) ? CLOSED_FELL : CLOSED_CALM;
		close_incident(fold, entry, &happening);
	} else if (service->open && service->bytes / 2 >= service->episode.told_bytes &&
		   service->bytes >= options->open_bytes) {
		service->episode.told_bytes = service->bytes;
		happening.kind = HAPPENING_DOUBLED;
		tell(fold, entry, &happening);
	} else if (entry->limit_step > step_before) {
		happening.kind = HAPPENING_NEAR_LIMIT;
		tell(fold, entry, &happening);
	} else if (has_changed(options, entry)) {
		tell(fold, entry, &happening);
	}
}

static void judge(struct fold *fold, struct entry *entry)
{
	struct service *service = &entry->service;
	const struct service old = *service;
	unsigned step_before = entry->limit_step;
	bool is_new_lot = is_restart(entry), judged;

	entry->absent = 0;
	entry->restored = false;
	service->load = entry->now;
	if (!entry->kept_known)
		service->load.kept_bytes = REPORT_UNKNOWN;
	if (service->load.rss_bytes > service->peak_rss_bytes)
		service->peak_rss_bytes = service->load.rss_bytes;
	entry->since_restart_ns = sum(entry->since_restart_ns, fold->report->interval_ns);
	service_name_of(entry->main, &service->name);
	if (is_new_lot && restarted(fold, entry, &old))
		return;
	measure_growth(service);
	judged = entry->main_code != VERDICT_UNKNOWN && !is_out_of_sight(entry);
	if (judged)
		take_verdict(entry);
	if (judged && keeps(service->code))
		entry->since_keeping_ns = 0;
	if (judged || has_little(&fold->episodes->options, entry))
		measure(entry);
	if (service->open)
		follow_incident(service);
	count(&fold->episodes->options, entry, judged, fold->report->interval_ns);
	entry->limit_step = limit_step(fold, entry);
	if (entry->limit_step >= ALARMING_STEP)
		entry->calm = 0;
	if (!service->open && should_open(&fold->episodes->options, entry))
		open_incident(fold, entry);
	tell_state(fold, entry, step_before);
}

static void miss(struct fold *fold, struct entry *entry)
{
	struct happening happening = {
		.reason = CLOSED_ENDED,
		.before_bytes = entry->service.bytes,
		.before_rss_bytes = entry->service.load.rss_bytes,
		.before_ns = entry->service.followed_ns,
	};

	if (++entry->absent < fold->episodes->options.close_intervals)
		return;
	if (entry->service.open)
		close_incident(fold, entry, &happening);
	drop(fold->episodes, entry);
}

int episodes_fold(
	struct episodes *episodes, const struct report *report, happening_fn tell_fn, void *context)
{
	struct fold fold = {episodes, report, tell_fn, context, 0};
	struct entry *entry, *next;

	episodes->openings = 0;
	HASH_ITER (hh, episodes->table, entry, next) {
		memset(&entry->now, 0, sizeof(entry->now));
		entry->main = NULL;
		entry->kept_known = entry->is_unseen = false;
		entry->unseen_bytes = 0;
		entry->since_keeping_ns = sum(entry->since_keeping_ns, report->interval_ns);
	}
	for (size_t i = 0; i < report->process_count; i++)
		take_row(episodes, &report->processes[i]);
	HASH_ITER (hh, episodes->table, entry, next) {
		if (entry->main)
			judge(&fold, entry);
		else
			miss(&fold, entry);
	}
	return fold.error;
}

int episodes_restore(struct episodes *episodes, const struct episode_open *open)
{
	struct entry *entry = find(episodes, &open->name);

	if (!entry)
		entry = add(episodes, &open->name);
	if (!entry)
		return HASH_COUNT(episodes->table) < EPISODE_SERVICES ? -ENOMEM : -ENOSPC;
	entry->service.open = true;
	entry->service.episode = *open;
	entry->service.bytes = open->told_bytes;
	entry->service.peak_rss_bytes = open->floor_bytes;
	entry->told_code = entry->service.code =
		open->by_growth ? VERDICT_GROWING : VERDICT_RETAINING;
	entry->told_bytes = open->told_bytes;
	entry->restored = true;
	use(episodes, hash_of(open->incident_id));
	return 0;
}

/* No process starts before the boot. */
void episodes_rebooted(struct episodes *episodes)
{
	struct entry *entry, *next;

	HASH_ITER (hh, episodes->table, entry, next) {
		if (entry->restored)
			entry->service.episode.first_start_ns =
				entry->service.episode.newest_start_ns = 0;
	}
}

void episodes_forget(struct episodes *episodes, const char *incident_id)
{
	struct entry *entry, *next;

	HASH_ITER (hh, episodes->table, entry, next) {
		if (entry->service.open &&
			strcmp(entry->service.episode.incident_id, incident_id) == 0)
			entry->service.open = false;
	}
}

size_t episodes_each_open(const struct episodes *episodes,
	void (*each)(void *context, const struct episode_open *open), void *context)
{
	struct entry *entry, *next;
	size_t number = 0;

	HASH_ITER (hh, episodes->table, entry, next) {
		if (!entry->service.open)
			continue;
		each(context, &entry->service.episode);
		number++;
	}
	return number;
}

uint64_t episodes_not_followed(const struct episodes *episodes)
{
	return episodes->not_followed;
}
