/*
 * core/read.h - rows the core asks its driver for: those that commands miss, and pages.
 *
 * A look-up knows the view alone. What it misses is asked for on behalf of the command; all rows
 * that commands miss at the end of a turn leave as one read, and each command is woken when its
 * last row is there.
 *
 * Ownership  a read is the driver's from core_read_next to core_read_end, which frees it.
 * Threads    the shard's executor only.
 * Limits     as many rows as the commands inside ask for; PAGE_ROWS_MAX a page.
 */
#ifndef SILO_CORE_READ_H
#define SILO_CORE_READ_H

#include "core/core.h"

void reads_free(struct core *core);
/* A key looked up for a command; UNKNOWN has been asked for, unless cmd is NULL. */
enum view_answer look(struct core *core, struct command *cmd, struct bytes key,
                      struct bytes *ret_value);
/* A read for the struct of `size` bytes that begins with it; all of it is zero. */
void *read_new(size_t size);
/* It looks up the keys that read_want names, at most so many. */
void read_look_up(struct core_read *read, size_t keys_max);
void read_want(struct core_read *read, struct bytes key);
/* It scans; the keys are copied. */
void read_scan(struct core_read *read, struct bytes lo, struct bytes hi, uint32_t rows_max);
/* Its driver may have it. on_row and on_end are set. */
void read_queue(struct core *core, struct core_read *read);

#endif
