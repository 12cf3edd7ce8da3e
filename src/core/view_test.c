/* core/view_test.c - recent changes, pinned reads, and what the open batch becomes. */
#include "base/test.h"
#include "core/view.h"

#define KEY(text) BYTES_LIT("\x01" text)

static struct command *command_new(struct arena *arena)
{
    struct command *cmd = ARENA_NEW(arena, struct command);
    cmd->arena = arena;
    list_init(&cmd->reads);
    return cmd;
}

static uint64_t seal(struct view *view)
{
    return view_seal(view);
}

static void commit(struct view *view)
{
    const uint64_t batch = seal(view);
    view_applied(view, batch);
    view_durable(view, batch);
}

static void expect(struct view *view, struct bytes key, enum view_answer answer, const char *value)
{
    struct bytes got = BYTES_NONE;
    assert_int_equal(view_get(view, key, &got), answer);
    if (answer == VIEW_FOUND) {
        assert_true(bytes_eq(got, bytes_str(value)));
    }
}

static void test_recent(void **state)
{
    (void)state;
    struct view view;
    view_init(&view);
    expect(&view, KEY("a"), VIEW_UNKNOWN, NULL);
    view_put(&view, KEY("a"), BYTES_LIT("1"), false);
    expect(&view, KEY("a"), VIEW_FOUND, "1");
    view_put(&view, KEY("a"), BYTES_LIT("22"), false);
    expect(&view, KEY("a"), VIEW_FOUND, "22");
    assert_int_equal(view.open_rows, 1);
    assert_int_equal(view.open_bytes, 4);
    view_begin(&view);
    expect(&view, KEY("a"), VIEW_FOUND, "22");
    assert_int_equal(view.touched, 1);
    view_del(&view, KEY("a"));
    expect(&view, KEY("a"), VIEW_ABSENT, NULL);
    assert_int_equal(view.open_rows, 1); /* the tombstone is written */
    commit(&view);
    expect(&view, KEY("a"), VIEW_UNKNOWN, NULL);
    view_deinit(&view);
}

static void test_vanish(void **state)
{
    (void)state;
    struct view view;
    view_init(&view);
    view_put(&view, KEY("a"), BYTES_LIT("1"), true);
    view_del(&view, KEY("a"));
    assert_int_equal(view.open_rows, 0);
    assert_int_equal(view.open_bytes, 0);
    assert_null(view_recent(&view, KEY("a")));
    /* Not once it was in an earlier batch. */
    view_put(&view, KEY("a"), BYTES_LIT("1"), true);
    const uint64_t first = seal(&view);
    view_del(&view, KEY("a"));
    assert_int_equal(view.open_rows, 1);
    assert_true(view_recent(&view, KEY("a"))->del);
    /* Nor when it was deleted before it was put. */
    view_put(&view, KEY("a"), BYTES_LIT("2"), true);
    view_del(&view, KEY("a"));
    assert_int_equal(view.open_rows, 1);
    assert_true(view_recent(&view, KEY("a"))->del);
    view_applied(&view, first);
    view_deinit(&view);
}

static void test_sealed_rows(void **state)
{
    (void)state;
    struct view view;
    view_init(&view);
    view_put(&view, KEY("a"), BYTES_LIT("1"), false);
    view_put(&view, KEY("b"), BYTES_LIT("1"), false);
    (void)seal(&view);
    view_put(&view, KEY("a"), BYTES_LIT("2"), false); /* moves to the open batch */
    view_put(&view, KEY("c"), BYTES_LIT("2"), false);
    struct row *row = view_sealed_next(&view, NULL);
    assert_true(bytes_eq(bytes_of(row->key, row->key_len), KEY("a")));
    row = view_sealed_next(&view, row);
    assert_true(bytes_eq(bytes_of(row->key, row->key_len), KEY("c")));
    assert_null(view_sealed_next(&view, row));
    (void)seal(&view);
    assert_null(view_sealed_next(&view, NULL));
    view_deinit(&view);
}

/* A change that a read under way may have missed is kept until the read has ended. */
static void test_hold(void **state)
{
    (void)state;
    struct view view;
    view_init(&view);
    view_put(&view, KEY("a"), BYTES_LIT("1"), false);
    commit(&view);
    struct view_hold hold = {0};
    view_hold(&view, &hold);
    view_put(&view, KEY("a"), BYTES_LIT("2"), false);
    commit(&view);
    expect(&view, KEY("a"), VIEW_FOUND, "2");
    view_unhold(&view, &hold);
    view_put(&view, KEY("b"), BYTES_LIT("1"), false);
    commit(&view);
    expect(&view, KEY("a"), VIEW_UNKNOWN, NULL);
    view_deinit(&view);
}

static void test_durable_order(void **state)
{
    (void)state;
    struct view view;
    view_init(&view);
    view_put(&view, KEY("a"), BYTES_LIT("1"), false);
    (void)seal(&view);
    view_put(&view, KEY("b"), BYTES_LIT("1"), false);
    (void)seal(&view);
    view_applied(&view, 1);
    view_applied(&view, 2);
    expect(&view, KEY("a"), VIEW_FOUND, "1"); /* applied is not durable */
    view_durable(&view, 1);
    expect(&view, KEY("a"), VIEW_UNKNOWN, NULL);
    expect(&view, KEY("b"), VIEW_FOUND, "1");
    view_durable(&view, 2);
    expect(&view, KEY("b"), VIEW_UNKNOWN, NULL);
    view_deinit(&view);
}

static void test_pins(void **state)
{
    (void)state;
    struct view view;
    struct arena arena;
    view_init(&view);
    arena_init(&arena);
    struct command *one = command_new(&arena);
    struct command *two = command_new(&arena);
    view_need(&view, KEY("a"), one);
    view_need(&view, KEY("a"), one); /* asked for twice in one run */
    view_need(&view, KEY("a"), two); /* shared */
    view_need(&view, KEY("b"), two);
    assert_int_equal(one->reads_open, 1);
    assert_int_equal(two->reads_open, 2);
    assert_int_equal(view.pins.count, 2);
    view_release(&view, two);
    assert_int_equal(view.pins.count, 1); /* nobody wants b any more */
    struct pin *pin = MAP_ENTRY(map_find(&view.pins, KEY("a")), struct pin, node);
    pin->state = PIN_READY;
    pin->present = true;
    pin->value = blob_new(BYTES_LIT("stored"));
    expect(&view, KEY("a"), VIEW_FOUND, "stored");
    view_put(&view, KEY("a"), BYTES_LIT("newer"), false);
    expect(&view, KEY("a"), VIEW_FOUND, "newer"); /* a recent change comes first */
    view_release(&view, one);
    assert_int_equal(view.pins.count, 0);
    arena_deinit(&arena);
    view_deinit(&view);
}

static void test_failed_pin(void **state)
{
    (void)state;
    struct view view;
    struct arena arena;
    view_init(&view);
    arena_init(&arena);
    struct command *one = command_new(&arena);
    struct command *two = command_new(&arena);
    view_need(&view, KEY("a"), one);
    CONTAINER_OF(map_find(&view.pins, KEY("a")), struct pin, node)->state = PIN_FAILED;
    view_need(&view, KEY("a"), two);
    assert_true(two->read_failed);
    assert_int_equal(two->reads_open, 0);
    view_release(&view, one);
    view_release(&view, two);
    arena_deinit(&arena);
    view_deinit(&view);
}

static void test_absent_touches_newest(void **state)
{
    (void)state;
    struct view view;
    view_init(&view);
    view_put(&view, KEY("a"), BYTES_LIT("1"), false);
    view_begin(&view);
    view_touch_absent(&view);
    assert_int_equal(view.touched, 1);
    view_deinit(&view);
}

static void test_lent(void **state)
{
    (void)state;
    struct view view;
    view_init(&view);
    view_put_lent(&view, KEY("a"), BYTES_LIT("large"));
    assert_int_equal(view.open_bytes, 7);
    const struct row *row = view_sealed_next(&view, NULL);
    assert_true(bytes_eq(row->lent, BYTES_LIT("large")));
    (void)seal(&view);
    assert_null(view_recent(&view, KEY("a"))->lent.ptr); /* the memory went back */
    view_deinit(&view);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recent),
        cmocka_unit_test(test_vanish),
        cmocka_unit_test(test_sealed_rows),
        cmocka_unit_test(test_hold),
        cmocka_unit_test(test_pins),
        cmocka_unit_test(test_durable_order),
        cmocka_unit_test(test_failed_pin),
        cmocka_unit_test(test_lent),
        cmocka_unit_test(test_absent_touches_newest),
    };
    return cmocka_run_group_tests_name("view", tests, NULL, NULL);
}
