/*
 * sim/members/nodes.c - what a node is told and what it does about it; each of its actions is held
 * against the rules, by what it was told and by what is true.
 */
#include "sim/members/members.h"

#include <stdlib.h>
#include <string.h>

void node_start(struct world *world, int node)
{
    struct life *life = &world->lives[node];
    *life = (struct life){.nonce = ++world->nonces};
    list_init(&life->coord_events);
    list_init(&life->own_events);
    list_init(&life->requests);
    list_init(&life->work);
    for (size_t i = 0; i < MEMBERS_SHARDS; i++) {
        life->sights[i].holder = NOBODY;
    }
    struct cluster_options options = {
        .self = {.id = node_name(node), .nonce = life->nonce, .address = node_name(node)},
        .settings = {.shard_count = 4},
        .guarded = true,
        .ttl_ms = MEMBERS_TTL_MS};
    memcpy(options.seed, &world->seed, sizeof world->seed);
    options.seed[8] = (uint8_t)life->nonce;
    world_say(world, "starts %s", node_name(node));
    life->cluster = cluster_new(&options, world->now_ms);
}

static void letters_free(struct list *list)
{
    struct list_node *node;
    while ((node = list_pop_front(list)) != NULL) {
        letter_free(CONTAINER_OF(node, struct letter, node));
    }
}

void node_kill(struct world *world, int node)
{
    struct life *life = &world->lives[node];
    world_say(world, "kills %s", node_name(node));
    while (!life->cut && world_random(world, 2) == 0 && coordinator_serve(world, node)) {
        /* what had left before it died */
    }
    life->cluster = cluster_free(life->cluster);
    letters_free(&life->coord_events);
    letters_free(&life->own_events);
    letters_free(&life->requests);
    letters_free(&life->work);
    for (size_t i = 0; i < world->shard_count; i++) {
        if (world->engine[i].open_by == node) {
            world->engine[i].open_by = NOBODY;
        }
    }
}

/* --- what it is told --- */

static void see(struct world *world, int node, const struct cluster_event *event)
{
    struct life *life = &world->lives[node];
    const bool owner = event->kind == EVENT_OWNER || event->kind == EVENT_OWNER_READ;
    const int at = world_shard(world, owner ? &event->owners[0].shard : &event->shard);
    struct sight *sight = at != NOBODY ? &life->sights[at] : NULL;
    switch (event->kind) {
    case EVENT_MAP:
        life->map_number = event->number > life->map_number ? event->number : life->map_number;
        return;
    case EVENT_MAP_COMMITTED:
        life->map_number = 1;
        return;
    case EVENT_MEMBERS:
        memset(life->member, 0, sizeof life->member);
        for (size_t i = 0; i < event->member_count; i++) {
            life->member[node_number(event->members[i].id)] = true;
        }
        return;
    case EVENT_OWNERS:
        for (size_t i = 0; i < MEMBERS_SHARDS; i++) {
            life->sights[i].holder = NOBODY;
        }
        for (size_t i = 0; i < event->owner_count; i++) {
            life->sights[world_shard(world, &event->owners[i].shard)].holder =
                node_number(event->owners[i].holder);
        }
        return;
    case EVENT_OWNER:
    case EVENT_OWNER_READ:
        sight->holder = node_number(event->owners[0].holder);
        sight->claimed = sight->claimed && sight->holder == node;
        if (event->kind == EVENT_OWNER_READ && sight->holder == node &&
            event->number >= sight->fenced_step) {
            sight->fenced = false;
            sight->claimed = true; /* the record says so */
        }
        return;
    case EVENT_CLAIMED:
        sight->claimed = true;
        sight->fenced = false;
        sight->holder = node;
        return;
    case EVENT_FENCED:
        sight->fenced = true;
        sight->fenced_step = world->steps;
        return;
    case EVENT_CONFIRMED:
        life->confirmed = true;
        return;
    case EVENT_LAPSED:
        life->confirmed = false;
        return;
    case EVENT_MAP_LOST:
    case EVENT_CLAIM_LOST:
    case EVENT_RELEASED:
    case EVENT_WRITER:
    case EVENT_WRITER_FAILED:
    case EVENT_OPENING:
    case EVENT_OPENED:
    case EVENT_OPEN_FAILED:
    case EVENT_CLOSED:
    case EVENT_LEAVE:
    case EVENT_HANDED_OVER:
    case EVENT_HAND_OVER_LOST:
    case EVENT_FORCED:
    case EVENT_PREPARED:
    case EVENT_JOIN_TAKEN:
    case EVENT_QUESTION:
        return; /* no rule rests on them */
    }
}

void node_tell(struct world *world, int node, struct list *events)
{
    struct life *life = &world->lives[node];
    struct letter *letter = LIST_ENTRY(list_pop_front(events), struct letter, node);
    see(world, node, &letter->event);
    cluster_event(life->cluster, &letter->event);
    letter_free(letter);
}

/* --- what it does --- */

static bool map_has(const struct world *world, const struct uuid *shard)
{
    for (size_t i = 0; i < world->map.shard_count; i++) {
        if (uuid_eq(&world->map.shards[i].id, shard)) {
            return true;
        }
    }
    return false;
}

static void check_claim(struct world *world, int node, const struct cluster_action *action,
                        int shard)
{
    const struct life *life = &world->lives[node];
    const int holder = life->sights[shard].holder;
    if (!life->confirmed) {
        world_fail(world, "lapse", "%s claims shard %d, and is no member", node_name(node), shard);
    } else if (action->map != life->map_number) {
        world_fail(world, "map", "%s claims shard %d by map %llu, and was told of %llu",
                   node_name(node), shard, (unsigned long long)action->map,
                   (unsigned long long)life->map_number);
    } else if (holder != NOBODY && holder != node && life->member[holder]) {
        world_fail(world, "claim", "%s claims shard %d from %s, a member", node_name(node), shard,
                   node_name(holder));
    }
    if (action->map == world->map.number && !map_has(world, &action->shard)) {
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

static void check_release(struct world *world, int node, int shard)
{
    if (!world->lives[node].confirmed) {
        world_fail(world, "lapse", "%s releases shard %d, and is no member", node_name(node),
                   shard);
    } else if (world->engine[shard].open_by == node &&
               world->engine[shard].open_nonce == world->lives[node].nonce) {
        world_fail(world, "release", "%s releases shard %d, and has it open", node_name(node),
                   shard);
    }
}

static void keep(struct list *list, const struct cluster_action *action)
{
    struct letter *letter = letter_new(list);
    letter->action = *action;
    if (action->text.len > 0) {
        letter->text = xcalloc(action->text.len + 1, 1);
        memcpy(letter->text, action->text.ptr, action->text.len);
        letter->action.text = bytes_of(letter->text, action->text.len);
    }
}

/* A shard that is opened for the first time gets its place at once. */
static void place(struct world *world, int node, struct cluster_action *action)
{
    struct life *life = &world->lives[node];
    if (action->ref.generation == 0) {
        action->ref = (struct shard_ref){.slot = 1, .generation = (uint32_t)++life->refs};
        const struct cluster_event event = {
            .kind = EVENT_OPENING, .shard = action->shard, .ref = action->ref};
        cluster_event(life->cluster, &event);
    }
}

static void act(struct world *world, int node, struct cluster_action *action)
{
    struct life *life = &world->lives[node];
    const int shard = world_shard(world, &action->shard);
    switch (action->kind) {
    case ACTION_CLAIM:
        check_claim(world, node, action, shard);
        keep(&life->requests, action);
        return;
    case ACTION_RELEASE:
        check_release(world, node, shard);
        life->sights[shard].claimed = false;
        keep(&life->requests, action);
        return;
    case ACTION_OPEN:
        check_open(world, node, shard);
        place(world, node, action);
        keep(&life->work, action);
        return;
    case ACTION_CLOSE:
    case ACTION_READ_WRITER:
        keep(&life->work, action);
        return;
    case ACTION_JOIN:
    case ACTION_READ_MAP:
    case ACTION_COMMIT_MAP:
    case ACTION_READ_OWNER:
    case ACTION_LEAVE:
        keep(&life->requests, action);
        return;
    case ACTION_PUBLISH:
        directory_unref(cluster_directory(life->cluster));
        return;
    case ACTION_REMOVE:
    case ACTION_PREPARE:
    case ACTION_HAND_OVER:
    case ACTION_FORCE_RELEASE:
    case ACTION_STRICT:
    case ACTION_ANSWER:
        return;
    case ACTION_REFUSE:
        world_fail(world, "refuse", "%s: %.*s", node_name(node), BYTES_FMT(action->text));
        return;
    case ACTION_LEFT:
        life->left = true;
        return;
    }
}

void node_act(struct world *world, int node)
{
    struct life *life = &world->lives[node];
    struct cluster_action action;
    while (!world->failed && cluster_action_next(life->cluster, &action)) {
        world_say(world, "%s: action %d of shard %d", node_name(node), (int)action.kind,
                  world_shard(world, &action.shard));
        act(world, node, &action);
    }
}

/* --- the storage engine --- */

static void engine_fence(struct world *world, int shard)
{
    const int before = world->engine[shard].open_by;
    world->engine[shard].open_by = NOBODY;
    if (before != NOBODY) {
        letter_new(&world->lives[before].own_events)->event =
            (struct cluster_event){.kind = EVENT_FENCED, .shard = world->shards[shard]};
    }
}

static void engine_open(struct world *world, int node, const struct cluster_action *action,
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
    const int before = world->engine[shard].open_by;
    if (before != NOBODY && before != node && world->records[shard].holder == before) {
        world_fail(world, "rightful", "%s takes shard %d from %s, whose it is", node_name(node),
                   shard, node_name(before));
    }
    engine_fence(world, shard);
    world->engine[shard].writer++;
    if (fails) { /* it had claimed the database, and did not hear of it */
        ret_event->rc.code = SILO_UNAVAILABLE;
        return;
    }
    world->engine[shard].open_by = node;
    world->engine[shard].open_nonce = world->lives[node].nonce;
    ret_event->kind = EVENT_OPENED;
}

static void engine_close(struct world *world, int node, int shard, struct cluster_event *ret_event)
{
    ret_event->kind = EVENT_CLOSED;
    if (world->engine[shard].open_by == node) {
        world->engine[shard].open_by = NOBODY;
    }
}

static void engine_read(struct world *world, int shard, struct cluster_event *ret_event)
{
    ret_event->kind = EVENT_WRITER;
    ret_event->epoch = world->engine[shard].writer;
    if (!world->calm && world_random(world, 10) == 0) {
        ret_event->kind = EVENT_WRITER_FAILED;
        ret_event->rc.code = SILO_UNAVAILABLE;
    }
}

static void work_done(struct world *world, int node, const struct letter *work)
{
    const int shard = world_shard(world, &work->action.shard);
    struct letter *letter = letter_new(&world->lives[node].own_events);
    letter->event = (struct cluster_event){.shard = work->action.shard};
    if (work->action.kind == ACTION_OPEN) {
        engine_open(world, node, &work->action, &letter->event);
    } else if (work->action.kind == ACTION_CLOSE) {
        engine_close(world, node, shard, &letter->event);
    } else {
        engine_read(world, shard, &letter->event);
    }
}

void node_work(struct world *world, int node)
{
    struct life *life = &world->lives[node];
    size_t skip = world_random(world, 4); /* shards do not wait for each other */
    struct list_node *at = list_first(&life->work);
    while (skip-- > 0 && list_next(&life->work, at) != NULL) {
        at = list_next(&life->work, at);
    }
    /* But what is asked of one shard happens in its order. */
    const struct uuid *shard = &CONTAINER_OF(at, struct letter, node)->action.shard;
    for (struct list_node *n = list_first(&life->work); n != at; n = list_next(&life->work, n)) {
        if (uuid_eq(&CONTAINER_OF(n, struct letter, node)->action.shard, shard)) {
            at = n;
            break;
        }
    }
    struct letter *work = CONTAINER_OF(at, struct letter, node);
    list_remove(at);
    work_done(world, node, work);
    letter_free(work);
}

/* --- the end --- */

static void check_directory(struct world *world, int node, size_t shard)
{
    struct directory *directory = cluster_directory(world->lives[node].cluster);
    const struct uuid *id = &world->map.shards[shard].id;
    const struct directory_shard *entry = directory != NULL ? directory_find(directory, id) : NULL;
    const int at = world_shard(world, id);
    const int owner = world->records[at].holder;
    const bool right =
        entry != NULL &&
        (owner == node ? entry->place == PLACE_HERE
                       : entry->place == PLACE_NODE &&
                             strcmp(directory->nodes[entry->node].id, node_name(owner)) == 0);
    if (!right) {
        world_fail(world, "directory", "%s does not know that shard %d is at %s", node_name(node),
                   at, node_name(owner));
    }
    directory_unref(directory);
}

/* Nothing is left of a shard that the map has no more. */
static void check_retired(struct world *world, int shard)
{
    const int holder = world->records[shard].holder;
    const bool mapped = map_has(world, &world->shards[shard]);
    const bool held = holder != NOBODY && world->lives[holder].cluster != NULL;
    if (!mapped && (held || world->engine[shard].open_by != NOBODY)) {
        world_fail(world, "retired", "shard %d is kept, open at %d, and its record names %d", shard,
                   world->engine[shard].open_by, holder);
    }
}

void nodes_check_settled(struct world *world)
{
    for (int shard = 0; shard < (int)world->shard_count; shard++) {
        check_retired(world, shard);
    }
    for (size_t i = 0; i < world->map.shard_count && !world->failed; i++) {
        const int shard = world_shard(world, &world->map.shards[i].id);
        const int by = world->engine[shard].open_by;
        if (by == NOBODY || world->records[shard].holder != by) {
            world_fail(world, "settle", "shard %d is open at %d, and its record names %d", shard,
                       by, world->records[shard].holder);
            return;
        }
        for (int node = 0; node < MEMBERS_NODES && !world->failed; node++) {
            if (world->lives[node].cluster != NULL) {
                check_directory(world, node, i);
            }
        }
    }
}
