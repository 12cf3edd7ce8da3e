/*
 * server/openings.c - all shards are opened at the same time, opened again until they are, and
 * closed at the same time.
 *
 *   OPENING --done: ok--> OPEN (from then on the shard opens itself again when it fails)
 *      ^  |
 *      |  +--done: another process has it--> it stays out, as one does that is taken over later
 *      |  |
 *      |  +--done: error--> WAITING (0.5 s, doubled, at most 30 s) --due--+
 *      +------------------------------------------------------------------+
 *
 * The process serves with the shards it has. It counts as ready once all are open, or after
 * SERVER_READY_MS_MAX if some are; and no longer when other processes have taken over every one.
 * While the storage takes no changes it is ready, and its health says NOT_SERVING. Open and close
 * have a control each: a shard may be told to close while its open is under way, and does so when
 * that has ended. An open that hangs on an unreachable store has nothing to lose: the end of the
 * process does not wait for it longer than SERVER_NEVER_OPEN_MS.
 */
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/list.h"
#include "server/notify.h"
#include "server/server_int.h"

static void box_wake(void *context)
{
    const struct server *server = context;
    const uint64_t one = 1;
    const ssize_t n = write(server->wake_fd, &one, sizeof one);
    ASSERT(n == (ssize_t)sizeof one); /* an eventfd takes 2^64 - 2 of them before it is read */
}

/* On the executor's thread. */
static void control_done(struct shard_control *control);

static struct opening *opening_of(struct shard_control *control, bool *ret_is_open)
{
    struct opening *opening = CONTAINER_OF(control, struct opening, open);
    *ret_is_open = true;
    if (control->done != control_done) {
        opening = CONTAINER_OF(control, struct opening, close);
        *ret_is_open = false;
    }
    return opening;
}

static void control_done(struct shard_control *control)
{
    mailbox_send_always(&CONTAINER_OF(control, struct opening, open)->server->box, &control->mail);
}

static void close_done(struct shard_control *control)
{
    mailbox_send_always(&CONTAINER_OF(control, struct opening, close)->server->box, &control->mail);
}

/* What a reopened shard has to replay at most, counted in flushes of its WAL. */
static uint32_t wal_objects_max(const struct config_database *database, bool apart)
{
    switch (apart ? database->wal.backend : database->place.backend) {
    case CONFIG_FS:
        return database->local_log ? SERVER_WAL_RECORDS_LOCAL : SERVER_WAL_OBJECTS_LOCAL;
    case CONFIG_MEMORY:
        return SERVER_WAL_OBJECTS_LOCAL;
    case CONFIG_S3:
    case CONFIG_GCS:
    case CONFIG_URL:
        break;
    }
    return SERVER_WAL_OBJECTS_REMOTE;
}

/* The shard as the map has it. */
static struct shard_ref add_shard(struct server *server, struct arena *arena,
                                  const struct opening *opening)
{
    const struct config_database *database = &server->config->database;
    const bool apart = opening->shard->wal_url != NULL;
    const struct shard_options options = {
        .id = opening->shard->id,
        .path = config_expand_shard(arena, database->place.shard_path, opening->id_text),
        .order = opening->shard->order,
        .wal = {.place = apart ? STORE_WAL_APART : STORE_WAL_WITH_DATA,
                .flush_spacing_ms = (database->flush_interval_us + 999) / 1000,
                .objects_max = wal_objects_max(database, apart)}};
    const struct shard_ref ref = shards_add(server->shards, &options);
    ASSERT(ref.generation != 0); /* there are no more in a map than places here */
    return ref;
}

/* Every shard is here; which of them are open the shards say themselves. */
static void publish(struct server *server)
{
    struct directory_builder builder;
    directory_builder_init(&builder, &start_map(server->coord)->cluster_id);
    for (size_t i = 0; i < server->opening_count; i++) {
        const struct opening *opening = &server->openings[i];
        struct directory_shard shard = {.id = opening->shard->id,
                                        .order = opening->shard->order,
                                        .place = PLACE_HERE,
                                        .ref = opening->ref};
        memcpy(shard.range_start, opening->shard->range_start, sizeof shard.range_start);
        memcpy(shard.range_end, opening->shard->range_end, sizeof shard.range_end);
        directory_builder_shard(&builder, &shard);
    }
    directory_publish(&server->directory, directory_builder_finish(&builder));
}

void openings_init(struct server *server, struct arena *arena)
{
    mailbox_init(&server->box, 2 * CLUSTER_SHARDS_MAX, box_wake, server);
    const struct cluster_map *map = start_map(server->coord);
    server->opening_count = map->shard_count;
    server->openings = xcalloc(server->opening_count, sizeof *server->openings);
    for (size_t i = 0; i < server->opening_count; i++) {
        struct opening *opening = &server->openings[i];
        *opening =
            (struct opening){.server = server, .shard = &map->shards[i], .retry_ms = INT64_MAX};
        uuid_format(&opening->shard->id, opening->id_text);
        opening->ref = add_shard(server, arena, opening);
    }
    publish(server);
}

void openings_deinit(struct server *server)
{
    free(server->openings);
    server->openings = NULL;
    server->opening_count = 0;
}

static void opening_send(struct opening *opening)
{
    ASSERT(!opening->open_sent);
    opening->open = (struct shard_control){.done = control_done};
    opening->open_sent = true;
    opening->retry_ms = INT64_MAX;
    shard_open(opening->server->shards, opening->ref, &opening->open);
}

void openings_start(struct server *server)
{
    server->started_ms = env_mono_ms(server->env);
    for (size_t i = 0; i < server->opening_count; i++) {
        opening_send(&server->openings[i]);
    }
}

static int64_t retry_delay_ms(uint32_t failures)
{
    int64_t delay_ms = SERVER_RETRY_MS_MIN;
    for (uint32_t i = 1; i < failures && delay_ms < SERVER_RETRY_MS_MAX; i++) {
        delay_ms *= 2;
    }
    return delay_ms < SERVER_RETRY_MS_MAX ? delay_ms : SERVER_RETRY_MS_MAX;
}

static void opening_retry_later(struct opening *opening)
{
    struct server *server = opening->server;
    opening->failures++;
    const int64_t delay_ms = retry_delay_ms(opening->failures);
    opening->retry_ms = env_mono_ms(server->env) + delay_ms;
    log_error("shard_open_failed", LOG_STR("shard", opening->id_text),
              LOG_STR("text", opening->open.text), LOG_INT("retry_in_ms", delay_ms), LOG_END);
}

static void opening_opened(struct opening *opening)
{
    opening->open_sent = false;
    if (opening->open.rc.code == SILO_OK) {
        opening->opened = true;
    } else if (opening->open.rc.code != SILO_CONFLICT && !opening->server->stopping) {
        opening_retry_later(opening);
    }
}

static void opening_closed(struct opening *opening)
{
    opening->closed = true;
    if (opening->close.rc.code != SILO_OK) {
        log_error("shard_close_failed", LOG_STR("shard", opening->id_text),
                  LOG_STR("text", opening->close.text), LOG_END);
    }
}

void openings_drain(struct server *server)
{
    uint64_t count;
    const ssize_t n = read(server->wake_fd, &count, sizeof count);
    (void)n; /* nothing to read is fine: the mailbox is what counts */
    struct mail *mail = mailbox_take(&server->box);
    bool opened = false;
    while (mail != NULL) {
        struct shard_control *control = CONTAINER_OF(mail, struct shard_control, mail);
        mail = mail->next;
        bool is_open;
        struct opening *opening = opening_of(control, &is_open);
        if (is_open) {
            opening_opened(opening);
            opened = true;
        } else {
            opening_closed(opening);
        }
    }
    if (opened && !server->stopping) {
        publish(server); /* polls that wait are parked on what has opened */
    }
}

/* Of a server that is ready: whether it takes changes now. */
static void serving_tell(struct server *server)
{
    rpc_health_set(server->rpc, SILO_SERVICE_NAME, !server->out);
    (void)notify_manager(server->out ? "STATUS=the storage takes no changes" : "STATUS=serving");
}

static void server_ready(struct server *server, size_t open)
{
    server->ready = true;
    (void)notify_manager("READY=1");
    serving_tell(server);
    const int64_t after_ms = env_mono_ms(server->env) - server->started_ms;
    if (open == server->opening_count) {
        log_info("ready", LOG_INT("shards", open), LOG_INT("after_ms", after_ms), LOG_END);
    } else {
        log_warn("ready_partly", LOG_INT("shards", open),
                 LOG_INT("missing", server->opening_count - open), LOG_INT("after_ms", after_ms),
                 LOG_END);
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

int64_t openings_tick(struct server *server)
{
    outage_tick(server);
    const int64_t now_ms = env_mono_ms(server->env);
    int64_t next_ms = now_ms + SERVER_TICK_MS;
    size_t open = 0;
    size_t fenced = 0;
    for (size_t i = 0; i < server->opening_count; i++) {
        struct opening *opening = &server->openings[i];
        const enum shard_status status = shard_status(server->shards, opening->ref);
        open += status == SHARD_OPEN ? 1 : 0;
        fenced += status == SHARD_FENCED ? 1 : 0;
        if (opening->retry_ms <= now_ms) {
            opening_send(opening);
        } else if (opening->retry_ms < next_ms) {
            next_ms = opening->retry_ms;
        }
    }
    if (!server->left_out && fenced == server->opening_count) {
        server_left_out(server);
    }
    if (!server->ready && (open == server->opening_count ||
                           (open != 0 && now_ms - server->started_ms >= SERVER_READY_MS_MAX))) {
        server_ready(server, open);
    }
    return next_ms - now_ms;
}

/*
 * Shards that were opened and are not closed; *ret_never: that are being opened for the first time.
 */
static size_t count_open(const struct server *server, size_t *ret_never)
{
    size_t open = 0;
    *ret_never = 0;
    for (size_t i = 0; i < server->opening_count; i++) {
        const struct opening *opening = &server->openings[i];
        if (!opening->closed || opening->open_sent) {
            *ret_never += opening->opened ? 0 : 1;
            open += opening->opened ? 1 : 0;
        }
    }
    return open;
}

enum close_result openings_close(struct server *server, int64_t deadline_ms)
{
    const int64_t never_ms = env_mono_ms(server->env) + SERVER_NEVER_OPEN_MS;
    for (size_t i = 0; i < server->opening_count; i++) {
        struct opening *opening = &server->openings[i];
        opening->close = (struct shard_control){.done = close_done};
        shard_close(server->shards, opening->ref, &opening->close);
    }
    for (;;) { /* until the deadline */
        size_t never;
        const size_t open = count_open(server, &never);
        const int64_t now_ms = env_mono_ms(server->env);
        if (open == 0 && (never == 0 || now_ms >= never_ms)) {
            return never == 0 ? CLOSED_ALL : CLOSED_OPENED;
        }
        if (now_ms >= deadline_ms) {
            return CLOSE_TIMED_OUT;
        }
        if (mailbox_sleep(&server->box)) {
            const int64_t left_ms = deadline_ms - now_ms;
            struct pollfd pfd = {.fd = server->wake_fd, .events = POLLIN};
            (void)poll(&pfd, 1, (int)(left_ms < SERVER_TICK_MS ? left_ms : SERVER_TICK_MS));
        }
        openings_drain(server);
        store_log_drain(server->store);
    }
}
