/*
 * gather/gather.h - a read of many shards as one: whom to ask next, for how much, and where it
 * stands. Pure: who asks, and how, is the caller's.
 *
 *     gather_init -> gather_resume -> { gather_next -> ask -> gather_page | gather_failed }...
 *                 -> gather_over -> gather_deinit
 *
 * Each shard is read page after page, GATHER_OPEN_MAX shards at a time, in the order of their
 * ranges. A page is asked for by itself, with the position where the last one ended: so nothing is
 * read that nobody has room for, and a shard that moves meanwhile is read on by its next owner, at
 * a later moment.
 *
 * A limit of rows is kept without throwing rows away: what is asked for at a time is taken out of
 * what is left, and what a page did not bring is put back.
 *
 * A shard that fails is asked again, until it has brought nothing for the caller's patience; then
 * it is given up, and the caller says so, with the cursor of what is left of it.
 *
 * A cursor has the shards that are open, with their positions, and the first that is not: those
 * before it are done. It is good for the same question alone, whose number it carries.
 *
 * Units      _us microseconds of any clock that does not go back.
 * Ownership  the list of shards is lent; positions are copied.
 * Threads    one.
 * Limits     the constants below.
 */
#ifndef SILO_GATHER_GATHER_H
#define SILO_GATHER_GATHER_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/rc.h"
#include "base/uuid.h"

#define GATHER_OPEN_MAX 8u               /* shards of one read that are asked at a time */
#define GATHER_PAGE_ROWS_MAX 1000u       /* asked for at a time */
#define GATHER_POSITION_BYTES_MAX 70000u /* a key of the engine, and what says which list it is */
#define GATHER_NONE SIZE_MAX

/* One to be read. */
struct gather_shard {
    struct uuid id;
    uint64_t start; /* of its range: shards are read in the order of it, then of the id */
};

enum gather_state {
    GATHER_FREE,
    GATHER_READY, /* to be asked */
    GATHER_ASKED,
    GATHER_WAITS, /* to be asked again, at again_us */
    GATHER_LOST,  /* given up, and the caller has not said so yet */
};

/* One of those that are open. */
struct gather_slot {
    enum gather_state state;
    struct uuid id;
    struct buf position; /* where its next page begins; empty: at the beginning */
    uint32_t rows;       /* asked for */
    int64_t since_us;    /* it has brought nothing since */
    int64_t again_us;
};

struct gather {
    const struct gather_shard *shards; /* sorted */
    size_t count;
    size_t next;       /* of the shards: the first that is not open yet */
    uint64_t question; /* number of it */
    uint64_t left;     /* rows that may still be asked for */
    uint64_t rows;     /* brought */
    size_t done, lost; /* shards */
    struct gather_slot slots[GATHER_OPEN_MAX];
};

/*
 * Sorts the shards, and drops those named twice. `limit`: rows at most; 0 = no limit. gather_deinit
 * after it.
 */
void gather_init(struct gather *gather, struct gather_shard *shards, size_t count,
                 uint64_t question, uint64_t limit);
void gather_deinit(struct gather *gather);
/*
 * Goes on where a cursor says; empty bytes: from the beginning. Right after gather_init.
 * SILO_INVALID for what is none of this question. A shard of the cursor that is not among the
 * shards is open all the same: whoever asks for it finds out.
 */
SILO_RC gather_resume(struct gather *gather, struct bytes cursor, struct silo_err *err);

/*
 * The slot to be asked now, for its `rows` from its `position` on; it counts as asked then.
 * GATHER_NONE: none now.
 */
size_t gather_next(struct gather *gather, int64_t now_us);
/* When one that waits is to be asked; INT64_MAX: none waits. */
int64_t gather_wake_us(const struct gather *gather);
/*
 * The page that the slot was asked for: at most as many rows as were wanted. `position` empty: the
 * shard is at its end, and the slot is free.
 */
void gather_page(struct gather *gather, size_t slot, uint32_t rows, struct bytes position);
/*
 * It could not be had. True: the shard is given up, since asking it again at again_us (INT64_MAX:
 * that is useless) would be after the patience that began with its last page.
 */
bool gather_failed(struct gather *gather, size_t slot, int64_t again_us, int64_t patience_us);
/* The caller has said that it was given up: the slot is free. */
void gather_drop(struct gather *gather, size_t slot);

/* All is read, or the limit is reached, and nothing is asked any more. */
bool gather_over(const struct gather *gather);
/* Whether shards are asked at the moment. */
bool gather_asks(const struct gather *gather);
/* Where the whole goes on; in the arena. Empty: nothing is left. */
struct bytes gather_cursor(const struct gather *gather, struct arena *arena);
/* Where what is left of one slot's shard, and nothing else, goes on. */
struct bytes gather_cursor_of(const struct gather *gather, size_t slot, struct arena *arena);

#endif
