/*
 * codec/key_scan.h - what readers of whole ranges need of keys: where a tenant's rows of one kind
 * begin, and what a key that was read says.
 *
 * A *tenant part* (hash and tenant, as job_ref_tenant gives it) is a job reference without a job;
 * so key_index, key_metadata and the others, given a tenant part, make prefixes. What is here
 * completes them. Every key of a prefix starts with it, and key_after_prefix ends its range.
 *
 * Ownership  parsers lend from the key they read.
 * Threads    no shared state.
 * Limits     parsers accept any bytes and answer false for what is no such key.
 */
#ifndef SILO_CODEC_KEY_SCAN_H
#define SILO_CODEC_KEY_SCAN_H

#include "codec/key.h"

/* --- prefixes --- */

void key_tenant_part(struct key *key, struct bytes tenant);
/* All rows of a tenant in a tenant-scoped table. */
void key_tenant_rows(struct key *key, enum key_table table, struct bytes tenant_part);
/*
 * All rows of tenants with at least this hash; every later tenant-scoped row of the table is at or
 * after it.
 */
void key_hash_rows(struct key *key, enum key_table table, uint64_t hash);
void key_index_kind(struct key *key, struct bytes tenant_part, enum key_index kind);
/*
 * Rows of one metadata name whose value is `value`; of a longer value than is indexed, those with
 * its hash.
 */
void key_metadata_value(struct key *key, struct bytes tenant_part, struct bytes name,
                        struct bytes value);
/* Rows of one metadata name whose value begins with `start`, as far as it is indexed. */
void key_metadata_start(struct key *key, struct bytes tenant_part, struct bytes name,
                        struct bytes start);

/* --- parts of keys --- */

/*
 * Cuts a tenant-scoped key (of any table with it) into its tenant part and what follows. False for
 * malformed bytes. The tenant itself: key_tenant_name.
 */
bool key_split(struct bytes key, struct bytes *ret_tenant_part, struct bytes *ret_rest);
/*
 * The tenant of a tenant part that key_split or key_tenant_part gave, unescaped into `out` (at
 * least its length).
 */
struct bytes key_tenant_name(struct bytes tenant_part, uint8_t *out);
/* Of an index key. The time is never negative. */
bool key_index_parse(struct bytes key, enum key_index *ret_kind, int64_t *ret_time_ms,
                     struct bytes *ret_tenant_part, struct bytes *ret_job_id);
bool key_metadata_parse(struct bytes key, struct bytes *ret_tenant_part, struct bytes *ret_job_id);
/* Of a holder, waiter or queue key: its queue reference and what follows. */
bool key_queue_split(struct bytes key, struct bytes *ret_queue_ref, struct bytes *ret_rest);
/* Of what follows the queue reference in a waiter key. */
bool key_waiter_rest(struct bytes rest, enum dispatch_order order, struct line_id *ret_line,
                     struct place *ret_place);

#endif
