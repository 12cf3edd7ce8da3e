/*
 * sim/members/engine.c - the storage engine: who writes to a shard's database, and who was fenced;
 * and in worlds where logs lie with the nodes, whose log has what the database has not.
 */
#include "sim/members/members.h"

static void fence(struct world *world, int shard)
{
    const int before = world->engine[shard].open_by;
    world->engine[shard].open_by = NOBODY;
    if (before != NOBODY) {
        letter_new(&world->lives[before].own_events)->event =
            (struct cluster_event){.kind = EVENT_FENCED, .shard = world->shards[shard]};
    }
}

static void check_opening(struct world *world, int node, int shard)
{
    const int before = world->engine[shard].open_by, log_at = world->engine[shard].log_at;
    if (before != NOBODY && before != node && world->records[shard].holder == before) {
        world_fail(world, "rightful", "%s takes shard %d from %s, whose it is", node_name(node),
                   shard, node_name(before));
    } else if (log_at != NOBODY && log_at != node && !world->engine[shard].given_up) {
        world_fail(world, "pinned", "%s opens shard %d without the log that %s has",
                   node_name(node), shard, node_name(log_at));
    }
}

static void serve_open(struct world *world, int node, const struct cluster_action *action,
                       struct cluster_event *ret_event)
{
    const int shard = world_shard(world, &action->shard);
    ret_event->kind = EVENT_OPEN_FAILED;
    if (action->guarded && world->engine[shard].writer != action->expected) {
        ret_event->rc.code = SILO_CONFLICT;
        return;
    }
    const bool fails = !world->calm && world_random(world, 6) == 0;
    if (fails && world_random(world, 2) == 0) {
        ret_event->rc.code = SILO_UNAVAILABLE;
        return;
    }
    check_opening(world, node, shard);
    fence(world, shard);
    world->engine[shard].writer++;
    if (fails) { /* it had claimed the database, and did not hear of it */
        ret_event->rc.code = SILO_UNAVAILABLE;
        return;
    }
    world->engine[shard].open_by = node;
    world->engine[shard].open_nonce = world->lives[node].nonce;
    world->engine[shard].log_at = world->pinned ? node : NOBODY;
    world->engine[shard].given_up =
        world->engine[shard].given_up && world->records[shard].holder != node;
    ret_event->kind = EVENT_OPENED;
}

static void serve_close(struct world *world, int node, int shard, struct cluster_event *ret_event)
{
    ret_event->kind = EVENT_CLOSED;
    if (world->engine[shard].open_by == node) {
        ret_event->empty = world->calm || world_random(world, 4) != 0;
        world->engine[shard].open_by = NOBODY;
        world->engine[shard].log_at = ret_event->empty ? NOBODY : world->engine[shard].log_at;
    }
}

static void serve_writer(struct world *world, int shard, struct cluster_event *ret_event)
{
    ret_event->kind = EVENT_WRITER;
    ret_event->epoch = world->engine[shard].writer;
    if (!world->calm && world_random(world, 10) == 0) {
        ret_event->kind = EVENT_WRITER_FAILED;
        ret_event->rc.code = SILO_UNAVAILABLE;
    }
}

static void serve_prepare(struct world *world, struct cluster_event *ret_event)
{
    ret_event->kind = EVENT_PREPARED;
    if (!world->calm && world_random(world, 8) == 0) {
        ret_event->rc.code = SILO_UNAVAILABLE;
    }
}

void engine_serve(struct world *world, int node, const struct cluster_action *action,
                  struct cluster_event *ret_event)
{
    const int shard = world_shard(world, &action->shard);
    *ret_event = (struct cluster_event){.shard = action->shard};
    if (action->kind == ACTION_OPEN) {
        serve_open(world, node, action, ret_event);
    } else if (action->kind == ACTION_CLOSE) {
        serve_close(world, node, shard, ret_event);
    } else if (action->kind == ACTION_PREPARE) {
        serve_prepare(world, ret_event);
    } else {
        serve_writer(world, shard, ret_event);
    }
}

void engine_kill(struct world *world, int node)
{
    for (size_t i = 0; i < world->shard_count; i++) {
        if (world->engine[i].open_by == node) {
            world->engine[i].open_by = NOBODY;
        }
    }
}
