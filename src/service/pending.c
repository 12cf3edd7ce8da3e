/*
 * service/pending.c - why a job does not run, as a message and in a sentence.
 *
 * Sentences begin with "It" and hold what a person needs to act: names in quotes (the first
 * NAME_BYTES_MAX bytes of them), counts, and times in UTC with how far away they are.
 */
#include <inttypes.h>
#include <time.h>

#include "service/call_int.h"

#define NAME_BYTES_MAX 200u

/* What a terminal could take for a command; of UTF-8 the two bytes of U+0080 to U+009F. */
static bool is_control(const char *at)
{
    const uint8_t c = (uint8_t)at[0];
    const uint8_t next = (uint8_t)at[1];
    return c < ' ' || c == 0x7f || (c == 0xc2 && next >= 0x80 && next < 0xa0);
}

/*
 * In quotes; a longer one is cut between two characters, for the text has to stay UTF-8. Control
 * characters become "?".
 */
static const char *quoted(struct arena *arena, struct bytes name)
{
    size_t len = name.len;
    const bool cut = len > NAME_BYTES_MAX;
    if (cut) {
        len = NAME_BYTES_MAX;
        while (len != 0 && (name.ptr[len] & 0xc0) == 0x80) {
            len--;
        }
    }
    char *text =
        arena_printf(arena, "\"%.*s%s\"", (int)len, (const char *)name.ptr, cut ? "..." : "");
    for (char *at = text; *at != '\0'; at++) {
        if (is_control(at)) {
            at[(uint8_t)*at == 0xc2 ? 1 : 0] = '?';
            *at = '?';
        }
    }
    return text;
}

static const char *span(struct arena *arena, int64_t ms)
{
    static const struct {
        int64_t ms;
        const char *name;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "min"}, {1000, "s"}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (ms >= 2 * units[i].ms || (ms >= units[i].ms && units[i].ms == 1000)) {
            return arena_printf(arena, "%" PRId64 " %s", ms / units[i].ms, units[i].name);
        }
    }
    return arena_printf(arena, "%" PRId64 " ms", ms);
}

/* A point in time, and how far it is from now. */
static const char *moment(struct arena *arena, int64_t ms, int64_t now_ms)
{
    const time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    char text[40];
    if (ms < 0 || gmtime_r(&seconds, &tm) == NULL ||
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0) {
        return arena_printf(arena, "%" PRId64 " ms", ms);
    }
    int64_t away = 0;
    if (ms > now_ms) {
        return __builtin_sub_overflow(ms, now_ms, &away)
                   ? arena_printf(arena, "%s", text)
                   : arena_printf(arena, "%s (in %s)", text, span(arena, away));
    }
    return arena_printf(arena, "%s (%s ago)", text, span(arena, now_ms - ms));
}

static const char *limit_name(struct arena *arena, const struct job_pending *p)
{
    if (!p->is_rate) {
        return quoted(arena, p->limit);
    }
    return p->unique_key.len == 0 ? quoted(arena, p->limit)
                                  : arena_printf(arena, "%s for %s", quoted(arena, p->limit),
                                                 quoted(arena, p->unique_key));
}

/* How many go first. */
static const char *ahead(struct arena *arena, const struct job_pending *p)
{
    if (!p->has_ahead) {
        return p->in_line != 0
                   ? arena_printf(arena,
                                  "%" PRIu64 " jobs stand in line; its place among them is "
                                  "being read, ask again",
                                  p->in_line)
                   : "others may go first";
    }
    if (p->ahead == 0 && !p->ahead_more) {
        return "nobody goes first";
    }
    if (p->ahead == 0) {
        return "others may go first";
    }
    return arena_printf(arena, "%s%u job%s first", p->ahead_more ? "at least " : "", p->ahead,
                        p->ahead == 1 ? " goes" : "s go");
}

/* The last poll of the group, as the end of a sentence about it. */
static const char *polled(struct arena *arena, const struct job_pending *p)
{
    if (p->polled_ms != 0) {
        return arena_printf(arena, "a worker last asked at %s",
                            moment(arena, p->polled_ms, p->now_ms));
    }
    return arena_printf(arena, "no worker has asked since at least %s",
                        moment(arena, p->seen_from_ms, p->now_ms));
}

static const char *text_slot(struct arena *arena, const struct job_pending *p)
{
    if (p->maximum == 0) {
        return arena_printf(
            arena,
            "It waits for a slot of the concurrency limit %s, and its own maximum is 0: "
            "it never runs. Cancel it, and enqueue it with a larger one.",
            limit_name(arena, p));
    }
    return arena_printf(arena,
                        "It waits for a slot of the concurrency limit %s: %u of %u are taken; %s.",
                        limit_name(arena, p), p->holders, p->maximum, ahead(arena, p));
}

static const char *text_floating(struct arena *arena, const struct job_pending *p)
{
    const char *refresh = "";
    switch (p->refresh) {
    case REFRESH_NONE:
        refresh = p->until_ms != 0 ? arena_printf(arena, "It is refreshed at %s.",
                                                  moment(arena, p->until_ms, p->now_ms))
                                   : "It is about to be refreshed.";
        break;
    case REFRESH_TASK:
        refresh = arena_printf(arena, "A refresh waits for a worker of task group %s: %s.",
                               quoted(arena, p->group), polled(arena, p));
        break;
    case REFRESH_LEASE:
        refresh = "A worker is refreshing it.";
        break;
    }
    return arena_printf(arena,
                        "It waits for a slot of the floating limit %s, whose value is %u; "
                        "%u are taken, %s. %s",
                        limit_name(arena, p), p->maximum, p->holders, ahead(arena, p), refresh);
}

static const char *text_rate(struct arena *arena, const struct job_pending *p)
{
    const char *name = limit_name(arena, p);
    if (p->asking) {
        return arena_printf(arena, "The rate limit %s is being asked about it.", name);
    }
    if (p->in_line == 0) {
        return arena_printf(arena,
                            "It stands before the rate limit %s, "
                            "which is asked about it when a worker of task group %s wants work.",
                            name, quoted(arena, p->group));
    }
    if (p->until_ms == 0) {
        return arena_printf(arena,
                            "It stands in line behind the rate limit %s; %s. "
                            "The limit is asked when a worker of task group %s wants work.",
                            name, ahead(arena, p), quoted(arena, p->group));
    }
    return arena_printf(arena,
                        "It stands in line behind the rate limit %s, which %s; %s. "
                        "It is asked again at %s.",
                        name, p->errors != 0 ? "could not be asked" : "is used up", ahead(arena, p),
                        moment(arena, p->until_ms, p->now_ms));
}

static const char *text_refused(struct arena *arena, const struct job_pending *p)
{
    const char *name = limit_name(arena, p);
    const char *when = moment(arena, p->until_ms, p->now_ms);
    if (p->refusals == 0) {
        return arena_printf(arena, "The rate limit %s could not be asked about it; next at %s.",
                            name, when);
    }
    return arena_printf(arena, "The rate limit %s refused it, %u time%s so far; next asked at %s.",
                        name, p->refusals, p->refusals == 1 ? "" : "s", when);
}

/* Ready, or in line for a limit that nobody has it asked about. */
static const char *text_workers(struct arena *arena, const struct job_pending *p)
{
    const char *state =
        p->limit.ptr != NULL
            ? arena_printf(
                  arena,
                  "It stands before the rate limit %s, which is asked when a worker wants work",
                  limit_name(arena, p))
            : "It is ready";
    const char *group = quoted(arena, p->group);
    if (p->cause == PENDING_NO_WORKER) {
        return arena_printf(arena, "%s, and nobody polls its task group %s: %s.", state, group,
                            polled(arena, p));
    }
    return arena_printf(
        arena,
        "%s, and the workers of its task group %s ask for no more: %s%u of its jobs %s running, "
        "and %s.",
        state, group, p->running_more ? "at least " : "", p->running,
        p->running == 1 ? "is" : "are", polled(arena, p));
}

static const char *text_retry(struct arena *arena, const struct job_pending *p,
                              const struct info *info)
{
    return arena_printf(arena, "Attempt %u failed; attempt %u (retry %u of %u) starts at %s.",
                        p->attempt - 1, p->attempt, p->retry, info->retry.retry_count,
                        moment(arena, p->until_ms, p->now_ms));
}

static const char *pending_text(struct arena *arena, const struct job_pending *p,
                                const struct info *info)
{
    switch (p->cause) {
    case PENDING_NONE:
        return "";
    case PENDING_START:
        return arena_printf(arena, "It starts at %s.", moment(arena, p->until_ms, p->now_ms));
    case PENDING_RETRY:
        return text_retry(arena, p, info);
    case PENDING_SLOT:
        return text_slot(arena, p);
    case PENDING_FLOATING:
        return text_floating(arena, p);
    case PENDING_RATE:
        return text_rate(arena, p);
    case PENDING_RATE_REFUSED:
        return text_refused(arena, p);
    case PENDING_BEHIND:
        return arena_printf(arena, "It is ready; of its task group %s %s.", quoted(arena, p->group),
                            ahead(arena, p));
    case PENDING_NO_WORKER:
    case PENDING_WORKERS_BUSY:
        return text_workers(arena, p);
    case PENDING_NEXT:
        return p->group.ptr != NULL
                   ? arena_printf(
                         arena,
                         "It is ready, and goes to the next worker of its task group %s that asks.",
                         quoted(arena, p->group))
                   : "It is due, and will be ready in a moment.";
    case PENDING_UNKNOWN:
        return "What is stored of it is damaged: its task is missing.";
    }
    return "";
}

static void encode_limit(struct arena *arena, const struct job_pending *p,
                         Silo__V1__JobPending *out)
{
    if (p->limit.ptr == NULL) {
        return;
    }
    out->limit_key_opt_case = SILO__V1__JOB_PENDING__LIMIT_KEY_OPT_LIMIT_KEY;
    out->limit_key = encode_text(arena, p->limit);
    if (p->is_rate) {
        out->rate_limit_unique_key = encode_text(arena, p->unique_key);
        return;
    }
    out->max_concurrency_opt_case = SILO__V1__JOB_PENDING__MAX_CONCURRENCY_OPT_MAX_CONCURRENCY;
    out->max_concurrency = p->maximum;
    out->slots_taken = p->holders;
    out->holder_job_ids = arena_alloc(arena, PENDING_HOLDERS_MAX * sizeof out->holder_job_ids[0]);
    for (uint32_t i = 0; i < p->holder_id_count; i++) {
        out->holder_job_ids[out->n_holder_job_ids++] = encode_text(arena, p->holder_ids[i]);
    }
}

static void encode_group(struct arena *arena, const struct job_pending *p,
                         Silo__V1__JobPending *out)
{
    if (p->group.ptr == NULL) {
        return;
    }
    out->task_group = encode_text(arena, p->group);
    out->polls_seen_from_ms = p->seen_from_ms;
    if (p->polled_ms != 0) {
        out->last_polled_at_ms_opt_case =
            SILO__V1__JOB_PENDING__LAST_POLLED_AT_MS_OPT_LAST_POLLED_AT_MS;
        out->last_polled_at_ms = p->polled_ms;
    }
    out->running = p->running;
    out->running_more = p->running_more;
}

Silo__V1__JobPending *encode_pending(struct arena *arena, const struct job_pending *p,
                                     const struct info *info)
{
    Silo__V1__JobPending *out = arena_alloc(arena, sizeof *out);
    silo__v1__job_pending__init(out);
    out->cause = (Silo__V1__PendingCause)p->cause;    /* the same numbers */
    out->text = (char *)pending_text(arena, p, info); /* only read */
    out->attempt_number = p->attempt;
    if (p->until_ms != 0) {
        out->until_ms_opt_case = SILO__V1__JOB_PENDING__UNTIL_MS_OPT_UNTIL_MS;
        out->until_ms = p->until_ms;
    }
    if (p->has_ahead) {
        out->ahead_opt_case = SILO__V1__JOB_PENDING__AHEAD_OPT_AHEAD;
        out->ahead = p->ahead;
        out->ahead_more = p->ahead_more;
    }
    if (p->in_line != 0) {
        out->in_line_opt_case = SILO__V1__JOB_PENDING__IN_LINE_OPT_IN_LINE;
        out->in_line = p->in_line;
    }
    encode_limit(arena, p, out);
    encode_group(arena, p, out);
    return out;
}
