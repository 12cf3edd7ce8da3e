/* coord/etcd/link.c - see link.h: the link's own life, its servers and its turn. */
#include "coord/etcd/link.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "coord/etcd/link_int.h"

#define LINK_CONNECT_US 1000000
#define LINK_BACKOFF_US 500000  /* a server that is back should be found before leases end */
#define LINK_SILENCE_US 3000000 /* sent and not acknowledged: the connection is dead */

/* --- the turn --- */

void link_arrive(struct etcd_link *link, struct link_arrival *arrival)
{
    mailbox_send_always(&link->arrived, &arrival->mail);
}

static void arrived_wake(void *context)
{
    const struct etcd_link *link = context;
    const uint64_t one = 1;
    const ssize_t n = write(link->fd, &one, sizeof one);
    (void)n; /* an eventfd that is full is readable */
}

int64_t etcd_link_turn(struct etcd_link *link)
{
    uint64_t count;
    const ssize_t n = read(link->fd, &count, sizeof count);
    (void)n; /* nothing to read is fine: what came is in the mailbox */
    do {
        struct mail *mail = mailbox_take(&link->arrived);
        while (mail != NULL) {
            struct link_arrival *arrival = CONTAINER_OF(mail, struct link_arrival, mail);
            mail = mail->next;
            arrival->take(arrival);
        }
    } while (!mailbox_sleep(&link->arrived));
    link_calls_due(link, env_mono_us(link->env));
    return link_calls_next_us(link);
}

int etcd_link_fd(const struct etcd_link *link)
{
    return link->fd;
}

SILO_RC etcd_link_check(const struct etcd_link *link, struct silo_err *err)
{
    if (link->trouble.code != SILO_OK && err != NULL) {
        *err = link->trouble;
    }
    return (silo_rc){link->trouble.code};
}

void etcd_link_doubt(struct etcd_link *link, bool token)
{
    if (token) {
        link_token_drop(link);
    }
    link->current = (link->current + 1) % link->endpoint_count;
}

/* --- making and taking down --- */

static SILO_RC endpoint_make(struct etcd_link *link, const struct etcd_link_options *options,
                             const char *url, struct silo_err *err)
{
    static const char http[] = "http://", https[] = "https://";
    struct link_endpoint *endpoint = &link->endpoints[link->endpoint_count];
    const bool tls = strncmp(url, https, sizeof https - 1) == 0;
    const char *host = url;
    if (tls) {
        host += sizeof https - 1;
    } else if (strncmp(url, http, sizeof http - 1) == 0) {
        host += sizeof http - 1;
    }
    size_t len = strlen(host);
    if (host != url && len > 0 && host[len - 1] == '/') {
        len--; /* a URL's empty path */
    }
    if (len == 0 || len >= sizeof endpoint->target || memchr(host, '/', len) != NULL) {
        return FAIL(err, SILO_INVALID,
                    "coordination.etcd_endpoints: must be http://host:port, https://host:port or "
                    "host:port, not \"%.100s\"",
                    url);
    }
    memcpy(endpoint->target, host, len);
    const struct rpc_channel_options channel = {.target = endpoint->target,
                                                .tls = tls,
                                                .tls_ca = options->tls_ca,
                                                .tls_cert = options->tls_cert,
                                                .tls_key = options->tls_key,
                                                .tls_name = options->tls_name,
                                                .message_bytes_max = ETCD_MESSAGE_BYTES_MAX,
                                                .connect_timeout_us = LINK_CONNECT_US,
                                                .user_timeout_us = LINK_SILENCE_US,
                                                .backoff_us_max = LINK_BACKOFF_US};
    struct silo_err why = {0};
    const silo_rc rc = rpc_channel_new(link->loop, &channel, &endpoint->channel, &why);
    if (rc.code != SILO_OK) {
        return FAIL(err, rc.code, "coordination.etcd_endpoints \"%.100s\": %.300s", url, why.text);
    }
    link->endpoint_count++;
    return RC_OK;
}

static SILO_RC link_setup(struct etcd_link *link, const struct etcd_link_options *options,
                          struct silo_err *err)
{
    if (options->endpoint_count == 0 || options->endpoint_count > ETCD_ENDPOINTS_MAX) {
        return FAIL(err, SILO_INVALID, "coordination.etcd_endpoints: must name 1 to %u servers",
                    ETCD_ENDPOINTS_MAX);
    }
    link->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (link->fd < 0) {
        return FAIL(err, SILO_INTERNAL, "no descriptor is left for an eventfd");
    }
    TRY(rpc_loop_new(&link->loop, err));
    for (size_t i = 0; i < options->endpoint_count; i++) {
        TRY(endpoint_make(link, options, options->endpoints[i], err));
    }
    /* Members of a cluster spread over the servers. */
    uint32_t random = 0;
    env_random(link->env, &random, sizeof random);
    link->current = random % link->endpoint_count;
    return RC_OK;
}

SILO_RC etcd_link_new(const struct etcd_link_options *options, struct etcd_link **ret_link,
                      struct silo_err *err)
{
    struct etcd_link *link = xcalloc(1, sizeof *link);
    link->env = options->env;
    link->fd = -1;
    link->patience_us = options->patience_us;
    link->username = options->username != NULL ? xstrdup(options->username) : NULL;
    link->password = options->password != NULL ? xstrdup(options->password) : NULL;
    list_init(&link->out);
    list_init(&link->resting);
    list_init(&link->streams);
    mailbox_init(&link->arrived, SIZE_MAX, arrived_wake, link);
    const silo_rc rc = link_setup(link, options, err);
    if (rc.code != SILO_OK) {
        (void)etcd_link_free(link);
        return rc;
    }
    *ret_link = link;
    return RC_OK;
}

struct etcd_link *etcd_link_free(struct etcd_link *link)
{
    if (link == NULL) {
        return NULL;
    }
    link->ending = true;
    struct list_node *node;
    while ((node = list_first(&link->streams)) != NULL) {
        link_stream_drop(node);
    }
    for (size_t i = 0; i < link->endpoint_count; i++) {
        link->endpoints[i].channel = rpc_channel_free(link->endpoints[i].channel);
    }
    /* All calls have ended and lie in the mailbox, which is left as it is. */
    for (struct mail *mail = mailbox_take(&link->arrived); mail != NULL;) {
        struct link_arrival *arrival = CONTAINER_OF(mail, struct link_arrival, mail);
        mail = mail->next;
        if (!link_call_is(arrival)) {
            arrival->take(arrival); /* a stream's, which frees it */
        }
    }
    link->loop = rpc_loop_free(link->loop);
    link_calls_free(link);
    if (link->fd >= 0) {
        (void)close(link->fd);
    }
    free(link->token);
    free(link->username);
    free(link->password);
    free(link);
    return NULL;
}
