/*
 * shard/places_test.c - shards of one process that come and go: who has a place, who is visited,
 * what each has of its own.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/test.h"
#include "core/calls_test.h"
#include "shard/shard_int.h"
#include "store_mem/store_mem.h"

#define MANY_SHARDS 1000
#define RINGS 300 /* shards that come and go under load, one after the other */

/* --- a process by hand --- */

struct opened {
    char path[16];
    enum store_wal wal;
};

static struct {
    struct store *store;
    struct store_ops ops;
    const struct store_ops *real;
    struct env env;
    int64_t mono_us, wall_ms;
    uint64_t random;
    struct shards *shards;
    int64_t next_us;
    struct opened opened[8];
    size_t opened_count;
    struct shard_notice notices[8];
    size_t notice_count;
} p;

static int64_t now_wall_ms(void *context)
{
    (void)context;
    return p.wall_ms;
}

static int64_t now_mono_us(void *context)
{
    (void)context;
    return p.mono_us;
}

static void random_fill(void *context, void *ret_bytes, size_t len)
{
    (void)context;
    for (size_t i = 0; i < len; i++) {
        p.random = p.random * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)ret_bytes)[i] = (uint8_t)(p.random >> 56);
    }
}

static silo_rc open_noted(struct store *store, struct store_queue *queue,
                          const struct store_open_args *args, uint64_t token, struct silo_err *err)
{
    if (p.opened_count < sizeof p.opened / sizeof p.opened[0]) {
        struct opened *opened = &p.opened[p.opened_count++];
        (void)snprintf(opened->path, sizeof opened->path, "%s", args->path);
        opened->wal = args->wal;
    }
    return p.real->open(store, queue, args, token, err);
}

static void notice_noted(void *context, struct shard_notice *notice)
{
    (void)context;
    if (p.notice_count < sizeof p.notices / sizeof p.notices[0]) {
        p.notices[p.notice_count++] = *notice;
    }
    free(notice);
}

static void start(uint32_t executors)
{
    memset(&p, 0, sizeof p);
    p.wall_ms = RIG_WALL_MS;
    p.env = (struct env){.wall_ms = now_wall_ms, .mono_us = now_mono_us, .random = random_fill};
    p.store = store_mem_new(&(struct store_mem_options){.env = &p.env});
    p.real = store_ops_of(p.store);
    p.ops = *p.real;
    p.ops.open = open_noted;
    ((struct store_base *)p.store)->ops = &p.ops;
    const struct shards_options options = {.env = &p.env,
                                           .store = p.store,
                                           .executors = executors,
                                           .by_hand = true,
                                           .told = notice_noted};
    p.shards = shards_new(&options);
    struct silo_err err;
    ASSERT(shards_start(p.shards, &err).code == SILO_OK);
}

static void turn(void)
{
    p.next_us = INT64_MAX;
    for (uint32_t i = 0; i < p.shards->options.executors; i++) {
        const int64_t next_us = executor_turn(shards_executor(p.shards, i));
        p.next_us = next_us < p.next_us ? next_us : p.next_us;
    }
}

static void settle(void)
{
    int quiet = 0;
    while (quiet < 3) {
        turn();
        quiet =
            p.next_us > p.mono_us && store_mem_next_ms(p.store) > p.mono_us / 1000 ? quiet + 1 : 0;
    }
}

/* Time goes on in steps of a second, as it does for an executor that sleeps. */
static void pass_s(int seconds)
{
    for (int i = 0; i < seconds; i++) {
        p.mono_us += 1000000;
        p.wall_ms += 1000;
        settle();
    }
}

struct asked {
    struct shard_control control;
    bool done;
};

static void control_noted(struct shard_control *control)
{
    CONTAINER_OF(control, struct asked, control)->done = true;
}

static void control_freed(struct shard_control *control)
{
    free(control);
}

static enum silo_code ask(void (*what)(struct shards *, struct shard_ref, struct shard_control *),
                          struct shard_ref ref)
{
    struct asked asked = {.control.done = control_noted};
    what(p.shards, ref, &asked.control);
    for (int i = 0; i < 50 && !asked.done; i++) {
        settle();
    }
    assert_true(asked.done);
    return asked.control.rc.code;
}

static struct shard_ref add(const char *path)
{
    const struct shard_options options = {.path = path, .wal.objects_max = 256};
    return shards_add(p.shards, &options);
}

static struct shard_ref add_open(const char *path)
{
    const struct shard_ref ref = add(path);
    assert_int_equal(ask(shard_open, ref), SILO_OK);
    return ref;
}

static void take_away(struct shard_ref ref)
{
    assert_int_equal(ask(shard_close, ref), SILO_OK);
    shards_remove(p.shards, ref);
    settle();
}

static void end(void)
{
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        if (p.shards->slots[i].shard != NULL) {
            assert_int_equal(ask(shard_close, p.shards->slots[i].shard->ref), SILO_OK);
        }
    }
    shards_stop(p.shards);
    p.shards = shards_free(p.shards);
    p.ops.free(p.store);
}

/* --- requests --- */

struct sent {
    struct shard_request request;
    struct call *call;
    bool done;
};

static void sent_done(struct shard_request *request)
{
    struct sent *sent = CONTAINER_OF(request, struct sent, request);
    ASSERT(!sent->done);
    sent->done = true;
}

/* What the request came to; the call is freed. */
static enum silo_code run(struct shard_ref ref, struct call *call)
{
    struct sent sent = {.request = {.cmd = call->cmd, .done = sent_done}};
    assert_true(shard_send(p.shards, ref, &sent.request));
    settle();
    assert_true(sent.done);
    shard_answer_taken(&sent.request);
    rig_call_free(call);
    return sent.request.cmd.rc.code;
}

static struct call *enqueued(const char *id)
{
    return enqueue_call(id, "g", 5, 0);
}

/* Another shard has the place of that one. */
static struct shard_ref add_at(uint32_t slot)
{
    for (uint32_t i = 0; i <= SHARDS_MAX; i++) {
        const struct shard_ref ref = add("other");
        settle();
        if (ref.slot == slot) {
            return ref;
        }
        shards_remove(p.shards, ref);
        settle();
    }
    fail_msg("no shard ever got the place again");
    return SHARD_REF_NONE;
}

static void a_request_for_a_shard_that_has_gone_meets_none(void **state)
{
    (void)state;
    start(1);
    const struct shard_ref first = add_open("first");
    assert_int_equal(run(first, enqueued("a")), SILO_OK);
    take_away(first);
    assert_int_equal(shard_status(p.shards, first), SHARD_CLOSED);
    assert_int_equal(run(first, enqueued("b")), SILO_ROUTED_WRONG);

    const struct shard_ref second = add_at(first.slot);
    assert_int_not_equal(second.generation, first.generation);
    assert_int_equal(ask(shard_open, second), SILO_OK);
    assert_int_equal(shard_status(p.shards, second), SHARD_OPEN);
    assert_int_equal(shard_status(p.shards, first), SHARD_CLOSED);
    /* It would do what was meant for the other one. */
    assert_int_equal(run(first, enqueued("b")), SILO_ROUTED_WRONG);
    assert_int_equal(ask(shard_close, first), SILO_ROUTED_WRONG);
    assert_int_equal(run(second, rig_call(CMD_GET_JOB, T, "b")), SILO_NOT_FOUND);
    /* A poll ended with its shard, so there is nothing to stop. */
    assert_int_equal(run(first, rig_call(CMD_POLL_STOP, NULL, NULL)), SILO_OK);
    assert_int_equal(run(second, enqueued("b")), SILO_OK);
    end();
}

static void a_ref_that_never_was_meets_no_shard(void **state)
{
    (void)state;
    start(2);
    assert_int_equal(run(SHARD_REF_NONE, enqueued("a")), SILO_ROUTED_WRONG);
    const struct shard_ref far = {.slot = SHARDS_MAX - 1, .generation = 1};
    assert_int_equal(run(far, enqueued("a")), SILO_ROUTED_WRONG);
    assert_int_equal(ask(shard_open, far), SILO_ROUTED_WRONG);
    end();
}

static void what_waits_for_a_shard_that_goes_is_answered(void **state)
{
    (void)state;
    start(1);
    const struct shard_ref ref = add_open("first");
    struct call *call = poll_call(1, 60000);
    struct sent sent = {.request = {.cmd = call->cmd, .done = sent_done}};
    assert_true(shard_send(p.shards, ref, &sent.request));
    settle();
    assert_false(sent.done);
    struct asked reopening = {.control.done = control_noted};
    shards_remove(p.shards, ref); /* without a close: it closes first */
    shard_open(p.shards, ref, &reopening.control);
    settle();
    assert_true(sent.done);
    assert_int_equal(sent.request.cmd.rc.code, SILO_OK);
    assert_true(reopening.done);
    assert_int_equal(reopening.control.rc.code, SILO_ROUTED_WRONG);
    assert_null(shards_shard(p.shards, ref));
    rig_call_free(call);
    end();
}

static void places_are_bounded_and_used_again(void **state)
{
    (void)state;
    start(3);
    struct shard_ref refs[SHARDS_MAX];
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        refs[i] = add("many");
        assert_int_not_equal(refs[i].generation, 0);
    }
    assert_true(shard_ref_eq(add("one more"), SHARD_REF_NONE));
    size_t least = SHARDS_MAX;
    for (uint32_t i = 0; i < 3; i++) {
        const size_t assigned = shards_executor(p.shards, i)->assigned;
        least = assigned < least ? assigned : least;
    }
    assert_int_equal(least, SHARDS_MAX / 3);
    shards_remove(p.shards, refs[77]);
    settle();
    const struct shard_ref again = add("again");
    assert_int_equal(again.slot, refs[77].slot);
    assert_int_equal(again.generation, refs[77].generation + 1);
    end();
}

/* --- who is visited --- */

static void an_idle_shard_is_never_visited(void **state)
{
    (void)state;
    start(1);
    struct shard *shards[MANY_SHARDS];
    struct shard_ref refs[MANY_SHARDS];
    for (size_t i = 0; i < MANY_SHARDS; i++) {
        char path[16];
        (void)snprintf(path, sizeof path, "s%zu", i);
        refs[i] = add(path);
        shards[i] = shards_shard(p.shards, refs[i]);
        struct shard_control *control = xcalloc(1, sizeof *control);
        control->done = control_freed;
        shard_open(p.shards, refs[i], control);
    }
    pass_s(120); /* what opening wrote is flushed */
    uint64_t before[MANY_SHARDS];
    for (size_t i = 0; i < MANY_SHARDS; i++) {
        assert_int_equal(shard_status(p.shards, refs[i]), SHARD_OPEN);
        before[i] = shards[i]->visits;
    }
    for (int i = 0; i < 200; i++) { /* one of them works */
        char id[16];
        (void)snprintf(id, sizeof id, "job-%d", i);
        assert_int_equal(run(refs[0], enqueued(id)), SILO_OK);
        pass_s(1);
    }
    pass_s(7200);
    assert_true(shards[0]->visits >= before[0] + 200);
    for (size_t i = 1; i < MANY_SHARDS; i++) {
        assert_int_equal(shards[i]->visits, before[i]);
    }
    end();
}

static void work_to_come_is_visited_in_time(void **state)
{
    (void)state;
    start(1);
    const struct shard_ref idle = add_open("idle");
    const struct shard_ref ref = add_open("busy");
    pass_s(120);
    /* A job whose start comes: a parked poll gets it then, though nothing else happens. */
    struct call *call = poll_call(1, 60000);
    struct sent sent = {.request = {.cmd = call->cmd, .done = sent_done}};
    assert_int_equal(run(ref, enqueue_call("later", "g", 5, p.wall_ms + 30000)), SILO_OK);
    assert_true(shard_send(p.shards, ref, &sent.request));
    const uint64_t idle_visits = shards_shard(p.shards, idle)->visits;
    pass_s(29);
    assert_false(sent.done);
    pass_s(2);
    assert_true(sent.done);
    assert_int_equal(sent.request.cmd.result.poll.count, 1);
    assert_int_equal(shards_shard(p.shards, idle)->visits, idle_visits);
    rig_call_free(call);
    end();
}

/* What waits by the wall clock was planned by the other one, and is found when the clock gains. */
static void a_clock_that_gains_visits_who_waits_by_it(void **state)
{
    (void)state;
    start(1);
    const struct shard_ref ref = add_open("busy");
    pass_s(120);
    struct call *call = poll_call(1, 60000);
    struct sent sent = {.request = {.cmd = call->cmd, .done = sent_done}};
    assert_int_equal(run(ref, enqueue_call("later", "g", 5, p.wall_ms + 20000)), SILO_OK);
    assert_true(shard_send(p.shards, ref, &sent.request));
    settle();
    for (int i = 0; i < 15; i++) { /* half a second more than the clock that never steps */
        p.wall_ms += 500;
        pass_s(1);
    }
    assert_true(sent.done); /* 22.5 s by the wall clock, 15 s by the other */
    rig_call_free(call);
    end();
}

/* --- each its own --- */

static const char *best_of(struct shard_ref ref, char id[64])
{
    assert_int_equal(run(ref, enqueue_call("early", "g", 50, p.wall_ms - 2000)), SILO_OK);
    assert_int_equal(run(ref, enqueue_call("urgent", "g", 1, p.wall_ms - 1000)), SILO_OK);
    struct call *call = poll_call(1, 0);
    struct sent sent = {.request = {.cmd = call->cmd, .done = sent_done}};
    assert_true(shard_send(p.shards, ref, &sent.request));
    settle();
    assert_true(sent.done);
    assert_int_equal(sent.request.cmd.result.poll.count, 1);
    const struct bytes job_id = sent.request.cmd.result.poll.tasks[0].job_id;
    (void)snprintf(id, 64, "%.*s", BYTES_FMT(job_id));
    rig_call_free(call);
    return id;
}

static void order_and_log_are_each_shards_own(void **state)
{
    (void)state;
    start(1);
    struct shard_options options = {
        .path = "by-start",
        .order = ORDER_START,
        .wal = {.place = STORE_WAL_WITH_DATA, .flush_spacing_ms = 5000, .objects_max = 4}};
    const struct shard_ref by_start = shards_add(p.shards, &options);
    options = (struct shard_options){.path = "by-priority",
                                     .order = ORDER_PRIORITY,
                                     .wal = {.place = STORE_WAL_APART, .objects_max = 4096}};
    const struct shard_ref by_priority = shards_add(p.shards, &options);
    assert_int_equal(ask(shard_open, by_start), SILO_OK);
    assert_int_equal(ask(shard_open, by_priority), SILO_OK);
    assert_int_equal(p.opened_count, 2);
    assert_string_equal(p.opened[0].path, "by-start");
    assert_int_equal(p.opened[0].wal, STORE_WAL_WITH_DATA);
    assert_string_equal(p.opened[1].path, "by-priority");
    assert_int_equal(p.opened[1].wal, STORE_WAL_APART);
    pass_s(10);

    char id[64];
    assert_string_equal(best_of(by_priority, id), "urgent");
    assert_int_equal(run(by_priority, enqueued("at once")), SILO_OK);

    /* The log of the other one is flushed each 5 s at most. */
    assert_int_equal(run(by_start, enqueue_call("early", "g", 50, p.wall_ms - 2000)), SILO_OK);
    struct call *call = enqueue_call("urgent", "g", 1, p.wall_ms - 1000);
    struct sent sent = {.request = {.cmd = call->cmd, .done = sent_done}};
    assert_true(shard_send(p.shards, by_start, &sent.request));
    pass_s(3);
    assert_false(sent.done);
    pass_s(3);
    assert_true(sent.done);
    rig_call_free(call);
    call = poll_call(1, 0);
    sent = (struct sent){.request = {.cmd = call->cmd, .done = sent_done}};
    assert_true(shard_send(p.shards, by_start, &sent.request));
    pass_s(6);
    assert_true(sent.done);
    assert_true(bytes_eq(sent.request.cmd.result.poll.tasks[0].job_id, BYTES_LIT("early")));
    rig_call_free(call);
    end();
}

static void who_added_a_shard_is_told_what_becomes_of_it(void **state)
{
    (void)state;
    start(1);
    const struct shard_ref ref = add_open("first");
    assert_int_equal(p.notice_count, 1);
    assert_true(shard_ref_eq(p.notices[0].ref, ref));
    assert_int_equal(p.notices[0].status, SHARD_OPEN);

    /* Another process opens it: it is lost, and stays out. */
    struct store_queue *queue = NULL;
    assert_int_equal(p.ops.queue_new(p.store, &queue, NULL).code, SILO_OK);
    const struct store_open_args args = {.path = "first"};
    assert_int_equal(p.real->open(p.store, queue, &args, 1, NULL).code, SILO_OK);
    struct store_event event;
    while (p.real->queue_drain(queue, &event, 1) == 0) {
    }
    assert_int_equal(event.rc.code, SILO_OK);
    assert_int_equal(run(ref, enqueued("a")), SILO_UNAVAILABLE);
    pass_s(20);
    assert_int_equal(shard_status(p.shards, ref), SHARD_FENCED);
    assert_int_equal(p.notice_count, 3);
    assert_int_equal(p.notices[1].status, SHARD_FAILED);
    assert_int_equal(p.notices[2].status, SHARD_FENCED);
    p.real->event_free(&event);
    take_away(ref);
    p.real->queue_free(queue);
    end();
}

/* --- under load, from other threads --- */

struct load {
    struct shards *shards;
    atomic_uint_fast64_t ref; /* of the newest shard */
    atomic_bool stop;
    pthread_t thread;
    uint64_t answers[2]; /* OK; another code */
    const char *wrong;
};

struct load_request {
    struct shard_request request;
    struct arena arena;
    atomic_uint answered;
};

/* Executor. */
static void load_done(struct shard_request *request)
{
    struct load_request *sent = CONTAINER_OF(request, struct load_request, request);
    (void)atomic_fetch_add_explicit(&sent->answered, 1, memory_order_release);
}

static const char *load_one(struct load *load)
{
    const uint64_t packed = atomic_load_explicit(&load->ref, memory_order_acquire);
    const struct shard_ref ref = {.slot = (uint32_t)packed, .generation = (uint32_t)(packed >> 32)};
    struct load_request sent = {.request = {.cmd.kind = CMD_TOTALS, .done = load_done}};
    arena_init(&sent.arena);
    sent.request.cmd.arena = &sent.arena;
    (void)shard_status(load->shards, ref);
    if (shard_send(load->shards, ref, &sent.request)) {
        while (atomic_load_explicit(&sent.answered, memory_order_acquire) == 0) {
            (void)sched_yield();
        }
    } else {
        sent.request.cmd.rc = (silo_rc){SILO_EXHAUSTED};
    }
    const enum silo_code code = sent.request.cmd.rc.code;
    load->answers[code == SILO_OK ? 0 : 1]++;
    shard_answer_taken(&sent.request);
    arena_deinit(&sent.arena);
    return code == SILO_OK || code == SILO_UNAVAILABLE || code == SILO_ROUTED_WRONG ||
                   code == SILO_EXHAUSTED
               ? NULL
               : "an answer that no caller should see";
}

static void *load_main(void *context)
{
    struct load *load = context;
    while (load->wrong == NULL && !atomic_load_explicit(&load->stop, memory_order_relaxed)) {
        load->wrong = load_one(load);
    }
    return NULL;
}

struct waited {
    struct shard_control control;
    atomic_bool done;
};

static void waited_done(struct shard_control *control)
{
    atomic_store_explicit(&CONTAINER_OF(control, struct waited, control)->done, true,
                          memory_order_release);
}

static enum silo_code control_wait(struct shards *shards, struct shard_ref ref,
                                   void (*what)(struct shards *, struct shard_ref,
                                                struct shard_control *))
{
    struct waited waited = {.control.done = waited_done};
    what(shards, ref, &waited.control);
    while (!atomic_load_explicit(&waited.done, memory_order_acquire)) {
        (void)sched_yield();
    }
    return waited.control.rc.code;
}

static void shards_come_and_go_under_load(void **state)
{
    (void)state;
    struct store *store = store_mem_new(NULL);
    const struct shards_options options = {.env = &env_system, .store = store, .executors = 2};
    struct shards *shards = shards_new(&options);
    struct silo_err err;
    assert_int_equal(shards_start(shards, &err).code, SILO_OK);
    struct load loads[2];
    for (int i = 0; i < 2; i++) {
        loads[i] = (struct load){.shards = shards};
        assert_int_equal(pthread_create(&loads[i].thread, NULL, load_main, &loads[i]), 0);
    }
    for (int ring = 0; ring < RINGS; ring++) {
        const struct shard_options one = {.path = ring % 2 == 0 ? "even" : "odd",
                                          .wal.objects_max = 256};
        const struct shard_ref ref = shards_add(shards, &one);
        assert_int_not_equal(ref.generation, 0);
        for (int i = 0; i < 2; i++) {
            atomic_store_explicit(&loads[i].ref, (uint64_t)ref.generation << 32 | ref.slot,
                                  memory_order_release);
        }
        assert_int_equal(control_wait(shards, ref, shard_open), SILO_OK);
        (void)sched_yield();
        assert_int_equal(control_wait(shards, ref, shard_close), SILO_OK);
        shards_remove(shards, ref);
        assert_int_equal(control_wait(shards, ref, shard_open), SILO_ROUTED_WRONG);
    }
    for (int i = 0; i < 2; i++) {
        atomic_store_explicit(&loads[i].stop, true, memory_order_relaxed);
        assert_int_equal(pthread_join(loads[i].thread, NULL), 0);
        if (loads[i].wrong != NULL) {
            fail_msg("%s", loads[i].wrong);
        }
        assert_true(loads[i].answers[0] + loads[i].answers[1] != 0);
    }
    shards_stop(shards);
    assert_null(shards_free(shards));
    store_ops_of(store)->free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_for_a_shard_that_has_gone_meets_none),
        cmocka_unit_test(a_ref_that_never_was_meets_no_shard),
        cmocka_unit_test(what_waits_for_a_shard_that_goes_is_answered),
        cmocka_unit_test(places_are_bounded_and_used_again),
        cmocka_unit_test(an_idle_shard_is_never_visited),
        cmocka_unit_test(work_to_come_is_visited_in_time),
        cmocka_unit_test(a_clock_that_gains_visits_who_waits_by_it),
        cmocka_unit_test(order_and_log_are_each_shards_own),
        cmocka_unit_test(who_added_a_shard_is_told_what_becomes_of_it),
        cmocka_unit_test(shards_come_and_go_under_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
