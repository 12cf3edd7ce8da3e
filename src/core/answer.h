/*
 * core/answer.h - what a read of a job has to read beside its rows.
 *
 * Threads    any: they touch only the command.
 * Limits     MESSAGE_BYTES_MAX in a reply.
 */
#ifndef SILO_CORE_ANSWER_H
#define SILO_CORE_ANSWER_H

#include "base/bytes.h"

struct command;

/* answer.c: what a read of a job has to read beside its rows; its result.job is filled so far. */
bool job_wants_payload(const struct command *cmd);
bool job_wants_data(const struct command *cmd);
/* False: the wanted rows are more than a reply holds, and the command has failed. */
bool answer_fits(struct command *cmd);

#endif
