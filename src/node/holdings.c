/*
 * node/holdings.c - the shards that have a place among the executors: opened, prepared, closed and
 * removed as the cluster asks, and what becomes of them.
 */
#include <stdlib.h>

#include "base/log.h"
#include "node/node_int.h"

void holdings_init(struct node *node)
{
    map_init(&node->by_id);
    mailbox_init(&node->opens, SHARDS_MAX, node_wake, node);
    mailbox_init(&node->prepares, SHARDS_MAX, node_wake, node);
    mailbox_init(&node->closes, SHARDS_MAX, node_wake, node);
    mailbox_init(&node->notices, SHARDS_MAX, node_wake, node);
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

void holdings_deinit(struct node *node)
{
    notices_free(mailbox_take(&node->notices));
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        if (node->by_slot[i] != NULL) {
            holding_free(node, node->by_slot[i]);
        }
    }
    map_deinit(&node->by_id);
}

bool holdings_sleep(struct node *node)
{
    return mailbox_sleep(&node->opens) && mailbox_sleep(&node->prepares) &&
           mailbox_sleep(&node->closes) && mailbox_sleep(&node->notices);
}

static struct holding *holding_find(const struct node *node, const struct uuid *id)
{
    return MAP_ENTRY(map_find(&node->by_id, uuid_bytes(id)), struct holding, node);
}

/* All three on an executor's thread. */
static void open_done(struct shard_control *control)
{
    struct node *node = CONTAINER_OF(control, struct holding, open)->owner;
    mailbox_send_always(&node->opens, &control->mail);
}

static void prepare_done(struct shard_control *control)
{
    struct node *node = CONTAINER_OF(control, struct holding, prepare)->owner;
    mailbox_send_always(&node->prepares, &control->mail);
}

static void close_done(struct shard_control *control)
{
    struct node *node = CONTAINER_OF(control, struct holding, close)->owner;
    mailbox_send_always(&node->closes, &control->mail);
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

void holding_open(struct node *node, const struct cluster_action *action)
{
    struct holding *holding = holding_find(node, &action->shard);
    if (holding == NULL) {
        holding = holding_new(node, action);
    }
    if (holding == NULL) { /* places of removed shards come back soon */
        node_tell_shard(node, EVENT_OPEN_FAILED, &action->shard, (silo_rc){SILO_EXHAUSTED});
        return;
    }
    holding->open = (struct shard_control){
        .done = open_done, .guarded = action->guarded, .expected_epoch = action->expected};
    shard_open(node->shards, holding->ref, &holding->open);
}

/* One that is under way already answers for both. */
void holding_prepare(struct node *node, const struct cluster_action *action)
{
    struct holding *holding = holding_find(node, &action->shard);
    if (holding == NULL) {
        node_tell_shard(node, EVENT_PREPARED, &action->shard, (silo_rc){SILO_UNAVAILABLE});
        return;
    }
    if (!holding->preparing) {
        holding->preparing = true;
        holding->prepare = (struct shard_control){.done = prepare_done};
        shard_prepare(node->shards, holding->ref, &holding->prepare);
    }
}

void holding_close(struct node *node, const struct cluster_action *action)
{
    struct holding *holding = holding_find(node, &action->shard);
    if (holding == NULL) {
        node_tell_shard(node, EVENT_CLOSED, &action->shard, RC_OK);
        return;
    }
    holding->close = (struct shard_control){
        .done = close_done, .how = action->moving ? SHARD_CLOSE_MOVE : SHARD_CLOSE_STOP};
    shard_close(node->shards, holding->ref, &holding->close);
}

void holding_remove(struct node *node, const struct cluster_action *action)
{
    struct holding *holding = node->by_slot[action->ref.slot];
    ASSERT(!holding->preparing);
    shards_remove(node->shards, action->ref);
    holding_free(node, holding);
}

static void take_open(struct node *node, struct holding *holding)
{
    const struct shard_control *control = &holding->open;
    if (control->rc.code == SILO_OK) {
        holding->opened = true;
        node_tell_shard(node, EVENT_OPENED, &holding->id, RC_OK);
        return;
    }
    node_tell_shard(node, EVENT_OPEN_FAILED, &holding->id, control->rc);
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
    const struct cluster_event event = {
        .kind = EVENT_CLOSED, .shard = holding->id, .empty = holding->close.empty};
    cluster_event(node->cluster, &event);
}

static void take_prepare(struct node *node, struct holding *holding)
{
    holding->preparing = false;
    if (holding->prepare.rc.code != SILO_OK) {
        log_info("shard_not_prepared", LOG_STR("shard", holding->id_text),
                 LOG_STR("text", holding->prepare.text),
                 LOG_STR("instead", "its successor has more to replay"), LOG_END);
    }
    node_tell_shard(node, EVENT_PREPARED, &holding->id, holding->prepare.rc);
}

static void take_notice(struct node *node, const struct shard_notice *notice)
{
    const struct holding *holding = node->by_slot[notice->ref.slot];
    if (holding == NULL || !shard_ref_eq(holding->ref, notice->ref)) {
        return; /* of a shard that is gone */
    }
    if (notice->status == SHARD_FENCED) {
        node_tell_shard(node, EVENT_FENCED, &holding->id, RC_OK);
    } else if (notice->status == SHARD_OPEN && holding->opened) {
        node_tell_shard(node, EVENT_OPENED, &holding->id, RC_OK); /* again, by itself */
    }
}

/*
 * Notices are taken out before the answers they may come after, and read behind them: so a shard
 * that was fenced as soon as it was open is known to be open before.
 */
bool holdings_take(struct node *node)
{
    struct mail *notices = mailbox_take(&node->notices);
    struct mail *closes = mailbox_take(&node->closes);
    struct mail *prepares = mailbox_take(&node->prepares); /* a close ends them before */
    struct mail *opens = mailbox_take(&node->opens);
    const bool any = notices != NULL || closes != NULL || prepares != NULL || opens != NULL;
    while (opens != NULL) {
        struct shard_control *control = CONTAINER_OF(opens, struct shard_control, mail);
        opens = opens->next;
        take_open(node, CONTAINER_OF(control, struct holding, open));
    }
    while (prepares != NULL) {
        struct shard_control *control = CONTAINER_OF(prepares, struct shard_control, mail);
        prepares = prepares->next;
        take_prepare(node, CONTAINER_OF(control, struct holding, prepare));
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
