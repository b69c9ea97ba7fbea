# The page of the daemon. Its built form is committed in web/assets, so that only who changes the page needs Node 18 or newer.
#
#   make web            build the page, and check its types
#   make web-check      is what is committed what the sources give?
NPM ?= npm
NODE ?= node

# Asks the registry only when the lock file is another one than the last time.
npm_ci = cd $(1) && { cmp -s package-lock.json node_modules/.installed || \
	{ $(NPM) ci --ignore-scripts --no-audit --no-fund && cp package-lock.json node_modules/.installed; } || \
	{ echo "the packages of $(1)/package-lock.json are needed once, from the npm registry; with a network, run this make again"; exit 1; }; }
.PHONY: web-modules
web-modules:
	@$(call npm_ci,web/ui)

.PHONY: web web-check
web: web-modules
	@cd web/ui && $(NODE) node_modules/typescript/bin/tsc --noEmit && $(NODE) build.mjs
web-check: web-modules
	@mkdir -p $(B)/web
	@cd web/ui && $(NODE) node_modules/typescript/bin/tsc --noEmit && $(NODE) build.mjs $(abspath $(B)/web) >/dev/null
	@cd $(B)/web && for f in *; do cmp $$f $(abspath web/assets)/$$f || { echo "run \`make web\` and commit web/assets"; exit 1; }; done
	@echo "web: the committed page is what its sources give"
