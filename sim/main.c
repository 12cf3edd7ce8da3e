/*
 * sim/main.c - silo-sim: runs of the simulator, one seed each.
 *
 * Each run is a child process, so that one that crashes or hangs is a failed run and nothing more.
 * A failed run is tried again with fewer steps until the shortest failing prefix is found that
 * halving finds.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "sim/world.h"

#define STEPS_DEFAULT 220u
#define JOBS_MAX 16
#define RUN_SECONDS_MAX 60 /* of one run; then it hangs */
#define SHRINK_TRIES_MAX 24

/* What a run tells its parent; in shared memory. */
struct result {
    bool done, failed;
    volatile uint32_t step;
    uint32_t steps, lacks;
    uint64_t jobs, calls, restarts, hash, lines;
    char rule[24], text[600];
    struct seen seen;
};

struct options {
    uint64_t seed, count;
    uint32_t steps, jobs, processes;
    bool trace, quiet, shrink, complete, stop;
};

/* --- one run --- */

static void run_here(uint64_t seed, uint32_t steps, const struct options *chosen,
                     struct result *result)
{
    struct world *world = xcalloc(1, sizeof *world);
    const struct world_options options = {.seed = seed,
                                          .steps = steps,
                                          .processes = chosen->processes,
                                          .print = chosen->trace,
                                          .step = &result->step};
    world_init(world, &options);
    result->failed = !world_run(world);
    result->steps = world->step;
    result->lacks = world->lacks;
    result->jobs = world->model.job_count;
    result->calls = world->net.next_number;
    for (size_t i = 0; i < world->process_count; i++) {
        result->restarts += world->processes[i].starts;
    }
    result->hash = trace_hash(&world->trace);
    result->lines = world->trace.lines;
    result->seen = world->model.seen;
    (void)snprintf(result->rule, sizeof result->rule, "%s", world->verdict.rule);
    (void)snprintf(result->text, sizeof result->text, "%s", world->verdict.text);
    if (!result->failed) {
        world_deinit(world); /* after a failure nothing can be relied on */
        free(world);
    }
    result->done = true;
}

static pid_t run_start(uint64_t seed, uint32_t steps, const struct options *chosen,
                       struct result *result)
{
    *result = (struct result){0};
    (void)fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) {
        (void)alarm(RUN_SECONDS_MAX);
        run_here(seed, steps, chosen, result);
        (void)fflush(stdout);
        exit(0); /* not _exit: what is measured at exit counts, too */
    }
    return pid;
}

/* A child that did not get to its end failed by its own code. */
static void run_ended(struct result *result, int status)
{
    if (result->done && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return;
    }
    result->failed = true;
    result->steps = result->step;
    const int signal_number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    (void)snprintf(result->rule, sizeof result->rule, "%s",
                   signal_number == SIGALRM ? "hang" : "crash");
    (void)snprintf(result->text, sizeof result->text, "the run ended by signal %d, status %d",
                   signal_number, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

static void run_wait(uint64_t seed, uint32_t steps, const struct options *chosen,
                     struct result *result)
{
    int status = 0;
    const pid_t pid = run_start(seed, steps, chosen, result);
    ASSERT(pid > 0 && waitpid(pid, &status, 0) == pid);
    run_ended(result, status);
}

/* --- failures --- */

static void run_print(uint64_t seed, const struct result *result)
{
    printf(
        "seed %llu: %u steps, %llu jobs, %llu calls, %llu restarts, trace %016llx (%llu lines)%s\n",
        (unsigned long long)seed, result->steps, (unsigned long long)result->jobs,
        (unsigned long long)result->calls, (unsigned long long)result->restarts,
        (unsigned long long)result->hash, (unsigned long long)result->lines,
        result->failed ? ", FAILED" : "");
}

/* Halves the steps that are known to fail; runs of fewer steps are the same up to there. */
static void failure_print(const struct options *options, uint64_t seed, const struct result *found,
                          struct result *scratch)
{
    printf("seed %llu: rule %s: %s\n", (unsigned long long)seed, found->rule, found->text);
    uint32_t bad = found->steps + 1 < options->steps ? found->steps + 1 : options->steps;
    uint32_t good = 0;
    struct options quiet = *options;
    quiet.trace = false;
    char rule[24];
    char text[600];
    memcpy(rule, found->rule, sizeof rule);
    memcpy(text, found->text, sizeof text);
    for (int tries = 0; options->shrink && good + 1 < bad && tries < SHRINK_TRIES_MAX; tries++) {
        const uint32_t steps = good + (bad - good) / 2;
        run_wait(seed, steps, &quiet, scratch);
        if (scratch->failed) {
            bad = steps;
            memcpy(rule, scratch->rule, sizeof rule);
            memcpy(text, scratch->text, sizeof text);
        } else {
            good = steps;
        }
    }
    printf("seed %llu: shortest failing prefix found: --seed %llu --steps %u (rule %s: %s)\n",
           (unsigned long long)seed, (unsigned long long)seed, bad, rule, text);
    (void)fflush(stdout);
}

/* --- many runs --- */

struct run_slot {
    pid_t pid;
    uint64_t seed;
    struct result *result;
};

struct totals {
    uint64_t passed, failed;
    uint32_t lacks;
    struct seen seen;
};

static void seen_add(struct seen *sum, const struct seen *one)
{
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)one;
    for (size_t i = 0; i < sizeof *sum / sizeof(uint64_t); i++) {
        to[i] += from[i];
    }
}

static void run_slot_ended(const struct options *options, struct run_slot *run, int status,
                           struct totals *totals, struct result *scratch)
{
    run_ended(run->result, status);
    totals->failed += run->result->failed;
    totals->passed += !run->result->failed;
    totals->lacks |= run->result->lacks;
    seen_add(&totals->seen, &run->result->seen);
    if (!options->quiet || run->result->failed) {
        run_print(run->seed, run->result);
    }
    if (run->result->failed) {
        failure_print(options, run->seed, run->result, scratch);
    }
    run->pid = 0;
}

static void runs(const struct options *options, struct totals *totals)
{
    struct result *results = mmap(NULL, (JOBS_MAX + 1) * sizeof *results, PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT(results != MAP_FAILED);
    struct run_slot runs_now[JOBS_MAX] = {{0}};
    uint64_t next = 0;
    uint32_t running = 0;
    while (next < options->count || running != 0) {
        if (options->stop && totals->failed != 0) {
            next = options->count;
        }
        for (uint32_t i = 0; i < options->jobs && next < options->count; i++) {
            if (runs_now[i].pid == 0) {
                runs_now[i].seed = options->seed + next++;
                runs_now[i].result = &results[i];
                runs_now[i].pid =
                    run_start(runs_now[i].seed, options->steps, options, runs_now[i].result);
                ASSERT(runs_now[i].pid > 0);
                running++;
            }
        }
        if (running == 0) {
            break;
        }
        int status = 0;
        const pid_t pid = waitpid(-1, &status, 0);
        ASSERT(pid > 0 || errno == EINTR);
        for (uint32_t i = 0; i < options->jobs; i++) {
            if (pid > 0 && runs_now[i].pid == pid) {
                running--;
                run_slot_ended(options, &runs_now[i], status, totals, &results[JOBS_MAX]);
            }
        }
    }
    (void)munmap(results, (JOBS_MAX + 1) * sizeof *results);
}

/* --- the command line --- */

static void usage(FILE *to)
{
    (void)fputs("Usage: silo-sim [OPTIONS]\n\n"
                "  --seed N       the first seed (1)\n"
                "  --count N      so many seeds from there on (1)\n"
                "  --steps N      random steps of each run before it drains (220)\n"
                "  --processes N  1, or up to 5 that share the shards by a coordinator (1)\n"
                "  --jobs N       runs at a time (1)\n"
                "  --trace        print every step\n"
                "  --quiet        print failures and the last line only\n"
                "  --no-shrink    do not look for a shorter run that fails\n"
                "  --stop         begin no run after one that failed\n"
                "  --complete     fail when the build lacks a method\n"
                "\nThe exit status is 1 when a run failed, 2 for a wrong command line.\n",
                to);
}

static bool number(const char *text, uint64_t least, uint64_t most, uint64_t *ret)
{
    char *end = NULL;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < least || value > most) {
        return false;
    }
    *ret = value;
    return true;
}

static bool options_read(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {{"seed", required_argument, NULL, 's'},
                                          {"count", required_argument, NULL, 'c'},
                                          {"steps", required_argument, NULL, 'n'},
                                          {"jobs", required_argument, NULL, 'j'},
                                          {"processes", required_argument, NULL, 'p'},
                                          {"trace", no_argument, NULL, 't'},
                                          {"quiet", no_argument, NULL, 'q'},
                                          {"no-shrink", no_argument, NULL, 'x'},
                                          {"complete", no_argument, NULL, 'a'},
                                          {"stop", no_argument, NULL, 'f'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    *options = (struct options){
        .seed = 1, .count = 1, .steps = STEPS_DEFAULT, .jobs = 1, .processes = 1, .shrink = true};
    uint64_t value = 0;
    bool ok = true;
    int what = 0;
    while (ok && (what = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (what) {
        case 's':
            ok = number(optarg, 0, UINT64_MAX / 2, &options->seed);
            break;
        case 'c':
            ok = number(optarg, 1, UINT32_MAX, &options->count);
            break;
        case 'n':
            ok = number(optarg, 0, 1000000, &value);
            options->steps = (uint32_t)value;
            break;
        case 'j':
            ok = number(optarg, 1, JOBS_MAX, &value);
            options->jobs = (uint32_t)value;
            break;
        case 'p':
            ok = number(optarg, 1, PROCESSES_MAX, &value);
            options->processes = (uint32_t)value;
            break;
        case 't':
            options->trace = true;
            break;
        case 'q':
            options->quiet = true;
            break;
        case 'x':
            options->shrink = false;
            break;
        case 'f':
            options->stop = true;
            break;
        case 'a':
            options->complete = true;
            break;
        case 'h':
            usage(stdout);
            exit(0);
        default:
            ok = false;
            break;
        }
    }
    return ok && optind == argc;
}

static void seen_print(const struct seen *s)
{
    printf(
        "seen: %llu batches, %llu leases, %llu retries, %llu expiries, %llu ends, %llu facts, "
        "%llu answers (%llu unknown), %llu refreshes, %llu takeovers, %llu rate passes, "
        "%llu given back, %llu revivals, %llu removed, %llu times at rest, %llu told of a cancel, "
        "%llu failed for good, %llu pending (%llu with all numbers)\n",
        (unsigned long long)s->batches, (unsigned long long)s->leases,
        (unsigned long long)s->retries, (unsigned long long)s->expiries,
        (unsigned long long)s->ends, (unsigned long long)s->facts, (unsigned long long)s->answers,
        (unsigned long long)s->unknown, (unsigned long long)s->refreshes,
        (unsigned long long)s->takeovers, (unsigned long long)s->passes,
        (unsigned long long)s->given_back, (unsigned long long)s->revivals,
        (unsigned long long)s->removed, (unsigned long long)s->rests, (unsigned long long)s->told,
        (unsigned long long)s->finals, (unsigned long long)s->pendings,
        (unsigned long long)s->views);
}

int main(int argc, char **argv)
{
    struct options options;
    if (!options_read(argc, argv, &options)) {
        usage(stderr);
        return 2;
    }
    log_init(2, false, LOG_OFF);
    struct timespec begin;
    struct timespec end;
    (void)clock_gettime(CLOCK_MONOTONIC, &begin);
    struct totals totals = {0};
    runs(&options, &totals);
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    const double seconds =
        (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
    for (int api = 0; api < APIS; api++) {
        if ((totals.lacks & (1u << api)) != 0) {
            printf("this build answers UNIMPLEMENTED: %s\n", api_name((enum api)api));
        }
    }
    if (options.count > 1) {
        seen_print(&totals.seen);
        printf("%llu seeds passed, %llu failed, %.1f seeds/s\n", (unsigned long long)totals.passed,
               (unsigned long long)totals.failed,
               (double)(totals.passed + totals.failed) / seconds);
    }
    return totals.failed != 0 || (options.complete && totals.lacks != 0) ? 1 : 0;
}
