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
 * Limits     MEMBERS_NODES nodes, three at least, MEMBERS_SHARDS shards over a whole run,
 *            MEMBERS_QUESTIONS operators who wait for an answer of one node.
 */
#ifndef SILO_SIM_MEMBERS_MEMBERS_H
#define SILO_SIM_MEMBERS_MEMBERS_H

#include "base/assert.h"
#include "base/list.h"
#include "cluster/cluster.h"
#include "cluster/question.h"

#define MEMBERS_NODES 5
#define MEMBERS_SHARDS 24
#define MEMBERS_QUESTIONS 4
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
    char to[16];
};

/* What a node was told about a shard, and what it has done; of this life. */
struct sight {
    int holder;
    uint64_t epoch;
    bool claimed;         /* granted, and not released or lost since */
    bool fenced;          /* since then the record was not read to name this node */
    uint64_t fenced_step; /* when it was told so */
    bool prepared;        /* told to prepare since it was opened */
    size_t toward_one;    /* so many could be on their way to one node then */
    int to;               /* being closed for that node, or handed over to it */
    int64_t vanished_ms;  /* its record went away from here then */
};

/* An operator's, of one life. */
struct asked {
    struct cluster_question question;
    bool waits;
};

struct life {
    struct cluster *cluster; /* NULL: the node is down */
    uint64_t nonce;
    bool cut, still; /* no coordinator; it stands still */
    bool leaving;    /* the coordinator was told */
    bool leaves;     /* it was told to */
    bool left;
    bool taken;                 /* it was told that its id is an earlier life's */
    bool displaced;             /* it said that its id is another's */
    bool confirmed;             /* as it was told */
    bool strict;                /* what it said last */
    bool member[MEMBERS_NODES]; /* as it was told */
    uint64_t map_number;        /* likewise */
    int64_t changed_ms;         /* when it was told of other members, or another map */
    struct asked asked[MEMBERS_QUESTIONS];
    struct list coord_events, own_events, requests, work;
    struct sight sights[MEMBERS_SHARDS];
    uint64_t refs; /* given so far */
};

struct world {
    uint64_t seed, random, steps;
    int nodes;       /* so many of them are ever started */
    uint64_t unrest; /* of so many steps one goes wrong */
    bool pinned;     /* logs lie with the nodes */
    int64_t now_ms;
    struct life lives[MEMBERS_NODES];
    uint64_t nonces, handed_over;
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
        int log_at;    /* pinned: whose log has what is nowhere else */
        bool given_up; /* by an operator, whatever that log has */
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
/* An operator asks it something. */
void node_question(struct world *world, int node);
/* The rings it takes shards of, besides the default one or instead of it. */
size_t node_rings(const struct world *world, int node, const char *const **ret_rings);

/* --- rules.c --- */

/* What the node is told. */
void rules_see(struct world *world, int node, const struct cluster_event *event);
/* What it does about it. */
void rules_check(struct world *world, int node, const struct cluster_action *action);
/* Takes note of it. */
void rules_note(struct world *world, int node, const struct cluster_action *action);
bool rules_map_has(const struct world *world, const struct uuid *shard);

/* --- engine.c --- */

/* What the storage answers to an opening, a close, or who the newest writer is. */
void engine_serve(struct world *world, int node, const struct cluster_action *action,
                  struct cluster_event *ret_event);
/* All that the node had open is gone, its log is not. */
void engine_kill(struct world *world, int node);

/* --- settle.c --- */

/* When all is calm: every shard is served by the node it should go to, and everybody knows. */
void settle_check(struct world *world);

#endif
