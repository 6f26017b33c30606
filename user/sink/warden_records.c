/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns how events and incidents look: every field that the dashboard agent asks for, always, and
 * sentences for its reader. A line begins with what tells whose it is, so that one that was torn
 * can be known. No line is longer than WARDEN_LINE_BYTES: lists give up their last items, and
 * `truncated` says so. Keeps nothing; called by warden.c and warden_state.c.
 */
#include "warden_parts.h"

#include <errno.h>
#include <string.h>

#include "json_values.h"
#include "pagestay/base/cleanup.h"
#include "pagestay/base/line.h"
#include "pagestay/base/clock.h"
#include "pagestay/base/text.h"

#define MIB           (1024ull * 1024)
#define TWO_HOURS_S   7200
#define TWO_DAYS_S    172800
#define TEXT_BYTES    640
#define ROUTES        8
#define HOST_BYTES    255
#define SHOWN_COLUMNS 64

enum severity { SEVERITY_INFO, SEVERITY_LOW, SEVERITY_MEDIUM, SEVERITY_HIGH, SEVERITY_CRITICAL };

static const char *const severity_names[] = {
	[SEVERITY_INFO] = "info",
	[SEVERITY_LOW] = "low",
	[SEVERITY_MEDIUM] = "medium",
	[SEVERITY_HIGH] = "high",
	[SEVERITY_CRITICAL] = "critical",
};

static const char *const kinds[HAPPENINGS] = {
	[HAPPENING_CHANGED] = "memory.page_retention",
	[HAPPENING_RESTARTED] = "memory.service_restarted",
	[HAPPENING_NEAR_LIMIT] = "memory.limit_near",
	[HAPPENING_DOUBLED] = "memory.incident_doubled",
	[HAPPENING_CLOSED] = "memory.incident_closed",
};

/* What a record is made of, until it is put together. */
struct draft {
	enum severity severity;
	char text[TEXT_BYTES];  /* the summary, one sentence */
	char title[TEXT_BYTES]; /* of an incident */
	json_t *facts;          /* details, or evidence */
	json_t *checks;         /* of an incident */
	int failed;
};

#define SAY(draft, ...) line_add((draft)->text, sizeof((draft)->text), __VA_ARGS__)

void warden_line_begin(const char *writer, bool is_incident, char ret_begin[96])
{
	(void)snprintf(ret_begin, 96, "{%s\"%s\":{\"writer\":\"%s\",",
		is_incident ? "" : "\"source\":\"" WARDEN_SOURCE "\",",
		is_incident ? "evidence" : "details", writer);
}

/*
 * Values.
 */

static bool is_control(const unsigned char *at)
{
	return *at < ' ' || *at == 0x7f || (*at == 0xc2 && at[1] >= 0x80 && at[1] <= 0x9f);
}

/* Anybody's bytes for a dashboard: UTF-8 without control characters, cut at `most` bytes. */
static json_t *clean(const char *bytes, size_t most)
{
	char utf8[3 * EPISODE_EXE_BYTES + 1];
	size_t length = bytes ? strnlen(bytes, most) : 0;

	if (!length)
		return json_null();
	if (length > EPISODE_EXE_BYTES)
		length = EPISODE_EXE_BYTES;
	length = text_for_json(bytes, length, utf8, sizeof(utf8));
	for (unsigned char *at = (unsigned char *)utf8; *at; at++)
		if (is_control(at)) {
			if (*at == 0xc2)
				*at++ = '?';
			*at = '?';
		}
	return json_stringn(utf8, length);
}

static void put(struct draft *draft, const char *path, json_t *value)
{
	draft->failed |= json_set_path(draft->facts, path, value);
}

static void put_number(struct draft *draft, const char *path, uint64_t value)
{
	put(draft, path, json_number(value));
}

static const char *amount(uint64_t bytes, char out[16])
{
	if (bytes == REPORT_UNKNOWN)
		(void)snprintf(out, 16, "?");
	else
		text_bytes(bytes, out);
	return out;
}

static const char *count_text(uint64_t value, char out[16])
{
	text_count(value, out);
	return out;
}

/* As people say it: 45 s, 12 min, 5 h, 3 days. */
static const char *duration(uint64_t ns, char out[32])
{
	uint64_t s = ns / NS_PER_S;

	if (s < 120)
		(void)snprintf(out, 32, "%u s", (unsigned)s);
	else if (s < TWO_HOURS_S)
		(void)snprintf(out, 32, "%u min", (unsigned)(s / 60));
	else if (s < TWO_DAYS_S)
		(void)snprintf(out, 32, "%u h", (unsigned)(s / 3600));
	else
		(void)snprintf(out, 32, "%u days", (unsigned)(s / 86400));
	return out;
}

static const char *word_or(const char *word, const char *other)
{
	return word[0] ? word : other;
}

/* What a person calls the service: the unit without its kind, the container, or the comm. */
static const char *shown(const struct service *service, char out[SHOWN_COLUMNS + 1])
{
	text_for_terminal(
		service->subject, strlen(service->subject), SHOWN_COLUMNS, out, SHOWN_COLUMNS + 1);
	return out;
}

static int append(json_t *array, json_t *item)
{
	return json_array_append_new(array, item);
}

static json_t *entity(const char *type, json_t *value)
{
	return json_pack("{s:s, s:o}", "type", type, "value", value);
}

static json_t *entities(const struct service_name *name)
{
	json_t *array = json_array();
	const char *service = word_or(name->unit, word_or(name->comm, "unnamed"));
	int failed = append(array, entity("service", clean(service, sizeof(name->unit))));

	if (name->container[0])
		failed |= append(array,
			entity("container", clean(name->container, sizeof(name->container))));
	if (name->exe[0])
		failed |= append(array, entity("path", clean(name->exe, sizeof(name->exe))));
	if (!failed)
		return array;
	json_decref(array);
	return NULL;
}

/*
 * Facts: numbers, and why.
 */

static void put_state(
	struct draft *draft, const char *name, enum verdict_code code, enum verdict_cause cause)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "%s.code", name);
	put(draft, path, json_string(verdict_code_names[code]));
	(void)snprintf(path, sizeof(path), "%s.cause", name);
	put(draft, path,
		cause == CAUSE_NONE ? json_null() : json_string(verdict_cause_names[cause]));
}

static void put_name(struct draft *draft, const struct service *service)
{
	const struct service_name *name = &service->name;

	put(draft, "subject", json_string(service->subject));
	put(draft, "unit", clean(name->unit, sizeof(name->unit)));
	put(draft, "container", clean(name->container, sizeof(name->container)));
	put(draft, "comm", clean(name->comm, sizeof(name->comm)));
	put(draft, "exe", clean(name->exe, sizeof(name->exe)));
}

static void put_load(struct draft *draft, const struct service *service)
{
	const struct service_load *load = &service->load;

	put_number(draft, "processes", load->processes);
	put_number(draft, "bytes", service->bytes);
	put_number(draft, "rss_bytes", load->rss_bytes);
	put_number(draft, "peak_rss_bytes", service->peak_rss_bytes);
	put_number(draft, "kept_bytes", load->kept_bytes);
	put_number(draft, "grown_bytes", load->grown_bytes);
	put_number(draft, "requests", load->requests);
	put(draft, "followed_s", json_real_number((double)service->followed_ns / 1e9));
}

static json_t *routes(const struct report_process *process)
{
	json_t *array = json_array();
	int failed = !array;

	for (size_t i = 0; i < process->route_count && i < ROUTES; i++) {
		const struct report_route *route = &process->routes[i];

		failed |= append(array,
			json_pack("{s:o, s:o, s:o}", "route", clean(route->text, PS_ROUTE_BYTES),
				"requests", json_number(route->requests), "kept_pages",
				json_number(route->retention.kept.value)));
	}
	if (!failed)
		return array;
	json_decref(array);
	return NULL;
}

static void put_process(struct draft *draft, const struct report_process *process)
{
	double kept = process->retention.kept_pages_per_request;
	const struct allocators *allocators = process->allocators;

	put(draft, "process.pid", json_integer(process->key.tgid));
	put_number(draft, "process.start_ns", process->key.start_ns);
	put_number(draft, "process.rss_bytes", process->rss_bytes);
	put_number(draft, "process.anon_bytes", process->anon_bytes);
	put(draft, "process.kept_bytes_per_request",
		json_real_number(kept * (double)process->page_bytes));
	put(draft, "process.allocator",
		json_string(
			allocator_names[allocators && allocators->count ? allocators->list[0].name
									: ALLOCATOR_UNKNOWN]));
	put(draft, "routes", routes(process));
}

static json_t *remedies(const struct verdict *verdict)
{
	json_t *array = json_array();
	int failed = !array;

	for (unsigned i = 0; i < verdict->remedy_count; i++) {
		const struct verdict_remedy *remedy = &verdict->remedies[i];

		failed |=
			append(array, json_pack("{s:s, s:o, s:o, s:o, s:o}", "cause",
					      verdict_cause_names[remedy->cause], "forecast_bytes",
					      json_number(remedy->forecast_bytes), "text",
					      json_text(remedy->text), "setting",
					      clean(remedy->setting, VERDICT_LINE_BYTES), "caveat",
					      clean(remedy->caveat, VERDICT_LINE_BYTES)));
	}
	if (!failed)
		return array;
	json_decref(array);
	return NULL;
}

static void put_verdict(struct draft *draft, const struct verdict *verdict)
{
	json_t *lines = json_array();

	for (unsigned i = 0; i < verdict->evidence_count; i++)
		draft->failed |= append(lines, json_text(verdict->evidence[i]));
	put(draft, "evidence", lines);
}

static void put_episode(struct draft *draft, const struct happening *happening)
{
	const struct service *service = happening->service;
	const struct episode_open *episode = &service->episode;

	put(draft, "incident_id", json_string(episode->incident_id));
	put(draft, "opened_at", json_time(episode->opened_wall_ns));
	put(draft, "open_s", json_real_number((double)episode->open_for_ns / 1e9));
	put_number(draft, "open_requests", episode->open_requests);
	put(draft, "episode", warden_episode_json(episode));
	if (happening->kind == HAPPENING_CLOSED)
		put(draft, "reason", json_string(closing_reason_names[happening->reason]));
}

static void put_before(struct draft *draft, const struct happening *happening)
{
	put_state(draft, "before", happening->before, happening->before_cause);
	if (happening->reason != CLOSED_RESTARTED && happening->reason != CLOSED_ENDED)
		return;
	put_number(draft, "before.bytes", happening->before_bytes);
	put_number(draft, "before.rss_bytes", happening->before_rss_bytes);
	put(draft, "before.followed_s", json_real_number((double)happening->before_ns / 1e9));
	if (happening->restarts)
		put_number(draft, "restarts", happening->restarts);
}

static void put_happening(struct draft *draft, const struct warden_origin *origin,
	const struct report *report, const struct happening *happening)
{
	const struct service *service = happening->service;

	put_name(draft, service);
	put_state(draft, "state", service->code, service->cause);
	put(draft, "state.confidence", json_real_number(service->confidence));
	put_before(draft, happening);
	put_load(draft, service);
	put(draft, "interval_s", json_real_number((double)report->interval_ns / 1e9));
	put(draft, "complete", json_boolean(report->complete));
	if (service->limited)
		put_number(draft, "limit_bytes", origin->limit_bytes);
	if (happening->kind == HAPPENING_OPENED || happening->kind == HAPPENING_DOUBLED ||
		happening->kind == HAPPENING_CLOSED)
		put_episode(draft, happening);
	if (happening->process)
		put_process(draft, happening->process);
	if (happening->verdict) {
		put_verdict(draft, happening->verdict);
		if (happening->kind != HAPPENING_OPENED)
			put(draft, "remedies", remedies(happening->verdict));
	}
}

/*
 * Sentences.
 */

/* What the service does, without an end: "nginx retains 684M of what it has freed (RSS 1.2G)". */
static void say_state(char *line, size_t line_bytes, const struct service *service)
{
	char name[SHOWN_COLUMNS + 1], bytes[16], rss[16];

	(void)shown(service, name);
	(void)amount(service->bytes, bytes);
	(void)amount(service->load.rss_bytes, rss);
	if (service->code == VERDICT_RETAINING)
		line_add(line, line_bytes, "%s retains %s that it no longer needs (RSS %s)", name,
			bytes, rss);
	else if (service->code == VERDICT_GROWING)
		line_add(line, line_bytes, "%s grows: %s above its least (RSS %s)", name, bytes,
			rss);
	else
		line_add(line, line_bytes, "%s has RSS %s, memory %s", name, rss,
			verdict_code_names[service->code]);
}

static void say_limit(char *line, size_t line_bytes, const struct warden_origin *origin,
	const struct service *service)
{
	char limit[16];

	if (service->limited && service->load.rss_bytes >= origin->limit_bytes / 2)
		line_add(line, line_bytes, ", %u %% of the %s at which a watchdog restarts it",
			(unsigned)(service->load.rss_bytes / (origin->limit_bytes / 100 + 1)),
			amount(origin->limit_bytes, limit));
}

/* The first of a verdict's evidence is what was decided by. */
static void say_why(struct draft *draft, const struct happening *happening)
{
	const struct service *service = happening->service;

	if (service->cause != CAUSE_NONE)
		SAY(draft, "; cause %s", verdict_cause_names[service->cause]);
	if (happening->verdict && happening->verdict->evidence_count)
		SAY(draft, ": %s", happening->verdict->evidence[0]);
}

static void say_before(struct draft *draft, const struct happening *happening)
{
	char bytes[16], rss[16], time[32];

	SAY(draft, " at RSS %s, followed for %s", amount(happening->before_rss_bytes, rss),
		duration(happening->before_ns, time));
	if (happening->before == VERDICT_RETAINING || happening->before == VERDICT_GROWING)
		SAY(draft, "; until then %s, %s%s%s", verdict_code_names[happening->before],
			amount(happening->before_bytes, bytes),
			happening->before_cause == CAUSE_NONE ? "" : ", cause ",
			happening->before_cause == CAUSE_NONE
				? ""
				: verdict_cause_names[happening->before_cause]);
}

static void say_closed(struct draft *draft, const struct happening *happening)
{
	static const char *const reasons[CLOSING_REASONS] = {
		[CLOSED_FELL] = "what it keeps has fallen",
		[CLOSED_CALM] = "it retains and grows no more",
		[CLOSED_ENDED] = "it ended",
		[CLOSED_RESTARTED] = "it was restarted",
	};
	const struct service *service = happening->service;
	char name[SHOWN_COLUMNS + 1], peak[16], open[32];

	SAY(draft, "%s: incident over after %s, %s at most: %s", shown(service, name),
		duration(service->episode.open_for_ns, open),
		amount(service->episode.peak_bytes, peak), reasons[happening->reason]);
	if (happening->reason == CLOSED_RESTARTED || happening->reason == CLOSED_ENDED)
		say_before(draft, happening);
}

static void say_happening(
	struct draft *draft, const struct warden_origin *origin, const struct happening *happening)
{
	const struct service *service = happening->service;
	char name[SHOWN_COLUMNS + 1], bytes[16];

	if (happening->kind == HAPPENING_CLOSED) {
		say_closed(draft, happening);
	} else if (happening->kind == HAPPENING_RESTARTED) {
		SAY(draft, "%s was restarted", shown(service, name));
		if (happening->restarts > 1)
			SAY(draft, " %s times since that was told last; now",
				count_text(happening->restarts, bytes));
		say_before(draft, happening);
	} else {
		say_state(draft->text, sizeof(draft->text), service);
		if (happening->kind == HAPPENING_DOUBLED)
			SAY(draft, ", twice as much as told before; %s when the incident opened",
				amount(service->episode.opened_bytes, bytes));
		say_limit(draft->text, sizeof(draft->text), origin, service);
		say_why(draft, happening);
	}
	say_state(draft->title, sizeof(draft->title), service);
	say_limit(draft->title, sizeof(draft->title), origin, service);
}

static bool is_keeping(enum verdict_code code)
{
	return code == VERDICT_RETAINING || code == VERDICT_GROWING;
}

static enum severity by_bytes(uint64_t bytes)
{
	return bytes >= 8192 * MIB   ? SEVERITY_CRITICAL
	       : bytes >= 1024 * MIB ? SEVERITY_HIGH
	       : bytes >= 64 * MIB   ? SEVERITY_MEDIUM
				     : SEVERITY_LOW;
}

static enum severity by_limit(const struct warden_origin *origin, const struct service *service)
{
	uint64_t rss = service->load.rss_bytes, tenth = origin->limit_bytes / 10;

	if (!service->limited || rss < 5 * tenth)
		return SEVERITY_INFO;
	return rss >= 9 * tenth               ? SEVERITY_CRITICAL
	       : rss >= 7 * tenth + tenth / 2 ? SEVERITY_HIGH
					      : SEVERITY_MEDIUM;
}

static enum severity severity_of(
	const struct warden_origin *origin, const struct happening *happening)
{
	const struct service *service = happening->service;
	enum severity limit = by_limit(origin, service), bytes = SEVERITY_INFO;
	bool keeps = is_keeping(service->code), kept = is_keeping(happening->before);

	if (happening->kind == HAPPENING_CLOSED)
		return happening->reason == CLOSED_RESTARTED && service->limited ? SEVERITY_MEDIUM
										 : SEVERITY_INFO;
	if (happening->kind == HAPPENING_RESTARTED)
		return kept || service->limited ? SEVERITY_MEDIUM : SEVERITY_LOW;
	if (keeps || service->open)
		bytes = by_bytes(service->bytes);
	return limit > bytes ? limit : bytes;
}

static void put_checks(struct draft *draft, const struct happening *happening)
{
	const struct verdict *verdict = happening->verdict;

	draft->checks = json_array();
	for (unsigned i = 0; verdict && i < verdict->remedy_count; i++) {
		const struct verdict_remedy *remedy = &verdict->remedies[i];

		draft->failed |= append(draft->checks,
			json_sprintf("%s%s%s%s%s%s", remedy->text,
				remedy->setting[0] ? " Setting: " : "", remedy->setting,
				remedy->caveat[0] ? " Caveat: " : "", remedy->caveat,
				remedy->caveat[0] ? "." : ""));
	}
	if (happening->process)
		draft->failed |= append(draft->checks,
			json_sprintf("Run `pagestay diagnose %u` on the host for all evidence.",
				(unsigned)happening->process->key.tgid));
}

/*
 * Putting together.
 */

static bool give_up_one(json_t *list, size_t least)
{
	size_t count = json_array_size(list);

	return count > least && json_array_remove(list, count - 1) == 0;
}

/* What matters least goes first. False: nothing is left that could. */
static bool shorten(struct draft *draft)
{
	if (!give_up_one(json_object_get(draft->facts, "routes"), 0) &&
		!give_up_one(json_object_get(draft->facts, "remedies"), 1) &&
		!give_up_one(json_object_get(draft->facts, "services"), 1) &&
		!give_up_one(draft->checks, 1) &&
		!give_up_one(json_object_get(draft->facts, "evidence"), 0))
		return false;
	return json_object_set_new(draft->facts, "truncated", json_true()) == 0;
}

static struct warden_record *record_of(
	const json_t *root, bool is_incident, uint64_t sequence, size_t length)
{
	struct warden_record *record = malloc(sizeof(*record) + length + 2);

	if (!record)
		return NULL;
	record->next = NULL;
	record->sequence = sequence;
	record->is_incident = is_incident;
	record->length = length + 1;
	if (json_dumpb(root, record->line, length, JSON_DUMP_FLAGS) != length) {
		free(record);
		return NULL;
	}
	record->line[length] = '\n';
	record->line[length + 1] = '\0';
	return record;
}

/* Takes the root's reference. */
static struct warden_record *fitted(
	struct draft *draft, json_t *root, bool is_incident, uint64_t sequence)
{
	struct warden_record *record = NULL;
	size_t length = root && !draft->failed ? json_dumpb(root, NULL, 0, JSON_DUMP_FLAGS) : 0;

	while (length + 1 > WARDEN_LINE_BYTES)
		length = shorten(draft) ? json_dumpb(root, NULL, 0, JSON_DUMP_FLAGS) : 0;
	if (length)
		record = record_of(root, is_incident, sequence, length);
	json_decref(root);
	return record;
}

static void draft_init(struct draft *draft, const struct warden_origin *origin, uint64_t sequence)
{
	memset(draft, 0, sizeof(*draft));
	draft->facts = json_object();
	draft->failed = !draft->facts;
	put(draft, "writer", json_string(origin->writer));
	put_number(draft, "sequence", sequence);
	put(draft, "truncated", json_false());
}

static json_t *host_of(const struct report *report)
{
	const char *host = report->host;

	return host && host[0] ? clean(host, HOST_BYTES) : json_string("unknown");
}

/* Each value may be NULL; the references are taken in any case. */
static json_t *event(struct draft *draft, const struct report *report, const char *kind,
	const char *tag, json_t *of)
{
	return json_pack("{s:s, s:o, s:o, s:o, s:s, s:s, s:o, s:o, s:o}", "source", WARDEN_SOURCE,
		"details", draft->facts, "ts", json_time(report->wall_ns), "host", host_of(report),
		"kind", kind, "severity", severity_names[draft->severity], "summary",
		json_text(draft->text), "tags",
		json_pack("[s, s, s]", WARDEN_SOURCE, "memory", tag), "entities", of);
}

static json_t *incident(
	struct draft *draft, const struct report *report, const struct service *service)
{
	return json_pack("{s:o, s:o, s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "evidence",
		draft->facts, "ts", json_time(report->wall_ns), "host", host_of(report),
		"incident_id", service->episode.incident_id, "severity",
		severity_names[draft->severity], "title", json_text(draft->title), "summary",
		json_text(draft->text), "recommended_checks", draft->checks, "tags",
		json_pack("[s, s, s]", WARDEN_SOURCE, "memory", verdict_code_names[service->code]),
		"entities", entities(&service->name));
}

struct warden_record *warden_record_of(const struct warden_origin *origin, uint64_t sequence,
	const struct report *report, const struct happening *happening)
{
	const struct service *service = happening->service;
	bool is_incident = happening->kind == HAPPENING_OPENED;
	struct draft draft;
	json_t *root;

	draft_init(&draft, origin, sequence);
	put_happening(&draft, origin, report, happening);
	say_happening(&draft, origin, happening);
	draft.severity = severity_of(origin, happening);
	if (is_incident)
		put_checks(&draft, happening);
	root = is_incident ? incident(&draft, report, service)
			   : event(&draft, report, kinds[happening->kind],
				     verdict_code_names[service->code], entities(&service->name));
	return fitted(&draft, root, is_incident, sequence);
}

/*
 * The day.
 */

static json_t *day_service(const struct narrative_service *service)
{
	json_int_t growth =
		(json_int_t)service->last_rss_bytes - (json_int_t)service->first_rss_bytes;

	return json_pack("{s:s, s:o, s:o, s:I, s:o, s:o, s:o, s:o}", "subject", service->subject,
		"kept_bytes", json_number(service->kept_bytes), "requests",
		json_number(service->requests), "rss_growth_bytes", growth, "rss_bytes",
		json_number(service->last_rss_bytes), "peak_rss_bytes",
		json_number(service->peak_rss_bytes), "asked_bytes",
		json_number(service->asked_bytes), "returned_bytes",
		json_number(service->returned_bytes));
}

static void put_day(struct draft *draft, const struct narrative *day,
	const struct narrative_service *const *top, size_t count)
{
	json_t *services = json_array();

	put(draft, "day", json_integer(day->day));
	put(draft, "from", json_time(day->from_wall_ns));
	put(draft, "to", json_time(day->to_wall_ns));
	put(draft, "observed_s", json_real_number((double)day->observed_ns / 1e9));
	put_number(draft, "reports", day->reports);
	put_number(draft, "incomplete_reports", day->incomplete_reports);
	put_number(draft, "requests", day->requests);
	put_number(draft, "asked_bytes", day->asked_bytes);
	put_number(draft, "returned_bytes", day->returned_bytes);
	put_number(draft, "incidents.opened", day->opened);
	put_number(draft, "incidents.doubled", day->doubled);
	put_number(draft, "incidents.closed", day->closed);
	put_number(draft, "restarts", day->restarted);
	put_number(draft, "most_processes", day->most_processes);
	put_number(draft, "services_left_out", day->left_out);
	put(draft, "worst.subject",
		day->worst_subject[0] ? json_string(day->worst_subject) : json_null());
	put_number(draft, "worst.rss_bytes", day->worst_rss_bytes);
	put(draft, "worst.at", json_time(day->worst_wall_ns));
	for (size_t i = 0; i < count; i++)
		draft->failed |= append(services, day_service(top[i]));
	put(draft, "services", services);
}

static void say_day(struct draft *draft, const struct narrative *day,
	const struct narrative_service *const *top, size_t count)
{
	char a[16], b[16];

	SAY(draft, "%04u-%02u-%02u: %s requests; %s given back to the kernel, %s asked of it",
		day->day / 10000, day->day / 100 % 100, day->day % 100,
		count_text(day->requests, a), amount(day->returned_bytes, b),
		amount(day->asked_bytes, (char[16]){0}));
	for (size_t i = 0; i < count && i < 3 && top[i]->kept_bytes >= MIB; i++)
		SAY(draft, "%s %.*s %s", i ? "," : "; most kept by", SHOWN_COLUMNS, top[i]->subject,
			amount(top[i]->kept_bytes, a));
	if (day->worst_subject[0])
		SAY(draft, "; highest RSS %s of %.*s", amount(day->worst_rss_bytes, a),
			SHOWN_COLUMNS, day->worst_subject);
	SAY(draft, "; incidents: %s opened, %s closed", count_text(day->opened, a),
		count_text(day->closed, b));
	if (day->restarted)
		SAY(draft, "; %s restarts", count_text(day->restarted, a));
	SAY(draft, ".");
}

struct warden_record *warden_record_of_day(const struct warden_origin *origin, uint64_t sequence,
	const struct report *report, const struct narrative *narrative)
{
	const struct narrative_service *top[NARRATIVE_TOP];
	size_t count = narrative_top(narrative, top);
	json_t *of = json_array();
	struct draft draft;

	draft_init(&draft, origin, sequence);
	put_day(&draft, narrative, top, count);
	say_day(&draft, narrative, top, count);
	draft.severity = SEVERITY_INFO;
	for (size_t i = 0; i < count && i < 3; i++)
		draft.failed |= append(of, entity("service", json_string(top[i]->subject)));
	return fitted(&draft, event(&draft, report, "memory.daily_narrative", "narrative", of),
		false, sequence);
}
