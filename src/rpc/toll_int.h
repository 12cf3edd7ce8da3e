/*
 * rpc/toll_int.h - how many frames of each kind a connection may send.
 *
 * Kinds of which an honest client sends few, and which cost more than they look like. Each has an
 * allowance, which comes back at a rate; who has used it up is told to calm down. Requests and
 * their bytes have none: windows, streams and the work of a turn bound those.
 *
 * Units      frames; rates a second.
 * Threads    the loop's.
 * Limits     the table below.
 */
#ifndef SILO_RPC_TOLL_INT_H
#define SILO_RPC_TOLL_INT_H

#include <stdbool.h>
#include <stdint.h>

enum toll_kind {
    TOLL_SETTINGS, /* each goes through all open streams */
    TOLL_PING,     /* wants an answer; clients that measure the way send one in each round trip */
    TOLL_RESET,    /* calls given up, and our resets for a stream's errors */
    TOLL_WINDOW,   /* more for each frame of data we send */
    TOLL_PRIORITY,
    TOLL_EMPTY,   /* DATA without a byte that does not end its stream */
    TOLL_HEADERS, /* requests whose headers are too large */
    TOLL_KEYS,    /* new keys of TLS: no frames, but as cheap to ask for and much dearer to do */
    TOLL_OTHER,   /* continuations, GOAWAY, and what only a server may send */
};
#define TOLL_KINDS 9u

#define TOLL_SETTINGS_BURST 256u
#define TOLL_SETTINGS_RATE 16u
#define TOLL_PING_BURST 100000u
#define TOLL_PING_RATE 20000u
#define TOLL_RESET_BURST 20000u
#define TOLL_RESET_RATE 10000u
#define TOLL_WINDOW_BURST 50000u
#define TOLL_WINDOW_RATE 10000u
#define TOLL_WINDOW_PER_DATA 4u
#define TOLL_PRIORITY_BURST 1000u
#define TOLL_PRIORITY_RATE 100u
#define TOLL_EMPTY_BURST 1000u
#define TOLL_EMPTY_RATE 100u
#define TOLL_HEADERS_BURST 200u
#define TOLL_HEADERS_RATE 20u
#define TOLL_KEYS_BURST 256u
#define TOLL_KEYS_RATE 16u
#define TOLL_OTHER_BURST 1000u
#define TOLL_OTHER_RATE 100u

struct toll {
    int64_t at_us; /* when what had come back was last added */
    uint32_t left[TOLL_KINDS];
};

void toll_init(struct toll *toll, int64_t now_us);
/* Takes one; false when none is left. */
bool toll_take(struct toll *toll, enum toll_kind kind, int64_t now_us);
/* `count` more, up to the allowance. */
void toll_give(struct toll *toll, enum toll_kind kind, uint32_t count);
/* For the log. */
const char *toll_name(enum toll_kind kind);

#endif
