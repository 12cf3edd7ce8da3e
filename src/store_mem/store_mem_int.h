/*
 * store_mem/store_mem_int.h - what the files of the in-memory store share.
 *
 *   store_mem.c  the calls of store.h: check, enqueue
 *   image.c      the data of a database: applied and durable state, views of it
 *   handle.c     life and death of handles, operations and events
 *   run.c        which operation completes next, and what that does
 *   object.c     the same for the object calls
 *   clone.c      databases out of databases
 *   control.c    the calls of store_mem.h
 *
 * Ownership  store: databases, paths, operations. path and db each hold a reference of an image.
 *            Views (iterators, snapshots, pending reads) hold an image each and, for iterators and
 *            snapshots, a reference of the db.
 * Threads    every function here wants the store's lock held.
 */
#ifndef SILO_STORE_MEM_STORE_MEM_INT_H
#define SILO_STORE_MEM_STORE_MEM_INT_H

#include <pthread.h>

#include "base/assert.h"
#include "base/list.h"
#include "store_mem/ordered_rows.h"
#include "store_mem/store_mem.h"

/* The state of a database as one owner sees it. */
struct mem_image {
    uint32_t refs;
    struct ordered_rows *rows;
    uint64_t applied, durable; /* sequences; durable <= applied */
    uint64_t sorted;           /* up to here nothing is to be replayed; <= durable */
    struct list batches;       /* struct mem_batch: applied, not durable, oldest first */
    size_t undurable_bytes;
    struct list views; /* struct mem_view */
};

struct mem_batch {
    struct list_node node;
    uint64_t seq;
    size_t bytes;
};

/* A moment of an image that stays readable. image NULL: not pinned. */
struct mem_view {
    struct list_node node;
    struct mem_image *image;
    uint64_t seq;
};

struct mem_path {
    struct list_node node;
    char *name;
    struct mem_image *image;
    struct store_db *owner;  /* NULL when nobody has it open; then the image is all durable */
    uint64_t epoch;          /* of its newest writer; 0: it was never opened, or removed since */
    struct list checkpoints; /* struct mem_checkpoint */
    struct mem_path *parent; /* it refers to files of this one */
    bool homed, clean;       /* its log is on a machine; and has nothing to replay */
    uint32_t home;           /* that machine */
    uint32_t clones;         /* that refer to files of this one */
};

struct mem_checkpoint {
    struct list_node node;
    char id[24];
    struct mem_image *image; /* of nobody else */
    uint64_t epoch;
};

/* What a call about clones says besides the database. */
struct mem_clone {
    char *from, *checkpoint; /* may be NULL */
    struct store_range *ranges;
    size_t count;
};

struct store_queue {
    struct store_base base;
    struct list_node node;
    struct store *store;
    struct list events; /* struct mem_event */
    int fd;
    bool signalled;
    bool cut;         /* off from the store: what is remote does not end */
    uint32_t machine; /* where logs of their own are its own */
};

struct mem_event {
    struct list_node node;
    struct store_event event;
    bool owns_iter; /* nobody has seen event.iter before */
};

struct store_db {
    struct store_base base;
    struct list_node node;
    uint32_t refs; /* the store's until STORE_CLOSED is freed, one per iterator and snapshot */
    struct store *store;
    struct store_queue *queue;
    struct mem_path *path;
    struct mem_image *image;
    size_t bytes_max;
    size_t accepted_bytes;       /* of writes not yet applied */
    bool closing;                /* or closed: no more calls */
    bool dead;                   /* closed or crashed: no operation of it is left */
    bool apart;                  /* its log is on its process's machine */
    enum silo_code down;         /* SILO_OK: up */
    struct list writes, flushes; /* struct mem_op by `line`, in order */
    uint32_t ops_count, reads_count, flushes_count; /* under way */
    uint64_t writes_accepted, writes_ended;         /* ever */
};

struct store_snap {
    struct store_base base;
    struct store_db *db;
    struct store_queue *queue; /* of its reader */
    struct mem_view view;
};

struct store_iter {
    struct store_base base;
    struct store_db *db;
    struct store_queue *queue; /* where its pages arrive */
    bool lent;                 /* over a snapshot: its events name no database */
    struct mem_view view;      /* pinned when the scan is executed, or when it was called */
    uint8_t *lo, *hi;          /* what is left of the range; hi_len 0: no end */
    size_t lo_len, hi_len;
    bool descending, keys_only;
    bool busy; /* an operation uses it */
};

enum mem_object {
    OBJECT_GET,
    OBJECT_PUT_NEW,
    OBJECT_LIST,
    OBJECT_DB_EPOCH,
    OBJECT_DB_CHECKPOINT,
    OBJECT_DB_CHECKPOINT_DROP,
    OBJECT_DB_CLONE,
    OBJECT_DB_REMOVE,
    OBJECT_SELFTEST
};

struct mem_op {
    struct list_node node; /* store->pending */
    struct list_node line; /* db->writes or db->flushes */
    uint64_t after;        /* STORE_MEM_FLUSH: begins when so many writes have ended */
    enum store_mem_kind kind;
    struct store_db *db; /* NULL: open and objects */
    struct store_queue *queue;
    bool lent; /* reads a snapshot: its event names no database */
    uint64_t token;
    uint64_t turn_ready; /* the first turn it may complete in */
    int64_t due_ms;
    enum silo_code fault; /* SILO_OK: none */
    bool fault_effect;

    struct store_buf *bufs; /* write */
    size_t bufs_count;
    size_t bytes;
    bool memtable; /* flush: into sorted files */
    bool started;  /* flush: its turn came */
    uint64_t seq;  /* flush: what it makes durable */
    enum store_close_how close_how;
    struct mem_view view; /* mget, when it reads as of its call or a snapshot */
    struct bytes *keys;   /* mget; one allocation with their bytes */
    size_t keys_count;
    struct store_iter *iter; /* scan */
    bool iter_fresh;         /* the first page: nobody knows the iterator yet */
    uint32_t rows_max;
    size_t bytes_max;
    enum mem_object object;
    char *name; /* object, or path to open */
    uint8_t *data;
    size_t data_len;
    bool guarded; /* open, checkpoint */
    uint64_t expected_epoch;
    bool apart; /* open */
    struct mem_clone *clone;
};

struct mem_fault {
    struct list_node node;
    struct store_mem_fault fault;
    uint32_t left; /* calls until it strikes */
};

struct store {
    struct store_base base;
    pthread_mutex_t lock; /* guards all there is below, and everything reachable from it */
    struct store_mem_options options;
    uint64_t random;
    uint64_t turn;
    struct list pending; /* struct mem_op in the order of the calls */
    size_t pending_count;
    struct list queues, dbs, paths;
    struct ordered_rows *objects;
    uint64_t objects_seq;
    struct list faults; /* struct mem_fault, oldest first */
    uint32_t faults_count;
    uint64_t faults_fired;
    uint32_t outage; /* kinds */
    bool trouble;    /* the store knows of it */
    bool hurried;    /* closes have no time for sorted files */
    char last_error[256];
    uint32_t views_count; /* iterators and snapshots not freed */
    uint64_t checkpoints_made;
    struct store_mem_counts counts;
};

static inline void mem_lock(struct store *store)
{
    ASSERT(pthread_mutex_lock(&store->lock) == 0);
}

static inline void mem_unlock(struct store *store)
{
    ASSERT(pthread_mutex_unlock(&store->lock) == 0);
}

/* image.c */
struct mem_image *image_new(void);
struct mem_image *image_ref(struct mem_image *image);
void image_unref(struct mem_image *image);
/*
 * The image that is left when all after `seq` is lost; durable up to seq. durable <= seq <=
 * applied.
 */
struct mem_image *image_cut(const struct mem_image *image, uint64_t seq);
/* Applies a checked batch and counts it; image->applied is its sequence afterwards. */
void image_apply(struct mem_image *image, const struct store_buf *bufs, size_t bufs_count,
                 size_t bytes, struct store_mem_counts *counts);
/* Everything up to seq is durable. */
void image_flush(struct mem_image *image, uint64_t seq);
/* And in sorted files. */
void image_sort(struct mem_image *image, uint64_t seq);
void view_pin(struct mem_view *view, struct mem_image *image, uint64_t seq);
void view_unpin(struct mem_view *view);

/* handle.c */
struct mem_path *path_find(struct store *store, const char *name);
struct mem_path *path_new(struct store *store, const char *name);
/*
 * The path goes to a new owner (NULL: to nobody), who finds what is durable; the old owner keeps
 * its own state.
 */
void path_take(struct mem_path *path, struct store_db *owner);
struct store_db *db_new(struct store *store, struct store_queue *queue, struct mem_path *path,
                        size_t bytes_max);
void db_unref(struct store_db *db);
bool db_fenced(const struct store_db *db);
/*
 * The handle is at its end. If it owned the path, that keeps what its image has up to seq. No
 * operation of it is left.
 */
void db_kill(struct store_db *db, uint64_t seq);
void iter_release(struct store_iter *iter);
/* Out of all lists and freed, without an event; with it an iterator nobody has seen. */
void op_discard(struct store *store, struct mem_op *op);
/* All operations of the queue (NULL: of every one). */
void ops_discard(struct store *store, const struct store_queue *queue);
/* All operations of the database, those of snapshots lent to other queues too. */
void ops_discard_db(struct store_db *db);
/* What was not drained goes away. */
void queue_clear(struct store_queue *queue);
/* The event is in the queue and the caller fills in the rest of it. */
struct mem_event *event_push(struct store_queue *queue, enum store_event_kind kind,
                             enum silo_code code, uint64_t token, struct store_db *db);
void event_release(struct store_event *event);

/* run.c */
/* A number below `bound`, from the seed. */
uint64_t mem_random_below(struct store *store, uint64_t bound);
/* Last step of a call: numbers and counts it, finds its fault, puts it at the end of the lists. */
void op_enqueue(struct store *store, struct mem_op *op);
/* Completes one ready operation of this turn; false when there is none. */
bool mem_complete_one(struct store *store);
/*
 * In its turn among the operations of its database, and no outage holds it: only the clock and
 * turns may keep it.
 */
bool op_free_to_run(const struct store *store, const struct mem_op *op);
/*
 * Whether an operation of the queue (NULL: of any) could complete now but for the turns it waits.
 */
bool mem_ready(const struct store *store, const struct store_queue *queue);
void db_down(struct store_db *db, enum silo_code code, const char *text);
/* Makes the descriptors of all queues say what there is. */
void mem_signal(struct store *store);
void queue_signal(struct store_queue *queue, bool on);

/* object.c */
void object_complete(struct store *store, struct mem_op *op);

/* store_mem.c: NULL when it has no name, and needs one. */
struct mem_op *object_op(struct store_queue *queue, enum mem_object object, const char *name,
                         uint64_t token);

/* clone.c: the calls; what they end in; the rest wants the lock, too, but mem_clone_free. */
silo_rc mem_db_checkpoint(struct store *store, struct store_queue *queue,
                          const struct store_open_args *args, uint64_t token, struct silo_err *err);
silo_rc mem_db_checkpoint_drop(struct store *store, struct store_queue *queue,
                               const struct store_open_args *args, const char *checkpoint,
                               uint64_t token, struct silo_err *err);
silo_rc mem_db_clone(struct store *store, struct store_queue *queue,
                     const struct store_open_args *to, const struct store_clone_args *args,
                     uint64_t token, struct silo_err *err);
enum silo_code checkpoint_complete(struct store *store, struct mem_op *op, struct mem_event *entry);
enum silo_code checkpoint_drop_complete(struct store *store, struct mem_op *op);
enum silo_code clone_complete(struct store *store, struct mem_op *op);
enum silo_code remove_complete(struct store *store, const char *name);
/* It refers to nobody's files any more. */
void path_detach(struct mem_path *path);
void path_forget_checkpoints(struct mem_path *path);
void mem_clone_free(struct mem_clone *clone);

#endif
