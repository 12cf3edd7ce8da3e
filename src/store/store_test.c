/* store/store_test.c - the packed forms of rows and operations. */
#include "base/assert.h"
#include "base/test.h"
#include "store/store.h"

static void op_bytes_are_pinned(void **state)
{
    (void)state;
    uint8_t memory[64];
    struct store_buf buf = {.ptr = memory, .cap = sizeof memory};
    store_op_pack(&buf, BYTES_LIT("key"), BYTES_LIT("va"), false);
    store_op_pack(&buf, BYTES_LIT("k"), BYTES_NONE, true);
    static const uint8_t want[] = {0,   0,   3, 0, 2, 0, 0, 0, 'k', 'e', 'y',
                                   'v', 'a', 1, 0, 1, 0, 0, 0, 0,   0,   'k'};
    assert_int_equal(buf.len, sizeof want);
    assert_memory_equal(memory, want, sizeof want);
    assert_int_equal(buf.len, store_op_size(3, 2) + store_op_size(1, 0));
}

static void op_lengths_use_all_their_bytes(void **state)
{
    (void)state;
    const size_t key_len = UINT16_MAX, value_len = 0x010203;
    uint8_t *key = xmalloc(key_len), *value = xmalloc(value_len);
    memset(key, 0x4b, key_len);
    memset(value, 0x56, value_len);
    const size_t size = store_op_size(key_len, value_len);
    struct store_buf buf = {.ptr = xmalloc(size), .cap = size};
    store_op_pack(&buf, bytes_of(key, key_len), bytes_of(value, value_len), false);
    static const uint8_t head[] = {0, 0, 0xff, 0xff, 3, 2, 1, 0};
    assert_int_equal(buf.len, size);
    assert_memory_equal(buf.ptr, head, sizeof head);
    assert_int_equal(buf.ptr[8], 0x4b);
    assert_int_equal(buf.ptr[size - 1], 0x56);
    free(key);
    free(value);
    free(buf.ptr);
}

static void rows_are_walked_in_order(void **state)
{
    (void)state;
    static const uint8_t packed[] = {
        1, 0, 0, 0, 2,    0,    0,    0,    'a', 'x', 'y', /* a row */
        2, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 'b', 'b',      /* absent */
        1, 0, 0, 0, 0,    0,    0,    0,    'c',           /* empty value */
    };
    struct store_rows rows = {.data = bytes_of(packed, sizeof packed), .count = 3};
    struct store_row row;
    assert_true(store_rows_next(&rows, &row));
    assert_true(row.present && bytes_eq(row.key, BYTES_LIT("a")) &&
                bytes_eq(row.value, BYTES_LIT("xy")));
    assert_true(store_rows_next(&rows, &row));
    assert_true(!row.present && bytes_eq(row.key, BYTES_LIT("bb")) && row.value.len == 0);
    assert_true(store_rows_next(&rows, &row));
    assert_true(row.present && bytes_eq(row.key, BYTES_LIT("c")) && row.value.len == 0);
    assert_int_equal(rows.data.len, 0);
    assert_false(store_rows_next(&rows, &row));
    assert_false(store_rows_next(&rows, &row));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(op_bytes_are_pinned),
        cmocka_unit_test(op_lengths_use_all_their_bytes),
        cmocka_unit_test(rows_are_walked_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
