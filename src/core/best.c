/*
 * core/best.c - who is next in a task group.
 *
 * 1. A task is on offer only once its info row is loaded.
 * 2. A worse lane is used only when every better one is known to be empty.
 * 3. Throttles of the group are asked where their first tokens stand in the order of all: before
 *    the tasks behind them.
 */
#include "core/best.h"

#include "base/limits.h"
#include "core/check.h"
#include "core/group.h"
#include "core/info.h"
#include "core/line.h"
#include "core/queue.h"
#include "core/queue_rows.h"
#include "core/ready.h"
#include "core/state.h"
#include "core/throttle.h"

static enum line_front throttle_next(struct core *core, struct throttle *throttle,
                                     struct task **ret_task)
{
    struct queue *queue = throttle->queue;
    if (!queue->known) {
        queue_load(core, queue);
        return LINE_FRONT_LOADING;
    }
    struct line *line = line_find(queue, THROTTLE_LINE);
    if (line == NULL) {
        return LINE_FRONT_NONE; /* its row counts nobody */
    }
    const enum line_front front = line_front(core, line, ret_task);
    if (front != LINE_FRONT_TASK) {
        return front;
    }
    *ret_task = throttle_first_unasked(line);
    if (*ret_task != NULL) {
        return LINE_FRONT_TASK;
    }
    return line->loading ? LINE_FRONT_LOADING : LINE_FRONT_NONE;
}

/*
 * Asks for the first tokens of the group's throttles, best first, that stand before `place` (NULL:
 * for all), at most *checks.
 */
static void throttles_ask(struct core *core, struct group *group, const struct place *place,
                          uint32_t *checks)
{
    struct heap_node *node = NULL;
    while (*checks != 0 && (node = heap_min(&group->turns)) != NULL) {
        struct throttle *throttle = CONTAINER_OF(node, struct throttle, turn);
        if (place != NULL && node->key > throttle_place_code(core, place)) {
            return;
        }
        struct task *task = NULL;
        const enum line_front front = throttle_next(core, throttle, &task);
        if (front != LINE_FRONT_TASK) {
            throttle_pass_over(throttle, front == LINE_FRONT_LOADING);
            continue;
        }
        if (place != NULL && !waits_before(core, &task->place, place)) {
            return;
        }
        check_start(core, task);
        throttle_set_turn(core, throttle);
        --*checks;
    }
}

/* --- lanes --- */

/* The first lane from `lane` on that has tasks, or more in storage. */
static uint32_t group_next_busy(const struct group *group, uint32_t lane)
{
    for (uint32_t word = lane / 64; word < 2; word++) {
        const uint64_t from = word == lane / 64 ? ~(uint64_t)0 << (lane % 64) : ~(uint64_t)0;
        const uint64_t busy = group->busy[word] & from;
        if (busy != 0) {
            return word * 64 + (uint32_t)__builtin_ctzll(busy);
        }
    }
    return LANES_MAX;
}

/* Looks along one window. EMPTY: nothing there can be leased, and nothing is being asked. */
static enum best lane_best(struct core *core, struct group *group, const struct lane *window,
                           struct best_cursor *cursor, uint32_t *checks, struct task **ret_task)
{
    enum best best = BEST_EMPTY;
    for (; cursor->index < window->count; cursor->index++) {
        struct task *task = lane_at(window, cursor->index);
        throttles_ask(core, group, &task->place, checks);
        if (task->info == NULL) {
            lane_want_infos(core, window, cursor->index, INFO_AHEAD);
        }
        if (task->info == NULL) { /* not among the recent changes either */
            return BEST_LOADING;
        }
        if (!task_wants_check(task)) {
            *ret_task = task;
            return BEST_TASK;
        }
        if (!task->checking && *checks != 0) {
            check_start(core, task);
            --*checks;
        }
        best = BEST_CHECKING;
    }
    return best;
}

enum best group_best(struct core *core, struct group *group, struct best_cursor *cursor,
                     uint32_t *checks, struct task **ret_task)
{
    enum best best = group->checks != 0 ? BEST_CHECKING : BEST_EMPTY;
    for (;;) {
        const uint32_t lane = group_next_busy(group, cursor->lane);
        if (lane == LANES_MAX) {
            break;
        }
        if (lane != cursor->lane) {
            *cursor = (struct best_cursor){.lane = lane};
        }
        struct lane *window = &group->lanes[lane]->window;
        if (lane_wants_page(window, LANE_TASKS_MAX)) {
            ready_load_lane(core, group, lane);
        }
        const enum best here = lane_best(core, group, window, cursor, checks, ret_task);
        if (here == BEST_TASK || here == BEST_LOADING) {
            return here;
        }
        best = here == BEST_CHECKING ? here : best;
        if (window->bounded) { /* what lies beyond comes first */
            return group->loading ? BEST_LOADING : best;
        }
        *cursor = (struct best_cursor){.lane = lane + 1};
    }
    if (group->known < core->lane_count) {
        ready_load_group(core, group);
        return group->loading ? BEST_LOADING : best;
    }
    throttles_ask(core, group, NULL, checks);
    if (group->throttles_reading != 0) {
        return BEST_LOADING;
    }
    return group->checks != 0 ? BEST_CHECKING : best;
}
