/*
 * service/counters.c - GetCounters: what the threads of this node have published, read on the
 * call's loop. No executor is asked and nothing waits.
 */
#include "base/assert.h"
#include "service/call_int.h"

struct counters_fill {
    struct call *call;
    struct bytes prefix;
    Silo__V1__Counter **counters;
    size_t count, room;
};

static Silo__V1__CounterLabel *label_new(struct arena *arena, const char *name, const char *value)
{
    Silo__V1__CounterLabel *label = arena_alloc(arena, sizeof *label);
    silo__v1__counter_label__init(label);
    label->name = (char *)(uintptr_t)name; /* only read */
    label->value = (char *)(uintptr_t)value;
    return label;
}

static bool is_wanted(const struct counters_fill *fill, const char *name)
{
    return strncmp(name, (const char *)fill->prefix.ptr, fill->prefix.len) == 0;
}

/* Room for another one. */
static void fill_grow(struct counters_fill *fill)
{
    if (fill->count < fill->room) {
        return;
    }
    const size_t room = fill->room != 0 ? 2 * fill->room : 256;
    Silo__V1__Counter **grown = arena_alloc(fill->call->arena, room * sizeof *grown);
    for (size_t i = 0; i < fill->count; i++) {
        grown[i] = fill->counters[i];
    }
    fill->counters = grown;
    fill->room = room;
}

static void counter_add(struct counters_fill *fill, const struct counter_table *table,
                        const struct counter_series *series, const char *owner, uint64_t number)
{
    const struct counter_family *family = counter_family(series->family);
    if (!is_wanted(fill, family->name)) {
        return;
    }
    struct arena *arena = fill->call->arena;
    Silo__V1__Counter *counter = arena_alloc(arena, sizeof *counter);
    silo__v1__counter__init(counter);
    counter->name = (char *)(uintptr_t)family->name;
    counter->labels = arena_alloc(arena, 2 * sizeof counter->labels[0]);
    counter->labels[counter->n_labels++] = label_new(arena, table->label, owner);
    if (family->label[0] != '\0') {
        counter->labels[counter->n_labels++] = label_new(arena, family->label, series->value);
    }
    counter->value = number;
    fill_grow(fill);
    fill->counters[fill->count++] = counter;
}

static void source_add(struct counters_fill *fill, const struct counter_source *source)
{
    const struct counter_table *table = counter_table(source->scope);
    ASSERT(table->count <= COUNTER_NUMBERS_MAX);
    for (size_t i = 0; i < source->owners; i++) {
        char owner[COUNTER_OWNER_BYTES];
        uint64_t numbers[COUNTER_NUMBERS_MAX];
        if (!source->read(source->context, i, owner, numbers)) {
            continue;
        }
        const char *kept = arena_str(fill->call->arena, bytes_str(owner));
        for (size_t j = 0; j < table->count; j++) {
            counter_add(fill, table, &table->series[j], kept, numbers[j]);
        }
    }
}

void on_get_counters(struct call *call)
{
    const Silo__V1__GetCountersRequest *request = call->message;
    const struct service *service = call->service;
    struct counters_fill fill = {.call = call, .prefix = bytes_str(request->name_prefix)};
    for (size_t i = 0; i < service->counters_count; i++) {
        source_add(&fill, &service->counters[i]);
    }
    Silo__V1__GetCountersResponse reply = SILO__V1__GET_COUNTERS_RESPONSE__INIT;
    reply.counters = fill.counters;
    reply.n_counters = fill.count;
    svc_reply(call, &reply.base);
}
