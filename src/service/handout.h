/*
 * service/handout.h - tasks that are leased but have not reached their worker yet.
 *
 * Between the shard's answer and the last byte of the reply a worker may leave; its tasks then go back to their places
 * (CMD_GIVE_BACK) instead of waiting for their leases to end. This memory outlives the call, which is gone when the rpc
 * layer says whether the reply was sent.
 *
 * Ownership  handout_end frees it; what it sends to the shards frees itself when it is back.
 * Threads    one at a time (the call's loop); what was sent ends on the executor.
 */
#ifndef SILO_SERVICE_HANDOUT_H
#define SILO_SERVICE_HANDOUT_H

#include "shard/shard.h"

struct handout;

/* For tasks of at most `shards` shards. */
struct handout *handout_new(size_t shards);
/* Notes tasks of one shard; all of a shard's come in one call. The ids are copied. */
void handout_add(struct handout *handout, struct shard *shard, const struct uuid *task_ids,
                 size_t count);
/* An rpc_segment's release: sent = the worker has them. */
void handout_end(void *handout, bool sent);

#endif
