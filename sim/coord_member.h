/*
 * sim/coord_member.h - a process's way to the coordinator: the backend of coord/coord.h by which
 * its node talks to it.
 *
 * Questions travel both ways, late, and are lost when the process is cut off or by chance. What is
 * not answered in time is asked again, and a claim is settled first: one question about member and
 * record tells whether it was granted. The lease is renewed each second. One watch brings all
 * changes in order; when it breaks it resumes at its revision, or, when that was compacted away,
 * everything is listed again.
 *
 * Everything that arrives waits for a turn, so that a process which stands still hears nothing.
 *
 * Units      _us of the world's clock.
 * Ownership  the coordinator is lent. coord_free breaks all that is on its way.
 * Threads    one.
 */
#ifndef SILO_SIM_COORD_MEMBER_H
#define SILO_SIM_COORD_MEMBER_H

#include "coord/coord.h"
#include "sim/coordinator.h"

#define MEMBER_RENEW_US 1000000
#define MEMBER_PATIENCE_US 1200000 /* a question that is not answered by then is asked again */

struct coord_member {
    struct coord coord;    /* first */
    struct list_node node; /* coordinator.watchers */
    struct coordinator *coordinator;
    char id[COORDINATOR_ID_MAX];
    uint64_t nonce;
    int64_t ahead_us;
    bool cut;       /* off from the coordinator */
    bool wanted;    /* it was told to join */
    bool replace;   /* whoever is a member under its id */
    bool joined;    /* it has a lease, as far as it knows */
    bool confirmed; /* and has told so */
    bool lapsed;    /* whoever turns it was told that it is no member, and not yet the contrary */
    int64_t lapsed_us;   /* when */
    int64_t renewed_us;  /* the last renewal that was answered was asked for then */
    int64_t renew_us;    /* the next one */
    struct list asked;   /* struct question.node, oldest first: not settled */
    struct list arrived; /* struct parcel.node: what waits for a turn */
    struct list told;    /* struct told.node, oldest first: events */
    struct told *lent;
    bool watching;
    uint64_t watched; /* all changes up to it arrived */
    struct event watch;
    struct coordinator_member members[COORDINATOR_MEMBERS_MAX]; /* as the watch says */
    size_t member_count;
    struct {
        struct uuid shard;
        uint64_t revision; /* what was told of its record is no older */
    } records[COORDINATOR_SHARDS_MAX];
    size_t record_count;
    /* Before it is asked for; may be NULL. */
    void (*on_claim)(struct coord_member *member, const struct uuid *shard);
    void (*on_release)(struct coord_member *member, const struct uuid *shard);
    void (*on_force)(struct coord_member *member, const struct uuid *shard, bool force);
    void *context;
};

/* ahead_us: of the process's clock, before the world's. */
struct coord_member *coord_member_new(struct coordinator *coordinator, const char *id,
                                      uint64_t nonce, int64_t ahead_us);
/* Changes were made: their watches will hear of them. */
void coord_members_watch(struct coordinator *coordinator);
/* When its lease ends at the earliest, as far as it knows, by the world's clock. */
int64_t coord_member_until_us(const struct coord_member *member);
/* Something waits for a turn. */
bool coord_member_due(const struct coord_member *member);

#endif
