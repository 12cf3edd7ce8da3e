/* The table of the kinds of limit is complete, and the columns of each row agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "core/limit_kinds.h"
#include "core/queue.h"

/*
 * The kinds there are: a new one is missing here until the compiler, which knows all values of the
 * enum, has said so.
 */
static enum limit_kind kind_next(enum limit_kind kind)
{
    switch (kind) {
    case LIMIT_CONCURRENCY:
        return LIMIT_FLOATING;
    case LIMIT_FLOATING:
        return LIMIT_RATE;
    case LIMIT_RATE:
        break;
    }
    return LIMIT_KIND_COUNT;
}

static void test_complete(void **state)
{
    (void)state;
    uint32_t count = 0;
    for (enum limit_kind kind = LIMIT_CONCURRENCY; kind != LIMIT_KIND_COUNT;
         kind = kind_next(kind)) {
        const struct limit_rules *rules = limit_rules(kind);
        assert_int_equal(kind, count++);
        assert_non_null(rules->name);
        assert_non_null(rules->look);
        assert_non_null(rules->arrive);
        assert_non_null(rules->has_line);
        for (enum limit_kind other = LIMIT_CONCURRENCY; other != kind; other = kind_next(other)) {
            assert_string_not_equal(rules->name, limit_rules(other)->name);
            assert_ptr_not_equal(rules->look, limit_rules(other)->look);
            assert_ptr_not_equal(rules->arrive, limit_rules(other)->arrive);
        }
    }
    assert_int_equal(count, LIMIT_KIND_COUNT);
}

/*
 * Who may lose slots while it waits must wait for one, or it would lose them to nobody's gain. What
 * is passed for good leaves nothing behind that could be lost.
 */
static void test_consistent(void **state)
{
    (void)state;
    for (uint32_t kind = 0; kind < LIMIT_KIND_COUNT; kind++) {
        const struct limit_rules *rules = limit_rules((enum limit_kind)kind);
        assert_int_equal(rules->gives_way, rules->holds == HOLDS_SLOT);
        assert_false(rules->passed_for_good && rules->holds != HOLDS_NOTHING);
        assert_false(rules->asked && rules->gives_way);
    }
}

/* Who stands in a line waits for a limit of the kind that the line is of. */
static void test_lines(void **state)
{
    (void)state;
    struct queue queue = {.throttle = NULL};
    assert_ptr_equal(line_rules(&queue, (struct line_id){.max = 3}),
                     limit_rules(LIMIT_CONCURRENCY));
    assert_ptr_equal(line_rules(&queue, (struct line_id){.floating = true, .max = UINT32_MAX}),
                     limit_rules(LIMIT_FLOATING));
    queue.throttle = (struct throttle *)&queue; /* only whether it is there counts */
    assert_ptr_equal(line_rules(&queue, (struct line_id){0}), limit_rules(LIMIT_RATE));
}

static void test_which_have_a_line(void **state)
{
    (void)state;
    for (uint32_t kind = 0; kind < LIMIT_KIND_COUNT; kind++) {
        const struct limit_rules *rules = limit_rules((enum limit_kind)kind);
        const struct limit plain = {.kind = (enum limit_kind)kind};
        struct limit waits = plain;
        waits.throttles = true;
        struct limit again = plain;
        again.repeated = true;
        assert_int_equal(rules->has_line(&plain), !rules->asked);
        assert_true(rules->has_line(&waits));
        assert_false(rules->has_line(&again)); /* nobody stops there */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_complete),
        cmocka_unit_test(test_consistent),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_which_have_a_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
