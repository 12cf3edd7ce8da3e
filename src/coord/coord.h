/*
 * coord/coord.h - the interface to a coordinator: who is a member, who owns which shard, which map
 * is the newest.
 *
 * One struct of functions, one folder for each backend (coord/none/). A backend turns each call
 * into a compare-and-swap of its own kind and each change it hears of into an event; it decides
 * nothing. It reconnects by itself, and says that the membership lapsed instead of ending.
 *
 *     coord_new -> (calls, turn, next_event until false, wait for fd or the time it said) ...
 *               -> coord_free
 *
 * Calls return at once; what they lead to stands beside each action in cluster/event.h. A claim or
 * a hand-over whose answer was lost is the backend's to settle: it is granted or lost, never
 * unknown. A hand-over's answer comes before any other event of that record, and the record that
 * names the successor is the successor's EVENT_OWNER. Order holds: events about one shard come as
 * the records changed, and answers after what they rest on. What it is told is copied.
 *
 * Units      epochs and map numbers as in cluster/event.h; times in us of the monotonic clock.
 * Ownership  whoever made a backend frees it. An event and all it points to is lent until the next
 *            next_event.
 * Threads    one at a time, the same as the node's.
 * Limits     those of cluster/cluster.h.
 */
#ifndef SILO_COORD_COORD_H
#define SILO_COORD_COORD_H

#include "cluster/event.h"

struct coord;

struct coord_ops {
    void (*free)(struct coord *coord);
    void (*join)(struct coord *coord, bool replace);
    void (*leave)(struct coord *coord);
    void (*read_map)(struct coord *coord);
    void (*commit_map)(struct coord *coord, uint64_t number, struct bytes text);
    void (*read_owner)(struct coord *coord, const struct uuid *shard);
    void (*claim)(struct coord *coord, const struct uuid *shard, uint64_t expected, uint64_t map);
    void (*release)(struct coord *coord, const struct uuid *shard, uint64_t epoch);
    void (*hand_over)(struct coord *coord, const struct uuid *shard, uint64_t epoch,
                      const char *to);
    void (*force_release)(struct coord *coord, const struct uuid *shard, uint64_t expected,
                          bool force);
    /*
     * Takes what came and goes on with what is due. Returns when to be called again at the latest,
     * monotonic us; INT64_MAX: only when the descriptor is readable.
     */
    int64_t (*turn)(struct coord *coord);
    bool (*next_event)(struct coord *coord, struct cluster_event *ret_event);
    /*
     * How long this node is a member, whatever it hears or does not hear: nobody takes a shard from
     * it before that, monotonic us. INT64_MIN: it is none; INT64_MAX: nobody ever does.
     */
    int64_t (*until_us)(const struct coord *coord);
    /* Readable: turn it. -1: there is none, it is driven by time alone. */
    int (*fd)(const struct coord *coord);
    /*
     * OK; UNAVAILABLE while it is away, with the newest reason: it goes on by itself; any other
     * code: it will not.
     */
    silo_rc (*check)(const struct coord *coord, struct silo_err *err);
};

/* Every backend's struct begins with this. */
struct coord {
    const struct coord_ops *ops;
};

/* NULL is fine. Returns NULL. */
static inline struct coord *coord_free(struct coord *coord)
{
    if (coord != NULL) {
        coord->ops->free(coord);
    }
    return NULL;
}

#endif
