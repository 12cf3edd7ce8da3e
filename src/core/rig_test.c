/* core/rig_test.c - see rig_test.h. */
#include "core/rig_test.h"

#include "base/assert.h"
#include "base/test.h"

void rig_init(struct rig *rig, const struct rig_ops *ops, uint64_t seed)
{
    rig->ops = ops;
    rig->seed = seed;
    rig->random = seed * 0x2545f4914f6cdd1dULL + 1;
    rig->mono_us = 1000000;
    rig->wall_ms = RIG_WALL_MS;
}

struct rig *rig_free(struct rig *rig)
{
    return rig->ops->free(rig);
}

uint64_t rig_random(struct rig *rig)
{
    rig->random += 0x9e3779b97f4a7c15ULL;
    uint64_t z = rig->random;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

void rig_random_bytes(struct rig *rig, void *ret_bytes, size_t len)
{
    uint8_t *out = ret_bytes;
    for (size_t i = 0; i < len; i++) {
        out[i] = (uint8_t)rig_random(rig);
    }
}

uint32_t rig_below(struct rig *rig, uint32_t bound)
{
    return (uint32_t)(rig_random(rig) % bound);
}

void rig_start(struct rig *rig)
{
    rig->ops->start(rig);
    rig->next_us = 0;
}

enum silo_code rig_stop(struct rig *rig)
{
    return rig->ops->stop(rig);
}

void rig_kill(struct rig *rig, enum rig_survival survival)
{
    rig->ops->kill(rig, survival);
}

struct core *rig_core(const struct rig *rig)
{
    return rig->ops->core(rig);
}

bool rig_is_open(const struct rig *rig)
{
    return rig->ops->core(rig) != NULL;
}

void rig_each_row(struct rig *rig, rig_row_fn *fn, void *context)
{
    rig->ops->each_row(rig, fn, context);
}

void rig_tamper(struct rig *rig, struct bytes key, struct bytes value)
{
    rig->ops->tamper(rig, key, value);
}

uint64_t rig_batches(const struct rig *rig)
{
    return rig->ops->batches(rig);
}

/* --- time --- */

void rig_turn(struct rig *rig)
{
    rig->ops->turn(rig);
}

bool rig_step(struct rig *rig)
{
    rig_turn(rig);
    return rig->ops->complete(rig);
}

/* Monotonic time of the next event, in the past if one is ready. */
static int64_t rig_next_us(const struct rig *rig)
{
    const int64_t store_us = rig->ops->store_next_us(rig);
    return store_us < rig->next_us ? store_us : rig->next_us;
}

void rig_settle(struct rig *rig)
{
    /* The events of the last completed operation arrive in a turn of their own. */
    int quiet = 0;
    for (int spins = 0; quiet < 3; spins++) {
        const bool moved = rig_step(rig);
        if (spins >= RIG_SPIN_MAX) {
            fail_msg("seed %llu: the shard spins: now %lld, it %lld, its store %lld us",
                     (unsigned long long)rig->seed, (long long)rig->mono_us,
                     (long long)rig->next_us, (long long)rig->ops->store_next_us(rig));
        }
        quiet = !moved && rig_next_us(rig) > rig->mono_us ? quiet + 1 : 0;
    }
}

void rig_pass(struct rig *rig, int64_t ms)
{
    const int64_t end_us = rig->mono_us + ms * 1000;
    rig_settle(rig);
    while (rig->mono_us < end_us) {
        const int64_t next_us = rig_next_us(rig);
        const int64_t to_us = next_us < end_us ? next_us : end_us;
        const int64_t step_us = to_us > rig->mono_us ? to_us - rig->mono_us : 1000;
        rig->wall_ms += (rig->mono_us + step_us) / 1000 - rig->mono_us / 1000;
        rig->mono_us += step_us;
        if (rig_next_us(rig) <= rig->mono_us) {
            rig_settle(rig); /* only then: a wake-up that is not asked for does not come */
        }
    }
}

/* --- calls --- */

struct call *rig_call(enum command_kind kind, const char *tenant, const char *id)
{
    struct call *call = xcalloc(1, sizeof *call);
    arena_init(&call->arena);
    call->cmd.kind = kind;
    call->cmd.arena = &call->arena;
    if (id != NULL) {
        struct key ref;
        key_job_ref(&ref, bytes_str(tenant), bytes_str(id));
        call->cmd.job_ref = arena_copy(&call->arena, key_bytes(&ref));
    }
    return call;
}

struct call *rig_call_free(struct call *call)
{
    arena_deinit(&call->arena);
    free(call);
    return NULL;
}

void rig_call_done(struct call *call)
{
    ASSERT(!call->done);
    call->done = true;
    if (call->on_done != NULL) {
        call->on_done(call);
    }
}

void rig_send(struct rig *rig, struct call *call)
{
    rig->ops->send(rig, call);
}

void rig_do(struct rig *rig, struct call *call)
{
    rig_send(rig, call);
    rig_settle(rig);
    if (!call->done) {
        fail_msg("seed %llu: no answer to a call of kind %d", (unsigned long long)rig->seed,
                 (int)call->cmd.kind);
    }
}
