/*
 * node/node_test.c - one node from the first map to the end: with shards, a store in memory and no
 * coordinator, all turned by hand. A guarded one has a coordinator that grants all, too, and says
 * that what is read is the node's own.
 */
#include "node/node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"
#include "coord/backend.h"
#include "store_mem/store_mem.h"

#define SHARDS 4u
#define STEP_MS 10
#define TIMEOUT_MS 15000

struct rig {
    struct store *store;
    struct env env;
    int64_t now_ms;
    uint64_t random;
    bool guarded;
    struct store_queue *queue; /* of the guarded one */
    struct coord *coord;
    struct coord_ops coord_ops; /* its own, but for what is kept here */
    const struct coord_ops *coord_none;
    struct cluster_owner owner;
    bool ours;        /* records name the node */
    int64_t until_ms; /* it is a member so long; INT64_MAX: for ever */
    void (*claimed)(struct rig *rig);
    struct shards *shards;
    struct directory_home home;
    struct node *node;
};

static int64_t rig_mono_us(void *context)
{
    return ((const struct rig *)context)->now_ms * 1000;
}

static int64_t rig_wall_ms(void *context)
{
    return 1700000000000 + ((const struct rig *)context)->now_ms;
}

static void rig_random(void *context, void *ret_bytes, size_t len)
{
    struct rig *rig = context;
    for (size_t i = 0; i < len; i++) {
        rig->random = rig->random * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)ret_bytes)[i] = (uint8_t)(rig->random >> 56);
    }
}

static void describe(void *context, const struct cluster_shard *shard, const char *id,
                     struct shard_options *ret_options)
{
    (void)context;
    *ret_options = (struct shard_options){
        .id = shard->id, .path = xstrdup(id), .order = shard->order, .wal = {.objects_max = 256}};
}

static void told(void *context, struct shard_notice *notice)
{
    node_told(((const struct rig *)context)->node, notice);
}

/* The test that runs. */
static struct rig *the_rig;

static void coord_claim(struct coord *coord, const struct uuid *shard, uint64_t expected,
                        uint64_t map)
{
    if (the_rig->claimed != NULL) {
        void (*claimed)(struct rig * rig) = the_rig->claimed;
        the_rig->claimed = NULL;
        claimed(the_rig);
    }
    the_rig->coord_none->claim(coord, shard, expected, map);
}

static bool coord_next_event(struct coord *coord, struct cluster_event *ret_event)
{
    if (!the_rig->coord_none->next_event(coord, ret_event)) {
        return false;
    }
    if (ret_event->kind == EVENT_OWNER_READ && the_rig->ours) {
        the_rig->owner = ret_event->owners[0];
        the_rig->owner.holder = "me";
        ret_event->owners = &the_rig->owner;
    }
    return true;
}

static int64_t coord_until_us(const struct coord *coord)
{
    (void)coord;
    return the_rig->until_ms != INT64_MAX ? the_rig->until_ms * 1000 : INT64_MAX;
}

static void coord_start(struct rig *rig, const struct cluster_member *self)
{
    const struct coord_options options = {
        .env = &rig->env, .store = rig->store, .self = *self, .store_timeout_ms = TIMEOUT_MS};
    assert_int_equal(coord_new("none", &options, &rig->coord, NULL).code, SILO_OK);
    rig->coord_none = rig->coord->ops;
    rig->coord_ops = *rig->coord->ops;
    rig->coord_ops.claim = coord_claim;
    rig->coord_ops.next_event = coord_next_event;
    rig->coord_ops.until_us = coord_until_us;
    rig->coord->ops = &rig->coord_ops;
    if (rig->guarded) {
        const struct store_ops *ops = store_ops_of(rig->store);
        assert_int_equal(ops->queue_new(rig->store, &rig->queue, NULL).code, SILO_OK);
    }
}

static void node_start(struct rig *rig, enum dispatch_order order)
{
    const struct cluster_member self = {.id = "me", .nonce = 1, .address = "a:1"};
    coord_start(rig, &self);
    const struct shards_options shards = {.env = &rig->env,
                                          .store = rig->store,
                                          .executors = 1,
                                          .by_hand = true,
                                          .told = told,
                                          .context = rig};
    rig->shards = shards_new(&shards);
    assert_int_equal(shards_start(rig->shards, NULL).code, SILO_OK);
    directory_home_init(&rig->home);
    struct node_options options = {.env = &rig->env,
                                   .coord = rig->coord,
                                   .shards = rig->shards,
                                   .home = &rig->home,
                                   .cluster = {.self = self,
                                               .settings = {.shard_count = SHARDS, .order = order},
                                               .guarded = rig->guarded},
                                   .store = rig->store,
                                   .queue = rig->queue,
                                   .describe = describe};
    rig_random(rig, options.cluster.seed, sizeof options.cluster.seed);
    rig->node = node_new(&options);
}

/* So long nothing but turns happens. */
static void pass(struct rig *rig, int64_t ms)
{
    for (const int64_t until_ms = rig->now_ms + ms; rig->now_ms < until_ms;
         rig->now_ms += STEP_MS) {
        for (int i = 0; i < 20; i++) {
            (void)node_turn(rig->node);
            (void)executor_turn(shards_executor(rig->shards, 0));
            (void)store_mem_settle(rig->store);
        }
    }
}

static void node_end(struct rig *rig)
{
    node_leave(rig->node);
    pass(rig, 1000);
    assert_true(node_left(rig->node));
    assert_int_equal(node_counts(rig->node).opened + node_counts(rig->node).unopened, 0);
    shards_stop(rig->shards);
    rig->node = node_free(rig->node);
    rig->shards = shards_free(rig->shards);
    directory_home_deinit(&rig->home);
    rig->coord = coord_free(rig->coord);
    if (rig->queue != NULL) {
        store_ops_of(rig->store)->queue_free(rig->queue);
        rig->queue = NULL;
    }
}

static int rig_setup(void **state, bool guarded)
{
    struct rig *rig = xcalloc(1, sizeof *rig);
    the_rig = rig;
    rig->guarded = guarded;
    log_set_level(LOG_ERROR);
    rig->now_ms = 1000;
    rig->until_ms = INT64_MAX;
    rig->random = 42;
    rig->env = (struct env){
        .mono_us = rig_mono_us, .wall_ms = rig_wall_ms, .random = rig_random, .context = rig};
    rig->store = store_mem_new(&(struct store_mem_options){.manual = true, .env = &rig->env});
    node_start(rig, ORDER_PRIORITY);
    *state = rig;
    return 0;
}

static int setup(void **state)
{
    return rig_setup(state, false);
}

static int setup_guarded(void **state)
{
    return rig_setup(state, true);
}

static int teardown(void **state)
{
    struct rig *rig = *state;
    if (rig->node != NULL) {
        node_end(rig);
    }
    store_ops_of(rig->store)->free(rig->store);
    free(rig);
    return 0;
}

/* How many shards the published table has at that place. */
static size_t placed(struct rig *rig, enum directory_place place)
{
    struct directory_reader reader;
    directory_reader_init(&reader, &rig->home, NULL, NULL);
    const struct directory *directory = directory_read(&reader);
    size_t count = 0;
    for (size_t i = 0; i < directory->shard_count; i++) {
        count += directory->shards[i]->place == place ? 1 : 0;
    }
    directory_reader_deinit(&reader);
    return count;
}

/* Somebody else opens the database of shard number `shard`, on a queue of its own. */
static struct store_db *foreign_open(struct rig *rig, size_t shard, struct store_queue **ret_queue)
{
    char path[UUID_TEXT_LEN + 1];
    uuid_format(&node_map(rig->node)->shards[shard].id, path);
    const struct store_ops *ops = store_ops_of(rig->store);
    assert_int_equal(ops->queue_new(rig->store, ret_queue, NULL).code, SILO_OK);
    const struct store_open_args args = {.path = path, .wal = STORE_WAL_WITH_DATA};
    assert_int_equal(ops->open(rig->store, *ret_queue, &args, 1, NULL).code, SILO_OK);
    struct store_event event;
    (void)store_mem_settle(rig->store);
    assert_int_equal(ops->queue_drain(*ret_queue, &event, 1), 1);
    assert_int_equal(event.rc.code, SILO_OK);
    struct store_db *db = event.db;
    ops->event_free(&event);
    return db;
}

/* Leaves it again. True: nobody had taken it meanwhile. */
static bool foreign_close(struct rig *rig, struct store_db *db, struct store_queue *queue)
{
    const struct store_ops *ops = store_ops_of(rig->store);
    store_mem_notice_fences(rig->store);
    bool kept = true;
    struct store_event event;
    while (ops->queue_drain(queue, &event, 1) == 1) {
        kept = kept && event.kind != STORE_DOWN;
        ops->event_free(&event);
    }
    assert_int_equal(ops->close(db, STORE_CLOSE_DROP, 2, NULL).code, SILO_OK);
    (void)store_mem_settle(rig->store);
    while (ops->queue_drain(queue, &event, 1) == 1) {
        ops->event_free(&event);
    }
    ops->queue_free(queue);
    return kept;
}

/* Somebody else opens the database and leaves it again. */
static void fence(struct rig *rig, size_t shard)
{
    struct store_queue *queue = NULL;
    struct store_db *db = foreign_open(rig, shard, &queue);
    store_mem_notice_fences(rig->store);
    assert_true(foreign_close(rig, db, queue));
}

static void from_nothing_to_serving_and_back(void **state)
{
    struct rig *rig = *state;
    assert_null(node_map(rig->node));
    pass(rig, 1000);
    assert_int_equal(node_map(rig->node)->shard_count, SHARDS);
    assert_true(node_made_map(rig->node));
    assert_int_equal(node_check(rig->node, NULL).code, SILO_OK);
    const struct node_counts counts = node_counts(rig->node);
    assert_int_equal(counts.mapped, SHARDS);
    assert_int_equal(counts.open, SHARDS);
    assert_int_equal(counts.opened, SHARDS);
    assert_int_equal(counts.unopened + counts.lost, 0);
    assert_int_equal(placed(rig, PLACE_HERE), SHARDS);
    node_leave(rig->node);
    pass(rig, 1000);
    assert_true(node_left(rig->node));
    assert_int_equal(placed(rig, PLACE_UNASSIGNED), SHARDS);
}

static void the_map_is_found_again(void **state)
{
    struct rig *rig = *state;
    pass(rig, 1000);
    const struct uuid first = node_map(rig->node)->shards[0].id;
    node_end(rig);
    node_start(rig, ORDER_PRIORITY);
    pass(rig, 1000);
    assert_false(node_made_map(rig->node));
    assert_true(uuid_eq(&node_map(rig->node)->shards[0].id, &first));
    assert_int_equal(node_counts(rig->node).open, SHARDS);
}

static void a_setting_that_contradicts_the_map_is_refused(void **state)
{
    struct rig *rig = *state;
    pass(rig, 1000);
    node_end(rig);
    node_start(rig, ORDER_START);
    pass(rig, 1000);
    struct silo_err err = {0};
    assert_int_equal(node_check(rig->node, &err).code, SILO_PRECONDITION);
    assert_non_null(strstr(err.text, "dispatch_order = \"start\" is configured"));
    assert_null(node_map(rig->node));
    assert_int_equal(node_counts(rig->node).unopened, 0);
}

static void a_store_that_is_away_is_waited_for(void **state)
{
    struct rig *rig = *state;
    store_mem_outage(rig->store, STORE_MEM_ALL, "connection refused");
    pass(rig, TIMEOUT_MS + 100);
    struct silo_err err = {0};
    assert_int_equal(node_check(rig->node, &err).code, SILO_UNAVAILABLE);
    assert_non_null(strstr(err.text, "connection refused"));
    assert_null(node_map(rig->node));
    store_mem_outage(rig->store, 0, NULL);
    pass(rig, 3000);
    assert_int_equal(node_check(rig->node, NULL).code, SILO_OK);
    assert_int_equal(node_counts(rig->node).open, SHARDS);
}

static void an_opening_that_failed_is_tried_again(void **state)
{
    struct rig *rig = *state;
    store_mem_fail(rig->store, &(struct store_mem_fault){.kind = STORE_MEM_OPEN,
                                                         .nth = 1,
                                                         .times = 2 * SHARDS,
                                                         .code = SILO_INVALID});
    pass(rig, CLUSTER_OPEN_RETRY_MS_MIN);
    assert_int_equal(node_counts(rig->node).open, 0);
    assert_int_equal(node_counts(rig->node).unopened, SHARDS);
    assert_int_equal(placed(rig, PLACE_HERE), SHARDS);
    pass(rig, CLUSTER_OPEN_RETRY_MS_MIN);
    assert_int_equal(node_counts(rig->node).open, 0);
    pass(rig, 2 * CLUSTER_OPEN_RETRY_MS_MIN);
    assert_int_equal(node_counts(rig->node).open, SHARDS);
}

static void a_fenced_shard_stays_out(void **state)
{
    struct rig *rig = *state;
    pass(rig, 1000);
    fence(rig, 1);
    pass(rig, 3000);
    const struct node_counts counts = node_counts(rig->node);
    assert_int_equal(counts.lost, 1);
    assert_int_equal(counts.open, SHARDS - 1);
    pass(rig, 60000);
    assert_int_equal(node_counts(rig->node).lost, 1);
    assert_int_equal(placed(rig, PLACE_HERE), SHARDS); /* where its calls are told so */
}

/* What is being opened when the node leaves is closed when the store has answered. */
static void it_leaves_while_shards_are_opened(void **state)
{
    struct rig *rig = *state;
    store_mem_outage(rig->store, STORE_MEM_BIT(STORE_MEM_OPEN), "away");
    pass(rig, 1000);
    assert_int_equal(node_counts(rig->node).unopened, SHARDS);
    node_leave(rig->node);
    pass(rig, 1000);
    assert_false(node_left(rig->node));
    store_mem_outage(rig->store, 0, NULL);
    pass(rig, 1000);
    assert_true(node_left(rig->node));
}

/* --- guarded --- */

static void a_guarded_node_takes_over_from_itself(void **state)
{
    struct rig *rig = *state;
    for (int life = 0; life < 3; life++) {
        pass(rig, 1000);
        assert_int_equal(node_counts(rig->node).open, SHARDS);
        node_end(rig);
        node_start(rig, ORDER_PRIORITY);
    }
}

static struct store_queue *foreign_queue;
static struct store_db *foreign_db;

static void somebody_comes(struct rig *rig)
{
    foreign_db = foreign_open(rig, 2, &foreign_queue);
}

/* The writers of all shards are read by then, and a claim that has come late opens nothing. */
static void who_came_after_the_writer_was_read_is_not_fenced(void **state)
{
    struct rig *rig = *state;
    rig->claimed = somebody_comes;
    pass(rig, 3000);
    assert_int_equal(node_counts(rig->node).open, SHARDS - 1);
    assert_int_equal(node_counts(rig->node).lost, 1);
    assert_true(foreign_close(rig, foreign_db, foreign_queue));
}

/* Its record names it still, so it takes over from whoever is the newest writer now. */
static void a_fenced_shard_that_is_ours_opens_again(void **state)
{
    struct rig *rig = *state;
    rig->ours = true;
    pass(rig, 1000);
    fence(rig, 1);
    pass(rig, 3000);
    assert_int_equal(node_counts(rig->node).open, SHARDS);
}

static void a_writer_that_cannot_be_read_is_asked_for_again(void **state)
{
    struct rig *rig = *state;
    /* Before, the store is tested, records are listed, and one is made. */
    store_mem_fail(rig->store, &(struct store_mem_fault){.kind = STORE_MEM_OBJECT,
                                                         .nth = 4,
                                                         .times = 3 * SHARDS,
                                                         .code = SILO_UNAVAILABLE});
    pass(rig, 2 * CLUSTER_CLAIM_RETRY_MS);
    assert_non_null(node_map(rig->node));
    assert_int_equal(node_counts(rig->node).open + node_counts(rig->node).unopened, 0);
    pass(rig, 2 * CLUSTER_CLAIM_RETRY_MS);
    assert_int_equal(node_counts(rig->node).open, SHARDS);
}

static void heard(struct shard_request *request)
{
    (void)request;
}

/* How often the store is asked whose the shard is, for one heartbeat of nobody's task. */
static uint64_t proofs_of_an_answer(struct rig *rig)
{
    struct directory_reader reader;
    directory_reader_init(&reader, &rig->home, NULL, NULL);
    const struct shard_ref ref = directory_read(&reader)->shards[0]->ref;
    directory_reader_deinit(&reader);
    struct arena arena;
    arena_init(&arena);
    struct shard_request request = {.cmd = {.kind = CMD_HEARTBEAT, .arena = &arena}, .done = heard};
    struct store_mem_counts before, after;
    store_mem_counts(rig->store, &before);
    assert_true(shard_send(rig->shards, ref, &request));
    for (int i = 0; i < 20; i++) { /* the node has no turn */
        (void)executor_turn(shards_executor(rig->shards, 0));
        (void)store_mem_settle(rig->store);
    }
    assert_int_equal(request.cmd.rc.code, SILO_NOT_FOUND);
    shard_answer_taken(&request);
    store_mem_counts(rig->store, &after);
    arena_deinit(&arena);
    return after.calls[STORE_MEM_REFRESH] - before.calls[STORE_MEM_REFRESH];
}

/* A process that stood still meets calls before the node hears that it is no member any more. */
static void answers_are_proved_anew_when_the_lease_is_over(void **state)
{
    struct rig *rig = *state;
    rig->until_ms = rig->now_ms + OWNERSHIP_RENEW_MS - STEP_MS;
    pass(rig, OWNERSHIP_RENEW_MS / 2);
    assert_int_equal(proofs_of_an_answer(rig), 0);
    rig->now_ms = rig->until_ms;
    assert_int_equal(proofs_of_an_answer(rig), 1);
    rig->until_ms = INT64_MAX;
    pass(rig, STEP_MS);
    assert_int_equal(proofs_of_an_answer(rig), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(from_nothing_to_serving_and_back, setup, teardown),
        cmocka_unit_test_setup_teardown(the_map_is_found_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_setting_that_contradicts_the_map_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_store_that_is_away_is_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(an_opening_that_failed_is_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_fenced_shard_stays_out, setup, teardown),
        cmocka_unit_test_setup_teardown(it_leaves_while_shards_are_opened, setup, teardown),
        cmocka_unit_test_setup_teardown(from_nothing_to_serving_and_back, setup_guarded, teardown),
        cmocka_unit_test_setup_teardown(a_guarded_node_takes_over_from_itself, setup_guarded,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_came_after_the_writer_was_read_is_not_fenced,
                                        setup_guarded, teardown),
        cmocka_unit_test_setup_teardown(a_fenced_shard_that_is_ours_opens_again, setup_guarded,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_writer_that_cannot_be_read_is_asked_for_again,
                                        setup_guarded, teardown),
        cmocka_unit_test_setup_teardown(answers_are_proved_anew_when_the_lease_is_over,
                                        setup_guarded, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
