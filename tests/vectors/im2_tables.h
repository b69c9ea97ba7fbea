/*
 * im2_tables.h -- every structure of im2 as im2.md prints it: its size, then tag (! = critical), name, kind,
 * default. A list says how many elements, in how many bytes at most, of what; bytes* are elements with a
 * shape of their own. Typed apart from protocol/im2/schema_*.c, to be held against them.
 */
#ifndef TESTS_VECTORS_IM2_TABLES_H
#define TESTS_VECTORS_IM2_TABLES_H

static const struct {
	const char *name;
	unsigned max_bytes;
	const char *fields;
} im2_tables[] = {
	{"X1EXT", 2100,
	 "2 passgen uint 0..65535, default 0; 16 kem bytes 1..2048"},
	{"X2PAY", 2100,
	 "16 kem bytes 1..2048"},
	{"HS", 2500,
	 "1! ed bytes 32; 2 name name 1..64; 3! binding bytes 64; "
	 "4 max_unit uint 64..1048576; 5! rx bytes 4; 6 credit uint 0..1073741824; "
	 "7! rx_psk bytes 8; 8 features uint, default 0; 9! pair_role uint 0..2, default 0; "
	 "10 clock uint 0..9007199254740991; 12 agent text 1..32; 14 reply_dest bytes 16; "
	 "16 kem bytes 1..2048; 18 epoch uint >= 1"},
	{"MSG", 1049600,
	 "1! id bytes 16, required; 3! from bytes 16; 5! to bytes 16; 7! group bytes 16; "
	 "8 conv bytes 16; 10 reply_to bytes 16; 11! kind uint 0..255, default 0; "
	 "12 ctype uint 0..255, default 0; 14 ctype_text text 1..127; "
	 "15! created uint 0..9007199254740991, required; "
	 "17! ttl uint 1..2592000, default 86400; 18 prio uint 0..3, default 1; "
	 "19! flags uint 0..31, default 0; 20 turn uint 0..65535, default 0; "
	 "22 max_turns uint 0..65535, default 0; 24 hop uint 0..16, default 0; "
	 "28 budget BUDGET; 30 end_reason uint 0..255, default 0; 32 deadline uint; "
	 "33! body bytes 0..1048576, default empty; 34 settled uint >= 1"},
	{"BUDGET", 1048576,
	 "2 ms uint, default 0; 4 tokens uint, default 0; 6 bytes uint, default 0"},
	{"SMSG", 1114112,
	 "1! msgs list of 1..256: bytes 1..1049600, required; 3! sig bytes 64, required"},
	{"RECEIPT", 8192,
	 "1! entries list of 1..256: bytes*, required; 2 at uint 0..9007199254740991"},
	{"SRECEIPT", 9000,
	 "1! from bytes 16, required; 3! to bytes 16, required; "
	 "5! receipt bytes 1..8192, required; 7! sig bytes 64, required"},
	{"XOPEN", 1048576,
	 "1! xfer uint 0..4294967295, required; 3! len uint 1..1180672, required; "
	 "5! tag uint 1..16383, required; 7! digest bytes 32, required"},
	{"XACK", 1048576,
	 "1! xfer uint 0..4294967295, required; 3! cum uint, required; "
	 "5! limit uint, required; 6 have list of 1..16: bytes*"},
	{"XABORT", 1048576,
	 "1! xfer uint 0..4294967295, required; 3! code uint 0..255, required"},
	{"ROUTED", 1180672,
	 "1! rt bytes 1..256, required; 3! body bytes 1..1179744, required; "
	 "5! hops uint 0..16, required; 7! age uint 0..2592000, default 0"},
	{"ROUTEFB", 1048576,
	 "1! rid bytes 16, required; 3! code uint 1..255, required; 4 retry uint"},
	{"RECDIG", 1048576,
	 "1! id bytes 16, required; 3! type uint 1..127, required; "
	 "5! gen uint >= 1, required; 7! digest bytes 16, required; 9! key bytes 1..32"},
	{"RECREQ", 1048576,
	 "1! id bytes 16, required; 3! type uint 1..127, required; 4 have uint; "
	 "9! key bytes 1..32"},
	{"ROUTEADV", 21000,
	 "1! record bytes 1..17924, required; 3! hops uint 0..16, required; 4 cost uint"},
	{"OPEN", 1114112,
	 "1! call uint 0..4294967295, required; 3! name text 1..255, required; "
	 "5! shape uint 0..3, default 0; 6 id bytes 16; 8 deadline uint; "
	 "10 headers list of 1..32 in 16384 bytes: bytes*; 12 schema bytes 16; "
	 "14 flags uint 0..255, default 0; 16 credit uint, default 65536; "
	 "18 body bytes 1..1048576; 20 last flag"},
	{"ACCEPT", 20000,
	 "1! call uint 0..4294967295, required; "
	 "2 headers list of 1..32 in 16384 bytes: bytes*; 4 credit uint, default 65536"},
	{"END", 1114112,
	 "1! call uint 0..4294967295, required; 2 status uint 0..65535, default 0; "
	 "4 text text 1..256; 6 headers list of 1..32 in 16384 bytes: bytes*; "
	 "8 body bytes 1..1048576; 9! total uint, default 0"},
	{"CREDIT", 1048576,
	 "1! call uint 0..4294967295, required; 3! limit uint, required"},
	{"CANCEL", 1048576,
	 "1! call uint 0..4294967295, required; 2 reason uint 0..255, default 0"},
	{"RERR", 1048576,
	 "1! call uint 0..4294967295, required; 3! status uint 1..65535, required; "
	 "4 text text 1..256; 6 retry_ms uint"},
	{"CLOSE", 1048576,
	 "1! code uint 0..255, required; 2 text text 1..128"},
	{"INFO", 1048576,
	 "2 name name 1..64; 4 max_unit uint 64..1048576; 6 credit uint 0..1073741824; "
	 "8 features uint, default 0; 10 clock uint 0..9007199254740991; 12 agent text 1..32"},
	{"IDENT", 1048576,
	 "1! ed bytes 32, required; 2 name name 1..64; 3! x25519 bytes 32, required; "
	 "5! binding bytes 64, required"},
	{"SENDERKEY", 1048576,
	 "1! group bytes 16, required; 3! epoch uint >= 1, required; "
	 "5! skid bytes 8, required; 7! iter uint 0..4294967295, default 0; "
	 "9! ck bytes 32, required; 11! no uint >= 1, required; 13! sig bytes 64, required"},
	{"SAS", 1048576,
	 "1! step uint 1..4, required; 3! value bytes 0..32, required"},
	{"GRANT", 262144,
	 "1! kind uint 1..2, required; 2 mesh text 1..64; 3! secret bytes 1..256, required; "
	 "4 passgen uint 0..65535, default 0; 6 disc bytes 32; "
	 "8 records list of 1..64: bytes 1..17924"},
	{"GRANTACK", 1048576,
	 ""},
	{"STAUTH", 1048576,
	 "1! ed bytes 32, required; 2 binding bytes 64; 3! sig bytes 64, required"},
	{"STACK", 1048576,
	 "1! next uint, required; 3! limit uint, required"},
	{"ITEMERR", 1048576,
	 "1! code uint 0..255, required; 2 tag uint 0..16383; 4 ctr uint"},
	{"SETTLED", 1048576,
	 "1! era bytes 8, required; 3! seq uint, required"},
	{"SKREQ", 1048576,
	 "1! group bytes 16, required; 3! epoch uint >= 1, required"},
	{"SEEN", 1048576,
	 "1! era bytes 8, required; 3! seq uint, required"},
	{"RT", 256,
	 "1! to bytes 16, required; 3! kind uint 1..2, required; 5! prekey bytes 4, required; "
	 "7! ttl uint 1..2592000, required; 8 prio uint 0..3, default 1; 9! sid bytes 16; "
	 "11! st uint 1..4"},
	{"RECORD_T", 16384,
	 "1! type uint 1..127, required; 3! author bytes 32, required; "
	 "5! gen uint >= 1, required; 7! issued uint 0..9007199254740991, required; "
	 "9! life uint 0..315360000, required; 11! body bytes 0..16000, required"},
	{"CAPENT", 1048576,
	 "1! name text 1..128, required; 2 schema bytes 16; 4 hint text 1..64"},
	{"CAP", 1048576,
	 "1! caps list of 0..256, ascending: CAPENT, required; 2 profile bytes 1..8192; "
	 "4 prekey bytes 16; 6 posture bytes 16; 8 flags uint, default 0"},
	{"PREKEY", 1048576,
	 "1! id bytes 4, required; 3! x25519 bytes 32, required; 16 kem bytes 1..2048"},
	{"ROUTE", 1048576,
	 "2 flags uint, default 0; 4 prekey bytes 16"},
	{"REVOKE", 1048576,
	 "1! target bytes 32, required; 3! reason uint 0..255, required; "
	 "4 effective uint 0..9007199254740991, default 0; 5! scope uint 1..3, required; "
	 "6 note text 1..256; 8 quorum bytes 16"},
	{"ROTATE", 1048576,
	 "1! ed bytes 32, required; 3! x25519 bytes 32, required; "
	 "5! binding bytes 64, required; 6 reason uint 0..255, default 0"},
	{"POSTURE", 1048576,
	 "1! boot bytes 16, required; 2 binary bytes 32; 3! bits bytes 1..16, required; "
	 "4 maps bytes 32; 5! challenge bytes 32; 6 prekey bytes 4; "
	 "8 level uint 0..5, default 0; 10 evidence bytes 1..4096"},
	{"EPOCH", 1048576,
	 "1! id uint >= 1, required; 3! from uint 0..9007199254740991, required; "
	 "5! until uint 0..9007199254740991, required; 7! prev bytes 32, required; "
	 "9! members bytes 32, required; 10 list list of 1..512, ascending: bytes 17"},
	{"GROUP", 1048576,
	 "1! group bytes 16, required; 3! epoch uint >= 1, required; "
	 "5! members list of 1..256, ascending: bytes 32, required; 6 name text 1..64; "
	 "8 admins list of 1..16, ascending: bytes 32; 9! creator bytes 32, required; "
	 "11! salt bytes 16, required"},
	{"CARD", 1048576,
	 "1! x25519 bytes 32, required; 3! binding bytes 64, required; 4 name name 1..64; "
	 "6 endpoints list of 1..8: text 1..128"},
};

#endif
