/* bench/route.c - where calls go, see route.h. */
#include "route.h"

#include <stdlib.h>
#include <string.h>

#include "base/owner_headers.h"

#define CONNECT_US 5000000LL
#define READING_US 2000000LL   /* for a node to tell the topology */
#define READ_AGAIN_US 100000   /* least time between two readings */
#define READ_ALWAYS_US 1000000 /* between readings when nothing fails and there is no watch */
#define WATCH_AGAIN_US 500000
#define SETTLED_US 1500000
#define SETTLE_SECONDS 30.0

/* What this file keeps of the run; the nodes and shards are the bench's. */
static struct route {
    struct bench *bench;
    struct rpc_request reading, watch;
    struct rpc_timer read_timer, watch_timer;
    struct list waiting; /* calls that are sent again later */
    uint32_t read_turn, watch_turn;
    int64_t read_us;  /* when the latest reading began */
    int64_t moved_us; /* when a shard was last seen to have another owner */
    bool is_reading, read_wanted;
} route;

/* --- nodes --- */

static struct rpc_channel *channel_make(struct bench *bench, const char *address)
{
    struct silo_err err;
    struct rpc_channel *channel = NULL;
    const struct rpc_channel_options options = {
        .target = address, .calls_max = 1u << 20, .connect_timeout_us = 1000000};
    if (rpc_channel_new(bench->loop, &options, &channel, &err).code != SILO_OK) {
        bench_die("%s: %s", address, err.text);
    }
    return channel;
}

static uint32_t node_add(struct bench *bench, const char *address)
{
    for (uint32_t i = 0; i < bench->node_count; i++) {
        if (strcmp(bench->nodes[i].address, address) == 0) {
            return i;
        }
    }
    if (bench->node_count == BENCH_NODES_MAX) {
        bench_die("more than %u nodes", BENCH_NODES_MAX);
    }
    struct bench_node *node = &bench->nodes[bench->node_count];
    (void)snprintf(node->address, sizeof node->address, "%s", address);
    node->channels = xcalloc(bench->channel_count, sizeof(struct rpc_channel *));
    for (uint32_t i = 0; i < bench->channel_count; i++) {
        node->channels[i] = channel_make(bench, address);
    }
    node->control = channel_make(bench, address);
    list_init(&node->flying);
    return bench->node_count++;
}

/* --- shards --- */

const char *route_shard_of(const void *message)
{
    const ProtobufCMessage *m = message;
    const ProtobufCFieldDescriptor *field =
        m != NULL ? protobuf_c_message_descriptor_get_field_by_name(m->descriptor, "shard") : NULL;
    if (field == NULL || field->type != PROTOBUF_C_TYPE_STRING) {
        return NULL;
    }
    const char *text = NULL;
    memcpy(&text, (const char *)message + field->offset, sizeof text);
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        uint32_t set = 0;
        memcpy(&set, (const char *)message + field->quantifier_offset, sizeof set);
        text = set == field->id ? text : NULL;
    }
    return text != NULL && text[0] != '\0' ? text : NULL;
}

static int shard_compare(const void *key, const void *entry)
{
    return strcmp(key, ((const struct bench_shard *)entry)->id);
}

uint32_t route_shard_find(const struct bench *bench, const char *id)
{
    const struct bench_shard *shard = id != NULL ? bsearch(id, bench->shards, bench->shard_count,
                                                           sizeof *bench->shards, shard_compare)
                                                 : NULL;
    return shard != NULL ? (uint32_t)(shard - bench->shards) : ROUTE_NOBODY;
}

static int shards_compare(const void *a, const void *b)
{
    return strcmp(((const struct bench_shard *)a)->id, ((const struct bench_shard *)b)->id);
}

/* Which nodes have shards now. */
static void serving_count(struct bench *bench)
{
    bool has[BENCH_NODES_MAX] = {false};
    for (uint32_t i = 0; i < bench->shard_count; i++) {
        if (bench->shards[i].node != ROUTE_NOBODY) {
            has[bench->shards[i].node] = true;
        }
    }
    bench->serving_count = 0;
    for (uint32_t i = 0; i < bench->node_count; i++) {
        if (has[i]) {
            bench->serving[bench->serving_count++] = i;
        }
    }
}

static void shard_moved(struct bench *bench, struct bench_shard *shard, uint32_t node)
{
    if (shard->node == node) {
        return;
    }
    if (node != ROUTE_NOBODY && shard->last_node != node) {
        shard->moves++;
        shard->last_node = node;
    }
    shard->node = node;
    route.moved_us = env_mono_us(&env_system);
    serving_count(bench);
}

/* Calls that wait for another try go as soon as their shard has another owner. */
static void waiting_wake(struct bench *bench)
{
    const int64_t now = env_mono_us(&env_system);
    for (struct list_node *at = list_first(&route.waiting); at != NULL;
         at = list_next(&route.waiting, at)) {
        struct call *call = CONTAINER_OF(at, struct call, own.waiting);
        const uint32_t node =
            call->own.shard != ROUTE_NOBODY ? bench->shards[call->own.shard].node : ROUTE_NOBODY;
        if (node != ROUTE_NOBODY && node != call->own.node && !call->own.woken) {
            call->own.woken = true;
            rpc_timer_start(bench->loop, &call->own.timer,
                            now + (int64_t)bench_random_below(20000));
        }
    }
}

/*
 * A node that is no member any more answers nothing: a process that stands still closes no
 * connection. Polls are let be, since their answers hand something out.
 */
static void node_gone(struct bench_node *node)
{
    struct list_node *next = NULL;
    for (struct list_node *at = list_first(&node->flying); at != NULL; at = next) {
        next = list_next(&node->flying, at);
        struct call *call = CONTAINER_OF(at, struct call, own.flying);
        if (call->own.shard != ROUTE_NOBODY) {
            call->own.abandoned = true;
            rpc_channel_cancel(call->own.channel, &call->request);
        }
    }
}

static void members_take(struct bench *bench, const Silo__V1__GetClusterInfoResponse *m)
{
    for (uint32_t i = 0; m->n_members != 0 && i < bench->node_count; i++) {
        bool found = false;
        for (size_t k = 0; k < m->n_members && !found; k++) {
            found = strcmp(m->members[k]->grpc_addr, bench->nodes[i].address) == 0;
        }
        if (!found) {
            node_gone(&bench->nodes[i]);
        }
    }
}

static void topology_take(struct bench *bench, struct bytes reply)
{
    Silo__V1__GetClusterInfoResponse *m =
        silo__v1__get_cluster_info_response__unpack(NULL, reply.len, reply.ptr);
    for (size_t i = 0; m != NULL && i < m->n_shard_owners; i++) {
        const Silo__V1__ShardOwner *owner = m->shard_owners[i];
        const uint32_t shard = route_shard_find(bench, owner->shard_id);
        if (shard != ROUTE_NOBODY) {
            const bool has_owner = owner->grpc_addr[0] != '\0';
            shard_moved(bench, &bench->shards[shard],
                        has_owner ? node_add(bench, owner->grpc_addr) : ROUTE_NOBODY);
        }
    }
    if (m != NULL) {
        members_take(bench, m);
        silo__v1__get_cluster_info_response__free_unpacked(m, NULL);
        waiting_wake(bench);
    }
}

/* --- readings and the watch --- */

static void reading_done(struct rpc_request *request)
{
    struct bench *bench = request->context;
    route.is_reading = false;
    if (bench->closing) {
        return;
    }
    if (request->status == RPC_STATUS_OK) {
        topology_take(bench, request->reply);
    }
    route.read_turn++; /* one node may be out of date, or stand still */
    const bool soon = request->status != RPC_STATUS_OK || route.read_wanted;
    rpc_timer_start(bench->loop, &route.read_timer,
                    route.read_us + (soon ? READ_AGAIN_US : READ_ALWAYS_US));
}

static void reading_start(struct bench *bench)
{
    const int64_t now = env_mono_us(&env_system);
    if (route.is_reading || now < route.read_us + READ_AGAIN_US) {
        route.read_wanted = true;
        if (!route.is_reading) {
            rpc_timer_start(bench->loop, &route.read_timer, route.read_us + READ_AGAIN_US);
        }
        return;
    }
    route.is_reading = true;
    route.read_wanted = false;
    route.read_us = now;
    route.reading = (struct rpc_request){.path = SILO_PATH("GetClusterInfo"),
                                         .timeout_us = READING_US,
                                         .on_done = reading_done,
                                         .context = bench};
    rpc_channel_call(bench->nodes[route.read_turn % bench->node_count].control, &route.reading);
}

static void read_fire(struct rpc_timer *timer)
{
    (void)timer;
    if (!route.bench->closing) {
        reading_start(route.bench);
    }
}

static void watch_message(struct rpc_request *request, struct bytes message)
{
    struct bench *bench = request->context;
    if (!bench->closing) {
        topology_take(bench, message);
    }
}

static void watch_done(struct rpc_request *request)
{
    struct bench *bench = request->context;
    if (bench->closing) {
        return;
    }
    route.watch_turn++;
    if (request->status != RPC_STATUS_UNIMPLEMENTED) {
        rpc_timer_start(bench->loop, &route.watch_timer, env_mono_us(&env_system) + WATCH_AGAIN_US);
    }
    reading_start(bench);
}

static void watch_fire(struct rpc_timer *timer)
{
    (void)timer;
    struct bench *bench = route.bench;
    if (bench->closing) {
        return;
    }
    route.watch = (struct rpc_request){.path = SILO_PATH("WatchTopology"),
                                       .on_message = watch_message,
                                       .on_done = watch_done,
                                       .context = bench};
    rpc_channel_call(bench->nodes[route.watch_turn % bench->node_count].control, &route.watch);
}

static void follow_run(void *context)
{
    struct bench *bench = context;
    watch_fire(&route.watch_timer);
    reading_start(bench);
}

/* --- calls --- */

static void call_go(struct call *call)
{
    struct bench *bench = call->bench;
    uint32_t node =
        call->own.shard != ROUTE_NOBODY ? bench->shards[call->own.shard].node : ROUTE_NOBODY;
    if (node == ROUTE_NOBODY) {
        const uint32_t place = call->place + call->own.tries;
        node = bench->serving_count != 0 ? bench->serving[place % bench->serving_count]
                                         : place % bench->node_count;
    }
    call->own.node = node;
    call->own.abandoned = false;
    call->own.channel = bench->nodes[node].channels[call->place % bench->channel_count];
    list_push_back(&bench->nodes[node].flying, &call->own.flying);
    bench->calls_open++;
    rpc_channel_call(call->own.channel, &call->request);
}

static void again_fire(struct rpc_timer *timer)
{
    struct call *call = CONTAINER_OF(timer, struct call, own.timer);
    list_remove(&call->own.waiting);
    if (call->bench->closing) {
        return;
    }
    call->request.timeout_us = call->own.deadline_us - env_mono_us(&env_system);
    call_go(call);
}

void route_send(struct call *call, const void *message)
{
    struct bench *bench = call->bench;
    call->own.shard =
        bench->node_count > 1 ? route_shard_find(bench, route_shard_of(message)) : ROUTE_NOBODY;
    call->own.tries = call->own.redirects = 0;
    call->own.unsure = false;
    call->own.delay_us = ROUTE_DELAY_US;
    call->own.deadline_us = env_mono_us(&env_system) + call->request.timeout_us;
    call->own.timer.fire = again_fire;
    call_go(call);
}

static int64_t told_us(const struct rpc_request *request)
{
    const struct bytes told = rpc_request_trailer(request, RETRY_AFTER_HEADER);
    int64_t ms = 0;
    for (size_t i = 0; i < told.len && i < 9 && told.ptr[i] >= '0' && told.ptr[i] <= '9'; i++) {
        ms = ms * 10 + (told.ptr[i] - '0');
    }
    return ms * 1000;
}

/* Learns the owner that an answer names. */
static bool owner_learn(struct call *call)
{
    const struct bytes owner = rpc_request_trailer(&call->request, OWNER_ADDRESS_HEADER);
    char address[sizeof call->bench->nodes[0].address];
    if (call->own.shard == ROUTE_NOBODY || owner.len == 0 || owner.len >= sizeof address) {
        return false;
    }
    (void)snprintf(address, sizeof address, "%.*s", BYTES_FMT(owner));
    struct bench *bench = call->bench;
    shard_moved(bench, &bench->shards[call->own.shard], node_add(bench, address));
    return true;
}

static bool is_wrong_shard(const struct rpc_request *request)
{
    return request->status == RPC_STATUS_NOT_FOUND &&
           bytes_has(request->text, BYTES_LIT(ROUTE_WRONG_SHARD_TEXT));
}

static bool is_connectivity(const struct call *call)
{
    const struct rpc_request *request = &call->request;
    return call->own.abandoned || request->status == RPC_STATUS_UNAVAILABLE ||
           request->status == RPC_STATUS_DEADLINE_EXCEEDED ||
           (request->status == RPC_STATUS_INTERNAL &&
            bytes_has(request->text, BYTES_LIT("RST_STREAM")));
}

bool call_was_done(const struct call *call)
{
    return call->own.unsure && call->request.status == RPC_STATUS_NOT_FOUND &&
           !is_wrong_shard(&call->request);
}

bool route_again(struct call *call)
{
    struct bench *bench = call->bench;
    struct rpc_request *request = &call->request;
    const bool wrong = is_wrong_shard(request);
    const int64_t now = env_mono_us(&env_system);
    if (bench->node_count <= 1 || !(wrong || is_connectivity(call)) ||
        now >= call->own.deadline_us) {
        return false;
    }
    call->own.tries++;
    call->own.unsure = call->own.unsure || !wrong;
    const bool named = owner_learn(call);
    if (wrong && named && call->own.redirects < ROUTE_REDIRECTS_MAX) {
        call->own.redirects++;
        bench->redirects++;
        request->timeout_us = call->own.deadline_us - now;
        call_go(call);
        return true;
    }
    bench->retries++;
    call->own.redirects = 0;
    int64_t wait = told_us(request);
    if (wait == 0) {
        wait =
            call->own.delay_us / 2 + (int64_t)bench_random_below((uint64_t)call->own.delay_us / 2);
        call->own.delay_us = call->own.delay_us * 2 < ROUTE_DELAY_MAX_US ? call->own.delay_us * 2
                                                                         : ROUTE_DELAY_MAX_US;
    }
    if (call->own.shard == ROUTE_NOBODY && bench->serving_count > 1) {
        wait = wait < READ_AGAIN_US ? wait : READ_AGAIN_US; /* another node will do */
    }
    if (!named) {
        reading_start(bench);
    }
    call->own.woken = false;
    list_push_back(&route.waiting, &call->own.waiting);
    const int64_t at = now + wait < call->own.deadline_us ? now + wait : call->own.deadline_us;
    rpc_timer_start(bench->loop, &call->own.timer, at);
    return true;
}

/* --- the beginning and the end --- */

static void targets_add(struct bench *bench)
{
    char *copy = xstrdup(bench->options.target);
    char *rest = copy;
    for (char *one = strsep(&rest, ","); one != NULL; one = strsep(&rest, ",")) {
        if (one[0] != '\0') {
            (void)node_add(bench, one);
        }
    }
    free(copy);
    if (bench->node_count == 0) {
        bench_die("--target names no server");
    }
}

/* The first target that tells the topology. */
static Silo__V1__GetClusterInfoResponse *topology_ask(struct bench *bench)
{
    struct rpc_answer answer = {0};
    for (uint32_t i = 0; i < bench->node_count; i++) {
        rpc_channel_call_wait(bench->nodes[i].control, SILO_PATH("GetClusterInfo"), BYTES_NONE,
                              CONNECT_US, &answer);
        if (answer.status == RPC_STATUS_OK) {
            break;
        }
        if (i + 1 == bench->node_count) {
            bench_die("%s: %s: %.*s", bench->options.target, grpc_status_name(answer.status),
                      BYTES_FMT(answer.text));
        }
        rpc_answer_deinit(&answer);
    }
    Silo__V1__GetClusterInfoResponse *m =
        silo__v1__get_cluster_info_response__unpack(NULL, answer.reply.len, answer.reply.ptr);
    rpc_answer_deinit(&answer);
    if (m == NULL || m->n_shard_owners == 0) {
        bench_die("%s: the server knows no shard", bench->options.target);
    }
    return m;
}

static void shards_learn(struct bench *bench)
{
    Silo__V1__GetClusterInfoResponse *m = topology_ask(bench);
    const bool is_cluster = m->n_members > 1 || bench->node_count > 1;
    bench->shard_count = (uint32_t)m->n_shard_owners;
    bench->shards = xcalloc(bench->shard_count, sizeof *bench->shards);
    for (uint32_t i = 0; i < bench->shard_count; i++) {
        struct bench_shard *shard = &bench->shards[i];
        const Silo__V1__ShardOwner *owner = m->shard_owners[i];
        (void)snprintf(shard->id, sizeof shard->id, "%s", owner->shard_id);
        (void)snprintf(shard->range_start, sizeof shard->range_start, "%s", owner->range_start);
        (void)snprintf(shard->range_end, sizeof shard->range_end, "%s", owner->range_end);
        /* One server is reached by its target, whatever it advertises. */
        shard->node = !is_cluster                ? 0
                      : owner->grpc_addr[0] != 0 ? node_add(bench, owner->grpc_addr)
                                                 : ROUTE_NOBODY;
        shard->last_node = shard->node;
    }
    qsort(bench->shards, bench->shard_count, sizeof *bench->shards, shards_compare);
    serving_count(bench);
    silo__v1__get_cluster_info_response__free_unpacked(m, NULL);
}

void route_connect(struct bench *bench)
{
    route = (struct route){
        .bench = bench, .read_timer.fire = read_fire, .watch_timer.fire = watch_fire};
    list_init(&route.waiting);
    bench->node_count = 0;
    targets_add(bench);
    shards_learn(bench);
    if (bench->node_count > 1) {
        bench_on_loop(bench, follow_run, bench);
    }
}

void route_quiet(struct bench *bench)
{
    rpc_timer_stop(bench->loop, &route.read_timer);
    rpc_timer_stop(bench->loop, &route.watch_timer);
    struct list_node *at = NULL;
    while ((at = list_pop_front(&route.waiting)) != NULL) {
        rpc_timer_stop(bench->loop, &CONTAINER_OF(at, struct call, own.waiting)->own.timer);
    }
}

void route_disconnect(struct bench *bench)
{
    for (uint32_t i = 0; i < bench->node_count; i++) {
        struct bench_node *node = &bench->nodes[i];
        for (uint32_t k = 0; k < bench->channel_count; k++) {
            node->channels[k] = rpc_channel_free(node->channels[k]);
        }
        node->control = rpc_channel_free(node->control);
        free(node->channels);
        node->channels = NULL;
    }
    free(bench->shards);
    bench->shards = NULL;
}

struct settling {
    struct bench *bench;
    uint32_t nodes;
};

static bool is_settled(void *context)
{
    const struct settling *settling = context;
    return settling->bench->serving_count >= settling->nodes &&
           env_mono_us(&env_system) - route.moved_us > SETTLED_US;
}

/* Nodes that were started one after another give shards to each other at first. */
void route_settle(struct bench *bench)
{
    struct settling settling = {bench, server_count()};
    if (settling.nodes > 1) {
        settling.nodes = settling.nodes < bench->shard_count ? settling.nodes : bench->shard_count;
        (void)bench_wait(bench, SETTLE_SECONDS, is_settled, &settling);
    }
}

static void refresh_run(void *context)
{
    reading_start(context);
}

void route_refresh(struct bench *bench)
{
    bench_on_loop(bench, refresh_run, bench);
}

struct control {
    struct bench *bench;
    uint32_t shard;
    struct rpc_channel *channel;
};

static void control_run(void *context)
{
    struct control *control = context;
    const struct bench *bench = control->bench;
    uint32_t node =
        control->shard != ROUTE_NOBODY ? bench->shards[control->shard].node : ROUTE_NOBODY;
    if (node == ROUTE_NOBODY) {
        node = bench->serving_count != 0 ? bench->serving[0] : 0;
    }
    control->channel = bench->nodes[node].control;
}

struct rpc_channel *route_control(struct bench *bench, const char *shard)
{
    struct control control = {bench, route_shard_find(bench, shard), bench->nodes[0].control};
    if (bench->node_count > 1) {
        bench_on_loop(bench, control_run, &control);
    }
    return control.channel;
}
