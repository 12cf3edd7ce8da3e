/*
 * fuzz/bucket_fuzz.c - stored buckets of the built-in rate limiter, and what checks make of them.
 *
 * A bucket that decodes encodes to the same bytes, and so does every bucket that a chain of checks
 * leaves behind: whatever the clock, the limits and the hits of the requests were, no check leaves
 * what would be refused as corrupt.
 */
#include "fuzz.h"

#include "core/bucket.h"

#define BUCKET_BYTES_MAX 256u
#define CHECKS_MAX 16u
#define KINDS 2u

static void bucket_round(const struct bucket *bucket)
{
    struct buf buf;
    struct bucket again;
    buf_init(&buf, BUCKET_BYTES_MAX);
    bucket_encode(&buf, bucket);
    ASSERT(!buf.full && bucket_decode(buf_bytes(&buf), &again));
    ASSERT(again.algorithm == bucket->algorithm && again.limit == bucket->limit);
    ASSERT(again.duration_ms == bucket->duration_ms && again.remaining == bucket->remaining);
    ASSERT(again.updated_ms == bucket->updated_ms && again.expire_ms == bucket->expire_ms);
    buf_deinit(&buf);
}

/* A number that is often small, often near a bound, and sometimes anything. */
static int64_t number_take(struct bytes *in)
{
    const uint8_t how = take_u8(in);
    if (how < 0x80) {
        return how;
    }
    if (how < 0xc0) {
        return (int64_t)take_u32(in);
    }
    return (int64_t)take_u64(in);
}

static void checks_run(struct bucket *bucket, bool exists, int64_t now_ms, struct bytes in)
{
    for (uint32_t i = 0; i < CHECKS_MAX && in.len != 0; i++) {
        const uint8_t bits = take_u8(&in);
        struct bucket_request request = {
            .algorithm = (bits & 1) != 0 ? BUCKET_LEAKY : BUCKET_TOKEN,
            .behavior =
                bits & (BUCKET_GREGORIAN | BUCKET_RESET_REMAINING | BUCKET_DRAIN_OVER_LIMIT),
        };
        request.limit = number_take(&in);
        request.duration_ms = number_take(&in);
        request.hits = number_take(&in);
        if (__builtin_add_overflow(now_ms, number_take(&in), &now_ms)) {
            now_ms = INT64_MAX;
        }
        const struct bucket_answer answer = bucket_take(bucket, &exists, &request, now_ms);
        ASSERT(answer.error == NULL || answer.over);
        ASSERT(answer.remaining >= 0);
        if (exists) {
            bucket_round(bucket);
        }
    }
}

void fuzz_one(struct bytes input)
{
    struct bucket bucket = {0};
    if (take_u8(&input) % KINDS == 0) {
        if (bucket_decode(input, &bucket)) {
            struct buf buf;
            buf_init(&buf, BUCKET_BYTES_MAX);
            bucket_encode(&buf, &bucket);
            ASSERT(bytes_eq(buf_bytes(&buf), input));
            buf_deinit(&buf);
        }
        return;
    }
    const struct bytes stored = take_bytes(&input, BUCKET_BYTES_MAX);
    const bool exists = bucket_decode(stored, &bucket);
    const int64_t now_ms = number_take(&input);
    checks_run(&bucket, exists, now_ms, input);
}

void fuzz_seeds(struct seeds *seeds)
{
    struct buf buf;
    struct bucket bucket = {.limit = 10,
                            .duration_ms = 60000,
                            .remaining = 4,
                            .updated_ms = 1700000000000,
                            .expire_ms = 1700000060000};
    buf_init(&buf, BUCKET_BYTES_MAX);
    bucket_encode(&buf, &bucket);
    seed_put(seeds, 0, buf_bytes(&buf));
    bucket.algorithm = BUCKET_LEAKY;
    bucket.remaining = 2.5;
    buf_reset(&buf);
    bucket_encode(&buf, &bucket);
    seed_put(seeds, 0, buf_bytes(&buf));
    seed_put(seeds, 1,
             BYTES_LIT("\0\200\1\2\3\4\0\12\74\1\1\1\12\74\1\1\20\12\74\177\1\1\12\74\5\1"));
    seed_put(seeds, 1, BYTES_LIT("\0\300\0\0\1\213\317\345\150\0\4\5\0\1\1\4\5\4\1\1\5\5\2\1\1"));
    buf_deinit(&buf);
}
