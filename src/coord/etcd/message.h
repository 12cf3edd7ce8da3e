/*
 * coord/etcd/message.h - etcd's messages, to bytes and from bytes; the generated types stay in
 * message.c and txn.c.
 *
 * What comes in is checked: a message that is not whole, or lacks what every answer has, is not
 * read. Numbers that count something are never below 0 then.
 *
 * Units      revisions as etcd counts them; 0 = none. Leases in seconds.
 * Ownership  bytes and answers lie in the arena.
 * Threads    no shared state.
 */
#ifndef SILO_COORD_ETCD_MESSAGE_H
#define SILO_COORD_ETCD_MESSAGE_H

#include <stdint.h>

#include "base/arena.h"

struct etcd_row {
    struct bytes key, value;
    uint64_t mod;  /* the revision that put it; of one that is not there: 0 */
    int64_t lease; /* 0: none */
};

struct bytes etcd_range(struct arena *arena, struct bytes key, struct bytes end);

struct etcd_rows {
    uint64_t revision;
    struct etcd_row *rows;
    size_t count;
};
bool etcd_rows_read(struct arena *arena, struct bytes message, struct etcd_rows *ret_rows);

/* The end of the range of all keys that begin with the prefix, which does not end with 0xff. */
struct bytes etcd_prefix_end(struct arena *arena, struct bytes prefix);

struct bytes etcd_lease_grant(struct arena *arena, int64_t ttl_s);
bool etcd_lease_granted(struct arena *arena, struct bytes message, int64_t *ret_lease,
                        int64_t *ret_ttl_s);
struct bytes etcd_lease_revoke(struct arena *arena, int64_t lease);
struct bytes etcd_lease_keep_alive(struct arena *arena, int64_t lease);
/* *ret_ttl_s: 0 or less when there is no such lease. */
bool etcd_lease_kept(struct arena *arena, struct bytes message, int64_t *ret_ttl_s);

struct bytes etcd_authenticate(struct arena *arena, const char *username, const char *password);
/* malloc'd; NULL: it has none. */
char *etcd_token_read(struct bytes message);

struct bytes etcd_watch(struct arena *arena, struct bytes prefix, uint64_t from_revision);
struct bytes etcd_watch_progress(struct arena *arena);

struct etcd_change {
    bool gone;
    struct etcd_row row; /* mod: the revision of the change */
};

struct etcd_changes {
    uint64_t revision;
    bool of_stream; /* the answer to a progress request: says nothing about what was delivered */
    bool created;   /* the watch has begun; it says nothing else */
    bool canceled;
    bool compacted;      /* with `canceled`: it began before what is kept */
    struct bytes reason; /* of `canceled` */
    struct etcd_change *changes;
    size_t count;
};
bool etcd_changes_read(struct arena *arena, struct bytes message, struct etcd_changes *ret_changes);

#endif
