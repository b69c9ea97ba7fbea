#include "daemon/views.h"

#include "daemon/attention.h"
#include "daemon/feed.h"
#include "daemon/stats.h"

enum err views_open(struct command_ctx *cx)
{
	enum err e = stats_new(cx->env, cx->node, &cx->stats);

	if (e == ERR_OK)
		e = attention_new(cx->env, &cx->attention);
	if (e == ERR_OK)
		e = feed_new(cx, &cx->feed);
	if (e != ERR_OK)
		return e;
	events_tap(cx->events, stats_observe, cx->stats);
	events_tap(cx->events, feed_observe, cx->feed);
	stats_on_sample(cx->stats, feed_sample, cx->feed);
	node_watch(cx->node, feed_touched, cx->feed);
	return ERR_OK;
}

void views_close(struct command_ctx *cx)
{
	feed_free(cx->feed);
	attention_free(cx->attention);
	stats_free(cx->stats);
	cx->feed = NULL;
	cx->attention = NULL;
	cx->stats = NULL;
}
