/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns what outlives a run of the sink for Inner Warden: one small file, written whole under
 * another name, brought to the disk and renamed. It has the writer's name, the number of the last
 * record that it includes, where records are written, the open incidents and the day's summary so
 * far. Records that a run wrote after its last state are taken into the next run's memory from
 * where they lie: an incident that was opened is not opened again. Read by warden.c at the start,
 * written by the thread of warden_writer.c.
 */
#include "warden_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "json_values.h"
#include "pagestay/base/file.h"
#include "pagestay/base/cleanup.h"

#define STATE_FILE      "warden-state.json"
#define STATE_TEMPORARY "warden-state.tmp"
#define STATE_SCHEMA    "pagestay.warden-state/1"
#define STATE_MOST      (4u << 20)

/*
 * Episodes.
 */

/* Bytes as they are, for a name must be found again: a string of two digits a byte. */
static json_t *exact(const char *bytes)
{
	char digits[2 * EPISODE_EXE_BYTES + 1];
	size_t length = strnlen(bytes, EPISODE_EXE_BYTES);

	for (size_t i = 0; i < length; i++)
		(void)snprintf(digits + 2 * i, 3, "%02x", (unsigned char)bytes[i]);
	return json_stringn(digits, 2 * length);
}

json_t *warden_episode_json(const struct episode_open *open)
{
	return json_pack(
		"{s:o, s:o, s:o, s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}",
		"unit_hex", exact(open->name.unit), "container_hex", exact(open->name.container),
		"comm_hex", exact(open->name.comm), "exe_hex", exact(open->name.exe), "incident_id",
		open->incident_id, "opened_wall_ns", (json_int_t)open->opened_wall_ns,
		"opened_bytes", (json_int_t)open->opened_bytes, "told_bytes",
		(json_int_t)open->told_bytes, "peak_bytes", (json_int_t)open->peak_bytes,
		"floor_bytes", (json_int_t)open->floor_bytes, "first_start_ns",
		(json_int_t)open->first_start_ns, "newest_start_ns",
		(json_int_t)open->newest_start_ns, "open_for_ns", (json_int_t)open->open_for_ns,
		"open_requests", (json_int_t)open->open_requests, "by_growth", open->by_growth);
}

static int digit(char byte)
{
	return byte >= '0' && byte <= '9'   ? byte - '0'
	       : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10
					    : -1;
}

static int parse_exact(const json_t *object, const char *key, char *to, size_t to_bytes)
{
	const char *digits = json_string_value(json_object_get(object, key));
	size_t length = digits ? strlen(digits) : 1;

	if (length % 2 || length / 2 >= to_bytes)
		return -EINVAL;
	memset(to, 0, to_bytes);
	for (size_t i = 0; i < length / 2; i++) {
		int high = digit(digits[2 * i]), low = digit(digits[2 * i + 1]);

		if (high < 0 || low < 0 || !(high | low))
			return -EINVAL;
		to[i] = (char)(high << 4 | low);
	}
	return 0;
}

int warden_episode_parse(const json_t *object, struct episode_open *ret_open)
{
	struct episode_open open = {0};
	struct service_name *name = &open.name;
	json_int_t wall, opened, told, peak, floor, start, newest = -1, open_for = 0, requests = 0;
	const char *id;
	int by_growth;

	if (json_unpack((json_t *)object, "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s?I, s?I, s?I, s:b}",
		    "incident_id", &id, "opened_wall_ns", &wall, "opened_bytes", &opened,
		    "told_bytes", &told, "peak_bytes", &peak, "floor_bytes", &floor,
		    "first_start_ns", &start, "newest_start_ns", &newest, "open_for_ns", &open_for,
		    "open_requests", &requests, "by_growth", &by_growth) ||
		strlen(id) >= sizeof(open.incident_id) ||
		parse_exact(object, "unit_hex", name->unit, sizeof(name->unit)) ||
		parse_exact(object, "container_hex", name->container, sizeof(name->container)) ||
		parse_exact(object, "comm_hex", name->comm, sizeof(name->comm)) ||
		parse_exact(object, "exe_hex", name->exe, sizeof(name->exe)))
		return -EINVAL;
	memcpy(open.incident_id, id, strlen(id) + 1);
	open.opened_wall_ns = (uint64_t)wall;
	open.opened_bytes = (uint64_t)opened;
	open.told_bytes = (uint64_t)told;
	open.peak_bytes = (uint64_t)peak;
	open.floor_bytes = (uint64_t)floor;
	open.first_start_ns = (uint64_t)start;
	/* Older states know the oldest process alone. */
	open.newest_start_ns = (uint64_t)(newest < 0 ? start : newest);
	open.open_for_ns = open_for > 0 ? (uint64_t)open_for : 0;
	open.open_requests = requests > 0 ? (uint64_t)requests : 0;
	open.by_growth = by_growth;
	*ret_open = open;
	return 0;
}

/*
 * The memory.
 */

struct list {
	json_t *array;
	int failed;
};

static void add_episode(void *context, const struct episode_open *open)
{
	struct list *list = context;

	list->failed |= json_array_append_new(list->array, warden_episode_json(open));
}

static json_t *episodes_json(const struct episodes *episodes)
{
	struct list list = {.array = json_array()};

	(void)episodes_each_open(episodes, add_episode, &list);
	if (!list.failed)
		return list.array;
	json_decref(list.array);
	return NULL;
}

/* The numbers of a summary by their names, so that both ways have the same. */
#define DAY_NUMBERS(X)                                                                             \
	X(from_wall_ns)                                                                            \
	X(to_wall_ns)                                                                              \
	X(observed_ns)                                                                             \
	X(reports)                                                                                 \
	X(incomplete_reports)                                                                      \
	X(requests)                                                                                \
	X(returned_bytes)                                                                          \
	X(asked_bytes)                                                                             \
	X(opened)                                                                                  \
	X(closed)                                                                                  \
	X(doubled)                                                                                 \
	X(restarted)                                                                               \
	X(most_processes)                                                                          \
	X(left_out)                                                                                \
	X(worst_rss_bytes)                                                                         \
	X(worst_wall_ns)

#define SERVICE_NUMBERS(X)                                                                         \
	X(requests)                                                                                \
	X(returned_bytes)                                                                          \
	X(asked_bytes)                                                                             \
	X(kept_bytes)                                                                              \
	X(peak_rss_bytes)                                                                          \
	X(first_rss_bytes)                                                                         \
	X(last_rss_bytes)                                                                          \
	X(intervals)

struct number {
	const char *name;
	size_t offset;
};

#define DAY_NUMBER(field)     {#field, offsetof(struct narrative, field)},
#define SERVICE_NUMBER(field) {#field, offsetof(struct narrative_service, field)},

static const struct number day_numbers[] = {DAY_NUMBERS(DAY_NUMBER)};
static const struct number service_numbers[] = {SERVICE_NUMBERS(SERVICE_NUMBER)};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static json_t *numbers_json(const void *of, const struct number *numbers, size_t count)
{
	json_t *object = json_object();
	int failed = !object;

	for (size_t i = 0; i < count; i++) {
		uint64_t value = *(const uint64_t *)((const char *)of + numbers[i].offset);

		failed |= json_object_set_new(object, numbers[i].name, json_number(value));
	}
	if (!failed)
		return object;
	json_decref(object);
	return NULL;
}

static void numbers_parse(
	const json_t *object, void *of, const struct number *numbers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		json_int_t value = json_integer_value(json_object_get(object, numbers[i].name));

		*(uint64_t *)((char *)of + numbers[i].offset) = value > 0 ? (uint64_t)value : 0;
	}
}

static json_t *narrative_json(const struct narrative *narrative)
{
	json_t *object = numbers_json(narrative, day_numbers, LENGTH(day_numbers));
	json_t *services = json_array();
	int failed = !object || !services;

	for (size_t i = 0; i < NARRATIVE_SERVICES; i++) {
		const struct narrative_service *service = &narrative->services[i];
		json_t *entry;

		if (!service->subject[0])
			continue;
		entry = numbers_json(service, service_numbers, LENGTH(service_numbers));
		failed |= json_object_set_new(entry, "subject", json_string(service->subject));
		failed |= json_array_append_new(services, entry);
	}
	failed |= json_object_set_new(object, "day", json_integer(narrative->day));
	failed |= json_object_set_new(object, "told_day", json_integer(narrative->told_day));
	failed |=
		json_object_set_new(object, "worst_subject", json_string(narrative->worst_subject));
	failed |= json_object_set_new(object, "services", services);
	if (!failed)
		return object;
	json_decref(object);
	return NULL;
}

static void text_parse(const json_t *object, const char *key, char *to, size_t to_bytes)
{
	const char *text = json_string_value(json_object_get(object, key));
	size_t length = text ? strlen(text) : 0;

	to[0] = '\0';
	if (length < to_bytes && text)
		memcpy(to, text, length + 1);
}

static unsigned day_parse(const json_t *object, const char *key)
{
	json_int_t day = json_integer_value(json_object_get(object, key));

	return day > 0 && day < 100000000 ? (unsigned)day : 0;
}

static void narrative_parse(const json_t *object, struct narrative *narrative)
{
	const json_t *services = json_object_get(object, "services");

	narrative_init(narrative);
	numbers_parse(object, narrative, day_numbers, LENGTH(day_numbers));
	narrative->day = day_parse(object, "day");
	narrative->told_day = day_parse(object, "told_day");
	text_parse(object, "worst_subject", narrative->worst_subject,
		sizeof(narrative->worst_subject));
	for (size_t i = 0; i < json_array_size(services) && i < NARRATIVE_SERVICES; i++) {
		const json_t *entry = json_array_get(services, i);
		struct narrative_service *service = &narrative->services[i];

		numbers_parse(entry, service, service_numbers, LENGTH(service_numbers));
		text_parse(entry, "subject", service->subject, sizeof(service->subject));
	}
}

char *warden_memory_text(const struct warden_memory *memory)
{
	json_t *root = json_pack("{s:s?, s:o, s:o}", "boot", memory->boot, "episodes",
		episodes_json(memory->episodes), "narrative", narrative_json(memory->narrative));
	char *text = root ? json_dumps(root, JSON_DUMP_FLAGS) : NULL;

	json_decref(root);
	return text;
}

char *warden_memory_day(const char *kept, const char *newer)
{
	static const char *const told[] = {"told_day", "opened", "doubled", "closed", "restarted"};
	json_t *root = json_loads(kept, 0, NULL), *other = json_loads(newer, 0, NULL);
	json_t *old = json_object_get(root, "narrative"),
	       *day = json_object_get(other, "narrative");
	unsigned old_day = day_parse(old, "day");
	int failed = !day || (old_day && old_day != day_parse(day, "day"));
	char *text;

	for (size_t i = 0; i < LENGTH(told); i++)
		failed |= json_object_set(day, told[i], json_object_get(old, told[i]));
	failed |= json_object_set(root, "narrative", day);
	text = failed ? NULL : json_dumps(root, JSON_DUMP_FLAGS);
	json_decref(root);
	json_decref(other);
	return text;
}

/*
 * The position.
 */

bool warden_position_add(struct warden_position *position, const struct warden_mark *mark)
{
	for (unsigned i = 0; i < position->count; i++) {
		const struct warden_mark *other = &position->marks[i];

		if (other->is_incident == mark->is_incident &&
			strcmp(other->date, mark->date) == 0 && other->offset <= mark->offset &&
			mark->offset - other->offset <= WARDEN_APART)
			return false;
	}
	if (position->count == WARDEN_MARKS)
		memmove(position->marks, position->marks + 1,
			--position->count * sizeof(position->marks[0]));
	position->marks[position->count++] = *mark;
	return true;
}

static json_t *position_json(const struct warden_position *position)
{
	json_t *array = json_array();
	int failed = !array;

	for (unsigned i = 0; i < position->count; i++) {
		const struct warden_mark *mark = &position->marks[i];

		failed |= json_array_append_new(
			array, json_pack("{s:b, s:s, s:I}", "incidents", mark->is_incident, "date",
				       mark->date, "offset", (json_int_t)mark->offset));
	}
	if (!failed)
		return array;
	json_decref(array);
	return NULL;
}

static void position_parse(const json_t *array, struct warden_position *ret_position)
{
	ret_position->count = 0;
	for (size_t i = 0; i < json_array_size(array) && i < WARDEN_MARKS; i++) {
		struct warden_mark *mark = &ret_position->marks[ret_position->count];
		const char *date;
		json_int_t offset;
		int is_incident;

		if (json_unpack(json_array_get(array, i), "{s:b, s:s, s:I}", "incidents",
			    &is_incident, "date", &date, "offset", &offset) ||
			offset < 0 || strlen(date) >= sizeof(mark->date) || strchr(date, '/'))
			continue;
		mark->is_incident = is_incident;
		mark->offset = (uint64_t)offset;
		memset(mark->date, 0, sizeof(mark->date));
		memcpy(mark->date, date, strlen(date));
		ret_position->count++;
	}
}

/*
 * The file.
 */

static int put_file(int directory, const char *bytes, size_t length)
{
	_cleanup_(cleanup_close) int fd = openat(directory, STATE_TEMPORARY,
		O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	int error;

	if (fd < 0)
		return -errno;
	error = file_write_all(fd, bytes, length);
	if (error)
		return error;
	if (fsync(fd) || renameat(directory, STATE_TEMPORARY, directory, STATE_FILE))
		return -errno;
	return file_sync_directory(directory);
}

int warden_state_save(int directory, const char *writer, uint64_t sequence,
	const struct warden_position *position, const char *text)
{
	_cleanup_(cleanup_free) char *bytes = NULL;
	json_t *memory = json_loads(text, 0, NULL);
	json_t *root = json_pack("{s:s, s:s, s:I, s:o, s:o}", "schema", STATE_SCHEMA, "writer",
		writer, "sequence", (json_int_t)sequence, "position", position_json(position),
		"memory", memory);

	bytes = root ? json_dumps(root, JSON_DUMP_FLAGS) : NULL;
	json_decref(root);
	return bytes ? put_file(directory, bytes, strlen(bytes)) : -ENOMEM;
}

/* NULL with `ret_error` set. */
static json_t *read_file(int directory, int *ret_error)
{
	_cleanup_(cleanup_close) int fd =
		openat(directory, STATE_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat status = {0};
	json_t *root;

	*ret_error = fd < 0 || fstat(fd, &status) ? -errno : 0;
	if (*ret_error)
		return NULL;
	*ret_error = -EINVAL;
	if (!S_ISREG(status.st_mode) || status.st_size > (off_t)STATE_MOST)
		return NULL;
	root = json_loadfd(fd, JSON_REJECT_DUPLICATES, NULL);
	*ret_error = root ? 0 : -EINVAL;
	return root;
}

static bool is_writer(const char *writer)
{
	return writer[0] && strlen(writer) < WARDEN_WRITER_BYTES &&
	       strspn(writer, "0123456789abcdef-") == strlen(writer);
}

/* Whether it is of another boot. */
static bool memory_parse(const json_t *object, const struct warden_memory *memory)
{
	const json_t *episodes = json_object_get(object, "episodes");
	const char *boot = json_string_value(json_object_get(object, "boot"));
	struct episode_open open;

	narrative_parse(json_object_get(object, "narrative"), memory->narrative);
	for (size_t i = 0; i < json_array_size(episodes); i++)
		if (warden_episode_parse(json_array_get(episodes, i), &open) == 0)
			(void)episodes_restore(memory->episodes, &open);
	return boot && memory->boot && strcmp(boot, memory->boot) != 0;
}

int warden_state_load(int directory, const struct warden_memory *memory,
	char ret_writer[WARDEN_WRITER_BYTES], uint64_t *ret_sequence,
	struct warden_position *ret_position, bool *ret_rebooted)
{
	const char *schema, *writer;
	json_int_t sequence;
	json_t *position, *own;
	int error;
	json_t *root = read_file(directory, &error);

	if (!root)
		return error;
	error = -EINVAL;
	if (json_unpack(root, "{s:s, s:s, s:I, s:o, s:o}", "schema", &schema, "writer", &writer,
		    "sequence", &sequence, "position", &position, "memory", &own) == 0 &&
		strcmp(schema, STATE_SCHEMA) == 0 && is_writer(writer) && sequence >= 0) {
		memcpy(ret_writer, writer, strlen(writer) + 1);
		*ret_sequence = (uint64_t)sequence;
		position_parse(position, ret_position);
		*ret_rebooted = memory_parse(own, memory);
		error = 0;
	}
	json_decref(root);
	return error;
}

static const json_t *facts_of_record(const json_t *root)
{
	const json_t *details = json_object_get(root, "details");

	return details ? details : json_object_get(root, "evidence");
}

static json_int_t number_of(const json_t *facts)
{
	return json_integer_value(json_object_get(facts, "sequence"));
}

static void absorb(const struct warden_memory *memory, const json_t *root, const json_t *facts)
{
	const char *kind = json_string_value(json_object_get(root, "kind"));
	json_int_t number = json_integer_value(json_object_get(facts, "restarts"));
	uint64_t restarts = number > 0 ? (uint64_t)number : 0;
	struct episode_open open;
	bool has_episode = warden_episode_parse(json_object_get(facts, "episode"), &open) == 0;

	if (kind && strcmp(kind, "memory.daily_narrative") == 0) {
		narrative_told(memory->narrative, day_parse(facts, "day"));
	} else if (has_episode && kind && strcmp(kind, "memory.incident_closed") == 0) {
		episodes_forget(memory->episodes, open.incident_id);
		narrative_count(memory->narrative, HAPPENING_CLOSED, restarts);
	} else if (has_episode) {
		(void)episodes_restore(memory->episodes, &open);
		narrative_count(memory->narrative, kind ? HAPPENING_DOUBLED : HAPPENING_OPENED, 0);
	} else if (kind && strcmp(kind, "memory.service_restarted") == 0) {
		narrative_count(memory->narrative, HAPPENING_RESTARTED, restarts);
	}
}

int warden_state_collect(
	json_t *found, const char *writer, uint64_t sequence, const char *line, size_t length)
{
	const json_t *facts;
	char begin[96];
	json_t *root;

	for (int is_incident = 0; is_incident < 2; is_incident++) {
		warden_line_begin(writer, is_incident, begin);
		if (length < strlen(begin) || memcmp(line, begin, strlen(begin)) != 0)
			continue;
		root = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);
		facts = json_object_get(root, is_incident ? "evidence" : "details");
		if (number_of(facts) > (json_int_t)sequence)
			return json_array_append_new(found, root) ? -ENOMEM : 0;
		json_decref(root);
	}
	return 0;
}

struct found {
	json_int_t number;
	const json_t *record;
};

static int by_number(const void *a, const void *b)
{
	const struct found *first = a, *second = b;

	return (first->number > second->number) - (first->number < second->number);
}

int warden_state_absorb(const struct warden_memory *memory, const json_t *found, uint64_t *sequence)
{
	size_t count = json_array_size(found);
	_cleanup_(cleanup_free) struct found *records = calloc(count + 1, sizeof(*records));

	if (!records)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		records[i].record = json_array_get(found, i);
		records[i].number = number_of(facts_of_record(records[i].record));
	}
	qsort(records, count, sizeof(*records), by_number);
	for (size_t i = 0; i < count; i++) {
		if (records[i].number <= (json_int_t)*sequence)
			continue;
		absorb(memory, records[i].record, facts_of_record(records[i].record));
		*sequence = (uint64_t)records[i].number;
	}
	return 0;
}
