/*
 * fuzz/wal_log_fuzz.c - the files of a write-ahead log: an open takes them over or refuses, and
 * never fails otherwise.
 *
 * The reader is the bridge's; it says what must hold (bridge/src/wal_log/verify.rs): looking at a
 * log and taking it over agree, records come back in order and once, and a log that is refused
 * opens once the loss is accepted. The first byte says whether checksums are put right before,
 * which chance would not find, and how many records are in sorted files.
 */
#include "fuzz.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/buf.h"
#include "sdbx.h"

#define MENDS 0x80u

struct segment {
    uint64_t epoch, number, first_id;
    uint32_t records;
    bool old_form;
};

void fuzz_one(struct bytes input)
{
    const uint8_t kind = take_u8(&input);
    const int rc = sdbx_log_check(input.ptr, input.len, kind & 0x7fu, kind & MENDS);
    ASSERT(rc == SDBX_OK || rc == SDBX_EDATA || rc == SDBX_EINVAL);
}

static void put_bytes(struct buf *buf, struct bytes bytes)
{
    buf_append(buf, bytes.ptr, bytes.len);
}

static void put_le(struct buf *buf, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        buf_u8(buf, (uint8_t)(value >> 8 * i));
    }
}

/* A payload: one batch of one row. */
static void put_payload(struct buf *buf, uint64_t seq)
{
    put_le(buf, seq, 8);
    put_le(buf, 1000 + seq, 8);
    put_le(buf, 1, 4);
    put_le(buf, seq % 3, 1);
    put_le(buf, 1, 2);
    put_le(buf, 2, 4);
    put_bytes(buf, BYTES_LIT("kvv"));
}

static void put_record(struct buf *buf, const struct segment *segment, uint64_t id)
{
    const uint32_t payload_len = 30;
    put_bytes(buf, segment->old_form ? BYTES_LIT("SLR1") : BYTES_LIT("SLR2"));
    put_le(buf, 0, 4);
    put_le(buf, payload_len, 4);
    if (!segment->old_form) {
        put_le(buf, 0, 4);
    }
    put_le(buf, 1, 4);
    if (!segment->old_form) {
        put_le(buf, 0, 4);
    }
    put_le(buf, id, 8);
    put_le(buf, segment->epoch, 8);
    put_le(buf, id, 8);
    put_payload(buf, id);
}

static void put_segment(struct buf *buf, const struct segment *segment)
{
    char name[64];
    const int name_len = snprintf(name, sizeof name, "%020" PRIu64 "-%010" PRIu64 ".log",
                                  segment->epoch, segment->number);
    const uint32_t record_len = (segment->old_form ? 40u : 48u) + 30u;
    put_le(buf, (uint64_t)name_len, 1);
    put_le(buf, 64u + record_len * segment->records, 4);
    buf_append(buf, name, (size_t)name_len);
    put_bytes(buf, segment->old_form ? BYTES_LIT("SILOLOG1") : BYTES_LIT("SILOLOG2"));
    put_le(buf, segment->epoch, 8);
    put_le(buf, segment->number, 8);
    put_le(buf, segment->first_id, 8);
    for (int i = 0; i < 4; i++) {
        put_le(buf, 0, 8);
    }
    for (uint32_t i = 0; i < segment->records; i++) {
        put_record(buf, segment, segment->first_id + i);
    }
}

static void put_log(struct seeds *seeds, uint8_t replayed, const struct segment *segments,
                    size_t count)
{
    struct buf buf;
    buf_init(&buf, FUZZ_SEED_BYTES_MAX);
    for (size_t i = 0; i < count; i++) {
        put_segment(&buf, &segments[i]);
    }
    seed_put(seeds, MENDS | replayed, buf_bytes(&buf));
    buf_deinit(&buf);
}

void fuzz_seeds(struct seeds *seeds)
{
    const struct segment plain[] = {{2, 0, 1, 3, false}, {2, 1, 4, 2, false}, {5, 0, 4, 4, false}};
    const struct segment gap[] = {{2, 0, 1, 3, false}, {2, 1, 6, 2, false}};
    const struct segment retried[] = {
        {2, 0, 1, 3, false}, {2, 1, 3, 1, false}, {2, 2, 4, 1, false}, {2, 3, 3, 3, false}};
    const struct segment old[] = {{1, 0, 1, 3, true}, {4, 0, 4, 3, true}, {5, 0, 7, 1, false}};
    put_log(seeds, 0, plain, 3);
    put_log(seeds, 5, plain, 3);
    put_log(seeds, 0, gap, 2);
    put_log(seeds, 0, retried, 4);
    put_log(seeds, 2, old, 3);
}
