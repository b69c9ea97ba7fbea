# The page of the daemon. Its built form is committed in web/assets, so that only who changes the page needs Node 18 or newer.
#
#   make web            build the page, and check its types
#   make web-check      is what is committed what the sources give?
NPM ?= npm
NODE ?= node

# Asks the registry only when the lock file has changed since the last time.
web/ui/node_modules/.installed: web/ui/package-lock.json
	@cd web/ui && $(NPM) ci --ignore-scripts --no-audit --no-fund
	@touch $@

.PHONY: web web-check
web: web/ui/node_modules/.installed
	@cd web/ui && $(NODE) node_modules/typescript/bin/tsc --noEmit && $(NODE) build.mjs
web-check: web/ui/node_modules/.installed
	@mkdir -p $(B)/web
	@cd web/ui && $(NODE) node_modules/typescript/bin/tsc --noEmit && $(NODE) build.mjs $(abspath $(B)/web) >/dev/null
	@cd $(B)/web && for f in *; do cmp $$f $(abspath web/assets)/$$f || { echo "run \`make web\` and commit web/assets"; exit 1; }; done
	@echo "web: the committed page is what its sources give"
