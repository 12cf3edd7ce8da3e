/*
 * sim/members/members.h - many clusters, one step at a time: the deterministic functions of some
 * nodes, a coordinator and a storage engine small enough to be seen to be right, and whatever can
 * go wrong between them. It is src/cluster alone, without shards, stores or a network, so a
 * thousand runs take a second.
 *
 * Each node has two streams of events: the coordinator's, in the order of its changes, as late as
 * it likes and not at all while the node is cut off; and those of its own shards. Everything that
 * a node asks for waits until it is carried out.
 *
 * Units      _ms of the one clock all nodes have.
 * Limits     MEMBERS_NODES nodes, MEMBERS_SHARDS shards over a whole run.
 */
#ifndef SILO_SIM_MEMBERS_MEMBERS_H
#define SILO_SIM_MEMBERS_MEMBERS_H

#include "base/assert.h"
#include "base/list.h"
#include "cluster/cluster.h"

#define MEMBERS_NODES 4
#define MEMBERS_SHARDS 24
#define MEMBERS_TTL_MS 3000
#define NOBODY (-1)

/* An event on its way; or, with an action, something that is to be carried out. */
struct letter {
    struct list_node node;
    struct cluster_event event;
    struct cluster_action action;
    struct cluster_member members[MEMBERS_NODES];
    struct cluster_owner owners[MEMBERS_SHARDS];
    char *text; /* owned copy */
};

/* What a node was told about a shard, and what it has done; of this life. */
struct sight {
    int holder;
    uint64_t epoch;
    bool claimed;         /* granted, and not released or lost since */
    bool fenced;          /* since then the record was not read to name this node */
    uint64_t fenced_step; /* when it was told so */
};

struct life {
    struct cluster *cluster; /* NULL: the node is down */
    uint64_t nonce;
    bool cut, still; /* no coordinator; it stands still */
    bool leaving;    /* the coordinator was told */
    bool left;
    bool confirmed;             /* as it was told */
    bool member[MEMBERS_NODES]; /* likewise */
    uint64_t map_number;        /* likewise */
    struct list coord_events, own_events, requests, work;
    struct sight sights[MEMBERS_SHARDS];
    uint64_t refs; /* given so far */
};

struct world {
    uint64_t seed, random, steps;
    int64_t now_ms;
    struct life lives[MEMBERS_NODES];
    uint64_t nonces;
    /* The coordinator. */
    uint64_t revision;
    uint64_t member_nonce[MEMBERS_NODES]; /* 0: no member */
    bool member_leaving[MEMBERS_NODES];
    struct cluster_map map; /* number 0: none */
    char *map_text;
    struct uuid shards[MEMBERS_SHARDS]; /* every shard there ever was */
    size_t shard_count;
    struct {
        int holder;
        uint64_t epoch;
    } records[MEMBERS_SHARDS];
    /* The storage engine. */
    struct {
        uint64_t writer;
        int open_by;
        uint64_t open_nonce;
    } engine[MEMBERS_SHARDS];
    bool calm; /* nothing goes wrong any more */
    bool failed;
    char rule[24], text[256];
    bool trace;
};

/* --- world.c --- */

void world_init(struct world *world, uint64_t seed, bool trace);
void world_deinit(struct world *world);
uint64_t world_random(struct world *world, uint64_t below);
int world_shard(const struct world *world, const struct uuid *id);
const char *node_name(int node);
int node_number(const char *name);
void world_fail(struct world *world, const char *rule, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void world_say(const struct world *world, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
struct letter *letter_new(struct list *list);
void letter_free(struct letter *letter);
/* One step of anything; false: nothing is left to do. */
bool world_step(struct world *world);

/* --- coordinator.c --- */

/* Carries out one thing that the node asked for; false: there is nothing that can be. */
bool coordinator_serve(struct world *world, int node);
/* Forgets a member that was not heard of. */
void coordinator_expire(struct world *world, int node);
/* Somebody cuts a shard in two: the map has a new number. */
void coordinator_split(struct world *world);

/* --- nodes.c --- */

void node_start(struct world *world, int node);
void node_kill(struct world *world, int node);
void node_tell(struct world *world, int node, struct list *events);
void node_act(struct world *world, int node);
/* Carries out one thing that the node does by itself. */
void node_work(struct world *world, int node);
/* When all is calm: every shard is served by one node, and everybody knows. */
void nodes_check_settled(struct world *world);

#endif
