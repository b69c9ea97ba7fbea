BENCH_OBJ := $(patsubst %.c,$(B)/%.o,tests/bench/bench.c tests/bench/bench_primitives.c tests/bench/bench_messages.c \
	tests/bench/bench_volatile.c tests/bench/bench_relay.c tests/bench/bench_sessions.c tests/bench/bench_http.c)
$(B)/tests/bench/bench: $(BENCH_OBJ) $(call lib,transports protocol trust base)
	$(Q)$(CC) $(LDFLAGS_all) -o $@ $^ $(LIBS)
$(B)/tests/bench/bench_im2: $(patsubst %.c,$(B)/%.o,tests/bench/bench_im2.c tests/lib/protocol_im2_pair.c tests/lib/protocol_env.c) \
		$(call lib,protocol trust base)
	$(Q)$(CC) $(LDFLAGS_all) -o $@ $^ $(LIBS)
# A node without its edge, as the simulators link it.
$(B)/tests/bench/bench_caps: $(B)/tests/bench/bench_caps.o $(call lib,daemon transports store protocol trust base)
	$(Q)$(CC) $(LDFLAGS_all) -o $@ $^ $(LIBS)
	@$(without_loop)
$(B)/tests/bench/bench_keys: $(B)/tests/bench/bench_keys.o $(call lib,$(LIBS_daemon))
	$(Q)$(CC) $(LDFLAGS_all) -o $@ $^ $(LIBS)
$(B)/tests/bench/bench_feed: $(B)/tests/bench/bench_feed.o $(call lib,$(LIBS_daemon))
	$(Q)$(CC) $(LDFLAGS_all) -o $@ $^ $(LIBS)
# A home folder with many peers and messages, for tests and measures.
$(B)/tests/bench/big_home: $(B)/tests/bench/big_home.o $(call lib,store protocol trust base)
	$(Q)$(CC) $(LDFLAGS_all) -o $@ $^ $(LIBS)
# The small benches of one room each.
$(B)/tests/bench/bench_%: $(B)/tests/bench/bench_%.o $(call lib,transports store protocol trust base)
	$(Q)$(CC) $(LDFLAGS_all) -o $@ $^ $(LIBS)

.PHONY: bench bench-mesh
bench: deps
	@$(MAKE) --no-print-directory -j$(J) all $(B)/tests/bench/bench $(B)/tests/bench/big_home $(B)/tests/bench/bench_ws \
		$(B)/tests/bench/bench_im2 $(B)/tests/bench/bench_time $(B)/tests/bench/bench_caps $(B)/tests/bench/bench_feed $(B)/tests/bench/bench_keys $(B)/tests/bench/bench_backup $(B)/tests/mesh/mesh
	@$(B)/tests/bench/bench $(B)/ironmesh
	@$(B)/tests/bench/bench_keys
	@$(B)/tests/bench/bench_im2
	@echo "the bare transport: frames without sessions (the ceiling of every row above that crosses a link)"
	@$(B)/tests/bench/bench_ws 200 20000
	@$(B)/tests/bench/bench_caps
	@$(B)/tests/bench/bench_feed
	@echo "routes: many nodes in virtual time, from the first dial on, links of 1 to 20 ms"
	@$(B)/tests/mesh/mesh --nodes 10 --only converge
	@$(B)/tests/mesh/mesh --nodes 100 --only converge
	@$(B)/tests/bench/bench_backup
	@$(B)/tests/bench/bench_time
	@$(MAKE) --no-print-directory bench-web

# Minutes of processor time and gigabytes of memory.
bench-mesh: deps
	@$(MAKE) --no-print-directory -j$(J) $(B)/tests/mesh/mesh
	@$(B)/tests/mesh/mesh --nodes 1000 --only converge
