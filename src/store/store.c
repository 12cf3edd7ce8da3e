/* store/store.c - the packed forms of rows and operations. */
#include "store/store.h"

#include "base/assert.h"

static uint32_t load_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void store_u32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)(v >> 16);
    p[3] = (uint8_t)(v >> 24);
}

bool store_rows_next(struct store_rows *rows, struct store_row *ret_row)
{
    if (rows->count == 0) {
        return false;
    }
    const uint8_t *p = rows->data.ptr;
    ASSERT(rows->data.len >= 8);
    const size_t key_len = (size_t)p[0] | (size_t)p[1] << 8;
    const uint32_t value_size = load_u32(p + 4);
    const bool present = value_size != STORE_ABSENT;
    const size_t value_len = present ? value_size : 0;
    ASSERT(rows->data.len - 8 >= key_len && rows->data.len - 8 - key_len >= value_len);
    *ret_row = (struct store_row){.key = bytes_of(p + 8, key_len),
                                  .value = bytes_of(p + 8 + key_len, value_len),
                                  .present = present};
    const size_t size = 8 + key_len + value_len;
    rows->data = bytes_of(p + size, rows->data.len - size);
    rows->count--;
    return true;
}

void store_op_pack(struct store_buf *buf, struct bytes key, struct bytes value, bool del)
{
    ASSERT(key.len >= 1 && key.len <= UINT16_MAX && value.len < STORE_ABSENT);
    ASSERT(buf->cap - buf->len >= store_op_size(key.len, value.len));
    uint8_t *p = buf->ptr + buf->len;
    p[0] = del ? 1 : 0;
    p[1] = 0;
    p[2] = (uint8_t)key.len;
    p[3] = (uint8_t)(key.len >> 8);
    store_u32(p + 4, (uint32_t)value.len);
    memcpy(p + 8, key.ptr, key.len);
    if (value.len != 0) {
        memcpy(p + 8 + key.len, value.ptr, value.len);
    }
    buf->len += store_op_size(key.len, value.len);
}
