/*
 * codec/record_edge_test.c - the edges of what a record can hold: numbers of every size, lengths
 * that lie, counts that do not fit together.
 */
#include "codec/record.h"

#include "base/test.h"

#define RECORD_BYTES_MAX 4096

static void numbers_of_every_size_come_back(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, RECORD_BYTES_MAX);
    for (uint32_t bit = 0; bit < 64; bit++) {
        const uint64_t edge = 1ULL << bit;
        for (uint64_t number = edge - 1; number - (edge - 1) < 3; number++) {
            uint64_t got = 0, arrival = 0;
            int64_t due_ms = 0;
            uint8_t priority = 0;
            buf_reset(&buf);
            number_encode(&buf, number);
            assert_true(number_decode(buf_bytes(&buf), &got) && got == number);
            for (int negative = 0; negative < 2; negative++) {
                const int64_t want = (int64_t)(negative ? 0 - number : number);
                buf_reset(&buf);
                low_encode(&buf, want, 99, number);
                assert_true(low_decode(buf_bytes(&buf), &due_ms, &priority, &arrival));
                assert_true(due_ms == want && priority == 99 && arrival == number);
            }
        }
    }
    uint64_t got = 0;
    assert_false(number_decode(BYTES_LIT("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
                               &got)); /* 65 bits */
    assert_false(
        number_decode(BYTES_LIT("\x01\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"), &got));
    buf_deinit(&buf);
}

/* Lengths that would run past the end, or around it. */
static void lying_lengths_are_refused(void **state)
{
    (void)state;
    struct task_rec task;
    assert_false(task_decode(BYTES_LIT("\x01\x05"
                                       "ref"),
                             &task));
    assert_false(task_decode(BYTES_LIT("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
                                       "ref"),
                             &task));
    assert_false(task_decode(BYTES_LIT("\x01\x00\xff\xff\xff\xff\x1f\x00\x00"),
                             &task)); /* attempt of 33 bits */
    struct bytes at = BYTES_LIT("\x04"
                                "abc"),
                 item;
    assert_false(item_next(&at, &item));
    at = BYTES_NONE;
    assert_false(item_next(&at, &item));
}

static void statuses_have_names(void **state)
{
    (void)state;
    assert_string_equal(job_status_name(JOB_SCHEDULED), "Scheduled");
    assert_string_equal(job_status_name(JOB_RUNNING), "Running");
    assert_string_equal(job_status_name(JOB_SUCCEEDED), "Succeeded");
    assert_string_equal(job_status_name(JOB_FAILED), "Failed");
    assert_string_equal(job_status_name(JOB_CANCELLED), "Cancelled");
}

/*
 * With all limits behind it a token carries none; `passed` still counts the slots. No more can be
 * passed than there are.
 */
static void passed_limits_are_bounded(void **state)
{
    (void)state;
    struct buf buf, limits;
    buf_init(&buf, RECORD_BYTES_MAX);
    buf_init(&limits, RECORD_BYTES_MAX);
    item_append(&limits, BYTES_LIT("L"));
    struct task_rec got;
    for (uint32_t count = 0; count < 2; count++) {
        for (uint32_t passed = 0; passed < 3; passed++) {
            const struct task_rec task = {
                .has_chain = true,
                .chain = {.passed = passed, .limit_count = count, .limits = buf_bytes(&limits)}};
            buf_reset(&buf);
            task_encode(&buf, &task);
            const bool want = count == 0 || passed <= count;
            assert_int_equal(task_decode(buf_bytes(&buf), &got), want);
            if (want) {
                assert_int_equal(got.chain.passed, passed);
                assert_int_equal(got.chain.limits.len, count == 0 ? 0 : limits.len);
            }
            struct lease_rec lease = {.limit_count = count, .passed = passed}, got_lease;
            buf_reset(&buf);
            lease_encode(&buf, &lease);
            assert_int_equal(buf.ptr[0], passed != 0 ? 2 : 1);
            assert_int_equal(lease_decode(buf_bytes(&buf), &got_lease), passed <= count);
        }
    }
    buf_deinit(&limits);
    buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_of_every_size_come_back),
        cmocka_unit_test(lying_lengths_are_refused),
        cmocka_unit_test(statuses_have_names),
        cmocka_unit_test(passed_limits_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
