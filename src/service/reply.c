/*
 * service/reply.c - a message as the pieces it is sent in. Large fields are sent from where they
 * lie; what is between them is packed into one block.
 */
#include "base/assert.h"
#include "service/call_int.h"

#define LENT_BYTES_MIN (64u << 10) /* below, a copy costs less than a piece */
#define WHOLE_BYTES_MAX (1u << 20) /* a smaller message is packed in one go, which is quickest */
#define LENT_MAX ((RPC_SEGMENTS_MAX - 1) / 2)

/* Counts on the first walk, fills on the second. */
struct pieces {
    ProtobufCBuffer base;
    size_t lent_min;
    size_t copied; /* bytes that are no field's of their own */
    uint8_t *block;
    size_t block_len, block_sent; /* filled; of it, what stands in segments */
    struct rpc_segment *segments; /* NULL: counting */
    size_t count;
};

static void segment_add(struct pieces *pieces, struct bytes bytes)
{
    if (bytes.len != 0) {
        ASSERT(pieces->count < RPC_SEGMENTS_MAX);
        pieces->segments[pieces->count++] = (struct rpc_segment){.bytes = bytes};
    }
}

/* What was packed since the last field that is sent by itself. */
static void block_end(struct pieces *pieces)
{
    segment_add(pieces, bytes_of(pieces->block + pieces->block_sent,
                                 pieces->block_len - pieces->block_sent));
    pieces->block_sent = pieces->block_len;
}

static void pieces_append(ProtobufCBuffer *buffer, size_t len, const uint8_t *data)
{
    struct pieces *pieces = CONTAINER_OF(buffer, struct pieces, base);
    const bool lent = len >= pieces->lent_min;
    if (pieces->segments == NULL) {
        pieces->copied += lent ? 0 : len;
        return;
    }
    if (lent) {
        block_end(pieces);
        segment_add(pieces, bytes_of(data, len));
        return;
    }
    if (len != 0) {
        memcpy(pieces->block + pieces->block_len, data, len);
        pieces->block_len += len;
    }
}

size_t svc_segments(struct arena *arena, const ProtobufCMessage *reply, size_t size,
                    struct rpc_segment *segments)
{
    if (size < WHOLE_BYTES_MAX) {
        uint8_t *packed = arena_alloc(arena, size);
        protobuf_c_message_pack(reply, packed);
        segments[0] = (struct rpc_segment){.bytes = bytes_of(packed, size)};
        return 1;
    }
    struct pieces pieces = {
        .base.append = pieces_append,
        /*
         * So at most LENT_MAX fields are lent, each with a piece before it, and one piece is the
         * end.
         */
        .lent_min = size / LENT_MAX + 1 > LENT_BYTES_MIN ? size / LENT_MAX + 1 : LENT_BYTES_MIN,
    };
    (void)protobuf_c_message_pack_to_buffer(reply, &pieces.base);
    pieces.block = arena_alloc(arena, pieces.copied);
    pieces.segments = segments;
    (void)protobuf_c_message_pack_to_buffer(reply, &pieces.base);
    ASSERT(pieces.block_len == pieces.copied);
    block_end(&pieces);
    return pieces.count;
}
