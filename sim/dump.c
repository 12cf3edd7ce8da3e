/* sim/dump.c - the tokens and queues of a shard as text, for the end of a trace that failed. */
#include "sim/audit.h"

static void dump_limits(const struct audit_job *job, char *text, size_t size)
{
    size_t at = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < job->limits->count && at + 64 < size; i++) {
        const struct limit *limit = &job->limits->items[i];
        static const char *const kinds[] = {"fixed", "floating", "rate"};
        const int wrote = snprintf(
            text + at, size - at, " %s%s %.*s", i == job->passed ? "> " : "", kinds[limit->kind],
            BYTES_FMT(limit->kind == LIMIT_RATE ? limit->rate->name : limit->key));
        at += (size_t)wrote;
        if (limit->kind != LIMIT_RATE) {
            at += (size_t)snprintf(text + at, size - at, "/%u%s", limit->line.max,
                                   limit->repeated ? " again" : "");
        }
    }
}

void audit_dump(const struct audit *a, struct trace *trace)
{
    for (size_t i = 0; i < a->job_count; i++) {
        const struct audit_job *job = &a->jobs[i];
        char limits[300];
        if (job->tokens == 0) {
            continue;
        }
        dump_limits(job, limits, sizeof limits);
        trace_line(trace, "  %.*s: %s at %s, %.*s p%u due %lld #%llu, attempt %u, passed %u of%s%s",
                   JOB_FMT(job), job_status_name(job->status), token_at_name(job->where),
                   BYTES_FMT(job->info.group), job->place.priority, (long long)job->place.due_ms,
                   (unsigned long long)job->place.arrival, job->attempt, job->passed, limits,
                   job->mark ? ", cancelled" : "");
    }
    for (size_t i = 0; i < a->queue_count; i++) {
        const struct audit_queue *queue = &a->queues[i];
        uint8_t scratch[512];
        struct bytes tenant = BYTES_NONE;
        struct bytes name = BYTES_NONE;
        (void)queue_ref_parse(queue->ref, scratch, &tenant, &name);
        trace_line(trace, "  queue %.*s/%.*s: %u holders, value %u%s%s", BYTES_FMT(tenant),
                   BYTES_FMT(name), queue->holders, queue->has_floating ? queue->floating.value : 0,
                   queue->granting ? ", granting" : "", queue->refreshing ? ", refreshing" : "");
        for (size_t l = 0; l < queue->line_count; l++) {
            trace_line(trace, "    line %s%u: %llu waiters",
                       queue->lines[l].id.floating ? "floating " : "", queue->lines[l].id.max,
                       (unsigned long long)queue->lines[l].waiters);
        }
    }
}
