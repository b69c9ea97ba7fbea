# The codec of im2 against the Python reference of its specification, which is not in this tree:
#   make im2-diff IM2REF=.../im2ref N=1000000 [SEED=1]
N ?= 200000
SEED ?= 1
$(B)/tests/diff/%: $(B)/tests/diff/%.o $(B)/tests/lib/protocol_rules.o $(call lib,protocol trust base)
	$(Q)$(CC) $(LDFLAGS_all) -o $@ $^ $(LIBS)
# The tables of docs/http-api.md and docs/metrics.md.
$(B)/tests/diff/http_tables: $(B)/tests/diff/http_tables.o $(call lib,$(LIBS_daemon))
	$(Q)$(CC) $(LDFLAGS_all) -o $@ $^ $(LIBS)
.PHONY: im2-diff
im2-diff: $(B)/tests/diff/im2_diff
	@IM2REF="$(IM2REF)" $(PYTHON) -B tests/diff/im2_diff.py $< $(N) $(SEED)

# The tables of im2 as Markdown, from the tables that the program reads with.
.PHONY: im2-tables
im2-tables: $(B)/tests/diff/im2_tables
	@$<
