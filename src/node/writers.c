/* node/writers.c - see writers.h. A question is known by its address, which is the call's token. */
#include "node/writers.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"

struct question {
    struct list_node node;
    struct uuid shard;
    int64_t until_ms;
    bool given_up; /* it was answered, and is kept for the store's word */
};

void writers_init(struct writers *writers, struct store *store, struct store_queue *queue)
{
    *writers = (struct writers){.store = store, .queue = queue};
    list_init(&writers->asked);
}

static void question_free(struct writers *writers, struct question *question)
{
    list_remove(&question->node);
    writers->asked_count--;
    free(question);
}

void writers_deinit(struct writers *writers)
{
    for (struct list_node *node = list_first(&writers->asked); node != NULL;
         node = list_first(&writers->asked)) {
        question_free(writers, CONTAINER_OF(node, struct question, node));
    }
}

SILO_RC writers_ask(struct writers *writers, const struct uuid *shard,
                    const struct store_open_args *place, int64_t now_ms, struct silo_err *err)
{
    if (writers->asked_count >= WRITERS_ASKED_MAX) {
        return FAIL(err, SILO_EXHAUSTED, "the store has not answered %zu questions",
                    writers->asked_count);
    }
    struct question *question = xcalloc(1, sizeof *question);
    question->shard = *shard;
    question->until_ms = now_ms + WRITERS_WAIT_MS;
    list_push_back(&writers->asked, &question->node);
    writers->asked_count++;
    const silo_rc rc =
        store_ops_of(writers->store)
            ->db_epoch(writers->store, writers->queue, place, (uintptr_t)question, err);
    if (rc.code != SILO_OK) {
        question_free(writers, question);
    }
    return rc;
}

/* The oldest that is waited for. */
static struct question *awaited(const struct writers *writers)
{
    for (struct list_node *n = list_first(&writers->asked); n != NULL;
         n = list_next(&writers->asked, n)) {
        struct question *question = CONTAINER_OF(n, struct question, node);
        if (!question->given_up) {
            return question;
        }
    }
    return NULL;
}

static bool give_up(const struct writers *writers, int64_t now_ms,
                    struct writers_answer *ret_answer)
{
    struct question *question = awaited(writers);
    if (question == NULL || now_ms < question->until_ms) {
        return false;
    }
    question->given_up = true;
    ret_answer->shard = question->shard;
    ret_answer->rc = (silo_rc){SILO_UNAVAILABLE};
    (void)snprintf(ret_answer->text, sizeof ret_answer->text,
                   "the store did not answer within %d s", WRITERS_WAIT_MS / 1000);
    return true;
}

bool writers_next(struct writers *writers, int64_t now_ms, struct writers_answer *ret_answer)
{
    struct store_event event;
    while (writers->queue != NULL &&
           store_ops_of(writers->queue)->queue_drain(writers->queue, &event, 1) == 1) {
        struct question *question = (struct question *)(uintptr_t)event.token;
        const bool wanted = !question->given_up;
        ret_answer->shard = question->shard;
        ret_answer->rc = event.rc;
        ret_answer->epoch = event.seq;
        (void)snprintf(ret_answer->text, sizeof ret_answer->text, "%s", event.text);
        question_free(writers, question);
        store_ops_of(writers->store)->event_free(&event);
        if (wanted) {
            return true;
        }
    }
    return give_up(writers, now_ms, ret_answer);
}

int64_t writers_next_ms(const struct writers *writers)
{
    const struct question *question = awaited(writers);
    return question != NULL ? question->until_ms : INT64_MAX;
}

int writers_fd(const struct writers *writers)
{
    return list_empty(&writers->asked) ? -1
                                       : store_ops_of(writers->queue)->queue_fd(writers->queue);
}
