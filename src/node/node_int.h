/*
 * node/node_int.h - what the files of node share.
 *
 *   node.c      a turn: news go to the cluster, what it asks for is done
 *   holdings.c  the shards that have a place in this process
 *   writers.c   who opened a database last
 *
 * Ownership  the node owns its holdings.
 * Threads    as node/node.h.
 */
#ifndef SILO_NODE_INT_H
#define SILO_NODE_INT_H

#include "base/assert.h"
#include "base/burst.h"
#include "base/list.h"
#include "base/map.h"
#include "metrics/published.h"
#include "node/node.h"
#include "node/writers.h"

/* A shard that has a place among the executors. */
struct holding {
    struct map_node node; /* node.by_id */
    struct node *owner;
    struct uuid id;
    char id_text[UUID_TEXT_LEN + 1];
    struct shard_ref ref;
    struct shard_control open, prepare, close;
    bool preparing; /* its prepare is not answered */
    bool opened;    /* at least once */
};

struct node {
    const struct env *env;
    struct coord *coord;
    struct shards *shards;
    struct directory_home *home;
    struct cluster *cluster;
    void (*describe)(void *context, const struct cluster_shard *shard, const char *id,
                     struct shard_options *ret_options);
    void (*wake)(void *context);
    void *context;

    struct map by_id;
    struct holding *by_slot[SHARDS_MAX];
    /* From the executors: what ended, struct shard_notice. */
    struct mailbox opens, prepares, closes, notices;
    struct mailbox questions; /* struct cluster_question, of any thread */
    struct writers writers;
    struct burst writer_lines;
    struct silo_err refused; /* code OK: it was not */
    char id[COUNTER_OWNER_BYTES];
    struct published *published; /* struct node_counters */
    bool strict;                 /* what is known of records may be old */
    bool left;
};

/* --- node.c --- */

void node_wake(void *context);
void node_tell_shard(struct node *node, enum cluster_event_kind kind, const struct uuid *id,
                     silo_rc rc);

/* --- holdings.c --- */

void holdings_init(struct node *node);
void holdings_deinit(struct node *node);
/* What the cluster asks for. */
void holding_open(struct node *node, const struct cluster_action *action);
void holding_prepare(struct node *node, const struct cluster_action *action);
void holding_close(struct node *node, const struct cluster_action *action);
void holding_remove(struct node *node, const struct cluster_action *action);
/* Passes on what became of it; false: nothing. */
bool holdings_take(struct node *node);
/* As node_sleep. */
bool holdings_sleep(struct node *node);

#endif
