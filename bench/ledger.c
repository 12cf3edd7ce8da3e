/* bench/ledger.c - jobs and holes, see ledger.h. */
#include "ledger.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    JOB_ACKNOWLEDGED = 1,
    JOB_LEASED = 2,
    JOB_REPORTED = 4,
};

struct shard_calls {
    int64_t last_us, hole_us;
};

struct ledger {
    uint8_t *jobs;
    uint64_t job_cap, handed_out_again, ran_after_its_end, attempts_lost;
    struct shard_calls *shards;
    uint32_t shard_count;
};

struct ledger *ledger_new(uint32_t shards)
{
    struct ledger *ledger = xcalloc(1, sizeof *ledger);
    ledger->shards = xcalloc(shards, sizeof *ledger->shards);
    ledger->shard_count = shards;
    return ledger;
}

struct ledger *ledger_free(struct ledger *ledger)
{
    free(ledger->jobs);
    free(ledger->shards);
    free(ledger);
    return NULL;
}

void ledger_name(uint64_t job, char ret_name[LEDGER_NAME_BYTES])
{
    (void)snprintf(ret_name, LEDGER_NAME_BYTES, "job-%" PRIu64, job);
}

uint64_t ledger_number(const char *name)
{
    char *end = NULL;
    if (strncmp(name, "job-", 4) != 0) {
        return UINT64_MAX;
    }
    const uint64_t number = strtoull(name + 4, &end, 10);
    return end != name + 4 && *end == '\0' ? number : UINT64_MAX;
}

/* Where a job's state is kept, or NULL beyond the bound. */
static uint8_t *job_place(struct ledger *ledger, uint64_t job)
{
    if (job >= LEDGER_JOBS_MAX) {
        return NULL;
    }
    if (job >= ledger->job_cap) {
        const uint64_t cap = job < 1024 ? 2048 : 2 * job;
        ledger->jobs = xrealloc(ledger->jobs, cap);
        memset(ledger->jobs + ledger->job_cap, 0, cap - ledger->job_cap);
        ledger->job_cap = cap;
    }
    return &ledger->jobs[job];
}

void ledger_acknowledged(struct ledger *ledger, uint64_t job)
{
    uint8_t *place = job_place(ledger, job);
    if (place != NULL) {
        *place |= JOB_ACKNOWLEDGED;
    }
}

void ledger_leased(struct ledger *ledger, uint64_t job, uint32_t attempt)
{
    uint8_t *place = job_place(ledger, job);
    if (place == NULL) {
        return;
    }
    ledger->ran_after_its_end += (*place & JOB_REPORTED) != 0 ? 1 : 0;
    ledger->handed_out_again += (*place & (JOB_LEASED | JOB_REPORTED)) == JOB_LEASED ? 1 : 0;
    ledger->attempts_lost += attempt > 1 ? 1 : 0;
    *place |= JOB_LEASED;
}

void ledger_reported(struct ledger *ledger, uint64_t job)
{
    uint8_t *place = job_place(ledger, job);
    if (place != NULL) {
        *place |= JOB_REPORTED;
    }
}

struct ledger_sums ledger_sums(const struct ledger *ledger)
{
    struct ledger_sums sums = {.handed_out_again = ledger->handed_out_again,
                               .ran_after_its_end = ledger->ran_after_its_end,
                               .attempts_lost = ledger->attempts_lost};
    for (uint64_t i = 0; i < ledger->job_cap; i++) {
        const uint8_t job = ledger->jobs[i];
        sums.acknowledged += (job & JOB_ACKNOWLEDGED) != 0 ? 1 : 0;
        sums.reported += (job & JOB_REPORTED) != 0 ? 1 : 0;
        sums.lost += (job & (JOB_ACKNOWLEDGED | JOB_REPORTED)) == JOB_ACKNOWLEDGED ? 1 : 0;
    }
    return sums;
}

uint64_t ledger_lost(const struct ledger *ledger, uint64_t from)
{
    for (uint64_t i = from; i < ledger->job_cap; i++) {
        if ((ledger->jobs[i] & (JOB_ACKNOWLEDGED | JOB_REPORTED)) == JOB_ACKNOWLEDGED) {
            return i;
        }
    }
    return UINT64_MAX;
}

void ledger_succeeded(struct ledger *ledger, uint32_t shard, int64_t now_us)
{
    if (shard >= ledger->shard_count) {
        return;
    }
    struct shard_calls *calls = &ledger->shards[shard];
    const int64_t hole = calls->last_us != 0 ? now_us - calls->last_us : 0;
    calls->hole_us = hole > calls->hole_us ? hole : calls->hole_us;
    calls->last_us = now_us;
}

void ledger_holes_reset(struct ledger *ledger)
{
    for (uint32_t i = 0; i < ledger->shard_count; i++) {
        ledger->shards[i].hole_us = 0;
    }
}

int64_t ledger_last_us(const struct ledger *ledger, uint32_t shard)
{
    return ledger->shards[shard].last_us;
}

int64_t ledger_hole_us(const struct ledger *ledger, uint32_t shard, int64_t now_us)
{
    const struct shard_calls *calls = &ledger->shards[shard];
    const int64_t open = now_us - calls->last_us;
    return open > calls->hole_us ? open : calls->hole_us;
}
