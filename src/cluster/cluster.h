/*
 * cluster/cluster.h - which shards this node should serve: a deterministic function, like the core.
 *
 *     cluster_new -> (cluster_set_time, cluster_event ..., cluster_action_next until false,
 *                     sleep until cluster_next_mono_ms) ... -> cluster_free
 *
 * Events and the time go in, actions come out; there is no I/O, clock, thread or log. The same
 * events at the same times give the same actions.
 *
 *   IDLE ──free, mine──► CLAIMING ──claimed──► OPENING ──opened──► OPEN ──leave, lost──► CLOSING ──► RELEASING ──► IDLE
 *     ▲                     │ lost                │ ▲ failed        │  │                   ▲    └──► HANDING ────► IDLE
 *     ├─────────────────────┘                     ▼ │ (pause)       │  └──► PREPARING ─────┘
 *     │                                         WAITING             │ fenced
 *     │                                                             ▼
 *     └────────── the record names another ◄────────────────────── DOUBTED ──it names this one──► CLAIMING
 *                                   the record names this node ────────┘
 *
 * Rules      A shard is claimed only if the newest map that was read has it, its record names
 *            nobody who is a member, and the assignment gives it to this node. It is opened only
 *            when it was claimed, and then expects the writer that was read before that, so that a
 *            node which stood still in between fences nobody. A shard that was fenced, or was
 *            given, is opened only if its record, read afterwards, names this node, and is claimed
 *            even so: another process may have the node's name by then, and only the member itself
 *            can claim. A node that lapsed serves what it has, claims nothing and gives nothing up.
 *            A record is released or handed over only after the shard is closed. An opening that
 *            failed is tried again after a pause. What is assigned to another member is handed over
 *            to it, when all shards have an owner and nothing has changed for CLUSTER_QUIET_MS; who
 *            leaves hands everything over at once. A shard that no member may have stays where it
 *            is.
 * Units      _ms of a clock that never steps.
 * Ownership  the options' strings are copied.
 * Threads    one at a time.
 * Limits     CLUSTER_SHARDS_MAX shards, CLUSTER_MEMBERS_MAX members (more are not seen),
 *            CLUSTER_TAKEOVERS_MAX of dead members' shards on their way at a time,
 *            CLUSTER_RACES_MAX lost races for a map, CLUSTER_MOVES_MAX shards on their way to
 *            other members, CLUSTER_DRAINS_MAX when the node leaves, CLUSTER_QUESTIONS_MAX.
 */
#ifndef SILO_CLUSTER_CLUSTER_H
#define SILO_CLUSTER_CLUSTER_H

#include "cluster/event.h"
#include "cluster/map.h"
#include "directory/directory.h"

#define CLUSTER_TAKEOVERS_MAX 16u
#define CLUSTER_RACES_MAX 16u
#define CLUSTER_OPEN_RETRY_MS_MIN 500 /* wait before a shard is opened again, doubled each time */
#define CLUSTER_OPEN_RETRY_MS_MAX 30000
#define CLUSTER_CLAIM_RETRY_MS 100    /* after a claim that was lost */
#define CLUSTER_MOVES_MAX 4u          /* given away at a time by a member that stays */
#define CLUSTER_DRAINS_MAX 16u        /* by one that leaves */
#define CLUSTER_QUIET_MS 3000         /* nothing has changed for so long before anything moves */
#define CLUSTER_PREPARE_MS 10000      /* for a shard to prepare; then it is closed as it is */
#define CLUSTER_LEAVE_MS 10000        /* for all of them when the node leaves */
#define CLUSTER_GIVE_RETRY_MS 3000    /* after a lost hand-over, doubled up to 32 times it */
#define CLUSTER_PINNED_RETRY_MS 30000 /* after a close that left something in a pinned log */
#define CLUSTER_FORCED_PAUSE_MS 3000  /* before what was taken from here is claimed back */
#define CLUSTER_RETIRED_RETRY_MS 30000
#define CLUSTER_REJOIN_MS 500     /* between tries while the node's id is taken */
#define CLUSTER_TAKEN_MS 1000     /* longer than a lease it may not be taken */
#define CLUSTER_QUESTION_MS 10000 /* then a question is answered, whatever comes of it */

struct cluster;

struct cluster_options {
    struct cluster_member self; /* leaving is not looked at */
    struct cluster_settings settings;
    uint8_t seed[CLUSTER_SEED_BYTES]; /* random: ids of a new cluster */
    /*
     * Others may have a shard open: openings say which writer they take over from. Without a
     * coordinator whoever starts takes all.
     */
    bool guarded;
    /* How long a member may be silent: many that vanish at once are waited for that long. */
    int64_t ttl_ms;
    /* Whoever is a member under this node's id is known to be dead: nobody waits for its lease. */
    bool replaces;
};

/* What a life of the node has seen. */
struct cluster_counts {
    uint64_t moves_begun;     /* shards that were to be given to a member */
    uint64_t handed_over;     /* and were */
    uint64_t hand_overs_lost; /* the coordinator did not grant it */
    uint64_t given;           /* records that came to name this node without a claim */
    uint64_t takeovers;       /* claims of dead members' shards that were granted */
    uint64_t claims_lost;
};

struct cluster *cluster_new(const struct cluster_options *options, int64_t now_mono_ms);
/* NULL is fine. Returns NULL. */
struct cluster *cluster_free(struct cluster *cluster);

/* Never falls. */
void cluster_set_time(struct cluster *cluster, int64_t now_mono_ms);
void cluster_event(struct cluster *cluster, const struct cluster_event *event);
/* The next thing to do, in this order; false: nothing until an event or the time below. */
bool cluster_action_next(struct cluster *cluster, struct cluster_action *ret_action);
/* When time alone brings an action; INT64_MAX: never. */
int64_t cluster_next_mono_ms(const struct cluster *cluster);

/* The newest map that was read and accepted; NULL before the first. Lent until the next event. */
const struct cluster_map *cluster_map(const struct cluster *cluster);
/* Whether this node made the map. */
bool cluster_created(const struct cluster *cluster);
/* Where every shard is now, with one reference. NULL before the first map. */
struct directory *cluster_directory(const struct cluster *cluster);
struct cluster_counts cluster_counts(const struct cluster *cluster);
/* When a shard is opened again after its opening failed; INT64_MAX: it does not wait for that. */
int64_t cluster_retry_mono_ms(const struct cluster *cluster, const struct uuid *shard);

#endif
