/*
 * codec/key_test.c - the bytes of every key are pinned; byte order is the order of what was put in; parsers get back what
 * builders wrote and refuse the rest.
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
                          .priority = (uint8_t)(random_below(2) ? random_below(3) : 255)};
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

/* The worst of what the limits let in: every byte of the ids a zero, the texts of four-byte characters. */
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
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_job_keys_are_pinned),
        cmocka_unit_test(bytes_of_task_and_shard_keys_are_pinned),
        cmocka_unit_test(zeroes_inside_strings_are_escaped),
        cmocka_unit_test(negative_times_count_as_zero),
        cmocka_unit_test(tenant_hashes_are_those_of_the_wire),
        cmocka_unit_test(string_order_is_kept),
        cmocka_unit_test(a_tenants_keys_are_one_range),
        cmocka_unit_test(a_jobs_rows_are_one_range),
        cmocka_unit_test(tasks_stand_in_dispatch_order),
        cmocka_unit_test(index_has_the_newest_first),
        cmocka_unit_test(long_metadata_values_differ_by_their_hash),
        cmocka_unit_test(job_refs_come_back),
        cmocka_unit_test(cut_and_random_job_refs_are_survived),
        cmocka_unit_test(places_come_back),
        cmocka_unit_test(after_prefix_is_the_end_of_its_range),
        cmocka_unit_test(successor_is_the_next_key),
        cmocka_unit_test(the_longest_keys_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
