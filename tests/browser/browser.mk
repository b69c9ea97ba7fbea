# The page in a real browser, against real daemons.
DEB_BROWSER := chromium nodejs npm
# A node that is there already, from wherever, is used.
ifneq (,$(shell command -v npm 2>/dev/null))
ifneq (,$(shell command -v node 2>/dev/null))
DEB_BROWSER := chromium
endif
endif

.PHONY: deps-browser browser-modules
deps-browser:
	@tests/lib/install-packages $(DEB_BROWSER)
browser-modules:
	@$(call npm_ci,tests/browser)

BROWSER_TESTS := $(sort $(wildcard tests/browser/*.test.mjs))
.PHONY: browser bench-web
browser: $(B)/ironmesh $(B)/tests/bench/big_home browser-modules web-modules
	@mkdir -p $(B)/browser
	@cd tests/browser && IRONMESH=$(abspath $(B)/ironmesh) BIG_HOME=$(abspath $(B)/tests/bench/big_home) BROWSER_SHOTS=$(abspath $(B)/browser) \
		timeout 900 $(NODE) --test --test-reporter=spec $(notdir $(BROWSER_TESTS))

# First paint and the cost of a change with 10,000 peers, beside an empty page in the same browser.
bench-web: deps-browser $(B)/ironmesh $(B)/tests/bench/big_home browser-modules
	@cd tests/browser && IRONMESH=$(abspath $(B)/ironmesh) BIG_HOME=$(abspath $(B)/tests/bench/big_home) $(NODE) bench.mjs
