/*
 * server/service_setup.c - who this node is, as clients and other nodes are told; the service, and
 * the port that listens for it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/assert.h"
#include "server/own_address.h"
#include "server/server_int.h"

static void addr_format(const char *ip, uint16_t port, char ret_text[SERVER_ADDR_MAX])
{
    const bool ip6 = strchr(ip, ':') != NULL;
    (void)snprintf(ret_text, SERVER_ADDR_MAX, "%s%s%s:%u", ip6 ? "[" : "", ip, ip6 ? "]" : "",
                   (unsigned)port);
}

void server_identify(struct server *server)
{
    const struct silo_config *config = server->config;
    struct server_identity *identity = &server->identity;
    uint8_t random[16];
    env_random(server->env, random, sizeof random);
    const struct uuid id = uuid_v4(random);
    uuid_format(&id, identity->random_id);
    identity->id =
        config->coordination.node_id != NULL ? config->coordination.node_id : identity->random_id;
    env_random(server->env, &identity->nonce, sizeof identity->nonce);
    const uint16_t port = rpc_server_port(server->rpc);
    addr_format(config->server.grpc_addr.host, port, identity->bound);
    memcpy(identity->own, identity->bound, sizeof identity->own);
    if (address_is_any(config->server.grpc_addr.host)) {
        char ip[CONFIG_HOST_MAX];
        own_address(config->server.grpc_addr.host, ip);
        addr_format(ip, port, identity->own);
    }
    const char *configured = config->coordination.advertised_grpc_addr;
    identity->address = configured != NULL ? configured : identity->own;
}

/* What clients are told to dial, and how it was found. */
static void advertised_say(const struct server *server)
{
    const struct server_identity *identity = &server->identity;
    if (server->config->coordination.backend != CONFIG_COORD_NONE) {
        log_info("advertised", LOG_STR("grpc", identity->address), LOG_STR("node", identity->id),
                 LOG_STR("from", identity->address != identity->own
                                     ? "coordination.advertised_grpc_addr"
                                     : "server.grpc_addr"),
                 LOG_END);
        return;
    }
    if (identity->address != identity->own) {
        log_info("advertised", LOG_STR("grpc", identity->address),
                 LOG_STR("from", "coordination.advertised_grpc_addr"), LOG_END);
        return;
    }
    log_info("advertised", LOG_STR("grpc", "as dialled"), LOG_STR("else", identity->own),
             LOG_STR("text", "each client is told the address it dialled; "
                             "coordination.advertised_grpc_addr tells one to all"),
             LOG_END);
}

static SILO_RC methods_add(struct server *server, struct silo_err *err)
{
    const struct rpc_method *method = NULL;
    for (size_t i = 0; (method = service_rpc_method(server->service, i)) != NULL; i++) {
        TRY(rpc_server_add(server->rpc, method, err));
    }
    return RC_OK;
}

/* Any thread. */
static void question_ask(void *context, struct cluster_question *question)
{
    const struct server *server = context;
    node_ask(server->node, question);
}

static bool call_forward(void *context, struct rpc_call *call, const struct service_hop *hop)
{
    const struct server *server = context;
    const struct peers_hop to = {.path = hop->path,
                                 .id = hop->id,
                                 .address = hop->address,
                                 .back = hop->back,
                                 .context = hop->context};
    return peers_forward(server->peers, call, &to);
}

/* A question to another node, and who is told the answer. */
struct node_question {
    void (*done)(void *context, const struct service_answer *answer);
    void *context;
    struct peers_ask *ask;
};

static void node_answered(void *context, const struct peers_answer *answer)
{
    struct node_question asked = *(struct node_question *)context;
    const struct service_answer told = {
        .status = answer->status, .text = answer->text, .reply = answer->reply};
    free(context);
    asked.done(asked.context, &told);
}

static void *node_ask_peer(void *context, const struct service_question *question)
{
    const struct server *server = context;
    struct node_question *asked = xmalloc(sizeof *asked);
    asked->done = question->done;
    asked->context = question->context;
    const struct peers_question to = {.path = question->path,
                                      .address = question->address,
                                      .message = question->message,
                                      .timeout_us = question->timeout_us,
                                      .loop = question->loop,
                                      .done = node_answered,
                                      .context = asked};
    asked->ask = peers_ask(server->peers, &to);
    if (asked->ask == NULL) {
        free(asked);
        return NULL;
    }
    return asked;
}

static void node_ask_stop(void *asked)
{
    peers_ask_stop(((struct node_question *)asked)->ask);
}

static enum peers_mode forward_mode(const struct silo_config *config)
{
    switch (config->coordination.forward) {
    case CONFIG_FORWARD_NEVER:
        return PEERS_NEVER;
    case CONFIG_FORWARD_ASKED:
        return PEERS_ASKED;
    case CONFIG_FORWARD_ALWAYS:
        return PEERS_ALWAYS;
    }
    return PEERS_NEVER;
}

/* Nodes talk to each other as their callers talk to them. */
static SILO_RC build_peers(struct server *server, struct silo_err *err)
{
    const struct silo_config *config = server->config;
    const struct peers_options options = {
        .mode = forward_mode(config),
        .directory = &server->directory,
        .node_id = server->identity.id,
        .tls = config->server.tls_cert != NULL,
        .tls_ca = config->coordination.peer_tls_ca,
        .tls_cert = config->server.tls_client_ca != NULL ? config->server.tls_cert : NULL,
        .tls_key = config->server.tls_client_ca != NULL ? config->server.tls_key : NULL,
        .tls_name = config->coordination.peer_tls_name,
        .auth_token = config->server.auth_token};
    if (config->coordination.backend == CONFIG_COORD_NONE) {
        return RC_OK; /* there is no other node */
    }
    return peers_new(&options, &server->peers, err);
}

SILO_RC server_build_service(struct server *server, struct silo_err *err)
{
    const struct silo_config *config = server->config;
    const struct server_identity *identity = &server->identity;
    TRY(build_peers(server, err));
    TRY(statements_new(server->store, server->env, &server->statements, err));
    const struct counter_source counters[] = {
        shards_executor_counters(server->shards),
        shards_counters(server->shards),
        rpc_server_counters(server->rpc),
        node_counters(server->node),
    };
    const struct service_options options = {
        .statements = server->statements,
        .ask = question_ask,
        .ask_context = server,
        .forward = server->peers != NULL ? call_forward : NULL,
        .forward_context = server,
        .ask_node = server->peers != NULL ? node_ask_peer : NULL,
        .ask_node_stop = node_ask_stop,
        .counters = counters,
        .counters_count = sizeof counters / sizeof counters[0],
        .shards = server->shards,
        .directory = &server->directory,
        .loops = (uint32_t)config->server.io_loops,
        .env = server->env,
        .tenancy = config->tenancy_enabled,
        .dev_mode = config->server.dev_mode,
        .node = {.id = identity->id,
                 .grpc_addr = identity->address,
                 .as_dialled = config->coordination.advertised_grpc_addr == NULL &&
                               config->coordination.backend == CONFIG_COORD_NONE,
                 .life = identity->nonce,
                 .rings = config->coordination.placement_rings.items,
                 .ring_count = config->coordination.placement_rings.count}};
    advertised_say(server);
    server->service = service_new(&options);
    TRY(methods_add(server, err));
    TRY(rpc_server_start(server->rpc, err));
    log_info("listening", LOG_STR("grpc", identity->bound),
             LOG_STR("tls", config->server.tls_cert != NULL ? "on" : "off"),
             LOG_STR("auth", config->server.auth_token != NULL ? "token" : "open"),
             LOG_STR("tenancy", config->tenancy_enabled ? "on" : "off"),
             LOG_INT("executors", config->server.executors),
             LOG_INT("io_loops", config->server.io_loops),
             LOG_INT("connections_max", server->connections_max), LOG_END);
    return RC_OK;
}
