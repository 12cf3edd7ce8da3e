/*
 * sim/coordinator.h - a model of a coordinator, with the semantics of etcd: one number counts all
 * changes, members live under leases, a shard's owner record is put by a transaction that compares
 * what it rests on, and whoever watches hears of every change in order, some time later, or that
 * what he has not heard was compacted away.
 *
 *     member ──ask, late or lost──► coordinator_ask ──answer, late or lost──► member
 *     change ──► log ──watch: lags, breaks, resumes at its revision or lists again──► member
 *
 * This file is the server; sim/coord_member.h is how a process talks to it.
 *
 * Units      _us of the world's clock. A record's epoch is the revision at which it was put.
 * Ownership  the coordinator owns members, records, map and log; an answer lends from them until
 *            the next ask.
 * Threads    one.
 * Limits     COORDINATOR_MEMBERS_MAX, COORDINATOR_SHARDS_MAX.
 */
#ifndef SILO_SIM_COORDINATOR_H
#define SILO_SIM_COORDINATOR_H

#include "base/bytes.h"
#include "base/list.h"
#include "base/uuid.h"
#include "sim/basics.h"

#define COORDINATOR_MEMBERS_MAX 8u
#define COORDINATOR_SHARDS_MAX 8u
#define COORDINATOR_ID_MAX 16
#define COORDINATOR_TTL_US 3000000 /* a member that is silent for so long is gone */

struct coordinator_member {
    char id[COORDINATOR_ID_MAX];
    uint64_t nonce;
    bool leaving;
    int64_t until_us; /* its lease */
};

struct coordinator_owner {
    struct uuid shard;
    char holder[COORDINATOR_ID_MAX]; /* "": there is no record */
    uint64_t epoch;                  /* 0: the same */
};

enum coordinator_what { CHANGED_MEMBERS, CHANGED_OWNER, CHANGED_MAP };
struct coordinator_change {
    uint64_t revision;
    enum coordinator_what what;
    bool gone; /* of a member */
    struct coordinator_member member;
    struct coordinator_owner owner;
};

enum coordinator_question {
    ASK_JOIN,    /* put the member under a fresh lease, unless another life of it is there */
    ASK_RENEW,   /* the lease */
    ASK_LEAVING, /* say that it takes nothing more */
    ASK_LIST,    /* everything there is, at one revision */
    ASK_OWNER,   /* one record */
    ASK_CLAIM,
    ASK_RELEASE,
    ASK_HAND_OVER, /* the record to another member */
    ASK_FORCE,     /* the record away from whoever it names */
    ASK_MAP_PUT,
};

struct coordinator_ask {
    enum coordinator_question question;
    char id[COORDINATOR_ID_MAX]; /* of the member that asks, and its nonce */
    uint64_t nonce;
    struct uuid shard;
    uint64_t expected; /* of CLAIM and all that follow: the record's epoch; 0: there is none */
    char to[COORDINATOR_ID_MAX]; /* HAND_OVER */
    bool force;                  /* FORCE: though it names a member */
    bool replace;                /* JOIN: whoever is a member under this id is known to be dead */
    uint64_t map;                /* CLAIM: the newest map; MAP_PUT: the one to be put */
    struct bytes text;           /* MAP_PUT */
};

/* Everything there is: members, records, map. */
struct coordinator_state {
    uint64_t revision;
    struct coordinator_member members[COORDINATOR_MEMBERS_MAX];
    size_t member_count;
    struct coordinator_owner owners[COORDINATOR_SHARDS_MAX]; /* that were put at some time */
    size_t owner_count;
    uint64_t map_number;
    char *map_text; /* malloced; NULL: none */
};

struct coordinator_answer {
    bool done;                      /* what was asked for holds now */
    bool member;                    /* the asking member is one, by its nonce */
    uint64_t taken;                 /* JOIN, not done: the nonce of who is a member under its id */
    struct coordinator_owner owner; /* of questions about one: the record as it is */
    const struct coordinator_state *state;
};

struct coordinator {
    struct events *events;
    struct sim_random *random;
    struct trace *trace;
    const int64_t *now_us;
    struct coordinator_state state;
    struct coordinator_change *changes; /* oldest first */
    size_t change_count, change_cap;
    uint64_t compacted; /* changes up to it are no longer told */
    struct event expiry;
    struct list watchers; /* struct coord_member.node */
    bool away;            /* it answers nobody, and no lease ends */
    /* A record was put, or gone. */
    void (*on_owner)(struct coordinator *coordinator, const struct coordinator_owner *owner);
    /* A record was read, or put, that names the member who asked: the one with this nonce. */
    void (*on_named)(struct coordinator *coordinator, uint64_t nonce, const struct uuid *shard);
    void *context;
};

void coordinator_init(struct coordinator *coordinator);
void coordinator_deinit(struct coordinator *coordinator);
void coordinator_ask(struct coordinator *coordinator, const struct coordinator_ask *ask,
                     struct coordinator_answer *ret_answer);
const struct coordinator_owner *coordinator_owner(const struct coordinator *coordinator,
                                                  const struct uuid *shard);
const struct coordinator_member *coordinator_member(const struct coordinator *coordinator,
                                                    const char *id);

/* --- what goes wrong --- */

/* All but the last `kept` changes are forgotten: who is further behind must list again. */
void coordinator_compact(struct coordinator *coordinator, size_t kept);
void coordinator_goes(struct coordinator *coordinator);
/* It is back; leases begin anew, or, `revoked`, all ended at once. */
void coordinator_returns(struct coordinator *coordinator, bool revoked);

#endif
