/*
 * sim/model.h - what the clients of a shard know, and what they may be told.
 *
 * The model looks at every batch through an audit and keeps the versions each job went through. An
 * answer is right if the job had, at some time between question and answer, a version that explains
 * it. What was acknowledged becomes a fact that must be found in the rows for as long as nobody
 * asked for its end. UNAVAILABLE says nothing.
 *
 * Ownership  the model owns jobs, tasks, refreshes and facts; all live as long as it.
 * Threads    one.
 */
#ifndef SILO_SIM_MODEL_H
#define SILO_SIM_MODEL_H

#include "sim/audit.h"
#include "sim/process.h"
#include "sim/spec.h"

/* A batch is written at most so long after its commands ran, if storage is there. */
#define BATCH_MS_MAX 1500

enum api {
    API_ENQUEUE,
    API_GET,
    API_RESULT,
    API_CANCEL,
    API_DELETE,
    API_RESTART,
    API_EXPEDITE,
    API_LEASE,
    API_IMPORT,
    API_DROP,
    API_POLL,
    API_HEARTBEAT,
    API_REPORT,
    API_REFRESHED,
    API_RETURN,
    API_AWAIT,
};
#define APIS 16
const char *api_name(enum api api);

struct mversion {
    bool exists, mark, has_lease;
    enum job_status status;
    enum token_at where;
    uint64_t arrival;
    uint32_t spec;
    uint32_t attempt, attempts, passed;
    uint32_t paid; /* rate limits below it have let this chain through */
    int64_t due_ms, expire_ms;
    int64_t mark_ms;
    int64_t since_us; /* it was written then */
    char worker[16];  /* that has the lease */
    bool has_task;
    struct uuid task_id; /* of the chain or the lease */
};

enum fact_kind { FACT_EXISTS, FACT_LEASED, FACT_REPORTED, FACT_MARKED, FACT_ATTEMPT };

struct fact {
    enum fact_kind kind;
    uint64_t arrival;
    uint32_t ends, revivals; /* of the job, when it was asked for */
    struct uuid task_id;
    enum attempt_status status;
    bool final;
    size_t data_len;
    uint32_t attempt;
};

struct mjob {
    struct map_node node; /* key: shard, job reference */
    size_t shard;
    char tenant[16], id[64];
    struct bytes key, ref; /* malloced; ref lies in key */
    struct mversion *versions;
    size_t count, cap;
    struct fact *facts;
    size_t fact_count;
    uint32_t in_flight; /* calls about it */
    uint32_t crossed;   /* grows with every call about it that begins */
    uint32_t ends;      /* deletes asked for and perhaps done, and retentions that ended */
    uint32_t revivals;  /* restarts and imports asked for */
    uint32_t deletes_open, revivals_open; /* of them, those that may still take effect */
};

#define REPORTS_MAX 6
struct mtask {
    struct map_node node; /* key: id */
    struct uuid id;
    struct mjob *job;
    uint32_t attempt;
    char worker[16];
    bool leased;    /* its lease is in the rows */
    bool delivered; /* a worker has it for certain */
    bool returned;  /* one has asked to give it back */
    bool by_name;   /* LeaseTask was asked for the job */
    bool unheard;   /* its worker had left before, was told that it is unknown, or not at all */
    const struct process *server; /* that leased it, and in which of its lives */
    uint64_t server_life;
    int64_t alive_us;   /* leased or renewed then, for certain */
    int64_t renewed_us; /* not renewed after that */
    struct {
        enum attempt_status status;
        bool final;
    } reports[REPORTS_MAX]; /* asked for, whatever came of them */
    size_t report_count;
};

struct mrefresh {
    struct map_node node; /* key: id */
    struct uuid id;
    size_t shard;
    char tenant[16], queue[16], worker[16];
    bool leased, delivered, ended;
    bool returned; /* a worker has asked to give it back */
    int64_t alive_us;
    struct {
        bool success;
        uint32_t value;
    } reports[REPORTS_MAX];
    size_t report_count;
};

/* A floating limit as it was after the last batch. */
struct mqueue {
    struct map_node node;    /* key: shard, queue reference */
    struct floating_rec rec; /* without its bytes */
    uint8_t key[];
};

/* Passes of one rate limit: of the external limiter, or of one tenant at the shard's own. */
#define PASSES_MAX 64
struct mrate {
    struct map_node node; /* key: name, 0, unique key; the shard's own: shard, tenant part, name */
    uint64_t asked, under, passes;
    struct {
        int64_t at_ms, hits;
    } last[PASSES_MAX]; /* a ring, by `passes` */
    uint8_t key[];
};

struct item; /* calls.h */

struct seen {
    uint64_t batches, leases, retries, expiries, ends, facts, answers, unknown, grants, waits,
        refreshes, takeovers, passes, given_back, revivals, removed, rests, told, finals, pendings,
        views;
};

struct model {
    size_t shard_count;
    struct audit audits[PROCESS_SHARDS_MAX];
    struct verdict *verdict;
    struct trace *trace;
    struct store *store;
    uint32_t processes;                                /* that may hold calls */
    const struct process *servers[PROCESS_SHARDS_MAX]; /* that opened the shard last */
    const int64_t *now_us;
    int64_t wall_max_ms; /* the latest that any process read */
    bool external_limiter;
    uint64_t troubles; /* grows with every fault, fence, kill and outage */
    bool troubled;     /* one that lasts */
    int64_t trouble_us;
    int64_t open_us; /* when the shards were opened last */
    struct map by_key, tasks_by_id, refreshes_by_id, queues, rates;
    struct mjob **jobs;
    size_t job_count, job_cap;
    struct mtask **tasks;
    size_t task_count, task_cap;
    struct mrefresh **refreshes;
    size_t refresh_count, refresh_cap;
    const struct spec_world *specs;
    uint32_t awaits[PROCESS_SHARDS_MAX]; /* calls that may wait for cancellations there */
    int64_t polled_us[PROCESS_SHARDS_MAX][SPEC_GROUPS]; /* the last poll of a group was answered */
    uint32_t anonymous; /* jobs without an id that were asked for and not seen yet */
    struct seen seen;
};

void model_init(struct model *model, const struct process_options *options, struct verdict *verdict,
                struct trace *trace);
void model_deinit(struct model *model);
/* The processes' hooks. */
void model_open(struct model *model, const struct process *process, size_t shard);
void model_write(struct model *model, size_t shard, bool lost, struct bytes batch);

struct mjob *model_job(struct model *model, size_t shard, const char *tenant, const char *id);
struct mjob *model_job_by_ref(struct model *model, size_t shard, struct bytes ref);
/*
 * It is told to stop in order. What a shard handed out that has failed there, so that nobody can
 * say what became of the lease, is not owed.
 */
void model_stops(struct model *model, const struct process *process);
/* It stopped in order: what it handed out has left it. */
void model_stopped(struct model *model, const struct process *process);
const struct mversion *model_newest(const struct mjob *job);
/* The token goes on with the slots it has; one that was given back has them under another id. */
bool model_same_chain(const struct mversion *was, const struct mversion *is);
struct mtask *model_task(const struct model *model, const struct uuid *id);
/* The task, bound to its job for ever; NULL and a failure when it was another's. */
struct mtask *model_task_note(struct model *model, const struct uuid *id, struct mjob *job);
struct mrefresh *model_refresh(struct model *model, const struct uuid *id);
struct mrate *model_rate(struct model *model, struct bytes name, struct bytes unique_key);
struct mrate *model_own_rate(struct model *model, const struct mjob *job, struct bytes name);
int64_t model_since_us(const struct model *model, size_t shard, int64_t stamp_ms);
void model_fact(struct model *model, struct mjob *job, const struct fact *fact);

/* Something happened that explains answers of UNAVAILABLE. */
void model_trouble(struct model *model, const char *what);
/* Compares the rows a crash would leave with all rules and facts. */
void model_durable(struct model *model);
/* Nothing is on its way, and nothing was disturbed for a while. */
void model_rest(struct model *model);
uint64_t model_open_jobs(const struct model *model);
/* What its server makes of its clock. */
int64_t model_wall_ms(const struct model *model, size_t shard);
/* Every shard is open, and nothing is on its way, undurable or asked of the store. */
bool model_at_rest(const struct model *model);

/* model_moves.c: what may happen to a job, a floating limit, a rate limit within one batch. */
void model_move(struct model *model, struct mjob *job, const struct mversion *was,
                const struct mversion *is);
void model_queues(struct model *model, size_t shard, bool moves);
/* answers.c */
void answer_begun(struct model *model, enum api api, struct item *item);
void answer_ended(struct model *model, enum api api, struct item *item);
/*
 * answers_await.c: what a worker was told of cancellations, and what a call that waits should have
 * been told.
 */
void awaited_check(struct model *model, const struct item *item);
/* Whether others may have taken all the room for such calls. */
bool await_crowded(const struct item *item);
void awaited_rest(struct model *model, const struct item *item);
/* answers_pending.c: GetJob about a job that did not change meanwhile. */
void pending_check(struct model *model, const struct item *item);
/* Its bytes have left: a worker has its tasks. */
void answer_delivered(struct model *model, enum api api, const struct item *item);
/* Its answer did not leave. */
void answer_unheard(struct model *model, enum api api, const struct item *item);

#endif
