/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Answers the symptoms that people come with, each by numbers of the process. Owns the symptoms and
 * their thresholds; keeps nothing.
 */
#include <math.h>
#include <string.h>

#include "pagestay/base/line.h"
#include "verdict_facts.h"

#define FAR_ABOVE 2 /* times what is live */

/* An allocator's memory fans out when so many work at once. */
#define MANY_CONNECTIONS 100
#define MANY_THREADS     16
#define MUCH_OVERLAPPING 0.5

#define MANY_REQUESTS_A_S   10
#define SHORT_REQUEST_BYTES (16 * MIB) /* of pages: more is a job, not a short request */

#define NS_PER_S 1e9

#define SAY(symptom, ...) line_add((symptom)->text, sizeof((symptom)->text), __VA_ARGS__)

static enum verdict_answer answer(bool yes)
{
	return yes ? ANSWER_YES : ANSWER_NO;
}

static uint64_t first_rss(const struct facts *facts)
{
	return facts->history->sample_count ? facts->history->samples[0].rss_bytes : REPORT_UNKNOWN;
}

static enum verdict_answer rss_grows(
	const struct facts *facts, const struct verdict *verdict, struct verdict_symptom *symptom)
{
	uint64_t first = first_rss(facts);
	char before[16], now[16], most[16];

	if (first > FACTS_MOST_BYTES || facts->rss_bytes == REPORT_UNKNOWN ||
		facts->observed_s < VERDICT_WATCH_S) {
		SAY(symptom, "watch it for %u s", VERDICT_WATCH_S);
		return ANSWER_UNKNOWN;
	}
	SAY(symptom, "RSS went from %s to %s in %.0f s, at most %s", bytes_text(first, before),
		bytes_text(facts->rss_bytes, now), fmin(facts->observed_s, 1e9),
		bytes_text(facts->history->rss_most_bytes, most));
	return answer(
		trend_growth(&facts->anon) >= 1 ||
		(facts->rss_bytes > first && facts->rss_bytes - first >= facts->material_bytes));
}

static const char *unread(const struct facts *facts)
{
	return facts->xray_jemalloc
		       ? "what jemalloc counts from outside are pages, live bytes and free "
			 "ones together"
		       : "there is no x-ray of its heap";
}

static enum verdict_answer no_leak_is_found(
	const struct facts *facts, const struct verdict *verdict, struct verdict_symptom *symptom)
{
	char live[16], grown[16];

	if (!facts->xray_glibc && (!facts->xray_jemalloc || facts->live_bytes == REPORT_UNKNOWN)) {
		SAY(symptom, "live memory cannot be told from free: %s", unread(facts));
		return ANSWER_UNKNOWN;
	}
	if (facts->live.count < TREND_SAMPLES || facts->observed_s < VERDICT_WATCH_S) {
		SAY(symptom, "live memory is %s; whether it grows takes %u x-rays of half a watch",
			bytes_text(facts->live_bytes, live), TREND_SAMPLES);
		return ANSWER_UNKNOWN;
	}
	SAY(symptom, "live memory is %s and %s %s over the second half of the watch",
		bytes_text(facts->live_bytes, live),
		facts->live.growth_bytes < 0 ? "fell by" : "grew by",
		bytes_text((uint64_t)fabs(facts->live.growth_bytes), grown));
	return answer(trend_growth(&facts->live) < 1);
}

static enum verdict_answer rss_is_far_above(
	const struct facts *facts, const struct verdict *verdict, struct verdict_symptom *symptom)
{
	char rss[16], live[16], held[16];

	if (facts->live_bytes == REPORT_UNKNOWN || facts->rss_bytes == REPORT_UNKNOWN) {
		SAY(symptom, "what is live is not known: %s", unread(facts));
		return ANSWER_UNKNOWN;
	}
	SAY(symptom, "RSS is %s, live memory %s, and %s is held free",
		bytes_text(facts->rss_bytes, rss), bytes_text(facts->live_bytes, live),
		bytes_text(facts->held_bytes, held));
	return answer(facts->rss_bytes / FAR_ABOVE >= facts->live_bytes &&
		      facts->rss_bytes - facts->live_bytes >= facts->material_bytes);
}

static enum verdict_answer many_concurrent_tasks(
	const struct facts *facts, const struct verdict *verdict, struct verdict_symptom *symptom)
{
	const struct history *history = facts->history;
	uint64_t threads = facts->heap->threads, open = history->open_most;
	double overlapping = NAN;

	if (history->faults != REPORT_UNKNOWN && history->faults &&
		history->faults_overlapping <= history->faults)
		overlapping = (double)history->faults_overlapping / (double)history->faults;
	if (open == REPORT_UNKNOWN && threads == HEAP_UNKNOWN) {
		SAY(symptom, "neither connections nor threads were counted");
		return ANSWER_UNKNOWN;
	}
	if (open != REPORT_UNKNOWN)
		SAY(symptom, "%llu connections open at most", (unsigned long long)open);
	if (threads != HEAP_UNKNOWN)
		SAY(symptom, "%s%llu threads", *symptom->text ? ", " : "",
			(unsigned long long)threads);
	if (!isnan(overlapping))
		SAY(symptom, ", %.0f %% of page faults while requests overlapped",
			100 * overlapping);
	return answer((open != REPORT_UNKNOWN && open >= MANY_CONNECTIONS) ||
		      (threads != HEAP_UNKNOWN && threads >= MANY_THREADS && facts->requests) ||
		      overlapping >= MUCH_OVERLAPPING);
}

static enum verdict_answer many_short_requests(
	const struct facts *facts, const struct verdict *verdict, struct verdict_symptom *symptom)
{
	const struct history *history = facts->history;
	double busy_s = (double)history->busy_ns / NS_PER_S, rate, each = NAN;
	char touched[16];

	if (facts->requests == REPORT_UNKNOWN) {
		SAY(symptom, "requests are not counted");
		return ANSWER_UNKNOWN;
	}
	if (!facts->requests || busy_s <= 0) {
		SAY(symptom, "no request came while watched");
		return ANSWER_UNKNOWN;
	}
	rate = (double)facts->requests / busy_s;
	SAY(symptom, "%.0f requests a second while busy", fmin(rate, 1e9));
	if (facts->touched_bytes != REPORT_UNKNOWN) {
		each = (double)facts->touched_bytes / (double)facts->requests;
		SAY(symptom, ", each touches %s of new pages", bytes_text((uint64_t)each, touched));
	}
	return answer(rate >= MANY_REQUESTS_A_S && !(each > SHORT_REQUEST_BYTES));
}

static enum verdict_answer restart_helps(
	const struct facts *facts, const struct verdict *verdict, struct verdict_symptom *symptom)
{
	uint64_t held = facts->held_bytes, after;
	char to[16], from[16];

	if (held == REPORT_UNKNOWN || facts->rss_bytes == REPORT_UNKNOWN) {
		SAY(symptom, "what a restart would drop is not known: %s", unread(facts));
		return ANSWER_UNKNOWN;
	}
	after = facts->rss_bytes > held ? facts->rss_bytes - held : 0;
	SAY(symptom, "without what is held free, RSS would be %s instead of %s",
		bytes_text(after, to), bytes_text(facts->rss_bytes, from));
	if (verdict->code == VERDICT_GROWING) {
		SAY(symptom, "; what is live and grows would be gone too, until it is there again");
		return ANSWER_YES;
	}
	if (held >= facts->material_bytes && held >= facts->rss_bytes / 4)
		return ANSWER_YES;
	if (facts->xray_jemalloc && facts->fragment_bytes == REPORT_UNKNOWN) {
		SAY(symptom, "; what fragmentation pins is not known");
		return ANSWER_UNKNOWN;
	}
	return ANSWER_NO;
}

static const struct {
	const char *symptom;
	enum verdict_answer (*answer)(const struct facts *facts, const struct verdict *verdict,
		struct verdict_symptom *symptom);
} questions[VERDICT_SYMPTOMS] = {
	{"RSS grows", rss_grows},
	{"no leak is found", no_leak_is_found},
	{"RSS is far above the heap", rss_is_far_above},
	{"many concurrent tasks", many_concurrent_tasks},
	{"many short requests", many_short_requests},
	{"a restart helps", restart_helps},
};

void verdict_symptoms(const struct report_process *process, const struct verdict *verdict,
	struct verdict_symptom ret_symptoms[VERDICT_SYMPTOMS])
{
	struct facts facts;

	facts_of(process, &facts);
	for (int i = 0; i < VERDICT_SYMPTOMS; i++) {
		struct verdict_symptom *symptom = &ret_symptoms[i];

		memset(symptom, 0, sizeof(*symptom));
		symptom->symptom = questions[i].symptom;
		symptom->answer = questions[i].answer(&facts, verdict, symptom);
	}
}
