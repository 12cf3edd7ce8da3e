/*
 * cluster/event.h - what the cluster is told, and what it asks for: the words that `cluster`, the
 * backends of `coord` and the node driver have in common.
 *
 * Words      member: a node that is alive as far as the coordinator knows. Owner record: "this
 *            shard belongs to that node", kept by the coordinator, and it does not expire. Epoch: a
 *            number of that record which changes whenever its holder does. Writer: the epoch of the
 *            newest writer of a shard's database, which the storage engine counts.
 * Ownership  everything in an event or an action is lent: an event's for the call it is passed to,
 *            an action's until the next call of any function of the same cluster.
 * Threads    no shared state.
 * Limits     CLUSTER_MEMBERS_MAX members: more are not seen.
 */
#ifndef SILO_CLUSTER_EVENT_H
#define SILO_CLUSTER_EVENT_H

#include "base/bytes.h"
#include "base/rc.h"
#include "base/shard_ref.h"
#include "base/uuid.h"

#define CLUSTER_MEMBERS_MAX 256u

/* Whoever has it is not known: without a coordinator nobody says who fenced a shard. */
#define CLUSTER_HOLDER_UNKNOWN "?"

struct cluster_shard;
struct cluster_question;

struct cluster_member {
    const char *id;
    uint64_t nonce;      /* of this life of the node: another one is another process */
    const char *address; /* as clients dial it */
    const char *const *rings;
    size_t ring_count; /* 0 = the default ring only */
    bool leaving;      /* it gives up what it has and takes nothing more */
};

struct cluster_owner {
    struct uuid shard;
    const char *holder; /* id of a node; "" = nobody */
    uint64_t epoch;     /* 0 = there is no record */
};

enum cluster_event_kind {
    /* --- from the coordinator --- */

    /* number, text: the newest map record; number 0: there is none yet. */
    EVENT_MAP,
    /* The map that was to be committed is the newest now. */
    EVENT_MAP_COMMITTED,
    /* Another record was first: read again. */
    EVENT_MAP_LOST,
    /* members: all there are, this node too while it is one. */
    EVENT_MEMBERS,
    /* owners: all records there are; what is not named has none. */
    EVENT_OWNERS,
    /* owners[0]: this record has changed. */
    EVENT_OWNER,
    /* owners[0]: the record as it is; the answer to ACTION_READ_OWNER. */
    EVENT_OWNER_READ,
    /* shard, epoch: the record names this node; the answer to ACTION_CLAIM. */
    EVENT_CLAIMED,
    /* shard: nothing changed. What was in the way comes as an event of its own. */
    EVENT_CLAIM_LOST,
    /* shard: the record does not name this node any more; the answer to ACTION_RELEASE. */
    EVENT_RELEASED,
    /* shard, epoch (the new one): the successor's record now; the answer to ACTION_HAND_OVER. */
    EVENT_HANDED_OVER,
    /* shard: it was not handed over. The successor is no member, or the record is another. */
    EVENT_HAND_OVER_LOST,
    /*
     * shard, rc, text; the answer to ACTION_FORCE_RELEASE. OK: nobody holds it. PRECONDITION: its
     * holder is a member, whose id the text is. CONFLICT: the record is another. Anything else: it
     * is not known.
     */
    EVENT_FORCED,
    /* number: the nonce of another process that is a member under this node's id. */
    EVENT_JOIN_TAKEN,
    /* This node is a member from now on; is none until it is confirmed again. */
    EVENT_CONFIRMED,
    EVENT_LAPSED,

    /* --- from the node, about a shard --- */

    /* epoch: of the newest writer of the shard's database; the answer to ACTION_READ_WRITER. */
    EVENT_WRITER,
    /* rc, text: the writer could not be read. */
    EVENT_WRITER_FAILED,
    /* ref: the shard has a place among the executors, where it is being opened. */
    EVENT_OPENING,
    /* It serves: the answer to ACTION_OPEN, or it failed and is open again by itself. */
    EVENT_OPENED,
    /* rc, text; CONFLICT: another process opened it meanwhile. */
    EVENT_OPEN_FAILED,
    /* The answer to ACTION_PREPARE. rc: not OK when closing will take as long as it takes. */
    EVENT_PREPARED,
    /*
     * empty; the answer to ACTION_CLOSE, whether it went well or not: nothing of the shard runs
     * here. Empty: its write-ahead log holds nothing that is not in the database.
     */
    EVENT_CLOSED,
    /* Another process opened an open shard's database. Nothing of the shard runs here. */
    EVENT_FENCED,

    /* --- from people --- */

    /* The node is to give up all it has: begin. */
    EVENT_LEAVE,
    /* question: kept until ACTION_ANSWER names it. */
    EVENT_QUESTION,
};

/* What each kind uses is said there. */
struct cluster_event {
    enum cluster_event_kind kind;
    struct uuid shard;
    uint64_t number;
    struct bytes text;
    uint64_t epoch;
    const struct cluster_member *members;
    size_t member_count;
    const struct cluster_owner *owners;
    size_t owner_count;
    struct shard_ref ref;
    silo_rc rc;
    bool empty;
    struct cluster_question *question;
};

enum cluster_action_kind {
    /* --- to the coordinator --- */

    /*
     * Become a member, or one again: EVENT_CONFIRMED, EVENT_MEMBERS, EVENT_OWNERS; or
     * EVENT_JOIN_TAKEN. replace: whoever is a member under this node's id is known to be dead.
     */
    ACTION_JOIN,
    /* EVENT_MAP. Later ones come by themselves where the coordinator can tell. */
    ACTION_READ_MAP,
    /* number, text: create that record, if there is none of that number. */
    ACTION_COMMIT_MAP,
    /* shard: read the record so that nothing older than the call is answered. */
    ACTION_READ_OWNER,
    /*
     * shard, expected (0: there must be no record), map: granted only if this node is a member and
     * map is the number of the newest record.
     */
    ACTION_CLAIM,
    /* shard, epoch. */
    ACTION_RELEASE,
    /*
     * shard, epoch, to: the id of the node that is to have it. Granted only while the record is of
     * that epoch and the successor is a member: EVENT_HANDED_OVER or EVENT_HAND_OVER_LOST.
     */
    ACTION_HAND_OVER,
    /*
     * shard, expected (the record's epoch), force: the record goes, unless it is another by now, or
     * its holder is a member and force is not set: EVENT_FORCED.
     */
    ACTION_FORCE_RELEASE,
    /* Others are told that this node takes nothing more. It stays a member. */
    ACTION_LEAVE,

    /* --- to the node --- */

    /* shard, settings (NULL: the map has it no more): EVENT_WRITER or EVENT_WRITER_FAILED. */
    ACTION_READ_WRITER,
    /*
     * shard, ref (none: give it a place first, EVENT_OPENING), settings, and if `guarded` expected:
     * the writer it takes over from. EVENT_OPENED or EVENT_OPEN_FAILED.
     */
    ACTION_OPEN,
    /* shard, ref: it goes on serving, and makes its close short: EVENT_PREPARED. */
    ACTION_PREPARE,
    /*
     * shard, ref: also while it is being opened, whose answer comes first then. EVENT_CLOSED.
     * moving: another node has it next, so what was not begun is left to that one.
     */
    ACTION_CLOSE,
    /* shard, ref: closed; its place can be used again. */
    ACTION_REMOVE,
    /* There is something new to read: cluster_directory. */
    ACTION_PUBLISH,
    /* rc, text: this node cannot take part, and will not be able to by itself. */
    ACTION_REFUSE,
    /* All that this node had is closed and, as far as it may, released. */
    ACTION_LEFT,
    /*
     * strict: from now on whatever shows that this node may answer for its shards must have begun
     * after the call it answers, for others may have taken them unheard.
     */
    ACTION_STRICT,
    /* question: its answer is in it, and it is its asker's again. */
    ACTION_ANSWER,
};

struct cluster_action {
    enum cluster_action_kind kind;
    struct uuid shard;
    uint64_t number;
    struct bytes text;
    uint64_t epoch, expected, map;
    bool guarded, moving, force, replace, strict;
    const char *to;
    struct shard_ref ref;
    const struct cluster_shard *settings;
    silo_rc rc;
    struct cluster_question *question;
};

#endif
