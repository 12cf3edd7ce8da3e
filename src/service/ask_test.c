/* service/ask_test.c - what operators ask of the cluster, and how its answers reach them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "service/fake_test.h"
#include "service/service_int.h"

static struct rpc_call *release(const char *shard, bool force)
{
    Silo__V1__ForceReleaseShardRequest request = SILO__V1__FORCE_RELEASE_SHARD_REQUEST__INIT;
    request.shard = (char *)shard;
    request.force = force;
    return fake_call("ForceReleaseShard", &request.base);
}

static struct rpc_call *configure(const char *shard, const char *ring, bool unpopulated)
{
    Silo__V1__ConfigureShardRequest request = SILO__V1__CONFIGURE_SHARD_REQUEST__INIT;
    request.shard = (char *)shard;
    if (ring != NULL) {
        request.placement_ring_opt_case =
            SILO__V1__CONFIGURE_SHARD_REQUEST__PLACEMENT_RING_OPT_PLACEMENT_RING;
        request.placement_ring = (char *)ring;
    }
    request.allow_unpopulated_ring = unpopulated;
    return fake_call("ConfigureShard", &request.base);
}

static void a_release_is_asked_and_answered(void **state)
{
    (void)state;
    fake_start(2, false, false);
    struct rpc_call *call = release(fake_shard_id(1), true);
    assert_false(call->done);
    assert_int_equal(fake.question->kind, QUESTION_FORCE_RELEASE);
    assert_true(uuid_eq(&fake.question->shard, &fake.shards[1].id));
    assert_true(fake.question->force);
    fake_decide(SILO_OK);
    Silo__V1__ForceReleaseShardResponse *reply =
        fake_reply(call, &silo__v1__force_release_shard_response__descriptor);
    assert_true(reply->released);
    silo__v1__force_release_shard_response__free_unpacked(reply, NULL);
    fake_free(call);
    fake_stop();
}

static void what_the_cluster_refuses_keeps_its_code_and_text(void **state)
{
    (void)state;
    static const struct {
        enum silo_code code;
        uint32_t status;
        const char *retry_ms;
    } cases[] = {
        {SILO_NOT_FOUND, 5, ""},        {SILO_PRECONDITION, 9, ""},  {SILO_INVALID, 3, ""},
        {SILO_UNAVAILABLE, 14, "1000"}, {SILO_CONFLICT, 10, "1000"}, {SILO_EXHAUSTED, 8, "1000"},
    };
    fake_start(1, false, false);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rpc_call *calls[] = {release(fake_shard_id(0), false), NULL};
        assert_false(fake.question->force);
        (void)snprintf(fake.question->text, sizeof fake.question->text, "node b has it");
        fake_decide(cases[i].code);
        calls[1] = configure(fake_shard_id(0), "gpu", false);
        (void)snprintf(fake.question->text, sizeof fake.question->text, "node b has it");
        fake_decide(cases[i].code);
        for (size_t k = 0; k < 2; k++) {
            fake_failed(calls[k], cases[i].status, "node b has it");
            assert_string_equal(calls[k]->retry_ms, cases[i].retry_ms);
            fake_free(calls[k]);
        }
    }
    fake_stop();
}

static void a_ring_is_asked_for_and_told(void **state)
{
    (void)state;
    static const struct {
        const char *ring;
        bool unpopulated;
        const char *asked, *shown;
    } cases[] = {
        {"gpu", false, "gpu", "gpu"}, {"gpu", true, "gpu", "gpu"},       {NULL, false, "", ""},
        {"", false, "", ""},          {"default", false, "default", ""},
    };
    fake_start(1, false, false);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rpc_call *call = configure(fake_shard_id(0), cases[i].ring, cases[i].unpopulated);
        assert_int_equal(fake.question->kind, QUESTION_CONFIGURE);
        assert_string_equal(fake.question->ring, cases[i].asked);
        assert_int_equal(fake.question->unpopulated, cases[i].unpopulated);
        (void)snprintf(fake.question->previous_ring, sizeof fake.question->previous_ring, "old");
        fake_decide(SILO_OK);
        Silo__V1__ConfigureShardResponse *reply =
            fake_reply(call, &silo__v1__configure_shard_response__descriptor);
        assert_string_equal(reply->previous_ring, "old");
        assert_string_equal(reply->current_ring, cases[i].shown);
        silo__v1__configure_shard_response__free_unpacked(reply, NULL);
        fake_free(call);
    }
    fake_stop();
}

static void what_is_no_question_is_not_asked(void **state)
{
    (void)state;
    fake_start(1, false, false);
    char longest[RING_BYTES_MAX + 2];
    memset(longest, 'r', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    const struct {
        struct rpc_call *call;
        const char *text;
    } cases[] = {
        {release("nonsense", false), "invalid shard ID"},
        {configure("", "gpu", false), "invalid shard ID"},
        {configure(fake_shard_id(0), longest, false), "placement_ring too long"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fake_failed(cases[i].call, 3, cases[i].text);
        fake_free(cases[i].call);
    }
    assert_null(fake.question);
    fake_stop();
}

/* The question is at the node: the call is kept until it is back. */
static void a_caller_may_leave_while_it_asks(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = release(fake_shard_id(0), false);
    fake_cancel(call);
    assert_false(call->done);
    fake_decide(SILO_OK);
    assert_true(call->done);
    fake_free(call);
    fake_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_release_is_asked_and_answered),
        cmocka_unit_test(what_the_cluster_refuses_keeps_its_code_and_text),
        cmocka_unit_test(a_ring_is_asked_for_and_told),
        cmocka_unit_test(what_is_no_question_is_not_asked),
        cmocka_unit_test(a_caller_may_leave_while_it_asks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
