/* sim/guards.c - see guards.h. */
#include "sim/guards.h"

#include "shard/shard_int.h"

void guards_began(struct guards *guards, uint32_t process)
{
    for (size_t i = 0; i < PROCESS_SHARDS_MAX; i++) {
        guards->seen[process][i].named = 0;
        guards->seen[process][i].gave = false;
    }
}

void guards_named(struct guards *guards, uint32_t process, size_t shard)
{
    guards->seen[process][shard].named = ++guards->moments;
}

/*
 * Whoever opens fences the one before. So the record must have named the opener after the last time
 * that anybody else opened: a claim from before that is one that somebody has come past.
 */
void guards_opened(struct guards *guards, uint32_t process, size_t shard)
{
    const uint64_t named = guards->seen[process][shard].named;
    if (named == 0) {
        (void)verdict_fail(guards->verdict, "claimed", "process %u opens shard %zu unclaimed",
                           process, shard);
    } else if (named < guards->seen[process][shard].foreign) {
        (void)verdict_fail(guards->verdict, "successor",
                           "process %u opens shard %zu, which another opened since the record was "
                           "read",
                           process, shard);
    }
    guards->seen[process][shard].gave = false;
    guards->moments++;
    for (uint32_t i = 0; i < GUARDS_PROCESSES_MAX; i++) {
        if (i != process) {
            guards->seen[i][shard].foreign = guards->moments;
        }
    }
}

void guards_claims(struct guards *guards, const struct coord_member *member, size_t shard)
{
    if (member->lapsed) {
        (void)verdict_fail(guards->verdict, "member", "%s has lapsed and claims shard %zu",
                           member->id, shard);
    }
}

void guards_releases(struct guards *guards, const struct process *process, size_t shard,
                     int64_t now_us)
{
    const struct shard *here = process_shard(process, shard);
    if (here != NULL && (here->inc != NULL || here->reopen || here->doubt)) {
        (void)verdict_fail(guards->verdict, "release", "%s gives up shard %zu, which runs there",
                           process->address, shard);
    }
    guards->seen[process->options.number][shard].gave = true;
    guards->seen[process->options.number][shard].gave_us = now_us;
}

/*
 * From then on another may serve it, and no proof that is still young makes up for that: what it
 * answered has left before, in the same turn at the latest.
 */
void guards_answers(struct guards *guards, const struct process *process, size_t shard,
                    int64_t at_us)
{
    if (guards->seen[process->options.number][shard].gave &&
        guards->seen[process->options.number][shard].gave_us < at_us) {
        (void)verdict_fail(guards->verdict, "given away",
                           "%s answers for shard %zu, which it has given away", process->address,
                           shard);
    }
}
