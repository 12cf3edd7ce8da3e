/* core/read.c - reads on their way, and the rows pinned by them. */
#include "core/read.h"

#include "base/assert.h"
#include "core/run.h"
#include "core/state.h"

void reads_free(struct core *core)
{
    struct list_node *node = NULL;
    while ((node = list_pop_front(&core->reads)) != NULL) {
        core_read_end(core, CONTAINER_OF(node, struct core_read, node), false, false);
    }
}

void *read_new(size_t size)
{
    ASSERT(size >= sizeof(struct core_read));
    struct core_read *read = xcalloc(1, size);
    arena_init(&read->arena);
    return read;
}

void read_look_up(struct core_read *read, size_t keys_max)
{
    read->kind = CORE_LOOK_UP;
    read->look_up.keys = arena_alloc(&read->arena, keys_max * sizeof read->look_up.keys[0]);
}

void read_want(struct core_read *read, struct bytes key)
{
    read->look_up.keys[read->look_up.key_count++] = arena_copy(&read->arena, key);
}

void read_scan(struct core_read *read, struct bytes lo, struct bytes hi, uint32_t rows_max)
{
    read->kind = CORE_SCAN;
    read->scan.lo = arena_copy(&read->arena, lo);
    read->scan.hi = arena_copy(&read->arena, hi);
    read->scan.rows_max = rows_max;
}

void read_queue(struct core *core, struct core_read *read)
{
    list_push_back(&core->reads, &read->node);
}

enum view_answer look(struct core *core, struct command *cmd, struct bytes key,
                      struct bytes *ret_value)
{
    const enum view_answer answer = view_get(&core->view, key, ret_value);
    if (answer == VIEW_UNKNOWN && cmd != NULL) {
        view_need(&core->view, key, cmd);
    }
    return answer;
}

static void pins_row(struct core *core, struct core_read *read, struct bytes key,
                     struct bytes value, bool present)
{
    (void)read;
    struct pin *pin = MAP_ENTRY(map_find(&core->view.pins, key), struct pin, node);
    ASSERT(pin != NULL && pin->state == PIN_FLYING);
    pin->present = present;
    pin->value = present ? blob_new(value) : NULL;
    pin->state = PIN_READY;
}

/* Every command whose last row arrived is woken; a pin nobody wants any more goes. */
static void pins_end(struct core *core, struct core_read *read, bool ok, bool more)
{
    (void)more;
    for (size_t i = 0; i < read->look_up.key_count; i++) {
        struct pin *pin =
            MAP_ENTRY(map_find(&core->view.pins, read->look_up.keys[i]), struct pin, node);
        ASSERT(pin != NULL);
        if (!ok || pin->state != PIN_READY) {
            pin->state = PIN_FAILED;
        }
        for (struct list_node *n = list_first(&pin->users); n != NULL;
             n = list_next(&pin->users, n)) {
            struct command *cmd = CONTAINER_OF(n, struct pin_use, in_pin)->command;
            cmd->read_failed |= pin->state == PIN_FAILED;
            ASSERT(cmd->reads_open != 0);
            if (--cmd->reads_open == 0 && cmd != &core->due.command) {
                core_wake(core, cmd);
            }
        }
        view_drop_idle(&core->view, pin);
    }
}

/* All rows wanted by commands leave as one read. */
static void read_queue_pins(struct core *core)
{
    if (list_empty(&core->view.wanted)) {
        return;
    }
    struct core_read *read = read_new(sizeof *read);
    size_t count = 0;
    for (struct list_node *n = list_first(&core->view.wanted); n != NULL;
         n = list_next(&core->view.wanted, n)) {
        count++;
    }
    read_look_up(read, count);
    struct list_node *node = NULL;
    while ((node = list_pop_front(&core->view.wanted)) != NULL) {
        struct pin *pin = CONTAINER_OF(node, struct pin, wanted);
        pin->state = PIN_FLYING;
        view_hold(&core->view, &pin->hold);
        read_want(read, bytes_of(pin->key, pin->key_len));
    }
    read->on_row = pins_row;
    read->on_end = pins_end;
    read_queue(core, read);
}

struct core_read *core_read_next(struct core *core)
{
    read_queue_pins(core);
    struct core_read *read = LIST_ENTRY(list_pop_front(&core->reads), struct core_read, node);
    if (read != NULL) {
        view_hold(&core->view, &read->hold);
    }
    return read;
}

void core_read_row(struct core *core, struct core_read *read, struct bytes key, struct bytes value,
                   bool present)
{
    read->on_row(core, read, key, value, present);
}

void core_read_end(struct core *core, struct core_read *read, bool ok, bool more)
{
    read->on_end(core, read, ok, more);
    view_unhold(&core->view, &read->hold);
    arena_deinit(&read->arena);
    free(read);
}
