BENCH_OBJ := $(patsubst %.c,$(B)/%.o,tests/bench/bench.c tests/bench/bench_primitives.c tests/bench/bench_messages.c \
	tests/bench/bench_volatile.c tests/bench/bench_sessions.c)
$(B)/tests/bench/bench: $(BENCH_OBJ) $(call lib,transports protocol trust base)
	$(Q)$(CC) $(LDFLAGS_all) -o $@ $^ $(LIBS)
$(B)/tests/bench/bench_im2: $(patsubst %.c,$(B)/%.o,tests/bench/bench_im2.c tests/lib/protocol_im2_pair.c tests/lib/protocol_env.c) \
		$(call lib,protocol trust base)
	$(Q)$(CC) $(LDFLAGS_all) -o $@ $^ $(LIBS)
# The small benches of one room each.
$(B)/tests/bench/bench_%: $(B)/tests/bench/bench_%.o $(call lib,transports store protocol trust base)
	$(Q)$(CC) $(LDFLAGS_all) -o $@ $^ $(LIBS)

.PHONY: bench
bench: deps
	@$(MAKE) --no-print-directory -j$(J) all $(B)/tests/bench/bench $(B)/tests/bench/bench_ws \
		$(B)/tests/bench/bench_im2 $(B)/tests/bench/bench_time
	@$(B)/tests/bench/bench $(B)/ironmesh
	@$(B)/tests/bench/bench_im2
	@echo "the bare transport: frames without sessions (the ceiling of every row above that crosses a link)"
	@$(B)/tests/bench/bench_ws 200 20000
	@$(B)/tests/bench/bench_time
