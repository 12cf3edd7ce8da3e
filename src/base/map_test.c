/* base/map_test.c - insertion over several growths, look-up, removal, iteration. */
#include "base/map.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/test.h"

#define ENTRIES 5000u

struct entry {
    char text[16];
    size_t seen;
    struct map_node node;
};

static void insert_find_remove(void **state)
{
    (void)state;
    struct map map;
    struct entry *entries = calloc(ENTRIES, sizeof *entries);
    map_init(&map);
    assert_null(map_find(&map, BYTES_LIT("x")));
    for (size_t i = 0; i < ENTRIES; i++) {
        (void)snprintf(entries[i].text, sizeof entries[i].text, "key-%zu", i);
        map_insert(&map, &entries[i].node, bytes_str(entries[i].text));
    }
    assert_int_equal(map.count, ENTRIES);
    for (size_t i = 0; i < ENTRIES; i += 2) {
        map_remove(&map, &entries[i].node);
    }
    for (size_t i = 0; i < ENTRIES; i++) {
        const struct entry *found =
            MAP_ENTRY(map_find(&map, bytes_str(entries[i].text)), struct entry, node);
        assert_ptr_equal(found, i % 2 == 0 ? NULL : &entries[i]);
    }
    assert_null(map_find(&map, BYTES_LIT("key-")));
    map_deinit(&map);
    free(entries);
}

static void iteration_sees_each_once(void **state)
{
    (void)state;
    struct map map;
    struct entry *entries = calloc(ENTRIES, sizeof *entries);
    map_init(&map);
    assert_null(map_next(&map, NULL));
    for (size_t i = 0; i < ENTRIES; i++) {
        (void)snprintf(entries[i].text, sizeof entries[i].text, "%zu", i);
        map_insert(&map, &entries[i].node, bytes_str(entries[i].text));
    }
    size_t count = 0;
    for (struct map_node *node = map_next(&map, NULL); node != NULL; node = map_next(&map, node)) {
        MAP_ENTRY(node, struct entry, node)->seen++;
        count++;
    }
    assert_int_equal(count, ENTRIES);
    for (size_t i = 0; i < ENTRIES; i++) {
        assert_int_equal(entries[i].seen, 1);
    }
    map_deinit(&map);
    free(entries);
}

static void keys_are_bytes_not_text(void **state)
{
    (void)state;
    struct map map;
    struct map_node a = {0};
    struct map_node b = {0};
    struct map_node empty = {0};
    map_init(&map);
    map_insert(&map, &a, BYTES_LIT("a\0a"));
    map_insert(&map, &b, BYTES_LIT("a\0b"));
    map_insert(&map, &empty, BYTES_NONE);
    assert_ptr_equal(map_find(&map, BYTES_LIT("a\0b")), &b);
    assert_ptr_equal(map_find(&map, BYTES_LIT("")), &empty);
    assert_null(map_find(&map, BYTES_LIT("a")));
    map_deinit(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(insert_find_remove),
        cmocka_unit_test(iteration_sees_each_once),
        cmocka_unit_test(keys_are_bytes_not_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
