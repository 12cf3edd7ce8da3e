/* base/arena_test.c - alignment, growth, reuse. */
#include "base/arena.h"

#include "base/test.h"

static void blocks_are_aligned_and_apart(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    uint8_t *last = NULL;
    for (size_t size = 0; size < 3000; size += 7) {
        uint8_t *p = arena_alloc(&arena, size);
        assert_int_equal((uintptr_t)p % 16, 0);
        memset(p, (int)(size & 0xff), size);
        assert_true(last == NULL || size < 14 || last[0] == (uint8_t)((size - 7) & 0xff));
        last = p;
    }
    arena_deinit(&arena);
}

static void large_blocks_do_not_end_the_chunk_in_use(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    uint8_t *first = arena_alloc(&arena, 16);
    uint8_t *large = arena_zalloc(&arena, 10 * ARENA_CHUNK_BYTES);
    uint8_t *second = arena_alloc(&arena, 16);
    assert_ptr_equal(second, first + 16);
    large[10 * ARENA_CHUNK_BYTES - 1] = 1;
    assert_true(arena.bytes >= 11 * ARENA_CHUNK_BYTES);
    arena_deinit(&arena);
}

static void reset_keeps_one_ordinary_chunk(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    void *first = arena_alloc(&arena, 8);
    arena_alloc(&arena, ARENA_CHUNK_BYTES);
    arena_alloc(&arena, 100000);
    arena_reset(&arena);
    assert_int_equal(arena.bytes, ARENA_CHUNK_BYTES);
    assert_non_null(first);
    arena_alloc(&arena, ARENA_CHUNK_BYTES);
    assert_int_equal(arena.bytes, ARENA_CHUNK_BYTES);
    arena_deinit(&arena);
    assert_int_equal(arena.bytes, 0);
}

static void reset_of_an_empty_arena(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    arena_reset(&arena);
    arena_deinit(&arena);
}

static void copies_and_texts(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    const struct bytes copy = arena_copy(&arena, BYTES_LIT("a\0b"));
    assert_int_equal(copy.len, 3);
    assert_memory_equal(copy.ptr, "a\0b", 3);
    assert_int_equal(arena_copy(&arena, BYTES_NONE).len, 0);
    assert_string_equal(arena_str(&arena, BYTES_LIT("text")), "text");
    assert_string_equal(arena_str(&arena, BYTES_NONE), "");
    assert_string_equal(arena_printf(&arena, "%s-%d", "n", 5), "n-5");
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_and_apart),
        cmocka_unit_test(large_blocks_do_not_end_the_chunk_in_use),
        cmocka_unit_test(reset_keeps_one_ordinary_chunk),
        cmocka_unit_test(reset_of_an_empty_arena),
        cmocka_unit_test(copies_and_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
