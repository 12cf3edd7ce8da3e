/*
 * peers/channels.c - channels to other nodes, by address: made when first needed, closed when they
 * make room for another or their node has left.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "peers/peers_int.h"

static struct rpc_channel_options channel_options(const struct peers *peers, const char *address)
{
    const struct peers_options *options = &peers->options;
    return (struct rpc_channel_options){.target = address,
                                        .tls = options->tls,
                                        .tls_ca = options->tls_ca,
                                        .tls_cert = options->tls_cert,
                                        .tls_key = options->tls_key,
                                        .tls_name = options->tls_name,
                                        .auth_token = options->auth_token,
                                        .answer_bytes_max = PEERS_ANSWER_BYTES_MAX,
                                        .calls_max = PEERS_CALLS_MAX};
}

static void peer_close(struct peers *peers, size_t at)
{
    struct peer *peer = peers->all[at];
    (void)rpc_channel_free(peer->channel);
    free(peer->address);
    free(peer);
    peers->all[at] = peers->all[--peers->count];
}

/* Room for one more: the one that was idle for longest goes. False: all are busy. */
static bool channels_make_room(struct peers *peers)
{
    if (peers->count < PEERS_MAX) {
        return true;
    }
    size_t oldest = PEERS_MAX;
    for (size_t i = 0; i < peers->count; i++) {
        if (peers->all[i]->calls == 0 &&
            (oldest == PEERS_MAX || peers->all[i]->used_us < peers->all[oldest]->used_us)) {
            oldest = i;
        }
    }
    if (oldest == PEERS_MAX) {
        return false;
    }
    peer_close(peers, oldest);
    return true;
}

struct peer *channels_take(struct peers *peers, const char *address, struct silo_err *err)
{
    struct peer *peer = NULL;
    for (size_t i = 0; i < peers->count && peer == NULL; i++) {
        peer = strcmp(peers->all[i]->address, address) == 0 ? peers->all[i] : NULL;
    }
    if (peer == NULL) {
        if (!channels_make_room(peers)) {
            rc_ignore(FAIL(err, SILO_UNAVAILABLE, "calls go on to too many nodes at a time"),
                      "NULL says so");
            return NULL;
        }
        const struct rpc_channel_options options = channel_options(peers, address);
        struct rpc_channel *channel = NULL;
        if (rpc_channel_new(peers->loop, &options, &channel, err).code != SILO_OK) {
            return NULL;
        }
        peer = xcalloc(1, sizeof *peer);
        peer->address = xstrdup(address);
        peer->channel = channel;
        peers->all[peers->count++] = peer;
    }
    peer->calls++;
    peer->used_us = rpc_loop_now_us(peers->loop);
    return peer;
}

static void channels_drop_gone(struct peers *peers)
{
    for (size_t i = peers->count; i > 0; i--) {
        if (peers->all[i - 1]->gone && peers->all[i - 1]->calls == 0) {
            peer_close(peers, i - 1);
        }
    }
}

void channels_give_back(struct peers *peers, struct peer *peer)
{
    ASSERT(peer->calls != 0);
    peer->calls--;
    channels_drop_gone(peers);
}

/* --- members --- */

static bool is_member(const struct directory *directory, const char *address)
{
    for (size_t i = 0; i < directory->node_count; i++) {
        if (strcmp(directory->nodes[i].address, address) == 0) {
            return true;
        }
    }
    return false;
}

static void channels_newer(struct rpc_mail *mail)
{
    struct peers *peers = CONTAINER_OF(mail, struct peers, newer);
    if (!peers->reading) {
        return; /* it was on its way when the end came */
    }
    const struct directory *directory = directory_read(&peers->reader);
    for (size_t i = 0; i < peers->count; i++) {
        peers->all[i]->gone = !is_member(directory, peers->all[i]->address);
    }
    channels_drop_gone(peers);
}

/* Whoever publishes; once between two reads, so the mail is free. */
static void channels_wake(void *context)
{
    struct peers *peers = context;
    rpc_loop_post(peers->loop, &peers->newer);
}

SILO_RC channels_init(struct peers *peers, struct silo_err *err)
{
    /* Its files are read once now, so that a wrong one is found at the start. */
    const struct rpc_channel_options options = channel_options(peers, "127.0.0.1:1");
    struct rpc_channel *channel = NULL;
    TRY(rpc_channel_new(peers->loop, &options, &channel, err));
    (void)rpc_channel_free(channel);
    peers->newer.run = channels_newer;
    peers->reading = true;
    directory_reader_init(&peers->reader, peers->options.directory, channels_wake, peers);
    return RC_OK;
}

static void channels_end(struct rpc_mail *mail)
{
    struct peers *peers = CONTAINER_OF(mail, struct peers, end);
    peers->reading = false;
    directory_reader_deinit(&peers->reader);
    while (peers->count != 0) {
        ASSERT(peers->all[0]->calls == 0);
        peer_close(peers, 0);
    }
}

void channels_deinit(struct peers *peers)
{
    if (peers->reading) {
        peers->end.run = channels_end;
        rpc_loop_post(peers->loop, &peers->end);
    }
}
