/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The agent: watches for months, as its configuration file says, and hands each report to its
 * sinks. A sink that fails says so once and goes on trying; none ends the run. SIGHUP reads the
 * file again: sinks whose section changed are made anew, and a file with an error changes nothing.
 */
#include "agent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "config.h"
#include "outputs.h"
#include "privileges.h"
#include "run.h"

#include "pagestay/base/clock.h"

struct agent {
	const char *path; /* of the configuration */
	struct config config;
	struct config begun;    /* by which probes were made */
	struct options options; /* of the loop, made of the configuration */
	struct outputs *outputs;
	uint64_t watchdog_ns; /* how often the service manager wants to hear; 0: never */
	uint64_t heard_ns;
	bool ready; /* told it */
};

static void say(void *context, const char *text)
{
	(void)fprintf(stderr, "pagestay: %s\n", text);
}

/*
 * Configuration to options. What a list holds was checked when it was read.
 */

static void set_numbers(struct options *options, const struct config *config)
{
	options->pid_count = config->watch.pids.count;
	for (unsigned i = 0; i < options->pid_count; i++)
		options->pids[i] = strtoul(config->watch.pids.texts[i], NULL, 10);
	options->port_count = config->watch.ports.count;
	for (unsigned i = 0; i < options->port_count; i++)
		options->ports[i] = strtoul(config->watch.ports.texts[i], NULL, 10);
}

/* Without the memory for it names are chosen as before, never all of them. */
static void set_comm(struct options *options, const struct config *config)
{
	const bool by_comm = config->watch.comm[0];
	regex_t comm = {};

	if (by_comm && regcomp(&comm, config->watch.comm, REG_EXTENDED | REG_NOSUB)) {
		say(NULL, "out of memory: [watch] comm stays as it was");
		return;
	}
	if (options->by_comm)
		regfree(&options->comm);
	options->by_comm = by_comm;
	options->comm = comm;
}

static void set_names(struct options *options, const struct config *config)
{
	set_comm(options, config);
	options->unit_count = config->watch.units.count;
	for (unsigned i = 0; i < options->unit_count; i++)
		options->units[i] = config->watch.units.texts[i];
	options->cgroup_count = config->watch.cgroups.count;
	for (unsigned i = 0; i < options->cgroup_count; i++)
		options->cgroups[i] = config->watch.cgroups.texts[i];
}

/* What may change while the probes are attached. */
static void set_loop(struct options *options, const struct config *config)
{
	options->interval_s = config->watch.interval_s;
	options->xray = config->watch.xray_s > 0;
	options->xray_s = config->watch.xray_s;
	set_names(options, config);
}

static void set_probes(struct options *options, const struct config *config)
{
	options->command = COMMAND_AGENT;
	options->requests = config->watch.detail != CONFIG_DETAIL_LEDGER;
	options->pages = config->watch.detail == CONFIG_DETAIL_PAGES;
	options->routes = config->watch.routes && options->requests;
	options->top = config->watch.top;
	options->max_processes = config->watch.max_processes;
	options->max_routes = config->watch.max_routes;
	options->max_pages = config->watch.max_pages;
	options->sample_level = config->watch.sample_level;
	set_numbers(options, config);
}

/*
 * The loop's hooks.
 */

/* Of jemalloc; sanitizers bring another malloc, which has no such call. */
__attribute__((weak)) int mallctl(
	const char *name, void *old, size_t *old_bytes, void *value, size_t value_bytes);

/*
 * Between two reports nobody allocates, and what is free would stay: jemalloc's own thread gives it
 * back. It begins with what privileges are left. Without it there is only more memory in use.
 */
static void give_memory_back(void)
{
	bool enable = true;

	if (mallctl)
		(void)mallctl("background_thread", NULL, NULL, &enable, sizeof(enable));
}

/* Programs are loaded: what only that needed goes, before any thread is there. */
static int opened(void *context, struct diag *diag)
{
	struct agent *agent = context;
	int error = privileges_drop(diag);

	if (error)
		return error;
	give_memory_back();
	error = outputs_open(agent->outputs, &agent->config, diag);
	return error == -EPERM ? -EACCES : error; /* an output's matter, not the kernel's */
}

static int take_event(void *context, const struct event *event)
{
	struct agent *agent = context;

	outputs_event(agent->outputs, event);
	return 0;
}

static int take_report(void *context, const struct report *report)
{
	struct agent *agent = context;

	outputs_report(agent->outputs, report);
	return 0;
}

static void idle(void *context)
{
	struct agent *agent = context;
	uint64_t now = clock_ns(CLOCK_MONOTONIC);

	if (!agent->ready)
		(void)sd_notify(0, "READY=1\nSTATUS=watching");
	agent->ready = true;
	if (!agent->watchdog_ns || now - agent->heard_ns < agent->watchdog_ns / 4)
		return;
	(void)sd_notify(0, "WATCHDOG=1");
	agent->heard_ns = now;
}

/* What the probes were made with stays until a restart. */
static void say_fixed(const struct config *old, const struct config *config)
{
	const struct config_key *key = NULL;

	while ((key = config_next_fixed(old, config, key))) {
		char text[128];

		(void)snprintf(text, sizeof(text), "[%s] %s changes with a restart", key->section,
			key->name);
		say(NULL, text);
	}
}

static void reload(void *context)
{
	struct agent *agent = context;
	static struct config config;
	struct diag diag = {};

	(void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
		(unsigned long long)(clock_ns(CLOCK_MONOTONIC) / 1000));
	if (config_load(agent->path, &config, &diag)) {
		say(NULL, diag.text);
		say(NULL, "the configuration stays as it was");
	} else {
		outputs_reload(agent->outputs, &agent->config, &config);
		say_fixed(&agent->begun, &config);
		agent->config = config;
		set_loop(&agent->options, &agent->config);
		say(NULL, "the configuration was read again");
	}
	(void)sd_notify(0, "READY=1");
}

static void closing(void *context)
{
	struct agent *agent = context;

	(void)sd_notify(0, "STOPPING=1");
	outputs_free(agent->outputs);
}

static int watch(struct agent *agent, struct diag *diag)
{
	const struct run_hooks hooks = {
		.report = take_report,
		.event = take_event,
		.opened = opened,
		.idle = idle,
		.reload = reload,
		.closing = closing,
		.context = agent,
	};
	uint64_t watchdog_us = 0;
	int error;

	if (sd_watchdog_enabled(0, &watchdog_us) > 0)
		agent->watchdog_ns = watchdog_us * 1000;
	error = outputs_new(say, &agent->outputs);
	if (error)
		return error;
	return run_hooked(&agent->options, &hooks, diag);
}

enum exit_code run_agent(const struct options *options)
{
	static struct agent agent;
	struct diag diag = {};
	int error;

	agent.path = options->file;
	error = config_load(agent.path, &agent.config, &diag);
	if (error) {
		say(NULL, diag.text);
		return EXIT_USAGE;
	}
	if (options->check_config) {
		(void)printf("%s is sound\n", agent.path);
		return EXIT_OK;
	}
	agent.begun = agent.config;
	agent.options.verbose = options->verbose;
	set_probes(&agent.options, &agent.config);
	set_loop(&agent.options, &agent.config);
	error = watch(&agent, &diag);
	options_deinit(&agent.options);
	return error ? run_failed(&diag, error) : EXIT_OK;
}
