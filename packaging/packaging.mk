# What leaves the house: manual pages, installation, source archive, Debian package, and the tests of these.

DEB_PACK := debhelper dpkg-dev fakeroot lintian scdoc zstd libcmocka-dev
DEB_ROOT := mmdebstrap systemd

.PHONY: deps-pack deps-root
deps-pack:
	@tests/lib/install-packages $(DEB_BUILD) $(DEB_PACK)
deps-root:
	@tests/lib/install-packages $(DEB_BUILD) $(DEB_PACK) $(DEB_ROOT)

# --- manual pages: docs/man/*.scd, most of them made from the program by `make docs` --------------------------------
MAN := $(patsubst docs/man/%.scd,build/man/%,$(wildcard docs/man/*.scd))
build/man/%: docs/man/%.scd
	@mkdir -p $(@D)
	$(Q)scdoc <$< >$@.new && mv $@.new $@
.PHONY: man
man: $(MAN)

# --- install --------------------------------------------------------------------------------------------------------
UNITDIR ?= $(PREFIX)/lib/systemd/system
SYSCONFDIR ?= /etc
.PHONY: install
install: $(B)/ironmesh $(MAN)
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(DATADIR)/doc/ironmesh/docs $(DESTDIR)$(UNITDIR) \
		$(DESTDIR)$(PREFIX)/lib/systemd/user $(DESTDIR)$(PREFIX)/lib/sysusers.d $(DESTDIR)$(PREFIX)/lib/tmpfiles.d \
		$(DESTDIR)$(DATADIR)/bash-completion/completions $(DESTDIR)$(DATADIR)/zsh/vendor-completions \
		$(DESTDIR)$(DATADIR)/fish/vendor_completions.d $(DESTDIR)$(SYSCONFDIR)/ironmesh/conf.d
	install -m 0755 $(B)/ironmesh $(DESTDIR)$(BINDIR)/ironmesh
	install -m 0644 README.md CHANGELOG.md SECURITY.md THREAT_MODEL.md LICENSE $(DESTDIR)$(DATADIR)/doc/ironmesh
	install -m 0644 docs/*.md $(DESTDIR)$(DATADIR)/doc/ironmesh/docs
	install -d $(DESTDIR)$(DATADIR)/ironmesh
	install -m 0644 packaging/ironmesh.conf $(DESTDIR)$(SYSCONFDIR)/ironmesh/
	install -m 0644 packaging/grafana/ironmesh.json packaging/prometheus/ironmesh.rules.yml $(DESTDIR)$(DATADIR)/ironmesh
	install -m 0644 packaging/systemd/ironmesh.service packaging/systemd/ironmesh.socket $(DESTDIR)$(UNITDIR)
	install -m 0644 packaging/systemd/ironmesh-user.service $(DESTDIR)$(PREFIX)/lib/systemd/user/ironmesh.service
	install -m 0644 packaging/systemd/ironmesh.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/ironmesh.conf
	install -m 0644 packaging/systemd/ironmesh.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/ironmesh.conf
	$(B)/ironmesh completion bash >$(DESTDIR)$(DATADIR)/bash-completion/completions/ironmesh
	$(B)/ironmesh completion zsh >$(DESTDIR)$(DATADIR)/zsh/vendor-completions/_ironmesh
	$(B)/ironmesh completion fish >$(DESTDIR)$(DATADIR)/fish/vendor_completions.d/ironmesh.fish
	for m in $(MAN); do s=$${m##*.}; install -d $(DESTDIR)$(DATADIR)/man/man$$s && \
		install -m 0644 $$m $(DESTDIR)$(DATADIR)/man/man$$s/ || exit 1; done

# --- source archive and Debian package --------------------------------------------------------------------------------
.PHONY: dist deb package-check
dist:
	@packaging/make-dist build/dist
deb: deps-pack
	@packaging/build-deb build/deb
package-check: deps-root deb
	@$(PYTHON) tests/packaging/check_package.py build/deb
