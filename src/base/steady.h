/*
 * base/steady.h - the wall clock as something durations can be measured by: it goes on from where
 * it was while the machine's own clock jumps, and follows that clock only when it means it.
 *
 * A machine's wall clock is set by people, by NTP and by hosts of virtual machines; now and then it
 * is an hour off for a moment. A retry of half a second that was stamped in that moment must not
 * wait the hour, and what is due in an hour must not run. So time here is the wall clock at the
 * first reading plus the monotonic time since then, corrected like this:
 *
 *   the machine's clock is                the steady clock
 *   ahead by up to STEADY_STEP_MS         follows at once
 *   behind by up to STEADY_FALL_MS        goes 10 % slower until they agree; it never goes back
 *   further off                           goes on as before; after STEADY_DOUBT_MS of the same
 *                                         distance it believes it, and jumps
 *
 * Units      ms: wall_ms since the Unix epoch, mono_ms of a clock that never steps and counts
 *            suspended time.
 * Threads    no shared state; one owner.
 */
#ifndef SILO_BASE_STEADY_H
#define SILO_BASE_STEADY_H

#include <stdbool.h>
#include <stdint.h>

#define STEADY_STEP_MS 1000
#define STEADY_FALL_MS 60000
#define STEADY_DOUBT_MS 60000

struct steady {
    bool started;
    int64_t offset_ms;      /* steady time less monotonic time */
    int64_t slewed_mono_ms; /* it went slower up to then */
    bool doubts;            /* the machine's clock is far off: */
    int64_t doubt_offset_ms, doubt_since_mono_ms;
};

/* What a reading found out. */
enum steady_news {
    STEADY_NOTHING,
    STEADY_DOUBTS,  /* the machine's clock is suddenly far off */
    STEADY_RETURNS, /* it was, and is no more */
    STEADY_JUMPS,   /* it stayed so and is believed; *ret_by_ms says how far, below 0 for back */
};

/*
 * Reads both clocks' values into steady time, in *ret_ms. Zeroed memory is a clock that was never
 * read. *ret_by_ms: how far off the machine's clock is, for every news but STEADY_NOTHING.
 */
enum steady_news steady_read(struct steady *steady, int64_t wall_ms, int64_t mono_ms,
                             int64_t *ret_ms, int64_t *ret_by_ms);
/* When a doubt ends by itself; INT64_MAX: there is none. */
int64_t steady_next_mono_ms(const struct steady *steady);

#endif
