/*
 * codec/limit.h - a job's limits as plain structs, and their stored form: encoded `Limit` messages
 * of the wire, one item each (item_append). Nobody else knows that form.
 *
 * What is stored is complete: nothing is left to defaults, maps are sorted by name, and fields this
 * build does not know are dropped. So equal limits have equal bytes, and readers fill in nothing.
 *
 * Units      _ms: milliseconds.
 * Ownership  byte strings of a decoded limit lie in the given arena; those of one to be encoded are
 *            lent.
 * Threads    no shared state.
 * Limits     JOB_LIMITS_MAX limits; names of KEY_NAME_BYTES_MAX, for keys are made of them.
 */
#ifndef SILO_CODEC_LIMIT_H
#define SILO_CODEC_LIMIT_H

#include "base/arena.h"
#include "base/buf.h"
#include "codec/key.h"

enum limit_kind { LIMIT_CONCURRENCY, LIMIT_FLOATING, LIMIT_RATE };
#define LIMIT_KIND_COUNT 3

struct floating_limit {
    uint32_t default_max; /* slots until the first refresh */
    int64_t interval_ms;  /* age at which the number of slots is to be refreshed */
    uint32_t metadata_count;
    struct bytes metadata; /* metadata_count pairs, sorted by name, read with pair_next */
};

/* Numbers as on the wire (GubernatorAlgorithm). */
enum rate_algorithm { RATE_TOKEN_BUCKET = 0, RATE_LEAKY_BUCKET = 1 };

/* How a job that a rate limit refused asks again. */
struct rate_retry_policy {
    int64_t initial_ms, max_ms; /* the first wait, and the longest */
    double factor;              /* from one wait to the next */
    uint32_t retries_max;       /* refusals after which the job fails; 0: it never does */
};

struct rate_limit {
    struct bytes name, unique_key;
    int64_t limit, duration_ms;
    int32_t hits;
    enum rate_algorithm algorithm;
    int32_t behavior; /* bits of GubernatorBehavior */
    struct rate_retry_policy retry;
};

/* One limit as the job names it. */
struct limit_rec {
    enum limit_kind kind;
    struct bytes key; /* CONCURRENCY, FLOATING: the queue's name */
    union {
        uint32_t max; /* CONCURRENCY: how many slots this job lets be taken */
        struct floating_limit floating;
        struct rate_limit rate;
    };
};

/* Appends one stored item. */
void limit_encode(struct buf *buf, struct arena *scratch, const struct limit_rec *limit);
/* Decodes `count` stored items into the arena; NULL for malformed bytes. */
struct limit_rec *limit_recs_decode(struct arena *arena, struct bytes stored, uint32_t count);

/* The byte strings of a limit, for whoever copies one. Returns how many there are. */
#define LIMIT_STRINGS_MAX 2
uint32_t limit_rec_strings(struct limit_rec *limit, struct bytes *ret[LIMIT_STRINGS_MAX]);

#endif
