/* core/lane_test.c - the window over one lane: order, mark, full windows. */
#include "base/limits.h"
#include "base/test.h"
#include "core/lane.h"

static struct task *task_at(int64_t due_ms, uint8_t priority, uint64_t arrival)
{
    const struct place place = {.due_ms = due_ms, .priority = priority, .arrival = arrival};
    return task_new(BYTES_LIT("0123456789job"), &place, 1, 1);
}

static void lane_clear(struct lane *lane)
{
    for (uint32_t i = 0; i < lane->count; i++) {
        task_free(lane_at(lane, i));
    }
    lane_deinit(lane);
}

static void sorted(const struct lane *lane)
{
    for (uint32_t i = 1; i < lane->count; i++) {
        assert_true(place_cmp(false, &lane_at(lane, i - 1)->place, &lane_at(lane, i)->place) < 0);
    }
}

static void test_order(void **state)
{
    (void)state;
    struct lane lane;
    lane_init(&lane, false);
    static const int64_t dues[] = {5, 1, 9, 5, 3, 7, 1};
    for (uint32_t i = 0; i < 7; i++) {
        assert_null(lane_insert(&lane, task_at(dues[i], (uint8_t)(i % 2), i)));
        sorted(&lane);
    }
    assert_int_equal(lane_at(&lane, 0)->place.arrival, 6); /* due 1: priority 0 before 1 */
    assert_int_equal(lane_at(&lane, 6)->place.due_ms, 9);
    lane_clear(&lane);
}

static void test_find_remove(void **state)
{
    (void)state;
    struct lane lane;
    lane_init(&lane, false);
    for (uint32_t i = 0; i < 100; i++) {
        assert_null(lane_insert(&lane, task_at(i * 37 % 100, 0, i)));
    }
    /* From the front, from the middle, and with the head moved on. */
    for (uint32_t i = 0; i < 100; i++) {
        const struct place place = {.due_ms = i % 2 == 0 ? i / 2 : 99 - i / 2, .arrival = 0};
        struct task *task = NULL;
        for (uint32_t t = 0; t < lane.count; t++) {
            if (lane_at(&lane, t)->place.due_ms == place.due_ms) {
                task = lane_at(&lane, t);
            }
        }
        assert_non_null(task);
        assert_ptr_equal(lane_find(&lane, &task->place), task);
        const struct place gone = task->place;
        lane_remove(&lane, task);
        task_free(task);
        assert_null(lane_find(&lane, &gone));
        sorted(&lane);
    }
    assert_int_equal(lane.count, 0);
    lane_clear(&lane);
}

static void test_full(void **state)
{
    (void)state;
    struct lane lane;
    lane_init(&lane, false);
    for (uint32_t i = 0; i < LANE_TASKS_MAX; i++) {
        assert_null(lane_insert(&lane, task_at(10 * (int64_t)i, 0, i)));
    }
    assert_false(lane.bounded);
    /* One in the middle drops the largest, and the mark is the last that stayed. */
    struct task *dropped = lane_insert(&lane, task_at(15, 0, LANE_TASKS_MAX));
    assert_non_null(dropped);
    assert_int_equal(dropped->place.arrival, LANE_TASKS_MAX - 1);
    assert_true(lane.bounded);
    assert_int_equal(lane.mark.arrival, LANE_TASKS_MAX - 2);
    assert_false(lane_covers(&lane, &dropped->place));
    assert_true(lane_covers(&lane, &lane.mark));
    task_free(dropped);
    assert_int_equal(lane.count, LANE_TASKS_MAX);
    assert_false(lane_wants_page(&lane, LANE_TASKS_MAX));
    while (lane.count > LANE_TASKS_MAX / 2) {
        struct task *task = lane_at(&lane, 0);
        lane_remove(&lane, task);
        task_free(task);
    }
    assert_true(lane_wants_page(&lane, LANE_TASKS_MAX));
    lane_clear(&lane);
}

/* The largest of all is what goes, even if it just came. */
static void test_full_drops_new(void **state)
{
    (void)state;
    struct lane lane;
    lane_init(&lane, false);
    for (uint32_t i = 0; i < LANE_TASKS_MAX; i++) {
        assert_null(lane_insert(&lane, task_at(1, 0, i)));
    }
    struct task *task = task_at(2, 0, 0);
    assert_ptr_equal(lane_insert(&lane, task), task);
    assert_int_equal(lane.mark.arrival, LANE_TASKS_MAX - 1);
    task_free(task);
    lane_clear(&lane);
}

/* A queue that is filled at the end and emptied at the front needs no more room than it holds. */
static void test_queue(void **state)
{
    (void)state;
    struct lane lane;
    lane_init(&lane, false);
    for (uint32_t i = 0; i < 100000; i++) {
        assert_null(lane_insert(&lane, task_at(i, 0, i)));
        if (i >= 20) {
            struct task *task = lane_at(&lane, 0);
            assert_int_equal(task->place.arrival, i - 20);
            lane_remove(&lane, task);
            task_free(task);
        }
    }
    assert_true(lane.cap <= 64);
    lane_clear(&lane);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),          cmocka_unit_test(test_find_remove),
        cmocka_unit_test(test_full),           cmocka_unit_test(test_queue),
        cmocka_unit_test(test_full_drops_new),
    };
    return cmocka_run_group_tests_name("lane", tests, NULL, NULL);
}
