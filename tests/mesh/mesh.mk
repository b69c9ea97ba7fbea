# A mesh of many real nodes in virtual time: `make mesh` is the whole round, `make mesh-check` the short one of `make check`.
MESH_BIN := $(B)/tests/mesh/mesh
MESH_OBJ := $(patsubst %.c,$(B)/%.o,$(wildcard tests/mesh/*.c))

$(MESH_BIN): $(MESH_OBJ) $(call lib,daemon transports store protocol trust base)
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS_all) -o $@ $^ $(LIBS)
	@$(without_loop)

.PHONY: mesh mesh-check mesh-1000
mesh: $(MESH_BIN)
	@$(MESH_BIN) --nodes 100 --seeds 5
mesh-check: $(MESH_BIN)
	@$(MESH_BIN) --nodes 30 --seeds 1
mesh-1000: $(MESH_BIN)
	@$(MESH_BIN) --nodes 1000 --seeds 1 --messages 300 --only quiet
