/*
 * sim/members/coordinator.c - members, records and the map, each changed by a compare-and-swap; and
 * everybody is told.
 */
#include "sim/members/members.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void members_fill(const struct world *world, struct letter *letter)
{
    letter->event = (struct cluster_event){.kind = EVENT_MEMBERS, .members = letter->members};
    for (int i = 0; i < MEMBERS_NODES; i++) {
        if (world->member_nonce[i] != 0) {
            const char *const *rings;
            const size_t ring_count = node_rings(world, i, &rings);
            letter->members[letter->event.member_count++] =
                (struct cluster_member){.id = node_name(i),
                                        .nonce = world->member_nonce[i],
                                        .address = node_name(i),
                                        .rings = rings,
                                        .ring_count = ring_count,
                                        .leaving = world->member_leaving[i]};
        }
    }
}

static void owner_fill(const struct world *world, struct letter *letter,
                       enum cluster_event_kind kind, int shard)
{
    const int holder = world->records[shard].holder;
    letter->owners[0] = (struct cluster_owner){.shard = world->shards[shard],
                                               .holder = holder == NOBODY ? "" : node_name(holder),
                                               .epoch = world->records[shard].epoch};
    /* The number is for the rules: when the record was read. */
    letter->event = (struct cluster_event){
        .kind = kind, .number = world->steps, .owners = letter->owners, .owner_count = 1};
}

static void owners_fill(const struct world *world, struct letter *letter)
{
    letter->event = (struct cluster_event){.kind = EVENT_OWNERS, .owners = letter->owners};
    for (size_t i = 0; i < world->shard_count; i++) {
        if (world->records[i].holder != NOBODY) {
            letter->owners[letter->event.owner_count++] =
                (struct cluster_owner){.shard = world->shards[i],
                                       .holder = node_name(world->records[i].holder),
                                       .epoch = world->records[i].epoch};
        }
    }
}

static void map_fill(const struct world *world, struct letter *letter)
{
    letter->event = (struct cluster_event){.kind = EVENT_MAP, .number = world->map.number};
    if (world->map.number != 0) {
        letter->text = xstrdup(world->map_text);
        letter->event.text = bytes_str(letter->text);
    }
}

/* Whether news reach the node at all: it watches as long as it is a member. */
static bool watches(const struct world *world, int node)
{
    return world->lives[node].cluster != NULL &&
           world->member_nonce[node] == world->lives[node].nonce;
}

static void tell_members(struct world *world)
{
    for (int i = 0; i < MEMBERS_NODES; i++) {
        if (watches(world, i)) {
            members_fill(world, letter_new(&world->lives[i].coord_events));
        }
    }
}

static void tell_owner(struct world *world, int shard)
{
    for (int i = 0; i < MEMBERS_NODES; i++) {
        if (watches(world, i)) {
            owner_fill(world, letter_new(&world->lives[i].coord_events), EVENT_OWNER, shard);
        }
    }
}

static void tell_map(struct world *world, int but)
{
    for (int i = 0; i < MEMBERS_NODES; i++) {
        if (i != but && watches(world, i)) {
            map_fill(world, letter_new(&world->lives[i].coord_events));
        }
    }
}

static void map_set(struct world *world, struct bytes text, uint64_t number)
{
    cluster_map_deinit(&world->map);
    free(world->map_text);
    world->map_text = xcalloc(text.len + 1, 1);
    memcpy(world->map_text, text.ptr, text.len);
    struct silo_err err;
    ASSERT(cluster_record_decode("map", text, &world->map, &err).code == SILO_OK);
    world->map.number = number;
    for (size_t i = 0; i < world->map.shard_count; i++) {
        if (world_shard(world, &world->map.shards[i].id) == NOBODY) {
            world->shards[world->shard_count++] = world->map.shards[i].id;
        }
    }
}

static struct letter *answer(struct world *world, int node, enum cluster_event_kind kind,
                             const struct letter *request)
{
    struct letter *letter = letter_new(&world->lives[node].coord_events);
    letter->event = (struct cluster_event){.kind = kind, .shard = request->action.shard};
    return letter;
}

static void serve_join(struct world *world, int node, const struct letter *request)
{
    struct life *life = &world->lives[node];
    const uint64_t nonce = world->member_nonce[node];
    if (nonce != 0 && nonce != life->nonce && !request->action.replace) {
        answer(world, node, EVENT_JOIN_TAKEN, request)->event.number = nonce;
        return;
    }
    world->member_nonce[node] = life->nonce;
    world->member_leaving[node] = life->leaving;
    (void)answer(world, node, EVENT_CONFIRMED, request);
    tell_members(world);
    owners_fill(world, letter_new(&life->coord_events));
}

static void serve_claim(struct world *world, int node, const struct letter *request)
{
    const struct cluster_action *action = &request->action;
    const int shard = world_shard(world, &action->shard);
    const int holder = world->records[shard].holder;
    const bool as_known = world->records[shard].epoch == action->expected;
    const bool gone = holder == NOBODY || holder == node || world->member_nonce[holder] == 0;
    if (world->member_nonce[node] != world->lives[node].nonce || action->map != world->map.number ||
        !as_known || !gone) {
        (void)answer(world, node, EVENT_CLAIM_LOST, request);
        return;
    }
    world->records[shard].holder = node;
    world->records[shard].epoch = ++world->revision;
    answer(world, node, EVENT_CLAIMED, request)->event.epoch = world->revision;
    tell_owner(world, shard);
}

static void serve_release(struct world *world, int node, const struct letter *request)
{
    const int shard = world_shard(world, &request->action.shard);
    const bool ours = world->records[shard].holder == node &&
                      world->records[shard].epoch == request->action.epoch;
    if (ours) {
        world->records[shard].holder = NOBODY;
        world->records[shard].epoch = 0;
    }
    (void)answer(world, node, EVENT_RELEASED, request);
    if (ours) {
        tell_owner(world, shard);
    }
}

static void serve_hand_over(struct world *world, int node, const struct letter *request)
{
    const int shard = world_shard(world, &request->action.shard);
    const int to = node_number(request->action.to);
    if (world->records[shard].holder != node ||
        world->records[shard].epoch != request->action.epoch || world->member_nonce[to] == 0) {
        (void)answer(world, node, EVENT_HAND_OVER_LOST, request);
        return;
    }
    world->records[shard].holder = to;
    world->records[shard].epoch = ++world->revision;
    world->handed_over++;
    answer(world, node, EVENT_HANDED_OVER, request)->event.epoch = world->revision;
    tell_owner(world, shard);
}

static void serve_force(struct world *world, int node, const struct letter *request)
{
    const int shard = world_shard(world, &request->action.shard);
    const int holder = world->records[shard].holder;
    struct letter *letter = answer(world, node, EVENT_FORCED, request);
    if (world->records[shard].epoch != request->action.expected) {
        letter->event.rc.code = SILO_CONFLICT;
    } else if (holder != NOBODY && world->member_nonce[holder] != 0 && !request->action.force) {
        letter->event.rc.code = SILO_PRECONDITION;
        letter->event.text = bytes_str(node_name(holder));
    } else if (holder != NOBODY) {
        world->records[shard].holder = NOBODY;
        world->records[shard].epoch = 0;
        world->engine[shard].given_up = true;
        tell_owner(world, shard);
    }
}

static void serve_commit(struct world *world, int node, const struct letter *request)
{
    if (request->action.number != world->map.number + 1) {
        (void)answer(world, node, EVENT_MAP_LOST, request);
        return;
    }
    map_set(world, request->action.text, request->action.number);
    answer(world, node, EVENT_MAP_COMMITTED, request)->event.number = world->map.number;
    tell_map(world, node);
}

bool coordinator_serve(struct world *world, int node)
{
    struct life *life = &world->lives[node];
    struct letter *request = NULL;
    uint64_t skip = world_random(world, 4); /* requests overtake each other */
    for (struct list_node *n = list_first(&life->requests); n != NULL;
         n = list_next(&life->requests, n)) {
        request = CONTAINER_OF(n, struct letter, node);
        if (skip-- == 0) {
            break;
        }
    }
    if (request == NULL) {
        return false;
    }
    list_remove(&request->node);
    switch (request->action.kind) {
    case ACTION_JOIN:
        serve_join(world, node, request);
        break;
    case ACTION_READ_MAP:
        map_fill(world, letter_new(&life->coord_events));
        break;
    case ACTION_COMMIT_MAP:
        serve_commit(world, node, request);
        break;
    case ACTION_READ_OWNER:
        owner_fill(world, letter_new(&life->coord_events), EVENT_OWNER_READ,
                   world_shard(world, &request->action.shard));
        break;
    case ACTION_CLAIM:
        serve_claim(world, node, request);
        break;
    case ACTION_RELEASE:
        serve_release(world, node, request);
        break;
    case ACTION_HAND_OVER:
        serve_hand_over(world, node, request);
        break;
    case ACTION_FORCE_RELEASE:
        serve_force(world, node, request);
        break;
    case ACTION_LEAVE:
        life->leaving = true;
        if (world->member_nonce[node] == life->nonce) {
            world->member_leaving[node] = true;
            tell_members(world);
        }
        break;
    case ACTION_READ_WRITER:
    case ACTION_OPEN:
    case ACTION_CLOSE:
    case ACTION_REMOVE:
    case ACTION_PUBLISH:
    case ACTION_REFUSE:
    case ACTION_LEFT:
    case ACTION_PREPARE:
    case ACTION_STRICT:
    case ACTION_ANSWER:
        ASSERT(false); /* not the coordinator's */
    }
    letter_free(request);
    return true;
}

void coordinator_expire(struct world *world, int node)
{
    struct life *life = &world->lives[node];
    if (world->member_nonce[node] == 0) {
        return;
    }
    world_say(world, "expires %s", node_name(node));
    const bool alive = watches(world, node);
    world->member_nonce[node] = 0;
    if (alive) {
        letter_new(&life->coord_events)->event = (struct cluster_event){.kind = EVENT_LAPSED};
    }
    tell_members(world);
}

void coordinator_split(struct world *world)
{
    struct cluster_map *map = &world->map;
    if (map->number == 0 || world->shard_count + 2 > MEMBERS_SHARDS) {
        return;
    }
    const size_t at = world_random(world, map->shard_count);
    struct cluster_shard *parent = &map->shards[at];
    const uint64_t lo =
        parent->range_start[0] == '\0' ? 0 : strtoull(parent->range_start, NULL, 16);
    const uint64_t hi =
        parent->range_end[0] == '\0' ? UINT64_MAX : strtoull(parent->range_end, NULL, 16);
    struct cluster_map next = {.cluster_id = map->cluster_id,
                               .shards = xcalloc(map->shard_count + 1, sizeof *next.shards)};
    for (size_t i = 0; i < map->shard_count; i++) {
        next.shards[next.shard_count++] = map->shards[i];
        if (i == at) {
            struct cluster_shard *left = &next.shards[i], *right = &next.shards[i + 1];
            *right = *parent;
            left->id.b[0] ^= (uint8_t)(world_random(world, 255) + 1);
            left->id.b[1] ^= (uint8_t)world_random(world, 256);
            right->id.b[2] ^= (uint8_t)(world_random(world, 255) + 1);
            right->id.b[3] ^= (uint8_t)world_random(world, 256);
            (void)snprintf(left->range_end, sizeof left->range_end, "%016" PRIx64,
                           lo + (hi - lo) / 2);
            memcpy(right->range_start, left->range_end, sizeof right->range_start);
            next.shard_count++;
        }
    }
    char *text = cluster_record_encode(&next);
    free(next.shards); /* its shards have no texts of their own */
    map_set(world, bytes_str(text), map->number + 1);
    free(text);
    world_say(world, "split: map %llu", (unsigned long long)world->map.number);
    tell_map(world, NOBODY);
}
