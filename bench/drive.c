/* bench/drive.c - producers and workers on the loop, see drive.h. */
#include "drive.h"

#include <stdlib.h>
#include <string.h>

#define PAUSE_EMPTY_US 1000  /* after an empty poll that did not wait */
#define PAUSE_ERROR_US 50000 /* after a call that failed: an error must show, not spin */
#define CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

struct worker {
    struct load *load;
    struct call poll;
    struct call **reports; /* grown when one poll brought more */
    uint32_t report_count, reports_open, index;
    struct rpc_timer pause;
    char id[48], group[64];
};

static bool has_free(const struct load *load)
{
    return load->options.jobs_max == 0 || load->sent < load->options.jobs_max;
}

/* --- producers --- */

static void job_fill(struct load *load, uint64_t n, int64_t stamp_us, Silo__V1__EnqueueRequest *job)
{
    const struct load_options *o = &load->options;
    silo__v1__enqueue_request__init(job);
    job->priority = 50;
    job->task_group = lend(o->group);
    job->payload = blob_new(&load->arena, o->payload, stamp_us);
    if (load->bench->tenancy) {
        job->tenant_opt_case = SILO__V1__ENQUEUE_REQUEST__TENANT_OPT_TENANT;
        job->tenant = lend(load->bench->options.prefix);
    }
    if (o->fill != NULL) {
        o->fill(load, n, &load->arena, job);
    }
    if (!load->bench->tenancy) {
        job->tenant_opt_case = SILO__V1__ENQUEUE_REQUEST__TENANT_OPT__NOT_SET;
    }
}

static void producer_send(struct producer *producer, int64_t start_us)
{
    struct load *load = producer->load;
    const struct load_options *o = &load->options;
    const int64_t now = start_us != 0 ? start_us : env_mono_us(&env_system);
    uint32_t n = o->bulk;
    if (o->jobs_max != 0 && o->jobs_max - load->sent < n) {
        n = (uint32_t)(o->jobs_max - load->sent);
    }
    arena_reset(&load->arena);
    Silo__V1__EnqueueRequest *jobs = arena_alloc(&load->arena, n * sizeof *jobs);
    Silo__V1__EnqueueRequest **list = arena_alloc(&load->arena, n * sizeof *list);
    for (uint32_t i = 0; i < n; i++) {
        job_fill(load, load->sent + i, now, &jobs[i]);
        list[i] = &jobs[i];
    }
    const char *tenant = load->bench->tenancy ? jobs[0].tenant : NULL;
    const char *shard = bench_shard(load->bench, tenant, load->sent / o->bulk);
    producer->jobs = n;
    load->sent += n;
    if (o->bulk == 1) {
        jobs[0].shard = lend(shard);
        call_send(&producer->call, SILO_PATH("Enqueue"), &jobs[0], start_us);
        return;
    }
    Silo__V1__EnqueueManyRequest m = SILO__V1__ENQUEUE_MANY_REQUEST__INIT;
    m.shard = lend(shard);
    m.n_jobs = n;
    m.jobs = list;
    call_send(&producer->call, SILO_PATH("EnqueueMany"), &m, start_us);
}

static int64_t arrival_due_us(const struct load *load)
{
    const double every_us = 1e6 * (double)load->options.bulk / load->options.rate;
    return load->started_us + (int64_t)((double)load->arrivals * every_us);
}

static void arrival_await(struct load *load, int64_t due_us, int64_t now_us)
{
    const bool sparse = 1e6 * (double)load->options.bulk / load->options.rate >= SPARSE_US;
    if (!sparse || due_us - now_us > EARLY_US) {
        rpc_timer_start(load->bench->loop, &load->arrival, sparse ? due_us - EARLY_US : due_us);
    } else if (!load->arrival_posted) {
        load->arrival_posted = true;
        rpc_loop_post(load->bench->loop, &load->arrival_soon);
    }
}

/* Sends every arrival that is due and for which a producer is free; then sleeps until the next. */
static void arrivals_send(struct load *load)
{
    while (load->producing && has_free(load) && load->idle_count != 0) {
        const int64_t due = arrival_due_us(load);
        const int64_t now = env_mono_us(&env_system);
        if (due > now) {
            arrival_await(load, due, now);
            return;
        }
        load->late += now - due > LATE_US ? 1 : 0;
        load->arrivals++;
        load->producers_busy++;
        producer_send(&load->producers[load->idle[--load->idle_count]], due);
    }
}

static void arrival_fire(struct rpc_timer *timer)
{
    arrivals_send(CONTAINER(timer, struct load, arrival));
}

static void arrival_soon_run(struct rpc_mail *mail)
{
    struct load *load = CONTAINER(mail, struct load, arrival_soon);
    load->arrival_posted = false;
    if (!load->bench->closing) {
        arrivals_send(load);
    }
}

void producer_next(struct producer *producer)
{
    struct load *load = producer->load;
    if (load->options.rate > 0) {
        load->producers_busy--;
        load->idle[load->idle_count++] = producer->index;
        arrivals_send(load);
        return;
    }
    if (load->producing && has_free(load)) {
        producer_send(producer, 0);
    } else {
        load->producers_busy--;
    }
}

/* Counts the results of an EnqueueMany. */
static void take_many(struct producer *producer)
{
    struct load *load = producer->load;
    const struct rpc_request *request = &producer->call.request;
    Silo__V1__EnqueueManyResponse *m =
        silo__v1__enqueue_many_response__unpack(NULL, request->reply.len, request->reply.ptr);
    uint32_t good = 0;
    for (size_t i = 0; m != NULL && i < m->n_results; i++) {
        good += m->results[i]->code == 0 ? 1 : 0;
        if (m->results[i]->code != 0 && load->refused == 0 && load->bench->first_error[0] == '\0') {
            (void)snprintf(load->bench->first_error, sizeof load->bench->first_error,
                           "EnqueueMany, one job: %s", m->results[i]->message);
        }
    }
    if (m != NULL) {
        silo__v1__enqueue_many_response__free_unpacked(m, NULL);
    }
    load->enqueued += good;
    load->refused += producer->jobs - good;
    load->bench->errors += producer->jobs - good;
}

static void producer_done(struct call *call)
{
    struct producer *producer = call->owner;
    struct load *load = producer->load;
    load->last_enqueued_us = call->end_us;
    if (load->options.bulk != 1) {
        take_many(producer);
    } else {
        load->enqueued++;
        if (load->options.enqueued != NULL) {
            Silo__V1__EnqueueResponse *m = silo__v1__enqueue_response__unpack(
                NULL, call->request.reply.len, call->request.reply.ptr);
            const bool taken = m != NULL && load->options.enqueued(load, producer, m->id);
            if (m != NULL) {
                silo__v1__enqueue_response__free_unpacked(m, NULL);
            }
            if (taken) {
                return;
            }
        }
    }
    producer_next(producer);
}

static void producer_pause_fire(struct rpc_timer *timer)
{
    producer_next(CONTAINER(timer, struct producer, pause));
}

static void producer_failed(struct call *call)
{
    struct producer *producer = call->owner;
    call_count_error(call);
    producer->load->refused += producer->jobs;
    rpc_timer_start(call->bench->loop, &producer->pause, call->end_us + PAUSE_ERROR_US);
}

/* --- workers --- */

static void *reply_alloc(void *data, size_t size)
{
    return arena_alloc(data, size);
}

static void reply_free(void *data, void *ptr)
{
    (void)data;
    (void)ptr; /* the arena goes at once */
}

static void worker_poll(struct worker *worker)
{
    struct load *load = worker->load;
    const struct load_options *o = &load->options;
    if (!load->consuming) {
        load->workers_busy--;
        return;
    }
    Silo__V1__LeaseTasksRequest m = SILO__V1__LEASE_TASKS_REQUEST__INIT;
    m.worker_id = worker->id;
    m.max_tasks = o->batch;
    m.wait_ms = o->wait_ms;
    m.task_group = worker->group;
    const struct bench *bench = load->bench;
    if (bench->shard_count == 1 || o->wait_ms == 0) { /* a waiting poll asks all shards */
        m.shard_opt_case = SILO__V1__LEASE_TASKS_REQUEST__SHARD_OPT_SHARD;
        m.shard = lend(bench_shard(bench, NULL, bench->shard_count == 1 ? 0 : bench_random()));
    }
    if (o->workers < bench->serving_count) {
        worker->poll.place++; /* each node has its turn */
    }
    load->polls++;
    call_send(&worker->poll, SILO_PATH("LeaseTasks"), &m, 0);
}

static void worker_pause_fire(struct rpc_timer *timer)
{
    worker_poll(CONTAINER(timer, struct worker, pause));
}

static void worker_failed(struct call *call)
{
    struct worker *worker = call->owner;
    call_count_error(call);
    rpc_timer_start(call->bench->loop, &worker->pause, call->end_us + PAUSE_ERROR_US);
}

static void completed_add(struct load *load, uint64_t n, int64_t now_us)
{
    const uint64_t of = load->options.tenths_of;
    for (uint64_t i = 0; of != 0 && i < n; i++) {
        const uint64_t done = load->completed + i + 1;
        if (done <= of && done * LOAD_TENTHS % of < LOAD_TENTHS) {
            load->tenths_us[done * LOAD_TENTHS / of] = now_us;
        }
    }
    load->completed += n;
    load->last_completed_us = now_us;
}

static void report_over(struct worker *worker)
{
    if (--worker->reports_open == 0) {
        worker_poll(worker);
    }
}

static void report_done(struct call *call)
{
    struct worker *worker = call->owner;
    struct load *load = worker->load;
    completed_add(load, 1, call->end_us);
    if (load->options.completed != NULL) {
        load->options.completed(load, call->tag);
    }
    if (load->options.reported != NULL) {
        load->options.reported(load, worker->index, call->start_us, call->end_us);
    }
    report_over(worker);
}

static void reports_done(struct call *call)
{
    struct worker *worker = call->owner;
    struct load *load = worker->load;
    Silo__V1__ReportOutcomesResponse *m = silo__v1__report_outcomes_response__unpack(
        NULL, call->request.reply.len, call->request.reply.ptr);
    uint64_t good = 0;
    for (size_t i = 0; m != NULL && i < m->n_results; i++) {
        good += m->results[i]->code == 0 ? 1 : 0;
        load->bench->errors += m->results[i]->code == 0 ? 0 : 1;
    }
    if (m != NULL) {
        silo__v1__report_outcomes_response__free_unpacked(m, NULL);
    }
    completed_add(load, good, call->end_us);
    if (load->options.reported != NULL) {
        load->options.reported(load, worker->index, call->start_us, call->end_us);
    }
    report_over(worker);
}

static void refresh_done(struct call *call)
{
    struct worker *worker = call->owner;
    worker->load->refreshes++;
    report_over(worker);
}

static void report_failed(struct call *call)
{
    if (call->done == report_done && call_was_done(call)) {
        report_done(call);
        return;
    }
    call_count_error(call);
    report_over(call->owner);
}

/* The next report call of the worker, not under way. */
static struct call *report_call(struct worker *worker, struct series *series,
                                void (*done)(struct call *call))
{
    if (worker->reports_open == worker->report_count) {
        worker->report_count = worker->report_count != 0 ? 2 * worker->report_count : 1;
        worker->reports = xrealloc(worker->reports, worker->report_count * sizeof(struct call *));
        for (uint32_t i = worker->reports_open; i < worker->report_count; i++) {
            worker->reports[i] = xcalloc(1, sizeof(struct call));
        }
    }
    struct call *call = worker->reports[worker->reports_open++];
    call->bench = worker->load->bench;
    call->place = worker->poll.place;
    call->owner = worker;
    call->series = series;
    call->done = done;
    call->failed = report_failed;
    return call;
}

static void report_init(const Silo__V1__Task *task, Silo__V1__ReportOutcomeRequest *m)
{
    silo__v1__report_outcome_request__init(m);
    m->shard = task->shard;
    m->task_id = task->id;
    m->outcome_case = SILO__V1__REPORT_OUTCOME_REQUEST__OUTCOME_SUCCESS;
    m->success = blob_true();
    if (task->tenant_id_opt_case == SILO__V1__TASK__TENANT_ID_OPT_TENANT_ID) {
        m->tenant_id_opt_case = SILO__V1__REPORT_OUTCOME_REQUEST__TENANT_ID_OPT_TENANT_ID;
        m->tenant_id = task->tenant_id;
    }
}

static void refresh_send(struct worker *worker, const Silo__V1__RefreshFloatingLimitTask *task)
{
    const struct load_options *o = &worker->load->options;
    Silo__V1__RefreshSuccess success = SILO__V1__REFRESH_SUCCESS__INIT;
    Silo__V1__RefreshFailure failure = SILO__V1__REFRESH_FAILURE__INIT;
    Silo__V1__ReportRefreshOutcomeRequest m = SILO__V1__REPORT_REFRESH_OUTCOME_REQUEST__INIT;
    m.shard = task->shard;
    m.task_id = task->id;
    if (bench_random_below(100) < o->refresh_fail_percent) {
        failure.code = lend("SIMULATED");
        failure.message = lend("as asked for");
        m.outcome_case = SILO__V1__REPORT_REFRESH_OUTCOME_REQUEST__OUTCOME_FAILURE;
        m.failure = &failure;
    } else {
        const uint32_t base =
            o->float_default != 0 ? o->float_default : task->current_max_concurrency;
        const uint32_t least =
            base / 2 != 0 ? base / 2 : 1; /* none at all would only stop the queue */
        success.new_max_concurrency =
            least + (uint32_t)bench_random_below(2 * (uint64_t)base - least + 1);
        m.outcome_case = SILO__V1__REPORT_REFRESH_OUTCOME_REQUEST__OUTCOME_SUCCESS;
        m.success = &success;
    }
    if (task->tenant_id_opt_case ==
        SILO__V1__REFRESH_FLOATING_LIMIT_TASK__TENANT_ID_OPT_TENANT_ID) {
        m.tenant_id_opt_case = SILO__V1__REPORT_REFRESH_OUTCOME_REQUEST__TENANT_ID_OPT_TENANT_ID;
        m.tenant_id = task->tenant_id;
    }
    struct series *series = bench_series(worker->load->bench, "refresh");
    call_send(report_call(worker, series, refresh_done), SILO_PATH("ReportRefreshOutcome"), &m, 0);
}

static void tasks_report_many(struct worker *worker, Silo__V1__Task **tasks, size_t count)
{
    struct load *load = worker->load;
    struct arena *arena = &load->reply_arena;
    Silo__V1__ReportOutcomeRequest *items = arena_alloc(arena, count * sizeof *items);
    Silo__V1__ReportOutcomeRequest **list = arena_alloc(arena, count * sizeof *list);
    size_t begin = 0; /* one call for each run of tasks of one shard */
    while (begin < count) {
        size_t n = 0;
        while (begin + n < count && strcmp(tasks[begin]->shard, tasks[begin + n]->shard) == 0) {
            report_init(tasks[begin + n], &items[n]);
            list[n] = &items[n];
            n++;
        }
        Silo__V1__ReportOutcomesRequest m = SILO__V1__REPORT_OUTCOMES_REQUEST__INIT;
        m.shard = tasks[begin]->shard;
        m.n_outcomes = n;
        m.outcomes = list;
        call_send(report_call(worker, load->report_series, reports_done),
                  SILO_PATH("ReportOutcomes"), &m, 0);
        begin += n;
    }
}

static void tasks_take(struct worker *worker, Silo__V1__LeaseTasksResponse *m, int64_t now_us)
{
    struct load *load = worker->load;
    load->leased += m->n_tasks;
    for (size_t i = 0; i < m->n_refresh_tasks; i++) {
        refresh_send(worker, m->refresh_tasks[i]);
    }
    for (size_t i = 0; i < m->n_tasks; i++) {
        const int64_t stamp = blob_stamp(m->tasks[i]->payload);
        if (stamp != 0) {
            series_add(load->start_series, now_us - stamp);
        }
        if (load->options.leased != NULL) {
            load->options.leased(load, worker->index, m->tasks[i], now_us);
        }
    }
    if (load->options.keep) {
        if (m->n_refresh_tasks == 0) {
            worker_poll(worker);
        }
        return;
    }
    if (load->options.report_many && m->n_tasks != 0) {
        tasks_report_many(worker, m->tasks, m->n_tasks);
        return;
    }
    for (size_t i = 0; i < m->n_tasks; i++) {
        Silo__V1__ReportOutcomeRequest report;
        report_init(m->tasks[i], &report);
        struct call *call = report_call(worker, load->report_series, report_done);
        call->tag = load->options.tag != NULL ? load->options.tag(m->tasks[i]) : 0;
        call_send(call, SILO_PATH("ReportOutcome"), &report, 0);
    }
}

static void worker_polled(struct call *call)
{
    struct worker *worker = call->owner;
    struct load *load = worker->load;
    arena_reset(&load->reply_arena);
    ProtobufCAllocator allocator = {
        .alloc = reply_alloc, .free = reply_free, .allocator_data = &load->reply_arena};
    Silo__V1__LeaseTasksResponse *m = silo__v1__lease_tasks_response__unpack(
        &allocator, call->request.reply.len, call->request.reply.ptr);
    if (m == NULL) {
        call_count_error(call);
    }
    if (m != NULL && m->n_tasks + m->n_refresh_tasks != 0) {
        tasks_take(worker, m, call->end_us);
        return;
    }
    load->empty_polls++;
    if (load->options.wait_ms == 0 && load->consuming) {
        rpc_timer_start(load->bench->loop, &worker->pause, call->end_us + PAUSE_EMPTY_US);
    } else {
        worker_poll(worker);
    }
}

/* --- the main thread's side --- */

static struct series *series_named(struct bench *bench, const char *prefix, const char *name)
{
    char text[48];
    (void)snprintf(text, sizeof text, "%s%s", prefix, name);
    return bench_series(bench, text);
}

static void worker_init(struct load *load, uint32_t i)
{
    const struct load_options *o = &load->options;
    struct worker *worker = &load->workers[i];
    worker->load = load;
    worker->index = i;
    worker->pause.fire = worker_pause_fire;
    (void)snprintf(worker->id, sizeof worker->id, "%s-%u",
                   o->worker_prefix != NULL ? o->worker_prefix : "bench", i);
    if (o->group_each) {
        (void)snprintf(worker->group, sizeof worker->group, "%s-%u", o->group, i);
    } else {
        (void)snprintf(worker->group, sizeof worker->group, "%s", o->group);
    }
    worker->poll = (struct call){.bench = load->bench,
                                 .place = i,
                                 .series = load->lease_series,
                                 .done = worker_polled,
                                 .failed = worker_failed,
                                 .owner = worker};
}

static void load_free(void *thing)
{
    struct load *load = thing;
    for (uint32_t i = 0; i < load->options.producers; i++) {
        call_deinit(&load->producers[i].call);
        call_deinit(&load->producers[i].extra);
    }
    for (uint32_t i = 0; i < load->options.workers; i++) {
        struct worker *worker = &load->workers[i];
        call_deinit(&worker->poll);
        for (uint32_t k = 0; k < worker->report_count; k++) {
            call_deinit(worker->reports[k]);
            free(worker->reports[k]);
        }
        free(worker->reports);
    }
    arena_deinit(&load->arena);
    arena_deinit(&load->reply_arena);
    free(load->producers);
    free(load->workers);
    free(load->idle);
    free(load);
}

struct load *load_new(struct bench *bench, const struct load_options *options)
{
    struct load *load = xcalloc(1, sizeof *load);
    load->bench = bench;
    load->options = *options;
    struct load_options *o = &load->options;
    o->bulk = o->bulk != 0 ? o->bulk : 1;
    o->group = o->group != NULL ? o->group : bench->options.group;
    const char *prefix = o->series_prefix != NULL ? o->series_prefix : "";
    load->enqueue_series = series_named(bench, prefix, "enqueue");
    load->lease_series = series_named(bench, prefix, "lease");
    load->report_series = series_named(bench, prefix, "report");
    load->start_series = series_named(bench, prefix, "enqueue to lease");
    (void)bench_series(bench, "refresh");
    arena_init(&load->arena);
    arena_init(&load->reply_arena);
    load->arrival.fire = arrival_fire;
    load->arrival_soon.run = arrival_soon_run;
    load->producers = xcalloc(o->producers + 1u, sizeof *load->producers);
    load->idle = xcalloc(o->producers + 1u, sizeof *load->idle);
    for (uint32_t i = 0; i < o->producers; i++) {
        struct producer *producer = &load->producers[i];
        *producer = (struct producer){.load = load, .index = i, .pause.fire = producer_pause_fire};
        producer->call = (struct call){.bench = bench,
                                       .place = i,
                                       .series = load->enqueue_series,
                                       .done = producer_done,
                                       .failed = producer_failed,
                                       .owner = producer};
    }
    load->workers = xcalloc(o->workers + 1u, sizeof *load->workers);
    for (uint32_t i = 0; i < o->workers; i++) {
        worker_init(load, i);
    }
    bench_free_later(bench, load_free, load);
    return load;
}

struct order {
    struct load *load;
    uint32_t count;
};

static void produce_run(void *context)
{
    const struct order *order = context;
    struct load *load = order->load;
    load->producing = true;
    load->started_us = env_mono_us(&env_system);
    load->arrivals = 0;
    load->idle_count = 0;
    load->producers_busy = order->count;
    for (uint32_t i = 0; i < order->count; i++) {
        producer_next(&load->producers[i]);
    }
}

static void consume_run(void *context)
{
    const struct order *order = context;
    struct load *load = order->load;
    load->consuming = true;
    load->workers_busy = order->count;
    for (uint32_t i = 0; i < order->count; i++) {
        worker_poll(&load->workers[i]);
    }
}

static void stop_producers_run(void *context)
{
    struct load *load = context;
    load->producing = false;
    rpc_timer_stop(load->bench->loop, &load->arrival);
}

static void stop_workers_run(void *context)
{
    struct load *load = context;
    load->consuming = false;
}

void load_produce(struct load *load, uint32_t producers)
{
    ASSERT(producers <= load->options.producers);
    struct order order = {load, producers};
    bench_on_loop(load->bench, produce_run, &order);
}

void load_consume(struct load *load, uint32_t workers)
{
    ASSERT(workers <= load->options.workers);
    struct order order = {load, workers};
    bench_on_loop(load->bench, consume_run, &order);
}

void load_stop_producers(struct load *load)
{
    bench_on_loop(load->bench, stop_producers_run, load);
}

void load_stop_workers(struct load *load)
{
    bench_on_loop(load->bench, stop_workers_run, load);
}

static bool all_enqueued(void *context)
{
    const struct load *load = context;
    return load->enqueued + load->refused >= load->options.jobs_max;
}

static bool producers_idle(void *context)
{
    const struct load *load = context;
    return load->producers_busy == 0;
}

static bool workers_idle(void *context)
{
    const struct load *load = context;
    return load->workers_busy == 0;
}

struct target {
    const struct load *load;
    uint64_t count;
};

static bool all_completed(void *context)
{
    const struct target *target = context;
    const struct load *load = target->load;
    return load->completed >= (target->count != 0 ? target->count : load->enqueued);
}

bool load_wait_enqueued(struct load *load, double seconds)
{
    return bench_wait(load->bench, seconds, all_enqueued, load);
}

bool load_wait_producers(struct load *load, double seconds)
{
    return bench_wait(load->bench, seconds, producers_idle, load);
}

bool load_wait_workers(struct load *load, double seconds)
{
    return bench_wait(load->bench, seconds, workers_idle, load);
}

bool load_wait_completed(struct load *load, uint64_t count, double seconds)
{
    struct target target = {load, count};
    return bench_wait(load->bench, seconds, all_completed, &target);
}

double load_enqueue_phase(struct load *load, const char *name, double seconds)
{
    struct bench *bench = load->bench;
    const uint64_t before_count = load->enqueued;
    bench_watch(bench, "enqueued", &load->enqueued, load->enqueue_series, NULL, NULL);
    const struct usage before = bench_usage(bench);
    load_produce(load, load->options.producers);
    const bool all = load_wait_enqueued(load, seconds);
    const double rate = bench_rate(bench, name, load->enqueued - before_count, &before);
    load_stop_producers(load);
    bench_check(bench, all && load->refused == 0, "%s: %llu of %llu jobs were enqueued", name,
                (unsigned long long)load->enqueued, (unsigned long long)load->options.jobs_max);
    return rate;
}

double load_drain_phase(struct load *load, const char *name, double seconds)
{
    struct bench *bench = load->bench;
    const uint64_t before_count = load->completed;
    bench_watch(bench, "completed", &load->completed, load->lease_series, &load->enqueued,
                &load->completed);
    const struct usage before = bench_usage(bench);
    load_consume(load, load->options.workers);
    const bool all = load_wait_completed(load, 0, seconds);
    const double rate = bench_rate(bench, name, load->completed - before_count, &before);
    load_stop_workers(load);
    bench_check(bench, all, "%s: %llu of %llu jobs were completed", name,
                (unsigned long long)load->completed, (unsigned long long)load->enqueued);
    return rate;
}

double load_tenth_facts(struct load *load, int64_t start_us)
{
    load->tenths_us[0] = start_us;
    const double each = (double)load->options.tenths_of / LOAD_TENTHS;
    double rates[LOAD_TENTHS] = {0};
    for (uint32_t i = 0; i < LOAD_TENTHS; i++) {
        const int64_t us = load->tenths_us[i + 1] - load->tenths_us[i];
        rates[i] = load->tenths_us[i + 1] != 0 && us > 0 ? each * 1e6 / (double)us : 0;
        bench_fact(load->bench, rates[i], "tenth_%u_jobs_per_s", i + 1);
    }
    const double ratio = rates[0] > 0 ? rates[LOAD_TENTHS - 1] / rates[0] : 0;
    bench_fact(load->bench, ratio, "last_tenth_against_first");
    return ratio;
}
