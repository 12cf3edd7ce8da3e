/* coord/map_home_test.c - the map's records are found and made, and an outage is waited out. */
#include "coord/map_home.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/assert.h"

#include "store_mem/store_mem.h"

#define TIMEOUT_MS 15000

struct rig {
    struct store *store;
    struct map_home home;
    struct env env;
    int64_t now_ms;
};

static int64_t rig_mono_us(void *context)
{
    return ((const struct rig *)context)->now_ms * 1000;
}

static int setup(void **state)
{
    struct rig *rig = xcalloc(1, sizeof *rig);
    rig->now_ms = 1000;
    rig->env = (struct env){.mono_us = rig_mono_us, .context = rig};
    rig->store = store_mem_new(NULL);
    map_home_init(&rig->home, &rig->env, rig->store, TIMEOUT_MS);
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    struct rig *rig = *state;
    map_home_deinit(&rig->home);
    store_ops_of(rig->store)->free(rig->store);
    free(rig);
    return 0;
}

/* Turns until there is an event, an end, or nothing but time is waited for. */
static bool turn(struct rig *rig, struct cluster_event *ret_event)
{
    for (;;) { /* the store answers by itself */
        (void)map_home_turn(&rig->home);
        if (map_home_event(&rig->home, ret_event)) {
            return true;
        }
        struct pollfd pfd = {.fd = map_home_fd(&rig->home), .events = POLLIN};
        if (pfd.fd < 0 || poll(&pfd, 1, 200) == 0) {
            return false;
        }
    }
}

static struct cluster_event event_of(struct rig *rig, enum cluster_event_kind kind)
{
    struct cluster_event event = {0};
    assert_true(turn(rig, &event));
    assert_int_equal(event.kind, kind);
    return event;
}

static void no_event(struct rig *rig)
{
    struct cluster_event event;
    assert_false(turn(rig, &event));
}

static void troubled(struct rig *rig, enum silo_code code, const char *part)
{
    struct silo_err err = {0};
    no_event(rig);
    assert_int_equal(map_home_check(&rig->home, &err).code, code);
    if (strstr(err.text, part) == NULL) {
        print_error("%s\n", err.text);
    }
    assert_non_null(strstr(err.text, part));
}

static void commit(struct rig *rig, uint64_t number, const char *text)
{
    map_home_commit(&rig->home, number, bytes_str(text));
    assert_int_equal(event_of(rig, EVENT_MAP_COMMITTED).number, number);
}

static void fail_nth(struct rig *rig, uint32_t nth, enum silo_code code)
{
    store_mem_fail(rig->store,
                   &(struct store_mem_fault){.kind = STORE_MEM_OBJECT, .nth = nth, .code = code});
}

static void none_then_the_highest(void **state)
{
    struct rig *rig = *state;
    map_home_read(&rig->home);
    assert_int_equal(event_of(rig, EVENT_MAP).number, 0);
    commit(rig, 1, "one");
    commit(rig, 9, "nine");
    commit(rig, 10, "ten");
    map_home_read(&rig->home);
    const struct cluster_event event = event_of(rig, EVENT_MAP);
    assert_int_equal(event.number, 10);
    assert_true(bytes_eq(event.text, BYTES_LIT("ten")));
    assert_int_equal(map_home_check(&rig->home, NULL).code, SILO_OK);
}

static void whoever_is_second_has_lost(void **state)
{
    struct rig *rig = *state;
    commit(rig, 1, "one");
    map_home_commit(&rig->home, 1, BYTES_LIT("another"));
    (void)event_of(rig, EVENT_MAP_LOST);
    map_home_read(&rig->home);
    assert_true(bytes_eq(event_of(rig, EVENT_MAP).text, BYTES_LIT("one")));
}

/* Whatever fails for a while is tried again, after a pause. */
static void every_failure_is_waited_out(void **state)
{
    struct rig *rig = *state;
    for (uint32_t nth = 1; nth <= 2; nth++) { /* the test, the listing */
        fail_nth(rig, nth, SILO_UNAVAILABLE);
        map_home_read(&rig->home);
        troubled(rig, SILO_UNAVAILABLE, nth == 1 ? "testing the store" : "listing cluster/");
        rig->now_ms += MAP_HOME_RETRY_MS - 1;
        no_event(rig);
        rig->now_ms += 1;
        assert_int_equal(event_of(rig, EVENT_MAP).number, 0);
        assert_int_equal(map_home_check(&rig->home, NULL).code, SILO_OK);
        rig->home.tested = false;
    }
    rig->home.tested = true;
    fail_nth(rig, 1, SILO_UNAVAILABLE);
    map_home_commit(&rig->home, 1, BYTES_LIT("one"));
    troubled(rig, SILO_UNAVAILABLE, "creating cluster/1.json");
    rig->now_ms += MAP_HOME_RETRY_MS;
    (void)event_of(rig, EVENT_MAP_COMMITTED);
    fail_nth(rig, 2, SILO_UNAVAILABLE);
    map_home_read(&rig->home);
    troubled(rig, SILO_UNAVAILABLE, "reading cluster/1.json");
    rig->now_ms += MAP_HOME_RETRY_MS;
    assert_int_equal(event_of(rig, EVENT_MAP).number, 1);
}

static void what_was_listed_and_is_gone_is_looked_for_again(void **state)
{
    struct rig *rig = *state;
    commit(rig, 1, "one");
    fail_nth(rig, 2, SILO_NOT_FOUND);
    map_home_read(&rig->home);
    troubled(rig, SILO_UNAVAILABLE, "cluster/1.json was listed and cannot be read");
    rig->now_ms += MAP_HOME_RETRY_MS;
    assert_int_equal(event_of(rig, EVENT_MAP).number, 1);
}

static void an_unfit_store_ends_it(void **state)
{
    struct rig *rig = *state;
    fail_nth(rig, 1, SILO_INVALID);
    map_home_read(&rig->home);
    troubled(rig, SILO_PRECONDITION, "this object store cannot be used");
    rig->now_ms += 3600000;
    troubled(rig, SILO_PRECONDITION, "this object store cannot be used");
}

static void a_store_that_is_not_there_ends_it(void **state)
{
    struct rig *rig = *state;
    fail_nth(rig, 1, SILO_NOT_FOUND);
    map_home_read(&rig->home);
    troubled(rig, SILO_PRECONDITION, "testing the store");
}

/* No answer at all: it is not waited for beyond the timeout, and its late answer is no harm. */
static void silence_is_an_outage(void **state)
{
    struct rig *rig = *state;
    store_mem_outage(rig->store, STORE_MEM_ALL, "connection refused by 127.0.0.1:9");
    map_home_read(&rig->home);
    no_event(rig);
    assert_int_equal(map_home_check(&rig->home, NULL).code, SILO_OK);
    assert_int_equal(map_home_turn(&rig->home), rig->now_ms + TIMEOUT_MS);
    rig->now_ms += TIMEOUT_MS;
    troubled(rig, SILO_UNAVAILABLE, "connection refused by 127.0.0.1:9");
    struct silo_err err = {0};
    assert_int_equal(map_home_check(&rig->home, &err).code, SILO_UNAVAILABLE);
    assert_non_null(strstr(err.text, "did not answer within 15 s (testing the store)"));
    store_mem_outage(rig->store, 0, NULL);
    rig->now_ms += MAP_HOME_RETRY_MS;
    assert_int_equal(event_of(rig, EVENT_MAP).number, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(none_then_the_highest, setup, teardown),
        cmocka_unit_test_setup_teardown(whoever_is_second_has_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(every_failure_is_waited_out, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_listed_and_is_gone_is_looked_for_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_unfit_store_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_store_that_is_not_there_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(silence_is_an_outage, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
