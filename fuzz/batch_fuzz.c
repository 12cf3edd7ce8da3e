/*
 * fuzz/batch_fuzz.c - what crosses the storage interface: packed batches going in, packed rows
 * coming back.
 *
 * Raw bytes are written as one batch. What the store takes, a second reader of the format here must
 * find well-formed, and reading every key of it back gives what its last operation left. What
 * store_op_pack makes is always taken.
 */
#include "fuzz.h"

#include "base/buf.h"
#include "store_mem/store_mem.h"

#define KINDS 3u
#define OPS_MAX 64u
#define ROWS_BYTES_MAX (1u << 20)
#define EVENTS_MAX 8u

enum kind { RAW, PACKED, ROWS };

struct op {
    bool del;
    struct bytes key, value;
};

struct rig {
    struct store *store;
    const struct store_ops *ops;
    struct store_queue *queue;
    struct store_db *db;
};

/* The event with this token; all others are let go. */
static struct store_event wait_event(struct rig *rig, uint64_t token)
{
    struct store_event events[EVENTS_MAX], found = {0};
    bool have = false;
    for (int turn = 0; turn < 8 && !have; turn++) {
        const size_t count = rig->ops->queue_drain(rig->queue, events, EVENTS_MAX);
        for (size_t i = 0; i < count; i++) {
            if (events[i].token == token && !have) {
                found = events[i];
                have = true;
            } else {
                rig->ops->event_free(&events[i]);
            }
        }
    }
    ASSERT(have);
    return found;
}

static void rig_init(struct rig *rig)
{
    rig->store = store_mem_new(NULL);
    rig->ops = store_ops_of(rig->store);
    ASSERT(rig->ops->queue_new(rig->store, &rig->queue, NULL).code == SILO_OK);
    const struct store_open_args args = {.path = "db"};
    ASSERT(rig->ops->open(rig->store, rig->queue, &args, 1, NULL).code == SILO_OK);
    struct store_event event = wait_event(rig, 1);
    ASSERT(event.kind == STORE_OPENED && event.rc.code == SILO_OK);
    rig->db = event.db;
    rig->ops->event_free(&event);
}

static void rig_deinit(struct rig *rig)
{
    rig->ops->queue_free(rig->queue);
    rig->ops->free(rig->store);
}

/*
 * The format, read a second time: at most OPS_MAX operations; false for what is not well-formed to
 * the end.
 */
static bool ops_parse(struct bytes in, struct op *ops, uint32_t *ret_count)
{
    uint32_t count = 0;
    while (in.len != 0) {
        if (in.len < 8 || count == OPS_MAX || in.ptr[0] > 1 || in.ptr[1] != 0) {
            return false;
        }
        const size_t key_len = (size_t)in.ptr[2] | (size_t)in.ptr[3] << 8;
        const size_t value_len = (size_t)in.ptr[4] | (size_t)in.ptr[5] << 8 |
                                 (size_t)in.ptr[6] << 16 | (size_t)in.ptr[7] << 24;
        const bool del = in.ptr[0] == 1;
        if (key_len == 0 || in.len - 8 < key_len || in.len - 8 - key_len < value_len ||
            (del && value_len != 0)) {
            return false;
        }
        ops[count++] = (struct op){.del = del,
                                   .key = bytes_of(in.ptr + 8, key_len),
                                   .value = bytes_of(in.ptr + 8 + key_len, value_len)};
        in = bytes_after(in, store_op_size(key_len, value_len));
    }
    *ret_count = count;
    return true;
}

static const struct op *last_of(const struct op *ops, uint32_t count, struct bytes key)
{
    const struct op *last = NULL;
    for (uint32_t i = 0; i < count; i++) {
        last = bytes_eq(ops[i].key, key) ? &ops[i] : last;
    }
    return last;
}

/* Every key, read back, shows its last operation. */
static void rig_check_keys(struct rig *rig, const struct op *ops, uint32_t count)
{
    struct bytes keys[OPS_MAX];
    for (uint32_t i = 0; i < count; i++) {
        keys[i] = ops[i].key;
    }
    ASSERT(rig->ops->mget(rig->db, NULL, keys, count, 3, NULL).code == SILO_OK);
    struct store_event event = wait_event(rig, 3);
    ASSERT(event.kind == STORE_ROWS && event.rc.code == SILO_OK && event.rows.count == count);
    struct store_row row;
    for (uint32_t i = 0; i < count; i++) {
        const struct op *last = last_of(ops, count, keys[i]);
        ASSERT(store_rows_next(&event.rows, &row) && bytes_eq(row.key, keys[i]));
        ASSERT(row.present == !last->del);
        ASSERT(last->del || bytes_eq(row.value, last->value));
    }
    ASSERT(!store_rows_next(&event.rows, &row) && event.rows.data.len == 0);
    rig->ops->event_free(&event);
}

/* A scan of everything: rows in order, none twice, none that was deleted. */
static void rig_check_scan(struct rig *rig, const struct op *ops, uint32_t count, bool descending)
{
    const struct store_scan_args args = {.lo = BYTES_LIT("\0"),
                                         .hi = BYTES_LIT("\xff\xff\xff\xff"),
                                         .descending = descending,
                                         .rows_max = OPS_MAX + 1};
    ASSERT(rig->ops->scan(rig->db, NULL, &args, 4, NULL).code == SILO_OK);
    struct store_event event = wait_event(rig, 4);
    ASSERT(event.kind == STORE_ROWS && event.rc.code == SILO_OK);
    struct store_row row;
    struct bytes before = BYTES_NONE;
    while (store_rows_next(&event.rows, &row)) {
        const int order = before.ptr != NULL ? bytes_cmp(before, row.key) : 0;
        ASSERT(before.ptr == NULL || (descending ? order > 0 : order < 0));
        const struct op *last = last_of(ops, count, row.key);
        ASSERT(row.present && last != NULL && !last->del && bytes_eq(row.value, last->value));
        before = row.key;
    }
    if (event.iter != NULL) {
        rig->ops->iter_free(event.iter);
    }
    rig->ops->event_free(&event);
}

/* Writes the bytes as one batch of so many operations; whether the store took it. */
static bool rig_write(struct rig *rig, struct bytes batch, uint32_t ops)
{
    struct store_buf buf = rig->ops->buf_alloc(batch.len);
    if (batch.len != 0) {
        memcpy(buf.ptr, batch.ptr, batch.len);
    }
    buf.len = batch.len;
    struct silo_err err;
    const silo_rc rc = rig->ops->write(rig->db, &buf, 1, ops, 2, &err);
    if (rc.code != SILO_OK) {
        ASSERT(rc.code == SILO_INVALID);
        return false;
    }
    struct store_event event = wait_event(rig, 2);
    ASSERT(event.kind == STORE_APPLIED && event.rc.code == SILO_OK);
    rig->ops->event_free(&event);
    return true;
}

static void batch_check(struct bytes batch, bool descending)
{
    struct rig rig;
    struct op ops[OPS_MAX];
    uint32_t count = 0;
    const bool good = ops_parse(batch, ops, &count) && count != 0;
    rig_init(&rig);
    ASSERT(rig_write(&rig, batch, good ? count : 1) == good);
    if (good) {
        rig_check_keys(&rig, ops, count);
        rig_check_scan(&rig, ops, count, descending);
    }
    rig_deinit(&rig);
}

static void packed_one(struct bytes in, bool descending)
{
    struct op ops[OPS_MAX], again[OPS_MAX];
    uint32_t count = 0, count_again = 0;
    size_t size = 0;
    while (in.len != 0 && count < OPS_MAX) {
        struct op *op = &ops[count];
        op->del = (take_u8(&in) & 1) != 0;
        op->key = take_bytes(&in, 300);
        op->value = op->del ? BYTES_NONE : take_bytes(&in, 300);
        if (op->key.len != 0) {
            size += store_op_size(op->key.len, op->value.len);
            count++;
        }
    }
    struct store_buf buf = {.ptr = xmalloc(size), .cap = size};
    for (uint32_t i = 0; i < count; i++) {
        store_op_pack(&buf, ops[i].key, ops[i].value, ops[i].del);
    }
    ASSERT(buf.len == size);
    ASSERT(ops_parse(bytes_of(buf.ptr, buf.len), again, &count_again) && count == count_again);
    for (uint32_t i = 0; i < count; i++) {
        ASSERT(ops[i].del == again[i].del && bytes_eq(ops[i].key, again[i].key) &&
               bytes_eq(ops[i].value, again[i].value));
    }
    batch_check(bytes_of(buf.ptr, buf.len), descending);
    free(buf.ptr);
}

static void put_u32(struct buf *buf, uint32_t v)
{
    for (int shift = 0; shift < 32; shift += 8) {
        buf_u8(buf, (uint8_t)(v >> shift));
    }
}

/* Rows packed the way the bridge packs them, walked by store_rows_next. */
static void rows_one(struct bytes in)
{
    struct store_row rows[OPS_MAX], row;
    struct buf buf;
    uint32_t count = 0;
    buf_init(&buf, ROWS_BYTES_MAX);
    while (in.len != 0 && count < OPS_MAX) {
        struct store_row *to = &rows[count++];
        to->present = (take_u8(&in) & 1) != 0;
        to->key = take_bytes(&in, 300);
        to->value = to->present ? take_bytes(&in, 300) : BYTES_NONE;
        put_u32(&buf, (uint32_t)to->key.len);
        put_u32(&buf, to->present ? (uint32_t)to->value.len : STORE_ABSENT);
        buf_append(&buf, to->key.ptr, to->key.len);
        buf_append(&buf, to->value.ptr, to->value.len);
    }
    uint8_t *block = xmalloc(buf.len);
    if (buf.len != 0) {
        memcpy(block, buf.ptr, buf.len);
    }
    struct store_rows packed = {.data = bytes_of(block, buf.len), .count = count};
    for (uint32_t i = 0; i < count; i++) {
        ASSERT(store_rows_next(&packed, &row) && row.present == rows[i].present);
        ASSERT(bytes_eq(row.key, rows[i].key) && bytes_eq(row.value, rows[i].value));
    }
    ASSERT(!store_rows_next(&packed, &row) && packed.data.len == 0);
    free(block);
    buf_deinit(&buf);
}

void fuzz_one(struct bytes input)
{
    const uint8_t kind = take_u8(&input);
    const bool descending = (kind & 0x80) != 0;
    switch (kind % KINDS) {
    case RAW:
        batch_check(input, descending);
        break;
    case PACKED:
        packed_one(input, descending);
        break;
    default:
        rows_one(input);
        break;
    }
}

void fuzz_seeds(struct seeds *seeds)
{
    seed_put(seeds, RAW,
             BYTES_LIT("\0\0\1\0\2\0\0\0kvv\1\0\1\0\0\0\0\0k\0\0\2\0\0\0\0\0ab\0\0\1\0\1\0\0\0kw"));
    seed_put(seeds, RAW, BYTES_LIT("\0\0\1\0\377\377\377\377kvv"));
    seed_put(seeds, PACKED, BYTES_LIT("\0\1ab\2cdef\1\1ab\0\1aa\0\0\1xy\1z"));
    seed_put(seeds, ROWS, BYTES_LIT("\1\1ab\2cdef\0\1gh\1\1ij\0"));
}
