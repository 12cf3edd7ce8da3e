/* sim/process.c - see process.h. */
#include "sim/process.h"

#include "base/saturate.h"
#include "node/node.h"
#include "shard/shard_int.h"
#include "sim/coord_member.h"

static const char *const paths[PROCESS_SHARDS_MAX] = {"shard-0", "shard-1"};

const char *process_path(size_t shard)
{
    ASSERT(shard < PROCESS_SHARDS_MAX);
    return paths[shard];
}

struct uuid process_shard_id(size_t shard)
{
    struct uuid id = {{0}};
    id.b[3] = (uint8_t)shard;
    id.b[6] = 0x40;
    id.b[8] = 0x80;
    return id;
}

size_t process_shard_number(const struct uuid *id)
{
    return id->b[3];
}

/* --- clocks --- */

static int64_t env_mono(void *context)
{
    const struct process *p = context;
    return *p->options.now_us + p->options.mono_ahead_us;
}

/*
 * The machine's clock jumps; the process goes by steady time, and the world knows by the same rules
 * what that is.
 */
static int64_t env_wall(void *context)
{
    struct process *p = context;
    const int64_t wall_ms = *p->options.wall_ms + p->options.wall_ahead_ms;
    int64_t by_ms = 0;
    const enum steady_news news =
        steady_read(&p->steady, wall_ms, env_mono(p) / 1000, &p->wall_ms, &by_ms);
    p->options.on_clock(p, news == STEADY_JUMPS && by_ms < 0);
    return wall_ms;
}

static void env_bytes(void *context, void *ret_bytes, size_t len)
{
    struct process *p = context;
    uint8_t *out = ret_bytes;
    for (size_t i = 0; i < len; i++) {
        out[i] = (uint8_t)random_next(p->options.random);
    }
}

/* --- what the store's watch tells --- */

bool process_has_queue(const struct process *p, const struct store_queue *queue)
{
    return p->executor != NULL && p->executor->queue == queue;
}

void process_store_opens(struct process *p, const char *path, uint64_t token)
{
    for (size_t i = 0; i < p->options.shard_count && i < PROCESS_SHARDS_MAX; i++) {
        if (strcmp(path, paths[i]) == 0) {
            p->dbs[i].token = token;
            p->dbs[i].opening = true;
            p->dbs[i].told = false;
            p->took_back |= p->dbs[i].taken;
        }
    }
}

void process_store_writes(struct process *p, const struct store_db *db,
                          const struct store_buf *bufs, size_t count)
{
    size_t shard = 0;
    while (shard < p->options.shard_count && p->dbs[shard].db != db) {
        shard++;
    }
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        len += bufs[i].len;
    }
    uint8_t *whole = xmalloc(len + 1);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(whole + at, bufs[i].ptr, bufs[i].len);
        at += bufs[i].len;
    }
    const bool lost = shard == p->options.shard_count;
    p->options.on_write(p, lost ? 0 : shard, lost, bytes_of(whole, len));
    free(whole);
}

/* A database that was freed may have left its address to this one. */
static void take_handle(struct process *p, size_t shard, struct store_db *db)
{
    for (size_t s = 0; s < p->options.shard_count; s++) {
        if (p->dbs[s].db == db) {
            p->dbs[s].db = NULL;
        }
    }
    p->dbs[shard].db = db;
}

void process_store_answers(struct process *p, const struct store_event *event)
{
    for (size_t s = 0; s < p->options.shard_count; s++) {
        if (event->kind == STORE_OPENED && p->dbs[s].opening && event->token == p->dbs[s].token) {
            p->dbs[s].opening = false;
            if (event->rc.code == SILO_OK) {
                take_handle(p, s, event->db);
                p->options.on_open(p, s, event->epoch);
            }
        }
    }
}

void process_init(struct process *p, const struct process_options *options)
{
    *p = (struct process){.options = *options};
    ASSERT(options->shard_count >= 1 && options->shard_count <= PROCESS_SHARDS_MAX);
    p->env =
        (struct env){.wall_ms = env_wall, .mono_us = env_mono, .random = env_bytes, .context = p};
    net_host_init(&p->host, options->net, &p->env);
    (void)snprintf(p->name, sizeof p->name, "n%u", options->id_number);
    (void)snprintf(p->address, sizeof p->address, "n%u", options->number);
}

void process_deinit(struct process *p)
{
    ASSERT(!process_lives(p));
}

/* --- life --- */

static void control_freed(struct shard_control *control)
{
    free(control);
}

static void control_one(struct process *p, size_t shard,
                        void (*ask)(struct shards *shards, struct shard_ref ref,
                                    struct shard_control *control))
{
    struct shard_control *control = xcalloc(1, sizeof *control);
    control->done = control_freed;
    ask(p->shards, p->refs[shard], control);
}

static void control_all(struct process *p, void (*ask)(struct shards *shards, struct shard_ref ref,
                                                       struct shard_control *control))
{
    for (size_t i = 0; i < p->options.shard_count; i++) {
        control_one(p, i, ask);
    }
}

static void publish(struct process *p)
{
    struct directory_builder builder;
    directory_builder_init(&builder, &(struct uuid){{0}});
    for (size_t i = 0; i < p->options.shard_count; i++) {
        struct directory_shard shard = {
            .id = process_shard_id(i), .place = PLACE_HERE, .ref = p->refs[i]};
        if (p->options.tenancy && p->options.shard_count == 2) {
            memcpy(i == 0 ? shard.range_end : shard.range_start, "8000000000000000",
                   sizeof shard.range_start);
        }
        directory_builder_shard(&builder, &shard);
    }
    directory_publish(&p->directory, directory_builder_finish(&builder));
}

/* What has opened is polled by those who wait. */
static void told(void *context, struct shard_notice *notice)
{
    struct process *p = context;
    if (p->node != NULL) {
        node_told(p->node, notice);
        return;
    }
    if (notice->status == SHARD_OPEN) {
        publish(p);
    }
    free(notice);
}

static struct shard_options options_of(const struct process *p, size_t shard)
{
    return (struct shard_options){
        .id = process_shard_id(shard),
        .path = paths[shard],
        .order = p->options.order,
        .wal = {.flush_spacing_ms = p->options.flush_spacing_ms,
                .objects_max = p->options.wal_objects_max},
    };
}

static void shards_make(struct process *p)
{
    const struct shards_options options = {
        .env = &p->env,
        .store = p->options.store,
        .executors = 1,
        .limiter = p->options.limiter,
        .completed_expire_ms = p->options.completed_expire_ms,
        .terminal_expire_ms = p->options.terminal_expire_ms,
        .by_hand = true,
        .told = told,
        .context = p,
    };
    p->shards = shards_new(&options);
}

/* --- a node --- */

static const struct store_ops *store_ops(const struct process *p)
{
    return store_ops_of(p->options.store);
}

static void describe(void *context, const struct cluster_shard *shard, const char *id,
                     struct shard_options *ret_options)
{
    (void)id;
    *ret_options = options_of(context, process_shard_number(&shard->id));
    ret_options->path = xstrdup(ret_options->path);
    ret_options->order = shard->order;
}

static void node_begin(struct process *p)
{
    const uint64_t nonce = p->starts * PROCESS_NONCES + p->options.number;
    p->coord = coord_member_new(p->options.coordinator, p->name, nonce, p->options.mono_ahead_us);
    ASSERT(store_ops(p)->queue_new(p->options.store, &p->queue, NULL).code == SILO_OK);
    const struct node_options options = {
        .env = &p->env,
        .coord = &p->coord->coord,
        .shards = p->shards,
        .home = &p->directory,
        .cluster = {.self = {.id = p->name, .nonce = nonce, .address = p->address},
                    .settings = {.shard_count = (uint32_t)p->options.shard_count,
                                 .order = p->options.order},
                    .guarded = true,
                    .ttl_ms = COORDINATOR_TTL_US / 1000},
        .store = p->options.store,
        .queue = p->queue,
        .describe = describe,
        .context = p,
    };
    p->node = node_new(&options);
}

bool process_refused(const struct process *p)
{
    const silo_rc rc = p->node != NULL ? node_check(p->node, NULL) : RC_OK;
    return rc.code != SILO_OK && rc.code != SILO_UNAVAILABLE;
}

static void node_end(struct process *p, enum store_mem_survival survival)
{
    store_mem_crash(p->options.store, p->queue, survival);
    p->node = node_free(p->node);
    (void)coord_free(&p->coord->coord);
    p->coord = NULL;
    store_ops(p)->queue_free(p->queue);
    p->queue = NULL;
}

/* Something waits for a turn of the node, or waits for the executor because of the last one. */
static bool node_due(const struct process *p)
{
    return p->node != NULL && (coord_member_due(p->coord) || !node_sleep(p->node) ||
                               mailbox_count(&p->executor->controls) != 0);
}

/* --- begin and end --- */

static void all_begin(struct process *p)
{
    for (size_t i = 0; i < p->options.shard_count; i++) {
        const struct shard_options options = options_of(p, i);
        p->refs[i] = shards_add(p->shards, &options);
        p->dbs[i].told = true;
        p->dbs[i].taken = false;
    }
    publish(p);
}

void process_start(struct process *p)
{
    ASSERT(!process_lives(p));
    p->steady = (struct steady){.started = false};
    (void)env_wall(p);
    shards_make(p);
    struct silo_err err;
    ASSERT(shards_start(p->shards, &err).code == SILO_OK);
    p->executor = shards_executor(p->shards, 0);
    directory_home_init(&p->directory);
    if (p->options.coordinator == NULL) {
        all_begin(p);
    }
    const struct service_options options = {.shards = p->shards,
                                            .directory = &p->directory,
                                            .loops = 1,
                                            .env = &p->env,
                                            .tenancy = p->options.tenancy};
    p->service = service_new(&options);
    net_host_clear(&p->host);
    const struct rpc_method *method = NULL;
    for (size_t i = 0; (method = service_rpc_method(p->service, i)) != NULL; i++) {
        net_host_add(&p->host, method);
    }
    p->starts++;
    p->next_us = 0;
    if (p->options.coordinator != NULL) {
        node_begin(p);
        return;
    }
    p->host.up = true;
    control_all(p, shard_open);
}

void process_open(struct process *p, size_t shard)
{
    p->dbs[shard].told = true;
    p->dbs[shard].taken = false;
    control_one(p, shard, shard_open);
}

void process_close(struct process *p)
{
    shards_release_polls(p->shards);
    if (p->node != NULL) {
        node_leave(p->node);
    } else {
        control_all(p, shard_close);
    }
}

bool process_closed(const struct process *p)
{
    if (p->node != NULL) {
        return node_left(p->node);
    }
    for (size_t i = 0; i < p->options.shard_count; i++) {
        if (process_status(p, i) != SHARD_CLOSED) {
            return false;
        }
    }
    return true;
}

static void ops_end(struct incarnation *inc)
{
    for (struct list_node *n = list_first(&inc->ops); n != NULL; n = list_first(&inc->ops)) {
        struct op *op = CONTAINER_OF(n, struct op, node);
        if (op->kind == OP_READ) {
            core_read_end(inc->core, op->read, false, false);
        } else if (op->kind == OP_WANTS && op->cmd != NULL) { /* else it was failed before */
            request_fail(op->cmd, SILO_UNAVAILABLE, "the process died");
        }
        op_free(op);
    }
}

/* Requests and controls that wait in the mailboxes; true when there were any. */
static bool mail_end(struct executor *executor)
{
    struct mail *mail = mailbox_take(&executor->requests);
    bool any = mail != NULL;
    while (mail != NULL) {
        struct shard_request *request = CONTAINER_OF(mail, struct shard_request, mail);
        mail = mail->next;
        request_fail(&request->cmd, SILO_UNAVAILABLE, "the process died");
    }
    mail = mailbox_take(&executor->controls);
    any = any || mail != NULL;
    while (mail != NULL) {
        struct shard_control *control = CONTAINER_OF(mail, struct shard_control, mail);
        mail = mail->next;
        control->done(control);
    }
    return any;
}

static void shard_end(struct shard *shard)
{
    while (shard->inc != NULL) { /* a control that waited may begin the next one */
        life_fail(shard->inc, SILO_UNAVAILABLE, "the process died");
    }
    if (shard->control != NULL) { /* one that was being served without an incarnation */
        shard->control->done(shard->control);
        shard->control = NULL;
    }
    while (shard->waiting != NULL) {
        struct shard_control *control = CONTAINER_OF(shard->waiting, struct shard_control, mail);
        shard->waiting = shard->waiting->next;
        control->done(control);
    }
}

void process_kill(struct process *p, enum store_mem_survival survival)
{
    struct executor *executor = p->executor;
    p->host.up = false;
    p->host.dying = true;
    net_host_break(&p->host);
    p->options.on_dying(p);
    store_mem_crash(p->options.store, executor->queue, survival);
    process_pause(p, false);
    for (size_t i = 0; i < p->options.shard_count; i++) {
        p->dbs[i].db = NULL;
        p->dbs[i].opening = false;
    }
    struct list_node *next = NULL;
    for (struct list_node *n = list_first(&executor->owned); n != NULL; n = next) {
        next = list_next(&executor->owned, n); /* one that is being removed goes */
        shard_end(CONTAINER_OF(n, struct shard, owned));
    }
    for (struct list_node *n = list_first(&executor->dead); n != NULL;
         n = list_next(&executor->dead, n)) {
        ops_end(CONTAINER_OF(n, struct incarnation, dead));
    }
    while (mail_end(executor) || net_host_run_posts(&p->host)) {
        /* an answer can lead to another request */
    }
    if (p->node != NULL) {
        node_end(p, survival);
    }
    life_reap(executor);
    shards_stop(p->shards);
    p->service = service_free(p->service);
    net_host_end(&p->host);
    directory_home_deinit(&p->directory);
    p->shards = shards_free(p->shards);
    p->executor = NULL;
    p->host.dying = false;
}

void process_fence(struct process *p, size_t shard, int64_t *now_us)
{
    struct store *store = p->options.store;
    const struct store_ops *ops = store_ops_of(store);
    struct store_queue *queue = NULL;
    ASSERT(ops->queue_new(store, &queue, NULL).code == SILO_OK);
    const struct store_open_args args = {.path = paths[shard]};
    ASSERT(ops->open(store, queue, &args, 1, NULL).code == SILO_OK);
    bool closed = false;
    for (int i = 0; i < 5000 && !closed; i++) {
        struct store_event event;
        *now_us += 1000;
        (void)store_mem_step(store);
        while (ops->queue_drain(queue, &event, 1) == 1) {
            if (event.kind == STORE_OPENED && event.rc.code == SILO_OK) {
                /*
                 * An opening that is told or under way comes later, and takes the shard rightly.
                 * And an opening of ours that failed before its claim leaves the same epoch to this
                 * one: nothing tells the two apart.
                 */
                p->dbs[shard].taken = !p->dbs[shard].told && !p->dbs[shard].opening &&
                                      event.epoch > process_shard(p, shard)->epoch;
                ASSERT(ops->close(event.db, STORE_CLOSE_DROP, 2, NULL).code == SILO_OK);
            }
            closed = event.kind == STORE_CLOSED ||
                     (event.kind == STORE_OPENED && event.rc.code != SILO_OK);
            ops->event_free(&event);
        }
    }
    ASSERT(closed);
    ops->queue_free(queue);
}

/* --- turns --- */

bool process_turn(struct process *p)
{
    if (p->paused) {
        return false;
    }
    int64_t next_us = executor_turn(p->executor);
    const bool moved = node_due(p);
    if (p->node != NULL) {
        next_us = earlier(node_turn(p->node), next_us);
        p->host.up = p->host.up || node_map(p->node) != NULL;
    }
    p->next_us = next_us == INT64_MAX ? next_us : next_us - p->options.mono_ahead_us;
    return net_host_run_posts(&p->host) || moved;
}

int64_t process_next_us(const struct process *p)
{
    if (!process_lives(p) || p->paused) {
        return INT64_MAX;
    }
    return node_due(p) ? 0 : p->next_us;
}

void process_pause(struct process *p, bool paused)
{
    p->paused = paused;
    p->next_us = 0;
    net_host_pause(&p->host, paused);
}

void process_cut_store(struct process *p, bool cut)
{
    if (process_lives(p)) {
        store_mem_cut(p->executor->queue, cut);
        store_mem_cut(p->queue, cut);
    }
}

struct shard *process_shard(const struct process *p, size_t shard)
{
    if (p->node == NULL) {
        return shards_shard(p->shards, p->refs[shard]);
    }
    struct shard *found = NULL;
    for (struct list_node *n = list_first(&p->executor->owned); n != NULL;
         n = list_next(&p->executor->owned, n)) {
        struct shard *one = CONTAINER_OF(n, struct shard, owned);
        found = strcmp(one->path, paths[shard]) == 0 ? one : found;
    }
    return found;
}

enum shard_status process_status(const struct process *p, size_t shard)
{
    const struct shard *found = process_lives(p) ? process_shard(p, shard) : NULL;
    return found != NULL ? found->status : SHARD_CLOSED;
}

bool process_serves(const struct process *p, size_t shard)
{
    return process_status(p, shard) == SHARD_OPEN;
}

bool process_is_open(const struct process *p)
{
    bool open = process_lives(p);
    for (size_t i = 0; i < p->options.shard_count; i++) {
        open = open && process_serves(p, i);
    }
    return open;
}

bool process_rests(const struct process *p, size_t shard)
{
    if (!process_serves(p, shard) || p->paused) {
        return false;
    }
    const struct incarnation *inc = process_shard(p, shard)->inc;
    return inc != NULL && inc->phase == INC_OPEN && list_empty(&inc->batches) &&
           list_empty(&inc->ops) && core_view(inc->core)->open_rows == 0 && !inc->outage;
}

bool process_stats(const struct process *p, size_t shard, struct core_stats *ret)
{
    const struct shard *found = process_lives(p) ? process_shard(p, shard) : NULL;
    const struct incarnation *inc = found != NULL ? found->inc : NULL;
    if (inc == NULL || inc->phase != INC_OPEN) {
        return false;
    }
    *ret = core_stats(inc->core);
    return true;
}
