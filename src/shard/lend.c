/*
 * shard/lend.c - a moment of the shard's database for a thread that may wait (CMD_LEND).
 *
 * The snapshot has what was applied when the command came. It leaves like the answer to a read:
 * once all of that is durable and the shard is known to be ours. A command that is answered
 * otherwise leaves none behind.
 */
#include "shard/shard_int.h"

void lend(struct incarnation *inc, struct command *cmd)
{
    struct lend_result *lent = &cmd->result.lent;
    *lent = (struct lend_result){0};
    const silo_rc rc = store_ops_of(inc->db)->snapshot(inc->db, cmd->args.lend.queue, &lent->snap,
                                                       &lent->seq, NULL);
    if (rc.code != SILO_OK) {
        request_fail(cmd, SILO_UNAVAILABLE, "the storage of the shard cannot be read now");
        return;
    }
    cmd->rc = RC_OK;
    cmd->wait_batch = core_view(inc->core)->applied;
    commit_answer(inc, cmd);
}

void lend_take_back(struct command *cmd)
{
    struct lend_result *lent = &cmd->result.lent;
    if (lent->snap != NULL) {
        store_ops_of(lent->snap)->snapshot_free(lent->snap);
        lent->snap = NULL;
    }
}
