/*
 * peers/peers_int.h - what forward.c, ask.c and channels.c share.
 *
 * Threads    struct peers: its atomics any, `channels` the module's loop, the rest is constant.
 */
#ifndef SILO_PEERS_INT_H
#define SILO_PEERS_INT_H

#include <stdatomic.h>

#include "peers/peers.h"

#define PEERS_HEADER_MARK "x-silo-forwarded"
#define PEERS_TEXT_MAX 1024u /* bytes of an answer's text that are kept */

/* One other node, by its address. */
struct peer {
    char *address;
    struct rpc_channel *channel;
    uint32_t calls;  /* under way: it is not closed meanwhile */
    int64_t used_us; /* last */
    bool gone;       /* no member has the address */
};

struct peers {
    struct peers_options options; /* strings are own */
    struct rpc_loop *loop;
    struct peer *all[PEERS_MAX];
    size_t count;
    atomic_size_t calls;        /* under way */
    atomic_uint_fast64_t bytes; /* of their requests and answers */
    struct directory_reader reader;
    bool reading;          /* the reader is in use; the loop's, once it runs */
    struct rpc_mail newer; /* there is a newer directory */
    struct rpc_mail end;
};

/* --- peers.c. Any thread --- */

/* Whether one more call with a request of so many bytes may begin; then it is counted as a call. */
bool peers_admit(struct peers *peers, uint64_t bytes);

/* --- channels.c. All on the module's loop --- */

/* Begins to hear of members. */
SILO_RC channels_init(struct peers *peers, struct silo_err *err);
/* Before the loop ends, from another thread: the loop does it, as the last thing. */
void channels_deinit(struct peers *peers);
/*
 * The peer with a call more under way; NULL with a reason: too many are busy, or that is no
 * address.
 */
struct peer *channels_take(struct peers *peers, const char *address, struct silo_err *err);
void channels_give_back(struct peers *peers, struct peer *peer);

#endif
