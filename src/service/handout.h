/*
 * service/handout.h - tasks that are leased but have not reached their worker yet.
 *
 * Between the shard's answer and the last byte of the reply a worker may leave; its tasks then go
 * back to their places (CMD_GIVE_BACK) instead of waiting for their leases to end. This memory
 * outlives the call, which is gone when the rpc layer says whether the reply was sent; so it also
 * keeps what the reply lends from.
 *
 * A lease's term begins when its task was sent: while the reply is on its way the leases are
 * renewed (CMD_RENEW), and once more when it has left, unless that was at once, as it is with all
 * but large replies and slow links.
 *
 * Ownership  handout_end frees it; what it sends to the shards frees itself when it is back.
 * Threads    one at a time (the call's loop); what was sent ends on the executor.
 * A shard that is not here any more cannot take them back: their leases end by themselves.
 *
 * Limits     HANDOUT_US_MAX on the way; then the leases end by themselves.
 */
#ifndef SILO_SERVICE_HANDOUT_H
#define SILO_SERVICE_HANDOUT_H

#include "service/service_int.h"

#define HANDOUT_RENEW_US 3000000 /* between two renewals: a third of a lease */
/* A term that began no longer before the reply left than this is left as it is. */
#define HANDOUT_LATE_US 1000000
/*
 * How long leases are renewed: 128 MiB at 150 KB/s. A peer that takes nothing is given up much
 * earlier.
 */
#define HANDOUT_US_MAX (15 * 60 * 1000000LL)
#define HANDOUT_MALFORMED "the stored limits or metadata of the job are malformed"

struct handout;

/* For tasks of at most shard_count shards. */
struct handout *handout_new(struct shards *shards, size_t shard_count);
/* Notes tasks of one shard; all of a shard's come in one call. The ids are copied. */
void handout_add(struct handout *handout, const struct directory_shard *shard,
                 const struct uuid *task_ids, size_t count);
/* Takes over what the arena holds, one for each shard; the arena is empty then. */
void handout_keep(struct handout *handout, struct arena *arena);
/* An rpc_piece's release: sent = the worker has them. */
void handout_end(void *handout, bool sent);

/*
 * The call's answer: the reply, which lends from what the handout keeps, and the end of the handout
 * when it has left. since_us: when the terms of the leases began, by the loop's clock.
 */
void handout_reply(struct call *call, const ProtobufCMessage *reply, struct handout *handout,
                   int64_t since_us);
/* A line in the log about a job that cannot be told to a worker. */
void handout_log_malformed(struct call *call, const char *shard_id,
                           const struct leased_task *leased);

/*
 * Tasks that do not leave: they go back, or their jobs end when they are `unreadable` (static text,
 * else NULL).
 */
void handout_return(struct shards *shards, const struct directory_shard *shard,
                    const struct uuid *task_ids, size_t count, const char *unreadable);

#endif
