/*
 * bench/peers/load.h - closed loops over the life of a job, against any job system with a socket.
 *
 * A round is: enqueue `bulk` jobs, then reserve and complete until as many were completed; every
 * step waits for its acknowledgement. One thread serves all clients, each with a connection of its
 * own. Who measures the server's CPU is told when: the program prints "ready" once all connections
 * stand, starts when a line arrives on standard input, prints one line of JSON when the last round
 * is over, and keeps its connections until standard input ends.
 *
 * Units      microseconds, but where the name says otherwise.
 * Ownership  the clients belong to load_main; a driver owns what its `state` points to until the
 *            process ends.
 * Threads    one.
 * Limits     LOAD_BULK_MAX jobs in a step. Any failure ends the program with status 1 and a
 *            message.
 */
#ifndef SILO_BENCH_PEERS_LOAD_H
#define SILO_BENCH_PEERS_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOAD_BULK_MAX 1000u
#define LOAD_PAYLOAD 64u

enum step {
    STEP_ENQUEUE,
    STEP_RESERVE,
    STEP_COMPLETE,
};
#define STEP_COUNT 3

struct client {
    int fd;              /* set by open */
    void *state;         /* the driver's */
    enum step step;      /* under way */
    uint32_t wanted;     /* jobs of this step */
    uint32_t owed, held; /* jobs of this round not completed; jobs reserved */
    uint32_t counted;    /* of this step's acknowledgements */
    int64_t step_us;     /* when the step was sent */
    bool idle;
};

struct load_options {
    const char *variant; /* what a driver makes of it */
    uint16_t port;       /* on loopback */
    uint32_t clients, bulk;
    double seconds;
};

struct driver {
    /* Connects and prepares; blocks. */
    void (*open)(struct client *client, const struct load_options *options);
    /*
     * Sends client->wanted jobs' worth of client->step. STEP_COMPLETE is about the jobs of the last
     * STEP_RESERVE.
     */
    void (*send)(struct client *client);
    /*
     * Takes what the socket has. *ret_jobs: how many jobs of the step are acknowledged by now.
     * True: the step is over, which for STEP_RESERVE may be with fewer than wanted.
     */
    bool (*receive)(struct client *client, uint32_t *ret_jobs);
    /* Jobs the server still has; blocks. Asked once, at the end. */
    uint64_t (*left)(struct client *client);
};

/* The 64 bytes every job carries; no NUL behind them. */
extern const char load_payload[LOAD_PAYLOAD];

int load_main(int argc, char **argv, const struct driver *driver);
_Noreturn void load_die(const char *text, ...) __attribute__((format(printf, 1, 2)));

#endif
