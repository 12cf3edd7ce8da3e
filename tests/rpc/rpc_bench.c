/*
 * tests/rpc/rpc_bench.c - closed-loop load on an echo server: what a call costs the server.
 *
 * usage: rpc_bench <host:port> <server pid> <connections> <calls in flight each> <seconds> [path]
 * [message bytes]
 *
 * Prints calls a second and the server's CPU time per call (utime + stime of the whole process over
 * the window).
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/env.h"
#include "rpc/rpc.h"

#define CONNS_MAX 256u
#define CALLS_MAX 10000u /* in flight on one connection */
#define WARM_UP_US 500000

static atomic_ulong done, failed;
static atomic_bool stop;
static atomic_uint open_calls;

struct load {
    struct rpc_request request;
    struct rpc_channel *channel;
};

static void load_done(struct rpc_request *request)
{
    struct load *load = CONTAINER_OF(request, struct load, request);
    if (request->status == RPC_STATUS_OK) {
        atomic_fetch_add_explicit(&done, 1, memory_order_relaxed);
    } else if (atomic_fetch_add(&failed, 1) == 0) {
        (void)fprintf(stderr, "status %u: %.*s\n", request->status, BYTES_FMT(request->text));
    }
    if (atomic_load_explicit(&stop, memory_order_relaxed)) {
        atomic_fetch_sub(&open_calls, 1);
    } else {
        rpc_channel_call(load->channel, request);
    }
}

/* Microseconds the process' threads were on a CPU: fields 14 and 15 of its stat file. */
static double cpu_us(long pid)
{
    char path[64], line[1024];
    (void)snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(line, sizeof line, file) == NULL) {
        perror(path);
        exit(1);
    }
    (void)fclose(file);
    const char *at = strrchr(line, ')'); /* the end of field 2 */
    for (int field = 3; at != NULL && field <= 14; field++) {
        at = strchr(at + 1, ' ');
    }
    ASSERT(at != NULL);
    char *end = NULL;
    const unsigned long user = strtoul(at, &end, 10);
    const unsigned long sys = strtoul(end, NULL, 10);
    return (double)(user + sys) * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

static void measure(long pid, unsigned seconds, size_t conns, size_t calls)
{
    usleep(WARM_UP_US);
    const unsigned long done0 = atomic_load(&done);
    const double cpu0 = cpu_us(pid);
    const int64_t at0 = env_mono_us(&env_system);
    sleep(seconds);
    const double count = (double)(atomic_load(&done) - done0);
    const double cpu = cpu_us(pid) - cpu0;
    const double us = (double)(env_mono_us(&env_system) - at0);
    printf("%zux%zu: %.0f calls/s, server CPU %.2f us/call, %.0f %% of a core, failed %lu\n", conns,
           calls, count * 1e6 / us, cpu / count, cpu / us * 100, atomic_load(&failed));
}

static size_t argument(int argc, char **argv, int at, size_t otherwise)
{
    return argc > at ? strtoul(argv[at], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        (void)fprintf(stderr,
                      "usage: rpc_bench host:port pid conns calls seconds [path] [bytes]\n");
        return 2;
    }
    const size_t conns = argument(argc, argv, 3, 1), calls = argument(argc, argv, 4, 1);
    const size_t size = argument(argc, argv, 7, 200);
    ASSERT(conns > 0 && conns <= CONNS_MAX && calls > 0 && calls <= CALLS_MAX);
    struct rpc_loop *loop = NULL;
    struct silo_err err;
    if (rpc_loop_new(&loop, &err).code != SILO_OK) {
        return 1;
    }
    uint8_t *message = xcalloc(1, size + 1);
    struct rpc_channel *channels[CONNS_MAX] = {NULL};
    struct load *loads = xcalloc(conns * calls, sizeof *loads);
    const struct rpc_channel_options options = {.target = argv[1]};
    for (size_t i = 0; i < conns * calls; i++) {
        struct rpc_channel **channel = &channels[i / calls];
        if (i % calls == 0) {
            ASSERT(rpc_channel_new(loop, &options, channel, &err).code == SILO_OK);
        }
        loads[i] = (struct load){.channel = *channel,
                                 .request = {.path = argc > 6 ? argv[6] : "/test.Echo/Unary",
                                             .message = bytes_of(message, size),
                                             .on_done = load_done}};
        atomic_fetch_add(&open_calls, 1);
        rpc_channel_call(*channel, &loads[i].request);
    }
    measure(strtol(argv[2], NULL, 10), (unsigned)argument(argc, argv, 5, 1), conns, calls);
    atomic_store(&stop, true);
    while (atomic_load(&open_calls) != 0) {
        usleep(1000);
    }
    for (size_t i = 0; i < conns; i++) {
        (void)rpc_channel_free(channels[i]);
    }
    (void)rpc_loop_free(loop);
    free(loads);
    free(message);
    return 0;
}
