/*
 * service/hold.h - what waits on a loop for a shard that comes or goes: calls that met it so, and
 * requests that it sent away.
 *
 *   svc_route: HOLD ──► held ──the shard is open here──────────► the call's method runs anew
 *                         ├────another node has it, or it failed─► so it does, and its caller is told
 *                         └────time is up, or the caller left──► UNAVAILABLE, CANCELLED
 *
 * Whenever the directory is newer, or a shard opened or failed, each loop looks at what it holds:
 * first at calls that keep or end running work, last at those that only wait, and at HOLD_SLICE at
 * a time, so that its other calls have their turns in between.
 *
 * What is held is counted by shard and for the process, so that a shard that does not come takes
 * nothing from the others: with the bound reached the next call is told at once what it would have
 * been told at the end of its time. A call counts once, however many of its requests wait. Of every
 * bound a quarter is kept for calls that keep or end running work.
 *
 * Units      _us: the loop's clock; bytes: of the request and what was made of it.
 * Ownership  what waits lies in its call's arena.
 * Threads    the call's loop, but for the book, which has a lock: it is taken when something begins
 *            or ends to be held, and never on the way of other calls.
 */
#ifndef SILO_SERVICE_HOLD_H
#define SILO_SERVICE_HOLD_H

#include <pthread.h>

#include "base/list.h"
#include "base/map.h"
#include "base/uuid.h"
#include "shard/shard.h"

/* A call or request waits so long at most, and no longer than to 100 ms before its deadline. */
#define HOLD_MS_MAX 5000
#ifndef HELD_CALLS_SHARD_MAX /* a test may set less, here and below */
#define HELD_CALLS_SHARD_MAX 4096u
#endif
#define HELD_BYTES_SHARD_MAX (64u << 20)
#ifndef HELD_CALLS_MAX
#define HELD_CALLS_MAX 16384u /* of the process, here and below */
#endif
#define HELD_BYTES_MAX (256u << 20)
#define HOLD_SLICE 256u /* looked at in one turn of the loop */

struct call;
struct route;
struct service;
struct service_loop;

/* In which order they are looked at. */
enum hold_rank {
    HOLD_URGENT, /* keeps or ends running work */
    HOLD_WORK,
    HOLD_WAITS, /* would wait in the shard, too */
    HOLD_RANKS
};

/* Something that waits. */
struct hold {
    struct list_node node;    /* in the loop's lists */
    struct list_node of_call; /* in those of its call */
    enum hold_rank rank;
    struct call *call;
    /* Something has changed: look again. It ends when the caller has left. */
    void (*news)(struct hold *hold);
};

struct held_count {
    size_t calls, bytes;
};

/* What the process holds. Zeros are empty, but for the lock. */
struct hold_book {
    pthread_mutex_t lock;
    struct map shards; /* struct held_shard */
    struct held_count all;
};

void hold_book_init(struct hold_book *book);
/* Nothing is held any more. */
void hold_book_deinit(struct hold_book *book);

/*
 * Waits for news about the shard. False: there is no room, or the storage is away, which no move of
 * a shard ends.
 */
bool hold_begin(struct hold *hold, struct call *call, enum hold_rank rank, const struct uuid *shard,
                void (*news)(struct hold *hold));
/* No-op for what is not held. */
void hold_end(struct hold *hold);
bool hold_is_on(const struct hold *hold);
enum hold_rank hold_rank_of(enum command_kind kind);

/* The lists of a loop. */
void holds_init(struct service_loop *loop);
/* There is news: all are looked at, in this turn and the next ones. */
void holds_news(struct service_loop *loop);

/*
 * The call waits and its method runs anew when it need not wait any more; or it is answered with
 * what the route says. Touch it no more.
 */
void svc_hold(struct call *call, const struct uuid *shard, const struct route *route);

#endif
