/*
 * service/message.c - from bytes to a message in the call's arena.
 *
 * The bytes are walked once by their descriptor before protobuf-c unpacks them, because three things cannot be seen
 * afterwards: strings that are not UTF-8, strings with a NUL (C strings end there, so two names would become one), and how
 * much memory unpacking takes (a field of two bytes becomes a hundred). What passes is unpacked into the arena.
 */
#include "service/service_int.h"

static bool varint_read(struct bytes *at, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (size_t i = 0; i < 10; i++) {
        if (i == at->len) {
            return false;
        }
        value |= (uint64_t)(at->ptr[i] & 0x7f) << (7 * i);
        if (at->ptr[i] < 0x80) {
            *at = bytes_of(at->ptr + i + 1, at->len - i - 1);
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static bool bytes_skip(struct bytes *at, uint64_t count, struct bytes *ret_skipped)
{
    if (count > at->len) {
        return false;
    }
    *ret_skipped = bytes_of(at->ptr, (size_t)count);
    *at = bytes_of(at->ptr + count, at->len - (size_t)count);
    return true;
}

/* One field's value; *ret_body is that of a length-delimited one, else empty. */
static bool value_read(struct bytes *at, unsigned wire_type, struct bytes *ret_body)
{
    uint64_t number = 0;
    struct bytes skipped;
    *ret_body = BYTES_NONE;
    switch (wire_type) {
    case PROTOBUF_C_WIRE_TYPE_VARINT:
        return varint_read(at, &number);
    case PROTOBUF_C_WIRE_TYPE_64BIT:
        return bytes_skip(at, 8, &skipped);
    case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
        return varint_read(at, &number) && bytes_skip(at, number, ret_body);
    case PROTOBUF_C_WIRE_TYPE_32BIT:
        return bytes_skip(at, 4, &skipped);
    default:
        return false;
    }
}

static SILO_RC string_check(const ProtobufCMessageDescriptor *type,
                            const ProtobufCFieldDescriptor *field, struct bytes text,
                            struct silo_err *err)
{
    if (!bytes_utf8(text, NULL)) {
        return FAIL(err, SILO_INTERNAL, "failed to decode %s: %s is not valid UTF-8",
                    type->short_name, field->name);
    }
    if (text.len != 0 && memchr(text.ptr, 0, text.len) != NULL) {
        return FAIL(err, SILO_INVALID, "%s of %s must not contain a NUL character", field->name,
                    type->short_name);
    }
    return RC_OK;
}

static SILO_RC fields_check(const ProtobufCMessageDescriptor *type, struct bytes wire,
                            uint32_t depth, uint32_t *fields, struct silo_err *err)
{
    if (depth > REQUEST_DEPTH_MAX) {
        return FAIL(err, SILO_INTERNAL, "failed to decode %s: nested too deeply", type->short_name);
    }
    while (wire.len != 0) {
        uint64_t tag = 0;
        struct bytes body;
        if (!varint_read(&wire, &tag) || tag >> 3 == 0 || tag > UINT32_MAX ||
            !value_read(&wire, (unsigned)(tag & 7), &body)) {
            return FAIL(err, SILO_INTERNAL, "failed to decode %s: malformed message",
                        type->short_name);
        }
        if (++*fields > REQUEST_FIELDS_MAX) {
            return FAIL(err, SILO_INVALID, "the request has too many entries: more than %u fields",
                        REQUEST_FIELDS_MAX);
        }
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(type, (unsigned)(tag >> 3));
        if (field == NULL || (tag & 7) != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED) {
            continue;
        }
        if (field->type == PROTOBUF_C_TYPE_STRING) {
            TRY(string_check(type, field, body, err));
        } else if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
            TRY(fields_check(field->descriptor, body, depth + 1, fields, err));
        }
    }
    return RC_OK;
}

SILO_RC message_check(const ProtobufCMessageDescriptor *type, struct bytes wire,
                      struct silo_err *err)
{
    uint32_t fields = 0;
    return fields_check(type, wire, 1, &fields, err);
}

static void *message_alloc(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void message_release(void *arena, void *pointer)
{
    (void)arena;
    (void)pointer;
}

SILO_RC message_decode(struct arena *arena, const ProtobufCMessageDescriptor *type,
                       struct bytes wire, const ProtobufCMessage **ret_message,
                       struct silo_err *err)
{
    TRY(message_check(type, wire, err));
    ProtobufCAllocator allocator = {
        .alloc = message_alloc, .free = message_release, .allocator_data = arena};
    const ProtobufCMessage *message =
        protobuf_c_message_unpack(type, &allocator, wire.len, wire.ptr);
    if (message == NULL) {
        return FAIL(err, SILO_INTERNAL, "failed to decode %s: malformed message", type->short_name);
    }
    *ret_message = message;
    return RC_OK;
}
