/* metrics/published_test.c - readers see whole publications while their owner goes on. */
#include "metrics/published.h"

#include <pthread.h>

#include "base/test.h"

#define NUMBERS 37u
#define ROUNDS 200000u

static void nothing_was_published_yet(void **state)
{
    (void)state;
    struct published *published = published_new(NUMBERS);
    uint64_t numbers[NUMBERS];
    assert_true(published_get(published, numbers));
    for (size_t i = 0; i < NUMBERS; i++) {
        assert_int_equal(numbers[i], 0);
    }
    published_free(published);
}

static void *publish(void *context)
{
    struct published *published = context;
    uint64_t numbers[NUMBERS];
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        for (size_t i = 0; i < NUMBERS; i++) {
            numbers[i] = round * (i + 1);
        }
        published_put(published, numbers);
    }
    return NULL;
}

static void a_reader_never_sees_half_of_one(void **state)
{
    (void)state;
    struct published *published = published_new(NUMBERS);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, publish, published), 0);
    uint64_t last = 0;
    while (last < ROUNDS) {
        uint64_t numbers[NUMBERS];
        if (!published_get(published, numbers)) {
            continue;
        }
        assert_true(numbers[0] >= last);
        last = numbers[0];
        for (size_t i = 0; i < NUMBERS; i++) {
            assert_int_equal(numbers[i], last * (i + 1));
        }
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    published_free(published);
}

static void a_publication_that_does_not_end_is_not_waited_for(void **state)
{
    (void)state;
    struct published *published = published_new(1);
    uint64_t number = 0;
    atomic_store(&published->version, 1);
    assert_false(published_get(published, &number));
    published_free(published);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_was_published_yet),
        cmocka_unit_test(a_reader_never_sees_half_of_one),
        cmocka_unit_test(a_publication_that_does_not_end_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
