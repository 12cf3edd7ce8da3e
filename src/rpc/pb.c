/*
 * rpc/pb.c - protobuf wire format: varints, 32 and 64 bit numbers, length-delimited fields. Groups
 * are malformed.
 */
#include "rpc/pb_int.h"

#define PB_VARINT_BYTES_MAX 10u
#define PB_FIELD_MAX ((1u << 29) - 1)

static bool pb_varint(struct bytes *in, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < PB_VARINT_BYTES_MAX && i < in->len; i++) {
        value |= (uint64_t)(in->ptr[i] & 0x7f) << (7 * i);
        if ((in->ptr[i] & 0x80) == 0) {
            in->ptr += i + 1;
            in->len -= i + 1;
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static bool pb_fixed(struct bytes *in, size_t size, uint64_t *ret_value)
{
    if (in->len < size) {
        return false;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value |= (uint64_t)in->ptr[i] << (8 * i);
    }
    in->ptr += size;
    in->len -= size;
    *ret_value = value;
    return true;
}

static bool pb_value(struct bytes *in, unsigned wire, struct pb_field *field)
{
    switch (wire) {
    case 0:
        return pb_varint(in, &field->value);
    case 1:
        return pb_fixed(in, 8, &field->value);
    case 5:
        return pb_fixed(in, 4, &field->value);
    case 2:
        if (!pb_varint(in, &field->value) || field->value > in->len) {
            return false;
        }
        field->is_bytes = true;
        field->bytes = bytes_of(in->ptr, (size_t)field->value);
        in->ptr += field->bytes.len;
        in->len -= field->bytes.len;
        return true;
    default:
        return false;
    }
}

bool pb_next(struct bytes *in, struct pb_field *ret_field)
{
    struct bytes rest = *in;
    uint64_t tag = 0;
    *ret_field = (struct pb_field){0};
    if (rest.len == 0 || !pb_varint(&rest, &tag) || tag >> 3 == 0 || tag >> 3 > PB_FIELD_MAX) {
        return false;
    }
    ret_field->number = (uint32_t)(tag >> 3);
    if (!pb_value(&rest, (unsigned)(tag & 7), ret_field)) {
        return false;
    }
    *in = rest;
    return true;
}

struct bytes pb_find(struct bytes message, uint32_t number)
{
    struct pb_field field;
    while (pb_next(&message, &field)) {
        if (field.number == number && field.is_bytes) {
            return field.bytes;
        }
    }
    return BYTES_LIT("");
}

static void put_varint(struct buf *out, uint64_t value)
{
    while (value >= 0x80) {
        buf_u8(out, (uint8_t)(value | 0x80));
        value >>= 7;
    }
    buf_u8(out, (uint8_t)value);
}

void pb_put_uint(struct buf *out, uint32_t number, uint64_t value)
{
    put_varint(out, (uint64_t)number << 3);
    put_varint(out, value);
}

void pb_put_bytes(struct buf *out, uint32_t number, struct bytes bytes)
{
    put_varint(out, (uint64_t)number << 3 | 2);
    put_varint(out, bytes.len);
    buf_append(out, bytes.ptr, bytes.len);
}
