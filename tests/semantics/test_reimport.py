#!/usr/bin/env python3
"""ImportJobs of jobs that exist: every status a job can be in, with every history that can follow, and every refusal."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from checks import Cases, equal, status_is  # noqa: E402
from jobs import (  # noqa: E402
    CANCELLED, FAILED, HOUR_MS, KINDS, RUNNING, SCHEDULED, SUCCEEDED, Jobs, as_import, cancelled, failed, fresh, near_now,
    now_ms, retries, slot, succeeded,
)
from silo_api import blob, pb  # noqa: E402
from silo_server import SiloServer  # noqa: E402

cases = Cases()
case = cases.case

TERMINAL = (SUCCEEDED, FAILED, CANCELLED)
MANY = 100


class Old:
    """A job in some state, before it is imported again. The queue of its limit is its own."""

    def __init__(self, server, limited=False, blocked=False, **fields):
        self.jobs = Jobs(server)
        self.queue = fresh("q")
        self.blocker = None
        if blocked:
            self.blocker = self.jobs.enqueue(limits=[slot(self.queue)])
        fields = {"payload": blob(b"original"), "priority": 7, "metadata": {"k": "v"}, **fields}
        if limited or blocked:
            fields["limits"] = [slot(self.queue)]
        self.id = self.start(fields)

    def start(self, fields):
        return self.jobs.enqueue(**fields)

    def failed(self, count=1, **error):
        for _ in range(count):
            self.jobs.failed(self.jobs.lease_one(self.id), **error)
        return self

    def on(self, method):
        self.jobs.on(method, self.id)
        return self

    def marked_and_reported(self, report):
        task = self.jobs.lease_one(self.id)
        self.on("CancelJob")
        getattr(self.jobs, report)(task)
        return self

    def history(self):
        return [as_import(attempt) for attempt in self.jobs.get(self.id, True).attempts]


class OldImport(Old):
    def start(self, fields):
        job_id = fresh("import")
        self.jobs.import_one(id=job_id, **fields)
        return job_id


def retry_behind_others(server):
    """Its first attempt failed, and another job has the slot."""
    old = Old(server, limited=True, retry_policy=retries(MANY))
    task = old.jobs.lease_one(old.id)
    old.blocker = old.jobs.enqueue(limits=[slot(old.queue)])
    old.jobs.failed(task)
    return old


def unprompted(server):
    old = Old(server, limited=True)
    old.jobs.cancelled(old.jobs.lease_one(old.id))
    return old


OLD = {
    "scheduled": lambda s: Old(s),
    "in the future": lambda s: Old(s, limited=True, start_at_ms=now_ms() + HOUR_MS),
    "with a slot": lambda s: Old(s, limited=True),
    "waiting for a slot": lambda s: Old(s, blocked=True),
    "retry at once": lambda s: Old(s, retry_policy=retries(MANY)).failed(),
    "retry with a slot": lambda s: Old(s, limited=True, retry_policy=retries(MANY)).failed(2),
    "retry in an hour": lambda s: Old(s, limited=True, retry_policy=retries(MANY, HOUR_MS)).failed(),
    "retry waiting for a slot": retry_behind_others,
    "restarted": lambda s: Old(s, limited=True).failed().on("RestartJob"),
    "failed": lambda s: Old(s, limited=True).failed(),
    "failed three times": lambda s: Old(s, limited=True, retry_policy=retries(2)).failed(3),
    "restarted and failed": lambda s: Old(s, limited=True).failed().on("RestartJob").failed(),
    "cancelled before it ran": lambda s: Old(s, limited=True).on("CancelJob"),
    "cancelled while waiting": lambda s: Old(s, blocked=True).on("CancelJob"),
    "cancelled in the future": lambda s: Old(s, limited=True, start_at_ms=now_ms() + HOUR_MS).on("CancelJob"),
    "cancelled between retries": lambda s: Old(s, limited=True, retry_policy=retries(9, HOUR_MS)).failed().on("CancelJob"),
    "cancelled while running": lambda s: Old(s, limited=True).marked_and_reported("cancelled"),
    "failed while marked": lambda s: Old(s, limited=True, retry_policy=retries(9)).marked_and_reported("failed"),
    "cancelled by its worker": unprompted,
    "imported": lambda s: OldImport(s, limited=True),
    "imported with a retry": lambda s: OldImport(s, limited=True, attempts=[failed()] * 2, retry_policy=retries(2)),
    "imported failed": lambda s: OldImport(s, limited=True, attempts=[failed()] * 2),
    "imported cancelled": lambda s: OldImport(s, limited=True, attempts=[failed(), cancelled()]),
}

# name -> (attempts that follow, whether the new policy leaves retries, status)
NEW = {
    "success": ([succeeded(5000, 6000, b"new")], False, SUCCEEDED),
    "success with retries": ([succeeded(5000, 6000, b"")], True, SUCCEEDED),
    "failure": ([failed(5000, 6000, "NEW", b"new")], False, FAILED),
    "failure with retries": ([failed(5000, 6000)], True, SCHEDULED),
    "cancelled": ([cancelled(5000, 6000)], False, CANCELLED),
    "failures": ([failed(5000, 6000), failed(7000, 8000)], False, FAILED),
    "failures with retries": ([failed(5000, 6000), failed(7000, 8000)], True, SCHEDULED),
    "failure, success": ([failed(5000, 6000), succeeded(7000, 8000)], True, SUCCEEDED),
    "failure, cancelled": ([failed(5000, 6000), cancelled(7000, 8000)], True, CANCELLED),
}


def failures(history):
    return sum(a.status == pb.ATTEMPT_STATUS_FAILED for a in history)


def is_scheduled(old, history):
    """Exactly one task is there, with the next number; it runs to success."""
    jobs = old.jobs
    job = jobs.get(old.id)
    near_now(job.next_attempt_starts_after_ms, "next attempt", 20_000)
    near_now(job.status_changed_at_ms, "status_changed_at_ms", 20_000)
    if old.blocker is not None:
        jobs.run(old.blocker)
    task = jobs.lease_one(old.id)
    equal((task.attempt_number, task.relative_attempt_number), (len(history) + 1, len(history) + 1), "numbers")
    equal(task.is_last_attempt, True, "the policy allows as many retries as failures are recorded")
    equal((task.payload.msgpack, task.priority, dict(task.metadata)), (b"original", 7, {"k": "v"}))
    jobs.lease_none()
    equal(jobs.beat(task), pb.HeartbeatResponse(), "no mark")
    jobs.succeed(task)
    equal(jobs.status(old.id), SUCCEEDED)


def is_terminal(old, status, history):
    """No task is there, no mark, and the outcome is the last attempt's."""
    jobs = old.jobs
    job = jobs.get(old.id)
    last = history[-1]
    equal((job.status_changed_at_ms, job.HasField("next_attempt_starts_after_ms")), (last.finished_at_ms, False))
    result = jobs.on("GetJobResult", old.id)
    equal((result.status, result.finished_at_ms), (status, last.finished_at_ms))
    if status == SUCCEEDED:
        equal((result.success_data, job.result), (last.result, last.result))
    elif status == FAILED:
        equal((result.failure.error_code, result.failure.error_data), (last.error_code, last.error_data))
    else:
        equal(result.WhichOneof("result"), "cancelled")
    text = "job is already cancelled" if status == CANCELLED else "job is already in terminal state"
    status_is(jobs.on_fails("CancelJob", old.id), "FAILED_PRECONDITION", text, exact=True)
    if old.blocker is not None:
        jobs.run(old.blocker)
    jobs.lease_none()


def cell(server, make, following, more, status):
    old = make(server)
    jobs = old.jobs
    before = jobs.record(old.id)
    history = old.history() + following
    policy = retries(failures(history), 5, 1.0) if more else None
    moved = jobs.counting()
    got = jobs.import_one(id=old.id, attempts=history, retry_policy=policy, payload=blob(b"ignored"), priority=1,
                          limits=[slot(fresh("ignored"), 0)], metadata={"ignored": "1"}, task_group=fresh("ignored"),
                          enqueue_time_ms=12345)
    equal(got, status, "status of the result")
    moved(0, (status in TERMINAL) - (before.status in TERMINAL), "import")
    after = jobs.get(old.id, True)
    equal(after.status, status)
    for field in ("payload", "priority", "limits", "metadata", "task_group", "enqueue_time_ms"):
        equal(getattr(after, field), getattr(before, field), field)
    equal((after.HasField("retry_policy"), after.retry_policy if more else None), (more, policy), "retry policy")
    equal(list(after.attempts[:len(before.attempts)]), list(before.attempts), "attempts that were there")
    equal([as_import(a) for a in after.attempts], history, "attempts")
    equal([a.attempt_number for a in after.attempts], list(range(1, len(history) + 1)))
    if status == SCHEDULED:
        is_scheduled(old, history)
    else:
        is_terminal(old, status, history)
    jobs.queues_are_free(old.queue)
    jobs.on("DeleteJob", old.id)


def matrix_of(name):
    def test(server):
        for new, (following, more, status) in NEW.items():
            try:
                cell(server, OLD[name], following, more, status)
            except BaseException:
                print("in the cell (%s, %s):" % (name, new), file=sys.stderr)
                raise

    test.__name__ = "from_" + name.replace(" ", "_")
    return case("plain")(test)


for old_name in OLD:
    matrix_of(old_name)


# --- refusals ---


def refusal(old, reason):
    return "cannot reimport job %s: %s (status: %s)" % (old.id, reason, KINDS[old.jobs.status(old.id)])


def changes(attempt):
    """The same attempt with one thing changed, for each thing."""
    def changed(**fields):
        other = pb.ImportAttempt.FromString(attempt.SerializeToString())
        for name, value in fields.items():
            if isinstance(value, bytes):
                getattr(other, name).msgpack = value
            else:
                setattr(other, name, value)
        return other

    yield changed(started_at_ms=attempt.started_at_ms + 1)
    yield changed(finished_at_ms=attempt.finished_at_ms - 1)
    for status in (pb.ATTEMPT_STATUS_SUCCEEDED, pb.ATTEMPT_STATUS_FAILED, pb.ATTEMPT_STATUS_CANCELLED):
        if status != attempt.status:
            yield changed(status=status)
    if attempt.status == pb.ATTEMPT_STATUS_FAILED:
        data = attempt.error_data.msgpack
        yield changed(error_code=attempt.error_code + "x")
        if attempt.error_code:
            yield changed(error_code="")
        yield changed(error_data=data + b"x")
        if data:
            yield changed(error_data=data[:-1])
            yield changed(error_data=data[:-1] + bytes([data[-1] ^ 1]))


def refused_histories(history):
    """(attempts, reason) of every reimport that this history refuses; and (attempts, text) by the history rule."""
    count = len(history)
    for given in range(count):
        yield history[:given], "reimport has %d attempts but job has %d existing attempts" % (given, count)
    yield history, "reimport must bring at least one new attempt"
    for number in range(1, count + 1):
        for other in changes(history[number - 1]):
            attempts = history[:number - 1] + [other] + history[number:]
            reason = "existing attempt %d does not match reimport data" % number
            yield attempts, reason
            yield attempts + [failed(8000, 9000)], reason


@case("plain")
def what_is_recorded_must_agree(server):
    sizes = (10, 5000, 70_000)
    for name, make in OLD.items():
        old = make(server)
        refused = list(refused_histories(old.history()))
        for attempts, reason in refused:
            is_left_alone(old, attempts, refusal(old, reason), name)
    for size in sizes:
        data = os.urandom(size)
        old = Old(server).failed(data=data)
        for attempts, reason in refused_histories(old.history()):
            is_left_alone(old, attempts, refusal(old, reason), size)
        old.on("RestartJob")  # the attempt moves to another row
        for attempts, reason in refused_histories(old.history()):
            is_left_alone(old, attempts, refusal(old, reason), size)
        equal(old.jobs.import_one(id=old.id, attempts=old.history() + [succeeded()]), SUCCEEDED)


def is_left_alone(old, attempts, text, what):
    jobs = old.jobs
    before, moved = jobs.record(old.id), jobs.counting()
    try:
        jobs.import_fails(text, id=old.id, attempts=attempts, retry_policy=retries(50))
    except AssertionError as error:
        raise AssertionError("%s: %s" % (what, error)) from None
    equal(jobs.record(old.id), before, "the job after the refusal")
    moved(0, 0, "refused")


@case("plain")
def new_attempts_obey_the_history_rule(server):
    for name, make in OLD.items():
        old = make(server)
        count = len(old.history())
        for following in ([succeeded(), failed()], [cancelled(), cancelled()], [succeeded(), succeeded()]):
            is_left_alone(old, old.history() + following, "import attempt %d must be Failed" % (count + 1), name)
        is_left_alone(old, old.history() + [failed(), cancelled(), failed()],
                      "import attempt %d must be Failed" % (count + 2), name)


@case("plain")
def succeeded_jobs_are_not_imported_again(server):
    ran = Old(server)
    ran.jobs.succeed(ran.jobs.lease_one(ran.id), b"r")
    imported = OldImport(server, attempts=[failed(), succeeded()])
    for old in (ran, imported):
        history = old.history()
        for attempts in ([], history[:-1], history, history + [succeeded()], history + [failed()], [failed()] * 9):
            is_left_alone(old, attempts, refusal(old, "job already succeeded"), len(attempts))


@case("many")
def a_running_job_fails_the_whole_call(server):
    every = [Jobs(server, shard) for shard in server.shard_ids()]
    jobs = every[1]
    running = jobs.enqueue(id=fresh("running"))
    task = jobs.lease_one(running)
    moved = [j.counting() for j in every]
    others = [j.job(id=fresh("import"), attempts=[succeeded()]) for j in every for _ in range(3)]
    retried = jobs.enqueue(start_at_ms=now_ms() + HOUR_MS)
    others.append(jobs.job(id=retried, attempts=[succeeded()]))
    others.append(jobs.job(id="", attempts=[succeeded()]))
    batches = ([jobs.job(id=running, attempts=[failed(), failed()])], [jobs.job(id=running)])
    for alone in batches:
        for batch in (alone, alone + others, others + alone, others[:5] + alone + others[5:]):
            status = server.api.fails("ImportJobs", jobs=batch)
            status_is(status, "FAILED_PRECONDITION", "currently running")
            status_is(status, "FAILED_PRECONDITION", running)
    jobs.on("CancelJob", running)  # marked, but it still runs
    status_is(server.api.fails("ImportJobs", jobs=others + batches[0]), "FAILED_PRECONDITION", "currently running")
    equal(jobs.beat(task).cancelled, True)
    equal(jobs.status(retried), SCHEDULED)
    for number, check in enumerate(moved):
        check(1 if number == 1 else 0, 0, "nothing was applied")  # `retried` was enqueued later
    for job in others[:-2]:
        shard = Jobs(server, job.shard)
        status_is(shard.on_fails("GetJob", job.id), "NOT_FOUND", "job not found")
    # A job that fails its own checks is not looked at.
    result = jobs.imports(jobs.job(id=running, priority=100), others[0])
    equal([r.success for r in result], [False, True])
    jobs.cancelled(task)
    history = [as_import(a) for a in jobs.get(running, True).attempts]
    equal(jobs.import_one(id=running, attempts=history + [succeeded()]), SUCCEEDED)


@case("tenant")
def another_tenants_running_job_does_not_matter(server):
    mine, other = Jobs(server, tenant="a"), Jobs(server, tenant="customer-123")
    job_id = mine.enqueue(id=fresh("same"))
    task = mine.lease_one(job_id)
    equal(other.import_one(id=job_id, attempts=[succeeded()]), SUCCEEDED)
    equal(mine.status(job_id), RUNNING)
    status = server.api.fails("ImportJobs", jobs=[other.job(id=fresh("import")), mine.job(id=job_id)])
    status_is(status, "FAILED_PRECONDITION", "currently running")
    mine.succeed(task)


# --- what follows ---


@case("plain")
def the_new_policy_governs(server):
    old = Old(server, retry_policy=retries(9, HOUR_MS)).failed()
    jobs = old.jobs
    jobs.import_one(id=old.id, attempts=old.history() + [failed(5000, 6000)], retry_policy=retries(3, 100, 3))
    task = jobs.lease_one(old.id)
    equal((task.attempt_number, task.is_last_attempt), (3, False))
    jobs.failed(task)
    job = jobs.get(old.id, True)
    equal(job.next_attempt_starts_after_ms - job.attempts[2].finished_at_ms, 900, "delay of the new policy")
    jobs.on("ExpediteJob", old.id)
    task = jobs.lease_one(old.id)
    equal((task.attempt_number, task.is_last_attempt), (4, True))
    jobs.failed(task)
    equal(jobs.status(old.id), FAILED)


@case("plain")
def a_reimport_may_start_later(server):
    for make in (OLD["with a slot"], OLD["failed"], OLD["waiting for a slot"]):
        old = make(server)
        jobs = old.jobs
        start = now_ms() + HOUR_MS
        jobs.import_one(id=old.id, attempts=old.history() + [failed(5000, 6000)], retry_policy=retries(9),
                        start_at_ms=start)
        equal(jobs.get(old.id).next_attempt_starts_after_ms, start)
        if old.blocker is not None:
            jobs.run(old.blocker)
        jobs.lease_none()
        jobs.queues_are_free(old.queue)
        jobs.on("ExpediteJob", old.id)
        jobs.run(old.id)


@case("plain")
def a_freed_slot_is_granted_at_once(server):
    old = Old(server, limited=True)
    jobs = old.jobs
    waiting = jobs.enqueue(limits=[slot(old.queue)])
    jobs.import_one(id=old.id, attempts=[succeeded()])
    jobs.run(waiting)

    old = Old(server, limited=True)
    jobs = old.jobs
    waiting = jobs.enqueue(limits=[slot(old.queue)])
    jobs.import_one(id=old.id, attempts=[failed()], retry_policy=retries(1))
    order = []
    for _ in range(2):
        task = jobs.lease_one()
        jobs.lease_none()  # one at a time
        jobs.succeed(task)
        order.append(task.job_id)
    equal(sorted(order), sorted([old.id, waiting]))
    jobs.queues_are_free(old.queue)


@case("plain")
def a_job_is_imported_again_and_again(server):
    old = OldImport(server, limited=True)
    jobs = old.jobs
    history = []
    for n in range(12):
        history.append(failed(1000 * n, 1000 * n + 500, "E%d" % n, os.urandom(1 << n)))
        equal(jobs.import_one(id=old.id, attempts=history, retry_policy=retries(n + 1)), SCHEDULED)
    equal(old.history(), history)
    task = jobs.lease_one(old.id)
    equal((task.attempt_number, task.is_last_attempt), (13, True))
    jobs.failed(task)
    jobs.on("RestartJob", old.id)
    equal(jobs.run(old.id).attempt_number, 14)
    jobs.queues_are_free(old.queue)


SERVERS = {
    "plain": SiloServer,
    "many": lambda: SiloServer(shards=3),
    "tenant": lambda: SiloServer(tenancy=True, shards=1),
}

globals().update(cases.classes(SERVERS))

if __name__ == "__main__":
    unittest.main()
