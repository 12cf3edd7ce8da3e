/* core/task.c - tasks in memory, by job. */
#include "core/task.h"

#include "base/assert.h"
#include "core/state.h"

void tasks_init(struct core *core)
{
    map_init(&core->tasks.by_job);
}

void tasks_free(struct core *core)
{
    map_deinit(&core->tasks.by_job);
}

struct task *task_of_row(struct core *core, struct bytes value, const struct place *place)
{
    struct task_rec rec;
    if (!task_decode(value, &rec) || !job_ref_ok(rec.job_ref)) {
        core->corrupt_rows++;
        return NULL;
    }
    struct task *task = task_new(rec.job_ref, place, rec.attempt, rec.relative);
    if (rec.group.len != 0) {
        task->group_name = blob_new(rec.group);
    }
    if (rec.has_chain) {
        task->has_chain = true;
        task->task_id = rec.chain.task_id;
        task->passed = rec.chain.passed;
        task->rate_retries = rec.chain.rate_retries;
        task->rates_paid = rec.chain.rates_paid;
        task->rec = rec.chain.limit_count != 0 ? blob_new(value) : NULL;
    }
    return task;
}

const struct limit *task_limit(struct core *core, const struct task *task)
{
    struct task_rec rec;
    if (task->rec == NULL || !task_decode(blob_bytes(task->rec), &rec)) {
        return NULL;
    }
    const struct limits *limits =
        limit_table_find(&core->limits, rec.chain.limits, rec.chain.limit_count);
    return limits != NULL && task->passed < limits->count ? &limits->items[task->passed] : NULL;
}

struct task *task_find(const struct core *core, struct bytes job_ref)
{
    return MAP_ENTRY(map_find(&core->tasks.by_job, job_ref), struct task, by_job);
}

void task_index(struct core *core, struct task *task)
{
    map_insert(&core->tasks.by_job, &task->by_job, task_ref(task));
}

void task_set_info(struct core *core, struct task *task, struct blob *info)
{
    ASSERT(task->info == NULL);
    task->info = blob_ref(info);
    core->tasks.info_bytes += info->len;
}

void task_drop_info(struct core *core, struct task *task)
{
    if (task->info != NULL) {
        core->tasks.info_bytes -= task->info->len;
        task->info = blob_unref(task->info);
    }
}

void task_discard(struct core *core, struct task *task)
{
    map_remove(&core->tasks.by_job, &task->by_job);
    task_free_loose(core, task);
}

void task_free_loose(struct core *core, struct task *task)
{
    task_drop_info(core, task);
    task_free(task);
}
