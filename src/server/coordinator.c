/*
 * server/coordinator.c - what the operator is told of the coordinator, and when the process has to
 * end for it.
 *
 * A coordinator that is away is no reason to stop: what is here goes on. Another process that is a
 * member under this node's id is: its shards are that one's now, so they are neither closed in
 * order nor given up.
 */
#include "server/server_int.h"

static void coordinator_away(struct server *server, const char *why, int64_t now_ms)
{
    if (server->away_since_ms == INT64_MIN) {
        server->away_since_ms = now_ms;
    }
    if (!server->away_said && now_ms - server->away_since_ms >= SERVER_COORDINATOR_AWAY_MS) {
        server->away_said = true;
        log_warn("coordinator_away", LOG_STR("text", why),
                 LOG_STR("instead", "shards that are here go on; none is taken or given up"),
                 LOG_END);
    }
}

static void coordinator_there(struct server *server, int64_t now_ms)
{
    if (server->away_said) {
        log_info("coordinator_back", LOG_INT("after_ms", now_ms - server->away_since_ms), LOG_END);
    }
    server->away_said = false;
    server->away_since_ms = INT64_MIN;
}

bool coordinator_tick(struct server *server)
{
    struct silo_err err = {0};
    const int64_t now_ms = env_mono_ms(server->env);
    const silo_rc rc = node_check(server->node, &err);
    if (rc.code == SILO_EXISTS) {
        log_error("node_id_taken", LOG_STR("node", server->identity.id), LOG_STR("text", err.text),
                  LOG_STR("then", "this process ends; what it acknowledged is durable"), LOG_END);
        return false;
    }
    if (rc.code == SILO_UNAVAILABLE) {
        coordinator_away(server, err.text, now_ms);
    } else if (rc.code == SILO_OK) {
        coordinator_there(server, now_ms);
    }
    return true;
}
