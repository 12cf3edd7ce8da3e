/*
 * node/node.c - see node.h. A turn takes news until there are none and nothing is left to be done;
 * the cluster decides, this file only passes on.
 */
#include "node/node.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/burst.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "node/writers.h"

/* A shard that has a place among the executors. */
struct holding {
    struct map_node node; /* node.by_id */
    struct node *owner;
    struct uuid id;
    char id_text[UUID_TEXT_LEN + 1];
    struct shard_ref ref;
    struct shard_control open, close;
    bool opened; /* at least once */
};

struct node {
    const struct env *env;
    struct coord *coord;
    struct shards *shards;
    struct directory_home *home;
    struct cluster *cluster;
    void (*describe)(void *context, const struct cluster_shard *shard, const char *id,
                     struct shard_options *ret_options);
    void (*wake)(void *context);
    void *context;

    struct map by_id;
    struct holding *by_slot[SHARDS_MAX];
    /* From the executors: opens that ended, closes that ended, struct shard_notice. */
    struct mailbox opens, closes, notices;
    struct mailbox questions; /* struct cluster_question, of any thread */
    struct writers writers;
    struct burst writer_lines;
    struct silo_err refused; /* code OK: it was not */
    bool left;
};

static void node_wake(void *context)
{
    const struct node *node = context;
    if (node->wake != NULL) {
        node->wake(node->context);
    }
}

struct node *node_new(const struct node_options *options)
{
    ASSERT(!options->cluster.guarded || options->queue != NULL);
    struct node *node = xcalloc(1, sizeof *node);
    node->env = options->env;
    node->coord = options->coord;
    node->shards = options->shards;
    node->home = options->home;
    node->describe = options->describe;
    node->wake = options->wake;
    node->context = options->context;
    node->cluster = cluster_new(&options->cluster, env_mono_ms(options->env));
    map_init(&node->by_id);
    mailbox_init(&node->opens, SHARDS_MAX, node_wake, node);
    mailbox_init(&node->closes, SHARDS_MAX, node_wake, node);
    mailbox_init(&node->notices, SHARDS_MAX, node_wake, node);
    mailbox_init(&node->questions, CLUSTER_QUESTIONS_MAX, node_wake, node);
    writers_init(&node->writers, options->store, options->queue);
    return node;
}

static void holding_free(struct node *node, struct holding *holding)
{
    map_remove(&node->by_id, &holding->node);
    node->by_slot[holding->ref.slot] = NULL;
    free(holding);
}

static void notices_free(struct mail *mail)
{
    while (mail != NULL) {
        struct shard_notice *notice = CONTAINER_OF(mail, struct shard_notice, mail);
        mail = mail->next;
        free(notice);
    }
}

static void question_refuse(struct cluster_question *question, enum silo_code code,
                            const char *text)
{
    question->rc = (silo_rc){code};
    (void)snprintf(question->text, sizeof question->text, "%s", text);
    question->done(question);
}

struct node *node_free(struct node *node)
{
    if (node == NULL) {
        return NULL;
    }
    for (struct mail *mail = mailbox_take(&node->questions); mail != NULL;) {
        struct cluster_question *question = CONTAINER_OF(mail, struct cluster_question, mail);
        mail = mail->next;
        question_refuse(question, SILO_UNAVAILABLE, "server is shutting down");
    }
    notices_free(mailbox_take(&node->notices));
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        if (node->by_slot[i] != NULL) {
            holding_free(node, node->by_slot[i]);
        }
    }
    map_deinit(&node->by_id);
    writers_deinit(&node->writers);
    node->cluster = cluster_free(node->cluster);
    free(node);
    return NULL;
}

/* --- shards --- */

static struct holding *holding_find(const struct node *node, const struct uuid *id)
{
    return MAP_ENTRY(map_find(&node->by_id, uuid_bytes(id)), struct holding, node);
}

/* Both on an executor's thread. */
static void open_done(struct shard_control *control)
{
    struct node *node = CONTAINER_OF(control, struct holding, open)->owner;
    mailbox_send_always(&node->opens, &control->mail);
}

static void close_done(struct shard_control *control)
{
    struct node *node = CONTAINER_OF(control, struct holding, close)->owner;
    mailbox_send_always(&node->closes, &control->mail);
}

void node_told(struct node *node, struct shard_notice *notice)
{
    mailbox_send_always(&node->notices, &notice->mail);
}

static void tell_shard(struct node *node, enum cluster_event_kind kind, const struct uuid *id,
                       silo_rc rc)
{
    const struct cluster_event event = {.kind = kind, .shard = *id, .rc = rc};
    cluster_event(node->cluster, &event);
}

static struct holding *holding_new(struct node *node, const struct cluster_action *action)
{
    struct holding *holding = xcalloc(1, sizeof *holding);
    holding->owner = node;
    holding->id = action->shard;
    uuid_format(&holding->id, holding->id_text);
    struct shard_options options = {.id = holding->id};
    node->describe(node->context, action->settings, holding->id_text, &options);
    holding->ref = shards_add(node->shards, &options);
    free((char *)options.path);
    if (holding->ref.generation == 0) {
        free(holding);
        return NULL;
    }
    map_insert(&node->by_id, &holding->node, uuid_bytes(&holding->id));
    node->by_slot[holding->ref.slot] = holding;
    const struct cluster_event event = {
        .kind = EVENT_OPENING, .shard = holding->id, .ref = holding->ref};
    cluster_event(node->cluster, &event);
    return holding;
}

static void act_open(struct node *node, const struct cluster_action *action)
{
    struct holding *holding = holding_find(node, &action->shard);
    if (holding == NULL) {
        holding = holding_new(node, action);
    }
    if (holding == NULL) { /* places of removed shards come back soon */
        tell_shard(node, EVENT_OPEN_FAILED, &action->shard, (silo_rc){SILO_EXHAUSTED});
        return;
    }
    holding->open = (struct shard_control){
        .done = open_done, .guarded = action->guarded, .expected_epoch = action->expected};
    shard_open(node->shards, holding->ref, &holding->open);
}

static void act_close(struct node *node, const struct cluster_action *action)
{
    struct holding *holding = holding_find(node, &action->shard);
    if (holding == NULL) {
        tell_shard(node, EVENT_CLOSED, &action->shard, RC_OK);
        return;
    }
    holding->close = (struct shard_control){.done = close_done};
    shard_close(node->shards, holding->ref, &holding->close);
}

static void act_remove(struct node *node, const struct cluster_action *action)
{
    shards_remove(node->shards, action->ref);
    holding_free(node, node->by_slot[action->ref.slot]);
}

static void take_open(struct node *node, struct holding *holding)
{
    const struct shard_control *control = &holding->open;
    if (control->rc.code == SILO_OK) {
        holding->opened = true;
        tell_shard(node, EVENT_OPENED, &holding->id, RC_OK);
        return;
    }
    tell_shard(node, EVENT_OPEN_FAILED, &holding->id, control->rc);
    const int64_t retry_ms = cluster_retry_mono_ms(node->cluster, &holding->id);
    if (retry_ms != INT64_MAX) {
        log_error("shard_open_failed", LOG_STR("shard", holding->id_text),
                  LOG_STR("text", control->text),
                  LOG_INT("retry_in_ms", retry_ms - env_mono_ms(node->env)), LOG_END);
    }
}

static void take_close(struct node *node, struct holding *holding)
{
    if (holding->close.rc.code != SILO_OK) {
        log_error("shard_close_failed", LOG_STR("shard", holding->id_text),
                  LOG_STR("text", holding->close.text), LOG_END);
    }
    tell_shard(node, EVENT_CLOSED, &holding->id, RC_OK);
}

static void take_notice(struct node *node, const struct shard_notice *notice)
{
    const struct holding *holding = node->by_slot[notice->ref.slot];
    if (holding == NULL || !shard_ref_eq(holding->ref, notice->ref)) {
        return; /* of a shard that is gone */
    }
    if (notice->status == SHARD_FENCED) {
        tell_shard(node, EVENT_FENCED, &holding->id, RC_OK);
    } else if (notice->status == SHARD_OPEN && holding->opened) {
        tell_shard(node, EVENT_OPENED, &holding->id, RC_OK); /* again, by itself */
    }
}

/*
 * Notices are taken out before the answers they may come after, and read behind them: so a shard
 * that was fenced as soon as it was open is known to be open before.
 */
static bool take_shards(struct node *node)
{
    struct mail *notices = mailbox_take(&node->notices);
    struct mail *closes = mailbox_take(&node->closes);
    struct mail *opens = mailbox_take(&node->opens);
    const bool any = notices != NULL || closes != NULL || opens != NULL;
    while (opens != NULL) {
        struct shard_control *control = CONTAINER_OF(opens, struct shard_control, mail);
        opens = opens->next;
        take_open(node, CONTAINER_OF(control, struct holding, open));
    }
    for (struct mail *mail = notices; mail != NULL; mail = mail->next) {
        take_notice(node, CONTAINER_OF(mail, struct shard_notice, mail));
    }
    notices_free(notices);
    while (closes != NULL) {
        struct shard_control *control = CONTAINER_OF(closes, struct shard_control, mail);
        closes = closes->next;
        take_close(node, CONTAINER_OF(control, struct holding, close));
    }
    return any;
}

/* --- questions --- */

void node_ask(struct node *node, struct cluster_question *question)
{
    if (!mailbox_send(&node->questions, &question->mail)) {
        question_refuse(question, SILO_EXHAUSTED, "too many questions to the cluster at a time");
    }
}

static bool take_questions(struct node *node)
{
    struct mail *mail = mailbox_take(&node->questions);
    const bool any = mail != NULL;
    while (mail != NULL) {
        struct cluster_question *question = CONTAINER_OF(mail, struct cluster_question, mail);
        mail = mail->next;
        const struct cluster_event event = {.kind = EVENT_QUESTION, .question = question};
        cluster_event(node->cluster, &event);
    }
    return any;
}

/* --- writers --- */

static void writer_unknown(struct node *node, const struct uuid *shard, silo_rc rc,
                           const char *text)
{
    const uint32_t times = burst_add(&node->writer_lines, env_mono_us(node->env));
    if (times != 0) {
        char id[UUID_TEXT_LEN + 1];
        uuid_format(shard, id);
        log_warn("shard_writer_unknown", LOG_STR("shard", id), LOG_STR("reason", text),
                 LOG_STR("instead", "asking again"), LOG_INT("times", times), LOG_END);
    }
    tell_shard(node, EVENT_WRITER_FAILED, shard, rc);
}

static void act_read_writer(struct node *node, const struct cluster_action *action)
{
    const struct uuid id = action->shard;
    if (action->settings == NULL) { /* and so it is not opened */
        tell_shard(node, EVENT_WRITER_FAILED, &id, (silo_rc){SILO_NOT_FOUND});
        return;
    }
    char id_text[UUID_TEXT_LEN + 1];
    uuid_format(&id, id_text);
    struct shard_options options = {.id = id};
    node->describe(node->context, action->settings, id_text, &options);
    const struct store_open_args place = {.path = options.path, .wal = options.wal.place};
    struct silo_err err = {0};
    const silo_rc rc = writers_ask(&node->writers, &id, &place, &err);
    free((char *)options.path);
    if (rc.code != SILO_OK) {
        writer_unknown(node, &id, rc, err.text);
    }
}

static bool take_writers(struct node *node)
{
    bool any = false;
    struct writers_answer answer;
    while (writers_next(&node->writers, &answer)) {
        any = true;
        if (answer.rc.code != SILO_OK) {
            writer_unknown(node, &answer.shard, answer.rc, answer.text);
            continue;
        }
        const struct cluster_event event = {
            .kind = EVENT_WRITER, .shard = answer.shard, .epoch = answer.epoch};
        cluster_event(node->cluster, &event);
    }
    return any;
}

/* --- a turn --- */

static void act_refuse(struct node *node, const struct cluster_action *action)
{
    rc_ignore(FAIL(&node->refused, action->rc.code, "%.*s", BYTES_FMT(action->text)),
              "it fills what node_check says");
    if (node_map(node) != NULL) {
        log_error("map_refused", LOG_STR("text", node->refused.text), LOG_END);
    }
}

static void act(struct node *node, const struct cluster_action *action)
{
    const struct coord_ops *coord = node->coord->ops;
    switch (action->kind) {
    case ACTION_JOIN:
        coord->join(node->coord, action->replace);
        return;
    case ACTION_READ_MAP:
        coord->read_map(node->coord);
        return;
    case ACTION_COMMIT_MAP:
        coord->commit_map(node->coord, action->number, action->text);
        return;
    case ACTION_READ_OWNER:
        coord->read_owner(node->coord, &action->shard);
        return;
    case ACTION_CLAIM:
        coord->claim(node->coord, &action->shard, action->expected, action->map);
        return;
    case ACTION_RELEASE:
        coord->release(node->coord, &action->shard, action->epoch);
        return;
    case ACTION_HAND_OVER:
        coord->hand_over(node->coord, &action->shard, action->epoch, action->to);
        return;
    case ACTION_FORCE_RELEASE:
        coord->force_release(node->coord, &action->shard, action->expected, action->force);
        return;
    case ACTION_LEAVE:
        coord->leave(node->coord);
        return;
    case ACTION_OPEN:
        act_open(node, action);
        return;
    case ACTION_CLOSE:
        act_close(node, action);
        return;
    case ACTION_REMOVE:
        act_remove(node, action);
        return;
    case ACTION_PUBLISH:
        directory_publish(node->home, cluster_directory(node->cluster));
        return;
    case ACTION_REFUSE:
        act_refuse(node, action);
        return;
    case ACTION_LEFT:
        node->left = true;
        return;
    case ACTION_READ_WRITER:
        act_read_writer(node, action);
        return;
    case ACTION_PREPARE:
        tell_shard(node, EVENT_PREPARED, &action->shard, RC_OK);
        return;
    case ACTION_STRICT:
        return;
    case ACTION_ANSWER:
        action->question->done(action->question);
        return;
    }
}

int64_t node_turn(struct node *node)
{
    struct cluster_event event;
    struct cluster_action action;
    int64_t coord_us = INT64_MAX;
    for (bool again = true; again;) {
        cluster_set_time(node->cluster, env_mono_ms(node->env));
        again = take_shards(node);
        again |= take_writers(node);
        again |= take_questions(node);
        coord_us = node->coord->ops->turn(node->coord);
        while (node->coord->ops->next_event(node->coord, &event)) {
            cluster_event(node->cluster, &event);
            again = true;
        }
        while (cluster_action_next(node->cluster, &action)) {
            act(node, &action);
            again = true;
        }
    }
    const int64_t cluster_ms = cluster_next_mono_ms(node->cluster);
    const int64_t cluster_us = cluster_ms > INT64_MAX / 1000 ? INT64_MAX : cluster_ms * 1000;
    return coord_us < cluster_us ? coord_us : cluster_us;
}

void node_fds(const struct node *node, int ret_fds[NODE_FDS])
{
    ret_fds[0] = node->coord->ops->fd(node->coord);
    ret_fds[1] = writers_fd(&node->writers);
}

bool node_sleep(struct node *node)
{
    return mailbox_sleep(&node->opens) && mailbox_sleep(&node->closes) &&
           mailbox_sleep(&node->notices) && mailbox_sleep(&node->questions);
}

/* --- what it is like --- */

const struct cluster_map *node_map(const struct node *node)
{
    return cluster_map(node->cluster);
}

bool node_made_map(const struct node *node)
{
    return cluster_created(node->cluster);
}

SILO_RC node_check(const struct node *node, struct silo_err *err)
{
    if (node->refused.code != SILO_OK) {
        if (err != NULL) {
            *err = node->refused;
        }
        return (silo_rc){node->refused.code};
    }
    return node->coord->ops->check(node->coord, err);
}

struct node_counts node_counts(const struct node *node)
{
    const struct cluster_map *map = node_map(node);
    struct node_counts counts = {.mapped = map != NULL ? map->shard_count : 0};
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        const struct holding *holding = node->by_slot[i];
        if (holding == NULL) {
            continue;
        }
        const enum shard_status status = shard_status(node->shards, holding->ref);
        counts.open += status == SHARD_OPEN ? 1 : 0;
        counts.lost += status == SHARD_FENCED ? 1 : 0;
        counts.opened += holding->opened ? 1 : 0;
        counts.unopened += holding->opened ? 0 : 1;
    }
    return counts;
}

void node_leave(struct node *node)
{
    const struct cluster_event event = {.kind = EVENT_LEAVE};
    cluster_event(node->cluster, &event);
}

bool node_left(const struct node *node)
{
    return node->left;
}
