/* core/sweep.c - see sweep.h. */
#include "core/sweep.h"

#include "base/assert.h"
#include "core/read.h"

struct sweep_read {
    struct core_read read;
    struct sweep *sweep;
    void (*row)(struct core *core, struct bytes key, struct bytes value);
    void (*end)(struct core *core, bool ok);
};

void sweep_init(struct sweep *sweep)
{
    *sweep = (struct sweep){0};
    buf_init(&sweep->cursor, SIZE_MAX / 4);
    buf_init(&sweep->after, SIZE_MAX / 4);
}

void sweep_deinit(struct sweep *sweep)
{
    buf_deinit(&sweep->cursor);
    buf_deinit(&sweep->after);
}

void sweep_begin(struct sweep *sweep, const struct key *range, struct bytes from)
{
    ASSERT(!sweep->reading && range->len <= sizeof sweep->range);
    memcpy(sweep->range, range->b, range->len);
    sweep->range_len = range->len;
    buf_reset(&sweep->cursor);
    buf_append(&sweep->cursor, from.ptr, from.len);
}

static void sweep_row(struct core *core, struct core_read *base, struct bytes key,
                      struct bytes value, bool present)
{
    (void)present;
    const struct sweep_read *read = CONTAINER_OF(base, struct sweep_read, read);
    buf_reset(&read->sweep->after);
    buf_append(&read->sweep->after, key.ptr, key.len);
    buf_u8(&read->sweep->after, 0);
    read->row(core, key, value);
}

static void sweep_end(struct core *core, struct core_read *base, bool ok, bool more)
{
    const struct sweep_read *read = CONTAINER_OF(base, struct sweep_read, read);
    read->sweep->reading = false;
    read->sweep->more = ok && more && read->sweep->after.len != 0;
    read->end(core, ok);
}

void sweep_page(struct core *core, struct sweep *sweep, uint32_t rows_max,
                void (*row)(struct core *core, struct bytes key, struct bytes value),
                void (*end)(struct core *core, bool ok))
{
    ASSERT(!sweep->reading);
    struct sweep_read *read = read_new(sizeof *read);
    struct key hi = {.len = sweep->range_len};
    memcpy(hi.b, sweep->range, hi.len);
    const struct bytes range = arena_copy(&read->read.arena, key_bytes(&hi));
    ASSERT(key_after_prefix(&hi));
    const struct bytes cursor = buf_bytes(&sweep->cursor);
    read_scan(&read->read, cursor.len != 0 ? cursor : range, key_bytes(&hi), rows_max);
    read->sweep = sweep;
    read->row = row;
    read->end = end;
    read->read.on_row = sweep_row;
    read->read.on_end = sweep_end;
    buf_reset(&sweep->after);
    sweep->reading = true;
    read_queue(core, &read->read);
}

bool sweep_advance(struct sweep *sweep)
{
    buf_reset(&sweep->cursor);
    if (!sweep->more) {
        return false;
    }
    buf_append(&sweep->cursor, sweep->after.ptr, sweep->after.len);
    return true;
}
