# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# pagestay. `make` builds build/pagestay from what tools/install-deps installs; `make demo` and
# `make check` install what they need first. V=1 shows the commands, SANITIZE=address,undefined builds with
# sanitizers, PREFIX and DESTDIR place an installation, ARCH=arm64 with CC set builds for arm64.

.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

B        ?= build
V        ?= 0
PREFIX   ?= /usr/local
SYSCONFDIR ?= /etc
SANITIZE ?=
ARCH     ?= $(patsubst aarch64,arm64,$(shell uname -m))
CC       ?= cc
CLANG    ?= clang
BPFTOOL  ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
PKGS     := libbpf libelf zlib jansson libcap-ng libseccomp inih libsystemd libmicrohttpd sqlite3
VERSION  := 0.1.0

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-8s %s\n'
endif

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wundef \
            -Wvla -Wno-unused-parameter
WERROR   := $(if $(CI),-Werror)
CFLAGS   ?= -O2 -g
PLAIN_CFLAGS := -std=gnu11 -D_GNU_SOURCE $(WARNINGS) $(WERROR) $(CFLAGS) -DPAGESTAY_VERSION='"$(VERSION)"' \
              -Iinclude -I$(B)/bpf $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
ALL_CFLAGS := $(PLAIN_CFLAGS) $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer)
ALL_LDFLAGS := $(LDFLAGS) $(if $(SANITIZE),-fsanitize=$(SANITIZE))
LIBS     := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lJudy -lm -pthread
# The observer must not do what it diagnoses. Sanitizers bring their own allocator.
ALLOCATOR := $(if $(findstring address,$(SANITIZE)),,-ljemalloc)

BPF_TARGET_x86_64 := x86
BPF_TARGET_arm64  := arm64
BPF_CFLAGS := -g -O2 -Wall -Wextra -Wno-sign-compare -Wno-unused-parameter -Werror -target bpf -mcpu=v3 \
              -D__TARGET_ARCH_$(BPF_TARGET_$(ARCH)) -Ivmlinux/$(ARCH) -Iinclude -Ibpf \
              -idirafter /usr/include/$(shell $(CC) -dumpmachine 2>/dev/null)

BPF_OBJS  := $(patsubst bpf/%.c,$(B)/bpf/%.o,$(wildcard bpf/*.bpf.c))
LIB_OBJS  := $(patsubst user/%.c,$(B)/user/%.o,$(filter-out user/app/main.c,$(wildcard user/*/*.c)))
TOOLS     := $(patsubst tools/%.c,$(B)/tools/%,$(wildcard tools/*.c))
WORKLOADS := $(patsubst tests/workloads/%.c,$(B)/tests/workloads/%,$(wildcard tests/workloads/*.c))
UNIT      := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/test_*.c))
LIVE_OBJS := $(patsubst tests/live/%.c,$(B)/tests/live.d/%.o,$(wildcard tests/live/*.c))

.PHONY: all demo check check-unit check-cli check-live check-filters check-servers check-growth \
        check-allocators check-jemalloc check-xray-glibc check-verdicts check-agent check-http \
        check-warden check-files check-kernels check-service check-sanitize \
        bench lab soak lint format install uninstall install-deps clean programs

all: $(B)/pagestay
programs: all $(TOOLS) $(WORKLOADS) $(UNIT) $(if $(LIVE_OBJS),$(B)/tests/live)

$(B)/bpf/%.bpf.o: bpf/%.bpf.c
	$(say) BPF $@
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -c $< -o $@

$(B)/bpf/pagestay.o: $(BPF_OBJS)
	$(say) BPFLINK $@
	$(Q)$(BPFTOOL) gen object $@ $^

$(B)/bpf/pagestay.skel.h: $(B)/bpf/pagestay.o
	$(say) SKEL $@
	$(Q)$(BPFTOOL) gen skeleton $< name pagestay > $@.tmp && mv $@.tmp $@

$(B)/user/source/probes.o: $(B)/bpf/pagestay.skel.h

$(B)/user/%.o: user/%.c
	$(say) CC $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(B)/libpagestay.a: $(LIB_OBJS)
	$(say) AR $@
	$(Q)rm -f $@ && ar rcs $@ $^

$(B)/pagestay: $(B)/user/app/main.o $(B)/libpagestay.a
	$(say) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(LIBS) $(ALLOCATOR) -o $@

$(B)/tools/%: tools/%.c
	$(say) CC $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -MMD -MP $< -pthread -o $@

# What watches is built with sanitizers; what it watches makes its system calls itself and is not.
$(B)/tests/workloads/%: tests/workloads/%.c
	$(say) CC $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(PLAIN_CFLAGS) $(LDFLAGS) -MMD -MP $< -pthread -luring -o $@

$(B)/tests/unit/%: tests/unit/%.c $(B)/libpagestay.a
	$(say) CC $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -Itests/unit -MMD -MP $< $(B)/libpagestay.a $(LIBS) -lcmocka -o $@

$(B)/tests/live.d/%.o: tests/live/%.c
	$(say) CC $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(PLAIN_CFLAGS) -MMD -MP -c $< -o $@

$(B)/tests/live: $(LIVE_OBJS)
	$(say) LINK $@
	$(Q)$(CC) $(LDFLAGS) $^ -lcmocka -ljansson -pthread -o $@

-include $(shell find $(B) -name '*.d' -type f 2>/dev/null)

install-deps:
	$(Q)tools/install-deps check

# Installed first, then built by a make of its own: pkg-config must see what was just installed.
demo:
	$(Q)tools/install-deps
	$(Q)$(MAKE) --no-print-directory all $(TOOLS)
	$(Q)tools/demo

check: install-deps
	$(Q)$(MAKE) --no-print-directory -k check-unit check-cli check-sanitize check-live \
		check-filters check-servers check-growth check-allocators check-jemalloc \
		check-xray-glibc check-verdicts check-agent \
		check-http check-warden check-files

check-unit: programs
	$(Q)tools/run-tests $(UNIT)

check-cli: programs
	$(Q)tests/cli

check-live: programs
	$(Q)$(B)/tests/live

check-filters: programs
	$(Q)tests/filters

check-servers: programs
	$(Q)tests/servers

check-growth: programs
	$(Q)tests/growth

check-allocators check-jemalloc check-xray-glibc check-verdicts check-agent \
        check-http: programs
	$(Q)tests/$(@:check-%=%)

check-files: programs $(B)/tests/unit/files_driver
	$(Q)tests/files

check-warden: programs $(B)/tests/unit/warden_writer
	$(Q)tests/warden

check-kernels: programs
	$(Q)tools/check-kernels

# The systemd unit, in a Debian that is put together and booted for it.
check-service: programs
	$(Q)tests/service

# The same tests, built with sanitizers in a directory of their own.
check-sanitize:
	$(Q)$(MAKE) --no-print-directory B=build/sanitize SANITIZE=address,undefined check-unit check-live

bench: install-deps
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tools/bench
	$(Q)tools/bench-xray

# Compares allocators over several shapes of traffic; the report is build/lab/REPORT.md.
lab: install-deps
	$(Q)$(MAKE) --no-print-directory all $(TOOLS)
	$(Q)tools/lab

# Half an hour of the agent among processes that come and go.
soak: install-deps
	$(Q)$(MAKE) --no-print-directory programs
	$(Q)tools/soak

# Builds what it reads by itself, in build/lint and build/analyzer.
lint: install-deps
	$(Q)tools/lint

format:
	$(Q)git ls-files '*.c' '*.h' | grep -v '^vmlinux/' | xargs clang-format -i

install: all
	install -D -m 755 $(B)/pagestay $(DESTDIR)$(PREFIX)/sbin/pagestay
	install -D -m 644 man/pagestay.8 $(DESTDIR)$(PREFIX)/share/man/man8/pagestay.8
	install -D -m 644 man/pagestay.conf.5 $(DESTDIR)$(PREFIX)/share/man/man5/pagestay.conf.5
	sed 's|/usr/local/sbin|$(PREFIX)/sbin|' packaging/pagestay.service > $(B)/pagestay.service
	install -D -m 644 $(B)/pagestay.service $(DESTDIR)$(PREFIX)/lib/systemd/system/pagestay.service
	install -D -m 644 packaging/pagestay.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/pagestay.conf
	install -D -m 644 packaging/pagestay.conf $(DESTDIR)$(PREFIX)/share/pagestay/pagestay.conf
	install -D -m 644 packaging/prometheus/pagestay.rules.yml \
		$(DESTDIR)$(PREFIX)/share/pagestay/prometheus/pagestay.rules.yml
	install -D -m 644 packaging/grafana/pagestay.json $(DESTDIR)$(PREFIX)/share/pagestay/grafana/pagestay.json
	[ -e $(DESTDIR)$(SYSCONFDIR)/pagestay/pagestay.conf ] || \
		install -D -m 644 packaging/pagestay.conf $(DESTDIR)$(SYSCONFDIR)/pagestay/pagestay.conf

# The configuration stays: it is somebody's work.
uninstall:
	rm -f $(DESTDIR)$(PREFIX)/sbin/pagestay $(DESTDIR)$(PREFIX)/share/man/man8/pagestay.8 \
		$(DESTDIR)$(PREFIX)/share/man/man5/pagestay.conf.5 \
		$(DESTDIR)$(PREFIX)/lib/systemd/system/pagestay.service \
		$(DESTDIR)$(PREFIX)/lib/sysusers.d/pagestay.conf \
		$(DESTDIR)$(PREFIX)/share/pagestay/pagestay.conf \
		$(DESTDIR)$(PREFIX)/share/pagestay/prometheus/pagestay.rules.yml \
		$(DESTDIR)$(PREFIX)/share/pagestay/grafana/pagestay.json

clean:
	rm -rf $(B)
