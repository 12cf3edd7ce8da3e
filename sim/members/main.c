/*
 * sim/members/main.c - silo-sim-members: runs of members.h, one seed each.
 *
 * A run is some hundred steps in which anything happens, then calm: those that were left or killed
 * stay so, unless nobody would be left; the others hear of everything. Then every shard of the map
 * must be served by the one node that its record names, and all must know it.
 *
 *     silo-sim-members [--seed N] [--count N] [--steps N] [--stop] [--quiet] [--trace]
 *
 * Exit status 1 and a line for each run that broke a rule. --no-shrink changes nothing: steps are
 * cheap.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim/members/members.h"

#define STEPS_DEFAULT 1500
#define CALM_ROUNDS_MAX 400
#define CALM_STEPS_MAX 200000

struct options {
    uint64_t seed, count, steps;
    bool stop, quiet, trace;
};

static void calm_begin(struct world *world)
{
    world->calm = true;
    size_t up = 0;
    for (int i = 0; i < MEMBERS_NODES; i++) {
        struct life *life = &world->lives[i];
        life->cut = false;
        life->still = false;
        if (life->cluster != NULL && life->left) {
            node_kill(world, i);
        }
        up += life->cluster != NULL ? 1 : 0;
    }
    if (up == 0) {
        node_start(world, 0);
        node_act(world, 0);
    }
}

/* Whoever is not there any more is found out in time. */
static void calm_expire(struct world *world)
{
    for (int i = 0; i < MEMBERS_NODES; i++) {
        struct life *life = &world->lives[i];
        if (life->cluster != NULL && life->left) {
            node_kill(world, i);
        }
        if (life->cluster == NULL || life->nonce != world->member_nonce[i]) {
            coordinator_expire(world, i);
        }
    }
}

static bool run(struct world *world, uint64_t steps)
{
    node_start(world, (int)world_random(world, (uint64_t)world->nodes));
    for (uint64_t i = 0; i < steps && !world->failed; i++) {
        (void)world_step(world);
    }
    calm_begin(world);
    size_t calm_steps = 0;
    for (int round = 0; round < CALM_ROUNDS_MAX && !world->failed; round++) {
        while (!world->failed && calm_steps++ < CALM_STEPS_MAX && world_step(world)) {
        }
        calm_expire(world);
        size_t up = 0;
        for (int i = 0; i < MEMBERS_NODES; i++) {
            up += world->lives[i].cluster != NULL ? 1 : 0;
        }
        if (up == 0) { /* all were about to leave */
            node_start(world, 0);
        }
        world->now_ms += 500;
        for (int i = 0; i < MEMBERS_NODES && !world->failed; i++) {
            if (world->lives[i].cluster != NULL) {
                cluster_set_time(world->lives[i].cluster, world->now_ms);
                node_act(world, i);
            }
        }
    }
    if (!world->failed && calm_steps >= CALM_STEPS_MAX) {
        world_fail(world, "settle", "it goes on and on");
    }
    if (!world->failed) {
        settle_check(world);
    }
    return !world->failed;
}

static bool options_read(int argc, char **argv, struct options *options)
{
    static const struct option longs[] = {
        {"seed", required_argument, NULL, 's'},  {"count", required_argument, NULL, 'c'},
        {"steps", required_argument, NULL, 'n'}, {"stop", no_argument, NULL, 'x'},
        {"quiet", no_argument, NULL, 'q'},       {"trace", no_argument, NULL, 't'},
        {"no-shrink", no_argument, NULL, 'k'},   {NULL, 0, NULL, 0}};
    *options = (struct options){.seed = 1, .count = 1, .steps = STEPS_DEFAULT};
    for (int c = 0; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (c) {
        case 's':
            options->seed = strtoull(optarg, NULL, 10);
            break;
        case 'c':
            options->count = strtoull(optarg, NULL, 10);
            break;
        case 'n':
            options->steps = strtoull(optarg, NULL, 10);
            break;
        case 'x':
            options->stop = true;
            break;
        case 'q':
            options->quiet = true;
            break;
        case 't':
            options->trace = true;
            break;
        case 'k':
            break;
        default:
            return false;
        }
    }
    return optind == argc;
}

int main(int argc, char **argv)
{
    struct options options;
    if (!options_read(argc, argv, &options)) {
        (void)fprintf(stderr,
                      "usage: %s [--seed N] [--count N] [--steps N] [--stop] [--quiet] "
                      "[--trace]\n",
                      argv[0]);
        return EXIT_FAILURE;
    }
    uint64_t failed = 0, maps = 0, lives = 0, handed_over = 0;
    struct world *world = xcalloc(1, sizeof *world);
    for (uint64_t i = 0; i < options.count && !(options.stop && failed > 0); i++) {
        world_init(world, options.seed + i, options.trace);
        if (!run(world, options.steps)) {
            failed++;
            (void)printf("seed %llu: rule %s: %s\n", (unsigned long long)world->seed, world->rule,
                         world->text);
        }
        maps += world->map.number;
        lives += world->nonces;
        handed_over += world->handed_over;
        world_deinit(world);
    }
    free(world);
    if (!options.quiet) {
        (void)printf("%llu runs, %llu lives of nodes, %llu maps, %llu hand-overs: %llu failed\n",
                     (unsigned long long)options.count, (unsigned long long)lives,
                     (unsigned long long)maps, (unsigned long long)handed_over,
                     (unsigned long long)failed);
    }
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
