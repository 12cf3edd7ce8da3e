/* gather/gather.c - see gather.h. */
#include "gather/gather.h"

#include <stdlib.h>

#include "base/assert.h"
#include "codec/field.h"

#define CURSOR_VERSION 1u
/* The rest of a cursor that has no position. */
#define CURSOR_BYTES_MAX (64u + GATHER_OPEN_MAX * (GATHER_POSITION_BYTES_MAX + 32u))

static int shard_compare(const void *a, const void *b)
{
    const struct gather_shard *left = a;
    const struct gather_shard *right = b;
    if (left->start != right->start) {
        return left->start < right->start ? -1 : 1;
    }
    return bytes_cmp(uuid_bytes(&left->id), uuid_bytes(&right->id));
}

void gather_init(struct gather *gather, struct gather_shard *shards, size_t count,
                 uint64_t question, uint64_t limit)
{
    *gather = (struct gather){
        .shards = shards, .question = question, .left = limit != 0 ? limit : UINT64_MAX};
    for (size_t i = 0; i < GATHER_OPEN_MAX; i++) {
        buf_init(&gather->slots[i].position, GATHER_POSITION_BYTES_MAX);
    }
    if (count != 0) {
        qsort(shards, count, sizeof shards[0], shard_compare);
    }
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || shard_compare(&shards[i], &shards[gather->count - 1]) != 0) {
            shards[gather->count++] = shards[i];
        }
    }
}

void gather_deinit(struct gather *gather)
{
    for (size_t i = 0; i < GATHER_OPEN_MAX; i++) {
        buf_deinit(&gather->slots[i].position);
    }
}

static void slot_open(struct gather_slot *slot, const struct uuid *id)
{
    slot->state = GATHER_READY;
    slot->id = *id;
    slot->since_us = INT64_MAX;
    buf_reset(&slot->position);
}

/* --- cursors --- */

static void field_uuid(struct buf *buf, const struct uuid *id)
{
    buf_append(buf, id->b, sizeof id->b);
}

/* Whether a cursor of all that is open, or of `only` one, has that slot. */
static bool cursor_has(const struct gather *gather, size_t slot, size_t only)
{
    const enum gather_state state = gather->slots[slot].state;
    return only != GATHER_NONE ? slot == only : state != GATHER_FREE && state != GATHER_LOST;
}

/* `next`: the first shard that is not open; gather->count: there is none. */
static struct bytes cursor_make(const struct gather *gather, size_t next, size_t only,
                                struct arena *arena)
{
    struct buf buf;
    uint64_t open = 0;
    for (size_t i = 0; i < GATHER_OPEN_MAX; i++) {
        open += cursor_has(gather, i, only) ? 1 : 0;
    }
    if (open == 0 && next == gather->count) {
        return BYTES_NONE;
    }
    buf_init(&buf, CURSOR_BYTES_MAX);
    field_var(&buf, CURSOR_VERSION);
    field_var(&buf, gather->question);
    field_var(&buf, next < gather->count ? 1 : 0);
    if (next < gather->count) {
        field_var(&buf, gather->shards[next].start);
        field_uuid(&buf, &gather->shards[next].id);
    }
    field_var(&buf, open);
    for (size_t i = 0; i < GATHER_OPEN_MAX; i++) {
        const struct gather_slot *slot = &gather->slots[i];
        if (cursor_has(gather, i, only)) {
            field_uuid(&buf, &slot->id);
            item_append(&buf, buf_bytes(&slot->position));
        }
    }
    ASSERT(!buf.full);
    const struct bytes cursor = arena_copy(arena, buf_bytes(&buf));
    buf_deinit(&buf);
    return cursor;
}

struct bytes gather_cursor(const struct gather *gather, struct arena *arena)
{
    return cursor_make(gather, gather->next, GATHER_NONE, arena);
}

struct bytes gather_cursor_of(const struct gather *gather, size_t slot, struct arena *arena)
{
    return cursor_make(gather, gather->count, slot, arena);
}

static bool cursor_slots(struct gather *gather, struct decoder *decoder)
{
    const uint64_t open = decoder_var(decoder);
    if (open > GATHER_OPEN_MAX) {
        return false;
    }
    for (size_t i = 0; i < open && !decoder->bad; i++) {
        struct gather_slot *slot = &gather->slots[i];
        const struct uuid id = decoder_uuid(decoder);
        const struct bytes position = decoder_item(decoder);
        slot_open(slot, &id);
        buf_append(&slot->position, position.ptr, position.len);
        if (slot->position.full) {
            return false;
        }
        for (size_t other = 0; other < i; other++) {
            if (uuid_eq(&gather->slots[other].id, &id)) {
                return false;
            }
        }
    }
    return !decoder->bad && decoder->at == decoder->end;
}

SILO_RC gather_resume(struct gather *gather, struct bytes cursor, struct silo_err *err)
{
    if (cursor.len == 0) {
        return RC_OK;
    }
    struct decoder decoder = decoder_raw(cursor);
    const bool known = decoder_var(&decoder) == CURSOR_VERSION;
    const bool same = decoder_var(&decoder) == gather->question;
    const uint64_t goes_on = decoder_var(&decoder);
    gather->next = gather->count;
    if (goes_on == 1) {
        struct gather_shard first = {.start = decoder_var(&decoder)};
        first.id = decoder_uuid(&decoder);
        gather->next = 0;
        while (gather->next < gather->count &&
               shard_compare(&gather->shards[gather->next], &first) < 0) {
            gather->next++;
        }
    }
    if (!known || !same || goes_on > 1 || !cursor_slots(gather, &decoder)) {
        return FAIL(err, SILO_INVALID, "the cursor is none of this read");
    }
    return RC_OK;
}

/* --- whom to ask --- */

static bool is_open(const struct gather *gather, const struct uuid *id)
{
    for (size_t i = 0; i < GATHER_OPEN_MAX; i++) {
        if (gather->slots[i].state != GATHER_FREE && uuid_eq(&gather->slots[i].id, id)) {
            return true;
        }
    }
    return false;
}

/* Opens shards while there are slots. */
static void slots_fill(struct gather *gather)
{
    for (size_t i = 0; i < GATHER_OPEN_MAX && gather->next < gather->count; i++) {
        if (gather->slots[i].state != GATHER_FREE) {
            continue;
        }
        /* A cursor may have opened one that has another range now. */
        while (gather->next < gather->count && is_open(gather, &gather->shards[gather->next].id)) {
            gather->next++;
        }
        if (gather->next < gather->count) {
            slot_open(&gather->slots[i], &gather->shards[gather->next++].id);
        }
    }
}

static bool slot_due(const struct gather_slot *slot, int64_t now_us)
{
    return slot->state == GATHER_READY || (slot->state == GATHER_WAITS && slot->again_us <= now_us);
}

/* What is left is shared by those that could be asked with it. */
static uint32_t rows_share(const struct gather *gather)
{
    size_t idle = 0;
    for (size_t i = 0; i < GATHER_OPEN_MAX; i++) {
        const enum gather_state state = gather->slots[i].state;
        idle += state == GATHER_READY || state == GATHER_WAITS ? 1 : 0;
    }
    const uint64_t share = gather->left / idle + (gather->left % idle != 0 ? 1 : 0);
    return share < GATHER_PAGE_ROWS_MAX ? (uint32_t)share : GATHER_PAGE_ROWS_MAX;
}

size_t gather_next(struct gather *gather, int64_t now_us)
{
    if (gather->left == 0) {
        return GATHER_NONE;
    }
    slots_fill(gather);
    for (size_t i = 0; i < GATHER_OPEN_MAX; i++) {
        struct gather_slot *slot = &gather->slots[i];
        if (slot_due(slot, now_us)) {
            slot->rows = rows_share(gather);
            slot->state = GATHER_ASKED;
            slot->since_us = slot->since_us == INT64_MAX ? now_us : slot->since_us;
            gather->left -= slot->rows;
            return i;
        }
    }
    return GATHER_NONE;
}

int64_t gather_wake_us(const struct gather *gather)
{
    int64_t wake_us = INT64_MAX;
    for (size_t i = 0; i < GATHER_OPEN_MAX; i++) {
        const struct gather_slot *slot = &gather->slots[i];
        if (slot->state == GATHER_WAITS && slot->again_us < wake_us) {
            wake_us = slot->again_us;
        }
    }
    return wake_us;
}

/* --- what came of it --- */

void gather_page(struct gather *gather, size_t at, uint32_t rows, struct bytes position)
{
    struct gather_slot *slot = &gather->slots[at];
    ASSERT(slot->state == GATHER_ASKED && rows <= slot->rows);
    ASSERT(position.len <= GATHER_POSITION_BYTES_MAX);
    gather->left += slot->rows - rows;
    gather->rows += rows;
    buf_reset(&slot->position);
    buf_append(&slot->position, position.ptr, position.len);
    slot->state = position.len != 0 ? GATHER_READY : GATHER_FREE;
    slot->since_us = INT64_MAX;
    gather->done += position.len == 0 ? 1 : 0;
}

bool gather_failed(struct gather *gather, size_t at, int64_t again_us, int64_t patience_us)
{
    struct gather_slot *slot = &gather->slots[at];
    ASSERT(slot->state == GATHER_ASKED);
    gather->left += slot->rows;
    slot->again_us = again_us;
    const bool lost = again_us == INT64_MAX || again_us > slot->since_us + patience_us;
    slot->state = lost ? GATHER_LOST : GATHER_WAITS;
    return lost;
}

void gather_drop(struct gather *gather, size_t at)
{
    ASSERT(gather->slots[at].state == GATHER_LOST);
    gather->slots[at].state = GATHER_FREE;
    gather->lost++;
}

bool gather_asks(const struct gather *gather)
{
    for (size_t i = 0; i < GATHER_OPEN_MAX; i++) {
        if (gather->slots[i].state == GATHER_ASKED) {
            return true;
        }
    }
    return false;
}

bool gather_over(const struct gather *gather)
{
    if (gather_asks(gather)) {
        return false;
    }
    if (gather->left == 0) {
        return true;
    }
    for (size_t i = 0; i < GATHER_OPEN_MAX; i++) {
        if (gather->slots[i].state != GATHER_FREE) {
            return false;
        }
    }
    return gather->next == gather->count;
}
