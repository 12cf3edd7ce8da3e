/*
 * codec/record_test.c - every record comes back as it was written, its bytes are pinned, and bytes
 * from elsewhere are refused or read without harm.
 */
#include "codec/record.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/test.h"

#define RECORD_BYTES_MAX 4096
#define NOW 1700000000000
#define GARBAGE_ROUNDS 20000

static const struct uuid task_id = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}};
static const struct retry_policy retry = {
    .retry_count = 3, .initial_ms = 1000, .max_ms = 60000, .factor = 2.5, .jitter = true};

/* --- one record of each kind, with every field set --- */

static void info_sample(struct buf *buf)
{
    struct buf metadata, limits;
    buf_init(&metadata, RECORD_BYTES_MAX);
    buf_init(&limits, RECORD_BYTES_MAX);
    item_append(&metadata, BYTES_LIT("k1"));
    item_append(&metadata, BYTES_LIT("v1"));
    item_append(&metadata, BYTES_LIT("k2"));
    item_append(&metadata, BYTES_NONE);
    item_append(&limits, BYTES_LIT("LIM"));
    const struct info info = {.priority = 7,
                              .has_retry = true,
                              .retry = retry,
                              .group = BYTES_LIT("grp"),
                              .enqueue_ms = NOW,
                              .requested_start_ms = -1,
                              .due_ms = NOW + 5,
                              .arrival = (1u << 20) + 1,
                              .metadata_count = 2,
                              .metadata = buf_bytes(&metadata),
                              .limit_count = 1,
                              .limits = buf_bytes(&limits),
                              .payload = {.inline_bytes = BYTES_LIT("pay")}};
    info_encode(buf, &info);
    buf_deinit(&metadata);
    buf_deinit(&limits);
}

static const struct state state_sample_record = {
    .status = JOB_SUCCEEDED,
    .changed_ms = NOW + 9,
    .has_mark = true,
    .mark_ms = NOW + 1,
    .attempt = 4,
    .relative = 1,
    .due_ms = NOW,
    .arrival = 300,
    .has_outcome = true,
    .by_attempt = true,
    .final = {.relative = 1,
              .task_id = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
              .started_ms = NOW,
              .outcome = {.status = ATTEMPT_SUCCEEDED,
                          .finished_ms = NOW + 9,
                          .data = {.is_blob = true, .len = 5000, .hash = 0x0123456789abcdef}}}};

static void state_sample(struct buf *buf)
{
    state_encode(buf, &state_sample_record);
}

static void attempt_sample(struct buf *buf)
{
    const struct attempt attempt = {.relative = 2,
                                    .task_id = task_id,
                                    .started_ms = NOW,
                                    .outcome = {.status = ATTEMPT_FAILED,
                                                .finished_ms = NOW + 9,
                                                .error_code = BYTES_LIT("E1"),
                                                .data = {.inline_bytes = BYTES_LIT("err")}}};
    attempt_encode(buf, &attempt);
}

static void task_sample(struct buf *buf)
{
    const struct task_rec task = {
        .job_ref = BYTES_LIT("ref"), .attempt = 4, .relative = 1, .group = BYTES_LIT("grp")};
    task_encode(buf, &task);
}

static void lease_sample(struct buf *buf)
{
    const struct lease_rec lease = {.task_id = task_id,
                                    .worker_id = BYTES_LIT("w1"),
                                    .attempt = 4,
                                    .relative = 1,
                                    .started_ms = NOW,
                                    .enqueue_ms = NOW - 5,
                                    .priority = 7,
                                    .due_ms = NOW - 1,
                                    .arrival = 300,
                                    .group = BYTES_LIT("grp"),
                                    .has_retry = true,
                                    .retry = retry,
                                    .limit_count = 2};
    lease_encode(buf, &lease);
}

/* --- version 2 of what had a version 1 --- */

static void state_sample_2(struct buf *buf)
{
    struct state state = state_sample_record;
    state.expire_ms = NOW + 86400000;
    state_encode(buf, &state);
}

static void task_sample_2(struct buf *buf)
{
    struct buf limits;
    buf_init(&limits, RECORD_BYTES_MAX);
    item_append(&limits, BYTES_LIT("L1"));
    item_append(&limits, BYTES_LIT("LIM"));
    const struct task_rec task = {.job_ref = BYTES_LIT("ref"),
                                  .attempt = 4,
                                  .relative = 1,
                                  .group = BYTES_LIT("grp"),
                                  .has_chain = true,
                                  .chain = {.task_id = task_id,
                                            .passed = 1,
                                            .rate_retries = 300,
                                            .limit_count = 2,
                                            .limits = buf_bytes(&limits)}};
    task_encode(buf, &task);
    buf_deinit(&limits);
}

static void task_sample_3(struct buf *buf)
{
    struct buf limits;
    buf_init(&limits, RECORD_BYTES_MAX);
    item_append(&limits, BYTES_LIT("L1"));
    item_append(&limits, BYTES_LIT("LIM"));
    const struct task_rec task = {
        .job_ref = BYTES_LIT("ref"),
        .attempt = 4,
        .relative = 1,
        .group = BYTES_LIT("grp"),
        .has_chain = true,
        .chain = {
            .task_id = task_id, .rates_paid = 2, .limit_count = 2, .limits = buf_bytes(&limits)}};
    task_encode(buf, &task);
    buf_deinit(&limits);
}

static void lease_sample_2(struct buf *buf)
{
    const struct lease_rec lease = {.task_id = task_id,
                                    .worker_id = BYTES_LIT("w1"),
                                    .attempt = 4,
                                    .relative = 1,
                                    .started_ms = NOW,
                                    .enqueue_ms = NOW - 5,
                                    .due_ms = NOW - 1,
                                    .arrival = 300,
                                    .group = BYTES_LIT("grp"),
                                    .limit_count = 3,
                                    .passed = 2};
    lease_encode(buf, &lease);
}

/* --- limits --- */

static void holder_sample(struct buf *buf)
{
    holder_encode(buf, &(struct holder_rec){
                           .job_id = BYTES_LIT("job"), .granted_ms = NOW, .index = UINT32_MAX});
}

static void floating_phase_sample(struct buf *buf, enum refresh_phase phase)
{
    struct buf metadata;
    buf_init(&metadata, RECORD_BYTES_MAX);
    item_append(&metadata, BYTES_LIT("k"));
    item_append(&metadata, BYTES_LIT("v"));
    const struct floating_rec floating = {.value = 9,
                                          .default_max = UINT32_MAX,
                                          .interval_ms = 60000,
                                          .refreshed_ms = NOW,
                                          .failures = 2,
                                          .retry_ms = NOW + 5,
                                          .metadata_count = 1,
                                          .metadata = buf_bytes(&metadata),
                                          .phase = phase,
                                          .task_id = task_id,
                                          .group = BYTES_LIT("grp"),
                                          .worker_id = BYTES_LIT("w1"),
                                          .since_ms = NOW + 9};
    floating_encode(buf, &floating);
    buf_deinit(&metadata);
}

static void floating_sample(struct buf *buf)
{
    floating_phase_sample(buf, REFRESH_NONE);
}

static void floating_task_sample(struct buf *buf)
{
    floating_phase_sample(buf, REFRESH_TASK);
}

static void floating_lease_sample(struct buf *buf)
{
    floating_phase_sample(buf, REFRESH_LEASE);
}

static const struct line_rec line_samples[] = {
    {.id = {.max = 5}, .count = 300},
    {.id = {.floating = true, .max = UINT32_MAX},
     .count = UINT64_MAX,
     .has_low = true,
     .low = {.due_ms = NOW, .priority = 7, .arrival = 300}},
};

static void queue_sample(struct buf *buf)
{
    queue_encode_head(buf, 2);
    queue_encode_line(buf, &line_samples[0]);
    queue_encode_line(buf, &line_samples[1]);
}

static void empty_queue_sample(struct buf *buf)
{
    queue_encode_head(buf, 0);
}

static void counts_sample(struct buf *buf)
{
    counts_encode(
        buf, &(struct counts){.open = 1, .succeeded = 127, .failed = 128, .cancelled = UINT64_MAX});
}

static void shard_sample(struct buf *buf)
{
    shard_encode(buf, &(struct shard_rec){.created_ms = NOW, .dispatch_order = 1});
}

static void number_sample(struct buf *buf)
{
    number_encode(buf, 300);
}

static void expiry_sample(struct buf *buf)
{
    struct buf refs;
    buf_init(&refs, 100);
    item_append(&refs, BYTES_LIT("ref"));
    item_append(&refs, BYTES_LIT("rf2"));
    expiry_encode(buf, buf_bytes(&refs));
    buf_deinit(&refs);
}

static void low_sample(struct buf *buf)
{
    low_encode(buf, NOW, 7, 300);
}

/* --- decode, and encode what came out --- */

static bool info_again(struct bytes value, struct buf *buf)
{
    struct info info;
    if (!info_decode(value, &info)) {
        return false;
    }
    struct bytes at = info.metadata, name, text;
    uint32_t pairs = 0;
    while (pair_next(&at, &name, &text)) {
        pairs++;
    }
    assert_int_equal(at.len, 0);
    assert_int_equal(pairs, info.metadata_count);
    info_encode(buf, &info);
    return true;
}

static bool state_again(struct bytes value, struct buf *buf)
{
    struct state state;
    if (!state_decode(value, &state)) {
        return false;
    }
    assert_non_null(job_status_name(state.status));
    assert_int_equal(state.has_outcome, job_status_terminal(state.status));
    state_encode(buf, &state);
    return true;
}

static bool attempt_again(struct bytes value, struct buf *buf)
{
    struct attempt attempt;
    if (!attempt_decode(value, &attempt)) {
        return false;
    }
    attempt_encode(buf, &attempt);
    return true;
}

static bool task_again(struct bytes value, struct buf *buf)
{
    struct task_rec task;
    if (!task_decode(value, &task)) {
        return false;
    }
    task_encode(buf, &task);
    return true;
}

static bool lease_again(struct bytes value, struct buf *buf)
{
    struct lease_rec lease;
    if (!lease_decode(value, &lease)) {
        return false;
    }
    lease_encode(buf, &lease);
    return true;
}

static bool holder_again(struct bytes value, struct buf *buf)
{
    struct holder_rec holder;
    if (!holder_decode(value, &holder)) {
        return false;
    }
    holder_encode(buf, &holder);
    return true;
}

static bool floating_again(struct bytes value, struct buf *buf)
{
    struct floating_rec floating;
    if (!floating_decode(value, &floating)) {
        return false;
    }
    floating_encode(buf, &floating);
    return true;
}

static bool queue_again(struct bytes value, struct buf *buf)
{
    struct bytes at;
    struct line_rec line;
    uint32_t line_count = 0, found = 0;
    if (!queue_decode(value, &at, &line_count)) {
        return false;
    }
    queue_encode_head(buf, line_count);
    while (line_next(&at, &line)) {
        queue_encode_line(buf, &line);
        found++;
    }
    assert_int_equal(at.len, 0);
    assert_int_equal(found, line_count);
    return true;
}

static bool counts_again(struct bytes value, struct buf *buf)
{
    struct counts counts;
    if (!counts_decode(value, &counts)) {
        return false;
    }
    counts_encode(buf, &counts);
    return true;
}

static bool shard_again(struct bytes value, struct buf *buf)
{
    struct shard_rec shard;
    if (!shard_decode(value, &shard)) {
        return false;
    }
    shard_encode(buf, &shard);
    return true;
}

static bool number_again(struct bytes value, struct buf *buf)
{
    uint64_t number = 0;
    if (!number_decode(value, &number)) {
        return false;
    }
    number_encode(buf, number);
    return true;
}

static bool expiry_again(struct bytes value, struct buf *buf)
{
    struct bytes refs;
    if (!expiry_decode(value, &refs)) {
        return false;
    }
    expiry_encode(buf, refs);
    return true;
}

static bool low_again(struct bytes value, struct buf *buf)
{
    int64_t due_ms = 0;
    uint8_t priority = 0;
    uint64_t arrival = 0;
    if (!low_decode(value, &due_ms, &priority, &arrival)) {
        return false;
    }
    low_encode(buf, due_ms, priority, arrival);
    return true;
}

/* These bytes may not change: a change of a layout is a new version, with a sample of its own. */
static const struct record_kind {
    const char *name;
    uint8_t version;
    void (*sample)(struct buf *buf);
    bool (*again)(struct bytes value, struct buf *buf);
    const char *golden;
} kinds[] = {
    {"info", 1, info_sample, info_again,
     "01070103d00fc0a9070000000000000440010367727080a0abfef962018aa0abfef962818040"
     "02026b31027631026b320001034c494d0003706179"},
    {"state", 1, state_sample, state_again,
     "010292a0abfef9620182a0abfef96204010080a0abfef962ac0201010100010203040506070809"
     "0a0b0c0d0e0f80a0abfef9620192a0abfef96200018827ef9bafcdf8acd19101"},
    {"attempt", 1, attempt_sample, attempt_again,
     "0102000102030405060708090a0b0c0d0e0f80a0abfef9620292a0abfef9620245310003657272"},
    {"task", 1, task_sample, task_again, "0103726566040103677270"},
    {"lease", 1, lease_sample, lease_again,
     "01000102030405060708090a0b0c0d0e0f027731040180a0abfef9620000f69fabfef96207fe9f"
     "abfef962ac02036772700103d00fc0a90700000000000004400102"},
    {"state 2", 2, state_sample_2, state_again,
     "020292a0abfef9620182a0abfef96204010080a0abfef962ac0201010100010203040506070809"
     "0a0b0c0d0e0f80a0abfef9620192a0abfef96200018827ef9bafcdf8acd191018090ded0fa62"},
    {"task 2", 2, task_sample_2, task_again,
     "0203726566040103677270000102030405060708090a0b0c0d0e0f01ac0202024c31034c494d"},
    {"task 3", 3, task_sample_3, task_again,
     "0303726566040103677270000102030405060708090a0b0c0d0e0f00000202"
     "4c31034c494d02"},
    {"lease 2", 2, lease_sample_2, lease_again,
     "02000102030405060708090a0b0c0d0e0f027731040180a0abfef9620000f69fabfef96200fe9f"
     "abfef962ac0203677270000302"},
    {"holder", 1, holder_sample, holder_again, "01036a6f6280a0abfef962ffffffff0f"},
    {"floating", 1, floating_sample, floating_again,
     "0109ffffffff0fc0a90780a0abfef962028aa0abfef96201016b017600"},
    {"floating, task", 1, floating_task_sample, floating_again,
     "0109ffffffff0fc0a90780a0abfef962028aa0abfef96201016b01760100010203040506070809"
     "0a0b0c0d0e0f0367727092a0abfef962"},
    {"floating, lease", 1, floating_lease_sample, floating_again,
     "0109ffffffff0fc0a90780a0abfef962028aa0abfef96201016b01760200010203040506070809"
     "0a0b0c0d0e0f0367727092a0abfef962027731"},
    {"queue", 1, queue_sample, queue_again,
     "01020005ac020001ffffffff0fffffffffffffffffff010180a0abfef96207ac02"},
    {"queue, empty", 1, empty_queue_sample, queue_again, "0100"},
    {"counts", 1, counts_sample, counts_again, "01017f8001ffffffffffffffffff01"},
    {"shard", 1, shard_sample, shard_again, "0180a0abfef96201"},
    {"number", 1, number_sample, number_again, "01ac02"},
    {"expiry", 1, expiry_sample, expiry_again, "01020372656603726632"},
    {"low", 1, low_sample, low_again, "0180a0abfef96207ac02"},
};
#define KINDS (sizeof kinds / sizeof kinds[0])

static void sample_init(struct buf *buf, const struct record_kind *kind)
{
    buf_init(buf, RECORD_BYTES_MAX);
    kind->sample(buf);
    assert_false(buf->full);
}

/*
 * Decodes a copy that ends with its allocation, so that a read past it is seen. What is accepted
 * must be stable.
 */
static bool try_decode(const struct record_kind *kind, struct bytes value)
{
    uint8_t *copy = malloc(value.len != 0 ? value.len : 1);
    memcpy(copy, value.ptr, value.len);
    struct buf first, second;
    buf_init(&first, RECORD_BYTES_MAX);
    buf_init(&second, RECORD_BYTES_MAX);
    const bool good = kind->again(bytes_of(copy, value.len), &first);
    if (good) {
        assert_true(kind->again(buf_bytes(&first), &second));
        assert_true(bytes_eq(buf_bytes(&first), buf_bytes(&second)));
    }
    buf_deinit(&first);
    buf_deinit(&second);
    free(copy);
    return good;
}

static void bytes_are_pinned(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        struct buf buf;
        sample_init(&buf, &kinds[k]);
        char text[512] = "";
        assert_true(buf.len < sizeof text / 2);
        for (size_t i = 0; i < buf.len; i++) {
            (void)snprintf(text + 2 * i, 3, "%02x", buf.ptr[i]);
        }
        assert_string_equal(text, kinds[k].golden);
        buf_deinit(&buf);
    }
}

static void records_come_back(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        struct buf buf, again;
        sample_init(&buf, &kinds[k]);
        buf_init(&again, RECORD_BYTES_MAX);
        assert_true(kinds[k].again(buf_bytes(&buf), &again));
        assert_true(bytes_eq(buf_bytes(&buf), buf_bytes(&again)));
        buf_deinit(&again);
        buf_deinit(&buf);
    }
}

static void cut_and_longer_records_are_refused(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        struct buf buf;
        sample_init(&buf, &kinds[k]);
        for (size_t len = 0; len < buf.len; len++) {
            assert_false(try_decode(&kinds[k], bytes_of(buf.ptr, len)));
        }
        assert_true(try_decode(&kinds[k], buf_bytes(&buf)));
        buf_u8(&buf, 0);
        assert_false(try_decode(&kinds[k], buf_bytes(&buf)));
        buf_deinit(&buf);
    }
}

static void other_versions_are_refused(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        struct buf buf;
        sample_init(&buf, &kinds[k]);
        for (uint32_t version = 0; version < 256; version++) {
            buf.ptr[0] = (uint8_t)version;
            assert_int_equal(try_decode(&kinds[k], buf_bytes(&buf)), version == kinds[k].version);
        }
        buf_deinit(&buf);
    }
}

static void changed_bytes_do_no_harm(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        struct buf buf;
        sample_init(&buf, &kinds[k]);
        for (size_t i = 0; i < buf.len; i++) {
            const uint8_t good = buf.ptr[i];
            for (uint32_t value = 0; value < 256; value++) {
                buf.ptr[i] = (uint8_t)value;
                (void)try_decode(&kinds[k], buf_bytes(&buf));
            }
            buf.ptr[i] = good;
        }
        buf_deinit(&buf);
    }
}

static uint64_t random_state = 0x5eed;

static uint32_t random_below(uint32_t bound)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state * 0x2545f4914f6cdd1dULL >> 33) % bound);
}

static void garbage_does_no_harm(void **state)
{
    (void)state;
    for (int i = 0; i < GARBAGE_ROUNDS; i++) {
        uint8_t bytes[64];
        const size_t len = 1 + random_below(sizeof bytes);
        for (size_t j = 0; j < len; j++) {
            bytes[j] = (uint8_t)(random_below(2) ? random_below(4) : random_below(256));
        }
        bytes[0] = (uint8_t)(1 + random_below(2));
        for (size_t k = 0; k < KINDS; k++) {
            (void)try_decode(&kinds[k], bytes_of(bytes, len));
        }
    }
}

/* --- fields --- */

static void info_fields_come_back(void **state)
{
    (void)state;
    struct buf buf;
    sample_init(&buf, &kinds[0]);
    struct info info;
    assert_true(info_decode(buf_bytes(&buf), &info));
    assert_int_equal(info.priority, 7);
    assert_true(info.has_retry && info.retry.jitter);
    assert_int_equal(info.retry.retry_count, 3);
    assert_int_equal(info.retry.initial_ms, 1000);
    assert_int_equal(info.retry.max_ms, 60000);
    assert_true(info.retry.factor == 2.5);
    assert_true(bytes_eq(info.group, BYTES_LIT("grp")));
    assert_true(info.enqueue_ms == NOW && info.requested_start_ms == -1 && info.due_ms == NOW + 5);
    assert_int_equal(info.arrival, (1 << 20) + 1);
    struct bytes name, value, item;
    assert_int_equal(info.metadata_count, 2);
    assert_true(pair_next(&info.metadata, &name, &value));
    assert_true(bytes_eq(name, BYTES_LIT("k1")) && bytes_eq(value, BYTES_LIT("v1")));
    assert_true(pair_next(&info.metadata, &name, &value));
    assert_true(bytes_eq(name, BYTES_LIT("k2")) && value.len == 0);
    assert_false(pair_next(&info.metadata, &name, &value));
    assert_int_equal(info.limit_count, 1);
    assert_true(item_next(&info.limits, &item) && bytes_eq(item, BYTES_LIT("LIM")));
    assert_false(item_next(&info.limits, &item));
    assert_true(!info.payload.is_blob && bytes_eq(info.payload.inline_bytes, BYTES_LIT("pay")));
    buf_deinit(&buf);
}

static void the_plainest_info_comes_back(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, RECORD_BYTES_MAX);
    const struct info plain = {.payload = {.is_blob = true, .len = UINT64_MAX, .hash = 1}};
    info_encode(&buf, &plain);
    struct info info;
    memset(&info, 0xaa, sizeof info);
    assert_true(info_decode(buf_bytes(&buf), &info));
    assert_false(info.has_retry);
    assert_int_equal(info.retry.retry_count, 0);
    assert_int_equal(info.metadata_count + info.limit_count, 0);
    assert_int_equal(info.metadata.len + info.limits.len + info.group.len, 0);
    assert_true(info.payload.is_blob && info.payload.len == UINT64_MAX && info.payload.hash == 1);
    buf_deinit(&buf);
}

static void lease_and_state_fields_come_back(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, RECORD_BYTES_MAX);
    lease_sample(&buf);
    struct lease_rec lease;
    assert_true(lease_decode(buf_bytes(&buf), &lease));
    assert_true(uuid_eq(&lease.task_id, &task_id));
    assert_true(bytes_eq(lease.worker_id, BYTES_LIT("w1")) &&
                bytes_eq(lease.group, BYTES_LIT("grp")));
    assert_true(lease.attempt == 4 && lease.relative == 1 && lease.limit_count == 2);
    assert_true(lease.started_ms == NOW && lease.enqueue_ms == NOW - 5 && lease.due_ms == NOW - 1);
    assert_true(!lease.has_mark && lease.priority == 7 && lease.arrival == 300);
    assert_true(lease.has_retry && lease.retry.factor == 2.5);

    buf_reset(&buf);
    state_sample(&buf);
    struct state got;
    assert_true(state_decode(buf_bytes(&buf), &got));
    assert_true(got.status == JOB_SUCCEEDED && got.changed_ms == NOW + 9);
    assert_true(got.has_mark && got.mark_ms == NOW + 1 && !got.has_next);
    assert_true(got.attempt == 4 && got.relative == 1 && got.due_ms == NOW && got.arrival == 300);
    assert_true(got.has_outcome && got.by_attempt && uuid_eq(&got.final.task_id, &task_id));
    assert_true(got.final.outcome.status == ATTEMPT_SUCCEEDED &&
                got.final.outcome.finished_ms == NOW + 9);
    assert_true(got.final.outcome.data.is_blob && got.final.outcome.data.len == 5000);
    buf_deinit(&buf);
}

/* A status and an outcome that do not belong together, and statuses nobody stores. */
static void impossible_states_are_refused(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, RECORD_BYTES_MAX);
    for (int status = JOB_SCHEDULED; status <= JOB_CANCELLED + 1; status++) {
        for (int has_outcome = 0; has_outcome < 2; has_outcome++) {
            struct state record = state_sample_record, got;
            record.status = (enum job_status)status;
            record.has_outcome = has_outcome;
            buf_reset(&buf);
            state_encode(&buf, &record);
            const bool terminal = status >= JOB_SUCCEEDED && status <= JOB_CANCELLED;
            const bool want = terminal ? has_outcome : status == JOB_SCHEDULED && !has_outcome;
            assert_int_equal(state_decode(buf_bytes(&buf), &got), want);
        }
    }
    for (int status = ATTEMPT_RUNNING; status <= ATTEMPT_CANCELLED + 1; status++) {
        struct attempt record = state_sample_record.final, got;
        record.outcome.status = (enum attempt_status)status;
        buf_reset(&buf);
        attempt_encode(&buf, &record);
        assert_int_equal(attempt_decode(buf_bytes(&buf), &got),
                         status >= ATTEMPT_SUCCEEDED && status <= ATTEMPT_CANCELLED);
    }
    buf_deinit(&buf);
}

/* What version 1 has no room for reads as 0, whatever stood in the struct. */
static void old_versions_are_still_read(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, RECORD_BYTES_MAX);
    struct state got_state;
    memset(&got_state, 0xaa, sizeof got_state);
    state_sample(&buf);
    assert_int_equal(buf.ptr[0], 1);
    assert_true(state_decode(buf_bytes(&buf), &got_state));
    assert_true(got_state.expire_ms == 0);
    assert_true(got_state.arrival == 300 && got_state.final.started_ms == NOW);

    struct task_rec task;
    memset(&task, 0xaa, sizeof task);
    buf_reset(&buf);
    task_sample(&buf);
    assert_int_equal(buf.ptr[0], 1);
    assert_true(task_decode(buf_bytes(&buf), &task));
    assert_true(task.attempt == 4 && bytes_eq(task.group, BYTES_LIT("grp")));
    assert_true(!task.has_chain && task.chain.passed == 0 && task.chain.rate_retries == 0);
    assert_true(task.chain.limit_count == 0 && task.chain.limits.len == 0);
    assert_true(uuid_eq(&task.chain.task_id, &(struct uuid){{0}}));

    struct lease_rec lease;
    memset(&lease, 0xaa, sizeof lease);
    buf_reset(&buf);
    lease_sample(&buf);
    assert_int_equal(buf.ptr[0], 1);
    assert_true(lease_decode(buf_bytes(&buf), &lease));
    assert_true(lease.limit_count == 2 && lease.passed == 0);
    buf_deinit(&buf);
}

static void new_fields_come_back(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, RECORD_BYTES_MAX);
    struct state got_state;
    state_sample_2(&buf);
    assert_true(state_decode(buf_bytes(&buf), &got_state));
    assert_true(got_state.expire_ms == NOW + 86400000);
    assert_true(got_state.final.outcome.data.len == 5000);

    struct task_rec task;
    buf_reset(&buf);
    task_sample_2(&buf);
    assert_true(task_decode(buf_bytes(&buf), &task));
    assert_true(task.has_chain && uuid_eq(&task.chain.task_id, &task_id));
    assert_true(task.chain.passed == 1 && task.chain.rate_retries == 300);
    assert_int_equal(task.chain.limit_count, 2);
    struct bytes item;
    assert_true(item_next(&task.chain.limits, &item) && bytes_eq(item, BYTES_LIT("L1")));
    assert_true(item_next(&task.chain.limits, &item) && bytes_eq(item, BYTES_LIT("LIM")));
    assert_int_equal(task.chain.limits.len, 0);

    struct lease_rec lease;
    buf_reset(&buf);
    lease_sample_2(&buf);
    assert_true(lease_decode(buf_bytes(&buf), &lease));
    assert_true(lease.limit_count == 3 && lease.passed == 2);

    struct holder_rec holder;
    buf_reset(&buf);
    holder_sample(&buf);
    assert_true(holder_decode(buf_bytes(&buf), &holder));
    assert_true(bytes_eq(holder.job_id, BYTES_LIT("job")));
    assert_true(holder.granted_ms == NOW && holder.index == UINT32_MAX);
    buf_deinit(&buf);
}

static void floating_fields_come_back(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, RECORD_BYTES_MAX);
    struct floating_rec got;
    for (int p = REFRESH_NONE; p <= REFRESH_LEASE + 1; p++) {
        const enum refresh_phase phase = (enum refresh_phase)p;
        buf_reset(&buf);
        floating_phase_sample(&buf, phase);
        memset(&got, 0xaa, sizeof got);
        assert_int_equal(floating_decode(buf_bytes(&buf), &got), phase <= REFRESH_LEASE);
        if (phase > REFRESH_LEASE) {
            break;
        }
        assert_true(got.value == 9 && got.default_max == UINT32_MAX && got.failures == 2);
        assert_true(got.interval_ms == 60000 && got.refreshed_ms == NOW && got.retry_ms == NOW + 5);
        struct bytes name, value;
        assert_int_equal(got.metadata_count, 1);
        assert_true(pair_next(&got.metadata, &name, &value));
        assert_true(bytes_eq(name, BYTES_LIT("k")) && bytes_eq(value, BYTES_LIT("v")));
        assert_int_equal(got.metadata.len, 0);
        assert_int_equal(got.phase, phase);
        const bool work = phase != REFRESH_NONE;
        assert_true(uuid_eq(&got.task_id, work ? &task_id : &(struct uuid){{0}}));
        assert_true(bytes_eq(got.group, work ? BYTES_LIT("grp") : BYTES_NONE));
        assert_true(got.since_ms == (work ? NOW + 9 : 0));
        assert_true(bytes_eq(got.worker_id, phase == REFRESH_LEASE ? BYTES_LIT("w1") : BYTES_NONE));
    }
    buf_deinit(&buf);
}

static void lines_of_a_queue_come_back(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, RECORD_BYTES_MAX);
    queue_sample(&buf);
    struct bytes at;
    uint32_t line_count = 0;
    assert_true(queue_decode(buf_bytes(&buf), &at, &line_count));
    assert_int_equal(line_count, 2);
    struct line_rec line;
    for (size_t i = 0; i < 2; i++) {
        memset(&line, 0xaa, sizeof line);
        assert_true(line_next(&at, &line));
        const struct line_rec *want = &line_samples[i];
        assert_true(line.id.floating == want->id.floating && line.id.max == want->id.max);
        assert_true(line.count == want->count && line.has_low == want->has_low);
        assert_true(line.low.due_ms == want->low.due_ms &&
                    line.low.priority == want->low.priority &&
                    line.low.arrival == want->low.arrival);
    }
    assert_false(line_next(&at, &line));
    assert_int_equal(at.len, 0);

    /* A head that promises other than what follows; a maximum of 33 bits. */
    for (uint32_t promised = 0; promised < 5; promised++) {
        buf_reset(&buf);
        queue_encode_head(&buf, promised);
        queue_encode_line(&buf, &line_samples[0]);
        queue_encode_line(&buf, &line_samples[1]);
        assert_int_equal(queue_decode(buf_bytes(&buf), &at, &line_count), promised == 2);
    }
    assert_false(
        queue_decode(BYTES_LIT("\x01\x01\x00\xff\xff\xff\xff\x1f\x00\x00"), &at, &line_count));
    at = BYTES_LIT("\x02\x05\x01\x00"); /* neither kind of line */
    assert_false(line_next(&at, &line));
    assert_int_equal(at.len, 4);
    buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_pinned),
        cmocka_unit_test(records_come_back),
        cmocka_unit_test(cut_and_longer_records_are_refused),
        cmocka_unit_test(other_versions_are_refused),
        cmocka_unit_test(changed_bytes_do_no_harm),
        cmocka_unit_test(garbage_does_no_harm),
        cmocka_unit_test(info_fields_come_back),
        cmocka_unit_test(the_plainest_info_comes_back),
        cmocka_unit_test(lease_and_state_fields_come_back),
        cmocka_unit_test(impossible_states_are_refused),
        cmocka_unit_test(old_versions_are_still_read),
        cmocka_unit_test(new_fields_come_back),
        cmocka_unit_test(floating_fields_come_back),
        cmocka_unit_test(lines_of_a_queue_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
