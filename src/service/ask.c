/*
 * service/ask.c - what operators ask of the cluster as a whole, at any node: ConfigureShard and
 * ForceReleaseShard. The question goes to the node's thread and comes back with the answer.
 */
#include <stdio.h>

#include "service/call_int.h"

struct asking {
    struct cluster_question question;
    struct call *call;
    struct rpc_mail mail;
    void (*answer)(struct asking *asking);
};

static void asking_back(struct rpc_mail *mail)
{
    struct asking *asking = CONTAINER_OF(mail, struct asking, mail);
    struct call *call = asking->call;
    const struct cluster_question *question = &asking->question;
    if (question->rc.code == SILO_OK) {
        asking->answer(asking);
        return;
    }
    if (question->rc.code == SILO_CONFLICT) {
        svc_tell(call, &(struct route){.retry_ms = ROUTE_RETRY_FAILED_MS});
    }
    svc_fail(call, question->rc.code, arena_str(call->arena, bytes_str(question->text)));
}

/* The node's thread. */
static void asking_done(struct cluster_question *question)
{
    struct asking *asking = CONTAINER_OF(question, struct asking, question);
    rpc_loop_post(rpc_call_loop(asking->call->rpc), &asking->mail);
}

/* NULL: the call was answered. */
static struct asking *asking_new(struct call *call, enum cluster_question_kind kind,
                                 const char *shard, void (*answer)(struct asking *asking))
{
    struct asking *asking = ARENA_NEW(call->arena, struct asking);
    asking->call = call;
    asking->answer = answer;
    asking->mail.run = asking_back;
    asking->question.kind = kind;
    asking->question.done = asking_done;
    if (!uuid_parse_lenient(bytes_str(shard), &asking->question.shard)) {
        svc_fail(call, SILO_INVALID, ERROR_SHARD_ID);
        return NULL;
    }
    if (call->service->ask == NULL) {
        on_unimplemented(call);
        return NULL;
    }
    return asking;
}

static void asking_send(struct asking *asking)
{
    const struct service *service = asking->call->service;
    service->ask(service->ask_context, &asking->question);
}

/* --- ForceReleaseShard --- */

static void force_release_answer(struct asking *asking)
{
    Silo__V1__ForceReleaseShardResponse reply = SILO__V1__FORCE_RELEASE_SHARD_RESPONSE__INIT;
    reply.released = true;
    svc_reply(asking->call, &reply.base);
}

void on_force_release(struct call *call)
{
    const Silo__V1__ForceReleaseShardRequest *request = call->message;
    struct asking *asking =
        asking_new(call, QUESTION_FORCE_RELEASE, request->shard, force_release_answer);
    if (asking != NULL) {
        asking->question.force = request->force;
        asking_send(asking);
    }
}

/* --- ConfigureShard --- */

/* What the map calls the default ring has no name in it. */
static const char *ring_shown(const char *ring)
{
    return strcmp(ring, DIRECTORY_RING_DEFAULT) != 0 ? ring : "";
}

static void configure_answer(struct asking *asking)
{
    Silo__V1__ConfigureShardResponse reply = SILO__V1__CONFIGURE_SHARD_RESPONSE__INIT;
    reply.previous_ring = asking->question.previous_ring;
    reply.current_ring = (char *)ring_shown(asking->question.ring);
    svc_reply(asking->call, &reply.base);
}

void on_configure_shard(struct call *call)
{
    const Silo__V1__ConfigureShardRequest *request = call->message;
    struct asking *asking = asking_new(call, QUESTION_CONFIGURE, request->shard, configure_answer);
    if (asking == NULL) {
        return;
    }
    struct cluster_question *question = &asking->question;
    const char *ring = request->placement_ring_opt_case != 0 ? request->placement_ring : "";
    if (strlen(ring) > RING_BYTES_MAX) {
        svc_fail(
            call, SILO_INVALID,
            arena_printf(call->arena, "placement_ring too long: at most %u bytes", RING_BYTES_MAX));
        return;
    }
    (void)snprintf(question->ring, sizeof question->ring, "%s", ring);
    question->unpopulated = request->allow_unpopulated_ring;
    asking_send(asking);
}
