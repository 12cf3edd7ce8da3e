/* coord/etcd/member_text.c - see member_text.h. */
#include "coord/etcd/member_text.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"

#define NONCE_LEN 16

char *member_text_encode(const struct cluster_member *member, int64_t startup_ms,
                         const char *hostname)
{
    char nonce[NONCE_LEN + 1];
    (void)snprintf(nonce, sizeof nonce, "%016" PRIx64, member->nonce);
    json_t *rings = json_array();
    for (size_t i = 0; i < member->ring_count; i++) {
        (void)json_array_append_new(rings, json_string(member->rings[i]));
    }
    json_t *root =
        json_pack("{s:s, s:s, s:I, s:s, s:o, s:s, s:b}", "node_id", member->id, "grpc_addr",
                  member->address, "startup_time_ms", (json_int_t)startup_ms, "hostname", hostname,
                  "placement_rings", rings, "nonce", nonce, "leaving", member->leaving);
    ASSERT(root != NULL); /* all of it is UTF-8: the configuration was */
    char *text = json_dumps(root, JSON_COMPACT);
    ASSERT(text != NULL);
    json_decref(root);
    return text;
}

/* A text of the object, in the arena; NULL: there is none that could be one. */
static const char *text_of(struct arena *arena, const json_t *value)
{
    const size_t len = json_string_length(value);
    if (!json_is_string(value) || len == 0 || len > MEMBER_NAME_MAX) {
        return NULL;
    }
    return arena_str(arena, bytes_of(json_string_value(value), len));
}

static uint64_t nonce_of(const json_t *value)
{
    const char *text = json_string_value(value);
    const bool good =
        text != NULL && strlen(text) == NONCE_LEN && strspn(text, "0123456789abcdef") == NONCE_LEN;
    return good ? strtoull(text, NULL, 16) : 0;
}

static void rings_decode(struct arena *arena, const json_t *list, struct cluster_member *member)
{
    const char **rings = arena_alloc(arena, MEMBER_RINGS_MAX * sizeof *rings);
    for (size_t i = 0; i < json_array_size(list) && member->ring_count < MEMBER_RINGS_MAX; i++) {
        const char *ring = text_of(arena, json_array_get(list, i));
        if (ring != NULL) {
            rings[member->ring_count++] = ring;
        }
    }
    member->rings = rings;
}

bool member_text_decode(struct arena *arena, struct bytes id, struct bytes text,
                        struct cluster_member *ret_member)
{
    if (text.len == 0 || text.len > MEMBER_TEXT_BYTES_MAX || id.len > MEMBER_NAME_MAX) {
        return false;
    }
    json_t *root = json_loadb((const char *)text.ptr, text.len, 0, NULL);
    *ret_member =
        (struct cluster_member){.id = text_of(arena, json_object_get(root, "node_id")),
                                .address = text_of(arena, json_object_get(root, "grpc_addr")),
                                .nonce = nonce_of(json_object_get(root, "nonce")),
                                .leaving = json_is_true(json_object_get(root, "leaving"))};
    rings_decode(arena, json_object_get(root, "placement_rings"), ret_member);
    json_decref(root);
    return ret_member->id != NULL && ret_member->address != NULL &&
           bytes_eq(bytes_str(ret_member->id), id);
}
