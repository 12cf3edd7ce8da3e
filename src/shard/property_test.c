/*
 * shard/property_test.c - random histories of one shard: several workers, groups, priorities and
 * tenants, ids that collide, clocks that jump, a store that is slow, shuffled, failing, fenced or
 * away, and a process that dies at any moment.
 *
 * After every batch all rows are audited (audit_test.h), every answer is compared with what the job
 * went through (model_test.h), and at the end all jobs must get through and leave nothing behind.
 * SILO_SEED=n runs the history of that seed, SILO_SEQUENCES=n so many from there or from the first.
 * The same seed gives the same history.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/test.h"
#include "shard/model_test.h"
#include "shard/shard_int.h"

#ifndef PROPERTY_SEQUENCES
#define PROPERTY_SEQUENCES 4000u
#endif
#ifndef PROPERTY_SEED
#define PROPERTY_SEED 1u
#endif
#define STEPS 60u
#define STEPS_LONG 400u /* one history of fifty */
#define DRAIN_ROUNDS 200

struct history {
    struct rig *rig;
    struct model model;
    bool faulty;
    bool outage;
    uint32_t specs;
    uint32_t fresh;
};

static struct tally_seen seen;

static const char *const tenants[TENANTS] = {"-", "acme", "b\xc3\xa9ta"};

static bool failed(const struct history *h)
{
    return h->model.error[0] != '\0';
}

static uint32_t below(struct history *h, uint32_t bound)
{
    return rig_below(h->rig, bound);
}

static struct mjob *some_job(struct history *h)
{
    char id[24];
    (void)snprintf(id, sizeof id, "j%u", below(h, 5));
    return model_job(&h->model, tenants[below(h, TENANTS)], id);
}

/* Mostly one of the last. */
static struct mtask *some_task(struct history *h)
{
    const size_t count = h->model.task_count;
    if (count == 0) {
        return NULL;
    }
    const size_t window = below(h, 4) != 0 && count > 6 ? 6 : count;
    return h->model.tasks[count - 1 - below(h, (uint32_t)window)];
}

/* --- what clients do --- */

static void metadata_add(struct call *call, uint32_t pairs)
{
    struct buf buf;
    buf_init(&buf, 4096);
    for (uint32_t i = 0; i < pairs; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "k%u", i);
        item_append(&buf, bytes_str(name));
        item_append(&buf, BYTES_LIT("value"));
    }
    call->cmd.args.enqueue.info.metadata = arena_copy(&call->arena, buf_bytes(&buf));
    call->cmd.args.enqueue.info.metadata_count = pairs;
    buf_deinit(&buf);
}

static int64_t some_start(struct history *h)
{
    const int64_t now = h->rig->wall_ms;
    switch (below(h, 8)) {
    case 0:
        return now + 1 + below(h, 50);
    case 1:
        return now + below(h, 20000);
    case 2:
        return now - below(h, 5000);
    case 3:
        return 1 + below(h, 3);
    default:
        return 0;
    }
}

static void do_enqueue(struct history *h, bool bulk, bool past)
{
    struct mjob *job = NULL;
    const bool fresh = bulk || below(h, 3) == 0;
    if (fresh) {
        char id[24];
        (void)snprintf(id, sizeof id, "f%u", h->fresh++);
        job = model_job(&h->model, tenants[below(h, TENANTS)], id);
    } else {
        job = some_job(h);
    }
    const bool again = h->specs != 0 && below(h, 6) == 0;
    const uint32_t number = again ? 1 + below(h, h->specs) : ++h->specs;
    const struct spec spec = spec_of(number);
    struct call *call = rig_call(CMD_ENQUEUE, job->tenant, job->id);
    struct enqueue_args *args = &call->cmd.args.enqueue;
    args->id_is_fresh = fresh;
    args->return_existing = below(h, 3) == 0;
    args->info = (struct info){.priority = spec.priority, .has_retry = spec.has_retry};
    if (spec.has_retry) {
        args->info.retry = spec.retry;
    }
    args->info.group = arena_copy(&call->arena, bytes_str(spec.group));
    args->info.requested_start_ms = past ? h->rig->wall_ms - 1 - below(h, 5000) : some_start(h);
    metadata_add(call, spec.pairs);
    uint8_t *payload = arena_zalloc(&call->arena, spec.payload_len);
    memcpy(payload, &number, sizeof number);
    args->payload = bytes_of(payload, spec.payload_len);
    (void)model_send(&h->model, call, job, NULL, number);
}

static void do_poll(struct history *h, const char *group, uint32_t tasks_max, uint32_t wait_ms)
{
    struct call *call = rig_call(CMD_POLL, NULL, NULL);
    char worker[2] = {(char)('A' + below(h, 3)), '\0'};
    call->cmd.args.poll =
        (struct poll_args){.group = arena_copy(&call->arena, bytes_str(group)),
                           .worker_id = arena_copy(&call->arena, bytes_str(worker)),
                           .tasks_max = tasks_max,
                           .wait_ms = wait_ms};
    seen.waits += wait_ms != 0;
    (void)model_send(&h->model, call, NULL, NULL, 0);
}

static void do_some_poll(struct history *h)
{
    char group[16];
    (void)snprintf(group, sizeof group, "g%u", below(h, 2) == 0 ? 0 : below(h, GROUPS));
    do_poll(h, group, below(h, 8) == 0 ? 20 : below(h, 4),
            below(h, 2) == 0 ? 0 : 1 + below(h, 5000));
}

/* Many at once; with old starts they come into the middle of windows while pages are read. */
static void do_bulk(struct history *h)
{
    const bool past = below(h, 2) == 0;
    for (uint32_t i = 10 + below(h, 20); i != 0; i--) {
        do_enqueue(h, true, past);
        if (below(h, 4) == 0) {
            do_some_poll(h);
            rig_step(h->rig);
        }
    }
}

static void do_poll_stop(struct history *h)
{
    for (size_t i = h->model.call_count; i != 0; i--) {
        struct call *poll = h->model.calls[i - 1]->call;
        if (poll->cmd.kind == CMD_POLL && !poll->done) {
            struct call *call = rig_call(CMD_POLL_STOP, NULL, NULL);
            call->cmd.args.poll_stop.poll = poll->sent;
            (void)model_send(&h->model, call, NULL, NULL, 0);
            return;
        }
    }
}

static void do_report(struct history *h, struct mtask *task, enum attempt_status status)
{
    if (task == NULL) {
        return;
    }
    struct call *call = rig_call(CMD_REPORT, NULL, NULL);
    const size_t len = below(h, 8) == 0 ? 5000 : below(h, 20);
    call->cmd.args.report =
        (struct report_args){.has_task_id = true,
                             .task_id = task->id,
                             .status = status,
                             .error_code = BYTES_LIT("BROKEN"),
                             .data = bytes_of(arena_zalloc(&call->arena, len), len)};
    (void)model_send(&h->model, call, task->job, task, 0);
}

static void do_heartbeat(struct history *h)
{
    struct mtask *task = some_task(h);
    if (task == NULL) {
        return;
    }
    struct call *call = rig_call(CMD_HEARTBEAT, NULL, NULL);
    const uint8_t worker = below(h, 8) == 0 ? 'Z' : task->worker;
    call->cmd.args.heartbeat =
        (struct heartbeat_args){.has_task_id = true,
                                .task_id = task->id,
                                .worker_id = arena_copy(&call->arena, bytes_of(&worker, 1))};
    (void)model_send(&h->model, call, task->job, task, 0);
}

static void do_give_back(struct history *h)
{
    struct call *call = rig_call(CMD_GIVE_BACK, NULL, NULL);
    struct uuid *ids = arena_alloc(&call->arena, 4 * sizeof *ids);
    struct mtask *tasks[4];
    size_t count = 0;
    for (int i = 0; i < 4; i++) {
        struct mtask *task = some_task(h);
        if (task != NULL) {
            ids[count] = task->id;
            tasks[count++] = task;
        }
    }
    call->cmd.args.give_back = (struct give_back_args){.task_ids = ids, .count = count};
    struct mcall *sent = model_send(&h->model, call, NULL, NULL, 0);
    for (size_t i = 0; i < count; i++) {
        model_gives_back(sent, tasks[i]);
    }
}

static void do_on_job(struct history *h, enum command_kind kind, struct mjob *job)
{
    struct call *call = rig_call(kind, job->tenant, job->id);
    if (kind == CMD_GET_JOB) {
        call->cmd.args.get.include_attempts = below(h, 2) == 0;
    } else if (kind == CMD_GET_RESULT && below(h, 2) == 0) {
        call->cmd.args.get.wait_ms = 1 + below(h, 3000);
    }
    (void)model_send(&h->model, call, job, NULL, 0);
}

/* A job that is asked about or changed is mostly one that exists. */
static struct mjob *likely_job(struct history *h)
{
    return below(h, 3) != 0 ? h->model.jobs[below(h, (uint32_t)h->model.job_count)] : some_job(h);
}

/* --- what the world does --- */

static void open_wait(struct history *h)
{
    for (int i = 0; i < 100 && !rig_is_open(h->rig); i++) {
        const struct shard *shard = shard_rig_of(h->rig)->shard;
        if (shard_status(shard) == SHARD_FAILED && !shard->reopen && !shard->doubt) {
            rig_kill(h->rig, RIG_LOSE); /* an opening that failed is the server's to repeat */
            rig_start(h->rig);
        } else if (shard_status(shard) == SHARD_FENCED && shard->control == NULL) {
            shard_rig_reopen(h->rig);
        }
        rig_pass(h->rig, 500);
    }
    if (!rig_is_open(h->rig)) {
        (void)snprintf(h->model.error, sizeof h->model.error, "the shard does not open");
    }
}

static void crash_note(const struct history *h)
{
    const struct incarnation *inc = shard_rig_of(h->rig)->shard->inc;
    if (inc == NULL || inc->phase != INC_OPEN) {
        return;
    }
    const struct view *view = core_view(inc->core);
    const struct batch *first = LIST_ENTRY(list_first(&inc->batches), struct batch, node);
    seen.crash_open += view->open_rows != 0;
    seen.crash_written += inc->writes != 0;
    seen.crash_applied += view->applied > view->durable;
    seen.crash_durable +=
        first != NULL && first->applied &&
        first->seq <= store_mem_durable_seq(shard_rig_of(h->rig)->store, RIG_PATH);
}

static void restart(struct history *h)
{
    const bool lasting = h->model.troubled;
    model_trouble(&h->model);
    h->model.troubled = true;
    if (below(h, 4) == 0 && rig_is_open(h->rig) && !h->outage) {
        const enum silo_code code = rig_stop(h->rig);
        if (code != SILO_OK && !h->faulty) {
            (void)snprintf(h->model.error, sizeof h->model.error, "closing failed");
        }
    } else {
        crash_note(h);
        rig_kill(h->rig, (enum rig_survival)below(h, 3));
    }
    model_check_durable(&h->model);
    h->rig->mono_us += below(h, 5000) * 1000;
    if (below(h, 6) == 0) {
        h->model.audit.wall_fell = true;
        h->rig->wall_ms -= below(h, 20000);
    }
    rig_start(h->rig);
    if (h->outage) {
        store_mem_outage(shard_rig_of(h->rig)->store, 0, NULL);
        h->outage = false;
    }
    if (below(h, 4) != 0) {
        open_wait(h);
        model_trouble(&h->model);
        h->model.troubled = lasting;
    }
}

static void trouble(struct history *h)
{
    model_trouble(&h->model);
    h->model.troubled = true;
    static const enum store_mem_kind kinds[] = {STORE_MEM_MGET,  STORE_MEM_SCAN,    STORE_MEM_WRITE,
                                                STORE_MEM_FLUSH, STORE_MEM_REFRESH, STORE_MEM_OPEN};
    switch (below(h, 4)) {
    case 0:
        if (h->outage) {
            return; /* nobody else gets in */
        }
        seen.fences++;
        shard_rig_fence(h->rig);
        if (below(h, 2) == 0) {
            store_mem_notice_fences(shard_rig_of(h->rig)->store);
        }
        return;
    case 1:
        seen.outages++;
        h->outage = !h->outage;
        if (below(h, 2) == 0) {
            store_mem_outage(shard_rig_of(h->rig)->store, h->outage ? STORE_MEM_REMOTE : 0, "away");
        } else {
            store_mem_trouble(shard_rig_of(h->rig)->store,
                              h->outage ? STORE_MEM_BIT(STORE_MEM_FLUSH) : 0,
                              "no space left on device: s");
        }
        return;
    default:
        seen.faults++;
        store_mem_fail(
            shard_rig_of(h->rig)->store,
            &(struct store_mem_fault){.kind = kinds[below(h, 6)],
                                      .nth = 1 + below(h, 4),
                                      .times = 1 + below(h, 3),
                                      .code = below(h, 3) == 0 ? SILO_CONFLICT : SILO_UNAVAILABLE,
                                      .effect = below(h, 2) == 0});
        return;
    }
}

static void time_passes(struct history *h)
{
    static const uint32_t spans[] = {1, 10, 100, 1000, 3000, 11000};
    rig_pass(h->rig, 1 + below(h, spans[below(h, 6)]));
    if (below(h, 10) == 0) {
        const int64_t jump = (int64_t)below(h, 20000) - (below(h, 2) == 0 ? 5000 : 0);
        h->model.audit.wall_fell |= jump < 0; /* seen by the next life of the shard */
        h->rig->wall_ms += jump;
    }
}

static void step(struct history *h)
{
    const uint32_t what = below(h, 100);
    if (what < 22) {
        do_enqueue(h, false, false);
    } else if (what < 24) {
        do_bulk(h);
    } else if (what < 42) {
        do_some_poll(h);
    } else if (what < 56) {
        static const enum attempt_status ends[] = {
            ATTEMPT_SUCCEEDED, ATTEMPT_FAILED, ATTEMPT_FAILED, ATTEMPT_FAILED, ATTEMPT_CANCELLED};
        do_report(h, some_task(h), ends[below(h, 5)]);
    } else if (what < 60) {
        do_heartbeat(h);
    } else if (what < 63) {
        do_give_back(h);
    } else if (what < 68) {
        do_on_job(h, CMD_CANCEL_JOB, likely_job(h));
    } else if (what < 75) {
        do_on_job(h, CMD_DELETE_JOB, likely_job(h));
    } else if (what < 81) {
        do_on_job(h, below(h, 2) == 0 ? CMD_GET_JOB : CMD_GET_RESULT, likely_job(h));
    } else if (what < 83) {
        do_poll_stop(h);
    } else if (what < 94) {
        time_passes(h);
    } else if (what < 97) {
        restart(h);
    } else if (h->faulty) {
        trouble(h);
    }
    switch (below(h, 4)) {
    case 0:
        break;
    case 1:
        for (uint32_t i = 1 + below(h, 5); i != 0; i--) {
            rig_step(h->rig);
        }
        break;
    default:
        rig_settle(h->rig);
        break;
    }
}

/* --- the end of a history --- */

static void recover(struct history *h)
{
    store_mem_faults_clear(shard_rig_of(h->rig)->store);
    store_mem_outage(shard_rig_of(h->rig)->store, 0, NULL);
    h->outage = false;
    store_mem_notice_fences(shard_rig_of(h->rig)->store);
    for (int i = 0; i < 3; i++) { /* what failed before is still noticed */
        open_wait(h);
        rig_pass(h->rig, 6000);
    }
    open_wait(h);
    model_trouble(&h->model);
    h->model.troubled = false;
}

static uint64_t open_jobs(const struct history *h)
{
    uint64_t count = 0;
    for (size_t i = 0; i < h->model.audit.job_count; i++) {
        count += !job_status_terminal(h->model.audit.jobs[i].status);
    }
    return count;
}

/* Workers take all there is and succeed; everything must end. */
static void drain(struct history *h)
{
    for (int round = 0; round < DRAIN_ROUNDS && open_jobs(h) != 0 && !failed(h); round++) {
        const size_t known = h->model.task_count;
        for (int g = 0; g < GROUPS; g++) {
            char group[16];
            (void)snprintf(group, sizeof group, "g%d", g);
            do_poll(h, group, 100, 0);
        }
        rig_pass(h->rig, 50);
        for (size_t i = known; i < h->model.task_count; i++) {
            do_report(h, h->model.tasks[i], ATTEMPT_SUCCEEDED);
        }
        rig_pass(h->rig, 3000);
    }
    if (open_jobs(h) != 0 && !failed(h)) {
        (void)snprintf(h->model.error, sizeof h->model.error, "SE13: %llu jobs do not end",
                       (unsigned long long)open_jobs(h));
    }
}

static void totals_check(struct history *h)
{
    struct call *call = rig_call(CMD_TOTALS, NULL, NULL);
    rig_send(h->rig, call);
    rig_pass(h->rig, 2000);
    const struct counts *counts = &call->cmd.result.totals.counts;
    const uint64_t all = counts->open + counts->succeeded + counts->failed + counts->cancelled;
    if (!call->done || call->cmd.rc.code != SILO_OK || all != h->model.audit.job_count ||
        counts->open != open_jobs(h)) {
        (void)snprintf(h->model.error, sizeof h->model.error,
                       "the totals are not those of the rows");
    }
    rig_call_free(call);
    const struct core_stats stats = core_stats(rig_core(h->rig));
    if (stats.corrupt_rows != 0) {
        (void)snprintf(h->model.error, sizeof h->model.error, "the core met corrupt rows");
    }
}

static void delete_all(struct history *h)
{
    for (size_t i = 0; i < h->model.job_count; i++) {
        do_on_job(h, CMD_DELETE_JOB, h->model.jobs[i]);
    }
    rig_pass(h->rig, 2000);
    model_check_durable(&h->model);
    if (!failed(h) && !audit_empty(&h->model.audit)) {
        (void)snprintf(h->model.error, sizeof h->model.error,
                       "all jobs were deleted, and rows are left");
    }
}

static void history_end(struct history *h)
{
    recover(h);
    if (!failed(h)) {
        model_check_durable(&h->model);
    }
    if (!failed(h)) {
        drain(h);
    }
    if (!failed(h)) {
        totals_check(h);
        delete_all(h);
    }
    for (size_t i = 0; i < h->model.call_count && !failed(h); i++) {
        if (!h->model.calls[i]->call->done) {
            rig_pass(h->rig, 5000);
            if (!h->model.calls[i]->call->done) {
                (void)snprintf(h->model.error, sizeof h->model.error,
                               "a call of kind %d was never answered",
                               (int)h->model.calls[i]->call->cmd.kind);
            }
        }
    }
}

static struct shard_rig_options history_options(uint64_t seed)
{
    uint64_t r = seed * 0x9e3779b97f4a7c15ULL;
    r ^= r >> 29;
    struct shard_rig_options options = {
        .seed = seed,
        .order = r % 4 == 0 ? ORDER_START : ORDER_PRIORITY,
        .flush_spacing_ms = (r >> 4) % 3 == 0 ? 20 : 0,
        .wal_objects_max = (r >> 8) % 3 == 0 ? 3 : 256,
        .store = {.manual = true,
                  .seed = seed,
                  .shuffle = (r >> 12) % 2 == 0,
                  .reads_at_start = (r >> 16) % 2 == 0},
    };
    if ((r >> 20) % 2 == 0) {
        for (int kind = 0; kind < STORE_MEM_KINDS; kind++) {
            options.store.delays[kind] =
                (struct store_mem_delay){.turns = (uint32_t)((r >> (24 + kind)) % 4),
                                         .ms_max = (int64_t)((r >> (32 + kind)) % 3) * 15};
        }
    }
    return options;
}

/* Returns a hash of all that was written and answered. */
static uint64_t history_run(uint64_t seed, char *ret_error, size_t error_size)
{
    const struct shard_rig_options options = history_options(seed);
    struct history h = {.rig = shard_rig_new(&options), .faulty = seed % 2 == 0};
    model_init(&h.model, h.rig, &seen);
    (void)some_job(&h);
    h.model.troubled = true;
    rig_start(h.rig);
    if (seed % 3 != 0) {
        open_wait(&h);
        model_trouble(&h.model);
        h.model.troubled = false;
    }
    const uint32_t steps = seed % 50 == 49 ? STEPS_LONG : STEPS;
    for (uint32_t i = 0; i < steps && !failed(&h); i++) {
        step(&h);
    }
    if (!failed(&h)) {
        history_end(&h);
    }
    struct store_mem_counts counts;
    store_mem_counts(shard_rig_of(h.rig)->store, &counts);
    seen.pages += counts.calls[STORE_MEM_SCAN];
    const uint64_t hash = shard_rig_of(h.rig)->write_hash ^ h.model.answer_hash;
    (void)snprintf(ret_error, error_size, "%s", h.model.error);
    h.model.error[0] = '!'; /* what comes now is not looked at */
    rig_free(h.rig);
    model_deinit(&h.model);
    return hash;
}

static uint64_t env_number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL && text[0] != '\0' ? strtoull(text, NULL, 10) : otherwise;
}

static void test_histories(void **state)
{
    (void)state;
    const uint64_t first = env_number("SILO_SEED", PROPERTY_SEED);
    const uint64_t count =
        env_number("SILO_SEQUENCES", getenv("SILO_SEED") != NULL ? 1 : PROPERTY_SEQUENCES);
    char error[700];
    for (uint64_t seed = first; seed - first < count; seed++) {
        (void)history_run(seed, error, sizeof error);
        if (error[0] != '\0') {
            print_error("SILO_SEED=%llu: %s\n", (unsigned long long)seed, error);
            fail();
        }
    }
    print_message("%llu batches, %llu leases, %llu retries, %llu expiries, %llu ends, "
                  "%llu answers (%llu unknown), %llu facts, %llu waits, %llu pages, %llu faults, "
                  "%llu fences, %llu outages; crashes with rows open %llu, written %llu, "
                  "applied %llu, durable %llu\n",
                  (unsigned long long)seen.batches, (unsigned long long)seen.leases,
                  (unsigned long long)seen.retries, (unsigned long long)seen.expiries,
                  (unsigned long long)seen.ends, (unsigned long long)seen.answers,
                  (unsigned long long)seen.unknown, (unsigned long long)seen.facts,
                  (unsigned long long)seen.waits, (unsigned long long)seen.pages,
                  (unsigned long long)seen.faults, (unsigned long long)seen.fences,
                  (unsigned long long)seen.outages, (unsigned long long)seen.crash_open,
                  (unsigned long long)seen.crash_written, (unsigned long long)seen.crash_applied,
                  (unsigned long long)seen.crash_durable);
    if (count >= 1000) {
        assert_true(seen.leases > count && seen.retries != 0 && seen.expiries != 0 &&
                    seen.facts > count);
        assert_true(seen.crash_open != 0 && seen.crash_written != 0 && seen.crash_applied != 0 &&
                    seen.crash_durable != 0);
    }
}

static void test_same_seed(void **state)
{
    (void)state;
    char error[700];
    for (uint64_t seed = PROPERTY_SEED; seed < PROPERTY_SEED + 100; seed++) {
        const uint64_t once = history_run(seed, error, sizeof error);
        const uint64_t twice = history_run(seed, error, sizeof error);
        if (once != twice) {
            fail_msg("seed %llu gave two histories", (unsigned long long)seed);
        }
    }
}

int main(void)
{
    log_init(2, false, LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_histories),
        cmocka_unit_test(test_same_seed),
    };
    return cmocka_run_group_tests_name("shard properties", tests, NULL, NULL);
}
