/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What retention knows, added up and turned into reports. Changes nothing.
 */
#include "retention_state.h"

#include <math.h>

#include "pagestay/core/estimate.h"

static uint64_t positive(int64_t count)
{
	return count > 0 ? count : 0;
}

static struct sampled sampled_positive(struct sampled pages)
{
	return pages.pages > 0 ? pages : (struct sampled){};
}

void tally_add(struct tally *tally, const struct tally *more)
{
	sampled_add(&tally->touched, more->touched);
	tally->resident += more->resident;
	tally->freed += more->freed;
	tally->swapped += more->swapped;
	tally->growth += more->growth;
	tally->requests += more->requests;
	curve_sums_add(&tally->curve, &more->curve);
}

/* Forged numbers may be too large: they wrap, and nothing depends on it. */
static int64_t bytes_of(int64_t pages, uint64_t page_bytes)
{
	return (int64_t)((uint64_t)pages * page_bytes);
}

static int64_t holder_growth(const struct holder *holder)
{
	return holder->counts.resident.pages + holder->counts.freed.pages - holder->resident_before;
}

static struct tally tally_of(const struct holder *holder)
{
	return (struct tally){
		.touched = sampled_positive(holder->counts.touched),
		.resident = positive(holder->counts.resident.pages),
		.freed = positive(holder->counts.freed.pages),
		.swapped = positive(holder->counts.swapped.pages),
		.growth = holder_growth(holder),
		.requests = holder->requests,
		.curve = holder->curve.sums,
	};
}

void retention_requests(const struct retention *retention, struct tally *ret_tally)
{
	const struct holder *const more[] = {
		&retention->other, &retention->open, &retention->overlapping};
	const struct holder *holder, *next;

	*ret_tally = (struct tally){};
	HASH_ITER (hh, retention->routes, holder, next) {
		const struct tally tally = tally_of(holder);

		tally_add(ret_tally, &tally);
	}
	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
		const struct tally tally = tally_of(more[i]);

		tally_add(ret_tally, &tally);
	}
	/* A route's touched pages are known at its requests' ends, these when they were touched. */
	ret_tally->touched = sampled_positive(retention->exclusive);
	sampled_add(&ret_tally->touched, sampled_positive(retention->overlapped));
	ret_tally->requests = retention->open.requests;
}

size_t retention_route_count(const struct retention *retention)
{
	return HASH_COUNT(retention->routes) + 1;
}

void retention_routes(const struct retention *retention, struct retention_route *ret_routes)
{
	const struct holder *holder, *next;

	HASH_ITER (hh, retention->routes, holder, next)
		*ret_routes++ = (struct retention_route){
			holder->text[0] ? holder->text : NULL, tally_of(holder)};
	*ret_routes = (struct retention_route){NULL, tally_of(&retention->other)};
}

double retention_sample_ratio(const struct retention *retention)
{
	return 1.0 / (double)weight(retention);
}

bool retention_growth_known(const struct retention *retention)
{
	return retention->looked_up_before && retention->looked_up;
}

/* Of pages, each of which counts once. */
static struct report_pages estimate_once(const struct retention *retention, uint64_t pages)
{
	return estimate_pages(
		(struct sampled){pages, (double)pages}, retention_sample_ratio(retention));
}

/* What was given back lazily and not written since; the kernel knows how many in all. */
static uint64_t pages_still_freed(
	const struct retention *retention, uint64_t freed, uint64_t kernel_freed_pages)
{
	struct report_pages everywhere;
	struct tally all;

	retention_requests(retention, &all);
	everywhere = estimate_once(
		retention, all.freed + positive(retention->background.counts.freed.pages) +
				   positive(retention->earlier.counts.freed.pages) +
				   positive(retention->unexplained.counts.freed.pages));
	/* A little less than what is estimated says nothing. */
	if (kernel_freed_pages >= everywhere.low)
		return freed;
	return llround((double)freed * (double)kernel_freed_pages / (double)everywhere.value);
}

/* Lazily freed pages that were written again are kept ones. */
static void report_now(const struct retention *retention, const struct tally *tally,
	uint64_t kernel_freed_pages, struct report_retention *report)
{
	uint64_t freed = pages_still_freed(retention, tally->freed, kernel_freed_pages);
	/* Which ones were is not known: all of them make the number uncertain. */
	uint64_t certain = freed == tally->freed ? 0 : freed;

	report->lazyfree_pages = freed;
	report->swapped_pages = tally->swapped;
	report->kept = estimate_once(retention, tally->resident + tally->freed - freed + certain);
	report->kept.value -= certain;
	report->kept.low -= report->kept.low < certain ? report->kept.low : certain;
	report->kept.high -= certain;
}

static void report_survival(const struct retention *retention, const struct curve_sums *sums,
	struct report_retention *report)
{
	for (int i = 0, at = 0; i < REPORT_AGES; i++) {
		struct report_survival *survival = &report->survival[i];

		while (curve_ages_s[at] < report_ages_s[i])
			at++;
		survival->touched_pages = positive(sums->touched[at].pages);
		survival->kept_pages = positive(sums->kept[at].pages);
		estimate_share(sums->kept[at], sums->touched[at], retention_sample_ratio(retention),
			&survival->ratio, &survival->low, &survival->high);
	}
	curve_half_life(sums, &report->half_life_s, &report->half_life_over_s);
}

static double per(uint64_t value, uint64_t count)
{
	return count ? (double)value / (double)count : NAN;
}

void retention_report(const struct retention *retention, const struct tally *tally,
	uint64_t requests, uint64_t kernel_freed_pages, uint64_t page_bytes,
	struct report_retention *ret_report)
{
	report_retention_unknown(ret_report);
	ret_report->touched = estimate_pages(tally->touched, retention_sample_ratio(retention));
	ret_report->touched_pages_per_request = per(ret_report->touched.value, requests);
	report_survival(retention, &tally->curve, ret_report);
	if (!retention->looked_up)
		return;
	report_now(retention, tally, kernel_freed_pages, ret_report);
	ret_report->kept_pages_per_request = per(ret_report->kept.value, tally->requests);
	if (retention->looked_up_before)
		ret_report->growth_bytes = bytes_of(tally->growth, page_bytes);
}

/* Where most pages cannot be told to be a request's, the reason that comes first to mind. */
static const char *hint_of(const struct report_attribution *attribution, uint64_t requests)
{
	uint64_t all = attribution->exclusive + attribution->overlapping + attribution->background;

	if (!requests || all < 64)
		return NULL;
	if (attribution->background_ratio > 0.5)
		return "most pages were touched outside requests: threads that neither receive nor "
		       "answer do work";
	if (attribution->overlapping_ratio > 0.5)
		return "most pages were touched by threads with several requests open: an "
		       "asynchronous server";
	return NULL;
}

void retention_attribution(const struct retention *retention, uint64_t requests,
	struct report_attribution *ret_attribution)
{
	struct report_attribution attribution = {
		.exclusive = positive(retention->exclusive.pages),
		.overlapping = positive(retention->overlapped.pages),
		.background = positive(retention->outside.pages),
		.followed_pages = retention->followed_pages,
		.copied_pages = positive(retention->copied_pages),
		.kernel_pages = retention->kernel_pages,
		.huge_pages = retention->huge_pages,
		.background_kept_pages = REPORT_UNKNOWN,
	};
	uint64_t all = attribution.exclusive + attribution.overlapping + attribution.background;

	attribution.exclusive_ratio = per(attribution.exclusive, all);
	attribution.overlapping_ratio = per(attribution.overlapping, all);
	attribution.background_ratio = per(attribution.background, all);
	if (retention->looked_up)
		attribution.background_kept_pages =
			positive(retention->background.counts.resident.pages);
	attribution.hint = hint_of(&attribution, requests);
	*ret_attribution = attribution;
}

void retention_growth(
	const struct retention *retention, uint64_t page_bytes, struct report_growth *ret_growth)
{
	struct tally requests;
	struct report_pages error;

	retention_requests(retention, &requests);
	ret_growth->requests_bytes = bytes_of(requests.growth, page_bytes);
	ret_growth->background_bytes = bytes_of(holder_growth(&retention->background), page_bytes);
	ret_growth->earlier_bytes = bytes_of(holder_growth(&retention->earlier), page_bytes);
	/* Pages that came and pages that went both are sampled. */
	error = estimate_once(retention,
		positive(retention->exclusive.pages) + positive(retention->overlapped.pages) +
			positive(retention->outside.pages) + positive(retention->died));
	ret_growth->error_bytes = (error.high - error.low) / 2 * page_bytes;
}
