/*
 * coord/etcd/etcd_int.h - what the files of the etcd backend share.
 *
 *   etcd.c      coord.h's functions, the turn, what is told (news)
 *   session.c   a member under a lease: join, renew, lapse, leave
 *   records.c   members and owner records as far as they are known, and how new that is
 *   watch.c     what changes: one stream, resumed, or everything listed again
 *   claims.c    what is done to one owner record
 *   mirror.c    which map is the newest
 *   link.c      the way to the servers: its calls in link_call.c, the watch in link_stream.c
 *   message.c   what is said there; transactions in txn.c, keys in keys.c, members in member_text.c
 *
 * Everything runs in the turn; only the link knows a second thread.
 *
 * Rules      An answer or a change is told only if it is newer than what was told of the same
 *            record. Whatever is asked may be asked twice (link.h): each change compares the
 *            revision it rests on, and one that finds its own work done says so.
 * Units      _us of the monotonic clock, which counts suspended time; revisions as etcd counts.
 * Ownership  struct etcd owns all it lists; an ask is its own until it is answered, and ends then.
 * Threads    whoever has the turn, as coord/coord.h.
 * Limits     ETCD_RECORDS_MAX owner records, CLUSTER_MEMBERS_MAX members: more are not seen.
 */
#ifndef SILO_COORD_ETCD_INT_H
#define SILO_COORD_ETCD_INT_H

#include "base/list.h"
#include "base/map.h"
#include "coord/backend.h"
#include "coord/etcd/link.h"
#include "coord/etcd/message.h"
#include "coord/map_home.h"

#define ETCD_RECORDS_MAX (4u * CLUSTER_SHARDS_MAX) /* those of shards that are no more included */
#define ETCD_STALE_MAX 8u    /* listings in a row that are older than what is known: it is wrong */
#define ETCD_AGAIN_US 200000 /* before what did not work is tried anew */

struct etcd;

/* A question on its way to etcd, and what it is about. */
struct etcd_ask {
    struct list_node node; /* etcd.asks */
    struct etcd *etcd;
    /* False: the answer cannot be read. */
    bool (*take)(struct etcd_ask *ask, const struct etcd_answer *answer, struct arena *arena);
    uint64_t turn;  /* of the session it belongs to */
    uint32_t tries; /* of a listing: how many before it were of no use */
    struct uuid shard;
    uint64_t expected;
    bool force;
    char *text; /* malloc'd; the ask's */
};

/* An event that is to be told, with all it points to. */
struct etcd_news {
    struct list_node node;
    struct cluster_event event;
    struct arena arena;
};

/* What is known of an owner record. */
struct etcd_record {
    struct map_node node; /* etcd.records */
    struct uuid shard;
    char *holder;      /* malloc'd; "": nobody */
    uint64_t epoch;    /* 0: there is none */
    uint64_t revision; /* it was so then */
};

struct etcd_member {
    struct list_node node; /* etcd.members */
    struct arena arena;
    struct cluster_member member;
};

struct etcd_session {
    bool wanted, replace;
    bool leaving;
    bool joined;         /* the member key is there, under the lease */
    bool confirmed;      /* and it was told so */
    uint64_t joined_mod; /* the revision that put it */
    int64_t lease;       /* 0: none */
    int64_t ttl_us;      /* the lease's */
    int64_t renewed_us, renew_us;
    int64_t again_us; /* INT64_MAX: no new try is due */
    uint64_t turn;    /* counts tries: answers to older ones mean nothing */
};

struct etcd_watch {
    struct etcd_stream *stream;
    uint64_t revision; /* all changes up to it are known; 0: it was not listed yet */
    int64_t heard_us, asked_us;
    int64_t again_us;
    bool behind; /* what it missed is no longer kept: everything is being listed */
};

/* Which map etcd says is the newest, and the reading and committing of maps. */
struct etcd_mirror {
    struct map_home home;
    bool known;        /* it was listed */
    uint64_t mod;      /* of the key; 0: there is none */
    uint64_t revision; /* it was so then */
    uint64_t number;   /* of the newest map; 0: none */
    char cluster[UUID_TEXT_LEN + 1];
    enum { MIRROR_IDLE, MIRROR_READS, MIRROR_COMMITS, MIRROR_HOLDS } step;
    bool read_wanted;
    uint64_t commit_number; /* waits to be committed; 0: none */
    char *commit_text;
    size_t commit_len;
    /* HOLDS: what the store said, until etcd says the same. */
    bool held_commit, asking;
    uint64_t held_number;
    char *held_text;
    size_t held_len;
    char held_cluster[UUID_TEXT_LEN + 1];
    int64_t again_us;
    struct silo_err trouble; /* code OK: none */
};

struct etcd {
    struct coord coord;
    const struct env *env;
    struct etcd_link *link;
    int epoll; /* of the link's descriptor and the map's */
    int map_fd;
    char *prefix;
    struct arena arena; /* of self and the options */
    struct cluster_member self;
    char *hostname;
    int64_t started_ms;
    int64_t ttl_s;
    struct list asks;
    struct list news;
    struct etcd_news *lent;
    struct map records;
    size_t record_count;
    struct list members;
    size_t member_count;
    struct etcd_session session;
    struct etcd_watch watch;
    struct etcd_mirror mirror;
    bool was_member;
};

/* --- etcd.c --- */

struct etcd_news *news_add(struct etcd *etcd, enum cluster_event_kind kind);
void news_shard(struct etcd *etcd, enum cluster_event_kind kind, const struct uuid *shard,
                uint64_t epoch);
/* The rest of the ask is the caller's to fill; it ends when it is answered. */
struct etcd_ask *ask_new(struct etcd *etcd,
                         bool (*take)(struct etcd_ask *ask, const struct etcd_answer *answer,
                                      struct arena *arena));
void ask_send(struct etcd_ask *ask, enum etcd_method method, struct bytes message);
void ask_send_once(struct etcd_ask *ask, enum etcd_method method, struct bytes message);
/* All keys of the cluster. */
void ask_all(struct etcd_ask *ask);

/* --- session.c --- */

void session_join(struct etcd *etcd, bool replace);
void session_leave(struct etcd *etcd);
/* Whether this node is no member any more, by its own clock or by what was heard. */
void session_lost(struct etcd *etcd);
void session_turn(struct etcd *etcd, int64_t now_us);
int64_t session_next_us(const struct etcd *etcd);
/* When the lease of a member ends at the earliest; INT64_MIN: it is none. */
int64_t session_until_us(const struct etcd *etcd);
/* An orderly end: the lease goes at once, if etcd answers soon. */
void session_end(struct etcd *etcd);

/* --- records.c --- */

void records_init(struct etcd *etcd);
void records_deinit(struct etcd *etcd);
/* NULL: nothing is known of it. */
struct etcd_record *record_find(const struct etcd *etcd, const struct uuid *shard);
/*
 * What the record is at that revision. False, and nothing changes, when something newer is known
 * already.
 */
bool record_learn(struct etcd *etcd, const struct uuid *shard, struct bytes holder, uint64_t epoch,
                  uint64_t revision);
void record_tell(struct etcd *etcd, enum cluster_event_kind kind, const struct uuid *shard);
/*
 * Something that is known already is newer than a listing of that revision, which was asked for
 * again so many times. When it stays so, etcd was set back, and what was known is forgotten.
 */
bool records_stale(struct etcd *etcd, uint64_t revision, uint32_t tries);
/* A copy with all it points to, in the arena. */
struct cluster_member member_dup(struct arena *arena, const struct cluster_member *from);
/* Everything there is, at one revision: it is told, and what the mirror says taken. */
void records_list(struct etcd *etcd, const struct etcd_rows *rows);
void records_change(struct etcd *etcd, const struct etcd_change *changes, size_t count);
/* Whether this node's member key is among them, under this node's lease. */
bool records_have_self(const struct etcd *etcd, const struct etcd_rows *rows);

/* --- watch.c --- */

/* All up to that revision is known. */
void watch_from(struct etcd *etcd, uint64_t revision);
void watch_turn(struct etcd *etcd, int64_t now_us);
int64_t watch_next_us(const struct etcd *etcd);

/* --- claims.c --- */

void claims_claim(struct etcd *etcd, const struct uuid *shard, uint64_t expected, uint64_t map);
void claims_release(struct etcd *etcd, const struct uuid *shard, uint64_t epoch);
void claims_hand_over(struct etcd *etcd, const struct uuid *shard, uint64_t epoch, const char *to);
void claims_force(struct etcd *etcd, const struct uuid *shard, uint64_t expected, bool force);
void claims_read(struct etcd *etcd, const struct uuid *shard);

/* --- mirror.c --- */

void mirror_init(struct etcd *etcd, const struct coord_options *options);
void mirror_deinit(struct etcd *etcd);
void mirror_read(struct etcd *etcd);
void mirror_commit(struct etcd *etcd, uint64_t number, struct bytes text);
/*
 * What the key is at that revision; row NULL: there is none. What is older than what is known says
 * nothing.
 */
void mirror_learn(struct etcd *etcd, const struct etcd_row *row, uint64_t revision);
/* The same of a listing, which counts however old it is: all that comes after it is told again. */
void mirror_list(struct etcd *etcd, const struct etcd_row *row, uint64_t revision);
void mirror_turn(struct etcd *etcd, int64_t now_us);
int64_t mirror_next_us(const struct etcd *etcd);

#endif
