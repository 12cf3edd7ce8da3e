/* base/list_test.c - order, removal anywhere, what an unlinked node looks like. */
#include "base/list.h"

#include "base/test.h"

struct item {
    int value;
    struct list_node node;
};

static int value_of(struct list_node *node)
{
    const struct item *item = LIST_ENTRY(node, struct item, node);
    return item != NULL ? item->value : -1;
}

static void order_of_pushes(void **state)
{
    (void)state;
    struct list list;
    struct item items[4] = {{.value = 0}, {.value = 1}, {.value = 2}, {.value = 3}};
    list_init(&list);
    assert_true(list_empty(&list));
    assert_int_equal(value_of(list_first(&list)), -1);
    list_push_back(&list, &items[1].node);
    list_push_back(&list, &items[2].node);
    list_push_front(&list, &items[0].node);
    list_insert_before(&items[2].node, &items[3].node);
    static const int want[] = {0, 1, 3, 2};
    size_t i = 0;
    for (struct list_node *node = list_first(&list); node != NULL; node = list_next(&list, node)) {
        assert_int_equal(value_of(node), want[i++]);
    }
    assert_int_equal(i, 4);
    for (i = 0; i < 4; i++) {
        assert_int_equal(value_of(list_pop_front(&list)), want[i]);
    }
    assert_null(list_pop_front(&list));
}

static void removal_is_idempotent(void **state)
{
    (void)state;
    struct list list;
    struct item items[3] = {{.value = 0}, {.value = 1}, {.value = 2}};
    list_init(&list);
    for (size_t i = 0; i < 3; i++) {
        assert_false(list_linked(&items[i].node));
        list_push_back(&list, &items[i].node);
        assert_true(list_linked(&items[i].node));
    }
    list_remove(&items[1].node);
    list_remove(&items[1].node);
    assert_false(list_linked(&items[1].node));
    assert_int_equal(value_of(list_next(&list, &items[0].node)), 2);
    list_remove(&items[0].node);
    list_remove(&items[2].node);
    assert_true(list_empty(&list));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(order_of_pushes),
                                       cmocka_unit_test(removal_is_idempotent)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
