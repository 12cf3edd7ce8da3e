/*
 * server/readiness.c - what health and the service manager are told of the shards.
 *
 * The process serves with the shards it has. Alone it counts as ready once all that it has are
 * open, or after SERVER_READY_MS_MAX if some are; and no longer when other processes have taken
 * over every one. A node of a cluster is ready when it has the map, which it has as a member. While
 * the storage takes no changes it is ready, and its health says NOT_SERVING.
 */
#include "server/notify.h"
#include "server/server_int.h"

/* Of a server that is ready: whether it takes changes now. */
static void serving_tell(struct server *server)
{
    rpc_health_set(server->rpc, SILO_SERVICE_NAME, !server->out);
    (void)notify_manager(server->out ? "STATUS=the storage takes no changes" : "STATUS=serving");
}

static void server_ready(struct server *server, size_t open, size_t missing)
{
    server->ready = true;
    (void)notify_manager("READY=1");
    serving_tell(server);
    const int64_t after_ms = env_mono_ms(server->env) - server->started_ms;
    if (missing == 0) {
        log_info("ready", LOG_INT("shards", open), LOG_INT("after_ms", after_ms), LOG_END);
    } else {
        log_warn("ready_partly", LOG_INT("shards", open), LOG_INT("missing", missing),
                 LOG_INT("after_ms", after_ms), LOG_END);
    }
}

/*
 * Nothing is left to serve, and nothing will come back by itself: whoever balances load should look
 * elsewhere.
 */
static void server_left_out(struct server *server)
{
    server->ready = false;
    server->left_out = true;
    rpc_health_set(server->rpc, SILO_SERVICE_NAME, false);
    (void)notify_manager("STATUS=other processes opened every shard; restart to take them back");
    log_error("no_shard_left",
              LOG_STR("text", "other processes opened every shard of this server; it answers no "
                              "call until it is restarted"),
              LOG_END);
}

static void outage_tick(struct server *server)
{
    const bool out = shards_out(server->shards);
    if (out != server->out) {
        server->out = out;
        if (server->ready) {
            serving_tell(server);
        }
    }
}

void readiness_tick(struct server *server)
{
    outage_tick(server);
    const struct node_counts counts = node_counts(server->node);
    const size_t here = counts.opened + counts.unopened;
    if (server->config->coordination.backend != CONFIG_COORD_NONE) {
        /* A member of a cluster serves whatever it has; what it has not it knows who has. */
        if (!server->ready) {
            server_ready(server, counts.open, here - counts.open);
        }
        return;
    }
    if (!server->left_out && here != 0 && counts.lost == here) {
        server_left_out(server);
    }
    const bool long_enough = env_mono_ms(server->env) - server->started_ms >= SERVER_READY_MS_MAX;
    if (!server->ready && counts.open != 0 && (counts.open == here || long_enough)) {
        server_ready(server, counts.open, here - counts.open);
    }
}
