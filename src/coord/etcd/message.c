/* coord/etcd/message.c - see message.h. */
#include "coord/etcd/message.h"

#include <stdlib.h>

#include "base/assert.h"
#include "coord/etcd/message_int.h"
#include "etcd.pb-c.h"

static void *unpack_alloc(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void unpack_release(void *arena, void *pointer)
{
    (void)arena;
    (void)pointer;
}

void *message_unpack(struct arena *arena, const ProtobufCMessageDescriptor *type,
                     struct bytes message)
{
    ProtobufCAllocator allocator = {
        .alloc = unpack_alloc, .free = unpack_release, .allocator_data = arena};
    return protobuf_c_message_unpack(type, &allocator, message.len, message.ptr);
}

struct bytes message_pack(struct arena *arena, const ProtobufCMessage *message)
{
    const size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *to = arena_alloc(arena, len + 1);
    (void)protobuf_c_message_pack(message, to);
    return bytes_of(to, len);
}

ProtobufCBinaryData message_data(struct bytes bytes)
{
    return (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)bytes.ptr, .len = bytes.len};
}

struct etcd_row message_row(const Etcdserverpb__KeyValue *kv)
{
    return (struct etcd_row){.key = bytes_of(kv->key.data, kv->key.len),
                             .value = bytes_of(kv->value.data, kv->value.len),
                             .mod = kv->mod_revision > 0 ? (uint64_t)kv->mod_revision : 0,
                             .lease = kv->lease};
}

bool message_revision(const Etcdserverpb__ResponseHeader *header, uint64_t *ret_revision)
{
    if (header == NULL || header->revision <= 0) {
        return false;
    }
    *ret_revision = (uint64_t)header->revision;
    return true;
}

/* --- rows --- */

struct bytes etcd_range(struct arena *arena, struct bytes key, struct bytes end)
{
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    range.key = message_data(key);
    range.range_end = message_data(end);
    return message_pack(arena, &range.base);
}

bool etcd_rows_read(struct arena *arena, struct bytes message, struct etcd_rows *ret_rows)
{
    const Etcdserverpb__RangeResponse *answer =
        message_unpack(arena, &etcdserverpb__range_response__descriptor, message);
    if (answer == NULL || !message_revision(answer->header, &ret_rows->revision)) {
        return false;
    }
    ret_rows->count = answer->n_kvs;
    ret_rows->rows = arena_alloc(arena, (answer->n_kvs + 1) * sizeof *ret_rows->rows);
    for (size_t i = 0; i < answer->n_kvs; i++) {
        ret_rows->rows[i] = message_row(answer->kvs[i]);
    }
    return true;
}

struct bytes etcd_prefix_end(struct arena *arena, struct bytes prefix)
{
    ASSERT(prefix.len > 0 && prefix.ptr[prefix.len - 1] != UINT8_MAX);
    const struct bytes end = arena_copy(arena, prefix);
    ((uint8_t *)(uintptr_t)end.ptr)[end.len - 1]++;
    return end;
}

/* --- leases --- */

struct bytes etcd_lease_grant(struct arena *arena, int64_t ttl_s)
{
    Etcdserverpb__LeaseGrantRequest grant = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    grant.ttl = ttl_s;
    return message_pack(arena, &grant.base);
}

bool etcd_lease_granted(struct arena *arena, struct bytes message, int64_t *ret_lease,
                        int64_t *ret_ttl_s)
{
    const Etcdserverpb__LeaseGrantResponse *answer =
        message_unpack(arena, &etcdserverpb__lease_grant_response__descriptor, message);
    if (answer == NULL || answer->id == 0 || answer->ttl <= 0) {
        return false;
    }
    *ret_lease = answer->id;
    *ret_ttl_s = answer->ttl;
    return true;
}

struct bytes etcd_lease_revoke(struct arena *arena, int64_t lease)
{
    Etcdserverpb__LeaseRevokeRequest revoke = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    revoke.id = lease;
    return message_pack(arena, &revoke.base);
}

struct bytes etcd_lease_keep_alive(struct arena *arena, int64_t lease)
{
    Etcdserverpb__LeaseKeepAliveRequest keep = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    keep.id = lease;
    return message_pack(arena, &keep.base);
}

bool etcd_lease_kept(struct arena *arena, struct bytes message, int64_t *ret_ttl_s)
{
    const Etcdserverpb__LeaseKeepAliveResponse *answer =
        message_unpack(arena, &etcdserverpb__lease_keep_alive_response__descriptor, message);
    if (answer == NULL) {
        return false;
    }
    *ret_ttl_s = answer->ttl;
    return true;
}

/* --- who we are --- */

struct bytes etcd_authenticate(struct arena *arena, const char *username, const char *password)
{
    Etcdserverpb__AuthenticateRequest ask = ETCDSERVERPB__AUTHENTICATE_REQUEST__INIT;
    ask.name = (char *)(uintptr_t)username;
    ask.password = (char *)(uintptr_t)password;
    return message_pack(arena, &ask.base);
}

char *etcd_token_read(struct bytes message)
{
    struct arena arena;
    arena_init(&arena);
    const Etcdserverpb__AuthenticateResponse *answer =
        message_unpack(&arena, &etcdserverpb__authenticate_response__descriptor, message);
    char *token = answer != NULL && *answer->token != '\0' ? xstrdup(answer->token) : NULL;
    arena_deinit(&arena);
    return token;
}

/* --- watching --- */

struct bytes etcd_watch(struct arena *arena, struct bytes prefix, uint64_t from_revision)
{
    Etcdserverpb__WatchCreateRequest create = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    create.key = message_data(prefix);
    create.range_end = message_data(etcd_prefix_end(arena, prefix));
    create.start_revision = (int64_t)from_revision;
    create.progress_notify = true;
    Etcdserverpb__WatchRequest request = ETCDSERVERPB__WATCH_REQUEST__INIT;
    request.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    request.create_request = &create;
    return message_pack(arena, &request.base);
}

struct bytes etcd_watch_progress(struct arena *arena)
{
    Etcdserverpb__WatchProgressRequest progress = ETCDSERVERPB__WATCH_PROGRESS_REQUEST__INIT;
    Etcdserverpb__WatchRequest request = ETCDSERVERPB__WATCH_REQUEST__INIT;
    request.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_PROGRESS_REQUEST;
    request.progress_request = &progress;
    return message_pack(arena, &request.base);
}

bool etcd_changes_read(struct arena *arena, struct bytes message, struct etcd_changes *ret_changes)
{
    const Etcdserverpb__WatchResponse *answer =
        message_unpack(arena, &etcdserverpb__watch_response__descriptor, message);
    ret_changes->revision = 0; /* a watch that began too early is ended without one */
    if (answer == NULL ||
        (!message_revision(answer->header, &ret_changes->revision) && answer->canceled == 0)) {
        return false;
    }
    ret_changes->of_stream = answer->watch_id < 0;
    ret_changes->created = answer->created != 0;
    ret_changes->canceled = answer->canceled;
    ret_changes->compacted = answer->compact_revision != 0;
    ret_changes->reason = bytes_str(answer->cancel_reason);
    ret_changes->count = 0;
    ret_changes->changes = arena_alloc(arena, (answer->n_events + 1) * sizeof(struct etcd_change));
    for (size_t i = 0; i < answer->n_events; i++) {
        const Etcdserverpb__Event *event = answer->events[i];
        if (event->kv == NULL || event->kv->mod_revision <= 0) {
            return false;
        }
        ret_changes->changes[ret_changes->count++] =
            (struct etcd_change){.gone = event->type == ETCDSERVERPB__EVENT__EVENT_TYPE__DELETE,
                                 .row = message_row(event->kv)};
    }
    return true;
}
