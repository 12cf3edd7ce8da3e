/*
 * node/node.h - one member of the cluster at work: what the coordinator and the shards tell goes to
 * `cluster`, what `cluster` asks for is done.
 *
 *     node_new -> (node_turn, wait for node_fd, the mailbox's wake or the time it said) ...
 *              -> node_leave -> (the same until node_left) -> node_free
 *
 * It has no thread: the server's main thread turns it, the simulator turns many of them.
 *
 * Ownership  coordinator, shards and home are lent; the node frees none of them. The options'
 *            strings are copied.
 * Threads    one at a time. Executors only hand finished controls to its mailbox.
 * Limits     those of cluster/cluster.h.
 */
#ifndef SILO_NODE_NODE_H
#define SILO_NODE_NODE_H

#include "base/env.h"
#include "cluster/cluster.h"
#include "coord/coord.h"
#include "directory/directory.h"
#include "shard/shard.h"

struct node;

struct node_options {
    const struct env *env;
    struct coord *coord;
    struct shards *shards;
    struct directory_home *home;
    struct cluster_options cluster;
    /* Where the database of the shard with that id lies below the store's root; malloc'd. */
    char *(*path_of)(void *context, const char *shard_id);
    /* Any thread: the node is to be turned. NULL: it is turned anyway. */
    void (*wake)(void *context);
    void *context;
};

/* What the shards of this node are at. All of them together: those of the map. */
struct node_counts {
    size_t shards;
    size_t open;     /* serving now */
    size_t lost;     /* other processes have them */
    size_t opened;   /* not closed, and were open at least once */
    size_t unopened; /* being opened for the first time */
};

struct node *node_new(const struct node_options *options);
/* What is under way must have ended, or the process is about to. NULL is fine. Returns NULL. */
struct node *node_free(struct node *node);

/*
 * Takes all that is new and does what follows. Returns when to be called again, monotonic us;
 * INT64_MAX: when it is woken.
 */
int64_t node_turn(struct node *node);
/* Readable: turn it. -1: the coordinator has none. */
int node_fd(const struct node *node);
/*
 * After a turn that returned: true when the caller may sleep. From then on the options' wake is
 * called when something is there.
 */
bool node_sleep(struct node *node);

/* The map, NULL until there is one; lent until the next turn. */
const struct cluster_map *node_map(const struct node *node);
/*
 * OK; UNAVAILABLE while the coordinator or its storage is away, with the newest reason; anything
 * else: the node cannot take part, and err says why.
 */
SILO_RC node_check(const struct node *node, struct silo_err *err);
struct node_counts node_counts(const struct node *node);

/* Closes all shards and gives them up. */
void node_leave(struct node *node);
bool node_left(const struct node *node);

#endif
