# The simulator: many nodes in virtual time. `make sim` is half an hour; `make sim-check` half a minute.
# It needs the core of daemon/ alone, not the edge (control socket, web, libuv).
SIM_BIN := $(B)/tests/sim/sim
SIM_EDGE := app|attention|brakes|commands|commands_internal|config|control|events|feed|feed_internal|fields|home|lan|loop|mesh|meshkey|notify|ownkey|rotation|rows|rpc|stats|unlock|views
SIM_CORE := $(patsubst daemon/%.c,%,$(shell grep -LE '"daemon/($(SIM_EDGE))\.h"|<uv\.h>' daemon/*.c))
SIM_OBJ := $(patsubst %.c,$(B)/%.o,$(wildcard tests/sim/*.c)) $(patsubst %,$(B)/daemon/%.o,$(SIM_CORE))

$(B)/tests/sim/sim: $(SIM_OBJ) $(call lib,transports store protocol trust base)
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS_all) -o $@ $^ $(LIBS)

.PHONY: sim sim-check
sim: $(B)/tests/sim/sim
	@$(B)/tests/sim/sim --self-test
	@$(B)/tests/sim/sim --seeds 100000 --jobs 2

sim-check: $(B)/tests/sim/sim
	@$(B)/tests/sim/sim --self-test
	@$(B)/tests/sim/sim --seeds 1000 --jobs 2
