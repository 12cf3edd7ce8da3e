/*
 * core/bucket.h - the arithmetic of the built-in rate limiter: token and leaky buckets by
 * Gubernator's rules.
 *
 * A bucket belongs to (tenant, limiter name, unique key). It is made by its first check and
 * forgotten when it has refilled (bucket_stale): an absent bucket and a full one answer alike.
 *
 *   TOKEN   holds `limit` and refills whole at its end, one duration after its first check.
 *   LEAKY   holds `limit` and regains limit/duration per ms, fractions included. A hit needs whole
 *           units.
 *
 *   request           what happens
 *   hits > remaining  refused whole, nothing is taken; with DRAIN_OVER_LIMIT nothing remains (less
 *                     than a unit is kept)
 *   hits 0            asks: never over, whatever remains
 *   hits < 0          gives back, at most up to the limit
 *   other limit       TOKEN: the difference is added to what remains, never below 0; LEAKY: full
 *   other duration    TOKEN: the end is computed again from the first check, and if that is past
 *                     the bucket refills; with a calendar span it is the current span's end. LEAKY:
 *                     the new rate counts from updated_ms on. Only the number is compared: the
 *                     GREGORIAN bit alone moves a TOKEN bucket's end at its next fill
 *   other algorithm   a new bucket
 *   RESET_REMAINING   TOKEN: the bucket is forgotten, the request is under and takes nothing;
 *                     without one it takes as ever. LEAKY: full, then the request takes
 *   GREGORIAN         the bucket refills when the calendar span (UTC) ends; before that LEAKY
 *                     regains limit per span
 *   limit <= 0        always over, the bucket is left as it was
 *   duration <= 0     refills at once: every request meets a full bucket (GREGORIAN: 0 is the
 *                     minute, less an error)
 *
 * Where it departs from Gubernator:
 *   - giving back stops at the limit;
 *   - a bucket is full at its reset time, not a ms later, and a calendar span ends with the next
 *     one's first ms;
 *   - a new bucket treats a request as a full one does: what it refuses drains it only when asked
 *     to;
 *   - a refusal does not stick: later requests that ask or take are judged by what remains;
 *   - LEAKY regains without rounding to units, exact hits do not cost the fraction beside them, and
 *     the reset time is rounded once, up to the next ms.
 *
 * Units      ms: Unix time or durations; hits and remaining: units of the limit.
 * Threads    no shared state.
 * Limits     a limit above BUCKET_LIMIT_MAX counts as that; times saturate; a clock set back gives
 *            nothing twice.
 */
#ifndef SILO_CORE_BUCKET_H
#define SILO_CORE_BUCKET_H

#include "base/buf.h"

enum bucket_algorithm { BUCKET_TOKEN = 0, BUCKET_LEAKY = 1 };

#define BUCKET_LIMIT_MAX (INT64_C(1) << 53) /* whole numbers up to here are exact in a double */

/*
 * Bits of `behavior` that change an answer; the others choose how Gubernator's peers talk and mean
 * nothing here. GREGORIAN: duration names a calendar span: 0 minute, 1 hour, 2 day, 4 month, 5
 * year; 3, the week, is an error.
 */
#define BUCKET_GREGORIAN 4
#define BUCKET_RESET_REMAINING 8
#define BUCKET_DRAIN_OVER_LIMIT 16

struct bucket {
    enum bucket_algorithm algorithm;
    int64_t limit;       /* 1 .. BUCKET_LIMIT_MAX */
    int64_t duration_ms; /* as asked for; the calendar's number with BUCKET_GREGORIAN */
    double remaining;    /* at updated_ms; 0 .. limit. TOKEN: whole */
    int64_t updated_ms;  /* TOKEN: its first check; LEAKY: when it last changed */
    int64_t expire_ms;   /* TOKEN: refills then; LEAKY: is full by then */
};

struct bucket_request {
    enum bucket_algorithm algorithm;
    int64_t limit, duration_ms;
    int64_t hits; /* 0: asks only */
    int32_t behavior;
};

struct bucket_answer {
    bool over;
    int64_t remaining; /* whole units */
    int64_t reset_ms; /* when it is full if nothing more is taken; now or before: time won't help */
    const char *error; /* the request is wrong: static text; over is set, nothing was changed */
};

/*
 * `bucket` is absent when *exists is false. Afterwards *exists says whether it must be stored
 * (false: an absent one answers alike, so what is stored can be deleted). A request that takes
 * nothing leaves a stored bucket as it was, byte for byte, unless it drains, resets or comes with
 * another algorithm, limit or duration.
 */
struct bucket_answer bucket_take(struct bucket *bucket, bool *exists,
                                 const struct bucket_request *request, int64_t now_ms);
/*
 * When a refused request would pass if nobody else took anything, within a ms; `bucket` is as
 * bucket_take left it.
 */
int64_t bucket_ready_ms(const struct bucket *bucket, bool exists,
                        const struct bucket_request *request, int64_t now_ms);
/* Whether forgetting the bucket changes no answer. */
bool bucket_stale(const struct bucket *bucket, int64_t now_ms);

/* The stored form; begins with a version byte like every record (codec/record.h). */
void bucket_encode(struct buf *buf, const struct bucket *bucket);
/* False for bytes that bucket_encode did not write; *ret is written on success only. */
bool bucket_decode(struct bytes value, struct bucket *ret);

#endif
