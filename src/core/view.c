/*
 * core/view.c - recent changes and pinned reads.
 *
 * 1. `order` is sorted by batch: a changed row moves to the end. So a batch's rows are the tail,
 *    and purging looks at the front only.
 * 2. A row is purged when its batch is durable and was applied before the oldest hold began: no
 *    read can still miss it.
 * 3. A row vanishes (fresh, then deleted) only if the open batch made its entry; an older entry
 *    keeps its tombstone.
 */
#include "core/view.h"

#include "base/assert.h"

struct blob *blob_new(struct bytes b)
{
    struct blob *blob = xmalloc(sizeof *blob + b.len);
    blob->refs = 1;
    blob->len = b.len;
    if (b.len != 0) {
        memcpy(blob->data, b.ptr, b.len);
    }
    return blob;
}

struct blob *blob_ref(struct blob *blob)
{
    blob->refs++;
    return blob;
}

struct blob *blob_unref(struct blob *blob)
{
    if (blob != NULL && --blob->refs == 0) {
        free(blob);
    }
    return NULL;
}

void view_init(struct view *view)
{
    *view = (struct view){.open = 1};
    map_init(&view->rows);
    map_init(&view->pins);
    list_init(&view->order);
    list_init(&view->ready_rows);
    list_init(&view->timer_rows);
    list_init(&view->waiter_rows);
    list_init(&view->expiry_rows);
    list_init(&view->wanted);
    list_init(&view->holds);
}

static void row_free(struct view *view, struct row *row)
{
    map_remove(&view->rows, &row->node);
    list_remove(&row->order);
    list_remove(&row->in_table);
    blob_unref(row->value);
    free(row);
}

static void pin_free(struct view *view, struct pin *pin)
{
    ASSERT(list_empty(&pin->users));
    map_remove(&view->pins, &pin->node);
    list_remove(&pin->wanted);
    list_remove(&pin->hold.node);
    blob_unref(pin->value);
    free(pin);
}

void view_deinit(struct view *view)
{
    for (struct list_node *n = list_first(&view->order); n != NULL; n = list_first(&view->order)) {
        row_free(view, CONTAINER_OF(n, struct row, order));
    }
    for (struct map_node *n = map_next(&view->pins, NULL); n != NULL;
         n = map_next(&view->pins, NULL)) {
        pin_free(view, CONTAINER_OF(n, struct pin, node));
    }
    map_deinit(&view->rows);
    map_deinit(&view->pins);
}

struct row *view_recent(const struct view *view, struct bytes key)
{
    return MAP_ENTRY(map_find(&view->rows, key), struct row, node);
}

enum view_answer view_get(struct view *view, struct bytes key, struct bytes *ret_value)
{
    const struct row *row = view_recent(view, key);
    if (row != NULL) {
        ASSERT(row->lent.ptr == NULL);
        view_touch(view, row->batch);
        *ret_value = blob_bytes(row->value);
        return row->del ? VIEW_ABSENT : VIEW_FOUND;
    }
    const struct pin *pin = MAP_ENTRY(map_find(&view->pins, key), struct pin, node);
    if (pin == NULL || pin->state != PIN_READY) {
        return VIEW_UNKNOWN;
    }
    if (!pin->present) {
        view_touch_absent(view);
        return VIEW_ABSENT;
    }
    *ret_value = blob_bytes(pin->value);
    return VIEW_FOUND;
}

/* NULL: the rows of this table are in no list. */
static struct list *recent_rows(struct view *view, enum key_table table)
{
    switch ((int)table) {
    case TABLE_READY:
        return &view->ready_rows;
    case TABLE_TIMER:
        return &view->timer_rows;
    case TABLE_WAITER:
        return &view->waiter_rows;
    case TABLE_EXPIRY:
        return &view->expiry_rows;
    default:
        return NULL;
    }
}

const struct row *view_recent_next(struct view *view, enum key_table table, const struct row *row)
{
    struct list *rows = recent_rows(view, table);
    ASSERT(rows != NULL);
    struct list_node *next = row != NULL ? list_next(rows, &row->in_table) : list_first(rows);
    return LIST_ENTRY(next, struct row, in_table);
}

static struct row *row_new(struct view *view, struct bytes key)
{
    struct row *row = xmalloc(sizeof *row + key.len);
    *row = (struct row){.key_len = key.len};
    memcpy(row->key, key.ptr, key.len);
    map_insert(&view->rows, &row->node, bytes_of(row->key, key.len));
    struct list *table = recent_rows(view, (enum key_table)key.ptr[0]);
    if (table != NULL) {
        list_push_back(table, &row->in_table);
    }
    return row;
}

static size_t row_bytes(const struct row *row)
{
    return row->key_len + (row->value != NULL ? row->value->len : row->lent.len);
}

/* The row of a key, in the open batch, with its old value dropped. */
static struct row *row_change(struct view *view, struct bytes key, bool fresh)
{
    struct row *row = view_recent(view, key);
    if (row == NULL) {
        row = row_new(view, key);
        row->fresh = fresh;
    } else {
        row->fresh = row->fresh && row->batch == view->open;
        list_remove(&row->order);
    }
    if (row->batch == view->open) {
        view->open_bytes -= row_bytes(row);
    } else {
        row->batch = view->open;
        view->open_rows++;
    }
    list_push_back(&view->order, &row->order);
    row->value = blob_unref(row->value);
    row->lent = BYTES_NONE;
    row->del = false;
    view->newest = view->open;
    return row;
}

void view_put_blob(struct view *view, struct bytes key, struct blob *value, bool fresh)
{
    struct row *row = row_change(view, key, fresh);
    row->value = blob_ref(value);
    view->open_bytes += row_bytes(row);
}

void view_put(struct view *view, struct bytes key, struct bytes value, bool fresh)
{
    struct row *row = row_change(view, key, fresh);
    row->value = blob_new(value);
    view->open_bytes += row_bytes(row);
}

void view_put_lent(struct view *view, struct bytes key, struct bytes value)
{
    struct row *row = row_change(view, key, false);
    row->lent = value;
    view->open_bytes += row_bytes(row);
}

void view_del(struct view *view, struct bytes key)
{
    struct row *row = row_change(view, key, false);
    view->open_bytes += row_bytes(row);
    row->del = true;
    if (row->fresh) {
        view->open_rows--;
        view->open_bytes -= row_bytes(row);
        row_free(view, row);
    }
}

void view_need(struct view *view, struct bytes key, struct command *command)
{
    struct pin *pin = MAP_ENTRY(map_find(&view->pins, key), struct pin, node);
    if (pin == NULL) {
        pin = xmalloc(sizeof *pin + key.len);
        *pin = (struct pin){.state = PIN_WANTED, .key_len = key.len};
        memcpy(pin->key, key.ptr, key.len);
        list_init(&pin->users);
        map_insert(&view->pins, &pin->node, bytes_of(pin->key, key.len));
        list_push_back(&view->wanted, &pin->wanted);
    }
    for (struct list_node *n = list_first(&pin->users); n != NULL; n = list_next(&pin->users, n)) {
        if (CONTAINER_OF(n, struct pin_use, in_pin)->command == command) {
            return; /* asked for twice in one run */
        }
    }
    struct pin_use *use = arena_alloc(command->arena, sizeof *use);
    *use = (struct pin_use){.pin = pin, .command = command};
    list_push_back(&command->reads, &use->in_command);
    list_push_back(&pin->users, &use->in_pin);
    if (pin->state == PIN_WANTED || pin->state == PIN_FLYING) {
        command->reads_open++;
    } else if (pin->state == PIN_FAILED) {
        command->read_failed = true; /* it shares the failed read */
    }
}

void view_release(struct view *view, struct command *command)
{
    struct list_node *node = NULL;
    while ((node = list_pop_front(&command->reads)) != NULL) {
        struct pin_use *use = CONTAINER_OF(node, struct pin_use, in_command);
        list_remove(&use->in_pin);
        view_drop_idle(view, use->pin);
    }
    command->reads_open = 0;
}

void view_drop_idle(struct view *view, struct pin *pin)
{
    if (list_empty(&pin->users) && pin->state != PIN_FLYING) {
        pin_free(view, pin);
    }
}

void view_hold(struct view *view, struct view_hold *hold)
{
    hold->since = view->applied;
    list_push_back(&view->holds, &hold->node);
}

void view_unhold(struct view *view, struct view_hold *hold)
{
    (void)view;
    list_remove(&hold->node);
}

struct row *view_sealed_next(struct view *view, struct row *row)
{
    /* The open batch is the tail of `order`; its first row is found from the end. */
    if (row != NULL) {
        return LIST_ENTRY(list_next(&view->order, &row->order), struct row, order);
    }
    struct row *first = NULL;
    for (struct list_node *n = view->order.head.prev; n != &view->order.head; n = n->prev) {
        struct row *at = CONTAINER_OF(n, struct row, order);
        if (at->batch != view->open) {
            break;
        }
        first = at;
    }
    return first;
}

uint64_t view_seal(struct view *view)
{
    for (struct row *row = view_sealed_next(view, NULL); row != NULL;
         row = view_sealed_next(view, row)) {
        row->fresh = false;
        if (row->lent.ptr != NULL) {
            /* The memory goes back with its command: nothing may look at the value any more. */
            row->lent = bytes_of(NULL, 0);
        }
    }
    view->open_rows = 0;
    view->open_bytes = 0;
    return view->open++;
}

static void view_purge(struct view *view)
{
    const struct view_hold *oldest = LIST_ENTRY(list_first(&view->holds), struct view_hold, node);
    const uint64_t limit =
        oldest != NULL && oldest->since < view->durable ? oldest->since : view->durable;
    for (struct list_node *n = list_first(&view->order); n != NULL; n = list_first(&view->order)) {
        struct row *row = CONTAINER_OF(n, struct row, order);
        if (row->batch > limit) {
            return;
        }
        row_free(view, row);
    }
}

void view_applied(struct view *view, uint64_t batch)
{
    ASSERT(batch == view->applied + 1 && batch < view->open);
    view->applied = batch;
}

void view_durable(struct view *view, uint64_t batch)
{
    ASSERT(batch >= view->durable && batch <= view->applied);
    view->durable = batch;
    view_purge(view);
}
