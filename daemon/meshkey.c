#include "daemon/meshkey.h"

#include "base/log.h"
#include "protocol/im2/keys.h"

#define AGAIN_MS 10000

static void begin(void *ctx);

static void work(uv_work_t *w)
{
	struct meshkey *m = w->data;

	m->err = im2_mesh_key(m->passphrase, bytes_str(m->mesh), &m->key);
}

static void failed(struct meshkey *m, enum err e)
{
	m->state = "failed";
	log_error("mesh-key-failed err=%s again_ms=%d what=\"%s\"", err_word(e), AGAIN_MS,
		  "until it is there, no first contact over im2 begins");
	timer_in(m->env, &m->timer, AGAIN_MS);
}

static void done(uv_work_t *w, int status)
{
	struct meshkey *m = w->data;
	enum err e = status == 0 ? m->err : ERR_NOMEM;

	m->working = false;
	if (e == ERR_OK && !m->stopped)
		e = m->take(m->ctx, secret_bytes(&m->key));
	secret_free(&m->key);
	if (m->stopped) {
		m->idle(m->ctx);
	} else if (e == ERR_OK) {
		m->state = "ready";
		log_info("mesh-key-ready mesh=%s", m->mesh);
	} else {
		failed(m, e);
	}
}

static void begin(void *ctx)
{
	struct meshkey *m = ctx;

	m->work.data = m;
	m->working = uv_queue_work(m->loop, &m->work, work, done) == 0;
	if (m->working)
		m->state = "computing";
	else
		failed(m, ERR_NOMEM);
}

void meshkey_start(struct meshkey *m)
{
	timer_init(&m->timer, begin, m);
	begin(m);
}

void meshkey_stop(struct meshkey *m)
{
	m->stopped = true;
	if (m->env)
		timer_stop(m->env, &m->timer);
}
