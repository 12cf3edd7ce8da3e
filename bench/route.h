/*
 * bench/route.h - which node a call goes to, and what becomes of one that failed.
 *
 * The nodes and their shards are learnt by GetClusterInfo from any of the targets, and kept up to
 * date by WatchTopology, by redirects, and by further readings where there is no watch. Calls that
 * name a shard go to its owner; others go to a node that has shards, as the call says by `place`.
 *
 * On more than one node failed calls are sent again, as documented for clients: to the owner that a
 * redirect names at once, ROUTE_REDIRECTS_MAX times at most; after the time that a node asks for;
 * else after ROUTE_DELAY_US, doubled up to ROUTE_DELAY_MAX_US, shortened at random by up to half,
 * and sooner when the shard has another owner. What fails for BENCH_CALL_US has failed. With one
 * node a call that failed has failed: nothing hides what a server does.
 *
 * Units      microseconds of the monotonic clock.
 * Threads    loop, but for what says otherwise.
 * Limits     BENCH_NODES_MAX nodes, BENCH_SHARDS_MAX shards.
 */
#ifndef SILO_BENCH_ROUTE_H
#define SILO_BENCH_ROUTE_H

#include "bench.h"

#define ROUTE_REDIRECTS_MAX 4u
#define ROUTE_DELAY_US 250000
#define ROUTE_DELAY_MAX_US 5000000
#define ROUTE_NOBODY UINT32_MAX
/* What a server says that does not have the shard. */
#define ROUTE_WRONG_SHARD_TEXT "shard not found"

/* Main. Connects to the targets, learns nodes and shards. */
void route_connect(struct bench *bench);
/* Main. Waits until the shards of our own servers lie where they stay, at most half a minute. */
void route_settle(struct bench *bench);
/* Main. Asks for the topology anew; does not wait for it. */
void route_refresh(struct bench *bench);
/* Main, when no call can come any more: after bench_quiet. */
void route_disconnect(struct bench *bench);
/* Ends all waits for another try; bench->closing is set. */
void route_quiet(struct bench *bench);

/* Chooses where a call goes by the shard that its message names, and sends it. */
void route_send(struct call *call, const void *message);
/* Whether a call that failed is on its way again. */
bool route_again(struct call *call);

/* Main. The channel for a blocking call that names this shard; NULL = no shard. */
struct rpc_channel *route_control(struct bench *bench, const char *shard);
/* The shard of an id; ROUTE_NOBODY if there is none. Any thread. */
uint32_t route_shard_find(const struct bench *bench, const char *id);
/* The shard that a message names, or NULL. Any thread. */
const char *route_shard_of(const void *message);

#endif
