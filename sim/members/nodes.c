/*
 * sim/members/nodes.c - nodes start and end, are told things, and what they ask for is kept until
 * it is carried out.
 */
#include "sim/members/members.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t node_rings(const struct world *world, int node, const char *const **ret_rings)
{
    static const char *const both[] = {DIRECTORY_RING_DEFAULT, "gpu"};
    *ret_rings = both;
    if (node == 2 && world->seed % 2 == 0) {
        *ret_rings = both + 1;
        return 1;
    }
    return node == 1 ? 2 : 0;
}

void node_start(struct world *world, int node)
{
    struct life *life = &world->lives[node];
    *life = (struct life){.nonce = ++world->nonces};
    list_init(&life->coord_events);
    list_init(&life->own_events);
    list_init(&life->requests);
    list_init(&life->work);
    for (size_t i = 0; i < MEMBERS_SHARDS; i++) {
        life->sights[i] =
            (struct sight){.holder = NOBODY, .to = NOBODY, .vanished_ms = -CLUSTER_FORCED_PAUSE_MS};
    }
    life->changed_ms = world->now_ms;
    const char *const *rings;
    const size_t ring_count = node_rings(world, node, &rings);
    struct cluster_options options = {
        .self = {.id = node_name(node),
                 .nonce = life->nonce,
                 .address = node_name(node),
                 .rings = rings,
                 .ring_count = ring_count},
        .settings = {.shard_count = 7, .wal_url = world->pinned ? "file:///log" : NULL},
        .guarded = true,
        .replaces = world_random(world, 2) == 0,
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
    engine_kill(world, node);
}

void node_tell(struct world *world, int node, struct list *events)
{
    struct life *life = &world->lives[node];
    struct letter *letter = LIST_ENTRY(list_pop_front(events), struct letter, node);
    cluster_set_time(life->cluster, world->now_ms);
    rules_see(world, node, &letter->event);
    cluster_event(life->cluster, &letter->event);
    letter_free(letter);
}

static void keep(struct list *list, const struct cluster_action *action)
{
    struct letter *letter = letter_new(list);
    letter->action = *action;
    if (action->to != NULL) {
        (void)snprintf(letter->to, sizeof letter->to, "%s", action->to);
        letter->action.to = letter->to;
    }
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

/* Its id is an earlier life's, which nobody has found out to be dead: it ends. */
static void refuse(struct world *world, int node, const struct cluster_action *action)
{
    if (action->rc.code != SILO_EXISTS || !world->lives[node].taken) {
        world_fail(world, "refuse", "%s: %.*s", node_name(node), BYTES_FMT(action->text));
    }
    world->lives[node].displaced = true;
}

static void act(struct world *world, int node, struct cluster_action *action)
{
    struct life *life = &world->lives[node];
    switch (action->kind) {
    case ACTION_OPEN:
        place(world, node, action);
        keep(&life->work, action);
        return;
    case ACTION_PREPARE:
        if (world->calm || world_random(world, 10) != 0) { /* else it hangs */
            keep(&life->work, action);
        }
        return;
    case ACTION_CLOSE:
    case ACTION_READ_WRITER:
        keep(&life->work, action);
        return;
    case ACTION_JOIN:
    case ACTION_READ_MAP:
    case ACTION_COMMIT_MAP:
    case ACTION_READ_OWNER:
    case ACTION_CLAIM:
    case ACTION_RELEASE:
    case ACTION_HAND_OVER:
    case ACTION_FORCE_RELEASE:
    case ACTION_LEAVE:
        keep(&life->requests, action);
        return;
    case ACTION_PUBLISH:
        directory_unref(cluster_directory(life->cluster));
        return;
    case ACTION_ANSWER:
        action->question->done(action->question);
        return;
    case ACTION_REMOVE:
    case ACTION_STRICT:
        return;
    case ACTION_REFUSE:
        refuse(world, node, action);
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
        rules_check(world, node, &action);
        rules_note(world, node, &action);
        act(world, node, &action);
    }
    if (life->displaced) {
        node_kill(world, node);
    }
}

void node_work(struct world *world, int node)
{
    struct life *life = &world->lives[node];
    size_t skip = world_random(world, 4); /* shards do not wait for each other */
    struct list_node *at = list_first(&life->work);
    ASSERT(at != NULL);
    struct list_node *next = NULL;
    while (skip-- > 0 && (next = list_next(&life->work, at)) != NULL) {
        at = next;
    }
    /* But what is asked of one shard happens in its order. */
    const struct uuid *shard = &CONTAINER_OF(at, struct letter, node)->action.shard;
    for (struct list_node *n = list_first(&life->work); n != NULL && n != at;
         n = list_next(&life->work, n)) {
        if (uuid_eq(&CONTAINER_OF(n, struct letter, node)->action.shard, shard)) {
            at = n;
            break;
        }
    }
    struct letter *work = CONTAINER_OF(at, struct letter, node);
    list_remove(at);
    engine_serve(world, node, &work->action, &letter_new(&life->own_events)->event);
    letter_free(work);
}

/* --- operators --- */

static void answered(struct cluster_question *question)
{
    CONTAINER_OF(question, struct asked, question)->waits = false;
}

void node_question(struct world *world, int node)
{
    static const char *const rings[] = {"", DIRECTORY_RING_DEFAULT, "gpu", "none"};
    struct life *life = &world->lives[node];
    struct asked *asked = &life->asked[world_random(world, MEMBERS_QUESTIONS)];
    if (life->cluster == NULL || asked->waits || world->shard_count == 0) {
        return;
    }
    asked->waits = true;
    asked->question = (struct cluster_question){
        .kind = world_random(world, 2) == 0 ? QUESTION_FORCE_RELEASE : QUESTION_CONFIGURE,
        .shard = world->shards[world_random(world, world->shard_count)],
        .force = world_random(world, 3) == 0,
        .unpopulated = world_random(world, 3) == 0,
        .done = answered};
    (void)snprintf(asked->question.ring, sizeof asked->question.ring, "%s",
                   rings[world_random(world, 4)]);
    const struct cluster_event event = {.kind = EVENT_QUESTION, .question = &asked->question};
    cluster_set_time(life->cluster, world->now_ms);
    cluster_event(life->cluster, &event);
    node_act(world, node);
}
