#!/usr/bin/env python3
"""RestartJob, ExpediteJob, LeaseTask, CancelJob and DeleteJob: from which states they work, what they change, what they say."""

import os
import sys
import threading
import time
import unittest
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from checks import Cases, equal, status_is  # noqa: E402
from jobs import (  # noqa: E402
    CANCELLED, FAILED, HOUR_MS, NO_LEASE, RUNNING, SCHEDULED, SUCCEEDED, Jobs, fresh, near_now, now_ms, retries, slot, within,
)
from silo_api import Status, blob, pb  # noqa: E402
from silo_server import SiloServer  # noqa: E402

cases = Cases()
case = cases.case

IN_PROGRESS = "job is still in progress"
READY = "task is already ready to run"
NO_TASK_TO_EXPEDITE = "no pending task to expedite"
NO_TASK_TO_LEASE = "no pending task to lease"


def numbers(task):
    return task.attempt_number, task.relative_attempt_number, task.is_last_attempt


def fail_all(jobs, job_id, count):
    """Fails the next `count` attempts of the job; returns their tasks."""
    tasks = []
    for _ in range(count):
        tasks.append(jobs.lease_one(job_id))
        jobs.failed(tasks[-1], "E%d" % tasks[-1].attempt_number)
    return tasks


# --- restart ---


@case("plain")
def a_failed_job_is_restarted(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue(payload=blob(b"p"), metadata={"k": "v"}, priority=3)
    first = jobs.lease_one(job_id)
    jobs.failed(first)
    moved = jobs.counting()
    jobs.on("RestartJob", job_id)
    moved(0, -1, "restart")
    job = jobs.get(job_id, True)
    equal((job.status, job.priority, job.payload.msgpack, dict(job.metadata)), (SCHEDULED, 3, b"p", {"k": "v"}))
    near_now(job.next_attempt_starts_after_ms, "start")
    equal(job.status_changed_at_ms >= job.attempts[0].finished_at_ms, True, "status_changed_at_ms")
    equal([a.task_id for a in job.attempts], [first.id], "attempts")
    status_is(jobs.on_fails("GetJobResult", job_id), "FAILED_PRECONDITION", "status is Scheduled")
    task = jobs.lease_one(job_id)
    equal(numbers(task), (2, 1, True))
    assert task.id != first.id
    equal((task.payload.msgpack, task.priority), (b"p", 3))
    jobs.succeed(task, b"r")
    moved(0, 0, "success")
    job = jobs.get(job_id, True)
    equal([a.status for a in job.attempts], [pb.ATTEMPT_STATUS_FAILED, pb.ATTEMPT_STATUS_SUCCEEDED])
    equal((job.result.msgpack, jobs.on("GetJobResult", job_id).success_data.msgpack), (b"r", b"r"))


@case("plain")
def a_cancelled_job_is_restarted(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue()
    jobs.on("CancelJob", job_id)
    moved = jobs.counting()
    jobs.on("RestartJob", job_id)
    moved(0, -1, "restart")
    task = jobs.lease_one(job_id)
    equal(numbers(task), (1, 1, True), "it never ran")
    equal(jobs.beat(task), pb.HeartbeatResponse(), "the mark is gone")
    jobs.on("CancelJob", job_id)  # it can be cancelled again
    equal(jobs.beat(task).cancelled, True)
    jobs.cancelled(task)
    equal(jobs.status(job_id), CANCELLED)
    jobs.on("RestartJob", job_id)
    task = jobs.lease_one(job_id)
    equal(numbers(task), (2, 1, True), "it ran once")
    equal(jobs.beat(task), pb.HeartbeatResponse(), "the mark is gone")
    jobs.succeed(task)
    moved(0, 0, "success")
    equal([a.status for a in jobs.get(job_id, True).attempts],
          [pb.ATTEMPT_STATUS_CANCELLED, pb.ATTEMPT_STATUS_SUCCEEDED])


@case("plain")
def a_job_cancelled_between_retries_is_restarted(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue(retry_policy=retries(2, HOUR_MS))
    fail_all(jobs, job_id, 1)
    jobs.on("CancelJob", job_id)
    jobs.on("RestartJob", job_id)
    equal(numbers(jobs.lease_one(job_id)), (2, 1, False))


@case("plain")
def restarts_are_refused(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue()
    jobs.refused("RestartJob", job_id, IN_PROGRESS, SCHEDULED)
    future = jobs.enqueue(start_at_ms=now_ms() + HOUR_MS)
    jobs.refused("RestartJob", future, IN_PROGRESS, SCHEDULED)
    task = jobs.lease_one(job_id)
    jobs.refused("RestartJob", job_id, IN_PROGRESS, RUNNING)
    jobs.on("CancelJob", job_id)
    jobs.refused("RestartJob", job_id, IN_PROGRESS, RUNNING)
    jobs.succeed(task)
    before = jobs.record(job_id)
    jobs.refused("RestartJob", job_id, "job already succeeded", SUCCEEDED)
    equal(jobs.record(job_id), before, "the job after the refusal")
    status_is(jobs.on_fails("RestartJob", fresh("no")), "NOT_FOUND", "job not found")
    jobs.lease_none()


@case("plain")
def attempts_are_numbered_on(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue(retry_policy=retries(2))
    tasks = fail_all(jobs, job_id, 3)
    equal(jobs.status(job_id), FAILED)
    jobs.on("RestartJob", job_id)
    tasks += fail_all(jobs, job_id, 3)
    equal(jobs.status(job_id), FAILED)
    equal([numbers(t) for t in tasks],
          [(1, 1, False), (2, 2, False), (3, 3, True), (4, 1, False), (5, 2, False), (6, 3, True)])
    equal(len({t.id for t in tasks}), 6, "distinct tasks")
    job = jobs.get(job_id, True)
    equal([(a.attempt_number, a.task_id, a.error_code) for a in job.attempts],
          [(n, tasks[n - 1].id, "E%d" % n) for n in range(1, 7)])
    for number in range(7, 10):  # and again and again
        jobs.on("RestartJob", job_id)
        if number == 9:
            break
        task = jobs.lease_one(job_id)
        equal(numbers(task), (number, 1, False))
        jobs.on("CancelJob", job_id)
        jobs.cancelled(task)
    task = jobs.run(job_id)
    equal(numbers(task), (9, 1, False))
    equal([a.attempt_number for a in jobs.get(job_id, True).attempts], list(range(1, 10)))


@case("plain")
def a_restart_resets_the_delays(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue(retry_policy=retries(2, 100, 3))
    delays = []
    for run in range(2):
        for _ in range(3):
            jobs.failed(jobs.lease_one(job_id))
            job = jobs.get(job_id, True)
            if job.status == SCHEDULED:
                delays.append(job.next_attempt_starts_after_ms - job.attempts[-1].finished_at_ms)
        if run == 0:
            jobs.on("RestartJob", job_id)
    equal(delays, [100, 300, 100, 300])


@case("plain")
def a_restart_waits_for_the_requested_start(server):
    jobs = Jobs(server)
    start = now_ms() + HOUR_MS
    job_id = jobs.enqueue(start_at_ms=start)
    jobs.on("CancelJob", job_id)
    jobs.on("RestartJob", job_id)
    equal((jobs.status(job_id), jobs.get(job_id).next_attempt_starts_after_ms), (SCHEDULED, start))
    jobs.lease_none()
    past = jobs.enqueue(start_at_ms=now_ms() - HOUR_MS)
    jobs.on("CancelJob", past)
    jobs.on("RestartJob", past)
    near_now(jobs.get(past).next_attempt_starts_after_ms, "a start that has passed")
    jobs.run(past)


@case("plain")
def of_racing_restarts_one_works(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue()
    jobs.failed(jobs.lease_one(job_id))
    codes = []

    def restart():
        try:
            jobs.on("RestartJob", job_id)
            codes.append("OK")
        except Status as status:
            codes.append(status.code)

    threads = [threading.Thread(target=restart) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(sorted(codes), ["FAILED_PRECONDITION"] * 7 + ["OK"])
    jobs.run(job_id)
    jobs.lease_none()


@case("plain")
def large_results_survive_restarts(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue()
    errors = [os.urandom(size) for size in (10_000, 100_000, 10)]
    for n, error in enumerate(errors):
        jobs.failed(jobs.lease_one(job_id), "E", error)
        attempts = jobs.get(job_id, True).attempts
        equal([a.error_data.msgpack == e for a, e in zip(attempts, errors)], [True] * (n + 1), "errors")
        jobs.on("RestartJob", job_id)
    result = os.urandom(80_000)
    jobs.run(job_id, result)
    attempts = jobs.get(job_id, True).attempts
    equal([a.error_data.msgpack == e for a, e in zip(attempts, errors)], [True] * 3, "errors")
    equal(jobs.on("GetJobResult", job_id).success_data.msgpack == result, True, "result")
    jobs.on("DeleteJob", job_id)
    equal(jobs.enqueue(id=job_id), job_id)
    equal(len(jobs.get(job_id, True).attempts), 0, "attempts of the deleted job")


# --- expedite ---


@case("plain")
def a_future_job_is_expedited(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue(start_at_ms=now_ms() + HOUR_MS, priority=5, payload=blob(b"p"))
    jobs.lease_none()
    moved = jobs.counting()
    before = now_ms()
    jobs.on("ExpediteJob", job_id)
    job = jobs.get(job_id)
    equal((job.status, job.priority), (SCHEDULED, 5))
    within(before - 5, now_ms() + 5, job.next_attempt_starts_after_ms, "next attempt")
    equal(job.status_changed_at_ms, job.next_attempt_starts_after_ms, "status_changed_at_ms")
    jobs.refused("ExpediteJob", job_id, READY, SCHEDULED)
    task = jobs.run(job_id)
    equal((numbers(task), task.priority, task.payload.msgpack), ((1, 1, True), 5, b"p"))
    moved(0, 1, "expedite")


@case("plain")
def a_retry_is_expedited(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue(retry_policy=retries(2, HOUR_MS))
    fail_all(jobs, job_id, 1)
    jobs.lease_none()
    jobs.on("ExpediteJob", job_id)
    near_now(jobs.get(job_id).next_attempt_starts_after_ms, "next attempt")
    task = jobs.lease_one(job_id)
    equal(numbers(task), (2, 2, False))
    jobs.failed(task)
    job = jobs.get(job_id, True)
    equal(job.next_attempt_starts_after_ms - job.attempts[1].finished_at_ms, 2 * HOUR_MS, "the policy goes on")


@case("plain")
def an_expedited_job_wakes_a_poll(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue(start_at_ms=now_ms() + HOUR_MS)
    poll = server.api.start("LeaseTasks", shard=jobs.shard, task_group=jobs.group, max_tasks=1, wait_ms=30000)
    jobs.on("ExpediteJob", job_id)
    equal([t.job_id for t in poll.result().tasks], [job_id])


@case("plain")
def expedites_are_refused(server):
    jobs = Jobs(server)
    status_is(jobs.on_fails("ExpediteJob", fresh("no")), "NOT_FOUND", "job not found")
    job_id = jobs.enqueue()
    jobs.refused("ExpediteJob", job_id, READY, SCHEDULED)
    task = jobs.lease_one(job_id)
    jobs.refused("ExpediteJob", job_id, "job is running", RUNNING)
    jobs.on("CancelJob", job_id)
    jobs.refused("ExpediteJob", job_id, "job is cancelled", RUNNING)
    jobs.succeed(task)
    jobs.refused("ExpediteJob", job_id, "job is already in a terminal state", SUCCEEDED)
    job_id = jobs.enqueue()
    jobs.failed(jobs.lease_one(job_id))
    jobs.refused("ExpediteJob", job_id, "job is already in a terminal state", FAILED)
    job_id = jobs.enqueue(start_at_ms=now_ms() + HOUR_MS)
    jobs.on("CancelJob", job_id)
    jobs.refused("ExpediteJob", job_id, "job is cancelled", CANCELLED)
    job_id = jobs.enqueue()
    jobs.cancelled(jobs.lease_one(job_id))  # without a mark
    jobs.refused("ExpediteJob", job_id, NO_TASK_TO_EXPEDITE, CANCELLED)
    jobs.lease_none()


@case("plain")
def a_parked_job_is_neither_expedited_nor_leased(server):
    jobs = Jobs(server)
    queue = fresh("q")
    holder, waiting = jobs.enqueue(limits=[slot(queue)]), jobs.enqueue(limits=[slot(queue)])
    jobs.refused("ExpediteJob", waiting, NO_TASK_TO_EXPEDITE, SCHEDULED)
    jobs.refused("LeaseTask", waiting, NO_TASK_TO_LEASE, SCHEDULED, worker_id="w")
    jobs.run(holder)
    jobs.run(waiting)


@case("plain")
def limits_hold_for_expedited_jobs(server):
    jobs = Jobs(server)
    queue = fresh("q")
    later = jobs.enqueue(limits=[slot(queue)], start_at_ms=now_ms() + HOUR_MS)
    holder = jobs.enqueue(limits=[slot(queue)])
    jobs.on("ExpediteJob", later)
    task = jobs.lease_one(holder)
    jobs.lease_none()
    jobs.refused("ExpediteJob", later, NO_TASK_TO_EXPEDITE, SCHEDULED)
    jobs.succeed(task)
    jobs.run(later)


# --- lease one job ---


@case("plain")
def one_job_is_leased(server):
    jobs = Jobs(server)
    first = jobs.enqueue()
    job_id = jobs.enqueue(payload=blob(b"p"), metadata={"k": "v"}, priority=9, limits=[slot(fresh("q"))],
                          retry_policy=retries(1))
    task = jobs.lease_this(job_id)
    wanted = pb.Task(id=task.id, job_id=job_id, attempt_number=1, relative_attempt_number=1, is_last_attempt=False,
                     metadata={"k": "v"}, payload=blob(b"p"), priority=9, shard=jobs.shard, task_group=jobs.group,
                     lease_ms=10000, limits=jobs.get(job_id).limits)
    equal(task, wanted)
    equal(str(uuid.UUID(task.id)), task.id)
    equal(jobs.status(job_id), RUNNING)
    equal(jobs.get(job_id, True).attempts[0].task_id, task.id)
    equal([t.job_id for t in jobs.lease(10)], [first], "what is left")
    equal(jobs.beat(task), pb.HeartbeatResponse())
    status_is(jobs.beat_fails(task, "other"), "FAILED_PRECONDITION", "lease owner mismatch", exact=True)
    jobs.succeed(task, b"r")
    equal(jobs.on("GetJobResult", job_id).success_data.msgpack, b"r")
    jobs.lease_none()


@case("plain")
def a_future_job_is_leased(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue(start_at_ms=now_ms() + HOUR_MS, retry_policy=retries(1, HOUR_MS))
    task = jobs.lease_this(job_id)
    equal(numbers(task), (1, 1, False))
    equal(jobs.get(job_id).HasField("next_attempt_starts_after_ms"), False)
    jobs.failed(task)
    task = jobs.lease_this(job_id)
    equal(numbers(task), (2, 2, True))
    jobs.failed(task)
    equal(jobs.status(job_id), FAILED)
    jobs.on("RestartJob", job_id)
    equal(jobs.lease_none(), None, "it waits for its requested start")
    task = jobs.lease_this(job_id)
    equal(numbers(task), (3, 1, False), "the number within the run")
    jobs.succeed(task)


@case("plain")
def the_shard_comes_back_as_spelled(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue()
    spelled = jobs.shard.upper()
    task = server.api.LeaseTask(shard=spelled, id=job_id, worker_id="w").task
    equal(task.shard, spelled)
    jobs.succeed(task)


@case("plain")
def leases_of_one_job_are_refused(server):
    jobs = Jobs(server)
    worker = {"worker_id": "w"}
    status_is(jobs.on_fails("LeaseTask", fresh("no"), **worker), "NOT_FOUND", "job not found")
    status_is(jobs.on_fails("LeaseTask", fresh("no")), "INVALID_ARGUMENT", "worker_id is required")
    status_is(jobs.on_fails("LeaseTask", fresh("no"), worker_id="w" * 4097), "INVALID_ARGUMENT", "worker_id too long")
    job_id = jobs.enqueue()
    task = jobs.lease_this(job_id)
    jobs.refused("LeaseTask", job_id, "job is running", RUNNING, **worker)
    jobs.on("CancelJob", job_id)
    jobs.refused("LeaseTask", job_id, "job is running", RUNNING, **worker)
    jobs.succeed(task)
    jobs.refused("LeaseTask", job_id, "job is in a terminal state", SUCCEEDED, **worker)
    job_id = jobs.enqueue()
    jobs.failed(jobs.lease_this(job_id))
    jobs.refused("LeaseTask", job_id, "job is in a terminal state", FAILED, **worker)
    job_id = jobs.enqueue()
    jobs.on("CancelJob", job_id)
    jobs.refused("LeaseTask", job_id, "job is cancelled", CANCELLED, **worker)
    job_id = jobs.enqueue()
    jobs.cancelled(jobs.lease_this(job_id))  # without a mark
    jobs.refused("LeaseTask", job_id, NO_TASK_TO_LEASE, CANCELLED, **worker)


@case("plain")
def a_leased_job_keeps_the_slots_it_held(server):
    jobs = Jobs(server)
    queue = fresh("q")
    holder, waiting = jobs.enqueue(limits=[slot(queue)]), jobs.enqueue(limits=[slot(queue)])
    task = jobs.lease_this(holder)
    jobs.lease_none()
    jobs.succeed(task)
    jobs.run(waiting)
    jobs.queues_are_free(queue)


@case("plain")
def limits_ahead_are_skipped(server):
    jobs = Jobs(server)
    queue = fresh("q")
    holder = jobs.enqueue(limits=[slot(queue)])
    later = jobs.enqueue(limits=[slot(queue)], start_at_ms=now_ms() + HOUR_MS)
    task = jobs.lease_this(later)
    jobs.succeed(task)
    jobs.run(holder)
    jobs.queues_are_free(queue)


# --- cancel and delete ---


@case("plain")
def a_cancelled_run_ends_its_lease(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue(retry_policy=retries(3))
    task = jobs.lease_one(job_id)
    moved = jobs.counting()
    jobs.on("CancelJob", job_id)
    moved(0, 0, "a mark")
    marked_at = jobs.beat(task).cancelled_at_ms
    time.sleep(0.02)
    jobs.cancelled(task)
    moved(0, 1, "the worker's report")
    status_is(jobs.beat_fails(task), *NO_LEASE, exact=True)
    result = jobs.on("GetJobResult", job_id)
    attempt = jobs.get(job_id, True).attempts[0]
    equal((result.status, result.cancelled.cancelled_at_ms), (CANCELLED, attempt.finished_at_ms))
    assert result.cancelled.cancelled_at_ms > marked_at, "the time of the end, not of the call"
    jobs.lease_none()


@case("plain")
def a_scheduled_job_counts_once(server):
    jobs = Jobs(server)
    moved = jobs.counting()
    job_id = jobs.enqueue()
    moved(1, 0, "enqueue")
    jobs.on("CancelJob", job_id)
    moved(1, 1, "cancel")
    status_is(jobs.on_fails("CancelJob", job_id), "FAILED_PRECONDITION", "job is already cancelled", exact=True)
    moved(1, 1, "a second cancel")
    jobs.on("DeleteJob", job_id)
    moved(0, 0, "delete")
    jobs.on("DeleteJob", job_id)
    moved(0, 0, "a second delete")


@case("plain")
def a_retry_is_cancelled(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue(retry_policy=retries(3, HOUR_MS))
    fail_all(jobs, job_id, 1)
    due = jobs.get(job_id).next_attempt_starts_after_ms
    jobs.on("CancelJob", job_id)
    job = jobs.get(job_id, True)
    equal((job.status, job.next_attempt_starts_after_ms, len(job.attempts)), (CANCELLED, due, 1))
    jobs.lease_none()


@case("plain")
def deleting_clears_the_mark(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue(id=fresh("again"))
    jobs.on("CancelJob", job_id)
    jobs.on("DeleteJob", job_id)
    jobs.enqueue(id=job_id)
    task = jobs.lease_one(job_id)
    equal(jobs.beat(task), pb.HeartbeatResponse())
    jobs.succeed(task)


@case("plain")
def a_marked_job_that_ended_is_restarted(server):
    for report in ("failed", "cancelled"):
        jobs = Jobs(server)
        job_id = jobs.enqueue(retry_policy=retries(1))
        task = jobs.lease_one(job_id)
        jobs.on("CancelJob", job_id)
        getattr(jobs, report)(task)
        equal(jobs.status(job_id), CANCELLED)
        status_is(jobs.on_fails("CancelJob", job_id), "FAILED_PRECONDITION", "job is already cancelled", exact=True)
        jobs.on("RestartJob", job_id)
        task = jobs.lease_one(job_id)
        equal((numbers(task), jobs.beat(task)), ((2, 1, False), pb.HeartbeatResponse()))
        jobs.succeed(task)


@case("plain")
def a_marked_job_that_fails_for_good_has_failed(server):
    for policy in (None, retries(0), retries(1)):
        jobs = Jobs(server)
        job_id = jobs.enqueue(retry_policy=policy)
        if policy is not None and policy.retry_count == 1:
            fail_all(jobs, job_id, 1)
        task = jobs.lease_one(job_id)
        equal(task.is_last_attempt, True)
        jobs.on("CancelJob", job_id)
        jobs.failed(task, "LAST", b"why")
        equal(jobs.status(job_id), FAILED)
        equal(jobs.on("GetJobResult", job_id).failure, pb.JobFailure(error_code="LAST", error_data=blob(b"why")))
        # The mark is still there, and is looked at first.
        status_is(jobs.on_fails("CancelJob", job_id), "FAILED_PRECONDITION", "job is already cancelled", exact=True)
        jobs.on("RestartJob", job_id)
        task = jobs.lease_one(job_id)
        equal(jobs.beat(task), pb.HeartbeatResponse(), "the mark is gone")
        jobs.succeed(task)


@case("plain")
def deletes_are_refused(server):
    jobs = Jobs(server)
    texts = "cannot delete job %s: job is currently running or has pending requests"
    job_id = jobs.enqueue(start_at_ms=now_ms() + HOUR_MS)
    status_is(jobs.on_fails("DeleteJob", job_id), "FAILED_PRECONDITION", texts % job_id, exact=True)
    queue = fresh("q")
    holder, waiting = jobs.enqueue(limits=[slot(queue)]), jobs.enqueue(limits=[slot(queue)])
    for job_id in (holder, waiting):
        status_is(jobs.on_fails("DeleteJob", job_id), "FAILED_PRECONDITION", texts % job_id, exact=True)
    jobs.run(holder)
    jobs.run(waiting)
    for job_id in (holder, waiting):
        jobs.on("DeleteJob", job_id)
        status_is(jobs.on_fails("GetJob", job_id), "NOT_FOUND", "job not found")


globals().update(cases.classes({"plain": SiloServer}))

if __name__ == "__main__":
    unittest.main()
