/* What is not a command: the page, health, metrics, the QR code of our identity. */
#include "web/web_internal.h"

#include <qrencode.h>

void page_asset(struct conn *c)
{
	const struct asset *a = asset_find(bytes_str(c->rest));

	if (tag_matches(c->if_none_match, a->tag))
		answer_not_modified(c, a->tag);
	else if (!accepts_gzip(c->accept_encoding))
		answer_error(c, 406, ERR_UNSUPPORTED, "the page is there in gzip alone, and the request does not accept that", NULL,
			     "curl --compressed");
	else
		answer_asset(c, a->type, a->tag, a->gzipped);
}

void page_livez(struct conn *c)
{
	answer_bytes(c, 200, "text/plain; charset=utf-8", NULL, BYTES_LIT("ok\n"));
}

/* Everybody may know whether; why is for who is known. */
void page_readyz(struct conn *c)
{
	const struct web_host *h = &c->w->c.host;
	json_t *checks = c->caller.role != ROLE_NONE ? json_array() : NULL, *v;
	bool ready = h->ready(h->ctx, checks);

	v = json_pack("{s:s, s:b}", "schema", "ironmesh.ready.check/1", "ready", ready);
	if (checks)
		json_object_set_new(v, "checks", checks);
	answer_json(c, ready ? 200 : 503, v, NULL);
}

#define METRICS_MAX (2u << 20)
#define SCRAPE_MS 1000 /* to who has no token: a scrape costs milliseconds, and anybody may ask */

/* What nobody in particular was told within the last second, again. */
static struct buf *scrape(struct conn *c, bool openmetrics)
{
	const struct web_host *h = &c->w->c.host;
	struct scrape *s = &c->w->scrape;
	uint64_t now = web_now(c->w);

	if (c->caller.role == ROLE_NONE && s->text.n && s->openmetrics == openmetrics && now - s->at_ms < SCRAPE_MS)
		return &s->text;
	buf_fini(&s->text);
	buf_init(&s->text, METRICS_MAX);
	h->metrics(h->ctx, &s->text, openmetrics);
	s->openmetrics = openmetrics;
	s->at_ms = now;
	return &s->text;
}

void page_metrics(struct conn *c)
{
	bool open = accepts_openmetrics(c->accept);
	const struct buf *b;

	if (c->caller.role < ROLE_METRICS && !c->w->c.metrics_open) {
		c->w->n.refused_auth++;
		answer_error(c, 401, ERR_AUTH, "metrics need a token", "or --http-metrics open, and whoever comes may read them",
			     "ironmesh token create --role metrics --name prometheus");
		return;
	}
	b = scrape(c, open);
	if (b->err != ERR_OK)
		answer_error(c, 503, b->err, "the metrics do not fit", NULL, NULL);
	else
		answer_bytes(c, 200,
			     open ? "application/openmetrics-text; version=1.0.0; charset=utf-8" :
				    "text/plain; version=0.0.4; charset=utf-8",
			     "vary: accept\r\n", buf_bytes(b));
}

/* Its text is what `ironmesh trust verify` takes. */
void page_qr(struct conn *c)
{
	const struct web_host *h = &c->w->c.host;
	json_t *node = h->node(h->ctx), *rows = json_array();
	const char *text = json_str(node, "fingerprint");
	QRcode *q = text ? QRcode_encodeString8bit(text, 0, QR_ECLEVEL_M) : NULL;
	char row[200];
	int n = q && q->width < (int)sizeof row ? q->width : 0;

	for (int y = 0; y < n; y++) {
		for (int x = 0; x < n; x++)
			row[x] = q->data[y * n + x] & 1 ? '1' : '0';
		json_array_append_new(rows, json_stringn(row, (size_t)n));
	}
	if (n)
		answer_json(c, 200, json_pack("{s:s, s:s, s:i, s:o}", "schema", "ironmesh.qr/1", "text", text, "size", n, "rows", rows),
			    NULL);
	else
		answer_json(c, 503, NULL, NULL);
	if (!n)
		json_decref(rows);
	QRcode_free(q);
	json_decref(node);
}
