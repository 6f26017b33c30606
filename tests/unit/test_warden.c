/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Records for the dashboard agent: every field, whatever a process calls itself; and the state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../user/app/outputs.h"
#include "../../user/sink/warden_parts.h"
#include "seeded.h"
#include "warden_world.h"

static const struct warden_origin origin = {
	.writer = "1886caf244ffa780-1d73",
	.limit_bytes = EPISODE_LIMIT_BYTES,
};

/*
 * The validator.
 */

static bool is_one_of(const json_t *value, const char *const *words)
{
	const char *text = json_string_value(value);

	while (text && *words && strcmp(text, *words) != 0)
		words++;
	return text && *words;
}

static void assert_text(const json_t *value)
{
	const unsigned char *text = (const unsigned char *)json_string_value(value);

	assert_non_null(text);
	assert_true(text[0]);
	for (; *text; text++)
		assert_false(*text < ' ' || *text == 0x7f ||
			     (*text == 0xc2 && text[1] >= 0x80 && text[1] <= 0x9f));
}

static void assert_texts(const json_t *array)
{
	assert_true(json_is_array(array));
	for (size_t i = 0; i < json_array_size(array); i++)
		assert_text(json_array_get(array, i));
}

static void assert_entities(const json_t *array)
{
	static const char *const types[] = {"ip", "user", "container", "path", "service", NULL};

	assert_true(json_is_array(array));
	for (size_t i = 0; i < json_array_size(array); i++) {
		const json_t *entity = json_array_get(array, i);

		assert_int_equal(json_object_size(entity), 2);
		assert_true(is_one_of(json_object_get(entity, "type"), types));
		assert_text(json_object_get(entity, "value"));
	}
}

static void assert_time(const json_t *value)
{
	static const char shape[] = "dddd-dd-ddTdd:dd:dd.dddZ";
	const char *text = json_string_value(value);

	assert_non_null(text);
	assert_int_equal(strlen(text), sizeof(shape) - 1);
	for (size_t i = 0; shape[i]; i++)
		assert_true(
			shape[i] == 'd' ? text[i] >= '0' && text[i] <= '9' : text[i] == shape[i]);
}

/* Strict: one line, no key twice, every field, none besides. The caller drops the reference. */
static json_t *validated(const struct warden_record *record)
{
	static const char *const severities[] = {
		"debug", "info", "low", "medium", "high", "critical", NULL};
	json_error_t error;
	json_t *root;

	assert_non_null(record);
	assert_int_equal(strlen(record->line), record->length);
	assert_in_range(record->length, 2, WARDEN_LINE_BYTES);
	assert_ptr_equal(strchr(record->line, '\n'), record->line + record->length - 1);
	root = json_loads(record->line, JSON_REJECT_DUPLICATES, &error);
	if (!root)
		fail_msg("%s at %d", error.text, error.position);
	assert_int_equal(json_object_size(root), record->is_incident ? 10 : 9);
	assert_time(json_object_get(root, "ts"));
	assert_text(json_object_get(root, "host"));
	assert_true(is_one_of(json_object_get(root, "severity"), severities));
	assert_text(json_object_get(root, "summary"));
	assert_texts(json_object_get(root, "tags"));
	assert_entities(json_object_get(root, "entities"));
	if (record->is_incident) {
		assert_text(json_object_get(root, "incident_id"));
		assert_text(json_object_get(root, "title"));
		assert_true(json_is_object(json_object_get(root, "evidence")));
		assert_texts(json_object_get(root, "recommended_checks"));
		assert_true(json_array_size(json_object_get(root, "recommended_checks")) > 0);
	} else {
		assert_text(json_object_get(root, "source"));
		assert_text(json_object_get(root, "kind"));
		assert_true(json_is_object(json_object_get(root, "details")));
	}
	return root;
}

/*
 * Happenings.
 */

struct scene {
	struct world world;
	struct verdict verdict;
	struct service service;
	struct happening happening;
};

static struct scene *scene_new(void)
{
	struct scene *scene = calloc(1, sizeof(*scene));
	struct service *service;

	assert_non_null(scene);
	service = &scene->service;
	world_init(&scene->world);
	world_process_init(&scene->world, 0, "nginx.service", "nginx");
	world_set(&scene->world, 0, VERDICT_RETAINING, 100, 0);
	scene->world.report.process_count = 1;
	world_reach(&scene->world.rows[0], &scene->verdict);
	service_name_of(&scene->world.rows[0], &service->name);
	episode_subject(&service->name, service->subject);
	service->code = VERDICT_RETAINING;
	service->cause = CAUSE_TRIMMABLE_INTERIOR;
	service->confidence = 0.8;
	service->bytes = 100 * WORLD_MIB;
	service->load.processes = 4;
	service->load.rss_bytes = 300 * WORLD_MIB;
	service->load.kept_bytes = REPORT_UNKNOWN;
	service->open = true;
	service->episode.name = service->name;
	service->episode.opened_wall_ns = WORLD_WALL_NS;
	(void)snprintf(service->episode.incident_id, EPISODE_ID_BYTES,
		"page_retention:nginx:2026-01-02T03:04Z");
	scene->happening = (struct happening){
		.kind = HAPPENING_OPENED,
		.service = service,
		.process = &scene->world.rows[0],
		.verdict = &scene->verdict,
		.before = VERDICT_RETAINING,
		.before_rss_bytes = 200 * WORLD_MIB,
	};
	return scene;
}

/* As after a restart: nothing is known of the new processes. */
static void make_new_lot(struct scene *scene)
{
	scene->service.code = VERDICT_UNKNOWN;
	scene->service.cause = CAUSE_NONE;
	scene->service.confidence = 0;
	scene->service.bytes = 0;
	scene->happening.restarts = 3;
}

static json_t *record(struct scene *scene, size_t *ret_length)
{
	struct warden_record *made =
		warden_record_of(&origin, 7, &scene->world.report, &scene->happening);
	json_t *root = validated(made);

	if (ret_length)
		*ret_length = made->length;
	free(made);
	return root;
}

static const char *text_of(const json_t *root, const char *key)
{
	return json_string_value(json_object_get(root, key));
}

static void every_kind_has_every_field(void **state)
{
	static const char *const kinds[HAPPENINGS] = {
		[HAPPENING_CHANGED] = "memory.page_retention",
		[HAPPENING_RESTARTED] = "memory.service_restarted",
		[HAPPENING_NEAR_LIMIT] = "memory.limit_near",
		[HAPPENING_DOUBLED] = "memory.incident_doubled",
		[HAPPENING_CLOSED] = "memory.incident_closed",
	};

	for (int kind = 0; kind < HAPPENINGS; kind++) {
		for (int reason = 0; reason < CLOSING_REASONS; reason++) {
			struct scene *scene = scene_new();
			json_t *root;

			scene->happening.kind = kind;
			scene->happening.reason = reason;
			if (kind == HAPPENING_RESTARTED && reason != CLOSED_RESTARTED) {
				free(scene);
				continue;
			}
			if (reason == CLOSED_RESTARTED && kind != HAPPENING_OPENED)
				make_new_lot(scene);
			if (reason == CLOSED_ENDED) {
				scene->happening.process = NULL;
				scene->happening.verdict = NULL;
			}
			if (kind == HAPPENING_OPENED && reason == CLOSED_ENDED) {
				free(scene);
				continue;
			}
			root = record(scene, NULL);
			if (kind == HAPPENING_OPENED)
				assert_string_equal(text_of(root, "incident_id"),
					scene->service.episode.incident_id);
			else
				assert_string_equal(text_of(root, "kind"), kinds[kind]);
			json_decref(root);
			free(scene);
		}
	}
}

static void an_incident_says_what_to_do(void **state)
{
	struct scene *scene = scene_new();
	json_t *root = record(scene, NULL);
	const json_t *checks = json_object_get(root, "recommended_checks");

	assert_string_equal(
		text_of(root, "title"), "nginx retains 100M that it no longer needs (RSS 300M)");
	assert_string_equal(json_string_value(json_array_get(checks, 0)),
		"Run it on another allocator. Setting: NAME=value Caveat: it costs something.");
	assert_string_equal(json_string_value(json_array_get(checks, 1)),
		"Run `pagestay diagnose 1000` on the host for all evidence.");
	json_decref(root);
	free(scene);
}

static void severity_follows_bytes_and_the_limit(void **state)
{
	static const struct {
		uint64_t mib, rss_mib;
		bool limited;
		const char *severity;
	} cases[] = {
		{63, 100, false, "low"},
		{64, 100, false, "medium"},
		{1023, 1100, false, "medium"},
		{1024, 1100, false, "high"},
		{8192, 9000, false, "critical"},
		{10, 300, true, "medium"},
		{10, 384, true, "high"},
		{10, 461, true, "critical"},
		{10, 461, false, "low"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct scene *scene = scene_new();
		json_t *root;

		scene->service.bytes = cases[i].mib * WORLD_MIB;
		scene->service.load.rss_bytes = cases[i].rss_mib * WORLD_MIB;
		scene->service.limited = cases[i].limited;
		root = record(scene, NULL);
		assert_string_equal(text_of(root, "severity"), cases[i].severity);
		if (cases[i].limited)
			assert_non_null(strstr(text_of(root, "title"), "of the 512M at which"));
		json_decref(root);
		free(scene);
	}
}

/* By what had been: of what is new nothing is known. */
static void severity_of_a_restart_is_by_what_was_before(void **state)
{
	static const struct {
		enum verdict_code before;
		bool limited;
		const char *severity;
	} cases[] = {
		{VERDICT_RETAINING, false, "medium"},
		{VERDICT_GROWING, false, "medium"},
		{VERDICT_STEADY, false, "low"},
		{VERDICT_STEADY, true, "medium"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct scene *scene = scene_new();
		json_t *root;

		make_new_lot(scene);
		scene->service.limited = cases[i].limited;
		scene->happening.kind = HAPPENING_RESTARTED;
		scene->happening.reason = CLOSED_RESTARTED;
		scene->happening.before = cases[i].before;
		root = record(scene, NULL);
		assert_string_equal(text_of(root, "severity"), cases[i].severity);
		assert_non_null(strstr(text_of(root, "summary"), "restarted 3 times since"));
		assert_int_equal(json_integer_value(json_object_get(
					 json_object_get(root, "details"), "restarts")),
			3);
		json_decref(root);
		free(scene);
	}
}

/* The longest that the types allow, of the bytes that take most room. */
static void fill(char *text, size_t bytes, char with)
{
	memset(text, with, bytes - 1);
	text[bytes - 1] = '\0';
}

static void no_line_is_longer_than_the_sensor_allows(void **state)
{
	static const char fillers[] = {'"', '\\', 'x', '\x01', '\xff', '\x7f'};

	for (size_t f = 0; f < sizeof(fillers); f++) {
		for (int kind = 0; kind < HAPPENINGS; kind++) {
			struct scene *scene = scene_new();
			struct report_route routes[32] = {{0}};
			struct service_name *name = &scene->service.name;
			char route[PS_ROUTE_BYTES], host[4096], line[VERDICT_LINE_BYTES];
			size_t length;
			json_t *root;

			fill(route, sizeof(route), fillers[f]);
			fill(host, sizeof(host), fillers[f]);
			fill(name->unit, sizeof(name->unit), fillers[f]);
			fill(name->container, sizeof(name->container), fillers[f]);
			fill(name->comm, sizeof(name->comm), fillers[f]);
			fill(name->exe, sizeof(name->exe), fillers[f]);
			episode_subject(name, scene->service.subject);
			scene->service.episode.name = *name;
			scene->world.report.host = host;
			for (size_t i = 0; i < 32; i++)
				routes[i].text = route;
			scene->world.rows[0].routes = routes;
			scene->world.rows[0].route_count = 32;
			/* A verdict's texts are escaped already. */
			fill(line, sizeof(line), fillers[f] == '"' ? '"' : 'x');
			scene->verdict.evidence_count = VERDICT_LINES;
			scene->verdict.remedy_count = VERDICT_REMEDIES;
			for (int i = 0; i < VERDICT_LINES; i++)
				memcpy(scene->verdict.evidence[i], line, sizeof(line));
			for (int i = 0; i < VERDICT_REMEDIES; i++) {
				memcpy(scene->verdict.remedies[i].text, line, sizeof(line));
				memcpy(scene->verdict.remedies[i].setting, line, sizeof(line));
				memcpy(scene->verdict.remedies[i].caveat, line, sizeof(line));
			}
			scene->happening.kind = kind;
			root = record(scene, &length);
			if (fillers[f] == '"') {
				const json_t *facts = json_object_get(
					root, kind == HAPPENING_OPENED ? "evidence" : "details");

				assert_true(json_is_true(json_object_get(facts, "truncated")));
				assert_true(length > WARDEN_LINE_BYTES / 2);
			}
			json_decref(root);
			free(scene);
		}
	}
}

static void a_line_begins_with_whose_it_is(void **state)
{
	for (int kind = 0; kind < HAPPENINGS; kind++) {
		struct scene *scene = scene_new();
		struct warden_record *made;
		char begin[96];

		scene->happening.kind = kind;
		made = warden_record_of(&origin, 7, &scene->world.report, &scene->happening);
		assert_non_null(made);
		assert_int_equal(made->is_incident, kind == HAPPENING_OPENED);
		warden_line_begin(origin.writer, made->is_incident, begin);
		assert_memory_equal(made->line, begin, strlen(begin));
		free(made);
		free(scene);
	}
}

static void a_day_has_every_field(void **state)
{
	struct scene *scene = scene_new();
	struct narrative day;
	struct warden_record *made;
	json_t *root;

	narrative_init(&day);
	day.day = 20260101;
	day.requests = 3204112;
	day.returned_bytes = 1000 * WORLD_MIB;
	day.opened = 2;
	for (size_t i = 0; i < NARRATIVE_SERVICES; i++) {
		fill(day.services[i].subject, EPISODE_SUBJECT_BYTES, '"');
		day.services[i].kept_bytes = (i + 1) * WORLD_MIB;
	}
	made = warden_record_of_day(&origin, 9, &scene->world.report, &day);
	root = validated(made);
	assert_string_equal(text_of(root, "kind"), "memory.daily_narrative");
	assert_non_null(strstr(text_of(root, "summary"), "2026-01-01: 3.2M requests"));
	json_decref(root);
	free(made);
	free(scene);
}

/*
 * The state.
 */

struct kept {
	char path[64];
	int directory;
	struct warden_memory memory;
	struct narrative narrative;
	bool rebooted;
};

static void kept_init(struct kept *kept)
{
	const struct episode_options options = {.reach = world_reach};

	narrative_init(&kept->narrative);
	kept->memory.narrative = &kept->narrative;
	kept->memory.episodes = episodes_new(&options);
	assert_non_null(kept->memory.episodes);
}

static void state_begin(struct kept *kept)
{
	(void)snprintf(kept->path, sizeof(kept->path), "/tmp/test_warden.XXXXXX");
	assert_non_null(mkdtemp(kept->path));
	kept->directory = open(kept->path, O_RDONLY | O_DIRECTORY);
	assert_true(kept->directory >= 0);
	kept_init(kept);
}

static void state_end(struct kept *kept)
{
	(void)unlinkat(kept->directory, "warden-state.json", 0);
	(void)unlinkat(kept->directory, "warden-state.tmp", 0);
	assert_int_equal(rmdir(kept->path), 0);
	(void)close(kept->directory);
	episodes_free(kept->memory.episodes);
}

static void keep_first(void *context, const struct episode_open *open)
{
	*(struct episode_open *)context = *open;
}

static struct episode_open hostile_episode(void)
{
	struct episode_open open = {
		.incident_id = "page_retention:x:2026-01-02T03:04Z",
		.opened_wall_ns = WORLD_WALL_NS,
		.opened_bytes = 1,
		.told_bytes = 2,
		.peak_bytes = 3,
		.floor_bytes = 4,
		.first_start_ns = 5,
		.newest_start_ns = 6,
		.open_for_ns = 7,
		.open_requests = 8,
		.by_growth = true,
	};

	fill(open.name.unit, sizeof(open.name.unit), '\xff');
	fill(open.name.comm, sizeof(open.name.comm), '\n');
	fill(open.name.exe, sizeof(open.name.exe), '"');
	return open;
}

static int load(struct kept *kept, char writer[WARDEN_WRITER_BYTES], uint64_t *sequence,
	struct warden_position *position)
{
	return warden_state_load(
		kept->directory, &kept->memory, writer, sequence, position, &kept->rebooted);
}

static void what_is_kept_comes_back(void **state)
{
	const struct warden_mark mark = {true, "2026-01-02", 12345};
	struct warden_position position = {0}, back;
	const struct episode_open open = hostile_episode();
	char writer[WARDEN_WRITER_BYTES];
	struct kept kept = {.directory = -1}, next;
	struct episode_open same;
	uint64_t sequence;
	char *text;

	state_begin(&kept);
	assert_int_equal(load(&kept, writer, &sequence, &back), -ENOENT);
	assert_int_equal(episodes_restore(kept.memory.episodes, &open), 0);
	kept.narrative.day = 20260102;
	kept.narrative.requests = 77;
	(void)snprintf(kept.narrative.services[5].subject, EPISODE_SUBJECT_BYTES, "nginx");
	kept.narrative.services[5].kept_bytes = 88;
	text = warden_memory_text(&kept.memory);
	assert_non_null(text);
	assert_true(warden_position_add(&position, &mark));
	assert_false(warden_position_add(&position, &mark));
	assert_int_equal(warden_state_save(kept.directory, origin.writer, 99, &position, text), 0);
	next = kept;
	kept_init(&next);
	assert_int_equal(load(&next, writer, &sequence, &back), 0);
	assert_string_equal(writer, origin.writer);
	assert_int_equal(sequence, 99);
	assert_int_equal(back.count, 1);
	assert_memory_equal(&back.marks[0].date, mark.date, sizeof(mark.date));
	assert_int_equal(back.marks[0].offset, 12345);
	assert_int_equal(next.narrative.requests, 77);
	assert_int_equal(next.narrative.services[0].kept_bytes, 88);
	assert_int_equal(episodes_each_open(next.memory.episodes, keep_first, &same), 1);
	assert_memory_equal(&same, &open, sizeof(open));
	free(text);
	episodes_free(next.memory.episodes);
	state_end(&kept);
}

/* Cut at each byte, and with a byte changed at each place: refused, or taken, and no harm done. */
static void a_damaged_state_does_no_harm(void **state)
{
	const struct episode_open open = hostile_episode();
	struct warden_position position = {0};
	struct seeded seeded = {11};
	struct kept kept = {.directory = -1};
	unsigned refused = 0;
	char *text;
	char bytes[16384];
	ssize_t length;
	int fd;

	state_begin(&kept);
	assert_int_equal(episodes_restore(kept.memory.episodes, &open), 0);
	text = warden_memory_text(&kept.memory);
	assert_int_equal(warden_state_save(kept.directory, origin.writer, 9, &position, text), 0);
	free(text);
	fd = openat(kept.directory, "warden-state.json", O_RDWR);
	length = pread(fd, bytes, sizeof(bytes), 0);
	assert_in_range(length, 100, sizeof(bytes) - 1);
	for (ssize_t at = 0; at < 2 * length; at++) {
		char damaged[sizeof(bytes)], writer[WARDEN_WRITER_BYTES];
		ssize_t end = at < length ? at : length;
		struct kept next = kept;
		uint64_t sequence;

		memcpy(damaged, bytes, (size_t)length);
		if (at >= length)
			damaged[at - length] = (char)seeded_next(&seeded);
		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(pwrite(fd, damaged, (size_t)end, 0), end);
		kept_init(&next);
		refused += load(&next, writer, &sequence, &position) == -EINVAL;
		episodes_free(next.memory.episodes);
	}
	assert_true(refused >= length);
	(void)close(fd);
	state_end(&kept);
}

static void an_episode_goes_into_a_record_and_back(void **state)
{
	const struct episode_open open = hostile_episode();
	struct episode_open back;
	json_t *object = warden_episode_json(&open);

	assert_int_equal(warden_episode_parse(object, &back), 0);
	assert_memory_equal(&back, &open, sizeof(open));
	assert_int_equal(json_object_del(object, "newest_start_ns"), 0);
	assert_int_equal(json_object_del(object, "open_for_ns"), 0);
	assert_int_equal(json_object_del(object, "open_requests"), 0);
	assert_int_equal(warden_episode_parse(object, &back), 0);
	assert_int_equal(back.open_for_ns, 0);
	assert_int_equal(back.newest_start_ns, open.first_start_ns);
	assert_int_equal(json_object_set_new(object, "comm_hex", json_string("abc")), 0);
	assert_int_equal(warden_episode_parse(object, &back), -EINVAL);
	assert_int_equal(json_object_set_new(object, "comm_hex", json_string("6100")), 0);
	assert_int_equal(warden_episode_parse(object, &back), -EINVAL);
	json_decref(object);
}

static void another_boot_is_known(void **state)
{
	static const struct {
		const char *before, *after;
		bool rebooted;
	} cases[] = {{"a", "b", true}, {"a", "a", false}, {NULL, "b", false}, {"a", NULL, false}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct warden_position position = {0};
		char writer[WARDEN_WRITER_BYTES];
		struct kept kept = {.directory = -1};
		uint64_t sequence;
		char *text;

		state_begin(&kept);
		kept.memory.boot = cases[i].before;
		text = warden_memory_text(&kept.memory);
		assert_non_null(text);
		assert_int_equal(
			warden_state_save(kept.directory, origin.writer, 9, &position, text), 0);
		free(text);
		kept.memory.boot = cases[i].after;
		assert_int_equal(load(&kept, writer, &sequence, &position), 0);
		assert_int_equal(kept.rebooted, cases[i].rebooted);
		state_end(&kept);
	}
}

/* What an earlier run wrote is taken in the order of its numbers, whatever file it lay in. */
static void records_that_are_found_are_taken_in_order(void **state)
{
	static const int kinds[] = {HAPPENING_CLOSED, HAPPENING_DOUBLED, HAPPENING_OPENED,
		HAPPENING_CLOSED, HAPPENING_RESTARTED};
	struct scene *scene = scene_new();
	json_t *found = json_array();
	struct kept kept = {.directory = -1};
	uint64_t sequence = 4;

	kept_init(&kept);
	scene->happening.reason = CLOSED_RESTARTED;
	/* 7 closed, 6 doubled, 5 opened; 8 of somebody else; 9 restarted. */
	for (int i = 0; i < 5; i++) {
		struct warden_origin of = origin;
		struct warden_record *made;

		scene->happening.kind = kinds[i];
		scene->happening.restarts = i == 0 ? 1 : i == 4 ? 3 : 0;
		of.writer[0] = i == 3 ? 'f' : of.writer[0];
		made = warden_record_of(&of, (uint64_t)(i < 3 ? 7 - i : 5 + i),
			&scene->world.report, &scene->happening);
		assert_int_equal(warden_state_collect(found, origin.writer, sequence, made->line,
					 made->length - 1),
			0);
		free(made);
	}
	assert_int_equal(json_array_size(found), 4);
	assert_int_equal(warden_state_absorb(&kept.memory, found, &sequence), 0);
	assert_int_equal(sequence, 9);
	assert_int_equal(kept.narrative.opened, 1);
	assert_int_equal(kept.narrative.doubled, 1);
	assert_int_equal(kept.narrative.closed, 1);
	assert_int_equal(kept.narrative.restarted, 4);
	json_decref(found);
	episodes_free(kept.memory.episodes);
	free(scene);
}

/*
 * The queue.
 */

static uint64_t any_time(void *context)
{
	return WORLD_WALL_NS;
}

static void put_events(struct warden_writer *writer, unsigned count, size_t length)
{
	while (count--) {
		struct warden_record *made = calloc(1, sizeof(*made) + length + 1);

		assert_non_null(made);
		made->length = length;
		warden_writer_put(writer, made, NULL);
	}
}

/* A large record takes the place of many small ones. */
static void what_waits_is_bounded_in_bytes(void **state)
{
	struct warden_writer_options options = {
		.place = {.directory = strdup("/nowhere"), .clock = any_time},
		.state_directory = -1,
		.queue_records = 65536,
		.retry_ms = 1000,
	};
	const uint64_t most = 8u << 20;
	struct warden_writer *writer;
	struct warden_counts counts;

	assert_int_equal(warden_writer_new(&options, &writer), 0);
	put_events(writer, 40000, 256);
	put_events(writer, 100, WARDEN_LINE_BYTES);
	warden_writer_counts(writer, &counts);
	assert_in_range(counts.waiting_bytes, most - WARDEN_LINE_BYTES, most);
	assert_int_equal(counts.waiting + counts.dropped_full, 40100);
	warden_writer_end(writer);
	warden_writer_wait(writer);
	warden_writer_release(writer);
}

static void options_are_checked(void **state)
{
	struct warden_options options = {.directory = ""};
	struct diag diag = {{0}};
	struct sink *sink = NULL;

	assert_int_equal(sink_warden_new(&options, &sink, &diag), -EINVAL);
	options.directory = "/nowhere";
	options.generation = WARDEN_GENERATIONS;
	assert_int_equal(sink_warden_new(&options, &sink, &diag), -EINVAL);
	options.generation = WARDEN_AUTO;
	options.state_directory = "/nowhere/either";
	diag.text[0] = '\0';
	assert_int_equal(sink_warden_new(&options, &sink, &diag), -ENOENT);
	assert_non_null(strstr(diag.text, "/nowhere/either"));
	/* A data directory may come later. */
	options.state_directory = NULL;
	assert_int_equal(sink_warden_new(&options, &sink, &diag), 0);
	assert_int_equal(sink_close(sink), 0);
}

/*
 * As the agent has it.
 */

static unsigned said_count;

static void count_said(void *context, const char *text)
{
	said_count++;
}

static bool is_there(const char *directory, const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", directory, name);
	return access(path, F_OK) == 0;
}

/* Without a word; the state is the first that is written. */
static void a_directory_that_comes_later_is_noticed(void **state)
{
	char scratch[] = "/tmp/test_warden.XXXXXX", data[64], own[64];
	struct config *config = calloc(1, sizeof(*config));
	struct scene *scene = scene_new();
	struct diag diag = {{0}};
	struct outputs *outputs;

	assert_non_null(config);
	assert_non_null(mkdtemp(scratch));
	(void)snprintf(own, sizeof(own), "%s/state", scratch);
	(void)snprintf(data, sizeof(data), "%s/data", scratch);
	assert_int_equal(mkdir(own, 0700), 0);
	assert_int_equal(setenv("STATE_DIRECTORY", own, 1), 0);
	config_defaults(config);
	config->listen.address[0] = '\0';
	(void)snprintf(config->warden.directory, sizeof(config->warden.directory), "%s", data);
	said_count = 0;
	assert_int_equal(outputs_new(count_said, &outputs), 0);
	assert_int_equal(outputs_open(outputs, config, &diag), 0);
	for (unsigned i = 0; i < 3; i++)
		outputs_report(outputs, &scene->world.report);
	assert_false(is_there(own, "warden-state.json"));
	assert_int_equal(mkdir(data, 0700), 0);
	outputs_report(outputs, &scene->world.report);
	outputs_free(outputs);
	assert_true(is_there(own, "warden-state.json"));
	assert_int_equal(said_count, 0);
	/* Without a place for the state, what that costs is said once. */
	if (access("/var/lib/pagestay", W_OK) != 0) {
		assert_int_equal(unsetenv("STATE_DIRECTORY"), 0);
		assert_int_equal(outputs_new(count_said, &outputs), 0);
		assert_int_equal(outputs_open(outputs, config, &diag), 0);
		outputs_report(outputs, &scene->world.report);
		outputs_free(outputs);
		assert_int_equal(said_count, 1);
	}
	(void)snprintf(own, sizeof(own), "%s/state/warden-state.json", scratch);
	assert_int_equal(unlink(own), 0);
	(void)snprintf(own, sizeof(own), "%s/state", scratch);
	assert_int_equal(rmdir(own), 0);
	assert_int_equal(rmdir(data), 0);
	assert_int_equal(rmdir(scratch), 0);
	free(scene);
	free(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_has_every_field),
		cmocka_unit_test(an_incident_says_what_to_do),
		cmocka_unit_test(severity_follows_bytes_and_the_limit),
		cmocka_unit_test(severity_of_a_restart_is_by_what_was_before),
		cmocka_unit_test(no_line_is_longer_than_the_sensor_allows),
		cmocka_unit_test(a_line_begins_with_whose_it_is),
		cmocka_unit_test(a_day_has_every_field),
		cmocka_unit_test(what_is_kept_comes_back),
		cmocka_unit_test(a_damaged_state_does_no_harm),
		cmocka_unit_test(an_episode_goes_into_a_record_and_back),
		cmocka_unit_test(another_boot_is_known),
		cmocka_unit_test(records_that_are_found_are_taken_in_order),
		cmocka_unit_test(what_waits_is_bounded_in_bytes),
		cmocka_unit_test(options_are_checked),
		cmocka_unit_test(a_directory_that_comes_later_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
