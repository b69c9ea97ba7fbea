# What `make check` runs, and the targets that take longer.

DEB_BUILD := gcc make scdoc pkg-config libsodium-dev libwebsockets-dev libwebsockets-evlib-uv libuv1-dev \
	libsqlite3-dev libjansson-dev libssl-dev libavahi-compat-libdnssd-dev libqrencode-dev libinih-dev \
	libseccomp-dev libcap-ng-dev libarchive-dev
DEB_TEST := libcmocka-dev openssl curl python3 python3-nacl python3-websockets avahi-daemon avahi-utils dbus-daemon iproute2 util-linux nftables libfaketime systemd mandoc zsh fish
DEB_FUZZ := clang libclang-rt-14-dev

.PHONY: deps deps-test deps-fuzz
deps:
	@tests/lib/install-packages $(DEB_BUILD)
deps-test:
	@tests/lib/install-packages $(DEB_BUILD) $(DEB_TEST) $(DEB_BROWSER)
deps-fuzz:
	@tests/lib/install-packages $(DEB_BUILD) $(DEB_FUZZ)

# --- the story --------------------------------------------------------------------------------
.PHONY: demo demo-run
demo: deps
	@$(MAKE) --no-print-directory -j$(J) all
	@$(MAKE) --no-print-directory demo-run
demo-run:
	@$(B)/ironmesh demo

# --- fuzz targets: the first line of each names the rooms it links ------------------------------
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_NAMES := $(patsubst tests/fuzz/fuzz_%.c,%,$(FUZZ_SRC))
fuzz_rooms = $(shell sed -n '1s/.*rooms: *\([a-z ]*\).*/\1/p' tests/fuzz/fuzz_$(1).c)
define fuzz_target
$(B)/tests/fuzz/fuzz_$(1): $(B)/tests/fuzz/fuzz_$(1).o $(if $(filter fuzz,$(MODE)),,$(B)/tests/fuzz/replay.o) \
		$(call lib,$(call fuzz_rooms,$(1)))
	$$(Q)$$(CC) $$(LDFLAGS_all) $(if $(filter fuzz,$(MODE)),-fsanitize=fuzzer) -o $$@ $$^ $$(LIBS)
endef
$(foreach f,$(FUZZ_NAMES),$(eval $(call fuzz_target,$(f))))
FUZZ_BIN := $(patsubst %,$(B)/tests/fuzz/fuzz_%,$(FUZZ_NAMES))

# The seed corpora, replayed by a plain driver: no clang needed.
.PHONY: corpus
corpus: $(FUZZ_BIN)
	@passed=0; failed=0; for f in $(FUZZ_NAMES); do \
		if $(B)/tests/fuzz/fuzz_$$f tests/fuzz/corpus/$$f >$(B)/tests/fuzz/$$f.log 2>&1; \
		then passed=$$((passed + 1)); \
		else failed=$$((failed + 1)); echo "FAIL fuzz corpus $$f"; tail -20 $(B)/tests/fuzz/$$f.log; fi; \
	done; echo "corpus: $$passed passed, $$failed failed"; [ $$failed -eq 0 ]

# `make fuzz T=60`: every target for T seconds with libFuzzer; finds go to build/fuzz/finds.
.PHONY: fuzz fuzz-run
fuzz: deps-fuzz
	@$(MAKE) --no-print-directory MODE=fuzz -j$(J) fuzz-run T=$(T)
fuzz-run: $(FUZZ_BIN)
	@mkdir -p $(B)/finds; for f in $(FUZZ_NAMES); do \
		mkdir -p $(B)/live/$$f; echo "fuzz $$f for $(T) s"; \
		$(B)/tests/fuzz/fuzz_$$f -max_total_time=$(T) -timeout=10 -rss_limit_mb=2048 -print_final_stats=0 \
			-artifact_prefix=$(B)/finds/$$f- $(B)/live/$$f tests/fuzz/corpus/$$f \
			>$(B)/live/$$f.log 2>&1 || { tail -30 $(B)/live/$$f.log; exit 1; }; \
		tail -1 $(B)/live/$$f.log; \
	done

# --- simulator, benches --------------------------------------------------------------------------
-include tests/sim/sim.mk
-include tests/mesh/mesh.mk
-include tests/bench/bench.mk
-include tests/diff/im2_diff.mk
-include tests/browser/browser.mk

# --- real daemons ----------------------------------------------------------------------------------
PYTHON ?= /usr/bin/python3
INTEGRATION := $(sort $(wildcard tests/interop/test_*.py tests/integration/test_*.py))
# Where our own daemons talk to each other they do it over im2, and then over the old wire. Old peers and most
# attacks are on the old wire anyway.
OLD_WIRE := $(patsubst %,tests/integration/test_%.py,allow caps cli config control crash invite run strings trust) tests/interop/test_old_mesh.py
run_tests = failed=0; for t in $(2); do \
		echo "--- $$t (im2 $(1))"; \
		IM2=$(1) IRONMESH=$(abspath $(B)/ironmesh) $(PYTHON) $$t || { echo "FAIL $$t"; failed=$$((failed + 1)); }; \
	done; [ $$failed -eq 0 ]
.PHONY: integration integration-on integration-off
integration: integration-on integration-off
integration-on: $(B)/ironmesh
	@$(call run_tests,on,$(INTEGRATION))
integration-off: $(B)/ironmesh
	@$(call run_tests,off,$(OLD_WIRE))

.PHONY: check-docs
check-docs: $(B)/ironmesh
	@IRONMESH=$(abspath $(B)/ironmesh) $(PYTHON) tests/integration/test_docs.py
	@IRONMESH=$(abspath $(B)/ironmesh) $(PYTHON) tests/integration/test_docs_pages.py

.PHONY: check check-run
check: deps-test
	@$(MAKE) --no-print-directory -j$(J) check-build
	@$(MAKE) --no-print-directory check-run
.PHONY: check-build
check-build: all $(UNIT_BIN) $(FUZZ_BIN) $(SIM_BIN) $(MESH_BIN) $(B)/tests/diff/im2_tables $(B)/tests/diff/http_tables $(B)/tests/bench/big_home
check-run:
	@$(MAKE) --no-print-directory check-layers
	@tests/lib/check-layers-test
	@tests/lib/put-table --check docs/http-api.md $(B)/tests/diff/http_tables methods
	@tests/lib/put-table --check docs/metrics.md $(B)/tests/diff/http_tables metrics
	@$(B)/tests/diff/im2_tables | cmp - docs/im2-tables.md || { echo "run \`make docs\` and commit docs/im2-tables.md"; exit 1; }
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory corpus
	@$(if $(SIM_BIN),$(MAKE) --no-print-directory sim-check)
	@$(MAKE) --no-print-directory mesh-check
	@$(MAKE) --no-print-directory integration
	@$(MAKE) --no-print-directory browser
	@echo "all checks passed ($(MODE))"

# --- documents made from the program -----------------------------------------------------------------
.PHONY: docs
docs: $(B)/ironmesh $(B)/tests/diff/im2_tables $(B)/tests/diff/http_tables
	@tests/lib/make-commands-doc $(B)/ironmesh >docs/commands.md.new && mv docs/commands.md.new docs/commands.md
	@tests/lib/make-weakness-table
	@tests/lib/put-table docs/http-api.md $(B)/tests/diff/http_tables methods
	@tests/lib/put-table docs/metrics.md $(B)/tests/diff/http_tables metrics
	@tests/lib/make-man-pages $(B)/ironmesh docs/man
	@tests/lib/make-config-docs $(B)/ironmesh .
	@$(B)/tests/diff/im2_tables >docs/im2-tables.md.new && mv docs/im2-tables.md.new docs/im2-tables.md
