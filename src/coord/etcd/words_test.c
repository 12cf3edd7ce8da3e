/*
 * coord/etcd/words_test.c - keys, members and messages: there and back, and what strangers may have
 * written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/env.h"
#include "coord/etcd/keys.h"
#include "coord/etcd/member_text.h"
#include "coord/etcd/message.h"
#include "coord/etcd/txn.h"

#define GARBAGE_ROUNDS 20000
#define GARBAGE_BYTES 96

static void keys_are_read_as_they_were_made(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    char *prefix = etcd_key_prefix("silo");
    assert_string_equal(prefix, "silo/coord/");
    const uint8_t random[16] = {1, 2, 3};
    const struct uuid shard = uuid_v4(random);
    struct bytes id = BYTES_NONE;
    struct uuid read;
    assert_int_equal(etcd_key_read(prefix, etcd_key_member(&arena, prefix, "a/b"), &id, &read),
                     ETCD_KEY_MEMBER);
    assert_true(bytes_eq(id, BYTES_LIT("a/b")));
    assert_int_equal(etcd_key_read(prefix, etcd_key_owner(&arena, prefix, &shard), &id, &read),
                     ETCD_KEY_OWNER);
    assert_true(uuid_eq(&read, &shard));
    assert_int_equal(etcd_key_read(prefix, etcd_key_map(&arena, prefix), &id, &read), ETCD_KEY_MAP);
    static const char *const others[] = {"",
                                         "silo/coord",
                                         "silo/coord/",
                                         "silo/coord/members/",
                                         "silo/coord/shard_map2",
                                         "silo/coord/shards/x/owner",
                                         "silo2/coord/members/a",
                                         "silo/coord/splits/a",
                                         "silo/coord/shards/01020300-0000-4000-8000-000000000000"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_equal(etcd_key_read(prefix, bytes_str(others[i]), &id, &read), ETCD_KEY_OTHER);
    }
    assert_true(bytes_eq(etcd_prefix_end(&arena, BYTES_LIT("a/")), BYTES_LIT("a0")));
    free(prefix);
    arena_deinit(&arena);
}

static void a_member_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    static const char *const rings[] = {"x", "default"};
    const struct cluster_member member = {.id = "n\"1",
                                          .nonce = UINT64_MAX - 1,
                                          .address = "[::1]:7450",
                                          .rings = rings,
                                          .ring_count = 2,
                                          .leaving = true};
    char *text = member_text_encode(&member, 1700000000000, "host");
    struct cluster_member read;
    assert_true(member_text_decode(&arena, bytes_str(member.id), bytes_str(text), &read));
    assert_string_equal(read.id, member.id);
    assert_string_equal(read.address, member.address);
    assert_true(read.nonce == member.nonce && read.leaving);
    assert_int_equal(read.ring_count, 2);
    assert_string_equal(read.rings[1], "default");
    assert_false(member_text_decode(&arena, BYTES_LIT("n2"), bytes_str(text), &read));
    free(text);
    arena_deinit(&arena);
}

/* Another implementation may leave out what it does not know, and add what we do not. */
static void a_strangers_member_is_one_if_it_can_be(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct cluster_member read;
    const struct bytes id = BYTES_LIT("a");
    assert_true(member_text_decode(
        &arena, id, BYTES_LIT("{\"node_id\":\"a\",\"grpc_addr\":\"h:1\",\"more\":[{}]}"), &read));
    assert_true(read.nonce == 0 && read.ring_count == 0 && !read.leaving);
    static const char *const bad[] = {"",
                                      "{",
                                      "[]",
                                      "null",
                                      "{\"node_id\":\"a\"}",
                                      "{\"node_id\":1,\"grpc_addr\":\"h:1\"}",
                                      "{\"node_id\":\"a\",\"grpc_addr\":\"\"}",
                                      "{\"node_id\":\"b\",\"grpc_addr\":\"h:1\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(member_text_decode(&arena, id, bytes_str(bad[i]), &read));
    }
    assert_true(member_text_decode(&arena, id,
                                   BYTES_LIT("{\"node_id\":\"a\",\"grpc_addr\":\"h:1\",\"nonce\":"
                                             "\"XYZ\",\"placement_rings\":[1,\"\",\"r\"]}"),
                                   &read));
    assert_true(read.nonce == 0 && read.ring_count == 1);
    arena_deinit(&arena);
}

/* What is read of an answer that nobody meant to give; it may be refused, and does no harm. */
static void garbage_does_no_harm(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    for (uint32_t i = 0; i < GARBAGE_ROUNDS; i++) {
        uint8_t raw[GARBAGE_BYTES];
        env_random(&env_system, raw, sizeof raw);
        raw[0] = i % 2 == 0 ? 0x0a : raw[0]; /* a header, often */
        raw[1] = i % 2 == 0 ? (uint8_t)(raw[1] % 8) : raw[1];
        const struct bytes message = bytes_of(raw, raw[GARBAGE_BYTES - 1] % GARBAGE_BYTES);
        struct etcd_rows rows;
        struct etcd_changes changes;
        struct etcd_txn_answer txn;
        struct cluster_member member;
        int64_t lease = 0, ttl_s = 0;
        (void)etcd_rows_read(&arena, message, &rows);
        (void)etcd_changes_read(&arena, message, &changes);
        (void)etcd_txn_read(&arena, message, &txn);
        (void)etcd_lease_granted(&arena, message, &lease, &ttl_s);
        (void)etcd_lease_kept(&arena, message, &ttl_s);
        (void)member_text_decode(&arena, BYTES_LIT("a"), message, &member);
        free(etcd_token_read(message));
        arena_reset(&arena);
    }
    /* Without a revision nothing is an answer; a watch that is ended has none. */
    struct etcd_changes changes;
    const uint8_t ended[] = {0x0a, 0, 0x20, 1, 0x28, 7};
    assert_true(etcd_changes_read(&arena, bytes_of(ended, sizeof ended), &changes));
    assert_true(changes.canceled && changes.compacted);
    assert_false(etcd_changes_read(&arena, bytes_of(ended, 2), &changes));
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_read_as_they_were_made),
        cmocka_unit_test(a_member_is_read_as_it_was_written),
        cmocka_unit_test(a_strangers_member_is_one_if_it_can_be),
        cmocka_unit_test(garbage_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
