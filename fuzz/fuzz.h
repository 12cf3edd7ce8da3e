/*
 * fuzz/fuzz.h - what the fuzzers share. Each is one <name>_fuzz.c that defines fuzz_one and
 * fuzz_seeds.
 *
 *     fuzz-<name> DIR ...         libFuzzer as usual: runs, keeps what reaches new code in the
 *                                 first directory
 *     fuzz-<name> FILE ...        runs these inputs once
 *     fuzz-<name> --seeds DIR     writes the inputs to begin with, and exits
 *
 * An input that breaks a property ends the process through ASSERT; libFuzzer then keeps it as
 * crash-<hash>. Seeds are written by the code that knows the formats, so that a change of a format
 * needs no new files; what runs have found beyond them lies minimised in fuzz/corpus/<name>/.
 *
 * Ownership  an input is lent for the call, and its heap block ends where it ends.
 * Threads    one.
 * Limits     FUZZ_SEED_BYTES_MAX bytes a seed.
 */
#ifndef SILO_FUZZ_H
#define SILO_FUZZ_H

#include "base/assert.h"
#include "base/bytes.h"

#define FUZZ_SEED_BYTES_MAX 4096u

/* Each fuzzer's own. */
void fuzz_one(struct bytes input);

struct seeds; /* where they go */
void fuzz_seeds(struct seeds *seeds);
/* kind is put before the bytes, the way fuzz_one takes it off with take_u8. */
void seed_put(struct seeds *seeds, uint8_t kind, struct bytes input);

/* --- an input as a source of values; zero when it is used up --- */

static inline uint8_t take_u8(struct bytes *in)
{
    if (in->len == 0) {
        return 0;
    }
    in->len--;
    return *in->ptr++;
}

static inline uint64_t take_u64(struct bytes *in)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) {
        v = v << 8 | take_u8(in);
    }
    return v;
}

static inline uint32_t take_u32(struct bytes *in)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        v = v << 8 | take_u8(in);
    }
    return v;
}

/* What follows the first `len` bytes. */
static inline struct bytes bytes_after(struct bytes b, size_t len)
{
    return len != 0 ? bytes_of(b.ptr + len, b.len - len) : b;
}

/* At most `max` bytes, as many as the next byte says (times two, so that 8 bits reach further). */
static inline struct bytes take_bytes(struct bytes *in, size_t max)
{
    size_t len = (size_t)take_u8(in) * 2;
    len = len < max ? len : max;
    len = len < in->len ? len : in->len;
    const struct bytes taken = bytes_of(in->ptr, len);
    *in = bytes_after(*in, len);
    return taken;
}

#endif
