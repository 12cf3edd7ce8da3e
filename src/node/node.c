/*
 * node/node.c - see node.h. A turn takes news until there are none and nothing is left to be done;
 * the cluster decides, this file only passes on.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/saturate.h"
#include "node/node_int.h"

void node_wake(void *context)
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
    (void)snprintf(node->id, sizeof node->id, "%s", options->cluster.self.id);
    node->published = published_new(sizeof(struct node_counters) / sizeof(uint64_t));
    holdings_init(node);
    mailbox_init(&node->questions, CLUSTER_QUESTIONS_MAX, node_wake, node);
    writers_init(&node->writers, options->store, options->queue);
    return node;
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
    holdings_deinit(node);
    writers_deinit(&node->writers);
    node->cluster = cluster_free(node->cluster);
    published_free(node->published);
    free(node);
    return NULL;
}

void node_told(struct node *node, struct shard_notice *notice)
{
    mailbox_send_always(&node->notices, &notice->mail);
}

void node_tell_shard(struct node *node, enum cluster_event_kind kind, const struct uuid *id,
                     silo_rc rc)
{
    const struct cluster_event event = {.kind = kind, .shard = *id, .rc = rc};
    cluster_event(node->cluster, &event);
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
    node_tell_shard(node, EVENT_WRITER_FAILED, shard, rc);
}

static void act_read_writer(struct node *node, const struct cluster_action *action)
{
    const struct uuid id = action->shard;
    if (action->settings == NULL) { /* and so it is not opened */
        node_tell_shard(node, EVENT_WRITER_FAILED, &id, (silo_rc){SILO_NOT_FOUND});
        return;
    }
    char id_text[UUID_TEXT_LEN + 1];
    uuid_format(&id, id_text);
    struct shard_options options = {.id = id};
    node->describe(node->context, action->settings, id_text, &options);
    const struct store_open_args place = {.path = options.path, .wal = options.wal.place};
    struct silo_err err = {0};
    const silo_rc rc = writers_ask(&node->writers, &id, &place, env_mono_ms(node->env), &err);
    free((char *)options.path);
    if (rc.code != SILO_OK) {
        writer_unknown(node, &id, rc, err.text);
    }
}

static bool take_writers(struct node *node)
{
    bool any = false;
    struct writers_answer answer;
    while (writers_next(&node->writers, env_mono_ms(node->env), &answer)) {
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
        holding_open(node, action);
        return;
    case ACTION_CLOSE:
        holding_close(node, action);
        return;
    case ACTION_REMOVE:
        holding_remove(node, action);
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
        holding_prepare(node, action);
        return;
    case ACTION_STRICT:
        node->strict = action->strict;
        return;
    case ACTION_ANSWER:
        action->question->done(action->question);
        return;
    }
}

/* What is not known to have changed may have, from when this node's lease ends at the earliest. */
static void strict_set(struct node *node)
{
    const int64_t until_us = node->coord->ops->until_us(node->coord);
    const bool ends = until_us != INT64_MIN && until_us != INT64_MAX;
    shards_set_strict(node->shards, node->strict ? INT64_MIN : ends ? until_us / 1000 : until_us);
}

static void counters_publish(struct node *node)
{
    const struct cluster_counts counts = cluster_counts(node->cluster);
    const struct node_counters numbers = {.moves_begun = counts.moves_begun,
                                          .handed_over = counts.handed_over,
                                          .hand_overs_lost = counts.hand_overs_lost,
                                          .given = counts.given,
                                          .takeovers = counts.takeovers,
                                          .claims_lost = counts.claims_lost};
    published_put(node->published, (const uint64_t *)&numbers);
}

int64_t node_turn(struct node *node)
{
    struct cluster_event event;
    struct cluster_action action;
    int64_t coord_us = INT64_MAX;
    for (bool again = true; again;) {
        cluster_set_time(node->cluster, env_mono_ms(node->env));
        again = holdings_take(node);
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
        strict_set(node);
    }
    counters_publish(node);
    const int64_t next_ms =
        earlier(cluster_next_mono_ms(node->cluster), writers_next_ms(&node->writers));
    return earlier(coord_us, us_of_ms(next_ms));
}

void node_fds(const struct node *node, int ret_fds[NODE_FDS])
{
    ret_fds[0] = node->coord->ops->fd(node->coord);
    ret_fds[1] = writers_fd(&node->writers);
}

bool node_sleep(struct node *node)
{
    return holdings_sleep(node) && mailbox_sleep(&node->questions);
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

static bool counters_read(const void *context, size_t index, char *ret_owner, uint64_t *ret_numbers)
{
    const struct node *node = context;
    (void)index;
    memcpy(ret_owner, node->id, COUNTER_OWNER_BYTES);
    return published_get(node->published, ret_numbers);
}

struct counter_source node_counters(const struct node *node)
{
    return (struct counter_source){
        .scope = SCOPE_NODE, .owners = 1, .read = counters_read, .context = node};
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
