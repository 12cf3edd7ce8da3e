/* What is refused before it is unpacked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "service/service_int.h"

static void expect(struct bytes wire, enum silo_code code, const char *text)
{
    struct arena arena;
    arena_init(&arena);
    struct silo_err err = {0};
    const ProtobufCMessage *message = NULL;
    const silo_rc rc =
        message_decode(&arena, &silo__v1__enqueue_request__descriptor, wire, &message, &err);
    if (rc.code != code || (code != SILO_OK && strstr(err.text, text) == NULL)) {
        fail_msg("code %d: %s; expected %d: %s", rc.code, err.text, code, text);
    }
    arena_deinit(&arena);
}

static void test_bytes(void **state)
{
    (void)state;
    expect(BYTES_LIT(""), SILO_OK, "");
    expect(BYTES_LIT("\x0a\x02xy"), SILO_OK, "");
    expect(BYTES_LIT("\x0a\x03xy"), SILO_INTERNAL, "malformed");   /* length past the end */
    expect(BYTES_LIT("\x0a"), SILO_INTERNAL, "malformed");         /* no length */
    expect(BYTES_LIT("\x00\x01"), SILO_INTERNAL, "malformed");     /* field 0 */
    expect(BYTES_LIT("\x0b"), SILO_INTERNAL, "malformed");         /* a group */
    expect(BYTES_LIT("\x18\xff\xff"), SILO_INTERNAL, "malformed"); /* unfinished number */
    expect(BYTES_LIT("\x08\x01"), SILO_INTERNAL, "malformed"); /* a number where a string belongs */
    expect(BYTES_LIT("\xfa\x3f\x01z"), SILO_OK, "");           /* unknown field 1023 */
    expect(BYTES_LIT("\x0a\x02\xc3\x28"), SILO_INTERNAL, "UTF-8");     /* shard */
    expect(BYTES_LIT("\x12\x03\xed\xa0\x80"), SILO_INTERNAL, "UTF-8"); /* id: a surrogate */
    expect(BYTES_LIT("\x12\x03x\x00y"), SILO_INVALID, "NUL");          /* id */
    expect(BYTES_LIT("\x4a\x03\x0a\x01\xff"), SILO_INTERNAL, "UTF-8"); /* inside a metadata entry */
    expect(BYTES_LIT("\x32\x03\x0a\x01\xff"), SILO_OK, "");            /* bytes may be anything */
    expect(BYTES_LIT("\x3a\x05\x0a\x03\x0a\x01\xff"), SILO_INTERNAL,
           "UTF-8"); /* limits.concurrency.key */
    expect(BYTES_LIT("\x3a\x07\x0a\x05\x0a\x03q\x00r"), SILO_INVALID, "NUL"); /* likewise */
}

static void test_amplification(void **state)
{
    (void)state;
    const size_t len = 2 * ((size_t)MESSAGE_FIELDS_MAX + 1);
    uint8_t *wire = malloc(len);
    for (size_t i = 0; i < len; i += 2) {
        wire[i] = 0x4a; /* an empty metadata entry */
        wire[i + 1] = 0;
    }
    expect(bytes_of(wire, len), SILO_INVALID, "too many entries");
    free(wire);
}

/* --- bulk calls --- */

struct bulk {
    struct arena arena;
    silo_rc rc;
    struct silo_err err;
    const Silo__V1__EnqueueManyRequest *message;
    const char *const *faults;
};

static void bulk_decode(struct bulk *bulk, struct bytes wire)
{
    arena_init(&bulk->arena);
    const ProtobufCMessage *message = NULL;
    bulk->rc = message_decode_bulk(&bulk->arena, &silo__v1__enqueue_many_request__descriptor, 2,
                                   wire, &message, &bulk->faults, &bulk->err);
    bulk->message = (const void *)message;
}

/* A bad item is found out alone, wherever it stands. */
static void test_bulk_items(void **state)
{
    (void)state;
    struct bulk bulk;
    bulk_decode(&bulk, BYTES_LIT("\x12\x03\x12\x01x"      /* a good one: id x */
                                 "\x12\x05\x12\x03y\x00z" /* a NUL */
                                 "\x12\x03\x12\x01\xff"   /* no UTF-8 */
                                 "\x12\x02\x12\x05"       /* cut off */
                                 "\x12\x02\x08\x01"       /* a number where a string belongs */
                                 "\x12\x00"               /* empty */
                                 "\x0a\x01s"              /* the shard, last */
                                 "\x12\x03\x12\x01w"));
    assert_int_equal(bulk.rc.code, SILO_OK);
    assert_string_equal(bulk.message->shard, "s");
    assert_int_equal(bulk.message->n_jobs, 7);
    static const char *const faults[] = {
        NULL, "must not contain a NUL", "not valid UTF-8", "malformed", "malformed", NULL, NULL};
    for (size_t i = 0; i < 7; i++) {
        if (faults[i] == NULL) {
            assert_null(bulk.faults[i]);
        } else {
            assert_non_null(strstr(bulk.faults[i], faults[i]));
            assert_string_equal(bulk.message->jobs[i]->id, "");
        }
    }
    assert_string_equal(bulk.message->jobs[0]->id, "x");
    assert_string_equal(bulk.message->jobs[6]->id, "w");
    arena_deinit(&bulk.arena);
    bulk_decode(&bulk, BYTES_LIT("\x0a\x02s\x00\x12\x00")); /* what is no item is the call's */
    assert_int_equal(bulk.rc.code, SILO_INVALID);
    arena_deinit(&bulk.arena);
    bulk_decode(&bulk, BYTES_LIT("\x12\x00\x12\x07"));
    assert_int_equal(bulk.rc.code, SILO_INTERNAL);
    arena_deinit(&bulk.arena);
}

static void test_bulk_bounds(void **state)
{
    (void)state;
    struct bulk bulk;
    const size_t many = 1u << 20;
    uint8_t *wire = malloc(2 * many);
    for (size_t i = 0; i < many; i++) {
        wire[2 * i] = 0x12; /* an empty item */
        wire[2 * i + 1] = 0;
    }
    bulk_decode(&bulk, bytes_of(wire, 2 * (size_t)BULK_ITEMS_MAX));
    assert_int_equal(bulk.rc.code, SILO_OK);
    assert_int_equal(bulk.message->n_jobs, BULK_ITEMS_MAX);
    assert_true(bulk.arena.bytes < 8u << 20);
    arena_deinit(&bulk.arena);
    bulk_decode(&bulk, bytes_of(wire, 2 * many));
    assert_int_equal(bulk.rc.code, SILO_INVALID);
    assert_non_null(strstr(bulk.err.text, "at most 10000"));
    assert_true(bulk.arena.bytes < 1u << 16); /* nothing was unpacked */
    arena_deinit(&bulk.arena);
    free(wire);
}

/* Bytes of an item with so many empty metadata entries. */
static size_t item_put(uint8_t *to, size_t fields)
{
    const size_t len = 2 * fields;
    size_t at = 0;
    to[at++] = 0x12;
    for (size_t rest = len; rest != 0 || at == 1; rest >>= 7) {
        to[at++] = (uint8_t)((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    }
    for (size_t i = 0; i < fields; i++) {
        to[at++] = 0x4a;
        to[at++] = 0;
    }
    return at;
}

static void test_bulk_fields(void **state)
{
    (void)state;
    struct bulk bulk;
    uint8_t *wire = malloc(4 * (size_t)BULK_FIELDS_MAX);
    size_t len = item_put(wire, 1);
    len += item_put(wire + len, MESSAGE_FIELDS_MAX);
    len += item_put(wire + len, MESSAGE_FIELDS_MAX + 1); /* it alone is too much */
    bulk_decode(&bulk, bytes_of(wire, len));
    assert_int_equal(bulk.rc.code, SILO_OK);
    assert_null(bulk.faults[0]);
    assert_null(bulk.faults[1]);
    assert_non_null(strstr(bulk.faults[2], "too many entries: more than 65536"));
    assert_int_equal(((const Silo__V1__EnqueueRequest *)bulk.message->jobs[1])->n_metadata,
                     MESSAGE_FIELDS_MAX);
    arena_deinit(&bulk.arena);
    len = 0;
    for (int i = 0; i < 4; i++) {
        len += item_put(wire + len, MESSAGE_FIELDS_MAX);
    }
    bulk_decode(&bulk, bytes_of(wire, len));
    assert_int_equal(bulk.rc.code, SILO_OK);
    arena_deinit(&bulk.arena);
    len += item_put(wire + len, 1);
    bulk_decode(&bulk, bytes_of(wire, len));
    assert_int_equal(bulk.rc.code, SILO_INVALID);
    assert_non_null(strstr(bulk.err.text, "the request has too many entries"));
    arena_deinit(&bulk.arena);
    free(wire);
}

/* Every prefix and every changed byte of a full request is answered, never trusted. */
/* A field of `size` bytes of text around it: number 2, which is an id, or an item with an id. */
static size_t put_head(uint8_t *to, size_t size)
{
    size_t len = 0;
    to[len++] = 0x12;
    for (; size >= 0x80; size >>= 7) {
        to[len++] = (uint8_t)(0x80 | (size & 0x7f));
    }
    to[len++] = (uint8_t)size;
    return len;
}

/* Text is looked at byte by byte, by the thread that all connections wait for. */
static void test_text_bounds(void **state)
{
    (void)state;
    const size_t most = REQUEST_TEXT_BYTES_MAX;
    uint8_t *wire = malloc(most + 64);
    assert_non_null(wire);
    for (size_t more = 0; more < 2; more++) {
        const size_t head = put_head(wire, most + more);
        memset(wire + head, 'x', most + more);
        struct silo_err err;
        const silo_rc rc = message_check(&silo__v1__enqueue_request__descriptor,
                                         bytes_of(wire, head + most + more), &err);
        assert_int_equal(rc.code, more == 0 ? SILO_OK : SILO_INVALID);
        assert_true(more == 0 || strstr(err.text, "too much text") != NULL);
    }
    for (size_t more = 0; more < 2; more++) { /* two items share it */
        size_t len = 0;
        for (size_t i = 0; i < 2; i++) {
            const size_t text = most / 2 + i * more;
            uint8_t head[16];
            const size_t head_len = put_head(head, text);
            len += put_head(wire + len, head_len + text);
            memcpy(wire + len, head, head_len);
            memset(wire + len + head_len, 'x', text);
            len += head_len + text;
        }
        struct bulk bulk;
        bulk_decode(&bulk, bytes_of(wire, len));
        assert_int_equal(bulk.rc.code, more == 0 ? SILO_OK : SILO_INVALID);
        arena_deinit(&bulk.arena);
    }
    free(wire);
}

static void test_mutations(void **state)
{
    (void)state;
    const struct bytes good =
        BYTES_LIT("\x0a\x01s\x12\x01i\x18\x05\x20\x01\x2a\x0b\x08\x03\x29\x00\x00\x00\x00\x00\x00"
                  "\x00\x40\x32\x03\x0a\x01p\x3a\x07\x0a\x05\x0a\x01q\x10\x02\x42\x01t\x4a\x06"
                  "\x0a\x01k\x12\x01v\x52\x01g");
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < good.len; i++) {
        for (unsigned v = 0; v < 256; v++) {
            uint8_t *copy = malloc(good.len);
            memcpy(copy, good.ptr, good.len);
            copy[i] = (uint8_t)v;
            struct silo_err err;
            const ProtobufCMessage *message = NULL;
            const size_t len = v % 2 == 0 ? good.len : i;
            rc_ignore(message_decode(&arena, &silo__v1__enqueue_request__descriptor,
                                     bytes_of(copy, len), &message, &err),
                      "any answer will do");
            free(copy);
            arena_reset(&arena);
        }
    }
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),       cmocka_unit_test(test_amplification),
        cmocka_unit_test(test_text_bounds), cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_bulk_items),  cmocka_unit_test(test_bulk_bounds),
        cmocka_unit_test(test_bulk_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
