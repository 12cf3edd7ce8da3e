/*
 * coord/behaviour/world_test.h - what every coordinator has to do, as tests that know only
 * coord/coord.h: the cases, and the world they run in.
 *
 * A world makes coordinators that know each other, and lets time pass. Whoever has another backend,
 * or a model of one, fills a struct world and calls behaviour_run.
 *
 * Units      _ms milliseconds of the world's clock.
 * Ownership  a case frees what it was made; what a world has beside is its own.
 * Threads    one.
 */
#ifndef SILO_COORD_BEHAVIOUR_WORLD_TEST_H
#define SILO_COORD_BEHAVIOUR_WORLD_TEST_H

#include "coord/coord.h"

struct world {
    const char *name;
    int64_t ttl_ms;
    int64_t wait_ms; /* for what has to come, before a case fails */
    /* There can be several members. A case that needs them is left out otherwise. */
    bool several;
    /*
     * It is a model: members have no addresses or rings, one id is one process already, and one
     * that lapsed joins again unasked.
     */
    bool plain;
    /* A coordinator for a member of that id; cases are told apart by a number of their own. */
    struct coord *(*member)(struct world *world, uint32_t number, const char *id, uint64_t nonce);
    /* Lets a little time pass, and what is on its way arrive. */
    void (*step)(struct world *world, struct coord *const *coords, size_t count);
    int64_t (*now_ms)(struct world *world);
    /*
     * Something happens to the coordinator's servers; NULL: they are not to be had. "pause",
     * "resume", "kill" (their data stays), "start", "compact" (all history up to now), "end-leases"
     * (all of them, as a leader that stood still may).
     */
    void (*command)(struct world *world, const char *command);
    /* The answer to the next transaction is lost after it was carried out; NULL: it cannot be. */
    void (*lose)(struct world *world);
    /* The answer to the next transaction stays on its way until it is let go. Both as lose. */
    void (*keep)(struct world *world);
    void (*let)(struct world *world);
};

/* Whether there is such a case, and the world can do what it needs. */
bool behaviour_has(const struct world *world, const char *name);
/* Runs all cases, or that one; the number of those that failed. */
int behaviour_run(struct world *world, const char *only);

#endif
