/*
 * server/run.c - the main thread while the process serves, and the order in which it stops.
 *
 * Stopping, all steps under one deadline that a watchdog thread enforces
 * (server.shutdown_timeout_ms):
 *   1  health says NOT_SERVING, parked polls are answered
 *   2  no new connections, GOAWAY; calls under way may finish, SERVER_DRAIN_MS at most
 *   3  all shards are flushed and closed at the same time
 *   4  the parts are taken down
 * A node of a cluster does 3 before the rest: its shards go to others while it still answers, so
 * that callers are told where they are.
 * Calls that still wait after step 2 wait for storage: closing their shards answers them, so the
 * connections are closed after the shards then, and before them otherwise.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/memory.h"
#include "server/notify.h"
#include "server/server_int.h"

/* SIGHUP: what can change while serving is the log level. */
static void reload(struct server *server)
{
    struct silo_config fresh;
    struct config_warnings warnings;
    struct silo_err err = {0};
    const silo_rc rc =
        config_load(server->config->file, &config_env_process, &fresh, &warnings, &err);
    if (rc.code != SILO_OK) {
        log_warn("reload_failed", LOG_STR("text", err.text), LOG_STR("instead", "nothing changes"),
                 LOG_END);
        config_deinit(&fresh);
        return;
    }
    log_set_level(fresh.log_level);
    /* Whatever the level is now: the operator asked for it. */
    log_line(LOG_INFO, "reloaded",
             (const struct log_field[]){LOG_STR("applied", "log level"), LOG_END});
    config_deinit(&fresh);
}

/*
 * Memory of a burst of large calls goes back to the system a while after it, when little of it is
 * in use.
 */
static void give_back(struct server *server)
{
    const int64_t now_ms = env_mono_ms(server->env);
    if (now_ms < server->give_back_ms) {
        return;
    }
    server->give_back_ms = now_ms + SERVER_GIVE_BACK_MS;
    const uint64_t held =
        rpc_server_inflight_bytes(server->rpc) + rpc_server_reply_bytes(server->rpc);
    const uint64_t peak = rpc_server_peak_bytes(server->rpc);
    server->peak_bytes = peak > server->peak_bytes ? peak : server->peak_bytes;
    if (server->peak_bytes >= SERVER_GIVE_BACK_BYTES && held < server->peak_bytes / 4) {
        server->peak_bytes = 0;
        memory_give_back();
    }
}

int server_run(struct server *server)
{
    for (;;) { /* until a stop signal */
        const int64_t next_us = node_turn(server->node);
        store_log_drain(server->store);
        give_back(server);
        readiness_tick(server);
        if (!coordinator_tick(server)) {
            return 0;
        }
        server_sleep(server, next_us, true);
        const int number = signals_take(server->signal_fd);
        if (number == SIGHUP) {
            reload(server);
        } else if (number != 0) {
            return number;
        }
    }
}

static int64_t left_until(const struct server *server, int64_t deadline_ms)
{
    const int64_t left_ms = deadline_ms - env_mono_ms(server->env);
    return left_ms > 0 ? left_ms : 0;
}

enum close_result {
    CLOSED_ALL,
    CLOSED_OPENED, /* some were still being opened, which may never end */
    CLOSE_TIMED_OUT,
};

/*
 * Closes every shard at the same time. An opening that hangs on an unreachable store has nothing to
 * lose: it is not waited for longer than SERVER_NEVER_OPEN_MS.
 */
static enum close_result close_shards(struct server *server, int64_t deadline_ms)
{
    const int64_t never_ms = env_mono_ms(server->env) + SERVER_NEVER_OPEN_MS;
    node_leave(server->node);
    for (;;) { /* until the deadline */
        const int64_t next_us = node_turn(server->node);
        store_log_drain(server->store);
        if (node_left(server->node)) {
            return CLOSED_ALL;
        }
        const struct node_counts counts = node_counts(server->node);
        const int64_t now_ms = env_mono_ms(server->env);
        if (counts.opened == 0 && counts.unopened != 0 && now_ms >= never_ms) {
            return CLOSED_OPENED;
        }
        if (now_ms >= deadline_ms) {
            return CLOSE_TIMED_OUT;
        }
        const int64_t until_ms =
            now_ms < never_ms && never_ms < deadline_ms ? never_ms : deadline_ms;
        server_sleep(server, next_us < until_ms * 1000 ? next_us : until_ms * 1000, false);
    }
}

/* With what the storage fails at, if it does: then waiting longer would not have helped. */
static void log_close_timeout(struct server *server)
{
    char cause[OUTAGE_CAUSE_MAX] = "";
    (void)store_ops_of(server->store)->trouble(server->store, cause, sizeof cause);
    log_error("close_timeout",
              LOG_STR("text", "exiting with shards not closed; nothing acknowledged is lost"),
              LOG_STR("cause", cause[0] != '\0' ? cause : "the time was too short"), LOG_END);
}

/* Lets calls under way finish, and takes the port down if they have. */
static void drain(struct server *server, int64_t deadline_ms)
{
    shards_release_polls(server->shards);
    service_release(server->service);
    rpc_server_drain(server->rpc);
    const int64_t left_ms = left_until(server, deadline_ms);
    const bool drained =
        rpc_server_drained(server->rpc, left_ms < SERVER_DRAIN_MS ? left_ms : SERVER_DRAIN_MS);
    if (!drained) {
        log_info("connections_dropped", LOG_INT("connections", rpc_server_conns(server->rpc)),
                 LOG_INT("calls", rpc_server_calls(server->rpc)), LOG_END);
    }
    if (rpc_server_calls(server->rpc) == 0) {
        server->rpc = rpc_server_free(server->rpc);
        service_detach(server->service);
    }
}

int server_shutdown(struct server *server, int signal_number, bool *ret_clean)
{
    const int64_t begin_ms = env_mono_ms(server->env);
    const int64_t deadline_ms = begin_ms + server->config->server.shutdown_timeout_ms;
    log_info("stopping", LOG_STR("signal", strsignal(signal_number)),
             LOG_INT("timeout_ms", server->config->server.shutdown_timeout_ms), LOG_END);
    (void)notify_manager("STOPPING=1");
    signals_watchdog(server->signal_fd, server->env, deadline_ms);

    rpc_health_set(server->rpc, SILO_SERVICE_NAME, false);
    /* A little is kept for taking the parts down; the watchdog has the last word. */
    const int64_t close_ms = deadline_ms - (deadline_ms - begin_ms) / 20;
    const bool shared = server->config->coordination.backend != CONFIG_COORD_NONE;
    enum close_result closed = shared ? close_shards(server, close_ms) : CLOSED_ALL;
    drain(server, deadline_ms);
    if (!shared) {
        closed = close_shards(server, close_ms);
    }
    *ret_clean = closed == CLOSED_ALL;
    if (closed == CLOSE_TIMED_OUT) {
        log_close_timeout(server);
        return EXIT_FAILURE;
    }
    log_info("stopped", LOG_INT("after_ms", env_mono_ms(server->env) - begin_ms), LOG_END);
    return EXIT_SUCCESS;
}
