#include "protocol/im2/pair_internal.h"

#define ITEMERR_UNKNOWN 2
#define ITEMERR_NOT_HERE 3
#define FRAME_DEFAULT 65536 /* max_unit of a peer that states none (im2.md 7.1) */

/* --- saying --- */

static void say(struct im2_pair *p, const struct im2_schema *s, uint16_t tag, const struct im2_fields *f)
{
	struct buf b;

	buf_init(&b, 1024);
	im2_write(s, f, &b);
	BUG_ON(b.err == ERR_LIMIT);
	if (b.err == ERR_OK)
		im2_item_add(&p->items, tag, buf_bytes(&b));
	else
		p->items.err = b.err;
	buf_wipe(&b);
	buf_fini(&b);
}

void pair_sas_say(struct im2_pair *p, uint8_t step, struct bytes value)
{
	struct im2_fields f = {0};

	im2_set_u(&f, IM2_SAS_STEP, step);
	im2_set_b(&f, IM2_SAS_VALUE, value);
	say(p, &im2_sas, IM2_ITEM_SAS, &f);
}

static void say_close(struct im2_pair *p, uint8_t code)
{
	struct im2_fields f = {0};

	im2_set_u(&f, IM2_CLOSE_CODE, code);
	say(p, &im2_close, IM2_ITEM_CLOSE, &f);
}

void pair_over(struct im2_pair *p, enum err err, enum im2_refusal why, uint8_t close_code)
{
	if (p->state == PAIR_OVER)
		return;
	if (close_code != CLOSE_NONE && p->state >= PAIR_DECIDE &&
	    !is_zero(p->keys.tx, sizeof p->keys.tx))
		say_close(p, close_code);
	p->over.err = err;
	p->over.why = why;
	pair_move(p, PAIR_OVER, 0);
	pair_event(p, IM2_PAIR_EV_OVER);
}

void pair_refused(struct im2_pair *p, enum im2_refusal why)
{
	pair_over(p, im2_refusal_err(why), why, CLOSE_PROTOCOL);
}

void pair_flush_items(struct im2_pair *p)
{
	if (p->items.n || p->say_frame) {
		BUG_ON(p->unit_n == PAIR_UNITS); /* the owner drains after every call */
		struct buf *u = &p->unit[p->unit_n];

		buf_init(u, IM2_PAIR_UNIT_MAX + IM2_FRAME_OVERHEAD);
		if (p->items.err == ERR_OK &&
		    im2_frame_build(&p->tx, buf_bytes(&p->items), p->items.n, u) == ERR_OK)
			p->unit_n++;
		else
			buf_fini(u);
		p->say_frame = false;
	}
	buf_wipe(&p->items);
	if (p->state == PAIR_OVER) {
		wipe(&p->keys, sizeof p->keys);
		wipe(&p->tx, sizeof p->tx);
		im2_xx_wipe(&p->xx);
	}
}

/* --- the credential (15.3) --- */

static bool gives(const struct im2_pair *p)
{
	return p->mine.pair_role == IM2_PAIR_GRANTS && p->peer.pair_role == IM2_PAIR_WANTS;
}

static bool takes(const struct im2_pair *p)
{
	return p->mine.pair_role == IM2_PAIR_WANTS && p->peer.pair_role == IM2_PAIR_GRANTS;
}

/* What the peer takes in one unit is known only now: records may have to stay behind. */
static enum err fit_grant(struct im2_pair *p)
{
	size_t unit = p->peer.max_unit ? p->peer.max_unit : FRAME_DEFAULT, head;
	struct im2_grant_offer g;
	struct secret smaller;
	enum err e;

	head = IM2_FRAME_OVERHEAD + im2_item_size(IM2_ITEM_GRANT, IM2_GRANT_MAX) - IM2_GRANT_MAX;
	if (unit < head)
		return ERR_LIMIT;
	if (p->give.n <= unit - head)
		return ERR_OK;
	BUG_ON(im2_grant_read(secret_bytes(&p->give), &g) != IM2_FINE);
	e = im2_grant_write(&g, unit - head, &smaller);
	if (e == ERR_OK) {
		secret_free(&p->give);
		p->give = smaller;
	}
	return e;
}

void pair_grant_say(struct im2_pair *p)
{
	p->given++;
	/* In one piece: growing would leave copies behind. */
	buf_reserve(&p->items, p->give.n + 64);
	im2_item_add(&p->items, IM2_ITEM_GRANT, secret_bytes(&p->give));
}

void pair_paired(struct im2_pair *p)
{
	pair_event(p, IM2_PAIR_EV_PAIRED);
	if (gives(p)) {
		enum err e = fit_grant(p);

		if (e != ERR_OK) {
			pair_over(p, e, IM2_FINE, CLOSE_NORMAL);
			return;
		}
		pair_move(p, PAIR_GRANTING, PAIR_GRANT_MS);
		pair_grant_say(p);
	} else if (takes(p)) {
		pair_move(p, PAIR_WANTING, PAIR_WAIT_MS);
	} else {
		pair_move(p, PAIR_LINGER, PAIR_WAIT_MS);
		/* One side closes; the listener heard the dialler last. */
		if (p->listener)
			pair_over(p, ERR_OK, IM2_FINE, CLOSE_NORMAL);
	}
}

static void hear_grant(struct im2_pair *p, struct bytes value)
{
	struct im2_grant_offer g;

	if (p->state == PAIR_LINGER && p->got_stored) {
		im2_item_add(&p->items, IM2_ITEM_GRANTACK, bytes_of(NULL, 0)); /* ours was lost */
		return;
	}
	if (p->state != PAIR_WANTING) {
		pair_refused(p, IM2_E_CONTEXT);
		return;
	}
	if (p->got.p) /* the owner is still writing the first one */
		return;
	enum im2_refusal why = im2_grant_read(value, &g);
	if (why == IM2_FINE && secret_copy(&p->got, value) != ERR_OK)
		return; /* it comes again */
	if (why == IM2_FINE)
		why = im2_grant_read(secret_bytes(&p->got), &p->got_parts);
	if (why == IM2_FINE)
		pair_event(p, IM2_PAIR_EV_GRANT);
	else
		pair_refused(p, why);
}

static void hear_grantack(struct im2_pair *p, struct bytes value)
{
	struct im2_fields f;
	enum im2_refusal why = im2_parse(&im2_grantack, value, &f);

	if (why == IM2_FINE && p->state != PAIR_GRANTING)
		why = IM2_E_CONTEXT;
	if (why != IM2_FINE) {
		pair_refused(p, why);
		return;
	}
	pair_event(p, IM2_PAIR_EV_GRANTED);
	pair_over(p, ERR_OK, IM2_FINE, CLOSE_NORMAL);
}

/* --- digits to compare (15.4) --- */

static void show(struct im2_pair *p)
{
	im2_sas_text(p->keys.exporter, p->n_l, p->n_d, p->sas_text);
	pair_move(p, PAIR_COMPARE, PAIR_COMPARE_MS);
	pair_event(p, IM2_PAIR_EV_COMPARE);
}

static enum im2_refusal sas_step(struct im2_pair *p, uint64_t step, struct bytes value)
{
	uint8_t commit[32];

	if (step == 1 && !p->listener && p->step == 0 && value.n == sizeof p->commit) {
		memcpy(p->commit, value.p, sizeof p->commit);
		env_random(p->env, p->n_d, sizeof p->n_d);
		pair_sas_say(p, 2, BYTES_ARR(p->n_d));
	} else if (step == 2 && p->listener && p->step == 0 && value.n == sizeof p->n_d) {
		memcpy(p->n_d, value.p, sizeof p->n_d);
		pair_sas_say(p, 3, BYTES_ARR(p->n_l));
		show(p);
	} else if (step == 3 && !p->listener && p->step == 1 && value.n == sizeof p->n_l) {
		memcpy(p->n_l, value.p, sizeof p->n_l);
		im2_sas_commit(p->n_l, commit);
		if (!ct_equal(commit, p->commit, sizeof commit))
			return IM2_E_AEAD; /* chosen after the other value was seen */
		show(p);
	} else if (step == 4 && p->state == PAIR_COMPARE && !p->heard_yes && value.n == 0) {
		p->heard_yes = true;
		if (p->said_yes)
			pair_paired(p);
	} else {
		return IM2_E_CONTEXT;
	}
	p->step = (uint8_t)step;
	return IM2_FINE;
}

static void hear_sas(struct im2_pair *p, struct bytes value)
{
	struct im2_fields f;
	enum im2_refusal why = im2_parse(&im2_sas, value, &f);

	if (why == IM2_FINE && p->state != PAIR_COMMIT && p->state != PAIR_COMPARE)
		why = IM2_E_CONTEXT;
	if (why == IM2_FINE)
		why = sas_step(p, f.v[IM2_SAS_STEP].u, f.v[IM2_SAS_VALUE].b);
	if (why != IM2_FINE)
		pair_refused(p, why);
}

/* --- hearing --- */

static void hear_close(struct im2_pair *p, struct bytes value)
{
	enum im2_refusal why = im2_item_check(IM2_ITEM_CLOSE, value);

	if (why != IM2_FINE)
		pair_refused(p, why);
	else
		pair_over(p, p->state == PAIR_LINGER ? ERR_OK : ERR_CLOSED, IM2_FINE, CLOSE_NONE);
}

static void say_itemerr(struct im2_pair *p, uint8_t code, uint16_t tag)
{
	struct im2_fields f = {0};

	im2_set_u(&f, IM2_ITEMERR_CODE, code);
	im2_set_u(&f, IM2_ITEMERR_TAG, tag);
	say(p, &im2_itemerr, IM2_ITEM_ITEMERR, &f);
}

static void hear_item(struct im2_pair *p, uint16_t tag, struct bytes value, bool *complained)
{
	bool comparing = p->state == PAIR_COMMIT || p->state == PAIR_COMPARE;

	switch (tag) {
	case IM2_ITEM_SAS:
		hear_sas(p, value);
		return;
	case IM2_ITEM_CLOSE:
		hear_close(p, value);
		return;
	case IM2_ITEM_GRANT:
		hear_grant(p, value);
		return;
	case IM2_ITEM_GRANTACK:
		hear_grantack(p, value);
		return;
	default:
		break;
	}
	if (comparing) { /* 15.4: anything else */
		pair_refused(p, IM2_E_CONTEXT);
		return;
	}
	if (tag == IM2_ITEM_PING && im2_item_check(tag, value) == IM2_FINE) {
		im2_item_add(&p->items, IM2_ITEM_PONG, value);
		return;
	}
	if (tag == IM2_ITEM_PONG || tag == IM2_ITEM_ITEMERR || tag == IM2_ITEM_INFO || *complained ||
	    (!im2_item_name(tag) && tag % 2 == 0))
		return;
	*complained = true;
	say_itemerr(p, im2_item_name(tag) ? ITEMERR_NOT_HERE : ITEMERR_UNKNOWN, tag);
}

/* The dialler's owner did not want us: its first frame is a CLOSE, and nothing is paired. */
static bool says_goodbye(struct bytes list)
{
	struct bytes value;
	uint16_t tag;

	return im2_item_next(&list, &tag, &value) && tag == IM2_ITEM_CLOSE;
}

/* 7.2. What does not open is dropped without a word. */
void pair_frame(struct im2_pair *p, struct bytes unit)
{
	uint8_t index[4];
	uint32_t counter;
	uint16_t tag;
	struct bytes list, value;
	struct secret plain;
	bool complained = false;

	if (unit.n > IM2_PAIR_UNIT_MAX || im2_frame_head(unit, index, &counter) != IM2_FINE ||
	    memcmp(index, p->mine.rx, sizeof index) != 0 || !im2_window_fresh(&p->window, counter))
		return;
	if (secret_new(&plain, unit.n - IM2_FRAME_OVERHEAD) != ERR_OK)
		return;
	if (im2_frame_open(p->keys.rx, unit, plain.p) != IM2_FINE) {
		secret_free(&plain);
		return;
	}
	im2_window_mark(&p->window, counter);
	list = secret_bytes(&plain);
	enum im2_refusal why = im2_items_check(list, NULL);
	if (why != IM2_FINE)
		pair_refused(p, why);
	else if (p->state == PAIR_CONFIRM && !says_goodbye(list))
		pair_paired(p);
	while (p->state != PAIR_OVER && im2_item_next(&list, &tag, &value))
		hear_item(p, tag, value, &complained);
	secret_free(&plain);
}
