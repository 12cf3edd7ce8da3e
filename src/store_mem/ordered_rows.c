/*
 * store_mem/ordered_rows.c - a skip list of keys, a chain of versions (newest first) at each.
 *
 *   head --------------------> n2 ----------------> NULL      level 1
 *   head <-> n1 <-> n2 <-> n3 -> NULL                         level 0 is doubly linked, for descending reads
 *             |      |
 *             v      v
 *            v@9    x@7 -> v@3                                a version is a value or, x, a
 *                   deletion
 *
 * 1. Along a chain sequences fall strictly.
 * 2. A key without any version that a reader could see as a value is kept until the next tidy.
 * 3. Heights come from a generator with a fixed seed: the same history gives the same list.
 *
 * A node is one allocation: the header, `height` forward links, the key.
 */
#include "store_mem/ordered_rows.h"

#include "base/assert.h"

#define HEIGHT_MAX 12       /* a quarter of the nodes goes up a level: good for 4^12 keys */
#define TIDY_DEAD_MIN 1024u /* dead keys below this are not worth a walk */

struct row_version {
    struct row_version *older;
    uint64_t seq;
    bool deleted;
    size_t len;
    uint8_t value[];
};

struct rows_node {
    struct row_version *newest;
    struct rows_node *prev; /* level 0; NULL at the first */
    size_t key_len;
    uint32_t height;
    struct rows_node *next[];
};

struct ordered_rows {
    struct rows_node *head; /* HEIGHT_MAX links, no key */
    struct rows_node *last; /* NULL when empty */
    uint64_t random;
    size_t kept, live;
    size_t tidy_at; /* dead keys that trigger the next walk */
};

static struct bytes node_key(const struct rows_node *node)
{
    return bytes_of(&node->next[node->height], node->key_len);
}

static struct rows_node *node_new(struct bytes key, uint32_t height)
{
    struct rows_node *node = xmalloc(sizeof *node + height * sizeof node->next[0] + key.len);
    *node = (struct rows_node){.key_len = key.len, .height = height};
    for (uint32_t i = 0; i < height; i++) {
        node->next[i] = NULL;
    }
    if (key.len != 0) {
        memcpy(&node->next[height], key.ptr, key.len);
    }
    return node;
}

static void versions_free(struct row_version *version)
{
    while (version != NULL) {
        struct row_version *older = version->older;
        free(version);
        version = older;
    }
}

static void node_free(struct rows_node *node)
{
    versions_free(node->newest);
    free(node);
}

/* Frees what no reader at `floor` or later can see. */
static void node_prune(struct rows_node *node, uint64_t floor)
{
    for (struct row_version *v = node->newest; v != NULL; v = v->older) {
        if (v->seq <= floor) {
            versions_free(v->older);
            v->older = NULL;
        }
    }
}

static const struct row_version *node_at(const struct rows_node *node, uint64_t seq)
{
    const struct row_version *v = node->newest;
    while (v != NULL && v->seq > seq) {
        v = v->older;
    }
    return v != NULL && !v->deleted ? v : NULL;
}

static uint32_t height_draw(struct ordered_rows *rows)
{
    rows->random ^= rows->random << 13;
    rows->random ^= rows->random >> 7;
    rows->random ^= rows->random << 17;
    uint64_t bits = rows->random * 0x2545f4914f6cdd1dULL >> 32;
    uint32_t height = 1;
    while (height < HEIGHT_MAX && (bits & 3) == 0) {
        height++;
        bits >>= 2;
    }
    return height;
}

/*
 * The last node below key at each level (the head where there is none); the node at or after key.
 */
static struct rows_node *rows_find(const struct ordered_rows *rows, struct bytes key,
                                   struct rows_node **ret_before)
{
    struct rows_node *at = rows->head;
    for (uint32_t level = HEIGHT_MAX; level-- > 0;) {
        while (at->next[level] != NULL && bytes_cmp(node_key(at->next[level]), key) < 0) {
            at = at->next[level];
        }
        if (ret_before != NULL) {
            ret_before[level] = at;
        }
    }
    return at->next[0];
}

static struct rows_node *rows_insert(struct ordered_rows *rows, struct bytes key,
                                     struct rows_node **before)
{
    struct rows_node *node = node_new(key, height_draw(rows));
    for (uint32_t level = 0; level < node->height; level++) {
        node->next[level] = before[level]->next[level];
        before[level]->next[level] = node;
    }
    node->prev = before[0] != rows->head ? before[0] : NULL;
    if (node->next[0] != NULL) {
        node->next[0]->prev = node;
    } else {
        rows->last = node;
    }
    rows->kept++;
    return node;
}

struct ordered_rows *ordered_rows_new(void)
{
    struct ordered_rows *rows = xcalloc(1, sizeof *rows);
    rows->head = node_new(BYTES_NONE, HEIGHT_MAX);
    rows->random = 0x9e3779b97f4a7c15ULL;
    rows->tidy_at = TIDY_DEAD_MIN;
    return rows;
}

struct ordered_rows *ordered_rows_free(struct ordered_rows *rows)
{
    if (rows != NULL) {
        struct rows_node *node = rows->head;
        while (node != NULL) {
            struct rows_node *next = node->next[0];
            node_free(node);
            node = next;
        }
        free(rows);
    }
    return NULL;
}

/* Adds a version; value.ptr is not looked at for a deletion. */
static void rows_change(struct ordered_rows *rows, struct bytes key, struct bytes value,
                        bool deleted, uint64_t seq, uint64_t floor)
{
    ASSERT(floor <= seq);
    struct rows_node *before[HEIGHT_MAX];
    struct rows_node *node = rows_find(rows, key, before);
    if (node == NULL || !bytes_eq(node_key(node), key)) {
        if (deleted) {
            return; /* no reader sees a row here, now or before */
        }
        node = rows_insert(rows, key, before);
    }
    struct row_version *newest = node->newest;
    const bool was_live = newest != NULL && !newest->deleted;
    if (newest != NULL && newest->seq == seq) {
        node->newest = newest->older;
        free(newest);
        newest = node->newest;
    }
    ASSERT(newest == NULL || newest->seq < seq);

    const size_t len = deleted ? 0 : value.len;
    struct row_version *v = xmalloc(sizeof *v + len);
    *v = (struct row_version){.older = newest, .seq = seq, .deleted = deleted, .len = len};
    if (len != 0) {
        memcpy(v->value, value.ptr, len);
    }
    node->newest = v;
    rows->live = rows->live + !deleted - was_live;
    node_prune(node, floor);
}

void ordered_rows_put(struct ordered_rows *rows, struct bytes key, struct bytes value, uint64_t seq,
                      uint64_t floor)
{
    rows_change(rows, key, value, false, seq, floor);
}

void ordered_rows_delete(struct ordered_rows *rows, struct bytes key, uint64_t seq, uint64_t floor)
{
    rows_change(rows, key, BYTES_NONE, true, seq, floor);
}

void ordered_rows_tidy(struct ordered_rows *rows, uint64_t floor)
{
    if (rows->kept - rows->live < rows->tidy_at) {
        return;
    }
    struct rows_node *tail[HEIGHT_MAX];
    for (uint32_t level = 0; level < HEIGHT_MAX; level++) {
        tail[level] = rows->head;
    }
    struct rows_node *next = NULL;
    rows->last = NULL;
    for (struct rows_node *node = rows->head->next[0]; node != NULL; node = next) {
        next = node->next[0];
        node_prune(node, floor);
        if (node->newest->deleted && node->newest->seq <= floor) {
            node_free(node);
            rows->kept--;
            continue;
        }
        node->prev = rows->last;
        rows->last = node;
        for (uint32_t level = 0; level < node->height; level++) {
            tail[level]->next[level] = node;
            tail[level] = node;
        }
    }
    for (uint32_t level = 0; level < HEIGHT_MAX; level++) {
        tail[level]->next[level] = NULL;
    }
    /* What a reader holds back now is not walked again until as much has come on top. */
    const size_t dead = rows->kept - rows->live;
    const size_t worth = rows->live / 2 > TIDY_DEAD_MIN ? rows->live / 2 : TIDY_DEAD_MIN;
    rows->tidy_at = 2 * dead + worth;
}

bool ordered_rows_get(const struct ordered_rows *rows, struct bytes key, uint64_t seq,
                      struct bytes *ret_value)
{
    const struct rows_node *node = rows_find(rows, key, NULL);
    if (node == NULL || !bytes_eq(node_key(node), key)) {
        return false;
    }
    const struct row_version *v = node_at(node, seq);
    if (v == NULL) {
        return false;
    }
    *ret_value = bytes_of(v->value, v->len);
    return true;
}

size_t ordered_rows_live(const struct ordered_rows *rows)
{
    return rows->live;
}

size_t ordered_rows_kept(const struct ordered_rows *rows)
{
    return rows->kept;
}

struct rows_cursor ordered_rows_seek(const struct ordered_rows *rows, struct bytes lo,
                                     struct bytes hi, bool descending, uint64_t seq)
{
    struct rows_cursor cursor = {.lo = lo, .hi = hi, .seq = seq, .descending = descending};
    if (!descending) {
        cursor.node = rows_find(rows, lo, NULL);
    } else if (hi.len == 0) {
        cursor.node = rows->last;
    } else {
        const struct rows_node *after = rows_find(rows, hi, NULL);
        cursor.node = after != NULL ? after->prev : rows->last;
    }
    return cursor;
}

bool rows_cursor_next(struct rows_cursor *cursor, struct bytes *ret_key, struct bytes *ret_value)
{
    while (cursor->node != NULL) {
        const struct rows_node *node = cursor->node;
        const struct bytes key = node_key(node);
        const bool past = cursor->descending
                              ? bytes_cmp(key, cursor->lo) < 0
                              : cursor->hi.len != 0 && bytes_cmp(key, cursor->hi) >= 0;
        if (past) {
            cursor->node = NULL;
            return false;
        }
        cursor->node = cursor->descending ? node->prev : node->next[0];
        const struct row_version *v = node_at(node, cursor->seq);
        if (v != NULL) {
            *ret_key = key;
            *ret_value = bytes_of(v->value, v->len);
            return true;
        }
    }
    return false;
}

struct ordered_rows *ordered_rows_clone(const struct ordered_rows *rows, uint64_t seq)
{
    struct ordered_rows *copy = ordered_rows_new();
    struct rows_node *before[HEIGHT_MAX];
    for (uint32_t level = 0; level < HEIGHT_MAX; level++) {
        before[level] = copy->head;
    }
    struct bytes key, value;
    struct rows_cursor cursor = ordered_rows_seek(rows, BYTES_NONE, BYTES_NONE, false, seq);
    while (rows_cursor_next(&cursor, &key, &value)) {
        struct rows_node *node = rows_insert(copy, key, before);
        for (uint32_t level = 0; level < node->height; level++) {
            before[level] = node;
        }
        node->newest = xmalloc(sizeof *node->newest + value.len);
        *node->newest = (struct row_version){.seq = seq, .len = value.len};
        if (value.len != 0) {
            memcpy(node->newest->value, value.ptr, value.len);
        }
        copy->live++;
    }
    return copy;
}
