/*
 * store/matrix_test.c - what holds of every store when processes die and others take over: one set
 * of cases for the store in memory, for the engine on disk with its log, and for the engine on an
 * object store that SILO_MATRIX_URL names (tests/s3 starts one).
 *
 * A process is a queue of the store in memory, whose crash is asked for, or a program: this one,
 * run again as "STEP URL", which does what the step says and kills itself.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/test.h"
#include "store/store_slate.h"
#include "store_mem/store_mem.h"

#define EVENTS_MAX 64
#define WAIT_MS_MAX 60000
#define RACES 8

static const char *program;

/* --- a process --- */

struct proc {
    struct store *store;
    const struct store_ops *ops;
    struct store_queue *queue;
    struct store_event events[EVENTS_MAX];
    size_t count;
    uint64_t token;
};

static void proc_begin(struct proc *proc, struct store *store)
{
    *proc = (struct proc){.store = store, .ops = store_ops_of(store)};
    assert_int_equal(proc->ops->queue_new(store, &proc->queue, NULL).code, SILO_OK);
}

static void proc_end(struct proc *proc)
{
    for (size_t i = 0; i < proc->count; i++) {
        proc->ops->event_free(&proc->events[i]);
    }
    proc->ops->queue_free(proc->queue);
}

static bool take(struct proc *proc, enum store_event_kind kind, uint64_t token,
                 struct store_event *ret_event)
{
    for (size_t i = 0; i < proc->count; i++) {
        if (proc->events[i].kind == kind && proc->events[i].token == token) {
            *ret_event = proc->events[i];
            proc->count--;
            memmove(&proc->events[i], &proc->events[i + 1],
                    (proc->count - i) * sizeof proc->events[0]);
            return true;
        }
    }
    return false;
}

static struct store_event await(struct proc *proc, enum store_event_kind kind, uint64_t token)
{
    struct store_event event;
    while (!take(proc, kind, token, &event)) {
        const size_t n = proc->ops->queue_drain(proc->queue, proc->events + proc->count,
                                                EVENTS_MAX - proc->count);
        proc->count += n;
        if (n == 0) {
            struct pollfd poller = {.fd = proc->ops->queue_fd(proc->queue), .events = POLLIN};
            assert_int_equal(poll(&poller, 1, WAIT_MS_MAX), 1);
        }
    }
    return event;
}

static enum silo_code await_code(struct proc *proc, enum store_event_kind kind, uint64_t token)
{
    struct store_event event = await(proc, kind, token);
    const enum silo_code code = event.rc.code;
    proc->ops->event_free(&event);
    return code;
}

/* --- a world: where databases lie --- */

struct world {
    const char *name;
    struct store *memory; /* the store in memory; NULL: the engine */
    struct store *engine;
    char url[160];
    char dir[64];
    struct proc one, two;
};

static struct store *engine_at(const char *url)
{
    const bool disk = strncmp(url, "file:", 5) == 0;
    const struct store_slate_options options = {
        .url = url,
        .fsync = disk,
        .log = disk,
        .block_cache_bytes = 8 << 20,
        .meta_cache_bytes = 8 << 20,
        .log_level = LOG_ERROR,
        .close_ms_max = WAIT_MS_MAX,
    };
    struct store *store = NULL;
    struct silo_err err;
    const silo_rc rc = store_slate_new(&options, &store, &err);
    ASSERT(rc.code == SILO_OK);
    return store;
}

static void world_begin(struct world *world, const char *name)
{
    *world = (struct world){.name = name};
    if (strcmp(name, "memory") == 0) {
        world->memory = store_mem_new(&(struct store_mem_options){.seed = 7});
    } else if (strcmp(name, "disk") == 0) {
        char dir[] = "/tmp/silo-matrix-XXXXXX";
        assert_non_null(mkdtemp(dir));
        (void)snprintf(world->dir, sizeof world->dir, "%s", dir);
        (void)snprintf(world->url, sizeof world->url, "file://%s/data", dir);
    } else {
        static unsigned number;
        (void)snprintf(world->url, sizeof world->url, "%s/%d-%u", name, (int)getpid(), ++number);
    }
    if (world->memory == NULL) {
        world->engine = engine_at(world->url);
    }
    struct store *store = world->memory != NULL ? world->memory : world->engine;
    proc_begin(&world->one, store);
    proc_begin(&world->two, store);
}

static void world_end(struct world *world)
{
    proc_end(&world->one);
    proc_end(&world->two);
    struct store *store = world->memory != NULL ? world->memory : world->engine;
    store_ops_of(store)->free(store);
    if (world->dir[0] != '\0') {
        char command[128];
        (void)snprintf(command, sizeof command, "rm -rf %s", world->dir);
        assert_int_equal(system(command), 0); // NOLINT(cert-env33-c): our own fresh directory
    }
}

/* --- calls in one line --- */

#define PATH "shard/one"

struct opened {
    struct store_db *db;
    uint64_t epoch;
    enum silo_code code;
};

static uint64_t open_ask(struct proc *proc, const char *path, bool guarded, uint64_t expected)
{
    /* Who was fenced learns it by what it does, not by a poll. */
    const struct store_open_args args = {
        .path = path,
        .guarded = guarded,
        .expected_epoch = expected,
        .settings_json = "{\"manifest_poll_interval\":\"600s\",\"compactor_options\":false}"};
    assert_int_equal(proc->ops->open(proc->store, proc->queue, &args, ++proc->token, NULL).code,
                     SILO_OK);
    return proc->token;
}

static struct opened open_take(struct proc *proc, uint64_t token)
{
    struct store_event event = await(proc, STORE_OPENED, token);
    const struct opened opened = {event.db, event.epoch, event.rc.code};
    if (opened.code != SILO_OK && opened.code != SILO_CONFLICT) {
        print_message("open: %s\n", event.text);
    }
    proc->ops->event_free(&event);
    return opened;
}

static struct opened open_at(struct proc *proc, const char *path)
{
    const struct opened opened = open_take(proc, open_ask(proc, path, false, 0));
    assert_int_equal(opened.code, SILO_OK);
    return opened;
}

static uint64_t epoch_of(struct proc *proc, const char *path)
{
    const struct store_open_args args = {.path = path};
    assert_int_equal(proc->ops->db_epoch(proc->store, proc->queue, &args, ++proc->token, NULL).code,
                     SILO_OK);
    struct store_event event = await(proc, STORE_OBJECT, proc->token);
    assert_int_equal(event.rc.code, SILO_OK);
    const uint64_t epoch = event.seq;
    proc->ops->event_free(&event);
    return epoch;
}

static enum silo_code put(struct proc *proc, struct store_db *db, const char *key)
{
    struct store_buf buf = proc->ops->buf_alloc(store_op_size(strlen(key), strlen(key)));
    store_op_pack(&buf, bytes_str(key), bytes_str(key), false);
    const silo_rc rc = proc->ops->write(db, &buf, 1, 1, ++proc->token, NULL);
    return rc.code != SILO_OK ? rc.code : await_code(proc, STORE_APPLIED, proc->token);
}

static enum silo_code flush(struct proc *proc, struct store_db *db, enum store_flush_what what)
{
    const silo_rc rc = proc->ops->flush(db, what, ++proc->token, NULL);
    return rc.code != SILO_OK ? rc.code : await_code(proc, STORE_FLUSHED, proc->token);
}

static enum silo_code refresh(struct proc *proc, struct store_db *db)
{
    const silo_rc rc = proc->ops->refresh(db, ++proc->token, NULL);
    return rc.code != SILO_OK ? rc.code : await_code(proc, STORE_REFRESHED, proc->token);
}

static bool has(struct proc *proc, struct store_db *db, const char *key)
{
    const struct bytes keys[] = {bytes_str(key)};
    assert_int_equal(proc->ops->mget(db, NULL, keys, 1, ++proc->token, NULL).code, SILO_OK);
    struct store_event event = await(proc, STORE_ROWS, proc->token);
    assert_int_equal(event.rc.code, SILO_OK);
    struct store_row row;
    assert_true(store_rows_next(&event.rows, &row));
    const bool found = row.present;
    proc->ops->event_free(&event);
    return found;
}

static bool close_empty(struct proc *proc, struct store_db *db, enum store_close_how how,
                        enum silo_code code)
{
    assert_int_equal(proc->ops->close(db, how, ++proc->token, NULL).code, SILO_OK);
    struct store_event event = await(proc, STORE_CLOSED, proc->token);
    assert_int_equal(event.rc.code, code);
    const bool empty = event.empty;
    proc->ops->event_free(&event);
    return empty;
}

/* --- dying at each step --- */

enum step {
    STEP_OPENING,
    STEP_OPENED,
    STEP_APPLIED,
    STEP_FLUSHING,
    STEP_FLUSHED, /* from here on the row is acknowledged */
    STEP_SORTING,
    STEP_SORTED,
    STEP_CLOSING,
    STEP_CLOSED,
    STEPS
};

/* Goes as far as the step; what it ends with is on its way. */
static void steps_to(struct proc *proc, enum step step)
{
    const uint64_t opening = open_ask(proc, PATH, false, 0);
    if (step == STEP_OPENING) {
        return;
    }
    const struct opened opened = open_take(proc, opening);
    ASSERT(opened.code == SILO_OK);
    if (step == STEP_OPENED) {
        return;
    }
    ASSERT(put(proc, opened.db, "tnew") == SILO_OK);
    if (step == STEP_APPLIED) {
        return;
    }
    ASSERT(proc->ops->flush(opened.db, STORE_FLUSH_WAL, ++proc->token, NULL).code == SILO_OK);
    if (step == STEP_FLUSHING) {
        return;
    }
    ASSERT(await_code(proc, STORE_FLUSHED, proc->token) == SILO_OK);
    if (step == STEP_FLUSHED) {
        return;
    }
    if (step <= STEP_SORTED) {
        ASSERT(proc->ops->flush(opened.db, STORE_FLUSH_MEMTABLE, ++proc->token, NULL).code ==
               SILO_OK);
        if (step == STEP_SORTED) {
            ASSERT(await_code(proc, STORE_FLUSHED, proc->token) == SILO_OK);
        }
        return;
    }
    ASSERT(proc->ops->close(opened.db, STORE_CLOSE_MEMTABLE, ++proc->token, NULL).code == SILO_OK);
    if (step == STEP_CLOSED) {
        ASSERT(await_code(proc, STORE_CLOSED, proc->token) == SILO_OK);
    }
}

static int child_main(const char *step, const char *url, const char *pause_us)
{
    struct proc proc;
    proc_begin(&proc, engine_at(url));
    steps_to(&proc, (enum step)strtoul(step, NULL, 10));
    (void)usleep((useconds_t)strtoul(pause_us, NULL, 10));
    (void)kill(getpid(), SIGKILL);
    return 1;
}

static pid_t child_begin(const char *const arguments[])
{
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)execv(program, (char *const *)arguments);
        _exit(127);
    }
    return pid;
}

static int child_end(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* A process does the steps and dies; `late`: not at once. */
static void die_at(struct world *world, enum step step, unsigned late)
{
    if (world->memory != NULL) {
        static const enum store_mem_survival survivals[] = {STORE_MEM_LOSE, STORE_MEM_KEEP_SOME,
                                                            STORE_MEM_KEEP_ALL};
        struct proc proc;
        proc_begin(&proc, world->memory);
        steps_to(&proc, step);
        store_mem_crash(world->memory, proc.queue, survivals[late % 3]);
        proc_end(&proc);
        return;
    }
    char number[16];
    char pause_us[16];
    (void)snprintf(number, sizeof number, "%d", (int)step);
    (void)snprintf(pause_us, sizeof pause_us, "%u", late * 1500);
    const char *const arguments[] = {program, "die", number, world->url, pause_us, NULL};
    const int status = child_end(child_begin(arguments));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Whatever was acknowledged is there, and the database goes on as if nothing had been. */
static void check_death(const char *name)
{
    for (int step = 0; step < STEPS; step++) {
        for (unsigned late = 0; late < 2; late++) {
            struct world world;
            world_begin(&world, name);
            struct proc *proc = &world.one;
            struct opened opened = open_at(proc, PATH);
            assert_int_equal(put(proc, opened.db, "told"), SILO_OK);
            (void)close_empty(proc, opened.db, STORE_CLOSE_WAL, SILO_OK);
            die_at(&world, (enum step)step, late);

            const uint64_t before = epoch_of(proc, PATH);
            assert_true(before >= opened.epoch);
            opened = open_take(proc, open_ask(proc, PATH, true, before));
            assert_int_equal(opened.code, SILO_OK);
            assert_int_equal(opened.epoch, before + 1);
            assert_true(has(proc, opened.db, "told"));
            const bool kept = has(proc, opened.db, "tnew");
            assert_true(kept || step < STEP_FLUSHED);
            assert_true(!kept || step >= STEP_APPLIED);
            assert_int_equal(put(proc, opened.db, "tnext"), SILO_OK);
            assert_true(close_empty(proc, opened.db, STORE_CLOSE_MEMTABLE, SILO_OK));
            opened = open_at(proc, PATH);
            assert_true(has(proc, opened.db, "told") && has(proc, opened.db, "tnext"));
            assert_int_equal(has(proc, opened.db, "tnew"), kept); /* it stays as it was found */
            (void)close_empty(proc, opened.db, STORE_CLOSE_DROP, SILO_OK);
            world_end(&world);
        }
    }
}

/* --- fences --- */

/* Whoever read the epoch and was stopped then has fenced nobody when it goes on. */
static void check_guard(const char *name)
{
    struct world world;
    world_begin(&world, name);
    struct proc *one = &world.one;
    struct proc *two = &world.two;
    const uint64_t seen = epoch_of(one, PATH);
    assert_int_equal(seen, 0);
    const struct opened first = open_take(two, open_ask(two, PATH, true, seen));
    assert_int_equal(first.code, SILO_OK);
    assert_int_equal(put(two, first.db, "ta"), SILO_OK);
    const struct opened late = open_take(one, open_ask(one, PATH, true, seen));
    assert_int_equal(late.code, SILO_CONFLICT);
    assert_int_equal(late.epoch, 0);
    assert_int_equal(refresh(two, first.db), SILO_OK);
    assert_int_equal(flush(two, first.db, STORE_FLUSH_WAL), SILO_OK);
    assert_int_equal(epoch_of(one, PATH), first.epoch);
    assert_false(close_empty(two, first.db, STORE_CLOSE_WAL, SILO_OK));
    world_end(&world);
}

/* What a writer had acknowledged stays; nothing it does after it was fenced counts. */
static void check_fence(const char *name)
{
    struct world world;
    world_begin(&world, name);
    struct proc *one = &world.one;
    struct proc *two = &world.two;
    const struct opened old = open_at(one, PATH);
    assert_int_equal(put(one, old.db, "ta"), SILO_OK);
    assert_int_equal(flush(one, old.db, STORE_FLUSH_WAL), SILO_OK);
    assert_int_equal(put(one, old.db, "tlost"), SILO_OK);
    const struct opened new = open_at(two, PATH);
    assert_int_equal(put(one, old.db, "tstale"), SILO_OK); /* it does not know yet */
    assert_int_equal(flush(one, old.db, STORE_FLUSH_WAL), SILO_CONFLICT);
    assert_int_not_equal(flush(one, old.db, STORE_FLUSH_MEMTABLE), SILO_OK);
    assert_int_not_equal(refresh(one, old.db), SILO_OK);
    assert_false(close_empty(one, old.db, STORE_CLOSE_MEMTABLE, SILO_CONFLICT));
    assert_true(has(two, new.db, "ta"));
    assert_false(has(two, new.db, "tlost") || has(two, new.db, "tstale"));
    assert_int_equal(refresh(two, new.db), SILO_OK);
    assert_int_equal(put(two, new.db, "tb"), SILO_OK);
    assert_true(close_empty(two, new.db, STORE_CLOSE_MEMTABLE, SILO_OK));
    world_end(&world);
}

/* A flush that is under way when another opens: acknowledged is what the other has found. */
static void check_flush_race(const char *name)
{
    for (int race = 0; race < RACES; race++) {
        struct world world;
        world_begin(&world, name);
        struct proc *one = &world.one;
        struct proc *two = &world.two;
        const struct opened old = open_at(one, PATH);
        assert_int_equal(put(one, old.db, "ta"), SILO_OK);
        const uint64_t opening = open_ask(two, PATH, false, 0);
        (void)usleep((useconds_t)(race * 700));
        const enum silo_code flushed = flush(one, old.db, STORE_FLUSH_WAL);
        const struct opened new = open_take(two, opening);
        assert_int_equal(new.code, SILO_OK);
        if (flushed == SILO_OK) {
            assert_true(has(two, new.db, "ta"));
        }
        assert_int_equal(refresh(two, new.db), SILO_OK);
        assert_int_not_equal(refresh(one, old.db), SILO_OK);
        assert_int_equal(put(two, new.db, "tb"), SILO_OK);
        assert_int_equal(flush(two, new.db, STORE_FLUSH_WAL), SILO_OK);
        (void)close_empty(two, new.db, STORE_CLOSE_DROP, SILO_OK);
        world_end(&world);
    }
}

/* Of two that expect the same writer one opens, and the other fences nobody. */
static void check_opener_race(const char *name)
{
    for (int race = 0; race < RACES; race++) {
        struct world world;
        world_begin(&world, name);
        struct proc *procs[2] = {&world.one, &world.two};
        const uint64_t seen = epoch_of(procs[0], PATH);
        uint64_t tokens[2];
        struct opened opened[2];
        for (int i = 0; i < 2; i++) {
            tokens[i] = open_ask(procs[i], PATH, true, seen);
        }
        for (int i = 0; i < 2; i++) {
            opened[i] = open_take(procs[i], tokens[i]);
        }
        const int won = opened[0].code == SILO_OK ? 0 : 1;
        assert_int_equal(opened[won].code, SILO_OK);
        assert_int_equal(opened[1 - won].code, SILO_CONFLICT);
        assert_int_equal(refresh(procs[won], opened[won].db), SILO_OK);
        assert_int_equal(put(procs[won], opened[won].db, "ta"), SILO_OK);
        assert_int_equal(flush(procs[won], opened[won].db, STORE_FLUSH_WAL), SILO_OK);
        assert_int_equal(epoch_of(procs[won], PATH), opened[won].epoch);
        (void)close_empty(procs[won], opened[won].db, STORE_CLOSE_DROP, SILO_OK);
        world_end(&world);
    }
}

/* The exit status says whether it opened: 0, or 2 when another was first. */
static int opener_main(const char *url, const char *epoch)
{
    struct proc proc;
    proc_begin(&proc, engine_at(url));
    const struct opened opened =
        open_take(&proc, open_ask(&proc, PATH, true, strtoull(epoch, NULL, 10)));
    _exit(opened.code == SILO_OK ? 0 : opened.code == SILO_CONFLICT ? 2 : 1);
}

/* A process is stopped anywhere in its opening, and goes on when another has opened. */
static void check_stopped_opener(const char *name)
{
    for (int race = 0; race < RACES; race++) {
        struct world world;
        world_begin(&world, name);
        if (world.memory != NULL) {
            world_end(&world);
            return; /* its openings are done at one moment */
        }
        const struct opened before = open_at(&world.one, PATH);
        (void)close_empty(&world.one, before.db, STORE_CLOSE_WAL, SILO_OK);
        char epoch[24];
        (void)snprintf(epoch, sizeof epoch, "%llu", (unsigned long long)before.epoch);
        const char *const arguments[] = {program, "open", world.url, epoch, NULL};
        const pid_t pid = child_begin(arguments);
        (void)usleep((useconds_t)(8000 + race * 3000));
        (void)kill(pid, SIGSTOP);
        const struct opened opened =
            open_take(&world.one, open_ask(&world.one, PATH, true, before.epoch));
        if (opened.code == SILO_OK) {
            assert_int_equal(put(&world.one, opened.db, "ta"), SILO_OK);
        }
        (void)kill(pid, SIGCONT);
        const int status = child_end(pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), opened.code == SILO_OK ? 2 : 0);
        if (opened.code == SILO_OK) {
            assert_int_equal(refresh(&world.one, opened.db), SILO_OK);
            assert_int_equal(flush(&world.one, opened.db, STORE_FLUSH_WAL), SILO_OK);
            (void)close_empty(&world.one, opened.db, STORE_CLOSE_DROP, SILO_OK);
        } else {
            assert_int_equal(opened.code, SILO_CONFLICT);
        }
        world_end(&world);
    }
}

/* --- databases out of a database --- */

static enum silo_code checkpoint(struct proc *proc, uint64_t epoch, char *ret_id, size_t size)
{
    const struct store_open_args args = {.path = PATH, .guarded = true, .expected_epoch = epoch};
    assert_int_equal(
        proc->ops->db_checkpoint(proc->store, proc->queue, &args, ++proc->token, NULL).code,
        SILO_OK);
    struct store_event event = await(proc, STORE_OBJECT, proc->token);
    const enum silo_code code = event.rc.code;
    (void)snprintf(ret_id, size, "%.*s", BYTES_FMT(event.rows.data));
    proc->ops->event_free(&event);
    return code;
}

static enum silo_code clone_to(struct proc *proc, const char *to, const char *id,
                               const struct store_range *ranges, size_t count)
{
    const struct store_open_args place = {.path = to};
    const struct store_clone_args args = {
        .from = PATH, .checkpoint = id, .ranges = ranges, .ranges_count = count};
    assert_int_equal(
        proc->ops->db_clone(proc->store, proc->queue, &place, &args, ++proc->token, NULL).code,
        SILO_OK);
    return await_code(proc, STORE_OBJECT, proc->token);
}

static enum silo_code drop(struct proc *proc, const char *id)
{
    const struct store_open_args args = {.path = PATH};
    assert_int_equal(
        proc->ops->db_checkpoint_drop(proc->store, proc->queue, &args, id, ++proc->token, NULL)
            .code,
        SILO_OK);
    return await_code(proc, STORE_OBJECT, proc->token);
}

static enum silo_code remove_at(struct proc *proc, const char *path)
{
    const struct store_open_args args = {.path = path};
    assert_int_equal(
        proc->ops->db_remove(proc->store, proc->queue, &args, ++proc->token, NULL).code, SILO_OK);
    return await_code(proc, STORE_OBJECT, proc->token);
}

/* Which of the rows it has, by their last letters. */
static void check_rows(struct proc *proc, const char *path, const char *want)
{
    static const char *const keys[] = {"ta", "tb", "tx", "ty", "u1"};
    char found[8] = "";
    const struct opened opened = open_at(proc, path);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        strncat(found, has(proc, opened.db, keys[i]) ? keys[i] + 1 : "", 1);
    }
    assert_string_equal(found, want);
    (void)close_empty(proc, opened.db, STORE_CLOSE_WAL, SILO_OK);
}

static void check_clones(const char *name)
{
    struct world world;
    world_begin(&world, name);
    struct proc *proc = &world.one;
    char id[64];
    assert_int_equal(checkpoint(proc, 1, id, sizeof id), SILO_NOT_FOUND);
    struct opened opened = open_at(proc, PATH);
    static const char *const keys[] = {"ta", "tb", "tx", "ty", "u1"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        assert_int_equal(put(proc, opened.db, keys[i]), SILO_OK);
    }
    assert_false(close_empty(proc, opened.db, STORE_CLOSE_WAL, SILO_OK));
    assert_int_equal(checkpoint(proc, opened.epoch, id, sizeof id), SILO_INVALID);
    opened = open_at(proc, PATH);
    assert_true(close_empty(proc, opened.db, STORE_CLOSE_MEMTABLE, SILO_OK));
    assert_int_equal(checkpoint(proc, opened.epoch - 1, id, sizeof id), SILO_CONFLICT);
    assert_int_equal(checkpoint(proc, opened.epoch, id, sizeof id), SILO_OK);

    const struct store_range left[] = {{BYTES_LIT("ta"), BYTES_LIT("tm")}};
    const struct store_range right[] = {{BYTES_LIT("tm"), BYTES_LIT("u")},
                                        {BYTES_LIT("u"), BYTES_LIT("u")}};
    const struct store_range wide[] = {{BYTES_LIT("ta"), BYTES_LIT("ua")}};
    assert_int_equal(clone_to(proc, "shard/left", id, wide, 1), SILO_INVALID);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(clone_to(proc, "shard/left", id, left, 1), SILO_OK);
        assert_int_equal(clone_to(proc, "shard/right", id, right, 2), SILO_OK);
    }
    assert_int_equal(epoch_of(proc, "shard/left"), opened.epoch);
    assert_int_equal(drop(proc, id), SILO_OK);
    assert_int_equal(drop(proc, id), SILO_OK);
    assert_int_equal(clone_to(proc, "shard/late", id, NULL, 0), SILO_NOT_FOUND);
    check_rows(proc, "shard/left", "ab1");
    check_rows(proc, "shard/right", "xy");
    check_rows(proc, PATH, "abxy1");
    assert_int_equal(remove_at(proc, PATH), SILO_CONFLICT);
    assert_int_equal(remove_at(proc, "shard/left"), SILO_OK);
    assert_int_equal(remove_at(proc, PATH), SILO_CONFLICT);
    check_rows(proc, "shard/right", "xy");
    assert_int_equal(remove_at(proc, "shard/right"), SILO_OK);
    assert_int_equal(remove_at(proc, PATH), SILO_OK);
    assert_int_equal(epoch_of(proc, PATH), 0);
    world_end(&world);
}

/* --- */

static const char *other_url(void)
{
    return getenv("SILO_MATRIX_URL");
}

#define CASE(check)                         \
    static void check##_holds(void **state) \
    {                                       \
        (void)state;                        \
        if (other_url() != NULL) {          \
            check(other_url());             \
        } else {                            \
            check("memory");                \
            check("disk");                  \
        }                                   \
    }

CASE(check_death)
CASE(check_guard)
CASE(check_fence)
CASE(check_flush_race)
CASE(check_opener_race)
CASE(check_stopped_opener)
CASE(check_clones)

int main(int argc, char **argv)
{
    program = argv[0];
    if (argc == 5 && strcmp(argv[1], "die") == 0) {
        return child_main(argv[2], argv[3], argv[4]);
    }
    if (argc == 4 && strcmp(argv[1], "open") == 0) {
        return opener_main(argv[2], argv[3]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_death_holds),       cmocka_unit_test(check_guard_holds),
        cmocka_unit_test(check_fence_holds),       cmocka_unit_test(check_flush_race_holds),
        cmocka_unit_test(check_opener_race_holds), cmocka_unit_test(check_stopped_opener_holds),
        cmocka_unit_test(check_clones_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
