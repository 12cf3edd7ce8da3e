/*
 * core/limit_calls_test.c - see limit_calls_test.h. Names like SE13 are those of
 * docs/internals/rules.md.
 */
#include "core/limit_calls_test.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/test.h"

/* --- jobs --- */

static struct rate_limit rate_of(const struct job_limit *from)
{
    struct rate_limit rate = {
        .name = bytes_str(from->name),
        .unique_key = bytes_str(from->name),
        .limit = from->limit,
        .duration_ms = from->duration_ms,
        .hits = from->hits != 0 ? from->hits : 1,
        .behavior = from->behavior,
        .algorithm = from->leaky ? RATE_LEAKY_BUCKET : RATE_TOKEN_BUCKET,
        .retry = {.initial_ms = 100, .max_ms = 30000, .factor = 2},
    };
    if (from->has_policy) {
        rate.retry = (struct rate_retry_policy){.initial_ms = from->initial_ms,
                                                .max_ms = from->backoff_max_ms,
                                                .factor = from->multiplier,
                                                .retries_max = from->retries_max};
    }
    return rate;
}

static struct floating_limit floating_of(struct arena *arena, const struct job_limit *from)
{
    struct floating_limit floating = {.default_max = from->max, .interval_ms = from->interval_ms};
    if (from->metadata[0] != NULL) {
        struct buf pair;
        buf_init(&pair, 1u << 20);
        item_append(&pair, bytes_str(from->metadata[0]));
        item_append(&pair, bytes_str(from->metadata[1]));
        floating.metadata_count = 1;
        floating.metadata = arena_copy(arena, buf_bytes(&pair));
        buf_deinit(&pair);
    }
    return floating;
}

static struct limit_rec limit_rec_of(struct arena *arena, const struct job_limit *from)
{
    struct limit_rec limit = {.kind = from->kind, .key = bytes_str(from->name)};
    switch (from->kind) {
    case LIMIT_CONCURRENCY:
        limit.max = from->max;
        break;
    case LIMIT_FLOATING:
        limit.floating = floating_of(arena, from);
        break;
    case LIMIT_RATE:
        limit.rate = rate_of(from);
        break;
    }
    return limit;
}

const struct limit_rec *limits_put(struct arena *arena, const struct job_limit *limits, size_t max,
                                   struct info *info)
{
    struct limit_rec *recs = arena_alloc(arena, (max + 1) * sizeof *recs);
    struct buf items;
    buf_init(&items, 1u << 20);
    info->limit_count = 0;
    while (info->limit_count < max && limits[info->limit_count].name != NULL) {
        recs[info->limit_count] = limit_rec_of(arena, &limits[info->limit_count]);
        limit_encode(&items, arena, &recs[info->limit_count++]);
    }
    info->limits = arena_copy(arena, buf_bytes(&items));
    buf_deinit(&items);
    return recs;
}

static const struct limit_rec *info_of(struct arena *arena, const struct job_spec *spec,
                                       struct info *ret)
{
    *ret = (struct info){
        .priority = spec->priority,
        .group = bytes_str(spec->group != NULL ? spec->group : "g"),
        .requested_start_ms = spec->start_ms,
        .has_retry = spec->retries != 0,
        .retry = {.retry_count = spec->retries, .initial_ms = spec->retry_ms, .factor = 1},
    };
    return limits_put(arena, spec->limits, SPEC_LIMITS_MAX, ret);
}

static const char *tenant_of(const struct job_spec *spec)
{
    return spec->tenant != NULL ? spec->tenant : T;
}

struct call *job_call(const struct job_spec *spec)
{
    struct call *call = rig_call(CMD_ENQUEUE, tenant_of(spec), spec->id);
    struct enqueue_args *args = &call->cmd.args.enqueue;
    args->limits = info_of(&call->arena, spec, &args->info);
    args->payload = BYTES_LIT("payload");
    return call;
}

struct import_attempt failed_attempt(int64_t at_ms)
{
    return (struct import_attempt){.status = ATTEMPT_FAILED,
                                   .started_ms = at_ms,
                                   .finished_ms = at_ms + 1,
                                   .error_code = BYTES_LIT("E")};
}

struct call *import_call(const struct job_spec *spec, const struct import_attempt *attempts,
                         size_t count)
{
    struct call *call = rig_call(CMD_IMPORT_JOB, tenant_of(spec), spec->id);
    struct import_args *args = &call->cmd.args.import;
    args->limits = info_of(&call->arena, spec, &args->info);
    args->payload = BYTES_LIT("payload");
    args->attempts = attempts;
    args->attempt_count = count;
    return call;
}

void put_job(struct rig *rig, const struct job_spec *spec)
{
    assert_int_equal(finish(rig, job_call(spec)), SILO_OK);
}

void put_jobs(struct rig *rig, const struct job_spec *spec, uint32_t count)
{
    struct call **calls = xcalloc(count, sizeof *calls);
    for (uint32_t i = 0; i < count; i++) {
        char id[64];
        (void)snprintf(id, sizeof id, "%s%u", spec->id, i);
        struct job_spec one = *spec;
        one.id = id;
        calls[i] = job_call(&one);
        rig_send(rig, calls[i]);
    }
    rig_settle(rig);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(calls[i]->done);
        assert_int_equal(calls[i]->cmd.rc.code, SILO_OK);
        rig_call_free(calls[i]);
    }
    free(calls);
}

/* --- running --- */

size_t lease_some(struct rig *rig, uint32_t count, struct uuid *task_ids)
{
    struct call *call = poll_call(count, 0);
    rig_do(rig, call);
    const size_t got = poll_count(call);
    for (size_t i = 0; i < got; i++) {
        task_ids[i] = poll_task(call, i)->task_id;
    }
    rig_call_free(call);
    return got;
}

struct uuid task_of(struct rig *rig, const char *tenant, const char *id)
{
    struct call *call = rig_call(CMD_GET_JOB, tenant, id);
    rig_do(rig, call);
    assert_int_equal(call->cmd.rc.code, SILO_OK);
    assert_true(call->cmd.result.job.running);
    const struct uuid task_id = call->cmd.result.job.lease_task_id;
    rig_call_free(call);
    return task_id;
}

void end_job(struct rig *rig, const char *id, enum attempt_status how)
{
    const struct uuid task_id = task_of(rig, T, id);
    assert_int_equal(report(rig, &task_id, how), SILO_OK);
}

#define DRAIN_ROUNDS 2000
#define DRAIN_TASKS 256

size_t drain(struct rig *rig)
{
    static struct uuid task_ids[DRAIN_TASKS];
    size_t total = 0;
    int quiet = 0;
    for (int round = 0; round < DRAIN_ROUNDS && quiet < 3; round++) {
        const size_t got = lease_some(rig, DRAIN_TASKS, task_ids);
        struct call *calls[DRAIN_TASKS];
        for (size_t i = 0; i < got; i++) {
            calls[i] = report_call(&task_ids[i], ATTEMPT_SUCCEEDED, "");
            rig_send(rig, calls[i]);
        }
        rig_settle(rig);
        for (size_t i = 0; i < got; i++) {
            assert_int_equal(calls[i]->cmd.rc.code, SILO_OK);
            rig_call_free(calls[i]);
        }
        total += got;
        quiet = got == 0 ? quiet + 1 : 0;
        if (got == 0) {
            rig_pass(rig, LEASE_MS + 1000); /* leases nobody holds any more, starts to come */
        }
    }
    assert_int_equal(quiet, 3);
    slots_check(rig);
    assert_int_equal(rows_in(rig, TABLE_HOLDER), 0); /* SE13 */
    assert_int_equal(rows_in(rig, TABLE_WAITER), 0);
    assert_int_equal(rows_in(rig, TABLE_READY), 0);
    assert_int_equal(rows_in(rig, TABLE_TIMER), 0);
    assert_int_equal(rows_in(rig, TABLE_LEASE), 0);
    return total;
}

void reopen(struct rig *rig)
{
    rig_settle(rig);
    rig_kill(rig, RIG_LOSE);
    rig_start(rig);
    rig_settle(rig);
    assert_true(rig_is_open(rig));
    slots_check(rig);
}

uint64_t batches(struct rig *rig)
{
    return rig_batches(rig);
}

enum silo_code expedite(struct rig *rig, const char *id)
{
    return on_job(rig, CMD_EXPEDITE_JOB, id);
}

struct uuid lease_this(struct rig *rig, const char *id)
{
    struct call *call = rig_call(CMD_LEASE_JOB, T, id);
    call->cmd.args.lease_job.worker_id = BYTES_LIT("w1");
    rig_do(rig, call);
    const struct uuid task_id = poll_task(call, 0)->task_id;
    rig_call_free(call);
    return task_id;
}

uint64_t drop_holders(struct rig *rig, const char *tenant)
{
    struct call *call = rig_call(CMD_DROP_HOLDERS, tenant, "any");
    slots_dropped();
    rig_do(rig, call);
    assert_int_equal(call->cmd.rc.code, SILO_OK);
    const uint64_t dropped = call->cmd.result.dropped;
    rig_call_free(call);
    return dropped;
}

/* --- floating limits --- */

static void give_back(struct rig *rig, const struct call *poll)
{
    for (size_t i = 0; i < poll_count(poll); i++) {
        const struct uuid task_id = poll_task(poll, i)->task_id;
        struct call *call = rig_call(CMD_GIVE_BACK, NULL, NULL);
        call->cmd.args.give_back = (struct give_back_args){.task_ids = &task_id, .count = 1};
        assert_int_equal(finish(rig, call), SILO_OK);
    }
}

size_t refreshes(struct rig *rig, const char *group, struct refresh_task *ret_first)
{
    struct call *call = poll_call(1, 0);
    call->cmd.args.poll.group = bytes_str(group);
    rig_do(rig, call);
    assert_int_equal(call->cmd.rc.code, SILO_OK);
    const struct poll_result *result = &call->cmd.result.poll;
    const size_t count = result->refresh_count;
    if (count != 0) {
        *ret_first = result->refreshes[0]; /* its bytes go with the call */
    }
    give_back(rig, call);
    rig_call_free(call);
    return count;
}

struct uuid refresh_one(struct rig *rig)
{
    struct refresh_task task = {0};
    assert_int_equal(refreshes(rig, "g", &task), 1);
    return task.task_id;
}

enum silo_code refresh_report(struct rig *rig, const struct uuid *task_id, bool success,
                              uint32_t value)
{
    struct call *call = rig_call(CMD_REPORT_REFRESH, NULL, NULL);
    call->cmd.args.report_refresh = (struct report_refresh_args){
        .has_task_id = true, .task_id = *task_id, .success = success, .value = value};
    return finish(rig, call);
}
