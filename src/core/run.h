/*
 * core/run.h - how a command is answered, waits, or goes on: the states that one inside the core
 * can be in.
 *
 *   run ──ANSWER──► answered ──► driver
 *    │ ▲
 *    │ └── woken ◄── blocked: its rows are being read (NEED)
 *    └──PARK──► parked: a poll, or a wait for the end of a job or for a cancellation
 *
 * 1. A run that NEEDs has changed nothing.
 * 2. Every command inside is in exactly one of blocked, woken, parked and answered, or is running.
 *
 * Ownership  commands are lent until they are answered; one the core made is its own
 *            (core/inner.h).
 * Threads    the shard's executor only.
 * Limits     SHARD_PARKED_MAX parked commands.
 */
#ifndef SILO_CORE_RUN_H
#define SILO_CORE_RUN_H

#include "core/command.h"

struct core;

enum run { RUN_ANSWER, RUN_NEED, RUN_PARK };

void run_init(struct core *core);
void run_free(struct core *core);
/* Sets the answer to a failure; the text is static or in the command's arena. */
enum run run_fail(struct command *cmd, enum silo_code code, const char *text);
/* Sets the answer to OK. */
enum run run_ok(struct command *cmd);
/* The command changed rows: its answer waits for the open batch. */
enum run run_changed(struct command *cmd);
/* Its rows are let go of, and its answer leaves when what it changed or saw is durable. */
void core_answer(struct core *core, struct command *cmd);
/* Nothing was done: it is to be sent to where the shard goes. */
void core_send_away(struct core *core, struct command *cmd);
/* It waits, until something happens or its time is up. */
void core_park(struct core *core, struct command *cmd, int64_t deadline_mono_ms);
/* It waits no longer, and is its caller's to run or to answer. */
void core_unpark(struct core *core, struct command *cmd);
/* A blocked one runs again, with the next of those that were woken. */
void core_wake(struct core *core, struct command *cmd);
/* As many commands are parked as may be. */
bool core_crowded(const struct core *core);
#define ERROR_CROWDED "too many polls and results are waited for in this shard"

/* The rows contradict each other: nothing is written any more, and whoever drives the core sees. */
void core_break(struct core *core, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define ERROR_READ "the storage could not be read"
#define ERROR_ANSWERS_FULL "too many bytes of answers are under way in this process; try again"
#define ERROR_ANSWER_TOO_LARGE                                                                    \
    "the reply is too large: more than 128 MiB; omit_payload and omit_results leave out what is " \
    "large"

#endif
