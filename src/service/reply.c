/*
 * service/reply.c - a message as the pieces it is sent in. Large fields are sent from where they
 * lie; what is between them is packed into one block.
 */
#include "base/assert.h"
#include "service/call_int.h"

#define LENT_BYTES_MIN (64u << 10) /* below, a copy costs less than a piece */
#define WHOLE_BYTES_MAX (1u << 20) /* a smaller message is packed in one go, which is quickest */
#define LENT_MAX ((RPC_PIECES_MAX - 1) / 2)

/* Counts on the first walk, fills on the second. */
struct cut {
    ProtobufCBuffer base;
    size_t lent_min;
    size_t copied; /* bytes that are no field's of their own */
    uint8_t *block;
    size_t block_len, block_sent; /* filled; of it, what stands in pieces */
    struct rpc_piece *pieces;     /* NULL: counting */
    size_t count;
};

static void piece_add(struct cut *cut, struct bytes bytes)
{
    if (bytes.len != 0) {
        ASSERT(cut->count < RPC_PIECES_MAX);
        cut->pieces[cut->count++] = (struct rpc_piece){.bytes = bytes};
    }
}

/* What was packed since the last field that is sent by itself. */
static void block_end(struct cut *cut)
{
    piece_add(cut, bytes_of(cut->block + cut->block_sent, cut->block_len - cut->block_sent));
    cut->block_sent = cut->block_len;
}

static void cut_append(ProtobufCBuffer *buffer, size_t len, const uint8_t *data)
{
    struct cut *cut = CONTAINER_OF(buffer, struct cut, base);
    const bool lent = len >= cut->lent_min;
    if (cut->pieces == NULL) {
        cut->copied += lent ? 0 : len;
        return;
    }
    if (lent) {
        block_end(cut);
        piece_add(cut, bytes_of(data, len));
        return;
    }
    if (len != 0) {
        memcpy(cut->block + cut->block_len, data, len);
        cut->block_len += len;
    }
}

size_t svc_pieces(struct arena *arena, const ProtobufCMessage *reply, size_t size,
                  struct rpc_piece *pieces)
{
    if (size < WHOLE_BYTES_MAX) {
        uint8_t *packed = arena_alloc(arena, size);
        protobuf_c_message_pack(reply, packed);
        pieces[0] = (struct rpc_piece){.bytes = bytes_of(packed, size)};
        return 1;
    }
    struct cut cut = {
        .base.append = cut_append,
        /*
         * So at most LENT_MAX fields are lent, each with a piece before it, and one piece is the
         * end.
         */
        .lent_min = size / LENT_MAX + 1 > LENT_BYTES_MIN ? size / LENT_MAX + 1 : LENT_BYTES_MIN,
    };
    (void)protobuf_c_message_pack_to_buffer(reply, &cut.base);
    cut.block = arena_alloc(arena, cut.copied);
    cut.pieces = pieces;
    (void)protobuf_c_message_pack_to_buffer(reply, &cut.base);
    ASSERT(cut.block_len == cut.copied);
    block_end(&cut);
    return cut.count;
}
