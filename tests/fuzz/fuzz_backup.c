/* rooms: store trust base */
/*
 * What is read of a backup before and after it was decrypted: the header, which is written back byte for byte, or the list of
 * contents, whose names all have a row and whose canonical form is read back as the same.
 */
#include <stdlib.h>

#include "store/backup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void header(struct bytes in)
{
	struct backup_header h;
	uint8_t out[BACKUP_HEADER_BYTES];

	if (backup_header_parse(in, &h) != ERR_OK)
		return;
	BUG_ON(h.cost.mem_kib > BACKUP_MEM_MAX_KIB || h.cost.ops > BACKUP_OPS_MAX || h.chunk > BACKUP_CHUNK_MAX);
	backup_header_write(&h, out);
	BUG_ON(!bytes_eq(in, BYTES_ARR(out)));
}

static void manifest(struct bytes in)
{
	struct backup_manifest m, again;
	struct fault f = { 0 };
	struct buf out;
	uint64_t sum = 0;

	if (backup_manifest_parse(in, &m, &f) != ERR_OK) {
		BUG_ON(!f.what[0]);
		return;
	}
	BUG_ON(m.n > STATE_MEMBERS_MAX);
	for (size_t i = 0; i < m.n; i++) {
		const struct backup_file *x = &m.files[i];

		BUG_ON(state_find(bytes_str(x->name)) != x->row || x->row->how == STATE_NOT || x->bytes > x->row->max_bytes);
		BUG_ON(x->name[0] == '/' || strstr(x->name, ".."));
		sum += x->bytes;
	}
	BUG_ON(sum != m.bytes);
	buf_init(&out, 4 * BACKUP_MANIFEST_MAX);
	BUG_ON(backup_manifest_write(&m, &out) != ERR_OK);
	if (out.n <= BACKUP_MANIFEST_MAX) {
		BUG_ON(backup_manifest_parse(buf_bytes(&out), &again, &f) != ERR_OK);
		BUG_ON(again.n != m.n || again.bytes != m.bytes || again.created_ms != m.created_ms || strcmp(again.name, m.name) != 0);
		backup_manifest_fini(&again);
	}
	buf_fini(&out);
	backup_manifest_fini(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size && data[0] == '{')
		manifest(bytes_of(data, size));
	else
		header(bytes_of(data, size));
	return 0;
}
