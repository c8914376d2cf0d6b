# SPDX-License-Identifier: GPL-2.0-or-later
# ringfence: see README.md. V=1 shows the commands; BUILD= another build folder.

BUILD	?= build
PREFIX	?= /usr
DESTDIR	?=
CC	?= cc
CLANG	?= clang
VERSION	:= 0.1.0

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-7s %s\n'
endif

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wcast-qual -Wpointer-arith -Wvla -Wsign-compare -Wwrite-strings \
	-Wundef -Wformat=2 -Werror
HARDEN := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection \
	-fPIE -fcf-protection
BASE := -std=gnu11 -I. -D_GNU_SOURCE -DRINGFENCE_VERSION='"$(VERSION)"' \
	-D__XEN_INTERFACE_VERSION__=0x00040d00 $(WARN)
# The place of the sources is not in what is built: packages are reproducible.
RELEASE := -O2 -g -ffile-prefix-map=$(CURDIR)=. $(HARDEN)
LDHARD := -pie -Wl,-z,relro,-z,now -Wl,--as-needed
SAN := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined \
	-fno-sanitize-recover=all

LIBS := -lxenvchan -lxengnttab -lxenevtchn -lxenstore -ljansson -lcares -lseccomp

# The rooms. firewall/tool*.c is the ringfence command, firewall/main.c the
# daemon's entry; everything else is common and is what the tests link.
ROOM_SRC   := $(sort $(wildcard rules/*.c qubesdb/*.c netback/*.c))
TOOL_SRC   := $(sort $(wildcard firewall/tool*.c))
DAEMON_SRC := $(filter-out $(TOOL_SRC),$(sort $(wildcard firewall/*.c)))
COMMON_SRC := $(ROOM_SRC) $(filter-out firewall/main.c,$(DAEMON_SRC))
FAKE_SRC   := $(sort $(wildcard tests/fake/*.c tests/craft/*.c))
UNIT_SRC   := $(sort $(wildcard tests/unit/test_*.c))
MODEL_SRC  := $(sort $(wildcard tests/model/*.c))
FUZZ_SRC   := $(sort $(wildcard tests/fuzz/fuzz_*.c))
BENCH_SRC  := $(sort $(wildcard tests/bench/bench_*.c))
NET_SRC    := $(sort $(wildcard tests/net/*.c))
XEN_SRC    := $(sort $(wildcard tests/xen/*.c))

obj = $(patsubst %.c,$(BUILD)/$(1)/%.o,$(2))

UNIT_BIN  := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(UNIT_SRC))
FUZZ_BIN  := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(FUZZ_SRC))
BENCH_BIN := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(BENCH_SRC))
NET_BIN   := $(patsubst tests/net/%.c,$(BUILD)/net/%,$(NET_SRC))
XEN_BIN   := $(patsubst tests/xen/%.c,$(BUILD)/xen/%,$(XEN_SRC))

.PHONY: all deps check check-unit check-net check-xen coverage san lab demo bench \
	bench-xen fuzz lint install deb appliance clean
.DELETE_ON_ERROR:
.SECONDARY:

all: $(BUILD)/ringfenced $(BUILD)/ringfence

# --- objects: one tree for each set of flags ---------------------------------
# What is shipped follows a change of the flags.
$(BUILD)/rel/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(BASE) $(RELEASE) $(CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/san/%.o: %.c
	@mkdir -p $(@D)
	$(say) CC-SAN $<
	$(Q)$(CC) $(BASE) $(SAN) -MMD -MP -c $< -o $@

$(BUILD)/fuzzobj/%.o: %.c
	@mkdir -p $(@D)
	$(say) CC-FUZZ $<
	$(Q)$(CLANG) $(BASE) $(SAN) -fsanitize=fuzzer-no-link -MMD -MP -c $< -o $@

$(BUILD)/ringfenced: $(call obj,rel,$(ROOM_SRC) $(DAEMON_SRC))
	$(say) LINK $@
	$(Q)$(CC) $(RELEASE) $(LDHARD) $(LDFLAGS) $^ -o $@ $(LIBS)

$(BUILD)/ringfence: $(call obj,rel,$(COMMON_SRC) $(TOOL_SRC))
	$(say) LINK $@
	$(Q)$(CC) $(RELEASE) $(LDHARD) $(LDFLAGS) $^ -o $@ $(LIBS)

# The same programs under ASan and UBSan: what the tests drive.
san: $(BUILD)/san/ringfenced $(BUILD)/san/ringfence

$(BUILD)/san/ringfenced: $(call obj,san,$(ROOM_SRC) $(DAEMON_SRC))
	$(say) LINK $@
	$(Q)$(CC) $(SAN) $^ -o $@ $(LIBS)

$(BUILD)/san/ringfence: $(call obj,san,$(COMMON_SRC) $(TOOL_SRC))
	$(say) LINK $@
	$(Q)$(CC) $(SAN) $^ -o $@ $(LIBS)

# Instrumented, for tests/coverage.sh, which says of what (COV_SRC, COV_LIBS) and which
# programs.
$(BUILD)/cov/%.o: %.c
	@mkdir -p $(@D)
	$(say) CC-COV $<
	$(Q)$(CC) $(BASE) -O1 -g --coverage -MMD -MP -c $< -o $@

$(BUILD)/cov/unit/%: $(BUILD)/cov/tests/unit/%.o $(call obj,cov,$(COV_SRC))
	@mkdir -p $(@D)
	$(say) LINK $@
	$(Q)$(CC) --coverage $^ -o $@ $(COV_LIBS)

$(BUILD)/cov/unit/test_model: $(call obj,cov,$(MODEL_SRC))

$(BUILD)/unit/%: $(BUILD)/san/tests/unit/%.o $(call obj,san,$(COMMON_SRC) $(FAKE_SRC))
	@mkdir -p $(@D)
	$(say) LINK $@
	$(Q)$(CC) $(SAN) $^ -o $@ $(LIBS) -lpthread

$(BUILD)/unit/test_model: $(call obj,san,$(MODEL_SRC))

$(BUILD)/fuzz/%: $(BUILD)/fuzzobj/tests/fuzz/%.o $(call obj,fuzzobj,$(COMMON_SRC) $(FAKE_SRC))
	@mkdir -p $(@D)
	$(say) LINK $@
	$(Q)$(CLANG) $(SAN) -fsanitize=fuzzer $^ -o $@ $(LIBS) -lpthread

# The packet fuzzer comes in several files, and makes packets as the rig does.
$(BUILD)/fuzz/fuzz_packet: $(call obj,fuzzobj,$(sort $(wildcard tests/fuzz/packet_*.c)) \
	tests/net/diff/build.c tests/net/diff/parse.c)

$(BUILD)/bench/%: $(BUILD)/rel/tests/bench/%.o $(call obj,rel,$(COMMON_SRC) $(FAKE_SRC))
	@mkdir -p $(@D)
	$(say) LINK $@
	$(Q)$(CC) $(RELEASE) $(LDHARD) $^ -o $@ $(LIBS) -lpthread

# Small peers for the netns and Xen tests: one file, libc only.
$(BUILD)/net/%: tests/net/%.c
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(BASE) $(RELEASE) $< -o $@

# The driver of tests/net/diff.sh.
$(BUILD)/net/diff: $(call obj,rel,$(sort $(wildcard tests/net/diff/*.c)))
	@mkdir -p $(@D)
	$(say) LINK $@
	$(Q)$(CC) $(RELEASE) $(LDHARD) $^ -o $@

# The driver of tests/net/scenario_42_reload.sh; its packets are the other one's.
$(BUILD)/net/reload: $(call obj,rel,$(sort $(wildcard tests/net/reload/*.c)) \
	tests/net/diff/build.c tests/net/diff/parse.c)
	$(say) LINK $@
	$(Q)$(CC) $(RELEASE) $(LDHARD) $^ -o $@

# Programs of the Xen lab's domains: one file each, the lab copies their libraries.
$(BUILD)/xen/%: tests/xen/%.c $(wildcard tests/xen/*.h)
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(BASE) $(RELEASE) $< -o $@ -Wl,--as-needed -lxenvchan -lxenstore

# All of them; tests/xen/build-images.sh puts them into the images.
lab: all $(XEN_BIN)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

# --- what a developer runs ---------------------------------------------------
deps:
	$(Q)sh packaging/deps.sh

check: deps
	$(Q)tests/check.sh unit net xen

check-unit:
	$(Q)tests/check.sh unit

check-net:
	$(Q)tests/check.sh net

check-xen:
	$(Q)tests/check.sh xen

coverage:
	$(Q)BUILD=$(BUILD) tests/coverage.sh

demo: deps
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tests/xen/demo.sh

bench: all $(BENCH_BIN)
	$(Q)mkdir -p $(BUILD)/bench
	$(Q)for b in $(BENCH_BIN); do $$b || exit 1; done
	$(Q)BUILD=$(BUILD) tests/bench/commit.sh

bench-xen: deps
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tests/bench/xen.sh

# FUZZ_SECONDS for each harness; the corpora are under tests/fuzz/corpus/.
FUZZ_SECONDS ?= 60
fuzz: $(FUZZ_BIN)
	$(Q)tests/fuzz/run.sh $(FUZZ_SECONDS) $(FUZZ_BIN)

lint:
	$(Q)tests/lint.sh

install: all
	install -D -m 755 $(BUILD)/ringfenced $(DESTDIR)$(PREFIX)/sbin/ringfenced
	install -D -m 755 $(BUILD)/ringfence $(DESTDIR)$(PREFIX)/bin/ringfence
	install -D -m 644 doc/ringfenced.8 $(DESTDIR)$(PREFIX)/share/man/man8/ringfenced.8
	install -D -m 644 doc/ringfence.1 $(DESTDIR)$(PREFIX)/share/man/man1/ringfence.1

# init of the appliance: one file, libc only.
$(BUILD)/image/%: packaging/image/%.c Makefile
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(BASE) $(RELEASE) $(LDHARD) $< -o $@

deb: all
	$(Q)VERSION=$(VERSION) BUILD=$(BUILD) packaging/deb.sh

appliance: all $(BUILD)/image/init
	$(Q)BUILD=$(BUILD) packaging/image/build.sh

clean:
	rm -rf $(BUILD)
