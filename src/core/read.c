/* core/read.c - reads on their way, and the rows pinned by them. */
#include "core/read.h"

#include "base/assert.h"
#include "core/run.h"
#include "core/state.h"

struct core_read *read_new(void)
{
    struct core_read *read = xcalloc(1, sizeof *read);
    arena_init(&read->arena);
    return read;
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
    for (size_t i = 0; i < read->key_count; i++) {
        struct pin *pin = MAP_ENTRY(map_find(&core->view.pins, read->keys[i]), struct pin, node);
        ASSERT(pin != NULL);
        if (!ok || pin->state != PIN_READY) {
            pin->state = PIN_FAILED;
        }
        for (struct list_node *n = list_first(&pin->users); n != NULL;
             n = list_next(&pin->users, n)) {
            struct command *cmd = CONTAINER_OF(n, struct pin_use, in_pin)->command;
            cmd->read_failed |= pin->state == PIN_FAILED;
            ASSERT(cmd->reads_open != 0);
            if (--cmd->reads_open == 0 && cmd != &core->fire) {
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
    struct core_read *read = read_new();
    size_t count = 0;
    for (struct list_node *n = list_first(&core->view.wanted); n != NULL;
         n = list_next(&core->view.wanted, n)) {
        count++;
    }
    read->keys = arena_alloc(&read->arena, count * sizeof read->keys[0]);
    struct list_node *node = NULL;
    while ((node = list_pop_front(&core->view.wanted)) != NULL) {
        struct pin *pin = CONTAINER_OF(node, struct pin, wanted);
        pin->state = PIN_FLYING;
        view_hold(&core->view, &pin->hold);
        read->keys[read->key_count++] = arena_copy(&read->arena, bytes_of(pin->key, pin->key_len));
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
    for (size_t i = 0; i < read->page_count; i++) {
        task_free(read->page[i]);
    }
    free(read->page);
    arena_deinit(&read->arena);
    free(read);
}

/* --- pages --- */

void page_note_last(struct core_read *read, struct bytes key)
{
    if (read->last.len < key.len) {
        read->last = arena_copy(&read->arena, key);
    } else {
        memcpy((uint8_t *)(uintptr_t)read->last.ptr, key.ptr, key.len);
        read->last.len = key.len;
    }
}

void page_push(struct core_read *read, struct task *task)
{
    if (read->page_count == read->page_cap) {
        read->page_cap = read->page_cap != 0 ? read->page_cap * 2 : 64;
        read->page = xrealloc(read->page, read->page_cap * sizeof(struct task *));
    }
    read->page[read->page_count++] = task;
}
