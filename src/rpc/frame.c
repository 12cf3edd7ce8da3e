/*
 * rpc/frame.c - message framing: flag byte, 32-bit big-endian length, message.
 *
 * A block grows in doublings up to the announced length, so memory held is at most twice what the
 * peer has sent (realloc of large blocks moves pages, not bytes).
 */
#include "rpc/frame_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

struct frame_out {
    struct frame_out *next;
    size_t bytes; /* framed */
    bool on_heap;
    uint8_t prefix_len; /* of prefix not yet taken */
    uint8_t prefix[FRAME_PREFIX_BYTES];
    size_t offset; /* in the piece `at` */
    size_t at;
    size_t count;
    struct rpc_piece pieces[];
};

void frame_reader_init(struct frame_reader *reader, size_t bytes_max, struct arena *arena)
{
    *reader = (struct frame_reader){.bytes_max = bytes_max, .arena = arena};
}

void frame_reader_deinit(struct frame_reader *reader)
{
    free(reader->block);
    *reader = (struct frame_reader){0};
}

static enum frame_result frame_read_prefix(struct frame_reader *reader, struct bytes *input)
{
    while (reader->prefix_len < FRAME_PREFIX_BYTES && input->len != 0) {
        reader->prefix[reader->prefix_len++] = *input->ptr;
        input->ptr++;
        input->len--;
    }
    if (reader->prefix_len < FRAME_PREFIX_BYTES) {
        return FRAME_MORE;
    }
    const uint8_t *p = reader->prefix;
    if (p[0] > 1) {
        return FRAME_BAD;
    }
    reader->want = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | (size_t)p[4];
    if (reader->want > reader->bytes_max) {
        return FRAME_TOO_LARGE;
    }
    if (p[0] == 1) {
        return FRAME_COMPRESSED;
    }
    if (reader->arena != NULL && reader->want <= FRAME_SMALL_BYTES) {
        reader->ptr = arena_alloc(reader->arena, reader->want);
        reader->cap = reader->want;
    } else if (reader->block != NULL) {
        reader->ptr = reader->block;
    }
    return FRAME_DONE;
}

static void frame_reserve(struct frame_reader *reader, size_t need)
{
    if (need <= reader->cap) {
        return;
    }
    size_t cap = reader->cap != 0 ? reader->cap * 2 : FRAME_SMALL_BYTES;
    if (cap > reader->want) {
        cap = reader->want;
    }
    if (cap < need) {
        cap = need;
    }
    reader->block = xrealloc(reader->block, cap);
    reader->ptr = reader->block;
    reader->cap = cap;
}

enum frame_result frame_read(struct frame_reader *reader, struct bytes *input)
{
    if (reader->prefix_len < FRAME_PREFIX_BYTES) {
        const enum frame_result result = frame_read_prefix(reader, input);
        if (result != FRAME_DONE) {
            return result;
        }
    }
    size_t take = reader->want - reader->len;
    if (take > input->len) {
        take = input->len;
    }
    if (take != 0) {
        frame_reserve(reader, reader->len + take);
        memcpy(reader->ptr + reader->len, input->ptr, take);
        reader->len += take;
        input->ptr += take;
        input->len -= take;
    }
    return reader->len == reader->want ? FRAME_DONE : FRAME_MORE;
}

struct bytes frame_message(const struct frame_reader *reader)
{
    return reader->len != 0 ? bytes_of(reader->ptr, reader->len) : BYTES_LIT("");
}

void frame_next(struct frame_reader *reader)
{
    reader->prefix_len = 0;
    reader->len = reader->want = 0;
    if (reader->cap > FRAME_SMALL_BYTES) {
        free(reader->block);
        reader->block = NULL;
    }
    if (reader->block == NULL) {
        reader->ptr = NULL;
        reader->cap = 0;
    }
}

bool frame_partial(const struct frame_reader *reader)
{
    return reader->prefix_len != 0;
}

static void frame_put_prefix(struct frame_out *out, size_t len)
{
    out->prefix[0] = 0;
    out->prefix[1] = (uint8_t)(len >> 24);
    out->prefix[2] = (uint8_t)(len >> 16);
    out->prefix[3] = (uint8_t)(len >> 8);
    out->prefix[4] = (uint8_t)len;
    out->prefix_len = FRAME_PREFIX_BYTES;
}

static void piece_release(const struct rpc_piece *piece, bool sent)
{
    if (piece->release != NULL) {
        piece->release(piece->context, sent);
    }
}

static void frame_copy_in(struct frame_out *out, const struct rpc_piece *pieces, size_t count)
{
    uint8_t *to = (uint8_t *)&out->pieces[1];
    out->pieces[0] = (struct rpc_piece){.bytes.ptr = to};
    out->count = 1;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].bytes.len != 0) {
            memcpy(to, pieces[i].bytes.ptr, pieces[i].bytes.len);
            to += pieces[i].bytes.len;
            out->pieces[0].bytes.len += pieces[i].bytes.len;
        }
        piece_release(&pieces[i], true);
    }
}

void frame_queue_push(struct frame_queue *queue, struct arena *arena,
                      const struct rpc_piece *pieces, size_t count, bool copy)
{
    ASSERT(count <= RPC_PIECES_MAX);
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        len += pieces[i].bytes.len;
    }
    ASSERT(len <= UINT32_MAX);
    const size_t size =
        sizeof(struct frame_out) + (copy ? sizeof pieces[0] + len : count * sizeof pieces[0]);
    struct frame_out *out = arena != NULL ? arena_alloc(arena, size) : xmalloc(size);
    *out = (struct frame_out){.bytes = FRAME_PREFIX_BYTES + len, .on_heap = arena == NULL};
    frame_put_prefix(out, len);
    if (copy) {
        frame_copy_in(out, pieces, count);
    } else if (count != 0) {
        memcpy(out->pieces, pieces, count * sizeof pieces[0]);
        out->count = count;
    }
    if (queue->last != NULL) {
        queue->last->next = out;
    } else {
        queue->first = out;
    }
    queue->last = out;
    queue->bytes += out->bytes;
    queue->held_bytes += out->bytes;
}

static void frame_queue_pop(struct frame_queue *queue)
{
    struct frame_out *out = queue->first;
    queue->first = out->next;
    queue->held_bytes -= out->bytes;
    if (queue->first == NULL) {
        queue->last = NULL;
    }
    if (out->on_heap) {
        free(out);
    }
}

/* Copies from the first message; returns how much. Pieces that are used up are released. */
static size_t frame_out_take(struct frame_out *out, uint8_t *to, size_t len)
{
    size_t done = 0;
    if (out->prefix_len != 0) {
        done = len < out->prefix_len ? len : out->prefix_len;
        memcpy(to, out->prefix + (FRAME_PREFIX_BYTES - out->prefix_len), done);
        out->prefix_len = (uint8_t)(out->prefix_len - done);
    }
    while (out->prefix_len == 0 && out->at < out->count) {
        const struct rpc_piece *piece = &out->pieces[out->at];
        size_t part = piece->bytes.len - out->offset;
        if (part > len - done) {
            part = len - done;
        }
        if (part != 0) {
            memcpy(to + done, piece->bytes.ptr + out->offset, part);
            done += part;
            out->offset += part;
        }
        if (out->offset < piece->bytes.len) {
            break;
        }
        out->at++;
        out->offset = 0;
        piece_release(piece, true);
    }
    return done;
}

void frame_queue_take(struct frame_queue *queue, uint8_t *to, size_t len)
{
    ASSERT(len <= queue->bytes);
    queue->bytes -= len;
    while (queue->first != NULL) {
        struct frame_out *out = queue->first;
        const size_t done = frame_out_take(out, to, len);
        to += done;
        len -= done;
        if (out->prefix_len != 0 || out->at < out->count) {
            break;
        }
        frame_queue_pop(queue);
    }
    ASSERT(len == 0);
}

void frame_queue_clear(struct frame_queue *queue)
{
    while (queue->first != NULL) {
        struct frame_out *out = queue->first;
        for (size_t i = out->at; i < out->count; i++) {
            piece_release(&out->pieces[i], false);
        }
        frame_queue_pop(queue);
    }
    *queue = (struct frame_queue){0};
}
