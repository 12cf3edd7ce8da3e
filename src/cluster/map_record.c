/*
 * cluster/map_record.c - the map as JSON text.
 *
 *     {
 *       "format": 2,
 *       "cluster_id": "<uuid>",
 *       "shards": [
 *         {"id": "<uuid>", "range_start": "", "range_end": "8000000000000000",
 *          "dispatch_order": "priority", "wal": "shared", "wal_url": null,
 *          "placement_ring": null},
 *         ...
 *       ]
 *     }
 *
 * Format 1 has neither "wal", which follows from the URL, nor "placement_ring". It is written as
 * long as that says everything.
 *
 * Rule for changes: a member that old servers may ignore does not exist; whatever is added raises
 * "format", and a reader refuses formats above its own. What is read back is checked as if a
 * stranger had written it: exactly these members, ids unique, ranges in order, from unbounded to
 * unbounded, without gap or overlap.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "cluster/map.h"

static const char *const order_names[] = {[ORDER_PRIORITY] = "priority", [ORDER_START] = "start"};
#define ORDER_COUNT 2
static const char *const wal_names[] = {[WAL_SHARED] = "shared", [WAL_PINNED] = "pinned"};
#define WAL_COUNT 2
#define RECORD_FORMAT 2
#define RECORD_FORMAT_RINGLESS 1
#define BOUND_LEAST "0000000000000000"

void cluster_record_name(uint64_t number, char ret_name[CLUSTER_RECORD_NAME_MAX])
{
    (void)snprintf(ret_name, CLUSTER_RECORD_NAME_MAX, CLUSTER_RECORD_PREFIX "/%llu.json",
                   (unsigned long long)number);
}

bool cluster_record_number(struct bytes name, uint64_t *ret_number)
{
    const struct bytes before = BYTES_LIT(CLUSTER_RECORD_PREFIX "/");
    const struct bytes after = BYTES_LIT(".json");
    if (!bytes_starts(name, before) || name.len <= before.len + after.len ||
        !bytes_eq(bytes_of(name.ptr + name.len - after.len, after.len), after)) {
        return false;
    }
    const struct bytes digits = bytes_of(name.ptr + before.len, name.len - before.len - after.len);
    if (digits.len > 18 || digits.ptr[0] == '0') {
        return false;
    }
    uint64_t number = 0;
    for (size_t i = 0; i < digits.len; i++) {
        if (digits.ptr[i] < '0' || digits.ptr[i] > '9') {
            return false;
        }
        number = number * 10 + (uint64_t)(digits.ptr[i] - '0');
    }
    *ret_number = number;
    return true;
}

static json_t *record_shard_encode(const struct cluster_shard *shard, int format)
{
    char id[UUID_TEXT_LEN + 1];
    uuid_format(&shard->id, id);
    json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:s?}", "id", id, "range_start",
                             shard->range_start, "range_end", shard->range_end, "dispatch_order",
                             order_names[shard->order], "wal_url", shard->wal_url);
    ASSERT(json != NULL); /* all of it is ASCII, or was checked to be UTF-8 */
    if (format != RECORD_FORMAT_RINGLESS) {
        json_t *more =
            json_pack("{s:s, s:s?}", "wal", wal_names[shard->wal], "placement_ring", shard->ring);
        ASSERT(more != NULL && json_object_update(json, more) == 0);
        json_decref(more);
    }
    return json;
}

/* The oldest that can say it: a server of that time can still read it. */
static int record_format(const struct cluster_map *map)
{
    for (size_t i = 0; i < map->shard_count; i++) {
        const struct cluster_shard *shard = &map->shards[i];
        if (shard->ring != NULL || shard->wal != cluster_wal_of(shard->wal_url)) {
            return RECORD_FORMAT;
        }
    }
    return RECORD_FORMAT_RINGLESS;
}

char *cluster_record_encode(const struct cluster_map *map)
{
    char id[UUID_TEXT_LEN + 1];
    uuid_format(&map->cluster_id, id);
    const int format = record_format(map);
    json_t *shards = json_array();
    for (size_t i = 0; i < map->shard_count; i++) {
        ASSERT(json_array_append_new(shards, record_shard_encode(&map->shards[i], format)) == 0);
    }
    json_t *root =
        json_pack("{s:i, s:s, s:o}", "format", format, "cluster_id", id, "shards", shards);
    ASSERT(root != NULL);
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    ASSERT(text != NULL);
    json_decref(root);
    return text;
}

/* Whether text is a bound: 16 lower-case hex digits, or empty. */
static bool bound_parse(const char *text, char ret_bound[CLUSTER_BOUND_LEN + 1])
{
    const size_t len = strlen(text);
    if ((len != 0 && len != CLUSTER_BOUND_LEN) || strspn(text, "0123456789abcdef") != len) {
        return false;
    }
    memcpy(ret_bound, text, len + 1);
    return true;
}

static bool order_parse(const char *text, enum dispatch_order *ret_order)
{
    for (int i = 0; i < ORDER_COUNT; i++) {
        if (strcmp(text, order_names[i]) == 0) {
            *ret_order = (enum dispatch_order)i;
            return true;
        }
    }
    return false;
}

static bool wal_parse(const char *text, enum cluster_wal *ret_wal)
{
    for (int i = 0; i < WAL_COUNT; i++) {
        if (strcmp(text, wal_names[i]) == 0) {
            *ret_wal = (enum cluster_wal)i;
            return true;
        }
    }
    return false;
}

/* What a shard's members are, before it is known that they make sense. */
struct shard_members {
    const char *id, *start, *end, *order, *wal;
    json_t *wal_url, *ring;
};

static SILO_RC shard_unpack(const char *name, size_t index, json_t *json, json_int_t format,
                            struct shard_members *ret_members, struct silo_err *err)
{
    struct shard_members *m = ret_members;
    json_error_t why;
    *m = (struct shard_members){0};
    const int rc =
        format == RECORD_FORMAT_RINGLESS
            ? json_unpack_ex(json, &why, JSON_STRICT, "{s:s, s:s, s:s, s:s, s:o}", "id", &m->id,
                             "range_start", &m->start, "range_end", &m->end, "dispatch_order",
                             &m->order, "wal_url", &m->wal_url)
            : json_unpack_ex(json, &why, JSON_STRICT, "{s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "id",
                             &m->id, "range_start", &m->start, "range_end", &m->end,
                             "dispatch_order", &m->order, "wal", &m->wal, "wal_url", &m->wal_url,
                             "placement_ring", &m->ring);
    if (rc != 0) {
        return FAIL(err, SILO_CORRUPT, "%s: shard %zu: %s", name, index, why.text);
    }
    return RC_OK;
}

static SILO_RC wal_decode(const char *name, size_t index, const struct shard_members *members,
                          struct cluster_shard *ret_shard, struct silo_err *err)
{
    if (!json_is_null(members->wal_url)) {
        if (!json_is_string(members->wal_url) || json_string_length(members->wal_url) == 0 ||
            json_string_length(members->wal_url) > CLUSTER_WAL_URL_MAX) {
            return FAIL(err, SILO_CORRUPT, "%s: shard %zu: \"wal_url\" is neither null nor a URL",
                        name, index);
        }
        ret_shard->wal_url = xstrdup(json_string_value(members->wal_url));
    }
    ret_shard->wal = cluster_wal_of(ret_shard->wal_url);
    if (members->wal != NULL && !wal_parse(members->wal, &ret_shard->wal)) {
        return FAIL(err, SILO_CORRUPT, "%s: shard %zu: unknown \"wal\"", name, index);
    }
    return RC_OK;
}

static SILO_RC ring_decode(const char *name, size_t index, const json_t *ring,
                           struct cluster_shard *ret_shard, struct silo_err *err)
{
    if (ring == NULL || json_is_null(ring)) {
        return RC_OK;
    }
    struct silo_err why = {0};
    if (!json_is_string(ring) ||
        cluster_shard_set_ring(ret_shard, json_string_value(ring), &why).code != SILO_OK) {
        return FAIL(err, SILO_CORRUPT,
                    "%s: shard %zu: \"placement_ring\" is neither null nor a name", name, index);
    }
    return RC_OK;
}

static SILO_RC record_shard_decode(const char *name, size_t index, json_t *json, json_int_t format,
                                   struct cluster_shard *ret_shard, struct silo_err *err)
{
    struct shard_members members;
    TRY(shard_unpack(name, index, json, format, &members, err));
    if (!uuid_parse(bytes_str(members.id), &ret_shard->id)) {
        return FAIL(err, SILO_CORRUPT, "%s: shard %zu: \"id\" is not a UUID", name, index);
    }
    if (!bound_parse(members.start, ret_shard->range_start) ||
        !bound_parse(members.end, ret_shard->range_end)) {
        return FAIL(err, SILO_CORRUPT, "%s: shard %zu: a range bound is not 16 hex digits", name,
                    index);
    }
    if (!order_parse(members.order, &ret_shard->order)) {
        return FAIL(err, SILO_CORRUPT, "%s: shard %zu: unknown \"dispatch_order\"", name, index);
    }
    TRY(wal_decode(name, index, &members, ret_shard, err));
    return ring_decode(name, index, members.ring, ret_shard, err);
}

static int shard_by_id(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct uuid));
}

static bool ids_unique(const struct cluster_map *map)
{
    struct uuid *ids = xcalloc(map->shard_count, sizeof *ids);
    for (size_t i = 0; i < map->shard_count; i++) {
        ids[i] = map->shards[i].id;
    }
    qsort(ids, map->shard_count, sizeof *ids, shard_by_id);
    bool unique = true;
    for (size_t i = 1; i < map->shard_count; i++) {
        unique = unique && !uuid_eq(&ids[i - 1], &ids[i]);
    }
    free(ids);
    return unique;
}

static SILO_RC ranges_check(const char *name, const struct cluster_map *map, struct silo_err *err)
{
    const struct cluster_shard *shards = map->shards;
    const size_t last = map->shard_count - 1;
    if (shards[0].range_start[0] != '\0' || shards[last].range_end[0] != '\0') {
        return FAIL(err, SILO_CORRUPT, "%s: the ranges do not cover the whole space", name);
    }
    for (size_t i = 0; i < last; i++) {
        if (shards[i].range_end[0] == '\0' ||
            strcmp(shards[i].range_end, shards[i + 1].range_start) != 0) {
            return FAIL(err, SILO_CORRUPT,
                        "%s: gap or overlap between the ranges of shards %zu and %zu", name, i,
                        i + 1);
        }
        const char *start = i != 0 ? shards[i].range_start : BOUND_LEAST; /* "" is as much */
        if (strcmp(start, shards[i].range_end) >= 0) {
            return FAIL(err, SILO_CORRUPT, "%s: the range of shard %zu is empty", name, i);
        }
    }
    return RC_OK;
}

static SILO_RC map_decode(const char *name, json_t *root, struct cluster_map *map,
                          struct silo_err *err)
{
    const char *cluster_id;
    json_t *shards;
    json_int_t format;
    json_error_t why;
    if (json_unpack_ex(root, &why, 0, "{s:I}", "format", &format) != 0) {
        return FAIL(err, SILO_CORRUPT, "%s: %s", name, why.text);
    }
    if (format > RECORD_FORMAT) {
        return FAIL(err, SILO_PRECONDITION,
                    "%s has format %lld, this server knows %d: it was written by a newer Silo",
                    name, (long long)format, RECORD_FORMAT);
    }
    const bool known = format == RECORD_FORMAT || format == RECORD_FORMAT_RINGLESS;
    if (!known || json_unpack_ex(root, &why, JSON_STRICT, "{s:I, s:s, s:o}", "format", &format,
                                 "cluster_id", &cluster_id, "shards", &shards) != 0) {
        return FAIL(err, SILO_CORRUPT, "%s: %s", name, known ? why.text : "unknown format");
    }
    if (!uuid_parse(bytes_str(cluster_id), &map->cluster_id)) {
        return FAIL(err, SILO_CORRUPT, "%s: \"cluster_id\" is not a UUID", name);
    }
    const size_t count = json_array_size(shards); /* 0 also for what is no array */
    if (count == 0 || count > CLUSTER_SHARDS_MAX) {
        return FAIL(err, SILO_CORRUPT, "%s: \"shards\" is not an array of 1 to %u shards", name,
                    CLUSTER_SHARDS_MAX);
    }
    map->shards = xcalloc(count, sizeof *map->shards);
    map->shard_count = count;
    for (size_t i = 0; i < count; i++) {
        TRY(record_shard_decode(name, i, json_array_get(shards, i), format, &map->shards[i], err));
    }
    if (!ids_unique(map)) {
        return FAIL(err, SILO_CORRUPT, "%s: two shards have one id", name);
    }
    return ranges_check(name, map, err);
}

SILO_RC cluster_record_decode(const char *name, struct bytes text, struct cluster_map *ret_map,
                              struct silo_err *err)
{
    if (text.len > CLUSTER_RECORD_BYTES_MAX) {
        return FAIL(err, SILO_CORRUPT, "%s: %zu bytes are too many for a record", name, text.len);
    }
    json_error_t why;
    json_t *root = json_loadb((const char *)text.ptr, text.len, JSON_REJECT_DUPLICATES, &why);
    if (root == NULL) {
        return FAIL(err, SILO_CORRUPT, "%s: not JSON: %s (line %d)", name, why.text, why.line);
    }
    struct cluster_map map = {0};
    const silo_rc rc = map_decode(name, root, &map, err);
    json_decref(root);
    if (rc.code != SILO_OK) {
        cluster_map_deinit(&map);
        return rc;
    }
    *ret_map = map;
    return RC_OK;
}
