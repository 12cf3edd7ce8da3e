/*
 * shard/counted.c - what executors and shards count, and who may read it.
 *
 * Counting is adding to a number of one's own; at the end of the executor's turn its numbers are
 * published, and those of each shard that had a turn. Whoever asks reads what was published and
 * comes near no executor. What shards publish lies at their places, which outlive them: a reader
 * that comes late finds the next shard there, or none, and never memory that is gone.
 */
#include <stdio.h>

#include "base/assert.h"
#include "shard/shard_int.h"

#define AT(field) (uint8_t)(offsetof(struct executor_counters, field) / sizeof(uint64_t))

void count_command(struct executor *executor, enum command_kind kind)
{
    static const uint8_t at[] = {
        [CMD_ENQUEUE] = AT(enqueue),       [CMD_GET_JOB] = AT(get),
        [CMD_GET_RESULT] = AT(get),        [CMD_CANCEL_JOB] = AT(change),
        [CMD_DELETE_JOB] = AT(change),     [CMD_RESTART_JOB] = AT(change),
        [CMD_EXPEDITE_JOB] = AT(change),   [CMD_LEASE_JOB] = AT(poll),
        [CMD_IMPORT_JOB] = AT(import),     [CMD_ANY_RUNNING] = AT(other),
        [CMD_DROP_HOLDERS] = AT(other),    [CMD_POLL] = AT(poll),
        [CMD_POLL_STOP] = AT(other),       [CMD_GIVE_BACK] = AT(give_back),
        [CMD_RETURN_TASK] = AT(give_back), [CMD_RENEW] = AT(other),
        [CMD_HEARTBEAT] = AT(heartbeat),   [CMD_AWAIT_CANCELS] = AT(await),
        [CMD_REPORT] = AT(report),         [CMD_REPORT_REFRESH] = AT(report),
        [CMD_TOTALS] = AT(other),          [CMD_LEND] = AT(other),
    };
    /* A kind without a row would count as a turn. */
    ASSERT((size_t)kind < sizeof at && at[kind] != AT(turns));
    ((uint64_t *)&executor->counted)[at[kind]]++;
}

void count_call(struct executor *executor, enum op_kind kind)
{
    static const uint8_t at[] = {
        [OP_OPEN] = AT(calls_open_close),
        [OP_CLOSE] = AT(calls_open_close),
        [OP_WRITE] = AT(calls_write),
        [OP_FLUSH_WAL] = AT(calls_flush_wal),
        [OP_FLUSH_MEMTABLE] = AT(calls_flush_memtable),
        [OP_READ] = AT(calls_read),
        [OP_WANTS] = AT(calls_read_answer),
        [OP_REFRESH] = AT(calls_refresh),
        [OP_WIPE] = AT(calls_open_close),
        [OP_ASK] = AT(calls_open_close),
    };
    ((uint64_t *)&executor->counted)[at[kind]]++;
}

void executor_publish(struct executor *executor)
{
    executor->counted.turns++;
    executor->counted.mailbox_depth = mailbox_count(&executor->requests);
    published_put(executor->published, (const uint64_t *)&executor->counted);
}

static bool executor_counters_read(const void *context, size_t index, char *ret_owner,
                                   uint64_t *ret_numbers)
{
    const struct shards *shards = context;
    (void)snprintf(ret_owner, COUNTER_OWNER_BYTES, "%zu", index);
    return published_get(shards->executors[index].published, ret_numbers);
}

struct counter_source shards_executor_counters(const struct shards *shards)
{
    return (struct counter_source){.scope = SCOPE_EXECUTOR,
                                   .owners = shards->options.executors,
                                   .read = executor_counters_read,
                                   .context = shards};
}

/* --- shards --- */

/* What stands at a shard's place. */
struct shard_numbers {
    struct shard_counters counters;
    char id_text[COUNTER_OWNER_BYTES];
    uint64_t generation; /* 0: there is no shard */
};
_Static_assert(sizeof(struct shard_numbers) % sizeof(uint64_t) == 0, "published as numbers");
_Static_assert(UUID_TEXT_LEN < COUNTER_OWNER_BYTES, "an id and its NUL");

void shard_count_in(struct shard *shard, struct shard_slot *slot)
{
    shard->published = atomic_load_explicit(&slot->published, memory_order_relaxed);
    if (shard->published == NULL) {
        shard->published = published_new(sizeof(struct shard_numbers) / sizeof(uint64_t));
        /* Pairs with the load of a reader, who may come at any time. */
        atomic_store_explicit(&slot->published, shard->published, memory_order_release);
    }
}

void shard_publish(struct shard *shard)
{
    const struct incarnation *inc = shard->inc;
    struct shard_counters *counted = &shard->counted;
    struct core_stats stats = {0};
    if (inc != NULL && inc->core != NULL && inc->phase != INC_DEAD) {
        stats = core_stats(inc->core);
    }
    counted->jobs_open = stats.jobs.open;
    counted->jobs_succeeded = stats.jobs.succeeded;
    counted->jobs_failed = stats.jobs.failed;
    counted->jobs_cancelled = stats.jobs.cancelled;
    counted->leases = stats.leases;
    counted->tasks = stats.tasks;
    counted->commands = stats.commands;
    counted->slots = stats.holders;
    counted->undurable_bytes = inc != NULL ? inc->undurable_bytes : 0;
    struct shard_numbers numbers = {.counters = *counted, .generation = shard->ref.generation};
    memcpy(numbers.id_text, shard->id_text, sizeof shard->id_text);
    published_put(shard->published, (const uint64_t *)&numbers);
}

void shard_count_out(struct shard *shard)
{
    const struct shard_numbers none = {0};
    published_put(shard->published, (const uint64_t *)&none);
}

static bool shard_counters_read(const void *context, size_t index, char *ret_owner,
                                uint64_t *ret_numbers)
{
    const struct shards *shards = context;
    const struct published *published =
        atomic_load_explicit(&shards->slots[index].published, memory_order_acquire);
    struct shard_numbers numbers;
    if (published == NULL || !published_get(published, (uint64_t *)&numbers) ||
        numbers.generation == 0) {
        return false;
    }
    memcpy(ret_owner, numbers.id_text, sizeof numbers.id_text);
    memcpy(ret_numbers, &numbers.counters, sizeof numbers.counters);
    return true;
}

struct counter_source shards_counters(const struct shards *shards)
{
    return (struct counter_source){
        .scope = SCOPE_SHARD, .owners = SHARDS_MAX, .read = shard_counters_read, .context = shards};
}
