/*
 * cluster/question.c - what operators ask: a forced release goes to the coordinator, a ring into
 * the next map. A question that nobody can answer in time is answered all the same.
 */
#include "cluster/question.h"

#include <stdio.h>

#include "cluster/cluster_int.h"

static struct cluster_question *question_of(struct list_node *node)
{
    return LIST_ENTRY(node, struct cluster_question, node);
}

static void answer(struct cluster *cluster, struct cluster_question *question, enum silo_code code,
                   const char *text)
{
    question->rc = (silo_rc){code};
    (void)snprintf(question->text, sizeof question->text, "%s", text);
    if (list_linked(&question->node)) {
        list_remove(&question->node);
        cluster->question_count--;
    }
    action_add(cluster, ACTION_ANSWER)->question = question;
}

/* --- forced release --- */

static struct cluster_question *forcing(const struct cluster *cluster, const struct uuid *shard)
{
    for (struct list_node *n = list_first(&cluster->questions); n != NULL;
         n = list_next(&cluster->questions, n)) {
        struct cluster_question *question = question_of(n);
        if (question->kind == QUESTION_FORCE_RELEASE && uuid_eq(&question->shard, shard)) {
            return question;
        }
    }
    return NULL;
}

static void refuse_live(struct cluster *cluster, struct cluster_question *question,
                        struct bytes holder)
{
    char text[SILO_ERR_TEXT_MAX];
    (void)snprintf(text, sizeof text,
                   "node \"%.*s\" holds the shard and is a member of the cluster: it closes the "
                   "shard only when the release is forced",
                   holder.len < 128 ? (int)holder.len : 128, (const char *)holder.ptr);
    answer(cluster, question, SILO_PRECONDITION, text);
}

static void force_begin(struct cluster *cluster, struct cluster_question *question,
                        const struct guard *guard)
{
    const bool lives = members_find(&cluster->members, guard->holder) != NULL;
    if (guard->holder[0] == '\0') {
        answer(cluster, question, SILO_OK, "");
    } else if (lives && !question->force) {
        refuse_live(cluster, question, bytes_str(guard->holder));
    } else if (forcing(cluster, &question->shard) != NULL) {
        answer(cluster, question, SILO_CONFLICT, "the shard is being released already");
    } else {
        list_push_back(&cluster->questions, &question->node);
        cluster->question_count++;
        struct cluster_action *action = guard_action(cluster, guard, ACTION_FORCE_RELEASE);
        action->expected = guard->epoch;
        action->force = question->force;
    }
}

void question_forced(struct cluster *cluster, const struct cluster_event *event)
{
    struct cluster_question *question = forcing(cluster, &event->shard);
    if (question == NULL) {
        return; /* this node's own, or one whose time was over */
    }
    if (event->rc.code == SILO_PRECONDITION) {
        refuse_live(cluster, question, event->text);
    } else if (event->rc.code == SILO_CONFLICT) {
        answer(cluster, question, SILO_CONFLICT,
               "the shard's owner changed meanwhile; look at it again");
    } else {
        char text[SILO_ERR_TEXT_MAX];
        const size_t len = event->text.len < sizeof text ? event->text.len : sizeof text - 1;
        (void)snprintf(text, sizeof text, "%.*s", (int)len, (const char *)event->text.ptr);
        answer(cluster, question, event->rc.code, len > 0 ? text : "");
    }
}

/* --- rings --- */

/* The oldest that waits for a map. */
static struct cluster_question *configuring(const struct cluster *cluster)
{
    for (struct list_node *n = list_first(&cluster->questions); n != NULL;
         n = list_next(&cluster->questions, n)) {
        if (question_of(n)->kind == QUESTION_CONFIGURE) {
            return question_of(n);
        }
    }
    return NULL;
}

static void refuse_ring(struct cluster *cluster, struct cluster_question *question,
                        const char *ring)
{
    char text[SILO_ERR_TEXT_MAX];
    (void)snprintf(text, sizeof text,
                   "no member of the cluster is in the placement ring \"%.128s\"", ring);
    answer(cluster, question, SILO_PRECONDITION, text);
}

/* Makes the map that is asked for of the newest one, and commits it. */
static void configure(struct cluster *cluster, struct cluster_question *question)
{
    struct cluster_map map = cluster_map_copy(&cluster->map);
    struct cluster_shard *shard = cluster_map_find(&map, &question->shard);
    struct silo_err err = {0};
    if (shard == NULL) {
        answer(cluster, question, SILO_NOT_FOUND, "shard not found");
    } else {
        const char *before = shard->ring != NULL ? shard->ring : "";
        if (question->tries == 0) { /* one that was lost may have been this one's own */
            (void)snprintf(question->previous_ring, sizeof question->previous_ring, "%s", before);
        }
        char old[RING_BYTES_MAX + 1];
        (void)snprintf(old, sizeof old, "%s", before);
        const silo_rc rc = cluster_shard_set_ring(shard, question->ring, &err);
        const char *now = shard->ring != NULL ? shard->ring : "";
        if (rc.code != SILO_OK) {
            answer(cluster, question, rc.code, err.text);
        } else if (strcmp(now, old) == 0) {
            answer(cluster, question, SILO_OK, "");
        } else if (!question->unpopulated && !members_have_ring(cluster, shard->ring)) {
            refuse_ring(cluster, question, shard->ring != NULL ? now : DIRECTORY_RING_DEFAULT);
        } else {
            question->tries++;
            mapping_commit(cluster, &map);
        }
    }
    cluster_map_deinit(&map);
}

void question_committed(struct cluster *cluster)
{
    struct cluster_question *question = configuring(cluster);
    if (question != NULL && question->tries > 0) {
        answer(cluster, question, SILO_OK, "");
    }
}

void question_race_lost(struct cluster *cluster)
{
    struct cluster_question *question = configuring(cluster);
    if (question != NULL && question->tries >= CLUSTER_RACES_MAX) {
        answer(cluster, question, SILO_CONFLICT, "the map of shards changes too often; ask again");
    }
}

/* --- all of them --- */

void question_asked(struct cluster *cluster, struct cluster_question *question)
{
    question->until_ms = cluster->now_ms + CLUSTER_QUESTION_MS;
    question->tries = 0;
    question->node = (struct list_node){0};
    const struct guard *guard = guard_find(cluster, &question->shard);
    if (!join_is_fresh(cluster)) {
        answer(cluster, question, SILO_UNAVAILABLE,
               "this node is no member of the cluster just now; ask again, or ask another one");
    } else if (guard == NULL || guard->settings == NULL) {
        answer(cluster, question, SILO_NOT_FOUND, "shard not found");
    } else if (cluster->question_count >= CLUSTER_QUESTIONS_MAX) {
        answer(cluster, question, SILO_EXHAUSTED, "too many questions to the cluster at a time");
    } else if (question->kind == QUESTION_FORCE_RELEASE) {
        force_begin(cluster, question, guard);
    } else {
        list_push_back(&cluster->questions, &question->node);
        cluster->question_count++;
        cluster->changed = true;
    }
}

void questions_consider(struct cluster *cluster)
{
    struct list_node *next = NULL;
    for (struct list_node *n = list_first(&cluster->questions); n != NULL; n = next) {
        next = list_next(&cluster->questions, n);
        if (cluster->now_ms >= question_of(n)->until_ms) {
            answer(cluster, question_of(n), SILO_UNAVAILABLE,
                   "the coordinator did not answer in time; whether it was done is not known");
        }
    }
    struct cluster_question *question = configuring(cluster);
    while (question != NULL && !mapping_commits(cluster) && join_is_fresh(cluster)) {
        configure(cluster, question);
        question = mapping_commits(cluster) ? NULL : configuring(cluster);
    }
}

int64_t questions_next_ms(const struct cluster *cluster)
{
    const struct list_node *first = list_first(&cluster->questions); /* all have the same time */
    return first != NULL ? CONTAINER_OF(first, const struct cluster_question, node)->until_ms
                         : INT64_MAX;
}

void questions_end(struct cluster *cluster)
{
    struct list_node *node;
    while ((node = list_pop_front(&cluster->questions)) != NULL) {
        struct cluster_question *question = question_of(node);
        question->rc = (silo_rc){SILO_UNAVAILABLE};
        (void)snprintf(question->text, sizeof question->text, "server is shutting down");
        question->done(question);
    }
}
