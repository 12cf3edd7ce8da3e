/*
 * core/lane.h - the window over one lane of stored tasks: those with the smallest places, in order.
 *
 * A window holds exactly the live rows of its lane whose place is at most its mark; what lies
 * beyond is in storage alone. An unbounded mark means that nothing lies beyond.
 *
 * Ownership  the lane owns its array; tasks are owned by whoever holds the window (core/group.c,
 *            core/timer.c).
 * Threads    the shard's executor only.
 * Limits     LANE_TASKS_MAX tasks: inserting into a full window drops the largest and lowers the
 *            mark.
 */
#ifndef SILO_CORE_LANE_H
#define SILO_CORE_LANE_H

#include "core/view.h"

struct group;
struct line;

/* A token that waits, as far as it is in memory. */
struct task {
    struct map_node by_job; /* key: job_ref */
    struct group *group;    /* ready tasks */
    struct line *line;      /* waiters of a queue; neither: a timer */
    struct place place;
    uint32_t attempt, relative;
    struct blob *info;       /* the job's info row, when loaded */
    bool info_wanted;        /* a read is on its way */
    uint64_t batch;          /* that put it here; 0 when read */
    struct blob *group_name; /* timers and waiters */
    /* Jobs with limits. */
    bool has_chain;
    bool checking; /* a rate limiter has been asked */
    struct uuid task_id;
    uint32_t passed, rate_retries, rates_paid;
    struct blob *rec; /* the stored row, while limits are ahead of it */
    size_t ref_len;
    uint8_t ref[];
};

/* A low-water mark: no live row of the lane stands before `place`. */
struct low {
    bool has;
    struct place place; /* as last written */
    bool has_removed;
    struct place removed_max; /* greatest place removed since it became known */
};

struct lane {
    bool by_priority;    /* priority goes before due time */
    struct task **tasks; /* ring-free: tasks[head .. head + count) */
    uint32_t head, count, cap;
    bool bounded;      /* mark is finite */
    struct place mark; /* valid when bounded */
};

static inline struct bytes task_ref(const struct task *task)
{
    return bytes_of(task->ref, task->ref_len);
}

static inline int place_cmp(bool by_priority, const struct place *a, const struct place *b)
{
    if (by_priority && a->priority != b->priority) {
        return a->priority < b->priority ? -1 : 1;
    }
    if (a->due_ms != b->due_ms) {
        return a->due_ms < b->due_ms ? -1 : 1;
    }
    if (a->priority != b->priority) {
        return a->priority < b->priority ? -1 : 1;
    }
    return (a->arrival > b->arrival) - (a->arrival < b->arrival);
}

struct task *task_new(struct bytes job_ref, const struct place *place, uint32_t attempt,
                      uint32_t relative);
void task_free(struct task *task);

void lane_init(struct lane *lane, bool by_priority);
void lane_deinit(struct lane *lane); /* the tasks are the caller's */
static inline struct task *lane_at(const struct lane *lane, uint32_t index)
{
    return lane->tasks[lane->head + index];
}
/* Whether a row at this place belongs into the window. */
bool lane_covers(const struct lane *lane, const struct place *place);
/* How many tasks of the window stand before `place`: the index of the first that does not. */
uint32_t lane_lower(const struct lane *lane, const struct place *place);
/*
 * The place must be covered and free. Returns the task that was dropped, NULL if none; it can be
 * `task` itself.
 */
struct task *lane_insert(struct lane *lane, struct task *task);
struct task *lane_find(const struct lane *lane, const struct place *place);
void lane_remove(struct lane *lane, struct task *task);
/* Half empty and more in storage. */
static inline bool lane_wants_page(const struct lane *lane, uint32_t tasks_max)
{
    return lane->bounded && lane->count <= tasks_max / 2;
}

#endif
