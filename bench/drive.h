/*
 * bench/drive.h - a load: producers that enqueue, workers that lease and report.
 *
 * Producers run closed loops, or serve an open loop (rate > 0): arrivals have fixed times, latency
 * counts from the arrival's time, and an arrival that found no producer free, or the loop busy, is
 * late, counted and not skipped. The payload carries the intended start, so workers can tell how
 * long a job took from there to its lease.
 *
 * Threads    load_* are the main thread's; callbacks run on the loop. Counters are the loop's.
 * Ownership  a load is freed with the connections, when the run is over.
 */
#ifndef SILO_BENCH_DRIVE_H
#define SILO_BENCH_DRIVE_H

#include "bench.h"

#define LATE_US 2000 /* an arrival sent later than this is late */
/*
 * Timers fire up to a millisecond late. Arrivals at least SPARSE_US apart are waited for exactly:
 * the timer fires EARLY_US before, and the loop goes round until the moment has come.
 */
#define SPARSE_US 5000
#define EARLY_US 1500
#define LOAD_TENTHS 10u

struct load;
struct producer;

struct load_options {
    uint32_t producers, bulk, payload;
    double rate;
    uint64_t jobs_max; /* 0 = no end */
    uint32_t workers, batch, wait_ms;
    bool keep;        /* report nothing: `leased` sees to it */
    bool report_many; /* one ReportOutcomes for what one poll leased */
    const char *group, *worker_prefix;
    uint32_t refresh_fail_percent, float_default; /* how refresh tasks are answered */
    const char *series_prefix;                    /* of the series' names; "" for one load alone */
    uint64_t tenths_of; /* completed jobs of a drain whose rate is told for each tenth; 0 = none */
    bool group_each;    /* worker n polls <group>-<n> */
    /*
     * Job n: limits, tenant, priority. Preset: payload, group, priority 50. Strings live in the
     * arena or longer.
     */
    void (*fill)(struct load *load, uint64_t n, struct arena *arena, Silo__V1__EnqueueRequest *job);
    /* A task was leased; before its report. */
    void (*leased)(struct load *load, uint32_t worker, const Silo__V1__Task *task, int64_t now_us);
    /* What `completed` is told of a task; report_many has none. */
    uint64_t (*tag)(const Silo__V1__Task *task);
    void (*completed)(struct load *load, uint64_t tag);
    /* An outcome was acknowledged. */
    void (*reported)(struct load *load, uint32_t worker, int64_t sent_us, int64_t now_us);
    /*
     * One job was enqueued (bulk 1). True: the callee has the producer and gives it back by
     * producer_next.
     */
    bool (*enqueued)(struct load *load, struct producer *producer, const char *job_id);
    void *context;
};

struct producer {
    struct load *load;
    struct call call;
    struct call extra; /* for `enqueued` */
    struct rpc_timer pause;
    uint32_t index, jobs;
};

struct worker;

struct load {
    struct bench *bench;
    struct load_options options;
    struct producer *producers;
    struct worker *workers;
    struct arena arena, reply_arena;
    struct rpc_timer arrival;
    struct rpc_mail arrival_soon;
    bool arrival_posted;
    bool producing, consuming;
    uint32_t *idle; /* open loop: producers without a call */
    uint32_t idle_count, producers_busy, workers_busy;
    uint64_t sent, enqueued, leased, completed, refused, polls, empty_polls, refreshes, late;
    uint64_t arrivals; /* open loop: how many were sent */
    int64_t started_us, last_enqueued_us, last_completed_us;
    int64_t tenths_us[LOAD_TENTHS + 1];
    struct series *enqueue_series, *lease_series, *report_series, *start_series;
};

struct load *load_new(struct bench *bench, const struct load_options *options);
void load_produce(struct load *load, uint32_t producers); /* at most options.producers */
void load_consume(struct load *load, uint32_t workers);
/*
 * Tells them to end after what is under way; a waiting poll keeps its worker until it is answered.
 */
void load_stop_producers(struct load *load);
void load_stop_workers(struct load *load);
/* Waits until jobs_max jobs were enqueued and acknowledged. */
bool load_wait_enqueued(struct load *load, double seconds);
/* Waits until everything enqueued (or `count`, if not 0) was completed. */
bool load_wait_completed(struct load *load, uint64_t count, double seconds);
bool load_wait_producers(struct load *load, double seconds);
bool load_wait_workers(struct load *load, double seconds);
/* Facts: rate of each tenth of a drain, and the last against the first, which it returns. */
double load_tenth_facts(struct load *load, int64_t start_us);
/* Loop. The producer goes on with the next job. */
void producer_next(struct producer *producer);

/*
 * Main. Enqueues jobs_max jobs with all producers and waits; facts under `name`; failing is a
 * check. Jobs per second.
 */
double load_enqueue_phase(struct load *load, const char *name, double seconds);
/* Main. Completes all that is enqueued with all workers; likewise. */
double load_drain_phase(struct load *load, const char *name, double seconds);

#endif
