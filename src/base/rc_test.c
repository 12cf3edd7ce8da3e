/* base/rc_test.c - codes, their table, and how errors are filled. */
#include "base/rc.h"

#include <string.h>

#include "base/bytes.h"
#include "base/test.h"

static SILO_RC fails(struct silo_err *err)
{
    return FAIL(err, SILO_NOT_FOUND, "no job %d", 7);
}

static SILO_RC passes_on(struct silo_err *err)
{
    TRY(fails(err));
    return RC_OK;
}

static void fail_fills_code_place_and_text(void **state)
{
    (void)state;
    struct silo_err err = {0};
    assert_int_equal(passes_on(&err).code, SILO_NOT_FOUND);
    assert_int_equal(err.code, SILO_NOT_FOUND);
    assert_string_equal(err.text, "no job 7");
    assert_non_null(strstr(err.where, "rc_test.c:"));
}

static void fail_works_without_storage(void **state)
{
    (void)state;
    assert_int_equal(passes_on(NULL).code, SILO_NOT_FOUND);
}

static void long_texts_are_cut(void **state)
{
    (void)state;
    struct silo_err err;
    char text[2 * SILO_ERR_TEXT_MAX];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    rc_ignore(FAIL(&err, SILO_INTERNAL, "%s", text), "only the text matters");
    assert_int_equal(strlen(err.text), SILO_ERR_TEXT_MAX - 1);
}

static void codes_have_their_grpc_status(void **state)
{
    (void)state;
    assert_int_equal(silo_code_grpc(SILO_OK), 0);
    assert_int_equal(silo_code_grpc(SILO_INVALID), 3);
    assert_int_equal(silo_code_grpc(SILO_NOT_OWNER), 5);
    assert_int_equal(silo_code_grpc(SILO_UNAVAILABLE), 14);
    assert_string_equal(silo_code_name(SILO_PRECONDITION), "failed precondition");
    assert_string_equal(grpc_status_name(9), "FAILED_PRECONDITION");
    assert_string_equal(grpc_status_name(16), "UNAUTHENTICATED");
    assert_string_equal(grpc_status_name(99), "UNKNOWN");
}

static void steal_leaves_null(void **state)
{
    (void)state;
    int value = 3;
    int *owner = &value;
    int *taken = STEAL(owner);
    assert_ptr_equal(taken, &value);
    assert_null(owner);
}

static void a_cut_never_halves_a_character(void **state)
{
    (void)state;
    static const char *const characters[] = {"\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    for (size_t i = 0; i < sizeof characters / sizeof characters[0]; i++) {
        for (size_t lead = 0; lead < 4; lead++) {
            char text[2 * SILO_ERR_TEXT_MAX] = "abc";
            const size_t step = strlen(characters[i]);
            size_t len = lead;
            for (; len + step < sizeof text; len += step) {
                memcpy(text + len, characters[i], step + 1);
            }
            struct silo_err err;
            (void)FAIL(&err, SILO_INVALID, "%s", text);
            assert_true(bytes_utf8(bytes_str(err.text), NULL));
            assert_true(strlen(err.text) + step >= SILO_ERR_TEXT_MAX);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fail_fills_code_place_and_text),
        cmocka_unit_test(fail_works_without_storage),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(a_cut_never_halves_a_character),
        cmocka_unit_test(codes_have_their_grpc_status),
        cmocka_unit_test(steal_leaves_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
