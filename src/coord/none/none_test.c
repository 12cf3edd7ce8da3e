/*
 * coord/none/none_test.c - a cluster of one: its map is made and found again, every shard becomes
 * its own, and what was fenced stays out.
 */
#include "coord/none/none.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/assert.h"
#include "cluster/cluster.h"
#include "store_mem/store_mem.h"

#define SHARDS 5

struct node {
    struct coord *coord;
    struct cluster *cluster;
    size_t opened;
    bool left;
};

static struct node node_new(struct store *store, uint32_t shard_count)
{
    static const char *const rings[] = {"named"};
    const struct cluster_member self = {
        .id = "me", .nonce = 1, .address = "a:1", .rings = rings, .ring_count = 1};
    const struct coord_options options = {
        .env = &env_system, .store = store, .self = self, .store_timeout_ms = 15000};
    struct cluster_options cluster = {.self = self, .settings = {.shard_count = shard_count}};
    env_random(&env_system, cluster.seed, sizeof cluster.seed);
    struct node node = {.cluster = cluster_new(&cluster, 1000)};
    assert_int_equal(coord_new("none", &options, &node.coord, NULL).code, SILO_OK);
    return node;
}

static void node_free(struct node *node)
{
    node->cluster = cluster_free(node->cluster);
    node->coord = coord_free(node->coord);
}

static void tell(struct node *node, enum cluster_event_kind kind, const struct uuid *shard)
{
    const struct cluster_event event = {
        .kind = kind, .shard = *shard, .ref = {.slot = 0, .generation = 1}};
    cluster_event(node->cluster, &event);
}

/* What the shards' side would do, at once. */
static void act(struct node *node, const struct cluster_action *action)
{
    const struct coord_ops *ops = node->coord->ops;
    if (action->kind == ACTION_JOIN) {
        ops->join(node->coord, action->replace);
    } else if (action->kind == ACTION_READ_MAP) {
        ops->read_map(node->coord);
    } else if (action->kind == ACTION_COMMIT_MAP) {
        ops->commit_map(node->coord, action->number, action->text);
    } else if (action->kind == ACTION_READ_OWNER) {
        ops->read_owner(node->coord, &action->shard);
    } else if (action->kind == ACTION_CLAIM) {
        ops->claim(node->coord, &action->shard, action->expected, action->map);
    } else if (action->kind == ACTION_RELEASE) {
        ops->release(node->coord, &action->shard, action->epoch);
    } else if (action->kind == ACTION_OPEN) {
        tell(node, EVENT_OPENING, &action->shard);
        tell(node, EVENT_OPENED, &action->shard);
        node->opened++;
    } else if (action->kind == ACTION_CLOSE) {
        tell(node, EVENT_CLOSED, &action->shard);
    } else if (action->kind == ACTION_LEAVE) {
        ops->leave(node->coord);
    }
    node->left = node->left || action->kind == ACTION_LEFT;
}

static void settle(struct node *node)
{
    const struct coord_ops *ops = node->coord->ops;
    for (;;) { /* until nothing is waited for */
        struct cluster_event event;
        struct cluster_action action;
        const int64_t next_us = ops->turn(node->coord);
        while (ops->next_event(node->coord, &event)) {
            cluster_event(node->cluster, &event);
        }
        bool acted = false;
        while (cluster_action_next(node->cluster, &action)) {
            act(node, &action);
            acted = true;
        }
        struct pollfd pfd = {.fd = ops->fd(node->coord), .events = POLLIN};
        if (pfd.fd >= 0 && !acted) {
            assert_int_equal(poll(&pfd, 1, 5000), 1);
        } else if (!acted && next_us == INT64_MAX) {
            return;
        }
    }
}

static int setup(void **state)
{
    *state = store_mem_new(NULL);
    return 0;
}

static int teardown(void **state)
{
    struct store *store = *state;
    store_ops_of(store)->free(store);
    return 0;
}

static void makes_a_map_then_finds_it(void **state)
{
    struct node first = node_new(*state, SHARDS), second = node_new(*state, 9);
    settle(&first);
    settle(&second);
    assert_true(cluster_created(first.cluster));
    assert_false(cluster_created(second.cluster));
    const struct cluster_map *a = cluster_map(first.cluster), *b = cluster_map(second.cluster);
    assert_int_equal(b->number, 1);
    assert_int_equal(b->shard_count, SHARDS); /* a stored map wins */
    assert_true(uuid_eq(&a->cluster_id, &b->cluster_id));
    for (size_t i = 0; i < SHARDS; i++) {
        assert_true(uuid_eq(&a->shards[i].id, &b->shards[i].id));
    }
    assert_int_equal(first.opened, SHARDS); /* though it names no default ring */
    node_free(&first);
    node_free(&second);
}

static void gives_all_back(void **state)
{
    struct node node = node_new(*state, SHARDS);
    settle(&node);
    const struct cluster_event leave = {.kind = EVENT_LEAVE};
    cluster_event(node.cluster, &leave);
    settle(&node);
    assert_true(node.left);
    node_free(&node);
}

static void a_fenced_shard_stays_out(void **state)
{
    struct node node = node_new(*state, SHARDS);
    settle(&node);
    tell(&node, EVENT_FENCED, &cluster_map(node.cluster)->shards[2].id);
    settle(&node);
    assert_int_equal(node.opened, SHARDS);
    node_free(&node);
}

static void other_backends_are_not_known(void **state)
{
    struct coord *coord = NULL;
    struct silo_err err = {0};
    const struct coord_options options = {.env = &env_system, .store = *state};
    assert_int_equal(coord_new("k8s", &options, &coord, &err).code, SILO_UNIMPLEMENTED);
    assert_non_null(strstr(err.text, "k8s"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(makes_a_map_then_finds_it, setup, teardown),
        cmocka_unit_test_setup_teardown(gives_all_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_fenced_shard_stays_out, setup, teardown),
        cmocka_unit_test_setup_teardown(other_backends_are_not_known, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
