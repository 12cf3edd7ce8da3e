/*
 * fuzz/record_fuzz.c - stored values: what decodes, encodes and decodes again to equal fields,
 * whatever its version.
 *
 * The first byte names the record. Bytes need not come back the same (numbers may be written longer
 * than needed), but what the second decoding gives must equal the first, field by field.
 */
#include "fuzz.h"

#include "codec/record.h"

#define RECORD_BYTES_MAX (1u << 20)
#define KINDS 13u

#define SAME(field) ASSERT(a->field == b->field)
#define SAME_BYTES(field) ASSERT(bytes_eq(a->field, b->field))

/* Also for numbers that do not equal themselves. */
static bool same_double(double a, double b)
{
    uint64_t x, y;
    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    return x == y;
}

static void retry_same(const struct retry_policy *a, const struct retry_policy *b)
{
    SAME(retry_count);
    SAME(initial_ms);
    SAME(max_ms);
    SAME(jitter);
    ASSERT(same_double(a->factor, b->factor));
}

static void blob_same(const struct blob_ref *a, const struct blob_ref *b)
{
    SAME(is_blob);
    SAME_BYTES(inline_bytes);
    SAME(len);
    SAME(hash);
}

static void info_same(const struct info *a, const struct info *b)
{
    SAME(priority);
    SAME(has_retry);
    retry_same(&a->retry, &b->retry);
    SAME_BYTES(group);
    SAME(enqueue_ms);
    SAME(requested_start_ms);
    SAME(due_ms);
    SAME(arrival);
    SAME(metadata_count);
    SAME_BYTES(metadata);
    SAME(limit_count);
    SAME_BYTES(limits);
    blob_same(&a->payload, &b->payload);

    /* The runs inside hold what the counts say. */
    struct bytes at = a->metadata, name, value;
    for (uint32_t i = 0; i < a->metadata_count; i++) {
        ASSERT(pair_next(&at, &name, &value));
    }
    ASSERT(at.len == 0);
    at = a->limits;
    for (uint32_t i = 0; i < a->limit_count; i++) {
        ASSERT(item_next(&at, &value));
    }
    ASSERT(at.len == 0 && !item_next(&at, &value));
}

static void attempt_same(const struct attempt *a, const struct attempt *b)
{
    SAME(relative);
    ASSERT(uuid_eq(&a->task_id, &b->task_id));
    SAME(started_ms);
    SAME(outcome.status);
    SAME(outcome.finished_ms);
    SAME_BYTES(outcome.error_code);
    blob_same(&a->outcome.data, &b->outcome.data);
    ASSERT(a->outcome.status != ATTEMPT_RUNNING);
}

static void state_same(const struct state *a, const struct state *b)
{
    SAME(status);
    SAME(changed_ms);
    SAME(has_mark);
    ASSERT(!a->has_mark || a->mark_ms == b->mark_ms);
    SAME(attempt);
    SAME(relative);
    SAME(has_next);
    SAME(due_ms);
    SAME(arrival);
    SAME(has_outcome);
    SAME(by_attempt);
    SAME(expire_ms);
    if (a->has_outcome) {
        attempt_same(&a->final, &b->final);
    }
    (void)job_status_name(a->status);
}

static void task_same(const struct task_rec *a, const struct task_rec *b)
{
    SAME_BYTES(job_ref);
    SAME(attempt);
    SAME(relative);
    SAME_BYTES(group);
    SAME(has_chain);
    if (a->has_chain) {
        ASSERT(uuid_eq(&a->chain.task_id, &b->chain.task_id));
        SAME(chain.passed);
        SAME(chain.rate_retries);
        SAME(chain.rates_paid);
        SAME(chain.limit_count);
        SAME_BYTES(chain.limits);
    }
}

static void lease_same(const struct lease_rec *a, const struct lease_rec *b)
{
    ASSERT(uuid_eq(&a->task_id, &b->task_id));
    SAME_BYTES(worker_id);
    SAME(attempt);
    SAME(relative);
    SAME(started_ms);
    SAME(has_mark);
    ASSERT(!a->has_mark || a->mark_ms == b->mark_ms);
    SAME(enqueue_ms);
    SAME(priority);
    SAME(due_ms);
    SAME(arrival);
    SAME_BYTES(group);
    SAME(has_retry);
    retry_same(&a->retry, &b->retry);
    SAME(limit_count);
    SAME(passed);
}

static void holder_same(const struct holder_rec *a, const struct holder_rec *b)
{
    SAME_BYTES(job_id);
    SAME(granted_ms);
    SAME(index);
}

static void floating_same(const struct floating_rec *a, const struct floating_rec *b)
{
    SAME(value);
    SAME(default_max);
    SAME(interval_ms);
    SAME(refreshed_ms);
    SAME(failures);
    SAME(retry_ms);
    SAME(metadata_count);
    SAME_BYTES(metadata);
    SAME(phase);
    if (a->phase != REFRESH_NONE) {
        ASSERT(uuid_eq(&a->task_id, &b->task_id));
        SAME_BYTES(group);
        SAME(since_ms);
    }
    if (a->phase == REFRESH_LEASE) {
        SAME_BYTES(worker_id);
    }
}

static void counts_same(const struct counts *a, const struct counts *b)
{
    SAME(open);
    SAME(succeeded);
    SAME(failed);
    SAME(cancelled);
}

static void shard_same(const struct shard_rec *a, const struct shard_rec *b)
{
    SAME(created_ms);
    SAME(dispatch_order);
}

/* void <name>_round(bytes): decode, encode, decode, compare. */
#define ROUND(name, type)                           \
    static void name##_round(struct bytes value)    \
    {                                               \
        struct type a = {0}, b = {0};               \
        if (!name##_decode(value, &a)) {            \
            return;                                 \
        }                                           \
        struct buf buf;                             \
        buf_init(&buf, RECORD_BYTES_MAX);           \
        name##_encode(&buf, &a);                    \
        ASSERT(!buf.full);                          \
        ASSERT(name##_decode(buf_bytes(&buf), &b)); \
        name##_same(&a, &b);                        \
        buf_deinit(&buf);                           \
    }

ROUND(info, info)
ROUND(state, state)
ROUND(attempt, attempt)
ROUND(task, task_rec)
ROUND(lease, lease_rec)
ROUND(holder, holder_rec)
ROUND(floating, floating_rec)
ROUND(counts, counts)
ROUND(shard, shard_rec)

static void number_round(struct bytes value)
{
    uint64_t a = 0, b = 0;
    if (!number_decode(value, &a)) {
        return;
    }
    struct buf buf;
    buf_init(&buf, RECORD_BYTES_MAX);
    number_encode(&buf, a);
    ASSERT(number_decode(buf_bytes(&buf), &b) && a == b);
    buf_deinit(&buf);
}

static void low_round(struct bytes value)
{
    struct place a = {0}, b = {0};
    if (!low_decode(value, &a.due_ms, &a.priority, &a.arrival)) {
        return;
    }
    struct buf buf;
    buf_init(&buf, RECORD_BYTES_MAX);
    low_encode(&buf, a.due_ms, a.priority, a.arrival);
    ASSERT(low_decode(buf_bytes(&buf), &b.due_ms, &b.priority, &b.arrival));
    ASSERT(a.due_ms == b.due_ms && a.priority == b.priority && a.arrival == b.arrival);
    buf_deinit(&buf);
}

static void line_same(const struct line_rec *a, const struct line_rec *b)
{
    SAME(id.floating);
    SAME(id.max);
    SAME(count);
    SAME(has_low);
    if (a->has_low) {
        SAME(low.due_ms);
        SAME(low.priority);
        SAME(low.arrival);
    }
}

/* A head and its lines. */
static void queue_round(struct bytes value)
{
    struct bytes at, at_again;
    uint32_t count = 0, count_again = 0;
    if (!queue_decode(value, &at, &count)) {
        return;
    }
    struct buf buf;
    buf_init(&buf, RECORD_BYTES_MAX);
    struct line_rec line = {0}, again = {0};
    uint32_t lines = 0;
    struct bytes walk = at;
    while (line_next(&walk, &line)) {
        lines++;
    }
    if (walk.len == 0 && lines == count) {
        queue_encode_head(&buf, count);
        for (walk = at; line_next(&walk, &line);) {
            queue_encode_line(&buf, &line);
        }
        ASSERT(queue_decode(buf_bytes(&buf), &at_again, &count_again) && count == count_again);
        for (walk = at; line_next(&walk, &line);) {
            ASSERT(line_next(&at_again, &again));
            line_same(&line, &again);
        }
        ASSERT(at_again.len == 0);
    }
    buf_deinit(&buf);
}

/* A run of items without a head: its reader takes it apart as it was put together. */
static void items_round(struct bytes value)
{
    struct buf buf;
    buf_init(&buf, RECORD_BYTES_MAX);
    struct bytes at = value, item, again;
    while (item_next(&at, &item)) {
        item_append(&buf, item);
    }
    struct bytes rest = buf_bytes(&buf);
    for (at = value; item_next(&at, &item);) {
        ASSERT(item_next(&rest, &again) && bytes_eq(item, again));
    }
    ASSERT(rest.len == 0);
    buf_deinit(&buf);
}

void fuzz_one(struct bytes input)
{
    static void (*const rounds[KINDS])(struct bytes) = {
        info_round,   state_round,    attempt_round, task_round,   lease_round,
        holder_round, floating_round, queue_round,   counts_round, shard_round,
        number_round, low_round,      items_round,
    };
    const uint8_t kind = take_u8(&input);
    rounds[kind % KINDS](input);
}

/* --- seeds --- */

static const struct retry_policy retry = {
    .retry_count = 3, .initial_ms = 100, .max_ms = 30000, .factor = 2.5, .jitter = true};

static void put(struct seeds *seeds, uint8_t kind, struct buf *buf)
{
    seed_put(seeds, kind, buf_bytes(buf));
    buf_reset(buf);
}

static void seeds_jobs(struct seeds *seeds, struct buf *buf)
{
    const struct info info = {.priority = 50,
                              .has_retry = true,
                              .retry = retry,
                              .group = BYTES_LIT("mail"),
                              .enqueue_ms = 1700000000000,
                              .due_ms = 1700000001000,
                              .arrival = 7,
                              .metadata_count = 1,
                              .metadata = BYTES_LIT("\1k\1v"),
                              .limit_count = 1,
                              .limits = BYTES_LIT("\7\x0a\5\x0a\1q\x10\2"),
                              .payload = {.inline_bytes = BYTES_LIT("\x81\xa1x\1")}};
    info_encode(buf, &info);
    put(seeds, 0, buf);
    struct state state = {.changed_ms = 5, .attempt = 2, .relative = 2, .has_next = true};
    state_encode(buf, &state);
    put(seeds, 1, buf);
    state = (struct state){.status = JOB_FAILED,
                           .has_mark = true,
                           .mark_ms = 9,
                           .has_outcome = true,
                           .by_attempt = true,
                           .final = {.outcome = {.status = ATTEMPT_FAILED,
                                                 .error_code = BYTES_LIT("E"),
                                                 .data = {true, BYTES_NONE, 5000, 77}}},
                           .expire_ms = 1700000099000};
    state_encode(buf, &state);
    put(seeds, 1, buf);
    attempt_encode(buf, &state.final);
    put(seeds, 2, buf);
}

static void seeds_tokens(struct seeds *seeds, struct buf *buf)
{
    struct task_rec task = {.job_ref = BYTES_LIT("12345678t\0\1job"), .group = BYTES_LIT("mail")};
    task_encode(buf, &task);
    put(seeds, 3, buf);
    task.has_chain = true;
    task.chain = (struct chain_rec){
        .passed = 1, .rate_retries = 2, .limit_count = 1, .limits = BYTES_LIT("\2xy")};
    task_encode(buf, &task);
    put(seeds, 3, buf);
    struct lease_rec lease = {.worker_id = BYTES_LIT("worker"),
                              .attempt = 1,
                              .relative = 1,
                              .has_mark = true,
                              .mark_ms = 8,
                              .group = BYTES_LIT("mail"),
                              .has_retry = true,
                              .retry = retry};
    lease_encode(buf, &lease);
    put(seeds, 4, buf);
    lease.limit_count = lease.passed = 2;
    lease_encode(buf, &lease);
    put(seeds, 4, buf);
}

static void seeds_queues(struct seeds *seeds, struct buf *buf)
{
    const struct holder_rec holder = {.job_id = BYTES_LIT("job"), .granted_ms = 6, .index = 1};
    holder_encode(buf, &holder);
    put(seeds, 5, buf);
    struct floating_rec floating = {.value = 5,
                                    .default_max = 5,
                                    .interval_ms = 60000,
                                    .metadata_count = 1,
                                    .metadata = BYTES_LIT("\1k\1v"),
                                    .group = BYTES_LIT("mail"),
                                    .worker_id = BYTES_LIT("worker")};
    for (unsigned phase = REFRESH_NONE; phase <= REFRESH_LEASE; phase++) {
        floating.phase = (enum refresh_phase)phase;
        floating_encode(buf, &floating);
        put(seeds, 6, buf);
    }
    queue_encode_head(buf, 2);
    queue_encode_line(buf, &(struct line_rec){.id = {.max = 3}, .count = 4});
    queue_encode_line(buf, &(struct line_rec){.id = {.floating = true, .max = UINT32_MAX},
                                              .count = 1,
                                              .has_low = true,
                                              .low = {.due_ms = 4, .priority = 5}});
    put(seeds, 7, buf);
}

void fuzz_seeds(struct seeds *seeds)
{
    struct buf buf;
    buf_init(&buf, FUZZ_SEED_BYTES_MAX);
    seeds_jobs(seeds, &buf);
    seeds_tokens(seeds, &buf);
    seeds_queues(seeds, &buf);
    counts_encode(&buf, &(struct counts){1, 2, 3, UINT64_MAX});
    put(seeds, 8, &buf);
    shard_encode(&buf, &(struct shard_rec){.created_ms = 1, .dispatch_order = ORDER_START});
    put(seeds, 9, &buf);
    number_encode(&buf, 1u << 20);
    put(seeds, 10, &buf);
    low_encode(&buf, 1700000000000, 50, 9);
    put(seeds, 11, &buf);
    seed_put(seeds, 12, BYTES_LIT("\1a\0\3bcd"));
    buf_deinit(&buf);
}
