/*
 * core/low.h - low-water rows: where the live rows of a lane begin.
 *
 * Threads    the shard's executor only.
 * Limits     a row for each task group, with a mark for each of its lanes; one for the timers.
 */
#ifndef SILO_CORE_LOW_H
#define SILO_CORE_LOW_H

#include "core/lane.h"

struct command;
struct core;
struct group;
struct group_lane;

/* Makes the low-water marks known; false: asked for on behalf of cmd. */
bool group_low_ready(struct core *core, struct group *group, struct command *cmd);
/*
 * The first place a live row can have: the window's first, else its mark, else behind all that was
 * removed.
 */
bool low_of(const struct lane *window, const struct low *low, struct place *ret_place);
void low_removed(const struct lane *window, struct low *low, const struct place *place);
void low_group_decode(struct core *core, struct group *group, bool present, struct bytes value);
void low_note_insert(struct core *core, struct group *group, const struct place *place);
void low_note_remove(struct core *core, struct group *group, struct group_lane *gl,
                     const struct place *place);
void low_write_timers(struct core *core);
void low_turn(struct core *core);
int64_t low_next_mono_ms(const struct core *core);

#endif
