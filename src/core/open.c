/*
 * core/open.c - what a shard reads before it serves: its own facts, and its leases. Nothing that grows with waiting work.
 */
#include "base/assert.h"
#include "core/core_int.h"

static const enum key_meta open_metas[] = {META_SHARD, META_ARRIVAL, META_TOTALS, META_LOW_TIMER};
#define OPEN_METAS (sizeof open_metas / sizeof open_metas[0])

static void open_leases(struct core *core, struct bytes from);

static void open_shard_row(struct core *core, struct bytes value)
{
    if (!shard_decode(value, &core->shard)) {
        core_break(core, "the shard's own record is corrupt");
    } else if (core->shard.dispatch_order != (uint8_t)core->order) {
        core_break(
            core,
            "the shard was made with dispatch_order = \"%s\" and cannot be opened with another",
            core->shard.dispatch_order == ORDER_START ? "start" : "priority");
    }
    core->shard_found = true;
}

static void open_meta_row(struct core *core, struct core_read *read, struct bytes key,
                          struct bytes value, bool present)
{
    (void)read;
    if (!present) {
        return;
    }
    bool fine = true;
    switch ((enum key_meta)key.ptr[1]) {
    case META_SHARD:
        open_shard_row(core, value);
        break;
    case META_ARRIVAL:
        fine = number_decode(value, &core->reserved_arrival);
        break;
    case META_TOTALS:
        fine = counts_decode(value, &core->totals);
        break;
    case META_LOW_TIMER:
        core->timer_low.has =
            low_decode(value, &core->timer_low.place.due_ms, &core->timer_low.place.priority,
                       &core->timer_low.place.arrival);
        fine = core->timer_low.has;
        break;
    case META_LOW_READY:
        fine = false; /* not asked for */
        break;
    }
    if (!fine) {
        core_break(core, "a record of the shard (%c) is corrupt", key.ptr[1]);
    }
}

static void open_meta_end(struct core *core, struct core_read *read, bool ok, bool more)
{
    (void)read;
    (void)more;
    if (!ok) {
        core_break(core, "the shard's records could not be read");
    } else if (core->phase == CORE_OPENING) {
        open_leases(core, BYTES_NONE);
    }
}

static void open_lease_row(struct core *core, struct core_read *read, struct bytes key,
                           struct bytes value, bool present)
{
    (void)present;
    struct lease_rec rec;
    read->last = arena_copy(&read->arena, key);
    if (!lease_decode(value, &rec)) {
        core_break(core, "a lease row is corrupt");
        return;
    }
    struct lease *lease = lease_add(core, bytes_of(key.ptr + 1, key.len - 1), &rec);
    lease->batch = 0;
}

/* The first rows of a new shard. They are in its first batch; a reply to anything later waits for that. */
static void open_write_shard(struct core *core)
{
    core->shard =
        (struct shard_rec){.created_ms = core->wall_ms, .dispatch_order = (uint8_t)core->order};
    struct key key;
    key_meta(&key, META_SHARD);
    buf_reset(&core->scratch);
    shard_encode(&core->scratch, &core->shard);
    view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), false);
}

static void open_leases_end(struct core *core, struct core_read *read, bool ok, bool more)
{
    if (!ok) {
        core_break(core, "the shard's leases could not be read");
    } else if (core->phase == CORE_OPENING && more) {
        open_leases(core, read->last);
    } else if (core->phase == CORE_OPENING) {
        core->next_arrival = core->reserved_arrival;
        core->phase = CORE_OPEN;
        if (!core->shard_found) {
            open_write_shard(core);
        }
    }
}

static void open_leases(struct core *core, struct bytes after)
{
    struct core_read *read = read_new();
    struct key key;
    key_table(&key, TABLE_LEASE);
    if (after.len != 0) {
        memcpy(key.b, after.ptr, after.len);
        key.len = after.len;
        key_successor(&key);
    }
    read->scan = true;
    read->lo = arena_copy(&read->arena, key_bytes(&key));
    key_table(&key, TABLE_LEASE);
    ASSERT(key_after_prefix(&key));
    read->hi = arena_copy(&read->arena, key_bytes(&key));
    read->rows_max = PAGE_ROWS_MAX;
    read->on_row = open_lease_row;
    read->on_end = open_leases_end;
    read_queue(core, read);
}

void open_start(struct core *core)
{
    struct core_read *read = read_new();
    read->keys = arena_alloc(&read->arena, OPEN_METAS * sizeof read->keys[0]);
    for (size_t i = 0; i < OPEN_METAS; i++) {
        struct key key;
        key_meta(&key, open_metas[i]);
        read->keys[read->key_count++] = arena_copy(&read->arena, key_bytes(&key));
    }
    read->on_row = open_meta_row;
    read->on_end = open_meta_end;
    read_queue(core, read);
}

uint64_t arrival_next(struct core *core)
{
    if (core->next_arrival == core->reserved_arrival) {
        core->reserved_arrival += ARRIVAL_BLOCK;
        struct key key;
        key_meta(&key, META_ARRIVAL);
        buf_reset(&core->scratch);
        number_encode(&core->scratch, core->reserved_arrival);
        view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), false);
    }
    return core->next_arrival++;
}
