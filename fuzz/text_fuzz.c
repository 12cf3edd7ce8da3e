/*
 * fuzz/text_fuzz.c - the small formats of the wire: gRPC's message frames, percent-encoded texts,
 * timeouts, status numbers, plain protobuf fields, UUIDs, UTF-8.
 *
 * The first byte says which. Frames read in pieces give what frames read at once give; texts come
 * back from their encoding.
 */
#include "fuzz.h"

#include "base/uuid.h"
#include "rpc/frame_int.h"
#include "rpc/pb_int.h"
#include "rpc/text_int.h"

#define KINDS 8u
#define FRAME_BYTES_MAX (64u << 10)
#define FRAMES_MAX 1000u
#define OUT_BYTES_MAX (1u << 20)

enum kind { FRAME, FRAME_WRITE, MESSAGE, TIMEOUT, STATUS, PROTOBUF, UUID, UTF8 };

/* --- frames --- */

/*
 * What a reader made of its input, as bytes to compare: each result, and each message with its
 * length.
 */
static void frames_read(struct bytes in, size_t piece, struct arena *arena, struct buf *seen)
{
    struct frame_reader reader;
    frame_reader_init(&reader, FRAME_BYTES_MAX, arena);
    enum frame_result result = FRAME_MORE;
    for (uint32_t messages = 0; messages < FRAMES_MAX && in.len != 0;) {
        /* A block of its own, so that reading past the piece is seen. */
        const size_t len = piece < in.len ? piece : in.len;
        uint8_t *block = xmalloc(len);
        memcpy(block, in.ptr, len);
        struct bytes part = bytes_of(block, len);
        result = frame_read(&reader, &part);
        const size_t taken = len - part.len;
        in = bytes_after(in, taken);
        free(block);
        if (result == FRAME_DONE) {
            const struct bytes message = frame_message(&reader);
            buf_printf(seen, "%zu:", message.len);
            buf_append(seen, message.ptr, message.len);
            frame_next(&reader);
            messages++;
        } else if (result != FRAME_MORE) {
            break;
        }
    }
    buf_printf(seen, "end %d partial %d", (int)result, frame_partial(&reader));
    frame_reader_deinit(&reader);
}

static void frame_one(struct bytes in)
{
    const size_t piece = 1 + (size_t)take_u8(&in);
    struct arena arena;
    struct buf whole, pieces;
    arena_init(&arena);
    buf_init(&whole, OUT_BYTES_MAX);
    buf_init(&pieces, OUT_BYTES_MAX);
    frames_read(in, SIZE_MAX, NULL, &whole);
    frames_read(in, piece, &arena, &pieces);
    ASSERT(bytes_eq(buf_bytes(&whole), buf_bytes(&pieces)));
    buf_deinit(&whole);
    buf_deinit(&pieces);
    arena_deinit(&arena);
}

static uint32_t released;

static void piece_released(void *context, bool sent)
{
    (void)context;
    (void)sent;
    released++;
}

/*
 * Messages in pieces, taken out bit by bit, read back: the same bytes, and every piece released
 * once.
 */
static void frame_write_one(struct bytes in)
{
    struct frame_queue queue = {0};
    struct buf sent, wire;
    uint32_t pushed = 0;
    const size_t piece = 1 + (size_t)take_u8(&in);
    buf_init(&sent, OUT_BYTES_MAX);
    buf_init(&wire, OUT_BYTES_MAX);
    released = 0;
    while (in.len != 0) {
        struct rpc_piece pieces[3];
        const size_t count = take_u8(&in) % 4;
        const bool copy = (take_u8(&in) & 1) != 0;
        for (size_t i = 0; i < count; i++) {
            pieces[i] =
                (struct rpc_piece){.bytes = take_bytes(&in, 300), .release = piece_released};
            buf_append(&sent, pieces[i].bytes.ptr, pieces[i].bytes.len);
        }
        frame_queue_push(&queue, NULL, pieces, count, copy);
        pushed += (uint32_t)count;
    }
    const bool all = (piece & 1) != 0;
    while (queue.bytes != 0 && (all || queue.bytes > piece)) {
        const size_t len = piece < queue.bytes ? piece : queue.bytes;
        frame_queue_take(&queue, buf_room(&wire, len), len);
        wire.len += len;
    }
    frame_queue_clear(&queue);
    ASSERT(released == pushed);

    struct frame_reader reader;
    frame_reader_init(&reader, FRAME_BYTES_MAX, NULL);
    struct bytes rest = buf_bytes(&wire), want = buf_bytes(&sent);
    while (rest.len != 0 && frame_read(&reader, &rest) == FRAME_DONE) {
        const struct bytes message = frame_message(&reader);
        ASSERT(bytes_starts(want, message));
        want = bytes_after(want, message.len);
        frame_next(&reader);
    }
    ASSERT(rest.len == 0 && (!all || want.len == 0));
    frame_reader_deinit(&reader);
    buf_deinit(&sent);
    buf_deinit(&wire);
}

/* --- texts --- */

static void message_one(struct bytes in)
{
    struct arena arena;
    arena_init(&arena);
    const struct bytes decoded = text_decode(&arena, in);
    ASSERT(decoded.len <= in.len);
    const struct bytes encoded = text_encode(&arena, in);
    ASSERT(encoded.len <= 3 * TEXT_MESSAGE_BYTES_MAX && rpc_header_text_ok(encoded));
    const struct bytes back = text_decode(&arena, encoded);
    ASSERT(bytes_utf8(back, NULL));
    if (bytes_utf8(in, NULL)) { /* what is no UTF-8 is repaired, and longer then */
        ASSERT(in.len <= TEXT_MESSAGE_BYTES_MAX ? bytes_eq(back, in) : bytes_starts(in, back));
    }
    arena_deinit(&arena);
}

static void timeout_one(struct bytes in)
{
    struct arena arena;
    int64_t us = 0, again = 0;
    arena_init(&arena);
    if (timeout_parse(in, &us)) {
        ASSERT(us >= 0);
        ASSERT(timeout_parse(timeout_print(&arena, us), &again) && again >= us);
    }
    us = (int64_t)take_u64(&in);
    ASSERT(timeout_parse(timeout_print(&arena, us), &again));
    /* What is sent is never shorter than what was asked for, up to the longest there is. */
    ASSERT(again >= us || us > INT64_C(99999999) * 3600000000);
    arena_deinit(&arena);
}

static void status_one(struct bytes in)
{
    ASSERT(status_parse(in) <= 16);
}

static void protobuf_one(struct bytes in)
{
    struct buf copy;
    struct pb_field field, again;
    buf_init(&copy, OUT_BYTES_MAX);
    struct bytes rest = in;
    while (pb_next(&rest, &field)) {
        if (field.is_bytes) {
            pb_put_bytes(&copy, field.number, field.bytes);
        } else {
            pb_put_uint(&copy, field.number, field.value);
        }
    }
    struct bytes second = buf_bytes(&copy);
    for (rest = in; pb_next(&rest, &field);) {
        ASSERT(pb_next(&second, &again));
        ASSERT(field.number == again.number && field.is_bytes == again.is_bytes);
        ASSERT(field.is_bytes ? bytes_eq(field.bytes, again.bytes) : field.value == again.value);
    }
    ASSERT(second.len == 0);
    (void)pb_find(in, 1);
    buf_deinit(&copy);
}

static void uuid_one(struct bytes in)
{
    struct uuid uuid, again;
    char text[UUID_TEXT_LEN + 1];
    const bool strict = uuid_parse(in, &uuid);
    if (uuid_parse_lenient(in, &again)) {
        ASSERT(!strict || uuid_eq(&uuid, &again));
        uuid_format(&again, text);
        ASSERT(uuid_parse(bytes_str(text), &uuid) && uuid_eq(&uuid, &again));
    } else {
        ASSERT(!strict);
    }
}

/*
 * Text cut in two at any place that begins a character is well-formed exactly if both halves are.
 */
static void utf8_one(struct bytes in)
{
    const size_t cut = in.len != 0 ? take_u8(&in) % (in.len + 1) : 0;
    const struct bytes front = bytes_of(in.ptr, cut), back = bytes_of(in.ptr + cut, in.len - cut);
    size_t chars = 0, front_chars = 0, back_chars = 0;
    const bool good = bytes_utf8(in, &chars);
    ASSERT(!good || chars <= in.len);
    if (bytes_utf8(front, &front_chars) && bytes_utf8(back, &back_chars)) {
        ASSERT(good && chars == front_chars + back_chars);
    } else if (good) {
        ASSERT(cut < in.len && (in.ptr[cut] & 0xc0) == 0x80);
    }
}

void fuzz_one(struct bytes input)
{
    static void (*const parts[KINDS])(struct bytes) = {
        [FRAME] = frame_one,     [FRAME_WRITE] = frame_write_one,
        [MESSAGE] = message_one, [TIMEOUT] = timeout_one,
        [STATUS] = status_one,   [PROTOBUF] = protobuf_one,
        [UUID] = uuid_one,       [UTF8] = utf8_one,
    };
    const uint8_t kind = take_u8(&input);
    parts[kind % KINDS](input);
}

void fuzz_seeds(struct seeds *seeds)
{
    seed_put(seeds, FRAME, BYTES_LIT("\0\0\0\0\0\3abc\0\0\0\0\0\0\0\0\0\1x"));
    seed_put(seeds, FRAME, BYTES_LIT("\2\0\0\0\0\1y\1\0\0\0\1z"));
    seed_put(seeds, FRAME, BYTES_LIT("\4\0\0\1\0\1"));
    seed_put(seeds, FRAME_WRITE, BYTES_LIT("\2\3\0\1ab\2cdef\0\2\1\1gh\1ij"));
    seed_put(seeds, MESSAGE, BYTES_LIT(" a%20b%zz\xc3\xa9\n%e2%82%ac "));
    seed_put(seeds, TIMEOUT, BYTES_LIT("100m"));
    seed_put(seeds, TIMEOUT, BYTES_LIT("99999999H"));
    seed_put(seeds, TIMEOUT, BYTES_LIT("1n"));
    seed_put(seeds, STATUS, BYTES_LIT("14"));
    seed_put(seeds, PROTOBUF,
             BYTES_LIT("\x0a\x02hi\x10\x96\x01\x1d\1\2\3\4\x21\1\2\3\4\5\6\7\x08"));
    seed_put(seeds, UUID, BYTES_LIT("urn:uuid:01234567-89AB-cdef-0123-456789abcdef"));
    seed_put(seeds, UUID, BYTES_LIT("{01234567-89ab-cdef-0123-456789abcdef}"));
    seed_put(seeds, UUID, BYTES_LIT("0123456789abcdef0123456789abcdef"));
    seed_put(seeds, UTF8, BYTES_LIT("\3a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z"));
}
