/* service/topology_test.c - what GetClusterInfo tells, and when WatchTopology tells it again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/assert.h"
#include "service/fake_test.h"
#include "service/service_int.h"

typedef Silo__V1__GetClusterInfoResponse topology;
static const ProtobufCMessageDescriptor *const type =
    &silo__v1__get_cluster_info_response__descriptor;

static topology *told(struct rpc_call *call)
{
    return fake_reply(call, type);
}

static void forget(topology *info)
{
    silo__v1__get_cluster_info_response__free_unpacked(info, NULL);
}

static void every_shard_has_a_state_and_its_owner(void **state)
{
    (void)state;
    fake_start(2, false, false);
    static const struct {
        enum directory_place place;
        enum shard_status status;
        int state;
        const char *node, *address, *moving_to, *holder;
    } cases[] = {
        {PLACE_HERE, SHARD_OPEN, 1, "node-1", "127.0.0.1:1", "", ""},
        {PLACE_HERE, SHARD_OPENING, 2, "node-1", "127.0.0.1:1", "", ""},
        {PLACE_HERE, SHARD_CLOSED, 2, "node-1", "127.0.0.1:1", "", ""},
        {PLACE_HERE, SHARD_FAILED, 6, "node-1", "127.0.0.1:1", "", ""},
        {PLACE_HERE, SHARD_FENCED, 5, "", "", "", ""},
        {PLACE_SPLITTING, SHARD_OPEN, 7, "node-1", "127.0.0.1:1", "", ""},
        {PLACE_NODE, SHARD_CLOSED, 1, "node-2", "10.0.0.2:50051", "", ""},
        {PLACE_MOVING, SHARD_CLOSED, 3, "node-1", "127.0.0.1:1", "node-2", ""},
        {PLACE_MOVING, SHARD_CLOSED, 2, "node-1", "127.0.0.1:1", "", ""},
        {PLACE_STRANDED, SHARD_CLOSED, 4, "", "", "", "node-2"},
        {PLACE_UNASSIGNED, SHARD_CLOSED, 5, "", "", "", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fake.shards[1].place = cases[i].place;
        fake.shards[1].status = cases[i].status;
        fake.shards[1].comes = cases[i].place == PLACE_MOVING && cases[i].moving_to[0] == '\0';
        fake_publish();
        struct rpc_call *call = fake_call_bytes("GetClusterInfo", BYTES_LIT(""));
        topology *info = told(call);
        assert_int_equal(info->num_shards, 2);
        assert_int_equal(info->n_shard_owners, 2);
        const Silo__V1__ShardOwner *owner = info->shard_owners[1];
        assert_string_equal(owner->shard_id, fake_shard_id(1));
        assert_int_equal(owner->state, cases[i].state);
        assert_string_equal(owner->node_id, cases[i].node);
        assert_string_equal(owner->grpc_addr, cases[i].address);
        assert_string_equal(owner->moving_to_node_id, cases[i].moving_to);
        assert_string_equal(owner->holder_node_id, cases[i].holder);
        forget(info);
        fake_free(call);
    }
    fake_stop();
}

static void rings_members_and_versions_are_told(void **state)
{
    (void)state;
    fake_start(2, false, false);
    fake.shards[1].place = PLACE_NODE;
    fake.shards[1].ring = "gpu";
    fake_publish();
    struct rpc_call *call = fake_call_bytes("GetClusterInfo", BYTES_LIT(""));
    topology *info = told(call);
    assert_int_equal(info->shard_owners[0]->placement_ring_opt_case, 0);
    assert_string_equal(info->shard_owners[1]->placement_ring, "gpu");
    assert_int_equal(info->n_members, 2);
    assert_string_equal(info->members[0]->node_id, "node-1");
    assert_string_equal(info->members[0]->placement_rings[0], "gpu");
    assert_false(info->members[0]->leaving);
    assert_string_equal(info->members[1]->node_id, "node-2");
    assert_string_equal(info->members[1]->grpc_addr, "10.0.0.2:50051");
    assert_true(info->members[1]->leaving);
    assert_int_equal(info->version, directory_home_version(&fake.directory));
    assert_int_equal(info->life, FAKE_LIFE);
    assert_int_equal(info->map_number, FAKE_MAP);
    forget(info);
    fake_free(call);
    fake_stop();
}

/* As dialled is for this node alone: another one's address is what it says itself. */
static void a_caller_is_told_the_address_it_dialled_for_this_node_only(void **state)
{
    (void)state;
    fake_start(2, false, false);
    fake.shards[1].place = PLACE_NODE;
    fake_publish();
    fake.authority = BYTES_LIT("silo.example:443");
    struct rpc_call *call = fake_call_bytes("GetClusterInfo", BYTES_LIT(""));
    topology *info = told(call);
    assert_string_equal(info->this_grpc_addr, "silo.example:443");
    assert_string_equal(info->shard_owners[0]->grpc_addr, "silo.example:443");
    assert_string_equal(info->shard_owners[1]->grpc_addr, "10.0.0.2:50051");
    assert_string_equal(info->members[1]->grpc_addr, "10.0.0.2:50051");
    forget(info);
    fake_free(call);
    fake_stop();
}

/* --- WatchTopology --- */

static struct rpc_call *watch(uint64_t life, uint64_t version)
{
    Silo__V1__WatchTopologyRequest request = SILO__V1__WATCH_TOPOLOGY_REQUEST__INIT;
    request.known_life = life;
    request.known_version = version;
    return fake_call("WatchTopology", &request.base);
}

static uint64_t version_of(struct rpc_call *call)
{
    topology *info = told(call);
    const uint64_t version = info->version;
    forget(info);
    return version;
}

static void leave(struct rpc_call *call)
{
    fake_cancel(call);
    fake_free(call);
}

static void a_watch_is_told_at_once_and_of_each_change(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = watch(0, 0);
    assert_int_equal(call->sent, 1);
    assert_int_equal(version_of(call), 1);
    for (uint64_t version = 2; version < 5; version++) {
        fake_pass(TOPOLOGY_SPACING_US);
        fake_publish();
        assert_int_equal(call->sent, version);
        assert_int_equal(version_of(call), version);
    }
    leave(call);
    fake_publish(); /* nobody is told any more */
    fake_stop();
}

static void quick_changes_are_one_message_and_it_is_the_newest(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = watch(0, 0);
    for (int i = 0; i < 5; i++) {
        fake_publish();
    }
    assert_int_equal(call->sent, 1);
    fake_pass(TOPOLOGY_SPACING_US);
    assert_int_equal(call->sent, 2);
    assert_int_equal(version_of(call), 6);
    fake_pass(TOPOLOGY_SPACING_US);
    assert_int_equal(call->sent, 2); /* nothing has changed */
    leave(call);
    fake_stop();
}

static void a_slow_reader_gets_the_newest_only(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = watch(0, 0);
    call->stuffed = true;
    for (int i = 0; i < 5; i++) {
        fake_pass(TOPOLOGY_SPACING_US);
        fake_publish();
    }
    assert_int_equal(call->sent, 1);
    fake_read(call);
    assert_int_equal(call->sent, 2);
    assert_int_equal(version_of(call), 6);
    leave(call);
    fake_stop();
}

static void a_watch_that_knows_the_newest_waits_for_the_next(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *knows = watch(FAKE_LIFE, 1);
    struct rpc_call *other = watch(FAKE_LIFE + 1, 1); /* of another life: says nothing */
    assert_int_equal(knows->sent, 0);
    assert_int_equal(other->sent, 1);
    fake_publish();
    assert_int_equal(knows->sent, 1);
    assert_int_equal(version_of(knows), 2);
    leave(knows);
    fake_pass(TOPOLOGY_SPACING_US);
    leave(other);
    fake_stop();
}

/* One message is made for all of a loop, but not for callers that dialled something else. */
static void each_watch_is_told_the_address_it_dialled(void **state)
{
    (void)state;
    static const char *const addresses[] = {"a.example:1", "b.example:2", "b.example:2"};
    struct rpc_call *calls[3];
    fake_start(1, false, false);
    for (size_t i = 0; i < 3; i++) {
        fake.authority = bytes_str(addresses[i]);
        calls[i] = watch(0, 0);
    }
    for (size_t i = 0; i < 3; i++) {
        topology *info = told(calls[i]);
        assert_string_equal(info->this_grpc_addr, addresses[i]);
        forget(info);
        leave(calls[i]);
    }
    fake_stop();
}

/* So many that what they are sent together counts. */
static void many_watches_are_told_less_often(void **state)
{
    (void)state;
    char ring[101] = {0};
    memset(ring, 'r', sizeof ring - 1);
    fake_start(FAKE_SHARDS_MAX, false, false);
    for (size_t i = 0; i < FAKE_SHARDS_MAX; i++) {
        fake.shards[i].ring = ring;
    }
    fake_publish();
    struct rpc_call **calls = xcalloc(TOPOLOGY_STREAMS_MAX, sizeof *calls);
    for (size_t i = 0; i < TOPOLOGY_STREAMS_MAX; i++) {
        calls[i] = watch(0, 0);
    }
    struct rpc_call *last = calls[TOPOLOGY_STREAMS_MAX - 1];
    const int64_t spacing_us =
        (int64_t)(TOPOLOGY_STREAMS_MAX * last->reply.len / TOPOLOGY_BYTES_PER_US);
    assert_true(spacing_us > TOPOLOGY_SPACING_US);
    fake_publish();
    fake_pass(spacing_us - 1);
    assert_int_equal(last->sent, 1);
    fake_pass(1);
    assert_int_equal(last->sent, 2);
    for (size_t i = 0; i < TOPOLOGY_STREAMS_MAX; i++) {
        leave(calls[i]);
    }
    free(calls);
    fake_stop();
}

static void watches_are_bounded_and_those_that_end_make_room(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call **calls = xcalloc(TOPOLOGY_STREAMS_MAX, sizeof *calls);
    for (size_t i = 0; i < TOPOLOGY_STREAMS_MAX; i++) {
        calls[i] = watch(FAKE_LIFE, 1);
    }
    struct rpc_call *more = watch(FAKE_LIFE, 1);
    fake_failed(more, 8, "too many callers watch");
    fake_free(more);
    leave(calls[0]);
    calls[0] = watch(FAKE_LIFE, 1);
    assert_false(calls[0]->done);
    for (size_t i = 0; i < TOPOLOGY_STREAMS_MAX; i++) {
        leave(calls[i]);
    }
    free(calls);
    fake_stop();
}

static void watches_end_when_the_server_stops(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = watch(0, 0);
    fake_publish(); /* which is due later */
    service_release(fake.service);
    fake_run();
    assert_true(call->done);
    fake_failed(call, 14, "shutting down");
    fake_free(call);
    struct rpc_call *late = watch(0, 0);
    fake_failed(late, 14, "shutting down");
    fake_free(late);
    fake_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shard_has_a_state_and_its_owner),
        cmocka_unit_test(rings_members_and_versions_are_told),
        cmocka_unit_test(a_caller_is_told_the_address_it_dialled_for_this_node_only),
        cmocka_unit_test(a_watch_is_told_at_once_and_of_each_change),
        cmocka_unit_test(quick_changes_are_one_message_and_it_is_the_newest),
        cmocka_unit_test(a_slow_reader_gets_the_newest_only),
        cmocka_unit_test(a_watch_that_knows_the_newest_waits_for_the_next),
        cmocka_unit_test(each_watch_is_told_the_address_it_dialled),
        cmocka_unit_test(many_watches_are_told_less_often),
        cmocka_unit_test(watches_are_bounded_and_those_that_end_make_room),
        cmocka_unit_test(watches_end_when_the_server_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
