/*
 * fuzz/key_fuzz.c - keys: what is built parses to what it was built from, and what parses rebuilds
 * to the same bytes.
 *
 * The first byte names the reader. Bytes that a reader takes are given to the builder; values drawn
 * from the same bytes go the other way round.
 */
#include "base/limits.h"
#include "fuzz.h"

#include "codec/key.h"

#define NAME_BYTES_MAX 512u
#define KINDS 8u

enum kind { JOB_REF, READY, TIMER, QUEUE_REF, WAITER, HOLDER, EXPIRY, RANGES };

static bool place_eq(const struct place *a, const struct place *b)
{
    return a->due_ms == b->due_ms && a->arrival == b->arrival && a->priority == b->priority;
}

/* A place as the core makes them: what others would be is refused by the parsers. */
static struct place place_take(struct bytes *in)
{
    return (struct place){.due_ms = (int64_t)(take_u64(in) >> 1),
                          .arrival = take_u64(in),
                          .priority = take_u8(in) % (PRIORITY_MAX + 1)};
}

/* A heap block that ends where the bytes end, so that reading on is seen. */
static struct bytes exact(struct bytes b)
{
    uint8_t *block = xmalloc(b.len);
    if (b.len != 0) {
        memcpy(block, b.ptr, b.len);
    }
    return bytes_of(block, b.len);
}

static void exact_free(struct bytes b)
{
    free((void *)(uintptr_t)b.ptr);
}

/* --- job references --- */

static void job_ref_raw(struct bytes ref)
{
    struct bytes tenant, job;
    uint8_t *scratch = xmalloc(ref.len);
    if (job_ref_parse(ref, scratch, &tenant, &job) && ref.len <= KEY_BYTES_MAX) {
        struct key key;
        key_job_ref(&key, tenant, job);
        /* The hash is not the reader's to check: whoever routes by it makes it. */
        ASSERT(key.len == ref.len && memcmp(key.b + 8, ref.ptr + 8, ref.len - 8) == 0);
        const struct bytes part = job_ref_tenant(ref);
        ASSERT(part.ptr == ref.ptr && part.len + job.len == ref.len);
    }
    free(scratch);
}

static void job_ref_built(struct bytes in)
{
    const struct bytes tenant = take_bytes(&in, NAME_BYTES_MAX);
    const struct bytes job = in.len > NAME_BYTES_MAX ? bytes_of(in.ptr, NAME_BYTES_MAX) : in;
    struct key key;
    key_job_ref(&key, tenant, job);
    const struct bytes ref = exact(key_bytes(&key));
    uint8_t *scratch = xmalloc(ref.len);
    struct bytes tenant_again, job_again;
    ASSERT(job_ref_parse(ref, scratch, &tenant_again, &job_again));
    ASSERT(bytes_eq(tenant, tenant_again) && bytes_eq(job, job_again));

    /* Every other key of the job takes the reference apart. */
    key_by_ref(&key, TABLE_STATE, ref);
    key_attempt(&key, ref, 7);
    key_index(&key, ref, INDEX_OPEN, 7);
    key_metadata(&key, ref, tenant, job);
    key_blob(&key, ref, BLOB_RESULT, 7);
    key_count(&key, ref);
    free(scratch);
    exact_free(ref);
}

/* --- places --- */

static void ready_raw(struct bytes in)
{
    const enum dispatch_order order = (take_u8(&in) & 1) != 0 ? ORDER_START : ORDER_PRIORITY;
    const struct bytes group = take_bytes(&in, NAME_BYTES_MAX);
    struct key prefix, again;
    key_ready_group(&prefix, group);
    const size_t prefix_len = prefix.len;
    const size_t take = in.len < KEY_BYTES_MAX - prefix_len ? in.len : KEY_BYTES_MAX - prefix_len;
    memcpy(prefix.b + prefix.len, in.ptr, take);
    prefix.len += take;
    const struct bytes key = exact(key_bytes(&prefix));
    struct place place;
    if (key_ready_parse(key, order, prefix_len, &place)) {
        key_ready(&again, order, group, &place);
        ASSERT(bytes_eq(key_bytes(&again), key));
    }
    exact_free(key);
}

static void ready_built(struct bytes in)
{
    const enum dispatch_order order = (take_u8(&in) & 1) != 0 ? ORDER_START : ORDER_PRIORITY;
    const struct place place = place_take(&in);
    const struct bytes group = take_bytes(&in, NAME_BYTES_MAX);
    struct key prefix, lane, key;
    key_ready_group(&prefix, group);
    key_ready_lane(&lane, order, group, place.priority);
    key_ready(&key, order, group, &place);
    ASSERT(bytes_starts(key_bytes(&lane), key_bytes(&prefix)));
    ASSERT(bytes_starts(key_bytes(&key), key_bytes(&lane)));
    const struct bytes whole = exact(key_bytes(&key));
    struct place again;
    ASSERT(key_ready_parse(whole, order, prefix.len, &again) && place_eq(&place, &again));
    exact_free(whole);
}

static void timer_raw(struct bytes in)
{
    struct place place;
    if (key_timer_parse(in, &place)) {
        struct key key;
        key_timer(&key, &place);
        ASSERT(bytes_eq(key_bytes(&key), in));
    }
}

static void timer_built(struct bytes in)
{
    const struct place place = place_take(&in);
    struct place again;
    struct key key;
    key_timer(&key, &place);
    ASSERT(key_timer_parse(key_bytes(&key), &again) && place_eq(&place, &again));
}

/* --- queues --- */

static void queue_ref_raw(struct bytes ref)
{
    struct bytes tenant, queue;
    uint8_t *scratch = xmalloc(ref.len);
    if (queue_ref_parse(ref, scratch, &tenant, &queue) && ref.len <= KEY_BYTES_MAX) {
        struct key key;
        key_queue_ref(&key, job_ref_tenant(ref), queue);
        ASSERT(bytes_eq(key_bytes(&key), ref));
    }
    struct bytes limiter, group;
    if (throttle_ref_parse(ref, scratch, &limiter, &group)) {
        ASSERT(limiter.len == LIMITER_HASH_LEN && group.len != 0);
    }
    free(scratch);
}

/* Tenant and queue name drawn from the input, as a reference. */
static void queue_ref_take(struct bytes *in, struct key *ret_ref, struct bytes *ret_queue)
{
    struct key job;
    key_job_ref(&job, take_bytes(in, NAME_BYTES_MAX), BYTES_NONE);
    *ret_queue = take_bytes(in, NAME_BYTES_MAX);
    key_queue_ref(ret_ref, key_bytes(&job), *ret_queue);
}

static void throttle_ref_built(struct bytes tenant_part, struct bytes name, struct bytes group)
{
    struct key key;
    struct bytes limiter, group_again;
    const struct bytes fits =
        bytes_of(group.ptr, group.len < NAME_BYTES_MAX ? group.len : NAME_BYTES_MAX);
    key_throttle_ref(&key, tenant_part, name, name, fits);
    uint8_t *scratch = xmalloc(key.len);
    ASSERT(throttle_ref_parse(key_bytes(&key), scratch, &limiter, &group_again) == (fits.len != 0));
    ASSERT(fits.len == 0 || bytes_eq(fits, group_again));
    free(scratch);
}

static void queue_ref_built(struct bytes in)
{
    struct key key;
    struct bytes queue, tenant_again, queue_again;
    queue_ref_take(&in, &key, &queue);
    const struct bytes ref = exact(key_bytes(&key));
    uint8_t *scratch = xmalloc(ref.len);
    ASSERT(queue_ref_parse(ref, scratch, &tenant_again, &queue_again));
    ASSERT(bytes_eq(queue, queue_again));
    key_queue(&key, ref, QUEUE_LINES);
    key_meta_ref(&key, META_GRANT, ref);
    key_meta_ref(&key, META_DROP, job_ref_tenant(ref));
    key_limiter(&key, job_ref_tenant(ref), queue, in);
    free(scratch);
    throttle_ref_built(job_ref_tenant(ref), queue, in);
    exact_free(ref);
}

static void waiter_raw(struct bytes in)
{
    const uint8_t bits = take_u8(&in);
    const enum dispatch_order order = (bits & 1) != 0 ? ORDER_START : ORDER_PRIORITY;
    const struct line_id line = {.floating = (bits & 2) != 0, .max = take_u32(&in)};
    struct key ref, prefix, again;
    struct bytes queue;
    queue_ref_take(&in, &ref, &queue);
    key_waiter_line(&prefix, key_bytes(&ref), line);
    const size_t prefix_len = prefix.len;
    const size_t take = in.len < KEY_BYTES_MAX - prefix_len ? in.len : KEY_BYTES_MAX - prefix_len;
    memcpy(prefix.b + prefix.len, in.ptr, take);
    prefix.len += take;
    const struct bytes key = exact(key_bytes(&prefix));
    struct place place;
    if (key_waiter_parse(key, order, prefix_len, &place)) {
        key_waiter(&again, order, key_bytes(&ref), line, &place);
        ASSERT(bytes_eq(key_bytes(&again), key));
    }
    exact_free(key);
}

static void waiter_built(struct bytes in)
{
    const uint8_t bits = take_u8(&in);
    const enum dispatch_order order = (bits & 1) != 0 ? ORDER_START : ORDER_PRIORITY;
    const struct line_id line = {.floating = (bits & 2) != 0, .max = take_u32(&in)};
    const struct place place = place_take(&in);
    struct key ref, prefix, key;
    struct bytes queue;
    struct place again;
    queue_ref_take(&in, &ref, &queue);
    key_waiter_line(&prefix, key_bytes(&ref), line);
    key_waiter(&key, order, key_bytes(&ref), line, &place);
    ASSERT(bytes_starts(key_bytes(&key), key_bytes(&prefix)));
    ASSERT(key_waiter_parse(key_bytes(&key), order, prefix.len, &again) &&
           place_eq(&place, &again));
}

static void holder_raw(struct bytes in)
{
    struct bytes ref;
    struct uuid task_id;
    if (in.len <= KEY_BYTES_MAX && key_holder_parse(in, &ref, &task_id)) {
        struct key key;
        key_holder(&key, ref, &task_id);
        ASSERT(bytes_eq(key_bytes(&key), in));
    }
}

static void holder_built(struct bytes in)
{
    struct key ref, key;
    struct bytes queue, ref_again;
    struct uuid task_id = {{0}}, id_again;
    for (size_t i = 0; i < sizeof task_id.b; i++) {
        task_id.b[i] = take_u8(&in);
    }
    queue_ref_take(&in, &ref, &queue);
    key_holder(&key, key_bytes(&ref), &task_id);
    ASSERT(key_holder_parse(key_bytes(&key), &ref_again, &id_again));
    ASSERT(bytes_eq(ref_again, key_bytes(&ref)) && uuid_eq(&task_id, &id_again));
}

/* --- expiry --- */

static void expiry_raw(struct bytes in)
{
    int64_t expire_ms;
    struct bytes ref;
    if (in.len <= KEY_BYTES_MAX && key_expiry_parse(in, &expire_ms, &ref)) {
        struct key key;
        key_expiry(&key, expire_ms, ref);
        ASSERT(bytes_eq(key_bytes(&key), in));
    }
}

static void expiry_built(struct bytes in)
{
    const int64_t expire_ms = (int64_t)(take_u64(&in) >> 1);
    struct key ref, key;
    const struct bytes tenant = take_bytes(&in, NAME_BYTES_MAX);
    key_job_ref(&ref, tenant, take_bytes(&in, NAME_BYTES_MAX));
    key_expiry(&key, expire_ms, key_bytes(&ref));
    int64_t expire_again;
    struct bytes ref_again;
    ASSERT(key_expiry_parse(key_bytes(&key), &expire_again, &ref_again));
    ASSERT(expire_again == expire_ms && bytes_eq(ref_again, key_bytes(&ref)));
}

/* --- order and ranges --- */

static void ranges(struct bytes in)
{
    const struct bytes a = take_bytes(&in, NAME_BYTES_MAX);
    const struct bytes b = take_bytes(&in, NAME_BYTES_MAX);
    struct key x, y;
    key_ready_group(&x, a);
    key_ready_group(&y, b);
    const int order = bytes_cmp(a, b);
    const int keys = bytes_cmp(key_bytes(&x), key_bytes(&y));
    ASSERT((order < 0) == (keys < 0) && (order == 0) == (keys == 0));
    ASSERT(order == 0 || !bytes_starts(key_bytes(&x), key_bytes(&y)));

    struct key end = x;
    ASSERT(key_after_prefix(&end));
    key_successor(&x);
    ASSERT(bytes_cmp(key_bytes(&x), key_bytes(&end)) < 0);
}

void fuzz_one(struct bytes input)
{
    static void (*const parts[KINDS][2])(struct bytes) = {
        [JOB_REF] = {job_ref_raw, job_ref_built}, [READY] = {ready_raw, ready_built},
        [TIMER] = {timer_raw, timer_built},       [QUEUE_REF] = {queue_ref_raw, queue_ref_built},
        [WAITER] = {waiter_raw, waiter_built},    [HOLDER] = {holder_raw, holder_built},
        [EXPIRY] = {expiry_raw, expiry_built},    [RANGES] = {ranges, ranges},
    };
    const uint8_t kind = take_u8(&input);
    parts[kind % KINDS][kind / KINDS % 2](input);
}

void fuzz_seeds(struct seeds *seeds)
{
    const struct place place = {.due_ms = 1700000000000, .arrival = 12345, .priority = 50};
    const struct uuid id = uuid_v4((const uint8_t *)"0123456789abcdef");
    struct key job, queue, key;
    key_job_ref(&job, BYTES_LIT("te\0nant"), BYTES_LIT("job-1"));
    seed_put(seeds, JOB_REF, key_bytes(&job));
    key_ready(&key, ORDER_PRIORITY, BYTES_NONE, &place);
    seed_put(seeds, READY, BYTES_LIT("\0\2mail\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\2"));
    key_timer(&key, &place);
    seed_put(seeds, TIMER, key_bytes(&key));
    key_queue_ref(&queue, job_ref_tenant(key_bytes(&job)), BYTES_LIT("queue"));
    seed_put(seeds, QUEUE_REF, key_bytes(&queue));
    key_holder(&key, key_bytes(&queue), &id);
    seed_put(seeds, HOLDER, key_bytes(&key));
    key_expiry(&key, place.due_ms, key_bytes(&job));
    seed_put(seeds, EXPIRY, key_bytes(&key));
    for (uint8_t kind = 0; kind < KINDS; kind++) {
        seed_put(seeds, (uint8_t)(kind + KINDS),
                 BYTES_LIT("\2abcd\3\0\1\2efgh\4ijklmnop\1\2\3\4\5\6\7\10qrstuvwxyz"));
    }
    seed_put(seeds, WAITER, BYTES_LIT("\1\0\0\0\5\1te\1qu\0\0\0\0\0\0\0\1\2\0\0\0\0\0\0\0\3"));
}
