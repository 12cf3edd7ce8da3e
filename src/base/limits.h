/*
 * base/limits.h - the bounds of a job and of a shard, and all that more than one module keeps.
 *
 * A bound that is one module's own stands there: in the module's header where others build on it,
 * else at the top of the file that keeps it. docs/reference/limits.md lists, by their names, those
 * of all modules that somebody can meet, with what happens then; tools/lint compares the figures,
 * and sees to it that each name here bounds something and means nothing else elsewhere.
 *
 * Units      the last word of a name: _BYTES, _CHARS (Unicode scalar values), _MS milliseconds;
 *            without one it counts what the name says.
 */
#ifndef SILO_BASE_LIMITS_H
#define SILO_BASE_LIMITS_H

/* Wire. */
#define MESSAGE_BYTES_MAX (128u << 20) /* one gRPC message: a payload of 100 MB has to fit */

/* Fields of a job, as the wire's contract has them. */
#define JOB_ID_BYTES_MAX 4096u    /* the engine's keys end at 65,535 bytes */
#define WORKER_ID_BYTES_MAX 4096u /* it stands in the row of each lease */
#define TENANT_CHARS_MAX 64u
#define RING_BYTES_MAX 128u /* a placement ring's name, which each record of the map has often */
#define TASK_GROUP_CHARS_MAX 64u
#define PRIORITY_MAX 99u   /* the least urgent; keys have one byte for it */
#define JOB_LIMITS_MAX 64u /* each may be a step of the job's way, with rows of its own */
/*
 * Keys and values of the metadata of all floating limits of a job: each waiting job carries them,
 * and each refresh.
 */
#define FLOATING_METADATA_BYTES_MAX (64u << 10)
#define FLOATING_METADATA_PAIRS_MAX 1024u
#define METADATA_PAIRS_MAX 16u /* of a job's own metadata, here and below */
#define METADATA_KEY_CHARS_MAX 63u
#define METADATA_VALUE_BYTES_MAX 65534u

/* Stored values. */
/* A larger payload or result has a row of its own, so the state row stays small. */
#define BLOB_INLINE_MAX 4096u

/*
 * One shard's memory. Those with an #ifndef are smaller in tests, so that few jobs reach paging and
 * eviction.
 */
#ifndef LANE_TASKS_MAX
#define LANE_TASKS_MAX 1024u /* a window of one lane: two pages ahead of the workers */
#endif
#ifndef SHARD_TASKS_MAX
#define SHARD_TASKS_MAX 262144u /* all windows of a shard */
#endif
#ifndef SHARD_INFO_BYTES_MAX
#define SHARD_INFO_BYTES_MAX (64u << 20) /* info rows kept with waiting tasks */
#endif
#ifndef SHARD_LEASES_MAX
#define SHARD_LEASES_MAX 262144u /* running jobs */
#endif
#ifndef SHARD_GROUPS_MAX
#define SHARD_GROUPS_MAX 16384u /* task groups with a window or a parked poll */
#endif
#ifndef SHARD_TENANT_COUNTS_MAX
#define SHARD_TENANT_COUNTS_MAX 65536u /* counter rows kept in memory */
#endif
#ifndef SHARD_QUEUES_MAX
/* Concurrency queues kept in memory though nobody holds a slot of them. */
#define SHARD_QUEUES_MAX 262144u
#endif
/* Different maxima among one queue's waiters, when another job is enqueued. */
#define QUEUE_LINES_MAX 1024u
#ifndef SHARD_LIMITS_BYTES_MAX
#define SHARD_LIMITS_BYTES_MAX (16u << 20) /* decoded limits of jobs, kept from turn to turn */
#endif
#ifndef SHARD_BUCKETS_MAX
#define SHARD_BUCKETS_MAX 65536u /* rate-limit buckets kept in memory */
#endif
#ifndef SHARD_THROTTLES_MAX
/* Lines of tokens that wait for a rate limit: limiters times task groups. */
#define SHARD_THROTTLES_MAX 8192u
#endif
#ifndef GATE_ASKED_MAX
#define GATE_ASKED_MAX 256u /* questions to one limiter at a time about tokens in its lines */
#endif
#define SHARD_CHECKS_MAX 16384u /* rate limits asked and not answered */
#ifndef SHARD_COMMANDS_MAX
#define SHARD_COMMANDS_MAX 65536u /* commands waiting for reads, polls parked, results awaited */
#endif
#ifndef SHARD_COMMANDS_RESERVE
/* So many more for commands that keep or end running work. */
#define SHARD_COMMANDS_RESERVE 16384u
#endif
#ifndef SHARD_PARKED_MAX
#define SHARD_PARKED_MAX 49152u /* of them, polls and results that wait: the others need room too */
#endif
#ifndef SHARD_AWAITS_MAX
/* Of those, workers that wait for cancellations: they can do without, by heartbeats. */
#define SHARD_AWAITS_MAX 16384u
#endif
/* Of one worker: a cancellation wakes them all, and each looks through all that it knows. */
#define WORKER_AWAITS_MAX 64u
#ifndef CANCELS_TOLD_MAX
#define CANCELS_TOLD_MAX 1024u /* cancelled tasks in one answer: the worker asks again */
#endif
#define SHARD_REPLIES_BYTES_MAX (256u << 20) /* undurable bytes of open and sealed batches */
#ifndef MAILBOX_MESSAGES_MAX
#define MAILBOX_MESSAGES_MAX 65536u /* requests on their way to one executor */
#endif
#ifndef MAILBOX_MESSAGES_RESERVE
#define MAILBOX_MESSAGES_RESERVE 16384u /* beyond: for requests that keep or end running work */
#endif
#ifndef ANSWERS_BYTES_MAX
/* Payloads and results read for answers and not handed on, in the whole process. */
#define ANSWERS_BYTES_MAX (512u << 20)
#endif
/* Shards of a cluster, and places for them in a process. */
#define SHARDS_MAX 2048u
#define UNDELIVERED_MAX 65536u /* tasks remembered to be given back while their shard is not open */

/* One turn of a shard: nobody waits behind unbounded work. */
#ifndef TURN_TIMERS_MAX
#define TURN_TIMERS_MAX 512u /* tasks that come due */
#endif
#ifndef SHARD_EXPIRIES_MAX
/* Leases whose end is under way: the others wait, when their rows cannot be read. */
#define SHARD_EXPIRIES_MAX 4096u
#endif
#ifndef TURN_EXPIRIES_MAX
#define TURN_EXPIRIES_MAX 512u /* leases that end by themselves */
#endif
#ifndef TURN_HANDOVERS_MAX
#define TURN_HANDOVERS_MAX 4096u /* tasks leased to polls */
#endif
#ifndef TURN_GRANTS_MAX
#define TURN_GRANTS_MAX 512u /* slots given to waiters */
#endif
#define TURN_EVICTIONS_MAX 256u /* queues looked at for eviction */
/* Waiters whose further limits are read together, when the first of them misses something. */
#define GRANT_AHEAD 64u
#ifndef TURN_DROPS_MAX
#define TURN_DROPS_MAX 512u /* slots that an operator frees */
#endif
#define TURN_LOCATES_MAX 64u /* tokens being looked up after open, at one time */
#ifndef BATCH_ROWS_MAX
#define BATCH_ROWS_MAX 512u /* an open batch with so many rows is sealed, here and below */
#endif
#define BATCH_BYTES_MAX (1u << 20)
#define NEED_ROUNDS_MAX 64u /* a command asks for reads at most so often */
#ifndef PAGE_ROWS_MAX
#define PAGE_ROWS_MAX 1024u /* of one scan into a window, here and below */
#endif
#define PAGE_BYTES_MAX (1u << 20)
/* What a task takes in a reply beside its payload, its job's row and its names. */
#define REPLY_TASK_BYTES 1024u
#define POLL_TASKS_MAX 8192u /* LeaseTasks: larger wishes are clamped */
#ifndef INFO_AHEAD
#define INFO_AHEAD 256u /* info rows are loaded for so many tasks at the front of a lane */
#endif
#ifndef LINE_INFO_AHEAD
/* Info rows loaded for the first waiters of a line, so that a grant can be handed over at once. */
#define LINE_INFO_AHEAD 16u
#endif
#define JOB_ATTEMPTS_SHOWN_MAX 65536u /* attempts listed by one GetJob: the newest ones */

/* Time, in milliseconds. */
#define LEASE_MS 10000         /* without a heartbeat */
#define POLL_WAIT_MS_MAX 60000 /* of a poll, or a caller who waits for a job's end */
/* A poll that does not wait still waits for the first page of its group, at most so long. */
#define POLL_NOWAIT_MS 1000
#define POLL_CHECKS_MS 25 /* ... and so long for the rate limits asked for it */
#define POLL_DEADLINE_SLACK_MS 100
/*
 * The storage has had something for so long: changes are refused, and calls that wait for it are
 * ended.
 */
#define OUTAGE_MS 5000
#define OUTAGE_CAUSE_MAX 512    /* bytes of the cause, as callers and the log are told */
#define OWNERSHIP_MS 3000       /* age of the proof that lets reads be answered */
#define OWNERSHIP_RENEW_MS 1000 /* its age from which on traffic has it renewed */
#define STALL_MS 100 /* an executor so late stood still: it could hear no heartbeat meanwhile */
#define STALL_SAID_MS 3000      /* ... and from here on it says so */
#define LOW_WATER_MS 1000       /* between two writings of low-water rows */
#define REFRESH_BACKOFF_MS 1000 /* after the first failed refresh of a floating limit; doubles */
#define REFRESH_BACKOFF_MAX_MS 60000
/* A refresh that its group has not taken for so long is offered to another one. */
#define REFRESH_OFFER_MS 1000
/*
 * A limiter that refuses for long is asked again so soon at most, or after the job's
 * max_backoff_ms.
 */
#define GATE_ASK_MS 1000
/* After so many errors in a row the token that was asked lets the others go first. */
#define GATE_ERRORS_MAX 16u
/* Between two lines of the log about what is kept. */
#define GROWTH_LINE_MS 3600000
#define GROUP_POLLED_MS 10000 /* a group whose last poll left not longer ago has workers */
/* Between two pages of the search for rate-limit buckets that have refilled. */
#define BUCKET_SWEEP_MS 60000
/* A window page that could not be read is asked for again after so long. */
#define READ_RETRY_MS 100
#ifndef LOW_WATER_REMOVALS
#define LOW_WATER_REMOVALS 1024u /* ... and sooner after so many rows were removed */
#endif
/* Sorted files are written after so long, or so many bytes of log: a replay is no longer. */
#define MEMTABLE_FLUSH_MS 60000
#define MEMTABLE_FLUSH_BYTES (64u << 20)

#ifndef ARRIVAL_BLOCK
#define ARRIVAL_BLOCK (1u << 20) /* arrival numbers reserved with one row */
#endif

#endif
