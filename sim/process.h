/*
 * sim/process.h - a server process driven by hand: service, shards and executor on a store that it
 * shares with others, with clocks and a place in the network of its own. It is started, turned,
 * killed at any moment with all that is on its way, and started again on the same store.
 *
 * With a coordinator it is a node of a cluster, and its shards come and go as that says; the port
 * opens with the first map, as a server's does. Without one it has all shards from the beginning.
 *
 * Of the store's calls those of any process are told to process_store_opens and its two sisters;
 * the process whose calls they are tells its world of every database a shard opens and of every
 * batch it writes.
 *
 * Ownership  the process owns all that runs; options lend store, net and limiter.
 * Threads    one.
 * Limits     PROCESS_SHARDS_MAX.
 */
#ifndef SILO_SIM_PROCESS_H
#define SILO_SIM_PROCESS_H

#include "base/steady.h"
#include "service/service.h"
#include "shard/shard.h"
#include "sim/net.h"
#include "store_mem/store_mem.h"

#define PROCESS_SHARDS_MAX 2u
#define PROCESS_NONCES 16u /* a life's nonce is its process's number and a multiple of this */

struct process;
struct coordinator;
struct coord_member;
struct node;

struct process_options {
    uint32_t number;                 /* which process it is */
    uint32_t id_number;              /* that whose node id it has: its own, if all is well */
    struct coordinator *coordinator; /* says which shards it opens; NULL: all */
    size_t shard_count;
    bool tenancy;
    enum dispatch_order order;
    int64_t flush_spacing_ms;
    uint32_t wal_objects_max;
    int64_t completed_expire_ms, terminal_expire_ms;
    struct limiter *limiter; /* NULL: the shards' own */
    struct store *store;     /* an in-memory one */
    struct net *net;
    /* The world's time, and what it is ahead of it in the process. */
    const int64_t *now_us, *wall_ms;
    int64_t mono_ahead_us, wall_ahead_ms;
    struct sim_random *random; /* of what the process asks for */
    /* Before the shard hears of it. */
    void (*on_open)(struct process *process, size_t shard, uint64_t epoch);
    void (*on_write)(struct process *process, size_t shard, bool lost, struct bytes batch);
    /* It read its clock, which may have fallen. */
    void (*on_clock)(struct process *process, bool fell);
    /* The limiter's checks on their way must come back now. */
    void (*on_dying)(struct process *process);
    void *context; /* the world's */
};

struct process {
    struct process_options options;
    char name[8], address[8]; /* of the node; "n" and a number */
    struct env env;
    struct net_host host;
    struct steady steady; /* as its executor's */
    int64_t wall_ms;      /* what it made of its wall clock when it read it last */
    struct {
        uint64_t token; /* of an opening under way */
        bool opening;
        struct store_db *db; /* the newest handle */
        bool told;           /* to open, and has not begun to */
        bool taken;          /* by others, since the process last began to open it as it was told */
    } dbs[PROCESS_SHARDS_MAX];
    bool took_back;        /* a shard that others had taken was opened by itself */
    struct shards *shards; /* NULL: it is dead */
    struct shard_ref refs[PROCESS_SHARDS_MAX]; /* where there is no node */
    struct directory_home directory;
    struct executor *executor;
    struct service *service;
    /* NULL: there is no coordinator. */
    struct node *node;
    struct coord_member *coord;
    struct store_queue *queue; /* what the node asks of the store */
    bool paused;               /* it stands still, and knows nothing of it */
    int64_t next_us;           /* what the last turn said, in the world's time */
    uint64_t starts;
};

void process_init(struct process *process, const struct process_options *options);
void process_deinit(struct process *process);
const char *process_path(size_t shard);
struct uuid process_shard_id(size_t shard);
size_t process_shard_number(const struct uuid *id);

/* Starts and asks all shards to open; turning brings it about. */
void process_start(struct process *process);
void process_kill(struct process *process, enum store_mem_survival survival);
/* Whether it runs. */
static inline bool process_lives(const struct process *process)
{
    return process->shards != NULL;
}
/* It found that it must not go on: a server would exit. */
bool process_refused(const struct process *process);
/* What the store's watch is told, for the process whose queue it is. */
void process_store_opens(struct process *process, const char *path, uint64_t token);
void process_store_writes(struct process *process, const struct store_db *db,
                          const struct store_buf *bufs, size_t count);
void process_store_answers(struct process *process, const struct store_event *event);
/* Whether the shard is open here as far as the process knows. */
bool process_serves(const struct process *process, size_t shard);
bool process_has_queue(const struct process *process, const struct store_queue *queue);

/* Asks one shard to open: takes back what others took. */
void process_open(struct process *process, size_t shard);
/* It stands still from now on, or goes on. */
void process_pause(struct process *process, bool paused);
/* Cuts it off from the store, or lets it through again. */
void process_cut_store(struct process *process, bool cut);
/*
 * Begins an orderly end: polls are answered, shards close. process_closed tells; process_kill ends
 * what is left.
 */
void process_close(struct process *process);
bool process_closed(const struct process *process);
/* Somebody else opens the shard's database and leaves it again. The clock moves by *now_us. */
void process_fence(struct process *process, size_t shard, int64_t *now_us);

/* One turn of the executor; posts to the loop are run. False: nothing moved but the executor. */
bool process_turn(struct process *process);
/* The world's time of its next event, in the past if one is ready; the store's own are not its. */
int64_t process_next_us(const struct process *process);

/* NULL: it has no place there. */
struct shard *process_shard(const struct process *process, size_t shard);
enum shard_status process_status(const struct process *process, size_t shard);
bool process_is_open(const struct process *process);
/* The shard is open, and nothing of it is on its way, undurable or asked of the store. */
bool process_rests(const struct process *process, size_t shard);
struct core_stats;
/* False: the shard is not open. */
bool process_stats(const struct process *process, size_t shard, struct core_stats *ret);

#endif
