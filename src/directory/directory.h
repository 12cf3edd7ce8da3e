/*
 * directory/directory.h - where every shard of the cluster is, as this node knows it: a table that
 * never changes, and how the next one takes its place.
 *
 *     node:          directory_builder_init -> _node, _self, _shard ... -> _finish
 *                    -> directory_publish
 *     each reader:   directory_reader_init -> directory_read ... -> directory_reader_deinit
 *
 * A reader keeps a reference of its own. directory_read compares one atomic number with the one the
 * reader saw last, and takes the lock of the home only when they differ, so that nothing on a
 * call's way waits or walks a list: shards are found by binary search, by id and by tenant.
 *
 * Units      bounds of ranges: hashes of tenants (codec/key.h), as a number and as the 16 hex
 *            digits of the wire; "" = unbounded.
 * Ownership  a table owns all it points to and is counted: the home holds one reference, each
 *            reader one. What directory_read lends lives until the same reader's next read.
 * Threads    a home: any. A builder, a reader: one at a time. A published table: any, read only.
 * Limits     DIRECTORY_SHARDS_MAX shards in service and as many retired ones.
 */
#ifndef SILO_DIRECTORY_DIRECTORY_H
#define SILO_DIRECTORY_DIRECTORY_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/shard_ref.h"
#include "base/uuid.h"
#include "codec/key.h"

#define DIRECTORY_SHARDS_MAX SHARDS_MAX
#define DIRECTORY_BOUND_LEN 16
#define DIRECTORY_NO_NODE UINT32_MAX
#define DIRECTORY_RING_DEFAULT "default" /* what a node's list calls the default ring */

enum directory_place {
    PLACE_HERE,       /* this process: ref */
    PLACE_NODE,       /* another node: node */
    PLACE_MOVING,     /* on its way to a node, another one or this one: node */
    PLACE_SPLITTING,  /* here, being cut in two: ref */
    PLACE_STRANDED,   /* its write-ahead log lies with a node that is away: holder */
    PLACE_RETIRED,    /* split: heirs have its tenants */
    PLACE_UNASSIGNED, /* nobody serves it yet */
};

struct directory_node {
    const char *id;
    const char *address; /* as clients dial it */
    const char *const *rings;
    size_t ring_count; /* 0 = the default ring only */
    bool leaving;      /* it gives up what it has and takes nothing more */
};

struct directory_shard {
    struct uuid id;
    char id_text[UUID_TEXT_LEN + 1];
    char range_start[DIRECTORY_BOUND_LEN + 1], range_end[DIRECTORY_BOUND_LEN + 1];
    enum dispatch_order order;
    const char *ring; /* of nodes that may have it; NULL = the default ring */
    enum directory_place place;
    struct shard_ref ref;     /* HERE, SPLITTING; else SHARD_REF_NONE */
    uint32_t node;            /* NODE, MOVING: of the table's nodes; else DIRECTORY_NO_NODE */
    const char *holder;       /* STRANDED: id of the node; else NULL */
    const struct uuid *heirs; /* RETIRED */
    size_t heir_count;
    /* The builder's: the range as numbers. hash_end counts only when there is an end. */
    uint64_t hash_start, hash_end;
};

struct directory {
    atomic_size_t references;
    struct arena arena;
    uint64_t version;    /* 1 for the first that a home publishes, and so on */
    uint64_t map_number; /* of the map record it was made from; 0: not said */
    struct uuid cluster_id;
    const struct directory_node *nodes;
    size_t node_count;
    uint32_t self; /* this node, of the nodes; DIRECTORY_NO_NODE: not among them */
    /* Those in service, by the starts of their ranges. */
    const struct directory_shard *const *shards;
    size_t shard_count;
    /* All, the retired ones too, by id. */
    const struct directory_shard *by_id;
    size_t id_count;
};

/* NULL when there is no such shard. */
const struct directory_shard *directory_find(const struct directory *directory,
                                             const struct uuid *id);
/* The shard in service whose range has that hash; NULL when none has. */
const struct directory_shard *directory_find_hash(const struct directory *directory, uint64_t hash);
/* Whether the hash lies in the shard's range. */
bool directory_shard_owns(const struct directory_shard *shard, uint64_t hash);
/* Whether the shard is one of this process; else its ref says nothing. */
bool directory_shard_here(const struct directory_shard *shard);
/* Whether a node may have shards of that ring (NULL: the default one). */
bool directory_node_in_ring(const struct directory_node *node, const char *ring);

struct directory *directory_ref(const struct directory *directory);
/* NULL is fine. Returns NULL. */
struct directory *directory_unref(const struct directory *directory);

/* --- making one --- */

struct directory_builder {
    struct directory *directory;
    struct directory_node *nodes;
    struct directory_shard *shards;
    size_t node_cap, shard_cap;
};

void directory_builder_init(struct directory_builder *builder, const struct uuid *cluster_id);
/* Copies the node and returns its index. */
uint32_t directory_builder_node(struct directory_builder *builder,
                                const struct directory_node *node);
void directory_builder_self(struct directory_builder *builder, uint32_t node);
void directory_builder_map(struct directory_builder *builder, uint64_t map_number);
/*
 * Copies the shard. Its id must not be there yet, its bounds are "" or 16 hex digits; id_text and
 * the range's numbers are the builder's to fill.
 */
void directory_builder_shard(struct directory_builder *builder,
                             const struct directory_shard *shard);
/* The table with one reference; the builder is empty then. */
struct directory *directory_builder_finish(struct directory_builder *builder);

/* --- publishing and reading --- */

struct directory_home {
    pthread_mutex_t lock; /* guards current and readers */
    struct directory *current;
    struct list readers; /* directory_reader.node */
    /* Of current; written with the lock, released to the acquire of directory_read. */
    atomic_uint_fast64_t version;
};

/* With an empty table of version 0. */
void directory_home_init(struct directory_home *home);
/* All readers must be gone. */
void directory_home_deinit(struct directory_home *home);
/*
 * Takes the table's reference, gives it the next version and puts it in the place of the current
 * one; then wakes the readers. Tables of one home are published by one thread.
 */
void directory_publish(struct directory_home *home, struct directory *directory);
/* Of the current table. */
uint64_t directory_home_version(const struct directory_home *home);

struct directory_reader {
    struct directory_home *home;
    struct directory *own;
    struct list_node node;
    /* May be NULL. Called by the publishing thread, at most once between two reads. */
    void (*wake)(void *context);
    void *context;
    /* Set by the publisher that wakes, cleared by a read that renews; both with the lock. */
    bool woken;
};

void directory_reader_init(struct directory_reader *reader, struct directory_home *home,
                           void (*wake)(void *context), void *context);
void directory_reader_deinit(struct directory_reader *reader);
/* The newest table, lent until the next call for this reader. */
const struct directory *directory_read(struct directory_reader *reader);

#endif
