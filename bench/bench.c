/* bench/bench.c - series, facts, checks, the progress line, waiting, the final table. */
#include "route.h"

#include <errno.h>
#include <jansson.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 5 /* how often a wait looks whether its condition holds */

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

void bench_catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    (void)sigaction(SIGINT, &action, NULL); /* a second one ends the program */
    (void)sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &action, NULL);
}

bool bench_interrupted(void)
{
    return interrupted != 0;
}

/* --- series --- */

struct series *bench_series(struct bench *bench, const char *name)
{
    for (uint32_t i = 0; i < bench->series_count; i++) {
        if (strcmp(bench->series[i]->name, name) == 0) {
            return bench->series[i];
        }
    }
    ASSERT(bench->series_count < BENCH_SERIES_MAX);
    struct series *series = xcalloc(1, sizeof *series);
    (void)snprintf(series->name, sizeof series->name, "%s", name);
    bench->series[bench->series_count++] = series;
    return series;
}

void series_add(struct series *series, int64_t us)
{
    hist_add(&series->total, us);
    hist_add(&series->interval, us);
}

/* --- facts and checks --- */

void bench_fact(struct bench *bench, double value, const char *name, ...)
{
    ASSERT(bench->fact_count < BENCH_LINES_MAX);
    struct bench_line *fact = &bench->facts[bench->fact_count++];
    va_list args;
    va_start(args, name);
    (void)vsnprintf(fact->name, sizeof fact->name, name, args);
    va_end(args);
    fact->value = value;
}

void bench_check(struct bench *bench, bool ok, const char *text, ...)
{
    ASSERT(bench->check_count < BENCH_LINES_MAX);
    struct bench_line *check = &bench->checks[bench->check_count++];
    va_list args;
    va_start(args, text);
    (void)vsnprintf(check->text, sizeof check->text, text, args);
    va_end(args);
    check->ok = ok;
}

void bench_die(const char *text, ...)
{
    va_list args;
    va_start(args, text);
    (void)fputs("silo-bench: ", stderr);
    (void)vfprintf(stderr, text, args);
    (void)fputc('\n', stderr);
    va_end(args);
    exit(1); /* main's atexit ends the server */
}

void bench_free_later(struct bench *bench, void (*free_thing)(void *thing), void *thing)
{
    ASSERT(bench->leftover_count < BENCH_LEFTOVERS_MAX);
    bench->leftovers[bench->leftover_count].free = free_thing;
    bench->leftovers[bench->leftover_count++].thing = thing;
}

double bench_seconds_since(int64_t start_us)
{
    return (double)(env_mono_us(&env_system) - start_us) / 1e6;
}

double bench_rate(struct bench *bench, const char *name, uint64_t count, const struct usage *before)
{
    const struct usage now = bench_usage(bench);
    const double seconds = (double)(now.at_us - before->at_us) / 1e6;
    const double rate = seconds > 0 ? (double)count / seconds : 0;
    const double cpu_s = now.server_cpu_s - before->server_cpu_s;
    bench_fact(bench, (double)count, "%s", name);
    bench_fact(bench, rate, "%s_per_s", name);
    if (bench->options.pid != 0 && count != 0 && seconds > 0) {
        bench_fact(bench, cpu_s * 1e6 / (double)count, "%s_server_cpu_us_each", name);
        bench_fact(bench, cpu_s / seconds, "%s_server_cores", name);
    }
    if (seconds > 0) {
        bench_fact(bench, (now.own_cpu_s - before->own_cpu_s) / seconds, "%s_bench_cores", name);
    }
    return rate;
}

/* --- waiting --- */

struct loop_job {
    struct rpc_mail mail;
    void (*run)(void *context);
    void *context;
    sem_t done;
};

static void loop_job_run(struct rpc_mail *mail)
{
    struct loop_job *job =
        (struct loop_job *)(void *)((char *)mail - offsetof(struct loop_job, mail));
    job->run(job->context);
    (void)sem_post(&job->done);
}

void bench_on_loop(struct bench *bench, void (*run)(void *context), void *context)
{
    struct loop_job job = {.mail = {.run = loop_job_run}, .run = run, .context = context};
    (void)sem_init(&job.done, 0, 0);
    rpc_loop_post(bench->loop, &job.mail);
    while (sem_wait(&job.done) != 0 && errno == EINTR) {
    }
    (void)sem_destroy(&job.done);
}

struct reading {
    const uint64_t *counter;
    uint64_t value;
};

static void reading_run(void *context)
{
    struct reading *reading = context;
    reading->value = *reading->counter;
}

uint64_t bench_read(struct bench *bench, const uint64_t *counter)
{
    struct reading reading = {counter, 0};
    bench_on_loop(bench, reading_run, &reading);
    return reading.value;
}

static void quiet_run(void *context)
{
    struct bench *bench = context;
    bench->closing = true;
    route_quiet(bench);
}

void bench_quiet(struct bench *bench)
{
    if (bench->loop != NULL) {
        bench_on_loop(bench, quiet_run, bench);
    }
}

struct progress {
    struct bench *bench;
    uint64_t counter, backlog, errors;
    int64_t p50, p99;
};

static void progress_take(void *context)
{
    struct progress *progress = context;
    struct bench *bench = progress->bench;
    progress->counter = *bench->progress.counter;
    progress->errors = bench->errors;
    if (bench->progress.in != NULL && bench->progress.out != NULL) {
        const uint64_t in = *bench->progress.in;
        const uint64_t out = *bench->progress.out;
        progress->backlog = in > out ? in - out : 0;
    }
    struct series *series = bench->progress.series;
    if (series != NULL) {
        progress->p50 = hist_quantile(&series->interval, 0.5);
        progress->p99 = hist_quantile(&series->interval, 0.99);
        hist_reset(&series->interval);
    }
}

static void progress_line(struct bench *bench)
{
    struct progress progress = {.bench = bench};
    bench_on_loop(bench, progress_take, &progress);
    const int64_t now = env_mono_us(&env_system);
    const double seconds = (double)(now - bench->progress.last_us) / 1e6;
    (void)fprintf(stderr, "%6.1f s  %s %9.0f/s", (double)(now - bench->progress.start_us) / 1e6,
                  bench->progress.what,
                  (double)(progress.counter - bench->progress.last) / seconds);
    if (bench->progress.series != NULL) {
        (void)fprintf(stderr, "  %s p50 %.2f ms p99 %.2f ms", bench->progress.series->name,
                      (double)progress.p50 / 1e3, (double)progress.p99 / 1e3);
    }
    if (bench->progress.in != NULL) {
        (void)fprintf(stderr, "  backlog %llu", (unsigned long long)progress.backlog);
    }
    if (progress.errors != 0) {
        (void)fprintf(stderr, "  %llu errors", (unsigned long long)progress.errors);
    }
    (void)fputc('\n', stderr);
    bench->progress.last = progress.counter;
    bench->progress.last_us = now;
}

void bench_watch(struct bench *bench, const char *what, const uint64_t *counter,
                 struct series *series, const uint64_t *in, const uint64_t *out)
{
    const int64_t now = env_mono_us(&env_system);
    if (bench->progress.start_us == 0) {
        bench->progress.start_us = now;
    }
    bench->progress.what = what;
    bench->progress.counter = counter;
    bench->progress.series = series;
    bench->progress.in = in;
    bench->progress.out = out;
    bench->progress.last_us = now;
    struct progress progress = {.bench = bench};
    bench_on_loop(bench, progress_take, &progress);
    bench->progress.last = progress.counter;
}

struct look {
    bool (*until)(void *context);
    void *context;
    bool held;
};

static void look_run(void *context)
{
    struct look *look = context;
    look->held = look->until(look->context);
}

bool bench_wait(struct bench *bench, double seconds, bool (*until)(void *context), void *context)
{
    const int64_t end = env_mono_us(&env_system) + (int64_t)(seconds * 1e6);
    const int64_t interval = (int64_t)bench->options.interval_ms * 1000;
    int64_t next = env_mono_us(&env_system) + interval;
    for (;;) {
        if (until != NULL) {
            struct look look = {.until = until, .context = context};
            bench_on_loop(bench, look_run, &look);
            if (look.held) {
                return true;
            }
        }
        const int64_t now = env_mono_us(&env_system);
        if (now >= end || bench_interrupted()) {
            return false;
        }
        if (interval != 0 && now >= next && bench->progress.counter != NULL) {
            progress_line(bench);
            next += interval;
        }
        int64_t pause = until != NULL ? LOOK_MS * 1000 : end - now;
        pause = interval != 0 && next - now < pause ? next - now : pause;
        pause = end - now < pause ? end - now : pause;
        (void)usleep((useconds_t)(pause > 0 ? pause : 1));
    }
}

/* --- the end --- */

static void print_series(const struct series *series)
{
    const struct hist *h = &series->total;
    (void)printf("%-28s %10llu %10.1f %10lld %10lld %10lld %10lld %10lld\n", series->name,
                 (unsigned long long)h->count, hist_mean(h), (long long)hist_quantile(h, 0.5),
                 (long long)hist_quantile(h, 0.9), (long long)hist_quantile(h, 0.99),
                 (long long)hist_quantile(h, 0.999), (long long)h->max_us);
}

static void print_table(const struct bench *bench)
{
    (void)fflush(stderr);
    (void)printf("\n%-28s %10s %10s %10s %10s %10s %10s %10s\n", "latency in us", "count", "mean",
                 "p50", "p90", "p99", "p99.9", "max");
    for (uint32_t i = 0; i < bench->series_count; i++) {
        if (bench->series[i]->total.count != 0) {
            print_series(bench->series[i]);
        }
    }
    (void)putchar('\n');
    for (uint32_t i = 0; i < bench->fact_count; i++) {
        const double v = bench->facts[i].value;
        (void)printf("%-44s %14.*f\n", bench->facts[i].name,
                     v == (double)(int64_t)v ? 0 : (v < 10 ? 3 : 1), v);
    }
    for (uint32_t i = 0; i < bench->check_count; i++) {
        (void)printf("%s: %s\n", bench->checks[i].ok ? "ok" : "FAILED", bench->checks[i].text);
    }
}

static json_t *series_json(const struct hist *h)
{
    return json_pack("{s:I,s:f,s:I,s:I,s:I,s:I,s:I}", "count", (json_int_t)h->count, "mean",
                     hist_mean(h), "p50", (json_int_t)hist_quantile(h, 0.5), "p90",
                     (json_int_t)hist_quantile(h, 0.9), "p99", (json_int_t)hist_quantile(h, 0.99),
                     "p999", (json_int_t)hist_quantile(h, 0.999), "max", (json_int_t)h->max_us);
}

/* False: the file cannot be written. */
static bool write_json(const struct bench *bench, bool ok)
{
    json_t *series = json_object();
    json_t *facts = json_object();
    json_t *checks = json_array();
    for (uint32_t i = 0; i < bench->series_count; i++) {
        (void)json_object_set_new(series, bench->series[i]->name,
                                  series_json(&bench->series[i]->total));
    }
    for (uint32_t i = 0; i < bench->fact_count; i++) {
        (void)json_object_set_new(facts, bench->facts[i].name, json_real(bench->facts[i].value));
    }
    for (uint32_t i = 0; i < bench->check_count; i++) {
        (void)json_array_append_new(checks, json_pack("{s:s,s:b}", "text", bench->checks[i].text,
                                                      "ok", bench->checks[i].ok));
    }
    json_t *root = json_pack("{s:s,s:b,s:o,s:o,s:o}", "scenario", bench->scenario->name, "ok", ok,
                             "latency_us", series, "facts", facts, "checks", checks);
    ASSERT(root != NULL);
    const char *path = bench->options.json;
    FILE *file = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");
    bool written =
        file != NULL && json_dumpf(root, file, JSON_INDENT(1)) == 0 && fputc('\n', file) != EOF;
    if (file != NULL && file != stdout) {
        written = fclose(file) == 0 && written;
    }
    json_decref(root);
    return written;
}

int bench_finish(struct bench *bench)
{
    bench_quiet(bench);
    if (bench->options.pid != 0) {
        const struct usage usage = bench_usage(bench);
        bench_fact(bench, (double)usage.rss_kb / 1024, "server_rss_mb");
        bench_fact(bench, (double)usage.rss_peak_kb / 1024, "server_rss_peak_mb");
    }
    if (bench->loop != NULL) {
        bench_counts_say(bench);
    }
    bench_fact(bench, bench->load_before, "load_average_before");
    bench_fact(bench, load_average(), "load_average_after");
    if (bench->errors != 0) {
        bench_check(bench, false, "%llu calls failed, the first: %s",
                    (unsigned long long)bench->errors, bench->first_error);
    }
    bool ok = true;
    for (uint32_t i = 0; i < bench->check_count; i++) {
        ok = ok && bench->checks[i].ok;
    }
    const char *json = bench->options.json;
    if (json == NULL || strcmp(json, "-") != 0) {
        print_table(bench);
    }
    if (json != NULL && !write_json(bench, ok)) {
        (void)fprintf(stderr, "silo-bench: %s: %s\n", json, strerror(errno));
        ok = false;
    }
    return ok ? 0 : 1;
}
