/* node/writers.c - see writers.h. A question is known by its address, which is the call's token. */
#include "node/writers.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"

struct question {
    struct list_node node;
    struct uuid shard;
};

void writers_init(struct writers *writers, struct store *store, struct store_queue *queue)
{
    *writers = (struct writers){.store = store, .queue = queue};
    list_init(&writers->asked);
}

static void question_free(struct question *question)
{
    list_remove(&question->node);
    free(question);
}

void writers_deinit(struct writers *writers)
{
    for (struct list_node *node = list_first(&writers->asked); node != NULL;
         node = list_first(&writers->asked)) {
        question_free(CONTAINER_OF(node, struct question, node));
    }
}

SILO_RC writers_ask(struct writers *writers, const struct uuid *shard,
                    const struct store_open_args *place, struct silo_err *err)
{
    struct question *question = xcalloc(1, sizeof *question);
    question->shard = *shard;
    list_push_back(&writers->asked, &question->node);
    const silo_rc rc =
        store_ops_of(writers->store)
            ->db_epoch(writers->store, writers->queue, place, (uintptr_t)question, err);
    if (rc.code != SILO_OK) {
        question_free(question);
    }
    return rc;
}

bool writers_next(struct writers *writers, struct writers_answer *ret_answer)
{
    struct store_event event;
    if (writers->queue == NULL ||
        store_ops_of(writers->queue)->queue_drain(writers->queue, &event, 1) == 0) {
        return false;
    }
    struct question *question = (struct question *)(uintptr_t)event.token;
    ret_answer->shard = question->shard;
    ret_answer->rc = event.rc;
    ret_answer->epoch = event.seq;
    (void)snprintf(ret_answer->text, sizeof ret_answer->text, "%s", event.text);
    question_free(question);
    store_ops_of(writers->store)->event_free(&event);
    return true;
}

int writers_fd(const struct writers *writers)
{
    return list_empty(&writers->asked) ? -1
                                       : store_ops_of(writers->queue)->queue_fd(writers->queue);
}
