/*
 * query/queues.c - listings of queues, holders and waiters.
 *
 *   holders    holder rows in key order
 *   waiters   one queue: its record names its lines, and they are merged by place; wider: waiter
 *              rows in key order
 *   queues     queue rows and the keys of holder rows merged, and all of one queue gathered
 */
#include "query/queues.h"

#include <stdlib.h>

#include "base/assert.h"
#include "codec/key_scan.h"
#include "query/pager_int.h"

static SILO_RC scope_check(const struct queue_scope *scope, struct silo_err *err)
{
    if (scope->span != QUEUES_OF_SHARD && scope->tenant.len > TENANT_BYTES_MAX) {
        return FAIL(err, SILO_INVALID, "the tenant is too long");
    }
    if (scope->span == QUEUE_ONE && scope->queue.len > JOB_ID_BYTES_MAX) {
        return FAIL(err, SILO_INVALID, "the queue's name is too long");
    }
    return RC_OK;
}

static uint32_t scope_number(uint32_t kind, const struct queue_scope *scope)
{
    const uint8_t span = (uint8_t)scope->span;
    const struct bytes parts[] = {
        bytes_of(&span, 1),
        scope->span != QUEUES_OF_SHARD ? scope->tenant : BYTES_NONE,
        scope->span == QUEUE_ONE ? scope->queue : BYTES_NONE,
    };
    return cursor_listing(kind, parts, sizeof parts / sizeof parts[0]);
}

static void scope_ref(const struct queue_scope *scope, struct key *ret_ref)
{
    struct key tenant_part;
    key_tenant_part(&tenant_part, scope->tenant);
    key_queue_ref(ret_ref, key_bytes(&tenant_part), scope->queue);
}

static void scope_range(struct pager *pager, const struct queue_scope *scope, size_t i,
                        bool keys_only, enum key_table table)
{
    struct key part;
    struct key prefix;
    switch (scope->span) {
    case QUEUES_OF_SHARD:
        ranges_set_table(&pager->ranges, i, i, keys_only, table);
        return;
    case QUEUES_OF_TENANT:
        key_tenant_part(&part, scope->tenant);
        break;
    case QUEUE_ONE:
        scope_ref(scope, &part);
        break;
    }
    key_by_ref(&prefix, table, key_bytes(&part));
    ranges_set(&pager->ranges, i, i, keys_only, key_bytes(&prefix));
}

static SILO_RC row_malformed(struct bytes key, struct silo_err *err)
{
    return FAIL(err, SILO_CORRUPT, "a row of table %u is malformed", key.ptr[0]);
}

/* Tenant and queue of a reference, in the arena. */
static bool names_of(struct arena *arena, struct bytes ref, struct bytes *ret_tenant,
                     struct bytes *ret_queue)
{
    return queue_ref_parse(ref, arena_alloc(arena, ref.len), ret_tenant, ret_queue);
}

/* The line of a rate limit is stored like a queue, under a name no client can give. */
static bool names_throttle(struct bytes queue)
{
    return queue.len != 0 && queue.ptr[0] == 0;
}

/* --- holders --- */

static SILO_RC holder_take(struct pager *pager, const struct range *range, struct holder_row *ret,
                           struct silo_err *err)
{
    struct bytes ref;
    struct holder_rec rec;
    struct holder_row row;
    if (!key_holder_parse(range->row.key, &ref, &row.task_id) ||
        !names_of(pager->arena, ref, &row.tenant, &row.queue) ||
        !holder_decode(arena_copy(pager->arena, range->row.value), &rec)) {
        return row_malformed(range->row.key, err);
    }
    row.job_id = rec.job_id;
    row.granted_ms = rec.granted_ms;
    row.limit_index = rec.index;
    *ret = row;
    return RC_OK;
}

static SILO_RC holders_fill(struct pager *pager, struct holders_page *page, struct silo_err *err)
{
    while (!pager_full(pager)) {
        struct range *range = NULL;
        TRY(ranges_next(&pager->ranges, &range, err));
        if (range == NULL) {
            break;
        }
        TRY(holder_take(pager, range, &page->rows[pager->count++], err));
        pager->bytes += range->row.key.len + range->row.value.len;
        pager_at(pager, range->tag, range_suffix(range));
    }
    page->count = pager->count;
    return pager_cursor(pager, &page->cursor, err);
}

SILO_RC holders_read(struct snapshot *snapshot, const struct queue_scope *scope,
                     struct bytes cursor, const struct page_limits *limits, struct arena *arena,
                     struct holders_page *ret_page, struct silo_err *err)
{
    struct pager pager AUTO(pager_deinit);
    TRY(pager_init(&pager, snapshot, cursor, scope_number('H', scope), limits, arena, err));
    TRY(scope_check(scope, err));
    ranges_init(&pager.ranges, snapshot, 1, limits->rows_max + 1);
    scope_range(&pager, scope, 0, false, TABLE_HOLDER);
    TRY(ranges_resume(&pager.ranges, &pager.from, RANGES_AFTER_ROW, err));
    struct holders_page page = {.rows = arena_alloc(arena, pager.rows_max * sizeof page.rows[0])};
    TRY(holders_fill(&pager, &page, err));
    *ret_page = page;
    return RC_OK;
}

/* --- waiters --- */

static int lines_compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t line_tag(struct line_id line)
{
    return (uint64_t)line.floating << 32 | line.max;
}

/* The lines of a queue that have waiters, as tags, rising; in the arena. */
static SILO_RC lines_read(struct snapshot *snapshot, struct bytes ref, struct arena *arena,
                          uint64_t **ret_tags, size_t *ret_count, struct silo_err *err)
{
    struct key key;
    key_queue(&key, ref, QUEUE_LINES);
    const struct bytes keys[] = {key_bytes(&key)};
    struct read read;
    TRY(snapshot_look_up(snapshot, keys, 1, &read, err));
    struct store_row row;
    struct bytes at = BYTES_NONE;
    uint32_t count = 0;
    bool fits = store_rows_next(&read.rows, &row);
    if (fits && row.present) {
        fits = queue_decode(row.value, &at, &count) && count <= RANGES_MAX;
    }
    struct line_rec line;
    size_t n = 0;
    uint64_t *tags = arena_alloc(arena, (fits ? count : 0) * sizeof tags[0] + 1);
    for (uint32_t i = 0; fits && i < count; i++) {
        fits = line_next(&at, &line);
        if (fits && line.count != 0) {
            tags[n++] = line_tag(line.id);
        }
    }
    read_free(snapshot, &read);
    if (!fits) {
        return FAIL(err, SILO_CORRUPT, "the record of a queue is corrupt");
    }
    qsort(tags, n, sizeof tags[0], lines_compare);
    *ret_tags = tags;
    *ret_count = n;
    return RC_OK;
}

static SILO_RC waiters_begin(struct pager *pager, const struct queue_scope *scope,
                             struct silo_err *err)
{
    const uint32_t rows = (uint32_t)pager->rows_max + 1;
    if (scope->span != QUEUE_ONE) {
        ranges_init(&pager->ranges, pager->snapshot, 1, rows);
        scope_range(pager, scope, 0, false, TABLE_WAITER);
        return RC_OK;
    }
    struct key ref;
    uint64_t *tags = NULL;
    size_t count = 0;
    scope_ref(scope, &ref);
    TRY(lines_read(pager->snapshot, key_bytes(&ref), pager->arena, &tags, &count, err));
    ranges_init(&pager->ranges, pager->snapshot, count, rows);
    for (size_t i = 0; i < count; i++) {
        struct key prefix;
        const struct line_id line = {.floating = tags[i] >> 32 != 0, .max = (uint32_t)tags[i]};
        key_waiter_line(&prefix, key_bytes(&ref), line);
        ranges_set(&pager->ranges, i, tags[i], false, key_bytes(&prefix));
    }
    return RC_OK;
}

static SILO_RC waiter_take(struct pager *pager, const struct range *range, struct waiter_row *ret,
                           struct silo_err *err)
{
    struct arena *arena = pager->arena;
    struct bytes ref;
    struct bytes rest;
    struct bytes tenant;
    struct task_rec rec;
    struct waiter_row row;
    if (!key_queue_split(range->row.key, &ref, &rest) ||
        !key_waiter_rest(rest, pager->snapshot->order, &row.line, &row.place) ||
        !names_of(arena, ref, &row.tenant, &row.queue) ||
        !task_decode(arena_copy(arena, range->row.value), &rec) ||
        !job_ref_parse(rec.job_ref, arena_alloc(arena, rec.job_ref.len), &tenant, &row.job_id)) {
        return row_malformed(range->row.key, err);
    }
    row.throttled = names_throttle(row.queue);
    row.queue = row.throttled ? BYTES_NONE : row.queue;
    row.group = rec.group;
    row.attempt = rec.attempt;
    row.task_id = rec.chain.task_id;
    row.passed = rec.chain.passed;
    *ret = row;
    return RC_OK;
}

static SILO_RC waiters_fill(struct pager *pager, struct waiters_page *page, struct silo_err *err)
{
    while (!pager_full(pager)) {
        struct range *range = NULL;
        TRY(ranges_next(&pager->ranges, &range, err));
        if (range == NULL) {
            break;
        }
        TRY(waiter_take(pager, range, &page->rows[pager->count++], err));
        pager->bytes += range->row.key.len + range->row.value.len;
        pager_at(pager, range->tag, range_suffix(range));
    }
    page->count = pager->count;
    return pager_cursor(pager, &page->cursor, err);
}

SILO_RC waiters_read(struct snapshot *snapshot, const struct queue_scope *scope,
                     struct bytes cursor, const struct page_limits *limits, struct arena *arena,
                     struct waiters_page *ret_page, struct silo_err *err)
{
    struct pager pager AUTO(pager_deinit);
    TRY(pager_init(&pager, snapshot, cursor, scope_number('R', scope), limits, arena, err));
    TRY(scope_check(scope, err));
    TRY(waiters_begin(&pager, scope, err));
    TRY(ranges_resume(&pager.ranges, &pager.from, RANGES_AFTER_ROW, err));
    struct waiters_page page = {.rows = arena_alloc(arena, pager.rows_max * sizeof page.rows[0])};
    TRY(waiters_fill(&pager, &page, err));
    *ret_page = page;
    return RC_OK;
}

/* --- queues --- */

static SILO_RC lines_add(struct queue_row *queue, struct bytes value, struct silo_err *err)
{
    struct bytes at;
    uint32_t count = 0;
    struct line_rec line;
    if (!queue_decode(value, &at, &count)) {
        return FAIL(err, SILO_CORRUPT, "the record of a queue is corrupt");
    }
    while (line_next(&at, &line)) {
        queue->waiters += line.count;
        if (line.count != 0 && !line.id.floating && !queue->has_floating) {
            queue->max = !queue->has_max || line.id.max > queue->max ? line.id.max : queue->max;
            queue->has_max = true;
        }
    }
    return at.len == 0 ? RC_OK : FAIL(err, SILO_CORRUPT, "the record of a queue is corrupt");
}

static SILO_RC floating_add(struct pager *pager, struct queue_row *queue, struct bytes value,
                            struct silo_err *err)
{
    if (!floating_decode(arena_copy(pager->arena, value), &queue->floating)) {
        return FAIL(err, SILO_CORRUPT, "a floating limit's record is corrupt");
    }
    pager->bytes += value.len;
    queue->has_floating = true;
    queue->has_max = true;
    queue->max = queue->floating.value;
    return RC_OK;
}

/*
 * One row of a queue: of its lines, of its floating limit, or of a holder. `rest` follows the queue
 * reference.
 */
static SILO_RC queue_add(struct pager *pager, struct queue_row *queue, const struct range *range,
                         struct bytes rest, struct silo_err *err)
{
    const struct store_row *row = &range->row;
    if (row->key.ptr[0] == TABLE_HOLDER) {
        queue->holders++;
        return RC_OK;
    }
    if (rest.len == 1 && rest.ptr[0] == QUEUE_LINES) {
        return lines_add(queue, row->value, err);
    }
    if (rest.len == 1 && rest.ptr[0] == QUEUE_FLOATING) {
        return floating_add(pager, queue, row->value, err);
    }
    return row_malformed(row->key, err);
}

/* All rows of the queue that comes next. *ret_found false: none comes. */
static SILO_RC queue_gather(struct pager *pager, struct queue_row *ret_queue, bool *ret_found,
                            struct silo_err *err)
{
    struct range *range = NULL;
    struct bytes ref = BYTES_NONE;
    struct queue_row queue = {0};
    TRY(ranges_peek(&pager->ranges, &range, err));
    *ret_found = range != NULL;
    while (range != NULL) { /* as many turns as the queue has rows */
        struct bytes row_ref;
        struct bytes rest;
        if (!key_queue_split(range->row.key, &row_ref, &rest)) {
            return row_malformed(range->row.key, err);
        }
        if (ref.len == 0) {
            ref = arena_copy(pager->arena, row_ref);
            if (!names_of(pager->arena, ref, &queue.tenant, &queue.queue)) {
                return row_malformed(range->row.key, err);
            }
            const struct bytes suffix = range_suffix(range);
            pager_at(pager, 0, bytes_of(suffix.ptr, suffix.len - rest.len));
            pager->bytes += ref.len;
        } else if (!bytes_eq(ref, row_ref)) {
            break;
        }
        TRY(ranges_next(&pager->ranges, &range, err));
        TRY(queue_add(pager, &queue, range, rest, err));
        TRY(ranges_peek(&pager->ranges, &range, err));
    }
    *ret_queue = queue;
    return RC_OK;
}

SILO_RC queues_read(struct snapshot *snapshot, const struct queue_scope *scope, struct bytes cursor,
                    const struct page_limits *limits, struct arena *arena,
                    struct queues_page *ret_page, struct silo_err *err)
{
    struct pager pager AUTO(pager_deinit);
    TRY(pager_init(&pager, snapshot, cursor, scope_number('Q', scope), limits, arena, err));
    TRY(scope_check(scope, err));
    ranges_init(&pager.ranges, snapshot, 2, RANGES_ROWS_MAX);
    scope_range(&pager, scope, 0, false, TABLE_QUEUE);
    scope_range(&pager, scope, 1, true, TABLE_HOLDER);
    TRY(ranges_resume(&pager.ranges, &pager.from, RANGES_AFTER_GROUP, err));
    struct queues_page page = {.rows = arena_alloc(arena, pager.rows_max * sizeof page.rows[0])};
    bool found = true;
    while (!pager_full(&pager)) {
        struct queue_row *queue = &page.rows[pager.count];
        TRY(queue_gather(&pager, queue, &found, err));
        if (!found) {
            break;
        }
        pager.count += !names_throttle(queue->queue) &&
                       (queue->holders != 0 || queue->waiters != 0 || queue->has_floating);
    }
    page.count = pager.count;
    TRY(pager_cursor(&pager, &page.cursor, err));
    *ret_page = page;
    return RC_OK;
}
