/* server/rpc_setup.c - from the configuration to the gRPC server: bound, not listening yet. */
#include "server/server_int.h"
#include "silo_descriptor.h"

static struct rpc_patience config_patience(const struct config_server *config)
{
    return (struct rpc_patience){.keepalive_us = config->keepalive_time_ms * 1000,
                                 .keepalive_timeout_us = config->keepalive_timeout_ms * 1000,
                                 .idle_us = config->idle_timeout_ms * 1000,
                                 .age_us = config->max_connection_age_ms * 1000,
                                 .age_grace_us = config->max_connection_age_grace_ms * 1000,
                                 .output_us = config->output_timeout_ms * 1000,
                                 .body_us = config->request_timeout_ms * 1000};
}

SILO_RC server_build_rpc(struct server *server, struct silo_err *err)
{
    const struct config_server *config = &server->config->server;
    const struct rpc_server_options options = {
        .listen = config->grpc_addr.text,
        .listen_setting = "server.grpc_addr",
        .loops = (uint32_t)config->io_loops,
        .conns_max = (uint32_t)config->max_connections,
        .streams_max = (uint32_t)config->max_calls_per_connection,
        .patience = config_patience(config),
        .inflight_bytes_max = (uint64_t)config->max_request_bytes,
        .conn_inflight_bytes_max = (uint64_t)config->max_connection_request_bytes,
        .reply_bytes_max = (uint64_t)config->max_reply_bytes,
        .conn_reply_bytes_max = (uint64_t)config->max_connection_reply_bytes,
        .conns_per_address_max = (uint32_t)config->max_connections_per_address,
        .tls_cert = config->tls_cert,
        .tls_key = config->tls_key,
        .tls_client_ca = config->tls_client_ca,
        .auth_token = config->auth_token,
        .descriptors = bytes_of(silo_descriptor_set, silo_descriptor_set_len)};
    TRY(rpc_server_new(&options, &server->rpc, err));
    rpc_health_set(server->rpc, SILO_SERVICE_NAME, false);
    return RC_OK;
}
