/*
 * sim/nodes.c - several processes that share the shards by a coordinator: they are killed, stopped
 * in order, paused, and cut off from each other party; clients look for whoever serves.
 *
 * Each trouble has an end of its own, so that the processes find back by themselves, too.
 */
#include "base/limits.h"
#include "cluster/map.h"
#include "core/core.h"
#include "node/node.h"
#include "sim/coord_member.h"
#include "sim/world.h"

#define NOBODY UINT32_MAX
#define LATER_US 100000
#define AWAY_US_MAX (4 * (int64_t)COORDINATOR_TTL_US)
/* A member of before the coordinator was away counts as alive for so long. */
#define REFUSED_US_MAX 15000000
#define LEAVE_US 100000 /* so often it is looked whether a process that stops is done */

static bool several(const struct world *world)
{
    return world->process_count > 1;
}

/* --- what is told --- */

/* process.c gives them such addresses, and, unless two of them have one id, such ids. */
static uint32_t number_of(const char *name)
{
    return (uint32_t)(name[1] - '0');
}

static uint32_t number_of_life(uint64_t nonce)
{
    return (uint32_t)(nonce % PROCESS_NONCES);
}

/* Whom a record means: the member of that id, else whoever of that id lives. */
static uint32_t number_of_holder(const struct world *world, const char *id)
{
    const struct coordinator_member *member = coordinator_member(&world->coordinator, id);
    if (member != NULL) {
        return number_of_life(member->nonce);
    }
    uint32_t found = number_of(id);
    for (uint32_t i = 0; i < world->process_count; i++) {
        const struct process *process = &world->processes[i];
        found = process_lives(process) && strcmp(process->name, id) == 0 ? i : found;
    }
    return found;
}

static void pause(struct world *world, uint32_t process, int64_t for_us);

static void on_owner(struct coordinator *co, const struct coordinator_owner *owner)
{
    struct world *world = co->context;
    const uint32_t process = owner->holder[0] != '\0' ? number_of_holder(world, owner->holder) : 0;
    /* Between a claim and the opening it is for there is little time to stand still by chance. */
    if (owner->holder[0] != '\0' && world->profile.faulty && !world->finishing &&
        one_in(world, 8)) {
        pause(world, process, random_between(&world->random, 3500000, 9000000));
    }
}

static void on_named(struct coordinator *co, uint64_t nonce, const struct uuid *shard)
{
    struct world *world = co->context;
    guards_named(&world->guards, number_of_life(nonce), process_shard_number(shard));
}

static void on_claim(struct coord_member *member, const struct uuid *shard)
{
    struct world *world = member->coordinator->context;
    guards_claims(&world->guards, member, process_shard_number(shard));
}

static void on_release(struct coord_member *member, const struct uuid *shard)
{
    struct world *world = member->coordinator->context;
    guards_releases(&world->guards, &world->processes[number_of_life(member->nonce)],
                    process_shard_number(shard), world->now_us);
}

static void on_force(struct coord_member *member, const struct uuid *shard, bool force)
{
    struct world *world = member->coordinator->context;
    const size_t index = process_shard_number(shard);
    if (force && world->forced[index] == 0) {
        (void)verdict_fail(&world->verdict, "forced",
                           "%s takes shard %zu from a living member, and nobody said so",
                           member->id, index);
    }
}

/* --- life --- */

static void map_make(struct world *world)
{
    struct coordinator_state *state = &world->coordinator.state;
    const struct process_options *options = &world->processes[0].options;
    const struct cluster_settings settings = {.shard_count = (uint32_t)options->shard_count,
                                              .order = options->order};
    const uint8_t seed[CLUSTER_SEED_BYTES] = {1};
    struct cluster_map map;
    ASSERT(cluster_map_make(&settings, seed, &map, NULL).code == SILO_OK);
    for (size_t i = 0; i < map.shard_count; i++) {
        map.shards[i].id = process_shard_id(i);
    }
    state->map_text = cluster_record_encode(&map);
    state->map_number = map.number;
    cluster_map_deinit(&map);
}

void nodes_init(struct world *world)
{
    if (!several(world)) {
        return;
    }
    world->coordinator.events = &world->events;
    world->coordinator.random = &world->random;
    world->coordinator.trace = &world->trace;
    world->coordinator.now_us = &world->now_us;
    world->coordinator.on_owner = on_owner;
    world->coordinator.on_named = on_named;
    world->coordinator.context = world;
    coordinator_init(&world->coordinator);
    map_make(world);
    world->guards.verdict = &world->verdict;
    for (uint32_t i = 0; i < world->process_count; i++) {
        world->troubles[i].world = world;
        world->troubles[i].process = i;
    }
}

void nodes_deinit(struct world *world)
{
    if (several(world)) {
        coordinator_deinit(&world->coordinator);
    }
}

static void node_start(struct world *world, uint32_t index)
{
    struct process *process = &world->processes[index];
    guards_began(&world->guards, index);
    process_start(process);
    process->coord->on_claim = on_claim;
    process->coord->on_release = on_release;
    process->coord->on_force = on_force;
    trace_line(&world->trace, "process %u starts", index);
}

/* In half of the runs some of them join later. */
void nodes_start(struct world *world)
{
    const uint32_t all = (uint32_t)world->process_count;
    const uint32_t begin = one_in(world, 2) ? all : 1 + below(world, all);
    for (uint32_t i = 0; i < begin; i++) {
        node_start(world, i);
    }
}

static void node_kill(struct world *world, uint32_t index, enum store_mem_survival survival)
{
    trace_line(&world->trace, "process %u is killed", index);
    process_kill(&world->processes[index], survival);
    model_durable(&world->model);
}

/* --- troubles and their ends --- */

static void trouble_ends(struct event *event);

static void node_heal(struct world *world, uint32_t index)
{
    struct node_trouble *trouble = &world->troubles[index];
    struct process *process = &world->processes[index];
    event_cancel(&world->events, &trouble->event);
    trace_line(&world->trace, "process %u is well", index);
    if (process_lives(process) && trouble->leaving) {
        node_kill(world, index, STORE_MEM_LOSE);
    }
    trouble->leaving = false;
    process->host.cut = false;
    if (!process_lives(process)) {
        node_start(world, index);
        return;
    }
    process->coord->cut = false;
    process_cut_store(process, false);
    process_pause(process, false);
}

static void trouble_ends(struct event *event)
{
    struct node_trouble *trouble = CONTAINER_OF(event, struct node_trouble, event);
    if (trouble->world->clock_is_off) {
        event_at(&trouble->world->events, event, trouble->world->now_us + LATER_US, trouble_ends);
    } else {
        node_heal(trouble->world, trouble->process);
    }
}

static void trouble_for(struct world *world, uint32_t process, int64_t us)
{
    event_at(&world->events, &world->troubles[process].event, world->now_us + us, trouble_ends);
}

static void pause(struct world *world, uint32_t process, int64_t for_us)
{
    if (!process_lives(&world->processes[process]) || world->troubles[process].leaving) {
        return;
    }
    trace_line(&world->trace, "process %u stands still for %lld us", process, (long long)for_us);
    model_trouble(&world->model, "a process stands still");
    world->model.troubled = true;
    process_pause(&world->processes[process], true);
    trouble_for(world, process, for_us);
}

static void leave_looks(struct event *event)
{
    struct node_trouble *trouble = CONTAINER_OF(event, struct node_trouble, event);
    struct world *world = trouble->world;
    const struct process *process = &world->processes[trouble->process];
    const bool closed = process_closed(process) && net_host_drained(&process->host);
    if (closed) {
        model_stopped(&world->model, process);
    }
    if (!world->clock_is_off && (closed || one_in(world, 100))) {
        node_heal(world, trouble->process);
    } else {
        event_at(&world->events, event, world->now_us + LEAVE_US, leave_looks);
    }
}

static void leave(struct world *world, uint32_t index)
{
    trace_line(&world->trace, "process %u stops", index);
    world->troubles[index].leaving = true;
    model_stops(&world->model, &world->processes[index]);
    process_close(&world->processes[index]);
    event_at(&world->events, &world->troubles[index].event, world->now_us + LEAVE_US, leave_looks);
}

/*
 * Its id is another's: rightly so if that one lives, or was taken for alive until a moment ago, as
 * those are that were members when the coordinator went away.
 */
void nodes_exit(struct world *world, uint32_t index)
{
    struct process *process = &world->processes[index];
    if (!several(world) || !process_lives(process) || !process_refused(process)) {
        return;
    }
    if (!world->profile.twins && world->now_us - world->coordinator_back_us > REFUSED_US_MAX) {
        (void)verdict_fail(&world->verdict, "taken",
                           "process %u finds its node id taken, and nobody else has it", index);
    }
    model_trouble(&world->model, "a process exits");
    node_kill(world, index, STORE_MEM_LOSE);
    world->troubles[index].leaving = false;
    trouble_for(world, index, random_between(&world->random, 1000000, 9000000));
}

static void coordinator_back(struct world *world, bool revoked)
{
    world->coordinator_back_us = world->now_us;
    coordinator_returns(&world->coordinator, revoked);
}

static void coordinator_away_ends(struct event *event)
{
    struct world *world = CONTAINER_OF(event, struct world, coordinator_returns);
    coordinator_back(world, one_in(world, 4));
}

static void coordinator_trouble(struct world *world)
{
    if (one_in(world, 2)) {
        coordinator_compact(&world->coordinator, below(world, 3));
    } else if (!world->coordinator.away) {
        coordinator_goes(&world->coordinator);
        event_at(&world->events, &world->coordinator_returns,
                 world->now_us + random_between(&world->random, 300000, AWAY_US_MAX),
                 coordinator_away_ends);
    }
}

/* --- an operator takes a shard from whoever holds it --- */

struct forced {
    struct cluster_question question; /* first */
    struct world *world;
};

static void force_answered(struct cluster_question *question)
{
    struct forced *forced = (struct forced *)question;
    struct world *world = forced->world;
    const size_t shard = process_shard_number(&question->shard);
    world->forced[shard] -= question->force ? 1 : 0;
    trace_line(&world->trace, "forced release of shard %zu: %d %s", shard, (int)question->rc.code,
               question->text);
    if (question->rc.code == SILO_PRECONDITION && question->force) {
        (void)verdict_fail(&world->verdict, "forced", "shard %zu was not released by force: %s",
                           shard, question->text);
    }
    free(forced);
}

static void force_release(struct world *world, uint32_t index)
{
    struct forced *forced = xcalloc(1, sizeof *forced);
    const uint32_t shard = below(world, (uint32_t)world->profile.shard_count);
    forced->world = world;
    forced->question = (struct cluster_question){.kind = QUESTION_FORCE_RELEASE,
                                                 .shard = process_shard_id(shard),
                                                 .force = one_in(world, 2),
                                                 .done = force_answered};
    world->forced[shard] += forced->question.force ? 1 : 0;
    trace_line(&world->trace, "process %u is asked to release shard %u%s", index, shard,
               forced->question.force ? " by force" : "");
    node_ask(world->processes[index].node, &forced->question);
}

/* One process and one party that it needs. */
static void cut(struct world *world, uint32_t index)
{
    static const char *const parties[] = {"coordinator", "store", "clients"};
    struct process *process = &world->processes[index];
    const uint32_t party = below(world, 3);
    trace_line(&world->trace, "process %u is cut off from the %s", index, parties[party]);
    if (party == 0) {
        process->coord->cut = true;
    } else if (party == 1) {
        process_cut_store(process, true);
    } else {
        process->host.cut = true;
    }
    trouble_for(world, index, random_between(&world->random, 200000, 9000000));
}

void nodes_trouble(struct world *world)
{
    const uint32_t index = below(world, (uint32_t)world->process_count);
    struct process *process = &world->processes[index];
    model_trouble(&world->model, "between processes");
    world->model.troubled = true;
    if (!process_lives(process) || world->troubles[index].leaving) {
        node_heal(world, index);
        return;
    }
    switch (below(world, 9)) {
    case 0:
    case 1:
        node_kill(world, index, (enum store_mem_survival)below(world, 3));
        trouble_for(world, index, random_between(&world->random, 1000, 9000000));
        break;
    case 2:
        leave(world, index);
        break;
    case 3:
    case 4:
        pause(world, index, random_between(&world->random, 500000, 12000000));
        break;
    case 5:
        coordinator_trouble(world);
        break;
    case 6:
        force_release(world, index);
        break;
    default:
        cut(world, index);
        break;
    }
}

/* At the end of some runs a machine never comes back, and the others have all to themselves. */
static uint32_t machine_gone(struct world *world)
{
    if (!world->finishing || one_in(world, 2)) {
        return NOBODY;
    }
    const uint32_t gone = below(world, (uint32_t)world->process_count);
    trace_line(&world->trace, "process %u is gone for good", gone);
    if (process_lives(&world->processes[gone])) {
        node_kill(world, gone, STORE_MEM_LOSE);
    }
    return gone;
}

void nodes_calm(struct world *world)
{
    event_cancel(&world->events, &world->coordinator_returns);
    if (world->coordinator.away) {
        coordinator_back(world, false);
    }
    const uint32_t gone = machine_gone(world);
    for (uint32_t i = 0; i < world->process_count && !world_failed(world); i++) {
        const struct process *process = &world->processes[i];
        if (i == gone) {
            event_cancel(&world->events, &world->troubles[i].event);
        } else if (world->troubles[i].event.place != 0 || !process_lives(process)) {
            node_heal(world, i);
        }
    }
}

bool nodes_open(const struct world *world)
{
    bool open = true;
    for (size_t i = 0; i < world->profile.shard_count; i++) {
        const struct uuid id = process_shard_id(i);
        const struct coordinator_owner *owner = coordinator_owner(&world->coordinator, &id);
        const struct process *process =
            &world->processes[owner->epoch != 0 ? number_of_holder(world, owner->holder) : 0];
        open = open && owner->epoch != 0 && process_serves(process, i) &&
               world->model.servers[i] == process;
    }
    return open;
}

void nodes_tell(struct world *world)
{
    for (size_t i = 0; i < world->profile.shard_count; i++) {
        const struct uuid id = process_shard_id(i);
        const struct coordinator_owner *owner = coordinator_owner(&world->coordinator, &id);
        trace_line(&world->trace, "shard %zu is %s's, epoch %llu; opened last by process %u", i,
                   owner->holder[0] != '\0' ? owner->holder : "nobody",
                   (unsigned long long)owner->epoch, world->model.servers[i]->options.number);
        for (size_t p = 0; p < world->process_count; p++) {
            const struct process *process = &world->processes[p];
            if (process_lives(process)) {
                trace_line(&world->trace, "  process %zu: status %d%s", p,
                           (int)process_status(process, i),
                           process->paused ? ", stands still" : "");
            }
        }
    }
}

/* --- clients --- */

struct net_host *world_host(struct world *world, size_t shard)
{
    if (!several(world)) {
        return &world->processes[0].host;
    }
    uint32_t index = below(world, (uint32_t)world->process_count);
    if (shard < PROCESS_SHARDS_MAX && world->finishing) {
        index = world->model.servers[shard]->options.number; /* all is quiet, and they know it */
    } else if (shard < PROCESS_SHARDS_MAX && !one_in(world, 16)) {
        index = world->guess[shard];
    }
    return &world->processes[index].host;
}

static const struct process *process_at(const struct net_host *host)
{
    return CONTAINER_OF(host, const struct process, host);
}

bool nodes_elsewhere(const struct world *world, uint32_t status, const char *text)
{
    static const char elsewhere[] = "shard not found";
    return several(world) && status == RPC_STATUS_NOT_FOUND &&
           strncmp(text, elsewhere, sizeof elsewhere - 1) == 0;
}

/*
 * Who is named is asked next time; else who does not answer, or not well, is not. Who says that
 * another has a shard says who that is.
 */
void nodes_heard(struct world *world, const struct rpc_call *rpc, size_t shard)
{
    if (!several(world) || shard == PROCESS_SHARDS_MAX) {
        return;
    }
    const uint32_t index = process_at(rpc->host)->options.number;
    const bool named = rpc->holder[0] != '\0';
    const bool elsewhere = nodes_elsewhere(world, rpc->status, rpc->text);
    if (elsewhere && (!named || number_of_holder(world, rpc->holder) == index)) {
        (void)verdict_fail(&world->verdict, "redirect", "process %u sends callers of shard %zu %s",
                           index, shard, named ? "to itself" : "nowhere");
        return;
    }
    if (named) {
        world->guess[shard] = number_of_holder(world, rpc->holder);
        return;
    }
    if (rpc->status != RPC_STATUS_UNAVAILABLE && !elsewhere) {
        world->guess[shard] = index;
    } else if (world->guess[shard] == index) {
        world->guess[shard] = below(world, (uint32_t)world->process_count);
    }
}

bool nodes_serves(const struct world *world, const struct net_host *host, size_t shard)
{
    return !several(world) || world->model.servers[shard] == process_at(host);
}

/*
 * It knew before the call arrived that others may have its shards, or its lease could have ended by
 * then, whether it had heard so or not: then no old proof will do.
 */
static bool knew(const struct process *process, int64_t begun_us)
{
    const struct coord_member *coord = process->coord;
    const bool lapsed = coord != NULL && coord->lapsed && coord->lapsed_us < begun_us;
    return lapsed || (coord != NULL && coord_member_until_us(coord) < begun_us);
}

bool nodes_outdated(const struct world *world, const struct net_host *host, size_t shard,
                    int64_t begun_us)
{
    bool outdated = false;
    for (size_t i = 0; i < world->profile.shard_count && several(world); i++) {
        const bool asked = shard == PROCESS_SHARDS_MAX || shard == i;
        const bool fresh = world->now_us - world->opened_us[i] <= (int64_t)OWNERSHIP_MS * 1000;
        outdated =
            outdated || (asked && fresh && world->openers[i] != process_at(host)->options.number &&
                         !knew(process_at(host), begun_us));
    }
    return outdated;
}

void nodes_answered(struct world *world, const struct net_host *host, size_t shard, int64_t at_us)
{
    if (several(world) && shard < PROCESS_SHARDS_MAX) {
        guards_answers(&world->guards, process_at(host), shard, at_us);
    }
}

bool nodes_astray(const struct world *world, const struct net_host *host, size_t shard)
{
    bool astray = false;
    for (size_t i = 0; i < world->profile.shard_count && several(world); i++) {
        const bool asked = shard == PROCESS_SHARDS_MAX || shard == i;
        astray = astray || (asked && !process_serves(process_at(host), i));
    }
    return astray;
}
