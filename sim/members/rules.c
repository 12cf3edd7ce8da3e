/*
 * sim/members/rules.c - each action of a node is held against the rules, by what it was told and by
 * what is true.
 */
#include <string.h>

#include "sim/members/members.h"

bool rules_map_has(const struct world *world, const struct uuid *shard)
{
    return cluster_map_find(&world->map, shard) != NULL;
}

static bool is_open(const struct world *world, int node, int shard)
{
    return world->engine[shard].open_by == node &&
           world->engine[shard].open_nonce == world->lives[node].nonce;
}

/* --- what it is told --- */

static void see_members(struct world *world, struct life *life, const struct cluster_event *event)
{
    memset(life->member, 0, sizeof life->member);
    for (size_t i = 0; i < event->member_count; i++) {
        life->member[node_number(event->members[i].id)] = true;
    }
    life->changed_ms = world->now_ms;
}

static void see_record(struct world *world, int node, struct sight *sight, int holder)
{
    if (sight->holder == node && holder == NOBODY && sight->claimed) {
        sight->vanished_ms = world->now_ms;
    } else if (holder != NOBODY) {
        sight->vanished_ms = -CLUSTER_FORCED_PAUSE_MS; /* somebody had it since */
    }
    sight->holder = holder;
    sight->claimed = sight->claimed && holder == node;
}

static void see_owners(struct world *world, int node, const struct cluster_event *event)
{
    struct life *life = &world->lives[node];
    int holders[MEMBERS_SHARDS];
    for (size_t i = 0; i < MEMBERS_SHARDS; i++) {
        holders[i] = NOBODY;
    }
    for (size_t i = 0; i < event->owner_count; i++) {
        holders[world_shard(world, &event->owners[i].shard)] = node_number(event->owners[i].holder);
    }
    for (size_t i = 0; i < MEMBERS_SHARDS; i++) {
        see_record(world, node, &life->sights[i], holders[i]);
    }
}

static void see_shard(struct world *world, int node, struct sight *sight,
                      const struct cluster_event *event)
{
    const enum cluster_event_kind kind = event->kind;
    if (kind == EVENT_OWNER || kind == EVENT_OWNER_READ) {
        see_record(world, node, sight, node_number(event->owners[0].holder));
    }
    if (kind == EVENT_OWNER_READ && sight->holder == node && event->number >= sight->fenced_step) {
        sight->fenced = false;
        sight->claimed = true; /* the record says so */
    } else if (kind == EVENT_CLAIMED) {
        sight->claimed = true;
        sight->fenced = false;
        sight->holder = node;
    } else if (kind == EVENT_HANDED_OVER) {
        sight->claimed = false;
        sight->holder = sight->to;
        sight->to = NOBODY;
    } else if (kind == EVENT_CLOSED || kind == EVENT_HAND_OVER_LOST) {
        sight->to = NOBODY;
    } else if (kind == EVENT_FENCED) {
        sight->fenced = true;
        sight->fenced_step = world->steps;
    }
}

void rules_see(struct world *world, int node, const struct cluster_event *event)
{
    struct life *life = &world->lives[node];
    const bool owner = event->kind == EVENT_OWNER || event->kind == EVENT_OWNER_READ;
    const int at = world_shard(world, owner ? &event->owners[0].shard : &event->shard);
    if (event->kind == EVENT_MAP || event->kind == EVENT_MAP_COMMITTED) {
        const bool newer = event->number > life->map_number;
        life->changed_ms = newer ? world->now_ms : life->changed_ms;
        life->map_number = newer ? event->number : life->map_number;
    } else if (event->kind == EVENT_MEMBERS) {
        see_members(world, life, event);
    } else if (event->kind == EVENT_OWNERS) {
        see_owners(world, node, event);
    } else if (event->kind == EVENT_JOIN_TAKEN) {
        life->taken = true;
    } else if (event->kind == EVENT_CONFIRMED || event->kind == EVENT_LAPSED) {
        life->confirmed = event->kind == EVENT_CONFIRMED;
        life->taken = false;
    } else if (at != NOBODY) {
        see_shard(world, node, &life->sights[at], event);
    }
}

/* --- what it does --- */

static void check_claim(struct world *world, int node, const struct cluster_action *action,
                        int shard)
{
    const struct life *life = &world->lives[node];
    const struct sight *sight = &life->sights[shard];
    const int holder = sight->holder;
    if (!life->confirmed) {
        world_fail(world, "lapse", "%s claims shard %d, and is no member", node_name(node), shard);
    } else if (action->map != life->map_number) {
        world_fail(world, "map", "%s claims shard %d by map %llu, and was told of %llu",
                   node_name(node), shard, (unsigned long long)action->map,
                   (unsigned long long)life->map_number);
    } else if (holder != NOBODY && holder != node && life->member[holder]) {
        world_fail(world, "claim", "%s claims shard %d from %s, a member", node_name(node), shard,
                   node_name(holder));
    } else if (holder != NOBODY && holder != node && world->pinned) {
        world_fail(world, "pinned", "%s claims shard %d, whose log is with %s", node_name(node),
                   shard, node_name(holder));
    } else if (world->now_ms < sight->vanished_ms + CLUSTER_FORCED_PAUSE_MS) {
        world_fail(world, "forced", "%s claims shard %d, which was just taken from it",
                   node_name(node), shard);
    }
    if (action->map == world->map.number && !rules_map_has(world, &action->shard)) {
        world_fail(world, "map", "%s claims shard %d, which the map lacks", node_name(node), shard);
    }
}

static void check_open(struct world *world, int node, int shard)
{
    const struct sight *sight = &world->lives[node].sights[shard];
    if (!sight->claimed) {
        world_fail(world, "open", "%s opens shard %d, which it did not claim", node_name(node),
                   shard);
    } else if (sight->fenced) {
        world_fail(world, "fenced", "%s opens shard %d again, and did not read its record",
                   node_name(node), shard);
    }
}

/* The record goes, to nobody or to a successor. */
static void check_goes(struct world *world, int node, int shard, const char *what)
{
    if (!world->lives[node].confirmed) {
        world_fail(world, "lapse", "%s %s shard %d, and is no member", node_name(node), what,
                   shard);
    } else if (is_open(world, node, shard)) {
        world_fail(world, "release", "%s %s shard %d, and has it open", node_name(node), what,
                   shard);
    } else if (world->engine[shard].log_at == node && !world->engine[shard].given_up &&
               rules_map_has(world, &world->shards[shard])) {
        world_fail(world, "pinned", "%s %s shard %d, and its log is not empty", node_name(node),
                   what, shard);
    }
}

/* Whether the node knows of a shard that should have an owner, and has none. */
static bool sees_orphan(const struct world *world, int node)
{
    const struct life *life = &world->lives[node];
    const struct cluster_map *map = cluster_map(life->cluster);
    for (size_t i = 0; i < map->shard_count; i++) {
        const int holder = life->sights[world_shard(world, &map->shards[i].id)].holder;
        const bool dead = holder != NOBODY && !life->member[holder] && !world->pinned;
        if (map->shards[i].ring == NULL && (holder == NOBODY || dead)) {
            return true;
        }
    }
    return false;
}

static void check_prepare(struct world *world, int node, int shard)
{
    const struct life *life = &world->lives[node];
    if (!life->confirmed) {
        world_fail(world, "lapse", "%s prepares shard %d, and is no member", node_name(node),
                   shard);
    } else if (!life->leaves && sees_orphan(world, node)) {
        world_fail(world, "orphan", "%s gives shard %d away, and others have no owner",
                   node_name(node), shard);
    } else if (!life->leaves && world->now_ms < life->changed_ms + CLUSTER_QUIET_MS) {
        world_fail(world, "quiet", "%s gives shard %d away, and things changed %lld ms ago",
                   node_name(node), shard, (long long)(world->now_ms - life->changed_ms));
    }
}

static size_t moves(const struct life *life, int to)
{
    size_t count = 0;
    for (size_t i = 0; i < MEMBERS_SHARDS; i++) {
        const int other = life->sights[i].to;
        count += other != NOBODY && (to == NOBODY || other == to) ? 1 : 0;
    }
    return count;
}

/* So many may be on their way to one node at a time. */
static size_t toward_one(const struct life *life)
{
    size_t members = 0;
    for (int i = 0; i < MEMBERS_NODES; i++) {
        members += life->member[i] ? 1 : 0;
    }
    return members > 2 ? CLUSTER_MOVES_MAX / (members - 1) : CLUSTER_MOVES_MAX;
}

static void check_close(struct world *world, int node, const struct cluster_action *action,
                        int shard)
{
    const struct life *life = &world->lives[node];
    if (action->to == NULL || life->leaves) {
        return;
    }
    const size_t now = toward_one(life), then = life->sights[shard].toward_one;
    if (!life->sights[shard].prepared) {
        world_fail(world, "prepare", "%s closes shard %d for %s unprepared", node_name(node), shard,
                   action->to);
    } else if (moves(life, NOBODY) >= CLUSTER_MOVES_MAX) {
        world_fail(world, "many", "%s gives too many shards away at a time", node_name(node));
    } else if (world->now_ms > life->changed_ms + CLUSTER_PREPARE_MS &&
               moves(life, node_number(action->to)) >= (now > then ? now : then)) {
        world_fail(world, "many", "%s gives too many shards to %s at a time", node_name(node),
                   action->to);
    }
}

static void check_hand_over(struct world *world, int node, const struct cluster_action *action,
                            int shard)
{
    check_goes(world, node, shard, "hands over");
    const struct life *life = &world->lives[node];
    if (!life->member[node_number(action->to)] || node_number(action->to) == node) {
        world_fail(world, "successor", "%s hands shard %d over to %s, which is no other member",
                   node_name(node), shard, action->to);
    } else if (life->sights[shard].holder != node) {
        world_fail(world, "successor", "%s hands shard %d over, which is %s's", node_name(node),
                   shard, node_name(life->sights[shard].holder));
    }
}

static void check_force(struct world *world, int node, const struct cluster_action *action,
                        int shard)
{
    const struct life *life = &world->lives[node];
    const int holder = life->sights[shard].holder;
    if (!action->force && holder != NOBODY && life->member[holder]) {
        world_fail(world, "live", "%s takes shard %d from %s, a member", node_name(node), shard,
                   node_name(holder));
    }
}

void rules_check(struct world *world, int node, const struct cluster_action *action)
{
    const int shard = world_shard(world, &action->shard);
    if (action->kind == ACTION_CLAIM) {
        check_claim(world, node, action, shard);
    } else if (action->kind == ACTION_RELEASE) {
        check_goes(world, node, shard, "releases");
    } else if (action->kind == ACTION_HAND_OVER) {
        check_hand_over(world, node, action, shard);
    } else if (action->kind == ACTION_FORCE_RELEASE) {
        check_force(world, node, action, shard);
    } else if (action->kind == ACTION_OPEN) {
        check_open(world, node, shard);
    } else if (action->kind == ACTION_PREPARE) {
        check_prepare(world, node, shard);
    } else if (action->kind == ACTION_CLOSE) {
        check_close(world, node, action, shard);
    } else if (action->kind == ACTION_STRICT) {
        world->lives[node].strict = action->strict;
    }
}

void rules_note(struct world *world, int node, const struct cluster_action *action)
{
    const int shard = world_shard(world, &action->shard);
    if (shard == NOBODY) {
        return;
    }
    struct sight *sight = &world->lives[node].sights[shard];
    if (action->kind == ACTION_RELEASE) {
        sight->claimed = false;
    } else if (action->kind == ACTION_OPEN) {
        sight->prepared = false;
    } else if (action->kind == ACTION_PREPARE) {
        sight->prepared = true;
        sight->toward_one = toward_one(&world->lives[node]);
    } else if (action->kind == ACTION_CLOSE || action->kind == ACTION_HAND_OVER) {
        sight->to = action->to != NULL ? node_number(action->to) : NOBODY;
    }
}
