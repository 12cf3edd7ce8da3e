/*
 * base/steady.c - see steady.h. Two offsets are compared: steady time less monotonic time, and the
 * same of the machine.
 */
#include "base/steady.h"

#define SLEW_PART 10 /* one ms of so many */

/* Takes part of the monotonic time that went by, so that steady time goes slower and not back. */
static void slew(struct steady *steady, int64_t behind_ms, int64_t mono_ms)
{
    const int64_t elapsed_ms = mono_ms - steady->slewed_mono_ms;
    const int64_t most_ms = elapsed_ms > 0 ? elapsed_ms / SLEW_PART : 0;
    steady->offset_ms -= behind_ms < most_ms ? behind_ms : most_ms;
    steady->slewed_mono_ms += most_ms * SLEW_PART;
}

static enum steady_news doubt(struct steady *steady, int64_t off_ms, int64_t mono_ms)
{
    const int64_t offset_ms = steady->offset_ms + off_ms;
    const int64_t moved_ms = offset_ms - steady->doubt_offset_ms;
    const bool same = steady->doubts && moved_ms <= STEADY_STEP_MS && moved_ms >= -STEADY_STEP_MS;
    steady->doubt_offset_ms = offset_ms; /* NTP may go on correcting it bit by bit */
    if (!same) {
        steady->doubts = true;
        steady->doubt_since_mono_ms = mono_ms;
        return STEADY_DOUBTS;
    }
    if (mono_ms - steady->doubt_since_mono_ms < STEADY_DOUBT_MS) {
        return STEADY_NOTHING;
    }
    steady->doubts = false;
    steady->offset_ms = offset_ms;
    return STEADY_JUMPS;
}

enum steady_news steady_read(struct steady *steady, int64_t wall_ms, int64_t mono_ms,
                             int64_t *ret_ms, int64_t *ret_by_ms)
{
    if (!steady->started) {
        *steady = (struct steady){
            .started = true, .offset_ms = wall_ms - mono_ms, .slewed_mono_ms = mono_ms};
    }
    const int64_t off_ms = wall_ms - mono_ms - steady->offset_ms;
    enum steady_news news = STEADY_NOTHING;
    if (off_ms > STEADY_STEP_MS || off_ms < -STEADY_FALL_MS) {
        news = doubt(steady, off_ms, mono_ms);
    } else if (steady->doubts) {
        steady->doubts = false;
        news = STEADY_RETURNS;
    } else if (off_ms < 0) {
        slew(steady, -off_ms, mono_ms);
    } else {
        steady->offset_ms += off_ms;
    }
    if (off_ms >= 0 || steady->doubts || news != STEADY_NOTHING) {
        steady->slewed_mono_ms = mono_ms;
    }
    *ret_by_ms = off_ms;
    *ret_ms = mono_ms + steady->offset_ms;
    return news;
}

int64_t steady_next_mono_ms(const struct steady *steady)
{
    return steady->doubts ? steady->doubt_since_mono_ms + STEADY_DOUBT_MS : INT64_MAX;
}
