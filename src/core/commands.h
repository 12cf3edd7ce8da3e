/*
 * core/commands.h - what runs a command of each kind: one function for each, in the file of its
 * name, and one table of them (core/commands.c).
 *
 * Threads    the shard's executor only.
 */
#ifndef SILO_CORE_COMMANDS_H
#define SILO_CORE_COMMANDS_H

#include "core/run.h"

enum run enqueue_run(struct core *core, struct command *cmd);
enum run get_run(struct core *core, struct command *cmd);
enum run cancel_run(struct core *core, struct command *cmd);
enum run delete_run(struct core *core, struct command *cmd);
enum run restart_run(struct core *core, struct command *cmd);
enum run expedite_run(struct core *core, struct command *cmd);
enum run lease_job_run(struct core *core, struct command *cmd);
enum run import_run(struct core *core, struct command *cmd);
enum run any_running_run(struct core *core, struct command *cmd);
enum run drop_run(struct core *core, struct command *cmd);
enum run poll_run(struct core *core, struct command *cmd);
enum run poll_stop_run(struct core *core, struct command *cmd);
enum run give_back_run(struct core *core, struct command *cmd);
enum run return_task_run(struct core *core, struct command *cmd);
enum run renew_run(struct core *core, struct command *cmd);
enum run heartbeat_run(struct core *core, struct command *cmd);
enum run await_run(struct core *core, struct command *cmd);
enum run report_run(struct core *core, struct command *cmd);
enum run report_refresh_run(struct core *core, struct command *cmd);
enum run totals_run(struct core *core, struct command *cmd);
enum run grant_run(struct core *core, struct command *cmd);
enum run locate_run(struct core *core, struct command *cmd);
enum run check_run(struct core *core, struct command *cmd);
enum run checked_run(struct core *core, struct command *cmd);
enum run expire_run(struct core *core, struct command *cmd);
enum run redate_run(struct core *core, struct command *cmd);
enum run orphan_run(struct core *core, struct command *cmd);

/* Runs it, once or once more. */
enum run command_run(struct core *core, struct command *cmd);
/* One of the core's own is over, well or not: told to whoever made it. */
void command_ended(struct core *core, const struct command *cmd);

#endif
