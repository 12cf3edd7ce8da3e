/*
 * coord/etcd/records.c - members and owner records as they are known.
 *
 * The watch, listings and answers bring them, each with the revision at which it was so; of one
 * record only what is newer than what is known counts. Members come by watch and listing alone.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "coord/etcd/etcd_int.h"
#include "coord/etcd/keys.h"
#include "coord/etcd/member_text.h"

void records_init(struct etcd *etcd)
{
    map_init(&etcd->records);
    list_init(&etcd->members);
}

static void members_clear(struct etcd *etcd)
{
    struct list_node *node;
    while ((node = list_pop_front(&etcd->members)) != NULL) {
        struct etcd_member *member = CONTAINER_OF(node, struct etcd_member, node);
        arena_deinit(&member->arena);
        free(member);
    }
    etcd->member_count = 0;
}

void records_deinit(struct etcd *etcd)
{
    members_clear(etcd);
    struct map_node *node;
    while ((node = map_next(&etcd->records, NULL)) != NULL) {
        struct etcd_record *record = CONTAINER_OF(node, struct etcd_record, node);
        map_remove(&etcd->records, node);
        free(record->holder);
        free(record);
    }
    map_deinit(&etcd->records);
}

/* --- owner records --- */

struct etcd_record *record_find(const struct etcd *etcd, const struct uuid *shard)
{
    return MAP_ENTRY(map_find(&etcd->records, uuid_bytes(shard)), struct etcd_record, node);
}

/* NULL: there are too many. */
static struct etcd_record *record_make(struct etcd *etcd, const struct uuid *shard)
{
    struct etcd_record *record = record_find(etcd, shard);
    if (record != NULL || etcd->record_count >= ETCD_RECORDS_MAX) {
        return record;
    }
    record = xcalloc(1, sizeof *record);
    record->shard = *shard;
    record->holder = xstrdup("");
    map_insert(&etcd->records, &record->node, uuid_bytes(&record->shard));
    etcd->record_count++;
    return record;
}

static void holder_set(struct etcd_record *record, struct bytes holder)
{
    const size_t len = holder.len < MEMBER_NAME_MAX ? holder.len : MEMBER_NAME_MAX;
    if (bytes_eq(bytes_str(record->holder), bytes_of(holder.ptr, len))) {
        return;
    }
    free(record->holder);
    record->holder = xcalloc(len + 1, 1);
    if (len > 0) {
        memcpy(record->holder, holder.ptr, len);
    }
}

bool record_learn(struct etcd *etcd, const struct uuid *shard, struct bytes holder, uint64_t epoch,
                  uint64_t revision)
{
    struct etcd_record *record = record_make(etcd, shard);
    if (record == NULL || revision < record->revision) {
        return false;
    }
    holder_set(record, holder);
    record->epoch = epoch;
    record->revision = revision;
    return true;
}

static void owner_fill(struct etcd_news *news, struct cluster_owner *owner,
                       const struct uuid *shard, const struct etcd_record *record)
{
    *owner = (struct cluster_owner){.shard = *shard, .holder = ""};
    if (record != NULL && record->epoch != 0) {
        owner->holder = arena_str(&news->arena, bytes_str(record->holder));
        owner->epoch = record->epoch;
    }
}

void record_tell(struct etcd *etcd, enum cluster_event_kind kind, const struct uuid *shard)
{
    struct etcd_news *news = news_add(etcd, kind);
    struct cluster_owner *owner = arena_alloc(&news->arena, sizeof *owner);
    owner_fill(news, owner, shard, record_find(etcd, shard));
    news->event.owners = owner;
    news->event.owner_count = 1;
}

bool records_stale(struct etcd *etcd, uint64_t revision, uint32_t tries)
{
    bool stale = false;
    for (struct map_node *node = map_next(&etcd->records, NULL); node != NULL;
         node = map_next(&etcd->records, node)) {
        struct etcd_record *record = CONTAINER_OF(node, struct etcd_record, node);
        if (record->revision > revision && tries >= ETCD_STALE_MAX) {
            record->revision = 0;
        }
        stale = stale || record->revision > revision;
    }
    return stale;
}

static void owners_tell(struct etcd *etcd)
{
    struct etcd_news *news = news_add(etcd, EVENT_OWNERS);
    struct cluster_owner *owners =
        arena_alloc(&news->arena, (etcd->record_count + 1) * sizeof *owners);
    for (struct map_node *node = map_next(&etcd->records, NULL); node != NULL;
         node = map_next(&etcd->records, node)) {
        const struct etcd_record *record = CONTAINER_OF(node, struct etcd_record, node);
        if (record->epoch != 0) {
            owner_fill(news, &owners[news->event.owner_count++], &record->shard, record);
        }
    }
    news->event.owners = owners;
}

/* --- members --- */

struct cluster_member member_dup(struct arena *arena, const struct cluster_member *from)
{
    struct cluster_member copy = *from;
    copy.id = arena_str(arena, bytes_str(from->id));
    copy.address = arena_str(arena, bytes_str(from->address));
    const char **rings = arena_alloc(arena, (from->ring_count + 1) * sizeof *rings);
    for (size_t i = 0; i < from->ring_count; i++) {
        rings[i] = arena_str(arena, bytes_str(from->rings[i]));
    }
    copy.rings = rings;
    return copy;
}

static void member_remove(struct etcd *etcd, struct bytes id)
{
    for (struct list_node *n = list_first(&etcd->members); n != NULL;
         n = list_next(&etcd->members, n)) {
        struct etcd_member *member = CONTAINER_OF(n, struct etcd_member, node);
        if (bytes_eq(bytes_str(member->member.id), id)) {
            list_remove(n);
            arena_deinit(&member->arena);
            free(member);
            etcd->member_count--;
            return;
        }
    }
}

static void member_set(struct etcd *etcd, struct bytes id, struct bytes text)
{
    member_remove(etcd, id);
    if (etcd->member_count >= CLUSTER_MEMBERS_MAX) {
        return;
    }
    struct etcd_member *member = xcalloc(1, sizeof *member);
    arena_init(&member->arena);
    if (!member_text_decode(&member->arena, id, text, &member->member)) {
        arena_deinit(&member->arena);
        free(member);
        return;
    }
    list_push_back(&etcd->members, &member->node);
    etcd->member_count++;
}

static void members_tell(struct etcd *etcd)
{
    struct etcd_news *news = news_add(etcd, EVENT_MEMBERS);
    struct cluster_member *members =
        arena_alloc(&news->arena, (etcd->member_count + 1) * sizeof *members);
    for (struct list_node *n = list_first(&etcd->members); n != NULL;
         n = list_next(&etcd->members, n)) {
        members[news->event.member_count++] =
            member_dup(&news->arena, &CONTAINER_OF(n, struct etcd_member, node)->member);
    }
    news->event.members = members;
}

/* --- listings and changes --- */

bool records_have_self(const struct etcd *etcd, const struct etcd_rows *rows)
{
    for (size_t i = 0; i < rows->count; i++) {
        struct bytes id = BYTES_NONE;
        struct uuid shard;
        if (etcd_key_read(etcd->prefix, rows->rows[i].key, &id, &shard) == ETCD_KEY_MEMBER &&
            bytes_eq(id, bytes_str(etcd->self.id))) {
            return rows->rows[i].lease == etcd->session.lease;
        }
    }
    return false;
}

void records_list(struct etcd *etcd, const struct etcd_rows *rows)
{
    const struct etcd_row *map = NULL;
    members_clear(etcd);
    for (struct map_node *node = map_next(&etcd->records, NULL); node != NULL;
         node = map_next(&etcd->records, node)) {
        struct etcd_record *record = CONTAINER_OF(node, struct etcd_record, node);
        record->epoch = 0;
        holder_set(record, BYTES_LIT(""));
        record->revision = rows->revision;
    }
    for (size_t i = 0; i < rows->count; i++) {
        const struct etcd_row *row = &rows->rows[i];
        struct bytes id = BYTES_NONE;
        struct uuid shard;
        switch (etcd_key_read(etcd->prefix, row->key, &id, &shard)) {
        case ETCD_KEY_MEMBER:
            member_set(etcd, id, row->value);
            break;
        case ETCD_KEY_OWNER:
            (void)record_learn(etcd, &shard, row->value, row->mod, rows->revision);
            break;
        case ETCD_KEY_MAP:
            map = row;
            break;
        case ETCD_KEY_OTHER:
            break;
        }
    }
    members_tell(etcd);
    owners_tell(etcd);
    mirror_list(etcd, map, rows->revision);
}

/* The member key of this node has changed: whether it is still its own. */
static void self_change(struct etcd *etcd, const struct etcd_change *change)
{
    const struct etcd_session *session = &etcd->session;
    if (session->joined && change->row.mod > session->joined_mod &&
        (change->gone || change->row.lease != session->lease)) {
        session_lost(etcd);
    }
}

static void owner_change(struct etcd *etcd, const struct uuid *shard,
                         const struct etcd_change *change)
{
    const struct etcd_record *known = record_find(etcd, shard);
    const uint64_t epoch = change->gone ? 0 : change->row.mod;
    const struct bytes holder = change->gone ? BYTES_LIT("") : change->row.value;
    const bool news = known == NULL || change->row.mod > known->revision;
    if (news && record_learn(etcd, shard, holder, epoch, change->row.mod)) {
        record_tell(etcd, EVENT_OWNER, shard);
    }
}

void records_change(struct etcd *etcd, const struct etcd_change *changes, size_t count)
{
    bool members = false;
    const struct etcd_change *own = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct etcd_change *change = &changes[i];
        struct bytes id = BYTES_NONE;
        struct uuid shard;
        switch (etcd_key_read(etcd->prefix, change->row.key, &id, &shard)) {
        case ETCD_KEY_MEMBER:
            members = true;
            own = bytes_eq(id, bytes_str(etcd->self.id)) ? change : own;
            if (change->gone) {
                member_remove(etcd, id);
            } else {
                member_set(etcd, id, change->row.value);
            }
            break;
        case ETCD_KEY_OWNER:
            if (members) { /* what it may rest on comes first */
                members = false;
                members_tell(etcd);
            }
            owner_change(etcd, &shard, change);
            break;
        case ETCD_KEY_MAP:
            mirror_learn(etcd, change->gone ? NULL : &change->row, change->row.mod);
            break;
        case ETCD_KEY_OTHER:
            break;
        }
    }
    if (members) {
        members_tell(etcd);
    }
    if (own != NULL) {
        self_change(etcd, own);
    }
}
