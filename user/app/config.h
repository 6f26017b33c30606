/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The agent's configuration file: sections of `key = value` (packaging/pagestay.conf has every
 * key).
 */
#ifndef PAGESTAY_APP_CONFIG_H
#define PAGESTAY_APP_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pagestay/base/diag.h"

#define CONFIG_TEXT_BYTES 256
#define CONFIG_LIST       16

enum config_warden {
	CONFIG_WARDEN_OFF,
	CONFIG_WARDEN_AUTO,
	CONFIG_WARDEN_JSONL,
	CONFIG_WARDEN_SQLITE
};
enum config_label { CONFIG_LABEL_UNIT, CONFIG_LABEL_CONTAINER, CONFIG_LABEL_COMM };
enum config_detail { CONFIG_DETAIL_LEDGER, CONFIG_DETAIL_REQUESTS, CONFIG_DETAIL_PAGES };

/* Values that may be given more than once, in their order. */
struct config_list {
	char texts[CONFIG_LIST][CONFIG_TEXT_BYTES];
	unsigned count;
};

/* Durations are seconds. A text is empty where nothing is set. */
struct config {
	struct {
		double interval_s;
		unsigned detail; /* enum config_detail */
		bool routes;
		double xray_s; /* between x-rays of a process; 0: none */
		struct config_list units, cgroups, ports, pids;
		char comm[CONFIG_TEXT_BYTES];
		unsigned max_processes, max_routes, max_pages, sample_level, top;
	} watch;
	struct {
		unsigned format; /* enum config_warden */
		char directory[CONFIG_TEXT_BYTES];
		uint64_t incident_bytes;
		double incident_confidence;
		unsigned queue;
	} warden;
	struct {
		unsigned label;  /* enum config_label */
		unsigned routes; /* the top ones of each service; 0: none */
		unsigned services;
		char textfile[CONFIG_TEXT_BYTES];
	} prometheus;
	struct {
		char address[CONFIG_TEXT_BYTES]; /* HOST:PORT, [HOST]:PORT or unix:PATH; empty: none
						  */
		char token_file[CONFIG_TEXT_BYTES];
		struct config_list hosts;
		unsigned connections, connections_per_client, requests_per_minute;
	} listen;
	struct {
		char directory[CONFIG_TEXT_BYTES];
		bool json, recording;
		uint64_t rotate_bytes, keep_bytes;
		unsigned keep_days;
	} files;
};

/* One key. The table is what the example and the man page are checked against. */
struct config_key {
	const char *section, *name;
	const char *help; /* for messages: what a value may be */
	unsigned kind;
	bool is_fixed; /* takes effect at the start only */
	size_t offset;
	double least, most;
	const char *const *choices; /* ends with NULL */
};

extern const struct config_key config_keys[];
extern const size_t config_key_count;

void config_defaults(struct config *config);

/*
 * Reads the file over the defaults. -EINVAL: `diag` names the file, the line and what is wrong with
 * it, an unknown key or section too; -errno if it cannot be read. *ret_config is untouched then.
 */
int config_load(const char *path, struct config *ret_config, struct diag *diag);

/* Whether a key of the section has another value. */
bool config_differs(const struct config *a, const struct config *b, const char *section);

/* The next key after `after` (NULL: the first) that is fixed and has another value; NULL: none. */
const struct config_key *config_next_fixed(
	const struct config *a, const struct config *b, const struct config_key *after);

#endif
