/* core/page.c - see page.h. */
#include "core/page.h"

#include "base/assert.h"
#include "core/read.h"
#include "core/state.h"
#include "core/task.h"

static void page_note_last(struct page *page, struct bytes key)
{
    if (page->last.len < key.len) {
        page->last = arena_copy(&page->read.arena, key);
    } else {
        memcpy((uint8_t *)(uintptr_t)page->last.ptr, key.ptr, key.len);
        page->last.len = key.len;
    }
}

static void page_row(struct core *core, struct core_read *read, struct bytes key,
                     struct bytes value, bool present)
{
    (void)present;
    struct page *page = CONTAINER_OF(read, struct page, read);
    page_note_last(page, key);
    if (view_recent(&core->view, key) == NULL) {
        page->take(core, page, key, value);
    }
}

void *page_new(size_t size, enum key_table table, struct bytes prefix)
{
    struct page *page = read_new(size);
    page->table = table;
    page->prefix = arena_copy(&page->read.arena, prefix);
    page->read.on_row = page_row;
    return page;
}

void page_start(struct core *core, struct page *page, const struct key *lo, const struct key *hi,
                uint32_t rows_max)
{
    read_scan(&page->read, key_bytes(lo), key_bytes(hi), rows_max);
    read_queue(core, &page->read);
}

const struct row *page_recent(struct core *core, const struct page *page, const struct row *row)
{
    do {
        row = view_recent_next(&core->view, page->table, row);
    } while (row != NULL &&
             (row->del || !bytes_starts(bytes_of(row->key, row->key_len), page->prefix)));
    return row;
}

/* --- tasks --- */

static bool page_place(const struct core *core, const struct page *page, struct bytes key,
                       struct place *ret)
{
    switch ((int)page->table) {
    case TABLE_TIMER:
        return key_timer_parse(key, ret);
    case TABLE_READY:
        return key_ready_parse(key, core->order, page->prefix.len, ret);
    default:
        return key_waiter_parse(key, core->order, page->prefix.len, ret);
    }
}

static void task_page_take(struct core *core, struct page *base, struct bytes key,
                           struct bytes value)
{
    struct task_page *page = CONTAINER_OF(base, struct task_page, page);
    struct place place;
    if (!page_place(core, base, key, &place)) {
        core->corrupt_rows++;
        return;
    }
    struct task *task = task_of_row(core, value, &place);
    if (task == NULL) {
        return;
    }
    if (page->count == page->cap) {
        page->cap = page->cap != 0 ? page->cap * 2 : 64;
        page->tasks = xrealloc(page->tasks, page->cap * sizeof(struct task *));
    }
    page->tasks[page->count++] = task;
}

void *task_page_new(size_t size, enum key_table table, struct bytes prefix,
                    const struct place *mark)
{
    struct task_page *page = page_new(size, table, prefix);
    page->page.take = task_page_take;
    page->mark = *mark;
    return page;
}

bool task_page_ok(const struct core *core, const struct task_page *page, bool ok, bool more,
                  struct place *ret_last)
{
    return ok && (!more || page_place(core, &page->page, page->page.last, ret_last));
}

bool task_page_follows(const struct task_page *page, const struct lane *window)
{
    return window->bounded && place_cmp(window->by_priority, &window->mark, &page->mark) == 0;
}

void task_page_extend(struct lane *window, bool more, const struct place *last)
{
    window->bounded = more;
    if (more) {
        window->mark = *last;
    }
}

struct task *task_page_next(struct task_page *page)
{
    return page->next < page->count ? page->tasks[page->next++] : NULL;
}

const struct row *task_page_recent(struct core *core, const struct task_page *page,
                                   const struct row *row, struct place *ret_place)
{
    do {
        row = page_recent(core, &page->page, row);
    } while (row != NULL &&
             !page_place(core, &page->page, bytes_of(row->key, row->key_len), ret_place));
    return row;
}

struct task *task_page_missing(struct core *core, const struct lane *window, const struct row *row,
                               const struct place *place)
{
    if (!lane_covers(window, place) || lane_find(window, place) != NULL) {
        return NULL;
    }
    struct task *task = task_of_row(core, blob_bytes(row->value), place);
    if (task != NULL) {
        task->batch = row->batch;
    }
    return task;
}

void task_page_end(struct task_page *page)
{
    struct task *task = NULL;
    while ((task = task_page_next(page)) != NULL) {
        task_free(task);
    }
    free(page->tasks);
}
