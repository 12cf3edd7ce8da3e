/*
 * codec/key_test.c - the bytes of every key are pinned; byte order is the order of what was put in;
 * parsers get back what builders wrote and refuse the rest.
 */
#include "codec/key.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/test.h"

#define ROUNDS 20000

static uint64_t random_state = 0x5eed;

static uint32_t random_below(uint32_t bound)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state * 0x2545f4914f6cdd1dULL >> 33) % bound);
}

/* Short, of few different bytes: equal prefixes, zeroes, the bytes of the escapes. */
static struct bytes random_str(uint8_t scratch[8])
{
    static const uint8_t alphabet[] = {0x00, 0x01, 0xfe, 0xff, 'a'};
    const size_t len = random_below(8);
    for (size_t i = 0; i < len; i++) {
        scratch[i] = alphabet[random_below(sizeof alphabet)];
    }
    return bytes_of(scratch, len);
}

static int sign(int c)
{
    return (c > 0) - (c < 0);
}

static int key_cmp(const struct key *a, const struct key *b)
{
    return sign(bytes_cmp(key_bytes(a), key_bytes(b)));
}

static int u64_cmp(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static void check_hex(const struct key *key, const char *want)
{
    char text[2 * 128 + 1];
    assert_true(key->len <= 128);
    for (size_t i = 0; i < key->len; i++) {
        (void)snprintf(text + 2 * i, 3, "%02x", key->b[i]);
    }
    assert_string_equal(text, want);
}

/* --- the bytes --- */

#define DASH           \
    "7a162ebe4ce6fc55" \
    "2d0001" /* tenant "-" */
#define J1 "6a31"

static void ref_init(struct key *ref)
{
    key_job_ref(ref, BYTES_LIT("-"), BYTES_LIT("j1"));
}

static void bytes_of_job_keys_are_pinned(void **state)
{
    (void)state;
    struct key ref, key;
    ref_init(&ref);
    const struct bytes r = key_bytes(&ref);
    check_hex(&ref, DASH J1);
    key_by_ref(&key, TABLE_INFO, r);
    check_hex(&key, "01" DASH J1);
    key_by_ref(&key, TABLE_STATE, r);
    check_hex(&key, "02" DASH J1);
    key_attempt(&key, r, 0x01020304);
    check_hex(&key, "03" DASH J1 "0001"
                    "01020304");
    key_index(&key, r, INDEX_SUCCEEDED, 0x0102);
    check_hex(&key, "04" DASH "01"
                    "fffffffffffffefd" J1);
    key_metadata(&key, r, BYTES_LIT("n"), BYTES_LIT("a"));
    check_hex(&key, "05" DASH "6e0001"
                    "610001"
                    "d24ec4f1a98c6e5b" J1);
    key_by_ref(&key, TABLE_LEASE, r);
    check_hex(&key, "08" DASH J1);
    key_count(&key, r);
    check_hex(&key, "0c" DASH);
    key_blob(&key, r, BLOB_PAYLOAD, 0);
    check_hex(&key, "0e" DASH J1 "0001"
                    "50"
                    "00000000");
    key_blob(&key, r, BLOB_RESULT, 3);
    check_hex(&key, "0e" DASH J1 "0001"
                    "52"
                    "00000003");
}

static void bytes_of_task_and_shard_keys_are_pinned(void **state)
{
    (void)state;
    struct key key;
    const struct place place = {.due_ms = 0x0102, .arrival = 0x0a0b0c, .priority = 5};
    key_ready(&key, ORDER_PRIORITY, BYTES_LIT("g"), &place);
    check_hex(&key, "06"
                    "670001"
                    "05"
                    "0000000000000102"
                    "00000000000a0b0c");
    key_ready(&key, ORDER_START, BYTES_LIT("g"), &place);
    check_hex(&key, "06"
                    "670001"
                    "0000000000000102"
                    "05"
                    "00000000000a0b0c");
    key_timer(&key, &place);
    check_hex(&key, "07"
                    "0000000000000102"
                    "05"
                    "00000000000a0b0c");
    key_ready_group(&key, BYTES_LIT("g"));
    check_hex(&key, "06"
                    "670001");
    key_ready_lane(&key, ORDER_PRIORITY, BYTES_LIT("g"), 5);
    check_hex(&key, "06"
                    "670001"
                    "05");
    key_ready_lane(&key, ORDER_START, BYTES_LIT("g"), 5);
    check_hex(&key, "06"
                    "670001");
    key_table(&key, TABLE_TIMER);
    check_hex(&key, "07");
    key_meta(&key, META_SHARD);
    check_hex(&key, "0d"
                    "53");
    key_meta(&key, META_ARRIVAL);
    check_hex(&key, "0d"
                    "41");
    key_meta(&key, META_TOTALS);
    check_hex(&key, "0d"
                    "54");
    key_low_ready(&key, BYTES_LIT("g"), 5);
    check_hex(&key, "0d"
                    "4c"
                    "670001"
                    "05");
    key_meta(&key, META_LOW_TIMER);
    check_hex(&key, "0d"
                    "4d");
}

#define QUEUE_Q DASH "710001" /* queue "q" of tenant "-" */

static const struct uuid task_id = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}};

/* A queue of tenant "-". */
static void queue_ref_init(struct key *queue_ref, struct bytes queue)
{
    struct key ref;
    ref_init(&ref);
    key_queue_ref(queue_ref, job_ref_tenant(key_bytes(&ref)), queue);
}

static void bytes_of_queue_keys_are_pinned(void **state)
{
    (void)state;
    struct key ref, key;
    queue_ref_init(&ref, bytes_of("q\0", 2));
    check_hex(&ref, DASH "71"
                         "00ff"
                         "0001");
    queue_ref_init(&ref, BYTES_LIT("q"));
    const struct bytes r = key_bytes(&ref);
    check_hex(&ref, QUEUE_Q);
    const struct line_id fixed = {.max = 0x0304}, floating = {.floating = true, .max = UINT32_MAX};
    key_waiter_line(&key, r, fixed);
    check_hex(&key, "09" QUEUE_Q "00"
                    "00000304");
    key_waiter_line(&key, r, floating);
    check_hex(&key, "09" QUEUE_Q "01"
                    "ffffffff");
    const struct place place = {.due_ms = 0x0102, .arrival = 0x0a0b0c, .priority = 5};
    key_waiter(&key, ORDER_PRIORITY, r, fixed, &place);
    check_hex(&key, "09" QUEUE_Q "00"
                    "00000304"
                    "05"
                    "0000000000000102"
                    "00000000000a0b0c");
    key_waiter(&key, ORDER_START, r, floating, &place);
    check_hex(&key, "09" QUEUE_Q "01"
                    "ffffffff"
                    "0000000000000102"
                    "05"
                    "00000000000a0b0c");
    key_holder(&key, r, &task_id);
    check_hex(&key, "0a" QUEUE_Q "000102030405060708090a0b0c0d0e0f");
    key_queue(&key, r, QUEUE_LINES);
    check_hex(&key, "0b" QUEUE_Q "43");
    key_queue(&key, r, QUEUE_FLOATING);
    check_hex(&key, "0b" QUEUE_Q "46");
    key_meta_ref(&key, META_GRANT, r);
    check_hex(&key, "0d"
                    "47" QUEUE_Q);
    key_meta_ref(&key, META_REFRESH, r);
    check_hex(&key, "0d"
                    "46" QUEUE_Q);
    key_meta_ref(&key, META_DROP, job_ref_tenant(r));
    check_hex(&key, "0d"
                    "44" DASH);
}

static void bytes_of_limiter_and_expiry_keys_are_pinned(void **state)
{
    (void)state;
    struct key ref, key;
    ref_init(&ref);
    key_limiter(&key, job_ref_tenant(key_bytes(&ref)), BYTES_LIT("n"), BYTES_LIT("u"));
    check_hex(&key, "0f" DASH "6e0001"
                    "750001"
                    "7f9bc2b3710844f2ce51a25aff954862");
    key_limiter(&key, job_ref_tenant(key_bytes(&ref)), BYTES_NONE, BYTES_NONE);
    check_hex(&key, "0f" DASH "0001"
                    "0001"
                    "2c0a8a99dc147d5445c3b49d035665b2");
    key_expiry(&key, 0x0102, key_bytes(&ref));
    check_hex(&key, "10"
                    "0000000000000102" DASH J1);
    key_expiry(&key, -1, key_bytes(&ref));
    check_hex(&key, "10"
                    "0000000000000000" DASH J1);
    key_meta(&key, META_LOW_EXPIRY);
    check_hex(&key, "0d"
                    "58");
    key_meta(&key, META_CLOCK);
    check_hex(&key, "0d"
                    "43");
}

static void bytes_of_throttle_refs_are_pinned(void **state)
{
    (void)state;
    struct key ref, key;
    ref_init(&ref);
    key_throttle_ref(&ref, job_ref_tenant(key_bytes(&ref)), BYTES_LIT("n"), BYTES_LIT("u"),
                     BYTES_LIT("g"));
    key_meta_ref(&key, META_THROTTLE, key_bytes(&ref));
    check_hex(&key, "0d"
                    "52" DASH "00ff"
                    "7f9bc2b3710844f2ce51a25aff954862"
                    "67"
                    "0001");
    key_waiter_line(&key, key_bytes(&ref), (struct line_id){0});
    check_hex(&key, "09" DASH "00ff"
                    "7f9bc2b3710844f2ce51a25aff954862"
                    "67"
                    "0001"
                    "0000000000");
}

static void throttle_refs_come_back(void **state)
{
    (void)state;
    uint8_t scratch[KEY_BYTES_MAX];
    struct key ref, throttle, limiter;
    struct bytes hash, group;
    ref_init(&ref);
    const struct bytes tenant = job_ref_tenant(key_bytes(&ref));
    for (int i = 0; i < ROUNDS; i++) { /* hashes with zeroes in them, too */
        uint8_t name[2] = {(uint8_t)(1 + i % 255), (uint8_t)(1 + i / 255 % 255)};
        key_throttle_ref(&throttle, tenant, bytes_of(name, 2), BYTES_LIT("u"), BYTES_LIT("group"));
        key_limiter(&limiter, tenant, bytes_of(name, 2), BYTES_LIT("u"));
        assert_true(throttle_ref_parse(key_bytes(&throttle), scratch, &hash, &group));
        assert_true(bytes_eq(group, BYTES_LIT("group")));
        assert_true(
            bytes_eq(hash, bytes_of(limiter.b + limiter.len - LIMITER_HASH_LEN, LIMITER_HASH_LEN)));
        assert_true(bytes_eq(job_ref_tenant(key_bytes(&throttle)), tenant));
        for (size_t len = 0; len < throttle.len; len++) {
            assert_false(throttle_ref_parse(bytes_of(throttle.b, len), scratch, &hash, &group));
        }
    }
    key_queue_ref(&ref, tenant, BYTES_LIT("a queue of twenty bytes or so"));
    assert_false(throttle_ref_parse(key_bytes(&ref), scratch, &hash, &group));
    key_throttle_ref(&ref, tenant, BYTES_LIT("n"), BYTES_LIT("u"), BYTES_NONE); /* no group */
    assert_false(throttle_ref_parse(key_bytes(&ref), scratch, &hash, &group));
}

static void zeroes_inside_strings_are_escaped(void **state)
{
    (void)state;
    struct key key;
    key_ready_group(&key, bytes_of("\0a\0\0", 4));
    check_hex(&key, "06"
                    "00ff"
                    "61"
                    "00ff"
                    "00ff"
                    "0001");
    key_ready_group(&key, BYTES_NONE);
    check_hex(&key, "06"
                    "0001");
    key_ready_group(&key, bytes_of("\xff\x01", 2));
    check_hex(&key, "06"
                    "ff01"
                    "0001");
}

static void negative_times_count_as_zero(void **state)
{
    (void)state;
    struct key a, b, ref;
    ref_init(&ref);
    const struct place negative = {.due_ms = -5, .arrival = 1}, zero = {.due_ms = 0, .arrival = 1};
    key_timer(&a, &negative);
    key_timer(&b, &zero);
    assert_int_equal(key_cmp(&a, &b), 0);
    key_index(&a, key_bytes(&ref), INDEX_OPEN, INT64_MIN);
    key_index(&b, key_bytes(&ref), INDEX_OPEN, 0);
    assert_int_equal(key_cmp(&a, &b), 0);
}

static void tenant_hashes_are_those_of_the_wire(void **state)
{
    (void)state;
    static const struct {
        const char *tenant;
        uint64_t hash;
    } vectors[] = {
        {"", 0xef46db3751d8e999},
        {"-", 0x7a162ebe4ce6fc55},
        {"a", 0xd24ec4f1a98c6e5b},
        {"test-tenant", 0x7bda10a719882c53},
        {"test-tenant-123", 0x4b9f5c20822d0db3},
        {"customer-123", 0x0bb632d435317a69},
        {"env-0123456789abcdef0123456789abcdef-long", 0xb7c3026884251f59},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        assert_true(tenant_hash(bytes_str(vectors[i].tenant)) == vectors[i].hash);
    }
    assert_true(tenant_hash(BYTES_NONE) == vectors[0].hash);
}

/* --- order --- */

static void string_order_is_kept(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        uint8_t a_bytes[8], b_bytes[8];
        const struct bytes a = random_str(a_bytes), b = random_str(b_bytes);
        struct key a_key, b_key;
        key_ready_group(&a_key, a);
        key_ready_group(&b_key, b);
        assert_int_equal(key_cmp(&a_key, &b_key), sign(bytes_cmp(a, b)));
        /* No string's keys lie below another's. */
        assert_int_equal(bytes_starts(key_bytes(&b_key), key_bytes(&a_key)), bytes_eq(a, b));
    }
}

static void a_tenants_keys_are_one_range(void **state)
{
    (void)state;
    struct key a, ab;
    key_job_ref(&a, BYTES_LIT("a"), BYTES_LIT("b1"));
    key_job_ref(&ab, BYTES_LIT("ab"), BYTES_LIT("1"));
    assert_false(bytes_starts(key_bytes(&ab), job_ref_tenant(key_bytes(&a))));
    assert_false(bytes_starts(key_bytes(&a), job_ref_tenant(key_bytes(&ab))));
    for (int i = 0; i < ROUNDS; i++) {
        uint8_t tenant_bytes[8], job_bytes[8], other_bytes[8];
        const struct bytes tenant = random_str(tenant_bytes), other = random_str(other_bytes);
        struct key ref, other_ref;
        key_job_ref(&ref, tenant, random_str(job_bytes));
        key_job_ref(&other_ref, other, random_str(job_bytes));
        assert_int_equal(bytes_starts(key_bytes(&other_ref), job_ref_tenant(key_bytes(&ref))),
                         bytes_eq(tenant, other));
    }
}

/* Attempts and blobs of job "x" must not mix with those of "x\0" or "xy". */
static void a_jobs_rows_are_one_range(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        uint8_t a_bytes[8], b_bytes[8];
        const struct bytes a = random_str(a_bytes), b = random_str(b_bytes);
        struct key a_ref, b_ref, a_key, b_key;
        key_job_ref(&a_ref, BYTES_LIT("t"), a);
        key_job_ref(&b_ref, BYTES_LIT("t"), b);
        const uint32_t a_number = random_below(3), b_number = random_below(3);
        key_attempt(&a_key, key_bytes(&a_ref), a_number);
        key_attempt(&b_key, key_bytes(&b_ref), b_number);
        const int jobs = sign(bytes_cmp(a, b));
        assert_int_equal(key_cmp(&a_key, &b_key), jobs != 0 ? jobs : u64_cmp(a_number, b_number));
        key_blob(&a_key, key_bytes(&a_ref), BLOB_RESULT, a_number);
        key_blob(&b_key, key_bytes(&b_ref), BLOB_RESULT, b_number);
        assert_int_equal(key_cmp(&a_key, &b_key), jobs != 0 ? jobs : u64_cmp(a_number, b_number));
    }
}

static struct place random_place(void)
{
    static const int64_t dues[] = {0, 1, 255, 256, 1700000000000, INT64_MAX};
    static const uint64_t arrivals[] = {0, 1, 255, 256, UINT64_MAX};
    return (struct place){.due_ms = dues[random_below(6)],
                          .arrival = arrivals[random_below(5)],
                          .priority = (uint8_t)(random_below(2) ? random_below(3) : 99)};
}

static int place_cmp(const struct place *a, const struct place *b, enum dispatch_order order)
{
    const int priority = u64_cmp(a->priority, b->priority);
    const int due = u64_cmp((uint64_t)a->due_ms, (uint64_t)b->due_ms);
    const int first = order == ORDER_PRIORITY ? priority : due;
    const int second = order == ORDER_PRIORITY ? due : priority;
    return first != 0 ? first : second != 0 ? second : u64_cmp(a->arrival, b->arrival);
}

static void tasks_stand_in_dispatch_order(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        const struct place a = random_place(), b = random_place();
        struct key a_key, b_key;
        for (int order = ORDER_PRIORITY; order <= ORDER_START; order++) {
            key_ready(&a_key, (enum dispatch_order)order, BYTES_LIT("g"), &a);
            key_ready(&b_key, (enum dispatch_order)order, BYTES_LIT("g"), &b);
            assert_int_equal(key_cmp(&a_key, &b_key),
                             place_cmp(&a, &b, (enum dispatch_order)order));
        }
        key_timer(&a_key, &a);
        key_timer(&b_key, &b);
        assert_int_equal(key_cmp(&a_key, &b_key), place_cmp(&a, &b, ORDER_START));
    }
}

static struct line_id random_line(void)
{
    static const uint32_t maxima[] = {0, 1, 255, 256, UINT32_MAX};
    return (struct line_id){.floating = random_below(2) != 0, .max = maxima[random_below(5)]};
}

static int line_cmp(struct line_id a, struct line_id b)
{
    const int kind = (int)a.floating - (int)b.floating;
    return kind != 0 ? kind : u64_cmp(a.max, b.max);
}

static void waiters_of_a_line_stand_in_dispatch_order(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        uint8_t a_bytes[8], b_bytes[8];
        const struct bytes a_queue = random_str(a_bytes), b_queue = random_str(b_bytes);
        const struct line_id a_line = random_line(), b_line = random_line();
        const struct place a = random_place(), b = random_place();
        struct key a_ref, b_ref, a_key, b_key, prefix;
        queue_ref_init(&a_ref, a_queue);
        queue_ref_init(&b_ref, b_queue);
        key_waiter_line(&prefix, key_bytes(&a_ref), a_line);
        const int queues = sign(bytes_cmp(a_queue, b_queue)), lines = line_cmp(a_line, b_line);
        for (int o = ORDER_PRIORITY; o <= ORDER_START; o++) {
            const enum dispatch_order order = (enum dispatch_order)o;
            /* In one line. */
            key_waiter(&a_key, order, key_bytes(&a_ref), a_line, &a);
            key_waiter(&b_key, order, key_bytes(&a_ref), a_line, &b);
            assert_int_equal(key_cmp(&a_key, &b_key), place_cmp(&a, &b, order));
            /* Queue by queue, line by line. */
            key_waiter(&b_key, order, key_bytes(&b_ref), b_line, &b);
            assert_int_equal(key_cmp(&a_key, &b_key), queues != 0  ? queues
                                                      : lines != 0 ? lines
                                                                   : place_cmp(&a, &b, order));
            assert_true(bytes_starts(key_bytes(&a_key), key_bytes(&prefix)));
            assert_int_equal(bytes_starts(key_bytes(&b_key), key_bytes(&prefix)),
                             queues == 0 && lines == 0);
        }
    }
}

/* Neither queues of one tenant nor tenants share a range. */
static void a_queues_rows_are_one_range(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        uint8_t tenant_bytes[2][8], queue_bytes[2][8];
        struct bytes tenant[2], queue[2];
        struct key job_ref, ref[2], key;
        for (int j = 0; j < 2; j++) {
            tenant[j] = random_str(tenant_bytes[j]);
            queue[j] = random_str(queue_bytes[j]);
            key_job_ref(&job_ref, tenant[j], BYTES_LIT("job"));
            key_queue_ref(&ref[j], job_ref_tenant(key_bytes(&job_ref)), queue[j]);
            assert_true(
                bytes_eq(job_ref_tenant(key_bytes(&ref[j])), job_ref_tenant(key_bytes(&job_ref))));
        }
        key_holder(&key, key_bytes(&ref[1]), &task_id);
        assert_int_equal(bytes_starts(bytes_of(key.b + 1, key.len - 1), key_bytes(&ref[0])),
                         bytes_eq(tenant[0], tenant[1]) && bytes_eq(queue[0], queue[1]));
    }
}

static void what_expires_first_stands_first(void **state)
{
    (void)state;
    struct key ref, other, a, b;
    ref_init(&ref);
    key_job_ref(&other, BYTES_LIT("a tenant"), BYTES_LIT("j"));
    static const int64_t times[] = {0, 1, 255, 256, 1700000000000, INT64_MAX};
    for (size_t i = 0; i + 1 < 6; i++) {
        key_expiry(&a, times[i], key_bytes(&ref));
        key_expiry(&b, times[i + 1], key_bytes(&other));
        assert_int_equal(key_cmp(&a, &b), -1);
        key_expiry(&a, times[i], key_bytes(&other));
        key_expiry(&b, times[i + 1], key_bytes(&ref));
        assert_int_equal(key_cmp(&a, &b), -1);
    }
}

static void index_has_the_newest_first(void **state)
{
    (void)state;
    struct key ref, a, b;
    ref_init(&ref);
    static const int64_t times[] = {0, 1, 255, 256, 1700000000000, INT64_MAX};
    for (size_t i = 0; i + 1 < 6; i++) {
        key_index(&a, key_bytes(&ref), INDEX_FAILED, times[i + 1]);
        key_index(&b, key_bytes(&ref), INDEX_FAILED, times[i]);
        assert_int_equal(key_cmp(&a, &b), -1);
    }
    key_index(&a, key_bytes(&ref), INDEX_OPEN, 0);
    key_index(&b, key_bytes(&ref), INDEX_SUCCEEDED, INT64_MAX);
    assert_int_equal(key_cmp(&a, &b), -1);
}

static void long_metadata_values_differ_by_their_hash(void **state)
{
    (void)state;
    uint8_t value[600];
    memset(value, 'v', sizeof value);
    struct key ref, a, b;
    ref_init(&ref);
    key_metadata(&a, key_bytes(&ref), BYTES_LIT("n"), bytes_of(value, 600));
    key_metadata(&b, key_bytes(&ref), BYTES_LIT("n"), bytes_of(value, 599));
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.b, b.b, a.len - 10); /* all but hash and job */
    assert_int_not_equal(key_cmp(&a, &b), 0);
    key_metadata(&b, key_bytes(&ref), BYTES_LIT("n"), bytes_of(value, 512));
    assert_int_equal(a.len, b.len); /* cut at 512 */
}

static void limiters_differ_by_their_hash(void **state)
{
    (void)state;
    uint8_t text[600];
    memset(text, 'v', sizeof text);
    struct key ref, a, b;
    ref_init(&ref);
    const struct bytes tenant = job_ref_tenant(key_bytes(&ref));
    key_limiter(&a, tenant, bytes_of(text, 600), bytes_of(text, 513));
    assert_int_equal(a.len, 1 + tenant.len + 514 + 514 + 16); /* cut at 512 */
    static const size_t others[][2] = {{599, 513}, {513, 600}, {600, 600}, {599, 514}, {512, 512}};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        key_limiter(&b, tenant, bytes_of(text, others[i][0]), bytes_of(text, others[i][1]));
        assert_int_equal(a.len, b.len);
        assert_memory_equal(a.b, b.b, a.len - 16);
        assert_int_not_equal(key_cmp(&a, &b), 0);
    }
    key_limiter(&b, tenant, bytes_of(text, 600), bytes_of(text, 513));
    assert_int_equal(key_cmp(&a, &b), 0);
    key_limiter(&a, tenant, BYTES_LIT("ab"), BYTES_LIT("c"));
    key_limiter(&b, tenant, BYTES_LIT("a"), BYTES_LIT("bc"));
    assert_int_not_equal(key_cmp(&a, &b), 0);
    assert_memory_not_equal(a.b + a.len - 16, b.b + b.len - 16, 16);
}

/* --- parsing --- */

static void job_refs_come_back(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        uint8_t tenant_bytes[8], job_bytes[8], scratch[64];
        const struct bytes tenant = random_str(tenant_bytes), job = random_str(job_bytes);
        struct key ref;
        key_job_ref(&ref, tenant, job);
        struct bytes got_tenant, got_job;
        assert_true(ref.len <= sizeof scratch);
        assert_true(job_ref_parse(key_bytes(&ref), scratch, &got_tenant, &got_job));
        assert_true(bytes_eq(got_tenant, tenant));
        assert_true(bytes_eq(got_job, job));
        const struct bytes part = job_ref_tenant(key_bytes(&ref));
        assert_int_equal(part.len + job.len, ref.len);
    }
}

static void cut_and_random_job_refs_are_survived(void **state)
{
    (void)state;
    struct key ref;
    key_job_ref(&ref, bytes_of("t\0\xff", 3), BYTES_NONE);
    struct bytes tenant, job;
    for (size_t len = 0; len < ref.len; len++) {
        uint8_t *cut = malloc(len + 1), *scratch = malloc(len + 1);
        memcpy(cut, ref.b, len);
        assert_false(job_ref_parse(bytes_of(cut, len), scratch, &tenant, &job));
        free(cut);
        free(scratch);
    }
    for (int i = 0; i < ROUNDS; i++) {
        const size_t len = random_below(24);
        uint8_t *bytes = malloc(len + 1), *scratch = malloc(len + 1);
        for (size_t j = 0; j < len; j++) {
            bytes[j] = (uint8_t)(random_below(2) ? random_below(2) : random_below(256));
        }
        if (job_ref_parse(bytes_of(bytes, len), scratch, &tenant, &job)) {
            assert_true(tenant.len + job.len <= len - 10);
            assert_true(job.ptr + job.len == bytes + len);
        }
        free(bytes);
        free(scratch);
    }
}

static void places_come_back(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        uint8_t group_bytes[8];
        const struct bytes group = random_str(group_bytes);
        const struct place place = random_place();
        struct place got;
        struct key key, prefix;
        key_ready_group(&prefix, group);
        for (int order = ORDER_PRIORITY; order <= ORDER_START; order++) {
            key_ready(&key, (enum dispatch_order)order, group, &place);
            assert_true(bytes_starts(key_bytes(&key), key_bytes(&prefix)));
            assert_true(
                key_ready_parse(key_bytes(&key), (enum dispatch_order)order, prefix.len, &got));
            assert_int_equal(place_cmp(&got, &place, ORDER_PRIORITY), 0);
            struct key lane;
            key_ready_lane(&lane, (enum dispatch_order)order, group, place.priority);
            assert_true(bytes_starts(key_bytes(&key), key_bytes(&lane)));
        }
        assert_false(key_ready_parse(bytes_of(key.b, key.len - 1), ORDER_START, prefix.len, &got));
        key_successor(&key);
        assert_false(key_ready_parse(key_bytes(&key), ORDER_START, prefix.len, &got));

        key_timer(&key, &place);
        assert_true(key_timer_parse(key_bytes(&key), &got));
        assert_int_equal(place_cmp(&got, &place, ORDER_PRIORITY), 0);
        for (size_t len = 0; len < key.len; len++) {
            assert_false(key_timer_parse(bytes_of(key.b, len), &got));
        }
    }
}

static void holders_and_expiries_come_back(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        uint8_t tenant_bytes[8], queue_bytes[8], scratch[64];
        const struct bytes tenant = random_str(tenant_bytes), queue = random_str(queue_bytes);
        struct key job_ref, ref, key;
        key_job_ref(&job_ref, tenant, BYTES_LIT("job"));
        key_queue_ref(&ref, job_ref_tenant(key_bytes(&job_ref)), queue);
        assert_true(ref.len <= sizeof scratch);
        struct bytes got_tenant, got_queue, got_ref;
        assert_true(queue_ref_parse(key_bytes(&ref), scratch, &got_tenant, &got_queue));
        assert_true(bytes_eq(got_tenant, tenant));
        assert_true(bytes_eq(got_queue, queue));

        struct uuid id = {{0}}, got_id;
        id.b[random_below(16)] = (uint8_t)random_below(256);
        key_holder(&key, key_bytes(&ref), &id);
        assert_true(key_holder_parse(key_bytes(&key), &got_ref, &got_id));
        assert_true(bytes_eq(got_ref, key_bytes(&ref)));
        assert_true(uuid_eq(&got_id, &id));

        const int64_t want_ms = random_place().due_ms;
        int64_t got_ms = -1;
        key_expiry(&key, want_ms, key_bytes(&job_ref));
        assert_true(key_expiry_parse(key_bytes(&key), &got_ms, &got_ref));
        assert_true(got_ms == want_ms && bytes_eq(got_ref, key_bytes(&job_ref)));
    }
}

/* On a copy that ends with its allocation; what is taken must be what a builder writes. */
static bool try_queue_ref(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len + 1), *scratch = malloc(len + 1);
    memcpy(copy + 1, bytes, len);
    struct bytes tenant, queue;
    const bool good = queue_ref_parse(bytes_of(copy + 1, len), scratch, &tenant, &queue);
    if (good) {
        assert_true(tenant.len + queue.len <= len - 12);
        struct key again;
        key_queue_ref(&again, job_ref_tenant(bytes_of(copy + 1, len)), queue);
        assert_true(bytes_eq(key_bytes(&again), bytes_of(copy + 1, len)));
    }
    free(copy);
    free(scratch);
    return good;
}

static bool try_holder(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len + 1);
    memcpy(copy + 1, bytes, len);
    struct bytes ref;
    struct uuid id;
    const bool good = key_holder_parse(bytes_of(copy + 1, len), &ref, &id);
    if (good) {
        struct key again;
        key_holder(&again, ref, &id);
        assert_true(bytes_eq(key_bytes(&again), bytes_of(copy + 1, len)));
    }
    free(copy);
    return good;
}

static bool try_expiry(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len + 1);
    memcpy(copy + 1, bytes, len);
    int64_t expire_ms = -1;
    struct bytes ref;
    const bool good = key_expiry_parse(bytes_of(copy + 1, len), &expire_ms, &ref);
    if (good) {
        struct key again;
        key_expiry(&again, expire_ms, ref);
        assert_true(bytes_eq(key_bytes(&again), bytes_of(copy + 1, len)));
    }
    free(copy);
    return good;
}

static void cut_longer_and_foreign_keys_are_refused(void **state)
{
    (void)state;
    struct key ref, key;
    queue_ref_init(&ref, bytes_of("q\0\xff", 3));
    for (size_t len = 0; len < ref.len; len++) {
        assert_false(try_queue_ref(ref.b, len));
    }
    assert_true(try_queue_ref(ref.b, ref.len));
    key_successor(&ref);
    assert_false(try_queue_ref(ref.b, ref.len));

    queue_ref_init(&ref, BYTES_LIT("q"));
    static const struct uuid id = {{'i'}};
    key_holder(&key, key_bytes(&ref), &id);
    for (size_t len = 0; len < key.len; len++) {
        assert_false(try_holder(key.b, len));
    }
    assert_true(try_holder(key.b, key.len));
    key.b[0] = TABLE_QUEUE;
    assert_false(try_holder(key.b, key.len));
    key.b[0] = TABLE_HOLDER;
    key_successor(&key);
    assert_false(try_holder(key.b, key.len));

    ref_init(&ref);
    key_expiry(&key, 5, key_bytes(&ref));
    assert_true(try_expiry(key.b, key.len));
    key.b[0] = TABLE_TIMER;
    assert_false(try_expiry(key.b, key.len));
    key.b[0] = TABLE_EXPIRY;
    key.b[1] = 0x80; /* later than any time */
    assert_false(try_expiry(key.b, key.len));
    key.b[1] = 0;
    for (size_t len = 0; len + 2 < key.len; len++) { /* the job's id has no end of its own */
        assert_false(try_expiry(key.b, len));
    }
}

static void random_keys_are_survived(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        uint8_t bytes[48];
        const size_t len = random_below(sizeof bytes);
        for (size_t j = 0; j < len; j++) {
            bytes[j] = (uint8_t)(random_below(2) ? random_below(2) : random_below(256));
        }
        (void)try_queue_ref(bytes, len);
        bytes[0] = TABLE_HOLDER;
        (void)try_holder(bytes, len);
        bytes[0] = TABLE_EXPIRY;
        (void)try_expiry(bytes, len);
    }
}

static void places_of_waiters_come_back(void **state)
{
    (void)state;
    struct key ref, prefix, key;
    struct place got;
    queue_ref_init(&ref, BYTES_LIT("q"));
    for (int i = 0; i < ROUNDS; i++) {
        const struct place place = random_place();
        const struct line_id line = random_line();
        key_waiter_line(&prefix, key_bytes(&ref), line);
        for (int o = ORDER_PRIORITY; o <= ORDER_START; o++) {
            const enum dispatch_order order = (enum dispatch_order)o;
            key_waiter(&key, order, key_bytes(&ref), line, &place);
            assert_true(key_waiter_parse(key_bytes(&key), order, prefix.len, &got));
            assert_int_equal(place_cmp(&got, &place, ORDER_PRIORITY), 0);
            assert_false(key_waiter_parse(bytes_of(key.b, key.len - 1), order, prefix.len, &got));
            key_successor(&key);
            assert_false(key_waiter_parse(key_bytes(&key), order, prefix.len, &got));
        }
    }
    assert_false(key_waiter_parse(BYTES_NONE, ORDER_START, prefix.len, &got));
}

/* --- ranges --- */

static void after_prefix_is_the_end_of_its_range(void **state)
{
    (void)state;
    struct key key = {.len = 3, .b = {0x01, 0xff, 0xff}};
    assert_true(key_after_prefix(&key));
    check_hex(&key, "02");
    key = (struct key){.len = 2, .b = {0xff, 0xff}};
    assert_false(key_after_prefix(&key));
    key = (struct key){.len = 0};
    assert_false(key_after_prefix(&key));
    for (int i = 0; i < ROUNDS; i++) {
        uint8_t prefix_bytes[8], other_bytes[8];
        const struct bytes prefix = random_str(prefix_bytes), other = random_str(other_bytes);
        struct key end = {.len = prefix.len};
        memcpy(end.b, prefix_bytes, prefix.len);
        if (key_after_prefix(&end)) {
            const bool inside =
                bytes_cmp(other, prefix) >= 0 && bytes_cmp(other, key_bytes(&end)) < 0;
            assert_int_equal(inside, bytes_starts(other, prefix));
        }
    }
}

static void successor_is_the_next_key(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        uint8_t key_bytes_[8], other_bytes[8];
        const struct bytes first = random_str(key_bytes_), other = random_str(other_bytes);
        struct key next = {.len = first.len};
        memcpy(next.b, key_bytes_, first.len);
        key_successor(&next);
        assert_true(bytes_cmp(first, key_bytes(&next)) < 0);
        assert_false(bytes_cmp(other, first) > 0 && bytes_cmp(other, key_bytes(&next)) < 0);
    }
}

/*
 * The worst of what the limits let in: every byte of the ids a zero, the texts of four-byte
 * characters.
 */
static void the_longest_keys_fit(void **state)
{
    (void)state;
    static uint8_t zeroes[METADATA_VALUE_BYTES_MAX], wide[4 * TENANT_CHARS_MAX];
    memset(wide, 0xf0, sizeof wide);
    struct key ref, key;
    key_job_ref(&ref, bytes_of(wide, sizeof wide), bytes_of(zeroes, JOB_ID_BYTES_MAX));
    key_attempt(&key, key_bytes(&ref), UINT32_MAX);
    assert_true(key.len <= KEY_BYTES_MAX);
    key_blob(&key, key_bytes(&ref), BLOB_RESULT, UINT32_MAX);
    key_metadata(&key, key_bytes(&ref), bytes_of(wide, 4 * METADATA_KEY_CHARS_MAX),
                 bytes_of(zeroes, sizeof zeroes));
    assert_true(key.len <= KEY_BYTES_MAX);
    key_index(&key, key_bytes(&ref), INDEX_OPEN, 0);
    key_by_ref(&key, TABLE_INFO, key_bytes(&ref));
    key_successor(&key);
    key_expiry(&key, INT64_MAX, key_bytes(&ref));
    key_successor(&key);
}

/*
 * Queue names of 4,096 zeroes, each of which is written in two bytes; the assertions of the
 * builders hold them to it.
 */
static void the_longest_queue_keys_fit(void **state)
{
    (void)state;
    static uint8_t zeroes[JOB_ID_BYTES_MAX], wide[4 * TENANT_CHARS_MAX], scratch[KEY_BYTES_MAX];
    memset(wide, 0xf0, sizeof wide);
    const struct bytes queue = bytes_of(zeroes, sizeof zeroes);
    struct key job_ref, ref, key;
    key_job_ref(&job_ref, bytes_of(wide, sizeof wide), BYTES_NONE);
    const struct bytes tenant = job_ref_tenant(key_bytes(&job_ref));
    key_queue_ref(&ref, tenant, queue);
    assert_int_equal(ref.len, 8 + sizeof wide + 2 + 2 * sizeof zeroes + 2);
    struct bytes got_tenant, got_queue, got_ref;
    assert_true(queue_ref_parse(key_bytes(&ref), scratch, &got_tenant, &got_queue));
    assert_true(bytes_eq(got_queue, queue));

    const struct place place = {.due_ms = INT64_MAX, .arrival = UINT64_MAX, .priority = 255};
    key_waiter(&key, ORDER_PRIORITY, key_bytes(&ref), (struct line_id){true, UINT32_MAX}, &place);
    key_successor(&key);
    assert_true(key.len <= KEY_BYTES_MAX);
    struct uuid got_id;
    key_holder(&key, key_bytes(&ref), &task_id);
    assert_true(key_holder_parse(key_bytes(&key), &got_ref, &got_id));
    assert_true(bytes_eq(got_ref, key_bytes(&ref)) && uuid_eq(&got_id, &task_id));
    key_successor(&key);
    key_queue(&key, key_bytes(&ref), QUEUE_FLOATING);
    key_successor(&key);
    key_meta_ref(&key, META_REFRESH, key_bytes(&ref));
    key_successor(&key);
    key_limiter(&key, tenant, queue, queue);
    key_successor(&key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_job_keys_are_pinned),
        cmocka_unit_test(bytes_of_task_and_shard_keys_are_pinned),
        cmocka_unit_test(bytes_of_queue_keys_are_pinned),
        cmocka_unit_test(bytes_of_limiter_and_expiry_keys_are_pinned),
        cmocka_unit_test(bytes_of_throttle_refs_are_pinned),
        cmocka_unit_test(throttle_refs_come_back),
        cmocka_unit_test(zeroes_inside_strings_are_escaped),
        cmocka_unit_test(negative_times_count_as_zero),
        cmocka_unit_test(tenant_hashes_are_those_of_the_wire),
        cmocka_unit_test(string_order_is_kept),
        cmocka_unit_test(a_tenants_keys_are_one_range),
        cmocka_unit_test(a_jobs_rows_are_one_range),
        cmocka_unit_test(tasks_stand_in_dispatch_order),
        cmocka_unit_test(waiters_of_a_line_stand_in_dispatch_order),
        cmocka_unit_test(a_queues_rows_are_one_range),
        cmocka_unit_test(what_expires_first_stands_first),
        cmocka_unit_test(index_has_the_newest_first),
        cmocka_unit_test(long_metadata_values_differ_by_their_hash),
        cmocka_unit_test(limiters_differ_by_their_hash),
        cmocka_unit_test(job_refs_come_back),
        cmocka_unit_test(cut_and_random_job_refs_are_survived),
        cmocka_unit_test(places_come_back),
        cmocka_unit_test(holders_and_expiries_come_back),
        cmocka_unit_test(cut_longer_and_foreign_keys_are_refused),
        cmocka_unit_test(random_keys_are_survived),
        cmocka_unit_test(places_of_waiters_come_back),
        cmocka_unit_test(after_prefix_is_the_end_of_its_range),
        cmocka_unit_test(successor_is_the_next_key),
        cmocka_unit_test(the_longest_keys_fit),
        cmocka_unit_test(the_longest_queue_keys_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
