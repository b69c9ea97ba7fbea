#include "daemon/backups_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/text.h"

#define FILE_MAX (1u << 20)

static uint64_t number(const json_t *v, const char *key)
{
	int64_t n = 0;

	return json_get_int(v, key, 0, INT64_MAX, &n) == ERR_OK ? (uint64_t)n : 0;
}

static void text(const json_t *v, const char *key, char *out, size_t cap)
{
	const char *s = json_str(v, key);

	snprintf(out, cap, "%s", s && strlen(s) < cap ? s : "");
}

void ledger_load(struct ledger *l, const char *home)
{
	char path[PATH_MAX];
	json_t *root = NULL, *one;
	struct buf b;
	size_t i;

	*l = (struct ledger){ .n = 0 };
	buf_init(&b, FILE_MAX);
	if (path_join(path, sizeof path, home, LEDGER_NAME) == ERR_OK && file_read_secret(path, &b, NULL) == ERR_OK)
		(void)!json_load_strict(buf_bytes(&b), FILE_MAX, &root);
	buf_fini(&b);
	text(root, "directory", l->directory, sizeof l->directory);
	text(root, "why", l->why, sizeof l->why);
	l->every_ms = number(root, "every_ms");
	l->keep = number(root, "keep");
	l->last_ok_ms = number(root, "last_ok_ms");
	l->last_failed_ms = number(root, "last_failed_ms");
	/* The newest first, and ledger_add() puts in front. */
	for (i = json_array_size(json_object_get(root, "backups")); i-- > 0;) {
		struct ledger_row r;

		one = json_array_get(json_object_get(root, "backups"), i);
		text(one, "file", r.file, sizeof r.file);
		r.created_ms = number(one, "created_ms");
		r.bytes = number(one, "bytes");
		r.verified_ms = number(one, "verified_ms");
		if (r.file[0] && ledger_add(l, &r) != ERR_OK)
			break;
	}
	json_decref(root);
}

void ledger_fini(struct ledger *l)
{
	free(l->rows);
	*l = (struct ledger){ .n = 0 };
}

json_t *ledger_rows_json(const struct ledger *l)
{
	json_t *list = json_array();
	char safe[PATH_MAX];

	for (size_t i = 0; i < l->n; i++)
		(void)json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:I}", "file",
							    text_safe(bytes_str(l->rows[i].file), safe, sizeof safe), "created_ms",
							    (json_int_t)l->rows[i].created_ms, "bytes", (json_int_t)l->rows[i].bytes,
							    "verified_ms", (json_int_t)l->rows[i].verified_ms));
	return list;
}

enum err ledger_save(const struct ledger *l, const char *home, struct fault *f)
{
	char path[PATH_MAX];
	json_t *v = json_pack("{s:s, s:I, s:I, s:I, s:I, s:s, s:o}", "directory", l->directory, "every_ms",
			      (json_int_t)l->every_ms, "keep", (json_int_t)l->keep, "last_ok_ms", (json_int_t)l->last_ok_ms,
			      "last_failed_ms", (json_int_t)l->last_failed_ms, "why", l->why, "backups", ledger_rows_json(l));
	struct buf b;
	enum err e = v ? path_join(path, sizeof path, home, LEDGER_NAME) : ERR_NOMEM;

	buf_init(&b, FILE_MAX);
	if (e == ERR_OK)
		e = json_write(&b, v, JSON_INSERTION);
	if (e == ERR_OK)
		e = file_write_secret(path, buf_bytes(&b), f);
	buf_fini(&b);
	json_decref(v);
	return e;
}

void ledger_drop(struct ledger *l, const char *file)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->rows[i].file, file) == 0) {
			memmove(&l->rows[i], &l->rows[i + 1], (l->n - i - 1) * sizeof *l->rows);
			l->n--;
			return;
		}
}

enum err ledger_add(struct ledger *l, const struct ledger_row *r)
{
	if (!l->rows && !(l->rows = calloc(LEDGER_MAX, sizeof *l->rows)))
		return ERR_NOMEM;
	ledger_drop(l, r->file);
	if (l->n == LEDGER_MAX)
		l->n--;
	memmove(&l->rows[1], &l->rows[0], l->n * sizeof *l->rows);
	l->rows[0] = *r;
	l->n++;
	return ERR_OK;
}
