/*
 * fuzz/wire.h - HTTP/2 frames as the fuzzers of both sides of a connection write them: lengths
 * right, contents whatever.
 */
#ifndef SILO_FUZZ_WIRE_H
#define SILO_FUZZ_WIRE_H

#include <nghttp2/nghttp2.h>

#include "base/buf.h"

#define WIRE_BYTES_MAX (1u << 20)

static inline void wire_frame(struct buf *out, uint8_t type, uint8_t flags, uint32_t stream,
                              struct bytes payload)
{
    const uint8_t head[9] = {(uint8_t)(payload.len >> 16),
                             (uint8_t)(payload.len >> 8),
                             (uint8_t)payload.len,
                             type,
                             flags,
                             (uint8_t)(stream >> 24),
                             (uint8_t)(stream >> 16),
                             (uint8_t)(stream >> 8),
                             (uint8_t)stream};
    buf_append(out, head, sizeof head);
    buf_append(out, payload.ptr, payload.len);
}

/*
 * A literal header without Huffman coding and without a place in the table; at most 126 bytes of
 * value.
 */
static inline void wire_header(struct buf *block, struct bytes name, struct bytes value)
{
    value.len = value.len < 126 ? value.len : 126;
    buf_u8(block, 0);
    buf_u8(block, (uint8_t)name.len);
    buf_append(block, name.ptr, name.len);
    buf_u8(block, (uint8_t)value.len);
    buf_append(block, value.ptr, value.len);
}

/* One message in gRPC's framing; `lie` is added to the length it announces. */
static inline void wire_message(struct buf *out, uint32_t stream, bool end, uint8_t compressed,
                                uint32_t lie, struct bytes message)
{
    struct buf body;
    buf_init(&body, WIRE_BYTES_MAX);
    const uint32_t len = (uint32_t)message.len + lie;
    buf_u8(&body, compressed);
    for (int shift = 24; shift >= 0; shift -= 8) {
        buf_u8(&body, (uint8_t)(len >> shift));
    }
    buf_append(&body, message.ptr, message.len);
    wire_frame(out, NGHTTP2_DATA, end ? NGHTTP2_FLAG_END_STREAM : 0, stream, buf_bytes(&body));
    buf_deinit(&body);
}

#endif
