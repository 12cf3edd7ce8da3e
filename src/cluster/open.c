/*
 * cluster/open.c - a shard whose record names this node: opened; and whenever somebody else may
 * have written to its database since, only after its writer and then its record were read.
 *
 * The order of the two is what makes it safe: whoever comes after both answers is not taken over,
 * and who came before is seen in one of them.
 */
#include "cluster/cluster_int.h"

void open_begin(struct cluster *cluster, struct guard *guard)
{
    guard_move(cluster, guard, GUARD_OPENING);
    guard->emptied = false;
    struct cluster_action *action = guard_action(cluster, guard, ACTION_OPEN);
    action->guarded = cluster->guarded;
    action->expected = guard->writer;
}

void open_doubt(struct cluster *cluster, struct guard *guard)
{
    guard_move(cluster, guard, GUARD_DOUBTED);
    guard->asked = false;
    guard->retry_ms = cluster->now_ms;
}

static void read_owner(struct cluster *cluster, struct guard *guard)
{
    guard->owner_questions++;
    (void)guard_action(cluster, guard, ACTION_READ_OWNER);
}

static void ask(struct cluster *cluster, struct guard *guard)
{
    guard->asked = true;
    if (cluster->guarded) {
        claim_read_writer(cluster, guard);
    } else {
        read_owner(cluster, guard);
    }
}

void open_writer_read(struct cluster *cluster, struct guard *guard,
                      const struct cluster_event *event)
{
    if (event->kind == EVENT_WRITER) {
        guard->writer = event->epoch;
        read_owner(cluster, guard);
    } else {
        guard->asked = false;
        guard->retry_ms = cluster->now_ms + CLUSTER_OPEN_RETRY_MS_MIN;
    }
}

/*
 * The record names this node, but a name is not a life: another process may have taken the id while
 * this one stood still. So what others may have opened is closed here and claimed anew, which only
 * the member itself can do.
 */
void open_owned(struct cluster *cluster, struct guard *guard)
{
    if (cluster->leaving || guard->settings == NULL) {
        give_on(cluster, guard);
    } else if (!cluster->guarded) {
        open_begin(cluster, guard);
    } else if (guard->ref.generation != 0) {
        give_up(cluster, guard);
    } else if (join_is_fresh(cluster)) {
        claim_ask(cluster, guard);
    } else {
        guard_move(cluster, guard, GUARD_IDLE); /* claimed again when it is a member again */
    }
}

static int64_t retry_pause_ms(uint32_t failures)
{
    int64_t pause_ms = CLUSTER_OPEN_RETRY_MS_MIN;
    for (uint32_t i = 1; i < failures && pause_ms < CLUSTER_OPEN_RETRY_MS_MAX; i++) {
        pause_ms *= 2;
    }
    return pause_ms < CLUSTER_OPEN_RETRY_MS_MAX ? pause_ms : CLUSTER_OPEN_RETRY_MS_MAX;
}

void open_failed(struct cluster *cluster, struct guard *guard, silo_rc rc)
{
    if (guard->phase != GUARD_OPENING) {
        return; /* told to close meanwhile */
    }
    if (rc.code == SILO_CONFLICT) {
        open_doubt(cluster, guard);
        return;
    }
    guard_move(cluster, guard, GUARD_WAITING);
    guard->failures++;
    guard->retry_ms = cluster->now_ms + retry_pause_ms(guard->failures);
}

void open_again(struct cluster *cluster, struct guard *guard)
{
    if (cluster->guarded) {
        open_doubt(cluster, guard);
        ask(cluster, guard);
    } else {
        open_begin(cluster, guard);
    }
}

void open_consider(struct cluster *cluster, struct guard *guard)
{
    if (cluster->now_ms < guard->retry_ms) {
        return;
    }
    if (guard->phase == GUARD_WAITING && cluster->confirmed) {
        open_again(cluster, guard); /* what failed may be the newest writer by now */
    } else if (guard->phase == GUARD_DOUBTED && !guard->asked) {
        ask(cluster, guard);
    }
}
