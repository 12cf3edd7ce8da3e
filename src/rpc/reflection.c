/*
 * rpc/reflection.c - grpc.reflection.v1 and v1alpha: which services there are, and their
 * descriptors.
 *
 * Both versions have the same messages. The descriptors come as one serialized FileDescriptorSet,
 * which is indexed once: files by name, and every message, field, enum, enum value, service and
 * method by full name. An answer with a file carries all files it imports, directly or not.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "rpc/pb_int.h"
#include "rpc/server_int.h"

#define REFLECTION_FILES_MAX 256u
#define REFLECTION_DEPTH_MAX 32u
#define REFLECTION_MESSAGE_BYTES_MAX (64u << 10) /* a request holds one or two names */
#define REFLECTION_CALLS_PER_CONN_MAX 8u         /* of each version */
#define REFLECTION_REPLY_BYTES_MAX (16u << 20)

/* Numbers of ServerReflectionRequest's and -Response's fields, and of descriptor.proto. */
enum {
    ASK_FILE = 3,
    ASK_SYMBOL = 4,
    ASK_EXTENSION = 5,
    ASK_EXTENSION_NUMBERS = 6,
    ASK_SERVICES = 7
};
enum { SAY_REQUEST = 2, SAY_FILES = 4, SAY_EXTENSION_NUMBERS = 5, SAY_SERVICES = 6, SAY_ERROR = 7 };
enum {
    FILE_NAME = 1,
    FILE_PACKAGE = 2,
    FILE_IMPORT = 3,
    FILE_MESSAGE = 4,
    FILE_ENUM = 5,
    FILE_SERVICE = 6
};
enum { MESSAGE_FIELD = 2, MESSAGE_NESTED = 3, MESSAGE_ENUM = 4 };

struct reflection_file {
    struct bytes name, raw;
};

struct reflection_symbol {
    struct map_node node;
    uint32_t file;
    bool is_message;
};

struct reflection {
    struct arena arena;
    struct map symbols;
    struct reflection_file files[REFLECTION_FILES_MAX];
    uint32_t file_count;
};

/* --- the index --- */

static struct bytes symbol_add(struct reflection *r, struct bytes scope, struct bytes name,
                               uint32_t file, bool is_message)
{
    const struct bytes full = bytes_str(
        scope.len == 0 ? arena_str(&r->arena, name)
                       : arena_printf(&r->arena, "%.*s.%.*s", BYTES_FMT(scope), BYTES_FMT(name)));
    if (map_find(&r->symbols, full) == NULL) {
        struct reflection_symbol *symbol = ARENA_NEW(&r->arena, struct reflection_symbol);
        symbol->file = file;
        symbol->is_message = is_message;
        map_insert(&r->symbols, &symbol->node, full);
    }
    return full;
}

/*
 * Everything in `message` whose field number is `number` has a name (field 1): index those under
 * scope.
 */
static void symbols_add_all(struct reflection *r, struct bytes message, uint32_t number,
                            struct bytes scope, uint32_t file)
{
    struct pb_field field;
    while (pb_next(&message, &field)) {
        if (field.number == number && field.is_bytes) {
            (void)symbol_add(r, scope, pb_find(field.bytes, 1), file, false);
        }
    }
}

/* An enum's values are its siblings. */
static void symbols_add_enum(struct reflection *r, struct bytes scope, struct bytes raw,
                             uint32_t file)
{
    (void)symbol_add(r, scope, pb_find(raw, 1), file, false);
    symbols_add_all(r, raw, 2, scope, file);
}

static void symbols_add_message(struct reflection *r, struct bytes scope, struct bytes raw,
                                uint32_t file, uint32_t depth)
{
    const struct bytes full = symbol_add(r, scope, pb_find(raw, 1), file, true);
    symbols_add_all(r, raw, MESSAGE_FIELD, full, file);
    struct pb_field field;
    while (depth < REFLECTION_DEPTH_MAX && pb_next(&raw, &field)) {
        if (field.number == MESSAGE_NESTED && field.is_bytes) {
            symbols_add_message(r, full, field.bytes, file, depth + 1);
        } else if (field.number == MESSAGE_ENUM && field.is_bytes) {
            symbols_add_enum(r, full, field.bytes, file);
        }
    }
}

static void reflection_add_file(struct reflection *r, struct bytes raw)
{
    const uint32_t file = r->file_count++;
    const struct bytes package = pb_find(raw, FILE_PACKAGE);
    r->files[file] = (struct reflection_file){pb_find(raw, FILE_NAME), raw};
    struct pb_field field;
    while (pb_next(&raw, &field)) {
        if (!field.is_bytes) {
            continue;
        }
        if (field.number == FILE_MESSAGE) {
            symbols_add_message(r, package, field.bytes, file, 0);
        } else if (field.number == FILE_ENUM) {
            symbols_add_enum(r, package, field.bytes, file);
        } else if (field.number == FILE_SERVICE) {
            const struct bytes full = symbol_add(r, package, pb_find(field.bytes, 1), file, false);
            symbols_add_all(r, field.bytes, 2, full, file);
        }
    }
}

static SILO_RC reflection_index(struct reflection *r, struct bytes set, struct silo_err *err)
{
    struct pb_field field;
    while (pb_next(&set, &field)) {
        if (field.number != 1 || !field.is_bytes) {
            continue;
        }
        if (r->file_count == REFLECTION_FILES_MAX) {
            return FAIL(err, SILO_INVALID, "more than %u descriptor files", REFLECTION_FILES_MAX);
        }
        reflection_add_file(r, field.bytes);
    }
    if (set.len != 0) {
        return FAIL(err, SILO_INVALID, "the descriptor set for reflection is malformed");
    }
    return RC_OK;
}

/* --- answers --- */

static void say_error(struct buf *out, uint32_t status, const char *text)
{
    struct buf error;
    buf_init(&error, REFLECTION_REPLY_BYTES_MAX);
    pb_put_uint(&error, 1, status);
    pb_put_bytes(&error, 2, bytes_str(text));
    pb_put_bytes(out, SAY_ERROR, buf_bytes(&error));
    buf_deinit(&error);
}

static const struct reflection_file *file_find(const struct reflection *r, struct bytes name,
                                               uint32_t *ret_index)
{
    for (uint32_t i = 0; i < r->file_count; i++) {
        if (bytes_eq(r->files[i].name, name)) {
            *ret_index = i;
            return &r->files[i];
        }
    }
    return NULL;
}

/* The file and, breadth first, everything it imports. */
static void say_file(const struct reflection *r, struct buf *out, uint32_t first)
{
    bool seen[REFLECTION_FILES_MAX] = {false};
    uint32_t queue[REFLECTION_FILES_MAX];
    uint32_t count = 0;
    queue[count++] = first;
    seen[first] = true;
    struct buf files;
    buf_init(&files, REFLECTION_REPLY_BYTES_MAX);
    for (uint32_t i = 0; i < count; i++) {
        struct bytes raw = r->files[queue[i]].raw;
        pb_put_bytes(&files, 1, raw);
        struct pb_field field;
        while (pb_next(&raw, &field)) {
            uint32_t at = 0;
            if (field.number == FILE_IMPORT && field.is_bytes &&
                file_find(r, field.bytes, &at) != NULL && !seen[at]) {
                seen[at] = true;
                queue[count++] = at;
            }
        }
    }
    pb_put_bytes(out, SAY_FILES, buf_bytes(&files));
    buf_deinit(&files);
}

static void say_services(const struct rpc_server *server, struct buf *out)
{
    struct buf list;
    buf_init(&list, REFLECTION_REPLY_BYTES_MAX);
    for (struct list_node *node = list_first(&server->service_list); node != NULL;
         node = list_next(&server->service_list, node)) {
        const struct server_service *service = CONTAINER_OF(node, struct server_service, listed);
        struct buf one;
        buf_init(&one, REFLECTION_REPLY_BYTES_MAX);
        pb_put_bytes(&one, 1, service->node.key);
        pb_put_bytes(&list, 1, buf_bytes(&one));
        buf_deinit(&one);
    }
    pb_put_bytes(out, SAY_SERVICES, buf_bytes(&list));
    buf_deinit(&list);
}

static void say_symbol(const struct reflection *r, struct buf *out, struct bytes name)
{
    const struct reflection_symbol *symbol =
        MAP_ENTRY(map_find(&r->symbols, name), struct reflection_symbol, node);
    if (symbol == NULL) {
        say_error(out, RPC_STATUS_NOT_FOUND, "symbol not found");
    } else {
        say_file(r, out, symbol->file);
    }
}

/* proto3 messages have no extensions, so a known type has an empty list. */
static void say_extension_numbers(const struct reflection *r, struct buf *out, struct bytes name)
{
    const struct reflection_symbol *symbol =
        MAP_ENTRY(map_find(&r->symbols, name), struct reflection_symbol, node);
    if (symbol == NULL || !symbol->is_message) {
        say_error(out, RPC_STATUS_NOT_FOUND, "type not found");
        return;
    }
    struct buf numbers;
    buf_init(&numbers, REFLECTION_REPLY_BYTES_MAX);
    pb_put_bytes(&numbers, 1, name);
    pb_put_bytes(out, SAY_EXTENSION_NUMBERS, buf_bytes(&numbers));
    buf_deinit(&numbers);
}

static void reflection_answer(const struct rpc_server *server, struct buf *out,
                              struct bytes message)
{
    const struct reflection *r = server->reflection;
    struct pb_field asked = {0}, field;
    struct bytes rest = message;
    while (pb_next(&rest, &field)) {
        if (field.number >= ASK_FILE && field.number <= ASK_SERVICES && field.is_bytes) {
            asked = field; /* of a oneof the last one counts */
        }
    }
    pb_put_bytes(out, SAY_REQUEST, message);
    uint32_t at = 0;
    switch (asked.number) {
    case ASK_FILE:
        if (file_find(r, asked.bytes, &at) == NULL) {
            say_error(out, RPC_STATUS_NOT_FOUND, "file not found");
        } else {
            say_file(r, out, at);
        }
        break;
    case ASK_SYMBOL:
        say_symbol(r, out, asked.bytes);
        break;
    case ASK_EXTENSION:
        say_error(out, RPC_STATUS_NOT_FOUND, "extension not found");
        break;
    case ASK_EXTENSION_NUMBERS:
        say_extension_numbers(r, out, asked.bytes);
        break;
    case ASK_SERVICES:
        say_services(server, out);
        break;
    default: /* a number from outside */
        say_error(out, RPC_STATUS_INVALID_ARGUMENT, "unknown reflection request");
        break;
    }
}

/* --- the methods --- */

static void reflection_on_cancel(struct rpc_call *call, enum rpc_cancel reason, void *context)
{
    (void)reason;
    (void)context;
    (void)rpc_call_finish(call, RPC_STATUS_CANCELLED, BYTES_LIT("cancelled"), NULL, 0);
}

static void reflection_on_call(struct rpc_call *call, struct bytes request, void *context)
{
    (void)request;
    (void)context;
    rpc_call_on_cancel(call, reflection_on_cancel, NULL);
}

static void reflection_on_message(struct rpc_call *call, struct bytes message, void *context)
{
    (void)context;
    struct pb_field field;
    struct bytes rest = message;
    while (pb_next(&rest, &field)) {
    }
    if (rest.len != 0) {
        (void)rpc_call_finish(call, RPC_STATUS_INTERNAL, BYTES_LIT("malformed reflection request"),
                              NULL, 0);
        return;
    }
    struct buf out;
    buf_init(&out, REFLECTION_REPLY_BYTES_MAX);
    reflection_answer(call->server, &out, message);
    (void)rpc_call_send_copy(call, buf_bytes(&out));
    buf_deinit(&out);
}

static void reflection_on_end(struct rpc_call *call, void *context)
{
    (void)context;
    (void)rpc_call_finish(call, RPC_STATUS_OK, BYTES_LIT(""), NULL, 0);
}

#define REFLECTION_METHOD(path_)                                                                   \
    {                                                                                              \
        .path = (path_), .rank = RPC_RANK_SIDE, .message_bytes_max = REFLECTION_MESSAGE_BYTES_MAX, \
        .calls_per_conn_max = REFLECTION_CALLS_PER_CONN_MAX, .server_streaming = true,             \
        .bidi = true, .on_call = reflection_on_call, .on_message = reflection_on_message,          \
        .on_end = reflection_on_end                                                                \
    }

SILO_RC reflection_register(struct rpc_server *server, struct silo_err *err)
{
    static const struct rpc_method methods[] = {
        REFLECTION_METHOD("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"),
        REFLECTION_METHOD("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"),
    };
    server->reflection = xcalloc(1, sizeof *server->reflection);
    arena_init(&server->reflection->arena);
    map_init(&server->reflection->symbols);
    TRY(reflection_index(server->reflection, server->options.descriptors, err));
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        TRY(rpc_server_add(server, &methods[i], err));
    }
    return RC_OK;
}

void reflection_free(struct rpc_server *server)
{
    if (server->reflection != NULL) {
        map_deinit(&server->reflection->symbols);
        arena_deinit(&server->reflection->arena);
        free(server->reflection);
    }
}
