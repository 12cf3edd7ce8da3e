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
 *     ▲                     │ lost                │ ▲ failed          │
 *     └─────────────────────┘                     ▼ │ (pause)         │ fenced
 *     ▲                                         WAITING               ▼
 *     └────────── the record names another ◄────────────────────── DOUBTED ──it names this node──► OPENING
 *
 * Rules      A shard is claimed only if the newest map that was read has it, its record names
 *            nobody who is a member, and the assignment gives it to this node. It is opened only
 *            when it was claimed, and then expects the writer that was read before the claim, so
 *            that a node which stood still in between fences nobody. A shard that was fenced is
 *            opened again only if its record, read afterwards, still names this node. A node that
 *            lapsed serves what it has, claims nothing and releases nothing. A record is released
 *            only after the shard is closed. An opening that failed is tried again after a pause.
 *            Nobody gives up what he serves so that another may have it.
 * Units      _ms of a clock that never steps.
 * Ownership  the options' strings are copied.
 * Threads    one at a time.
 * Limits     CLUSTER_SHARDS_MAX shards, CLUSTER_MEMBERS_MAX members (more are not seen),
 *            CLUSTER_TAKEOVERS_MAX of dead members' shards on their way at a time,
 *            CLUSTER_RACES_MAX lost races for the first map.
 */
#ifndef SILO_CLUSTER_CLUSTER_H
#define SILO_CLUSTER_CLUSTER_H

#include "cluster/event.h"
#include "cluster/map.h"
#include "directory/directory.h"

#define CLUSTER_MEMBERS_MAX 256u
#define CLUSTER_TAKEOVERS_MAX 16u
#define CLUSTER_RACES_MAX 16u
#define CLUSTER_OPEN_RETRY_MS_MIN 500 /* wait before a shard is opened again, doubled each time */
#define CLUSTER_OPEN_RETRY_MS_MAX 30000
#define CLUSTER_CLAIM_RETRY_MS 100 /* after a claim that was lost */

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
/* When a shard is opened again after its opening failed; INT64_MAX: it does not wait for that. */
int64_t cluster_retry_mono_ms(const struct cluster *cluster, const struct uuid *shard);

#endif
