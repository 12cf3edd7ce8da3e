/*
 * shard/model_test.h - what a shard's clients know, and what they may be told.
 *
 * The model looks at every batch through an audit and keeps the versions each job went through. An
 * answer is right if the job had, at some time between question and answer, a version that explains
 * it. What was acknowledged becomes a fact that must be found in the rows for as long as nobody
 * asked to delete the job. Answers that say UNAVAILABLE say nothing.
 *
 * Ownership  the model owns jobs, facts and calls; a call is freed with it.
 * Threads    one.
 */
#ifndef SILO_SHARD_MODEL_TEST_H
#define SILO_SHARD_MODEL_TEST_H

#include "shard/audit_test.h"
#include "shard/shard_rig_test.h"

#define GROUPS 5
#define TENANTS 3

/*
 * What a job is asked to be; a number, from which all is derived, and which its payload begins
 * with.
 */
struct spec {
    char group[8];
    uint8_t priority;
    bool has_retry;
    struct retry_policy retry;
    size_t payload_len;
    uint32_t pairs;
};
struct spec spec_of(uint32_t number);

struct version {
    bool exists, mark, has_lease;
    enum job_status status;
    uint64_t arrival;
    uint32_t spec;
    uint32_t attempt;
    struct uuid lease_task;
    uint8_t worker;
};

struct mjob {
    char tenant[8], id[24];
    struct key ref;
    struct version *versions;
    size_t count, cap;
    uint32_t in_flight;    /* calls about it */
    uint32_t crossed;      /* grows with every call about it that begins */
    uint32_t deletes;      /* asked for and perhaps done */
    struct uuid task_seen; /* last lease in the rows */
    bool task_any;
};

struct mtask {
    struct uuid id;
    struct mjob *job;
    uint8_t worker;
    bool delivered, given_back;
};

enum fact_kind { FACT_EXISTS, FACT_LEASED, FACT_REPORTED, FACT_MARKED };

struct fact {
    enum fact_kind kind;
    struct mjob *job;
    uint64_t arrival;
    uint32_t deletes; /* of the job, when it was asked for */
    struct uuid task_id;
    enum attempt_status status;
    size_t data_len;
};

struct mcall {
    struct model *model;
    struct call *call;
    struct mjob *job;   /* NULL: polls, totals */
    struct mtask *task; /* reports and heartbeats */
    uint32_t spec;
    size_t version; /* the newest when it was sent */
    uint32_t crossed, deletes;
    uint64_t troubles;
    uint8_t worker;
    bool clear;            /* nothing else about the job was under way */
    struct mjob *given[4]; /* whose tasks it gives back */
    size_t given_count;
};

struct tally_seen {
    uint64_t leases, retries, expiries, ends, facts, answers, unknown, batches;
    uint64_t crash_open, crash_written, crash_applied, crash_durable;
    uint64_t fences, faults, outages, pages, waits;
};

struct model {
    struct rig *rig;
    struct audit audit;
    struct store_db *db; /* whose rows the audit holds */
    uint64_t troubles;   /* grows with every fault, fence, kill and outage */
    bool troubled;       /* one that lasts */
    struct mjob **jobs;
    size_t job_count;
    struct mtask **tasks;
    size_t task_count;
    struct fact *facts;
    size_t fact_count;
    struct mcall **calls;
    size_t call_count;
    uint64_t answer_hash;
    struct tally_seen *seen;
    char error[600];
};

void model_init(struct model *model, struct rig *rig, struct tally_seen *seen);
void model_deinit(struct model *model);
struct mjob *model_job(struct model *model, const char *tenant, const char *id);
/* Sends it; the answer is checked when it comes. `job` and `task` may be NULL. */
struct mcall *model_send(struct model *model, struct call *call, struct mjob *job,
                         struct mtask *task, uint32_t spec);
/* The call that was sent gives back a task. */
void model_gives_back(struct mcall *call, struct mtask *task);
/* Something was done that explains answers of UNAVAILABLE. */
void model_trouble(struct model *model);
/* Compares the durable rows with all facts. */
void model_check_durable(struct model *model);

#endif
