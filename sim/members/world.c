/* sim/members/world.c - one step at a time: which, a seed decides. */
#include "sim/members/members.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[MEMBERS_NODES] = {"node-0", "node-1", "node-2", "node-3", "node-4"};

const char *node_name(int node)
{
    return node == NOBODY ? "nobody" : names[node];
}

int node_number(const char *name)
{
    for (int i = 0; i < MEMBERS_NODES; i++) {
        if (strcmp(name, names[i]) == 0) {
            return i;
        }
    }
    return NOBODY;
}

/* splitmix64 */
uint64_t world_random(struct world *world, uint64_t below)
{
    uint64_t x = world->random += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (x ^ (x >> 31)) % below;
}

int world_shard(const struct world *world, const struct uuid *id)
{
    for (size_t i = 0; i < world->shard_count; i++) {
        if (uuid_eq(&world->shards[i], id)) {
            return (int)i;
        }
    }
    return NOBODY;
}

void world_fail(struct world *world, const char *rule, const char *fmt, ...)
{
    if (world->failed) {
        return;
    }
    world->failed = true;
    (void)snprintf(world->rule, sizeof world->rule, "%s", rule);
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(world->text, sizeof world->text, fmt, args);
    va_end(args);
}

void world_say(const struct world *world, const char *fmt, ...)
{
    if (world->trace) {
        va_list args;
        va_start(args, fmt);
        (void)printf("%8lld  ", (long long)world->now_ms);
        (void)vprintf(fmt, args);
        (void)printf("\n");
        va_end(args);
    }
}

struct letter *letter_new(struct list *list)
{
    struct letter *letter = xcalloc(1, sizeof *letter);
    list_push_back(list, &letter->node);
    return letter;
}

void letter_free(struct letter *letter)
{
    free(letter->text);
    free(letter);
}

void world_init(struct world *world, uint64_t seed, bool trace)
{
    *world = (struct world){.seed = seed, .random = seed, .now_ms = 1000, .trace = trace};
    for (size_t i = 0; i < MEMBERS_SHARDS; i++) {
        world->records[i].holder = NOBODY;
        world->engine[i].open_by = NOBODY;
        world->engine[i].log_at = NOBODY;
    }
    static const uint64_t unrest[] = {12, 40, 150};
    world->nodes = 3 + (int)world_random(world, MEMBERS_NODES - 2);
    world->unrest = unrest[world_random(world, 3)];
    world->pinned = world_random(world, 4) == 0;
}

void world_deinit(struct world *world)
{
    for (int i = 0; i < MEMBERS_NODES; i++) {
        if (world->lives[i].cluster != NULL) {
            node_kill(world, i);
        }
    }
    cluster_map_deinit(&world->map);
    free(world->map_text);
}

/* --- steps --- */

static void advance(struct world *world, int64_t by_ms)
{
    world->now_ms += by_ms;
    for (int i = 0; i < MEMBERS_NODES; i++) {
        if (world->lives[i].cluster != NULL && !world->lives[i].still) {
            cluster_set_time(world->lives[i].cluster, world->now_ms);
            node_act(world, i);
        }
    }
}

/* One thing that is under way at the node goes on; false: nothing is. */
static bool node_step(struct world *world, int node)
{
    struct life *life = &world->lives[node];
    if (life->cluster == NULL || life->still) {
        return false;
    }
    for (uint64_t tries = 0, first = world_random(world, 4); tries < 4; tries++) {
        const uint64_t which = (first + tries) % 4;
        if (which == 0 && !life->cut && !list_empty(&life->coord_events)) {
            node_tell(world, node, &life->coord_events);
        } else if (which == 1 && !list_empty(&life->own_events)) {
            node_tell(world, node, &life->own_events);
        } else if (which == 2 && !life->cut && coordinator_serve(world, node)) {
            world_say(world, "%s is served", node_name(node));
        } else if (which == 3 && !list_empty(&life->work)) {
            node_work(world, node);
        } else {
            continue;
        }
        node_act(world, node);
        return true;
    }
    return false;
}

static void disturb_life(struct world *world, int node)
{
    struct life *life = &world->lives[node];
    if (life->cluster == NULL) {
        node_start(world, node);
        node_act(world, node);
    } else if (life->left || world_random(world, 3) == 0) {
        node_kill(world, node);
    } else if (world_random(world, 4) == 0) {
        const struct cluster_event event = {.kind = EVENT_LEAVE};
        life->leaves = true;
        cluster_event(life->cluster, &event);
        node_act(world, node);
    }
}

static void disturb(struct world *world, int node)
{
    struct life *life = &world->lives[node];
    switch (world_random(world, 9)) {
    case 0:
    case 1:
        life->cut = !life->cut && world_random(world, 2) == 0;
        return;
    case 2:
        life->still = !life->still && world_random(world, 2) == 0;
        return;
    case 3: /* one that is heard of can seem to be gone, too */
        coordinator_expire(world, node);
        return;
    case 4:
        if (world_random(world, 3) == 0) {
            coordinator_split(world);
        }
        return;
    case 5:
        node_question(world, node);
        return;
    default:
        disturb_life(world, node);
        return;
    }
}

bool world_step(struct world *world)
{
    world->steps++;
    const int node = (int)world_random(world, (uint64_t)world->nodes);
    if (!world->calm && world_random(world, world->unrest) == 0) {
        disturb(world, node);
        return true;
    }
    if (!world->calm && world_random(world, 20) == 0) {
        advance(world, (int64_t)world_random(world, 400));
        return true;
    }
    for (int i = 0; i < MEMBERS_NODES; i++) {
        if (node_step(world, (node + i) % MEMBERS_NODES)) {
            return true;
        }
    }
    if (!world->calm) {
        advance(world, (int64_t)world_random(world, 400));
    }
    return false;
}
