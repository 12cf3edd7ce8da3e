/* codec/field.c - see field.h. */
#include "codec/field.h"

void field_double(struct buf *buf, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    uint8_t raw[8];
    for (int i = 0; i < 8; i++) {
        raw[i] = (uint8_t)(bits >> (8 * i));
    }
    buf_append(buf, raw, sizeof raw);
}

void item_append(struct buf *buf, struct bytes item)
{
    field_var(buf, item.len);
    buf_append(buf, item.ptr, item.len);
}

double decoder_double(struct decoder *d)
{
    const struct bytes raw = decoder_bytes(d, 8);
    uint64_t bits = 0;
    for (size_t i = 0; i < raw.len; i++) {
        bits |= (uint64_t)raw.ptr[i] << (8 * i);
    }
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

struct uuid decoder_uuid(struct decoder *d)
{
    struct uuid u = {{0}};
    const struct bytes raw = decoder_bytes(d, sizeof u.b);
    if (raw.len == sizeof u.b) {
        memcpy(u.b, raw.ptr, sizeof u.b);
    }
    return u;
}

struct bytes decoder_items(struct decoder *d, uint32_t count)
{
    const uint8_t *from = d->at;
    for (uint32_t i = 0; i < count && !d->bad; i++) {
        (void)decoder_item(d);
    }
    return d->bad ? BYTES_NONE : bytes_of(from, (size_t)(d->at - from));
}

bool item_next(struct bytes *at, struct bytes *ret_item)
{
    if (at->len == 0) {
        return false;
    }
    struct decoder d = decoder_raw(*at);
    const struct bytes item = decoder_item(&d);
    if (d.bad) {
        return false;
    }
    *ret_item = item;
    *at = decoder_rest(&d);
    return true;
}
