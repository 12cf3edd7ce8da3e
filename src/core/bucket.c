/*
 * core/bucket.c - token and leaky buckets, the ends of calendar spans, and the stored form.
 *
 *   1. 0 <= remaining <= limit, whole for TOKEN. Limits are capped so that a double counts units
 *      exactly.
 *   2. A bucket's time does not go back: a check before updated_ms happens at updated_ms. One that
 *      was changed further ahead than clocks differ was so by a clock that was wrong: its times
 *      move to now as they are apart. So it gives nothing twice, and is shut for no longer than its
 *      own duration.
 *   3. The reset time of an answer is the bucket's expire_ms, and a bucket is full from then on. So
 *      a request that is repeated at its reset time meets a full bucket.
 *   4. LEAKY: what was regained is computed from updated_ms in one step and stored only when
 *      something else changes; checks that take nothing add no rounding.
 *
 * Stored: 1 u8 | algorithm u8 | limit zig | duration zig | remaining f64 | updated zig | expire zig
 * (zig: zig-zag base-128, f64: little-endian IEEE 754; a change needs a new version byte).
 */
#include "core/bucket.h"

#include <math.h>

#include "base/saturate.h"
#include "base/steady.h"
#include "codec/field.h"

#define BUCKET_V1 1
#define MINUTE_MS INT64_C(60000)
#define HOUR_MS (60 * MINUTE_MS)
#define DAY_MS (24 * HOUR_MS)

/* --- time --- */

static int64_t mul_saturated(int64_t a, int64_t positive)
{
    int64_t product;
    if (__builtin_mul_overflow(a, positive, &product)) {
        return a < 0 ? INT64_MIN : INT64_MAX;
    }
    return product;
}

static int64_t floor_div(int64_t a, int64_t positive)
{
    return a / positive - (a % positive < 0);
}

/*
 * Days since 1970-01-01 of the first day of a month (1 .. 12, or 13 for the next January), and
 * back. Years are counted from March, so that the leap day is the last of its year; 400 years (an
 * era) are 146097 days, and 719468 lie between 0000-03-01 and 1970-01-01.
 */
static int64_t days_from_civil(int64_t year, int64_t month)
{
    const int64_t from_march = month + (month > 2 ? -3 : 9);
    const int64_t y = year - (month <= 2);
    const int64_t era = floor_div(y, 400);
    const int64_t year_of_era = y - era * 400;
    const int64_t day_of_year = (153 * from_march + 2) / 5;
    const int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100;
    return era * 146097 + day_of_era + day_of_year - 719468;
}

static void civil_from_days(int64_t days, int64_t *ret_year, int64_t *ret_month)
{
    const int64_t shifted = days + 719468;
    const int64_t era = floor_div(shifted, 146097);
    const int64_t day_of_era = shifted - era * 146097;
    const int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    const int64_t day_of_year =
        day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const int64_t from_march = (5 * day_of_year + 2) / 153;
    *ret_month = from_march < 10 ? from_march + 3 : from_march - 9;
    *ret_year = year_of_era + era * 400 + (*ret_month <= 2);
}

/* What a request's duration comes to at some instant. */
struct span {
    int64_t length_ms; /* in which a bucket refills; 0: at once */
    int64_t end_ms; /* of a token bucket made now; with a calendar, of the span that now lies in */
    bool calendar;
};

static struct span span_even(int64_t length_ms, int64_t now_ms)
{
    const int64_t next = floor_div(now_ms, length_ms) + 1;
    return (struct span){length_ms, mul_saturated(next, length_ms), true};
}

static struct span span_civil(int64_t from_day, int64_t to_day)
{
    return (struct span){(to_day - from_day) * DAY_MS, mul_saturated(to_day, DAY_MS), true};
}

/* Returns what is wrong with the duration, or NULL. */
static const char *span_of(const struct bucket_request *request, int64_t now_ms, struct span *ret)
{
    if ((request->behavior & BUCKET_GREGORIAN) == 0) {
        const int64_t length = request->duration_ms > 0 ? request->duration_ms : 0;
        *ret = (struct span){length, add_saturated(now_ms, length), false};
        return NULL;
    }
    int64_t year, month;
    civil_from_days(floor_div(now_ms, DAY_MS), &year, &month);
    switch (request->duration_ms) {
    case 0:
        *ret = span_even(MINUTE_MS, now_ms);
        return NULL;
    case 1:
        *ret = span_even(HOUR_MS, now_ms);
        return NULL;
    case 2:
        *ret = span_even(DAY_MS, now_ms);
        return NULL;
    case 3:
        return "DURATION_IS_GREGORIAN does not know weeks (duration 3)";
    case 4:
        *ret = span_civil(days_from_civil(year, month), days_from_civil(year, month + 1));
        return NULL;
    case 5:
        *ret = span_civil(days_from_civil(year, 1), days_from_civil(year + 1, 1));
        return NULL;
    default:
        return "DURATION_IS_GREGORIAN needs a duration of 0 (minute), 1 (hour), 2 (day), 4 (month) "
               "or 5 (year)";
    }
}

/* --- checks --- */

/* Takes hits from what is left, or gives them back; whether they are refused. */
static bool take(double *left, double limit, const struct bucket_request *request)
{
    const int64_t whole = (int64_t)*left; /* at most BUCKET_LIMIT_MAX */
    if (request->hits <= 0) {
        *left = fmin(*left - (double)request->hits, limit);
        return false;
    }
    if (request->hits <= whole) {
        *left -= (double)request->hits;
        return false;
    }
    /*
     * Less than a unit is kept: checks that come more often than units would never let one gather.
     */
    if (whole > 0 && (request->behavior & BUCKET_DRAIN_OVER_LIMIT) != 0) {
        *left = 0;
    }
    return true;
}

static bool token_take(struct bucket *bucket, const struct bucket_request *request, int64_t limit,
                       const struct span *span, int64_t at_ms, double *ret_left)
{
    bucket->remaining = fmax(bucket->remaining + (double)(limit - bucket->limit), 0);
    bucket->limit = limit;
    if (bucket->duration_ms != request->duration_ms) {
        bucket->duration_ms = request->duration_ms;
        bucket->expire_ms =
            span->calendar ? span->end_ms : add_saturated(bucket->updated_ms, span->length_ms);
        if (bucket->expire_ms <= at_ms) {
            bucket->updated_ms = at_ms;
            bucket->expire_ms = span->end_ms;
            bucket->remaining = (double)limit;
        }
    }
    const bool over = take(&bucket->remaining, (double)limit, request);
    *ret_left = bucket->remaining;
    return over;
}

/* What a leaky bucket holds at `at_ms`, by the rate of its limit and of `span`. */
static double leaky_level(const struct bucket *bucket, const struct span *span, int64_t at_ms)
{
    const double limit = (double)bucket->limit;
    if (span->length_ms == 0) {
        return limit;
    }
    int64_t elapsed; /* not negative: time does not go back */
    if (__builtin_sub_overflow(at_ms, bucket->updated_ms, &elapsed)) {
        elapsed = INT64_MAX;
    }
    return fmin(bucket->remaining + (double)elapsed * limit / (double)span->length_ms, limit);
}

/* When a leaky bucket that holds `level` at `at_ms` is full. */
static int64_t leaky_full_ms(double level, double limit, const struct span *span, int64_t at_ms)
{
    const double wait = ceil((limit - level) * (double)span->length_ms / limit);
    const int64_t full = add_saturated(at_ms, wait < 0x1p63 ? (int64_t)wait : INT64_MAX);
    return span->calendar && span->end_ms < full ? span->end_ms : full;
}

static bool leaky_take(struct bucket *bucket, const struct bucket_request *request, int64_t limit,
                       const struct span *span, int64_t at_ms, double *ret_left)
{
    const bool fill = bucket->limit != limit || (request->behavior & BUCKET_RESET_REMAINING) != 0;
    const bool changed = fill || bucket->duration_ms != request->duration_ms;
    bucket->limit = limit;
    bucket->duration_ms = request->duration_ms;
    const double before = fill ? (double)limit : leaky_level(bucket, span, at_ms);
    double left = before;
    const bool over = take(&left, (double)limit, request);
    *ret_left = left;
    if (changed || left != before) {
        bucket->remaining = left;
        bucket->updated_ms = at_ms;
        bucket->expire_ms = leaky_full_ms(left, (double)limit, span, at_ms);
    }
    return over;
}

static void bucket_redate(struct bucket *bucket, int64_t now_ms)
{
    if (bucket->updated_ms > add_saturated(now_ms, STEADY_FALL_MS) &&
        bucket->expire_ms > bucket->updated_ms) {
        bucket->expire_ms = add_saturated(now_ms, bucket->expire_ms - bucket->updated_ms);
        bucket->updated_ms = now_ms;
    }
}

struct bucket_answer bucket_take(struct bucket *bucket, bool *exists,
                                 const struct bucket_request *request, int64_t now_ms)
{
    if (*exists) {
        bucket_redate(bucket, now_ms);
    }
    const bool live =
        *exists && bucket->algorithm == request->algorithm && !bucket_stale(bucket, now_ms);
    const int64_t at_ms = live && bucket->updated_ms > now_ms ? bucket->updated_ms : now_ms;
    struct span span;
    const char *error = span_of(request, at_ms, &span);
    if (error != NULL || request->limit <= 0) {
        return (struct bucket_answer){.over = true, .reset_ms = now_ms, .error = error};
    }
    const int64_t limit = request->limit < BUCKET_LIMIT_MAX ? request->limit : BUCKET_LIMIT_MAX;
    const bool token = request->algorithm == BUCKET_TOKEN;
    if (live && token && (request->behavior & BUCKET_RESET_REMAINING) != 0) {
        *exists = false;
        return (struct bucket_answer){.remaining = limit, .reset_ms = now_ms};
    }
    if (!live) {
        *bucket = (struct bucket){.algorithm = request->algorithm,
                                  .limit = limit,
                                  .duration_ms = request->duration_ms,
                                  .remaining = (double)limit,
                                  .updated_ms = at_ms,
                                  .expire_ms = token ? span.end_ms : at_ms};
    }
    double left;
    const bool over = token ? token_take(bucket, request, limit, &span, at_ms, &left)
                            : leaky_take(bucket, request, limit, &span, at_ms, &left);
    *exists = !bucket_stale(bucket, now_ms);
    return (struct bucket_answer){
        .over = over, .remaining = (int64_t)left, .reset_ms = bucket->expire_ms};
}

int64_t bucket_ready_ms(const struct bucket *bucket, bool exists,
                        const struct bucket_request *request, int64_t now_ms)
{
    struct span span;
    const int64_t at_ms = exists && bucket->updated_ms > now_ms ? bucket->updated_ms : now_ms;
    if (!exists || span_of(request, at_ms, &span) != NULL) {
        return now_ms;
    }
    if (bucket->algorithm == BUCKET_TOKEN) {
        return bucket->expire_ms;
    }
    const double missing = (double)request->hits - leaky_level(bucket, &span, at_ms);
    const double wait = ceil(missing * (double)span.length_ms / (double)bucket->limit);
    const int64_t ready =
        add_saturated(at_ms, wait < 0x1p63 ? (wait > 0 ? (int64_t)wait : 0) : INT64_MAX);
    return earlier(ready, bucket->expire_ms);
}

/* One that was full as it was made stays so if the clock is set back. */
bool bucket_stale(const struct bucket *bucket, int64_t now_ms)
{
    return now_ms >= bucket->expire_ms || bucket->updated_ms >= bucket->expire_ms;
}

/* --- the stored form --- */

void bucket_encode(struct buf *buf, const struct bucket *bucket)
{
    buf_u8(buf, BUCKET_V1);
    buf_u8(buf, (uint8_t)bucket->algorithm);
    field_zig(buf, bucket->limit);
    field_zig(buf, bucket->duration_ms);
    field_double(buf, bucket->remaining);
    field_zig(buf, bucket->updated_ms);
    field_zig(buf, bucket->expire_ms);
}

bool bucket_decode(struct bytes value, struct bucket *ret)
{
    struct decoder d = decoder_of(value, BUCKET_V1);
    const uint8_t algorithm = decoder_u8(&d);
    struct bucket bucket = {.algorithm = (enum bucket_algorithm)algorithm};
    bucket.limit = decoder_zig(&d);
    bucket.duration_ms = decoder_zig(&d);
    bucket.remaining = decoder_double(&d);
    bucket.updated_ms = decoder_zig(&d);
    bucket.expire_ms = decoder_zig(&d);
    if (!decoder_done(&d) || algorithm > BUCKET_LEAKY) {
        return false;
    }
    if (bucket.limit < 1 || bucket.limit > BUCKET_LIMIT_MAX) {
        return false;
    }
    /* Also false for what is not a number. */
    if (!(bucket.remaining >= 0 && bucket.remaining <= (double)bucket.limit)) {
        return false;
    }
    if (algorithm == BUCKET_TOKEN && bucket.remaining != trunc(bucket.remaining)) {
        return false;
    }
    *ret = bucket;
    return true;
}
