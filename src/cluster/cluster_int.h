/*
 * cluster/cluster_int.h - what the files of cluster share.
 *
 *   cluster.c   making, events and actions, the time
 *   map.c       the first map, map_record.c its text; mapping.c takes and commits newer ones
 *   join.c      this node's own membership
 *   members.c   who is a member, what each should have (assign.c)
 *   guard.c     one shard: where it stands, and what may begin now
 *   claim.c       it is free, or its owner is dead
 *   open.c        it is claimed or given: opened, and opened again
 *   give.c        it is closed, and its record released or handed over
 *   balance.c   which shards are given away, and when
 *   hear.c      what is told about one shard
 *   question.c  what operators ask
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
#include "cluster/question.h"

enum guard_phase {
    GUARD_IDLE,      /* not here */
    GUARD_READING,   /* the writer is being read, to be claimed then */
    GUARD_CLAIMING,  /* asked for */
    GUARD_OPENING,   /* claimed */
    GUARD_WAITING,   /* claimed; its opening failed and is tried again */
    GUARD_OPEN,      /* serving */
    GUARD_PREPARING, /* serving, about to be closed for its successor */
    GUARD_DOUBTED,   /* fenced, given to this node or not given away: who owns it is being read */
    GUARD_LOST,      /* fenced, and who has it is not known: it stays as it is */
    GUARD_CLOSING,   /* told to close */
    GUARD_HANDING,   /* closed; its record is being handed over */
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
    uint64_t given_epoch; /* that a hand-over or release, whose answer is awaited, names */
    enum guard_phase phase;
    struct shard_ref ref; /* its place in this process */
    uint64_t writer;      /* that its opening expects */
    uint32_t failures;    /* of openings, in a row */
    int64_t retry_ms;     /* of IDLE, WAITING, DOUBTED: nothing is done before that */
    bool takeover;        /* its last owner is no member any more */
    bool drop;            /* the record names another: it is closed, and not released */
    bool asked;           /* of DOUBTED: an answer is on its way */
    char *to;             /* of PREPARING, CLOSING, HANDING: the successor's id; NULL: none */
    int64_t prepared_ms;  /* of PREPARING: it is closed then, prepared or not */
    int64_t give_ms;      /* it is not given away before that */
    bool refused;         /* a hand-over of it was lost since it was open here */
    uint32_t refusals;    /* of hand-overs, in a row */
    bool emptied;         /* closed here with nothing in its log, and not opened since */
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
    bool strict;                                 /* as the node was told last */
    int64_t asked_ms;                            /* it asked to join last */
    int64_t taken_ms;  /* since then its id is another process's; INT64_MAX: it is not */
    int64_t rejoin_ms; /* the next try; INT64_MAX: none */
    bool leaving, left;
    int64_t leave_until_ms;
    struct members members;
    int64_t hold_until_ms; /* no takeover before */

    int64_t stirred_ms; /* members, map or orphans changed then */
    bool orphaned;      /* somebody's shards are waiting for an owner */
    int64_t balance_ms; /* when time alone lets something be given away */

    struct list questions; /* struct cluster_question.node, oldest first */
    size_t question_count;
    struct cluster_counts counts;

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

/* --- join.c --- */

void join_confirmed(struct cluster *cluster);
void join_lapsed(struct cluster *cluster);
/* Another process is a member under this node's id. */
void join_taken(struct cluster *cluster);
/* Its id is another process's, and stays so. */
void join_displaced(struct cluster *cluster);
/* Asks again when it is time. */
void join_consider(struct cluster *cluster);
/* Whether all that is known was read since this node is a member. */
bool join_is_fresh(const struct cluster *cluster);
/*
 * What answers rest on has to be newer than the calls while this node may not know who owns what.
 */
void join_strict(struct cluster *cluster);

/* --- mapping.c --- */

void mapping_read(struct cluster *cluster, const struct cluster_event *event);
void mapping_committed(struct cluster *cluster);
void mapping_lost(struct cluster *cluster);
/* Whether a map is on its way to the coordinator. */
bool mapping_commits(const struct cluster *cluster);
/* Takes the map, which differs from the newest one, and commits it as the next. */
void mapping_commit(struct cluster *cluster, struct cluster_map *map);
void mapping_deinit(struct cluster *cluster);

/* --- members.c --- */

void members_take(struct cluster *cluster, const struct cluster_event *event);
/* Gives every shard of the map to a member, as all members do. */
void members_assign(struct cluster *cluster);
/* NULL when there is no member of that id. */
const struct cluster_member *members_find(const struct members *members, const char *id);
/* Whether some member takes shards of that ring; NULL: the default one. */
bool members_have_ring(const struct cluster *cluster, const char *ring);
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
/* The rest of the action is the caller's to fill at once. */
struct cluster_action *guard_action(struct cluster *cluster, const struct guard *guard,
                                    enum cluster_action_kind kind);
/* Begins what may begin now. */
void guard_consider(struct cluster *cluster, struct guard *guard);
/* When time alone changes something; INT64_MAX: never. */
int64_t guard_next_ms(const struct cluster *cluster, const struct guard *guard);

/* --- claim.c --- */

/* Whether a dead member's shard is on its way here. */
bool claim_is_takeover(const struct guard *guard);
/* Whether its record names a member that is gone, and can be taken from it. */
bool claim_is_orphan(const struct cluster *cluster, const struct guard *guard);
/* The writer of its database was read, and the shard was to be claimed. */
void claim_go_on(struct cluster *cluster, struct guard *guard, const struct cluster_event *event);
void claim_lost(struct cluster *cluster, struct guard *guard);
/* The record names this node now. */
void claim_granted(struct cluster *cluster, struct guard *guard);
/* Asks for the record; its writer was read before. */
void claim_ask(struct cluster *cluster, struct guard *guard);
void claim_read_writer(struct cluster *cluster, struct guard *guard);
void claim_consider(struct cluster *cluster, struct guard *guard);

/* --- open.c --- */

void open_begin(struct cluster *cluster, struct guard *guard);
void open_failed(struct cluster *cluster, struct guard *guard, silo_rc rc);
/* Whose it is has to be read: somebody else wrote to its database, or may have. */
void open_doubt(struct cluster *cluster, struct guard *guard);
/* The same where a coordinator knows it, else it is opened at once. */
void open_again(struct cluster *cluster, struct guard *guard);
/* Of a doubted shard. */
void open_writer_read(struct cluster *cluster, struct guard *guard,
                      const struct cluster_event *event);
/* Of a doubted shard, and the record names this node. */
void open_owned(struct cluster *cluster, struct guard *guard);
void open_consider(struct cluster *cluster, struct guard *guard);

/* --- give.c --- */

/* Begins to give the shard to that member, while it is served. */
void give_begin(struct cluster *cluster, struct guard *guard, const char *to);
/* It is prepared, or that took too long. */
void give_prepared(struct cluster *cluster, struct guard *guard);
/* Gives up what there is of the shard here. */
void give_up(struct cluster *cluster, struct guard *guard);
void give_closed(struct cluster *cluster, struct guard *guard, bool empty);
/* Whether an answer to a hand-over or a release is news; else the guard is moved on. */
bool give_is_news(struct cluster *cluster, struct guard *guard);
void give_handed_over(struct cluster *cluster, struct guard *guard, uint64_t epoch);
void give_lost(struct cluster *cluster, struct guard *guard);
/* The record names this node, and nothing of the shard is here or shall be. */
void give_on(struct cluster *cluster, struct guard *guard);
void give_release(struct cluster *cluster, struct guard *guard);
/* The id of the member that should have the shard instead of this node; NULL: none. */
const char *give_successor(const struct cluster *cluster, const struct guard *guard);
/* Whether another node can serve it: its log can be read there, or holds nothing. */
bool give_may_go(const struct guard *guard);
/* Whether it is on its way to its successor. */
bool give_is_under_way(const struct guard *guard);

/* --- balance.c --- */

/* Members or map changed: nothing is given away for a while. */
void balance_stir(struct cluster *cluster);
/* Begins to give away what is another's and may go now. */
void balance_consider(struct cluster *cluster);
/* This node is to give up all it has. */
void balance_leave(struct cluster *cluster);

/* --- hear.c --- */

void hear_owners(struct cluster *cluster, const struct cluster_event *event);
/* An event about one shard. */
void hear_shard(struct cluster *cluster, const struct cluster_event *event);
void hear_record(struct cluster *cluster, struct guard *guard, const char *holder, uint64_t epoch);

/* --- question.c --- */

void question_asked(struct cluster *cluster, struct cluster_question *question);
void question_forced(struct cluster *cluster, const struct cluster_event *event);
/* The map was committed that a question asked for. */
void question_committed(struct cluster *cluster);
void question_race_lost(struct cluster *cluster);
/* Goes on with those that wait; answers those whose time is over. */
void questions_consider(struct cluster *cluster);
int64_t questions_next_ms(const struct cluster *cluster);
/* Answers those that are left. */
void questions_end(struct cluster *cluster);

#endif
