/*
 * sim/member.h - one process as a member of the cluster: what the coordinator and the shards tell
 * goes to `cluster`, what `cluster` asks for is done by hand.
 *
 * Ownership  process and coordinator are lent.
 * Threads    one.
 */
#ifndef SILO_SIM_MEMBER_H
#define SILO_SIM_MEMBER_H

#include "cluster/cluster.h"
#include "sim/coord_member.h"
#include "sim/process.h"

struct member;

struct member *member_new(struct process *process, struct coordinator *coordinator);
/* The process is dead or done: nothing of it is on its way any more. Returns NULL. */
struct member *member_free(struct member *member);
/* Takes all that is new and does what follows. When to be called again, in the world's time. */
int64_t member_turn(struct member *member);
/* Something waits for a turn. */
bool member_due(const struct member *member);
struct coord_member *member_coord(struct member *member);
/* What it asks of the store itself. */
struct store_queue *member_queue(struct member *member);
/* Begins to close and give up all shards. */
void member_leave(struct member *member);
bool member_left(const struct member *member);

#endif
