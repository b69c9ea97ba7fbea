# ironmesh: one non-recursive Makefile.
#
#   make                build build/release/ironmesh
#   make demo           install what is missing, build, run the story
#   make check          install what is missing, run every test that fits in minutes
#   make MODE=asan check | MODE=debug|release|asan|tsan|cov   (objects in build/<mode>/)
#   make web             the page of the daemon again (only after a change in web/ui; needs Node)
#   make check-docs | make man | make dist | make deb | make package-check
#   make bench | make fuzz T=60 | make sim | make check-layers | make format | make install
#
# A room is a folder; each becomes one archive. Link order follows the include table of
# docs/architecture.md, so an arrow that points upward does not link either.

.DEFAULT_GOAL := all

MODE ?= release
V ?= 0
Q := $(if $(filter 1,$(V)),,@)
CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
B := build/$(MODE)
T ?= 60
J := $(shell nproc 2>/dev/null || echo 2)

PREFIX ?= /usr
BINDIR ?= $(PREFIX)/bin
DATADIR ?= $(PREFIX)/share
DESTDIR ?=

PKGS := libsodium libwebsockets libuv sqlite3 jansson libcrypto libssl avahi-compat-libdns_sd libqrencode inih libseccomp libcap-ng libarchive
VERSION := $(shell cat VERSION 2>/dev/null || echo 0.0.0)

# pkg-config may not be there before `make deps`; then the flags are asked again by the sub-make.
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null)

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wwrite-strings -Wvla -Wundef -Wformat=2 -Wno-unused-parameter -Wno-missing-field-initializers
CFLAGS_common := -std=gnu11 -D_GNU_SOURCE -I. $(WARN) -Werror -g -fno-strict-aliasing -MMD -MP \
	-DIRONMESH_VERSION='"$(VERSION)"' $(PKG_CFLAGS)
HARDEN := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fPIE
LDHARDEN := -pie -Wl,-z,relro,-z,now,-z,noexecstack
ifneq (,$(findstring x86_64,$(shell uname -m)))
HARDEN += -fcf-protection
endif

ifeq ($(MODE),release)
CFLAGS_mode := -O2 $(HARDEN)
LDFLAGS_mode := $(LDHARDEN)
else ifeq ($(MODE),debug)
CFLAGS_mode := -O0 -fno-omit-frame-pointer
else ifeq ($(MODE),asan)
CFLAGS_mode := -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS_mode := -fsanitize=address,undefined
else ifeq ($(MODE),tsan)
CFLAGS_mode := -O1 -fsanitize=thread -fno-omit-frame-pointer
LDFLAGS_mode := -fsanitize=thread
else ifeq ($(MODE),cov)
CFLAGS_mode := -O0 --coverage -DIRONMESH_COVERAGE
LDFLAGS_mode := --coverage
else ifeq ($(MODE),fuzz)
override CC := clang
CFLAGS_mode := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS_mode := -fsanitize=address,undefined
else
$(error MODE must be one of debug release asan tsan cov fuzz)
endif
CFLAGS_all := $(CFLAGS_common) $(CFLAGS_mode) $(CPPFLAGS) $(CFLAGS)
LDFLAGS_all := $(LDFLAGS_mode) $(LDFLAGS)
LIBS := $(PKG_LIBS) -lm -lpthread

# --- rooms -------------------------------------------------------------------------------------
ROOMS := base trust protocol store transports web daemon cli
src_of = $(sort $(wildcard $(1)/*.c $(1)/*/*.c))
obj_of = $(patsubst %.c,$(B)/%.o,$(call src_of,$(1)))
define room
$(B)/lib/$(1).a: $(call obj_of,$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	$$(Q)$$(if $$(strip $$^),ar rcs $$@ $$^,ar rcs $$@)
endef
$(foreach r,$(ROOMS),$(eval $(call room,$(r))))
lib = $(patsubst %,$(B)/lib/%.a,$(1))

LIBS_base := base
LIBS_trust := trust base
LIBS_protocol := protocol trust base
LIBS_store := store trust base
LIBS_transports := transports base
LIBS_web := web base
LIBS_daemon := daemon web transports store protocol trust base
LIBS_cli := cli base

.PHONY: all
all: $(B)/ironmesh

$(B)/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo "  CC   $@"
	$(Q)$(CC) $(CFLAGS_all) -c -o $@ $<

# The page is put in by the assembler, which names no dependencies.
$(B)/web/assets.o: $(wildcard web/assets/*.gz)

$(B)/ironmesh: $(B)/main.o $(call lib,cli $(LIBS_daemon))
	@echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS_all) -o $@ $^ $(LIBS)

# --- unit tests: tests/unit/<room>/test_<noun>.c, one cmocka program each ----------------------
TEST_LIB_SRC := $(wildcard tests/lib/*.c)
UNIT_SRC := $(wildcard tests/unit/*/test_*.c)
UNIT_BIN := $(patsubst %.c,$(B)/%,$(UNIT_SRC))
define unit_room
$(B)/tests/unit/$(1)/%: $(B)/tests/unit/$(1)/%.o $(patsubst %.c,$(B)/%.o,$(wildcard tests/lib/$(1)_*.c)) $(call lib,$(LIBS_$(1)))
	$$(Q)$$(CC) $$(LDFLAGS_all) -o $$@ $$^ $$(LIBS) -lcmocka
endef
$(foreach r,$(ROOMS),$(eval $(call unit_room,$(r))))
.SECONDARY:

.PHONY: unit
unit: $(UNIT_BIN)
	@tests/lib/run-units $(UNIT_BIN)

# `make unit-base`, `make unit-store`, ...: one room alone, while others are being changed.
define unit_one
.PHONY: unit-$(1)
unit-$(1): $(filter $(B)/tests/unit/$(1)/%,$(UNIT_BIN))
	@tests/lib/run-units $$^
endef
$(foreach r,$(ROOMS),$(eval $(call unit_one,$(r))))

-include $(shell find $(B) -name '*.d' 2>/dev/null)
-include web/ui/ui.mk
-include tests/tests.mk
-include packaging/packaging.mk

# --- the rest ----------------------------------------------------------------------------------
.PHONY: clean format check-layers
clean:
	rm -rf build
format:
	clang-format -i $$(git ls-files '*.c' '*.h')
check-layers:
	@tests/lib/check-layers
