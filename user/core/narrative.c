/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns no state: folds reports into the caller's summary. Services are told apart by their subject
 * alone. A report is folded row by row; a service's row sums of one report are gathered in a
 * scratch table of the same size, so that RSS and what is kept are of all its processes together.
 */
#include "pagestay/core/narrative.h"

#include <string.h>

/* FNV-1a. Two subjects of one hash count as one. */
static uint64_t subject_hash(const char *subject)
{
	uint64_t hash = 0xcbf29ce484222325ull;

	for (; *subject; subject++)
		hash = (hash ^ (unsigned char)*subject) * 0x100000001b3ull;
	return hash;
}

/* What one report has of a service. */
struct gathered {
	struct narrative_service *service;
	uint64_t rss_bytes;
};

struct scratch {
	size_t count;
	struct gathered rows[NARRATIVE_SERVICES];
	/* The hashes of all subjects of the report, with a place or without; 0: free. */
	size_t subject_count;
	uint64_t subjects[2 * NARRATIVE_SUBJECTS];
};

static uint64_t sum(uint64_t a, uint64_t b)
{
	if (a == REPORT_UNKNOWN || b == REPORT_UNKNOWN)
		return a == REPORT_UNKNOWN ? b : a;
	return a > UINT64_MAX - 1 - b ? UINT64_MAX - 1 : a + b;
}

void narrative_init(struct narrative *narrative)
{
	memset(narrative, 0, sizeof(*narrative));
}

/* The next day begins with nothing but what was told. */
static void begin(struct narrative *narrative, unsigned day)
{
	unsigned told_day = narrative->told_day;

	narrative_init(narrative);
	narrative->told_day = told_day;
	narrative->day = day;
}

void narrative_told(struct narrative *narrative, unsigned day)
{
	if (narrative->day && narrative->day <= day)
		begin(narrative, 0);
	narrative->told_day = day;
}

void narrative_count(struct narrative *narrative, enum happening_kind kind, uint64_t restarts)
{
	narrative->opened += kind == HAPPENING_OPENED;
	narrative->doubled += kind == HAPPENING_DOUBLED;
	narrative->closed += kind == HAPPENING_CLOSED;
	narrative->restarted = sum(narrative->restarted, restarts);
}

/* Of numbers like 20260102. The last of a month is its 28th or later. */
static bool is_day_before(unsigned day, unsigned other)
{
	unsigned month = day / 100, next = month % 100 == 12 ? month + 89 : month + 1;

	return other - day == 1 || (day % 100 >= 28 && other == next * 100 + 1);
}

static int turn(struct narrative *narrative, unsigned day, narrative_fn tell, void *context)
{
	unsigned old = narrative->day;
	int error = 0;

	if (!old || day == old) {
		narrative->day = day;
		return 0;
	}
	if (day < old) {
		if (!is_day_before(day, old))
			narrative->day = day;
		return 0;
	}
	if (old <= narrative->told_day && narrative->told_day < day) {
		narrative->day = day;
		return 0;
	}
	if (narrative->reports)
		error = tell(context, narrative);
	narrative->told_day = old;
	begin(narrative, day);
	return error;
}

static uint64_t growth(const struct narrative_service *service)
{
	return service->last_rss_bytes > service->first_rss_bytes
		       ? service->last_rss_bytes - service->first_rss_bytes
		       : 0;
}

static bool matters_more(const struct narrative_service *a, const struct narrative_service *b)
{
	if (a->kept_bytes != b->kept_bytes)
		return a->kept_bytes > b->kept_bytes;
	if (growth(a) != growth(b))
		return growth(a) > growth(b);
	return a->peak_rss_bytes > b->peak_rss_bytes;
}

/* A place for a service that is new: a free one, or that of one which matters less. */
static struct narrative_service *place(struct narrative *narrative, uint64_t kept, uint64_t rss)
{
	struct narrative_service candidate = {.kept_bytes = kept, .peak_rss_bytes = rss};
	struct narrative_service *least = NULL;

	for (size_t i = 0; i < NARRATIVE_SERVICES; i++) {
		struct narrative_service *service = &narrative->services[i];

		if (!service->subject[0])
			return service;
		if (!least || matters_more(least, service))
			least = service;
	}
	return matters_more(&candidate, least) ? least : NULL;
}

static void note_subject(struct scratch *scratch, const char *subject)
{
	const size_t slots = sizeof(scratch->subjects) / sizeof(scratch->subjects[0]);
	uint64_t hash = subject_hash(subject);
	size_t at = hash % slots;

	hash = hash ? hash : 1;
	while (scratch->subjects[at] && scratch->subjects[at] != hash)
		at = (at + 1) % slots;
	if (scratch->subjects[at] || scratch->subject_count == NARRATIVE_SUBJECTS)
		return;
	scratch->subjects[at] = hash;
	scratch->subject_count++;
}

/* The report's row of a service; also of one whose place it takes. */
static struct gathered *row_of(struct scratch *scratch, struct narrative_service *service)
{
	size_t i = 0;

	while (i < scratch->count && scratch->rows[i].service != service)
		i++;
	if (i == scratch->count)
		scratch->count++;
	scratch->rows[i] = (struct gathered){.service = service};
	service->kept_bytes = 0;
	return &scratch->rows[i];
}

/* NULL: it matters less than all that are there. */
static struct gathered *gather(struct narrative *narrative, struct scratch *scratch,
	const char *subject, uint64_t kept, uint64_t rss)
{
	struct narrative_service *service = NULL;

	for (size_t i = 0; i < scratch->count; i++)
		if (strcmp(scratch->rows[i].service->subject, subject) == 0)
			return &scratch->rows[i];
	for (size_t i = 0; i < NARRATIVE_SERVICES && !service; i++)
		if (strcmp(narrative->services[i].subject, subject) == 0)
			service = &narrative->services[i];
	if (service)
		return row_of(scratch, service);
	service = place(narrative, kept, rss);
	if (!service)
		return NULL;
	memset(service, 0, sizeof(*service));
	memcpy(service->subject, subject, strlen(subject) + 1);
	return row_of(scratch, service);
}

static uint64_t kept_bytes(const struct report_process *process)
{
	uint64_t kept = process_kept_bytes(process);

	return kept == REPORT_UNKNOWN || process->rss_bytes == REPORT_UNKNOWN ? 0 : kept;
}

static void fold_row(
	struct narrative *narrative, struct scratch *scratch, const struct report_process *process)
{
	uint64_t rss = process->rss_bytes == REPORT_UNKNOWN ? 0 : process->rss_bytes;
	uint64_t requests = process->counters[PS_REQUESTS];
	uint64_t returned = report_returned_bytes(process), asked = report_asked_bytes(process);
	uint64_t kept = kept_bytes(process);
	char subject[EPISODE_SUBJECT_BYTES];
	struct service_name name;
	struct gathered *row;

	narrative->requests = sum(narrative->requests, requests);
	narrative->returned_bytes = sum(narrative->returned_bytes, returned);
	narrative->asked_bytes = sum(narrative->asked_bytes, asked);
	service_name_of(process, &name);
	episode_subject(&name, subject);
	note_subject(scratch, subject);
	row = gather(narrative, scratch, subject, kept, rss);
	if (!row)
		return;
	row->service->requests = sum(row->service->requests, requests);
	row->service->returned_bytes = sum(row->service->returned_bytes, returned);
	row->service->asked_bytes = sum(row->service->asked_bytes, asked);
	if (process->exited)
		return;
	row->rss_bytes = sum(row->rss_bytes, rss);
	row->service->kept_bytes = sum(row->service->kept_bytes, kept);
	if (row->rss_bytes > row->service->peak_rss_bytes)
		row->service->peak_rss_bytes = row->rss_bytes;
}

static void fold_service(
	struct narrative *narrative, const struct report *report, const struct gathered *row)
{
	struct narrative_service *service = row->service;

	if (!service->intervals++)
		service->first_rss_bytes = row->rss_bytes;
	service->last_rss_bytes = row->rss_bytes;
	if (row->rss_bytes <= narrative->worst_rss_bytes)
		return;
	narrative->worst_rss_bytes = row->rss_bytes;
	narrative->worst_wall_ns = report->wall_ns;
	memcpy(narrative->worst_subject, service->subject, sizeof(service->subject));
}

int narrative_fold(struct narrative *narrative, const struct report *report, unsigned day,
	narrative_fn tell, void *context)
{
	int error = turn(narrative, day, tell, context);
	struct scratch scratch = {0};

	if (!narrative->reports++)
		narrative->from_wall_ns = report->wall_ns;
	narrative->to_wall_ns = report->wall_ns;
	narrative->observed_ns = sum(narrative->observed_ns, report->interval_ns);
	narrative->incomplete_reports += !report->complete;
	if (report->process_count > narrative->most_processes)
		narrative->most_processes = report->process_count;
	for (size_t i = 0; i < report->process_count; i++)
		fold_row(narrative, &scratch, &report->processes[i]);
	for (size_t i = 0; i < scratch.count; i++)
		fold_service(narrative, report, &scratch.rows[i]);
	/* With two of one hash it may be the smaller. */
	if (scratch.subject_count > scratch.count + narrative->left_out)
		narrative->left_out = scratch.subject_count - scratch.count;
	return error;
}

size_t narrative_top(
	const struct narrative *narrative, const struct narrative_service *ret_top[NARRATIVE_TOP])
{
	size_t count = 0;

	for (size_t i = 0; i < NARRATIVE_SERVICES; i++) {
		const struct narrative_service *service = &narrative->services[i];

		if (!service->subject[0])
			continue;
		/* Each takes the place of the first that matters less, and that one moves on. */
		for (size_t at = 0; at < count; at++) {
			const struct narrative_service *other = ret_top[at];

			if (!matters_more(service, other))
				continue;
			ret_top[at] = service;
			service = other;
		}
		if (count < NARRATIVE_TOP)
			ret_top[count++] = service;
	}
	return count;
}
