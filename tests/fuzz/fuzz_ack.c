/* rooms: protocol trust base */
/*
 * Payloads of control frames. An ACK that is taken is written again as our own and must give the
 * same receipts; rekey payloads must come back through their writer.
 */
#include <stdlib.h>

#include "protocol/v09/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct node_id self = {"139e3940e64b5491722088d9a0d74162"};

static void acks(struct bytes in)
{
	struct receipt r, *all = calloc(ACK_IDS_MAX + 1, sizeof *all);
	struct ack a, again;
	struct buf b;
	size_t n = 0, done = 0;

	if (!all || ack_read(in, &a) != ERR_OK) {
		free(all);
		return;
	}
	/* Borrowed until ack_free(), so `a` stays while its receipts are written; copy the walker.
	 */
	struct ack walk = {.root = json_incref(a.root)};
	while (ack_next(&walk, &r)) {
		BUG_ON(n > ACK_IDS_MAX || !receipt_valid(&r));
		all[n++] = r;
	}
	BUG_ON(n == 0 || walk.root);
	buf_init(&b, CONTROL_MAX);
	while (done < n) {
		size_t seen = 0;

		buf_reset(&b);
		size_t k = ack_write(&b, &self, all + done, n - done);
		BUG_ON(k == 0 || b.err != ERR_OK);
		BUG_ON(ack_read(buf_bytes(&b), &again) != ERR_OK);
		while (ack_next(&again, &r)) {
			bool found = false;
			for (size_t i = 0; i < k && !found; i++)
				found = all[done + i].kind == r.kind &&
					bytes_eq(all[done + i].id, r.id) &&
					(r.kind != RECEIPT_REJECTED ||
					 bytes_eq(all[done + i].reason, r.reason));
			BUG_ON(!found);
			seen++;
		}
		BUG_ON(seen != k);
		done += k;
	}
	buf_fini(&b);
	ack_free(&a);
	free(all);
}

static void rekeys(struct bytes in)
{
	struct rekey k, again;
	struct buf b;

	if (rekey_read(in, &k) != ERR_OK)
		return;
	buf_init(&b, CONTROL_MAX);
	rekey_write(&b, true, &self, k.ephemeral, bytes_str(k.id));
	BUG_ON(b.err != ERR_OK || rekey_read(buf_bytes(&b), &again) != ERR_OK);
	BUG_ON(memcmp(k.ephemeral, again.ephemeral, X25519_BYTES) != 0 ||
	       strcmp(k.id, again.id) != 0);
	buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	acks(bytes_of(data, size));
	rekeys(bytes_of(data, size));
	return 0;
}
