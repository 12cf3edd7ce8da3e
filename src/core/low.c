/*
 * core/low.c - low-water rows: where the live rows of a lane begin, so that a reopened shard does
 * not read the dead ones.
 *
 * One row per group holds the marks of its lanes; one row is for the timers. A mark is raised at
 * most once a second or once per LOW_WATER_REMOVALS removals. An insert below it lowers it in the
 * same batch; so it is known before anything is inserted.
 *
 *   group row: u8 version, then per lane: u8 lane, low record as an item
 */
#include "core/low.h"

#include "base/limits.h"
#include "core/group.h"
#include "core/read.h"
#include "core/run.h"
#include "core/state.h"

#define LOW_V1 1

void low_group_decode(struct core *core, struct group *group, bool present, struct bytes value)
{
    group->low_known = true;
    if (!present) {
        return;
    }
    if (value.len == 0 || value.ptr[0] != LOW_V1) {
        core_break(core, "a low-water row is corrupt");
        return;
    }
    struct bytes at = bytes_of(value.ptr + 1, value.len - 1);
    while (at.len != 0) {
        const uint8_t lane = at.ptr[0];
        struct place place = {0};
        struct bytes item;
        at = bytes_of(at.ptr + 1, at.len - 1);
        if (!item_next(&at, &item) || lane >= core->lane_count ||
            !low_decode(item, &place.due_ms, &place.priority, &place.arrival)) {
            core_break(core, "a low-water row is corrupt");
            return;
        }
        struct group_lane *gl = group_lane_get(group, lane);
        gl->low.has = true;
        gl->low.place = place;
    }
}

bool group_low_ready(struct core *core, struct group *group, struct command *cmd)
{
    if (group->low_known) {
        return true;
    }
    struct key key;
    key_low_ready(&key, blob_bytes(group->name), 0);
    struct bytes value = BYTES_NONE;
    const enum view_answer answer = look(core, cmd, key_bytes(&key), &value);
    if (answer == VIEW_UNKNOWN) {
        return false;
    }
    low_group_decode(core, group, answer == VIEW_FOUND, value);
    return true;
}

/*
 * The first place a live row can have: the window's first, else its mark, else behind all that was
 * removed.
 */
bool low_of(const struct lane *window, const struct low *low, struct place *ret_place)
{
    if (window->count != 0) {
        *ret_place = lane_at(window, 0)->place;
    } else if (window->bounded) {
        *ret_place = window->mark;
    } else if (low->has_removed) {
        *ret_place = low->removed_max;
    } else {
        return false;
    }
    return true;
}

static void low_raise(const struct lane *window, struct low *low)
{
    struct place place;
    if (low_of(window, low, &place) &&
        (!low->has || place_cmp(window->by_priority, &place, &low->place) > 0)) {
        low->has = true;
        low->place = place;
    }
}

static void low_write_group(struct core *core, struct group *group)
{
    struct key key;
    key_low_ready(&key, blob_bytes(group->name), 0);
    struct buf row;
    struct buf item;
    buf_init(&row, LANES_MAX * 64u);
    buf_init(&item, 64);
    buf_u8(&row, LOW_V1);
    for (uint32_t i = 0; i < core->lane_count; i++) {
        struct group_lane *gl = group->lanes[i];
        if (gl == NULL || !gl->low.has) {
            continue;
        }
        buf_reset(&item);
        low_encode(&item, gl->low.place.due_ms, gl->low.place.priority, gl->low.place.arrival);
        buf_u8(&row, (uint8_t)i);
        item_append(&row, buf_bytes(&item));
    }
    view_put(&core->view, key_bytes(&key), buf_bytes(&row), false);
    buf_deinit(&row);
    buf_deinit(&item);
    group->removals = 0;
    list_remove(&group->dirty);
}

void low_note_insert(struct core *core, struct group *group, const struct place *place)
{
    struct group_lane *gl = group->lanes[group_lane_of(core, place)];
    if (gl != NULL && gl->low.has && place_cmp(gl->window.by_priority, place, &gl->low.place) < 0) {
        gl->low.place = *place;
        low_write_group(core, group);
    }
}

void low_removed(const struct lane *window, struct low *low, const struct place *place)
{
    if (!low->has_removed || place_cmp(window->by_priority, place, &low->removed_max) > 0) {
        low->has_removed = true;
        low->removed_max = *place;
    }
}

static void low_raise_group(struct core *core, struct group *group)
{
    for (uint32_t i = 0; i < group->known; i++) {
        if (group->lanes[i] != NULL) {
            low_raise(&group->lanes[i]->window, &group->lanes[i]->low);
        }
    }
    low_write_group(core, group);
}

void low_note_remove(struct core *core, struct group *group, struct group_lane *gl,
                     const struct place *place)
{
    low_removed(&gl->window, &gl->low, place);
    if (group->removals++ == 0) {
        group->dirty_mono_ms = core->mono_ms;
        list_push_back(&core->groups.dirty, &group->dirty);
    } else if (group->removals >= LOW_WATER_REMOVALS) {
        low_raise_group(core, group);
    }
}

void low_write_timers(struct core *core)
{
    struct key key;
    key_meta(&key, META_LOW_TIMER);
    buf_reset(&core->scratch);
    low_encode(&core->scratch, core->timers.low.place.due_ms, core->timers.low.place.priority,
               core->timers.low.place.arrival);
    view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), false);
    core->timers.removals = 0;
    core->timers.dirty_mono_ms = 0;
}

void low_turn(struct core *core)
{
    for (struct list_node *n = list_first(&core->groups.dirty); n != NULL;
         n = list_first(&core->groups.dirty)) {
        struct group *group = CONTAINER_OF(n, struct group, dirty);
        if (group->dirty_mono_ms + LOW_WATER_MS > core->mono_ms) {
            break;
        }
        low_raise_group(core, group);
    }
    if (core->timers.dirty_mono_ms != 0 && core->timers.known &&
        (core->timers.dirty_mono_ms + LOW_WATER_MS <= core->mono_ms ||
         core->timers.removals >= LOW_WATER_REMOVALS)) {
        low_raise(&core->timers.window, &core->timers.low);
        low_write_timers(core);
    }
}

int64_t low_next_mono_ms(const struct core *core)
{
    const struct group *group = LIST_ENTRY(list_first(&core->groups.dirty), struct group, dirty);
    int64_t next = group != NULL ? group->dirty_mono_ms + LOW_WATER_MS : INT64_MAX;
    if (core->timers.dirty_mono_ms != 0 && core->timers.dirty_mono_ms + LOW_WATER_MS < next) {
        next = core->timers.dirty_mono_ms + LOW_WATER_MS;
    }
    return next;
}
