/* base/uuid_test.c - text forms, versions, refusals. */
#include "base/uuid.h"

#include "base/env.h"
#include "base/test.h"

static void format_and_parse_agree(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        uint8_t random[16];
        char text[UUID_TEXT_LEN + 1];
        struct uuid back;
        env_random(&env_system, random, sizeof random);
        const struct uuid uuid = uuid_v4(random);
        uuid_format(&uuid, text);
        assert_int_equal(strlen(text), UUID_TEXT_LEN);
        assert_int_equal(text[14], '4');
        assert_non_null(strchr("89ab", text[19]));
        assert_true(uuid_parse(bytes_str(text), &back));
        assert_true(uuid_eq(&uuid, &back));
    }
}

static void version_7_sorts_by_time(void **state)
{
    (void)state;
    const uint8_t ones[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                              0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const uint8_t zeros[16] = {0};
    char text[UUID_TEXT_LEN + 1];
    const struct uuid early = uuid_v7(0x0123456789ab, ones);
    const struct uuid late = uuid_v7(0x0123456789ac, zeros);
    assert_true(bytes_cmp(uuid_bytes(&early), uuid_bytes(&late)) < 0);
    uuid_format(&late, text);
    assert_string_equal(text, "01234567-89ac-7000-8000-000000000000");
}

static void strict_form_only(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "01234567-89ac-7000-8000-00000000000",
        "01234567-89ac-7000-8000-0000000000000",
        "01234567-89ac-7000-8000-00000000000g",
        "0123456789ac70008000000000000000",
        "{01234567-89ac-7000-8000-000000000000}",
        "01234567_89ac-7000-8000-000000000000",
        "0123456-789ac-7000-8000-000000000000",
    };
    struct uuid uuid;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(uuid_parse(bytes_str(bad[i]), &uuid));
    }
    assert_true(uuid_parse(BYTES_LIT("01234567-89AC-7000-8000-00000000abCD"), &uuid));
    assert_int_equal(uuid.b[15], 0xcd);
}

static void lenient_forms(void **state)
{
    (void)state;
    static const char *const good[] = {
        "01234567-89ac-7000-8000-000000000000",
        "0123456789ac70008000000000000000",
        "{01234567-89ac-7000-8000-000000000000}",
        "urn:uuid:01234567-89ac-7000-8000-000000000000",
    };
    struct uuid want;
    assert_true(uuid_parse(bytes_str(good[0]), &want));
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct uuid uuid;
        assert_true(uuid_parse_lenient(bytes_str(good[i]), &uuid));
        assert_true(uuid_eq(&uuid, &want));
    }
    assert_false(uuid_parse_lenient(BYTES_LIT("{01234567-89ac-7000-8000-000000000000"), &want));
    assert_false(uuid_parse_lenient(BYTES_LIT("urn:uuid:"), &want));
}

static void a_seed_gives_ids_that_differ(void **state)
{
    (void)state;
    static const uint8_t seed[16] = {9};
    static const uint8_t other[16] = {8};
    const struct uuid a = uuid_from_seed(seed, 0);
    const struct uuid again = uuid_from_seed(seed, 0);
    const struct uuid b = uuid_from_seed(seed, 1);
    const struct uuid c = uuid_from_seed(other, 0);
    assert_true(uuid_eq(&a, &again));
    assert_false(uuid_eq(&a, &b));
    assert_false(uuid_eq(&a, &c));
    assert_int_equal(a.b[6] >> 4, 4); /* version 4 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(format_and_parse_agree),
        cmocka_unit_test(version_7_sorts_by_time),
        cmocka_unit_test(strict_form_only),
        cmocka_unit_test(lenient_forms),
        cmocka_unit_test(a_seed_gives_ids_that_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
