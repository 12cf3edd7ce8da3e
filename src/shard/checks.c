/*
 * shard/checks.c - rate limits asked outside: the core's checks travel to the limiter and their
 * verdicts back, through the executor's mailbox. An incarnation that ends forgets its checks; what
 * comes back for them only releases memory.
 */
#include "base/assert.h"
#include "shard/shard_int.h"

struct flight {
    struct limiter_check check;
    struct list_node node; /* incarnation.checks */
    struct executor *executor;
    struct incarnation *inc; /* NULL: it has ended */
    struct core_check *ask;
    uint8_t text[]; /* name, unique key */
};

/* The limiter's thread. */
static void flight_done(struct limiter_check *check)
{
    struct flight *flight = CONTAINER_OF(check, struct flight, check);
    mailbox_send_always(&flight->executor->verdicts, &check->mail);
}

static struct flight *flight_new(struct incarnation *inc, struct core_check *ask)
{
    struct flight *flight = xmalloc(sizeof *flight + ask->name.len + ask->unique_key.len);
    *flight = (struct flight){.executor = inc->shard->executor, .inc = inc, .ask = ask};
    memcpy(flight->text, ask->name.ptr, ask->name.len);
    memcpy(flight->text + ask->name.len, ask->unique_key.ptr, ask->unique_key.len);
    flight->check = (struct limiter_check){
        .name = bytes_of(flight->text, ask->name.len),
        .unique_key = bytes_of(flight->text + ask->name.len, ask->unique_key.len),
        .hits = ask->hits,
        .limit = ask->limit,
        .duration_ms = ask->duration_ms,
        .algorithm = ask->algorithm,
        .behavior = ask->behavior,
        .done = flight_done,
    };
    list_push_back(&inc->checks, &flight->node);
    return flight;
}

void checks_turn(struct incarnation *inc)
{
    struct limiter *limiter = inc->shard->shards->options.limiter;
    struct core_check *ask = NULL;
    while ((ask = core_check_next(inc->core)) != NULL) {
        limiter->check(limiter, &flight_new(inc, ask)->check);
    }
}

static enum core_verdict verdict_of(enum limiter_verdict verdict)
{
    switch (verdict) {
    case LIMITER_UNDER:
        return VERDICT_UNDER;
    case LIMITER_OVER:
        return VERDICT_OVER;
    case LIMITER_ERROR:
        break;
    }
    return VERDICT_ERROR;
}

void checks_take(struct mail *verdicts)
{
    while (verdicts != NULL) {
        struct limiter_check *check = CONTAINER_OF(verdicts, struct limiter_check, mail);
        struct flight *flight = CONTAINER_OF(check, struct flight, check);
        verdicts = verdicts->next;
        struct incarnation *inc = flight->inc;
        if (inc != NULL) {
            list_remove(&flight->node);
            shard_visit(inc->shard);
            if (inc->phase == INC_OPEN || inc->phase == INC_DRAINING) {
                core_check_done(inc->core, flight->ask, verdict_of(check->verdict),
                                check->reset_ms);
            }
        }
        free(flight);
    }
}

void checks_forget(struct incarnation *inc)
{
    struct list_node *node = NULL;
    while ((node = list_pop_front(&inc->checks)) != NULL) {
        CONTAINER_OF(node, struct flight, node)->inc = NULL;
    }
}
