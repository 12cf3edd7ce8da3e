/*
 * node/node.h - one member of the cluster at work: what the coordinator and the shards tell goes to
 * `cluster`, what `cluster` asks for is done.
 *
 *     node_new -> (node_turn, wait for node_fds, the options' wake or the time it said) ...
 *              -> node_leave -> (the same until node_left) -> node_free
 *
 * It has no thread: the server's main thread turns it.
 *
 * Units      _us of the monotonic clock.
 * Ownership  coordinator, shards, store queue and home are lent and outlive the node, but for the
 *            executors' threads, which must have ended before node_free. The options' strings are
 *            copied.
 * Threads    one at a time; node_told, node_ask: any.
 * Limits     those of cluster/cluster.h.
 */
#ifndef SILO_NODE_NODE_H
#define SILO_NODE_NODE_H

#include "base/env.h"
#include "cluster/cluster.h"
#include "cluster/question.h"
#include "coord/coord.h"
#include "directory/directory.h"
#include "metrics/source.h"
#include "shard/shard.h"

struct node;

struct node_options {
    const struct env *env;
    struct coord *coord;
    struct shards *shards; /* made with node_told as what is told of shards */
    struct directory_home *home;
    struct cluster_options cluster;
    /*
     * If the cluster is guarded: where it is read who opened a database last, on a queue that the
     * node alone drains. Else NULL.
     */
    struct store *store;
    struct store_queue *queue;
    /* How the shard is opened here. ret_options->path is malloc'd: the node frees it. */
    void (*describe)(void *context, const struct cluster_shard *shard, const char *id,
                     struct shard_options *ret_options);
    /* Any thread: the node is to be turned. NULL: it is turned anyway. */
    void (*wake)(void *context);
    void *context;
};

/* What the shards of this node are at. */
struct node_counts {
    size_t mapped;   /* shards of the cluster */
    size_t open;     /* serving now */
    size_t lost;     /* other processes opened them */
    size_t opened;   /* here, and were open at least once */
    size_t unopened; /* here, and being opened for the first time */
};

struct node *node_new(const struct node_options *options);
/* NULL is fine. Returns NULL. */
struct node *node_free(struct node *node);

/*
 * Takes all that is new and does what follows. Returns when to be called again at the latest,
 * monotonic us; INT64_MAX: when it is woken.
 */
int64_t node_turn(struct node *node);
/* Readable: turn it. -1: there is nothing of that kind to wait for. They change at each turn. */
#define NODE_FDS 2
void node_fds(const struct node *node, int ret_fds[NODE_FDS]);
/*
 * Before the caller sleeps: false when there is something to be turned for already. Else the
 * options' wake is called when there is.
 */
bool node_sleep(struct node *node);
/* What became of a shard: for the `told` of struct shards_options. Takes the notice. */
void node_told(struct node *node, struct shard_notice *notice);

/* The map, NULL until there is one; lent until the next turn. */
const struct cluster_map *node_map(const struct node *node);
/* Whether this node made the map. */
bool node_made_map(const struct node *node);
/*
 * OK; UNAVAILABLE while the coordinator or its storage is away, with the newest reason; any other
 * code: the node cannot take part, or not in the newest map, and err says why.
 */
SILO_RC node_check(const struct node *node, struct silo_err *err);
struct node_counts node_counts(const struct node *node);
/* Any thread. What the cluster has counted. */
struct counter_source node_counters(const struct node *node);

/*
 * Any thread. The question is answered, also when the node ends before: by node_free at the latest.
 */
void node_ask(struct node *node, struct cluster_question *question);

/* Begins to close all shards and to give them up. */
void node_leave(struct node *node);
bool node_left(const struct node *node);

#endif
