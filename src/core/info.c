/* core/info.c - info rows are read before a poll wants their tasks. */
#include "core/info.h"

#include "base/limits.h"
#include "core/group.h"
#include "core/inner.h"
#include "core/read.h"
#include "core/state.h"
#include "core/task.h"

static struct task *info_task(struct core *core, struct bytes key)
{
    return task_find(core, bytes_of(key.ptr + 1, key.len - 1));
}

static void info_row(struct core *core, struct core_read *read, struct bytes key,
                     struct bytes value, bool present)
{
    (void)read;
    struct task *task = info_task(core, key);
    if (task == NULL || task->info != NULL) {
        return;
    }
    struct bytes recent;
    view_begin(&core->view);
    const enum view_answer answer = view_get(&core->view, key, &recent);
    if (answer != VIEW_UNKNOWN) {
        present = answer == VIEW_FOUND;
        value = recent;
    }
    struct info check;
    if (!present || !info_decode(value, &check)) {
        inner_wake_first(core, inner_new(core, CMD_ORPHAN, task_ref(task)));
        return;
    }
    struct blob *blob = blob_new(value);
    task_set_info(core, task, blob);
    blob_unref(blob);
}

static void info_end(struct core *core, struct core_read *read, bool ok, bool more)
{
    (void)ok;
    (void)more;
    for (size_t i = 0; i < read->look_up.key_count; i++) {
        struct task *task = info_task(core, read->look_up.keys[i]);
        if (task != NULL) {
            task->info_wanted = false;
            if (task->group != NULL) {
                group_hot(core, task->group);
            }
        }
    }
}

uint32_t info_scarce(uint32_t ahead)
{
    return (ahead + 15) / 16;
}

void lane_want_infos(struct core *core, const struct lane *lane, uint32_t from, uint32_t ahead)
{
    const uint32_t end = lane->count - from < ahead ? lane->count : from + ahead;
    struct core_read *read = NULL;
    for (uint32_t i = from; i < end; i++) {
        struct task *task = lane_at(lane, i);
        if (task->info != NULL || task->info_wanted) {
            continue;
        }
        if (core->tasks.info_bytes > SHARD_INFO_BYTES_MAX && i - from >= info_scarce(ahead)) {
            break;
        }
        struct key key;
        key_by_ref(&key, TABLE_INFO, task_ref(task));
        struct row *recent = view_recent(&core->view, key_bytes(&key));
        if (recent != NULL && !recent->del) {
            task_set_info(core, task, recent->value);
            continue;
        }
        if (read == NULL) {
            read = read_new(sizeof *read);
            read_look_up(read, ahead);
            read->on_row = info_row;
            read->on_end = info_end;
        }
        task->info_wanted = true;
        read_want(read, key_bytes(&key));
    }
    if (read != NULL) {
        read_queue(core, read);
    }
}
