/*
 * core/lane.c - a sorted array with a moving head: taking from the front and adding at the end move
 * nothing.
 */
#include "core/lane.h"

#include "base/assert.h"
#include "base/limits.h"

struct task *task_new(struct bytes job_ref, const struct place *place, uint32_t attempt,
                      uint32_t relative)
{
    struct task *task = xmalloc(sizeof *task + job_ref.len);
    *task = (struct task){
        .place = *place, .attempt = attempt, .relative = relative, .ref_len = job_ref.len};
    memcpy(task->ref, job_ref.ptr, job_ref.len);
    return task;
}

void task_free(struct task *task)
{
    if (task != NULL) {
        blob_unref(task->info);
        blob_unref(task->group_name);
        blob_unref(task->rec);
        free(task);
    }
}

void lane_init(struct lane *lane, bool by_priority)
{
    *lane = (struct lane){.by_priority = by_priority};
}

void lane_deinit(struct lane *lane)
{
    free(lane->tasks);
    *lane = (struct lane){0};
}

bool lane_covers(const struct lane *lane, const struct place *place)
{
    return !lane->bounded || place_cmp(lane->by_priority, place, &lane->mark) <= 0;
}

uint32_t lane_lower(const struct lane *lane, const struct place *place)
{
    uint32_t lo = 0;
    uint32_t hi = lane->count;
    if (hi != 0 && place_cmp(lane->by_priority, &lane_at(lane, hi - 1)->place, place) < 0) {
        return hi; /* the common case: a new task goes last */
    }
    while (lo < hi) {
        const uint32_t mid = lo + (hi - lo) / 2;
        if (place_cmp(lane->by_priority, &lane_at(lane, mid)->place, place) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

struct task *lane_find(const struct lane *lane, const struct place *place)
{
    const uint32_t at = lane_lower(lane, place);
    if (at < lane->count && place_cmp(lane->by_priority, &lane_at(lane, at)->place, place) == 0) {
        return lane_at(lane, at);
    }
    return NULL;
}

static void lane_make_room(struct lane *lane)
{
    if (lane->head + lane->count < lane->cap) {
        return;
    }
    if (lane->head > lane->cap / 2) {
        memmove(lane->tasks, lane->tasks + lane->head, lane->count * sizeof lane->tasks[0]);
        lane->head = 0;
        return;
    }
    lane->cap = lane->cap != 0 ? lane->cap * 2 : 4;
    lane->tasks = xrealloc(lane->tasks, lane->cap * sizeof lane->tasks[0]);
}

static struct task *lane_drop_last(struct lane *lane)
{
    struct task *last = lane_at(lane, lane->count - 1);
    lane->count--;
    ASSERT(lane->count != 0);
    lane->bounded = true;
    lane->mark = lane_at(lane, lane->count - 1)->place;
    return last;
}

struct task *lane_insert(struct lane *lane, struct task *task)
{
    ASSERT(lane_covers(lane, &task->place));
    lane_make_room(lane);
    const uint32_t at = lane_lower(lane, &task->place);
    struct task **slot = lane->tasks + lane->head + at;
    ASSERT(at == lane->count || place_cmp(lane->by_priority, &(*slot)->place, &task->place) != 0);
    memmove(slot + 1, slot, (lane->count - at) * sizeof *slot);
    *slot = task;
    lane->count++;
    return lane->count > LANE_TASKS_MAX ? lane_drop_last(lane) : NULL;
}

void lane_remove(struct lane *lane, struct task *task)
{
    const uint32_t at = lane_lower(lane, &task->place);
    ASSERT(at < lane->count && lane_at(lane, at) == task);
    if (at == 0) {
        lane->head++;
    } else {
        struct task **slot = lane->tasks + lane->head + at;
        memmove(slot, slot + 1, (lane->count - at - 1) * sizeof *slot);
    }
    lane->count--;
    if (lane->count == 0) {
        lane->head = 0;
    }
}
