/*
 * Prefixes begin the keys they should and no others; parts of keys come back; malformed keys are
 * refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "codec/key_scan.h"

static const struct bytes names[] = {
    {(const uint8_t *)"", 0},        {(const uint8_t *)"a", 1},     {(const uint8_t *)"ab", 2},
    {(const uint8_t *)"a\0", 2},     {(const uint8_t *)"a\0b", 3},  {(const uint8_t *)"\0", 1},
    {(const uint8_t *)"\xff", 1},    {(const uint8_t *)"a\xff", 2}, {(const uint8_t *)"\0\1", 2},
    {(const uint8_t *)"b\0\xff", 3},
};
#define NAMES (sizeof names / sizeof names[0])

static struct key ref_of(struct bytes tenant, struct bytes id)
{
    struct key ref;
    key_job_ref(&ref, tenant, id);
    return ref;
}

static bool starts(const struct key *key, const struct key *prefix)
{
    return bytes_starts(key_bytes(key), key_bytes(prefix));
}

static void tenants_are_told_apart(void **state)
{
    (void)state;
    for (size_t t = 0; t < NAMES; t++) {
        struct key part, prefix, key;
        key_tenant_part(&part, names[t]);
        key_tenant_rows(&prefix, TABLE_INFO, key_bytes(&part));
        for (size_t i = 0; i < NAMES * NAMES; i++) {
            const struct key ref = ref_of(names[i / NAMES], names[i % NAMES]);
            struct bytes got_part, rest;
            uint8_t scratch[16];
            key_by_ref(&key, TABLE_INFO, key_bytes(&ref));
            assert_int_equal(starts(&key, &prefix), i / NAMES == t);
            assert_true(key_split(key_bytes(&key), &got_part, &rest));
            assert_int_equal(bytes_eq(got_part, key_bytes(&part)), i / NAMES == t);
            assert_true(bytes_eq(key_tenant_name(got_part, scratch), names[i / NAMES]));
            assert_true(bytes_eq(rest, names[i % NAMES]));
        }
    }
}

static void hashes_bound_tenants(void **state)
{
    (void)state;
    for (size_t t = 0; t < NAMES; t++) {
        const struct key ref = ref_of(names[t], BYTES_NONE);
        const uint64_t hash = tenant_hash(names[t]);
        struct key key, lo, next;
        key_by_ref(&key, TABLE_LEASE, key_bytes(&ref));
        key_hash_rows(&lo, TABLE_LEASE, hash);
        key_hash_rows(&next, TABLE_LEASE, hash + 1);
        assert_true(bytes_cmp(key_bytes(&lo), key_bytes(&key)) < 0);
        assert_true(bytes_cmp(key_bytes(&key), key_bytes(&next)) < 0);
    }
}

static void index_keys_come_back(void **state)
{
    (void)state;
    static const int64_t times[] = {0, 1, 1700000000000, INT64_MAX};
    for (size_t i = 0; i < NAMES * 16; i++) {
        const enum key_index kind = (enum key_index)(i % 4);
        const int64_t time = times[i / 4 % 4];
        const struct key ref = ref_of(BYTES_LIT("t"), names[i / 16]);
        struct key part, prefix, key;
        enum key_index got_kind;
        int64_t got_time;
        struct bytes got_part, id;
        key_tenant_part(&part, BYTES_LIT("t"));
        key_index(&key, key_bytes(&ref), kind, time);
        for (int other = INDEX_OPEN; other <= INDEX_CANCELLED; other++) {
            key_index_kind(&prefix, key_bytes(&part), (enum key_index)other);
            assert_int_equal(starts(&key, &prefix), other == (int)kind);
        }
        assert_true(key_index_parse(key_bytes(&key), &got_kind, &got_time, &got_part, &id));
        assert_int_equal(got_kind, kind);
        assert_int_equal(got_time, time);
        assert_true(bytes_eq(got_part, key_bytes(&part)));
        assert_true(bytes_eq(id, names[i / 16]));
    }
}

static void metadata_prefixes(void **state)
{
    (void)state;
    struct key part, prefix, key;
    key_tenant_part(&part, BYTES_LIT("t"));
    for (size_t i = 0; i < NAMES * NAMES * NAMES; i++) {
        const struct bytes name = names[i % NAMES];
        const struct bytes value = names[i / NAMES % NAMES];
        const struct bytes asked = names[i / NAMES / NAMES];
        const struct key ref = ref_of(BYTES_LIT("t"), BYTES_LIT("id"));
        struct bytes got_part, id;
        key_metadata(&key, key_bytes(&ref), name, value);
        key_metadata_value(&prefix, key_bytes(&part), name, asked);
        assert_int_equal(starts(&key, &prefix), bytes_eq(value, asked));
        key_metadata_start(&prefix, key_bytes(&part), name, asked);
        assert_int_equal(starts(&key, &prefix), bytes_starts(value, asked));
        key_metadata_start(&prefix, key_bytes(&part), asked, BYTES_NONE);
        assert_int_equal(starts(&key, &prefix), bytes_eq(name, asked));
        assert_true(key_metadata_parse(key_bytes(&key), &got_part, &id));
        assert_true(bytes_eq(id, BYTES_LIT("id")));
        assert_true(bytes_eq(got_part, key_bytes(&part)));
    }
}

static void metadata_beyond_the_index(void **state)
{
    (void)state;
    static uint8_t value[2000];
    struct key part, prefix, key;
    key_tenant_part(&part, BYTES_LIT("t"));
    key_metadata(&key, key_bytes(&part), BYTES_LIT("n"), bytes_of(value, 1000));
    for (size_t len = 0; len <= 2000; len += 50) {
        key_metadata_value(&prefix, key_bytes(&part), BYTES_LIT("n"), bytes_of(value, len));
        assert_int_equal(starts(&key, &prefix), len == 1000);
        key_metadata_start(&prefix, key_bytes(&part), BYTES_LIT("n"), bytes_of(value, len));
        assert_true(starts(&key, &prefix)); /* too long ones, too: readers check */
    }
}

static void queue_keys_come_back(void **state)
{
    (void)state;
    static const struct place place = {.due_ms = 77, .arrival = 88, .priority = 9};
    for (size_t i = 0; i < NAMES * 4; i++) {
        const struct key tenant = ref_of(BYTES_LIT("t"), BYTES_NONE);
        const struct line_id line = {.floating = i % 2 == 1, .max = i % 2 == 1 ? UINT32_MAX : 3};
        const enum dispatch_order order = i / 2 % 2 == 0 ? ORDER_PRIORITY : ORDER_START;
        struct key ref, key;
        struct bytes got_ref, rest;
        struct line_id got_line;
        struct place got;
        key_queue_ref(&ref, key_bytes(&tenant), names[i / 4]);
        key_waiter(&key, order, key_bytes(&ref), line, &place);
        assert_true(key_queue_split(key_bytes(&key), &got_ref, &rest));
        assert_true(bytes_eq(got_ref, key_bytes(&ref)));
        assert_true(key_waiter_rest(rest, order, &got_line, &got));
        assert_int_equal(got_line.floating, line.floating);
        assert_int_equal(got_line.max, line.max);
        assert_int_equal(got.due_ms, 77);
        assert_int_equal(got.arrival, 88);
        assert_int_equal(got.priority, 9);
        assert_false(key_waiter_rest(bytes_of(rest.ptr, rest.len - 1), order, &got_line, &got));
        key_queue(&key, key_bytes(&ref), QUEUE_FLOATING);
        assert_true(key_queue_split(key_bytes(&key), &got_ref, &rest));
        assert_true(bytes_eq(rest, BYTES_LIT("F")));
    }
}

/* Cut keys and random bytes: whatever is said, nothing outside of them is read. */
static void any_bytes_are_survived(void **state)
{
    (void)state;
    srand(7);
    for (int i = 0; i < 20000; i++) {
        const size_t len = (size_t)(rand() % 60);
        uint8_t *b = malloc(len != 0 ? len : 1);
        for (size_t k = 0; k < len; k++) {
            b[k] = (uint8_t)(rand() % 3 == 0 ? rand() : rand() % 3 == 0 ? 0xff : rand() % 2);
        }
        const struct bytes key = bytes_of(b, len);
        struct bytes part, rest;
        enum key_index kind;
        int64_t time;
        struct line_id line;
        struct place place;
        uint8_t scratch[64];
        if (key_split(key, &part, &rest)) {
            assert_int_equal(1 + part.len + rest.len, len);
            assert_true(key_tenant_name(part, scratch).len <= part.len);
        }
        if (key_index_parse(key, &kind, &time, &part, &rest)) {
            assert_true(kind <= INDEX_CANCELLED && time >= 0);
        }
        if (key_queue_split(key, &part, &rest)) {
            assert_int_equal(1 + part.len + rest.len, len);
            (void)key_waiter_rest(rest, ORDER_PRIORITY, &line, &place);
        }
        (void)key_metadata_parse(key, &part, &rest);
        free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tenants_are_told_apart),    cmocka_unit_test(hashes_bound_tenants),
        cmocka_unit_test(index_keys_come_back),      cmocka_unit_test(metadata_prefixes),
        cmocka_unit_test(metadata_beyond_the_index), cmocka_unit_test(queue_keys_come_back),
        cmocka_unit_test(any_bytes_are_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
