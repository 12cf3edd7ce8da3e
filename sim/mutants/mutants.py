"""The planted bugs: each must be caught, by the simulator or by the unit test that is named. Texts are found exactly once
in their file, or the run fails."""

SMALL = "silo-sim-small"  # with windows so small that few jobs reach paging
MEMBERS = "silo-sim-members"  # many nodes of src/cluster, and nothing else
PLACES = "shard_places_test"  # unit tests, for what the simulator has no world for
DIRECTORY = "directory_directory_test"
ROUTE = "service_route"
READS_FAIL = "core_reads_fail_test"
TOKENS = "core_tokens_test"
RATES = "core_rates_test"
RETENTION_TEST = "core_retention_test"
CLOCK_TEST = "shard_clock_test"
UNDELIVERED = "shard_undelivered_test"
CLUSTER_TEST = "cluster_cluster_test"
LIFE_TEST = "shard_life_test"
WRITERS_TEST = "node_writers_test"
GIVING_TEST = "cluster_move_test"
QUESTION_TEST = "cluster_question_test"
NODE_TEST = "node_node_test"
PROOF_TEST = "shard_proof_test"
TOPOLOGY_TEST = "service_topology"
HOLD_TEST = "service_hold"
MOVE_TEST = "shard_move_test"
PEERS_TEST = "peers_peers_test"
READ_ROWS_TEST = "service_read_rows"
GATHER_TEST = "gather_gather_test"
MAP_TEST = "cluster_map_test"
COORD_TEST = "coord_behaviour_test"  # one case, with an etcd
UNITS = {READ_ROWS_TEST, GATHER_TEST, COORD_TEST, LIFE_TEST, MAP_TEST, WRITERS_TEST, GIVING_TEST, QUESTION_TEST, PLACES, DIRECTORY, ROUTE, HOLD_TEST, MOVE_TEST, TOPOLOGY_TEST, PEERS_TEST, READS_FAIL, TOKENS, RATES, RETENTION_TEST,
         CLOCK_TEST, UNDELIVERED, CLUSTER_TEST, NODE_TEST, PROOF_TEST}


class Mutant:
    """One bug: `old` in `file` becomes `new`. `breaks` names the rules of docs/internals/rules.md, before the colon; of
    MEMBERS and unit tests it says what should hold."""

    def __init__(self, name, breaks, file, old, new, program="silo-sim", seeds=400, processes=1, case=None):
        self.name, self.breaks, self.file, self.old, self.new = name, breaks, file, old, new
        self.program, self.seeds, self.processes, self.case = program, seeds, processes, case


ETCD_CLAIMS = "src/coord/etcd/claims.c"
TOKEN = "src/core/token.c"
WALK = "src/core/walk.c"
LIMIT_SLOTS = "src/core/limit_slots.c"
GRANT = "src/core/grant.c"
QUEUE = "src/core/queue.c"
LINE = "src/core/line.c"
SLOT = "src/core/slot.c"
REPORT = "src/core/report.c"
MARKS = "src/core/marks.c"
PENDING = "src/core/pending.c"
GIVE_BACK = "src/core/give_back.c"
LEASE = "src/core/lease.c"
JOB = "src/core/job.c"
COUNT = "src/core/count.c"
FLOATING = "src/core/floating.c"
RATE = "src/core/rate.c"
THROTTLE = "src/core/throttle.c"
RESTART = "src/core/restart.c"
EXPIRE = "src/core/expire.c"
LOW = "src/core/low.c"
INFO = "src/core/info.c"
OPEN = "src/core/open.c"
HEARTBEAT = "src/core/heartbeat.c"
EXPIRY = "src/core/expiry.c"
CANCEL = "src/core/cancel.c"
REFRESH = "src/core/refresh.c"
CHECK = "src/core/check.c"
DUE = "src/core/due.c"
TIMER = "src/core/timer.c"
BEST = "src/core/best.c"
QUEUE_ROWS = "src/core/queue_rows.c"
RETRY = "src/core/retry.c"
COMMIT = "src/shard/commit.c"
REOPEN = "src/shard/reopen.c"
EXECUTOR = "src/shard/executor.c"
VISITS = "src/shard/visits.c"
PROOF = "src/shard/proof.c"
HOME = "src/directory/home.c"
LOOPS = "src/service/loops.c"
STRAY = "src/service/stray.c"
HOLD = "src/service/hold.c"
LEAVE = "src/core/leave.c"
CORE = "src/core/core.c"
WANTS = "src/shard/wants.c"
LEASE_TASKS = "src/service/lease_tasks.c"
CHECKS = "src/shard/checks.c"
AWAIT = "src/service/await.c"
GUARD = "src/cluster/guard.c"
CLAIM = "src/cluster/claim.c"
OPENING = "src/cluster/open.c"
GIVE = "src/cluster/give.c"
BALANCE = "src/cluster/balance.c"
JOIN = "src/cluster/join.c"
MEMBERS_C = "src/cluster/members.c"
PUBLISH = "src/cluster/publish.c"
QUESTION = "src/cluster/question.c"
HEAR = "src/cluster/hear.c"
CLUSTER = "src/cluster/cluster.c"
NODE = "src/node/node.c"
HOLDINGS = "src/node/holdings.c"
LIFE = "src/shard/life.c"
REPORTED = "src/service/report.c"
ENCODE = "src/service/encode.c"
MAPPING = "src/cluster/mapping.c"
ROUTES = "src/service/route.c"
FORWARDED = "src/service/forward.c"
WATCH_TOPOLOGY = "src/service/watch_topology.c"
FORWARD = "src/peers/forward.c"
READ_ROWS = "src/service/read_rows.c"
GATHER = "src/gather/gather.c"
CHANNELS = "src/peers/channels.c"

MUTANTS = [
    # --- tokens and slots ---
    Mutant("slots-kept-at-end", "SE1; bugs 6, 11 to 15: an end releases every slot", TOKEN,
           "slots_release(core, &from->task_id, same ? to->passed : 0);",
           "if (same) {\n            slots_release(core, &from->task_id, to->passed);\n        }"),
    Mutant("slots-of-cancelled-kept", "SE1; bug 11: a cancelled waiter releases what it holds", TOKEN,
           "        slots_release(core, &from->task_id, same ? to->passed : 0);",
           "        if (from->where != TOKEN_WAITER || to->where != TOKEN_NONE) {\n"
           "            slots_release(core, &from->task_id, same ? to->passed : 0);\n        }"),
    Mutant("slot-for-repeated-queue", "JF18, DEFECT-18: one slot for a queue named twice", TOKEN,
           "->holds == HOLDS_SLOT && !limit->repeated) {\n            slot_take",
           "->holds == HOLDS_SLOT) {\n            slot_take"),
    Mutant("ready-row-left", "SE3, JF4: leasing takes the task row away", TOKEN,
           "        key_ready(&key, core->order, from->group, &from->place);\n        view_del(&core->view, key_bytes(&key));",
           "        key_ready(&key, core->order, from->group, &from->place);"),
    Mutant("waiter-row-left", "SE3, JA15: a grant takes the waiter row away", TOKEN,
           "        key_waiter(&key, core->order, queue_ref(from->queue), from->line, &from->place);\n"
           "        view_del(&core->view, key_bytes(&key));",
           "        key_waiter(&key, core->order, queue_ref(from->queue), from->line, &from->place);"),
    Mutant("timer-row-left", "SE3: a due task leaves the timers", TOKEN,
           "        key_timer(&key, &from->place);\n        view_del(&core->view, key_bytes(&key));",
           "        key_timer(&key, &from->place);"),
    # --- chains ---
    Mutant("second-limit-ignored", "bugs 5, 7: every limit of a chain counts", LIMIT_SLOTS,
           "        to->rate_retries = 0;\n        return true;",
           "        to->rate_retries = 0;\n        to->passed = to->limits->count - 1;\n        return true;"),
    Mutant("future-work-runs", "start; bug 20: future work waits for its time", WALK,
           "    return to->was_due || to->place.due_ms <= core->wall_ms;",
           "    return to->was_due || to->place.due_ms <= core->wall_ms + 3000;"),
    Mutant("arrival-overtakes", "waiters, DEFECT-14: who arrives looks at the line first", QUEUE,
           "    if (queue->freed) {\n        return false;\n    }\n    uint32_t max",
           "    uint32_t max", SMALL),
    Mutant("one-too-many", "DI1, JA12: a full queue admits nobody", QUEUE,
           "    return queue->holder_count < max;\n}\n\nbool queue_has", "    return queue->holder_count <= max;\n}\n\nbool queue_has"),
    # --- what is kept of waiting work ---
    Mutant("no-rows-when-scarce", "wake-up: work in front can be handed out however many bytes its rows take", INFO,
           "    return (ahead + 15) / 16;", "    return ahead / 16;", SMALL),
    # --- grants ---
    Mutant("grant-over-limit", "DI1: a grant needs a free slot", GRANT,
           "const bool fits = queue->holder_count < max;", "const bool fits = max != 0 && queue->holder_count <= max;"),
    Mutant("release-grants-nothing", "free slot; bugs 1, 18: release and grant are one step", SLOT,
           "    free(holder);\n    queue_freed(core, queue);\n", "    free(holder);\n"),
    Mutant("best-waiter-by-arrival", "waiters: best first, over all lines", GRANT,
           "return best == NULL || waits_before(core, &task->place, &best->place);",
           "return best == NULL || task->place.arrival < best->place.arrival;"),
    Mutant("last-in-line-first", "waiters: the line keeps its order", LINE,
           "*ret_task = lane_at(&line->window, 0);", "*ret_task = lane_at(&line->window, line->window.count - 1);"),
    Mutant("no-takeover", "takeover, DI10; bug 26: opposite orders do not deadlock", GRANT,
           "    return found.takes != NULL ? grant_take_over(core, cmd, queue, found.give) : VISIT_DONE;",
           "    (void)grant_take_over;\n    return VISIT_DONE;"),
    Mutant("takeover-frees-one", "takeover, DI10: as many slots as it needs", GRANT,
           "    if (give <= queue_waiting_behind(core, queue, &task->place) &&",
           "    if (give == 1 && give <= queue_waiting_behind(core, queue, &task->place) &&"),
    Mutant("takeover-from-better", "DI10, spin: only worse tokens lose their slots", GRANT,
           "    if (give <= queue_waiting_behind(core, queue, &task->place) &&",
           "    if (give <= queue->waiting_count &&"),
    # --- lines and counters ---
    Mutant("waiters-not-counted-down", "SE4: counters of waiters", LINE,
           "    line->count--;\n    line_counted(core, line);\n    line_drop", "    line_counted(core, line);\n    line_drop"),
    Mutant("page-forgets-recent", "DI10, free slot: pages are merged with what changed meanwhile", LINE,
           "        task = task_page_missing(core, &line->window, row, &place);\n        if (task != NULL) {",
           "        if (task != NULL) {", SMALL),
    Mutant("line-low-not-lowered", "low water: a mark follows who stands before it", LINE,
           "    if (!line->low.has || waits_before(core, &task->place, &line->low.place)) {",
           "    if (!line->low.has) {"),
    Mutant("tenant-counter-drifts", "SE5: counters of a tenant", COUNT,
           "    counts_move(core, &count->counts, from, to);\n", "    if (to != COUNT_CANCELLED) {\n        counts_move(core, &count->counts, from, to);\n    }\n"),
    Mutant("totals-drift", "SE6: totals of the shard", COUNT,
           "    counts_move(core, &core->counts.totals, from, to);\n", "    if (from != COUNT_NONE || to == COUNT_OPEN) {\n        counts_move(core, &core->counts.totals, from, COUNT_NONE);\n        counts_move(core, &core->counts.totals, COUNT_NONE, to == COUNT_FAILED ? COUNT_SUCCEEDED : to);\n    }\n"),
    Mutant("index-row-left", "SE7: one index row per job", JOB,
           "    index_move(core, job_ref, INDEX_OPEN, enqueue_ms, index_kind_of(state->status),\n               state->changed_ms);",
           "    index_move(core, job_ref, INDEX_OPEN, enqueue_ms + 1, index_kind_of(state->status),\n               state->changed_ms);"),
    # --- attempts, retries, leases ---
    Mutant("one-retry-too-many", "retry: the policy's number of runs", REPORT,
           "lease->has_retry && lease->relative <= lease->retry.retry_count;",
           "lease->has_retry && lease->relative <= lease->retry.retry_count + 1;"),
    Mutant("marked-job-retried", "JA10, W9: a cancelled job is not retried", REPORT,
           "!args->final && !lease->has_mark &&", "!args->final &&"),
    Mutant("retry-keeps-task-id", "JA20; bugs 2, 10: a retry is a new chain", REPORT,
           "    const struct uuid task_id = uuid_from_seed(cmd->seed, 0);\n    const struct limits",
           "    const struct uuid task_id = lease->rec.task_id;\n    const struct limits"),
    Mutant("failed-attempt-lost", "SE12: attempts are 1..n", REPORT,
           "    attempt_encode(&core->scratch, &attempt);\n    view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), false);\n    to->place",
           "    attempt_encode(&core->scratch, &attempt);\n    to->place"),
    Mutant("retry-too-soon", "retry: the first waits initial_interval", RETRY,
           "pow(factor, (double)relative - 1)", "pow(factor, (double)relative - 2)"),
    Mutant("give-back-spends-attempt", "SE12, give back: the same attempt number again", GIVE_BACK,
           "        .attempt = rec->attempt,\n        .relative = rec->relative,\n    };\n    if (rec->limit_count == 0) {",
           "        .attempt = rec->attempt + 1,\n        .relative = rec->relative,\n    };\n    if (rec->limit_count == 0) {"),
    Mutant("give-back-keeps-the-id", "JF11: who gave a task back cannot end what another one runs", GIVE_BACK,
           "    const struct uuid task_id = uuid_from_seed(cmd->seed, number);\n",
           "    const struct uuid task_id = lease->rec.task_id;\n    (void)number;\n"),
    Mutant("give-back-id-of-the-first", "JF11: each task that goes back has an id of its own", GIVE_BACK,
           "uuid_from_seed(cmd->seed, number);", "uuid_from_seed(cmd->seed, 0 * number);"),
    Mutant("given-back-slots-stay-filed", "SE1: the slots follow the task to its new id", SLOT,
           "        slot_erase(core, holder);\n        slot_write(core, chain_ref(chain), to, ",
           "        slot_write(core, chain_ref(chain), to, "),
    Mutant("given-back-takes-dropped-slots", "SE1: what was dropped is not taken again", GIVE_BACK,
           "    slots_rename(core, &lease->rec.task_id, &task_id);\n    lease_rename(core, lease, &task_id);\n",
           ""),
    Mutant("refresh-keeps-its-id", "answer: who gave a refresh back cannot report it", FLOATING,
           "    if (phase == REFRESH_TASK) {\n", "    if (phase == REFRESH_TASK && floating->rec.phase == REFRESH_NONE) {\n"),
    Mutant("heartbeat-renews-nothing", "lease term, DEFECT-1: a heartbeat keeps a lease", HEARTBEAT,
           "    lease_renew(core, lease);\n    cmd->result", "    cmd->result"),
    Mutant("heartbeat-of-anybody", "answer: lease owner mismatch", HEARTBEAT,
           "if (!bytes_eq(lease->rec.worker_id, args->worker_id)) {", "if (args->worker_id.len == 0) {"),
    Mutant("lease-ends-early", "lease term, DEFECT-3: ten seconds", LEASE,
           "heap_insert(&core->leases.expiry, &lease->expiry, core->mono_ms + LEASE_MS);",
           "heap_insert(&core->leases.expiry, &lease->expiry, core->mono_ms + LEASE_MS - 500);"),
    Mutant("lease-never-ends", "lease term: a dead worker is noticed", EXPIRY,
           "if (node == NULL || node->key > core->mono_ms) {\n            return;",
           "if (node == NULL || node->key + 8000 > core->mono_ms) {\n            return;"),
    Mutant("cancelled-job-crashes", "T7, DEFECT-16: a marked job whose worker dies is Cancelled", REPORT,
           "    if (lease != NULL && cmd->internal && lease->rec.has_mark) {", "    if (false) {"),
    Mutant("late-expiry-counts", "lease term, DEFECT-3: an expiry that comes after a renewal is void", REPORT,
           "    if (lease == NULL || (cmd->internal && !lease->expiring)) {",
           "    if (lease == NULL) {", SMALL, 6000),
    Mutant("ends-counted-for-ever", "lease term: leases end however many have ended before", EXPIRY,
           "    core->leases.expiries--;\n", "", SMALL),
    Mutant("failed-end-forgotten", "lease term: an end that could not read its rows is tried again", EXPIRY,
           "        heap_update(&core->leases.expiry, &lease->expiry, core->mono_ms + OWNERSHIP_RENEW_MS);\n", "",
           program=READS_FAIL),
    Mutant("failed-timers-forgotten", "due: timers that could not be read are read again", TIMER,
           "        core->timers.retry_mono_ms = core->mono_ms + READ_RETRY_MS;",
           "        core->timers.retry_mono_ms = INT64_MAX;", program=READS_FAIL),
    Mutant("failed-limits-forgotten", "refreshed: limits that could not be read after open are read again", REFRESH,
           "    if (!ok) {\n        core->refreshes.scan = SCAN_WAITS;", "    if (!ok) {\n        core->refreshes.scan = SCAN_DONE;",
           program=READS_FAIL),
    # --- cancel, delete, restart, expedite, import ---
    Mutant("cancel-without-mark", "T8: a cancel leaves its mark", CANCEL,
           "        .has_mark = true,\n        .mark_ms = core->wall_ms,\n        .attempt = token.attempt,",
           "        .mark_ms = core->wall_ms,\n        .attempt = token.attempt,"),
    Mutant("delete-keeps-attempts", "SE12, DEFECT-11: a delete takes everything", JOB,
           "        key_attempt(&key, job_ref, n);\n        delete_key(core, &key);\n", ""),
    Mutant("restart-skips-limits", "due, DEFECT-7: a restarted job walks its limits", RESTART,
           "    walk_move(core, cmd->job_ref, &(struct token){.where = TOKEN_NONE}, to);\n    blob_unref(to->info);\n}\n\nenum run restart_run",
           "    to->where = TOKEN_READY;\n    token_move(core, cmd->job_ref, &(struct token){.where = TOKEN_NONE}, to);\n    blob_unref(to->info);\n}\n\nenum run restart_run"),
    Mutant("restart-of-succeeded", "DI7: a success is for ever", RESTART,
           "    if (job.status == JOB_SUCCEEDED) {\n        return job_refuse(cmd, \"restart\"",
           "    if (job.status == JOB_RUNNING) {\n        return job_refuse(cmd, \"restart\""),
    Mutant("restart-reuses-attempt", "attempt numbers, SE12: a restart goes on counting", RESTART,
           ".attempt = job_attempts(&job) + 1,", ".attempt = job_attempts(&job) + 2,"),
    Mutant("expedite-not-stored", "SE9, DEFECT-8: token and start move together", RESTART,
           "    state_write(core, cmd->job_ref, &state);\n    walk_move(core, cmd->job_ref, from, to);",
           "    (void)state;\n    walk_move(core, cmd->job_ref, from, to);"),
    Mutant("lease-job-skips-line", "answer: a parked job is not leased by name", RESTART,
           "    if (token->where == TOKEN_WAITER && line_rules(token->queue, token->line)->gives_way) {",
           "    if (token->where == TOKEN_NONE) {"),
    Mutant("no-retry-is-retried", "no retry: a failure that its worker calls final is the end", REPORT,
           "args->status == ATTEMPT_FAILED && !args->final && !lease->has_mark &&", "args->status == ATTEMPT_FAILED && !lease->has_mark &&"),
    Mutant("no-retry-is-cancelled", "no retry: a cancelled job fails too, if its worker says so for good", REPORT,
           "lease->has_mark && !args->final && report_runs_left(lease)", "lease->has_mark && report_runs_left(lease)"),
    Mutant("every-failure-is-final", "retry: only a failure with no_retry ends the job", REPORTED,
           "args.final = args.status == ATTEMPT_FAILED && request->no_retry;", "args.final = args.status == ATTEMPT_FAILED;"),
    # --- hearing of cancellations ---
    Mutant("mark-wakes-nobody", "told: a call that waits is answered when its worker's job is cancelled", MARKS,
           "    while (!list_empty(&lease->marks->commands)) {", "    while (lease->batch == UINT64_MAX) {"),
    Mutant("open-forgets-marks", "told: what was cancelled is told after a restart, too", OPEN,
           "    if (rec.has_mark) {\n        marks_add(core, lease);", "    if (rec.has_mark && core->wall_ms == 0) {\n        marks_add(core, lease);"),
    Mutant("told-too-early", "told, durable: no cancellation is told before it is durable", MARKS,
           "        view_touch(&core->view, lease->batch);\n        result->tasks", "        result->tasks"),
    Mutant("told-of-another-time", "told: when the job was cancelled", MARKS,
           ".cancelled_ms = lease->rec.mark_ms}", ".cancelled_ms = lease->rec.started_ms}"),
    Mutant("known-is-told-again", "told: what a worker knows is not told again", MARKS,
           "    return args->known_count != 0 &&\n", "    return args->known_count > 1 &&\n"),
    Mutant("known-hides-others", "told: what a worker knows hides nothing else", MARKS,
           "lease->rec.task_id)) {\n            continue;", "lease->rec.task_id)) {\n            break;"),
    Mutant("awaits-too-long", "answer: a call waits as long as it asked to", MARKS,
           "(wait < POLL_WAIT_MS_MAX ? wait : POLL_WAIT_MS_MAX)", "POLL_WAIT_MS_MAX"),
    Mutant("await-outlives-caller", "answer: a call does not wait for a caller that has left", AWAIT,
           "args->wait_ms != 0", "args->wait_ms == 0"),
    Mutant("awaits-not-counted-down", "answer: only calls that wait take the room of such calls", MARKS,
           "    cmd->awaits = NULL;\n    core->marks.awaits--;", "    cmd->awaits = NULL;", SMALL),
    # --- why a job does not run ---
    Mutant("cancel-asked-at-start", "answer: GetJob says when a running job was cancelled", ENCODE,
           "job->cancel_requested_at_ms = view->lease_mark_ms;", "job->cancel_requested_at_ms = view->lease_started_ms;"),
    Mutant("retry-called-start", "pending: a retry is no first start", PENDING,
           "token->relative > 1", "token->relative > 2"),
    Mutant("own-line-counts-alone", "pending: who goes first may stand in another line of the queue", PENDING,
           "if (others == 0 || other_max < max) {", "if (others == 0 || !own) {"),
    Mutant("smaller-lines-go-first", "pending: a line with a smaller maximum takes no slot from a larger one", PENDING,
           "if (others == 0 || other_max < max) {", "if (others == 0) {"),
    Mutant("urgent-lanes-skipped", "pending: ready tasks of better priority go first", PENDING,
           "for (uint32_t i = 0; i <= own && i < group->known; i++)", "for (uint32_t i = own; i <= own && i < group->known; i++)"),
    Mutant("unasked-limit-ignored", "pending: a rate limit ahead is asked before a worker gets the job", PENDING,
           "limit != NULL ? PENDING_RATE : PENDING_NEXT;", "PENDING_NEXT;"),
    Mutant("holder-shown-is-asker", "pending: the jobs shown hold slots", PENDING,
           "        const struct bytes ref = chain_ref(CONTAINER_OF(n, struct holder, in_queue)->chain);", "        const struct bytes ref = cmd->job_ref;"),
    Mutant("all-groups-run", "pending: jobs of other groups keep no worker of this one busy", PENDING,
           "bytes_eq(lease->rec.group, ret->group) ? 1 : 0", "1"),
    Mutant("polls-not-seen", "pending: a worker that asked a moment ago is somebody", PENDING,
           "ret->polled = group_has_workers(core, group);", "ret->polled = false;"),
    # --- floating limits ---
    Mutant("raise-grants-nothing", "free slot: 0 -> N grants N", REFRESH,
           "    if (raised) {\n        queue_freed(core, floating->queue);", "    if (raised && value == 0) {\n        queue_freed(core, floating->queue);"),
    Mutant("refresh-only-once", "refreshed, DEFECT-15: refreshes are driven by time", REFRESH,
           "    while ((node = heap_min(&core->refreshes.due)) != NULL && node->key <= core->wall_ms) {",
           "    while ((node = heap_min(&core->refreshes.due)) != NULL && node->key == 0) {"),
    Mutant("refresh-backoff-short", "reported value: back-off after failures", REFRESH,
           "int64_t backoff = (int64_t)REFRESH_BACKOFF_MS << before;", "int64_t backoff = (int64_t)REFRESH_BACKOFF_MS * (before != 0 ? 1 : 0);"),
    Mutant("refresh-mark-left", "SE10: the note of an active limit", FLOATING,
           "        } else {\n            view_del(&core->view, key_bytes(&key));\n        }\n        queue->refresh_stored",
           "        }\n        queue->refresh_stored"),
    Mutant("failed-refresh-sets-value", "reported value: a failure keeps the value", REFRESH,
           "    floating->rec.retry_ms = add_saturated(core->wall_ms, backoff);",
           "    floating->rec.retry_ms = add_saturated(core->wall_ms, backoff);\n    floating->rec.value++;"),
    # --- rate limits ---
    Mutant("limiter-error-passes", "limiter, DEFECT-12: an error never passes a job", CHECKS,
           "    case LIMITER_ERROR:\n        break;\n    }\n    return VERDICT_ERROR;",
           "    case LIMITER_ERROR:\n        break;\n    }\n    return VERDICT_UNDER;"),
    Mutant("over-limit-passes", "limiter: over is not under", RATE,
           "    if (inner->verdict == VERDICT_UNDER) {\n        return rate_pass", "    if (inner->verdict != VERDICT_ERROR) {\n        return rate_pass"),
    Mutant("buckets-take-nothing", "own limiter: the shard's own limiter counts hits", RATE,
           "        .hits = check->ask.hits,\n        .behavior", "        .hits = 0,\n        .behavior"),
    Mutant("exhausted-check-dropped", "SE3, DEFECT-5; bug 13: the job fails", RATE,
           "    token_move(core, cmd->job_ref, from, &(struct token){.where = TOKEN_NONE});\n    job_end(core, cmd->job_ref, &state, enqueue_ms, count);",
           "    (void)enqueue_ms;\n    (void)count;\n    (void)state;\n    token_move(core, cmd->job_ref, from, &(struct token){.where = TOKEN_NONE});"),
    Mutant("backoff-not-stored", "SE9, DEFECT-21: back-off moves the job's start", RATE,
           "    state_write(core, cmd->job_ref, &state);\n", "    (void)state;\n"),
    Mutant("second-check-not-asked", "DI10: two rate limits in one job", CHECK,
           "uuid_eq(&task->task_id, &check->task_id)) {\n", "uuid_eq(&task->task_id, &check->task_id) &&\n        task->passed == check->passed) {\n"),
    Mutant("paid-twice", "limiter: who lost its slot has paid", GRANT,
           "    to.rates_paid = from.passed > from.rates_paid ? from.passed : from.rates_paid;",
           "    to.rates_paid = from.rates_paid;"),
    Mutant("buckets-swept-once", "a bucket that one sweep leaves goes with a later one", "src/core/buckets.c",
           "!sweep_advance(&core->buckets.sweep) && none", "!sweep_advance(&core->buckets.sweep) || none", RATES),
    # --- lines behind rate limits ---
    Mutant("throttle-note-left", "throttle: open finds the lines that have tokens, and no others", THROTTLE,
           "        core->gates.throttle_count--;\n        view_del(&core->view, key_bytes(&key));", "        core->gates.throttle_count--;"),
    Mutant("open-forgets-throttles", "DI10: who waits for a rate limit survives a restart", OPEN,
           "        throttle_loaded(core, bytes_of(key.ptr + 2, key.len - 2));\n", ""),
    Mutant("gate-stays-shut", "DI10: a gate opens when the limiter lets somebody through", THROTTLE,
           "node->key <= core->mono_ms) {\n        gate_open(core", "node->key < 0) {\n        gate_open(core"),
    Mutant("throttled-slots-taken", "kept slots: slots stay with those a rate limit refuses", TOKEN,
           "chain != NULL && line_rules(to->queue, to->line)->gives_way", "chain != NULL"),
    Mutant("stale-check-forgotten", "DI10: a second rate limit, asked while the first one's answer is put away", CHECK,
           "            throttle_changed(core, task_throttle(task));", "            (void)throttle_changed;"),
    # --- retention, low water, order, windows, open ---
    Mutant("expiry-not-noted", "expiry: an ended job is forgotten in time", JOB,
           "    if (state->expire_ms != 0) {\n        expire_put(core, job_ref, state->status, state->expire_ms);\n    }\n    count_move(core, count, COUNT_OPEN",
           "    count_move(core, count, COUNT_OPEN"),
    Mutant("expires-early", "expiry: a reminder is not used up before its time", EXPIRE,
           "    if (expire_ms > core->wall_ms) {\n        bound_note(expire, expire_ms);\n        expire_cursor_set(&expire->after, expire_ms, BYTES_NONE);\n        return;",
           "    if (expire_ms > core->wall_ms + 1500) {\n        bound_note(expire, expire_ms);\n        expire_cursor_set(&expire->after, expire_ms, BYTES_NONE);\n        return;"),
    Mutant("old-reminder-counts", "JF12, expiry: a job that ended once more has its whole time again", EXPIRE,
           " || job.state.expire_ms == 0 ||\n        job.state.expire_ms > core->wall_ms) {", " || job.state.expire_ms == 0) {"),
    Mutant("due-rows-passed-over", "expiry: what a page has no room for is left to the next", EXPIRE,
           "        if (behind) {\n            expire_cursor_set(&expire->after, expire_ms, BYTES_NONE);\n        }\n",
           "", SMALL, 1500),
    Mutant("end-in-a-sweep-passed-over", "a job that ends while a page is dealt with is forgotten in time",
           "src/core/retention.c",
           "    if (expire->phase == EXPIRE_PAGE && expire_cursor_behind(&expire->after, key_bytes(&key))) {\n"
           "        expire_cursor_set(&expire->after, expire_ms, BYTES_NONE);\n    }\n", "", RETENTION_TEST),
    Mutant("redates-one-page", "every retry that was stamped ahead is stamped anew", "src/core/redate.c",
           "sweep_advance(&redate->sweep) ? REDATE_WAITS : REDATE_OFF;",
           "sweep_advance(&redate->sweep) ? REDATE_OFF : REDATE_OFF;", CLOCK_TEST),
    Mutant("ready-low-row-stale", "low water: the row is lowered, not only memory", LOW,
           "        gl->low.place = *place;\n        low_write_group(core, group);", "        gl->low.place = *place;"),
    Mutant("ready-low-not-raised", "a low-water mark follows what is taken away", LOW,
           "            low_raise(&group->lanes[i]->window, &group->lanes[i]->low);", "            (void)low_raise;", TOKENS),
    Mutant("ready-low-not-lowered", "low water: read before the first insert, lowered with it", LOW,
           "    if (gl != NULL && gl->low.has && place_cmp(gl->window.by_priority, place, &gl->low.place) < 0) {",
           "    if (gl == NULL && core == NULL) {"),
    Mutant("grant-tried-once", "a grant whose rows could not be read is tried again", GRANT,
           "        queue_visit_later(core, queue);\n    }\n}\n\nenum run grant_run", "    }\n}\n\nenum run grant_run", READS_FAIL),
    Mutant("grant-ends-for-ever", "a grant whose rows could not be read is tried again", GRANT,
           "        queue->grant = NULL;\n        queue->retry", "        queue->retry", READS_FAIL),
    Mutant("chain-looked-for-once", "takeover: where a token waits is looked up until it is known", "src/core/locate.c",
           "        list_push_back(&core->locate.chains, &chain->unlocated); /* its rows could not be read */\n", ""),
    Mutant("undelivered-refresh-lost", "refresh work that did not arrive goes back when the shard is open again", EXPIRY,
           "        expiry_begin(core, expiry_give_back(core, task_id));\n", "        (void)expiry_give_back;\n", UNDELIVERED),
    Mutant("timer-late", "due: a due task does not wait", DUE,
           "        if (task->place.due_ms > core->wall_ms) {\n            break;", "        if (task->place.due_ms + 1500 > core->wall_ms) {\n            break;"),
    Mutant("worst-priority-first", "order: 0 is most urgent", BEST,
           "            return word * 64 + (uint32_t)__builtin_ctzll(busy);",
           "            return word * 64 + 63 - (uint32_t)__builtin_clzll(busy);"),
    Mutant("wake-up-lost", "wake-up, DI11: a ready task and a parked poll meet", BEST,
           "        if (task->info == NULL) {\n            lane_want_infos(core, window, cursor->index, INFO_AHEAD);\n        }\n        if (task->info == NULL) { /* not among the recent changes either */\n            return BEST_LOADING;",
           "        if (task->info == NULL) {\n            lane_want_infos(core, window, cursor->index, INFO_AHEAD);\n            return BEST_LOADING;"),
    Mutant("open-forgets-holders", "DI1; bug 3: no grant before the slots are known", OPEN,
           "    slot_loaded(core, ref, &task_id, &rec);\n", "    (void)core;\n"),
    Mutant("open-forgets-leases", "DI5, SE2, kept lease: a lease survives a restart", OPEN,
           "        open_lease(core, key, value);\n        break;", "        (void)open_lease;\n        break;"),
    Mutant("open-forgets-grants", "DI11: unfinished grants go on after open", OPEN,
           "    queue->grant_stored = true;\n    queue_freed(core, queue);", "    queue->grant_stored = true;", SMALL, 1500),
    Mutant("waited-at-queue-freed", "crash: a queue at which slot owners wait stays in memory", QUEUE_ROWS,
           "return queue->holder_count != 0 || queue->chains != 0 || queue->loading",
           "return queue->holder_count != 0 || queue->loading", SMALL, 1500),
    # --- durability ---
    Mutant("answers-too-early", "JF12, JA5, durable: no answer before it is durable", COMMIT,
           "waits = cmd->wait_batch > core_view(inc->core)->durable;", "waits = cmd->wait_batch > core_view(inc->core)->open;"),
    Mutant("applied-is-not-durable", "JF12, JA5, durable: applied is not durable", COMMIT,
           "        if (!batch->applied || batch->seq > seq) {", "        if (!batch->applied) {"),
    # --- other processes, clocks ---
    Mutant("fights-for-a-shard", "fence: what others took is left to them", REOPEN,
           "    } else if (event->seq > shard->epoch && !is_predecessor(shard, event->seq)) {",
           "    } else if (event->seq == UINT64_MAX && !is_predecessor(shard, event->seq)) {"),
    Mutant("believes-any-clock", "JF12, expiry, retry: a clock that is far off for a moment changes nothing", EXECUTOR,
           "    switch (news) {\n    case STEADY_NOTHING:", "    executor->wall_ms = env_wall_ms(executor->env);\n    switch (news) {\n    case STEADY_NOTHING:"),

    # --- shards that come and go ---
    Mutant("stale-ref-accepted", "a request meets the shard it means, or none", EXECUTOR,
           "return shard != NULL && shard->ref.generation == ref.generation ? shard : NULL;", "return shard;", program=PLACES),
    Mutant("due-shard-not-visited", "a shard whose time has come has its turn", VISITS,
           "        shard_visit(CONTAINER_OF(node, struct shard, next));", ""),
    Mutant("event-visits-nobody", "a shard whose storage answered has its turn", EXECUTOR,
           "    if (inc->phase != INC_DEAD) {\n        shard_visit(inc->shard);\n    }\n", ""),
    Mutant("idle-shards-visited", "an idle shard costs nothing", VISITS,
           "    const int64_t offset_ms = executor->wall_ms - executor->mono_ms;",
           "    const int64_t offset_ms = executor->wall_ms - executor->mono_ms;\n    executor_visit_all(executor);", program=PLACES),
    Mutant("gained-clock-not-seen", "what waits by the wall clock runs when that says so", VISITS,
           "if (offset_ms - executor->planned_offset_ms >= VISITS_GAIN_MS) {",
           "if (executor->planned_offset_ms == 0) {", program=PLACES),
    Mutant("directory-not-renewed", "a reader has the newest directory", HOME,
           "if (directory_home_version(reader->home) != reader->own->version) {", "if (reader->own->version == 0) {",
           program=DIRECTORY),
    Mutant("readers-not-woken", "who waits for a newer directory hears of it", HOME,
           "        if (reader->wake != NULL && !reader->woken) {", "        if (reader->wake == NULL) {", program=DIRECTORY),
    Mutant("stray-goes-where-it-was", "a call follows its shard", STRAY, "    *stray->shard = *shard;\n", "", program=ROUTE),
    Mutant("stray-is-endless", "a call that meets no shard is answered in time", STRAY,
           "stray->tries < STRAY_TRIES_MAX", "true", program=ROUTE),
    # --- shards that move ---
    Mutant("holds-without-bound", "a shard on its way holds no more calls than it may", HOLD,
           "    return count->calls < calls && bytes <= most && count->bytes <= most - bytes;",
           "    return calls + most + bytes != 0 && count != NULL;", program=HOLD_TEST),
    Mutant("held-call-lost", "a held call hears of every newer directory", HOLD,
           "        list_push_back(&loop->held[hold->rank], node);\n", "", program=HOLD_TEST),
    Mutant("held-call-runs-twice", "a held call runs once", HOLD,
           "        held_settle(held);\n        hold->call->method->run(hold->call);", "        hold->call->method->run(hold->call);",
           program=HOLD_TEST),
    Mutant("polls-before-reports", "what keeps work is not held up by what waits for some", HOLD,
           "    for (size_t rank = 0; rank < HOLD_RANKS; rank++) {\n        struct list_node *node = list_pop_front(&loop->looking[rank]);",
           "    for (size_t rank = HOLD_RANKS; rank-- != 0;) {\n        struct list_node *node = list_pop_front(&loop->looking[rank]);",
           program=HOLD_TEST),
    Mutant("moving-shard-goes-on", "nothing comes due in a shard that closes for a move", CORE,
           "    if (core->run.leaving) {\n        leave_turn(core);", "    if (core->run.leaving && core->wall_ms == 0) {\n        leave_turn(core);",
           program=MOVE_TEST),
    Mutant("moving-shard-takes-work", "a shard that closes for a move takes nothing more", LEAVE,
           "        if (!leave_spares(cmd)) {", "        if (!leave_spares(cmd) && cmd->internal) {", program=MOVE_TEST),
    Mutant("undelivered-task-left-behind", "no attempt is spent on a task that was not delivered before a move", EXPIRY,
           "        if (lease->undelivered) {\n            lease_back(core, lease);\n        }", "        (void)lease;", program=MOVE_TEST),
    Mutant("payload-not-awaited", "a close waits for the payloads of tasks on their way", WANTS,
           "if (op->kind == OP_WANTS && op->cmd != NULL) {\n            return false;", "if (op->kind == OP_WANTS && op->cmd != NULL) {\n            return true;",
           program=MOVE_TEST),
    Mutant("poll-not-parked-again", "a poll of all shards gets what shards that come have", LEASE_TASKS,
           "        svc_watch(poll->call, &poll->watch, poll_call_newer);", "        (void)poll_call_newer;", program=ROUTE),

    # --- what clients are told ---
    Mutant("redirect-names-nobody", "redirect: who does not have a shard says who has", ROUTES,
           "        ret_route->owner_id = directory->nodes[shard->node].id;\n", "", processes=3),
    Mutant("redirect-to-itself", "redirect: nobody is sent to and fro", ROUTES,
           "        ret_route->owner_id = directory->nodes[shard->node].id;\n",
           "        ret_route->owner_id = directory->nodes[directory->self].id;\n", processes=3),
    Mutant("stray-told-nothing", "a call that met its shard gone is told who has it", STRAY,
           "        svc_tell(call, route);\n", "        (void)svc_tell;\n", program=ROUTE),
    Mutant("polls-are-forwarded", "what hands tasks out is not sent on", FORWARDED,
           " || call->method->hands_out) {", ") {", program=ROUTE),
    Mutant("sent-to-and-fro", "a call that is sent back waits until the shard is known to be here", FORWARDED,
           "    if (route.verdict != ROUTE_REDIRECT) {", "    if (call != NULL) {", program=ROUTE),
    Mutant("sent-back-is-told", "a shard that came here is served here", FORWARD,
           "    if (forward_is_ours(forward)) {", "    if (forward_is_ours(forward) && call == NULL) {", program=PEERS_TEST),
    Mutant("slow-reader-is-sent-all", "a stream that is not read gets the newest only", WATCH_TOPOLOGY,
           " || !rpc_call_writable(rpc)) {", ") {", program=TOPOLOGY_TEST),
    Mutant("every-version-is-sent", "many changes at a time are one message", WATCH_TOPOLOGY,
           "    return wanted_us > TOPOLOGY_SPACING_US ? wanted_us : TOPOLOGY_SPACING_US;", "    return wanted_us - wanted_us;",
           program=TOPOLOGY_TEST),
    Mutant("streams-fill-the-line", "all streams together send no more than they may", WATCH_TOPOLOGY,
           "    return wanted_us > TOPOLOGY_SPACING_US ? wanted_us : TOPOLOGY_SPACING_US;", "    return TOPOLOGY_SPACING_US + 0 * wanted_us;",
           program=TOPOLOGY_TEST),
    Mutant("anothers-address-is-told", "a watch is told the address that its own caller dialled", WATCH_TOPOLOGY,
           " && bytes_eq(kept->address, address)) {", ") {", program=TOPOLOGY_TEST),
    Mutant("streams-outlive-the-server", "streams end when the server stops", LOOPS,
           "    topology_streams_end(loop);", "",
           program=TOPOLOGY_TEST),
    Mutant("forwarded-for-ever", "what was sent on is not sent on again", FORWARD,
           " ||\n        rpc_call_header(call, PEERS_HEADER_MARK).ptr != NULL) {", ") {", program=PEERS_TEST),
    Mutant("forwarded-without-patience", "the caller's deadline goes with the call", FORWARD,
           "        deadline_us != 0 ? deadline_us : ", "        ", program=PEERS_TEST),
    Mutant("channels-of-the-gone-are-kept", "a channel is closed when no member has its address", CHANNELS,
           "        peers->all[i]->gone = !is_member(directory, peers->all[i]->address);",
           "        peers->all[i]->gone = peers->all[i]->gone && is_member(directory, \"\");", program=PEERS_TEST),

    # --- reads of the whole cluster ---
    Mutant("reads-for-a-caller-who-does-not-read", "nobody is asked while the caller's stream has no room", READ_ROWS,
           "while (!read->ends && rpc_call_writable(rpc) &&", "while (!read->ends &&", program=READ_ROWS_TEST),
    Mutant("unread-in-silence", "a shard that is given up is named", READ_ROWS,
           "        unread_send(read, slot, failure->code, failure->status, failure->text);\n", "", program=READ_ROWS_TEST),
    Mutant("a-page-of-anything", "another node's page is of the shard that was asked for", READ_ROWS,
           "bytes_eq(head.shard, bytes_str(id)) &&", "", program=READ_ROWS_TEST),
    Mutant("limit-for-each-shard", "a limit is of all shards together", GATHER,
           "            gather->left -= slot->rows;\n", "", program=GATHER_TEST),
    Mutant("a-position-is-lost", "a read goes on where its last page ended", GATHER,
           "    buf_append(&slot->position, position.ptr, position.len);\n    slot->state", "    slot->state", program=GATHER_TEST),

    Mutant("ring-strands-a-lone-server", "without a coordinator every shard is served, whatever its ring", "src/cluster/members.c",
           "(alone || takes_shards_of(&members->all[i], ring)) && !goes", "takes_shards_of(&members->all[i], ring) && !goes",
           program=CLUSTER_TEST),

    # --- who may serve what ---
    Mutant("claims-while-lapsed", "a node that is no member claims nothing", JOIN,
           "    cluster->confirmed = false;\n    cluster->map_fresh = false;\n    cluster->members_fresh = false;\n"
           "    cluster->owners_fresh = false;\n", "", program=MEMBERS),
    Mutant("claims-a-members-shard", "what a member has is not claimed", CLAIM,
           "*ret_takeover = claim_is_orphan(cluster, guard);", "*ret_takeover = true;",
           program=MEMBERS),
    Mutant("claims-by-an-old-map", "only what the newest map holds is claimed", MAPPING,
           "if (event->number <= cluster->map.number) {", "if (event->number <= cluster->map.number || cluster->map.number != 0) {",
           program=MEMBERS),
    Mutant("opens-what-it-did-not-get", "a shard is opened only by who has claimed it", CLAIM,
           "    guard->retry_ms = guard->retry_ms > retry_ms ? guard->retry_ms : retry_ms;\n    guard_move(cluster, guard, GUARD_IDLE);",
           "    (void)retry_ms;\n    claim_granted(cluster, guard);", program=MEMBERS),
    Mutant("opens-whoever-wrote", "an opening expects the writer that was read before the claim", OPENING,
           "action->guarded = cluster->guarded;", "action->guarded = false;", program=MEMBERS),
    Mutant("opens-when-fenced", "a fenced shard is opened again only if its record still names the node", HEAR,
           "GUARD_PREPARING) {\n        open_doubt(cluster, guard);",
           "GUARD_PREPARING) {\n        open_begin(cluster, guard);", program=MEMBERS),
    Mutant("releases-while-lapsed", "a node that is no member gives nothing up", GIVE,
           "    if (!cluster->confirmed) {\n        guard_move(cluster, guard, GUARD_IDLE);\n        return;\n    }\n    const bool stays",
           "    const bool stays", program=MEMBERS),
    Mutant("releases-before-closed", "a record is released after its shard is closed", GIVE,
           "        close_begin(cluster, guard);\n        return;\n    case GUARD_READING:",
           "        give_release(cluster, guard);\n        close_begin(cluster, guard);\n        return;\n    case GUARD_READING:",
           program=MEMBERS),
    Mutant("serves-what-is-anothers", "a shard whose record names another is closed", HEAR,
           "        give_up(cluster, guard);\n        guard->drop = guard->phase == GUARD_CLOSING;", "        guard->drop = false;",
           program=MEMBERS),
    Mutant("keeps-the-retired", "a shard that the map has no more is given up", MAPPING,
           "            give_up(cluster, cluster->guards[i]);", "            (void)give_up;", program=MEMBERS),
    Mutant("opening-not-tried-again", "an opening that failed is tried again", OPENING,
           "    guard->retry_ms = cluster->now_ms + retry_pause_ms(guard->failures);",
           "    guard->retry_ms = INT64_MAX + 0 * retry_pause_ms(guard->failures);", program=MEMBERS),
    # --- moves ---
    Mutant("hands-over-before-closed", "a shard is closed before its record names another", GIVE,
           "    successor_set(guard, to);\n    close_begin(cluster, guard);\n}",
           "    successor_set(guard, to);\n    guard_action(cluster, guard, ACTION_HAND_OVER)->epoch = guard->epoch;\n"
           "    close_begin(cluster, guard);\n}", program=MEMBERS),
    Mutant("opens-what-it-was-given-unread", "who is given a shard reads its writer, then its record", HEAR,
           "        cluster->counts.given++;\n        open_doubt(cluster, guard);",
           "        cluster->counts.given++;\n        open_begin(cluster, guard);", program=MEMBERS),
    Mutant("record-before-writer", "the writer is read before the record", OPENING,
           "    if (cluster->guarded) {\n        claim_read_writer(cluster, guard);\n    } else {\n        read_owner",
           "    if (cluster == NULL) {\n        claim_read_writer(cluster, guard);\n    } else {\n        read_owner", program=MEMBERS),
    Mutant("gives-away-while-lapsed", "a node that is no member gives nothing away", GIVE,
           "    if (!join_is_fresh(cluster) || guard->settings == NULL || ", "    if (guard->settings == NULL || ", program=GIVING_TEST),
    Mutant("moves-before-takeovers", "nothing is given away while a shard has no owner", BALANCE,
           "    const bool missing = any_missing(cluster);", "    const bool missing = !any_missing(cluster) && cluster == NULL;", program=MEMBERS),
    Mutant("moves-at-once", "nothing is given away for a while after a change", MEMBERS_C,
           "    members_assign(cluster);\n    balance_stir(cluster);\n}", "    members_assign(cluster);\n}", program=MEMBERS),
    Mutant("moves-all-at-once", "few shards are on their way at a time", BALANCE,
           "moves < CLUSTER_MOVES_MAX &&", "moves < CLUSTER_SHARDS_MAX &&", program=GIVING_TEST),
    Mutant("all-moves-to-one", "few of them are on their way to one member", BALANCE,
           "count_moves(cluster, to) < toward_one_max(cluster)", "count_moves(cluster, to) < CLUSTER_SHARDS_MAX", program=MEMBERS),
    Mutant("drains-all-at-once", "a member that leaves gives away so many at a time", BALANCE,
           "moves < CLUSTER_DRAINS_MAX", "moves < CLUSTER_SHARDS_MAX", program=GIVING_TEST),
    Mutant("drains-without-end", "a member that leaves has one time for all", BALANCE,
           "    cluster->leave_until_ms = cluster->now_ms + CLUSTER_LEAVE_MS;", "    cluster->leave_until_ms = INT64_MAX - CLUSTER_LEAVE_MS;",
           program=GIVING_TEST),
    Mutant("waits-for-ever-to-prepare", "a shard that does not get prepared is closed as it is", GUARD,
           "        if (cluster->now_ms >= guard->prepared_ms) {", "        if (guard->prepared_ms == INT64_MAX) {", program=MEMBERS),
    Mutant("never-balanced", "in the end every shard is where it is assigned", BALANCE,
           "    } else if (join_is_fresh(cluster)) {", "    } else if (cluster == NULL) {", program=MEMBERS),
    Mutant("lost-hand-over-closes", "what was not handed over is opened again", GIVE,
           "? 1 : 0;\n    open_doubt(cluster, guard);", "? 1 : 0;\n    guard_move(cluster, guard, GUARD_LOST);", program=MEMBERS),
    Mutant("prepares-nothing", "a shard is prepared before it is closed for its successor", GIVE,
           "    (void)guard_action(cluster, guard, ACTION_PREPARE);\n", "    guard->prepared_ms = cluster->now_ms;\n", program=MEMBERS),
    Mutant("pinned-log-left-behind", "a shard whose log nobody else can read goes only when that is empty", GIVE,
           "guard->settings->wal == WAL_SHARED || guard->emptied;", "guard->settings->wal == WAL_SHARED || guard->id.b[0] < 255;", program=MEMBERS),
    Mutant("takes-over-a-pinned-log", "a dead member's shard with a log of its own waits for it", CLAIM,
           "           guard->settings->wal == WAL_SHARED &&\n", "", program=MEMBERS),
    Mutant("rings-mean-nothing", "a shard goes to members of its ring", MEMBERS_C,
           "        eligible = eligible || strcmp(member->rings[i], name) == 0;", "        eligible = true;", program=MEMBERS),
    Mutant("default-has-two-names", "a ring called default is the default ring", "src/cluster/map.c",
           "strcmp(ring, DIRECTORY_RING_DEFAULT) != 0;", "ring[0] != '\\1';", program=MAP_TEST),
    Mutant("ring-is-lost-with-the-race", "a change that lost a race is made again", MAPPING,
           "    if (!first) {\n        question_race_lost(cluster);", "    if (!first) {\n        questions_end(cluster);", program=QUESTION_TEST),
    Mutant("forces-a-live-one", "a live holder keeps its shard unless that is forced", QUESTION,
           "    } else if (lives && !question->force) {", "    } else if (lives && question->kind == QUESTION_CONFIGURE) {", program=MEMBERS),
    Mutant("claims-back-at-once", "what was forced away is not claimed back at once", GIVE,
           "(taken ? CLUSTER_FORCED_PAUSE_MS : 0)", "(taken ? 0 : 0)", program=MEMBERS),
    Mutant("answers-nobody", "a question is answered in time", QUESTION,
           "        if (cluster->now_ms >= question_of(n)->until_ms) {", "        if (question_of(n)->until_ms == INT64_MAX) {", program=QUESTION_TEST),
    Mutant("keeps-dead-records", "records of shards that are no more are removed, whoever they name", CLAIM,
           "    } else if (cluster->members.self == 0 &&", "    } else if (cluster->members.self == CLUSTER_MEMBERS_MAX &&", program=MEMBERS),
    Mutant("two-with-one-id", "a node whose id is another process's does not go on", JOIN,
           "    if (cluster->asked_ms - cluster->taken_ms > cluster->ttl_ms + CLUSTER_TAKEN_MS) {", "    if (cluster->taken_ms == INT64_MAX) {",
           program=GIVING_TEST),
    Mutant("does-not-wait-for-its-lease", "a node waits until its earlier life's lease has ended", JOIN,
           "cluster->ttl_ms + CLUSTER_TAKEN_MS) {", "0 * cluster->ttl_ms) {", program=GIVING_TEST),
    Mutant("strict-for-ever", "a member's proofs may look backwards again", JOIN,
           "    const bool strict = !cluster->confirmed || !cluster->owners_fresh;",
           "    const bool strict = cluster->strict || !cluster->confirmed || !cluster->owners_fresh;", program=MEMBERS),
    Mutant("lapsed-and-not-strict", "proofs of a node that is no member begin after the call", JOIN,
           "    cluster->owners_fresh = false;\n    join_strict(cluster);", "    cluster->owners_fresh = false;", program=GIVING_TEST),
    Mutant("takes-over-too-soon", "when most members vanish at once, they are waited for", MEMBERS_C,
           "        cluster->hold_until_ms = cluster->now_ms + cluster->ttl_ms;", "        cluster->hold_until_ms = cluster->now_ms;",
           program=CLUSTER_TEST),
    Mutant("too-many-takeovers", "takeovers are bounded", CLAIM,
           "(takeover && cluster->takeovers >= CLUSTER_TAKEOVERS_MAX)", "(takeover && cluster->takeovers >= CLUSTER_SHARDS_MAX)",
           program=CLUSTER_TEST),
    Mutant("not-told-it-comes", "calls for a shard that is on its way here are worth keeping", PUBLISH,
           "    } else if (comes_here(cluster, guard)) {", "    } else if (cluster == NULL && comes_here(cluster, guard)) {", program=GIVING_TEST),
    Mutant("not-told-where-it-goes", "calls for a shard that is closed for its successor are worth keeping", PUBLISH,
           "    if (to != NULL) {\n        shard->place = PLACE_MOVING;", "    if (to != NULL && cluster == NULL) {\n        shard->place = PLACE_MOVING;",
           program=GIVING_TEST),
    Mutant("stranded-is-not-said", "whose log a shard waits for is said", PUBLISH,
           "guard->settings->wal == WAL_PINNED) {", "guard->settings->wal == WAL_SHARED) {", program=MEMBERS),
    Mutant("writer-waited-for-ever", "a store that does not answer holds nothing up", "src/node/writers.c",
           "    if (question == NULL || now_ms < question->until_ms) {", "    if (question == NULL || now_ms >= 0) {", program=WRITERS_TEST),
    # --- several processes ---
    Mutant("refused-on-no-proof", "answer: who refuses a change proves that the shard is still its own", COMMIT,
           "    return !cmd->changes && cmd->kind != CMD_POLL &&", "    return !cmd->changes && cmd->kind == CMD_POLL &&", processes=3),
    Mutant("lapsed-proof-is-old", "answer: a node that has lapsed proves each answer anew", "src/shard/proof.c",
           "    return inc->shard->wal.local ||\n"
           "           shard_mono_ms(inc->shard) >=\n"
           "               atomic_load_explicit(&inc->shard->shards->strict_mono_ms, memory_order_relaxed);",
           "    return inc->shard->wal.local;", seeds=1500, processes=3),
    Mutant("strict-when-it-heard", "answer: proofs are strict from the end of the lease, not from when that is heard",
           "src/node/node.c", "node->strict ? INT64_MIN : ends ? until_us / 1000 : until_us);",
           "node->strict ? INT64_MIN : ends ? INT64_MAX : until_us);", program=NODE_TEST),
    Mutant("hands-over-what-is-open", "release: a shard is closed before its record names another", "src/cluster/give.c",
           "    (void)guard_action(cluster, guard, ACTION_PREPARE);\n",
           "    guard->phase = GUARD_HANDING;\n"
           "    guard_action(cluster, guard, ACTION_HAND_OVER)->epoch = guard->epoch;\n", processes=3),
    Mutant("forces-unasked", "forced: by force only if somebody says so", "src/cluster/question.c",
           "        action->force = question->force;", "        action->force = true;", processes=3),
    Mutant("close-waits-for-nobody", "hand-out: what is in flight at a close becomes durable and is answered", LIFE,
           "    return (core_done && commit_idle(inc) && wants_idle(inc)) ||",
           "    return (core_done || commit_idle(inc) || wants_idle(inc)) ||", processes=3),
    Mutant("opens-unclaimed", "claimed: a shard is opened by whom its record names", CLAIM,
           "        guard->writer = event->epoch;\n        claim_ask(cluster, guard);",
           "        guard->writer = event->epoch;\n        open_begin(cluster, guard);", processes=3),
    Mutant("claims-when-lapsed", "member: whoever is no member claims nothing", JOIN,
           "    cluster->confirmed = false;\n    cluster->map_fresh = false;\n    cluster->members_fresh = false;\n"
           "    cluster->owners_fresh = false;\n    join_strict(cluster);",
           "    join_strict(cluster);", processes=3),
    Mutant("takes-over-from-anybody", "successor: an opening expects the writer that was read before the claim", OPENING,
           "    action->guarded = cluster->guarded;\n", "    action->guarded = cluster == NULL;\n", seeds=1500, processes=3),
    Mutant("opening-forgets-whom", "successor: what the node says of an opening reaches the store", LIFE,
           "    args.guarded = shard->guarded;\n", "    args.guarded = shard->guarded && shard->executor == NULL;\n", seeds=1500, processes=3),
    Mutant("a-name-is-enough", "successor: who was fenced opens again only as the member itself", OPENING,
           "    } else if (join_is_fresh(cluster)) {\n        claim_ask(cluster, guard);",
           "    } else if (join_is_fresh(cluster)) {\n        open_begin(cluster, guard);", program=CLUSTER_TEST),
    Mutant("late-answer-sets-back", "an answer to a hand-over that the record has overtaken says nothing", GIVE,
           "    if (guard->epoch == guard->given_epoch) {", "    if (guard_is_self(cluster, guard->holder)) {", program=GIVING_TEST),
    Mutant("doubtful-is-ours", "successor: an opening that failed may be another's", REOPEN,
           "    } else if (is_doubtful(shard, event->seq)) {", "    } else if (is_doubtful(shard, event->seq) && !shard->guarded) {",
           program=LIFE_TEST),
    Mutant("released-before-closed", "release: a record goes when nothing of the shard runs", GIVE,
           "        close_begin(cluster, guard);\n        return;\n    case GUARD_READING:",
           "        guard_action(cluster, guard, ACTION_RELEASE)->epoch = guard->epoch;\n"
           "        close_begin(cluster, guard);\n        return;\n    case GUARD_READING:", processes=3),
    Mutant("dead-owners-for-ever", "open: a dead member's shards are taken over", CLAIM,
           "    return *ret_takeover && cluster->now_ms >= cluster->hold_until_ms;", "    return false;", processes=3),
    Mutant("failed-opening-repeated", "open: an opening that failed may have become the newest writer", OPENING,
           "    if (cluster->guarded) {\n        open_doubt(cluster, guard);\n        ask(cluster, guard);",
           "    if (!cluster->guarded) {\n        open_doubt(cluster, guard);\n        ask(cluster, guard);", processes=3),
    Mutant("asked-for-after-the-lapse", "what was decided before the lapse is not asked for after it", JOIN,
           "    forget_requests(cluster);\n", "    (void)forget_requests;\n", program=CLUSTER_TEST),
    Mutant("node-forgets-whom", "successor: what the cluster says of an opening reaches the shard", HOLDINGS,
           ".guarded = action->guarded,", ".guarded = action == NULL,", seeds=1500, processes=3),
    Mutant("node-tells-no-fence", "a fenced shard whose record names the node opens again", HOLDINGS,
           "    if (notice->status == SHARD_FENCED) {", "    if (notice->status == SHARD_FENCED && !holding->opened) {",
           program=NODE_TEST),
    Mutant("others-leases-given-back", "what was leased before another had the shard is that one's to end", LIFE,
           "    if (others) {", "    if (others && shard->executor == NULL) {", program=UNDELIVERED),
    # --- proofs of ownership ---
    Mutant("proof-looks-backwards", "a strict proof begins after its call", PROOF,
           "    return inc->shard->wal.local ||\n", "    return (inc->shard->wal.local && inc->db == NULL) ||\n", program=PROOF_TEST),
    Mutant("proof-of-the-unconfirmed", "proofs are strict for a node whose membership is not confirmed", PROOF,
           "           shard_mono_ms(inc->shard) >=\n"
           "               atomic_load_explicit(&inc->shard->shards->strict_mono_ms, memory_order_relaxed);",
           "           inc->db == NULL;", program=PROOF_TEST),
    Mutant("proof-under-way", "a refresh that was under way before the answer proves nothing", PROOF,
           "    answers_release(inc, &inc->proving); /* it began after them */",
           "    answers_release(inc, &inc->proving);\n    answers_release(inc, &inc->unproved);", program=PROOF_TEST),
    # --- etcd ---
    Mutant("etcd-claim-of-no-member", "only a member is granted a claim", ETCD_CLAIMS,
           "    etcd_txn_if_lease(deed.txn, member_key(&deed, etcd, etcd->self.id), etcd->session.lease);\n", "",
           program=COORD_TEST, case="test_who_does_not_know_that_it_lapsed_claims_nothing"),
    Mutant("etcd-claim-by-an-old-map", "a claim is granted only by the newest map", ETCD_CLAIMS,
           "    etcd_txn_if_mod(deed.txn, etcd_key_map(&deed.arena, etcd->prefix), etcd->mirror.mod);\n", "",
           program=COORD_TEST, case="test_a_claim_by_an_older_map_is_lost"),
    Mutant("etcd-claim-of-the-living", "nothing is taken from a member", ETCD_CLAIMS,
           "    if (expected != 0 && !record_names(record, etcd->self.id)) {", "    if (expected == 1) {",
           program=COORD_TEST, case="test_a_silent_member_is_gone_and_what_it_has_is_not"),
    Mutant("etcd-lost-answer-refused", "a lost answer is no refusal", ETCD_CLAIMS,
           "    if (record_names(known, etcd->self.id) && known->epoch != ask->expected) {\n        news_shard(etcd, EVENT_CLAIMED,",
           "    if (txn.done) {\n        news_shard(etcd, EVENT_CLAIMED,",
           program=COORD_TEST, case="test_a_lost_answer_is_no_refusal"),
    Mutant("etcd-late-answer-is-news", "an answer that was overtaken by the watch changes nothing", "src/coord/etcd/mirror.c",
           "    } else if (txn.revision >= mirror->revision) {", "    } else if (txn.revision != 0) {",
           program=COORD_TEST, case="test_a_late_answer_is_no_news"),
    Mutant("etcd-leaves-unseen", "who begins to leave while it joins is seen to leave", "src/coord/etcd/session.c",
           "        session_leave(etcd); /* perhaps since the key was sent */\n", "",
           program=COORD_TEST, case="test_who_leaves_while_it_joins_is_seen_to_leave"),
    Mutant("etcd-handed-to-nobody", "a successor is a member", ETCD_CLAIMS,
           "    etcd_txn_if_there(deed.txn, member_key(&deed, etcd, to));\n", "",
           program=COORD_TEST, case="test_what_is_handed_over_is_never_free"),
    Mutant("etcd-change-without-revision", "each change compares the record it rests on", ETCD_CLAIMS,
           "    etcd_txn_if_mod(deed->txn, deed->owner, expected);\n", "    (void)expected;\n",
           program=COORD_TEST, case="test_what_is_released_is_free"),
    Mutant("etcd-change-lost", "every change is heard of", "src/coord/etcd/watch.c",
           "        records_change(etcd, changes.changes, changes.count);", "        records_change(etcd, changes.changes, changes.count - 1);",
           program=COORD_TEST, case="test_members_see_each_other"),
    Mutant("etcd-never-listed-again", "what the watch missed and is no longer kept is listed", "src/coord/etcd/watch.c",
           "        etcd->watch.behind = true;\n        ask_all(ask_new(etcd, caught_up));", "        watch_again(etcd);",
           program=COORD_TEST, case="test_what_was_compacted_away_is_listed"),
    Mutant("etcd-lease-believed-in", "a lease that cannot have been renewed is none", "src/coord/etcd/session.c",
           "    if (session->lease != 0 && now_us >= session->renewed_us + session->ttl_us) {", "    if (session->lease == 1) {",
           program=COORD_TEST, case="test_servers_that_stand_still_for_longer_than_a_lease"),
    Mutant("etcd-id-taken-over", "one id is one process", "src/coord/etcd/session.c",
           "    } else if (row->mod == 0 || etcd->session.replace ||", "    } else if (row->mod == 0 || etcd->session.replace || is_member ||",
           program=COORD_TEST, case="test_one_id_is_one_process"),
]
