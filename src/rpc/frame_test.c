/*
 * rpc/frame_test.c - framing: every split of the input, every limit, pieces and who releases them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "rpc/frame_int.h"

static void test_splits(void **state)
{
    (void)state;
    static const uint8_t wire[] = {0, 0, 0, 0, 5, 'h', 'e', 'l', 'l', 'o', 0, 0, 0, 0, 0};
    for (size_t step = 1; step <= sizeof wire; step++) {
        struct arena arena = {0};
        struct frame_reader reader;
        frame_reader_init(&reader, 100, step % 2 == 0 ? &arena : NULL);
        size_t messages = 0;
        for (size_t at = 0; at < sizeof wire; at += step) {
            struct bytes in =
                bytes_of(wire + at, sizeof wire - at < step ? sizeof wire - at : step);
            while (in.len != 0 && frame_read(&reader, &in) == FRAME_DONE) {
                const struct bytes want = messages == 0 ? BYTES_LIT("hello") : BYTES_LIT("");
                assert_true(bytes_eq(frame_message(&reader), want));
                messages++;
                frame_next(&reader);
            }
        }
        assert_int_equal(messages, 2);
        assert_false(frame_partial(&reader));
        frame_reader_deinit(&reader);
        arena_deinit(&arena);
    }
}

static enum frame_result read_prefix(const uint8_t prefix[FRAME_PREFIX_BYTES], size_t bytes_max)
{
    struct frame_reader reader;
    frame_reader_init(&reader, bytes_max, NULL);
    struct bytes in = bytes_of(prefix, FRAME_PREFIX_BYTES);
    const enum frame_result result = frame_read(&reader, &in);
    frame_reader_deinit(&reader);
    return result;
}

static void test_refusals(void **state)
{
    (void)state;
    assert_int_equal(read_prefix((uint8_t[]){0, 0, 0, 0, 10}, 10), FRAME_MORE);
    assert_int_equal(read_prefix((uint8_t[]){0, 0, 0, 0, 11}, 10), FRAME_TOO_LARGE);
    assert_int_equal(read_prefix((uint8_t[]){1, 0, 0, 0, 11}, 10), FRAME_TOO_LARGE);
    assert_int_equal(read_prefix((uint8_t[]){1, 0, 0, 0, 10}, 10), FRAME_COMPRESSED);
    assert_int_equal(read_prefix((uint8_t[]){2, 0, 0, 0, 0}, 10), FRAME_BAD);
    assert_int_equal(read_prefix((uint8_t[]){0, 255, 255, 255, 255}, UINT32_MAX), FRAME_MORE);
}

/* A peer that announces much and sends little costs what it sent. */
static void test_memory_follows_what_came(void **state)
{
    (void)state;
    struct frame_reader reader;
    frame_reader_init(&reader, 128u << 20, NULL);
    static const uint8_t prefix[] = {0, 7, 0, 0, 0};
    struct bytes in = bytes_of(prefix, sizeof prefix);
    assert_int_equal(frame_read(&reader, &in), FRAME_MORE);
    static const uint8_t some[100000];
    in = bytes_of(some, sizeof some);
    assert_int_equal(frame_read(&reader, &in), FRAME_MORE);
    assert_int_equal(in.len, 0);
    assert_true(reader.cap <= 2 * sizeof some);
    frame_reader_deinit(&reader);
}

struct counts {
    int sent, dropped;
};

static void count_release(void *context, bool sent)
{
    struct counts *counts = context;
    *(sent ? &counts->sent : &counts->dropped) += 1;
}

static void test_queue_takes_in_order(void **state)
{
    (void)state;
    for (size_t step = 1; step < 40; step++) {
        struct counts counts = {0};
        struct frame_queue queue = {0};
        const struct rpc_piece pieces[] = {
            {.bytes = BYTES_LIT("first "), .release = count_release, .context = &counts},
            {.bytes = BYTES_LIT(""), .release = count_release, .context = &counts},
            {.bytes = BYTES_LIT("second"), .release = count_release, .context = &counts},
        };
        frame_queue_push(&queue, NULL, pieces, 3, false);
        frame_queue_push(&queue, NULL, NULL, 0, false);
        frame_queue_push(&queue, NULL, pieces, 3, true);
        assert_int_equal(counts.sent, 3); /* copied ones are released at once */
        struct buf out;
        buf_init(&out, 1000);
        while (queue.bytes != 0) {
            const size_t n = queue.bytes < step ? queue.bytes : step;
            frame_queue_take(&queue, buf_room(&out, n), n);
            out.len += n;
        }
        static const char want[] = "\0\0\0\0\x0c"
                                   "first second"
                                   "\0\0\0\0\0"
                                   "\0\0\0\0\x0c"
                                   "first second";
        assert_true(bytes_eq(buf_bytes(&out), BYTES_LIT(want)));
        assert_int_equal(counts.sent, 6);
        assert_int_equal(counts.dropped, 0);
        assert_null(queue.first);
        buf_deinit(&out);
    }
}

static void test_queue_clear(void **state)
{
    (void)state;
    struct counts counts = {0};
    struct frame_queue queue = {0};
    const struct rpc_piece piece = {
        .bytes = BYTES_LIT("12345"), .release = count_release, .context = &counts};
    const struct rpc_piece pieces[] = {piece, piece, piece};
    frame_queue_push(&queue, NULL, pieces, 3, false);
    frame_queue_push(&queue, NULL, pieces, 3, false);
    uint8_t out[12];
    assert_int_equal(queue.held_bytes, 2 * (FRAME_PREFIX_BYTES + 15));
    frame_queue_take(&queue, out, sizeof out); /* the prefix, one piece and a part */
    assert_int_equal(counts.sent, 1);
    assert_int_equal(queue.held_bytes,
                     2 * (FRAME_PREFIX_BYTES + 15)); /* whole until its last byte */
    frame_queue_take(&queue, out, 8);
    frame_queue_push(&queue, NULL, pieces, 3, false);
    assert_int_equal(queue.held_bytes, 2 * (FRAME_PREFIX_BYTES + 15));
    assert_int_equal(counts.sent, 3);
    frame_queue_clear(&queue);
    assert_int_equal(counts.sent, 3);
    assert_int_equal(counts.dropped, 6);
    assert_int_equal(queue.bytes, 0);
    assert_int_equal(queue.held_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_splits),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_memory_follows_what_came),
        cmocka_unit_test(test_queue_takes_in_order),
        cmocka_unit_test(test_queue_clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
