/*
 * shard/undelivered.c - tasks that may be leased in storage though their worker never heard of
 * them, while the shard is not open: their ids are kept until it is, and then they go back.
 */
#include "base/assert.h"
#include "base/log.h"
#include "shard/shard_int.h"

/* How many ids the array has room for when it holds `count`: it doubles. */
static size_t notes_room(size_t count)
{
    size_t room = count == 0 ? 0 : 64;
    while (room < count) {
        room *= 2;
    }
    return room;
}

void undelivered_note(struct shard *shard, const struct uuid *task_ids, size_t count)
{
    const size_t room = UNDELIVERED_MAX - shard->undelivered_count;
    const size_t taken = count < room ? count : room;
    if (taken < count) {
        log_warn("undelivered_dropped", LOG_STR("shard", shard->id_text),
                 LOG_INT("tasks", count - taken), LOG_STR("then", "their leases end as crashes"),
                 LOG_END);
    }
    if (taken == 0) {
        return;
    }
    const size_t needed = notes_room(shard->undelivered_count + taken);
    if (needed != notes_room(shard->undelivered_count)) {
        shard->undelivered = xrealloc(shard->undelivered, needed * sizeof shard->undelivered[0]);
    }
    memcpy(shard->undelivered + shard->undelivered_count, task_ids, taken * sizeof task_ids[0]);
    shard->undelivered_count += taken;
}

void undelivered_note_failed(struct shard *shard, const struct command *cmd)
{
    if ((cmd->kind != CMD_POLL && cmd->kind != CMD_LEASE_JOB) || !cmd->changes) {
        return;
    }
    for (size_t i = 0; i < cmd->result.poll.count; i++) {
        undelivered_note(shard, &cmd->result.poll.tasks[i].task_id, 1);
    }
    for (size_t i = 0; i < cmd->result.poll.refresh_count; i++) {
        undelivered_note(shard, &cmd->result.poll.refreshes[i].task_id, 1);
    }
}

void undelivered_resume(struct incarnation *inc)
{
    struct shard *shard = inc->shard;
    for (size_t i = 0; i < shard->undelivered_count; i++) {
        core_undelivered(inc->core, &shard->undelivered[i], NULL);
    }
    undelivered_free(shard);
}

void undelivered_free(struct shard *shard)
{
    free(shard->undelivered);
    shard->undelivered = NULL;
    shard->undelivered_count = 0;
}
