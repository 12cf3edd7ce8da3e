/* peers/peers.c - see peers.h: the module's own life. */
#include <stdlib.h>

#include "base/assert.h"
#include "peers/peers_int.h"

static const char *text_keep(const char *text)
{
    return text != NULL ? xstrdup(text) : NULL;
}

bool peers_admit(struct peers *peers, uint64_t bytes)
{
    if (atomic_fetch_add_explicit(&peers->calls, 1, memory_order_relaxed) < PEERS_CALLS_MAX &&
        atomic_load_explicit(&peers->bytes, memory_order_relaxed) + bytes <= PEERS_BYTES_MAX) {
        return true;
    }
    (void)atomic_fetch_sub_explicit(&peers->calls, 1, memory_order_relaxed);
    return false;
}

SILO_RC peers_new(const struct peers_options *options, struct peers **ret_peers,
                  struct silo_err *err)
{
    struct peers *peers = xcalloc(1, sizeof *peers);
    peers->options = *options;
    peers->options.node_id = text_keep(options->node_id);
    peers->options.tls_ca = text_keep(options->tls_ca);
    peers->options.tls_cert = text_keep(options->tls_cert);
    peers->options.tls_key = text_keep(options->tls_key);
    peers->options.tls_name = text_keep(options->tls_name);
    peers->options.auth_token = text_keep(options->auth_token);
    silo_rc rc = rpc_loop_new(&peers->loop, err);
    if (rc.code == SILO_OK) {
        rc = channels_init(peers, err);
    }
    if (rc.code != SILO_OK) {
        (void)peers_free(peers);
        return rc;
    }
    *ret_peers = peers;
    return RC_OK;
}

struct peers *peers_free(struct peers *peers)
{
    if (peers == NULL) {
        return NULL;
    }
    ASSERT(atomic_load_explicit(&peers->calls, memory_order_relaxed) == 0);
    if (peers->loop != NULL) {
        channels_deinit(peers);
        peers->loop = rpc_loop_free(peers->loop);
    }
    free((char *)peers->options.node_id);
    free((char *)peers->options.tls_ca);
    free((char *)peers->options.tls_cert);
    free((char *)peers->options.tls_key);
    free((char *)peers->options.tls_name);
    free((char *)peers->options.auth_token);
    free(peers);
    return NULL;
}
