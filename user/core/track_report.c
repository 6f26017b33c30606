/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Makes the report of an interval: a row a process, its routes, its pages, and what became of its
 * memory. Reads what track.c folded and changes of it only what carries over (balances of readings
 * that disagree by a moment) and the history. Called by track.c at each TICK.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "track_state.h"

static int64_t change(uint64_t before, uint64_t now)
{
	return before == EVENT_UNKNOWN || now == EVENT_UNKNOWN ? REPORT_DELTA_UNKNOWN
							       : (int64_t)(now - before);
}

/* Of what only grows. */
static uint64_t since(uint64_t before, uint64_t now)
{
	bool is_known = before != EVENT_UNKNOWN && now != EVENT_UNKNOWN && now >= before;

	return is_known ? now - before : REPORT_UNKNOWN;
}

/*
 * Connections and faults are reported as the growth of a total that never shrinks: counts of one
 * instant and readings of another may disagree by what lay between, and the next interval settles
 * it instead of reporting a negative number.
 */
static uint64_t grow(uint64_t *reported, int64_t total)
{
	uint64_t growth;

	if (total <= (int64_t)*reported)
		return 0;
	growth = total - *reported;
	*reported = total;
	return growth;
}

static uint64_t background_faults(struct tracked_process *process)
{
	if (process->exited || process->faults_base == EVENT_UNKNOWN ||
		process->memory.faults == EVENT_UNKNOWN)
		return REPORT_UNKNOWN;
	return grow(&process->background_total,
		process->memory.faults - process->faults_base - process->attributed_total);
}

static uint64_t kept(const struct route_row *row)
{
	return row->tally.resident + row->tally.freed;
}

static int by_kept(const void *a, const void *b)
{
	const struct route_row *left = a, *right = b;

	if (kept(left) != kept(right))
		return kept(left) < kept(right) ? 1 : -1;
	if (left->requests != right->requests)
		return left->requests < right->requests ? 1 : -1;
	return strcmp(left->text, right->text);
}

static int by_text(const void *a, const void *b)
{
	const struct route_row *left = a, *right = b;

	return strcmp(left->text, right->text);
}

static void row_add(struct route_row *row, const struct route_row *more)
{
	row->requests += more->requests;
	tally_add(&row->tally, &more->tally);
}

/* Several paths as sent may be one route. Returns how many rows are left. */
static size_t rows_unite(struct route_row *rows, size_t count)
{
	size_t used = 0;

	qsort(rows, count, sizeof(rows[0]), by_text);
	for (size_t i = 1; i < count; i++) {
		if (strcmp(rows[used].text, rows[i].text) == 0)
			row_add(&rows[used], &rows[i]);
		else
			rows[++used] = rows[i];
	}
	return count ? used + 1 : 0;
}

static bool row_is_idle(const struct route_row *row)
{
	return !row->requests && !row->tally.touched.pages && !row->tally.resident &&
	       !row->tally.freed && !row->tally.swapped && !row->tally.growth &&
	       !row->tally.curve.touched[0].pages;
}

static size_t rows_drop_idle(struct route_row *rows, size_t count)
{
	size_t used = 0;

	for (size_t i = 0; i < count; i++)
		if (!row_is_idle(&rows[i]))
			rows[used++] = rows[i];
	return used;
}

/* Room for the rows of a process's routes, with one for `other`. */
static size_t row_room(const struct tracked_process *process)
{
	size_t room = HASH_COUNT(process->interval.routes) + 1;

	return process->retention ? room + retention_route_count(process->retention) : room;
}

/* Pages of routes whose name is not known are `other`'s. Returns how many rows. */
static size_t rows_of_pages(
	const struct tracked_process *process, struct route_row *rows, struct route_row *other)
{
	size_t count = 0, known;
	struct retention_route *routes;

	if (!process->retention)
		return 0;
	known = retention_route_count(process->retention);
	routes = calloc(known, sizeof(*routes));
	if (!routes)
		return 0;
	retention_routes(process->retention, routes);
	for (size_t i = 0; i < known; i++) {
		if (routes[i].text)
			rows[count++] = (struct route_row){routes[i].text, 0, routes[i].tally};
		else
			tally_add(&other->tally, &routes[i].tally);
	}
	free(routes);
	return count;
}

static uint64_t kernel_freed_pages(const struct track *track, const struct tracked_process *process)
{
	return process->memory.lazyfree_bytes == EVENT_UNKNOWN || !track->stream.page_bytes
		       ? REPORT_UNKNOWN
		       : process->memory.lazyfree_bytes / track->stream.page_bytes;
}

/* Nothing can be looked up in a process that is gone. */
static void forget_pages(struct report_retention *retention)
{
	retention->kept = (struct report_pages){REPORT_UNKNOWN, REPORT_UNKNOWN, REPORT_UNKNOWN};
	retention->swapped_pages = REPORT_UNKNOWN;
	retention->lazyfree_pages = REPORT_UNKNOWN;
	retention->growth_bytes = REPORT_DELTA_UNKNOWN;
	retention->kept_pages_per_request = NAN;
}

static struct report_route report_of_route(const struct track *track,
	const struct tracked_process *process, const struct route_row *row)
{
	struct report_route route = {.text = row->text, .requests = row->requests};

	report_retention_unknown(&route.retention);
	if (process->retention)
		retention_report(process->retention, &row->tally, row->requests,
			kernel_freed_pages(track, process), track->stream.page_bytes,
			&route.retention);
	if (process->exited)
		forget_pages(&route.retention);
	return route;
}

/*
 * The process's routes into `ret_routes`: the top ones, and `other` for the rest and for what found
 * the kernel's map full. Requests and routes are read one after the other, so at an interval's edge
 * one may be ahead; the balance carries over and the sums agree. Returns how many rows.
 */
static size_t report_routes(const struct track *track, struct tracked_process *process,
	struct route_row *rows, struct report_route *ret_routes)
{
	struct tracked_route *route, *next;
	struct route_row other = {.text = "other"};
	size_t count, shown, top = track->options.top;

	count = rows_of_pages(process, rows, &other);
	process->unrouted += process->interval.counters[PS_REQUESTS_ROUTED];
	HASH_ITER (hh, process->interval.routes, route, next) {
		rows[count++] =
			(struct route_row){.text = route->text, .requests = route->requests};
		process->unrouted -= route->requests;
	}
	count = rows_drop_idle(rows, rows_unite(rows, count));
	qsort(rows, count, sizeof(rows[0]), by_kept);
	shown = top && count > top ? top : count;
	for (size_t i = shown; i < count; i++)
		row_add(&other, &rows[i]);
	if (process->unrouted > 0) {
		other.requests += process->unrouted;
		process->unrouted = 0;
	}
	for (size_t i = 0; i < shown; i++)
		ret_routes[i] = report_of_route(track, process, &rows[i]);
	if (!row_is_idle(&other))
		ret_routes[shown++] = report_of_route(track, process, &other);
	return shown;
}

/* Forged numbers may be too large: they wrap. */
static int64_t rest_of_growth(int64_t whole, const struct report_growth *growth)
{
	return (int64_t)((uint64_t)whole - (uint64_t)growth->requests_bytes -
			 (uint64_t)growth->background_bytes - (uint64_t)growth->earlier_bytes -
			 (uint64_t)growth->files_bytes);
}

/* What pages and files do not explain is said to be so; the parts add up to the change of RSS. */
static void report_growth(const struct track *track, const struct tracked_process *process,
	struct report_process *row)
{
	const struct event_memory *before = &process->interval.before, *now = &process->memory;
	struct report_growth *growth = &row->growth;
	int64_t files = change(before->file_bytes, now->file_bytes);

	if (!process->retention || !retention_growth_known(process->retention) ||
		row->rss_delta_bytes == REPORT_DELTA_UNKNOWN || files == REPORT_DELTA_UNKNOWN)
		return;
	retention_growth(process->retention, track->stream.page_bytes, growth);
	growth->files_bytes = files;
	growth->unexplained_bytes = rest_of_growth(row->rss_delta_bytes, growth);
	if (now->rss_error_bytes != EVENT_UNKNOWN)
		growth->error_bytes += now->rss_error_bytes;
}

static double share(uint64_t part, double all)
{
	return all > 0 ? (double)part / all : NAN;
}

/* Below the detail level `pages` it is faults whose shares are known. */
static void report_attribution(const struct tracked_process *process, struct report_process *row)
{
	struct report_attribution *attribution = &row->attribution;
	double all;

	if (process->retention) {
		retention_attribution(
			process->retention, process->interval.counters[PS_REQUESTS], attribution);
		return;
	}
	attribution->exclusive = row->counters[PS_FAULTS_IN_REQUESTS];
	attribution->overlapping = row->counters[PS_FAULTS_OVERLAPPING];
	attribution->background = row->faults_background;
	if (attribution->exclusive == REPORT_UNKNOWN || attribution->background == REPORT_UNKNOWN)
		return;
	all = (double)attribution->exclusive + (double)attribution->overlapping +
	      (double)attribution->background;
	attribution->exclusive_ratio = share(attribution->exclusive, all);
	attribution->overlapping_ratio = share(attribution->overlapping, all);
	attribution->background_ratio = share(attribution->background, all);
}

static void report_pages(
	const struct track *track, struct tracked_process *process, struct report_process *row)
{
	struct tally tally;

	if (process->retention) {
		retention_requests(process->retention, &tally);
		retention_report(process->retention, &tally,
			process->interval.counters[PS_REQUESTS], kernel_freed_pages(track, process),
			track->stream.page_bytes, &row->retention);
		row->sample_ratio = retention_sample_ratio(process->retention);
	}
	if (process->exited)
		forget_pages(&row->retention);
	report_attribution(process, row);
	report_growth(track, process, row);
}

/* What of a row is not known unless pages are tracked. */
static void pages_unknown(struct report_process *row)
{
	const int64_t unknown = REPORT_DELTA_UNKNOWN;

	report_retention_unknown(&row->retention);
	row->sample_ratio = NAN;
	row->attribution = (struct report_attribution){REPORT_UNKNOWN, REPORT_UNKNOWN,
		REPORT_UNKNOWN, NAN, NAN, NAN, REPORT_UNKNOWN, REPORT_UNKNOWN, REPORT_UNKNOWN,
		REPORT_UNKNOWN, REPORT_UNKNOWN, NULL};
	row->growth =
		(struct report_growth){unknown, unknown, unknown, unknown, unknown, REPORT_UNKNOWN};
}

static void report_row(
	const struct track *track, struct tracked_process *process, struct report_process *row)
{
	const struct event_memory *before = &process->interval.before, *now = &process->memory;

	*row = (struct report_process){
		.key = process->key,
		.comm = process->identity.comm,
		.exe = process->identity.exe[0] ? process->identity.exe : NULL,
		.unit = process->unit[0] ? process->unit : NULL,
		.container = process->container[0] ? process->container : NULL,
		.exited = process->exited,
		.open = process->open,
		.closed = grow(&process->closed_total, process->opened_total - process->open),
		.faults_background = background_faults(process),
		.rss_bytes = REPORT_UNKNOWN,
		.anon_bytes = REPORT_UNKNOWN,
		.lazyfree_bytes = REPORT_UNKNOWN,
		.swap_bytes = REPORT_UNKNOWN,
		.rss_delta_bytes = REPORT_DELTA_UNKNOWN,
		.anon_delta_bytes = REPORT_DELTA_UNKNOWN,
		.cpu_ns = REPORT_UNKNOWN,
		.allocators = process->allocators,
		.heap = process->heap,
		.heap_age_s = process->heap ? (double)process->heap_age_ns / 1e9 : NAN,
		.history = &process->history,
	};
	memcpy(row->counters, process->interval.counters, sizeof(row->counters));
	row->page_bytes = track->stream.page_bytes;
	pages_unknown(row);
	if (process->exited)
		return;
	row->rss_bytes = now->rss_bytes;
	row->anon_bytes = now->anon_bytes;
	row->lazyfree_bytes = now->lazyfree_bytes;
	row->swap_bytes = now->swap_bytes;
	row->rss_delta_bytes = change(before->rss_bytes, now->rss_bytes);
	row->anon_delta_bytes = change(before->anon_bytes, now->anon_bytes);
	if (before->cpu_ns != EVENT_UNKNOWN && now->cpu_ns != EVENT_UNKNOWN &&
		now->cpu_ns >= before->cpu_ns)
		row->cpu_ns = now->cpu_ns - before->cpu_ns;
}

/* What is not counted at this level of detail is unknown, not 0. */
static void forget_requests(struct report_process *row)
{
	for (int i = PS_CONNECTIONS_OPENED; i < PS_COUNTERS; i++)
		row->counters[i] = REPORT_UNKNOWN;
	row->open = REPORT_UNKNOWN;
	row->closed = REPORT_UNKNOWN;
	row->faults_background = REPORT_UNKNOWN;
}

static int compare(int64_t left, int64_t right)
{
	return (left > right) - (left < right);
}

static int by_growth(const void *a, const void *b)
{
	const struct report_process *left = a, *right = b;
	int order = compare(right->anon_delta_bytes, left->anon_delta_bytes);

	if (!order)
		order = compare(right->anon_bytes + 1, left->anon_bytes + 1);
	if (!order)
		order = compare(left->key.tgid, right->key.tgid);
	return order ? order : compare(left->key.start_ns, right->key.start_ns);
}

static size_t count_routes(const struct track *track, size_t *ret_most)
{
	struct tracked_process *process, *next;
	size_t count = 0, most = 0;

	HASH_ITER (hh, track->processes, process, next) {
		size_t room = row_room(process);

		count += room;
		most = room > most ? room : most;
	}
	*ret_most = most;
	return count;
}

/* CLOCK_BOOTTIME, which start times are of, is the same but for the time that a machine slept. */
static uint64_t age_ns(const struct tracked_process *process, const struct event_tick *tick)
{
	return tick->now_ns > process->key.start_ns ? tick->now_ns - process->key.start_ns : 0;
}

/* Forged intervals may be of any length. */
static uint64_t add(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static int report_rows(struct track *track, const struct event_tick *tick)
{
	struct tracked_process *process, *next;
	size_t count = 0, used = 0, most;

	free(track->rows);
	free(track->routes);
	track->rows = calloc(HASH_COUNT(track->processes) + 1, sizeof(*track->rows));
	track->routes = calloc(count_routes(track, &most) + 1, sizeof(*track->routes));
	free(track->route_rows);
	track->route_rows = calloc(most + 1, sizeof(*track->route_rows));
	if (!track->rows || !track->routes || !track->route_rows)
		return -ENOMEM;
	HASH_ITER (hh, track->processes, process, next) {
		struct report_process *row = &track->rows[count++];

		report_row(track, process, row);
		if (strcmp(track->stream.detail, "ledger") == 0)
			forget_requests(row);
		report_pages(track, process, row);
		history_fold(&process->history, row, tick->interval_ns, age_ns(process, tick));
		process->heap_age_ns = add(process->heap_age_ns, tick->interval_ns);
		if (!track->stream.routes)
			continue;
		row->routes = &track->routes[used];
		row->route_count =
			report_routes(track, process, track->route_rows, &track->routes[used]);
		used += row->route_count;
	}
	qsort(track->rows, count, sizeof(track->rows[0]), by_growth);
	track->report.processes = track->rows;
	track->report.process_count = count;
	return 0;
}

int track_make_report(struct track *track, const struct event_tick *tick)
{
	struct tracked_process *process, *next;
	int error;

	HASH_ITER (hh, track->processes, process, next)
		if (process->retention)
			retention_end(process->retention, tick->now_ns,
				process->interval.counters[PS_REQUESTS]);
	error = report_rows(track, tick);

	if (error)
		return error;
	track->report.wall_ns = tick->wall_ns;
	track->report.interval_ns = tick->interval_ns;
	track->report.host = track->stream.host;
	track->report.source = track->options.source;
	track->report.detail = track->stream.detail;
	track->report.routes = track->stream.routes;
	track->report.complete = !track->damaged;
	for (int i = 0; i < PS_LOSSES; i++) {
		track->report.lost[i] = track->lost[i];
		if (track->lost[i])
			track->report.complete = false;
	}
	track->report.notes = track->note_texts;
	track->report.note_count = track->note_count;
	track->report.self_rss_bytes = tick->self_rss_bytes;
	track->report.self_cpu_ns = since(track->before.self_cpu_ns, tick->self_cpu_ns);
	track->report.self_bpf_ns = since(track->before.self_bpf_ns, tick->self_bpf_ns);
	track->report.self_bpf_runs = since(track->before.self_bpf_runs, tick->self_bpf_runs);
	track->before = *tick;
	track->reported = true;
	return 1;
}
