/*
 * query/jobs.c - listings of jobs in pages.
 *
 *   newest        index rows of the kinds that can hold a wanted status, merged by time
 *                 candidates, then their rows
 *   running       leases, the best by start (running.c)
 *                 candidates, then their rows
 *   metadata      metadata rows of the name and value
 *                 candidates, then their rows
 *   by id         info, state and lease rows, merged by job: each range is read once        no
 *                 look-ups
 *
 * 1. A cursor names the last candidate that was looked at, shown or not; so a page goes on where
 *    the last one stopped.
 * 2. A candidate is shown if its own rows say what was asked, and what the row that named it said.
 * 3. Candidates are loaded in rounds, few at first: nothing bounds a row but its fields. Later
 *    rounds are as large as what the rows seen so far leave room for.
 */
#include "query/jobs.h"

#include "base/assert.h"
#include "codec/key_scan.h"
#include "query/jobs_int.h"

#define TAG_LAST UINT64_MAX
#define STATUSES_OPEN \
    (SHOWN_BIT(SHOWN_SCHEDULED) | SHOWN_BIT(SHOWN_WAITING) | SHOWN_BIT(SHOWN_RUNNING))

struct listing {
    struct snapshot *snapshot;
    const struct jobs_query *query;
    uint32_t statuses;
    uint32_t number; /* of cursor_listing */
    size_t rows_max, bytes_max;
    struct key tenant_part; /* len 0: all tenants */
    struct arena *arena;    /* the page's */
    struct arena round;     /* what one round of candidates needs */
    struct jobs_page page;
    size_t bytes; /* of rows in the page */
    size_t examined;
    uint64_t at_tag; /* the last candidate looked at */
    struct buf at_suffix;
    bool begun, end;
    struct ranges ranges;
    struct candidate candidates[CANDIDATES_MAX];
    size_t count;
    struct candidate *running; /* running_newest's */
    size_t running_count, running_next;
};

static bool running_only(const struct listing *l)
{
    return l->statuses == SHOWN_BIT(SHOWN_RUNNING);
}

static bool page_full(const struct listing *l)
{
    return l->page.count >= l->rows_max || l->bytes >= l->bytes_max ||
           l->examined >= JOBS_EXAMINED_MAX;
}

static void look_at(struct listing *l, uint64_t tag, struct bytes suffix)
{
    l->begun = true;
    l->examined++;
    l->at_tag = tag;
    buf_reset(&l->at_suffix);
    buf_append(&l->at_suffix, suffix.ptr, suffix.len);
}

/* --- which jobs belong here --- */

static bool pair_fits(const struct jobs_query *query, const struct info *info)
{
    struct bytes at = info->metadata;
    struct bytes name;
    struct bytes value;
    while (pair_next(&at, &name, &value)) {
        if (bytes_eq(name, query->name)) {
            return query->value_is_start ? bytes_starts(value, query->value)
                                         : bytes_eq(value, query->value);
        }
    }
    return false;
}

static bool index_fits(const struct candidate *candidate, const struct job_row *job)
{
    const int64_t enqueue_ms = job->info.enqueue_ms > 0 ? job->info.enqueue_ms : 0;
    const int64_t changed_ms = job->changed_ms > 0 ? job->changed_ms : 0;
    switch (job->status) {
    case SHOWN_SCHEDULED:
    case SHOWN_WAITING:
    case SHOWN_RUNNING:
        return candidate->kind == INDEX_OPEN && candidate->time_ms == enqueue_ms;
    case SHOWN_SUCCEEDED:
        return candidate->kind == INDEX_SUCCEEDED && candidate->time_ms == changed_ms;
    case SHOWN_FAILED:
        return candidate->kind == INDEX_FAILED && candidate->time_ms == changed_ms;
    case SHOWN_CANCELLED:
        return candidate->kind == INDEX_CANCELLED && candidate->time_ms == changed_ms;
    }
    ASSERT(!"a status out of range");
}

static SILO_RC consider(struct listing *l, const struct candidate *candidate,
                        const struct job_rows *rows, struct silo_err *err)
{
    look_at(l, candidate->tag, candidate->suffix);
    if (!rows->info.present) {
        return RC_OK;
    }
    struct job_row job;
    TRY(job_decode(l->snapshot, candidate->job_ref, rows, &job, err));
    if ((l->statuses & SHOWN_BIT(job.status)) == 0 ||
        (candidate->has_index && !index_fits(candidate, &job)) ||
        (l->query->order == JOBS_BY_METADATA && !pair_fits(l->query, &job.info))) {
        return RC_OK;
    }
    TRY(job_keep(l->snapshot, candidate->job_ref, rows, l->arena, &job, err));
    l->bytes += job_rows_bytes(rows) + candidate->job_ref.len + sizeof job;
    l->page.rows[l->page.count++] = job;
    return RC_OK;
}

/* --- candidates --- */

/* A job reference in the round's arena. */
static struct bytes ref_make(struct listing *l, struct bytes tenant_part, struct bytes id)
{
    uint8_t *ref = arena_alloc(&l->round, tenant_part.len + id.len);
    memcpy(ref, tenant_part.ptr, tenant_part.len);
    if (id.len != 0) {
        memcpy(ref + tenant_part.len, id.ptr, id.len);
    }
    return bytes_of(ref, tenant_part.len + id.len);
}

/* What a row names; false when it is no row of its table. */
static bool candidate_parse(struct listing *l, const struct range *range, struct candidate *ret)
{
    const struct bytes key = range->row.key;
    struct bytes tenant_part;
    struct bytes id;
    *ret = (struct candidate){.tag = range->tag,
                              .suffix = arena_copy(&l->round, range_suffix(range)),
                              .has_index = l->query->order == JOBS_NEWEST};
    bool fits = false;
    if (l->query->order == JOBS_NEWEST) {
        fits = key_index_parse(key, &ret->kind, &ret->time_ms, &tenant_part, &id);
    } else if (l->query->order == JOBS_BY_METADATA) {
        fits = key_metadata_parse(key, &tenant_part, &id);
    } else {
        fits = key_split(key, &tenant_part, &id);
    }
    if (fits) {
        ret->job_ref = ref_make(l, tenant_part, id);
    }
    return fits;
}

static void collect_running(struct listing *l, size_t want)
{
    while (l->count < want && l->running_next < l->running_count) {
        l->candidates[l->count++] = l->running[l->running_next++];
    }
}

/* Up to `want` candidates of the next round. */
static SILO_RC collect(struct listing *l, size_t want, struct silo_err *err)
{
    arena_reset(&l->round);
    l->count = 0;
    if (l->running != NULL) {
        collect_running(l, want);
        return RC_OK;
    }
    while (l->count < want) {
        struct range *range = NULL;
        TRY(ranges_next(&l->ranges, &range, err));
        if (range == NULL) {
            break;
        }
        if (!candidate_parse(l, range, &l->candidates[l->count])) {
            return FAIL(err, SILO_CORRUPT, "a key of table %u is malformed", range->row.key.ptr[0]);
        }
        l->count++;
    }
    return RC_OK;
}

/* Rows of the whole round are in memory at once; *ret_bytes is what they took. */
static SILO_RC round_run(struct listing *l, size_t *ret_left, size_t *ret_bytes,
                         struct silo_err *err)
{
    struct read read;
    TRY(candidates_load(l->snapshot, l->candidates, l->count, &read, err));
    *ret_bytes = read.rows.data.len;
    silo_rc rc = RC_OK;
    size_t i = 0;
    for (; i < l->count && !page_full(l) && rc.code == SILO_OK; i++) {
        struct job_rows rows;
        job_rows_next(&read, &rows);
        rc = consider(l, &l->candidates[i], &rows, err);
    }
    *ret_left = l->count - i;
    read_free(l->snapshot, &read);
    return rc;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/*
 * How many candidates the next round takes, after one of `count` that took `bytes` and showed
 * `shown`.
 */
static size_t next_want(const struct listing *l, size_t count, size_t bytes, size_t shown)
{
    const size_t each = bytes / count + 1;
    const size_t room = l->bytes_max > l->bytes ? (l->bytes_max - l->bytes) / each : 0;
    const size_t rows = shown != 0 ? (l->rows_max - l->page.count) * count / shown : CANDIDATES_MAX;
    const size_t want = smaller(smaller(count * 4, CANDIDATES_MAX), smaller(room, rows));
    return want != 0 ? want : 1;
}

/* Whether nothing is left after a full page. */
static SILO_RC look_ahead(struct listing *l, struct silo_err *err)
{
    struct range *range = NULL;
    if (l->running == NULL) {
        TRY(ranges_peek(&l->ranges, &range, err));
        l->end = range == NULL;
    } else {
        l->end = l->running_next == l->running_count;
    }
    return RC_OK;
}

static SILO_RC fill_from_candidates(struct listing *l, struct silo_err *err)
{
    size_t left = 0;
    size_t want = smaller(CANDIDATES_FIRST, l->rows_max);
    while (!page_full(l)) { /* JOBS_EXAMINED_MAX ends it */
        const size_t shown = l->page.count;
        size_t bytes = 0;
        TRY(collect(l, want, err));
        if (l->count == 0) {
            l->end = true;
            return RC_OK;
        }
        TRY(round_run(l, &left, &bytes, err));
        if (!page_full(l)) {
            want = next_want(l, l->count, bytes, l->page.count - shown);
        }
    }
    return left == 0 ? look_ahead(l, err) : RC_OK;
}

/* --- by id: three ranges merged --- */

static const enum key_table join_tables[] = {TABLE_INFO, TABLE_STATE, TABLE_LEASE};
#define JOIN_TABLES (sizeof join_tables / sizeof join_tables[0])

/*
 * The rows of the next job, or what is left of one, copied into the round's arena. *ret_found
 * false: no more.
 */
static SILO_RC join_next(struct listing *l, struct candidate *ret, struct job_rows *ret_rows,
                         bool *ret_found, struct silo_err *err)
{
    struct range *range = NULL;
    *ret_found = false;
    *ret_rows = (struct job_rows){0};
    arena_reset(&l->round);
    TRY(ranges_peek(&l->ranges, &range, err));
    while (range != NULL &&
           (!*ret_found || bytes_eq(range_suffix(range), ret->suffix))) { /* 3 rows at most */
        TRY(ranges_next(&l->ranges, &range, err));
        struct store_row row = range->row;
        row.value = arena_copy(&l->round, row.value);
        if (!*ret_found) {
            struct bytes tenant_part;
            struct bytes id;
            if (!key_split(row.key, &tenant_part, &id)) {
                return FAIL(err, SILO_CORRUPT, "a key of table %u is malformed", row.key.ptr[0]);
            }
            *ret = (struct candidate){.job_ref = ref_make(l, tenant_part, id),
                                      .tag = TAG_LAST,
                                      .suffix = arena_copy(&l->round, range_suffix(range))};
            *ret_found = true;
        }
        struct store_row *rows[JOIN_TABLES] = {&ret_rows->info, &ret_rows->state, &ret_rows->lease};
        *rows[range->tag] = row;
        TRY(ranges_peek(&l->ranges, &range, err));
    }
    return RC_OK;
}

static SILO_RC fill_from_join(struct listing *l, struct silo_err *err)
{
    while (!page_full(l)) { /* JOBS_EXAMINED_MAX ends it */
        struct candidate candidate;
        struct job_rows rows;
        bool found = false;
        TRY(join_next(l, &candidate, &rows, &found, err));
        if (!found) {
            l->end = true;
            return RC_OK;
        }
        TRY(consider(l, &candidate, &rows, err));
    }
    return look_ahead(l, err);
}

/* --- where a listing looks --- */

static void range_of_tenant(struct listing *l, size_t i, uint64_t tag, bool keys_only,
                            enum key_table table)
{
    struct key prefix;
    if (l->query->all_tenants) {
        ranges_set_table(&l->ranges, i, tag, keys_only, table);
    } else {
        key_tenant_rows(&prefix, table, key_bytes(&l->tenant_part));
        ranges_set(&l->ranges, i, tag, keys_only, key_bytes(&prefix));
    }
}

static void begin_by_id(struct listing *l)
{
    if (running_only(l)) {
        ranges_init(&l->ranges, l->snapshot, 1, (uint32_t)l->rows_max + 1);
        range_of_tenant(l, 0, 0, true, TABLE_LEASE);
        return;
    }
    ranges_init(&l->ranges, l->snapshot, JOIN_TABLES, (uint32_t)l->rows_max + 1);
    for (size_t i = 0; i < JOIN_TABLES; i++) {
        range_of_tenant(l, i, i, false, join_tables[i]);
    }
}

static void begin_newest(struct listing *l)
{
    static const uint32_t statuses[] = {
        [INDEX_OPEN] = STATUSES_OPEN,
        [INDEX_SUCCEEDED] = SHOWN_BIT(SHOWN_SUCCEEDED),
        [INDEX_FAILED] = SHOWN_BIT(SHOWN_FAILED),
        [INDEX_CANCELLED] = SHOWN_BIT(SHOWN_CANCELLED),
    };
    size_t count = 0;
    for (size_t kind = INDEX_OPEN; kind <= INDEX_CANCELLED; kind++) {
        count += (statuses[kind] & l->statuses) != 0 ? 1 : 0;
    }
    ranges_init(&l->ranges, l->snapshot, count, (uint32_t)l->rows_max + 1);
    size_t i = 0;
    for (size_t kind = INDEX_OPEN; kind <= INDEX_CANCELLED; kind++) {
        if ((statuses[kind] & l->statuses) != 0) {
            struct key prefix;
            key_index_kind(&prefix, key_bytes(&l->tenant_part), (enum key_index)kind);
            ranges_set(&l->ranges, i++, kind, true, key_bytes(&prefix));
        }
    }
}

static void begin_metadata(struct listing *l)
{
    struct key prefix;
    const struct bytes tenant_part = key_bytes(&l->tenant_part);
    if (l->query->value_is_start) {
        key_metadata_start(&prefix, tenant_part, l->query->name, l->query->value);
    } else {
        key_metadata_value(&prefix, tenant_part, l->query->name, l->query->value);
    }
    ranges_init(&l->ranges, l->snapshot, 1, (uint32_t)l->rows_max + 1);
    ranges_set(&l->ranges, 0, 0, true, key_bytes(&prefix));
}

static SILO_RC begin(struct listing *l, const struct cursor *cursor, struct silo_err *err)
{
    switch (l->query->order) {
    case JOBS_NEWEST:
        if (running_only(l)) {
            l->running = arena_alloc(l->arena, (l->rows_max + 1) * sizeof l->running[0]);
            return running_newest(l->snapshot, key_bytes(&l->tenant_part), cursor, l->rows_max + 1,
                                  l->arena, l->running, &l->running_count, err);
        }
        begin_newest(l);
        break;
    case JOBS_BY_ID:
        begin_by_id(l);
        break;
    case JOBS_BY_METADATA:
        begin_metadata(l);
        break;
    }
    return ranges_resume(&l->ranges, cursor, RANGES_AFTER_ROW, err);
}

static SILO_RC fill(struct listing *l, struct silo_err *err)
{
    const bool join = l->query->order == JOBS_BY_ID && !running_only(l);
    TRY(join ? fill_from_join(l, err) : fill_from_candidates(l, err));
    if (!l->end && l->begun) {
        const struct cursor cursor = {
            .listing = l->number, .tag = l->at_tag, .suffix = buf_bytes(&l->at_suffix)};
        l->page.cursor = cursor_encode(l->arena, &cursor);
    }
    return RC_OK;
}

/* --- arguments --- */

static SILO_RC query_check(const struct jobs_query *query, const struct page_limits *limits,
                           struct silo_err *err)
{
    if (limits->rows_max == 0 || limits->rows_max > JOBS_PAGE_MAX) {
        return FAIL(err, SILO_INVALID, "a page has 1 to %u jobs", JOBS_PAGE_MAX);
    }
    if ((query->statuses & ~SHOWN_ANY) != 0) {
        return FAIL(err, SILO_INVALID, "no such status");
    }
    if (query->all_tenants && query->order != JOBS_BY_ID) {
        return FAIL(err, SILO_INVALID, "only a listing by id goes over all tenants");
    }
    if (query->tenant.len > TENANT_BYTES_MAX || query->name.len > METADATA_KEY_CHARS_MAX * 4u) {
        return FAIL(err, SILO_INVALID, "the tenant or the metadata name is too long");
    }
    return RC_OK;
}

static uint32_t query_number(const struct jobs_query *query, uint32_t statuses)
{
    const uint8_t numbers[] = {(uint8_t)query->order, query->all_tenants, (uint8_t)statuses,
                               query->value_is_start};
    const bool pair = query->order == JOBS_BY_METADATA;
    const struct bytes parts[] = {
        bytes_of(numbers, sizeof numbers),
        query->all_tenants ? BYTES_NONE : query->tenant,
        pair ? query->name : BYTES_NONE,
        pair ? query->value : BYTES_NONE,
    };
    return cursor_listing('J', parts, sizeof parts / sizeof parts[0]);
}

SILO_RC jobs_read(struct snapshot *snapshot, const struct jobs_query *query, struct bytes cursor,
                  const struct page_limits *limits, struct arena *arena, struct jobs_page *ret_page,
                  struct silo_err *err)
{
    TRY(query_check(query, limits, err));
    const uint32_t statuses = query->statuses != 0 ? query->statuses : SHOWN_ANY;
    const uint32_t number = query_number(query, statuses);
    struct cursor from;
    TRY(cursor_decode(cursor, number, &from, err));

    struct listing *l = xcalloc(1, sizeof *l);
    l->snapshot = snapshot;
    l->query = query;
    l->statuses = statuses;
    l->number = number;
    l->rows_max = limits->rows_max;
    l->bytes_max = limits->bytes_max != 0 ? limits->bytes_max : JOBS_PAGE_BYTES_DEFAULT;
    l->arena = arena;
    l->page.rows = arena_alloc(arena, l->rows_max * sizeof l->page.rows[0]);
    arena_init(&l->round);
    buf_init(&l->at_suffix, KEY_BYTES_MAX);
    key_tenant_part(&l->tenant_part, query->tenant);
    silo_rc rc = begin(l, &from, err);
    if (rc.code == SILO_OK) {
        rc = fill(l, err);
    }
    if (rc.code == SILO_OK) {
        *ret_page = l->page;
    }
    ranges_deinit(&l->ranges);
    buf_deinit(&l->at_suffix);
    arena_deinit(&l->round);
    free(l);
    return rc;
}
