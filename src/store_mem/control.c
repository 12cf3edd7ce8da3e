/* store_mem/control.c - the calls of store_mem.h: progress, faults, inspection. */
#include <stdio.h>

#include "base/assert.h"
#include "store_mem/store_mem_int.h"

void store_mem_delay_set(struct store *store, enum store_mem_kind kind,
                         struct store_mem_delay delay)
{
    mem_lock(store);
    store->options.delays[kind] = delay;
    mem_unlock(store);
}

bool store_mem_step(struct store *store)
{
    mem_lock(store);
    store->turn++;
    const bool done = mem_complete_one(store);
    mem_signal(store);
    mem_unlock(store);
    return done;
}

size_t store_mem_settle(struct store *store)
{
    size_t done = 0;
    mem_lock(store);
    do {
        store->turn++;
        while (mem_complete_one(store)) {
            done++;
        }
    } while (mem_ready(store, NULL)); /* what is ready now waits for turns only */
    mem_signal(store);
    mem_unlock(store);
    return done;
}

size_t store_mem_pending(struct store *store)
{
    mem_lock(store);
    const size_t count = store->pending_count;
    mem_unlock(store);
    return count;
}

int64_t store_mem_next_ms(struct store *store)
{
    int64_t next_ms = INT64_MAX;
    mem_lock(store);
    for (struct list_node *node = list_first(&store->pending); node != NULL;
         node = list_next(&store->pending, node)) {
        const struct mem_op *op = CONTAINER_OF(node, struct mem_op, node);
        if (op->due_ms < next_ms && op_free_to_run(store, op)) {
            next_ms = op->due_ms;
        }
    }
    mem_unlock(store);
    return next_ms;
}

void store_mem_notice_fences(struct store *store)
{
    mem_lock(store);
    for (struct list_node *node = list_first(&store->dbs); node != NULL;
         node = list_next(&store->dbs, node)) {
        struct store_db *db = CONTAINER_OF(node, struct store_db, node);
        if (!db->dead && db_fenced(db)) {
            db_down(db, SILO_CONFLICT, "fenced: somebody else opened this database");
        }
    }
    mem_signal(store);
    mem_unlock(store);
}

/* --- faults --- */

void store_mem_fail(struct store *store, const struct store_mem_fault *fault)
{
    ASSERT(fault->code != SILO_OK);
    mem_lock(store);
    ASSERT(store->faults_count < STORE_MEM_FAULTS_MAX);
    struct mem_fault *armed = xcalloc(1, sizeof *armed);
    armed->fault = *fault;
    armed->fault.times = fault->times != 0 ? fault->times : 1;
    armed->left = fault->nth != 0 ? fault->nth : 1;
    list_push_back(&store->faults, &armed->node);
    store->faults_count++;
    mem_unlock(store);
}

uint64_t store_mem_faults_fired(struct store *store)
{
    mem_lock(store);
    const uint64_t fired = store->faults_fired;
    mem_unlock(store);
    return fired;
}

void store_mem_faults_clear(struct store *store)
{
    mem_lock(store);
    struct mem_fault *armed;
    while ((armed = LIST_ENTRY(list_pop_front(&store->faults), struct mem_fault, node)) != NULL) {
        free(armed);
    }
    store->faults_count = 0;
    mem_unlock(store);
}

static void outage_set(struct store *store, uint32_t kinds, const char *text, bool known)
{
    mem_lock(store);
    store->outage = kinds;
    store->trouble = known && kinds != 0;
    if (kinds != 0) {
        (void)snprintf(store->last_error, sizeof store->last_error, "%s",
                       text != NULL ? text : "outage");
    }
    mem_signal(store);
    mem_unlock(store);
}

void store_mem_cut(struct store_queue *queue, bool cut)
{
    mem_lock(queue->store);
    queue->cut = cut;
    mem_signal(queue->store);
    mem_unlock(queue->store);
}

void store_mem_machine(struct store_queue *queue, uint32_t machine)
{
    mem_lock(queue->store);
    queue->machine = machine;
    mem_unlock(queue->store);
}

void store_mem_outage(struct store *store, uint32_t kinds, const char *text)
{
    outage_set(store, kinds, text, false);
}

void store_mem_trouble(struct store *store, uint32_t kinds, const char *text)
{
    outage_set(store, kinds, text, true);
}

void store_mem_hurry(struct store *store, bool hurry)
{
    mem_lock(store);
    store->hurried = hurry;
    mem_unlock(store);
}

static uint64_t crash_seq(struct store *store, const struct mem_image *image,
                          enum store_mem_survival survival)
{
    if (survival == STORE_MEM_LOSE) {
        return image->durable;
    }
    if (survival == STORE_MEM_KEEP_ALL) {
        return image->applied;
    }
    return image->durable + mem_random_below(store, image->applied - image->durable +
                                                        1); /* one sequence, one batch */
}

void store_mem_crash(struct store *store, struct store_queue *queue,
                     enum store_mem_survival survival)
{
    mem_lock(store);
    ops_discard(store, queue);
    struct list_node *next = NULL;
    for (struct list_node *node = list_first(&store->dbs); node != NULL; node = next) {
        next = list_next(&store->dbs, node);
        struct store_db *db = CONTAINER_OF(node, struct store_db, node);
        if (!db->dead && (queue == NULL || db->queue == queue)) {
            ops_discard_db(db);
            db_kill(db, crash_seq(store, db->image, survival));
        }
    }
    for (struct list_node *node = list_first(&store->queues); node != NULL;
         node = list_next(&store->queues, node)) {
        struct store_queue *each = CONTAINER_OF(node, struct store_queue, node);
        if (queue == NULL || each == queue) {
            queue_clear(each);
        }
    }
    mem_signal(store);
    mem_unlock(store);
}

/* --- inspection --- */

void store_mem_counts(struct store *store, struct store_mem_counts *ret_counts)
{
    mem_lock(store);
    *ret_counts = store->counts;
    mem_unlock(store);
}

void store_mem_counts_reset(struct store *store)
{
    mem_lock(store);
    store->counts = (struct store_mem_counts){0};
    mem_unlock(store);
}

static void image_each(const struct mem_image *image, uint64_t seq, store_mem_row_fn *fn,
                       void *context)
{
    struct bytes key, value;
    struct rows_cursor cursor = ordered_rows_seek(image->rows, BYTES_NONE, BYTES_NONE, false, seq);
    while (rows_cursor_next(&cursor, &key, &value)) {
        fn(context, key, value);
    }
}

void store_mem_each_applied(struct store *store, const char *path, store_mem_row_fn *fn,
                            void *context)
{
    mem_lock(store);
    const struct mem_path *found = path_find(store, path);
    if (found != NULL) {
        image_each(found->image, found->image->applied, fn, context);
    }
    mem_unlock(store);
}

void store_mem_each_durable(struct store *store, const char *path, store_mem_row_fn *fn,
                            void *context)
{
    mem_lock(store);
    const struct mem_path *found = path_find(store, path);
    if (found != NULL) {
        image_each(found->image, found->image->durable, fn, context);
    }
    mem_unlock(store);
}

uint64_t store_mem_applied_seq(struct store *store, const char *path)
{
    mem_lock(store);
    const struct mem_path *found = path_find(store, path);
    const uint64_t seq = found != NULL ? found->image->applied : 0;
    mem_unlock(store);
    return seq;
}

uint64_t store_mem_durable_seq(struct store *store, const char *path)
{
    mem_lock(store);
    const struct mem_path *found = path_find(store, path);
    const uint64_t seq = found != NULL ? found->image->durable : 0;
    mem_unlock(store);
    return seq;
}

bool store_mem_owned(struct store *store, const char *path)
{
    mem_lock(store);
    const struct mem_path *found = path_find(store, path);
    const bool owned = found != NULL && found->owner != NULL && found->owner->down == SILO_OK;
    mem_unlock(store);
    return owned;
}
