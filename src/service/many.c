/* service/many.c - waves: prepare, send, wait for all, collect, again. */
#include "service/many_int.h"

static void many_next(struct many *many);

static char *result_text(struct many *many, const char *text, enum silo_code code)
{
    return arena_str(many->call->arena, svc_error_text(text, code));
}

static void wave_finished(struct fan *fan)
{
    struct many *many = fan->call->state;
    for (size_t i = 0; i < fan->count; i++) {
        const struct command *cmd = &fan->parts[i].request.cmd;
        struct many_result *result = &many->results[many->items[i]];
        result->code = cmd->rc.code;
        if (cmd->rc.code != SILO_OK) {
            result->text = result_text(many, cmd->error, cmd->rc.code);
        }
    }
    many_next(many);
}

/* Fills the parts from the items that pass their checks. */
static void wave_prepare(struct many *many, size_t parts_max)
{
    struct fan *fan = many->fan;
    fan->count = 0;
    while (many->next < many->count && fan->count < parts_max) {
        const size_t item = many->next++;
        struct command *cmd = &fan->parts[fan->count].request.cmd;
        memset(&fan->parts[fan->count].request, 0, sizeof(struct shard_request));
        cmd->arena = many->call->arena;
        struct silo_err err;
        if (many->call->faults[item] != NULL) {
            many->results[item].code = SILO_INVALID;
            many->results[item].text = result_text(many, many->call->faults[item], SILO_INVALID);
            continue;
        }
        if (many->prepare(many, item, cmd, &err).code != SILO_OK) {
            many->results[item].code = err.code;
            many->results[item].text = result_text(many, err.text, err.code);
            continue;
        }
        many->items[fan->count++] = item;
    }
}

static void many_next(struct many *many)
{
    struct fan *fan = many->fan;
    wave_prepare(many, many->count < MANY_WAVE_MAX ? many->count : MANY_WAVE_MAX);
    if (fan->count == 0) {
        many->answer(many);
        return;
    }
    for (size_t i = 0; i < fan->count; i++) {
        fan_send(&fan->parts[i], &many->call->shard);
    }
}

void many_start(struct call *call, size_t count,
                SILO_RC (*prepare)(struct many *many, size_t index, struct command *cmd,
                                   struct silo_err *err),
                void (*answer)(struct many *many))
{
    const size_t parts = count < MANY_WAVE_MAX ? count : MANY_WAVE_MAX;
    struct many *many = ARENA_NEW(call->arena, struct many);
    many->call = call;
    many->count = count;
    many->results = arena_zalloc(call->arena, (count + 1) * sizeof *many->results);
    many->items = arena_zalloc(call->arena, (parts + 1) * sizeof *many->items);
    many->fan = fan_new(call, parts, wave_finished);
    many->prepare = prepare;
    many->answer = answer;
    call->state = many;
    many_next(many);
}
