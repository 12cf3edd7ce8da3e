/*
 * shard/mixed_test.c - random histories of jobs with limits of every kind: all calls about them, a
 * store that is slow and shuffles, a process that dies at any moment. After each batch tokens,
 * slots, waiters and counters must agree (slots_watch); at the end everything gets through and
 * nothing is left.
 *
 * SILO_SEED=n runs the history of that seed, SILO_SEQUENCES=n so many from there or from the first.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/test.h"
#include "core/limit_calls_test.h"
#include "shard/shard_rig_test.h"

#define SEQUENCES 1500u
#define STEPS 100u
#define STEPS_LONG 600u /* one history of twenty */
#define MIXED_CALLS 1024u
#define MIXED_TASKS 256u
#define MIXED_IDS 12u
#define DRAIN_ROUNDS 600

struct mixed {
    struct rig *rig;
    struct call *calls[MIXED_CALLS];
    size_t call_count, harvested; /* calls before `harvested` have been looked at */
    struct uuid tasks[MIXED_TASKS], refreshes[MIXED_TASKS];
    size_t task_count, refresh_count;
    uint32_t enqueued;
    bool draining;
};

static uint64_t running_seed; /* of a history that has not ended */
static size_t succeeded[CMD_TOTALS + 1];

static uint32_t below(struct mixed *m, uint32_t bound)
{
    return rig_below(m->rig, bound);
}

static void mixed_send(struct mixed *m, struct call *call)
{
    if (m->call_count == MIXED_CALLS) {
        rig_call_free(call);
        return;
    }
    m->calls[m->call_count++] = call;
    rig_send(m->rig, call);
}

static const char *const mixed_tenants[] = {T, "t2"};

static struct call *mixed_on_job(struct mixed *m, enum command_kind kind)
{
    char id[16];
    (void)snprintf(id, sizeof id, "j%u", below(m, MIXED_IDS));
    struct call *call = rig_call(kind, mixed_tenants[below(m, 2)], id);
    if (kind == CMD_LEASE_JOB) {
        call->cmd.args.lease_job.worker_id = BYTES_LIT("w1");
    }
    return call;
}

static struct job_limit mixed_limit(struct mixed *m)
{
    static const char *const fixed[] = {"q0", "q1", "q2"};
    static const char *const floats[] = {"f0", "q1"};
    static const char *const rates[] = {"r0", "r1"};
    const uint32_t n = below(m, 3);
    switch (below(m, 6)) {
    case 0:
        return (struct job_limit)FLOATS(floats[n % 2], below(m, 3), 50);
    case 1: {
        struct job_limit rate = RATE(rates[n % 2], 2, 50);
        rate.has_policy = below(m, 2) == 0;
        rate.initial_ms = 5;
        rate.backoff_max_ms = 40;
        rate.multiplier = 2;
        rate.retries_max = below(m, 2) * 3;
        return rate;
    }
    default:
        return (struct job_limit)FIXED(fixed[n], 1 + below(m, 2));
    }
}

static void mixed_spec(struct mixed *m, char *id, size_t size, struct job_spec *spec)
{
    (void)snprintf(id, size, "j%u", below(m, MIXED_IDS));
    *spec = (struct job_spec){
        .id = id,
        .tenant = mixed_tenants[below(m, 4) == 0],
        .priority = (uint8_t)below(m, 3),
        .start_ms = below(m, 3) == 0 ? m->rig->wall_ms + below(m, 60) : 0,
        .retries = below(m, 3),
        .retry_ms = below(m, 2) * 20,
    };
    const uint32_t limits = below(m, SPEC_LIMITS_MAX);
    for (uint32_t i = 0; i < limits; i++) {
        spec->limits[i] = mixed_limit(m);
    }
}

static void mixed_enqueue(struct mixed *m)
{
    char id[16];
    struct job_spec spec;
    mixed_spec(m, id, sizeof id, &spec);
    mixed_send(m, job_call(&spec));
    m->enqueued++;
}

static void mixed_import(struct mixed *m)
{
    static const struct import_attempt attempts[] = {
        {.status = ATTEMPT_FAILED, .started_ms = 1, .finished_ms = 2, .error_code = {.len = 0}},
        {.status = ATTEMPT_FAILED, .started_ms = 3, .finished_ms = 4, .error_code = {.len = 0}},
        {.status = ATTEMPT_SUCCEEDED, .started_ms = 5, .finished_ms = 6}};
    char id[16];
    struct job_spec spec;
    mixed_spec(m, id, sizeof id, &spec);
    spec.retries = 5;
    mixed_send(m, import_call(&spec, attempts, below(m, 4)));
}

/* Takes from the polls that are back what they brought. */
static void mixed_harvest(struct mixed *m)
{
    for (; m->harvested < m->call_count; m->harvested++) {
        const struct call *call = m->calls[m->harvested];
        if (!call->done) {
            return;
        }
        const struct command *cmd = &call->cmd;
        if (cmd->rc.code != SILO_OK || (cmd->kind != CMD_POLL && cmd->kind != CMD_LEASE_JOB)) {
            continue;
        }
        for (size_t i = 0; i < cmd->result.poll.count && m->task_count < MIXED_TASKS; i++) {
            m->tasks[m->task_count++] = cmd->result.poll.tasks[i].task_id;
        }
        for (size_t i = 0; i < cmd->result.poll.refresh_count && m->refresh_count < MIXED_TASKS;
             i++) {
            m->refreshes[m->refresh_count++] = cmd->result.poll.refreshes[i].task_id;
        }
    }
}

static void mixed_report(struct mixed *m)
{
    if (m->task_count == 0) {
        return;
    }
    const size_t at = below(m, (uint32_t)m->task_count);
    static const enum attempt_status hows[] = {ATTEMPT_SUCCEEDED, ATTEMPT_FAILED, ATTEMPT_FAILED,
                                               ATTEMPT_CANCELLED};
    const enum attempt_status how = m->draining ? ATTEMPT_SUCCEEDED : hows[below(m, 4)];
    mixed_send(m, report_call(&m->tasks[at], how, ""));
    if (m->draining || below(m, 4) != 0) { /* else it is reported on twice */
        m->tasks[at] = m->tasks[--m->task_count];
    }
}

static void mixed_refresh(struct mixed *m)
{
    if (m->refresh_count == 0) {
        return;
    }
    const size_t at = below(m, (uint32_t)m->refresh_count);
    struct call *call = rig_call(CMD_REPORT_REFRESH, NULL, NULL);
    call->cmd.args.report_refresh =
        (struct report_refresh_args){.has_task_id = true,
                                     .task_id = m->refreshes[at],
                                     .success = m->draining || below(m, 4) != 0,
                                     .value = m->draining ? 3 : below(m, 4)};
    mixed_send(m, call);
    m->refreshes[at] = m->refreshes[--m->refresh_count];
}

static void mixed_give_back(struct mixed *m)
{
    if (m->task_count == 0) {
        return;
    }
    const struct uuid task = m->tasks[below(m, (uint32_t)m->task_count)];
    if (below(m, 2) == 0) {
        struct call *call = rig_call(CMD_RETURN_TASK, NULL, NULL);
        call->cmd.args.return_task = (struct return_task_args){
            .has_task_id = true, .task_id = task, .worker_id = BYTES_LIT("w1")};
        mixed_send(m, call);
        return;
    }
    struct call *call = rig_call(CMD_GIVE_BACK, NULL, NULL);
    struct uuid *id = arena_alloc(&call->arena, sizeof *id);
    *id = task;
    call->cmd.args.give_back = (struct give_back_args){.task_ids = id, .count = 1};
    mixed_send(m, call);
}

static void mixed_die(struct mixed *m)
{
    static const enum rig_survival survivals[] = {RIG_LOSE, RIG_KEEP_SOME, RIG_KEEP_ALL};
    rig_kill(m->rig, survivals[below(m, 3)]);
    rig_start(m->rig);
    if (below(m, 3) != 0) {
        rig_settle(m->rig);
    }
}

static void mixed_act(struct mixed *m)
{
    mixed_harvest(m);
    switch (below(m, 20)) {
    case 0:
        mixed_die(m);
        return;
    case 1:
        mixed_import(m);
        return;
    case 2:
        mixed_send(m, mixed_on_job(m, CMD_CANCEL_JOB));
        return;
    case 3:
        mixed_send(m, mixed_on_job(m, CMD_RESTART_JOB));
        return;
    case 4:
        mixed_send(m, mixed_on_job(m, CMD_EXPEDITE_JOB));
        return;
    case 5:
        mixed_send(m, mixed_on_job(m, below(m, 2) == 0 ? CMD_LEASE_JOB : CMD_DELETE_JOB));
        return;
    case 6:
        mixed_give_back(m);
        return;
    case 7:
        if (below(m, 8) == 0) {
            slots_dropped();
            mixed_send(m, mixed_on_job(m, CMD_DROP_HOLDERS));
        }
        return;
    case 8:
    case 9:
        mixed_refresh(m);
        return;
    case 10:
    case 11:
    case 12:
        mixed_report(m);
        return;
    case 13:
    case 14:
    case 15:
        mixed_send(m, poll_call(1 + below(m, 4), below(m, 2) * 60));
        return;
    default:
        mixed_enqueue(m);
        return;
    }
}

static void mixed_time(struct mixed *m)
{
    switch (below(m, 12)) {
    case 0:
        rig_pass(m->rig, below(m, 100));
        break;
    case 1:
        rig_settle(m->rig);
        break;
    case 2:
        rig_pass(m->rig, below(m, 30) == 0 ? 11000 : below(m, 5));
        break;
    default:
        for (uint32_t i = below(m, 6); i != 0; i--) {
            (void)rig_step(m->rig);
        }
    }
}

static bool mixed_left(struct mixed *m)
{
    return rows_in(m->rig, TABLE_READY) + rows_in(m->rig, TABLE_TIMER) +
               rows_in(m->rig, TABLE_REQUEST) + rows_in(m->rig, TABLE_LEASE) +
               rows_in(m->rig, TABLE_HOLDER) !=
           0;
}

static void mixed_free_calls(struct mixed *m)
{
    for (size_t i = 0; i < m->call_count; i++) {
        const struct command *cmd = &m->calls[i]->cmd;
        assert_true(m->calls[i]->done);
        assert_true(cmd->rc.code != SILO_CORRUPT);
        succeeded[cmd->kind] += cmd->rc.code == SILO_OK;
        rig_call_free(m->calls[i]);
    }
    m->call_count = 0;
    m->harvested = 0;
}

static void mixed_drain(struct mixed *m)
{
    m->draining = true;
    rig_pass(m->rig, 1000);
    assert_true(rig_is_open(m->rig));
    mixed_harvest(m);
    mixed_free_calls(m);
    slots_check(m->rig);
    for (int round = 0; round < DRAIN_ROUNDS && mixed_left(m); round++) {
        mixed_send(m, poll_call(16, 0));
        rig_pass(m->rig, 40);
        mixed_harvest(m);
        while (m->task_count != 0) {
            mixed_report(m);
        }
        while (m->refresh_count != 0) {
            mixed_refresh(m);
        }
        rig_pass(m->rig, round % 20 == 19 ? 11000 : 100);
        mixed_harvest(m);
        mixed_free_calls(m);
    }
    assert_false(mixed_left(m));
    slots_check(m->rig);
    assert_int_equal(totals(m->rig).open, 0);
}

static void mixed_history(uint64_t seed)
{
    struct mixed m = {0};
    running_seed = seed;
    struct shard_rig_options options = {
        .seed = seed,
        .order = seed % 3 == 0 ? ORDER_START : ORDER_PRIORITY,
        .store = {.manual = true, .shuffle = seed % 2 == 0, .seed = seed}};
    options.store.delays[STORE_MEM_MGET].turns = (uint32_t)(seed % 5);
    options.store.delays[STORE_MEM_SCAN].turns = (uint32_t)(seed % 4);
    options.store.delays[STORE_MEM_FLUSH].turns = (uint32_t)(seed % 7);
    m.rig = shard_rig_new(&options);
    rig_start(m.rig);
    rig_settle(m.rig);
    slots_watch(m.rig);
    const uint32_t steps = seed % 20 == 0 ? STEPS_LONG : STEPS;
    for (uint32_t i = 0; i < steps; i++) {
        mixed_act(&m);
        mixed_time(&m);
    }
    mixed_drain(&m);
    rig_free(m.rig);
    running_seed = 0;
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static void test_mixed(void **state)
{
    (void)state;
    const uint64_t first = number_of("SILO_SEED", 1);
    const uint64_t count = number_of("SILO_SEQUENCES", getenv("SILO_SEED") != NULL ? 1 : SEQUENCES);
    for (uint64_t seed = first; seed < first + count; seed++) {
        mixed_history(seed);
    }
    static const enum command_kind kinds[] = {
        CMD_ENQUEUE,     CMD_CANCEL_JOB, CMD_DELETE_JOB,    CMD_RESTART_JOB, CMD_EXPEDITE_JOB,
        CMD_LEASE_JOB,   CMD_IMPORT_JOB, CMD_DROP_HOLDERS,  CMD_POLL,        CMD_GIVE_BACK,
        CMD_RETURN_TASK, CMD_REPORT,     CMD_REPORT_REFRESH};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        print_message("kind %d: %zu\n", (int)kinds[i], succeeded[kinds[i]]);
        assert_true(count < SEQUENCES || succeeded[kinds[i]] != 0); /* every one of them happened */
    }
}

static int tell_seed(void **state)
{
    (void)state;
    if (running_seed != 0) {
        print_error("SILO_SEED=%llu\n", (unsigned long long)running_seed);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(test_mixed, tell_seed)};
    return cmocka_run_group_tests_name("mixed", tests, NULL, NULL);
}
