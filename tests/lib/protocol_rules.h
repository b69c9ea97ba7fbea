/*
 * protocol_rules.h -- a rule of a table in words, for the documentation and for the test that holds the tables
 * against a second typing of im2.md.
 */
#ifndef TESTS_PROTOCOL_RULES_H
#define TESTS_PROTOCOL_RULES_H

#include "protocol/im2/schema.h"

/* "uint 0..3, default 1", "list of 1..16: bytes 17", ...; without tag and name. */
void rule_text(const struct im2_rule *r, struct buf *out);

#endif
