/*
 * commands_internal.h -- what the commands_*.c files share.
 */
#ifndef DAEMON_COMMANDS_INTERNAL_H
#define DAEMON_COMMANDS_INTERNAL_H

#include "base/log.h"
#include "base/text.h"
#include "daemon/commands.h"
#include "daemon/fields.h"

/* Room for what stands around a result in its line. */
#define RESULT_MAX (CONTROL_LINE_MAX - 512)

/* The parameters were checked against the table: these do not fail. */
const char *arg_text(const struct call *c, const char *name);  /* NULL when absent */
struct bytes arg_bytes(const struct call *c, const char *name); /* p NULL when absent */
int64_t arg_int(const struct call *c, const char *name, int64_t absent);
bool arg_bool(const struct call *c, const char *name, bool absent);

/* A fault of ERR_USAGE: the value of `param` is not one of those allowed. */
enum err bad_param(struct call *c, const char *param, const char *expected);
/* The peer that `param` names. ERR_NOTFOUND, ERR_AMBIGUOUS. */
enum err arg_peer(struct call *c, const char *param, const struct pin **out) MUST_CHECK;
/* The result, from json_pack or so; NULL becomes ERR_NOMEM. */
enum err result_is(struct call *c, json_t *result);
/* The same of one that was written: `b` is an object without its end, and is finished and freed. Only with a daemon. */
enum err result_written(struct call *c, struct buf *b);
enum err no_memory(struct call *c);
enum err store_refused(struct call *c, enum err e);

/* {"id":..,"name":..}: `name` is alias, name or null. */
json_t *peer_ref(const struct command_ctx *cx, const struct node_id *id);
json_t *peer_result(const struct command_ctx *cx, const struct pin *pin);
json_t *alarms_json(const struct pins *p);
json_t *refused_json(const struct command_ctx *cx, size_t max); /* the newest; needs a node */
json_t *refused_summary(const struct command_ctx *cx);
json_t *http_json(const struct command_ctx *cx); /* where the dashboard listens, for `status`; null without one */
json_t *routing_json(const struct command_ctx *cx); /* mode and numbers, for `status` */
/* Borrowed text from outside, made safe; "" becomes null. */
json_t *text_or_null(const char *text);
json_t *base64_json(struct bytes b);

/* ,"to":{"id":..,"name":..} */
void peer_add(struct buf *b, const struct command_ctx *cx, const struct node_id *id);
/* The row that `msg_id` names. */
enum err message_row(struct call *c, struct outbox_row *row) MUST_CHECK;

/* --- a message that a program wants sent (draft.c) ------------------------------------------------- */
struct draft {
	struct submit m;
	struct buf own;                 /* a body that was base64 */
	bool is_volatile, agent;
	bool unlinked;                  /* reply_to named a message of another peer's conversation */
	bool has_parent;                /* the message that is answered is in the inbox */
	struct brakes_parent parent;
};
/* The peer that `to` names, as who it is now. *was: the identity that was named, when it has another one by now; else
 * its hex is "". */
enum err arg_recipient(struct call *c, const struct pin **out, struct node_id *was) MUST_CHECK;
/* The trusted peer that `strategy` chooses among those that have `capability` (commands_caps.c). */
enum err capability_recipient(struct call *c, const struct pin **out) MUST_CHECK;
/* Says so in an answer. */
void rotated_add(struct buf *b, const struct node_id *was);
void draft_init(struct draft *d, const struct node_id *to, bool is_volatile, bool agent);
void draft_fini(struct draft *d);
/* From c->params, which were checked. What `m` borrows is theirs, or in `own`. */
enum err draft_read(struct call *c, struct draft *d) MUST_CHECK;
/* Past the brakes and to the node; `done` as in node_submit(), never called for a volatile one. */
enum err draft_send(struct call *c, struct draft *d, submit_done done, void *ctx,
		    char id[static MSG_ID_MAX + 1]) MUST_CHECK;

/* Writes an entry and makes it an `audit` event. Pairs as audit_note(). */
void command_audit(struct command_ctx *cx, const char *event, const char *peer_id, const char *state);
/* Pins after a mutation of ours: written, or a fault. */
enum err pins_written(struct call *c) MUST_CHECK;
/* Offline: held messages of this peer become new, or go. */
enum err command_release_held(struct call *c, const struct node_id *id, bool accept) MUST_CHECK;

/* A quarantine that the whole mesh hears of, as the answer of trust.revoke. */
enum err command_revoke_mesh(struct call *c, const struct node_id *who) MUST_CHECK;

#define COMMAND(name) enum err name(struct call *c)
COMMAND(command_version);
COMMAND(command_status);
COMMAND(command_config_path);
COMMAND(command_config_check);
COMMAND(command_config_show);
COMMAND(command_config_diff);
COMMAND(command_config_keys);
COMMAND(command_config_reload);
COMMAND(command_subscribe);
COMMAND(command_send);
COMMAND(command_send_many);
COMMAND(command_wait);
COMMAND(command_outbox_list);
COMMAND(command_outbox_show);
COMMAND(command_outbox_cancel);
COMMAND(command_outbox_retry);
COMMAND(command_conversations_list);
COMMAND(command_conversations_show);
COMMAND(command_messages_show);
COMMAND(command_messages_body);
COMMAND(command_feed_snapshot);
COMMAND(command_feed_subscribe);
COMMAND(command_feed_unsubscribe);
COMMAND(command_attention_list);
COMMAND(command_attention_dismiss);
COMMAND(command_stats_history);
COMMAND(command_mesh_graph);
COMMAND(command_queue_list);
COMMAND(command_inbox_list);
COMMAND(command_inbox_take);
COMMAND(command_inbox_ack);
COMMAND(command_inbox_delete);
COMMAND(command_peers_list);
COMMAND(command_peers_show);
COMMAND(command_peers_approve);
COMMAND(command_peers_block);
COMMAND(command_peers_forget);
COMMAND(command_peers_alias);
COMMAND(command_peers_pending);
COMMAND(command_peers_ignore);
COMMAND(command_peers_refused);
COMMAND(command_ping);
COMMAND(command_doctor_peer);
COMMAND(command_keys_show);
COMMAND(command_keys_fingerprint);
COMMAND(command_keys_generate);
COMMAND(command_keys_migrate);
COMMAND(command_keys_encrypt);
COMMAND(command_keys_rotate);
COMMAND(command_keys_revoke);
COMMAND(command_trust_list);
COMMAND(command_trust_show);
COMMAND(command_trust_pin);
COMMAND(command_trust_verify);
COMMAND(command_trust_set_state);
COMMAND(command_trust_revoke);
COMMAND(command_trust_revoke_draft);
COMMAND(command_trust_revoke_show);
COMMAND(command_trust_revoke_sign);
COMMAND(command_trust_revoke_send);
COMMAND(command_trust_repin);
COMMAND(command_trust_allow_downgrade);
COMMAND(command_trust_export);
COMMAND(command_trust_cap_diff);
COMMAND(command_trust_cap_accept);
COMMAND(command_trust_cap_reject);
COMMAND(command_pair_show);
COMMAND(command_pair_type);
COMMAND(command_pair_verdict);
COMMAND(command_pair_stop);
COMMAND(command_routes_list);
COMMAND(command_discovery_list);
COMMAND(command_caps_find);
COMMAND(command_caps_set);
COMMAND(command_caps_add);
COMMAND(command_caps_remove);
COMMAND(command_invite_create);
COMMAND(command_invite_list);
COMMAND(command_invite_revoke);
COMMAND(command_invite_accept);
COMMAND(command_http_code);
COMMAND(command_http_status);
COMMAND(command_http_close);
COMMAND(command_metrics);
COMMAND(command_token_create);
COMMAND(command_token_list);
COMMAND(command_token_revoke);
COMMAND(command_backup_snapshot);
COMMAND(command_backup_release);
COMMAND(command_backup_now);
COMMAND(command_backup_list);
COMMAND(command_audit_verify);
COMMAND(command_audit_tail);
COMMAND(command_audit_stats);
COMMAND(command_audit_export);
COMMAND(command_audit_verify_export);

#endif
