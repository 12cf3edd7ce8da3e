/* sim/basics.c - see basics.h. */
#include "sim/basics.h"

#include <stdarg.h>

/* --- random numbers --- */

uint64_t random_next(struct sim_random *random)
{
    random->state += 0x9e3779b97f4a7c15ULL;
    uint64_t z = random->state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

uint32_t random_below(struct sim_random *random, uint32_t bound)
{
    ASSERT(bound != 0);
    return (uint32_t)(random_next(random) % bound);
}

bool random_one_in(struct sim_random *random, uint32_t of)
{
    return random_below(random, of) == 0;
}

int64_t random_between(struct sim_random *random, int64_t least, int64_t greatest)
{
    ASSERT(least <= greatest);
    return least + (int64_t)(random_next(random) % (uint64_t)(greatest - least + 1));
}

/* --- the trace --- */

void trace_init(struct trace *trace, bool print)
{
    *trace = (struct trace){.print = print, .hash = XXH64_createState()};
    ASSERT(trace->hash != NULL);
    (void)XXH64_reset(trace->hash, 0);
}

void trace_deinit(struct trace *trace)
{
    (void)XXH64_freeState(trace->hash);
}

void trace_line(struct trace *trace, const char *fmt, ...)
{
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    const int wanted = vsnprintf(line, sizeof line - 1, fmt, ap);
    va_end(ap);
    ASSERT(wanted >= 0);
    size_t len = (size_t)wanted < sizeof line - 1 ? (size_t)wanted : sizeof line - 2;
    line[len++] = '\n';
    (void)XXH64_update(trace->hash, line, len);
    trace->lines++;
    if (trace->print) {
        (void)fwrite(line, 1, len, stdout);
    }
}

uint64_t trace_hash(const struct trace *trace)
{
    return XXH64_digest(trace->hash);
}

/* --- what went wrong --- */

bool verdict_fail(struct verdict *verdict, const char *rule, const char *fmt, ...)
{
    if (!verdict->failed) {
        verdict->failed = true;
        (void)snprintf(verdict->rule, sizeof verdict->rule, "%s", rule);
        va_list ap;
        va_start(ap, fmt);
        (void)vsnprintf(verdict->text, sizeof verdict->text, fmt, ap);
        va_end(ap);
    }
    return false;
}

/* --- events: a binary heap by time, then by number --- */

void events_deinit(struct events *events)
{
    free(events->heap);
}

static bool event_before(const struct event *a, const struct event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->number < b->number;
}

static void event_put(struct events *events, struct event *event, size_t place)
{
    events->heap[place - 1] = event;
    event->place = place;
}

static void event_up(struct events *events, struct event *event)
{
    size_t place = event->place;
    while (place > 1 && event_before(event, events->heap[place / 2 - 1])) {
        event_put(events, events->heap[place / 2 - 1], place);
        place /= 2;
    }
    event_put(events, event, place);
}

static void event_down(struct events *events, struct event *event)
{
    size_t place = event->place;
    while (2 * place <= events->count) {
        size_t child = 2 * place;
        if (child < events->count && event_before(events->heap[child], events->heap[child - 1])) {
            child++;
        }
        if (!event_before(events->heap[child - 1], event)) {
            break;
        }
        event_put(events, events->heap[child - 1], place);
        place = child;
    }
    event_put(events, event, place);
}

void event_at(struct events *events, struct event *event, int64_t at_us,
              void (*run)(struct event *event))
{
    event_cancel(events, event);
    if (events->count == events->cap) {
        events->cap = events->cap != 0 ? events->cap * 2 : 64;
        events->heap = xrealloc(events->heap, events->cap * sizeof(struct event *));
    }
    event->at_us = at_us;
    event->number = events->next_number++;
    event->run = run;
    event_put(events, event, ++events->count);
    event_up(events, event);
}

void event_cancel(struct events *events, struct event *event)
{
    if (event->place == 0) {
        return;
    }
    struct event *last = events->heap[events->count - 1];
    const size_t place = event->place;
    events->count--;
    event->place = 0;
    if (last != event) {
        event_put(events, last, place);
        event_up(events, last);
        event_down(events, last);
    }
}

int64_t events_next_us(const struct events *events)
{
    return events->count != 0 ? events->heap[0]->at_us : INT64_MAX;
}

bool events_run_one(struct events *events, int64_t now_us)
{
    if (events->count == 0 || events->heap[0]->at_us > now_us) {
        return false;
    }
    struct event *event = events->heap[0];
    event_cancel(events, event);
    event->run(event);
    return true;
}
