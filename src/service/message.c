/*
 * service/message.c - from bytes to a message in the call's arena.
 *
 * The bytes are walked once by their descriptor before protobuf-c unpacks them, because three
 * things cannot be seen afterwards: strings that are not UTF-8, strings with a NUL (C strings end
 * there, so two names would become one), and how much memory unpacking takes (a field of two bytes
 * becomes a hundred). What passes is unpacked into the arena.
 *
 * The items of a bulk call are counted before anything of them is unpacked, and each is checked and
 * unpacked by itself: a bad one is replaced by an empty message with a fault, and the others are as
 * good as without it.
 */
#include "base/assert.h"
#include "codec/unpack.h"
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

bool message_next(struct bytes *wire, uint32_t *ret_number, struct bytes *ret_body)
{
    uint64_t tag = 0;
    if (!varint_read(wire, &tag) || tag >> 3 == 0 || tag > UINT32_MAX ||
        !value_read(wire, (unsigned)(tag & 7), ret_body)) {
        return false;
    }
    *ret_number = (uint32_t)(tag >> 3);
    return true;
}

/* What was walked of a request, or of one item of it. */
struct message_walk {
    uint32_t fields;
    size_t text_bytes; /* of strings */
};

static SILO_RC text_too_long(struct silo_err *err)
{
    return FAIL(err, SILO_INVALID, "the request has too much text: more than %u bytes of strings",
                REQUEST_TEXT_BYTES_MAX);
}

static SILO_RC string_check(const ProtobufCMessageDescriptor *type,
                            const ProtobufCFieldDescriptor *field, struct bytes text,
                            struct message_walk *walk, struct silo_err *err)
{
    if (text.len > REQUEST_TEXT_BYTES_MAX - walk->text_bytes) {
        return text_too_long(err);
    }
    walk->text_bytes += text.len;
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
                            uint32_t depth, struct message_walk *walk, struct silo_err *err)
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
        if (++walk->fields > MESSAGE_FIELDS_MAX) {
            return FAIL(err, SILO_INVALID, "%s has too many entries: more than %u fields",
                        type->short_name, MESSAGE_FIELDS_MAX);
        }
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(type, (unsigned)(tag >> 3));
        if (field == NULL || (tag & 7) != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED) {
            continue;
        }
        if (field->type == PROTOBUF_C_TYPE_STRING) {
            TRY(string_check(type, field, body, walk, err));
        } else if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
            TRY(fields_check(field->descriptor, body, depth + 1, walk, err));
        }
    }
    return RC_OK;
}

SILO_RC message_check(const ProtobufCMessageDescriptor *type, struct bytes wire,
                      struct silo_err *err)
{
    struct message_walk walk = {0};
    return fields_check(type, wire, 1, &walk, err);
}

static SILO_RC message_unpack(struct arena *arena, const ProtobufCMessageDescriptor *type,
                              struct bytes wire, ProtobufCMessage **ret_message,
                              struct silo_err *err)
{
    ProtobufCAllocator allocator = unpack_allocator(arena);
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, wire.len, wire.ptr);
    if (message == NULL) {
        return FAIL(err, SILO_INTERNAL, "failed to decode %s: malformed message", type->short_name);
    }
    *ret_message = message;
    return RC_OK;
}

SILO_RC message_decode(struct arena *arena, const ProtobufCMessageDescriptor *type,
                       struct bytes wire, const ProtobufCMessage **ret_message,
                       struct silo_err *err)
{
    ProtobufCMessage *message = NULL;
    TRY(message_check(type, wire, err));
    TRY(message_unpack(arena, type, wire, &message, err));
    *ret_message = message;
    return RC_OK;
}

/* --- bulk calls --- */

/* A request of many items taken apart: what is no item, and the items' bytes. */
struct bulk {
    const ProtobufCMessageDescriptor *type;
    const ProtobufCFieldDescriptor *items;
    struct bytes rest;    /* in the arena */
    struct bytes *bodies; /* lent from the wire */
    size_t count;
};

/* The next field of the request; *ret_item: it is an item. */
static bool bulk_next(const struct bulk *bulk, struct bytes *at, struct bytes *ret_body,
                      bool *ret_item)
{
    uint64_t tag = 0;
    if (!varint_read(at, &tag) || tag >> 3 == 0 || tag > UINT32_MAX ||
        !value_read(at, (unsigned)(tag & 7), ret_body)) {
        return false;
    }
    *ret_item = tag >> 3 == bulk->items->id && (tag & 7) == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED;
    return true;
}

static SILO_RC bulk_split(struct arena *arena, struct bulk *bulk, struct bytes wire,
                          struct silo_err *err)
{
    size_t rest_len = 0;
    struct bytes body;
    bool item = false;
    for (struct bytes at = wire; at.len != 0;) {
        const size_t left = at.len;
        if (!bulk_next(bulk, &at, &body, &item)) {
            return FAIL(err, SILO_INTERNAL, "failed to decode %s: malformed message",
                        bulk->type->short_name);
        }
        bulk->count += item;
        rest_len += item ? 0 : left - at.len;
    }
    if (bulk->count > BULK_ITEMS_MAX) {
        return FAIL(err, SILO_INVALID, "%zu %s in one call: at most %u are taken", bulk->count,
                    bulk->items->name, BULK_ITEMS_MAX);
    }
    uint8_t *rest = arena_alloc(arena, rest_len + 1);
    bulk->rest = bytes_of(rest, rest_len);
    bulk->bodies = arena_alloc(arena, (bulk->count + 1) * sizeof bulk->bodies[0]);
    size_t at_item = 0;
    for (struct bytes at = wire; at.len != 0;) {
        const struct bytes before = at;
        if (bulk_next(bulk, &at, &body, &item) && item) {
            bulk->bodies[at_item++] = body;
        } else {
            memcpy(rest, before.ptr, before.len - at.len);
            rest += before.len - at.len;
        }
    }
    return RC_OK;
}

/* Whatever is wrong with an item is its sender's doing: INVALID. */
static SILO_RC item_decode(struct arena *arena, const ProtobufCMessageDescriptor *type,
                           struct bytes body, struct message_walk *all, ProtobufCMessage **ret_item,
                           struct silo_err *err)
{
    struct message_walk own = {0};
    const silo_rc rc = fields_check(type, body, 2, &own, err);
    all->fields += own.fields; /* those of bad items, too: they took as long */
    all->text_bytes += own.text_bytes;
    TRY(rc);
    return message_unpack(arena, type, body, ret_item, err);
}

static ProtobufCMessage *item_empty(struct arena *arena, const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *item = arena_alloc(arena, type->sizeof_message);
    protobuf_c_message_init(type, item);
    return item;
}

SILO_RC message_decode_bulk(struct arena *arena, const ProtobufCMessageDescriptor *type,
                            uint32_t items_field, struct bytes wire,
                            const ProtobufCMessage **ret_message, const char *const **ret_faults,
                            struct silo_err *err)
{
    struct bulk bulk = {.type = type,
                        .items = protobuf_c_message_descriptor_get_field(type, items_field)};
    ASSERT(bulk.items->label == PROTOBUF_C_LABEL_REPEATED);
    const ProtobufCMessageDescriptor *item_type = bulk.items->descriptor;
    ProtobufCMessage *message = NULL;
    TRY(bulk_split(arena, &bulk, wire, err));
    TRY(message_check(type, bulk.rest, err));
    TRY(message_unpack(arena, type, bulk.rest, &message, err));
    ProtobufCMessage **items = arena_alloc(arena, (bulk.count + 1) * sizeof *items);
    const char **faults = arena_zalloc(arena, (bulk.count + 1) * sizeof *faults);
    struct message_walk all = {0};
    for (size_t i = 0; i < bulk.count; i++) {
        struct silo_err fault;
        if (item_decode(arena, item_type, bulk.bodies[i], &all, &items[i], &fault).code !=
            SILO_OK) {
            faults[i] = arena_str(arena, bytes_str(fault.text));
            items[i] = item_empty(arena, item_type);
        }
        if (all.text_bytes > REQUEST_TEXT_BYTES_MAX) {
            return text_too_long(err);
        }
        if (all.fields > BULK_FIELDS_MAX) {
            return FAIL(err, SILO_INVALID, "the request has too many entries: more than %u fields",
                        BULK_FIELDS_MAX);
        }
    }
    uint8_t *base = (uint8_t *)message;
    ASSERT(base != NULL); /* it was unpacked */
    memcpy(base + bulk.items->quantifier_offset, &bulk.count, sizeof bulk.count);
    memcpy(base + bulk.items->offset, &items, sizeof items);
    *ret_message = message;
    *ret_faults = faults;
    return RC_OK;
}
