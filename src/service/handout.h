/*
 * service/handout.h - tasks that are leased but have not reached their worker yet.
 *
 * Between the shard's answer and the last byte of the reply a worker may leave; its tasks then go back to their places
 * (CMD_GIVE_BACK) instead of waiting for their leases to end. This memory outlives the call, which is gone when the rpc
 * layer says whether the reply was sent; so it also keeps what the reply lends from.
 *
 * Ownership  handout_end frees it; what it sends to the shards frees itself when it is back.
 * Threads    one at a time (the call's loop); what was sent ends on the executor.
 */
#ifndef SILO_SERVICE_HANDOUT_H
#define SILO_SERVICE_HANDOUT_H

#include "service/service_int.h"

#define HANDOUT_MALFORMED "the stored limits or metadata of the job are malformed"

struct handout;

/* For tasks of at most `shards` shards. */
struct handout *handout_new(size_t shards);
/* Notes tasks of one shard; all of a shard's come in one call. The ids are copied. */
void handout_add(struct handout *handout, struct shard *shard, const struct uuid *task_ids,
                 size_t count);
/* Takes over what the arena holds, one for each shard; the arena is empty then. */
void handout_keep(struct handout *handout, struct arena *arena);
/* An rpc_segment's release: sent = the worker has them. */
void handout_end(void *handout, bool sent);

/* The call's answer: the reply, which lends from what the handout keeps, and the end of the handout when it has left. */
void handout_reply(struct call *call, const ProtobufCMessage *reply, struct handout *handout);
/* A line in the log about a job that cannot be told to a worker. */
void handout_log_malformed(const char *shard_id, const struct leased_task *leased);

/* Tasks that do not leave: they go back, or their jobs end when they are `unreadable` (static text, else NULL). */
void handout_return(struct shard *shard, const struct uuid *task_ids, size_t count,
                    const char *unreadable);

#endif
