/* codec/key_edge_test.c - stored keys that no build of ours writes are refused, not misread. */
#include "base/limits.h"
#include "base/test.h"
#include "codec/key.h"

static void ready_prefix(struct key *key)
{
    key_ready_group(key, BYTES_LIT("g"));
}

static void a_time_beyond_its_range_is_refused(void **state)
{
    (void)state;
    struct key prefix;
    struct key key;
    struct place place = {.due_ms = INT64_MAX, .arrival = 1, .priority = 3};
    ready_prefix(&prefix);
    for (int order = ORDER_PRIORITY; order <= ORDER_START; order++) {
        key_ready(&key, (enum dispatch_order)order, BYTES_LIT("g"), &place);
        assert_true(
            key_ready_parse(key_bytes(&key), (enum dispatch_order)order, prefix.len, &place));
        key.b[prefix.len + (order == ORDER_PRIORITY ? 1 : 0)] |= 0x80;
        assert_false(
            key_ready_parse(key_bytes(&key), (enum dispatch_order)order, prefix.len, &place));
    }
    key_timer(&key, &(struct place){.due_ms = 5, .arrival = 1});
    assert_true(key_timer_parse(key_bytes(&key), &place));
    key.b[1] = 0x80;
    assert_false(key_timer_parse(key_bytes(&key), &place));
}

static void another_table_is_no_timer(void **state)
{
    (void)state;
    struct key key;
    struct place place;
    key_timer(&key, &(struct place){.due_ms = 5, .arrival = 1});
    key.b[0] = TABLE_READY;
    assert_false(key_timer_parse(key_bytes(&key), &place));
}

static void a_priority_that_does_not_exist_is_refused(void **state)
{
    (void)state;
    struct key prefix;
    struct key key;
    struct place place = {.due_ms = 5, .arrival = 1, .priority = PRIORITY_MAX};
    ready_prefix(&prefix);
    key_ready(&key, ORDER_PRIORITY, BYTES_LIT("g"), &place);
    assert_true(key_ready_parse(key_bytes(&key), ORDER_PRIORITY, prefix.len, &place));
    key.b[prefix.len] = PRIORITY_MAX + 1;
    assert_false(key_ready_parse(key_bytes(&key), ORDER_PRIORITY, prefix.len, &place));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_time_beyond_its_range_is_refused),
        cmocka_unit_test(another_table_is_no_timer),
        cmocka_unit_test(a_priority_that_does_not_exist_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
