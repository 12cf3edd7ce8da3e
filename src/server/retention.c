/* server/retention.c - the start of the log says how long ended jobs are kept. */
#include <inttypes.h>
#include <stdio.h>

#include "server/server_int.h"

#define KEPT_TEXT_MAX 32

/* "7 d" for a number of seconds; into `ret`. */
static const char *kept_text(int64_t seconds, char ret[KEPT_TEXT_MAX])
{
    static const struct {
        int64_t seconds;
        const char *name;
    } units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
    if (seconds == 0) {
        return "for ever";
    }
    size_t unit = 0;
    while (seconds % units[unit].seconds != 0) {
        unit++;
    }
    (void)snprintf(ret, KEPT_TEXT_MAX, "%" PRId64 " %s", seconds / units[unit].seconds,
                   units[unit].name);
    return ret;
}

/*
 * What ended jobs have to expect: those who do not know are surprised, by a full disk or by a job
 * that is gone.
 */
void retention_say(const struct config_database *database)
{
    char succeeded[KEPT_TEXT_MAX];
    char others[KEPT_TEXT_MAX];
    const bool for_ever =
        database->completed_job_expire_s == 0 || database->terminal_job_expire_s == 0;
    log_info(
        "retention", LOG_STR("succeeded", kept_text(database->completed_job_expire_s, succeeded)),
        LOG_STR("failed_and_cancelled", kept_text(database->terminal_job_expire_s, others)),
        LOG_STR("text", for_ever ? "jobs that end are kept; what is kept for ever grows for ever"
                                 : "jobs that end are removed after that, with their results"),
        LOG_STR("settings", "database.completed_job_expire_s, database.terminal_job_expire_s"),
        LOG_END);
}
