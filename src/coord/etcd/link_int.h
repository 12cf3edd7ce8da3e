/*
 * coord/etcd/link_int.h - what link.c (servers, the turn), link_call.c (calls) and link_stream.c
 * (the watch) share.
 *
 * Ownership  the link owns endpoints, calls and streams.
 * Threads    `arrived` is filled on the loop; all else is the turn's.
 */
#ifndef SILO_COORD_ETCD_LINK_INT_H
#define SILO_COORD_ETCD_LINK_INT_H

#include "base/list.h"
#include "base/mailbox.h"
#include "coord/etcd/link.h"
#include "rpc/rpc.h"

#define LINK_TARGET_BYTES 300u
#define LINK_HEADERS 2u

/* Something that the loop hands to the turn. */
struct link_arrival {
    struct mail mail;
    void (*take)(struct link_arrival *arrival);
};

struct link_endpoint {
    char target[LINK_TARGET_BYTES];
    struct rpc_channel *channel;
};

struct etcd_link {
    const struct env *env;
    struct rpc_loop *loop;
    struct link_endpoint endpoints[ETCD_ENDPOINTS_MAX];
    size_t endpoint_count, current;
    int64_t patience_us;
    int fd; /* eventfd: something arrived */
    struct mailbox arrived;

    char *username, *password;
    char *token;         /* NULL: none yet */
    uint64_t token_turn; /* counts tokens */
    bool asking_token;

    struct list out;         /* calls on their way */
    struct list resting;     /* calls that are tried again later, or wait for a token */
    struct list streams;     /* open ones */
    struct silo_err trouble; /* the newest; code OK: none */
    bool ending;
};

/* --- link_call.c --- */

/* What each request carries besides its message; the token is copied to *ret_token. */
size_t link_headers(const struct etcd_link *link, char **ret_token,
                    struct rpc_header ret_headers[LINK_HEADERS]);
/* Sends what rests and is due. */
void link_calls_due(struct etcd_link *link, int64_t now_us);
int64_t link_calls_next_us(const struct etcd_link *link);
/* The next call asks for another token first. */
void link_token_drop(struct etcd_link *link);
/* Whether it is a call's answer. */
bool link_call_is(const struct link_arrival *arrival);
/* The link ends: no call is at a server any more. */
void link_calls_free(struct etcd_link *link);

/* --- link_stream.c --- */

/* The link ends: closes the stream of that node. */
void link_stream_drop(struct list_node *node);

/* --- link.c --- */

/* Any thread. */
void link_arrive(struct etcd_link *link, struct link_arrival *arrival);

#endif
