/*
 * sim/coord_model_test.c - the simulator's model of a coordinator does what every coordinator has
 * to do: the cases of coord/behaviour, in a world whose clock is its own.
 */
#include <string.h>

#include "coord/behaviour/world_test.h"
#include "sim/coord_member.h"

#define STEP_US 5000
#define WAIT_MS 120000 /* of the world's clock: it costs nothing */
#define SEED 7

struct modelled {
    struct world world;
    uint32_t number; /* of the case it is for */
    bool made;
    struct coordinator coordinator;
    struct events events;
    struct sim_random random;
    struct trace trace;
    int64_t now_us;
};

static struct modelled *modelled_of(struct world *world)
{
    return CONTAINER_OF(world, struct modelled, world);
}

static void modelled_end(struct modelled *modelled)
{
    if (modelled->made) {
        coordinator_deinit(&modelled->coordinator);
        events_deinit(&modelled->events);
        trace_deinit(&modelled->trace);
        modelled->made = false;
    }
}

static void owner_put(struct coordinator *coordinator, const struct coordinator_owner *owner)
{
    (void)coordinator;
    (void)owner; /* the cases look at what members are told */
}

static void owner_named(struct coordinator *coordinator, uint64_t nonce, const struct uuid *shard)
{
    (void)coordinator;
    (void)nonce;
    (void)shard;
}

static void modelled_begin(struct modelled *modelled, uint32_t number)
{
    modelled_end(modelled);
    modelled->made = true;
    modelled->number = number;
    modelled->now_us = 1000000;
    modelled->events = (struct events){0};
    modelled->random = (struct sim_random){.state = SEED + number};
    trace_init(&modelled->trace, false);
    modelled->coordinator = (struct coordinator){.events = &modelled->events,
                                                 .random = &modelled->random,
                                                 .trace = &modelled->trace,
                                                 .now_us = &modelled->now_us,
                                                 .on_owner = owner_put,
                                                 .on_named = owner_named};
    coordinator_init(&modelled->coordinator);
}

static struct coord *modelled_member(struct world *world, uint32_t number, const char *id,
                                     uint64_t nonce)
{
    struct modelled *modelled = modelled_of(world);
    if (!modelled->made || modelled->number != number) {
        modelled_begin(modelled, number);
    }
    return &coord_member_new(&modelled->coordinator, id, nonce, 0)->coord;
}

static void modelled_step(struct world *world, struct coord *const *coords, size_t count)
{
    (void)coords;
    (void)count;
    struct modelled *modelled = modelled_of(world);
    modelled->now_us += STEP_US;
    while (modelled->made && events_run_one(&modelled->events, modelled->now_us)) {
        /* all that is due */
    }
}

static int64_t modelled_now_ms(struct world *world)
{
    return modelled_of(world)->now_us / 1000;
}

static void modelled_command(struct world *world, const char *command)
{
    struct coordinator *coordinator = &modelled_of(world)->coordinator;
    if (strcmp(command, "pause") == 0 || strcmp(command, "kill") == 0) {
        coordinator_goes(coordinator);
    } else if (strcmp(command, "compact") == 0) {
        coordinator_compact(coordinator, 0);
    } else if (strcmp(command, "end-leases") == 0) {
        coordinator_goes(coordinator);
        coordinator_returns(coordinator, true);
    } else {
        coordinator_returns(coordinator, false);
    }
}

int main(void)
{
    struct modelled modelled = {.world = {.name = "the simulator's model",
                                          .ttl_ms = COORDINATOR_TTL_US / 1000,
                                          .wait_ms = WAIT_MS,
                                          .several = true,
                                          .plain = true,
                                          .member = modelled_member,
                                          .step = modelled_step,
                                          .now_ms = modelled_now_ms,
                                          .command = modelled_command}};
    const int failed = behaviour_run(&modelled.world, NULL);
    modelled_end(&modelled);
    return failed;
}
