/*
 * tests/bench/move_probe.c - how long a shard is away while it moves: closed at one set of shards,
 * opened at another, each with an engine of its own, as two processes would have it.
 *
 *     shard_move_probe DIR READ_MS WRITE_MS JOBS LEASES
 *
 * DIR is fresh; requests to its store take so many milliseconds more. A writer enqueues until the
 * close. Prints what each step took; what a coordinator takes between close and open is not in it.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "shard/shard.h"
#include "store/store_slate.h"

#define PATH "shard-0"
#define WINDOW 1024 /* calls under way while the shard is filled */

struct side {
    struct store *store;
    struct shards *shards;
    struct shard_ref ref;
};

static int64_t now_us(void)
{
    return env_mono_us(&env_system);
}

static struct side side_new(const char *dir, int read_ms, int write_ms)
{
    char url[256];
    char opts[96];
    (void)snprintf(url, sizeof url, "file://%s", dir);
    (void)snprintf(opts, sizeof opts, "{\"latency_read_ms\":%d,\"latency_write_ms\":%d}", read_ms,
                   write_ms);
    const struct store_slate_options options = {
        .url = url, .opts_json = opts, .fsync = true, .log_level = LOG_WARN, .close_ms_max = 60000};
    struct side side = {0};
    struct silo_err err;
    if (store_slate_new(&options, &side.store, &err).code != SILO_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    const struct shards_options shards = {.env = &env_system, .store = side.store, .executors = 1};
    side.shards = shards_new(&shards);
    ASSERT(shards_start(side.shards, &err).code == SILO_OK);
    const struct shard_options shard = {
        .path = PATH,
        .wal = {.place = STORE_WAL_WITH_DATA,
                .flush_spacing_ms = write_ms != 0 ? 50 : 0,
                .objects_max = 256},
    };
    side.ref = shards_add(side.shards, &shard);
    return side;
}

/* --- controls and calls, waited for --- */

struct waited {
    union {
        struct shard_control control;
        struct shard_request request;
    };
    struct arena arena;
    atomic_bool done;
    char id[24];
};

static void control_done(struct shard_control *control)
{
    atomic_store(&CONTAINER_OF(control, struct waited, control)->done, true);
}

static void request_done(struct shard_request *request)
{
    shard_answer_taken(request);
    atomic_store(&CONTAINER_OF(request, struct waited, request)->done, true);
}

static void await(struct waited *waited)
{
    for (int i = 0; i < 600000 && !atomic_load(&waited->done); i++) {
        (void)usleep(100);
    }
    ASSERT(atomic_load(&waited->done));
}

static double control(const struct side *side, const char *what,
                      void (*start)(struct shards *, struct shard_ref, struct shard_control *))
{
    const int64_t begin_us = now_us();
    struct waited waited = {.control = {.done = control_done, .how = SHARD_CLOSE_MOVE}};
    start(side->shards, side->ref, &waited.control);
    await(&waited);
    const double ms = (double)(now_us() - begin_us) / 1000;
    (void)printf("%-10s %8.1f ms  %s%s%s\n", what, ms, silo_code_name(waited.control.rc.code),
                 waited.control.empty ? ", empty " : " ", waited.control.text);
    return ms;
}

static void send(const struct side *side, struct waited *waited)
{
    waited->request.cmd.arena = &waited->arena;
    waited->request.done = request_done;
    atomic_store(&waited->done, false);
    ASSERT(shard_send(side->shards, side->ref, &waited->request));
}

static void enqueue(const struct side *side, struct waited *waited, int number)
{
    arena_init(&waited->arena);
    (void)snprintf(waited->id, sizeof waited->id, "job-%d", number);
    struct key key;
    key_job_ref(&key, BYTES_LIT("-"), bytes_str(waited->id));
    waited->request = (struct shard_request){.cmd.kind = CMD_ENQUEUE};
    struct command *cmd = &waited->request.cmd;
    cmd->job_ref = arena_copy(&waited->arena, key_bytes(&key));
    cmd->args.enqueue = (struct enqueue_args){
        .info = {.priority = 50, .group = BYTES_LIT("g")},
        .payload =
            BYTES_LIT("a payload of some hundred bytes, as many jobs have one: it names what "
                      "is to be done, for whom, and where the rest of it can be found."),
        .id_is_fresh = true,
    };
    send(side, waited);
}

static enum silo_code finish(struct waited *waited)
{
    await(waited);
    arena_deinit(&waited->arena);
    return waited->request.cmd.rc.code;
}

static void fill(const struct side *side, int jobs)
{
    static struct waited window[WINDOW];
    for (int i = 0; i < jobs + WINDOW; i++) {
        struct waited *waited = &window[i % WINDOW];
        if (i >= WINDOW && i - WINDOW < jobs) {
            ASSERT(finish(waited) == SILO_OK);
        }
        if (i < jobs) {
            enqueue(side, waited, i);
        }
    }
}

static struct uuid lease(const struct side *side, int leases)
{
    struct uuid task = {{0}};
    for (int i = 0; i < leases; i += 100) {
        struct waited waited = {0};
        arena_init(&waited.arena);
        waited.request.cmd.kind = CMD_POLL;
        waited.request.cmd.args.poll = (struct poll_args){.group = BYTES_LIT("g"),
                                                          .worker_id = BYTES_LIT("w"),
                                                          .tasks_max = 100,
                                                          .wait_ms = 10000};
        send(side, &waited);
        await(&waited);
        ASSERT(waited.request.cmd.result.poll.count != 0);
        task = waited.request.cmd.result.poll.tasks[0].task_id;
        arena_deinit(&waited.arena);
    }
    return task;
}

/* --- a writer meanwhile --- */

struct writer {
    const struct side *side;
    pthread_t thread;
    int64_t last_us; /* its last call that went well */
    int count;
};

static void *write_until_sent_away(void *context)
{
    struct writer *writer = context;
    for (;;) { /* until the shard closes */
        struct waited waited = {0};
        enqueue(writer->side, &waited, 10000000 + writer->count);
        if (finish(&waited) != SILO_OK) {
            return NULL;
        }
        writer->last_us = now_us();
        writer->count++;
    }
}

static int number(const char *text)
{
    return (int)strtol(text, NULL, 10);
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        (void)fprintf(stderr, "usage: %s DIR READ_MS WRITE_MS JOBS LEASES\n", argv[0]);
        return 2;
    }
    const struct side from = side_new(argv[1], number(argv[2]), number(argv[3]));
    const struct side to = side_new(argv[1], number(argv[2]), number(argv[3]));
    (void)control(&from, "open new", shard_open);
    fill(&from, number(argv[4]));
    const struct uuid task = lease(&from, number(argv[5]));
    struct writer writer = {.side = &from};
    ASSERT(pthread_create(&writer.thread, NULL, write_until_sent_away, &writer) == 0);
    (void)usleep(500000);
    (void)control(&from, "prepare", shard_prepare);
    const double close_ms = control(&from, "close", shard_close);
    ASSERT(pthread_join(writer.thread, NULL) == 0);
    const double open_ms = control(&to, "open", shard_open);

    const int64_t begin_us = now_us();
    struct waited report = {0};
    arena_init(&report.arena);
    report.request.cmd.kind = CMD_REPORT;
    report.request.cmd.args.report =
        (struct report_args){.has_task_id = true, .task_id = task, .status = ATTEMPT_SUCCEEDED};
    send(&to, &report);
    ASSERT(finish(&report) == SILO_OK);
    const int64_t end_us = now_us();
    (void)printf("%-10s %8.1f ms\n", "report", (double)(end_us - begin_us) / 1000);
    const int64_t poll_us = now_us();
    (void)lease(&to, 1);
    (void)printf("%-10s %8.1f ms\n", "poll", (double)(now_us() - poll_us) / 1000);
    (void)printf("hole       %8.1f ms from the last call that went well (close %.1f, open %.1f), "
                 "%d calls of the writer\n",
                 (double)(end_us - writer.last_us) / 1000, close_ms, open_ms, writer.count);
    return 0; /* the process ends with what is open: nothing depends on it */
}
