/*
 * tests/rpc/rpc_bench.c - closed-loop load on an echo server: what a call costs the server.
 *
 * usage: rpc_bench <host:port> <server pid> <connections> <calls in flight each> <seconds> [path] [message bytes]
 *
 * Prints calls a second and the server's CPU time per call (utime + stime of the whole process over the window).
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/env.h"
#include "rpc/rpc.h"

#define CONNS_MAX 256

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

/* Microseconds the process' threads were on a CPU. */
static double cpu_us(long pid)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    unsigned long user = 0, sys = 0;
    ASSERT(fscanf(file, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys) == 2);
    (void)fclose(file);
    return (double)(user + sys) * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        (void)fprintf(stderr, "usage: rpc_bench host:port pid conns calls seconds [path] [bytes]\n");
        return 2;
    }
    const long pid = strtol(argv[2], NULL, 10);
    const int conns = atoi(argv[3]), calls = atoi(argv[4]), seconds = atoi(argv[5]);
    const char *path = argc > 6 ? argv[6] : "/test.Echo/Unary";
    const size_t size = argc > 7 ? strtoul(argv[7], NULL, 10) : 200;
    ASSERT(conns > 0 && conns <= CONNS_MAX && calls > 0);
    struct rpc_loop *loop = NULL;
    struct silo_err err;
    if (rpc_loop_new(&loop, &err).code != SILO_OK) {
        return 1;
    }
    uint8_t *message = xcalloc(1, size + 1);
    struct rpc_channel *channels[CONNS_MAX];
    struct load *loads = xcalloc((size_t)(conns * calls), sizeof *loads);
    const struct rpc_channel_options options = {.target = argv[1]};
    for (int c = 0; c < conns; c++) {
        ASSERT(rpc_channel_new(loop, &options, &channels[c], &err).code == SILO_OK);
        for (int i = 0; i < calls; i++) {
            struct load *load = &loads[c * calls + i];
            *load = (struct load){.channel = channels[c],
                                  .request = {.path = path, .message = bytes_of(message, size), .on_done = load_done}};
            atomic_fetch_add(&open_calls, 1);
            rpc_channel_call(channels[c], &load->request);
        }
    }
    usleep(500000);
    const unsigned long done0 = atomic_load(&done);
    const double cpu0 = cpu_us(pid);
    const int64_t at0 = env_mono_us(&env_system);
    sleep((unsigned)seconds);
    const unsigned long count = atomic_load(&done) - done0;
    const double cpu = cpu_us(pid) - cpu0;
    const double us = (double)(env_mono_us(&env_system) - at0);
    atomic_store(&stop, true);
    printf("%dx%d: %.0f calls/s, server CPU %.2f us/call, %.0f %% of a core, failed %lu\n", conns, calls,
           (double)count * 1e6 / us, cpu / (double)count, cpu / us * 100, atomic_load(&failed));
    while (atomic_load(&open_calls) != 0) {
        usleep(1000);
    }
    for (int c = 0; c < conns; c++) {
        (void)rpc_channel_free(channels[c]);
    }
    (void)rpc_loop_free(loop);
    free(loads);
    free(message);
    return 0;
}
