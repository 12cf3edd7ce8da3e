/*
 * cluster/cluster_int.h - what the files of cluster share.
 *
 *   cluster.c   making, events and actions, the time
 *   map.c       the first map, map_record.c its text; mapping.c takes a newer one
 *   members.c   who is a member, what each should have (assign.c)
 *   guard.c     one shard: from free to open and back
 *   hear.c      what is told about one shard
 *   publish.c   the directory
 *
 * Units      _ms of a clock that never steps.
 * Ownership  the cluster owns guards, members and maps; a guard's settings are lent by the map.
 * Threads    as cluster/cluster.h.
 */
#ifndef SILO_CLUSTER_INT_H
#define SILO_CLUSTER_INT_H

#include "base/assert.h"
#include "base/list.h"
#include "base/map.h"
#include "cluster/cluster.h"

enum guard_phase {
    GUARD_IDLE,      /* not here */
    GUARD_READING,   /* the writer is being read, to be claimed then */
    GUARD_CLAIMING,  /* asked for */
    GUARD_OPENING,   /* claimed */
    GUARD_WAITING,   /* claimed; its opening failed and is tried again */
    GUARD_OPEN,      /* serving */
    GUARD_DOUBTED,   /* fenced; who owns it is being read */
    GUARD_LOST,      /* fenced, and who has it is not known: it stays as it is */
    GUARD_CLOSING,   /* told to close */
    GUARD_RELEASING, /* closed; its record is being removed */
};

/* What stands between a shard and its being opened by two nodes. */
struct guard {
    struct map_node node; /* cluster.by_id */
    struct uuid id;
    const struct cluster_shard *settings; /* of the map; NULL: the newest map has no such shard */
    uint32_t assigned;                    /* index of a member; CLUSTER_NOBODY */
    /* Its record. holder is never NULL. */
    char *holder;
    uint64_t epoch;
    enum guard_phase phase;
    struct shard_ref ref; /* its place in this process */
    uint64_t writer;      /* that its opening expects */
    uint32_t failures;    /* of openings, in a row */
    int64_t retry_ms;     /* of IDLE, WAITING, DOUBTED: nothing is done before that */
    bool takeover;        /* its last owner is no member any more */
    bool drop;            /* the record names another: it is closed, and not released */
    bool asked;           /* of DOUBTED: an answer is on its way */
    /* Answers that are still to come; only the last one counts. */
    uint32_t writer_questions, owner_questions;
};

#define CLUSTER_NOBODY UINT32_MAX

/* Those lists are members' own copies, ordered by id. */
struct members {
    struct cluster_member *all;
    size_t count;
    uint32_t self; /* CLUSTER_NOBODY: this node is not among them */
};

struct action_node {
    struct list_node node;
    struct cluster_action action;
};

struct cluster {
    struct cluster_member self;
    struct cluster_settings settings;
    uint8_t seed[CLUSTER_SEED_BYTES];
    bool guarded;
    int64_t ttl_ms;
    int64_t now_ms;

    struct cluster_map map; /* number 0: none yet */
    struct cluster_map proposed;
    char *proposed_text;
    uint32_t races;
    bool created;

    bool confirmed;                              /* a member, as far as the coordinator said */
    bool map_fresh, members_fresh, owners_fresh; /* read since then */
    bool leaving, left;
    struct members members;
    int64_t hold_until_ms; /* no takeover before */

    struct map by_id;
    struct guard **guards; /* in order of the map, then as they came */
    size_t guard_count, guard_cap;
    size_t takeovers;     /* under way, while what may be claimed is looked through */
    bool changed;         /* something may be claimed now that could not before */
    bool directory_dirty; /* PUBLISH is due */

    struct list actions;
    struct action_node *lent;
    char refusal[SILO_ERR_TEXT_MAX];
};

/* --- cluster.c --- */

/* The rest of the action is the caller's to fill at once. */
struct cluster_action *action_add(struct cluster *cluster, enum cluster_action_kind kind);
void cluster_refuse(struct cluster *cluster, enum silo_code code, const char *text);

/* --- mapping.c --- */

void mapping_read(struct cluster *cluster, const struct cluster_event *event);
void mapping_committed(struct cluster *cluster);
void mapping_lost(struct cluster *cluster);
void mapping_deinit(struct cluster *cluster);

/* --- members.c --- */

void members_take(struct cluster *cluster, const struct cluster_event *event);
/* Gives every shard of the map to a member, as all members do. */
void members_assign(struct cluster *cluster);
/* NULL when there is no member of that id. */
const struct cluster_member *members_find(const struct members *members, const char *id);
void members_deinit(struct members *members);
/* Copies with all it points to. */
struct cluster_member member_copy(const struct cluster_member *member);
void member_deinit(struct cluster_member *member);

/* --- guard.c --- */

struct guard *guard_find(const struct cluster *cluster, const struct uuid *id);
struct guard *guard_add(struct cluster *cluster, const struct uuid *id);
void guard_free(struct cluster *cluster, struct guard *guard);
bool guard_is_self(const struct cluster *cluster, const char *holder);
void guard_move(struct cluster *cluster, struct guard *guard, enum guard_phase phase);
/* Whether a dead member's shard is on its way here. */
bool guard_is_takeover(const struct guard *guard);
/* Begins what may begin now. */
void guard_consider(struct cluster *cluster, struct guard *guard);
/* Whether this node may claim the shard; *ret_takeover: it is a dead member's. */
bool guard_claimable(const struct cluster *cluster, const struct guard *guard, bool *ret_takeover);
void guard_claim(struct cluster *cluster, struct guard *guard);
/* The record names this node now. */
void guard_claimed(struct cluster *cluster, struct guard *guard);
void guard_open(struct cluster *cluster, struct guard *guard);
void guard_open_failed(struct cluster *cluster, struct guard *guard, silo_rc rc);
/* Somebody else wrote to its database: whose it is has to be read. */
void guard_doubt(struct cluster *cluster, struct guard *guard);
void guard_read_owner(struct cluster *cluster, struct guard *guard);
/* Gives up what there is of the shard here. */
void guard_close(struct cluster *cluster, struct guard *guard);
void guard_closed(struct cluster *cluster, struct guard *guard);
/* When time alone changes something; INT64_MAX: never. */
int64_t guard_next_ms(const struct cluster *cluster, const struct guard *guard);

/* --- hear.c --- */

void hear_owners(struct cluster *cluster, const struct cluster_event *event);
/* An event about one shard. */
void hear_shard(struct cluster *cluster, const struct cluster_event *event);

#endif
