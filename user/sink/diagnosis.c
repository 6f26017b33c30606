/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns what a person, or a program, gets of a diagnosis: the verdict first, then what speaks for
 * it, what to do by what it would give back, and the symptoms line by line. Called by the command
 * diagnose.
 */
#include "pagestay/sink/diagnosis.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "heap_text.h"
#include "json_values.h"
#include "pagestay/base/cleanup.h"
#include "pagestay/base/text.h"
#include "pagestay/core/history.h"
#include "pagestay/core/verdict.h"

static const char *const answers[] = {
	[ANSWER_UNKNOWN] = "unknown",
	[ANSWER_YES] = "yes",
	[ANSWER_NO] = "no",
};

static void put_head(const struct sink_text *text, FILE *page, const struct report_process *process)
{
	char comm[4 * PS_COMM_BYTES], rss[CELL_BYTES], change[CELL_BYTES];
	const struct history *history = process->history;
	uint64_t first = history->sample_count ? history->samples[0].rss_bytes : REPORT_UNKNOWN;

	text_for_terminal(process->comm, strlen(process->comm), 32, comm, sizeof(comm));
	cell_bytes(process->rss_bytes, rss);
	cell_change(first == REPORT_UNKNOWN || process->rss_bytes == REPORT_UNKNOWN
			    ? REPORT_DELTA_UNKNOWN
			    : (int64_t)(process->rss_bytes - first),
		change);
	text_put_line(text, page,
		"pagestay diagnosis of %" PRIu32
		" %s, watched %.0f s: RSS %s (%s), requests %" PRIu64,
		process->key.tgid, comm, (double)history->observed_ns / 1e9, rss, change,
		history->requests == REPORT_UNKNOWN ? 0 : history->requests);
}

static void put_verdict(const struct sink_text *text, FILE *page, const struct verdict *verdict)
{
	char words[128];

	if (verdict->code == VERDICT_UNKNOWN)
		(void)snprintf(words, sizeof(words), "unknown");
	else if (verdict->cause == CAUSE_NONE)
		(void)snprintf(words, sizeof(words), "%s, confidence %.0f %%",
			verdict_code_names[verdict->code], 100 * verdict->confidence);
	else
		(void)snprintf(words, sizeof(words), "%s: %s, confidence %.0f %%",
			verdict_code_names[verdict->code], verdict_cause_names[verdict->cause],
			100 * verdict->confidence);
	text_put_words(text, page, "verdict", words);
	for (unsigned i = 0; i < verdict->evidence_count; i++)
		text_put_words(text, page, i ? "" : "evidence", verdict->evidence[i]);
}

static void put_remedy(const struct sink_text *text, FILE *page, const char *label,
	const struct verdict_remedy *remedy)
{
	char bytes[CELL_BYTES], words[2 * VERDICT_LINE_BYTES];

	cell_bytes(remedy->forecast_bytes, bytes);
	if (remedy->forecast_bytes == REPORT_UNKNOWN)
		(void)snprintf(words, sizeof(words), "%s", remedy->text);
	else
		(void)snprintf(words, sizeof(words), "~%s: %s", bytes, remedy->text);
	text_put_words(text, page, label, words);
	if (remedy->setting[0])
		text_put_setting(text, page, remedy->setting);
	if (remedy->caveat[0])
		text_put_words(text, page, "  but", remedy->caveat);
}

static void put_symptoms(const struct sink_text *text, FILE *page,
	const struct report_process *process, const struct verdict *verdict)
{
	struct verdict_symptom symptoms[VERDICT_SYMPTOMS];

	verdict_symptoms(process, verdict, symptoms);
	for (int i = 0; i < VERDICT_SYMPTOMS; i++) {
		char words[2 * VERDICT_LINE_BYTES];

		(void)snprintf(words, sizeof(words), "%s: %s%s%s", symptoms[i].symptom,
			answers[symptoms[i].answer], symptoms[i].text[0] ? "; " : "",
			symptoms[i].text);
		text_put_words(text, page, i ? "" : "symptoms", words);
	}
}

static void put_losses(const struct sink_text *text, FILE *page, const struct report *report)
{
	for (size_t i = 0; i < report->note_count; i++)
		text_put_words(text, page, "note", report->notes[i]);
	if (!report->complete)
		text_put_words(text, page, "lost",
			"some events of the last interval were lost: counts are lower bounds");
}

int diagnosis_put_text(FILE *out, unsigned columns, const struct report *report,
	const struct report_process *process)
{
	const struct sink_text text = {.columns = text_columns(columns)};
	_cleanup_(cleanup_free) char *bytes = NULL;
	size_t length = 0;
	FILE *page = open_memstream(&bytes, &length);
	struct verdict verdict;

	if (!page)
		return -ENOMEM;
	verdict_reach(process, &verdict);
	put_head(&text, page, process);
	put_verdict(&text, page, &verdict);
	for (unsigned i = 0; i < verdict.remedy_count; i++)
		put_remedy(&text, page, i ? "" : "advice", &verdict.remedies[i]);
	put_symptoms(&text, page, process, &verdict);
	if (process->allocators)
		text_put_allocators(&text, page, process->allocators);
	if (process->heap)
		text_put_heap(&text, page, process->heap);
	put_losses(&text, page, report);
	if (fclose(page))
		return -ENOMEM;
	return sink_put(out, bytes, length);
}

static json_t *json_symptoms(const struct report_process *process)
{
	struct verdict_symptom symptoms[VERDICT_SYMPTOMS];
	struct verdict verdict;
	json_t *array = json_array();
	int failed = 0;

	verdict_reach(process, &verdict);
	verdict_symptoms(process, &verdict, symptoms);
	for (int i = 0; i < VERDICT_SYMPTOMS; i++)
		failed |= json_array_append_new(array,
			json_pack("{s:s, s:s, s:o}", "symptom", symptoms[i].symptom, "answer",
				answers[symptoms[i].answer], "text", json_text(symptoms[i].text)));
	if (failed) {
		json_decref(array);
		return NULL;
	}
	return array;
}

int diagnosis_put_json(FILE *out, const struct report *report, const struct report_process *process)
{
	json_t *object = json_object();
	int failed = 0;

	failed |= json_object_set_new(object, "schema", json_string("pagestay.diagnosis/1"));
	failed |= json_object_set_new(object, "ts", json_time(report->wall_ns));
	failed |= json_object_set_new(object, "host", json_text(report->host));
	failed |= json_object_set_new(object, "observed_s",
		json_real_number((double)process->history->observed_ns / 1e9));
	failed |= json_object_set_new(object, "complete", json_boolean(report->complete));
	failed |= json_object_set_new(object, "symptoms", json_symptoms(process));
	failed |= json_object_set_new(object, "process", json_process(report, process));
	if (failed) {
		json_decref(object);
		object = NULL;
	}
	return json_put_object(object, out);
}
