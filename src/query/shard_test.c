/* query/shard_test.c - what a real shard wrote, listed and compared with what was done. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/test.h"
#include "codec/limit.h"
#include "query/queues.h"
#include "query/rows_test.h"
#include "query/tenants.h"
#include "shard/shard_rig_test.h"

#define JOBS 2000u
#define TENANTS 3u

static const char *const tenants[TENANTS] = {"-", "acme", "acm"};
static const char *const colors[] = {"red", "redder", "blue"};

/* A job as it was driven. */
struct driven {
    const char *tenant;
    char id[16];
    bool deleted;
    enum job_shown status;
    int64_t enqueue_ms, changed_ms;
    const char *color;
    uint32_t attempts; /* recorded or running */
    struct uuid task_id;
};

struct world {
    struct rig *rig;
    struct store_queue *queue; /* the reader's */
    struct store_db *db;
    struct snapshot_reader reader;
    struct driven jobs[JOBS * 2];
    size_t count;
};

static void db_noted(void *context, struct store_db *db)
{
    ((struct world *)context)->db = db;
}

static struct world *world_new(void)
{
    struct world *world = xcalloc(1, sizeof *world);
    world->rig = shard_rig_new(&(struct shard_rig_options){.seed = 1});
    shard_rig_of(world->rig)->on_open = db_noted;
    shard_rig_of(world->rig)->context = world;
    rig_start(world->rig);
    rig_settle(world->rig);
    assert_true(rig_is_open(world->rig));
    assert_int_equal(shard_rig_of(world->rig)
                         ->real->queue_new(shard_rig_of(world->rig)->store, &world->queue, NULL)
                         .code,
                     SILO_OK);
    world->reader =
        (struct snapshot_reader){.env = &shard_rig_of(world->rig)->env, .queue = world->queue};
    return world;
}

static void world_free(struct world *world)
{
    shard_rig_of(world->rig)->real->queue_free(world->queue);
    close_all(world->rig);
    free(world);
}

static struct snapshot look(struct world *world)
{
    struct snapshot snapshot;
    rig_settle(world->rig);
    struct snapshot_options options = {0};
    assert_int_equal(
        shard_rig_of(world->rig)
            ->real->snapshot(world->db, world->queue, &options.snap, &options.seq, NULL)
            .code,
        SILO_OK);
    assert_int_equal(snapshot_open(&snapshot, &world->reader, &options, NULL).code, SILO_OK);
    return snapshot;
}

/* --- doing --- */

static void job_enqueue(struct world *world, struct driven *job, int64_t start_ms, uint32_t retries)
{
    struct buf pairs;
    struct call *call = rig_call(CMD_ENQUEUE, job->tenant, job->id);
    struct enqueue_args *args = &call->cmd.args.enqueue;
    buf_init(&pairs, 4096);
    item_append(&pairs, BYTES_LIT("color"));
    item_append(&pairs, bytes_str(job->color));
    args->info = (struct info){
        .priority = 5,
        .group = BYTES_LIT("g"),
        .requested_start_ms = start_ms,
        .metadata_count = 1,
        .metadata = buf_bytes(&pairs),
        .has_retry = retries != 0,
        .retry = {.retry_count = retries, .initial_ms = 100000, .factor = 2},
    };
    args->payload = BYTES_LIT("payload");
    assert_int_equal(finish(world->rig, call), SILO_OK);
    buf_deinit(&pairs);
    job->enqueue_ms = job->changed_ms = world->rig->wall_ms;
    job->status = start_ms > world->rig->wall_ms ? SHOWN_SCHEDULED : SHOWN_WAITING;
}

static void job_lease(struct world *world, struct driven *job)
{
    struct call *call = rig_call(CMD_LEASE_JOB, job->tenant, job->id);
    call->cmd.args.lease_job.worker_id = BYTES_LIT("w1");
    rig_do(world->rig, call);
    job->task_id = poll_task(call, 0)->task_id;
    rig_call_free(call);
    job->status = SHOWN_RUNNING;
    job->changed_ms = world->rig->wall_ms;
    job->attempts++;
}

static void job_report(struct world *world, struct driven *job, enum attempt_status how,
                       enum job_shown status)
{
    assert_int_equal(report(world->rig, &job->task_id, how), SILO_OK);
    job->status = status;
    job->changed_ms = world->rig->wall_ms;
}

static void job_cancel(struct world *world, struct driven *job)
{
    assert_int_equal(finish(world->rig, rig_call(CMD_CANCEL_JOB, job->tenant, job->id)), SILO_OK);
    job->status = SHOWN_CANCELLED;
    job->changed_ms = world->rig->wall_ms;
}

static void job_drop(struct world *world, struct driven *job)
{
    assert_int_equal(finish(world->rig, rig_call(CMD_DELETE_JOB, job->tenant, job->id)), SILO_OK);
    job->deleted = true;
}

/* Each kind of end in turn; some jobs share their milliseconds. */
static void job_drive(struct world *world, size_t i)
{
    struct driven *job = &world->jobs[world->count++];
    *job = (struct driven){.tenant = tenants[i % TENANTS], .color = colors[i / 10 % 3]};
    (void)snprintf(job->id, sizeof job->id, "job-%05u", (unsigned)(i * 7919 % 100003));
    const int64_t later_ms = world->rig->wall_ms + 1000000;
    if (i % 4 == 0) {
        rig_pass(world->rig, 3);
    }
    job_enqueue(world, job, i % 10 == 2 ? later_ms : 0, i % 10 == 8 ? 3 : 0);
    if (i % 10 >= 3 && i % 10 != 7) {
        job_lease(world, job);
    }
    switch (i % 10) {
    case 4:
    case 5:
        job_report(world, job, ATTEMPT_SUCCEEDED, SHOWN_SUCCEEDED);
        break;
    case 6:
        job_report(world, job, ATTEMPT_FAILED, SHOWN_FAILED);
        break;
    case 7:
        job_cancel(world, job);
        break;
    case 8:
        job_report(world, job, ATTEMPT_FAILED, SHOWN_SCHEDULED);
        break;
    case 9:
        job_report(world, job, ATTEMPT_SUCCEEDED, SHOWN_SUCCEEDED);
        job_drop(world, job);
        break;
    default: /* waiting, scheduled, running */
        break;
    }
}

/* --- what is expected --- */

static bool by_index_time; /* of the comparison: the index has open jobs at their enqueue */

static int64_t time_of(const struct driven *job)
{
    const bool open = job->status == SHOWN_WAITING || job->status == SHOWN_SCHEDULED ||
                      job->status == SHOWN_RUNNING;
    return by_index_time && open ? job->enqueue_ms : job->changed_ms;
}

static int newest_compare(const void *a, const void *b)
{
    const struct driven *x = *(const struct driven *const *)a;
    const struct driven *y = *(const struct driven *const *)b;
    const int64_t xt = time_of(x);
    const int64_t yt = time_of(y);
    return xt != yt ? (xt < yt) - (xt > yt) : strcmp(x->id, y->id);
}

static int id_compare(const void *a, const void *b)
{
    const struct driven *x = *(const struct driven *const *)a;
    const struct driven *y = *(const struct driven *const *)b;
    return strcmp(x->id, y->id);
}

static int color_compare(const void *a, const void *b)
{
    const struct driven *x = *(const struct driven *const *)a;
    const struct driven *y = *(const struct driven *const *)b;
    const int c = strcmp(x->color, y->color);
    return c != 0 ? c : strcmp(x->id, y->id);
}

static bool belongs(const struct driven *job, const struct jobs_query *query)
{
    if (job->deleted || !bytes_eq(bytes_str(job->tenant), query->tenant) ||
        (query->statuses != 0 && (query->statuses & SHOWN_BIT(job->status)) == 0)) {
        return false;
    }
    if (query->order != JOBS_BY_METADATA) {
        return true;
    }
    const struct bytes color = bytes_str(job->color);
    return query->value_is_start ? bytes_starts(color, query->value)
                                 : bytes_eq(color, query->value);
}

/* The text of the listing as it should be; malloc'd. */
static char *expected_text(struct world *world, const struct jobs_query *query)
{
    struct driven **found = xcalloc(world->count, sizeof(struct driven *));
    size_t count = 0;
    for (size_t i = 0; i < world->count; i++) {
        if (belongs(&world->jobs[i], query)) {
            found[count++] = &world->jobs[i];
        }
    }
    by_index_time = query->statuses != SHOWN_BIT(SHOWN_RUNNING);
    qsort(found, count, sizeof(struct driven *),
          query->order == JOBS_NEWEST  ? newest_compare
          : query->order == JOBS_BY_ID ? id_compare
                                       : color_compare);
    struct buf text;
    buf_init(&text, 4u << 20);
    for (size_t i = 0; i < count; i++) {
        buf_printf(&text, "%s/%s ", found[i]->tenant, found[i]->id);
    }
    buf_u8(&text, 0);
    free(found);
    return (char *)text.ptr;
}

#define QUERIES (TENANTS * (SHOWN_COUNT + 6u))

/* Every kind of listing. */
static struct jobs_query query_of(size_t i)
{
    struct jobs_query query = {.tenant = bytes_str(tenants[i % TENANTS]),
                               .name = BYTES_LIT("color")};
    const size_t kind = i / TENANTS;
    if (kind < SHOWN_COUNT) {
        query.statuses = SHOWN_BIT(kind);
    } else if (kind == SHOWN_COUNT + 1) {
        query.statuses = SHOWN_BIT(SHOWN_WAITING) | SHOWN_BIT(SHOWN_FAILED);
    } else if (kind == SHOWN_COUNT + 2) {
        query.order = JOBS_BY_ID;
    } else if (kind == SHOWN_COUNT + 3) {
        query.order = JOBS_BY_ID;
        query.statuses = SHOWN_BIT(SHOWN_RUNNING);
    } else if (kind > SHOWN_COUNT + 3) {
        query.order = JOBS_BY_METADATA;
        query.value = BYTES_LIT("red");
        query.value_is_start = kind == SHOWN_COUNT + 5;
    }
    return query;
}

static void check_jobs(struct world *world, struct snapshot *snapshot)
{
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < world->count; i++) {
        const struct driven *job = &world->jobs[i];
        struct job_row row;
        struct attempts_page page;
        arena_reset(&arena);
        const enum silo_code code =
            job_find(snapshot, bytes_str(job->tenant), bytes_str(job->id), &arena, &row, NULL).code;
        assert_int_equal(code, job->deleted ? SILO_NOT_FOUND : SILO_OK);
        if (job->deleted) {
            continue;
        }
        assert_int_equal(row.status, job->status);
        assert_int_equal(row.changed_ms, job->changed_ms);
        assert_int_equal(row.info.enqueue_ms, job->enqueue_ms);
        assert_int_equal(job_attempts_read(snapshot, &row, 0, 100, &arena, &page, NULL).code,
                         SILO_OK);
        assert_int_equal(page.count, job->attempts);
        if (job->attempts != 0) {
            assert_int_equal(page.rows[0].number, job->attempts);
            assert_true(uuid_eq(&page.rows[0].attempt.task_id, &job->task_id));
        }
    }
    arena_deinit(&arena);
}

static void check_counts(struct world *world, struct snapshot *snapshot)
{
    uint64_t expected[TENANTS][SHOWN_COUNT] = {0};
    for (size_t i = 0; i < world->count; i++) {
        for (size_t t = 0; t < TENANTS && !world->jobs[i].deleted; t++) {
            expected[t][world->jobs[i].status] += world->jobs[i].tenant == tenants[t];
        }
    }
    struct arena arena;
    arena_init(&arena);
    uint64_t running = 0;
    for (size_t t = 0; t < TENANTS; t++) {
        const uint64_t *e = expected[t];
        const struct tenants_query query = {
            .one_tenant = true, .tenant = bytes_str(tenants[t]), .with_running = true};
        struct tenants_page page;
        assert_int_equal(tenants_read(snapshot, &query, BYTES_NONE,
                                      &(struct page_limits){.rows_max = 10}, &arena, &page, NULL)
                             .code,
                         SILO_OK);
        assert_int_equal(page.count, 1);
        assert_int_equal(page.rows[0].counts.open,
                         e[SHOWN_WAITING] + e[SHOWN_SCHEDULED] + e[SHOWN_RUNNING]);
        assert_int_equal(page.rows[0].counts.succeeded, e[SHOWN_SUCCEEDED]);
        assert_int_equal(page.rows[0].counts.failed, e[SHOWN_FAILED]);
        assert_int_equal(page.rows[0].counts.cancelled, e[SHOWN_CANCELLED]);
        assert_int_equal(page.rows[0].running, e[SHOWN_RUNNING]);
        running += e[SHOWN_RUNNING];
    }
    struct shard_totals all;
    assert_int_equal(shard_totals_read(snapshot, &all, NULL).code, SILO_OK);
    assert_int_equal(all.running, running);
    arena_deinit(&arena);
}

static void every_listing_says_what_was_done(void **state)
{
    (void)state;
    struct world *world = world_new();
    char *old[QUERIES];
    for (size_t i = 0; i < JOBS; i++) {
        job_drive(world, i);
    }
    struct snapshot before = look(world);
    for (size_t i = 0; i < QUERIES; i++) {
        const struct jobs_query query = query_of(i);
        old[i] = expected_text(world, &query);
        assert_true(old[i][0] != '\0');
        jobs_check(&before, &query, old[i]);
    }
    check_jobs(world, &before);
    check_counts(world, &before);

    /* Much changes: running jobs end, others are cancelled or deleted, new ones come. */
    for (size_t i = 0; i < JOBS; i++) {
        struct driven *job = &world->jobs[i];
        if (job->status == SHOWN_RUNNING) {
            job_report(world, job, ATTEMPT_SUCCEEDED, SHOWN_SUCCEEDED);
        } else if (i % 10 == 1) {
            job_cancel(world, job);
        } else if (i % 10 == 4) {
            job_drop(world, job);
        }
    }
    rig_pass(world->rig, 5);
    for (size_t i = JOBS; i < JOBS + 200; i++) {
        job_drive(world, i);
    }
    struct snapshot after = look(world);
    before.reader = after.reader;
    for (size_t i = 0; i < QUERIES; i++) {
        const struct jobs_query query = query_of(i);
        char *text = jobs_text(&before, &query, 100, 0);
        assert_string_equal(text, old[i]);
        free(text);
        text = expected_text(world, &query);
        jobs_check(&after, &query, text);
        free(text);
        free(old[i]);
    }
    check_jobs(world, &after);
    check_counts(world, &after);
    snapshot_close(&before);
    snapshot_close(&after);
    world_free(world);
}

/* --- queues --- */

static void enqueue_limited(struct rig *rig, const char *id, uint8_t priority, const char *queue,
                            uint32_t max)
{
    struct buf items;
    struct call *call = rig_call(CMD_ENQUEUE, T, id);
    const struct limit_rec fixed = {.kind = LIMIT_CONCURRENCY, .key = bytes_str(queue), .max = max};
    buf_init(&items, 4096);
    limit_encode(&items, &call->arena, &fixed);
    struct enqueue_args *args = &call->cmd.args.enqueue;
    args->info = (struct info){.priority = priority,
                               .group = BYTES_LIT("g"),
                               .limit_count = 1,
                               .limits = buf_bytes(&items)};
    args->limits = &fixed;
    args->payload = BYTES_LIT("payload");
    assert_int_equal(finish(rig, call), SILO_OK);
    buf_deinit(&items);
}

static void check_queue(struct world *world, const char *queue, uint64_t holders,
                        const char *const *waiters, size_t waiters_count)
{
    struct snapshot s = look(world);
    const struct queue_scope scope = {
        .span = QUEUE_ONE, .tenant = BYTES_LIT(T), .queue = bytes_str(queue)};
    const struct page_limits limits = {.rows_max = 100};
    struct arena arena;
    struct queues_page queues;
    struct holders_page held;
    struct waiters_page found;
    arena_init(&arena);
    assert_int_equal(queues_read(&s, &scope, BYTES_NONE, &limits, &arena, &queues, NULL).code,
                     SILO_OK);
    assert_int_equal(queues.count, 1);
    assert_int_equal(queues.rows[0].holders, holders);
    assert_int_equal(queues.rows[0].waiters, waiters_count);
    assert_int_equal(holders_read(&s, &scope, BYTES_NONE, &limits, &arena, &held, NULL).code,
                     SILO_OK);
    assert_int_equal(held.count, holders);
    assert_int_equal(waiters_read(&s, &scope, BYTES_NONE, &limits, &arena, &found, NULL).code,
                     SILO_OK);
    assert_int_equal(found.count, waiters_count);
    for (size_t i = 0; i < waiters_count; i++) {
        assert_true(bytes_eq(found.rows[i].job_id, bytes_str(waiters[i])));
    }
    arena_deinit(&arena);
    snapshot_close(&s);
}

static void queues_of_a_shard(void **state)
{
    (void)state;
    static const struct {
        const char *id;
        uint8_t priority;
        uint32_t max;
    } jobs[] = {{"a", 50, 2}, {"b", 50, 2}, {"c", 50, 2}, {"d", 10, 1}, {"e", 20, 2}, {"f", 5, 2}};
    struct world *world = world_new();
    for (size_t i = 0; i < sizeof jobs / sizeof jobs[0]; i++) {
        enqueue_limited(world->rig, jobs[i].id, jobs[i].priority, "q", jobs[i].max);
    }
    enqueue_limited(world->rig, "x", 50, "other", 1);
    check_queue(world, "q", 2, (const char *const[]){"f", "d", "e", "c"}, 4);
    check_queue(world, "other", 1, NULL, 0);
    const struct uuid task = lease_one(world->rig, "a");
    assert_int_equal(report(world->rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    check_queue(world, "q", 2, (const char *const[]){"d", "e", "c"}, 3);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_listing_says_what_was_done),
        cmocka_unit_test(queues_of_a_shard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
