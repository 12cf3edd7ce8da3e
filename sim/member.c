/* sim/member.c - see member.h. */
#include "sim/member.h"

/* A shard's control under way; one at a time. */
struct order {
    struct shard_control control;
    struct member *member;
    size_t shard;
    bool closes, under_way, done;
};

struct member {
    struct process *process;
    struct coord_member *coord;
    struct cluster *cluster;
    struct store_queue *queue;
    struct order orders[PROCESS_SHARDS_MAX];
    bool close_due[PROCESS_SHARDS_MAX]; /* after the opening that is under way */
    bool fenced[PROCESS_SHARDS_MAX];    /* and told so */
    bool left;
};

static const struct store_ops *ops_of(const struct member *member)
{
    return store_ops_of(member->process->options.store);
}

struct member *member_new(struct process *process, struct coordinator *coordinator)
{
    struct member *member = xcalloc(1, sizeof *member);
    const uint64_t nonce = process->starts * 16 + process->options.number;
    member->process = process;
    member->coord = coord_member_new(coordinator, process->name, nonce);
    const struct cluster_options options = {
        .self = {.id = process->name, .nonce = nonce, .address = process->name},
        .settings = {.shard_count = (uint32_t)process->options.shard_count,
                     .order = process->options.order},
        .guarded = true,
        .ttl_ms = COORDINATOR_TTL_US / 1000,
    };
    member->cluster = cluster_new(&options, *process->options.now_us / 1000);
    ASSERT(ops_of(member)->queue_new(process->options.store, &member->queue, NULL).code == SILO_OK);
    return member;
}

struct member *member_free(struct member *member)
{
    (void)coord_free(&member->coord->coord);
    member->cluster = cluster_free(member->cluster);
    ops_of(member)->queue_free(member->queue);
    free(member);
    return NULL;
}

struct coord_member *member_coord(struct member *member)
{
    return member->coord;
}

struct store_queue *member_queue(struct member *member)
{
    return member->queue;
}

bool member_due(const struct member *member)
{
    bool due = coord_member_due(member->coord);
    for (size_t i = 0; i < member->process->options.shard_count; i++) {
        due = due || member->orders[i].done;
    }
    return due;
}

void member_leave(struct member *member)
{
    cluster_event(member->cluster, &(struct cluster_event){.kind = EVENT_LEAVE});
}

bool member_left(const struct member *member)
{
    return member->left;
}

/* --- what the cluster is told --- */

static void tell(struct member *member, enum cluster_event_kind kind, size_t shard, silo_rc rc,
                 uint64_t epoch)
{
    cluster_event(member->cluster,
                  &(struct cluster_event){
                      .kind = kind, .shard = process_shard_id(shard), .rc = rc, .epoch = epoch});
}

static void take_coord(struct member *member)
{
    struct coord *coord = &member->coord->coord;
    struct cluster_event event;
    while (coord->ops->next_event(coord, &event)) {
        cluster_event(member->cluster, &event);
    }
}

static void take_store(struct member *member)
{
    struct store_event event;
    while (ops_of(member)->queue_drain(member->queue, &event, 1) == 1) {
        if (event.kind == STORE_OBJECT) {
            tell(member, event.rc.code == SILO_OK ? EVENT_WRITER : EVENT_WRITER_FAILED,
                 (size_t)event.token, event.rc, event.seq);
        }
        ops_of(member)->event_free(&event);
    }
}

static void order_done(struct shard_control *control)
{
    CONTAINER_OF(control, struct order, control)->done = true;
}

static void order_begin(struct member *member, size_t shard, bool closes,
                        const struct cluster_action *action)
{
    struct order *order = &member->orders[shard];
    ASSERT(!order->under_way);
    *order = (struct order){.control = {.done = order_done,
                                        .guarded = action->guarded,
                                        .expected_epoch = action->expected},
                            .member = member,
                            .shard = shard,
                            .closes = closes,
                            .under_way = true};
    member->fenced[shard] = false;
    if (closes) {
        shard_close(member->process->shards, member->process->refs[shard], &order->control);
    } else {
        shard_open(member->process->shards, member->process->refs[shard], &order->control);
    }
}

static void take_shards(struct member *member)
{
    for (size_t i = 0; i < member->process->options.shard_count; i++) {
        struct order *order = &member->orders[i];
        if (order->done) {
            order->done = order->under_way = false;
            const silo_rc rc = order->control.rc;
            const enum cluster_event_kind opened =
                rc.code == SILO_OK ? EVENT_OPENED : EVENT_OPEN_FAILED;
            tell(member, order->closes ? EVENT_CLOSED : opened, i, rc, 0);
            if (member->close_due[i]) {
                member->close_due[i] = false;
                order_begin(member, i, true, &(struct cluster_action){.guarded = false});
            }
        }
        if (!order->under_way && !member->fenced[i] &&
            shard_status(member->process->shards, member->process->refs[i]) == SHARD_FENCED) {
            member->fenced[i] = true;
            tell(member, EVENT_FENCED, i, RC_OK, 0);
        }
    }
}

/* --- what it asks for --- */

static void do_open(struct member *member, const struct cluster_action *action, size_t shard)
{
    if (action->ref.generation == 0) { /* all shards have their places from the beginning */
        const struct cluster_event placed = {.kind = EVENT_OPENING,
                                             .shard = action->shard,
                                             .ref = {.slot = (uint32_t)shard, .generation = 1}};
        cluster_event(member->cluster, &placed);
    }
    order_begin(member, shard, false, action);
}

static void do_close(struct member *member, size_t shard)
{
    if (member->orders[shard].under_way) {
        member->close_due[shard] = true;
    } else {
        order_begin(member, shard, true, &(struct cluster_action){.guarded = false});
    }
}

static void read_writer(struct member *member, size_t shard)
{
    struct store *store = member->process->options.store;
    const struct store_open_args place = {.path = process_path(shard)};
    ASSERT(ops_of(member)->db_epoch(store, member->queue, &place, shard, NULL).code == SILO_OK);
}

static void do_action(struct member *member, const struct cluster_action *from)
{
    const struct cluster_action action = *from; /* what it lends is used before the next call */
    struct coord *coord = &member->coord->coord;
    const size_t shard = process_shard_number(&action.shard);
    switch (action.kind) {
    case ACTION_JOIN:
        coord->ops->join(coord);
        break;
    case ACTION_READ_MAP:
        coord->ops->read_map(coord);
        break;
    case ACTION_COMMIT_MAP:
        coord->ops->commit_map(coord, action.number, action.text);
        break;
    case ACTION_READ_OWNER:
        coord->ops->read_owner(coord, &action.shard);
        break;
    case ACTION_CLAIM:
        coord->ops->claim(coord, &action.shard, action.expected, action.map);
        break;
    case ACTION_RELEASE:
        coord->ops->release(coord, &action.shard, action.epoch);
        break;
    case ACTION_LEAVE:
        coord->ops->leave(coord);
        break;
    case ACTION_READ_WRITER:
        read_writer(member, shard);
        break;
    case ACTION_OPEN:
        do_open(member, &action, shard);
        break;
    case ACTION_CLOSE:
        do_close(member, shard);
        break;
    case ACTION_REMOVE:
    case ACTION_PUBLISH:
        break; /* shards keep their places here, and clients look for themselves */
    case ACTION_REFUSE:
        ASSERT(!"the map is refused");
        break;
    case ACTION_LEFT:
        member->left = true;
        break;
    }
}

int64_t member_turn(struct member *member)
{
    struct coord *coord = &member->coord->coord;
    const int64_t now_ms = *member->process->options.now_us / 1000;
    int64_t next_us = coord->ops->turn(coord);
    cluster_set_time(member->cluster, now_ms);
    take_coord(member);
    take_store(member);
    take_shards(member);
    struct cluster_action action;
    while (cluster_action_next(member->cluster, &action)) {
        do_action(member, &action);
    }
    const int64_t cluster_ms = cluster_next_mono_ms(member->cluster);
    const int64_t cluster_us = cluster_ms > INT64_MAX / 1000 ? INT64_MAX : cluster_ms * 1000;
    const int64_t coord_us = coord->ops->turn(coord); /* what was just asked has its own times */
    next_us = coord_us < next_us ? coord_us : next_us;
    return cluster_us < next_us ? cluster_us : next_us;
}
