/* shard/shards.c - the set of shards and executors of this process. */
#include "base/assert.h"
#include "shard/shard_int.h"

struct shards *shards_new(const struct shards_options *options)
{
    ASSERT(options->executors >= 1);
    struct shards *shards = xcalloc(1, sizeof *shards);
    shards->options = *options;
    if (options->settings_json != NULL) {
        shards->settings_json = xstrdup(options->settings_json);
        shards->options.settings_json = shards->settings_json;
    }
    outage_init(shards);
    shards->executors = xcalloc(options->executors, sizeof *shards->executors);
    for (uint32_t i = 0; i < options->executors; i++) {
        shards->executors[i].shards = shards;
        shards->executors[i].env = options->env;
        shards->executors[i].wake_fd = -1;
        shards->executors[i].next_mono_ms = INT64_MAX;
        shards->executors[i].awake_mono_ms = INT64_MIN / 2;
    }
    return shards;
}

static void shard_free(struct shard *shard)
{
    ASSERT(shard->inc == NULL);
    free(shard->path);
    free(shard->range_start);
    free(shard->range_end);
    undelivered_free(shard);
    free(shard);
}

struct shards *shards_free(struct shards *shards)
{
    if (shards == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < shards->count; i++) {
        shard_free(shards->all[i]);
    }
    for (uint32_t i = 0; i < shards->options.executors; i++) {
        if (shards->executors[i].started) {
            checks_take(mailbox_take(&shards->executors[i].verdicts)); /* too late for anybody */
        }
        free(shards->executors[i].owned);
    }
    outage_deinit(shards);
    free(shards->executors);
    free(shards->all);
    free(shards->settings_json);
    free(shards);
    return NULL;
}

struct shard *shards_add(struct shards *shards, const struct shard_options *options)
{
    struct shard *shard = xcalloc(1, sizeof *shard);
    shard->shards = shards;
    shard->id = options->id;
    uuid_format(&options->id, shard->id_text);
    shard->path = xstrdup(options->path);
    shard->range_start = xstrdup(options->range_start);
    shard->range_end = xstrdup(options->range_end);
    struct executor *executor = &shards->executors[shards->count % shards->options.executors];
    shard->executor = executor;
    shard->unopened_mono_ms = INT64_MAX;
    executor->owned = xrealloc(executor->owned, (executor->count + 1) * sizeof executor->owned[0]);
    executor->owned[executor->count++] = shard;
    shards->all = xrealloc(shards->all, (shards->count + 1) * sizeof shards->all[0]);
    shards->all[shards->count++] = shard;
    return shard;
}

size_t shards_count(const struct shards *shards)
{
    return shards->count;
}

struct shard *shards_at(struct shards *shards, size_t index)
{
    ASSERT(index < shards->count);
    return shards->all[index];
}

struct shard *shards_find(struct shards *shards, const struct uuid *id)
{
    for (size_t i = 0; i < shards->count; i++) {
        if (uuid_eq(&shards->all[i]->id, id)) {
            return shards->all[i];
        }
    }
    return NULL;
}

struct executor *shards_executor(struct shards *shards, size_t index)
{
    ASSERT(index < shards->options.executors);
    return &shards->executors[index];
}

const struct uuid *shard_id(const struct shard *shard)
{
    return &shard->id;
}

const char *shard_id_text(const struct shard *shard)
{
    return shard->id_text;
}

const char *shard_range_start(const struct shard *shard)
{
    return shard->range_start;
}

const char *shard_range_end(const struct shard *shard)
{
    return shard->range_end;
}

bool shard_owns_tenant(const struct shard *shard, struct bytes tenant)
{
    static const char digits[] = "0123456789abcdef";
    const uint64_t hash = tenant_hash(tenant);
    char text[16];
    for (int i = 0; i < 16; i++) {
        text[i] = digits[(hash >> (60 - 4 * i)) & 0xf];
    }
    const struct bytes at = bytes_of(text, sizeof text);
    const struct bytes end = bytes_str(shard->range_end);
    return bytes_cmp(at, bytes_str(shard->range_start)) >= 0 &&
           (end.len == 0 || bytes_cmp(at, end) < 0);
}

enum shard_status shard_status(const struct shard *shard)
{
    return (enum shard_status)atomic_load_explicit(&shard->status, memory_order_relaxed);
}

void shard_set_status(struct shard *shard, enum shard_status status)
{
    atomic_store_explicit(&shard->status, (int)status, memory_order_relaxed);
}

bool shard_send(struct shard *shard, struct shard_request *request)
{
    request->shard = shard;
    const enum command_kind kind = request->cmd.kind;
    struct mailbox *box = &shard->executor->requests;
    if (command_is_own(kind)) {
        mailbox_send_always(box, &request->mail);
        return true;
    }
    const size_t beyond = command_keeps_work(kind) ? MAILBOX_MESSAGES_RESERVE : 0;
    return mailbox_send_beyond(box, &request->mail, beyond);
}

static void shard_control_send(struct shard *shard, struct shard_control *control,
                               enum control_op op)
{
    control->shard = shard;
    control->op = (int)op;
    mailbox_send_always(&shard->executor->controls, &control->mail);
}

void shard_open(struct shard *shard, struct shard_control *control)
{
    shard_control_send(shard, control, CONTROL_OPEN);
}

void shard_close(struct shard *shard, struct shard_control *control)
{
    shard_control_send(shard, control, CONTROL_CLOSE);
}

void shard_reset(struct shard *shard, struct shard_control *control)
{
    shard_control_send(shard, control, CONTROL_RESET);
}
