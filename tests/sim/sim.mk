# The simulator: many nodes in virtual time. `make sim` is half an hour; `make sim-check` half a minute.
# It needs the core of daemon/ alone, not the edge (control socket, web, libuv).
SIM_BIN := $(B)/tests/sim/sim
SIM_OBJ := $(patsubst %.c,$(B)/%.o,$(wildcard tests/sim/*.c))
# What it pulls in of daemon/ has no loop: that is looked at, since an archive would give it one without a word.
without_loop = if nm -u $@ | grep -q ' uv_'; then nm -u $@ | grep ' uv_'; echo "$@: the core of daemon/ calls libuv"; rm -f $@; exit 1; fi

$(B)/tests/sim/sim: $(SIM_OBJ) $(call lib,daemon transports store protocol trust base)
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS_all) -o $@ $^ $(LIBS)
	@$(without_loop)

.PHONY: sim sim-check
sim: $(B)/tests/sim/sim
	@$(B)/tests/sim/sim --self-test
	@$(B)/tests/sim/sim --seeds 100000 --jobs 2

sim-check: $(B)/tests/sim/sim
	@$(B)/tests/sim/sim --self-test
	@$(B)/tests/sim/sim --seeds 1000 --jobs 2

# A day in virtual time, then two real daemons for T seconds (600 unless said): memory and descriptors must stay where they are.
SOAK_T := $(if $(filter command%,$(origin T)),$(T),600)
.PHONY: soak soak-day
soak: $(B)/tests/sim/sim $(B)/ironmesh
	@$(MAKE) --no-print-directory soak-day
	@IRONMESH=$(abspath $(B)/ironmesh) $(PYTHON) tests/soak/soak.py --seconds $(SOAK_T)
soak-day: $(B)/tests/sim/sim
	@$(B)/tests/sim/sim --hours 24
